/* test_gguf_model.c - models in GGUF files: the same bits back, traps of the layout by formula, keys
 * and tensors that are missing or strange named. */
#include "model_fixture.h"

#include "base/file.h"
#include "model/model_gguf.h"

static const char *in(const char *name) {
    static char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", test_folder(), name);
    return path;
}

static bool save(const model *m, uint32_t type, const char *path) {
    gguf_writer *w;
    if (gguf_writer_new(&w, path) != STATUS_OK) return false;
    model_put_gguf_keys(w, &m->config, type);
    status put = model_put_gguf_tensors(w, m, type), s = gguf_writer_commit(w);
    if (put != STATUS_OK || s != STATUS_OK) error_print(stdout, error_last());
    return put == STATUS_OK && s == STATUS_OK;
}

static model_config config_qwen(bool biases) {
    model_config c = config_micro_llama();
    c.qkv_bias = biases;
    c.qk_norm = !biases;
    return c;
}

static model_config config_lite(void) {
    model_config c = config_micro();
    c.q_lora_rank = 0;
    c.n_mtp = 0;
    c.sigmoid = false;
    c.norm_topk_prob = false;
    c.tied = false;
    return c;
}

static model_config config_stretched(rope_kind kind) {
    model_config c = kind == ROPE_LLAMA3 ? config_micro_llama() : config_micro();
    c.rope = (rope_scaling){.kind = kind, .factor = 8, .original = 8192};
    if (kind == ROPE_LLAMA3)
        c.rope.low = 1, c.rope.high = 4;
    else
        c.rope.beta_fast = 32, c.rope.beta_slow = 1, c.rope.mscale = c.rope.mscale_all_dim = 0.707;
    return c;
}

/* Everything that decides what is computed. */
static bool same_config(const model_config *a, const model_config *b) {
    json_t *x, *y;
    model_config c = *b;
    c.init_std = a->init_std; /* of training only */
    c.balance_alpha = a->balance_alpha;
    c.bos_id = a->bos_id; /* the tokenizer's */
    c.eos_id = a->eos_id;
    if (model_config_to_json(a, &x) != STATUS_OK || model_config_to_json(&c, &y) != STATUS_OK)
        return false;
    bool same = json_equal(x, y);
    json_decref(x);
    json_decref(y);
    return same;
}

static void round_trip(const char *name, const model_config *c, dtype real) {
    model a, b;
    gguf *f;
    model_config back;
    const char *path = in("round.gguf");
    if (!model_make(&a, c, real, 3)) return;
    REQUIRE(save(&a, QUANT_F32, path), "%s", name);
    REQUIRE_OK(gguf_open(&f, path));
    REQUIRE_OK(model_config_from_gguf(&back, f));
    CHECK(same_config(c, &back), "%s: the configuration changed", name);
    REQUIRE_OK(model_init(&b, &back, real));
    REQUIRE_OK(model_load_gguf(&b, f));
    CHECK(a.params.count == b.params.count, "%s", name);
    size_t element = dtype_size(real);
    if (real == DTYPE_F32)
        CHECK(memcmp(a.params.master, b.params.master, (size_t)a.params.count * element) == 0,
              "%s changed on the way", name);
    for (int64_t i = 0; real == DTYPE_F64 && i < a.params.count; i++) {
        double x = ((const double *)a.params.master)[i], y = ((const double *)b.params.master)[i];
        if ((float)x == (float)y) continue;
        CHECK(false, "%s: element %" PRId64, name, i);
        break;
    }
    gguf_close(f);
    model_clear(&a);
    model_clear(&b);
}

