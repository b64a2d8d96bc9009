/* byte_map.c - the 256 printable characters that stand for bytes in GPT-2 style files.
 *
 * Bytes 33-126, 161-172 and 174-255 are spelled as the character of the same number; the other 68
 * (blanks, controls, 127, 173) as U+0100, U+0101, ... in order. So a space is U+0120 and a newline
 * U+010A, and every token can be written as visible text in JSON.
 */
#include "tokens/tokens_internal.h"
#include "tokens/unicode.h"

static bool is_itself(unsigned b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
}

/* How many bytes below b are not spelled as themselves: 0-32, 127-160, 173. */
static unsigned moved_below(unsigned b) {
    if (b <= 33) return b;
    if (b <= 127) return 33;
    if (b <= 161) return b - 94;
    return b <= 173 ? 67 : 68;
}

uint32_t byte_map_character(uint8_t byte) {
    return is_itself(byte) ? byte : 0x100 + moved_below(byte);
}

int byte_map_byte(uint32_t character) {
    if (character < 0x100) return is_itself(character) ? (int)character : -1;
    unsigned moved = character - 0x100;
    if (moved <= 32) return (int)moved;
    if (moved <= 66) return (int)moved + 94;
    return moved == 67 ? 173 : -1;
}

bool byte_map_decode(const char *spelling, size_t n, uint8_t *out, size_t *out_n) {
    const uint8_t *p = (const uint8_t *)spelling, *end = p + n;
    size_t count = 0;
    while (p < end) {
        size_t length = utf8_sequence(p, (size_t)(end - p));
        if (length == 0) return false;
        int byte = byte_map_byte(utf8_code_point(p, length));
        if (byte < 0) return false;
        out[count++] = (uint8_t)byte;
        p += length;
    }
    *out_n = count;
    return true;
}

void byte_map_encode(const uint8_t *bytes, size_t n, char *out) {
    for (size_t i = 0; i < n; i++) {
        uint32_t c = byte_map_character(bytes[i]);
        if (c >= 0x80) {
            *out++ = (char)(0xC0 | c >> 6);
            *out++ = (char)(0x80 | (c & 0x3F));
        } else {
            *out++ = (char)c;
        }
    }
    *out = 0;
}
