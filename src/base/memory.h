/* memory.h - the only door to the heap, and arenas for everything with a common life time.
 *
 * mem_* wrap malloc: on failure they fill the error report (F_NO_MEMORY, with the size) and return
 * NULL, so callers write `if (p == NULL) return STATUS_MEMORY;`. Tests make the n-th allocation
 * fail with mem_fail_at(n) and find leaks with mem_live_blocks().
 *
 * An arena reserves a stretch of address space and hands it out from one end; pages cost memory
 * only once touched. There is no free of a single block: arena_mark/arena_reset go back to a
 * point in time. Blocks are 64-byte aligned. Not thread-safe: one owner at a time.
 */
#ifndef FATHOM_BASE_MEMORY_H
#define FATHOM_BASE_MEMORY_H

#include "base/status.h"

#include <stdint.h>

void *mem_alloc(size_t bytes);               /* contents undefined; 0 bytes gives a unique block */
void *mem_zalloc(size_t count, size_t size); /* zeroed; checks count * size */
/* Resizes to count * size (checked); on failure the old block stays valid. */
void *mem_resize(void *block, size_t count, size_t size);
char *mem_strdup(const char *string);
char *mem_strndup(const char *bytes, size_t n);
void mem_free(void *block); /* accepts NULL */
/* As mem_alloc, but no failure is injected: for libraries that cannot bear one. */
void *mem_alloc_uninjected(size_t bytes);

/* Makes the n-th allocation from now on (1 = next; heap or arena) fail once; 0 switches it off. */
void mem_fail_at(int64_t n);
/* True if an injected failure has happened since the last mem_fail_at. */
bool mem_failed(void);
/* Blocks handed out by mem_* and not yet freed, in this process. */
int64_t mem_live_blocks(void);

typedef struct arena {
    char *base;       /* start of the reservation, NULL = not initialised */
    size_t used;      /* bytes handed out */
    size_t limit;     /* bytes reserved */
    size_t peak;      /* largest `used` so far */
    const char *name; /* for the message when it is full */
} arena;

/* Reserves `limit` bytes (rounded up to 2 MiB) of address space; huge pages are asked for. */
status arena_init(arena *a, const char *name, size_t limit) MUST_CHECK;
void arena_clear(arena *a); /* unmaps; accepts a zeroed arena */
/* Contents undefined / zeroed. NULL when full or when a failure is injected (report filled). */
void *arena_alloc(arena *a, size_t bytes);
void *arena_zalloc(arena *a, size_t bytes);
char *arena_strdup(arena *a, const char *string);
static inline size_t arena_mark(const arena *a) {
    return a->used;
}
static inline void arena_reset(arena *a, size_t mark) {
    a->used = mark;
}
/* Gives touched pages above `used` back to the system. */
void arena_trim(arena *a);

/* Peak resident set of this process in bytes (VmHWM), -1 if unknown. */
int64_t memory_peak_rss(void);
/* Memory this process may use: the smaller of physical memory and the cgroup limit, in bytes. */
int64_t memory_available(void);

#endif
