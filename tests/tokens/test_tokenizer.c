/* test_tokenizer.c - tokenizer files: what is written is read back equal, and damaged or foreign
 * files are refused with the right error in the right words. */
#include "test.h"
#include "token_text.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "tokens/tokens_internal.h"

#include <zlib.h>

/* A small tokenizer.json to damage; mem_free it. */
static char *small_json(size_t *n) {
    tokenizer *t;
    char *json = NULL;
    if (train_small(&t, 320, PRETOKENIZER_DEEPSEEK_V3) != STATUS_OK) return NULL;
    if (tokenizer_format(t, &json, n) != STATUS_OK) json = NULL;
    tokenizer_free(t);
    return json;
}

static char *replace_once(const char *json, const char *from, const char *to) {
    const char *at = strstr(json, from);
    if (at == NULL) return NULL;
    size_t n = strlen(json) + strlen(to) + 1;
    char *out = mem_alloc(n);
    snprintf(out, n, "%.*s%s%s", (int)(at - json), json, to, at + strlen(from));
    return out;
}

static void check_same(const tokenizer *a, const tokenizer *b) {
    CHECK(a->n == b->n && a->n_merges == b->n_merges && a->n_added == b->n_added, "sizes");
    CHECK(a->fingerprint == b->fingerprint, "fingerprints");
    CHECK(a->bos == b->bos && a->eos == b->eos, "BOS %d and %d, EOS %d and %d", a->bos, b->bos,
          a->eos, b->eos);
    CHECK((a->post_processor == NULL) == (b->post_processor == NULL) &&
              (a->post_processor == NULL || strcmp(a->post_processor, b->post_processor) == 0),
          "post-processors");
    REQUIRE(a->n == b->n, "sizes");
    CHECK(memcmp(a->blob, b->blob, a->offset[a->n]) == 0, "bytes of tokens");
    CHECK(memcmp(a->flags, b->flags, (size_t)a->n) == 0, "flags");
}

TEST(tokenizer_saved_and_read_is_equal) {
    const char *folder = test_folder();
    for (int kind = 0; kind < PRETOKENIZERS; kind++) {
        tokenizer *t, *again;
        char path[PATH_SIZE], *first, *second;
        size_t n, m;
        REQUIRE_OK(train_small(&t, 900, kind));
        REQUIRE_OK(path_join(path, folder, "tokenizer.json"));
        REQUIRE_OK(tokenizer_save(t, path));
        REQUIRE_OK(tokenizer_open(&again, path));
        check_same(t, again);
        REQUIRE_OK(tokenizer_format(t, &first, &n));
        REQUIRE_OK(tokenizer_format(again, &second, &m));
        CHECK(n == m && memcmp(first, second, n) == 0, "written differently");
        tokenizer_free(again);
        REQUIRE_OK(tokenizer_open(&again, folder)); /* the folder means the file in it */
        check_same(t, again);
        CHECK(strcmp(tokenizer_pretokenizer_name(t), pretokenizer_name(kind)) == 0, "name");
        CHECK(tokenizer_bos(t) == 256 && tokenizer_eos(t) == 257, "BOS, EOS");
        mem_free(first);
        mem_free(second);
        tokenizer_free(t);
        tokenizer_free(again);
    }
}

TEST(tokenizer_byte_saved_and_read_is_equal) {
    tokenizer *t, *again;
    char *json;
    size_t n;
    REQUIRE_OK(tokenizer_byte(&t));
    REQUIRE_OK(tokenizer_format(t, &json, &n));
    REQUIRE_OK(tokenizer_parse(&again, json, n, "bytes"));
    check_same(t, again);
    mem_free(json);
    tokenizer_free(t);
    tokenizer_free(again);
}

