/* profile.c - laps, rows, and the trace of them; see profile.h.
 *
 * A row is found by comparing pointers of names, from the row after the last one on, because a step
 * repeats its order; names are constants, so a second copy of one only makes a second row. Events
 * lie in an arena whose pages are touched as they come. Laps under a microsecond without work leave
 * no event: they are the calls between two ops.
 *
 * A thread of the pool does not know what it works for. But jobs of a step begin and end inside a lap
 * of the main thread, so the lap that holds a span names it; the two are walked together.
 */
#include "base/profile.h"

#include "base/clock.h"
#include "base/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define EVENT_ROOM   ((int64_t)4 << 20)
#define SPAN_ROOM    ((int64_t)1 << 20) /* of each thread */
#define TINY_SECONDS 1e-6
#define MAIN_LANE    1 /* thread i of the pool has lane 2 + i */

static status make_lanes(profile *p, int threads) {
    p->lanes = arena_zalloc(&p->memory, (size_t)threads * sizeof *p->lanes);
    if (p->lanes == NULL) return STATUS_MEMORY;
    for (p->n_lanes = 0; p->n_lanes < threads; p->n_lanes++) {
        pool_lane *lane = &p->lanes[p->n_lanes];
        lane->spans = arena_alloc(&p->memory, (size_t)SPAN_ROOM * sizeof *lane->spans);
        if (lane->spans == NULL) return STATUS_MEMORY;
        lane->room = SPAN_ROOM;
    }
    return STATUS_OK;
}

status profile_init(profile *p) {
    memset(p, 0, sizeof *p);
    int threads = pool_threads() > 1 ? pool_threads() : 0;
    size_t events = (size_t)EVENT_ROOM * sizeof *p->events,
           lane = (size_t)SPAN_ROOM * sizeof(pool_span) + 2 * sizeof(pool_lane) + 64;
    TRY(arena_init(&p->memory, "profile", events + (size_t)threads * lane + 4096));
    p->events = arena_alloc(&p->memory, events);
    status s = p->events != NULL ? STATUS_OK : STATUS_MEMORY;
    if (s == STATUS_OK && threads > 0) s = make_lanes(p, threads);
    if (s != STATUS_OK) {
        profile_clear(p);
        return s;
    }
    p->room = EVENT_ROOM;
    p->zero = clock_seconds();
    return STATUS_OK;
}

void profile_clear(profile *p) {
    arena_clear(&p->memory);
    memset(p, 0, sizeof *p);
}

static void add_event(profile *p, profile_event e) {
    if (p->n_events < p->room)
        p->events[p->n_events++] = e;
    else
        p->lost++;
}

/* The last row collects what comes when all are taken. */
static int row_of(profile *p, const char *op, const char *part) {
    for (int i = 0; i < p->n_rows; i++)
        if (p->rows[i].op == op && p->rows[i].part == part) return i;
    for (int i = 0; i < p->n_rows; i++)
        if (strcmp(p->rows[i].op, op) == 0 && strcmp(p->rows[i].part, part) == 0) return i;
    if (p->n_rows == PROFILE_ROWS) return PROFILE_ROWS - 1;
    p->rows[p->n_rows] = (profile_row){.op = op, .part = part};
    return p->n_rows++;
}

void profile_add(profile *p, const char *op, const char *part, const profile_work *work) {
    double now = clock_seconds(), seconds = now - p->at;
    int at = row_of(p, op, part);
    profile_row *row = &p->rows[at];
    bool worked = work->flops > 0 || work->bytes > 0;
    if (worked) row->unit = work->unit;
    bool workless = !(row->flops > 0 || row->bytes > 0);
    row->laps += worked || (workless && seconds >= TINY_SECONDS);
    row->seconds += seconds;
    row->flops += work->flops;
    row->bytes += work->bytes;
    if (worked || seconds >= TINY_SECONDS)
        add_event(p, (profile_event){.began = p->at - p->zero,
                                     .seconds = seconds,
                                     .flops = (float)work->flops,
                                     .bytes = (float)work->bytes,
                                     .row = at,
                                     .step = (int32_t)p->step});
    p->at = now;
}

void profile_begin(profile *p, int64_t step) {
    p->step = step;
    pool_record(p->lanes);
    p->step_began = p->at = clock_seconds();
}

void profile_end(profile *p) {
    profile_add(p, "rest", "", &(profile_work){0});
    pool_record(NULL);
    double seconds = p->at - p->step_began;
    p->seconds += seconds;
    p->steps++;
    add_event(p, (profile_event){.began = p->step_began - p->zero,
                                 .seconds = seconds,
                                 .row = -1,
                                 .step = (int32_t)p->step});
}

