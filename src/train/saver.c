/* saver.c - checkpoints written by a thread of their own, from a copy of the state.
 *
 * What: training stops for one copy of masters and moments in memory (12 bytes a parameter), never
 * for hashing, the disk or fsync.
 *
 * How: an order copies the state into memory that was reserved when the run began, and starts a
 * thread of low priority, which calls the very functions a writer that stops training would call:
 * the bytes on disk are the same. Names and shapes of parameters are constants of the model, so a
 * shallow copy of it with other masters is all that checkpoint_write needs. Without a copy (no
 * memory for it, or the run ends anyway) the thread writes from the trainer's own arrays and the
 * caller waits.
 *
 * A failure is a report of that thread; saver_check hands it to the loop after the next step. A full
 * disk is waited for here (run_folder_wait), while training goes on.
 *
 * Mind: nothing but the thread touches RUN/model and RUN/checkpoints while it lives. It takes no
 * signals, so that Ctrl-C interrupts what the main thread is doing. A thread's nice value is its own
 * on Linux and cannot be taken back, therefore each order has a new thread.
 */
#include "train/saver.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/progress.h"
#include "kernels/kernels.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NICE_WRITER   10
#define QUIET_SECONDS 0.3 /* of waiting before a progress line appears */
#define LOOK_SECONDS  0.1

/* -- the thread -- */

static status write_patiently(const saver *s, const char *path, bool optimizer) {
    const trainer *t = s->trainer;
    checkpoint_content content = {.model = &s->source,
                                  .tokenizer =
                                      s->folder->tokenizer[0] ? s->folder->tokenizer : NULL,
                                  .m = optimizer ? s->from_m : NULL,
                                  .v = optimizer ? s->from_v : NULL,
                                  .v_offset = t->optimiser.v_offset,
                                  .state = &s->state};
    double waited = 0;
    for (;;) {
        status result = checkpoint_write(path, &content);
        if (result == STATUS_OK) return result;
        TRY(run_folder_wait(s->folder, result, &waited, checkpoint_bytes(&t->config, optimizer)));
    }
}

static status write_order(const saver *s) {
    char path[PATH_SIZE];
    if (s->order.best) TRY(write_patiently(s, s->folder->model, false));
    if (!s->order.checkpoint) return STATUS_OK;
    TRY(checkpoint_path(path, s->folder->path, s->state.step));
    TRY(write_patiently(s, path, true));
    log_debug("checkpoint written  step=%" PRId64, s->state.step);
    return checkpoint_prune(s->folder->path, s->state.best_step);
}

/* Of the calling thread. Either may be refused; then it writes at normal priority. */
static void lower_priority(void) {
    int best_effort_last = 2 << 13 | 7;
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE_WRITER);
    (void)syscall(SYS_ioprio_set, 1, 0, best_effort_last);
}

static void *writer_run(void *context) {
    saver *s = context;
    if (s->beside) lower_priority();
    status result = write_order(s);
    struct timespec cpu;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    pthread_mutex_lock(&s->guard);
    s->cpu_seconds += (double)cpu.tv_sec + 1e-9 * (double)cpu.tv_nsec;
    s->result = result;
    if (result != STATUS_OK) error_save(&s->report);
    s->done = true;
    pthread_cond_signal(&s->ended);
    pthread_mutex_unlock(&s->guard);
    return NULL;
}

static int start_thread(saver *s) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failure = pthread_create(&s->thread, NULL, writer_run, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failure;
}

/* -- opening -- */

int64_t saver_copy_bytes(const trainer *t) {
    return (int64_t)sizeof(float) * t->model.params.count + optimiser_state_bytes(&t->optimiser);
}

/* Touched now: a copy that does not fit must fail before step 1, not at the first checkpoint. */
static status reserve_copy(saver *s) {
    const trainer *t = s->trainer;
    size_t count = (size_t)t->model.params.count * sizeof(float);
    TRY(arena_init(&s->memory, "copy for checkpoints", (size_t)saver_copy_bytes(t) + 4096));
    s->master = arena_zalloc(&s->memory, count);
    s->m = s->master != NULL ? arena_zalloc(&s->memory, count) : NULL;
    s->v = s->m != NULL ? arena_zalloc(&s->memory, (size_t)t->optimiser.v_count * sizeof(float))
                        : NULL;
    return s->v != NULL ? STATUS_OK : STATUS_MEMORY;
}

