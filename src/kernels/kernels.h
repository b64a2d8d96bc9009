/* kernels.h - everything numeric that is not a matrix product, and the choice of tier.
 *
 * Tiers: portable, avx2, avx512, avx512-bf16, amx; on arm64 portable, neon, neon-bf16. All tiers give the same
 * bits (docs/numerics.md). FATHOM_CPU=portable|avx2|... forces a lower one.
 *
 * Every function takes `t`, DTYPE_F32 or DTYPE_F64: real* below means float* or double*. The f64
 * versions are portable and exist for gradient checks. All arrays are contiguous row-major unless
 * a leading dimension (ld*, in elements) is given. Functions split their rows over the pool in
 * pieces that depend on the shape only. Backward functions ADD into their d* outputs (so the
 * caller zeroes them once); a NULL d* output is skipped.
 * `status` results fail only for lack of scratch memory.
 */
#ifndef FATHOM_KERNELS_KERNELS_H
#define FATHOM_KERNELS_KERNELS_H

#include "base/rng.h"
#include "kernels/gemm.h"
#include "tensor/tensor.h"

/* Within one architecture a later tier is a faster one. */
typedef enum cpu_tier {
    TIER_PORTABLE,
    TIER_AVX2,
    TIER_AVX512,
    TIER_AVX512_BF16, /* AVX-512 with the extension AVX512_BF16 */
    TIER_AMX,
    TIER_NEON,
    TIER_NEON_BF16, /* NEON with the extension BF16 */
    TIER_COUNT
} cpu_tier;
/* Chooses the tier: the best this CPU has, or the one FATHOM_CPU names. F_CPU if the name is
 * unknown or the CPU lacks it. Call once, before any other kernel; tests call it again. */
status kernels_init(const char *forced) MUST_CHECK; /* NULL: read FATHOM_CPU */
cpu_tier kernels_tier(void);
bool kernels_offer(cpu_tier tier); /* do the CPU and the system have it? */
cpu_tier kernels_best_tier(void);
const char *tier_name(cpu_tier tier);
const char *kernels_tier_name(void); /* of the one chosen: "avx512-bf16" */
/* "AVX-512 (F BW DQ VL VNNI BF16), no AMX" through text(), for doctor and --version. */
const char *kernels_cpu_text(void);

/* -- element-wise; n elements -- */
void vector_zero(dtype t, int64_t n, void *x);
void vector_copy(dtype t, int64_t n, const void *x, void *y);
void vector_add(dtype t, int64_t n, const void *a, const void *b, void *y); /* y = a + b */
void vector_accumulate(dtype t, int64_t n, const void *x, void *y);         /* y += x */
void vector_axpy(dtype t, int64_t n, double a, const void *x, void *y);     /* y += a x (fma) */
void vector_scale(dtype t, int64_t n, double a, void *x);
void vector_to_bf16(int64_t n, const float *x, uint16_t *y);
void vector_from_bf16(int64_t n, const uint16_t *x, float *y);
/* Sum of squares in f64 over a fixed tree (pieces of 4096). */
double vector_sum_squares(dtype t, int64_t n, const void *x);
bool vector_finite(dtype t, int64_t n, const void *x);

/* -- rows -- */
/* y = w x / sqrt(mean x^2 + eps); rstd[rows] is kept for backward (may be NULL). */
void rmsnorm(dtype t, int64_t rows, int64_t c, const void *x, int64_t ldx, const void *w,
             double eps, void *y, int64_t ldy, void *rstd);
status rmsnorm_backward(dtype t, int64_t rows, int64_t c, const void *x, int64_t ldx, const void *w,
                        const void *rstd, const void *dy, int64_t lddy, void *dx, int64_t lddx,
                        void *dw) MUST_CHECK;

/* y = silu(gate) * up. gate and up: [rows, f] with leading dimension ld (so both may be halves of
 * one [rows, 2f] array); y: [rows, f]. Backward needs both dgate and dup. */
void swiglu(dtype t, int64_t rows, int64_t f, const void *gate, const void *up, int64_t ld,
            void *y);
