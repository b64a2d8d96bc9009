/* view.h - what a forward is given: tokens, where they stand, and where keys live.
 *
 * Training passes no cache: keys are those of the batch. Inference passes a kv_cache_view: pages
 * owned by infer/, already allocated for the new tokens; model_forward writes the new keys into
 * them and attends over all written ones. One forward serves both.
 */
#ifndef FATHOM_MODEL_VIEW_H
#define FATHOM_MODEL_VIEW_H

#include "autograd/ops.h"

/* Numerics are chosen by role, never by batch size or load (docs/numerics.md). */
typedef enum numerics_role { ROLE_TRAINING, ROLE_PROMPT, ROLE_GENERATED } numerics_role;

/* Pages of one layer of one sequence: page p holds positions 64 p .. 64 p + 63; real elements,
 * zeroed when taken. Row sizes: model_kv_shape. */
typedef struct kv_layer_pages {
    void **k, **shared, **v;
} kv_layer_pages;
typedef struct kv_cache_view {
    /* [n_sequences][n_layer] */
    const kv_layer_pages *const *pages;
    const int64_t *n_keys; /* [n_sequences] keys after this batch */
} kv_cache_view;

/* Dropout of a training step: which elements go follows from seed, step, place in the model and the
 * token's number in the whole batch of the step. rate 0 = none. */
typedef struct model_dropout {
    double rate;
    uint64_t seed;
    int64_t step, token; /* token: number of this batch's first one */
} model_dropout;

typedef struct model_batch {
    token_layout layout;
    const int32_t *ids; /* [n] */
    numerics_role role;
    const kv_cache_view *cache; /* NULL: keys are those of the batch */
    /* losses (training, evaluation); NULL = none */
    const int32_t *target;     /* [n] next token, -1 masked */
    const int32_t *next_id;    /* [n] token t+1, input of MTP; any valid id where unused */
    const int32_t *target_mtp; /* [n] token t+2, -1 masked */
    double loss_scale;    /* gradient of the summed main loss: 1 / counted tokens of the batch */
    double mtp_scale;     /* lambda / counted MTP tokens */
    double balance_scale; /* 1 / sequences of the whole batch and layer-independent */
    /* logits; rows of the batch whose logits are wanted */
    const int32_t *logit_rows;
    int64_t n_logit_rows;
    bool mtp_logits;            /* also those of the MTP head, for the same rows (tests) */
    recompute_policy recompute; /* of blocks, in backward */
    model_dropout dropout;      /* training only */
    choice_slot *choices;       /* lent routing choices (model_n_choices slots), or NULL */
} model_batch;

typedef struct model_result {
    double loss_sum, mtp_sum, balance_loss; /* nats summed over counted targets; balance unscaled */
    int64_t counted, mtp_counted;
    double *each; /* in: NULL or room for [n] nats per token (main loss) */
    var *logits;  /* [n_logit_rows, vocab_size] */
    var *mtp_logits;
} model_result;

#endif