status saver_open(saver *s, const trainer *t, const run_folder *f, int64_t saved_step,
                  bool copies) {
    *s = (saver){.trainer = t, .folder = f, .ordered_step = saved_step, .saved_step = saved_step};
    pthread_condattr_t monotonic;
    int failure = pthread_mutex_init(&s->guard, NULL);
    if (failure == 0) failure = pthread_condattr_init(&monotonic);
    if (failure == 0) failure = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    if (failure == 0) failure = pthread_cond_init(&s->ended, &monotonic);
    if (failure != 0) return error_errno(failure, "prepare the writer of checkpoints", f->path);
    pthread_condattr_destroy(&monotonic);
    s->started = true;
    return copies ? reserve_copy(s) : STATUS_OK;
}

void saver_close(saver *s) {
    if (saver_wait(s) != STATUS_OK)
        log_warn("the checkpoint of step %" PRId64 " was not written: %s (%s)", s->state.step,
                 error_last()->what, error_last()->why);
    if (s->started) {
        pthread_cond_destroy(&s->ended);
        pthread_mutex_destroy(&s->guard);
    }
    arena_clear(&s->memory);
    *s = (saver){0};
}

/* -- orders -- */

bool saver_writing(saver *s) {
    if (!s->busy) return false;
    pthread_mutex_lock(&s->guard);
    bool writing = !s->done;
    pthread_mutex_unlock(&s->guard);
    return writing;
}

/* The order has ended: its thread goes, its result counts. */
static status collect(saver *s) {
    pthread_join(s->thread, NULL);
    s->busy = false;
    if (s->result != STATUS_OK) {
        error_restore(&s->report);
        return s->result;
    }
    if (s->order.checkpoint) s->saved_step = s->state.step;
    return STATUS_OK;
}

status saver_check(saver *s) {
    return s->busy && !saver_writing(s) ? collect(s) : STATUS_OK;
}

/* What of the order's checkpoint is on disk, in bytes; hashing follows. */
static double bytes_written(const saver *s) {
    static const char *const names[] = {"model.safetensors", "model.safetensors.tmp",
                                        "optimizer.safetensors", "optimizer.safetensors.tmp"};
    double sum = 0;
    char path[PATH_SIZE + 64], folder[PATH_SIZE];
    if (checkpoint_path(folder, s->folder->path, s->state.step) != STATUS_OK) return 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct stat file;
        snprintf(path, sizeof path, "%s.tmp/%s", folder, names[i]);
        if (stat(path, &file) == 0) sum += (double)file.st_size;
    }
    return sum;
}

/* Sleeps until the order has ended, at most LOOK_SECONDS. */
static bool wait_a_little(saver *s) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(LOOK_SECONDS * 1e9);
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&s->guard);
    while (!s->done && pthread_cond_timedwait(&s->ended, &s->guard, &until) == 0) {
    }
    bool done = s->done;
    pthread_mutex_unlock(&s->guard);
    return done;
}

status saver_wait(saver *s) {
    if (!s->busy) return STATUS_OK;
    progress line;
    double began = clock_seconds(), most = 0, total = (double)saver_copy_bytes(s->trainer) / 1e6;
    bool shown = false;
    while (!wait_a_little(s)) {
        if (clock_seconds() - began < QUIET_SECONDS) continue;
        if (!shown) progress_start(&line, "saving", "MB", s->order.checkpoint ? total : 0, 0);
        shown = true;
        double now = s->order.checkpoint ? bytes_written(s) / 1e6 : 0;
        if (now > most) most = now; /* a finished folder is renamed: nothing is seen any more */
        progress_show(&line, most < total ? most : total,
                      text("checkpoint of step %" PRId64, s->state.step));
    }
    if (shown) progress_hide();
    return collect(s);
}

static void copy_state(saver *s, bool copy) {
    const trainer *t = s->trainer;
    s->state = t->state;
    s->source = t->model;
    s->from_m = t->optimiser.m;
    s->from_v = t->optimiser.v;
    if (!copy) return;
    vector_copy(DTYPE_F32, t->model.params.count, t->model.params.master, s->master);
    vector_copy(DTYPE_F32, t->model.params.count, t->optimiser.m, s->m);
    vector_copy(DTYPE_F32, t->optimiser.v_count, t->optimiser.v, s->v);
    s->source.params.master = s->master;
    s->from_m = s->m;
    s->from_v = s->v;
}

status saver_start(saver *s, save_order order, bool beside) {
    if (saver_writing(s))
        log_info("step %" PRId64 " is saved once step %" PRId64 ", still being written, is done",
                 s->trainer->state.step, s->state.step);
    TRY(saver_wait(s));
    s->beside = beside && s->memory.base != NULL;
    s->order = order;
    s->done = false;
    s->result = STATUS_OK;
    copy_state(s, s->beside);
    if (order.checkpoint) s->ordered_step = s->state.step;
    int failure = start_thread(s);
    if (failure != 0)
        return error_errno(failure, "start the writer of checkpoints", s->folder->path);
    s->busy = true;
    return s->beside ? STATUS_OK : saver_wait(s);
}
