/* spelling.c - tokens as files spell them.
 *
 * What. Byte-level vocabularies spell every byte as a character of GPT-2's map (byte_map.c).
 * SentencePiece spells text as it is, but a blank as U+2581 and a byte that stands alone as
 * "<0x0A>". Here tokens are the bytes they stand for, so in a SentencePiece vocabulary a blank is a
 * blank; a spelling with a true blank in it can never match text whose blanks are marked, and has no
 * bytes here.
 */
#include "tokens/tokens_internal.h"

bool spelling_decode(token_spelling how, const char *spelled, size_t n, uint8_t *out,
                     size_t *out_n) {
    if (how == SPELLING_BYTE_MAP) return byte_map_decode(spelled, n, out, out_n);
    size_t used = 0;
    for (size_t i = 0; i < n;) {
        if (spelled[i] == ' ') return false;
        bool mark = n - i >= 3 && memcmp(spelled + i, BLANK_MARK, 3) == 0;
        out[used++] = mark ? ' ' : (uint8_t)spelled[i];
        i += mark ? 3 : 1;
    }
    *out_n = used;
    return true;
}

void spelling_encode(token_spelling how, const uint8_t *bytes, size_t n, char *out) {
    if (how == SPELLING_BYTE_MAP) {
        byte_map_encode(bytes, n, out);
        return;
    }
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == ' ') {
            memcpy(out + used, BLANK_MARK, 3);
            used += 3;
        } else {
            out[used++] = (char)bytes[i];
        }
    }
    out[used] = 0;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int spelling_byte(const char *spelled, size_t n) {
    if (n != 6 || memcmp(spelled, "<0x", 3) != 0 || spelled[5] != '>') return -1;
    int high = hex_digit(spelled[3]), low = hex_digit(spelled[4]);
    return high < 0 || low < 0 ? -1 : 16 * high + low;
}
