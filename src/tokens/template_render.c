/* template_render.c - walks the syntax tree of a template.
 *
 * How. Variables lie on one stack, innermost last. A loop body and a macro open a scope: what they
 * set is gone when it closes, which is what Jinja does; "if" opens none. A macro sees its own scope
 * and the variables of the outermost one. Output goes into one buffer; a macro's output is taken
 * back from it and becomes the value of the call.
 *
 * Mind: every node counts as a step, and depth is bounded, so no template runs away with the time
 * or the stack.
 */
#include "tokens/template_internal.h"

#include <math.h>

#define DEPTH_MOST    250
#define RENDER_MEMORY ((size_t)256 << 20)

static value evaluate(renderer *r, const node *n);
static void execute(renderer *r, const block *b);

/* -- variables -- */

static const value *find_variable(const renderer *r, const char *name) {
    for (size_t i = r->n_variables; i > r->floor; i--)
        if (strcmp(r->variables[i - 1].name, name) == 0) return &r->variables[i - 1].value;
    for (size_t i = r->globals < r->floor ? r->globals : r->floor; i > 0; i--)
        if (strcmp(r->variables[i - 1].name, name) == 0) return &r->variables[i - 1].value;
    return NULL;
}

static void set_variable(renderer *r, const char *name, value v) {
    if (r->failed != STATUS_OK) return;
    for (size_t i = r->n_variables; i > r->scope; i--)
        if (strcmp(r->variables[i - 1].name, name) == 0) {
            r->variables[i - 1].value = v;
            return;
        }
    if (r->n_variables == r->room_variables) {
        size_t room = 2 * r->room_variables + 32;
        variable *grown = render_alloc(r, room * sizeof *grown);
        if (grown == NULL) return;
        if (r->n_variables > 0) memcpy(grown, r->variables, r->n_variables * sizeof *grown);
        r->variables = grown;
        r->room_variables = room;
    }
    r->variables[r->n_variables++] = (variable){name, v};
    if (r->scope == 0) r->globals = r->n_variables;
}

static value name_value(renderer *r, const node *n) {
    static const char *const functions[] = {"range",           "dict",         "namespace",
                                            "raise_exception", "strftime_now", NULL};
    const value *found = find_variable(r, n->name);
    if (found != NULL) return *found;
    for (int i = 0; functions[i] != NULL; i++)
        if (strcmp(functions[i], n->name) == 0)
            return (value){.kind = V_FUNCTION, .name = functions[i]};
    return value_undefined(n->name);
}

/* Gives the target's names the value, or its parts where there are several. */
static void assign(renderer *r, const node *target, value v) {
    if (target->kind == E_NAME) {
        set_variable(r, target->name, v);
    } else if (target->kind == E_ATTRIBUTE) {
        value owner = evaluate(r, target->a);
        if (owner.kind != V_NAMESPACE)
            render_fail(r, F_TEMPLATE_RENDER,
                        text("%s.%s cannot be set", value_kind_name(owner), target->name),
                        "only attributes of a namespace can");
        else
            dict_set(r, owner.dict, value_words(r, target->name), v);
    } else {
        const list *parts = value_items(r, v);
        if (r->failed != STATUS_OK) return;
        if (target->kind != E_TUPLE || parts->n != target->n) {
            render_fail(r, F_TEMPLATE_RENDER,
                        text("%zu names are set from %zu values", target->n, parts->n),
                        "there must be as many");
            return;
        }
        for (size_t i = 0; i < target->n; i++)
            assign(r, target->items[i], parts->items[i]);
    }
}

/* -- arithmetic -- */

static const char *const operator_signs[] = {"+",  "-",  "*", "/",  "//", "%",  "**", "~",
                                             "==", "!=", "<", "<=", ">",  ">=", "in", "not in"};

static value overflow(renderer *r) {
    return render_fail(r, F_TEMPLATE_RENDER, "an integer grows beyond 64 bits",
                       "integers are bounded here");
}

static value power(renderer *r, int64_t base, int64_t exponent) {
    int64_t out = 1;
    if (exponent < 0) return value_real(pow((double)base, (double)exponent));
    for (; exponent > 0 && render_step(r, 1); exponent--)
        if (__builtin_mul_overflow(out, base, &out)) return overflow(r);
    return value_int(out);
}

