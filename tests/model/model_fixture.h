/* model_fixture.h - made-up batches, pages and small shapes for the tests of model/. */
#ifndef FATHOM_TEST_MODEL_FIXTURE_H
#define FATHOM_TEST_MODEL_FIXTURE_H

#include "test.h"

#include "base/rng.h"
#include "model/model.h"
#include "model/presets.h"

/* Random tokens in sequences cut into documents. Everything lies in `memory`. */
typedef struct sample {
    model_batch batch; /* layout, ids, targets, next ids; scales of 1 / counted */
    int32_t *ids, *next_id, *target, *target_mtp, *position, *first, *rows;
    int64_t *start;
} sample;
typedef struct sample_shape {
    int n_sequences;
    int64_t length; /* of the first sequence; each following one is `shrink` shorter */
    int64_t shrink;
    int64_t document; /* a new document every so many tokens, 0 = one per sequence */
    uint64_t seed;
} sample_shape;
bool sample_make(sample *s, arena *memory, const model_config *c, const sample_shape *shape);
/* Targets and next ids again, after ids were changed. */
void sample_targets(sample *s);
/* Asks for the logits of all rows, MTP's too if the model has it. */
void sample_want_logits(sample *s, const model_config *c);

/* f-1m with MTP on. */
model_config config_f1m_mtp(void);
/* A DeepSeek shape of a few thousand parameters; and a dense one with grouped queries. */
model_config config_micro(void);
model_config config_micro_llama(void);

/* Initialised model; norms and router bias moved away from their starting values, so that a test
 * which forgets one of them fails. False after a reported failure. */
bool model_make(model *m, const model_config *c, dtype real, uint64_t seed);

/* Room for routing choices that outlive tapes: n rows per slot. */
choice_slot *choices_make(arena *memory, const model *m, int64_t rows);

/* Pages for `positions` of one sequence, zeroed, all layers. NULL if out of memory. */
kv_layer_pages *pages_make(arena *memory, const model *m, int64_t positions);

/* Forward, and backward when `grad` (params.count reals, zeroed here) is given. Logits asked for
 * are copied to `logits` and `mtp_logits` (NULL = not wanted). */
typedef struct run_options {
    gemm_type products;
    recompute_policy recompute;
    void *grad;
    void *logits, *mtp_logits;
} run_options;
bool sample_run(model *m, arena *memory, const sample *s, run_options o, model_result *result);

#endif
