/* test_step_allocations.c - after its first step a run asks the heap for nothing.
 *
 * malloc and its kin are this program's own here and count. The hook that looks at the count in the
 * middle of a run is the sampler: it is called after every step and fails, so that no sample is
 * written. Exceptions, each with its test: a step that writes a checkpoint or the best model, and a
 * sample (the text is the sampler's). They give everything back.
 */
#include "train_fixture.h"

#include "base/memory.h"
#include "base/pool.h"

#include <stdatomic.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static _Atomic int64_t allocations;

#if defined(__GLIBC__) && !defined(SANITIZED)
#define COUNTS true
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

void *malloc(size_t bytes) {
    atomic_fetch_add(&allocations, 1);
    return __libc_malloc(bytes);
}
void *calloc(size_t count, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_calloc(count, size);
}
void *realloc(void *block, size_t bytes) {
    atomic_fetch_add(&allocations, 1);
    return __libc_realloc(block, bytes);
}
void *aligned_alloc(size_t alignment, size_t bytes) {
    atomic_fetch_add(&allocations, 1);
    return __libc_memalign(alignment, bytes);
}
#else
#define COUNTS false
#endif

#define STEPS 12

typedef struct step_counts {
    int n;
    int64_t at[STEPS + 1], live[STEPS + 1]; /* after step i */
} step_counts;

static status look(void *context, model *m, const char *prompt, char **text) {
    step_counts *c = context;
    (void)m, (void)prompt;
    *text = NULL;
    if (c->n <= STEPS) {
        c->live[c->n] = mem_live_blocks();
        c->at[c->n++] = atomic_load(&allocations);
    }
    return FAIL(F_UNAVAILABLE, "no sample", "test", "this sampler only looks", "nothing to do");
}

static status quiet_settings(train_settings *s, const char *name, fixture_model kind,
                             step_counts *c) {
    *c = (step_counts){.n = 1};
    TRY(fixture_settings(s, name, kind, STEPS));
    s->eval_every = 0;
    s->save_every = (option_every){.seconds = 3600};
    s->sample_every = 1;
    s->sample = look;
    s->sample_context = c;
    return STATUS_OK;
}

/* Steps 2 .. STEPS - 1; the last one is validated and saved. */
static void expect_none(const char *what, const step_counts *c) {
    CHECK(c->n == STEPS + 1, "%s: %d steps seen", what, c->n - 1);
    for (int step = 2; step < STEPS; step++)
        CHECK(c->at[step] == c->at[step - 1], "%s: step %d allocates %d times", what, step,
              (int)(c->at[step] - c->at[step - 1]));
}

TEST(steps_do_not_allocate) {
    static const struct {
        const char *name;
        fixture_model kind;
        optimiser_kind optimiser;
        bool profile;
    } runs[] = {{"alloc-dense", FIXTURE_DENSE, OPTIMISER_ADAMW, false},
                {"alloc-experts", FIXTURE_EXPERTS, OPTIMISER_ADAMW, false},
                {"alloc-muon", FIXTURE_DENSE, OPTIMISER_MUON, false},
                {"alloc-profile", FIXTURE_EXPERTS, OPTIMISER_MUON, true}};
    if (!COUNTS) SKIP("the sanitizer has a heap of its own");
    REQUIRE_OK(pool_start(2));
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        train_settings s;
        train_result r;
        step_counts c;
        REQUIRE_OK(quiet_settings(&s, runs[i].name, runs[i].kind, &c));
        s.optimiser = runs[i].optimiser;
        s.profile = runs[i].profile;
        REQUIRE_OK(train_run(&s, &r));
        expect_none(runs[i].name, &c);
    }
}

/* At a rate of nothing no validation is better than the first, so model/ is written once. */
TEST(validation_does_not_allocate) {
    train_settings s;
    train_result r;
    step_counts c;
    if (!COUNTS) SKIP("the sanitizer has a heap of its own");
    REQUIRE_OK(quiet_settings(&s, "alloc-validation", FIXTURE_EXPERTS, &c));
    s.checkpoint_async = BESIDE_NO; /* its thread would write model/ while steps are counted */
    s.eval_every = 1;
    s.learning_rate = 1e-30;
    s.weight_decay = 0;
    s.balance_rate = 0;
    REQUIRE_OK(train_run(&s, &r));
    CHECK(r.best_step == 1, "best at step %" PRId64, r.best_step);
    CHECK(c.n == STEPS + 1, "%d steps seen", c.n - 1);
    for (int step = 3; step < STEPS; step++) /* model/ of step 1 is written before step 2 is seen */
        CHECK(c.at[step] == c.at[step - 1], "step %d allocates %d times", step,
              (int)(c.at[step] - c.at[step - 1]));
}

/* The exception: it allocates, and it gives back. */
TEST(checkpoints_allocate_and_give_back) {
    train_settings s;
    train_result r;
    step_counts c;
    if (!COUNTS) SKIP("the sanitizer has a heap of its own");
    REQUIRE_OK(quiet_settings(&s, "alloc-checkpoints", FIXTURE_DENSE, &c));
    s.checkpoint_async = BESIDE_NO;
    s.save_every = (option_every){.steps = 4};
    REQUIRE_OK(train_run(&s, &r));
    CHECK(c.n == STEPS + 1, "%d steps seen", c.n - 1);
    for (int step = 2; step < STEPS; step++) {
        bool saved = (step - 1) % 4 == 0; /* after the look at the step before */
        CHECK((c.at[step] > c.at[step - 1]) == saved, "step %d allocates %d times", step,
              (int)(c.at[step] - c.at[step - 1]));
        CHECK(c.live[step] == c.live[1], "step %d keeps %d blocks", step,
              (int)(c.live[step] - c.live[1]));
    }
}
