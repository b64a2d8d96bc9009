/* test_loader.c - rows are a pure function of seed and index, cover everything once, and mask what
 * is not to be predicted. */
#include "data/loader.h"

#include "base/memory.h"
#include "base/pool.h"
#include "base/rng.h"
#include "data_fixture.h"
#include "test.h"

#define VOCAB 60000

typedef struct rows {
    int32_t *ids, *target, *next_id, *mtp, *first;
} rows;

static bool rows_make(rows *r, int T) {
    int32_t *block = mem_alloc((size_t)T * 5 * sizeof *block);
    *r = (rows){block, block + T, block + 2 * T, block + 3 * T, block + 4 * T};
    return block != NULL;
}
static status row(loader *l, int64_t index, const rows *r) {
    return loader_row(l, index, &(loader_slot){r->ids, r->target, r->next_id, r->mtp, r->first});
}

static int make_documents(int *documents, int n, int mean, uint64_t seed) {
    int64_t total = 0;
    for (int i = 0; i < n; i++) {
        documents[i] =
            2 + (int)rng_below(rng_at(seed, RNG_TEST, 9), (uint64_t)i, (uint64_t)mean * 2);
        total += documents[i];
    }
    return (int)total;
}

/* Checks one row against the law, token by token; `seen` counts targets by stream place. */
static void check_row(const int *documents, int n, int64_t total, int64_t at, int T, int repeated,
                      const rows *r, uint8_t *seen) {
    int64_t first, next_first, second_first;
    int wrong = 0;
    for (int i = 0; i < T; i++) {
        int64_t p = at + i;
        int32_t id = fixture_id(documents, n, p, VOCAB, &first);
        int32_t next = fixture_id(documents, n, p + 1, VOCAB, &next_first);
        int32_t second = fixture_id(documents, n, p + 2, VOCAB, &second_first);
        if (p >= total) {
            wrong += r->ids[i] != 0 || r->target[i] != -1 || r->mtp[i] != -1 || r->first[i] != i;
            continue;
        }
        bool counted = p + 1 < total && next_first == first && i >= repeated;
        bool counted_mtp = counted && p + 2 < total && second_first == first;
        int64_t row_first = first < at ? 0 : first - at;
        wrong += r->ids[i] != id || r->first[i] != row_first;
        wrong += r->target[i] != (counted ? next : -1);
        wrong += r->next_id[i] != (p + 1 < total ? next : 0);
        wrong += r->mtp[i] != (counted_mtp ? second : -1);
        if (r->target[i] >= 0 && p + 1 < total) seen[p + 1]++;
    }
    CHECK(wrong == 0, "row at %" PRId64 ": %d places", at, wrong);
}

/* Each place but the first of a document is a target exactly once. */
static void check_seen(const int *documents, int n, int64_t total, const uint8_t *seen) {
    int64_t first, wrong = 0;
    for (int64_t p = 0; p < total; p++) {
        fixture_id(documents, n, p, VOCAB, &first);
        wrong += seen[p] != (p == first ? 0 : 1);
    }
    CHECK(wrong == 0, "%" PRId64 " places of %" PRId64, wrong, total);
}

static void packed_epoch(int n, int mean, int cuts, int T) {
    int documents[256];
    int64_t total = make_documents(documents, n, mean, (uint64_t)T);
    char folder[512];
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(fixture_dataset(folder, SPLIT_TRAIN, documents, n, cuts, VOCAB));
    loader *l;
    loader_options o = {.folder = folder, .split = SPLIT_TRAIN, .seq_len = T, .seed = 5};
    REQUIRE_OK(loader_open(&l, &o));
    CHECK(loader_tokens(l) == total && loader_documents(l) == n, "counts");
    CHECK(loader_text_bytes(l) == 3 * total && loader_vocab_size(l) == VOCAB, "facts");
    CHECK(loader_rows(l) == (total - 2 + T) / T, "%" PRId64 " rows of %d for %" PRId64,
          loader_rows(l), T, total);
    rows r;
    uint8_t *seen = mem_zalloc((size_t)total, 1);
    REQUIRE(rows_make(&r, T) && seen != NULL, "memory");
    for (int64_t epoch = 0; epoch < 2; epoch++) {
        memset(seen, 0, (size_t)total);
        rng order = rng_at(5, RNG_ORDER, (uint64_t)epoch);
        for (int64_t i = 0; i < loader_rows(l); i++) {
            REQUIRE_OK(row(l, epoch * loader_rows(l) + i, &r));
            int64_t at = T * (int64_t)rng_permute(order, (uint64_t)i, (uint64_t)loader_rows(l));
            check_row(documents, n, total, at, T, 0, &r, seen);
        }
        check_seen(documents, n, total, seen);
    }
    mem_free(r.ids);
    mem_free(seen);
    loader_close(l);
}

