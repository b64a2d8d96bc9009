/* saver.h - writes model/ and checkpoints beside training. Private to train/.
 *
 *     TRY(saver_open(&s, &trainer, &folder, resumed_from, true)); // true: with a copy to write from
 *     ...
 *     TRY(saver_check(&s));                                        // after every step
 *     TRY(saver_start(&s, (save_order){.checkpoint = true}, true));
 *     ...
 *     TRY(saver_wait(&s));                                         // before the end
 *     saver_close(&s);
 *
 * One order is in flight at most. saver.c explains the threads.
 */
#ifndef FATHOM_TRAIN_SAVER_H
#define FATHOM_TRAIN_SAVER_H

#include "train/run_folder.h"

#include <pthread.h>

/* What is written of one state, in this order, so that a checkpoint never speaks of a best model that
 * is not there. */
typedef struct save_order {
    bool best;       /* RUN/model */
    bool checkpoint; /* RUN/checkpoints/step-N, then pruning */
} save_order;

typedef struct saver {
    const trainer *trainer;
    const run_folder *folder;
    arena memory; /* the copy, reserved and touched at opening; empty = none */
    float *master, *m, *v;
    int64_t ordered_step, saved_step; /* of the newest checkpoint ordered, and written; -1 = none */
    bool busy;                        /* an order is in flight */
    bool started;                     /* `guard` and `ended` exist */

    /* The order in flight: its thread reads the first four, and writes the others under `guard`. */
    save_order order;
    model source; /* a shallow one whose masters are the copy, or the trainer's */
    const float *from_m, *from_v;
    train_state state;
    bool beside; /* training goes on meanwhile */
    pthread_t thread;
    pthread_mutex_t guard;
    pthread_cond_t ended;
    bool done;
    double cpu_seconds; /* of all threads so far */
    status result;
    error_report report;
} saver;

/* `saved_step`: of the checkpoint the run continues from, -1 = none. */
status saver_open(saver *s, const trainer *t, const run_folder *f, int64_t saved_step,
                  bool copies) MUST_CHECK;
/* Waits for an order in flight; that it failed is only logged. Accepts a zeroed one. */
void saver_close(saver *s);
/* Bytes of the copy: masters and moments. */
int64_t saver_copy_bytes(const trainer *t);

/* Gives back the failure of an order that has ended since; OK while one is being written. */
status saver_check(saver *s) MUST_CHECK;
/* Waits for the order before it, saying so, then writes the trainer's present state. With `beside`
 * and a copy it returns while that is going on; otherwise when it is done. */
status saver_start(saver *s, save_order order, bool beside) MUST_CHECK;
/* Waits for the order in flight, with a progress line. */
status saver_wait(saver *s) MUST_CHECK;
/* Is an order in flight that has not ended? */
bool saver_writing(saver *s);

#endif
