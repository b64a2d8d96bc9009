/* recompute.c - keep a block's input and output, run it again in backward.
 *
 * Chen et al., "Training Deep Nets with Sublinear Memory Cost" (arXiv 1604.06174). The first
 * forward runs silently: it computes, counts parameter uses, routed tokens and losses, but records
 * nothing, and its memory is given back except for y and the routing choices. Backward runs the
 * block again, recording into an array of its own, with the choices replayed, walks that array, and
 * gives the memory back again. So the inside of one block at a time is alive.
 *
 * Same bits as calling the block directly, because the inner input shares value and gradient memory
 * with the outer one and the inner output takes over the gradient of the outer: every chain of sums
 * continues in the same place and order.
 *
 * Mind: gradients that outlive the second forward (x's and y's) are made before its mark. A block
 * that reaches any other outer var is caught (tape.c, behind_fence). Checkpoints may nest.
 */
#include "autograd/op_internal.h"

#include <string.h>

typedef struct checkpoint_record {
    block_fn *block;
    void *context;
    var *x, *y;
} checkpoint_record;

/* What the second forward replaces on the tape and puts back. */
typedef struct outer_state {
    tape_record *records;
    int n_records, max_records;
    const void *fence;
    bool recomputing;
    spare_block spares[MOST_SPARES]; /* as they were: those made inside end with it */
    int n_spares;
    size_t mark;
} outer_state;

static outer_state enter_block(tape *t) {
    outer_state o = {.records = t->records,
                     .n_records = t->n_records,
                     .max_records = t->max_records,
                     .fence = t->fence,
                     .recomputing = t->recomputing,
                     .n_spares = t->n_spares,
                     .mark = arena_mark(t->memory)};
    memcpy(o.spares, t->spares, sizeof o.spares);
    t->records = NULL;
    t->n_records = t->max_records = 0;
    t->fence = t->memory->base + o.mark;
    t->recomputing = true;
    return o;
}

static void leave_block(tape *t, const outer_state *o) {
    t->records = o->records;
    t->n_records = o->n_records;
    t->max_records = o->max_records;
    t->fence = o->fence;
    t->recomputing = o->recomputing;
    memcpy(t->spares, o->spares, sizeof t->spares);
    t->n_spares = o->n_spares;
    arena_reset(t->memory, o->mark);
}

static bool keeps_shape(tape *t, const var *x, const var *y) {
    return op_same_shape(t, "checkpoint", x, y);
}

/* The inner output takes the outer one's gradient; its memory stays the outer one's. */
static void lend_gradient(tape *t, var *outer, var *inner) {
    tensor dy = outer->grad;
    grad_pass(t, outer, inner);
    outer->grad = dy;
}

static void checkpoint_backward(tape *t, void *context) {
    checkpoint_record *r = context;
    tensor dx = var_grad(t, r->x);
    (void)var_grad(t, r->y); /* before the mark, too */
    if (!tape_ok(t)) return;
    outer_state outer = enter_block(t);
    var *x = tape_input(t, r->x->value.data, r->x->value.dim[0], r->x->value.dim[1], true);
    if (tape_ok(t)) {
        x->value = r->x->value;
        x->grad = dx;
        x->needs_grad = dx.data != NULL;
        var *y = r->block(t, r->context, x);
        if (keeps_shape(t, r->x, y)) lend_gradient(t, r->y, y);
        status ignored = tape_backward(t); /* stays on the tape */
        (void)ignored;
    }
    leave_block(t, &outer);
    grad_release(t, r->y);
}

/* Gives back what lies above the mark, except routing choices, which backward replays: they move
 * down to it, lowest address first, so that none is overwritten. */
static void forget_inside(tape *t, size_t mark) {
    const char *from = t->memory->base + mark, *end = t->memory->base + t->memory->used;
    arena_reset(t->memory, mark);
    for (;;) {
        choice_slot *lowest = NULL;
        for (int i = 0; i < t->n_choices; i++) {
            const char *ids = (const char *)t->choices[i].ids;
            if (ids == NULL || ids < from || ids >= end) continue;
            if (lowest == NULL || ids < (const char *)lowest->ids) lowest = &t->choices[i];
        }
        if (lowest == NULL) return;
        int32_t *old = lowest->ids;
        lowest->ids = tape_alloc(t, (size_t)lowest->n * sizeof *old);
        if (lowest->ids == NULL) return; /* the tape has failed, nobody asks for the others */
        if (!t->options.dry) memmove(lowest->ids, old, (size_t)lowest->n * sizeof *old);
        from = (const char *)(old + lowest->n);
    }
}

var *checkpoint(tape *t, block_fn *block, void *context, var *x) {
    if (!tape_records(t)) return block(t, context, x);
    var *y = tape_var(t, x->value.dim[0], x->value.dim[1], true);
    checkpoint_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    *r = (checkpoint_record){block, context, x, y};
    size_t mark = arena_mark(t->memory);
    t->silent++;
    var *inside = block(t, context, x);
    t->silent--;
    if (keeps_shape(t, x, inside) && tape_runs(t)) rows_copy(&inside->value, &y->value);
    forget_inside(t, mark);
    tape_push(t, "checkpoint", checkpoint_backward, r);
    return tape_ok(t) ? y : t->poison;
}
