/* test_cpu.c - choosing a tier, and the benchmarks as far as a test can judge them. */
#include "kernel_test.h"

#include "kernels/kernels_bench.h"

TEST(tier_is_forced_by_name) {
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        if (!kernels_offer((cpu_tier)tier)) continue;
        REQUIRE_OK(kernels_init(tier_name((cpu_tier)tier)));
        CHECK((int)kernels_tier() == tier, "%s", tier_label(tier));
    }
    unsetenv("FATHOM_CPU");
    REQUIRE_OK(kernels_init(NULL));
    CHECK(kernels_tier() == kernels_best_tier(), "the best by default");
    setenv("FATHOM_CPU", "portable", 1);
    REQUIRE_OK(kernels_init(NULL));
    CHECK(kernels_tier() == TIER_PORTABLE, "by the environment");
    unsetenv("FATHOM_CPU");
    CHECK(strlen(kernels_cpu_text()) > 5, "says what it found");
    const char *want = getenv("FATHOM_TEST_BEST_TIER"); /* set where the CPU is an emulated one */
    CHECK(want == NULL || strcmp(tier_name(kernels_best_tier()), want) == 0, "%s, not %s: %s",
          tier_name(kernels_best_tier()), want, kernels_cpu_text());
}

TEST(tier_unknown_or_absent_is_refused) {
    CHECK(kernels_init("sse9") == STATUS_UNSUPPORTED && error_last()->id == F_CPU, "unknown name");
    CHECK(strstr(error_last()->what, "sse9") != NULL && error_last()->fix[0] != '\0', "report");
    cpu_tier before = kernels_tier();
    int absent = 0;
    for (int tier = 0; tier < TIER_COUNT; tier++) {
        if (kernels_offer((cpu_tier)tier)) continue;
        absent++;
        CHECK(kernels_init(tier_name((cpu_tier)tier)) == STATUS_UNSUPPORTED, "%s",
              tier_label(tier));
        CHECK(error_last()->id == F_CPU, "report %d", (int)error_last()->id);
        CHECK(kernels_tier() == before, "nothing changed");
    }
    CHECK(absent > 0, "no CPU has the tiers of two architectures");
}

TEST(bench_product_measures) {
    use_threads(2);
    use_tier((int)kernels_best_tier());
    for (product_role role = PRODUCT_FORWARD; role <= PRODUCT_WEIGHT_GRADIENT; role++) {
        double seconds = 0;
        product_shape shape = {GEMM_F32, role, 100, 64, 48};
        REQUIRE_OK(bench_product(&shape, 0.001, &seconds));
        CHECK(seconds > 0 && seconds < 10, "role %d: %g s", (int)role, seconds);
    }
    double peak = 0;
    REQUIRE_OK(bench_peak(GEMM_BF16, 1, &peak));
    CHECK(peak > 0.01, "peak %g", peak);
    CHECK(pool_threads() == 2, "the pool is as before");
}

TEST(bench_table_grows_and_finds) {
    bench_table t = {0};
    for (int i = 0; i < 200; i++) {
        bench_row row = {.threads = i, .value = i, .unit = "us", .floor = 2};
        snprintf(row.name, sizeof row.name, "row %d", i % 7);
        REQUIRE_OK(bench_table_add(&t, row));
    }
    const bench_row *found = bench_table_find(&t, "row 3", 17);
    CHECK(found != NULL && found->ratio == 8.5, "found with its ratio");
    CHECK(bench_table_find(&t, "row 4", 17) == NULL, "absent");
    bench_table_clear(&t);
    int64_t live = mem_live_blocks();
    mem_fail_at(1);
    CHECK(bench_table_add(&t, (bench_row){.unit = ""}) == STATUS_MEMORY, "no memory is reported");
    mem_fail_at(0);
    CHECK(mem_live_blocks() == live, "nothing leaks");
}
