/* test_lanes.c - the gradient of a batch: its sums, and what it must not depend on. */
#include "train_fixture.h"

#include "train/trainer.h"

#include "base/pool.h"

#include <math.h>

TEST(lanes_cut_rows_without_gaps) {
    for (int rows = 1; rows < 40; rows++)
        for (int n = 1; n <= rows; n++) {
            CHECK(lane_first_row(rows, n, 0) == 0 && lane_first_row(rows, n, n) == rows, "%d %d",
                  rows, n);
            for (int i = 0; i < n; i++)
                CHECK(lane_first_row(rows, n, i) < lane_first_row(rows, n, i + 1),
                      "lane %d of %d is empty", i, n);
        }
}

TEST(lanes_need_logarithmic_buffers) {
    const int expected[][2] = {{1, 1}, {2, 2}, {3, 3}, {4, 3}, {5, 4}, {8, 4}, {16, 5}, {1024, 11}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        CHECK(lanes_buffers(expected[i][0]) == expected[i][1], "%d lanes: %d", expected[i][0],
              lanes_buffers(expected[i][0]));
}

/* -- gradients of a small model -- */

typedef struct change {
    int lanes, micro_batch, threads;
    recompute_policy recompute;
    train_precision precision;
} change;

/* The gradient of the first batch under a change; mem_free it. */
static status first_gradient(fixture_model kind, change c, float **gradient, int64_t *count) {
    train_settings s;
    trainer t;
    gradient_result r;
    TRY(fixture_settings(&s, "lanes", kind, 10));
    s.grad_lanes = c.lanes;
    s.micro_batch = c.micro_batch;
    s.recompute = c.recompute;
    s.precision = c.precision;
    s.learning_rate = 1e-3;
    s.dropout = kind == FIXTURE_DENSE ? 0.2 : 0;
    TRY(pool_start(c.threads));
    TRY(trainer_open(&t, &s));
    status result = rows_load(&t.rows, t.train, 0, 1, t.rows.capacity);
    if (result == STATUS_OK)
        result = lanes_gradient(&t.lanes, &t.model, &t.rows, &t.gradient, &t.step_memory, &r);
    *count = t.model.params.count;
    *gradient = mem_zalloc((size_t)*count, sizeof(float));
    if (*gradient == NULL) result = STATUS_MEMORY;
    if (result == STATUS_OK) memcpy(*gradient, t.lanes.buffer[0], (size_t)*count * sizeof(float));
    trainer_close(&t);
    return result;
}

static void expect_equal_gradients(const char *what, fixture_model kind, change a, change b) {
    float *x, *y;
    int64_t n, m;
    REQUIRE_OK(first_gradient(kind, a, &x, &n));
    REQUIRE_OK(first_gradient(kind, b, &y, &m));
    REQUIRE(n == m, "%" PRId64 " and %" PRId64, n, m);
    int64_t differ = 0;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        differ += memcmp(&x[i], &y[i], sizeof(float)) != 0;
        sum += fabs((double)x[i]);
    }
    CHECK(differ == 0, "%s: %" PRId64 " of %" PRId64 " elements differ", what, differ, n);
    CHECK(sum > 0, "%s: the gradient is zero", what);
    mem_free(x);
    mem_free(y);
}

TEST(gradient_does_not_depend_on_threads) {
    for (int kind = FIXTURE_DENSE; kind <= FIXTURE_EXPERTS; kind++)
        expect_equal_gradients("1 and 2 threads", (fixture_model)kind,
                               (change){4, 0, 1, RECOMPUTE_NONE, PRECISION_F32},
                               (change){4, 0, 2, RECOMPUTE_NONE, PRECISION_F32});
    expect_equal_gradients("1 and 3 threads, bf16-dot", FIXTURE_EXPERTS,
                           (change){4, 0, 1, RECOMPUTE_NONE, PRECISION_BF16_DOT},
                           (change){4, 0, 3, RECOMPUTE_NONE, PRECISION_BF16_DOT});
    expect_equal_gradients("1 and 3 threads, bf16", FIXTURE_EXPERTS,
                           (change){4, 0, 1, RECOMPUTE_NONE, PRECISION_BF16},
                           (change){4, 0, 3, RECOMPUTE_NONE, PRECISION_BF16});
}

TEST(gradient_does_not_depend_on_recomputing) {
    for (int kind = FIXTURE_DENSE; kind <= FIXTURE_EXPERTS; kind++)
        for (int policy = RECOMPUTE_SELECTIVE; policy <= RECOMPUTE_FULL; policy++)
            for (int p = PRECISION_F32; p <= PRECISION_BF16_DOT; p++)
                expect_equal_gradients(
                    text("recompute %d, precision %d", policy, p), (fixture_model)kind,
                    (change){4, 0, 2, RECOMPUTE_NONE, (train_precision)p},
                    (change){4, 0, 2, (recompute_policy)policy, (train_precision)p});
}

/* Products continue their chains across micro-batches, so hidden matrices get the same bits. Norms
 * are summed by a tree per forward, and a tied embedding gets its two contributions in turns: there
 * only rounding differs, which is why a run records its micro-batch. */
