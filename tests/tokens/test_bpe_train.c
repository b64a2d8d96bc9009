/* test_bpe_train.c - training against its definition, and its independence of order and threads. */
#include "test.h"
#include "token_text.h"

#include "base/clock.h"
#include "base/pool.h"
#include "tokens/tokens_internal.h"

/* -- the definition, slowly: count all pairs, merge the best, again -- */

typedef struct naive {
    int32_t words[20000][130];
    int n[20000];
    int64_t count[20000];
    int n_words;
    int64_t pairs[800][800];
    uint8_t bytes[800][260];
    size_t length[800];
} naive;

static void naive_add(naive *m, const uint8_t *piece, size_t n) {
    int32_t ids[130];
    for (size_t i = 0; i < n; i++)
        ids[i] = piece[i];
    for (int w = 0; w < m->n_words; w++)
        if (m->n[w] == (int)n && memcmp(m->words[w], ids, n * sizeof *ids) == 0) {
            m->count[w]++;
            return;
        }
    memcpy(m->words[m->n_words], ids, n * sizeof *ids);
    m->n[m->n_words] = (int)n;
    m->count[m->n_words++] = 1;
}

static bool naive_known(const naive *m, int32_t n_tokens, int32_t z) {
    for (int32_t id = 0; id < n_tokens; id++)
        if (m->length[id] == m->length[z] && memcmp(m->bytes[id], m->bytes[z], m->length[z]) == 0)
            return true;
    return false;
}

/* The best pair that spells a new token; false if none occurs twice. */
static bool naive_best(naive *m, int32_t n_tokens, merge *best) {
    memset(m->pairs, 0, sizeof m->pairs);
    for (int w = 0; w < m->n_words; w++)
        for (int i = 0; i + 1 < m->n[w]; i++)
            m->pairs[m->words[w][i]][m->words[w][i + 1]] += m->count[w];
    for (;;) {
        int64_t most = 1;
        for (int32_t a = 0; a < n_tokens; a++)
            for (int32_t b = 0; b < n_tokens; b++)
                if (m->pairs[a][b] > most) {
                    most = m->pairs[a][b];
                    *best = (merge){a, b, n_tokens};
                }
        if (most < 2) return false;
        size_t n = m->length[best->left];
        memcpy(m->bytes[n_tokens], m->bytes[best->left], n);
        memcpy(m->bytes[n_tokens] + n, m->bytes[best->right], m->length[best->right]);
        m->length[n_tokens] = n + m->length[best->right];
        if (!naive_known(m, n_tokens, n_tokens)) return true;
        m->pairs[best->left][best->right] = 0;
    }
}

static void naive_apply(naive *m, const merge *x) {
    for (int w = 0; w < m->n_words; w++) {
        int kept = 0;
        for (int i = 0; i < m->n[w]; i++) {
            bool pair =
                i + 1 < m->n[w] && m->words[w][i] == x->left && m->words[w][i + 1] == x->right;
            m->words[w][kept++] = pair ? x->result : m->words[w][i];
            i += pair;
        }
        m->n[w] = kept;
    }
}

static status train_text(tokenizer **out, const uint8_t *text, size_t n, int vocab_size) {
    bpe_trainer *b;
    TRY(bpe_trainer_new(
        &b, &(bpe_options){.vocab_size = vocab_size, .pretokenizer = PRETOKENIZER_DEEPSEEK_V3}));
    text_span span = {(const char *)text, n};
    TRY(bpe_trainer_add(b, &span, 1));
    TRY(bpe_trainer_finish(b, out));
    bpe_trainer_free(b);
    return STATUS_OK;
}

static void compare_with_naive(naive *m, const uint8_t *text, size_t n, int vocab_size) {
    memset(m, 0, sizeof *m);
    for (int32_t id = 0; id < 256; id++)
        m->bytes[id][0] = (uint8_t)id, m->length[id] = 1;
    size_t at = 0, end, from = 0;
    while (pretokenize(PRETOKENIZER_DEEPSEEK_V3, text, n, &at, &end, 1) > 0) {
        naive_add(m, text + from, end - from);
        from = end;
    }
    tokenizer *t;
    REQUIRE_OK(train_text(&t, text, n, vocab_size));
    int32_t id = 256;
    for (; id < vocab_size; id++) {
        merge x = {0};
        if (!naive_best(m, id, &x)) break;
        REQUIRE(id - 256 < t->n_merges, "only %d merges", t->n_merges);
        const merge *y = &t->merges[id - 256];
        REQUIRE(x.left == y->left && x.right == y->right, "merge %d is (%d, %d), expected (%d, %d)",
                id - 256, y->left, y->right, x.left, x.right);
        naive_apply(m, &x);
    }
    CHECK(t->n_merges == id - 256, "%d merges, expected %d", t->n_merges, id - 256);
    tokenizer_free(t);
}

