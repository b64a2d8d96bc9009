/* op_head_norm.c - RMSNorm of each head by one weight (Qwen3 on queries and keys, before rotation).
 *
 * x is [rows, heads * n], often a slice of a fused projection; w [n] serves every head. A head is a
 * column block of x, so the op is one RMSNorm (op_norm.c) per head. dw adds heads ascending, in a
 * head rows ascending. Saved: x and 1 / rms of each row, [heads, rows].
 *
 * Mind: with several heads the chains of dw go through all rows once per head, so two micro-batches
 * do not continue them bit for bit.
 */
#include "autograd/op_internal.h"

#include <inttypes.h>

typedef struct head_norm_record {
    var *x, *y;
    param *w;
    char *rstd; /* [heads, rows] */
} head_norm_record;

static void *rstd_of(const head_norm_record *r, int64_t head) {
    const tensor *x = &r->x->value;
    return r->rstd + (size_t)(head * x->dim[0]) * dtype_size(x->dtype);
}

static status heads_backward(tape *t, const head_norm_record *r, const tensor *dy,
                             const tensor *dx) {
    int64_t n = r->w->count, heads = dy->dim[1] / n;
    for (int64_t h = 0; h < heads; h++) {
        tensor x = tensor_columns(r->x->value, h * n, n), from = tensor_columns(*dy, h * n, n);
        tensor to = tensor_columns(*dx, h * n, n);
        TRY(rmsnorm_backward(t->dtype, x.dim[0], n, x.data, x.stride[0], r->w->master,
                             rstd_of(r, h), from.data, from.stride[0], to.data, to.stride[0],
                             r->w->grad));
    }
    return STATUS_OK;
}

static void head_norm_backward(tape *t, void *context) {
    head_norm_record *r = context;
    tensor dy = grad_arrived(t, r->y);
    if (dy.data != NULL) {
        tensor dx = var_grad(t, r->x);
        if (tape_runs(t)) tape_fail(t, heads_backward(t, r, &dy, &dx));
    }
    grad_release(t, r->y);
    param_done(t, r->w);
}

var *op_head_norm(tape *t, var *x, param *w, double eps) {
    if (!tape_ok(t)) return t->poison;
    const tensor *in = &x->value;
    if (in->dim[1] % w->count != 0)
        return op_shape_error(
            t, "head_norm",
            text("%s by %s [%" PRId64 "]", tensor_shape_text(in), w->name, w->count));
    int64_t heads = in->dim[1] / w->count;
    var *y = tape_var(t, in->dim[0], in->dim[1], x->needs_grad || w->grad != NULL);
    head_norm_record *r = tape_alloc(t, sizeof *r);
    char *rstd = tape_alloc(t, (size_t)(heads * in->dim[0]) * dtype_size(t->dtype));
    saved_wanted(t, x);
    if (rstd == NULL) return t->poison;
    *r = (head_norm_record){x, y, w, rstd};
    for (int64_t h = 0; h < heads && tape_runs(t); h++) {
        tensor from = tensor_columns(*in, h * w->count, w->count);
        tensor to = tensor_columns(y->value, h * w->count, w->count);
        rmsnorm(t->dtype, in->dim[0], w->count, from.data, from.stride[0], w->master, eps, to.data,
                to.stride[0], rstd_of(r, h));
    }
    param_used(t, w);
    if (y->needs_grad) tape_push(t, "head_norm", head_norm_backward, r);
    return y;
}
