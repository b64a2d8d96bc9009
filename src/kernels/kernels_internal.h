/* kernels_internal.h - the table of kernels each tier fills, private to this folder.
 *
 * A tier is one `tier_kernels`: row kernels for float and double, and micro-kernels for the three
 * kinds of product. Everything else (threads, blocking, packing order, attention, MoE) is written
 * once around the table. Row kernels are compiled per tier from one source, rows.inc; products are
 * written by hand where it pays. A tier may point at another tier's entry.
 *
 * Pointers are void* because one signature serves float and double: `real` is the table's type.
 */
#ifndef FATHOM_KERNELS_KERNELS_INTERNAL_H
#define FATHOM_KERNELS_KERNELS_INTERNAL_H

#include "base/pool.h"
#include "kernels/gemm.h"
#include "kernels/kernels.h"

#include <stdatomic.h>

/* Packed B comes in strips of STRIP columns: for each k one row of 16 reals, or for each pair of k
 * one row of 16 pairs of 16 bits (64 bytes either way), k ascending. The k of bf16 is padded to
 * BF16_GROUP, that of the other types of 16 bits to BF16_PAIR, columns to STRIP, with zeros. So 32 k
 * of a bf16 strip are exactly one AMX tile. */
#define STRIP      16
#define BF16_GROUP 32
#define BF16_PAIR  2

/* One micro-kernel call: C[rows, columns] = A[rows, k] * two neighbouring strips of B. */
typedef struct micro_call {
    int64_t k;                    /* padded: a multiple of product_kernels.k_unit */
    const void *a;                /* form: product_kernels.a_form */
    int64_t row_stride, k_stride; /* of a, in elements */
    int64_t panel_stride;         /* from product_kernels.rows rows to the next, 0: as row_stride */
    const void *b;                /* first strip */
    int64_t strip_stride;         /* bytes from it to the second */
    void *c;
    int64_t ldc;
    int rows;    /* 1 .. product_kernels.rows */
    int columns; /* 1 .. 2 * STRIP */
    bool accumulate;
} micro_call;

typedef enum a_form {
    A_REAL,    /* real, any strides: the caller's array will do */
    A_ROUNDED, /* float, rounded to bf16, any strides, k padded with zeros */
    A_TILES,   /* bf16 rows, k_stride 1, k and rows padded with zeros to 32 */
    A_PAIRS,   /* bf16, k 2i and 2i + 1 side by side and aligned: element [m][k] of an even k at
                  m * row_stride + k * k_stride, both strides of rows (k_stride 1) or of pairs of
                  columns (row_stride 2); k padded with a zero */
} a_form;

typedef struct product_kernels {
    int rows;    /* most rows of one micro call */
    int columns; /* of one micro call with more than half of `rows`, else 2 * STRIP */
    a_form form;
    int k_unit;                 /* k is padded with zeros to a multiple: 1, BF16_PAIR, BF16_GROUP */
    int k_block;                /* k walked before the next strip: A and strip stay in L1/L2 */
    int chunk_flops;            /* least work of a pool chunk, a few microseconds */
    int a_size, b_size, c_size; /* bytes: of one A as `form`, of one k of a strip, of one C */
    void (*micro)(const micro_call *call);
    /* Packs columns n <= STRIP of B[k][n] = src[k * stride_k + n * stride_n]. */
    void (*pack_strip)(int64_t k, int n, const void *src, int64_t stride_k, int64_t stride_n,
                       void *strip);
    /* Around the micro calls of one chunk (tile configuration); NULL = nothing to do. */
    void (*enter)(void);
    void (*leave)(void);
} product_kernels;

/* What the tables of the tiers have in common: the fields that follow from the kind of product and
 * the form of A. A table adds rows, columns, chunk_flops and its functions. */
#define PRODUCT_F32                                                                                \
    .form = A_REAL, .k_unit = 1, .k_block = 256, .a_size = 4, .b_size = 64, .c_size = 4
#define PRODUCT_F64                                                                                \
    .form = A_REAL, .k_unit = 1, .k_block = 256, .a_size = 8, .b_size = 128, .c_size = 8
#define PRODUCT_ROUNDED(unit)                                                                      \
    .form = A_ROUNDED, .k_unit = unit, .k_block = 512, .a_size = 4, .b_size = 32, .c_size = 4
