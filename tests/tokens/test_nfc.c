/* test_nfc.c - our normaliser against utf8proc's own on whole texts. */
#include "test.h"
#include "token_text.h"

#include "tokens/tokens_internal.h"

#include <utf8proc.h>

static bool same_as_utf8proc(nfc_buffer *b, const uint8_t *text, size_t n) {
    utf8proc_uint8_t *expected = NULL;
    utf8proc_ssize_t length =
        utf8proc_map(text, (utf8proc_ssize_t)n, &expected, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    const uint8_t *out;
    size_t out_n;
    bool same = length >= 0 && nfc_text(b, text, n, &out, &out_n) == STATUS_OK &&
                out_n == (size_t)length && memcmp(out, expected, out_n) == 0;
    free(expected);
    return same;
}

TEST(nfc_equals_utf8proc) {
    static uint8_t text[3000];
    nfc_buffer b = {0};
    for (uint64_t i = 0; i < 2000; i++) {
        size_t n =
            random_text(i % 2 ? TEXT_UNICODE : TEXT_ASCII, i, text, i % 5 ? 60 : sizeof text);
        REQUIRE(same_as_utf8proc(&b, text, n), "text %d", (int)i);
    }
    nfc_clear(&b);
}

/* Every character alone, behind a letter, and with marks behind it. */
TEST(nfc_of_every_character) {
    nfc_buffer b = {0};
    int bad = 0;
    for (int32_t c = 0x80; c < 0x110000; c++) {
        if ((c >= 0xD800 && c < 0xE000) || (c > 0x32000 && c < 0xDFF00) || c > 0xE1000) continue;
        uint8_t text[32];
        size_t n = 0;
        text[n++] = 'a';
        n += (size_t)utf8proc_encode_char(c, text + n);
        n += (size_t)utf8proc_encode_char(0x0327, text + n);
        n += (size_t)utf8proc_encode_char(0x0301, text + n);
        n += (size_t)utf8proc_encode_char(c, text + n);
        bad += !same_as_utf8proc(&b, text, n);
        bad += !same_as_utf8proc(&b, text + 1, n - 1);
    }
    CHECK(bad == 0, "%d characters differ", bad);
    nfc_clear(&b);
}

TEST(nfc_keeps_invalid_bytes) {
    static uint8_t text[500];
    nfc_buffer b = {0};
    for (uint64_t i = 0; i < 500; i++) {
        size_t n = random_text(TEXT_BYTES, i, text, sizeof text), out_n, twice_n;
        const uint8_t *out, *twice;
        REQUIRE_OK(nfc_text(&b, text, n, &out, &out_n));
        nfc_buffer c = {0};
        REQUIRE_OK(nfc_text(&c, out, out_n, &twice, &twice_n));
        REQUIRE(out_n == twice_n && memcmp(out, twice, out_n) == 0, "not idempotent at %d", (int)i);
        nfc_clear(&c);
    }
    const uint8_t *out;
    size_t out_n;
    REQUIRE_OK(nfc_text(&b,
                        (const uint8_t *)"\xFF"
                                         "e\xCC\x81\xCC"
                                         "e\xCC\x81",
                        8, &out, &out_n));
    CHECK(out_n == 6 && memcmp(out, "\xFF\xC3\xA9\xCC\xC3\xA9", 6) == 0, "%zu bytes", out_n);
    nfc_clear(&b);
}

TEST(nfc_of_a_megabyte_of_marks_is_fast) {
    size_t n = 1 << 20;
    uint8_t *text = mem_alloc(n);
    for (size_t i = 0; i < n; i += 2)
        memcpy(text + i, i % 4 ? "\xCC\x81" : "\xCC\xA7", 2);
    nfc_buffer b = {0};
    const uint8_t *out;
    size_t out_n;
    REQUIRE_OK(nfc_text(&b, text, n, &out, &out_n)); /* quadratic would take hours */
    CHECK(out_n == n, "%zu bytes", out_n);
    nfc_clear(&b);
    mem_free(text);
}
