/* functions.h - exp and log of the numerics contract (docs/numerics.md 4), private to kernels/.
 *
 * exp: n = round(x / ln 2) by adding and subtracting 1.5 * 2^23; r = x - n ln 2 with ln 2 split in
 * two; exp(r) by a polynomial of degree 6 whose coefficients interpolate (exp(r) - 1 - r) / r^2 at
 * the Chebyshev nodes of [-ln 2 / 2, ln 2 / 2] (error 1.0e-8 before rounding); 2^n from its
 * exponent bits. Branch-free, so that a loop around it vectorises.
 * log: only a few per row, so it is computed in f64 without fma and rounded once: the same bits
 * everywhere, which the C library does not promise.
 * All functions are static: a shared inline could be linked from a tier this CPU lacks.
 */
#ifndef FATHOM_KERNELS_FUNCTIONS_H
#define FATHOM_KERNELS_FUNCTIONS_H

#include <math.h>
#include <stdint.h>

/* Before a loop whose iterations do not depend on each other, even where arrays are the same. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#define UNROLL      _Pragma("clang loop unroll(full)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#define UNROLL      _Pragma("GCC unroll 32")
#endif

/* x <= 88; below -87.3 the result is 0. */
static inline float exp_f32(float x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: the low bits of the sum are the integer n */
    union {
        float f;
        uint32_t u;
    } shifted = {__builtin_fmaf(x, 1.44269504f, magic)}, power;
    float n = shifted.f - magic;
    float r = __builtin_fmaf(n, -0x1.62e43p-1f, x);
    r = __builtin_fmaf(n, 0x1.05c61p-29f, r);
    float p = 0.0013926213466234792f;
    p = __builtin_fmaf(p, r, 0.008363202971573724f);
    p = __builtin_fmaf(p, r, 0.04166655443768687f);
    p = __builtin_fmaf(p, r, 0.16666576845994002f);
    p = __builtin_fmaf(p, r, 0.5f);
    p = __builtin_fmaf(p, r, 1.0f);
    p = __builtin_fmaf(p, r, 1.0f);
    power.u = (shifted.u + 127u) << 23;
    return x < -87.3f ? 0.0f : p * power.f;
}
static inline double exp_f64(double x) {
    return exp(x);
}

static inline double log_f32(double x) {
    if (!(x > 0.0) || x > 0x1p127) return log(x);
    union {
        double f;
        uint64_t u;
    } m = {x};
    /* x = 2^e * m with m in [sqrt(1/2), sqrt(2)) */
    uint64_t above = m.u - 0x3FE6A09E667F3BCDu;
    int64_t e = (int64_t)above >> 52;
    m.u -= (uint64_t)e << 52;
    double z = (m.f - 1.0) / (m.f + 1.0), z2 = z * z;
    double sum = 1.0 / 17.0;
    for (int k = 15; k >= 1; k -= 2)
        sum = sum * z2 + 1.0 / k;
    return (double)(float)((double)e * 0.69314718055994530942 + 2.0 * z * sum);
}
static inline double log_f64(double x) {
    return log(x);
}

#endif
