/* test_pretokenize.c - the matchers against PCRE2, character classes, seams.
 *
 * The oracle applies the expressions of pretokenizer_regex pass by pass, as Hugging Face does:
 * every pass sees each piece of the one before as a text of its own, and what matches nothing stays
 * a piece. \s is written out as White_Space, because PCRE2 counts U+180E in. Code points on whose
 * category the Unicode version of this PCRE2 differs are left out of the random text.
 */
#include "test.h"
#include "token_text.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "tokens/unicode.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define WHITE                                                                                      \
    "\\x{09}-\\x{0d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}"                             \
    "\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

static pcre2_code *compile(const char *pattern) {
    int error;
    PCRE2_SIZE at;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_UCP, &error, &at, NULL);
    if (code != NULL) pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    return code;
}

/* The expression with \s and \S spelled out. */
static void spell_white_space(const char *regex, char *out, size_t room) {
    size_t used = 0;
    bool in_class = false;
    for (const char *p = regex; *p != 0; p++) {
        const char *add = NULL;
        if (p[0] == '\\' && p[1] == 's') add = in_class ? WHITE : "[" WHITE "]";
        if (p[0] == '\\' && p[1] == 'S') add = "[^" WHITE "]";
        if (add != NULL) {
            used += (size_t)snprintf(out + used, room - used, "%s", add);
            p++;
            continue;
        }
        out[used++] = *p;
        if (p[0] == '\\') {
            out[used++] = *++p;
        } else if (*p == '[' || *p == ']') {
            in_class = *p == '[';
        }
    }
    out[used] = 0;
}

/* Cuts the pieces (given by their ends) again; returns the new number of pieces. */
static size_t oracle_pass(const char *regex, const uint8_t *text, const size_t *ends, size_t n,
                          size_t *out) {
    char pattern[4096];
    spell_white_space(regex, pattern, sizeof pattern);
    pcre2_code *code = compile(pattern);
    if (code == NULL) return 0;
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(code, NULL);
    size_t count = 0;
    for (size_t i = 0, from = 0; i < n; from = ends[i++]) {
        size_t length = ends[i] - from, at = 0, done = 0;
        while (at < length &&
               pcre2_match(code, text + from, length, at, PCRE2_NO_UTF_CHECK, match, NULL) > 0) {
            const PCRE2_SIZE *found = pcre2_get_ovector_pointer(match);
            if (found[0] > done) out[count++] = from + found[0];
            out[count++] = from + found[1];
            at = done = found[1];
        }
        if (done < length) out[count++] = ends[i];
    }
    pcre2_match_data_free(match);
    pcre2_code_free(code);
    return count;
}

/* Text with U+FFFD for every byte that is not UTF-8; place[i] = offset in it of byte i. */
static size_t as_utf8(const uint8_t *text, size_t n, uint8_t *out, size_t *place) {
    size_t used = 0;
    for (size_t i = 0; i < n;) {
        size_t length = utf8_sequence(text + i, n - i);
        for (size_t k = 0; k < (length > 0 ? length : 1); k++)
            place[i + k] = used + k;
        if (length > 0)
            memcpy(out + used, text + i, length);
        else
            memcpy(out + used, "\xEF\xBF\xBD", 3);
        used += length > 0 ? length : 3;
        i += length > 0 ? length : 1;
    }
    place[n] = used;
    return used;
}

static int compare_with_oracle(pretokenizer kind, const uint8_t *text, size_t n) {
    uint8_t *utf8 = mem_alloc(3 * n + 1);
    size_t *place = mem_alloc((n + 1) * sizeof *place);
    size_t *expected = mem_alloc((3 * n + 1) * sizeof *expected);
    size_t *scratch = mem_alloc((3 * n + 1) * sizeof *scratch);
    size_t *ends = mem_alloc((n + 1) * sizeof *ends);
    size_t utf8_n = as_utf8(text, n, utf8, place), n_expected = n > 0 ? 1 : 0;
    expected[0] = utf8_n;
    for (int pass = 0; pretokenizer_regex(kind, pass) != NULL; pass++) {
        n_expected =
            oracle_pass(pretokenizer_regex(kind, pass), utf8, expected, n_expected, scratch);
        size_t *swap = expected;
        expected = scratch;
        scratch = swap;
    }
    size_t at = 0, count = 0;
    while (at < n)
        count += pretokenize(kind, text, n, &at, ends + count, 7);
    int bad = count != n_expected;
    for (size_t i = 0; i < count && i < n_expected; i++) {
        if (place[ends[i]] == expected[i]) continue;
        size_t from = i > 0 ? ends[i - 1] : 0;
        CHECK(false, "%s: piece %zu at byte %zu has %zu bytes, PCRE2 says %zu: %.40s",
              pretokenizer_name(kind), i, from, place[ends[i]] - place[from],
              expected[i] - place[from], (const char *)utf8 + place[from]);
        bad = 1;
        break;
    }
    CHECK(bad == 0, "%s: %zu pieces, PCRE2 %zu", pretokenizer_name(kind), count, n_expected);
    mem_free(utf8);
    mem_free(place);
    mem_free(expected);
    mem_free(scratch);
    mem_free(ends);
    return bad;
}

