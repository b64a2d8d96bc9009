/* test_encode.c - laws of encoding: exact round trip, the definition of BPE, independence of cache
 * and threads, added tokens. */
#include "test.h"
#include "token_text.h"

#include "base/clock.h"
#include "base/pool.h"
#include "base/rng.h"
#include "tokens/tokens_internal.h"

static bool round_trip(encoder *e, const tokenizer *t, const uint8_t *text, size_t n) {
    token_list ids = {0};
    char *back = NULL;
    size_t back_n = 0;
    bool same = encoder_add(e, text, n, SPECIAL_AS_TEXT, &ids) == STATUS_OK &&
                tokenizer_decode(t, ids.ids, ids.n, true, &back, &back_n) == STATUS_OK &&
                back_n == n && memcmp(back, text, n) == 0;
    mem_free(back);
    token_list_clear(&ids);
    return same;
}

TEST(encode_random_text_round_trips) {
    static uint8_t text[3000];
    for (int kind = 0; kind < PRETOKENIZERS; kind++) {
        tokenizer *t;
        encoder *e;
        REQUIRE_OK(train_small(&t, 900, kind));
        REQUIRE_OK(encoder_new(&e, t));
        for (uint64_t i = 0; i < 200; i++) {
            size_t n = random_text(i % TEXT_KINDS, 1000 + i, text, i % 7 ? 300 : sizeof text);
            REQUIRE(round_trip(e, t, text, n), "%s: text %d", pretokenizer_name(kind), (int)i);
        }
        encoder_free(e);
        tokenizer_free(t);
    }
}

TEST(encode_byte_tokenizer_is_the_identity) {
    tokenizer *t;
    REQUIRE_OK(tokenizer_byte(&t));
    CHECK(tokenizer_vocab_size(t) == 256 && tokenizer_bos(t) == -1 && tokenizer_eos(t) == -1,
          "size %d", tokenizer_vocab_size(t));
    uint8_t text[512];
    for (int i = 0; i < 512; i++)
        text[i] = (uint8_t)(i * 7);
    token_list ids = {0};
    REQUIRE_OK(tokenizer_encode(t, text, sizeof text, SPECIAL_PARSE, &ids));
    REQUIRE(ids.n == sizeof text, "%zu ids", ids.n);
    for (size_t i = 0; i < ids.n; i++)
        CHECK(ids.ids[i] == text[i], "id %zu is %d", i, ids.ids[i]);
    token_list_clear(&ids);
    tokenizer_free(t);
}

/* The definition: for a trained vocabulary, apply the merges in order, each from left to right. */
static size_t merge_by_definition(const tokenizer *t, const uint8_t *piece, size_t n,
                                  int32_t *ids) {
    for (size_t i = 0; i < n; i++)
        ids[i] = t->byte_id[piece[i]];
    for (int32_t rank = 0; rank < t->n_merges; rank++) {
        const merge *m = &t->merges[rank];
        size_t kept = 0;
        for (size_t i = 0; i < n; i++) {
            bool pair = i + 1 < n && ids[i] == m->left && ids[i + 1] == m->right;
            ids[kept++] = pair ? m->result : ids[i];
            i += pair;
        }
        n = kept;
    }
    return n;
}

TEST(encode_follows_the_definition_of_bpe) {
    static uint8_t text[700];
    static int32_t expected[700], found[700];
    tokenizer *t;
    REQUIRE_OK(train_small(&t, 1200, PRETOKENIZER_DEEPSEEK_V3));
    merge_scratch scratch = {0};
    for (uint64_t i = 0; i < 300; i++) { /* short pieces by the array, long ones by the heap */
        size_t n = random_text(i % TEXT_KINDS, 3000 + i, text, 10 + (i * 37) % 690), count;
        if (n == 0) continue;
        if (i % 10 == 0) memset(text, "aeth"[i / 10 % 4], n);
        size_t n_expected = merge_by_definition(t, text, n, expected);
        REQUIRE_OK(merge_piece(t, text, n, &scratch, found, &count));
        REQUIRE(count == n_expected && memcmp(found, expected, count * sizeof *found) == 0,
                "piece %d of %zu bytes: %zu ids, expected %zu", (int)i, n, count, n_expected);
        REQUIRE_OK(cover_piece(t, text, n, &scratch, found, &count));
        REQUIRE(count == n_expected && memcmp(found, expected, count * sizeof *found) == 0,
                "piece %d of %zu bytes covered: %zu ids, expected %zu", (int)i, n, count,
                n_expected);
    }
    merge_scratch_clear(&scratch);
    tokenizer_free(t);
}

