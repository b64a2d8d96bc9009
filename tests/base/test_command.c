/* test_command.c - whole calls of a small program: output, envelope, exit code. */
#include "command_call.h"
#include "test.h"

#include "base/command.h"
#include "base/file.h"
#include "base/pool.h"

typedef struct greet_settings {
    const char *word;
    int times;
} greet_settings;

static const option greet_rows[] = {
    {"greet", "word", OPTION_STRING, offsetof(greet_settings, word), "hello", "What to say."},
    {"greet", "times", OPTION_INT, offsetof(greet_settings, times), "1", "How often.", 1, 9},
};
static const option_table greet_options = {greet_rows, 2, sizeof(greet_settings), NULL};
static const option_table *const greet_tables[] = {&greet_options, NULL};

static status greet_run(command_context *c) {
    const greet_settings *s = c->settings[0];
    if (c->dry_run) {
        say(c, "would greet\n");
        return STATUS_OK;
    }
    for (int i = 0; i < s->times; i++)
        say(c, "%s %s\n", s->word, c->arguments[0]);
    TRY(result_set(c, "greeted", json_string(c->arguments[0])));
    TRY(result_set(c, "seed", json_integer((json_int_t)c->seed)));
    TRY(command_warn(c, "only a greeting"));
    return command_next(c, "fathom greet %s", c->arguments[0]);
}

static status fail_run(command_context *c) {
    TRY(result_set(c, "half", json_true()));
    return FAIL(F_NO_MEMORY, "what", "where", "why", "fix");
}

static status silent_run(command_context *c) {
    (void)c;
    return STATUS_IO;
}

static status ask_run(command_context *c) {
    bool yes;
    TRY(command_confirm(c, "sure?", &yes));
    say(c, "%s\n", yes ? "yes" : "no");
    return STATUS_OK;
}

static status threads_run(command_context *c) {
    say(c, "%d\n", pool_threads());
    return STATUS_OK;
}

static const command greet_command = {.name = "greet",
                                      .summary = "say hello",
                                      .usage = "NAME",
                                      .examples = "fathom greet Ada",
                                      .min_arguments = 1,
                                      .max_arguments = 1,
                                      .options = greet_tables,
                                      .run = greet_run};
static const command fail_command = {
    .name = "fail", .summary = "s", .examples = "fathom x fail", .run = fail_run};
static const command silent_command = {
    .name = "silent", .summary = "s", .examples = "e", .run = silent_run};
static const command ask_command = {.name = "ask", .summary = "s", .examples = "e", .run = ask_run};
static const command threads_command = {
    .name = "threads", .summary = "s", .examples = "e", .run = threads_run, .threads = true};
static const command *const children[] = {&fail_command, &silent_command, &ask_command,
                                          &threads_command, NULL};
static const command x_command = {
    .name = "x", .summary = "several", .examples = "fathom x fail", .children = children};
static const command *const commands[] = {&greet_command, &x_command, NULL};
static const command_program program = {.name = "fathom",
                                        .version = "9.9",
                                        .about = "a test",
                                        .examples = "fathom greet Ada",
                                        .commands = commands};

static call_result call(const char *words) {
    return call_program(&program, words, 0);
}

TEST(calls_and_their_exit_codes) {
    static const struct {
        const char *words;
        int code;
        const char *out, *err;
    } cases[] = {
        {"greet Ada", 0, "hello Ada\nnext: fathom greet Ada\n", "warning: only a greeting"},
        {"greet --times 2 --word=hi Ada", 0, "hi Ada\nhi Ada\n", ""},
        {"greet Ada --times=2", 0, "hello Ada\nhello Ada\n", ""},
        {"--seed 4 greet Ada", 0, "hello Ada\n", ""},
        {"greet -n Ada", 0, "would greet\n", ""},
        {"greet -- -n", 0, "hello -n\n", ""},
        {"greet", 64, "", "fathom greet needs NAME"},
        {"greet Ada Bob", 64, "", "unexpected argument \"Bob\""},
        {"greet Ada --tims 2", 64, "", "did you mean --times?"},
        {"greet Ada --times 99", 64, "", "must be a whole number from 1 to 9"},
        {"greet Ada -Z", 64, "", "unknown option -Z"},
        {"greet Ada --set greet.times=3", 0, "hello Ada\nhello Ada\nhello Ada\n", ""},
        {"gret Ada", 64, "", "did you mean \"greet\"?"},
        {"x", 64, "", "fathom x needs a command"},
        {"x", 64, "", "it has fail, silent, ask and threads"},
        {"hlep", 64, "", "did you mean \"help\"?"},
        {"version", 64, "", "did you mean --version?"},
        {"x fial", 64, "", "did you mean \"fail\"?"},
        {"x fail", 71, "", "error[F0001]: what\n  where: where\n  why:   why\n  fix:   fix\n"},
        {"x silent", 70, "", "error[F0007]"},
        {"x ask", 64, "", "run it again with -y"},
        {"x ask -y", 0, "yes\n", ""},
        {"x ask -yq", 0, "yes\n", ""},
        {"x threads --threads 3", 0, "3\n", ""},
        {"--version", 0, "fathom 9.9\n", ""},
        {"--help", 0, "examples\n  fathom greet Ada\n", ""},
        {"", 0, "examples\n", ""},
        {"greet --help", 0, "examples\n  fathom greet Ada\n\nfathom greet: say hello\n", ""},
        {"greet -h --nonsense", 0, "examples\n", ""},
        {"help greet", 0, "examples\n  fathom greet Ada\n", ""},
        {"help x fail", 0, "examples\n  fathom x fail\n", ""},
        {"help F0003", 0, "F0003  disk full\n\nexit code 74", ""},
        {"help F0999", 64, "", "no error has the number F0999"},
        {"help gret", 64, "", "did you mean \"greet\"?"},
        {"--json", 64, "", ""},
        {"-C /no/such/folder greet Ada", 66, "", "change into /no/such/folder"},
        {"greet Ada --config none.ini", 66, "", "read none.ini"},
    };
    call_enter();
    int64_t live = mem_live_blocks();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        call_result o = call(cases[i].words);
        CHECK(o.code == cases[i].code, "\"%s\": code %d\n%s", cases[i].words, o.code, o.err);
        CHECK(strncmp(o.out, cases[i].out, strlen(cases[i].out)) == 0, "\"%s\": %s", cases[i].words,
              o.out);
        CHECK(strstr(o.err, cases[i].err) != NULL, "\"%s\": %s", cases[i].words, o.err);
        CHECK(cases[i].code == 0 || o.out[0] == '\0' || o.out[0] == '{', "\"%s\" prints %s",
              cases[i].words, o.out);
        call_clear(&o);
        CHECK(mem_live_blocks() == live, "\"%s\" leaks %" PRId64, cases[i].words,
              mem_live_blocks() - live);
    }
    call_leave();
}