TEST(tokenizer_gzip) {
    size_t n;
    char *json = small_json(&n), path[PATH_SIZE], cut[PATH_SIZE];
    const char *folder = test_folder();
    REQUIRE_OK(path_join(path, folder, "tokenizer.json.gz"));
    gzFile f = gzopen(path, "wb");
    REQUIRE(f != NULL && gzwrite(f, json, (unsigned)n) == (int)n && gzclose(f) == Z_OK, "gzip");
    tokenizer *t, *plain;
    REQUIRE_OK(tokenizer_open(&t, folder));
    REQUIRE_OK(tokenizer_parse(&plain, json, n, "plain"));
    check_same(t, plain);
    tokenizer_free(t);
    tokenizer_free(plain);
    char *packed;
    size_t packed_n;
    REQUIRE_OK(file_read(path, 0, &packed, &packed_n));
    REQUIRE_OK(path_join(cut, folder, "cut.json"));
    for (int i = 0; i < 2; i++) {
        if (i == 0) REQUIRE_OK(file_write(cut, packed, packed_n / 2));
        if (i == 1) packed[packed_n / 2] ^= 0x55;
        if (i == 1) REQUIRE_OK(file_write(cut, packed, packed_n));
        CHECK(tokenizer_open(&t, cut) == STATUS_FORMAT && error_last()->id == F_TOKENIZER && !t,
              "damaged gzip %d: F%04d", i, (int)error_last()->id);
    }
    mem_free(packed);
    mem_free(json);
}

TEST(tokenizer_gpt2_folder) {
    tokenizer *t, *folder_t;
    REQUIRE_OK(train_small(&t, 500, PRETOKENIZER_GPT2));
    const char *folder = test_folder();
    char path[PATH_SIZE], spelled[600];
    file_writer *vocab, *merges;
    REQUIRE_OK(path_join(path, folder, "vocab.json"));
    REQUIRE_OK(writer_open(&vocab, path));
    REQUIRE_OK(path_join(path, folder, "merges.txt"));
    REQUIRE_OK(writer_open(&merges, path));
    REQUIRE_OK(writer_put(merges, "#version: 0.2\n", 14));
    int32_t n_model = 0; /* ids without the added tokens in between */
    int32_t *id_of = mem_zalloc((size_t)t->n, sizeof *id_of);
    for (int32_t id = 0; id < t->n; id++) {
        if (t->flags[id] & TOKEN_ADDED) continue;
        size_t n;
        const uint8_t *bytes = token_bytes(t, id, &n);
        byte_map_encode(bytes, n, spelled);
        char line[1300];
        bool quote = spelled[0] == '"' || spelled[0] == '\\';
        if (strpbrk(spelled + quote, "\"\\") != NULL) quote = true;
        if (quote && n > 1) { /* escape every quote and backslash */
            char escaped[1200];
            size_t used = 0;
            for (const char *p = spelled; *p; p++) {
                if (*p == '"' || *p == '\\') escaped[used++] = '\\';
                escaped[used++] = *p;
            }
            escaped[used] = 0;
            snprintf(line, sizeof line, "%s\"%s\": %d", n_model ? ", " : "{", escaped, n_model);
        } else {
            snprintf(line, sizeof line, "%s\"%s%s\": %d", n_model ? ", " : "{", quote ? "\\" : "",
                     spelled, n_model);
        }
        id_of[id] = n_model++;
        REQUIRE_OK(writer_put(vocab, line, strlen(line)));
    }
    char tail[60];
    snprintf(tail, sizeof tail, ", \"<|endoftext|>\": %d}\n", n_model);
    REQUIRE_OK(writer_put(vocab, tail, strlen(tail)));
    REQUIRE_OK(writer_commit(vocab));
    for (int32_t i = 0; i < t->n_merges; i++) {
        size_t n;
        const uint8_t *bytes = token_bytes(t, t->merges[i].left, &n);
        byte_map_encode(bytes, n, spelled);
        size_t used = strlen(spelled);
        spelled[used++] = ' ';
        bytes = token_bytes(t, t->merges[i].right, &n);
        byte_map_encode(bytes, n, spelled + used);
        REQUIRE_OK(writer_put(merges, spelled, strlen(spelled)));
        REQUIRE_OK(writer_put(merges, i % 2 ? "\r\n" : "\n", i % 2 ? 2 : 1));
    }
    REQUIRE_OK(writer_commit(merges));
    int64_t live = mem_live_blocks();
    REQUIRE_OK(tokenizer_open(&folder_t, folder));
    CHECK(tokenizer_vocab_size(folder_t) == n_model + 1, "size %d", tokenizer_vocab_size(folder_t));
    CHECK(tokenizer_eos(folder_t) == n_model && tokenizer_bos(folder_t) == -1, "EOS");
    uint8_t text[3000];
    size_t n = random_text(TEXT_MIXED, 1, text, sizeof text);
    token_list a = {0}, b = {0};
    REQUIRE_OK(tokenizer_encode(t, text, n, SPECIAL_AS_TEXT, &a));
    REQUIRE_OK(tokenizer_encode(folder_t, text, n, SPECIAL_AS_TEXT, &b));
    REQUIRE(a.n == b.n, "%zu and %zu ids", a.n, b.n);
    for (size_t i = 0; i < a.n; i++)
        CHECK(id_of[a.ids[i]] == b.ids[i], "id %zu", i);
    token_list_clear(&a);
    token_list_clear(&b);
    tokenizer_free(folder_t);
    CHECK(mem_live_blocks() == live, "leak");
    bool passed = false;
    for (int64_t at = 1; !passed; at += 1 + at / 40) {
        mem_fail_at(at);
        status s = tokenizer_open(&folder_t, folder);
        passed = !mem_failed();
        mem_fail_at(0);
        CHECK(passed == (s == STATUS_OK), "allocation %d: status %d", (int)at, (int)s);
        tokenizer_free(folder_t);
        REQUIRE(mem_live_blocks() == live && at < 1000000, "allocation %d leaks", (int)at);
    }
    mem_free(id_of);
    tokenizer_free(t);
}

