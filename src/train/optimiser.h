/* optimiser.h - AdamW over a parameter set, and the norm of a gradient. Private to train/.
 *
 * m and v have the layout of the set's masters: element i of m belongs to element i of the
 * masters, so state saves, loads and (later) shards by plain offsets at tensor borders.
 */
#ifndef FATHOM_TRAIN_OPTIMISER_H
#define FATHOM_TRAIN_OPTIMISER_H

#include "autograd/param.h"

typedef struct optimiser {
    param_set *params;
    float *m, *v; /* [params->count] */
    arena memory;
} optimiser;

typedef struct optimiser_rates {
    double lr, beta1, beta2, epsilon, weight_decay;
    double grad_clip; /* largest global norm; 0 = off */
    int64_t update;   /* 1 for the first: the t of the bias correction */
} optimiser_rates;

status optimiser_init(optimiser *o, param_set *params) MUST_CHECK; /* m = v = 0 */
void optimiser_clear(optimiser *o);                                /* accepts a zeroed one */
int64_t optimiser_bytes(const param_set *params);

/* Euclidean norm of the attached gradients over all parameters, in f64: sums of squares by the
 * kernels' fixed tree inside a parameter, then parameters in registration order. */
double gradient_norm(const param_set *params);
/* First parameter whose gradient holds an infinity or a NaN; NULL if none does. */
const param *gradient_first_bad(const param_set *params);

/* One update of all masters but PARAM_STATE from the attached gradients; their norm is given so
 * that it is computed once. Marks the parameters as changed. */
void optimiser_update(optimiser *o, const optimiser_rates *r, double norm);
/* Decay is for matrices: embeddings, norms and state are left alone. */
bool optimiser_decays(param_kind kind);

#endif
