/* test_tokenize.c - splits without a shared line, shards that survive kills, damage that is found. */
#include "data/data.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/rng.h"
#include "data/loader.h"
#include "data_fixture.h"
#include "test.h"
#include "tokens/tokens.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[512];

static void put(char *to, size_t room, const char *name) {
    snprintf(to, room, "%s/%s", folder, name);
}

/* n documents of about `bytes` bytes with some lines that many documents have. */
static status make_corpus(const char *name, int n, size_t bytes) {
    char path[600], *lines = mem_alloc((size_t)n * (bytes * 2 + 200)), *one = mem_alloc(bytes + 1);
    size_t at = 0;
    if (lines == NULL || one == NULL) return STATUS_MEMORY;
    for (int d = 0; d < n; d++) {
        size_t size = bytes / 2 + rng_below(rng_at(3, RNG_TEST, 0), (uint64_t)d, bytes / 2);
        fixture_text(one, size, (uint64_t)d + 1000);
        at += (size_t)snprintf(lines + at, 64, "{\"text\":\"NAME\\n  heading %d\\n", d % 7);
        for (size_t i = 0; i < size; i++) {
            if (one[i] == '\n') lines[at++] = '\\';
            lines[at++] = one[i] == '\n' ? 'n' : one[i];
        }
        at += (size_t)snprintf(lines + at, 64, "\"}\n");
    }
    put(path, sizeof path, "corpus-in.jsonl");
    status s = file_write(path, lines, at);
    mem_free(lines);
    mem_free(one);
    if (s != STATUS_OK) return s;
    const char *const inputs[] = {path};
    char out[600];
    put(out, sizeof out, name);
    import_result r;
    return data_import(&(import_options){.inputs = inputs, .n_inputs = 1, .folder = out}, &r);
}

static status tokenize(const char *name, tokenize_options o, tokenize_result *r) {
    char path[600];
    put(path, sizeof path, name);
    o.folder = path;
    o.quiet = true;
    return data_tokenize(&o, r);
}

/* One hash of all files of a dataset, names included. */
static status hash_folder(const char *name, uint64_t *hash) {
    char path[600], file[1200], **names;
    int n;
    put(path, sizeof path, name);
    TRY(folder_list(path, &names, &n));
    *hash = 0;
    status s = STATUS_OK;
    for (int i = 0; i < n && s == STATUS_OK; i++) {
        snprintf(file, sizeof file, "%s/%s", path, names[i]);
        char *bytes;
        size_t size;
        s = file_read(file, 0, &bytes, &size);
        if (s != STATUS_OK) break;
        uint64_t parts[3] = {*hash, hash64(names[i], strlen(names[i]), 0), hash64(bytes, size, 0)};
        *hash = hash64(parts, sizeof parts, 0);
        mem_free(bytes);
    }
    folder_list_free(names, n);
    return s;
}

/* The text of a split, lent until the next call with the same split. */
static const char *split_text(const char *name, split_id split) {
    static char *kept[SPLIT_COUNT];
    char path[600];
    size_t n;
    dataset d;
    put(path, sizeof path, name);
    mem_free(kept[split]);
    kept[split] = NULL;
    if (dataset_open(&d, path) != STATUS_OK) return "";
    status s = dataset_text(&d, split, &kept[split], &n);
    dataset_close(&d);
    return s == STATUS_OK ? kept[split] : "";
}

/* Is there a non-blank line of a in b? Counts them, blanks at the ends aside. */
static int shared_lines(const char *a, const char *b) {
    int shared = 0;
    char *copy = mem_strdup(a), needle[4096];
    size_t size = strlen(b) + 3;
    char *hay = mem_alloc(size);
    snprintf(hay, size, "\n%s\n", b);
    for (char *at = copy; *at != '\0';) {
        size_t n = strcspn(at, "\n"), from = 0, to = n;
        while (from < to && at[from] == ' ')
            from++;
        while (to > from && at[to - 1] == ' ')
            to--;
        snprintf(needle, sizeof needle, "\n%.*s\n", (int)(to - from), at + from);
        if (to > from) shared += strstr(hay, needle) != NULL;
        at += n + (at[n] == '\n');
    }
    mem_free(copy);
    mem_free(hay);
    return shared;
}

