/* rows.c - the public row and vector kernels: threads around the table of the tier.
 *
 * Work is cut by shape into pieces of about PIECE elements (5 to 50 us). Sums over rows (RMSNorm
 * dw, scatter_rows) are cut by columns instead, so that each column is one chain over ascending
 * rows, whatever the number of threads or micro-batches.
 *
 * One context struct serves all functions: `job` names what a piece does to its rows.
 */
#include "kernels/kernels.h"
#include "kernels/kernels_internal.h"

#include <math.h>
#include <string.h>

#define PIECE         16384 /* elements of a chunk */
#define COLUMN_PIECE  64    /* columns of a chunk where rows are summed */
#define SQUARES_PIECE 4096  /* docs/numerics.md 3 */
#define SQUARE_GROUPS 64

/* -- pool chunks of ranges -- */

typedef struct range_job {
    int64_t n, piece;
    const row_kernels *k;
    size_t size; /* of a real */
    const void *a, *b, *c, *d;
    void *y, *z;
    double factor;
    const int32_t *ids;
    int64_t columns, lda, ldb, ldy;
    dtype t;
    void (*run)(const struct range_job *job, int64_t first, int64_t n);
} range_job;

static void range_chunk(void *context, int64_t chunk) {
    const range_job *job = context;
    int64_t first = chunk * job->piece;
    job->run(job, first, min_i64(job->piece, job->n - first));
}

/* Runs job->run over [0, n) in pieces; `weight` elements belong to each of the n. */
static void range_run(range_job *job, int64_t weight) {
    job->k = row_table(job->t);
    job->size = real_size(job->t);
    if (job->piece == 0) job->piece = max_i64(1, PIECE / max_i64(1, weight));
    pool_for(ceil_div(job->n, job->piece), range_chunk, job);
}

/* -- vectors -- */

static void zero_run(const range_job *j, int64_t first, int64_t n) {
    memset(element_mut(j->y, first, j->size), 0, (size_t)n * j->size);
}
void vector_zero(dtype t, int64_t n, void *x) {
    range_run(&(range_job){.t = t, .n = n, .y = x, .run = zero_run}, 1);
}

static void copy_run(const range_job *j, int64_t first, int64_t n) {
    memcpy(element_mut(j->y, first, j->size), element(j->a, first, j->size), (size_t)n * j->size);
}
void vector_copy(dtype t, int64_t n, const void *x, void *y) {
    range_run(&(range_job){.t = t, .n = n, .a = x, .y = y, .run = copy_run}, 1);
}

static void add_run(const range_job *j, int64_t first, int64_t n) {
    j->k->add(n, element(j->a, first, j->size), element(j->b, first, j->size),
              element_mut(j->y, first, j->size));
}
void vector_add(dtype t, int64_t n, const void *a, const void *b, void *y) {
    range_run(&(range_job){.t = t, .n = n, .a = a, .b = b, .y = y, .run = add_run}, 1);
}
void vector_accumulate(dtype t, int64_t n, const void *x, void *y) {
    vector_add(t, n, y, x, y);
}

static void axpy_run(const range_job *j, int64_t first, int64_t n) {
    j->k->axpy(n, j->factor, element(j->a, first, j->size), element_mut(j->y, first, j->size));
}
void vector_axpy(dtype t, int64_t n, double a, const void *x, void *y) {
    range_run(&(range_job){.t = t, .n = n, .factor = a, .a = x, .y = y, .run = axpy_run}, 1);
}

static void scale_run(const range_job *j, int64_t first, int64_t n) {
    j->k->scale(n, j->factor, element_mut(j->y, first, j->size));
}
void vector_scale(dtype t, int64_t n, double a, void *x) {
    range_run(&(range_job){.t = t, .n = n, .factor = a, .y = x, .run = scale_run}, 1);
}

static void to_bf16_run(const range_job *j, int64_t first, int64_t n) {
    kernels_table()->to_bf16(n, (const float *)j->a + first, (uint16_t *)j->y + first);
}
void vector_to_bf16(int64_t n, const float *x, uint16_t *y) {
    range_run(&(range_job){.t = DTYPE_F32, .n = n, .a = x, .y = y, .run = to_bf16_run}, 1);
}

static void from_bf16_run(const range_job *j, int64_t first, int64_t n) {
    const uint16_t *x = (const uint16_t *)j->a + first;
    float *y = (float *)j->y + first;
    for (int64_t i = 0; i < n; i++)
        y[i] = bf16_to_f32(x[i]);
}
void vector_from_bf16(int64_t n, const uint16_t *x, float *y) {
    range_run(&(range_job){.t = DTYPE_F32, .n = n, .a = x, .y = y, .run = from_bf16_run}, 1);
}

