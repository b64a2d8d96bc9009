/* pool.h - one pool of threads per process, built on claiming chunks.
 *
 * A job is cut into a number of chunks that depends on the work only, never on the number of
 * threads. Every thread, the caller included, takes the next unclaimed chunk until none is left;
 * the caller waits only for chunks that were claimed, never for threads that did not show up.
 * So a helper that was descheduled costs nothing unless it holds a chunk. There is no barrier.
 * Helpers spin for about 30 microseconds, then sleep on a futex; an idle pool uses no CPU.
 *
 *     pool_for(n_blocks, block_run, &work);   // calls block_run(&work, i) once for each i
 *
 * Mind: aim at 8-32 chunks of 2-50 microseconds. A pool_for inside a chunk runs its chunks in
 * place, and so does that of a second thread while another one's job is on: threads of a host program
 * may call at any time. Chunks may not fail through `status`: store it in the context. Denormals are flushed to
 * zero in every pool thread and in the thread that calls pool_start (docs/numerics.md).
 */
#ifndef FATHOM_BASE_POOL_H
#define FATHOM_BASE_POOL_H

#include "base/memory.h"

#include <stdint.h>

typedef void pool_fn(void *context, int64_t chunk);

/* Starts `threads` - 1 helpers; 0 = as many as the affinity mask and the cgroup quota allow.
 * Calling it again changes the count; only from the main thread, with no job running. */
status pool_start(int threads) MUST_CHECK;
void pool_stop(void);
int pool_threads(void); /* 1 before pool_start */

void pool_for(int64_t n_chunks, pool_fn *fn, void *context);

/* The calling thread's scratch arena (1 GiB of reserved address space), for buffers that live
 * inside one chunk or op: take a mark, allocate, reset. NULL if it could not be reserved. */
arena *pool_scratch(void);

/* What one thread did of one job: when its first chunk began and its last one ended, on the clock of
 * clock_seconds. */
typedef struct pool_span {
    double began, ended;
    uint32_t job; /* consecutive */
    int32_t chunks;
} pool_span;

/* The spans of one thread in the order of time; what has no room is counted. */
typedef struct pool_lane {
    pool_span *spans;
    int64_t n, room, lost;
} pool_lane;

/* From now on each thread notes its spans in a lane of its own, lanes[0] being that of the thread that
 * calls pool_for; NULL ends it. Costs two readings of the clock a chunk. pool_threads() lanes, lent
 * until the end; read them while no job runs. Jobs that run in place (nested ones, one chunk, one
 * thread) leave nothing. */
void pool_record(pool_lane *lanes);

/* CPUs this process may use: affinity mask and cgroup quota. At least 1. */
int pool_cpus(void);
/* Flushes denormals to zero in the calling thread. */
void pool_flush_denormals(void);

#endif
