/* test_forward.c - laws of the forward, all bit for bit: no future leaks, documents and sequences
 * do not see each other, pages equal batches, tiers and threads change nothing. */
#include "model_fixture.h"

#include "base/file.h"
#include "base/pool.h"
#include "kernels/kernels.h"

#include <math.h>

/* A model, memory, and one sample with room for its logits. */
typedef struct bench {
    model m;
    arena memory;
    sample s;
    float *logits, *mtp_logits;
    model_result result;
} bench;

static bool bench_open(bench *b, const model_config *c, const sample_shape *shape) {
    memset(b, 0, sizeof *b);
    if (arena_init(&b->memory, "test", (size_t)2 << 30) != STATUS_OK) return false;
    if (!model_make(&b->m, c, DTYPE_F32, 7)) return false;
    if (!sample_make(&b->s, &b->memory, c, shape)) return false;
    sample_want_logits(&b->s, c);
    size_t count = (size_t)(b->s.batch.layout.n * c->vocab_size);
    b->logits = arena_zalloc(&b->memory, count * sizeof *b->logits);
    b->mtp_logits = arena_zalloc(&b->memory, count * sizeof *b->mtp_logits);
    return b->logits != NULL && b->mtp_logits != NULL;
}

static void bench_close(bench *b) {
    model_clear(&b->m);
    arena_clear(&b->memory);
}

static bool bench_run(bench *b, float *logits, float *mtp_logits) {
    return sample_run(&b->m, &b->memory, &b->s,
                      (run_options){.logits = logits, .mtp_logits = mtp_logits}, &b->result);
}

/* Rows [from, to) of two logit arrays are the same bytes. */
static bool same_rows(const bench *b, const float *x, const float *y, int64_t from, int64_t to) {
    int64_t V = b->m.config.vocab_size;
    return memcmp(x + from * V, y + from * V, (size_t)((to - from) * V) * sizeof *x) == 0;
}

static float *more_logits(bench *b) {
    size_t count = (size_t)(b->s.batch.layout.n * b->m.config.vocab_size);
    return arena_zalloc(&b->memory, count * sizeof(float));
}

static void no_future_leak(const char *name, const model_config *c) {
    bench b;
    REQUIRE(bench_open(&b, c, &(sample_shape){.n_sequences = 1, .length = 80, .seed = 1}), "setup");
    float *logits = more_logits(&b), *mtp = more_logits(&b);
    REQUIRE(mtp != NULL && bench_run(&b, b.logits, b.mtp_logits), "first run");
    static const int64_t changed[] = {1, 40, 63, 64, 79}; /* token t + 1 */
    for (int i = 0; i < 5; i++) {
        int64_t next = changed[i], t = next - 1, end = b.s.batch.layout.n;
        int32_t old = b.s.ids[next];
        b.s.ids[next] = (old + 1) % (int32_t)c->vocab_size;
        sample_targets(&b.s);
        REQUIRE(bench_run(&b, logits, mtp), "second run");
        CHECK(same_rows(&b, logits, b.logits, 0, t + 1), "%s: token %d leaks back", name,
              (int)next);
        CHECK(!same_rows(&b, logits, b.logits, next, end), "%s: token %d has no effect", name,
              (int)next);
        if (c->n_mtp > 0) {
            CHECK(same_rows(&b, mtp, b.mtp_logits, 0, t), "%s: token %d leaks into MTP", name,
                  (int)next);
            CHECK(!same_rows(&b, mtp, b.mtp_logits, t, next),
                  "%s: MTP at %d ignores its next token", name, (int)t);
        }
        b.s.ids[next] = old;
        sample_targets(&b.s);
    }
    bench_close(&b);
}

TEST(forward_no_future_leak) {
    model_config f1m = config_f1m_mtp(), dense = model_preset_find("shakespeare-char")->config;
    no_future_leak("f-1m", &f1m);
    no_future_leak("dense", &dense);
}

