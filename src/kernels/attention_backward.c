/* attention_backward.c - gradients of attention, recomputing the probabilities.
 *
 * FlashAttention's backward (arXiv 2205.14135, section 3.1): with P = exp(S - lse) and
 * delta = <dout, out> per row, dS = scale P (dP - delta), dP = dout V^T; then dq = dS K,
 * dk = dS^T q, dv = P^T dout. Five products per (query block, key block).
 *
 * With dropout M (0 or the factor per probability) out = (M P) V, so dP = M (dout V^T) and
 * dv = (M P)^T dout; delta stays <dout, out>.
 *
 * A chunk is (sequence, KV head) and owns dk, dv of that head and dq of its query heads, so
 * gradients are added in place in the order of docs/numerics.md 5 without partial sums. The shared
 * part of the keys belongs to all heads: each KV head adds into a partial of its own, and a second
 * job adds the partials, heads ascending.
 */
#include "kernels/attention_parts.h"

#include <string.h>

#define BLOCK ATTENTION_BLOCK

typedef struct backward_plan {
    attention_view view;
    const attention_gradient *grad;
    int64_t dk_stride, dv_stride; /* from one KV head to the next */
    int64_t first_chunk;
    void *shared; /* [n_kv_head, n_keys, shared_dim] partials, NULL if not wanted */
} backward_plan;

typedef struct backward_job {
    backward_plan *plans;
    int n_plans;
    int64_t n_chunks;
    job_failure failure;
} backward_job;

typedef struct backward_work {
    void *keys_across, *values_across;        /* K^T, V^T: k = width or v_dim, n = keys */
    void *keys, *shared_keys;                 /* K: k = keys, n = qk_dim, shared_dim */
    void *queries, *shared_queries, *outputs; /* k = rows, n = qk_dim, shared_dim, v_dim */
    void *form;                               /* A of a product */
    void *s, *ds;                             /* [BLOCK, BLOCK] */
    void *delta;                              /* [rows] of the current head */
    uint16_t *bits;                           /* of dropout */
    int head, kv_head;
    int64_t block;
} backward_work;

/* One block of queries of the current head. */
typedef struct query_block {
    int64_t row, rows;
    const void *q, *dout;
} query_block;

static bool work_alloc(backward_work *w, const attention_view *v, arena *scratch) {
    const attention_call *call = v->call;
    w->keys_across = strips_alloc(v, scratch, v->width, BLOCK);
    w->values_across = strips_alloc(v, scratch, call->v_dim, BLOCK);
    w->keys = strips_alloc(v, scratch, BLOCK, call->qk_dim);
    w->shared_keys = strips_alloc(v, scratch, BLOCK, call->shared_dim);
    w->queries = strips_alloc(v, scratch, BLOCK, call->qk_dim);
    w->shared_queries = strips_alloc(v, scratch, BLOCK, call->shared_dim);
    w->outputs = strips_alloc(v, scratch, BLOCK, call->v_dim);
    w->form = form_alloc(v, scratch, max_i64(v->width, call->v_dim));
    w->s = arena_zalloc(scratch, (size_t)BLOCK * BLOCK * v->size);
    w->ds = arena_zalloc(scratch, (size_t)BLOCK * BLOCK * v->size);
    w->delta = arena_alloc(scratch, (size_t)call->rows * v->size);
    w->bits = arena_alloc(scratch, MASK_ROOM * sizeof *w->bits);
    return w->keys_across != NULL && w->values_across != NULL && w->keys != NULL &&
           w->shared_keys != NULL && w->queries != NULL && w->shared_queries != NULL &&
           w->outputs != NULL && w->form != NULL && w->s != NULL && w->ds != NULL &&
           w->delta != NULL && w->bits != NULL;
}

static void find_delta(const backward_plan *plan, const backward_work *w) {
    const attention_view *v = &plan->view;
    const attention_call *call = v->call;
    for (int64_t i = 0; i < call->rows; i++) {
        int64_t column = (int64_t)w->head * call->v_dim;
        real_set(call->t, w->delta, i,
                 v->rows->dot(call->v_dim, element(call->out, i * call->ldo + column, v->size),
                              element(plan->grad->dout, i * plan->grad->lddo + column, v->size)));
    }
}

static void pack_key_block(const backward_plan *plan, const backward_work *w) {
    const attention_view *v = &plan->view;
    const attention_call *call = v->call;
    int keys = block_keys(call, w->block);
    const void *k = element(call->k_block[w->block], w->kv_head * v->k_stride, v->size);
    const void *value = element(call->v_block[w->block], w->kv_head * v->v_stride, v->size);
    pack_keys_across(v, w->block, w->kv_head, w->keys_across);
    pack_small(v, call->v_dim, keys, value, 1, call->ldv, w->values_across);
    if (plan->grad->dq == NULL) return;
    pack_small(v, keys, call->qk_dim, k, call->ldk, 1, w->keys);
    if (call->shared_dim > 0)
        pack_small(v, keys, call->shared_dim, call->shared_block[w->block], call->lds, 1,
                   w->shared_keys);
}