static value whole_arithmetic(renderer *r, operator op, int64_t a, int64_t b) {
    int64_t out = 0;
    bool bad = false;
    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && b == 0)
        return render_fail(r, F_TEMPLATE_RENDER, "division by zero", "the divisor is 0");
    if (a == INT64_MIN && b == -1) return overflow(r);
    switch (op) {
    case OP_ADD: bad = __builtin_add_overflow(a, b, &out); break;
    case OP_SUB: bad = __builtin_sub_overflow(a, b, &out); break;
    case OP_MUL: bad = __builtin_mul_overflow(a, b, &out); break;
    case OP_DIV: return value_real((double)a / (double)b);
    case OP_FLOORDIV: out = a / b - (a % b != 0 && (a % b < 0) != (b < 0)); break;
    case OP_MOD: out = a % b + (a % b != 0 && (a % b < 0) != (b < 0) ? b : 0); break;
    default: return power(r, a, b);
    }
    return bad ? overflow(r) : value_int(out);
}

static value real_arithmetic(renderer *r, operator op, double a, double b) {
    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && b == 0)
        return render_fail(r, F_TEMPLATE_RENDER, "division by zero", "the divisor is 0");
    switch (op) {
    case OP_ADD: return value_real(a + b);
    case OP_SUB: return value_real(a - b);
    case OP_MUL: return value_real(a * b);
    case OP_DIV: return value_real(a / b);
    case OP_FLOORDIV: return value_real(floor(a / b));
    case OP_MOD: return value_real(a - b * floor(a / b));
    default: return value_real(pow(a, b));
    }
}

static value two_strings(renderer *r, const string *a, const string *b) {
    size_t mark = r->n;
    output_bytes(r, a->bytes, a->n, a->marks);
    output_bytes(r, b->bytes, b->n, b->marks);
    return output_take(r, mark);
}

static value two_lists(renderer *r, value a, value b) {
    value out = value_list(r, a.kind);
    for (size_t i = 0; i < a.list->n && r->failed == STATUS_OK; i++)
        list_add(r, out.list, a.list->items[i]);
    for (size_t i = 0; i < b.list->n && r->failed == STATUS_OK; i++)
        list_add(r, out.list, b.list->items[i]);
    return out;
}

static value repeated(renderer *r, const string *s, int64_t times) {
    size_t mark = r->n;
    for (int64_t i = 0; i < times && s->n > 0 && render_step(r, 1); i++)
        output_bytes(r, s->bytes, s->n, s->marks);
    return output_take(r, mark);
}

static value binary(renderer *r, const node *n) {
    value a = evaluate(r, n->a), b = evaluate(r, n->b);
    int64_t i, j;
    double x, y;
    if (r->failed != STATUS_OK) return a;
    r->line = n->line;
    if (n->op == OP_CONCAT) {
        a = value_text(r, a);
        b = value_text(r, b);
        return r->failed != STATUS_OK ? a : two_strings(r, a.string, b.string);
    }
    if (n->op == OP_ADD && a.kind == V_STRING && b.kind == V_STRING)
        return two_strings(r, a.string, b.string);
    if (n->op == OP_ADD && value_is_list(a) && a.kind == b.kind) return two_lists(r, a, b);
    if (n->op == OP_MUL && a.kind == V_STRING && value_integer(b, &i))
        return repeated(r, a.string, i);
    if (value_integer(a, &i) && value_integer(b, &j)) return whole_arithmetic(r, n->op, i, j);
    if (value_number(a, &x) && value_number(b, &y)) return real_arithmetic(r, n->op, x, y);
    value missing = a.kind == V_UNDEFINED ? a : b;
    return render_fail(r, F_TEMPLATE_RENDER,
                       missing.kind == V_UNDEFINED
                           ? text("\"%.100s\" is undefined", missing.name)
                           : text("%s %s %s has no meaning", value_kind_name(a),
                                  operator_signs[n->op], value_kind_name(b)),
                       text("it stands at an operator \"%s\"", operator_signs[n->op]));
}

static bool compare(renderer *r, operator op, value a, value b) {
    switch (op) {
    case OP_EQ: return value_equal(r, a, b);
    case OP_NE: return !value_equal(r, a, b);
    case OP_IN: return value_contains(r, b, a);
    case OP_NOT_IN: return !value_contains(r, b, a);
    default: break;
    }
    int order = value_order(r, a, b);
    if (order == 2) return false; /* not a number */
    return op == OP_LT   ? order < 0
           : op == OP_LE ? order <= 0
           : op == OP_GT ? order > 0
                         : order >= 0;
}

