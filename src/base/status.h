/* status.h - what went wrong, for the person who has to fix it.
 *
 * Every function that can fail returns a `status`. The sentence behind it lives in a
 * thread-local report with four parts: what happened, where, why, and how to fix it.
 *
 *     if (n > left)
 *         return FAIL(F_SAFETENSORS_TRUNCATED,
 *                     text("%s ends inside tensor \"%s\"", path, name),   // what
 *                     text("byte %" PRId64 " of %" PRId64, at, size),     // where
 *                     "the header promises more bytes than the file has", // why
 *                     "fetch or copy the file again");                    // fix
 *     TRY(weights_open(&w, path));                                        // passes it on
 *
 * Errors are rows of errors.def {name, number, status, exit code, title}; the number is
 * printed as F0123 and explained by `fathom help F0123`.
 *
 * Mind: the report is per thread. A pool worker's failure is copied by its caller with
 * error_save/error_restore. text() formats into a ring of 16 buffers per thread, so at most
 * 16 results may be alive at once; longer sentences are cut at 1023 bytes.
 */
#ifndef FATHOM_BASE_STATUS_H
#define FATHOM_BASE_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef enum status {
    STATUS_OK = 0,
    STATUS_NO,          /* it ran, and the answer is "no" (gate failed, diverged, damage found) */
    STATUS_USAGE,       /* the command line or the configuration is wrong */
    STATUS_IO,          /* the system refused to read or write */
    STATUS_FORMAT,      /* bytes from outside are not what they claim to be */
    STATUS_SHAPE,       /* tensors do not fit each other */
    STATUS_MEMORY,      /* an allocation failed */
    STATUS_LIMIT,       /* a stated bound would be passed */
    STATUS_UNSUPPORTED, /* well formed, but not something we do */
    STATUS_CANCELLED,   /* the user or a limit stopped it; it can go on later */
    STATUS_INTERNAL,    /* our mistake */
} status;

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

typedef enum error_id {
    F_NONE = 0,
#define ERROR(name, number, stat, exit_code, title) name = number,
#include "base/errors.def"
#undef ERROR
} error_id;

#define ERROR_PART 1024
typedef struct error_report {
    error_id id;
    status code;
    char what[ERROR_PART], where[ERROR_PART], why[ERROR_PART], fix[ERROR_PART];
} error_report;

/* Formats into a thread-local ring; the result lives until 16 further calls. Never NULL. */
const char *text(const char *format, ...) PRINTF_LIKE(1, 2);

/* Fills the thread's report and returns the status of the row. NULL parts become "". */
status error_set(error_id id, const char *what, const char *where, const char *why,
                 const char *fix) MUST_CHECK;
#define FAIL(id, what, where, why, fix) error_set((id), (what), (where), (why), (fix))

/* Reports errno: picks the error row by its value (no permission, disk full, missing, ...) and
 * says it in words. `doing` is a clause such as "write runs/a/log.txt". */
status error_errno(int errno_value, const char *doing, const char *where) MUST_CHECK;

/* Puts "`format`: " in front of the report's `where`, as it unwinds. Returns `s` unchanged. */
status error_context(status s, const char *format, ...) PRINTF_LIKE(2, 3) MUST_CHECK;

const error_report *error_last(void);
void error_clear(void);
void error_save(error_report *out);
void error_restore(const error_report *saved);

/* Facts of an error row. error_find returns F_NONE for an unknown number. */
const char *error_title(error_id id);
int error_exit_code(error_id id);
status error_status(error_id id);
error_id error_find(int number);
/* Prints "error[F0123]: what" and the other parts, each on its line. */
void error_print(FILE *out, const error_report *report);

#define TRY(expression)                                                                            \
    do {                                                                                           \
        status try_status_ = (expression);                                                         \
        if (try_status_ != STATUS_OK) return try_status_;                                          \
    } while (0)
/* Same, for functions that own things: jumps to `done` with `result` holding the status. */
#define TRY_GOTO(result, expression)                                                               \
    do {                                                                                           \
        (result) = (expression);                                                                   \
        if ((result) != STATUS_OK) goto done;                                                      \
    } while (0)

#endif
