/* config_json.c - a model's numbers from and to config.json.
 *
 * Reading follows the keys of the published configs. Every key is known (config_keys.c); a default is
 * taken only where all published programs agree on it, and a key whose absence means different
 * things to them must be there. Rotary settings are taken from the top level or, as newer files have
 * it, from inside "rope_parameters". Writing gives the published model_type for what is computed.
 *
 * Mind: where published programs differ, the file is refused instead of choosing one of them: softmax
 * scores that are normalised (deepseek_v2), YaRN with one of its two mscales (config.c). attn_factor is
 * read as in the program YaRN was published with: it multiplies 0.1 ln(factor) + 1.
 */
#include "model/config_internal.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#define DEFAULT_BALANCE_ALPHA 1e-4 /* absent is not zero: released configs leave it out */
#define FP8_BLOCK             128

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

static status refuse(const char *where, const char *what, const char *why) {
    return FAIL(F_MODEL_CONFIG, what, where, why, "correct the number in the model configuration");
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

/* A key whose absence says nothing certain; null may stand for 0. */
static int read_or_null(reader *r, const char *key) {
    if (r->state == STATUS_OK && json_object_get(r->object, key) == NULL)
        r->state = json_get_int(r->object, key, &(int64_t){0}, r->where); /* says it is missing */
    return read_int(r, key, 0);
}

static void unsupported(reader *r, const char *what, const char *why) {
    if (r->state == STATUS_OK)
        r->state = FAIL(F_MODEL_UNKNOWN, what, r->where, why,
                        "choose a model of a family computed here without this feature");
}

static void require_text(reader *r, const char *key, const char *accepted, const char *why) {
    const char *value = read_text(r, r->object, key, accepted);
    if (r->state == STATUS_OK && strcmp(value, accepted) != 0)
        unsupported(r, text("%s is \"%.100s\"", key, value), why);
}

/* -- rotary positions -- */

/* The keys a description may have; the reader of its type takes what it needs. */
static void check_rope_keys(reader *r, json_t *rope, const char *in, const char *type) {
    static const char *const names[] = {
        "rope_type",
        "type",
        "rope_theta",
        "factor",
        "beta_fast",
        "beta_slow",
        "mscale",
        "mscale_all_dim",
        "attn_factor",
        "attention_factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
        "truncate",
        "partial_rotary_factor",
    };
    const int n = (int)(sizeof names / sizeof names[0]);
    const char *name;
    json_t *value;
    json_object_foreach(rope, name, value) {
        bool known = false;
        for (int i = 0; i < n; i++)
            known = known || strcmp(names[i], name) == 0;
        if (!known && !json_is_null(value))
            unsupported(r, text("%s has the key \"%.200s\"", in, name),
                        text("what it does to \"%.100s\" positions is not known here", type));
    }
    if (read_real(r, rope, "partial_rotary_factor", 1) != 1)
        unsupported(r, text("%s has a partial_rotary_factor", in),
                    "the whole width of a head rotates here");
    if (json_is_false(json_object_get(rope, "truncate")))
        unsupported(r, text("%s has truncate false", in),
                    "the borders of YaRN's ramp are whole numbers here");
}

/* A number that must be there. */
static double need_real(reader *r, const json_t *rope, const char *key) {
    double value = 0;
    if (r->state == STATUS_OK) r->state = json_get_real(rope, key, &value, r->where);
    return value;
}

static void read_scaling(reader *r, json_t *rope, const char *in, rope_scaling *s) {
    static const char *const kinds[] = {"default", "linear", "llama3", "yarn"};
    const char *type = read_text(r, rope, "rope_type", NULL);
    if (type == NULL) type = read_text(r, rope, "type", NULL);
    if (r->state == STATUS_OK && type == NULL && has_value(rope, "factor"))
        unsupported(r, text("%s has a factor and no rope_type", in), "how to use it is not said");
    if (type == NULL) type = "default";
    int kind = 0;
    while (kind < 4 && strcmp(kinds[kind], type) != 0)
        kind++;
    if (kind == 4)
        unsupported(r, text("%s asks for \"%.100s\"", in, type),
                    "rotary positions are plain, linear, llama3 or yarn here");
    check_rope_keys(r, rope, in, type);
    if (r->state != STATUS_OK || kind == 0) return;
    *s = (rope_scaling){.kind = (rope_kind)kind, .factor = need_real(r, rope, "factor")};
    if (s->kind == ROPE_LINEAR) return;
    s->original = need_real(r, rope, "original_max_position_embeddings");
    if (s->kind == ROPE_LLAMA3) {
        s->low = need_real(r, rope, "low_freq_factor");
        s->high = need_real(r, rope, "high_freq_factor");
        return;
    }
    s->beta_fast = read_real(r, rope, "beta_fast", 32);
    s->beta_slow = read_real(r, rope, "beta_slow", 1);
    s->mscale = read_real(r, rope, "mscale", 0);
    s->mscale_all_dim = read_real(r, rope, "mscale_all_dim", 0);
    s->attention_factor = read_real(r, rope, "attention_factor", 0);
    s->attn_factor = read_real(r, rope, "attn_factor", 0);
}

static void read_rope(reader *r, model_config *c) {
    bool nested = has_value(r->object, "rope_parameters");
    const char *in = nested ? "rope_parameters" : "rope_scaling";
    c->rope_theta = read_real(r, r->object, "rope_theta", 10000);
    if (nested && has_value(r->object, "rope_scaling") && r->state == STATUS_OK)
        r->state = refuse(r->where, "rope_parameters and rope_scaling are both there",
                          "rotary positions must be described once");
    if (r->state != STATUS_OK || !has_value(r->object, in)) return;
    json_t *rope;
    r->state = json_get_object(r->object, in, &rope, r->where);
    if (r->state != STATUS_OK) return;
    read_scaling(r, rope, in, &c->rope);
    if (nested) c->rope_theta = read_real(r, rope, "rope_theta", c->rope_theta);
}

/* -- quantised weights: what loading dequantises -- */

static void check_block_size(reader *r, const json_t *quantised) {
    const json_t *size = json_object_get(quantised, "weight_block_size");
    for (size_t i = 0; i < 2; i++)
        if (json_array_size(size) != 2 || json_integer_value(json_array_get(size, i)) != FP8_BLOCK)
            unsupported(r, "quantization_config has no weight_block_size of [128, 128]",
                        "FP8 weights are read in blocks of 128 x 128");
}

static void read_quantisation(reader *r) {
    if (r->state != STATUS_OK || !has_value(r->object, "quantization_config")) return;
    json_t *quantised;
    r->state = json_get_object(r->object, "quantization_config", &quantised, r->where);
    if (r->state != STATUS_OK) return;
    const char *method = read_text(r, quantised, "quant_method", "(not said)");
    const char *form = read_text(r, quantised, "fmt", "e4m3");
    if (r->state != STATUS_OK) return;
    if (strcmp(method, "fp8") != 0 || strcmp(form, "e4m3") != 0)
        unsupported(r, text("quantization_config asks for \"%.100s\", \"%.100s\"", method, form),
                    "quantised weights are read as fp8 e4m3 with block scales only");
    check_block_size(r, quantised);
}

/* -- families -- */

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
    read_quantisation(r);
}

