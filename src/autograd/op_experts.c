/* op_experts.c - the chosen experts of every token, as grouped products over sorted rows.
 *
 * Choices are sorted by expert (stable), each expert's segment padded with zero rows to 32, so that
 * one grouped product serves all experts and sums keep their order: base first, then experts by id.
 * Buffers have the worst-case number of places (rows * K + 32 E), so the arena does not depend on
 * the routing. Kept for backward: sorted inputs, gate/up, their product, expert outputs.
 */
#include "autograd/op_internal.h"

#include <inttypes.h>
#include <string.h>

typedef struct experts_record {
    var *x, *base, *y;
    routing routing;
    param *gate_up, *down;
    int k, n_expert;
    int64_t rows, d, f, capacity;
    int64_t *offset;
    int32_t *source, *place;
    char *xs, *h, *a, *e; /* [capacity, d], [capacity, 2f], [capacity, f], [capacity, d] */
} experts_record;

/* C[segment of each expert] = A[segment] * packed[expert]. */
static status segments_product(tape *t, const experts_record *r, const packed_matrix *packed,
                               const char *a, int64_t k, char *c, int64_t n) {
    size_t size = dtype_size(t->dtype), mark = arena_mark(t->memory);
    gemm_call *calls = arena_alloc(t->memory, (size_t)r->n_expert * sizeof *calls);
    if (calls == NULL) return STATUS_MEMORY;
    for (int e = 0; e < r->n_expert; e++)
        calls[e] = (gemm_call){.type = packed[e].type, .m = r->offset[e + 1] - r->offset[e], .n = n,
                               .k = k, .a = a + (size_t)(r->offset[e] * k) * size, .a_stride_m = k,
                               .a_stride_k = 1, .b = &packed[e],
                               .c = c + (size_t)(r->offset[e] * n) * size, .ldc = n};
    status s = gemm_grouped(calls, r->n_expert);
    arena_reset(t->memory, mark);
    return s;
}

/* dW[expert] += dC[segment]^T A[segment]; w is [E, n, k]. */
static status segments_gradient(tape *t, const experts_record *r, param *w, const char *dc,
                                const char *a) {
    if (w->grad == NULL) return STATUS_OK;
    int64_t n = w->dim[1], k = w->dim[2];
    size_t size = dtype_size(t->dtype), mark = arena_mark(t->memory);
    gemm_call *calls = arena_alloc(t->memory, (size_t)r->n_expert * sizeof *calls);
    if (calls == NULL) return STATUS_MEMORY;
    for (int e = 0; e < r->n_expert; e++)
        calls[e] = (gemm_call){.type = op_product_type(t, w), .m = n, .n = k,
                               .k = r->offset[e + 1] - r->offset[e],
                               .a = dc + (size_t)(r->offset[e] * n) * size, .a_stride_m = 1,
                               .a_stride_k = n, .b_raw = a + (size_t)(r->offset[e] * k) * size,
                               .b_stride_n = 1, .b_stride_k = k,
                               .c = (char *)w->grad + (size_t)(e * n * k) * size, .ldc = k,
                               .accumulate = true};
    status s = gemm_grouped(calls, r->n_expert);
    arena_reset(t->memory, mark);
    return s;
}

static status experts_forward(tape *t, const experts_record *r) {
    const packed_matrix *packed;
    int64_t places = r->offset[r->n_expert];
    size_t size = dtype_size(t->dtype);
    moe_gather(t->dtype, places, r->d, r->k, r->source, r->x->value.data, r->xs);
    TRY(param_packed(t->params, r->gate_up, PACK_FORWARD, op_product_type(t, r->gate_up), &packed));
    TRY(segments_product(t, r, packed, r->xs, r->d, r->h, 2 * r->f));
    swiglu(t->dtype, places, r->f, r->h, r->h + (size_t)r->f * size, 2 * r->f, r->a);
    TRY(param_packed(t->params, r->down, PACK_FORWARD, op_product_type(t, r->down), &packed));
    TRY(segments_product(t, r, packed, r->a, r->f, r->e, r->d));
    if (r->base != NULL)
        vector_copy(t->dtype, r->rows * r->d, r->base->value.data, r->y->value.data);
    else
        vector_zero(t->dtype, r->rows * r->d, r->y->value.data);
    moe_combine(t->dtype, r->rows, r->d, r->k, r->place, r->routing.weight->value.data, r->e,
                r->y->value.data);
    return STATUS_OK;
}

/* Gradients of places, alive only inside backward. */
typedef struct place_gradients {
    char *de, *da, *dh, *dxs;
} place_gradients;

