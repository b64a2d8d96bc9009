/* schedule.c - the learning rate of a step.
 *
 * What: train_learning_rate, a pure function of settings and step: nothing to save, nothing to
 * restore. Warm-up rises by peak (t + 1) / W; then one of six shapes up to the schedule's end:
 *
 *     wsd              constant, the last decay-share linear to the floor (MiniCPM, arXiv 2404.06395)
 *     cosine           half a cosine from peak to floor (Loshchilov and Hutter, arXiv 1608.03983)
 *     linear           straight to the floor
 *     constant         the peak
 *     cosine-restarts  the same paper's warm restarts (SGDR): cycles of half a cosine; cycle i + 1
 *                      is restart-growth times as long as cycle i
 *     deepseek-v3      constant up to hold-until, half a cosine to plateau-rate x peak up to
 *                      plateau-from, constant, from final-from on final-rate x peak (arXiv
 *                      2412.19437, 4.2, its token counts as shares of the whole)
 *
 * How: cycles begin at whole steps: the lengths T, T g, T g g ... are added up as reals and each sum
 * is rounded once, so rounding never adds up and the default, three cycles, ends exactly with the
 * schedule. The shares of deepseek-v3 count from step 0, as the paper does, warm-up included.
 *
 * Mind: no rate is below the floor, min-learning-rate, except while warming up. From the schedule's
 * end on, all shapes but constant stay where they ended.
 */
#include "train/train.h"

#include <math.h>

#define DEFAULT_CYCLES 3

/* Straight from peak to floor as `done` goes from 0 to 1. */
static double fall(double peak, double low, double done) {
    if (done >= 1) return low;
    return low + (peak - low) * (1 - done);
}

/* The same along half a cosine. */
static double fall_cosine(double peak, double low, double done) {
    if (done >= 1) return low;
    return low + (peak - low) / 2 * (1 + cos(3.14159265358979323846 * done));
}

static double wsd_rate(const train_settings *s, int64_t t, int64_t end) {
    double peak = s->learning_rate, low = s->min_learning_rate;
    int64_t decay = (int64_t)llround(s->decay_share * (double)end);
    if (decay < 1 || t < end - decay) return t >= end && s->decay_share > 0 ? low : peak;
    return fall(peak, low, (double)(t - (end - decay)) / (double)decay);
}

/* Length of the first cycle: as set, or such that DEFAULT_CYCLES of them fill `length` steps. */
static double first_cycle(const train_settings *s, double length) {
    double sum = 0, part = 1;
    if (s->restart_period > 0) return (double)s->restart_period;
    for (int i = 0; i < DEFAULT_CYCLES; i++, part *= s->restart_growth)
        sum += part;
    return fmax(1, length / sum);
}

/* `at` counts from the end of the warm-up, below `length`. */
static double restarts_rate(const train_settings *s, int64_t at, double length) {
    double begin = 0, cycle = first_cycle(s, length);
    while (llround(begin + cycle) <= at) {
        begin += cycle;
        cycle *= s->restart_growth;
    }
    int64_t first = llround(begin), next = llround(begin + cycle);
    return fall_cosine(s->learning_rate, s->min_learning_rate,
                       (double)(at - first) / (double)(next - first));
}

static double deepseek_rate(const train_settings *s, int64_t t, int64_t end) {
    double peak = s->learning_rate, low = s->min_learning_rate;
    double plateau = fmax(low, peak * s->plateau_rate);
    int64_t hold = llround(s->hold_until * (double)end);
    int64_t level = llround(s->plateau_from * (double)end);
    if (hold < s->warmup_steps) hold = s->warmup_steps;
    if (t >= llround(s->final_from * (double)end)) return fmax(low, peak * s->final_rate);
    if (t < hold) return peak;
    if (t >= level) return plateau;
    return fall_cosine(peak, plateau, (double)(t - hold) / (double)(level - hold));
}

double train_learning_rate(const train_settings *s, int64_t t) {
    double peak = s->learning_rate, low = s->min_learning_rate;
    int64_t warmup = s->warmup_steps;
    int64_t end = s->schedule_steps > 0 ? s->schedule_steps : s->max_steps;
    if (t < warmup) return peak * (double)(t + 1) / (double)warmup;
    double length = (double)(end > warmup ? end - warmup : 1);
    double done = fmin(1.0, (double)(t - warmup) / length);
    switch (s->schedule) {
    case SCHEDULE_CONSTANT: return peak;
    case SCHEDULE_COSINE: return fall_cosine(peak, low, done);
    case SCHEDULE_LINEAR: return fall(peak, low, done);
    case SCHEDULE_RESTARTS: return done < 1 ? restarts_rate(s, t - warmup, length) : low;
    case SCHEDULE_DEEPSEEK: return deepseek_rate(s, t, end);
    case SCHEDULE_WSD: break;
    }
    return wsd_rate(s, t, end);
}