static value comparison(renderer *r, const node *n) {
    value left = evaluate(r, n->a);
    for (size_t i = 0; i < n->n && r->failed == STATUS_OK; i++) {
        value right = evaluate(r, n->items[i]);
        r->line = n->line;
        if (r->failed != STATUS_OK || !compare(r, n->ops[i], left, right)) return value_bool(false);
        left = right;
    }
    return value_bool(true);
}

static value negate(renderer *r, const node *n) {
    value v = evaluate(r, n->a);
    int64_t i;
    if (v.kind == V_REAL) return value_real(n->kind == E_NEGATE ? -v.real : v.real);
    if (value_integer(v, &i)) {
        if (i == INT64_MIN) return overflow(r);
        return value_int(n->kind == E_NEGATE ? -i : i);
    }
    return render_fail(r, F_TEMPLATE_RENDER, text("the sign of %s", value_kind_name(v)),
                       "only numbers have one");
}

/* -- calls -- */

static bool evaluate_arguments(renderer *r, const node *n, arguments *a) {
    a->n = n->n;
    a->names = n->names;
    a->items = render_alloc(r, (n->n + 1) * sizeof *a->items);
    if (a->items == NULL) return false;
    for (size_t i = 0; i < n->n; i++)
        a->items[i] = evaluate(r, n->items[i]);
    r->line = n->line;
    return r->failed == STATUS_OK;
}

const value *argument_at(const arguments *a, size_t position, const char *name) {
    if (position < a->n && a->names[position] == NULL) return &a->items[position];
    for (size_t i = 0; i < a->n && name != NULL; i++)
        if (a->names[i] != NULL && strcmp(a->names[i], name) == 0) return &a->items[i];
    return NULL;
}

static value call_macro(renderer *r, const node *macro, const arguments *a) {
    size_t scope = r->scope, floor = r->floor, n = r->n_variables, mark = r->n;
    for (size_t i = 0; i < a->n; i++) {
        bool known = a->names[i] == NULL && i < macro->n;
        for (size_t k = 0; k < macro->n && a->names[i] != NULL; k++)
            known |= strcmp(macro->names[k], a->names[i]) == 0;
        if (!known)
            return render_fail(
                r, F_TEMPLATE_RENDER,
                text("the macro %s has no parameter for argument %zu", macro->name, i + 1),
                text("it takes %zu", macro->n));
    }
    r->scope = r->floor = n;
    for (size_t i = 0; i < macro->n; i++) {
        const value *given = argument_at(a, i, macro->names[i]);
        value v = given != NULL             ? *given
                  : macro->items[i] != NULL ? evaluate(r, macro->items[i])
                                            : value_undefined(macro->names[i]);
        set_variable(r, macro->names[i], v);
    }
    execute(r, &macro->body);
    r->scope = scope;
    r->floor = floor;
    r->n_variables = n;
    return output_take(r, mark);
}

static value call(renderer *r, const node *n) {
    arguments a;
    value f = evaluate(r, n->a);
    if (!evaluate_arguments(r, n, &a)) return value_undefined("");
    switch (f.kind) {
    case V_FUNCTION: return call_function(r, f.name, &a);
    case V_METHOD: return call_method(r, f.method, &a);
    case V_MACRO: return call_macro(r, f.macro, &a);
    default:
        return render_fail(r, F_TEMPLATE_RENDER,
                           f.kind == V_UNDEFINED
                               ? text("\"%.100s\" is undefined and was called", f.name)
                               : text("%s was called", value_kind_name(f)),
                           "only functions, methods and macros can be");
    }
}

static value filtered(renderer *r, const node *n) {
    arguments a;
    value v = evaluate(r, n->a);
    if (!evaluate_arguments(r, n, &a)) return v;
    return call_filter(r, n->name, v, &a);
}

static value tested(renderer *r, const node *n) {
    arguments a;
    value v = evaluate(r, n->a);
    if (!evaluate_arguments(r, n, &a)) return v;
    return value_bool(call_test(r, n->name, v, &a));
}

/* -- expressions -- */

static value sequence(renderer *r, const node *n, value_kind kind) {
    value out = value_list(r, kind);
    for (size_t i = 0; i < n->n && r->failed == STATUS_OK; i++)
        list_add(r, out.list, evaluate(r, n->items[i]));
    return out;
}

