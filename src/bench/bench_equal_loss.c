/* bench_equal_loss.c - see bench_equal_loss.h.
 *
 * What: two arms, a size with experts and its dense twin, each trained from several seeds; a seed
 * decides weights and the order of data. How long does each take until it predicts held-out text
 * equally well?
 *
 * How: all runs advance together, a ROUNDS-th of their steps at a time, so that whatever else the
 * machine does in these minutes meets every run alike, and so that a limit of time cuts all at the
 * same step. Runs are ordinary run folders: what is trained stays, and a stopped benchmark continues.
 * The rate is constant after its warm-up, because a schedule that ends somewhere would decide which
 * losses are reached when. The loss aimed at is the lowest that every run has reached; the time to it
 * is that of steps only (validations are the benchmark's own), straight between two looks. Ratios of
 * times are averaged as logarithms; the interval is Student's t over the seeds.
 *
 * Mind: with three seeds an interval is wide, and small models on little text say little about large
 * ones. The twins of presets.c agree in active FLOPs within 2 %.
 */
#include "bench/bench_equal_loss.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "kernels/kernels.h"
#include "model/presets.h"

#include <inttypes.h>
#include <math.h>

#define ROUNDS       10
#define LOOKS        2 /* validations of each round */
#define LOOK_TOKENS  32768
#define SEQ_LEN      256
#define BATCH_TOKENS 4096
#define WARMUP_STEPS 20
#define RATE         2e-3 /* with Muon, as the recipe `first` */

enum { EXPERTS, DENSE, ARMS };

typedef struct equal_loss {
    const equal_loss_options *o;
    char name[ARMS][64];
    int64_t round_steps;
    double best[ARMS][EQUAL_LOSS_SEEDS]; /* validation losses */
    run_record record;
} equal_loss;

/* -- training -- */

static status run_path(const equal_loss *b, int arm, int seed, char *out) {
    return path_join(out, b->o->folder, text("%s-%d", b->name[arm], seed));
}

static status run_settings(const equal_loss *b, int arm, int seed, const char *run,
                           train_settings *s) {
    TRY(train_settings_defaults(s));
    s->run = run;
    s->data = b->o->data;
    s->input = b->o->input;
    s->size = b->name[arm];
    s->seed = (uint64_t)seed;
    s->seq_len = SEQ_LEN;
    s->batch_tokens = BATCH_TOKENS;
    s->optimiser = OPTIMISER_MUON;
    s->learning_rate = RATE;
    s->schedule = SCHEDULE_CONSTANT;
    s->warmup_steps = WARMUP_STEPS;
    s->precision = b->o->precision;
    s->schedule_steps = ROUNDS * b->round_steps;
    s->eval_every = b->round_steps / LOOKS;
    s->eval_tokens = LOOK_TOKENS;
    s->sample_every = 0;
    return STATUS_OK;
}

/* One run up to the end of a round (1 = first). Nothing to do if it was there already. */
static status advance(const equal_loss *b, int arm, int seed, int round) {
    char path[PATH_SIZE], label[96];
    train_settings s;
    train_result r;
    TRY(run_path(b, arm, seed, path));
    TRY(run_settings(b, arm, seed, path, &s));
    snprintf(label, sizeof label, "%s seed %d, %d/%d", b->name[arm], seed, round, ROUNDS);
    s.label = label;
    s.max_steps = round * b->round_steps;
    return train_run(&s, &r);
}

static status train_all(const equal_loss *b) {
    double began = clock_seconds(), limit = b->o->seconds, longest = 0;
    for (int round = 1; round <= ROUNDS; round++) {
        double now = clock_seconds();
        if (limit > 0 && now - began + longest > limit) {
            log_warn("the time is over after %d of %d rounds; the same command goes on", round - 1,
                     ROUNDS);
            return STATUS_OK;
        }
        for (int seed = 1; seed <= b->o->seeds; seed++)
            for (int arm = 0; arm < ARMS; arm++)
                TRY(advance(b, arm, seed, round));
        longest = fmax(longest, clock_seconds() - now);
    }
    return STATUS_OK;
}

/* -- reporting -- */

double equal_loss_time(const run_record *r, double loss) {
    const run_point *before = NULL;
    for (int i = 0; i < r->n; i++) {
        const run_point *p = &r->points[i];
        if (isnan(p->val_loss)) continue;
        if (p->val_loss <= loss) {
            if (before == NULL) return p->time;
            double share = (before->val_loss - loss) / (before->val_loss - p->val_loss);
            return before->time + share * (p->time - before->time);
        }
        before = p;
    }
    return (double)NAN;
}

