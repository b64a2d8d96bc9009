/* watch.c - the thread's watcher. */
#include "base/watch.h"

static _Thread_local watch_fn *watcher;
static _Thread_local void *watcher_context;

void watch_set(watch_fn *fn, void *context) {
    watcher = fn;
    watcher_context = context;
}

status watch_tell(double done, double total) {
    if (watcher == NULL || watcher(watcher_context, done, total)) return STATUS_OK;
    return FAIL(F_CANCELLED, "the work was cancelled",
                text("after %.0f of %.0f parts", done, total),
                "the program that asked for it said so", "start it again");
}
