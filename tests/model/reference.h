/* reference.h - a second, naive decoder: plain loops in double, written from the formulas of the
 * papers (DeepSeek-V2, arXiv 2405.04434; DeepSeek-V3, arXiv 2412.19437) and from nothing else. It finds its weights by their Hugging Face names, so
 * it also checks which rows of the fused matrices carry which name. */
#ifndef FATHOM_TEST_REFERENCE_H
#define FATHOM_TEST_REFERENCE_H

#include "model/model.h"

/* One sequence of n tokens; first[t] = start of t's document. */
typedef struct reference {
    const model *m; /* in f64 */
    arena *memory;
    int64_t n;
    const int32_t *ids, *next_id, *first;
    double *logits, *mtp_logits; /* [n, vocab] */
    double balance_loss;         /* sum over routed layers of alpha sum_i f_i P_i (1.5) */
} reference;
bool reference_run(reference *r);

#endif
