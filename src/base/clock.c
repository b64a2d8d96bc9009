/* clock.c - time, and the two signals that ask for a stop. */
#include "base/clock.h"

#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double clock_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void clock_utc(char out[21]) {
    time_t now = time(NULL);
    struct tm parts;
    if (gmtime_r(&now, &parts) == NULL || strftime(out, 21, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        memcpy(out, "1970-01-01T00:00:00Z", 21);
}

static _Atomic int came; /* the first signal, 0 = none; lock-free, so a handler may set it */

static const char *volatile notice =
    "\nstopping after this step, saving; Ctrl-C again = quit without saving\n";

static void on_signal(int number) {
    if (came == 0) {
        came = number;
        if (number == SIGINT && write(STDERR_FILENO, notice, strlen(notice)) < 0) return;
    } else if (number == SIGINT) {
        _exit(130);
    }
}

static void on_broken_pipe(int number) {
    (void)number; /* write says EPIPE */
}

void interrupt_install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    /* No SA_RESTART: a read from a terminal or pipe ends with EINTR, so Ctrl-C is felt there. */
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* A file-size limit shall be an error of write, not the end of the process. */
    action.sa_handler = SIG_IGN;
    sigaction(SIGXFSZ, &action, NULL);
    /* A reader that went away (`| head`) shall not end a training. A handler instead of SIG_IGN:
     * programs that are called must not inherit it. */
    action.sa_handler = on_broken_pipe;
    sigaction(SIGPIPE, &action, NULL);
}

bool interrupted(void) {
    return came != 0;
}

void interrupt_notice(const char *words) {
    notice = words;
}

bool interrupt_take(void) {
    bool taken = came == SIGINT;
    if (taken) came = 0;
    return taken;
}

status interrupt_status(const char *doing, const char *fix) {
    int signal_number = came; /* read once */
    switch (signal_number) {
    case 0: return STATUS_OK;
    case SIGINT:
        return FAIL(F_INTERRUPTED, "interrupted by Ctrl-C", doing, "SIGINT was received", fix);
    default: return FAIL(F_STOPPED, "stopped on request", doing, "SIGTERM was received", fix);
    }
}