TEST(tokenize_splits_share_no_line) {
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(make_corpus("d", 300, 2000));
    tokenize_result r;
    REQUIRE_OK(tokenize("d", (tokenize_options){.vocab_size = 400}, &r));
    int64_t all = r.text_bytes[0] + r.text_bytes[1] + r.bytes_dropped;
    CHECK(!r.tail && r.documents[1] > 5 && r.documents[0] + r.documents[1] == 300, "%" PRId64,
          r.documents[1]);
    CHECK(r.text_bytes[1] + r.bytes_dropped >= all / 20 && r.text_bytes[1] <= all / 5,
          "%" PRId64 " of %" PRId64, r.text_bytes[1], all);
    CHECK(r.lines_dropped >= 2 * r.documents[1], "the headings: %" PRId64, r.lines_dropped);
    const char *train = split_text("d", SPLIT_TRAIN), *held = split_text("d", SPLIT_VALIDATION);
    CHECK((int64_t)strlen(train) == r.text_bytes[0] && (int64_t)strlen(held) == r.text_bytes[1],
          "texts");
    CHECK(shared_lines(held, train) == 0, "%d lines shared", shared_lines(held, train));
    CHECK(strstr(train, "heading") != NULL && strstr(held, "heading") == NULL,
          "headings stay in training");
    /* With a threshold short lines may stay, long ones never. */
    REQUIRE_OK(tokenize("d", (tokenize_options){.vocab_size = 400, .line_min = 24}, &r));
    CHECK(r.lines_dropped == 0, "%" PRId64, r.lines_dropped);
    held = split_text("d", SPLIT_VALIDATION);
    CHECK(strstr(held, "heading") != NULL, "short lines stay");
}

TEST(tokenize_covers_every_document_once) {
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(make_corpus("d", 120, 1500));
    tokenize_result r;
    REQUIRE_OK(tokenize(
        "d", (tokenize_options){.vocab_size = 300, .shard_bytes = 20000, .line_min = 1000}, &r));
    CHECK(r.shards > 5, "%d", r.shards);
    char path[600], *bytes;
    size_t n;
    put(path, sizeof path, "corpus-in.jsonl");
    REQUIRE_OK(file_read(path, 0, &bytes, &n));
    const char *train = split_text("d", SPLIT_TRAIN), *held = split_text("d", SPLIT_VALIDATION);
    int found = 0, both = 0;
    for (size_t at = 0; at < n;) {
        size_t end = at + strcspn(bytes + at, "\n");
        json_t *root;
        REQUIRE_OK(json_parse(bytes + at, end - at, "line", &root));
        const char *one = json_string_value(json_object_get(root, "text"));
        bool a = strstr(train, one) != NULL, b = strstr(held, one) != NULL;
        found += a || b;
        both += a && b;
        json_decref(root);
        at = end + 1;
    }
    mem_free(bytes);
    CHECK(found == 120 && both == 0, "%d found, %d twice", found, both);
    /* Another seed: another order, the same split. */
    char *before = mem_strdup(held), *train_before = mem_strdup(train);
    REQUIRE(before != NULL && train_before != NULL, "memory");
    REQUIRE_OK(
        tokenize("d", (tokenize_options){.vocab_size = 300, .line_min = 1000, .seed = 9}, &r));
    train = split_text("d", SPLIT_TRAIN), held = split_text("d", SPLIT_VALIDATION);
    CHECK(strlen(before) == strlen(held) && strlen(train_before) == strlen(train),
          "same documents");
    CHECK(strcmp(train_before, train) != 0, "another order");
    CHECK(r.shards == 2, "stale shards are gone: %d", r.shards);
    put(path, sizeof path, "d/train-00001.shard");
    CHECK(!path_exists(path), "stale shard");
    mem_free(before);
    mem_free(train_before);
}

