/* op_swiglu.c - silu(gate) * up, the gate of the feed-forward network (Shazeer, arXiv 2002.05202).
 *
 * gate and up are the halves of one [rows, 2f] array, as one product made them. Saved: that array;
 * silu is computed again in backward. The output is kept by its reader, the down projection.
 */
#include "autograd/op_internal.h"

typedef struct swiglu_record {
    var *x, *y;
} swiglu_record;

static void op_swiglu_backward(tape *t, void *context) {
    swiglu_record *r = context;
    tensor dy = grad_arrived(t, r->y);
    if (dy.data == NULL) return;
    tensor dx = var_grad(t, r->x);
    int64_t f = dy.dim[1];
    tensor up = tensor_columns(r->x->value, f, f), d_up = tensor_columns(dx, f, f);
    if (tape_runs(t))
        swiglu_backward(t->dtype, dy.dim[0], f, r->x->value.data, up.data, up.stride[0], dy.data,
                        dx.data, d_up.data, dx.stride[0]);
    grad_release(t, r->y);
    tape_lap(t, "swiglu", "backward", work_moved(t, 7 * tensor_count(&dy)));
}

var *op_swiglu(tape *t, var *x) {
    if (!tape_ok(t)) return t->poison;
    if (x->value.dim[1] % 2 != 0)
        return op_shape_error(t, "swiglu",
                              text("%s has no two halves", tensor_shape_text(&x->value)));
    int64_t rows = x->value.dim[0], f = x->value.dim[1] / 2;
    var *y = tape_var(t, rows, f, x->needs_grad);
    swiglu_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    *r = (swiglu_record){x, y};
    saved_wanted(t, x);
    tensor up = tensor_columns(x->value, f, f);
    if (tape_runs(t))
        swiglu(t->dtype, rows, f, x->value.data, up.data, up.stride[0], y->value.data);
    tape_lap(t, "swiglu", "forward", work_moved(t, 3 * tensor_count(&y->value)));
    if (y->needs_grad) tape_push(t, "swiglu", op_swiglu_backward, r);
    return y;
}
