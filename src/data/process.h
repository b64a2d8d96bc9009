/* process.h - runs a program and collects what it says. Private to data/.
 *
 *     const char *const argv[] = {"apt-cache", "show", name, NULL};
 *     process p = {.argv = argv};
 *     TRY_GOTO(result, process_run(&p));
 *     if (p.exit_code == 0) ... p.out.bytes, p.out.n ...
 *     process_clear(&p);
 *
 * No shell is involved: arguments reach the program as they are. Standard input is empty and
 * LC_ALL is C, so that messages have a known form.
 */
#ifndef FATHOM_DATA_PROCESS_H
#define FATHOM_DATA_PROCESS_H

#include "data/buffer.h"

#define PROCESS_NOT_FOUND 127

typedef void process_tick(void *context);

typedef struct process {
    const char *const *argv; /* argv[0] is searched for in PATH; NULL at the end */
    const char *folder;      /* to run in; NULL = the current one */
    process_tick *tick;      /* called about five times a second while it runs; may be NULL */
    void *context;
    /* results */
    int exit_code;   /* 0-255; PROCESS_NOT_FOUND if there is no such program; 128 + signal */
    buffer out, err; /* at most 16 MiB each: a program that says more is stopped (F_OVERFLOW) */
} process;

/* F_INTERRUPTED or F_STOPPED when a signal ends us: the program is stopped, too. */
status process_run(process *p) MUST_CHECK;
void process_clear(process *p); /* frees the results */

#endif
