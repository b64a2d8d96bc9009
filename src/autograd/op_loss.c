/* op_loss.c - head and cross entropy in chunks of rows, with the gradients at once.
 *
 * [rows, vocab] never exists: a chunk's logits are made, turned into their gradient in place and
 * used up for dX and dW before the next chunk is made. At 129,280 ids a token's logits are half a
 * megabyte. So x's gradient from the loss is complete when the forward
 * ends, and the record only says when the head is done.
 *
 * Saved: nothing. A chunk has FEW_LOGITS logits, which stay in L3, or if those are fewer than d rows
 * as many more as MOST_LOGITS allow: dW [vocab, d] is read and written once per chunk, and the logits
 * about twice as often as that at d rows, so below it dW is the larger traffic (64 rows of 50,304 x 768
 * let the dW product reach 0.47 of the peak in bf16-dot, 320 rows 0.82). dW continues its chain from
 * chunk to chunk, so chunking changes no bit; losses are summed in f64, rows ascending.
 *
 * Mind: inside checkpoint the first forward gives the losses and the second the gradients.
 */
#include "autograd/op_internal.h"

#include <inttypes.h>

#define FEW_LOGITS  (1 << 22)
#define MOST_LOGITS (1 << 24)
#define MOST_ROWS   1024
#define FEWEST_ROWS 32

typedef struct loss_record {
    param *head;
} loss_record;

static void head_loss_backward(tape *t, void *context) {
    loss_record *r = context;
    param_done(t, r->head);
}

/* One call of the op. */
typedef struct loss_work {
    tape *t;
    const tensor *x;
    tensor dx; /* data NULL: not wanted */
    bool fresh, gradient;
    param *head;
    head_loss *loss;
    tensor logits; /* [chunk, vocab] */
    double *each;  /* [chunk] */
} loss_work;

int64_t head_loss_rows(int64_t vocab, int64_t d) {
    int64_t few = FEW_LOGITS / vocab, most = MOST_LOGITS / vocab, n = d < most ? d : most;
    if (n < few) n = few;
    if (n > MOST_ROWS) n = MOST_ROWS;
    n = n / FEWEST_ROWS * FEWEST_ROWS;
    return n > FEWEST_ROWS ? n : FEWEST_ROWS;
}

static void add_losses(const loss_work *w, int64_t first, int64_t n) {
    head_loss *loss = w->loss;
    for (int64_t i = 0; i < n; i++) {
        if (loss->each != NULL) loss->each[first + i] = w->each[i];
        if (loss->target[first + i] < 0) continue;
        loss->sum += w->each[i];
        loss->counted++;
    }
}

static status run_chunk(const loss_work *w, int64_t first, int64_t n) {
    tensor x = tensor_rows(w->x, first, n), logits = tensor_rows(&w->logits, 0, n);
    TRY(linear_forward(w->t, w->head, &x, &logits));
    cross_entropy(w->t->dtype, n, logits.dim[1], logits.data, logits.stride[0],
                  w->loss->target + first, w->gradient ? w->loss->scale : 0, w->each);
    tape_lap(w->t, "cross_entropy", w->gradient ? "both" : "forward",
             work_moved(w->t, (w->gradient ? 2 : 1) * tensor_count(&logits)));
    if (!w->t->recomputing) add_losses(w, first, n);
    if (!w->gradient) return STATUS_OK;
    if (w->dx.data != NULL) {
        tensor dx = tensor_rows(&w->dx, first, n);
        TRY(linear_input_gradient(w->t, w->head, &logits, &dx, w->fresh));
    }
    return linear_weight_gradient(w->t, w->head, &logits, &x);
}

static status targets_check(const head_loss *loss, int64_t rows, int64_t vocab) {
    for (int64_t i = 0; i < rows; i++)
        if (loss->target[i] < -1 || loss->target[i] >= vocab)
            return FAIL(
                F_TOKEN_RANGE,
                text("target id %" PRId32 " is not in the vocabulary", loss->target[i]),
                text("token %" PRId64 " of the batch", i),
                text("the head has rows for ids 0 to %" PRId64 "; -1 masks a token", vocab - 1),
                "use the tokenizer and data this model was made for");
    return STATUS_OK;
}

static status run_chunks(const loss_work *w, int64_t rows) {
    TRY(targets_check(w->loss, rows, w->head->dim[0]));
    int64_t step = w->logits.dim[0];
    for (int64_t first = 0; first < rows; first += step)
        TRY(run_chunk(w, first, rows - first < step ? rows - first : step));
    return STATUS_OK;
}

void op_head_loss(tape *t, var *x, param *head, head_loss *loss) {
    int64_t rows = x->value.dim[0], vocab = head->dim[0];
    int64_t most = head_loss_rows(vocab, head->dim[1]), chunk = rows < most ? rows : most;
    if (!t->recomputing) loss->sum = 0, loss->counted = 0;
    if (!tape_ok(t)) return;
    if (head->rank != 2 || x->value.dim[1] != head->dim[1]) {
        op_shape_error(t, "head_loss",
                       text("%s by %s [%" PRId64 ", %" PRId64 "]", tensor_shape_text(&x->value),
                            head->name, vocab, head->dim[1]));
        return;
    }
    loss_work w = {.t = t, .x = &x->value, .head = head, .loss = loss};
    w.gradient = tape_records(t) && loss->scale != 0 && (x->needs_grad || head->grad != NULL);
    saved_wanted(t, x);
    if (w.gradient && x->needs_grad) w.dx = grad_target(t, x, &w.fresh);
    loss_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return;
    r->head = head;
    size_t mark = arena_mark(t->memory); /* the chunk's arrays go when the op ends */
    const var *logits = tape_var(t, chunk, vocab, false);
    w.logits = logits->value;
    w.each = tape_alloc(t, (size_t)chunk * sizeof *w.each);
    if (tape_runs(t) && rows > 0) tape_fail(t, run_chunks(&w, rows));
    arena_reset(t->memory, mark);
    if (loss->scale == 0) return; /* used by nobody */
    param_used(t, head);
    if (w.gradient) tape_push(t, "head_loss", head_loss_backward, r);
}
