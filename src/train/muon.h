/* muon.h - Muon for the matrices of hidden layers. Private to train/; explained in muon.c. */
#ifndef FATHOM_TRAIN_MUON_H
#define FATHOM_TRAIN_MUON_H

#include "autograd/param.h"
#include "base/profile.h"

typedef struct muon_step {
    double lr, momentum, weight_decay;
    double grad_scale; /* clipping, multiplied into the gradient */
    gemm_type type;    /* of the products */
    profile *profile;  /* NULL = none */
} muon_step;

/* Is p updated by Muon? Embeddings, heads, routers, norms and state are not. */
bool muon_takes(const param *p);
/* One update of p's master from its gradient; `m` is its momentum, as large as the master. Scratch
 * is left as it was; a failure (no memory for a product) may leave p half updated. */
status muon_update(param *p, const muon_step *s, float *m, arena *scratch) MUST_CHECK;

/* Replaces each of the n matrices [rows, cols] that lie one after another in x by U V^T of its
 * singular value decomposition, about: singular values come out between 0.7 and 1.2, those below
 * a five-hundredth of the norm smaller. *result: n matrices in scratch, until its reset. */
status muon_orthogonalise(gemm_type type, int n, int64_t rows, int64_t cols, float *x,
                          arena *scratch, float **result) MUST_CHECK;

/* Largest need of any parameter: of the scratch arena, and of packed operands in the pool's. */
int64_t muon_scratch_bytes(const param_set *params);
int64_t muon_packing_bytes(const param_set *params, gemm_type type);

#endif