static void read_dense(reader *r, model_config *c, unsigned family) {
    bool sane = c->n_head > 0 && c->d_model <= INT_MAX; /* the check names it if not */
    int64_t head_dim = sane ? c->d_model / c->n_head : 0;
    if (r->state == STATUS_OK && !has_value(r->object, "head_dim") &&
        (c->n_head < 1 || c->d_model % c->n_head != 0))
        r->state = refuse(
            r->where,
            text("hidden_size is %" PRId64 ", num_attention_heads %d", c->d_model, c->n_head),
            "without head_dim the heads must divide the hidden size");
    c->qkv_bias = family == FAMILY_QWEN2;
    c->qk_norm = family == FAMILY_QWEN3;
    bool needed = family == FAMILY_QWEN3; /* absent is 128 to some programs */
    c->head_dim = read_int(r, "head_dim", needed ? REQUIRED : head_dim);
    if (family != FAMILY_LLAMA) c->n_kv_head = read_int(r, "num_key_value_heads", REQUIRED);
}

/* The routing rule has two keys that belong together: sigmoid scores are balanced by a bias
 * ("noaux_tc", deepseek_v3), softmax scores are taken as they are ("greedy") or the best of the best
 * groups ("group_limited_greedy", both deepseek_v2). */
static void read_routing(reader *r, model_config *c, unsigned family) {
    c->sigmoid = family == FAMILY_DEEPSEEK_V3;
    c->n_group = read_int(r, "n_group", 1);
    c->topk_group = read_int(r, "topk_group", 1);
    c->norm_topk_prob = read_bool(r, "norm_topk_prob", c->sigmoid);
    c->balance_alpha = read_real(r, r->object, "aux_loss_alpha", DEFAULT_BALANCE_ALPHA);
    c->routed_scaling_factor = c->sigmoid ? need_real(r, r->object, "routed_scaling_factor")
                                          : read_real(r, r->object, "routed_scaling_factor", 1);
    if (c->sigmoid) {
        require_text(r, "scoring_func", "sigmoid", "scores of deepseek_v3 are sigmoids");
        require_text(r, "topk_method", "noaux_tc", "deepseek_v3 chooses experts by \"noaux_tc\"");
        return;
    }
    require_text(r, "scoring_func", "softmax", "scores of deepseek_v2 are softmaxes");
    if (c->norm_topk_prob)
        unsupported(r, "norm_topk_prob is true",
                    "published programs normalise deepseek_v2 scores in different ways");
    const char *method = read_text(r, r->object, "topk_method", "greedy");
    if (r->state != STATUS_OK || strcmp(method, "group_limited_greedy") == 0) return;
    if (strcmp(method, "greedy") != 0)
        unsupported(r, text("topk_method is \"%.100s\"", method),
                    "deepseek_v2 chooses experts by \"greedy\" or \"group_limited_greedy\"");
    c->n_group = c->topk_group = 1; /* which "greedy" ignores */
}

