/* config_keys.c - every key that may stand in a config.json, and what becomes of it.
 *
 * A key that nobody reads could change the arithmetic without a word, and a key with a typing error
 * would silently become its default. So each key of each published family is one row here: read
 * (config_json.c), required to have the one value that is computed, or harmless. A key that is in no
 * row, or in a row of other families, is refused by its name, unless its value is null, which
 * publishers write for "not used". Keys that begin with "_" are notes of the program that wrote the
 * file.
 *
 * The harmless ones are of four kinds: notes on the file, training settings, numbers that follow from
 * others, and settings of text generation that old files keep here.
 */
#include "model/config_internal.h"

#include "base/options.h"

#include <string.h>

#define LLAMA    FAMILY_LLAMA
#define QWEN     (FAMILY_QWEN2 | FAMILY_QWEN3)
#define DENSE    (LLAMA | QWEN)
#define DEEPSEEK (FAMILY_DEEPSEEK_V2 | FAMILY_DEEPSEEK_V3)
#define ALL      (DENSE | DEEPSEEK)

typedef enum key_rule {
    KEY_READ,
    KEY_HARMLESS,
    KEY_FALSE, /* or absent */
    KEY_ONE,   /* the number 1 */
    KEY_SILU,
    KEY_FULL,  /* a list of "full_attention" */
    KEY_EMPTY, /* a list or object without members */
} key_rule;

typedef struct config_key {
    const char *name;
    unsigned families;
    key_rule rule;
    const char *why; /* of a required value */
} config_key;

