/* roff.c - lines of a manual page: requests, definitions, conditions.
 *
 * What: roff_text walks the page line by line; a line that starts with '.' or '\'' calls a request
 * of roff itself (handled here), a macro the page defines (expanded and walked in turn) or one of
 * the man or mdoc packages; any other line is text.
 * How: groff(7), man(7), mdoc(7), tbl(1), as far as text is concerned. The state of the page is one
 * struct; lines come from a `source`, of which there is one per macro being expanded.
 * Mind: macros may call macros ROFF_DEPTH deep and expand to 64 KiB plus 64 times the page (64 MiB
 * at most); calls beyond that are left out and reported as `cut`. Loops (.while) are not run. Time
 * is linear in page plus expansion: nothing scans the same bytes more than a few times.
 */
#include "data/roff_internal.h"

#include <string.h>

#define BUDGET_BASE ((size_t)64 << 10)
#define BUDGET_RATE ((size_t)64)
#define BUDGET_MOST ((size_t)64 << 20)
#define CALL_COST   ((size_t)32) /* of an empty macro, so that calls are bounded, too */

bool slice_is(slice s, const char *string) {
    return s.n == strlen(string) && memcmp(s.p, string, s.n) == 0;
}

/* ---- definitions ---------------------------------------------------------------------------- */

static define *define_row(const define_table *t, slice name) {
    for (int i = 0; i < t->n; i++)
        if (slice_is(name, t->rows[i].name)) return &t->rows[i];
    return NULL;
}

const define *define_find(const define_table *t, slice name) {
    return define_row(t, name);
}

/* The row for `name`, new if need be; NULL when the name or the table is too long. */
static define *define_set(roff *r, define_table *t, slice name) {
    define *d = define_row(t, name);
    if (d != NULL) return d;
    if (name.n == 0 || name.n >= ROFF_NAME || memchr(name.p, '\0', name.n) != NULL ||
        t->n >= ROFF_DEFINES)
        return NULL;
    if (t->n == t->capacity) {
        int capacity = t->capacity > 0 ? 2 * t->capacity : 16;
        define *rows = mem_resize(t->rows, (size_t)capacity, sizeof *rows);
        if (rows == NULL) {
            r->no_memory = true;
            return NULL;
        }
        t->rows = rows;
        t->capacity = capacity;
    }
    d = &t->rows[t->n++];
    memset(d, 0, sizeof *d);
    memcpy(d->name, name.p, name.n);
    return d;
}

/* ---- lines ---------------------------------------------------------------------------------- */

/* A backslash at the end joins the next line, unless it is escaped or inside a comment. */
static bool line_continues(slice s) {
    size_t n = 0;
    while (n < s.n && s.p[s.n - 1 - n] == '\\')
        n++;
    return n % 2 == 1 && memmem(s.p, s.n, "\\\"", 2) == NULL;
}

static bool physical_line(source *src, slice *line) {
    if (src->p >= src->end) return false;
    size_t left = (size_t)(src->end - src->p);
    const char *newline = memchr(src->p, '\n', left);
    *line = (slice){src->p, newline != NULL ? (size_t)(newline - src->p) : left, false};
    src->p = newline != NULL ? newline + 1 : src->end;
    if (line->n > 0 && line->p[line->n - 1] == '\r') line->n--;
    return true;
}

bool roff_line_next(source *src, slice *line) {
    if (!physical_line(src, line)) return false;
    if (!line_continues(*line)) return true;
    buffer_cut(&src->joined, 0);
    do {
        buffer_put(&src->joined, line->p, line->n - 1);
        if (!physical_line(src, line)) {
            *line = (slice){"", 0, false};
            break;
        }
    } while (line_continues(*line));
    buffer_put(&src->joined, line->p, line->n);
    *line = (slice){src->joined.n > 0 ? src->joined.bytes : "", src->joined.n, false};
    return true;
}

static slice trim_left(slice s) {
    while (s.n > 0 && (*s.p == ' ' || *s.p == '\t')) {
        s.p++;
        s.n--;
    }
    return s;
}

/* The next word and the rest behind it. */
static slice take_word(slice *s) {
    *s = trim_left(*s);
    slice word = {s->p, 0, false};
    while (word.n < s->n && s->p[word.n] != ' ' && s->p[word.n] != '\t')
        word.n++;
    s->p += word.n;
    s->n -= word.n;
    return word;
}

