/* neon.c - the NEON tier: what every arm64 CPU has.
 *
 * f32: 6 x 16 block of C in 24 of the 32 registers, or 3 x 32 for few rows, so that even one row
 * keeps eight chains busy. f64: 3 x 16. bf16: 3 x 16 with an even and an odd chain each; a word of
 * B is a pair, widened by a shift and a mask, A is already rounded floats; every 32 k the chains
 * are added to C in memory (docs/numerics.md 2). A partial strip goes through a copy (strips.h).
 *
 * BFDOT and BFMMLA add two or four products before they round, in another order than the contract,
 * and take no part here; BFMLALB and BFMLALT do it right, see neon_bf16.c.
 *
 * Everything else is rows.inc and flat.inc compiled for this instruction set. NEON is part of the
 * base architecture, so the portable tier is vectorised as well; what this tier adds is registers
 * kept full by hand and sums as registers (lanes.inc).
 */
#include "kernels/functions.h"
#include "kernels/kernels_internal.h"
#include "kernels/strips.h"

#include <arm_neon.h>
#include <float.h>
#include <string.h>

#define LANES_NEON

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

#define F32_ROWS  6
#define F64_ROWS  3
#define BF16_ROWS 3
#define DOT_ROWS  6
#define FOURS     4 /* registers of a strip of floats */
#define TWOS      8 /* registers of a strip of doubles */

/* `columns` is a multiple of STRIP here: one strip for up to 6 rows, two for up to 3. */
INLINE void block_f32(const micro_call *call, const int rows, const int strips) {
    const int64_t rs = call->row_stride, cs = call->k_stride, ldc = call->ldc;
    const float *b[2] = {call->b, (const float *)((const char *)call->b + call->strip_stride)};
    const float *a[2] = {call->a, (const float *)call->a + 3 * rs};
    float *c = call->c;
    float32x4_t acc[F32_ROWS][2 * FOURS];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int s = 0; s < FOURS * strips; s++)
            acc[i][s] = call->accumulate ? vld1q_f32(c + i * ldc + 4 * s) : vdupq_n_f32(0);
    }
    for (int64_t k = 0; k < call->k; k++) {
        UNROLL
        for (int t = 0; t < strips; t++) {
            float32x4_t x[FOURS];
            UNROLL
            for (int s = 0; s < FOURS; s++)
                x[s] = vld1q_f32(b[t] + k * STRIP + 4 * s);
            UNROLL
            for (int i = 0; i < rows; i++) {
                float v = a[i / 3][i % 3 * rs];
                UNROLL
                for (int s = 0; s < FOURS; s++)
                    acc[i][FOURS * t + s] = vfmaq_n_f32(acc[i][FOURS * t + s], x[s], v);
            }
        }
        a[0] += cs;
        a[1] += cs;
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int s = 0; s < FOURS * strips; s++)
            vst1q_f32(c + i * ldc + 4 * s, acc[i][s]);
    }
}

/* One strip. */
INLINE void block_f64(const micro_call *call, const int rows) {
    const int64_t rs = call->row_stride, cs = call->k_stride, ldc = call->ldc;
    const double *b = call->b, *a = call->a;
    double *c = call->c;
    float64x2_t acc[F64_ROWS][TWOS];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int s = 0; s < TWOS; s++)
            acc[i][s] = call->accumulate ? vld1q_f64(c + i * ldc + 2 * s) : vdupq_n_f64(0);
    }
    for (int64_t k = 0; k < call->k; k++, a += cs, b += STRIP) {
        UNROLL
        for (int s = 0; s < TWOS; s++) {
            float64x2_t x = vld1q_f64(b + 2 * s);
            UNROLL
            for (int i = 0; i < rows; i++)
                acc[i][s] = vfmaq_n_f64(acc[i][s], x, a[i * rs]);
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int s = 0; s < TWOS; s++)
            vst1q_f64(c + i * ldc + 2 * s, acc[i][s]);
    }
}

