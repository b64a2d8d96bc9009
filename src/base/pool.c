/* pool.c - the claim pool.
 *
 * One 64-bit word holds {generation, chunks not yet claimed}. A claim is a compare-and-swap that
 * decrements the lower half, so a late helper can never take a chunk of a newer job: the word it
 * read no longer matches. The job's other fields are read only after a successful claim, and the
 * owner rewrites them only once every claimed chunk is done, so they need no lock.
 *
 * Measured elsewhere on two cores: a barrier that sleeps costs 30 us per
 * hand-over, one that only spins collapses beside a busy process; claiming does neither.
 */
#include "base/pool.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_THREADS 256
#define SPIN_NS     30000
#define CACHE_LINE  128

static struct {
    _Alignas(CACHE_LINE) _Atomic uint64_t word; /* generation << 32 | chunks left to claim */
    _Alignas(CACHE_LINE) _Atomic uint32_t done; /* chunks finished */
    _Atomic uint32_t owner_sleeps;
    _Alignas(CACHE_LINE) _Atomic uint32_t wake_sequence; /* helpers sleep on it */
    _Atomic uint32_t sleepers;
    _Atomic bool stopping;
    _Alignas(CACHE_LINE) pool_fn *fn;
    void *context;
    uint32_t n_chunks;
    pool_lane *lanes; /* one for each thread while spans are recorded */
    int threads;
    pthread_t helper[MAX_THREADS];
} pool = {.threads = 1};

static _Atomic bool taken;           /* some thread owns a job */
static _Thread_local bool inside;    /* this thread is running a chunk or owns a job */
static _Thread_local int lane_index; /* 0 = not a helper */
static _Thread_local arena scratch;
static pthread_key_t scratch_key; /* its destructor gives the scratch of an ending thread back */
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static bool scratch_keyed;

static void futex_wait(_Atomic uint32_t *word, uint32_t expected) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}
static void futex_wake_all(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, MAX_THREADS, NULL, NULL, 0);
}

static void cpu_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void pool_flush_denormals(void) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040u);
#elif defined(__aarch64__)
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    __asm__ volatile("msr fpcr, %0" ::"r"(fpcr | (uint64_t)1 << 24));
#endif
}

/* One chunk more of a job, in this thread's lane. Before the chunk counts as done, so that the owner
 * sees all of it when the job has ended. */
static void note_chunk(pool_lane *lane, uint32_t job, int64_t began_ns, int64_t ended_ns) {
    pool_span *last = lane->n > 0 ? &lane->spans[lane->n - 1] : NULL;
    if (last == NULL || last->job != job) {
        if (lane->n == lane->room) {
            lane->lost++;
            return;
        }
        last = &lane->spans[lane->n++];
        *last = (pool_span){.began = 1e-9 * (double)began_ns, .job = job};
    }
    last->ended = 1e-9 * (double)ended_ns;
    last->chunks++;
}

static void run_chunk(uint32_t job, int64_t chunk) {
    if (pool.lanes == NULL) {
        pool.fn(pool.context, chunk);
        return;
    }
    int64_t began = now_ns();
    pool.fn(pool.context, chunk);
    note_chunk(&pool.lanes[lane_index], job, began, now_ns());
}

/* Runs chunks of the current job until none is left to claim. */
static void claim_chunks(void) {
    uint64_t word = atomic_load_explicit(&pool.word, memory_order_acquire);
    while ((uint32_t)word > 0) {
        if (!atomic_compare_exchange_weak_explicit(&pool.word, &word, word - 1,
                                                   memory_order_acq_rel, memory_order_acquire))
            continue;
        uint32_t n = pool.n_chunks;
        run_chunk((uint32_t)(word >> 32), (int64_t)(n - (uint32_t)word));
        uint32_t finished = atomic_fetch_add(&pool.done, 1) + 1;
        if (finished == n && atomic_load(&pool.owner_sleeps)) futex_wake_all(&pool.done);
        word = atomic_load_explicit(&pool.word, memory_order_acquire);
    }
}

static bool work_available(void) {
    return (uint32_t)atomic_load(&pool.word) > 0 || atomic_load(&pool.stopping);
}

static void *helper_run(void *index) {
    inside = true;
    lane_index = (int)(intptr_t)index;
    pool_flush_denormals();
    while (!atomic_load(&pool.stopping)) {
        int64_t until = now_ns() + SPIN_NS;
        while (!work_available() && now_ns() < until)
            for (int i = 0; i < 16; i++)
                cpu_pause();
        if (!work_available()) {
            uint32_t sequence = atomic_load(&pool.wake_sequence);
            atomic_fetch_add(&pool.sleepers, 1);
            if (!work_available()) futex_wait(&pool.wake_sequence, sequence);
            atomic_fetch_sub(&pool.sleepers, 1);
        }
        claim_chunks();
    }
    arena_clear(&scratch);
    return NULL;
}

