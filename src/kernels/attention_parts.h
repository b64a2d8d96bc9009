/* attention_parts.h - what attention and its backward share: where keys lie, packing them, and
 * which slots of a key block a query sees. Private to kernels/. */
#ifndef FATHOM_KERNELS_ATTENTION_PARTS_H
#define FATHOM_KERNELS_ATTENTION_PARTS_H

#include "kernels/kernels_internal.h"

/* One call with its derived numbers. */
typedef struct attention_view {
    const attention_call *call;
    const row_kernels *rows;
    const product_kernels *products; /* of the call's type */
    size_t size;                     /* of a real */
    int width;                       /* qk_dim + shared_dim */
    int group;                       /* query heads per KV head */
    int64_t k_stride;                /* from one KV head to the next */
    int64_t v_stride;
} attention_view;

attention_view attention_view_of(const attention_call *call);

/* Visible slots [low, high) of key block `block` for query `row`; empty if low >= high. */
typedef struct slot_range {
    int low, high;
} slot_range;
slot_range visible_slots(const attention_call *call, int64_t row, int64_t block);
/* Whether any query of rows [first, first + n) sees into the block. */
bool block_visible(const attention_call *call, int64_t first, int64_t n, int64_t block);
/* First and last key block seen by these rows. */
void block_range(const attention_call *call, int64_t first, int64_t n, int64_t *low, int64_t *high);
/* Written keys of the block. */
static inline int block_keys(const attention_call *call, int64_t block) {
    return (int)min_i64(ATTENTION_BLOCK, call->n_keys - block * ATTENTION_BLOCK);
}

/* Strips of B = [K | shared]^T: k = width, n = keys. */
void pack_keys_across(const attention_view *v, int64_t block, int kv_head, void *strips);
/* Room for strips of B[k][n]. */
void *strips_alloc(const attention_view *v, arena *scratch, int64_t k, int64_t n);
/* Packs B[k][n] = src[k * stride_k + n * stride_n]. */
void pack_small(const attention_view *v, int64_t k, int64_t n, const void *src, int64_t stride_k,
                int64_t stride_n, void *strips);

/* Random bits of the probabilities [rows, BLOCK] of a head: queries [row, row + rows), key block
 * `block`; room: MASK_ROOM. */
#define MASK_ROOM (ATTENTION_BLOCK * ATTENTION_BLOCK + 2 * BITS_BLOCK)
const uint16_t *probability_bits(const attention_view *v, int64_t block, int head, int64_t row,
                                 int64_t rows, uint16_t *room);

/* c[rows, columns] (+)= a * strips in the call's type; a is real, and so is c. */
typedef struct small_product {
    int64_t rows, columns, k;
    const void *a;
    int64_t row_stride, k_stride;
    const void *strips; /* of k rows */
    void *form;         /* room for A as the kernels want it (form_alloc) */
    void *c;
    int64_t ldc;
    bool accumulate;
} small_product;
void small_multiply(const attention_view *v, const small_product *s);
/* Room for the A of any small product with at most `k` k; NULL only without memory. */
void *form_alloc(const attention_view *v, arena *scratch, int64_t k);

#endif
