/* gguf_config.c - a model's numbers from and to the keys of a GGUF file.
 *
 * Keys begin with the architecture: "llama.block_count". Every key of that prefix is known here: it
 * is read, or it must have the one value that changes nothing, or it only informs; another one is
 * refused by name, because it would change what is computed. A key is required where its absence
 * would make readers fail or, worse, compute something else: for deepseek2 that is nearly all of
 * them, among them the three of the router (weights_scale, weights_norm, gating_func), without which
 * a file loads elsewhere and answers wrongly. One exception: files of softmax routers write
 * weights_norm only where it is true.
 *
 * What GGUF says otherwise than config.json:
 *   - llama3's stretched positions are a tensor, rope_freqs.weight: the factor of each frequency.
 *     It is recognised as the published rule (low 1, high 4, 8,192 positions unless
 *     rope.scaling.original_context_length says otherwise), or refused;
 *   - yarn_log_multiplier is 0.1 mscale_all_dim in deepseek2, a habit of its writers;
 *   - deepseek2 counts a single key/value head, of the latent width; layers of multi-token prediction
 *     count among the blocks.
 */
#include "model/model_gguf.h"

#include "model/model_internal.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* -- reading: the first failure stays, so that a section reads as a list of keys -- */

typedef struct reader {
    gguf *f;
    const char *architecture;
    status state;
} reader;

static const char *full(const reader *r, const char *key) {
    return text("%s.%s", r->architecture, key);
}

static bool has(const reader *r, const char *key) {
    return gguf_lookup_value(r->f, full(r, key)) != NULL;
}

static int64_t read_int64(reader *r, const char *key) {
    int64_t value = 0;
    if (r->state == STATUS_OK) r->state = gguf_get_int(r->f, full(r, key), &value);
    return value;
}

static int read_int(reader *r, const char *key) {
    int64_t value = read_int64(r, key);
    if (r->state == STATUS_OK && (value < 0 || value > INT_MAX)) {
        r->state = FAIL(F_MODEL_CONFIG, text("%s is %" PRId64, full(r, key), value),
                        gguf_path(r->f), "a small count, not negative, was expected",
                        "write the file again with the program it came from");
        return 0;
    }
    return (int)value;
}

static int read_int_or(reader *r, const char *key, int fallback) {
    return has(r, key) ? read_int(r, key) : fallback;
}

/* Files keep floats; the shortest decimals that give the same float are what was meant: 1e-5, not
 * 9.99999974738e-06. */
static double read_real(reader *r, const char *key) {
    double value = 0;
    if (r->state == STATUS_OK) r->state = gguf_get_real(r->f, full(r, key), &value);
    double meant = strtod(text("%.7g", value), NULL);
    return (float)meant == (float)value ? meant : value;
}

static double read_real_or(reader *r, const char *key, double fallback) {
    return has(r, key) ? read_real(r, key) : fallback;
}

static bool read_bool(reader *r, const char *key) {
    bool value = false;
    if (r->state == STATUS_OK) r->state = gguf_get_bool(r->f, full(r, key), &value);
    return value;
}

static void unsupported(reader *r, const char *what, const char *why) {
    if (r->state == STATUS_OK)
        r->state = FAIL(F_MODEL_UNKNOWN, what, gguf_path(r->f), why,
                        "choose a model of a family computed here without this feature");
}

static void must_be(reader *r, const char *key, int64_t found, int64_t expected) {
    if (r->state == STATUS_OK && found != expected)
        unsupported(r, text("%s is %" PRId64, full(r, key), found),
                    text("only %" PRId64 " is computed here", expected));
}

/* -- keys that are known -- */

