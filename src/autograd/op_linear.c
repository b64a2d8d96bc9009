/* op_linear.c - y = x W^T, the product everything is made of.
 *
 * x [rows, in] (any leading dimension), W [out, in], y [rows, out]. Backward is two functions,
 * input gradient dX += dY W and weight gradient dW += dY^T X, so that a schedule may run them
 * apart.
 *
 * Saved: x. W is used through its packed copies; in dW the activations are packed on the way. Each
 * gradient entry is one chain of fused multiply-adds that continues from what the gradient holds,
 * so two micro-batches one after the other give the bits of one batch of both (f32 and f64; bf16
 * where the first has a multiple of 32 rows, bf16-dot where it is even; docs/numerics.md 2).
 *
 * Mind: bf16 rounds the operands of all three products; routers never take it.
 */
#include "autograd/op_internal.h"

#include <inttypes.h>

gemm_type op_product_type(const tape *t, const param *w) {
    if (t->dtype == DTYPE_F64) return GEMM_F64;
    return w->kind != PARAM_ROUTER ? t->options.products : GEMM_F32;
}

profile_work work_product(gemm_type type, int64_t rows, int64_t n, int64_t k, int64_t groups,
                          bool into_weights) {
    bool half = type == GEMM_BF16 || type == GEMM_BF16_DOT;
    double weights = (double)groups * (double)n * (double)k;
    return (profile_work){.unit = half ? PROFILE_BF16 : PROFILE_F32,
                          .flops = 2.0 * (double)rows * (double)n * (double)k,
                          .bytes =
                              4.0 * (double)rows * (double)(n + k) + weights * (into_weights ? 8
                                                                                : half       ? 2
                                                                                             : 4)};
}

/* Products of routers and heads have rows of their own. */
static const char *product_name(const param *w) {
    return w->kind == PARAM_ROUTER ? "router" : w->kind == PARAM_EMBEDDING ? "head" : "linear";
}

static void product_lap(const tape *t, const param *w, const char *part, int64_t rows,
                        bool into_weights) {
    tape_lap(t, product_name(w), part,
             work_product(op_product_type(t, w), rows, w->dim[0], w->dim[1], 1, into_weights));
}

status op_packed(tape *t, param *w, int direction, const packed_matrix **packed) {
    uint64_t before = w->packed_version[direction];
    gemm_type type = op_product_type(t, w);
    TRY(param_packed(t->params, w, direction, type, packed));
    if (w->packed_version[direction] != before)
        tape_lap(t, "pack", "weights",
                 (profile_work){PROFILE_BYTES, 0,
                                (double)w->count * (type == GEMM_F32 ? 4 + 4 : 4 + 2)});
    return STATUS_OK;
}

status linear_forward(tape *t, param *w, const tensor *x, const tensor *y) {
    const packed_matrix *packed;
    TRY(op_packed(t, w, PACK_FORWARD, &packed));
    TRY(gemm(&(gemm_call){.type = packed->type,
                          .m = x->dim[0],
                          .n = w->dim[0],
                          .k = w->dim[1],
                          .a = x->data,
                          .a_stride_m = x->stride[0],
                          .a_stride_k = 1,
                          .b = packed,
                          .c = y->data,
                          .ldc = y->stride[0]}));
    product_lap(t, w, "forward", x->dim[0], false);
    return STATUS_OK;
}

status linear_input_gradient(tape *t, param *w, const tensor *dy, const tensor *dx, bool fresh) {
    const packed_matrix *packed;
    TRY(op_packed(t, w, PACK_BACKWARD, &packed));
    TRY(gemm(&(gemm_call){.type = packed->type,
                          .m = dy->dim[0],
                          .n = w->dim[1],
                          .k = w->dim[0],
                          .a = dy->data,
                          .a_stride_m = dy->stride[0],
                          .a_stride_k = 1,
                          .b = packed,
                          .c = dx->data,
                          .ldc = dx->stride[0],
                          .accumulate = !fresh}));
    product_lap(t, w, "dX", dy->dim[0], false);
    return STATUS_OK;
}

status linear_weight_gradient(tape *t, param *w, const tensor *dy, const tensor *x) {
    if (w->grad == NULL) return STATUS_OK;
    TRY(gemm(&(gemm_call){.type = op_product_type(t, w),
                          .m = w->dim[0],
                          .n = w->dim[1],
                          .k = dy->dim[0],
                          .a = dy->data,
                          .a_stride_m = 1,
                          .a_stride_k = dy->stride[0],
                          .b_raw = x->data,
                          .b_stride_n = 1,
                          .b_stride_k = x->stride[0],
                          .c = w->grad,
                          .ldc = w->dim[1],
                          .accumulate = true}));
    product_lap(t, w, "dW", dy->dim[0], true);
    return STATUS_OK;
}

typedef struct linear_record {
    var *x, *y;
    param *w;
} linear_record;

static void input_gradient(tape *t, const linear_record *r, const tensor *dy) {
    bool fresh;
    if (!r->x->needs_grad) return;
    tensor dx = grad_target(t, r->x, &fresh);
    if (tape_runs(t)) tape_fail(t, linear_input_gradient(t, r->w, dy, &dx, fresh));
}

static void weight_gradient(tape *t, const linear_record *r, const tensor *dy) {
    if (tape_runs(t)) tape_fail(t, linear_weight_gradient(t, r->w, dy, &r->x->value));
}

static void linear_backward(tape *t, void *context) {
    linear_record *r = context;
    tensor dy = grad_arrived(t, r->y);
    if (dy.data != NULL) {
        input_gradient(t, r, &dy);
        weight_gradient(t, r, &dy);
    }
    grad_release(t, r->y);
    param_done(t, r->w);
}

var *op_linear(tape *t, var *x, param *w) {
    if (!tape_ok(t)) return t->poison;
    if (w->rank != 2 || x->value.dim[1] != w->dim[1])
        return op_shape_error(t, "linear",
                              text("%s by %s [%" PRId64 ", %" PRId64 "]",
                                   tensor_shape_text(&x->value), w->name, w->dim[0], w->dim[1]));
    bool done;
    var *y = saved_var(t, x->value.dim[0], w->dim[0], x->needs_grad || w->grad != NULL,
                       product_class(w->dim[1], w->dim[0]), &done);
    saved_wanted(t, x);
    linear_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    *r = (linear_record){x, y, w};
    if (tape_runs(t) && !done) tape_fail(t, linear_forward(t, w, &x->value, &y->value));
    param_used(t, w);
    if (y->needs_grad) tape_push(t, "linear", linear_backward, r);
    return tape_ok(t) ? y : t->poison;
}
