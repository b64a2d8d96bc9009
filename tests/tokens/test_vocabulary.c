/* test_vocabulary.c - tokenizers from the lists of GGUF files and back. */
#include "test.h"
#include "token_text.h"

#include "base/memory.h"
#include "base/rng.h"
#include "tokens/tokens_internal.h"
#include "tokens/vocabulary.h"

#include <math.h>

TEST(vocabulary_there_and_back) {
    for (int kind = 0; kind < PRETOKENIZERS; kind++) {
        tokenizer *t, *again;
        vocabulary *v;
        REQUIRE_OK(train_small(&t, 900, kind));
        int64_t live = mem_live_blocks();
        if (vocabulary_pre_name(t) == NULL) {
            CHECK(tokenizer_to_vocabulary(t, &v) == STATUS_UNSUPPORTED && v == NULL, "%s",
                  pretokenizer_name(kind));
        } else {
            REQUIRE_OK(tokenizer_to_vocabulary(t, &v));
            CHECK(v->model == VOCABULARY_BPE && vocabulary_pre_known(v->pre), "%s", v->pre);
            REQUIRE_OK(tokenizer_from_vocabulary(&again, v, "again"));
            bool repaired = again->nfc || again->ignore_merges; /* as readers of these names do */
            CHECK(repaired || tokenizer_fingerprint(again) == tokenizer_fingerprint(t), "%s",
                  pretokenizer_name(kind));
            CHECK(again->bos == t->bos && again->eos == t->eos, "BOS or EOS");
            tokenizer_free(again);
            vocabulary_free(v);
        }
        CHECK(mem_live_blocks() == live, "leak");
        tokenizer_free(t);
    }
}

/* -- SentencePiece -- */

#define SMALL_MOST 400

typedef struct small_vocabulary {
    vocabulary v;
    vocabulary_piece pieces[SMALL_MOST];
    char spelled[SMALL_MOST][48];
} small_vocabulary;

static void add_piece(small_vocabulary *s, const char *spelled, float score, piece_type type) {
    int32_t id = s->v.n++;
    snprintf(s->spelled[id], sizeof s->spelled[id], "%s", spelled);
    s->pieces[id] = (vocabulary_piece){s->spelled[id], strlen(spelled), score, type};
}

static void append(char *out, size_t room, const char *more) {
    size_t n = strlen(out);
    snprintf(out + n, room - n, "%s", more);
}

static const char *const letters[] = {BLANK_MARK, "a", "b", "c", "\xC3\xA9", "\xE4\xB8\xAD"};

/* Specials, bytes, letters, and `words` random words of them with random scores, some equal. */
static void draw_small(small_vocabulary *s, rng key, int words) {
    *s = (small_vocabulary){.v = {.model = VOCABULARY_SENTENCEPIECE, .bos = 1, .eos = 2}};
    add_piece(s, "<unk>", 0, PIECE_UNKNOWN);
    add_piece(s, "<s>", 0, PIECE_CONTROL);
    add_piece(s, "</s>", 0, PIECE_CONTROL);
    for (int b = 0; b < 256; b++)
        add_piece(s, text("<0x%02X>", b), 0, PIECE_BYTE);
    for (int i = 0; i < 6; i++)
        add_piece(s, letters[i], -1000.0f - (float)i, PIECE_NORMAL);
    for (int w = 0; w < words; w++) {
        char word[48] = "";
        uint64_t at = 100 * (uint64_t)w, n = 2 + rng_below(key, at, 4);
        for (uint64_t i = 1; i <= n; i++)
            append(word, sizeof word, letters[rng_below(key, at + i, 6)]);
        bool twice = false;
        for (int32_t id = 0; id < s->v.n; id++)
            twice |= strcmp(s->spelled[id], word) == 0;
        if (!twice) add_piece(s, word, -(float)rng_below(key, at + 50, 20), PIECE_NORMAL);
    }
    s->v.pieces = s->pieces;
}

static int32_t find_small(const small_vocabulary *s, const char *spelled, size_t n) {
    for (int32_t id = 259; id < s->v.n; id++)
        if (s->pieces[id].n == n && memcmp(s->spelled[id], spelled, n) == 0) return id;
    return -1;
}

