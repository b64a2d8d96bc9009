/* op_loss.c - head and cross entropy in chunks of rows, with the gradient at once.
 *
 * [rows, vocab] never exists: a chunk's logits are made, turned into their gradient in place, and
 * used up for dX and dW before the next chunk. So the head's weight gradient is complete when the
 * forward ends; backward only adds the kept dX into x's gradient. Chunks hold CHUNK rows whatever
 * the thread count, and dW continues its chain from chunk to chunk.
 */
#include "autograd/op_internal.h"

#include "base/pool.h"

#include <inttypes.h>

#define CHUNK 128

typedef struct loss_record {
    var *x;
    param *head;
    void *dx;
} loss_record;

static void loss_backward(tape *t, void *context) {
    loss_record *r = context;
    tensor dx = var_grad(t, r->x);
    size_t size = dtype_size(t->dtype);
    for (int64_t i = 0; tape_runs(t) && dx.data != NULL && i < dx.dim[0]; i++)
        vector_accumulate(t->dtype, dx.dim[1], (char *)r->dx + (size_t)(i * dx.dim[1]) * size,
                          (char *)dx.data + (size_t)(i * dx.stride[0]) * size);
    param_done(t, r->head);
}

typedef struct loss_work {
    tape *t;
    const tensor *x;
    param *head;
    const packed_matrix *forward, *backward;
    head_loss *loss;
    void *logits; /* [CHUNK, vocab] */
    double *each; /* [CHUNK] */
    void *dx;     /* NULL: no gradient wanted */
} loss_work;

static status chunk_gradient(const loss_work *w, int64_t first, int64_t rows) {
    int64_t d = w->head->dim[1], vocab = w->head->dim[0];
    size_t size = dtype_size(w->t->dtype);
    gemm_type type = op_product_type(w->t, w->head);
    char *x = (char *)w->x->data + (size_t)(first * w->x->stride[0]) * size;
    TRY(gemm(&(gemm_call){.type = type, .m = rows, .n = d, .k = vocab, .a = w->logits,
                          .a_stride_m = vocab, .a_stride_k = 1, .b = w->backward,
                          .c = (char *)w->dx + (size_t)(first * d) * size, .ldc = d}));
    if (w->head->grad == NULL) return STATUS_OK;
    return gemm(&(gemm_call){.type = type, .m = vocab, .n = d, .k = rows, .a = w->logits,
                             .a_stride_m = 1, .a_stride_k = vocab, .b_raw = x, .b_stride_n = 1,
                             .b_stride_k = w->x->stride[0], .c = w->head->grad, .ldc = d,
                             .accumulate = true});
}

static status chunk_run(const loss_work *w, int64_t first, int64_t rows) {
    int64_t d = w->head->dim[1], vocab = w->head->dim[0];
    head_loss *loss = w->loss;
    char *x = (char *)w->x->data + (size_t)(first * w->x->stride[0]) * dtype_size(w->t->dtype);
    TRY(gemm(&(gemm_call){.type = op_product_type(w->t, w->head), .m = rows, .n = vocab, .k = d,
                          .a = x, .a_stride_m = w->x->stride[0], .a_stride_k = 1, .b = w->forward,
                          .c = w->logits, .ldc = vocab}));
    cross_entropy(w->t->dtype, rows, vocab, w->logits, vocab, loss->target + first,
                  w->dx != NULL ? loss->scale : 0, w->each);
    for (int64_t i = 0; i < rows; i++) {
        if (loss->each != NULL) loss->each[first + i] = w->each[i];
        if (loss->target[first + i] < 0) continue;
        loss->sum += w->each[i];
        loss->counted++;
    }
    return w->dx != NULL ? chunk_gradient(w, first, rows) : STATUS_OK;
}

static status targets_check(const head_loss *loss, int64_t rows, int64_t vocab) {
    for (int64_t i = 0; i < rows; i++)
        if (loss->target[i] < -1 || loss->target[i] >= vocab)
            return FAIL(F_TOKEN_RANGE, text("target id %d", loss->target[i]),
                        text("row %" PRId64 " of the batch", i),
                        text("the vocabulary has %" PRId64 " ids", vocab),
                        "use the tokenizer that belongs to this model");
    return STATUS_OK;
}

void op_head_loss(tape *t, var *x, param *head, head_loss *loss) {
    loss->sum = 0;
    loss->counted = 0;
    if (!tape_ok(t)) return;
    int64_t rows = x->value.dim[0], vocab = head->dim[0];
    if (x->value.dim[1] != head->dim[1]) {
        op_shape_error(t, "head_loss", text("%s by %s", tensor_shape_text(&x->value), head->name));
        return;
    }
    bool gradient = t->options.recording && loss->scale != 0;
    loss_record *r = tape_alloc(t, sizeof *r);
    size_t size = dtype_size(t->dtype);
    void *dx = gradient ? tape_alloc(t, (size_t)(rows * head->dim[1]) * size) : NULL;
    if (r == NULL || !tape_ok(t)) return;
    *r = (loss_record){x, head, dx};
    size_t mark = arena_mark(t->memory); /* the chunk's arrays go when the op ends */
    int64_t chunk = rows < CHUNK ? rows : CHUNK;
    loss_work w = {.t = t, .x = &x->value, .head = head, .loss = loss, .dx = dx};
    w.logits = tape_alloc(t, (size_t)(chunk * vocab) * size);
    w.each = tape_alloc(t, (size_t)chunk * sizeof *w.each);
    status s = STATUS_OK;
    if (tape_runs(t)) {
        gemm_type type = op_product_type(t, head);
        s = targets_check(loss, rows, vocab);
        if (s == STATUS_OK) s = param_packed(t->params, head, PACK_FORWARD, type, &w.forward);
        if (s == STATUS_OK && gradient)
            s = param_packed(t->params, head, PACK_BACKWARD, type, &w.backward);
        for (int64_t i = 0; i < rows && s == STATUS_OK; i += CHUNK)
            s = chunk_run(&w, i, rows - i < CHUNK ? rows - i : CHUNK);
    }
    arena_reset(t->memory, mark);
    tape_fail(t, s);
    if (!gradient) return;
    param_used(t, head);
    tape_push(t, "head_loss", loss_backward, r);
}