static void squares_run(const range_job *j, int64_t group, int64_t unused) {
    (void)unused;
    int64_t pieces = ceil_div(j->columns, SQUARES_PIECE);
    int64_t span = ceil_div(pieces, SQUARE_GROUPS) * SQUARES_PIECE;
    int64_t end = min_i64(j->columns, (group + 1) * span);
    double sum = 0;
    for (int64_t i = group * span; i < end; i += SQUARES_PIECE)
        sum += j->k->sum_squares(min_i64(SQUARES_PIECE, end - i), element(j->a, i, j->size));
    ((double *)j->y)[group] = sum;
}
double vector_sum_squares(dtype t, int64_t n, const void *x) {
    double group[SQUARE_GROUPS] = {0};
    range_run(&(range_job){.t = t,
                           .n = SQUARE_GROUPS,
                           .piece = 1,
                           .columns = n,
                           .a = x,
                           .y = group,
                           .run = squares_run},
              1);
    for (int half = SQUARE_GROUPS / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            group[i] += group[i + half];
    return group[0];
}

static void finite_run(const range_job *j, int64_t first, int64_t n) {
    if (!j->k->finite(n, element(j->a, first, j->size))) atomic_store((atomic_bool *)j->y, true);
}
bool vector_finite(dtype t, int64_t n, const void *x) {
    atomic_bool bad = false;
    range_run(&(range_job){.t = t, .n = n, .a = x, .y = &bad, .run = finite_run}, 1);
    return !atomic_load(&bad);
}

/* -- RMSNorm -- */

typedef struct norm_job {
    const row_kernels *k;
    dtype t;
    size_t size;
    int64_t rows, c, piece, ldx, lddy, lddx;
    const void *x, *w, *dy, *rstd_in;
    double eps;
    void *y, *rstd, *dx, *dw;
    int64_t ldy;
} norm_job;

static void rmsnorm_chunk(void *context, int64_t chunk) {
    const norm_job *j = context;
    int64_t end = min_i64(j->rows, (chunk + 1) * j->piece);
    for (int64_t i = chunk * j->piece; i < end; i++) {
        double rstd = j->k->rmsnorm(j->c, element(j->x, i * j->ldx, j->size), j->w, j->eps,
                                    element_mut(j->y, i * j->ldy, j->size));
        if (j->rstd != NULL) real_set(j->t, j->rstd, i, rstd);
    }
}

void rmsnorm(dtype t, int64_t rows, int64_t c, const void *x, int64_t ldx, const void *w,
             double eps, void *y, int64_t ldy, void *rstd) {
    norm_job j = {.k = row_table(t),
                  .t = t,
                  .size = real_size(t),
                  .rows = rows,
                  .c = c,
                  .piece = max_i64(1, PIECE / max_i64(1, c)),
                  .ldx = ldx,
                  .ldy = ldy,
                  .x = x,
                  .w = w,
                  .eps = eps,
                  .y = y,
                  .rstd = rstd};
    pool_for(ceil_div(rows, j.piece), rmsnorm_chunk, &j);
}

static void rmsnorm_dx_chunk(void *context, int64_t chunk) {
    const norm_job *j = context;
    int64_t end = min_i64(j->rows, (chunk + 1) * j->piece);
    for (int64_t i = chunk * j->piece; i < end; i++)
        j->k->rmsnorm_dx(j->c, element(j->x, i * j->ldx, j->size), j->w,
                         real_get(j->t, j->rstd_in, i), element(j->dy, i * j->lddy, j->size),
                         element_mut(j->dx, i * j->lddx, j->size));
}

static void rmsnorm_dw_chunk(void *context, int64_t chunk) {
    const norm_job *j = context;
    int64_t first = chunk * COLUMN_PIECE, n = min_i64(COLUMN_PIECE, j->c - first);
    for (int64_t i = 0; i < j->rows; i++)
        j->k->rmsnorm_dw(
            n, element(j->x, i * j->ldx + first, j->size), real_get(j->t, j->rstd_in, i),
            element(j->dy, i * j->lddy + first, j->size), element_mut(j->dw, first, j->size));
}

status rmsnorm_backward(dtype t, int64_t rows, int64_t c, const void *x, int64_t ldx, const void *w,
                        const void *rstd, const void *dy, int64_t lddy, void *dx, int64_t lddx,
                        void *dw) {
    norm_job j = {.k = row_table(t),
                  .t = t,
                  .size = real_size(t),
                  .rows = rows,
                  .c = c,
                  .piece = max_i64(1, PIECE / max_i64(1, c)),
                  .ldx = ldx,
                  .lddy = lddy,
                  .lddx = lddx,
                  .x = x,
                  .w = w,
                  .dy = dy,
                  .rstd_in = rstd,
                  .dx = dx,
                  .dw = dw};
    if (dx != NULL) pool_for(ceil_div(rows, j.piece), rmsnorm_dx_chunk, &j);
    if (dw != NULL) pool_for(ceil_div(c, COLUMN_PIECE), rmsnorm_dw_chunk, &j);
    return STATUS_OK;
}

/* -- SwiGLU, sigmoid -- */

typedef struct swiglu_job {
    const row_kernels *k;
    size_t size;
    int64_t rows, f, piece, ld, ldd;
    const void *gate, *up, *dy;
    void *y, *dgate, *dup;
} swiglu_job;

static void swiglu_chunk(void *context, int64_t chunk) {
    const swiglu_job *j = context;
    int64_t end = min_i64(j->rows, (chunk + 1) * j->piece);
    for (int64_t i = chunk * j->piece; i < end; i++)
        j->k->swiglu(j->f, element(j->gate, i * j->ld, j->size), element(j->up, i * j->ld, j->size),
                     element_mut(j->y, i * j->f, j->size));
}

void swiglu(dtype t, int64_t rows, int64_t f, const void *gate, const void *up, int64_t ld,
            void *y) {
    swiglu_job j = {.k = row_table(t),
                    .size = real_size(t),
                    .rows = rows,
                    .f = f,
                    .piece = max_i64(1, PIECE / 4 / max_i64(1, f)),
                    .ld = ld,
                    .gate = gate,
                    .up = up,
                    .y = y};
    pool_for(ceil_div(rows, j.piece), swiglu_chunk, &j);
}

static void swiglu_backward_chunk(void *context, int64_t chunk) {
    const swiglu_job *j = context;
    int64_t end = min_i64(j->rows, (chunk + 1) * j->piece);
    for (int64_t i = chunk * j->piece; i < end; i++)
        j->k->swiglu_backward(j->f, element(j->gate, i * j->ld, j->size),
                              element(j->up, i * j->ld, j->size), element(j->dy, i * j->f, j->size),
                              element_mut(j->dgate, i * j->ldd, j->size),
                              element_mut(j->dup, i * j->ldd, j->size));
}

void swiglu_backward(dtype t, int64_t rows, int64_t f, const void *gate, const void *up, int64_t ld,
                     const void *dy, void *dgate, void *dup, int64_t ldd) {
    swiglu_job j = {.k = row_table(t),
                    .size = real_size(t),
                    .rows = rows,
                    .f = f,
                    .piece = max_i64(1, PIECE / 4 / max_i64(1, f)),
                    .ld = ld,
                    .ldd = ldd,
                    .gate = gate,
                    .up = up,
                    .dy = dy,
                    .dgate = dgate,
                    .dup = dup};
    pool_for(ceil_div(rows, j.piece), swiglu_backward_chunk, &j);
}

static void sigmoid_run(const range_job *j, int64_t first, int64_t n) {
    j->k->sigmoid(n, element(j->a, first, j->size), element_mut(j->y, first, j->size));
}
void sigmoid(dtype t, int64_t n, const void *x, void *y) {
    range_run(&(range_job){.t = t, .n = n, .a = x, .y = y, .run = sigmoid_run}, 4);
}

/* -- rotary positions -- */

typedef struct rope_job {
    const row_kernels *k;
    size_t size;
    int64_t rows, piece, head_stride, ldx;
    int n_head, r;
    bool interleaved, inverse;
    const int32_t *positions;
    const void *table;
    void *x;
} rope_job;

static void rope_chunk(void *context, int64_t chunk) {
    const rope_job *j = context;
    int64_t end = min_i64(j->rows, (chunk + 1) * j->piece);
    for (int64_t i = chunk * j->piece; i < end; i++)
        for (int h = 0; h < j->n_head; h++)
            j->k->rope(j->r, j->interleaved, j->inverse,
                       element(j->table, (int64_t)j->positions[i] * j->r, j->size),
                       element_mut(j->x, i * j->ldx + h * j->head_stride, j->size));
}

void rope(dtype t, int64_t rows, int n_head, int64_t head_stride, int r, bool interleaved,
          bool inverse, const int32_t *positions, const void *table, void *x, int64_t ldx) {
    rope_job j = {.k = row_table(t),
                  .size = real_size(t),
                  .rows = rows,
                  .piece = max_i64(1, PIECE / max_i64(1, (int64_t)n_head * r)),
                  .head_stride = head_stride,
                  .ldx = ldx,
                  .n_head = n_head,
                  .r = r,
                  .interleaved = interleaved,
                  .inverse = inverse,
                  .positions = positions,
                  .table = table,
                  .x = x};
    pool_for(ceil_div(rows, j.piece), rope_chunk, &j);
}

void rope_frequencies(int r, double base, double *frequency) {
    for (int i = 0; i < r / 2; i++)
        frequency[i] = pow(base, -2.0 * i / r);
}

void rope_table(dtype t, int64_t n, int r, const double *frequency, double amplitude, void *table) {
    for (int i = 0; i < r / 2; i++)
        for (int64_t p = 0; p < n; p++) {
            double angle = (double)p * frequency[i];
            real_set(t, table, p * r + i, amplitude * cos(angle));
            real_set(t, table, p * r + r / 2 + i, amplitude * sin(angle));
        }
}

/* -- tables of rows -- */

static void gather_run(const range_job *j, int64_t first, int64_t n) {
    size_t bytes = (size_t)j->columns * j->size;
    for (int64_t i = first; i < first + n; i++)
        memcpy(element_mut(j->y, i * j->columns, j->size),
               element(j->a, j->ids[i] * j->columns, j->size), bytes);
}
void gather_rows(dtype t, int64_t rows, int64_t c, const void *table, const int32_t *ids, void *y) {
    range_run(
        &(range_job){
            .t = t, .n = rows, .columns = c, .a = table, .ids = ids, .y = y, .run = gather_run},
        c);
}

static void scatter_run(const range_job *j, int64_t first, int64_t n) {
    for (int64_t i = 0; i < j->lda; i++) {
        void *to = element_mut(j->y, j->ids[i] * j->columns + first, j->size);
        j->k->add(n, to, element(j->a, i * j->columns + first, j->size), to);
    }
}
void scatter_rows(dtype t, int64_t rows, int64_t c, const int32_t *ids, const void *dy,
                  void *dtable) {
    range_run(&(range_job){.t = t,
                           .n = c,
                           .piece = COLUMN_PIECE,
                           .columns = c,
                           .lda = rows,
                           .a = dy,
                           .ids = ids,
                           .y = dtable,
                           .run = scatter_run},
              1);
}

/* -- softmax and cross entropy -- */

static void softmax_run(const range_job *j, int64_t first, int64_t n) {
    for (int64_t i = first; i < first + n; i++)
        j->k->softmax(j->columns, element_mut(j->y, i * j->ldy, j->size));
}
void softmax_rows(dtype t, int64_t rows, int64_t n, void *x, int64_t ld) {
    range_run(&(range_job){.t = t, .n = rows, .columns = n, .y = x, .ldy = ld, .run = softmax_run},
              4 * n);
}

static void cross_entropy_run(const range_job *j, int64_t first, int64_t n) {
    for (int64_t i = first; i < first + n; i++) {
        void *logits = element_mut(j->y, i * j->ldy, j->size);
        double loss = 0;
        if (j->ids[i] >= 0)
            loss = j->k->cross_entropy(j->columns, logits, j->ids[i], j->factor);
        else if (j->factor != 0)
            memset(logits, 0, (size_t)j->columns * j->size);
        ((double *)j->z)[i] = loss;
    }
}
void cross_entropy(dtype t, int64_t rows, int64_t v, void *logits, int64_t ld,
                   const int32_t *target, double dscale, double *loss) {
    range_run(&(range_job){.t = t,
                           .n = rows,
                           .columns = v,
                           .y = logits,
                           .ldy = ld,
                           .ids = target,
                           .factor = dscale,
                           .z = loss,
                           .run = cross_entropy_run},
              4 * v);
}

/* -- optimiser -- */

typedef struct adamw_job {
    int64_t n;
    const adamw_step *step;
    const float *grad;
    float *w, *m, *v;
} adamw_job;

static void adamw_chunk(void *context, int64_t chunk) {
    const adamw_job *j = context;
    int64_t i = chunk * PIECE;
    kernels_table()->adamw(min_i64(PIECE, j->n - i), j->step, j->grad + i, j->w + i, j->m + i,
                           j->v + i);
}
void adamw(int64_t n, const adamw_step *s, const float *grad, float *w, float *m, float *v) {
    adamw_job j = {n, s, grad, w, m, v};
    pool_for(ceil_div(n, PIECE), adamw_chunk, &j);
}

/* -- failures inside chunks -- */

void job_failed(job_failure *f) {
    int none = 0;
    if (!atomic_compare_exchange_strong(&f->state, &none, 1)) return;
    error_save(&f->report);
    atomic_store(&f->state, 2);
}

status job_status(const job_failure *f) {
    if (atomic_load(&f->state) == 0) return STATUS_OK;
    error_restore(&f->report);
    return f->report.code;
}