/* -- covering against merging, for vocabularies that no training would make -- */

typedef struct odd_vocabulary {
    uint8_t bytes[300][16];
    size_t length[300];
    merge merges[60];
    int32_t n, n_merges;
} odd_vocabulary;

/* Random merges of what is there, over three letters; several may make the same token. */
static void draw_vocabulary(odd_vocabulary *v, rng key) {
    v->n = v->n_merges = 0;
    for (; v->n < 256; v->n++) {
        v->bytes[v->n][0] = (uint8_t)v->n;
        v->length[v->n] = 1;
    }
    for (uint64_t i = 0; i < 40; i++) {
        uint32_t known = 3 + (uint32_t)(v->n - 256), sides[2];
        uint8_t joined[16];
        size_t n = 0;
        for (uint32_t k = 0; k < 2; k++) {
            uint32_t pick = (uint32_t)rng_below(key, 2 * i + k, known);
            sides[k] = pick < 3 ? 'a' + pick : 256 + pick - 3;
            if (n + v->length[sides[k]] > sizeof joined) return;
            memcpy(joined + n, v->bytes[sides[k]], v->length[sides[k]]);
            n += v->length[sides[k]];
        }
        bool twice = false;
        for (int32_t m = 0; m < v->n_merges; m++)
            twice |=
                v->merges[m].left == (int32_t)sides[0] && v->merges[m].right == (int32_t)sides[1];
        if (twice) continue;
        int32_t id = 0;
        while (id < v->n && (v->length[id] != n || memcmp(v->bytes[id], joined, n) != 0))
            id++;
        memcpy(v->bytes[id], joined, n);
        v->length[id] = n;
        if (id == v->n) v->n++;
        v->merges[v->n_merges++] = (merge){(int32_t)sides[0], (int32_t)sides[1], id};
    }
}

static status make_vocabulary(tokenizer **out, const odd_vocabulary *v) {
    size_t total = 0;
    for (int32_t id = 0; id < v->n; id++)
        total += v->length[id];
    TRY(tokenizer_allocate(out, v->n, total, v->n_merges, 0));
    tokenizer *t = *out;
    for (int32_t id = 0; id < v->n; id++) {
        memcpy(t->blob + t->offset[id], v->bytes[id], v->length[id]);
        t->offset[id + 1] = t->offset[id] + (uint32_t)v->length[id];
        t->flags[id] = TOKEN_MODEL;
    }
    if (v->n_merges > 0) memcpy(t->merges, v->merges, (size_t)v->n_merges * sizeof *t->merges);
    TRY(tokenizer_index_tokens(t, "odd vocabulary"));
    return tokenizer_index(t, "odd vocabulary");
}

static void compare_ways(const tokenizer *t, rng key, int vocabulary) {
    uint8_t piece[1500];
    int32_t merged[1500], covered[1500];
    merge_scratch scratch = {0};
    for (uint64_t i = 0; i < 40; i++) {
        size_t n = i == 39 ? sizeof piece : 1 + rng_below(key, 1000 + i, 70), n_merged, n_covered;
        uint32_t letters = 1 + (uint32_t)rng_below(key, 2000 + i, 4); /* the fourth has no merge */
        for (size_t k = 0; k < n; k++)
            piece[k] = (uint8_t)('a' + rng_below(key, 10000 * i + k, letters));
        REQUIRE_OK(merge_piece(t, piece, n, &scratch, merged, &n_merged));
        REQUIRE_OK(cover_piece(t, piece, n, &scratch, covered, &n_covered));
        REQUIRE(n_merged == n_covered && memcmp(merged, covered, n_merged * sizeof *merged) == 0,
                "vocabulary %d, %zu bytes: %zu ids, merging gives %zu", vocabulary, n, n_covered,
                n_merged);
    }
    merge_scratch_clear(&scratch);
}