enum { DENSE = 1, LATENT = 2, BOTH = 3 };
static const struct {
    const char *key;
    int where;
} known[] = {
    {"context_length", BOTH},
    {"embedding_length", BOTH},
    {"block_count", BOTH},
    {"feed_forward_length", BOTH},
    {"vocab_size", BOTH},
    {"attention.head_count", BOTH},
    {"attention.head_count_kv", BOTH},
    {"attention.layer_norm_rms_epsilon", BOTH},
    {"attention.layer_norm_epsilon", BOTH}, /* of another kind of norm */
    {"attention.key_length", BOTH},
    {"attention.value_length", BOTH},
    {"attention.causal", BOTH},
    {"rope.dimension_count", BOTH},
    {"rope.freq_base", BOTH},
    {"rope.scaling.type", BOTH},
    {"rope.scaling.factor", BOTH},
    {"rope.scaling.original_context_length", BOTH},
    {"rope.scaling.finetuned", BOTH}, /* informs */
    {"rope.scaling.attn_factor", BOTH},
    {"rope.scaling.yarn_log_multiplier", LATENT},
    {"rope.scaling.yarn_beta_fast", BOTH},
    {"rope.scaling.yarn_beta_slow", BOTH},
    {"rope.scaling.yarn_ext_factor", BOTH},
    {"expert_count", BOTH},
    {"expert_used_count", BOTH},
    {"tensor_data_layout", DENSE}, /* informs */
    {"attention.q_lora_rank", LATENT},
    {"attention.kv_lora_rank", LATENT},
    {"attention.key_length_mla", LATENT},
    {"attention.value_length_mla", LATENT},
    {"leading_dense_block_count", LATENT},
    {"expert_feed_forward_length", LATENT},
    {"expert_shared_count", LATENT},
    {"expert_group_count", LATENT},
    {"expert_group_used_count", LATENT},
    {"expert_weights_scale", LATENT},
    {"expert_weights_norm", LATENT},
    {"expert_gating_func", LATENT},
    {"nextn_predict_layers", LATENT},
};

static void check_keys(reader *r, int where) {
    size_t prefix = strlen(r->architecture);
    for (int i = 0; i < gguf_n_values(r->f) && r->state == STATUS_OK; i++) {
        const gguf_value *v = gguf_value_at(r->f, i);
        if (strncmp(v->key, r->architecture, prefix) != 0 || v->key[prefix] != '.') continue;
        bool found = false;
        for (size_t k = 0; k < sizeof known / sizeof known[0] && !found; k++)
            found = (known[k].where & where) != 0 && strcmp(known[k].key, v->key + prefix + 1) == 0;
        if (!found)
            r->state = FAIL(F_MODEL_UNKNOWN, text("key \"%.200s\" is not known", v->key),
                            text("%s, byte %zu", gguf_path(r->f), v->at),
                            text("what it changes in a model of the kind %s is not computed here",
                                 r->architecture),
                            "choose a model of a family computed here without this feature");
    }
}

/* -- rotary positions -- */

static rope_scaling llama3_rule(double factor, double original) {
    return (rope_scaling){
        .kind = ROPE_LLAMA3, .factor = factor, .original = original, .low = 1, .high = 4};
}

/* The factors of llama3's rule for this configuration and factor, against those of the file. */
static bool is_llama3(const model_config *c, const float *factors, double factor, double original) {
    model_config plain = *c, scaled = *c;
    double a[512], b[512];
    model_rope p = {.dim = c->head_dim, .frequency = a}, s = {.dim = c->head_dim, .frequency = b};
    plain.rope = (rope_scaling){0};
    scaled.rope = llama3_rule(factor, original);
    model_rope_fill(&plain, &p);
    model_rope_fill(&scaled, &s);
    for (int i = 0; i < c->head_dim / 2; i++)
        if (!(fabs(a[i] / b[i] - (double)factors[i]) <= 1e-4 * (double)factors[i])) return false;
    return true;
}

