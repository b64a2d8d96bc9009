/* test_plan.c - the plan's memory against the peak resident set of real runs, and its refusals.
 *
 * A peak belongs to a process, so each configuration runs in a fresh one: the test program starts
 * itself with FATHOM_PLAN_CHILD set, and a constructor takes over before any test is run. */
#include "train_fixture.h"

#include "train/plan_internal.h"

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/progress.h"
#include "kernels/kernels.h"

#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct plan_case {
    const char *name, *size;
    int64_t vocab_size, seq_len, batch_tokens;
    int grad_lanes;
    recompute_policy recompute;
    train_precision precision;
    optimiser_kind optimiser;
} plan_case;

static const plan_case cases[] = {
    {"dense recipe", "shakespeare-char", 256, 64, 768, 1, RECOMPUTE_NONE, PRECISION_F32,
     OPTIMISER_ADAMW},
    {"f-1m", "f-1m", 1024, 256, 4096, 8, RECOMPUTE_NONE, PRECISION_F32, OPTIMISER_ADAMW},
    {"f-1m, recompute", "f-1m", 1024, 256, 4096, 2, RECOMPUTE_FULL, PRECISION_F32, OPTIMISER_ADAMW},
    {"f-5m, selective", "f-5m", 4096, 256, 2048, 2, RECOMPUTE_SELECTIVE, PRECISION_F32,
     OPTIMISER_ADAMW},
    {"f-5m, bf16", "f-5m", 4096, 256, 2048, 4, RECOMPUTE_NONE, PRECISION_BF16, OPTIMISER_ADAMW},
    {"f-15m, one lane", "f-15m", 8192, 256, 1024, 1, RECOMPUTE_NONE, PRECISION_F32,
     OPTIMISER_ADAMW},
    {"f-5m, muon", "f-5m", 4096, 256, 2048, 4, RECOMPUTE_NONE, PRECISION_F32, OPTIMISER_MUON},
    {"f-15m, muon, bf16-dot", "f-15m", 8192, 256, 1024, 1, RECOMPUTE_NONE, PRECISION_BF16_DOT,
     OPTIMISER_MUON},
};
#define N_CASES ((int)(sizeof cases / sizeof *cases))

static status case_settings(train_settings *s, const plan_case *c, const char *folder) {
    TRY(train_settings_defaults(s));
    static char input[PATH_SIZE], run[PATH_SIZE];
    TRY(path_join(input, folder, "text.txt"));
    TRY(path_join(run, folder, "plan-run"));
    s->input = input;
    s->run = run;
    s->size = c->size;
    s->vocab_size = c->vocab_size;
    s->seq_len = c->seq_len;
    s->batch_tokens = c->batch_tokens;
    s->grad_lanes = c->grad_lanes;
    s->recompute = c->recompute;
    s->precision = c->precision;
    s->optimiser = c->optimiser;
    s->max_steps = 2;
    s->eval_tokens = 1024;
    s->resume = RESUME_NO;
    return STATUS_OK;
}

/* In the fresh process: "planned peak" on standard output. */
static int run_case(int i, const char *folder) {
    train_settings s;
    train_result r;
    log_set_level(LOG_ERROR);
    progress_set_mode(PROGRESS_NONE);
    if (kernels_init(NULL) != STATUS_OK || pool_start(2) != STATUS_OK ||
        case_settings(&s, &cases[i], folder) != STATUS_OK || train_run(&s, &r) != STATUS_OK) {
        error_print(stderr, error_last());
        return 1;
    }
    printf("%" PRId64 " %" PRId64 "\n", r.planned_bytes, r.peak_bytes);
    fflush(stdout);
    pool_stop();
    return 0;
}

__attribute__((constructor)) static void take_over(void) {
    const char *child = getenv("FATHOM_PLAN_CHILD"), *folder = getenv("FATHOM_PLAN_FOLDER");
    if (child != NULL && folder != NULL) _exit(run_case(child[0] - '0', folder));
}

static bool read_child(int i, int64_t *planned, int64_t *peak) {
    char self[PATH_SIZE];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return false;
    self[n] = 0;
    const char *command =
        text("FATHOM_PLAN_CHILD=%d FATHOM_PLAN_FOLDER='%s' '%s'", i, fixture_folder(), self);
    FILE *out = popen(command, "r");
    if (out == NULL) return false;
    bool ok = fscanf(out, "%" SCNd64 " %" SCNd64, planned, peak) == 2;
    return pclose(out) == 0 && ok;
}