#define PRODUCT_HALVES(a_form, unit, block)                                                        \
    .form = a_form, .k_unit = unit, .k_block = block, .a_size = 2, .b_size = 32, .c_size = 4
/* f32 by weights of 16 bits */
#define PRODUCT_HALF                                                                               \
    .form = A_REAL, .k_unit = BF16_PAIR, .k_block = 512, .a_size = 4, .b_size = 32, .c_size = 4

/* Products of doubles, which only serve gradient checks: the loops of products.inc, compiled for
 * the tier that uses this. */
#define PLAIN_F64                                                                                  \
    {                                                                                              \
        PRODUCT_F64, .rows = PLAIN_ROWS, .columns = STRIP, .chunk_flops = 1 << 18,                 \
                     .micro = micro_f64, .pack_strip = pack_strip_f64                              \
    }

/* Functions of flat.inc that every tier takes as they were compiled for it. */
#define FLAT_KERNELS                                                                               \
    .to_bf16 = to_bf16, .round_bf16 = round_bf16, .pair_bf16 = pair_bf16, .adamw = adamw_range,    \
    .random_bits = random_bits

typedef struct row_kernels {
    void (*add)(int64_t n, const void *a, const void *b, void *y);
    void (*axpy)(int64_t n, double a, const void *x, void *y);
    void (*scale)(int64_t n, double a, void *x);
    void (*sigmoid)(int64_t n, const void *x, void *y);
    double (*sum_squares)(int64_t n, const void *x);
    double (*dot)(int64_t n, const void *a, const void *b);
    bool (*finite)(int64_t n, const void *x);
    double (*rmsnorm)(int64_t c, const void *x, const void *w, double eps, void *y); /* 1 / rms */
    void (*rmsnorm_dx)(int64_t c, const void *x, const void *w, double rstd, const void *dy,
                       void *dx);
    void (*rmsnorm_dw)(int64_t c, const void *x, double rstd, const void *dy, void *dw);
    void (*swiglu)(int64_t n, const void *gate, const void *up, void *y);
    void (*swiglu_backward)(int64_t n, const void *gate, const void *up, const void *dy,
                            void *dgate, void *dup);
    /* Rotates r values of one head; table: r / 2 cosines, r / 2 sines. */
    void (*rope)(int r, bool interleaved, bool inverse, const void *table, void *x);
    void (*softmax)(int64_t n, void *x);
    double (*cross_entropy)(int64_t v, void *logits, int64_t target, double dscale); /* loss */
    /* One query, one key block: scores s[64] become probabilities, 0 outside slots [low, high);
     * max and sum are the running state; returns the factor for the output so far. */
    double (*attend)(int low, int high, double scale, void *s, void *max, void *sum);
    /* scores s become p = exp(scale s - lse), then dp becomes scale p (dp - delta). */
    void (*attend_backward)(int low, int high, double scale, double lse, double delta, void *s,
                            void *dp);
    double (*log)(double x);
    /* y[i] = bits[i] < below ? 0 : x[i] * factor */
    void (*drop)(int64_t n, const uint16_t *bits, int below, double factor, const void *x, void *y);
} row_kernels;

typedef struct tier_kernels {
    const row_kernels *rows_f32, *rows_f64;
    product_kernels f32, f64, bf16, bf16_dot;
    product_kernels f32_bf16, f32_f16; /* f32 by weights of 16 bits; micro takes any k */
    /* A strip of 16-bit weights: row j < n <= STRIP of B^T is k of them at rows[j], at any address. */
    void (*pack_halves)(int64_t k, int n, const void *const *rows, void *strip);
    void (*to_bf16)(int64_t n, const float *x, uint16_t *y);
    void (*round_bf16)(int64_t n, const float *x, float *y); /* rounded, kept as float */
    /* to[row * stride + k] = bf16 of src[k * stride_k + row]; rows, k <= BF16_GROUP. May write
     * zeros up to k = BF16_GROUP. */
    void (*transpose_bf16)(int rows, int k, const float *src, int64_t stride_k, uint16_t *to,
                           int64_t stride);
    /* to[i] = the pair (bf16 of even[i], bf16 of odd[i]), the even one low; odd NULL: zeros. */
    void (*pair_bf16)(int64_t n, const float *even, const float *odd, uint32_t *to);
    void (*adamw)(int64_t n, const adamw_step *s, const float *grad, float *w, float *m, float *v);
    /* Bits of elements [BITS_BLOCK * block, + BITS_BLOCK * n) of a stream (dropout.c). */
    void (*random_bits)(const rng *stream, uint64_t block, int64_t n, uint16_t *bits);
} tier_kernels;

