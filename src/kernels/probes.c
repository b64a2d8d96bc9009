/* probes.c - loops whose speed is known in advance, compiled per tier: the floors.
 *
 * f32_peak: twelve independent chains of fused multiply-adds in registers. bf16_peak: the inner
 * pattern of the bf16 micro-kernel without memory: two words of B pairs widened by shift and mask,
 * even and odd chains, sums every 16 pairs; without AMX this is the most the contract of
 * docs/numerics.md 2 allows. read: one addition per 32-bit word of a buffer, wide loads.
 *
 * Mind: chains start from different values, else the compiler merges them; barriers keep the
 * operands unknown to it.
 */
#include "kernels/probes.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(PROBES_NEON)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define LANES_WIDE 16
typedef __m512 vector;
typedef __m512i words;
#define SPREAD(x)    _mm512_set1_ps(x)
#define FMA(a, b, c) _mm512_fmadd_ps((a), (b), (c))
#define ADD(a, b)    _mm512_add_ps((a), (b))
#define LOW_HALF(w)  _mm512_castsi512_ps(_mm512_slli_epi32((w), 16))
#define HIGH_HALF(w) _mm512_castsi512_ps(_mm512_and_si512((w), _mm512_set1_epi32((int)0xFFFF0000u)))
#define WORDS(x)     _mm512_set1_epi32(x)
#define LOAD(p)      _mm512_loadu_si512(p)
#define ADD_WORDS    _mm512_add_epi32
#define STORE(p, w)  _mm512_storeu_si512((p), (w))
#define BF16_CHAINS  6
#elif defined(__AVX2__)
#define LANES_WIDE   8
typedef __m256 vector;
typedef __m256i words;
#define SPREAD(x)    _mm256_set1_ps(x)
#define FMA(a, b, c) _mm256_fmadd_ps((a), (b), (c))
#define ADD(a, b)    _mm256_add_ps((a), (b))
#define LOW_HALF(w)  _mm256_castsi256_ps(_mm256_slli_epi32((w), 16))
#define HIGH_HALF(w) _mm256_castsi256_ps(_mm256_and_si256((w), _mm256_set1_epi32((int)0xFFFF0000u)))
#define WORDS(x)     _mm256_set1_epi32(x)
#define LOAD(p)      _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define ADD_WORDS    _mm256_add_epi32
#define STORE(p, w)  _mm256_storeu_si256((__m256i *)(void *)(p), (w))
#define BF16_CHAINS  3
#elif defined(PROBES_NEON)
#define LANES_WIDE      4
typedef float32x4_t vector;
typedef uint32x4_t words;
#define SPREAD(x)       vdupq_n_f32(x)
#define FMA(a, b, c)    vfmaq_f32((c), (a), (b))
#define ADD(a, b)       vaddq_f32((a), (b))
#define LOW_HALF(w)     vreinterpretq_f32_u32(vshlq_n_u32((w), 16))
#define HIGH_HALF(w)    vreinterpretq_f32_u32(vandq_u32((w), vdupq_n_u32(0xFFFF0000u)))
#define WORDS(x)        vdupq_n_u32((uint32_t)(x))
#define LOAD(p)         vreinterpretq_u32_u8(vld1q_u8((const uint8_t *)(p)))
#define ADD_WORDS(a, b) vaddq_u32((a), (b))
#define STORE(p, w)     vst1q_u32((p), (w))
#define BF16_CHAINS     6
#else
#define LANES_WIDE      1
typedef float vector;
typedef uint32_t words;
static float as_float(uint32_t u) {
    union {
        uint32_t u;
        float f;
    } v = {u};
    return v.f;
}
#define SPREAD(x)       (x)
#define FMA(a, b, c)    __builtin_fmaf((a), (b), (c))
#define ADD(a, b)       ((a) + (b))
#define LOW_HALF(w)     as_float((w) << 16)
#define HIGH_HALF(w)    as_float((w)&0xFFFF0000u)
#define WORDS(x)        ((uint32_t)(x))
#define LOAD(p)         (*(const uint32_t *)(const void *)(p))
#define ADD_WORDS(a, b) ((a) + (b))
#define STORE(p, w)     (*(uint32_t *)(void *)(p) = (w))
#define BF16_CHAINS     3
#endif

