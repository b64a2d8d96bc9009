/* template_value.c - values of the template interpreter: making, comparing, reaching into them.
 *
 * How. Rules are Python's: bool counts as a number, 1 == 1.0, strings compare by code point, which
 * for UTF-8 is the order of bytes; a dict keeps its order of insertion; v.name asks for a method
 * first and then for a key, v["name"] the other way round. What is missing is "undefined", which
 * prints as nothing, is false and empty, and fails once something is asked of it.
 *
 * Mind: dicts are searched from the front. Each search counts as work, so a hostile conversation
 * with a huge object ends at the bound of steps and not in an hour.
 */
#include "tokens/template_internal.h"

#include <math.h>

/* -- failing -- */

value render_fail(renderer *r, error_id id, const char *what, const char *why) {
    if (r->failed == STATUS_OK)
        r->failed = FAIL(id, what, text("%s, line %d", r->t->where, r->line), why,
                         "check the conversation against what the template expects, or give "
                         "another template with --chat-template FILE");
    return value_undefined("");
}

value render_limit(renderer *r, const char *what) {
    return render_fail(r, F_TEMPLATE_LIMIT, what, "a bounded interpreter stops here");
}

#define STEPS_MOST 4000000

bool render_step(renderer *r, int64_t steps) {
    if (r->failed != STATUS_OK) return false;
    r->steps += steps;
    if (r->steps <= STEPS_MOST) return true;
    render_limit(r, "the template takes more than 4 million steps");
    return false;
}

void *render_alloc(renderer *r, size_t bytes) {
    if (!render_step(r, (int64_t)(bytes / 64))) return NULL;
    if (r->memory.limit - r->memory.used < bytes + 64) {
        render_limit(r, "the template needs more than 256 MiB of memory");
        return NULL;
    }
    void *p = arena_alloc(&r->memory, bytes);
    if (p == NULL) r->failed = STATUS_MEMORY;
    return p;
}

/* -- making -- */

value value_string(renderer *r, const char *bytes, size_t n, const uint8_t *marks) {
    string *s = render_alloc(r, sizeof *s);
    if (s == NULL) return value_undefined("");
    *s = (string){bytes, marks, n};
    return (value){.kind = V_STRING, .string = s};
}

value value_words(renderer *r, const char *literal) {
    return value_string(r, literal, strlen(literal), NULL);
}

value value_copy(renderer *r, const char *bytes, size_t n) {
    char *copy = render_alloc(r, n + 1);
    if (copy == NULL) return value_undefined("");
    memcpy(copy, bytes, n);
    copy[n] = '\0';
    return value_string(r, copy, n, NULL);
}

value value_list(renderer *r, value_kind kind) {
    list *l = render_alloc(r, sizeof *l);
    if (l == NULL) return value_undefined("");
    *l = (list){0};
    return (value){.kind = kind, .list = l};
}

value value_dict(renderer *r, value_kind kind) {
    dict *d = render_alloc(r, sizeof *d);
    if (d == NULL) return value_undefined("");
    *d = (dict){0};
    return (value){.kind = kind, .dict = d};
}

void list_add(renderer *r, list *l, value v) {
    if (r->failed != STATUS_OK) return;
    if (l->n == l->room) {
        size_t room = 2 * l->room + 8;
        value *items = render_alloc(r, room * sizeof *items);
        if (items == NULL) return;
        if (l->n > 0) memcpy(items, l->items, l->n * sizeof *items);
        l->items = items;
        l->room = room;
    }
    l->items[l->n++] = v;
}

static pair *find_pair(renderer *r, const dict *d, value key) {
    if (!render_step(r, (int64_t)d->n / 8)) return NULL;
    for (size_t i = 0; i < d->n; i++)
        if (value_equal(r, d->pairs[i].key, key)) return &d->pairs[i];
    return NULL;
}

