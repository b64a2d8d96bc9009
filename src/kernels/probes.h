/* probes.h - loops of known work, one set per tier (probes.c). Private to kernels/. */
#ifndef FATHOM_KERNELS_PROBES_H
#define FATHOM_KERNELS_PROBES_H

#include "kernels/functions.h"
#include "kernels/kernels_internal.h"

typedef struct tier_probes {
    double (*f32_peak)(int64_t n); /* runs n rounds, returns the operations done */
    double (*bf16_peak)(int64_t n);
    uint32_t (*read)(const void *data, size_t bytes);
} tier_probes;

extern const tier_probes probes_portable;
#if defined(FATHOM_X86_TIERS)
extern const tier_probes probes_avx2, probes_avx512;
double amx_peak(int64_t n);
double avx512_bf16_peak(int64_t n);
#endif
#if defined(FATHOM_ARM_TIERS)
extern const tier_probes probes_neon;
double neon_bf16_peak(int64_t n);
#endif

#endif
