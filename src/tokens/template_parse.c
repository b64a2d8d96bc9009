/* template_parse.c - tokens of a template to its syntax tree, by recursive descent.
 *
 * How. Grammar and precedence follow Jinja 3.1: choice (a if b else c), or, and, not, comparisons
 * (chained), + -, ~, * / // %, **, unary sign, then primary with its postfixes (.name, [item], call)
 * and filters and tests, which bind tightest. Statements end at the words their block waits for.
 * Names of filters and tests are checked here, so that a template which needs one we do not have is
 * refused before a conversation depends on it.
 *
 * Mind: nesting is counted wherever the descent recurses; 100 levels are more than any template has
 * and far from the end of the stack.
 */
#include "tokens/template_internal.h"

#include <stdlib.h>

#define NESTING_MOST 100
#define SOURCE_MOST  ((size_t)1 << 20)
#define TREE_MOST    ((size_t)256 << 20)

typedef struct parser {
    template *t;
    const token *at; /* never past T_END */
    int depth, loops;
} parser;

static status expression(parser *p, node **out) MUST_CHECK;
static status unary(parser *p, bool filters, node **out) MUST_CHECK;
static status statements(parser *p, const char *const *until, block *out) MUST_CHECK;

/* -- small things -- */

static status syntax(const parser *p, const char *what, const char *why) {
    return template_syntax(p->t, p->at->line, what, why);
}

static status unsupported(const parser *p, const char *what, const char *name) {
    return FAIL(F_TEMPLATE_UNSUPPORTED, text("the %s \"%.60s\" is not supported", what, name),
                text("%s, line %d", p->t->where, p->at->line),
                "chat templates are read by a bounded interpreter of a part of Jinja",
                "give another template with --chat-template FILE");
}

static const char *token_name(const token *k) {
    switch (k->kind) {
    case T_END: return "the end of the template";
    case T_DATA: return "text";
    case T_BLOCK_BEGIN: return "{%";
    case T_BLOCK_END: return "%}";
    case T_OUTPUT_BEGIN: return "{{";
    case T_OUTPUT_END: return "}}";
    case T_STRING: return "a string";
    case T_INT:
    case T_REAL: return "a number";
    case T_NAME:
    case T_SIGN: return text("\"%.40s\"", k->bytes);
    }
    return "";
}

static bool is_sign(const parser *p, const char *sign) {
    return p->at->kind == T_SIGN && strcmp(p->at->bytes, sign) == 0;
}

static bool is_word(const parser *p, const char *word) {
    return p->at->kind == T_NAME && strcmp(p->at->bytes, word) == 0;
}

static void next(parser *p) {
    if (p->at->kind != T_END) p->at++;
}

static bool take_sign(parser *p, const char *sign) {
    bool found = is_sign(p, sign);
    if (found) next(p);
    return found;
}

static bool take_word(parser *p, const char *word) {
    bool found = is_word(p, word);
    if (found) next(p);
    return found;
}

static status expect(parser *p, const char *sign) {
    if (take_sign(p, sign)) return STATUS_OK;
    return syntax(p, text("%s where \"%s\" should be", token_name(p->at), sign),
                  "the expression is not complete");
}

static status expect_name(parser *p, const char **name) {
    if (p->at->kind != T_NAME)
        return syntax(p, text("%s where a name should be", token_name(p->at)),
                      "the statement is not complete");
    *name = p->at->bytes;
    next(p);
    return STATUS_OK;
}

static status end_block(parser *p) {
    if (p->at->kind != T_BLOCK_END)
        return syntax(p, text("%s where \"%%}\" should be", token_name(p->at)),
                      "the statement goes on longer than it may");
    next(p);
    return STATUS_OK;
}

static status enter(parser *p) {
    if (++p->depth <= NESTING_MOST) return STATUS_OK;
    return syntax(p, "the template is nested too deeply",
                  text("at most %d levels are read", NESTING_MOST));
}

static node *new_node(parser *p, node_kind kind) {
    node *n = arena_zalloc(&p->t->memory, sizeof *n);
    if (n == NULL) return NULL;
    n->kind = kind;
    n->line = p->at->line;
    return n;
}

