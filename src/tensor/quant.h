/* quant.h - element types of GGUF files: plain numbers and numbers in blocks.
 *
 * A block of 32 or 256 elements shares scales; a row is a whole number of blocks. Types are named
 * by the numbers that files use. Every type below that files may carry has a size; those that this
 * program can turn into f32 also have a decoder (quant_can_decode).
 *
 *     quant_decode(QUANT_Q4_K, blocks, 4096, row);  // 16 blocks -> 4,096 floats
 *
 * Decoding is defined to the bit: every product and sum is one rounding in f32, in the order of the
 * formulas in quant.c and quant_k.c.
 */
#ifndef FATHOM_TENSOR_QUANT_H
#define FATHOM_TENSOR_QUANT_H

#include "base/status.h"

#include <stdint.h>

typedef enum quant_type {
    QUANT_F32 = 0,
    QUANT_F16 = 1,
    QUANT_Q4_0 = 2,
    QUANT_Q4_1 = 3,
    QUANT_Q5_0 = 6,
    QUANT_Q5_1 = 7,
    QUANT_Q8_0 = 8,
    QUANT_Q2_K = 10,
    QUANT_Q3_K = 11,
    QUANT_Q4_K = 12,
    QUANT_Q5_K = 13,
    QUANT_Q6_K = 14,
    QUANT_IQ4_NL = 20,
    QUANT_IQ4_XS = 23,
    QUANT_BF16 = 30,
    QUANT_MXFP4 = 39,
    QUANT_LIMIT = 64 /* numbers of types are below */
} quant_type;

/* NULL for a number that no file may carry. */
const char *quant_name(uint32_t type);
/* By that name ("Q4_K"), letters of any case; false if there is none. */
bool quant_find(const char *name, uint32_t *type);
/* Elements and bytes of a block; both 0 for an unknown type. */
int64_t quant_block(uint32_t type);
size_t quant_block_bytes(uint32_t type);
bool quant_can_decode(uint32_t type);
/* Bytes of n elements, a multiple of quant_block. */
static inline size_t quant_bytes(uint32_t type, int64_t n) {
    return (size_t)(n / quant_block(type)) * quant_block_bytes(type);
}
/* n elements, a multiple of quant_block, of a type that can be decoded; `from` need not be aligned. */
void quant_decode(uint32_t type, const void *from, int64_t n, float *to);

#endif