TEST(loader_sees_every_token_once_an_epoch) {
    packed_epoch(40, 30, 7, 16);
    packed_epoch(40, 30, 1, 64);   /* a shard a document */
    packed_epoch(5, 400, 5, 33);   /* documents longer than rows */
    packed_epoch(200, 2, 50, 128); /* rows of many documents */
    packed_epoch(1, 5, 1, 100);    /* one row, mostly filling */
    packed_epoch(30, 20, 4, 1);    /* rows of one token */
}

TEST(loader_validation_is_whole_and_in_order_for_every_stride) {
    int documents[30];
    int T = 24;
    int64_t total = make_documents(documents, 30, 25, 3);
    char folder[512];
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(fixture_dataset(folder, SPLIT_VALIDATION, documents, 30, 9, VOCAB));
    rows r;
    uint8_t *seen = mem_zalloc((size_t)total, 1);
    REQUIRE(rows_make(&r, T) && seen != NULL, "memory");
    for (int stride = 0; stride <= T; stride += 3) {
        loader *l;
        loader_options o = {
            .folder = folder, .split = SPLIT_VALIDATION, .seq_len = T, .stride = stride};
        REQUIRE_OK(loader_open(&l, &o));
        int S = stride > 0 ? stride : T;
        memset(seen, 0, (size_t)total);
        for (int64_t i = 0; i < loader_rows(l); i++) {
            REQUIRE_OK(row(l, i, &r));
            check_row(documents, 30, total, i * S, T, i > 0 ? T - S : 0, &r, seen);
        }
        check_seen(documents, 30, total, seen);
        loader_close(l);
    }
    mem_free(r.ids);
    mem_free(seen);
}

/* Same seed and index: same row, whatever was asked before, by whichever loader, and from any
 * thread. Another seed: another order. */
typedef struct pure_job {
    loader *l;
    int T;
    int64_t n;
    int32_t *out; /* [n, T] */
    status *result;
} pure_job;
static void pure_chunk(void *context, int64_t i) {
    pure_job *j = context;
    j->result[i] =
        loader_row(j->l, j->n - 1 - i, &(loader_slot){.ids = j->out + (j->n - 1 - i) * j->T});
}

TEST(loader_rows_are_pure) {
    int documents[50], T = 20;
    make_documents(documents, 50, 30, 4);
    char folder[512];
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(fixture_dataset(folder, SPLIT_TRAIN, documents, 50, 8, VOCAB));
    loader *a, *b, *other;
    loader_options o = {.folder = folder, .split = SPLIT_TRAIN, .seq_len = T, .seed = 5};
    REQUIRE_OK(loader_open(&a, &o));
    REQUIRE_OK(loader_open(&b, &o));
    o.seed = 6;
    REQUIRE_OK(loader_open(&other, &o));
    CHECK(loader_fingerprint(a) == loader_fingerprint(b), "fingerprint");
    CHECK(loader_fingerprint(a) == loader_fingerprint(other), "the seed is not part of it");
    int64_t n = loader_rows(a) * 2 + 3;
    int32_t *one = mem_zalloc((size_t)(n * T), 4), *two = mem_zalloc((size_t)(n * T), 4);
    int32_t *three = mem_zalloc((size_t)(n * T), 4);
    status *result = mem_zalloc((size_t)n, sizeof *result);
    REQUIRE(one != NULL && two != NULL && three != NULL && result != NULL, "memory");
    for (int64_t i = 0; i < n; i++) {
        REQUIRE_OK(loader_row(a, i, &(loader_slot){.ids = one + i * T}));
        REQUIRE_OK(loader_row(other, i, &(loader_slot){.ids = three + i * T}));
    }
    REQUIRE_OK(pool_start(2));
    pure_job job = {b, T, n, two, result};
    pool_for(n, pure_chunk, &job);
    pool_stop();
    for (int64_t i = 0; i < n; i++)
        CHECK(result[i] == STATUS_OK, "row %" PRId64, i);
    CHECK(memcmp(one, two, (size_t)(n * T) * 4) == 0, "order of asking does not matter");
    CHECK(memcmp(one, three, (size_t)(n * T) * 4) != 0, "the seed does");
    CHECK(memcmp(one, one + loader_rows(a) * T, (size_t)(loader_rows(a) * T) * 4) != 0,
          "epochs differ");
    mem_free(one), mem_free(two), mem_free(three), mem_free(result);
    loader_close(a), loader_close(b), loader_close(other);
}