void swiglu_backward(dtype t, int64_t rows, int64_t f, const void *gate, const void *up, int64_t ld,
                     const void *dy, void *dgate, void *dup, int64_t ldd);

/* Rotates the first r values found at x + head * head_stride for n_head heads of each row.
 * interleaved: pairs (2i, 2i+1), else (i, i + r/2). table: [positions, r] real: cos of the r/2
 * frequencies, then sin. positions: [rows] row of the table. inverse: the backward rotation. */
void rope(dtype t, int64_t rows, int n_head, int64_t head_stride, int r, bool interleaved,
          bool inverse, const int32_t *positions, const void *table, void *x, int64_t ldx);
/* frequency[i] = base^(-2i/r), i < r / 2. */
void rope_frequencies(int r, double base, double *frequency);
/* Fills the table for positions [0, n): angle = pos * frequency[i], i < r / 2, cosine and sine times
 * `amplitude`, computed in f64. */
void rope_table(dtype t, int64_t n, int r, const double *frequency, double amplitude, void *table);

/* Rows of a table: y[i] = table[ids[i]]; ids are already checked. */
void gather_rows(dtype t, int64_t rows, int64_t c, const void *table, const int32_t *ids, void *y);
/* dtable[ids[i]] += dy[i], i ascending for equal ids, whatever the thread count. */
void scatter_rows(dtype t, int64_t rows, int64_t c, const int32_t *ids, const void *dy,
                  void *dtable);

/* loss[i] = logsumexp(logits[i]) - logits[i][target[i]]; target -1: loss 0, gradient 0.
 * If dscale != 0, logits is overwritten by dscale * (softmax - onehot). loss is f64. */
void cross_entropy(dtype t, int64_t rows, int64_t v, void *logits, int64_t ld,
                   const int32_t *target, double dscale, double *loss);
void softmax_rows(dtype t, int64_t rows, int64_t n, void *x, int64_t ld); /* in place */
void sigmoid(dtype t, int64_t n, const void *x, void *y);

/* -- dropout: docs/numerics.md "dropout". A mask says of every element e of an endless array, from
 * its 16 random bits alone, whether it stays. -- */
typedef struct dropout_mask {
    rng stream;
    int below;     /* elements whose bits are below this are dropped; 0 = none */
    double factor; /* of the others: 1 / (1 - below / 65536) */
} dropout_mask;
dropout_mask dropout_mask_of(double rate, rng stream); /* rate < 1 */
/* y[i] = base[i] + (element first + i stays ? x[i] * factor : 0) for n elements. base NULL = 0; y
 * may be x or base. */
void dropout(dtype t, const dropout_mask *mask, uint64_t first, int64_t n, const void *x,
             const void *base, void *y);

/* -- attention: docs/numerics.md "attention". Keys are walked in blocks of ATTENTION_BLOCK,
 * aligned to absolute key position; online softmax; no [T, T] array. --
 * A query at row i of a sequence with key position p[i] sees keys first[i] .. p[i]. */