void dict_set(renderer *r, dict *d, value key, value v) {
    pair *found = find_pair(r, d, key);
    if (r->failed != STATUS_OK) return;
    if (found != NULL) {
        found->value = v;
        return;
    }
    if (d->n == d->room) {
        size_t room = 2 * d->room + 8;
        pair *pairs = render_alloc(r, room * sizeof *pairs);
        if (pairs == NULL) return;
        if (d->n > 0) memcpy(pairs, d->pairs, d->n * sizeof *pairs);
        d->pairs = pairs;
        d->room = room;
    }
    d->pairs[d->n++] = (pair){key, v};
}

const value *dict_find(renderer *r, const dict *d, value key) {
    const pair *found = find_pair(r, d, key);
    return found != NULL ? &found->value : NULL;
}

static bool string_is(value v, const char *words) {
    return v.kind == V_STRING && v.string->n == strlen(words) &&
           memcmp(v.string->bytes, words, v.string->n) == 0;
}

const value *dict_find_name(const dict *d, const char *name) {
    for (size_t i = 0; i < d->n; i++)
        if (string_is(d->pairs[i].key, name)) return &d->pairs[i].value;
    return NULL;
}

/* -- from JSON -- */

static value json_string_value_of(renderer *r, const char *bytes, size_t n, bool outside) {
    uint8_t *marks = NULL;
    if (outside) {
        marks = render_alloc(r, n + 1);
        if (marks == NULL) return value_undefined("");
        memset(marks, 1, n);
    }
    return value_string(r, bytes, n, marks);
}

static value json_object_value_of(renderer *r, const json_t *json, bool outside, int depth) {
    value v = value_dict(r, V_DICT);
    const char *key;
    json_t *member;
    /* jansson refuses double keys when it reads: no search is needed here */
    json_object_foreach((json_t *)(uintptr_t)json, key, member) {
        if (r->failed != STATUS_OK) return v;
        value item = value_from_json(r, member, outside, depth + 1);
        value name = json_string_value_of(r, key, strlen(key), outside);
        dict *d = v.dict;
        if (r->failed != STATUS_OK) return v;
        if (d->n == d->room) {
            size_t room = 2 * d->room + 8;
            pair *pairs = render_alloc(r, room * sizeof *pairs);
            if (pairs == NULL) return v;
            if (d->n > 0) memcpy(pairs, d->pairs, d->n * sizeof *pairs);
            d->pairs = pairs;
            d->room = room;
        }
        d->pairs[d->n++] = (pair){name, item};
    }
    return v;
}

value value_from_json(renderer *r, const json_t *json, bool outside, int depth) {
    if (!render_step(r, 1)) return value_undefined("");
    if (depth > 100) return render_limit(r, "the conversation is nested more than 100 levels deep");
    switch (json_typeof(json)) {
    case JSON_NULL: return value_none();
    case JSON_TRUE: return value_bool(true);
    case JSON_FALSE: return value_bool(false);
    case JSON_INTEGER: return value_int(json_integer_value(json));
    case JSON_REAL: return value_real(json_real_value(json));
    case JSON_STRING:
        return json_string_value_of(r, json_string_value(json), json_string_length(json), outside);
    case JSON_OBJECT: return json_object_value_of(r, json, outside, depth);
    case JSON_ARRAY: break;
    }
    value v = value_list(r, V_LIST);
    for (size_t i = 0; i < json_array_size(json) && r->failed == STATUS_OK; i++)
        list_add(r, v.list, value_from_json(r, json_array_get(json, i), outside, depth + 1));
    return v;
}

/* -- asking -- */

const char *value_kind_name(value v) {
    switch (v.kind) {
    case V_UNDEFINED: return "undefined";
    case V_NONE: return "none";
    case V_BOOL: return "bool";
    case V_INT: return "int";
    case V_REAL: return "float";
    case V_STRING: return "str";
    case V_LIST: return "list";
    case V_TUPLE: return "tuple";
    case V_DICT: return "dict";
    case V_NAMESPACE: return "namespace";
    case V_FUNCTION:
    case V_METHOD: return "function";
    case V_MACRO: return "macro";
    }
    return "";
}

