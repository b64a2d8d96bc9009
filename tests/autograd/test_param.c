/* test_param.c - parameter sets: layout, initialisation, packed copies, failures. */
#include "test.h"

#include "autograd/param.h"
#include "kernels/kernels.h"

#include <math.h>

static bool describe(param_set *s, dtype real, bool extra) {
    int64_t matrix[] = {20, 33}, stack[] = {3, 17, 5}, vector[] = {33};
    if (param_set_init(s, real) != STATUS_OK) return false;
    if (extra && param_add(s, PARAM_MATRIX, "extra", 2, matrix, 1) == NULL) return false;
    return param_add(s, PARAM_MATRIX, "matrix", 2, matrix, 0.5) != NULL &&
           param_add(s, PARAM_MATRIX, "stack", 3, stack, 0.25) != NULL &&
           param_add(s, PARAM_VECTOR, "norm", 1, vector, 0) != NULL &&
           param_add(s, PARAM_STATE, "bias", 1, vector, 0) != NULL;
}

TEST(param_layout) {
    param_set s;
    REQUIRE(describe(&s, DTYPE_F32, false), "setup");
    REQUIRE_OK(param_add_view(&s, s.all[0], "first.weight", 0, 8));
    REQUIRE_OK(param_add_view(&s, s.all[0], "second.weight", 8, 12));
    REQUIRE_OK(param_add_view(&s, s.all[0], "third.weight", 20, 0));
    REQUIRE_OK(param_set_allocate(&s));
    CHECK(s.n == 4 && s.count == 20 * 33 + 3 * 17 * 5 + 33 + 33, "%d, %" PRId64, s.n, s.count);
    int64_t at = 0;
    for (int i = 0; i < s.n; i++) {
        CHECK(s.all[i]->offset == at && s.all[i]->master == (float *)s.master + at, "%s",
              s.all[i]->name);
        at += s.all[i]->count;
    }
    float grad[20 * 33 + 3 * 17 * 5 + 66];
    param_set_gradients(&s, grad);
    CHECK(s.all[2]->grad == grad + s.all[2]->offset, "gradients have the same layout");
    param_set_gradients(&s, NULL);
    CHECK(s.all[2]->grad == NULL, "and can be taken away");
    CHECK(param_find(&s, "stack") == s.all[1] && param_find(&s, "absent") == NULL, "by name");
    const param *p = s.all[0];
    CHECK(p->n_views == 3 && strcmp(p->views[1].name, "second.weight") == 0 &&
              p->views[1].first_row == 8 && p->views[1].rows == 12,
          "views");
    param_set_clear(&s);
}

TEST(param_refuses_absurd_sizes) {
    param_set s;
    REQUIRE_OK(param_set_init(&s, DTYPE_F32));
    int64_t huge[] = {INT64_MAX / 2, 3, 1}, empty[] = {4, 0}, large[] = {INT64_MAX / 2, 1};
    CHECK(param_add(&s, PARAM_MATRIX, "huge", 3, huge, 1) == NULL && error_last()->id == F_OVERFLOW,
          "product");
    CHECK(param_add(&s, PARAM_MATRIX, "empty", 2, empty, 1) == NULL, "nothing in it");
    CHECK(param_add(&s, PARAM_MATRIX, "a", 2, large, 1) != NULL, "countable");
    CHECK(param_add(&s, PARAM_MATRIX, "b", 2, large, 1) != NULL, "countable");
    CHECK(param_add(&s, PARAM_MATRIX, "c", 2, large, 1) == NULL && error_last()->id == F_OVERFLOW,
          "sum");
    CHECK(param_set_allocate(&s) == STATUS_LIMIT, "counted, but has no memory");
    param_set_clear(&s);
}

/* Values hang on the name alone; f64 sets hold the f32 model; moments are as asked for. */
TEST(param_initial_values) {
    param_set a, b, d;
    REQUIRE(describe(&a, DTYPE_F32, false) && describe(&b, DTYPE_F32, true) &&
                describe(&d, DTYPE_F64, false),
            "setup");
    REQUIRE_OK(param_set_allocate(&a));
    REQUIRE_OK(param_set_allocate(&b));
    REQUIRE_OK(param_set_allocate(&d));
    param_set_initialise(&a, 42);
    param_set_initialise(&b, 42);
    param_set_initialise(&d, 42);
    for (int i = 0; i < a.n; i++) {
        const param *p = a.all[i], *q = param_find(&b, p->name);
        CHECK(memcmp(p->master, q->master, (size_t)p->count * 4) == 0, "%s moved", p->name);
        double sum = 0, squares = 0;
        for (int64_t k = 0; k < p->count; k++) {
            double value = (double)((float *)p->master)[k];
            CHECK(value == ((double *)d.all[i]->master)[k], "%s[%d] in f64", p->name, (int)k);
            sum += value, squares += value * value;
        }
        double n = (double)p->count, deviation = sqrt(squares / n - sum * sum / n / n);
        bool normal = p->init_std > 0;
        CHECK(fabs(deviation - p->init_std) < 0.15 * p->init_std + 1e-12, "%s: %g", p->name,
              deviation);
        CHECK(normal || sum == (p->kind == PARAM_VECTOR ? n : 0), "%s: %g", p->name, sum);
    }
    param_set_initialise(&b, 43);
    CHECK(memcmp(a.all[0]->master, param_find(&b, "matrix")->master, 80) != 0, "another seed");
    param_set_clear(&a), param_set_clear(&b), param_set_clear(&d);
}

