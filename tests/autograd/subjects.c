/* subjects.c - the table of subjects: every op alone, in its odd shapes, and some together. */
#include "subjects.h"

#include <math.h>

#define VOCAB 11

/* -- embedding, sums, columns, rows -- */

static void embedding_describe(fixture *f) {
    add_param(f, PARAM_EMBEDDING, "table", 2, VOCAB, 5, 0);
}
static var *embedding_run(fixture *f, tape *t, var **x) {
    (void)x;
    return op_embedding(t, f->p[0], f->ids, f->layout.n);
}

static void pair_describe(fixture *f) {
    add_input(f, 0, 6);
    add_input(f, 0, 6);
}
static var *add_run(fixture *f, tape *t, var **x) {
    (void)f;
    return op_add(t, op_add(t, x[0], x[1]), x[0]);
}

static void one_describe(fixture *f) {
    add_input(f, 0, 6);
}
/* The same var twice, and slices that overlap, also a slice of a slice. */
static var *slices_run(fixture *f, tape *t, var **x) {
    (void)f;
    var *left = op_slice(t, x[0], 0, 4), *right = op_slice(t, x[0], 2, 4);
    var *inner = op_slice(t, op_slice(t, x[0], 1, 5), 1, 4);
    return op_add(t, op_add(t, left, right), op_add(t, inner, op_add(t, left, left)));
}

static var *concat_run(fixture *f, tape *t, var **x) {
    (void)f;
    return op_concat(t, op_slice(t, x[0], 1, 5), op_concat(t, x[1], x[0]));
}

/* -- dropout -- */

static dropout_site site_of(const fixture *f, double rate, uint64_t place) {
    return (dropout_site){dropout_mask_of(rate, rng_at(place, RNG_DROPOUT, 9)), f->token};
}
/* In place, in a slice too; a sum makes a var that may be overwritten. */
static var *dropout_run(fixture *f, tape *t, var **x) {
    dropout_site one = site_of(f, 0.3, 1), two = site_of(f, 0.5, 2), none = site_of(f, 0, 3);
    var *y = op_dropout(t, op_add(t, x[0], x[0]), &one);
    op_dropout(t, op_slice(t, y, 2, 3), &two);
    return op_dropout(t, y, &none);
}
/* Fresh gradients, ones that are there already, and slices. */
static var *add_dropout_run(fixture *f, tape *t, var **x) {
    dropout_site one = site_of(f, 0.3, 1), two = site_of(f, 0.5, 2), none = site_of(f, 0, 3);
    var *y = op_add_dropout(t, x[0], x[1], &one);
    y = op_add_dropout(t, y, op_slice(t, op_concat(t, x[1], x[0]), 3, 6), &two);
    return op_add_dropout(t, op_add_dropout(t, y, x[1], &none), x[1], &two);
}

static const int32_t taken[] = {3, 0, 3, 6};
static var *take_rows_run(fixture *f, tape *t, var **x) {
    (void)f;
    return op_take_rows(t, op_slice(t, x[0], 1, 4), taken, 4);
}

/* -- linear, norm, swiglu -- */

static void linear_describe(fixture *f) {
    add_input(f, 0, 37);
    add_param(f, PARAM_MATRIX, "w", 2, 19, 37, 0);
}
static var *linear_run(fixture *f, tape *t, var **x) {
    return op_linear(t, x[0], f->p[0]);
}

static void linear_slice_describe(fixture *f) {
    add_input(f, 0, 9);
    add_param(f, PARAM_MATRIX, "w", 2, 3, 5, 0);
}
/* A slice as input, whose parent is used elsewhere too, and one weight used twice. */
static var *linear_slice_run(fixture *f, tape *t, var **x) {
    var *a = op_linear(t, op_slice(t, x[0], 1, 5), f->p[0]);
    var *b = op_linear(t, op_slice(t, x[0], 4, 5), f->p[0]);
    return op_add(t, op_slice(t, x[0], 0, 3), op_add(t, a, b));
}

static void norm_describe(fixture *f) {
    add_input(f, 0, 35);
    add_param(f, PARAM_VECTOR, "w", 1, 35, 0, 0);
}
static var *norm_run(fixture *f, tape *t, var **x) {
    return op_rmsnorm(t, x[0], f->p[0], 1e-5);
}