bool value_truth(value v) {
    switch (v.kind) {
    case V_UNDEFINED:
    case V_NONE: return false;
    case V_BOOL: return v.boolean;
    case V_INT: return v.integer != 0;
    case V_REAL: return v.real != 0;
    case V_STRING: return v.string->n > 0;
    case V_LIST:
    case V_TUPLE: return v.list->n > 0;
    case V_DICT: return v.dict->n > 0;
    default: return true;
    }
}

bool value_integer(value v, int64_t *out) {
    if (v.kind == V_BOOL) *out = v.boolean;
    if (v.kind == V_INT) *out = v.integer;
    return v.kind == V_BOOL || v.kind == V_INT;
}

bool value_number(value v, double *out) {
    int64_t i;
    if (v.kind == V_REAL) {
        *out = v.real;
        return true;
    }
    if (!value_integer(v, &i)) return false;
    *out = (double)i;
    return true;
}

/* Two numbers: -1, 0, 1; 2 when one is not a number. */
static int number_order(value a, value b) {
    int64_t i, j;
    double x, y;
    if (value_integer(a, &i) && value_integer(b, &j)) return (i > j) - (i < j);
    (void)value_number(a, &x);
    (void)value_number(b, &y);
    return isnan(x) || isnan(y) ? 2 : (x > y) - (x < y);
}

static bool is_number(value v) {
    return v.kind == V_BOOL || v.kind == V_INT || v.kind == V_REAL;
}

static bool dict_equal(renderer *r, const dict *a, const dict *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n && r->failed == STATUS_OK; i++) {
        const value *other = dict_find(r, b, a->pairs[i].key);
        if (other == NULL || !value_equal(r, a->pairs[i].value, *other)) return false;
    }
    return true;
}

bool value_equal(renderer *r, value a, value b) {
    if (is_number(a) && is_number(b)) return number_order(a, b) == 0;
    if (a.kind != b.kind || !render_step(r, 1)) return false;
    switch (a.kind) {
    case V_UNDEFINED:
    case V_NONE: return true;
    case V_STRING:
        return a.string->n == b.string->n &&
               memcmp(a.string->bytes, b.string->bytes, a.string->n) == 0;
    case V_LIST:
    case V_TUPLE:
        if (a.list->n != b.list->n) return false;
        for (size_t i = 0; i < a.list->n; i++)
            if (!value_equal(r, a.list->items[i], b.list->items[i])) return false;
        return true;
    case V_DICT: return dict_equal(r, a.dict, b.dict);
    case V_NAMESPACE: return a.dict == b.dict;
    case V_FUNCTION: return strcmp(a.name, b.name) == 0;
    case V_MACRO: return a.macro == b.macro;
    default: return false;
    }
}

static int string_order(const string *a, const string *b) {
    size_t n = a->n < b->n ? a->n : b->n;
    int order = n > 0 ? memcmp(a->bytes, b->bytes, n) : 0;
    return order != 0 ? order : (a->n > b->n) - (a->n < b->n);
}

int value_order(renderer *r, value a, value b) {
    if (is_number(a) && is_number(b)) return number_order(a, b);
    if (a.kind == V_STRING && b.kind == V_STRING) return string_order(a.string, b.string);
    if (value_is_list(a) && a.kind == b.kind && render_step(r, 1)) {
        for (size_t i = 0; i < a.list->n && i < b.list->n; i++) {
            if (value_equal(r, a.list->items[i], b.list->items[i])) continue;
            return value_order(r, a.list->items[i], b.list->items[i]);
        }
        return (a.list->n > b.list->n) - (a.list->n < b.list->n);
    }
    render_fail(r, F_TEMPLATE_RENDER,
                text("%s and %s have no order", value_kind_name(a), value_kind_name(b)),
                "only numbers, strings and lists of them do");
    return 0;
}

