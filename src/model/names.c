/* names.c - every parameter of a model, and which of its rows carry which Hugging Face name.
 *
 * One product, one parameter: query, key and value projections stand one below the other, so do
 * the two down-projections of MLA, gate and up, and all experts of a layer. Files know the parts
 * by their published names; param views say where each part lies.
 *
 *     parameter        shape                    rows, in order
 *     qkv              [(H + 2 Hk) hd, d]       q_proj, k_proj, v_proj
 *     qkv_bias         [(H + 2 Hk) hd]          q_proj, k_proj, v_proj (qwen2)
 *     qkv (MLA)        [qr + kr + r, d]         q_a_proj (or q_proj, H(n+r) rows, without a query
 *                                               rank), kv_a_proj_with_mqa
 *     gate_up          [2 f, d]                 gate_proj, up_proj
 *     expert_gate_up   [E, 2 fe, d]             per expert gate_proj, up_proj
 *     expert_down      [E, d, fe]               per expert down_proj
 *
 * Initialisation (1.7): normal with init_std; projections that end in the residual stream (o_proj,
 * down_proj) by 1 / sqrt(2 L) less, so that L blocks do not widen it; norms one, router bias zero.
 *
 * A tied head has no parameter of its own and no name in files. The MTP block is layer n_layer; the
 * copies of embedding and head that published files repeat there are not parameters (weights.c).
 *
 * Mind: the order of registration is the order of masters in memory and in optimiser state.
 */
#include "model/model_internal.h"

#include <inttypes.h>
#include <math.h>

/* Remembers the first failure, so that a layer reads as a list of its parts. */
typedef struct describer {
    model *m;
    int64_t layer; /* -1: outside the layers */
    double std, out_std;
    status state;
} describer;

static const char *full_name(const describer *d, const char *name) {
    if (d->layer < 0) return name;
    return text("model.layers.%" PRId64 ".%s", d->layer, name);
}

static param *add(describer *d, param_kind kind, const char *name, int rank, const int64_t *dims,
                  double std) {
    if (d->state != STATUS_OK) return NULL;
    param *p = param_add(&d->m->params, kind, full_name(d, name), rank, dims, std);
    if (p == NULL) d->state = error_last()->code;
    return p;
}

static void view(describer *d, param *p, const char *name, int64_t first_row, int64_t rows) {
    if (d->state == STATUS_OK)
        d->state = param_add_view(&d->m->params, p, full_name(d, name), first_row, rows);
}

/* A matrix that files hold as it is. */
static param *matrix(describer *d, param_kind kind, const char *name, int64_t out, int64_t in,
                     double std) {
    param *p = add(d, kind, name, 2, (int64_t[]){out, in}, std);
    view(d, p, name, 0, out);
    return p;
}

/* A matrix made of parts; the caller adds the views. */
static param *fused(describer *d, const char *name, int64_t out, int64_t in) {
    return add(d, PARAM_MATRIX, name, 2, (int64_t[]){out, in}, d->std);
}

static param *vector(describer *d, param_kind kind, const char *name, int64_t n) {
    param *p = add(d, kind, name, 1, (int64_t[]){n}, 0);
    view(d, p, name, 0, n);
    return p;
}

static param *norm(describer *d, const char *name, int64_t n) {
    return vector(d, PARAM_VECTOR, name, n);
}

static void describe_gqa(describer *d, model_layer *l) {
    const model_config *c = &d->m->config;
    int64_t q = (int64_t)c->n_head * c->head_dim, kv = (int64_t)c->n_kv_head * c->head_dim;
    l->qkv = fused(d, "self_attn.qkv", q + 2 * kv, c->d_model);
    view(d, l->qkv, "self_attn.q_proj.weight", 0, q);
    view(d, l->qkv, "self_attn.k_proj.weight", q, kv);
    view(d, l->qkv, "self_attn.v_proj.weight", q + kv, kv);
    if (c->qkv_bias) {
        l->qkv_bias = add(d, PARAM_BIAS, "self_attn.qkv_bias", 1, (int64_t[]){q + 2 * kv}, 0);
        view(d, l->qkv_bias, "self_attn.q_proj.bias", 0, q);
        view(d, l->qkv_bias, "self_attn.k_proj.bias", q, kv);
        view(d, l->qkv_bias, "self_attn.v_proj.bias", q + kv, kv);
    }
    if (c->qk_norm) {
        l->q_norm = norm(d, "self_attn.q_norm.weight", c->head_dim);
        l->k_norm = norm(d, "self_attn.k_norm.weight", c->head_dim);
    }
    l->o = matrix(d, PARAM_MATRIX, "self_attn.o_proj.weight", c->d_model, q, d->out_std);
}

