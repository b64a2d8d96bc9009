/* test_attention.c - attention against a naive f64 version, and what docs/numerics.md 5 promises:
 * equal bits for any chunking, tier and thread count. Backward by finite differences in double. */
#include "kernel_test.h"

/* A random problem with its arrays. Keys are laid out as MLA does when `joint`: one row per
 * position with [n | v] per head. */
typedef struct problem {
    dtype t;
    gemm_type products;
    int n_head, n_kv_head, qk, shared, v;
    int64_t rows, n_keys, offset; /* query i stands at position offset + i */
    int64_t ldq, ldk, lds, ldv, ldo;
    int64_t k_stride, v_stride;
    void *q, *k, *s, *values, *out, *lse; /* values may lie inside k */
    bool joint;
    dropout_mask dropout;
    int64_t token;
    int32_t *position, *first;
    const void *k_block[64], *s_block[64], *v_block[64];
} problem;

static void problem_point(problem *p) {
    size_t block = ATTENTION_BLOCK;
    for (int64_t b = 0; b * ATTENTION_BLOCK < p->n_keys; b++) {
        size_t n = (size_t)b * block;
        p->k_block[b] = (char *)p->k + bytes_of(p->t, (int64_t)n * p->ldk);
        p->v_block[b] = (char *)p->values + bytes_of(p->t, (int64_t)n * p->ldv);
        p->s_block[b] = (char *)p->s + bytes_of(p->t, (int64_t)n * p->lds);
    }
}

static problem problem_new(dtype t, uint64_t seed) {
    problem p = {.t = t, .n_kv_head = random_int(seed, 1, 3), .joint = random_int(seed + 1, 0, 1)};
    static const int dims[] = {1, 4, 15, 16, 24, 32, 33, 64};
    p.n_head = p.n_kv_head * random_int(seed + 2, 1, 3);
    p.qk = dims[random_int(seed + 3, 0, 7)];
    p.v = dims[random_int(seed + 4, 0, 7)];
    p.shared = random_int(seed + 5, 0, 1) ? 8 * random_int(seed + 6, 1, 3) : 0;
    p.offset = random_int(seed + 7, 0, 1) * random_int(seed + 8, 1, 200);
    p.rows = random_int(seed + 9, 1, 150);
    p.n_keys = p.offset + p.rows;
    p.ldq = p.n_head * (p.qk + p.shared) + random_int(seed + 10, 0, 3);
    p.k_stride = p.joint ? p.qk + p.v : p.qk;
    p.v_stride = p.joint ? p.qk + p.v : p.v;
    p.ldk = p.n_kv_head * p.k_stride;
    p.ldv = p.n_kv_head * p.v_stride;
    p.lds = p.shared + 2;
    p.ldo = p.n_head * p.v + 1;
    p.q = random_array(t, p.rows * p.ldq, seed + 11);
    p.k = random_array(t, p.n_keys * p.ldk, seed + 12);
    p.values =
        p.joint ? (char *)p.k + bytes_of(t, p.qk) : random_array(t, p.n_keys * p.ldv, seed + 13);
    p.s = random_array(t, p.n_keys * p.lds, seed + 14);
    p.out = zero_array(t, p.rows * p.ldo);
    p.lse = zero_array(t, p.rows * p.n_head);
    p.position = zero_array(DTYPE_F32, p.rows);
    p.first = zero_array(DTYPE_F32, p.rows);
    int32_t start = 0; /* documents: a query sees back to the start of its own */
    for (int64_t i = 0; i < p.rows; i++) {
        p.position[i] = (int32_t)(p.offset + i);
        if (random_int(seed + 100 + (uint64_t)i, 0, 40) == 0) start = p.position[i];
        p.first[i] = start;
    }
    if (random_int(seed + 15, 0, 2) == 0) {
        p.dropout = dropout_mask_of(0.3, rng_at(seed, RNG_DROPOUT, 5));
        p.token = random_int(seed + 16, 0, 999);
    }
    problem_point(&p);
    return p;
}

