/* tape.c - the tape: vars, records, the walk back, checkpointing, routing choices. */
#include "autograd/tape.h"

#include "kernels/kernels.h"

#include <inttypes.h>
#include <string.h>

status tape_init(tape *t, arena *memory, param_set *params, tape_options options) {
    memset(t, 0, sizeof *t);
    t->memory = memory;
    t->params = params;
    t->dtype = params->dtype;
    t->options = options;
    t->poison = arena_zalloc(memory, sizeof *t->poison);
    if (t->poison == NULL) return STATUS_MEMORY;
    t->poison->value = tensor_2d(NULL, t->dtype, 0, 0);
    t->poison->grad = t->poison->value;
    for (int i = 0; i < params->n; i++) params->all[i]->uses = 0;
    return STATUS_OK;
}

bool tape_ok(const tape *t) { return t->state == STATUS_OK; }

void tape_fail(tape *t, status s) {
    if (t->state != STATUS_OK || s == STATUS_OK) return;
    t->state = s;
    error_save(&t->report);
}

status tape_status(tape *t) {
    if (t->state != STATUS_OK) error_restore(&t->report);
    return t->state;
}

void *tape_alloc(tape *t, size_t bytes) {
    if (!tape_ok(t)) return NULL;
    void *block = arena_alloc(t->memory, bytes);
    if (block == NULL) tape_fail(t, STATUS_MEMORY);
    return block;
}

var *tape_input(tape *t, void *data, int64_t rows, int64_t columns, bool needs_grad) {
    var *v = tape_alloc(t, sizeof *v);
    if (v == NULL) return t->poison;
    memset(v, 0, sizeof *v);
    v->value = tensor_2d(data, t->dtype, rows, columns);
    v->grad = tensor_2d(NULL, t->dtype, rows, columns);
    v->needs_grad = needs_grad && t->options.recording;
    return v;
}

var *tape_var(tape *t, int64_t rows, int64_t columns, bool needs_grad) {
    void *data = tape_alloc(t, (size_t)(rows * columns) * dtype_size(t->dtype));
    return data == NULL ? t->poison : tape_input(t, data, rows, columns, needs_grad);
}

tensor var_grad(tape *t, var *v) {
    tensor none = v->value;
    none.data = NULL;
    if (!tape_ok(t) || !v->needs_grad) return none;
    if (v->grad.data != NULL) return v->grad;
    if (v->parent != NULL) { /* columns of the parent's gradient */
        tensor whole = var_grad(t, v->parent);
        if (whole.data == NULL) return none;
        v->grad = v->value;
        v->grad.data = (char *)whole.data + (size_t)v->column * dtype_size(t->dtype);
        v->grad.stride[0] = whole.stride[0];
        return v->grad;
    }
    int64_t n = tensor_count(&v->value);
    void *data = tape_alloc(t, (size_t)n * dtype_size(t->dtype));
    if (data == NULL) return none;
    if (!t->options.dry) vector_zero(t->dtype, n, data);
    v->grad = tensor_2d(data, t->dtype, v->value.dim[0], v->value.dim[1]);
    return v->grad;
}

void tape_push(tape *t, const char *op, backward_fn *fn, void *context) {
    if (!tape_ok(t) || !t->options.recording) return;
    if (t->n_records == t->max_records) {
        int room = t->max_records > 0 ? t->max_records * 2 : 256;
        tape_record *grown = tape_alloc(t, (size_t)room * sizeof *grown);
        if (grown == NULL) return;
        if (t->n_records > 0) memcpy(grown, t->records, (size_t)t->n_records * sizeof *grown);
        t->records = grown;
        t->max_records = room;
    }
    t->records[t->n_records++] = (tape_record){fn, context, op};
}

void param_used(tape *t, param *p) {
    if (tape_ok(t) && t->options.recording) p->uses++;
}

void param_done(tape *t, param *p) {
    p->uses--;
    if (p->uses == 0 && t->on_grad_ready != NULL) t->on_grad_ready(t->on_grad_ready_context, p);
}

/* Runs the records from the last down to `first`, and drops them. */
static void run_back(tape *t, int first) {
    while (t->n_records > first && tape_ok(t)) {
        tape_record r = t->records[--t->n_records];
        r.fn(t, r.context);
    }
}

status tape_backward(tape *t) {
    if (tape_ok(t)) run_back(t, 0);
    return tape_status(t);
}

/* -- routing choices -- */

