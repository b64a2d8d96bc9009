/* test_published.c - logits of an independent implementation (tests/golden/model) on the same weights.
 *
 * For every case the file of weights is written as published (one or several files, F32, F16, BF16,
 * experts apart or fused), loaded, and run as one prompt and token by token from a cache of keys. The
 * largest difference is held against the range of the logits. Positions whose routing hangs on less than
 * the margin would compare two models: they are counted and left out, one in twenty at most.
 */
#include "golden_weights.h"
#include "model_fixture.h"

#include "base/file.h"
#include "base/json.h"
#include "kernels/kernels.h"

#include <math.h>

static const char *const cases[] = {
    "llama",       "llama-llama3", "llama-yarn",       "llama-linear",
    "qwen2",       "qwen3",        "qwen3-yarn",       "deepseek_v2-lite",
    "deepseek_v2", "deepseek_v3",  "deepseek_v3-yarn", "deepseek_v3-amplitude",
};
#define N_CASES (int)(sizeof cases / sizeof cases[0])

typedef struct golden {
    json_t *json;
    model_config config;
    int32_t ids[64], position[64], first[64], rows[64];
    int64_t n;
    arena memory;
    safetensors_item items[MOST_GOLDEN_ITEMS];
    int n_items;
    char folder[PATH_SIZE];
} golden;

