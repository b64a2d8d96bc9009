/* byte_model.h - a vocabulary of all bytes as GPT-2 spells them and two control tokens, and the
 * configuration of a small llama for it. Independent of src/tokens, which is under test. */
#ifndef FATHOM_TESTS_BYTE_MODEL_H
#define FATHOM_TESTS_BYTE_MODEL_H

#include "model/config.h"

#include <stdio.h>
#include <string.h>

#define BYTE_TOKENS 258 /* the last two: <s>, </s> */
#define BYTE_BOS    256
#define BYTE_EOS    257

static inline void byte_put_utf8(char *out, int code) {
    if (code < 0x80) {
        out[0] = (char)code;
        return;
    }
    out[0] = (char)(0xC0 | code >> 6);
    out[1] = (char)(0x80 | (code & 63));
}

static inline void byte_spellings(char spelled[BYTE_TOKENS][8]) {
    int next = 256;
    memset(spelled, 0, BYTE_TOKENS * sizeof spelled[0]);
    for (int b = 0; b < 256; b++) {
        bool shown = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        byte_put_utf8(spelled[b], shown ? b : next++);
    }
    snprintf(spelled[BYTE_BOS], sizeof spelled[0], "<s>");
    snprintf(spelled[BYTE_EOS], sizeof spelled[0], "</s>");
}

static inline model_config byte_llama(void) {
    return (model_config){.family = MODEL_LLAMA,
                          .vocab_size = BYTE_TOKENS,
                          .d_model = 32,
                          .n_layer = 2,
                          .d_ff = 64,
                          .n_head = 4,
                          .n_kv_head = 2,
                          .head_dim = 8,
                          .max_position = 128,
                          .rms_norm_eps = 1e-5,
                          .rope_theta = 10000,
                          .init_std = 0.02,
                          .tied = true,
                          .bos_id = BYTE_BOS,
                          .eos_id = BYTE_EOS};
}

#endif