TEST(bpe_train_follows_its_definition) {
    static uint8_t text[8000];
    naive *m = mem_alloc(sizeof *m);
    for (uint64_t i = 0; i < 4; i++) {
        size_t n = random_text(i % TEXT_MIXED, 40 + i, text, sizeof text);
        compare_with_naive(m, text, n, 600);
    }
    /* runs of one letter and repeats of two: overlapping occurrences */
    const char *runs = "aaaa aaaaaaa aaa abab ababab babab abcabcabc aaaa bbbb ababa aaaaa";
    compare_with_naive(m, (const uint8_t *)runs, strlen(runs), 300);
    compare_with_naive(m, (const uint8_t *)"x", 1, 300);
    mem_free(m);
}

TEST(bpe_train_same_for_any_order_and_threads) {
    enum { N = 12 };
    static uint8_t text[N][50000];
    text_span documents[N];
    for (int i = 0; i < N; i++) {
        size_t n = random_text(i % TEXT_KINDS, (uint64_t)i, text[i], sizeof text[i]);
        documents[i] = (text_span){(const char *)text[i], n};
    }
    char *first = NULL;
    for (int run = 0; run < 4; run++) {
        if (run >= 2) REQUIRE_OK(pool_start(run));
        bpe_trainer *b;
        bpe_options o = {.vocab_size = 2000,
                         .pretokenizer = PRETOKENIZER_DEEPSEEK_V3,
                         .added = bpe_default_added,
                         .n_added = BPE_DEFAULT_ADDED};
        REQUIRE_OK(bpe_trainer_new(&b, &o));
        if (run % 2 == 0) {
            REQUIRE_OK(bpe_trainer_add(b, documents, N));
        } else {
            for (int i = N; i-- > 0;)
                REQUIRE_OK(bpe_trainer_add(b, &documents[i], 1));
        }
        tokenizer *t;
        char *json;
        size_t n;
        REQUIRE_OK(bpe_trainer_finish(b, &t));
        REQUIRE_OK(tokenizer_format(t, &json, &n));
        if (first == NULL) first = mem_strdup(json);
        CHECK(strcmp(first, json) == 0, "run %d gives another vocabulary", run);
        CHECK(tokenizer_vocab_size(t) == 2000, "size %d", tokenizer_vocab_size(t));
        mem_free(json);
        tokenizer_free(t);
        bpe_trainer_free(b);
        pool_stop();
    }
    mem_free(first);
}

/* A document longer than a chunk is cut where it changes nothing. */
TEST(bpe_train_long_documents_count_as_whole) {
    size_t n = 1500000;
    uint8_t *text = mem_alloc(n);
    for (size_t i = 0; i < n; i++)
        text[i] = "the cat sat.\non the mat "[i % 24];
    memset(text + 500000, 'z', 400000); /* one piece over a whole chunk and more */
    bpe_trainer *b;
    REQUIRE_OK(
        bpe_trainer_new(&b, &(bpe_options){.vocab_size = 270, .pretokenizer = PRETOKENIZER_GPT2}));
    text_span span = {(const char *)text, n};
    REQUIRE_OK(bpe_trainer_add(b, &span, 1));
    CHECK(bpe_trainer_bytes(b) == (int64_t)n, "%d bytes", (int)bpe_trainer_bytes(b));
    /* the, cat, sat, mat with and without blank, "on", ".", newline, zzz..., and the two edges */
    CHECK(bpe_trainer_pieces(b) < 20, "%d pieces", (int)bpe_trainer_pieces(b));
    tokenizer *t;
    REQUIRE_OK(bpe_trainer_finish(b, &t));
    CHECK(tokenizer_vocab_size(t) == 270, "size %d", tokenizer_vocab_size(t));
    tokenizer_free(t);
    bpe_trainer_free(b);
    mem_free(text);
}

