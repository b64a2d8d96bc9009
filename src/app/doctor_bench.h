/* doctor_bench.h - the few numbers behind `fathom doctor --bench`. */
#ifndef FATHOM_APP_DOCTOR_BENCH_H
#define FATHOM_APP_DOCTOR_BENCH_H

#include "base/status.h"

typedef struct machine_speed {
    double f32_gflops, bf16_gflops,
        bf16_dot_gflops;          /* fused multiply-adds in registers, threads of the pool */
    double memory_bytes;          /* read and written per second by a copy beyond the caches */
    double disk_write, disk_read; /* bytes per second, up to and with fsync; 0 = no room */
    long long disk_bytes;         /* of the file that was written */
} machine_speed;

/* For about `seconds` in all, on the present pool. The disk is that of `folder`; the file has no name
 * and is gone with its descriptor. */
status machine_measure(double seconds, const char *folder, machine_speed *out) MUST_CHECK;

#endif
