/* run_record.c - see run_record.h.
 *
 * Mind: a run may be in the middle of writing while it is read. Lines of metrics.jsonl are whole
 * because each is one write; a torn last one (after a kill) is passed over and counted.
 */
#include "app/run_record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* -- metrics by name -- */

static const struct {
    const char *name;
    size_t offset;
} metrics[] = {
#define METRIC(field)                                                                              \
    { #field, offsetof(run_point, field) }
    METRIC(step),         METRIC(tokens),
    METRIC(time),         METRIC(loss),
    METRIC(lr),           METRIC(grad_norm),
    METRIC(tok_per_sec),  METRIC(mem_bytes),
    METRIC(mfu),          METRIC(val_loss),
    METRIC(val_bpb),      METRIC(mtp_loss),
    METRIC(balance_loss), METRIC(expert_max_violation),
};
#define N_METRICS ((int)(sizeof metrics / sizeof *metrics))

const char *run_metric_name(int i) {
    return i >= 0 && i < N_METRICS ? metrics[i].name : NULL;
}

int run_metric_find(const char *name) {
    for (int i = 0; i < N_METRICS; i++)
        if (strcmp(metrics[i].name, name) == 0) return i;
    return -1;
}

double run_metric(const run_point *p, int i) {
    double value;
    memcpy(&value, (const char *)p + metrics[i].offset, sizeof value);
    return value;
}

double run_metric_mean(const run_record *r, int i, double from, double to, int *n, double *error) {
    double sum = 0, squares = 0;
    *n = 0;
    for (int k = 0; k < r->n; k++) {
        double x = run_metric(&r->points[k], i);
        if (isnan(x) || r->points[k].tokens <= from || r->points[k].tokens > to) continue;
        ++*n;
        double old = *n > 1 ? sum / (*n - 1) : x;
        sum += x;
        squares += (x - old) * (x - sum / *n);
    }
    *error = *n > 1 ? sqrt(squares / (*n - 1) / *n) : 0;
    return *n > 0 ? sum / *n : (double)NAN;
}

int64_t run_first_at(const run_record *r, double loss) {
    for (int64_t k = 0; k < r->n; k++)
        if (r->points[k].val_loss <= loss) return k; /* false for NAN */
    return -1;
}

/* -- reading -- */

/* *ok false if the line is no object with step and tokens. */
static status parse_point(const char *line, size_t n, run_point *p, bool *ok) {
    json_t *o;
    status s = json_parse(line, n, "metrics.jsonl", &o);
    *ok = s == STATUS_OK;
    if (s == STATUS_MEMORY) return s;
    error_clear();
    if (!*ok) return STATUS_OK;
    for (int i = 0; i < N_METRICS; i++) {
        const json_t *v = json_object_get(o, metrics[i].name);
        double value = json_is_number(v) ? json_number_value(v) : (double)NAN;
        memcpy((char *)p + metrics[i].offset, &value, sizeof value);
    }
    *ok = !isnan(p->step) && !isnan(p->tokens);
    json_decref(o);
    return STATUS_OK;
}

static status add_line(run_record *r, const char *line, size_t n) {
    bool ok;
    run_point *p = &r->points[r->n];
    TRY(parse_point(line, n, p, &ok));
    if (!ok) {
        if (r->bad_lines++ == 0) r->first_bad = r->n + 1;
        return STATUS_OK;
    }
    if (!isnan(p->val_loss) && (r->best < 0 || p->val_loss < r->points[r->best].val_loss))
        r->best = r->n;
    r->n++;
    return STATUS_OK;
}

status run_record_parse(run_record *r, const char *bytes, size_t n) {
    int room = 0;
    for (size_t at = 0; at < n;) {
        const char *end = memchr(bytes + at, '\n', n - at);
        size_t length = end != NULL ? (size_t)(end - bytes) - at : n - at;
        if (r->n == room) {
            if (room > INT_MAX / 2)
                return FAIL(F_OVERFLOW, "metrics.jsonl has too many lines", r->path,
                            text("at most %d are read", room), "keep every tenth line of it");
            room = room > 0 ? room * 2 : 256;
            run_point *grown = mem_resize(r->points, (size_t)room, sizeof *grown);
            if (grown == NULL) return STATUS_MEMORY;
            r->points = grown;
        }
        TRY(add_line(r, bytes + at, length));
        at += length + 1;
    }
    return STATUS_OK;
}

static status read_metrics(run_record *r) {
    char path[PATH_SIZE], *bytes;
    size_t n;
    TRY(path_join(path, r->path, "metrics.jsonl"));
    if (!path_exists(path)) return STATUS_OK;
    TRY(file_read(path, (size_t)4 << 30, &bytes, &n));
    status s = run_record_parse(r, bytes, n);
    mem_free(bytes);
    return s;
}

/* Bytes of all files below `path`; unreadable parts count as nothing. */
static int64_t folder_bytes(const char *path, int depth) {
    char **names, inner[PATH_SIZE];
    int n;
    int64_t sum = 0, size;
    if (depth > 4 || folder_list(path, &names, &n) != STATUS_OK) return 0;
    for (int i = 0; i < n; i++) {
        if (path_join(inner, path, names[i]) != STATUS_OK) continue;
        if (path_is_folder(inner))
            sum += folder_bytes(inner, depth + 1);
        else if (path_size(inner, &size) == STATUS_OK)
            sum += size;
    }
    folder_list_free(names, n);
    error_clear();
    return sum;
}

/* A trainer holds an flock on RUN/lock as long as it lives. */
static bool is_locked(const char *run) {
    char path[PATH_SIZE];
    if (path_join(path, run, "lock") != STATUS_OK) return false;
    int lock = open(path, O_RDONLY | O_CLOEXEC);
    if (lock < 0) return false;
    bool held = flock(lock, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(lock);
    return held;
}

bool run_is_there(const char *path) {
    char config[PATH_SIZE];
    if (path_join(config, path, "config.ini") == STATUS_OK) return path_exists(config);
    error_clear();
    return false;
}

static status read_all(run_record *r) {
    char path[PATH_SIZE];
    TRY(arena_init(&r->strings, "run record", 1 << 20));
    TRY(path_join(path, r->path, "config.ini"));
    TRY(train_settings_defaults(&r->settings));
    TRY(train_settings_read(&r->settings, path, &r->strings));
    TRY(path_join(path, r->path, "plan.json"));
    if (path_exists(path)) TRY(json_read(path, &r->plan));
    TRY(read_metrics(r));
    r->running = is_locked(r->path);
    r->bytes = folder_bytes(r->path, 0);
    return STATUS_OK;
}

status run_record_read(run_record *r, const char *path) {
    *r = (run_record){.best = -1};
    if (!run_is_there(path))
        return FAIL(F_MISSING, text("%s is not a run", path), path, "it has no config.ini",
                    "fathom runs ls shows the runs in a folder");
    size_t length = strlen(path); /* short enough: run_is_there has joined it */
    while (length > 1 && path[length - 1] == '/')
        length--;
    memcpy(r->path, path, length);
    status s = read_all(r);
    if (s != STATUS_OK) run_record_clear(r);
    return s;
}

void run_record_clear(run_record *r) {
    mem_free(r->points);
    json_decref(r->plan);
    arena_clear(&r->strings);
    *r = (run_record){0};
}
