/* quant_k.c - decoders of blocks of 256 elements: K-quants and IQ4_XS.
 *
 * What: 256 elements share a scale d (a half), and each 16 or 32 of them have a small integer scale
 * s of their own, some also an offset m beside a second half, dmin:
 *
 *     type    bytes  in order                                                value
 *     Q2_K    84     16 x (m:4 s:4), 64 of 2 bits, d, dmin                   d s q - dmin m
 *     Q3_K    110    32 third bits, 64 of 2 bits, 12 of scales, d            d (s - 32) (q - 4)
 *     Q4_K    144    d, dmin, 12 of scales, 128 of nibbles                   d s q - dmin m
 *     Q5_K    176    d, dmin, 12 of scales, 32 fifth bits, 128 of nibbles    d s q - dmin m
 *     Q6_K    210    128 low nibbles, 64 upper 2 bits, 16 scales, d          d s (q - 32)
 *     IQ4_XS  136    d, 2 + 4 of scales, 128 of nibbles                      d (s - 32) T[q]
 *
 * How: products associate from the left, (d s) q, and (dmin m) is subtracted last: the order in
 * which the programs that write these files read them back, so that values agree to the bit.
 *
 * Mind: scales of Q4_K and Q5_K are 6 bits wide, eight of s and eight of m, packed crosswise into
 * 12 bytes (scale_and_offset); Q3_K packs sixteen of them otherwise.
 */
#include "tensor/quant_internal.h"

/* Scale and offset of the j-th of eight groups of 32. */
static void scale_and_offset(const uint8_t *b, int j, int *s, int *m) {
    if (j < 4) {
        *s = b[j] & 63;
        *m = b[j + 4] & 63;
    } else {
        *s = (b[j + 4] & 15) | (b[j - 4] >> 6) << 4;
        *m = b[j + 4] >> 4 | (b[j] >> 6) << 4;
    }
}

void quant_q2_k(const uint8_t *block, float *to) {
    const uint8_t *scales = block, *q = block + 16;
    float d = quant_half(block + 80), dmin = quant_half(block + 82);
    for (int g = 0; g < 16; g++) { /* 16 elements: half g / 8, bit pair (g / 2) % 4 */
        float scale = d * (float)(scales[g] & 15), offset = dmin * (float)(scales[g] >> 4);
        const uint8_t *from = q + g / 8 * 32 + g % 2 * 16;
        int shift = g / 2 % 4 * 2;
        for (int i = 0; i < 16; i++)
            to[g * 16 + i] = scale * (float)(from[i] >> shift & 3) - offset;
    }
}

/* The sixteen 6-bit scales of Q3_K: nibble g of the first 8 bytes (upper ones for g >= 8) below
 * bit pair g / 4 of byte 8 + g % 4. */
static int q3_scale(const uint8_t *b, int g) {
    int low = g < 8 ? b[g] & 15 : b[g - 8] >> 4;
    return (low | (b[8 + g % 4] >> (g / 4 * 2) & 3) << 4) - 32;
}

void quant_q3_k(const uint8_t *block, float *to) {
    const uint8_t *high = block, *q = block + 32, *scales = block + 96;
    float d = quant_half(block + 108);
    for (int g = 0; g < 16; g++) {
        float scale = d * (float)q3_scale(scales, g);
        const uint8_t *from = q + g / 8 * 32 + g % 2 * 16, *third = high + g % 2 * 16;
        int shift = g / 2 % 4 * 2, bit = g / 2;
        for (int i = 0; i < 16; i++) {
            int low = from[i] >> shift & 3;
            to[g * 16 + i] = scale * (float)(low - (third[i] >> bit & 1 ? 0 : 4));
        }
    }
}

void quant_q4_k(const uint8_t *block, float *to) {
    float d = quant_half(block), dmin = quant_half(block + 2);
    const uint8_t *scales = block + 4, *q = block + 16;
    for (int g = 0; g < 8; g++) {
        int s, m;
        scale_and_offset(scales, g, &s, &m);
        float scale = d * (float)s, offset = dmin * (float)m;
        const uint8_t *from = q + g / 2 * 32;
        int shift = g % 2 * 4;
        for (int i = 0; i < 32; i++)
            to[g * 32 + i] = scale * (float)(from[i] >> shift & 15) - offset;
    }
}

void quant_q5_k(const uint8_t *block, float *to) {
    float d = quant_half(block), dmin = quant_half(block + 2);
    const uint8_t *scales = block + 4, *high = block + 16, *q = block + 48;
    for (int g = 0; g < 8; g++) {
        int s, m;
        scale_and_offset(scales, g, &s, &m);
        float scale = d * (float)s, offset = dmin * (float)m;
        const uint8_t *from = q + g / 2 * 32;
        int shift = g % 2 * 4;
        for (int i = 0; i < 32; i++) {
            int value = (from[i] >> shift & 15) | (high[i] >> g & 1) << 4;
            to[g * 32 + i] = scale * (float)value - offset;
        }
    }
}

void quant_q6_k(const uint8_t *block, float *to) {
    const uint8_t *scales = block + 192;
    float d = quant_half(block + 208);
    for (int g = 0; g < 16; g++) { /* 16 elements: half g / 8, quarter (g / 2) % 4 of it */
        int half = g / 8, quarter = g / 2 % 4, part = g % 2 * 16;
        const uint8_t *low = block + half * 64 + quarter % 2 * 32 + part;
        const uint8_t *high = block + 128 + half * 32 + part;
        float scale = d * (float)(int8_t)scales[g];
        for (int i = 0; i < 16; i++) {
            int value = (low[i] >> (quarter / 2 * 4) & 15) | (high[i] >> (quarter * 2) & 3) << 4;
            to[g * 16 + i] = scale * (float)(value - 32);
        }
    }
}

void quant_iq4_xs(const uint8_t *block, float *to) {
    float d = quant_half(block);
    uint16_t upper = load_u16(block + 2);
    const uint8_t *lower = block + 4, *q = block + 8;
    for (int g = 0; g < 8; g++) {
        int s = (lower[g / 2] >> (g % 2 * 4) & 15) | (upper >> (2 * g) & 3) << 4;
        float scale = d * (float)(s - 32);
        for (int i = 0; i < 16; i++) {
            to[g * 32 + i] = scale * (float)quant_iq4_values[q[g * 16 + i] & 15];
            to[g * 32 + 16 + i] = scale * (float)quant_iq4_values[q[g * 16 + i] >> 4];
        }
    }
}
