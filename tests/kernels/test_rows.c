/* test_rows.c - row kernels: f32 against f64 by tolerance, every tier and thread count against
 * portable with one thread by memcmp, and what single kernels promise beyond that. */
#include "kernel_test.h"

#include "kernels/functions.h"

/* Outputs of a case, one after the other. */
typedef struct output {
    dtype t;
    void *data;
    int64_t n, capacity;
} output;

static void emit(output *o, const void *values, int64_t n) {
    if (o->n + n > o->capacity) {
        fprintf(stderr, "output of a test case too small\n");
        exit(2);
    }
    memcpy((char *)o->data + bytes_of(o->t, o->n), values, bytes_of(o->t, n));
    o->n += n;
}
static void emit_free(output *o, void *values, int64_t n) {
    emit(o, values, n);
    mem_free(values);
}

typedef void case_fn(output *o, int64_t rows, int64_t c, uint64_t seed);

static void case_vectors(output *o, int64_t rows, int64_t c, uint64_t seed) {
    int64_t n = rows * c;
    void *a = random_array(o->t, n, seed), *b = random_array(o->t, n, seed + 1);
    void *y = zero_array(o->t, n);
    vector_add(o->t, n, a, b, y);
    emit(o, y, n);
    vector_accumulate(o->t, n, a, y);
    emit(o, y, n);
    vector_axpy(o->t, n, -0.375, b, y);
    emit(o, y, n);
    vector_scale(o->t, n, 1.7, y);
    emit(o, y, n);
    sigmoid(o->t, n, y, b);
    emit(o, b, n);
    vector_copy(o->t, n, a, y);
    emit(o, y, n);
    double squares = vector_sum_squares(o->t, n, a), real[1];
    set(o->t, real, 0, squares);
    emit(o, real, 1);
    vector_zero(o->t, n, y);
    emit_free(o, y, n);
    mem_free(a);
    mem_free(b);
}

static void case_rmsnorm(output *o, int64_t rows, int64_t c, uint64_t seed) {
    int64_t ld = c + 3;
    void *x = random_array(o->t, rows * ld, seed), *w = random_array(o->t, c, seed + 1);
    void *dy = random_array(o->t, rows * ld, seed + 2),
         *dx = random_array(o->t, rows * ld, seed + 3);
    void *dw = random_array(o->t, c, seed + 4), *y = zero_array(o->t, rows * c);
    void *rstd = zero_array(o->t, rows);
    rmsnorm(o->t, rows, c, x, ld, w, 1e-6, y, c, rstd);
    if (rmsnorm_backward(o->t, rows, c, x, ld, w, rstd, dy, ld, dx, ld, dw) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "rmsnorm_backward", "failed");
    emit_free(o, y, rows * c);
    emit_free(o, rstd, rows);
    emit_free(o, dx, rows * ld);
    emit_free(o, dw, c);
    mem_free(x);
    mem_free(w);
    mem_free(dy);
}

static void case_swiglu(output *o, int64_t rows, int64_t c, uint64_t seed) {
    char *both = random_array(o->t, rows * 2 * c, seed);
    vector_scale(o->t, rows * 2 * c, 6.0, both);
    char *d = random_array(o->t, rows * 2 * c, seed + 1);
    void *dy = random_array(o->t, rows * c, seed + 2), *y = zero_array(o->t, rows * c);
    size_t half = bytes_of(o->t, c);
    swiglu(o->t, rows, c, both, both + half, 2 * c, y);
    swiglu_backward(o->t, rows, c, both, both + half, 2 * c, dy, d, d + half, 2 * c);
    emit_free(o, y, rows * c);
    emit_free(o, d, rows * 2 * c);
    mem_free(both);
    mem_free(dy);
}

static void case_rope(output *o, int64_t rows, int64_t c, uint64_t seed) {
    int r = c >= 8 ? 8 : 2;
    int heads = (int)(c / r);
    if (heads == 0) return;
    void *table = zero_array(o->t, 50 * r);
    double frequency[4];
    rope_frequencies(r, 10000.0, frequency);
    rope_table(o->t, 50, r, frequency, 1, table);
    int32_t *positions = zero_array(DTYPE_F32, rows);
    for (int64_t i = 0; i < rows; i++)
        positions[i] = random_int(seed + (uint64_t)i, 0, 49);
    for (int variant = 0; variant < 4; variant++) {
        void *x = random_array(o->t, rows * c, seed);
        rope(o->t, rows, heads, r, r, variant & 1, variant & 2, positions, table, x, c);
        emit_free(o, x, rows * c);
    }
    mem_free(table);
    mem_free(positions);
}