bool value_contains(renderer *r, value container, value item) {
    if (container.kind == V_STRING) {
        if (item.kind != V_STRING) {
            render_fail(r, F_TEMPLATE_RENDER, text("%s in a str", value_kind_name(item)),
                        "only a string can be part of a string");
            return false;
        }
        const string *s = container.string, *w = item.string;
        if (!render_step(r, (int64_t)s->n / 64)) return false;
        return w->n == 0 || memmem(s->bytes, s->n, w->bytes, w->n) != NULL;
    }
    if (container.kind == V_DICT) return dict_find(r, container.dict, item) != NULL;
    const list *items = value_items(r, container);
    for (size_t i = 0; items != NULL && i < items->n; i++)
        if (value_equal(r, items->items[i], item)) return true;
    return false;
}

int64_t value_length(renderer *r, value v) {
    size_t n = 0;
    if (v.kind == V_UNDEFINED) return 0;
    if (value_is_list(v)) return (int64_t)v.list->n;
    if (v.kind == V_DICT) return (int64_t)v.dict->n;
    if (v.kind != V_STRING) {
        render_fail(r, F_TEMPLATE_RENDER, text("%s has no length", value_kind_name(v)),
                    "strings, lists and dicts do");
        return 0;
    }
    if (!render_step(r, (int64_t)v.string->n / 64)) return 0;
    for (size_t i = 0; i < v.string->n; i++)
        n += ((uint8_t)v.string->bytes[i] & 0xC0) != 0x80;
    return (int64_t)n;
}

list *value_items(renderer *r, value v) {
    if (value_is_list(v)) return v.list;
    value out = value_list(r, V_LIST);
    if (out.kind != V_LIST) return NULL;
    if (v.kind == V_DICT) {
        for (size_t i = 0; i < v.dict->n; i++)
            list_add(r, out.list, v.dict->pairs[i].key);
    } else if (v.kind == V_STRING) {
        for (size_t i = 0, n; i < v.string->n && r->failed == STATUS_OK; i += n) {
            n = utf8_step(v.string->bytes, v.string->n, i);
            list_add(r, out.list, string_part(r, v.string, i, i + n));
        }
    } else if (v.kind != V_UNDEFINED) {
        render_fail(r, F_TEMPLATE_RENDER, text("%s cannot be walked", value_kind_name(v)),
                    "lists, dicts and strings can");
    }
    return out.list;
}

/* -- reaching in -- */

static value missing(renderer *r, value v, const char *name) {
    char *copy = render_alloc(r, strlen(name) + 24);
    if (copy == NULL) return value_undefined("");
    snprintf(copy, strlen(name) + 24, "%.10s.%s", value_kind_name(v), name);
    return value_undefined(copy);
}

static value fail_undefined(renderer *r, value v, const char *asked) {
    return render_fail(
        r, F_TEMPLATE_RENDER,
        text("\"%.100s\" is undefined, and \"%.100s\" was asked of it", v.name, asked),
        "the conversation lacks something the template takes for granted");
}

static value method_of(renderer *r, value v, const char *name) {
    method *m = render_alloc(r, sizeof *m);
    if (m == NULL) return value_undefined("");
    *m = (method){v, name};
    return (value){.kind = V_METHOD, .method = m};
}

value value_attribute(renderer *r, value v, const char *name) {
    if (v.kind == V_UNDEFINED) return fail_undefined(r, v, name);
    if (method_exists(v, name)) return method_of(r, v, name);
    if (value_is_dict(v)) {
        const value *found = dict_find_name(v.dict, name);
        if (found != NULL) return *found;
    }
    return missing(r, v, name);
}

