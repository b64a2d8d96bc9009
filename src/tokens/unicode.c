/* unicode.c - tables of character classes and of what NFC leaves alone, from utf8proc.
 *
 * How. Asking utf8proc for a category costs a call and two dependent loads; the matchers ask for
 * every character. Filling a flat table of 256 KiB takes about a millisecond, once, and only the
 * pages of scripts in use are ever touched again.
 *
 * NFC. A character is settled if it is its own NFC, has combining class 0 and cannot compose with
 * a character before it; between settled characters text is already in NFC (UAX #15, 9.1 "stable
 * code points"). Characters that compose with the one before are marks or Hangul vowel and final
 * consonant jamo, so "no mark, no such jamo, own NFC" is enough, with a few false alarms among the
 * marks, which only cost time.
 */
#include "tokens/unicode.h"

#include <pthread.h>
#include <utf8proc.h>

static class_table classes;
static uint64_t unsettled[CLASS_PLANES_END / 64];
static pthread_once_t classes_once = PTHREAD_ONCE_INIT, unsettled_once = PTHREAD_ONCE_INIT;

static bool is_white_space(uint32_t c) {
    switch (c) {
    case 0x20:
    case 0x85:
    case 0xA0:
    case 0x1680:
    case 0x2028:
    case 0x2029:
    case 0x202F:
    case 0x205F:
    case 0x3000: return true;
    default: return (c >= 0x09 && c <= 0x0D) || (c >= 0x2000 && c <= 0x200A);
    }
}

static uint8_t class_bits(uint32_t c) {
    unsigned bits = 0;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: bits = CLASS_LETTER; break;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: bits = CLASS_MARK; break;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: bits = CLASS_NUMBER; break;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: bits = CLASS_PUNCT; break;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO: bits = CLASS_SYMBOL; break;
    default: break;
    }
    if (is_white_space(c)) bits |= CLASS_SPACE;
    if (c == '\r' || c == '\n') bits |= CLASS_NEWLINE;
    if ((c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF)) bits |= CLASS_CJK;
    return (uint8_t)bits;
}

static void fill_classes(void) {
    for (uint32_t c = 0; c < CLASS_PLANES_END; c++)
        classes.low[c] = class_bits(c);
    for (uint32_t c = CLASS_TAGS_START; c < CLASS_TAGS_END; c++)
        classes.tags[c - CLASS_TAGS_START] = class_bits(c);
}

const class_table *unicode_classes(void) {
    pthread_once(&classes_once, fill_classes);
    return &classes;
}

/* NFC of one character, compared with itself. Only those with a decomposition can differ. */
static bool changes_alone(uint32_t c) {
    utf8proc_int32_t out[32];
    int last_class = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, out, 32,
                                                 UTF8PROC_STABLE | UTF8PROC_COMPOSE, &last_class);
    if (n == 1 && out[0] == (utf8proc_int32_t)c) return false;
    if (n < 1 || n > 32) return true;
    n = utf8proc_normalize_utf32(out, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    return n != 1 || out[0] != (utf8proc_int32_t)c;
}

static void fill_unsettled(void) {
    const class_table *t = unicode_classes();
    for (uint32_t c = 0x300; c < CLASS_PLANES_END; c++) {
        bool jamo = c >= 0x1160 && c <= 0x11FF;
        if (c >= 0xD800 && c <= 0xDFFF) continue;
        if (jamo || (t->low[c] & CLASS_MARK) || changes_alone(c))
            unsettled[c / 64] |= (uint64_t)1 << (c % 64);
    }
}

bool unicode_nfc_unsettled(uint32_t c) {
    if (c < 0x300) return false;
    pthread_once(&unsettled_once, fill_unsettled);
    /* Outside these planes only plane 14 has marks (variation selectors). */
    if (c >= CLASS_PLANES_END) return c >= CLASS_TAGS_START && c < CLASS_TAGS_END;
    return unsettled[c / 64] >> (c % 64) & 1;
}
