/* lib_internal.h - what the files of the library share: the way in and out, and the insides of models
 * and sessions. */
#ifndef FATHOM_LIB_LIB_INTERNAL_H
#define FATHOM_LIB_LIB_INTERNAL_H

#include "lib/fathom.h"

#include "infer/conversation.h"
#include "infer/infer.h"

#include <fenv.h>
#include <locale.h>
#include <pthread.h>
#include <stdatomic.h>

/* -- visit.c: in and out of the library -- */

/* What is the caller's, put aside while we are inside: rounding, denormals, locale of numbers. */
typedef struct visit {
    fenv_t floats;
    locale_t locale;
} visit;
void visit_begin(visit *v);
void visit_end(const visit *v);
/* Keeps the report of a failure for fathom_last_error. */
fathom_status visit_result(const visit *v, status s);

/* Kernels and helper threads exist while a model is open; *threads: how many there are. */
status process_enter(int threads) MUST_CHECK;
void process_leave(void);

/* Turns at something, in the order of asking, so that nobody starves. */
typedef struct turns {
    pthread_mutex_t guard;
    pthread_cond_t changed;
    uint64_t next, serving;
} turns;
void turns_init(turns *t);
void turns_clear(turns *t);
void turn_take(turns *t);
void turn_give(turns *t);

/* Copies a structure that begins with its size between the caller's idea of it and ours. Into:
 * fields the caller does not know are zero; F_USAGE if it sets some that we do not know. */
status sized_read(void *ours, size_t size, const void *theirs, const char *name) MUST_CHECK;
status sized_write(void *theirs, const void *ours, size_t size, const char *name) MUST_CHECK;

/* -- models and sessions -- */

struct fathom_model {
    bundle bundle;
    bundle_facts facts;
    turns turns;        /* a forward makes tables and packed copies of the model on first use */
    _Atomic int owners; /* the caller and every session */
};
void model_release(fathom_model *m); /* one owner less; the last one ends it */

struct fathom_session {
    fathom_model *model;
    engine *engine; /* its own: pages, and the arena of a forward */
    session *session;
    conversation *talk; /* NULL until the first fathom_chat */
    float *logits;      /* [vocab] of the last id */
    bool has_logits;
    sampler_options sampler; /* of the last answer */
    fathom_answer_facts facts;
    char *text; /* of the last answer, NUL-terminated */
    size_t n, room;
    _Atomic bool busy, cancelled;
};
/* Into a call on s, holding the model's turn; F_BUSY if there is one already. Where it succeeds the
 * call ends with session_leave. */
status session_enter(fathom_session *s) MUST_CHECK;
fathom_status session_leave(fathom_session *s, const visit *v, status result);

#endif
