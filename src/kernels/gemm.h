/* gemm.h - matrix products under the numerics contract (docs/numerics.md).
 *
 * C[m, n] (+)= sum over k of A[m, k] * B[k, n]
 *
 *   GEMM_F32   f32 operands; each C element is ONE chain of fused multiply-adds, k ascending,
 *              starting from 0 or, with `accumulate`, from the old C.
 *   GEMM_BF16  A and B rounded to bf16 (nearest even), C in f32; per 32 k an even chain and an
 *              odd chain, then acc += even + odd: what an AMX tile does. K tails are zeros.
 *   GEMM_BF16_DOT  A and B rounded to bf16, C in f32; one chain per C element like f32, but the
 *              two k of a pair in the order odd, even: what VDPBF16PS of AVX512_BF16 does. An odd
 *              K is padded with one zero.
 *   GEMM_F32_BF16, GEMM_F32_F16  A in f32, B rounded to bf16 or f16, C in f32: the chain of GEMM_F32,
 *              whose bits it gives where B holds such numbers anyway. For weights that live once, in
 *              the 16 bits of their file.
 *   GEMM_F64   f64 operands, portable only: the truth for gradient checks.
 *
 * The bits of C depend neither on tier, nor on thread count, nor on the other rows of A: splitting
 * M or N changes nothing, and splitting K in order with `accumulate` changes nothing (bf16: at
 * multiples of 32, bf16-dot: at even k).
 *
 * B may be packed ahead (weights: once per optimiser step). The packed layout is opaque.
 */
#ifndef FATHOM_KERNELS_GEMM_H
#define FATHOM_KERNELS_GEMM_H

#include "base/memory.h"

#include <stdint.h>

typedef enum gemm_type {
    GEMM_F32,
    GEMM_BF16,
    GEMM_F64,
    GEMM_BF16_DOT,
    GEMM_F32_BF16,
    GEMM_F32_F16,
    GEMM_TYPES
} gemm_type;
const char *gemm_type_name(gemm_type type); /* "f32", "bf16", "f64", "bf16-dot", "f32-bf16", .. */
/* The type of f32 data whose products are fastest on the tier in force: what training takes unless
 * it is told. */
gemm_type gemm_type_fastest(void);

/* A packed B[k, n]; the memory (64-byte aligned, packed_bytes) belongs to the caller. */
typedef struct packed_matrix {
    gemm_type type;
    int64_t n, k;
    void *data; /* NULL = absent */
} packed_matrix;
size_t packed_bytes(gemm_type type, int64_t n, int64_t k);
/* Packs src (f32; f64 for GEMM_F64) with B[k][n] = src[n * stride_n + k * stride_k]; one of the
 * strides is 1. Uses the pool. */
void gemm_pack(packed_matrix *to, const void *src, int64_t stride_n, int64_t stride_k);
/* Fills rows[0, n), n <= 16, with the k numbers of each row first .. first + n of B^T: in f32 one behind
 * the other in `room`, which holds 16 rows of f32 (rows[] is then not asked for), or in 16 bits
 * anywhere. Called from many threads. */
typedef status gemm_row_source(void *context, int64_t first, int n, void *room, const void **rows);
/* Packs rows [first, first + count) of B^T straight from where they are; first and, but at the end of
 * the matrix, count are multiples of 16. size: of what `rows` gives; 2 only for GEMM_F32_BF16 and
 * GEMM_F32_F16, whose bits these are. */
status gemm_pack_rows(packed_matrix *to, int64_t first, int64_t count, size_t size,
                      gemm_row_source *rows, void *context) MUST_CHECK;
/* Row n of B^T as f32, from any type but GEMM_F64. */
void gemm_unpack_row(const packed_matrix *from, int64_t n, float *to);

typedef struct gemm_call {
    gemm_type type;
    int64_t m, n, k; /* any >= 0; k = 0 clears C or leaves it */
    const void *a;   /* f32 or f64; element [m][k] at a[m * a_stride_m + k * a_stride_k] */
    int64_t a_stride_m, a_stride_k; /* one of them is 1 */
    const packed_matrix *b;         /* or NULL, then b_raw is packed on the way: */
    const void *b_raw;              /* B[k][n] = b_raw[n * b_stride_n + k * b_stride_k] */
    int64_t b_stride_n, b_stride_k;
    void *c; /* f32 or f64, C[m][n] at c[m * ldc + n] */
    int64_t ldc;
    bool accumulate;
} gemm_call;
/* Threads come from the pool. Can fail only for lack of scratch memory. */
status gemm(const gemm_call *call) MUST_CHECK;
/* Independent products (the experts of a layer) as one job. */
status gemm_grouped(const gemm_call *calls, int n_calls) MUST_CHECK;

#endif