static void case_softmax(output *o, int64_t rows, int64_t c, uint64_t seed) {
    int64_t ld = c + 2;
    void *x = random_array(o->t, rows * ld, seed),
         *logits = random_array(o->t, rows * ld, seed + 1);
    vector_scale(o->t, rows * ld, 20.0, x);
    vector_scale(o->t, rows * ld, 8.0, logits);
    int32_t *target = zero_array(DTYPE_F32, rows);
    double *loss = zero_array(DTYPE_F64, rows);
    for (int64_t i = 0; i < rows; i++)
        target[i] = i % 5 == 4 ? -1 : (int32_t)(i * 7 % c);
    softmax_rows(o->t, rows, c, x, ld);
    emit_free(o, x, rows * ld);
    for (int pass = 0; pass < 2; pass++) { /* loss alone, then with gradient */
        cross_entropy(o->t, rows, c, logits, ld, target, pass * 0.25, loss);
        for (int64_t i = 0; i < rows; i++) {
            double real[1];
            set(o->t, real, 0, loss[i]);
            emit(o, real, 1);
        }
    }
    emit_free(o, logits, rows * ld);
    mem_free(target);
    mem_free(loss);
}

static void case_tables(output *o, int64_t rows, int64_t c, uint64_t seed) {
    void *table = random_array(o->t, 9 * c, seed), *dy = random_array(o->t, rows * c, seed + 1);
    void *y = zero_array(o->t, rows * c);
    int32_t *ids = zero_array(DTYPE_F32, rows);
    for (int64_t i = 0; i < rows; i++)
        ids[i] = random_int(seed + 31 * (uint64_t)i, 0, 8);
    gather_rows(o->t, rows, c, table, ids, y);
    scatter_rows(o->t, rows, c, ids, dy, table);
    emit_free(o, y, rows * c);
    emit_free(o, table, 9 * c);
    mem_free(dy);
    mem_free(ids);
}

static const struct {
    const char *name;
    case_fn *run;
    double tolerance; /* f32 against f64, relative to 1 + |value| */
} cases[] = {
    {"vectors", case_vectors, 1e-6}, {"rmsnorm", case_rmsnorm, 2e-4}, {"swiglu", case_swiglu, 2e-6},
    {"rope", case_rope, 1e-6},       {"softmax", case_softmax, 3e-6}, {"tables", case_tables, 1e-5},
};
#define CASES (sizeof cases / sizeof cases[0])

static output case_output(size_t which, dtype t, int64_t rows, int64_t c, uint64_t seed) {
    output o = {.t = t, .capacity = 16 * rows * (c + 3) + 16 * c + 64};
    o.data = zero_array(t, o.capacity);
    cases[which].run(&o, rows, c, seed);
    return o;
}

static const int widths[] = {1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 129, 300};

TEST(rows_portable_f32_against_f64) {
    use_threads(1);
    use_tier(TIER_PORTABLE);
    for (size_t i = 0; i < CASES; i++)
        for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++) {
            output a = case_output(i, DTYPE_F32, 11, widths[w], 40 + w);
            output b = case_output(i, DTYPE_F64, 11, widths[w], 40 + w);
            double d = distance(DTYPE_F32, a.data, DTYPE_F64, b.data, a.n);
            CHECK(a.n == b.n && d <= cases[i].tolerance, "%s width %d: %g", cases[i].name,
                  widths[w], d);
            mem_free(a.data);
            mem_free(b.data);
        }
}

static void compare_tier(int tier, int threads, size_t which, dtype t, int64_t rows, int64_t c) {
    use_threads(1);
    use_tier(TIER_PORTABLE);
    output want = case_output(which, t, rows, c, 77);
    use_threads(threads);
    use_tier(tier);
    output got = case_output(which, t, rows, c, 77);
    CHECK(got.n == want.n && same(got.data, want.data, bytes_of(t, got.n)),
          "%s %s, %d threads, width %d, f%d", cases[which].name, tier_label(tier), threads, (int)c,
          t == DTYPE_F64 ? 64 : 32);
    mem_free(want.data);
    mem_free(got.data);
}