TEST(tokenizer_config_names_bos_and_eos) {
    size_t n;
    char *json = small_json(&n), path[PATH_SIZE];
    const char *folder = test_folder();
    REQUIRE_OK(path_join(path, folder, "tokenizer.json"));
    REQUIRE_OK(file_write(path, json, n));
    REQUIRE_OK(path_join(path, folder, "tokenizer_config.json"));
    static const struct {
        const char *config;
        int32_t bos, eos; /* -2 = refused */
    } cases[] = {{"{}", 256, 257},
                 {"{\"bos_token\": null, \"eos_token\": \"<think>\"}", -1, 261},
                 {"{\"bos_token\": {\"content\": \"</think>\"}}", 262, 257},
                 {"{\"eos_token\": \"<nothing>\"}", -2, -2},
                 {"{\"eos_token\": 5}", -2, -2},
                 {"{\"eos_token\": ", -2, -2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tokenizer *t;
        REQUIRE_OK(file_write(path, cases[i].config, strlen(cases[i].config)));
        status s = tokenizer_open(&t, folder);
        if (cases[i].bos == -2) {
            CHECK(s == STATUS_FORMAT && t == NULL, "case %zu: status %d", i, (int)s);
            continue;
        }
        REQUIRE(s == STATUS_OK, "case %zu: %s", i, error_last()->what);
        CHECK(t->bos == cases[i].bos && t->eos == cases[i].eos, "case %zu: %d, %d", i, t->bos,
              t->eos);
        tokenizer_free(t);
    }
    mem_free(json);
}

TEST(tokenizer_template_names_bos) {
    size_t n;
    char *json = small_json(&n);
    char *with = replace_once(
        json, "\"post_processor\":null",
        "\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},"
        "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<think>\"}},"
        "{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"</think>\"}}]}]}");
    tokenizer *t, *again;
    REQUIRE_OK(tokenizer_parse(&t, with, strlen(with), "template"));
    CHECK(t->bos == 261 && t->eos == 262, "BOS %d, EOS %d", t->bos, t->eos);
    char *written;
    REQUIRE_OK(tokenizer_format(t, &written, &n));
    REQUIRE_OK(tokenizer_parse(&again, written, n, "again"));
    check_same(t, again);
    tokenizer_free(t);
    tokenizer_free(again);
    mem_free(written);
    mem_free(with);
    mem_free(json);
}

/* -- refusals -- */

typedef struct refusal {
    const char *from, *to; /* one replacement in the small file */
    error_id id;
    const char *says; /* somewhere in what, where or why */
} refusal;

static const refusal refusals[] = {
    {"\"type\":\"BPE\"", "\"type\":\"Unigram\"", F_TOKENIZER_UNSUPPORTED, "\"Unigram\""},
    {"\"type\":\"BPE\"", "\"type\":7", F_TOKENIZER, "model has no type"},
    {"\"normalizer\":null", "\"normalizer\":{\"type\":\"Lowercase\"}", F_TOKENIZER_UNSUPPORTED,
     "\"Lowercase\""},
    {"\"normalizer\":null", "\"normalizer\":[]", F_TOKENIZER, "normalizer"},
    {"\\\\p{N}{1,3}", "\\\\p{N}{,3}", F_TOKENIZER_UNSUPPORTED, "{,"},
    {"\\\\p{N}{1,3}", "\\\\b", F_TOKENIZER_UNSUPPORTED, "\\b"},
    {"\\\\p{N}{1,3}", "(?<name>x)", F_TOKENIZER_UNSUPPORTED, "(?<n"},
    {"\\\\p{N}{1,3}", "[a&&b]", F_TOKENIZER_UNSUPPORTED, "&&"},
    {"\\\\p{N}{1,3}", "(x", F_TOKENIZER_UNSUPPORTED, "does not compile"},
    {"\"Regex\":", "\"Glob\":", F_TOKENIZER_UNSUPPORTED, "neither Regex nor String"},
    {"\"Isolated\"", "\"Shuffled\"", F_TOKENIZER_UNSUPPORTED, "\"Shuffled\""},
    {"\"invert\":false", "\"invert\":7", F_TOKENIZER, "invert"},
    {"\"add_prefix_space\":false", "\"add_prefix_space\":[]", F_TOKENIZER, "add_prefix_space"},
    {"\"type\":\"ByteLevel\"", "\"type\":\"Metaspace\"", F_TOKENIZER_UNSUPPORTED, "\"Metaspace\""},
    {"\"truncation\":null", "\"truncation\":{\"max_length\":5}", F_TOKENIZER_UNSUPPORTED,
     "truncation"},
    {"\"padding\":null", "\"padding\":{}", F_TOKENIZER_UNSUPPORTED, "padding"},
    {"\"post_processor\":null", "\"post_processor\":{\"type\":\"BertProcessing\"}",
     F_TOKENIZER_UNSUPPORTED, "BertProcessing"},
    {"\"decoder\":{\"type\":\"ByteLevel\"", "\"decoder\":{\"type\":\"WordPiece\"",
     F_TOKENIZER_UNSUPPORTED, "\"WordPiece\""},
    {"\"dropout\":null", "\"dropout\":0.1", F_TOKENIZER_UNSUPPORTED, "dropout"},
    {"\"unk_token\":null", "\"unk_token\":\"<unk>\"", F_TOKENIZER_UNSUPPORTED, "unk_token"},
    {"\"byte_fallback\":false", "\"byte_fallback\":true", F_TOKENIZER_UNSUPPORTED, "Sequence"},
    {"\"lstrip\":false", "\"lstrip\":7", F_TOKENIZER, "lstrip"},
    {"\"rstrip\":false", "\"rstrip\":\"no\"", F_TOKENIZER, "rstrip"},
    {"\"single_word\":false", "\"single_word\":[]", F_TOKENIZER, "single_word"},
    {"\"normalizer\":null", "\"normalizer\":{\"type\":\"Replace\",\"content\":\"\"}", F_TOKENIZER,
     "pattern"},
    {"\"normalizer\":null",
     "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"\"}",
     F_TOKENIZER, "Replace pattern is empty"},
    {"\"normalizer\":null",
     "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Glob\":\"*\"},\"content\":\"\"}",
     F_TOKENIZER_UNSUPPORTED, "neither Regex nor String"},
    {"\"normalizer\":null",
     "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(\"},\"content\":\"\"}",
     F_TOKENIZER_UNSUPPORTED, "does not compile"},
    {"\"normalizer\":null", "\"normalizer\":{\"type\":\"Prepend\"}", F_TOKENIZER, "prepend"},
    {"\"normalizer\":null",
     "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},{\"type\":"
     "\"Strip\"}]}",
     F_TOKENIZER_UNSUPPORTED, "\"Strip\""},
    {"\"special\":true", "\"special\":\"yes\"", F_TOKENIZER, "special"},
    {"\"ignore_merges\":false", "\"ignore_merges\":3", F_TOKENIZER, "ignore_merges"},
    {"\"a\":97", "\"a\":98", F_TOKENIZER, "the id 98"},
    {"\"a\":97", "\"a\":320", F_TOKENIZER, "from 0 to 319"},
    {"\"a\":97", "\"a\":-1", F_TOKENIZER, "the id -1"},
    {"\"a\":97", "\"a\":9999999999999", F_TOKENIZER, "9999999999999"},
    {"\"a\":97", "\"a\":97.5", F_TOKENIZER, "whole number"},
    {"\"a\":97,", "", F_TOKENIZER, "319"},
    {"\"a\":97", "\"\xE2\x82\xAC\":97", F_TOKENIZER, "byte 0x61"},
    {"\"a\":97", "\"\":97", F_TOKENIZER, "is empty"},
    {"\"a\":97", "\"b\":97", F_TOKENIZER, "duplicate"},
    {"\"merges\":[\"", "\"merges\":[\"\xC4\x89\xC4\x89 a\",\"", F_TOKENIZER, "left side"},
    {"\"merges\":[\"", "\"merges\":[\"a \xC4\x89\xC4\x89\",\"", F_TOKENIZER, "right side"},
    {"\"merges\":[\"", "\"merges\":[\"\xC4\x89 \xC4\x88\",\"", F_TOKENIZER, "result"},
    {"\"merges\":[\"", "\"merges\":[\"a\",\"", F_TOKENIZER, "not a pair"},
    {"\"merges\":[\"", "\"merges\":[\"a b c\",\"", F_TOKENIZER, "not a pair"},
    {"\"merges\":[\"", "\"merges\":[[\"a\",\"b\",\"c\"],\"", F_TOKENIZER, "not a pair"},
    {"\"merges\":[\"", "\"merges\":[7,\"", F_TOKENIZER, "not a pair"},
    {"\"merges\":[\"", "\"merges\":[\"\xE2\x82\xAC a\",\"", F_TOKENIZER, "byte map"},
    {"\"merges\":[", "\"merges\":{\"x\":[]},\"other\":[", F_TOKENIZER, "an array"},
    {"\"id\":257", "\"id\":256", F_TOKENIZER, "two ids"},
    {"\"content\":\"<think>\"", "\"content\":\"\"", F_TOKENIZER, "261"},
    {"\"added_tokens\":[", "\"added_tokens\":[5,", F_TOKENIZER, "added_tokens[0]"},
    {"\"added_tokens\":[", "\"added_tokens\":7,\"other\":[", F_TOKENIZER, "not a list"},
    {"\"model\":", "\"nodel\":", F_TOKENIZER, "\"model\" is missing"},
    {"\"vocab\":", "\"cobav\":", F_TOKENIZER, "\"vocab\" is missing"},
};

TEST(tokenizer_refuses_what_it_does_not_understand) {
    size_t n;
    char *json = small_json(&n);
    int64_t live = mem_live_blocks();
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const refusal *r = &refusals[i];
        char *bad = replace_once(json, r->from, r->to);
        REQUIRE(bad != NULL, "%s is not in the file", r->from);
        tokenizer *t;
        status s = tokenizer_parse(&t, bad, strlen(bad), "bad.json");
        const error_report *e = error_last();
        CHECK(s != STATUS_OK && t == NULL && e->id == r->id, "%s: status %d, F%04d", r->to, (int)s,
              (int)e->id);
        CHECK(strstr(e->what, r->says) || strstr(e->where, r->says) || strstr(e->why, r->says),
              "%s: \"%s\" at \"%s\" because \"%s\" does not say %s", r->to, e->what, e->where,
              e->why, r->says);
        CHECK(strstr(e->where, "bad.json") != NULL, "%s: where is \"%s\"", r->to, e->where);
        CHECK(e->what[0] && e->why[0] && e->fix[0], "%s: an empty part", r->to);
        mem_free(bad);
        CHECK(mem_live_blocks() == live, "%s leaks", r->to);
    }
    mem_free(json);
}

