/* optimiser.c - AdamW, clipping by global norm, learning-rate schedules.
 *
 * What: turns a gradient into new masters.
 *
 * How: AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101) in
 * the fused kernel: m and v are updated, bias-corrected, and w = w (1 - lr wd) - lr m / (sqrt(v) +
 * eps), with eps outside the root and after the correction. The gradient is scaled inside the same
 * pass by c = min(1, max_norm / (norm + 1e-6)), so clipping costs no pass of its own. The norm is
 * summed in f64 in an order fixed by shapes.
 *
 * Schedules are pure functions of the step: warm-up peak (t + 1) / W, then wsd (constant, the last
 * part linear to the floor), cosine, linear or constant. Nothing to save, nothing to restore.
 *
 * Mind: decay is decoupled and only for matrices. A parameter of kind PARAM_STATE (router bias)
 * has no gradient and is moved by model_balance alone. Skipped updates do not count in `update`.
 */
#include "train/optimiser.h"

#include "train/train.h"

#include "base/checked.h"
#include "kernels/kernels.h"

#include <math.h>

status optimiser_init(optimiser *o, param_set *params) {
    *o = (optimiser){.params = params};
    size_t bytes = (size_t)params->count * sizeof(float);
    TRY(arena_init(&o->memory, "optimiser state", 2 * size_round_up(bytes, 64) + 4096));
    o->m = arena_zalloc(&o->memory, bytes);
    o->v = o->m != NULL ? arena_zalloc(&o->memory, bytes) : NULL;
    if (o->v == NULL) {
        optimiser_clear(o);
        return STATUS_MEMORY;
    }
    return STATUS_OK;
}

void optimiser_clear(optimiser *o) {
    arena_clear(&o->memory);
    *o = (optimiser){0};
}

int64_t optimiser_bytes(const param_set *params) {
    return 2 * 4 * params->count;
}

bool optimiser_decays(param_kind kind) {
    return kind == PARAM_MATRIX || kind == PARAM_ROUTER;
}

double gradient_norm(const param_set *params) {
    double sum = 0;
    for (int i = 0; i < params->n; i++) {
        const param *p = params->all[i];
        if (p->kind != PARAM_STATE) sum += vector_sum_squares(params->dtype, p->count, p->grad);
    }
    return sqrt(sum);
}

const param *gradient_first_bad(const param_set *params) {
    for (int i = 0; i < params->n; i++) {
        const param *p = params->all[i];
        if (p->kind != PARAM_STATE && !vector_finite(params->dtype, p->count, p->grad)) return p;
    }
    return NULL;
}

void optimiser_update(optimiser *o, const optimiser_rates *r, double norm) {
    double clip = r->grad_clip > 0 ? fmin(1.0, r->grad_clip / (norm + 1e-6)) : 1.0;
    adamw_step step = {.lr = r->lr,
                       .beta1 = r->beta1,
                       .beta2 = r->beta2,
                       .eps = r->epsilon,
                       .correction1 = 1.0 - pow(r->beta1, (double)r->update),
                       .correction2 = 1.0 - pow(r->beta2, (double)r->update),
                       .grad_scale = clip};
    for (int i = 0; i < o->params->n; i++) {
        param *p = o->params->all[i];
        if (p->kind == PARAM_STATE) continue;
        step.weight_decay = optimiser_decays(p->kind) ? r->weight_decay : 0;
        adamw(p->count, &step, p->grad, p->master, o->m + p->offset, o->v + p->offset);
        param_changed(p);
    }
}

/* -- schedules -- */

/* From peak to floor as `done` goes from 0 to 1. */
static double fall(double peak, double floor_rate, double done) {
    if (done >= 1) return floor_rate;
    return floor_rate + (peak - floor_rate) * (1 - done);
}

double train_learning_rate(const train_settings *s, int64_t t) {
    double peak = s->learning_rate, low = s->min_learning_rate;
    int64_t warmup = s->warmup_steps;
    int64_t end = s->schedule_steps > 0 ? s->schedule_steps : s->max_steps;
    if (t < warmup) return peak * (double)(t + 1) / (double)warmup;
    double length = (double)(end > warmup ? end - warmup : 1);
    double done = fmin(1.0, (double)(t - warmup) / length);
    switch (s->schedule) {
    case SCHEDULE_CONSTANT: return peak;
    case SCHEDULE_COSINE: return low + (peak - low) / 2 * (1 + cos(3.14159265358979323846 * done));
    case SCHEDULE_LINEAR: return fall(peak, low, done);
    case SCHEDULE_WSD: break;
    }
    int64_t decay = (int64_t)llround(s->decay_share * (double)end);
    if (decay < 1 || t < end - decay) return t >= end && s->decay_share > 0 ? low : peak;
    return fall(peak, low, (double)(t - (end - decay)) / (double)decay);
}