static void norm_slice_describe(fixture *f) {
    add_input(f, 0, 9);
    add_param(f, PARAM_VECTOR, "w", 1, 4, 0, 0);
}
static var *norm_slice_run(fixture *f, tape *t, var **x) {
    return op_rmsnorm(t, op_slice(t, x[0], 3, 4), f->p[0], 1e-5);
}

static void bias_describe(fixture *f) {
    linear_describe(f);
    add_param(f, PARAM_BIAS, "b", 1, 19, 0, 0);
}
static var *bias_run(fixture *f, tape *t, var **x) {
    return op_bias(t, op_linear(t, x[0], f->p[0]), f->p[1]);
}

static void head_norm_describe(fixture *f) {
    add_input(f, 0, 23);
    add_param(f, PARAM_VECTOR, "w", 1, 7, 0, 0);
}
/* Three heads inside a wider row. */
static var *head_norm_run(fixture *f, tape *t, var **x) {
    return op_head_norm(t, op_slice(t, x[0], 1, 21), f->p[0], 1e-5);
}

static void swiglu_describe(fixture *f) {
    add_input(f, 0, 38);
}
static var *swiglu_run(fixture *f, tape *t, var **x) {
    (void)f;
    return op_swiglu(t, x[0]);
}
static var *swiglu_slice_run(fixture *f, tape *t, var **x) {
    (void)f;
    return op_swiglu(t, op_slice(t, x[0], 5, 18));
}

/* -- rotary positions -- */

/* Rotation is in place: a sum makes a var that may be overwritten. */
static var *doubled(tape *t, var *x) {
    return op_add(t, x, x);
}

static void rope_describe(fixture *f) {
    add_input(f, 0, 23);
}
static var *rope_interleaved_run(fixture *f, tape *t, var **x) {
    return op_rope(t, doubled(t, x[0]), &f->layout,
                   &(rope_options){.n_head = 3,
                                   .head_stride = 7,
                                   .column = 3,
                                   .dim = 6,
                                   .interleaved = true,
                                   .base = 100});
}
/* Halves, in a slice of the var that is read afterwards. */
static var *rope_halves_run(fixture *f, tape *t, var **x) {
    var *y = doubled(t, x[0]);
    var *part = op_slice(t, y, 2, 20);
    op_rope(t, part, &f->layout,
            &(rope_options){.n_head = 2, .head_stride = 10, .column = 1, .dim = 8, .base = 100});
    return op_add(t, part, op_slice(t, y, 3, 20));
}

/* -- attention -- */

static void heads_describe(fixture *f) {
    add_input(f, 0, (4 + 2 * 2) * 6);
}
/* Grouped queries over one qkv array, rotated. */
static var *gqa_run(fixture *f, tape *t, var **x) {
    var *qkv = op_rope(t, doubled(t, x[0]), &f->layout,
                       &(rope_options){.n_head = 6, .head_stride = 6, .dim = 6, .base = 100});
    return op_attention(
        t, op_slice(t, qkv, 0, 24), op_slice(t, qkv, 24, 12), NULL, op_slice(t, qkv, 36, 12),
        &f->layout,
        &(attention_shape){
            .n_head = 4, .n_kv_head = 2, .qk_dim = 6, .v_dim = 6, .scale = 1 / sqrt(6.0)});
}

static var *attention_dropout_run(fixture *f, tape *t, var **x) {
    return op_attention(t, op_slice(t, x[0], 0, 24), op_slice(t, x[0], 24, 12), NULL,
                        op_slice(t, x[0], 36, 12), &f->layout,
                        &(attention_shape){.n_head = 4,
                                           .n_kv_head = 2,
                                           .qk_dim = 6,
                                           .v_dim = 6,
                                           .scale = 1 / sqrt(6.0),
                                           .dropout = site_of(f, 0.4, 4)});
}

static void mla_describe(fixture *f) {
    add_input(f, 0, 3 * (5 + 4)); /* q */
    add_input(f, 0, 3 * (5 + 7)); /* k and v side by side in each head */
    add_input(f, 0, 2 + 4);       /* something, then the shared key */
}
static var *mla_run(fixture *f, tape *t, var **x) {
    var *k = op_slice(t, x[1], 0, 2 * 12 + 5), *v = op_slice(t, x[1], 5, 2 * 12 + 7);
    return op_attention(t, x[0], k, op_slice(t, x[2], 2, 4), v, &f->layout,
                        &(attention_shape){.n_head = 3,
                                           .n_kv_head = 3,
                                           .qk_dim = 5,
                                           .shared_dim = 4,
                                           .v_dim = 7,
                                           .k_head_stride = 12,
                                           .v_head_stride = 12,
                                           .scale = 1 / 3.0});
}

