/* test_weights.c - weights in files: the same bits back, wrong files named, nothing lost when
 * memory runs out. */
#include "model_fixture.h"

#include "base/file.h"
#include "kernels/kernels.h"
#include "tensor/safetensors.h"

static bool same_masters(const model *a, const model *b) {
    return a->params.count == b->params.count &&
           memcmp(a->params.master, b->params.master, (size_t)a->params.count * sizeof(float)) == 0;
}

static void round_trip(const char *name, const model_config *c) {
    model a, b;
    char file[PATH_SIZE];
    REQUIRE_OK(path_join(file, test_folder(), "model.safetensors"));
    if (!model_make(&a, c, DTYPE_F32, 3)) return;
    REQUIRE_OK(model_init(&b, c, DTYPE_F32));
    REQUIRE_OK(model_save(&a, file));
    uint64_t version = b.embedding->version;
    REQUIRE_OK(model_load(&b, file));
    CHECK(same_masters(&a, &b), "%s changed on the way", name);
    CHECK(b.embedding->version != version, "%s: packed copies would be stale", name);
    model_clear(&a);
    model_clear(&b);
}

TEST(weights_round_trip) {
    model_config micro = config_micro(), dense = config_micro_llama(), f1m = config_f1m_mtp();
    round_trip("micro", &micro);
    micro.tied = false;
    micro.q_lora_rank = 0;
    round_trip("untied, no query rank", &micro);
    round_trip("dense", &dense);
    round_trip("f-1m", &f1m);
}

TEST(weights_names_are_the_published_ones) {
    static const char *names[] = {
        "model.embed_tokens.weight",
        "model.norm.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.post_attention_layernorm.weight",
        "model.layers.0.self_attn.q_a_proj.weight",
        "model.layers.0.self_attn.q_a_layernorm.weight",
        "model.layers.0.self_attn.q_b_proj.weight",
        "model.layers.0.self_attn.kv_a_proj_with_mqa.weight",
        "model.layers.0.self_attn.kv_a_layernorm.weight",
        "model.layers.0.self_attn.kv_b_proj.weight",
        "model.layers.0.self_attn.o_proj.weight",
        "model.layers.0.mlp.gate_proj.weight",
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.0.mlp.down_proj.weight",
        "model.layers.1.mlp.gate.weight",
        "model.layers.1.mlp.gate.e_score_correction_bias",
        "model.layers.1.mlp.experts.3.gate_proj.weight",
        "model.layers.1.mlp.experts.3.up_proj.weight",
        "model.layers.1.mlp.experts.3.down_proj.weight",
        "model.layers.1.mlp.shared_experts.gate_proj.weight",
        "model.layers.1.mlp.shared_experts.down_proj.weight",
        "model.layers.2.enorm.weight",
        "model.layers.2.hnorm.weight",
        "model.layers.2.eh_proj.weight",
        "model.layers.2.shared_head.norm.weight",
        "model.layers.2.mlp.experts.0.up_proj.weight",
    };
    model_config c = config_micro();
    model m;
    char file[PATH_SIZE];
    REQUIRE_OK(path_join(file, test_folder(), "model.safetensors"));
    if (!model_make(&m, &c, DTYPE_F32, 3)) return;
    REQUIRE_OK(model_save(&m, file));
    safetensors *f;
    REQUIRE_OK(safetensors_open(&f, file));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        CHECK(safetensors_lookup(f, names[i]) != NULL, "no %s", names[i]);
    CHECK(safetensors_lookup(f, "lm_head.weight") == NULL, "a tied head is in the file");
    /* 2 ends, 8 attention and norm tensors more per layer, ... counted by hand */
    int layer = 2 + 7, dense = 3, moe = 2 + 3 * 4 + 3, mtp = 4;
    CHECK(safetensors_count(f) == 2 + 3 * layer + dense + 2 * moe + mtp, "%d tensors",
          safetensors_count(f));
    int64_t elements = 0;
    for (int i = 0; i < safetensors_count(f); i++)
        elements += (int64_t)safetensors_at(f, i)->bytes / 4;
    CHECK(elements == m.params.count, "%" PRId64 " elements", elements);
    const char *format = safetensors_metadata(f, "format");
    CHECK(format != NULL && strcmp(format, "pt") == 0, "format is not pt");
    safetensors_close(f);
    model_clear(&m);
}

/* Writes the tensors of `from` through `edit`, which may change, add or drop items. */
typedef int edit_fn(safetensors_item *items, int n);
static status rewrite(const char *from, const char *to, edit_fn *edit) {
    safetensors *f;
    TRY(safetensors_open(&f, from));
    static safetensors_item items[256];
    int n = safetensors_count(f);
    status s = STATUS_OK;
    for (int i = 0; i < n && s == STATUS_OK; i++) {
        items[i].name = safetensors_at(f, i)->name;
        s = safetensors_find(f, items[i].name, &items[i].value);
    }
    if (s == STATUS_OK) s = safetensors_write(to, items, edit(items, n), NULL, 0);
    safetensors_close(f);
    return s;
}

