/* file.c - whole files, atomic writing and mapping.
 *
 * How. A writer fills "<path>.tmp" through a buffer, then fsync(tmp), rename(tmp, path) and
 * fsync(folder): after a crash at any moment the final name holds either the old bytes or all of
 * the new ones. (Why three calls: rename orders names, not data, and the name itself lives in the
 * folder; Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014.)
 *
 * Mind. Two writers of the same path at once would share the sibling: a path has one writer.
 * System calls that a signal interrupts are repeated; only reading a pipe or terminal gives up,
 * because nobody knows when it would end.
 */
#include "base/file.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define WRITER_BUFFER ((size_t)256 << 10)
#define READ_LIMIT    ((size_t)1 << 30)
#define READ_FIRST    ((size_t)64 << 10)
/* One write call moves at most 0x7ffff000 bytes on Linux. */
#define WRITE_MOST ((size_t)1 << 30)

/* -- reading -- */

static status too_long(const char *path, size_t limit) {
    return FAIL(F_OVERFLOW, text("%s is too long", path), path,
                text("at most %zu bytes are read at once here", limit),
                "split the file, or check that it is the one you meant");
}

/* Makes room for one more read and the final NUL. */
static status grow(char **bytes, size_t used, size_t *room) {
    if (*room - used > 1) return STATUS_OK;
    size_t more = *room > 0 ? *room * 2 : READ_FIRST;
    char *moved = mem_resize(*bytes, more, 1);
    if (moved == NULL) return STATUS_MEMORY;
    *bytes = moved;
    *room = more;
    return STATUS_OK;
}

static status read_all(int fd, const char *path, size_t limit, char **bytes, size_t *n) {
    size_t used = 0, room = 0;
    struct stat s;
    if (fstat(fd, &s) == 0 && S_ISREG(s.st_mode)) {
        if ((uint64_t)s.st_size > limit) return too_long(path, limit);
        room = (size_t)s.st_size + 2; /* the NUL, and one byte to see the end without growing */
        *bytes = mem_alloc(room);
        if (*bytes == NULL) return STATUS_MEMORY;
    }
    for (;;) {
        TRY(grow(bytes, used, &room));
        ssize_t got = read(fd, *bytes + used, room - used - 1);
        if (got < 0 && errno == EINTR) {
            TRY(interrupt_status(text("reading %s", path), "run the same command again"));
            continue;
        }
        if (got < 0) return error_errno(errno, text("read %s", path), path);
        if (got == 0) break;
        used += (size_t)got;
        if (used > limit) return too_long(path, limit);
    }
    (*bytes)[used] = '\0';
    *n = used;
    return STATUS_OK;
}

status file_read(const char *path, size_t limit, char **bytes, size_t *n) {
    *bytes = NULL;
    *n = 0;
    bool standard_input = strcmp(path, "-") == 0;
    int fd = standard_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_errno(errno, text("read %s", path), path);
    status result = read_all(fd, standard_input ? "standard input" : path,
                             limit > 0 ? limit : READ_LIMIT, bytes, n);
    if (!standard_input) close(fd);
    if (result != STATUS_OK) {
        mem_free(*bytes);
        *bytes = NULL;
        *n = 0;
    }
    return result;
}

status mapped_open(mapped_file *m, const char *path) {
    *m = (mapped_file){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_errno(errno, text("open %s", path), path);
    status result = STATUS_OK;
    struct stat s;
    if (fstat(fd, &s) != 0) {
        result = error_errno(errno, text("look at %s", path), path);
    } else if (!S_ISREG(s.st_mode)) {
        result = FAIL(F_MISSING, text("%s is not a file", path), path,
                      S_ISDIR(s.st_mode) ? "it is a folder" : "only regular files can be mapped",
                      "name a file");
    } else if (s.st_size > 0) {
        void *data = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            result = error_errno(errno, text("map %s", path), path);
        } else {
            m->data = data;
            m->size = (size_t)s.st_size;
        }
    }
    close(fd);
    return result;
}

void mapped_close(mapped_file *m) {
    /* munmap takes a pointer to memory nobody writes: the cast drops const only for its type. */
    if (m->data != NULL) munmap((void *)(uintptr_t)m->data, m->size);
    *m = (mapped_file){0};
}

/* The whole pages that [data, data + bytes) touches, or with `inside` those it covers. */
static void advise(const void *data, size_t bytes, bool inside, int advice) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)data, to = from + bytes;
    from = inside ? (from + page - 1) / page * page : from / page * page;
    to = inside ? to / page * page : to;
    if (to > from) (void)madvise((void *)from, to - from, advice); /* absence costs speed only */
}