static void describe_mla(describer *d, model_layer *l) {
    const model_config *c = &d->m->config;
    int64_t H = c->n_head, n = c->qk_nope_head_dim, r = c->qk_rope_head_dim, v = c->v_head_dim;
    int64_t qr = c->q_lora_rank, kr = c->kv_lora_rank, query = qr > 0 ? qr : H * (n + r);
    l->qkv = fused(d, "self_attn.qkv_a", query + kr + r, c->d_model);
    view(d, l->qkv, qr > 0 ? "self_attn.q_a_proj.weight" : "self_attn.q_proj.weight", 0, query);
    view(d, l->qkv, "self_attn.kv_a_proj_with_mqa.weight", query, kr + r);
    if (qr > 0) {
        l->q_a_norm = norm(d, "self_attn.q_a_layernorm.weight", qr);
        l->q_b = matrix(d, PARAM_MATRIX, "self_attn.q_b_proj.weight", H * (n + r), qr, d->std);
    }
    l->kv_a_norm = norm(d, "self_attn.kv_a_layernorm.weight", kr);
    l->kv_b = matrix(d, PARAM_MATRIX, "self_attn.kv_b_proj.weight", H * (n + v), kr, d->std);
    l->o = matrix(d, PARAM_MATRIX, "self_attn.o_proj.weight", c->d_model, H * v, d->out_std);
}

/* A SwiGLU of width f under `prefix` ("mlp", "mlp.shared_experts"). */
static void describe_mlp(describer *d, const char *prefix, int64_t f, param **gate_up,
                         param **down) {
    int64_t width = d->m->config.d_model;
    *gate_up = fused(d, text("%s.gate_up", prefix), 2 * f, width);
    view(d, *gate_up, text("%s.gate_proj.weight", prefix), 0, f);
    view(d, *gate_up, text("%s.up_proj.weight", prefix), f, f);
    *down = matrix(d, PARAM_MATRIX, text("%s.down_proj.weight", prefix), width, f, d->out_std);
}

static void describe_experts(describer *d, model_layer *l) {
    const model_config *c = &d->m->config;
    int64_t E = c->n_expert, width = c->d_model, fe = c->d_expert;
    l->router = matrix(d, PARAM_ROUTER, "mlp.gate.weight", E, width, d->std);
    if (c->sigmoid) l->router_bias = vector(d, PARAM_STATE, "mlp.gate.e_score_correction_bias", E);
    if (c->n_shared_expert > 0)
        describe_mlp(d, "mlp.shared_experts", c->n_shared_expert * fe, &l->shared_gate_up,
                     &l->shared_down);
    l->expert_gate_up =
        add(d, PARAM_MATRIX, "mlp.experts.gate_up", 3, (int64_t[]){E, 2 * fe, width}, d->std);
    l->expert_down =
        add(d, PARAM_MATRIX, "mlp.experts.down", 3, (int64_t[]){E, width, fe}, d->out_std);
    for (int64_t j = 0; j < E; j++) {
        const char *one = text("mlp.experts.%" PRId64, j);
        view(d, l->expert_gate_up, text("%s.gate_proj.weight", one), 2 * fe * j, fe);
        view(d, l->expert_gate_up, text("%s.up_proj.weight", one), 2 * fe * j + fe, fe);
        view(d, l->expert_down, text("%s.down_proj.weight", one), width * j, width);
    }
}

static void describe_layer(describer *d, int64_t index) {
    const model_config *c = &d->m->config;
    model_layer *l = &d->m->layers[index];
    d->layer = index;
    l->input_norm = norm(d, "input_layernorm.weight", c->d_model);
    if (c->family == MODEL_LLAMA)
        describe_gqa(d, l);
    else
        describe_mla(d, l);
    l->post_norm = norm(d, "post_attention_layernorm.weight", c->d_model);
    if (l->choice >= 0)
        describe_experts(d, l);
    else
        describe_mlp(d, "mlp", c->d_ff, &l->gate_up, &l->down);
    d->layer = -1;
}

static void describe_mtp(describer *d) {
    model *m = d->m;
    int64_t width = m->config.d_model;
    d->layer = m->config.n_layer;
    m->mtp_embed_norm = norm(d, "enorm.weight", width);
    m->mtp_hidden_norm = norm(d, "hnorm.weight", width);
    m->mtp_project = matrix(d, PARAM_MATRIX, "eh_proj.weight", width, 2 * width, d->std);
    m->mtp_norm = norm(d, "shared_head.norm.weight", width);
    describe_layer(d, m->config.n_layer);
}

status model_describe_parameters(model *m) {
    const model_config *c = &m->config;
    describer d = {.m = m,
                   .layer = -1,
                   .std = c->init_std,
                   .out_std = c->init_std / sqrt(2.0 * (double)c->n_layer)};
    m->embedding =
        matrix(&d, PARAM_EMBEDDING, "model.embed_tokens.weight", c->vocab_size, c->d_model, d.std);
    for (int64_t i = 0; i < c->n_layer; i++)
        describe_layer(&d, i);
    m->norm = norm(&d, "model.norm.weight", c->d_model);
    m->head = c->tied
                  ? m->embedding
                  : matrix(&d, PARAM_EMBEDDING, "lm_head.weight", c->vocab_size, c->d_model, d.std);
    if (c->n_mtp > 0) describe_mtp(&d);
    return d.state;
}