TEST(planned_memory_is_within_5_percent_or_8_mebibytes) {
#if defined(__SANITIZE_ADDRESS__)
    SKIP("the address sanitizer's shadow counts as resident");
#endif
    fixture_text(40000);
    for (int i = 0; i < N_CASES; i++) {
        int64_t planned = 0, peak = 0;
        REQUIRE(read_child(i, &planned, &peak), "%s could not be run", cases[i].name);
        double mib = 1 << 20, off = (double)(planned - peak);
        printf("  %-16s planned %.1f MiB, peak %.1f MiB (%+.1f %%)\n", cases[i].name,
               (double)planned / mib, (double)peak / mib, 100 * off / (double)peak);
        CHECK(fabs(off) <= fmax(0.05 * (double)peak, 8 * mib),
              "%s: planned %.1f MiB, peak %.1f MiB", cases[i].name, (double)planned / mib,
              (double)peak / mib);
    }
}

/* What the arena counts while training against the dry tape of the plan: all of it, and what
 * checkpoints keep. */
static void expect_counted(const char *name, const train_settings *s) {
    static const char *const policies[] = {"none", "selective", "full"};
    for (int policy = RECOMPUTE_NONE; policy <= RECOMPUTE_FULL; policy++) {
        train_settings one = *s;
        train_plan p;
        train_probe *probe;
        double seconds;
        one.recompute = (recompute_policy)policy;
        REQUIRE_OK(plan_make(&one, 0, &p));
        REQUIRE_OK(train_probe_open(&probe, &one));
        for (int i = 0; i < 2; i++)
            REQUIRE_OK(train_probe_step(probe, &seconds));
        train_activations a = train_probe_activations(probe);
        train_probe_close(probe);
        CHECK(a.all == p.by_policy[policy],
              "%s, %s: %" PRId64 " bytes counted, %" PRId64 " planned", name, policies[policy],
              a.all, p.by_policy[policy]);
        CHECK(a.inputs == p.kept_inputs && a.outputs == p.kept_outputs,
              "%s, %s: kept %" PRId64 " + %" PRId64 ", planned %" PRId64 " + %" PRId64, name,
              policies[policy], a.inputs, a.outputs, p.kept_inputs, p.kept_outputs);
    }
}

TEST(planned_activations_are_what_the_arena_counts) {
    train_settings s;
    REQUIRE_OK(pool_start(2));
    REQUIRE_OK(fixture_settings(&s, "counted-dense", FIXTURE_DENSE, 4));
    expect_counted("dense", &s);
    REQUIRE_OK(fixture_settings(&s, "counted-experts", FIXTURE_EXPERTS, 4));
    expect_counted("experts", &s);
    s.precision = PRECISION_BF16;
    expect_counted("experts, bf16", &s);
    static const plan_case f5m = {
        .size = "f-5m", .vocab_size = 4096, .seq_len = 256, .batch_tokens = 1024, .grad_lanes = 1};
    REQUIRE_OK(case_settings(&s, &f5m, fixture_folder()));
    s.resume = RESUME_AUTO;
    expect_counted("f-5m", &s);
    pool_stop();
}

/* Dry: nothing of the model is computed. The shape that `fathom bench train` has by default. */
TEST(recomputation_saves_half_and_four_fifths_of_f_50m) {
    static const plan_case f50m = {.size = "f-50m",
                                   .vocab_size = 16384,
                                   .seq_len = 512,
                                   .batch_tokens = 16384,
                                   .grad_lanes = 8};
    train_settings s;
    train_plan p;
    REQUIRE_OK(case_settings(&s, &f50m, fixture_folder()));
    fixture_text(40000);
    if (memory_available() < INT64_C(8) << 30) SKIP("less than 8 GiB of memory");
    REQUIRE_OK(plan_make(&s, 0, &p));
    double none = (double)p.by_policy[RECOMPUTE_NONE],
           selective = 1 - (double)p.by_policy[RECOMPUTE_SELECTIVE] / none,
           full = 1 - (double)p.by_policy[RECOMPUTE_FULL] / none;
    printf("  f-50m: selective saves %.1f %%, full %.1f %% of %.0f MiB\n", 100 * selective,
           100 * full, none / (1 << 20));
    CHECK(selective >= 0.5, "selective saves %.3f", selective);
    CHECK(full >= 0.8, "full saves %.3f", full);
}

