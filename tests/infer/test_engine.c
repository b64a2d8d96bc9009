/* Sessions: chunking, batching, pages, limits and lost memory, on small models of both families. */
#include "base/pool.h"
#include "base/rng.h"
#include "infer/infer.h"
#include "kernels/kernels.h"
#include "model/presets.h"
#include "test.h"

#define VOCAB 97
#define LONG  150 /* more than two pages */

static void small(model_config *c, bool dense) {
    *c = model_preset_find(dense ? "shakespeare-char" : "f-1m")->config;
    c->vocab_size = VOCAB;
    c->n_layer = 2;
    c->d_model = 64;
    c->d_ff = 96;
    c->max_position = 512;
    if (dense) {
        c->n_head = 4, c->n_kv_head = 2, c->head_dim = 16;
    } else {
        c->n_expert = 4, c->n_expert_used = 2, c->d_expert = 32;
    }
}

static status open_model(model *m, bool dense) {
    model_config c;
    small(&c, dense);
    TRY(model_init(m, &c, DTYPE_F32));
    param_set_initialise(&m->params, 11);
    return STATUS_OK;
}

static void fill_ids(int32_t *ids, int64_t n, uint64_t seed) {
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)rng_below(rng_at(seed, RNG_TEST, 0), (uint64_t)i, VOCAB);
}

static status feed_chunks(session *s, engine *e, const int32_t *ids, int64_t n, int64_t chunk,
                          float *logits) {
    for (int64_t at = 0; at < n; at += chunk) {
        session_feed f = {s, ids + at, n - at < chunk ? n - at : chunk};
        TRY(engine_step(e, &f, 1, ROLE_PROMPT, logits));
    }
    return STATUS_OK;
}

static bool pages_equal(const model *m, const session *a, const session *b, int64_t n) {
    kv_shape shape = model_kv_shape(m);
    for (int l = 0; l < (int)m->config.n_layer; l++) {
        kv_layer_pages x = session_pages(a, l), y = session_pages(b, l);
        for (int64_t i = 0; i < n; i++) {
            int64_t p = i / KEY_PAGE, r = i % KEY_PAGE;
            const float *xk = x.k[p], *yk = y.k[p], *xs = x.shared[p], *ys = y.shared[p],
                        *xv = x.v[p], *yv = y.v[p];
            if (memcmp(xk + r * shape.k, yk + r * shape.k, (size_t)shape.k * 4) != 0 ||
                memcmp(xs + r * shape.shared, ys + r * shape.shared, (size_t)shape.shared * 4) !=
                    0 ||
                memcmp(xv + r * shape.v, yv + r * shape.v, (size_t)shape.v * 4) != 0)
                return false;
        }
    }
    return true;
}

static void chunks_agree(bool dense) {
    model m;
    engine *e;
    session *whole, *cut;
    REQUIRE_OK(open_model(&m, dense));
    REQUIRE_OK(engine_new(&e, &m, 2048));
    REQUIRE_OK(session_new(&whole, e));
    int32_t ids[LONG];
    float expected[VOCAB], got[VOCAB];
    fill_ids(ids, LONG, 1);
    REQUIRE_OK(feed_chunks(whole, e, ids, LONG, LONG, expected));
    int64_t chunks[] = {1, 7, 64, 100};
    for (int i = 0; i < 4; i++) {
        REQUIRE_OK(session_new(&cut, e));
        REQUIRE_OK(feed_chunks(cut, e, ids, LONG, chunks[i], got));
        CHECK(memcmp(expected, got, sizeof got) == 0, "chunks of %d: other logits", (int)chunks[i]);
        CHECK(pages_equal(&m, whole, cut, LONG), "chunks of %d: other keys", (int)chunks[i]);
        session_free(cut);
    }
    session_free(whole);
    engine_free(e);
    model_clear(&m);
}

TEST(engine_chunked_prompts_agree_mla) {
    chunks_agree(false);
}
TEST(engine_chunked_prompts_agree_gqa) {
    chunks_agree(true);
}

TEST(engine_batches_agree) {
    model m;
    engine *e;
    REQUIRE_OK(pool_start(2));
    REQUIRE_OK(open_model(&m, false));
    REQUIRE_OK(engine_new(&e, &m, 8192));
    enum { N = 16 };
    int32_t ids[N][90];
    static float alone[N][VOCAB], together[N][VOCAB];
    int sizes[] = {1, 3, N};
    for (int i = 0; i < N; i++) {
        session *s;
        fill_ids(ids[i], 90, (uint64_t)i + 5);
        REQUIRE_OK(session_new(&s, e));
        REQUIRE_OK(feed_chunks(s, e, ids[i], 5 * i + 1, 33, alone[i]));
        session_free(s);
    }
    for (int k = 0; k < 3; k++) {
        session *s[N];
        session_feed f[N];
        for (int i = 0; i < sizes[k]; i++) {
            REQUIRE_OK(session_new(&s[i], e));
            f[i] = (session_feed){s[i], ids[i], 5 * i + 1};
        }
        REQUIRE_OK(engine_step(e, f, sizes[k], ROLE_PROMPT, together[0]));
        for (int i = 0; i < sizes[k]; i++) {
            CHECK(memcmp(alone[i], together[i], sizeof alone[i]) == 0, "batch of %d, session %d",
                  sizes[k], i);
            session_free(s[i]);
        }
    }
    CHECK(engine_free_pages(e) == 8192, "pages lost: %d left", (int)engine_free_pages(e));
    engine_free(e);
    model_clear(&m);
    pool_stop();
}