TEST(encode_covering_is_merging) {
    int coverable = 0, shared = 0;
    for (int i = 0; i < 600; i++) {
        static odd_vocabulary v;
        rng key = rng_at(77, RNG_TEST, (uint64_t)i);
        tokenizer *t;
        draw_vocabulary(&v, key);
        REQUIRE_OK(make_vocabulary(&t, &v));
        if (t->cover.nodes != NULL) {
            coverable++;
            shared += v.n_merges > v.n - 256;
            compare_ways(t, key, i);
        }
        tokenizer_free(t);
    }
    CHECK(coverable > 50 && coverable < 600 && shared > 5,
          "%d of 600 can be covered, %d of them make a token in two ways", coverable, shared);
    printf("  %d of 600 can be covered, %d of them make a token in two ways\n", coverable, shared);
}

/* Borders between words of three-byte characters are mostly judged by the bytes beside them: words
 * that share characters, cut where no merge made them and where some did. */
TEST(encode_covering_is_merging_in_chinese) {
    static uint8_t corpus[60000], piece[900];
    static int32_t merged[900], covered[900];
    const rng key = rng_at(78, RNG_TEST, 0);
    size_t n = 0;
    for (uint64_t i = 0; n + 10 < sizeof corpus; i++) {
        uint32_t word = (uint32_t)(rng_below(key, 2 * i, 40) * rng_below(key, 2 * i + 1, 40));
        for (uint32_t k = 0; k < 2 + word % 2; k++) {
            uint32_t c = 0x4E00 + (word * (k + 7) + k) % 300 * 61;
            corpus[n++] = (uint8_t)(0xE0 | c >> 12);
            corpus[n++] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
            corpus[n++] = (uint8_t)(0x80 | (c & 0x3F));
        }
        if (i % 9 == 0) corpus[n++] = ' ';
    }
    bpe_trainer *b;
    tokenizer *t;
    REQUIRE_OK(bpe_trainer_new(
        &b, &(bpe_options){.vocab_size = 1500, .pretokenizer = PRETOKENIZER_DEEPSEEK_V3}));
    REQUIRE_OK(bpe_trainer_add(b, &(text_span){(const char *)corpus, n}, 1));
    REQUIRE_OK(bpe_trainer_finish(b, &t));
    bpe_trainer_free(b);
    REQUIRE(t->cover.nodes != NULL, "a trained vocabulary cannot be covered");
    merge_scratch scratch = {0};
    for (uint64_t i = 0; i < 400; i++) { /* from anywhere, also inside a character */
        size_t from = rng_below(key, 100000 + 2 * i, (uint32_t)(n - sizeof piece));
        size_t length = 1 + rng_below(key, 100001 + 2 * i, sizeof piece), n_merged, n_covered;
        memcpy(piece, corpus + from, length);
        for (size_t k = 0; i % 3 == 0 && k < length; k += 40)
            memcpy(piece + k, corpus + (from + 31 * k) % (n - 40),
                   length - k < 20 ? length - k : 20);
        REQUIRE_OK(merge_piece(t, piece, length, &scratch, merged, &n_merged));
        REQUIRE_OK(cover_piece(t, piece, length, &scratch, covered, &n_covered));
        REQUIRE(n_merged == n_covered && memcmp(merged, covered, n_merged * sizeof *merged) == 0,
                "piece %d of %zu bytes: %zu ids, merging gives %zu", (int)i, length, n_covered,
                n_merged);
    }
    merge_scratch_clear(&scratch);
    tokenizer_free(t);
}

/* -- repetition -- */

/* Letters, some of them repeated with a period, into `piece`; the length. Stretches are long enough
 * to be pumped, or just not. */
static size_t repetitive_piece(rng key, uint32_t letters, uint8_t *piece, size_t room) {
    size_t n = 0;
    for (uint64_t part = 0; part < 5; part++) {
        size_t odd = rng_below(key, 10 * part, 40), period = 1 + rng_below(key, 10 * part + 1, 70);
        size_t most[] = {300, 4200, 9000}, long_run = most[rng_below(key, 10 * part + 2, 3)];
        size_t run = rng_below(key, 10 * part + 3, (uint32_t)long_run);
        if (n + odd + period + run > room) break;
        for (size_t i = 0; i < odd + period; i++)
            piece[n++] = (uint8_t)('a' + rng_below(key, 1000 * (part + 1) + i, letters));
        for (size_t i = 0; i < run; i++, n++)
            piece[n] = piece[n - period];
    }
    return n;
}

