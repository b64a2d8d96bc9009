/* test_import.c - what import takes, refuses and counts. */
#include "data/data.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "data/hash_set.h"
#include "data/jsonl.h"
#include "data_fixture.h"
#include "test.h"

#include <unistd.h>

static char folder[512], out[600];

static void fresh(void) {
    snprintf(folder, sizeof folder, "%s", test_folder());
    snprintf(out, sizeof out, "%s/out", folder);
}

/* Imports one input (relative to the folder) with options; inputs and folder are filled in. */
static status import_one(const char *name, import_options o, import_result *r) {
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    const char *const inputs[] = {path};
    o.inputs = inputs;
    o.n_inputs = 1;
    o.folder = out;
    return data_import(&o, r);
}

/* The texts of corpus.jsonl joined by "|". */
static const char *texts(void) {
    static char joined[4096];
    char *bytes;
    size_t n, at = 0, used = 0;
    joined[0] = '\0';
    if (file_read(text("%s/corpus.jsonl", out), 0, &bytes, &n) != STATUS_OK) return "unreadable";
    while (at < n) {
        size_t end = at + strcspn(bytes + at, "\n");
        record r;
        if (record_read(&r, bytes + at, end - at, "test") != STATUS_OK) return "not a record";
        used += (size_t)snprintf(joined + used, sizeof joined - used, "%s%s", used > 0 ? "|" : "",
                                 r.text);
        record_clear(&r);
        at = end + 1;
    }
    mem_free(bytes);
    return joined;
}

TEST(import_text_is_one_document_as_it_is) {
    fresh();
    REQUIRE_OK(fixture_write(folder, "a.txt",
                             "\xEF\xBB\xBF"
                             "first\r\nsecond \"q\" \\ \t\x01 \xC3\xA9\n\nend"));
    import_result r;
    REQUIRE_OK(import_one("a.txt", (import_options){0}, &r));
    CHECK(r.documents == 1 && r.files == 1 && r.lines == 4 && r.bad == 0, "%" PRId64, r.lines);
    CHECK(strcmp(texts(), "first\r\nsecond \"q\" \\ \t\x01 \xC3\xA9\n\nend") == 0, "%s", texts());
    CHECK(!path_exists(text("%s/rejected.jsonl", out)), "nothing was refused");
}

TEST(import_json_lines) {
    fresh();
    REQUIRE_OK(fixture_write(folder, "a.dat",
                             "\n{\"text\": \"one\\u00e9\", \"x\": 1}\n  \n{\"text\":\"two\"}"));
    import_result r;
    REQUIRE_OK(import_one("a.dat", (import_options){0}, &r));
    CHECK(r.documents == 2 && r.lines == 4 && r.bad == 0, "%" PRId64 " %" PRId64, r.documents,
          r.lines);
    CHECK(strcmp(texts(), "one\xC3\xA9|two") == 0, "%s", texts());
    /* The same file as text, if asked: another dataset under the same folder name is allowed. */
    REQUIRE_OK(import_one("a.dat", (import_options){.format = IMPORT_TEXT}, &r));
    CHECK(r.documents == 1, "as text");
    /* A text that begins with a brace is text. */
    REQUIRE_OK(fixture_write(folder, "c.txt", "{ int x; }\n"));
    snprintf(out, sizeof out, "%s/out2", folder);
    REQUIRE_OK(import_one("c.txt", (import_options){0}, &r));
    CHECK(strcmp(texts(), "{ int x; }\n") == 0, "%s", texts());
}

TEST(import_maps_keys) {
    fresh();
    REQUIRE_OK(fixture_write(folder, "a", "{\"q\":\"Why?\",\"a\":\"So.\"}\n"));
    import_result r;
    import_map map[] = {{"q", "text"}, {"a", "text"}}, wrong = {"q", "label"};
    REQUIRE_OK(import_one("a", (import_options){.map = map, .n_map = 2}, &r));
    CHECK(strcmp(texts(), "Why?\nSo.") == 0, "%s", texts());
    CHECK(import_one("a", (import_options){0}, &r) == STATUS_FORMAT, "no text");
    CHECK(error_last()->id == F_RECORD && strstr(error_last()->why, "it has q, a") != NULL, "%s",
          error_last()->why);
    CHECK(strstr(error_last()->fix, "--map") != NULL, "%s", error_last()->fix);
    CHECK(import_one("a", (import_options){.map = &wrong, .n_map = 1}, &r) == STATUS_USAGE,
          "label");
}