static void problem_free(problem *p) {
    mem_free(p->q);
    mem_free(p->k);
    if (!p->joint) mem_free(p->values);
    mem_free(p->s);
    mem_free(p->out);
    mem_free(p->lse);
    mem_free(p->position);
    mem_free(p->first);
}

static attention_call call_of(const problem *p) {
    return (attention_call){.t = p->t,
                            .products = p->products,
                            .n_head = p->n_head,
                            .n_kv_head = p->n_kv_head,
                            .qk_dim = p->qk,
                            .shared_dim = p->shared,
                            .v_dim = p->v,
                            .scale = 1.0 / sqrt(p->qk + p->shared),
                            .rows = p->rows,
                            .position = p->position,
                            .first = p->first,
                            .q = p->q,
                            .ldq = p->ldq,
                            .k_block = p->k_block,
                            .shared_block = p->s_block,
                            .v_block = p->v_block,
                            .ldk = p->ldk,
                            .lds = p->lds,
                            .ldv = p->ldv,
                            .n_keys = p->n_keys,
                            .k_head_stride = p->joint ? p->k_stride : 0,
                            .v_head_stride = p->joint ? p->v_stride : 0,
                            .out = p->out,
                            .ldo = p->ldo,
                            .lse = p->lse,
                            .dropout = p->dropout,
                            .token = p->token};
}

static const char *describe(const problem *p) {
    return text("%s heads %d/%d dims %d+%d v %d rows %d offset %d joint %d dropout %d",
                gemm_type_name(p->products), p->n_head, p->n_kv_head, p->qk, p->shared, p->v,
                (int)p->rows, (int)p->offset, p->joint, p->dropout.below);
}

static double score(const problem *p, int64_t row, int64_t key, int head) {
    int kv = head / (p->n_head / p->n_kv_head);
    int64_t q = row * p->ldq + head * (p->qk + p->shared);
    double sum = 0;
    for (int d = 0; d < p->qk; d++)
        sum += get(p->t, p->q, q + d) * get(p->t, p->k, key * p->ldk + kv * p->k_stride + d);
    for (int d = 0; d < p->shared; d++)
        sum += get(p->t, p->q, q + p->qk + d) * get(p->t, p->s, key * p->lds + d);
    return sum / sqrt(p->qk + p->shared);
}

/* What a probability is multiplied by. */
static double kept(const problem *p, int64_t row, int64_t key, int head) {
    if (p->dropout.below == 0) return 1;
    double one = 1;
    int64_t block = key / ATTENTION_BLOCK;
    uint64_t query = (uint64_t)(block * p->n_head + head) << 32 | (uint64_t)(p->token + row);
    uint64_t element = query * ATTENTION_BLOCK + (uint64_t)(key % ATTENTION_BLOCK);
    dropout(DTYPE_F64, &p->dropout, element, 1, &one, NULL, &one);
    return one;
}

/* Worst distance of out and lse from the naive computation. */
static double naive_distance(const problem *p) {
    double worst = 0, *weight = zero_array(DTYPE_F64, p->n_keys);
    for (int64_t row = 0; row < p->rows; row++)
        for (int head = 0; head < p->n_head; head++) {
            double max = -(double)INFINITY, sum = 0;
            for (int64_t k = p->first[row]; k <= p->position[row]; k++)
                max = fmax(max, weight[k] = score(p, row, k, head));
            for (int64_t k = p->first[row]; k <= p->position[row]; k++)
                sum += weight[k] = exp(weight[k] - max);
            for (int64_t k = p->first[row]; k <= p->position[row]; k++)
                weight[k] *= kept(p, row, k, head);
            double lse = get(p->t, p->lse, row * p->n_head + head);
            worst = fmax(worst, fabs(lse - (max + log(sum))));
            for (int d = 0; d < p->v; d++) {
                int kv = head / (p->n_head / p->n_kv_head);
                double o = 0;
                for (int64_t k = p->first[row]; k <= p->position[row]; k++)
                    o += weight[k] / sum * get(p->t, p->values, k * p->ldv + kv * p->v_stride + d);
                double error = fabs(o - get(p->t, p->out, row * p->ldo + head * p->v + d));
                if (!(error <= worst)) worst = error;
            }
        }
    mem_free(weight);
    return worst;
}

