/* memory.c - heap wrappers with failure injection, and arenas on reserved address space. */
#include "base/memory.h"

#include "base/checked.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)
#define ALIGNMENT ((size_t)64)

static _Atomic int64_t fail_countdown; /* 0 = off, n = the n-th call from now fails */
static _Atomic bool failed;
static _Atomic int64_t live_blocks;

void mem_fail_at(int64_t n) {
    atomic_store(&failed, false);
    atomic_store(&fail_countdown, n);
}
bool mem_failed(void) {
    return atomic_load(&failed);
}
int64_t mem_live_blocks(void) {
    return atomic_load(&live_blocks);
}

static bool inject_failure(void) {
    int64_t n = atomic_load_explicit(&fail_countdown, memory_order_relaxed);
    if (n <= 0) return false;
    if (atomic_fetch_sub(&fail_countdown, 1) != 1) return false;
    atomic_store(&failed, true);
    return true;
}

static void report_no_memory(size_t bytes, const char *where) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        status limited = FAIL(
            F_NO_MEMORY, text("cannot allocate %zu bytes", bytes), where,
            text("this shell limits the address space to %llu KiB (ulimit -v); large ranges are "
                 "reserved, and only what is needed of them is used",
                 (unsigned long long)limit.rlim_cur / 1024),
            "ulimit -v unlimited");
        (void)limited;
        return;
    }
    status ignored = FAIL(F_NO_MEMORY, text("cannot allocate %zu bytes", bytes), where,
                          "the system has no memory left for this process",
                          "close other programs, or choose a smaller model, batch or context");
    (void)ignored;
}

static void *counted(void *block, size_t bytes) {
    if (block == NULL)
        report_no_memory(bytes, "heap");
    else
        atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
    return block;
}

void *mem_alloc(size_t bytes) {
    return counted(inject_failure() ? NULL : malloc(bytes > 0 ? bytes : 1), bytes);
}

void *mem_alloc_uninjected(size_t bytes) {
    return counted(malloc(bytes > 0 ? bytes : 1), bytes);
}

void *mem_zalloc(size_t count, size_t size) {
    size_t bytes;
    if (!size_mul(&bytes, count, size)) {
        report_no_memory(SIZE_MAX, "heap");
        return NULL;
    }
    return counted(inject_failure() ? NULL : calloc(1, bytes > 0 ? bytes : 1), bytes);
}

void *mem_resize(void *block, size_t count, size_t size) {
    size_t bytes;
    if (!size_mul(&bytes, count, size)) {
        report_no_memory(SIZE_MAX, "heap");
        return NULL;
    }
    if (block == NULL) return mem_alloc(bytes);
    void *moved = inject_failure() ? NULL : realloc(block, bytes > 0 ? bytes : 1);
    if (moved == NULL) report_no_memory(bytes, "heap");
    return moved;
}

char *mem_strndup(const char *bytes, size_t n) {
    size_t length = strnlen(bytes, n);
    char *copy = mem_alloc(length + 1);
    if (copy == NULL) return NULL;
    memcpy(copy, bytes, length);
    copy[length] = '\0';
    return copy;
}

char *mem_strdup(const char *string) {
    return mem_strndup(string, SIZE_MAX - 1);
}

void mem_free(void *block) {
    if (block == NULL) return;
    atomic_fetch_sub_explicit(&live_blocks, 1, memory_order_relaxed);
    free(block);
}

status arena_init(arena *a, const char *name, size_t limit) {
    memset(a, 0, sizeof *a);
    if (limit > SIZE_MAX - 2 * HUGE_PAGE)
        return FAIL(F_OVERFLOW, "arena too large", name, "the size does not fit the address space",
                    "ask for less");
    limit = size_round_up(limit > 0 ? limit : 1, HUGE_PAGE);
    /* One huge page more than asked for, so that the start can be aligned to one. */
    char *map = inject_failure() ? MAP_FAILED
                                 : mmap(NULL, limit + HUGE_PAGE, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) {
        report_no_memory(limit, name);
        return STATUS_MEMORY;
    }
    size_t skip = (HUGE_PAGE - (uintptr_t)map % HUGE_PAGE) % HUGE_PAGE;
    if (skip > 0) munmap(map, skip);
    if (skip < HUGE_PAGE) munmap(map + skip + limit, HUGE_PAGE - skip);
    a->base = map + skip;
    a->limit = limit;
    a->name = name;
    (void)madvise(a->base, limit, MADV_HUGEPAGE); /* advice: absence costs speed only */
    return STATUS_OK;
}

void arena_clear(arena *a) {
    if (a->base != NULL) munmap(a->base, a->limit);
    memset(a, 0, sizeof *a);
}

void *arena_alloc(arena *a, size_t bytes) {
    size_t need = bytes <= SIZE_MAX - ALIGNMENT ? size_round_up(bytes, ALIGNMENT) : SIZE_MAX;
    if (need > a->limit - a->used || inject_failure()) {
        report_no_memory(bytes,
                         text("arena %s: %zu of %zu bytes used", a->name, a->used, a->limit));
        return NULL;
    }
    void *block = a->base + a->used;
    a->used += need;
    if (a->used > a->peak) a->peak = a->used;
    return block;
}

void *arena_zalloc(arena *a, size_t bytes) {
    void *block = arena_alloc(a, bytes);
    if (block != NULL) memset(block, 0, bytes);
    return block;
}

char *arena_strdup(arena *a, const char *string) {
    size_t n = strlen(string) + 1;
    char *copy = arena_alloc(a, n);
    if (copy != NULL) memcpy(copy, string, n);
    return copy;
}

void arena_trim(arena *a) {
    if (a->base == NULL) return;
    size_t keep = size_round_up(a->used, HUGE_PAGE);
    if (keep < a->limit) (void)madvise(a->base + keep, a->limit - keep, MADV_DONTNEED);
}

/* The start of a small file of the kernel, without the heap: steps of training ask for it. */
static size_t read_start(const char *path, char *out, size_t room) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t n = 0;
    ssize_t got = 1;
    if (fd < 0) return 0;
    while (got > 0 && n < room) {
        got = read(fd, out + n, room - n);
        n += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    return n;
}

/* The number behind `key` at the start of a line, -1 if there is none. */
static int64_t proc_value(const char *path, const char *key) {
    char bytes[4096];
    size_t n = read_start(path, bytes, sizeof bytes - 1), length = strlen(key);
    bytes[n] = '\0';
    for (const char *line = bytes; line != NULL && *line != '\0';) {
        char *end = NULL;
        if (strncmp(line, key, length) == 0) {
            long long value = strtoll(line + length, &end, 10);
            if (end != line + length) return (int64_t)value;
        }
        line = strchr(line, '\n');
        if (line != NULL) line++;
    }
    return -1;
}

int64_t memory_peak_rss(void) {
    int64_t kib = proc_value("/proc/self/status", "VmHWM:");
    return kib < 0 ? -1 : kib * 1024;
}

int64_t memory_available(void) {
    int64_t kib = proc_value("/proc/meminfo", "MemAvailable:");
    int64_t bytes = kib < 0 ? (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) : kib * 1024;
    int64_t cgroup = proc_value("/sys/fs/cgroup/memory.max", "");
    int64_t in_use = proc_value("/sys/fs/cgroup/memory.current", "");
    if (cgroup > 0 && in_use >= 0 && cgroup - in_use < bytes) bytes = cgroup - in_use;
    return bytes;
}
