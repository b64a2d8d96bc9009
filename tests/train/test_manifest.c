/* test_manifest.c - a folder's list: what is written reads back, and any change is found. */
#include "train_fixture.h"

#include "train/manifest.h"

#include "base/file.h"
#include "base/memory.h"

static const char *const names[] = {"a.json", "b.bin", "empty"};

static status make_folder(const char *folder) {
    char path[PATH_SIZE];
    TRY(folder_remove(folder));
    TRY(folder_create(folder));
    for (int i = 0; i < 3; i++) {
        TRY(path_join(path, folder, names[i]));
        TRY(file_write(path, "0123456789", (size_t)(i == 2 ? 0 : 10 - i)));
    }
    return manifest_write(folder);
}

TEST(manifest_round_trip) {
    const char *folder = fixture_path("list");
    manifest m;
    REQUIRE_OK(make_folder(folder));
    REQUIRE_OK(manifest_verify(folder, &m));
    REQUIRE(m.n == 3, "%d", m.n);
    for (int i = 0; i < 3; i++)
        CHECK(strcmp(m.entry[i].name, names[i]) == 0, "%s", m.entry[i].name);
    CHECK(m.entry[0].size == 10 && m.entry[1].size == 9 && m.entry[2].size == 0, "sizes");
}

static void expect_damage(const char *folder, const char *what) {
    manifest m;
    status s = manifest_verify(folder, &m);
    CHECK(s == STATUS_FORMAT && error_last()->id == F_CHECKPOINT, "%s: status %d, F%04d", what,
          (int)s, (int)error_last()->id);
    CHECK(error_last()->what[0] && error_last()->where[0] && error_last()->why[0] &&
              error_last()->fix[0],
          "%s: a part of the report is empty", what);
}

TEST(manifest_finds_missing_cut_and_changed_files) {
    const char *folder = fixture_path("list");
    char path[PATH_SIZE];
    REQUIRE_OK(make_folder(folder));
    REQUIRE_OK(path_join(path, folder, "a.json"));
    REQUIRE_OK(file_write(path, "0123456780", 10));
    expect_damage(folder, "changed");
    REQUIRE_OK(file_write(path, "012345678", 9));
    expect_damage(folder, "cut");
    remove(path);
    expect_damage(folder, "missing");
    REQUIRE_OK(file_write(path, "0123456789", 10));
    manifest m;
    REQUIRE_OK(manifest_verify(folder, &m));
    REQUIRE_OK(path_join(path, folder, "MANIFEST"));
    remove(path);
    expect_damage(folder, "no MANIFEST");
}

TEST(manifest_refuses_every_flipped_bit_and_every_cut) {
    const char *folder = fixture_path("list");
    char path[PATH_SIZE], *bytes;
    size_t n;
    manifest m;
    REQUIRE_OK(make_folder(folder));
    REQUIRE_OK(path_join(path, folder, "MANIFEST"));
    REQUIRE_OK(file_read(path, 0, &bytes, &n));
    REQUIRE_OK(manifest_parse(bytes, n, "m", &m));
    for (size_t i = 0; i < n * 8; i++) {
        bytes[i / 8] = (char)(bytes[i / 8] ^ 1 << i % 8);
        CHECK(manifest_parse(bytes, n, "m", &m) == STATUS_FORMAT, "bit %zu was not noticed", i);
        bytes[i / 8] = (char)(bytes[i / 8] ^ 1 << i % 8);
    }
    for (size_t cut = 0; cut < n; cut++)
        CHECK(manifest_parse(bytes, cut, "m", &m) == STATUS_FORMAT, "cut at %zu was not noticed",
              cut);
    mem_free(bytes);
}
