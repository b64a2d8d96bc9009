/* bench_equal_loss.h - the time in which a mixture of experts and a dense model of the same active
 * FLOPs reach the same validation loss. Private to bench/. */
#ifndef FATHOM_BENCH_EQUAL_LOSS_H
#define FATHOM_BENCH_EQUAL_LOSS_H

#include "app/run_record.h"
#include "kernels/kernels_bench.h"
#include "train/train.h"

#define EQUAL_LOSS_SEEDS 10 /* at most */

typedef struct equal_loss_options {
    const char *size;         /* with experts; its twin is the preset "dense-SIZE" */
    const char *data, *input; /* a dataset, or one file taken as bytes */
    const char *folder;       /* of the runs: FOLDER/SIZE-SEED and FOLDER/dense-SIZE-SEED */
    int64_t tokens;           /* of each run */
    int seeds;
    double seconds; /* of this call; 0 = no limit */
    train_precision precision;
} equal_loss_options;

/* Trains what is still to be trained of all runs, in turns, until they have their tokens or the time
 * is over; the same call goes on from there. Then rows "moe/...": for each seed the seconds of both
 * until the loss that every run has reached, their ratio; the geometric mean of the ratios with its
 * interval. F_MISSING if a run has no validation yet. */
status bench_equal_loss(const equal_loss_options *o, bench_table *t) MUST_CHECK;

/* Seconds of steps until the validation loss first was `loss`, straight between two looks; NAN if the
 * run has not come there. */
double equal_loss_time(const run_record *r, double loss);
/* Geometric mean of n ratios and its 95 % interval (Student's t of the logarithms); without an interval
 * for n = 1: low = high = mean. */
void equal_loss_interval(const double *ratio, int n, double *mean, double *low, double *high);

#endif
