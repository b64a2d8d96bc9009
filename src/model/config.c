/* config.c - a model's numbers: read from and written to config.json, checked, counted.
 *
 * Reading follows the keys of the published configs (their config.json). A key that would
 * change the arithmetic in a way this program does not compute (biases, another activation, scaled
 * rotary positions, quantised weights, another routing rule) is refused by name, never skipped;
 * keys that only inform (torch_dtype, transformers_version, ...) are ignored. Rotary settings are
 * taken from the top level or, as newer files have it, from inside "rope_parameters".
 *
 * Counting, with d hidden, H heads, n/r/v nope/rope/value head dims, qr/kr
 * query/KV ranks, E routed, K chosen and S shared experts of width fe:
 *
 *     MLA    d qr + qr H(n+r) + d(kr+r) + kr H(n+v) + H v d    + norms qr + kr
 *            (qr = 0: d H(n+r) instead of the first two terms and no norm of the query)
 *     GQA    (2 H + 2 Hk) hd d
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
#include <limits.h>
#include <math.h>
#include <string.h>

#define DEFAULT_BALANCE_ALPHA 1e-4 /* absent is not zero: released configs leave it out */

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

static status check_reals(const model_config *c, const char *where) {
    const struct {
        const char *key;
        double value, low, high;
    } reals[] = {
        {"rms_norm_eps", c->rms_norm_eps, 1e-12, 1e-2},
        {"rope_theta", c->rope_theta, 1, 1e12},
        {"initializer_range", c->init_std, 1e-9, 1},
    };
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++)
        if (!(reals[i].value >= reals[i].low && reals[i].value <= reals[i].high))
            return refuse(
                where, text("%s is %g", reals[i].key, reals[i].value),
                text("%s must lie in %g .. %g", reals[i].key, reals[i].low, reals[i].high));
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
    return check_reals(c, where);
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
    if (c->n_group > 1 && per_group < 2)
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
        {"n_group", c->n_group, routed, routed ? c->n_expert : 1},
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
    TRY(check_mla(c, where));
    return check_moe(c, where);
}

/* -- reading: a reader remembers its first failure, so that a section reads as a list of keys -- */

typedef struct reader {
    const json_t *object;
    const char *where;
    status state;
} reader;

#define REQUIRED INT64_MIN

static bool has_value(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return value != NULL && !json_is_null(value);
}

static int64_t read_int64(reader *r, const char *key, int64_t fallback) {
    int64_t value = 0;
    if (r->state != STATUS_OK) return 0;
    if (fallback != REQUIRED && !has_value(r->object, key)) return fallback;
    r->state = json_get_int(r->object, key, &value, r->where);
    return value;
}

static int read_int(reader *r, const char *key, int64_t fallback) {
    int64_t value = read_int64(r, key, fallback);
    if (r->state == STATUS_OK && (value < -1 || value > INT_MAX)) {
        r->state = refuse(r->where, text("%s is %" PRId64, key, value),
                          "a small count, not negative, was expected");
        return 0;
    }
    return (int)value;
}

static double read_real(reader *r, const json_t *object, const char *key, double fallback) {
    double value = fallback;
    if (r->state == STATUS_OK && has_value(object, key))
        r->state = json_get_real(object, key, &value, r->where);
    return value;
}

static bool read_bool(reader *r, const char *key, bool fallback) {
    bool value = fallback;
    if (r->state == STATUS_OK && has_value(r->object, key))
        r->state = json_get_bool(r->object, key, &value, r->where);
    return value;
}

static const char *read_text(reader *r, const json_t *object, const char *key,
                             const char *fallback) {
    const char *value = fallback;
    if (r->state == STATUS_OK && has_value(object, key))
        r->state = json_get_string(object, key, &value, r->where);
    return value;
}

/* Ids may be one number or a list, of which the first is taken. */
static int read_token_id(reader *r, const char *key) {
    const json_t *value = json_object_get(r->object, key);
    if (!json_is_array(value)) return read_int(r, key, -1);
    const json_t *first = json_array_get(value, 0);
    if (r->state == STATUS_OK && !json_is_integer(first))
        r->state = refuse(r->where, text("%s is a list without numbers", key),
                          "one token id or a list of ids was expected");
    json_int_t id = json_integer_value(first);
    if (r->state == STATUS_OK && (id < -1 || id > INT_MAX))
        r->state = refuse(r->where, text("%s holds %" JSON_INTEGER_FORMAT, key, id),
                          "a token id is a small number");
    return r->state == STATUS_OK ? (int)id : -1;
}

