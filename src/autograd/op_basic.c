/* op_basic.c - embedding, sums, columns and rows: the ops that move numbers and hardly compute.
 *
 * Saved: nothing but pointers. A slice is a window on its parent's value and gradient and leaves no
 * record; a sum hands its gradient on to its second operand instead of copying it. The embedding's
 * gradient adds rows in ascending order (scatter_rows), so its chains continue from micro-batch to
 * micro-batch.
 *
 * Mind: take_rows copies single rows and is meant for the few rows whose logits are wanted.
 */
#include "autograd/op_internal.h"

#include <inttypes.h>
#include <string.h>

/* -- shapes -- */

var *op_shape_error(tape *t, const char *op, const char *what) {
    tape_fail(t, FAIL(F_SHAPE, what, text("op %s", op), "the operands do not fit each other",
                      "check the model configuration"));
    return t->poison;
}

bool op_same_shape(tape *t, const char *op, const var *a, const var *b) {
    if (!tape_ok(t)) return false;
    if (a->value.dim[0] == b->value.dim[0] && a->value.dim[1] == b->value.dim[1]) return true;
    op_shape_error(t, op,
                   text("%s and %s", tensor_shape_text(&a->value), tensor_shape_text(&b->value)));
    return false;
}

/* -- rows with a leading dimension -- */

tensor tensor_columns(tensor whole, int64_t first, int64_t n) {
    if (whole.data != NULL)
        whole.data = (char *)whole.data + (size_t)first * dtype_size(whole.dtype);
    whole.dim[1] = n;
    return whole;
}

static char *row_at(const tensor *x, int64_t row) {
    return (char *)x->data + (size_t)(row * x->stride[0]) * dtype_size(x->dtype);
}

void rows_copy(const tensor *from, const tensor *to) {
    size_t bytes = (size_t)from->dim[1] * dtype_size(from->dtype);
    if (tensor_contiguous(from) && tensor_contiguous(to)) {
        vector_copy(from->dtype, tensor_count(from), from->data, to->data);
        return;
    }
    for (int64_t i = 0; i < from->dim[0]; i++)
        memcpy(row_at(to, i), row_at(from, i), bytes);
}

void rows_add(const tensor *from, const tensor *to) {
    if (tensor_contiguous(from) && tensor_contiguous(to)) {
        vector_accumulate(from->dtype, tensor_count(from), from->data, to->data);
        return;
    }
    for (int64_t i = 0; i < from->dim[0]; i++)
        vector_accumulate(from->dtype, from->dim[1], row_at(from, i), row_at(to, i));
}

/* -- embedding -- */

typedef struct embedding_record {
    param *table;
    const int32_t *ids;
    var *y;
} embedding_record;

static void embedding_backward(tape *t, void *context) {
    embedding_record *r = context;
    tensor dy = grad_arrived(t, r->y);
    if (tape_runs(t) && dy.data != NULL)
        scatter_rows(t->dtype, dy.dim[0], dy.dim[1], r->ids, dy.data, r->table->grad);
    if (dy.data != NULL) tape_lap(t, "embedding", "backward", work_moved(t, 3 * tensor_count(&dy)));
    grad_release(t, r->y);
    param_done(t, r->table);
}

static status ids_check(const param *table, const int32_t *ids, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= table->dim[0])
            return FAIL(F_TOKEN_RANGE,
                        text("token id %" PRId32 " is not in the vocabulary", ids[i]),
                        text("token %" PRId64 " of the batch", i),
                        text("%s has rows for ids 0 to %" PRId64, table->name, table->dim[0] - 1),
                        "use the tokenizer and data this model was made for");
    return STATUS_OK;
}

var *op_embedding(tape *t, param *table, const int32_t *ids, int64_t n) {
    var *y = tape_var(t, n, table->dim[1], table->grad != NULL);
    embedding_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    *r = (embedding_record){table, ids, y};
    if (tape_runs(t)) tape_fail(t, ids_check(table, ids, n));
    if (tape_runs(t)) param_gather(t->params, table, n, ids, y->value.data);
    tape_lap(t, "embedding", "forward", work_moved(t, 2 * tensor_count(&y->value)));
    param_used(t, table);
    if (y->needs_grad) tape_push(t, "embedding", embedding_backward, r);
    return tape_ok(t) ? y : t->poison;
}

/* -- sums -- */

typedef struct pair_record {
    var *a, *b, *y;
} pair_record;

static void add_backward(tape *t, void *context) {
    pair_record *r = context;
    tensor dy = grad_arrived(t, r->y), da = {0};
    if (dy.data == NULL) return;
    if (r->a->needs_grad) da = var_grad(t, r->a);
    if (tape_runs(t) && da.data != NULL) rows_add(&dy, &da);
    grad_pass(t, r->y, r->b);
    tape_lap(t, "add", "backward", work_moved(t, 3 * tensor_count(&dy)));
}

static bool is_dropped(const var *v) {
    return v->value.data == NULL && v->value.dim[0] > 0 && v->value.dim[1] > 0;
}

var *sum_var(tape *t, var *a, var *b, bool *dropped) {
    bool gradient = a->needs_grad || b->needs_grad;
    int64_t rows = a->value.dim[0], columns = a->value.dim[1];
    *dropped = is_dropped(a) || is_dropped(b);
    var *y = *dropped ? tape_input(t, NULL, rows, columns, gradient)
                      : tape_var(t, rows, columns, gradient);
    if (tape_ok(t)) y->term[0] = a, y->term[1] = b;
    return y;
}

