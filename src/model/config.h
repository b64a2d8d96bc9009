/* config.h - what a model is: the numbers of a Hugging Face config.json.
 *
 * Two shapes of block serve five published families. MODEL_LLAMA is the dense decoder with
 * grouped-query attention (RMSNorm, RoPE in halves, SwiGLU): llama; with biases on queries, keys and
 * values qwen2; with norms of query and key heads qwen3. MODEL_DEEPSEEK_V3 has MLA and a mixture of
 * experts: deepseek_v3 with sigmoid scores, deepseek_v2 with softmax scores. Field names are those of
 * the published configs. The f- presets and their counted parameters: presets.h.
 */
#ifndef FATHOM_MODEL_CONFIG_H
#define FATHOM_MODEL_CONFIG_H

#include "base/json.h"

#include <stdint.h>

typedef enum model_family { MODEL_LLAMA, MODEL_DEEPSEEK_V3 } model_family;

/* How frequencies of rotary positions are stretched (rope.c). */
typedef enum rope_kind { ROPE_PLAIN, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN } rope_kind;
typedef struct rope_scaling {
    rope_kind kind;
    double factor, original; /* original_max_position_embeddings */
    double low, high;        /* llama3: low_freq_factor, high_freq_factor */
    /* yarn; 0 = absent */
    double beta_fast, beta_slow, mscale, mscale_all_dim, attention_factor, attn_factor;
} rope_scaling;

typedef struct model_config {
    model_family family;
    int64_t vocab_size, d_model, n_layer,
        d_ff;                        /* hidden_size, num_hidden_layers, intermediate_size */
    int n_head, n_kv_head, head_dim; /* head_dim: dense family */
    int64_t max_position;            /* max_position_embeddings: context length */
    double rms_norm_eps, rope_theta, init_std;
    rope_scaling rope;
    bool tied;              /* tie_word_embeddings */
    bool qkv_bias, qk_norm; /* dense family: qwen2, qwen3 */
    /* deepseek */
    int q_lora_rank, kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim;
    int n_expert, n_shared_expert, n_expert_used; /* n_routed_experts, ..., num_experts_per_tok */
    int64_t d_expert;                             /* moe_intermediate_size */
    int first_k_dense, n_group, topk_group;
    int moe_layer_freq;                          /* routed layers are multiples of it; 0 = 1 */
    bool norm_topk_prob, sigmoid;                /* scoring_func */
    double routed_scaling_factor, balance_alpha; /* aux_loss_alpha */
    int n_mtp;                                   /* num_nextn_predict_layers, 0 or 1 */
    int bos_id, eos_id;                          /* -1 = none */
} model_config;

/* Every relation between the numbers; the message names the first that does not hold. */
status model_config_check(const model_config *c, const char *where) MUST_CHECK;
/* Every key is read, required to have the one value computed here, or known to be harmless; another
 * one is refused by name (F_MODEL_UNKNOWN), as are families, activations and rotary types. */
status model_config_from_json(model_config *c, const json_t *object, const char *where) MUST_CHECK;
status model_config_to_json(const model_config *c, json_t **out) MUST_CHECK;
/* model_type as published: "llama", "qwen2", "qwen3", "deepseek_v2" or "deepseek_v3". */
const char *model_config_type(const model_config *c);
/* Has this layer (n_layer: the MTP block) experts? */
bool model_config_routed(const model_config *c, int64_t layer);
/* Parameters by formula (config.c); `active` counts n_expert_used experts. */
int64_t model_config_parameters(const model_config *c, int64_t *active);
/* Training FLOPs per token at context T: 6 N_mm + 3 L H (n+r+v) T. */
double model_config_flops_per_token(const model_config *c, int64_t context);
/* KV values per token over all layers as the architecture counts them: MLA's latent and its rotated
 * part. What pages hold today is model_kv_shape. */
int64_t model_config_kv_values(const model_config *c);

#endif