TEST(attention_against_naive) {
    use_threads(2);
    for (uint64_t seed = 1; seed < 26; seed++)
        for (int wide = 0; wide < 2; wide++) {
            use_tier((int)kernels_best_tier());
            problem p = problem_new(wide ? DTYPE_F64 : DTYPE_F32, seed * 1000);
            attention_call call = call_of(&p);
            REQUIRE_OK(attention(&call, 1));
            double d = naive_distance(&p);
            CHECK(d < (wide ? 1e-12 : 3e-6), "%s: %g", describe(&p), d);
            problem_free(&p);
        }
}

/* out and lse of the whole problem as computed now, in fresh arrays. */
static void *attention_result(problem *p, int64_t *n) {
    attention_call call = call_of(p);
    vector_zero(p->t, p->rows * p->ldo, p->out);
    if (attention(&call, 1) != STATUS_OK) test_fail(__FILE__, __LINE__, "attention", "failed");
    *n = p->rows * (p->ldo + p->n_head);
    char *all = zero_array(p->t, *n);
    memcpy(all, p->out, bytes_of(p->t, p->rows * p->ldo));
    memcpy(all + bytes_of(p->t, p->rows * p->ldo), p->lse, bytes_of(p->t, p->rows * p->n_head));
    return all;
}

TEST(attention_tiers_and_threads_equal_portable) {
    for (uint64_t seed = 1; seed < 16; seed++) {
        problem p = problem_new(seed % 3 == 0 ? DTYPE_F64 : DTYPE_F32, seed * 777);
        if (seed % 2) p.products = GEMM_BF16_DOT;
        int64_t n;
        use_threads(1);
        use_tier(TIER_PORTABLE);
        void *want = attention_result(&p, &n);
        for (int tier = 0; tier < TIER_COUNT; tier++)
            for (int threads = 1; threads <= 4; threads *= 2) {
                use_threads(threads);
                if (!use_tier(tier)) continue;
                void *got = attention_result(&p, &n);
                CHECK(same(got, want, bytes_of(p.t, n)), "%s, %d threads, %s", tier_label(tier),
                      threads, describe(&p));
                mem_free(got);
            }
        mem_free(want);
        problem_free(&p);
    }
    use_threads(2);
}

TEST(attention_chunked_prompts_are_exact) {
    static const int64_t chunk[] = {1, 7, 64};
    use_threads(2);
    use_tier((int)kernels_best_tier());
    for (uint64_t seed = 1; seed < 10; seed++) {
        problem p = problem_new(DTYPE_F32, seed * 333);
        if (seed % 2) p.products = GEMM_BF16_DOT;
        int64_t n;
        void *want = attention_result(&p, &n);
        for (int c = 0; c < 3; c++) {
            vector_zero(p.t, p.rows * p.ldo, p.out);
            for (int64_t i = 0; i < p.rows; i += chunk[c]) {
                attention_call call = call_of(&p);
                call.rows = p.rows - i < chunk[c] ? p.rows - i : chunk[c];
                call.token += i;
                call.position += i;
                call.first += i;
                call.q = (char *)p.q + bytes_of(p.t, i * p.ldq);
                call.out = (char *)p.out + bytes_of(p.t, i * p.ldo);
                call.lse = (char *)p.lse + bytes_of(p.t, i * p.n_head);
                call.n_keys = p.position[i + call.rows - 1] + 1; /* later keys do not exist yet */
                REQUIRE_OK(attention(&call, 1));
            }
            CHECK(same(p.out, want, bytes_of(p.t, p.rows * p.ldo)), "chunks of %d: %s",
                  (int)chunk[c], describe(&p));
            CHECK(same(p.lse, (char *)want + bytes_of(p.t, p.rows * p.ldo),
                       bytes_of(p.t, p.rows * p.n_head)),
                  "lse, chunks of %d", (int)chunk[c]);
        }
        mem_free(want);
        problem_free(&p);
    }
}