static void unsupported(reader *r, const char *what, const char *why) {
    if (r->state == STATUS_OK)
        r->state = FAIL(F_MODEL_UNKNOWN, what, r->where, why,
                        "choose a model of family llama or deepseek_v3 without this feature");
}

static void require_text(reader *r, const char *key, const char *accepted, const char *why) {
    const char *value = read_text(r, r->object, key, accepted);
    if (r->state == STATUS_OK && strcmp(value, accepted) != 0)
        unsupported(r, text("%s is \"%s\"", key, value), why);
}

static void require_bool(reader *r, const char *key, bool accepted, const char *why) {
    if (read_bool(r, key, accepted) != accepted)
        unsupported(r, text("%s is %s", key, accepted ? "false" : "true"), why);
}

/* A rotary description is fine if it asks for nothing but plain rotation. */
static void require_plain_rope(reader *r, const char *key) {
    if (r->state != STATUS_OK || !has_value(r->object, key)) return;
    json_t *rope;
    r->state = json_get_object(r->object, key, &rope, r->where);
    if (r->state != STATUS_OK) return;
    const char *type = read_text(r, rope, "rope_type", NULL);
    if (type == NULL) type = read_text(r, rope, "type", "default");
    if (r->state == STATUS_OK && strcmp(type, "default") != 0)
        unsupported(r, text("%s asks for \"%s\"", key, type),
                    "scaled rotary positions (yarn, llama3, ...) are not computed yet");
}

static void read_rope(reader *r, model_config *c) {
    require_plain_rope(r, "rope_parameters");
    require_plain_rope(r, "rope_scaling");
    const json_t *nested = json_object_get(r->object, "rope_parameters");
    c->rope_theta = read_real(r, r->object, "rope_theta", 10000);
    if (json_is_object(nested)) c->rope_theta = read_real(r, nested, "rope_theta", c->rope_theta);
}

static void read_common(reader *r, model_config *c) {
    c->vocab_size = read_int64(r, "vocab_size", REQUIRED);
    c->d_model = read_int64(r, "hidden_size", REQUIRED);
    c->n_layer = read_int64(r, "num_hidden_layers", REQUIRED);
    c->d_ff = read_int64(r, "intermediate_size", REQUIRED);
    c->n_head = read_int(r, "num_attention_heads", REQUIRED);
    c->n_kv_head = read_int(r, "num_key_value_heads", c->n_head);
    c->max_position = read_int64(r, "max_position_embeddings", REQUIRED);
    c->rms_norm_eps = read_real(r, r->object, "rms_norm_eps", 1e-6);
    c->init_std = read_real(r, r->object, "initializer_range", 0.02);
    c->tied = read_bool(r, "tie_word_embeddings", false);
    c->bos_id = read_token_id(r, "bos_token_id");
    c->eos_id = read_token_id(r, "eos_token_id");
    read_rope(r, c);
    require_text(r, "hidden_act", "silu", "the gate of the feed-forward part is SiLU here");
    require_bool(r, "attention_bias", false, "attention projections have no biases here");
    if (has_value(r->object, "quantization_config"))
        unsupported(r, "quantization_config is present", "quantised weights are not read yet");
}

static void read_llama(reader *r, model_config *c) {
    int64_t head_dim = c->n_head > 0 ? c->d_model / c->n_head : 0;
    if (r->state == STATUS_OK && !has_value(r->object, "head_dim") &&
        (c->n_head < 1 || c->d_model % c->n_head != 0))
        r->state = refuse(
            r->where,
            text("hidden_size is %" PRId64 ", num_attention_heads %d", c->d_model, c->n_head),
            "without head_dim the heads must divide the hidden size");
    c->head_dim = read_int(r, "head_dim", head_dim);
    require_bool(r, "mlp_bias", false, "feed-forward projections have no biases here");
}

/* The routing rule has two keys that belong together: sigmoid scores are balanced by a bias
 * ("noaux_tc"), softmax scores are taken as they are ("greedy"). */
