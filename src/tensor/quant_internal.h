/* quant_internal.h - what the files of block formats share. */
#ifndef FATHOM_TENSOR_QUANT_INTERNAL_H
#define FATHOM_TENSOR_QUANT_INTERNAL_H

#include "tensor/quant.h"

#include <string.h>

/* Little-endian half and 16-bit word at any address. */
static inline uint16_t load_u16(const uint8_t *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}
float quant_half(const uint8_t *p);
/* The 16 values of IQ4 codes. */
extern const int8_t quant_iq4_values[16];

/* One block of 256. */
void quant_q2_k(const uint8_t *block, float *to);
void quant_q3_k(const uint8_t *block, float *to);
void quant_q4_k(const uint8_t *block, float *to);
void quant_q5_k(const uint8_t *block, float *to);
void quant_q6_k(const uint8_t *block, float *to);
void quant_iq4_xs(const uint8_t *block, float *to);

#endif
