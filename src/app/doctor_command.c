/* doctor_command.c - `fathom doctor`: what this machine has, and whether it is enough.
 *
 * One row per fact: name, value, verdict. A row that stops the main job makes the answer "no"
 * (F_NOT_READY, exit code 1); a row that only slows it down is a warning. --bench adds rows of what a
 * short measurement found; they judge nothing, because no number of theirs is too small to work with.
 */
#include "app/app.h"
#include "app/doctor_bench.h"

#include "base/file.h"
#include "base/pool.h"
#include "base/progress.h"
#include "kernels/kernels.h"

#include <lzma.h>
#include <openssl/crypto.h>
#include <string.h>
#include <utf8proc.h>
#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

#define MEMORY_NEEDED ((int64_t)1536 << 20) /* the default run of `start` */
#define DISK_NEEDED   ((int64_t)1 << 30)

typedef struct doctor_settings {
    double bench;
} doctor_settings;

static const option doctor_rows[] = {
    {"doctor", "bench", OPTION_DURATION, offsetof(doctor_settings, bench), "0",
     "Also measure arithmetic, memory and disk for about so long, such as 3s; 0 = do not.", 0, 600,
     .flags = OPTION_FLAG_ONLY},
};
static const option_table doctor_options = {doctor_rows, 1, sizeof(doctor_settings), NULL};
static const option_table *const doctor_tables[] = {&doctor_options, NULL};

typedef enum verdict { VERDICT_OK, VERDICT_WARN, VERDICT_NO } verdict;

typedef struct doctor {
    command_context *c;
    json_t *rows;
    int n_no;
    char first_no[256];
} doctor;

static status add_row(doctor *d, const char *name, verdict v, const char *value,
                      const char *remark) {
    static const char *const words[] = {"ok", "warn", "no"};
    say(d->c, "%-12s %-5s %s%s%s\n", name, words[v], value, remark[0] != '\0' ? "   " : "", remark);
    if (v == VERDICT_NO && d->n_no++ == 0)
        snprintf(d->first_no, sizeof d->first_no, "%s: %s (%s)", name, value, remark);
    json_t *row = json_pack("{ss ss ss ss}", "name", name, "verdict", words[v], "value", value,
                            "remark", remark);
    return row != NULL && json_array_append_new(d->rows, row) == 0 ? STATUS_OK : STATUS_MEMORY;
}

static status check_cpu(doctor *d) {
    TRY(add_row(d, "cpu", VERDICT_OK, kernels_cpu_text(), ""));
    cpu_tier best = kernels_best_tier(), used = kernels_tier();
    const char *remark =
        used < best ? text("%s is possible, --cpu or FATHOM_CPU holds it back", tier_name(best))
                    : "";
    TRY(add_row(d, "path", used < best ? VERDICT_WARN : VERDICT_OK, tier_name(used), remark));
    return add_row(d, "threads", VERDICT_OK, text("%d of %d usable", pool_threads(), pool_cpus()),
                   "");
}

static status check_memory(doctor *d) {
    int64_t free_bytes = memory_available();
    bool enough = free_bytes >= MEMORY_NEEDED;
    return add_row(d, "memory", enough ? VERDICT_OK : VERDICT_WARN,
                   text("%s available", bytes_text((double)free_bytes)),
                   enough ? ""
                          : text("fathom start wants %s; choose a smaller preset",
                                 bytes_text((double)MEMORY_NEEDED)));
}

static status check_disk(doctor *d, const char *name, const char *path) {
    int64_t free_bytes;
    TRY(disk_free(path, &free_bytes));
    bool enough = free_bytes >= DISK_NEEDED;
    return add_row(d, name, enough ? VERDICT_OK : VERDICT_NO,
                   text("%s free for %s", bytes_text((double)free_bytes), path),
                   enough ? "" : text("%s needed", bytes_text((double)DISK_NEEDED)));
}

