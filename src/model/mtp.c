/* mtp.c - multi-token prediction of depth one (DeepSeek-V3, arXiv 2412.19437, 2.2).
 *
 *     h'_t = W_eh [norm_e(Embedding(x_{t+1})); norm_h(h_t)]     the embedding half stands first
 *     g    = Block(h');   logits = Head(norm(g_t)) predicts x_{t+2}
 *
 * h is the trunk's output before the final norm. Embedding and head are those of the trunk, so a
 * tied matrix collects three gradients. The block attends like any other, at the positions of t.
 *
 * Mind: it serves a loss in training and logits in tests; drafting with a cache of its own does
 * not exist yet.
 */
#include "model/model_internal.h"

var *mtp_forward(tape *t, forward *f, var *trunk) {
    const model *m = f->m;
    double eps = m->config.rms_norm_eps;
    dropout_site embedding = dropout_at(f, m->config.n_layer, DROP_EMBEDDING);
    var *e = op_embedding(t, m->embedding, f->batch.next_id, f->batch.layout.n);
    e = op_rmsnorm(t, op_dropout(t, e, &embedding), m->mtp_embed_norm, eps);
    var *h = op_rmsnorm(t, trunk, m->mtp_hidden_norm, eps);
    var *x = op_linear(t, op_concat(t, e, h), m->mtp_project);
    return block_run(t, f, m->config.n_layer, x);
}
