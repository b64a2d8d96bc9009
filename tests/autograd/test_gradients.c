/* test_gradients.c - every op against finite differences in double, f32 against double, bf16. */
#include "grad.h"
#include "subjects.h"

#include "kernels/kernels.h"

#include <math.h>

static double loss_now(void *context) {
    fixture *f = context;
    return fixture_run(f, (run_options){0}) == STATUS_OK ? f->total : (double)NAN;
}

/* Inputs and trained parameters of the fixture, with the gradients of the last run. */
static int tensors_of(fixture *f, grad_tensor *t) {
    static const char *const names[MOST_INPUTS] = {"x0", "x1", "x2"};
    int n = 0;
    for (int i = 0; i < f->n_x; i++)
        t[n++] =
            (grad_tensor){names[i], f->x[i].data, f->x[i].grad, f->x[i].rows * f->x[i].columns};
    for (int i = 0; i < f->params.n; i++) {
        param *p = f->params.all[i];
        if (p->kind != PARAM_STATE)
            t[n++] = (grad_tensor){p->name, p->master, (double *)f->grad + p->offset, p->count};
    }
    return n;
}

static void check_state_untouched(const fixture *f) {
    for (int i = 0; i < f->params.n; i++) {
        const param *p = f->params.all[i];
        const double *g = (const double *)f->grad + p->offset;
        for (int64_t k = 0; p->kind == PARAM_STATE && k < p->count; k++)
            CHECK(g[k] == 0, "%s: %s[%d] has gradient %g", f->subject->name, p->name, (int)k, g[k]);
    }
}

static void check_subject(const subject *s) {
    fixture f;
    grad_tensor tensors[MOST_INPUTS + 6];
    REQUIRE(fixture_open(&f, s, DTYPE_F64), "%s: setup", s->name);
    REQUIRE_OK(fixture_run(&f, (run_options){.backward = true}));
    grad_check c = {.name = s->name,
                    .tensors = tensors,
                    .n_tensors = tensors_of(&f, tensors),
                    .loss = loss_now,
                    .context = &f,
                    .directions = 3,
                    .entries = 4,
                    .seed = 11};
    check_state_untouched(&f);
    grad_check_run(&c);
    printf("  %-20s directions %.1e, entries %.1e\n", s->name, c.worst_direction, c.worst_entry);
    fixture_close(&f);
}

TEST(gradients_of_every_op) {
    for (int i = 0; i < n_subjects; i++)
        check_subject(&subjects[i]);
}

/* |a - b| / |b| */
static double distance(const float *a, const double *b, int64_t n) {
    double difference = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += b[i] * b[i];
    }
    return size > 0 ? sqrt(difference / size) : sqrt(difference);
}

TEST(gradients_in_single_precision) {
    for (int i = 0; i < n_subjects; i++) {
        const subject *s = &subjects[i];
        fixture single, truth;
        REQUIRE(fixture_open(&single, s, DTYPE_F32) && fixture_open(&truth, s, DTYPE_F64), "setup");
        REQUIRE_OK(fixture_run(&truth, (run_options){.backward = true}));
        REQUIRE_OK(fixture_run(&single, (run_options){.backward = true}));
        CHECK(memcmp(single.choice.ids, truth.choice.ids, (size_t)single.choice.n * 4) == 0 ||
                  !truth.choice.filled,
              "%s: f32 and f64 route differently, choose another seed", s->name);
        CHECK(fabs(single.total - truth.total) <= 1e-4 * (1 + fabs(truth.total)), "%s: %g and %g",
              s->name, single.total, truth.total);
        for (int k = 0; k < single.n_x; k++)
            CHECK(distance(single.x[k].grad, truth.x[k].grad,
                           truth.x[k].rows * truth.x[k].columns) < 1e-5,
                  "%s: input %d", s->name, k);
        for (int k = 0; k < single.params.n; k++) {
            const param *p = single.params.all[k];
            double off = distance((float *)single.grad + p->offset,
                                  (double *)truth.grad + p->offset, p->count);
            CHECK(off < 1e-5, "%s: %s is off by %g", s->name, p->name, off);
        }
        fixture_close(&single);
        fixture_close(&truth);
    }
}

/* cos of the angle between a gradient in f32 and the truth. */
static double cosine(const float *a, const double *b, int64_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < n; i++) {
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * (double)a[i];
        bb += b[i] * b[i];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : aa == bb;
}

static void check_rounded(gemm_type products) {
    double worst = 1;
    for (int i = 0; i < n_subjects; i++) {
        const subject *s = &subjects[i];
        fixture half, truth;
        REQUIRE(fixture_open(&half, s, DTYPE_F32) && fixture_open(&truth, s, DTYPE_F64), "setup");
        REQUIRE_OK(fixture_run(&truth, (run_options){.backward = true}));
        if (truth.choice.filled) { /* the same routing: rounding may move a close choice */
            memcpy(half.choice.ids, truth.choice.ids, (size_t)truth.choice.n * 4);
            half.choice.filled = true;
        }
        REQUIRE_OK(fixture_run(&half, (run_options){.backward = true, .products = products}));
        for (int k = 0; k < half.params.n; k++) {
            const param *p = half.params.all[k];
            double close =
                cosine((float *)half.grad + p->offset, (double *)truth.grad + p->offset, p->count);
            CHECK(close > 0.999, "%s: cosine of %s is %.5f", s->name, p->name, close);
            worst = fmin(worst, close);
        }
        for (int k = 0; k < half.n_x; k++)
            CHECK(cosine(half.x[k].grad, truth.x[k].grad, half.x[k].rows * half.x[k].columns) >
                      0.999,
                  "%s: input %d", s->name, k);
        fixture_close(&half);
        fixture_close(&truth);
    }
    printf("  %s: least cosine %.6f\n", gemm_type_name(products), worst);
    CHECK(worst < 1, "%s changes nothing: it is not in use", gemm_type_name(products));
}

TEST(gradients_in_bf16) {
    check_rounded(GEMM_BF16);
    check_rounded(GEMM_BF16_DOT);
}
