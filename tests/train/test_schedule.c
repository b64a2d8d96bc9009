/* test_schedule.c - learning rates against tables worked out by hand. */
#include "test.h"

#include "train/train.h"

#include <math.h>

typedef struct expected {
    int64_t step;
    double rate;
} expected;

static train_settings base_settings(lr_schedule schedule) {
    return (train_settings){.max_steps = 100,
                            .warmup_steps = 10,
                            .learning_rate = 1.0,
                            .min_learning_rate = 0.1,
                            .schedule = schedule,
                            .decay_share = 0.2,
                            .restart_growth = 2,
                            .hold_until = 0.5,
                            .plateau_from = 0.8,
                            .final_from = 0.9,
                            .plateau_rate = 0.3,
                            .final_rate = 0.2};
}

static void check_table(const char *name, const train_settings *s, const expected *table, int n) {
    for (int i = 0; i < n; i++) {
        double rate = train_learning_rate(s, table[i].step);
        CHECK(fabs(rate - table[i].rate) < 1e-12, "%s, step %" PRId64 ": %.17g instead of %.17g",
              name, table[i].step, rate, table[i].rate);
    }
}

TEST(schedule_wsd) {
    train_settings s = base_settings(SCHEDULE_WSD);
    const expected table[] = {{0, 0.1},    {4, 0.5},   {9, 1.0},    {10, 1.0},
                              {79, 1.0},   {80, 1.0},  {85, 0.775}, {90, 0.55},
                              {99, 0.145}, {100, 0.1}, {500, 0.1}};
    check_table("wsd", &s, table, 11);
}

TEST(schedule_cosine) {
    train_settings s = base_settings(SCHEDULE_COSINE);
    const expected table[] = {{0, 0.1},
                              {9, 1.0},
                              {10, 1.0},
                              {55, 0.55},
                              {100, 0.1},
                              {101, 0.1},
                              {40, 0.1 + 0.45 * 1.5},
                              {70, 0.1 + 0.45 * 0.5}};
    check_table("cosine", &s, table, 8);
}

TEST(schedule_linear_and_constant) {
    train_settings s = base_settings(SCHEDULE_LINEAR);
    const expected linear[] = {{0, 0.1}, {10, 1.0}, {55, 0.55}, {100, 0.1}, {1000, 0.1}};
    check_table("linear", &s, linear, 5);
    s.schedule = SCHEDULE_CONSTANT;
    const expected constant[] = {{4, 0.5}, {10, 1.0}, {99, 1.0}, {1000, 1.0}};
    check_table("constant", &s, constant, 4);
}

TEST(schedule_cosine_restarts) {
    train_settings s = base_settings(SCHEDULE_RESTARTS);
    s.restart_period = 20; /* cycles [10, 30), [30, 70), [70, 150) cut at 100 */
    const expected table[] = {{9, 1.0},   {10, 1.0}, {20, 0.55}, {30, 1.0},
                              {50, 0.55}, {70, 1.0}, {100, 0.1}, {5000, 0.1}};
    check_table("cosine-restarts", &s, table, 8);
    double last = train_learning_rate(&s, 29), quarter = 0.1 + 0.45 * (1 + cos(acos(-1) / 4));
    CHECK(last > 0.1 && last < 0.11, "end of a cycle: %g", last);
    CHECK(fabs(train_learning_rate(&s, 90) - quarter) < 1e-12, "inside the third cycle");
    s.max_steps = 80; /* three cycles of 10, 20 and 40 by default */
    s.restart_period = 0;
    const expected three[] = {{10, 1.0}, {15, 0.55}, {20, 1.0}, {30, 0.55},
                              {40, 1.0}, {60, 0.55}, {80, 0.1}};
    check_table("three cycles", &s, three, 7);
    s.restart_growth = 1;
    s.restart_period = 7;
    for (int64_t t = 10; t < 80; t++)
        CHECK((train_learning_rate(&s, t) == 1.0) == ((t - 10) % 7 == 0), "step %" PRId64, t);
}

TEST(schedule_deepseek_v3) {
    train_settings s = base_settings(SCHEDULE_DEEPSEEK);
    const expected table[] = {{0, 0.1},  {10, 1.0}, {49, 1.0}, {50, 1.0}, {65, 0.65},
                              {80, 0.3}, {89, 0.3}, {90, 0.2}, {99, 0.2}, {1000, 0.2}};
    check_table("deepseek-v3", &s, table, 10);
    s.min_learning_rate = 0.4; /* the floor holds here, too */
    const expected lifted[] = {{50, 1.0}, {65, 0.7}, {85, 0.4}, {95, 0.4}};
    check_table("deepseek-v3 above a floor", &s, lifted, 4);
    s.warmup_steps = 60; /* longer than the constant part */
    CHECK(train_learning_rate(&s, 59) == 1.0 && train_learning_rate(&s, 60) == 1.0, "late peak");
}

