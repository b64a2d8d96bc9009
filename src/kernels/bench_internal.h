/* bench_internal.h - timing shared by the benchmarks of kernels/. */
#ifndef FATHOM_KERNELS_BENCH_INTERNAL_H
#define FATHOM_KERNELS_BENCH_INTERNAL_H

#include "kernels/kernels_bench.h"
#include "kernels/kernels_internal.h"

double bench_now(void); /* monotonic seconds */
/* Calls run(context) at least three times and until `budget` seconds are over; best seconds of one
 * call. */
double bench_best(void (*run)(void *context), void *context, double budget);
/* A row about the tier in force. */
status bench_add(bench_table *t, const char *name, int threads, double value, const char *unit,
                 double floor) MUST_CHECK;

/* Buffers that live for one benchmark: an arena of its own. Fills with values in [-1, 1). */
float *bench_array(arena *a, int64_t n);

#endif
