/* visit.c - the way into the library and out of it again, and what a process has once.
 *
 * What is process-wide in the layers below: the table of kernels (chosen once, before the first
 * forward), the pool of helper threads (begun with the first open model, ended with the last), the
 * log (goes to the caller or nowhere). Everything else is thread-local (reports, text(), scratch) or
 * belongs to a model or session. pool_for serves one thread at a time; a second one runs its pieces
 * itself, with the same result.
 *
 * A visit puts the caller's floating-point environment and locale aside: kernels want denormals
 * flushed and rounding to nearest, numbers in files want a decimal point. Both are per thread.
 *
 * Mind: helper threads are made with all signals blocked, so that handlers of the caller run where
 * the caller expects them.
 */
#include "lib/lib_internal.h"

#include "base/log.h"
#include "base/pool.h"
#include "base/progress.h"
#include "kernels/kernels.h"

#include <signal.h>
#include <string.h>

/* -- visits -- */

static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;
static locale_t c_locale;
static _Thread_local error_report failed;
static _Thread_local fathom_error shown;

#define SAME(name) _Static_assert((int)FATHOM_##name == (int)STATUS_##name, #name)
SAME(OK);
SAME(NO);
SAME(USAGE);
SAME(IO);
SAME(FORMAT);
SAME(SHAPE);
SAME(MEMORY);
SAME(LIMIT);
SAME(UNSUPPORTED);
SAME(CANCELLED);
SAME(INTERNAL);

static void c_locale_make(void) {
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

void visit_begin(visit *v) {
    pthread_once(&c_locale_once, c_locale_make);
    v->locale = c_locale != (locale_t)0 ? uselocale(c_locale) : (locale_t)0;
    fegetenv(&v->floats);
    fesetenv(FE_DFL_ENV);
    pool_flush_denormals();
}

void visit_end(const visit *v) {
    fesetenv(&v->floats);
    if (v->locale != (locale_t)0) uselocale(v->locale);
}

fathom_status visit_result(const visit *v, status s) {
    if (s != STATUS_OK) error_save(&failed);
    visit_end(v);
    return (fathom_status)s;
}

const fathom_error *fathom_last_error(void) {
    shown = (fathom_error){.status = (fathom_status)failed.code,
                           .code = (int)failed.id,
                           .what = failed.what,
                           .where = failed.where,
                           .why = failed.why,
                           .fix = failed.fix};
    return &shown;
}

const char *fathom_version(void) {
    return FATHOM_VERSION;
}

void fathom_free(void *block) {
    mem_free(block);
}

/* -- what a process has once -- */

static pthread_mutex_t process = PTHREAD_MUTEX_INITIALIZER;
static bool begun;
static int open_models;
static fathom_log_fn *log_to;
static void *log_context;

static void pass_line(void *unused, log_level level, const char *line) {
    (void)unused;
    if (log_to != NULL) log_to(log_context, (int)level, line);
}

/* With the process locked. */
static status begin_once(void) {
    if (begun) return STATUS_OK;
    log_listen(pass_line, NULL);
    log_set_level(LOG_INFO);
    progress_set_mode(PROGRESS_NONE);
    TRY(kernels_init(NULL));
    begun = true;
    return STATUS_OK;
}

void fathom_on_log(fathom_log_fn *fn, void *context) {
    pthread_mutex_lock(&process);
    log_listen(NULL, NULL); /* nobody is inside pass_line when this returns */
    log_to = fn;
    log_context = context;
    log_listen(pass_line, NULL);
    pthread_mutex_unlock(&process);
}

static status start_helpers(int threads) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    status s = pool_start(threads);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return s;
}

status process_enter(int threads) {
    pthread_mutex_lock(&process);
    status s = begin_once();
    if (s == STATUS_OK && open_models == 0) s = start_helpers(threads);
    if (s == STATUS_OK) open_models++;
    pthread_mutex_unlock(&process);
    return s;
}

void process_leave(void) {
    pthread_mutex_lock(&process);
    if (--open_models == 0) pool_stop();
    pthread_mutex_unlock(&process);
}

/* -- turns -- */

void turns_init(turns *t) {
    *t = (turns){0};
    pthread_mutex_init(&t->guard, NULL);
    pthread_cond_init(&t->changed, NULL);
}

void turns_clear(turns *t) {
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->guard);
}

void turn_take(turns *t) {
    pthread_mutex_lock(&t->guard);
    uint64_t mine = t->next++;
    while (t->serving != mine)
        pthread_cond_wait(&t->changed, &t->guard);
    pthread_mutex_unlock(&t->guard);
}

void turn_give(turns *t) {
    pthread_mutex_lock(&t->guard);
    t->serving++;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->guard);
}

/* -- structures that grow -- */

static status wrong_size(const char *name, const char *why) {
    return FAIL(F_USAGE, text("%s is not accepted", name), name, why,
                text("begin it with its size: {sizeof(%s), ...}", name));
}

status sized_read(void *ours, size_t size, const void *theirs, const char *name) {
    size_t given;
    memset(ours, 0, size);
    if (theirs == NULL) return STATUS_OK;
    memcpy(&given, theirs, sizeof given);
    if (given < sizeof given || given > 4096)
        return wrong_size(name, text("its first field says %zu bytes", given));
    for (size_t i = size; i < given; i++)
        if (((const char *)theirs)[i] != 0)
            return wrong_size(name, "it asks for something that only a later libfathom knows");
    memcpy(ours, theirs, given < size ? given : size);
    return STATUS_OK;
}

status sized_write(void *theirs, const void *ours, size_t size, const char *name) {
    size_t given;
    memcpy(&given, theirs, sizeof given);
    if (given < sizeof given || given > 4096)
        return wrong_size(name, text("its first field says %zu bytes", given));
    memset(theirs, 0, given);
    memcpy(theirs, ours, given < size ? given : size);
    memcpy(theirs, &given, sizeof given);
    return STATUS_OK;
}