static slice without_comment(slice s) {
    for (size_t i = 0; i + 1 < s.n; i++) {
        if (s.p[i] != '\\') continue;
        if (s.p[i + 1] == '"' || s.p[i + 1] == '#') {
            s.n = i;
            break;
        }
        i++;
    }
    return s;
}

/* Arguments are separated by blanks; "..." keeps them together, "" inside is one quote. */
static void args_split(slice s, args *a) {
    size_t i = 0;
    a->n = 0;
    while (a->n < ROFF_ARGS) {
        while (i < s.n && (s.p[i] == ' ' || s.p[i] == '\t'))
            i++;
        if (i >= s.n) return;
        slice *arg = &a->list[a->n++];
        bool quoted = s.p[i] == '"';
        size_t start = i += quoted;
        for (; i < s.n; i++) {
            if (s.p[i] == '\\' && i + 1 < s.n) {
                i++;
            } else if (quoted && s.p[i] == '"') {
                if (i + 1 >= s.n || s.p[i + 1] != '"') break;
                i++;
            } else if (!quoted && (s.p[i] == ' ' || s.p[i] == '\t')) {
                break;
            }
        }
        size_t end = i < s.n ? i : s.n;
        *arg = (slice){s.p + start, end - start, quoted};
        if (quoted && i < s.n) i++;
    }
}

/* Skips lines up to one that starts with '.' and `end` (.. or a name). */
static slice body_take(source *src, slice end) {
    slice line, body = {src->p, 0, false};
    while (physical_line(src, &line)) {
        size_t before = (size_t)(line.p - body.p);
        if (line.n > 0 && line.p[0] == '.') {
            slice rest = {line.p + 1, line.n - 1, false};
            if (slice_is(take_word(&rest), end.n > 0 ? "" : ".")) {
                body.n = before;
                return body;
            }
            slice again = {line.p + 1, line.n - 1, false};
            slice word = take_word(&again);
            if (end.n > 0 && word.n == end.n && memcmp(word.p, end.p, end.n) == 0) {
                body.n = before;
                return body;
            }
        }
        body.n = (size_t)(src->p - body.p);
    }
    return body;
}

/* ---- macros of the page --------------------------------------------------------------------- */

static void put_argument(buffer *out, const args *a, int i) {
    if (i < a->n) buffer_put(out, a->list[i].p, a->list[i].n);
}

/* The body with \\$1 ... \\$9 and \\$* replaced; other doubled backslashes become single. */
static void body_expand(buffer *out, slice body, const args *a) {
    for (size_t i = 0; i < body.n; i++) {
        if (body.p[i] != '\\') {
            buffer_byte(out, body.p[i]);
            continue;
        }
        size_t at = i + 1;
        if (at < body.n && body.p[at] == '\\') at++;
        if (at + 1 < body.n && body.p[at] == '$') {
            char which = body.p[at + 1];
            if (which >= '1' && which <= '9') {
                put_argument(out, a, which - '1');
            } else if (which == '*' || which == '@') {
                for (int k = 0; k < a->n; k++) {
                    if (k > 0) buffer_byte(out, ' ');
                    put_argument(out, a, k);
                }
            }
            i = (unsigned char)which < 0x80 ? at + 1 : at; /* never half a character */
        } else {
            buffer_byte(out, '\\');
            i = at - 1;
        }
    }
}

static void source_run(roff *r, source *src) {
    slice line;
    while (!r->no_memory && roff_line_next(src, &line))
        roff_line(r, src, line);
    r->no_memory |= src->joined.failed;
    buffer_clear(&src->joined);
}

static void macro_run(roff *r, const source *caller, slice body, const args *a) {
    if (caller->depth >= ROFF_DEPTH || body.n >= r->budget) {
        r->cut = true;
        return;
    }
    chunk *c = mem_zalloc(1, sizeof *c);
    if (c == NULL) {
        r->no_memory = true;
        return;
    }
    c->next = r->chunks;
    r->chunks = c;
    body_expand(&c->bytes, body, a);
    r->no_memory |= c->bytes.failed;
    size_t cost = c->bytes.n + body.n + CALL_COST;
    r->budget -= cost < r->budget ? cost : r->budget;
    const char *bytes = c->bytes.n > 0 ? c->bytes.bytes : "";
    source src = {.p = bytes, .end = bytes + c->bytes.n, .depth = caller->depth + 1};
    source_run(r, &src);
}

