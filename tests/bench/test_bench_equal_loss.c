/* test_bench_equal_loss.c - time to a loss from the lines of a run, its interval over seeds, and the
 * benchmark itself: cut by its limit of time, continued by the same call. */
#include "bench/bench_equal_loss.h"

#include "base/log.h"
#include "base/pool.h"
#include "base/progress.h"
#include "kernels/kernels.h"
#include "test.h"

#include <math.h>

TEST(time_to_a_loss_is_straight_between_two_looks) {
    static const char lines[] =
        "{\"step\":1,\"tokens\":10,\"time\":1.0,\"loss\":5}\n"
        "{\"step\":2,\"tokens\":20,\"time\":2.0,\"loss\":4,\"val_loss\":4.0}\n"
        "{\"step\":3,\"tokens\":30,\"time\":3.0,\"loss\":3}\n"
        "{\"step\":4,\"tokens\":40,\"time\":4.0,\"loss\":3,\"val_loss\":3.0}\n"
        "{\"step\":6,\"tokens\":60,\"time\":6.0,\"loss\":3,\"val_loss\":3.5}\n"
        "{\"step\":8,\"tokens\":80,\"time\":8.0,\"loss\":3,\"val_loss\":2.5}\n";
    run_record r = {.best = -1};
    REQUIRE_OK(run_record_parse(&r, lines, sizeof lines - 1));
    static const double wanted[][2] = {{5, 2}, {4, 2}, {3.75, 2.5}, {3, 4}, {2.75, 7.5}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        double seconds = equal_loss_time(&r, wanted[i][0]);
        CHECK(fabs(seconds - wanted[i][1]) < 1e-12, "%g nats after %g s", wanted[i][0], seconds);
    }
    CHECK(isnan(equal_loss_time(&r, 2)), "a loss that was never reached");
    CHECK(run_first_at(&r, 3.2) == 3 && run_first_at(&r, 2.6) == 5 && run_first_at(&r, 1) == -1,
          "first looks");
    run_record_clear(&r);
}

TEST(ratios_have_a_geometric_mean_and_an_interval) {
    double mean, low, high;
    const double same[] = {0.8, 0.8, 0.8}, spread[] = {0.5, 1, 2};
    equal_loss_interval(same, 3, &mean, &low, &high);
    CHECK(fabs(mean - 0.8) < 1e-12 && fabs(high - low) < 1e-9, "%g, %g to %g", mean, low, high);
    equal_loss_interval(spread, 3, &mean, &low, &high);
    double half = 4.303 * log(2) / sqrt(3); /* t of two degrees of freedom, standard error */
    CHECK(fabs(mean - 1) < 1e-12 && fabs(log(high) - half) < 1e-9 && fabs(log(low) + half) < 1e-9,
          "%g, %g to %g", mean, low, high);
    equal_loss_interval(spread, 1, &mean, &low, &high);
    CHECK(fabs(mean - 0.5) < 1e-12 && low == mean && high == mean, "one ratio");
}

static const bench_row *row_of(const bench_table *t, const char *begin) {
    for (int i = 0; i < t->n; i++)
        if (strncmp(t->rows[i].name, begin, strlen(begin)) == 0) return &t->rows[i];
    return NULL;
}

TEST(equal_loss_is_cut_by_time_and_goes_on) {
    char text_path[PATH_SIZE], runs[PATH_SIZE];
    static char words[60000];
    for (size_t i = 0; i < sizeof words; i++)
        words[i] = (char)("the sea is cold and deep, "[i % 26] + (i / 26 % 7 == 3 && i % 26 == 4));
    REQUIRE_OK(kernels_init(NULL));
    REQUIRE_OK(pool_start(2));
    log_set_level(LOG_ERROR);
    progress_set_mode(PROGRESS_NONE);
    const char *folder = test_folder();
    REQUIRE_OK(path_join(text_path, folder, "text.txt"));
    REQUIRE_OK(path_join(runs, folder, "moe"));
    REQUIRE_OK(file_write(text_path, words, sizeof words));
    equal_loss_options o = {.size = "f-1m",
                            .input = text_path,
                            .folder = runs,
                            .tokens = 1,
                            .seeds = 1,
                            .seconds = 1e-3,
                            .precision = PRECISION_F32};
    double first = 0;
    for (int call = 1; call <= 2; call++) { /* one round each time: of the first call, then none */
        bench_table t = {0};
        REQUIRE_OK(bench_equal_loss(&o, &t));
        const bench_row *row = row_of(&t, "moe/time to loss f-1m seed 1");
        REQUIRE(row != NULL && row->value > 0 && row->floor > 0, "no time");
        if (call == 1) first = row->value;
        CHECK(row->value == first, "%g s, then %g s", first, row->value);
        row = row_of(&t, "moe/active FLOPs");
        REQUIRE(row != NULL, "no FLOPs");
        CHECK(fabs(row->ratio - 1) < 0.03, "the twin has %g of the FLOPs", row->ratio);
        bench_table_clear(&t);
    }
    bench_table t = {0};
    o.size = "shakespeare-char";
    CHECK(bench_equal_loss(&o, &t) == STATUS_USAGE, "a size without a twin");
    o.size = "f-1m", o.input = NULL;
    CHECK(bench_equal_loss(&o, &t) == STATUS_USAGE, "no text");
    bench_table_clear(&t);
    pool_stop();
}
