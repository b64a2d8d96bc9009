/* op_internal.h - shared by the op files. */
#ifndef FATHOM_AUTOGRAD_OP_INTERNAL_H
#define FATHOM_AUTOGRAD_OP_INTERNAL_H

#include "autograd/ops.h"
#include "kernels/kernels.h"

/* Kernels are called only while this holds: no failure, not dry. */
static inline bool tape_runs(const tape *t) { return tape_ok(t) && !t->options.dry; }

/* Stores F_SHAPE with the op's name; returns poison. */
var *op_shape_error(tape *t, const char *op, const char *what);
/* Both live and of one shape; else stores the error. */
bool op_same_shape(tape *t, const char *op, const var *a, const var *b);
/* Type of products with a weight of this kind on this tape. */
gemm_type op_product_type(const tape *t, const param *w);

#endif
