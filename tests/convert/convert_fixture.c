/* convert_fixture.c - small models on disk in every form that is converted. */
#include "convert_fixture.h"
#include "byte_model.h"
#include "golden_weights.h"
#include "test.h"

#include "base/json.h"
#include "base/progress.h"
#include "base/rng.h"
#include "kernels/kernels.h"
#include "tokens/vocabulary.h"

static const char chatml[] =
    "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}"
    "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}>{% endif %}";

static const char *base = "";

status fixture_begin(void) {
    base = test_folder();
    progress_set_mode(PROGRESS_NONE);
    return kernels_init(NULL);
}

const char *in_folder(const char *name) {
    static char rooms[8][PATH_SIZE];
    static int next;
    char *room = rooms[next++ % 8];
    snprintf(room, PATH_SIZE, "%.1000s/%.100s", base, name);
    return room;
}

convert_options to(convert_form form, int type) {
    return (convert_options){.form = form, .type = type};
}

/* -- words -- */

static char spelled[BYTE_TOKENS][8];

static status write_tokenizer(const char *folder) {
    static vocabulary_piece pieces[BYTE_TOKENS];
    char path[PATH_SIZE];
    tokenizer *t;
    byte_spellings(spelled);
    for (int i = 0; i < BYTE_TOKENS; i++)
        pieces[i] = (vocabulary_piece){spelled[i], strlen(spelled[i]), 0,
                                       i < 256 ? PIECE_NORMAL : PIECE_CONTROL};
    const vocabulary v = {
        .pre = "gpt-2", .n = BYTE_TOKENS, .pieces = pieces, .bos = 256, .eos = 257};
    TRY(path_join(path, folder, "tokenizer.json"));
    TRY(tokenizer_from_vocabulary(&t, &v, "fixture"));
    status s = tokenizer_save(t, path);
    tokenizer_free(t);
    return s;
}

static status write_words(const char *folder) {
    char path[PATH_SIZE];
    TRY(write_tokenizer(folder));
    TRY(path_join(path, folder, "tokenizer_config.json"));
    json_t *o = json_pack("{s:s, s:s, s:s}", "bos_token", "<s>", "eos_token", "</s>",
                          "chat_template", chatml);
    status s = json_write(path, o);
    json_decref(o);
    return s;
}

/* -- published folders -- */

/* Embedding and head get a row for each token. */
static void widen(json_t *tensors) {
    static const char *const names[] = {"model.embed_tokens.weight", "lm_head.weight"};
    for (int i = 0; i < 2; i++) {
        json_t *shape = json_object_get(tensors, names[i]);
        if (shape != NULL) json_array_set_new(shape, 0, json_integer(FIXTURE_VOCAB));
    }
}

status make_folder(const char *path, const char *golden_case, dtype type, int shards) {
    arena memory = {0};
    json_t *golden = NULL;
    char file[PATH_SIZE];
    int n;
    status s;
    safetensors_item *items = mem_zalloc(MOST_GOLDEN_ITEMS, sizeof *items);
    if (items == NULL) return STATUS_MEMORY;
    TRY_GOTO(s, arena_init(&memory, "fixture", (size_t)1 << 26));
    TRY_GOTO(s, json_read(text("%s/%s.json", GOLDEN, golden_case), &golden));
    json_t *config = json_object_get(golden, "config"),
           *tensors = json_object_get(golden, "tensors");
    json_object_set_new(config, "vocab_size", json_integer(FIXTURE_VOCAB));
    json_object_set_new(config, "max_position_embeddings", json_integer(128));
    json_object_set_new(config, "bos_token_id", json_integer(256));
    json_object_set_new(config, "eos_token_id", json_integer(257));
    widen(tensors);
    TRY_GOTO(s, golden_items(&memory, tensors, type, items, &n));
    TRY_GOTO(s, golden_folder(path, items, n, shards));
    TRY_GOTO(s, path_join(file, path, "config.json"));
    TRY_GOTO(s, json_write(file, config));
    s = write_words(path);
done:
    json_decref(golden);
    arena_clear(&memory);
    mem_free(items);
    return s;
}

