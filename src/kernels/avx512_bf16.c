/* avx512_bf16.c - products of bf16-dot with VDPBF16PS (extension AVX512_BF16).
 *
 * VDPBF16PS adds two products to each f32 lane, the odd one of the pair first, each step fused and
 * rounded to nearest even, denormals flushed: letter by letter one pair of the chain of
 * docs/numerics.md 2, row bf16-dot. On AMD (Zen 4 on) it issues at the rate of an FMA of the same
 * width, so that bf16 products run twice as fast as those of f32.
 *
 * 14 x 32 block of C in 28 registers; per pair of k two loads of B and fourteen broadcasts of a
 * 32-bit word of A (A_PAIRS). VCVTNE2PS2BF16 rounds 32 floats at once.
 *
 * Mind: A is reached through one pointer per three rows, because x86 addresses p, p + s and p + 2 s
 * come free.
 */
#include "kernels/functions.h"
#include "kernels/kernels_internal.h"
#include "kernels/probes.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define ROWS   14
#define THIRDS ((ROWS + 2) / 3)

#include "kernels/chains.inc"

/* clang and gcc differ in the type of a vector of bf16 pairs; its bits are those of integers. */
INLINE __m512bh as_pairs(__m512i x) {
    union {
        __m512i words;
        __m512bh pairs;
    } v = {x};
    return v.pairs;
}
INLINE __m512i round_pairs(__m512 high, __m512 low) {
    union {
        __m512bh pairs;
        __m512i words;
    } v = {_mm512_cvtne2ps_pbh(high, low)};
    return v.words;
}

INLINE void block_dot(const micro_call *call, const int rows, const int strips) {
    const int64_t rs = call->row_stride / BF16_PAIR, step = call->k_stride; /* in words */
    const int32_t *b[2] = {call->b, (const int32_t *)((const char *)call->b + call->strip_stride)};
    const int32_t *a[THIRDS];
    UNROLL
    for (int i = 0; i < (rows + 2) / 3; i++)
        a[i] = (const int32_t *)call->a + 3 * i * rs;
    const __mmask16 mask[2] = {column_mask(call->columns), column_mask(call->columns - STRIP)};
    __m512 acc[ROWS][2];
    load_chains(call, mask, rows, strips, acc);
    for (int64_t pair = 0; pair < call->k / BF16_PAIR; pair++) {
        __m512bh x[2];
        UNROLL
        for (int s = 0; s < strips; s++)
            x[s] = as_pairs(_mm512_loadu_si512(b[s] + pair * STRIP));
        UNROLL
        for (int i = 0; i < rows; i++) {
            __m512bh v = as_pairs(_mm512_set1_epi32(a[i / 3][i % 3 * rs]));
            UNROLL
            for (int s = 0; s < strips; s++)
                acc[i][s] = _mm512_dpbf16_ps(acc[i][s], v, x[s]);
        }
        UNROLL
        for (int i = 0; i < (rows + 2) / 3; i++)
            a[i] += step;
    }
    store_chains(call, mask, rows, strips, acc);
}

#define CASE(n)                                                                                    \
    case n:                                                                                        \
        if (call->columns > STRIP)                                                                 \
            block_dot(call, n, 2);                                                                 \
        else                                                                                       \
            block_dot(call, n, 1);                                                                 \
        break;

static void micro_dot(const micro_call *call) {
    switch (call->rows) {
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
        CASE(5)
        CASE(6)
        CASE(7)
        CASE(8)
        CASE(9)
        CASE(10)
        CASE(11)
        CASE(12)
        CASE(13)
        CASE(14)
    }
}

/* -- rounding and packing -- */

void avx512_bf16_round(int64_t n, const float *x, uint16_t *y) {
    int64_t i = 0;
    for (; i + 32 <= n; i += 32)
        _mm512_storeu_si512(y + i,
                            round_pairs(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i)));
    if (i == n) return;
    int left = (int)(n - i);
    __m512 low = _mm512_maskz_loadu_ps(column_mask(left), x + i);
    __m512 high =
        left > 16 ? _mm512_maskz_loadu_ps(column_mask(left - 16), x + i + 16) : _mm512_setzero_ps();
    _mm512_mask_storeu_epi16(y + i, (__mmask32)((1ull << left) - 1), round_pairs(high, low));
}

