/* test_run.c - whole runs: learning, exact continuation, kills, signals, damage, full disks. */
#include "train_fixture.h"

#include "train/checkpoint.h"
#include "train/trainer.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/pool.h"
#include "base/rng.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* -- learning -- */

TEST(one_batch_is_memorised_within_200_steps) {
    train_settings s;
    trainer t;
    gradient_result g = {0};
    REQUIRE_OK(fixture_settings(&s, "memorise", FIXTURE_DENSE, 200));
    s.d_model = 64;
    s.d_ff = 128;
    s.head_dim = 32;
    REQUIRE_OK(pool_start(2));
    REQUIRE_OK(trainer_open(&t, &s));
    REQUIRE_OK(rows_load(&t.rows, t.train, 0, 1, 4));
    double loss = 0;
    int64_t step = 1;
    for (; step <= 200; step++) {
        optimiser_rates r = {.lr = 1e-2,
                             .beta1 = 0.9,
                             .beta2 = 0.95,
                             .epsilon = 1e-8,
                             .grad_clip = 1,
                             .update = step};
        REQUIRE_OK(lanes_gradient(&t.lanes, &t.model, &t.rows, &t.gradient, &t.step_memory, &g));
        loss = g.loss_sum / (double)g.counted;
        if (loss < 0.05) break;
        REQUIRE_OK(optimiser_update(&t.optimiser, &r, gradient_norm(&t.model.params)));
    }
    printf("  loss %.4f after %" PRId64 " steps\n", loss, step - 1);
    CHECK(loss < 0.05, "%.4f after 200 steps", loss);
    trainer_close(&t);
}

TEST(first_loss_is_that_of_a_uniform_guess) {
    train_settings s;
    train_result r;
    REQUIRE_OK(fixture_settings(&s, "first", FIXTURE_DENSE, 1));
    s.d_model = 128;
    s.head_dim = 64;
    REQUIRE_OK(train_run(&s, &r));
    double expected = log(256) + 128 * 0.02 * 0.02 / 2; /* tied head: logits have variance d s^2 */
    CHECK(fabs(r.first_loss - expected) < 0.03, "%.4f, expected %.4f", r.first_loss, expected);
}

TEST(a_run_learns_and_leaves_its_files) {
    static const char *const files[] = {"config.ini",
                                        "plan.json",
                                        "env.json",
                                        "metrics.jsonl",
                                        "log.txt",
                                        "model/config.json",
                                        "model/model.safetensors",
                                        "model/tokenizer.json",
                                        "checkpoints/step-60/MANIFEST"};
    train_settings s;
    train_result r;
    REQUIRE_OK(fixture_settings(&s, "learns", FIXTURE_EXPERTS, 60));
    REQUIRE_OK(train_run(&s, &r));
    CHECK(r.steps == 60 && r.tokens == 60 * 256 && r.resumed_from == -1 && !r.already_done,
          "result");
    CHECK(r.val_loss < r.first_loss - 1, "%.3f -> %.3f", r.first_loss, r.val_loss);
    CHECK(fabs(r.val_bpb - r.val_loss / log(2)) < 0.01 * r.val_bpb,
          "a byte is a token: %.4f bits, %.4f nats", r.val_bpb, r.val_loss);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        CHECK(path_exists(text("%s/%s", s.run, files[i])), "%s is missing", files[i]);
    sha256_hex first = r.weights;
    REQUIRE_OK(train_run(&s, &r));
    CHECK(r.already_done && r.steps == 60 && strcmp(first.hex, r.weights.hex) == 0,
          "a finished run ran again");
}

/* -- continuing -- */

static void expect_exact_resume(fixture_model kind, optimiser_kind with, const char *straight,
                                const char *parts) {
    train_settings s;
    train_result whole, half;
    REQUIRE_OK(fixture_settings(&s, straight, kind, 24));
    s.optimiser = with;
    REQUIRE_OK(train_run(&s, &whole));
    s.run = fixture_path(parts);
    s.schedule_steps = 24;
    s.max_steps = 11;
    s.save_every.steps = 4;
    REQUIRE_OK(train_run(&s, &half));
    CHECK(strcmp(half.weights.hex, whole.weights.hex) != 0, "11 steps equal 24");
    s.max_steps = 24;
    REQUIRE_OK(train_run(&s, &half));
    CHECK(half.resumed_from == 11 && half.steps == 24, "resumed from %" PRId64, half.resumed_from);
    CHECK(strcmp(half.weights.hex, whole.weights.hex) == 0, "two parts give other weights");
    CHECK(half.val_loss == whole.val_loss && half.best_step == whole.best_step &&
              half.tokens == whole.tokens,
          "state differs");
}

