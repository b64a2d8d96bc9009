/* command_call.c - runs command_main with its three streams replaced by files. */
#include "command_call.h"

#include "base/file.h"
#include "test.h"

#include <fcntl.h>
#include <unistd.h>

static char before[PATH_SIZE];

static char *taken(const char *path) {
    char *bytes;
    size_t n;
    if (file_read(path, 0, &bytes, &n) != STATUS_OK) exit(2);
    unlink(path);
    return bytes;
}

call_result call_program(const command_program *program, const char *words, int64_t fail_at) {
    char line[512], *argv[32] = {(char[]){"fathom"}}, out[64], err[64];
    int argc = 1;
    snprintf(line, sizeof line, "%s", words);
    for (char *word = line; *word != '\0' && argc < 31;) {
        size_t n = strcspn(word, " ");
        argv[argc++] = word;
        bool last = word[n] == '\0';
        word[n] = '\0';
        word += n + !last;
    }
    snprintf(out, sizeof out, "/tmp/fathom-out-%d", (int)getpid());
    snprintf(err, sizeof err, "/tmp/fathom-err-%d", (int)getpid());
    fflush(stdout);
    int saved[3],
        opened[3] = {open("/dev/null", O_RDONLY), open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600),
                     open(err, O_WRONLY | O_CREAT | O_TRUNC, 0600)};
    for (int i = 0; i < 3; i++) {
        saved[i] = dup(i);
        dup2(opened[i], i);
        close(opened[i]);
    }
    mem_fail_at(fail_at);
    call_result r = {.code = command_main(program, argc, argv)};
    r.failure_happened = mem_failed();
    mem_fail_at(0);
    fflush(stdout);
    fflush(stderr);
    for (int i = 0; i < 3; i++) {
        dup2(saved[i], i);
        close(saved[i]);
    }
    r.out = taken(out);
    r.err = taken(err);
    return r;
}

void call_clear(call_result *r) {
    mem_free(r->out);
    mem_free(r->err);
}

void call_enter(void) {
    const char *folder = test_folder();
    if (getcwd(before, sizeof before) == NULL || chdir(folder) != 0) exit(2);
    setenv("XDG_CONFIG_HOME", folder, 1);
    setenv("XDG_CACHE_HOME", folder, 1);
}

void call_leave(void) {
    if (chdir(before) != 0) exit(2);
}
