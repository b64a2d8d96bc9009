/* logprob.c - logits to logarithms of probabilities, and the likeliest of them.
 *
 * log p(i) = l(i) - max - log sum exp(l(j) - max), in f64, summed in id order, so that the same
 * logits give the same numbers whatever the number of threads. The few likeliest are kept in order
 * by insertion: one pass, and almost no id passes the comparison with the last of them.
 */
#include "infer/infer.h"

#include <math.h>

static double log_sum(const float *logits, int64_t vocab) {
    double most = (double)logits[0], sum = 0;
    for (int64_t i = 1; i < vocab; i++)
        if ((double)logits[i] > most) most = (double)logits[i];
    if (!isfinite(most)) return most;
    for (int64_t i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - most);
    return most + log(sum);
}

double logits_logprob(const float *logits, int64_t vocab, int32_t id) {
    return (double)logits[id] - log_sum(logits, vocab);
}

int logits_top(const float *logits, int64_t vocab, token_logprob *top, int n) {
    int have = 0;
    if (n <= 0) return 0;
    for (int64_t i = 0; i < vocab; i++) {
        double value = (double)logits[i];
        if (have == n && !(value > top[n - 1].logprob)) continue;
        int at = have < n ? have++ : n - 1;
        for (; at > 0 && value > top[at - 1].logprob; at--)
            top[at] = top[at - 1];
        top[at] = (token_logprob){(int32_t)i, value};
    }
    double sum = log_sum(logits, vocab);
    for (int i = 0; i < have; i++)
        top[i].logprob -= sum;
    return have;
}
