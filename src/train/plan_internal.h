/* plan_internal.h - what plan.c offers inside train/. */
#ifndef FATHOM_TRAIN_PLAN_INTERNAL_H
#define FATHOM_TRAIN_PLAN_INTERNAL_H

#include "train/plan.h"
#include "train/trainer.h"

/* The plan of an open trainer: memory, disk, and time if a speed is set afterwards (plan_time). */
status plan_fill(train_plan *p, trainer *t) MUST_CHECK;
void plan_time(train_plan *p, double tokens_per_second, double measured_seconds);
/* Refuses a model whose weights, gradients and moments alone exceed the memory of this process:
 * before anything of it is allocated. */
status plan_check_states(const model_config *c, optimiser_kind kind,
                         int gradient_buffers) MUST_CHECK;

#endif
