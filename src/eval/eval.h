/* eval.h - how good a model is, beside what costs nothing.
 *
 *     eval_options o = {.data = "data/mini", .baselines = true};
 *     eval_result r;
 *     TRY(eval_run(&bundle, &o, &r));         // bits per byte of the held-out text, with interval
 *
 * Bits per byte = nats over all targets / (bytes of text * ln 2), so vocabularies compare. Targets
 * are the tokens of the validation split, end-of-document tokens included: they cost nats and carry
 * no bytes. The interval is a bootstrap over validation rows (1,000 resamples, percentiles 2.5 and
 * 97.5, seeded).
 *
 * Baselines on the same text: the untrained model, gzip -9, xz -9, xz -9 primed with the training
 * text (size of both together minus size of the training text alone), and interpolated Witten-Bell
 * byte models of order 1 to 5 trained on the training text. They depend on the data only and are
 * kept in the dataset folder under a hash of it.
 */
#ifndef FATHOM_EVAL_EVAL_H
#define FATHOM_EVAL_EVAL_H

#include "base/json.h"
#include "infer/infer.h"

#define WITTEN_BELL_ORDERS 5

typedef struct eval_options {
    const char *data;   /* dataset folder; or */
    const char *input;  /* a file taken as bytes, its last tenth held out; NULL = none */
    int seq_len;        /* row length; 0 = the model's context, at most 512 */
    int64_t max_tokens; /* validation tokens looked at; 0 = all */
    bool baselines, untrained;
    bool stream;   /* a raw stream without documents (character-level recipes) */
    uint64_t seed; /* of the bootstrap */
    bool quiet;    /* no progress line */
} eval_options;

typedef struct eval_result {
    double bits_per_byte, low, high; /* 95 % interval */
    double perplexity;               /* per token */
    double loss;                     /* nats per token */
    int64_t tokens, bytes;
    double seconds;
    double untrained; /* bits per byte; 0 = not measured, as all baselines */
    double gzip, xz, xz_primed;
    double witten_bell[WITTEN_BELL_ORDERS]; /* order 1 .. 5 */
} eval_result;
status eval_run(bundle *b, const eval_options *o, eval_result *out) MUST_CHECK;

/* As the result file has it; NULL when out of memory. */
json_t *eval_result_json(const eval_result *r);

/* -- baselines on plain bytes, for tests and other uses; all in bits per byte of `text` -- */
status baseline_gzip(const uint8_t *text, size_t n, double *bits) MUST_CHECK;
status baseline_xz(const uint8_t *text, size_t n, double *bits) MUST_CHECK;
/* prime and text adjoin in memory: text = prime + n_prime. */
status baseline_xz_primed(const uint8_t *prime, size_t n_prime, size_t n, double *bits) MUST_CHECK;
/* bits[k - 1] for order k. */
status baseline_witten_bell(const uint8_t *train, size_t n_train, const uint8_t *text, size_t n,
                            double bits[WITTEN_BELL_ORDERS]) MUST_CHECK;

#endif
