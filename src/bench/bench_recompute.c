/* bench_recompute.c - see bench_recompute.h.
 *
 * Three models of the same settings, one for each policy, live side by side and take turns step by
 * step, so that whatever else the machine does meanwhile meets all three; the ratio of each round is
 * taken and the median of the rounds counts. Bytes are what the arena of the steps had handed out at
 * its peak, and what the tape counted as kept by checkpoints; a plan that counts anything else than
 * what then happens shows as a ratio other than 1.
 */
#include "bench/bench_recompute.h"

#include "base/log.h"
#include "base/pool.h"
#include "base/progress.h"
#include "kernels/kernels.h"
#include "train/plan.h"

#include <string.h>

#define POLICIES    3
#define MOST_ROUNDS 64
#define MEBIBYTE    ((double)(1 << 20))

static const char *const names[POLICIES] = {"none", "selective", "full"};

typedef struct recompute_bench {
    const char *size, *kind;
    train_plan plan[POLICIES];
    train_probe *probe[POLICIES];
    double seconds[POLICIES][MOST_ROUNDS];
    int rounds;
} recompute_bench;

static status add(const recompute_bench *b, const char *what, double value, const char *unit,
                  double floor, bench_table *t) {
    return bench_table_put(t, text("recompute/%s %s %s", what, b->size, b->kind), value, unit,
                           floor);
}

/* Plans of the three; all with the micro-batch that fits without recomputing. */
static status plan_all(const train_settings *base, recompute_bench *b, bool *fits) {
    train_settings s = *base;
    int64_t sum = 0;
    for (int i = 0; i < POLICIES; i++) {
        s.recompute = (recompute_policy)i;
        TRY(plan_make(&s, 0, &b->plan[i]));
        s.micro_batch = b->plan[i].micro_batch;
        sum += b->plan[i].memory - b->plan[i].copy;
    }
    *fits = sum <= b->plan[0].memory_free;
    if (!*fits)
        log_warn("recompute of %s is not measured: three models of it need %s, %s are there",
                 b->size, bytes_text((double)sum), bytes_text((double)b->plan[0].memory_free));
    return STATUS_OK;
}

/* The first round pays for page faults. */
static status run_rounds(const train_settings *base, recompute_bench *b) {
    train_settings s = *base;
    double ignored;
    s.micro_batch = b->plan[0].micro_batch;
    for (int i = 0; i < POLICIES; i++) {
        s.recompute = (recompute_policy)i;
        TRY(train_probe_open(&b->probe[i], &s));
        TRY(train_probe_step(b->probe[i], &ignored));
    }
    for (int k = 0; k < b->rounds; k++)
        for (int i = 0; i < POLICIES; i++)
            TRY(train_probe_step(b->probe[i], &b->seconds[i][k]));
    return STATUS_OK;
}

static status add_times(const recompute_bench *b, bench_table *t) {
    double ratio[MOST_ROUNDS];
    memcpy(ratio, b->seconds[0], sizeof ratio);
    TRY(add(b, "none step", 1e3 * bench_median(ratio, b->rounds), "ms", 0, t));
    for (int i = 1; i < POLICIES; i++) {
        for (int k = 0; k < b->rounds; k++)
            ratio[k] = b->seconds[i][k] / b->seconds[0][k];
        TRY(add(b, text("%s step over none", names[i]), bench_median(ratio, b->rounds), "times", 0,
                t));
    }
    return STATUS_OK;
}

static status add_bytes(const recompute_bench *b, bench_table *t) {
    double all = 0;
    for (int i = 0; i < POLICIES; i++) {
        const train_plan *p = &b->plan[i];
        train_activations a = train_probe_activations(b->probe[i]);
        double total = (double)a.all;
        if (i == 0) all = total;
        TRY(add(b, text("%s bytes", names[i]), total / MEBIBYTE, "MiB",
                (double)p->by_policy[i] / MEBIBYTE, t));
        if (i == 0) continue;
        TRY(add(b, text("%s inputs", names[i]), (double)a.inputs / MEBIBYTE, "MiB",
                (double)p->kept_inputs / MEBIBYTE, t));
        if (a.outputs > 0 || p->kept_outputs > 0)
            TRY(add(b, text("%s outputs", names[i]), (double)a.outputs / MEBIBYTE, "MiB",
                    (double)p->kept_outputs / MEBIBYTE, t));
        TRY(add(b, text("%s one block", names[i]),
                (total - (double)(a.inputs + a.outputs)) / MEBIBYTE, "MiB",
                (double)(p->by_policy[i] - p->kept_inputs - p->kept_outputs) / MEBIBYTE, t));
        TRY(add(b, text("%s saves", names[i]), 100 * (1 - total / all), "%", 0, t));
    }
    return STATUS_OK;
}

static status measure(const train_settings *s, recompute_bench *b, bench_table *t) {
    bool fits;
    TRY(plan_all(s, b, &fits));
    if (!fits) return STATUS_OK;
    TRY(run_rounds(s, b));
    TRY(add_times(b, t));
    return add_bytes(b, t);
}

status bench_recompute(const train_settings *s, const char *kind, int rounds, bench_table *t) {
    recompute_bench *b = mem_zalloc(1, sizeof *b);
    if (b == NULL) return STATUS_MEMORY;
    b->size = s->size;
    b->kind = kind;
    b->rounds = rounds < 1 ? 1 : rounds > MOST_ROUNDS ? MOST_ROUNDS : rounds;
    status result = measure(s, b, t);
    for (int i = POLICIES - 1; i >= 0; i--)
        train_probe_close(b->probe[i]);
    mem_free(b);
    return result;
}