TEST(encode_repetition_is_merging) {
    static uint8_t piece[40000];
    static int32_t merged[40000], covered[40000];
    int pieces = 0, vocabularies = test_long() ? 400 : 60;
    for (int i = 0; i < vocabularies; i++) {
        static odd_vocabulary v;
        rng key = rng_at(78, RNG_TEST, (uint64_t)i);
        tokenizer *t;
        merge_scratch scratch = {0}; /* it remembers pairs of one vocabulary */
        draw_vocabulary(&v, key);
        REQUIRE_OK(make_vocabulary(&t, &v));
        for (uint64_t k = 0; k < 6; k++) {
            size_t n = repetitive_piece(rng_at(79, RNG_TEST, 100 * (uint64_t)i + k),
                                        1 + (uint32_t)(k % 3), piece, sizeof piece);
            size_t n_merged, n_covered;
            if (n == 0) continue;
            REQUIRE_OK(merge_piece(t, piece, n, &scratch, merged, &n_merged));
            REQUIRE_OK(encode_piece(t, piece, n, &scratch, covered, &n_covered));
            REQUIRE(n_merged == n_covered && memcmp(merged, covered, n_merged * 4) == 0,
                    "vocabulary %d, piece %d of %zu bytes: %zu ids, merging gives %zu", i, (int)k,
                    n, n_covered, n_merged);
            pieces++;
        }
        merge_scratch_clear(&scratch);
        tokenizer_free(t);
    }
    CHECK(pieces > vocabularies, "only %d pieces", pieces);
}

/* The search notes one bit for each byte it is given; if it is given little, the room stays small. */
TEST(encode_long_repetition_is_hardly_searched) {
    static const char *const units[] = {
        "-", "=", " ", "\n", "7", "ab", "th", "-=-=--", "\xF0\x9F\x98\x80"};
    size_t most = (size_t)1 << 18, count;
    uint8_t *piece = mem_alloc(most);
    int32_t *ids = mem_alloc(most * sizeof *ids);
    tokenizer *t;
    REQUIRE_OK(train_small(&t, 1200, PRETOKENIZER_DEEPSEEK_V3));
    REQUIRE(t->cover.nodes != NULL, "it has no cover");
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        merge_scratch scratch = {0};
        size_t unit = strlen(units[u]);
        for (size_t i = 0; i < most; i++)
            piece[i] = (uint8_t)units[u][i % unit];
        REQUIRE_OK(encode_piece(t, piece, most - u, &scratch, ids, &count));
        CHECK(scratch.room < most / 64, "\"%s\" is searched as it is", units[u]);
        size_t bytes = 0, n;
        for (size_t i = 0; i < count; bytes += n, i++) {
            const uint8_t *token = tokenizer_token(t, ids[i], &n);
            REQUIRE(bytes + n <= most && memcmp(token, piece + bytes, n) == 0, "token %zu", i);
        }
        CHECK(bytes == most - u, "%zu bytes", bytes);
        merge_scratch_clear(&scratch);
    }
    mem_free(piece);
    mem_free(ids);
    tokenizer_free(t);
}

/* A side that a later merge makes: merging is not in the order of ranks, so there is no cover. */
TEST(encode_without_cover_where_births_do_not_ascend) {
    static odd_vocabulary v;
    draw_vocabulary(&v, rng_at(1, RNG_TEST, 1));
    v.n = 258;
    memcpy(v.bytes[256], "ab", 2), v.length[256] = 2;
    memcpy(v.bytes[257], "abc", 3), v.length[257] = 3;
    v.merges[0] = (merge){256, 'c', 257};
    v.merges[1] = (merge){'a', 'b', 256};
    v.n_merges = 2;
    tokenizer *t;
    token_list ids = {0};
    REQUIRE_OK(make_vocabulary(&t, &v));
    CHECK(t->cover.nodes == NULL, "it has a cover");
    REQUIRE_OK(tokenizer_encode(t, "abcab", 5, SPECIAL_AS_TEXT, &ids));
    CHECK(ids.n == 2 && ids.ids[0] == 257 && ids.ids[1] == 256, "%zu ids", ids.n);
    token_list_clear(&ids);
    tokenizer_free(t);
}

