/* test_runs.c - `fathom runs` over run folders written by hand: numbers, torn lines, verdicts. */
#include "svg_check.h"
#include "test.h"

#include "app/app.h"
#include "app/run_record.h"

#include <fcntl.h>
#include <math.h>
#include <unistd.h>

#define CALL_WORDS 16

/* A run of n steps of 100 tokens whose loss falls from `start` to `end` with a ripple. */
static status write_run(const char *run, int n, double start, double end) {
    train_settings s;
    char path[PATH_SIZE];
    TRY(folder_create(run));
    TRY(train_settings_defaults(&s));
    s.size = "f-1m";
    s.input = "some.txt";
    s.max_steps = n;
    s.learning_rate = start / 1000;
    TRY(path_join(path, run, "config.ini"));
    TRY(train_settings_write(&s, path));
    TRY(path_join(path, run, "metrics.jsonl"));
    for (int i = 1; i <= n; i++) {
        double loss = start + (end - start) * i / n + 0.01 * (i % 3 - 1);
        char line[256];
        int used =
            snprintf(line, sizeof line,
                     "{\"step\":%d,\"tokens\":%d,\"time\":%g,\"loss\":%.6f,\"tok_per_sec\":50", i,
                     i * 100, i * 2.0, loss);
        snprintf(line + used, sizeof line - (size_t)used,
                 i % 10 == 0 ? ",\"val_loss\":%.6f,\"val_bpb\":%.6f}" : "}", loss + 0.1,
                 (loss + 0.1) / log(2));
        TRY(file_append_line(path, line));
    }
    return STATUS_OK;
}

/* Runs a command line without its first word and returns the exit code; *out is what it printed on
 * standard output (free). */
static int call(const char *folder, char **out, int n, const char *const *words) {
    static const command *const commands[] = {&runs_command, NULL};
    static const command_program program = {
        .name = "fathom", .version = "0", .about = "test", .commands = commands};
    char *argv[CALL_WORDS + 2] = {(char[]){"fathom"}}, copies[CALL_WORDS][256], path[PATH_SIZE];
    size_t size;
    for (int i = 0; i < n; i++) {
        snprintf(copies[i], sizeof copies[i], "%s", words[i]);
        argv[i + 1] = copies[i];
    }
    snprintf(path, sizeof path, "%s/out", folder);
    fflush(stdout);
    int saved = dup(STDOUT_FILENO), file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(file, STDOUT_FILENO);
    close(file);
    int code = command_main(&program, n + 1, argv);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    *out = NULL;
    if (file_read(path, 0, out, &size) != STATUS_OK) return -1;
    return code;
}
#define CALL(out, ...)                                                                             \
    call(folder, out, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),               \
         (const char *[]){__VA_ARGS__})

TEST(run_record_reads_metrics_and_passes_over_torn_lines) {
    char run[PATH_SIZE], path[PATH_SIZE];
    run_record r;
    snprintf(run, sizeof run, "%s/a", test_folder());
    REQUIRE_OK(write_run(run, 40, 5, 1));
    REQUIRE_OK(path_join(path, run, "metrics.jsonl"));
    REQUIRE_OK(file_append_line(path, "{\"step\":41,\"tok"));
    REQUIRE_OK(run_record_read(&r, run));
    CHECK(r.n == 40 && r.bad_lines == 1 && r.best == 39 && !r.running, "%d lines, %d bad, best %d",
          r.n, r.bad_lines, (int)r.best);
    CHECK(isnan(r.points[0].val_loss) && !isnan(r.points[9].val_loss),
          "evaluations are every ten steps");
    int n;
    double error, mean = run_metric_mean(&r, run_metric_find("tokens"), 0, 400, &n, &error);
    CHECK(n == 4 && mean == 250, "%d, %g", n, mean);
    CHECK(fabs(error - sqrt((150 * 150 + 50 * 50) * 2 / 3.0 / 4)) < 1e-9, "standard error %g",
          error);
    CHECK(run_metric_find("nothing") == -1 && strcmp(run_metric_name(0), "step") == 0, "names");
    run_record_clear(&r);
    CHECK(run_record_read(&r, "/nonexistent") == STATUS_IO && error_last()->id == F_MISSING,
          "no run there");
}

TEST(runs_commands_show_what_the_files_hold) {
    char folder[PATH_SIZE], a[PATH_SIZE], b[PATH_SIZE], c[PATH_SIZE], *out;
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(path_join(a, folder, "a"));
    REQUIRE_OK(path_join(b, folder, "b"));
    REQUIRE_OK(path_join(c, folder, "c"));
    REQUIRE_OK(write_run(a, 50, 5, 1));
    REQUIRE_OK(write_run(b, 100, 5, 3));
    REQUIRE_OK(write_run(c, 50, 5, 1.001));
    CHECK(CALL(&out, "runs", "ls", folder) == 0 && strstr(out, "/a ") && strstr(out, "/b ") &&
              strstr(out, "done"),
          "%s", out);
    mem_free(out);
    CHECK(CALL(&out, "runs", "show", a) == 0 && strstr(out, "50 of 50") && strstr(out, "best"),
          "%s", out);
    mem_free(out);
    CHECK(CALL(&out, "runs", "compare", a, b) == 0 && strstr(out, "learning-rate") == NULL &&
              strstr(out, "max-steps") && strstr(out, "the first is better"),
          "%s", out);
    mem_free(out);
    CHECK(CALL(&out, "runs", "compare", a, c) == 0 && strstr(out, "not distinguishable"), "%s",
          out);
    mem_free(out);
    CHECK(CALL(&out, "runs", "plot", a, "--metric", "val_bpb", "--csv") == 0 &&
              strncmp(out, "step,val_bpb\n10,", 16) == 0,
          "%s", out);
    mem_free(out);
    CHECK(CALL(&out, "runs", "plot", a) == 0 && strstr(out, "*"), "%s", out);
    mem_free(out);
    CHECK(CALL(&out, "runs", "plot", a, "--metric", "los") == 64, "%s", out);
    mem_free(out);
    CHECK(CALL(&out, "runs", "export", b, "--to", "json", "--json") == 0, "%s", out);
    json_t *o;
    REQUIRE_OK(json_parse(out, strlen(out), "out", &o));
    CHECK(json_array_size(json_object_get(json_object_get(o, "result"), "metrics")) == 100, "%s",
          out);
    json_decref(o);
    mem_free(out);
    CHECK(CALL(&out, "runs", "watch", a) == 0 && strstr(out, "is not running: done"), "%s", out);
    mem_free(out);
}