/* Logits of a prompt of eight tokens. */
static status logits_of(model *m, float *out) {
    static const int64_t start[2] = {0, 8};
    static const int32_t ids[8] = {1, 5, 2, 7, 3, 3, 0, 6}, position[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    static const int32_t first[8] = {0};
    arena memory;
    tape t;
    model_result r = {0};
    model_batch batch = {
        .layout = {.n = 8, .n_sequences = 1, .start = start, .position = position, .first = first},
        .ids = ids,
        .role = ROLE_PROMPT,
        .logit_rows = position,
        .n_logit_rows = 8};
    TRY(arena_init(&memory, "test", (size_t)64 << 20));
    status s = tape_init(&t, &memory, &m->params, (tape_options){0});
    if (s == STATUS_OK) s = model_forward(m, &t, &batch, &r);
    if (s == STATUS_OK)
        memcpy(out, r.logits->value.data, 8 * (size_t)m->config.vocab_size * sizeof *out);
    arena_clear(&memory);
    return s;
}

/* Matrices that live once have the bits of masters where the file's type is kept. */
static void held_case(const char *name, const model_config *c, uint32_t type) {
    model a, b, loaded;
    gguf *f;
    const char *path = in("held.gguf");
    if (!model_make(&a, c, DTYPE_F32, 5)) return;
    REQUIRE(save(&a, type, path), "%s", name);
    REQUIRE_OK(gguf_open(&f, path));
    REQUIRE_OK(model_init(&loaded, c, DTYPE_F32));
    REQUIRE_OK(model_load_gguf(&loaded, f));
    REQUIRE_OK(model_describe(&b, c, DTYPE_F32));
    REQUIRE_OK(model_hold_gguf(&b, f));
    size_t n = 8 * (size_t)c->vocab_size;
    float *x = mem_zalloc(2 * n, sizeof *x), *y = x + n;
    REQUIRE(x != NULL, "memory");
    REQUIRE_OK(logits_of(&loaded, x));
    REQUIRE_OK(logits_of(&b, y));
    CHECK(memcmp(x, y, n * sizeof *x) == 0, "%s, %s: other logits", name, quant_name(type));
    CHECK(b.embedding->master == NULL && model_held_bytes_gguf(&b, f) < model_bytes(&b), "%s",
          name);
    mem_free(x);
    gguf_close(f);
    model_clear(&a);
    model_clear(&b);
    model_clear(&loaded);
}

TEST(gguf_held_weights_give_the_bits_of_masters) {
    model_config micro = config_micro(), lite = config_lite(), llama = config_micro_llama();
    static const uint32_t types[] = {QUANT_F32, QUANT_F16, QUANT_BF16};
    for (int t = 0; t < 3; t++) {
        held_case("deepseek2", &micro, types[t]);
        held_case("deepseek2 lite", &lite, types[t]);
        held_case("llama", &llama, types[t]);
    }
}

TEST(gguf_models_come_back) {
    model_config micro = config_micro(), lite = config_lite(), llama = config_micro_llama();
    model_config qwen2 = config_qwen(true), qwen3 = config_qwen(false);
    model_config llama3 = config_stretched(ROPE_LLAMA3), yarn = config_stretched(ROPE_YARN);
    round_trip("deepseek2", &micro, DTYPE_F32);
    round_trip("deepseek2 lite", &lite, DTYPE_F32);
    round_trip("llama", &llama, DTYPE_F32);
    round_trip("qwen2", &qwen2, DTYPE_F32);
    round_trip("qwen3", &qwen3, DTYPE_F32);
    round_trip("llama3 positions", &llama3, DTYPE_F32);
    round_trip("yarn", &yarn, DTYPE_F32);
    round_trip("deepseek2 in f64", &micro, DTYPE_F64);
    round_trip("llama in f64", &llama, DTYPE_F64);
}

/* GGUF -> model -> GGUF: the same tensors, byte for byte, in every type that can be written. */
TEST(gguf_tensors_come_back_bitwise) {
    static const uint32_t types[] = {QUANT_F32, QUANT_F16, QUANT_BF16};
    model_config configs[] = {config_micro(), config_micro_llama()};
    for (int i = 0; i < 6; i++) {
        model a, b;
        gguf *f, *g;
        char first[PATH_SIZE];
        snprintf(first, sizeof first, "%s/first.gguf", test_folder());
        if (!model_make(&a, &configs[i % 2], DTYPE_F32, 5)) return;
        REQUIRE(save(&a, types[i / 2], first), "first");
        REQUIRE_OK(gguf_open(&f, first));
        REQUIRE_OK(model_init(&b, &configs[i % 2], DTYPE_F32));
        REQUIRE_OK(model_load_gguf(&b, f));
        const char *second = in("second.gguf");
        REQUIRE(save(&b, types[i / 2], second), "second");
        REQUIRE_OK(gguf_open(&g, second));
        CHECK(gguf_n_tensors(f) == gguf_n_tensors(g), "number of tensors");
        for (int t = 0; t < gguf_n_tensors(f); t++) {
            const gguf_tensor *x = gguf_tensor_at(f, t), *y = gguf_tensor_at(g, t);
            CHECK(strcmp(x->name, y->name) == 0 && x->type == y->type && x->bytes == y->bytes &&
                      memcmp(x->data, y->data, x->bytes) == 0,
                  "%s as %s", x->name, quant_name(x->type));
        }
        gguf_close(f);
        gguf_close(g);
        model_clear(&a);
        model_clear(&b);
    }
}

static const float *rows_of(const model *m, const char *published, int64_t *width) {
    for (int i = 0; i < m->params.n; i++)
        for (int j = 0; j < m->params.all[i]->n_views; j++) {
            const param *p = m->params.all[i];
            if (strcmp(p->views[j].name, published) != 0) continue;
            *width = p->dim[p->rank - 1];
            return (const float *)p->master + p->views[j].first_row * *width;
        }
    return NULL;
}

/* Rows of llama's queries are dealt out: half-split pairs (i, i + w/2) become neighbours. */
TEST(gguf_llama_rotary_rows_are_neighbours) {
    model_config c = config_micro_llama(), q = config_qwen(false);
    const model_config *both[] = {&c, &q};
    for (int k = 0; k < 2; k++) {
        model m;
        gguf *f;
        int64_t d;
        const char *path = in("rotary.gguf");
        if (!model_make(&m, both[k], DTYPE_F32, 7)) return;
        REQUIRE(save(&m, QUANT_F32, path), "save");
        REQUIRE_OK(gguf_open(&f, path));
        const float *published = rows_of(&m, "model.layers.1.self_attn.k_proj.weight", &d);
        const gguf_tensor *t = gguf_lookup(f, "blk.1.attn_k.weight");
        REQUIRE(published != NULL && t != NULL, "names");
        const float *stored = (const float *)(const void *)t->data;
        int w = c.head_dim;
        for (int h = 0; h < c.n_kv_head; h++)
            for (int i = 0; i < w / 2; i++)
                for (int j = 0; j < 2; j++) {
                    int from = h * w + j * w / 2 + i, to = k == 0 ? h * w + 2 * i + j : from;
                    CHECK(memcmp(published + from * d, stored + to * d, (size_t)d * 4) == 0,
                          "model %d, head %d, pair %d", k, h, i);
                }
        gguf_close(f);
        model_clear(&m);
    }
}

/* kv_b falls into a transposed key half and a value half. */
TEST(gguf_latent_keys_are_transposed) {
    model_config c = config_micro();
    model m;
    gguf *f;
    int64_t kr;
    const char *path = in("latent.gguf");
    if (!model_make(&m, &c, DTYPE_F32, 9)) return;
    REQUIRE(save(&m, QUANT_F32, path), "save");
    REQUIRE_OK(gguf_open(&f, path));
    const float *kv = rows_of(&m, "model.layers.0.self_attn.kv_b_proj.weight", &kr);
    const gguf_tensor *k = gguf_lookup(f, "blk.0.attn_k_b.weight");
    const gguf_tensor *v = gguf_lookup(f, "blk.0.attn_v_b.weight");
    REQUIRE(kv != NULL && k != NULL && v != NULL, "names");
    int n = c.qk_nope_head_dim, nv = n + c.v_head_dim;
    const float *ks = (const float *)(const void *)k->data;
    const float *vs = (const float *)(const void *)v->data;
    for (int h = 0; h < c.n_head; h++)
        for (int64_t j = 0; j < kr; j++) {
            for (int i = 0; i < n; i++)
                CHECK(ks[(h * kr + j) * n + i] == kv[(h * nv + i) * kr + j], "key %d %d", h, i);
            for (int i = n; i < nv; i++)
                CHECK(vs[(h * (nv - n) + i - n) * kr + j] == kv[(h * nv + i) * kr + j], "value");
        }
    gguf_close(f);
    model_clear(&m);
}

/* -- keys -- */

/* A copy of `from` without the key (or with another name for it) and without the tensor. */
static bool copy_without(const gguf *from, const char *key, const char *renamed, const char *name,
                         const char *path) {
    gguf_writer *w;
    if (gguf_writer_new(&w, path) != STATUS_OK) return false;
    for (int i = 0; i < gguf_n_values(from); i++) {
        gguf_value v = *gguf_value_at(from, i);
        bool is = key != NULL && strcmp(v.key, key) == 0;
        if (is && renamed == NULL) continue;
        if (is) v.key = renamed;
        gguf_put_value(w, &v);
    }
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < gguf_n_tensors(from); i++) {
            const gguf_tensor *t = gguf_tensor_at(from, i);
            bool is = name != NULL && strcmp(t->name, name) == 0;
            if (is && renamed == NULL) continue;
            if (pass == 0)
                gguf_put_tensor(w, is ? renamed : t->name, t->type, t->rank, t->dim);
            else
                gguf_put_data(w, t->data, t->bytes);
        }
    return gguf_writer_commit(w) == STATUS_OK;
}

