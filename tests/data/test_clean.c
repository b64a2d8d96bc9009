/* test_clean.c - repair, normal form, last shape, fortune files, growing buffers. */
#include "base/memory.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "data/clean.h"
#include "test.h"

static repair repaired(const char *bytes, size_t n, const char *wanted) {
    buffer out = {0};
    repair what = {0};
    status s = text_repair(bytes, n, &out, &what);
    const char *got = out.n > 0 ? out.bytes : "";
    CHECK(s == STATUS_OK && strcmp(got, wanted) == 0, "got \"%s\", wanted \"%s\"", got, wanted);
    buffer_clear(&out);
    return what;
}
#define REPAIRED(literal, wanted) repaired(literal, sizeof(literal) - 1, wanted)

TEST(repair_keeps_text) {
    repair w =
        REPAIRED("plain\ttext\n\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80", "plain\ttext\né € 😀");
    CHECK(w.dropped == 0 && !w.latin1 && !w.binary, "%" PRId64 " dropped", w.dropped);
}

TEST(repair_line_ends_and_odd_blanks) {
    REPAIRED("a\r\nb\rc\fd\xC2\xA0"
             "e\xC2\xAD"
             "f\xE2\x80\x8Bg\xEF\xBB\xBFh",
             "a\nb\nc\nd efgh");
    REPAIRED("_\bx__\b\bab \b\xC3\xA9\bo\n\bz\b\b\b\by", "xabo\ny");
}

TEST(repair_bad_bytes) {
    repair w = REPAIRED("caf\xE9 na\xEFve", "café naïve"); /* Latin-1 */
    CHECK(w.latin1 && w.dropped == 0, "latin1 %d, %" PRId64 " dropped", w.latin1, w.dropped);
    w = REPAIRED("caf\xC3\xA9 bro\xE9ken \xC3", "café broken "); /* UTF-8 with damage */
    CHECK(!w.latin1 && w.dropped == 2, "%" PRId64 " dropped", w.dropped);
    w = REPAIRED("a\x01\x02\x7F\x1B"
                 "b\xC2\x85"
                 "c\xC2\x80",
                 "ab\nc");
    CHECK(w.dropped == 5, "%" PRId64 " dropped", w.dropped);
}

TEST(repair_refuses_binary) {
    uint8_t bytes[4096];
    buffer out = {0};
    repair what;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)rng_u64(rng_at(1, RNG_TEST, 0), i);
    buffer_text(&out, "before");
    REQUIRE_OK(text_repair((const char *)bytes, sizeof bytes, &out, &what));
    CHECK(what.binary && out.n == 6, "binary %d, %zu bytes", what.binary, out.n);
    buffer_clear(&out);
}

/* Any bytes become well-formed text, and text that went through once is not changed again. */
TEST(repair_is_idempotent) {
    for (uint64_t round = 0; round < 300; round++) {
        char bytes[200];
        buffer once = {0}, twice = {0};
        repair what;
        rng r = rng_at(2, RNG_TEST, round);
        for (size_t i = 0; i < sizeof bytes; i++) {
            static const uint8_t often[] = {'a',  ' ',  '\n', 0xC3, 0xA9, 0xE2,
                                            0x82, 0xAC, 0xCC, 0x81, 'e'};
            bytes[i] =
                (char)(rng_below(r, 2 * i, 60) == 0 ? rng_u64(r, 2 * i + 1)
                                                    : often[rng_below(r, 2 * i + 1, sizeof often)]);
        }
        REQUIRE_OK(text_repair(bytes, sizeof bytes, &once, &what));
        CHECK(utf8_valid(once.bytes, once.n) == once.n, "round %" PRIu64 ": not UTF-8", round);
        REQUIRE_OK(text_normalize(&once));
        REQUIRE_OK(text_repair(once.n > 0 ? once.bytes : "", once.n, &twice, &what));
        REQUIRE_OK(text_normalize(&twice));
        CHECK(once.n == twice.n &&
                  memcmp(once.n > 0 ? once.bytes : "", twice.n > 0 ? twice.bytes : "", once.n) == 0,
              "round %" PRIu64 " changes again", round);
        CHECK(what.dropped == 0, "round %" PRIu64 ": %" PRId64 " dropped", round, what.dropped);
        buffer_clear(&once);
        buffer_clear(&twice);
    }
}

