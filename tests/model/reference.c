/* reference.c - a second, naive decoder: plain loops in double.
 *
 * Formulas are those of the DeepSeek-V2 and V3 reports. Nothing here is fast, fused, blocked or
 * shared with src/model beyond the structs of its headers. */
#include "reference.h"

#include "base/status.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static double *room(const reference *r, int64_t n) {
    return arena_zalloc(r->memory, (size_t)n * sizeof(double));
}

/* Values of a tensor by its Hugging Face name; layer < 0: outside the layers. */
static const double *weight(const reference *r, int64_t layer, const char *name) {
    char full[256];
    if (layer < 0)
        snprintf(full, sizeof full, "%s", name);
    else
        snprintf(full, sizeof full, "model.layers.%d.%s", (int)layer, name);
    for (int i = 0; i < r->m->params.n; i++) {
        const param *p = r->m->params.all[i];
        int64_t width = p->rank == 1 ? 1 : p->dim[p->rank - 1];
        for (int v = 0; v < p->n_views; v++)
            if (strcmp(p->views[v].name, full) == 0)
                return (const double *)p->master + p->views[v].first_row * width;
    }
    printf("  no tensor %s\n", full);
    return NULL;
}

static void product(const double *w, int64_t out, int64_t in, const double *x, double *y) {
    for (int64_t o = 0; o < out; o++) {
        y[o] = 0;
        for (int64_t i = 0; i < in; i++)
            y[o] += w[o * in + i] * x[i];
    }
}

