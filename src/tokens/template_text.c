/* template_text.c - strings of the template interpreter and how values are printed.
 *
 * How. A string is a stretch of UTF-8 and, byte by byte, marks that say what came from outside;
 * every operation here carries the marks along. str(), repr() and JSON text are written into the
 * renderer's output buffer and taken back from it, so that nothing is measured beforehand.
 *
 * Printing follows Python: True, None, 1.0, 1e+16, ['a', "it's"], and json.dumps with
 * ensure_ascii=False, as Hugging Face's tojson has it.
 */
#include "tokens/template_internal.h"

#include "base/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <utf8proc.h>

/* -- characters -- */

/* Strings are well-formed, but a slice of bytes from outside may start or end anywhere. */
size_t utf8_step(const char *bytes, size_t n, size_t at) {
    size_t length = utf8_sequence((const uint8_t *)bytes + at, n - at);
    return length > 0 ? length : 1;
}

int32_t utf8_at(const char *bytes, size_t n) {
    utf8proc_int32_t c = 0;
    if (utf8proc_iterate((const uint8_t *)bytes, (utf8proc_ssize_t)n, &c) <= 0) return 0xFFFD;
    return c;
}

size_t utf8_write(char out[4], int32_t c) {
    return (size_t)utf8proc_encode_char(c, (uint8_t *)out);
}

bool utf8_is_space(int32_t c) {
    if (c <= 32) return c == 32 || (c >= 9 && c <= 13) || (c >= 28 && c <= 31);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* str.isprintable: neither controls, formats, private, unassigned nor separators but the space. */
static bool is_printable(int32_t c) {
    if (c == ' ') return true;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO: return false;
    default: return true;
    }
}

/* -- the output buffer -- */

#define OUTPUT_MOST ((size_t)128 << 20)

static bool reserve(renderer *r, size_t more) {
    if (!render_step(r, (int64_t)(more / 64))) return false;
    if (r->room - r->n > more) return true;
    if (more > OUTPUT_MOST || r->n + more > OUTPUT_MOST) {
        render_limit(r, "the template writes more than 128 MiB");
        return false;
    }
    size_t room = 2 * r->room + more + 1024;
    char *grown = mem_resize(r->text, room, 1);
    uint8_t *marks = grown != NULL ? mem_resize(r->outside, room, 1) : NULL;
    if (grown != NULL) r->text = grown;
    if (marks != NULL) r->outside = marks;
    if (marks == NULL) {
        r->failed = STATUS_MEMORY;
        return false;
    }
    r->room = room;
    return true;
}

void output_bytes(renderer *r, const char *bytes, size_t n, const uint8_t *marks) {
    if (n == 0 || !reserve(r, n)) return;
    memcpy(r->text + r->n, bytes, n);
    if (marks != NULL)
        memcpy(r->outside + r->n, marks, n);
    else
        memset(r->outside + r->n, 0, n);
    r->n += n;
}

static void output_string(renderer *r, const string *s) {
    output_bytes(r, s->bytes, s->n, s->marks);
}

value output_take(renderer *r, size_t mark) {
    size_t n = r->n - mark;
    char *bytes = render_alloc(r, n + 1);
    uint8_t *marks = render_alloc(r, n + 1);
    r->n = mark;
    if (bytes == NULL || marks == NULL) return value_undefined("");
    if (n > 0) {
        memcpy(bytes, r->text + mark, n);
        memcpy(marks, r->outside + mark, n);
    }
    bytes[n] = '\0';
    return value_string(r, bytes, n, marks);
}

/* -- printing -- */

/* The shortest decimal that reads back as the same number, spelled as Python does. */
static const char *real_text(double x, char out[40]) {
    char digits[40];
    int precision = 1;
    if (isnan(x)) return "nan";
    if (isinf(x)) return x > 0 ? "inf" : "-inf";
    if (x == 0) return signbit(x) ? "-0.0" : "0.0";
    for (; precision < 17; precision++) {
        snprintf(digits, sizeof digits, "%.*e", precision - 1, x);
        if (strtod(digits, NULL) == x) break;
    }
    snprintf(digits, sizeof digits, "%.*e", precision - 1, x);
    int exponent = (int)strtol(strchr(digits, 'e') + 1, NULL, 10);
    if (exponent < -4 || exponent >= 16) {
        char *e = strchr(digits, 'e');
        snprintf(out, 40, "%.*se%c%02d", (int)(e - digits), digits, exponent < 0 ? '-' : '+',
                 abs(exponent));
        return out;
    }
    int places = precision - 1 - exponent;
    snprintf(out, 40, "%.*f", places > 1 ? places : 1, x);
    return out;
}