TEST(engine_cut_and_go_on) {
    model m;
    engine *e;
    session *s, *fresh;
    REQUIRE_OK(open_model(&m, false));
    REQUIRE_OK(engine_new(&e, &m, 1024));
    REQUIRE_OK(session_new(&s, e));
    REQUIRE_OK(session_new(&fresh, e));
    int32_t ids[LONG], other[LONG];
    float a[VOCAB], b[VOCAB];
    fill_ids(ids, LONG, 1);
    fill_ids(other, LONG, 2);
    memcpy(other, ids, 70 * sizeof *ids);
    REQUIRE_OK(feed_chunks(s, e, ids, LONG, LONG, a));
    session_cut(s, 70);
    CHECK(session_length(s) == 70, "length %d", (int)session_length(s));
    REQUIRE_OK(feed_chunks(s, e, other + 70, 60, 60, a));
    REQUIRE_OK(feed_chunks(fresh, e, other, 130, 130, b));
    CHECK(memcmp(a, b, sizeof a) == 0, "a cut session differs from a fresh one");
    session_free(s);
    session_free(fresh);
    engine_free(e);
    model_clear(&m);
}

TEST(engine_limits_are_clean) {
    model m;
    engine *e;
    session *s, *t;
    REQUIRE_OK(open_model(&m, true));
    REQUIRE_OK(engine_new(&e, &m, 128));
    REQUIRE_OK(session_new(&s, e));
    REQUIRE_OK(session_new(&t, e));
    int32_t ids[600];
    float a[VOCAB], b[VOCAB];
    fill_ids(ids, 600, 1);
    REQUIRE_OK(feed_chunks(s, e, ids, 60, 60, NULL));
    session_feed both[] = {{s, ids, 3}, {t, ids, 100}};
    CHECK(engine_step(e, both, 2, ROLE_PROMPT, NULL) != STATUS_OK &&
              error_last()->id == F_CONTEXT_FULL,
          "two pages for 63 + 100 tokens");
    CHECK(session_length(s) == 60 && session_length(t) == 0, "sessions moved");
    CHECK(engine_free_pages(e) == 64, "pages kept by a failed step: %d", (int)engine_free_pages(e));
    session_feed beyond = {s, ids, 500};
    CHECK(engine_step(e, &beyond, 1, ROLE_PROMPT, NULL) != STATUS_OK, "past the context");
    int32_t wrong[] = {1, VOCAB};
    session_feed bad = {s, wrong, 2};
    CHECK(engine_step(e, &bad, 1, ROLE_PROMPT, NULL) != STATUS_OK &&
              error_last()->id == F_TOKEN_RANGE,
          "id outside the vocabulary");
    session_feed good = {s, ids + 60, 4};
    REQUIRE_OK(engine_step(e, &good, 1, ROLE_PROMPT, a));
    REQUIRE_OK(feed_chunks(t, e, ids, 64, 64, b));
    CHECK(memcmp(a, b, sizeof a) == 0, "failures left a trace");
    session_free(s);
    session_free(t);
    engine_free(e);
    model_clear(&m);
}

TEST(engine_reports_lost_memory) {
    model m;
    REQUIRE_OK(open_model(&m, false));
    int32_t ids[70];
    float logits[VOCAB];
    fill_ids(ids, 70, 1);
    engine *warm; /* packed copies are made once */
    session *first;
    REQUIRE_OK(engine_new(&warm, &m, 256));
    REQUIRE_OK(session_new(&first, warm));
    REQUIRE_OK(feed_chunks(first, warm, ids, 70, 70, logits));
    session_free(first);
    engine_free(warm);
    int64_t before = mem_live_blocks();
    for (int64_t n = 1; n < 5000; n++) {
        engine *e = NULL;
        session *s = NULL;
        mem_fail_at(n);
        status result = engine_new(&e, &m, 256);
        if (result == STATUS_OK) result = session_new(&s, e);
        if (result == STATUS_OK) result = feed_chunks(s, e, ids, 70, 70, logits);
        bool failed = mem_failed();
        mem_fail_at(0);
        session_free(s);
        engine_free(e);
        REQUIRE(mem_live_blocks() == before, "leak at allocation %" PRId64, n);
        if (!failed) {
            REQUIRE(result == STATUS_OK, "runs without failure");
            model_clear(&m);
            return;
        }
        REQUIRE(result == STATUS_MEMORY, "allocation %" PRId64 ": status %d", n, (int)result);
    }
    CHECK(false, "never ran through");
}
