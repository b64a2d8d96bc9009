/* model.h - a decoder: configuration, parameters, and one forward for training and inference.
 *
 *     model m;
 *     TRY(model_init(&m, &config, DTYPE_F32));      // describes and allocates the parameters
 *     param_set_initialise(&m.params, seed);        // or model_load
 *     ...
 *     TRY(model_forward(&m, &t, &batch, &result));  // t: a tape on m.params
 *     TRY(tape_backward(&t));
 *
 * Life: run. One thread calls at a time; kernels use the pool inside. What it does not do: batching,
 * caches' memory, sampling (infer/), optimiser (train/), files beyond names (names.h).
 */
#ifndef FATHOM_MODEL_MODEL_H
#define FATHOM_MODEL_MODEL_H

#include "model/config.h"
#include "model/view.h"

typedef struct model_layer { /* NULL where the family has none */
    param *input_norm, *post_norm;
    /* qkv: dense [(H + 2 Hk) hd, d]; MLA [qr + kr + r, d], without a query rank H(n + r) for qr */
    param *qkv_bias, *q_norm, *k_norm; /* dense: [(H + 2 Hk) hd], [hd], [hd] */
    param *qkv, *q_a_norm, *q_b, *kv_a_norm, *kv_b, *o;
    param *gate_up, *down;               /* dense: [2f, d], [d, f] */
    param *router, *router_bias;         /* [E, d], [E] */
    param *expert_gate_up, *expert_down; /* [E, 2fe, d], [E, d, fe] */
    param *shared_gate_up, *shared_down; /* shared experts as one MLP of width S fe */
    int choice;                          /* slot of routing choices, -1 if dense */
    int64_t *counts; /* [E] tokens routed while recording, since model_counts_clear */
} model_layer;

/* Rotary positions of this model, scaling included (rope.c). */
typedef struct model_rope {
    int dim;            /* of the rotated part of a head */
    double *frequency;  /* [dim / 2] */
    double amplitude;   /* of cosine and sine */
    double score_scale; /* on the scale of latent attention */
} model_rope;

typedef struct model {
    model_config config;
    param_set params;
    param *embedding, *norm, *head; /* head == embedding when tied */
    model_layer *layers;            /* n_layer, then n_mtp more */
    param *mtp_embed_norm, *mtp_hidden_norm, *mtp_project, *mtp_norm;
    model_rope rope;
    arena memory;
} model;

/* Names and shapes of all parameters without their memory: enough to count (params.count) and plan
 * any size. real: DTYPE_F32, or DTYPE_F64 for gradient checks. Clear with model_clear. */
status model_describe(model *m, const model_config *c, dtype real) MUST_CHECK;
/* The same with memory, zeroed. */
status model_init(model *m, const model_config *c, dtype real) MUST_CHECK;
void model_clear(model *m);
status model_forward(model *m, tape *t, const model_batch *batch, model_result *result) MUST_CHECK;

/* Frequencies and factors of c into rope; rope->dim and room for dim / 2 frequencies are given. */
void model_rope_fill(const model_config *c, model_rope *rope);

int model_n_choices(const model *m);
void model_counts_clear(model *m);
/* Aux-loss-free balance: bias += gamma * sign(mean(count) - count), per routed layer (1.5). */
void model_balance(model *m, double gamma);

/* Elements per token and layer in the cache: k, shared, v rows. */
typedef struct kv_shape {
    int64_t k, shared, v;
} kv_shape;
kv_shape model_kv_shape(const model *m);

/* A published folder: config.json and model.safetensors, or shards with their index. F_MODEL_MEMORY
 * with both numbers if it cannot fit; nothing is left in m after a failure. */
status model_open(model *m, const char *folder) MUST_CHECK;
/* The same for inference: weights live once, in the type of the file, and have no masters (held.c). No
 * gradients, no model_save. Products have the bits that masters would give, F8_E4M3 apart, which is
 * rounded to bf16. */
status model_open_held(model *m, const char *folder) MUST_CHECK;
status model_config_read(model_config *c, const char *folder) MUST_CHECK; /* its config.json */
/* Bytes of a described model that model_open_held fills from the folder, from the headers of its files;
 * as if all were F32 if there are none. */
int64_t model_held_bytes(const model *m, const char *folder);
/* Bytes that a described model takes once it has run: masters and packed copies. */
int64_t model_bytes(const model *m);

/* Saves masters as Hugging Face tensors, F32 / loads F32, F16, BF16 or block-scaled F8_E4M3 ones from a
 * file, an index or a folder; every tensor must be there with its shape (F_TENSOR_MISSING, F_SHAPE name
 * it), extra ones are an error. */
status model_save(const model *m, const char *path) MUST_CHECK;
status model_load(model *m, const char *path) MUST_CHECK;

#endif
