/* test_laws.c - what holds for every op: bits, memory, failures.
 *
 * Gradients and outputs are the same bytes for any tier, any number of threads, whatever is
 * recomputed, and for a batch in two parts; a dry run takes the memory of a real one; an
 * allocation that fails gives an error and loses nothing. */
#include "subjects.h"

#include "base/pool.h"
#include "kernels/kernels.h"

#include <math.h>

static size_t reals(const fixture *f, int64_t n) {
    return (size_t)n * dtype_size(f->real);
}

/* Compares outputs, losses and gradients byte for byte. */
static void check_same(const fixture *a, const fixture *b, const char *how) {
    const char *name = a->subject->name;
    CHECK(a->y_rows == b->y_rows && a->y_columns == b->y_columns, "%s, %s: shapes", name, how);
    CHECK(memcmp(a->y, b->y, reals(a, a->y_rows * a->y_columns)) == 0, "%s, %s: outputs differ",
          name, how);
    CHECK(memcmp(a->each, b->each, (size_t)a->layout.n * sizeof *a->each) == 0,
          "%s, %s: losses differ", name, how);
    CHECK(memcmp(a->grad, b->grad, reals(a, a->params.count)) == 0,
          "%s, %s: parameter gradients differ", name, how);
    CHECK(memcmp(a->counts, b->counts, sizeof a->counts) == 0, "%s, %s: counts differ", name, how);
    for (int i = 0; i < a->n_x; i++)
        CHECK(memcmp(a->x[i].grad, b->x[i].grad, reals(a, a->x[i].rows * a->x[i].columns)) == 0,
              "%s, %s: gradients of input %d differ", name, how, i);
}

/* Opens two fixtures and runs the first as reference. */
static bool open_pair(const subject *s, dtype real, fixture *a, fixture *b, run_options o) {
    if (fixture_open(a, s, real) && fixture_open(b, s, real) && fixture_run(a, o) == STATUS_OK)
        return true;
    error_print(stdout, error_last());
    test_fail(__FILE__, __LINE__, "open_pair", "%s", s->name);
    return false;
}

static void close_pair(fixture *a, fixture *b) {
    fixture_close(a);
    fixture_close(b);
}

static const gemm_type types[] = {GEMM_F32, GEMM_BF16, GEMM_BF16_DOT};
#define N_TYPES 3

TEST(laws_tiers_agree) {
    if (kernels_best_tier() == TIER_PORTABLE) SKIP("this CPU has the portable tier only");
    for (int i = 0; i < n_subjects; i++)
        for (int type = 0; type < N_TYPES; type++) {
            fixture a, b;
            run_options o = {.backward = true, .products = types[type]};
            REQUIRE_OK(kernels_init("portable"));
            REQUIRE(open_pair(&subjects[i], DTYPE_F32, &a, &b, o), "setup");
            for (int tier = TIER_PORTABLE + 1; tier < TIER_COUNT; tier++) {
                if (!kernels_offer((cpu_tier)tier)) continue;
                REQUIRE_OK(kernels_init(tier_name((cpu_tier)tier)));
                fixture_forget(&b);
                REQUIRE_OK(fixture_run(&b, o));
                check_same(&a, &b, tier_name((cpu_tier)tier));
            }
            close_pair(&a, &b);
        }
    REQUIRE_OK(kernels_init(NULL));
}

TEST(laws_threads_agree) {
    for (int i = 0; i < n_subjects; i++) {
        fixture a, b;
        run_options o = {.backward = true};
        REQUIRE_OK(pool_start(1));
        REQUIRE(open_pair(&subjects[i], DTYPE_F32, &a, &b, o), "setup");
        REQUIRE_OK(pool_start(2));
        REQUIRE_OK(fixture_run(&b, o));
        pool_stop();
        check_same(&a, &b, "two threads");
        close_pair(&a, &b);
    }
}

static bool keeps_shape(const fixture *f) {
    return f->n_x == 1 && f->y_rows == f->x[0].rows && f->y_columns == f->x[0].columns;
}

/* Runs b under a policy and compares it with a. */
static void check_policy(const fixture *a, fixture *b, run_options o) {
    const char *name = a->subject->name;
    fixture_forget(b);
    REQUIRE_OK(fixture_run(b, o));
    check_same(a, b, o.recompute == RECOMPUTE_FULL ? "recomputed" : "partly recomputed");
    CHECK(memcmp(&a->total, &b->total, sizeof a->total) == 0, "%s: %.17g and %.17g", name, a->total,
          b->total);
    CHECK(b->n_records == 1, "%s: %d records", name, b->n_records);
    CHECK(b->uses == a->uses, "%s: %d uses, not %d", name, b->uses, a->uses);
}