/* The definition: join the neighbours whose piece has the highest score, of equals the leftmost. */
static size_t by_definition(const small_vocabulary *s, const char *spelled, int32_t *out) {
    size_t start[200], n = 0, count = 0;
    for (size_t i = 0; spelled[i] != 0; i++)
        if ((spelled[i] & 0xC0) != 0x80) start[n++] = i;
    start[n] = strlen(spelled);
    for (;;) {
        float best = -INFINITY;
        size_t at = n;
        for (size_t i = 0; i + 1 < n; i++) {
            int32_t id = find_small(s, spelled + start[i], start[i + 2] - start[i]);
            if (id >= 0 && s->pieces[id].score > best) best = s->pieces[at = i, id].score;
        }
        if (at == n) break;
        memmove(start + at + 1, start + at + 2, (n - at - 1) * sizeof *start);
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        int32_t id = find_small(s, spelled + start[i], start[i + 1] - start[i]);
        if (id >= 0) out[count++] = id;
        for (size_t k = start[i]; id < 0 && k < start[i + 1]; k++)
            out[count++] = 3 + (uint8_t)spelled[k];
    }
    return count;
}

/* Letters and now and then a character without a piece; blanks as marks or as blanks. */
static void draw_text(rng key, uint64_t number, char *spelled, char *plain) {
    uint64_t n = rng_below(key, number, 60);
    spelled[0] = plain[0] = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t c = rng_below(key, number + 1 + i, 40);
        const char *s = c == 39 ? "\xC3\xB6" : letters[c % 6];
        append(spelled, 400, s);
        append(plain, 400, c % 6 == 0 && c != 39 ? " " : s);
    }
}

TEST(vocabulary_sentencepiece_is_the_definition) {
    static small_vocabulary s;
    char spelled[400], plain[400];
    int32_t expected[400];
    int cut = 0;
    for (int i = 0; i < 60; i++) {
        rng key = rng_at(90, RNG_TEST, (uint64_t)i);
        tokenizer *t, *again;
        vocabulary *v;
        draw_small(&s, key, 10 + i);
        if (i % 3 == 0) /* no blank behind a letter: text may be cut at blanks */
            for (int32_t id = 265; id < s.v.n; id++)
                if (strstr(s.spelled[id] + 1, BLANK_MARK) != NULL) s.pieces[id].type = PIECE_UNUSED;
        for (int32_t id = s.v.n - 1; id >= 265; id--)
            if (s.pieces[id].type == PIECE_UNUSED) {
                s.pieces[id] = s.pieces[--s.v.n];
                memmove(s.spelled[id], s.spelled[s.v.n], sizeof s.spelled[id]);
                s.pieces[id].text = s.spelled[id];
            }
        REQUIRE_OK(tokenizer_from_vocabulary(&t, &s.v, "small"));
        cut += t->pretokenizer == PRETOKENIZER_BLANKS;
        for (uint64_t k = 0; k < 40; k++) {
            token_list ids = {0};
            char *back;
            size_t back_n;
            draw_text(key, 100000 + 100 * k, spelled, plain);
            size_t n = by_definition(&s, spelled, expected);
            REQUIRE_OK(tokenizer_encode(t, plain, strlen(plain), SPECIAL_AS_TEXT, &ids));
            REQUIRE(ids.n == n && (n == 0 || memcmp(ids.ids, expected, n * sizeof *expected) == 0),
                    "vocabulary %d, \"%s\": %zu ids, expected %zu", i, plain, ids.n, n);
            REQUIRE_OK(tokenizer_decode(t, ids.ids, ids.n, true, &back, &back_n));
            CHECK(strcmp(back, plain) == 0, "\"%s\" comes back as \"%s\"", plain, back);
            mem_free(back);
            token_list_clear(&ids);
        }
        REQUIRE_OK(tokenizer_to_vocabulary(t, &v));
        REQUIRE_OK(tokenizer_from_vocabulary(&again, v, "again"));
        CHECK(tokenizer_fingerprint(again) == tokenizer_fingerprint(t), "vocabulary %d", i);
        vocabulary_free(v);
        tokenizer_free(again);
        char *json;
        size_t json_n;
        REQUIRE_OK(tokenizer_format(t, &json, &json_n));
        REQUIRE_OK(tokenizer_parse(&again, json, json_n, "written"));
        CHECK(tokenizer_fingerprint(again) == tokenizer_fingerprint(t) && again->bos == t->bos &&
                  again->eos == t->eos && again->pretokenizer == t->pretokenizer,
              "vocabulary %d as JSON", i);
        mem_free(json);
        tokenizer_free(again);
        tokenizer_free(t);
    }
    CHECK(cut > 10 && cut < 60, "%d of 60 are cut at blanks", cut);
}

