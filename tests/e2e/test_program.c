/* test_program.c - the program as a file: how big, what it is linked with, how fast it answers, and
 * that every command explains itself by examples. */
#include "whole_program.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "test.h"

#include <sys/stat.h>
#include <unistd.h>

#define BINARY_MOST   (8 * 1024 * 1024)
#define HELP_RUNS     5
#define HELP_GOAL     0.020
#define HELP_TOO_SLOW 0.200 /* so far above the goal that no busy neighbour explains it */

static bool sanitized(void) {
    ending e = shell("ldd bin/fathom | grep -q -e libasan -e libubsan -e libtsan");
    bool yes = e.code == 0;
    ending_clear(&e);
    return yes;
}

TEST(help_is_quick) {
    if (!work_enter()) return;
    if (sanitized()) SKIP("a sanitizer build says nothing about time");
    double took[HELP_RUNS];
    for (int i = 0; i < HELP_RUNS; i++) {
        double began = clock_seconds();
        if (!shell_ok("exec fathom --help")) return;
        took[i] = clock_seconds() - began;
        for (int j = i; j > 0 && took[j] < took[j - 1]; j--) {
            double t = took[j];
            took[j] = took[j - 1];
            took[j - 1] = t;
        }
    }
    double median = took[HELP_RUNS / 2];
    printf("  fathom --help: %.1f ms (median of %d, goal %.0f ms)\n", median * 1e3, HELP_RUNS,
           HELP_GOAL * 1e3);
    CHECK(median <= HELP_TOO_SLOW, "%.0f ms", median * 1e3);
}

TEST(binary_is_small) {
    if (!work_enter()) return;
    if (sanitized()) SKIP("a sanitizer build is larger");
    if (!shell_ok("strip -o stripped bin/fathom")) return;
    struct stat s;
    REQUIRE(stat("stripped", &s) == 0, "no stripped copy");
    printf("  stripped: %.2f MiB\n", (double)s.st_size / 1048576);
    CHECK(s.st_size <= BINARY_MOST, "%lld bytes", (long long)s.st_size);
    CHECK(shell_ok("./stripped --version"), "the stripped copy does not run");
}

/* Names that docs/dependencies.md uses, and the files they come as. */
static const struct {
    const char *name, *file;
} libraries[] = {
    {"jansson", "libjansson.so"}, {"inih", "libinih.so"},        {"utf8proc", "libutf8proc.so"},
    {"xxHash", "libxxhash.so"},   {"zstd", "libzstd.so"},        {"zlib", "libz.so"},
    {"liblzma", "liblzma.so"},    {"libcrypto", "libcrypto.so"}, {"libedit", "libedit.so"},
    {"libedit", "libtinfo.so"},   {"libedit", "libbsd.so"},      {"libedit", "libmd.so"},
    {"PCRE2", "libpcre2-8.so"},
};

/* The table of what is linked: from the heading to the first line that is about tests only. */
static bool is_documented(const char *table, const char *line) {
    static const char *const system[] = {"linux-vdso", "libc.so",       "libm.so",
                                         "ld-linux",   "libpthread.so", "libdl.so"};
    for (size_t i = 0; i < sizeof system / sizeof system[0]; i++)
        if (strstr(line, system[i]) != NULL) return true;
    for (size_t i = 0; i < sizeof libraries / sizeof libraries[0]; i++)
        if (strstr(line, libraries[i].file) != NULL)
            return strstr(table, libraries[i].name) != NULL;
    return false;
}

