/* template_internal.h - values, syntax tree and the parts of the template interpreter.
 *
 * Everything of one parse lives in the template's arena, everything of one rendering in the
 * renderer's: nothing is freed singly. Errors stick to the renderer (`failed`): functions go on with
 * harmless values and the first report is kept, so that evaluation reads as expressions.
 */
#ifndef FATHOM_TOKENS_TEMPLATE_INTERNAL_H
#define FATHOM_TOKENS_TEMPLATE_INTERNAL_H

#include "base/memory.h"
#include "tokens/template.h"

#include <stdbool.h>
#include <string.h>

/* -- values -- */

typedef struct node node;
typedef struct value value;

/* Bytes of UTF-8; marks[i] = 1 where byte i came from outside, NULL = nowhere. */
typedef struct string {
    const char *bytes;
    const uint8_t *marks;
    size_t n;
} string;

typedef struct list {
    value *items;
    size_t n, room;
} list;

typedef struct pair pair;
typedef struct dict {
    pair *pairs; /* in order of insertion */
    size_t n, room;
} dict;

typedef enum value_kind {
    V_UNDEFINED,
    V_NONE,
    V_BOOL,
    V_INT,
    V_REAL,
    V_STRING,
    V_LIST,
    V_TUPLE,
    V_DICT,
    V_NAMESPACE,
    V_FUNCTION, /* of the renderer, by name */
    V_METHOD,   /* of a value, by name */
    V_MACRO,
} value_kind;

struct value {
    value_kind kind;
    union {
        bool boolean;
        int64_t integer;
        double real;
        string *string;
        list *list; /* V_LIST, V_TUPLE */
        dict *dict; /* V_DICT, V_NAMESPACE */
        const node *macro;
        struct method *method;
        const char *name; /* V_FUNCTION; V_UNDEFINED: what is missing, for the message */
    };
};

struct pair {
    value key, value;
};

typedef struct method {
    value self;
    const char *name;
} method;

/* -- syntax tree -- */

typedef enum node_kind {
    N_TEXT,      /* constant */
    N_OUTPUT,    /* a */
    N_IF,        /* a, body, otherwise */
    N_FOR,       /* target a, over b, condition c, body, otherwise */
    N_SET,       /* target a, value b */
    N_SET_BLOCK, /* target a, body, filter chain b on E_NAME "" */
    N_MACRO,     /* name, parameters = items with names, body */
    N_FILTERED,  /* filter chain b, body */
    N_BODY,      /* body */
    N_BREAK,
    N_CONTINUE,
    E_CONSTANT,
    E_NAME,
    E_LIST,
    E_TUPLE,
    E_DICT, /* items: key, value, key, value ... */
    E_NOT,
    E_NEGATE,
    E_PLUS,
    E_BINARY,  /* op, a, b */
    E_COMPARE, /* a, items with ops */
    E_AND,
    E_OR,
    E_CHOOSE,    /* a if b else c */
    E_ATTRIBUTE, /* a.name */
    E_ITEM,      /* a[b] */
    E_SLICE,     /* a[items 0, 1, 2] any may be NULL */
    E_CALL,      /* a(items, names) */
    E_FILTER,    /* a|name(items, names) */
    E_TEST,      /* a is name(items) */
} node_kind;

typedef enum operator{
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_POW,
    OP_CONCAT,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN,
}
operator;

typedef struct block {
    node **nodes;
    size_t n, room;
} block;

struct node {
    node_kind kind;
    operator op;
    int line;
    node *a, *b, *c;
    node **items;
    const char **names; /* of items; NULL = by position */
    operator* ops;      /* of items */
    size_t n, room;
    block body, otherwise;
    const char *name;
    value constant;
};

struct template {
    arena memory;
    const char *where;
    block body;
};

/* -- lexer -- */

typedef enum token_kind {
    T_END, /* of the source */
    T_DATA,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_OUTPUT_BEGIN,
    T_OUTPUT_END,
    T_NAME,
    T_STRING,
    T_INT,
    T_REAL,
    T_SIGN,
} token_kind;

typedef struct token {
    token_kind kind;
    int line;
    const char *bytes; /* T_DATA, T_NAME, T_STRING (decoded): NUL-terminated; T_SIGN: spelling */
    size_t n;
    int64_t integer;
    double real;
} token;

typedef struct template_tokens {
    token *tokens;
    size_t n, room;
} template_tokens;

/* Cuts the source into tokens, the last of which is T_END. */
status template_lex(template *t, const char *source, size_t n, template_tokens *out) MUST_CHECK;
status template_syntax(const template *t, int line, const char *what, const char *why) MUST_CHECK;
bool filter_exists(const char *name);
bool test_exists(const char *name);

/* -- renderer -- */

typedef struct variable {
    const char *name;
    value value;
} variable;

typedef struct renderer {
    const template *t;
    arena memory;
    status failed; /* first failure; its report is the thread's */
    int line;      /* of the node at work */
    int depth;
    int64_t steps, now;
    variable *variables; /* innermost last */
    size_t n_variables, room_variables;
    size_t scope; /* first variable of the innermost scope */
    size_t floor; /* first variable a macro sees, besides globals */
    size_t globals;
    bool breaking, continuing;
    char *text; /* output and captures */
    uint8_t *outside;
    size_t n, room;
} renderer;