TEST(attention_of_several_sequences_equals_one_by_one) {
    enum { N = 5 };
    use_threads(2);
    use_tier((int)kernels_best_tier());
    problem p[N];
    attention_call calls[N];
    void *want[N];
    int64_t n[N];
    for (int i = 0; i < N; i++) {
        p[i] = problem_new(i % 2 ? DTYPE_F64 : DTYPE_F32, 4321 + 50 * (uint64_t)i);
        want[i] = attention_result(&p[i], &n[i]);
        vector_zero(p[i].t, p[i].rows * p[i].ldo, p[i].out);
        calls[i] = call_of(&p[i]);
    }
    REQUIRE_OK(attention(calls, N));
    for (int i = 0; i < N; i++) {
        CHECK(same(p[i].out, want[i], bytes_of(p[i].t, p[i].rows * p[i].ldo)), "sequence %d", i);
        mem_free(want[i]);
        problem_free(&p[i]);
    }
}

/* -- backward -- */

/* Gradients in one array: dq, then dk (with dv inside when joint), ds, dv. */
typedef struct gradients {
    int64_t nq, nk, ns, nv;
    void *dq, *dk, *ds, *dv, *dout;
} gradients;

static gradients gradients_new(const problem *p, uint64_t seed) {
    gradients g = {.nq = p->rows * p->ldq,
                   .nk = p->n_keys * p->ldk,
                   .ns = p->n_keys * p->lds,
                   .nv = p->joint ? 0 : p->n_keys * p->ldv};
    g.dq = zero_array(p->t, g.nq);
    g.dk = zero_array(p->t, g.nk);
    g.ds = zero_array(p->t, g.ns);
    g.dv = p->joint ? (char *)g.dk + bytes_of(p->t, p->qk) : zero_array(p->t, g.nv);
    g.dout = random_array(p->t, p->rows * p->ldo, seed);
    return g;
}
static void gradients_free(const problem *p, gradients *g) {
    mem_free(g->dq);
    mem_free(g->dk);
    mem_free(g->ds);
    if (!p->joint) mem_free(g->dv);
    mem_free(g->dout);
}

static attention_gradient gradient_of(const problem *p, const gradients *g) {
    return (attention_gradient){.dout = g->dout,
                                .lddo = p->ldo,
                                .dq = g->dq,
                                .lddq = p->ldq,
                                .dk = g->dk,
                                .dshared = g->ds,
                                .dv = g->dv,
                                .lddk = p->ldk,
                                .ldds = p->lds,
                                .lddv = p->ldv,
                                .dk_head_stride = p->joint ? p->k_stride : 0,
                                .dv_head_stride = p->joint ? p->v_stride : 0};
}

static gradients backward_result(problem *p, uint64_t seed) {
    gradients g = gradients_new(p, seed);
    attention_call call = call_of(p);
    attention_gradient grad = gradient_of(p, &g);
    if (attention(&call, 1) != STATUS_OK || attention_backward(&call, &grad, 1) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "attention_backward", "failed");
    return g;
}

static double loss_at(problem *p, const double *dout) {
    attention_call call = call_of(p);
    if (attention(&call, 1) != STATUS_OK) test_fail(__FILE__, __LINE__, "attention", "failed");
    double sum = 0;
    for (int64_t row = 0; row < p->rows; row++)
        for (int64_t c = 0; c < p->n_head * p->v; c++)
            sum += ((double *)p->out)[row * p->ldo + c] * dout[row * p->ldo + c];
    return sum;
}

