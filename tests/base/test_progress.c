/* test_progress.c - words for people: durations, sizes, curves; log lines and progress lines. */
#include "test.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/watch.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(words_for_numbers) {
    static const struct {
        double seconds;
        const char *words;
    } times[] = {{0.44, "0.4 s"},       {59.4, "59 s"},       {65, "1 min 05 s"},
                 {3599, "59 min 59 s"}, {3660, "1 h 01 min"}, {(double)NAN, "unknown"}};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        CHECK(strcmp(duration_text(times[i].seconds), times[i].words) == 0, "%s",
              duration_text(times[i].seconds));
    CHECK(strcmp(bytes_text(17), "17 B") == 0, "%s", bytes_text(17));
    CHECK(strcmp(bytes_text(1 << 20), "1.0 MiB") == 0, "%s", bytes_text(1 << 20));
    CHECK(strcmp(bytes_text(412e6), "393 MiB") == 0, "%s", bytes_text(412e6));
    CHECK(strcmp(count_text(0), "0") == 0, "%s", count_text(0));
    CHECK(strcmp(count_text(-1234567), "-1,234,567") == 0, "%s", count_text(-1234567));
    CHECK(strcmp(count_text(999), "999") == 0, "%s", count_text(999));
}

TEST(sparkline_follows_the_locale) {
    double values[] = {3, 2, 1, (double)NAN};
    setenv("LC_ALL", "C", 1);
    CHECK(strcmp(sparkline_text(values, 4), "950!") == 0, "%s", sparkline_text(values, 4));
    setenv("LC_ALL", "C.UTF-8", 1);
    CHECK(strcmp(sparkline_text(values, 4), "\xE2\x96\x88\xE2\x96\x85\xE2\x96\x81!") == 0, "%s",
          sparkline_text(values, 4));
    unsetenv("LC_ALL");
    CHECK(strcmp(sparkline_text(values, 0), "") == 0, "empty");
}

/* What fn writes to standard error. */
static char *stderr_of(void (*fn)(void), const char *path) {
    int saved = dup(STDERR_FILENO), fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    dup2(fd, STDERR_FILENO);
    close(fd);
    fn();
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    char *bytes = NULL;
    size_t n;
    if (file_read(path, 0, &bytes, &n) != STATUS_OK) exit(2);
    return bytes;
}

__attribute__((noinline)) static bool holds(const char *output, const char *part) {
    return strstr(output, part) != NULL;
}

static void some_progress(void) {
    progress p;
    progress_start(&p, "train", "steps", 100, 40);
    p.started -= 10;
    progress_show(&p, 60, "loss 4.12");
    progress_end(&p, "done");
}

TEST(progress_in_every_mode) {
    char path[PATH_SIZE];
    REQUIRE_OK(path_join(path, test_folder(), "err"));
    progress_set_mode(PROGRESS_NONE);
    char *out = stderr_of(some_progress, path);
    CHECK(out[0] == '\0', "%s", out);
    mem_free(out);
    progress_set_mode(PROGRESS_PLAIN);
    out = stderr_of(some_progress, path);
    CHECK(holds(out, "train      done\n"), "%s", out);
    CHECK(!holds(out, "\r") && !holds(out, "\033"), "%s", out);
    mem_free(out);
    progress_set_mode(PROGRESS_BAR);
    out = stderr_of(some_progress, path);
    CHECK(strstr(out, "60/100 steps  2/s  ETA 20 s  loss 4.12") != NULL, "%s", out);
    mem_free(out);
    progress_set_mode(PROGRESS_JSON);
    out = stderr_of(some_progress, path);
    char *end = strchr(out, '\n');
    json_t *event = NULL;
    CHECK(end != NULL && json_parse(out, (size_t)(end - out), "event", &event) == STATUS_OK, "%s",
          out);
    CHECK(json_number_value(json_object_get(event, "step")) == 60, "%s", out);
    CHECK(fabs(json_number_value(json_object_get(event, "eta_s")) - 20) < 0.5, "%s", out);
    json_decref(event);
    mem_free(out);
    progress_set_mode(PROGRESS_AUTO);
}

static void some_log(void) {
    log_line(LOG_ERROR, "one a=%d", 1);
    log_info("two");
}