var *op_add(tape *t, var *a, var *b) {
    if (!op_same_shape(t, "add", a, b)) return t->poison;
    bool dropped;
    var *y = sum_var(t, a, b, &dropped);
    pair_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    *r = (pair_record){a, b, y};
    if (dropped) {
        /* nobody reads a sum of values that nobody reads (recompute.c) */
    } else if (tape_runs(t) && tensor_contiguous(&a->value) && tensor_contiguous(&b->value)) {
        vector_add(t->dtype, tensor_count(&y->value), a->value.data, b->value.data, y->value.data);
    } else if (tape_runs(t)) {
        rows_copy(&a->value, &y->value);
        rows_add(&b->value, &y->value);
    }
    tape_lap(t, "add", "forward", work_moved(t, 3 * tensor_count(&y->value)));
    if (y->needs_grad) tape_push(t, "add", add_backward, r);
    return y;
}

/* -- columns -- */

var *op_slice(tape *t, var *x, int64_t first, int64_t n) {
    if (!tape_ok(t)) return t->poison;
    if (first < 0 || n < 0 || first > x->value.dim[1] || n > x->value.dim[1] - first)
        return op_shape_error(t, "slice",
                              text("%" PRId64 " columns from %" PRId64 " of %s", n, first,
                                   tensor_shape_text(&x->value)));
    var *y = tape_input(t, NULL, x->value.dim[0], n, x->needs_grad);
    if (y == t->poison) return y;
    y->value = tensor_columns(x->value, first, n);
    y->parent = x;
    y->column = first;
    return y;
}

static void concat_backward(tape *t, void *context) {
    pair_record *r = context;
    tensor dy = grad_arrived(t, r->y);
    if (dy.data == NULL) return;
    tensor da = var_grad(t, r->a), db = var_grad(t, r->b);
    tensor left = tensor_columns(dy, 0, r->a->value.dim[1]);
    tensor right = tensor_columns(dy, r->a->value.dim[1], r->b->value.dim[1]);
    if (tape_runs(t) && da.data != NULL) rows_add(&left, &da);
    if (tape_runs(t) && db.data != NULL) rows_add(&right, &db);
    grad_release(t, r->y);
    tape_lap(t, "concat", "backward", work_moved(t, 3 * tensor_count(&dy)));
}

var *op_concat(tape *t, var *a, var *b) {
    if (!tape_ok(t)) return t->poison;
    int64_t rows = a->value.dim[0], n_a = a->value.dim[1], n_b = b->value.dim[1];
    if (rows != b->value.dim[0])
        return op_shape_error(
            t, "concat",
            text("%s beside %s", tensor_shape_text(&a->value), tensor_shape_text(&b->value)));
    var *y = tape_var(t, rows, n_a + n_b, a->needs_grad || b->needs_grad);
    pair_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    *r = (pair_record){a, b, y};
    saved_wanted(t, a);
    saved_wanted(t, b);
    if (tape_runs(t)) {
        tensor left = tensor_columns(y->value, 0, n_a), right = tensor_columns(y->value, n_a, n_b);
        rows_copy(&a->value, &left);
        rows_copy(&b->value, &right);
    }
    tape_lap(t, "concat", "forward", work_moved(t, 2 * tensor_count(&y->value)));
    if (y->needs_grad) tape_push(t, "concat", concat_backward, r);
    return y;
}

/* -- rows -- */

typedef struct rows_record {
    var *x, *y;
    const int32_t *rows;
} rows_record;

static void take_rows_backward(tape *t, void *context) {
    rows_record *r = context;
    tensor dy = grad_arrived(t, r->y);
    if (dy.data == NULL) return;
    tensor dx = var_grad(t, r->x);
    for (int64_t i = 0; i < dy.dim[0] && tape_runs(t); i++) {
        tensor from = tensor_rows(&dy, i, 1), to = tensor_rows(&dx, r->rows[i], 1);
        rows_add(&from, &to);
    }
    grad_release(t, r->y);
}

static status rows_check(const tensor *x, const int32_t *rows, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (rows[i] < 0 || rows[i] >= x->dim[0])
            return FAIL(F_SHAPE, text("row %" PRId32 " of %s", rows[i], tensor_shape_text(x)),
                        "op take_rows", "the batch asks for a token it does not have",
                        "ask for rows of this batch");
    return STATUS_OK;
}

var *op_take_rows(tape *t, var *x, const int32_t *rows, int64_t n) {
    var *y = tape_var(t, n, x->value.dim[1], x->needs_grad);
    rows_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    *r = (rows_record){x, y, rows};
    saved_wanted(t, x);
    if (tape_runs(t)) tape_fail(t, rows_check(&x->value, rows, n));
    for (int64_t i = 0; i < n && tape_runs(t); i++) {
        tensor from = tensor_rows(&x->value, rows[i], 1), to = tensor_rows(&y->value, i, 1);
        rows_copy(&from, &to);
    }
    if (y->needs_grad) tape_push(t, "take_rows", take_rows_backward, r);
    return tape_ok(t) ? y : t->poison;
}