static value dictionary(renderer *r, const node *n) {
    value out = value_dict(r, V_DICT);
    for (size_t i = 0; i + 1 < n->n && r->failed == STATUS_OK; i += 2) {
        value key = evaluate(r, n->items[i]);
        value item = evaluate(r, n->items[i + 1]);
        if (r->failed == STATUS_OK) dict_set(r, out.dict, key, item);
    }
    return out;
}

static value slice(renderer *r, const node *n) {
    value v = evaluate(r, n->a), bounds[3];
    for (int i = 0; i < 3; i++)
        bounds[i] = n->items[i] != NULL ? evaluate(r, n->items[i]) : value_none();
    r->line = n->line;
    return r->failed != STATUS_OK ? v : value_slice(r, v, bounds);
}

static value item(renderer *r, const node *n) {
    value v = evaluate(r, n->a);
    value key = evaluate(r, n->b);
    r->line = n->line;
    return r->failed != STATUS_OK ? v : value_get(r, v, key);
}

static value evaluate_inner(renderer *r, const node *n) {
    value v;
    switch (n->kind) {
    case E_CONSTANT: return n->constant;
    case E_NAME: return name_value(r, n);
    case E_LIST: return sequence(r, n, V_LIST);
    case E_TUPLE: return sequence(r, n, V_TUPLE);
    case E_DICT: return dictionary(r, n);
    case E_NOT: return value_bool(!value_truth(evaluate(r, n->a)));
    case E_NEGATE:
    case E_PLUS: return negate(r, n);
    case E_BINARY: return binary(r, n);
    case E_COMPARE: return comparison(r, n);
    case E_AND: v = evaluate(r, n->a); return value_truth(v) ? evaluate(r, n->b) : v;
    case E_OR: v = evaluate(r, n->a); return value_truth(v) ? v : evaluate(r, n->b);
    case E_CHOOSE:
        if (value_truth(evaluate(r, n->b))) return evaluate(r, n->a);
        return n->c != NULL ? evaluate(r, n->c) : value_undefined("the other case");
    case E_ATTRIBUTE:
        v = evaluate(r, n->a);
        r->line = n->line;
        return r->failed != STATUS_OK ? v : value_attribute(r, v, n->name);
    case E_ITEM: return item(r, n);
    case E_SLICE: return slice(r, n);
    case E_CALL: return call(r, n);
    case E_FILTER: return filtered(r, n);
    case E_TEST: return tested(r, n);
    default: return value_undefined("");
    }
}

static bool enter(renderer *r, const node *n) {
    r->line = n->line;
    if (!render_step(r, 1)) return false;
    if (++r->depth <= DEPTH_MOST) return true;
    render_limit(r, "the template calls itself too deeply");
    return false;
}

static value evaluate(renderer *r, const node *n) {
    value v = value_undefined("");
    if (enter(r, n)) v = evaluate_inner(r, n);
    r->depth--;
    return v;
}

/* -- statements -- */

/* What "loop" is in a pass: made afresh, since a template may keep it. */
static value loop_value(renderer *r, const list *items, size_t i) {
    value loop = value_dict(r, V_DICT);
    const struct {
        const char *name;
        value value;
    } rows[] = {
        {"index", value_int((int64_t)i + 1)},
        {"index0", value_int((int64_t)i)},
        {"revindex", value_int((int64_t)(items->n - i))},
        {"revindex0", value_int((int64_t)(items->n - i) - 1)},
        {"first", value_bool(i == 0)},
        {"last", value_bool(i + 1 == items->n)},
        {"length", value_int((int64_t)items->n)},
        {"depth", value_int(1)},
        {"depth0", value_int(0)},
        {"previtem", i > 0 ? items->items[i - 1] : value_undefined("loop.previtem")},
        {"nextitem", i + 1 < items->n ? items->items[i + 1] : value_undefined("loop.nextitem")},
    };
    for (size_t k = 0; k < sizeof rows / sizeof rows[0] && r->failed == STATUS_OK; k++)
        if (rows[k].value.kind != V_UNDEFINED)
            dict_set(r, loop.dict, value_words(r, rows[k].name), rows[k].value);
    return loop;
}