TEST(rows_tiers_equal_portable) {
    for (size_t i = 0; i < CASES; i++)
        for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++)
            for (int tier = 1; tier < TIER_COUNT; tier++) {
                if (!kernels_offer((cpu_tier)tier)) continue;
                compare_tier(tier, 1, i, DTYPE_F32, 7, widths[w]);
                compare_tier(tier, 1, i, DTYPE_F64, 7, widths[w]);
            }
    if (kernels_best_tier() == TIER_PORTABLE) SKIP("this CPU has only the portable tier");
}

TEST(rows_bits_do_not_depend_on_threads) {
    for (size_t i = 0; i < CASES; i++)
        for (int threads = 2; threads <= 4; threads += 2)
            compare_tier((int)kernels_best_tier(), threads, i, DTYPE_F32, 230, 260);
    use_threads(2);
}

/* -- functions -- */

TEST(exp_is_accurate) {
    use_threads(1);
    double worst = 0;
    for (int i = 0; i <= 873000; i++) {
        float x = -(float)i * 1e-4f;
        double want = exp((double)x), error = fabs((double)exp_f32(x) - want) / want;
        if (!(error <= worst)) worst = error;
    }
    CHECK(worst <= 1.2e-7, "relative error %g", worst);
    CHECK(exp_f32(0.0f) == 1.0f, "exp(0)");
    CHECK(exp_f32(-INFINITY) == 0.0f && exp_f32(-1e30f) == 0.0f && exp_f32(-88.0f) == 0.0f, "0");
    CHECK(isnan(exp_f32(NAN)), "NaN stays");
    CHECK(fabs((double)exp_f32(80.0f) / exp(80.0) - 1) < 2e-7, "positive arguments");
}

TEST(log_is_accurate) {
    double worst = 0;
    for (int i = 1; i < 200000; i++) {
        double x = i < 100000 ? 1 + i * 1e-5 : pow(1.001, i - 100000);
        if (x > 1e30) break;
        double want = log(x), error = fabs(log_f32(x) - want) / (1e-30 + fabs(want));
        if (!(error <= worst)) worst = error;
    }
    CHECK(worst <= 6.0e-8, "relative error %g", worst);
    CHECK(log_f32(1.0) == 0.0 && isnan(log_f32((double)NAN)), "edges");
}

TEST(softmax_takes_infinities) {
    use_threads(1);
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        if (!use_tier(tier)) continue;
        float x[20] = {0};
        for (int i = 0; i < 20; i++)
            x[i] = i % 2 ? -INFINITY : 1.0f;
        softmax_rows(DTYPE_F32, 1, 20, x, 20);
        CHECK(x[1] == 0.0f && fabsf(x[2] - 0.1f) < 1e-7f, "%g %g", (double)x[1], (double)x[2]);
        x[3] = NAN;
        softmax_rows(DTYPE_F32, 1, 20, x, 20);
        CHECK(isnan(x[0]), "NaN spreads");
    }
}

/* -- bf16 -- */

TEST(bf16_conversion_equals_scalar) {
    use_threads(2);
    enum { N = 70003 };
    float *x = random_array(DTYPE_F32, N, 5), *back = zero_array(DTYPE_F32, N);
    uint16_t *y = zero_array(DTYPE_F32, N);
    x[1] = INFINITY;
    x[2] = NAN;
    x[3] = 3.39e38f; /* rounds to infinity */
    x[4] = -0.0f;
    for (int i = 5; i < 400; i++) {
        uint32_t bits = 0x3F800000u + (uint32_t)i * 0x4000u; /* ties */
        memcpy(&x[i], &bits, sizeof bits);
    }
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        if (!use_tier(tier)) continue;
        vector_to_bf16(N, x, y);
        int wrong = 0;
        for (int i = 0; i < N; i++)
            wrong += y[i] != f32_to_bf16(x[i]);
        CHECK(wrong == 0, "%s: %d differ", tier_label(tier), wrong);
        vector_from_bf16(N, y, back);
        for (int i = 5; i < N; i++)
            wrong += fabsf(back[i] - x[i]) > 0x1p-8f * fabsf(x[i]);
        CHECK(wrong == 0, "%s: %d not within half a unit", tier_label(tier), wrong);
    }
    mem_free(x);
    mem_free(y);
    mem_free(back);
}

