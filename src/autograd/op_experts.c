/* op_experts.c - the chosen experts of every token, as grouped products over sorted rows.
 *
 *     y = base + sum over chosen experts, ascending id, of g_i W_down,i swiglu(W_gate_up,i x)
 *
 * (DeepSeekMoE, arXiv 2401.06066.) Choices are sorted by expert (stable), each expert's segment is
 * padded with zero rows to 32, and one grouped product serves all experts. Rows are gathered before
 * and combined after; the sum of a token keeps its order: base first, then experts by id, in f32.
 * No token is dropped.
 *
 * Saved, per place: gathered input, gate/up, their product, the expert's output (for the gradient
 * of the weights). Buffers have the worst-case number of places, rows * K + 32 E, so the arena does
 * not depend on the routing; only used places are touched.
 *
 * Backward overwrites the input, the product and the output of places with their gradients: each is
 * read for the last time before.
 *
 * Weight gradients continue their chains over micro-batches in f32, since padding adds exact zeros;
 * in bf16 a micro-batch's segments are padded to 32 for their own, so the chains group differently.
 *
 * Mind: x, base and their gradients are whole rows, not slices.
 */
#include "autograd/op_internal.h"

#include <inttypes.h>

#define SEGMENT_ROWS 32 /* moe_sort pads to this */

typedef struct experts_record {
    var *x, *base, *y;
    routing chosen;
    param *gate_up, *down;
    int k, n_expert;
    int64_t capacity;
    int64_t *offset;                  /* [E + 1] */
    int32_t *source, *place;          /* [capacity], [rows * K] */
    bool gate_done, out_done, y_done; /* there already, or read by nobody (recompute.c) */
    tensor in, gate, act, out;        /* [capacity, d], [., 2 fe], [., fe], [., d] */
} experts_record;

/* -- grouped products over the segments -- */

static char *segment(const experts_record *r, const tensor *x, int e) {
    return (char *)x->data + (size_t)(r->offset[e] * x->dim[1]) * dtype_size(x->dtype);
}

static int64_t segment_rows(const experts_record *r, int e) {
    return r->offset[e + 1] - r->offset[e];
}

static gemm_call *calls_alloc(tape *t, const experts_record *r) {
    return tape_alloc(t, (size_t)r->n_expert * sizeof(gemm_call));
}

/* Of the chosen rows: what the padding of segments costs shows as a lower rate. */
static void segments_lap(const tape *t, const experts_record *r, const param *w,
                         const char *const parts[2], bool into_weights) {
    tape_lap(t, "experts", parts[w == r->down],
             work_product(op_product_type(t, w), r->x->value.dim[0] * r->k, w->dim[1], w->dim[2],
                          r->n_expert, into_weights));
}

/* c = a W^T (forward) or a W (backward), expert by expert. */
static status segments_multiply(tape *t, const experts_record *r, param *w, int direction,
                                const tensor *a, const tensor *c, gemm_call *calls) {
    const packed_matrix *packed;
    static const char *const parts[2][2] = {{"gate up forward", "down forward"},
                                            {"gate up dX", "down dX"}};
    TRY(op_packed(t, w, direction, &packed));
    for (int e = 0; e < r->n_expert; e++)
        calls[e] = (gemm_call){.type = packed[e].type,
                               .m = segment_rows(r, e),
                               .n = c->dim[1],
                               .k = a->dim[1],
                               .a = segment(r, a, e),
                               .a_stride_m = a->dim[1],
                               .a_stride_k = 1,
                               .b = &packed[e],
                               .c = segment(r, c, e),
                               .ldc = c->dim[1]};
    TRY(gemm_grouped(calls, r->n_expert));
    segments_lap(t, r, w, parts[direction == PACK_BACKWARD], false);
    return STATUS_OK;
}

