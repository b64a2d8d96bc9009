/* template_methods.c - methods of the strings, dicts and lists of a template, as Python has them.
 *
 * How. One table per kind of value. A method that does what a filter of the same name does has no
 * function of its own in its row.
 */
#include "tokens/template_internal.h"

#include <stdlib.h>

/* -- methods of strings -- */

static value method_strip(renderer *r, value v, const arguments *a) {
    return string_strip(r, v.string, a->n > 0 ? string_at(r, a, 0, NULL, NULL) : NULL, true, true);
}

static value method_lstrip(renderer *r, value v, const arguments *a) {
    return string_strip(r, v.string, a->n > 0 ? string_at(r, a, 0, NULL, NULL) : NULL, true, false);
}

static value method_rstrip(renderer *r, value v, const arguments *a) {
    return string_strip(r, v.string, a->n > 0 ? string_at(r, a, 0, NULL, NULL) : NULL, false, true);
}

static value method_title(renderer *r, value v, const arguments *a) {
    (void)a;
    return string_case(r, v.string, 't');
}

/* Does s begin (or end) with the word, or with one of the words of a tuple? */
static value edge(renderer *r, value v, const arguments *a, bool end) {
    const value *words = argument_at(a, 0, NULL);
    value one[1];
    list lone = {one, 1, 1};
    if (words == NULL) return fail_argument(r, "startswith or endswith of nothing");
    one[0] = *words;
    const list *all = words->kind == V_TUPLE ? words->list : &lone;
    for (size_t i = 0; i < all->n; i++) {
        if (all->items[i].kind != V_STRING)
            return fail_argument(r, "startswith or endswith of something that is no string");
        const string *s = v.string, *w = all->items[i].string;
        if (w->n <= s->n && memcmp(s->bytes + (end ? s->n - w->n : 0), w->bytes, w->n) == 0)
            return value_bool(true);
    }
    return value_bool(false);
}

static value method_startswith(renderer *r, value v, const arguments *a) {
    return edge(r, v, a, false);
}

static value method_endswith(renderer *r, value v, const arguments *a) {
    return edge(r, v, a, true);
}

/* split() at white space: runs count as one, none at the ends. */
static value split_space(renderer *r, const string *s, int64_t most) {
    value out = value_list(r, V_LIST);
    size_t at = 0, n;
    while (r->failed == STATUS_OK && at < s->n) {
        n = utf8_step(s->bytes, s->n, at);
        if (utf8_is_space(utf8_at(s->bytes + at, n))) {
            at += n;
            continue;
        }
        size_t from = at;
        if (most-- == 0) {
            list_add(r, out.list, string_part(r, s, from, s->n));
            break;
        }
        while (at < s->n &&
               !utf8_is_space(utf8_at(s->bytes + at, n = utf8_step(s->bytes, s->n, at))))
            at += n;
        list_add(r, out.list, string_part(r, s, from, at));
    }
    return out;
}

static value method_split(renderer *r, value v, const arguments *a) {
    const value *sep = argument_at(a, 0, "sep");
    int64_t most = integer_at(r, a, 1, "maxsplit", -1);
    const string *s = v.string;
    if (sep == NULL || sep->kind == V_NONE) return split_space(r, s, most);
    if (sep->kind != V_STRING || sep->string->n == 0)
        return fail_argument(r, "split at something that is no string");
    value out = value_list(r, V_LIST);
    size_t at = 0;
    while (r->failed == STATUS_OK && most-- != 0) {
        const char *found = memmem(s->bytes + at, s->n - at, sep->string->bytes, sep->string->n);
        if (found == NULL) break;
        list_add(r, out.list, string_part(r, s, at, (size_t)(found - s->bytes)));
        at = (size_t)(found - s->bytes) + sep->string->n;
    }
    list_add(r, out.list, string_part(r, s, at, s->n));
    return out;
}

/* The last place of w in s[0..n), or -1. */
static int64_t find_last(const string *s, size_t n, const string *w) {
    if (w->n > n) return -1;
    for (size_t i = n - w->n + 1; i > 0; i--)
        if (memcmp(s->bytes + i - 1, w->bytes, w->n) == 0) return (int64_t)i - 1;
    return -1;
}

static value method_rsplit(renderer *r, value v, const arguments *a) {
    const value *sep = argument_at(a, 0, "sep");
    int64_t most = integer_at(r, a, 1, "maxsplit", -1);
    if (most < 0 || sep == NULL || sep->kind != V_STRING || sep->string->n == 0)
        return method_split(r, v, a);
    value out = value_list(r, V_LIST);
    size_t end = v.string->n;
    while (r->failed == STATUS_OK && most-- > 0 && render_step(r, (int64_t)end / 64)) {
        int64_t at = find_last(v.string, end, sep->string);
        if (at < 0) break;
        list_add(r, out.list, string_part(r, v.string, (size_t)at + sep->string->n, end));
        end = (size_t)at;
    }
    list_add(r, out.list, string_part(r, v.string, 0, end));
    return call_filter(r, "reverse", out, a);
}

