/* test_gemm.c - products: against f64 by tolerance, against portable by memcmp, and the laws of
 * docs/numerics.md 2. */
#include "kernel_test.h"

typedef struct product {
    gemm_type type;
    int64_t m, n, k;
    bool a_across, b_across; /* A stored [k][m]; B stored [n][k] */
    bool packed, accumulate;
    int64_t pad; /* extra leading dimension */
    void *a, *b, *c;
    int64_t lda, ldb, ldc;
} product;

static dtype real_of(gemm_type type) {
    return type == GEMM_F64 ? DTYPE_F64 : DTYPE_F32;
}
static int64_t a_count(const product *p) {
    return (p->a_across ? p->k : p->m) * p->lda;
}
static int64_t b_count(const product *p) {
    return (p->b_across ? p->n : p->k) * p->ldb;
}

/* Random arrays hold floats. Two of them have an exact product in double, so a kernel that does not
 * fuse would go unnoticed: a third of each needs every bit. */
static void *random_operand(dtype t, int64_t n, uint64_t seed) {
    void *x = random_array(t, n, seed);
    for (int64_t i = 0; t == DTYPE_F64 && i < n; i++)
        set(t, x, i, get(t, x, i) / 3);
    return x;
}

static void product_fill(product *p, uint64_t seed) {
    dtype t = real_of(p->type);
    p->lda = (p->a_across ? p->m : p->k) + p->pad;
    p->ldb = (p->b_across ? p->k : p->n) + p->pad;
    p->ldc = p->n + p->pad;
    p->a = random_operand(t, a_count(p), seed);
    p->b = random_operand(t, b_count(p), seed + 1);
    p->c = random_array(t, p->m * p->ldc, seed + 2);
}
static void product_free(product *p) {
    mem_free(p->a);
    mem_free(p->b);
    mem_free(p->c);
}

static gemm_call call_of(const product *p, packed_matrix *packed, void *c) {
    gemm_call call = {.type = p->type,
                      .m = p->m,
                      .n = p->n,
                      .k = p->k,
                      .a = p->a,
                      .a_stride_m = p->a_across ? 1 : p->lda,
                      .a_stride_k = p->a_across ? p->lda : 1,
                      .b_raw = p->b,
                      .b_stride_n = p->b_across ? p->ldb : 1,
                      .b_stride_k = p->b_across ? 1 : p->ldb,
                      .c = c,
                      .ldc = p->ldc,
                      .accumulate = p->accumulate};
    if (!p->packed) return call;
    *packed = (packed_matrix){.type = p->type, .n = p->n, .k = p->k};
    packed->data = aligned_alloc(64, packed_bytes(p->type, p->n, p->k) + 64);
    gemm_pack(packed, p->b, call.b_stride_n, call.b_stride_k);
    call.b = packed;
    call.b_raw = NULL;
    return call;
}

/* A new C as computed by the tier in use. */
static void *product_run(const product *p) {
    dtype t = real_of(p->type);
    void *c = zero_array(t, p->m * p->ldc);
    memcpy(c, p->c, bytes_of(t, p->m * p->ldc));
    packed_matrix packed = {0};
    gemm_call call = call_of(p, &packed, c);
    if (gemm(&call) != STATUS_OK) test_fail(__FILE__, __LINE__, "gemm", "failed");
    free(packed.data);
    return c;
}

/* Of the numbers of f16 the nearest, and its bits; by doubles. */
static double f16_value(double x) {
    if (x == 0) return x;
    int exponent = ilogb(x) > -14 ? ilogb(x) : -14;
    return ldexp(nearbyint(ldexp(x, 10 - exponent)), exponent - 10);
}
static uint16_t f16_bits(double value) {
    if (value == 0) return signbit(value) ? 0x8000 : 0;
    int exponent = ilogb(value) > -14 ? ilogb(value) : -14;
    int fraction = (int)ldexp(fabs(value), 10 - exponent);
    return (uint16_t)((value < 0 ? 0x8000 : 0) +
                      (fraction >= 1024 ? (exponent + 15) * 1024 + fraction - 1024 : fraction));
}

static double rounded_value(const product *p, const void *array, int64_t i) {
    double x = get(real_of(p->type), array, i);
    bool both = p->type == GEMM_BF16 || p->type == GEMM_BF16_DOT, weight = array == p->b;
    if (both || (p->type == GEMM_F32_BF16 && weight))
        return (double)bf16_to_f32(f32_to_bf16((float)x));
    return p->type == GEMM_F32_F16 && weight ? f16_value(x) : x;
}