TEST(forward_documents_are_isolated) {
    model_config c = config_f1m_mtp();
    bench b;
    REQUIRE(bench_open(&b, &c, &(sample_shape){2, 72, 0, 24, 3}), "setup");
    float *logits = more_logits(&b), *mtp = more_logits(&b);
    REQUIRE(mtp != NULL && bench_run(&b, b.logits, b.mtp_logits), "first run");
    for (int64_t t = 24; t < 48; t++)
        b.s.ids[t] = (b.s.ids[t] + 1) % (int32_t)c.vocab_size;
    sample_targets(&b.s);
    REQUIRE(bench_run(&b, logits, mtp), "second run");
    int64_t end = b.s.batch.layout.n;
    CHECK(same_rows(&b, logits, b.logits, 0, 24) && same_rows(&b, logits, b.logits, 48, end),
          "another document moved");
    CHECK(same_rows(&b, mtp, b.mtp_logits, 0, 24) && same_rows(&b, mtp, b.mtp_logits, 48, end),
          "another document moved in MTP");
    CHECK(!same_rows(&b, logits, b.logits, 24, 48), "the document itself did not move");
    bench_close(&b);
}

/* A document gives the same logits (to rounding: key blocks stand elsewhere) alone as packed. */
TEST(forward_packed_document_equals_lone_one) {
    model_config c = config_f1m_mtp();
    bench packed, lone;
    REQUIRE(bench_open(&packed, &c, &(sample_shape){1, 72, 0, 24, 3}), "setup");
    REQUIRE(bench_open(&lone, &c, &(sample_shape){1, 24, 0, 0, 3}), "setup");
    memcpy(lone.s.ids, packed.s.ids + 48, 24 * sizeof *lone.s.ids);
    sample_targets(&lone.s);
    REQUIRE(bench_run(&packed, packed.logits, packed.mtp_logits), "packed run");
    REQUIRE(bench_run(&lone, lone.logits, lone.mtp_logits), "lone run");
    double most = 0;
    for (int64_t i = 0; i < 24 * c.vocab_size; i++)
        most =
            fmax(most, fabs((double)lone.logits[i] - (double)packed.logits[48 * c.vocab_size + i]));
    CHECK(most < 1e-5, "logits differ by %g", most);
    bench_close(&lone);
    bench_close(&packed);
}

static void rows_ignore_batch(const char *name, const model_config *c) {
    bench all;
    REQUIRE(bench_open(&all, c, &(sample_shape){16, 40, 2, 0, 9}), "setup");
    REQUIRE(bench_run(&all, all.logits, all.mtp_logits), "batch of 16");
    static const int sizes[] = {1, 3};
    for (int i = 0; i < 2; i++) {
        bench few;
        REQUIRE(bench_open(&few, c, &(sample_shape){sizes[i], 40, 2, 0, 9}), "setup");
        REQUIRE(bench_run(&few, few.logits, few.mtp_logits), "batch of %d", sizes[i]);
        CHECK(same_rows(&all, all.logits, few.logits, 0, few.s.batch.layout.n),
              "%s: a batch of %d differs from one of 16", name, sizes[i]);
        CHECK(same_rows(&all, all.mtp_logits, few.mtp_logits, 0, few.s.batch.layout.n),
              "%s: MTP of a batch of %d differs from one of 16", name, sizes[i]);
        bench_close(&few);
    }
    bench_close(&all);
}

TEST(forward_rows_ignore_the_batch) {
    model_config f1m = config_f1m_mtp(), dense = model_preset_find("shakespeare-char")->config;
    rows_ignore_batch("f-1m", &f1m);
    rows_ignore_batch("dense", &dense);
}

/* Feeds tokens [from, to) of the sample's only sequence with keys in pages; logits of all rows. */
static status feed(bench *b, kv_layer_pages *pages, int64_t from, int64_t to, float *logits) {
    int64_t n = to - from, start[2] = {0, n};
    const kv_layer_pages *table[1] = {pages};
    kv_cache_view cache = {table, &to};
    sample chunk = {.batch = {.layout = {n, 1, start, b->s.position + from, b->s.first + from},
                              .ids = b->s.ids + from,
                              .role = ROLE_PROMPT,
                              .cache = &cache,
                              .logit_rows = b->s.rows,
                              .n_logit_rows = n}};
    model_result result = {0};
    run_options o = {.logits = logits + from * b->m.config.vocab_size};
    return sample_run(&b->m, &b->memory, &chunk, o, &result) ? STATUS_OK : STATUS_INTERNAL;
}

