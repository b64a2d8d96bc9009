/* buffer.c - bytes that grow by half, and remember that memory ran out. */
#include "data/buffer.h"

#include "base/checked.h"

#include <string.h>

bool buffer_reserve(buffer *b, size_t n) {
    size_t need;
    if (b->failed) return false;
    if (!size_add(&need, b->n, n) || !size_add(&need, need, 1)) {
        b->failed = true;
        return false;
    }
    if (need <= b->capacity) return true;
    size_t capacity = b->capacity + b->capacity / 2;
    if (capacity < need) capacity = need;
    if (capacity < 64) capacity = 64;
    char *bytes = mem_resize(b->bytes, capacity, 1);
    if (bytes == NULL) {
        b->failed = true;
        return false;
    }
    b->bytes = bytes;
    b->capacity = capacity;
    b->bytes[b->n] = '\0';
    return true;
}

void buffer_put(buffer *b, const void *bytes, size_t n) {
    if (n == 0 || !buffer_reserve(b, n)) return;
    memcpy(b->bytes + b->n, bytes, n);
    b->n += n;
    b->bytes[b->n] = '\0';
}

void buffer_text(buffer *b, const char *string) {
    buffer_put(b, string, strlen(string));
}

void buffer_rune(buffer *b, uint32_t rune) {
    unsigned char bytes[4];
    size_t n;
    if (rune < 0x80) {
        bytes[0] = (unsigned char)rune;
        n = 1;
    } else if (rune < 0x800) {
        bytes[0] = (unsigned char)(0xC0 | rune >> 6);
        n = 2;
    } else if (rune < 0x10000) {
        if (rune >= 0xD800 && rune <= 0xDFFF) return;
        bytes[0] = (unsigned char)(0xE0 | rune >> 12);
        n = 3;
    } else {
        if (rune > 0x10FFFF) return;
        bytes[0] = (unsigned char)(0xF0 | rune >> 18);
        n = 4;
    }
    for (size_t i = 1; i < n; i++)
        bytes[i] = (unsigned char)(0x80 | ((rune >> 6 * (n - 1 - i)) & 0x3F));
    buffer_put(b, bytes, n);
}

void buffer_cut(buffer *b, size_t n) {
    if (n >= b->n) return;
    b->n = n;
    b->bytes[n] = '\0';
}

status buffer_check(const buffer *b) {
    if (!b->failed) return STATUS_OK;
    return FAIL(F_NO_MEMORY, text("no memory for more than %zu bytes of text", b->n), "buffer",
                "the system has no memory left for this process",
                "close other programs, or read less at a time");
}

void buffer_clear(buffer *b) {
    mem_free(b->bytes);
    memset(b, 0, sizeof *b);
}
