/* op_attention.c - causal attention over the keys of the batch, or over pages of keys.
 *
 * Both are the kernel of kernels.h, one call per sequence, keys in blocks of 64 positions. For the
 * batch's own keys the blocks point into k, v and the shared part as they are: column views with a
 * stride between heads, so nothing is copied (MLA, DeepSeek-V2, arXiv 2405.04434, 2.1: keys and
 * values of a head stand side by side, the rotated part is shared by all heads).
 *
 * Saved: q, k, v, the output and one logsumexp per query and head; probabilities are made again
 * block by block (FlashAttention, arXiv 2205.14135). No array of queries x keys exists.
 *
 * Dropout of probabilities happens inside the kernel, by the number of the query in the whole batch;
 * its backward makes the same mask again.
 *
 * Mind: without pages a sequence starts at key position 0 and has no gaps. Paged attention is
 * inference only and leaves no record.
 */
#include "autograd/op_internal.h"

#include <inttypes.h>

#define SHARED_PARTS 4

typedef struct attention_record {
    var *q, *k, *shared, *v, *y;
    attention_shape shape;
    token_layout layout;
    attention_call *calls; /* one per sequence */
} attention_record;

static void *row(const tensor *x, int64_t i) {
    if (x->data == NULL) return NULL;
    return (char *)x->data + (size_t)(i * x->stride[0]) * dtype_size(x->dtype);
}

/* Columns that n heads `stride` apart (0 = dense) with `dim` values each take. */
static int64_t span(int n, int64_t stride, int dim) {
    return (n - 1) * (stride != 0 ? stride : dim) + dim;
}

/* -- forward -- */

static attention_call sequence_call(const tape *t, const attention_shape *s,
                                    const token_layout *layout, int sequence, const tensor *q,
                                    const tensor *y) {
    int64_t first = layout->start[sequence];
    return (attention_call){.t = t->dtype,
                            .products = t->options.products,
                            .n_head = s->n_head,
                            .n_kv_head = s->n_kv_head,
                            .qk_dim = s->qk_dim,
                            .shared_dim = s->shared_dim,
                            .v_dim = s->v_dim,
                            .scale = s->scale,
                            .rows = layout->start[sequence + 1] - first,
                            .position = layout->position + first,
                            .first = layout->first + first,
                            .q = row(q, first),
                            .ldq = q->stride[0],
                            .k_head_stride = s->k_head_stride,
                            .v_head_stride = s->v_head_stride,
                            .out = row(y, first),
                            .ldo = y->stride[0],
                            .dropout = s->dropout.mask,
                            .token = s->dropout.token + first};
}

/* Pointers to every 64th row of the n rows from `first`. */
static const void **blocks_of(tape *t, const tensor *x, int64_t first, int64_t n) {
    int64_t count = (n + KEY_PAGE - 1) / KEY_PAGE;
    const void **blocks = tape_alloc(t, (size_t)count * sizeof *blocks);
    for (int64_t b = 0; blocks != NULL && b < count; b++)
        blocks[b] = row(x, first + b * KEY_PAGE);
    return blocks;
}

static void make_call(tape *t, const attention_record *r, int sequence, char *lse) {
    int64_t first = r->layout.start[sequence];
    attention_call c =
        sequence_call(t, &r->shape, &r->layout, sequence, &r->q->value, &r->y->value);
    c.n_keys = c.rows;
    c.k_block = blocks_of(t, &r->k->value, first, c.rows);
    c.v_block = blocks_of(t, &r->v->value, first, c.rows);
    c.ldk = r->k->value.stride[0];
    c.ldv = r->v->value.stride[0];
    if (r->shared != NULL) {
        c.shared_block = blocks_of(t, &r->shared->value, first, c.rows);
        c.lds = r->shared->value.stride[0];
    }
    if (lse != NULL) c.lse = lse + (size_t)(first * r->shape.n_head) * dtype_size(t->dtype);
    r->calls[sequence] = c;
}

static bool queries_fit(tape *t, const var *q, const token_layout *layout,
                        const attention_shape *s) {
    if (!tape_ok(t)) return false;
    int64_t columns = (int64_t)s->n_head * (s->qk_dim + s->shared_dim);
    if (s->n_kv_head > 0 && s->n_head % s->n_kv_head == 0 && q->value.dim[0] == layout->n &&
        q->value.dim[1] == columns)
        return true;
    op_shape_error(t, "attention",
                   text("queries %s for %" PRId64 " tokens, %d heads of %d + %d",
                        tensor_shape_text(&q->value), layout->n, s->n_head, s->qk_dim,
                        s->shared_dim));
    return false;
}