TEST(laws_recomputing_changes_nothing) {
    int n = 0;
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        if (!kernels_offer((cpu_tier)tier)) continue;
        REQUIRE_OK(kernels_init(tier_name((cpu_tier)tier)));
        for (int i = 0; i < N_TYPES * n_subjects; i++) {
            fixture a, b;
            run_options o = {.backward = true, .products = types[i % N_TYPES]};
            REQUIRE(open_pair(&subjects[i / N_TYPES], DTYPE_F32, &a, &b, o), "setup");
            for (int p = RECOMPUTE_SELECTIVE; keeps_shape(&a) && p <= RECOMPUTE_FULL; p++) {
                o.recompute = (recompute_policy)p;
                check_policy(&a, &b, o);
                n++;
            }
            close_pair(&a, &b);
        }
    }
    REQUIRE_OK(kernels_init(NULL));
    CHECK(n >= 32, "only %d runs keep their shape", n);
}

/* Two micro-batches into the same gradients equal one batch, byte for byte. */
TEST(laws_micro_batches_continue) {
    int n = 0;
    for (int i = 0; i < n_subjects; i++) {
        fixture a, b;
        run_options o = {.backward = true};
        if (subjects[i].no_split) continue;
        REQUIRE(open_pair(&subjects[i], DTYPE_F32, &a, &b, o), "setup");
        b.to_sequence = 1;
        REQUIRE_OK(fixture_run(&b, o));
        int64_t counts[N_EXPERT];
        memcpy(counts, b.counts, sizeof counts);
        fixture_forget(&b);
        memcpy(b.counts, counts, sizeof counts);
        b.from_sequence = 1, b.to_sequence = a.to_sequence;
        o.keep_gradients = true;
        REQUIRE_OK(fixture_run(&b, o));
        check_same(&a, &b, "two parts");
        close_pair(&a, &b);
        n++;
    }
    CHECK(n >= 15, "only %d subjects", n);
}

/* dW of `rows` rows in parts of `step`. */
static bool typed_gradient(gemm_type type, int64_t rows, int64_t step, float *grad) {
    enum { IN = 21, OUT = 19 };
    param_set params;
    arena memory;
    int64_t dims[] = {OUT, IN};
    static float x[96 * IN];
    memset(grad, 0, OUT * IN * sizeof *grad);
    for (int i = 0; i < 96 * IN; i++)
        x[i] = (float)sin(0.37 * i);
    bool ok = param_set_init(&params, DTYPE_F32) == STATUS_OK &&
              arena_init(&memory, "tape", (size_t)8 << 20) == STATUS_OK;
    param *w = ok ? param_add(&params, PARAM_MATRIX, "w", 2, dims, 1) : NULL;
    ok = w != NULL && param_set_allocate(&params) == STATUS_OK;
    if (ok) param_set_initialise(&params, 1), param_set_gradients(&params, grad);
    for (int64_t first = 0; ok && first < rows; first += step) {
        tape t;
        ok = tape_init(&t, &memory, &params, (tape_options){.recording = true, .products = type}) ==
             STATUS_OK;
        int64_t n = rows - first < step ? rows - first : step;
        var *y = op_linear(&t, tape_input(&t, x + first * IN, n, IN, true), w);
        tensor dy = var_grad(&t, y);
        for (int64_t i = 0; i < n * OUT && tape_ok(&t); i++)
            ((float *)dy.data)[i] = (float)cos(0.11 * (double)(first * OUT + i));
        ok = ok && tape_backward(&t) == STATUS_OK;
    }
    param_set_clear(&params);
    arena_clear(&memory);
    return ok;
}

TEST(laws_bf16_micro_batches_continue) {
    float whole[19 * 21], parts[19 * 21], odd[19 * 21];
    REQUIRE(typed_gradient(GEMM_BF16, 77, 77, whole) && typed_gradient(GEMM_BF16, 77, 32, parts) &&
                typed_gradient(GEMM_BF16, 77, 25, odd),
            "runs");
    CHECK(memcmp(whole, parts, sizeof whole) == 0, "parts of 32 rows give other bits");
    CHECK(memcmp(whole, odd, sizeof whole) != 0, "parts of 25 rows give the same bits: not bf16?");
    for (int i = 0; i < 19 * 21; i++)
        CHECK(fabsf(whole[i] - odd[i]) < 1e-4f, "entry %d: %g, %g", i, (double)whole[i],
              (double)odd[i]);
}

