/* mla.c - multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, 2.1.2
 * and appendix C).
 *
 *     a    = W_qkv_a x                  [n, qr + kr + r]   both down-projections in one product
 *     q    = W_qb norm(a[0, qr))        [n, H (n + r)]     per head: nope, then rope
 *     k_pe = a[qr + kr, + r)            [n, r]             one for all heads, rotated, not normalised
 *     kv   = W_kvb norm(a[qr, + kr))    [n, H (n + v)]     per head: key, then value
 *     s_ij = (q_nope_i . k_nope_j + q_pe_i . k_pe_j) m (n + r)^-1/2      m: rope.c, 1 without YaRN
 *
 * Rotation is interleaved: pairs (2i, 2i+1). Without a query rank the first rows of W_qkv_a are the
 * query projection itself. Keys and values are never copied out of kv: attention is told the stride
 * between heads.
 *
 * With pages (inference) the latents and k_pe are what is kept, kr + r numbers per position and layer
 * instead of H (n + v) + r; prompts make keys and values of them again, generated tokens do without
 * (cache.c).
 *
 * Mind: a is rotated in place after its product and before its only reader of those columns.
 */
#include "model/model_internal.h"

#include <math.h>

/* Published programs do not take rms_norm_eps here, though all released files have this number. */
#define LATENT_EPS 1e-6

static var *rotate(tape *t, const block *b, var *x, int n_head, int64_t stride, int64_t column) {
    const model *m = b->forward->m;
    return op_rope(t, x, &b->forward->batch.layout,
                   &(rope_options){.n_head = n_head,
                                   .head_stride = stride,
                                   .column = column,
                                   .dim = m->rope.dim,
                                   .interleaved = true,
                                   .frequency = m->rope.frequency,
                                   .amplitude = m->rope.amplitude});
}

var *mla_attention(tape *t, const block *b, var *x) {
    const model_config *c = &b->forward->m->config;
    const model_layer *l = b->layer;
    int64_t H = c->n_head, n = c->qk_nope_head_dim, r = c->qk_rope_head_dim, v = c->v_head_dim;
    int64_t kr = c->kv_lora_rank, head = n + v;
    int64_t query = c->q_lora_rank > 0 ? c->q_lora_rank : H * (n + r);

    var *a = rotate(t, b, op_linear(t, x, l->qkv), 1, r, query + kr);
    var *q = op_slice(t, a, 0, query);
    if (c->q_lora_rank > 0) q = op_linear(t, op_rmsnorm(t, q, l->q_a_norm, LATENT_EPS), l->q_b);
    q = rotate(t, b, q, c->n_head, n + r, n);
    var *latent = op_rmsnorm(t, op_slice(t, a, query, kr), l->kv_a_norm, LATENT_EPS);
    var *shared = op_slice(t, a, query + kr, r);
    attention_shape shape = {.n_head = c->n_head,
                             .n_kv_head = c->n_head,
                             .qk_dim = c->qk_nope_head_dim,
                             .shared_dim = c->qk_rope_head_dim,
                             .v_dim = c->v_head_dim,
                             .k_head_stride = head,
                             .v_head_stride = head,
                             .scale = b->forward->m->rope.score_scale / sqrt((double)(n + r))};
    if (b->forward->batch.cache != NULL)
        return op_linear(t, attend_latents(t, b, q, latent, shared, &shape), l->o);
    var *kv = op_linear(t, latent, l->kv_b);
    var *keys = op_slice(t, kv, 0, (H - 1) * head + n);
    var *values = op_slice(t, kv, n, (H - 1) * head + v);
    return op_linear(t, attend(t, b, q, keys, shared, values, &shape), l->o);
}