/* -- reductions over a whole vector -- */

TEST(finite_finds_every_place) {
    use_threads(2);
    enum { N = 40000 };
    for (int t = 0; t < 2; t++) {
        dtype type = t ? DTYPE_F64 : DTYPE_F32;
        void *x = random_array(type, N, 6);
        for (int tier = 0; tier < TIER_COUNT; tier++) {
            if (!use_tier(tier)) continue;
            CHECK(vector_finite(type, N, x), "all finite");
            for (int i = 0; i < N; i += 3989) {
                double old = get(type, x, i);
                set(type, x, i, i % 2 ? (double)NAN : -(double)INFINITY);
                CHECK(!vector_finite(type, N, x), "place %d", i);
                set(type, x, i, old);
            }
        }
        mem_free(x);
    }
}

TEST(sum_squares_is_accurate) {
    use_threads(2);
    for (int64_t n = 1; n < 3000000; n = n * 5 + 1) {
        float *x = random_array(DTYPE_F32, n, 8);
        double want = 0;
        for (int64_t i = 0; i < n; i++)
            want += (double)x[i] * (double)x[i];
        double got = vector_sum_squares(DTYPE_F32, n, x);
        CHECK(fabs(got - want) <= 1e-11 * want, "n %d: %.17g %.17g", (int)n, got, want);
        mem_free(x);
    }
}

/* -- laws of single kernels -- */

TEST(rope_inverse_and_relative) {
    use_threads(1);
    use_tier((int)kernels_best_tier());
    enum { R = 32, N = 40 };
    double table[N * R], x[R], y[R], at[R], frequency[R / 2];
    rope_frequencies(R, 10000.0, frequency);
    rope_table(DTYPE_F64, N, R, frequency, 1, table);
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        double *q = random_array(DTYPE_F64, R, 1), *k = random_array(DTYPE_F64, R, 2), dots[2];
        for (int shift = 0; shift < 2; shift++) {
            int32_t qp = 20 + 13 * shift, kp = 3 + 13 * shift;
            memcpy(x, q, sizeof x);
            memcpy(y, k, sizeof y);
            rope(DTYPE_F64, 1, 1, R, R, interleaved, false, &qp, table, x, R);
            rope(DTYPE_F64, 1, 1, R, R, interleaved, false, &kp, table, y, R);
            dots[shift] = 0;
            for (int i = 0; i < R; i++)
                dots[shift] += x[i] * y[i];
            memcpy(at, x, sizeof at);
            rope(DTYPE_F64, 1, 1, R, R, interleaved, true, &qp, table, at, R);
            CHECK(distance(DTYPE_F64, at, DTYPE_F64, q, R) < 1e-14, "inverse");
        }
        CHECK(fabs(dots[0] - dots[1]) < 1e-12, "depends on distance only: %g", dots[0] - dots[1]);
        mem_free(q);
        mem_free(k);
    }
}

TEST(rope_pairs) {
    use_threads(1);
    double table[2 * 4], x[4] = {1, 2, 3, 4};
    int32_t one = 1;
    double frequency[2];
    rope_frequencies(4, 100.0, frequency); /* 1, 0.1 */
    rope_table(DTYPE_F64, 2, 4, frequency, 1, table);
    rope(DTYPE_F64, 1, 1, 4, 4, true, false, &one, table, x, 4);
    double want[4] = {cos(1.0) - 2 * sin(1.0), sin(1.0) + 2 * cos(1.0), 3 * cos(0.1) - 4 * sin(0.1),
                      3 * sin(0.1) + 4 * cos(0.1)};
    CHECK(distance(DTYPE_F64, x, DTYPE_F64, want, 4) < 1e-15, "interleaved");
    double z[4] = {1, 2, 3, 4};
    rope(DTYPE_F64, 1, 1, 4, 4, false, false, &one, table, z, 4);
    double halves[4] = {cos(1.0) - 3 * sin(1.0), 2 * cos(0.1) - 4 * sin(0.1),
                        sin(1.0) + 3 * cos(1.0), 2 * sin(0.1) + 4 * cos(0.1)};
    CHECK(distance(DTYPE_F64, z, DTYPE_F64, halves, 4) < 1e-15, "halves");
    double w[4] = {1, 2, 3, 4};
    rope_table(DTYPE_F64, 2, 4, frequency, 0.5, table);
    rope(DTYPE_F64, 1, 1, 4, 4, false, false, &one, table, w, 4);
    for (int i = 0; i < 4; i++)
        halves[i] *= 0.5;
    CHECK(distance(DTYPE_F64, w, DTYPE_F64, halves, 4) < 1e-15, "amplitude");
}