static bool plan_says(const train_plan *p, const char *words) {
    char *printed = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&printed, &n);
    if (out == NULL) return false;
    plan_print(out, p);
    fclose(out);
    bool said = strstr(printed, words) != NULL;
    free(printed);
    return said;
}

TEST(a_plan_is_printed_and_stored) {
    train_settings s;
    train_plan p;
    REQUIRE_OK(fixture_settings(&s, "plan", FIXTURE_EXPERTS, 100));
    REQUIRE_OK(plan_make(&s, 0.05, &p));
    CHECK(p.measured && p.tokens_per_second > 0 && p.seconds > 0 && p.steps == 100, "time");
    CHECK(p.memory ==
              p.weights + p.gradients + p.optimiser + p.packed + p.activations + p.copy + p.other,
          "a class is lost");
    CHECK(p.copy == p.copy_size && p.copy >= 12 * p.parameters, "no copy for checkpoints");
    REQUIRE_OK(plan_check(&p));
    char *printed = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&printed, &n);
    REQUIRE(out != NULL, "no memory");
    plan_print(out, &p);
    fclose(out);
    static const char *const words[] = {"model ", "tokens ", "memory ",
                                        "disk ",  "time ",   "activations"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        CHECK(strstr(printed, words[i]) != NULL, "no \"%s\" in:\n%s", words[i], printed);
    free(printed);
    json_t *o = plan_json(&p);
    REQUIRE(o != NULL, "no JSON");
    CHECK(json_integer_value(json_object_get(json_object_get(o, "memory_bytes"), "total")) ==
              p.memory,
          "JSON");
    json_decref(o);
}

TEST(a_step_is_the_sum_of_its_parts) {
    step_parts p = {.row = 0.5, .update = 3, .zero = 0.25, .merge = 0.125};
    CHECK(step_seconds(&p, 1, 1) == 3.75, "%g", step_seconds(&p, 1, 1));
    CHECK(step_seconds(&p, 64, 8) == 3 + 32 + 2 + 0.875, "%g", step_seconds(&p, 64, 8));
}

TEST(planned_time_is_that_of_steps_and_validations) {
    const train_speed speed = {.how = SPEED_WHOLE_STEPS, .step = 0.5, .look_row = 0.01, .spent = 3};
    train_plan p = {.batch_tokens = 4096, .steps = 100, .looks = 20, .look_rows = 30};
    plan_time(&p, &speed);
    CHECK(p.step_seconds == 50 && fabs(p.look_seconds - 6) < 1e-12, "%g and %g", p.step_seconds,
          p.look_seconds);
    CHECK(p.seconds == p.step_seconds + p.look_seconds && p.measured, "%g", p.seconds);
    CHECK(p.tokens_per_second == 8192, "%g", p.tokens_per_second);
    CHECK(p.seconds_low < p.seconds && p.seconds < p.seconds_high, "the range");
    CHECK(plan_says(&p, "20 validations 6.0 s") && plan_says(&p, "whole steps, measured for 3.0 s"),
          "it is not said");
    plan_time(&p, &(train_speed){.how = SPEED_PRODUCT, .step = 2});
    CHECK(!p.measured && p.seconds == 200 && plan_says(&p, "assumed"), "a guess");
}

/* By parts and by whole steps; how near they are is for benchmarks, that both leave no trace is not. */
TEST(measuring_leaves_a_fresh_trainer) {
    train_settings s;
    trainer t;
    train_speed speed;
    REQUIRE_OK(fixture_settings(&s, "fresh", FIXTURE_EXPERTS, 100));
    REQUIRE_OK(pool_start(2));
    REQUIRE_OK(trainer_open(&t, &s));
    sha256_hex before, after;
    size_t n = (size_t)t.model.params.count * sizeof(float);
    REQUIRE_OK(sha256_bytes(t.model.params.master, n, &before));
    for (int i = 0; i < 2; i++) {
        REQUIRE_OK(trainer_speed(&t, i == 0 ? 1e-6 : 0.3, &speed));
        CHECK(speed.how == (i == 0 ? SPEED_PARTS : SPEED_WHOLE_STEPS), "round %d", i);
        CHECK(speed.step > 0 && speed.look_row > 0 && speed.spent > 0, "round %d", i);
        REQUIRE_OK(sha256_bytes(t.model.params.master, n, &after));
        CHECK(strcmp(before.hex, after.hex) == 0 && t.state.step == 0, "round %d left traces", i);
        CHECK(t.rows.capacity == 8 && t.lanes.n == 4, "rows or lanes were not put back");
    }
    REQUIRE_OK(trainer_speed_guess(&t, &speed));
    CHECK(speed.how == SPEED_PRODUCT && speed.step > 0, "the guess");
    trainer_close(&t);
    pool_stop();
}

