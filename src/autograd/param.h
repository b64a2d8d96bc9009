/* param.h - parameters: the only tensors that outlive a step.
 *
 * A parameter is {name, shape, master, gradient, use count, packed copies, version}. Parameters of
 * a model live in one param_set: masters contiguous in registration order, gradients in one buffer
 * of the same layout, so that the optimiser, clipping and (later) shards walk plain arrays whose
 * borders are tensor borders.
 *
 * Matrices are [out, in]; stacked matrices (experts) [n, out, in]; vectors [c]. A matrix that
 * Hugging Face stores in several tensors (q_a + kv_a, gate + up, all experts) is ONE parameter
 * here, so that one product serves it; `views` say which rows carry which Hugging Face name.
 *
 * Packed copies (opaque, kernels/gemm.h) are made on first use after the master changed: the
 * forward one is B = W^T, the backward one B = W. A copy has one type at a time; asking for the
 * other one packs again.
 *
 * For inference a set can hold its matrices instead (param_set_hold): each lives once, as its forward
 * packed copy, in the type of its file, without master. A held set has no gradients and is not saved.
 */
#ifndef FATHOM_AUTOGRAD_PARAM_H
#define FATHOM_AUTOGRAD_PARAM_H

#include "kernels/gemm.h"
#include "tensor/tensor.h"

typedef struct param_view {
    const char *name;  /* Hugging Face name */
    int64_t first_row; /* in the parameter seen as [n * out, in]; elements for a vector */
    int64_t rows;
} param_view;

typedef enum param_kind {
    PARAM_MATRIX,    /* hidden weights: decay; Muon may take them */
    PARAM_EMBEDDING, /* embeddings and heads: decay off */
    PARAM_VECTOR,    /* norms: start at one, decay off */
    PARAM_BIAS,      /* of a projection: starts at zero, decay off */
    PARAM_ROUTER,    /* router matrix: products always in full precision */
    PARAM_STATE,     /* not trained by gradient (router bias); saved and loaded */
} param_kind;

typedef struct param {
    const char *name;
    param_kind kind;
    int rank;
    int64_t dim[3];
    int64_t offset;   /* first element inside the set */
    int64_t count;    /* elements */
    void *master;     /* f32, or f64 in a set built for gradient checks */
    void *grad;       /* same layout; NULL when the set has no gradient buffer */
    double init_std;  /* normal with this deviation; 0 = ones for vectors, zeros for state */
    int uses;         /* counted while recording; backward counts down */
    uint64_t version; /* bumped by param_changed */
    uint64_t packed_version[2];
    packed_matrix *packed[2]; /* [PACK_FORWARD, PACK_BACKWARD], one per stacked matrix */
    size_t packed_room[2];    /* bytes behind each packed matrix */
    bool held;                /* no master: the forward copy is the matrix */
    packed_matrix *blocks;    /* param_head_blocks */
    uint64_t blocks_version;
    param_view *views;
    int n_views;
} param;

typedef struct param_set {
    dtype dtype; /* DTYPE_F32 or DTYPE_F64 */
    param **all; /* in registration order; stable addresses */
    int n;
    int64_t count; /* elements of all parameters, each counted once */
    void *master, *grad;
    arena names;     /* descriptions */
    arena memory;    /* masters */
    arena packs;     /* packed copies */
    arena constants; /* rotary tables, made on first use (op_rope.c) */
    struct rotary_table *rotary;
} param_set;

status param_set_init(param_set *s, dtype real) MUST_CHECK;
void param_set_clear(param_set *s);
/* Describes one parameter; all are added before param_set_allocate. dims: `rank` numbers. NULL on
 * failure (report filled). */
param *param_add(param_set *s, param_kind kind, const char *name, int rank, const int64_t *dims,
                 double init_std);
status param_add_view(param_set *s, param *p, const char *hf_name, int64_t first_row,
                      int64_t rows) MUST_CHECK;
status param_set_allocate(param_set *s) MUST_CHECK; /* masters, zeroed */
/* Instead: masters, zeroed, for those parameters only that param_is_held denies; s->master is NULL. */
status param_set_hold(param_set *s) MUST_CHECK;
bool param_is_held(const param *p); /* matrices, but no routers */
/* Gives a matrix of such a set its room, of f32 by `type` (GEMM_F32, GEMM_F32_BF16, GEMM_F32_F16);
 * then its rows, seen as [n * out, in]: gemm_pack_rows on rows of one of the stacked matrices. */
status param_hold(param_set *s, param *p, gemm_type type) MUST_CHECK;
/* What a parameter of such a set takes: a held one in `type`; others as master, routers packed too. */
int64_t param_held_bytes(const param *p, gemm_type type);
status param_hold_rows(param *p, int64_t first, int64_t count, size_t size, gemm_row_source *rows,
                       void *context) MUST_CHECK;
/* Rows `ids` of a matrix [rows, in] as they are used, into y [n, in], a real each. */
void param_gather(const param_set *s, const param *p, int64_t n, const int32_t *ids, void *y);
/* Normal initialisation keyed by (seed, parameter name): adding a parameter moves no other. */
void param_set_initialise(param_set *s, uint64_t seed);
/* Points every parameter's gradient into `buffer` (count elements, not zeroed); NULL detaches. */
void param_set_gradients(param_set *s, void *buffer);
param *param_find(const param_set *s, const char *name);
void param_changed(param *p);         /* its master was written */
void param_set_changed(param_set *s); /* all masters were written */

/* A matrix [H (key_rows + value_rows), kr] whose rows belong to heads, key rows first in each. */
typedef struct head_blocks {
    int64_t n_head, key_rows, value_rows;
    int64_t rotated; /* columns of a query head that have no rows */
} head_blocks;
/* Packed by head, made now if stale, beside the copies of param_packed: H matrices B = key rows, then
 * H matrices B = (value rows)^T. */
status param_head_blocks(param_set *s, param *p, const head_blocks *h, gemm_type type,
                         const packed_matrix **blocks) MUST_CHECK;

enum { PACK_FORWARD = 0, PACK_BACKWARD = 1 };
/* The packed copy of stacked matrix `index` (0 for a plain one), made now if stale. */
status param_packed(param_set *s, param *p, int direction, gemm_type type,
                    const packed_matrix **all_matrices) MUST_CHECK;

#endif
