/* ops.h - the ops: each arrives whole with its backward. docs/ops.md has a row per op.
 *
 * Shapes are [rows, columns], rows = tokens of all sequences of the batch one after the other.
 * `real` is f32, or f64 in gradient checks. Ops return a var of the tape's arena; after a failure
 * the tape's poison (tape.h). Sources: (DeepSeek-V2 arXiv 2405.04434,
 * DeepSeek-V3 arXiv 2412.19437).
 */
#ifndef FATHOM_AUTOGRAD_OPS_H
#define FATHOM_AUTOGRAD_OPS_H

#include "autograd/tape.h"
#include "kernels/kernels.h"

/* table [vocab, d] rows of ids (checked: F_TOKEN_RANGE names the position). -> [n, d] */
var *op_embedding(tape *t, param *table, const int32_t *ids, int64_t n);
/* y = x W^T. x [rows, in], w [out, in] -> [rows, out]. PARAM_ROUTER weights always in `real`. */
var *op_linear(tape *t, var *x, param *w);
var *op_add(tape *t, var *a, var *b);
/* Where a mask of dropout stands: row 0 of the batch is row `token` of the array that the mask
 * describes, so a batch cut anywhere is masked the same. below = 0: nothing is dropped. */
typedef struct dropout_site {
    dropout_mask mask;
    int64_t token;
} dropout_site;
/* Drops elements of x in place (backward masks the gradient in place) and returns x: no other op may
 * need the whole values. */
var *op_dropout(tape *t, var *x, const dropout_site *site);
/* y = a + dropout(b) */
var *op_add_dropout(tape *t, var *a, var *b, const dropout_site *site);
/* Columns [first, first + n) of x as a view: no copy, gradients flow into x's. */
var *op_slice(tape *t, var *x, int64_t first, int64_t n);
var *op_concat(tape *t, var *a, var *b); /* columns of a, then of b */
/* Rows rows[0..n) of x, copied (the positions whose logits are wanted). */
var *op_take_rows(tape *t, var *x, const int32_t *rows, int64_t n);
var *op_rmsnorm(tape *t, var *x, param *w, double eps);
/* The same per head: x is [rows, heads * n], w [n]. */
var *op_head_norm(tape *t, var *x, param *w, double eps);
/* Adds b [columns] to each row of y in place and returns y: no other op may need the rows before. */
var *op_bias(tape *t, var *y, param *b);
/* x is [rows, 2f]: gate columns, then up columns -> silu(gate) * up [rows, f]. */
var *op_swiglu(tape *t, var *gate_up);

/* Where the tokens of a batch stand. Rotary position of a token = position - first. */
typedef struct token_layout {
    int64_t n; /* tokens */
    int n_sequences;
    const int64_t *start;    /* [n_sequences + 1] first token of each sequence */
    const int32_t *position; /* [n] key position inside the sequence (with its cached past) */
    const int32_t *first;    /* [n] first visible key position: start of the token's document */
} token_layout;

typedef struct rope_options {
    int n_head;
    int64_t head_stride;     /* columns from one head's part to the next */
    int64_t column;          /* column of the first head's rotated part */
    int dim;                 /* r */
    bool interleaved;        /* DeepSeek true, llama and qwen false */
    double base;             /* frequencies base^(-2i/dim), unless given: */
    const double *frequency; /* [dim / 2], must outlive the call; NULL: by base */
    double amplitude;        /* of cosine and sine; 0 stands for 1 */
} rope_options;
/* Rotates in place (backward rotates the gradient back in place) and returns x: no other op may
 * need the unrotated values. */
var *op_rope(tape *t, var *x, const token_layout *layout, const rope_options *options);

typedef struct attention_shape {
    int n_head, n_kv_head, qk_dim, shared_dim, v_dim;
    int64_t k_head_stride, v_head_stride; /* columns from one KV head to the next in k and v */
    double scale;
    dropout_site dropout; /* of the probabilities */
} attention_shape;
/* Causal attention inside each document of each sequence, keys and values from this batch.
 * q [n, n_head * (qk_dim + shared_dim)]; k, v column views; shared [n, shared_dim] or NULL.
 * -> [n, n_head * v_dim] */
var *op_attention(tape *t, var *q, var *k, var *shared, var *v, const token_layout *layout,
                  const attention_shape *shape);
#define KEY_PAGE 64 /* positions in a page of keys: the attention block of docs/numerics.md */
/* The same with keys in pages of KEY_PAGE positions (inference only; not recorded). Pages of
 * sequence s: k_page[s][position / 64], rows dense: k [n_kv_head * qk_dim], shared [shared_dim],
 * v [n_kv_head * v_dim]. Unwritten rows hold finite values. */
typedef struct key_pages {
    const void *const *k_page, *const *shared_page, *const *v_page;
    int64_t n_keys; /* written so far, this batch included */
    int64_t
        stride; /* between rows of k and of v, whose heads then are as the shape says; 0 = dense */
} key_pages;
var *op_attention_paged(tape *t, var *q, const key_pages *pages, const token_layout *layout,
                        const attention_shape *shape);

/* Latents instead of keys (op_heads.c; inference only): w [H (key_rows + value_rows), kr]. Queries of
 * heads [n, H (key_rows + rotated)] -> [n, H (kr + rotated)]; outputs [n, H kr] -> [n, H value_rows]. */
var *op_head_keys(tape *t, var *x, param *w, const head_blocks *h);
var *op_head_values(tape *t, var *x, param *w, const head_blocks *h);

typedef enum score_function { SCORE_SIGMOID, SCORE_SOFTMAX } score_function;
typedef struct router_options {
    int n_expert, n_used, n_group, topk_group;
    score_function score;
    bool normalise;       /* divide the chosen scores by their sum + 1e-20 */
    double scale;         /* routed_scaling_factor */
    double balance_alpha; /* sequence-wise balance loss (1.5); 0 = off */
    double balance_scale; /* gradient scale of that loss */
    int choice;           /* slot of tape_choice */
    int64_t *counts;      /* [n_expert] tokens per expert, added to once per forward; NULL */
    double *balance_loss; /* added to; NULL */
} router_options;
typedef struct routing {
    const int32_t *ids; /* [rows, n_used], ascending expert */
    var *weight;        /* [rows, n_used] */
} routing;
/* Scores of x [rows, d] by router [n_expert, d]; choice uses bias [n_expert], weights do not. */
routing op_router(tape *t, var *x, param *router, param *bias, const token_layout *layout,
                  const router_options *options);
/* y = base + sum over chosen experts (ascending id) of weight * down(swiglu(gate_up(x))). gate_up
 * [n_expert, 2 fe, d], down [n_expert, d, fe]; base (shared experts' output) may be NULL. */
var *op_experts(tape *t, var *x, routing r, param *gate_up, param *down, var *base);

typedef struct head_loss {
    const int32_t *target; /* [rows]; -1 = not counted */
    double scale;          /* gradient of the summed loss, e.g. weight / tokens of the batch */
    double sum;            /* out: nats summed over counted rows */
    int64_t counted;       /* out */
    double *each;          /* out: [rows] nats per row, or NULL */
} head_loss;
/* Logits of x [rows, d] by head [vocab, d] in chunks of rows, their cross entropy, and, when
 * recording, the gradients of x and head at once: [rows, vocab] never exists. */
void op_head_loss(tape *t, var *x, param *head, head_loss *loss);
/* Rows of its chunks for a head [vocab, d]. */
int64_t head_loss_rows(int64_t vocab, int64_t d);

#endif
