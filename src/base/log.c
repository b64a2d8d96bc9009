/* log.c - one line per event, written with one call so that threads never mix theirs. */
#include "base/log.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/progress.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static log_level shown = LOG_WARN;
static bool as_json;
static FILE *run_log;
static log_fn *listener;
static void *listener_context;

void log_set_level(log_level level) {
    shown = level;
}
void log_json(bool on) {
    as_json = on;
}

void log_listen(log_fn *fn, void *context) {
    pthread_mutex_lock(&guard);
    listener = fn;
    listener_context = context;
    pthread_mutex_unlock(&guard);
}

status log_file(const char *path) {
    static char buffer[BUFSIZ]; /* of the one file there is: lines do not allocate */
    FILE *opened = NULL;
    if (path != NULL) {
        opened = fopen(path, "ae");
        if (opened == NULL) return error_errno(errno, text("append to %s", path), path);
    }
    pthread_mutex_lock(&guard);
    if (run_log != NULL) fclose(run_log);
    run_log = opened;
    if (opened != NULL) setvbuf(opened, buffer, _IOLBF, sizeof buffer);
    pthread_mutex_unlock(&guard);
    return STATUS_OK;
}

static void show(const char *stamp, const char *name, const char *message) {
    progress_hide();
    if (!as_json) {
        fprintf(stderr, "%.8s %-5s %s\n", stamp + 11, name, message);
        return;
    }
    json_t *event = json_pack("{ss ss ss}", "time", stamp, "level", name, "message", message);
    char *line = event != NULL ? json_line(event) : NULL;
    if (line != NULL)
        fprintf(stderr, "%s\n", line);
    else
        fprintf(stderr, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":null}\n", stamp, name);
    mem_free(line);
    json_decref(event);
}

void log_line(log_level level, const char *format, ...) {
    static const char *const names[] = {"error", "warn", "info", "debug"};
    if (level > shown && (run_log == NULL || level > LOG_INFO)) return;
    char message[2048], stamp[21];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (n < 0) return;
    clock_utc(stamp);
    pthread_mutex_lock(&guard);
    if (level <= shown && listener != NULL)
        listener(listener_context, level, message);
    else if (level <= shown)
        show(stamp, names[level], message);
    if (run_log != NULL && level <= LOG_INFO)
        fprintf(run_log, "%.8s %-5s %s\n", stamp + 11, names[level], message);
    pthread_mutex_unlock(&guard);
}