TEST(tokenizer_accepts_other_spellings) {
    static const char *const same[][2] = {
        {"\"type\":\"BPE\",", ""},
        {"\"version\":\"1.0\",", ""},
        {"\"continuing_subword_prefix\":null", "\"continuing_subword_prefix\":\"\""},
        {"\"normalizer\":null", "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[]}"},
        {"[\\r\\n]*", "[\\\\r\\\\n]*"},
        {"\"single_word\":false,", ""},
    };
    size_t n;
    char *json = small_json(&n);
    tokenizer *t, *other;
    REQUIRE_OK(tokenizer_parse(&t, json, n, "small"));
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        char *changed = replace_once(json, same[i][0], same[i][1]);
        REQUIRE(changed != NULL, "%s is not in the file", same[i][0]);
        REQUIRE_OK(tokenizer_parse(&other, changed, strlen(changed), "changed"));
        check_same(t, other);
        tokenizer_free(other);
        mem_free(changed);
    }
    /* merges as pairs */
    char *at = strstr(json, "\"merges\":["), pair[64], *end = strchr(at, ' ');
    char *first = at + strlen("\"merges\":[");
    snprintf(pair, sizeof pair, "[%.*s\",\"%.*s]", (int)(end - first), first,
             (int)(strchr(end, '"') + 1 - end - 1), end + 1);
    char old[64];
    snprintf(old, sizeof old, "%.*s", (int)(strchr(end, '"') + 1 - first), first);
    char *changed = replace_once(at, old, pair);
    char *whole = replace_once(json, at, changed);
    REQUIRE_OK(tokenizer_parse(&other, whole, strlen(whole), "pairs"));
    check_same(t, other);
    tokenizer_free(other);
    mem_free(changed);
    mem_free(whole);
    tokenizer_free(t);
    mem_free(json);
}

