/* config.c - a model's numbers: their bounds and relations, and what follows from them.
 *
 * Checking names the first number that does not fit the others, by its key in config.json
 * (config_json.c reads and writes that file). Counting, with d hidden, H heads, n/r/v nope/rope/value head dims, qr/kr
 * query/KV ranks, E routed, K chosen and S shared experts of width fe:
 *
 *     MLA    d qr + qr H(n+r) + d(kr+r) + kr H(n+v) + H v d    + norms qr + kr
 *            (qr = 0: d H(n+r) instead of the first two terms and no norm of the query)
 *     GQA    (2 H + 2 Hk) hd d                                  + biases (H + 2 Hk) hd, or norms 2 hd
 *     MoE    3 d fe (E+S) + E d                                + bias E if scores are sigmoids
 *     dense  3 d f
 *     MTP    one more routed block + 2 d d                     + norms 3 d
 *
 * "Active" counts K of the E experts. The products are kept apart from norms and biases because
 * only products enter the FLOPs.
 *
 * Mind: the bounds of model_config_check keep every product here below 2^63.
 */
#include "model/config.h"

#include <inttypes.h>

#define MOST_GROUPS 64 /* of experts: what the router kernel takes */

/* -- checking -- */

static status refuse(const char *where, const char *what, const char *why) {
    return FAIL(F_MODEL_CONFIG, what, where, why, "correct the number in the model configuration");
}

typedef struct bound {
    const char *key;
    int64_t value, low, high;
} bound;

static status check_bounds(const bound *bounds, int n, const char *where) {
    for (int i = 0; i < n; i++) {
        const bound *b = &bounds[i];
        if (b->value >= b->low && b->value <= b->high) continue;
        return refuse(where, text("%s is %" PRId64, b->key, b->value),
                      text("%s must lie in %" PRId64 " .. %" PRId64, b->key, b->low, b->high));
    }
    return STATUS_OK;
}

typedef struct real_bound {
    const char *key;
    double value, low, high;
} real_bound;

static status check_real_bounds(const real_bound *bounds, int n, const char *where) {
    for (int i = 0; i < n; i++) {
        const real_bound *b = &bounds[i];
        if (b->value >= b->low && b->value <= b->high) continue;
        return refuse(where, text("%s is %g", b->key, b->value),
                      text("%s must lie in %g .. %g", b->key, b->low, b->high));
    }
    return STATUS_OK;
}

static status check_reals(const model_config *c, const char *where) {
    const real_bound bounds[] = {
        {"rms_norm_eps", c->rms_norm_eps, 1e-12, 1e-2},
        {"rope_theta", c->rope_theta, 1, 1e12},
        {"initializer_range", c->init_std, 1e-9, 1},
    };
    return check_real_bounds(bounds, (int)(sizeof bounds / sizeof bounds[0]), where);
}

static status check_yarn(const rope_scaling *s, const char *where) {
    const real_bound bounds[] = {
        {"beta_fast", s->beta_fast, 1e-3, 1e6},
        {"beta_slow", s->beta_slow, 1e-3, 1e6},
        {"mscale", s->mscale, 0, 100},
        {"mscale_all_dim", s->mscale_all_dim, 0, 100},
        {"attention_factor", s->attention_factor, 0, 100},
        {"attn_factor", s->attn_factor, 0, 100},
    };
    TRY(check_real_bounds(bounds, (int)(sizeof bounds / sizeof bounds[0]), where));
    if (s->beta_fast < s->beta_slow)
        return refuse(where, text("beta_fast is %g, beta_slow %g", s->beta_fast, s->beta_slow),
                      "the fast border has more turns than the slow one");
    if ((s->mscale > 0) != (s->mscale_all_dim > 0) && s->attention_factor <= 0)
        return refuse(where, text("mscale is %g, mscale_all_dim %g", s->mscale, s->mscale_all_dim),
                      "published programs read one without the other in different ways");
    return STATUS_OK;
}

static status check_rope(const model_config *c, const char *where) {
    const rope_scaling *s = &c->rope;
    if (s->kind == ROPE_PLAIN) return STATUS_OK;
    const real_bound factor = {"factor of rope_scaling", s->factor, 1, 1e4};
    TRY(check_real_bounds(&factor, 1, where));
    if (s->kind == ROPE_LINEAR) return STATUS_OK;
    const real_bound original = {"original_max_position_embeddings", s->original, 1, 1 << 24};
    TRY(check_real_bounds(&original, 1, where));
    if (c->rope_theta <= 1)
        return refuse(where, text("rope_theta is %g", c->rope_theta),
                      "positions are scaled by frequency, so frequencies must differ");
    if (s->kind == ROPE_YARN) return check_yarn(s, where);
    const real_bound bounds[] = {
        {"low_freq_factor", s->low, 1e-3, 1e6},
        {"high_freq_factor", s->high, 1e-3, 1e6},
    };
    TRY(check_real_bounds(bounds, 2, where));
    if (s->high <= s->low)
        return refuse(where, text("high_freq_factor is %g, low_freq_factor %g", s->high, s->low),
                      "the high border must lie above the low one");
    return STATUS_OK;
}

