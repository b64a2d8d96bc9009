/* bench_loop.h - what training costs beside its steps, whether it was foretold, and what is left of it
 * beside other programs. */
#ifndef FATHOM_BENCH_LOOP_H
#define FATHOM_BENCH_LOOP_H

#include "kernels/kernels_bench.h"

/* For each recipe of the list, `runs` runs of about `seconds`, each planned right before it. "plan/time":
 * what `train -n` says over what the run took, and the median of the runs. Of the last run: "loop/...": share of a run of ten minutes, with its default intervals, that loading,
 * logging, samples and checkpoints take; and a step inside the loop over a bare one. */
status bench_loop(const char *names, double seconds, int runs, bench_table *t) MUST_CHECK;

/* For each recipe: steps a second alone and beside one and two processes that keep a CPU busy, in
 * turns of about `seconds` in all. The ratio is to the rate alone. */
status bench_contention(const char *names, double seconds, bench_table *t) MUST_CHECK;

#endif