/* -- mutations: every value of the file in turn becomes one of another kind -- */

typedef struct mutation_count {
    int made, refused;
} mutation_count;

/* Parses what the root now is: accepted, or an error that names the file. */
static void try_mutation(json_t *root, const char *path, mutation_count *c) {
    char *json = json_line(root);
    REQUIRE(json != NULL, "no memory");
    tokenizer *t;
    error_clear();
    status s = tokenizer_parse(&t, json, strlen(json), "bad.json");
    const error_report *e = error_last();
    c->made++;
    c->refused += s != STATUS_OK;
    if (s != STATUS_OK) {
        CHECK(e->id == F_TOKENIZER || e->id == F_TOKENIZER_UNSUPPORTED, "%s: F%04d", path,
              (int)e->id);
        CHECK(strstr(e->where, "bad.json") != NULL && e->what[0] && e->why[0] && e->fix[0],
              "%s: \"%s\" at \"%s\" because \"%s\"", path, e->what, e->where, e->why);
    }
    tokenizer_free(t);
    mem_free(json);
}

/* Replaces (NULL: removes) the member of an object or list, tries, and puts it back. */
static void mutate(json_t *root, json_t *parent, const char *key, size_t index, json_t *value,
                   const char *path, mutation_count *c) {
    json_t *kept =
        json_incref(key != NULL ? json_object_get(parent, key) : json_array_get(parent, index));
    if (key != NULL && value != NULL) json_object_set_new(parent, key, value);
    if (key != NULL && value == NULL) json_object_del(parent, key);
    if (key == NULL && value != NULL) json_array_set_new(parent, index, value);
    if (key == NULL && value == NULL) json_array_remove(parent, index);
    try_mutation(root, path, c);
    if (key != NULL) json_object_set_new(parent, key, kept);
    if (key == NULL && value != NULL) json_array_set_new(parent, index, kept);
    if (key == NULL && value == NULL) json_array_insert_new(parent, index, kept);
}

