/* rng.c - Philox4x32-10 and the draws built on it. Constants are those of the paper. */
#include "base/rng.h"

#include <math.h>

static void philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]) {
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

rng rng_at(uint64_t seed, rng_purpose purpose, uint64_t step) {
    rng r = {.key = {(uint32_t)seed, (uint32_t)(seed >> 32)}};
    r.counter[0] = (uint32_t)step;
    r.counter[1] = ((uint32_t)(step >> 32) & 0x00FFFFFFu) | (uint32_t)purpose << 24;
    return r;
}

void rng_words(rng r, uint64_t index, uint32_t words[4]) {
    uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), r.counter[0], r.counter[1]};
    philox(r.key, counter, words);
}

uint64_t rng_u64(rng r, uint64_t index) {
    uint32_t out[4];
    rng_words(r, index, out);
    return (uint64_t)out[1] << 32 | out[0];
}

double rng_uniform(rng r, uint64_t index) {
    return (double)(rng_u64(r, index) >> 11) * 0x1p-53;
}

double rng_normal(rng r, uint64_t index) {
    uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), r.counter[0], r.counter[1]};
    uint32_t out[4];
    philox(r.key, counter, out);
    double u = ((double)out[0] + 1.0) * 0x1p-32, v = (double)out[1] * 0x1p-32;
    return sqrt(-2.0 * log(u)) * cos(2.0 * 3.14159265358979323846 * v);
}

uint64_t rng_below(rng r, uint64_t index, uint64_t bound) {
    /* Multiply-shift; the bias is below bound / 2^64. */
    return (uint64_t)((unsigned __int128)rng_u64(r, index) * bound >> 64);
}

uint64_t rng_permute(rng r, uint64_t i, uint64_t n) {
    unsigned half = 1;
    while (half < 32 && (uint64_t)1 << (2 * half) < n)
        half++;
    uint64_t mask = ((uint64_t)1 << half) - 1;
    do { /* walk the cycle until the value is inside [0, n) */
        uint64_t left = i >> half, right = i & mask;
        for (uint64_t round = 0; round < 4; round++) {
            uint64_t next = left ^ (rng_u64(r, round << 60 | right) & mask);
            left = right;
            right = next;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}
