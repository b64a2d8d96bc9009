/* progress.h - one progress line on stderr, redrawn on a terminal, a plain line every 10 s
 * otherwise, JSON events with --progress json, nothing with none. Never flickers: at most 10
 * redraws a second. Widths follow the terminal; ASCII when the locale is not UTF-8. */
#ifndef FATHOM_BASE_PROGRESS_H
#define FATHOM_BASE_PROGRESS_H

#include "base/status.h"

#include <stdint.h>

typedef enum progress_mode {
    PROGRESS_AUTO, PROGRESS_BAR, PROGRESS_PLAIN, PROGRESS_JSON, PROGRESS_NONE
} progress_mode;
void progress_set_mode(progress_mode mode);

typedef struct progress {
    const char *label; /* "corpus", "train" */
    const char *unit;  /* "files", "MB", "steps" */
    double total;      /* 0 = unknown */
    double done;
    double started, drawn; /* clock_seconds */
    double first;          /* `done` at the start (resume), not counted into the rate */
} progress;

void progress_start(progress *p, const char *label, const char *unit, double total, double first);
/* `detail` is shown after the bar ("loss 4.12  4,712 tok/s"); NULL for none. */
void progress_show(progress *p, double done, const char *detail);
/* Ends the line; `summary` NULL leaves the last state. */
void progress_end(progress *p, const char *summary);

#endif
