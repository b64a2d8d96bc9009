/* op_rope.c - rotary positions, in place (Su et al., "RoFormer", arXiv 2104.09864).
 *
 * A token turns by the angle of its position inside its document. Rotation is orthogonal, so
 * backward rotates the gradient back, in place too. Saved: the rotary position of each token.
 *
 * Tables of cosines and sines depend on the frequencies and the amplitude alone, which scaled
 * positions (model/rope.c) choose and nothing here knows about. They belong to the parameter set, are
 * made on first use and grow by doubling, because a table per call would cost a generated token at
 * position 10,000 as much as a prompt of 10,000 tokens. An outgrown table stays valid: records
 * point to it.
 *
 * Mind: after op_rope only rotated values exist; whatever needs the others must copy them before.
 */
#include "autograd/op_internal.h"

#include <inttypes.h>
#include <string.h>

#define CONSTANTS_LIMIT ((size_t)1 << 36) /* address space, not memory */
#define FIRST_POSITIONS 256
#define MOST_DIM        1024

typedef struct rotary_table {
    struct rotary_table *next;
    int dim;
    double amplitude;
    int64_t n;    /* positions */
    void *values; /* [n, dim] */
    double frequency[];
} rotary_table;

static rotary_table *find_table(param_set *s, int dim, const double *frequency, double amplitude) {
    size_t bytes = (size_t)(dim / 2) * sizeof *frequency;
    for (rotary_table *r = s->rotary; r != NULL; r = r->next)
        if (r->dim == dim && r->amplitude == amplitude &&
            memcmp(r->frequency, frequency, bytes) == 0)
            return r;
    rotary_table *made = arena_zalloc(&s->constants, sizeof *made + bytes);
    if (made == NULL) return NULL;
    *made = (rotary_table){.next = s->rotary, .dim = dim, .amplitude = amplitude};
    memcpy(made->frequency, frequency, bytes);
    s->rotary = made;
    return made;
}

/* The table with at least n positions. */
static status rotary_values(param_set *s, const rope_options *o, int64_t n, const void **values) {
    double plain[MOST_DIM / 2];
    const double *frequency = o->frequency;
    double amplitude = o->amplitude != 0 ? o->amplitude : 1;
    int dim = o->dim;
    if (s->constants.base == NULL) TRY(arena_init(&s->constants, "rotary tables", CONSTANTS_LIMIT));
    if (frequency == NULL) {
        rope_frequencies(dim, o->base, plain);
        frequency = plain;
    }
    rotary_table *r = find_table(s, dim, frequency, amplitude);
    if (r == NULL) return STATUS_MEMORY;
    if (r->n < n) {
        int64_t room = FIRST_POSITIONS;
        while (room < n)
            room *= 2;
        void *grown = arena_alloc(&s->constants, (size_t)(room * dim) * dtype_size(s->dtype));
        if (grown == NULL) return STATUS_MEMORY;
        rope_table(s->dtype, room, dim, r->frequency, amplitude, grown);
        r->values = grown;
        r->n = room;
    }
    *values = r->values;
    return STATUS_OK;
}

typedef struct rope_record {
    var *x;
    rope_options o;
    int32_t *positions; /* [rows] */
    const void *table;
} rope_record;

static void rotate(const tape *t, const rope_record *r, const tensor *x, bool inverse) {
    tensor first = tensor_columns(*x, r->o.column, r->o.dim);
    rope(t->dtype, x->dim[0], r->o.n_head, r->o.head_stride, r->o.dim, r->o.interleaved, inverse,
         r->positions, r->table, first.data, x->stride[0]);
    tape_lap(t, "rope", inverse ? "backward" : "forward",
             work_moved(t, 2 * x->dim[0] * r->o.n_head * r->o.dim));
}

static void rope_backward(tape *t, void *context) {
    rope_record *r = context;
    tensor dx = grad_arrived(t, r->x);
    if (tape_runs(t) && dx.data != NULL) rotate(t, r, &dx, true);
}

static status rope_forward(tape *t, rope_record *r, const token_layout *layout) {
    int64_t last = 0;
    for (int64_t i = 0; i < layout->n; i++) {
        r->positions[i] = layout->position[i] - layout->first[i];
        if (r->positions[i] < 0)
            return FAIL(F_INTERNAL, "a token stands before its document",
                        text("token %" PRId64 " of the batch", i),
                        "its rotary position is negative", "report this as a bug");
        if (r->positions[i] > last) last = r->positions[i];
    }
    TRY(rotary_values(t->params, &r->o, last + 1, &r->table));
    if (!saved_done(t, r->x)) rotate(t, r, &r->x->value, false);
    return STATUS_OK;
}

var *op_rope(tape *t, var *x, const token_layout *layout, const rope_options *o) {
    if (!tape_ok(t)) return t->poison;
    int64_t end = o->column + (o->n_head - 1) * o->head_stride + o->dim;
    if (layout->n != x->value.dim[0] || o->dim % 2 != 0 || o->dim > MOST_DIM || o->column < 0 ||
        end > x->value.dim[1])
        return op_shape_error(
            t, "rope",
            text("%d heads of %d, %" PRId64 " apart from column %" PRId64 " of %s", o->n_head,
                 o->dim, o->head_stride, o->column, tensor_shape_text(&x->value)));
    rope_record *r = tape_alloc(t, sizeof *r);
    int32_t *positions = tape_alloc(t, (size_t)layout->n * sizeof *positions);
    if (positions == NULL) return t->poison;
    *r = (rope_record){.x = x, .o = *o, .positions = positions};
    if (tape_runs(t)) tape_fail(t, rope_forward(t, r, layout));
    if (x->needs_grad) tape_push(t, "rope", rope_backward, r);
    return tape_ok(t) ? x : t->poison;
}