static void pack_query_block(const backward_plan *plan, const backward_work *w,
                             const query_block *b) {
    const attention_view *v = &plan->view;
    const attention_call *call = v->call;
    if (plan->grad->dk != NULL)
        pack_small(v, b->rows, call->qk_dim, b->q, call->ldq, 1, w->queries);
    if (plan->shared != NULL)
        pack_small(v, b->rows, call->shared_dim, element(b->q, call->qk_dim, v->size), call->ldq, 1,
                   w->shared_queries);
    if (plan->grad->dv != NULL)
        pack_small(v, b->rows, call->v_dim, b->dout, plan->grad->lddo, 1, w->outputs);
}

/* s and ds of the block: scores to probabilities, and the gradients of the scores. */
static void find_scores(const backward_plan *plan, const backward_work *w, const query_block *b) {
    const attention_view *v = &plan->view;
    const attention_call *call = v->call;
    int keys = block_keys(call, w->block);
    small_multiply(v, &(small_product){.rows = b->rows,
                                       .columns = keys,
                                       .k = v->width,
                                       .a = b->q,
                                       .row_stride = call->ldq,
                                       .k_stride = 1,
                                       .strips = w->keys_across,
                                       .form = w->form,
                                       .c = w->s,
                                       .ldc = BLOCK});
    small_multiply(v, &(small_product){.rows = b->rows,
                                       .columns = keys,
                                       .k = call->v_dim,
                                       .a = b->dout,
                                       .row_stride = plan->grad->lddo,
                                       .k_stride = 1,
                                       .strips = w->values_across,
                                       .form = w->form,
                                       .c = w->ds,
                                       .ldc = BLOCK});
    const dropout_mask *mask = &call->dropout;
    const uint16_t *bits = NULL;
    if (mask->below > 0) {
        bits = probability_bits(v, w->block, w->head, b->row, b->rows, w->bits);
        v->rows->drop(b->rows * BLOCK, bits, mask->below, mask->factor, w->ds, w->ds);
    }
    for (int64_t i = 0; i < b->rows; i++) {
        int64_t row = b->row + i;
        slot_range seen = visible_slots(call, row, w->block);
        void *s = element_mut(w->s, i * BLOCK, v->size);
        void *ds = element_mut(w->ds, i * BLOCK, v->size);
        if (seen.low < seen.high) {
            v->rows->attend_backward(seen.low, seen.high, call->scale,
                                     real_get(call->t, call->lse, row * call->n_head + w->head),
                                     real_get(call->t, w->delta, row), s, ds);
        } else {
            memset(s, 0, BLOCK * v->size);
            memset(ds, 0, BLOCK * v->size);
        }
    }
    if (bits != NULL) v->rows->drop(b->rows * BLOCK, bits, mask->below, mask->factor, w->s, w->s);
}

/* c[keys, columns] += across^T * strips, where across is s or ds. */
static void add_to_keys(const backward_plan *plan, const backward_work *w, const query_block *b,
                        const void *across, const void *strips, int64_t columns, void *c,
                        int64_t ldc) {
    small_multiply(&plan->view, &(small_product){.rows = block_keys(plan->view.call, w->block),
                                                 .columns = columns,
                                                 .k = b->rows,
                                                 .a = across,
                                                 .row_stride = 1,
                                                 .k_stride = BLOCK,
                                                 .strips = strips,
                                                 .form = w->form,
                                                 .c = c,
                                                 .ldc = ldc,
                                                 .accumulate = true});
}

static void add_gradients(const backward_plan *plan, const backward_work *w, const query_block *b) {
    const attention_view *v = &plan->view;
    const attention_call *call = v->call;
    const attention_gradient *g = plan->grad;
    int keys = block_keys(call, w->block);
    int64_t key0 = w->block * BLOCK;
    if (g->dv != NULL)
        add_to_keys(plan, w, b, w->s, w->outputs, call->v_dim,
                    element_mut(g->dv, key0 * g->lddv + w->kv_head * plan->dv_stride, v->size),
                    g->lddv);
    if (g->dk != NULL)
        add_to_keys(plan, w, b, w->ds, w->queries, call->qk_dim,
                    element_mut(g->dk, key0 * g->lddk + w->kv_head * plan->dk_stride, v->size),
                    g->lddk);
    if (plan->shared != NULL)
        add_to_keys(plan, w, b, w->ds, w->shared_queries, call->shared_dim,
                    element_mut(plan->shared, (w->kv_head * call->n_keys + key0) * call->shared_dim,
                                v->size),
                    call->shared_dim);
    if (g->dq == NULL) return;
    void *dq = element_mut(g->dq, b->row * g->lddq + (int64_t)w->head * v->width, v->size);
    small_product to_queries = {.rows = b->rows,
                                .columns = call->qk_dim,
                                .k = keys,
                                .a = w->ds,
                                .row_stride = BLOCK,
                                .k_stride = 1,
                                .strips = w->keys,
                                .form = w->form,
                                .c = dq,
                                .ldc = g->lddq,
                                .accumulate = true};
    small_multiply(v, &to_queries);
    if (call->shared_dim > 0) {
        to_queries.columns = call->shared_dim;
        to_queries.strips = w->shared_keys;
        to_queries.c = element_mut(dq, call->qk_dim, v->size);
        small_multiply(v, &to_queries);
    }
}

