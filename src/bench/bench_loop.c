/* bench_loop.c - a real run against its plan and against bare steps.
 *
 * How. `train -n` is asked first, then the same settings are trained, with everything that a run does:
 * metrics, events, validation, samples, checkpoints. A benchmark is shorter than a run, so its
 * intervals would be, too: what one sample and one checkpoint cost is measured, and counted as often
 * as the defaults make them happen in ten minutes (8 samples; a checkpoint every two minutes). A
 * checkpoint costs the time that training stops for, and the processor time of the thread that writes
 * it beside training, as if that were all taken from training.
 *
 * Bare steps and steps of the loop are of one process and one pool, but not of one moment: their ratio
 * says little on a machine that others use. Several runs are planned one by one, because a plan is about
 * the machine as it is when it is made.
 */
#include "bench/bench_loop.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "bench/bench_folder.h"
#include "train/plan.h"
#include "train/sample.h"

#include <stdlib.h>

#define MEASURE_SECONDS 3.0 /* as `train -n` */
#define RUN_SECONDS     600.0
#define RUN_SAMPLES     8.0
#define RUN_CHECKPOINTS 5.0 /* every two minutes */
#define SAMPLES         4
#define CHECKPOINTS     4
#define LOOK_TOKENS     16384 /* of a validation, as in the recipe `first` */
#define MOST_RUNS       9

typedef struct loop_bench {
    double seconds;
    int runs;
    bench_folder *folder;
    arena *strings;
} loop_bench;

static status add(bench_table *t, const char *what, const char *name, double value,
                  const char *unit, double floor) {
    return bench_table_put(t, text("%s %s", what, name), value, unit, floor);
}

/* Median seconds of a step that nothing surrounds, in the same process. */
static status bare_step(const train_settings *s, double *seconds) {
    double rate;
    TRY(train_measure(s, MEASURE_SECONDS, &rate));
    *seconds = (double)s->batch_tokens / rate;
    return STATUS_OK;
}

static status run_rows(const char *name, const train_result *r, double bare, bench_table *t) {
    const train_times *x = &r->times;
    double steps = (double)r->steps, percent = 100 / x->loop;
    double sample = x->sampling / SAMPLES;
    double checkpoint = (x->saving + x->writing / pool_threads()) / CHECKPOINTS;
    double loading = percent * x->loading, logging = percent * x->logging;
    double sampling = 100 * sample * RUN_SAMPLES / RUN_SECONDS;
    double saving = 100 * checkpoint * RUN_CHECKPOINTS / RUN_SECONDS;
    TRY(add(t, "loop/step in the loop", name, 1e3 * r->part_seconds / steps, "ms", 1e3 * bare));
    TRY(add(t, "loop/loading", name, loading, "%", 0));
    TRY(add(t, "loop/logging", name, logging, "%", 0));
    TRY(add(t, "loop/samples", name, sampling, "%", 0));
    TRY(add(t, "loop/checkpoints", name, saving, "%", 0));
    TRY(add(t, "loop/all four", name, loading + logging + sampling + saving, "%", 0));
    TRY(add(t, "loop/a sample", name, 1e3 * sample, "ms", 0));
    return add(t, "loop/checkpoint stops for", name, 1e3 * x->saving / CHECKPOINTS, "ms",
               1e3 * bare);
}

/* The recipe with a length of about b->seconds and the looks that belong to it. */
static status settings_of(const loop_bench *b, const char *name, train_settings *s) {
    train_plan plan;
    TRY(bench_recipe(s, name, b->folder, b->strings));
    s->minutes = 0;
    s->tokens = 0;
    s->max_steps = 1000000;
    s->eval_tokens = LOOK_TOKENS;
    s->vocab_size = 0; /* bytes: a sample must be text */
    s->resume = RESUME_NO;
    TRY(plan_make(s, MEASURE_SECONDS, &plan));
    s->batch_tokens = plan.batch_tokens;
    double steps = b->seconds / plan.speed.step;
    s->max_steps = steps > 4 * CHECKPOINTS ? (int64_t)steps : 4 * CHECKPOINTS;
    s->max_steps -= s->max_steps % CHECKPOINTS;
    s->save_every = (option_every){.steps = s->max_steps / CHECKPOINTS};
    s->sample_every = s->max_steps / SAMPLES;
    if (s->eval_every > s->max_steps) s->eval_every = -1;
    return STATUS_OK;
}

static status run_once(train_settings *s, train_result *r) {
    train_sampler sampler = {.settings = s};
    s->sample = train_sample;
    s->sample_context = &sampler;
    status result = train_run(s, r);
    train_sampler_clear(&sampler);
    return result;
}

static status loop_one(const char *name, void *context, bench_table *t) {
    const loop_bench *b = context;
    train_settings s;
    train_plan plan;
    train_result r;
    double bare = 0, ratio[MOST_RUNS];
    TRY(settings_of(b, name, &s));
    for (int i = 0; i < b->runs; i++) {
        TRY(plan_make(&s, MEASURE_SECONDS, &plan));
        if (i == b->runs - 1) TRY(bare_step(&s, &bare));
        TRY(run_once(&s, &r));
        ratio[i] = plan.seconds / r.times.loop;
        TRY(add(t, text("plan/time, run %d", i + 1), name, plan.seconds, "s", r.times.loop));
    }
    TRY(add(t, text("plan/over time, median of %d", b->runs), name, bench_median(ratio, b->runs),
            "times", 0));
    return run_rows(name, &r, bare, t);
}

status bench_loop(const char *names, double seconds, int runs, bench_table *t) {
    static bench_folder folder; /* too large for the stack of a command */
    arena strings;
    TRY(bench_folder_make(&folder));
    loop_bench b = {.seconds = seconds,
                    .runs = runs < 1           ? 1
                            : runs > MOST_RUNS ? MOST_RUNS
                                               : runs,
                    .folder = &folder,
                    .strings = &strings};
    status s = arena_init(&strings, "settings", 1 << 20);
    if (s == STATUS_OK) s = bench_each(names, loop_one, &b, t);
    arena_clear(&strings);
    bench_folder_remove(&folder);
    return s;
}
