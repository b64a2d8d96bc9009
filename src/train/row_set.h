/* row_set.h - rows of tokens in memory, and parts of them as a batch for the model. Private to train/.
 *
 * A row_set holds `capacity` rows of seq_len tokens as the loader writes them. rows_load fills it
 * with consecutive rows and counts what will be predicted, before any forward runs: loss scales
 * are one over the counts of the whole batch, whatever lanes and micro-batches cut it into.
 */
#ifndef FATHOM_TRAIN_ROW_SET_H
#define FATHOM_TRAIN_ROW_SET_H

#include "data/loader.h"
#include "model/model.h"

typedef struct row_set {
    int capacity, n; /* rows */
    int64_t seq_len;
    int32_t *ids, *target, *next_id, *target_mtp, *first; /* [capacity, seq_len] each */
    int32_t *position;                                    /* [capacity, seq_len] 0 .. seq_len - 1 */
    int64_t *start;                                       /* [capacity + 1] */
    int64_t counted, mtp_counted;                         /* targets of the n rows */
    arena memory;
} row_set;

status rows_init(row_set *r, int capacity, int64_t seq_len) MUST_CHECK;
void rows_clear(row_set *r); /* accepts a zeroed one */
/* Rows index, index + stride, ... of the loader. */
status rows_load(row_set *r, loader *l, int64_t index, int64_t stride, int n) MUST_CHECK;
/* Rows [first, first + n) as a batch without loss scales and logits. */
void rows_batch(const row_set *r, int first, int n, model_batch *batch);

#endif
