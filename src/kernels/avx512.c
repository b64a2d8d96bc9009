/* avx512.c - the AVX-512 tier (F, BW, DQ, VL).
 *
 * f32: 14 x 32 block of C in 28 registers, two loads of B and fourteen broadcasts of A per k.
 * bf16: 7 x 32 block with an even and an odd chain each; a row of B pairs is widened by a shift and
 * a mask, A is already rounded floats. Every 32 k the chains are added to C in memory, which is
 * what docs/numerics.md 2 asks for and costs one load and one store per 32 products.
 * bf16-dot: 12 x 32 with one chain each, at the rate of f32; VDPBF16PS doubles it where the CPU has
 * it (avx512_bf16.c).
 *
 * Everything else is rows.inc, products.inc and flat.inc compiled for this instruction set.
 *
 * Mind: accumulators must be arrays with constant indices after unrolling; a variable index would
 * put them on the stack. A is reached through one pointer per three rows, because x86 addresses
 * p, p + s and p + 2 s come free.
 */
#include "kernels/functions.h"
#include "kernels/kernels_internal.h"

#include <float.h>
#include <immintrin.h>
#include <string.h>

/* clang-format off: the order of these includes matters */
#define REAL_BITS 32
#include "kernels/real.inc"
#include "kernels/rows.inc"
static const row_kernels rows_f32 = ROW_KERNELS;
#define REAL_BITS 64
#include "kernels/real.inc"
#include "kernels/rows.inc"

#include "kernels/products.inc"
static const row_kernels rows_f64 = ROW_KERNELS;
#include "kernels/flat.inc"
/* clang-format on */

#define INLINE    static inline __attribute__((always_inline))
#define F32_ROWS  14
#define BF16_ROWS 7
#define DOT_ROWS  12
#define HALF_ROWS 12
#define THIRDS    ((F32_ROWS + 2) / 3)

#include "kernels/chains.inc"

INLINE void block_f32(const micro_call *call, const int rows, const int strips) {
    const int64_t rs = call->row_stride, cs = call->k_stride;
    const float *b[2] = {call->b, (const float *)((const char *)call->b + call->strip_stride)};
    const float *a[THIRDS];
    UNROLL
    for (int i = 0; i < (rows + 2) / 3; i++)
        a[i] = (const float *)call->a + 3 * i * rs;
    const __mmask16 mask[2] = {column_mask(call->columns), column_mask(call->columns - STRIP)};
    __m512 acc[F32_ROWS][2];
    load_chains(call, mask, rows, strips, acc);
    for (int64_t k = 0; k < call->k; k++) {
        __m512 x[2];
        UNROLL
        for (int s = 0; s < strips; s++)
            x[s] = _mm512_loadu_ps(b[s] + k * STRIP);
        UNROLL
        for (int i = 0; i < rows; i++) {
            __m512 v = _mm512_set1_ps(a[i / 3][i % 3 * rs]);
            UNROLL
            for (int s = 0; s < strips; s++)
                acc[i][s] = _mm512_fmadd_ps(v, x[s], acc[i][s]);
        }
        UNROLL
        for (int i = 0; i < (rows + 2) / 3; i++)
            a[i] += cs;
    }
    store_chains(call, mask, rows, strips, acc);
}

