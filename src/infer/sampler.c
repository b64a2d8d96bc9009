/* sampler.c - from logits to one id, as a pure function of (options, logits, history).
 *
 * Order of the steps: repetition penalty, temperature, top-k, top-p, min-p, draw. Probabilities are
 * f64; sums run in id order over the whole vocabulary, in rank order over a shortened list. A heap
 * gives the ranks one by one, so a nucleus of ten tokens costs one pass and ten pops, not a sort.
 * The draw is rng(seed, RNG_SAMPLE, n): the same text continues the same way whatever ran before.
 *
 * Sources: top-p, Holtzman et al. 2020 (arXiv 1904.09751); repetition penalty, Keskar et al. 2019
 * (arXiv 1909.05858), dividing positive and multiplying negative logits as published code does.
 */
#include "base/pool.h"
#include "base/rng.h"
#include "infer/infer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

sampler_options sampler_defaults(void) {
    return (sampler_options){
        .temperature = 0.8, .top_p = 0.95, .repetition_penalty = 1.0, .seed = 1};
}

static status refuse(const char *what, const char *allowed) {
    return FAIL(F_BAD_VALUE, what, "sampling options", allowed, "choose a value in that range");
}

status sampler_check(const sampler_options *o) {
    if (!(o->temperature >= 0 && o->temperature <= 100))
        return refuse(text("temperature %g", o->temperature), "it must lie in 0 .. 100");
    if (o->top_k < 0) return refuse(text("top-k %d", o->top_k), "it must be 0 (off) or more");
    if (!(o->top_p > 0 && o->top_p <= 1))
        return refuse(text("top-p %g", o->top_p), "it must lie above 0 and up to 1");
    if (!(o->min_p >= 0 && o->min_p <= 1))
        return refuse(text("min-p %g", o->min_p), "it must lie in 0 .. 1");
    if (!(o->repetition_penalty > 0 && o->repetition_penalty <= 100))
        return refuse(text("repetition penalty %g", o->repetition_penalty),
                      "it must lie above 0 and up to 100");
    if (o->repetition_window < 0)
        return refuse(text("repetition window %d", o->repetition_window), "it must be 0 or more");
    return STATUS_OK;
}

typedef struct candidate {
    double p;
    int32_t id;
} candidate;

static bool ranks_before(candidate a, candidate b) {
    return a.p > b.p || (a.p == b.p && a.id < b.id);
}

static void sift_down(candidate *heap, int64_t n, int64_t i) {
    candidate moving = heap[i];
    for (int64_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && ranks_before(heap[child + 1], heap[child])) child++;
        if (!ranks_before(heap[child], moving)) break;
        heap[i] = heap[child];
    }
    heap[i] = moving;
}

static candidate heap_pop(candidate *heap, int64_t *n) {
    candidate top = heap[0];
    heap[0] = heap[--*n];
    if (*n > 0) sift_down(heap, *n, 0);
    return top;
}

static status penalise(const sampler_options *o, float *logits, int64_t vocab,
                       const int32_t *history, int64_t n, arena *scratch) {
    if (o->repetition_penalty == 1.0 || n == 0) return STATUS_OK;
    uint8_t *seen = arena_zalloc(scratch, (size_t)vocab);
    if (seen == NULL) return STATUS_MEMORY;
    int64_t from =
        o->repetition_window > 0 && n > o->repetition_window ? n - o->repetition_window : 0;
    for (int64_t i = from; i < n; i++) {
        int32_t id = history[i];
        if (id < 0 || id >= vocab || seen[id]) continue;
        seen[id] = 1;
        double l = logits[id];
        logits[id] = (float)(l > 0 ? l / o->repetition_penalty : l * o->repetition_penalty);
    }
    return STATUS_OK;
}

/* Index of the largest number, lowest index on ties; -1 if there is none. */
static int64_t greatest(const float *logits, int64_t vocab) {
    int64_t best = -1;
    for (int64_t i = 0; i < vocab; i++)
        if (!isnan(logits[i]) && (best < 0 || logits[i] > logits[best])) best = i;
    return best >= 0 && isfinite(logits[best]) ? best : -1;
}

static int32_t draw(const candidate *list, int64_t n, double total, double u) {
    double left = u * total;
    for (int64_t i = 0; i < n; i++) {
        left -= list[i].p;
        if (left < 0) return list[i].id;
    }
    return list[n - 1].id; /* rounding ate the last crumb */
}

/* Ranks candidates and keeps the head that top-k and top-p allow, in place, in rank order: pops go
 * to `kept`. Returns how many; *total is their mass. */
static int64_t shorten(const sampler_options *o, candidate *heap, int64_t n, double mass,
                       candidate *kept, double *total) {
    for (int64_t i = n / 2; i-- > 0;)
        sift_down(heap, n, i);
    int64_t limit = o->top_k > 0 && o->top_k < n ? o->top_k : n;
    int64_t count = 0;
    *total = 0;
    if (o->top_k > 0) { /* top-p is a share of what top-k left */
        while (count < limit) {
            kept[count] = heap_pop(heap, &n);
            *total += kept[count++].p;
        }
        double enough = o->top_p * *total, sum = 0;
        for (int64_t i = 0; i < count; i++) {
            sum += kept[i].p;
            if (sum >= enough) {
                *total = sum;
                return i + 1;
            }
        }
        return count;
    }
    while (n > 0 && (count == 0 || *total < o->top_p * mass)) {
        kept[count] = heap_pop(heap, &n);
        *total += kept[count++].p;
    }
    return count;
}

static status pick(const sampler_options *o, float *logits, int64_t vocab, const int32_t *history,
                   int64_t n, arena *scratch, int32_t *id) {
    TRY(penalise(o, logits, vocab, history, n, scratch));
    int64_t best = greatest(logits, vocab);
    if (best < 0)
        return FAIL(F_NOT_FINITE, "the model gave no usable logit", text("token %" PRId64, n),
                    "every logit is infinite or not a number: the weights are damaged",
                    "load an earlier checkpoint");
    *id = (int32_t)best;
    if (o->temperature == 0) return STATUS_OK;
    candidate *list = arena_alloc(scratch, (size_t)vocab * sizeof *list);
    candidate *kept = arena_alloc(scratch, (size_t)vocab * sizeof *kept);
    if (list == NULL || kept == NULL) return STATUS_MEMORY;
    double top = logits[best], mass = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < vocab; i++) {
        double p = isnan(logits[i]) ? 0 : exp(((double)logits[i] - top) / o->temperature);
        if (p <= 0) continue;
        list[count++] = (candidate){p, (int32_t)i};
        mass += p;
    }
    double total = mass;
    if (o->top_k > 0 || o->top_p < 1) {
        count = shorten(o, list, count, mass, kept, &total);
        list = kept;
    }
    if (o->min_p > 0) { /* the best has p = 1 before normalising */
        int64_t left = 0;
        total = 0;
        for (int64_t i = 0; i < count; i++)
            if (list[i].p >= o->min_p) total += (list[left++] = list[i]).p;
        count = left;
    }
    *id = draw(list, count, total, rng_uniform(rng_at(o->seed, RNG_SAMPLE, (uint64_t)n), 0));
    return STATUS_OK;
}

status sampler_pick(const sampler_options *o, float *logits, int64_t vocab, const int32_t *history,
                    int64_t n, int32_t *id) {
    TRY(sampler_check(o));
    arena *scratch = pool_scratch();
    if (scratch == NULL) return STATUS_MEMORY;
    size_t mark = arena_mark(scratch);
    status s = pick(o, logits, vocab, history, n, scratch, id);
    arena_reset(scratch, mark);
    return s;
}