#if defined(__AVX512F__)
#define HIDE(x) __asm__ volatile("" : "+v"(x))
#else
#define HIDE(x) __asm__ volatile("" : "+x"(x))
#endif
#if !defined(__x86_64__)
#undef HIDE
#define HIDE(x) __asm__ volatile("" : "+w"(x))
#endif
#if !defined(__AVX2__) && !defined(PROBES_NEON)
#define HIDE_WORDS(x) __asm__ volatile("" : "+r"(x))
#else
#define HIDE_WORDS(x) HIDE(x)
#endif

#define F32_CHAINS 12

static double f32_peak(int64_t n) {
    vector a = SPREAD(0.5f), b = SPREAD(0.25f), chain[F32_CHAINS];
    HIDE(a);
    HIDE(b);
    UNROLL
    for (int i = 0; i < F32_CHAINS; i++)
        chain[i] = SPREAD((float)i);
    for (int64_t r = 0; r < n; r++) {
        UNROLL
        for (int i = 0; i < F32_CHAINS; i++)
            chain[i] = FMA(chain[i], a, b);
    }
    UNROLL
    for (int i = 0; i < F32_CHAINS; i++)
        HIDE(chain[i]);
    return 2.0 * LANES_WIDE * F32_CHAINS * (double)n;
}

/* BF16_CHAINS rows x 2 words, an even and an odd chain each; n groups of 32 k. */
static double bf16_peak(int64_t n) {
    vector total[BF16_CHAINS][2];
    UNROLL
    for (int i = 0; i < BF16_CHAINS; i++)
        total[i][0] = total[i][1] = SPREAD((float)i);
    words w[2] = {WORDS(0x3F003E00), WORDS(0x3E003F00)};
    for (int64_t r = 0; r < n; r++) {
        vector even[BF16_CHAINS][2], odd[BF16_CHAINS][2];
        UNROLL
        for (int i = 0; i < BF16_CHAINS; i++) {
            even[i][0] = even[i][1] = SPREAD(0.0f);
            odd[i][0] = odd[i][1] = SPREAD(0.0f);
        }
        for (int pair = 0; pair < 16; pair++) {
            HIDE_WORDS(w[0]);
            HIDE_WORDS(w[1]);
            vector x[2] = {LOW_HALF(w[0]), LOW_HALF(w[1])};
            UNROLL
            for (int i = 0; i < BF16_CHAINS; i++) {
                even[i][0] = FMA(x[0], x[1], even[i][0]);
                even[i][1] = FMA(x[1], x[0], even[i][1]);
            }
            vector y[2] = {HIGH_HALF(w[0]), HIGH_HALF(w[1])};
            UNROLL
            for (int i = 0; i < BF16_CHAINS; i++) {
                odd[i][0] = FMA(y[0], y[1], odd[i][0]);
                odd[i][1] = FMA(y[1], y[0], odd[i][1]);
            }
            UNROLL
            for (int i = 0; i < BF16_CHAINS; i++) {
                HIDE(even[i][0]);
                HIDE(even[i][1]);
                HIDE(odd[i][0]);
                HIDE(odd[i][1]);
            }
        }
        UNROLL
        for (int i = 0; i < BF16_CHAINS; i++) {
            UNROLL
            for (int s = 0; s < 2; s++)
                total[i][s] = ADD(total[i][s], ADD(even[i][s], odd[i][s]));
        }
    }
    UNROLL
    for (int i = 0; i < BF16_CHAINS; i++) {
        HIDE(total[i][0]);
        HIDE(total[i][1]);
    }
    return 2.0 * 2 * 2 * 16 * LANES_WIDE * BF16_CHAINS * (double)n;
}

static uint32_t read_all(const void *data, size_t bytes) {
    const char *p = data;
    words sum[8];
    UNROLL
    for (int i = 0; i < 8; i++)
        sum[i] = WORDS(0);
    size_t step = 8 * sizeof(words);
    for (size_t at = 0; at + step <= bytes; at += step) {
        UNROLL
        for (int i = 0; i < 8; i++)
            sum[i] = ADD_WORDS(sum[i], LOAD(p + at + (size_t)i * sizeof(words)));
    }
    uint32_t out[16] = {0};
    UNROLL
    for (int i = 1; i < 8; i++)
        sum[0] = ADD_WORDS(sum[0], sum[i]);
    STORE(out, sum[0]);
    return out[0];
}

const tier_probes PROBES = {.f32_peak = f32_peak, .bf16_peak = bf16_peak, .read = read_all};
