/* template_functions.c - filters, tests and functions of the template interpreter.
 *
 * How. Tables of rows {name, function}; methods are in template_methods.c. Behaviour is that of Jinja 3.1's built-ins and of
 * Python's str and dict methods, for what chat templates use of them; tojson, raise_exception and
 * strftime_now are Hugging Face's additions.
 */
#include "base/json.h"
#include "tokens/template_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

/* -- arguments -- */

value fail_argument(renderer *r, const char *what) {
    return render_fail(r, F_TEMPLATE_RENDER, what, "an argument has the wrong kind or is missing");
}

const string *string_at(renderer *r, const arguments *a, size_t position, const char *name,
                        const string *otherwise) {
    const value *v = argument_at(a, position, name);
    if (v == NULL || (v->kind == V_NONE && otherwise != NULL)) {
        if (otherwise == NULL) fail_argument(r, text("argument %zu is missing", position + 1));
        return otherwise;
    }
    if (v->kind == V_STRING) return v->string;
    fail_argument(r, text("argument %zu is %s, not a string", position + 1, value_kind_name(*v)));
    return NULL;
}

int64_t integer_at(renderer *r, const arguments *a, size_t position, const char *name,
                   int64_t otherwise) {
    const value *v = argument_at(a, position, name);
    int64_t i = otherwise;
    if (v != NULL && v->kind != V_NONE && !value_integer(*v, &i))
        fail_argument(
            r, text("argument %zu is %s, not an integer", position + 1, value_kind_name(*v)));
    return i;
}

bool truth_at(const arguments *a, size_t position, const char *name, bool otherwise) {
    const value *v = argument_at(a, position, name);
    return v != NULL ? value_truth(*v) : otherwise;
}

const string nothing = {"", NULL, 0};

const string *text_of(renderer *r, value v) {
    value s = value_text(r, v);
    return s.kind == V_STRING ? s.string : &nothing;
}

/* -- filters on strings -- */

static value filter_trim(renderer *r, value v, const arguments *a) {
    const string *set = a->n > 0 ? string_at(r, a, 0, "chars", NULL) : NULL;
    return string_strip(r, text_of(r, v), set, true, true);
}

static value filter_upper(renderer *r, value v, const arguments *a) {
    (void)a;
    return string_case(r, text_of(r, v), 'u');
}

static value filter_lower(renderer *r, value v, const arguments *a) {
    (void)a;
    return string_case(r, text_of(r, v), 'l');
}

static value filter_capitalize(renderer *r, value v, const arguments *a) {
    (void)a;
    return string_case(r, text_of(r, v), 'c');
}

static value filter_title(renderer *r, value v, const arguments *a) {
    (void)a;
    return string_case(r, text_of(r, v), 'T');
}

static value filter_string(renderer *r, value v, const arguments *a) {
    (void)a;
    return value_text(r, v);
}

static value filter_replace(renderer *r, value v, const arguments *a) {
    const string *old = string_at(r, a, 0, "old", NULL), *new = string_at(r, a, 1, "new", NULL);
    int64_t count = integer_at(r, a, 2, "count", -1);
    if (r->failed != STATUS_OK) return v;
    return string_replace(r, text_of(r, v), old, new, count);
}

static value filter_indent(renderer *r, value v, const arguments *a) {
    const value *width = argument_at(a, 0, "width");
    bool first = truth_at(a, 1, "first", false), blank = truth_at(a, 2, "blank", false);
    const string *s = text_of(r, v),
                 *pad = width != NULL && width->kind == V_STRING ? width->string : NULL;
    int64_t n = pad == NULL ? integer_at(r, a, 0, "width", 4) : 0;
    size_t mark = r->n;
    bool start = true;
    for (size_t i = 0; i < s->n && r->failed == STATUS_OK; i++) {
        bool line = start && (i > 0 || first) && (blank || s->bytes[i] != '\n');
        if (line && pad != NULL) output_bytes(r, pad->bytes, pad->n, pad->marks);
        for (int64_t k = 0; line && k < n && r->failed == STATUS_OK; k++)
            output_words(r, " ");
        output_bytes(r, s->bytes + i, 1, s->marks != NULL ? s->marks + i : NULL);
        start = s->bytes[i] == '\n';
    }
    return output_take(r, mark);
}