static status check_common(const model_config *c, const char *where) {
    const bound bounds[] = {
        {"vocab_size", c->vocab_size, 1, 1 << 22},
        {"hidden_size", c->d_model, 1, 1 << 17},
        {"num_hidden_layers", c->n_layer, 1, 1024},
        {"intermediate_size", c->d_ff, 1, 1 << 19},
        {"num_attention_heads", c->n_head, 1, 1024},
        {"max_position_embeddings", c->max_position, 1, 1 << 24},
        {"bos_token_id", c->bos_id, -1, c->vocab_size - 1},
        {"eos_token_id", c->eos_id, -1, c->vocab_size - 1},
        {"num_nextn_predict_layers", c->n_mtp, 0, c->family == MODEL_DEEPSEEK_V3 ? 1 : 0},
    };
    TRY(check_bounds(bounds, (int)(sizeof bounds / sizeof bounds[0]), where));
    TRY(check_reals(c, where));
    return check_rope(c, where);
}

static status check_llama(const model_config *c, const char *where) {
    const bound bounds[] = {
        {"num_key_value_heads", c->n_kv_head, 1, c->n_head},
        {"head_dim", c->head_dim, 2, 1024},
        {"n_routed_experts", c->n_expert, 0, 0},
    };
    TRY(check_bounds(bounds, (int)(sizeof bounds / sizeof bounds[0]), where));
    if (c->n_head % c->n_kv_head != 0)
        return refuse(
            where,
            text("num_attention_heads is %d, num_key_value_heads %d", c->n_head, c->n_kv_head),
            "each key/value head must serve the same number of query heads");
    if (c->qkv_bias && c->qk_norm)
        return refuse(where, "biases on queries and norms of heads together",
                      "a family has one of them (qwen2, qwen3) or neither (llama)");
    if (c->head_dim % 2 != 0)
        return refuse(where, text("head_dim is %d", c->head_dim),
                      "rotary positions turn pairs of values, so the width must be even");
    return STATUS_OK;
}

static status check_mla(const model_config *c, const char *where) {
    const bound bounds[] = {
        {"num_key_value_heads", c->n_kv_head, c->n_head, c->n_head},
        {"q_lora_rank", c->q_lora_rank, 0, 1 << 16},
        {"kv_lora_rank", c->kv_lora_rank, 1, 1 << 16},
        {"qk_nope_head_dim", c->qk_nope_head_dim, 1, 1024},
        {"qk_rope_head_dim", c->qk_rope_head_dim, 2, 1024},
        {"v_head_dim", c->v_head_dim, 1, 1024},
    };
    TRY(check_bounds(bounds, (int)(sizeof bounds / sizeof bounds[0]), where));
    if (c->qk_rope_head_dim % 2 != 0)
        return refuse(where, text("qk_rope_head_dim is %d", c->qk_rope_head_dim),
                      "rotary positions turn pairs of values, so the width must be even");
    return STATUS_OK;
}

static status check_groups(const model_config *c, const char *where) {
    if (c->n_expert % c->n_group != 0)
        return refuse(where, text("n_routed_experts is %d, n_group %d", c->n_expert, c->n_group),
                      "groups of experts must be equally large");
    int per_group = c->n_expert / c->n_group;
    if (c->sigmoid && c->n_group > 1 && per_group < 2)
        return refuse(where, text("n_routed_experts is %d, n_group %d", c->n_expert, c->n_group),
                      "a group is scored by its two best experts, so it needs two");
    if ((int64_t)c->topk_group * per_group < c->n_expert_used)
        return refuse(
            where,
            text("num_experts_per_tok is %d, topk_group %d", c->n_expert_used, c->topk_group),
            text("the kept groups hold only %d experts", c->topk_group * per_group));
    return STATUS_OK;
}

static status check_moe(const model_config *c, const char *where) {
    bool routed = c->n_expert > 0;
    const bound bounds[] = {
        {"n_routed_experts", c->n_expert, 0, 4096},
        {"num_experts_per_tok", c->n_expert_used, routed, routed ? c->n_expert : 0},
        {"n_shared_experts", c->n_shared_expert, 0, routed ? 256 : 0},
        {"moe_intermediate_size", c->d_expert, routed, 1 << 17},
        {"first_k_dense_replace", c->first_k_dense, 0, c->n_layer},
        {"moe_layer_freq", c->moe_layer_freq, 0, routed ? 1024 : 1},
        {"n_group", c->n_group, routed,
         !routed                     ? 1
         : c->n_expert < MOST_GROUPS ? c->n_expert
                                     : MOST_GROUPS},
        {"topk_group", c->topk_group, routed, routed ? c->n_group : 1},
    };
    TRY(check_bounds(bounds, (int)(sizeof bounds / sizeof bounds[0]), where));
    if (!routed) return STATUS_OK;
    TRY(check_groups(c, where));
    if (!(c->routed_scaling_factor > 0 && c->routed_scaling_factor <= 1e3))
        return refuse(where, text("routed_scaling_factor is %g", c->routed_scaling_factor),
                      "the factor on expert weights must lie in 0 .. 1000, zero excluded");
    if (!(c->balance_alpha >= 0 && c->balance_alpha <= 1))
        return refuse(where, text("aux_loss_alpha is %g", c->balance_alpha),
                      "the weight of the balance loss must lie in 0 .. 1");
    return STATUS_OK;
}

