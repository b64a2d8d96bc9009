/* test_settings.c - recipes, checks, config.ini, and what may change when a run goes on. */
#include "train_fixture.h"

#include "base/file.h"
#include "base/memory.h"
#include "kernels/kernels.h"
#include "train/trainer.h"

static arena strings;

static status fresh_strings(void) {
    arena_clear(&strings);
    return arena_init(&strings, "test strings", 1 << 20);
}

TEST(every_recipe_is_accepted) {
    REQUIRE_OK(fresh_strings());
    for (const option_preset *p = train_options.presets; p->name != NULL; p++) {
        train_settings s;
        model_config c;
        REQUIRE_OK(train_settings_defaults(&s));
        REQUIRE_OK(train_recipe_apply(&s, p->name, &strings));
        if (s.max_steps == 0 && s.minutes == 0) s.max_steps = 1;
        int64_t vocab = strcmp(p->name, "shakespeare-char") == 0 ? 256 : 8192;
        status r = train_settings_check(&s, vocab, &c);
        CHECK(r == STATUS_OK, "%s: %s: %s", p->name, error_last()->what, error_last()->why);
        CHECK(c.vocab_size == vocab && s.seq_len > 0 && s.batch_tokens % s.seq_len == 0, "%s",
              p->name);
        CHECK(s.learning_rate > 0 && c.max_position >= s.seq_len, "%s", p->name);
    }
    train_settings s;
    REQUIRE_OK(train_settings_defaults(&s));
    CHECK(train_recipe_apply(&s, "shakespear-char", &strings) == STATUS_USAGE, "a misspelt recipe");
    CHECK(strstr(error_last()->why, "shakespeare-char") != NULL, "%s", error_last()->why);
}

TEST(settings_round_trip_through_config_ini) {
    train_settings s, back;
    REQUIRE_OK(fresh_strings());
    REQUIRE_OK(fixture_settings(&s, "round", FIXTURE_EXPERTS, 77));
    s.learning_rate = 0.1 + 0.2;
    s.sample_prompt = "a \"quoted\" ; prompt";
    s.save_every = (option_every){.seconds = 90};
    s.schedule = SCHEDULE_COSINE;
    s.recompute = RECOMPUTE_FULL;
    const char *path = fixture_path("round.ini");
    REQUIRE_OK(train_settings_write(&s, path));
    REQUIRE_OK(train_settings_defaults(&back));
    REQUIRE_OK(train_settings_read(&back, path, &strings));
    for (int i = 0; i < train_options.n; i++) {
        const option *row = &train_options.rows[i];
        if (row->flags & OPTION_FLAG_ONLY) continue;
        char one[ERROR_PART];
        snprintf(one, sizeof one, "%s", option_value_text(row, &s));
        CHECK(strcmp(one, option_value_text(row, &back)) == 0, "%s: %s, read back %s", row->name,
              one, option_value_text(row, &back));
    }
    CHECK(back.learning_rate == s.learning_rate, "%.17g", back.learning_rate);
}

static void expect_complaint(train_settings *s, int64_t vocab, const char *word) {
    model_config c;
    status r = train_settings_check(s, vocab, &c);
    CHECK(r == STATUS_USAGE && error_exit_code(error_last()->id) == 78, "%s: status %d", word,
          (int)r);
    CHECK(strstr(error_last()->why, word) != NULL || strstr(error_last()->what, word) != NULL,
          "no word of %s in: %s / %s", word, error_last()->what, error_last()->why);
    CHECK(error_last()->where[0] && error_last()->why[0] && error_last()->fix[0],
          "%s: an empty part", word);
}

TEST(settings_that_do_not_fit_are_refused_together) {
    train_settings s;
    REQUIRE_OK(fixture_settings(&s, "bad", FIXTURE_DENSE, 5));
    s.batch_tokens = 250;
    s.max_steps = 0;
    s.vocab_size = 100;
    expect_complaint(&s, 256, "batch-tokens");
    expect_complaint(&s, 256, "--max-steps");
    expect_complaint(&s, 256, "vocab-size");
    REQUIRE_OK(fixture_settings(&s, "bad", FIXTURE_DENSE, 5));
    s.hold_until = 0.98;
    s.final_rate = 0.5;
    expect_complaint(&s, 256, "hold-until");
    expect_complaint(&s, 256, "final-rate");
    REQUIRE_OK(fixture_settings(&s, "bad", FIXTURE_DENSE, 5));
    s.size = "f-5n";
    expect_complaint(&s, 256, "f-5m");
    s.size = "";
    expect_complaint(&s, 256, "no model size");
    REQUIRE_OK(fixture_settings(&s, "bad", FIXTURE_DENSE, 5));
    s.n_head = 3;
    s.n_kv_head = 2;
    expect_complaint(&s, 256, "head");
}

/* -- going on with a run -- */

static status record(const char *name, train_settings *s) {
    TRY(fresh_strings());
    TRY(fixture_settings(s, name, FIXTURE_DENSE, 50));
    char path[PATH_SIZE];
    TRY(folder_create(s->run));
    TRY(path_join(path, s->run, "config.ini"));
    return train_settings_write(s, path);
}