static status check_cache(doctor *d) {
    char cache[PATH_SIZE];
    if (cache_folder(cache) == STATUS_OK) return check_disk(d, "cache", cache);
    return add_row(d, "cache", VERDICT_WARN, error_last()->what,
                   "downloads need HOME or XDG_CACHE_HOME");
}

static status check_libraries(doctor *d) {
    const char *list =
        text("jansson %s, xxhash %u.%u.%u, zstd %s, zlib %s, lzma %s, utf8proc %s",
             jansson_version_str(), XXH_versionNumber() / 10000, XXH_versionNumber() / 100 % 100,
             XXH_versionNumber() % 100, ZSTD_versionString(), zlibVersion(), lzma_version_string(),
             utf8proc_version());
    TRY(add_row(d, "libraries", VERDICT_OK, list, ""));
    return add_row(d, "crypto", VERDICT_OK, OpenSSL_version(OPENSSL_VERSION), "");
}

static status measure(doctor *d, double seconds) {
    machine_speed speed;
    TRY(machine_measure(seconds, ".", &speed));
    const char *threads =
        text("%d threads, in registers: the ceiling of every product", pool_threads());
    TRY(add_row(d, "f32", VERDICT_OK, text("%.4g GFLOP/s", speed.f32_gflops), threads));
    TRY(add_row(d, "bf16", VERDICT_OK, text("%.4g GFLOP/s", speed.bf16_gflops), threads));
    TRY(add_row(d, "bf16-dot", VERDICT_OK, text("%.4g GFLOP/s", speed.bf16_dot_gflops), threads));
    TRY(add_row(d, "bandwidth", VERDICT_OK, text("%.4g GB/s", speed.memory_bytes / 1e9),
                "copying, read and written bytes together"));
    if (speed.disk_bytes == 0)
        TRY(add_row(d, "disk speed", VERDICT_WARN, "not measured", "there is no room for a file"));
    else
        TRY(add_row(d, "disk speed", VERDICT_OK,
                    text("%.4g MB/s written, %.4g MB/s read", speed.disk_write / 1e6,
                         speed.disk_read / 1e6),
                    text("a file of %s, fsync included", bytes_text((double)speed.disk_bytes))));
    return result_set(d->c, "bench",
                      json_pack("{sf sf sf sf sf sf si}", "f32_gflops", speed.f32_gflops,
                                "bf16_gflops", speed.bf16_gflops, "bf16_dot_gflops",
                                speed.bf16_dot_gflops, "memory_bytes_per_second",
                                speed.memory_bytes, "disk_write_bytes_per_second", speed.disk_write,
                                "disk_read_bytes_per_second", speed.disk_read, "threads",
                                pool_threads()));
}

static status doctor_run(command_context *c) {
    const doctor_settings *s = c->settings[0];
    doctor d = {.c = c, .rows = json_array()};
    TRY(result_set(c, "rows", d.rows));
    TRY(check_cpu(&d));
    TRY(check_memory(&d));
    TRY(check_disk(&d, "disk", "."));
    TRY(check_cache(&d));
    TRY(check_libraries(&d));
    if (s->bench > 0 && c->dry_run) say(c, "would measure for about %s\n", duration_text(s->bench));
    if (s->bench > 0 && !c->dry_run) TRY(measure(&d, s->bench));
    if (d.n_no > 0)
        return FAIL(F_NOT_READY, "this machine is not ready", "fathom doctor", d.first_no,
                    "free some space or use -C to work on another disk");
    return command_next(c, "fathom start");
}

const command doctor_command = {
    .name = "doctor",
    .summary = "what this machine has, and whether it is enough",
    .examples = "fathom doctor\nfathom doctor --bench 3s\nFATHOM_CPU=avx2 fathom doctor --json",
    .notes =
        "With --bench it writes a file without a name into this folder, which is gone at the end.\n"
        "fathom bench floors measures more, and longer.",
    .options = doctor_tables,
    .run = doctor_run,
    .threads = true,
};
