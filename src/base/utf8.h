/* utf8.h - is it UTF-8, and where does it stop being so (Unicode 15, table 3-7: no overlong forms,
 * no surrogates, nothing above U+10FFFF). */
#ifndef FATHOM_BASE_UTF8_H
#define FATHOM_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes of the well-formed sequence at p, 1 to 4; 0 if there is none. n >= 1. */
static inline size_t utf8_sequence(const uint8_t *p, size_t n) {
    uint8_t a = p[0];
    if (a < 0x80) return 1;
    if (a < 0xC2 || a > 0xF4) return 0;
    size_t length = a < 0xE0 ? 2 : a < 0xF0 ? 3 : 4;
    if (n < length) return 0;
    uint8_t low = a == 0xE0 ? 0xA0 : a == 0xF0 ? 0x90 : 0x80;
    uint8_t high = a == 0xED ? 0x9F : a == 0xF4 ? 0x8F : 0xBF;
    if (p[1] < low || p[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    return length;
}

/* Length of the longest well-formed prefix; n if all of it is. */
static inline size_t utf8_valid(const void *bytes, size_t n) {
    const uint8_t *p = (const uint8_t *)bytes;
    size_t i = 0;
    while (i < n) {
        uint64_t eight;
        if (n - i >= 8 && (memcpy(&eight, p + i, 8), (eight & 0x8080808080808080u) == 0)) {
            i += 8;
            continue;
        }
        size_t length = utf8_sequence(p + i, n - i);
        if (length == 0) return i;
        i += length;
    }
    return n;
}

#endif