/* dW[e] += dc^T a over e's segment. */
static status segments_weight_gradient(tape *t, const experts_record *r, const param *w,
                                       const tensor *dc, const tensor *a, gemm_call *calls) {
    static const char *const parts[2] = {"gate up dW", "down dW"};
    if (w->grad == NULL) return STATUS_OK;
    size_t matrix = (size_t)(w->dim[1] * w->dim[2]) * dtype_size(t->dtype);
    for (int e = 0; e < r->n_expert; e++)
        calls[e] = (gemm_call){.type = op_product_type(t, w),
                               .m = w->dim[1],
                               .n = w->dim[2],
                               .k = segment_rows(r, e),
                               .a = segment(r, dc, e),
                               .a_stride_m = 1,
                               .a_stride_k = dc->dim[1],
                               .b_raw = segment(r, a, e),
                               .b_stride_n = 1,
                               .b_stride_k = a->dim[1],
                               .c = (char *)w->grad + (size_t)e * matrix,
                               .ldc = w->dim[2],
                               .accumulate = true};
    TRY(gemm_grouped(calls, r->n_expert));
    segments_lap(t, r, w, parts, true);
    return STATUS_OK;
}

/* -- forward -- */

static status experts_forward(tape *t, const experts_record *r, gemm_call *calls) {
    const tensor *x = &r->x->value, *y = &r->y->value;
    int64_t rows = x->dim[0], d = x->dim[1], f = r->act.dim[1];
    moe_sort(rows, r->k, r->n_expert, r->chosen.ids, r->offset, r->source, r->place);
    int64_t places = r->offset[r->n_expert], moved = rows * r->k;
    tape_lap(t, "experts", "sort", (profile_work){PROFILE_BYTES, 0, (double)(12 * moved)});
    moe_gather(t->dtype, places, d, r->k, r->source, x->data, r->in.data);
    tape_lap(t, "experts", "gather", work_moved(t, 2 * moved * d));
    if (!r->gate_done)
        TRY(segments_multiply(t, r, r->gate_up, PACK_FORWARD, &r->in, &r->gate, calls));
    tensor up = tensor_columns(r->gate, f, f);
    swiglu(t->dtype, places, f, r->gate.data, up.data, 2 * f, r->act.data);
    tape_lap(t, "experts", "swiglu", work_moved(t, 3 * moved * f));
    if (!r->out_done) TRY(segments_multiply(t, r, r->down, PACK_FORWARD, &r->act, &r->out, calls));
    if (r->y_done) return STATUS_OK;
    if (r->base != NULL)
        rows_copy(&r->base->value, y);
    else
        vector_zero(t->dtype, rows * d, y->data);
    moe_combine(t->dtype, rows, d, r->k, r->place, r->chosen.weight->value.data, r->out.data,
                y->data);
    tape_lap(t, "experts", "combine", work_moved(t, (moved + 2 * rows) * d));
    return STATUS_OK;
}

/* -- backward -- */

/* Gradients of places, and of what they come from. */
typedef struct experts_gradient {
    tensor dy, dx, dweight;
    tensor out, act, gate, in;
    gemm_call *calls;
} experts_gradient;

static status experts_back(tape *t, const experts_record *r, const experts_gradient *g) {
    int64_t places = r->offset[r->n_expert], rows = g->dy.dim[0], d = g->dy.dim[1];
    int64_t f = r->act.dim[1], moved = rows * r->k;
    moe_combine_backward(t->dtype, rows, places, d, r->k, r->source, r->place,
                         r->chosen.weight->value.data, r->out.data, g->dy.data, g->out.data,
                         g->dweight.data);
    tape_lap(t, "experts", "combine backward", work_moved(t, (2 * moved + rows) * d));
    TRY(segments_weight_gradient(t, r, r->down, &g->out, &r->act, g->calls));
    TRY(segments_multiply(t, r, r->down, PACK_BACKWARD, &g->out, &g->act, g->calls));
    vector_zero(t->dtype, places * 2 * f, g->gate.data);
    tensor up = tensor_columns(r->gate, f, f), d_up = tensor_columns(g->gate, f, f);
    swiglu_backward(t->dtype, places, f, r->gate.data, up.data, 2 * f, g->act.data, g->gate.data,
                    d_up.data, 2 * f);
    tape_lap(t, "experts", "swiglu backward", work_moved(t, 5 * moved * f));
    TRY(segments_weight_gradient(t, r, r->gate_up, &g->gate, &r->in, g->calls));
    if (g->dx.data == NULL) return STATUS_OK;
    TRY(segments_multiply(t, r, r->gate_up, PACK_BACKWARD, &g->gate, &g->in, g->calls));
    moe_gather_backward(t->dtype, rows, d, r->k, r->place, g->in.data, g->dx.data);
    tape_lap(t, "experts", "gather backward", work_moved(t, (moved + 2 * rows) * d));
    return STATUS_OK;
}

