/* op_attention.c - causal attention over the batch itself, or over pages of keys.
 *
 * Both are the kernel of kernels.h: one call per sequence, keys by blocks of 64 positions. In training
 * the blocks point into k and v as they are (column views), so nothing is copied. Saved for backward:
 * inputs, output and logsumexp; probabilities are made again.
 *
 * A training batch has its keys from position 0: position[i] of a sequence's first token is 0.
 */
#include "autograd/op_internal.h"

#include <inttypes.h>
#include <string.h>

typedef struct attention_record {
    var *q, *k, *shared, *v, *y;
    attention_shape shape;
    attention_call *calls;
    int n_calls;
    const int64_t *start;
} attention_record;

static attention_call call_of(const tape *t, const attention_shape *s, const token_layout *layout,
                              int sequence) {
    int64_t first = layout->start[sequence];
    return (attention_call){
        .t = t->dtype, .n_head = s->n_head, .n_kv_head = s->n_kv_head, .qk_dim = s->qk_dim,
        .shared_dim = s->shared_dim, .v_dim = s->v_dim, .scale = s->scale,
        .rows = layout->start[sequence + 1] - first, .position = layout->position + first,
        .first = layout->first + first};
}

static void *row(const tensor *x, int64_t i, size_t size) {
    return x->data == NULL ? NULL : (char *)x->data + (size_t)(i * x->stride[0]) * size;
}

/* Pointers to every 64th row of the sequence that starts at row `first`. */
static const void **blocks_of(tape *t, const tensor *x, int64_t first, int64_t n) {
    int64_t count = (n + KEY_PAGE - 1) / KEY_PAGE;
    const void **blocks = tape_alloc(t, (size_t)(count > 0 ? count : 1) * sizeof *blocks);
    for (int64_t b = 0; blocks != NULL && b < count; b++)
        blocks[b] = row(x, first + b * KEY_PAGE, dtype_size(t->dtype));
    return blocks;
}

static void attention_op_backward(tape *t, void *context) {
    attention_record *r = context;
    tensor dy = var_grad(t, r->y), dq = var_grad(t, r->q), dk = var_grad(t, r->k);
    tensor dv = var_grad(t, r->v), ds = {0};
    if (r->shared != NULL) ds = var_grad(t, r->shared);
    attention_gradient *grads = tape_alloc(t, (size_t)r->n_calls * sizeof *grads);
    if (grads == NULL || t->options.dry) return;
    size_t size = dtype_size(t->dtype);
    for (int i = 0; i < r->n_calls; i++) {
        int64_t first = r->start[i];
        grads[i] = (attention_gradient){
            .dout = row(&dy, first, size), .lddo = dy.stride[0],
            .dq = row(&dq, first, size), .lddq = dq.stride[0],
            .dk = row(&dk, first, size), .lddk = dk.stride[0],
            .dshared = ds.data != NULL ? row(&ds, first, size) : NULL, .ldds = ds.stride[0],
            .dv = row(&dv, first, size), .lddv = dv.stride[0],
            .dk_head_stride = r->shape.k_head_stride, .dv_head_stride = r->shape.v_head_stride};
    }
    tape_fail(t, attention_backward(r->calls, grads, r->n_calls));
}

static void call_keys(tape *t, const attention_record *r, int64_t first, attention_call *c) {
    size_t size = dtype_size(t->dtype);
    c->q = row(&r->q->value, first, size);
    c->ldq = r->q->value.stride[0];
    c->n_keys = c->rows;
    c->k_block = blocks_of(t, &r->k->value, first, c->rows);
    c->v_block = blocks_of(t, &r->v->value, first, c->rows);
    c->ldk = r->k->value.stride[0];
    c->ldv = r->v->value.stride[0];
    if (r->shared != NULL) {
        c->shared_block = blocks_of(t, &r->shared->value, first, c->rows);
        c->lds = r->shared->value.stride[0];
    }
    c->k_head_stride = r->shape.k_head_stride;
    c->v_head_stride = r->shape.v_head_stride;
    c->out = row(&r->y->value, first, size);
    c->ldo = r->y->value.stride[0];
}

static bool shapes_fit(tape *t, const var *q, const token_layout *layout, const attention_shape *s) {
    if (!tape_ok(t)) return false;
    if (s->n_kv_head > 0 && s->n_head % s->n_kv_head == 0 && q->value.dim[0] == layout->n &&
        q->value.dim[1] == (int64_t)s->n_head * (s->qk_dim + s->shared_dim))
        return true;
    op_shape_error(t, "attention", text("queries %s for %d heads of %d + %d",
                                        tensor_shape_text(&q->value), s->n_head, s->qk_dim,
                                        s->shared_dim));
    return false;
}

var *op_attention(tape *t, var *q, var *k, var *shared, var *v, const token_layout *layout,
                  const attention_shape *shape) {
    if (!shapes_fit(t, q, layout, shape)) return t->poison;
    var *y = tape_var(t, layout->n, (int64_t)shape->n_head * shape->v_dim, true);
    attention_record *r = tape_alloc(t, sizeof *r);
    attention_call *calls = tape_alloc(t, (size_t)layout->n_sequences * sizeof *calls);
    size_t size = dtype_size(t->dtype);
    char *lse = t->options.recording ? tape_alloc(t, (size_t)(layout->n * shape->n_head) * size) : NULL;
    if (r == NULL || calls == NULL || !tape_ok(t)) return t->poison;
    *r = (attention_record){q, k, shared, v, y, *shape, calls, layout->n_sequences, layout->start};
    for (int i = 0; i < layout->n_sequences; i++) {
        calls[i] = call_of(t, shape, layout, i);
        call_keys(t, r, layout->start[i], &calls[i]);
        if (lse != NULL) calls[i].lse = lse + (size_t)(layout->start[i] * shape->n_head) * size;
    }
    if (tape_runs(t)) tape_fail(t, attention(calls, layout->n_sequences));
    tape_push(t, "attention", attention_op_backward, r);
    return tape_ok(t) ? y : t->poison;
}

var *op_attention_paged(tape *t, var *q, const key_pages *pages, const token_layout *layout,
                        const attention_shape *shape) {
    if (!shapes_fit(t, q, layout, shape)) return t->poison;
    var *y = tape_var(t, layout->n, (int64_t)shape->n_head * shape->v_dim, false);
    attention_call *calls = tape_alloc(t, (size_t)layout->n_sequences * sizeof *calls);
    if (calls == NULL) return t->poison;
    size_t size = dtype_size(t->dtype);
    for (int i = 0; i < layout->n_sequences; i++) {
        attention_call c = call_of(t, shape, layout, i);
        c.q = row(&q->value, layout->start[i], size);
        c.ldq = q->value.stride[0];
        c.k_block = pages[i].k_page;
        c.shared_block = pages[i].shared_page;
        c.v_block = pages[i].v_page;
        c.ldk = (int64_t)shape->n_kv_head * shape->qk_dim;
        c.lds = shape->shared_dim;
        c.ldv = (int64_t)shape->n_kv_head * shape->v_dim;
        c.n_keys = pages[i].n_keys;
        c.out = row(&y->value, layout->start[i], size);
        c.ldo = y->value.stride[0];
        calls[i] = c;
    }
    if (tape_runs(t)) tape_fail(t, attention(calls, layout->n_sequences));
    return tape_ok(t) ? y : t->poison;
}