TEST(json_envelope) {
    static const struct {
        const char *words, *command, *code; /* code NULL: ok */
    } cases[] = {
        {"greet Ada --json", "greet", NULL},
        {"x fail --json", "x fail", "F0001"},
        {"--json gret", "fathom", "F0013"},
        {"gret --json", "fathom", "F0013"},
        {"greet Ada --json --tims", "greet", "F0012"},
        {"greet --json", "greet", "F0011"},
        {"x ask --json", "x ask", "F0011"},
        {"help F0003 --json", "help", NULL},
    };
    call_enter();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        call_result o = call(cases[i].words);
        json_t *object = NULL;
        CHECK(json_parse(o.out, strlen(o.out), "out", &object) == STATUS_OK, "\"%s\": %s",
              cases[i].words, o.out);
        const char *named = json_string_value(json_object_get(object, "command"));
        CHECK(named != NULL && strcmp(named, cases[i].command) == 0, "\"%s\": %s", cases[i].words,
              o.out);
        CHECK(json_integer_value(json_object_get(object, "schema")) == 1, "no schema");
        CHECK(json_is_true(json_object_get(object, "ok")) == (cases[i].code == NULL), "\"%s\": %s",
              cases[i].words, o.out);
        const json_t *error = json_object_get(object, "error");
        static const char *const parts[] = {"code", "what", "where", "why", "fix"};
        for (int p = 0; p < 5 && cases[i].code != NULL; p++) {
            const char *part = json_string_value(json_object_get(error, parts[p]));
            CHECK(part != NULL && part[0] != '\0', "\"%s\": no %s", cases[i].words, parts[p]);
            CHECK(p > 0 || (part != NULL && strcmp(part, cases[i].code) == 0), "%s", o.out);
        }
        CHECK(json_is_array(json_object_get(object, "warnings")) &&
                  json_is_array(json_object_get(object, "next")) &&
                  json_is_object(json_object_get(object, "result")),
              "%s", o.out);
        CHECK(o.err[0] == '\0', "\"%s\" writes %s", cases[i].words, o.err);
        json_decref(object);
        call_clear(&o);
    }
    call_leave();
}

static void write_settings(const char *ini) {
    if (file_write("fathom.ini", ini, strlen(ini)) != STATUS_OK) exit(2);
}

TEST(settings_file_of_the_folder) {
    call_enter();
    write_settings("seed = 5\n[greet]\nword = hey\n");
    call_result o = call("greet Ada --json");
    CHECK(strstr(o.out, "\"seed\":5") != NULL, "%s", o.out);
    call_clear(&o);
    o = call("greet Ada");
    CHECK(strncmp(o.out, "hey Ada\n", 8) == 0, "%s", o.out);
    call_clear(&o);
    /* Every command finds the error of any section, and nothing is started. */
    write_settings("[greet]\nwrod = hey\ntimes = 0\n");
    o = call("x threads");
    CHECK(o.code == 78 && o.out[0] == '\0', "code %d: %s", o.code, o.out);
    CHECK(strstr(o.err, "fathom.ini:2:1: unknown key \"wrod\" in [greet]: did you mean \"word\"?\n"
                        "    wrod = hey\n    ^\n") != NULL,
          "%s", o.err);
    CHECK(strstr(o.err, "fathom.ini:3:9: greet.times = \"0\"") != NULL, "%s", o.err);
    call_clear(&o);
    o = call("x threads --json");
    json_t *object = NULL;
    CHECK(json_parse(o.out, strlen(o.out), "out", &object) == STATUS_OK, "%s", o.out);
    CHECK(json_array_size(json_object_get(json_object_get(object, "error"), "details")) == 2, "%s",
          o.out);
    json_decref(object);
    call_clear(&o);
    call_leave();
}

TEST(call_allocations_fail_cleanly) {
    call_enter();
    int64_t live = mem_live_blocks();
    bool passed = false;
    for (int64_t i = 1; i < 2000 && !passed; i++) {
        mem_fail_at(i);
        call_result o = call_program(&program, "greet Ada --json", i);
        passed = !o.failure_happened;
        CHECK(o.code == (passed ? 0 : 71), "call %" PRId64 ": %d: %s%s", i, o.code, o.out, o.err);
        call_clear(&o);
        CHECK(mem_live_blocks() == live, "call %" PRId64 " leaks", i);
    }
    CHECK(passed, "never passed");
    call_leave();
}
