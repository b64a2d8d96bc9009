/* json.c - strict reading and plain writing of JSON, on jansson.
 *
 * How. jansson parses; around it stand our rules: duplicate keys are refused, nesting beyond 64 is
 * refused by a scan before parsing (jansson alone allows 2,048 and recurses), its heap is ours
 * (failures can be injected and leaks counted), and every complaint names file, line and column.
 */
#include "base/json.h"

#include "base/file.h"

#include <string.h>

#define DEPTH_MOST 64

/* jansson 2.14 does not survive every failed allocation: its parser writes past a string when the
 * buffer of that string could not grow, and its writer loses a key in silence. So before either
 * runs, as much memory as it can need is asked for and given back; inside, no failure is injected,
 * and a dump during which memory really ran out counts as failed. */
static _Thread_local bool inside_jansson;

static void *json_alloc(size_t bytes) {
    return inside_jansson ? mem_alloc_uninjected(bytes) : mem_alloc(bytes);
}

static bool enough_memory(size_t bytes) {
    void *block = mem_alloc(bytes);
    mem_free(block);
    return block != NULL;
}

/* Runs before main, so that no value is ever born on another heap. */
__attribute__((constructor)) static void use_our_heap(void) {
    json_set_alloc_funcs(json_alloc, mem_free);
}

/* Position of the byte at which nesting passes the limit, or n. Strings are skipped; whether the
 * rest is well formed is for the parser to say. */
static size_t too_deep_at(const char *bytes, size_t n) {
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = bytes[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > DEPTH_MOST) return i;
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return n;
}

static status refuse_depth(const char *bytes, size_t at, const char *where) {
    int line = 1, column = 1;
    for (size_t i = 0; i < at; i++) {
        column = bytes[i] == '\n' ? 1 : column + 1;
        line += bytes[i] == '\n';
    }
    return FAIL(F_JSON, text("%s is nested too deeply", where),
                text("%s:%d:%d", where, line, column),
                text("more than %d arrays or objects inside each other", DEPTH_MOST),
                "flatten it, or check that it is the file you meant");
}

status json_parse(const char *bytes, size_t n, const char *where, json_t **out) {
    *out = NULL;
    size_t deep = too_deep_at(bytes, n);
    if (deep < n) return refuse_depth(bytes, deep, where);
    error_clear();
    json_error_t error;
    if (!enough_memory(n < SIZE_MAX / 4 ? 4 * n + 4096 : n)) return STATUS_MEMORY;
    inside_jansson = true;
    *out = json_loadb(bytes, n, JSON_REJECT_DUPLICATES, &error);
    inside_jansson = false;
    if (*out != NULL) return STATUS_OK;
    if (error_last()->id == F_NO_MEMORY) return STATUS_MEMORY;
    return FAIL(F_JSON, text("%s is not valid JSON", where),
                text("%s:%d:%d", where, error.line, error.column), error.text,
                "correct the text at this place, or write the file again");
}

status json_read(const char *path, json_t **out) {
    *out = NULL;
    char *bytes;
    size_t n;
    TRY(file_read(path, 0, &bytes, &n));
    status result = json_parse(bytes, n, path, out);
    mem_free(bytes);
    return result;
}

/* The caller's report is left alone unless memory runs out. */
static char *dump(const json_t *value, size_t flags) {
    if (!enough_memory(4096)) return NULL;
    error_report before;
    error_save(&before);
    error_clear();
    inside_jansson = true;
    char *bytes = json_dumps(value, flags);
    inside_jansson = false;
    if (error_last()->id == F_NO_MEMORY) {
        mem_free(bytes);
        return NULL;
    }
    error_restore(&before);
    return bytes;
}

status json_write(const char *path, const json_t *value) {
    error_clear();
    char *bytes = dump(value, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    if (bytes == NULL && error_last()->id == F_NO_MEMORY) return STATUS_MEMORY;
    if (bytes == NULL)
        return FAIL(F_INTERNAL, text("cannot write %s as JSON", path), path,
                    "the value holds text that is not UTF-8 or a bare scalar",
                    "report this together with the command that led here");
    size_t n = strlen(bytes);
    bytes[n] = '\n'; /* takes the place of the NUL: n + 1 bytes are written */
    status result = file_write(path, bytes, n + 1);
    mem_free(bytes);
    return result;
}

char *json_page(const json_t *value) {
    return dump(value, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
}

char *json_line(const json_t *value) {
    return dump(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
}

static const char *kind_of(const json_t *value) {
    if (value == NULL) return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "a whole number";
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "true or false";
    case JSON_NULL: return "null";
    }
    return "something else";
}

static status wrong_kind(const json_t *object, const char *key, const char *wanted,
                         const char *where) {
    const json_t *value = json_object_get(object, key);
    if (value == NULL)
        return FAIL(F_JSON, text("\"%s\" is missing", key), where,
                    text("%s is expected there", wanted), "write the file again or add the key");
    return FAIL(F_JSON, text("\"%s\" has the wrong kind of value", key), where,
                text("expected %s, found %s", wanted, kind_of(value)),
                "write the file again or correct the value");
}

status json_get_int(const json_t *object, const char *key, int64_t *out, const char *where) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value)) return wrong_kind(object, key, "a whole number", where);
    *out = json_integer_value(value);
    return STATUS_OK;
}

status json_get_real(const json_t *object, const char *key, double *out, const char *where) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) return wrong_kind(object, key, "a number", where);
    *out = json_number_value(value);
    return STATUS_OK;
}

status json_get_bool(const json_t *object, const char *key, bool *out, const char *where) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_boolean(value)) return wrong_kind(object, key, "true or false", where);
    *out = json_is_true(value);
    return STATUS_OK;
}

status json_get_string(const json_t *object, const char *key, const char **out, const char *where) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value)) return wrong_kind(object, key, "a string", where);
    *out = json_string_value(value);
    return STATUS_OK;
}

status json_get_object(const json_t *object, const char *key, json_t **out, const char *where) {
    json_t *value = json_object_get(object, key);
    if (!json_is_object(value)) return wrong_kind(object, key, "an object", where);
    *out = value;
    return STATUS_OK;
}

status json_get_array(const json_t *object, const char *key, json_t **out, const char *where) {
    json_t *value = json_object_get(object, key);
    if (!json_is_array(value)) return wrong_kind(object, key, "an array", where);
    *out = value;
    return STATUS_OK;
}
