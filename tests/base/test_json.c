/* test_json.c - what our JSON accepts, refuses, and says about it. */
#include "test.h"

#include "base/file.h"
#include "base/json.h"

static status parse(const char *string, json_t **out) {
    return json_parse(string, strlen(string), "x.json", out);
}

TEST(json_refuses) {
    static const struct {
        const char *bytes, *where;
    } cases[] = {
        {"{\"a\": 1,\n \"a\": 2}", "x.json:2:"}, {"{\"a\": }", "x.json:1:"}, {"", "x.json:"},
        {"{\"a\": \"\xff\"}", "x.json:1:"},      {"[1, 2", "x.json:1:"},     {"{} {}", "x.json:1:"},
        {"{\"a\": \"\\u0000\"}", "x.json:1:"},   {"[NaN]", "x.json:1:"},     {"[01]", "x.json:1:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *value;
        CHECK(parse(cases[i].bytes, &value) == STATUS_FORMAT && value == NULL, "case %zu", i);
        const error_report *r = error_last();
        CHECK(r->id == F_JSON && r->what[0] && r->why[0] && r->fix[0], "case %zu: parts", i);
        CHECK(strstr(r->where, cases[i].where) == r->where, "case %zu: %s", i, r->where);
    }
}

static status nested(int depth) {
    char bytes[256];
    memset(bytes, '[', (size_t)depth);
    memset(bytes + depth, ']', (size_t)depth);
    json_t *value;
    status s = json_parse(bytes, 2 * (size_t)depth, "x.json", &value);
    json_decref(value);
    return s;
}

TEST(json_depth) {
    CHECK(nested(64) == STATUS_OK, "64 levels");
    CHECK(nested(65) == STATUS_FORMAT, "65 levels");
    json_t *value;
    /* Brackets in strings are not nesting. */
    REQUIRE_OK(
        parse("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[\"]",
              &value));
    json_decref(value);
}

TEST(json_getters_say_what_they_found) {
    json_t *value, *inner;
    int64_t i;
    double x;
    bool b;
    const char *s;
    REQUIRE_OK(
        parse("{\"i\": 3, \"x\": 2.5, \"b\": true, \"s\": \"t\", \"o\": {}, \"a\": []}", &value));
    CHECK(json_get_int(value, "i", &i, "f") == STATUS_OK && i == 3, "i");
    CHECK(json_get_real(value, "x", &x, "f") == STATUS_OK && x == 2.5, "x");
    CHECK(json_get_real(value, "i", &x, "f") == STATUS_OK && x == 3, "whole as real");
    CHECK(json_get_bool(value, "b", &b, "f") == STATUS_OK && b, "b");
    CHECK(json_get_string(value, "s", &s, "f") == STATUS_OK && strcmp(s, "t") == 0, "s");
    CHECK(json_get_object(value, "o", &inner, "f") == STATUS_OK && json_is_object(inner), "o");
    CHECK(json_get_array(value, "a", &inner, "f") == STATUS_OK && json_is_array(inner), "a");
    CHECK(json_get_int(value, "x", &i, "f") == STATUS_FORMAT, "real as whole");
    CHECK(strstr(error_last()->why, "a whole number") != NULL, "%s", error_last()->why);
    CHECK(json_get_string(value, "none", &s, "f") == STATUS_FORMAT, "missing");
    CHECK(strstr(error_last()->what, "missing") != NULL, "%s", error_last()->what);
    CHECK(json_get_object(value, "a", &inner, "f") == STATUS_FORMAT, "array as object");
    json_decref(value);
}

TEST(json_written_is_read_again) {
    char path[PATH_SIZE];
    REQUIRE_OK(path_join(path, test_folder(), "v.json"));
    json_t *value = json_pack("{sf sI ss s[ff]}", "third", 1.0 / 3, "big", (json_int_t)1 << 60,
                              "text", "\xC3\xA9\n\"", "list", 1e-300, -0.1);
    REQUIRE(value != NULL, "pack");
    REQUIRE_OK(json_write(path, value));
    json_t *again;
    REQUIRE_OK(json_read(path, &again));
    CHECK(json_equal(value, again), "differs");
    char *line = json_line(again);
    CHECK(line != NULL && strchr(line, '\n') == NULL, "more than one line");
    mem_free(line);
    json_decref(value);
    json_decref(again);
}

static status json_round(const char *path) {
    json_t *value;
    TRY(parse("{\"a\": [1, 2.5, \"text\", {\"b\": null}], \"c\": {\"d\": true}}", &value));
    status s = json_write(path, value);
    json_decref(value);
    TRY(s);
    TRY(json_read(path, &value));
    json_decref(value);
    return STATUS_OK;
}

TEST(json_allocations_fail_cleanly) {
    char path[PATH_SIZE];
    REQUIRE_OK(path_join(path, test_folder(), "v.json"));
    int64_t live = mem_live_blocks();
    bool passed = false;
    for (int64_t i = 1; i < 1000 && !passed; i++) {
        mem_fail_at(i);
        status s = json_round(path);
        passed = !mem_failed();
        mem_fail_at(0);
        CHECK(passed ? s == STATUS_OK : s == STATUS_MEMORY, "call %" PRId64 ": %d", i, (int)s);
        CHECK(mem_live_blocks() == live, "call %" PRId64 " leaks", i);
    }
    CHECK(passed, "never passed");
}
