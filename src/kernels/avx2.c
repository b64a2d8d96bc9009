/* avx2.c - the AVX2 tier (AVX2, FMA, F16C).
 *
 * f32: 6 x 16 block of C in 12 registers, or 3 x 32 for few rows, so that even one row keeps four
 * chains busy. bf16: 3 x 16 with an even and an odd chain each; a row of B pairs is widened by a
 * shift and a mask, A is already rounded floats; every 32 k the chains are added to C in memory
 * (docs/numerics.md 2). Column tails go through a copy of C (strips.h).
 *
 * Everything else is rows.inc, products.inc and flat.inc compiled for this instruction set.
 */
#include "kernels/functions.h"
#include "kernels/kernels_internal.h"
#include "kernels/strips.h"

#include <float.h>
#include <immintrin.h>
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
/* clang-format on */

#define F32_ROWS  6
#define BF16_ROWS 3
#define DOT_ROWS  6
#define HALF_ROWS 6
#define HALF      8 /* floats of a register; a strip is two registers */

/* What C holds, or zero: two registers of each strip in a row. */
INLINE void load_chains(const micro_call *call, const int rows, const int strips, __m256 acc[][4]) {
    const float *c = call->c;
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int s = 0; s < 2 * strips; s++)
            acc[i][s] = call->accumulate ? _mm256_loadu_ps(c + i * call->ldc + s * HALF)
                                         : _mm256_setzero_ps();
    }
}
INLINE void store_chains(const micro_call *call, const int rows, const int strips,
                         __m256 acc[][4]) {
    float *c = call->c;
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int s = 0; s < 2 * strips; s++)
            _mm256_storeu_ps(c + i * call->ldc + s * HALF, acc[i][s]);
    }
}

/* `columns` is a multiple of STRIP here: one strip for up to 6 rows, two for up to 3. */
INLINE void block_f32(const micro_call *call, const int rows, const int strips) {
    const int64_t rs = call->row_stride, cs = call->k_stride;
    const float *b[2] = {call->b, (const float *)((const char *)call->b + call->strip_stride)};
    const float *a[2] = {call->a, (const float *)call->a + 3 * rs};
    __m256 acc[F32_ROWS][4];
    load_chains(call, rows, strips, acc);
    for (int64_t k = 0; k < call->k; k++) {
        UNROLL
        for (int t = 0; t < strips; t++) {
            __m256 x = _mm256_loadu_ps(b[t] + k * STRIP);
            __m256 y = _mm256_loadu_ps(b[t] + k * STRIP + HALF);
            UNROLL
            for (int i = 0; i < rows; i++) {
                __m256 v = _mm256_broadcast_ss(a[i / 3] + i % 3 * rs);
                acc[i][2 * t] = _mm256_fmadd_ps(v, x, acc[i][2 * t]);
                acc[i][2 * t + 1] = _mm256_fmadd_ps(v, y, acc[i][2 * t + 1]);
            }
        }
        a[0] += cs;
        a[1] += cs;
    }
    store_chains(call, rows, strips, acc);
}

