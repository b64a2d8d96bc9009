/* test_muon.c - Newton-Schulz against its laws, the update against its formula in f64, bundles. */
#include "test.h"

#include "train/muon.h"
#include "train/optimiser.h"

#include "base/pool.h"
#include "base/rng.h"
#include "kernels/kernels.h"

#include <math.h>

#define SIDE_MAX 64
#define LONG_MAX 160

static void fill(float *x, int64_t n, uint64_t stream, double size) {
    rng r = rng_at(5, RNG_TEST, stream);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(size * rng_normal(r, (uint64_t)i));
}

/* g = x x^T or x^T x, over the shorter side n. */
static int gram(const float *x, int64_t rows, int64_t cols, double g[SIDE_MAX][SIDE_MAX]) {
    bool wide = rows <= cols;
    int n = (int)(wide ? rows : cols);
    int64_t length = wide ? cols : rows, along = wide ? 1 : cols, across = wide ? cols : 1;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            g[i][j] = 0;
            for (int64_t k = 0; k < length; k++)
                g[i][j] += (double)x[i * across + k * along] * (double)x[j * across + k * along];
        }
    return n;
}

/* One Jacobi rotation that makes g[p][q] zero. */
static void rotate(double g[SIDE_MAX][SIDE_MAX], int n, int p, int q) {
    if (fabs(g[p][q]) < 1e-300) return;
    double theta = (g[q][q] - g[p][p]) / (2 * g[p][q]);
    double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1));
    double c = 1 / sqrt(t * t + 1), s = t * c;
    for (int k = 0; k < n; k++) {
        double a = g[k][p], b = g[k][q];
        g[k][p] = c * a - s * b;
        g[k][q] = s * a + c * b;
    }
    for (int k = 0; k < n; k++) {
        double a = g[p][k], b = g[q][k];
        g[p][k] = c * a - s * b;
        g[q][k] = s * a + c * b;
    }
}

/* Smallest and largest singular value, by cyclic Jacobi rotations of the Gram matrix. */
static void singular_range(const float *x, int64_t rows, int64_t cols, double *low, double *high) {
    static double g[SIDE_MAX][SIDE_MAX];
    int n = gram(x, rows, cols, g);
    for (int sweep = 0; sweep < 12; sweep++)
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++)
                rotate(g, n, p, q);
    *low = INFINITY;
    *high = 0;
    for (int i = 0; i < n; i++) {
        double s = sqrt(fmax(0, g[i][i]));
        *low = fmin(*low, s);
        *high = fmax(*high, s);
    }
}

static const int64_t shapes[][2] = {{32, 128}, {128, 32}, {64, 96}, {33, 47}, {1, 64}, {50, 1}};
#define N_SHAPES ((int)(sizeof shapes / sizeof *shapes))

static status open_scratch(arena *a) {
    TRY(kernels_init(NULL));
    TRY(pool_start(2));
    return arena_init(a, "test scratch", 1 << 22);
}

TEST(newton_schulz_makes_singular_values_about_one) {
    static float x[LONG_MAX * SIDE_MAX];
    arena scratch;
    REQUIRE_OK(open_scratch(&scratch));
    for (int i = 0; i < 2 * N_SHAPES; i++) {
        int64_t rows = shapes[i / 2][0], cols = shapes[i / 2][1];
        double low, high;
        float *y;
        fill(x, rows * cols, (uint64_t)i, 0.01);
        REQUIRE_OK(
            muon_orthogonalise(i % 2 ? GEMM_BF16 : GEMM_F32, 1, rows, cols, x, &scratch, &y));
        singular_range(y, rows, cols, &low, &high);
        printf("  %3" PRId64 " x %-3" PRId64 " %s: %.3f to %.3f\n", rows, cols,
               i % 2 ? "bf16" : "f32 ", low, high);
        CHECK(low >= 0.6 && high <= 1.3, "%" PRId64 " x %" PRId64 ": %.3f to %.3f", rows, cols, low,
              high);
        arena_reset(&scratch, 0);
    }
    arena_clear(&scratch);
}

