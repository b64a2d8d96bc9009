/* op_router.c - scores, choice, weights and the sequence-wise balance loss of a routed layer.
 *
 *     z = W x;  s = sigmoid(z) or softmax(z);  chosen = top-k of s + b;  g = c s / (sum chosen s)
 *
 * (DeepSeek-V3, arXiv 2412.19437, 2.1.2.) The choice is a recorded input (tape_choice): it has no
 * gradient, nor has the bias b; gradients flow through the chosen s, their normaliser and the balance
 * loss L = alpha sum_i f_i P_i, per sequence, f_i = E / (K T) count_i, P_i = mean_t s_it / sum_j s_jt.
 * Per-row arithmetic is f64 whatever the tape's type, in plain loops: E is small.
 */
#include "autograd/op_internal.h"

#include <inttypes.h>
#include <string.h>

typedef struct router_record {
    var *x, *weight;
    param *router;
    router_options o;
    const int32_t *ids;
    void *score; /* [rows, E] */
    const int64_t *start;
    int n_sequences;
    double *share; /* [n_sequences, E] f_i, NULL without balance loss */
} router_record;

static double get(const tape *t, const void *x, int64_t i) {
    return t->dtype == DTYPE_F64 ? ((const double *)x)[i] : (double)((const float *)x)[i];
}
static void put(const tape *t, void *x, int64_t i, double value) {
    if (t->dtype == DTYPE_F64)
        ((double *)x)[i] = value;
    else
        ((float *)x)[i] = (float)value;
}

static double chosen_sum(const tape *t, const router_record *r, int64_t row) {
    double sum = 0;
    for (int j = 0; j < r->o.n_used; j++)
        sum += get(t, r->score, row * r->o.n_expert + r->ids[row * r->o.n_used + j]);
    return sum + 1e-20;
}

static void weights_fill(const tape *t, const router_record *r, int64_t rows) {
    for (int64_t i = 0; i < rows; i++) {
        double factor = r->o.scale / (r->o.normalise ? chosen_sum(t, r, i) : 1.0);
        for (int j = 0; j < r->o.n_used; j++) {
            int64_t at = i * r->o.n_used + j;
            put(t, r->weight->value.data, at,
                factor * get(t, r->score, i * r->o.n_expert + r->ids[at]));
        }
    }
}

static double score_sum(const tape *t, const router_record *r, int64_t row) {
    double sum = 0;
    for (int e = 0; e < r->o.n_expert; e++) sum += get(t, r->score, row * r->o.n_expert + e);
    return sum;
}

/* Fills f and returns alpha sum f P over all sequences. */
static double balance_loss(const tape *t, const router_record *r) {
    int n = r->o.n_expert;
    double loss = 0;
    for (int q = 0; q < r->n_sequences; q++) {
        int64_t length = r->start[q + 1] - r->start[q];
        double *f = r->share + (int64_t)q * n;
        memset(f, 0, (size_t)n * sizeof *f);
        if (length == 0) continue;
        double one = (double)n / ((double)r->o.n_used * (double)length);
        for (int64_t i = r->start[q] * r->o.n_used; i < r->start[q + 1] * r->o.n_used; i++)
            f[r->ids[i]] += 1;
        for (int e = 0; e < n; e++) f[e] *= one;
        for (int64_t i = r->start[q]; i < r->start[q + 1]; i++) {
            double sum = score_sum(t, r, i), dot = 0;
            for (int e = 0; e < n; e++) dot += f[e] * get(t, r->score, i * n + e);
            loss += dot / sum / (double)length;
        }
    }
    return r->o.balance_alpha * loss;
}

/* ds of one row from the weights' gradient. */
static void weight_back(const tape *t, const router_record *r, int64_t row, const void *dweight,
                        double *ds) {
    int k = r->o.n_used;
    const int32_t *ids = r->ids + row * k;
    double sum = r->o.normalise ? chosen_sum(t, r, row) : 1.0, dot = 0;
    for (int j = 0; j < k && r->o.normalise; j++)
        dot += get(t, dweight, row * k + j) * get(t, r->score, row * r->o.n_expert + ids[j]);
    for (int j = 0; j < k; j++)
        ds[ids[j]] += r->o.scale * (get(t, dweight, row * k + j) - dot / sum) / sum;
}

static void balance_back(const tape *t, const router_record *r, int64_t row, int q, double *ds) {
    int n = r->o.n_expert;
    const double *f = r->share + (int64_t)q * n;
    double factor = r->o.balance_alpha * r->o.balance_scale / (double)(r->start[q + 1] - r->start[q]);
    double sum = score_sum(t, r, row), dot = 0;
    for (int e = 0; e < n; e++) dot += f[e] * get(t, r->score, row * n + e);
    for (int e = 0; e < n; e++) ds[e] += factor * (f[e] - dot / sum) / sum;
}

/* dz of one row from ds, through sigmoid or softmax. */
static void score_back(const tape *t, const router_record *r, int64_t row, const double *ds,
                       void *dz) {
    int n = r->o.n_expert;
    double dot = 0;
    for (int e = 0; e < n && r->o.score == SCORE_SOFTMAX; e++)
        dot += ds[e] * get(t, r->score, row * n + e);
    for (int e = 0; e < n; e++) {
        double s = get(t, r->score, row * n + e);
        double slope = r->o.score == SCORE_SOFTMAX ? s * (ds[e] - dot) : ds[e] * s * (1 - s);
        put(t, dz, row * n + e, slope);
    }
}