INLINE void block_bf16(const micro_call *call, const int rows, const int strips) {
    const int64_t rs = call->row_stride, cs = call->k_stride;
    const int32_t *b[2] = {call->b, (const int32_t *)((const char *)call->b + call->strip_stride)};
    const float *a[(BF16_ROWS + 2) / 3];
    UNROLL
    for (int i = 0; i < (rows + 2) / 3; i++)
        a[i] = (const float *)call->a + 3 * i * rs;
    const __mmask16 mask[2] = {column_mask(call->columns), column_mask(call->columns - STRIP)};
    const __m512i high = _mm512_set1_epi32((int)0xFFFF0000u);
    bool from_c = call->accumulate;
    for (int64_t group = 0; group < call->k; group += BF16_GROUP, from_c = true) {
        __m512 even[BF16_ROWS][2], odd[BF16_ROWS][2];
        UNROLL
        for (int i = 0; i < rows; i++) {
            UNROLL
            for (int s = 0; s < strips; s++)
                even[i][s] = odd[i][s] = _mm512_setzero_ps();
        }
        for (int pair = 0; pair < BF16_GROUP / 2; pair++) {
            __m512 x[2];
            UNROLL
            for (int s = 0; s < strips; s++)
                x[s] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(b[s]), 16));
            UNROLL
            for (int i = 0; i < rows; i++) {
                __m512 v = _mm512_set1_ps(a[i / 3][i % 3 * rs]);
                UNROLL
                for (int s = 0; s < strips; s++)
                    even[i][s] = _mm512_fmadd_ps(v, x[s], even[i][s]);
            }
            UNROLL
            for (int s = 0; s < strips; s++) {
                x[s] = _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(b[s]), high));
                b[s] += STRIP;
            }
            UNROLL
            for (int i = 0; i < rows; i++) {
                __m512 v = _mm512_set1_ps(a[i / 3][i % 3 * rs + cs]);
                UNROLL
                for (int s = 0; s < strips; s++)
                    odd[i][s] = _mm512_fmadd_ps(v, x[s], odd[i][s]);
            }
            UNROLL
            for (int i = 0; i < (rows + 2) / 3; i++)
                a[i] += 2 * cs;
        }
        float *c = call->c;
        UNROLL
        for (int i = 0; i < rows; i++) {
            UNROLL
            for (int s = 0; s < strips; s++) {
                float *at = c + i * call->ldc + s * STRIP;
                __m512 old = from_c ? _mm512_maskz_loadu_ps(mask[s], at) : _mm512_setzero_ps();
                __m512 sum = _mm512_add_ps(old, _mm512_add_ps(even[i][s], odd[i][s]));
                _mm512_mask_storeu_ps(at, mask[s], sum);
            }
        }
    }
}

/* bf16-dot: the odd k of a pair first. */
INLINE void block_dot(const micro_call *call, const int rows, const int strips) {
    const int64_t rs = call->row_stride, cs = call->k_stride;
    const int32_t *b[2] = {call->b, (const int32_t *)((const char *)call->b + call->strip_stride)};
    const float *a[(DOT_ROWS + 2) / 3];
    UNROLL
    for (int i = 0; i < (rows + 2) / 3; i++)
        a[i] = (const float *)call->a + 3 * i * rs;
    const __m512i high = _mm512_set1_epi32((int)0xFFFF0000u);
    const __mmask16 mask[2] = {column_mask(call->columns), column_mask(call->columns - STRIP)};
    __m512 acc[DOT_ROWS][2];
    load_chains(call, mask, rows, strips, acc);
    for (int64_t k = 0; k < call->k; k += BF16_PAIR) {
        __m512 x[2];
        UNROLL
        for (int s = 0; s < strips; s++)
            x[s] = _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(b[s]), high));
        UNROLL
        for (int i = 0; i < rows; i++) {
            __m512 v = _mm512_set1_ps(a[i / 3][i % 3 * rs + cs]);
            UNROLL
            for (int s = 0; s < strips; s++)
                acc[i][s] = _mm512_fmadd_ps(v, x[s], acc[i][s]);
        }
        UNROLL
        for (int s = 0; s < strips; s++) {
            x[s] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(b[s]), 16));
            b[s] += STRIP;
        }
        UNROLL
        for (int i = 0; i < rows; i++) {
            __m512 v = _mm512_set1_ps(a[i / 3][i % 3 * rs]);
            UNROLL
            for (int s = 0; s < strips; s++)
                acc[i][s] = _mm512_fmadd_ps(v, x[s], acc[i][s]);
        }
        UNROLL
        for (int i = 0; i < (rows + 2) / 3; i++)
            a[i] += 2 * cs;
    }
    store_chains(call, mask, rows, strips, acc);
}

/* f32 by weights of 16 bits, widened in registers: the lower halves of the pairs, or the upper. */
INLINE __m512 widen(__m512i w, const bool upper, const bool f16) {
    if (f16) return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(upper ? _mm512_srli_epi32(w, 16) : w));
    __m512i high = _mm512_set1_epi32((int)0xFFFF0000u);
    return _mm512_castsi512_ps(upper ? _mm512_and_si512(w, high) : _mm512_slli_epi32(w, 16));
}