/* -- losses -- */

static void add_head_loss(fixture *f, tape *t, var *x, param *head, double scale) {
    head_loss *loss = tape_alloc(t, sizeof *loss); /* lives until backward */
    if (loss == NULL) return;
    *loss = (head_loss){.target = f->target, .scale = scale, .each = f->each};
    op_head_loss(t, x, head, loss);
    f->loss += scale * loss->sum;
}

static void loss_describe(fixture *f) {
    add_input(f, 0, 6);
    add_param(f, PARAM_EMBEDDING, "head", 2, VOCAB, 6, 0);
}
static var *loss_run(fixture *f, tape *t, var **x) {
    add_head_loss(f, t, x[0], f->p[0], 0.5);
    return NULL;
}
/* A tied matrix: embedding, and head of two losses. */
static var *tied_run(fixture *f, tape *t, var **x) {
    var *e = op_embedding(t, f->p[0], f->ids, f->layout.n);
    var *h = op_add(t, x[0], e);
    add_head_loss(f, t, h, f->p[0], 0.5);
    add_head_loss(f, t, op_swiglu(t, op_concat(t, h, e)), f->p[0], 0.25);
    return h;
}

/* -- mixture of experts -- */

#define EXPERT_WIDTH 7

static routing route(fixture *f, tape *t, var *x, router_options o) {
    o.n_expert = N_EXPERT;
    o.n_used = N_USED;
    o.counts = f->counts;
    double balance = 0;
    o.balance_loss = &balance;
    routing r = op_router(t, x, f->p[0], f->p[1], &f->layout, &o);
    if (!t->recomputing) f->balance += o.balance_scale * balance;
    return r;
}

static void router_describe(fixture *f) {
    add_input(f, 0, 6);
    add_param(f, PARAM_ROUTER, "router", 2, N_EXPERT, 6, 0);
    add_param(f, PARAM_STATE, "bias", 1, N_EXPERT, 0, 0);
}
static var *router_sigmoid_run(fixture *f, tape *t, var **x) {
    return route(f, t, x[0],
                 (router_options){.n_group = 1,
                                  .topk_group = 1,
                                  .score = SCORE_SIGMOID,
                                  .normalise = true,
                                  .scale = 2.5,
                                  .balance_alpha = 0.7,
                                  .balance_scale = 1 / 3.0})
        .weight;
}
static var *router_softmax_run(fixture *f, tape *t, var **x) {
    return route(f, t, x[0],
                 (router_options){.n_group = 1,
                                  .topk_group = 1,
                                  .score = SCORE_SOFTMAX,
                                  .scale = 1.5,
                                  .balance_alpha = 0.7,
                                  .balance_scale = 0.5})
        .weight;
}

/* Three groups of two, the better two take part. */
static var *router_groups_run(fixture *f, tape *t, var **x) {
    return route(f, t, x[0],
                 (router_options){.n_group = 3,
                                  .topk_group = 2,
                                  .score = SCORE_SIGMOID,
                                  .normalise = true,
                                  .scale = 1})
        .weight;
}

static void experts_describe(fixture *f) {
    router_describe(f);
    add_param(f, PARAM_MATRIX, "gate_up", 3, N_EXPERT, 2 * EXPERT_WIDTH, 6);
    add_param(f, PARAM_MATRIX, "down", 3, N_EXPERT, 6, EXPERT_WIDTH);
}
static var *experts_run(fixture *f, tape *t, var **x) {
    routing r = route(
        f, t, x[0],
        (router_options){
            .n_group = 1, .topk_group = 1, .score = SCORE_SIGMOID, .normalise = true, .scale = 1});
    return op_experts(t, x[0], r, f->p[2], f->p[3], NULL);
}

/* -- a routed block with everything, from x to something of x's shape -- */

