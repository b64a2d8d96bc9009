/* op_norm.c - RMSNorm: y_i = w_i x_i / sqrt(mean_j x_j^2 + eps) (Zhang and Sennrich, arXiv
 * 1910.07467).
 *
 * Saved: x and 1 / rms of each row. x may be a slice. dW adds rows in ascending order, each column
 * one chain, so micro-batches continue it bit for bit.
 */
#include "autograd/op_internal.h"

#include <inttypes.h>

typedef struct norm_record {
    var *x, *y;
    param *w;
    void *rstd; /* [rows] */
} norm_record;

static void norm_backward(tape *t, void *context) {
    norm_record *r = context;
    tensor dy = grad_arrived(t, r->y);
    const tensor *x = &r->x->value;
    if (dy.data != NULL) {
        tensor dx = var_grad(t, r->x);
        if (tape_runs(t))
            tape_fail(t, rmsnorm_backward(t->dtype, x->dim[0], x->dim[1], x->data, x->stride[0],
                                          r->w->master, r->rstd, dy.data, dy.stride[0], dx.data,
                                          dx.stride[0], r->w->grad));
        tape_lap(t, "rmsnorm", "backward", work_moved(t, 4 * tensor_count(&dy)));
    }
    grad_release(t, r->y);
    param_done(t, r->w);
}

var *op_rmsnorm(tape *t, var *x, param *w, double eps) {
    if (!tape_ok(t)) return t->poison;
    const tensor *in = &x->value;
    if (w->count != in->dim[1])
        return op_shape_error(
            t, "rmsnorm", text("%s by %s [%" PRId64 "]", tensor_shape_text(in), w->name, w->count));
    var *y = tape_var(t, in->dim[0], in->dim[1], x->needs_grad || w->grad != NULL);
    norm_record *r = tape_alloc(t, sizeof *r);
    void *rstd = tape_alloc(t, (size_t)in->dim[0] * dtype_size(t->dtype));
    if (rstd == NULL) return t->poison;
    saved_wanted(t, x);
    *r = (norm_record){x, y, w, rstd};
    if (tape_runs(t))
        rmsnorm(t->dtype, in->dim[0], in->dim[1], in->data, in->stride[0], w->master, eps,
                y->value.data, y->value.stride[0], rstd);
    tape_lap(t, "rmsnorm", "forward", work_moved(t, 2 * tensor_count(&y->value)));
    param_used(t, w);
    if (y->needs_grad) tape_push(t, "rmsnorm", norm_backward, r);
    return y;
}