TEST(loader_stream_windows) {
    char folder[512], letters[1001];
    snprintf(folder, sizeof folder, "%s", test_folder());
    for (int i = 0; i < 1000; i++)
        letters[i] = (char)(1 + i % 251);
    letters[1000] = '\0';
    REQUIRE_OK(fixture_write(folder, "input.txt", letters));
    char path[600];
    snprintf(path, sizeof path, "%s/input.txt", folder);
    loader *train, *held;
    int T = 64;
    loader_options o = {.input = path, .split = SPLIT_TRAIN, .seq_len = T, .seed = 1};
    REQUIRE_OK(loader_open(&train, &o));
    o.split = SPLIT_VALIDATION;
    REQUIRE_OK(loader_open(&held, &o));
    CHECK(loader_tokens(train) == 900 && loader_tokens(held) == 100, "90 and 10 %%");
    CHECK(loader_vocab_size(held) == 256 && loader_text_bytes(held) == 100, "bytes");
    CHECK(loader_rows(train) == 15 && loader_rows(held) == 2, "%" PRId64, loader_rows(train));
    rows r;
    REQUIRE(rows_make(&r, T), "memory");
    uint8_t begins[900] = {0};
    for (int64_t i = 0; i < 20000; i++) {
        REQUIRE_OK(row(train, i, &r));
        /* place from the first two bytes: 251 is prime to the steps here, so search */
        int64_t at = -1;
        for (int64_t p = 0; p + T < 900 && at < 0; p++)
            if (letters[p] == (char)r.ids[0] && begins[p] != 2) at = p % 251;
        int wrong = 0;
        for (int j = 0; j < T; j++) {
            wrong += r.ids[j] != 1 + (at + j) % 251 || r.target[j] != 1 + (at + j + 1) % 251;
            wrong += r.first[j] != 0 || r.next_id[j] != r.target[j];
        }
        CHECK(wrong == 0, "window %" PRId64, i);
        begins[at] = 1;
    }
    int starts = 0;
    for (int i = 0; i < 251; i++)
        starts += begins[i];
    CHECK(starts == 251, "every start occurs: %d", starts);
    int64_t targets = 0;
    for (int64_t i = 0; i < loader_rows(held); i++) {
        REQUIRE_OK(row(held, i, &r));
        for (int j = 0; j < T; j++) {
            int64_t p = 900 + i * T + j;
            if (p + 1 < 1000) CHECK(r.target[j] == (uint8_t)letters[p + 1], "%" PRId64, p);
            if (p + 1 >= 1000) CHECK(r.target[j] == -1, "%" PRId64, p);
            targets += r.target[j] >= 0;
        }
    }
    CHECK(targets == 99, "validation whole: %" PRId64, targets);
    mem_free(r.ids);
    loader_close(train), loader_close(held);
}

/* The last window must have a last target: with n = T + 1 there is one window only. */
TEST(loader_stream_shortest_text) {
    char folder[512];
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(fixture_write(folder, "input.txt", "abcdefghij")); /* 9 and 1 */
    char path[600];
    snprintf(path, sizeof path, "%s/input.txt", folder);
    loader *l;
    loader_options o = {.input = path, .split = SPLIT_TRAIN, .seq_len = 8, .seed = 1};
    REQUIRE_OK(loader_open(&l, &o));
    int32_t target[8];
    for (int i = 0; i < 5; i++) {
        REQUIRE_OK(loader_row(l, i, &(loader_slot){.target = target}));
        CHECK(target[7] == 'i', "%d", target[7]);
    }
    loader_close(l);
    o.seq_len = 9;
    CHECK(loader_open(&l, &o) == STATUS_FORMAT && error_last()->id == F_NO_TEXT, "too short");
    o.split = SPLIT_VALIDATION;
    CHECK(loader_open(&l, &o) == STATUS_FORMAT && error_last()->id == F_NO_TEXT, "one byte");
}

