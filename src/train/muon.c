/* muon.c - momentum, orthogonalised by five Newton-Schulz steps.
 *
 * What: an update whose singular values are all about one, so that rare directions of a gradient
 * count as much as frequent ones (Jordan et al., "Muon", 2024).
 *
 * How: with gradient g, momentum m = mu m + g and, as Nesterov does, u = mu m + g. Then X = u / |u|
 * and five times
 *
 *     A = X X^T,  X = (a I + b A + c A A) X,      a, b, c = 3.4445, -4.7750, 2.0315
 *
 * which applies the odd polynomial a s + b s^3 + c s^5 to every singular value s and turns all in
 * [0.003, 1] into [0.7, 1.2]. Where a matrix has more rows than columns the same is done from the
 * right, X (a I + b A + c A A) with A = X^T X: the same polynomial, the smaller square. The update
 *
 *     w = w (1 - lr wd) - lr 0.2 sqrt(max(rows, cols)) X
 *
 * has the root mean square that AdamW's usually has, so its learning rate and decay carry over
 * (Moonlight, arXiv 2502.16982, 2.2). The first moment is the only state: m, in AdamW's place.
 *
 * A parameter that bundles matrices (q | k | v, gate | up, experts) is a list of matrices here, one
 * per view, each with a norm and singular values of its own. Equal neighbours go through the
 * products as a group, in which many small ones keep all threads busy.
 *
 * Two of the three products of a step are symmetric, so only the blocks on and below the diagonal
 * are computed and then mirrored: a product of two numbers does not know which came first, and the
 * sum over k has one order, so the mirrored half has the bits that computing it would give. Momentum
 * and Nesterov's u, the polynomial, and decay with update each pass over memory once, in pieces that
 * a core's cache holds.
 *
 * Mind: products are f32 or bf16 as in training (the published code uses bf16). Every number is one
 * of kernels/ with a fixed order of sums, so threads and groups change no bit. A matrix whose u is
 * zero (an expert that got no token yet) is only decayed.
 */
#include "train/muon.h"

#include "base/checked.h"
#include "base/pool.h"
#include "kernels/kernels.h"

#include <math.h>

#define STEPS       5
#define TINY_NORM   1e-12 /* below it a gradient is taken for none */
#define MATCH_ADAMW 0.2   /* root mean square of AdamW's updates */
#define GROUP_MAX   16
#define BLOCKS_MAX  8 /* of rows in a symmetric product, at least BLOCK_ROWS each */
#define BLOCK_ROWS  64
#define PIECE       4096      /* elements of an array that are worked on at a time */
#define GROUP_BYTES (8 << 20) /* of scratch; one matrix may take more */

bool muon_takes(const param *p) {
    return p->kind == PARAM_MATRIX && p->rank >= 2;
}

/* -- the matrices of a parameter -- */

typedef struct matrix_group {
    int64_t first; /* element of the parameter */
    int64_t rows, cols;
    int n; /* matrices of that shape, one after another */
} matrix_group;

static int matrix_count(const param *p) {
    if (p->n_views > 0) return p->n_views;
    return (int)(p->count / (p->dim[p->rank - 2] * p->dim[p->rank - 1]));
}

