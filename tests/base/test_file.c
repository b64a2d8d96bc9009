/* test_file.c - files: what is read back, what survives a failure, and what each failure says. */
#include "test.h"

#include "base/clock.h"
#include "base/file.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *in_folder(const char *folder, const char *name) {
    return text("%s/%s", folder, name);
}

static bool file_is(const char *path, const char *expected) {
    char *bytes;
    size_t n;
    if (file_read(path, 0, &bytes, &n) != STATUS_OK) return false;
    bool same = n == strlen(expected) && memcmp(bytes, expected, n) == 0 && bytes[n] == '\0';
    mem_free(bytes);
    return same;
}

TEST(file_write_then_read) {
    char path[PATH_SIZE];
    REQUIRE_OK(path_join(path, test_folder(), "a"));
    REQUIRE_OK(file_write(path, "hello", 5));
    CHECK(file_is(path, "hello"), "other bytes");
    REQUIRE_OK(file_write(path, "", 0));
    CHECK(file_is(path, ""), "not empty");
    CHECK(!path_exists(text("%s.tmp", path)), "the sibling is still there");
}

TEST(file_read_keeps_its_limit) {
    char path[PATH_SIZE], *bytes;
    size_t n;
    REQUIRE_OK(path_join(path, test_folder(), "a"));
    REQUIRE_OK(file_write(path, "hello", 5));
    CHECK(file_read(path, 5, &bytes, &n) == STATUS_OK && n == 5, "5 bytes are within 5");
    mem_free(bytes);
    CHECK(file_read(path, 4, &bytes, &n) == STATUS_LIMIT, "5 bytes are within 4");
    CHECK(bytes == NULL && error_last()->id == F_OVERFLOW, "id %d", error_last()->id);
}

TEST(file_read_of_a_pipe) {
    int ends[2], saved = dup(STDIN_FILENO);
    REQUIRE(pipe(ends) == 0, "no pipe");
    REQUIRE(write(ends[1], "through a pipe", 14) == 14, "short write");
    close(ends[1]);
    dup2(ends[0], STDIN_FILENO);
    close(ends[0]);
    char *bytes;
    size_t n;
    status s = file_read("-", 0, &bytes, &n);
    dup2(saved, STDIN_FILENO);
    close(saved);
    REQUIRE(s == STATUS_OK, "status %d", (int)s);
    CHECK(n == 14 && strcmp(bytes, "through a pipe") == 0, "got \"%s\"", bytes);
    mem_free(bytes);
}

TEST(file_errors_have_four_parts) {
    char *bytes;
    size_t n;
    mapped_file m;
    const char *folder = test_folder();
    const char *missing = in_folder(folder, "none/x");
    CHECK(file_read(missing, 0, &bytes, &n) == STATUS_IO, "read a missing file");
    const error_report *r = error_last();
    CHECK(r->id == F_MISSING && r->what[0] && r->where[0] && r->why[0] && r->fix[0], "parts");
    CHECK(file_write(missing, "x", 1) == STATUS_IO && r->id == F_MISSING, "id %d", r->id);
    CHECK(mapped_open(&m, folder) == STATUS_IO && r->id == F_MISSING, "mapped a folder");
    CHECK(file_read(folder, 0, &bytes, &n) == STATUS_IO, "read a folder");
    char longest[PATH_SIZE + 8], joined[PATH_SIZE];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    CHECK(file_write(longest, "x", 1) == STATUS_USAGE, "wrote to a path that is too long");
    CHECK(path_join(joined, longest, "b") == STATUS_USAGE && joined[0] == '\0', "joined");
}

