/* test_config.c - configurations: both ways through JSON, counted, and refused by name. */
#include "model_fixture.h"

#include <math.h>

static bool same_config(const model_config *a, const model_config *b) {
    json_t *ja = NULL, *jb = NULL;
    bool same = model_config_to_json(a, &ja) == STATUS_OK &&
                model_config_to_json(b, &jb) == STATUS_OK && json_equal(ja, jb) == 1 &&
                a->family == b->family && a->balance_alpha == b->balance_alpha &&
                a->first_k_dense == b->first_k_dense && a->n_group == b->n_group;
    json_decref(ja);
    json_decref(jb);
    return same;
}

TEST(config_ladder_counts) {
    static const int64_t kv[] = {320,   480,   1280,  2304,  5760, 13824,
                                 15552, 23040, 27648, 34560, 35136};
    static const char *names[] = {"f-1m",    "f-5m",  "f-15m",  "f-50m", "f-1b", "f-8b",
                                  "V2-Lite", "f-70b", "f-175b", "V2",    "V3"};
    for (int i = 0; i < 11; i++) {
        const model_preset *p = model_preset_find(names[i]);
        REQUIRE(p != NULL, "no preset %s", names[i]);
        CHECK(model_config_kv_values(&p->config) == kv[i], "%s caches %" PRId64, names[i],
              model_config_kv_values(&p->config));
    }
    for (int i = 0; i < model_preset_count(); i++) {
        const model_preset *p = model_preset_at(i);
        int64_t active, all = model_config_parameters(&p->config, &active);
        CHECK(all == p->parameters, "%s: formula %" PRId64, p->name, all);
        CHECK(active == p->active, "%s: active by formula %" PRId64, p->name, active);
        REQUIRE_OK(model_config_check(&p->config, p->name));
    }
    CHECK(model_preset_find("f-2m") == NULL, "an unknown name found something");
    CHECK(model_preset_at(-1) == NULL && model_preset_at(model_preset_count()) == NULL,
          "a row outside the table");
}

TEST(config_flops) { /* 6 N + 3 L H (n+r+v) T, in MFLOP */
    static const struct {
        const char *name;
        int64_t context;
        double mflop, within;
    } rows[] = {{"f-1m", 256, 5.5, 0.06},
                {"f-5m", 512, 22.0, 0.06},
                {"f-15m", 512, 59.1, 0.06},
                {"f-50m", 1024, 226, 0.5}};
    for (int i = 0; i < 4; i++) {
        const model_preset *p = model_preset_find(rows[i].name);
        double got = model_config_flops_per_token(&p->config, rows[i].context) / 1e6;
        CHECK(got > rows[i].mflop - rows[i].within && got < rows[i].mflop + rows[i].within,
              "%s: %.3f MFLOP per token", rows[i].name, got);
    }
}

/* The described model of every size; the two smallest and the dense ones also with memory. */
TEST(config_built_model_has_the_counted_parameters) {
    for (int i = 0; i < model_preset_count(); i++) {
        const model_preset *p = model_preset_at(i);
        model_config c = p->config;
        for (c.n_mtp = 0; c.n_mtp <= (c.family == MODEL_DEEPSEEK_V3); c.n_mtp++) {
            model m;
            REQUIRE_OK(model_describe(&m, &c, DTYPE_F32));
            CHECK(m.params.count == model_config_parameters(&c, NULL),
                  "%s, MTP %d: described %" PRId64, p->name, c.n_mtp, m.params.count);
            CHECK(m.params.master == NULL, "%s: describing took memory", p->name);
            model_clear(&m);
        }
        if (p->parameters > 6000000) continue;
        model m;
        REQUIRE_OK(model_init(&m, &p->config, DTYPE_F32));
        CHECK(m.params.count == p->parameters, "%s built: %" PRId64, p->name, m.params.count);
        CHECK(m.params.master != NULL, "%s built without memory", p->name);
        CHECK((m.head == m.embedding) == p->config.tied, "%s: head", p->name);
        model_clear(&m);
    }
}