static status golden_open(golden *g, const char *name) {
    memset(g, 0, sizeof *g);
    TRY(kernels_init(NULL));
    TRY(arena_init(&g->memory, "golden", (size_t)1 << 30));
    TRY(path_join(g->folder, test_folder(), "model"));
    TRY(json_read(text("%s/%s.json", GOLDEN, name), &g->json));
    const json_t *ids = json_object_get(g->json, "ids");
    g->n = (int64_t)json_array_size(ids);
    for (int64_t i = 0; i < g->n && i < 64; i++) {
        g->ids[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
        g->position[i] = g->rows[i] = (int32_t)i;
    }
    return model_config_from_json(&g->config, json_object_get(g->json, "config"), name);
}

static void golden_close(golden *g) {
    json_decref(g->json);
    arena_clear(&g->memory);
}

static status golden_write(golden *g, dtype type, int shards) {
    TRY(golden_items(&g->memory, json_object_get(g->json, "tensors"), type, g->items, &g->n_items));
    return golden_folder(g->folder, g->items, g->n_items, shards);
}

static status golden_load(golden *g, model *m) {
    TRY(model_init(m, &g->config, DTYPE_F32));
    return model_load(m, g->folder);
}

/* Logits of ids [from, to) after those before, from the pages; all at once without pages. */
static status forward(golden *g, model *m, const kv_layer_pages *pages, int64_t from, int64_t to,
                      gemm_type products, float *logits) {
    int64_t start[2] = {0, to - from}, n_keys = to;
    size_t mark = arena_mark(&g->memory);
    kv_cache_view cache = {.pages = &pages, .n_keys = &n_keys};
    model_batch batch = {.layout = {.n = to - from,
                                    .n_sequences = 1,
                                    .start = start,
                                    .position = g->position + from,
                                    .first = g->first},
                         .ids = g->ids + from,
                         .role = to - from == 1 ? ROLE_GENERATED : ROLE_PROMPT,
                         .cache = pages != NULL ? &cache : NULL,
                         .logit_rows = g->rows,
                         .n_logit_rows = to - from};
    tape t;
    model_result r = {0};
    TRY(tape_init(&t, &g->memory, &m->params, (tape_options){.products = products}));
    TRY(model_forward(m, &t, &batch, &r));
    memcpy(logits + from * g->config.vocab_size, r.logits->value.data,
           (size_t)((to - from) * g->config.vocab_size) * sizeof *logits);
    arena_reset(&g->memory, mark);
    return STATUS_OK;
}

/* Five tokens as a prompt, the others one by one. */
static status decode(golden *g, model *m, gemm_type products, float *logits) {
    const kv_layer_pages *pages = pages_make(&g->memory, m, g->n);
    if (pages == NULL) return STATUS_MEMORY;
    TRY(forward(g, m, pages, 0, 5, products, logits));
    for (int64_t i = 5; i < g->n; i++)
        TRY(forward(g, m, pages, i, i + 1, products, logits));
    return STATUS_OK;
}

static void compare(const golden *g, const char *name, const char *type, const char *how,
                    const float *logits, double bound, double margin) {
    const json_t *run = json_object_get(g->json, type), *rows = json_object_get(run, "logits");
    double low = HUGE_VAL, high = -HUGE_VAL, worst = 0;
    int64_t V = g->config.vocab_size, out = 0;
    for (int64_t i = 0; i < g->n; i++) {
        const json_t *row = json_array_get(rows, (size_t)i);
        double gap = json_number_value(json_array_get(json_object_get(run, "margin"), (size_t)i));
        out += gap < margin;
        REQUIRE((int64_t)json_array_size(row) == V, "%s: row %d is short", name, (int)i);
        for (int64_t v = 0; v < V; v++) {
            double want = json_number_value(json_array_get(row, (size_t)v));
            double off = fabs(want - (double)logits[i * V + v]);
            low = fmin(low, want);
            high = fmax(high, want);
            if (gap >= margin && !(off <= worst)) worst = off;
        }
    }
    printf("  %-22s %-4s %-9s %.1e of a range of %.1f, %d of %d positions left out\n", name, type,
           how, worst / (high - low), high - low, (int)out, (int)g->n);
    CHECK(worst <= bound * (high - low), "%s, %s, %s: off by %g of the range", name, type, how,
          worst / (high - low));
    CHECK(out * 20 <= g->n, "%s, %s: %d positions of %d left out", name, type, (int)out, (int)g->n);
}

static void compare_case(const char *name, bool bf16) {
    golden g;
    model m = {0};
    const char *type = bf16 ? "bf16" : "f32";
    double bound = bf16 ? 2e-2 : 1e-4, margin = bf16 ? 2e-2 : 1e-3;
    gemm_type products = bf16 ? GEMM_BF16 : GEMM_F32;
    REQUIRE_OK(golden_open(&g, name));
    REQUIRE_OK(golden_write(&g, bf16 ? DTYPE_BF16 : DTYPE_F32, bf16 ? 3 : 1));
    REQUIRE_OK(golden_load(&g, &m));
    float *logits = arena_alloc(&g.memory, (size_t)(g.n * g.config.vocab_size) * sizeof *logits);
    REQUIRE(logits != NULL, "no memory");
    REQUIRE_OK(forward(&g, &m, NULL, 0, g.n, products, logits));
    compare(&g, name, type, "prompt", logits, bound, margin);
    REQUIRE_OK(decode(&g, &m, products, logits));
    compare(&g, name, type, "generated", logits, bound, margin);
    model_clear(&m);
    golden_close(&g);
}

TEST(golden_logits_f32) {
    for (int i = 0; i < N_CASES; i++)
        compare_case(cases[i], false);
}

TEST(golden_logits_bf16) {
    for (int i = 0; i < N_CASES; i++)
        compare_case(cases[i], true);
}

/* -- the same weights in every form a file may have -- */

static bool same_model(const model *a, const model *b) {
    return a->params.count == b->params.count &&
           memcmp(a->params.master, b->params.master, (size_t)a->params.count * sizeof(float)) == 0;
}

/* Replaces the experts of each layer by the two tensors of newer files. */
static status fuse(golden *g, const model *m) {
    int kept = 0;
    for (int i = 0; i < g->n_items; i++)
        if (strstr(g->items[i].name, ".mlp.experts.") == NULL) g->items[kept++] = g->items[i];
    for (int i = 0; i < m->params.n; i++) {
        const param *p = m->params.all[i];
        if (p->rank != 3) continue;
        char *name = arena_strdup(&g->memory, text("%s_proj", p->name));
        if (name == NULL) return STATUS_MEMORY;
        g->items[kept++] = (safetensors_item){
            name, tensor_3d(p->master, DTYPE_F32, p->dim[0], p->dim[1], p->dim[2])};
    }
    g->n_items = kept;
    return golden_folder(g->folder, g->items, kept, 1);
}

TEST(golden_every_form_of_file_gives_the_same_model) {
    golden g;
    model a = {0}, b = {0};
    REQUIRE_OK(golden_open(&g, "deepseek_v3"));
    REQUIRE_OK(golden_write(&g, DTYPE_F32, 1));
    REQUIRE_OK(golden_load(&g, &a));
    static const struct {
        dtype type;
        int shards;
    } forms[] = {{DTYPE_F32, 4}, {DTYPE_F16, 1}, {DTYPE_BF16, 2}};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        REQUIRE_OK(golden_write(&g, forms[i].type, forms[i].shards));
        REQUIRE_OK(golden_load(&g, &b));
        CHECK(same_model(&a, &b), "%s in %d files", dtype_name(forms[i].type), forms[i].shards);
        model_clear(&b);
    }
    REQUIRE_OK(golden_write(&g, DTYPE_F32, 1));
    REQUIRE_OK(fuse(&g, &a));
    REQUIRE_OK(golden_load(&g, &b));
    CHECK(same_model(&a, &b), "fused experts");
    model_clear(&b);
    /* a fused tensor of another shape, and one beside the experts it holds */
    tensor *fused = &g.items[g.n_items - 1].value;
    *fused = tensor_3d(fused->data, DTYPE_F32, fused->dim[0], fused->dim[2], fused->dim[1]);
    REQUIRE_OK(golden_folder(g.folder, g.items, g.n_items, 1));
    CHECK(golden_load(&g, &b) == STATUS_SHAPE, "a turned fused tensor was taken");
    CHECK(strstr(error_last()->what, "experts") != NULL, "%s", error_last()->what);
    model_clear(&b);
    model_clear(&a);
    golden_close(&g);
}