TEST(runs_plot_writes_a_picture) {
    char folder[PATH_SIZE], a[PATH_SIZE], b[PATH_SIZE], path[PATH_SIZE], *out, *svg;
    size_t n;
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(path_join(a, folder, "a"));
    REQUIRE_OK(path_join(b, folder, "b"));
    REQUIRE_OK(write_run(a, 50, 5, 1));
    REQUIRE_OK(write_run(b, 30, 5, 2));
    REQUIRE_OK(path_join(path, a, "plot.svg"));
    CHECK(CALL(&out, "runs", "plot", a, "-n") == 0 && strstr(out, "would write") &&
              !path_exists(path),
          "%s", out);
    mem_free(out);
    CHECK(CALL(&out, "runs", "plot", a) == 0 && strstr(out, "plot.svg"), "%s", out);
    mem_free(out);
    REQUIRE_OK(file_read(path, 0, &svg, &n));
    CHECK(svg_flaw(svg, n) == NULL, "%.80s", svg_flaw(svg, n));
    CHECK(CALL(&out, "runs", "plot", a, "-o", "-") == 0 && strcmp(out, svg) == 0,
          "standard output differs from the file");
    mem_free(out);
    mem_free(svg);
    REQUIRE_OK(path_join(path, folder, "both.svg"));
    CHECK(CALL(&out, "runs", "plot", a, b, "--log-y", "--x", "time", "-o", path, "--json") == 0 &&
              strstr(out, "both.svg"),
          "%s", out);
    mem_free(out);
    REQUIRE_OK(file_read(path, 0, &svg, &n));
    CHECK(svg_flaw(svg, n) == NULL && strstr(svg, "2 runs"), "%.200s", svg);
    mem_free(svg);
    CHECK(CALL(&out, "runs", "plot", a, b, "--csv") == 64, "%s", out);
    mem_free(out);
    CHECK(CALL(&out, "runs", "plot", a, "--json", "-o", "-") == 64, "%s", out);
    mem_free(out);
    CHECK(CALL(&out, "runs", "plot", a, "--metric", "mtp_loss") == 66, "%s", out);
    mem_free(out);
}

TEST(runs_plot_of_torn_and_foreign_lines) {
    char folder[PATH_SIZE], a[PATH_SIZE], metrics[PATH_SIZE], *out;
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(path_join(a, folder, "a"));
    REQUIRE_OK(write_run(a, 20, 5, 1));
    REQUIRE_OK(path_join(metrics, a, "metrics.jsonl"));
    REQUIRE_OK(file_append_line(metrics, "{\"step\":21,\"tok"));
    CHECK(CALL(&out, "runs", "plot", a, "--json") == 0 && strstr(out, "the first is line 21"), "%s",
          out);
    mem_free(out);
    REQUIRE_OK(file_write(metrics, "epoch,loss\n1,2\n", 15));
    CHECK(CALL(&out, "runs", "plot", a, "--json") == 65 && strstr(out, "line 1 and 1 more") &&
              strstr(out, "JSON object"),
          "%s", out);
    mem_free(out);
    REQUIRE_OK(file_write(metrics, "", 0));
    CHECK(CALL(&out, "runs", "plot", a, "--json") == 66 && strstr(out, "no line of metrics"), "%s",
          out);
    mem_free(out);
}

TEST(runs_rm_asks_and_keeps_the_best) {
    char folder[PATH_SIZE], a[PATH_SIZE], path[PATH_SIZE], *out;
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(path_join(a, folder, "a"));
    REQUIRE_OK(write_run(a, 20, 5, 1));
    REQUIRE_OK(path_join(path, a, "checkpoints/step-20"));
    REQUIRE_OK(folder_create(path));
    CHECK(CALL(&out, "runs", "rm", a, "--no-input") == 64 && path_exists(a),
          "removed without a yes");
    mem_free(out);
    CHECK(CALL(&out, "runs", "rm", a, "-n") == 0 && path_exists(a) && strstr(out, "would remove"),
          "%s", out);
    mem_free(out);
    CHECK(CALL(&out, "runs", "rm", "--keep-best", "-y", a) == 0 && path_exists(a) &&
              !path_exists(path),
          "%s", out);
    mem_free(out);
    CHECK(CALL(&out, "runs", "rm", "-y", a) == 0 && !path_exists(a), "%s", out);
    mem_free(out);
    CHECK(CALL(&out, "runs", "rm", "-y", a) == 66, "a run that is not there");
    mem_free(out);
}