static void experts_backward(tape *t, void *context) {
    experts_record *r = context;
    experts_gradient g = {.dy = grad_arrived(t, r->y)};
    if (g.dy.data != NULL) {
        g.dx = var_grad(t, r->x);
        g.dweight = var_grad(t, r->chosen.weight);
        size_t mark = arena_mark(t->memory);
        g.out = r->out, g.act = r->act, g.in = r->in; /* each was read for the last time */
        g.gate = tape_var(t, r->gate.dim[0], r->gate.dim[1], false)->value;
        g.calls = calls_alloc(t, r);
        if (tape_runs(t)) tape_fail(t, experts_back(t, r, &g));
        arena_reset(t->memory, mark);
        if (r->base != NULL) grad_pass(t, r->y, r->base);
    }
    grad_release(t, r->y);
    param_done(t, r->gate_up);
    param_done(t, r->down);
}

/* -- op -- */

static bool experts_fit(tape *t, const var *x, const routing *chosen, const param *gate_up,
                        const param *down, const var *base) {
    if (!tape_ok(t) || (base != NULL && !op_same_shape(t, "experts", x, base))) return false;
    int64_t d = x->value.dim[1];
    if (gate_up->rank == 3 && down->rank == 3 && gate_up->dim[0] == down->dim[0] &&
        gate_up->dim[1] == 2 * down->dim[2] && gate_up->dim[2] == d && down->dim[1] == d &&
        chosen->weight->value.dim[0] == x->value.dim[0] && tensor_contiguous(&x->value))
        return true;
    op_shape_error(
        t, "experts",
        text("%s by %s and %s", tensor_shape_text(&x->value), gate_up->name, down->name));
    return false;
}

/* An array of places that backward reads. */
static tensor places_var(tape *t, const experts_record *r, int64_t in, int64_t out, bool *done) {
    var *v = saved_var(t, r->capacity, out, false, product_class(in, out), done);
    saved_wanted(t, v);
    return v->value;
}

static void experts_alloc(tape *t, experts_record *r) {
    int64_t rows = r->x->value.dim[0], d = r->x->value.dim[1], f = r->down->dim[2];
    r->offset = tape_alloc(t, (size_t)(r->n_expert + 1) * sizeof *r->offset);
    r->source = tape_alloc(t, (size_t)r->capacity * sizeof *r->source);
    r->place = tape_alloc(t, (size_t)(rows * r->k) * sizeof *r->place);
    r->in = tape_var(t, r->capacity, d, false)->value;
    r->gate = places_var(t, r, d, 2 * f, &r->gate_done);
    r->act = tape_var(t, r->capacity, f, false)->value;
    r->out = places_var(t, r, f, d, &r->out_done);
}

var *op_experts(tape *t, var *x, routing chosen, param *gate_up, param *down, var *base) {
    if (!experts_fit(t, x, &chosen, gate_up, down, base)) return t->poison;
    int64_t rows = x->value.dim[0];
    bool gradient = x->needs_grad || chosen.weight->needs_grad || gate_up->grad != NULL ||
                    down->grad != NULL || (base != NULL && base->needs_grad);
    bool done;
    var *y = saved_var(t, rows, x->value.dim[1], gradient, SAVE_OUTPUT, &done);
    experts_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    int k = (int)chosen.weight->value.dim[1], n_expert = (int)gate_up->dim[0];
    *r = (experts_record){.x = x,
                          .base = base,
                          .y = y,
                          .chosen = chosen,
                          .gate_up = gate_up,
                          .down = down,
                          .k = k,
                          .n_expert = n_expert,
                          .capacity = rows * k + SEGMENT_ROWS * (int64_t)n_expert};
    r->y_done = done;
    y->term[0] = base;
    saved_wanted(t, x);
    saved_wanted(t, chosen.weight);
    experts_alloc(t, r);
    size_t mark = arena_mark(t->memory);
    gemm_call *calls = calls_alloc(t, r);
    if (tape_runs(t)) tape_fail(t, experts_forward(t, r, calls));
    arena_reset(t->memory, mark);
    param_used(t, gate_up);
    param_used(t, down);
    if (y->needs_grad) tape_push(t, "experts", experts_backward, r);
    return tape_ok(t) ? y : t->poison;
}