static void read_routing(reader *r, model_config *c) {
    const char *score = read_text(r, r->object, "scoring_func", "sigmoid");
    if (r->state != STATUS_OK) return;
    c->sigmoid = strcmp(score, "sigmoid") == 0;
    if (!c->sigmoid && strcmp(score, "softmax") != 0)
        unsupported(r, text("scoring_func is \"%s\"", score),
                    "expert scores are sigmoid or softmax here");
    const char *expected = c->sigmoid ? "noaux_tc" : "greedy";
    require_text(r, "topk_method", expected,
                 text("with %s scores experts are chosen by \"%s\"", score, expected));
    c->n_group = read_int(r, "n_group", 1);
    c->topk_group = read_int(r, "topk_group", 1);
    if (r->state == STATUS_OK && !c->sigmoid && c->n_group > 1)
        unsupported(r, text("n_group is %d with softmax scores", c->n_group),
                    "groups are scored by their two best biased experts, which needs sigmoid");
    c->norm_topk_prob = read_bool(r, "norm_topk_prob", c->sigmoid);
    c->routed_scaling_factor = read_real(r, r->object, "routed_scaling_factor", 1);
    c->balance_alpha = read_real(r, r->object, "aux_loss_alpha", DEFAULT_BALANCE_ALPHA);
    if (read_int64(r, "moe_layer_freq", 1) != 1)
        unsupported(r, "moe_layer_freq is not 1",
                    "every layer after the first dense ones is routed here");
}

static void read_deepseek(reader *r, model_config *c) {
    c->q_lora_rank = read_int(r, "q_lora_rank", 0);
    c->kv_lora_rank = read_int(r, "kv_lora_rank", REQUIRED);
    c->qk_nope_head_dim = read_int(r, "qk_nope_head_dim", REQUIRED);
    c->qk_rope_head_dim = read_int(r, "qk_rope_head_dim", REQUIRED);
    c->v_head_dim = read_int(r, "v_head_dim", REQUIRED);
    c->n_expert = read_int(r, "n_routed_experts", 0);
    c->first_k_dense = read_int(r, "first_k_dense_replace", 0);
    c->n_mtp = read_int(r, "num_nextn_predict_layers", 0);
    require_bool(r, "rope_interleave", true, "this family rotates adjacent pairs");
    if (c->n_expert == 0) return; /* every layer dense */
    c->n_expert_used = read_int(r, "num_experts_per_tok", REQUIRED);
    c->n_shared_expert = read_int(r, "n_shared_experts", 0);
    c->d_expert = read_int64(r, "moe_intermediate_size", REQUIRED);
    read_routing(r, c);
}

status model_config_from_json(model_config *c, const json_t *object, const char *where) {
    memset(c, 0, sizeof *c);
    reader r = {object, where, STATUS_OK};
    const char *type;
    TRY(json_get_string(object, "model_type", &type, where));
    if (strcmp(type, "llama") == 0)
        c->family = MODEL_LLAMA;
    else if (strcmp(type, "deepseek_v3") == 0)
        c->family = MODEL_DEEPSEEK_V3;
    else
        return FAIL(F_MODEL_UNKNOWN, text("model_type is \"%s\"", type), where,
                    "the families computed here are llama and deepseek_v3",
                    "choose a model of one of these families");
    read_common(&r, c);
    if (c->family == MODEL_LLAMA)
        read_llama(&r, c);
    else
        read_deepseek(&r, c);
    TRY(r.state);
    return model_config_check(c, where);
}

/* -- writing -- */

typedef struct writer {
    json_t *object;
    bool failed;
} writer;

static void put(writer *w, const char *key, json_t *value) {
    if (json_object_set_new(w->object, key, value) != 0) w->failed = true;
}
static void put_int(writer *w, const char *key, int64_t value) {
    put(w, key, json_integer(value));
}
static void put_real(writer *w, const char *key, double value) {
    put(w, key, json_real(value));
}
static void put_bool(writer *w, const char *key, bool value) {
    put(w, key, json_boolean(value));
}
static void put_text(writer *w, const char *key, const char *value) {
    put(w, key, json_string(value));
}
static void put_token_id(writer *w, const char *key, int id) {
    put(w, key, id < 0 ? json_null() : json_integer(id));
}

static void put_family(writer *w, const char *architecture, const char *type) {
    json_t *list = json_array();
    if (list == NULL || json_array_append_new(list, json_string(architecture)) != 0)
        w->failed = true;
    put(w, "architectures", list);
    put_text(w, "model_type", type);
}