TEST(rmsnorm_dw_does_not_depend_on_micro_batches) {
    use_threads(2);
    use_tier((int)kernels_best_tier());
    enum { ROWS = 50, C = 130 };
    float *x = random_array(DTYPE_F32, ROWS * C, 1), *dy = random_array(DTYPE_F32, ROWS * C, 2);
    float *w = random_array(DTYPE_F32, C, 3), rstd[ROWS], a[C] = {0}, b[C] = {0};
    float *y = zero_array(DTYPE_F32, ROWS * C);
    rmsnorm(DTYPE_F32, ROWS, C, x, C, w, 1e-5, y, C, rstd);
    REQUIRE_OK(rmsnorm_backward(DTYPE_F32, ROWS, C, x, C, w, rstd, dy, C, NULL, 0, a));
    for (int i = 0; i < ROWS; i += 7) {
        int n = ROWS - i < 7 ? ROWS - i : 7;
        REQUIRE_OK(rmsnorm_backward(DTYPE_F32, n, C, x + i * C, C, w, rstd + i, dy + i * C, C, NULL,
                                    0, b));
    }
    CHECK(same(a, b, sizeof a), "one chain per column");
    mem_free(x);
    mem_free(dy);
    mem_free(w);
    mem_free(y);
}

/* Directional derivative of <dy, f(x)> by a four-point stencil against the backward. */
typedef double loss_fn(const double *x, const double *dy, int64_t n);
static double stencil(loss_fn *loss, const double *x, const double *u, const double *dy,
                      int64_t n) {
    static const double at[4] = {-2, -1, 1, 2}, weight[4] = {1, -8, 8, -1};
    double h = 1e-3, sum = 0;
    double *moved = zero_array(DTYPE_F64, n);
    for (int p = 0; p < 4; p++) {
        for (int64_t i = 0; i < n; i++)
            moved[i] = x[i] + at[p] * h * u[i];
        sum += weight[p] * loss(moved, dy, n);
    }
    mem_free(moved);
    return sum / (12 * h);
}

enum { GR = 3, GC = 37 };
static double gw[GC];
static double norm_loss(const double *x, const double *dy, int64_t n) {
    double y[GR * GC], sum = 0;
    rmsnorm(DTYPE_F64, GR, GC, x, GC, gw, 1e-6, y, GC, NULL);
    for (int64_t i = 0; i < n; i++)
        sum += y[i] * dy[i];
    return sum;
}
static double swiglu_loss(const double *x, const double *dy, int64_t n) {
    double y[GR * GC], sum = 0;
    swiglu(DTYPE_F64, GR, GC, x, x + GC, 2 * GC, y);
    for (int64_t i = 0; i < n / 2; i++)
        sum += y[i] * dy[i];
    return sum;
}
static double entropy_loss(const double *x, const double *dy, int64_t n) {
    double copy[GR * GC], loss[GR], sum = 0;
    int32_t target[GR] = {4, -1, 36};
    (void)dy;
    memcpy(copy, x, (size_t)n * sizeof *x);
    cross_entropy(DTYPE_F64, GR, GC, copy, GC, target, 0, loss);
    for (int i = 0; i < GR; i++)
        sum += loss[i];
    return sum;
}

