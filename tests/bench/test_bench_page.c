/* test_bench_page.c - the page of a benchmark: every row once, under the title of its first word. */
#include "base/file.h"
#include "bench/bench_page.h"
#include "test.h"

#include <string.h>

static bench_row row_of(const char *name, double value, double floor) {
    bench_row r = {.threads = 2, .value = value, .unit = "GFLOP/s", .floor = floor};
    snprintf(r.name, sizeof r.name, "%s", name);
    r.ratio = floor > 0 ? value / floor : 0;
    return r;
}

static int count(const char *in, const char *what) {
    int n = 0;
    for (const char *at = in; (at = strstr(at, what)) != NULL; at += strlen(what))
        n++;
    return n;
}

TEST(page_has_every_row_once_under_its_title) {
    bench_table t = {0};
    REQUIRE_OK(bench_table_add(&t, row_of("gemm/f32/forward m1", 50, 100)));
    REQUIRE_OK(bench_table_add(&t, row_of("memory/read/32 KiB", 123456, 0)));
    REQUIRE_OK(bench_table_add(&t, row_of("gemm/f32/dX m1", 75, 100)));
    REQUIRE_OK(bench_table_add(&t, row_of("newcomer/x", 1, 0)));
    bench_row load = row_of("load/other", 2.5, 0);
    load.threads = 0;
    REQUIRE_OK(bench_table_add(&t, load));
    char path[PATH_SIZE];
    REQUIRE_OK(path_join(path, test_folder(), "page.md"));
    REQUIRE_OK(bench_page_write(path, &t, "fathom bench all"));
    char *page;
    size_t n;
    REQUIRE_OK(file_read(path, 0, &page, &n));
    static const char *const once[] = {
        "## Products",
        "## Memory",
        "## newcomer",
        "| load of other programs | 2.5 % |",
        "forward m1 | portable | 2 | 50 GFLOP/s | 100 | 0.50 |",
        "dX m1 | portable | 2 | 75 GFLOP/s | 100 | 0.75 |",
        "32 KiB | portable | 2 | 123456 GFLOP/s | | |",
        "`fathom bench all`",
        "## Other programs",
        "tests/peers/torch_gpt.py 8x320",
        "llama-finetune -m",
        "./train_gpt2",
    };
    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++)
        CHECK(count(page, once[i]) == 1, "%d times: %s", count(page, once[i]), once[i]);
    CHECK(count(page, "## load") == 0, "the load is in the head, not a table");
    mem_free(page);
    bench_table_clear(&t);
}

TEST(page_that_cannot_be_written_is_an_error_and_leaves_nothing) {
    bench_table t = {0};
    REQUIRE_OK(bench_table_add(&t, row_of("gemm/x", 1, 0)));
    char path[PATH_SIZE];
    REQUIRE_OK(path_join(path, test_folder(), "absent/page.md"));
    CHECK(bench_page_write(path, &t, "fathom bench all") != STATUS_OK, "written into nowhere");
    CHECK(strstr(error_last()->where, "page.md") != NULL, "where: %s", error_last()->where);
    CHECK(!path_exists(path), "something was left");
    bench_table_clear(&t);
}
