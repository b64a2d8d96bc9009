/* gqa.c - attention of the dense family: grouped queries, rotary positions in halves.
 *
 * x [n, d] -> qkv [n, (H + 2 Hk) hd] in one product; queries and keys stand side by side with the
 * same width of head, so one call rotates both. Query head h reads key/value head h / (H / Hk);
 * scale hd^-1/2 (GQA, arXiv 2305.13245).
 */
#include "model/model_internal.h"

#include <math.h>

var *gqa_attention(tape *t, const block *b, var *x) {
    const model_config *c = &b->forward->m->config;
    const token_layout *layout = &b->forward->batch.layout;
    int64_t hd = c->head_dim, q_width = c->n_head * hd, kv_width = c->n_kv_head * hd;
    var *qkv = op_linear(t, x, b->layer->qkv);
    qkv = op_rope(t, qkv, layout,
                  &(rope_options){.n_head = c->n_head + c->n_kv_head,
                                  .head_stride = hd,
                                  .dim = c->head_dim,
                                  .base = c->rope_theta});
    var *q = op_slice(t, qkv, 0, q_width);
    var *k = op_slice(t, qkv, q_width, kv_width);
    var *v = op_slice(t, qkv, q_width + kv_width, kv_width);
    var *o = attend(t, b, q, k, NULL, v,
                    &(attention_shape){.n_head = c->n_head,
                                       .n_kv_head = c->n_kv_head,
                                       .qk_dim = c->head_dim,
                                       .v_dim = c->head_dim,
                                       .k_head_stride = hd,
                                       .v_head_stride = hd,
                                       .scale = 1 / sqrt((double)hd)});
    return op_linear(t, o, b->layer->o);
}
