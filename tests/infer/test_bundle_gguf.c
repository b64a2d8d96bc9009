/* test_bundle_gguf.c - a GGUF file as a bundle: tokenizer, template, ends of answers; what is refused. */
#include "infer/infer.h"

#include "base/file.h"
#include "model/model_gguf.h"
#include "test.h"

/* All bytes as GPT-2 spells them, then two control tokens. */
#define N_TOKENS 258
static char spelled[N_TOKENS][8];
static gguf_text tokens[N_TOKENS];
static int64_t types[N_TOKENS];

static void put_utf8(char *to, int code) {
    if (code < 0x80) {
        to[0] = (char)code;
        return;
    }
    to[0] = (char)(0xC0 | code >> 6);
    to[1] = (char)(0x80 | (code & 63));
}

static void make_tokens(void) {
    int next = 256;
    memset(spelled, 0, sizeof spelled);
    for (int b = 0; b < 256; b++) {
        bool shown = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        put_utf8(spelled[b], shown ? b : next++);
        types[b] = 1;
    }
    snprintf(spelled[256], sizeof spelled[256], "<s>");
    snprintf(spelled[257], sizeof spelled[257], "</s>");
    types[256] = types[257] = 3;
    for (int i = 0; i < N_TOKENS; i++)
        tokens[i] = (gguf_text){spelled[i], strlen(spelled[i])};
}

static model_config small(void) {
    return (model_config){.family = MODEL_LLAMA,
                          .vocab_size = N_TOKENS,
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
                          .bos_id = 256,
                          .eos_id = 257};
}

/* What differs from a sound file. */
typedef struct change {
    const char *without; /* a key left out */
    const char *kind, *pre, *architecture;
    int64_t n_types;
} change;

static void put_words(gguf_writer *w, const change *c) {
#define HAS(key) (c->without == NULL || strcmp(c->without, key) != 0)
    if (HAS("tokenizer.ggml.model"))
        gguf_put_string(w, "tokenizer.ggml.model", c->kind != NULL ? c->kind : "gpt2");
    if (HAS("tokenizer.ggml.pre"))
        gguf_put_string(w, "tokenizer.ggml.pre", c->pre != NULL ? c->pre : "gpt-2");
    if (HAS("tokenizer.ggml.tokens")) gguf_put_texts(w, "tokenizer.ggml.tokens", tokens, N_TOKENS);
    if (HAS("tokenizer.ggml.token_type"))
        gguf_put_ints(w, "tokenizer.ggml.token_type", GGUF_I32, types,
                      c->n_types > 0 ? c->n_types : N_TOKENS);
    if (HAS("tokenizer.ggml.merges"))
        gguf_put_texts(w, "tokenizer.ggml.merges", (gguf_text[]){{NULL, 0}}, 0);
    gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 256);
    gguf_put_u32(w, "tokenizer.ggml.eos_token_id", 257);
    gguf_put_string(w, "tokenizer.chat_template",
                    "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}");
}

static const char *write_file(const change *c) {
    static char path[PATH_SIZE];
    model m;
    gguf_writer *w;
    model_config config = small();
    snprintf(path, sizeof path, "%s/model.gguf", test_folder());
    make_tokens();
    if (model_init(&m, &config, DTYPE_F32) != STATUS_OK) return NULL;
    param_set_initialise(&m.params, 1);
    status s = gguf_writer_new(&w, path);
    if (s == STATUS_OK) {
        model_put_gguf_keys(w, &config, QUANT_F16);
        put_words(w, c);
        status put = model_put_gguf_tensors(w, &m, QUANT_F16);
        s = gguf_writer_commit(w);
        if (s == STATUS_OK) s = put;
    }
    model_clear(&m);
    return s == STATUS_OK ? path : NULL;
}

TEST(bundle_opens_a_gguf_file) {
    bundle b;
    const char *path = write_file(&(change){0});
    REQUIRE(path != NULL, "file");
    REQUIRE_OK(bundle_open(&b, path));
    CHECK(b.model.config.n_layer == 2 && tokenizer_vocab_size(b.tokenizer) == N_TOKENS, "sizes");
    CHECK(tokenizer_eos(b.tokenizer) == 257 && tokenizer_is_special(b.tokenizer, 256), "specials");
    CHECK(b.n_stop_ids == 1 && b.stop_ids[0] == 257, "what ends an answer");
    CHECK(b.chat != NULL, "the chat template");
    token_list ids = {0};
    REQUIRE_OK(tokenizer_encode(b.tokenizer, "a b\n", 4, SPECIAL_AS_TEXT, &ids));
    CHECK(ids.n == 4 && ids.ids[0] == 'a' && ids.ids[1] == ' ' && ids.ids[3] == '\n', "bytes");
    token_list_clear(&ids);
    char *answer;
    REQUIRE_OK(complete_text(&b.model, b.tokenizer, "ab", 4, &answer));
    mem_free(answer);
    bundle_close(&b);
}

static void refused(const change *c, const char *named) {
    bundle b;
    int64_t before = mem_live_blocks();
    const char *path = write_file(c);
    REQUIRE(path != NULL, "file");
    CHECK(bundle_open(&b, path) != STATUS_OK, "%s is accepted", named);
    CHECK(strstr(error_last()->what, named) != NULL, "%s: %s", named, error_last()->what);
    CHECK(mem_live_blocks() == before, "%s: something stays behind", named);
}

TEST(bundle_names_what_a_gguf_file_lacks) {
    static const char *const keys[] = {"tokenizer.ggml.model", "tokenizer.ggml.pre",
                                       "tokenizer.ggml.token_type", "tokenizer.ggml.merges"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        refused(&(change){.without = keys[i]}, keys[i]);
    refused(&(change){.kind = "rwkv"}, "rwkv");
    refused(&(change){.pre = "no-such-cutting"}, "no-such-cutting");
    refused(&(change){.n_types = N_TOKENS - 1}, "token_type");
}