typedef struct arguments {
    value *items;
    const char **names;
    size_t n;
} arguments;

/* The first failure; a later one is dropped. Returns undefined. */
value render_fail(renderer *r, error_id id, const char *what, const char *why);
value render_limit(renderer *r, const char *what);
/* Counts work; false when the bound is passed or something failed before. */
bool render_step(renderer *r, int64_t steps);
void *render_alloc(renderer *r, size_t bytes); /* NULL: failed */

static inline value value_undefined(const char *name) {
    return (value){.kind = V_UNDEFINED, .name = name};
}
static inline value value_none(void) {
    return (value){.kind = V_NONE};
}
static inline value value_bool(bool b) {
    return (value){.kind = V_BOOL, .boolean = b};
}
static inline value value_int(int64_t i) {
    return (value){.kind = V_INT, .integer = i};
}
static inline value value_real(double d) {
    return (value){.kind = V_REAL, .real = d};
}
static inline bool value_is_text(value v) {
    return v.kind == V_STRING;
}
static inline bool value_is_list(value v) {
    return v.kind == V_LIST || v.kind == V_TUPLE;
}
static inline bool value_is_dict(value v) {
    return v.kind == V_DICT || v.kind == V_NAMESPACE;
}

value value_string(renderer *r, const char *bytes, size_t n, const uint8_t *marks); /* lent */
value value_words(renderer *r, const char *literal);                                /* lent */
value value_copy(renderer *r, const char *bytes, size_t n);                         /* copied */
value value_list(renderer *r, value_kind kind);
value value_dict(renderer *r, value_kind kind);
void list_add(renderer *r, list *l, value v);
void dict_set(renderer *r, dict *d, value key, value v);
const value *dict_find(renderer *r, const dict *d, value key);
const value *dict_find_name(const dict *d, const char *name);
value value_from_json(renderer *r, const json_t *json, bool outside, int depth);

const char *value_kind_name(value v); /* as Python says it: "list", "str" */
bool value_truth(value v);
bool value_equal(renderer *r, value a, value b);
int value_order(renderer *r, value a, value b); /* < 0, 0, > 0; fails for kinds without order */
bool value_contains(renderer *r, value container, value item);
int64_t value_length(renderer *r, value v);
bool value_number(value v, double *out); /* bool, int, real */
bool value_integer(value v, int64_t *out);
/* Items of whatever can be walked: lists, keys of dicts, characters of strings; undefined: none. */
list *value_items(renderer *r, value v);
value value_get(renderer *r, value v, value key);              /* v[key] */
value value_attribute(renderer *r, value v, const char *name); /* v.name */
value value_slice(renderer *r, value v, const value bounds[3]);
value value_text(renderer *r, value v); /* str(v) */
value value_repr(renderer *r, value v); /* repr(v) */
typedef struct json_style {
    int indent; /* -1: one line */
    bool ascii, sort;
    string item, key; /* separators */
} json_style;
value value_json(renderer *r, value v, const json_style *style);

/* Output: pieces appended to r->text; captures take back what was written since a mark. */
void output_bytes(renderer *r, const char *bytes, size_t n, const uint8_t *marks);
static inline void output_words(renderer *r, const char *words) {
    output_bytes(r, words, strlen(words), NULL);
}
value output_take(renderer *r, size_t mark);

/* Characters. */
size_t utf8_step(const char *bytes, size_t n, size_t at); /* bytes of the character at `at` */
int32_t utf8_at(const char *bytes, size_t n);             /* code point; lenient */
size_t utf8_write(char out[4], int32_t c);
bool utf8_is_space(int32_t c); /* as str.isspace */
value string_part(renderer *r, const string *s, size_t from, size_t to);
value string_strip(renderer *r, const string *s, const string *set, bool left, bool right);
value string_case(renderer *r, const string *s, char how);
/* how: u(pper), l(ower), c(apitalise), t(itle) as str.title, T as the filter title */
value string_replace(renderer *r, const string *s, const string *old, const string *new,
                     int64_t most);
value string_join(renderer *r, const list *items, const string *between);

typedef struct function_row {
    const char *name;
    value (*call)(renderer *r, value v, const arguments *a);
} function_row;
const function_row *function_find(const function_row *rows, size_t n, const char *name);

value call_filter(renderer *r, const char *name, value v, const arguments *a);
bool call_test(renderer *r, const char *name, value v, const arguments *a);
value call_method(renderer *r, const method *m, const arguments *a);
value call_function(renderer *r, const char *name, const arguments *a);
bool method_exists(value v, const char *name);
/* The argument at `position` or named `name`; NULL if not given. */
const value *argument_at(const arguments *a, size_t position, const char *name);
value fail_argument(renderer *r, const char *what);
/* The string argument, or `otherwise` if it is not given; NULL after a failure. */
const string *string_at(renderer *r, const arguments *a, size_t position, const char *name,
                        const string *otherwise);
int64_t integer_at(renderer *r, const arguments *a, size_t position, const char *name,
                   int64_t otherwise);
bool truth_at(const arguments *a, size_t position, const char *name, bool otherwise);
extern const string nothing; /* "" */
/* str(v) as a string; the empty one after a failure. */
const string *text_of(renderer *r, value v);

#endif
