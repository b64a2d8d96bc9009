/* test_saver.c - checkpoints written beside training: the same bytes, failures that arrive, nothing
 * left behind. A program of its own, so that the thread sanitizer can run it. */
#include "train_fixture.h"

#include "train/saver.h"

#include "base/pool.h"

#include <time.h>
#include <unistd.h>

typedef struct bench {
    trainer trainer;
    run_folder folder;
    saver saver;
} bench;

static status open_bench(bench *b, const char *name, bool copies) {
    train_settings s;
    step_report r;
    *b = (bench){.folder.lock = -1};
    TRY(fixture_settings(&s, name, FIXTURE_EXPERTS, 100));
    TRY(pool_start(2));
    TRY(trainer_open(&b->trainer, &s));
    TRY(run_folder_open(&b->folder, s.run, 0.2));
    TRY(folder_create(text("%s/checkpoints", s.run)));
    TRY(trainer_step(&b->trainer, &r));
    return saver_open(&b->saver, &b->trainer, &b->folder, -1, copies);
}

static void close_bench(bench *b) {
    saver_close(&b->saver);
    run_folder_close(&b->folder);
    trainer_close(&b->trainer);
}

static status step(bench *b, int n) {
    step_report r;
    for (int i = 0; i < n; i++)
        TRY(trainer_step(&b->trainer, &r));
    return STATUS_OK;
}

static const char *step_path(const bench *b, int64_t at) {
    static char path[PATH_SIZE];
    return checkpoint_path(path, b->folder.path, at) == STATUS_OK ? path : "";
}

/* Every file of both folders, MANIFEST included. */
static void expect_same_files(const char *a, const char *b) {
    char **names;
    int n;
    REQUIRE_OK(folder_list(a, &names, &n));
    CHECK(n >= 4, "%d files", n);
    for (int i = 0; i < n; i++) {
        sha256_hex x, y;
        REQUIRE_OK(sha256_file(text("%s/%s", a, names[i]), &x));
        REQUIRE_OK(sha256_file(text("%s/%s", b, names[i]), &y));
        CHECK(strcmp(x.hex, y.hex) == 0, "%s differs", names[i]);
    }
    folder_list_free(names, n);
}

TEST(written_beside_training_is_what_was_at_the_order) {
    static bench b;
    const save_order both = {.best = true, .checkpoint = true};
    REQUIRE_OK(open_bench(&b, "same", true));
    const char *straight = fixture_path("straight"), *best = fixture_path("straight-best");
    checkpoint_content content = {.model = &b.trainer.model,
                                  .m = b.trainer.optimiser.m,
                                  .v = b.trainer.optimiser.v,
                                  .v_offset = b.trainer.optimiser.v_offset,
                                  .state = &b.trainer.state};
    REQUIRE_OK(checkpoint_write(straight, &content));
    content.m = content.v = NULL;
    REQUIRE_OK(checkpoint_write(best, &content));
    REQUIRE_OK(saver_start(&b.saver, both, true));
    REQUIRE_OK(step(&b, 3)); /* changes every array the copy was taken from */
    REQUIRE_OK(saver_wait(&b.saver));
    expect_same_files(straight, step_path(&b, 1));
    expect_same_files(best, b.folder.model);
    CHECK(b.saver.saved_step == 1 && b.saver.ordered_step == 1, "step %" PRId64,
          b.saver.saved_step);
    close_bench(&b);
}

TEST(an_order_waits_for_the_one_before_it) {
    static bench b;
    REQUIRE_OK(open_bench(&b, "queue", true));
    for (int64_t at = 1; at <= 4; at++) {
        b.trainer.state.saves = at;
        REQUIRE_OK(saver_start(&b.saver, (save_order){.checkpoint = true}, true));
        REQUIRE_OK(step(&b, 1));
    }
    REQUIRE_OK(saver_wait(&b.saver));
    CHECK(!saver_writing(&b.saver) && b.saver.saved_step == 4, "%" PRId64, b.saver.saved_step);
    REQUIRE_OK(checkpoint_verify(step_path(&b, 4)));
    REQUIRE_OK(checkpoint_verify(step_path(&b, 3)));
    CHECK(!path_exists(step_path(&b, 1)), "nothing was pruned");
    close_bench(&b);
}