static unsigned pcre2_class(const pcre2_code *code, pcre2_match_data *match, uint32_t c) {
    uint8_t bytes[4];
    size_t n = 0;
    if (c < 0x80) {
        bytes[n++] = (uint8_t)c;
    } else if (c < 0x800) {
        bytes[n++] = (uint8_t)(0xC0 | c >> 6);
    } else if (c < 0x10000) {
        bytes[n++] = (uint8_t)(0xE0 | c >> 12);
        bytes[n++] = (uint8_t)(0x80 | (c >> 6 & 63));
    } else {
        bytes[n++] = (uint8_t)(0xF0 | c >> 18);
        bytes[n++] = (uint8_t)(0x80 | (c >> 12 & 63));
        bytes[n++] = (uint8_t)(0x80 | (c >> 6 & 63));
    }
    if (c >= 0x80) bytes[n++] = (uint8_t)(0x80 | (c & 63));
    int groups = pcre2_match(code, bytes, n, 0, PCRE2_NO_UTF_CHECK, match, NULL);
    return groups < 2 ? 0 : 1u << (groups - 2);
}

/* Code points whose class differs; only those one of the two does not know yet may. */
static uint8_t *differing(int *unexplained) {
    pcre2_code *code = compile("(\\p{L})|(\\p{M})|(\\p{N})|(\\p{P})|(\\p{S})");
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(code, NULL);
    uint8_t *differs = mem_zalloc(0x110000, 1);
    for (uint32_t c = 0; c < 0x110000; c++) {
        if (c >= 0xD800 && c < 0xE000) continue;
        unsigned ours = class_of(unicode_classes(), c) &
                        (CLASS_LETTER | CLASS_MARK | CLASS_NUMBER | CLASS_PUNCT | CLASS_SYMBOL);
        unsigned theirs = pcre2_class(code, match, c);
        if (ours == theirs) continue;
        differs[c] = 1;
        if (ours != 0 && theirs != 0) (*unexplained)++;
    }
    pcre2_match_data_free(match);
    pcre2_code_free(code);
    return differs;
}

/* Replaces characters on which the Unicode versions differ by 'x'. */
static size_t remove_differing(const uint8_t *differs, uint8_t *text, size_t n) {
    size_t used = 0;
    for (size_t i = 0; i < n;) {
        size_t length = utf8_sequence(text + i, n - i);
        if (length > 0 && differs[utf8_code_point(text + i, length)]) {
            text[used++] = 'x';
        } else {
            size_t keep = length > 0 ? length : 1;
            memmove(text + used, text + i, keep);
            used += keep;
        }
        i += length > 0 ? length : 1;
    }
    return used;
}

TEST(pretokenize_matches_pcre2_on_random_text) {
    int unexplained = 0;
    uint8_t *differs = differing(&unexplained);
    CHECK(unexplained == 0, "%d code points have another class in PCRE2", unexplained);
    static uint8_t text[3000];
    int rounds = test_long() ? 2000 : 100;
    for (int kind = PRETOKENIZER_GPT2; kind < PRETOKENIZERS; kind++)
        for (int i = 0; i < rounds * TEXT_KINDS; i++) {
            size_t n = random_text(i % TEXT_KINDS, (uint64_t)i, text, i % 3 ? 200 : sizeof text);
            n = remove_differing(differs, text, n);
            if (compare_with_oracle(kind, text, n)) break;
        }
    mem_free(differs);
}

TEST(pretokenize_matches_pcre2_on_real_text) {
    static const char *const files[] = {"xquad/xquad.en.json",          "xquad/xquad.zh.json",
                                        "xquad/xquad.ar.json",          "xquad/xquad.de.json",
                                        "xquad/xquad.ru.json",          "xquad/xquad.tr.json",
                                        "tokenizers/qwen3/golden.jsonl"};
    int seen = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t n;
        char *text = data_text(files[i], test_long() ? SIZE_MAX : 150000, &n);
        if (text == NULL) continue;
        seen++;
        for (int kind = PRETOKENIZER_GPT2; kind < PRETOKENIZERS; kind++)
            compare_with_oracle(kind, (const uint8_t *)text, n);
        mem_free(text);
    }
    if (seen == 0) SKIP("FATHOM_TEST_DATA has no xquad");
}

/* -- by hand, with the answers of the Hugging Face package -- */

