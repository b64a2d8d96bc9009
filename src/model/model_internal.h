/* model_internal.h - what the files of model/ share: a forward under way, and its parts. */
#ifndef FATHOM_MODEL_MODEL_INTERNAL_H
#define FATHOM_MODEL_MODEL_INTERNAL_H

#include "model/model.h"

/* One forward. It lives in the tape's arena, because checkpointed blocks run again in backward. */
typedef struct forward {
    model *m;
    model_batch batch;
    double balance_loss; /* summed over routed layers */
} forward;

/* What a block needs beside its input. */
typedef struct block {
    forward *forward;
    const model_layer *layer;
    int64_t index; /* n_layer for the MTP block */
} block;

/* drop_places.c: places where a forward drops elements; those of nanoGPT. */
typedef enum dropout_place {
    DROP_EMBEDDING, /* what goes into the first block, or into the MTP block */
    DROP_ATTENTION, /* probabilities */
    DROP_MIXED,     /* output of attention, before the residual sum */
    DROP_FED        /* output of the feed-forward half, likewise */
} dropout_place;
/* layer: index of the block. */
dropout_site dropout_at(const forward *f, int64_t layer, dropout_place place);

/* names.c: adds every parameter, in a fixed order, with the Hugging Face names of its rows. */
status model_describe_parameters(model *m) MUST_CHECK;

/* block.c: block_fn of checkpoint(). x [n, d] -> [n, d] */
var *block_forward(tape *t, void *context, var *x);
/* The same, kept whole or recomputed in backward as the batch asks. */
var *block_run(tape *t, forward *f, int64_t index, var *x);

/* gqa.c, mla.c: x [n, d], normalised -> [n, d] */
var *gqa_attention(tape *t, const block *b, var *x);
var *mla_attention(tape *t, const block *b, var *x);

/* cache.c: attention over the keys of the batch, or, with a cache, over pages after the new keys
 * have been written into them. q [n, H (qk + shared)]; k, shared, v: column views. */
var *attend(tape *t, const block *b, var *q, var *k, var *shared, var *v,
            const attention_shape *shape);

/* The same of latent attention with a cache: latent [n, kr] and shared go into the pages; prompts attend
 * over keys and values made of them again, `shape`, generated tokens over the latents themselves. */
var *attend_latents(tape *t, const block *b, var *q, var *latent, var *shared,
                    const attention_shape *shape);

/* feed_forward.c: x [n, d], normalised -> [n, d]; dense or routed, as the layer is. */
var *feed_forward(tape *t, const block *b, var *x);

/* mtp.c: trunk [n, d] before the final norm -> [n, d], ready for the head */
var *mtp_forward(tape *t, forward *f, var *trunk);

#endif