static value method_splitlines(renderer *r, value v, const arguments *a) {
    bool keep = truth_at(a, 0, "keepends", false);
    value out = value_list(r, V_LIST);
    const string *s = v.string;
    for (size_t at = 0; at < s->n && r->failed == STATUS_OK;) {
        size_t end = at, n = 0;
        while (end < s->n && s->bytes[end] != '\n' && s->bytes[end] != '\r')
            end++;
        if (end < s->n)
            n = s->bytes[end] == '\r' && end + 1 < s->n && s->bytes[end + 1] == '\n' ? 2 : 1;
        list_add(r, out.list, string_part(r, s, at, keep ? end + n : end));
        at = end + n;
    }
    return out;
}

static value found_at(renderer *r, const string *s, int64_t byte) {
    if (byte < 0) return value_int(-1);
    value before = string_part(r, s, 0, (size_t)byte);
    return r->failed != STATUS_OK ? before : value_int(value_length(r, before));
}

static value method_find(renderer *r, value v, const arguments *a) {
    const string *w = string_at(r, a, 0, NULL, NULL), *s = v.string;
    if (w == NULL) return v;
    const char *found = w->n == 0 ? s->bytes : memmem(s->bytes, s->n, w->bytes, w->n);
    return found_at(r, s, found != NULL ? found - s->bytes : -1);
}

static value method_rfind(renderer *r, value v, const arguments *a) {
    const string *w = string_at(r, a, 0, NULL, NULL);
    return w == NULL ? v : found_at(r, v.string, find_last(v.string, v.string->n, w));
}

static value method_index(renderer *r, value v, const arguments *a) {
    value found = method_find(r, v, a);
    if (found.kind == V_INT && found.integer < 0)
        return fail_argument(r, "index of what is not there");
    return found;
}

static value method_count(renderer *r, value v, const arguments *a) {
    const string *w = string_at(r, a, 0, NULL, NULL), *s = v.string;
    int64_t n = 0;
    if (w == NULL) return v;
    if (w->n == 0) return value_int(value_length(r, v) + 1);
    for (size_t at = 0; at < s->n; n++) {
        const char *found = memmem(s->bytes + at, s->n - at, w->bytes, w->n);
        if (found == NULL) break;
        at = (size_t)(found - s->bytes) + w->n;
    }
    return value_int(n);
}

static value method_join(renderer *r, value v, const arguments *a) {
    const value *over = argument_at(a, 0, NULL);
    const list *items = over != NULL ? value_items(r, *over) : NULL;
    if (items == NULL) return fail_argument(r, "join of nothing");
    for (size_t i = 0; i < items->n; i++)
        if (items->items[i].kind != V_STRING)
            return fail_argument(r, "join of items that are no strings");
    return string_join(r, items, v.string);
}

/* The argument a replacement field asks for: by its name, its number or its turn. */
static const value *format_argument(const arguments *a, const char *field, size_t n, size_t *turn) {
    char name[64], *end;
    if (n == 0) return argument_at(a, (*turn)++, NULL);
    if (n >= sizeof name) return NULL;
    memcpy(name, field, n);
    name[n] = '\0';
    long number = strtol(name, &end, 10);
    if (*end == '\0') return number >= 0 ? argument_at(a, (size_t)number, NULL) : NULL;
    return argument_at(a, a->n, name);
}

/* str.format with fields {}, {0} and {name}; conversions and format specifications are refused. */
static value method_format(renderer *r, value v, const arguments *a) {
    const string *s = v.string;
    size_t mark = r->n, turn = 0;
    for (size_t i = 0; i < s->n && r->failed == STATUS_OK; i++) {
        char c = s->bytes[i];
        bool twice = i + 1 < s->n && s->bytes[i + 1] == c;
        if ((c != '{' && c != '}') || twice) {
            output_bytes(r, s->bytes + i, 1, s->marks != NULL ? s->marks + i : NULL);
            i += (c == '{' || c == '}') && twice;
            continue;
        }
        const char *end = memchr(s->bytes + i, '}', s->n - i);
        size_t n = end != NULL ? (size_t)(end - s->bytes) - i - 1 : 0;
        const value *given =
            end != NULL && c == '{' ? format_argument(a, s->bytes + i + 1, n, &turn) : NULL;
        if (given == NULL) return fail_argument(r, "format: a field names no argument");
        const string *words = text_of(r, *given);
        output_bytes(r, words->bytes, words->n, words->marks);
        i += n + 1;
    }
    return output_take(r, mark);
}