static int find_item(const safetensors_item *items, int n, const char *name) {
    for (int i = 0; i < n; i++)
        if (strcmp(items[i].name, name) == 0) return i;
    return 0;
}
static int drop_router(safetensors_item *items, int n) {
    items[find_item(items, n, "model.layers.1.mlp.gate.weight")] = items[n - 1];
    return n - 1;
}
static int drop_last(safetensors_item *items, int n) {
    (void)items;
    return n - 1;
}
static int add_bias(safetensors_item *items, int n) {
    items[n] = items[find_item(items, n, "model.norm.weight")];
    items[n].name = "model.layers.0.self_attn.q_proj.bias";
    return n + 1;
}
static int add_at_end(safetensors_item *items, int n) {
    items[n] = items[find_item(items, n, "model.norm.weight")];
    items[n].name = "z.weight";
    return n + 1;
}
static int transpose(safetensors_item *items, int n) {
    tensor *t = &items[find_item(items, n, "model.layers.0.mlp.down_proj.weight")].value;
    *t = tensor_2d(t->data, t->dtype, t->dim[1], t->dim[0]);
    return n;
}
static int flatten(safetensors_item *items, int n) {
    tensor *t = &items[find_item(items, n, "model.norm.weight")].value;
    *t = tensor_2d(t->data, t->dtype, 1, t->dim[0]);
    return n;
}
static int as_integers(safetensors_item *items, int n) {
    items[find_item(items, n, "model.norm.weight")].value.dtype = DTYPE_I32;
    return n;
}
static int add_other_head(safetensors_item *items, int n) {
    int e = find_item(items, n, "model.embed_tokens.weight");
    static float zeros[37 * 16];
    items[n] = items[e];
    items[n].name = "lm_head.weight";
    items[n].value.data = zeros;
    return n + 1;
}
static int add_repeats(safetensors_item *items, int n) {
    static const char *names[] = {"lm_head.weight", "model.layers.2.embed_tokens.weight",
                                  "model.layers.2.shared_head.head.weight"};
    int e = find_item(items, n, "model.embed_tokens.weight");
    for (int i = 0; i < 3; i++) {
        items[n + i] = items[e];
        items[n + i].name = names[i];
    }
    items[n + 3] = items[find_item(items, n, "model.norm.weight")];
    items[n + 3].name = "model.layers.0.self_attn.rotary_emb.inv_freq";
    return n + 4;
}

TEST(weights_wrong_files_are_named) {
    static const struct {
        edit_fn *edit;
        error_id id;
        const char *says; /* NULL: accepted */
    } cases[] = {
        {drop_router, F_TENSOR_MISSING, "model.layers.1.mlp.gate.weight"},
        {drop_last, F_TENSOR_MISSING, "model.norm.weight"},
        {add_bias, F_TENSOR_EXTRA, "model.layers.0.self_attn.q_proj.bias"},
        {add_at_end, F_TENSOR_EXTRA, "z.weight"},
        {transpose, F_SHAPE, "model.layers.0.mlp.down_proj.weight"},
        {flatten, F_SHAPE, "model.norm.weight"},
        {as_integers, F_SAFETENSORS_DTYPE, "model.norm.weight"},
        {add_other_head, F_TENSOR_EXTRA, "lm_head.weight"},
        {add_repeats, F_NONE, NULL},
    };
    model_config c = config_micro();
    model a, b;
    char good[PATH_SIZE], bad[PATH_SIZE];
    const char *folder = test_folder();
    REQUIRE_OK(path_join(good, folder, "model.safetensors"));
    REQUIRE_OK(path_join(bad, folder, "bad.safetensors"));
    if (!model_make(&a, &c, DTYPE_F32, 3)) return;
    REQUIRE_OK(model_save(&a, good));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        REQUIRE_OK(rewrite(good, bad, cases[i].edit));
        REQUIRE_OK(model_init(&b, &c, DTYPE_F32));
        status s = model_load(&b, bad);
        const error_report *e = error_last();
        if (cases[i].says == NULL) {
            CHECK(s == STATUS_OK && same_masters(&a, &b), "case %d: %s", (int)i, e->what);
        } else {
            CHECK(s != STATUS_OK && e->id == cases[i].id, "case %d: error %d", (int)i, (int)e->id);
            CHECK(strstr(e->what, cases[i].says) != NULL, "case %d: %s", (int)i, e->what);
            CHECK(e->where[0] != '\0' && e->why[0] != '\0' && e->fix[0] != '\0', "case %d", (int)i);
            const float *w = b.params.master;
            for (int64_t k = 0; k < b.params.count; k++)
                REQUIRE(w[k] == 0, "case %d: refused, but written to", (int)i);
        }
        model_clear(&b);
    }
    model_clear(&a);
}