static void read_deepseek(reader *r, model_config *c, unsigned family) {
    c->q_lora_rank = read_or_null(r, "q_lora_rank");
    c->kv_lora_rank = read_int(r, "kv_lora_rank", REQUIRED);
    c->qk_nope_head_dim = read_int(r, "qk_nope_head_dim", REQUIRED);
    c->qk_rope_head_dim = read_int(r, "qk_rope_head_dim", REQUIRED);
    c->v_head_dim = read_int(r, "v_head_dim", REQUIRED);
    c->n_expert = read_or_null(r, "n_routed_experts");
    c->first_k_dense = read_int(r, "first_k_dense_replace", 0);
    c->n_mtp = read_int(r, "num_nextn_predict_layers", 0);
    if (!read_bool(r, "rope_interleave", true))
        unsupported(r, "rope_interleave is false", "this family rotates adjacent pairs");
    if (c->n_expert == 0) return; /* every layer dense */
    c->first_k_dense = read_int(r, "first_k_dense_replace", REQUIRED);
    c->moe_layer_freq = read_int(r, "moe_layer_freq", 1);
    c->n_expert_used = read_int(r, "num_experts_per_tok", REQUIRED);
    c->n_shared_expert = read_int(r, "n_shared_experts", 0);
    c->d_expert = read_int64(r, "moe_intermediate_size", REQUIRED);
    read_routing(r, c, family);
}