/* One k, which is the lower or the upper half of the pairs at b. */
INLINE void step_half(const int32_t *const *b, const float *const *a, int64_t rs, const int rows,
                      const int strips, const bool upper, const bool f16, __m512 acc[][2]) {
    __m512 x[2];
    UNROLL
    for (int s = 0; s < strips; s++)
        x[s] = widen(_mm512_loadu_si512(b[s]), upper, f16);
    UNROLL
    for (int i = 0; i < rows; i++) {
        __m512 v = _mm512_set1_ps(a[i / 3][i % 3 * rs]);
        UNROLL
        for (int s = 0; s < strips; s++)
            acc[i][s] = _mm512_fmadd_ps(v, x[s], acc[i][s]);
    }
}

INLINE void next_k(const float **a, int64_t step, const int rows) {
    UNROLL
    for (int i = 0; i < (rows + 2) / 3; i++)
        a[i] += step;
}

INLINE void block_half(const micro_call *call, const int rows, const int strips, const bool f16) {
    const int64_t rs = call->row_stride, cs = call->k_stride;
    const int32_t *b[2] = {call->b, (const int32_t *)((const char *)call->b + call->strip_stride)};
    const float *a[(HALF_ROWS + 2) / 3];
    UNROLL
    for (int i = 0; i < (rows + 2) / 3; i++)
        a[i] = (const float *)call->a + 3 * i * rs;
    const __mmask16 mask[2] = {column_mask(call->columns), column_mask(call->columns - STRIP)};
    __m512 acc[HALF_ROWS][2];
    load_chains(call, mask, rows, strips, acc);
    for (int64_t k = 0; k + 1 < call->k; k += BF16_PAIR) {
        step_half(b, a, rs, rows, strips, false, f16, acc);
        next_k(a, cs, rows);
        step_half(b, a, rs, rows, strips, true, f16, acc);
        next_k(a, cs, rows);
        b[0] += STRIP;
        b[1] += STRIP;
    }
    if (call->k % 2 != 0) step_half(b, a, rs, rows, strips, false, f16, acc);
    store_chains(call, mask, rows, strips, acc);
}
INLINE void half_of_bf16(const micro_call *call, const int rows, const int strips) {
    block_half(call, rows, strips, false);
}
INLINE void half_of_f16(const micro_call *call, const int rows, const int strips) {
    block_half(call, rows, strips, true);
}

#define CASE(block, n)                                                                             \
    case n:                                                                                        \
        if (call->columns > STRIP)                                                                 \
            block(call, n, 2);                                                                     \
        else                                                                                       \
            block(call, n, 1);                                                                     \
        break;

static void micro_f32(const micro_call *call) {
    switch (call->rows) {
        CASE(block_f32, 1)
        CASE(block_f32, 2)
        CASE(block_f32, 3)
        CASE(block_f32, 4)
        CASE(block_f32, 5)
        CASE(block_f32, 6)
        CASE(block_f32, 7)
        CASE(block_f32, 8)
        CASE(block_f32, 9)
        CASE(block_f32, 10)
        CASE(block_f32, 11)
        CASE(block_f32, 12)
        CASE(block_f32, 13)
        CASE(block_f32, 14)
    }
}

static void micro_bf16(const micro_call *call) {
    switch (call->rows) {
        CASE(block_bf16, 1)
        CASE(block_bf16, 2)
        CASE(block_bf16, 3)
        CASE(block_bf16, 4)
        CASE(block_bf16, 5)
        CASE(block_bf16, 6)
        CASE(block_bf16, 7)
    }
}

static void micro_dot(const micro_call *call) {
    switch (call->rows) {
        CASE(block_dot, 1)
        CASE(block_dot, 2)
        CASE(block_dot, 3)
        CASE(block_dot, 4)
        CASE(block_dot, 5)
        CASE(block_dot, 6)
        CASE(block_dot, 7)
        CASE(block_dot, 8)
        CASE(block_dot, 9)
        CASE(block_dot, 10)
        CASE(block_dot, 11)
        CASE(block_dot, 12)
    }
}