TEST(laws_dot_micro_batches_continue) {
    float whole[19 * 21], parts[19 * 21], odd[19 * 21], tiles[19 * 21];
    REQUIRE(typed_gradient(GEMM_BF16_DOT, 77, 77, whole) &&
                typed_gradient(GEMM_BF16_DOT, 77, 26, parts) &&
                typed_gradient(GEMM_BF16_DOT, 77, 25, odd) &&
                typed_gradient(GEMM_BF16, 77, 77, tiles),
            "runs");
    CHECK(memcmp(whole, parts, sizeof whole) == 0, "parts of 26 rows give other bits");
    CHECK(memcmp(whole, odd, sizeof whole) != 0,
          "parts of 25 rows give the same bits: not paired?");
    CHECK(memcmp(whole, tiles, sizeof whole) != 0, "the sums of tiles: not bf16-dot?");
}

TEST(laws_dry_runs_take_the_same_memory) {
    for (int i = 0; i < n_subjects; i++)
        for (int mode = 0; mode < 4; mode++) {
            fixture a, b;
            run_options o = {.backward = mode > 0};
            if (i >= n_subjects - 2 && mode > 1) /* blocks */
                o.recompute = (recompute_policy)(mode - 1);
            REQUIRE(open_pair(&subjects[i], DTYPE_F32, &a, &b, o), "setup");
            memset(b.grad, 0x55, reals(&b, b.params.count));
            o.dry = true;
            REQUIRE_OK(fixture_run(&b, o));
            CHECK(a.arena_used == b.arena_used && a.arena_peak == b.arena_peak,
                  "%s: %zu used, %zu peak; dry %zu and %zu", subjects[i].name, a.arena_used,
                  a.arena_peak, b.arena_used, b.arena_peak);
            CHECK(!b.choice.filled && b.total == 0, "%s: a dry run chose or summed",
                  subjects[i].name);
            for (size_t k = 0; k < reals(&b, b.params.count); k++)
                REQUIRE(((unsigned char *)b.grad)[k] == 0x55, "%s: a dry run wrote a gradient",
                        subjects[i].name);
            close_pair(&a, &b);
        }
}

/* Lets the n-th allocation fail for n = 1, 2, ... until a run passes. */
static void walk_failures(const subject *s, recompute_policy recompute) {
    int64_t blocks = mem_live_blocks(), n = 1;
    for (;; n++) {
        fixture f;
        REQUIRE(fixture_open(&f, s, DTYPE_F32), "setup");
        size_t used = f.memory.used;
        mem_fail_at(n);
        status result = fixture_run(&f, (run_options){.backward = true, .recompute = recompute});
        bool failed = mem_failed();
        mem_fail_at(0);
        CHECK(result == (failed ? STATUS_MEMORY : STATUS_OK), "%s: status %d at allocation %d",
              s->name, (int)result, (int)n);
        CHECK(!failed || error_last()->id == F_NO_MEMORY, "%s: the report is not the failure's",
              s->name);
        CHECK(f.memory.used == used, "%s: the arena was not given back", s->name);
        if (failed) { /* and it can be done again */
            fixture_forget(&f);
            REQUIRE_OK(fixture_run(&f, (run_options){.backward = true}));
        }
        fixture_close(&f);
        if (!failed) break;
    }
    CHECK(mem_live_blocks() == blocks, "%s leaks", s->name);
    CHECK(n > 3, "%s: no allocation failed", s->name);
}

TEST(laws_failed_allocations) {
    for (int i = 0; i < n_subjects; i++)
        walk_failures(&subjects[i], RECOMPUTE_NONE);
    walk_failures(&subjects[n_subjects - 1], RECOMPUTE_SELECTIVE);
    walk_failures(&subjects[n_subjects - 1], RECOMPUTE_FULL);
}

TEST(laws_records_and_uses) {
    for (int i = 0; i < n_subjects; i++) {
        const subject *s = &subjects[i];
        fixture f;
        REQUIRE(fixture_open(&f, s, DTYPE_F32), "setup");
        REQUIRE_OK(fixture_run(&f, (run_options){0}));
        CHECK(f.n_records == 0 && f.uses == 0, "%s records without recording", s->name);
        REQUIRE_OK(fixture_run(&f, (run_options){.backward = true}));
        CHECK(f.n_records == s->records, "%s: %d records, not %d", s->name, f.n_records,
              s->records);
        CHECK(f.uses == s->param_uses, "%s: %d uses, not %d", s->name, f.uses, s->param_uses);
        for (int k = 0; k < f.params.n; k++)
            CHECK(f.params.all[k]->uses == 0, "%s: %s has uses left", s->name,
                  f.params.all[k]->name);
        fixture_close(&f);
    }
}
