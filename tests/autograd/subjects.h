/* subjects.h - small functions of every op, on which all laws of the tape are tested.
 *
 * A subject describes its parameters and inputs and computes an output from them. Its loss is
 * sum(R * output) with fixed random R, plus what loss ops add to fixture.loss, so one number has a
 * gradient for everything. The same values exist as f32 and f64.
 */
#ifndef FATHOM_TEST_SUBJECTS_H
#define FATHOM_TEST_SUBJECTS_H

#include "test.h"

#include "autograd/ops.h"

#define MOST_INPUTS 3
#define N_EXPERT    6 /* of the routed subjects */
#define N_USED      2

typedef struct fixture fixture;

typedef struct subject {
    const char *name;
    void (*describe)(fixture *f);
    var *(*run)(fixture *f, tape *t, var **x); /* NULL: fixture.loss alone */
    int records;                               /* that one forward leaves on the tape */
    int param_uses;                            /* counted in one forward */
    bool no_split; /* its gradients do not continue from micro-batch to micro-batch bit for bit */
} subject;

extern const subject subjects[];
extern const int n_subjects;

typedef struct fixture_input {
    bool per_token;
    int64_t rows, columns;
    void *data, *grad;
} fixture_input;

struct fixture {
    const subject *subject;
    dtype real;
    param_set params;
    param *p[6];
    void *grad; /* of all parameters */
    fixture_input x[MOST_INPUTS];
    int n_x;
    arena inputs, memory; /* memory: the tape's */
    /* all sequences of the batch; a run may take some of them */
    token_layout layout;
    int32_t *ids, *target;
    int from_sequence, to_sequence;
    int64_t token; /* of the batch's first in the whole one */
    choice_slot choice;
    int64_t counts[N_EXPERT];
    double loss, balance;
    double *each; /* [tokens] per-token losses */
    /* results of the last run */
    void *y; /* rows of all parts run so far */
    int64_t y_rows, y_columns;
    double total;
    size_t arena_used, arena_peak;
    int n_records, uses; /* after the forward */
};

typedef struct run_options {
    bool backward, dry;
    gemm_type products;
    recompute_policy recompute; /* of the whole subject, seen as a block of its only input */
    bool keep_gradients;        /* add to what is there */
} run_options;

bool fixture_open(fixture *f, const subject *s, dtype real);
void fixture_close(fixture *f);
void fixture_forget(fixture *f); /* routing choices and counts */
/* Runs forward and maybe backward; results in f. */
status fixture_run(fixture *f, run_options o) MUST_CHECK;

/* For describe. Inputs with rows = 0 have one row per token. */
void add_param(fixture *f, param_kind kind, const char *name, int rank, int64_t a, int64_t b,
               int64_t c);
void add_input(fixture *f, int64_t rows, int64_t columns);

#endif