static void pack(param_set *s, param *p, gemm_type type, const packed_matrix **m) {
    status r = param_packed(s, p, PACK_FORWARD, type, m);
    CHECK(r == STATUS_OK, "status %d", (int)r);
}

/* x times a packed copy, row 0. */
static double product(const packed_matrix *m, float x) {
    float a[64], c[64];
    for (int i = 0; i < 64; i++)
        a[i] = x;
    status s = gemm(&(gemm_call){.type = m->type,
                                 .m = 1,
                                 .n = m->n,
                                 .k = m->k,
                                 .a = a,
                                 .a_stride_m = m->k,
                                 .a_stride_k = 1,
                                 .b = m,
                                 .c = c,
                                 .ldc = m->n});
    CHECK(s == STATUS_OK, "status %d", (int)s);
    return (double)c[m->n - 1];
}

TEST(param_packed_copies_follow_the_master) {
    param_set s;
    const packed_matrix *m, *again, *half, *back;
    REQUIRE(describe(&s, DTYPE_F32, false), "setup");
    REQUIRE_OK(param_set_allocate(&s));
    param_set_initialise(&s, 1);
    param *p = s.all[1];
    pack(&s, p, GEMM_F32, &m);
    CHECK(m[2].n == 17 && m[2].k == 5, "one per stacked matrix");
    float *row = (float *)p->master + 2 * 17 * 5 + 16 * 5;
    double sum = (double)row[0] + (double)row[1] + (double)row[2] + (double)row[3] + (double)row[4];
    CHECK(fabs(product(&m[2], 1) - sum) < 1e-6, "W^T");
    row[0] += 1;
    CHECK(fabs(product(&m[2], 1) - sum) < 1e-6, "a copy is a copy");
    param_changed(p);
    pack(&s, p, GEMM_F32, &m);
    CHECK(fabs(product(&m[2], 1) - sum - 1) < 1e-6, "made again after a change");
    pack(&s, p, GEMM_BF16, &half);
    CHECK(half[2].type == GEMM_BF16 && fabs(product(&half[2], 1) - sum - 1) < 0.05, "bf16");
    pack(&s, p, GEMM_F32, &again);
    size_t used = s.packs.used;
    for (int i = 0; i < 100; i++) {
        pack(&s, p, GEMM_BF16, &half);
        pack(&s, p, GEMM_F32, &again);
    }
    CHECK(fabs(product(&again[2], 1) - sum - 1) < 1e-6, "and back");
    CHECK(s.packs.used == used, "changing the type takes %zu bytes more", s.packs.used - used);
    REQUIRE_OK(param_packed(&s, s.all[0], PACK_BACKWARD, GEMM_F32, &back));
    CHECK(back->n == 33 && back->k == 20, "backward is W itself");
    param_set_clear(&s);
}

/* Each type larger than the one before, so that no room serves twice. */
TEST(param_packed_copies_have_room_in_every_type) {
    static const gemm_type types[] = {GEMM_BF16_DOT, GEMM_BF16, GEMM_F32};
    param_set s;
    const packed_matrix *m;
    REQUIRE(describe(&s, DTYPE_F32, false), "setup");
    REQUIRE_OK(param_set_allocate(&s));
    for (int t = 0; t < 3; t++)
        for (int i = 0; i < s.n; i++)
            for (int direction = 0; direction < 2 && s.all[i]->rank > 1; direction++) {
                REQUIRE_OK(param_packed(&s, s.all[i], direction, types[t], &m));
                CHECK(m->type == types[t], "%s as %s", s.all[i]->name, gemm_type_name(types[t]));
            }
    param_set_clear(&s);
}

static status whole_life(param_set *s) {
    int64_t dims[] = {4, 4};
    const packed_matrix *m;
    TRY(param_set_init(s, DTYPE_F32));
    for (int i = 0; i < 5; i++) {
        param *p = param_add(s, PARAM_MATRIX, text("p%d", i), 2, dims, 1);
        if (p == NULL) return error_last()->code;
        TRY(param_add_view(s, p, "view", 0, 4));
    }
    TRY(param_set_allocate(s));
    TRY(param_packed(s, s->all[4], PACK_FORWARD, GEMM_F32, &m));
    return param_packed(s, s->all[4], PACK_FORWARD, GEMM_BF16, &m);
}

TEST(param_failed_allocations) {
    int64_t blocks = mem_live_blocks();
    for (int64_t n = 1;; n++) {
        param_set s = {0};
        mem_fail_at(n);
        status result = whole_life(&s);
        bool failed = mem_failed();
        mem_fail_at(0);
        CHECK(result == (failed ? STATUS_MEMORY : STATUS_OK), "status %d at %d", (int)result,
              (int)n);
        param_set_clear(&s);
        CHECK(mem_live_blocks() == blocks, "leak at %d", (int)n);
        if (!failed) break;
    }
}
