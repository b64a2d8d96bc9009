/* neon_bf16.c - products of bf16 with BFMLALB and BFMLALT (arm64 extension BF16).
 *
 * BFMLALB takes the even halves of the words of B, BFMLALT the odd ones, and adds each product to
 * its f32 lane as a fused multiply-add with the rounding mode in force: BFMulAddH in the
 * architecture's pseudocode (Arm ARM, DDI 0487) widens both bf16 by zeros and calls FPMulAdd. That
 * is, letter by letter, one step of the even and of the odd chain of docs/numerics.md 2 (and the
 * product of two bf16 is exact in f32 in any case), so no bit differs from shifting and masking;
 * what is saved is those two instructions per word and half of the bytes of A. BFDOT and BFMMLA
 * sum several products first, round them to odd, and are not used. bf16-dot is the same two
 * instructions on one chain, the odd halves first.
 *
 * A: bf16 rows as for tiles, so that one load brings four pairs of k.
 */
#include "kernels/probes.h"
#include "kernels/strips.h"

#include <arm_neon.h>

#define ROWS     3 /* x 16 columns x 2 chains = 24 registers */
#define FOURS    4 /* registers of a strip */
#define DOT_ROWS 6 /* x 16 columns = 24 registers */

/* One pair of k: halves 2 * pair and 2 * pair + 1 of each row's register. Lanes are immediates. */
#define STEP(pair)                                                                                 \
    do {                                                                                           \
        UNROLL                                                                                     \
        for (int s = 0; s < FOURS; s++) {                                                          \
            bfloat16x8_t x = vreinterpretq_bf16_u32(vld1q_u32(b + (pair)*STRIP + 4 * s));          \
            UNROLL                                                                                 \
            for (int i = 0; i < rows; i++) {                                                       \
                even[i][s] = vbfmlalbq_laneq_f32(even[i][s], x, v[i], 2 * (pair));                 \
                odd[i][s] = vbfmlaltq_laneq_f32(odd[i][s], x, v[i], 2 * (pair) + 1);               \
            }                                                                                      \
        }                                                                                          \
    } while (0)

/* One strip. */
INLINE void block_bf16(const micro_call *call, const int rows) {
    const int64_t rs = call->row_stride;
    const uint32_t *b = call->b;
    const uint16_t *a = call->a;
    bool from_c = call->accumulate;
    for (int64_t group = 0; group < call->k; group += BF16_GROUP, from_c = true) {
        float32x4_t even[ROWS][FOURS], odd[ROWS][FOURS];
        UNROLL
        for (int i = 0; i < rows; i++) {
            UNROLL
            for (int s = 0; s < FOURS; s++)
                even[i][s] = odd[i][s] = vdupq_n_f32(0);
        }
        for (int eight = 0; eight < BF16_GROUP; eight += 8, a += 8, b += 4 * STRIP) {
            bfloat16x8_t v[ROWS];
            UNROLL
            for (int i = 0; i < rows; i++)
                v[i] = vreinterpretq_bf16_u16(vld1q_u16(a + i * rs));
            STEP(0);
            STEP(1);
            STEP(2);
            STEP(3);
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

static void whole_bf16(const micro_call *call) {
    switch (call->rows) {
    case 1: block_bf16(call, 1); break;
    case 2: block_bf16(call, 2); break;
    case 3: block_bf16(call, 3); break;
    }
}
static void micro_bf16(const micro_call *call) {
    by_strips(call, STRIP, sizeof(float), whole_bf16);
}

/* The floor of this product: its chains without memory, n groups of 32 k (probes.c). */
double neon_bf16_peak(int64_t n) {
    float32x4_t even[ROWS][FOURS], odd[ROWS][FOURS];
    uint16x8_t a = vdupq_n_u16(0x3E00), b = vdupq_n_u16(0x3F00);
    UNROLL
    for (int i = 0; i < ROWS; i++) {
        UNROLL
        for (int s = 0; s < FOURS; s++)
            even[i][s] = odd[i][s] = vdupq_n_f32((float)(i + s));
    }
    for (int64_t r = 0; r < n * (BF16_GROUP / 2); r++) {
        __asm__ volatile("" : "+w"(a), "+w"(b));
        bfloat16x8_t x = vreinterpretq_bf16_u16(b), v = vreinterpretq_bf16_u16(a);
        UNROLL
        for (int i = 0; i < ROWS; i++) {
            UNROLL
            for (int s = 0; s < FOURS; s++) {
                even[i][s] = vbfmlalbq_laneq_f32(even[i][s], x, v, 0);
                odd[i][s] = vbfmlaltq_laneq_f32(odd[i][s], x, v, 1);
            }
        }
    }
    UNROLL
    for (int i = 0; i < ROWS; i++) {
        UNROLL
        for (int s = 0; s < FOURS; s++)
            __asm__ volatile("" : "+w"(even[i][s]), "+w"(odd[i][s]));
    }
    return 2.0 * 2 * 4 * ROWS * FOURS * (BF16_GROUP / 2) * (double)n;
}

/* One strip of bf16-dot: BFMLALT takes the odd k of a pair, then BFMLALB the even one. */
INLINE void block_dot(const micro_call *call, const int rows) {
    const int64_t rs = call->row_stride / BF16_PAIR, step = call->k_stride, ldc = call->ldc;
    const uint32_t *b = call->b, *a = call->a;
    float *c = call->c;
    float32x4_t acc[DOT_ROWS][FOURS];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int s = 0; s < FOURS; s++)
            acc[i][s] = call->accumulate ? vld1q_f32(c + i * ldc + 4 * s) : vdupq_n_f32(0);
    }
    for (int64_t k = 0; k < call->k; k += BF16_PAIR, b += STRIP, a += step) {
        bfloat16x8_t x[FOURS];
        UNROLL
        for (int s = 0; s < FOURS; s++)
            x[s] = vreinterpretq_bf16_u32(vld1q_u32(b + 4 * s));
        UNROLL
        for (int i = 0; i < rows; i++) {
            bfloat16x8_t v = vreinterpretq_bf16_u32(vld1q_dup_u32(a + i * rs));
            UNROLL
            for (int s = 0; s < FOURS; s++)
                acc[i][s] = vbfmlaltq_f32(acc[i][s], x[s], v);
            UNROLL
            for (int s = 0; s < FOURS; s++)
                acc[i][s] = vbfmlalbq_f32(acc[i][s], x[s], v);
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int s = 0; s < FOURS; s++)
            vst1q_f32(c + i * ldc + 4 * s, acc[i][s]);
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
static void micro_dot(const micro_call *call) {
    by_strips(call, STRIP, sizeof(float), whole_dot);
}

/* pack_strip is the NEON tier's. */
const product_kernels product_neon_bf16 = {
    PRODUCT_HALVES(A_TILES, BF16_GROUP, 512),
    .rows = ROWS,
    .columns = STRIP,
    .chunk_flops = 1 << 18,
    .micro = micro_bf16,
};
const product_kernels dot_neon_bf16 = {
    PRODUCT_HALVES(A_PAIRS, BF16_PAIR, 512),
    .rows = DOT_ROWS,
    .columns = STRIP,
    .chunk_flops = 1 << 18,
    .micro = micro_dot,
};