TEST(two_parts_equal_one_run) {
    expect_exact_resume(FIXTURE_DENSE, OPTIMISER_ADAMW, "straight-dense", "parts-dense");
    expect_exact_resume(FIXTURE_EXPERTS, OPTIMISER_ADAMW, "straight-experts", "parts-experts");
}

TEST(two_parts_equal_one_run_with_muon) {
    expect_exact_resume(FIXTURE_DENSE, OPTIMISER_MUON, "straight-dense", "parts-dense");
    expect_exact_resume(FIXTURE_EXPERTS, OPTIMISER_MUON, "straight-experts", "parts-experts");
}

TEST(a_run_keeps_its_optimiser) {
    train_settings s;
    train_result r;
    REQUIRE_OK(fixture_settings(&s, "keeps", FIXTURE_DENSE, 2));
    REQUIRE_OK(train_run(&s, &r));
    s.max_steps = 4;
    s.optimiser = OPTIMISER_MUON;
    s.accept_changes = true;
    CHECK(train_run(&s, &r) == STATUS_USAGE && error_last()->id == F_CANNOT_RESUME, "F%04d",
          (int)error_last()->id);
    CHECK(strstr(error_last()->what, "train.optimizer adamw -> muon") != NULL, "%s",
          error_last()->what);
}

/* The same start, data and rates; deterministic, so a bound on the difference can be tight. */
TEST(muon_learns_faster_than_adamw) {
    double loss[2];
    for (int kind = 0; kind < 2; kind++) {
        train_settings s;
        train_result r;
        REQUIRE_OK(fixture_settings(&s, kind ? "muon" : "adamw", FIXTURE_EXPERTS, 60));
        s.optimiser = (optimiser_kind)kind;
        REQUIRE_OK(train_run(&s, &r));
        loss[kind] = r.val_loss;
    }
    printf("  AdamW %.4f, Muon %.4f nats\n", loss[0], loss[1]);
    CHECK(loss[1] < loss[0] - 0.02, "AdamW %.4f, Muon %.4f", loss[0], loss[1]);
}

TEST(weights_with_muon_do_not_depend_on_threads) {
    sha256_hex hash[2];
    for (int i = 0; i < 2; i++) {
        train_settings s;
        REQUIRE_OK(fixture_settings(&s, text("muon-%d", i), FIXTURE_EXPERTS, 12));
        s.optimiser = OPTIMISER_MUON;
        REQUIRE(fixture_run_process(&s, 1 + i, 0) == 0, "run %d failed", i);
        hash[i] = fixture_run_hash(s.run);
    }
    CHECK(hash[0].hex[0] && strcmp(hash[0].hex, hash[1].hex) == 0, "1 and 2 threads differ");
}

TEST(weights_do_not_depend_on_threads_or_recomputing) {
    train_settings s;
    sha256_hex hash[3];
    for (int i = 0; i < 3; i++) {
        REQUIRE_OK(fixture_settings(&s, text("same-%d", i), FIXTURE_EXPERTS, 12));
        s.recompute = i == 2 ? RECOMPUTE_SELECTIVE : RECOMPUTE_NONE;
        s.dropout = 0.1;
        s.save_every = (option_every){.seconds = i == 1 ? 0.01 : 100};
        REQUIRE(fixture_run_process(&s, i == 0 ? 1 : 2, 0) == 0, "run %d failed", i);
        hash[i] = fixture_run_hash(s.run);
    }
    CHECK(hash[0].hex[0] && strcmp(hash[0].hex, hash[1].hex) == 0, "1 and 2 threads differ");
    CHECK(strcmp(hash[1].hex, hash[2].hex) == 0, "recomputing changes the weights");
}