static value filter_tojson(renderer *r, value v, const arguments *a) {
    const value *indent = argument_at(a, 1, "indent"), *parts = argument_at(a, 2, "separators");
    int64_t n = indent != NULL && indent->kind != V_NONE ? integer_at(r, a, 1, "indent", 0) : -1;
    json_style style = {.indent = n < 0    ? -1
                                  : n > 64 ? 64
                                           : (int)n,
                        .ascii = truth_at(a, 0, "ensure_ascii", false),
                        .sort = truth_at(a, 3, "sort_keys", false),
                        .item = {n < 0 ? ", " : ",", NULL, n < 0 ? 2 : 1},
                        .key = {": ", NULL, 2}};
    if (parts != NULL && parts->kind != V_NONE) {
        const list *l = value_is_list(*parts) ? parts->list : NULL;
        if (l == NULL || l->n != 2 || l->items[0].kind != V_STRING || l->items[1].kind != V_STRING)
            return fail_argument(r, "tojson: separators are two strings");
        style.item = *l->items[0].string;
        style.key = *l->items[1].string;
    }
    return r->failed != STATUS_OK ? v : value_json(r, v, &style);
}

/* Text to a value; what it holds came from outside if any of the text did. */
static value filter_from_json(renderer *r, value v, const arguments *a) {
    json_t *json;
    (void)a;
    if (v.kind != V_STRING) return fail_argument(r, "from_json of something that is no string");
    const string *s = v.string;
    bool outside = s->marks != NULL && memchr(s->marks, 1, s->n) != NULL;
    if (json_parse(s->bytes, s->n, "from_json", &json) != STATUS_OK)
        return render_fail(r, F_TEMPLATE_RENDER, "from_json of something that is not JSON",
                           text("%.300s", error_last()->what));
    value out = value_from_json(r, json, outside, 0);
    json_decref(json);
    return out;
}

/* -- filters on sequences -- */

static value filter_length(renderer *r, value v, const arguments *a) {
    (void)a;
    return value_int(value_length(r, v));
}

static value filter_list(renderer *r, value v, const arguments *a) {
    (void)a;
    value out = value_list(r, V_LIST);
    const list *items = value_items(r, v);
    for (size_t i = 0; items != NULL && i < items->n && r->failed == STATUS_OK; i++)
        list_add(r, out.list, items->items[i]);
    return out;
}

static value filter_first(renderer *r, value v, const arguments *a) {
    (void)a;
    const list *items = value_items(r, v);
    return items != NULL && items->n > 0 ? items->items[0] : value_undefined("the first item");
}

static value filter_last(renderer *r, value v, const arguments *a) {
    (void)a;
    const list *items = value_items(r, v);
    return items != NULL && items->n > 0 ? items->items[items->n - 1]
                                         : value_undefined("the last item");
}

/* Jinja's dotted attribute of an item: "function.name". */
static value attribute_path(renderer *r, value v, const string *path) {
    for (size_t from = 0; from <= path->n && r->failed == STATUS_OK;) {
        const char *dot = memchr(path->bytes + from, '.', path->n - from);
        size_t to = dot != NULL ? (size_t)(dot - path->bytes) : path->n;
        v = value_get(r, v, string_part(r, path, from, to));
        from = to + 1;
    }
    return v;
}

static value filter_join(renderer *r, value v, const arguments *a) {
    const string *between = string_at(r, a, 0, "d", &nothing);
    const value *path = argument_at(a, 1, "attribute");
    const list *items = value_items(r, v);
    if (r->failed != STATUS_OK) return v;
    if (path == NULL || path->kind != V_STRING) return string_join(r, items, between);
    value parts = value_list(r, V_LIST);
    for (size_t i = 0; i < items->n && r->failed == STATUS_OK; i++)
        list_add(r, parts.list, attribute_path(r, items->items[i], path->string));
    return r->failed != STATUS_OK ? v : string_join(r, parts.list, between);
}