static uint16_t halves[1 << 16];
static int as_type(safetensors_item *items, int n, dtype type) {
    int64_t used = 0;
    for (int i = 0; i < n; i++) {
        tensor *t = &items[i].value;
        int64_t count = tensor_count(t);
        const float *from = t->data;
        for (int64_t k = 0; k < count; k++)
            halves[used + k] = type == DTYPE_BF16 ? f32_to_bf16(from[k]) : f32_to_f16(from[k]);
        t->data = halves + used;
        t->dtype = type;
        used += count;
    }
    return n;
}
static int as_bf16(safetensors_item *items, int n) {
    return as_type(items, n, DTYPE_BF16);
}
static int as_f16(safetensors_item *items, int n) {
    return as_type(items, n, DTYPE_F16);
}

TEST(weights_half_precision_files) {
    model_config c = config_micro();
    model a, b, d;
    char good[PATH_SIZE], half[PATH_SIZE];
    const char *folder = test_folder();
    REQUIRE_OK(path_join(good, folder, "model.safetensors"));
    REQUIRE_OK(path_join(half, folder, "half.safetensors"));
    if (!model_make(&a, &c, DTYPE_F32, 3)) return;
    REQUIRE(a.params.count <= (int64_t)(sizeof halves / sizeof halves[0]), "halves too small");
    REQUIRE_OK(model_save(&a, good));
    REQUIRE_OK(model_init(&b, &c, DTYPE_F32));
    REQUIRE_OK(model_init(&d, &c, DTYPE_F64));
    const float *w = a.params.master, *to = b.params.master;
    const double *wide = d.params.master;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        REQUIRE_OK(rewrite(good, half, bf16 ? as_bf16 : as_f16));
        REQUIRE_OK(model_load(&b, half));
        REQUIRE_OK(model_load(&d, half));
        for (int64_t i = 0; i < a.params.count; i++) {
            float want = bf16 ? bf16_to_f32(f32_to_bf16(w[i])) : f16_to_f32(f32_to_f16(w[i]));
            REQUIRE(to[i] == want && wide[i] == (double)want, "element %d", (int)i);
        }
    }
    REQUIRE_OK(model_load(&d, good));
    REQUIRE_OK(model_save(&d, half)); /* f64 rounded to F32: nothing is lost here */
    REQUIRE_OK(model_load(&b, half));
    CHECK(same_masters(&a, &b), "through double and back");
    model_clear(&a);
    model_clear(&b);
    model_clear(&d);
}

/* The whole life of a small model with the n-th allocation failing. */
static status live(const char *file, arena *memory, const model_config *c, const sample *s,
                   double *loss) {
    model m;
    tape t;
    model_result r = {0};
    model_batch batch = s->batch;
    batch.recompute = RECOMPUTE_FULL;
    status result;
    TRY(model_init(&m, c, DTYPE_F32));
    param_set_initialise(&m.params, 5);
    float *grad = arena_zalloc(memory, (size_t)m.params.count * sizeof *grad);
    TRY_GOTO(result, grad != NULL ? STATUS_OK : STATUS_MEMORY);
    param_set_gradients(&m.params, grad);
    TRY_GOTO(result, tape_init(&t, memory, &m.params, (tape_options){.recording = true}));
    TRY_GOTO(result, model_forward(&m, &t, &batch, &r));
    TRY_GOTO(result, tape_backward(&t));
    model_balance(&m, 0.001);
    TRY_GOTO(result, model_save(&m, file));
    TRY_GOTO(result, model_load(&m, file));
    *loss = r.loss_sum;
done:
    model_clear(&m);
    return result;
}

TEST(weights_failed_allocations) {
    model_config c = config_micro();
    arena memory;
    sample s;
    char file[PATH_SIZE];
    REQUIRE_OK(path_join(file, test_folder(), "model.safetensors"));
    REQUIRE_OK(kernels_init(NULL));
    REQUIRE_OK(arena_init(&memory, "test", (size_t)1 << 28));
    REQUIRE(sample_make(&s, &memory, &c, &(sample_shape){2, 9, 2, 4, 5}), "no sample");
    size_t mark = arena_mark(&memory);
    double loss = 0, wanted = 0;
    REQUIRE_OK(live(file, &memory, &c, &s, &wanted)); /* also warms scratch arenas */
    arena_reset(&memory, mark);
    int64_t blocks = mem_live_blocks(), n = 1;
    for (bool passed = false; !passed; n++) {
        REQUIRE(n < 20000, "still failing at %" PRId64, n);
        mem_fail_at(n);
        status r = live(file, &memory, &c, &s, &loss);
        passed = !mem_failed();
        mem_fail_at(0);
        arena_reset(&memory, mark);
        CHECK((r == STATUS_OK) == passed, "allocation %" PRId64 ": status %d, %s", n, (int)r,
              error_last()->what);
        CHECK(passed || error_last()->id == F_NO_MEMORY, "allocation %" PRId64 ": error %d", n,
              (int)error_last()->id);
        CHECK(mem_live_blocks() == blocks, "allocation %" PRId64 " leaks", n);
    }
    printf("  %" PRId64 " allocations failed one by one\n", n - 2);
    CHECK(loss == wanted, "loss %g after all, %g before", loss, wanted);
    arena_clear(&memory);
}