static double exact(const product *p, int64_t m, int64_t n, double *magnitude) {
    double sum = p->accumulate ? get(real_of(p->type), p->c, m * p->ldc + n) : 0;
    *magnitude = fabs(sum);
    for (int64_t k = 0; k < p->k; k++) {
        double a = rounded_value(p, p->a, p->a_across ? k * p->lda + m : m * p->lda + k);
        double b = rounded_value(p, p->b, p->b_across ? n * p->ldb + k : k * p->ldb + n);
        sum += a * b;
        *magnitude += fabs(a * b);
    }
    return sum;
}

static product random_product(uint64_t seed) {
    static const int sizes[] = {1,  2,  3,  7,  8,  13, 15, 16,  17,
                                31, 32, 33, 63, 64, 65, 97, 130, 200};
    int n = (int)(sizeof sizes / sizeof sizes[0]);
    product p = {.type = (gemm_type)random_int(seed, 0, GEMM_TYPES - 1),
                 .m = sizes[random_int(seed + 1, 0, n - 1)],
                 .n = sizes[random_int(seed + 2, 0, n - 1)],
                 .k = sizes[random_int(seed + 3, 0, n - 1)],
                 .a_across = random_int(seed + 4, 0, 1),
                 .b_across = random_int(seed + 5, 0, 1),
                 .packed = random_int(seed + 6, 0, 1),
                 .accumulate = random_int(seed + 7, 0, 1),
                 .pad = random_int(seed + 8, 0, 1) * 5};
    if (seed % 7 == 0) p.k += 1024; /* more than one phase and k block */
    product_fill(&p, seed);
    return p;
}

static const char *describe(const product *p) {
    return text("%s m %d n %d k %d across %d %d packed %d accumulate %d pad %d",
                gemm_type_name(p->type), (int)p->m, (int)p->n, (int)p->k, p->a_across, p->b_across,
                p->packed, p->accumulate, (int)p->pad);
}

TEST(gemm_portable_against_f64) {
    use_threads(2);
    REQUIRE(use_tier(TIER_PORTABLE), "portable always exists");
    for (uint64_t seed = 100; seed < 220; seed++) {
        product p = random_product(seed);
        void *c = product_run(&p);
        double worst = 0;
        for (int64_t i = 0; i < 60; i++) {
            int64_t m = random_int(seed * 64 + (uint64_t)i, 0, (int)p.m - 1);
            int64_t n = random_int(seed * 65 + (uint64_t)i, 0, (int)p.n - 1);
            double magnitude, want = exact(&p, m, n, &magnitude);
            double error =
                fabs(get(real_of(p.type), c, m * p.ldc + n) - want) / (magnitude + 1e-30);
            if (!(error <= worst)) worst = error;
        }
        double bound = p.type == GEMM_F64 ? 0x1p-50 : 0x1p-22;
        CHECK(worst <= bound, "%s: error %g", describe(&p), worst);
        mem_free(c);
        product_free(&p);
    }
}

TEST(gemm_tiers_equal_portable) {
    use_threads(2);
    int tiers = 0;
    for (uint64_t seed = 1000; seed < 1300; seed++) {
        product p = random_product(seed);
        use_tier(TIER_PORTABLE);
        void *want = product_run(&p);
        for (int tier = 1; tier < TIERS; tier++) {
            if (!use_tier(tier)) continue;
            tiers++;
            void *got = product_run(&p);
            CHECK(same(got, want, bytes_of(real_of(p.type), p.m * p.ldc)), "%s %s",
                  tier_label(tier), describe(&p));
            mem_free(got);
        }
        mem_free(want);
        product_free(&p);
    }
    if (tiers == 0) SKIP("this CPU has only the portable tier");
}

/* -- weights of 16 bits -- */

typedef struct half_weights {
    const char *bytes; /* rows of k numbers, odd addresses and gaps included */
    const float *values;
    int64_t k;
    size_t stride;
    bool wide; /* given in f32 */
} half_weights;

static status half_rows(void *context, int64_t first, int n, void *room, const void **rows) {
    const half_weights *w = context;
    for (int j = 0; j < n; j++) {
        rows[j] = w->bytes + (size_t)(first + j) * w->stride;
        if (w->wide)
            memcpy((float *)room + j * w->k, w->values + (first + j) * w->k,
                   (size_t)w->k * sizeof *w->values);
    }
    return STATUS_OK;
}