TEST(import_bad_utf8_is_named) {
    fresh();
    REQUIRE_OK(fixture_write(folder, "notes.txt", "good\nb\xE9 bad\ngood \xC3\xA9\n"));
    import_result r;
    CHECK(import_one("notes.txt", (import_options){.max_bad = 0.001}, &r) == STATUS_FORMAT,
          "refused");
    const error_report *e = error_last();
    CHECK(e->id == F_NOT_UTF8 && error_exit_code(e->id) == 65, "%s", error_title(e->id));
    CHECK(strstr(e->what, "notes.txt") != NULL, "%s", e->what);
    CHECK(strstr(e->where, "line 2") != NULL && strstr(e->where, "0xE9") != NULL, "%s", e->where);
    CHECK(strstr(e->why, "1 of 3 lines") != NULL && strstr(e->why, "ISO-8859-1") != NULL, "%s",
          e->why);
    CHECK(strstr(e->fix, "--encoding latin1") != NULL, "%s", e->fix);
    CHECK(!path_exists(text("%s/data.json", out)) && !path_exists(text("%s/corpus.jsonl", out)),
          "nothing was written");
    REQUIRE_OK(fixture_write(folder, "latin.txt", "b\xE9 bad\n"));
    REQUIRE_OK(import_one("latin.txt", (import_options){.encoding = ENCODING_LATIN1}, &r));
    CHECK(strcmp(texts(), "b\xC3\xA9 bad\n") == 0, "the fix works: %s", texts());
    REQUIRE_OK(fixture_write(folder, "w.txt", "a \x93quote\x94\n"));
    snprintf(out, sizeof out, "%s/out2", folder);
    CHECK(import_one("w.txt", (import_options){0}, &r) == STATUS_FORMAT, "refused");
    CHECK(strstr(error_last()->why, "Windows-1252") != NULL &&
              strstr(error_last()->fix, "iconv") != NULL,
          "%s", error_last()->why);
}

TEST(import_refused_lines_are_kept_aside) {
    fresh();
    REQUIRE_OK(fixture_write(
        folder, "a.jsonl",
        "{\"text\":\"one\"}\n{\"text\": 5}\nnot json\n{\"text\":\"\\ud800\"}\n"
        "{\"text\":\"b\xE9\"}\n{\"text\":\"a\",\"text\":\"b\"}\n[1]\n{\"text\":\"two\"}\n"
        "{\"text\":\"nul \\u0000\"}\n"));
    import_result r;
    CHECK(import_one("a.jsonl", (import_options){.max_bad = 0.5}, &r) == STATUS_FORMAT, "7 of 9");
    CHECK(error_last()->id == F_RECORD && strstr(error_last()->where, "line 2") != NULL, "%s",
          error_last()->where);
    REQUIRE_OK(import_one("a.jsonl", (import_options){.max_bad = 0.8}, &r));
    CHECK(r.documents == 2 && r.bad == 7 && r.lines == 9, "%" PRId64 " bad", r.bad);
    CHECK(strcmp(texts(), "one|two") == 0, "%s", texts());
    char *bytes;
    size_t n;
    REQUIRE_OK(file_read(text("%s/rejected.jsonl", out), 0, &bytes, &n));
    int lines = 0;
    for (size_t at = 0; at < n; lines++) {
        size_t end = at + strcspn(bytes + at, "\n");
        json_t *root;
        REQUIRE_OK(json_parse(bytes + at, end - at, "rejected", &root));
        CHECK(json_string_length(json_object_get(root, "reason")) > 0, "reason");
        json_decref(root);
        at = end + 1;
    }
    CHECK(lines == 7 && strstr(bytes, "b\xC3\xA9") != NULL, "%d", lines);
    mem_free(bytes);
}