extern const tier_kernels tier_portable;
/* Rounds f32 to f16 on the way; of all tiers. */
void pack_strip_f16(int64_t k, int n, const void *src, int64_t stride_k, int64_t stride_n,
                    void *strip);
#if defined(FATHOM_X86_TIERS)
extern const tier_kernels tier_avx2, tier_avx512;
extern const product_kernels product_avx512_bf16;
void avx512_bf16_round(int64_t n, const float *x, uint16_t *y);
void avx512_bf16_pair(int64_t n, const float *even, const float *odd, uint32_t *to);
extern const product_kernels product_amx;
#endif
#if defined(FATHOM_ARM_TIERS)
extern const tier_kernels tier_neon;
extern const product_kernels product_neon_bf16, dot_neon_bf16;
#endif

/* The chosen table (portable before kernels_init), and a door for tests. */
const tier_kernels *kernels_table(void);
void kernels_use_table(const tier_kernels *table);

static inline const row_kernels *row_table(dtype t) {
    const tier_kernels *k = kernels_table();
    return t == DTYPE_F64 ? k->rows_f64 : k->rows_f32;
}
static inline const product_kernels *product_table(gemm_type type) {
    const tier_kernels *k = kernels_table();
    switch (type) {
    case GEMM_F64: return &k->f64;
    case GEMM_BF16: return &k->bf16;
    case GEMM_BF16_DOT: return &k->bf16_dot;
    case GEMM_F32_BF16: return &k->f32_bf16;
    case GEMM_F32_F16: return &k->f32_f16;
    default: return &k->f32;
    }
}
static inline size_t real_size(dtype t) {
    return t == DTYPE_F64 ? sizeof(double) : sizeof(float);
}

/* Element `index` of an array of elements of `size` bytes. */
static inline const void *element(const void *array, int64_t index, size_t size) {
    return (const char *)array + index * (int64_t)size;
}
static inline void *element_mut(void *array, int64_t index, size_t size) {
    return (char *)array + index * (int64_t)size;
}
static inline int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}
static inline int64_t min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static inline int64_t max_i64(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Value of a real* argument handed through void*. */
static inline double real_get(dtype t, const void *array, int64_t i) {
    return t == DTYPE_F64 ? ((const double *)array)[i] : (double)((const float *)array)[i];
}
static inline void real_set(dtype t, void *array, int64_t i, double value) {
    if (t == DTYPE_F64)
        ((double *)array)[i] = value;
    else
        ((float *)array)[i] = (float)value;
}

/* -- random bits of dropout (dropout.c) -- */

#define BITS_BLOCK 128
/* The 16 bits of each of the elements [first, first + n), somewhere in `room` of
 * n + 2 * BITS_BLOCK. */
const uint16_t *dropout_bits(const dropout_mask *mask, uint64_t first, int64_t n, uint16_t *room);

/* A failure inside a pool chunk: the first one is kept and handed to the job's owner. */
typedef struct job_failure {
    _Atomic int state; /* 0 none, 1 being written, 2 written */
    error_report report;
} job_failure;
void job_failed(job_failure *f); /* call in the chunk, after the report was filled */
status job_status(const job_failure *f) MUST_CHECK; /* call after pool_for: restores the report */

/* One thread's product of any size: `block` is a micro_call with rows and columns unbounded,
 * strip_stride bytes from each strip of b to the next. No enter/leave. */
void block_multiply(const product_kernels *p, const micro_call *block);
/* Packs B[k][n] = src[k * stride_k + n * stride_n] (elements of src_size bytes) into strips
 * strip_bytes apart. */
void block_pack(const product_kernels *p, int64_t k, int64_t n, const void *src, size_t src_size,
                int64_t stride_k, int64_t stride_n, void *strips, int64_t strip_bytes);
/* Bytes of one strip with k rows. */
int64_t strip_bytes(const product_kernels *p, int64_t k);
/* Brings A of `block` (reals of c_size bytes, one stride 1, k not padded) into the kernels' form in
 * `buffer` and points block->a at it; pads block->k. */
void block_form_a(const product_kernels *p, micro_call *block, void *buffer);
int64_t block_form_bytes(const product_kernels *p, int64_t rows, int64_t k);

#endif