TEST(writer_larger_than_its_buffer) {
    char path[PATH_SIZE];
    REQUIRE_OK(path_join(path, test_folder(), "big"));
    file_writer *w;
    REQUIRE_OK(writer_open(&w, path));
    enum { PIECE = 100001, PIECES = 9 };
    static char piece[PIECE];
    for (int i = 0; i < PIECES; i++) {
        memset(piece, 'a' + i, PIECE);
        REQUIRE_OK(writer_put(w, piece, PIECE));
    }
    static char large[600000];
    memset(large, 'z', sizeof large);
    REQUIRE_OK(writer_put(w, large, sizeof large));
    CHECK(writer_bytes(w) == PIECE * PIECES + 600000, "%" PRId64, writer_bytes(w));
    CHECK(!path_exists(path), "the final name exists before commit");
    REQUIRE_OK(writer_commit(w));
    mapped_file m;
    REQUIRE_OK(mapped_open(&m, path));
    CHECK(m.size == PIECE * PIECES + 600000, "size %zu", m.size);
    bool same = true;
    for (size_t i = 0; i < m.size; i++) {
        size_t in = i / PIECE;
        same = same && m.data[i] == (in < PIECES ? (uint8_t)('a' + in) : 'z');
    }
    CHECK(same, "bytes differ");
    mapped_close(&m);
}

TEST(writer_abandoned_leaves_the_old_file) {
    char path[PATH_SIZE];
    REQUIRE_OK(path_join(path, test_folder(), "a"));
    REQUIRE_OK(file_write(path, "old", 3));
    file_writer *w;
    REQUIRE_OK(writer_open(&w, path));
    REQUIRE_OK(writer_put(w, "new", 3));
    writer_abandon(w);
    writer_abandon(NULL);
    CHECK(file_is(path, "old"), "the old file is gone");
    CHECK(!path_exists(text("%s.tmp", path)), "the sibling is still there");
}

/* Runs fn in a child and returns its exit code, so that limits do not outlive the test. */
static int in_child(int (*fn)(const char *), const char *argument) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) _exit(fn(argument));
    int how = 0;
    if (child < 0 || waitpid(child, &how, 0) != child || !WIFEXITED(how)) return -1;
    return WEXITSTATUS(how);
}

static int write_beyond_limit(const char *path) {
    interrupt_install(); /* ignores SIGXFSZ */
    struct rlimit limit = {100000, 100000};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
    static char bytes[300000];
    if (file_write(path, bytes, sizeof bytes) != STATUS_IO) return 3;
    if (error_last()->id != F_DISK_FULL || error_exit_code(F_DISK_FULL) != 74) return 4;
    if (error_last()->fix[0] == '\0' || error_last()->why[0] == '\0') return 5;
    if (!file_is(path, "old") || path_exists(text("%s.tmp", path))) return 6;
    return mem_live_blocks() == 0 ? 0 : 7;
}

TEST(disk_full_leaves_the_old_file) {
    char path[PATH_SIZE];
    REQUIRE_OK(path_join(path, test_folder(), "a"));
    REQUIRE_OK(file_write(path, "old", 3));
    int code = in_child(write_beyond_limit, path);
    CHECK(code == 0, "check %d failed", code);
}

static int write_to_full_device(const char *unused) {
    (void)unused;
    if (file_append_line("/dev/full", "line") != STATUS_IO) return 2;
    return error_last()->id == F_DISK_FULL ? 0 : 3;
}

TEST(append_to_a_full_device) {
    if (!path_exists("/dev/full")) SKIP("no /dev/full here");
    int code = in_child(write_to_full_device, "");
    CHECK(code == 0, "check %d failed", code);
}

/* As a user without rights; root first becomes "nobody". */
static int write_without_right(const char *folder) {
    if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setgid(65534) != 0 || setuid(65534) != 0))
        return 2;
    if (file_write(in_folder(folder, "a"), "x", 1) != STATUS_IO) return 3;
    if (error_last()->id != F_PERMISSION || error_exit_code(F_PERMISSION) != 77) return 4;
    return mem_live_blocks() == 0 ? 0 : 5;
}

TEST(no_permission) {
    const char *folder = test_folder();
    REQUIRE(chmod(folder, 0500) == 0, "chmod");
    int code = in_child(write_without_right, folder);
    chmod(folder, 0700);
    if (code == 2) SKIP("root may write everywhere, and could not become nobody here");
    CHECK(code == 0, "check %d failed", code);
}