TEST(libraries_are_those_of_the_documents) {
    if (!work_enter()) return;
    if (sanitized()) SKIP("a sanitizer build is linked with its own libraries");
    const char *docs = getenv("DOCS_TO_TEST");
    REQUIRE(docs != NULL, "DOCS_TO_TEST must name the folder of documents");
    char *page;
    size_t n;
    REQUIRE_OK(file_read(text("%s/dependencies.md", docs), 0, &page, &n));
    char *tests_only = strstr(page, "Tests only");
    if (tests_only != NULL) *tests_only = '\0';
    ending e = shell("ldd bin/fathom");
    CHECK(e.code == 0 && strstr(e.out, "libc.so") != NULL, "ldd: %d %s%s", e.code, e.out, e.err);
    for (char *line = e.out, *next; line != NULL && *line != '\0'; line = next) {
        next = strchr(line, '\n');
        if (next != NULL) *next++ = '\0';
        CHECK(is_documented(page, line), "not in docs/dependencies.md: %s", line);
    }
    ending_clear(&e);
    mem_free(page);
}

/* -- help -- */

static void explains(const char *name) {
    ending e = shell("fathom %s --help", name);
    CHECK(e.code == 0, "fathom %s --help: %d %s", name, e.code, e.err);
    const char *example = strncmp(e.out, "examples\n  ", 11) == 0 ? e.out + 11 : "";
    const char *call = strstr(example, "fathom");
    CHECK(call != NULL && call < example + strcspn(example, "\n"),
          "fathom %s --help starts with: %.60s", name, e.out);
    CHECK(strstr(e.out, "usage: fathom") != NULL, "fathom %s --help has no usage", name);
    const char *row = strstr(e.out, "\ncommands\n");
    row = row != NULL ? row + 10 : NULL;
    while (row != NULL && strncmp(row, "  ", 2) == 0 && row[2] != ' ') {
        char child[128];
        snprintf(child, sizeof child, "%s%s%.*s", name, name[0] != '\0' ? " " : "",
                 (int)strcspn(row + 2, " \n"), row + 2);
        if (strcmp(child, "help") != 0) explains(child);
        row = strchr(row, '\n');
        row = row != NULL ? row + 1 : NULL;
    }
    ending_clear(&e);
}

TEST(every_command_explains_itself_by_examples) {
    if (work_enter()) explains("");
}

TEST(every_error_number_is_explained) {
    static const int numbers[] = {
#define ERROR(name, number, stat, exit_code, title) number,
#include "base/errors.def"
#undef ERROR
    };
    if (!work_enter()) return;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        ending e = shell("fathom help F%04d", numbers[i]);
        CHECK(e.code == 0 && strstr(e.out, text("F%04d", numbers[i])) != NULL, "F%04d: %d %s%s",
              numbers[i], e.code, e.out, e.err);
        ending_clear(&e);
    }
}

TEST(a_failing_call_with_json_prints_one_object) {
    static const struct {
        const char *words;
        error_id id;
    } calls[] = {
        {"--json", F_USAGE},
        {"trian --json", F_UNKNOWN_COMMAND},
        {"--json train --max-stepz 3", F_UNKNOWN_OPTION},
        {"train nowhere --json", F_MISSING},
        {"eval nowhere --json", F_MISSING},
        {"chat nowhere -p a --json", F_MISSING},
        {"runs show nowhere --json", F_MISSING},
        {"data verify nowhere --json", F_MISSING},
        {"data import nowhere --json", F_MISSING},
        {"data tokenize nowhere --json", F_MISSING},
        {"config presets nowhere --json", F_BAD_VALUE},
        {"bench train --size nothing --json", F_BAD_VALUE},
        {"help F9999 --json", F_USAGE},
        {"--config nowhere.ini config show --json", F_MISSING},
        {"-C nowhere runs ls --json", F_MISSING},
        {"start --corpus nothing --json", F_BAD_VALUE},
        {"start --corpus local --input nowhere --json", F_MISSING},
    };
    if (!work_enter()) return;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        ending e = shell("fathom %s", calls[i].words);
        CHECK(e.json != NULL, "fathom %s printed no JSON object: %s%s", calls[i].words, e.out,
              e.err);
        CHECK(e.json == NULL || json_is_false(json_object_get(e.json, "ok")), "%s", e.out);
        if (e.json != NULL) CHECK(told(&e, calls[i].id), "fathom %s", calls[i].words);
        ending_clear(&e);
    }
}
