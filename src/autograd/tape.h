/* tape.h - a tape of coarse ops.
 *
 * An op computes its forward now, keeps in the arena what backward needs, and, if the tape is
 * recording, appends a record; tape_backward walks the records from the end. Recording off is
 * inference: the same functions run.
 *
 *     tape t;
 *     TRY(tape_init(&t, &step_arena, &params, (tape_options){.recording = true}));
 *     var *h = op_rmsnorm(&t, x, norm, 1e-6);
 *     var *y = op_linear(&t, h, w);
 *     op_head_loss(&t, y, head, &loss);      // losses seed their own gradients
 *     TRY(tape_backward(&t));                // parameter gradients are ADDED to
 *     arena_reset(&step_arena, mark);
 *
 * Errors stick: after a failure every op returns a harmless var and tape_status has the code, so
 * model code reads as formulas and checks once at the end. The report is the first failure's.
 *
 * Losses: an op that is a loss is given the scale of its gradient (1 / tokens of the whole batch,
 * times its weight), so the total needs no final op.
 *
 * Gradients: var_grad gives the (zeroed on first use) gradient of a var; backward functions only
 * ever add. Vars of slices share value and gradient memory with their parent.
 *
 * Gradients of vars in the middle are scratch: once an op has used its output's gradient, the
 * memory goes to an operand or to the next gradient of its size, so backward needs little memory
 * beside what forward kept. After backward only gradients of vars without a producer (tape_input)
 * mean something.
 *
 * Routing choices are recorded inputs: tape_choice returns the slot of a choice; a filled slot is
 * replayed, an empty one is computed and stored. Checkpointing and gradient checks rest on it.
 *
 * A dry tape allocates and records like a real one but computes nothing: it measures memory.
 */
#ifndef FATHOM_AUTOGRAD_TAPE_H
#define FATHOM_AUTOGRAD_TAPE_H

#include "autograd/param.h"
#include "base/profile.h"

typedef struct tape tape;

typedef struct var {
    tensor value;
    tensor grad; /* data NULL until asked for; same dims as value */
    bool needs_grad;
    struct var *parent;  /* a slice of that var's columns, else NULL */
    int64_t column;      /* first column inside the parent */
    struct var *term[2]; /* what the value is a sum of, for selective checkpoints; else NULL */
    int saved;           /* 1 + its place in the list of a selective checkpoint; 0 = not in it */
} var;

typedef void backward_fn(tape *t, void *context);

typedef struct tape_options {
    bool recording;
    /* Products of op_linear, op_experts and op_attention on f32 data: GEMM_F32 (0), GEMM_BF16 (all
     * but attention, which then takes f32) or GEMM_BF16_DOT. */
    gemm_type products;
    bool dry;
    profile *profile; /* laps of ops go there; NULL = none */
} tape_options;

/* Memory of a gradient that nobody needs any more. */
typedef struct spare_block {
    void *data;
    size_t bytes;
} spare_block;
#define MOST_SPARES 32

typedef struct tape_record {
    backward_fn *fn;
    void *context; /* in the arena */
    const char *op;
} tape_record;

/* How much of a block lives from forward to backward. All three give the same bits. */
typedef enum recompute_policy {
    RECOMPUTE_NONE,      /* everything */
    RECOMPUTE_SELECTIVE, /* its input, and outputs that cost much to make again (recompute.c) */
    RECOMPUTE_FULL       /* its input */
} recompute_policy;

/* Outputs of one block under a selective checkpoint; private to recompute.c. */
typedef struct saved_list saved_list;

/* Bytes that checkpoints keep until backward. */
typedef struct kept_bytes {
    int64_t inputs, outputs; /* of blocks; of ops inside, saved by selective ones */
} kept_bytes;

/* ids: NULL = no array yet (a tape's own slots); n: ids it holds or, while not filled, has room for
 * (0 = enough, the lender says). To use lent slots for another batch clear `filled`, restore n. */
typedef struct choice_slot {
    int32_t *ids;
    int64_t n;
    bool filled;
} choice_slot;

struct tape {
    arena *memory;
    param_set *params;
    dtype dtype; /* of activations: that of the parameters */
    tape_options options;
    bool recomputing; /* inside checkpoint's second forward: counts and losses are not added */
    tape_record *records;
    int n_records, max_records;
    int silent; /* > 0 inside checkpoint's first forward: nothing is recorded */
    spare_block spares[MOST_SPARES];
    int n_spares;
    const void *fence;  /* in its second forward: vars below are outside and get no new gradient */
    saved_list *saving; /* of the selective checkpoint whose block runs now; else NULL */
    kept_bytes kept;
    choice_slot *choices;
    int n_choices;
    bool choices_lent; /* they survive the tape */
    var *poison;       /* what ops return after a failure */
    status state;
    error_report report;
    void (*on_grad_ready)(void *context, param *p); /* NULL, or called after the last use */
    void *on_grad_ready_context;
};

status tape_init(tape *t, arena *memory, param_set *params, tape_options options) MUST_CHECK;
/* Makes room for n choices (one per routed layer). Slots' arrays are allocated in the arena of the
 * tape unless `lent` (n slots that outlive the tape; arrays allocated by the lender). */
status tape_choices(tape *t, int n, choice_slot *lent) MUST_CHECK;
/* Slot i with room for n ids; *filled says whether to replay. NULL after a failure. */
int32_t *tape_choice(tape *t, int i, int64_t n, bool *filled);
void tape_choice_filled(tape *t, int i);

status tape_status(tape *t) MUST_CHECK; /* also restores the report of the first failure */
status tape_backward(tape *t) MUST_CHECK;

/* For ops. All return NULL (or poison) after a failure. */
bool tape_ok(const tape *t);
bool tape_records(const tape *t);  /* recording, and not inside checkpoint's first forward */
void tape_fail(tape *t, status s); /* stores the thread's report */
void *tape_alloc(tape *t, size_t bytes);
var *tape_var(tape *t, int64_t rows, int64_t columns, bool needs_grad); /* contents undefined */
/* A var over the caller's memory. */
var *tape_input(tape *t, void *data, int64_t rows, int64_t columns, bool needs_grad);
void tape_push(tape *t, const char *op, backward_fn *fn, void *context);
/* Gradient memory of v, zeroed when first asked for; tensor with data NULL if !needs_grad. */
tensor var_grad(tape *t, var *v);
/* The time since the lap before was spent on this part of an op. */
static inline void tape_lap(const tape *t, const char *op, const char *part, profile_work work) {
    profile_lap(t->options.profile, op, part, work);
}
/* A recorded use of p; backward calls param_done once per use. */
void param_used(tape *t, param *p);
void param_done(tape *t, param *p);

/* Runs block(t, context, x) -> y without keeping its inside; backward runs it again. Same bits as
 * calling the block directly. y has the shape of x. x is the only var from outside that the block
 * may use; `context` must live until backward is done. */
typedef var *block_fn(tape *t, void *context, var *x);
var *checkpoint(tape *t, block_fn *block, void *context, var *x);
/* The same with a policy; checkpoint() is RECOMPUTE_FULL. Inside a selective checkpoint others run
 * their block directly. */
var *checkpoint_by(tape *t, recompute_policy policy, block_fn *block, void *context, var *x);

#endif
