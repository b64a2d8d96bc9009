/* test_packages.c - looking up, fetching and verifying packages, against a make-believe apt. */
#include "corpus_fixture.h"
#include "data/packages.h"
#include "data/process.h"
#include "test.h"

#include <unistd.h>

static const char *const some_files[] = {"usr/share/doc/x", "contents of the package", NULL};

static void expect(status got, error_id id, const char *word) {
    const error_report *r = error_last();
    CHECK(got != STATUS_OK && r->id == id, "status %d, error %d", (int)got, (int)r->id);
    CHECK(strstr(r->what, word) || strstr(r->why, word), "\"%s\" not in \"%s\" / \"%s\"", word,
          r->what, r->why);
    CHECK(r->where[0] != '\0' && r->fix[0] != '\0', "parts are missing");
}

TEST(process_collects_and_reports) {
    const char *const argv[] = {"sh", "-c", "echo out; echo err >&2; pwd; echo $LC_ALL; exit 3",
                                NULL};
    process p = {.argv = argv, .folder = "/"};
    REQUIRE_OK(process_run(&p));
    CHECK(p.exit_code == 3, "exit code %d", p.exit_code);
    CHECK(strcmp(p.out.bytes, "out\n/\nC\n") == 0 && strcmp(p.err.bytes, "err\n") == 0, "%s / %s",
          p.out.bytes, p.err.bytes);
    process_clear(&p);
    const char *const none[] = {"no-such-program-anywhere", NULL};
    process q = {.argv = none};
    REQUIRE_OK(process_run(&q));
    CHECK(q.exit_code == PROCESS_NOT_FOUND, "exit code %d", q.exit_code);
    process_clear(&q);
    const char *const killed[] = {"sh", "-c", "kill -9 $$", NULL};
    process k = {.argv = killed};
    REQUIRE_OK(process_run(&k));
    CHECK(k.exit_code == 128 + 9, "exit code %d", k.exit_code);
    process_clear(&k);
}

TEST(process_bounds_output) {
    const char *const argv[] = {"sh", "-c", "yes", NULL};
    int64_t blocks = mem_live_blocks();
    process p = {.argv = argv};
    CHECK(process_run(&p) == STATUS_LIMIT, "endless output was taken");
    process_clear(&p);
    CHECK(mem_live_blocks() == blocks, "leak");
}

TEST(stanzas_are_parsed) {
    package list[4] = {{.name = "aa"}, {.name = "bb"}, {.name = "cc"}, {.name = "dd"}};
    static const char index[] =
        "Package: aa\nVersion: 1:2.0-1\nFilename: pool/main/a/aa_2.0-1_all.deb\nSize: 12\n"
        "SHA256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n\n"
        "Package: zz\nVersion: 9\n\n"
        "Package: aa\nVersion: 1\n\n"
        "Package: bb\nVersion: 1\nFilename: ../../etc/.deb\nSize: 12\nSHA256: 00\n\n"
        "Package: cc\nVersion: 1\nFilename: c.deb\nSize: 99999999999999999999\n"
        "SHA256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n\n"
        "Package: dd\nVersion";
    packages_parse(index, sizeof index - 1, list, 4);
    CHECK(strcmp(list[0].version, "1:2.0-1") == 0 &&
              strcmp(list[0].file, "aa_2.0-1_all.deb") == 0 && list[0].bytes == 12,
          "%s %s %" PRId64, list[0].version, list[0].file, list[0].bytes);
    for (int i = 1; i < 4; i++)
        CHECK(list[i].version[0] == '\0', "%s is believed", list[i].name);
}

TEST(packages_are_fetched_once) {
    fake_apt apt;
    buffer deb = {0};
    package list[2] = {{.name = "aa"}, {.name = "bb"}};
    package_fetch_result r;
    REQUIRE_OK(fake_apt_open(&apt));
    fake_deb(&deb, some_files);
    REQUIRE_OK(fake_apt_add(&apt, "aa", "1.0", &deb, NULL));
    REQUIRE_OK(fake_apt_add(&apt, "bb", "2.0", &deb, NULL));
    REQUIRE_OK(packages_get(apt.cache, list, 2, false, &r));
    CHECK(r.bytes == 2 * (int64_t)deb.n && fake_apt_calls(&apt) == 1, "%" PRId64 " bytes, %d calls",
          r.bytes, fake_apt_calls(&apt));
    CHECK(list[0].here && path_exists(list[0].path) && strcmp(list[1].version, "2.0") == 0,
          "not here");
    REQUIRE_OK(packages_get(apt.cache, list, 2, false, &r));
    CHECK(r.bytes == 0 && fake_apt_calls(&apt) == 1, "fetched again");
    /* Damage in the cache is noticed, and only that file is fetched again. */
    REQUIRE_OK(file_write(list[1].path, "broken", 6));
    REQUIRE_OK(packages_get(apt.cache, list, 2, false, &r));
    CHECK(r.bytes == (int64_t)deb.n && fake_apt_calls(&apt) == 2, "%" PRId64 " bytes", r.bytes);
    char **names;
    int n;
    REQUIRE_OK(folder_list(apt.cache, &names, &n));
    CHECK(n == 3, "%d files in the cache: leftovers?", n); /* two packages and the record */
    folder_list_free(names, n);
    buffer_clear(&deb);
    fake_apt_close(&apt);
}