static int longer_first(const void *a, const void *b) {
    double x = ((const profile_row *)a)->seconds, y = ((const profile_row *)b)->seconds;
    return x > y ? -1 : x < y;
}

int profile_sorted(const profile *p, profile_row out[PROFILE_ROWS]) {
    memcpy(out, p->rows, (size_t)p->n_rows * sizeof *out);
    qsort(out, (size_t)p->n_rows, sizeof *out, longer_first);
    return p->n_rows;
}

/* -- trace -- */

static status put_text(file_writer *w, const char *line) {
    return writer_put(w, line, strlen(line));
}

/* "op part" of a lap; whatever belongs to none is "rest". */
static const char *lap_name(const profile *p, int row, char out[64]) {
    const profile_row *r = row >= 0 ? &p->rows[row] : NULL;
    if (r == NULL) return "rest";
    snprintf(out, 64, "%s%s%s", r->op, r->part[0] != '\0' ? " " : "", r->part);
    return out;
}

static status put_event(const profile *p, file_writer *w, const profile_event *e) {
    char line[320], name[64];
    double began = e->began * 1e6, microseconds = e->seconds * 1e6;
    if (e->row < 0)
        snprintf(line, sizeof line,
                 ",\n{\"name\":\"step %" PRId32 "\",\"cat\":\"step\",\"ph\":\"X\",\"ts\":%.3f,"
                 "\"dur\":%.3f,\"pid\":1,\"tid\":%d}",
                 e->step, began, microseconds, MAIN_LANE);
    else
        snprintf(line, sizeof line,
                 ",\n{\"name\":\"%s\",\"cat\":\"op\",\"ph\":\"X\",\"ts\":%.3f,\"dur\":%.3f,"
                 "\"pid\":1,\"tid\":%d,\"args\":{\"step\":%" PRId32
                 ",\"flops\":%.0f,\"bytes\":%.0f}}",
                 lap_name(p, e->row, name), began, microseconds, MAIN_LANE, e->step,
                 (double)e->flops, (double)e->bytes);
    return put_text(w, line);
}

static status put_span(const profile *p, file_writer *w, int thread, const pool_span *s, int row) {
    char line[320], name[64];
    snprintf(line, sizeof line,
             ",\n{\"name\":\"%s\",\"cat\":\"pool\",\"ph\":\"X\",\"ts\":%.3f,\"dur\":%.3f,"
             "\"pid\":1,\"tid\":%d,\"args\":{\"job\":%" PRIu32 ",\"chunks\":%" PRId32 "}}",
             lap_name(p, row, name), (s->began - p->zero) * 1e6, (s->ended - s->began) * 1e6,
             MAIN_LANE + 1 + thread, s->job, s->chunks);
    return put_text(w, line);
}

/* The spans of one thread, each under the name of the lap it lies in. */
static status put_lane(const profile *p, file_writer *w, int thread) {
    const pool_lane *lane = &p->lanes[thread];
    int64_t at = 0;
    for (int64_t i = 0; i < lane->n; i++) {
        double began = lane->spans[i].began - p->zero;
        const profile_event *e = &p->events[at];
        while (at < p->n_events && (e->row < 0 || e->began + e->seconds < began))
            e = &p->events[++at];
        bool inside = at < p->n_events && e->began <= began;
        TRY(put_span(p, w, thread, &lane->spans[i], inside ? e->row : -1));
    }
    return STATUS_OK;
}

static status put_lane_name(file_writer *w, int lane, const char *name) {
    char line[160];
    snprintf(line, sizeof line,
             ",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":%d,"
             "\"args\":{\"name\":\"%s\"}}",
             lane, name);
    return put_text(w, line);
}

static status put_trace(const profile *p, file_writer *w) {
    char name[64];
    TRY(put_text(w, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n"
                    "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"tid\":1,"
                    "\"args\":{\"name\":\"fathom train\"}}"));
    TRY(put_lane_name(w, MAIN_LANE, "main"));
    for (int i = 0; i < p->n_lanes; i++) {
        snprintf(name, sizeof name, "chunks of thread %d%s", i, i == 0 ? " (main)" : "");
        TRY(put_lane_name(w, MAIN_LANE + 1 + i, name));
    }
    for (int64_t i = 0; i < p->n_events; i++)
        TRY(put_event(p, w, &p->events[i]));
    for (int i = 0; i < p->n_lanes; i++)
        TRY(put_lane(p, w, i));
    return put_text(w, "\n]}\n");
}

status profile_write_trace(const profile *p, const char *path) {
    file_writer *w;
    TRY(writer_open(&w, path));
    status s = put_trace(p, w);
    if (s == STATUS_OK) return writer_commit(w);
    writer_abandon(w);
    return s;
}