/* -- codes of 8 bits with a scale per block -- */

typedef struct coded {
    int64_t rows, columns, block_columns;
    uint8_t *codes;
    float *scales;
} coded;

static bool make_coded(arena *memory, int64_t rows, int64_t columns, uint32_t seed, coded *c) {
    int64_t down = (rows + 127) / 128, across = (columns + 127) / 128;
    *c = (coded){rows, columns, across, arena_alloc(memory, (size_t)(rows * columns)),
                 arena_alloc(memory, (size_t)(down * across) * sizeof(float))};
    if (c->codes == NULL || c->scales == NULL) return false;
    for (int64_t i = 0; i < rows * columns; i++) {
        c->codes[i] = (uint8_t)(((uint64_t)i * 2654435761u + seed) >> 7);
        if ((c->codes[i] & 0x7F) == 0x7F) c->codes[i] = 0; /* NaN */
    }
    for (int64_t i = 0; i < down * across; i++)
        c->scales[i] = (float)(i + 1) / 4096;
    return true;
}

/* A dense model whose projections are wider than a block, so that edge blocks are cut. */
TEST(golden_block_scaled_codes) {
    model_config c = config_micro_llama();
    arena memory;
    model a, b;
    char plain[PATH_SIZE], file[PATH_SIZE];
    c.d_model = 160, c.head_dim = 70, c.d_ff = 300, c.n_layer = 1;
    REQUIRE_OK(arena_init(&memory, "test", (size_t)1 << 28));
    const char *folder = test_folder();
    REQUIRE_OK(path_join(plain, folder, "plain.safetensors"));
    REQUIRE_OK(path_join(file, folder, "coded.safetensors"));
    if (!model_make(&a, &c, DTYPE_F32, 3)) return;
    REQUIRE_OK(model_save(&a, plain));
    safetensors *f;
    REQUIRE_OK(safetensors_open(&f, plain));
    static safetensors_item items[64];
    static coded codes[32];
    static const char *names[32];
    int n = 0, n_coded = 0;
    for (int i = 0; i < safetensors_count(f); i++, n++) {
        items[n].name = safetensors_at(f, i)->name;
        REQUIRE_OK(safetensors_find(f, items[n].name, &items[n].value));
        if (strstr(items[n].name, "_proj.") == NULL) continue;
        int64_t rows = items[n].value.dim[0], columns = items[n].value.dim[1];
        coded *one = &codes[n_coded];
        REQUIRE(make_coded(&memory, rows, columns, (uint32_t)i, one), "no memory");
        names[n_coded++] = items[n].name;
        items[n].value = tensor_2d(one->codes, DTYPE_F8_E4M3, rows, columns);
        items[n + 1].name = arena_strdup(&memory, text("%s_scale_inv", items[n].name));
        items[n + 1].value =
            tensor_2d(one->scales, DTYPE_F32, (rows + 127) / 128, one->block_columns);
        n++;
    }
    REQUIRE_OK(safetensors_write(file, items, n, NULL, 0));
    REQUIRE_OK(model_init(&b, &c, DTYPE_F32));
    REQUIRE_OK(model_load(&b, file));
    CHECK(n_coded == 7, "%d coded matrices", n_coded);
    for (int i = 0; i < n_coded; i++)
        for (int p = 0; p < b.params.n; p++)
            for (int v = 0; v < b.params.all[p]->n_views; v++) {
                const param_view *view = &b.params.all[p]->views[v];
                if (strcmp(view->name, names[i]) != 0) continue;
                const coded *one = &codes[i];
                const float *w =
                    (const float *)b.params.all[p]->master + view->first_row * one->columns;
                for (int64_t r = 0; r < one->rows; r++)
                    for (int64_t k = 0; k < one->columns; k++) {
                        float scale = one->scales[r / 128 * one->block_columns + k / 128];
                        float want = f8_e4m3_to_f32(one->codes[r * one->columns + k]) * scale;
                        REQUIRE(w[r * one->columns + k] == want, "%s [%d, %d]", names[i], (int)r,
                                (int)k);
                    }
            }
    model_clear(&b);
    /* without a scale, with one of another shape */
    safetensors_item last = items[n - 1];
    for (int turn = 0; turn < 2; turn++) {
        int scale = 0;
        while (strstr(items[scale].name, "_scale_inv") == NULL)
            scale++;
        safetensors_item kept = items[scale];
        if (turn == 0)
            items[scale] = last;
        else
            items[scale].value = tensor_1d(codes[0].scales, DTYPE_F32, 1);
        REQUIRE_OK(safetensors_write(file, items, turn == 0 ? n - 1 : n, NULL, 0));
        items[scale] = kept;
        REQUIRE_OK(model_init(&b, &c, DTYPE_F32));
        status s = model_load(&b, file);
        CHECK(s == (turn == 0 ? STATUS_FORMAT : STATUS_SHAPE), "turn %d: %d", turn, (int)s);
        CHECK(strstr(error_last()->what, kept.name) != NULL, "%s", error_last()->what);
        model_clear(&b);
    }
    safetensors_close(f);
    model_clear(&a);
    arena_clear(&memory);
}