static void missing(const gguf *f, const char *key) {
    gguf *g;
    model_config c;
    const char *path = in("missing.gguf");
    REQUIRE(gguf_lookup_value(f, key) != NULL, "%s is not even there", key);
    REQUIRE(copy_without(f, key, NULL, NULL, path), "copy");
    REQUIRE_OK(gguf_open(&g, path));
    CHECK(model_config_from_gguf(&c, g) != STATUS_OK && error_last()->id == F_GGUF_KEY &&
              strstr(error_last()->what, key) != NULL,
          "without %s: %s", key, error_last()->what);
    gguf_close(g);
}

/* Among them the five whose absence stops other readers and the three that they do not notice. */
TEST(gguf_missing_keys_are_named) {
    static const char *const latent[] = {
        "deepseek2.context_length",
        "deepseek2.embedding_length",
        "deepseek2.block_count",
        "deepseek2.feed_forward_length",
        "deepseek2.attention.head_count",
        "deepseek2.attention.head_count_kv",
        "deepseek2.attention.layer_norm_rms_epsilon",
        "deepseek2.attention.q_lora_rank",
        "deepseek2.attention.kv_lora_rank",
        "deepseek2.attention.key_length",
        "deepseek2.attention.key_length_mla",
        "deepseek2.attention.value_length_mla",
        "deepseek2.rope.dimension_count",
        "deepseek2.leading_dense_block_count",
        "deepseek2.expert_count",
        "deepseek2.expert_used_count",
        "deepseek2.expert_shared_count",
        "deepseek2.expert_feed_forward_length",
        "deepseek2.expert_weights_scale",
        "deepseek2.expert_weights_norm",
        "deepseek2.expert_gating_func",
        "deepseek2.rope.scaling.factor",
        "deepseek2.rope.scaling.original_context_length",
        "general.architecture",
    };
    static const char *const dense[] = {
        "llama.context_length",       "llama.embedding_length",
        "llama.block_count",          "llama.feed_forward_length",
        "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon",
    };
    model_config micro = config_stretched(ROPE_YARN), llama = config_micro_llama();
    model m;
    gguf *f;
    for (int k = 0; k < 2; k++) {
        const char *path = in("whole.gguf");
        if (!model_make(&m, k == 0 ? &micro : &llama, DTYPE_F32, 3)) return;
        REQUIRE(save(&m, QUANT_F32, path), "save");
        REQUIRE_OK(gguf_open(&f, path));
        size_t n = k == 0 ? sizeof latent / sizeof latent[0] : sizeof dense / sizeof dense[0];
        for (size_t i = 0; i < n; i++)
            missing(f, k == 0 ? latent[i] : dense[i]);
        gguf_close(f);
        model_clear(&m);
    }
}

