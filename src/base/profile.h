/* profile.h - where the time of a training step goes, and how much was done in it.
 *
 * The main thread of a step does one thing after another, so a profile is a row of laps: at the end
 * of every piece of work profile_lap gives the time since the lap before to a row {op, part}. What
 * nobody claims goes to the row "rest". The rows therefore add up to the time of the steps; nothing
 * is counted twice and nothing is missing, by construction. Work of pool threads is inside the lap
 * of the op that waits for it.
 *
 *     profile p;
 *     TRY(profile_init(&p));
 *     profile_begin(&p, step);
 *     ...                                                   // ops call:
 *     profile_lap(&p, "linear", "forward", (profile_work){PROFILE_BF16, flops, bytes});
 *     profile_end(&p);
 *     TRY(profile_write_trace(&p, "trace.json"));           // chrome://tracing, Perfetto
 *     profile_clear(&p);
 *
 * Lanes. While a step is profiled, the threads of the pool note when they worked (pool_record). The
 * trace shows each of them on a lane of its own, under the name of the op that gave them the work.
 *
 * A NULL profile is switched off: one branch per lap. FLOPs are those of products (a multiply and
 * an add are two), without padding and without what backward computes a second time; bytes are
 * every operand read and every result written once. Names are string constants.
 *
 * Mind: main thread only. Events beyond the room are counted in `lost`, the rows stay exact.
 */
#ifndef FATHOM_BASE_PROFILE_H
#define FATHOM_BASE_PROFILE_H

#include "base/pool.h"

typedef enum profile_unit {
    PROFILE_BYTES, /* moves numbers: its floor is the bandwidth */
    PROFILE_F32,   /* products; the kind of arithmetic decides the peak */
    PROFILE_BF16,
    PROFILE_UNITS
} profile_unit;

typedef struct profile_work {
    profile_unit unit;
    double flops, bytes;
} profile_work;

#define PROFILE_ROWS 96

typedef struct profile_row {
    const char *op, *part;
    profile_unit unit;
    int64_t laps;
    double seconds, flops, bytes;
} profile_row;

typedef struct profile_event {
    double began, seconds; /* since the profile began */
    float flops, bytes;
    int32_t row; /* -1: a whole step, whose number is `step` */
    int32_t step;
} profile_event;

typedef struct profile {
    profile_row rows[PROFILE_ROWS];
    int n_rows;
    profile_event *events;
    int64_t n_events, room, lost;
    int64_t steps; /* whole ones */
    double seconds;
    double zero, step_began, at; /* clock: of the profile, of this step, of the last lap */
    int64_t step;
    pool_lane *lanes; /* of the pool's threads; NULL with one thread */
    int n_lanes;
    arena memory;
} profile;

/* For the pool as it is; it must not change its number of threads while a step is profiled. */
status profile_init(profile *p) MUST_CHECK;
void profile_clear(profile *p); /* accepts a zeroed one */

void profile_begin(profile *p, int64_t step); /* a step starts now */
void profile_end(profile *p);                 /* what is left goes to "rest" */

void profile_add(profile *p, const char *op, const char *part, const profile_work *work);
static inline void profile_lap(profile *p, const char *op, const char *part, profile_work work) {
    if (p != NULL) profile_add(p, op, part, &work);
}
/* The rows, longest first; returns their number. */
int profile_sorted(const profile *p, profile_row out[PROFILE_ROWS]);

/* Trace event format: an object whose "traceEvents" has one complete event ("ph": "X") per lap and
 * step on the lane of the main thread, times in microseconds, FLOPs and bytes as arguments; and one for
 * each job and thread of the pool on the thread's lane, with its chunks. */
status profile_write_trace(const profile *p, const char *path) MUST_CHECK;

#endif