/* Directional derivative along a random direction of one input array against its gradient. */
static void check_direction(problem *p, const char *name, double *x, const double *dx, int64_t n,
                            const double *dout) {
    static const double at[4] = {-2, -1, 1, 2}, weight[4] = {1, -8, 8, -1};
    double *u = random_array(DTYPE_F64, n, 99), *start = as_double(DTYPE_F64, x, n);
    double length = 0, want = 0, got = 0, h = 1e-3;
    for (int64_t i = 0; i < n; i++)
        length += u[i] * u[i];
    for (int64_t i = 0; i < n; i++)
        want += dx[i] * (u[i] /= sqrt(length));
    for (int k = 0; k < 4; k++) {
        for (int64_t i = 0; i < n; i++)
            x[i] = start[i] + at[k] * h * u[i];
        got += weight[k] * loss_at(p, dout);
    }
    got /= 12 * h;
    memcpy(x, start, bytes_of(DTYPE_F64, n));
    CHECK(fabs(got - want) <= 1e-8 * fabs(want) + 1e-9, "%s: %.12g %.12g; %s", name, got, want,
          describe(p));
    mem_free(u);
    mem_free(start);
}

TEST(attention_backward_by_finite_differences) {
    use_threads(2);
    use_tier((int)kernels_best_tier());
    for (uint64_t seed = 1; seed < 13; seed++) {
        problem p = problem_new(DTYPE_F64, seed * 555);
        gradients g = backward_result(&p, seed);
        check_direction(&p, "dq", p.q, g.dq, g.nq, g.dout);
        check_direction(&p, "dk", p.k, g.dk, g.nk, g.dout);
        check_direction(&p, "dshared", p.s, g.ds, g.ns, g.dout);
        if (!p.joint) check_direction(&p, "dv", p.values, g.dv, g.nv, g.dout);
        gradients_free(&p, &g);
        problem_free(&p);
    }
}

TEST(attention_backward_f32_against_f64) {
    use_threads(2);
    use_tier((int)kernels_best_tier());
    for (uint64_t seed = 1; seed < 10; seed++) {
        problem a = problem_new(DTYPE_F32, seed * 91), b = problem_new(DTYPE_F64, seed * 91);
        gradients ga = backward_result(&a, seed), gb = backward_result(&b, seed);
        double d = distance(DTYPE_F32, ga.dq, DTYPE_F64, gb.dq, ga.nq);
        d = fmax(d, distance(DTYPE_F32, ga.dk, DTYPE_F64, gb.dk, ga.nk));
        d = fmax(d, distance(DTYPE_F32, ga.ds, DTYPE_F64, gb.ds, ga.ns));
        if (!a.joint) d = fmax(d, distance(DTYPE_F32, ga.dv, DTYPE_F64, gb.dv, ga.nv));
        CHECK(d < 1e-5, "%s: %g", describe(&a), d);
        gradients_free(&a, &ga);
        gradients_free(&b, &gb);
        problem_free(&a);
        problem_free(&b);
    }
}

/* Rounded operands: gradients are off by about 2^-9 of their size, and by no more. */
TEST(attention_backward_dot_against_f64) {
    use_threads(2);
    use_tier((int)kernels_best_tier());
    for (uint64_t seed = 1; seed < 10; seed++) {
        problem a = problem_new(DTYPE_F32, seed * 91), b = problem_new(DTYPE_F64, seed * 91);
        a.products = GEMM_BF16_DOT;
        gradients ga = backward_result(&a, seed), gb = backward_result(&b, seed);
        double d = distance(DTYPE_F32, ga.dq, DTYPE_F64, gb.dq, ga.nq);
        d = fmax(d, distance(DTYPE_F32, ga.dk, DTYPE_F64, gb.dk, ga.nk));
        d = fmax(d, distance(DTYPE_F32, ga.ds, DTYPE_F64, gb.ds, ga.ns));
        if (!a.joint) d = fmax(d, distance(DTYPE_F32, ga.dv, DTYPE_F64, gb.dv, ga.nv));
        bool rounds = a.qk % 2 == 0 || a.shared == 0; /* else f32 */
        CHECK(d < 0.02 && (d > 1e-5 || !rounds), "%s: %g", describe(&a), d);
        gradients_free(&a, &ga);
        gradients_free(&b, &gb);
        problem_free(&a);
        problem_free(&b);
    }
}