TEST(config_json_round_trip) {
    for (int i = 0; i < model_preset_count(); i++) {
        const model_preset *p = model_preset_at(i);
        model_config c = p->config, back;
        c.bos_id = 3;
        c.eos_id = i % 2 ? 5 : -1;
        json_t *json;
        REQUIRE_OK(model_config_to_json(&c, &json));
        status s = model_config_from_json(&back, json, p->name);
        json_decref(json);
        REQUIRE_OK(s);
        CHECK(same_config(&c, &back), "%s changed on the way", p->name);
    }
}

/* What published files look like: extra keys, lists of ids, nested rotary settings. */
TEST(config_reads_published_forms) {
    static const char llama[] =
        "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"vocab_size\": "
        "100,"
        "\"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": 2,"
        "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"rms_norm_eps\": 1e-05,"
        "\"max_position_embeddings\": 128, \"rope_scaling\": null, \"eos_token_id\": [7, 8],"
        "\"rope_parameters\": {\"rope_theta\": 500000, \"rope_type\": \"default\"},"
        "\"transformers_version\": \"5.0\", \"use_cache\": true}";
    json_t *json;
    model_config c;
    REQUIRE_OK(json_parse(llama, sizeof llama - 1, "llama", &json));
    status s = model_config_from_json(&c, json, "llama");
    json_decref(json);
    REQUIRE_OK(s);
    CHECK(c.head_dim == 16 && c.n_kv_head == 2 && c.eos_id == 7 && c.bos_id == -1, "fields");
    CHECK(c.rope_theta == 500000 && c.rms_norm_eps == 1e-5 && !c.tied, "reals");
    CHECK(model_config_parameters(&c, NULL) ==
              2 * 6400 + 64 + 2 * (12 * 16 * 64 + 3 * 64 * 96 + 128),
          "counted %" PRId64, model_config_parameters(&c, NULL));
}

typedef struct refusal {
    const char *preset, *key, *value; /* value NULL: the key is removed */
    error_id id;
    const char *says; /* in what or why */
} refusal;

