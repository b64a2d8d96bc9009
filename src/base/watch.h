/* watch.h - somebody looks on while this thread does something long, and may stop it.
 *
 *     watch_set(show_and_ask, window);             // the caller: progress of what this thread does
 *     status s = model_open(&m, folder);
 *     watch_set(NULL, NULL);
 *
 *     for (int i = 0; i < n; i++) {                // the work, wherever it lies
 *         TRY(watch_tell(i, n));
 *         ...
 *     }
 *
 * A watcher belongs to one thread, so long work needs no parameter for it. Without one watch_tell
 * costs a comparison. For steps of a millisecond and more; not for kernels.
 */
#ifndef FATHOM_BASE_WATCH_H
#define FATHOM_BASE_WATCH_H

#include "base/status.h"

typedef bool watch_fn(void *context, double done, double total); /* false: stop */
void watch_set(watch_fn *fn, void *context);                     /* NULL: nobody */
/* F_CANCELLED if the watcher says so. */
status watch_tell(double done, double total) MUST_CHECK;

#endif