static const struct {
    const char *type, *architecture;
    unsigned family;
} families[] = {
    {"llama", "LlamaForCausalLM", FAMILY_LLAMA},
    {"qwen2", "Qwen2ForCausalLM", FAMILY_QWEN2},
    {"qwen3", "Qwen3ForCausalLM", FAMILY_QWEN3},
    {"deepseek_v2", "DeepseekV2ForCausalLM", FAMILY_DEEPSEEK_V2},
    {"deepseek_v3", "DeepseekV3ForCausalLM", FAMILY_DEEPSEEK_V3},
};

status model_config_from_json(model_config *c, const json_t *object, const char *where) {
    memset(c, 0, sizeof *c);
    reader r = {object, where, STATUS_OK};
    const char *type;
    unsigned family = 0;
    TRY(json_get_string(object, "model_type", &type, where));
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strcmp(type, families[i].type) == 0) family = families[i].family;
    if (family == 0)
        return FAIL(
            F_MODEL_UNKNOWN, text("model_type is \"%.200s\"", type), where,
            "the families computed here are llama, qwen2, qwen3, deepseek_v2 and deepseek_v3",
            "choose a model of one of these families");
    bool dense = family != FAMILY_DEEPSEEK_V2 && family != FAMILY_DEEPSEEK_V3;
    c->family = dense ? MODEL_LLAMA : MODEL_DEEPSEEK_V3;
    TRY(config_keys_check(object, family, type, where));
    read_common(&r, c);
    if (dense)
        read_dense(&r, c, family);
    else
        read_deepseek(&r, c, family);
    TRY(r.state);
    return model_config_check(c, where);
}

const char *model_config_type(const model_config *c) {
    if (c->family == MODEL_LLAMA) return c->qkv_bias ? "qwen2" : c->qk_norm ? "qwen3" : "llama";
    return c->n_expert > 0 && !c->sigmoid ? "deepseek_v2" : "deepseek_v3";
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

static void put_family(writer *w, const model_config *c) {
    const char *type = model_config_type(c), *architecture = "";
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strcmp(type, families[i].type) == 0) architecture = families[i].architecture;
    json_t *list = json_array();
    if (list == NULL || json_array_append_new(list, json_string(architecture)) != 0)
        w->failed = true;
    put(w, "architectures", list);
    put_text(w, "model_type", type);
}

static void put_present(writer *w, const char *key, double value) {
    if (value > 0) put_real(w, key, value);
}

static void put_rope(writer *w, const model_config *c) {
    const rope_scaling *s = &c->rope;
    put_real(w, "rope_theta", c->rope_theta);
    if (s->kind == ROPE_PLAIN) return;
    writer in = {.object = json_object()};
    if (in.object == NULL) {
        w->failed = true;
        return;
    }
    put_text(&in, "rope_type",
             s->kind == ROPE_LINEAR   ? "linear"
             : s->kind == ROPE_LLAMA3 ? "llama3"
                                      : "yarn");
    put_real(&in, "factor", s->factor);
    if (s->kind != ROPE_LINEAR) put_real(&in, "original_max_position_embeddings", s->original);
    put_present(&in, "low_freq_factor", s->low);
    put_present(&in, "high_freq_factor", s->high);
    put_present(&in, "beta_fast", s->beta_fast);
    put_present(&in, "beta_slow", s->beta_slow);
    put_present(&in, "mscale", s->mscale);
    put_present(&in, "mscale_all_dim", s->mscale_all_dim);
    put_present(&in, "attention_factor", s->attention_factor);
    put_present(&in, "attn_factor", s->attn_factor);
    w->failed = w->failed || in.failed;
    put(w, "rope_scaling", in.object);
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
    put_rope(w, c);
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
    put_int(w, "moe_layer_freq", c->moe_layer_freq > 1 ? c->moe_layer_freq : 1);
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
        put_family(&w, c);
        put_common(&w, c);
        if (c->family == MODEL_LLAMA) {
            put_int(&w, "head_dim", c->head_dim);
            put_bool(&w, "mlp_bias", false);
        } else {
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
