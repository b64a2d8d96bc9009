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
                            .decay_share = 0.2};
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