static matrix_group matrix_at(const param *p, int i) {
    int64_t cols = p->dim[p->rank - 1], rows = p->dim[p->rank - 2];
    if (p->n_views == 0) return (matrix_group){i * rows * cols, rows, cols, 1};
    return (matrix_group){p->views[i].first_row * cols, p->views[i].rows, cols, 1};
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* X and Y, A and B, each a block of the arena. */
static int64_t group_bytes(const matrix_group *g) {
    int64_t side = smaller(g->rows, g->cols);
    size_t x = (size_t)(g->n * g->rows * g->cols) * sizeof(float);
    size_t a = (size_t)(g->n * side * side) * sizeof(float);
    return (int64_t)(2 * size_round_up(x, 64) + 2 * size_round_up(a, 64));
}

/* The group that begins with matrix `at`. */
static matrix_group group_at(const param *p, int at) {
    matrix_group g = matrix_at(p, at);
    int64_t count = g.rows * g.cols;
    for (; at + g.n < matrix_count(p) && g.n < GROUP_MAX; g.n++) {
        matrix_group next = matrix_at(p, at + g.n), more = g;
        more.n++;
        bool joins = next.rows == g.rows && next.first == g.first + g.n * count;
        if (!joins || group_bytes(&more) > GROUP_BYTES) break;
    }
    return g;
}

/* -- Newton-Schulz -- */

typedef struct newton_schulz {
    gemm_type type;
    int n;
    int64_t rows, cols, side;
    float *x, *y; /* [n, rows, cols] */
    float *a, *b; /* [n, side, side] */
} newton_schulz;

/* C = A B for each matrix of the group; A and B are row-major, or read as their transposes. */
typedef struct operand {
    const float *data;
    int64_t size, ld; /* elements of one matrix; of a row */
    bool transposed;
} operand;

static status multiply(const newton_schulz *z, int64_t m, int64_t n, int64_t k, operand a,
                       operand b, float *c) {
    gemm_call calls[GROUP_MAX];
    for (int i = 0; i < z->n; i++)
        calls[i] = (gemm_call){.type = z->type,
                               .m = m,
                               .n = n,
                               .k = k,
                               .a = a.data + i * a.size,
                               .a_stride_m = a.transposed ? 1 : a.ld,
                               .a_stride_k = a.transposed ? a.ld : 1,
                               .b_raw = b.data + i * b.size,
                               .b_stride_n = b.transposed ? b.ld : 1,
                               .b_stride_k = b.transposed ? 1 : b.ld,
                               .c = c + i * m * n,
                               .ldc = n};
    return gemm_grouped(calls, z->n);
}

/* -- symmetric products -- */

/* C = A A^T for each matrix, A [side, k]: rows are cut into blocks, each with the columns up to its
 * own end. A^T is packed once for all of them; a block reads the first columns of it. */
typedef struct symmetric_product {
    packed_matrix whole[GROUP_MAX], part[GROUP_MAX * BLOCKS_MAX];
    gemm_call calls[GROUP_MAX * BLOCKS_MAX];
    int n_calls;
} symmetric_product;

static int64_t rows_of_block(int64_t side) {
    int64_t blocks = side / BLOCK_ROWS < BLOCKS_MAX ? side / BLOCK_ROWS : BLOCKS_MAX;
    if (blocks < 2) return side;
    return (side + blocks * 32 - 1) / (blocks * 32) * 32;
}

static void add_blocks(symmetric_product *s, const newton_schulz *z, int i, int64_t k, operand a,
                       float *c) {
    int64_t side = z->side, block = rows_of_block(side);
    const float *first = a.data + i * a.size;
    int64_t stride_m = a.transposed ? 1 : a.ld, stride_k = a.transposed ? a.ld : 1;
    gemm_pack(&s->whole[i], first, stride_m, stride_k);
    for (int64_t row = 0; row < side; row += block) {
        int64_t end = smaller(row + block, side);
        packed_matrix *part = &s->part[s->n_calls];
        *part = s->whole[i];
        part->n = end;
        s->calls[s->n_calls++] = (gemm_call){.type = z->type,
                                             .m = end - row,
                                             .n = end,
                                             .k = k,
                                             .a = first + row * stride_m,
                                             .a_stride_m = stride_m,
                                             .a_stride_k = stride_k,
                                             .b = part,
                                             .c = c + (i * side + row) * side,
                                             .ldc = side};
    }
}

typedef struct mirror_job {
    int64_t side;
    float *c; /* [n, side, side] */
} mirror_job;

/* Columns right of the diagonal in 32 rows, from the rows below it. */
static void mirror_chunk(void *context, int64_t chunk) {
    const mirror_job *j = context;
    int64_t side = j->side, strips = (side + 31) / 32;
    float *c = j->c + chunk / strips * side * side;
    int64_t first = chunk % strips * 32, end = smaller(first + 32, side);
    for (int64_t column = first; column < side; column++)
        for (int64_t row = first; row < end && row < column; row++)
            c[row * side + column] = c[column * side + row];
}

static status multiply_by_own_transpose(const newton_schulz *z, int64_t k, operand a, float *c) {
    arena *packing = pool_scratch();
    if (packing == NULL) return STATUS_MEMORY;
    size_t mark = arena_mark(packing);
    symmetric_product *s = arena_alloc(packing, sizeof *s);
    bool room = s != NULL;
    if (room) s->n_calls = 0;
    for (int i = 0; room && i < z->n; i++) {
        void *data = arena_alloc(packing, packed_bytes(z->type, z->side, k));
        s->whole[i] = (packed_matrix){z->type, z->side, k, data};
        room = data != NULL;
        if (room) add_blocks(s, z, i, k, a, c);
    }
    status result = room ? gemm_grouped(s->calls, s->n_calls) : STATUS_MEMORY;
    arena_reset(packing, mark);
    mirror_job job = {z->side, c};
    if (result == STATUS_OK) pool_for(z->n * ((z->side + 31) / 32), mirror_chunk, &job);
    return result;
}

/* B = a I + b A + c B. */
static void polynomial_chunk(void *context, int64_t chunk) {
    const newton_schulz *z = context;
    int64_t all = z->n * z->side * z->side, first = chunk * PIECE;
    int64_t n = smaller(PIECE, all - first);
    vector_scale(DTYPE_F32, n, 2.0315, z->b + first);
    vector_axpy(DTYPE_F32, n, -4.7750, z->a + first, z->b + first);
}

static void make_polynomial(newton_schulz *z) {
    int64_t square = z->side * z->side;
    pool_for((z->n * square + PIECE - 1) / PIECE, polynomial_chunk, z);
    for (int i = 0; i < z->n; i++)
        for (int64_t j = 0; j < z->side; j++)
            z->b[i * square + j * (z->side + 1)] += 3.4445f;
}

static status newton_schulz_step(newton_schulz *z) {
    bool wide = z->rows <= z->cols;
    int64_t side = z->side, square = side * side, count = z->rows * z->cols;
    operand x = {z->x, count, z->cols, false}, x_t = {z->x, count, z->cols, true};
    operand a = {z->a, square, side, false}, b = {z->b, square, side, false};
    TRY(multiply_by_own_transpose(z, count / side, wide ? x : x_t, z->a));
    TRY(multiply_by_own_transpose(z, side, a, z->b));
    make_polynomial(z);
    TRY(multiply(z, z->rows, z->cols, side, wide ? b : x, wide ? x : b, z->y));
    float *old = z->x;
    z->x = z->y;
    z->y = old;
    return STATUS_OK;
}

static void normalise(const newton_schulz *z) {
    int64_t count = z->rows * z->cols;
    for (int i = 0; i < z->n; i++) {
        double norm = sqrt(vector_sum_squares(DTYPE_F32, count, z->x + i * count));
        vector_scale(DTYPE_F32, count, norm > TINY_NORM ? 1 / norm : 0, z->x + i * count);
    }
}

status muon_orthogonalise(gemm_type type, int n, int64_t rows, int64_t cols, float *x,
                          arena *scratch, float **result) {
    int64_t side = smaller(rows, cols);
    newton_schulz z = {.type = type, .n = n, .rows = rows, .cols = cols, .side = side, .x = x};
    z.y = arena_alloc(scratch, (size_t)(n * rows * cols) * sizeof(float));
    z.a = z.y != NULL ? arena_alloc(scratch, (size_t)(n * side * side) * sizeof(float)) : NULL;
    z.b = z.a != NULL ? arena_alloc(scratch, (size_t)(n * side * side) * sizeof(float)) : NULL;
    if (z.b == NULL) return STATUS_MEMORY;
    normalise(&z);
    for (int i = 0; i < STEPS; i++)
        TRY(newton_schulz_step(&z));
    *result = z.x;
    return STATUS_OK;
}

/* -- the update -- */

typedef struct update_job {
    const muon_step *step;
    int64_t count;
    double size; /* of the update */
    const float *grad, *x;
    float *m, *u, *w;
} update_job;

/* m = mu m + g, u = mu m + g. */
static void momentum_chunk(void *context, int64_t chunk) {
    const update_job *j = context;
    const muon_step *s = j->step;
    int64_t at = chunk * PIECE, n = smaller(PIECE, j->count - at);
    vector_scale(DTYPE_F32, n, s->momentum, j->m + at);
    vector_axpy(DTYPE_F32, n, s->grad_scale, j->grad + at, j->m + at);
    vector_copy(DTYPE_F32, n, j->m + at, j->u + at);
    vector_scale(DTYPE_F32, n, s->momentum, j->u + at);
    vector_axpy(DTYPE_F32, n, s->grad_scale, j->grad + at, j->u + at);
}

static void apply_chunk(void *context, int64_t chunk) {
    const update_job *j = context;
    const muon_step *s = j->step;
    int64_t at = chunk * PIECE, n = smaller(PIECE, j->count - at);
    vector_scale(DTYPE_F32, n, 1 - s->lr * s->weight_decay, j->w + at);
    vector_axpy(DTYPE_F32, n, -s->lr * j->size, j->x + at, j->w + at);
}

/* Per Newton-Schulz step two symmetric products, counted by half, and one that is not. */
static profile_work products_work(const matrix_group *g, gemm_type type) {
    double side = (double)smaller(g->rows, g->cols), length = (double)larger(g->rows, g->cols);
    double flops = side * side * (length + side + 2 * length) * STEPS * g->n;
    return (profile_work){type == GEMM_F32 ? PROFILE_F32 : PROFILE_BF16, flops,
                          STEPS * 4.0 * g->n * (3 * side * length + 6 * side * side)};
}

static status update_group(param *p, const matrix_group *g, const muon_step *s, float *m,
                           arena *scratch) {
    int64_t count = g->n * g->rows * g->cols, pieces = (count + PIECE - 1) / PIECE;
    update_job j = {.step = s,
                    .count = count,
                    .size = MATCH_ADAMW * sqrt((double)larger(g->rows, g->cols)),
                    .grad = (const float *)p->grad + g->first,
                    .m = m + g->first,
                    .w = (float *)p->master + g->first};
    float *x;
    j.u = arena_alloc(scratch, (size_t)count * sizeof(float));
    if (j.u == NULL) return STATUS_MEMORY;
    pool_for(pieces, momentum_chunk, &j);
    profile_lap(s->profile, "muon", "momentum",
                (profile_work){PROFILE_BYTES, 0, 20.0 * (double)count});
    TRY(muon_orthogonalise(s->type, g->n, g->rows, g->cols, j.u, scratch, &x));
    profile_lap(s->profile, "muon", "products", products_work(g, s->type));
    j.x = x;
    pool_for(pieces, apply_chunk, &j);
    profile_lap(s->profile, "muon", "update",
                (profile_work){PROFILE_BYTES, 0, 12.0 * (double)count});
    return STATUS_OK;
}

status muon_update(param *p, const muon_step *s, float *m, arena *scratch) {
    size_t mark = arena_mark(scratch);
    status result = STATUS_OK;
    for (int i = 0, n = matrix_count(p); result == STATUS_OK && i < n;) {
        matrix_group g = group_at(p, i);
        result = update_group(p, &g, s, m, scratch);
        arena_reset(scratch, mark);
        i += g.n;
    }
    param_changed(p);
    return result;
}

/* -- memory -- */

int64_t muon_scratch_bytes(const param_set *params) {
    int64_t most = 0;
    for (int i = 0; i < params->n; i++) {
        const param *p = params->all[i];
        for (int at = 0; muon_takes(p) && at < matrix_count(p);) {
            matrix_group g = group_at(p, at);
            most = larger(most, group_bytes(&g));
            at += g.n;
        }
    }
    return most;
}

int64_t muon_packing_bytes(const param_set *params, gemm_type type) {
    int64_t most = 0;
    for (int i = 0; i < params->n; i++) {
        const param *p = params->all[i];
        for (int at = 0; muon_takes(p) && at < matrix_count(p);) {
            matrix_group g = group_at(p, at);
            int64_t side = smaller(g.rows, g.cols), length = larger(g.rows, g.cols);
            int64_t one = larger((int64_t)packed_bytes(type, side, length),
                                 (int64_t)packed_bytes(type, length, side));
            most = larger(most, g.n * one);
            at += g.n;
        }
    }
    return most;
}
