/* run_folder.c - see run_folder.h.
 *
 * How: metrics.jsonl and samples.jsonl only ever grow by whole lines, each one write call. After a
 * kill they may be ahead of the checkpoint that the run continues from; run_folder_cut takes those
 * lines off again, so a finished file reads as if the run had never stopped. The TensorBoard file is
 * made again from the lines that stay (tensorboard.c).
 *
 * Mind: the lock is an flock on RUN/lock: it goes away with the process, however that ends.
 */
#include "train/run_folder.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/progress.h"
#include "kernels/kernels.h"
#include "tokens/tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define DISK_LOOK_SECONDS 5.0

/* -- opening -- */

static status take_lock(run_folder *f) {
    char path[PATH_SIZE];
    TRY(path_join(path, f->path, "lock"));
    f->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (f->lock < 0) return error_errno(errno, text("open %s", path), path);
    if (flock(f->lock, LOCK_EX | LOCK_NB) == 0) return STATUS_OK;
    int failed = errno;
    close(f->lock);
    f->lock = -1;
    if (failed != EWOULDBLOCK) return error_errno(failed, text("lock %s", path), path);
    return FAIL(F_UNAVAILABLE, "another process is training in this run folder", f->path,
                "two writers would destroy each other's checkpoints",
                "wait for it to end, stop it, or choose another --run folder");
}

status run_folder_open(run_folder *f, const char *path, double disk_wait) {
    *f = (run_folder){.lock = -1, .disk_wait = disk_wait};
    TRY(folder_create(path));
    if (strlen(path) + 64 >= PATH_SIZE)
        return FAIL(F_BAD_VALUE, "the path of the run folder is too long", path,
                    text("paths have at most %d bytes", PATH_SIZE - 64),
                    "use a shorter --run folder");
    snprintf(f->path, sizeof f->path, "%s", path);
    TRY(path_join(f->metrics, path, "metrics.jsonl"));
    TRY(path_join(f->samples, path, "samples.jsonl"));
    TRY(path_join(f->config, path, "config.ini"));
    TRY(path_join(f->plan, path, "plan.json"));
    TRY(path_join(f->model, path, "model"));
    TRY(path_join(f->profile, path, "profile.json"));
    TRY(path_join(f->trace, path, "trace.json"));
    TRY(take_lock(f));
    char log[PATH_SIZE];
    TRY(path_join(log, path, "log.txt"));
    return log_file(log);
}

void run_folder_close(run_folder *f) {
    if (f->lock >= 0) {
        close(f->lock);
        if (log_file(NULL) != STATUS_OK) log_warn("log.txt could not be closed");
    }
    f->lock = -1;
}

status run_folder_forget(run_folder *f) {
    static const char *const names[] = {"config.ini",    "plan.json",     "env.json",
                                        "metrics.jsonl", "samples.jsonl", "profile.json",
                                        "trace.json"};
    char path[PATH_SIZE];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        TRY(path_join(path, f->path, names[i]));
        if (unlink(path) != 0 && errno != ENOENT)
            return error_errno(errno, text("remove %s", path), path);
    }
    TRY(tensorboard_forget(f->path));
    TRY(folder_remove(f->model));
    TRY(path_join(path, f->path, "bad_batches"));
    TRY(folder_remove(path));
    TRY(path_join(path, f->path, "checkpoints"));
    return folder_remove(path);
}

status run_folder_facts(const run_folder *f) {
    struct utsname system;
    char path[PATH_SIZE], now[21];
    TRY(path_join(path, f->path, "env.json"));
    clock_utc(now);
    if (uname(&system) != 0) memset(&system, 0, sizeof system);
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:I, s:s}", "program", "fathom",
                          "version", FATHOM_VERSION, "system", system.sysname, "release",
                          system.release, "machine", system.machine, "cpu", kernels_cpu_text(),
                          "cpus", pool_cpus(), "threads", pool_threads(), "memory_bytes",
                          (json_int_t)memory_available(), "kernels", tier_name(kernels_tier()));
    if (o == NULL || json_object_set_new(o, "started", json_string(now)) != 0) {
        json_decref(o);
        return FAIL(F_NO_MEMORY, "env.json could not be made", f->path, "memory ran out",
                    "free memory and run the same command again");
    }
    status s = json_write(path, o);
    json_decref(o);
    return s;
}

status run_folder_byte_tokenizer(run_folder *f) {
    tokenizer *bytes;
    TRY(path_join(f->tokenizer, f->path, "tokenizer.json"));
    TRY(tokenizer_byte(&bytes));
    status s = tokenizer_save(bytes, f->tokenizer);
    tokenizer_free(bytes);
    return s;
}

/* -- lines -- */

/* The step of a line of metrics or samples; -1 if it cannot be read. */
static int64_t line_step(const char *line, size_t n) {
    json_t *o;
    int64_t step = -1;
    if (json_parse(line, n, "metrics", &o) == STATUS_OK) {
        if (json_get_int(o, "step", &step, "metrics") != STATUS_OK) step = -1;
        json_decref(o);
    }
    error_clear();
    return step;
}

/* Moves the whole lines with a step up to `step` to the front; *unreadable counts those without one.
 * Returns the bytes they take. A torn last line is what a kill leaves behind: it is dropped. */
static size_t keep_lines(char *bytes, size_t n, int64_t step, int *unreadable) {
    size_t kept = 0;
    *unreadable = 0;
    for (size_t at = 0, length; at < n; at += length + 1) {
        const char *end = memchr(bytes + at, '\n', n - at);
        if (end == NULL) break;
        length = (size_t)(end - (bytes + at));
        int64_t found = line_step(bytes + at, length);
        *unreadable += found < 0;
        if (found < 0 || found > step) continue;
        memmove(bytes + kept, bytes + at, length + 1);
        kept += length + 1;
    }
    return kept;
}