static void read_rope_factors(reader *r, model_config *c) {
    const gguf_tensor *t = gguf_lookup(r->f, "rope_freqs.weight");
    float factors[512];
    if (t == NULL || r->state != STATUS_OK) return;
    if (t->rank != 1 || t->count != c->head_dim / 2 || t->count > 512 || t->type != QUANT_F32) {
        r->state = FAIL(F_SHAPE,
                        text("tensor \"%s\" has %" PRId64 " elements of %s", t->name, t->count,
                             quant_name(t->type)),
                        text("%s, byte %zu", gguf_path(r->f), t->at),
                        text("one F32 for each of %d frequencies was expected", c->head_dim / 2),
                        "write the file again with the program it came from");
        return;
    }
    r->state = gguf_decode(r->f, t, 0, t->count, factors);
    if (r->state != STATUS_OK) return;
    /* The slowest frequency is stretched wholly, except in heads so narrow that none is. */
    double original = read_real_or(r, "rope.scaling.original_context_length", 8192);
    const double tried[] = {(double)factors[t->count - 1], 8, 32};
    for (int i = 0; i < 3 && c->rope.kind == ROPE_PLAIN; i++)
        if (is_llama3(c, factors, tried[i], original)) c->rope = llama3_rule(tried[i], original);
    if (c->rope.kind != ROPE_LLAMA3)
        unsupported(r, "rope_freqs.weight holds factors of another rule",
                    "factors of frequencies are read if they are llama3's with low 1, high 4 and "
                    "8,192 positions (or rope.scaling.original_context_length)");
}

static void read_rope(reader *r, model_config *c) {
    const char *type = "none";
    c->rope_theta = read_real_or(r, "rope.freq_base", 10000);
    if (has(r, "rope.scaling.type") && r->state == STATUS_OK)
        r->state = gguf_get_string(r->f, full(r, "rope.scaling.type"), &type);
    else if (has(r, "rope.scaling.factor"))
        type = "linear";
    if (r->state != STATUS_OK || strcmp(type, "none") == 0) return;
    rope_scaling *s = &c->rope;
    *s = (rope_scaling){.kind = ROPE_LINEAR, .factor = read_real_or(r, "rope.scaling.factor", 1)};
    if (strcmp(type, "linear") == 0) {
        if (s->factor == 1) *s = (rope_scaling){0};
        return;
    }
    if (strcmp(type, "yarn") != 0) {
        unsupported(r, text("%s is \"%.100s\"", full(r, "rope.scaling.type"), type),
                    "rotary positions are plain, linear, llama3 or yarn here");
        return;
    }
    *s = (rope_scaling){.kind = ROPE_YARN,
                        .factor = read_real(r, "rope.scaling.factor"),
                        .original = read_real(r, "rope.scaling.original_context_length"),
                        .beta_fast = read_real_or(r, "rope.scaling.yarn_beta_fast", 32),
                        .beta_slow = read_real_or(r, "rope.scaling.yarn_beta_slow", 1),
                        .attn_factor = read_real_or(r, "rope.scaling.attn_factor", 0)};
    if (c->family == MODEL_DEEPSEEK_V3) {
        /* 0.1f as a float would not give the published number back: round to 6 decimals. */
        double scale = read_real_or(r, "rope.scaling.yarn_log_multiplier", 0) * 10;
        s->mscale = s->mscale_all_dim = round(scale * 1e6) / 1e6;
    }
    if (read_real_or(r, "rope.scaling.yarn_ext_factor", 1) != 1)
        unsupported(r, text("%s is not 1", full(r, "rope.scaling.yarn_ext_factor")),
                    "YaRN is mixed in wholly here");
}

/* -- families -- */

static int64_t read_vocabulary(reader *r) {
    const gguf_value *tokens = gguf_lookup_value(r->f, "tokenizer.ggml.tokens");
    if (tokens != NULL && tokens->type == GGUF_LIST) return tokens->count;
    return read_int64(r, "vocab_size");
}