TEST(damaged_downloads_are_fetched_again_once) {
    fake_apt apt;
    buffer deb = {0};
    package list[1] = {{.name = "aa"}};
    package_fetch_result r;
    REQUIRE_OK(fake_apt_open(&apt));
    fake_deb(&deb, some_files);
    REQUIRE_OK(fake_apt_add(&apt, "aa", "1.0", &deb, NULL));
    REQUIRE_OK(fake_apt_mode(&apt, "damage 1"));
    REQUIRE_OK(packages_get(apt.cache, list, 1, false, &r));
    CHECK(fake_apt_calls(&apt) == 2 && list[0].here, "%d calls", fake_apt_calls(&apt));
    REQUIRE_OK(folder_remove(apt.cache));
    REQUIRE_OK(fake_apt_mode(&apt, "damage"));
    expect(packages_get(apt.cache, list, 1, false, &r), F_PACKAGE, "SHA-256");
    CHECK(fake_apt_calls(&apt) == 4, "%d calls", fake_apt_calls(&apt));
    buffer_clear(&deb);
    fake_apt_close(&apt);
}

TEST(offline_says_what_to_do) {
    fake_apt apt;
    buffer deb = {0}, newer = {0};
    package list[1] = {{.name = "aa"}};
    package_fetch_result r;
    REQUIRE_OK(fake_apt_open(&apt));
    fake_deb(&deb, some_files);
    REQUIRE_OK(fake_apt_add(&apt, "aa", "1.0", &deb, NULL));
    REQUIRE_OK(fake_apt_mode(&apt, "offline"));
    expect(packages_get(apt.cache, list, 1, false, &r), F_UNAVAILABLE, "no route to host");
    CHECK(strstr(error_last()->fix, "--corpus local") != NULL, "%s", error_last()->fix);
    expect(packages_get(apt.cache, list, 1, true, &r), F_UNAVAILABLE, "cache");
    /* With a recorded older version in the cache it goes on. */
    REQUIRE_OK(fake_apt_mode(&apt, ""));
    REQUIRE_OK(packages_get(apt.cache, list, 1, false, &r));
    static const char *const other[] = {"usr/share/doc/y", "newer contents", NULL};
    fake_deb(&newer, other);
    REQUIRE_OK(fake_apt_add(&apt, "aa", "1.1", &newer, NULL));
    REQUIRE_OK(fake_apt_mode(&apt, "offline"));
    REQUIRE_OK(packages_get(apt.cache, list, 1, false, &r));
    CHECK(strcmp(list[0].version, "1.0") == 0 && list[0].here, "version %s", list[0].version);
    REQUIRE_OK(packages_get(apt.cache, list, 1, true, &r));
    CHECK(strcmp(list[0].version, "1.0") == 0 && list[0].here, "version %s", list[0].version);
    REQUIRE_OK(fake_apt_mode(&apt, ""));
    REQUIRE_OK(packages_get(apt.cache, list, 1, false, &r));
    CHECK(strcmp(list[0].version, "1.1") == 0 && list[0].here, "version %s", list[0].version);
    buffer_clear(&deb);
    buffer_clear(&newer);
    fake_apt_close(&apt);
}

TEST(unknown_packages_are_named) {
    fake_apt apt;
    package list[1] = {{.name = "nowhere"}};
    package_fetch_result r;
    REQUIRE_OK(fake_apt_open(&apt));
    expect(packages_get(apt.cache, list, 1, false, &r), F_UNAVAILABLE, "nowhere");
    CHECK(fake_apt_calls(&apt) == 0, "something was fetched");
    char path[PATH_SIZE];
    REQUIRE_OK(path_join(path, apt.root, "updates"));
    CHECK(path_exists(path) == (geteuid() == 0), "lists are renewed by root and nobody else");
    fake_apt_close(&apt);
}

TEST(packages_survive_failing_allocations) {
    fake_apt apt;
    buffer deb = {0};
    package list[1] = {{.name = "aa"}};
    package_fetch_result r;
    REQUIRE_OK(fake_apt_open(&apt));
    fake_deb(&deb, some_files);
    REQUIRE_OK(fake_apt_add(&apt, "aa", "1.0", &deb, NULL));
    REQUIRE_OK(packages_get(apt.cache, list, 1, false, &r));
    int64_t blocks = mem_live_blocks();
    for (int64_t n = 1;; n++) {
        mem_fail_at(n);
        status got = packages_get(apt.cache, list, 1, false, &r);
        bool failed = mem_failed();
        mem_fail_at(0);
        CHECK(mem_live_blocks() == blocks, "allocation %" PRId64 " leaks", n);
        CHECK(got == STATUS_OK ? list[0].here : got == STATUS_MEMORY, "allocation %" PRId64 ": %d",
              n, (int)got);
        if (!failed) break;
        REQUIRE(n < 500, "never passes");
    }
    buffer_clear(&deb);
    fake_apt_close(&apt);
}