TEST(log_lines) {
    char path[PATH_SIZE], file[PATH_SIZE];
    const char *folder = test_folder();
    REQUIRE_OK(path_join(path, folder, "err"));
    REQUIRE_OK(path_join(file, folder, "log.txt"));
    REQUIRE_OK(log_file(file));
    char *out = stderr_of(some_log, path);
    REQUIRE_OK(log_file(NULL));
    CHECK(strstr(out, " error one a=1\n") != NULL && strstr(out, "two") == NULL, "%s", out);
    mem_free(out);
    char *bytes;
    size_t n;
    REQUIRE_OK(file_read(file, 0, &bytes, &n));
    CHECK(strstr(bytes, " error one a=1\n") && strstr(bytes, " info  two\n"), "%s", bytes);
    mem_free(bytes);
    log_json(true);
    out = stderr_of(some_log, path);
    log_json(false);
    json_t *event;
    REQUIRE_OK(json_parse(out, strlen(out) - 1, "event", &event));
    CHECK(strcmp(json_string_value(json_object_get(event, "message")), "one a=1") == 0, "%s", out);
    json_decref(event);
    mem_free(out);
    CHECK(log_file("/no/such/folder/log") == STATUS_IO, "logged into nowhere");
}

static void keep_line(void *context, log_level level, const char *message) {
    char *kept = context;
    snprintf(kept, 64, "%d %s", (int)level, message);
}

TEST(log_lines_go_to_a_listener_instead) {
    char path[PATH_SIZE], kept[64] = "";
    REQUIRE_OK(path_join(path, test_folder(), "err"));
    log_listen(keep_line, kept);
    char *out = stderr_of(some_log, path);
    log_listen(NULL, NULL);
    CHECK(out[0] == '\0' && strcmp(kept, "0 one a=1") == 0, "\"%s\", printed \"%s\"", kept, out);
    mem_free(out);
    out = stderr_of(some_log, path);
    CHECK(strstr(out, "one a=1") != NULL, "not printed again: %s", out);
    mem_free(out);
}

static bool two_only(void *context, double done, double total) {
    int *calls = context;
    return ++*calls < 3 && done < total;
}

TEST(watchers_see_and_stop_their_own_thread) {
    int calls = 0;
    REQUIRE_OK(watch_tell(1, 10));
    watch_set(two_only, &calls);
    REQUIRE_OK(watch_tell(1, 10));
    REQUIRE_OK(watch_tell(2, 10));
    CHECK(watch_tell(3, 10) == STATUS_CANCELLED && error_last()->id == F_CANCELLED, "not stopped");
    CHECK(strstr(error_last()->where, "3 of 10") != NULL, "where: %s", error_last()->where);
    watch_set(NULL, NULL);
    REQUIRE_OK(watch_tell(4, 10));
    CHECK(calls == 3, "%d calls", calls);
}

TEST(clock_stamps) {
    char stamp[21];
    clock_utc(stamp);
    CHECK(strlen(stamp) == 20 && stamp[10] == 'T' && stamp[19] == 'Z', "%s", stamp);
    double before = clock_seconds();
    CHECK(clock_seconds() >= before, "time went back");
}

/* In a child: what the program knows after these signals; 0 = as it should be. */
static int after_signals(const int *signals, error_id expected) {
    interrupt_install();
    if (interrupted() || interrupt_status("waiting", "go on") != STATUS_OK) return 2;
    for (; *signals != 0; signals++)
        raise(*signals);
    if (!interrupted() || interrupt_status("waiting", "go on") != STATUS_CANCELLED) return 3;
    const error_report *r = error_last();
    return r->id == expected && strcmp(r->where, "waiting") == 0 && strcmp(r->fix, "go on") == 0
               ? 0
               : 4;
}

TEST(signals_ask_for_a_stop) {
    static const struct {
        int signals[4];
        error_id id;
        int code; /* of the child */
    } cases[] = {
        {{SIGINT, 0}, F_INTERRUPTED, 0},
        {{SIGTERM, 0}, F_STOPPED, 0},
        {{SIGTERM, SIGTERM, 0}, F_STOPPED, 0},
        {{SIGINT, SIGINT, 0}, F_NONE, 130}, /* the second one ends the process at once */
        {{SIGXFSZ, SIGINT, 0}, F_INTERRUPTED, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            int null = open("/dev/null", O_WRONLY);
            dup2(null, STDERR_FILENO);
            _exit(after_signals(cases[i].signals, cases[i].id));
        }
        int how = 0;
        REQUIRE(child > 0 && waitpid(child, &how, 0) == child, "fork");
        CHECK(WIFEXITED(how) && WEXITSTATUS(how) == cases[i].code, "case %zu: %d", i, how);
    }
    CHECK(error_exit_code(F_INTERRUPTED) == 130 && error_exit_code(F_STOPPED) == 75, "exit codes");
}
