/* recompute.c - keep a block's input and output, run it again in backward; keep more of it if asked.
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
 * A selective checkpoint also keeps what costs much to make again (Korthikanti et al., "Reducing
 * Activation Recomputation in Large Transformer Models", arXiv 2205.05198). Expensive ops ask for
 * their output here (saved_var), and ops say whose values backward will read (saved_wanted). After
 * the first forward each such output is in one of three classes:
 *
 *     saved       wanted, and many FLOPs per byte: attention, products that do not widen much
 *     recomputed  wanted, few FLOPs per byte: products that widen; and all row ops, which do not ask
 *     dropped     read by nobody, such as a down projection that only enters the residual sum
 *
 * Saved outputs move down to the mark like routing choices; the second forward meets its requests
 * in the same order and gets them back instead of computing. An output that was rotated in place
 * comes back rotated, and op_rope leaves it alone. Values computed again have the same bits because
 * kernels have.
 *
 * Mind: gradients that outlive the second forward (x's and y's) are made before its mark. A block
 * that reaches any other outer var is caught (tape.c, behind_fence). Checkpoints may nest.
 */
#include "autograd/op_internal.h"

#include <string.h>

#define MOST_SAVED 32 /* requests of one block; later ones are recomputed */

typedef struct saved_block {
    void *data; /* in the arena; NULL: to be recomputed */
    size_t bytes;
    bool wanted;
} saved_block;

struct saved_list {
    saved_block block[MOST_SAVED];
    int n, next; /* requests of the first forward; met by the second so far */
    bool second;
};

typedef struct checkpoint_record {
    block_fn *block;
    void *context;
    var *x, *y;
    saved_list *saved; /* NULL: full */
} checkpoint_record;

/* -- outputs of expensive ops -- */

save_class product_class(int64_t in, int64_t out) {
    return out < 2 * in ? SAVE_OUTPUT : RECOMPUTE_OUTPUT;
}

static bool first_forward(const tape *t) {
    return t->saving != NULL && !t->saving->second;
}

/* The entry of this request in the second forward; NULL: there is none, compute. */
static saved_block *next_saved(tape *t) {
    saved_list *l = t->saving;
    return l != NULL && l->second && l->next < l->n ? &l->block[l->next++] : NULL;
}

/* Adds a request of the first forward; its number, 0 = no room. */
static int add_saved(tape *t, void *data, size_t bytes, save_class class, bool wanted) {
    saved_list *l = t->saving;
    if (l->n == MOST_SAVED) return 0;
    l->block[l->n] = (saved_block){class == SAVE_OUTPUT ? data : NULL, bytes, wanted};
    return ++l->n;
}

var *saved_var(tape *t, int64_t rows, int64_t columns, bool needs_grad, save_class class,
               bool *done) {
    *done = false;
    if (!tape_ok(t)) return t->poison;
    const saved_block *old = next_saved(t);
    if (old == NULL || (old->wanted && old->data == NULL)) {
        var *v = tape_var(t, rows, columns, needs_grad);
        if (tape_ok(t) && first_forward(t))
            v->saved = add_saved(t, v->value.data, tensor_bytes(&v->value), class, false);
        return v;
    }
    *done = true;
    var *v = tape_input(t, old->wanted ? old->data : NULL, rows, columns, needs_grad);
    if (tape_ok(t)) v->saved = t->saving->next;
    return v;
}

void *saved_alloc(tape *t, size_t bytes, bool *done) {
    const saved_block *old = tape_ok(t) ? next_saved(t) : NULL;
    *done = old != NULL;
    if (old != NULL) return old->data;
    void *data = tape_alloc(t, bytes);
    if (data != NULL && first_forward(t)) (void)add_saved(t, data, bytes, SAVE_OUTPUT, true);
    return data;
}

void saved_wanted(tape *t, var *v) {
    if (!tape_ok(t) || !first_forward(t)) return;
    while (v->parent != NULL)
        v = v->parent;
    if (v->saved > 0) {
        saved_block *b = &t->saving->block[v->saved - 1];
        b->wanted = true;
        if (b->data != NULL) return; /* its terms are not needed for it */
    }
    for (int i = 0; i < 2; i++)
        if (v->term[i] != NULL) saved_wanted(t, v->term[i]);
}

bool saved_done(const tape *t, const var *v) {
    while (v->parent != NULL)
        v = v->parent;
    return t->saving != NULL && t->saving->second && (v->saved > 0 || v->value.data == NULL);
}

/* -- the second forward -- */

/* What the second forward replaces on the tape and puts back. */
typedef struct outer_state {
    tape_record *records;
    int n_records, max_records;
    const void *fence;
    bool recomputing;
    saved_list *saving;
    spare_block spares[MOST_SPARES]; /* as they were: those made inside end with it */
    int n_spares;
    size_t mark;
} outer_state;

static outer_state enter_block(tape *t, saved_list *saved) {
    outer_state o = {.records = t->records,
                     .n_records = t->n_records,
                     .max_records = t->max_records,
                     .fence = t->fence,
                     .recomputing = t->recomputing,
                     .saving = t->saving,
                     .n_spares = t->n_spares,
                     .mark = arena_mark(t->memory)};
    memcpy(o.spares, t->spares, sizeof o.spares);
    t->records = NULL;
    t->n_records = t->max_records = 0;
    t->fence = t->memory->base + o.mark;
    t->recomputing = true;
    t->saving = saved;
    if (saved != NULL) saved->second = true, saved->next = 0;
    return o;
}

