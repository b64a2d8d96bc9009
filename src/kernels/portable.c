/* portable.c - the portable tier: the truth every other tier is compared with.
 *
 * Plain C17 without intrinsics. On a CPU whose compiler flags include a fused multiply-add (arm64)
 * it is also fast; on baseline x86-64 each fma is a call into the C library, which is correct and
 * slow: there this tier is for tests and for machines older than AVX2.
 */
#include "kernels/functions.h"
#include "kernels/kernels_internal.h"

#include <float.h>
#include <string.h>

/* clang-format off: the order of these includes matters */
#define REAL_BITS 32
#include "kernels/real.inc"
#include "kernels/rows.inc"

#include "kernels/products.inc"
static const row_kernels rows_f32 = ROW_KERNELS;
#define REAL_BITS 64
#include "kernels/real.inc"
#include "kernels/rows.inc"

#include "kernels/products.inc"
static const row_kernels rows_f64 = ROW_KERNELS;
#include "kernels/flat.inc"
#include "kernels/halves.inc"
/* clang-format on */

/* Nearest even; below 2^-14 in whole multiples of 2^-24, NaN stays NaN. */
static uint32_t f16_bits(float x) {
    union {
        float f;
        uint32_t u;
    } v = {x};
    uint32_t sign = v.u >> 16 & 0x8000u, size = v.u & 0x7FFFFFFFu;
    if (size > 0x7F800000u) return sign | 0x7E00u;
    if (size >= 0x47800000u) return sign | 0x7C00u; /* 65536 and more */
    if (size >= 0x38800000u) return sign | (size - 0x38000000u + 0xFFFu + (size >> 13 & 1u)) >> 13;
    float tiny = x < 0 ? -x : x, large = 0x1p23f;
    return sign | (uint32_t)(int32_t)((tiny * 0x1p24f + large) - large);
}

void pack_strip_f16(int64_t k, int n, const void *src_, int64_t stride_k, int64_t stride_n,
                    void *strip_) {
    const float *src = src_;
    uint32_t *strip = strip_;
    for (int64_t i = 0; i < k; i += BF16_PAIR, strip += STRIP)
        for (int j = 0; j < STRIP; j++) {
            const float *at = src + i * stride_k + j * stride_n;
            uint32_t even = j < n ? f16_bits(at[0]) : 0u;
            uint32_t odd = j < n && i + 1 < k ? f16_bits(at[stride_k]) : 0u;
            strip[j] = even | odd << 16;
        }
}

static float low_half(uint32_t pair) {
    union {
        uint32_t u;
        float f;
    } v = {pair << 16};
    return v.f;
}
static float high_half(uint32_t pair) {
    union {
        uint32_t u;
        float f;
    } v = {pair & 0xFFFF0000u};
    return v.f;
}

/* The contract of docs/numerics.md 2, row bf16, letter by letter. a: A_ROUNDED. */
static void micro_bf16(const micro_call *call) {
    for (int i = 0; i < call->rows; i++)
        for (int j = 0; j < call->columns; j++) {
            const uint32_t *b =
                (const uint32_t *)((const char *)call->b + (j < STRIP ? 0 : call->strip_stride)) +
                j % STRIP;
            const float *a = (const float *)call->a + i * call->row_stride;
            float *c = (float *)call->c + i * call->ldc + j;
            float acc = call->accumulate ? *c : 0.0f;
            for (int64_t group = 0; group < call->k; group += BF16_GROUP) {
                float even = 0.0f, odd = 0.0f;
                for (int64_t k = group; k < group + BF16_GROUP; k += 2) {
                    uint32_t pair = b[k / 2 * STRIP];
                    even = __builtin_fmaf(a[k * call->k_stride], low_half(pair), even);
                    odd = __builtin_fmaf(a[(k + 1) * call->k_stride], high_half(pair), odd);
                }
                acc = acc + (even + odd);
            }
            *c = acc;
        }
}

/* The row bf16-dot: one chain, in each pair of k the odd one first. a: A_ROUNDED. */
static void micro_dot(const micro_call *call) {
    for (int i = 0; i < call->rows; i++)
        for (int j = 0; j < call->columns; j++) {
            const uint32_t *b =
                (const uint32_t *)((const char *)call->b + (j < STRIP ? 0 : call->strip_stride)) +
                j % STRIP;
            const float *a = (const float *)call->a + i * call->row_stride;
            float *c = (float *)call->c + i * call->ldc + j;
            float acc = call->accumulate ? *c : 0.0f;
            for (int64_t k = 0; k < call->k; k += BF16_PAIR) {
                uint32_t pair = b[k / 2 * STRIP];
                acc = __builtin_fmaf(a[(k + 1) * call->k_stride], high_half(pair), acc);
                acc = __builtin_fmaf(a[k * call->k_stride], low_half(pair), acc);
            }
            *c = acc;
        }
}

const tier_kernels tier_portable = {
    .rows_f32 = &rows_f32,
    .rows_f64 = &rows_f64,
    .f32 = {PRODUCT_F32, .rows = PLAIN_ROWS, .columns = STRIP, .chunk_flops = 1 << 19,
            .micro = micro_f32, .pack_strip = pack_strip_f32},
    .f64 = PLAIN_F64,
    .bf16 = {PRODUCT_ROUNDED(BF16_GROUP), .rows = 8, .columns = STRIP, .chunk_flops = 1 << 19,
             .micro = micro_bf16, .pack_strip = pack_strip_bf16},
    .bf16_dot = {PRODUCT_ROUNDED(BF16_PAIR), .rows = 8, .columns = STRIP, .chunk_flops = 1 << 19,
                 .micro = micro_dot, .pack_strip = pack_strip_dot},
    .f32_bf16 = {PRODUCT_HALF, .rows = HALF_ROWS, .columns = STRIP, .chunk_flops = 1 << 19,
                 .micro = micro_half_bf16, .pack_strip = pack_strip_dot},
    .f32_f16 = {PRODUCT_HALF, .rows = HALF_ROWS, .columns = STRIP, .chunk_flops = 1 << 19,
                .micro = micro_half_f16, .pack_strip = pack_strip_f16},
    .pack_halves = pack_halves,
    .transpose_bf16 = transpose_bf16,
    FLAT_KERNELS,
};
