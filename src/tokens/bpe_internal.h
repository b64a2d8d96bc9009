/* bpe_internal.h - the table of unique pieces: counting fills it, learning reads it (tokens only). */
#ifndef FATHOM_BPE_INTERNAL_H
#define FATHOM_BPE_INTERNAL_H

#include "tokens/bpe_train.h"
#include "tokens/tokens_internal.h"

#define PIECE_MOST 128 /* bytes; so the length of a symbol fits a byte */

typedef struct piece_entry {
    uint64_t hash;
    int64_t count;
    uint32_t offset; /* into piece_table.bytes */
    uint32_t n;
} piece_entry;

/* A hash table that keeps its entries in the order they came in. */
typedef struct piece_table {
    piece_entry *entries;
    uint32_t *slots; /* index + 1, 0 = free; [mask + 1] */
    uint8_t *bytes;
    size_t n, room, n_bytes, bytes_room;
    uint32_t mask;
} piece_table;

status piece_table_add(piece_table *p, const uint8_t *bytes, uint32_t n, uint64_t hash,
                       int64_t count) MUST_CHECK;
void piece_table_empty(piece_table *p); /* keeps its memory */
void piece_table_clear(piece_table *p);

/* Pieces fall into parts by their hash, so that parts can be merged at the same time. */
#define PIECE_PARTS 16
static inline unsigned piece_part(uint64_t hash) {
    return (unsigned)(hash >> 60);
}

typedef struct piece_counter piece_counter;
status piece_counter_new(piece_counter **out, pretokenizer kind) MUST_CHECK;
void piece_counter_free(piece_counter *c);
status piece_counter_add(piece_counter *c, const text_span *documents, size_t n) MUST_CHECK;
const piece_table *piece_counter_part(const piece_counter *c, unsigned part);

#endif
