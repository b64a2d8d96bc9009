/* hash_set.h - a set of 64-bit hashes with one mark each. Private to data/.
 *
 * Open addressing, doubled at 70 %. The hashes are XXH3 values, so their low bits address the table
 * as they are. Not thread-safe, but hash_set_mark may run beside itself and hash_set_has. */
#ifndef FATHOM_DATA_HASH_SET_H
#define FATHOM_DATA_HASH_SET_H

#include "base/memory.h"

typedef struct hash_set {
    uint64_t *slots; /* 0 = free */
    uint8_t *marks;
    size_t n, room;
} hash_set; /* zeroed = empty */

/* *added (may be NULL) tells whether it is new. */
status hash_set_add(hash_set *s, uint64_t hash, bool *added) MUST_CHECK;
bool hash_set_has(const hash_set *s, uint64_t hash);
void hash_set_mark(hash_set *s, uint64_t hash); /* nothing happens if it is not in the set */
bool hash_set_marked(const hash_set *s, uint64_t hash);
size_t hash_set_marked_count(const hash_set *s);
void hash_set_clear(hash_set *s);

#endif
