/* The sampler against what its options mean, on distributions small enough to enumerate. */
#include "infer/infer.h"
#include "test.h"

#include <math.h>

#define V 8

static const float base_logits[V] = {0.0f, 1.0f, 2.0f, -1.0f, 2.0f, 0.5f, -3.0f, 1.5f};

static int32_t pick(const sampler_options *o, const int32_t *history, int64_t n) {
    float logits[V];
    memcpy(logits, base_logits, sizeof logits);
    int32_t id = -1;
    status s = sampler_pick(o, logits, V, history, n, &id);
    return s == STATUS_OK ? id : -1;
}

/* How often each id is drawn over `draws` histories of different length. */
static void frequencies(const sampler_options *o, int draws, int count[V]) {
    memset(count, 0, V * sizeof *count);
    for (int n = 0; n < draws; n++) {
        int32_t id = pick(o, NULL, n);
        if (id >= 0) count[id]++;
    }
}

TEST(sampler_greedy_takes_the_lowest_of_the_best) {
    sampler_options o = sampler_defaults();
    o.temperature = 0;
    CHECK(pick(&o, NULL, 0) == 2, "ids 2 and 4 tie; got %d", pick(&o, NULL, 0));
}

TEST(sampler_frequencies_follow_the_softmax) {
    sampler_options o = {.temperature = 0.7, .top_p = 1, .repetition_penalty = 1, .seed = 3};
    int count[V], draws = 20000;
    frequencies(&o, draws, count);
    double sum = 0;
    for (int i = 0; i < V; i++)
        sum += exp((double)base_logits[i] / 0.7);
    for (int i = 0; i < V; i++) {
        double p = exp((double)base_logits[i] / 0.7) / sum, sd = sqrt(p * (1 - p) * draws);
        CHECK(fabs(count[i] - p * draws) <= 4.5 * sd + 1, "id %d: %d draws, expected %.0f", i,
              count[i], p * draws);
    }
}

TEST(sampler_top_k_keeps_k) {
    sampler_options o = {
        .temperature = 1, .top_k = 3, .top_p = 1, .repetition_penalty = 1, .seed = 1};
    int count[V];
    frequencies(&o, 3000, count);
    for (int i = 0; i < V; i++)
        CHECK((count[i] > 0) == (i == 2 || i == 4 || i == 7), "id %d drawn %d times", i, count[i]);
}

TEST(sampler_top_p_keeps_the_smallest_sufficient_set) {
    double sum = 0;
    for (int i = 0; i < V; i++)
        sum += exp((double)base_logits[i]);
    double two = 2 * exp(2.0) / sum; /* mass of ids 2 and 4 */
    sampler_options o = {.temperature = 1, .top_p = two + 0.01, .repetition_penalty = 1, .seed = 1};
    int count[V];
    frequencies(&o, 3000, count);
    for (int i = 0; i < V; i++)
        CHECK((count[i] > 0) == (i == 2 || i == 4 || i == 7), "id %d drawn %d times", i, count[i]);
    o.top_p = two - 0.01;
    frequencies(&o, 3000, count);
    for (int i = 0; i < V; i++)
        CHECK((count[i] > 0) == (i == 2 || i == 4), "id %d drawn %d times", i, count[i]);
    o.top_k =
        3; /* a share of what top-k left: 2 of 3 are above 0.6, all three are needed above 0.8 */
    o.top_p = 0.6;
    frequencies(&o, 3000, count);
    CHECK(count[7] == 0 && count[2] > 0 && count[4] > 0, "top-k then top-p");
}

TEST(sampler_min_p_is_relative_to_the_best) {
    sampler_options o = {
        .temperature = 1, .top_p = 1, .min_p = 0.3, .repetition_penalty = 1, .seed = 5};
    int count[V];
    frequencies(&o, 3000, count);
    for (int i = 0; i < V; i++) {
        bool kept = exp((double)base_logits[i] - 2.0) >= 0.3;
        CHECK((count[i] > 0) == kept, "id %d drawn %d times", i, count[i]);
    }
}

TEST(sampler_repetition_penalty_counts_each_id_once) {
    sampler_options o = sampler_defaults();
    o.temperature = 0;
    o.repetition_penalty = 1.2;
    int32_t history[] = {2, 2, 2};
    CHECK(pick(&o, history, 3) == 4, "the repeated 2 falls behind 4");
    int32_t both[] = {2, 4, 7, 2};
    CHECK(pick(&o, both, 4) == 2, "2 / 1.2 still beats 1 and 1.5 / 1.2");
    o.repetition_penalty = 4;
    CHECK(pick(&o, both, 4) == 1, "now 1 is best");
    o.repetition_window = 1;
    CHECK(pick(&o, both, 4) == 4, "only the last 2 is remembered");
}

TEST(sampler_is_a_pure_function) {
    sampler_options o = sampler_defaults();
    o.temperature = 1.5;
    for (int n = 0; n < 50; n++)
        CHECK(pick(&o, NULL, n) == pick(&o, NULL, n), "draw %d", n);
    int a[V], b[V];
    frequencies(&o, 500, a);
    o.seed = 2;
    frequencies(&o, 500, b);
    CHECK(memcmp(a, b, sizeof a) != 0, "another seed draws other ids");
}

TEST(sampler_refuses_nonsense) {
    sampler_options o = sampler_defaults();
    float bad[V];
    for (int i = 0; i < V; i++)
        bad[i] = NAN;
    int32_t id;
    CHECK(sampler_pick(&o, bad, V, NULL, 0, &id) != STATUS_OK && error_last()->id == F_NOT_FINITE,
          "all NaN");
    memcpy(bad, base_logits, sizeof bad);
    bad[2] = NAN;
    o.temperature = 0;
    CHECK(sampler_pick(&o, bad, V, NULL, 0, &id) == STATUS_OK && id == 4,
          "one NaN is never chosen");
    sampler_options wrong[] = {{.temperature = -1, .top_p = 1, .repetition_penalty = 1},
                               {.temperature = 1, .top_p = 0, .repetition_penalty = 1},
                               {.temperature = 1, .top_p = 1, .repetition_penalty = 0},
                               {.temperature = 1, .top_p = 1, .min_p = 2, .repetition_penalty = 1},
                               {.temperature = 1, .top_p = 1, .top_k = -1, .repetition_penalty = 1},
                               {.temperature = NAN, .top_p = 1, .repetition_penalty = 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK(sampler_check(&wrong[i]) != STATUS_OK && error_last()->id == F_BAD_VALUE, "case %zu",
              i);
}