/* ---- conditions ----------------------------------------------------------------------------- */

/* The condition at the start of *s; *s becomes what it guards. */
static bool condition_take(roff *r, slice *s) {
    bool inverted = false, value;
    *s = trim_left(*s);
    while (s->n > 0 && *s->p == '!') {
        inverted = !inverted;
        s->p++;
        s->n--;
    }
    if (s->n == 0) return inverted;
    char c = *s->p;
    bool alone =
        s->n == 1 || s->p[1] == ' ' || s->p[1] == '\t' || s->p[1] == '\\' || s->p[1] == '.';
    if (strchr("notevF", c) != NULL && alone) {
        value = c == 'n' || c == 'o'; /* a terminal, an odd page */
        s->p++;
        s->n--;
    } else if (c == 'd' || c == 'r' || c == 'c' || c == 'm' || c == 'S') {
        s->p++;
        s->n--;
        slice name = take_word(s);
        value = c == 'd' ? define_find(&r->strings, name) || define_find(&r->macros, name)
                         : c == 'r' && define_find(&r->registers, name);
    } else if (c == '\'' || c == '"') {
        const char *end = s->p + s->n, *first = s->p + 1;
        const char *second = memchr(first, c, (size_t)(end - first));
        const char *close =
            second != NULL ? memchr(second + 1, c, (size_t)(end - second - 1)) : NULL;
        if (close == NULL) {
            s->n = 0;
            return inverted;
        }
        size_t n = (size_t)(second - first);
        value = n == (size_t)(close - second - 1) && memcmp(first, second + 1, n) == 0;
        *s = (slice){close + 1, (size_t)(end - close - 1), false};
    } else {
        value = roff_number(r, take_word(s)) > 0;
    }
    return value != inverted;
}

/* Depth of \{ minus \} in a line. */
static int brace_balance(slice s) {
    int balance = 0;
    for (size_t i = 0; i + 1 < s.n; i++) {
        if (s.p[i] != '\\') continue;
        i++;
        if (s.p[i] == '"') break;
        balance += (s.p[i] == '{') - (s.p[i] == '}');
    }
    return balance;
}

static void block_skip(source *src, slice first) {
    int depth = brace_balance(first);
    slice line;
    while (depth > 0 && physical_line(src, &line))
        depth += brace_balance(line);
}

/* .if, .ie and .el: true if *line now is a line to go on with. */
static bool condition_run(roff *r, source *src, slice name, slice *line) {
    bool value;
    if (slice_is(name, "el")) {
        value = r->n_branch > 0 && !r->branch[--r->n_branch];
    } else {
        value = condition_take(r, line);
        if (slice_is(name, "ie") && r->n_branch < ROFF_BRANCH) r->branch[r->n_branch++] = value;
    }
    *line = trim_left(*line);
    if (!value) {
        block_skip(src, *line);
        return false;
    }
    if (line->n >= 2 && memcmp(line->p, "\\{", 2) == 0) {
        line->p += 2;
        line->n -= 2;
        *line = trim_left(*line);
    }
    return line->n > 0;
}

/* ---- requests ------------------------------------------------------------------------------- */

typedef enum request {
    REQUEST_IGNORE,
    REQUEST_BREAK,
    REQUEST_SPACE,
    REQUEST_FILL,
    REQUEST_NOFILL,
    REQUEST_DEFINE,
    REQUEST_IGNORE_BLOCK,
    REQUEST_STRING,
    REQUEST_NUMBER,
    REQUEST_REMOVE,
    REQUEST_SOURCE,
    REQUEST_TABLE,
    REQUEST_EQUATION,
    REQUEST_PICTURE,
    REQUEST_WHILE,
    REQUEST_CONDITION,
    REQUEST_DO,
    REQUEST_NONE
} request;

