/* kernels_bench.h - floors and benchmarks of the kernels, for `fathom bench` and the step model.
 *
 * Bars are ratios to floors measured in the same run on the machine at hand, never absolute
 * numbers. Every benchmark appends rows {name, tier, threads, value, unit, floor, ratio} to a
 * table; a row without a floor has floor and ratio 0. Times are the best of several repetitions,
 * because other work on the machine only ever makes them longer; rows "load/..." say how much of
 * it there was.
 *
 *     bench_table t = {0};
 *     s = bench_floors(&t);
 *     for (int i = 0; i < t.n; i++) print(&t.rows[i]);
 *     bench_table_clear(&t);
 *
 * Mind: they use the tier in force and restart the pool with other thread counts; afterwards both
 * are as before. Only from the main thread.
 */
#ifndef FATHOM_KERNELS_KERNELS_BENCH_H
#define FATHOM_KERNELS_KERNELS_BENCH_H

#include "kernels/gemm.h"
#include "kernels/kernels.h"

typedef struct bench_row {
    char name[80]; /* "gemm/f32/forward m2048 n1024 k256"; what is longer is cut */
    cpu_tier tier;
    int threads;
    double value;
    const char *unit;    /* "GFLOP/s", "GB/s", "ns/element", "us", "%" */
    double floor, ratio; /* ratio = value / floor, 0 if there is none */
} bench_row;
typedef struct bench_table {
    bench_row *rows;
    int n, capacity;
} bench_table;
status bench_table_add(bench_table *t, bench_row row) MUST_CHECK;
/* A row of the tier in force and the present pool; floor 0 = none. */
status bench_table_put(bench_table *t, const char *name, double value, const char *unit,
                       double floor) MUST_CHECK;
double bench_median(double *values, int n); /* n >= 1; sorts them */
const bench_row *bench_table_find(const bench_table *t, const char *name,
                                  int threads); /* or NULL */
void bench_table_clear(bench_table *t);

/* Bandwidth by level, peaks of f32, bf16 and bf16-dot arithmetic of every tier this CPU has, hand-off of the
 * pool, load beside us. About 10 s. The f32 peak of the best tier is refused (F_BENCH_FLOOR) below
 * 0.9 of OpenBLAS's sgemm where that library is installed, and AMX's bf16 peak below 12 of the f32
 * peak: then something else is using the CPU, and ratios to such a floor would flatter. */
status bench_floors(bench_table *t) MUST_CHECK;
/* Peak GFLOP/s of the tier in force for this type, in registers. */
status bench_peak(gemm_type type, int threads, double *gflops) MUST_CHECK;
/* The same on the present pool, looking for about `budget` seconds. */
double bench_peak_here(gemm_type type, double budget);
/* Bytes that a copy beyond the caches reads and writes per second, on the present pool. */
status bench_traffic(double budget, double *bytes_per_second) MUST_CHECK;
/* Bytes beyond the caches that are read per second, likewise. */
status bench_read(double budget, double *bytes_per_second) MUST_CHECK;

/* Products of training and decoding, f32 and both kinds of bf16, 1 thread and all; experts' grouped products
 * against one dense product of equal work. About 40 s. */
status bench_gemm(bench_table *t) MUST_CHECK;
/* ns per element of every row kernel, one thread, data in L2; attention in GFLOP/s. */
status bench_elementwise(bench_table *t) MUST_CHECK;

/* One product, or one of every expert, as training calls it, on the present pool and tier. */
typedef enum product_role {
    PRODUCT_FORWARD,         /* y[m, n] = x[m, k] W^T, W packed */
    PRODUCT_INPUT_GRADIENT,  /* dx[m, k] += dy W, W packed the other way */
    PRODUCT_WEIGHT_GRADIENT, /* dW[n, k] += dy^T[n, m] x[m, k]: x packed on the way */
    PRODUCT_ROLES
} product_role;
typedef struct product_shape {
    gemm_type type;
    product_role role;
    int64_t m, n, k; /* tokens (of one group), outputs, inputs of the layer */
    int groups;      /* 0 and 1: one product; more: that many experts in one gemm_grouped */
} product_shape;
/* Best seconds of one call, measured for about `budget` seconds. */
status bench_product(const product_shape *shape, double budget, double *seconds) MUST_CHECK;

#endif