static status cut_file(const char *path, int64_t step) {
    char *bytes, aside[PATH_SIZE];
    size_t n;
    int unreadable;
    if (!path_exists(path)) return STATUS_OK;
    TRY(file_read(path, 0, &bytes, &n));
    size_t kept = keep_lines(bytes, n, step, &unreadable);
    status s = STATUS_OK;
    if (unreadable > 0) { /* not our writing: the file as it was stays beside the new one */
        log_warn(
            "%d lines of %s cannot be read and were left out; the file as it was is %s.damaged",
            unreadable, path, path_name(path));
        int length = snprintf(aside, sizeof aside, "%s.damaged", path);
        if (length > 0 && length < (int)sizeof aside) s = file_rename(path, aside);
    }
    if (s == STATUS_OK && kept != n) s = file_write(path, bytes, kept);
    mem_free(bytes);
    return s;
}

status run_folder_cut(const run_folder *f, int64_t step) {
    TRY(cut_file(f->metrics, step));
    return cut_file(f->samples, step);
}

status run_folder_events(run_folder *f, double seconds) {
    double waited = 0;
    status s;
    TRY(tensorboard_open(&f->events, f->path, seconds));
    f->with_events = true;
    while ((s = tensorboard_rebuild(&f->events, f->metrics)) != STATUS_OK)
        TRY(run_folder_wait(f, s, &waited, 65536));
    return STATUS_OK;
}

static status append_event(const run_folder *f, const metric_line *line) {
    double waited = 0;
    status s;
    if (!f->with_events) return STATUS_OK;
    while ((s = tensorboard_append(&f->events, line)) != STATUS_OK)
        TRY(run_folder_wait(f, s, &waited, TENSORBOARD_RECORD));
    return STATUS_OK;
}

/* Appends a line; waits while the disk is full. */
static status append_line(const run_folder *f, const char *path, const char *line, int64_t step) {
    double waited = 0;
    status s;
    while ((s = file_append_line(path, line)) != STATUS_OK) {
        TRY(run_folder_wait(f, s, &waited, 65536));
        TRY(cut_file(path, step - 1)); /* half a line may have been written */
    }
    return STATUS_OK;
}

static void fill_line(metric_line *l, const trainer *t, const step_report *r, const evaluation *e,
                      double tokens_per_second) {
    const train_state *state = &t->state;
    metric_whole(l, "step", state->step);
    metric_whole(l, "tokens", state->tokens);
    metric_real(l, "time", state->seconds);
    metric_real(l, "loss", r->loss);
    metric_real(l, "lr", r->lr);
    metric_real(l, "grad_norm", r->grad_norm);
    metric_real(l, "tok_per_sec", tokens_per_second);
    metric_whole(l, "mem_bytes", memory_peak_rss());
    if (r->mfu > 0) metric_real(l, "mfu", r->mfu);
    if (t->config.n_mtp > 0) metric_real(l, "mtp_loss", r->mtp_loss);
    if (r->expert_max_violation >= 0) {
        metric_real(l, "expert_max_violation", r->expert_max_violation);
        metric_real(l, "balance_loss", r->balance_loss);
    }
    if (r->skipped) metric_true(l, "skipped");
    if (e == NULL) return;
    metric_real(l, "val_loss", e->loss);
    metric_real(l, "val_bpb", e->bpb);
}

status run_folder_metric(const run_folder *f, const trainer *t, const step_report *r,
                         const evaluation *e, double tokens_per_second) {
    metric_line line = {.n = 0};
    char bytes[METRIC_TEXT];
    fill_line(&line, t, r, e, tokens_per_second);
    metric_text(&line, bytes);
    TRY(append_line(f, f->metrics, bytes, t->state.step));
    return append_event(f, &line);
}

status run_folder_sample(const run_folder *f, int64_t step, const char *prompt,
                         const char *sample) {
    json_t *o =
        json_pack("{s:I, s:s, s:s}", "step", (json_int_t)step, "prompt", prompt, "text", sample);
    char *line = o != NULL ? json_line(o) : NULL;
    json_decref(o);
    if (line == NULL)
        return FAIL(F_NO_MEMORY, "a line of samples.jsonl could not be made", f->samples,
                    "memory ran out or a text is not UTF-8",
                    "free memory and run the same command again");
    status s = append_line(f, f->samples, line, step);
    mem_free(line);
    return s;
}

/* -- a full disk -- */

static void sleep_seconds(double seconds) {
    for (double end = clock_seconds() + seconds; clock_seconds() < end && !interrupted();) {
        struct timespec nap = {.tv_nsec = 100000000};
        nanosleep(&nap, NULL);
    }
}

status run_folder_wait(const run_folder *f, status failed, double *waited, int64_t bytes) {
    error_report report;
    error_save(&report);
    if (report.id != F_DISK_FULL || *waited >= f->disk_wait || interrupted()) return failed;
    int64_t free_bytes = 0;
    if (disk_free(f->path, &free_bytes) != STATUS_OK) free_bytes = 0;
    log_warn("disk full: paused, the state is in memory; looking again every %.0f s, for %s more. "
             "Needed %s, free %s. To make room: fathom runs rm --keep-best",
             DISK_LOOK_SECONDS, duration_text(f->disk_wait - *waited), bytes_text((double)bytes),
             bytes_text((double)free_bytes));
    double from = clock_seconds(), left = f->disk_wait - *waited;
    sleep_seconds(left < DISK_LOOK_SECONDS ? left : DISK_LOOK_SECONDS);
    *waited += clock_seconds() - from;
    if (!interrupted()) return STATUS_OK;
    error_restore(&report);
    return failed;
}