static bool same_pages(const model *m, const kv_layer_pages *a, const kv_layer_pages *b,
                       int64_t positions) {
    kv_shape shape = model_kv_shape(m);
    size_t page = KEY_PAGE * dtype_size(m->params.dtype);
    for (int64_t l = 0; l < m->config.n_layer; l++)
        for (int64_t p = 0; p < (positions + KEY_PAGE - 1) / KEY_PAGE; p++)
            if (memcmp(a[l].k[p], b[l].k[p], page * (size_t)shape.k) != 0 ||
                memcmp(a[l].v[p], b[l].v[p], page * (size_t)shape.v) != 0 ||
                memcmp(a[l].shared[p], b[l].shared[p], page * (size_t)shape.shared) != 0)
                return false;
    return true;
}

static void chunks_equal(const char *name, const model_config *c) {
    bench b;
    int64_t n = 150;
    REQUIRE(bench_open(&b, c, &(sample_shape){.n_sequences = 1, .length = n, .seed = 4}), "setup");
    REQUIRE(bench_run(&b, b.logits, b.mtp_logits), "training forward");
    static const int64_t sizes[] = {150, 64, 7, 1};
    kv_layer_pages *whole = NULL;
    for (int i = 0; i < 4; i++) {
        float *logits = more_logits(&b);
        kv_layer_pages *pages = pages_make(&b.memory, &b.m, n);
        REQUIRE(logits != NULL && pages != NULL, "no memory");
        for (int64_t at = 0; at < n; at += sizes[i])
            REQUIRE_OK(feed(&b, pages, at, at + sizes[i] < n ? at + sizes[i] : n, logits));
        CHECK(same_rows(&b, logits, b.logits, 0, n),
              "%s: chunks of %d differ from the training forward", name, (int)sizes[i]);
        if (whole == NULL) whole = pages;
        CHECK(same_pages(&b.m, whole, pages, n), "%s: pages of chunks of %d differ", name,
              (int)sizes[i]);
    }
    bench_close(&b);
}

TEST(forward_prompt_chunks) {
    model_config f1m = config_f1m_mtp(), dense = config_micro_llama();
    dense.n_layer = 3;
    f1m.n_mtp = 0;
    chunks_equal("f-1m", &f1m);
    chunks_equal("dense", &dense);
}

/* Sequences with pages in one call equal each alone. */
TEST(forward_paged_sequences_ignore_each_other) {
    model_config c = config_micro();
    bench b;
    REQUIRE(bench_open(&b, &c, &(sample_shape){3, 90, 30, 0, 6}), "setup");
    b.s.batch.target = b.s.batch.target_mtp = NULL;
    b.s.batch.mtp_logits = false;
    REQUIRE(bench_run(&b, b.logits, NULL), "no pages");
    const kv_layer_pages *table[3];
    int64_t keys[3];
    for (int q = 0; q < 3; q++) {
        keys[q] = b.s.start[q + 1] - b.s.start[q];
        table[q] = pages_make(&b.memory, &b.m, keys[q]);
        REQUIRE(table[q] != NULL, "no memory");
    }
    kv_cache_view cache = {table, keys};
    float *logits = more_logits(&b);
    b.s.batch.cache = &cache;
    b.s.batch.role = ROLE_PROMPT;
    REQUIRE(bench_run(&b, logits, NULL), "pages");
    CHECK(same_rows(&b, logits, b.logits, 0, b.s.batch.layout.n),
          "pages of three sequences differ");
    bench_close(&b);
}

/* Dropout as in the third step of a run, for tokens from the 1000th on. */
static void sample_drop(sample *s, double rate) {
    s->batch.dropout = (model_dropout){rate, 11, 3, 1000};
}

static void tiers_agree(const char *name, const model_config *c, gemm_type products, double rate) {
    bench b;
    REQUIRE(bench_open(&b, c, &(sample_shape){2, 37, 5, 16, 2}), "setup");
    size_t bytes = (size_t)b.m.params.count * sizeof(float);
    float *grad = arena_alloc(&b.memory, bytes), *first = arena_alloc(&b.memory, bytes);
    float *logits = more_logits(&b);
    REQUIRE(grad != NULL && first != NULL && logits != NULL, "no memory");
    sample_drop(&b.s, rate);
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        if (!kernels_offer((cpu_tier)tier)) continue;
        bool base = tier == 0;
        REQUIRE_OK(kernels_init(tier_name((cpu_tier)tier)));
        param_set_changed(&b.m.params); /* packed copies belong to a tier */
        run_options o = {
            .grad = base ? first : grad, .logits = base ? b.logits : logits, .products = products};
        REQUIRE(sample_run(&b.m, &b.memory, &b.s, o, &b.result), "%s", tier_name((cpu_tier)tier));
        if (base) continue;
        CHECK(same_rows(&b, logits, b.logits, 0, b.s.batch.layout.n), "%s: logits on %s differ",
              name, tier_name((cpu_tier)tier));
        CHECK(memcmp(first, grad, bytes) == 0, "%s: gradients on %s differ", name,
              tier_name((cpu_tier)tier));
    }
    REQUIRE_OK(kernels_init(NULL));
    bench_close(&b);
}