static void mutate_all_kinds(json_t *root, json_t *parent, const char *key, size_t index,
                             const char *path, mutation_count *c) {
    for (int kind = 0; kind < 9; kind++) {
        json_t *value = NULL;
        switch (kind) {
        case 0: break;
        case 1: value = json_null(); break;
        case 2: value = json_true(); break;
        case 3: value = json_integer(-1); break;
        case 4: value = json_real(0.5); break;
        case 5: value = json_string(""); break;
        case 6: value = json_string("\xE2\x82\xAC x"); break;
        case 7: value = json_array(); break;
        default: value = json_object();
        }
        mutate(root, parent, key, index, value, text("%s, kind %d", path, kind), c);
    }
}

static void mutate_below(json_t *root, json_t *at, const char *path, mutation_count *c) {
    char below[200];
    const char *key;
    json_t *value;
    void *next;
    int count = 0;
    json_object_foreach_safe(at, next, key, value) {
        if (count++ == 12) break; /* of the vocabulary a few */
        snprintf(below, sizeof below, "%s.%.40s", path, key);
        char name[80];
        snprintf(name, sizeof name, "%s", key);
        mutate_below(root, value, below, c);
        mutate_all_kinds(root, at, name, 0, below, c);
    }
    for (size_t i = 0; i < json_array_size(at) && i < 3; i++) {
        snprintf(below, sizeof below, "%s[%zu]", path, i);
        mutate_below(root, json_array_get(at, i), below, c);
        mutate_all_kinds(root, at, NULL, i, below, c);
    }
}