/* clang-format off */
static const struct {
    const char *name;
    request kind;
} requests[] = {
    {"br", REQUEST_BREAK}, {"ce", REQUEST_BREAK}, {"in", REQUEST_BREAK}, {"ti", REQUEST_BREAK},
    {"brp", REQUEST_BREAK}, {"sp", REQUEST_SPACE}, {"bp", REQUEST_SPACE}, {"fi", REQUEST_FILL},
    {"nf", REQUEST_NOFILL}, {"de", REQUEST_DEFINE}, {"de1", REQUEST_DEFINE},
    {"am", REQUEST_DEFINE}, {"dei", REQUEST_DEFINE}, {"ig", REQUEST_IGNORE_BLOCK},
    {"ds", REQUEST_STRING}, {"ds1", REQUEST_STRING}, {"as", REQUEST_STRING},
    {"nr", REQUEST_NUMBER}, {"rm", REQUEST_REMOVE}, {"so", REQUEST_SOURCE},
    {"TS", REQUEST_TABLE}, {"EQ", REQUEST_EQUATION}, {"PS", REQUEST_PICTURE},
    {"while", REQUEST_WHILE}, {"if", REQUEST_CONDITION}, {"ie", REQUEST_CONDITION},
    {"el", REQUEST_CONDITION}, {"do", REQUEST_DO}, {"ad", REQUEST_IGNORE},
    {"na", REQUEST_IGNORE}, {"hy", REQUEST_IGNORE}, {"nh", REQUEST_IGNORE},
    {"ne", REQUEST_IGNORE}, {"ta", REQUEST_IGNORE}, {"ft", REQUEST_IGNORE},
    {"ps", REQUEST_IGNORE}, {"vs", REQUEST_IGNORE}, {"ll", REQUEST_IGNORE},
    {"tr", REQUEST_IGNORE}, {"ns", REQUEST_IGNORE}, {"rs", REQUEST_IGNORE},
    {"ul", REQUEST_IGNORE}, {"cu", REQUEST_IGNORE}, {"mk", REQUEST_IGNORE},
    {"rt", REQUEST_IGNORE}, {"ev", REQUEST_IGNORE}, {"nop", REQUEST_IGNORE},
    {"lf", REQUEST_IGNORE}, {"rr", REQUEST_IGNORE}, {"als", REQUEST_IGNORE},
    {"tm", REQUEST_IGNORE}, {"ab", REQUEST_IGNORE}, {"mso", REQUEST_IGNORE},
};
/* clang-format on */

static request request_of(slice name) {
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++)
        if (slice_is(name, requests[i].name)) return requests[i].kind;
    return REQUEST_NONE;
}

static void macro_define(roff *r, source *src, slice rest) {
    slice name = take_word(&rest), end = take_word(&rest);
    slice body = body_take(src, end);
    define *d = define_set(r, &r->macros, name);
    if (d != NULL) d->body = body;
}

static void string_define(roff *r, slice rest) {
    slice name = take_word(&rest);
    rest = trim_left(rest);
    if (rest.n > 0 && *rest.p == '"') {
        rest.p++;
        rest.n--;
    }
    /* A line inside an expanded macro or a continued line may move; keep its bytes. */
    chunk *c = mem_zalloc(1, sizeof *c);
    if (c == NULL) {
        r->no_memory = true;
        return;
    }
    c->next = r->chunks;
    r->chunks = c;
    buffer_put(&c->bytes, rest.p, rest.n);
    r->no_memory |= c->bytes.failed;
    define *d = define_set(r, &r->strings, name);
    if (d != NULL) d->body = (slice){c->bytes.n > 0 ? c->bytes.bytes : "", c->bytes.n, false};
}

static void number_define(roff *r, slice rest) {
    slice name = take_word(&rest);
    slice value = take_word(&rest);
    bool relative = value.n > 0 && (*value.p == '+' || *value.p == '-');
    int64_t number = roff_number(r, value);
    define *d = define_set(r, &r->registers, name);
    if (d == NULL) return;
    number += relative ? d->number : 0;
    d->number = number > 1000000000 ? 1000000000 : number < -1000000000 ? -1000000000 : number;
}

static void define_remove(define_table *t, slice name) {
    define *d = define_row(t, name);
    if (d == NULL) return;
    *d = t->rows[--t->n];
}

static void skip_to(source *src, const char *name) {
    slice line;
    while (physical_line(src, &line)) {
        slice rest = {line.p + 1, line.n > 0 ? line.n - 1 : 0, false};
        if (line.n > 0 && line.p[0] == '.' && slice_is(take_word(&rest), name)) return;
    }
}