TEST(without_a_copy_the_caller_waits) {
    static bench b;
    REQUIRE_OK(open_bench(&b, "waits", false));
    REQUIRE_OK(saver_start(&b.saver, (save_order){.checkpoint = true}, true));
    CHECK(!saver_writing(&b.saver) && b.saver.saved_step == 1, "it came back early");
    REQUIRE_OK(checkpoint_verify(step_path(&b, 1)));
    close_bench(&b);
}

/* Waits until the order has ended without collecting it. */
static void let_it_end(bench *b) {
    while (saver_writing(&b->saver)) {
        struct timespec nap = {.tv_nsec = 1000000};
        nanosleep(&nap, NULL);
    }
}

TEST(a_failure_arrives_whole_and_the_next_order_works) {
    static bench b;
    REQUIRE_OK(open_bench(&b, "fails", true));
    REQUIRE_OK(folder_remove(text("%s/checkpoints", b.folder.path)));
    REQUIRE_OK(file_write(text("%s/checkpoints", b.folder.path), "in the way", 10));
    REQUIRE_OK(saver_start(&b.saver, (save_order){.checkpoint = true}, true));
    let_it_end(&b);
    error_clear();
    status s = saver_check(&b.saver);
    const error_report *r = error_last();
    CHECK(s != STATUS_OK && s == r->code && error_exit_code(r->id) != 70, "status %d F%04d", (int)s,
          (int)r->id);
    CHECK(r->what[0] && r->where[0] && r->why[0] && r->fix[0], "a part is empty: %s", r->what);
    CHECK(strstr(r->where, "checkpoints") != NULL, "%s", r->where);
    CHECK(b.saver.saved_step == -1, "it counts as saved");
    CHECK(saver_check(&b.saver) == STATUS_OK, "the failure came twice");
    CHECK(unlink(text("%s/checkpoints", b.folder.path)) == 0, "unlink");
    REQUIRE_OK(saver_start(&b.saver, (save_order){.checkpoint = true}, true));
    REQUIRE_OK(saver_wait(&b.saver));
    REQUIRE_OK(checkpoint_verify(step_path(&b, 1)));
    close_bench(&b);
}

TEST(allocations_that_fail_in_the_writer_are_told) {
    static bench b;
    REQUIRE_OK(open_bench(&b, "memory", true));
    int64_t live = mem_live_blocks(), told = 0;
    for (int64_t n = 1;; n++) {
        mem_fail_at(n);
        status s = saver_start(&b.saver, (save_order){.best = true, .checkpoint = true}, true);
        if (s == STATUS_OK) s = saver_wait(&b.saver);
        bool failed = mem_failed();
        mem_fail_at(0);
        CHECK(mem_live_blocks() == live, "allocation %" PRId64 " leaks", n);
        if (!failed) {
            REQUIRE(s == STATUS_OK, "%s", error_last()->what);
            break;
        }
        CHECK(s == STATUS_MEMORY || error_last()->id == F_INTERNAL, "allocation %" PRId64 ": %d", n,
              (int)s);
        told++;
    }
    CHECK(told > 10, "only %" PRId64, told);
    REQUIRE_OK(checkpoint_verify(step_path(&b, 1)));
    close_bench(&b);
}

TEST(a_run_has_the_same_files_however_it_saves) {
    sha256_hex hash[3];
    for (int beside = BESIDE_AUTO; beside <= BESIDE_YES; beside++) {
        train_settings s;
        train_result r;
        REQUIRE_OK(fixture_settings(&s, text("saves-%d", beside), FIXTURE_EXPERTS, 12));
        s.save_every.steps = 2;
        s.checkpoint_async = (save_beside)beside;
        REQUIRE_OK(train_run(&s, &r));
        hash[beside] = fixture_run_hash(s.run);
        CHECK(hash[beside].hex[0] && strcmp(hash[beside].hex, hash[0].hex) == 0, "mode %d", beside);
        REQUIRE_OK(checkpoint_verify(text("%s/model", s.run)));
        REQUIRE_OK(checkpoint_verify(text("%s/checkpoints/step-10", s.run)));
    }
    pool_stop();
}
