/* test_optimiser.c - AdamW against its formula in f64, clipping, kinds of parameters, bad values. */
#include "test.h"

#include "train/optimiser.h"

#include "base/rng.h"

#include <math.h>

/* A matrix, an embedding, a norm and a state, with gradients of their own. */
typedef struct set_fixture {
    param_set set;
    optimiser optimiser;
    float *grad;
} set_fixture;

static status open_fixture(set_fixture *f) {
    *f = (set_fixture){0};
    TRY(param_set_init(&f->set, DTYPE_F32));
    if (param_add(&f->set, PARAM_MATRIX, "matrix", 2, (int64_t[]){5, 7}, 0.5) == NULL ||
        param_add(&f->set, PARAM_EMBEDDING, "embedding", 2, (int64_t[]){3, 7}, 0.5) == NULL ||
        param_add(&f->set, PARAM_VECTOR, "norm", 1, (int64_t[]){7}, 0) == NULL ||
        param_add(&f->set, PARAM_ROUTER, "router", 2, (int64_t[]){4, 7}, 0.5) == NULL ||
        param_add(&f->set, PARAM_STATE, "bias", 1, (int64_t[]){4}, 0) == NULL)
        return STATUS_MEMORY;
    TRY(param_set_allocate(&f->set));
    param_set_initialise(&f->set, 3);
    f->grad = mem_zalloc((size_t)f->set.count, sizeof(float));
    if (f->grad == NULL) return STATUS_MEMORY;
    param_set_gradients(&f->set, f->grad);
    return optimiser_init(&f->optimiser, &f->set, OPTIMISER_ADAMW);
}

static void close_fixture(set_fixture *f) {
    optimiser_clear(&f->optimiser);
    param_set_clear(&f->set);
    mem_free(f->grad);
}

static void random_gradient(set_fixture *f, uint64_t step, double size) {
    rng r = rng_at(11, RNG_TEST, step);
    for (int64_t i = 0; i < f->set.count; i++)
        f->grad[i] = (float)(size * rng_normal(r, (uint64_t)i));
}

/* The update of one element in f64. */
static void update_double(const optimiser_rates *r, double g, double decay, double *w, double *m,
                          double *v) {
    *m = r->beta1 * *m + (1 - r->beta1) * g;
    *v = r->beta2 * *v + (1 - r->beta2) * g * g;
    double mean = *m / (1 - pow(r->beta1, (double)r->update));
    double square = *v / (1 - pow(r->beta2, (double)r->update));
    *w = *w * (1 - r->lr * decay) - r->lr * mean / (sqrt(square) + r->epsilon);
}

static void run_hundred_steps(double grad_clip, double gradient_size) {
    set_fixture f;
    REQUIRE_OK(open_fixture(&f));
    double w[256], m[256] = {0}, v[256] = {0};
    REQUIRE(f.set.count <= 256, "%" PRId64, f.set.count);
    const float *master = f.set.master;
    for (int64_t i = 0; i < f.set.count; i++)
        w[i] = (double)master[i];
    for (int64_t step = 1; step <= 100; step++) {
        optimiser_rates r = {.lr = 1e-2,
                             .beta1 = 0.9,
                             .beta2 = 0.95,
                             .epsilon = 1e-8,
                             .weight_decay = 0.1,
                             .grad_clip = grad_clip,
                             .update = step};
        random_gradient(&f, (uint64_t)step, gradient_size);
        double norm = gradient_norm(&f.set);
        double scale = grad_clip > 0 && norm + 1e-6 > grad_clip ? grad_clip / (norm + 1e-6) : 1;
        REQUIRE_OK(optimiser_update(&f.optimiser, &r, norm));
        for (int p = 0; p < f.set.n; p++) {
            const param *one = f.set.all[p];
            double decay = one->kind == PARAM_MATRIX || one->kind == PARAM_ROUTER ? 0.1 : 0;
            if (one->kind == PARAM_STATE) continue;
            for (int64_t i = one->offset; i < one->offset + one->count; i++)
                update_double(&r, scale * (double)f.grad[i], decay, &w[i], &m[i], &v[i]);
        }
    }
    for (int64_t i = 0; i < f.set.count; i++)
        CHECK(fabs((double)master[i] - w[i]) < 2e-5 * fmax(1, fabs(w[i])),
              "element %" PRId64 ": %.8g, formula %.8g", i, (double)master[i], w[i]);
    close_fixture(&f);
}

TEST(adamw_follows_its_formula) {
    run_hundred_steps(0, 0.3);
}
TEST(adamw_with_clipping_follows_its_formula) {
    run_hundred_steps(1.0, 0.3);
}

TEST(adamw_leaves_state_alone_and_decays_matrices_only) {
    set_fixture f;
    REQUIRE_OK(open_fixture(&f));
    float before[256], *master = f.set.master;
    for (int64_t i = 0; i < f.set.count; i++) {
        if (i >= f.set.all[4]->offset) master[i] = 0.25f;
        before[i] = master[i];
        f.grad[i] = 0;
    }
    optimiser_rates r = {
        .lr = 0.1, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.5, .update = 1};
    uint64_t version = f.set.all[0]->version;
    REQUIRE_OK(optimiser_update(&f.optimiser, &r, 0));
    CHECK(f.set.all[0]->version > version, "the packed copies were not made stale");
    for (int p = 0; p < f.set.n; p++) {
        const param *one = f.set.all[p];
        float factor = one->kind == PARAM_MATRIX || one->kind == PARAM_ROUTER ? 0.95f : 1.0f;
        for (int64_t i = one->offset; i < one->offset + one->count; i++)
            CHECK(fabsf(master[i] - factor * before[i]) <= 1e-6f, "%s: %g -> %g", one->name,
                  (double)before[i], (double)master[i]);
    }
    close_fixture(&f);
}

TEST(gradient_norm_and_first_bad) {
    set_fixture f;
    REQUIRE_OK(open_fixture(&f));
    random_gradient(&f, 1, 2.0);
    double sum = 0;
    for (int64_t i = 0; i < f.set.all[4]->offset; i++)
        sum += (double)f.grad[i] * (double)f.grad[i];
    CHECK(fabs(gradient_norm(&f.set) - sqrt(sum)) < 1e-9 * sqrt(sum), "%.17g",
          gradient_norm(&f.set));
    CHECK(gradient_first_bad(&f.set) == NULL, "all are finite");
    f.grad[f.set.all[3]->offset + 2] = INFINITY;
    f.grad[f.set.all[1]->offset + 1] = NAN;
    CHECK(!isfinite(gradient_norm(&f.set)), "the norm hides a NaN");
    const param *bad = gradient_first_bad(&f.set);
    CHECK(bad == f.set.all[1], "%s", bad != NULL ? bad->name : "none");
    close_fixture(&f);
}