TEST(vocabulary_sentencepiece_prefix_and_specials) {
    static small_vocabulary s;
    tokenizer *t;
    token_list ids = {0};
    char *back;
    size_t n;
    draw_small(&s, rng_at(91, RNG_TEST, 0), 0);
    add_piece(&s, BLANK_MARK "a", -1, PIECE_NORMAL);
    s.v.space_prefix = true;
    REQUIRE_OK(tokenizer_from_vocabulary(&t, &s.v, "small"));
    REQUIRE_OK(tokenizer_encode(t, "<s>a a<s> \xFF", 11, SPECIAL_PARSE, &ids));
    const int32_t expected[] = {1, 265, 265, 1, 259, 259, 3 + 0xFF};
    CHECK(ids.n == 7 && memcmp(ids.ids, expected, sizeof expected) == 0, "%zu ids", ids.n);
    REQUIRE_OK(tokenizer_decode(t, ids.ids, ids.n, false, &back, &n));
    CHECK(n == 6 && memcmp(back, "a a  \xFF", 6) == 0, "%zu bytes", n);
    mem_free(back);
    token_stream stream;
    char joined[64] = "";
    const char *part;
    token_stream_init(&stream, t);
    for (int round = 0; round < 2; round++) { /* used afresh, it strips again */
        for (size_t i = 0; i < 3; i++) {
            REQUIRE_OK(token_stream_add(&stream, ids.ids[i], &part, &n));
            append(joined, sizeof joined, part);
        }
        REQUIRE_OK(token_stream_end(&stream, &part, &n));
    }
    CHECK(strcmp(joined, "a aa a") == 0, "%s", joined);
    token_stream_clear(&stream);
    token_list_clear(&ids);
    tokenizer_free(t);
}

TEST(vocabulary_refuses_what_contradicts_itself) {
    static small_vocabulary s;
    static const vocabulary_merge half = {"ab", 2}, odd = {"a q", 3};
    int64_t live = mem_live_blocks();
    for (int fault = 0; fault < 10; fault++) {
        tokenizer *t;
        status expected = STATUS_FORMAT;
        draw_small(&s, rng_at(92, RNG_TEST, 0), 20);
        switch (fault) {
        case 0: s.pieces[300 % s.v.n].n = 0; break;
        case 1: s.pieces[5].text = "<0xZZ>"; break;
        case 2: s.pieces[260].type = (piece_type)9, expected = STATUS_UNSUPPORTED; break;
        case 3: s.pieces[260].score = NAN; break;
        case 4: s.v.bos = s.v.n; break;
        case 5: s.pieces[260] = s.pieces[261]; break;
        case 6: s.pieces[7].type = PIECE_UNUSED; break; /* a byte is missing */
        case 7: s.v.n = 0; break;
        case 8:
            s.v.model = VOCABULARY_BPE, s.v.pre = "no-such-pre", expected = STATUS_UNSUPPORTED;
            for (int32_t id = 0; id < s.v.n; id++)
                s.pieces[id].type = PIECE_NORMAL;
            break;
        default: s.v.model = VOCABULARY_BPE, s.v.pre = "gpt-2", expected = STATUS_UNSUPPORTED;
        }
        CHECK(tokenizer_from_vocabulary(&t, &s.v, "small.gguf") == expected && t == NULL,
              "fault %d", fault);
        const error_report *e = error_last();
        CHECK(strstr(e->where, "small.gguf") && e->what[0] && e->why[0] && e->fix[0], "fault %d",
              fault);
    }
    tokenizer *bytes, *t;
    vocabulary *v;
    REQUIRE_OK(train_small(&bytes, 300, PRETOKENIZER_GPT2));
    REQUIRE_OK(tokenizer_to_vocabulary(bytes, &v));
    for (int i = 0; i < 2; i++) {
        vocabulary bad = *v;
        bad.merges = i == 0 ? &half : &odd;
        bad.n_merges = 1;
        CHECK(tokenizer_from_vocabulary(&t, &bad, "bad") == STATUS_FORMAT, "merge %d", i);
        tokenizer_free(t);
    }
    vocabulary_free(v);
    tokenizer_free(bytes);
    CHECK(mem_live_blocks() == live, "leak");
}

TEST(vocabulary_survives_failing_allocations) {
    static small_vocabulary s;
    draw_small(&s, rng_at(93, RNG_TEST, 0), 20);
    int64_t live = mem_live_blocks();
    bool passed = false;
    for (int64_t at = 1; !passed; at++) {
        tokenizer *t, *again = NULL;
        vocabulary *v = NULL;
        mem_fail_at(at);
        status r = tokenizer_from_vocabulary(&t, &s.v, "small");
        if (r == STATUS_OK) r = tokenizer_to_vocabulary(t, &v);
        if (r == STATUS_OK) r = tokenizer_from_vocabulary(&again, v, "again");
        passed = !mem_failed();
        mem_fail_at(0);
        CHECK(passed ? r == STATUS_OK : r == STATUS_MEMORY, "allocation %d: status %d", (int)at,
              (int)r);
        tokenizer_free(t);
        tokenizer_free(again);
        vocabulary_free(v);
        REQUIRE(mem_live_blocks() == live && at < 1000, "allocation %d leaks", (int)at);
    }
}