TEST(import_folders) {
    fresh();
    REQUIRE_OK(folder_create(text("%s/in/sub", folder)));
    REQUIRE_OK(fixture_write(folder, "in/b.txt", "second\n"));
    REQUIRE_OK(fixture_write(folder, "in/a.txt", "first\n"));
    REQUIRE_OK(fixture_write(folder, "in/sub/c.jsonl",
                             "{\"text\":\"third\"}\n{\"text\":\"first\\n\"}\n{\"text\":\" \"}\n"));
    REQUIRE_OK(fixture_write(folder, "in/.hidden", "never\n"));
    REQUIRE_OK(file_write(text("%s/in/picture", folder), "\x89PNG\0\0", 6));
    REQUIRE_OK(fixture_write(folder, "in/z\xE9.txt", "odd name\n"));
    CHECK(symlink(folder, text("%s/in/loop", folder)) == 0, "link");
    import_result r;
    REQUIRE_OK(import_one("in", (import_options){.license = "CC0"}, &r));
    CHECK(strcmp(texts(), "first\n|second\n|third|odd name\n") == 0, "%s", texts());
    CHECK(r.documents == 4 && r.duplicates == 1 && r.empty == 1 && r.binary == 1 && r.skipped == 2,
          "%" PRId64 " duplicates, %" PRId64 " empty, %" PRId64 " binary, %" PRId64 " skipped",
          r.duplicates, r.empty, r.binary, r.skipped);
    dataset d;
    REQUIRE_OK(dataset_open(&d, out));
    const json_t *source = json_array_get(json_object_get(d.manifest, "sources"), 0);
    CHECK(strcmp(json_string_value(json_object_get(source, "license")), "CC0") == 0, "license");
    CHECK(!d.complete && d.n_shards == 0, "not tokenized");
    dataset_close(&d);
}

TEST(import_refuses_what_holds_no_text) {
    fresh();
    import_result r;
    REQUIRE_OK(file_write(text("%s/x", folder), "ab\0c", 4));
    CHECK(import_one("x", (import_options){0}, &r) == STATUS_FORMAT &&
              error_last()->id == F_NOT_UTF8,
          "zero");
    REQUIRE_OK(file_write(text("%s/u", folder),
                          "\xFF\xFE"
                          "a\0b\0",
                          6));
    CHECK(import_one("u", (import_options){0}, &r) == STATUS_FORMAT, "UTF-16");
    CHECK(strstr(error_last()->fix, "UTF-16") != NULL, "%s", error_last()->fix);
    REQUIRE_OK(fixture_write(folder, "e", ""));
    CHECK(import_one("e", (import_options){0}, &r) == STATUS_FORMAT &&
              error_last()->id == F_NO_TEXT,
          "empty");
    CHECK(import_one("none", (import_options){0}, &r) == STATUS_IO && error_last()->id == F_MISSING,
          "missing");
    CHECK(!path_exists(text("%s/data.json", out)), "nothing was written");
}

TEST(import_does_not_overwrite_another_dataset) {
    fresh();
    import_result r;
    REQUIRE_OK(fixture_write(folder, "a", "text a\n"));
    REQUIRE_OK(fixture_write(folder, "b", "text b\n"));
    REQUIRE_OK(import_one("a", (import_options){0}, &r));
    CHECK(import_one("b", (import_options){0}, &r) == STATUS_IO &&
              error_last()->id == F_CANNOT_CREATE,
          "b");
    CHECK(strcmp(texts(), "text a\n") == 0, "kept");
    REQUIRE_OK(fixture_write(folder, "a", "text a, changed\n"));
    REQUIRE_OK(import_one("a", (import_options){0}, &r));
    CHECK(strcmp(texts(), "text a, changed\n") == 0, "again");
}

static void count_refused(void *context, const char *file, int64_t line, const error_report *why) {
    (void)file, (void)line;
    *(int *)context += why->id == F_RECORD || why->id == F_JSON;
}

TEST(import_dry_run_writes_nothing) {
    fresh();
    REQUIRE_OK(fixture_write(folder, "a", "{\"text\":\"abcd\"}\n{\"x\":1}\n{\n"));
    import_result r;
    int refused = 0;
    REQUIRE_OK(import_one(
        "a",
        (import_options){.dry = true, .max_bad = 1, .refused = count_refused, .context = &refused},
        &r));
    CHECK(r.documents == 1 && r.bad == 2 && refused == 2 && r.lengths[2] == 1, "%d", refused);
    CHECK(!path_exists(out), "no folder");
}

static status import_again(void) {
    import_result r;
    return import_one("a", (import_options){.max_bad = 0.5}, &r);
}