static const refusal refusals[] = {
    {"f-1m", "model_type", "\"deepseek_v4\"", F_MODEL_UNKNOWN, "deepseek_v4"},
    {"f-1m", "model_type", "\"deepseek_v32\"", F_MODEL_UNKNOWN, "deepseek_v32"},
    {"f-1m", "model_type", "\"deepseek_v2\"", F_MODEL_UNKNOWN, "deepseek_v2"},
    {"f-1m", "model_type", "\"qwen2\"", F_MODEL_UNKNOWN, "q_lora_rank"},
    {"f-1m", "index_topk", "2048", F_MODEL_UNKNOWN, "index_topk"},
    {"f-1m", "rope_tetha", "10000", F_MODEL_UNKNOWN, "rope_theta"},
    {"f-1m", "num_experts", "8", F_MODEL_UNKNOWN, "num_experts"},
    {"f-1m", "q_lora_rank", NULL, F_JSON, "q_lora_rank"},
    {"f-1m", "n_routed_experts", NULL, F_JSON, "n_routed_experts"},
    {"f-1m", "first_k_dense_replace", NULL, F_JSON, "first_k_dense_replace"},
    {"f-1m", "routed_scaling_factor", NULL, F_JSON, "routed_scaling_factor"},
    {"f-1m", "layer_types", "[\"sliding_attention\"]", F_MODEL_UNKNOWN, "layer_types"},
    {"f-1m", "sliding_window", "4096", F_MODEL_UNKNOWN, "sliding_window"},
    {"f-1m", "partial_rotary_factor", "0.5", F_MODEL_UNKNOWN, "partial_rotary_factor"},
    {"f-1m", "pruned_heads", "{\"0\": [1]}", F_MODEL_UNKNOWN, "pruned_heads"},
    {"f-1m", "model_type", NULL, F_JSON, "model_type"},
    {"f-1m", "model_type", "7", F_JSON, "model_type"},
    {"f-1m", "vocab_size", NULL, F_JSON, "vocab_size"},
    {"f-1m", "vocab_size", "0", F_MODEL_CONFIG, "vocab_size"},
    {"f-1m", "vocab_size", "9000000000", F_MODEL_CONFIG, "vocab_size"},
    {"f-1m", "hidden_size", "\"wide\"", F_JSON, "hidden_size"},
    {"f-1m", "hidden_size", "1.5", F_JSON, "hidden_size"},
    {"f-1m", "num_hidden_layers", "-1", F_MODEL_CONFIG, "num_hidden_layers"},
    {"f-1m", "num_attention_heads", "99999999999", F_MODEL_CONFIG, "num_attention_heads"},
    {"f-1m", "num_key_value_heads", "2", F_MODEL_CONFIG, "num_key_value_heads"},
    {"f-1m", "max_position_embeddings", NULL, F_JSON, "max_position_embeddings"},
    {"f-1m", "rms_norm_eps", "0", F_MODEL_CONFIG, "rms_norm_eps"},
    {"f-1m", "rope_theta", "0.5", F_MODEL_CONFIG, "rope_theta"},
    {"f-1m", "initializer_range", "-0.02", F_MODEL_CONFIG, "initializer_range"},
    {"f-1m", "bos_token_id", "1024", F_MODEL_CONFIG, "bos_token_id"},
    {"f-1m", "eos_token_id", "[\"end\"]", F_MODEL_CONFIG, "eos_token_id"},
    {"f-1m", "tie_word_embeddings", "1", F_JSON, "tie_word_embeddings"},
    {"f-1m", "qk_rope_head_dim", "15", F_MODEL_CONFIG, "qk_rope_head_dim"},
    {"f-1m", "kv_lora_rank", "0", F_MODEL_CONFIG, "kv_lora_rank"},
    {"f-1m", "num_experts_per_tok", "9", F_MODEL_CONFIG, "num_experts_per_tok"},
    {"f-1m", "n_group", "3", F_MODEL_CONFIG, "n_group"},
    {"f-1m", "n_group", "8", F_MODEL_CONFIG, "n_group"},
    {"f-1m", "topk_group", "2", F_MODEL_CONFIG, "topk_group"},
    {"f-1m", "first_k_dense_replace", "5", F_MODEL_CONFIG, "first_k_dense_replace"},
    {"f-1m", "moe_intermediate_size", "0", F_MODEL_CONFIG, "moe_intermediate_size"},
    {"f-1m", "moe_layer_freq", "2000", F_MODEL_CONFIG, "moe_layer_freq"},
    {"f-1m", "num_nextn_predict_layers", "2", F_MODEL_CONFIG, "num_nextn_predict_layers"},
    {"f-1m", "routed_scaling_factor", "0", F_MODEL_CONFIG, "routed_scaling_factor"},
    {"f-1m", "aux_loss_alpha", "-1", F_MODEL_CONFIG, "aux_loss_alpha"},
    {"f-1m", "scoring_func", "\"sqrtsoftplus\"", F_MODEL_UNKNOWN, "sqrtsoftplus"},
    {"f-1m", "topk_method", "\"greedy\"", F_MODEL_UNKNOWN, "greedy"},
    {"V2", "topk_method", "\"noaux_tc\"", F_MODEL_UNKNOWN, "noaux_tc"},
    {"V2", "scoring_func", "\"sigmoid\"", F_MODEL_UNKNOWN, "sigmoid"},
    {"V2", "norm_topk_prob", "true", F_MODEL_UNKNOWN, "norm_topk_prob"},
    {"V2", "n_group", "160", F_MODEL_CONFIG, "n_group"},
    {"f-1m", "rope_interleave", "false", F_MODEL_UNKNOWN, "rope_interleave"},
    {"f-1m", "rope_scaling", "{\"type\": \"yarn\", \"factor\": 40}", F_JSON,
     "original_max_position_embeddings"},
    {"f-1m", "rope_scaling", "{\"type\": \"dynamic\", \"factor\": 2}", F_MODEL_UNKNOWN, "dynamic"},
    {"f-1m", "rope_scaling", "{\"type\": \"longrope\"}", F_MODEL_UNKNOWN, "longrope"},
    {"f-1m", "rope_scaling", "{\"factor\": 2}", F_MODEL_UNKNOWN, "rope_type"},
    {"f-1m", "rope_scaling", "{\"type\": \"linear\"}", F_JSON, "factor"},
    {"f-1m", "rope_scaling", "{\"type\": \"linear\", \"factor\": 0.5}", F_MODEL_CONFIG, "factor"},
    {"f-1m", "rope_scaling", "{\"type\": \"linear\", \"factor\": 2, \"mrope_section\": [1]}",
     F_MODEL_UNKNOWN, "mrope_section"},
    {"f-1m", "rope_scaling",
     "{\"type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 64, \"mscale\": 1}",
     F_MODEL_CONFIG, "mscale_all_dim"},
    {"f-1m", "rope_scaling",
     "{\"type\": \"llama3\", \"factor\": 4, \"original_max_position_embeddings\": 64,"
     "\"low_freq_factor\": 4, \"high_freq_factor\": 1}",
     F_MODEL_CONFIG, "high_freq_factor"},
    {"f-1m", "rope_parameters", "{\"rope_type\": \"llama3\"}", F_JSON, "factor"},
    {"f-1m", "rope_parameters", "[]", F_JSON, "rope_parameters"},
    {"f-1m", "hidden_act", "\"gelu\"", F_MODEL_UNKNOWN, "gelu"},
    {"f-1m", "attention_bias", "true", F_MODEL_UNKNOWN, "attention_bias"},
    {"f-1m", "quantization_config", "{\"quant_method\": \"fp8\"}", F_MODEL_UNKNOWN, "128"},
    {"f-1m", "quantization_config", "{\"quant_method\": \"gptq\"}", F_MODEL_UNKNOWN, "gptq"},
    {"shakespeare-char", "model_type", "\"qwen3_moe\"", F_MODEL_UNKNOWN, "qwen3_moe"},
    {"shakespeare-char", "use_sliding_window", "true", F_MODEL_UNKNOWN, "use_sliding_window"},
    {"shakespeare-char", "num_key_value_heads", "3", F_MODEL_CONFIG, "num_key_value_heads"},
    {"shakespeare-char", "head_dim", "31", F_MODEL_CONFIG, "head_dim"},
    {"shakespeare-char", "mlp_bias", "true", F_MODEL_UNKNOWN, "mlp_bias"},
    {"shakespeare-char", "num_attention_heads", "0", F_MODEL_CONFIG, "num_attention_heads"},
};

