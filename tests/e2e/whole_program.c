/* whole_program.c - runs the program under test and looks at how it ended.
 *
 * The program is named by PROGRAM_TO_TEST (the build sets it). A command is `/bin/sh -c`, so tests can
 * use redirections, limits and quotes as people do. Streams go to files, not pipes: nothing can
 * block, and a killed program leaves what it had said.
 *
 * Mind: a sanitizer build reports on stderr and may still exit with a code that a test expects, so
 * told() looks for those reports too.
 */
#include "whole_program.h"

#include "base/file.h"
#include "base/memory.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMAND_SIZE 8192

static char work[PATH_SIZE];

/* -- the work folder -- */

static int remove_one(const char *path, const struct stat *s, int flag, struct FTW *f) {
    (void)s, (void)flag, (void)f;
    return remove(path);
}

static void work_remove(void) {
    if (chdir("/") == 0) nftw(work, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void environment_make(void) {
    static const char *const ours[] = {"FATHOM_TEST_DATA", "FATHOM_TEST_LONG", "FATHOM_SEED",
                                       "FATHOM_JSON"};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        unsetenv(ours[i]);
    const char *path = getenv("PATH");
    char joined[PATH_SIZE * 2];
    snprintf(joined, sizeof joined, "%s/bin:%s", work, path != NULL ? path : "/usr/bin:/bin");
    setenv("PATH", joined, 1);
    setenv("HOME", work, 1);
    setenv("XDG_CONFIG_HOME", work, 1);
    setenv("XDG_CACHE_HOME", work, 1);
    setenv("LC_ALL", "C.UTF-8", 1);
}

bool work_enter(void) {
    if (work[0] != '\0') return true;
    const char *program = getenv("PROGRAM_TO_TEST"), *tmp = getenv("TMPDIR");
    if (program == NULL || access(program, X_OK) != 0) {
        test_fail(__FILE__, __LINE__, "PROGRAM_TO_TEST", "it must name the program to test");
        return false;
    }
    char *resolved = realpath(program, NULL);
    snprintf(work, sizeof work, "%s/fathom-e2e-XXXXXX", tmp != NULL ? tmp : "/tmp");
    bool made = resolved != NULL && mkdtemp(work) != NULL && chdir(work) == 0 &&
                mkdir("bin", 0755) == 0 && symlink(resolved, "bin/fathom") == 0;
    free(resolved);
    if (!made) {
        test_fail(__FILE__, __LINE__, "work folder", "%s: %s", work, strerror(errno));
        return false;
    }
    atexit(work_remove);
    environment_make();
    return true;
}

/* -- running -- */

static int code_of(int wait_status) {
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

static int start(const char *command, const char *out, const char *err) {
    fflush(stdout);
    pid_t child = fork();
    if (child != 0) return (int)child;
    int in = open("/dev/null", O_RDONLY), o = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600),
        e = open(err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (in < 0 || o < 0 || e < 0) _exit(126);
    dup2(in, 0);
    dup2(o, 1);
    dup2(e, 2);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

int shell_wait(int process) {
    int wait_status = 0;
    while (waitpid(process, &wait_status, 0) < 0)
        if (errno != EINTR) return -1;
    return code_of(wait_status);
}

bool shell_alive(int process) {
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)process, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
}

static char *taken(const char *path) {
    char *bytes;
    size_t n;
    if (file_read(path, 0, &bytes, &n) != STATUS_OK) return mem_strdup("");
    unlink(path);
    return bytes;
}

static ending shell_va(const char *format, va_list args) {
    char command[COMMAND_SIZE];
    int n = vsnprintf(command, sizeof command, format, args);
    ending e = {.code = -1};
    if (n >= 0 && n < COMMAND_SIZE) e.code = shell_wait(start(command, "stream.out", "stream.err"));
    e.out = taken("stream.out");
    e.err = taken("stream.err");
    if (e.out[0] == '{') e.json = json_loads(e.out, JSON_REJECT_DUPLICATES, NULL);
    return e;
}

ending shell(const char *format, ...) {
    va_list args;
    va_start(args, format);
    ending e = shell_va(format, args);
    va_end(args);
    return e;
}

bool shell_ok(const char *format, ...) {
    va_list args;
    va_start(args, format);
    ending e = shell_va(format, args);
    va_end(args);
    bool ok = e.code == 0;
    if (!ok) test_fail(__FILE__, __LINE__, format, "exit code %d\n%s%s", e.code, e.out, e.err);
    ending_clear(&e);
    return ok;
}

int shell_start(const char *format, ...) {
    char command[COMMAND_SIZE] = "exec ";
    va_list args;
    va_start(args, format);
    vsnprintf(command + 5, sizeof command - 5, format, args);
    va_end(args);
    return start(command, "background.out", "background.err");
}

void ending_clear(ending *e) {
    mem_free(e->out);
    mem_free(e->err);
    json_decref(e->json);
    *e = (ending){0};
}

/* -- looking -- */

static const json_t *json_at(const json_t *object, const char *path) {
    while (object != NULL && path[0] != '\0') {
        char key[64];
        size_t n = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)n, path);
        object = json_object_get(object, key);
        path += n + (path[n] == '.');
    }
    return object;
}

const char *json_word(const json_t *object, const char *path) {
    const char *word = json_string_value(json_at(object, path));
    return word != NULL ? word : "";
}

double json_number(const json_t *object, const char *path) {
    const json_t *value = json_at(object, path);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

/* The part after `label` in "  label sentence\n" is not empty. */
static bool has_part(const char *err, const char *label) {
    const char *at = strstr(err, label);
    return at != NULL && at[strlen(label)] != '\n' && at[strlen(label)] != '\0';
}

static const char *parts_missing(const ending *e, const char *number) {
    if (e->json != NULL) {
        static const char *const parts[] = {"what", "where", "why", "fix"};
        if (strcmp(json_word(e->json, "error.code"), number) != 0) return "number";
        for (int i = 0; i < 4; i++)
            if (json_word(e->json, text("error.%s", parts[i]))[0] == '\0') return parts[i];
        return NULL;
    }
    if (!has_part(e->err, text("error[%s]: ", number))) return "number or what";
    if (!has_part(e->err, "\n  where: ")) return "where";
    if (!has_part(e->err, "\n  why:   ")) return "why";
    return has_part(e->err, "\n  fix:   ") ? NULL : "fix";
}

bool told(const ending *e, error_id id) {
    static const char *const crashes[] = {"Sanitizer", "runtime error:", "core dumped",
                                          "Segmentation", "Assertion"};
    const char *number = text("F%04d", (int)id), *crash = NULL;
    for (size_t i = 0; i < sizeof crashes / sizeof crashes[0]; i++)
        if (strstr(e->err, crashes[i]) != NULL) crash = crashes[i];
    const char *missing = parts_missing(e, number);
    bool good = crash == NULL && missing == NULL && e->code == error_exit_code(id);
    if (!good)
        test_fail(__FILE__, __LINE__, number, "exit code %d, not %d; missing: %s; crash: %s\n%s%s",
                  e->code, error_exit_code(id), missing != NULL ? missing : "nothing",
                  crash != NULL ? crash : "none", e->out, e->err);
    return good;
}

/* -- things to work on -- */

static uint64_t draw(uint64_t *state, uint64_t n) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (*state >> 33) % n;
}

/* One sentence: number of a place, somebody, what is done, to what, when. */
static int sentence(char *out, size_t room, uint64_t *state) {
    static const char *const who[] = {"the old miller", "a young painter", "my neighbour",
                                      "the captain",    "every teacher",   "the gardener",
                                      "a stranger",     "the clerk"};
    static const char *const does[] = {"carries",   "repairs", "measures", "forgets", "sells",
                                       "remembers", "paints",  "follows",  "counts",  "opens"};
    static const char *const what[] = {"the wooden bridge", "a heavy lantern", "the north window",
                                       "seven letters",     "the long rope",   "a silver clock",
                                       "the river boat",    "an empty chest",  "the last map"};
    static const char *const when[] = {"before the rain",     "in the early morning",
                                       "after the harvest",   "when the bell rings",
                                       "every second winter", "without a word"};
    static const char *const link[] = {", because ", ", while ", " and then ", ", although "};
    int n =
        snprintf(out, room, "In house %d %s %s %s %s", (int)draw(state, 1000), who[draw(state, 8)],
                 does[draw(state, 10)], what[draw(state, 9)], when[draw(state, 6)]);
    if (draw(state, 3) == 0)
        n += snprintf(out + n, room - (size_t)n, "%s%s %s %s", link[draw(state, 4)],
                      who[draw(state, 8)], does[draw(state, 10)], what[draw(state, 9)]);
    return n + snprintf(out + n, room - (size_t)n, ".\n");
}

bool texts_make(const char *folder, int n) {
    uint64_t state = 7;
    bool good = folder_create(folder) == STATUS_OK;
    for (int i = 0; i < n && good; i++) {
        char page[4096];
        size_t used = 0;
        while (used < sizeof page - 300)
            used += (size_t)sentence(page + used, sizeof page - used, &state);
        good = file_write(text("%s/page-%03d.txt", folder, i), page, used) == STATUS_OK;
    }
    if (!good) test_fail(__FILE__, __LINE__, "texts", "%s", error_last()->what);
    return good;
}

bool fixture_make(void) {
    static bool made;
    if (made) return true;
    made = work_enter() && texts_make("texts", 60) &&
           shell_ok("fathom data import texts -o data") &&
           shell_ok("fathom data tokenize data --vocab-size 512") &&
           shell_ok("fathom train data --run run %s --max-steps 12 --save-every 5", SMALL_TRAINING);
    return made;
}
