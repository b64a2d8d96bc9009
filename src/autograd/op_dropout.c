/* op_dropout.c - elements dropped by counters, alone or on the way into a sum.
 *
 * The mask is a function of the element's number (kernels.h), so backward and a second forward make
 * it again: nothing is saved. In a sum a + dropout(b), the residual branch of a block, masking costs
 * no pass of its own, and a takes the sum's gradient over without a copy.
 *
 * Mind: op_dropout works in place like op_rope. Element (row, column) of a var has number
 * (token + row) * columns + column, the columns being those of the var itself, also of a slice.
 */
#include "autograd/op_internal.h"

typedef struct dropout_record {
    var *a, *b, *y; /* y = a + dropout(b); alone: y = dropout(y), a and b NULL */
    dropout_site site;
} dropout_record;

/* y = base + dropout(x), base NULL = 0; one shape, y may be x or base. */
static void rows_drop(const dropout_site *s, const tensor *x, const tensor *base, const tensor *y) {
    int64_t columns = x->dim[1];
    uint64_t first = (uint64_t)(s->token * columns);
    if (tensor_contiguous(x) && tensor_contiguous(y) && (base == NULL || tensor_contiguous(base))) {
        dropout(x->dtype, &s->mask, first, tensor_count(x), x->data,
                base != NULL ? base->data : NULL, y->data);
        return;
    }
    for (int64_t i = 0; i < x->dim[0]; i++) {
        tensor from = tensor_rows(x, i, 1), to = tensor_rows(y, i, 1), row = {0};
        if (base != NULL) row = tensor_rows(base, i, 1);
        dropout(x->dtype, &s->mask, first + (uint64_t)(i * columns), columns, from.data, row.data,
                to.data);
    }
}

static void dropout_backward(tape *t, void *context) {
    dropout_record *r = context;
    tensor dy = grad_arrived(t, r->y);
    if (dy.data == NULL) return;
    if (tape_runs(t)) rows_drop(&r->site, &dy, NULL, &dy);
    tape_lap(t, "dropout", "backward", work_moved(t, 2 * tensor_count(&dy)));
}

var *op_dropout(tape *t, var *x, const dropout_site *site) {
    if (site->mask.below == 0) return x;
    dropout_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    *r = (dropout_record){.y = x, .site = *site};
    if (tape_runs(t) && !saved_done(t, x)) rows_drop(site, &x->value, NULL, &x->value);
    tape_lap(t, "dropout", "forward", work_moved(t, 2 * tensor_count(&x->value)));
    if (x->needs_grad) tape_push(t, "dropout", dropout_backward, r);
    return x;
}

static void add_dropout_backward(tape *t, void *context) {
    dropout_record *r = context;
    tensor dy = grad_arrived(t, r->y), db = {0};
    bool fresh = false;
    if (dy.data == NULL) return;
    if (r->b->needs_grad) db = grad_target(t, r->b, &fresh);
    if (tape_runs(t) && db.data != NULL) rows_drop(&r->site, &dy, fresh ? NULL : &db, &db);
    grad_pass(t, r->y, r->a);
    tape_lap(t, "add dropout", "backward", work_moved(t, 2 * tensor_count(&dy)));
}

var *op_add_dropout(tape *t, var *a, var *b, const dropout_site *site) {
    if (site->mask.below == 0) return op_add(t, a, b);
    if (!op_same_shape(t, "add dropout", a, b)) return t->poison;
    bool dropped;
    var *y = sum_var(t, a, b, &dropped);
    dropout_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    *r = (dropout_record){a, b, y, *site};
    if (tape_runs(t) && !dropped) rows_drop(site, &b->value, &a->value, &y->value);
    tape_lap(t, "add dropout", "forward", work_moved(t, 3 * tensor_count(&y->value)));
    if (y->needs_grad) tape_push(t, "add dropout", add_dropout_backward, r);
    return y;
}