/* The 16 pairs of two registers of floats. */
INLINE __m512i pairs_of(__m512 even, __m512 odd) {
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, round_pairs(odd, even));
}

void avx512_bf16_pair(int64_t n, const float *even, const float *odd, uint32_t *to) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512 x = _mm512_loadu_ps(even + i);
        __m512 y = odd != NULL ? _mm512_loadu_ps(odd + i) : _mm512_setzero_ps();
        _mm512_storeu_si512(to + i, pairs_of(x, y));
    }
    if (i == n) return;
    __mmask16 mask = column_mask((int)(n - i));
    __m512 x = _mm512_maskz_loadu_ps(mask, even + i);
    __m512 y = odd != NULL ? _mm512_maskz_loadu_ps(mask, odd + i) : _mm512_setzero_ps();
    _mm512_mask_storeu_epi32(to + i, mask, pairs_of(x, y));
}

#include "kernels/transpose.inc"

/* Columns that lie one behind the other in k: 32 k at a time through the transposition. */
static void pack_across(int64_t k, int n, const float *src, int64_t stride_n, uint32_t *strip) {
    for (int64_t i = 0; i < k; i += 32, strip += 16 * STRIP) {
        int left = k - i < 32 ? (int)(k - i) : 32, words = (left + 1) / 2;
        __mmask16 first = column_mask(left), second = column_mask(left - 16);
        __m512i r[16];
        UNROLL
        for (int j = 0; j < 16; j++) {
            const float *at = src + j * stride_n + i;
            r[j] = j < n ? round_pairs(_mm512_maskz_loadu_ps(second, at + 16),
                                       _mm512_maskz_loadu_ps(first, at))
                         : _mm512_setzero_si512();
        }
        transpose(r);
        UNROLL
        for (int j = 0; j < 16; j++)
            if (j < words) _mm512_storeu_si512(strip + j * STRIP, r[j]);
    }
}

static void pack_strip(int64_t k, int n, const void *src_, int64_t stride_k, int64_t stride_n,
                       void *strip_) {
    const float *src = src_;
    uint32_t *strip = strip_;
    if (stride_n != 1) {
        pack_across(k, n, src, stride_n, strip);
        return;
    }
    __mmask16 mask = column_mask(n);
    for (int64_t i = 0; i < k; i += BF16_PAIR, src += BF16_PAIR * stride_k, strip += STRIP) {
        __m512 even = _mm512_maskz_loadu_ps(mask, src);
        __m512 odd = i + 1 < k ? _mm512_maskz_loadu_ps(mask, src + stride_k) : _mm512_setzero_ps();
        _mm512_storeu_si512(strip, pairs_of(even, odd));
    }
}

const product_kernels product_avx512_bf16 = {
    PRODUCT_HALVES(A_PAIRS, BF16_PAIR, 512),
    .rows = ROWS,
    .columns = 2 * STRIP,
    .chunk_flops = 1 << 20,
    .micro = micro_dot,
    .pack_strip = pack_strip,
};

/* The floor of this tier: chains of pairs that never leave the registers. */
#define CHAINS 24
double avx512_bf16_peak(int64_t n) {
    __m512 acc[CHAINS];
    __m512i a = _mm512_set1_epi32(0x3E003F00), b = _mm512_set1_epi32(0x3F003E00);
    UNROLL
    for (int i = 0; i < CHAINS; i++)
        acc[i] = _mm512_set1_ps((float)i);
    for (int64_t r = 0; r < n; r++) {
        __asm__ volatile("" : "+v"(a), "+v"(b));
        UNROLL
        for (int i = 0; i < CHAINS; i++)
            acc[i] = _mm512_dpbf16_ps(acc[i], as_pairs(a), as_pairs(b));
    }
    UNROLL
    for (int i = 0; i < CHAINS; i++)
        __asm__ volatile("" : "+v"(acc[i]));
    return 4.0 * STRIP * CHAINS * (double)n;
}