static void leave_block(tape *t, const outer_state *o) {
    t->records = o->records;
    t->n_records = o->n_records;
    t->max_records = o->max_records;
    t->fence = o->fence;
    t->recomputing = o->recomputing;
    t->saving = o->saving;
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

/* Both forwards made the same requests. */
static void saved_check(tape *t, const saved_list *l) {
    if (!tape_ok(t) || l == NULL || l->next == l->n) return;
    tape_fail(t, FAIL(F_INTERNAL, text("a block asked for %d outputs, then for %d", l->n, l->next),
                      "checkpoint", "its second forward differs from its first",
                      "report this as a bug"));
}

static void checkpoint_backward(tape *t, void *context) {
    checkpoint_record *r = context;
    tensor dx = var_grad(t, r->x);
    (void)var_grad(t, r->y); /* before the mark, too */
    if (!tape_ok(t)) return;
    outer_state outer = enter_block(t, r->saved);
    var *x = tape_input(t, r->x->value.data, r->x->value.dim[0], r->x->value.dim[1], true);
    if (tape_ok(t)) {
        x->value = r->x->value;
        x->grad = dx;
        x->needs_grad = dx.data != NULL;
        var *y = r->block(t, r->context, x);
        saved_check(t, r->saved);
        t->saving = NULL;
        if (keeps_shape(t, r->x, y)) lend_gradient(t, r->y, y);
        status ignored = tape_backward(t); /* stays on the tape */
        (void)ignored;
    }
    leave_block(t, &outer);
    grad_release(t, r->y);
}

/* -- the first forward -- */

/* Something that outlives the inside of its block. */
typedef struct survivor {
    const char *data;
    size_t bytes;
    choice_slot *slot; /* one of them is set */
    saved_block *block;
} survivor;

static void take_lower(survivor *best, survivor s, const char *from, const char *end) {
    if (s.data == NULL || s.data < from || s.data >= end) return;
    if (best->data == NULL || s.data < best->data) *best = s;
}

static survivor lowest_survivor(const tape *t, saved_list *saved, const char *from,
                                const char *end) {
    survivor best = {0};
    for (int i = 0; i < t->n_choices; i++) {
        choice_slot *c = &t->choices[i];
        take_lower(&best, (survivor){(const char *)c->ids, (size_t)c->n * sizeof *c->ids, c, NULL},
                   from, end);
    }
    for (int i = 0; saved != NULL && i < saved->n; i++) {
        saved_block *b = &saved->block[i];
        if (b->wanted) take_lower(&best, (survivor){b->data, b->bytes, NULL, b}, from, end);
    }
    return best;
}

/* Gives back what lies above the mark, except routing choices, which backward replays, and saved
 * outputs: they move down to it, lowest address first, so that none is overwritten. */
static void forget_inside(tape *t, saved_list *saved, size_t mark) {
    const char *from = t->memory->base + mark, *end = t->memory->base + t->memory->used;
    arena_reset(t->memory, mark);
    for (;;) {
        survivor s = lowest_survivor(t, saved, from, end);
        if (s.data == NULL) return;
        void *moved = tape_alloc(t, s.bytes);
        if (moved == NULL) return; /* the tape has failed, nobody asks for the others */
        if (!t->options.dry) memmove(moved, s.data, s.bytes);
        if (s.slot != NULL) s.slot->ids = moved;
        if (s.block != NULL) s.block->data = moved;
        from = s.data + s.bytes;
    }
}

static void count_kept(tape *t, const checkpoint_record *r) {
    if (t->recomputing) return;
    t->kept.inputs += (int64_t)tensor_bytes(&r->y->value);
    for (int i = 0; r->saved != NULL && i < r->saved->n; i++) {
        const saved_block *b = &r->saved->block[i];
        if (b->wanted && b->data != NULL) t->kept.outputs += (int64_t)b->bytes;
    }
}

/* Runs the block silently; its output goes to r->y, what is saved stays. */
static void run_first(tape *t, checkpoint_record *r) {
    size_t mark = arena_mark(t->memory);
    t->silent++;
    t->saving = r->saved;
    var *inside = r->block(t, r->context, r->x);
    t->saving = NULL;
    t->silent--;
    if (keeps_shape(t, r->x, inside) && tape_runs(t)) rows_copy(&inside->value, &r->y->value);
    if (tape_ok(t)) forget_inside(t, r->saved, mark);
    if (tape_ok(t)) count_kept(t, r);
}

var *checkpoint_by(tape *t, recompute_policy policy, block_fn *block, void *context, var *x) {
    if (policy == RECOMPUTE_NONE || !tape_records(t) || t->saving != NULL)
        return block(t, context, x);
    var *y = tape_var(t, x->value.dim[0], x->value.dim[1], true);
    bool selective = policy == RECOMPUTE_SELECTIVE;
    saved_list *saved = selective ? tape_alloc(t, sizeof *saved) : NULL;
    checkpoint_record *r = tape_alloc(t, sizeof *r);
    if (r == NULL) return t->poison;
    if (saved != NULL) *saved = (saved_list){0};
    *r = (checkpoint_record){block, context, x, y, saved};
    run_first(t, r);
    tape_push(t, "checkpoint", checkpoint_backward, r);
    return tape_ok(t) ? y : t->poison;
}

var *checkpoint(tape *t, block_fn *block, void *context, var *x) {
    return checkpoint_by(t, RECOMPUTE_FULL, block, context, x);
}