TEST(forward_tiers_agree) {
    model_config f1m = config_f1m_mtp(), dense = model_preset_find("shakespeare-char")->config;
    tiers_agree("f-1m f32", &f1m, GEMM_F32, 0);
    tiers_agree("f-1m bf16", &f1m, GEMM_BF16, 0.1);
    tiers_agree("f-1m bf16-dot", &f1m, GEMM_BF16_DOT, 0);
    tiers_agree("dense f32", &dense, GEMM_F32, 0.2);
    tiers_agree("dense bf16", &dense, GEMM_BF16, 0);
    tiers_agree("dense bf16-dot", &dense, GEMM_BF16_DOT, 0.2);
}

/* Threads and recomputing: one set of gradients. Runs 0 to 5: policy i / 2, threads 1 + i % 2. */
static void runs_agree(const char *name, const model_config *c, gemm_type products, double rate,
                       int step) {
    bench b;
    REQUIRE(bench_open(&b, c, &(sample_shape){2, 70, 30, 30, 8}), "setup");
    b.s.batch.n_logit_rows = 0;
    b.s.batch.mtp_logits = false;
    size_t bytes = (size_t)b.m.params.count * sizeof(float);
    float *first = arena_alloc(&b.memory, bytes), *grad = arena_alloc(&b.memory, bytes);
    REQUIRE(first != NULL && grad != NULL, "no memory");
    sample_drop(&b.s, rate);
    double loss = 0;
    int64_t counted = 0;
    for (int i = 0; i < 6; i += step) {
        REQUIRE_OK(pool_start(i % 2 == 0 ? 1 : 2));
        model_counts_clear(&b.m);
        run_options o = {.grad = i == 0 ? first : grad,
                         .recompute = (recompute_policy)(i / 2),
                         .products = products};
        REQUIRE(sample_run(&b.m, &b.memory, &b.s, o, &b.result), "run %d", i);
        int64_t sum = 0;
        for (int e = 0; e < c->n_expert; e++)
            sum += b.m.layers[c->n_layer - 1].counts[e];
        if (i == 0) loss = b.result.loss_sum, counted = sum;
        const char *how = text("%s, threads %d, recompute %d", name, 1 + i % 2, i / 2);
        CHECK(i == 0 || memcmp(first, grad, bytes) == 0, "%s: gradients differ", how);
        CHECK(loss == b.result.loss_sum, "%s: loss differs", how);
        CHECK(sum == counted && sum == b.s.batch.layout.n * c->n_expert_used,
              "%s: %" PRId64 " choices counted", how, sum);
    }
    pool_stop();
    bench_close(&b);
}

TEST(forward_threads_and_recomputing) {
    model_config f1m = config_f1m_mtp(), dense = model_preset_find("shakespeare-char")->config;
    runs_agree("f-1m f32", &f1m, GEMM_F32, 0.1, 1);
    runs_agree("f-1m bf16", &f1m, GEMM_BF16, 0, 3);
    runs_agree("dense f32, dropout", &dense, GEMM_F32, 0.2, 1);
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        if (!kernels_offer((cpu_tier)tier)) continue;
        const char *on = tier_name((cpu_tier)tier);
        REQUIRE_OK(kernels_init(on));
        runs_agree(text("f-1m bf16-dot, %s", on), &f1m, GEMM_BF16_DOT, 0.2, 2);
        runs_agree(text("dense f32, %s", on), &dense, GEMM_F32, 0, 2);
    }
    REQUIRE_OK(kernels_init(NULL));
}

