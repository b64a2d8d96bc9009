/* test_bench_tokenizer.c - made text is text, and the benchmark of tokenizers has its rows. */
#include "test.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "bench/bench_text.h"
#include "bench/bench_tokenizer.h"

TEST(bench_text_is_well_formed_and_always_the_same) {
    static char text[50000], again[50000];
    for (int i = 0; i < BENCH_LANGUAGES; i++)
        for (size_t n = sizeof text; n > 0; n /= 7) {
            bench_text_make((bench_language)i, text, n);
            bench_text_make((bench_language)i, again, n);
            CHECK(memcmp(text, again, n) == 0, "%s differs", bench_language_name(i));
            CHECK(utf8_valid(text, n) == n, "%s of %zu bytes is no UTF-8", bench_language_name(i),
                  n);
        }
}

TEST(bench_tokenizer_names_its_files) {
    static char made[100000];
    static char a[PATH_SIZE], b[PATH_SIZE], both[2 * PATH_SIZE];
    const char *folder = test_folder();
    REQUIRE_OK(path_join(a, folder, "prose.txt"));
    REQUIRE_OK(path_join(b, folder, "hanzi.txt"));
    snprintf(both, sizeof both, "%s,%s", a, b);
    bench_text_make(BENCH_ENGLISH, made, sizeof made);
    REQUIRE_OK(file_write(a, made, sizeof made));
    bench_text_make(BENCH_CHINESE, made, sizeof made);
    REQUIRE_OK(file_write(b, made, sizeof made));
    int64_t live = mem_live_blocks();
    bench_table t = {0};
    REQUIRE_OK(bench_tokenizer("", both, &t));
    static const char *const names[] = {"tokenizer/encode prose.txt, fresh",
                                        "tokenizer/encode hanzi.txt, warm",
                                        "tokenizer/1 MiB of one hyphen"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const bench_row *r = bench_table_find(&t, names[i], 1);
        CHECK(r != NULL && r->value > 0, "no row %s", names[i]);
    }
    bench_table_clear(&t);
    CHECK(mem_live_blocks() == live, "leak");
}

TEST(bench_tokenizer_refuses_bad_input) {
    bench_table t = {0};
    const char *empty = text("%s/empty", test_folder());
    REQUIRE_OK(file_write(empty, "", 0));
    const char *const bad[] = {empty, ",", text("%s,", empty), text("%s/none", test_folder())};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK(bench_tokenizer("", bad[i], &t) != STATUS_OK && t.n == 0, "%s", bad[i]);
        CHECK(error_last()->what[0] && error_last()->fix[0], "%s: an empty part", bad[i]);
    }
    bench_table_clear(&t);
}