static void put_common(writer *w, const model_config *c) {
    put_int(w, "vocab_size", c->vocab_size);
    put_int(w, "hidden_size", c->d_model);
    put_int(w, "intermediate_size", c->d_ff);
    put_int(w, "num_hidden_layers", c->n_layer);
    put_int(w, "num_attention_heads", c->n_head);
    put_int(w, "num_key_value_heads", c->n_kv_head);
    put_int(w, "max_position_embeddings", c->max_position);
    put_real(w, "rms_norm_eps", c->rms_norm_eps);
    put_real(w, "rope_theta", c->rope_theta);
    put_real(w, "initializer_range", c->init_std);
    put_bool(w, "tie_word_embeddings", c->tied);
    put_token_id(w, "bos_token_id", c->bos_id);
    put_token_id(w, "eos_token_id", c->eos_id);
    put_text(w, "hidden_act", "silu");
    put_bool(w, "attention_bias", false);
    put_text(w, "torch_dtype", "float32");
}

static void put_deepseek(writer *w, const model_config *c) {
    put(w, "q_lora_rank", c->q_lora_rank > 0 ? json_integer(c->q_lora_rank) : json_null());
    put_int(w, "kv_lora_rank", c->kv_lora_rank);
    put_int(w, "qk_nope_head_dim", c->qk_nope_head_dim);
    put_int(w, "qk_rope_head_dim", c->qk_rope_head_dim);
    put_int(w, "v_head_dim", c->v_head_dim);
    put_int(w, "n_routed_experts", c->n_expert);
    put_int(w, "first_k_dense_replace", c->first_k_dense);
    put_int(w, "num_nextn_predict_layers", c->n_mtp);
    if (c->n_expert == 0) return;
    put_int(w, "n_shared_experts", c->n_shared_expert);
    put_int(w, "num_experts_per_tok", c->n_expert_used);
    put_int(w, "moe_intermediate_size", c->d_expert);
    put_int(w, "moe_layer_freq", 1);
    put_int(w, "n_group", c->n_group);
    put_int(w, "topk_group", c->topk_group);
    put_text(w, "topk_method",
             c->sigmoid       ? "noaux_tc"
             : c->n_group > 1 ? "group_limited_greedy"
                              : "greedy");
    put_text(w, "scoring_func", c->sigmoid ? "sigmoid" : "softmax");
    put_bool(w, "norm_topk_prob", c->norm_topk_prob);
    put_real(w, "routed_scaling_factor", c->routed_scaling_factor);
    put_real(w, "aux_loss_alpha", c->balance_alpha);
}

status model_config_to_json(const model_config *c, json_t **out) {
    writer w = {.object = json_object()};
    if (w.object != NULL) {
        if (c->family == MODEL_LLAMA) {
            put_family(&w, "LlamaForCausalLM", "llama");
            put_common(&w, c);
            put_int(&w, "head_dim", c->head_dim);
            put_bool(&w, "mlp_bias", false);
        } else {
            put_family(&w, "DeepseekV3ForCausalLM", "deepseek_v3");
            put_common(&w, c);
            put_deepseek(&w, c);
        }
    }
    if (w.object == NULL || w.failed) {
        json_decref(w.object);
        *out = NULL;
        return FAIL(F_NO_MEMORY, "cannot build the JSON of a model configuration",
                    "model configuration", "an allocation failed", "free memory and try again");
    }
    *out = w.object;
    return STATUS_OK;
}

/* -- counting -- */

typedef struct count {
    int64_t products, others; /* weights of matrix products; norms and biases */
} count;

static count count_attention(const model_config *c) {
    int64_t d = c->d_model, H = c->n_head;
    if (c->family == MODEL_LLAMA) return (count){2 * (H + c->n_kv_head) * c->head_dim * d, 0};
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

static int64_t dense_layers(const model_config *c) {
    return c->family == MODEL_LLAMA || c->n_expert == 0 ? c->n_layer : c->first_k_dense;
}

/* Blocks and what MTP adds to them, with `experts` of the routed experts counted. */
static count count_blocks(const model_config *c, int64_t experts) {
    int64_t d = c->d_model, L = c->n_layer, dense = dense_layers(c);
    bool mtp_routed = c->n_expert > 0;
    count a = count_attention(c);
    count f = count_feed_forward(c, false, 0), e = count_feed_forward(c, true, experts);
    if (!mtp_routed) e = f;
    count sum = {L * a.products + dense * f.products + (L - dense) * e.products,
                 L * (a.others + 2 * d) + dense * f.others + (L - dense) * e.others};
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
