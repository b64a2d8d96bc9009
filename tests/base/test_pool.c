/* test_pool.c - the claim pool: every chunk once, for any thread count, nested too. */
#include "base/pool.h"
#include "test.h"

#include <dirent.h>
#include <float.h>
#include <pthread.h>
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

/* Chunks of all lanes add up to those of the job; spans of a lane do not overlap; what has no room is
 * counted, not written. */
TEST(pool_threads_note_their_spans) {
    enum { THREADS = 3, JOBS = 40, ROOM = 30 };
    static pool_span spans[THREADS][ROOM];
    static work w;
    pool_lane lanes[THREADS];
    int64_t chunks[JOBS] = {0}, noted = 0, lost = 0;
    for (int i = 0; i < THREADS; i++)
        lanes[i] = (pool_lane){.spans = spans[i], .room = ROOM};
    REQUIRE_OK(pool_start(THREADS));
    pool_record(lanes);
    for (int job = 0; job < JOBS; job++)
        pool_for(2 + job, count, &w);
    pool_record(NULL);
    pool_for(20, count, &w);
    pool_stop();
    uint32_t first = UINT32_MAX;
    for (int i = 0; i < THREADS; i++)
        if (lanes[i].n > 0 && spans[i][0].job < first) first = spans[i][0].job;
    for (int i = 0; i < THREADS; i++)
        for (int64_t k = 0; k < lanes[i].n; k++) {
            const pool_span *s = &spans[i][k];
            REQUIRE(s->job - first < JOBS && s->chunks > 0, "a span of job %u", s->job - first);
            CHECK(s->ended >= s->began, "it ends before it begins");
            CHECK(k == 0 || s->began >= spans[i][k - 1].ended - 1e-6, "spans overlap");
            chunks[s->job - first] += s->chunks;
        }
    for (int i = 0; i < THREADS; i++)
        lost += lanes[i].lost;
    for (int job = 0; job < JOBS; job++) {
        CHECK(chunks[job] <= 2 + job, "job %d: %d chunks", job, (int)chunks[job]);
        noted += chunks[job];
    }
    CHECK(noted + lost == JOBS * 2 + JOBS * (JOBS - 1) / 2, "%d noted, %d lost", (int)noted,
          (int)lost);
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

/* A thread of another program: its jobs, while the pool may be at work for another. */
static void *other_thread(void *context) {
    static _Thread_local work w; /* 1,000 counters: not on a small stack */
    for (int job = 0; job < 2000; job++) {
        for (int i = 0; i < 67; i++)
            atomic_store(&w.runs[i], 0);
        pool_for(67, count, &w);
        for (int i = 0; i < 67; i++)
            if (atomic_load(&w.runs[i]) != 1) atomic_fetch_add((_Atomic int *)context, 1);
    }
    arena *mine = pool_scratch(); /* goes back when the thread ends */
    if (mine == NULL || arena_alloc(mine, 1) == NULL) atomic_fetch_add((_Atomic int *)context, 1);
    return NULL;
}

TEST(pool_serves_threads_that_come_at_once) {
    pthread_t threads[4];
    _Atomic int wrong = 0;
    REQUIRE_OK(pool_start(2));
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, other_thread, &wrong) == 0, "no thread");
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    CHECK(atomic_load(&wrong) == 0, "%d chunks ran twice or never", atomic_load(&wrong));
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