/* Packed from bits anywhere or from f32, in parts: the bits of the f32 product with the same numbers;
 * and each row can be read back. */
static void half_case(bool f16, int64_t m, int64_t n, int64_t k, uint64_t seed) {
    gemm_type type = f16 ? GEMM_F32_F16 : GEMM_F32_BF16;
    half_weights w = {.k = k, .stride = (size_t)k * 2 + 5};
    char *bytes = zero_array(DTYPE_F32, n * (int64_t)w.stride);
    float *values = random_array(DTYPE_F32, n * k, seed),
          *a = random_array(DTYPE_F32, m * k, seed + 1);
    float *want = zero_array(DTYPE_F32, m * n), *got = zero_array(DTYPE_F32, m * n);
    float *row = zero_array(DTYPE_F32, k);
    w.bytes = bytes + 1;
    w.values = values;
    for (int64_t i = 0; i < n * k; i++) {
        if (i % 11 == 0) values[i] *= 0x1p-20f; /* below the normal numbers of f16 */
        values[i] = f16 ? (float)f16_value((double)values[i]) : bf16_to_f32(f32_to_bf16(values[i]));
        uint16_t half = f16 ? f16_bits((double)values[i]) : f32_to_bf16(values[i]);
        memcpy(bytes + 1 + (size_t)(i / k) * w.stride + 2 * (size_t)(i % k), &half, sizeof half);
    }
    packed_matrix packed = {.type = type, .n = n, .k = k};
    packed.data = aligned_alloc(64, packed_bytes(type, n, k) + 64);
    gemm_call call = {.type = GEMM_F32,
                      .m = m,
                      .n = n,
                      .k = k,
                      .a = a,
                      .a_stride_m = k,
                      .a_stride_k = 1,
                      .b_raw = values,
                      .b_stride_n = k,
                      .b_stride_k = 1,
                      .c = want,
                      .ldc = n};
    REQUIRE_OK(gemm(&call));
    call.type = type, call.b = &packed, call.b_raw = NULL, call.c = got;
    for (int wide = 0; wide < 2; wide++) {
        int64_t part = n > 16 ? 16 : n;
        w.wide = wide != 0;
        size_t size = w.wide ? sizeof(float) : sizeof(uint16_t);
        memset(packed.data, 0xAA, packed_bytes(type, n, k));
        REQUIRE_OK(gemm_pack_rows(&packed, part, n - part, size, half_rows, &w));
        REQUIRE_OK(gemm_pack_rows(&packed, 0, part, size, half_rows, &w));
        REQUIRE_OK(gemm(&call));
        CHECK(same(got, want, bytes_of(DTYPE_F32, m * n)), "%s m %d n %d k %d %s",
              gemm_type_name(type), (int)m, (int)n, (int)k, kernels_tier_name());
        for (int64_t i = 0; i < n; i++) {
            gemm_unpack_row(&packed, i, row);
            CHECK(memcmp(row, values + i * k, (size_t)k * sizeof *row) == 0, "row %d", (int)i);
        }
    }
    free(packed.data);
    mem_free(bytes);
    mem_free(values);
    mem_free(a);
    mem_free(want);
    mem_free(got);
    mem_free(row);
}

TEST(gemm_with_half_weights_has_the_bits_of_f32) {
    static const int64_t k[] = {1, 2, 31, 32, 33, 64, 97, 600};
    use_threads(2);
    for (int tier = 0; tier < TIERS; tier++) {
        if (!use_tier(tier)) continue;
        for (uint64_t i = 0; i < 24; i++)
            half_case(i % 2 == 0, random_int(i, 1, 40), random_int(i + 50, 1, 70), k[i % 8], i);
    }
}

/* -- laws -- */

TEST(gemm_rows_do_not_depend_on_other_rows) {
    use_threads(2);
    for (int type = 0; type < GEMM_TYPES; type++) {
        for (int tier = 0; tier < TIERS; tier++) {
            if (!use_tier(tier)) continue;
            product p = {.type = (gemm_type)type, .m = 33, .n = 77, .k = 150, .packed = true};
            product_fill(&p, 7);
            dtype t = real_of(p.type);
            char *whole = product_run(&p);
            for (int64_t row = 0; row < p.m; row += 8) {
                product one = p;
                one.m = 1;
                one.a = (char *)p.a + bytes_of(t, row * p.lda);
                void *c = product_run(&one);
                CHECK(same(c, whole + bytes_of(t, row * p.ldc), bytes_of(t, p.n)),
                      "type %d %s row %d", type, tier_label(tier), (int)row);
                mem_free(c);
            }
            mem_free(whole);
            product_free(&p);
        }
    }
}