static void check_gradient(const char *name, loss_fn *loss, const double *x, const double *dy,
                           const double *dx, int64_t n) {
    double *u = random_array(DTYPE_F64, n, 12), length = 0, want = 0;
    for (int64_t i = 0; i < n; i++)
        length += u[i] * u[i];
    for (int64_t i = 0; i < n; i++)
        u[i] /= sqrt(length);
    for (int64_t i = 0; i < n; i++)
        want += dx[i] * u[i];
    double got = stencil(loss, x, u, dy, n);
    CHECK(fabs(got - want) <= 1e-9 * fabs(want) + 1e-10, "%s: %.12g %.12g", name, got, want);
    mem_free(u);
}

TEST(rows_backward_by_finite_differences) {
    use_threads(1);
    use_tier((int)kernels_best_tier());
    enum { N = 2 * GR * GC };
    double *x = random_array(DTYPE_F64, N, 1), *dy = random_array(DTYPE_F64, N, 2), rstd[GR];
    double *w = random_array(DTYPE_F64, GC, 3), dx[N] = {0}, y[N], loss[GR];
    memcpy(gw, w, sizeof gw);
    rmsnorm(DTYPE_F64, GR, GC, x, GC, gw, 1e-6, y, GC, rstd);
    REQUIRE_OK(rmsnorm_backward(DTYPE_F64, GR, GC, x, GC, gw, rstd, dy, GC, dx, GC, NULL));
    check_gradient("rmsnorm", norm_loss, x, dy, dx, GR * GC);
    memset(dx, 0, sizeof dx);
    swiglu_backward(DTYPE_F64, GR, GC, x, x + GC, 2 * GC, dy, dx, dx + GC, 2 * GC);
    check_gradient("swiglu", swiglu_loss, x, dy, dx, N);
    memcpy(dx, x, GR * GC * sizeof *x);
    cross_entropy(DTYPE_F64, GR, GC, dx, GC, (const int32_t[]){4, -1, 36}, 1.0, loss);
    check_gradient("cross entropy", entropy_loss, x, dy, dx, GR * GC);
    mem_free(x);
    mem_free(dy);
    mem_free(w);
}

/* -- optimiser -- */

TEST(adamw_follows_its_formula) {
    enum { N = 40005 };
    use_threads(2);
    float *grad = random_array(DTYPE_F32, N, 1), *start = random_array(DTYPE_F32, N, 2);
    float *first[3] = {NULL};
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        if (!use_tier(tier)) continue;
        float *state[3] = {zero_array(DTYPE_F32, N), zero_array(DTYPE_F32, N),
                           zero_array(DTYPE_F32, N)};
        memcpy(state[0], start, N * sizeof(float));
        double w[8], m[8] = {0}, v[8] = {0};
        for (int i = 0; i < 8; i++)
            w[i] = (double)start[i * 5000];
        for (int step = 1; step <= 5; step++) {
            adamw_step s = {.lr = 1e-2,
                            .beta1 = 0.9,
                            .beta2 = 0.95,
                            .eps = 1e-8,
                            .weight_decay = 0.1,
                            .correction1 = 1 - pow(0.9, step),
                            .correction2 = 1 - pow(0.95, step),
                            .grad_scale = 0.5};
            adamw(N, &s, grad, state[0], state[1], state[2]);
            for (int i = 0; i < 8; i++) {
                double g = 0.5 * (double)grad[i * 5000];
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.95 * v[i] + 0.05 * g * g;
                w[i] = w[i] * (1 - 1e-2 * 0.1) -
                       1e-2 * (m[i] / s.correction1) / (sqrt(v[i] / s.correction2) + 1e-8);
            }
        }
        for (int i = 0; i < 8; i++)
            CHECK(fabs((double)state[0][i * 5000] - w[i]) < 1e-6, "%s: %g %g", tier_label(tier),
                  (double)state[0][i * 5000], w[i]);
        for (int i = 0; i < 3; i++) {
            if (tier == 0)
                first[i] = state[i];
            else
                CHECK(same(state[i], first[i], N * sizeof(float)), "%s array %d", tier_label(tier),
                      i);
            if (tier > 0) mem_free(state[i]);
        }
    }
    for (int i = 0; i < 3; i++)
        mem_free(first[i]);
    mem_free(grad);
    mem_free(start);
}