/* With x = U S V^T the result is U f(S) V^T, so result x^T is symmetric and its trace positive. */
TEST(newton_schulz_keeps_singular_vectors) {
    enum { ROWS = 24, COLS = 40 };
    float x[ROWS * COLS], old[ROWS * COLS], *y;
    arena scratch;
    REQUIRE_OK(open_scratch(&scratch));
    fill(x, ROWS * COLS, 77, 1);
    memcpy(old, x, sizeof x);
    REQUIRE_OK(muon_orthogonalise(GEMM_F32, 1, ROWS, COLS, x, &scratch, &y));
    static double p[ROWS][ROWS];
    double trace = 0, worst = 0, size = 0;
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < ROWS; j++)
            for (int k = 0; k < COLS; k++)
                p[i][j] += (double)y[i * COLS + k] * (double)old[j * COLS + k];
    for (int i = 0; i < ROWS; i++) {
        trace += p[i][i];
        for (int j = 0; j < ROWS; j++) {
            worst = fmax(worst, fabs(p[i][j] - p[j][i]));
            size = fmax(size, fabs(p[i][j]));
        }
    }
    CHECK(worst < 1e-4 * size, "asymmetry %g of %g", worst, size);
    CHECK(trace > 0, "trace %g", trace);
    arena_clear(&scratch);
}

/* -- the unfused twin: whole products, one pass per operation -- */

static status plain_product(gemm_type type, int64_t m, int64_t n, int64_t k, const float *a,
                            bool a_across, int64_t lda, const float *b, bool b_across, int64_t ldb,
                            float *c) {
    return gemm(&(gemm_call){.type = type,
                             .m = m,
                             .n = n,
                             .k = k,
                             .a = a,
                             .a_stride_m = a_across ? 1 : lda,
                             .a_stride_k = a_across ? lda : 1,
                             .b_raw = b,
                             .b_stride_n = b_across ? ldb : 1,
                             .b_stride_k = b_across ? 1 : ldb,
                             .c = c,
                             .ldc = n});
}

static status plain_orthogonalise(gemm_type type, int64_t rows, int64_t cols, float *x, float *y,
                                  float *a, float *b) {
    bool wide = rows <= cols;
    int64_t side = wide ? rows : cols, length = wide ? cols : rows, count = rows * cols;
    vector_scale(DTYPE_F32, count, 1 / sqrt(vector_sum_squares(DTYPE_F32, count, x)), x);
    for (int step = 0; step < 5; step++) {
        TRY(plain_product(type, side, side, length, x, !wide, cols, x, wide, cols, a));
        TRY(plain_product(type, side, side, side, a, false, side, a, false, side, b));
        vector_scale(DTYPE_F32, side * side, 2.0315, b);
        vector_axpy(DTYPE_F32, side * side, -4.7750, a, b);
        for (int64_t i = 0; i < side; i++)
            b[i * (side + 1)] += 3.4445f;
        if (wide)
            TRY(plain_product(type, rows, cols, side, b, false, side, x, false, cols, y));
        else
            TRY(plain_product(type, rows, cols, side, x, false, cols, b, false, side, y));
        memcpy(x, y, (size_t)count * sizeof *x);
    }
    return STATUS_OK;
}

TEST(newton_schulz_has_the_bits_of_its_unfused_twin) {
    enum { MOST = 320 * 200, SQUARE = 200 * 200 };
    static const int64_t sizes[][2] = {{200, 320}, {320, 200}, {130, 130}, {64, 65}, {33, 47}};
    static const gemm_type types[] = {GEMM_F32, GEMM_BF16, GEMM_BF16_DOT};
    static float x[MOST], twin[MOST], y[MOST], a[SQUARE], b[SQUARE], *z;
    arena scratch;
    REQUIRE_OK(open_scratch(&scratch));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int k = 0; k < 3; k++) {
            int64_t rows = sizes[i][0], cols = sizes[i][1];
            fill(x, rows * cols, i, 0.1);
            memcpy(twin, x, sizeof x);
            REQUIRE_OK(muon_orthogonalise(types[k], 1, rows, cols, x, &scratch, &z));
            REQUIRE_OK(plain_orthogonalise(types[k], rows, cols, twin, y, a, b));
            CHECK(memcmp(z, twin, (size_t)(rows * cols) * sizeof *z) == 0,
                  "%" PRId64 " x %" PRId64 " in %s differs", rows, cols, gemm_type_name(types[k]));
            arena_reset(&scratch, 0);
        }
    arena_clear(&scratch);
}

TEST(newton_schulz_ignores_scale_and_company) {
    enum { ROWS = 20, COLS = 28, COUNT = ROWS * COLS };
    static float x[3 * COUNT], alone[COUNT], *y, *z;
    arena scratch;
    REQUIRE_OK(open_scratch(&scratch));
    fill(x, 3 * COUNT, 9, 1);
    for (int i = 0; i < COUNT; i++)
        alone[i] = 0.25f * x[COUNT + i];
    REQUIRE_OK(muon_orthogonalise(GEMM_F32, 3, ROWS, COLS, x, &scratch, &y));
    REQUIRE_OK(muon_orthogonalise(GEMM_F32, 1, ROWS, COLS, alone, &scratch, &z));
    CHECK(memcmp(y + COUNT, z, sizeof alone) == 0, "a matrix sees its size or its neighbours");
    arena_clear(&scratch);
}