TEST(encode_does_not_depend_on_what_came_before) {
    static uint8_t text[20000];
    tokenizer *t;
    encoder *warm;
    REQUIRE_OK(train_small(&t, 900, PRETOKENIZER_QWEN2));
    REQUIRE_OK(encoder_new(&warm, t));
    for (uint64_t i = 0; i < 60; i++) {
        size_t n = random_text(i % TEXT_KINDS, 5000 + i, text, sizeof text);
        token_list a = {0}, b = {0};
        REQUIRE_OK(encoder_add(warm, text, n, SPECIAL_AS_TEXT, &a));
        REQUIRE_OK(tokenizer_encode(t, text, n, SPECIAL_AS_TEXT, &b));
        REQUIRE(a.n == b.n && memcmp(a.ids, b.ids, a.n * sizeof *a.ids) == 0, "text %d", (int)i);
        token_list_clear(&a);
        token_list_clear(&b);
    }
    encoder_free(warm);
    tokenizer_free(t);
}

typedef struct shared_work {
    const tokenizer *t;
    const uint8_t *text;
    size_t n;
    token_list out[8];
    status s[8];
} shared_work;

static void encode_chunk(void *context, int64_t i) {
    shared_work *w = context;
    w->s[i] = tokenizer_encode(w->t, w->text, w->n, SPECIAL_PARSE, &w->out[i]);
}

TEST(encode_shared_by_threads) {
    static uint8_t text[30000];
    shared_work w = {.text = text, .n = random_text(TEXT_MIXED, 9, text, sizeof text)};
    tokenizer *t;
    REQUIRE_OK(train_small(&t, 900, PRETOKENIZER_DEEPSEEK_V3));
    w.t = t;
    REQUIRE_OK(pool_start(2));
    pool_for(8, encode_chunk, &w);
    pool_stop();
    for (int i = 0; i < 8; i++) {
        CHECK(w.s[i] == STATUS_OK && w.out[i].n == w.out[0].n &&
                  memcmp(w.out[i].ids, w.out[0].ids, w.out[0].n * sizeof(int32_t)) == 0,
              "thread's text %d differs", i);
    }
    for (int i = 0; i < 8; i++)
        token_list_clear(&w.out[i]);
    tokenizer_free(t);
}

/* Seconds for n bytes that form one piece. */
static double seconds_for(encoder *e, const uint8_t *text, size_t n) {
    token_list ids = {0};
    double start = clock_seconds();
    status s = encoder_add(e, text, n, SPECIAL_AS_TEXT, &ids);
    double seconds = clock_seconds() - start;
    token_list_clear(&ids);
    return s == STATUS_OK ? seconds : -1;
}

TEST(encode_a_megabyte_of_one_letter) {
    tokenizer *t;
    encoder *e;
    size_t n = (size_t)1 << 20;
    uint8_t *text = mem_alloc(n);
    memset(text, 'a', n);
    REQUIRE_OK(train_small(&t, 1200, PRETOKENIZER_DEEPSEEK_V3));
    REQUIRE_OK(encoder_new(&e, t));
    CHECK(round_trip(e, t, text, n), "it comes back changed");
    double small = 1e9, large = 1e9;
    for (int i = 0; i < 3; i++) {
        double a = seconds_for(e, text, n / 16), b = seconds_for(e, text, n);
        if (a < small) small = a;
        if (b < large) large = b;
    }
    CHECK(large < 80 * small, "16 times the bytes take %.1f times as long", large / small);
    printf("  1 MiB of one letter: %.3f s\n", large);
    encoder_free(e);
    tokenizer_free(t);
    mem_free(text);
}

/* -- added tokens -- */

static size_t count_added(const tokenizer *t, const token_list *l) {
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        n += (t->flags[l->ids[i]] & TOKEN_ADDED) != 0;
    return n;
}