static const config_key keys[] = {
    {"model_type", ALL, KEY_READ, NULL},
    {"vocab_size", ALL, KEY_READ, NULL},
    {"hidden_size", ALL, KEY_READ, NULL},
    {"intermediate_size", ALL, KEY_READ, NULL},
    {"num_hidden_layers", ALL, KEY_READ, NULL},
    {"num_attention_heads", ALL, KEY_READ, NULL},
    {"num_key_value_heads", ALL, KEY_READ, NULL},
    {"max_position_embeddings", ALL, KEY_READ, NULL},
    {"rms_norm_eps", ALL, KEY_READ, NULL},
    {"initializer_range", ALL, KEY_READ, NULL},
    {"tie_word_embeddings", ALL, KEY_READ, NULL},
    {"bos_token_id", ALL, KEY_READ, NULL},
    {"eos_token_id", ALL, KEY_READ, NULL},
    {"rope_theta", ALL, KEY_READ, NULL},
    {"rope_scaling", ALL, KEY_READ, NULL},
    {"rope_parameters", ALL, KEY_READ, NULL},
    {"quantization_config", ALL, KEY_READ, NULL},
    {"head_dim", DENSE, KEY_READ, NULL},
    {"q_lora_rank", DEEPSEEK, KEY_READ, NULL},
    {"kv_lora_rank", DEEPSEEK, KEY_READ, NULL},
    {"qk_nope_head_dim", DEEPSEEK, KEY_READ, NULL},
    {"qk_rope_head_dim", DEEPSEEK, KEY_READ, NULL},
    {"v_head_dim", DEEPSEEK, KEY_READ, NULL},
    {"n_routed_experts", DEEPSEEK, KEY_READ, NULL},
    {"n_shared_experts", DEEPSEEK, KEY_READ, NULL},
    {"num_experts_per_tok", DEEPSEEK, KEY_READ, NULL},
    {"moe_intermediate_size", DEEPSEEK, KEY_READ, NULL},
    {"moe_layer_freq", DEEPSEEK, KEY_READ, NULL},
    {"first_k_dense_replace", DEEPSEEK, KEY_READ, NULL},
    {"n_group", DEEPSEEK, KEY_READ, NULL},
    {"topk_group", DEEPSEEK, KEY_READ, NULL},
    {"topk_method", DEEPSEEK, KEY_READ, NULL},
    {"scoring_func", DEEPSEEK, KEY_READ, NULL},
    {"norm_topk_prob", DEEPSEEK, KEY_READ, NULL},
    {"routed_scaling_factor", DEEPSEEK, KEY_READ, NULL},
    {"aux_loss_alpha", DEEPSEEK, KEY_READ, NULL},
    {"num_nextn_predict_layers", DEEPSEEK, KEY_READ, NULL},
    {"rope_interleave", DEEPSEEK, KEY_READ, NULL},

    {"hidden_act", ALL, KEY_SILU, "the gate of the feed-forward part is SiLU here"},
    {"attention_bias", ALL, KEY_FALSE,
     "attention projections have no biases here beyond those that qwen2 always has"},
    {"mlp_bias", ALL, KEY_FALSE, "feed-forward projections have no biases here"},
    {"use_sliding_window", ALL, KEY_FALSE, "attention sees all earlier tokens here"},
    {"layer_types", ALL, KEY_FULL, "attention sees all earlier tokens here, in every layer"},
    {"partial_rotary_factor", ALL, KEY_ONE, "the whole width of a head rotates here"},
    {"rope_interleaved", DENSE, KEY_FALSE, "these families rotate halves of a head"},
    {"use_mrope", QWEN, KEY_FALSE, "positions are one number per token here"},
    {"is_encoder_decoder", ALL, KEY_FALSE, "models here are decoders"},
    {"add_cross_attention", ALL, KEY_FALSE, "models here are decoders"},
    {"tie_encoder_decoder", ALL, KEY_FALSE, "models here are decoders"},
    {"pruned_heads", ALL, KEY_EMPTY, "all heads take part here"},

    /* notes on the file */
    {"architectures", ALL, KEY_HARMLESS, NULL},
    {"auto_map", ALL, KEY_HARMLESS, NULL},
    {"torch_dtype", ALL, KEY_HARMLESS, NULL},
    {"dtype", ALL, KEY_HARMLESS, NULL},
    {"transformers_version", ALL, KEY_HARMLESS, NULL},
    {"transformers.js_config", ALL, KEY_HARMLESS, NULL},
    {"tokenizer_class", ALL, KEY_HARMLESS, NULL},
    {"is_llama_config", LLAMA, KEY_HARMLESS, NULL},
    {"unsloth_fixed", ALL, KEY_HARMLESS, NULL},
    {"unsloth_version", ALL, KEY_HARMLESS, NULL},
    {"finetuning_task", ALL, KEY_HARMLESS, NULL},
    {"task_specific_params", ALL, KEY_HARMLESS, NULL},
    {"problem_type", ALL, KEY_HARMLESS, NULL},
    {"id2label", ALL, KEY_HARMLESS, NULL},
    {"label2id", ALL, KEY_HARMLESS, NULL},
    {"prefix", ALL, KEY_HARMLESS, NULL},
    {"use_cache", ALL, KEY_HARMLESS, NULL},
    {"torchscript", ALL, KEY_HARMLESS, NULL},
    {"use_bfloat16", ALL, KEY_HARMLESS, NULL},
    {"tf_legacy_loss", ALL, KEY_HARMLESS, NULL},
    {"return_dict", ALL, KEY_HARMLESS, NULL},
    {"output_attentions", ALL, KEY_HARMLESS, NULL},
    {"output_hidden_states", ALL, KEY_HARMLESS, NULL},
    {"output_router_logits", ALL, KEY_HARMLESS, NULL},
    {"chunk_size_feed_forward", ALL, KEY_HARMLESS, NULL}, /* memory, not numbers */
    {"pad_token_id", ALL, KEY_HARMLESS, NULL},
    {"sep_token_id", ALL, KEY_HARMLESS, NULL},
    {"cls_token_id", ALL, KEY_HARMLESS, NULL},
    {"decoder_start_token_id", ALL, KEY_HARMLESS, NULL},
    {"is_decoder", ALL, KEY_HARMLESS, NULL},
    /* training */
    {"attention_dropout", ALL, KEY_HARMLESS, NULL},
    {"pretraining_tp", ALL, KEY_HARMLESS, NULL},
    {"ep_size", DEEPSEEK, KEY_HARMLESS, NULL},
    {"seq_aux", DEEPSEEK, KEY_HARMLESS, NULL},
    {"router_aux_loss_coef", DEEPSEEK, KEY_HARMLESS, NULL},
    /* what follows from other keys, or is off without use_sliding_window */
    {"head_dim", DEEPSEEK, KEY_HARMLESS, NULL},
    {"qk_head_dim", DEEPSEEK, KEY_HARMLESS, NULL},
    {"sliding_window", QWEN, KEY_HARMLESS, NULL},
    {"max_window_layers", QWEN, KEY_HARMLESS, NULL},
    /* generation */
    {"max_length", ALL, KEY_HARMLESS, NULL},
    {"min_length", ALL, KEY_HARMLESS, NULL},
    {"do_sample", ALL, KEY_HARMLESS, NULL},
    {"early_stopping", ALL, KEY_HARMLESS, NULL},
    {"num_beams", ALL, KEY_HARMLESS, NULL},
    {"num_beam_groups", ALL, KEY_HARMLESS, NULL},
    {"diversity_penalty", ALL, KEY_HARMLESS, NULL},
    {"temperature", ALL, KEY_HARMLESS, NULL},
    {"top_k", ALL, KEY_HARMLESS, NULL},
    {"top_p", ALL, KEY_HARMLESS, NULL},
    {"typical_p", ALL, KEY_HARMLESS, NULL},
    {"repetition_penalty", ALL, KEY_HARMLESS, NULL},
    {"length_penalty", ALL, KEY_HARMLESS, NULL},
    {"no_repeat_ngram_size", ALL, KEY_HARMLESS, NULL},
    {"encoder_no_repeat_ngram_size", ALL, KEY_HARMLESS, NULL},
    {"bad_words_ids", ALL, KEY_HARMLESS, NULL},
    {"num_return_sequences", ALL, KEY_HARMLESS, NULL},
    {"return_dict_in_generate", ALL, KEY_HARMLESS, NULL},
    {"output_scores", ALL, KEY_HARMLESS, NULL},
    {"forced_bos_token_id", ALL, KEY_HARMLESS, NULL},
    {"forced_eos_token_id", ALL, KEY_HARMLESS, NULL},
    {"remove_invalid_values", ALL, KEY_HARMLESS, NULL},
    {"exponential_decay_length_penalty", ALL, KEY_HARMLESS, NULL},
    {"suppress_tokens", ALL, KEY_HARMLESS, NULL},
    {"begin_suppress_tokens", ALL, KEY_HARMLESS, NULL},
};
#define N_KEYS (sizeof keys / sizeof keys[0])

