/* tensor.h - element types and views.
 *
 * A tensor is a view: pointer, element type, dims, strides. Views are copied freely and never
 * freed; the memory belongs to an arena or to a file mapping. Row-major; strides in elements.
 */
#ifndef FATHOM_TENSOR_TENSOR_H
#define FATHOM_TENSOR_TENSOR_H

#include "base/status.h"

#include <stdint.h>

typedef enum dtype {
    DTYPE_F32,
    DTYPE_F64,
    DTYPE_BF16,
    DTYPE_F16,
    DTYPE_I8,
    DTYPE_U8,
    DTYPE_I16,
    DTYPE_U16,
    DTYPE_I32,
    DTYPE_U32,
    DTYPE_I64,
    DTYPE_U64,
    DTYPE_BOOL,
    DTYPE_F8_E4M3,
    DTYPE_F8_E5M2,
    DTYPE_COUNT
} dtype;
size_t dtype_size(dtype t);                    /* bytes per element */
const char *dtype_name(dtype t);               /* as in safetensors: "F32", "BF16", ... */
bool dtype_find(const char *name, dtype *out); /* by that name */

#define TENSOR_MAX_RANK 4
typedef struct tensor {
    void *data;
    dtype dtype;
    int rank;
    int64_t dim[TENSOR_MAX_RANK];    /* unused dims are 1 */
    int64_t stride[TENSOR_MAX_RANK]; /* in elements */
} tensor;

/* Contiguous views. */
tensor tensor_1d(void *data, dtype t, int64_t d0);
tensor tensor_2d(void *data, dtype t, int64_t d0, int64_t d1);
tensor tensor_3d(void *data, dtype t, int64_t d0, int64_t d1, int64_t d2);
int64_t tensor_count(const tensor *t); /* elements */
size_t tensor_bytes(const tensor *t);  /* of a contiguous one */
bool tensor_contiguous(const tensor *t);
/* Rows [first, first + n) along dim 0. The caller keeps them inside. */
tensor tensor_rows(const tensor *t, int64_t first, int64_t n);
/* "[3, 4]" through text(). */
const char *tensor_shape_text(const tensor *t);

/* bf16 <-> f32, round to nearest even, NaN stays NaN. */
static inline float bf16_to_f32(uint16_t b) {
    union {
        uint32_t u;
        float f;
    } v = {(uint32_t)b << 16};
    return v.f;
}
static inline uint16_t f32_to_bf16(float f) {
    union {
        float f;
        uint32_t u;
    } v = {f};
    if ((v.u & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(v.u >> 16 | 0x40u);
    return (uint16_t)((v.u + 0x7FFFu + (v.u >> 16 & 1u)) >> 16);
}
float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);
/* 4 bits of exponent, bias 7; no infinity, 0x7F and 0xFF are NaN. */
float f8_e4m3_to_f32(uint8_t b);

#endif
