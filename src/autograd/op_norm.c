/* op_norm.c - row-wise ops: RMSNorm, SwiGLU, rotary positions. */
#include "autograd/op_internal.h"

#include <inttypes.h>

/* -- RMSNorm: keeps x and 1 / rms per row -- */

typedef struct norm_record {
    var *x, *y;
    param *w;
    void *rstd;
} norm_record;

static void norm_backward(tape *t, void *context) {
    norm_record *r = context;
    tensor dy = var_grad(t, r->y), dx = var_grad(t, r->x);
    const tensor *x = &r->x->value;
    if (tape_runs(t))
        tape_fail(t, rmsnorm_backward(t->dtype, x->dim[0], x->dim[1], x->data, x->stride[0],
                                      r->w->master, r->rstd, dy.data, dy.stride[0], dx.data,
                                      dx.stride[0], r->w->grad));
    param_done(t, r->w);
}

var *op_rmsnorm(tape *t, var *x, param *w, double eps) {
    if (!tape_ok(t)) return t->poison;
    if (w->count != x->value.dim[1])
        return op_shape_error(t, "rmsnorm", text("%s by %s [%" PRId64 "]",
                                                 tensor_shape_text(&x->value), w->name, w->count));
    var *y = tape_var(t, x->value.dim[0], x->value.dim[1], true);
    norm_record *r = tape_alloc(t, sizeof *r);
    void *rstd = tape_alloc(t, (size_t)x->value.dim[0] * dtype_size(t->dtype));
    if (r == NULL || rstd == NULL) return t->poison;
    *r = (norm_record){x, y, w, rstd};
    if (tape_runs(t))
        rmsnorm(t->dtype, x->value.dim[0], x->value.dim[1], x->value.data, x->value.stride[0],
                w->master, eps, y->value.data, y->value.stride[0], rstd);
    param_used(t, w);
    tape_push(t, "rmsnorm", norm_backward, r);
    return y;
}

/* -- SwiGLU: keeps its input; silu is computed again in backward -- */

typedef struct swiglu_record {
    var *x, *y;
} swiglu_record;

static void *half(void *data, int64_t f, dtype t) {
    return data == NULL ? NULL : (char *)data + (size_t)f * dtype_size(t);
}

static void swiglu_op_backward(tape *t, void *context) {
    swiglu_record *r = context;
    tensor dy = var_grad(t, r->y), dx = var_grad(t, r->x);
    if (!tape_runs(t) || dx.data == NULL) return;
    int64_t f = dy.dim[1];
    const tensor *x = &r->x->value;
    swiglu_backward(t->dtype, dy.dim[0], f, x->data, half(x->data, f, t->dtype), x->stride[0],
                    dy.data, dx.data, half(dx.data, f, t->dtype), dx.stride[0]);
}

var *op_swiglu(tape *t, var *x) {
    if (!tape_ok(t)) return t->poison;
    if (x->value.dim[1] % 2 != 0)
        return op_shape_error(t, "swiglu", text("%s has no two halves", tensor_shape_text(&x->value)));
    int64_t f = x->value.dim[1] / 2;
    var *y = tape_var(t, x->value.dim[0], f, x->needs_grad);
    swiglu_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    *r = (swiglu_record){x, y};
    if (tape_runs(t))
        swiglu(t->dtype, x->value.dim[0], f, x->value.data, half(x->value.data, f, t->dtype),
               x->value.stride[0], y->value.data);
    if (y->needs_grad) tape_push(t, "swiglu", swiglu_op_backward, r);
    return y;
}

/* -- rotary positions, in place: the gradient is rotated back in place -- */

typedef struct rope_record {
    var *x;
    rope_options o;
    const int32_t *positions;
    const void *table;
} rope_record;

static void rope_run(tape *t, const rope_record *r, const tensor *x, bool inverse) {
    void *first = (char *)x->data + (size_t)r->o.column * dtype_size(t->dtype);
    rope(t->dtype, x->dim[0], r->o.n_head, r->o.head_stride, r->o.dim, r->o.interleaved, inverse,
         r->positions, r->table, first, x->stride[0]);
}

static void rope_backward(tape *t, void *context) {
    rope_record *r = context;
    tensor dx = var_grad(t, r->x);
    if (tape_runs(t) && dx.data != NULL) rope_run(t, r, &dx, true);
}

var *op_rope(tape *t, var *x, const token_layout *layout, const rope_options *o) {
    if (!tape_ok(t)) return t->poison;
    int64_t last = o->column + (o->n_head - 1) * o->head_stride + o->dim;
    if (layout->n != x->value.dim[0] || o->dim % 2 != 0 || last > x->value.dim[1])
        return op_shape_error(t, "rope", text("%d heads of %d from column %" PRId64 " of %s", o->n_head,
                                              o->dim, o->column, tensor_shape_text(&x->value)));
    rope_record *r = tape_alloc(t, sizeof *r);
    int32_t *positions = tape_alloc(t, (size_t)layout->n * sizeof *positions);
    if (r == NULL || positions == NULL) return t->poison;
    int64_t n = 1; /* rows of the table */
    for (int64_t i = 0; i < layout->n; i++) {
        positions[i] = layout->position[i] - layout->first[i];
        if (positions[i] >= n) n = positions[i] + 1;
    }
    void *table = tape_alloc(t, (size_t)(n * o->dim) * dtype_size(t->dtype));
    if (table == NULL) return t->poison;
    *r = (rope_record){x, *o, positions, table};
    if (tape_runs(t)) {
        rope_table(t->dtype, n, o->dim, o->base, table);
        rope_run(t, r, &x->value, false);
    }
    if (x->needs_grad) tape_push(t, "rope", rope_backward, r);
    return x;
}
