/* bench_moe.h - steps of a mixture of experts beside steps of a dense model. Private to bench/. */
#ifndef FATHOM_BENCH_MOE_H
#define FATHOM_BENCH_MOE_H

#include "kernels/kernels_bench.h"
#include "train/train.h"

/* Alternates `pairs` steps (at most 64) of f-15m and dense-f-15m with the settings `base`, whose size
 * is not read; adds the rates of both and the ratio per FLOP. `kind` names the precision. */
status bench_moe(const train_settings *base, const char *kind, int pairs,
                 bench_table *t) MUST_CHECK;

#endif