/* One strip. */
INLINE void block_bf16(const micro_call *call, const int rows, const int strips) {
    (void)strips;
    const int64_t rs = call->row_stride, cs = call->k_stride;
    const char *b = call->b;
    const float *a = call->a;
    const __m256i high = _mm256_set1_epi32((int)0xFFFF0000u);
    bool from_c = call->accumulate;
    for (int64_t group = 0; group < call->k; group += BF16_GROUP, from_c = true) {
        __m256 even[BF16_ROWS][2], odd[BF16_ROWS][2];
        UNROLL
        for (int i = 0; i < rows; i++) {
            even[i][0] = even[i][1] = _mm256_setzero_ps();
            odd[i][0] = odd[i][1] = _mm256_setzero_ps();
        }
        for (int pair = 0; pair < BF16_GROUP / 2; pair++, b += 4 * STRIP, a += 2 * cs) {
            __m256i w0 = _mm256_loadu_si256((const __m256i *)(const void *)b);
            __m256i w1 = _mm256_loadu_si256((const __m256i *)(const void *)(b + 32));
            __m256 x0 = _mm256_castsi256_ps(_mm256_slli_epi32(w0, 16));
            __m256 x1 = _mm256_castsi256_ps(_mm256_slli_epi32(w1, 16));
            UNROLL
            for (int i = 0; i < rows; i++) {
                __m256 v = _mm256_broadcast_ss(a + i * rs);
                even[i][0] = _mm256_fmadd_ps(v, x0, even[i][0]);
                even[i][1] = _mm256_fmadd_ps(v, x1, even[i][1]);
            }
            __m256 y0 = _mm256_castsi256_ps(_mm256_and_si256(w0, high));
            __m256 y1 = _mm256_castsi256_ps(_mm256_and_si256(w1, high));
            UNROLL
            for (int i = 0; i < rows; i++) {
                __m256 v = _mm256_broadcast_ss(a + i * rs + cs);
                odd[i][0] = _mm256_fmadd_ps(v, y0, odd[i][0]);
                odd[i][1] = _mm256_fmadd_ps(v, y1, odd[i][1]);
            }
        }
        UNROLL
        for (int i = 0; i < rows; i++) {
            UNROLL
            for (int h = 0; h < 2; h++) {
                float *at = (float *)call->c + i * call->ldc + h * HALF;
                __m256 old = from_c ? _mm256_loadu_ps(at) : _mm256_setzero_ps();
                _mm256_storeu_ps(at, _mm256_add_ps(old, _mm256_add_ps(even[i][h], odd[i][h])));
            }
        }
    }
}

/* One strip of bf16-dot: the pair's odd k first. The words of B are read twice, from L1, since
 * twelve chains leave no register to keep them in. */
INLINE void block_dot(const micro_call *call, const int rows) {
    const int64_t rs = call->row_stride, cs = call->k_stride;
    const char *b = call->b;
    const float *a[2] = {call->a, (const float *)call->a + 3 * rs};
    const __m256i high = _mm256_set1_epi32((int)0xFFFF0000u);
    float *c = call->c;
    __m256 acc[DOT_ROWS][2];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int h = 0; h < 2; h++)
            acc[i][h] = call->accumulate ? _mm256_loadu_ps(c + i * call->ldc + h * HALF)
                                         : _mm256_setzero_ps();
    }
    for (int64_t k = 0; k < call->k; k += BF16_PAIR, b += 4 * STRIP) {
        const __m256i *w = (const __m256i *)(const void *)b;
        __m256 y0 = _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(w), high));
        __m256 y1 = _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(w + 1), high));
        UNROLL
        for (int i = 0; i < rows; i++) {
            __m256 v = _mm256_broadcast_ss(a[i / 3] + i % 3 * rs + cs);
            acc[i][0] = _mm256_fmadd_ps(v, y0, acc[i][0]);
            acc[i][1] = _mm256_fmadd_ps(v, y1, acc[i][1]);
        }
        __m256 x0 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(w), 16));
        __m256 x1 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(w + 1), 16));
        UNROLL
        for (int i = 0; i < rows; i++) {
            __m256 v = _mm256_broadcast_ss(a[i / 3] + i % 3 * rs);
            acc[i][0] = _mm256_fmadd_ps(v, x0, acc[i][0]);
            acc[i][1] = _mm256_fmadd_ps(v, x1, acc[i][1]);
        }
        a[0] += 2 * cs;
        a[1] += 2 * cs;
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int h = 0; h < 2; h++)
            _mm256_storeu_ps(c + i * call->ldc + h * HALF, acc[i][h]);
    }
}