/* Steps and places in the batch decide the mask; without a rate, neither does. */
TEST(forward_dropout_follows_step_and_token) {
    model_config c = config_micro();
    bench b;
    double loss[5];
    static const model_dropout masks[5] = {
        {0.2, 11, 3, 0}, {0.2, 11, 4, 0}, {0.2, 11, 3, 7}, {0, 11, 3, 0}, {0, 12, 9, 5}};
    REQUIRE(bench_open(&b, &c, &(sample_shape){2, 37, 5, 16, 2}), "setup");
    for (int i = 0; i < 5; i++) {
        b.s.batch.dropout = masks[i];
        REQUIRE(sample_run(&b.m, &b.memory, &b.s, (run_options){0}, &b.result), "run %d", i);
        loss[i] = b.result.loss_sum;
        for (int k = 0; k < i && i < 4; k++)
            CHECK(loss[i] != loss[k], "masks %d and %d give one loss", i, k);
    }
    CHECK(loss[3] == loss[4], "without a rate the step changes the loss");
    bench_close(&b);
}

/* Tied head, deviation s of the embedding: ln V + d s^2 / 2. */
TEST(forward_first_loss) {
    static const char *names[] = {"shakespeare-char", "f-1m"};
    for (int i = 0; i < 2; i++) {
        model_config c = model_preset_find(names[i])->config;
        bench b;
        REQUIRE(bench_open(&b, &c, &(sample_shape){8, 64, 0, 0, 12}), "setup");
        b.s.batch.n_logit_rows = 0;
        param_set_initialise(&b.m.params, 1);
        REQUIRE(bench_run(&b, NULL, NULL), "run");
        double loss = b.result.loss_sum / (double)b.result.counted;
        double expected =
            log((double)c.vocab_size) + (double)c.d_model * c.init_std * c.init_std / 2;
        CHECK(fabs(loss - expected) < 0.03, "%s: %.4f, expected %.4f", names[i], loss, expected);
        bench_close(&b);
    }
}

TEST(forward_loss_of_each_token) {
    model_config c = config_micro();
    bench b;
    REQUIRE(bench_open(&b, &c, &(sample_shape){2, 20, 3, 7, 4}), "setup");
    double *each = arena_zalloc(&b.memory, (size_t)b.s.batch.layout.n * sizeof *each), sum = 0;
    b.result.each = each;
    REQUIRE(bench_run(&b, b.logits, b.mtp_logits), "run");
    int64_t counted = 0;
    for (int64_t i = 0; i < b.s.batch.layout.n; i++) {
        sum += each[i];
        counted += b.s.target[i] >= 0;
        CHECK((b.s.target[i] >= 0) == (each[i] > 0), "token %d: %g nats", (int)i, each[i]);
    }
    CHECK(counted == b.result.counted, "%" PRId64 " counted", b.result.counted);
    CHECK(fabs(sum - b.result.loss_sum) < 1e-9, "sum of each %g, sum %g", sum, b.result.loss_sum);
    bench_close(&b);
}

TEST(forward_balance_moves_the_bias) {
    model_config c = config_micro();
    bench b;
    REQUIRE(bench_open(&b, &c, &(sample_shape){2, 20, 3, 7, 4}), "setup");
    model_layer *l = &b.m.layers[1];
    REQUIRE(l->choice >= 0 && l->counts != NULL, "layer 1 is dense");
    float before[4], *bias = l->router_bias->master;
    memcpy(before, bias, sizeof before);
    uint64_t version = l->router_bias->version;
    model_counts_clear(&b.m);
    l->counts[0] = 10, l->counts[1] = 4, l->counts[2] = 5, l->counts[3] = 1; /* mean 5 */
    model_balance(&b.m, 0.5);
    static const float step[] = {-0.5f, 0.5f, 0, 0.5f};
    for (int e = 0; e < 4; e++)
        CHECK(bias[e] == before[e] + step[e], "expert %d: %g -> %g", e, (double)before[e],
              (double)bias[e]);
    CHECK(l->router_bias->version != version, "the change is not known");
    model_counts_clear(&b.m);
    memcpy(before, bias, sizeof before);
    model_balance(&b.m, 0.5);
    CHECK(memcmp(before, bias, sizeof before) == 0, "no counts, but a step");
    bench_close(&b);
}