void mapped_expect(const void *data, size_t bytes) {
#if defined(MADV_POPULATE_READ)
    advise(data, bytes, false, MADV_POPULATE_READ);
#else
    advise(data, bytes, false, MADV_WILLNEED);
#endif
}

void mapped_forget(const void *data, size_t bytes) {
    advise(data, bytes, true, MADV_DONTNEED);
}

/* -- writing -- */

struct file_writer {
    char path[PATH_SIZE], sibling[PATH_SIZE];
    int fd;
    int failed; /* errno of the first failure; nothing can be committed after it */
    size_t used;
    int64_t bytes;
    char buffer[WRITER_BUFFER];
};

status writer_open(file_writer **out, const char *path) {
    *out = NULL;
    static const char suffix[] = ".tmp";
    size_t n = strlen(path);
    if (n + sizeof suffix > PATH_SIZE)
        return FAIL(F_BAD_VALUE, "a path is too long", text("%.200s...", path),
                    text("%zu bytes, at most %d are possible", n, PATH_SIZE - 5),
                    "choose a shorter path");
    file_writer *w = mem_alloc(sizeof *w);
    if (w == NULL) return STATUS_MEMORY;
    memcpy(w->path, path, n + 1);
    memcpy(w->sibling, path, n);
    memcpy(w->sibling + n, suffix, sizeof suffix);
    w->failed = 0;
    w->used = 0;
    w->bytes = 0;
    w->fd = open(w->sibling, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0) {
        status result = error_errno(errno, text("create %s", path), path);
        mem_free(w);
        return result;
    }
    *out = w;
    return STATUS_OK;
}

static status writer_failed(file_writer *w, int error) {
    w->failed = error;
    return error_errno(error, text("write %s", w->path),
                       text("%s, after %" PRId64 " bytes", w->path, w->bytes));
}

static status write_all(file_writer *w, const char *bytes, size_t n) {
    while (n > 0) {
        ssize_t put = write(w->fd, bytes, n < WRITE_MOST ? n : WRITE_MOST);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return writer_failed(w, errno);
        bytes += put;
        n -= (size_t)put;
    }
    return STATUS_OK;
}

static status writer_flush(file_writer *w) {
    size_t n = w->used;
    w->used = 0;
    return write_all(w, w->buffer, n);
}

status writer_put(file_writer *w, const void *bytes, size_t n) {
    if (w->failed != 0) return writer_failed(w, w->failed);
    if (n > WRITER_BUFFER - w->used) TRY(writer_flush(w));
    if (n >= WRITER_BUFFER) {
        TRY(write_all(w, bytes, n));
    } else if (n > 0) {
        memcpy(w->buffer + w->used, bytes, n);
        w->used += n;
    }
    w->bytes += (int64_t)n;
    return STATUS_OK;
}

int64_t writer_bytes(const file_writer *w) {
    return w->bytes;
}

static status writer_finish(file_writer *w) {
    if (w->failed != 0) return writer_failed(w, w->failed);
    TRY(writer_flush(w));
    if (fsync(w->fd) != 0) return writer_failed(w, errno);
    int fd = w->fd;
    w->fd = -1;
    if (close(fd) != 0) return writer_failed(w, errno);
    return file_rename(w->sibling, w->path);
}

status writer_commit(file_writer *w) {
    status result = writer_finish(w);
    if (result != STATUS_OK) {
        writer_abandon(w);
        return result;
    }
    mem_free(w);
    return STATUS_OK;
}

void writer_abandon(file_writer *w) {
    if (w == NULL) return;
    if (w->fd >= 0) close(w->fd);
    unlink(w->sibling);
    mem_free(w);
}

status file_write(const char *path, const void *bytes, size_t n) {
    file_writer *w;
    TRY(writer_open(&w, path));
    status result = writer_put(w, bytes, n);
    if (result != STATUS_OK) {
        writer_abandon(w);
        return result;
    }
    return writer_commit(w);
}

status file_append_line(const char *path, const char *line) {
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0) return error_errno(errno, text("append to %s", path), path);
    size_t n = strlen(line);
    char newline = '\n';
    /* writev only reads; its struct has no const. */
    struct iovec parts[2] = {{(void *)(uintptr_t)line, n}, {&newline, 1}};
    ssize_t put;
    do
        put = writev(fd, parts, 2);
    while (put < 0 && errno == EINTR);
    status result = STATUS_OK;
    if (put < 0)
        result = error_errno(errno, text("append to %s", path), path);
    else if ((size_t)put != n + 1)
        result = error_errno(ENOSPC, text("append a whole line to %s", path), path);
    if (close(fd) != 0 && result == STATUS_OK)
        result = error_errno(errno, text("append to %s", path), path);
    return result;
}