void equal_loss_interval(const double *ratio, int n, double *mean, double *low, double *high) {
    static const double t95[EQUAL_LOSS_SEEDS] = {0,     12.706, 4.303, 3.182, 2.776,
                                                 2.571, 2.447,  2.365, 2.306, 2.262};
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++)
        sum += log(ratio[i]);
    for (int i = 0; i < n; i++)
        squares += (log(ratio[i]) - sum / n) * (log(ratio[i]) - sum / n);
    double half = n > 1 ? t95[n - 1] * sqrt(squares / (n - 1) / n) : 0;
    *mean = exp(sum / n);
    *low = exp(sum / n - half);
    *high = exp(sum / n + half);
}

static status add(bench_table *t, const char *name, double value, const char *unit, double floor) {
    return bench_table_put(t, text("moe/%s", name), value, unit, floor);
}

/* The lowest loss that every run has reached. */
static status common_loss(equal_loss *b, double *loss) {
    char path[PATH_SIZE];
    *loss = -HUGE_VAL;
    for (int seed = 1; seed <= b->o->seeds; seed++)
        for (int arm = 0; arm < ARMS; arm++) {
            TRY(run_path(b, arm, seed, path));
            TRY(run_record_read(&b->record, path));
            double best =
                b->record.best >= 0 ? b->record.points[b->record.best].val_loss : (double)NAN;
            run_record_clear(&b->record);
            if (isnan(best))
                return FAIL(F_MISSING, "a run has no validation yet", path,
                            "the time was over before its first look",
                            "run the same command again; it goes on, --minutes gives it more time");
            b->best[arm][seed - 1] = best;
            *loss = fmax(*loss, best);
        }
    return STATUS_OK;
}

static status time_of(equal_loss *b, int arm, int seed, double loss, double *seconds) {
    char path[PATH_SIZE];
    TRY(run_path(b, arm, seed, path));
    TRY(run_record_read(&b->record, path));
    *seconds = equal_loss_time(&b->record, loss);
    run_record_clear(&b->record);
    return STATUS_OK;
}

static status add_seed(equal_loss *b, int seed, double loss, double *ratio, bench_table *t) {
    double seconds[ARMS];
    for (int arm = 0; arm < ARMS; arm++)
        TRY(time_of(b, arm, seed, loss, &seconds[arm]));
    *ratio = seconds[EXPERTS] / seconds[DENSE];
    TRY(add(t, text("best loss %s seed %d", b->name[EXPERTS], seed), b->best[EXPERTS][seed - 1],
            "nats", b->best[DENSE][seed - 1]));
    return add(t, text("time to loss %s seed %d", b->name[EXPERTS], seed), seconds[EXPERTS], "s",
               seconds[DENSE]);
}

static status report(equal_loss *b, bench_table *t) {
    const char *size = b->name[EXPERTS];
    double loss, ratio[EQUAL_LOSS_SEEDS], mean, low, high;
    int64_t seq_len = SEQ_LEN;
    TRY(common_loss(b, &loss));
    TRY(add(t, text("active FLOPs %s", size),
            1e-6 * model_config_flops_per_token(&model_preset_find(size)->config, seq_len),
            "MFLOP/token",
            1e-6 *
                model_config_flops_per_token(&model_preset_find(b->name[DENSE])->config, seq_len)));
    TRY(add(t, text("equal loss %s", size), loss, "nats", 0));
    for (int seed = 1; seed <= b->o->seeds; seed++)
        TRY(add_seed(b, seed, loss, &ratio[seed - 1], t));
    equal_loss_interval(ratio, b->o->seeds, &mean, &low, &high);
    TRY(add(t, text("time over dense %s", size), mean, "times", 0));
    if (b->o->seeds < 2) return STATUS_OK;
    TRY(add(t, text("95 %% from, %s", size), low, "times", 0));
    return add(t, text("95 %% to, %s", size), high, "times", 0);
}

status bench_equal_loss(const equal_loss_options *o, bench_table *t) {
    equal_loss b = {.o = o};
    snprintf(b.name[EXPERTS], sizeof b.name[EXPERTS], "%.48s", o->size);
    snprintf(b.name[DENSE], sizeof b.name[DENSE], "dense-%.48s", o->size);
    for (int arm = 0; arm < ARMS; arm++)
        if (model_preset_find(b.name[arm]) == NULL)
            return FAIL(F_BAD_VALUE, text("there is no size \"%s\"", b.name[arm]), "--size",
                        "a size with experts is compared with the preset dense-SIZE",
                        "--size f-1m, f-5m or f-15m");
    if ((o->data == NULL) == (o->input == NULL))
        return FAIL(F_USAGE, "no text to train on", "bench moe --equal-loss",
                    "it reads one dataset or one file",
                    "--input FILE, or --data DATASET (fathom data get makes one)");
    b.round_steps = o->tokens / BATCH_TOKENS / ROUNDS;
    if (b.round_steps < LOOKS) b.round_steps = LOOKS;
    TRY(train_all(&b));
    return report(&b, t);
}
