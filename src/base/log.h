/* log.h - one line per event on stderr, for people ("12:03:55 info  checkpoint written step=900")
 * or, with log_json(true), as JSON. log_file adds the same plain lines to a file of the run.
 * stdout is never touched. Not for kernels or ops. */
#ifndef FATHOM_BASE_LOG_H
#define FATHOM_BASE_LOG_H

#include "base/status.h"

typedef enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG } log_level;
void log_set_level(log_level level); /* what stderr shows; a log file gets info and above */
void log_json(bool on);
status log_file(const char *path) MUST_CHECK; /* append; NULL closes */
void log_line(log_level level, const char *format, ...) PRINTF_LIKE(2, 3);
/* From now on lines go to fn alone, NULL: to stderr again. fn may be called by any thread, one call
 * at a time. For programs that only link us. */
typedef void log_fn(void *context, log_level level, const char *message);
void log_listen(log_fn *fn, void *context);
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

#endif
