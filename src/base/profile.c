/* profile.c - laps, rows, and the trace of them; see profile.h.
 *
 * A row is found by comparing pointers of names, from the row after the last one on, because a step
 * repeats its order; names are constants, so a second copy of one only makes a second row. Events
 * lie in an arena whose pages are touched as they come. Laps under a microsecond without work leave
 * no event: they are the calls between two ops.
 */
#include "base/profile.h"

#include "base/clock.h"
#include "base/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define EVENT_ROOM   ((int64_t)4 << 20)
#define TINY_SECONDS 1e-6

status profile_init(profile *p) {
    memset(p, 0, sizeof *p);
    TRY(arena_init(&p->memory, "profile", (size_t)EVENT_ROOM * sizeof *p->events));
    p->events = arena_alloc(&p->memory, (size_t)EVENT_ROOM * sizeof *p->events);
    if (p->events == NULL) {
        arena_clear(&p->memory);
        return STATUS_MEMORY;
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
    p->step_began = p->at = clock_seconds();
}

void profile_end(profile *p) {
    profile_add(p, "rest", "", &(profile_work){0});
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

static status put_event(const profile *p, file_writer *w, const profile_event *e) {
    char line[320];
    double began = e->began * 1e6, microseconds = e->seconds * 1e6;
    if (e->row < 0)
        snprintf(line, sizeof line,
                 ",\n{\"name\":\"step %" PRId32 "\",\"cat\":\"step\",\"ph\":\"X\",\"ts\":%.3f,"
                 "\"dur\":%.3f,\"pid\":1,\"tid\":1}",
                 e->step, began, microseconds);
    else
        snprintf(
            line, sizeof line,
            ",\n{\"name\":\"%s%s%s\",\"cat\":\"op\",\"ph\":\"X\",\"ts\":%.3f,\"dur\":%.3f,"
            "\"pid\":1,\"tid\":1,\"args\":{\"step\":%" PRId32 ",\"flops\":%.0f,\"bytes\":%.0f}}",
            p->rows[e->row].op, p->rows[e->row].part[0] != '\0' ? " " : "", p->rows[e->row].part,
            began, microseconds, e->step, (double)e->flops, (double)e->bytes);
    return put_text(w, line);
}

static status put_trace(const profile *p, file_writer *w) {
    TRY(put_text(w, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n"
                    "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"tid\":1,"
                    "\"args\":{\"name\":\"fathom train\"}},\n"
                    "{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":1,"
                    "\"args\":{\"name\":\"main\"}}"));
    for (int64_t i = 0; i < p->n_events; i++)
        TRY(put_event(p, w, &p->events[i]));
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