static void norm(const reference *r, const double *w, int64_t n, const double *x, double *y) {
    double squares = 0;
    for (int64_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    double scale = 1 / sqrt(squares / (double)n + r->m->config.rms_norm_eps);
    for (int64_t i = 0; i < n; i++)
        y[i] = w[i] * x[i] * scale;
}

static double sigmoid_of(double x) {
    return 1 / (1 + exp(-x));
}

/* Rotates the pair (a, b) as pair i of r / 2 at `position` [1.4]. */
static void rotate_pair(const reference *r, double *a, double *b, int i, int width, int position) {
    bool plain = r->m->config.rope.kind == ROPE_PLAIN; /* scaled ones have goldens */
    double angle = position * (plain ? pow(r->m->config.rope_theta, -2.0 * i / width)
                                     : r->m->rope.frequency[i]);
    double size = plain ? 1 : r->m->rope.amplitude;
    double x = *a * cos(angle) - *b * sin(angle), y = *a * sin(angle) + *b * cos(angle);
    *a = size * x, *b = size * y;
}
static void rotate_adjacent(const reference *r, double *x, int width, int position) {
    for (int i = 0; i < width / 2; i++)
        rotate_pair(r, &x[2 * i], &x[2 * i + 1], i, width, position);
}
static void rotate_halves(const reference *r, double *x, int width, int position) {
    for (int i = 0; i < width / 2; i++)
        rotate_pair(r, &x[i], &x[i + width / 2], i, width, position);
}

/* One head: q, k [n, dq], v [n, dv] with the given distances between rows -> o [n, dv]. */
static void softmax_attention(const reference *r, int64_t dq, int64_t dv, const double *q,
                              int64_t ldq, const double *k, int64_t ldk, const double *v,
                              int64_t ldv, double *o, int64_t ldo) {
    double *p = room(r, r->n);
    for (int64_t t = 0; t < r->n; t++) {
        double sum = 0, most = -HUGE_VAL;
        for (int64_t j = r->first[t]; j <= t; j++) {
            p[j] = 0;
            for (int64_t i = 0; i < dq; i++)
                p[j] += q[t * ldq + i] * k[j * ldk + i];
            p[j] *= r->m->rope.score_scale / sqrt((double)dq);
            most = fmax(most, p[j]);
        }
        for (int64_t j = r->first[t]; j <= t; j++)
            sum += p[j] = exp(p[j] - most);
        for (int64_t i = 0; i < dv; i++) {
            o[t * ldo + i] = 0;
            for (int64_t j = r->first[t]; j <= t; j++)
                o[t * ldo + i] += p[j] / sum * v[j * ldv + i];
        }
    }
}

/* MLA in its prompt form [1.2]; whole keys and values are written out per head. */
static void latent_attention(const reference *r, int64_t layer, const double *x, double *y) {
    const model_config *c = &r->m->config;
    int64_t H = c->n_head, n = c->qk_nope_head_dim, e = c->qk_rope_head_dim, v = c->v_head_dim;
    int64_t qr = c->q_lora_rank, kr = c->kv_lora_rank, d = c->d_model, dq = n + e;
    double *q = room(r, r->n * H * dq), *k = room(r, r->n * H * dq), *value = room(r, r->n * H * v);
    double *o = room(r, r->n * H * v), *cq = room(r, qr + 1), *ckv = room(r, kr + e);
    double *up = room(r, H * (n + v));
    for (int64_t t = 0; t < r->n; t++) {
        int position = (int)(t - r->first[t]);
        if (qr > 0) {
            product(weight(r, layer, "self_attn.q_a_proj.weight"), qr, d, x + t * d, cq);
            norm(r, weight(r, layer, "self_attn.q_a_layernorm.weight"), qr, cq, cq);
            product(weight(r, layer, "self_attn.q_b_proj.weight"), H * dq, qr, cq, q + t * H * dq);
        } else {
            product(weight(r, layer, "self_attn.q_proj.weight"), H * dq, d, x + t * d,
                    q + t * H * dq);
        }
        product(weight(r, layer, "self_attn.kv_a_proj_with_mqa.weight"), kr + e, d, x + t * d, ckv);
        norm(r, weight(r, layer, "self_attn.kv_a_layernorm.weight"), kr, ckv, ckv);
        product(weight(r, layer, "self_attn.kv_b_proj.weight"), H * (n + v), kr, ckv, up);
        rotate_adjacent(r, ckv + kr, (int)e, position);
        for (int64_t h = 0; h < H; h++) {
            double *head = k + (t * H + h) * dq;
            memcpy(head, up + h * (n + v), (size_t)n * sizeof *head);
            memcpy(head + n, ckv + kr, (size_t)e * sizeof *head);
            memcpy(value + (t * H + h) * v, up + h * (n + v) + n, (size_t)v * sizeof *value);
            rotate_adjacent(r, q + (t * H + h) * dq + n, (int)e, position);
        }
    }
    for (int64_t h = 0; h < H; h++)
        softmax_attention(r, dq, v, q + h * dq, H * dq, k + h * dq, H * dq, value + h * v, H * v,
                          o + h * v, H * v);
    for (int64_t t = 0; t < r->n; t++)
        product(weight(r, layer, "self_attn.o_proj.weight"), d, H * v, o + t * H * v, y + t * d);
}

static void add_to(int64_t n, const double *b, double *y) {
    for (int64_t i = 0; i < n; i++)
        y[i] += b[i];
}

/* Qwen2 */
static void add_biases(const reference *r, int64_t layer, double *q, double *k, double *v) {
    const model_config *c = &r->m->config;
    if (!c->qkv_bias) return;
    add_to(c->n_head * c->head_dim, weight(r, layer, "self_attn.q_proj.bias"), q);
    add_to(c->n_kv_head * c->head_dim, weight(r, layer, "self_attn.k_proj.bias"), k);
    add_to(c->n_kv_head * c->head_dim, weight(r, layer, "self_attn.v_proj.bias"), v);
}

/* Qwen3 */
static void norm_heads(const reference *r, int64_t layer, double *q, double *k) {
    const model_config *c = &r->m->config;
    if (!c->qk_norm) return;
    for (int h = 0; h < c->n_head; h++, q += c->head_dim)
        norm(r, weight(r, layer, "self_attn.q_norm.weight"), c->head_dim, q, q);
    for (int h = 0; h < c->n_kv_head; h++, k += c->head_dim)
        norm(r, weight(r, layer, "self_attn.k_norm.weight"), c->head_dim, k, k);
}

/* Grouped queries [1.8]. */
static void grouped_attention(const reference *r, int64_t layer, const double *x, double *y) {
    const model_config *c = &r->m->config;
    int64_t H = c->n_head, Hk = c->n_kv_head, hd = c->head_dim, d = c->d_model;
    double *q = room(r, r->n * H * hd), *k = room(r, r->n * Hk * hd), *v = room(r, r->n * Hk * hd);
    double *o = room(r, r->n * H * hd);
    for (int64_t t = 0; t < r->n; t++) {
        int position = (int)(t - r->first[t]);
        product(weight(r, layer, "self_attn.q_proj.weight"), H * hd, d, x + t * d, q + t * H * hd);
        product(weight(r, layer, "self_attn.k_proj.weight"), Hk * hd, d, x + t * d,
                k + t * Hk * hd);
        product(weight(r, layer, "self_attn.v_proj.weight"), Hk * hd, d, x + t * d,
                v + t * Hk * hd);
        add_biases(r, layer, q + t * H * hd, k + t * Hk * hd, v + t * Hk * hd);
        norm_heads(r, layer, q + t * H * hd, k + t * Hk * hd);
        for (int64_t h = 0; h < H; h++)
            rotate_halves(r, q + (t * H + h) * hd, (int)hd, position);
        for (int64_t h = 0; h < Hk; h++)
            rotate_halves(r, k + (t * Hk + h) * hd, (int)hd, position);
    }
    for (int64_t h = 0; h < H; h++) {
        int64_t g = h / (H / Hk);
        softmax_attention(r, hd, hd, q + h * hd, H * hd, k + g * hd, Hk * hd, v + g * hd, Hk * hd,
                          o + h * hd, H * hd);
    }
    for (int64_t t = 0; t < r->n; t++)
        product(weight(r, layer, "self_attn.o_proj.weight"), d, H * hd, o + t * H * hd, y + t * d);
}

/* y += scale * W_down(silu(W_gate x) * W_up x) [1.1] */
static void add_swiglu(const reference *r, int64_t layer, const char *prefix, int64_t f,
                       const double *x, double scale, double *y) {
    int64_t d = r->m->config.d_model;
    double *gate = room(r, f), *up = room(r, f), *down = room(r, d);
    char name[128];
    snprintf(name, sizeof name, "%s.gate_proj.weight", prefix);
    product(weight(r, layer, name), f, d, x, gate);
    snprintf(name, sizeof name, "%s.up_proj.weight", prefix);
    product(weight(r, layer, name), f, d, x, up);
    for (int64_t i = 0; i < f; i++)
        gate[i] *= sigmoid_of(gate[i]) * up[i];
    snprintf(name, sizeof name, "%s.down_proj.weight", prefix);
    product(weight(r, layer, name), d, f, gate, down);
    for (int64_t i = 0; i < d; i++)
        y[i] += scale * down[i];
}

/* Scores of one token, and which experts it takes [1.5]. */
static void choose(const reference *r, int64_t layer, const double *x, double *score, bool *taken) {
    const model_config *c = &r->m->config;
    int E = c->n_expert, G = c->n_group, per = E / G;
    double *biased = room(r, E), *group = room(r, G), sum = 0;
    const double *b = c->sigmoid ? weight(r, layer, "mlp.gate.e_score_correction_bias") : NULL;
    product(weight(r, layer, "mlp.gate.weight"), E, c->d_model, x, score);
    for (int e = 0; e < E; e++)
        sum += exp(score[e]);
    for (int e = 0; e < E; e++) {
        score[e] = c->sigmoid ? sigmoid_of(score[e]) : exp(score[e]) / sum;
        biased[e] = score[e] + (b != NULL ? b[e] : 0);
        taken[e] = false;
    }
    for (int g = 0; g < G; g++) { /* the two best of each group; V2: the best */
        double one = -HUGE_VAL, two = -HUGE_VAL;
        for (int e = g * per; e < (g + 1) * per; e++) {
            if (biased[e] > one)
                two = one, one = biased[e];
            else if (biased[e] > two)
                two = biased[e];
        }
        group[g] = c->sigmoid ? one + two : one;
    }
    for (int out = G; G > 1 && out > c->topk_group; out--) { /* the worst group leaves */
        int worst = -1;
        for (int g = 0; g < G; g++)
            if (group[g] > -HUGE_VAL && (worst < 0 || group[g] <= group[worst])) worst = g;
        group[worst] = -HUGE_VAL;
        for (int e = worst * per; e < (worst + 1) * per; e++)
            biased[e] = -HUGE_VAL;
    }
    for (int k = 0; k < c->n_expert_used; k++) {
        int best = -1;
        for (int e = 0; e < E; e++)
            if (!taken[e] && (best < 0 || biased[e] > biased[best])) best = e;
        taken[best] = true;
    }
}

static void experts(reference *r, int64_t layer, const double *x, double *y) {
    const model_config *c = &r->m->config;
    int E = c->n_expert, K = c->n_expert_used;
    double *score = room(r, E), *f = room(r, E), *P = room(r, E);
    bool *taken = arena_alloc(r->memory, (size_t)E);
    for (int64_t t = 0; t < r->n; t++) {
        double all = 0, chosen = 0;
        choose(r, layer, x + t * c->d_model, score, taken);
        for (int e = 0; e < E; e++)
            all += score[e], chosen += taken[e] ? score[e] : 0;
        if (c->n_shared_expert > 0)
            add_swiglu(r, layer, "mlp.shared_experts", c->n_shared_expert * c->d_expert,
                       x + t * c->d_model, 1, y + t * c->d_model);
        for (int e = 0; e < E; e++) {
            P[e] += score[e] / all / (double)r->n;
            if (!taken[e]) continue;
            f[e] += (double)E / (K * (double)r->n);
            double gate = c->norm_topk_prob ? score[e] / (chosen + 1e-20) : score[e];
            char prefix[64];
            snprintf(prefix, sizeof prefix, "mlp.experts.%d", e);
            add_swiglu(r, layer, prefix, c->d_expert, x + t * c->d_model,
                       gate * c->routed_scaling_factor, y + t * c->d_model);
        }
    }
    for (int e = 0; e < E; e++)
        r->balance_loss += c->balance_alpha * f[e] * P[e];
}

/* x [n, d] in place [1.1]. */
static void decoder_block(reference *r, int64_t layer, double *x) {
    const model_config *c = &r->m->config;
    int64_t d = c->d_model, all = r->n * d;
    double *h = room(r, all), *y = room(r, all);
    for (int64_t t = 0; t < r->n; t++)
        norm(r, weight(r, layer, "input_layernorm.weight"), d, x + t * d, h + t * d);
    if (c->family == MODEL_LLAMA)
        grouped_attention(r, layer, h, y);
    else
        latent_attention(r, layer, h, y);
    for (int64_t i = 0; i < all; i++)
        x[i] += y[i], y[i] = 0;
    for (int64_t t = 0; t < r->n; t++)
        norm(r, weight(r, layer, "post_attention_layernorm.weight"), d, x + t * d, h + t * d);
    if (c->n_expert > 0 && layer >= c->first_k_dense &&
        (c->moe_layer_freq < 2 || layer % c->moe_layer_freq == 0))
        experts(r, layer, h, y);
    else
        for (int64_t t = 0; t < r->n; t++)
            add_swiglu(r, layer, "mlp", c->d_ff, h + t * d, 1, y + t * d);
    for (int64_t i = 0; i < all; i++)
        x[i] += y[i];
}

static void to_logits(const reference *r, const double *norm_weight, const double *x,
                      double *logits) {
    const model_config *c = &r->m->config;
    double *h = room(r, c->d_model);
    const double *head = weight(r, -1, c->tied ? "model.embed_tokens.weight" : "lm_head.weight");
    for (int64_t t = 0; t < r->n; t++) {
        norm(r, norm_weight, c->d_model, x + t * c->d_model, h);
        product(head, c->vocab_size, c->d_model, h, logits + t * c->vocab_size);
    }
}

/* Depth one [1.6]; x: trunk before the final norm. */
static void next_token_prediction(reference *r, const double *x) {
    const model_config *c = &r->m->config;
    int64_t d = c->d_model, layer = c->n_layer;
    double *both = room(r, 2 * d), *h = room(r, r->n * d);
    const double *table = weight(r, -1, "model.embed_tokens.weight");
    for (int64_t t = 0; t < r->n; t++) {
        norm(r, weight(r, layer, "enorm.weight"), d, table + r->next_id[t] * d, both);
        norm(r, weight(r, layer, "hnorm.weight"), d, x + t * d, both + d);
        product(weight(r, layer, "eh_proj.weight"), d, 2 * d, both, h + t * d);
    }
    decoder_block(r, layer, h);
    to_logits(r, weight(r, layer, "shared_head.norm.weight"), h, r->mtp_logits);
}

bool reference_run(reference *r) {
    const model_config *c = &r->m->config;
    int64_t d = c->d_model;
    r->balance_loss = 0;
    r->logits = room(r, r->n * c->vocab_size);
    r->mtp_logits = room(r, r->n * c->vocab_size);
    double *x = room(r, r->n * d);
    if (x == NULL) return false;
    const double *table = weight(r, -1, "model.embed_tokens.weight");
    for (int64_t t = 0; t < r->n; t++)
        memcpy(x + t * d, table + r->ids[t] * d, (size_t)d * sizeof *x);
    for (int64_t i = 0; i < c->n_layer; i++)
        decoder_block(r, i, x);
    to_logits(r, weight(r, -1, "model.norm.weight"), x, r->logits);
    if (c->n_mtp > 0) next_token_prediction(r, x);
    return true;
}