TEST(gemm_k_split_in_order_is_exact) {
    use_threads(2);
    for (int type = 0; type < GEMM_TYPES; type++) {
        for (int tier = 0; tier < TIERS; tier++) {
            if (!use_tier(tier)) continue;
            product p = {.type = (gemm_type)type, .m = 40, .n = 50, .k = 300, .a_across = true};
            product_fill(&p, 9);
            dtype t = real_of(p.type);
            void *whole = product_run(&p), *c = zero_array(t, p.m * p.ldc);
            memcpy(c, p.c, bytes_of(t, p.m * p.ldc));
            for (int64_t k = 0; k < p.k; k += 96) {
                product part = p;
                part.k = p.k - k < 96 ? p.k - k : 96;
                part.a = (char *)p.a + bytes_of(t, k * p.lda);
                part.b = (char *)p.b + bytes_of(t, k * p.ldb);
                part.accumulate = k > 0;
                gemm_call call = call_of(&part, NULL, c);
                REQUIRE_OK(gemm(&call));
            }
            CHECK(same(c, whole, bytes_of(t, p.m * p.ldc)), "type %d %s", type, tier_label(tier));
            mem_free(c);
            mem_free(whole);
            product_free(&p);
        }
    }
}

TEST(gemm_bits_do_not_depend_on_threads) {
    for (uint64_t seed = 500; seed < 540; seed++) {
        product p = random_product(seed);
        void *c[3];
        for (int i = 0; i < 3; i++) {
            use_threads(1 << i);
            use_tier((int)kernels_best_tier());
            c[i] = product_run(&p);
        }
        size_t bytes = bytes_of(real_of(p.type), p.m * p.ldc);
        CHECK(same(c[0], c[1], bytes) && same(c[0], c[2], bytes), "%s", describe(&p));
        for (int i = 0; i < 3; i++)
            mem_free(c[i]);
        product_free(&p);
    }
    use_threads(2);
}

TEST(gemm_grouped_equals_one_by_one) {
    enum { N = 9 };
    use_threads(2);
    for (int tier = 0; tier < TIERS; tier++) {
        if (!use_tier(tier)) continue;
        product p[N];
        gemm_call calls[N];
        packed_matrix packed[N] = {{0}};
        void *want[N], *got[N];
        for (int i = 0; i < N; i++) {
            p[i] = random_product(3000 + (uint64_t)i);
            if (i == 4) p[i].m = 0; /* an expert without tokens */
            want[i] = product_run(&p[i]);
            got[i] = zero_array(real_of(p[i].type), p[i].m * p[i].ldc);
            memcpy(got[i], p[i].c, bytes_of(real_of(p[i].type), p[i].m * p[i].ldc));
            calls[i] = call_of(&p[i], &packed[i], got[i]);
        }
        CHECK(gemm_grouped(calls, N) == STATUS_OK, "%s", tier_label(tier));
        for (int i = 0; i < N; i++) {
            CHECK(same(got[i], want[i], bytes_of(real_of(p[i].type), p[i].m * p[i].ldc)), "%s %s",
                  tier_label(tier), describe(&p[i]));
            mem_free(got[i]);
            mem_free(want[i]);
            free(packed[i].data);
            product_free(&p[i]);
        }
    }
}

TEST(gemm_without_k_clears_or_keeps) {
    use_threads(1);
    float c[6] = {1, 2, 3, 4, 5, 6}, unused = 0;
    gemm_call call = {.type = GEMM_F32,
                      .m = 2,
                      .n = 2,
                      .a = &unused,
                      .a_stride_k = 1,
                      .b_raw = &unused,
                      .b_stride_n = 1,
                      .c = c,
                      .ldc = 3,
                      .accumulate = true};
    REQUIRE_OK(gemm(&call));
    CHECK(c[0] == 1 && c[4] == 5, "kept");
    call.accumulate = false;
    REQUIRE_OK(gemm(&call));
    CHECK(c[0] == 0 && c[1] == 0 && c[2] == 3 && c[4] == 0 && c[5] == 6, "cleared inside only");
}

