/* test_bundle_gguf.c - a GGUF file as a bundle: tokenizer, template, ends of answers; what is refused. */
#include "infer/infer.h"

#include "base/file.h"
#include "byte_model.h"
#include "model/model_gguf.h"
#include "test.h"

static char spelled[BYTE_TOKENS][8];
static gguf_text tokens[BYTE_TOKENS];
static int64_t types[BYTE_TOKENS];

static void make_tokens(void) {
    byte_spellings(spelled);
    for (int i = 0; i < BYTE_TOKENS; i++) {
        tokens[i] = (gguf_text){spelled[i], strlen(spelled[i])};
        types[i] = i < BYTE_BOS ? 1 : 3;
    }
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
    if (HAS("tokenizer.ggml.tokens"))
        gguf_put_texts(w, "tokenizer.ggml.tokens", tokens, BYTE_TOKENS);
    if (HAS("tokenizer.ggml.token_type"))
        gguf_put_ints(w, "tokenizer.ggml.token_type", GGUF_I32, types,
                      c->n_types > 0 ? c->n_types : BYTE_TOKENS);
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
    model_config config = byte_llama();
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
    CHECK(b.model.config.n_layer == 2 && tokenizer_vocab_size(b.tokenizer) == BYTE_TOKENS, "sizes");
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
    refused(&(change){.n_types = BYTE_TOKENS - 1}, "token_type");
}
