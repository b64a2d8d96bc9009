/* test_config_command.c - `fathom config` and `fathom doctor` as a user calls them. */
#include "command_call.h"
#include "test.h"

#include "app/app.h"
#include "base/file.h"
#include "kernels/kernels.h"

typedef struct demo_settings {
    int heads;
    const char *name, *preset;
} demo_settings;

static const option demo_rows[] = {
    {"demo", "heads", OPTION_INT, offsetof(demo_settings, heads), "4", "Heads.", 1, 64},
    {"demo", "name", OPTION_STRING, offsetof(demo_settings, name), "first", "Name."},
    {"demo", "preset", OPTION_STRING, offsetof(demo_settings, preset), "", "Preset.",
     .flags = OPTION_PRESET},
};
static const option_preset demo_presets[] = {{"small", "a small one", "[demo]\nheads = 2\n"},
                                             {NULL, NULL, NULL}};
static const option_table demo_options = {demo_rows, 3, sizeof(demo_settings), demo_presets};
static const option_table *const demo_tables[] = {&demo_options, NULL};
static status demo_run(command_context *c) {
    say(c, "%d\n", ((const demo_settings *)c->settings[0])->heads);
    return STATUS_OK;
}
static const command demo_command = {.name = "demo",
                                     .summary = "a command with settings",
                                     .examples = "fathom demo",
                                     .options = demo_tables,
                                     .run = demo_run};
static const command *const commands[] = {&config_command, &doctor_command, &demo_command, NULL};
static const command_program program = {.name = "fathom",
                                        .version = "9.9",
                                        .about = "a test",
                                        .examples = "fathom demo",
                                        .commands = commands,
                                        .cpu_text = kernels_cpu_text,
                                        .init = kernels_init};

static void write_settings(const char *path, const char *ini) {
    if (file_write(path, ini, strlen(ini)) != STATUS_OK) exit(2);
}

TEST(config_calls) {
    static const struct {
        const char *words;
        int code;
        const char *out, *err;
    } cases[] = {
        {"config show", 0, "[demo]\nheads = 6\nname = first\n", ""},
        {"config show demo --origin", 0, "; fathom.ini:2", ""},
        {"config show demo --set demo.heads=7 --origin", 0, "; --set demo.heads=7", ""},
        {"config show dmo", 64, "", "did you mean \"demo\"?"},
        {"config keys demo", 0, "heads", ""},
        {"config keys", 0, "[every command]", ""},
        {"config check", 0, "all settings in force: accepted", ""},
        {"config check good.ini", 0, "good.ini: accepted", ""},
        {"config check bad.ini", 78, "", "bad.ini:2:9: demo.heads = \"99\""},
        {"config check none.ini", 66, "", "none.ini"},
        {"config diff", 0, "demo.heads                   4                    -> 6\n", ""},
        {"config diff good.ini good.ini", 0, "no difference", ""},
        {"config diff fathom.ini good.ini", 0, "-> 9", ""},
        {"config diff run", 0, "8                    -> 6", ""},
        {"config presets", 0, "small                a small one", ""},
        {"config presets small", 0, "[demo]\nheads = 2\n", ""},
        {"config presets smal", 64, "", "did you mean \"small\"?"},
        {"config schema", 0, "\"$schema\"", ""},
        {"config init -o -", 0, ";heads = 4\n", ""},
        {"config init -n", 0, "would write", ""},
        {"config init", 64, "", "run it again with -y"},
        {"config init --from small -o new.ini", 0, "wrote new.ini", ""},
        {"config init --from smal -o newer.ini", 64, "", "did you mean \"small\"?"},
        {"demo --preset small --config new.ini", 0, "2\n", ""},
    };
    call_enter();
    write_settings("fathom.ini", "[demo]\nheads = 6\n");
    write_settings("good.ini", "[demo]\nheads = 9\n");
    write_settings("bad.ini", "[demo]\nheads = 99\n");
    REQUIRE_OK(folder_create("run"));
    write_settings("run/config.ini", "[demo]\nheads = 8\n");
    int64_t live = mem_live_blocks();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        call_result r = call_program(&program, cases[i].words, 0);
        CHECK(r.code == cases[i].code, "\"%s\": %d %s", cases[i].words, r.code, r.err);
        CHECK(strstr(r.out, cases[i].out) != NULL, "\"%s\": %s", cases[i].words, r.out);
        CHECK(strstr(r.err, cases[i].err) != NULL, "\"%s\": %s", cases[i].words, r.err);
        call_clear(&r);
        CHECK(mem_live_blocks() == live, "\"%s\" leaks", cases[i].words);
    }
    call_leave();
}

