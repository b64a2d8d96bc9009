/* quant.c - sizes of all element types of GGUF files; decoders of plain types and blocks of 32.
 *
 * What: a block keeps small integers q and a scale d (a half), sometimes an offset m:
 *
 *     type    bytes  layout                          value
 *     Q8_0    34     d, 32 signed bytes              d q
 *     Q4_0    18     d, 16 bytes of nibbles          d (q - 8)
 *     Q4_1    20     d, m, nibbles                   d q + m
 *     Q5_0    22     d, 32 fifth bits, nibbles       d (q - 16)
 *     Q5_1    24     d, m, 32 fifth bits, nibbles    d q + m
 *     IQ4_NL  18     d, nibbles                      d T[q], T denser around zero
 *     MXFP4   17     exponent e, nibbles             2^(e-127) E2M1(q)      (OCP MX, 5.3)
 *
 * Nibbles: byte j holds element j below and element j + 16 above; fifth bit i belongs to element i.
 * Blocks of 256 are in quant_k.c.
 *
 * How: one function per block, called over a row through the table of types. E2M1 values are kept
 * doubled (0 1 2 3 4 6 8 12), as integers, beside 2^(e-128), which is a subnormal for e < 2; e = 255
 * is read as a power of two like every other, not as NaN, as the programs that write such files do.
 *
 * Mind: rows may begin at any byte of a mapping, so blocks are read bytewise.
 */
#include "tensor/quant_internal.h"

#include "tensor/tensor.h"

#include <strings.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the formats are little-endian");

typedef void decode_block(const uint8_t *block, float *to);

const int8_t quant_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};
static const int8_t e2m1_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

float quant_half(const uint8_t *p) {
    return f16_to_f32(load_u16(p));
}

/* ---- blocks of 32 ---- */

static void q8_0(const uint8_t *block, float *to) {
    float d = quant_half(block);
    for (int i = 0; i < 32; i++)
        to[i] = d * (float)(int8_t)block[2 + i];
}

static void q4_0(const uint8_t *block, float *to) {
    float d = quant_half(block);
    for (int j = 0; j < 16; j++) {
        to[j] = d * (float)((block[2 + j] & 15) - 8);
        to[j + 16] = d * (float)((block[2 + j] >> 4) - 8);
    }
}

static void q4_1(const uint8_t *block, float *to) {
    float d = quant_half(block), m = quant_half(block + 2);
    for (int j = 0; j < 16; j++) {
        to[j] = d * (float)(block[4 + j] & 15) + m;
        to[j + 16] = d * (float)(block[4 + j] >> 4) + m;
    }
}

/* Element i of 32 five-bit ones. */
static int fifth(const uint8_t *bits, const uint8_t *nibbles, int i) {
    int low = i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;
    return low | (bits[i >> 3] >> (i & 7) & 1) << 4;
}

static void q5_0(const uint8_t *block, float *to) {
    float d = quant_half(block);
    for (int i = 0; i < 32; i++)
        to[i] = d * (float)(fifth(block + 2, block + 6, i) - 16);
}

static void q5_1(const uint8_t *block, float *to) {
    float d = quant_half(block), m = quant_half(block + 2);
    for (int i = 0; i < 32; i++)
        to[i] = d * (float)fifth(block + 4, block + 8, i) + m;
}

static void iq4_nl(const uint8_t *block, float *to) {
    float d = quant_half(block);
    for (int j = 0; j < 16; j++) {
        to[j] = d * (float)quant_iq4_values[block[2 + j] & 15];
        to[j + 16] = d * (float)quant_iq4_values[block[2 + j] >> 4];
    }
}

/* 2^(e-128) from its bits. */
static float half_power(uint8_t e) {
    union {
        uint32_t u;
        float f;
    } v = {e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23};
    return v.f;
}

static void mxfp4(const uint8_t *block, float *to) {
    float d = half_power(block[0]);
    for (int j = 0; j < 16; j++) {
        to[j] = d * (float)e2m1_doubled[block[1 + j] & 15];
        to[j + 16] = d * (float)e2m1_doubled[block[1 + j] >> 4];
    }
}

/* ---- types ---- */