static void block_describe(fixture *f) {
    experts_describe(f);
    add_param(f, PARAM_MATRIX, "qkv", 2, 18, 6, 0);
    add_param(f, PARAM_VECTOR, "norm", 1, 6, 0, 0);
}
static var *block_inside(tape *t, void *context, var *x) {
    fixture *f = context;
    dropout_site weights = site_of(f, 0.1, 5), mixed = site_of(f, 0.2, 6), fed = site_of(f, 0.2, 7);
    var *qkv = op_rope(t, op_linear(t, op_rmsnorm(t, x, f->p[5], 1e-5), f->p[4]), &f->layout,
                       &(rope_options){.n_head = 2, .head_stride = 6, .dim = 6, .base = 100});
    var *a = op_attention(t, op_slice(t, qkv, 0, 6), op_slice(t, qkv, 6, 6), NULL,
                          op_slice(t, qkv, 12, 6), &f->layout,
                          &(attention_shape){.n_head = 1,
                                             .n_kv_head = 1,
                                             .qk_dim = 6,
                                             .v_dim = 6,
                                             .scale = 0.4,
                                             .dropout = weights});
    var *h = op_add_dropout(t, x, a, &mixed);
    var *n = op_rmsnorm(t, h, f->p[5], 1e-5);
    routing r = route(f, t, n,
                      (router_options){.n_group = 1,
                                       .topk_group = 1,
                                       .score = SCORE_SIGMOID,
                                       .normalise = true,
                                       .scale = 1,
                                       .balance_alpha = 0.7,
                                       .balance_scale = 1 / 3.0});
    var *y = op_experts(t, n, r, f->p[2], f->p[3], op_slice(t, doubled(t, n), 0, 6));
    return op_add_dropout(t, h, y, &fed);
}
static var *block_run(fixture *f, tape *t, var **x) {
    return block_inside(t, f, x[0]);
}
/* A checkpoint inside the block, between uses of the same parameters. */
static var *nested_run(fixture *f, tape *t, var **x) {
    var *y = checkpoint(t, block_inside, f, op_rmsnorm(t, x[0], f->p[5], 1e-5));
    return op_add(t, op_rmsnorm(t, y, f->p[5], 1e-5), x[0]);
}

const subject subjects[] = {
    {"embedding", embedding_describe, embedding_run, 1, 1},
    {"add", pair_describe, add_run, 2, 0},
    {"slices", one_describe, slices_run, 4, 0},
    {"concat", pair_describe, concat_run, 2, 0},
    {"dropout", one_describe, dropout_run, 3, 0},
    {"add dropout", pair_describe, add_dropout_run, 5, 0},
    {"take rows", one_describe, take_rows_run, 1, 0, .no_split = true},
    {"linear", linear_describe, linear_run, 1, 1},
    {"linear of slices", linear_slice_describe, linear_slice_run, 4, 2, .no_split = true},
    {"rmsnorm", norm_describe, norm_run, 1, 1},
    {"rmsnorm of a slice", norm_slice_describe, norm_slice_run, 1, 1},
    {"linear with bias", bias_describe, bias_run, 2, 2},
    {"rmsnorm of heads", head_norm_describe, head_norm_run, 1, 1, .no_split = true},
    {"swiglu", swiglu_describe, swiglu_run, 1, 0},
    {"swiglu of a slice", swiglu_describe, swiglu_slice_run, 1, 0},
    {"rope interleaved", rope_describe, rope_interleaved_run, 2, 0},
    {"rope halves", rope_describe, rope_halves_run, 3, 0},
    {"grouped attention", heads_describe, gqa_run, 3, 0},
    {"attention dropout", heads_describe, attention_dropout_run, 1, 0},
    {"latent attention", mla_describe, mla_run, 1, 0},
    {"head loss", loss_describe, loss_run, 1, 1},
    {"tied", loss_describe, tied_run, 6, 3, .no_split = true},
    {"router sigmoid", router_describe, router_sigmoid_run, 1, 1},
    {"router softmax", router_describe, router_softmax_run, 1, 1},
    {"router groups", router_describe, router_groups_run, 1, 1},
    {"experts", experts_describe, experts_run, 2, 3},
    {"block", block_describe, block_run, 10, 6, .no_split = true},
    {"nested checkpoint", block_describe, nested_run, 4, 8, .no_split = true},
};
const int n_subjects = (int)(sizeof subjects / sizeof subjects[0]);
