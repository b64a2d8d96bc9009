/* hash_set.c - see hash_set.h.
 *
 * Mind: hash 0 stands for a free slot, so it is stored as 1; with 64 bits the merger of two values
 * costs nothing that another collision would not.
 */
#include "data/hash_set.h"

#include "base/checked.h"

static uint64_t stored(uint64_t hash) {
    return hash != 0 ? hash : 1;
}

/* The slot of a hash, or the free one where it belongs. room > 0. */
static size_t find(const hash_set *s, uint64_t hash) {
    size_t i = (size_t)hash & (s->room - 1);
    while (s->slots[i] != 0 && s->slots[i] != hash)
        i = (i + 1) & (s->room - 1);
    return i;
}

static status grow(hash_set *s) {
    size_t room;
    if (!size_mul(&room, s->room > 0 ? s->room : 512, 2))
        return FAIL(F_OVERFLOW, "too many hashes", "hash set", "the table does not fit an address",
                    "split the data");
    hash_set next = {.room = room, .n = s->n};
    next.slots = mem_zalloc(room, sizeof *next.slots);
    next.marks = mem_zalloc(room, sizeof *next.marks);
    if (next.slots == NULL || next.marks == NULL) {
        hash_set_clear(&next);
        return STATUS_MEMORY;
    }
    for (size_t i = 0; i < s->room; i++) {
        if (s->slots[i] == 0) continue;
        size_t to = find(&next, s->slots[i]);
        next.slots[to] = s->slots[i];
        next.marks[to] = s->marks[i];
    }
    hash_set_clear(s);
    *s = next;
    return STATUS_OK;
}

status hash_set_add(hash_set *s, uint64_t hash, bool *added) {
    if (s->n + 1 > s->room / 10 * 7) TRY(grow(s));
    hash = stored(hash);
    size_t i = find(s, hash);
    if (added != NULL) *added = s->slots[i] == 0;
    if (s->slots[i] == 0) s->n++;
    s->slots[i] = hash;
    return STATUS_OK;
}

bool hash_set_has(const hash_set *s, uint64_t hash) {
    return s->room > 0 && s->slots[find(s, stored(hash))] != 0;
}

void hash_set_mark(hash_set *s, uint64_t hash) {
    if (s->room == 0) return;
    size_t i = find(s, stored(hash));
    if (s->slots[i] != 0) __atomic_store_n(&s->marks[i], 1, __ATOMIC_RELAXED);
}

bool hash_set_marked(const hash_set *s, uint64_t hash) {
    if (s->room == 0) return false;
    size_t i = find(s, stored(hash));
    return s->slots[i] != 0 && __atomic_load_n(&s->marks[i], __ATOMIC_RELAXED) != 0;
}

size_t hash_set_marked_count(const hash_set *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->room; i++)
        n += s->slots[i] != 0 && s->marks[i] != 0;
    return n;
}

void hash_set_clear(hash_set *s) {
    mem_free(s->slots);
    mem_free(s->marks);
    *s = (hash_set){0};
}
