/* test_rng.c - random numbers as pure functions, their moments, permutations. */
#include "base/rng.h"
#include "test.h"

TEST(rng_is_a_pure_function) {
    rng a = rng_at(7, RNG_INIT, 3), b = rng_at(7, RNG_INIT, 3), c = rng_at(7, RNG_ORDER, 3);
    CHECK(rng_u64(a, 5) == rng_u64(b, 5), "same key, same bits");
    CHECK(rng_u64(a, 5) != rng_u64(c, 5), "other purpose, other bits");
    uint32_t words[4];
    rng_words(a, 5, words);
    CHECK(((uint64_t)words[1] << 32 | words[0]) == rng_u64(a, 5), "words and number differ");
}

TEST(rng_moments) {
    rng r = rng_at(1, RNG_TEST, 0);
    double sum = 0, square = 0, uniform = 0;
    int n = 100000;
    for (int i = 0; i < n; i++) {
        double x = rng_normal(r, (uint64_t)i);
        sum += x, square += x * x, uniform += rng_uniform(r, (uint64_t)i);
    }
    CHECK(sum / n > -0.02 && sum / n < 0.02, "mean %g", sum / n);
    CHECK(square / n > 0.98 && square / n < 1.02, "variance %g", square / n);
    CHECK(uniform / n > 0.49 && uniform / n < 0.51, "uniform %g", uniform / n);
}

TEST(rng_permute_is_a_bijection) {
    static uint8_t seen[5000];
    for (uint64_t n = 1; n < 5000; n = n * 2 + 1) {
        memset(seen, 0, sizeof seen);
        rng r = rng_at(n, RNG_ORDER, 0);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t j = rng_permute(r, i, n);
            REQUIRE(j < n && !seen[j], "n %" PRIu64 " i %" PRIu64 " -> %" PRIu64, n, i, j);
            seen[j] = 1;
        }
    }
}