/* One step with and without; an evaluation drops nothing; another step has another mask. */
TEST(dropout_belongs_to_training_steps) {
    train_settings s;
    trainer t[2];
    step_report r[2];
    evaluation e[2];
    for (int i = 0; i < 2; i++) {
        REQUIRE_OK(fixture_settings(&s, "drop", FIXTURE_DENSE, 2));
        s.dropout = i * 0.3;
        REQUIRE_OK(trainer_open(&t[i], &s));
        REQUIRE_OK(trainer_evaluate(&t[i], &e[i]));
        REQUIRE_OK(trainer_step(&t[i], &r[i]));
    }
    CHECK(e[0].loss == e[1].loss, "validation %g, with dropout %g", e[0].loss, e[1].loss);
    CHECK(r[0].loss != r[1].loss, "a step with dropout has the loss of one without");
    gradient_result g[2];
    for (int i = 0; i < 2; i++) { /* the same rows and weights under two steps */
        t[1].gradient.step = 5 + i;
        REQUIRE_OK(lanes_gradient(&t[1].lanes, &t[1].model, &t[1].rows, &t[1].gradient,
                                  &t[1].step_memory, &g[i]));
    }
    CHECK(g[0].loss_sum != g[1].loss_sum, "two steps share a mask");
    trainer_close(&t[0]);
    trainer_close(&t[1]);
}

/* Steps of metrics.jsonl must be 1 .. n, each once. */
static void check_metrics(const char *run, int64_t n) {
    char *bytes;
    size_t size;
    REQUIRE_OK(file_read(text("%s/metrics.jsonl", run), 0, &bytes, &size));
    int64_t expected = 1;
    for (char *line = bytes, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        json_t *o;
        int64_t step = -1;
        REQUIRE_OK(json_parse(line, (size_t)(end - line), "metrics", &o));
        REQUIRE_OK(json_get_int(o, "step", &step, "metrics"));
        json_decref(o);
        CHECK(step == expected, "step %" PRId64 " where %" PRId64 " was expected", step, expected);
        expected = step + 1;
    }
    CHECK(expected == n + 1, "%" PRId64 " lines", expected - 1);
    mem_free(bytes);
}

TEST(killed_at_random_moments_the_run_ends_with_the_same_bytes) {
    train_settings s;
    int64_t steps = 60;
    int wanted = test_long() ? 20 : 3, kills = 0;
    REQUIRE_OK(fixture_settings(&s, "never-killed", FIXTURE_EXPERTS, steps));
    s.dropout = 0.1;
    s.save_every.steps = 3;
    double began = clock_seconds();
    REQUIRE(fixture_run_process(&s, 2, 0) == 0, "the undisturbed run failed");
    double whole = clock_seconds() - began;
    sha256_hex expected = fixture_run_hash(s.run);
    rng r = rng_at((uint64_t)getpid(), RNG_TEST, 1);
    for (int run = 0; kills < wanted && run < 40; run++) {
        int code = -SIGKILL;
        REQUIRE_OK(fixture_settings(&s, text("killed-%d", run), FIXTURE_EXPERTS, steps));
        s.run = fixture_path(text("killed-%d", run));
        s.dropout = 0.1;
        s.save_every.steps = 3;
        for (int i = 0; code == -SIGKILL && i < 3 && kills < wanted; i++) {
            code = fixture_run_process(
                &s, 1 + run % 2, 0.001 + 0.7 * whole * rng_uniform(r, (uint64_t)(run * 9 + i)));
            kills += code == -SIGKILL;
        }
        if (code == -SIGKILL) code = fixture_run_process(&s, 2, 0);
        REQUIRE(code == 0, "the run failed with %d", code);
        sha256_hex hash = fixture_run_hash(s.run);
        CHECK(strcmp(hash.hex, expected.hex) == 0, "other bytes after %d kills", kills);
        check_metrics(s.run, steps);
        CHECK(!path_exists(text("%s/model.tmp", s.run)), "an unfinished model is left");
    }
    printf("  %d kills\n", kills);
    CHECK(kills >= wanted, "only %d kills", kills);
}

static int64_t size_of(const char *path) {
    int64_t size = 0;
    if (path_exists(path) && path_size(path, &size) != STATUS_OK) return -1;
    return size;
}

/* Runs in a process with handlers installed and sends `number` after its first step. */
static int run_with_signal(const train_settings *s, int number) {
    const char *metrics = text("%s/metrics.jsonl", s->run);
    int64_t before = size_of(metrics);
    pool_stop();
    pid_t child = fork();
    if (child == 0) {
        train_result r;
        interrupt_install();
        status done = train_run(s, &r);
        bool saved = done == STATUS_CANCELLED && r.steps > 0 && r.weights.hex[0] != 0;
        _exit(done == STATUS_OK ? 0 : saved ? error_exit_code(error_last()->id) : 99);
    }
    for (int i = 0; i < 2000 && size_of(metrics) <= before; i++) {
        struct timespec nap = {.tv_nsec = 5000000};
        nanosleep(&nap, NULL);
    }
    kill(child, number);
    int result = 0;
    waitpid(child, &result, 0);
    return WIFEXITED(result) ? WEXITSTATUS(result) : -1;
}