#define HALF_CASES(block)                                                                          \
    CASE(block, 1)                                                                                 \
    CASE(block, 2)                                                                                 \
    CASE(block, 3)                                                                                 \
    CASE(block, 4)                                                                                 \
    CASE(block, 5)                                                                                 \
    CASE(block, 6)                                                                                 \
    CASE(block, 7)                                                                                 \
    CASE(block, 8)                                                                                 \
    CASE(block, 9)                                                                                 \
    CASE(block, 10)                                                                                \
    CASE(block, 11)                                                                                \
    CASE(block, 12)

static void micro_half_bf16(const micro_call *call) {
    switch (call->rows) { HALF_CASES(half_of_bf16) }
}

static void micro_half_f16(const micro_call *call) {
    switch (call->rows) { HALF_CASES(half_of_f16) }
}

#include "kernels/transpose.inc"

/* Columns that lie one behind the other in k: 16 k at a time through the transposition. */
static void pack_strip_across(int64_t k, int n, const float *src, int64_t stride_n, float *strip) {
    for (int64_t i = 0; i < k; i += 16, strip += 16 * STRIP) {
        int64_t left = k - i < 16 ? k - i : 16;
        __mmask16 mask = column_mask((int)left);
        __m512i r[16];
        UNROLL
        for (int j = 0; j < 16; j++)
            r[j] = j < n ? _mm512_maskz_loadu_epi32(mask, src + j * stride_n + i)
                         : _mm512_setzero_si512();
        transpose(r);
        if (left == 16) {
            UNROLL
            for (int j = 0; j < 16; j++)
                _mm512_storeu_si512(strip + j * STRIP, r[j]);
        } else {
            UNROLL
            for (int j = 0; j < 16; j++)
                if (j < left) _mm512_storeu_si512(strip + j * STRIP, r[j]);
        }
    }
}

static void pack_strip_f32(int64_t k, int n, const void *src_, int64_t stride_k, int64_t stride_n,
                           void *strip_) {
    const float *src = src_;
    float *strip = strip_;
    if (stride_k == 1 && stride_n != 1) {
        pack_strip_across(k, n, src, stride_n, strip);
        return;
    }
    __mmask16 mask = column_mask(n);
    if (stride_n == 1)
        for (int64_t i = 0; i < k; i++)
            _mm512_storeu_ps(strip + i * STRIP, _mm512_maskz_loadu_ps(mask, src + i * stride_k));
    else
        for (int64_t i = 0; i < k * STRIP; i++)
            strip[i] = i % STRIP < n ? src[i / STRIP * stride_k + i % STRIP * stride_n] : 0;
}

INLINE __m512i round_words(__m512 x) {
    __m512i u = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i nearest = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7FFF)), odd);
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_mask_or_epi32(nearest, nan, u, _mm512_set1_epi32(0x400000));
}

/* Pairs along k that lie side by side in memory: round, keep the upper halves, transpose words. */
static void pack_pairs_across(int64_t k, int unit, int n, const float *src, int64_t stride_n,
                              uint32_t *strip) {
    for (int64_t i = 0; i < k; i += BF16_GROUP, strip += 16 * STRIP) {
        int64_t left = k - i;
        __mmask16 first = column_mask(left < 16 ? (int)left : 16);
        __mmask16 second = left > 16 ? column_mask(left < 32 ? (int)left - 16 : 16) : 0;
        __m512i r[16];
        UNROLL
        for (int j = 0; j < 16; j++) {
            if (j >= n) {
                r[j] = _mm512_setzero_si512();
                continue;
            }
            const float *at = src + j * stride_n + i;
            __m512i low = round_words(_mm512_maskz_loadu_ps(first, at));
            __m512i high = round_words(_mm512_maskz_loadu_ps(second, at + (second ? 16 : 0)));
            __m256i halves[2] = {_mm512_cvtepi32_epi16(_mm512_srli_epi32(low, 16)),
                                 _mm512_cvtepi32_epi16(_mm512_srli_epi32(high, 16))};
            r[j] = _mm512_inserti64x4(_mm512_castsi256_si512(halves[0]), halves[1], 1);
        }
        transpose(r);
        int words = left >= BF16_GROUP ? 16 : (int)((left + unit - 1) / unit * unit / 2);
        UNROLL
        for (int j = 0; j < 16; j++)
            if (j < words) _mm512_storeu_si512(strip + j * STRIP, r[j]);
    }
}