/* -- the update -- */

/* u / |u| after five steps of the polynomial, from the left, in f64. */
static void orthogonalise_double(double *x, int rows, int cols) {
    static double a[SIDE_MAX * SIDE_MAX], b[SIDE_MAX * SIDE_MAX], y[SIDE_MAX * LONG_MAX];
    double norm = 0;
    for (int i = 0; i < rows * cols; i++)
        norm += x[i] * x[i];
    for (int i = 0; i < rows * cols; i++)
        x[i] /= sqrt(norm);
    for (int step = 0; step < 5; step++) {
        memset(a, 0, sizeof a);
        memset(b, 0, sizeof b);
        memset(y, 0, sizeof y);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < rows; j++)
                for (int k = 0; k < cols; k++)
                    a[i * rows + j] += x[i * cols + k] * x[j * cols + k];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < rows; j++) {
                for (int k = 0; k < rows; k++)
                    b[i * rows + j] += 2.0315 * a[i * rows + k] * a[k * rows + j];
                b[i * rows + j] += -4.7750 * a[i * rows + j] + (i == j ? 3.4445 : 0);
            }
        for (int i = 0; i < rows; i++)
            for (int k = 0; k < rows; k++)
                for (int j = 0; j < cols; j++)
                    y[i * cols + j] += b[i * rows + k] * x[k * cols + j];
        memcpy(x, y, sizeof *x * (size_t)(rows * cols));
    }
}

typedef struct muon_fixture {
    param_set set;
    optimiser optimiser;
    float *grad;
} muon_fixture;

static void close_set(muon_fixture *f) {
    optimiser_clear(&f->optimiser);
    param_set_clear(&f->set);
    mem_free(f->grad);
}

/* Memory, state and gradients for the parameters that were added. */
static status ready_set(muon_fixture *f) {
    TRY(kernels_init(NULL));
    TRY(pool_start(2));
    TRY(param_set_allocate(&f->set));
    f->grad = mem_zalloc((size_t)f->set.count, sizeof(float));
    if (f->grad == NULL) return STATUS_MEMORY;
    param_set_gradients(&f->set, f->grad);
    fill(f->set.master, f->set.count, 1, 0.5);
    return optimiser_init(&f->optimiser, &f->set, OPTIMISER_MUON);
}

static const optimiser_rates test_rates = {.lr = 0.02,
                                           .beta1 = 0.9,
                                           .beta2 = 0.95,
                                           .epsilon = 1e-8,
                                           .weight_decay = 0.1,
                                           .momentum = 0.95,
                                           .update = 1};

TEST(muon_follows_its_formula) {
    enum { ROWS = 12, COLS = 20, COUNT = ROWS * COLS };
    muon_fixture f = {0};
    double w[COUNT], m[COUNT] = {0}, u[COUNT];
    REQUIRE_OK(param_set_init(&f.set, DTYPE_F32));
    REQUIRE(param_add(&f.set, PARAM_MATRIX, "matrix", 2, (int64_t[]){ROWS, COLS}, 0.5), "memory");
    REQUIRE_OK(ready_set(&f));
    const float *master = f.set.master;
    for (int i = 0; i < COUNT; i++)
        w[i] = (double)master[i];
    for (int step = 0; step < 10; step++) {
        optimiser_rates r = test_rates;
        r.grad_clip = 1;
        fill(f.grad, COUNT, 20 + (uint64_t)step, 0.3);
        double norm = gradient_norm(&f.set), clip = fmin(1, 1 / (norm + 1e-6));
        REQUIRE_OK(optimiser_update(&f.optimiser, &r, norm));
        for (int i = 0; i < COUNT; i++) {
            m[i] = 0.95 * m[i] + clip * (double)f.grad[i];
            u[i] = 0.95 * m[i] + clip * (double)f.grad[i];
        }
        orthogonalise_double(u, ROWS, COLS);
        for (int i = 0; i < COUNT; i++)
            w[i] = w[i] * (1 - 0.02 * 0.1) - 0.02 * 0.2 * sqrt(COLS) * u[i];
    }
    for (int i = 0; i < COUNT; i++)
        CHECK(fabs((double)master[i] - w[i]) < 1e-5, "element %d: %.8g, formula %.8g", i,
              (double)master[i], w[i]);
    close_set(&f);
}