/* One strip. */
INLINE void block_bf16(const micro_call *call, const int rows) {
    const int64_t rs = call->row_stride, cs = call->k_stride;
    const uint32_t *b = call->b;
    const float *a = call->a;
    const uint32x4_t high = vdupq_n_u32(0xFFFF0000u);
    bool from_c = call->accumulate;
    for (int64_t group = 0; group < call->k; group += BF16_GROUP, from_c = true) {
        float32x4_t even[BF16_ROWS][FOURS], odd[BF16_ROWS][FOURS];
        UNROLL
        for (int i = 0; i < rows; i++) {
            UNROLL
            for (int s = 0; s < FOURS; s++)
                even[i][s] = odd[i][s] = vdupq_n_f32(0);
        }
        for (int pair = 0; pair < BF16_GROUP / 2; pair++, b += STRIP, a += 2 * cs) {
            float32x2_t v[BF16_ROWS];
            UNROLL
            for (int i = 0; i < rows; i++)
                v[i] = vld1_lane_f32(a + i * rs + cs, vld1_dup_f32(a + i * rs), 1);
            UNROLL
            for (int s = 0; s < FOURS; s++) {
                uint32x4_t w = vld1q_u32(b + 4 * s);
                float32x4_t x = vreinterpretq_f32_u32(vshlq_n_u32(w, 16));
                float32x4_t y = vreinterpretq_f32_u32(vandq_u32(w, high));
                UNROLL
                for (int i = 0; i < rows; i++) {
                    even[i][s] = vfmaq_lane_f32(even[i][s], x, v[i], 0);
                    odd[i][s] = vfmaq_lane_f32(odd[i][s], y, v[i], 1);
                }
            }
        }
        UNROLL
        for (int i = 0; i < rows; i++) {
            UNROLL
            for (int s = 0; s < FOURS; s++) {
                float *at = (float *)call->c + i * call->ldc + 4 * s;
                float32x4_t old = from_c ? vld1q_f32(at) : vdupq_n_f32(0);
                vst1q_f32(at, vaddq_f32(old, vaddq_f32(even[i][s], odd[i][s])));
            }
        }
    }
}

/* One strip of bf16-dot: the pair's odd k first. */
INLINE void block_dot(const micro_call *call, const int rows) {
    const int64_t rs = call->row_stride, cs = call->k_stride, ldc = call->ldc;
    const uint32_t *b = call->b;
    const float *a = call->a;
    const uint32x4_t high = vdupq_n_u32(0xFFFF0000u);
    float *c = call->c;
    float32x4_t acc[DOT_ROWS][FOURS];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int s = 0; s < FOURS; s++)
            acc[i][s] = call->accumulate ? vld1q_f32(c + i * ldc + 4 * s) : vdupq_n_f32(0);
    }
    for (int64_t k = 0; k < call->k; k += BF16_PAIR, b += STRIP, a += 2 * cs) {
        UNROLL
        for (int s = 0; s < FOURS; s++) {
            float32x4_t y = vreinterpretq_f32_u32(vandq_u32(vld1q_u32(b + 4 * s), high));
            UNROLL
            for (int i = 0; i < rows; i++)
                acc[i][s] = vfmaq_n_f32(acc[i][s], y, a[i * rs + cs]);
        }
        UNROLL
        for (int s = 0; s < FOURS; s++) {
            float32x4_t x = vreinterpretq_f32_u32(vshlq_n_u32(vld1q_u32(b + 4 * s), 16));
            UNROLL
            for (int i = 0; i < rows; i++)
                acc[i][s] = vfmaq_n_f32(acc[i][s], x, a[i * rs]);
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int s = 0; s < FOURS; s++)
            vst1q_f32(c + i * ldc + 4 * s, acc[i][s]);
    }
}