static value filter_reverse(renderer *r, value v, const arguments *a) {
    (void)a;
    const value bounds[3] = {value_none(), value_none(), value_int(-1)};
    if (v.kind == V_DICT) v = filter_list(r, v, a);
    return r->failed != STATUS_OK ? v : value_slice(r, v, bounds);
}

/* Stable insertion sort by a key; the lists of a conversation are short, and steps are counted. */
static value sorted(renderer *r, const list *items, const list *keys, bool down) {
    value out = value_list(r, V_LIST), order = value_list(r, V_LIST);
    for (size_t i = 0; i < items->n && r->failed == STATUS_OK; i++) {
        size_t at = out.list->n;
        list_add(r, out.list, items->items[i]);
        list_add(r, order.list, keys->items[i]);
        for (; r->failed == STATUS_OK && at > 0 && render_step(r, 1); at--) {
            int by = value_order(r, order.list->items[at - 1], keys->items[i]);
            if (down ? by >= 0 : by <= 0) break;
            out.list->items[at] = out.list->items[at - 1];
            order.list->items[at] = order.list->items[at - 1];
        }
        if (r->failed != STATUS_OK) return out;
        out.list->items[at] = items->items[i];
        order.list->items[at] = keys->items[i];
    }
    return out;
}

/* Keys to sort by: the items or an attribute of them, without case unless asked. */
static value sort_keys(renderer *r, const list *items, const value *path, bool sensitive) {
    value keys = value_list(r, V_LIST);
    for (size_t i = 0; i < items->n && r->failed == STATUS_OK; i++) {
        value k = items->items[i];
        if (path != NULL && path->kind == V_STRING) k = attribute_path(r, k, path->string);
        if (k.kind == V_STRING && !sensitive) k = string_case(r, k.string, 'l');
        list_add(r, keys.list, k);
    }
    return keys;
}

static value filter_sort(renderer *r, value v, const arguments *a) {
    const list *items = value_items(r, v);
    if (items == NULL) return v;
    value keys = sort_keys(r, items, argument_at(a, 2, "attribute"),
                           truth_at(a, 1, "case_sensitive", false));
    if (r->failed != STATUS_OK) return v;
    return sorted(r, items, keys.list, truth_at(a, 0, "reverse", false));
}

static value pair_of(renderer *r, value a, value b) {
    value t = value_list(r, V_TUPLE);
    if (r->failed != STATUS_OK) return t;
    list_add(r, t.list, a);
    list_add(r, t.list, b);
    return t;
}

static value filter_items(renderer *r, value v, const arguments *a) {
    (void)a;
    value out = value_list(r, V_LIST);
    if (v.kind == V_UNDEFINED || r->failed != STATUS_OK) return out;
    if (v.kind != V_DICT) return fail_argument(r, "items of something that is no dict");
    for (size_t i = 0; i < v.dict->n && r->failed == STATUS_OK; i++)
        list_add(r, out.list, pair_of(r, v.dict->pairs[i].key, v.dict->pairs[i].value));
    return out;
}

static value filter_dictsort(renderer *r, value v, const arguments *a) {
    const string *by = string_at(r, a, 1, "by", &(string){"key", NULL, 3});
    value pairs = filter_items(r, v, a);
    if (r->failed != STATUS_OK) return v;
    int side = by->n == 5 && memcmp(by->bytes, "value", 5) == 0;
    value ends = value_list(r, V_LIST);
    for (size_t i = 0; i < pairs.list->n && r->failed == STATUS_OK; i++)
        list_add(r, ends.list, pairs.list->items[i].list->items[side]);
    if (r->failed != STATUS_OK) return v;
    value keys = sort_keys(r, ends.list, NULL, truth_at(a, 0, "case_sensitive", false));
    if (r->failed != STATUS_OK) return v;
    return sorted(r, pairs.list, keys.list, truth_at(a, 2, "reverse", false));
}

static value filter_unique(renderer *r, value v, const arguments *a) {
    (void)a;
    value out = value_list(r, V_LIST);
    const list *items = value_items(r, v);
    for (size_t i = 0; items != NULL && i < items->n && r->failed == STATUS_OK; i++)
        if (!value_contains(r, out, items->items[i])) list_add(r, out.list, items->items[i]);
    return out;
}