static status products_back(tape *t, const router_record *r, const tensor *dx, const void *dz) {
    int64_t n = r->o.n_expert, rows = r->x->value.dim[0], d = r->router->dim[1];
    gemm_type type = op_product_type(t, r->router);
    if (dx->data != NULL) {
        const packed_matrix *w;
        TRY(param_packed(t->params, r->router, PACK_BACKWARD, type, &w));
        TRY(gemm(&(gemm_call){.type = type, .m = rows, .n = d, .k = n, .a = dz, .a_stride_m = n,
                              .a_stride_k = 1, .b = w, .c = dx->data, .ldc = dx->stride[0],
                              .accumulate = true}));
    }
    if (r->router->grad == NULL) return STATUS_OK;
    return gemm(&(gemm_call){.type = type, .m = n, .n = d, .k = rows, .a = dz, .a_stride_m = 1,
                             .a_stride_k = n, .b_raw = r->x->value.data, .b_stride_n = 1,
                             .b_stride_k = r->x->value.stride[0], .c = r->router->grad, .ldc = d,
                             .accumulate = true});
}

static void router_backward(tape *t, void *context) {
    router_record *r = context;
    tensor dweight = var_grad(t, r->weight), dx = var_grad(t, r->x);
    int n = r->o.n_expert;
    size_t mark = arena_mark(t->memory);
    void *dz = tape_alloc(t, (size_t)(r->x->value.dim[0] * n) * dtype_size(t->dtype));
    double *ds = tape_alloc(t, (size_t)n * sizeof *ds);
    if (tape_runs(t)) {
        for (int q = 0; q < r->n_sequences; q++)
            for (int64_t i = r->start[q]; i < r->start[q + 1]; i++) {
                memset(ds, 0, (size_t)n * sizeof *ds);
                weight_back(t, r, i, dweight.data, ds);
                if (r->share != NULL) balance_back(t, r, i, q, ds);
                score_back(t, r, i, ds, dz);
            }
        tape_fail(t, products_back(t, r, &dx, dz));
    }
    arena_reset(t->memory, mark);
    param_done(t, r->router);
}

static status scores_fill(tape *t, const router_record *r) {
    int64_t n = r->o.n_expert, rows = r->x->value.dim[0];
    const packed_matrix *w;
    gemm_type type = op_product_type(t, r->router);
    TRY(param_packed(t->params, r->router, PACK_FORWARD, type, &w));
    TRY(gemm(&(gemm_call){.type = type, .m = rows, .n = n, .k = r->router->dim[1],
                          .a = r->x->value.data, .a_stride_m = r->x->value.stride[0],
                          .a_stride_k = 1, .b = w, .c = r->score, .ldc = n}));
    if (r->o.score == SCORE_SIGMOID)
        sigmoid(t->dtype, rows * n, r->score, r->score);
    else
        softmax_rows(t->dtype, rows, n, r->score, n);
    return STATUS_OK;
}

routing op_router(tape *t, var *x, param *router, param *bias, const token_layout *layout,
                  const router_options *o) {
    routing none = {NULL, t->poison};
    if (!tape_ok(t)) return none;
    int64_t rows = x->value.dim[0];
    if (router->dim[0] != o->n_expert || router->dim[1] != x->value.dim[1] || rows != layout->n ||
        o->n_used > o->n_expert) {
        op_shape_error(t, "router", text("%s for %d of %d experts by %s",
                                         tensor_shape_text(&x->value), o->n_used, o->n_expert,
                                         router->name));
        return none;
    }
    bool filled;
    int32_t *ids = tape_choice(t, o->choice, rows * o->n_used, &filled);
    router_record *r = tape_alloc(t, sizeof *r);
    var *weight = tape_var(t, rows, o->n_used, true);
    void *score = tape_alloc(t, (size_t)(rows * o->n_expert) * dtype_size(t->dtype));
    bool balance = o->balance_alpha != 0;
    double *share =
        balance ? tape_alloc(t, (size_t)layout->n_sequences * (size_t)o->n_expert * sizeof *share)
                : NULL;
    if (ids == NULL || !tape_ok(t)) return none;
    *r = (router_record){x, weight, router, *o, ids, score, layout->start, layout->n_sequences, share};
    if (tape_runs(t)) {
        tape_fail(t, scores_fill(t, r));
        if (!tape_ok(t)) return none;
        if (!filled) {
            router_top_k(t->dtype, rows, o->n_expert, o->n_used, o->n_group, o->topk_group, score,
                         bias != NULL ? bias->master : NULL, ids);
            tape_choice_filled(t, o->choice);
        }
        if (!t->recomputing && o->counts != NULL)
            for (int64_t i = 0; i < rows * o->n_used; i++) o->counts[ids[i]]++;
        weights_fill(t, r, rows);
        double loss = balance ? balance_loss(t, r) : 0;
        if (!t->recomputing && o->balance_loss != NULL) *o->balance_loss += loss;
    }
    param_used(t, router);
    tape_push(t, "router", router_backward, r);
    return (routing){ids, weight};
}
