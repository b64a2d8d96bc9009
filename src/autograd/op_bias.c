/* op_bias.c - y += b, the bias of a projection (Qwen2's queries, keys and values).
 *
 * In place: the product before it is read by nobody else. Backward adds the rows of the gradient to
 * the bias, rows ascending, one chain per column that continues over micro-batches; the gradient of
 * y goes on to the product as it is. Saved: nothing but pointers.
 */
#include "autograd/op_internal.h"

#include <inttypes.h>

typedef struct bias_record {
    var *y;
    param *b;
} bias_record;

/* Every row += one, or one += every row, rows ascending. */
static void each_row(const tensor *rows, void *one, bool into_rows) {
    size_t stride = (size_t)rows->stride[0] * dtype_size(rows->dtype);
    for (int64_t i = 0; i < rows->dim[0]; i++) {
        char *row = (char *)rows->data + (size_t)i * stride;
        vector_accumulate(rows->dtype, rows->dim[1], into_rows ? one : row, into_rows ? row : one);
    }
}

static void bias_backward(tape *t, void *context) {
    bias_record *r = context;
    tensor dy = grad_arrived(t, r->y);
    if (tape_runs(t) && dy.data != NULL && r->b->grad != NULL) each_row(&dy, r->b->grad, false);
    param_done(t, r->b);
}

var *op_bias(tape *t, var *y, param *b) {
    if (!tape_ok(t)) return t->poison;
    if (b->count != y->value.dim[1])
        return op_shape_error(
            t, "bias",
            text("%s by %s [%" PRId64 "]", tensor_shape_text(&y->value), b->name, b->count));
    bias_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    *r = (bias_record){y, b};
    if (tape_runs(t) && !saved_done(t, y)) each_row(&y->value, b->master, true);
    param_used(t, b);
    y->needs_grad = y->needs_grad || b->grad != NULL;
    if (y->needs_grad) tape_push(t, "bias", bias_backward, r);
    return tape_ok(t) ? y : t->poison;
}