/* The byte where character `index` begins, counting from the end if negative; false: outside. */
static bool character_at(renderer *r, const string *s, int64_t index, size_t *from, size_t *to) {
    int64_t n = value_length(r, (value){.kind = V_STRING, .string = (string *)(uintptr_t)s});
    if (index < 0) index += n;
    if (index < 0 || index >= n) return false;
    size_t at = 0;
    for (int64_t i = 0; i < index; i++)
        at += utf8_step(s->bytes, s->n, at);
    *from = at;
    *to = at + utf8_step(s->bytes, s->n, at);
    return true;
}

value value_get(renderer *r, value v, value key) {
    int64_t index;
    size_t from, to;
    if (v.kind == V_UNDEFINED) {
        value shown = value_repr(r, key);
        return fail_undefined(r, v,
                              shown.kind == V_STRING
                                  ? text("%.*s", (int)(shown.string->n < 90 ? shown.string->n : 90),
                                         shown.string->bytes)
                                  : "");
    }
    if (value_is_dict(v)) {
        const value *found = dict_find(r, v.dict, key);
        if (found != NULL) return *found;
    }
    if (value_integer(key, &index)) {
        if (value_is_list(v)) {
            if (index < 0) index += (int64_t)v.list->n;
            if (index >= 0 && index < (int64_t)v.list->n) return v.list->items[index];
        } else if (v.kind == V_STRING && character_at(r, v.string, index, &from, &to)) {
            return string_part(r, v.string, from, to);
        }
        return missing(r, v, text("%lld", (long long)index));
    }
    if (key.kind == V_STRING && key.string->n < 200) {
        value name = value_copy(r, key.string->bytes, key.string->n);
        if (name.kind != V_STRING) return name;
        return value_attribute(r, v, name.string->bytes);
    }
    return missing(r, v, value_kind_name(key));
}

/* Python's slice of a sequence of n: start, stop and step from bounds that may be undefined. */
static bool slice_bounds(renderer *r, const value bounds[3], int64_t n, int64_t at[3]) {
    at[2] = 1;
    for (int i = 2; i >= 0; i--) {
        bool given = bounds[i].kind != V_UNDEFINED && bounds[i].kind != V_NONE;
        if (given && !value_integer(bounds[i], &at[i])) {
            render_fail(r, F_TEMPLATE_RENDER, "a slice bound is not an integer",
                        text("it is %s", value_kind_name(bounds[i])));
            return false;
        }
        if (i == 2) {
            if (at[2] != 0 && at[2] >= -n - 1 - 1000000 && at[2] != INT64_MIN) continue;
            render_fail(r, F_TEMPLATE_RENDER, "a slice has an impossible step", "zero is none");
            return false;
        }
        bool back = at[2] < 0;
        if (!given)
            at[i] = (i == 0) == back ? (back ? n - 1 : n) : (back ? -1 : 0);
        else {
            if (at[i] < 0) at[i] = at[i] < -n ? -1 - n : at[i] + n;
            if (at[i] < 0) at[i] = back ? -1 : 0;
            if (at[i] >= n) at[i] = back ? n - 1 : n;
        }
    }
    return true;
}

value value_slice(renderer *r, value v, const value bounds[3]) {
    if (v.kind == V_UNDEFINED) return fail_undefined(r, v, "a slice");
    if (v.kind != V_STRING && !value_is_list(v))
        return render_fail(r, F_TEMPLATE_RENDER, text("%s cannot be sliced", value_kind_name(v)),
                           "lists and strings can");
    int64_t at[3];
    const list *items = value_items(r, v);
    value out = value_list(r, v.kind == V_TUPLE ? V_TUPLE : V_LIST);
    if (r->failed != STATUS_OK || !slice_bounds(r, bounds, (int64_t)items->n, at))
        return value_undefined("");
    for (int64_t i = at[0]; at[2] > 0 ? i < at[1] : i > at[1];) {
        list_add(r, out.list, items->items[i]);
        if (r->failed != STATUS_OK || __builtin_add_overflow(i, at[2], &i)) break;
    }
    return v.kind == V_STRING ? string_join(r, out.list, &(string){"", NULL, 0}) : out;
}
