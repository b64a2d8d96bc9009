/* doctor_bench.c - see doctor_bench.h.
 *
 * How: a fifth of the time each for f32, bf16, bf16-dot, memory (kernels_bench.h: best of several, because
 * other work on the machine only ever makes them longer) and the disk. The disk is written in pieces
 * of 1 MiB with bytes that do not compress, and the time of fsync counts; then its pages are given up
 * and the file is read again.
 *
 * Mind: posix_fadvise is a request. Where it is not heard (tmpfs), reading shows the speed of memory.
 */
#include "app/doctor_bench.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/rng.h"
#include "kernels/kernels_bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE     ((size_t)1 << 20)
#define FILE_MOST ((long long)512 << 20)

/* A file without a name. */
static status open_nameless(const char *folder, int *fd) {
    char path[PATH_SIZE];
    TRY(path_join(path, folder, ".fathom-doctor-XXXXXX"));
    *fd = mkostemp(path, O_CLOEXEC);
    if (*fd < 0) return error_errno(errno, text("write a file in %s", folder), folder);
    unlink(path);
    return STATUS_OK;
}

/* One piece in whole; a short transfer is an error of its own. */
static bool move_piece(int fd, char *piece, bool writing) {
    for (size_t done = 0; done < PIECE;) {
        ssize_t n =
            writing ? write(fd, piece + done, PIECE - done) : read(fd, piece + done, PIECE - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

static status write_pieces(int fd, char *piece, double seconds, long long most,
                           machine_speed *out) {
    double began = clock_seconds();
    do {
        if (!move_piece(fd, piece, true)) return error_errno(errno, "write to the disk", "doctor");
        out->disk_bytes += (long long)PIECE;
    } while (clock_seconds() - began < seconds && out->disk_bytes < most && !interrupted());
    if (fsync(fd) != 0) return error_errno(errno, "write to the disk", "doctor");
    out->disk_write = (double)out->disk_bytes / (clock_seconds() - began);
    return STATUS_OK;
}

static status read_pieces(int fd, char *piece, machine_speed *out) {
    if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0 || lseek(fd, 0, SEEK_SET) != 0)
        return error_errno(errno, "read from the disk", "doctor");
    double began = clock_seconds();
    for (long long at = 0; at < out->disk_bytes; at += (long long)PIECE)
        if (!move_piece(fd, piece, false))
            return error_errno(errno, "read from the disk", "doctor");
    out->disk_read = (double)out->disk_bytes / (clock_seconds() - began);
    return STATUS_OK;
}

static status measure_disk(double seconds, const char *folder, machine_speed *out) {
    int64_t free_bytes;
    int fd;
    TRY(disk_free(folder, &free_bytes));
    long long most = free_bytes / 4 < FILE_MOST ? free_bytes / 4 : FILE_MOST;
    if (most < (long long)PIECE) return STATUS_OK;
    char *piece = mem_alloc(PIECE);
    if (piece == NULL) return STATUS_MEMORY;
    rng r = rng_at(1, RNG_BENCH, 0);
    for (size_t i = 0; i < PIECE; i += sizeof(uint64_t)) {
        uint64_t word = rng_u64(r, i);
        memcpy(piece + i, &word, sizeof word);
    }
    status s = open_nameless(folder, &fd);
    if (s == STATUS_OK) {
        s = write_pieces(fd, piece, seconds / 2, most, out);
        if (s == STATUS_OK) s = read_pieces(fd, piece, out);
        close(fd);
    }
    mem_free(piece);
    return s;
}

status machine_measure(double seconds, const char *folder, machine_speed *out) {
    double part = seconds / 5;
    *out = (machine_speed){.disk_bytes = 0};
    out->f32_gflops = bench_peak_here(GEMM_F32, part);
    out->bf16_gflops = bench_peak_here(GEMM_BF16, part);
    out->bf16_dot_gflops = bench_peak_here(GEMM_BF16_DOT, part);
    TRY(bench_traffic(part, &out->memory_bytes));
    return measure_disk(part, folder, out);
}