/* Renames a key; the configuration must be refused by the new name. */
static void strange(const gguf *f, const char *key, const char *renamed, error_id id) {
    gguf *g;
    model_config c;
    const char *path = in("strange.gguf");
    REQUIRE(copy_without(f, key, renamed, NULL, path), "copy");
    REQUIRE_OK(gguf_open(&g, path));
    CHECK(model_config_from_gguf(&c, g) != STATUS_OK && error_last()->id == id &&
              strstr(error_last()->what, renamed) != NULL,
          "%s: %s", renamed, error_last()->what);
    gguf_close(g);
}

static void strange_tensor(const gguf *f, const char *name, const char *renamed, error_id id,
                           const char *named) {
    gguf *g;
    model_config c;
    model m;
    const char *path = in("tensor.gguf");
    REQUIRE(copy_without(f, NULL, renamed, name, path), "copy");
    REQUIRE_OK(gguf_open(&g, path));
    REQUIRE_OK(model_config_from_gguf(&c, g));
    REQUIRE_OK(model_init(&m, &c, DTYPE_F32));
    CHECK(model_load_gguf(&m, g) != STATUS_OK && error_last()->id == id &&
              strstr(error_last()->what, named) != NULL,
          "%s: %s", name, error_last()->what);
    model_clear(&m);
    gguf_close(g);
}