/* -- whole folders -- */

static status golden_config(golden *g, const char *key, json_t *value) {
    char path[PATH_SIZE];
    json_t *config = json_deep_copy(json_object_get(g->json, "config"));
    if (key != NULL) json_object_set_new(config, key, value);
    TRY(path_join(path, g->folder, "config.json"));
    status s = json_write(path, config);
    json_decref(config);
    return s;
}

TEST(golden_folders_open_as_they_are) {
    golden g;
    model a = {0}, b = {0};
    REQUIRE_OK(golden_open(&g, "deepseek_v3-yarn"));
    REQUIRE_OK(golden_write(&g, DTYPE_BF16, 3));
    REQUIRE_OK(golden_load(&g, &a));
    REQUIRE_OK(golden_config(&g, NULL, NULL));
    REQUIRE_OK(model_open(&b, g.folder));
    CHECK(same_model(&a, &b), "folder and file");
    int64_t all = b.params.count * 4;
    CHECK(model_bytes(&b) > all && model_bytes(&b) <= 2 * all, "%" PRId64 " bytes",
          model_bytes(&b));
    model_clear(&b);
    /* the count of MTP layers without any of their tensors */
    REQUIRE_OK(golden_config(&g, "num_nextn_predict_layers", json_integer(1)));
    REQUIRE_OK(model_open(&b, g.folder));
    CHECK(b.config.n_mtp == 0 && same_model(&a, &b), "without the MTP layer");
    model_clear(&b);
    model_clear(&a);
    golden_close(&g);
}

/* -- weights that live once -- */