static value filter_sum(renderer *r, value v, const arguments *a) {
    (void)a;
    const list *items = value_items(r, v);
    int64_t whole = 0, i;
    double real = 0, x;
    bool is_real = false;
    for (size_t k = 0; items != NULL && k < items->n && r->failed == STATUS_OK; k++) {
        if (value_integer(items->items[k], &i)) {
            if (__builtin_add_overflow(whole, i, &whole))
                return fail_argument(r, "a sum overflows");
        } else if (value_number(items->items[k], &x)) {
            real += x;
            is_real = true;
        } else {
            return fail_argument(r, "a sum of something that is no number");
        }
    }
    return is_real ? value_real(real + (double)whole) : value_int(whole);
}

static value extreme(renderer *r, value v, int sign) {
    const list *items = value_items(r, v);
    if (items == NULL || items->n == 0) return value_undefined("the largest or smallest item");
    value best = items->items[0];
    for (size_t i = 1; i < items->n && r->failed == STATUS_OK; i++)
        if (sign * value_order(r, items->items[i], best) > 0) best = items->items[i];
    return best;
}

static value filter_max(renderer *r, value v, const arguments *a) {
    (void)a;
    return extreme(r, v, 1);
}

static value filter_min(renderer *r, value v, const arguments *a) {
    (void)a;
    return extreme(r, v, -1);
}

/* The arguments behind the first `from`, for a filter or test applied to each item. */
static arguments behind(const arguments *a, size_t from) {
    if (from > a->n) from = a->n;
    return (arguments){a->items + from, a->names + from, a->n - from};
}

static value filter_map(renderer *r, value v, const arguments *a) {
    const value *path = argument_at(a, a->n, "attribute"),
                *otherwise = argument_at(a, a->n, "default");
    value out = value_list(r, V_LIST);
    if (!value_truth(v)) return out;
    const list *items = value_items(r, v);
    const string *name = path == NULL ? string_at(r, a, 0, NULL, NULL) : NULL;
    if (r->failed != STATUS_OK) return v;
    if (path != NULL && path->kind != V_STRING)
        return fail_argument(r, "map: attribute is no string");
    value words = name != NULL ? value_copy(r, name->bytes, name->n) : value_none();
    if (name != NULL && (words.kind != V_STRING || !filter_exists(words.string->bytes)))
        return fail_argument(
            r, text("map: no filter \"%.60s\"", words.kind == V_STRING ? words.string->bytes : ""));
    arguments rest = behind(a, 1);
    for (size_t i = 0; i < items->n && r->failed == STATUS_OK; i++) {
        value item = items->items[i];
        item = path != NULL ? attribute_path(r, item, path->string)
                            : call_filter(r, words.string->bytes, item, &rest);
        if (item.kind == V_UNDEFINED && otherwise != NULL) item = *otherwise;
        list_add(r, out.list, item);
    }
    return out;
}

/* select, reject, selectattr, rejectattr. */
static value chosen(renderer *r, value v, const arguments *a, bool by_attribute, bool keep) {
    size_t at = by_attribute ? 1 : 0;
    const string *path = by_attribute ? string_at(r, a, 0, NULL, NULL) : NULL;
    value out = value_list(r, V_LIST), test = value_none();
    if (!value_truth(v)) return out;
    const list *items = value_items(r, v);
    if (a->n > at) {
        const string *name = string_at(r, a, at, NULL, NULL);
        if (name != NULL) test = value_copy(r, name->bytes, name->n);
        if (r->failed == STATUS_OK && !test_exists(test.string->bytes))
            return fail_argument(r, text("no test \"%.60s\"", test.string->bytes));
    }
    arguments rest = behind(a, at + 1);
    for (size_t i = 0; r->failed == STATUS_OK && i < items->n; i++) {
        value item = items->items[i], asked = path != NULL ? attribute_path(r, item, path) : item;
        bool yes = test.kind == V_STRING ? call_test(r, test.string->bytes, asked, &rest)
                                         : value_truth(asked);
        if (yes == keep) list_add(r, out.list, item);
    }
    return out;
}

static value filter_select(renderer *r, value v, const arguments *a) {
    return chosen(r, v, a, false, true);
}

