/* test_checkpoint.c - state on disk: whole, or refused; pruning; killed writers; no memory. */
#include "train_fixture.h"

#include "train/trainer.h"

#include "base/pool.h"

static status open_stepped(trainer *t, int steps) {
    train_settings s;
    step_report r;
    TRY(fixture_settings(&s, "checkpoints", FIXTURE_EXPERTS, 100));
    TRY(pool_start(2));
    TRY(trainer_open(t, &s));
    for (int i = 0; i < steps; i++)
        TRY(trainer_step(t, &r));
    return STATUS_OK;
}

static checkpoint_content content_of(const trainer *t) {
    return (checkpoint_content){
        .model = &t->model, .m = t->optimiser.m, .v = t->optimiser.v, .state = &t->state};
}

static bool same_bytes(const trainer *a, const trainer *b) {
    size_t n = (size_t)a->model.params.count * sizeof(float);
    return memcmp(a->model.params.master, b->model.params.master, n) == 0 &&
           memcmp(a->optimiser.m, b->optimiser.m, n) == 0 &&
           memcmp(a->optimiser.v, b->optimiser.v, n) == 0;
}

TEST(checkpoint_round_trip_is_exact) {
    trainer a, b;
    REQUIRE_OK(open_stepped(&a, 3));
    REQUIRE_OK(open_stepped(&b, 0));
    const char *path = fixture_path("c/step-3");
    a.state.val_loss = 0.1 + 0.2;
    a.state.data_fingerprint = UINT64_MAX - 5;
    checkpoint_content content = content_of(&a);
    REQUIRE_OK(folder_create(fixture_path("c")));
    REQUIRE_OK(checkpoint_write(path, &content));
    CHECK(!same_bytes(&a, &b), "the test compares equal things");
    REQUIRE_OK(checkpoint_read(path, &b.model, b.optimiser.m, b.optimiser.v, NULL, &b.state));
    CHECK(same_bytes(&a, &b), "weights or moments differ after reading");
    CHECK(memcmp(&a.state, &b.state, sizeof a.state) == 0, "the state differs");
    step_report ra, rb;
    REQUIRE_OK(trainer_step(&a, &ra));
    REQUIRE_OK(trainer_step(&b, &rb));
    CHECK(same_bytes(&a, &b) && ra.loss == rb.loss, "the next step differs");
    trainer_close(&a);
    trainer_close(&b);
}

/* 0: the file goes missing, 1: it loses its last byte, 2: one bit in its middle flips. */
static status write_damaged(const char *path, int kind) {
    char *bytes;
    size_t n;
    TRY(file_read(path, 0, &bytes, &n));
    if (kind == 0) remove(path);
    if (kind == 2) bytes[n / 2] = (char)(bytes[n / 2] ^ 4);
    status s = kind == 0 ? STATUS_OK : file_write(path, bytes, kind == 1 ? n - 1 : n);
    mem_free(bytes);
    return s;
}

TEST(checkpoint_damage_of_any_file_is_found) {
    static const char *const files[] = {"config.json", "model.safetensors", "optimizer.safetensors",
                                        "state.json", "MANIFEST"};
    trainer t;
    REQUIRE_OK(open_stepped(&t, 1));
    REQUIRE_OK(folder_create(fixture_path("d")));
    const char *path = fixture_path("d/step-1");
    checkpoint_content content = content_of(&t);
    for (size_t f = 0; f < sizeof files / sizeof *files; f++)
        for (int kind = 0; kind < 3; kind++) {
            char file[PATH_SIZE];
            REQUIRE_OK(checkpoint_write(path, &content));
            REQUIRE_OK(checkpoint_verify(path));
            REQUIRE_OK(path_join(file, path, files[f]));
            REQUIRE_OK(write_damaged(file, kind));
            status s =
                checkpoint_read(path, &t.model, t.optimiser.m, t.optimiser.v, NULL, &t.state);
            CHECK(s == STATUS_FORMAT && error_last()->id == F_CHECKPOINT,
                  "%s, damage %d: status %d F%04d", files[f], kind, (int)s, (int)error_last()->id);
        }
    trainer_close(&t);
}

TEST(checkpoint_of_another_model_cannot_be_resumed) {
    trainer t, other;
    train_settings s;
    REQUIRE_OK(open_stepped(&t, 1));
    REQUIRE_OK(folder_create(fixture_path("o")));
    const char *path = fixture_path("o/step-1");
    checkpoint_content content = content_of(&t);
    REQUIRE_OK(checkpoint_write(path, &content));
    REQUIRE_OK(fixture_settings(&s, "other", FIXTURE_EXPERTS, 10));
    s.d_ff = 96;
    REQUIRE_OK(trainer_open(&other, &s));
    status r = checkpoint_read(path, &other.model, other.optimiser.m, other.optimiser.v, NULL,
                               &other.state);
    CHECK(r == STATUS_USAGE && error_last()->id == F_CANNOT_RESUME, "status %d F%04d", (int)r,
          (int)error_last()->id);
    CHECK(strstr(error_last()->what, "intermediate_size") != NULL, "%s", error_last()->what);
    trainer_close(&other);
    trainer_close(&t);
}

