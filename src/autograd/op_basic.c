/* op_basic.c - embedding, views, sums: the ops that move numbers and hardly compute. */
#include "autograd/op_internal.h"

#include <inttypes.h>
#include <string.h>

/* -- embedding -- */

typedef struct embedding_record {
    param *table;
    const int32_t *ids;
    var *y;
} embedding_record;

static void embedding_backward(tape *t, void *context) {
    embedding_record *r = context;
    tensor dy = var_grad(t, r->y);
    if (tape_runs(t) && r->table->grad != NULL)
        scatter_rows(t->dtype, dy.dim[0], dy.dim[1], r->ids, dy.data, r->table->grad);
    param_done(t, r->table);
}

var *op_embedding(tape *t, param *table, const int32_t *ids, int64_t n) {
    if (!tape_ok(t)) return t->poison;
    for (int64_t i = 0; i < n && !t->options.dry; i++)
        if (ids[i] < 0 || ids[i] >= table->dim[0]) {
            tape_fail(t, FAIL(F_TOKEN_RANGE, text("token id %d", ids[i]),
                              text("token %" PRId64 " of the batch", i),
                              text("the vocabulary has %" PRId64 " ids", table->dim[0]),
                              "use the tokenizer that belongs to this model"));
            return t->poison;
        }
    var *y = tape_var(t, n, table->dim[1], true);
    embedding_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    *r = (embedding_record){table, ids, y};
    if (tape_runs(t)) gather_rows(t->dtype, n, table->dim[1], table->master, ids, y->value.data);
    param_used(t, table);
    tape_push(t, "embedding", embedding_backward, r);
    return y;
}

/* -- sums and columns -- */

typedef struct pair_record {
    var *a, *b, *y;
} pair_record;

/* to += from, both [rows, columns] with leading dimensions. */
static void accumulate(tape *t, const tensor *from, const tensor *to) {
    size_t size = dtype_size(t->dtype);
    if (from->stride[0] == from->dim[1] && to->stride[0] == to->dim[1]) {
        vector_accumulate(t->dtype, tensor_count(from), from->data, to->data);
        return;
    }
    for (int64_t i = 0; i < from->dim[0]; i++)
        vector_accumulate(t->dtype, from->dim[1],
                          (char *)from->data + (size_t)(i * from->stride[0]) * size,
                          (char *)to->data + (size_t)(i * to->stride[0]) * size);
}

static void copy(tape *t, const tensor *from, const tensor *to) {
    size_t size = dtype_size(t->dtype), bytes = (size_t)from->dim[1] * size;
    for (int64_t i = 0; i < from->dim[0]; i++)
        memcpy((char *)to->data + (size_t)(i * to->stride[0]) * size,
               (char *)from->data + (size_t)(i * from->stride[0]) * size, bytes);
}

static tensor columns(tensor whole, int64_t first, int64_t n, size_t size) {
    if (whole.data != NULL) whole.data = (char *)whole.data + (size_t)first * size;
    whole.dim[1] = n;
    return whole;
}

static void add_backward(tape *t, void *context) {
    pair_record *r = context;
    tensor dy = var_grad(t, r->y), da = var_grad(t, r->a), db = var_grad(t, r->b);
    if (!tape_runs(t)) return;
    if (da.data != NULL) accumulate(t, &dy, &da);
    if (db.data != NULL) accumulate(t, &dy, &db);
}

var *op_add(tape *t, var *a, var *b) {
    if (!op_same_shape(t, "add", a, b)) return t->poison;
    var *y = tape_var(t, a->value.dim[0], a->value.dim[1], a->needs_grad || b->needs_grad);
    pair_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    *r = (pair_record){a, b, y};
    if (tape_runs(t)) {
        if (tensor_contiguous(&a->value) && tensor_contiguous(&b->value)) {
            vector_add(t->dtype, tensor_count(&a->value), a->value.data, b->value.data,
                       y->value.data);
        } else {
            copy(t, &a->value, &y->value);
            accumulate(t, &b->value, &y->value);
        }
    }
    if (y->needs_grad) tape_push(t, "add", add_backward, r);
    return y;
}