static const struct {
    const char *name;
    uint16_t elements, bytes;
    decode_block *decode; /* NULL: plain, or not decoded here */
} types[QUANT_LIMIT] = {
    [QUANT_F32] = {"F32", 1, 4, NULL},
    [QUANT_F16] = {"F16", 1, 2, NULL},
    [QUANT_Q4_0] = {"Q4_0", 32, 18, q4_0},
    [QUANT_Q4_1] = {"Q4_1", 32, 20, q4_1},
    [QUANT_Q5_0] = {"Q5_0", 32, 22, q5_0},
    [QUANT_Q5_1] = {"Q5_1", 32, 24, q5_1},
    [QUANT_Q8_0] = {"Q8_0", 32, 34, q8_0},
    [QUANT_Q2_K] = {"Q2_K", 256, 84, quant_q2_k},
    [QUANT_Q3_K] = {"Q3_K", 256, 110, quant_q3_k},
    [QUANT_Q4_K] = {"Q4_K", 256, 144, quant_q4_k},
    [QUANT_Q5_K] = {"Q5_K", 256, 176, quant_q5_k},
    [QUANT_Q6_K] = {"Q6_K", 256, 210, quant_q6_k},
    [16] = {"IQ2_XXS", 256, 66, NULL},
    [17] = {"IQ2_XS", 256, 74, NULL},
    [18] = {"IQ3_XXS", 256, 98, NULL},
    [19] = {"IQ1_S", 256, 50, NULL},
    [QUANT_IQ4_NL] = {"IQ4_NL", 32, 18, iq4_nl},
    [21] = {"IQ3_S", 256, 110, NULL},
    [22] = {"IQ2_S", 256, 82, NULL},
    [QUANT_IQ4_XS] = {"IQ4_XS", 256, 136, quant_iq4_xs},
    [24] = {"I8", 1, 1, NULL},
    [25] = {"I16", 1, 2, NULL},
    [26] = {"I32", 1, 4, NULL},
    [27] = {"I64", 1, 8, NULL},
    [28] = {"F64", 1, 8, NULL},
    [29] = {"IQ1_M", 256, 56, NULL},
    [QUANT_BF16] = {"BF16", 1, 2, NULL},
    [34] = {"TQ1_0", 256, 54, NULL},
    [35] = {"TQ2_0", 256, 66, NULL},
    [QUANT_MXFP4] = {"MXFP4", 32, 17, mxfp4},
    [40] = {"NVFP4", 64, 36, NULL},
    [41] = {"Q1_0", 128, 18, NULL},
    [42] = {"Q2_0", 64, 18, NULL},
};

const char *quant_name(uint32_t type) {
    return type < QUANT_LIMIT ? types[type].name : NULL;
}

bool quant_find(const char *name, uint32_t *type) {
    for (uint32_t t = 0; t < QUANT_LIMIT; t++) {
        if (types[t].name == NULL || strcasecmp(types[t].name, name) != 0) continue;
        *type = t;
        return true;
    }
    return false;
}

int64_t quant_block(uint32_t type) {
    return type < QUANT_LIMIT ? types[type].elements : 0;
}
size_t quant_block_bytes(uint32_t type) {
    return type < QUANT_LIMIT ? types[type].bytes : 0;
}

bool quant_can_decode(uint32_t type) {
    if (type >= QUANT_LIMIT) return false;
    return types[type].decode != NULL || type == QUANT_F32 || type == QUANT_F16 ||
           type == QUANT_BF16;
}

void quant_decode(uint32_t type, const void *from, int64_t n, float *to) {
    const uint8_t *bytes = from;
    switch (type) {
    case QUANT_F32: memcpy(to, bytes, (size_t)n * sizeof *to); return;
    case QUANT_F16:
        for (int64_t i = 0; i < n; i++)
            to[i] = quant_half(bytes + 2 * i);
        return;
    case QUANT_BF16:
        for (int64_t i = 0; i < n; i++)
            to[i] = bf16_to_f32(load_u16(bytes + 2 * i));
        return;
    default: break;
    }
    decode_block *decode = types[type].decode;
    int64_t elements = types[type].elements;
    for (int64_t done = 0; done < n; done += elements, bytes += types[type].bytes)
        decode(bytes, to + done);
}
