/* op_router.c - scores, choice, weights and balance loss of a routed layer.
 *
 *     z = W x;  s = sigmoid(z) or softmax(z);  chosen = the K largest of s + b
 *     g_i = c s_i / (sum of chosen s + 1e-20)  for chosen i   (without normalise: c s_i)
 *
 * DeepSeek-V3 (arXiv 2412.19437, 2.1.2). The choice is a recorded input
 * (tape_choice), so it has no gradient, nor has the bias b: gradients flow through the chosen
 * scores and their normaliser. The sequence-wise balance loss adds, for each sequence of T tokens,
 *
 *     L = alpha sum_i f_i P_i,  f_i = E / (K T) * times i was chosen
 *     P_i = mean_t s_it / sum_j s_jt
 *
 * whose gradient flows through P alone.
 *
 * Saved: scores [rows, E], the choice, f. Products are in full precision whatever the tape says;
 * the arithmetic of a row is f64 in plain loops over E, rounded once, the same in every tier.
 */
#include "autograd/op_internal.h"

#include <inttypes.h>
#include <string.h>

#define TINY 1e-20 /* keeps a row of zero scores finite */

typedef struct router_record {
    var *x, *weight;
    param *router;
    router_options o;
    token_layout layout;
    const int32_t *ids; /* [rows, K] */
    tensor score;       /* [rows, E] */
    bool scored;        /* it is there already (recompute.c) */
    double *share;      /* [n_sequences, E] f_i; NULL without balance loss */
} router_record;

/* -- rows as f64 -- */

static void load_row(const tensor *x, int64_t row, double *to) {
    int64_t n = x->dim[1], at = row * x->stride[0];
    for (int64_t i = 0; i < n; i++)
        to[i] = x->dtype == DTYPE_F64 ? ((const double *)x->data)[at + i]
                                      : (double)((const float *)x->data)[at + i];
}

static void store_row(const tensor *x, int64_t row, const double *from) {
    int64_t n = x->dim[1], at = row * x->stride[0];
    for (int64_t i = 0; i < n; i++)
        if (x->dtype == DTYPE_F64)
            ((double *)x->data)[at + i] = from[i];
        else
            ((float *)x->data)[at + i] = (float)from[i];
}

static double sum_of(int n, const double *x) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

static double dot_of(int n, const double *a, const double *b) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Scratch rows of one call: scores and their gradient [E], weights and theirs [K]. */
typedef struct row_space {
    double *s, *ds, *g, *dg;
} row_space;

static row_space rows_alloc(tape *t, const router_options *o) {
    size_t n = (size_t)o->n_expert, k = (size_t)o->n_used;
    row_space r = {0};
    double *all = tape_alloc(t, 2 * (n + k) * sizeof *all);
    if (all != NULL) r = (row_space){all, all + n, all + 2 * n, all + 2 * n + k};
    return r;
}

/* -- forward -- */

static double normaliser(const router_options *o, const int32_t *ids, const double *s) {
    double sum = 0;
    if (!o->normalise) return 1;
    for (int j = 0; j < o->n_used; j++)
        sum += s[ids[j]];
    return sum + TINY;
}

static void fill_weights(const router_record *r, const row_space *w) {
    const router_options *o = &r->o;
    for (int64_t i = 0; i < r->layout.n; i++) {
        const int32_t *ids = r->ids + i * o->n_used;
        load_row(&r->score, i, w->s);
        double factor = o->scale / normaliser(o, ids, w->s);
        for (int j = 0; j < o->n_used; j++)
            w->g[j] = factor * w->s[ids[j]];
        store_row(&r->weight->value, i, w->g);
    }
}

/* Fills f of one sequence and returns sum f P. */
static double balance_sequence(const router_record *r, int sequence, const row_space *w) {
    int n = r->o.n_expert, k = r->o.n_used;
    int64_t from = r->layout.start[sequence], to = r->layout.start[sequence + 1];
    double *f = r->share + (int64_t)sequence * n, loss = 0;
    memset(f, 0, (size_t)n * sizeof *f);
    for (int64_t i = from * k; i < to * k; i++)
        f[r->ids[i]] += 1;
    for (int e = 0; e < n; e++)
        f[e] *= (double)n / ((double)k * (double)(to - from));
    for (int64_t i = from; i < to; i++) {
        load_row(&r->score, i, w->s);
        loss += dot_of(n, f, w->s) / (sum_of(n, w->s) + TINY);
    }
    return to > from ? loss / (double)(to - from) : 0;
}