TEST(micro_batch_changes_no_matrix_and_little_else_in_f32) {
    float *whole, *parts;
    int64_t n;
    train_settings s;
    trainer t;
    REQUIRE_OK(first_gradient(FIXTURE_DENSE, (change){1, 8, 2, RECOMPUTE_NONE, PRECISION_F32},
                              &whole, &n));
    REQUIRE_OK(fixture_settings(&s, "kinds", FIXTURE_DENSE, 10));
    REQUIRE_OK(trainer_open(&t, &s));
    for (int micro = 1; micro <= 3; micro += 2) {
        REQUIRE_OK(first_gradient(
            FIXTURE_DENSE, (change){1, micro, 2, RECOMPUTE_NONE, PRECISION_F32}, &parts, &n));
        for (int p = 0; p < t.model.params.n; p++) {
            const param *one = t.model.params.all[p];
            double square = 0, off = 0;
            for (int64_t i = one->offset; i < one->offset + one->count; i++) {
                square += (double)whole[i] * (double)whole[i];
                off +=
                    ((double)whole[i] - (double)parts[i]) * ((double)whole[i] - (double)parts[i]);
            }
            bool exact = one->kind == PARAM_MATRIX;
            CHECK(exact ? off == 0 : off <= 1e-10 * square,
                  "%s, micro-batch %d: off by %.3g of %.3g", one->name, micro, sqrt(off),
                  sqrt(square));
        }
        mem_free(parts);
    }
    mem_free(whole);
    trainer_close(&t);
}

/* 1 lane is one chain, 8 lanes are a tree: the same sum up to rounding, and the tree is the one
 * that lanes.c draws. */
TEST(lanes_agree_with_the_sum_over_the_batch) {
    float *one, *eight;
    int64_t n;
    REQUIRE_OK(first_gradient(FIXTURE_EXPERTS, (change){1, 0, 1, RECOMPUTE_NONE, PRECISION_F32},
                              &one, &n));
    REQUIRE_OK(first_gradient(FIXTURE_EXPERTS, (change){8, 0, 1, RECOMPUTE_NONE, PRECISION_F32},
                              &eight, &n));
    double dot = 0, xx = 0, yy = 0;
    for (int64_t i = 0; i < n; i++) {
        dot += (double)one[i] * (double)eight[i];
        xx += (double)one[i] * (double)one[i];
        yy += (double)eight[i] * (double)eight[i];
    }
    CHECK(dot / sqrt(xx * yy) > 1 - 1e-9 && fabs(xx / yy - 1) < 1e-5, "cosine %.12f, squares %g %g",
          dot / sqrt(xx * yy), xx, yy);
    mem_free(one);
    mem_free(eight);
}

/* Gradient of the rows of one lane alone, scaled as part of the whole batch. */
static status lane_gradient(trainer *t, int lane, float *out) {
    lanes single;
    gradient_result r;
    row_set part = t->rows;
    int first = lane_first_row(t->rows.n, t->lanes.n, lane),
        end = lane_first_row(t->rows.n, t->lanes.n, lane + 1);
    int64_t at = first * t->rows.seq_len;
    part.ids += at, part.target += at, part.next_id += at, part.target_mtp += at, part.first += at;
    part.n = end - first; /* counts stay those of the whole batch */
    TRY(lanes_init(&single, 1, t->model.params.count));
    status s = lanes_gradient(&single, &t->model, &part, &t->gradient, &t->step_memory, &r);
    memcpy(out, single.buffer[0], (size_t)t->model.params.count * sizeof(float));
    lanes_clear(&single);
    return s;
}

TEST(lanes_are_summed_as_a_binary_tree) {
    train_settings s;
    trainer t;
    gradient_result r;
    REQUIRE_OK(fixture_settings(&s, "tree", FIXTURE_DENSE, 10));
    s.grad_lanes = 8;
    REQUIRE_OK(trainer_open(&t, &s));
    REQUIRE_OK(rows_load(&t.rows, t.train, 0, 1, 8));
    int64_t n = t.model.params.count;
    float *leaf = mem_zalloc((size_t)n * 8, sizeof(float));
    REQUIRE(leaf != NULL, "no memory");
    for (int i = 0; i < 8; i++)
        REQUIRE_OK(lane_gradient(&t, i, leaf + i * n));
    REQUIRE_OK(lanes_gradient(&t.lanes, &t.model, &t.rows, &t.gradient, &t.step_memory, &r));
    int64_t differ = 0;
    for (int64_t i = 0; i < n; i++) {
        float a = (leaf[i] + leaf[n + i]) + (leaf[2 * n + i] + leaf[3 * n + i]);
        float b = (leaf[4 * n + i] + leaf[5 * n + i]) + (leaf[6 * n + i] + leaf[7 * n + i]);
        float sum = a + b;
        differ += memcmp(&sum, &t.lanes.buffer[0][i], sizeof sum) != 0;
    }
    CHECK(differ == 0, "%" PRId64 " of %" PRId64 " elements are not ((0+1)+(2+3))+((4+5)+(6+7))",
          differ, n);
    mem_free(leaf);
    trainer_close(&t);
}