TEST(signals_save_and_end_with_their_exit_codes) {
    train_settings s;
    REQUIRE_OK(fixture_settings(&s, "signalled-not", FIXTURE_DENSE, 400));
    s.save_every = (option_every){.seconds = 100};
    REQUIRE(fixture_run_process(&s, 1, 0) == 0, "the undisturbed run failed");
    sha256_hex expected = fixture_run_hash(s.run);
    s.run = fixture_path("signalled");
    int code = run_with_signal(&s, SIGINT);
    CHECK(code == 130, "Ctrl-C ends with %d", code);
    code = run_with_signal(&s, SIGTERM);
    CHECK(code == 75 || code == 0, "SIGTERM ends with %d", code);
    CHECK(fixture_run_process(&s, 2, 0) == 0, "going on failed");
    CHECK(strcmp(fixture_run_hash(s.run).hex, expected.hex) == 0, "other weights after signals");
}

TEST(a_damaged_checkpoint_is_set_aside_for_the_one_before) {
    train_settings s;
    train_result r;
    REQUIRE_OK(fixture_settings(&s, "whole", FIXTURE_DENSE, 20));
    REQUIRE_OK(train_run(&s, &r));
    sha256_hex expected = r.weights;
    s.run = fixture_path("damaged");
    s.schedule_steps = 20;
    s.max_steps = 10;
    REQUIRE_OK(train_run(&s, &r));
    REQUIRE_OK(file_write(text("%s/checkpoints/step-10/model.safetensors", s.run), "x", 1));
    s.max_steps = 20;
    REQUIRE_OK(train_run(&s, &r));
    CHECK(r.resumed_from == 5, "resumed from %" PRId64, r.resumed_from);
    CHECK(strcmp(r.weights.hex, expected.hex) == 0, "other weights");
    CHECK(path_exists(text("%s/checkpoints/step-10.damaged", s.run)),
          "the damaged one was not kept");
}

TEST(if_no_checkpoint_is_whole_the_run_is_not_begun_again_silently) {
    train_settings s;
    train_result r;
    REQUIRE_OK(fixture_settings(&s, "lost", FIXTURE_DENSE, 4));
    REQUIRE_OK(train_run(&s, &r));
    sha256_hex expected = r.weights;
    REQUIRE_OK(file_write(text("%s/checkpoints/step-4/state.json", s.run), "{}", 2));
    CHECK(train_run(&s, &r) == STATUS_FORMAT && error_last()->id == F_CHECKPOINT, "F%04d",
          (int)error_last()->id);
    s.resume = RESUME_NO;
    REQUIRE_OK(train_run(&s, &r));
    CHECK(r.resumed_from == -1 && strcmp(r.weights.hex, expected.hex) == 0, "a new beginning");
}

TEST(other_data_and_missing_runs_are_refused) {
    train_settings s;
    train_result r;
    REQUIRE_OK(fixture_settings(&s, "data", FIXTURE_DENSE, 5));
    s.resume = RESUME_MUST;
    CHECK(train_run(&s, &r) == STATUS_IO && error_last()->id == F_MISSING, "F%04d",
          (int)error_last()->id);
    s.resume = RESUME_AUTO;
    REQUIRE_OK(train_run(&s, &r));
    char *bytes;
    size_t n;
    REQUIRE_OK(file_read(s.input, 0, &bytes, &n));
    bytes[n / 2] ^= 1;
    const char *other = fixture_path("other.txt");
    REQUIRE_OK(file_write(other, bytes, n));
    mem_free(bytes);
    s.input = other;
    s.max_steps = 9;
    CHECK(train_run(&s, &r) == STATUS_USAGE && error_last()->id == F_CANNOT_RESUME, "F%04d",
          (int)error_last()->id);
}