TEST(a_plan_says_how_checkpoints_are_written) {
    train_plan p = {.copy = 1 << 20, .copy_size = 1 << 20, .disk_free = -1};
    CHECK(plan_says(&p, "written while training goes on"), "with a copy");
    p.copy = 0;
    CHECK(plan_says(&p, "no room for a copy (1.0 MiB)"), "without room");
    p.beside = BESIDE_NO;
    CHECK(plan_says(&p, "training waits for them") && !plan_says(&p, "no room"), "not wanted");
}

TEST(what_does_not_fit_is_refused_with_two_remedies) {
    train_plan p = {.memory = INT64_C(31) << 30,
                    .memory_free = INT64_C(23) << 30,
                    .activations = INT64_C(18) << 30,
                    .half_batch = INT64_C(9) << 30,
                    .with_recompute = INT64_C(2) << 30,
                    .seq_len = 4096,
                    .micro_batch = 8,
                    .disk_free = -1};
    CHECK(plan_check(&p) == STATUS_MEMORY && error_last()->id == F_NO_MEMORY, "memory");
    CHECK(strstr(error_last()->what, "31") != NULL && strstr(error_last()->what, "23") != NULL,
          "%s", error_last()->what);
    CHECK(strstr(error_last()->fix, "--micro-batch 4") != NULL &&
              strstr(error_last()->fix, "--recompute") != NULL,
          "%s", error_last()->fix);
    p = (train_plan){.memory_free = 1, .disk = 100, .disk_free = 10};
    CHECK(plan_check(&p) == STATUS_IO && error_last()->id == F_DISK_FULL, "disk");
    train_settings s;
    REQUIRE_OK(fixture_settings(&s, "huge", FIXTURE_DENSE, 1));
    s.size = "f-175b";
    s.d_model = s.n_layer = s.d_ff = 0;
    s.n_head = s.n_kv_head = s.head_dim = 0;
    CHECK(plan_make(&s, 0, &p) == STATUS_MEMORY && error_last()->id == F_NO_MEMORY, "F%04d: %s",
          (int)error_last()->id, error_last()->what);
    CHECK(strstr(error_last()->fix, "--grad-lanes 1") != NULL, "%s", error_last()->fix);
}

TEST(two_runs_are_compared_step_by_step) {
    train_settings a, b;
    double first[3], second[3];
    REQUIRE_OK(fixture_settings(&a, "compare-a", FIXTURE_DENSE, 10));
    REQUIRE_OK(fixture_settings(&b, "compare-b", FIXTURE_EXPERTS, 10));
    REQUIRE_OK(train_compare(&a, &b, 3, first, second));
    for (int i = 0; i < 3; i++)
        CHECK(first[i] > 0 && second[i] > 0, "pair %d took %g and %g s", i, first[i], second[i]);
    CHECK(!path_exists(a.run) && !path_exists(b.run), "a comparison left a run behind");
    b.d_model = 33; /* no multiple of what the blocks need */
    b.d_expert = 0;
    b.n_expert_used = 1000;
    CHECK(train_compare(&a, &b, 3, first, second) != STATUS_OK, "a bad model was compared");
}

TEST(updates_are_measured_for_both_optimisers) {
    train_settings s;
    double best;
    int64_t parameters;
    REQUIRE_OK(fixture_settings(&s, "updates", FIXTURE_EXPERTS, 10));
    for (int kind = OPTIMISER_ADAMW; kind <= OPTIMISER_MUON; kind++) {
        s.optimiser = (optimiser_kind)kind;
        REQUIRE_OK(train_measure_update(&s, 0.001, &best, &parameters));
        CHECK(best > 0 && best < 60 && parameters > 10000, "%g s for %" PRId64, best, parameters);
    }
}
