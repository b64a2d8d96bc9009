/* tape.c - vars, gradients, records and the walk back; routing choices.
 *
 * The tape is an array of records {backward function, context} in the order of the forward; walking
 * it from the end is the whole of backward, because every op adds to its operands' gradients and an
 * output's gradient is complete before its producer's record is reached. This is Wengert's list
 * (reverse accumulation) over coarse ops; there is no graph to sort.
 *
 * Memory: everything lies in one arena that the caller resets after the step. A gradient is made
 * when first asked for: zeroed (var_grad), or overwritten by an op that produces all of it
 * (grad_target), or taken over from the op's output, which nobody reads any more (grad_pass).
 * Otherwise the output's gradient becomes a spare block for the next one (grad_release): at any
 * time only those between the last op done and the next are alive. Slices are windows on their
 * parent's gradient.
 *
 * Failures stick: the first one is kept with its report, later calls do nothing and return
 * `poison`, a var without rows.
 *
 * Mind: a var's needs_grad is false while nothing is recorded, so inference never makes a gradient.
 */
#include "autograd/tape.h"

#include "autograd/op_internal.h"
#include "base/checked.h"
#include "kernels/kernels.h"

#include <inttypes.h>
#include <string.h>

#define FIRST_RECORDS 256

/* -- life and failures -- */

status tape_init(tape *t, arena *memory, param_set *params, tape_options options) {
    memset(t, 0, sizeof *t);
    t->memory = memory;
    t->params = params;
    t->dtype = params->dtype;
    t->options = options;
    for (int i = 0; i < params->n; i++)
        params->all[i]->uses = 0;
    t->poison = arena_zalloc(memory, sizeof *t->poison);
    if (t->poison == NULL) {
        tape_fail(t, STATUS_MEMORY);
        return STATUS_MEMORY;
    }
    t->poison->value = t->poison->grad = tensor_2d(NULL, t->dtype, 0, 0);
    return STATUS_OK;
}

bool tape_ok(const tape *t) {
    return t->state == STATUS_OK;
}

bool tape_records(const tape *t) {
    return t->options.recording && t->silent == 0;
}

void tape_fail(tape *t, status s) {
    if (t->state != STATUS_OK || s == STATUS_OK) return;
    t->state = s;
    error_save(&t->report);
}

status tape_status(tape *t) {
    if (t->state != STATUS_OK) error_restore(&t->report);
    return t->state;
}

/* -- vars -- */

void *tape_alloc(tape *t, size_t bytes) {
    if (!tape_ok(t)) return NULL;
    void *block = arena_alloc(t->memory, bytes);
    if (block == NULL) tape_fail(t, STATUS_MEMORY);
    return block;
}

var *tape_input(tape *t, void *data, int64_t rows, int64_t columns, bool needs_grad) {
    var *v = tape_alloc(t, sizeof *v);
    if (v == NULL) return t->poison;
    *v = (var){.value = tensor_2d(data, t->dtype, rows, columns),
               .grad = tensor_2d(NULL, t->dtype, rows, columns),
               .needs_grad = needs_grad && tape_records(t)};
    return v;
}

static void *alloc_reals(tape *t, int64_t rows, int64_t columns) {
    size_t bytes;
    if (rows >= 0 && columns >= 0 && size_mul(&bytes, (size_t)rows, (size_t)columns) &&
        size_mul(&bytes, bytes, dtype_size(t->dtype)))
        return tape_alloc(t, bytes);
    tape_fail(t, FAIL(F_OVERFLOW,
                      text("a tensor of %" PRId64 " rows and %" PRId64 " columns", rows, columns),
                      "memory of a step", "its bytes do not fit the address space",
                      "use a smaller batch, context or model"));
    return NULL;
}

var *tape_var(tape *t, int64_t rows, int64_t columns, bool needs_grad) {
    void *data = alloc_reals(t, rows, columns);
    return data == NULL ? t->poison : tape_input(t, data, rows, columns, needs_grad);
}

/* -- gradients -- */

/* In the second forward of a checkpoint an outer var gets no gradient: it would end with it. */
static bool behind_fence(tape *t, const var *v) {
    if (t->fence == NULL || (const char *)v >= (const char *)t->fence) return true;
    tape_fail(t,
              FAIL(F_INTERNAL, "a checkpointed block uses a var from outside other than its input",
                   "checkpoint", "its gradient would be lost", "report this as a bug"));
    return false;
}

/* The smallest spare block that fits without wasting more than half. */
static void *take_spare(tape *t, size_t bytes) {
    int best = -1;
    for (int i = 0; i < t->n_spares; i++) {
        size_t room = t->spares[i].bytes;
        if (room < bytes || room / 2 > bytes) continue;
        if (best < 0 || room < t->spares[best].bytes) best = i;
    }
    if (best < 0) return NULL;
    void *data = t->spares[best].data;
    t->spares[best] = t->spares[--t->n_spares];
    return data;
}

static bool grad_alloc(tape *t, var *v) {
    if (!behind_fence(t, v)) return false;
    void *data = take_spare(t, tensor_bytes(&v->grad));
    if (data == NULL) data = alloc_reals(t, v->value.dim[0], v->value.dim[1]);
    v->grad.data = data;
    return data != NULL;
}

