/* block.c - one decoder block: h = x + Attention(norm(x)); y = h + FeedForward(norm(h)).
 *
 * Pre-norm with RMSNorm (DeepSeek-V2, arXiv 2405.04434, 2.1).
 * Training, evaluation and inference run this one
 * function; what differs (where keys live, whether the tape records) is in the batch and the tape.
 * What a recompute policy does not keep of a block, backward computes again with the same routing.
 */
#include "model/model_internal.h"

#include <string.h>

var *block_forward(tape *t, void *context, var *x) {
    const block *b = context;
    const model_config *c = &b->forward->m->config;
    const model_layer *l = b->layer;
    var *a = op_rmsnorm(t, x, l->input_norm, c->rms_norm_eps);
    a = c->family == MODEL_LLAMA ? gqa_attention(t, b, a) : mla_attention(t, b, a);
    dropout_site mixed = dropout_at(b->forward, b->index, DROP_MIXED);
    dropout_site fed = dropout_at(b->forward, b->index, DROP_FED);
    var *h = op_add_dropout(t, x, a, &mixed);
    var *f = feed_forward(t, b, op_rmsnorm(t, h, l->post_norm, c->rms_norm_eps));
    return op_add_dropout(t, h, f, &fed);
}

/* Without a record nothing inside a block is read again: its output takes the place of its input, and
 * all blocks share the memory of one. */
static var *block_alone(tape *t, block *b, var *x) {
    size_t mark = arena_mark(t->memory);
    const var *y = block_forward(t, b, x);
    size_t bytes = (size_t)tensor_count(&x->value) * dtype_size(x->value.dtype);
    if (tape_ok(t) && !t->options.dry) memcpy(x->value.data, y->value.data, bytes);
    arena_reset(t->memory, mark);
    return x;
}

var *block_run(tape *t, forward *f, int64_t index, var *x) {
    block *b = tape_alloc(t, sizeof *b);
    if (b == NULL) return x; /* the tape has failed: what follows is harmless */
    *b = (block){f, &f->m->layers[index], index};
    if (!t->options.recording) return block_alone(t, b, x);
    return checkpoint_by(t, f->batch.recompute, block_forward, b, x);
}
