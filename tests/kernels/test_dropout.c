/* test_dropout.c - masks are the counters' of base/rng.h, the same in every tier and cut, and keep
 * what they promise on average. */
#include "kernel_test.h"

/* The bits of an element by the words of its counter (docs/numerics.md, dropout). */
static int bits_of(const dropout_mask *m, uint64_t e) {
    uint32_t words[4];
    uint64_t in = e % 128;
    rng_words(m->stream, e / 128 * 16 + in % 32 / 2, words);
    return (int)(words[in / 32] >> (16 * (in % 2)) & 0xFFFF);
}

static dropout_mask mask_of(double rate, uint64_t seed) {
    return dropout_mask_of(rate, rng_at(seed, RNG_DROPOUT, seed * 3));
}

static void expect_formula(dtype t, const dropout_mask *m, uint64_t first, int64_t n, bool base) {
    void *x = random_array(t, n, first + 1), *y = zero_array(t, n);
    void *b = base ? random_array(t, n, first + 2) : NULL;
    dropout(t, m, first, n, x, b, y);
    for (int64_t i = 0; i < n; i++) {
        double kept = get(t, x, i);
        if (t == DTYPE_F64)
            kept *= m->factor;
        else
            kept = (double)((float)kept * (float)m->factor);
        if (bits_of(m, first + (uint64_t)i) < m->below) kept = 0;
        double want = base ? get(t, b, i) + kept : kept;
        if (t == DTYPE_F32) want = (double)(float)want;
        REQUIRE(get(t, y, i) == want, "element %d of %d from %" PRIu64 ": %g, not %g", (int)i,
                (int)n, first, get(t, y, i), want);
    }
    dropout(t, m, first, n, x, b, base ? b : x); /* in place */
    CHECK(same(base ? b : x, y, bytes_of(t, n)), "in place");
    mem_free(x);
    mem_free(y);
    mem_free(b);
}

TEST(dropout_follows_its_counters) {
    static const int64_t lengths[] = {1, 3, 16, 127, 128, 129, 300, 2047, 2049, 40000};
    static const uint64_t firsts[] = {0, 1, 77, 128, 5000, (uint64_t)1 << 36, UINT64_MAX / 2};
    for (int tier = 0; tier < TIERS; tier++)
        for (int i = 0; i < 10; i++) {
            use_threads(1 + i % 2);
            if (!use_tier(tier)) continue;
            dropout_mask m = mask_of(i % 2 ? 0.2 : 0.75, (uint64_t)i + 1);
            for (int f = 0; f < 7; f += i == 9 ? 3 : 1)
                expect_formula(f % 2 ? DTYPE_F64 : DTYPE_F32, &m, firsts[f], lengths[i], i % 3 > 0);
        }
}

/* Share of dropped elements, and the mean of ones, within 4 deviations. */
TEST(dropout_keeps_expectations) {
    enum { N = 1 << 20 };
    float *x = zero_array(DTYPE_F32, N), *y = zero_array(DTYPE_F32, N);
    for (int i = 0; i < N; i++)
        x[i] = 1;
    for (int k = 0; k < 4; k++) {
        double rate = (double[]){0.1, 0.2, 0.5, 0.9}[k], sum = 0;
        dropout_mask m = mask_of(rate, 40 + (uint64_t)k);
        int dropped = 0, pairs = 0;
        dropout(DTYPE_F32, &m, 0, N, x, NULL, y);
        for (int i = 0; i < N; i++) {
            dropped += y[i] == 0;
            pairs += i > 0 && y[i] == 0 && y[i - 1] == 0;
            sum += (double)y[i];
        }
        double deviation = sqrt(rate * (1 - rate) * N);
        CHECK(fabs(dropped - rate * N) < 4 * deviation, "rate %g: %d dropped", rate, dropped);
        CHECK(fabs(pairs - rate * rate * N) < 8 * deviation, "rate %g: %d neighbours", rate, pairs);
        CHECK(fabs(sum - N) < 4 * deviation / (1 - rate), "rate %g: the mean is %g", rate, sum / N);
    }
    mem_free(x);
    mem_free(y);
}

/* Steps, seeds and places have masks of their own. */
TEST(dropout_streams_differ) {
    enum { N = 4096 };
    float *x = random_array(DTYPE_F32, N, 3);
    for (int k = 1; k < 4; k++) {
        rng other = rng_at(k == 1 ? 8 : 7, k == 2 ? RNG_TEST : RNG_DROPOUT, k == 3 ? 6 : 5);
        dropout_mask a = dropout_mask_of(0.5, rng_at(7, RNG_DROPOUT, 5));
        dropout_mask b = dropout_mask_of(0.5, other);
        float *y = zero_array(DTYPE_F32, N), *z = zero_array(DTYPE_F32, N);
        int equal = 0;
        dropout(DTYPE_F32, &a, 0, N, x, NULL, y);
        dropout(DTYPE_F32, &b, 0, N, x, NULL, z);
        for (int i = 0; i < N; i++)
            equal += y[i] == z[i];
        CHECK(abs(equal - N / 2) < 4 * 32, "stream %d: %d of %d elements equal", k, equal, N);
        mem_free(y);
        mem_free(z);
    }
    mem_free(x);
}

TEST(dropout_rate_zero_keeps_all) {
    dropout_mask m = mask_of(0, 1);
    CHECK(m.below == 0 && m.factor == 1, "below %d, factor %g", m.below, m.factor);
}
