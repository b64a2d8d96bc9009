/* breaking.c - see breaking.h. */
#include "breaking.h"

#include "base/file.h"
#include "base/memory.h"
#include "test.h"

/* A fresh copy of a folder of the fixture. */
bool copy(const char *from, const char *to) {
    return shell_ok("rm -rf %s && cp -r %s %s", to, from, to);
}

bool cut(const char *path, int bytes) {
    return shell_ok("truncate -s -%d %s", bytes, path);
}

bool flip(const char *path, int64_t at) {
    FILE *f = fopen(path, "r+b");
    int c = -1;
    bool good = f != NULL && fseek(f, (long)at, SEEK_SET) == 0 && (c = fgetc(f)) != EOF &&
                fseek(f, (long)at, SEEK_SET) == 0 && fputc(c ^ 0x55, f) != EOF;
    if (f != NULL && fclose(f) != 0) good = false;
    if (!good) test_fail(__FILE__, __LINE__, "flip a byte", "%s at %lld", path, (long long)at);
    return good;
}

/* Replaces one text of a file by another of the same length. */
bool replace(const char *path, const char *old, const char *new) {
    char *bytes;
    size_t n;
    if (file_read(path, 0, &bytes, &n) != STATUS_OK) return false;
    char *at = memmem(bytes, n, old, strlen(old));
    bool good = at != NULL && strlen(old) == strlen(new);
    if (good) {
        memcpy(at, new, strlen(new));
        good = file_write(path, bytes, n) == STATUS_OK;
    }
    mem_free(bytes);
    if (!good) test_fail(__FILE__, __LINE__, "replace", "\"%s\" in %s", old, path);
    return good;
}

/* The sum of everything below a folder, log, lock and reports of evaluations aside. */
char *sum_of(const char *folder) {
    ending e =
        shell("cd %s && find . -type f ! -name log.txt ! -name lock ! -path './eval/*' | sort | "
              "xargs sha256sum",
              folder);
    char *sum = mem_strdup(e.out);
    ending_clear(&e);
    return sum;
}

/* The command fails as `id`, once in sentences and once as JSON, and `folder` stays as it is. */
bool fails_and_keeps(error_id id, const char *folder, const char *command) {
    char *before = sum_of(folder);
    ending e = shell("%s", command);
    bool good = told(&e, id);
    ending_clear(&e);
    e = shell("%s --json", command);
    if (e.json == NULL) {
        test_fail(__FILE__, __LINE__, command, "no JSON object: %s%s", e.out, e.err);
        good = false;
    } else {
        good &= told(&e, id);
    }
    ending_clear(&e);
    char *after = sum_of(folder);
    if (before[0] == '\0' || strcmp(before, after) != 0) {
        test_fail(__FILE__, __LINE__, command, "%s was changed:\n%s\n%s", folder, before, after);
        good = false;
    }
    mem_free(before);
    mem_free(after);
    return good;
}

int lines_of(const char *path) {
    char *bytes;
    size_t n, lines = 0;
    if (file_read(path, 0, &bytes, &n) != STATUS_OK) return -1;
    for (size_t i = 0; i < n; i++)
        lines += bytes[i] == '\n';
    mem_free(bytes);
    return (int)lines;
}

/* True if `command` says `sentence` somewhere. */
bool says(const char *command, const char *sentence) {
    ending e = shell("%s", command);
    bool found = strstr(e.err, sentence) != NULL || strstr(e.out, sentence) != NULL;
    if (!found)
        test_fail(__FILE__, __LINE__, sentence, "not said by %s:\n%s%s", command, e.out, e.err);
    ending_clear(&e);
    return found;
}

/* Cuts a sentence behind its command or flags: at a separator, or at the verb ("... shows ..."). */
static void cut_sentence(char *words) {
    static const char *const ends[] = {" shows ", " lists ",    " makes ",  " names ", " begins ",
                                       " takes ", " explains ", " leaves ", " or ",    " is "};
    words[strcspn(words, "`(,;:")] = '\0';
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        char *verb = strstr(words, ends[i]);
        if (verb != NULL) *verb = '\0';
    }
}

/* What the fix of `command` has from `mark` on, cut behind it; "" after a test_fail without one. */
static void fix_part(const char *command, const char *mark, char *out, size_t room) {
    ending e = shell("%s --json", command);
    const char *from = strstr(json_word(e.json, "error.fix"), mark);
    snprintf(out, room, "%s", from != NULL ? from : "");
    cut_sentence(out);
    if (from == NULL)
        test_fail(__FILE__, __LINE__, command, "no \"%s\" in its fix: %s%s", mark, e.out, e.err);
    ending_clear(&e);
}

bool fix_works(const char *command) {
    char fix[1024];
    fix_part(command, "fathom ", fix, sizeof fix);
    return fix[0] != '\0' && shell_ok("%s", fix);
}

bool fix_mends(const char *command) {
    return fix_works(command) && shell_ok("%s", command);
}

bool flags_mend(const char *command, const char *wrong) {
    char whole[2048], fix[1024];
    snprintf(whole, sizeof whole, "%s %s", command, wrong);
    fix_part(whole, "--", fix, sizeof fix);
    return fix[0] != '\0' && shell_ok("%s %s", command, fix);
}

/* -- things that several tests break -- */

bool other_data(void) {
    return path_exists("other/tokenizer.json") ||
           (copy("data", "other") && shell_ok("fathom data tokenize other --vocab-size 700"));
}
