/* test_profile_report.c - profiled runs: the table adds up, its FLOPs are those of the model, the
 * weights are those of a run without it, and MFU is in the metrics. */
#include "train_fixture.h"

#include "train/profile_report.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"

#include <math.h>
#include <string.h>

static double flops_of(const train_profile *p) {
    double sum = 0;
    for (int i = 0; i < p->n; i++)
        sum += p->rows[i].flops;
    return sum;
}

static const profile_row *row_named(const train_profile *p, const char *op, const char *part) {
    for (int i = 0; i < p->n; i++)
        if (strcmp(p->rows[i].op, op) == 0 && strcmp(p->rows[i].part, part) == 0)
            return &p->rows[i];
    return NULL;
}

/* FLOPs of the ops against the formula of the model, over two steps of one training trainer. */
static void expect_model_flops(const char *name, fixture_model kind, train_precision precision) {
    train_settings s;
    trainer t;
    profile p;
    step_report r;
    REQUIRE_OK(fixture_settings(&s, name, kind, 4));
    s.seq_len = s.context = 128;
    s.batch_tokens = 1024;
    s.precision = precision;
    REQUIRE_OK(trainer_open(&t, &s));
    REQUIRE_OK(profile_init(&p));
    t.gradient.profile = &p;
    for (int64_t step = 1; step <= 2; step++) {
        profile_begin(&p, step);
        REQUIRE_OK(trainer_step(&t, &r));
        profile_end(&p);
    }
    double expected = 2 * 1024 * model_config_flops_per_token(&t.config, 128), counted = 0;
    for (int i = 0; i < p.n_rows; i++)
        counted += p.rows[i].flops;
    CHECK(fabs(counted / expected - 1) < 0.03, "%s: %.4g FLOPs counted, the model has %.4g", name,
          counted, expected);
    profile_clear(&p);
    trainer_close(&t);
}

TEST(profile_counts_the_flops_of_the_model) {
    expect_model_flops("flops-dense", FIXTURE_DENSE, PRECISION_F32);
    expect_model_flops("flops-experts", FIXTURE_EXPERTS, PRECISION_F32);
    expect_model_flops("flops-bf16", FIXTURE_EXPERTS, PRECISION_BF16);
}

static void expect_table(const train_settings *s, const train_result *r, int64_t steps) {
    const train_profile *p = &r->profile;
    double sum = 0;
    for (int i = 0; i < p->n; i++)
        sum += p->rows[i].seconds;
    CHECK(p->steps == steps, "%" PRId64 " steps profiled", p->steps);
    CHECK(fabs(sum - p->seconds) < 1e-6 * p->seconds, "rows have %g of %g s", sum, p->seconds);
    CHECK(p->peak[PROFILE_F32] > 0 && p->traffic > 0, "no floors");
    static const char *const wanted[][2] = {
        {"linear", "forward"},    {"linear", "dX"},        {"linear", "dW"}, {"head", "forward"},
        {"attention", "forward"}, {"rmsnorm", "backward"}, {"adamw", ""},    {"loader", "rows"},
        {"log", "metrics"},       {"checkpoint", ""},      {"rest", ""}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        CHECK(row_named(p, wanted[i][0], wanted[i][1]) != NULL, "no row %s %s", wanted[i][0],
              wanted[i][1]);
    CHECK(path_exists(text("%s/trace.json", s->run)), "no trace");
}

static void expect_json(const train_settings *s, const train_result *r) {
    json_t *o, *rows;
    double seconds, share = 0;
    char path[PATH_SIZE];
    REQUIRE_OK(path_join(path, s->run, "profile.json"));
    REQUIRE_OK(json_read(path, &o));
    REQUIRE_OK(json_get_array(o, "rows", &rows, path));
    REQUIRE_OK(json_get_real(o, "seconds_per_step", &seconds, path));
    for (size_t i = 0; i < json_array_size(rows); i++)
        share += json_number_value(json_object_get(json_array_get(rows, i), "share"));
    CHECK(fabs(share - 1) < 1e-6, "shares add up to %g", share);
    CHECK(fabs(seconds - r->profile.seconds / (double)r->profile.steps) < 1e-9, "%g s", seconds);
    json_decref(o);
    REQUIRE_OK(json_read(text("%s/trace.json", s->run), &o));
    REQUIRE_OK(json_get_array(o, "traceEvents", &rows, path));
    CHECK(json_array_size(rows) > 50, "%zu events", json_array_size(rows));
    json_decref(o);
}

static void expect_text(const train_profile *p) {
    char *written = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&written, &n);
    REQUIRE(f != NULL, "no memory");
    train_profile_print(f, p);
    fclose(f);
    CHECK(strstr(written, "of floor") != NULL && strstr(written, "100.0 %") != NULL &&
              strstr(written, "attention") != NULL,
          "%s", written);
    free(written);
}

TEST(profiled_run_has_a_table_a_trace_and_the_same_weights) {
    train_settings s;
    train_result plain, r;
    REQUIRE_OK(fixture_settings(&s, "plain", FIXTURE_DENSE, 6));
    REQUIRE_OK(train_run(&s, &plain));
    CHECK(plain.profile.steps == 0, "a profile nobody asked for");
    s.run = fixture_path("profiled");
    s.profile = true;
    s.profile_steps = 3;
    REQUIRE_OK(train_run(&s, &r));
    CHECK(strcmp(plain.weights.hex, r.weights.hex) == 0, "profiling changed the weights");
    expect_table(&s, &r, 3);
    expect_json(&s, &r);
    expect_text(&r.profile);
    CHECK(flops_of(&r.profile) > 0, "no work");
}

TEST(profile_may_ask_for_more_steps_than_there_are) {
    train_settings s;
    train_result r;
    REQUIRE_OK(fixture_settings(&s, "short", FIXTURE_EXPERTS, 3));
    s.profile = true;
    s.profile_steps = 1000;
    REQUIRE_OK(train_run(&s, &r));
    CHECK(r.profile.steps == 2, "%" PRId64 " steps", r.profile.steps);
    CHECK(row_named(&r.profile, "experts", "gate up dW") != NULL, "no row for experts");
    s.run = fixture_path("one");
    s.max_steps = 1;
    REQUIRE_OK(train_run(&s, &r));
    CHECK(r.profile.steps == 0, "the first step was profiled");
}

TEST(metrics_carry_the_model_flops_utilisation) {
    train_settings s;
    train_result r;
    char *lines;
    size_t n;
    json_t *line;
    double mfu, rate;
    REQUIRE_OK(fixture_settings(&s, "mfu", FIXTURE_DENSE, 2));
    REQUIRE_OK(train_run(&s, &r));
    REQUIRE_OK(file_read(text("%s/metrics.jsonl", s.run), 0, &lines, &n));
    REQUIRE_OK(json_parse(lines, strcspn(lines, "\n"), "metrics", &line));
    REQUIRE_OK(json_get_real(line, "mfu", &mfu, "metrics"));
    REQUIRE_OK(json_get_real(line, "tok_per_sec", &rate, "metrics"));
    CHECK(mfu > 0 && mfu < 1.5 && rate > 0, "mfu %g at %g tokens/s", mfu, rate);
    CHECK(r.mfu > 0 && r.mfu < 1.5, "%g", r.mfu);
    json_decref(line);
    mem_free(lines);
}
