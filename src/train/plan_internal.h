/* plan_internal.h - what plan.c offers inside train/. */
#ifndef FATHOM_TRAIN_PLAN_INTERNAL_H
#define FATHOM_TRAIN_PLAN_INTERNAL_H

#include "train/plan.h"
#include "train/trainer.h"

/* The plan of an open trainer: memory, disk, and time if a speed is set afterwards (plan_time). */
status plan_fill(train_plan *p, trainer *t) MUST_CHECK;
/* Seconds of the plan's steps and validations at this speed. */
void plan_time(train_plan *p, const train_speed *speed);

/* What a step is made of, in seconds (measure.c). */
typedef struct step_parts {
    double row;         /* forward and backward of one row */
    double update;      /* norm, optimiser, packing of the weights */
    double zero, merge; /* a gradient buffer cleared; one added to another */
} step_parts;
double step_seconds(const step_parts *p, int rows, int n_lanes);
/* Measures for about `seconds`; afterwards the trainer is fresh. */
status trainer_speed(trainer *t, double seconds, train_speed *speed) MUST_CHECK;
/* From one product alone, in milliseconds; changes nothing. */
status trainer_speed_guess(const trainer *t, train_speed *speed) MUST_CHECK;
/* Refuses a model whose weights, gradients and moments alone exceed the memory of this process:
 * before anything of it is allocated. */
status plan_check_states(const model_config *c, optimiser_kind kind,
                         int gradient_buffers) MUST_CHECK;

#endif
