/* test_pool.c - the claim pool: every chunk once, for any thread count, nested too. */
#include "base/pool.h"
#include "test.h"

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