static status refused(const refusal *r, model_config *c) {
    json_t *json;
    TRY(model_config_to_json(&model_preset_find(r->preset)->config, &json));
    if (r->value == NULL)
        json_object_del(json, r->key);
    else
        json_object_set_new(json, r->key, json_loads(r->value, JSON_DECODE_ANY, NULL));
    status s = model_config_from_json(c, json, "test/config.json");
    json_decref(json);
    return s;
}

TEST(config_refusals_name_the_key) {
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const refusal *r = &refusals[i];
        const char *change = text("%s = %s", r->key, r->value != NULL ? r->value : "(removed)");
        model_config c;
        error_clear();
        status s = refused(r, &c);
        const error_report *e = error_last();
        REQUIRE(s != STATUS_OK, "%s was accepted", change);
        CHECK(e->id == r->id, "%s: error %d: %s", change, (int)e->id, e->what);
        CHECK(strstr(e->what, r->says) != NULL || strstr(e->why, r->says) != NULL, "%s: %s / %s",
              change, e->what, e->why);
        CHECK(strstr(e->where, "test/config.json") != NULL, "%s: where is \"%s\"", change,
              e->where);
        CHECK(e->why[0] != '\0' && e->fix[0] != '\0', "%s: a part is empty", change);
    }
}

/* The published file of each family, as far as its numbers matter. */
TEST(config_names_its_family) {
    static const struct {
        const char *preset, *type;
        bool bias, norm;
    } rows[] = {{"f-1m", "deepseek_v3", false, false}, {"V2-Lite", "deepseek_v2", false, false},
                {"V2", "deepseek_v2", false, false},   {"dense-8x192", "llama", false, false},
                {"dense-8x192", "qwen2", true, false}, {"dense-8x192", "qwen3", false, true}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        model_config c = model_preset_find(rows[i].preset)->config, back;
        c.qkv_bias = rows[i].bias;
        c.qk_norm = rows[i].norm;
        CHECK(strcmp(model_config_type(&c), rows[i].type) == 0, "%s: %s", rows[i].type,
              model_config_type(&c));
        json_t *json;
        REQUIRE_OK(model_config_to_json(&c, &json));
        status s = model_config_from_json(&back, json, rows[i].type);
        json_decref(json);
        REQUIRE_OK(s);
        CHECK(back.qkv_bias == c.qkv_bias && back.qk_norm == c.qk_norm && same_config(&c, &back),
              "%s changed on the way", rows[i].type);
    }
}