status model_config_check(const model_config *c, const char *where) {
    TRY(check_common(c, where));
    if (c->family == MODEL_LLAMA) return check_llama(c, where);
    if (c->qkv_bias || c->qk_norm)
        return refuse(where, "biases or norms of heads beside latent attention",
                      "no published family of this shape has them");
    TRY(check_mla(c, where));
    return check_moe(c, where);
}

/* -- counting -- */

typedef struct count {
    int64_t products, others; /* weights of matrix products; norms and biases */
} count;

static count count_attention(const model_config *c) {
    int64_t d = c->d_model, H = c->n_head;
    if (c->family == MODEL_LLAMA) {
        int64_t hd = c->head_dim, heads = H + c->n_kv_head;
        return (count){2 * heads * hd * d,
                       (c->qkv_bias ? (heads + c->n_kv_head) * hd : 0) + (c->qk_norm ? 2 * hd : 0)};
    }
    int64_t qr = c->q_lora_rank, kr = c->kv_lora_rank;
    int64_t n = c->qk_nope_head_dim, r = c->qk_rope_head_dim, v = c->v_head_dim;
    int64_t query = qr > 0 ? d * qr + qr * H * (n + r) : d * H * (n + r);
    return (count){query + d * (kr + r) + kr * H * (n + v) + H * v * d, qr + kr};
}

static count count_feed_forward(const model_config *c, bool routed, int64_t experts) {
    if (!routed) return (count){3 * c->d_model * c->d_ff, 0};
    int64_t one = 3 * c->d_model * c->d_expert;
    return (count){one * (experts + c->n_shared_expert) + c->n_expert * c->d_model,
                   c->sigmoid ? c->n_expert : 0};
}

bool model_config_routed(const model_config *c, int64_t layer) {
    int every = c->moe_layer_freq > 1 ? c->moe_layer_freq : 1;
    return c->n_expert > 0 && layer >= c->first_k_dense && layer % every == 0;
}

static int64_t dense_layers(const model_config *c) {
    int64_t n = 0;
    for (int64_t i = 0; i < c->n_layer; i++)
        n += !model_config_routed(c, i);
    return n;
}

/* Blocks and what MTP adds to them, with `experts` of the routed experts counted. */
static count count_blocks(const model_config *c, int64_t experts) {
    int64_t d = c->d_model, L = c->n_layer, dense = dense_layers(c);
    count a = count_attention(c);
    count f = count_feed_forward(c, false, 0), e = count_feed_forward(c, true, experts);
    count sum = {L * a.products + dense * f.products + (L - dense) * e.products,
                 L * (a.others + 2 * d) + dense * f.others + (L - dense) * e.others};
    if (!model_config_routed(c, L)) e = f; /* of the MTP block */
    sum.products += c->n_mtp * (a.products + e.products + 2 * d * d);
    sum.others += c->n_mtp * (a.others + e.others + 2 * d + 3 * d);
    return sum;
}

int64_t model_config_parameters(const model_config *c, int64_t *active) {
    int64_t ends = c->vocab_size * c->d_model * (c->tied ? 1 : 2) + c->d_model;
    count all = count_blocks(c, c->n_expert), used = count_blocks(c, c->n_expert_used);
    if (active != NULL) *active = ends + used.products + used.others;
    return ends + all.products + all.others;
}

double model_config_flops_per_token(const model_config *c, int64_t context) {
    int64_t head = c->vocab_size * c->d_model * (1 + c->n_mtp);
    int64_t width = c->family == MODEL_LLAMA
                        ? 2 * c->head_dim
                        : c->qk_nope_head_dim + c->qk_rope_head_dim + c->v_head_dim;
    double products = (double)(count_blocks(c, c->n_expert_used).products + head);
    double attention = (double)((c->n_layer + c->n_mtp) * c->n_head * width) * (double)context;
    return 6 * products + 3 * attention;
}

int64_t model_config_kv_values(const model_config *c) {
    if (c->family == MODEL_LLAMA) return 2 * c->n_layer * c->n_kv_head * c->head_dim;
    return c->n_layer * (c->kv_lora_rank + c->qk_rope_head_dim);
}