status tape_choices(tape *t, int n, choice_slot *lent) {
    if (!tape_ok(t)) return tape_status(t);
    if (lent == NULL && n > 0) {
        lent = tape_alloc(t, (size_t)n * sizeof *lent);
        if (lent == NULL) return tape_status(t);
        memset(lent, 0, (size_t)n * sizeof *lent);
    }
    t->choices = lent;
    t->n_choices = n;
    return STATUS_OK;
}

int32_t *tape_choice(tape *t, int i, int64_t n, bool *filled) {
    *filled = false;
    if (!tape_ok(t)) return NULL;
    if (i < 0 || i >= t->n_choices) {
        tape_fail(t, FAIL(F_INTERNAL, text("routing choice %d of %d", i, t->n_choices), "tape",
                          "the model asked for a slot it did not make room for", "report this"));
        return NULL;
    }
    choice_slot *slot = &t->choices[i];
    if (slot->ids == NULL) {
        slot->ids = tape_alloc(t, (size_t)n * sizeof *slot->ids);
        slot->n = n;
        slot->filled = false;
    }
    if (slot->n != n) {
        tape_fail(t, FAIL(F_SHAPE, text("room for %" PRId64 " routing choices, %" PRId64 " wanted",
                                        slot->n, n),
                          text("choice %d", i), "they belong to another batch",
                          "lend choices of the same batch"));
        return NULL;
    }
    *filled = slot->filled;
    return slot->ids;
}

void tape_choice_filled(tape *t, int i) { t->choices[i].filled = true; }

/* -- checkpointing -- */

typedef struct checkpoint_record {
    block_fn *block;
    void *context;
    var *x, *y;
} checkpoint_record;

static void checkpoint_backward(tape *t, void *context) {
    checkpoint_record *r = context;
    /* Gradients that outlive the second forward are made before its mark. */
    tensor dx = var_grad(t, r->x), dy = var_grad(t, r->y);
    if (!tape_ok(t)) return;
    size_t mark = arena_mark(t->memory);
    bool outer = t->recomputing;
    tape_record *records = t->records;
    int n_records = t->n_records, max_records = t->max_records;
    t->recomputing = true;
    t->records = NULL; /* the inner records live and die behind the mark */
    t->n_records = t->max_records = 0;
    var *x = tape_input(t, r->x->value.data, r->x->value.dim[0], r->x->value.dim[1], true);
    x->value = r->x->value;
    if (dx.data != NULL) x->grad = dx; else x->needs_grad = false;
    var *y = r->block(t, r->context, x);
    if (tape_ok(t)) {
        tensor inner = var_grad(t, y);
        if (inner.data != NULL && !t->options.dry)
            vector_accumulate(t->dtype, tensor_count(&dy), dy.data, inner.data);
        run_back(t, 0);
    }
    t->recomputing = outer;
    t->records = records;
    t->n_records = n_records;
    t->max_records = max_records;
    arena_reset(t->memory, mark);
}

/* Goes back to the mark, but for the routing choices made behind it, which backward replays: they
 * move down to the mark, lowest address first, so that none is overwritten. */
static void forget_inside(tape *t, size_t mark) {
    char *from = t->memory->base + mark, *end = t->memory->base + t->memory->used;
    arena_reset(t->memory, mark);
    for (;;) {
        choice_slot *next = NULL;
        for (int i = 0; i < t->n_choices; i++) {
            char *ids = (char *)t->choices[i].ids;
            if (ids != NULL && ids >= from && ids < end &&
                (next == NULL || ids < (char *)next->ids))
                next = &t->choices[i];
        }
        if (next == NULL) return;
        int32_t *kept = tape_alloc(t, (size_t)next->n * sizeof *kept);
        from = (char *)(next->ids + next->n);
        if (kept == NULL) {
            next->ids = NULL;
            return;
        }
        if (!t->options.dry) memmove(kept, next->ids, (size_t)next->n * sizeof *kept);
        next->ids = kept;
    }
}

var *checkpoint(tape *t, block_fn *block, void *context, var *x) {
    if (!t->options.recording) return block(t, context, x);
    var *y = tape_var(t, x->value.dim[0], x->value.dim[1], true);
    checkpoint_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    *r = (checkpoint_record){block, context, x, y};
    size_t mark = arena_mark(t->memory);
    t->options.recording = false;
    var *inner = block(t, context, x);
    t->options.recording = true;
    if (tape_ok(t) && !t->options.dry)
        vector_copy(t->dtype, tensor_count(&y->value), inner->value.data, y->value.data);
    forget_inside(t, mark);
    tape_push(t, "checkpoint", checkpoint_backward, r);
    return tape_ok(t) ? y : t->poison;
}