TEST(attention_backward_tiers_and_threads_equal_portable) {
    for (uint64_t seed = 1; seed < 12; seed++) {
        problem p = problem_new(seed % 4 == 0 ? DTYPE_F64 : DTYPE_F32, seed * 67);
        if (seed % 2) p.products = GEMM_BF16_DOT;
        use_threads(1);
        use_tier(TIER_PORTABLE);
        gradients want = backward_result(&p, seed);
        for (int tier = 0; tier < TIER_COUNT; tier++)
            for (int threads = 1; threads <= 2; threads++) {
                use_threads(threads);
                if (!use_tier(tier)) continue;
                gradients got = backward_result(&p, seed);
                bool equal = same(got.dq, want.dq, bytes_of(p.t, got.nq)) &&
                             same(got.dk, want.dk, bytes_of(p.t, got.nk)) &&
                             same(got.ds, want.ds, bytes_of(p.t, got.ns)) &&
                             (p.joint || same(got.dv, want.dv, bytes_of(p.t, got.nv)));
                CHECK(equal, "%s, %d threads, %s", tier_label(tier), threads, describe(&p));
                gradients_free(&p, &got);
            }
        gradients_free(&p, &want);
        problem_free(&p);
    }
    use_threads(2);
}

TEST(attention_backward_skips_what_is_not_wanted) {
    use_threads(2);
    use_tier((int)kernels_best_tier());
    problem p = problem_new(DTYPE_F32, 31 * 555);
    gradients all = backward_result(&p, 1), none = gradients_new(&p, 1);
    attention_call call = call_of(&p);
    attention_gradient grad = gradient_of(&p, &none);
    grad.dk = grad.dv = grad.dshared = NULL;
    REQUIRE_OK(attention_backward(&call, &grad, 1));
    CHECK(same(none.dq, all.dq, bytes_of(p.t, all.nq)), "dq alone");
    grad = gradient_of(&p, &none);
    grad.dq = NULL;
    REQUIRE_OK(attention_backward(&call, &grad, 1));
    CHECK(same(none.dk, all.dk, bytes_of(p.t, all.nk)), "keys alone");
    gradients_free(&p, &all);
    gradients_free(&p, &none);
    problem_free(&p);
}

TEST(attention_reports_lack_of_scratch) {
    use_threads(2);
    use_tier((int)kernels_best_tier());
    problem p = problem_new(DTYPE_F32, 5 * 555);
    gradients g = gradients_new(&p, 1);
    attention_call call = call_of(&p);
    attention_gradient grad = gradient_of(&p, &g);
    for (int backward = 0; backward < 2; backward++) {
        int failures = 0;
        for (int64_t n = 1; n < 500; n++) {
            mem_fail_at(n);
            status s = backward ? attention_backward(&call, &grad, 1) : attention(&call, 1);
            bool failed = mem_failed();
            mem_fail_at(0);
            CHECK((s == STATUS_MEMORY) == failed, "backward %d, allocation %d: status %d", backward,
                  (int)n, (int)s);
            failures += failed;
            if (!failed) break;
        }
        CHECK(failures >= 7, "%d failures", failures);
    }
    gradients_free(&p, &g);
    problem_free(&p);
}