static bool keys_fit(tape *t, const var *k, const var *shared, const var *v, int64_t n,
                     const attention_shape *s) {
    bool fit = k->value.dim[0] == n && v->value.dim[0] == n &&
               k->value.dim[1] >= span(s->n_kv_head, s->k_head_stride, s->qk_dim) &&
               v->value.dim[1] >= span(s->n_kv_head, s->v_head_stride, s->v_dim);
    bool shared_fits = shared == NULL
                           ? s->shared_dim == 0
                           : shared->value.dim[0] == n && shared->value.dim[1] == s->shared_dim;
    if (fit && shared_fits) return true;
    op_shape_error(
        t, "attention",
        text("keys %s + %s, values %s for %d heads of %d + %d, %d", tensor_shape_text(&k->value),
             shared == NULL ? "none" : tensor_shape_text(&shared->value),
             tensor_shape_text(&v->value), s->n_kv_head, s->qk_dim, s->shared_dim, s->v_dim));
    return false;
}

static status positions_check(const token_layout *layout) {
    for (int s = 0; s < layout->n_sequences; s++)
        for (int64_t i = layout->start[s]; i < layout->start[s + 1]; i++)
            if (layout->position[i] != i - layout->start[s] || layout->first[i] < 0)
                return FAIL(F_INTERNAL, "keys of a batch without pages have gaps",
                            text("token %" PRId64 " of the batch has key position %" PRId32, i,
                                 layout->position[i]),
                            "a sequence starts at position 0 unless its past is in pages",
                            "report this as a bug");
    return STATUS_OK;
}

/* Products over the keys that each query sees, twice as many backward; what backward makes again
 * (the probabilities) is not counted, as in the FLOPs of a model. */
static profile_work attention_work(const tape *t, const attention_record *r, bool backward) {
    const attention_shape *s = &r->shape;
    int64_t pairs = 0, times = backward ? 2 : 1;
    for (int64_t i = 0; i < r->layout.n; i++)
        pairs += r->layout.position[i] - r->layout.first[i] + 1;
    int64_t width = s->qk_dim + s->shared_dim + s->v_dim;
    int64_t q = s->n_head * width, k = s->n_kv_head * (int64_t)(s->qk_dim + s->v_dim);
    return (profile_work){.unit = t->options.products == GEMM_BF16_DOT ? PROFILE_BF16 : PROFILE_F32,
                          .flops = 2.0 * (double)(times * pairs * s->n_head * width),
                          .bytes = (double)(times * r->layout.n * (q + k + s->shared_dim)) *
                                   (double)dtype_size(t->dtype)};
}

static void attention_lap(const tape *t, const attention_record *r, bool backward) {
    if (t->options.profile == NULL) return; /* counting pairs takes a walk */
    tape_lap(t, "attention", backward ? "backward" : "forward", attention_work(t, r, backward));
}

/* -- backward -- */

static attention_gradient sequence_gradient(const attention_record *r, int64_t first,
                                            const tensor *dy, const tensor *dq, const tensor *dk,
                                            const tensor *ds, const tensor *dv) {
    return (attention_gradient){.dout = row(dy, first),
                                .lddo = dy->stride[0],
                                .dq = row(dq, first),
                                .lddq = dq->stride[0],
                                .dk = row(dk, first),
                                .lddk = dk->stride[0],
                                .dshared = row(ds, first),
                                .ldds = ds->stride[0],
                                .dv = row(dv, first),
                                .lddv = dv->stride[0],
                                .dk_head_stride = r->shape.k_head_stride,
                                .dv_head_stride = r->shape.v_head_stride};
}