/* *out becomes a node of this kind over a (and b). */
static status wrap(parser *p, node_kind kind, node *a, node *b, node **out) {
    node *n = new_node(p, kind);
    if (n == NULL) return STATUS_MEMORY;
    if (a != NULL) n->line = a->line;
    n->a = a;
    n->b = b;
    *out = n;
    return STATUS_OK;
}

static status add_item(parser *p, node *n, node *item, const char *name, operator op) {
    if (n->n == n->room) {
        size_t room = 2 * n->room + 4;
        node **items = arena_alloc(&p->t->memory, room * sizeof *items);
        const char **names = arena_alloc(&p->t->memory, room * sizeof *names);
        operator* ops = arena_alloc(&p->t->memory, room * sizeof *ops);
        if (items == NULL || names == NULL || ops == NULL) return STATUS_MEMORY;
        if (n->n > 0) {
            memcpy(items, n->items, n->n * sizeof *items);
            memcpy(names, n->names, n->n * sizeof *names);
            memcpy(ops, n->ops, n->n * sizeof *ops);
        }
        n->items = items;
        n->names = names;
        n->ops = ops;
        n->room = room;
    }
    n->items[n->n] = item;
    n->names[n->n] = name;
    n->ops[n->n++] = op;
    return STATUS_OK;
}

static status add_statement(parser *p, block *b, node *n) {
    if (b->n == b->room) {
        size_t room = 2 * b->room + 8;
        node **nodes = arena_alloc(&p->t->memory, room * sizeof *nodes);
        if (nodes == NULL) return STATUS_MEMORY;
        if (b->n > 0) memcpy(nodes, b->nodes, b->n * sizeof *nodes);
        b->nodes = nodes;
        b->room = room;
    }
    b->nodes[b->n++] = n;
    return STATUS_OK;
}

static status constant(parser *p, value v, node **out) {
    node *n = new_node(p, E_CONSTANT);
    if (n == NULL) return STATUS_MEMORY;
    n->constant = v;
    *out = n;
    return STATUS_OK;
}

static status string_constant(parser *p, const char *bytes, size_t n, node **out) {
    string *s = arena_zalloc(&p->t->memory, sizeof *s);
    if (s == NULL) return STATUS_MEMORY;
    s->bytes = bytes;
    s->n = n;
    return constant(p, (value){.kind = V_STRING, .string = s}, out);
}

/* -- primaries -- */

/* Strings side by side are one. */
static status strings(parser *p, node **out) {
    size_t n = 0;
    const token *from = p->at;
    for (; p->at->kind == T_STRING; next(p))
        n += p->at->n;
    char *bytes = arena_alloc(&p->t->memory, n + 1);
    if (bytes == NULL) return STATUS_MEMORY;
    n = 0;
    for (const token *k = from; k < p->at; n += k++->n)
        memcpy(bytes + n, k->bytes, k->n);
    bytes[n] = '\0';
    return string_constant(p, bytes, n, out);
}

/* Expressions up to a closing sign, which is taken. */
static status sequence(parser *p, const char *close, node *out) {
    while (!take_sign(p, close)) {
        node *item;
        if (out->n > 0) {
            TRY(expect(p, ","));
            if (take_sign(p, close)) break;
        }
        TRY(expression(p, &item));
        TRY(add_item(p, out, item, NULL, OP_EQ));
    }
    return STATUS_OK;
}

static status parenthesis(parser *p, node **out) {
    node *tuple = new_node(p, E_TUPLE);
    if (tuple == NULL) return STATUS_MEMORY;
    next(p);
    *out = tuple;
    if (take_sign(p, ")")) return STATUS_OK;
    node *first;
    TRY(expression(p, &first));
    if (take_sign(p, ")")) {
        *out = first;
        return STATUS_OK;
    }
    TRY(add_item(p, tuple, first, NULL, OP_EQ));
    return sequence(p, ")", tuple);
}

static status dictionary(parser *p, node **out) {
    node *d = new_node(p, E_DICT);
    if (d == NULL) return STATUS_MEMORY;
    next(p);
    while (!take_sign(p, "}")) {
        node *key, *item;
        if (d->n > 0) {
            TRY(expect(p, ","));
            if (take_sign(p, "}")) break;
        }
        TRY(expression(p, &key));
        TRY(expect(p, ":"));
        TRY(expression(p, &item));
        TRY(add_item(p, d, key, NULL, OP_EQ));
        TRY(add_item(p, d, item, NULL, OP_EQ));
    }
    *out = d;
    return STATUS_OK;
}

