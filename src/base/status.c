/* status.c - the thread's error report and the table behind it. */
#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define RING 16

static _Thread_local char ring[RING][ERROR_PART];
static _Thread_local unsigned ring_next;
static _Thread_local error_report report;

static const struct error_row {
    error_id id;
    status code;
    int exit_code;
    const char *title;
} rows[] = {
#define ERROR(name, number, stat, exit_code, title) {name, stat, exit_code, title},
#include "base/errors.def"
#undef ERROR
};

static const struct error_row *row_of(error_id id) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].id == id) return &rows[i];
    return NULL;
}

static void part_copy(char *to, const char *from) {
    if (from == NULL) from = "";
    size_t n = strnlen(from, ERROR_PART - 1);
    memmove(to, from, n);
    to[n] = '\0';
}

const char *text(const char *format, ...) {
    char *slot = ring[ring_next++ % RING];
    va_list args;
    va_start(args, format);
    if (vsnprintf(slot, ERROR_PART, format, args) < 0) slot[0] = '\0';
    va_end(args);
    return slot;
}

status error_set(error_id id, const char *what, const char *where, const char *why,
                 const char *fix) {
    const struct error_row *row = row_of(id);
    report.id = id;
    report.code = row != NULL ? row->code : STATUS_INTERNAL;
    part_copy(report.what, what);
    part_copy(report.where, where);
    part_copy(report.why, why);
    part_copy(report.fix, fix);
    return report.code;
}

status error_errno(int errno_value, const char *doing, const char *where) {
    char reason[128];
    const char *words = strerror_r(errno_value, reason, sizeof reason);
    const char *what = text("cannot %s", doing);
    switch (errno_value) {
    case ENOSPC:
    case EDQUOT:
        return FAIL(F_DISK_FULL, what, where, words,
                    "free some space or choose another folder, then run the same command again");
    case EFBIG:
        return FAIL(F_DISK_FULL, what, where, words,
                    "raise the file-size limit of this shell (ulimit -f unlimited)");
    case EACCES:
    case EPERM:
    case EROFS:
        return FAIL(F_PERMISSION, what, where, words,
                    "choose a place you may write to, or change its permissions");
    case ENOENT:
    case ENOTDIR: return FAIL(F_MISSING, what, where, words, "check the spelling of the path");
    case ENOMEM:
        return FAIL(F_NO_MEMORY, what, where, words, "close other programs or ask for less");
    case EEXIST:
    case EISDIR: return FAIL(F_CANNOT_CREATE, what, where, words, "choose another name");
    default:
        return FAIL(F_IO, what, where, words, "check the device, then run the same command again");
    }
}

status error_context(status s, const char *format, ...) {
    if (s == STATUS_OK) return s;
    char joined[ERROR_PART];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(joined, sizeof joined, format, args);
    va_end(args);
    if (n < 0) return s;
    size_t used = strlen(joined);
    if (report.where[0] != '\0' && used + 2 < sizeof joined) {
        memcpy(joined + used, ": ", 3);
        size_t room = sizeof joined - used - 3;
        size_t more = strnlen(report.where, room);
        memcpy(joined + used + 2, report.where, more);
        joined[used + 2 + more] = '\0';
    }
    part_copy(report.where, joined);
    return s;
}

const error_report *error_last(void) {
    return &report;
}
void error_clear(void) {
    memset(&report, 0, sizeof report);
}
void error_save(error_report *out) {
    *out = report;
}
void error_restore(const error_report *saved) {
    report = *saved;
}

const char *error_title(error_id id) {
    const struct error_row *row = row_of(id);
    return row != NULL ? row->title : "unknown error";
}

int error_exit_code(error_id id) {
    const struct error_row *row = row_of(id);
    return row != NULL ? row->exit_code : 70;
}

status error_status(error_id id) {
    const struct error_row *row = row_of(id);
    return row != NULL ? row->code : STATUS_INTERNAL;
}

error_id error_find(int number) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((int)rows[i].id == number) return rows[i].id;
    return F_NONE;
}

void error_print(FILE *out, const error_report *r) {
    fprintf(out, "error[F%04d]: %s\n", (int)r->id, r->what);
    if (r->where[0] != '\0') fprintf(out, "  where: %s\n", r->where);
    if (r->why[0] != '\0') fprintf(out, "  why:   %s\n", r->why);
    if (r->fix[0] != '\0') fprintf(out, "  fix:   %s\n", r->fix);
}