static void whole_f32(const micro_call *call) {
    switch (call->rows * 2 + (call->columns > STRIP)) {
    case 2: block_f32(call, 1, 1); break;
    case 3: block_f32(call, 1, 2); break;
    case 4: block_f32(call, 2, 1); break;
    case 5: block_f32(call, 2, 2); break;
    case 6: block_f32(call, 3, 1); break;
    case 7: block_f32(call, 3, 2); break;
    case 8: block_f32(call, 4, 1); break;
    case 10: block_f32(call, 5, 1); break;
    case 12: block_f32(call, 6, 1); break;
    }
}
static void whole_f64(const micro_call *call) {
    switch (call->rows) {
    case 1: block_f64(call, 1); break;
    case 2: block_f64(call, 2); break;
    case 3: block_f64(call, 3); break;
    }
}
static void whole_bf16(const micro_call *call) {
    switch (call->rows) {
    case 1: block_bf16(call, 1); break;
    case 2: block_bf16(call, 2); break;
    case 3: block_bf16(call, 3); break;
    }
}

static void whole_dot(const micro_call *call) {
    switch (call->rows) {
    case 1: block_dot(call, 1); break;
    case 2: block_dot(call, 2); break;
    case 3: block_dot(call, 3); break;
    case 4: block_dot(call, 4); break;
    case 5: block_dot(call, 5); break;
    case 6: block_dot(call, 6); break;
    }
}

static void micro_six(const micro_call *call) {
    by_strips(call, call->rows <= 3 ? 2 * STRIP : STRIP, sizeof(float), whole_f32);
}
static void micro_three(const micro_call *call) {
    by_strips(call, STRIP, sizeof(double), whole_f64);
}
static void micro_bf16(const micro_call *call) {
    by_strips(call, STRIP, sizeof(float), whole_bf16);
}

static void micro_dot(const micro_call *call) {
    by_strips(call, STRIP, sizeof(float), whole_dot);
}

/* -- packing columns that lie along k -- */

/* to[j][i] = from[i][j] for a 4 x 4 block of 32-bit words. */
INLINE void transpose4(const uint32_t *from, int64_t from_stride, uint32_t *to, int64_t to_stride) {
    uint32x4_t r[4];
    UNROLL
    for (int i = 0; i < 4; i++)
        r[i] = vld1q_u32(from + i * from_stride);
    uint64x2_t even01 = vreinterpretq_u64_u32(vtrn1q_u32(r[0], r[1]));
    uint64x2_t odd01 = vreinterpretq_u64_u32(vtrn2q_u32(r[0], r[1]));
    uint64x2_t even23 = vreinterpretq_u64_u32(vtrn1q_u32(r[2], r[3]));
    uint64x2_t odd23 = vreinterpretq_u64_u32(vtrn2q_u32(r[2], r[3]));
    vst1q_u32(to, vreinterpretq_u32_u64(vtrn1q_u64(even01, even23)));
    vst1q_u32(to + to_stride, vreinterpretq_u32_u64(vtrn1q_u64(odd01, odd23)));
    vst1q_u32(to + 2 * to_stride, vreinterpretq_u32_u64(vtrn2q_u64(even01, even23)));
    vst1q_u32(to + 3 * to_stride, vreinterpretq_u32_u64(vtrn2q_u64(odd01, odd23)));
}

static void pack_f32(int64_t k, int n, const void *src_, int64_t stride_k, int64_t stride_n,
                     void *strip_) {
    const float *src = src_;
    uint32_t *strip = strip_;
    int64_t whole = stride_k == 1 && n == STRIP ? k / 4 * 4 : 0;
    for (int64_t i = 0; i < whole; i += 4)
        for (int j = 0; j < STRIP; j += 4)
            transpose4((const uint32_t *)(const void *)(src + j * stride_n + i), stride_n,
                       strip + i * STRIP + j, STRIP);
    pack_strip_f32(k - whole, n, src + whole * stride_k, stride_k, stride_n, strip + whole * STRIP);
}