static void pack_bf16(int64_t k, int n, const void *src, int64_t stride_k, int64_t stride_n,
                      void *strip) {
    if (stride_k == 1 && stride_n != 1)
        pack_pairs_across(k, BF16_GROUP, n, src, stride_n, strip);
    else
        pack_strip_bf16(k, n, src, stride_k, stride_n, strip);
}

static void pack_dot(int64_t k, int n, const void *src, int64_t stride_k, int64_t stride_n,
                     void *strip) {
    if (stride_k == 1 && stride_n != 1)
        pack_pairs_across(k, BF16_PAIR, n, src, stride_n, strip);
    else
        pack_strip_dot(k, n, src, stride_k, stride_n, strip);
}

/* Weights of 16 bits as they lie in a file: pairs across, nothing else. */
static void pack_across(int64_t k, int n, const void *const *rows, void *strip_) {
    uint32_t *strip = strip_;
    for (int64_t i = 0; i < k; i += BF16_GROUP, strip += 16 * STRIP) {
        int left = k - i < BF16_GROUP ? (int)(k - i) : BF16_GROUP;
        __mmask32 mask = left == BF16_GROUP ? 0xFFFFFFFFu : (1u << left) - 1u;
        __m512i r[16];
        UNROLL
        for (int j = 0; j < 16; j++)
            r[j] = j < n ? _mm512_maskz_loadu_epi16(mask, (const char *)rows[j] + 2 * i)
                         : _mm512_setzero_si512();
        transpose(r);
        UNROLL
        for (int j = 0; j < 16; j++)
            if (2 * j < left) _mm512_storeu_si512(strip + j * STRIP, r[j]);
    }
}

/* Tiles of A from an A that lies across: pairs of k to words, then words across. */
static void transpose_words(int rows, int k, const float *src, int64_t stride_k, uint16_t *to,
                            int64_t stride) {
    for (int row = 0; row < rows; row += 16) {
        __mmask16 mask = column_mask(rows - row);
        __m512i r[16];
        UNROLL
        for (int i = 0; i < 16; i++) {
            const float *even = src + 2 * i * stride_k + row, *odd = even + stride_k;
            __m512 x = 2 * i < k ? _mm512_maskz_loadu_ps(mask, even) : _mm512_setzero_ps();
            __m512 y = 2 * i + 1 < k ? _mm512_maskz_loadu_ps(mask, odd) : _mm512_setzero_ps();
            r[i] = _mm512_mask_blend_epi16(0xAAAAAAAA, _mm512_srli_epi32(round_words(x), 16),
                                           round_words(y));
        }
        transpose(r);
        UNROLL
        for (int i = 0; i < 16; i++)
            if (i < rows - row) _mm512_storeu_si512(to + (row + i) * stride, r[i]);
    }
}

const tier_kernels tier_avx512 = {
    .rows_f32 = &rows_f32,
    .rows_f64 = &rows_f64,
    .f32 = {PRODUCT_F32, .rows = F32_ROWS, .columns = 2 * STRIP, .chunk_flops = 1 << 19,
            .micro = micro_f32, .pack_strip = pack_strip_f32},
    .f64 = PLAIN_F64,
    .bf16 = {PRODUCT_ROUNDED(BF16_GROUP), .rows = BF16_ROWS, .columns = 2 * STRIP,
             .chunk_flops = 1 << 19, .micro = micro_bf16, .pack_strip = pack_bf16},
    .bf16_dot = {PRODUCT_ROUNDED(BF16_PAIR), .rows = DOT_ROWS, .columns = 2 * STRIP,
                 .chunk_flops = 1 << 19, .micro = micro_dot, .pack_strip = pack_dot},
    .f32_bf16 = {PRODUCT_HALF, .rows = HALF_ROWS, .columns = 2 * STRIP, .chunk_flops = 1 << 19,
                 .micro = micro_half_bf16, .pack_strip = pack_dot},
    .f32_f16 = {PRODUCT_HALF, .rows = HALF_ROWS, .columns = 2 * STRIP, .chunk_flops = 1 << 19,
                .micro = micro_half_f16, .pack_strip = pack_strip_f16},
    .pack_halves = pack_across,
    .transpose_bf16 = transpose_words,
    FLAT_KERNELS,
};
