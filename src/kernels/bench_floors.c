/* bench_floors.c - what this machine can do at best: the denominators of every ratio.
 *
 * Memory: read (probes.c) and memcpy over working sets that fit L1, L2, L3 and none. Arithmetic:
 * register-resident loops. Hand-off: an empty job on the pool. A thread's part is one pool chunk,
 * and the best of several tries counts, so that a helper that slept through the first does not.
 *
 * Before and after, the time this process got is compared with the time the CPUs worked: "load/
 * other" is the share of the CPUs that others used meanwhile, "load/steal" what the hypervisor
 * took, "load/pressure" the kernel's own figure for the last ten seconds.
 */
#include "kernels/bench_internal.h"
#include "kernels/probes.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define BLAS_SHARE    0.9 /* of OpenBLAS's sgemm that the f32 floor must reach */
#define AMX_SHARE     12  /* times the f32 floor that the AMX floor must reach */
#define PEAK_SECONDS  0.2 /* of measuring one peak */
#define MEGA          ((size_t)1 << 20)
#define TRAFFIC_BYTES (64 * MEGA) /* beyond the caches of a core */

/* -- tables and time -- */

status bench_table_add(bench_table *t, bench_row row) {
    if (t->n == t->capacity) {
        int capacity = t->capacity > 0 ? 2 * t->capacity : 64;
        bench_row *rows = mem_resize(t->rows, (size_t)capacity, sizeof *rows);
        if (rows == NULL) return STATUS_MEMORY;
        t->rows = rows;
        t->capacity = capacity;
    }
    row.ratio = row.floor > 0 ? row.value / row.floor : 0;
    t->rows[t->n++] = row;
    return STATUS_OK;
}