/* f32 by weights of 16 bits, widened in registers: the lower halves of eight pairs, or the upper. */
INLINE __m256 widen(const void *pairs, const bool upper, const bool f16) {
    __m256i w = _mm256_loadu_si256(pairs);
    if (!f16 && upper) return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_srli_epi32(w, 16), 16));
    if (!f16) return _mm256_castsi256_ps(_mm256_slli_epi32(w, 16));
    w = upper ? _mm256_srli_epi32(w, 16) : _mm256_and_si256(w, _mm256_set1_epi32(0xFFFF));
    return _mm256_cvtph_ps(
        _mm_packus_epi32(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1)));
}

/* One k: `upper` says which half of the pairs it is. */
INLINE void step_half(const char *const *b, const float *const *a, int64_t rs, const int rows,
                      const int strips, const bool upper, const bool f16, __m256 acc[][4]) {
    UNROLL
    for (int t = 0; t < strips; t++) {
        __m256 x = widen(b[t], upper, f16), y = widen(b[t] + 32, upper, f16);
        UNROLL
        for (int i = 0; i < rows; i++) {
            __m256 v = _mm256_broadcast_ss(a[i / 3] + i % 3 * rs);
            acc[i][2 * t] = _mm256_fmadd_ps(v, x, acc[i][2 * t]);
            acc[i][2 * t + 1] = _mm256_fmadd_ps(v, y, acc[i][2 * t + 1]);
        }
    }
}

/* Shapes as in block_f32. */
INLINE void block_half(const micro_call *call, const int rows, const int strips, const bool f16) {
    const int64_t rs = call->row_stride, cs = call->k_stride;
    const char *b[2] = {call->b, (const char *)call->b + call->strip_stride};
    const float *a[2] = {call->a, (const float *)call->a + 3 * rs};
    __m256 acc[HALF_ROWS][4];
    load_chains(call, rows, strips, acc);
    for (int64_t k = 0; k < call->k; k++) {
        if (k % 2 == 0) {
            step_half(b, a, rs, rows, strips, false, f16, acc);
        } else {
            step_half(b, a, rs, rows, strips, true, f16, acc);
            b[0] += 4 * STRIP;
            b[1] += 4 * STRIP;
        }
        a[0] += cs;
        a[1] += cs;
    }
    store_chains(call, rows, strips, acc);
}

#define WHOLE_HALF(name, f16)                                                                      \
    static void name(const micro_call *call) {                                                     \
        switch (call->rows * 2 + (call->columns > STRIP)) {                                        \
        case 2: block_half(call, 1, 1, f16); break;                                                \
        case 3: block_half(call, 1, 2, f16); break;                                                \
        case 4: block_half(call, 2, 1, f16); break;                                                \
        case 5: block_half(call, 2, 2, f16); break;                                                \
        case 6: block_half(call, 3, 1, f16); break;                                                \
        case 7: block_half(call, 3, 2, f16); break;                                                \
        case 8: block_half(call, 4, 1, f16); break;                                                \
        case 10: block_half(call, 5, 1, f16); break;                                               \
        case 12: block_half(call, 6, 1, f16); break;                                               \
        }                                                                                          \
    }
WHOLE_HALF(whole_half_bf16, false)
WHOLE_HALF(whole_half_f16, true)

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