static void wake_helpers(void) {
    if (atomic_load(&pool.sleepers) == 0) return;
    atomic_fetch_add(&pool.wake_sequence, 1);
    futex_wake_all(&pool.wake_sequence);
}

void pool_for(int64_t n_chunks, pool_fn *fn, void *context) {
    if (inside || pool.threads == 1 || n_chunks <= 1 || n_chunks > UINT32_MAX ||
        atomic_exchange(&taken, true)) {
        for (int64_t i = 0; i < n_chunks; i++)
            fn(context, i);
        return;
    }
    inside = true;
    pool.fn = fn;
    pool.context = context;
    pool.n_chunks = (uint32_t)n_chunks;
    atomic_store(&pool.done, 0);
    uint64_t generation = (atomic_load(&pool.word) >> 32) + 1;
    atomic_store(&pool.word, generation << 32 | (uint32_t)n_chunks);
    wake_helpers();
    claim_chunks();
    int64_t until = now_ns() + SPIN_NS;
    for (uint32_t done; (done = atomic_load(&pool.done)) != (uint32_t)n_chunks;) {
        cpu_pause();
        if (now_ns() < until) continue;
        atomic_store(&pool.owner_sleeps, 1);
        done = atomic_load(&pool.done);
        if (done != (uint32_t)n_chunks) futex_wait(&pool.done, done);
        atomic_store(&pool.owner_sleeps, 0);
    }
    inside = false;
    atomic_store(&taken, false);
}

void pool_record(pool_lane *lanes) {
    pool.lanes = lanes;
}

static int cgroup_cpus(void) {
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (f == NULL) return MAX_THREADS;
    long long quota = 0, period = 0;
    int read = fscanf(f, "%lld %lld", &quota, &period);
    fclose(f);
    if (read != 2 || quota <= 0 || period <= 0) return MAX_THREADS; /* "max" */
    long long cpus = (quota + period - 1) / period;
    return cpus < MAX_THREADS ? (int)cpus : MAX_THREADS;
}

int pool_cpus(void) {
    cpu_set_t set;
    int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    int quota = cgroup_cpus();
    if (cpus > quota) cpus = quota;
    if (cpus > MAX_THREADS) cpus = MAX_THREADS;
    return cpus > 0 ? cpus : 1;
}

status pool_start(int threads) {
    if (threads <= 0) threads = pool_cpus();
    if (threads > MAX_THREADS)
        return FAIL(F_BAD_VALUE, text("%d threads asked for", threads), "threads",
                    text("at most %d are supported", MAX_THREADS), "ask for fewer threads");
    pool_flush_denormals();
    if (threads == pool.threads) return STATUS_OK;
    pool_stop();
    for (int i = 1; i < threads; i++) {
        int failure = pthread_create(&pool.helper[i], NULL, helper_run, (void *)(intptr_t)i);
        if (failure != 0) {
            pool_stop();
            return error_errno(failure, "start a thread", text("thread %d of %d", i + 1, threads));
        }
        pool.threads = i + 1;
    }
    return STATUS_OK;
}

void pool_stop(void) {
    atomic_store(&pool.stopping, true);
    atomic_fetch_add(&pool.wake_sequence, 1);
    futex_wake_all(&pool.wake_sequence);
    for (int i = 1; i < pool.threads; i++)
        pthread_join(pool.helper[i], NULL);
    pool.threads = 1;
    atomic_store(&pool.stopping, false);
    if (!inside) arena_clear(&scratch);
}

int pool_threads(void) {
    return pool.threads;
}

static void scratch_release(void *mine) {
    arena_clear(mine);
}
static void scratch_key_make(void) {
    scratch_keyed = pthread_key_create(&scratch_key, scratch_release) == 0;
}

arena *pool_scratch(void) {
    if (scratch.base != NULL) return &scratch;
    if (arena_init(&scratch, "scratch", (size_t)1 << 30) != STATUS_OK) return NULL;
    /* Without a key the range stays reserved when the thread ends; it costs address space only. */
    pthread_once(&scratch_once, scratch_key_make);
    if (scratch_keyed) (void)pthread_setspecific(scratch_key, &scratch);
    return &scratch;
}