static value filter_reject(renderer *r, value v, const arguments *a) {
    return chosen(r, v, a, false, false);
}

static value filter_selectattr(renderer *r, value v, const arguments *a) {
    return chosen(r, v, a, true, true);
}

static value filter_rejectattr(renderer *r, value v, const arguments *a) {
    return chosen(r, v, a, true, false);
}

/* -- filters on any value -- */

static value filter_default(renderer *r, value v, const arguments *a) {
    const value *otherwise = argument_at(a, 0, "default_value");
    bool falsy = truth_at(a, 1, "boolean", false);
    (void)r;
    if (v.kind != V_UNDEFINED && (!falsy || value_truth(v))) return v;
    return otherwise != NULL ? *otherwise : value_words(r, "");
}

static value filter_safe(renderer *r, value v, const arguments *a) {
    return filter_string(r, v, a);
}

/* The number a whole string spells; false if it spells none. */
static bool spelled(renderer *r, value v, double *out) {
    char words[64], *end;
    value s = string_strip(r, v.string, NULL, true, true);
    if (s.kind != V_STRING || s.string->n == 0 || s.string->n >= sizeof words) return false;
    memcpy(words, s.string->bytes, s.string->n);
    words[s.string->n] = '\0';
    if (strpbrk(words, "xXpP") != NULL) return false;
    *out = strtod(words, &end);
    return *end == '\0';
}

static value filter_float(renderer *r, value v, const arguments *a) {
    double x;
    const value *otherwise = argument_at(a, 0, "default");
    if (value_number(v, &x) || (v.kind == V_STRING && spelled(r, v, &x))) return value_real(x);
    return otherwise != NULL ? *otherwise : value_real(0);
}

static value filter_int(renderer *r, value v, const arguments *a) {
    double x = 0;
    int64_t i;
    const value *otherwise = argument_at(a, 0, "default");
    if (value_integer(v, &i)) return value_int(i);
    bool number = value_number(v, &x) || (v.kind == V_STRING && spelled(r, v, &x));
    if (number && fabs(x) < 9.2e18) return value_int((int64_t)x);
    return otherwise != NULL ? *otherwise : value_int(0);
}

static value filter_abs(renderer *r, value v, const arguments *a) {
    int64_t i;
    (void)a;
    if (v.kind == V_REAL) return value_real(fabs(v.real));
    if (!value_integer(v, &i) || i == INT64_MIN) return fail_argument(r, "abs of no number");
    return value_int(i < 0 ? -i : i);
}

static value filter_round(renderer *r, value v, const arguments *a) {
    double x;
    int64_t places = integer_at(r, a, 0, "precision", 0);
    const string *how = string_at(r, a, 1, "method", &(string){"common", NULL, 6});
    if (r->failed != STATUS_OK) return v;
    if (!value_number(v, &x) || places < -300 || places > 300)
        return fail_argument(r, "round of no number");
    double scale = pow(10, (double)places);
    if (how->n == 4) return value_real(ceil(x * scale) / scale);
    if (how->n == 5) return value_real(floor(x * scale) / scale);
    return value_real(rint(x * scale) / scale);
}

static value filter_escape(renderer *r, value v, const arguments *a) {
    static const char from[] = "&<>\"'", *const to[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
    const string *s = text_of(r, v);
    size_t mark = r->n;
    (void)a;
    for (size_t i = 0; i < s->n && r->failed == STATUS_OK; i++) {
        const char *known = s->bytes[i] != '\0' ? strchr(from, s->bytes[i]) : NULL;
        if (known != NULL)
            output_words(r, to[known - from]);
        else
            output_bytes(r, s->bytes + i, 1, s->marks != NULL ? s->marks + i : NULL);
    }
    return output_take(r, mark);
}

static const function_row filters[] = {
    {"abs", filter_abs},
    {"capitalize", filter_capitalize},
    {"count", filter_length},
    {"d", filter_default},
    {"default", filter_default},
    {"dictsort", filter_dictsort},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"first", filter_first},
    {"float", filter_float},
    {"from_json", filter_from_json},
    {"indent", filter_indent},
    {"int", filter_int},
    {"items", filter_items},
    {"join", filter_join},
    {"last", filter_last},
    {"length", filter_length},
    {"list", filter_list},
    {"lower", filter_lower},
    {"map", filter_map},
    {"max", filter_max},
    {"min", filter_min},
    {"reject", filter_reject},
    {"rejectattr", filter_rejectattr},
    {"replace", filter_replace},
    {"reverse", filter_reverse},
    {"round", filter_round},
    {"safe", filter_safe},
    {"select", filter_select},
    {"selectattr", filter_selectattr},
    {"sort", filter_sort},
    {"string", filter_string},
    {"sum", filter_sum},
    {"title", filter_title},
    {"tojson", filter_tojson},
    {"trim", filter_trim},
    {"unique", filter_unique},
    {"upper", filter_upper},
};

