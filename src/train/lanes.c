/* lanes.c - gradients by lanes: contiguous parts of the batch, summed by a fixed binary tree.
 *
 * What: the gradient of the mean loss over a global batch of n rows.
 *
 * How: rows are cut into L contiguous lanes. A lane starts from zero and its micro-batches add into
 * one buffer one after another, so inside a lane every weight gradient is one chain of additions in
 * row order, wherever micro-batches end. Lanes are then summed as the leaves of a binary tree that
 * depends on L only:
 *
 *     ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))
 *
 * The tree is walked like a binary counter: after lane i, as many merges follow as i + 1 has
 * trailing zeros, each adding the newest buffer into the one before it. So log2(L) + 1 buffers are
 * alive at most, and whoever owns lanes 2j and 2j + 1 (later: another process) can make the same
 * partial sums. What remains for an L that is no power of two is merged from the newest on.
 *
 * Losses are scaled by 1 / counted targets of the WHOLE batch, known before the first forward: mean
 * of means would weigh rows with few targets too much.
 *
 * Mind: the micro-batch is part of the arithmetic, and so the run fixes and records it (trainer.c).
 * Hidden matrices do not see it in f32, because products continue their chains across forwards. But
 * a tied embedding gets its two contributions forward by forward, norms are summed by a tree per
 * forward, bf16 products sum in groups of 32 rows, and experts pad their segments. Counts of routed
 * tokens are sums of integers and do not care.
 */
#include "train/lanes.h"

#include "base/checked.h"
#include "kernels/kernels.h"

int lanes_buffers(int n) {
    int buffers = 1;
    while (n > 1) {
        n = (n + 1) / 2;
        buffers++;
    }
    return buffers;
}

int lane_first_row(int n_rows, int n, int i) {
    return (int)((int64_t)n_rows * i / n);
}

status lanes_init(lanes *l, int n, int64_t count) {
    *l = (lanes){.n = n, .n_buffers = lanes_buffers(n), .count = count};
    size_t bytes, all;
    if (n < 1 || n > LANES_MAX || !size_mul(&bytes, (size_t)count, sizeof(float)) ||
        !size_mul(&all, size_round_up(bytes, 64), (size_t)l->n_buffers))
        return FAIL(F_BAD_VALUE, text("grad-lanes = %d", n), "train settings",
                    text("a batch is cut into 1 to %d lanes", LANES_MAX), "use the default, 8");
    TRY(arena_init(&l->memory, "gradients", all + 4096));
    for (int i = 0; i < l->n_buffers; i++) {
        l->buffer[i] = arena_alloc(&l->memory, bytes);
        if (l->buffer[i] == NULL) {
            lanes_clear(l);
            return STATUS_MEMORY;
        }
    }
    return STATUS_OK;
}

void lanes_clear(lanes *l) {
    arena_clear(&l->memory);
    *l = (lanes){0};
}

/* One forward, and with `backward` its gradient, of rows [first, first + n). */
static status run_micro_batch(model *m, const row_set *rows, int first, int n, bool backward,
                              const gradient_options *options, arena *memory,
                              gradient_result *result) {
    model_batch batch;
    rows_batch(rows, first, n, &batch);
    if (backward) {
        batch.loss_scale = rows->counted > 0 ? 1.0 / (double)rows->counted : 0;
        batch.mtp_scale =
            rows->mtp_counted > 0 ? options->mtp_weight / (double)rows->mtp_counted : 0;
        batch.balance_scale = 1.0 / rows->n;
        batch.recompute = options->recompute;
        batch.dropout =
            (model_dropout){options->dropout, options->seed, options->step, first * rows->seq_len};
    }
    size_t mark = arena_mark(memory);
    tape t;
    model_result out = {0};
    status s = tape_init(&t, memory, &m->params,
                         (tape_options){.recording = backward,
                                        .products = options->products,
                                        .profile = backward ? options->profile : NULL});
    if (s == STATUS_OK) s = model_forward(m, &t, &batch, &out);
    kept_bytes kept = t.kept;
    if (s == STATUS_OK && backward) s = tape_backward(&t);
    arena_reset(memory, mark);
    if (s != STATUS_OK) return s;
    result->loss_sum += out.loss_sum;
    result->mtp_sum += out.mtp_sum;
    result->balance_loss += out.balance_loss;
    result->counted += out.counted;
    result->mtp_counted += out.mtp_counted;
    if (kept.inputs + kept.outputs > result->kept.inputs + result->kept.outputs)
        result->kept = kept;
    return STATUS_OK;
}

static status run_rows(model *m, const row_set *rows, int first, int end, bool backward,
                       const gradient_options *options, arena *memory, gradient_result *result) {
    int step = options->micro_batch > 0 ? options->micro_batch : end - first;
    for (int at = first; at < end; at += step) {
        int n = end - at < step ? end - at : step;
        TRY(run_micro_batch(m, rows, at, n, backward, options, memory, result));
    }
    return STATUS_OK;
}

/* Adds buffer top - 1 into the one below it. */
static void merge_newest(lanes *l, int *alive) {
    vector_accumulate(DTYPE_F32, l->count, l->buffer[*alive - 1], l->buffer[*alive - 2]);
    --*alive;
}

static void lane_lap(const lanes *l, const gradient_options *o, const char *part, int bytes) {
    profile_lap(o->profile, "lanes", part,
                (profile_work){PROFILE_BYTES, 0, (double)bytes * (double)l->count});
}

status lanes_gradient(lanes *l, model *m, const row_set *rows, const gradient_options *options,
                      arena *step_memory, gradient_result *result) {
    *result = (gradient_result){0};
    int n = l->n < rows->n ? l->n : rows->n; /* no empty lanes */
    int alive = 0;
    model_counts_clear(m);
    for (int lane = 0; lane < n; lane++) {
        float *buffer = l->buffer[alive++];
        vector_zero(DTYPE_F32, l->count, buffer);
        lane_lap(l, options, "clear", 4);
        param_set_gradients(&m->params, buffer);
        TRY(run_rows(m, rows, lane_first_row(rows->n, n, lane),
                     lane_first_row(rows->n, n, lane + 1), true, options, step_memory, result));
        for (unsigned done = (unsigned)lane + 1; done % 2 == 0; done /= 2)
            merge_newest(l, &alive);
        lane_lap(l, options, "sum", 0);
    }
    while (alive > 1)
        merge_newest(l, &alive);
    lane_lap(l, options, "sum", 12 * (n - 1));
    param_set_gradients(&m->params, l->buffer[0]);
    return STATUS_OK;
}

status rows_loss(model *m, const row_set *rows, const gradient_options *options, arena *step_memory,
                 gradient_result *result) {
    return run_rows(m, rows, 0, rows->n, false, options, step_memory, result);
}

status row_loss(model *m, const row_set *rows, int i, const gradient_options *options,
                arena *step_memory, gradient_result *result) {
    *result = (gradient_result){0};
    return run_micro_batch(m, rows, i, 1, false, options, step_memory, result);
}
