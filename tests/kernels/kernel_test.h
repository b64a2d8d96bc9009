/* kernel_test.h - random arrays, tiers to walk through, comparisons. */
#ifndef FATHOM_TESTS_KERNEL_TEST_H
#define FATHOM_TESTS_KERNEL_TEST_H

#include "base/pool.h"
#include "base/rng.h"
#include "kernels/gemm.h"
#include "kernels/kernels.h"

#include "test.h"
#include <math.h>

/* Heap array of n floats (or doubles), uniform in [-1, 1), or zeros; ends the program when there is
 * no memory. Free with mem_free. */
void *random_array(dtype t, int64_t n, uint64_t seed);
void *zero_array(dtype t, int64_t n);
double get(dtype t, const void *array, int64_t i);
void set(dtype t, void *array, int64_t i, double value);
double *as_double(dtype t, const void *array, int64_t n);
size_t bytes_of(dtype t, int64_t n);
bool same(const void *a, const void *b, size_t bytes); /* memcmp */
/* Largest |a - b| / (1 + |b|) over n elements. */
double distance(dtype ta, const void *a, dtype tb, const void *b, int64_t n);
int random_int(uint64_t seed, int low, int high); /* inclusive */

/* Switches to tier `tier`; false if this CPU lacks it. Numbers TIER_COUNT and TIER_COUNT + 1 are
 * AMX on the scalar stand-in of the tile instructions, beside portable and beside the best tier. */
bool use_tier(int tier);
const char *tier_label(int tier);
#define TIERS (TIER_COUNT + 2)
void amx_standin_clear(void);
int64_t amx_standin_fault_count(void);
/* Pool of n threads (also flushes denormals in this thread). */
void use_threads(int n);

#endif
