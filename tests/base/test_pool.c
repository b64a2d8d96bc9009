/* test_pool.c - the claim pool: every chunk once, for any thread count, nested too. */
#include "base/pool.h"
#include "test.h"

#include <dirent.h>
#include <float.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

typedef struct work {
    _Atomic int runs[1000];
} work;

static void count(void *context, int64_t chunk) {
    atomic_fetch_add(&((work *)context)->runs[chunk], 1);
}

TEST(pool_runs_each_chunk_once) {
    for (int threads = 1; threads <= 4; threads++) {
        REQUIRE_OK(pool_start(threads));
        for (int job = 0; job < 2000; job++) {
            static work w;
            int n = job % 67;
            for (int i = 0; i < 67; i++)
                atomic_store(&w.runs[i], 0);
            pool_for(n, count, &w);
            for (int i = 0; i < 67; i++)
                REQUIRE(atomic_load(&w.runs[i]) == (i < n), "threads %d job %d chunk %d", threads,
                        job, i);
        }
    }
    pool_stop();
    CHECK(pool_threads() == 1, "threads left");
}

static void nested(void *context, int64_t chunk) {
    (void)chunk;
    pool_for(10, count, context);
}

TEST(pool_nested_runs_in_place) {
    static work w;
    REQUIRE_OK(pool_start(2));
    pool_for(7, nested, &w);
    for (int i = 0; i < 10; i++)
        CHECK(atomic_load(&w.runs[i]) == 7, "chunk %d", i);
    pool_stop();
}

/* Counts the chunks in which a denormal survives as a result or as an operand. */
static void count_denormals(void *context, int64_t chunk) {
    (void)chunk;
    volatile float smallest = FLT_MIN, denormal = FLT_MIN / 4;
    volatile float halved = smallest * 0.5f, grown = denormal * 0x1p20f;
    volatile double least = DBL_MIN, wide = least * 0.5;
    if (halved != 0 || grown != 0 || wide != 0) atomic_fetch_add((_Atomic int *)context, 1);
}

TEST(pool_flushes_denormals_in_every_thread) {
    REQUIRE_OK(pool_start(4));
    _Atomic int seen = 0;
    for (int job = 0; job < 50; job++)
        pool_for(64, count_denormals, &seen);
    pool_stop();
    CHECK(atomic_load(&seen) == 0, "%d chunks met a denormal", atomic_load(&seen));
}

/* Clock ticks that the threads of this process have used, the one that asks aside; *threads counts
 * them. -1 if the system does not tell. */
static int64_t helper_ticks(int *threads) {
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL) return -1;
    int64_t sum = 0;
    *threads = 0;
    for (struct dirent *e; (e = readdir(tasks)) != NULL;) {
        char path[300], line[1024];
        long id = strtol(e->d_name, NULL, 10);
        if (id <= 0 || id == (long)getpid()) continue;
        snprintf(path, sizeof path, "/proc/self/task/%ld/stat", id);
        FILE *f = fopen(path, "r");
        if (f == NULL) continue;
        long user = 0, system = 0;
        char *fields = fgets(line, sizeof line, f) != NULL ? strrchr(line, ')') : NULL;
        if (fields != NULL &&
            sscanf(fields + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld", &user,
                   &system) == 2) {
            sum += user + system;
            ++*threads;
        }
        fclose(f);
    }
    closedir(tasks);
    return sum;
}

static void nap(long milliseconds) {
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0) {
    }
}

static void no_work(void *context, int64_t chunk) {
    (void)context, (void)chunk;
}

TEST(pool_uses_no_processor_while_idle) {
#if defined(__SANITIZE_THREAD__)
    SKIP("the thread sanitizer has a thread of its own");
#endif
    int before = 0, after = 0;
    REQUIRE_OK(pool_start(4));
    for (int job = 0; job < 1000; job++)
        pool_for(16, no_work, NULL);
    nap(50); /* longer than helpers look for more */
    int64_t used = helper_ticks(&before);
    if (used < 0) SKIP("/proc does not tell the time of threads");
    nap(1000);
    int64_t more = helper_ticks(&after) - used;
    /* an emulator of processors has a thread of its own, which sleeps, too */
    CHECK(before >= 3 && after == before, "%d and %d helpers were seen", before, after);
    CHECK(more == 0, "%d ticks in an idle second", (int)more);
    pool_stop();
}