TEST(gguf_strange_keys_and_tensors_are_named) {
    model_config c = config_micro_llama();
    model m;
    gguf *f;
    const char *path = in("plain.gguf");
    if (!model_make(&m, &c, DTYPE_F32, 3)) return;
    REQUIRE(save(&m, QUANT_F32, path), "save");
    REQUIRE_OK(gguf_open(&f, path));
    strange(f, "llama.rope.freq_base", "llama.attention.sliding_window", F_MODEL_UNKNOWN);
    strange(f, "llama.vocab_size", "llama.logit_scale", F_MODEL_UNKNOWN);
    strange_tensor(f, "blk.1.ffn_up.weight", NULL, F_TENSOR_MISSING, "blk.1.ffn_up.weight");
    strange_tensor(f, "blk.1.ffn_up.weight", "blk.1.ffn_up.bias", F_TENSOR_MISSING,
                   "blk.1.ffn_up.weight");
    c.d_ff += 32;
    model_config found;
    REQUIRE_OK(model_config_from_gguf(&found, f));
    model other;
    REQUIRE_OK(model_init(&other, &c, DTYPE_F32));
    CHECK(model_load_gguf(&other, f) == STATUS_SHAPE &&
              strstr(error_last()->what, "ffn_gate.weight") != NULL,
          "%s", error_last()->what);
    model_clear(&other);
    c = config_micro_llama();
    c.n_layer -= 1;
    REQUIRE_OK(model_init(&other, &c, DTYPE_F32));
    CHECK(model_load_gguf(&other, f) == STATUS_FORMAT && error_last()->id == F_TENSOR_EXTRA,
          "a layer too many: %s", error_last()->what);
    model_clear(&other);
    gguf_close(f);
    model_clear(&m);
}

static status whole_life(const char *path) {
    gguf *f = NULL;
    model m = {0};
    model_config c;
    status s;
    TRY_GOTO(s, gguf_open(&f, path));
    TRY_GOTO(s, model_config_from_gguf(&c, f));
    TRY_GOTO(s, model_init(&m, &c, DTYPE_F32));
    s = model_load_gguf(&m, f);
done:
    gguf_close(f);
    model_clear(&m);
    return s;
}

TEST(gguf_model_allocation_failures_leave_nothing) {
    model_config c = config_micro();
    model m;
    const char *path = in("life.gguf");
    if (!model_make(&m, &c, DTYPE_F32, 3)) return;
    REQUIRE(save(&m, QUANT_F16, path), "save");
    int64_t before = mem_live_blocks(), n = 1;
    /* Most of them describe parameters, one like the other: steps grow. */
    for (;; n += n < 40 ? 1 : 17) {
        mem_fail_at(n);
        status s = whole_life(path);
        bool failed = mem_failed();
        mem_fail_at(0);
        CHECK(mem_live_blocks() == before, "allocation %" PRId64 " leaks", n);
        CHECK(failed ? s == STATUS_MEMORY : s == STATUS_OK, "allocation %" PRId64 ": status %d", n,
              (int)s);
        if (!failed) break;
        REQUIRE(n < 100000, "it never ends");
    }
    model_clear(&m);
}
