/* bench_recompute.h - what --recompute saves of the activations and what it costs in time. Private to
 * bench/. */
#ifndef FATHOM_BENCH_RECOMPUTE_H
#define FATHOM_BENCH_RECOMPUTE_H

#include "kernels/kernels_bench.h"
#include "train/train.h"

/* Rows "recompute/...": median step of `none`, the other policies over it, steps of all three taking
 * turns, `rounds` of each; activation bytes by class as the arena counted them, with the plan's bytes
 * as floor; and the share of them that each policy saves. `kind` names the products. Nothing is
 * written; where three models do not fit into memory at once, a warning and no row. */
status bench_recompute(const train_settings *s, const char *kind, int rounds,
                       bench_table *t) MUST_CHECK;

#endif