static status everything_with_files(const char *folder) {
    char path[PATH_SIZE], *bytes = NULL, **names = NULL;
    size_t n;
    int n_names = 0;
    TRY(path_join(path, folder, "a"));
    TRY(file_write(path, "0123456789", 10));
    TRY(file_read(path, 0, &bytes, &n));
    mem_free(bytes);
    TRY(folder_list(folder, &names, &n_names));
    folder_list_free(names, n_names);
    return STATUS_OK;
}

TEST(file_allocations_fail_cleanly) {
    const char *folder = test_folder();
    int64_t live = mem_live_blocks();
    bool passed = false;
    for (int64_t i = 1; i < 100 && !passed; i++) {
        mem_fail_at(i);
        status s = everything_with_files(folder);
        passed = !mem_failed();
        mem_fail_at(0);
        CHECK(passed ? s == STATUS_OK : s == STATUS_MEMORY, "call %" PRId64 ": %d", i, (int)s);
        CHECK(mem_live_blocks() == live, "call %" PRId64 " leaks", i);
        CHECK(!path_exists(in_folder(folder, "a.tmp")), "call %" PRId64 " leaves a sibling", i);
    }
    CHECK(passed, "never passed");
}

TEST(append_lines) {
    char path[PATH_SIZE];
    REQUIRE_OK(path_join(path, test_folder(), "log"));
    REQUIRE_OK(file_append_line(path, "one"));
    REQUIRE_OK(file_append_line(path, ""));
    REQUIRE_OK(file_append_line(path, "three"));
    CHECK(file_is(path, "one\n\nthree\n"), "other lines");
}

TEST(folders) {
    char deep[PATH_SIZE], outside[PATH_SIZE], **names;
    int n;
    const char *folder = test_folder();
    REQUIRE_OK(path_join(deep, folder, "x/y/z"));
    REQUIRE_OK(path_join(outside, folder, "outside"));
    REQUIRE_OK(folder_create(deep));
    REQUIRE_OK(folder_create(deep));
    CHECK(path_is_folder(deep), "not there");
    REQUIRE_OK(file_write(in_folder(deep, "b"), "1", 1));
    REQUIRE_OK(file_write(in_folder(deep, "a"), "1", 1));
    REQUIRE_OK(file_write(outside, "keep", 4));
    REQUIRE(symlink(outside, in_folder(deep, "link")) == 0, "symlink");
    REQUIRE(symlink(folder, in_folder(deep, "up")) == 0, "symlink");
    REQUIRE_OK(folder_list(deep, &names, &n));
    CHECK(n == 4 && strcmp(names[0], "a") == 0 && strcmp(names[3], "up") == 0, "n %d", n);
    folder_list_free(names, n);
    REQUIRE_OK(folder_remove(in_folder(folder, "x")));
    CHECK(!path_exists(in_folder(folder, "x")), "still there");
    CHECK(file_is(outside, "keep"), "removal followed a link");
    REQUIRE_OK(folder_remove(in_folder(folder, "x")));
    CHECK(folder_create(in_folder(outside, "x")) == STATUS_IO, "a folder inside a file");
    CHECK(folder_create(outside) == STATUS_IO, "a folder over a file");
    CHECK(error_last()->id == F_CANNOT_CREATE, "id %d", error_last()->id);
}

TEST(free_space_of_a_folder_to_come) {
    int64_t now, later;
    const char *folder = test_folder();
    REQUIRE_OK(disk_free(folder, &now));
    REQUIRE_OK(disk_free(in_folder(folder, "not/yet/there"), &later));
    CHECK(now > 0 && later > 0, "%" PRId64 " %" PRId64, now, later);
    REQUIRE_OK(disk_free("neither-this/nor-that", &now));
}

TEST(path_names) {
    CHECK(strcmp(path_name("a/b/c"), "c") == 0, "c");
    CHECK(strcmp(path_name("c"), "c") == 0, "c");
    CHECK(strcmp(path_name("a/"), "") == 0, "empty");
}
