/* lanes.h - the gradient of one global batch, in an order of additions that nothing can change.
 * Private to train/; the scheme is explained in lanes.c. */
#ifndef FATHOM_TRAIN_LANES_H
#define FATHOM_TRAIN_LANES_H

#include "train/row_set.h"

#define LANES_MAX        1024
#define LANE_BUFFERS_MAX 12 /* log2(LANES_MAX) + 2 */

typedef struct lanes {
    int n; /* lanes */
    int n_buffers;
    float *buffer[LANE_BUFFERS_MAX];
    int64_t count; /* elements of a gradient */
    arena memory;
} lanes;

typedef struct gradient_options {
    int micro_batch; /* rows of one forward */
    gemm_type products;
    recompute_policy recompute;
    double mtp_weight, dropout;
    uint64_t seed; /* of dropout */
    int64_t step;
    profile *profile; /* of training steps; NULL = none */
} gradient_options;

typedef struct gradient_result {
    double loss_sum, mtp_sum,
        balance_loss; /* nats over all counted targets; balance per sequence */
    int64_t counted, mtp_counted;
    kept_bytes kept; /* by checkpoints, of the micro-batch that kept most */
} gradient_result;

status lanes_init(lanes *l, int n, int64_t count) MUST_CHECK;
void lanes_clear(lanes *l); /* accepts a zeroed one */
/* How many gradient buffers n lanes need at once: log2(n) + 1, rounded up. */
int lanes_buffers(int n);
/* First row of lane i when n_rows rows are cut into n lanes; i = n gives n_rows. */
int lane_first_row(int n_rows, int n, int i);

/* Runs forward and backward of all rows. The gradient of the mean loss over the whole batch is
 * left attached to the model's parameters; routed-token counts are those of the whole batch.
 * `step_memory` holds one micro-batch at a time and is left as it was. */
status lanes_gradient(lanes *l, model *m, const row_set *rows, const gradient_options *options,
                      arena *step_memory, gradient_result *result) MUST_CHECK;

/* Forward only: adds nats of the rows to *result. */
status rows_loss(model *m, const row_set *rows, const gradient_options *options, arena *step_memory,
                 gradient_result *result) MUST_CHECK;
/* Forward of row i alone. */
status row_loss(model *m, const row_set *rows, int i, const gradient_options *options,
                arena *step_memory, gradient_result *result) MUST_CHECK;

#endif