/* Built-in shares are the paper's token counts: 10, 14.3 and 14.633 of 14.8 trillion tokens, rates
 * 2.2e-4, 2.2e-5 and 7.3e-6. */
TEST(schedule_deepseek_v3_is_the_papers_by_default) {
    train_settings s;
    REQUIRE_OK(train_settings_defaults(&s));
    s.schedule = SCHEDULE_DEEPSEEK;
    s.learning_rate = 2.2e-4;
    s.warmup_steps = 20;
    s.max_steps = 14800;
    const struct {
        int64_t step;
        double rate;
    } paper[] = {
        {9990, 2.2e-4}, {12150, 1.21e-4}, {14310, 2.2e-5}, {14620, 2.2e-5}, {14640, 7.3e-6}};
    for (size_t i = 0; i < sizeof paper / sizeof *paper; i++) {
        double rate = train_learning_rate(&s, paper[i].step);
        CHECK(fabs(rate / paper[i].rate - 1) < 2e-3, "step %" PRId64 ": %g instead of %g",
              paper[i].step, rate, paper[i].rate);
    }
}

/* Laws of every schedule: between floor and peak; no step up or down larger than the steepest
 * slope allows, except where the schedule is meant to jump; down only, except at restarts. */
TEST(schedules_are_bounded_and_continuous) {
    for (int kind = SCHEDULE_WSD; kind <= SCHEDULE_DEEPSEEK; kind++) {
        train_settings s = base_settings((lr_schedule)kind);
        s.max_steps = 10000;
        s.warmup_steps = 500;
        int jumps = 0;
        double before = 0;
        for (int64_t t = 0; t < 12000; t++) {
            double rate = train_learning_rate(&s, t);
            CHECK(rate <= 1.0 && rate >= (t < 500 ? 0 : 0.1), "schedule %d, step %" PRId64 ": %g",
                  kind, t, rate);
            bool up = t >= 500 && rate > before, far = fabs(rate - before) > 2.01e-3;
            CHECK(!up || kind == SCHEDULE_RESTARTS, "schedule %d rises at %" PRId64, kind, t);
            jumps += far;
            before = rate;
        }
        int meant = kind == SCHEDULE_RESTARTS ? 2 : kind == SCHEDULE_DEEPSEEK ? 1 : 0;
        CHECK(jumps == meant, "schedule %d jumps %d times", kind, jumps);
    }
}

TEST(schedule_steps_end_the_schedule_instead_of_max_steps) {
    train_settings s = base_settings(SCHEDULE_WSD), longer = s;
    longer.max_steps = 50;
    longer.schedule_steps = 100;
    for (int64_t t = 0; t < 120; t++)
        CHECK(train_learning_rate(&s, t) == train_learning_rate(&longer, t), "step %" PRId64, t);
}

TEST(schedule_without_warmup_or_decay) {
    train_settings s = base_settings(SCHEDULE_WSD);
    s.warmup_steps = 0;
    s.decay_share = 0;
    for (int64_t t = 0; t < 200; t += 7)
        CHECK(train_learning_rate(&s, t) == 1.0, "step %" PRId64, t);
}

TEST(fix_steps_counts_tokens_and_minutes) {
    train_settings s = {.tokens = 1000000,
                        .batch_tokens = 8192,
                        .warmup_steps = -1,
                        .eval_every = -1,
                        .sample_every = -1};
    train_fix_steps(&s, 0, 0);
    CHECK(s.max_steps == 122, "%" PRId64, s.max_steps);
    CHECK(s.warmup_steps == 2 && s.eval_every == 6 && s.sample_every == 15,
          "%" PRId64 " %" PRId64 " %" PRId64, s.warmup_steps, s.eval_every, s.sample_every);
    s = (train_settings){.minutes = 10, .batch_tokens = 1000, .warmup_steps = 3};
    train_fix_steps(&s, 70, 5000);
    CHECK(s.max_steps == 70 + 2700, "%" PRId64, s.max_steps); /* 540 s of 5 steps */
    CHECK(s.warmup_steps == 3 && s.eval_every == 0, "what was given was changed");
    train_fix_steps(&s, 2000, 1);
    CHECK(s.max_steps == 2770, "steps were fixed twice");
}
