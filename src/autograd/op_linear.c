/* op_linear.c - y = x W^T, the product everything is made of.
 *
 * Backward is two functions, input gradient dX = dY W and weight gradient dW += dY^T X, so that a
 * schedule may run them apart. dW continues the accumulation chain of the gradient buffer: two
 * micro-batches one after the other give the bits of one batch (f32; bf16 at multiples of 32 rows).
 */
#include "autograd/op_internal.h"

#include <inttypes.h>

var *op_shape_error(tape *t, const char *op, const char *what) {
    tape_fail(t, FAIL(F_SHAPE, what, text("op %s", op), "the operands do not fit each other",
                      "check the model configuration"));
    return t->poison;
}

bool op_same_shape(tape *t, const char *op, const var *a, const var *b) {
    if (!tape_ok(t)) return false;
    if (a->value.dim[0] == b->value.dim[0] && a->value.dim[1] == b->value.dim[1]) return true;
    op_shape_error(t, op, text("%s and %s", tensor_shape_text(&a->value),
                               tensor_shape_text(&b->value)));
    return false;
}

gemm_type op_product_type(const tape *t, const param *w) {
    if (t->dtype == DTYPE_F64) return GEMM_F64;
    return t->options.bf16 && w->kind != PARAM_ROUTER ? GEMM_BF16 : GEMM_F32;
}

typedef struct linear_record {
    var *x, *y;
    param *w;
} linear_record;

static void input_gradient(tape *t, const linear_record *r, const tensor *dy) {
    tensor dx = var_grad(t, r->x);
    if (dx.data == NULL || !tape_runs(t)) return;
    const packed_matrix *w;
    gemm_type type = op_product_type(t, r->w);
    status s = param_packed(t->params, r->w, PACK_BACKWARD, type, &w);
    if (s == STATUS_OK)
        s = gemm(&(gemm_call){.type = type, .m = dy->dim[0], .n = r->w->dim[1], .k = r->w->dim[0],
                              .a = dy->data, .a_stride_m = dy->stride[0], .a_stride_k = 1, .b = w,
                              .c = dx.data, .ldc = dx.stride[0], .accumulate = true});
    tape_fail(t, s);
}

static void weight_gradient(tape *t, const linear_record *r, const tensor *dy) {
    if (r->w->grad == NULL || !tape_runs(t)) return;
    const tensor *x = &r->x->value;
    tape_fail(t, gemm(&(gemm_call){.type = op_product_type(t, r->w), .m = r->w->dim[0],
                                   .n = r->w->dim[1], .k = dy->dim[0], .a = dy->data,
                                   .a_stride_m = 1, .a_stride_k = dy->stride[0], .b_raw = x->data,
                                   .b_stride_n = 1, .b_stride_k = x->stride[0], .c = r->w->grad,
                                   .ldc = r->w->dim[1], .accumulate = true}));
}

static void linear_backward(tape *t, void *context) {
    linear_record *r = context;
    tensor dy = var_grad(t, r->y);
    if (!tape_ok(t)) return;
    input_gradient(t, r, &dy);
    weight_gradient(t, r, &dy);
    param_done(t, r->w);
}

var *op_linear(tape *t, var *x, param *w) {
    if (!tape_ok(t)) return t->poison;
    if (w->rank != 2 || x->value.dim[1] != w->dim[1])
        return op_shape_error(t, "linear", text("%s by %s [%" PRId64 ", %" PRId64 "]",
                                                tensor_shape_text(&x->value), w->name, w->dim[0],
                                                w->dim[1]));
    var *y = tape_var(t, x->value.dim[0], w->dim[0], true);
    linear_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    *r = (linear_record){x, y, w};
    if (tape_runs(t)) {
        const packed_matrix *packed;
        gemm_type type = op_product_type(t, w);
        status s = param_packed(t->params, w, PACK_FORWARD, type, &packed);
        if (s == STATUS_OK)
            s = gemm(&(gemm_call){.type = type, .m = x->value.dim[0], .n = w->dim[0],
                                  .k = w->dim[1], .a = x->value.data,
                                  .a_stride_m = x->value.stride[0], .a_stride_k = 1, .b = packed,
                                  .c = y->value.data, .ldc = w->dim[0]});
        tape_fail(t, s);
    }
    param_used(t, w);
    tape_push(t, "linear", linear_backward, r);
    return tape_ok(t) ? y : t->poison;
}