TEST(recall_takes_what_was_not_given) {
    train_settings recorded, s;
    REQUIRE_OK(record("recall", &recorded));
    REQUIRE_OK(train_settings_defaults(&s));
    s.run = recorded.run;
    REQUIRE_OK(train_settings_recall(&s, &strings));
    CHECK(s.learning_rate == recorded.learning_rate && s.d_model == 32 && s.max_steps == 50,
          "not recalled");
    CHECK(strcmp(s.input, recorded.input) == 0 && strcmp(s.size, recorded.size) == 0, "strings");
    REQUIRE_OK(train_settings_recall(&s, &strings));
    CHECK(s.max_steps == 50, "a second time changed something");
}

/* What `auto` became stays, whatever is fastest on the machine that goes on with the run. */
TEST(precision_is_decided_once) {
    train_settings s, again;
    model_config c;
    REQUIRE_OK(record("precision", &s));
    REQUIRE_OK(kernels_init(NULL));
    gemm_type fastest = gemm_type_fastest();
    s.precision = PRECISION_AUTO;
    REQUIRE_OK(train_settings_check(&s, 256, &c));
    CHECK(s.precision != PRECISION_AUTO && train_products(s.precision) == fastest, "%d for %s",
          (int)s.precision, gemm_type_name(fastest));
    static const train_precision all[] = {PRECISION_F32, PRECISION_BF16, PRECISION_BF16_DOT};
    for (int i = 0; i < 3; i++) {
        s.precision = all[i];
        REQUIRE_OK(train_settings_write(&s, fixture_path("precision/config.ini")));
        REQUIRE_OK(train_settings_defaults(&again));
        again.run = s.run;
        REQUIRE_OK(train_settings_recall(&again, &strings));
        REQUIRE_OK(train_settings_check(&again, 256, &c));
        CHECK(again.precision == all[i], "%d became %d", (int)all[i], (int)again.precision);
    }
    again.precision = PRECISION_F32;
    CHECK(train_settings_recall(&again, &strings) == STATUS_USAGE, "another one is a change");
}

TEST(recall_refuses_another_model_and_other_rates) {
    train_settings recorded, s;
    REQUIRE_OK(record("refuse", &recorded));
    s = recorded;
    s.d_model = 64;
    CHECK(train_settings_recall(&s, &strings) == STATUS_USAGE &&
              error_last()->id == F_CANNOT_RESUME,
          "model");
    CHECK(strstr(error_last()->what, "model.d-model 32 -> 64") != NULL, "%s", error_last()->what);
    CHECK(strstr(error_last()->fix, "--resume no") != NULL, "%s", error_last()->fix);
    s.accept_changes = true;
    CHECK(train_settings_recall(&s, &strings) == STATUS_USAGE, "no flag makes another model fit");
    s = recorded;
    s.learning_rate = 1e-4;
    CHECK(train_settings_recall(&s, &strings) == STATUS_USAGE &&
              error_last()->id == F_CANNOT_RESUME,
          "rate");
    CHECK(strstr(error_last()->fix, "--accept-changes") != NULL, "%s", error_last()->fix);
    s.accept_changes = true;
    REQUIRE_OK(train_settings_recall(&s, &strings));
    CHECK(s.learning_rate == 1e-4, "%g", s.learning_rate);
    s.resume = RESUME_NO;
    s.d_model = 64;
    REQUIRE_OK(train_settings_recall(&s, &strings));
    CHECK(s.d_model == 64, "a new beginning keeps what was asked for");
}

TEST(recall_lets_lengths_and_looks_change) {
    train_settings recorded, s;
    REQUIRE_OK(record("lengths", &recorded));
    s = recorded;
    s.max_steps = 80;
    s.eval_every = 7;
    s.save_every = (option_every){.seconds = 5};
    s.recompute = RECOMPUTE_FULL;
    REQUIRE_OK(train_settings_recall(&s, &strings));
    CHECK(s.max_steps == 80 && s.eval_every == 7 && s.recompute == RECOMPUTE_FULL,
          "a free change was lost");
    s = recorded;
    s.max_steps = 0;
    s.minutes = 3;
    REQUIRE_OK(train_settings_recall(&s, &strings));
    CHECK(s.max_steps == 0 && s.minutes == 3, "new minutes are measured anew: %" PRId64,
          s.max_steps);
}

TEST(given_decides_even_for_built_in_values) {
    train_settings recorded, s;
    bool given[256] = {false};
    REQUIRE_OK(record("given", &recorded));
    REQUIRE(train_options.n <= 256, "%d rows", train_options.n);
    s = recorded;
    s.learning_rate = 5;
    s.given = given;
    REQUIRE_OK(train_settings_recall(&s, &strings));
    CHECK(s.learning_rate == recorded.learning_rate, "not given, so the run's own holds");
    for (int i = 0; i < train_options.n; i++)
        given[i] = strcmp(train_options.rows[i].name, "grad-lanes") == 0;
    s.grad_lanes = 8; /* the built-in value; the run has 4 */
    CHECK(train_settings_recall(&s, &strings) == STATUS_USAGE, "given and different");
    arena_clear(&strings);
}