static double balance_loss(const router_record *r, const row_space *w) {
    double loss = 0;
    if (r->share == NULL) return 0;
    for (int i = 0; i < r->layout.n_sequences; i++)
        loss += balance_sequence(r, i, w);
    return r->o.balance_alpha * loss;
}

static status fill_scores(tape *t, const router_record *r) {
    const tensor *s = &r->score;
    TRY(linear_forward(t, r->router, &r->x->value, s));
    if (r->o.score == SCORE_SIGMOID)
        sigmoid(t->dtype, tensor_count(s), s->data, s->data);
    else
        softmax_rows(t->dtype, s->dim[0], s->dim[1], s->data, s->stride[0]);
    return STATUS_OK;
}

static status replayed_check(const router_record *r) {
    int64_t n = r->layout.n * r->o.n_used;
    for (int64_t i = 0; i < n; i++)
        if (r->ids[i] < 0 || r->ids[i] >= r->o.n_expert)
            return FAIL(F_SHAPE, text("expert %" PRId32 " of %d", r->ids[i], r->o.n_expert),
                        text("routing choice %d, place %" PRId64, r->o.choice, i),
                        "the lent choices are not those of this model",
                        "lend choices recorded for this batch, or none");
    return STATUS_OK;
}

static status choose(tape *t, const router_record *r, const param *bias, int32_t *ids,
                     bool filled) {
    const router_options *o = &r->o;
    if (filled) return replayed_check(r);
    router_top_k(t->dtype, r->layout.n, o->n_expert, o->n_used, o->n_group, o->topk_group,
                 o->score == SCORE_SOFTMAX ? 1 : 2, r->score.data,
                 bias != NULL ? bias->master : NULL, ids);
    tape_choice_filled(t, o->choice);
    return STATUS_OK;
}

static status router_forward(tape *t, const router_record *r, const param *bias, int32_t *ids,
                             bool filled, const row_space *w) {
    const router_options *o = &r->o;
    if (!r->scored) TRY(fill_scores(t, r));
    TRY(choose(t, r, bias, ids, filled));
    tape_lap(t, "router", "choose", work_moved(t, tensor_count(&r->score)));
    fill_weights(r, w);
    double loss = balance_loss(r, w);
    tape_lap(t, "router", "weights", work_moved(t, 2 * tensor_count(&r->score)));
    if (t->recomputing) return STATUS_OK; /* told in the first forward */
    if (o->balance_loss != NULL) *o->balance_loss += loss;
    for (int64_t i = 0; o->counts != NULL && i < r->layout.n * o->n_used; i++)
        o->counts[ids[i]]++;
    return STATUS_OK;
}

/* -- backward -- */

/* ds += gradient through the weights of one row. */
static void weights_back(const router_options *o, const int32_t *ids, const row_space *w) {
    double sum = normaliser(o, ids, w->s), mean = 0;
    for (int j = 0; j < o->n_used && o->normalise; j++)
        mean += w->dg[j] * w->s[ids[j]] / sum;
    for (int j = 0; j < o->n_used; j++)
        w->ds[ids[j]] += o->scale * (w->dg[j] - mean) / sum;
}

/* ds += gradient of the balance loss, for a row of a sequence of `length` tokens. */
static void balance_back(const router_options *o, const double *f, int64_t length,
                         const row_space *w) {
    int n = o->n_expert;
    double sum = sum_of(n, w->s) + TINY, mean = dot_of(n, f, w->s) / sum;
    double factor = o->balance_alpha * o->balance_scale / (double)length / sum;
    for (int e = 0; e < n; e++)
        w->ds[e] += factor * (f[e] - mean);
}

/* ds becomes dz. */
static void scores_back(const router_options *o, const row_space *w) {
    int n = o->n_expert;
    double mean = o->score == SCORE_SOFTMAX ? dot_of(n, w->ds, w->s) : 0;
    for (int e = 0; e < n; e++)
        w->ds[e] = o->score == SCORE_SOFTMAX ? w->s[e] * (w->ds[e] - mean)
                                             : w->ds[e] * w->s[e] * (1 - w->s[e]);
}