/* -- GGUF files of blocks -- */

model_config latent_config(void) {
    return (model_config){.family = MODEL_DEEPSEEK_V3,
                          .vocab_size = BYTE_TOKENS,
                          .d_model = 64,
                          .n_layer = 2,
                          .d_ff = 96,
                          .n_head = 2,
                          .n_kv_head = 2,
                          .max_position = 128,
                          .rms_norm_eps = 1e-6,
                          .rope_theta = 10000,
                          .init_std = 0.02,
                          .q_lora_rank = 32,
                          .kv_lora_rank = 32,
                          .qk_nope_head_dim = 32,
                          .qk_rope_head_dim = 8,
                          .v_head_dim = 16,
                          .n_expert = 4,
                          .n_shared_expert = 1,
                          .n_expert_used = 2,
                          .d_expert = 32,
                          .first_k_dense = 1,
                          .n_group = 1,
                          .topk_group = 1,
                          .moe_layer_freq = 1,
                          .norm_topk_prob = true,
                          .sigmoid = true,
                          .routed_scaling_factor = 2.5,
                          .n_mtp = 1,
                          .balance_alpha = 1e-4,
                          .bos_id = 256,
                          .eos_id = 257};
}

static void put_keys(gguf_writer *w, const model_config *c, uint32_t type) {
    static gguf_text tokens[BYTE_TOKENS];
    static int64_t types[BYTE_TOKENS];
    byte_spellings(spelled);
    for (int i = 0; i < BYTE_TOKENS; i++) {
        tokens[i] = (gguf_text){spelled[i], strlen(spelled[i])};
        types[i] = i < 256 ? PIECE_NORMAL : PIECE_CONTROL;
    }
    model_put_gguf_keys(w, c, type);
    gguf_put_string(w, "general.name", "a fixture");
    gguf_put_string(w, "tokenizer.ggml.model", "gpt2");
    gguf_put_string(w, "tokenizer.ggml.pre", "gpt-2");
    gguf_put_texts(w, "tokenizer.ggml.tokens", tokens, BYTE_TOKENS);
    gguf_put_ints(w, "tokenizer.ggml.token_type", GGUF_I32, types, BYTE_TOKENS);
    gguf_put_texts(w, "tokenizer.ggml.merges", tokens, 0);
    gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 256);
    gguf_put_u32(w, "tokenizer.ggml.eos_token_id", 257);
    gguf_put_string(w, "tokenizer.chat_template", chatml);
}

/* Elements [0, n) of tensor `seed`, n a multiple of 32: blocks with d = 2^-9. */
static void fill(uint32_t type, int64_t n, uint64_t seed, uint8_t *out) {
    size_t block = quant_block_bytes(type), bytes = quant_bytes(type, n);
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)rng_u64(rng_at(seed, RNG_INIT, 1), i);
    if (type == QUANT_F32 || type == QUANT_F16)
        for (int64_t i = 0; i < n; i++) {
            float value = (float)(int8_t)out[i] / 256;
            uint16_t half = f32_to_f16(value);
            if (type == QUANT_F16) memcpy(out + 2 * i, &half, 2);
        }
    if (type == QUANT_Q8_0 || type == QUANT_Q4_0)
        for (size_t at = 0; at < bytes; at += block)
            memcpy(out + at, (const uint8_t[]){0, 0x18}, 2);
}