TEST(bpe_train_pieces_are_cut_between_characters) {
    uint8_t text[1200];
    for (size_t i = 0; i < sizeof text; i += 3)
        memcpy(text + i, "\xE4\xB8\xAD", 3);
    bpe_trainer *b;
    tokenizer *t;
    REQUIRE_OK(bpe_trainer_new(
        &b, &(bpe_options){.vocab_size = 400, .pretokenizer = PRETOKENIZER_DEEPSEEK_V3}));
    text_span span = {(const char *)text, sizeof text};
    REQUIRE_OK(bpe_trainer_add(b, &span, 1));
    CHECK(bpe_trainer_pieces(b) == 2, "%d pieces",
          (int)bpe_trainer_pieces(b)); /* 126 and the rest */
    REQUIRE_OK(bpe_trainer_finish(b, &t));
    for (int32_t id = 258; id < tokenizer_vocab_size(t); id++)
        CHECK(tokenizer_token_bytes(t, id) % 3 == 0, "token %d has %d bytes", id,
              tokenizer_token_bytes(t, id));
    tokenizer_free(t);
    bpe_trainer_free(b);
}

TEST(bpe_train_refuses_bad_options) {
    static const char *const twice[] = {"<x>", "<x>"}, *const empty[] = {""}, *const byte[] = {"a"},
                             *const invalid[] = {"\xFF\xFE"};
    const bpe_options bad[] = {{.vocab_size = 255},
                               {.vocab_size = 256, .added = twice, .n_added = 1},
                               {.vocab_size = 300, .added = empty, .n_added = 1},
                               {.vocab_size = 300, .added = invalid, .n_added = 1},
                               {.vocab_size = 1 << 30}};
    bpe_trainer *b;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(bpe_trainer_new(&b, &bad[i]) == STATUS_USAGE && b == NULL, "options %zu", i);
    for (int i = 0; i < 2; i++) {
        tokenizer *t;
        bpe_options o = {.vocab_size = 300, .added = i ? byte : twice, .n_added = i ? 1 : 2};
        REQUIRE_OK(bpe_trainer_new(&b, &o));
        CHECK(bpe_trainer_finish(b, &t) == STATUS_USAGE && t == NULL, "added tokens %d", i);
        bpe_trainer_free(b);
    }
}

static status train_briefly(tokenizer **out) {
    static uint8_t text[3000];
    size_t n = random_text(TEXT_MIXED, 3, text, sizeof text);
    text_span spans[2] = {{(const char *)text, n / 2}, {(const char *)text + n / 2, n - n / 2}};
    bpe_options o = {.vocab_size = 400,
                     .added = bpe_default_added,
                     .n_added = BPE_DEFAULT_ADDED,
                     .pretokenizer = PRETOKENIZER_DEEPSEEK_V3};
    bpe_trainer *b;
    *out = NULL;
    TRY(bpe_trainer_new(&b, &o));
    status s = bpe_trainer_add(b, spans, 2);
    if (s == STATUS_OK) s = bpe_trainer_finish(b, out);
    bpe_trainer_free(b);
    return s;
}

TEST(bpe_train_survives_failing_allocations) {
    tokenizer *t;
    REQUIRE_OK(train_briefly(&t));
    uint64_t expected = tokenizer_fingerprint(t);
    tokenizer_free(t);
    int64_t live = mem_live_blocks();
    bool passed = false;
    for (int64_t at = 1; !passed; at++) {
        mem_fail_at(at);
        status s = train_briefly(&t);
        passed = !mem_failed();
        mem_fail_at(0);
        CHECK(passed == (s == STATUS_OK), "allocation %d: status %d", (int)at, (int)s);
        if (s == STATUS_OK) CHECK(tokenizer_fingerprint(t) == expected, "another vocabulary");
        tokenizer_free(t);
        REQUIRE(mem_live_blocks() == live && at < 20000, "allocation %d leaks", (int)at);
    }
}

/* The bar is 3 s for 8,192 tokens from 10 MB; a noisy machine gets a factor of 3 here. */
TEST(bpe_train_is_fast_enough) {
    size_t n = 10000000, used = 0;
    uint8_t *text = mem_alloc(n);
    for (uint64_t i = 0; used + 64 < n; i++) /* word-like: a few syllables each */
        used += random_text(i % 16 ? TEXT_ASCII : TEXT_UNICODE, i % 60000, text + used,
                            i % 3           ? 24
                            : n - used < 60 ? 24
                                            : 60);
    REQUIRE_OK(pool_start(2));
    double start = clock_seconds();
    tokenizer *t;
    status s = train_text(&t, text, used, 8192);
    double seconds = clock_seconds() - start;
    pool_stop();
    REQUIRE_OK(s);
    printf("  8,192 tokens from %.1f MB: %.2f s\n", (double)used / 1e6, seconds);
    CHECK(seconds < 9 && tokenizer_vocab_size(t) == 8192, "%.2f s", seconds);
    tokenizer_free(t);
    mem_free(text);
}
