/* jsonl.c - see jsonl.h.
 *
 * How: lines are parsed by jansson under base/json.h's rules (no duplicate keys, bounded nesting,
 * UTF-8 checked). Writing is by hand: a fixed order of keys and one way to escape, so that the same
 * documents give the same bytes.
 */
#include "data/jsonl.h"

#include "base/json.h"

#include <string.h>

/* The keys of an object for a message: "question, answer". */
static const char *keys_of(json_t *root) {
    char list[200] = "";
    size_t at = 0;
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        int n = snprintf(list + at, sizeof list - at, "%s%.40s", at > 0 ? ", " : "", key);
        if (n < 0 || (size_t)n >= sizeof list - at) break;
        at += (size_t)n;
    }
    return text("%s", at > 0 ? list : "no keys");
}

static status bad_record(const char *what, const char *why, const char *fix) {
    return FAIL(F_RECORD, what, "record", why, fix);
}

/* The first key whose value is a text: likely the one that is meant. */
static const char *text_key(json_t *root) {
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        bool plain = strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_") > 0;
        if (json_is_string(value) && plain) return key;
    }
    return "KEY";
}

static status append_value(json_t *root, const char *key, bool join, buffer *out) {
    const json_t *value = json_object_get(root, key);
    if (value == NULL)
        return bad_record(
            text("a record has no key \"%.60s\"", key), text("it has %s", keys_of(root)),
            text("--map %.60s=text (several keys with commas between: their texts are "
                 "joined by newlines)",
                 text_key(root)));
    if (!json_is_string(value))
        return bad_record(text("\"%.60s\" is no string", key), "only text can be taken",
                          text("--map %.60s=text takes another key", text_key(root)));
    if (join) buffer_byte(out, '\n');
    buffer_put(out, json_string_value(value), json_string_length(value));
    return STATUS_OK;
}

static status append_text(json_t *root, const import_map *map, int n_map, buffer *out) {
    if (!json_is_object(root))
        return bad_record("a record is no JSON object", "one a line is read",
                          "--format text takes lines as they are");
    if (n_map == 0) return append_value(root, "text", false, out);
    for (int i = 0; i < n_map; i++)
        TRY(append_value(root, map[i].from, i > 0, out));
    return STATUS_OK;
}

status jsonl_text(const char *line, size_t n, const import_map *map, int n_map, buffer *out) {
    json_t *root;
    size_t before = out->n;
    TRY(json_parse(line, n, "record", &root));
    status s = append_text(root, map, n_map, out);
    if (s == STATUS_OK) s = buffer_check(out);
    if (s != STATUS_OK) buffer_cut(out, before);
    json_decref(root);
    return s;
}

static const char *short_escape(uint8_t c) {
    switch (c) {
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\n': return "\\n";
    case '\t': return "\\t";
    case '\r': return "\\r";
    default: return NULL;
    }
}

static void write_string(buffer *out, const char *string, size_t n) {
    buffer_byte(out, '"');
    size_t from = 0; /* first byte not yet copied */
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)string[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        buffer_put(out, string + from, i - from);
        from = i + 1;
        const char *escape = short_escape(c);
        buffer_text(out, escape != NULL ? escape : text("\\u%04x", c));
    }
    buffer_put(out, string + from, n - from);
    buffer_byte(out, '"');
}

void jsonl_write(buffer *out, const document *d) {
    buffer_text(out, "{\"id\":");
    write_string(out, d->id, strlen(d->id));
    buffer_text(out, ",\"source\":");
    write_string(out, d->source, strlen(d->source));
    buffer_text(out, ",\"path\":");
    write_string(out, d->path, strlen(d->path));
    buffer_text(out, ",\"text\":");
    write_string(out, d->text, d->text_bytes);
    buffer_text(out, "}\n");
}

status record_read(record *r, const char *line, size_t n, const char *where) {
    *r = (record){0};
    TRY(json_parse(line, n, where, &r->root));
    status s = json_get_string(r->root, "id", &r->id, where);
    if (s == STATUS_OK) s = json_get_string(r->root, "source", &r->source, where);
    if (s == STATUS_OK) s = json_get_string(r->root, "path", &r->path, where);
    if (s == STATUS_OK) s = json_get_string(r->root, "text", &r->text, where);
    if (s == STATUS_OK) r->text_bytes = json_string_length(json_object_get(r->root, "text"));
    if (s != STATUS_OK) record_clear(r);
    return s;
}

void record_clear(record *r) {
    json_decref(r->root);
    *r = (record){0};
}
