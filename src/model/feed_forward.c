/* feed_forward.c - the feed-forward half of a block: dense SwiGLU, or DeepSeekMoE (arXiv 2401.06066).
 *
 *     y = Shared(x) + sum over the K chosen experts, ascending id, of g_i Expert_i(x)
 *
 * Scores are sigmoids balanced by a bias that only the choice sees (DeepSeek-V3, arXiv 2412.19437,
 * 2.1.2), or softmax (V2). The bias is not trained by gradient: after each optimiser step
 * model_balance moves it by gamma towards experts that got fewer tokens than the mean.
 */
#include "model/model_internal.h"

static var *mlp(tape *t, var *x, param *gate_up, param *down) {
    return op_linear(t, op_swiglu(t, op_linear(t, x, gate_up)), down);
}

static var *routed(tape *t, const block *b, var *x) {
    forward *f = b->forward;
    const model_config *c = &f->m->config;
    const model_layer *l = b->layer;
    var *base = l->shared_down != NULL ? mlp(t, x, l->shared_gate_up, l->shared_down) : NULL;
    routing r =
        op_router(t, x, l->router, l->router_bias, &f->batch.layout,
                  &(router_options){.n_expert = c->n_expert,
                                    .n_used = c->n_expert_used,
                                    .n_group = c->n_group,
                                    .topk_group = c->topk_group,
                                    .score = c->sigmoid ? SCORE_SIGMOID : SCORE_SOFTMAX,
                                    .normalise = c->norm_topk_prob,
                                    .scale = c->routed_scaling_factor,
                                    .balance_alpha = f->batch.target != NULL ? c->balance_alpha : 0,
                                    .balance_scale = f->batch.balance_scale,
                                    .choice = l->choice,
                                    .counts = f->batch.role == ROLE_TRAINING ? l->counts : NULL,
                                    .balance_loss = &f->balance_loss});
    return op_experts(t, x, r, l->expert_gate_up, l->expert_down, base);
}

var *feed_forward(tape *t, const block *b, var *x) {
    if (b->layer->choice >= 0) return routed(t, b, x);
    return mlp(t, x, b->layer->gate_up, b->layer->down);
}

void model_counts_clear(model *m) {
    for (int64_t i = 0; i < m->config.n_layer + m->config.n_mtp; i++)
        for (int e = 0; m->layers[i].counts != NULL && e < m->config.n_expert; e++)
            m->layers[i].counts[e] = 0;
}

static void balance_layer(const model_layer *l, dtype real, int n_expert, double gamma) {
    int64_t sum = 0;
    for (int e = 0; e < n_expert; e++)
        sum += l->counts[e];
    for (int e = 0; e < n_expert; e++) {
        int64_t missing = sum - l->counts[e] * n_expert; /* E (mean - count), exactly */
        double step = missing > 0 ? gamma : missing < 0 ? -gamma : 0;
        if (real == DTYPE_F64)
            ((double *)l->router_bias->master)[e] += step;
        else
            ((float *)l->router_bias->master)[e] += (float)step;
    }
    param_changed(l->router_bias);
}

void model_balance(model *m, double gamma) {
    for (int64_t i = 0; i < m->config.n_layer + m->config.n_mtp; i++)
        if (m->layers[i].router_bias != NULL)
            balance_layer(&m->layers[i], m->params.dtype, m->config.n_expert, gamma);
}