static status name(parser *p, node **out) {
    const char *w = p->at->bytes;
    value v = value_undefined(w);
    if (strcmp(w, "true") == 0 || strcmp(w, "True") == 0) v = value_bool(true);
    if (strcmp(w, "false") == 0 || strcmp(w, "False") == 0) v = value_bool(false);
    if (strcmp(w, "none") == 0 || strcmp(w, "None") == 0) v = value_none();
    if (v.kind != V_UNDEFINED) {
        TRY(constant(p, v, out));
    } else {
        *out = new_node(p, E_NAME);
        if (*out == NULL) return STATUS_MEMORY;
        (*out)->name = w;
    }
    next(p);
    return STATUS_OK;
}

static status primary(parser *p, node **out) {
    status s = STATUS_OK;
    switch (p->at->kind) {
    case T_NAME: return name(p, out);
    case T_STRING: return strings(p, out);
    case T_INT: s = constant(p, value_int(p->at->integer), out); break;
    case T_REAL: s = constant(p, value_real(p->at->real), out); break;
    default:
        if (is_sign(p, "(")) return parenthesis(p, out);
        if (is_sign(p, "{")) return dictionary(p, out);
        if (is_sign(p, "[")) {
            *out = new_node(p, E_LIST);
            if (*out == NULL) return STATUS_MEMORY;
            next(p);
            return sequence(p, "]", *out);
        }
        return syntax(p, text("%s where an expression should be", token_name(p->at)),
                      "the expression is not complete");
    }
    next(p);
    return s;
}

/* -- postfixes -- */

/* "(a, b, key=c)", the parenthesis being next. */
static status call_arguments(parser *p, node *call) {
    TRY(expect(p, "("));
    bool named = false;
    for (size_t i = 0; !take_sign(p, ")"); i++) {
        node *item;
        const char *key = NULL;
        if (i > 0) {
            TRY(expect(p, ","));
            if (take_sign(p, ")")) break;
        }
        if (is_sign(p, "*") || is_sign(p, "**")) return unsupported(p, "argument form", "*");
        if (p->at->kind == T_NAME && p->at[1].kind == T_SIGN && strcmp(p->at[1].bytes, "=") == 0) {
            key = p->at->bytes;
            next(p);
            next(p);
            named = true;
        } else if (named) {
            return syntax(p, "an argument by position follows one by name",
                          "arguments by name come last");
        }
        TRY(expression(p, &item));
        TRY(add_item(p, call, item, key, OP_EQ));
    }
    return STATUS_OK;
}

static status call(parser *p, node **at) {
    node *n;
    TRY(wrap(p, E_CALL, *at, NULL, &n));
    *at = n;
    return call_arguments(p, n);
}

static bool slice_ends(const parser *p) {
    return is_sign(p, "]") || is_sign(p, ",");
}

/* "[a]" or "[a:b:c]". */
static status subscript(parser *p, node **at) {
    node *bounds[3] = {NULL, NULL, NULL}, *n;
    bool slice = false;
    next(p);
    if (!is_sign(p, ":")) TRY(expression(p, &bounds[0]));
    for (int i = 1; i < 3 && take_sign(p, ":"); i++) {
        slice = true;
        if (!slice_ends(p) && !is_sign(p, ":")) TRY(expression(p, &bounds[i]));
    }
    TRY(expect(p, "]"));
    TRY(wrap(p, slice ? E_SLICE : E_ITEM, *at, bounds[0], &n));
    for (int i = 0; slice && i < 3; i++)
        TRY(add_item(p, n, bounds[i], NULL, OP_EQ));
    *at = n;
    return STATUS_OK;
}

static status attribute(parser *p, node **at) {
    node *n, *index;
    next(p);
    if (p->at->kind == T_INT) {
        TRY(constant(p, value_int(p->at->integer), &index));
        next(p);
        TRY(wrap(p, E_ITEM, *at, index, &n));
    } else {
        TRY(wrap(p, E_ATTRIBUTE, *at, NULL, &n));
        TRY(expect_name(p, &n->name));
    }
    *at = n;
    return STATUS_OK;
}