#define ATTENTION_BLOCK 64
typedef struct attention_call {
    dtype t;
    gemm_type products;     /* of f32 data: GEMM_F32 (0) or GEMM_BF16_DOT */
    int n_head, n_kv_head;  /* query head h uses KV head h / (n_head / n_kv_head) */
    int qk_dim, shared_dim; /* per-head part of a key, part shared by all heads (MLA's k_pe) */
    int v_dim;
    double scale;
    int64_t rows;            /* queries of one sequence */
    const int32_t *position; /* [rows] absolute key position of each query, ascending */
    const int32_t *first;    /* [rows] first visible key position */
    const void *q;           /* [rows, n_head, qk_dim + shared_dim], leading dimension ldq */
    int64_t ldq;
    /* Keys and values by blocks: block b holds positions 64 b .. 64 b + 63. Rows not yet written
     * must hold finite values. k: [64, n_kv_head, qk_dim] rows ldk apart; shared: [64, shared_dim]
     * rows lds apart; v: [64, n_kv_head, v_dim] rows ldv apart. The last block may be short:
     * only rows below n_keys are read. */
    const void *const *k_block, *const *shared_block, *const *v_block;
    int64_t ldk, lds, ldv, n_keys;
    /* Elements from one KV head to the next inside a row of k and v; 0 = dense (qk_dim, v_dim).
     * MLA's kv_b output holds [n | v] per head, so both are qk_dim + v_dim there. */
    int64_t k_head_stride, v_head_stride;
    void *out; /* [rows, n_head, v_dim], leading dimension ldo */
    int64_t ldo;
    void *lse; /* [rows, n_head] real: logsumexp for backward, NULL if not wanted */
    /* Of the probabilities, after their sum is taken. Row 0 is query `token` of all that share the
     * mask: slot j of key block b of head h of query i is element ((b n_head + h) 2^32 + i) 64 + j. */
    dropout_mask dropout;
    int64_t token;
} attention_call;
/* Several sequences (batch rows) as one job. */
status attention(const attention_call *calls, int n_calls) MUST_CHECK;
typedef struct attention_gradient {
    const void *dout; /* [rows, n_head, v_dim], leading dimension lddo */
    int64_t lddo;
    void *dq; /* layout of q with lddq; added to */
    int64_t lddq;
    void *dk, *dshared, *dv; /* [n_keys, ...] contiguous in position, rows lddk/ldds/lddv apart */
    int64_t lddk, ldds, lddv;
    int64_t dk_head_stride, dv_head_stride; /* 0 = dense */
} attention_gradient;
/* calls[i].out and lse hold the forward results. */
status attention_backward(const attention_call *calls, const attention_gradient *grads,
                          int n_calls) MUST_CHECK;

/* -- mixture of experts -- */
/* For each row: the k largest of score + bias (bias NULL = 0), ties to the lower index, NaN last;
 * ids ascending in [rows, k]. With groups > 1 (at most 64) only the keep_groups best groups take
 * part: a group is worth the sum of its `group_best` (1 or 2) best biased scores, 2 in DeepSeek-V3
 * (arXiv 2412.19437, 2.1.2), 1 in DeepSeek-V2. */
#define ROUTER_MOST_GROUPS 64
void router_top_k(dtype t, int64_t rows, int n_expert, int k, int groups, int keep_groups,
                  int group_best, const void *score, const void *bias, int32_t *ids);
/* Stable counting sort of the rows * k choices by expert. offset[n_expert + 1]: segment starts in
 * the sorted order, each padded to a multiple of 32 rows. source[offset[n_expert]]: the choice
 * index (row * k + slot) of each sorted place, -1 in padding. place[rows * k]: where a choice went.
 * Capacity of source: rows * k + 32 * n_expert. */
void moe_sort(int64_t rows, int k, int n_expert, const int32_t *ids, int64_t *offset,
              int32_t *source, int32_t *place);
/* y[p] = x[source[p] / k], zero rows for padding. */
void moe_gather(dtype t, int64_t places, int64_t c, int k, const int32_t *source, const void *x,
                void *y);
/* y[row] += sum over slots ascending of weight[row, slot] * e[place[row, slot]] (fma). */
void moe_combine(dtype t, int64_t rows, int64_t c, int k, const int32_t *place, const void *weight,
                 const void *e, void *y);
/* de[place] = weight * dy (zero in padding), dweight[row, slot] += <dy, e>. de may be e. */
void moe_combine_backward(dtype t, int64_t rows, int64_t places, int64_t c, int k,
                          const int32_t *source, const int32_t *place, const void *weight,
                          const void *e, const void *dy, void *de, void *dweight);
/* dx[row] += sum over slots ascending of dy[place]. */
void moe_gather_backward(dtype t, int64_t rows, int64_t c, int k, const int32_t *place,
                         const void *dy, void *dx);

/* -- optimiser -- AdamW (arXiv 1711.05101); one fused pass, f32 */
typedef struct adamw_step {
    double lr, beta1, beta2, eps, weight_decay;
    double correction1, correction2; /* 1 - beta^t */
    double grad_scale;               /* clipping, loss scale and 1 / tokens, multiplied in */
} adamw_step;
void adamw(int64_t n, const adamw_step *s, const float *grad, float *w, float *m, float *v);

#endif