TEST(tokenize_tail_is_whole) {
    snprintf(folder, sizeof folder, "%s", test_folder());
    static char book[20001];
    char path[600], out[600];
    fixture_text(book, 20000, 4);
    memcpy(book + 18500, "\nsame line\n", 11);
    memcpy(book + 100, "\nsame line\n", 11);
    put(path, sizeof path, "book.txt");
    REQUIRE_OK(file_write(path, book, 20000));
    const char *const inputs[] = {path};
    put(out, sizeof out, "d");
    import_result imported;
    REQUIRE_OK(
        data_import(&(import_options){.inputs = inputs, .n_inputs = 1, .folder = out}, &imported));
    tokenize_result r;
    REQUIRE_OK(tokenize("d", (tokenize_options){.vocab_size = 256, .split = SPLIT_TAIL}, &r));
    CHECK(r.tail && r.tokens[0] == 18000 && r.tokens[1] == 2000, "%" PRId64, r.tokens[1]);
    CHECK(memcmp(split_text("d", SPLIT_TRAIN), book, 18000) == 0, "training text");
    CHECK(memcmp(split_text("d", SPLIT_VALIDATION), book + 18000, 2000) == 0, "held-out text");
    /* The same rows as from the file of bytes. */
    loader *a, *b;
    loader_options o = {
        .folder = out, .split = SPLIT_TRAIN, .seq_len = 50, .seed = 3, .mode = LOADER_STREAM};
    REQUIRE_OK(loader_open(&a, &o));
    o.folder = NULL, o.input = path;
    REQUIRE_OK(loader_open(&b, &o));
    int32_t x[50], y[50];
    for (int64_t i = 0; i < 200; i++) {
        REQUIRE_OK(loader_row(a, i, &(loader_slot){.ids = x}));
        REQUIRE_OK(loader_row(b, i, &(loader_slot){.ids = y}));
        CHECK(memcmp(x, y, sizeof x) == 0, "row %" PRId64, i);
    }
    loader_close(a), loader_close(b);
    /* Automatic: one document is too few, so the tail, after a line, and nothing shared. */
    REQUIRE_OK(tokenize("d", (tokenize_options){.vocab_size = 300}, &r));
    CHECK(r.tail && r.lines_dropped >= 1, "%" PRId64, r.lines_dropped);
    const char *train = split_text("d", SPLIT_TRAIN), *held = split_text("d", SPLIT_VALIDATION);
    CHECK(train[strlen(train) - 1] == '\n' && shared_lines(held, train) == 0, "cut after a line");
    CHECK(tokenize("d", (tokenize_options){.split = SPLIT_DOCUMENTS}, &r) == STATUS_FORMAT,
          "documents");
    CHECK(error_last()->id == F_NO_TEXT && strstr(error_last()->fix, "--split tail") != NULL, "%s",
          error_last()->fix);
}

TEST(tokenize_is_the_same_for_any_thread_count) {
    snprintf(folder, sizeof folder, "%s", test_folder());
    uint64_t hash[3];
    tokenize_result r;
    for (int threads = 1; threads <= 3; threads++) {
        REQUIRE_OK(folder_remove(text("%s/d", folder)));
        REQUIRE_OK(pool_start(threads));
        REQUIRE_OK(make_corpus("d", 400, 1500));
        REQUIRE_OK(tokenize("d", (tokenize_options){.vocab_size = 350, .shard_bytes = 150000}, &r));
        pool_stop();
        REQUIRE_OK(hash_folder("d", &hash[threads - 1]));
    }
    CHECK(hash[0] == hash[1] && hash[1] == hash[2], "folders differ");
}

TEST(tokenize_again_keeps_and_repairs) {
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(make_corpus("d", 200, 1500));
    tokenize_options o = {.vocab_size = 300, .shard_bytes = 30000};
    tokenize_result r;
    uint64_t before, after;
    REQUIRE_OK(tokenize("d", o, &r));
    CHECK(r.shards_kept == 0 && r.shards > 5, "%d", r.shards);
    REQUIRE_OK(hash_folder("d", &before));
    REQUIRE_OK(tokenize("d", o, &r));
    CHECK(r.shards_kept == r.shards, "%d of %d kept", r.shards_kept, r.shards);
    char path[600], *bytes;
    size_t n;
    put(path, sizeof path, "d/train-00002.shard");
    REQUIRE_OK(file_read(path, 0, &bytes, &n));
    bytes[n - 7] ^= 1;
    REQUIRE_OK(file_write(path, bytes, n));
    mem_free(bytes);
    put(path, sizeof path, "d/train-00003.shard");
    CHECK(unlink(path) == 0, "removed");
    put(path, sizeof path, "d/train-00004.shard.tmp");
    REQUIRE_OK(file_write(path, "x", 1));
    REQUIRE_OK(tokenize("d", o, &r));
    CHECK(r.shards_kept == r.shards - 2, "%d of %d kept", r.shards_kept, r.shards);
    REQUIRE_OK(hash_folder("d", &after));
    CHECK(before == after, "the repaired folder is the same");
}