static void request_run(roff *r, source *src, request kind, slice rest) {
    switch (kind) {
    case REQUEST_BREAK: roff_break(r); break;
    case REQUEST_SPACE: roff_paragraph(r); break;
    case REQUEST_FILL: roff_fill(r, true); break;
    case REQUEST_NOFILL: roff_fill(r, false); break;
    case REQUEST_DEFINE: macro_define(r, src, rest); break;
    case REQUEST_IGNORE_BLOCK: (void)body_take(src, take_word(&rest)); break;
    case REQUEST_STRING: string_define(r, rest); break;
    case REQUEST_NUMBER: number_define(r, rest); break;
    case REQUEST_REMOVE: {
        slice name = take_word(&rest);
        define_remove(&r->macros, name);
        define_remove(&r->strings, name);
        break;
    }
    case REQUEST_SOURCE: r->alias = true; break;
    case REQUEST_TABLE: roff_table(r, src); break;
    case REQUEST_EQUATION: skip_to(src, "EN"); break;
    case REQUEST_PICTURE: skip_to(src, "PE"); break;
    case REQUEST_WHILE: block_skip(src, rest); break;
    default: break; /* no text */
    }
}

static void text_line(roff *r, slice line) {
    if (trim_left(line).n == 0) {
        if (line.n == 0 || !r->fill) roff_paragraph(r);
        return;
    }
    if (r->fill && (*line.p == ' ' || *line.p == '\t') && !r->joined) roff_break(r);
    roff_decode(r, line);
    roff_line_end(r);
}

/* Calls a macro of the page, of roff or of a package. Unknown macros make no text. */
static void macro_call(roff *r, source *src, slice name, slice rest) {
    args a;
    const define *own = define_find(&r->macros, name);
    if (own != NULL) {
        args_split(without_comment(rest), &a);
        macro_run(r, src, own->body, &a);
        return;
    }
    request kind = request_of(name);
    if (kind != REQUEST_NONE) {
        request_run(r, src, kind, kind == REQUEST_STRING ? rest : without_comment(rest));
        return;
    }
    args_split(without_comment(rest), &a);
    if (slice_is(name, "Dd") || slice_is(name, "Dt")) r->mdoc = true;
    if (!r->mdoc || !roff_mdoc(r, name, &a)) (void)roff_man(r, name, &a);
}

void roff_line(roff *r, source *src, slice line) {
    for (;;) {
        if (line.n == 0 || (line.p[0] != '.' && line.p[0] != '\'')) {
            text_line(r, line);
            return;
        }
        slice rest = {line.p + 1, line.n - 1, false};
        rest = trim_left(rest);
        if (rest.n == 0 || *rest.p == '\\') return; /* empty, a comment or a closing brace */
        slice name = take_word(&rest);
        const char *comment = memmem(name.p, name.n, "\\\"", 2);
        if (comment != NULL) {
            name.n = (size_t)(comment - name.p);
            rest.n = 0;
        }
        request kind = request_of(name);
        if (kind == REQUEST_CONDITION) {
            if (!condition_run(r, src, name, &rest)) return;
            line = rest;
        } else if (kind == REQUEST_DO) {
            rest = trim_left(rest);
            if (rest.n == 0) return;
            macro_call(r, src, take_word(&rest), rest);
            return;
        } else {
            macro_call(r, src, name, rest);
            return;
        }
    }
}

/* ---- the page ------------------------------------------------------------------------------- */

static void roff_free(roff *r) {
    buffer_clear(&r->line);
    buffer_clear(&r->link);
    buffer_clear(&r->doc.name);
    mem_free(r->macros.rows);
    mem_free(r->strings.rows);
    mem_free(r->registers.rows);
    while (r->chunks != NULL) {
        chunk *next = r->chunks->next;
        buffer_clear(&r->chunks->bytes);
        mem_free(r->chunks);
        r->chunks = next;
    }
}

status roff_text(const char *bytes, size_t n, buffer *out, roff_page *page) {
    roff r = {.out = out, .fill = true};
    size_t before = out->n;
    r.budget =
        n < (BUDGET_MOST - BUDGET_BASE) / BUDGET_RATE ? BUDGET_BASE + BUDGET_RATE * n : BUDGET_MOST;
    r.doc.references = r.doc.arguments = -1;
    source src = {.p = bytes, .end = bytes + n};
    source_run(&r, &src);
    roff_break(&r);
    page->alias = r.alias && out->n == before;
    page->cut = r.cut;
    bool failed = r.no_memory || r.line.failed || r.link.failed || r.doc.name.failed;
    roff_free(&r);
    if (failed) out->failed = true;
    return buffer_check(out);
}
