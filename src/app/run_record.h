/* run_record.h - a run folder read back: its settings, its plan and every line of its metrics. */
#ifndef FATHOM_APP_RUN_RECORD_H
#define FATHOM_APP_RUN_RECORD_H

#include "base/file.h"
#include "base/json.h"
#include "train/train.h"

/* One line of metrics.jsonl; what a line lacks is NAN. */
typedef struct run_point {
    double step, tokens, time, loss, lr, grad_norm, tok_per_sec, mem_bytes, mfu;
    double val_loss, val_bpb, mtp_loss, balance_loss, expert_max_violation;
} run_point;

typedef struct run_record {
    char path[PATH_SIZE];
    train_settings settings;
    run_point *points;
    int n;
    int bad_lines; /* lines that are not JSON objects with a step */
    int first_bad; /* number of the first of them, from 1; 0 = none */
    json_t *plan;  /* plan.json; NULL = none */
    bool running;  /* a process holds its lock */
    int64_t bytes; /* of all files */
    int64_t best;  /* index of the point with the lowest val_loss, -1 = none */
    arena strings;
} run_record;

/* F_MISSING if the folder holds no run. */
status run_record_read(run_record *r, const char *path) MUST_CHECK;
void run_record_clear(run_record *r); /* accepts a zeroed one */
bool run_is_there(const char *path);  /* has a config.ini and is a folder */

/* Adds the lines of a metrics.jsonl to a zeroed record with best = -1. */
status run_record_parse(run_record *r, const char *bytes, size_t n) MUST_CHECK;

/* Index of the first point whose validation loss is at most `loss`, -1 = none. */
int64_t run_first_at(const run_record *r, double loss);

/* Names of the numbers of a point, in the order of metrics.jsonl; NULL past the end. */
const char *run_metric_name(int i);
int run_metric_find(const char *name); /* -1 = none */
double run_metric(const run_point *p, int i);
/* Mean of metric i over points with tokens in (from, to]; *n counts them, *error is the standard
 * error of the mean (0 for fewer than two). NAN if there are none. */
double run_metric_mean(const run_record *r, int i, double from, double to, int *n, double *error);

#endif