/* An id, -1 if the key is absent. */
static int read_token_id(reader *r, const char *key) {
    int64_t id = -1;
    if (gguf_lookup_value(r->f, key) != NULL && r->state == STATUS_OK)
        r->state = gguf_get_int(r->f, key, &id);
    return id < -1 || id > INT_MAX ? -1 : (int)id;
}

static void read_common(reader *r, model_config *c) {
    c->d_model = read_int64(r, "embedding_length");
    c->n_layer = read_int64(r, "block_count");
    c->d_ff = read_int64(r, "feed_forward_length");
    c->n_head = read_int(r, "attention.head_count");
    c->max_position = read_int64(r, "context_length");
    c->rms_norm_eps = read_real(r, "attention.layer_norm_rms_epsilon");
    c->vocab_size = read_vocabulary(r);
    c->init_std = 0.02;
    c->tied = gguf_lookup(r->f, "output.weight") == NULL;
    c->bos_id = read_token_id(r, "tokenizer.ggml.bos_token_id");
    c->eos_id = read_token_id(r, "tokenizer.ggml.eos_token_id");
    read_rope(r, c);
    if (has(r, "attention.causal") && !read_bool(r, "attention.causal"))
        unsupported(r, text("%s is false", full(r, "attention.causal")),
                    "attention looks back only");
}

static void read_dense(reader *r, model_config *c) {
    int width = c->n_head > 0 ? (int)(c->d_model / c->n_head) : 0;
    c->qkv_bias = strcmp(r->architecture, "qwen2") == 0;
    c->qk_norm = strcmp(r->architecture, "qwen3") == 0;
    c->n_kv_head = read_int_or(r, "attention.head_count_kv", c->n_head);
    c->head_dim = read_int_or(r, "attention.key_length", width);
    must_be(r, "attention.value_length", read_int_or(r, "attention.value_length", c->head_dim),
            c->head_dim);
    must_be(r, "rope.dimension_count", read_int_or(r, "rope.dimension_count", c->head_dim),
            c->head_dim);
    must_be(r, "expert_count", read_int_or(r, "expert_count", 0), 0);
    must_be(r, "expert_used_count", read_int_or(r, "expert_used_count", 0), 0);
    read_rope_factors(r, c);
}

static void read_latent(reader *r, model_config *c) {
    bool lite =
        !has(r, "attention.q_lora_rank") && gguf_lookup(r->f, "blk.0.attn_q.weight") != NULL;
    c->n_kv_head = c->n_head;
    c->q_lora_rank = lite ? 0 : read_int(r, "attention.q_lora_rank");
    c->kv_lora_rank = read_int(r, "attention.kv_lora_rank");
    c->qk_rope_head_dim = read_int(r, "rope.dimension_count");
    c->qk_nope_head_dim = read_int(r, "attention.key_length_mla") - c->qk_rope_head_dim;
    c->v_head_dim = read_int(r, "attention.value_length_mla");
    must_be(r, "attention.head_count_kv", read_int(r, "attention.head_count_kv"), 1);
    must_be(r, "attention.key_length", read_int(r, "attention.key_length"),
            c->kv_lora_rank + c->qk_rope_head_dim);
    must_be(r, "attention.value_length", read_int_or(r, "attention.value_length", c->kv_lora_rank),
            c->kv_lora_rank);
}

/* Blocks of multi-token prediction count among the blocks; their tensors may be left out. */
static void read_mtp(reader *r, model_config *c) {
    int n = read_int_or(r, "nextn_predict_layers", 0);
    if (r->state != STATUS_OK || n == 0) return;
    c->n_layer -= n;
    if (gguf_lookup(r->f, text("blk.%" PRId64 ".nextn.eh_proj.weight", c->n_layer)) != NULL)
        c->n_mtp = n;
}

