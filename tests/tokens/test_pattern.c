/* test_pattern.c - expressions through PCRE2: what they mean, what they may cost, what becomes of
 * matches. */
#include "test.h"
#include "token_text.h"

#include "base/memory.h"
#include "tokens/cut_rules.h"

static void check_cut(const char *regex, pattern_syntax syntax, cut_behavior behavior, bool invert,
                      const char *text, const char *expected) {
    cut_rules r = {0};
    cut_work w = {0};
    const uint8_t *bytes = (const uint8_t *)text;
    char found[512] = "";
    REQUIRE_OK(cut_rules_add(&r, regex, syntax, behavior, invert, "test"));
    if (regex != NULL) REQUIRE_OK(cut_rules_compile(&r, "test"));
    REQUIRE_OK(cut_text(&r, &w, &bytes, strlen(text)));
    for (size_t i = 0; i < w.n; i++) {
        size_t used = strlen(found);
        snprintf(found + used, sizeof found - used, "[%.*s]",
                 (int)(w.spans[i].to - w.spans[i].from), (const char *)bytes + w.spans[i].from);
    }
    CHECK(strcmp(found, expected) == 0, "\"%s\" by %d: %s, expected %s", regex, (int)behavior,
          found, expected);
    cut_work_clear(&w);
    cut_rules_clear(&r);
}

/* The answers of the Hugging Face package. */
TEST(pattern_behaviors) {
    static const char text[] = "the-final--countdown";
    const pattern_syntax lit = PATTERN_LITERAL;
    check_cut("-", lit, CUT_REMOVED, false, text, "[the][final][countdown]");
    check_cut("-", lit, CUT_ISOLATED, false, text, "[the][-][final][-][-][countdown]");
    check_cut("-", lit, CUT_MERGED_WITH_PREVIOUS, false, text, "[the-][final-][-][countdown]");
    check_cut("-", lit, CUT_MERGED_WITH_NEXT, false, text, "[the][-final][-][-countdown]");
    check_cut("-", lit, CUT_CONTIGUOUS, false, text, "[the][-][final][--][countdown]");
    check_cut("\\w+", PATTERN_ONIGURUMA, CUT_REMOVED, true, "a  b", "[a][b]");
    check_cut(NULL, lit, CUT_ISOLATED, false, "x", "[ x]");
    check_cut(NULL, lit, CUT_ISOLATED, false, " x", "[ x]");
}

TEST(pattern_means_what_oniguruma_means) {
    const pattern_syntax oni = PATTERN_ONIGURUMA;
    check_cut("\\h+", oni, CUT_ISOLATED, false, "xafz 9", "[x][af][z ][9]");
    check_cut("\\s", oni, CUT_REMOVED, false,
              "a\xE1\xA0\x8E"
              "b\xC2\x85"
              "c",
              "[a\xE1\xA0\x8E"
              "b][c]"); /* U+180E is no white space, U+0085 is */
    check_cut("\\w+", oni, CUT_ISOLATED, false, "a_1\xC2\xB2\xE2\x80\xBF",
              "[a_1][\xC2\xB2][\xE2\x80\xBF]");
    check_cut("^b", oni, CUT_ISOLATED, false, "a\nbc", "[a\n][b][c]");
    check_cut("(?i:K)", oni, CUT_ISOLATED, false, "a\xE2\x84\xAA", "[a][\xE2\x84\xAA]");
    check_cut("(?=[A-Z])", oni, CUT_ISOLATED, false, "abCdE", "[ab][Cd][E]");
    check_cut("\\u0062|\\x63|[\\s\\S]\\z", oni, CUT_ISOLATED, false, "abcd", "[a][b][c][d]");
    check_cut("\\p{Greek}+", oni, CUT_ISOLATED, false, "\xCE\xB1\xCC\x81", "[\xCE\xB1][\xCC\x81]");
    check_cut("a.", oni, CUT_REMOVED, false,
              "a\na\xFF"
              "ab",
              "[a\na\xFF]");
}

/* Exponential and quadratic expressions end with an error that says so, in bounded time. */
TEST(pattern_never_hangs) {
    static const char *const evil[] = {"(a+)+c", "(a|aa)+c", "a(?=.*c)", "(.*)*c"};
    size_t n = 20000;
    uint8_t *text = mem_alloc(n);
    memset(text, 'a', n);
    for (size_t i = 0; i < sizeof evil / sizeof *evil; i++) {
        cut_rules r = {0};
        cut_work w = {0};
        const uint8_t *bytes = text;
        REQUIRE_OK(cut_rules_add(&r, evil[i], PATTERN_ONIGURUMA, CUT_ISOLATED, false, "test"));
        REQUIRE_OK(cut_rules_compile(&r, "test"));
        status s = cut_text(&r, &w, &bytes, n);
        const error_report *e = error_last();
        CHECK(s == STATUS_OK || (s == STATUS_LIMIT && e->id == F_PATTERN_LIMIT &&
                                 strstr(e->what, evil[i]) != NULL),
              "%s: status %d", evil[i], (int)s);
        cut_work_clear(&w);
        cut_rules_clear(&r);
    }
    mem_free(text);
}

/* Long runs are no fault of a sound expression. */
TEST(pattern_takes_long_runs) {
    size_t n = (size_t)1 << 20;
    uint8_t *text = mem_alloc(n);
    for (int i = 0; i < 3; i++) {
        cut_rules r = {0};
        cut_work w = {0};
        const uint8_t *bytes = text;
        memset(text, " a\n"[i], n);
        REQUIRE_OK(cut_rules_add(&r, "[^\\r\\n\\p{L}]?\\p{L}+|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
                                 PATTERN_ONIGURUMA, CUT_ISOLATED, false, "test"));
        REQUIRE_OK(cut_rules_compile(&r, "test"));
        REQUIRE_OK(cut_text(&r, &w, &bytes, n));
        CHECK(w.n == 1, "%zu pieces", w.n);
        cut_work_clear(&w);
        cut_rules_clear(&r);
    }
    mem_free(text);
}
