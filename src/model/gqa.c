/* gqa.c - attention of the dense family: grouped queries, rotary positions in halves.
 *
 * x [n, d] -> qkv [n, (H + 2 Hk) hd] in one product; queries and keys stand side by side with the
 * same width of head, so one call rotates both. Query head h reads key/value head h / (H / Hk);
 * scale hd^-1/2 (GQA, arXiv 2305.13245). Qwen2 adds a bias to all three; Qwen3 normalises each head of
 * queries and keys before it rotates, so there queries and keys are rotated apart.
 */
#include "model/model_internal.h"

#include <math.h>

static var *rotate(tape *t, const block *b, var *x, int n_head) {
    const model_rope *rope = &b->forward->m->rope;
    return op_rope(t, x, &b->forward->batch.layout,
                   &(rope_options){.n_head = n_head,
                                   .head_stride = rope->dim,
                                   .dim = rope->dim,
                                   .frequency = rope->frequency,
                                   .amplitude = rope->amplitude});
}

var *gqa_attention(tape *t, const block *b, var *x) {
    const model_config *c = &b->forward->m->config;
    int64_t hd = c->head_dim, q_width = c->n_head * hd, kv_width = c->n_kv_head * hd;
    const model_layer *l = b->layer;
    var *qkv = op_linear(t, x, l->qkv);
    if (l->qkv_bias != NULL) qkv = op_bias(t, qkv, l->qkv_bias);
    if (l->q_norm == NULL) qkv = rotate(t, b, qkv, c->n_head + c->n_kv_head);
    var *q = op_slice(t, qkv, 0, q_width);
    var *k = op_slice(t, qkv, q_width, kv_width);
    if (l->q_norm != NULL) {
        q = rotate(t, b, op_head_norm(t, q, l->q_norm, c->rms_norm_eps), c->n_head);
        k = rotate(t, b, op_head_norm(t, k, l->k_norm, c->rms_norm_eps), c->n_kv_head);
    }
    var *v = op_slice(t, qkv, q_width + kv_width, kv_width);
    var *o = attend(t, b, q, k, NULL, v,
                    &(attention_shape){.n_head = c->n_head,
                                       .n_kv_head = c->n_kv_head,
                                       .qk_dim = c->head_dim,
                                       .v_dim = c->head_dim,
                                       .k_head_stride = hd,
                                       .v_head_stride = hd,
                                       .scale = 1 / sqrt((double)hd)});
    return op_linear(t, o, l->o);
}
