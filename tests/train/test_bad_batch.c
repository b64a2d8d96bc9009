/* test_bad_batch.c - what is kept of a step that was left out, how many, and without memory. */
#include "train_fixture.h"

#include "train/bad_batch.h"

#include "base/file.h"

#include <math.h>

/* A trainer after one step whose batch is said to be bad, and the folder it writes to. */
static bool step_made(trainer *t, run_folder *f, step_report *r) {
    train_settings s;
    *f = (run_folder){.lock = -1};
    snprintf(f->path, sizeof f->path, "%s", fixture_path("bad"));
    if (fixture_settings(&s, "bad", FIXTURE_DENSE, 4) != STATUS_OK ||
        folder_create(f->path) != STATUS_OK || trainer_open(t, &s) != STATUS_OK)
        return false;
    bool good = trainer_step(t, r) == STATUS_OK;
    r->loss = (double)NAN;
    r->bad = "model.norm.weight";
    return good;
}

TEST(bad_batch_holds_the_rows_of_the_step) {
    trainer t;
    run_folder f;
    step_report r;
    REQUIRE(step_made(&t, &f, &r), "%s", error_last()->what);
    REQUIRE_OK(bad_batch_save(&f, &t, &r));
    json_t *o, *rows;
    REQUIRE_OK(json_read(text("%s/bad_batches/step-1.json", f.path), &o));
    REQUIRE_OK(json_get_array(o, "rows", &rows, "rows"));
    CHECK(json_is_null(json_object_get(o, "loss")), "a loss that is not finite is null");
    CHECK((int)json_array_size(rows) == t.rows.n, "%zu rows", json_array_size(rows));
    double sum = 0, counted = 0;
    for (int i = 0; i < t.rows.n; i++) {
        const json_t *row = json_array_get(rows, (size_t)i), *ids = json_object_get(row, "ids");
        CHECK(json_integer_value(json_object_get(row, "index")) == i, "row %d", i);
        for (int64_t k = 0; k < t.rows.seq_len; k++)
            CHECK(json_integer_value(json_array_get(ids, (size_t)k)) ==
                      t.rows.ids[i * t.rows.seq_len + k],
                  "row %d, token %d", i, (int)k);
        double n = json_number_value(json_object_get(row, "counted"));
        sum += n * json_number_value(json_object_get(row, "loss"));
        counted += n;
    }
    /* The rows alone add up to the batch: rows do not see each other. */
    gradient_result all = {0};
    REQUIRE_OK(rows_loss(&t.model, &t.rows, &t.gradient, &t.step_memory, &all));
    CHECK(fabs(sum / counted - all.loss_sum / (double)all.counted) < 1e-5, "%g, not %g",
          sum / counted, all.loss_sum / (double)all.counted);
    json_decref(o);
    trainer_close(&t);
}

TEST(bad_batches_keep_the_newest) {
    trainer t;
    run_folder f;
    step_report r;
    char **names;
    int n;
    REQUIRE(step_made(&t, &f, &r), "%s", error_last()->what);
    for (int i = 0; i < BAD_BATCHES_KEPT + 3; i++, t.state.step++)
        REQUIRE_OK(bad_batch_save(&f, &t, &r));
    REQUIRE_OK(folder_list(text("%s/bad_batches", f.path), &names, &n));
    CHECK(n == BAD_BATCHES_KEPT, "%d files", n);
    CHECK(!path_exists(text("%s/bad_batches/step-3.json", f.path)) &&
              path_exists(text("%s/bad_batches/step-4.json", f.path)),
          "not the newest");
    folder_list_free(names, n);
    trainer_close(&t);
}

TEST(bad_batch_without_memory) {
    trainer t;
    run_folder f;
    step_report r;
    REQUIRE(step_made(&t, &f, &r), "%s", error_last()->what);
    REQUIRE_OK(bad_batch_save(&f, &t, &r)); /* what is made once is made */
    status s = STATUS_MEMORY;
    int64_t fail_at = 1;
    for (; s != STATUS_OK && fail_at < 20000; fail_at += 1 + fail_at / 16) {
        int64_t blocks = mem_live_blocks();
        error_clear();
        mem_fail_at(fail_at);
        s = bad_batch_save(&f, &t, &r);
        bool failed = mem_failed();
        mem_fail_at(0);
        CHECK(failed || s == STATUS_OK, "it failed by itself: %s", error_last()->what);
        CHECK(s == STATUS_OK || error_last()->id == F_NO_MEMORY, "allocation %d: %s", (int)fail_at,
              error_last()->what);
        CHECK(mem_live_blocks() == blocks, "allocation %d: blocks left", (int)fail_at);
        if (!failed) break;
        s = STATUS_MEMORY;
    }
    CHECK(fail_at > 100, "only %d allocations failed", (int)fail_at);
    trainer_close(&t);
}
