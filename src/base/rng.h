/* rng.h - random numbers as a pure function of (seed, purpose, step, index).
 *
 * Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011): a counter
 * goes in, 128 random bits come out. There is no state to save, so results depend neither on
 * thread count nor on whether a run was interrupted.
 *
 *     rng r = rng_at(seed, RNG_INIT, tensor_number);
 *     w[i] = 0.02f * rng_normal(r, i);
 */
#ifndef FATHOM_BASE_RNG_H
#define FATHOM_BASE_RNG_H

#include <stdint.h>

/* One number per use, so that two uses never share a stream. */
typedef enum rng_purpose {
    RNG_TEST = 0,
    RNG_INIT = 1,
    RNG_ORDER = 2,
    RNG_SAMPLE = 3,
    RNG_DROPOUT = 4,
    RNG_BOOTSTRAP = 5,
    RNG_BENCH = 6,
} rng_purpose;

typedef struct rng {
    uint32_t key[2];
    uint32_t counter[2]; /* the upper half of the counter: purpose and step */
} rng;

rng rng_at(uint64_t seed, rng_purpose purpose, uint64_t step);
uint64_t rng_u64(rng r, uint64_t index);
/* All 128 bits of an index; rng_u64 is the first two words. */
void rng_words(rng r, uint64_t index, uint32_t words[4]);
double rng_uniform(rng r, uint64_t index);                 /* in [0, 1), 53 bits */
double rng_normal(rng r, uint64_t index);                  /* Box-Muller, mean 0, variance 1 */
uint64_t rng_below(rng r, uint64_t index, uint64_t bound); /* in [0, bound), bound > 0 */
/* A bijection of [0, n): position -> element of a permutation fixed by `r` (Feistel network with
 * cycle walking). n > 0, i < n. */
uint64_t rng_permute(rng r, uint64_t i, uint64_t n);

#endif