static status postfixes(parser *p, node **at) {
    for (;;) {
        if (is_sign(p, "."))
            TRY(attribute(p, at));
        else if (is_sign(p, "["))
            TRY(subscript(p, at));
        else if (is_sign(p, "("))
            TRY(call(p, at));
        else
            return STATUS_OK;
    }
}

static status filter(parser *p, node **at) {
    node *n;
    next(p);
    TRY(wrap(p, E_FILTER, *at, NULL, &n));
    TRY(expect_name(p, &n->name));
    if (!filter_exists(n->name)) return unsupported(p, "filter", n->name);
    if (is_sign(p, "(")) TRY(call_arguments(p, n));
    *at = n;
    return STATUS_OK;
}

/* Does a test's single argument without parentheses begin here? */
static bool test_argument(const parser *p) {
    static const char *const enders[] = {"else", "or", "and", "is", "if", "in", "not", NULL};
    for (int i = 0; enders[i] != NULL; i++)
        if (is_word(p, enders[i])) return false;
    return p->at->kind == T_NAME || p->at->kind == T_STRING || p->at->kind == T_INT ||
           p->at->kind == T_REAL || is_sign(p, "[") || is_sign(p, "{");
}

static status test(parser *p, node **at) {
    node *n, *argument;
    next(p);
    bool negated = take_word(p, "not");
    TRY(wrap(p, E_TEST, *at, NULL, &n));
    TRY(expect_name(p, &n->name));
    if (!test_exists(n->name)) return unsupported(p, "test", n->name);
    if (is_sign(p, "(")) {
        TRY(call_arguments(p, n));
    } else if (test_argument(p)) {
        TRY(primary(p, &argument));
        TRY(postfixes(p, &argument));
        TRY(add_item(p, n, argument, NULL, OP_EQ));
    }
    *at = n;
    return negated ? wrap(p, E_NOT, n, NULL, at) : STATUS_OK;
}

static status filters_and_tests(parser *p, node **at) {
    for (;;) {
        if (is_sign(p, "|"))
            TRY(filter(p, at));
        else if (is_word(p, "is"))
            TRY(test(p, at));
        else if (is_sign(p, "("))
            TRY(call(p, at));
        else
            return STATUS_OK;
    }
}

/* -- operators, loosest last -- */

static status unary_inner(parser *p, bool filters, node **out) {
    node *inner;
    if (is_sign(p, "-") || is_sign(p, "+")) {
        node_kind kind = is_sign(p, "-") ? E_NEGATE : E_PLUS;
        next(p);
        TRY(unary(p, false, &inner));
        TRY(wrap(p, kind, inner, NULL, out));
    } else {
        TRY(primary(p, out));
    }
    TRY(postfixes(p, out));
    return filters ? filters_and_tests(p, out) : STATUS_OK;
}

static status unary(parser *p, bool filters, node **out) {
    TRY(enter(p));
    TRY(unary_inner(p, filters, out));
    p->depth--;
    return STATUS_OK;
}

typedef struct sign_row {
    const char *sign;
    operator op;
} sign_row;

/* Arithmetic by levels: 0 is + and -, 1 is ~, 2 is * / // %, 3 is **. */
static const sign_row levels[4][5] = {
    {{"+", OP_ADD}, {"-", OP_SUB}},
    {{"~", OP_CONCAT}},
    {{"*", OP_MUL}, {"/", OP_DIV}, {"//", OP_FLOORDIV}, {"%", OP_MOD}},
    {{"**", OP_POW}},
};

static bool find_operator(const parser *p, int level, operator* op) {
    for (int i = 0; levels[level][i].sign != NULL; i++)
        if (is_sign(p, levels[level][i].sign)) {
            *op = levels[level][i].op;
            return true;
        }
    return false;
}

static status arithmetic(parser *p, int level, node **out) {
    node *right, *n;
    operator op;
    TRY(level == 3 ? unary(p, true, out) : arithmetic(p, level + 1, out));
    while (find_operator(p, level, &op)) {
        next(p);
        TRY(level == 3 ? unary(p, true, &right) : arithmetic(p, level + 1, &right));
        TRY(wrap(p, E_BINARY, *out, right, &n));
        n->op = op;
        *out = n;
    }
    return STATUS_OK;
}

