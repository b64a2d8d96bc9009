/* test_options.c - settings from every source: what is accepted, who wins, what is said. */
#include "test.h"

#include "base/file.h"
#include "base/options.h"

#include <math.h>

typedef struct demo_settings {
    bool fast, careful;
    int heads, schedule;
    int64_t steps, memory, offset;
    uint64_t seed;
    double rate, pause;
    option_every save;
    const char *name, *file, *preset;
} demo_settings;

static const char *const schedules[] = {"wsd", "cosine", "linear", "constant", NULL};
#define AT(field) offsetof(demo_settings, field)
static const option demo_rows[] = {
    {"", "seed", OPTION_SEED, AT(seed), "1", "Seed."},
    {"train", "fast", OPTION_BOOL, AT(fast), "false", "Be fast."},
    {"train", "careful", OPTION_BOOL, AT(careful), "true", "Be careful."},
    {"train", "heads", OPTION_INT, AT(heads), "4", "Heads.", 1, 64},
    {"train", "max-steps", OPTION_COUNT, AT(steps), "1k", "Steps.", 0, 1e12},
    {"train", "memory", OPTION_SIZE, AT(memory), "64M", "Memory."},
    {"train", "offset", OPTION_INT64, AT(offset), "-3", "Offset."},
    {"train", "learning-rate", OPTION_REAL, AT(rate), "3e-4", "Rate.", 0, 1, .letter = 'r'},
    {"train", "schedule", OPTION_CHOICE, AT(schedule), "wsd", "Shape.", .choices = schedules},
    {"run", "pause", OPTION_DURATION, AT(pause), "10s", "Pause."},
    {"run", "save-every", OPTION_EVERY, AT(save), "2min", "Saves."},
    {"run", "name", OPTION_STRING, AT(name), "first", "Name.", .letter = 'N'},
    {"run", "file", OPTION_STRING, AT(file), NULL, "File.", .flags = OPTION_FLAG_ONLY},
    {"run", "preset", OPTION_STRING, AT(preset), "", "Preset.", .flags = OPTION_PRESET},
};
static const option_preset demo_presets[] = {
    {"small", "a small one", "[train]\nheads = 2\nmax-steps = 500\n"},
    {"broken", "never used", "[train]\nheads = 999\n"},
    {NULL, NULL, NULL},
};
static const option_table demo = {demo_rows, sizeof demo_rows / sizeof demo_rows[0],
                                  sizeof(demo_settings), demo_presets};
static const option_table *const demo_list[] = {&demo};

static const option *row_of(const char *name) {
    return option_find(&demo, NULL, name);
}

/* A set with the demo table, active. */
static option_set *demo_set(void) {
    option_set *set = NULL;
    if (option_set_new(&set) != STATUS_OK || option_set_add(set, &demo, true) != STATUS_OK) exit(2);
    return set;
}

static const demo_settings *settings_of(option_set *set) {
    return option_set_settings(set, &demo);
}

TEST(builtin_values) {
    demo_settings s;
    REQUIRE_OK(options_defaults(&demo, &s));
    CHECK(!s.fast && s.careful && s.heads == 4 && s.steps == 1000, "heads %d", s.heads);
    CHECK(s.memory == 64 << 20 && s.offset == -3 && s.rate == 3e-4, "memory %" PRId64, s.memory);
    CHECK(s.pause == 10 && s.save.seconds == 120 && s.save.steps == 0, "pause %g", s.pause);
    CHECK(strcmp(s.name, "first") == 0 && s.file == NULL && s.preset[0] == '\0', "strings");
}