TEST(loader_damaged_block_is_named) {
    int documents[3] = {70000, 70000, 70000};
    char folder[512], path[600];
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(fixture_dataset(folder, SPLIT_TRAIN, documents, 3, 3, VOCAB));
    snprintf(path, sizeof path, "%s/train-00000.shard", folder);
    char *bytes;
    size_t n;
    REQUIRE_OK(file_read(path, 0, &bytes, &n));
    bytes[n - 300000] = (char)(bytes[n - 300000] ^ 4); /* token 60000 .. of 210000: block 0 */
    REQUIRE_OK(file_write(path, bytes, n));
    mem_free(bytes);
    loader *l;
    loader_options o = {.folder = folder, .split = SPLIT_TRAIN, .seq_len = 1000, .seed = 5};
    REQUIRE_OK(loader_open(&l, &o));
    int good = 0, bad = 0;
    int32_t ids[1000];
    for (int64_t i = 0; i < loader_rows(l); i++) {
        if (loader_row(l, i, &(loader_slot){.ids = ids}) == STATUS_OK) {
            good++;
            continue;
        }
        bad++;
        CHECK(error_last()->id == F_SHARD, "%s", error_last()->what);
        CHECK(strstr(error_last()->what, "train-00000.shard: block 0") != NULL, "%s",
              error_last()->what);
        CHECK(strstr(error_last()->where, "documents affected") != NULL, "%s", error_last()->where);
    }
    CHECK(bad == 66 && good == 144, "%d bad, %d good", bad, good);
    loader_close(l);
}

TEST(loader_refuses_what_cannot_be) {
    loader *l;
    int documents[2] = {10, 10};
    char folder[512];
    snprintf(folder, sizeof folder, "%s", test_folder());
    loader_options o = {.folder = folder, .split = SPLIT_TRAIN, .seq_len = 8};
    CHECK(loader_open(&l, &o) == STATUS_IO && error_last()->id == F_MISSING, "no dataset");
    REQUIRE_OK(fixture_dataset(folder, SPLIT_TRAIN, documents, 2, 1, VOCAB));
    o.seq_len = 0;
    CHECK(loader_open(&l, &o) == STATUS_USAGE, "no length");
    o.seq_len = 8, o.stride = 4;
    CHECK(loader_open(&l, &o) == STATUS_USAGE, "overlapping training rows");
    o.split = SPLIT_VALIDATION, o.stride = 9;
    CHECK(loader_open(&l, &o) == STATUS_USAGE, "stride beyond the row");
    o.stride = 0;
    CHECK(loader_open(&l, &o) == STATUS_FORMAT && error_last()->id == F_NO_TEXT, "no validation");
    o.input = folder;
    CHECK(loader_open(&l, &o) == STATUS_USAGE, "both inputs");
    o = (loader_options){.folder = folder, .seq_len = 8};
    REQUIRE_OK(file_write(text("%s/train-00001.shard", folder), "x", 1));
    CHECK(loader_open(&l, &o) == STATUS_FORMAT && error_last()->id == F_SHARD, "damaged shard");
    char *bytes;
    size_t n;
    REQUIRE_OK(file_read(text("%s/train-00000.shard", folder), 0, &bytes, &n));
    REQUIRE_OK(file_write(text("%s/train-00001.shard", folder), bytes, n));
    mem_free(bytes);
    CHECK(loader_open(&l, &o) == STATUS_FORMAT && error_last()->id == F_SHARD, "another's shard");
    CHECK(l == NULL, "nothing is left open");
}

static status open_and_read(const char *folder) {
    loader *l;
    loader_options o = {.folder = folder, .split = SPLIT_TRAIN, .seq_len = 8, .seed = 5};
    TRY(loader_open(&l, &o));
    int32_t ids[8];
    status s = loader_row(l, 3, &(loader_slot){.ids = ids});
    loader_close(l);
    return s;
}

TEST(loader_survives_every_allocation_failure) {
    int documents[5] = {10, 20, 10, 20, 10};
    char folder[512];
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(fixture_dataset(folder, SPLIT_TRAIN, documents, 5, 2, VOCAB));
    REQUIRE_OK(open_and_read(folder));
    int64_t before = mem_live_blocks(), n = 1;
    for (;; n++) {
        mem_fail_at(n);
        status s = open_and_read(folder);
        bool failed = mem_failed();
        mem_fail_at(0);
        CHECK(mem_live_blocks() == before, "allocation %" PRId64 " leaks", n);
        CHECK(s == (failed ? STATUS_MEMORY : STATUS_OK), "allocation %" PRId64 ": %d", n, (int)s);
        if (!failed || n > 2000) break;
    }
    CHECK(n > 10 && n < 2000, "%" PRId64, n);
}
