/* bench_moe.c - what a mixture of experts costs beside a dense model of the same active FLOPs.
 *
 * f-15m against dense-f-15m, which has the same attention and, in place of the shared expert and the
 * four of sixteen that a token is routed to, one feed-forward block as wide as those five. Steps of
 * the two alternate, so that whatever else the machine does meanwhile meets both; the ratio of each
 * pair is taken per FLOP, and the median of the pairs counts.
 */
#include "bench/bench_moe.h"

#include "base/pool.h"
#include "kernels/kernels.h"
#include "model/presets.h"
#include "train/plan.h"

#include <stdlib.h>

#define WITH_EXPERTS "f-15m"
#define WITHOUT      "dense-f-15m"
#define MOST_PAIRS   64

static double flops_per_token(const char *size, int64_t seq_len) {
    return model_config_flops_per_token(&model_preset_find(size)->config, seq_len);
}

static status add_rows(const train_settings *s, const char *kind, double *experts, double *dense,
                       int pairs, bench_table *t) {
    double per_flop =
        flops_per_token(WITHOUT, s->seq_len) / flops_per_token(WITH_EXPERTS, s->seq_len);
    double ratios[MOST_PAIRS], tokens = (double)s->batch_tokens;
    for (int i = 0; i < pairs; i++)
        ratios[i] = experts[i] / dense[i] * per_flop;
    TRY(bench_table_put(t, text("moe/%s %s", WITHOUT, kind), tokens / bench_median(dense, pairs),
                        "tokens/s", 0));
    TRY(bench_table_put(t, text("moe/%s %s", WITH_EXPERTS, kind),
                        tokens / bench_median(experts, pairs), "tokens/s", 0));
    return bench_table_put(t, text("moe/step over dense, per FLOP %s", kind),
                           bench_median(ratios, pairs), "times", 0);
}

status bench_moe(const train_settings *base, const char *kind, int pairs, bench_table *t) {
    train_settings with = *base, without = *base;
    double experts[MOST_PAIRS], dense[MOST_PAIRS];
    if (pairs > MOST_PAIRS) pairs = MOST_PAIRS;
    with.size = WITH_EXPERTS;
    without.size = WITHOUT;
    TRY(train_compare(&with, &without, pairs, experts, dense));
    return add_rows(base, kind, experts, dense, pairs, t);
}