/* Numbers of the reports: V3 with m(1)^2, V2 with m(0.707)^2 at a factor of 40. */
TEST(config_yarn_factors) {
    double frequency[32];
    model_rope rope = {.dim = 64, .frequency = frequency};
    model_config c = model_preset_find("V3")->config;
    c.rope = (rope_scaling){.kind = ROPE_YARN,
                            .factor = 40,
                            .original = 4096,
                            .beta_fast = 32,
                            .beta_slow = 1,
                            .mscale = 1,
                            .mscale_all_dim = 1};
    model_rope_fill(&c, &rope);
    CHECK(fabs(rope.score_scale - 1.873854) < 1e-6 && rope.amplitude == 1, "%.7f, %g",
          rope.score_scale, rope.amplitude);
    double plain = pow(10000, -2.0 * 10 / 64), slow = pow(10000, -2.0 * 23 / 64);
    CHECK(frequency[10] == plain && frequency[11] < pow(10000, -2.0 * 11 / 64), "ramp from 10");
    CHECK(fabs(frequency[23] - slow / 40) < 1e-18 &&
              frequency[22] > pow(10000, -2.0 * 22 / 64) / 40,
          "ramp to 23");
    c.rope.mscale = c.rope.mscale_all_dim = 0.707;
    model_rope_fill(&c, &rope);
    CHECK(fabs(rope.score_scale - 1.589626) < 1e-6 && rope.amplitude == 1, "%.7f",
          rope.score_scale);
    /* attn_factor of R1-0528-Qwen3-8B undoes the amplitude, attention_factor replaces it */
    c = model_preset_find("dense-8x192")->config;
    rope.dim = c.head_dim;
    c.rope = (rope_scaling){.kind = ROPE_YARN,
                            .factor = 4,
                            .original = 32768,
                            .beta_fast = 32,
                            .beta_slow = 1,
                            .attn_factor = 0.8782488562869419};
    model_rope_fill(&c, &rope);
    CHECK(fabs(rope.amplitude - 1) < 1e-12, "%.15f", rope.amplitude);
    c.rope.attention_factor = 1.25;
    model_rope_fill(&c, &rope);
    CHECK(rope.amplitude == 1.25 && rope.score_scale == 1, "%g", rope.amplitude);
}

TEST(config_failed_allocations) {
    int64_t live = mem_live_blocks();
    bool passed = false;
    for (int64_t n = 1; !passed && n < 1000; n++) {
        json_t *json = NULL;
        model_config c;
        mem_fail_at(n);
        status s = model_config_to_json(&model_preset_find("f-1m")->config, &json);
        if (s == STATUS_OK) s = model_config_from_json(&c, json, "test");
        passed = !mem_failed();
        mem_fail_at(0);
        CHECK(passed == (s == STATUS_OK), "allocation %" PRId64 ": status %d", n, (int)s);
        json_decref(json);
        CHECK(mem_live_blocks() == live, "allocation %" PRId64 " leaked", n);
    }
    CHECK(passed, "never passed");
}