static void check_pieces(pretokenizer kind, const char *text, const char *expected) {
    size_t n = strlen(text), at = 0, ends[64], from = 0;
    size_t count = pretokenize(kind, (const uint8_t *)text, n, &at, ends, 64);
    char found[512] = "";
    for (size_t i = 0; i < count; from = ends[i++]) {
        size_t used = strlen(found);
        snprintf(found + used, sizeof found - used, "[%.*s]", (int)(ends[i] - from), text + from);
    }
    CHECK(strcmp(found, expected) == 0, "%s: %s, expected %s", pretokenizer_name(kind), found,
          expected);
}

TEST(pretokenize_by_hand) {
    const pretokenizer ds = PRETOKENIZER_DEEPSEEK_V3, qw = PRETOKENIZER_QWEN2;
    check_pieces(ds, "Hello world, it's 12345!", "[Hello][ world][,][ it]['s][ ][123][45][!]");
    check_pieces(qw, "Hello world, it's 123!", "[Hello][ world][,][ it]['s][ ][1][2][3][!]");
    check_pieces(PRETOKENIZER_LLAMA3, "ab 12345", "[ab][ ][123][45]");
    check_pieces(PRETOKENIZER_GPT2, "it's 12345  x\n\ny", "[it]['s][ 12345][ ][ x][\n][\n][y]");
    check_pieces(ds, "it'\xC5\xBF a", "[it]['][\xC5\xBF][ a]");
    check_pieces(qw, "x'RE y'S", "[x]['RE][ y]['S]");
    check_pieces(ds, "!\r\n a", "[!\r\n][ a]");
    check_pieces(ds, "  12", "[  ][12]");
    check_pieces(qw, "  12", "[ ][ ][1][2]");
    check_pieces(ds, "a \n  b", "[a][ \n][ ][ b]");
    /* kana punctuation inside a Chinese-and-kana stretch; digits split it first */
    check_pieces(ds, "\xE3\x82\xA2\xE3\x83\xBB\xE3\x82\xA2",
                 "[\xE3\x82\xA2][\xE3\x83\xBB][\xE3\x82\xA2]");
    check_pieces(ds,
                 "\xE4\xB8\xAD\xE6\x96\x87"
                 "12a",
                 "[\xE4\xB8\xAD\xE6\x96\x87][12][a]");
    /* characters without a class: a gap is one piece, the last goes with the letter */
    check_pieces(ds,
                 "\x01\x02\x03"
                 "a",
                 "[\x01\x02][\x03"
                 "a]");
    check_pieces(qw,
                 "\x01\x02\x03"
                 "a",
                 "[\x01\x02\x03][a]");
}

TEST(pretokenize_covers_the_text_from_any_piece_on) {
    static uint8_t text[2000];
    size_t ends[2000], again[2000];
    for (int kind = 0; kind < PRETOKENIZERS; kind++)
        for (uint64_t i = 0; i < 40; i++) {
            size_t n = random_text(i % TEXT_KINDS, 100 + i, text, sizeof text), at = 0;
            size_t count = pretokenize(kind, text, n, &at, ends, 2000);
            REQUIRE(at == n && (n == 0 || ends[count - 1] == n), "stops at %zu of %zu", at, n);
            for (size_t k = 0; k < count; k++)
                REQUIRE(ends[k] > (k > 0 ? ends[k - 1] : 0), "empty piece %zu", k);
            for (size_t k = 0; k < count; k += 37) { /* started in the middle: the same cuts */
                at = k > 0 ? ends[k - 1] : 0;
                size_t rest = pretokenize(kind, text, n, &at, again, 2000);
                REQUIRE(rest == count - k && memcmp(again, ends + k, rest * sizeof *ends) == 0,
                        "%s: other cuts from piece %zu on", pretokenizer_name(kind), k);
            }
        }
}

TEST(pretokenize_seam_changes_no_piece) {
    static uint8_t text[4000];
    size_t whole[4000], parts[4000];
    int seams = 0;
    for (int kind = 1; kind < PRETOKENIZERS; kind++)
        for (uint64_t i = 0; i < 60; i++) {
            size_t n = random_text(i % TEXT_KINDS, 500 + i, text, sizeof text), at = 0;
            size_t count = pretokenize(kind, text, n, &at, whole, 4000);
            size_t seam = pretokenize_seam(text, n, n / 2);
            REQUIRE(seam >= n / 2 && seam <= n, "seam %zu of %zu", seam, n);
            at = 0;
            size_t have = pretokenize(kind, text, seam, &at, parts, 4000);
            at = 0;
            size_t more = pretokenize(kind, text + seam, n - seam, &at, parts + have, 4000 - have);
            for (size_t k = 0; k < more; k++)
                parts[have + k] += seam;
            REQUIRE(have + more == count && memcmp(parts, whole, count * sizeof *whole) == 0,
                    "%s: text %d cut at %zu has other pieces", pretokenizer_name(kind), (int)i,
                    seam);
            seams += seam < n;
        }
    CHECK(seams > 100, "only %d texts had a seam", seams);
}