/* A child is killed at random moments until the work is done; then every byte is as if it never
 * had been. */
TEST(tokenize_survives_kills) {
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(make_corpus("d", 100, 3000));
    tokenize_options o = {.vocab_size = 300, .shard_bytes = 25000};
    tokenize_result r;
    double started = clock_seconds();
    REQUIRE_OK(tokenize("d", o, &r));
    double whole = clock_seconds() - started;
    uint64_t want, got;
    REQUIRE_OK(hash_folder("d", &want));
    rng moments = rng_at(11, RNG_TEST, 0);
    int kills = 0, rounds = test_long() ? 20 : 2;
    for (int round = 0; round < rounds; round++) {
        REQUIRE_OK(folder_remove(text("%s/d", folder)));
        REQUIRE_OK(make_corpus("d", 100, 3000));
        for (int i = 0; i < 8; i++) {
            fflush(stdout);
            pid_t child = fork();
            REQUIRE(child >= 0, "fork");
            if (child == 0) _exit(tokenize("d", o, &r) == STATUS_OK ? 0 : 1);
            double delay = whole * 1.2 * rng_uniform(moments, (uint64_t)(round * 100 + i));
            usleep((useconds_t)(delay * 1e6));
            kill(child, SIGKILL);
            int state;
            waitpid(child, &state, 0);
            if (WIFSIGNALED(state)) kills++;
            CHECK(WIFSIGNALED(state) || WEXITSTATUS(state) == 0, "child failed");
        }
        REQUIRE_OK(tokenize("d", o, &r));
        REQUIRE_OK(hash_folder("d", &got));
        CHECK(got == want, "round %d", round);
    }
    CHECK(kills > rounds, "%d kills", kills);
}

typedef struct told {
    int n;
    error_report last;
} told;
static void tell(void *context, const error_report *r) {
    told *t = context;
    t->n++;
    t->last = *r;
}