static status experts_back(tape *t, const experts_record *r, const place_gradients *g,
                           const tensor *dy, const tensor *dweight, const tensor *dx) {
    const packed_matrix *packed;
    int64_t places = r->offset[r->n_expert];
    size_t size = dtype_size(t->dtype);
    moe_combine_backward(t->dtype, r->rows, places, r->d, r->k, r->source, r->place,
                         r->routing.weight->value.data, r->e, dy->data, g->de, dweight->data);
    TRY(param_packed(t->params, r->down, PACK_BACKWARD, op_product_type(t, r->down), &packed));
    TRY(segments_product(t, r, packed, g->de, r->d, g->da, r->f));
    TRY(segments_gradient(t, r, r->down, g->de, r->a));
    vector_zero(t->dtype, places * 2 * r->f, g->dh);
    swiglu_backward(t->dtype, places, r->f, r->h, r->h + (size_t)r->f * size, 2 * r->f, g->da,
                    g->dh, g->dh + (size_t)r->f * size, 2 * r->f);
    TRY(segments_gradient(t, r, r->gate_up, g->dh, r->xs));
    if (dx->data == NULL) return STATUS_OK;
    TRY(param_packed(t->params, r->gate_up, PACK_BACKWARD, op_product_type(t, r->gate_up), &packed));
    TRY(segments_product(t, r, packed, g->dh, 2 * r->f, g->dxs, r->d));
    moe_gather_backward(t->dtype, r->rows, r->d, r->k, r->place, g->dxs, dx->data);
    return STATUS_OK;
}

static void experts_backward(tape *t, void *context) {
    experts_record *r = context;
    tensor dy = var_grad(t, r->y), dx = var_grad(t, r->x), dweight = var_grad(t, r->routing.weight);
    tensor dbase = {0};
    if (r->base != NULL) dbase = var_grad(t, r->base);
    size_t size = dtype_size(t->dtype), mark = arena_mark(t->memory);
    place_gradients g = {tape_alloc(t, (size_t)(r->capacity * r->d) * size),
                         tape_alloc(t, (size_t)(r->capacity * r->f) * size),
                         tape_alloc(t, (size_t)(r->capacity * 2 * r->f) * size),
                         tape_alloc(t, (size_t)(r->capacity * r->d) * size)};
    if (tape_runs(t)) {
        if (dbase.data != NULL)
            vector_accumulate(t->dtype, r->rows * r->d, dy.data, dbase.data);
        tape_fail(t, experts_back(t, r, &g, &dy, &dweight, &dx));
    }
    arena_reset(t->memory, mark);
    param_done(t, r->gate_up);
    param_done(t, r->down);
}

static bool buffers(tape *t, experts_record *r) {
    size_t size = dtype_size(t->dtype);
    r->offset = tape_alloc(t, (size_t)(r->n_expert + 1) * sizeof *r->offset);
    r->source = tape_alloc(t, (size_t)r->capacity * sizeof *r->source);
    r->place = tape_alloc(t, (size_t)(r->rows * r->k) * sizeof *r->place);
    r->xs = tape_alloc(t, (size_t)(r->capacity * r->d) * size);
    r->h = tape_alloc(t, (size_t)(r->capacity * 2 * r->f) * size);
    r->a = tape_alloc(t, (size_t)(r->capacity * r->f) * size);
    r->e = tape_alloc(t, (size_t)(r->capacity * r->d) * size);
    return tape_ok(t);
}

var *op_experts(tape *t, var *x, routing chosen, param *gate_up, param *down, var *base) {
    if (!tape_ok(t)) return t->poison;
    int64_t rows = x->value.dim[0], d = x->value.dim[1], f = down->dim[2];
    if (gate_up->rank != 3 || down->rank != 3 || gate_up->dim[2] != d || gate_up->dim[1] != 2 * f ||
        down->dim[1] != d || down->dim[0] != gate_up->dim[0] ||
        chosen.weight->value.dim[0] != rows)
        return op_shape_error(t, "experts", text("%s by %s and %s", tensor_shape_text(&x->value),
                                                 gate_up->name, down->name));
    if (base != NULL && !op_same_shape(t, "experts", x, base)) return t->poison;
    var *y = tape_var(t, rows, d, true);
    experts_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    int k = (int)chosen.weight->value.dim[1], n_expert = (int)gate_up->dim[0];
    *r = (experts_record){.x = x, .base = base, .y = y, .routing = chosen, .gate_up = gate_up,
                          .down = down, .k = k, .n_expert = n_expert, .rows = rows, .d = d, .f = f,
                          .capacity = rows * k + 32 * (int64_t)n_expert};
    if (!buffers(t, r)) return t->poison;
    if (tape_runs(t)) {
        moe_sort(rows, k, n_expert, chosen.ids, r->offset, r->source, r->place);
        tape_fail(t, experts_forward(t, r));
    }
    param_used(t, gate_up);
    param_used(t, down);
    tape_push(t, "experts", experts_backward, r);
    return tape_ok(t) ? y : t->poison;
}