/* The same bits as with masters, as a prompt and decoded; nothing but small parameters has a master. */
static void held_case(const char *name, dtype type, int shards) {
    golden g;
    model a = {0}, b = {0};
    REQUIRE_OK(golden_open(&g, name));
    REQUIRE_OK(golden_write(&g, type, shards));
    REQUIRE_OK(golden_config(&g, NULL, NULL));
    REQUIRE_OK(model_open(&a, g.folder));
    REQUIRE_OK(model_open_held(&b, g.folder));
    size_t n = (size_t)(g.n * g.config.vocab_size), bytes = n * sizeof(float);
    float *logits[4];
    for (int i = 0; i < 4; i++)
        logits[i] = arena_alloc(&g.memory, bytes);
    REQUIRE(logits[3] != NULL, "memory");
    REQUIRE_OK(forward(&g, &a, NULL, 0, g.n, GEMM_F32, logits[0]));
    REQUIRE_OK(forward(&g, &b, NULL, 0, g.n, GEMM_F32, logits[1]));
    REQUIRE_OK(decode(&g, &a, GEMM_F32, logits[2]));
    REQUIRE_OK(decode(&g, &b, GEMM_F32, logits[3]));
    CHECK(memcmp(logits[0], logits[1], bytes) == 0, "%s, %s: prompt", name, dtype_name(type));
    CHECK(memcmp(logits[2], logits[3], bytes) == 0, "%s, %s: decoded", name, dtype_name(type));
    int64_t held = model_held_bytes(&b, g.folder),
            whole = b.params.count * (int64_t)dtype_size(type);
    CHECK(b.params.master == NULL && b.embedding->master == NULL && b.norm->master != NULL,
          "%s: masters", name);
    CHECK(held >= whole && held <= whole + whole / 4, "%s: %" PRId64 " bytes for %" PRId64, name,
          held, whole);
    model_clear(&b);
    model_clear(&a);
    golden_close(&g);
}

TEST(golden_held_weights_give_the_bits_of_masters) {
    static const char *const names[] = {"llama", "qwen2", "deepseek_v2-lite", "deepseek_v3-yarn"};
    static const dtype types[] = {DTYPE_BF16, DTYPE_F16, DTYPE_F32};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (int t = 0; t < 3; t++)
            held_case(names[i], types[t], t + 1);
}

TEST(golden_held_weights_leave_nothing_when_memory_fails) {
    golden g;
    model m;
    REQUIRE_OK(golden_open(&g, "qwen2"));
    REQUIRE_OK(golden_write(&g, DTYPE_BF16, 1));
    REQUIRE_OK(golden_config(&g, NULL, NULL));
    int64_t before = mem_live_blocks();
    int failures = 0;
    bool failed = true;
    for (int64_t n = 1; failed; n++) {
        mem_fail_at(n);
        status s = model_open_held(&m, g.folder);
        failed = mem_failed();
        mem_fail_at(0);
        failures += failed;
        CHECK(s == STATUS_OK || failed, "status %d", (int)s);
        if (s == STATUS_OK) model_clear(&m);
        CHECK(mem_live_blocks() == before, "allocation %" PRId64 " leaks", n);
    }
    CHECK(failures > 20, "%d failures", failures);
    golden_close(&g);
}

TEST(golden_too_large_a_model_is_refused_with_numbers) {
    golden g;
    model m;
    REQUIRE_OK(golden_open(&g, "llama"));
    REQUIRE_OK(golden_write(&g, DTYPE_F32, 1));
    REQUIRE_OK(golden_config(&g, "intermediate_size", json_integer(1 << 19)));
    char path[PATH_SIZE];
    json_t *config;
    REQUIRE_OK(path_join(path, g.folder, "config.json"));
    REQUIRE_OK(json_read(path, &config));
    json_object_set_new(config, "hidden_size", json_integer(1 << 17));
    json_object_set_new(config, "num_hidden_layers", json_integer(1000));
    REQUIRE_OK(json_write(path, config));
    json_decref(config);
    CHECK(model_open(&m, g.folder) == STATUS_LIMIT, "not refused");
    const error_report *e = error_last();
    CHECK(e->id == F_MODEL_MEMORY && strstr(e->what, "GB") != NULL &&
              strstr(e->why, "bytes") != NULL,
          "%s; %s", e->what, e->why);
    CHECK(m.params.n == 0 && m.params.master == NULL, "something is left");
    golden_close(&g);
}