TEST(forward_refuses_bad_batches) {
    model_config c = config_micro();
    bench b;
    REQUIRE(bench_open(&b, &c, &(sample_shape){1, 10, 0, 0, 4}), "setup");
    tape t;
    model_result r = {0};
    size_t mark = arena_mark(&b.memory);
    static const struct {
        int array; /* ids, target, MTP target, next id */
        int32_t value;
    } cases[] = {{0, 37}, {0, -1}, {1, 37}, {1, -2}, {2, 37}, {3, 37}, {3, -1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int32_t *arrays[] = {b.s.ids, b.s.target, b.s.target_mtp, b.s.next_id};
        int32_t *at = &arrays[cases[i].array][4], old = *at;
        *at = cases[i].value;
        REQUIRE_OK(tape_init(&t, &b.memory, &b.m.params, (tape_options){0}));
        status s = model_forward(&b.m, &t, &b.s.batch, &r);
        CHECK(s == STATUS_FORMAT && error_last()->id == F_TOKEN_RANGE, "case %d: status %d", (int)i,
              (int)s);
        *at = old;
        arena_reset(&b.memory, mark);
    }
    b.s.batch.next_id = NULL;
    REQUIRE_OK(tape_init(&t, &b.memory, &b.m.params, (tape_options){0}));
    CHECK(model_forward(&b.m, &t, &b.s.batch, &r) == STATUS_INTERNAL, "MTP without next ids");
    bench_close(&b);
}

/* A dry tape computes nothing and takes the same memory: how a plan knows a step's size. */
TEST(forward_dry_tape_measures_memory) {
    model_config c = config_f1m_mtp();
    bench b;
    REQUIRE(bench_open(&b, &c, &(sample_shape){2, 70, 30, 30, 8}), "setup");
    b.s.batch.n_logit_rows = 0;
    b.s.batch.mtp_logits = false;
    float *grad = arena_zalloc(&b.memory, (size_t)b.m.params.count * sizeof *grad);
    REQUIRE(grad != NULL, "no memory");
    param_set_gradients(&b.m.params, grad);
    for (int policy = RECOMPUTE_NONE; policy <= RECOMPUTE_FULL; policy++) {
        size_t peak[2], mark = arena_mark(&b.memory);
        b.s.batch.recompute = (recompute_policy)policy;
        for (int dry = 0; dry < 2; dry++) {
            tape t;
            b.memory.peak = mark;
            REQUIRE_OK(tape_init(&t, &b.memory, &b.m.params,
                                 (tape_options){.recording = true, .dry = dry == 1}));
            REQUIRE_OK(model_forward(&b.m, &t, &b.s.batch, &b.result));
            REQUIRE_OK(tape_backward(&t));
            peak[dry] = b.memory.peak - mark;
            arena_reset(&b.memory, mark);
            CHECK((b.result.loss_sum == 0) == (dry == 1), "dry %d: loss %g", dry,
                  b.result.loss_sum);
        }
        CHECK(peak[0] == peak[1], "recompute %d: %zu bytes, dry %zu", policy, peak[0], peak[1]);
        printf("  recompute %d: %zu bytes per token\n", policy,
               peak[0] / (size_t)b.s.batch.layout.n);
    }
    bench_close(&b);
}

/* The same weights in double: single precision is off by rounding only. */
TEST(forward_single_precision_follows_double) {
    model_config c = config_f1m_mtp();
    bench b;
    model wide;
    char path[PATH_SIZE];
    REQUIRE(bench_open(&b, &c, &(sample_shape){2, 70, 30, 30, 8}), "setup");
    REQUIRE(bench_run(&b, b.logits, b.mtp_logits), "single");
    REQUIRE_OK(path_join(path, test_folder(), "model.safetensors"));
    REQUIRE_OK(model_save(&b.m, path));
    REQUIRE_OK(model_init(&wide, &c, DTYPE_F64));
    REQUIRE_OK(model_load(&wide, path));
    int64_t n = b.s.batch.layout.n * c.vocab_size;
    double *logits = arena_alloc(&b.memory, (size_t)n * sizeof *logits), most = 0;
    model_result r = {0};
    REQUIRE(logits != NULL, "no memory");
    bool ran = sample_run(&wide, &b.memory, &b.s, (run_options){.logits = logits}, &r);
    REQUIRE(ran, "double");
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)b.logits[i] - logits[i]));
    CHECK(most < 1e-5, "logits differ by %g", most);
    CHECK(fabs(r.loss_sum - b.result.loss_sum) < 1e-5 * r.loss_sum, "losses %g and %g",
          b.result.loss_sum, r.loss_sum);
    model_clear(&wide);
    bench_close(&b);
}