static bool is_there(const char *run, int64_t step) {
    char path[PATH_SIZE];
    return checkpoint_path(path, run, step) == STATUS_OK && path_exists(path);
}

TEST(checkpoint_prune_keeps_two_best_and_every_tenth) {
    trainer t;
    REQUIRE_OK(open_stepped(&t, 0));
    const char *run = fixture_path("p");
    checkpoint_content content = content_of(&t);
    REQUIRE_OK(folder_create(fixture_path("p/checkpoints")));
    for (int64_t step = 1; step <= 23; step++) {
        char path[PATH_SIZE];
        t.state.step = t.state.saves = step;
        REQUIRE_OK(checkpoint_path(path, run, step));
        REQUIRE_OK(checkpoint_write(path, &content));
        REQUIRE_OK(checkpoint_prune(run, 7));
    }
    for (int64_t step = 1; step <= 23; step++) {
        bool keep = step >= 22 || step == 7 || step == 10 || step == 20;
        CHECK(is_there(run, step) == keep, "step %" PRId64 " is %s", step, keep ? "gone" : "there");
    }
    int64_t *steps;
    int n;
    REQUIRE_OK(checkpoint_list(run, &steps, &n));
    CHECK(n == 5 && steps[0] == 7 && steps[4] == 23, "%d in the list", n);
    mem_free(steps);
    trainer_close(&t);
}

TEST(checkpoint_clean_removes_what_a_killed_writer_left) {
    const char *run = fixture_path("k");
    int removed;
    REQUIRE_OK(folder_create(fixture_path("k/checkpoints/step-9.tmp")));
    REQUIRE_OK(file_write(fixture_path("k/checkpoints/step-9.tmp/model.safetensors"), "half", 4));
    REQUIRE_OK(folder_create(fixture_path("k/checkpoints/step-10")));
    REQUIRE_OK(folder_create(fixture_path("k/model.tmp")));
    int64_t *steps;
    int n;
    REQUIRE_OK(checkpoint_list(run, &steps, &n));
    CHECK(n == 0, "a folder without MANIFEST was listed");
    mem_free(steps);
    REQUIRE_OK(checkpoint_clean(run, &removed));
    CHECK(removed == 1, "%d removed", removed);
    CHECK(!path_exists(fixture_path("k/checkpoints/step-9.tmp")) &&
              !path_exists(fixture_path("k/model.tmp")),
          "something is left");
    CHECK(path_exists(fixture_path("k/checkpoints/step-10")), "too much was removed");
}

TEST(checkpoint_write_replaces_a_folder_of_that_name) {
    trainer t;
    train_state state;
    REQUIRE_OK(open_stepped(&t, 0));
    const char *path = fixture_path("model");
    checkpoint_content content = content_of(&t);
    content.m = content.v = NULL;
    for (int64_t i = 1; i <= 3; i++) {
        t.state.step = i;
        REQUIRE_OK(checkpoint_write(path, &content));
        REQUIRE_OK(checkpoint_verify(path));
        REQUIRE_OK(checkpoint_read_state(path, &state));
        CHECK(state.step == i, "%" PRId64, state.step);
    }
    CHECK(!path_exists(fixture_path("model.tmp")), "the old folder is left");
    trainer_close(&t);
}

/* Every allocation fails once, on writing and on reading. */
TEST(checkpoint_survives_failing_allocations) {
    trainer t;
    REQUIRE_OK(open_stepped(&t, 1));
    REQUIRE_OK(folder_create(fixture_path("a")));
    const char *path = fixture_path("a/step-1");
    checkpoint_content content = content_of(&t);
    for (int reading = 0; reading < 2; reading++) {
        int64_t live = mem_live_blocks(), n = 1;
        for (;; n++) {
            mem_fail_at(n);
            status s = reading ? checkpoint_read(path, &t.model, t.optimiser.m, t.optimiser.v, NULL,
                                                 &t.state)
                               : checkpoint_write(path, &content);
            bool failed = mem_failed();
            mem_fail_at(0);
            CHECK(mem_live_blocks() == live, "allocation %" PRId64 " leaks", n);
            if (!failed) {
                CHECK(s == STATUS_OK, "%s", error_last()->what);
                break;
            }
            CHECK(s != STATUS_OK, "allocation %" PRId64 " failed unnoticed", n);
        }
        CHECK(n > 3, "only %" PRId64 " allocations", n);
    }
    trainer_close(&t);
}
