/* op_heads.c - products by the blocks of rows that a matrix has for each head; inference only.
 *
 * Latent attention (DeepSeek-V2, arXiv 2405.04434, appendix C) makes keys and values of a head out of one
 * latent c per position: k = W_K c, v = W_V c, both rows of one matrix w [H (n + v), kr], key rows first
 * in each head. Where the latents are what is stored, the same scores and outputs come from
 *
 *     q . (W_K c) = (W_K^T q) . c          op_head_keys:   [n, H (n + r)] -> [n, H (kr + r)]
 *     sum p (W_V c) = W_V (sum p c)        op_head_values: [n, H kr]      -> [n, H v]
 *
 * so one token costs no product with the latents of its past. The r rotated columns of each head pass
 * through the first unchanged.
 *
 * How: one grouped product over the heads, with packed copies of their blocks (param_head_blocks).
 *
 * Mind: no record, no gradient.
 */
#include "autograd/op_internal.h"

#include <inttypes.h>

static bool heads_fit(tape *t, const var *x, const param *w, const head_blocks *h,
                      int64_t columns) {
    if (!tape_ok(t)) return false;
    if (w->rank == 2 && w->dim[0] == h->n_head * (h->key_rows + h->value_rows) &&
        x->value.dim[1] == columns)
        return true;
    op_shape_error(
        t, "heads",
        text("%s by %s for %" PRId64 " heads", tensor_shape_text(&x->value), w->name, h->n_head));
    return false;
}

/* One product per head: columns [h * from, ..) of x by blocks[h] into columns [h * to, ..) of y. */
static void head_products(tape *t, const var *x, const var *y, const packed_matrix *blocks,
                          int64_t n_head, int64_t from, int64_t to) {
    gemm_call *calls = tape_alloc(t, (size_t)n_head * sizeof *calls);
    size_t size = dtype_size(t->dtype);
    for (int64_t h = 0; calls != NULL && h < n_head; h++)
        calls[h] = (gemm_call){.type = blocks[h].type,
                               .m = x->value.dim[0],
                               .n = blocks[h].n,
                               .k = blocks[h].k,
                               .a = (const char *)x->value.data + (size_t)(h * from) * size,
                               .a_stride_m = x->value.stride[0],
                               .a_stride_k = 1,
                               .b = &blocks[h],
                               .c = (char *)y->value.data + (size_t)(h * to) * size,
                               .ldc = y->value.stride[0]};
    if (calls != NULL) tape_fail(t, gemm_grouped(calls, (int)n_head));
}

static void head_lap(const tape *t, const param *w, const char *part, int64_t rows, int64_t n,
                     const head_blocks *h) {
    tape_lap(t, "heads", part,
             work_product(op_product_type(t, w), rows, n, w->dim[1], h->n_head, false));
}

var *op_head_keys(tape *t, var *x, param *w, const head_blocks *h) {
    int64_t from = h->key_rows + h->rotated, to = w->dim[1] + h->rotated;
    const packed_matrix *blocks;
    if (!heads_fit(t, x, w, h, h->n_head * from)) return t->poison;
    var *y = tape_var(t, x->value.dim[0], h->n_head * to, false);
    if (!tape_runs(t)) return tape_ok(t) ? y : t->poison;
    tape_fail(t, param_head_blocks(t->params, w, h, op_product_type(t, w), &blocks));
    if (!tape_ok(t)) return t->poison;
    head_products(t, x, y, blocks, h->n_head, from, to);
    for (int64_t i = 0; i < h->n_head; i++) {
        tensor old = tensor_columns(x->value, i * from + h->key_rows, h->rotated);
        tensor new = tensor_columns(y->value, i * to + w->dim[1], h->rotated);
        rows_copy(&old, &new);
    }
    head_lap(t, w, "keys", x->value.dim[0], h->key_rows, h);
    return tape_ok(t) ? y : t->poison;
}

var *op_head_values(tape *t, var *x, param *w, const head_blocks *h) {
    const packed_matrix *blocks;
    if (!heads_fit(t, x, w, h, h->n_head * w->dim[1])) return t->poison;
    var *y = tape_var(t, x->value.dim[0], h->n_head * h->value_rows, false);
    if (!tape_runs(t)) return tape_ok(t) ? y : t->poison;
    tape_fail(t, param_head_blocks(t->params, w, h, op_product_type(t, w), &blocks));
    if (!tape_ok(t)) return t->poison;
    head_products(t, x, y, blocks + h->n_head, h->n_head, w->dim[1], h->value_rows);
    head_lap(t, w, "values", x->value.dim[0], h->value_rows, h);
    return tape_ok(t) ? y : t->poison;
}
