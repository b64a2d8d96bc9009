/* test.c - registers, runs and counts the tests of one program. */
#include "test.h"

#include <ftw.h>
#include <stdarg.h>
#include <unistd.h>

static struct {
    const char *name;
    test_fn *fn;
} tests[4096];
static int n_tests, failures_now, skipped_now;
static char folder[4096];

void test_register(const char *name, test_fn *fn) {
    if (n_tests == (int)(sizeof tests / sizeof tests[0])) abort();
    tests[n_tests].name = name;
    tests[n_tests++].fn = fn;
}

void test_fail(const char *file, int line, const char *condition, const char *format, ...) {
    failures_now++;
    if (failures_now > 20) return; /* one test does not drown the others */
    printf("  %s:%d: %s\n    ", file, line, condition);
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

void test_skip(const char *format, ...) {
    skipped_now = 1;
    printf("  skipped: ");
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

const char *test_data(const char *relative) {
    const char *root = getenv("FATHOM_TEST_DATA");
    if (root == NULL || root[0] == '\0') return NULL;
    const char *path = text("%s/%s", root, relative);
    return access(path, R_OK) == 0 ? path : NULL;
}

bool test_long(void) {
    const char *value = getenv("FATHOM_TEST_LONG");
    return value != NULL && value[0] == '1';
}

static int remove_one(const char *path, const struct stat *s, int flag, struct FTW *f) {
    (void)s, (void)flag, (void)f;
    return remove(path);
}

static void folder_remove(void) {
    if (folder[0] != '\0') nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    folder[0] = '\0';
}

const char *test_folder(void) {
    folder_remove();
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/fathom-test-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(folder) == NULL) {
        perror(folder);
        exit(2);
    }
    return folder;
}

static bool wanted(const char *name, int n, char **patterns) {
    for (int i = 0; i < n; i++)
        if (strstr(name, patterns[i]) != NULL) return true;
    return n == 0;
}

int main(int argc, char **argv) {
    int passed = 0, failed = 0, skipped = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < n_tests; i++) {
        if (!wanted(tests[i].name, argc - 1, argv + 1)) continue;
        failures_now = skipped_now = 0;
        error_clear();
        tests[i].fn();
        folder_remove();
        const char *verdict = failures_now ? "FAIL" : skipped_now ? "skip" : "ok  ";
        printf("%s %s\n", verdict, tests[i].name);
        if (failures_now)
            failed++;
        else if (skipped_now)
            skipped++;
        else
            passed++;
    }
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed > 0;
}