/* Do all characters (at least one) satisfy the question: d(igit), a(lpha), s(pace), u, l? */
static value all_characters(const string *s, char question) {
    bool cased = false;
    for (size_t i = 0; i < s->n; i++) {
        char c = s->bytes[i];
        bool upper = c >= 'A' && c <= 'Z', lower = c >= 'a' && c <= 'z',
             digit = c >= '0' && c <= '9';
        cased |= upper || lower;
        if (question == 'd' && !digit) return value_bool(false);
        if (question == 'a' && !upper && !lower && (uint8_t)c < 0x80) return value_bool(false);
        if (question == 's' && !utf8_is_space(c)) return value_bool(false);
        if (question == 'u' && lower) return value_bool(false);
        if (question == 'l' && upper) return value_bool(false);
    }
    return value_bool(s->n > 0 && (cased || question == 'd' || question == 'a' || question == 's'));
}

static value method_isdigit(renderer *r, value v, const arguments *a) {
    (void)r;
    (void)a;
    return all_characters(v.string, 'd');
}

static value method_isalpha(renderer *r, value v, const arguments *a) {
    (void)r;
    (void)a;
    return all_characters(v.string, 'a');
}

static value method_isspace(renderer *r, value v, const arguments *a) {
    (void)r;
    (void)a;
    return all_characters(v.string, 's');
}

static value method_isupper(renderer *r, value v, const arguments *a) {
    (void)r;
    (void)a;
    return all_characters(v.string, 'u');
}

static value method_islower(renderer *r, value v, const arguments *a) {
    (void)r;
    (void)a;
    return all_characters(v.string, 'l');
}

static const function_row string_methods[] = {
    {"capitalize", NULL},
    {"count", method_count},
    {"endswith", method_endswith},
    {"find", method_find},
    {"format", method_format},
    {"index", method_index},
    {"isalpha", method_isalpha},
    {"isdigit", method_isdigit},
    {"islower", method_islower},
    {"isspace", method_isspace},
    {"isupper", method_isupper},
    {"join", method_join},
    {"lower", NULL},
    {"lstrip", method_lstrip},
    {"replace", NULL},
    {"rfind", method_rfind},
    {"rsplit", method_rsplit},
    {"rstrip", method_rstrip},
    {"split", method_split},
    {"splitlines", method_splitlines},
    {"startswith", method_startswith},
    {"strip", method_strip},
    {"title", method_title},
    {"upper", NULL},
};

/* -- methods of dicts and lists -- */

static value method_get(renderer *r, value v, const arguments *a) {
    const value *key = argument_at(a, 0, NULL), *otherwise = argument_at(a, 1, NULL);
    if (key == NULL) return fail_argument(r, "get of nothing");
    const value *found = dict_find(r, v.dict, *key);
    return found != NULL ? *found : otherwise != NULL ? *otherwise : value_none();
}

static value method_keys(renderer *r, value v, const arguments *a) {
    return call_filter(r, "list", v, a);
}

static value method_values(renderer *r, value v, const arguments *a) {
    (void)a;
    value out = value_list(r, V_LIST);
    for (size_t i = 0; i < v.dict->n && r->failed == STATUS_OK; i++)
        list_add(r, out.list, v.dict->pairs[i].value);
    return out;
}

static value method_list_index(renderer *r, value v, const arguments *a) {
    const value *item = argument_at(a, 0, NULL);
    for (size_t i = 0; item != NULL && i < v.list->n; i++)
        if (value_equal(r, v.list->items[i], *item)) return value_int((int64_t)i);
    return fail_argument(r, "index of what is not in the list");
}

static value method_list_count(renderer *r, value v, const arguments *a) {
    const value *item = argument_at(a, 0, NULL);
    int64_t n = 0;
    for (size_t i = 0; item != NULL && i < v.list->n; i++)
        n += value_equal(r, v.list->items[i], *item);
    return value_int(n);
}

static const function_row dict_methods[] = {
    {"get", method_get}, {"items", NULL}, {"keys", method_keys}, {"values", method_values}};
static const function_row list_methods[] = {{"count", method_list_count},
                                            {"index", method_list_index}};

/* The row of a value's method; NULL if it has none of that name. */
static const function_row *find_method(value v, const char *name) {
    switch (v.kind) {
    case V_STRING:
        return function_find(string_methods, sizeof string_methods / sizeof string_methods[0],
                             name);
    case V_DICT:
        return function_find(dict_methods, sizeof dict_methods / sizeof dict_methods[0], name);
    case V_LIST:
    case V_TUPLE:
        return function_find(list_methods, sizeof list_methods / sizeof list_methods[0], name);
    default: return NULL;
    }
}

bool method_exists(value v, const char *name) {
    return find_method(v, name) != NULL;
}

value call_method(renderer *r, const method *m, const arguments *a) {
    const function_row *row = find_method(m->self, m->name);
    if (row == NULL) return fail_argument(r, text("no method \"%.60s\"", m->name));
    return row->call != NULL ? row->call(r, m->self, a) : call_filter(r, row->name, m->self, a);
}
