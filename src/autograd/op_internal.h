/* op_internal.h - what the files of autograd/ share.
 *
 * An op reads like this: leave with poison if the tape has failed; check shapes; allocate the
 * output and what backward needs; run kernels if tape_runs; count the parameters it used; push a
 * record. Allocations come first and do not depend on values, so a dry tape takes the same memory.
 */
#ifndef FATHOM_AUTOGRAD_OP_INTERNAL_H
#define FATHOM_AUTOGRAD_OP_INTERNAL_H

#include "autograd/ops.h"
#include "kernels/kernels.h"

/* Kernels are called only while this holds: no failure, not dry. */
static inline bool tape_runs(const tape *t) {
    return tape_ok(t) && !t->options.dry;
}

/* -- what was done, for the profile (base/profile.h) -- */

/* Moving `values` numbers of activations: each operand read and each result written once. */
static inline profile_work work_moved(const tape *t, int64_t values) {
    return (profile_work){PROFILE_BYTES, 0, (double)values * (double)dtype_size(t->dtype)};
}
/* The product of `rows` rows with a matrix [n, k], or with one of `groups` of them each: forward,
 * the gradient of the rows, or (`into_weights`) that of the matrices. */
profile_work work_product(gemm_type type, int64_t rows, int64_t n, int64_t k, int64_t groups,
                          bool into_weights);

/* -- shapes -- */

/* Stores F_SHAPE with the op's name; returns poison. */
var *op_shape_error(tape *t, const char *op, const char *what);
/* No failure so far and both of one shape; else stores the error. */
bool op_same_shape(tape *t, const char *op, const var *a, const var *b);

/* -- gradients (tape.c) -- */

/* The gradient that has arrived at an op's output; data NULL if nobody used it. */
tensor grad_arrived(tape *t, var *y);
/* Gradient of v for an op that adds to all of it: *fresh says that it holds nothing yet, not even
 * zeros, and must be overwritten. */
tensor grad_target(tape *t, var *v, bool *fresh);
/* to's gradient += y's, which nobody reads afterwards: the memory moves if `to` has none. */
void grad_pass(tape *t, var *y, var *to);
/* The op that made y has used its gradient: the memory serves another one. Last act of all. */
void grad_release(tape *t, var *y);

/* -- selective checkpoints (recompute.c) -- */

/* What becomes of an op's output after the first forward, if anything reads it then. An output that
 * nothing reads (saved_wanted) is dropped whatever its class: the second forward makes a var
 * without data and does not compute it. */
typedef enum save_class {
    SAVE_OUTPUT,     /* kept: costs much to make again */
    RECOMPUTE_OUTPUT /* forgotten, computed again */
} save_class;
/* tape_var for the output of an expensive op. *done: the value is there or not wanted, so the op
 * must not compute it. The calls of a block come in the same order in both forwards. */
var *saved_var(tape *t, int64_t rows, int64_t columns, bool needs_grad, save_class class,
               bool *done);
/* The same for an array that backward reads. */
void *saved_alloc(tape *t, size_t bytes, bool *done);
/* Backward, or computing another value again, reads v's value. */
void saved_wanted(tape *t, var *v);
/* A var for the sum of a and b, of one shape. *dropped: one of them was dropped, so it has no data
 * and is not computed: nobody reads the sum of what nobody reads. */
var *sum_var(tape *t, var *a, var *b, bool *dropped);
/* v is what the first forward left, changes in place included, or is dropped. */
bool saved_done(const tape *t, const var *v);
/* A product's class: an output much wider than its input costs little per byte. */
save_class product_class(int64_t in, int64_t out);

/* -- rows with a leading dimension (op_basic.c) -- */

tensor tensor_columns(tensor whole, int64_t first, int64_t n); /* data may be NULL */
void rows_copy(const tensor *from, const tensor *to);
void rows_add(const tensor *from, const tensor *to); /* to += from */

/* -- products with a weight matrix (op_linear.c) -- */

/* Type of products with w on this tape: as asked for, but f32 for routers, and f64 in f64. */
gemm_type op_product_type(const tape *t, const param *w);
/* The packed copies of w for products on this tape; a lap if they had to be made. */
status op_packed(tape *t, param *w, int direction, const packed_matrix **packed) MUST_CHECK;
/* y = x W^T */
status linear_forward(tape *t, param *w, const tensor *x, const tensor *y) MUST_CHECK;
/* dx += dy W, or dx = dy W if fresh */
status linear_input_gradient(tape *t, param *w, const tensor *dy, const tensor *dx,
                             bool fresh) MUST_CHECK;
/* dW += dy^T x; nothing if w has no gradient */
status linear_weight_gradient(tape *t, param *w, const tensor *dy, const tensor *x) MUST_CHECK;

#endif