TEST(normal_form_composes) {
    buffer t = {0};
    buffer_text(&t, "e\xCC\x81 A\xCC\x8A \xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB x");
    REQUIRE_OK(text_normalize(&t));
    CHECK(strcmp(t.bytes, "é Å 한 x") == 0, "%s", t.bytes);
    buffer_clear(&t);
}

static void settles(const char *text_in, const char *wanted) {
    buffer out = {0};
    text_settle(text_in, strlen(text_in), &out);
    const char *got = out.n > 0 ? out.bytes : "";
    CHECK(strcmp(got, wanted) == 0, "got \"%s\", wanted \"%s\"", got, wanted);
    buffer_clear(&out);
}

TEST(settle_blank_lines) {
    settles("\n\n a  \n\n\n\nb\nc\n\n", " a\n\nb\nc\n");
    settles("", "");
    settles("\n \n", "");
}

TEST(settle_drops_headings_without_text) {
    settles("\1Empty\n\n\1Full\ntext\n\n\1Last\n", "Full\ntext\n");
    settles("\1A\n\2sub\n\2sub two\ntext\n\2end\n", "A\nsub two\ntext\n");
    settles("x\n\1A\n\2sub\n\1B\ny\n", "x\n\nB\ny\n");
}

TEST(settle_drops_tags_whose_text_went) {
    settles("\3tag one\ntext\n\n\3tag two\n\4\n\n\3tag three\nmore\n",
            "tag one\ntext\n\ntag three\nmore\n");
    settles("\1ERRORS\n\3EINVAL\n\4\n\n\1NOTES\nx\n", "NOTES\nx\n");
    settles("\3bare\n\n\3names\n\nend\n", "bare\n\nnames\n\nend\n");
    settles("\3LF\n\3VT\n\3FF\nall do\n", "LF\nVT\nFF\nall do\n");
    settles("\3tag\n\4\nstill its text\n", "tag\nstill its text\n");
    settles("a\n\4\nb\n", "a\nb\n");
}

static void fortunes_are(const char *source, const char *wanted, size_t n_wanted) {
    buffer out = {0};
    REQUIRE_OK(fortune_text(source, strlen(source), &out));
    CHECK(out.n == n_wanted && memcmp(out.bytes, wanted, n_wanted) == 0, "got \"%s\" (%zu bytes)",
          out.n > 0 ? out.bytes : "", out.n);
    buffer_clear(&out);
}
#define FORTUNES(source, wanted) fortunes_are(source, wanted, sizeof(wanted) - 1)

TEST(fortunes_are_items) {
    FORTUNES("This line is long enough to have been wrapped by the hyphen-\nating editor.\n",
             "This line is long enough to have been wrapped by the hyphen-ating editor.\n");
    FORTUNES("This line is long enough to have been wrapped between left-\nand right-hand.\n",
             "This line is long enough to have been wrapped between left- and right-hand.\n");
    FORTUNES("One.\n\t\t-- A\n%\nTwo  words.\n%\n", "One.\n-- A\n\0Two words.\n\0");
    FORTUNES("A line that is long enough to have been wrapped by its editor\ngoes on "
             "here.\nShort.\nEnd\n",
             "A line that is long enough to have been wrapped by its editor goes on "
             "here.\nShort.\nEnd\n");
    FORTUNES(
        "  (1) A list item that is long enough to have been wrapped there\n      and goes on.\n  "
        "(2) Next\n",
        "(1) A list item that is long enough to have been wrapped there and goes on.\n(2) Next\n");
    FORTUNES("A last line that is long enough to have been wrapped by someone\n-- Author\n",
             "A last line that is long enough to have been wrapped by someone\n-- Author\n");
}

TEST(buffer_remembers_failure) {
    int64_t blocks = mem_live_blocks();
    buffer b = {0};
    buffer_text(&b, "kept");
    mem_fail_at(1);
    while (!b.failed)
        buffer_text(&b, "more and more");
    mem_fail_at(0);
    size_t n = b.n;
    buffer_byte(&b, 'x');
    buffer_rune(&b, 0x20AC);
    CHECK(b.n == n && memcmp(b.bytes, "kept", 4) == 0, "changed after failure");
    CHECK(buffer_check(&b) == STATUS_MEMORY, "failure forgotten");
    buffer_clear(&b);
    CHECK(mem_live_blocks() == blocks, "leak");
    buffer_rune(&b, 0xD800);
    buffer_rune(&b, 0x110000);
    CHECK(b.n == 0 && buffer_check(&b) == STATUS_OK, "no scalar value was appended");
    buffer_clear(&b);
}