static void read_experts(reader *r, model_config *c) {
    c->first_k_dense = read_int(r, "leading_dense_block_count");
    c->n_expert = read_int(r, "expert_count");
    if (c->n_expert == 0) {
        c->first_k_dense = 0;
        return;
    }
    c->n_expert_used = read_int(r, "expert_used_count");
    c->n_shared_expert = read_int(r, "expert_shared_count");
    c->d_expert = read_int64(r, "expert_feed_forward_length");
    c->n_group = read_int_or(r, "expert_group_count", 1);
    c->topk_group = read_int_or(r, "expert_group_used_count", 1);
    if (c->n_group <= 1) c->n_group = c->topk_group = 1;
    c->moe_layer_freq = 1;
    c->routed_scaling_factor = read_real(r, "expert_weights_scale");
    c->balance_alpha = 1e-4;
    int gate = read_int(r, "expert_gating_func");
    c->sigmoid = gate == 2;
    if (gate != 1 && gate != 2)
        unsupported(r, text("%s is %d", full(r, "expert_gating_func"), gate),
                    "expert scores are softmax (1) or sigmoid (2) here");
    if (c->sigmoid || has(r, "expert_weights_norm"))
        c->norm_topk_prob = read_bool(r, "expert_weights_norm");
    if (!c->sigmoid && c->norm_topk_prob)
        unsupported(r, text("%s is true beside softmax scores", full(r, "expert_weights_norm")),
                    "published programs normalise them in different ways");
}

status model_config_from_gguf(model_config *c, gguf *f) {
    static const char *const architectures[] = {"llama", "qwen2", "qwen3", "deepseek2"};
    reader r = {.f = f};
    memset(c, 0, sizeof *c);
    TRY(gguf_get_string(f, "general.architecture", &r.architecture));
    int kind = 0;
    while (kind < 4 && strcmp(architectures[kind], r.architecture) != 0)
        kind++;
    if (kind == 4)
        return FAIL(F_MODEL_UNKNOWN, text("general.architecture is \"%.200s\"", r.architecture),
                    gguf_path(f),
                    "the architectures computed here are llama, qwen2, qwen3 and deepseek2",
                    "choose a model of one of these architectures");
    bool latent = kind == 3;
    c->family = latent ? MODEL_DEEPSEEK_V3 : MODEL_LLAMA;
    check_keys(&r, latent ? LATENT : DENSE);
    read_common(&r, c);
    if (latent) {
        read_latent(&r, c);
        read_mtp(&r, c);
        read_experts(&r, c);
    } else {
        read_dense(&r, c);
    }
    TRY(r.state);
    return model_config_check(c, gguf_path(f));
}

/* -- writing -- */

typedef struct writer {
    gguf_writer *w;
    const char *architecture;
} writer;

static void put_int(const writer *w, const char *key, int64_t value) {
    gguf_put_u32(w->w, text("%s.%s", w->architecture, key), value);
}
static void put_real(const writer *w, const char *key, double value) {
    gguf_put_f32(w->w, text("%s.%s", w->architecture, key), value);
}

static void put_rope(const writer *w, const model_config *c) {
    const rope_scaling *s = &c->rope;
    put_real(w, "rope.freq_base", c->rope_theta);
    if (s->kind == ROPE_LLAMA3 && s->original != 8192) /* the rest is in a tensor */
        put_int(w, "rope.scaling.original_context_length", (int64_t)s->original);
    if (s->kind == ROPE_PLAIN || s->kind == ROPE_LLAMA3) return;
    gguf_put_string(w->w, text("%s.rope.scaling.type", w->architecture),
                    s->kind == ROPE_LINEAR ? "linear" : "yarn");
    put_real(w, "rope.scaling.factor", s->factor);
    if (s->kind == ROPE_LINEAR) return;
    put_int(w, "rope.scaling.original_context_length", (int64_t)s->original);
    put_real(w, "rope.scaling.yarn_beta_fast", s->beta_fast);
    put_real(w, "rope.scaling.yarn_beta_slow", s->beta_slow);
    if (s->attn_factor > 0) put_real(w, "rope.scaling.attn_factor", s->attn_factor);
    if (c->family == MODEL_DEEPSEEK_V3 && s->mscale_all_dim > 0)
        put_real(w, "rope.scaling.yarn_log_multiplier", 0.1 * s->mscale_all_dim);
}

