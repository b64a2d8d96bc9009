/* test_decode.c - decoding at once and as a stream. */
#include "test.h"
#include "token_text.h"

#include "base/memory.h"
#include "base/utf8.h"

/* Feeds bytes one by one to a stream of the byte tokenizer and joins what it shows. */
static size_t stream_of(const tokenizer *t, const uint8_t *bytes, size_t n, char *out) {
    token_stream s;
    token_stream_init(&s, t);
    size_t used = 0;
    for (size_t i = 0; i <= n; i++) {
        const char *shown;
        size_t length;
        status st = i < n ? token_stream_add(&s, bytes[i], &shown, &length)
                          : token_stream_end(&s, &shown, &length);
        CHECK(st == STATUS_OK && utf8_valid(shown, length) == length && shown[length] == 0,
              "byte %zu shows half a character", i);
        memcpy(out + used, shown, length);
        used += length;
    }
    token_stream_clear(&s);
    out[used] = 0;
    return used;
}

TEST(decode_stream_replaces_as_browsers_do) {
    tokenizer *t;
    REQUIRE_OK(tokenizer_byte(&t));
    static const struct {
        const char *bytes, *shown;
    } cases[] = {
        {"plain", "plain"},
        {"\xE4\xB8\xAD\xF0\x9F\x98\x80\xC3\xA9", "\xE4\xB8\xAD\xF0\x9F\x98\x80\xC3\xA9"},
        {"a\xFF"
         "b",
         "a\xEF\xBF\xBD"
         "b"},
        {"\xE4\xB8", "\xEF\xBF\xBD"},
        {"\xE4\xB8"
         "a",
         "\xEF\xBF\xBD"
         "a"},
        {"\xF0\x9F\x98", "\xEF\xBF\xBD"},
        {"\xC0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
         "A", /* Unicode 15, table 3-11 */
         "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
         "A"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[64];
        stream_of(t, (const uint8_t *)cases[i].bytes, strlen(cases[i].bytes), out);
        CHECK(strcmp(out, cases[i].shown) == 0, "case %zu shows \"%s\"", i, out);
    }
    tokenizer_free(t);
}

/* However text is cut into tokens, the stream shows the same; valid text comes out as it was. */
TEST(decode_stream_equals_decode) {
    tokenizer *t, *bytes;
    REQUIRE_OK(train_small(&t, 900, PRETOKENIZER_DEEPSEEK_V3));
    REQUIRE_OK(tokenizer_byte(&bytes));
    static uint8_t text[600];
    static char by_byte[2400], by_token[2400];
    for (uint64_t i = 0; i < 300; i++) {
        size_t n = random_text(i % TEXT_KINDS, 7000 + i, text, sizeof text), used = 0;
        token_list ids = {0};
        REQUIRE_OK(tokenizer_encode(t, text, n, SPECIAL_AS_TEXT, &ids));
        token_stream s;
        token_stream_init(&s, t);
        for (size_t k = 0; k <= ids.n; k++) {
            const char *shown;
            size_t length;
            REQUIRE_OK(k < ids.n ? token_stream_add(&s, ids.ids[k], &shown, &length)
                                 : token_stream_end(&s, &shown, &length));
            memcpy(by_token + used, shown, length);
            used += length;
        }
        size_t expected = stream_of(bytes, text, n, by_byte);
        CHECK(used == expected && memcmp(by_token, by_byte, used) == 0, "text %d", (int)i);
        if (i % TEXT_KINDS <= TEXT_UNICODE)
            CHECK(used == n && memcmp(by_token, text, n) == 0, "valid text %d changed", (int)i);
        token_stream_clear(&s);
        token_list_clear(&ids);
    }
    tokenizer_free(t);
    tokenizer_free(bytes);
}

TEST(decode_unknown_ids_are_refused) {
    tokenizer *t;
    REQUIRE_OK(tokenizer_byte(&t));
    static const int32_t bad[] = {-1, 256, INT32_MAX, INT32_MIN};
    for (int i = 0; i < 4; i++) {
        char *out;
        size_t n;
        int32_t ids[2] = {65, bad[i]};
        CHECK(tokenizer_decode(t, ids, 2, true, &out, &n) == STATUS_FORMAT &&
                  error_last()->id == F_TOKEN_RANGE,
              "id %d", bad[i]);
        token_stream s;
        token_stream_init(&s, t);
        const char *shown;
        CHECK(token_stream_add(&s, bad[i], &shown, &n) == STATUS_FORMAT, "id %d", bad[i]);
        token_stream_clear(&s);
        CHECK(tokenizer_token(t, bad[i], &n) == NULL && n == 0, "id %d has bytes", bad[i]);
        CHECK(tokenizer_token_bytes(t, bad[i]) == 0, "id %d has bytes", bad[i]);
    }
    tokenizer_free(t);
}

TEST(decode_survives_failing_allocations) {
    tokenizer *t;
    REQUIRE_OK(tokenizer_byte(&t));
    int64_t live = mem_live_blocks();
    int32_t ids[] = {'a', 0xC3, 0xA9};
    char *out;
    size_t n;
    mem_fail_at(1);
    CHECK(tokenizer_decode(t, ids, 3, true, &out, &n) == STATUS_MEMORY, "decode");
    token_stream s;
    token_stream_init(&s, t);
    const char *shown;
    mem_fail_at(1);
    CHECK(token_stream_add(&s, 'a', &shown, &n) == STATUS_MEMORY, "stream");
    mem_fail_at(0);
    REQUIRE_OK(token_stream_add(&s, 0xC3, &shown, &n));
    CHECK(n == 0, "half a character is shown");
    REQUIRE_OK(token_stream_add(&s, 0xA9, &shown, &n));
    CHECK(n == 2 && memcmp(shown, "\xC3\xA9", 2) == 0, "%zu bytes", n);
    token_stream_clear(&s);
    CHECK(mem_live_blocks() == live, "leak");
    tokenizer_free(t);
}
