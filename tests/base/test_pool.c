/* test_pool.c - the claim pool: every chunk once, for any thread count, nested too. */
#include "base/pool.h"
#include "test.h"

#include <float.h>
#include <stdatomic.h>

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