static void op_attention_backward(tape *t, void *context) {
    attention_record *r = context;
    tensor dy = grad_arrived(t, r->y), ds = {0};
    if (dy.data == NULL) return;
    tensor dq = var_grad(t, r->q), dk = var_grad(t, r->k), dv = var_grad(t, r->v);
    if (r->shared != NULL) ds = var_grad(t, r->shared);
    size_t mark = arena_mark(t->memory);
    attention_gradient *grads = tape_alloc(t, (size_t)r->layout.n_sequences * sizeof *grads);
    if (tape_runs(t)) {
        for (int i = 0; i < r->layout.n_sequences; i++)
            grads[i] = sequence_gradient(r, r->layout.start[i], &dy, &dq, &dk, &ds, &dv);
        tape_fail(t, attention_backward(r->calls, grads, r->layout.n_sequences));
        attention_lap(t, r, true);
    }
    arena_reset(t->memory, mark);
    grad_release(t, r->y);
}

/* -- ops -- */

var *op_attention(tape *t, var *q, var *k, var *shared, var *v, const token_layout *layout,
                  const attention_shape *shape) {
    if (!queries_fit(t, q, layout, shape) || !keys_fit(t, k, shared, v, layout->n, shape))
        return t->poison;
    bool gradient =
        q->needs_grad || k->needs_grad || v->needs_grad || (shared != NULL && shared->needs_grad);
    bool done = false, known;
    var *y = saved_var(t, layout->n, (int64_t)shape->n_head * shape->v_dim, gradient, SAVE_OUTPUT,
                       &done);
    attention_record *r = tape_alloc(t, sizeof *r);
    attention_call *calls = tape_alloc(t, (size_t)layout->n_sequences * sizeof *calls);
    size_t lse_bytes = (size_t)(layout->n * shape->n_head) * dtype_size(t->dtype);
    char *lse = gradient || t->saving != NULL ? saved_alloc(t, lse_bytes, &known) : NULL;
    if (!tape_ok(t)) return t->poison;
    saved_wanted(t, y);
    saved_wanted(t, q);
    saved_wanted(t, k);
    saved_wanted(t, v);
    if (shared != NULL) saved_wanted(t, shared);
    *r = (attention_record){q, k, shared, v, y, *shape, *layout, calls};
    for (int i = 0; i < layout->n_sequences && tape_ok(t); i++)
        make_call(t, r, i, lse);
    if (tape_runs(t)) tape_fail(t, positions_check(layout));
    if (tape_runs(t) && !done) tape_fail(t, attention(calls, layout->n_sequences));
    if (!done) attention_lap(t, r, false);
    if (gradient) tape_push(t, "attention", op_attention_backward, r);
    return tape_ok(t) ? y : t->poison;
}

var *op_attention_paged(tape *t, var *q, const key_pages *pages, const token_layout *layout,
                        const attention_shape *shape) {
    if (!queries_fit(t, q, layout, shape)) return t->poison;
    size_t size = dtype_size(t->dtype);
    attention_shape dense = *shape; /* rows of a page are dense whatever the batch's keys are */
    dense.k_head_stride = dense.v_head_stride = 0;
    var *y = tape_var(t, layout->n, (int64_t)shape->n_head * shape->v_dim, false);
    /* Keys that all heads share are one chunk of work: a few calls of some heads each are more. */
    int parts = shape->n_kv_head == 1 && shape->n_head % SHARED_PARTS == 0 ? SHARED_PARTS : 1;
    attention_call *calls = tape_alloc(t, (size_t)(layout->n_sequences * parts) * sizeof *calls);
    if (calls == NULL) return t->poison;
    for (int i = 0; i < layout->n_sequences; i++) {
        attention_call c = sequence_call(t, pages[i].stride != 0 ? shape : &dense, layout, i,
                                         &q->value, &y->value);
        c.k_block = pages[i].k_page;
        c.shared_block = pages[i].shared_page;
        c.v_block = pages[i].v_page;
        c.ldk = (int64_t)shape->n_kv_head * shape->qk_dim;
        c.lds = shape->shared_dim;
        c.ldv = (int64_t)shape->n_kv_head * shape->v_dim;
        if (pages[i].stride != 0) c.ldk = c.ldv = pages[i].stride;
        c.n_keys = pages[i].n_keys;
        c.n_head /= parts;
        for (int p = 0; p < parts; p++) {
            calls[i * parts + p] = c;
            c.q = (const char *)c.q + (size_t)(c.n_head * (c.qk_dim + c.shared_dim)) * size;
            c.out = (char *)c.out + (size_t)(c.n_head * c.v_dim) * size;
        }
    }
    if (tape_runs(t)) tape_fail(t, attention(calls, layout->n_sequences * parts));
    return tape_ok(t) ? y : t->poison;
}
