/* plan.h - what a training run will take, before it takes it: memory by class, disk, time.
 *
 *     train_plan p;
 *     TRY(plan_make(&settings, 3.0, &p));   // 3.0: seconds to measure speed; 0 = estimate
 *     TRY(plan_check(&p));                  // F_NO_MEMORY or F_DISK_FULL with remedies
 *     plan_print(stdout, &p);
 *
 * Memory is counted, not guessed: parameters from the model, lanes from the binary tree, packed
 * copies from the product types in use, activations by a dry tape (all ops allocate, none
 * computes). Measured against the peak resident set afterwards (tests/train/test_plan.c).
 *
 * The time of a plan is that of a few real steps on a throw-away model, or of parts of one where it
 * is long (measure.c), times their number, and of the validations between them.
 */
#ifndef FATHOM_TRAIN_PLAN_H
#define FATHOM_TRAIN_PLAN_H

#include "train/train.h"

#include "base/json.h"

#include <stdio.h>

typedef enum speed_source { SPEED_PRODUCT, SPEED_PARTS, SPEED_WHOLE_STEPS } speed_source;
typedef struct train_speed {
    speed_source how;
    double step;     /* seconds of a step */
    double look_row; /* seconds of validating one row; 0 = there is no validation split */
    double spent;    /* seconds of measuring */
} train_speed;

typedef struct train_plan {
    model_config model;
    char model_name[64];
    int64_t parameters, active;
    int64_t batch_tokens, seq_len, steps;
    int64_t tokens, corpus_tokens; /* of the run; of the training split */
    int threads;
    char tier[16]; /* of the kernels */
    gemm_type products;
    int micro_batch, lanes;
    /* bytes */
    int64_t weights, gradients, optimiser, packed, activations, other, memory, memory_free;
    int64_t copy;       /* of the state, for checkpoints written beside training; 0 = none */
    int64_t copy_size;  /* what it would take */
    save_beside beside; /* what was asked for */
    int64_t with_recompute, half_batch; /* activations of the two remedies */
    /* activations of a step by recompute_policy; of the chosen one, what lives until backward */
    int recompute;
    int64_t by_policy[3], kept_inputs, kept_outputs;
    int64_t checkpoint, checkpoints, disk,
        disk_free; /* one; how many at most; all files; -1 unknown */
    /* time */
    train_speed speed;
    int64_t looks, look_rows;                  /* validations, and rows of each */
    double step_seconds, look_seconds;         /* all of them */
    double seconds, seconds_low, seconds_high; /* both */
    double tokens_per_second;
    bool measured;
} train_plan;

/* Settings are checked first. measure_seconds > 0: trains that long on random weights. */
status plan_make(const train_settings *s, double measure_seconds, train_plan *p) MUST_CHECK;
/* F_NO_MEMORY / F_DISK_FULL when it does not fit; the fix names two remedies with their numbers. */
status plan_check(const train_plan *p) MUST_CHECK;
void plan_print(FILE *out, const train_plan *p);
json_t *plan_json(const train_plan *p); /* NULL when out of memory */

/* Steps of a throw-away model, one at a time, for benchmarks. */
typedef struct train_probe train_probe;
status train_probe_open(train_probe **out, const train_settings *s) MUST_CHECK;
status train_probe_step(train_probe *p, double *seconds) MUST_CHECK;
int64_t train_probe_tokens(const train_probe *p); /* of a step */
/* Activations of the steps so far as the arena counted them, not as planned: bytes at the peak, and of
 * these what checkpoints kept until backward. */
typedef struct train_activations {
    int64_t all, inputs, outputs;
} train_activations;
train_activations train_probe_activations(const train_probe *p);
void train_probe_close(train_probe *p); /* accepts NULL */

/* Tokens per second of whole steps (forward, backward, update) of these settings, measured for
 * about `seconds` on random weights and the real data. */
status train_measure(const train_settings *s, double seconds, double *tokens_per_second) MUST_CHECK;
/* Best seconds of one update of the optimiser, looked for during about `seconds`, and the parameters
 * it moves. Nothing is written. */
status train_measure_update(const train_settings *s, double seconds, double *best,
                            int64_t *parameters) MUST_CHECK;
/* Seconds of `pairs` steps of two runs that alternate, after one of each; both are then as if they
 * had never been. Nothing is written. */
status train_compare(const train_settings *a, const train_settings *b, int pairs, double *seconds_a,
                     double *seconds_b) MUST_CHECK;

#endif