/* The items that pass the loop's condition. */
static const list *loop_items(renderer *r, const node *n) {
    value over = evaluate(r, n->b);
    const list *items = r->failed == STATUS_OK ? value_items(r, over) : NULL;
    if (items == NULL || n->c == NULL) return items;
    value kept = value_list(r, V_LIST);
    size_t scope = r->scope, count = r->n_variables;
    r->scope = count;
    for (size_t i = 0; i < items->n && r->failed == STATUS_OK; i++) {
        assign(r, n->a, items->items[i]);
        if (r->failed == STATUS_OK && value_truth(evaluate(r, n->c)))
            list_add(r, kept.list, items->items[i]);
        r->n_variables = count;
    }
    r->scope = scope;
    return r->failed == STATUS_OK ? kept.list : NULL;
}

static void for_loop(renderer *r, const node *n) {
    const list *items = loop_items(r, n);
    size_t scope = r->scope, count = r->n_variables;
    if (items == NULL || r->failed != STATUS_OK) return;
    for (size_t i = 0; i < items->n && r->failed == STATUS_OK && !r->breaking; i++) {
        r->scope = count;
        set_variable(r, "loop", loop_value(r, items, i));
        assign(r, n->a, items->items[i]);
        execute(r, &n->body);
        r->continuing = false;
        r->n_variables = count;
        r->scope = scope;
    }
    r->breaking = false;
    if (items->n == 0) execute(r, &n->otherwise);
}

/* A block's output through a chain of filters over the name "". */
static value filtered_block(renderer *r, const node *n) {
    size_t mark = r->n, scope = r->scope, count = r->n_variables;
    execute(r, &n->body);
    value v = output_take(r, mark);
    r->scope = r->n_variables;
    set_variable(r, "", v);
    v = evaluate(r, n->b);
    r->scope = scope;
    r->n_variables = count;
    return v;
}

static void output(renderer *r, value v) {
    if (r->failed == STATUS_OK) v = value_text(r, v);
    if (r->failed == STATUS_OK) output_bytes(r, v.string->bytes, v.string->n, v.string->marks);
}

static void execute_one(renderer *r, const node *n) {
    switch (n->kind) {
    case N_TEXT: output_bytes(r, n->constant.string->bytes, n->constant.string->n, NULL); return;
    case N_OUTPUT: output(r, evaluate(r, n->a)); return;
    case N_IF: execute(r, value_truth(evaluate(r, n->a)) ? &n->body : &n->otherwise); return;
    case N_FOR: for_loop(r, n); return;
    case N_SET: assign(r, n->a, evaluate(r, n->b)); return;
    case N_SET_BLOCK: assign(r, n->a, filtered_block(r, n)); return;
    case N_MACRO: set_variable(r, n->name, (value){.kind = V_MACRO, .macro = n}); return;
    case N_FILTERED: output(r, filtered_block(r, n)); return;
    case N_BODY: execute(r, &n->body); return;
    case N_BREAK: r->breaking = true; return;
    case N_CONTINUE: r->continuing = true; return;
    default: return;
    }
}

static void execute(renderer *r, const block *b) {
    for (size_t i = 0; i < b->n && !r->breaking && !r->continuing; i++) {
        bool going = enter(r, b->nodes[i]);
        if (going) execute_one(r, b->nodes[i]);
        r->depth--;
        if (!going || r->failed != STATUS_OK) return;
    }
}

/* -- the whole -- */

/* Is the name one of the space-separated ones? */
static bool is_listed(const char *names, const char *name) {
    size_t n = strlen(name);
    for (const char *at = names; (at = strstr(at, name)) != NULL; at += n)
        if ((at == names || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0')) return true;
    return false;
}

static status render(renderer *r, const json_t *variables, const char *untrusted) {
    const char *name;
    json_t *member;
    TRY(arena_init(&r->memory, "chat template at work", RENDER_MEMORY));
    json_object_foreach((json_t *)(uintptr_t)variables, name, member)
        set_variable(r, name, value_from_json(r, member, is_listed(untrusted, name), 0));
    if (r->failed == STATUS_OK) execute(r, &r->t->body);
    output_bytes(r, "", 1, NULL); /* the NUL */
    return r->failed;
}

status template_render(const template *t, const json_t *variables, const char *untrusted,
                       int64_t now, template_output *out) {
    renderer r = {.t = t, .now = now};
    *out = (template_output){0};
    status s = render(&r, variables, untrusted);
    if (r.memory.base != NULL) arena_clear(&r.memory);
    *out = (template_output){r.text, r.outside, r.n > 0 ? r.n - 1 : 0};
    if (s != STATUS_OK) template_output_clear(out);
    return s;
}