TEST(tokenizer_mutations_name_their_place) {
    size_t n;
    char *json = small_json(&n);
    json_t *root;
    REQUIRE_OK(json_parse(json, n, "small.json", &root));
    int64_t live = mem_live_blocks();
    mutation_count c = {0};
    mutate_below(root, root, "", &c);
    CHECK(c.refused >= 200, "%d of %d refused", c.refused, c.made);
    CHECK(mem_live_blocks() == live, "leak");
    printf("  %d of %d mutations refused, each with its place\n", c.refused, c.made);
    json_decref(root);
    mem_free(json);
}

TEST(tokenizer_truncated_anywhere_is_refused) {
    size_t n;
    char *json = small_json(&n);
    int64_t live = mem_live_blocks();
    for (size_t cut = 0; cut < n; cut += 1 + n / 300) {
        tokenizer *t;
        status s = tokenizer_parse(&t, json, cut, "cut.json");
        REQUIRE(s == STATUS_FORMAT && error_last()->id == F_TOKENIZER && t == NULL,
                "cut at %zu: status %d", cut, (int)s);
        REQUIRE(strstr(error_last()->where, "cut.json") != NULL, "where %s", error_last()->where);
    }
    CHECK(mem_live_blocks() == live, "leak");
    mem_free(json);
}

TEST(tokenizer_missing_files) {
    const char *folder = test_folder();
    tokenizer *t;
    CHECK(tokenizer_open(&t, folder) == STATUS_IO && error_last()->id == F_MISSING, "empty folder");
    CHECK(tokenizer_open(&t, text("%s/none.json", folder)) == STATUS_IO, "no file");
    REQUIRE_OK(file_write(text("%s/vocab.json", folder), "{}", 2));
    CHECK(tokenizer_open(&t, folder) == STATUS_IO && t == NULL, "no merges.txt");
    REQUIRE_OK(file_write(text("%s/merges.txt", folder), "\xFF\xFE x\n", 5));
    CHECK(tokenizer_open(&t, folder) == STATUS_FORMAT && t == NULL, "merges.txt not UTF-8");
    REQUIRE_OK(file_write(text("%s/vocab.json", folder), "[]", 2));
    REQUIRE_OK(file_write(text("%s/merges.txt", folder), "a b\n", 4));
    CHECK(tokenizer_open(&t, folder) == STATUS_FORMAT && t == NULL, "vocab.json not an object");
}

TEST(tokenizer_survives_failing_allocations) {
    size_t n, m;
    char *json = small_json(&n), *again;
    int64_t live = mem_live_blocks();
    bool passed = false;
    for (int64_t at = 1; !passed; at++) {
        tokenizer *t;
        mem_fail_at(at);
        status s = tokenizer_parse(&t, json, n, "small.json");
        if (s == STATUS_OK) {
            s = tokenizer_format(t, &again, &m);
            if (s == STATUS_OK) {
                CHECK(m == n && memcmp(again, json, n) == 0, "written differently");
                mem_free(again);
            }
        }
        passed = !mem_failed();
        mem_fail_at(0);
        CHECK(passed ? s == STATUS_OK : s == STATUS_MEMORY, "allocation %d: status %d", (int)at,
              (int)s);
        tokenizer_free(t);
        REQUIRE(mem_live_blocks() == live && at < 100000, "allocation %d leaks", (int)at);
    }
    mem_free(json);
}