static void logits_gradient(const router_record *r, const tensor *dweight, const tensor *dz,
                            const row_space *w) {
    const router_options *o = &r->o;
    for (int q = 0; q < r->layout.n_sequences; q++) {
        int64_t from = r->layout.start[q], to = r->layout.start[q + 1];
        for (int64_t i = from; i < to; i++) {
            memset(w->ds, 0, (size_t)o->n_expert * sizeof *w->ds);
            load_row(&r->score, i, w->s);
            if (dweight->data != NULL) {
                load_row(dweight, i, w->dg);
                weights_back(o, r->ids + i * o->n_used, w);
            }
            if (r->share != NULL)
                balance_back(o, r->share + (int64_t)q * o->n_expert, to - from, w);
            scores_back(o, w);
            store_row(dz, i, w->ds);
        }
    }
}

static status router_products(tape *t, const router_record *r, const tensor *dz, const tensor *dx,
                              bool fresh) {
    if (dx->data != NULL) TRY(linear_input_gradient(t, r->router, dz, dx, fresh));
    return linear_weight_gradient(t, r->router, dz, &r->x->value);
}

static void router_backward(tape *t, void *context) {
    router_record *r = context;
    bool fresh = false;
    tensor dweight = grad_arrived(t, r->weight), dx = grad_target(t, r->x, &fresh);
    size_t mark = arena_mark(t->memory);
    const var *dz = tape_var(t, r->layout.n, r->o.n_expert, false);
    row_space w = rows_alloc(t, &r->o);
    if (tape_runs(t)) {
        logits_gradient(r, &dweight, &dz->value, &w);
        tape_lap(t, "router", "backward", work_moved(t, 2 * tensor_count(&r->score)));
        tape_fail(t, router_products(t, r, &dz->value, &dx, fresh));
    }
    arena_reset(t->memory, mark);
    grad_release(t, r->weight);
    param_done(t, r->router);
}

/* -- op -- */

static bool router_fits(tape *t, const var *x, const param *router, const token_layout *layout,
                        const router_options *o) {
    if (!tape_ok(t)) return false;
    if (router->rank == 2 && router->dim[0] == o->n_expert && router->dim[1] == x->value.dim[1] &&
        x->value.dim[0] == layout->n && o->n_used > 0 && o->n_used <= o->n_expert)
        return true;
    op_shape_error(t, "router",
                   text("%s for %d of %d experts by %s", tensor_shape_text(&x->value), o->n_used,
                        o->n_expert, router->name));
    return false;
}

routing op_router(tape *t, var *x, param *router, param *bias, const token_layout *layout,
                  const router_options *o) {
    const routing none = {NULL, t->poison};
    bool filled, scored, balance = o->balance_alpha != 0;
    if (!router_fits(t, x, router, layout, o)) return none;
    int32_t *ids = tape_choice(t, o->choice, layout->n * o->n_used, &filled);
    router_record *r = tape_alloc(t, sizeof *r);
    bool gradient = x->needs_grad || router->grad != NULL;
    var *weight = tape_var(t, layout->n, o->n_used, gradient);
    var *score = saved_var(t, layout->n, o->n_expert, false, SAVE_OUTPUT, &scored);
    size_t share = (size_t)layout->n_sequences * (size_t)o->n_expert * sizeof(double);
    double *f = balance ? tape_alloc(t, share) : NULL;
    if (!tape_ok(t)) return none;
    *r = (router_record){x, weight, router, *o, *layout, ids, score->value, scored, f};
    saved_wanted(t, score);
    saved_wanted(t, x);
    size_t mark = arena_mark(t->memory);
    row_space w = rows_alloc(t, o);
    if (tape_runs(t)) tape_fail(t, router_forward(t, r, bias, ids, filled, &w));
    arena_reset(t->memory, mark);
    param_used(t, router);
    if (weight->needs_grad) tape_push(t, "router", router_backward, r);
    return tape_ok(t) ? (routing){ids, weight} : none;
}