const function_row *function_find(const function_row *rows, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].name, name) == 0) return &rows[i];
    return NULL;
}

bool filter_exists(const char *name) {
    return function_find(filters, sizeof filters / sizeof filters[0], name) != NULL;
}

value call_filter(renderer *r, const char *name, value v, const arguments *a) {
    const function_row *row = function_find(filters, sizeof filters / sizeof filters[0], name);
    return row != NULL ? row->call(r, v, a) : fail_argument(r, text("no filter \"%.60s\"", name));
}

/* -- tests -- */

static const char *const test_names[] = {
    "defined", "undefined", "none",     "string",      "number", "integer", "float",  "boolean",
    "mapping", "sequence",  "iterable", "callable",    "true",   "false",   "odd",    "even",
    "in",      "lower",     "upper",    "eq",          "==",     "equalto", "ne",     "!=",
    "lt",      "lessthan",  "gt",       "greaterthan", "le",     "ge",      "sameas", "divisibleby",
};

bool test_exists(const char *name) {
    for (size_t i = 0; i < sizeof test_names / sizeof test_names[0]; i++)
        if (strcmp(test_names[i], name) == 0) return true;
    return false;
}

/* Tests that look at the kind alone. */
static bool kind_test(const char *name, value v, bool *out) {
    bool text = v.kind == V_STRING, sequence = text || value_is_list(v) || v.kind == V_DICT;
    const struct {
        const char *name;
        bool is;
    } rows[] = {
        {"defined", v.kind != V_UNDEFINED},
        {"undefined", v.kind == V_UNDEFINED},
        {"none", v.kind == V_NONE},
        {"string", text},
        {"number", v.kind == V_INT || v.kind == V_REAL || v.kind == V_BOOL},
        {"integer", v.kind == V_INT},
        {"float", v.kind == V_REAL},
        {"boolean", v.kind == V_BOOL},
        {"mapping", v.kind == V_DICT},
        {"sequence", sequence || v.kind == V_UNDEFINED},
        {"iterable", sequence || v.kind == V_UNDEFINED},
        {"callable", v.kind == V_FUNCTION || v.kind == V_METHOD || v.kind == V_MACRO},
        {"true", v.kind == V_BOOL && v.boolean},
        {"false", v.kind == V_BOOL && !v.boolean},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].name, name) == 0) {
            *out = rows[i].is;
            return true;
        }
    return false;
}

static bool same_case(renderer *r, value v, char how) {
    const string *s = text_of(r, v);
    value changed = string_case(r, s, how), other = string_case(r, s, how == 'u' ? 'l' : 'u');
    value self = value_string(r, s->bytes, s->n, NULL);
    return r->failed == STATUS_OK && value_equal(r, changed, self) && !value_equal(r, other, self);
}

static bool whole_test(renderer *r, const char *name, value v, const arguments *a) {
    int64_t i, by = strcmp(name, "divisibleby") == 0 ? integer_at(r, a, 0, "num", 0) : 2;
    if (!value_integer(v, &i) || by == 0 || by == -1) {
        if (by != -1) fail_argument(r, text("test %s of something that is no integer", name));
        return by == -1;
    }
    return (i % by == 0) != (strcmp(name, "odd") == 0);
}