/* Bundled as q | k | v and as experts, or each a parameter: the same weights. */
static status open_bundles(muon_fixture *f, bool bundled) {
    static const int64_t rows[] = {10, 6, 6};
    *f = (muon_fixture){0};
    TRY(param_set_init(&f->set, DTYPE_F32));
    param *p = NULL;
    if (bundled) p = param_add(&f->set, PARAM_MATRIX, "qkv", 2, (int64_t[]){22, 14}, 0.5);
    for (int64_t i = 0, first = 0; i < 3; first += rows[i++]) {
        if (bundled)
            TRY(param_add_view(&f->set, p, text("part %d", (int)i), first, rows[i]));
        else if (!param_add(&f->set, PARAM_MATRIX, text("part %d", (int)i), 2,
                            (int64_t[]){rows[i], 14}, 0.5))
            return STATUS_MEMORY;
    }
    if (bundled) p = param_add(&f->set, PARAM_MATRIX, "experts", 3, (int64_t[]){20, 8, 12}, 0.5);
    for (int64_t i = 0; i < 40; i++) {
        if (bundled)
            TRY(param_add_view(&f->set, p, text("half %d", (int)i), 4 * i, 4));
        else if (!param_add(&f->set, PARAM_MATRIX, text("half %d", (int)i), 2, (int64_t[]){4, 12},
                            0.5))
            return STATUS_MEMORY;
    }
    return ready_set(f);
}

TEST(muon_takes_bundled_matrices_one_by_one) {
    muon_fixture f[2];
    for (int i = 0; i < 2; i++) {
        REQUIRE_OK(open_bundles(&f[i], i == 0));
        for (int step = 0; step < 3; step++) {
            fill(f[i].grad, f[i].set.count, 50 + (uint64_t)step, 0.3);
            REQUIRE_OK(optimiser_update(&f[i].optimiser, &test_rates, 1));
        }
    }
    REQUIRE(f[0].set.count == f[1].set.count && f[0].set.n == 2 && f[1].set.n == 43, "sets");
    CHECK(memcmp(f[0].set.master, f[1].set.master, (size_t)f[0].set.count * sizeof(float)) == 0,
          "bundling changes the weights");
    for (int i = 0; i < 2; i++)
        close_set(&f[i]);
}

TEST(muon_leaves_the_rest_to_adamw) {
    static const param_kind kinds[] = {PARAM_EMBEDDING, PARAM_ROUTER, PARAM_VECTOR, PARAM_STATE,
                                       PARAM_MATRIX};
    muon_fixture f[2] = {{.grad = NULL}, {.grad = NULL}};
    for (int i = 0; i < 2; i++) {
        REQUIRE_OK(param_set_init(&f[i].set, DTYPE_F32));
        for (int k = 0; k < 5; k++)
            REQUIRE(param_add(&f[i].set, kinds[k], text("p%d", k), k == 2 || k == 3 ? 1 : 2,
                              (int64_t[]){6, 9}, 0.5),
                    "memory");
        REQUIRE_OK(ready_set(&f[i]));
    }
    optimiser_clear(&f[1].optimiser);
    REQUIRE_OK(optimiser_init(&f[1].optimiser, &f[1].set, OPTIMISER_ADAMW));
    const param *matrix = f[0].set.all[4];
    CHECK(f[0].optimiser.v_count == matrix->offset && f[0].optimiser.v_offset[4] == -1 &&
              f[1].optimiser.v_count == f[1].set.count,
          "Muon needs no second moment");
    float before[54];
    memcpy(before, matrix->master, sizeof before);
    for (int i = 0; i < 2; i++) {
        fill(f[i].grad, matrix->offset, 4, 0.3); /* that of the matrix stays zero */
        REQUIRE_OK(optimiser_update(&f[i].optimiser, &test_rates, 1));
    }
    CHECK(memcmp(f[0].set.master, f[1].set.master, (size_t)matrix->offset * sizeof(float)) == 0,
          "embedding, router or norm differ from AdamW's");
    const float *after = matrix->master;
    for (int i = 0; i < 54; i++)
        CHECK(fabsf(after[i] - 0.998f * before[i]) < 1e-6f, "without a gradient only decay: %g, %g",
              (double)before[i], (double)after[i]);
    for (int i = 0; i < 2; i++)
        close_set(&f[i]);
}