static void output_repr_string(renderer *r, const string *s) {
    bool single = memchr(s->bytes, '\'', s->n) != NULL && memchr(s->bytes, '"', s->n) == NULL;
    char quote = single ? '"' : '\'';
    output_bytes(r, &quote, 1, NULL);
    for (size_t i = 0, n; i < s->n && r->failed == STATUS_OK; i += n) {
        n = utf8_step(s->bytes, s->n, i);
        int32_t c = utf8_at(s->bytes + i, n);
        if (c == quote || c == '\\')
            output_words(r, c == '\\' ? "\\\\" : text("\\%c", quote));
        else if (c == '\n' || c == '\r' || c == '\t')
            output_words(r, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        else if (is_printable(c))
            output_bytes(r, s->bytes + i, n, s->marks != NULL ? s->marks + i : NULL);
        else
            output_words(r, text(c < 0x100     ? "\\x%02x"
                                 : c < 0x10000 ? "\\u%04x"
                                               : "\\U%08x",
                                 (unsigned)c));
    }
    output_bytes(r, &quote, 1, NULL);
}

static void output_value(renderer *r, value v, bool repr);

static void output_container(renderer *r, value v) {
    bool is_dict = value_is_dict(v);
    size_t n = is_dict ? v.dict->n : v.list->n;
    if (++r->depth > 300) {
        render_limit(r, "a value is nested too deeply to be printed");
        return;
    }
    output_words(r, v.kind == V_NAMESPACE ? "<Namespace {"
                    : is_dict             ? "{"
                    : v.kind == V_TUPLE   ? "("
                                          : "[");
    for (size_t i = 0; i < n && r->failed == STATUS_OK; i++) {
        if (i > 0) output_words(r, ", ");
        if (is_dict) {
            output_value(r, v.dict->pairs[i].key, true);
            output_words(r, ": ");
        }
        output_value(r, is_dict ? v.dict->pairs[i].value : v.list->items[i], true);
    }
    if (v.kind == V_TUPLE && n == 1) output_words(r, ",");
    output_words(r, v.kind == V_NAMESPACE ? "}>" : is_dict ? "}" : v.kind == V_TUPLE ? ")" : "]");
    r->depth--;
}

static void output_value(renderer *r, value v, bool repr) {
    char real[40];
    if (!render_step(r, 1)) return;
    switch (v.kind) {
    case V_UNDEFINED:
        if (repr) output_words(r, "Undefined");
        return;
    case V_NONE: output_words(r, "None"); return;
    case V_BOOL: output_words(r, v.boolean ? "True" : "False"); return;
    case V_INT: output_words(r, text("%" PRId64, v.integer)); return;
    case V_REAL: output_words(r, real_text(v.real, real)); return;
    case V_STRING:
        if (repr)
            output_repr_string(r, v.string);
        else
            output_string(r, v.string);
        return;
    case V_LIST:
    case V_TUPLE:
    case V_DICT:
    case V_NAMESPACE: output_container(r, v); return;
    default:
        render_fail(r, F_TEMPLATE_RENDER, text("a %s cannot be printed", value_kind_name(v)),
                    "it was probably meant to be called");
    }
}

static value printed(renderer *r, value v, bool repr) {
    size_t mark = r->n;
    output_value(r, v, repr);
    return output_take(r, mark);
}

value value_text(renderer *r, value v) {
    return v.kind == V_STRING ? v : printed(r, v, false);
}

value value_repr(renderer *r, value v) {
    return printed(r, v, true);
}

/* -- JSON -- */

static void json_code_units(renderer *r, int32_t c) {
    if (c >= 0x10000) {
        output_words(r, text("\\u%04x", (unsigned)(0xD800 + ((c - 0x10000) >> 10))));
        c = 0xDC00 + ((c - 0x10000) & 0x3FF);
    }
    output_words(r, text("\\u%04x", (unsigned)c));
}

static void json_text(renderer *r, const string *s, bool ascii) {
    static const char from[] = "\"\\\n\r\t\b\f", *const to[] = {"\\\"", "\\\\", "\\n", "\\r",
                                                                "\\t",  "\\b",  "\\f"};
    size_t plain = 0;
    output_words(r, "\"");
    for (size_t i = 0, n; i <= s->n && r->failed == STATUS_OK; i += n) {
        uint8_t c = i < s->n ? (uint8_t)s->bytes[i] : 0;
        const char *known = c != 0 ? strchr(from, c) : NULL;
        n = i < s->n ? utf8_step(s->bytes, s->n, i) : 1;
        if (i < s->n && c >= 32 && known == NULL && !(ascii && c >= 0x80)) continue;
        output_bytes(r, s->bytes + plain, i - plain, s->marks != NULL ? s->marks + plain : NULL);
        plain = i + n;
        if (i == s->n) break;
        if (known != NULL)
            output_words(r, to[known - from]);
        else
            json_code_units(r, utf8_at(s->bytes + i, n));
    }
    output_words(r, "\"");
}

static void json_value(renderer *r, value v, const json_style *style, int level);

static void json_break(renderer *r, const json_style *style, int level) {
    if (style->indent < 0) return;
    output_words(r, "\n");
    for (int i = 0; i < style->indent * level; i++)
        output_words(r, " ");
}

static void json_key(renderer *r, value key, const json_style *style) {
    if (key.kind == V_STRING) {
        json_text(r, key.string, style->ascii);
        return;
    }
    output_words(r, "\"");
    json_value(r, key, style, 0);
    output_words(r, "\"");
}

/* Indices of a dict's pairs in the order in which they are written. */
static const size_t *json_order(renderer *r, const dict *d, bool sort) {
    size_t *order = render_alloc(r, (d->n + 1) * sizeof *order);
    if (order == NULL) return NULL;
    for (size_t i = 0; i < d->n; i++) {
        size_t at = i;
        for (; sort && at > 0 && render_step(r, 1) &&
               value_order(r, d->pairs[order[at - 1]].key, d->pairs[i].key) > 0;
             at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    return order;
}

static void json_container(renderer *r, value v, const json_style *style, int level) {
    bool is_dict = v.kind == V_DICT;
    size_t n = is_dict ? v.dict->n : v.list->n;
    const size_t *order = is_dict ? json_order(r, v.dict, style->sort) : NULL;
    if (is_dict && order == NULL) return;
    if (level > 150) {
        render_limit(r, "a value is nested too deeply to be printed");
        return;
    }
    output_words(r, is_dict ? "{" : "[");
    for (size_t i = 0; i < n && r->failed == STATUS_OK; i++) {
        if (i > 0) output_string(r, &style->item);
        json_break(r, style, level + 1);
        if (is_dict) {
            json_key(r, v.dict->pairs[order[i]].key, style);
            output_string(r, &style->key);
        }
        json_value(r, is_dict ? v.dict->pairs[order[i]].value : v.list->items[i], style, level + 1);
    }
    if (n > 0) json_break(r, style, level);
    output_words(r, is_dict ? "}" : "]");
}

static void json_value(renderer *r, value v, const json_style *style, int level) {
    char real[40];
    if (!render_step(r, 1)) return;
    switch (v.kind) {
    case V_NONE: output_words(r, "null"); return;
    case V_BOOL: output_words(r, v.boolean ? "true" : "false"); return;
    case V_INT: output_words(r, text("%" PRId64, v.integer)); return;
    case V_REAL:
        output_words(r, isnan(v.real)   ? "NaN"
                        : isinf(v.real) ? v.real > 0 ? "Infinity" : "-Infinity"
                                        : real_text(v.real, real));
        return;
    case V_STRING: json_text(r, v.string, style->ascii); return;
    case V_LIST:
    case V_TUPLE:
    case V_DICT: json_container(r, v, style, level); return;
    default:
        render_fail(r, F_TEMPLATE_RENDER, text("%s has no JSON form", value_kind_name(v)),
                    "none, bool, numbers, strings, lists and dicts do");
    }
}

value value_json(renderer *r, value v, const json_style *style) {
    size_t mark = r->n;
    json_value(r, v, style, 0);
    return output_take(r, mark);
}

/* -- strings -- */

value string_part(renderer *r, const string *s, size_t from, size_t to) {
    return value_string(r, s->bytes + from, to - from, s->marks != NULL ? s->marks + from : NULL);
}

/* Is the character in the set, or white space when there is no set? */
static bool in_set(const string *set, const char *c, size_t n) {
    if (set == NULL) return utf8_is_space(utf8_at(c, n));
    for (size_t i = 0, step; i < set->n; i += step) {
        step = utf8_step(set->bytes, set->n, i);
        if (step == n && memcmp(set->bytes + i, c, n) == 0) return true;
    }
    return false;
}

value string_strip(renderer *r, const string *s, const string *set, bool left, bool right) {
    size_t from = 0, to = s->n;
    if (!render_step(r, (int64_t)s->n / 64)) return value_undefined("");
    while (left && from < to) {
        size_t n = utf8_step(s->bytes, to, from);
        if (!in_set(set, s->bytes + from, n)) break;
        from += n;
    }
    while (right && to > from) {
        size_t at = to - 1;
        while (at > from && ((uint8_t)s->bytes[at] & 0xC0) == 0x80)
            at--;
        if (!in_set(set, s->bytes + at, to - at)) break;
        to = at;
    }
    return string_part(r, s, from, to);
}

value string_case(renderer *r, const string *s, char how) {
    size_t mark = r->n;
    bool inside = false;
    for (size_t i = 0, n; i < s->n && r->failed == STATUS_OK; i += n) {
        char out[4];
        uint8_t marks[4] = {0, 0, 0, 0};
        n = utf8_step(s->bytes, s->n, i);
        int32_t c = utf8_at(s->bytes + i, n);
        bool word = how == 't' || how == 'T';
        bool up = how == 'u' || (word && !inside) || (how == 'c' && i == 0);
        int32_t changed = !up          ? utf8proc_tolower(c)
                          : how == 'u' ? utf8proc_toupper(c)
                                       : utf8proc_totitle(c);
        inside = how == 'T' ? !utf8_is_space(c) && (c >= 0x80 || strchr("-({[<", c) == NULL)
                            : utf8proc_toupper(c) != utf8proc_tolower(c);
        if (s->marks != NULL) memset(marks, s->marks[i], 4);
        output_bytes(r, out, utf8_write(out, changed), marks);
    }
    return output_take(r, mark);
}

value string_replace(renderer *r, const string *s, const string *old, const string *new,
                     int64_t most) {
    size_t mark = r->n, at = 0;
    const uint8_t *marks = s->marks;
    while (r->failed == STATUS_OK && most-- != 0 && at <= s->n) {
        const char *found =
            old->n == 0 ? s->bytes + at : memmem(s->bytes + at, s->n - at, old->bytes, old->n);
        if (found == NULL) break;
        size_t start = (size_t)(found - s->bytes);
        output_bytes(r, s->bytes + at, start - at, marks != NULL ? marks + at : NULL);
        output_string(r, new);
        at = start + old->n;
        if (old->n > 0) continue;
        if (at == s->n) {
            at = s->n + 1;
            break;
        }
        size_t n = utf8_step(s->bytes, s->n, at);
        output_bytes(r, s->bytes + at, n, marks != NULL ? marks + at : NULL);
        at += n;
    }
    if (at < s->n) output_bytes(r, s->bytes + at, s->n - at, marks != NULL ? marks + at : NULL);
    return output_take(r, mark);
}

value string_join(renderer *r, const list *items, const string *between) {
    size_t mark = r->n;
    for (size_t i = 0; i < items->n && r->failed == STATUS_OK; i++) {
        if (i > 0) output_string(r, between);
        output_value(r, items->items[i], false);
    }
    return output_take(r, mark);
}

void template_output_clear(template_output *o) {
    mem_free(o->text);
    mem_free(o->outside);
    *o = (template_output){0};
}