bool call_test(renderer *r, const char *name, value v, const arguments *a) {
    bool out;
    if (kind_test(name, v, &out)) return out;
    if (strcmp(name, "lower") == 0 || strcmp(name, "upper") == 0)
        return same_case(r, v, name[0] == 'u' ? 'u' : 'l');
    if (strcmp(name, "odd") == 0 || strcmp(name, "even") == 0 || strcmp(name, "divisibleby") == 0)
        return whole_test(r, name, v, a);
    const value *other = argument_at(a, 0, NULL);
    if (other == NULL) {
        fail_argument(r, text("test %s needs something to compare with", name));
        return false;
    }
    if (strcmp(name, "in") == 0) return value_contains(r, *other, v);
    if (strcmp(name, "eq") == 0 || strcmp(name, "==") == 0 || strcmp(name, "equalto") == 0)
        return value_equal(r, v, *other);
    if (strcmp(name, "sameas") == 0) return v.kind == other->kind && value_equal(r, v, *other);
    if (strcmp(name, "ne") == 0 || strcmp(name, "!=") == 0) return !value_equal(r, v, *other);
    int order = value_order(r, v, *other);
    if (order == 2) return false;
    if (name[0] == 'l') return strcmp(name, "le") == 0 ? order <= 0 : order < 0;
    return strcmp(name, "ge") == 0 ? order >= 0 : order > 0;
}

/* -- functions -- */

#define RANGE_MOST 100000

static value function_range(renderer *r, const arguments *a) {
    int64_t from = a->n > 1 ? integer_at(r, a, 0, NULL, 0) : 0;
    int64_t to = integer_at(r, a, a->n > 1 ? 1 : 0, NULL, 0), step = integer_at(r, a, 2, NULL, 1);
    value out = value_list(r, V_LIST);
    if (step == 0 || a->n == 0)
        return fail_argument(r, "range needs an end, and a step that is not 0");
    for (int64_t i = from; step > 0 ? i < to : i > to;) {
        if (r->failed != STATUS_OK) break;
        if (out.list->n >= RANGE_MOST)
            return render_limit(r, "a range has more than 100,000 items");
        list_add(r, out.list, value_int(i));
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    return out;
}

/* dict(a=1) and namespace(a=1); both may start from a dict. */
static value function_dict(renderer *r, const arguments *a, value_kind kind) {
    value out = value_dict(r, kind);
    for (size_t i = 0; i < a->n && r->failed == STATUS_OK; i++) {
        if (a->names[i] != NULL) {
            dict_set(r, out.dict, value_words(r, a->names[i]), a->items[i]);
        } else if (value_is_dict(a->items[i])) {
            const dict *d = a->items[i].dict;
            for (size_t k = 0; k < d->n && r->failed == STATUS_OK; k++)
                dict_set(r, out.dict, d->pairs[k].key, d->pairs[k].value);
        } else {
            return fail_argument(r, "dict or namespace of something that is no dict");
        }
    }
    return out;
}

static value function_raise(renderer *r, const arguments *a) {
    const string *words = a->n > 0 ? text_of(r, a->items[0]) : &nothing;
    return render_fail(r, F_TEMPLATE_RENDER,
                       text("the chat template refuses the conversation: %.*s",
                            (int)(words->n < 400 ? words->n : 400), words->bytes),
                       "the template itself asks for this (raise_exception)");
}

static value function_strftime(renderer *r, const arguments *a) {
    const string *format = string_at(r, a, 0, "format", NULL);
    char words[256], out[512];
    struct tm parts;
    time_t now = (time_t)r->now;
    if (format == NULL) return value_undefined("");
    if (format->n == 0 || format->n >= sizeof words || localtime_r(&now, &parts) == NULL)
        return fail_argument(r, "strftime_now of an empty or overlong format");
    memcpy(words, format->bytes, format->n);
    words[format->n] = '\0';
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t n = strftime(out, sizeof out, words, &parts);
#pragma GCC diagnostic pop
    return value_copy(r, out, n);
}

value call_function(renderer *r, const char *name, const arguments *a) {
    if (strcmp(name, "range") == 0) return function_range(r, a);
    if (strcmp(name, "dict") == 0) return function_dict(r, a, V_DICT);
    if (strcmp(name, "namespace") == 0) return function_dict(r, a, V_NAMESPACE);
    if (strcmp(name, "raise_exception") == 0) return function_raise(r, a);
    return function_strftime(r, a);
}
