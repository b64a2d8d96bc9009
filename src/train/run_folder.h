/* run_folder.h - the files of a run besides checkpoints: metrics, samples, facts, lock. Private to
 * train/. Every write waits for a full disk to be emptied (run_folder_wait) instead of losing the
 * run. */
#ifndef FATHOM_TRAIN_RUN_FOLDER_H
#define FATHOM_TRAIN_RUN_FOLDER_H

#include "train/tensorboard.h"
#include "train/trainer.h"

#include "base/json.h"

typedef struct run_folder {
    char path[PATH_SIZE], metrics[PATH_SIZE], samples[PATH_SIZE], config[PATH_SIZE];
    char plan[PATH_SIZE], model[PATH_SIZE], profile[PATH_SIZE], trace[PATH_SIZE];
    char tokenizer[PATH_SIZE]; /* to copy into checkpoints; "" = none */
    int lock;                  /* descriptor that holds the lock, -1 = none */
    double disk_wait;          /* seconds a full disk is waited for */
    bool with_events;          /* metrics go to `events` as well */
    tensorboard_file events;
} run_folder;

/* Makes the folder, takes its lock (F_UNAVAILABLE if another process trains there) and starts
 * log.txt. */
status run_folder_open(run_folder *f, const char *path, double disk_wait) MUST_CHECK;
void run_folder_close(run_folder *f); /* accepts a zeroed one with lock -1 */
/* Removes what the folder holds of a run: settings, metrics, samples, checkpoints, model. */
status run_folder_forget(run_folder *f) MUST_CHECK;
/* env.json: program, machine, threads, kernels. */
status run_folder_facts(const run_folder *f) MUST_CHECK;
/* Drops lines of metrics and samples with a step above `step`, and torn ones. */
status run_folder_cut(const run_folder *f, int64_t step) MUST_CHECK;
/* Makes the TensorBoard file anew from metrics.jsonl (after a cut); from here on run_folder_metric
 * adds to both. `seconds`: of training so far. */
status run_folder_events(run_folder *f, double seconds) MUST_CHECK;
/* One line of metrics.jsonl; e NULL = no evaluation at this step. */
status run_folder_metric(const run_folder *f, const trainer *t, const step_report *r,
                         const evaluation *e, double tokens_per_second) MUST_CHECK;
status run_folder_sample(const run_folder *f, int64_t step, const char *prompt,
                         const char *sample) MUST_CHECK;
/* tokenizer.json of a run on plain bytes: 256 tokens, id = byte. */
status run_folder_byte_tokenizer(run_folder *f) MUST_CHECK;

/* After a failed write: if the disk is full, waits (message, a look every 5 s) until something is
 * free and returns OK, so that the caller tries again; else, or when the time is up or a signal
 * came, gives back the failure. */
status run_folder_wait(const run_folder *f, status failed, double *waited,
                       int64_t bytes) MUST_CHECK;

#endif
