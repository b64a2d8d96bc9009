/* trainer.h - everything a step needs, in one place: model, moments, gradients, data, memory.
 * Private to train/: the loop (loop.c) and the plan's measurement (plan.c) drive it. */
#ifndef FATHOM_TRAIN_TRAINER_H
#define FATHOM_TRAIN_TRAINER_H

#include "train/checkpoint.h"
#include "train/lanes.h"
#include "train/optimiser.h"
#include "train/train.h"

typedef struct trainer {
    train_settings settings; /* checked, nothing left open but steps */
    model_config config;
    model model;
    optimiser optimiser;
    lanes lanes;
    row_set rows, val_rows;
    int64_t tape_bytes;         /* of the larger of training and evaluation, dry */
    loader *train, *validation; /* validation NULL: the data has none */
    arena step_memory;
    gradient_options gradient;
    train_state state;
    double peak;     /* FLOP/s of the kind of products, measured; 0 = not yet */
    double loading;  /* seconds in the loader so far */
    kept_bytes kept; /* by checkpoints of the last step, in one micro-batch */
} trainer;

/* What one step was like. */
typedef struct step_report {
    double loss, mtp_loss, balance_loss; /* nats per target; balance per row */
    double grad_norm, lr;
    int64_t counted;
    double mfu;      /* model FLOPs utilisation; 0 = the peak is not known */
    bool skipped;    /* the gradient was not finite: no update */
    const char *bad; /* its first parameter that is not; NULL */
    double
        expert_max_violation; /* largest over layers of max count / mean - 1; -1 without experts */
} step_report;

typedef struct evaluation {
    double loss; /* nats per target */
    double bpb;  /* bits per byte of text */
    int64_t counted;
} evaluation;

/* Opens the data, checks the settings against it, makes a model with fresh weights and fixes the
 * micro-batch. On failure nothing is left open. */
status trainer_open(trainer *t, const train_settings *s) MUST_CHECK;
void trainer_close(trainer *t); /* accepts a zeroed one */

/* The update with index state.step; state moves on. */
status trainer_step(trainer *t, step_report *r) MUST_CHECK;
/* Mean loss over the validation split, or over eval_tokens of it, spread evenly. Without a
 * validation split: F_MISSING. */
status trainer_evaluate(trainer *t, evaluation *e) MUST_CHECK;

/* Rows that one evaluation looks at. */
int64_t trainer_evaluation_rows(const trainer *t);
void trainer_refresh(trainer *t); /* weights, moments and state as after trainer_open */

/* Tokens per second of whole steps, measured for about `seconds`; then the trainer is as fresh as
 * trainer_open left it. */
status trainer_measure(trainer *t, double seconds, double *tokens_per_second) MUST_CHECK;

/* Bytes of the tape of options->micro_batch rows, from a dry run: forward and backward, or a forward
 * that does not record. *kept: of these bytes, what checkpoints keep. */
status trainer_tape_bytes(model *m, float *gradient, int64_t seq_len,
                          const gradient_options *options, bool backward, int64_t *bytes,
                          kept_bytes *kept) MUST_CHECK;
gemm_type train_products(train_precision precision); /* not PRECISION_AUTO */

#endif