/* What init writes is accepted as it is, and with every mark removed still says the built-in. */
TEST(config_init_describes_the_builtin_values) {
    call_enter();
    call_result r = call_program(&program, "config init", 0);
    CHECK(r.code == 0, "%s", r.err);
    call_clear(&r);
    char *ini;
    size_t n, kept = 0;
    REQUIRE_OK(file_read("fathom.ini", 0, &ini, &n));
    for (size_t i = 0; i < n; i++)
        if (ini[i] != ';' || (i > 0 && ini[i - 1] != '\n')) ini[kept++] = ini[i];
    REQUIRE_OK(file_write("unmarked.ini", ini, kept));
    mem_free(ini);
    r = call_program(&program, "config check", 0);
    CHECK(r.code == 0, "%s", r.err);
    call_clear(&r);
    r = call_program(&program, "config diff unmarked.ini", 0);
    CHECK(r.code == 0 && strcmp(r.out, "no difference\n") == 0, "%s%s", r.out, r.err);
    call_clear(&r);
    call_leave();
}

static void check_failures(const char *words) {
    int64_t live = mem_live_blocks();
    bool passed = false;
    for (int64_t i = 1; i < 5000 && !passed; i++) {
        call_result r = call_program(&program, words, i);
        passed = !r.failure_happened;
        CHECK(r.code == (passed ? 0 : 71), "\"%s\", call %" PRId64 ": %d %s", words, i, r.code,
              r.err);
        call_clear(&r);
        CHECK(mem_live_blocks() == live, "\"%s\", call %" PRId64 " leaks", words, i);
    }
    CHECK(passed, "never passed");
}

TEST(config_allocations_fail_cleanly) {
    call_enter();
    check_failures("config show --json");
    check_failures("config schema");
    check_failures("config diff --json");
    check_failures("config keys demo --json");
    check_failures("config init -o -");
    call_leave();
}

TEST(doctor_measures) {
    static const char *const rates[] = {"f32_gflops", "bf16_gflops", "memory_bytes_per_second",
                                        "disk_write_bytes_per_second",
                                        "disk_read_bytes_per_second"};
    call_enter();
    call_result r = call_program(&program, "doctor --bench 0.2s --json", 0);
    json_t *object;
    REQUIRE_OK(json_parse(r.out, strlen(r.out), "out", &object));
    const json_t *bench = json_object_get(json_object_get(object, "result"), "bench");
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++)
        CHECK(json_number_value(json_object_get(bench, rates[i])) > 0, "%s: %s", rates[i], r.out);
    json_decref(object);
    call_clear(&r);
    call_leave();
}

TEST(doctor_says_what_is_here) {
    call_enter();
    call_result r = call_program(&program, "doctor --json", 0);
    json_t *object;
    REQUIRE_OK(json_parse(r.out, strlen(r.out), "out", &object));
    const json_t *rows = json_object_get(json_object_get(object, "result"), "rows");
    CHECK(json_array_size(rows) >= 8, "%zu rows", json_array_size(rows));
    const char *name = json_string_value(json_object_get(json_array_get(rows, 0), "name"));
    CHECK(name != NULL && strcmp(name, "cpu") == 0, "%s", r.out);
    json_decref(object);
    call_clear(&r);
    r = call_program(&program, "doctor --cpu portable", 0);
    CHECK(strstr(r.out, "portable") != NULL, "%s%s", r.out, r.err);
    call_clear(&r);
    r = call_program(&program, "doctor --cpu pentium", 0);
    CHECK(r.code == 71 && strstr(r.err, "error[F0018]") != NULL, "%d %s", r.code, r.err);
    call_clear(&r);
    call_leave();
}
