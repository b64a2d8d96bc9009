/* unicode.h - the few facts about characters that cutting text needs (tokens only).
 *
 * One byte of class bits per character, from utf8proc's Unicode 15 tables, copied once per process
 * into flat tables: planes 0-3 and 14 hold every assigned character that has a class. */
#ifndef FATHOM_TOKENS_UNICODE_H
#define FATHOM_TOKENS_UNICODE_H

#include "base/utf8.h"

#include <stdbool.h>

enum {
    CLASS_LETTER = 1,   /* \p{L} */
    CLASS_MARK = 2,     /* \p{M} */
    CLASS_NUMBER = 4,   /* \p{N} */
    CLASS_PUNCT = 8,    /* \p{P} */
    CLASS_SYMBOL = 16,  /* \p{S}, and any byte that is not UTF-8 */
    CLASS_SPACE = 32,   /* \s: White_Space */
    CLASS_NEWLINE = 64, /* CR, LF */
    CLASS_CJK = 128,    /* U+4E00-9FA5, U+3040-30FF: the second pass of DeepSeek-V3 */
};

#define CLASS_PLANES_END 0x40000u
#define CLASS_TAGS_START 0xE0000u
#define CLASS_TAGS_END   0xE1000u
typedef struct class_table {
    uint8_t low[CLASS_PLANES_END];
    uint8_t tags[CLASS_TAGS_END - CLASS_TAGS_START];
} class_table;
const class_table *unicode_classes(void); /* built by the first call; thread-safe */

/* The code point of a well-formed sequence of `length` bytes. */
static inline uint32_t utf8_code_point(const uint8_t *p, size_t length) {
    switch (length) {
    case 1: return p[0];
    case 2: return (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3F);
    case 3: return (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
    default:
        return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 |
               (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3F);
    }
}

static inline unsigned class_of(const class_table *t, uint32_t c) {
    if (c < CLASS_PLANES_END) return t->low[c];
    uint32_t tag = c - CLASS_TAGS_START;
    return tag < CLASS_TAGS_END - CLASS_TAGS_START ? t->tags[tag] : 0;
}

/* Class of the character at p, its bytes in *length; n >= 1. */
static inline unsigned class_at(const class_table *t, const uint8_t *p, size_t n, size_t *length) {
    *length = 1;
    if (p[0] < 0x80) return t->low[p[0]];
    size_t bytes = utf8_sequence(p, n);
    if (bytes == 0) return CLASS_SYMBOL;
    *length = bytes;
    return class_of(t, utf8_code_point(p, bytes));
}

/* Can this code point change under NFC, by itself or together with the one before? False for
 * nearly all text, so that normalising is nearly always only a scan. */
bool unicode_nfc_unsettled(uint32_t c);

#endif
