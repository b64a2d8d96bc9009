/* progress.h - one progress line on stderr, redrawn on a terminal, a plain line every 10 s
 * otherwise, JSON events with --progress json, nothing with none. Never flickers: at most 10
 * redraws a second. Widths follow the terminal; ASCII when the locale is not UTF-8. */
#ifndef FATHOM_BASE_PROGRESS_H
#define FATHOM_BASE_PROGRESS_H

#include "base/status.h"

#include <stdint.h>

typedef enum progress_mode {
    PROGRESS_AUTO,
    PROGRESS_BAR,
    PROGRESS_PLAIN,
    PROGRESS_JSON,
    PROGRESS_NONE
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
/* Wipes a drawn line before something else is written to the terminal; the next show redraws it. */
void progress_hide(void);

/* "1 h 05 min", "2 min 05 s", "7 s", "0.4 s". The result lives like that of text(). */
const char *duration_text(double seconds);
/* "1.2 GiB", "412 MiB", "3 KiB", "17 B"; same life. */
const char *bytes_text(double bytes);
/* "4,712": thousands set apart; same life. */
const char *count_text(int64_t n);
/* A curve of up to 40 values in block characters, or in digits 0-9 where the locale is not UTF-8;
 * same life. */
const char *sparkline_text(const double *values, int n);
/* May the terminal be sent UTF-8 (LC_ALL, LC_CTYPE, LANG)? */
bool locale_utf8(void);

#endif
