/* clock.h - monotonic seconds for durations, UTC for stamps, and the flag that Ctrl-C sets. */
#ifndef FATHOM_BASE_CLOCK_H
#define FATHOM_BASE_CLOCK_H

#include "base/status.h"

#include <stdint.h>

double clock_seconds(void); /* monotonic */
/* "2026-11-24T12:03:55Z" into out[21]. */
void clock_utc(char out[21]);

/* Handlers for SIGINT and SIGTERM: the first sets the flag, a second SIGINT ends the process at
 * once (exit code 130, nothing saved). Long loops poll interrupted(). */
void interrupt_install(void);
bool interrupted(void);
/* What the first Ctrl-C writes to standard error; static storage. "" = nothing. */
void interrupt_notice(const char *words);
/* For conversations: true, once, if a Ctrl-C came; it is then forgotten. SIGTERM is not. */
bool interrupt_take(void);
/* F_INTERRUPTED after SIGINT, F_STOPPED after SIGTERM; `doing` says what was going on and `fix`
 * how to continue. STATUS_OK if neither came. */
status interrupt_status(const char *doing, const char *fix) MUST_CHECK;

#endif