status bench_table_put(bench_table *t, const char *name, double value, const char *unit,
                       double floor) {
    bench_row row = {.tier = kernels_tier(),
                     .threads = pool_threads(),
                     .value = value,
                     .unit = unit,
                     .floor = floor};
    snprintf(row.name, sizeof row.name, "%s", name);
    return bench_table_add(t, row);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double bench_median(double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, ascending);
    return n % 2 != 0 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

const bench_row *bench_table_find(const bench_table *t, const char *name, int threads) {
    for (int i = 0; i < t->n; i++)
        if (t->rows[i].threads == threads && strcmp(t->rows[i].name, name) == 0) return &t->rows[i];
    return NULL;
}

void bench_table_clear(bench_table *t) {
    mem_free(t->rows);
    *t = (bench_table){0};
}

status bench_add(bench_table *t, const char *name, int threads, double value, const char *unit,
                 double floor) {
    bench_row row = {
        .tier = kernels_tier(), .threads = threads, .value = value, .unit = unit, .floor = floor};
    snprintf(row.name, sizeof row.name, "%s", name);
    return bench_table_add(t, row);
}

double bench_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double bench_best(void (*run)(void *context), void *context, double budget) {
    double best = 1e30, end = bench_now() + budget;
    for (int i = 0; i < 3 || bench_now() < end; i++) {
        double start = bench_now();
        run(context);
        double seconds = bench_now() - start;
        if (seconds < best) best = seconds;
    }
    return best;
}

float *bench_array(arena *a, int64_t n) {
    float *x = arena_alloc(a, (size_t)n * sizeof *x);
    for (int64_t i = 0; x != NULL && i < n; i++)
        x[i] = (float)((uint64_t)i * 2654435761u >> 12 & 1023) / 512.0f - 1.0f;
    return x;
}

/* -- arithmetic -- */

typedef struct peak_job {
    double (*run)(int64_t rounds);
    int64_t rounds;
    double operations; /* of one chunk */
    int threads;
} peak_job;

static void peak_chunk(void *context, int64_t chunk) {
    peak_job *j = context;
    double operations = j->run(j->rounds);
    if (chunk == 0) j->operations = operations;
}
static void peak_run(void *context) {
    peak_job *j = context;
    pool_for(j->threads, peak_chunk, j);
}

/* G operations per second on the present pool. */
static double peak_of(double (*run)(int64_t), int64_t rounds, double budget) {
    peak_job j = {.run = run, .rounds = rounds, .threads = pool_threads()};
    double seconds = bench_best(peak_run, &j, budget);
    return j.operations * j.threads / seconds * 1e-9;
}

static const tier_probes *probes_of(cpu_tier tier) {
#if defined(FATHOM_X86_TIERS)
    if (tier >= TIER_AVX512) return &probes_avx512;
    if (tier == TIER_AVX2) return &probes_avx2;
#elif defined(FATHOM_ARM_TIERS)
    if (tier >= TIER_NEON) return &probes_neon;
#else
    (void)tier;
#endif
    return &probes_portable;
}

static double f32_peak_of(cpu_tier tier, double budget) {
    int64_t rounds = tier == TIER_PORTABLE ? 10000 : 100000;
    return peak_of(probes_of(tier)->f32_peak, rounds, budget);
}

static double bf16_peak_of(cpu_tier tier, double budget) {
#if defined(FATHOM_X86_TIERS)
    if (tier == TIER_AMX) return peak_of(amx_peak, 30000, budget);
#elif defined(FATHOM_ARM_TIERS)
    if (tier == TIER_NEON_BF16) return peak_of(neon_bf16_peak, 5000, budget);
#endif
    return peak_of(probes_of(tier)->bf16_peak, tier == TIER_PORTABLE ? 200 : 5000, budget);
}

/* Without an instruction of its own the chain of bf16-dot is as many FMAs as that of f32. */
static double dot_peak_of(cpu_tier tier, double budget) {
#if defined(FATHOM_X86_TIERS)
    if (tier == TIER_AVX512_BF16) return peak_of(avx512_bf16_peak, 50000, budget);
#endif
    return f32_peak_of(tier, budget);
}

double bench_peak_here(gemm_type type, double budget) {
    cpu_tier tier = kernels_tier();
    return type == GEMM_BF16       ? bf16_peak_of(tier, budget)
           : type == GEMM_BF16_DOT ? dot_peak_of(tier, budget)
                                   : f32_peak_of(tier, budget);
}

status bench_peak(gemm_type type, int threads, double *gflops) {
    int before = pool_threads();
    TRY(pool_start(threads));
    *gflops = bench_peak_here(type, PEAK_SECONDS);
    return pool_start(before);
}

static status arithmetic_rows(bench_table *t, int threads) {
    for (cpu_tier tier = TIER_PORTABLE; tier < TIER_COUNT; tier++) {
        if (!kernels_offer(tier)) continue;
        bench_row row = {.tier = tier, .threads = threads, .unit = "GFLOP/s"};
        snprintf(row.name, sizeof row.name, "floor/f32/%s", tier_name(tier));
        row.value = f32_peak_of(tier, PEAK_SECONDS);
        TRY(bench_table_add(t, row));
        snprintf(row.name, sizeof row.name, "floor/bf16/%s", tier_name(tier));
        row.value = bf16_peak_of(tier, PEAK_SECONDS);
        TRY(bench_table_add(t, row));
        snprintf(row.name, sizeof row.name, "floor/bf16-dot/%s", tier_name(tier));
        row.value = dot_peak_of(tier, PEAK_SECONDS);
        TRY(bench_table_add(t, row));
    }
    return STATUS_OK;
}

/* -- OpenBLAS as a witness -- */

typedef void sgemm_fn(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a,
                      int lda, const float *b, int ldb, float beta, float *c, int ldc);

typedef struct blas_job {
    sgemm_fn *sgemm;
    const float *a, *b;
    float *c;
} blas_job;
#define BLAS_SIZE 512

static void blas_run(void *context) {
    const blas_job *j = context;
    j->sgemm(101, 111, 111, BLAS_SIZE, BLAS_SIZE, BLAS_SIZE, 1.0f, j->a, BLAS_SIZE, j->b, BLAS_SIZE,
             0.0f, j->c, BLAS_SIZE); /* row-major, nothing transposed */
}

/* One-thread GFLOP/s of sgemm; 0 if the library is not installed. It stays loaded: libraries of
 * this kind do not expect to be unloaded. */
static status blas_speed(double *gflops) {
    *gflops = 0;
    setenv("OPENBLAS_NUM_THREADS", "1", 1); /* read when the library is loaded: no threads */
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return STATUS_OK;
    void *symbol = dlsym(library, "cblas_sgemm");
    blas_job j = {0};
    memcpy(&j.sgemm, &symbol, sizeof j.sgemm);
    if (symbol == NULL) return STATUS_OK;
    arena memory = {0};
    TRY(arena_init(&memory, "bench", 16 * MEGA));
    int64_t n = BLAS_SIZE * BLAS_SIZE;
    j.a = bench_array(&memory, n);
    j.b = bench_array(&memory, n);
    j.c = bench_array(&memory, n);
    if (j.c != NULL && j.b != NULL && j.a != NULL)
        *gflops = 2.0 * (double)n * BLAS_SIZE / bench_best(blas_run, &j, 0.3) * 1e-9;
    arena_clear(&memory);
    return STATUS_OK;
}

static status floors_credible(bench_table *t) {
    cpu_tier best = kernels_best_tier();
    double blas;
    TRY(blas_speed(&blas));
    const bench_row *f32 = bench_table_find(t, text("floor/f32/%s", tier_name(best)), 1);
    const bench_row *amx = bench_table_find(t, "floor/bf16/amx", 1);
    if (f32 == NULL) return STATUS_OK;
    double peak = f32->value, tiles = amx != NULL ? amx->value : 0;
    if (blas > 0) TRY(bench_add(t, "witness/openblas sgemm", 1, blas, "GFLOP/s", peak));
    if (peak < BLAS_SHARE * blas)
        return FAIL(F_BENCH_FLOOR, text("f32 peak measured as %.0f GFLOP/s", peak), "bench floors",
                    text("OpenBLAS's sgemm reaches %.0f in the same run, so something else used "
                         "the CPU meanwhile",
                         blas),
                    "stop other programs and run the benchmark again");
    if (amx != NULL && tiles < AMX_SHARE * peak)
        return FAIL(F_BENCH_FLOOR, text("AMX peak measured as %.0f GFLOP/s", tiles), "bench floors",
                    text("that is less than %d times the f32 peak of %.0f, so something else used "
                         "the CPU meanwhile",
                         AMX_SHARE, peak),
                    "stop other programs and run the benchmark again");
    return STATUS_OK;
}

/* -- memory -- */

typedef struct memory_job {
    char *from, *to;
    size_t bytes; /* of one thread */
    int repeat, threads;
    uint32_t (*read)(const void *, size_t);
    _Atomic uint32_t sink; /* keeps the reads */
} memory_job;

static void read_chunk(void *context, int64_t chunk) {
    memory_job *j = context;
    for (int i = 0; i < j->repeat; i++)
        atomic_fetch_add(&j->sink, j->read(j->from + (size_t)chunk * j->bytes, j->bytes));
}
static void copy_chunk(void *context, int64_t chunk) {
    memory_job *j = context;
    size_t at = (size_t)chunk * j->bytes;
    for (int i = 0; i < j->repeat; i++) {
        memcpy(j->to + at, j->from + at, j->bytes);
        __asm__ volatile("" ::: "memory");
    }
}
static void read_run(void *context) {
    memory_job *j = context;
    pool_for(j->threads, read_chunk, j);
}
static void copy_run(void *context) {
    memory_job *j = context;
    pool_for(j->threads, copy_chunk, j);
}

status bench_traffic(double budget, double *bytes_per_second) {
    arena memory = {0};
    memory_job j = {.threads = pool_threads(), .repeat = 1};
    j.bytes = TRAFFIC_BYTES / (size_t)j.threads;
    TRY(arena_init(&memory, "bench", 2 * TRAFFIC_BYTES));
    j.from = arena_alloc(&memory, TRAFFIC_BYTES);
    j.to = j.from != NULL ? arena_alloc(&memory, TRAFFIC_BYTES) : NULL;
    if (j.to != NULL) {
        memset(j.from, 1, TRAFFIC_BYTES);
        double moved = 2.0 * (double)j.bytes * j.threads; /* read and written */
        *bytes_per_second = moved / bench_best(copy_run, &j, budget);
    }
    status s = j.to != NULL ? STATUS_OK : STATUS_MEMORY;
    arena_clear(&memory);
    return s;
}

status bench_read(double budget, double *bytes_per_second) {
    arena memory = {0};
    memory_job j = {.threads = pool_threads(),
                    .read = probes_of(kernels_best_tier())->read,
                    .bytes = 256 * MEGA / (size_t)pool_threads(),
                    .repeat = 1};
    TRY(arena_init(&memory, "bench", 256 * MEGA));
    j.from = arena_alloc(&memory, 256 * MEGA);
    if (j.from != NULL) {
        memset(j.from, 1, 256 * MEGA);
        *bytes_per_second = (double)j.bytes * j.threads / bench_best(read_run, &j, budget);
    }
    status s = j.from != NULL ? STATUS_OK : STATUS_MEMORY;
    arena_clear(&memory);
    return s;
}

static status memory_rows(bench_table *t, arena *memory, int threads) {
    static const struct {
        const char *name;
        size_t bytes; /* all threads together, except the two smallest */
    } level[] = {
        {"32 KiB", 16 << 10}, {"512 KiB", 256 << 10}, {"8 MiB", 8 << 20}, {"256 MiB", 256 << 20}};
    size_t mark = arena_mark(memory);
    memory_job j = {.threads = threads, .read = probes_of(kernels_best_tier())->read};
    j.from = arena_zalloc(memory, 256 * MEGA);
    j.to = arena_zalloc(memory, 128 * MEGA);
    if (j.from == NULL || j.to == NULL) return STATUS_MEMORY;
    memset(j.from, 1, 256 * MEGA);
    for (size_t i = 0; i < sizeof level / sizeof level[0]; i++) {
        bool own = i < 2; /* private caches: each thread has its own working set */
        size_t per_thread = own ? 2 * level[i].bytes : level[i].bytes / (size_t)threads;
        j.bytes = per_thread;
        j.repeat = (int)max_i64(1, (int64_t)(8 * MEGA / per_thread));
        double total = (double)per_thread * j.repeat * threads;
        TRY(bench_add(t, text("memory/read/%s", level[i].name), threads,
                      total / bench_best(read_run, &j, 0.15) * 1e-9, "GB/s", 0));
        j.bytes = per_thread / 2; /* source and copy together fill the level */
        TRY(bench_add(t, text("memory/copy/%s", level[i].name), threads,
                      total / 2 / bench_best(copy_run, &j, 0.15) * 1e-9, "GB/s", 0));
    }
    arena_reset(memory, mark);
    return STATUS_OK;
}

/* The largest read again, from pages of 4 KiB: what asking for huge ones gains (memory.h). */
static status small_pages_row(bench_table *t, int threads) {
    memory_job j = {.threads = threads,
                    .read = probes_of(kernels_best_tier())->read,
                    .bytes = 256 * MEGA / (size_t)threads,
                    .repeat = 1};
    arena memory = {0};
    TRY(arena_init(&memory, "bench, small pages", 256 * MEGA));
    (void)madvise(memory.base, memory.limit, MADV_NOHUGEPAGE);
    status s = STATUS_MEMORY;
    j.from = arena_alloc(&memory, 256 * MEGA);
    if (j.from != NULL) {
        memset(j.from, 1, 256 * MEGA);
        double bytes = (double)j.bytes * threads;
        s = bench_add(t, "memory/read/256 MiB, 4 KiB pages", threads,
                      bytes / bench_best(read_run, &j, 0.15) * 1e-9, "GB/s", 0);
    }
    arena_clear(&memory);
    return s;
}

/* -- hand-off and load -- */

static void nothing(void *context, int64_t chunk) {
    (void)context, (void)chunk;
}
static void hand_off_run(void *context) {
    for (int i = 0; i < 1000; i++)
        pool_for(*(int *)context, nothing, NULL);
}

typedef struct load_mark {
    double own, busy, steal; /* seconds */
    double wall;
} load_mark;

static load_mark load_now(void) {
    load_mark m = {.wall = bench_now(), .own = (double)clock() / CLOCKS_PER_SEC};
    FILE *f = fopen("/proc/stat", "r");
    if (f == NULL) return m;
    long long v[8] = {0}; /* user nice system idle iowait irq softirq steal */
    if (fscanf(f, "cpu %lld %lld %lld %lld %lld %lld %lld %lld", &v[0], &v[1], &v[2], &v[3], &v[4],
               &v[5], &v[6], &v[7]) == 8) {
        m.busy = (double)(v[0] + v[1] + v[2] + v[5] + v[6]) / 100;
        m.steal = (double)v[7] / 100;
    }
    fclose(f);
    return m;
}

static status load_rows(bench_table *t, const load_mark *before) {
    load_mark now = load_now();
    double cpus = (now.wall - before->wall) * pool_cpus();
    double other = now.busy - before->busy - (now.own - before->own);
    TRY(bench_add(t, "load/other", 0, other > 0 ? 100 * other / cpus : 0, "%", 0));
    TRY(bench_add(t, "load/steal", 0, 100 * (now.steal - before->steal) / cpus, "%", 0));
    FILE *f = fopen("/proc/pressure/cpu", "r");
    if (f == NULL) return STATUS_OK;
    double pressure = 0;
    int read = fscanf(f, "some avg10=%lf", &pressure);
    fclose(f);
    return read == 1 ? bench_add(t, "load/pressure", 0, pressure, "%", 0) : STATUS_OK;
}

static status floors_run(bench_table *t, arena *memory) {
    int counts[2] = {1, pool_cpus()};
    for (int i = 0; i < 2 && (i == 0 || counts[1] > 1); i++) {
        TRY(pool_start(counts[i]));
        TRY(arithmetic_rows(t, counts[i]));
        TRY(memory_rows(t, memory, counts[i]));
        TRY(small_pages_row(t, counts[i]));
        int chunks = 2 * counts[i];
        if (counts[i] > 1)
            TRY(bench_add(t, "pool/hand-off", counts[i],
                          bench_best(hand_off_run, &chunks, 0.1) * 1e3, "us", 0));
    }
    return STATUS_OK;
}

status bench_floors(bench_table *t) {
    int threads = pool_threads();
    load_mark before = load_now();
    arena memory = {0};
    TRY(arena_init(&memory, "bench", 512 * MEGA));
    status s = floors_run(t, &memory);
    arena_clear(&memory);
    if (s == STATUS_OK) s = pool_start(threads);
    if (s == STATUS_OK) s = load_rows(t, &before);
    return s == STATUS_OK ? floors_credible(t) : s;
}