static void head_backward(const backward_plan *plan, backward_work *w) {
    const attention_view *v = &plan->view;
    const attention_call *call = v->call;
    int64_t low, high;
    find_delta(plan, w);
    block_range(call, 0, call->rows, &low, &high);
    for (w->block = low; w->block <= high; w->block++) {
        pack_key_block(plan, w);
        for (int64_t row = 0; row < call->rows; row += BLOCK) {
            query_block b = {.row = row, .rows = min_i64(BLOCK, call->rows - row)};
            if (!block_visible(call, row, b.rows, w->block)) continue;
            b.q = element(call->q, row * call->ldq + (int64_t)w->head * v->width, v->size);
            b.dout = element(plan->grad->dout,
                             row * plan->grad->lddo + (int64_t)w->head * call->v_dim, v->size);
            find_scores(plan, w, &b);
            pack_query_block(plan, w, &b);
            add_gradients(plan, w, &b);
        }
    }
}

static const backward_plan *plan_of(const backward_job *job, int64_t chunk) {
    int i = 0;
    while (i + 1 < job->n_plans && job->plans[i + 1].first_chunk <= chunk)
        i++;
    return &job->plans[i];
}

static void backward_chunk(void *context, int64_t chunk) {
    backward_job *job = context;
    const backward_plan *plan = plan_of(job, chunk);
    const attention_view *v = &plan->view;
    backward_work w = {.kv_head = (int)(chunk - plan->first_chunk)};
    arena *scratch = pool_scratch();
    size_t mark = scratch != NULL ? arena_mark(scratch) : 0;
    if (scratch == NULL || !work_alloc(&w, v, scratch)) {
        job_failed(&job->failure);
    } else {
        for (int g = 0; g < v->group; g++) {
            w.head = w.kv_head * v->group + g;
            head_backward(plan, &w);
        }
    }
    if (scratch != NULL) arena_reset(scratch, mark);
}

/* dshared += partials, KV heads ascending; a chunk takes the keys of one call. */
static void shared_chunk(void *context, int64_t chunk) {
    const backward_job *job = context;
    const backward_plan *plan = &job->plans[chunk];
    const attention_view *v = &plan->view;
    const attention_call *call = v->call;
    if (plan->shared == NULL) return;
    for (int64_t key = 0; key < call->n_keys; key++)
        for (int h = 0; h < call->n_kv_head; h++) {
            void *to = element_mut(plan->grad->dshared, key * plan->grad->ldds, v->size);
            v->rows->add(
                call->shared_dim, to,
                element(plan->shared, (h * call->n_keys + key) * call->shared_dim, v->size), to);
        }
}

static status plan_init(backward_plan *plan, const attention_call *call,
                        const attention_gradient *grad, arena *scratch) {
    plan->view = attention_view_of(call);
    plan->grad = grad;
    plan->dk_stride = grad->dk_head_stride != 0 ? grad->dk_head_stride : call->qk_dim;
    plan->dv_stride = grad->dv_head_stride != 0 ? grad->dv_head_stride : call->v_dim;
    plan->shared = NULL;
    if (grad->dshared == NULL || call->shared_dim == 0) return STATUS_OK;
    plan->shared = arena_zalloc(
        scratch, (size_t)(call->n_kv_head * call->n_keys * call->shared_dim) * plan->view.size);
    return plan->shared != NULL ? STATUS_OK : STATUS_MEMORY;
}

static status job_run(backward_job *job, const attention_call *calls,
                      const attention_gradient *grads, arena *scratch) {
    for (int i = 0; i < job->n_plans; i++) {
        TRY(plan_init(&job->plans[i], &calls[i], &grads[i], scratch));
        job->plans[i].first_chunk = job->n_chunks;
        job->n_chunks += calls[i].n_kv_head;
    }
    pool_for(job->n_chunks, backward_chunk, job);
    TRY(job_status(&job->failure));
    pool_for(job->n_plans, shared_chunk, job);
    return STATUS_OK;
}

status attention_backward(const attention_call *calls, const attention_gradient *grads,
                          int n_calls) {
    if (n_calls <= 0) return STATUS_OK;
    arena *scratch = pool_scratch();
    if (scratch == NULL) return STATUS_MEMORY;
    size_t mark = arena_mark(scratch);
    backward_job job = {.n_plans = n_calls};
    status s = STATUS_MEMORY;
    job.plans = arena_alloc(scratch, (size_t)n_calls * sizeof *job.plans);
    if (job.plans != NULL) s = job_run(&job, calls, grads, scratch);
    arena_reset(scratch, mark);
    return s;
}