static void put_latent(const writer *w, const model_config *c) {
    int64_t kr = c->kv_lora_rank, r = c->qk_rope_head_dim;
    bool routed = c->n_expert > 0;
    put_int(w, "attention.head_count_kv", 1);
    if (c->q_lora_rank > 0) put_int(w, "attention.q_lora_rank", c->q_lora_rank);
    put_int(w, "attention.kv_lora_rank", kr);
    put_int(w, "attention.key_length", kr + r);
    put_int(w, "attention.value_length", kr);
    put_int(w, "attention.key_length_mla", c->qk_nope_head_dim + r);
    put_int(w, "attention.value_length_mla", c->v_head_dim);
    put_int(w, "rope.dimension_count", r);
    put_int(w, "leading_dense_block_count", routed ? c->first_k_dense : c->n_layer);
    put_int(w, "expert_count", c->n_expert);
    put_int(w, "expert_used_count", c->n_expert_used);
    put_int(w, "expert_shared_count", c->n_shared_expert);
    put_int(w, "expert_feed_forward_length", routed ? c->d_expert : c->d_ff);
    if (c->n_group > 1) {
        put_int(w, "expert_group_count", c->n_group);
        put_int(w, "expert_group_used_count", c->topk_group);
    }
    put_real(w, "expert_weights_scale", routed ? c->routed_scaling_factor : 1);
    gguf_put_bool(w->w, text("%s.expert_weights_norm", w->architecture), c->norm_topk_prob);
    put_int(w, "expert_gating_func", c->sigmoid ? 2 : 1);
    if (c->n_mtp > 0) put_int(w, "nextn_predict_layers", c->n_mtp);
}

int gguf_file_type(uint32_t type) {
    static const struct {
        uint32_t type;
        int number;
    } rows[] = {{QUANT_F32, 0},   {QUANT_F16, 1},     {QUANT_Q4_0, 2},    {QUANT_Q4_1, 3},
                {QUANT_Q8_0, 7},  {QUANT_Q5_0, 8},    {QUANT_Q5_1, 9},    {QUANT_Q2_K, 10},
                {QUANT_Q3_K, 12}, {QUANT_Q4_K, 15},   {QUANT_Q5_K, 17},   {QUANT_Q6_K, 18},
                {QUANT_BF16, 32}, {QUANT_IQ4_NL, 25}, {QUANT_IQ4_XS, 30}, {QUANT_MXFP4, 38}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].type == type) return rows[i].number;
    return 1024; /* "guessed" */
}

void model_put_gguf_keys(gguf_writer *g, const model_config *c, uint32_t type) {
    bool latent = c->family == MODEL_DEEPSEEK_V3;
    writer w = {g, latent ? "deepseek2" : model_config_type(c)};
    gguf_put_string(g, "general.architecture", w.architecture);
    gguf_put_u32(g, "general.file_type", gguf_file_type(type));
    put_int(&w, "vocab_size", c->vocab_size);
    put_int(&w, "context_length", c->max_position);
    put_int(&w, "embedding_length", c->d_model);
    put_int(&w, "block_count", c->n_layer + c->n_mtp);
    put_int(&w, "feed_forward_length", c->d_ff);
    put_int(&w, "attention.head_count", c->n_head);
    put_real(&w, "attention.layer_norm_rms_epsilon", c->rms_norm_eps);
    put_rope(&w, c);
    if (latent) {
        put_latent(&w, c);
        return;
    }
    put_int(&w, "attention.head_count_kv", c->n_kv_head);
    put_int(&w, "attention.key_length", c->head_dim);
    put_int(&w, "attention.value_length", c->head_dim);
    put_int(&w, "rope.dimension_count", c->head_dim);
}