TEST(a_run_folder_belongs_to_one_process) {
    train_settings s;
    train_result r;
    REQUIRE_OK(fixture_settings(&s, "locked", FIXTURE_DENSE, 2));
    REQUIRE_OK(folder_create(s.run));
    int lock = open(text("%s/lock", s.run), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    REQUIRE(lock >= 0 && flock(lock, LOCK_EX) == 0, "no lock");
    CHECK(train_run(&s, &r) == STATUS_IO && error_exit_code(error_last()->id) == 69, "F%04d",
          (int)error_last()->id);
    close(lock);
    REQUIRE_OK(train_run(&s, &r));
}

/* -- trouble -- */

TEST(a_run_that_diverges_says_where) {
    train_settings s;
    train_result r;
    REQUIRE_OK(fixture_settings(&s, "diverges", FIXTURE_DENSE, 50));
    s.learning_rate = 1e30;
    s.warmup_steps = 0;
    status done = train_run(&s, &r);
    CHECK(done == STATUS_NO && error_last()->id == F_NOT_FINITE, "status %d F%04d", (int)done,
          (int)error_last()->id);
    CHECK(strstr(error_last()->where, "tensor") != NULL, "%s", error_last()->where);
    CHECK(strstr(error_last()->fix, "--learning-rate") != NULL, "%s", error_last()->fix);
}

/* Files may not grow beyond 48 KiB: the next checkpoint cannot be written. */
static int run_with_small_files(const train_settings *s) {
    pool_stop();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        train_result r;
        struct rlimit limit = {49152, 49152};
        interrupt_install(); /* a file that is too large is an error then, not a signal */
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(98);
        status done = train_run(s, &r);
        _exit(done == STATUS_OK ? 0 : error_exit_code(error_last()->id));
    }
    int result = 0;
    waitpid(child, &result, 0);
    return WIFEXITED(result) ? WEXITSTATUS(result) : -1;
}

TEST(a_full_disk_ends_with_74_and_loses_nothing) {
    train_settings s;
    train_result r;
    REQUIRE_OK(fixture_settings(&s, "full-never", FIXTURE_DENSE, 20));
    REQUIRE_OK(train_run(&s, &r));
    sha256_hex expected = r.weights;
    s.run = fixture_path("full");
    s.schedule_steps = 20;
    s.max_steps = 10;
    REQUIRE_OK(train_run(&s, &r));
    s.max_steps = 20;
    s.disk_wait_seconds = 0.3;
    int code = run_with_small_files(&s);
    CHECK(code == 74, "exit code %d", code);
    REQUIRE_OK(checkpoint_verify(text("%s/checkpoints/step-10", s.run)));
    REQUIRE_OK(checkpoint_verify(text("%s/model", s.run)));
    REQUIRE_OK(train_run(&s, &r));
    CHECK(r.resumed_from == 10 && strcmp(r.weights.hex, expected.hex) == 0,
          "going on after the disk was full");
}

static void expect_clean_failures(optimiser_kind with) {
    train_settings s;
    train_result r;
    REQUIRE_OK(pool_start(1));
    REQUIRE_OK(fixture_settings(&s, "memory", FIXTURE_EXPERTS, 2));
    s.optimiser = with;
    s.n_layer = 1;
    s.batch_tokens = 64;
    s.grad_lanes = 2;
    s.resume = RESUME_NO;
    REQUIRE_OK(train_run(&s, &r));
    sha256_hex expected = r.weights;
    int64_t live = mem_live_blocks(), tried = 0;
    for (int64_t n = 1;; n += 1 + n / (test_long() ? 60 : 12)) {
        mem_fail_at(n);
        status done = train_run(&s, &r);
        bool failed = mem_failed();
        mem_fail_at(0);
        tried++;
        CHECK(mem_live_blocks() == live, "allocation %" PRId64 " leaks %" PRId64 " blocks", n,
              mem_live_blocks() - live);
        if (!failed) {
            CHECK(done == STATUS_OK && strcmp(r.weights.hex, expected.hex) == 0, "%s",
                  error_last()->what);
            break;
        }
        if (done == STATUS_OK) /* a lost sample or warning may be survived, never other weights */
            CHECK(strcmp(r.weights.hex, expected.hex) == 0,
                  "allocation %" PRId64 " changed the weights", n);
    }
    printf("  %" PRId64 " failures injected\n", tried);
    CHECK(tried > 20, "only %" PRId64, tried);
}

TEST(failing_allocations_end_a_run_cleanly) {
    expect_clean_failures(OPTIMISER_ADAMW);
}
TEST(failing_allocations_end_a_run_with_muon_cleanly) {
    expect_clean_failures(OPTIMISER_MUON);
}