var *op_slice(tape *t, var *x, int64_t first, int64_t n) {
    if (!tape_ok(t)) return t->poison;
    if (first < 0 || n < 0 || first + n > x->value.dim[1])
        return op_shape_error(t, "slice", text("columns %" PRId64 " .. %" PRId64 " of %s", first,
                                               first + n, tensor_shape_text(&x->value)));
    var *y = tape_input(t, NULL, x->value.dim[0], n, false);
    if (y == t->poison) return y;
    y->needs_grad = x->needs_grad;
    y->value = columns(x->value, first, n, dtype_size(t->dtype));
    y->grad = y->value;
    y->grad.data = NULL;
    y->parent = x;
    y->column = first;
    return y;
}

static void concat_backward(tape *t, void *context) {
    pair_record *r = context;
    tensor dy = var_grad(t, r->y), da = var_grad(t, r->a), db = var_grad(t, r->b);
    if (!tape_runs(t)) return;
    size_t size = dtype_size(t->dtype);
    tensor left = columns(dy, 0, r->a->value.dim[1], size);
    tensor right = columns(dy, r->a->value.dim[1], r->b->value.dim[1], size);
    if (da.data != NULL) accumulate(t, &left, &da);
    if (db.data != NULL) accumulate(t, &right, &db);
}

var *op_concat(tape *t, var *a, var *b) {
    if (!tape_ok(t)) return t->poison;
    if (a->value.dim[0] != b->value.dim[0])
        return op_shape_error(t, "concat", text("%s beside %s", tensor_shape_text(&a->value),
                                                tensor_shape_text(&b->value)));
    int64_t n = a->value.dim[1] + b->value.dim[1];
    var *y = tape_var(t, a->value.dim[0], n, a->needs_grad || b->needs_grad);
    pair_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    *r = (pair_record){a, b, y};
    if (tape_runs(t)) {
        size_t size = dtype_size(t->dtype);
        tensor left = columns(y->value, 0, a->value.dim[1], size);
        tensor right = columns(y->value, a->value.dim[1], b->value.dim[1], size);
        copy(t, &a->value, &left);
        copy(t, &b->value, &right);
    }
    if (y->needs_grad) tape_push(t, "concat", concat_backward, r);
    return y;
}

/* -- rows -- */

typedef struct rows_record {
    var *x, *y;
    const int32_t *rows;
} rows_record;

static void take_backward(tape *t, void *context) {
    rows_record *r = context;
    tensor dy = var_grad(t, r->y), dx = var_grad(t, r->x);
    if (!tape_runs(t) || dx.data == NULL) return;
    for (int64_t i = 0; i < dy.dim[0]; i++) {
        tensor from = tensor_rows(&dy, i, 1), to = tensor_rows(&dx, r->rows[i], 1);
        accumulate(t, &from, &to);
    }
}

var *op_take_rows(tape *t, var *x, const int32_t *rows, int64_t n) {
    if (!tape_ok(t)) return t->poison;
    for (int64_t i = 0; i < n; i++)
        if (rows[i] < 0 || rows[i] >= x->value.dim[0])
            return op_shape_error(t, "take_rows", text("row %d of %s", rows[i],
                                                       tensor_shape_text(&x->value)));
    var *y = tape_var(t, n, x->value.dim[1], x->needs_grad);
    rows_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    *r = (rows_record){x, y, rows};
    for (int64_t i = 0; i < n && tape_runs(t); i++) {
        tensor from = tensor_rows(&x->value, rows[i], 1), to = tensor_rows(&y->value, i, 1);
        copy(t, &from, &to);
    }
    if (y->needs_grad) tape_push(t, "take_rows", take_backward, r);
    return y;
}
