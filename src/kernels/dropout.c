/* dropout.c - which elements stay, from counters alone.
 *
 * Srivastava et al., "Dropout" (JMLR 15, 2014), scaled in training so that evaluation does nothing.
 * An element has a number in an endless array and 16 bits of Philox (base/rng.h) by that number, so
 * threads, tiers, batches cut anywhere, recomputing and resuming all see the same mask and nothing
 * is stored. Rates are multiples of 2^-16; the factor belongs to the rounded rate, so expectations
 * are exact.
 *
 * Eight elements share one draw of 128 bits, 128 elements lie side by side (flat.inc): about one
 * cycle per element where vectors are 512 bits wide.
 */
#include "kernels/kernels_internal.h"

#include <math.h>

#define PIECE 16384 /* elements of a chunk */
#define RUN   2048  /* elements whose bits are made at a time */

dropout_mask dropout_mask_of(double rate, rng stream) {
    int below = (int)lround(rate * 65536);
    return (dropout_mask){stream, below, 65536.0 / (65536 - below)};
}

const uint16_t *dropout_bits(const dropout_mask *mask, uint64_t first, int64_t n, uint16_t *room) {
    uint64_t block = first / BITS_BLOCK, end = (first + (uint64_t)n + BITS_BLOCK - 1) / BITS_BLOCK;
    kernels_table()->random_bits(&mask->stream, block, (int64_t)(end - block), room);
    return room + first % BITS_BLOCK;
}

typedef struct dropout_job {
    const dropout_mask *mask;
    const row_kernels *rows;
    size_t size;
    uint64_t first;
    int64_t n;
    const void *x, *base;
    void *y;
} dropout_job;

static void dropout_run(const dropout_job *j, int64_t at, int64_t n) {
    uint16_t room[RUN + 2 * BITS_BLOCK];
    double kept[RUN];
    const uint16_t *bits = dropout_bits(j->mask, j->first + (uint64_t)at, n, room);
    void *y = element_mut(j->y, at, j->size), *to = j->base != NULL ? (void *)kept : y;
    j->rows->drop(n, bits, j->mask->below, j->mask->factor, element(j->x, at, j->size), to);
    if (j->base != NULL) j->rows->add(n, element(j->base, at, j->size), to, y);
}

static void dropout_chunk(void *context, int64_t chunk) {
    const dropout_job *j = context;
    int64_t end = min_i64(j->n, (chunk + 1) * PIECE);
    for (int64_t at = chunk * PIECE; at < end; at += RUN)
        dropout_run(j, at, min_i64(RUN, end - at));
}

void dropout(dtype t, const dropout_mask *mask, uint64_t first, int64_t n, const void *x,
             const void *base, void *y) {
    dropout_job j = {mask, row_table(t), real_size(t), first, n, x, base, y};
    pool_for(ceil_div(n, PIECE), dropout_chunk, &j);
}