static bool take_comparison(parser *p, operator* op) {
    static const sign_row rows[] = {{"==", OP_EQ}, {"!=", OP_NE}, {"<", OP_LT},
                                    {"<=", OP_LE}, {">", OP_GT},  {">=", OP_GE}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (take_sign(p, rows[i].sign)) {
            *op = rows[i].op;
            return true;
        }
    *op = OP_IN;
    if (take_word(p, "in")) return true;
    *op = OP_NOT_IN;
    if (!is_word(p, "not") || p->at[1].kind != T_NAME || strcmp(p->at[1].bytes, "in") != 0)
        return false;
    next(p);
    next(p);
    return true;
}

static status comparison(parser *p, node **out) {
    operator op;
    node *n = NULL, *right;
    TRY(arithmetic(p, 0, out));
    while (take_comparison(p, &op)) {
        if (n == NULL) TRY(wrap(p, E_COMPARE, *out, NULL, &n));
        TRY(arithmetic(p, 0, &right));
        TRY(add_item(p, n, right, NULL, op));
        *out = n;
    }
    return STATUS_OK;
}

static status negation(parser *p, node **out) {
    node *inner;
    if (!take_word(p, "not")) return comparison(p, out);
    TRY(enter(p));
    TRY(negation(p, &inner));
    p->depth--;
    return wrap(p, E_NOT, inner, NULL, out);
}

static status conjunction(parser *p, node **out) {
    node *right;
    TRY(negation(p, out));
    while (take_word(p, "and")) {
        TRY(negation(p, &right));
        TRY(wrap(p, E_AND, *out, right, out));
    }
    return STATUS_OK;
}

static status disjunction(parser *p, node **out) {
    node *right;
    TRY(conjunction(p, out));
    while (take_word(p, "or")) {
        TRY(conjunction(p, &right));
        TRY(wrap(p, E_OR, *out, right, out));
    }
    return STATUS_OK;
}

static status expression(parser *p, node **out) {
    TRY(enter(p));
    TRY(disjunction(p, out));
    while (take_word(p, "if")) {
        node *condition, *n;
        TRY(disjunction(p, &condition));
        TRY(wrap(p, E_CHOOSE, *out, condition, &n));
        if (take_word(p, "else")) TRY(expression(p, &n->c));
        *out = n;
    }
    p->depth--;
    return STATUS_OK;
}

/* An expression that may be a tuple without parentheses. `choice`: may hold "a if b". */
static status expressions(parser *p, bool choice, node **out) {
    TRY(choice ? expression(p, out) : disjunction(p, out));
    if (!is_sign(p, ",")) return STATUS_OK;
    node *tuple, *item;
    TRY(wrap(p, E_TUPLE, NULL, NULL, &tuple));
    TRY(add_item(p, tuple, *out, NULL, OP_EQ));
    while (take_sign(p, ",")) {
        if (p->at->kind == T_BLOCK_END || p->at->kind == T_OUTPUT_END) break;
        TRY(choice ? expression(p, &item) : disjunction(p, &item));
        TRY(add_item(p, tuple, item, NULL, OP_EQ));
    }
    *out = tuple;
    return STATUS_OK;
}

/* -- statements -- */

/* What is assigned to: a name, name.attribute, or several of them, in parentheses or not. */
static status one_target(parser *p, bool attributes, node **out);

static status several_targets(parser *p, bool attributes, node **out) {
    node *tuple, *n;
    TRY(one_target(p, attributes, out));
    if (!is_sign(p, ",")) return STATUS_OK;
    TRY(wrap(p, E_TUPLE, NULL, NULL, &tuple));
    TRY(add_item(p, tuple, *out, NULL, OP_EQ));
    while (take_sign(p, ",")) {
        if (p->at->kind != T_NAME && !is_sign(p, "(")) break;
        TRY(one_target(p, attributes, &n));
        TRY(add_item(p, tuple, n, NULL, OP_EQ));
    }
    *out = tuple;
    return STATUS_OK;
}

static status one_target(parser *p, bool attributes, node **out) {
    if (take_sign(p, "(")) {
        TRY(enter(p));
        TRY(several_targets(p, attributes, out));
        p->depth--;
        return expect(p, ")");
    }
    node *n = new_node(p, E_NAME);
    if (n == NULL) return STATUS_MEMORY;
    TRY(expect_name(p, &n->name));
    if (attributes && is_sign(p, ".")) TRY(attribute(p, &n));
    *out = n;
    return STATUS_OK;
}

static status if_statement(parser *p, node *n) {
    static const char *const until[] = {"elif", "else", "endif", NULL};
    TRY(expressions(p, true, &n->a));
    TRY(end_block(p));
    TRY(statements(p, until, &n->body));
    if (take_word(p, "elif")) {
        node *inner = new_node(p, N_IF);
        if (inner == NULL) return STATUS_MEMORY;
        TRY(add_statement(p, &n->otherwise, inner));
        TRY(enter(p));
        TRY(if_statement(p, inner));
        p->depth--;
        return STATUS_OK;
    }
    if (take_word(p, "else")) {
        static const char *const end[] = {"endif", NULL};
        TRY(end_block(p));
        TRY(statements(p, end, &n->otherwise));
    }
    next(p); /* endif */
    return end_block(p);
}

static status for_statement(parser *p, node *n) {
    static const char *const until[] = {"else", "endfor", NULL}, *const end[] = {"endfor", NULL};
    TRY(several_targets(p, false, &n->a));
    if (!take_word(p, "in"))
        return syntax(p, text("%s where \"in\" should be", token_name(p->at)),
                      "a loop reads: for NAME in LIST");
    TRY(expressions(p, false, &n->b));
    if (take_word(p, "if")) TRY(expression(p, &n->c));
    if (is_word(p, "recursive")) return unsupported(p, "statement", "for ... recursive");
    TRY(end_block(p));
    p->loops++;
    TRY(statements(p, until, &n->body));
    p->loops--;
    if (take_word(p, "else")) {
        TRY(end_block(p));
        TRY(statements(p, end, &n->otherwise));
    }
    next(p); /* endfor */
    return end_block(p);
}

/* "|filter|filter" over whatever n->b becomes when it is reached: an empty name stands for it. */
static status filter_chain(parser *p, node *n) {
    TRY(wrap(p, E_NAME, NULL, NULL, &n->b));
    n->b->name = "";
    while (is_sign(p, "|"))
        TRY(filter(p, &n->b));
    return STATUS_OK;
}

static status set_statement(parser *p, node *n) {
    static const char *const end[] = {"endset", NULL};
    TRY(several_targets(p, true, &n->a));
    if (take_sign(p, "=")) {
        TRY(expressions(p, true, &n->b));
        return end_block(p);
    }
    n->kind = N_SET_BLOCK;
    TRY(filter_chain(p, n));
    TRY(end_block(p));
    TRY(statements(p, end, &n->body));
    next(p); /* endset */
    return end_block(p);
}

static status macro_statement(parser *p, node *n) {
    static const char *const end[] = {"endmacro", NULL};
    int loops = p->loops;
    TRY(expect_name(p, &n->name));
    TRY(expect(p, "("));
    while (!take_sign(p, ")")) {
        const char *parameter;
        node *otherwise = NULL;
        if (n->n > 0) TRY(expect(p, ","));
        TRY(expect_name(p, &parameter));
        if (take_sign(p, "=")) TRY(expression(p, &otherwise));
        TRY(add_item(p, n, otherwise, parameter, OP_EQ));
    }
    TRY(end_block(p));
    p->loops = 0;
    TRY(statements(p, end, &n->body));
    p->loops = loops;
    next(p);
    if (p->at->kind == T_NAME) next(p); /* endmacro NAME */
    return end_block(p);
}

static status filter_statement(parser *p, node *n) {
    static const char *const end[] = {"endfilter", NULL};
    TRY(wrap(p, E_NAME, NULL, NULL, &n->b));
    n->b->name = "";
    p->at--; /* filter() skips the sign in front of the name: here the word "filter" */
    TRY(filter(p, &n->b));
    while (is_sign(p, "|"))
        TRY(filter(p, &n->b));
    TRY(end_block(p));
    TRY(statements(p, end, &n->body));
    next(p);
    return end_block(p);
}

/* {% generation %} marks what an assistant says; the text is the same. */
static status generation_statement(parser *p, node *n) {
    static const char *const end[] = {"endgeneration", NULL};
    TRY(end_block(p));
    TRY(statements(p, end, &n->body));
    next(p);
    return end_block(p);
}

static status jump_statement(parser *p, node *n) {
    if (p->loops == 0)
        return syntax(p, n->kind == N_BREAK ? "break outside a loop" : "continue outside a loop",
                      "it ends or repeats the innermost loop");
    return end_block(p);
}

static status statement(parser *p, node **out) {
    static const struct {
        const char *word;
        node_kind kind;
        status (*read)(parser *, node *);
    } rows[] = {
        {"if", N_IF, if_statement},
        {"for", N_FOR, for_statement},
        {"set", N_SET, set_statement},
        {"macro", N_MACRO, macro_statement},
        {"filter", N_FILTERED, filter_statement},
        {"generation", N_BODY, generation_statement},
        {"break", N_BREAK, jump_statement},
        {"continue", N_CONTINUE, jump_statement},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!is_word(p, rows[i].word)) continue;
        *out = new_node(p, rows[i].kind);
        if (*out == NULL) return STATUS_MEMORY;
        next(p);
        TRY(enter(p));
        TRY(rows[i].read(p, *out));
        p->depth--;
        return STATUS_OK;
    }
    if (p->at->kind != T_NAME)
        return syntax(p, text("%s where a statement should be", token_name(p->at)),
                      "a block tag begins with a word");
    if (strncmp(p->at->bytes, "end", 3) == 0 || is_word(p, "else") || is_word(p, "elif"))
        return syntax(p, text("\"%.40s\" has no beginning", p->at->bytes),
                      "no such block is open here");
    return unsupported(p, "statement", p->at->bytes);
}