static status put_tensor(gguf_writer *w, const model *m, const gguf_place *p, bool second,
                         uint32_t type, uint64_t seed, bool data) {
    int64_t dim[3] = {1, 1, 1};
    int rank = gguf_place_shape(m, p, second, dim);
    int64_t n = dim[0] * dim[1] * dim[2];
    bool blocks = !gguf_place_small(p) && dim[rank - 1] % quant_block(type) == 0;
    uint32_t kind = gguf_place_small(p) ? QUANT_F32 : blocks ? type : QUANT_F16;
    if (!data) {
        gguf_put_tensor(w, second ? p->second : p->name, kind, rank, dim);
        return STATUS_OK;
    }
    uint8_t *bytes = mem_alloc(quant_bytes(kind, n) + (size_t)n);
    if (bytes == NULL) return STATUS_MEMORY;
    if (kind == QUANT_F32)
        for (int64_t i = 0; i < n; i++) {
            float value = 1 + (float)(rng_u64(rng_at(seed, RNG_INIT, 2), (uint64_t)i) % 64) / 256;
            memcpy(bytes + 4 * i, &value, 4);
        }
    else
        fill(kind, n, seed, bytes);
    gguf_put_data(w, bytes, quant_bytes(kind, n));
    mem_free(bytes);
    return STATUS_OK;
}

status make_blocks(const char *path, const model_config *c, uint32_t type) {
    model m;
    gguf_place *all = NULL;
    gguf_writer *w = NULL;
    int n;
    TRY(model_describe(&m, c, DTYPE_F32));
    status s;
    TRY_GOTO(s, model_gguf_places(&m, &all, &n));
    TRY_GOTO(s, gguf_writer_new(&w, path));
    put_keys(w, c, type);
    for (int data = 0; data < 2; data++)
        for (int i = 0; i < n; i++) {
            if (all[i].kind == PLACE_EXPERT && all[i].expert > 0) continue;
            TRY_GOTO(s, put_tensor(w, &m, &all[i], false, type, (uint64_t)i, data));
            if (all[i].kind == PLACE_LATENT)
                TRY_GOTO(s, put_tensor(w, &m, &all[i], true, type, (uint64_t)i + 1000, data));
        }
    s = gguf_writer_commit(w);
    w = NULL;
done:
    gguf_writer_abandon(w);
    mem_free(all);
    model_clear(&m);
    return s;
}

/* -- comparing -- */

static bool same_entry(const safetensors_entry *a, const safetensors_entry *b) {
    return b != NULL && strcmp(a->dtype, b->dtype) == 0 && a->rank == b->rank &&
           memcmp(a->dim, b->dim, (size_t)a->rank * sizeof *a->dim) == 0 && a->bytes == b->bytes &&
           memcmp(a->data, b->data, a->bytes) == 0;
}

bool same_folders(const char *a, const char *b, const char *except) {
    safetensors *x = NULL, *y = NULL;
    bool same = safetensors_open(&x, a) == STATUS_OK && safetensors_open(&y, b) == STATUS_OK &&
                safetensors_count(x) == safetensors_count(y);
    for (int i = 0; same && i < safetensors_count(x); i++) {
        const safetensors_entry *e = safetensors_at(x, i);
        same = same_entry(e, safetensors_lookup(y, e->name)) ||
               (except != NULL && strstr(e->name, except) != NULL);
        if (!same) printf("%s differs\n", e->name);
    }
    safetensors_close(x);
    safetensors_close(y);
    return same;
}

bool same_files(const char *a, const char *b) {
    gguf *x = NULL, *y = NULL;
    bool same = gguf_open(&x, a) == STATUS_OK && gguf_open(&y, b) == STATUS_OK &&
                gguf_n_tensors(x) == gguf_n_tensors(y);
    for (int i = 0; same && i < gguf_n_tensors(x); i++) {
        const gguf_tensor *t = gguf_tensor_at(x, i), *u = gguf_lookup(y, t->name);
        same = u != NULL && t->type == u->type && t->rank == u->rank &&
               memcmp(t->dim, u->dim, sizeof t->dim) == 0 && t->bytes == u->bytes &&
               memcmp(t->data, u->data, t->bytes) == 0;
        if (!same) printf("%s differs\n", t->name);
    }
    gguf_close(x);
    gguf_close(y);
    return same;
}

bool nothing_at(const char *path) {
    return !path_exists(path) && !path_exists(text("%s.part", path));
}