TEST(value_syntax) {
    static const struct {
        const char *name, *value, *written; /* written NULL: must be refused */
    } cases[] = {
        {"fast", "yes", "true"},
        {"fast", "off", "false"},
        {"fast", "maybe", NULL},
        {"fast", "", NULL},
        {"heads", "64", "64"},
        {"heads", "65", NULL},
        {"heads", "0", NULL},
        {"heads", "4.0", NULL},
        {"heads", "0x4", NULL},
        {"heads", " 4", NULL},
        {"heads", "99999999999", NULL},
        {"max-steps", "1.6M", "1.6M"},
        {"max-steps", "1600000", "1.6M"},
        {"max-steps", "10k", "10000"},
        {"max-steps", "1.5", NULL},
        {"max-steps", "-1", NULL},
        {"max-steps", "1MM", NULL},
        {"max-steps", "1e30", NULL},
        {"memory", "1.5G", "1536M"},
        {"memory", "3KiB", "3K"},
        {"memory", "7B", "7"},
        {"memory", "9999999T", NULL},
        {"memory", "-4", NULL},
        {"offset", "-9223372036854775808", "-9223372036854775808"},
        {"offset", "9223372036854775808", NULL},
        {"seed", "18446744073709551615", "18446744073709551615"},
        {"seed", "-1", NULL},
        {"seed", "18446744073709551616", NULL},
        {"learning-rate", "1e-3", "0.001"},
        {"learning-rate", "nan", NULL},
        {"learning-rate", "inf", NULL},
        {"learning-rate", "1.5", NULL},
        {"learning-rate", "1e-3x", NULL},
        {"learning-rate", "1e400", NULL},
        {"schedule", "cosine", "cosine"},
        {"schedule", "cosin", NULL},
        {"pause", "1h30min", "90min"},
        {"pause", "1.5", "1.5s"},
        {"pause", "250ms", "0.25s"},
        {"pause", "2d", "48h"},
        {"pause", "10 min", NULL},
        {"pause", "-1s", NULL},
        {"pause", "3x", NULL},
        {"pause", "", NULL},
        {"save-every", "100", "100"},
        {"save-every", "2min", "2min"},
        {"save-every", "0", "0"},
        {"save-every", "never", NULL},
        {"name", "\xC3\xA9", "\xC3\xA9"},
        {"name", "\xff", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        demo_settings s;
        const option *row = row_of(cases[i].name);
        REQUIRE(row != NULL, "%s", cases[i].name);
        REQUIRE_OK(options_defaults(&demo, &s));
        status result = option_value_parse(row, cases[i].value, &s);
        if (cases[i].written == NULL) {
            CHECK(result == STATUS_USAGE && error_last()->id == F_BAD_VALUE, "%s = \"%s\" accepted",
                  cases[i].name, cases[i].value);
            CHECK(strstr(error_last()->why, "must be") != NULL, "%s", error_last()->why);
        } else {
            CHECK(result == STATUS_OK, "%s = \"%s\" refused", cases[i].name, cases[i].value);
            CHECK(strcmp(option_value_text(row, &s), cases[i].written) == 0, "%s = \"%s\": \"%s\"",
                  cases[i].name, cases[i].value, option_value_text(row, &s));
        }
    }
    demo_settings s;
    CHECK(option_value_parse(row_of("schedule"), "cosin", &s) == STATUS_USAGE, "accepted");
    CHECK(strcmp(error_last()->why, "must be wsd, cosine, linear or constant (nearest: cosine)") ==
              0,
          "%s", error_last()->why);
}

TEST(names_fold_only_underscores) {
    CHECK(row_of("max_steps") == row_of("max-steps") && row_of("max-steps") != NULL, "underscore");
    CHECK(row_of("max-step") == NULL && row_of("maxsteps") == NULL, "abbreviations");
    CHECK(option_find(&demo, "run", "heads") == NULL, "wrong section");
}

TEST(words_nearby) {
    CHECK(word_distance("kitten", "sitting") == 3, "%d", word_distance("kitten", "sitting"));
    CHECK(word_distance("trian", "train") == 1, "a swap is one edit");
    CHECK(word_distance("", "abc") == 3 && word_distance("abc", "abc") == 0, "ends");
    CHECK(word_distance("a_b", "a-b") == 0, "underscore");
    static const char *const names[] = {"train", "eval", "chat"};
    CHECK(word_nearest("trian", names, 3) == 0, "trian");
    CHECK(word_nearest("evla", names, 3) == 1, "evla");
    CHECK(word_nearest("zzzzzz", names, 3) == -1, "zzzzzz");
    char longest[300];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    CHECK(word_nearest(longest, names, 3) == -1, "a very long word");
}

static bool give_flag(option_set *set, const char *name, const char *value, const char *next) {
    bool used;
    if (option_set_flag(set, name, value, next, &used) != STATUS_OK) exit(2);
    return used;
}

TEST(precedence_of_sources) {
    char *const environment[] = {(char[]){"FATHOM_TRAIN_HEADS=5"}, (char[]){"FATHOM_SEED=9"},
                                 (char[]){"PATH=/bin"}, (char[]){"FATHOM_TEST_DATA=x"}, NULL};
    option_set *set = demo_set();
    bool taken = give_flag(set, "max-steps", NULL, "7");
    CHECK(taken, "the value after a flag was not taken");
    give_flag(set, "preset", "small", NULL);
    REQUIRE_OK(option_set_environment(set, environment));
    REQUIRE_OK(option_set_ini(set, LAYER_PROJECT_FILE, "fathom.ini",
                              "[train]\nheads = 6\nmax-steps = 8\nlearning-rate = 0.5\n"));
    REQUIRE_OK(option_set_ini(set, LAYER_USER_FILE, "user.ini",
                              "seed = 3\n[train]\nlearning-rate = 0.25\n[run]\npause = 1min\n"));
    REQUIRE_OK(option_set_resolve(set));
    const demo_settings *s = settings_of(set);
    CHECK(s->steps == 7, "flag: %" PRId64, s->steps);
    CHECK(s->heads == 5 && s->seed == 9, "environment: %d", s->heads);
    CHECK(s->rate == 0.5, "project file: %g", s->rate);
    CHECK(s->pause == 60, "user file: %g", s->pause);
    CHECK(s->memory == 64 << 20, "built-in");
    option_layer layer;
    CHECK(strcmp(option_set_origin(set, row_of("max-steps"), &layer), "--max-steps") == 0 &&
              layer == LAYER_FLAG,
          "origin");
    CHECK(strcmp(option_set_origin(set, row_of("heads"), NULL), "FATHOM_TRAIN_HEADS") == 0, "o");
    CHECK(strcmp(option_set_origin(set, row_of("learning-rate"), NULL), "fathom.ini:4") == 0, "%s",
          option_set_origin(set, row_of("learning-rate"), NULL));
    CHECK(strcmp(option_set_origin(set, row_of("memory"), &layer), "built-in") == 0 &&
              layer == LAYER_BUILT_IN,
          "origin");
    option_set_free(set);

    set = demo_set();
    give_flag(set, "preset", "small", NULL);
    REQUIRE_OK(option_set_ini(set, LAYER_PROJECT_FILE, "fathom.ini", "[train]\nheads = 6\n"));
    REQUIRE_OK(option_set_resolve(set));
    s = settings_of(set);
    CHECK(s->heads == 6 && s->steps == 500, "file over preset over built-in: %d", s->heads);
    CHECK(strcmp(option_set_origin(set, row_of("max-steps"), NULL), "preset small:3") == 0, "%s",
          option_set_origin(set, row_of("max-steps"), NULL));
    option_set_free(set);
}

TEST(every_complaint_at_once) {
    option_set *set = demo_set();
    REQUIRE_OK(option_set_ini(set, LAYER_PROJECT_FILE, "fathom.ini",
                              "[train]\n"
                              "learning-rat = 1\n"    /* 2 */
                              "schedule =   cosin\n"  /* 3 */
                              "  heads = 70 ; many\n" /* 4 */
                              "no equals here\n"      /* 5 */
                              "fast = true\n"
                              "fast = false\n" /* 7 */
                              "[trian]\n"      /* 8 */
                              "anything = 1\n"
                              "also = 2\n"
                              "[run\n" /* 11 */
                              "[run]\n"
                              "name = \"open\n" /* 13 */
                              "file = x\n"));   /* 14 */
    CHECK(option_set_resolve(set) == STATUS_USAGE && error_last()->id == F_CONFIG, "id %d",
          error_last()->id);
    CHECK(error_exit_code(F_CONFIG) == 78, "exit code");
    static const char *const expected[] = {
        "fathom.ini:2:1: unknown key \"learning-rat\" in [train]: did you mean \"learning-rate\"?",
        ("fathom.ini:3:14: train.schedule = \"cosin\": must be wsd, cosine, linear or constant "
         "(nearest: cosine)\n    schedule =   cosin\n                 ^"),
        "fathom.ini:4:11: train.heads = \"70\": must be a whole number from 1 to 64",
        "fathom.ini:5:1: line without \"=\"",
        "fathom.ini:7:8: train.fast is set twice: fathom.ini:6 sets it already",
        "fathom.ini:8:2: unknown section [trian]: did you mean \"train\"?",
        "fathom.ini:11:1: section without \"]\"",
        "fathom.ini:13:8: run.name is not quoted correctly",
        "fathom.ini:14:1: unknown key \"file\" in [run]",
    };
    int n = (int)(sizeof expected / sizeof expected[0]);
    CHECK(option_set_complaints(set) == n, "%d", option_set_complaints(set));
    for (int i = 0; i < n && i < option_set_complaints(set); i++)
        CHECK(strstr(option_set_complaint(set, i), expected[i]) == option_set_complaint(set, i),
              "%s", option_set_complaint(set, i));
    CHECK(strstr(error_last()->what, "9 settings") != NULL, "%s", error_last()->what);
    const demo_settings *s = settings_of(set);
    CHECK(!s->fast && s->heads == 4, "something was stored");
    option_set_free(set);
}

TEST(text_that_is_not_ini) {
    static char long_line[9000];
    memset(long_line, 'x', sizeof long_line - 1);
    static const struct {
        const char *ini, *complaint;
    } cases[] = {
        {"[train]\nheads = \xff\n", "not UTF-8"},
        {long_line, "line too long"},
        {"heads = 3\n", "unknown key \"heads\" before any [section]"},
        {"= 3\n", "unknown key \"\""},
        {"[]\nheads = 3\n", "unknown key \"heads\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        option_set *set = demo_set();
        REQUIRE_OK(option_set_ini(set, LAYER_PROJECT_FILE, "f", cases[i].ini));
        CHECK(option_set_resolve(set) == STATUS_USAGE, "case %zu accepted", i);
        CHECK(option_set_complaints(set) >= 1 &&
                  strstr(option_set_complaint(set, 0), cases[i].complaint) != NULL,
              "case %zu: %s", i, option_set_complaint(set, 0));
        option_set_free(set);
    }
    option_set *set = demo_set();
    REQUIRE_OK(
        option_set_ini(set, LAYER_PROJECT_FILE, "f",
                       "\xEF\xBB\xBFseed : 4\r\n\r\n# note\n; note\n\t[run]\n  name=a b ; c"));
    REQUIRE_OK(option_set_resolve(set));
    CHECK(settings_of(set)->seed == 4 && strcmp(settings_of(set)->name, "a b") == 0, "%s",
          settings_of(set)->name);
    option_set_free(set);
}

TEST(flags) {
    option_set *set = demo_set();
    bool used, rest;
    CHECK(!give_flag(set, "fast", NULL, "next"), "a bool took a value");
    CHECK(!give_flag(set, "no-careful", NULL, "next"), "a bool took a value");
    CHECK(give_flag(set, "offset", NULL, "-5"), "a negative number is a value");
    CHECK(!give_flag(set, "learning_rate", "1e-2", "next"), "took next beside =");
    REQUIRE_OK(option_set_letter(set, 'N', "", "two", &used, &rest));
    CHECK(used && !rest, "letter with next");
    REQUIRE_OK(option_set_letter(set, 'r', "0.5", "two", &used, &rest));
    CHECK(!used && rest, "letter with rest");
    REQUIRE_OK(option_set_assign(set, "train.heads=8"));
    REQUIRE_OK(option_set_assign(set, "seed=77"));
    REQUIRE_OK(option_set_resolve(set));
    const demo_settings *s = settings_of(set);
    CHECK(s->fast && !s->careful && s->offset == -5 && s->rate == 0.5 && s->heads == 8, "values");
    CHECK(strcmp(s->name, "two") == 0 && s->seed == 77, "%s", s->name);
    option_set_free(set);
}

TEST(flags_that_are_wrong) {
    static const struct {
        const char *name, *value, *next, *complaint;
        error_id id;
    } cases[] = {
        {"learning-rat", NULL, NULL, "did you mean --learning-rate?", F_UNKNOWN_OPTION},
        {"heads", NULL, "--fast", "--heads needs a value", F_BAD_VALUE},
        {"heads", NULL, NULL, "--heads needs a value", F_BAD_VALUE},
        {"heads", "many", NULL, "must be a whole number from 1 to 64", F_BAD_VALUE},
        {"no-heads", NULL, NULL, "unknown option --no-heads", F_UNKNOWN_OPTION},
        {"fast", "perhaps", NULL, "must be true or false", F_BAD_VALUE},
        {"preset", "smal", NULL, "did you mean \"small\"?", F_BAD_VALUE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        option_set *set = demo_set();
        CHECK(!give_flag(set, cases[i].name, cases[i].value, cases[i].next) || i == 6, "case %zu",
              i);
        CHECK(option_set_resolve(set) == STATUS_USAGE && error_last()->id == cases[i].id,
              "case %zu: id %d", i, error_last()->id);
        CHECK(strstr(option_set_complaint(set, 0), cases[i].complaint) != NULL, "case %zu: %s", i,
              option_set_complaint(set, 0));
        CHECK(error_exit_code(error_last()->id) == 64, "exit code");
        option_set_free(set);
    }
    static const char *const assignments[] = {
        "heads", "=3", "train.head=3", "trian.heads=3", "train.heads=x", "run.file=x"};
    for (size_t i = 0; i < sizeof assignments / sizeof assignments[0]; i++) {
        option_set *set = demo_set();
        REQUIRE_OK(option_set_assign(set, assignments[i]));
        CHECK(option_set_resolve(set) == STATUS_USAGE, "--set %s accepted", assignments[i]);
        CHECK(error_exit_code(error_last()->id) == 64, "--set %s: exit code", assignments[i]);
        option_set_free(set);
    }
}

TEST(broken_presets_and_environment) {
    option_set *set = demo_set();
    give_flag(set, "preset", "broken", NULL);
    CHECK(option_set_resolve(set) == STATUS_USAGE, "accepted");
    CHECK(strstr(option_set_complaint(set, 0), "preset broken:2:9: train.heads") != NULL, "%s",
          option_set_complaint(set, 0));
    option_set_free(set);
    char *const environment[] = {(char[]){"FATHOM_TRAIN_HEDS=5"},
                                 (char[]){"FATHOM_TRAIN_SCHEDULE=cos"}, NULL};
    set = demo_set();
    REQUIRE_OK(option_set_environment(set, environment));
    CHECK(option_set_warnings(set) == 1 &&
              strstr(option_set_warning(set, 0), "did you mean \"FATHOM_TRAIN_HEADS\"?") != NULL,
          "%d warnings", option_set_warnings(set));
    CHECK(option_set_resolve(set) == STATUS_USAGE && error_last()->id == F_CONFIG, "id");
    CHECK(strstr(option_set_complaint(set, 0), "environment FATHOM_TRAIN_SCHEDULE: ") != NULL, "%s",
          option_set_complaint(set, 0));
    option_set_free(set);
}

TEST(refusals_name_the_place) {
    option_set *set = demo_set();
    REQUIRE_OK(option_set_ini(set, LAYER_PROJECT_FILE, "fathom.ini", "[train]\nheads = 7\n"));
    REQUIRE_OK(option_set_resolve(set));
    REQUIRE_OK(option_set_refuse(set, row_of("heads"), "does not divide %d: use 4 or 8", 256));
    CHECK(option_set_check(set) == STATUS_USAGE, "no complaint");
    CHECK(strcmp(option_set_complaint(set, 0),
                 "fathom.ini:2:9: train.heads = 7: does not divide 256: use 4 or 8\n"
                 "    heads = 7\n            ^") == 0,
          "%s", option_set_complaint(set, 0));
    option_set_free(set);
}

TEST(written_settings_are_read_again) {
    static const char *const strings[] = {"plain",
                                          "",
                                          " led by a blank",
                                          "a ; b",
                                          "quote \" and \\ and \n\t\x01\x7f",
                                          "\"",
                                          ";",
                                          "=",
                                          "# no comment",
                                          "\xE2\x82\xAC",
                                          "ends in a blank "};
    arena kept;
    REQUIRE_OK(arena_init(&kept, "strings", 1 << 20));
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        demo_settings s = {.fast = i % 2,
                           .careful = i % 3 == 0,
                           .heads = 1 + (int)i,
                           .schedule = (int)i % 4,
                           .steps = (int64_t)i * 123456789,
                           .memory = (int64_t)i << (3 * i),
                           .offset = -(int64_t)i,
                           .seed = UINT64_MAX - i,
                           .rate = 1.0 / (3 + (double)i),
                           .pause = 0.1 * (double)i,
                           .name = strings[i],
                           .preset = ""};
        if (i % 2)
            s.save.steps = 100000 * (int64_t)i;
        else
            s.save.seconds = 7.25 * (double)i;
        char *ini;
        REQUIRE_OK(options_write(demo_list, (void *[]){&s}, 1, i % 2, &ini));
        demo_settings back;
        REQUIRE_OK(options_defaults(&demo, &back));
        REQUIRE_OK(options_read(demo_list, (void *[]){&back}, 1, "x.ini", ini, &kept));
        char *again;
        REQUIRE_OK(options_write(demo_list, (void *[]){&back}, 1, i % 2, &again));
        CHECK(strcmp(ini, again) == 0, "%s\n---\n%s", ini, again);
        CHECK(strcmp(back.name, s.name) == 0 && back.rate == s.rate && back.seed == s.seed &&
                  back.memory == s.memory && back.steps == s.steps && back.pause == s.pause &&
                  back.save.steps == s.save.steps && back.save.seconds == s.save.seconds,
              "case %zu differs:\n%s", i, ini);
        mem_free(ini);
        mem_free(again);
    }
    demo_settings s;
    REQUIRE_OK(options_defaults(&demo, &s));
    CHECK(options_read(demo_list, (void *[]){&s}, 1, "x.ini", "[train]\nheds = 1\nfast = 7\n",
                       &kept) == STATUS_USAGE,
          "accepted");
    CHECK(error_last()->id == F_CONFIG && strstr(error_last()->why, "x.ini:3:8") != NULL, "%s",
          error_last()->why);
    CHECK(s.heads == 4, "something was stored");
    arena_clear(&kept);
}

static status everything(void) {
    option_set *set = NULL;
    char *ini = NULL;
    bool used;
    status result = option_set_new(&set);
    if (result == STATUS_OK) result = option_set_add(set, &demo, true);
    if (result == STATUS_OK) result = option_set_flag(set, "preset", "small", NULL, &used);
    if (result == STATUS_OK)
        result = option_set_ini(set, LAYER_PROJECT_FILE, "f", "[train]\nheads = 3\nbad = 1\n");
    if (result == STATUS_OK && option_set_resolve(set) == STATUS_MEMORY) result = STATUS_MEMORY;
    if (result == STATUS_OK)
        result =
            options_write(demo_list, (void *[]){option_set_settings(set, &demo)}, 1, true, &ini);
    json_t *schema = result == STATUS_OK ? options_schema(demo_list, 1) : NULL;
    if (result == STATUS_OK && schema == NULL) result = STATUS_MEMORY;
    json_decref(schema);
    mem_free(ini);
    option_set_free(set);
    return result;
}

TEST(option_allocations_fail_cleanly) {
    int64_t live = mem_live_blocks();
    bool passed = false;
    for (int64_t i = 1; i < 2000 && !passed; i++) {
        mem_fail_at(i);
        status s = everything();
        passed = !mem_failed();
        mem_fail_at(0);
        CHECK(passed ? s == STATUS_OK : s == STATUS_MEMORY, "call %" PRId64 ": %d", i, (int)s);
        CHECK(mem_live_blocks() == live, "call %" PRId64 " leaks", i);
    }
    CHECK(passed, "never passed");
}

TEST(schema_names_every_setting) {
    json_t *schema = options_schema(demo_list, 1);
    REQUIRE(schema != NULL, "no schema");
    const json_t *properties = json_object_get(schema, "properties");
    const json_t *train = json_object_get(json_object_get(properties, "train"), "properties");
    CHECK(json_object_size(train) == 8, "%zu keys", json_object_size(train));
    const json_t *heads = json_object_get(train, "heads");
    CHECK(json_number_value(json_object_get(heads, "maximum")) == 64, "no maximum");
    CHECK(json_array_size(json_object_get(json_object_get(train, "schedule"), "enum")) == 4,
          "enum");
    CHECK(json_object_get(properties, "seed") != NULL, "the row of every command is missing");
    const json_t *run = json_object_get(json_object_get(properties, "run"), "properties");
    CHECK(json_object_get(run, "file") == NULL, "a row of flags only");
    json_decref(schema);
}