static void whole_bf16(const micro_call *call) {
    switch (call->rows) {
    case 1: block_bf16(call, 1, 1); break;
    case 2: block_bf16(call, 2, 1); break;
    case 3: block_bf16(call, 3, 1); break;
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
static void micro_bf16(const micro_call *call) {
    by_strips(call, STRIP, sizeof(float), whole_bf16);
}

static void micro_dot(const micro_call *call) {
    by_strips(call, STRIP, sizeof(float), whole_dot);
}

static void micro_half_bf16(const micro_call *call) {
    by_strips(call, call->rows <= 3 ? 2 * STRIP : STRIP, sizeof(float), whole_half_bf16);
}
static void micro_half_f16(const micro_call *call) {
    by_strips(call, call->rows <= 3 ? 2 * STRIP : STRIP, sizeof(float), whole_half_f16);
}

/* -- packing columns that lie along k -- */

/* to[j][i] = from[i][j] for an 8 x 8 block of 32-bit words. */
INLINE void transpose8(const uint32_t *from, int64_t from_stride, uint32_t *to, int64_t to_stride) {
    __m256i r[8], t[8];
    UNROLL
    for (int i = 0; i < 8; i++)
        r[i] = _mm256_loadu_si256((const __m256i *)(const void *)(from + i * from_stride));
    UNROLL
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    UNROLL
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
    }
    UNROLL
    for (int i = 0; i < 8; i++)
        _mm256_storeu_si256((__m256i *)(void *)(to + i * to_stride), t[i]);
}

static void pack_f32(int64_t k, int n, const void *src_, int64_t stride_k, int64_t stride_n,
                     void *strip_) {
    const char *src = src_;
    uint32_t *strip = strip_;
    int64_t whole = stride_k == 1 && n == STRIP ? k / 8 * 8 : 0, column = 4 * stride_n;
    for (int64_t i = 0; i < whole; i += 8)
        for (int half = 0; half < STRIP; half += 8)
            transpose8((const uint32_t *)(const void *)(src + half * column + 4 * i), stride_n,
                       strip + i * STRIP + half, STRIP);
    pack_strip_f32(k - whole, n, src + 4 * whole * stride_k, stride_k, stride_n,
                   strip + whole * STRIP);
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
        for (int r = 0; r < STRIP; r += 8)
            for (int j = 0; j < STRIP; j += 8)
                transpose8(&pairs[j][r], STRIP, strip + i / 2 * STRIP + r * STRIP + j, STRIP);
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
static void pack_across(int64_t k, int n, const void *const *rows, void *strip_) {
    uint32_t words[STRIP][STRIP], *strip = strip_;
    int64_t i = 0;
    for (; i < k; i += BF16_GROUP, strip += STRIP * STRIP) {
        int64_t left = k - i < BF16_GROUP ? k - i : BF16_GROUP;
        if (n < STRIP || left < BF16_GROUP) memset(words, 0, sizeof words);
        for (int j = 0; j < n; j++)
            memcpy(words[j], (const char *)rows[j] + 2 * i, (size_t)left * sizeof(uint16_t));
        int used = (int)(left + 1) / 2;
        if (left == BF16_GROUP)
            for (int r = 0; r < STRIP; r += 8)
                for (int j = 0; j < STRIP; j += 8)
                    transpose8(&words[j][r], STRIP, strip + r * STRIP + j, STRIP);
        else
            for (int r = 0; r < used; r++)
                for (int j = 0; j < STRIP; j++)
                    strip[r * STRIP + j] = words[j][r];
    }
}

const tier_kernels tier_avx2 = {
    .rows_f32 = &rows_f32,
    .rows_f64 = &rows_f64,
    .f32 = {PRODUCT_F32, .rows = F32_ROWS, .columns = STRIP, .chunk_flops = 1 << 19,
            .micro = micro_six, .pack_strip = pack_f32},
    .f64 = PLAIN_F64,
    .bf16 = {PRODUCT_ROUNDED(BF16_GROUP), .rows = BF16_ROWS, .columns = STRIP,
             .chunk_flops = 1 << 19, .micro = micro_bf16, .pack_strip = pack_bf16},
    .bf16_dot = {PRODUCT_ROUNDED(BF16_PAIR), .rows = DOT_ROWS, .columns = STRIP,
                 .chunk_flops = 1 << 19, .micro = micro_dot, .pack_strip = pack_dot},
    .f32_bf16 = {PRODUCT_HALF, .rows = HALF_ROWS, .columns = STRIP, .chunk_flops = 1 << 19,
                 .micro = micro_half_bf16, .pack_strip = pack_dot},
    .f32_f16 = {PRODUCT_HALF, .rows = HALF_ROWS, .columns = STRIP, .chunk_flops = 1 << 19,
                .micro = micro_half_f16, .pack_strip = pack_strip_f16},
    .pack_halves = pack_across,
    .transpose_bf16 = transpose_bf16,
    FLAT_KERNELS,
};