TEST(import_survives_every_allocation_failure) {
    fresh();
    REQUIRE_OK(fixture_write(folder, "a",
                             "{\"text\":\"one\"}\n{\"text\":\"b\xE9\"}\n{\"text\":\"two\"}\n"));
    REQUIRE_OK(import_again());
    char *want, *got;
    size_t n_want, n_got;
    REQUIRE_OK(file_read(text("%s/data.json", out), 0, &want, &n_want));
    int64_t before = mem_live_blocks(), n = 1;
    for (;; n++) {
        mem_fail_at(n);
        status s = import_again();
        bool failed = mem_failed();
        mem_fail_at(0);
        CHECK(mem_live_blocks() == before, "allocation %" PRId64 " leaks", n);
        CHECK(s == (failed ? STATUS_MEMORY : STATUS_OK), "allocation %" PRId64 ": %d %s", n, (int)s,
              error_last()->what);
        if (!failed || n > 2000) break;
    }
    CHECK(n > 20 && n < 2000, "%" PRId64, n);
    REQUIRE_OK(file_read(text("%s/data.json", out), 0, &got, &n_got));
    CHECK(n_got == n_want && memcmp(got, want, n_got) == 0, "same manifest");
    mem_free(want);
    mem_free(got);
}

TEST(jsonl_lines_survive_any_text) {
    buffer line = {0};
    char bytes[64];
    for (int c = 1; c < 128; c++) {
        snprintf(bytes, sizeof bytes, "a%c\xC3\xA9\xF0\x9F\x98\x80%c", c, c);
        document d = {.id = "0",
                      .source = "s\"",
                      .version = "",
                      .path = "p\\",
                      .text = bytes,
                      .text_bytes = strlen(bytes)};
        buffer_cut(&line, 0);
        jsonl_write(&line, &d);
        record r;
        REQUIRE_OK(record_read(&r, line.bytes, line.n - 1, "line"));
        CHECK(strcmp(r.text, bytes) == 0 && strcmp(r.source, "s\"") == 0 &&
                  strcmp(r.path, "p\\") == 0,
              "%d", c);
        CHECK(line.bytes[line.n - 1] == '\n' && memchr(line.bytes, '\n', line.n - 1) == NULL,
              "one line");
        record_clear(&r);
    }
    buffer_clear(&line);
}

TEST(hash_set_keeps_marks_while_growing) {
    hash_set s = {0};
    CHECK(!hash_set_has(&s, 5) && !hash_set_marked(&s, 5), "empty");
    hash_set_mark(&s, 5);
    for (uint64_t i = 0; i < 20000; i++) {
        bool added = false;
        REQUIRE_OK(hash_set_add(&s, i * 0x9E3779B97F4A7C15u, &added));
        CHECK(added, "%" PRIu64, i);
        if (i % 3 == 0) hash_set_mark(&s, i * 0x9E3779B97F4A7C15u);
    }
    bool added = true;
    REQUIRE_OK(hash_set_add(&s, 0, &added));
    CHECK(!added && s.n == 20000, "there already");
    int wrong = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        uint64_t h = i * 0x9E3779B97F4A7C15u;
        wrong += !hash_set_has(&s, h) || hash_set_marked(&s, h) != (i % 3 == 0) ||
                 hash_set_has(&s, h + 3);
    }
    CHECK(wrong == 0 && hash_set_marked_count(&s) == 6667, "%d wrong", wrong);
    hash_set_clear(&s);
}

TEST(utf8_finds_the_first_bad_byte) {
    static const struct {
        const char *bytes;
        size_t valid;
    } cases[] = {{"", 0},
                 {"abc", 3},
                 {"\xC3\xA9", 2},
                 {"\xE2\x82\xAC", 3},
                 {"\xF0\x9F\x98\x80", 4},
                 {"a\xC3", 1},
                 {"\xC0\x80", 0},
                 {"\xC1\xBF", 0},
                 {"\xE0\x9F\xBF", 0},
                 {"\xED\xA0\x80", 0},
                 {"\xEE\x80\x80", 3},
                 {"\xF0\x8F\xBF\xBF", 0},
                 {"\xF4\x8F\xBF\xBF", 4},
                 {"\xF4\x90\x80\x80", 0},
                 {"\xF5\x80\x80\x80", 0},
                 {"abcdefgh\xFF", 8},
                 {"abcdefg\xC3\xA9hijklmno\x80", 17}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t got = utf8_valid(cases[i].bytes, strlen(cases[i].bytes));
        CHECK(got == cases[i].valid, "case %zu: %zu", i, got);
    }
}