static const config_key *find_key(const char *name, unsigned family) {
    for (size_t i = 0; i < N_KEYS; i++)
        if ((keys[i].families & family) != 0 && strcmp(keys[i].name, name) == 0) return &keys[i];
    return NULL;
}

static status unknown_key(const char *name, const char *type, const char *where) {
    const char *names[N_KEYS];
    for (size_t i = 0; i < N_KEYS; i++)
        names[i] = keys[i].name;
    int nearest = word_nearest(name, names, (int)N_KEYS);
    bool other = nearest >= 0 && strcmp(names[nearest], name) == 0;
    const char *hint = other          ? " (other families have it)"
                       : nearest >= 0 ? text(" (nearest: %s)", names[nearest])
                                      : "";
    return FAIL(F_MODEL_UNKNOWN, text("\"%.200s\" is no known key of a %s model", name, type),
                where, text("what it does to the arithmetic is not known here%s", hint),
                "correct the key, or delete it if it only informs");
}

static bool is_full_attention(const json_t *list) {
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++) {
        const char *kind = json_string_value(json_array_get(list, i));
        if (kind == NULL || strcmp(kind, "full_attention") != 0) return false;
    }
    return json_is_array(list);
}

static bool holds(key_rule rule, const json_t *value) {
    const char *word = json_string_value(value);
    switch (rule) {
    case KEY_READ:
    case KEY_HARMLESS: return true;
    case KEY_FALSE: return json_is_false(value);
    case KEY_ONE: return json_is_number(value) && json_number_value(value) == 1;
    case KEY_SILU: return word != NULL && strcmp(word, "silu") == 0;
    case KEY_FULL: return is_full_attention(value);
    case KEY_EMPTY: return json_array_size(value) + json_object_size(value) == 0;
    }
    return false;
}

static const char *shown(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_STRING: return text("\"%.100s\"", json_string_value(value));
    case JSON_INTEGER: return text("%" JSON_INTEGER_FORMAT, json_integer_value(value));
    case JSON_REAL: return text("%g", json_real_value(value));
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_ARRAY: return text("a list of %zu", json_array_size(value));
    default: return "an object";
    }
}

status config_keys_check(const json_t *object, unsigned family, const char *type,
                         const char *where) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value) {
        if (json_is_null(value) || name[0] == '_') continue;
        const config_key *key = find_key(name, family);
        if (key == NULL) return unknown_key(name, type, where);
        if (holds(key->rule, value)) continue;
        return FAIL(F_MODEL_UNKNOWN, text("%s is %s", name, shown(value)), where, key->why,
                    "choose a model without this feature");
    }
    return STATUS_OK;
}