/* Whole groups of 32 k: pairs of each column to words, then words across. */
static void pack_words(int64_t k, int unit, int n, const float *src, int64_t stride_k,
                       int64_t stride_n, uint32_t *strip) {
    uint32_t pairs[STRIP][STRIP];
    int64_t whole = stride_k == 1 && n == STRIP ? k / BF16_GROUP * BF16_GROUP : 0;
    for (int64_t i = 0; i < whole; i += BF16_GROUP) {
        for (int j = 0; j < STRIP; j++) {
            const float *at = src + j * stride_n + i;
            for (int r = 0; r < STRIP; r++)
                pairs[j][r] = bf16_bits(at[2 * r]) | bf16_bits(at[2 * r + 1]) << 16;
        }
        for (int r = 0; r < STRIP; r += 4)
            for (int j = 0; j < STRIP; j += 4)
                transpose4(&pairs[j][r], STRIP, strip + i / 2 * STRIP + r * STRIP + j, STRIP);
    }
    pack_pairs(k - whole, unit, n, src + whole * stride_k, stride_k, stride_n,
               strip + whole / 2 * STRIP);
}
static void pack_bf16(int64_t k, int n, const void *src, int64_t stride_k, int64_t stride_n,
                      void *strip) {
    pack_words(k, BF16_GROUP, n, src, stride_k, stride_n, strip);
}
static void pack_dot(int64_t k, int n, const void *src, int64_t stride_k, int64_t stride_n,
                     void *strip) {
    pack_words(k, BF16_PAIR, n, src, stride_k, stride_n, strip);
}

/* Weights of 16 bits: whole groups of words across, then the rest. */
static void pack_across(int64_t k, int n, const void *const *rows, void *strip) {
    uint32_t words[STRIP][STRIP];
    const void *rest[STRIP];
    int64_t whole = n == STRIP ? k / BF16_GROUP * BF16_GROUP : 0;
    for (int64_t i = 0; i < whole; i += BF16_GROUP) {
        for (int j = 0; j < STRIP; j++)
            memcpy(words[j], (const char *)rows[j] + 2 * i, sizeof words[j]);
        for (int r = 0; r < STRIP; r += 4)
            for (int j = 0; j < STRIP; j += 4)
                transpose4(&words[j][r], STRIP, (uint32_t *)strip + (i / 2 + r) * STRIP + j, STRIP);
    }
    for (int j = 0; j < n; j++)
        rest[j] = (const char *)rows[j] + 2 * whole;
    pack_halves(k - whole, n, rest, (uint32_t *)strip + whole / 2 * STRIP);
}

const tier_kernels tier_neon = {
    .rows_f32 = &rows_f32,
    .rows_f64 = &rows_f64,
    .f32 = {PRODUCT_F32, .rows = F32_ROWS, .columns = STRIP, .chunk_flops = 1 << 18,
            .micro = micro_six, .pack_strip = pack_f32},
    .f64 = {PRODUCT_F64, .rows = F64_ROWS, .columns = STRIP, .chunk_flops = 1 << 17,
            .micro = micro_three, .pack_strip = pack_strip_f64},
    .bf16 = {PRODUCT_ROUNDED(BF16_GROUP), .rows = BF16_ROWS, .columns = STRIP,
             .chunk_flops = 1 << 18, .micro = micro_bf16, .pack_strip = pack_bf16},
    .bf16_dot = {PRODUCT_ROUNDED(BF16_PAIR), .rows = DOT_ROWS, .columns = STRIP,
                 .chunk_flops = 1 << 18, .micro = micro_dot, .pack_strip = pack_dot},
    .f32_bf16 = {PRODUCT_HALF, .rows = HALF_ROWS, .columns = STRIP, .chunk_flops = 1 << 18,
                 .micro = micro_half_bf16, .pack_strip = pack_dot},
    .f32_f16 = {PRODUCT_HALF, .rows = HALF_ROWS, .columns = STRIP, .chunk_flops = 1 << 18,
                .micro = micro_half_f16, .pack_strip = pack_strip_f16},
    .pack_halves = pack_across,
    .transpose_bf16 = transpose_bf16,
    FLAT_KERNELS,
};
