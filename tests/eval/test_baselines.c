/* The baselines on texts whose answer is known. */
#include "base/memory.h"
#include "base/pool.h"
#include "base/rng.h"
#include "eval/eval.h"
#include "test.h"

#include <math.h>

TEST(baselines_of_tinyshakespeare) {
    const char *path = test_data("tinyshakespeare/input.txt");
    if (path == NULL) SKIP("needs tinyshakespeare from the benchmark data (FATHOM_TEST_DATA)");
    FILE *f = fopen(path, "rb");
    REQUIRE(f != NULL, "open %s", path);
    static uint8_t text[2 << 20];
    size_t n = fread(text, 1, sizeof text, f), train = n - 111540;
    fclose(f);
    REQUIRE(n == 1115394, "%zu bytes", n);
    double bits[WITTEN_BELL_ORDERS], gzip, xz, primed;
    REQUIRE_OK(pool_start(2));
    REQUIRE_OK(baseline_witten_bell(text, train, text + train, n - train, bits));
    REQUIRE_OK(baseline_gzip(text + train, n - train, &gzip));
    REQUIRE_OK(baseline_xz(text + train, n - train, &xz));
    REQUIRE_OK(baseline_xz_primed(text, train, n - train, &primed));
    pool_stop();
    /* Witten-Bell: an independent implementation gave these for orders 1, 2, 3, 5. */
    CHECK(fabs(bits[0] - 3.586) < 2e-3, "order 1: %.4f", bits[0]);
    CHECK(fabs(bits[1] - 2.956) < 2e-3, "order 2: %.4f", bits[1]);
    CHECK(fabs(bits[2] - 2.559) < 2e-3, "order 3: %.4f", bits[2]);
    CHECK(fabs(bits[4] - 2.450) < 2e-3, "order 5: %.4f", bits[4]);
    CHECK(fabs(primed - 2.518) < 0.02, "xz primed: %.4f", primed);
    CHECK(gzip > xz && xz > primed, "gzip %.3f, xz %.3f, primed %.3f", gzip, xz, primed);
}

TEST(witten_bell_by_hand) {
    /* Train "ab": order 0 has n = 2, T = 2: p(a) = (1 + 2/256) / 4. Order 1: context a seen once,
     * followed by b: p(b | a) = (1 + 1 * p0(b)) / 2. Text "ab": p(a) falls back to order 0. */
    double bits[WITTEN_BELL_ORDERS];
    REQUIRE_OK(baseline_witten_bell((const uint8_t *)"ab", 2, (const uint8_t *)"ab", 2, bits));
    double p0 = (1 + 2.0 / 256) / 4, p1 = (1 + p0) / 2;
    double expected = -(log2(p0) + log2(p1)) / 2;
    CHECK(fabs(bits[0] - expected) < 1e-12, "%.15f, by hand %.15f", bits[0], expected);
}

TEST(witten_bell_does_not_depend_on_threads) {
    static uint8_t text[50000];
    rng r = rng_at(9, RNG_TEST, 0);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)('a' + rng_below(r, i, 4 + (i / 7) % 3));
    double one[WITTEN_BELL_ORDERS], three[WITTEN_BELL_ORDERS];
    REQUIRE_OK(baseline_witten_bell(text, 40000, text + 40000, 10000, one));
    REQUIRE_OK(pool_start(3));
    REQUIRE_OK(baseline_witten_bell(text, 40000, text + 40000, 10000, three));
    pool_stop();
    CHECK(memcmp(one, three, sizeof one) == 0, "different bits");
}

TEST(baselines_report_lost_memory) {
    uint8_t text[64] = {1, 2, 3};
    double bits[WITTEN_BELL_ORDERS];
    int64_t before = mem_live_blocks();
    for (int64_t n = 1; n < 1000; n++) {
        mem_fail_at(n);
        status s = baseline_witten_bell(text, 64, text, 64, bits);
        bool failed = mem_failed();
        mem_fail_at(0);
        REQUIRE(mem_live_blocks() == before, "leak at allocation %" PRId64, n);
        if (!failed) {
            REQUIRE(s == STATUS_OK, "runs without failure");
            return;
        }
        REQUIRE(s == STATUS_MEMORY, "allocation %" PRId64 " failed, status %d", n, (int)s);
    }
    CHECK(false, "never ran through");
}
