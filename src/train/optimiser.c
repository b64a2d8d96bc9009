/* optimiser.c - AdamW for every parameter, or beside Muon; clipping by global norm.
 *
 * What: turns a gradient into new masters.
 *
 * How: AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101) in
 * the fused kernel: m and v are updated, bias-corrected, and w = w (1 - lr wd) - lr m / (sqrt(v) +
 * eps), with eps outside the root and after the correction. The gradient is scaled inside the same
 * pass by c = min(1, max_norm / (norm + 1e-6)), so clipping costs no pass of its own. The norm is
 * summed in f64 in an order fixed by shapes.
 *
 * With Muon (muon.c) the matrices of hidden layers leave AdamW; the clipping factor, the rate and the
 * decay are the same for both.
 *
 * Mind: decay is decoupled and only for matrices. A parameter of kind PARAM_STATE (router bias)
 * has no gradient and is moved by model_balance alone. Skipped updates do not count in `update`.
 */
#include "train/optimiser.h"

#include "train/muon.h"

#include "base/checked.h"
#include "kernels/kernels.h"

#include <math.h>

/* Room in v for every parameter that AdamW updates. */
static status place_second_moments(optimiser *o) {
    o->v_offset = mem_zalloc((size_t)o->params->n, sizeof *o->v_offset);
    if (o->v_offset == NULL) return STATUS_MEMORY;
    for (int i = 0; i < o->params->n; i++) {
        const param *p = o->params->all[i];
        bool muon = o->kind == OPTIMISER_MUON && muon_takes(p);
        o->v_offset[i] = muon ? -1 : o->v_count;
        o->v_count += muon ? 0 : p->count;
    }
    return STATUS_OK;
}

static status make_state(optimiser *o) {
    size_t m = (size_t)o->params->count * sizeof(float), v = (size_t)o->v_count * sizeof(float);
    TRY(arena_init(&o->memory, "optimiser state",
                   size_round_up(m, 64) + size_round_up(v, 64) + 4096));
    o->m = arena_zalloc(&o->memory, m);
    o->v = o->m != NULL ? arena_zalloc(&o->memory, v) : NULL;
    if (o->v == NULL) return STATUS_MEMORY;
    if (o->kind != OPTIMISER_MUON) return STATUS_OK;
    return arena_init(&o->scratch, "Newton-Schulz", (size_t)muon_scratch_bytes(o->params) + 4096);
}

status optimiser_init(optimiser *o, param_set *params, optimiser_kind kind) {
    *o = (optimiser){.params = params, .kind = kind};
    status s = place_second_moments(o);
    if (s == STATUS_OK) s = make_state(o);
    if (s != STATUS_OK) optimiser_clear(o);
    return s;
}

void optimiser_clear(optimiser *o) {
    arena_clear(&o->scratch);
    arena_clear(&o->memory);
    mem_free(o->v_offset);
    *o = (optimiser){0};
}

void optimiser_reset(optimiser *o) {
    vector_zero(DTYPE_F32, o->params->count, o->m);
    vector_zero(DTYPE_F32, o->v_count, o->v);
}

int64_t optimiser_state_bytes(const optimiser *o) {
    return (int64_t)sizeof(float) * (o->params->count + o->v_count);
}

int64_t optimiser_bytes(const optimiser *o, gemm_type products) {
    int64_t state = optimiser_state_bytes(o);
    if (o->kind != OPTIMISER_MUON) return state;
    return state + muon_scratch_bytes(o->params) + muon_packing_bytes(o->params, products);
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

static void update_adamw(optimiser *o, int i, const optimiser_rates *r, double clip) {
    param *p = o->params->all[i];
    adamw_step step = {.lr = r->lr,
                       .beta1 = r->beta1,
                       .beta2 = r->beta2,
                       .eps = r->epsilon,
                       .weight_decay = optimiser_decays(p->kind) ? r->weight_decay : 0,
                       .correction1 = 1.0 - pow(r->beta1, (double)r->update),
                       .correction2 = 1.0 - pow(r->beta2, (double)r->update),
                       .grad_scale = clip};
    adamw(p->count, &step, p->grad, p->master, o->m + p->offset, o->v + o->v_offset[i]);
    param_changed(p);
    profile_lap(r->profile, "adamw", "", (profile_work){PROFILE_BYTES, 0, 28.0 * (double)p->count});
}

status optimiser_update(optimiser *o, const optimiser_rates *r, double norm) {
    double clip = r->grad_clip > 0 ? fmin(1.0, r->grad_clip / (norm + 1e-6)) : 1.0;
    muon_step step = {.lr = r->lr,
                      .momentum = r->momentum,
                      .weight_decay = r->weight_decay,
                      .grad_scale = clip,
                      .type = r->products,
                      .profile = r->profile};
    for (int i = 0; i < o->params->n; i++) {
        param *p = o->params->all[i];
        if (p->kind == PARAM_STATE) continue;
        if (o->v_offset[i] < 0)
            TRY(muon_update(p, &step, o->m + p->offset, &o->scratch));
        else
            update_adamw(o, i, r, clip);
    }
    return STATUS_OK;
}