/* Statements up to one of the words, at which it stops; NULL: up to the end. */
static status statements(parser *p, const char *const *until, block *out) {
    for (;;) {
        node *n = NULL;
        int line = p->at->line;
        switch (p->at->kind) {
        case T_DATA:
            TRY(string_constant(p, p->at->bytes, p->at->n, &n));
            n->kind = N_TEXT;
            next(p);
            break;
        case T_OUTPUT_BEGIN:
            next(p);
            n = new_node(p, N_OUTPUT);
            if (n == NULL) return STATUS_MEMORY;
            TRY(expressions(p, true, &n->a));
            if (p->at->kind != T_OUTPUT_END)
                return syntax(p, text("%s where \"}}\" should be", token_name(p->at)),
                              "the expression goes on longer than it may");
            next(p);
            break;
        case T_BLOCK_BEGIN:
            next(p);
            for (int i = 0; until != NULL && until[i] != NULL; i++)
                if (is_word(p, until[i])) return STATUS_OK;
            TRY(statement(p, &n));
            break;
        default:
            if (until == NULL) return STATUS_OK;
            return syntax(p, text("\"%s\" is missing", until[0]),
                          "a block that was begun does not end");
        }
        n->line = line;
        TRY(add_statement(p, out, n));
    }
}

/* -- the template -- */

static status parse(template *t, const char *source, size_t n, const char *where) {
    if (n > SOURCE_MOST)
        return FAIL(F_TEMPLATE_LIMIT, text("the template has %zu bytes", n), where,
                    "at most 1 MiB is read", "check that it is a chat template");
    TRY(arena_init(&t->memory, "chat template", TREE_MOST));
    t->where = arena_strdup(&t->memory, where);
    if (t->where == NULL) return STATUS_MEMORY;
    template_tokens tokens = {0};
    TRY(template_lex(t, source, n, &tokens));
    parser p = {.t = t, .at = tokens.tokens};
    return statements(&p, NULL, &t->body);
}

status template_parse(template **out, const char *source, size_t n, const char *where) {
    *out = NULL;
    template *t = mem_zalloc(1, sizeof *t);
    if (t == NULL) return STATUS_MEMORY;
    status s = parse(t, source, n, where);
    if (s != STATUS_OK) {
        template_free(t);
        return s;
    }
    *out = t;
    return STATUS_OK;
}

void template_free(template *t) {
    if (t == NULL) return;
    arena_clear(&t->memory);
    mem_free(t);
}
