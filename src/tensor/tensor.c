/* tensor.c - element types, contiguous views, and half precision in software.
 *
 * What: the facts of each dtype and the arithmetic of views. Nothing here allocates.
 *
 * How: f16 follows IEEE 754-2008 binary16 (1 sign, 5 exponent, 10 fraction bits). Widening is
 * exact. Narrowing rounds to nearest, ties to even; overflow gives infinity, values below 2^-25
 * give zero, a NaN keeps its sign and its upper fraction bits and becomes quiet.
 *
 * Mind: counts and sizes are those of dims already checked by whoever made the view (the
 * safetensors reader and the arenas' owners do); they are not checked again here.
 */
#include "tensor/tensor.h"

#include <inttypes.h>
#include <string.h>

static const struct {
    const char *name;
    uint8_t size;
} facts[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", 4},   [DTYPE_F64] = {"F64", 8},         [DTYPE_BF16] = {"BF16", 2},
    [DTYPE_F16] = {"F16", 2},   [DTYPE_I8] = {"I8", 1},           [DTYPE_U8] = {"U8", 1},
    [DTYPE_I16] = {"I16", 2},   [DTYPE_U16] = {"U16", 2},         [DTYPE_I32] = {"I32", 4},
    [DTYPE_U32] = {"U32", 4},   [DTYPE_I64] = {"I64", 8},         [DTYPE_U64] = {"U64", 8},
    [DTYPE_BOOL] = {"BOOL", 1}, [DTYPE_F8_E4M3] = {"F8_E4M3", 1}, [DTYPE_F8_E5M2] = {"F8_E5M2", 1},
};

size_t dtype_size(dtype t) {
    return (unsigned)t < DTYPE_COUNT ? facts[t].size : 0;
}
const char *dtype_name(dtype t) {
    return (unsigned)t < DTYPE_COUNT ? facts[t].name : "unknown";
}

bool dtype_find(const char *name, dtype *out) {
    for (int t = 0; t < DTYPE_COUNT; t++) {
        if (strcmp(facts[t].name, name) != 0) continue;
        *out = (dtype)t;
        return true;
    }
    return false;
}

static tensor contiguous(void *data, dtype t, int rank, int64_t d0, int64_t d1, int64_t d2) {
    return (tensor){.data = data,
                    .dtype = t,
                    .rank = rank,
                    .dim = {d0, d1, d2, 1},
                    .stride = {d1 * d2, d2, 1, 1}};
}

tensor tensor_1d(void *data, dtype t, int64_t d0) {
    return contiguous(data, t, 1, d0, 1, 1);
}
tensor tensor_2d(void *data, dtype t, int64_t d0, int64_t d1) {
    return contiguous(data, t, 2, d0, d1, 1);
}
tensor tensor_3d(void *data, dtype t, int64_t d0, int64_t d1, int64_t d2) {
    return contiguous(data, t, 3, d0, d1, d2);
}

int64_t tensor_count(const tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

size_t tensor_bytes(const tensor *t) {
    return (size_t)tensor_count(t) * dtype_size(t->dtype);
}

bool tensor_contiguous(const tensor *t) {
    int64_t expected = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->dim[i] > 1 && t->stride[i] != expected) return false;
        expected *= t->dim[i];
    }
    return true;
}

tensor tensor_rows(const tensor *t, int64_t first, int64_t n) {
    tensor rows = *t;
    rows.data = (char *)t->data + (size_t)(first * t->stride[0]) * dtype_size(t->dtype);
    rows.dim[0] = n;
    return rows;
}

const char *tensor_shape_text(const tensor *t) {
    char list[96] = "";
    int at = 0;
    for (int i = 0; i < t->rank; i++)
        at += snprintf(list + at, sizeof list - (size_t)at, "%s%" PRId64, i > 0 ? ", " : "",
                       t->dim[i]);
    return text("[%s]", list);
}

float f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = h >> 10 & 0x1Fu, fraction = h & 0x3FFu;
    union {
        uint32_t u;
        float f;
    } v;
    if (exponent == 0x1F) {
        v.u = sign | 0x7F800000u | fraction << 13;
    } else if (exponent > 0) {
        v.u = sign | (exponent + 112) << 23 | fraction << 13;
    } else {
        v.f = (float)fraction * 0x1p-24f; /* zero and subnormals: exact */
        v.u |= sign;
    }
    return v.f;
}

uint16_t f32_to_f16(float f) {
    union {
        float f;
        uint32_t u;
    } v = {f};
    uint32_t sign = v.u >> 16 & 0x8000u, magnitude = v.u & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) return (uint16_t)(sign | 0x7E00u | (magnitude >> 13 & 0x3FFu));
    if (magnitude >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u); /* 65520 and above */
    if (magnitude < 0x33000000u) return (uint16_t)sign;              /* below 2^-25 */
    uint32_t exponent = magnitude >> 23;
    uint32_t fraction = (magnitude & 0x7FFFFFu) | 0x800000u;
    /* Normal results drop 13 bits, subnormal ones more; the carry of rounding moves into the
     * exponent by itself. */
    uint32_t drop = exponent >= 113 ? 13 : 126 - exponent;
    uint32_t half = 1u << (drop - 1), rest = fraction & ((1u << drop) - 1);
    uint32_t kept = fraction >> drop;
    if (rest > half || (rest == half && (kept & 1u))) kept++;
    uint32_t base = exponent >= 113 ? (exponent - 113) << 10 : 0;
    return (uint16_t)(sign | (base + kept));
}

float f8_e4m3_to_f32(uint8_t b) {
    uint32_t sign = (uint32_t)(b & 0x80u) << 24, exponent = b >> 3 & 0xFu, fraction = b & 7u;
    union {
        uint32_t u;
        float f;
    } v;
    if (exponent == 0xF && fraction == 7) {
        v.u = 0x7FC00000u;
    } else if (exponent > 0) {
        v.u = (exponent + 120) << 23 | fraction << 20;
    } else {
        v.f = (float)fraction * 0x1p-9f; /* zero and subnormals: exact */
    }
    v.u |= sign;
    return v.f;
}
