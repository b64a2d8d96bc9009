/* optimiser.h - AdamW and Muon over a parameter set, and the norm of a gradient. Private to train/.
 *
 * m has the layout of the set's masters: element i of m belongs to element i of the masters. v has
 * the same order, but only the parameters that AdamW updates; v_offset says where each begins.
 */
#ifndef FATHOM_TRAIN_OPTIMISER_H
#define FATHOM_TRAIN_OPTIMISER_H

#include "train/train.h"

#include "autograd/param.h"
#include "base/profile.h"

typedef struct optimiser {
    param_set *params;
    optimiser_kind kind;
    float *m;          /* [params->count]: first moments, or momenta of Muon */
    float *v;          /* [v_count]: second moments */
    int64_t *v_offset; /* [params->n] first element in v, -1 = none: Muon takes the parameter */
    int64_t v_count;
    arena memory, scratch;
} optimiser;

typedef struct optimiser_rates {
    double lr, beta1, beta2, epsilon, weight_decay;
    double momentum;    /* of Muon */
    double grad_clip;   /* largest global norm; 0 = off */
    int64_t update;     /* 1 for the first: the t of the bias correction */
    gemm_type products; /* of Muon */
    profile *profile;   /* NULL = none */
} optimiser_rates;

/* m = v = 0 */
status optimiser_init(optimiser *o, param_set *params, optimiser_kind kind) MUST_CHECK;
void optimiser_clear(optimiser *o); /* accepts a zeroed one */
void optimiser_reset(optimiser *o); /* m = v = 0 again */
/* Of m and v: what a checkpoint holds. */
int64_t optimiser_state_bytes(const optimiser *o);
/* Of state and scratch, with the packed operands that Muon leaves in the pool's. */
int64_t optimiser_bytes(const optimiser *o, gemm_type products);

/* Euclidean norm of the attached gradients over all parameters, in f64: sums of squares by the
 * kernels' fixed tree inside a parameter, then parameters in registration order. */
double gradient_norm(const param_set *params);
/* First parameter whose gradient holds an infinity or a NaN; NULL if none does. */
const param *gradient_first_bad(const param_set *params);

/* One update of all masters but PARAM_STATE from the attached gradients; their norm is given so
 * that it is computed once. Marks the parameters as changed. Can fail with Muon, for lack of scratch
 * memory; masters and moments are then partly updated and of no further use. */
status optimiser_update(optimiser *o, const optimiser_rates *r, double norm) MUST_CHECK;
/* Decay is for matrices: embeddings, norms and state are left alone. */
bool optimiser_decays(param_kind kind);

#endif