TEST(gemm_reports_lack_of_scratch) {
    use_threads(2);
    use_tier((int)kernels_best_tier());
    product p = {.type = GEMM_BF16, .m = 300, .n = 120, .k = 90};
    product_fill(&p, 3);
    void *want = product_run(&p);
    int failures = 0;
    for (int64_t n = 1; n < 200; n++) {
        void *c = zero_array(DTYPE_F32, p.m * p.ldc);
        gemm_call call = call_of(&p, NULL, c);
        mem_fail_at(n);
        status s = gemm(&call);
        bool failed = mem_failed();
        mem_fail_at(0);
        CHECK((s == STATUS_MEMORY) == failed, "status %d at allocation %d", (int)s, (int)n);
        if (failed) CHECK(error_last()->id == F_NO_MEMORY, "report %d", (int)error_last()->id);
        if (!failed) CHECK(same(c, want, bytes_of(DTYPE_F32, p.m * p.ldc)), "correct afterwards");
        mem_free(c);
        failures += failed;
        if (!failed) break;
    }
    CHECK(failures >= 3, "%d failures", failures);
    mem_free(want);
    product_free(&p);
}

/* The chain of bf16-dot as docs/numerics.md 2 writes it, letter by letter. */
TEST(gemm_dot_takes_the_odd_k_first) {
    enum { M = 5, N = 19, K = 77 };
    use_threads(1);
    product p = {.type = GEMM_BF16_DOT, .m = M, .n = N, .k = K, .accumulate = true};
    product_fill(&p, 12);
    float want[M][N];
    int other = 0;
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            float acc = ((float *)p.c)[m * N + n], ascending = acc;
            for (int k = 0; k < K + 1; k++) {
                int at = k ^ 1; /* 1, 0, 3, 2 .. */
                float a = at < K ? (float)rounded_value(&p, p.a, m * K + at) : 0;
                float b = at < K ? (float)rounded_value(&p, p.b, at * N + n) : 0;
                acc = fmaf(a, b, acc);
                if (k == K) continue;
                ascending = fmaf((float)rounded_value(&p, p.a, m * K + k),
                                 (float)rounded_value(&p, p.b, k * N + n), ascending);
            }
            want[m][n] = acc;
            other += memcmp(&acc, &ascending, sizeof acc) != 0;
        }
    for (int tier = 0; tier < TIERS; tier++) {
        if (!use_tier(tier)) continue;
        void *c = product_run(&p);
        CHECK(same(c, want, sizeof want), "%s", tier_label(tier));
        mem_free(c);
    }
    CHECK(other > 0, "the order makes no difference here: the test shows nothing");
    product_free(&p);
}

/* Operands and sums below 2^-126 count as zero in every tier, as in the instruction itself. */
TEST(gemm_dot_flushes_denormals) {
    use_threads(1);
    float a[4] = {0x1p-127f, 0x1p-130f, 1, 0}, b[4] = {0x1p126f, 0x1p126f, 0, 1}, c = 0;
    float low = 0x1p-70f;
    gemm_call call = {.type = GEMM_BF16_DOT,
                      .m = 1,
                      .n = 1,
                      .k = 4,
                      .a = a,
                      .a_stride_m = 4,
                      .a_stride_k = 1,
                      .b_raw = b,
                      .b_stride_n = 4,
                      .b_stride_k = 1,
                      .c = &c,
                      .ldc = 1};
    for (int tier = 0; tier < TIERS; tier++) {
        if (!use_tier(tier)) continue;
        REQUIRE_OK(gemm(&call));
        CHECK(c == 0, "%s: a denormal operand gave %g", tier_label(tier), (double)c);
        gemm_call tiny = call;
        tiny.k = 1;
        tiny.a = tiny.b_raw = &low; /* 2^-140 */
        REQUIRE_OK(gemm(&tiny));
        CHECK(c == 0, "%s: a denormal product gave %g", tier_label(tier), (double)c);
    }
}

TEST(gemm_amx_standin_is_configured) {
    use_threads(2);
    REQUIRE(use_tier(TIER_COUNT), "the stand-in always exists");
    amx_standin_clear();
    product p = {.type = GEMM_BF16, .m = 70, .n = 45, .k = 70, .a_across = true};
    product_fill(&p, 4);
    void *c = product_run(&p);
    CHECK(amx_standin_fault_count() == 0, "tiles used without configuration");
    mem_free(c);
    product_free(&p);
}