TEST(verify_names_what_is_damaged) {
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(make_corpus("d", 200, 1500));
    tokenize_result r;
    REQUIRE_OK(tokenize("d", (tokenize_options){.vocab_size = 300, .shard_bytes = 60000}, &r));
    char path[600], *bytes;
    put(path, sizeof path, "d");
    told t = {0};
    verify_result v;
    REQUIRE_OK(data_verify(path, tell, &t, &v));
    CHECK(t.n == 0 && v.shards == r.shards && v.files == 2 && v.blocks >= r.shards, "%d", v.shards);
    static const struct {
        const char *file, *word;
        bool cut;
    } cases[] = {{"d/train-00001.shard", "block 0", false},
                 {"d/train-00001.shard", "length", true},
                 {"d/corpus.jsonl", "corpus.jsonl", false},
                 {"d/tokenizer.json", "tokenizer.json", false},
                 {"d/validation-00000.shard", "validation-00000.shard", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char file[600];
        size_t n;
        put(file, sizeof file, cases[i].file);
        REQUIRE_OK(file_read(file, 0, &bytes, &n));
        bytes[n - 10] ^= 1;
        REQUIRE_OK(file_write(file, bytes, cases[i].cut ? n - 5 : n));
        t = (told){0};
        CHECK(data_verify(path, tell, &t, &v) == STATUS_NO && error_last()->id == F_DAMAGE,
              "found");
        CHECK(error_exit_code(error_last()->id) == 1, "exit code");
        CHECK(t.n == 1 && v.damaged == 1, "%d told", t.n);
        CHECK(strstr(t.last.what, cases[i].word) != NULL, "%s", t.last.what);
        CHECK((strstr(cases[i].file, "shard") != NULL) == (v.documents_hit > 0), "documents");
        bytes[n - 10] ^= 1;
        REQUIRE_OK(file_write(file, bytes, n));
        mem_free(bytes);
    }
    put(path, sizeof path, "d/train-00001.shard");
    CHECK(unlink(path) == 0, "removed");
    put(path, sizeof path, "d");
    CHECK(data_verify(path, NULL, NULL, &v) == STATUS_NO, "a missing shard");
}

TEST(tokenize_refuses_a_changed_corpus) {
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(make_corpus("d", 30, 500));
    char path[600], *bytes;
    size_t n;
    put(path, sizeof path, "d/corpus.jsonl");
    REQUIRE_OK(file_read(path, 0, &bytes, &n));
    bytes[n / 2] = 'Z';
    REQUIRE_OK(file_write(path, bytes, n));
    tokenize_result r;
    CHECK(tokenize("d", (tokenize_options){0}, &r) == STATUS_FORMAT &&
              error_last()->id == F_DATASET,
          "changed");
    mem_free(bytes);
    REQUIRE_OK(fixture_write(folder, "d/data.json", "{\"format\":\"x\",\"version\":1}"));
    CHECK(tokenize("d", (tokenize_options){0}, &r) == STATUS_FORMAT &&
              error_last()->id == F_DATASET,
          "format");
    REQUIRE_OK(fixture_write(folder, "d/data.json",
                             "{\"format\":\"fathom-dataset\",\"version\":1,\"complete\":true,"
                             "\"shards\":[{\"split\":\"train\",\"file\":\"../x\"}]}"));
    CHECK(tokenize("d", (tokenize_options){0}, &r) == STATUS_FORMAT, "a file outside");
}

TEST(tokenize_with_a_given_tokenizer) {
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(make_corpus("d", 50, 800));
    tokenizer *t;
    char path[600];
    put(path, sizeof path, "bytes.json");
    REQUIRE_OK(tokenizer_byte(&t));
    REQUIRE_OK(tokenizer_save(t, path));
    tokenize_result r;
    REQUIRE_OK(tokenize("d", (tokenize_options){.tokenizer = path, .line_min = 1000}, &r));
    CHECK(r.vocab_size == 256 && r.tokens[0] == r.text_bytes[0], "a token a byte");
    put(path, sizeof path, "d");
    loader *l;
    REQUIRE_OK(
        loader_open(&l, &(loader_options){.folder = path, .split = SPLIT_TRAIN, .seq_len = 32}));
    CHECK(loader_tokenizer(l) == tokenizer_fingerprint(t), "fingerprint");
    loader_close(l);
    tokenizer_free(t);
}

static status tokenize_again(void) {
    tokenize_result r;
    TRY(folder_remove(text("%s/d/data.json", folder)));
    char *bytes;
    size_t n;
    TRY(file_read(text("%s/keep.json", folder), 0, &bytes, &n));
    status s = file_write(text("%s/d/data.json", folder), bytes, n);
    mem_free(bytes);
    if (s == STATUS_OK)
        s = tokenize("d", (tokenize_options){.vocab_size = 280, .shard_bytes = 4000}, &r);
    return s;
}

TEST(tokenize_survives_every_allocation_failure) {
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(make_corpus("d", 8, 400));
    char path[600], *bytes;
    size_t n_bytes;
    put(path, sizeof path, "d/data.json");
    REQUIRE_OK(file_read(path, 0, &bytes, &n_bytes));
    put(path, sizeof path, "keep.json");
    REQUIRE_OK(file_write(path, bytes, n_bytes));
    mem_free(bytes);
    REQUIRE_OK(tokenize_again());
    uint64_t want, got;
    REQUIRE_OK(hash_folder("d", &want));
    int64_t before = mem_live_blocks(), n = 1, step = test_long() ? 1 : 7;
    double end = clock_seconds() + (test_long() ? 120 : 4);
    for (;; n += step) {
        mem_fail_at(n);
        status s = tokenize_again();
        bool failed = mem_failed();
        mem_fail_at(0);
        CHECK(mem_live_blocks() == before, "allocation %" PRId64 " leaks", n);
        CHECK(s == (failed ? STATUS_MEMORY : STATUS_OK), "allocation %" PRId64 ": %d %s; %s", n,
              (int)s, error_last()->what, error_last()->why);
        if (!failed || clock_seconds() > end) break;
    }
    CHECK(n > 50, "%" PRId64, n);
    REQUIRE_OK(tokenize_again());
    REQUIRE_OK(hash_folder("d", &got));
    CHECK(got == want, "same bytes after failures");
}