void grad_release(tape *t, var *y) {
    if (!tape_ok(t) || y->grad.data == NULL || y->parent != NULL) return;
    if (t->n_spares < MOST_SPARES)
        t->spares[t->n_spares++] = (spare_block){y->grad.data, tensor_bytes(&y->grad)};
    y->grad.data = NULL;
}

static tensor no_gradient(const var *v) {
    tensor none = v->grad;
    none.data = NULL;
    return none;
}

tensor var_grad(tape *t, var *v) {
    if (!tape_ok(t) || !v->needs_grad) return no_gradient(v);
    if (v->grad.data != NULL) return v->grad;
    if (v->parent != NULL) {
        tensor whole = var_grad(t, v->parent);
        if (whole.data != NULL) v->grad = tensor_columns(whole, v->column, v->value.dim[1]);
    } else if (grad_alloc(t, v) && !t->options.dry) {
        vector_zero(t->dtype, tensor_count(&v->grad), v->grad.data);
    }
    return v->grad;
}

tensor grad_target(tape *t, var *v, bool *fresh) {
    *fresh = tape_ok(t) && v->needs_grad && v->grad.data == NULL && v->parent == NULL;
    if (!*fresh) return var_grad(t, v);
    *fresh = grad_alloc(t, v);
    return v->grad;
}

tensor grad_arrived(tape *t, var *y) {
    for (const var *v = y; v != NULL; v = v->parent)
        if (v->grad.data != NULL) return var_grad(t, y);
    return no_gradient(y);
}

void grad_pass(tape *t, var *y, var *to) {
    if (!tape_ok(t)) return;
    tensor dy = var_grad(t, y);
    bool moves = to->grad.data == NULL && to->parent == NULL && y->parent == NULL;
    if (to->needs_grad && moves && behind_fence(t, to)) {
        to->grad = dy;
        y->grad.data = NULL;
    } else if (to->needs_grad && tape_ok(t)) {
        tensor grad = var_grad(t, to);
        if (tape_runs(t)) rows_add(&dy, &grad);
    }
    grad_release(t, y);
}

/* -- records -- */

void tape_push(tape *t, const char *op, backward_fn *fn, void *context) {
    tape_lap(t, op, "forward", (profile_work){0}); /* of ops without counts of their own */
    if (!tape_ok(t) || !tape_records(t)) return;
    if (t->n_records == t->max_records) {
        int room = t->max_records > 0 ? t->max_records * 2 : FIRST_RECORDS;
        tape_record *grown = tape_alloc(t, (size_t)room * sizeof *grown);
        if (grown == NULL) return;
        if (t->n_records > 0) memcpy(grown, t->records, (size_t)t->n_records * sizeof *grown);
        t->records = grown;
        t->max_records = room;
    }
    t->records[t->n_records++] = (tape_record){fn, context, op};
}

/* A checkpointed block is counted in its first forward, silent as it is, and not in the second:
 * so a parameter used by two blocks is ready only after both. */
void param_used(tape *t, param *p) {
    if (tape_ok(t) && t->options.recording && !t->recomputing && p->grad != NULL) p->uses++;
}

void param_done(tape *t, param *p) {
    if (!tape_ok(t) || p->grad == NULL) return;
    p->uses--;
    if (p->uses == 0 && t->on_grad_ready != NULL) t->on_grad_ready(t->on_grad_ready_context, p);
}

status tape_backward(tape *t) {
    while (t->n_records > 0 && tape_ok(t)) {
        tape_record r = t->records[--t->n_records];
        r.fn(t, r.context);
        tape_lap(t, r.op, "backward", (profile_work){0});
    }
    return tape_status(t);
}

/* -- routing choices -- */

status tape_choices(tape *t, int n, choice_slot *lent) {
    t->choices_lent = lent != NULL;
    t->choices = lent != NULL ? lent : tape_alloc(t, (size_t)n * sizeof *lent);
    t->n_choices = t->choices != NULL ? n : 0;
    if (lent == NULL && t->choices != NULL) memset(t->choices, 0, (size_t)n * sizeof *t->choices);
    return tape_status(t);
}

static int32_t *choice_error(tape *t, int i, const char *what, const char *why) {
    tape_fail(t, FAIL(F_SHAPE, what, text("routing choice %d of %d", i, t->n_choices), why,
                      "lend choices recorded for this batch, or none"));
    return NULL;
}

int32_t *tape_choice(tape *t, int i, int64_t n, bool *filled) {
    *filled = false;
    if (!tape_ok(t)) return NULL;
    if (i < 0 || i >= t->n_choices)
        return choice_error(t, i, "a routed layer has no slot for its choice",
                            "the model made room for fewer layers");
    choice_slot *slot = &t->choices[i];
    if (slot->ids == NULL) {
        if (t->choices_lent)
            return choice_error(t, i, "a lent slot has no array", "the lender makes the arrays");
        slot->ids = tape_alloc(t, (size_t)n * sizeof *slot->ids);
        slot->n = n;
    }
    if (slot->filled ? slot->n != n : slot->n != 0 && slot->n < n)
        return choice_error(t, i,
                            text("%" PRId64 " ids are wanted, the slot has %" PRId64, n, slot->n),
                            "it belongs to another batch");
    slot->n = n;
    *filled = slot->filled;
    return slot->ids;
}

void tape_choice_filled(tape *t, int i) {
    if (tape_ok(t)) t->choices[i].filled = true;
}
