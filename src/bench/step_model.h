/* step_model.h - what one training step would take if every kernel ran at the rate it reaches alone.
 *
 * The yardstick of `fathom bench train`: ratio = model seconds / measured seconds. The model is a sum
 * over the step's products, each timed alone in this run at its own shape (forward, input gradient,
 * weight gradient), attention forward and backward timed alone, and the element-wise work (norms,
 * SwiGLU, rotary, cross entropy, sums of lanes, packing, AdamW) timed alone at its own size. What it
 * leaves out is what a trainer adds: caches gone cold between ops, allocation, bookkeeping, data.
 */
#ifndef FATHOM_BENCH_STEP_MODEL_H
#define FATHOM_BENCH_STEP_MODEL_H

#include "kernels/gemm.h"
#include "model/config.h"

typedef struct step_shape {
    int64_t seq_len, micro_rows,
        micro_batches; /* a step is micro_batches of micro_rows sequences */
    int lanes;
    gemm_type products;
} step_shape;

typedef struct step_model {
    double products, attention, elementwise, optimiser; /* seconds of one step */
    double flops;                                       /* of products, one step */
    double seconds;                                     /* sum */
} step_model;
status step_model_measure(const model_config *c, const step_shape *s, step_model *out) MUST_CHECK;

#endif