TEST(encode_added_tokens_only_when_asked) {
    tokenizer *t;
    REQUIRE_OK(train_small(&t, 700, PRETOKENIZER_DEEPSEEK_V3));
    const char *text = "a<think>b</think><think<｜User｜>hi<｜end▁of▁sentence｜>";
    token_list parsed = {0}, plain = {0};
    REQUIRE_OK(tokenizer_encode(t, text, strlen(text), SPECIAL_PARSE, &parsed));
    REQUIRE_OK(tokenizer_encode(t, text, strlen(text), SPECIAL_AS_TEXT, &plain));
    CHECK(count_added(t, &parsed) == 4, "%zu added tokens", count_added(t, &parsed));
    CHECK(count_added(t, &plain) == 0, "%zu added tokens in plain text", count_added(t, &plain));
    CHECK(parsed.ids[parsed.n - 1] == tokenizer_eos(t), "last id %d", parsed.ids[parsed.n - 1]);
    char *back;
    size_t n;
    REQUIRE_OK(tokenizer_decode(t, parsed.ids, parsed.n, true, &back, &n));
    CHECK(strcmp(back, text) == 0, "%s", back);
    mem_free(back);
    REQUIRE_OK(tokenizer_decode(t, parsed.ids, parsed.n, false, &back, &n));
    CHECK(strcmp(back, "a<think>b</think><thinkhi") == 0, "without specials: %s", back);
    mem_free(back);
    token_list_clear(&parsed);
    token_list_clear(&plain);
    tokenizer_free(t);
}

TEST(encode_longest_added_token_wins) {
    static const char *const added[] = {"<a", "<a>", "<a>b", "x<a>bc"};
    bpe_trainer *b;
    tokenizer *t;
    REQUIRE_OK(
        bpe_trainer_new(&b, &(bpe_options){.vocab_size = 260, .added = added, .n_added = 4}));
    REQUIRE_OK(bpe_trainer_finish(b, &t));
    bpe_trainer_free(b);
    static const struct {
        const char *text;
        int32_t ids[6];
    } cases[] = {{"<a", {256, -1}},
                 {"<a>", {257, -1}},
                 {"<a>bc", {258, 'c', -1}},
                 {"x<a>bc", {259, -1}},
                 {"x<a>bd", {'x', 258, 'd', -1}},
                 {"<<a<", {'<', 256, '<', -1}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        token_list ids = {0};
        REQUIRE_OK(tokenizer_encode(t, cases[i].text, strlen(cases[i].text), SPECIAL_PARSE, &ids));
        size_t n = 0;
        while (n < ids.n && cases[i].ids[n] == ids.ids[n])
            n++;
        CHECK(n == ids.n && cases[i].ids[n] == -1, "%s: differs at %zu", cases[i].text, n);
        token_list_clear(&ids);
    }
    tokenizer_free(t);
}

TEST(encode_appends_and_keeps_the_list_on_failure) {
    tokenizer *t;
    REQUIRE_OK(train_small(&t, 700, PRETOKENIZER_DEEPSEEK_V3));
    int64_t live = mem_live_blocks();
    static uint8_t text[3000];
    size_t n = random_text(TEXT_MIXED, 4, text, sizeof text);
    memset(text + 1000, 'q', 500); /* a long piece needs scratch memory */
    bool passed = false;
    for (int64_t at = 1; !passed; at++) {
        token_list ids = {0};
        REQUIRE_OK(tokenizer_encode(t, "abc", 3, SPECIAL_AS_TEXT, &ids));
        size_t before = ids.n;
        mem_fail_at(at);
        status s = tokenizer_encode(t, text, n, SPECIAL_PARSE, &ids);
        passed = !mem_failed();
        mem_fail_at(0);
        CHECK(passed ? s == STATUS_OK && ids.n > before : s == STATUS_MEMORY && ids.n == before,
              "allocation %d: status %d, %zu ids", (int)at, (int)s, ids.n);
        token_list_clear(&ids);
        REQUIRE(mem_live_blocks() == live && at < 100, "allocation %d leaks", (int)at);
    }
    tokenizer_free(t);
}
