/* template_lex.c - the source of a template cut into tokens.
 *
 * How. Text outside tags becomes T_DATA, after the white space rules of Jinja with trim_blocks and
 * lstrip_blocks on: "{%-" and "-%}" eat all white space on their side; else the line break behind a
 * block or comment tag is dropped, and blanks before one that begins its line are, unless "{%+" or
 * "+%}" forbid it. A tag's inside is cut into names, numbers, strings and signs; while a bracket is
 * open "}}" is two signs. One line break at the very end of the source is dropped, "\r\n" is "\n".
 */
#include "base/utf8.h"
#include "tokens/template_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

typedef struct lexer {
    template *t;
    const char *s;
    size_t n, at;
    int line;
    template_tokens *out;
    int open; /* brackets */
} lexer;

status template_syntax(const template *t, int line, const char *what, const char *why) {
    return FAIL(F_TEMPLATE, what, text("%s, line %d", t->where, line), why,
                "give another template, or mend this one");
}

static status syntax(const lexer *l, const char *what, const char *why) {
    return template_syntax(l->t, l->line, what, why);
}

static status add(lexer *l, token k) {
    template_tokens *o = l->out;
    if (o->n == o->room) {
        size_t room = 2 * o->room + 64;
        token *grown = arena_alloc(&l->t->memory, room * sizeof *grown);
        if (grown == NULL) return STATUS_MEMORY;
        if (o->n > 0) memcpy(grown, o->tokens, o->n * sizeof *grown);
        o->tokens = grown;
        o->room = room;
    }
    k.line = l->line;
    o->tokens[o->n++] = k;
    return STATUS_OK;
}

static char *copy(lexer *l, const char *bytes, size_t n) {
    char *c = arena_alloc(&l->t->memory, n + 1);
    if (c == NULL) return NULL;
    memcpy(c, bytes, n);
    c[n] = '\0';
    return c;
}

static void count_lines(lexer *l, size_t from, size_t to) {
    for (size_t i = from; i < to; i++)
        l->line += l->s[i] == '\n';
}

static bool starts(const lexer *l, size_t at, const char *words) {
    size_t n = strlen(words);
    return l->n - at >= n && memcmp(l->s + at, words, n) == 0;
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* -- strings and numbers -- */

static int hex(char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* \xHH, \uHHHH, \UHHHHHHHH at s[at] = the letter: writes the character, returns the digits read. */
static size_t read_code_point(const lexer *l, size_t at, size_t end, char *out, size_t *n) {
    size_t digits = l->s[at] == 'x' ? 2 : l->s[at] == 'u' ? 4 : 8;
    int64_t c = 0;
    if (end - at - 1 < digits) return 0;
    for (size_t i = 1; i <= digits; i++) {
        if (hex(l->s[at + i]) < 0) return 0;
        c = c * 16 + hex(l->s[at + i]);
    }
    if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return 0;
    *n += utf8_write(out + *n, (int32_t)c);
    return digits;
}

/* One escape, s[at] behind the backslash; as Python: unknown ones keep their backslash. */
static status unescape(lexer *l, size_t *at, size_t end, char *out, size_t *n) {
    static const char from[] = "nrtbfav0\\'\"", to[] = "\n\r\t\b\f\a\v\0\\'\"";
    char c = l->s[*at];
    if (c == '\n') {
        (*at)++;
        return STATUS_OK;
    }
    if (c == 'x' || c == 'u' || c == 'U') {
        size_t digits = read_code_point(l, *at, end, out, n);
        if (digits == 0)
            return syntax(l, text("the escape \\%c names no character", c),
                          "it needs 2, 4 or 8 hexadecimal digits of a Unicode scalar value");
        *at += 1 + digits;
        return STATUS_OK;
    }
    const char *known = c == '\0' ? NULL : strchr(from, c);
    if (known != NULL) {
        out[(*n)++] = to[known - from];
    } else {
        out[(*n)++] = '\\';
        out[(*n)++] = c;
    }
    (*at)++;
    return STATUS_OK;
}

static status lex_string(lexer *l) {
    char quote = l->s[l->at];
    size_t end = l->at + 1, n = 0;
    while (end < l->n && l->s[end] != quote)
        end += l->s[end] == '\\' ? 2 : 1;
    if (end >= l->n) return syntax(l, "a string does not end", "its closing quote is missing");
    char *bytes = arena_alloc(&l->t->memory, 2 * (end - l->at) + 8);
    if (bytes == NULL) return STATUS_MEMORY;
    for (size_t i = l->at + 1; i < end;) {
        if (l->s[i] != '\\')
            bytes[n++] = l->s[i++];
        else {
            i++;
            TRY(unescape(l, &i, end, bytes, &n));
        }
    }
    bytes[n] = '\0';
    TRY(add(l, (token){.kind = T_STRING, .bytes = bytes, .n = n}));
    count_lines(l, l->at, end);
    l->at = end + 1;
    return STATUS_OK;
}

static status lex_number(lexer *l) {
    char digits[64];
    size_t n = 0, at = l->at;
    bool real = false;
    for (; at < l->n; at++) {
        char c = l->s[at];
        bool fraction = c == '.' && !real && at + 1 < l->n && is_digit(l->s[at + 1]);
        bool power = (c == 'e' || c == 'E') && at + 1 < l->n &&
                     (is_digit(l->s[at + 1]) || ((l->s[at + 1] == '+' || l->s[at + 1] == '-') &&
                                                 at + 2 < l->n && is_digit(l->s[at + 2])));
        if (c == '_') continue;
        if (!is_digit(c) && !fraction && !power) break;
        if (n + 3 >= sizeof digits) return syntax(l, "a number is too long", "at most 60 digits");
        real |= fraction || power;
        digits[n++] = c;
        if (power && !is_digit(l->s[at + 1])) digits[n++] = l->s[++at];
    }
    digits[n] = '\0';
    l->at = at;
    if (at < l->n && is_name_start(l->s[at]))
        return syntax(l, "a number runs into a name", "numbers are decimal here");
    if (real) return add(l, (token){.kind = T_REAL, .real = strtod(digits, NULL)});
    errno = 0;
    long long integer = strtoll(digits, NULL, 10);
    if (errno != 0) return syntax(l, "an integer is too large", "integers have 64 bits here");
    return add(l, (token){.kind = T_INT, .integer = integer});
}

static status lex_sign(lexer *l) {
    static const char *const signs[] = {"//", "**", "==", "!=", "<=", ">=", "+", "-", "*",
                                        "/",  "%",  "~",  "<",  ">",  "=",  "(", ")", "[",
                                        "]",  "{",  "}",  ".",  ",",  ":",  "|", NULL};
    for (int i = 0; signs[i] != NULL; i++) {
        if (!starts(l, l->at, signs[i])) continue;
        char c = signs[i][0];
        if (c == '(' || c == '[' || c == '{') l->open++;
        if ((c == ')' || c == ']' || c == '}') && --l->open < 0)
            return syntax(l, text("\"%c\" closes nothing", c), "no such bracket is open");
        TRY(add(l, (token){.kind = T_SIGN, .bytes = signs[i], .n = strlen(signs[i])}));
        l->at += strlen(signs[i]);
        return STATUS_OK;
    }
    return syntax(l, text("byte 0x%02x has no meaning in a tag", (unsigned char)l->s[l->at]),
                  "tags hold names, numbers, strings and operators");
}

/* -- tags -- */

/* Behind a tag: "-" eats white space, else a block or comment eats one line break. */
static void after_tag(lexer *l, char sign, bool output) {
    size_t from = l->at;
    if (sign == '-')
        while (l->at < l->n && is_space(l->s[l->at]))
            l->at++;
    else if (!output && sign != '+' && l->at < l->n && l->s[l->at] == '\n')
        l->at++;
    count_lines(l, from, l->at);
}

/* The end of a tag at l->at, if it is one: its length and sign. */
static size_t tag_end(const lexer *l, const char *end, char *sign) {
    bool signed_end =
        (l->s[l->at] == '-' || (l->s[l->at] == '+' && end[0] == '%')) && starts(l, l->at + 1, end);
    *sign = signed_end ? l->s[l->at] : ' ';
    return signed_end ? 3 : starts(l, l->at, end) ? 2 : 0;
}

static status lex_tag(lexer *l, bool output) {
    const char *end = output ? "}}" : "%}";
    l->open = 0;
    TRY(add(l, (token){.kind = output ? T_OUTPUT_BEGIN : T_BLOCK_BEGIN}));
    while (l->at < l->n) {
        char c = l->s[l->at], sign;
        size_t n = l->open == 0 ? tag_end(l, end, &sign) : 0;
        if (n > 0) {
            TRY(add(l, (token){.kind = output ? T_OUTPUT_END : T_BLOCK_END}));
            l->at += n;
            after_tag(l, sign, output);
            return STATUS_OK;
        }
        if (is_space(c)) {
            l->line += c == '\n';
            l->at++;
        } else if (is_name_start(c)) {
            size_t from = l->at;
            while (l->at < l->n && (is_name_start(l->s[l->at]) || is_digit(l->s[l->at])))
                l->at++;
            char *name = copy(l, l->s + from, l->at - from);
            if (name == NULL) return STATUS_MEMORY;
            TRY(add(l, (token){.kind = T_NAME, .bytes = name, .n = l->at - from}));
        } else if (is_digit(c)) {
            TRY(lex_number(l));
        } else {
            TRY(c == '\'' || c == '"' ? lex_string(l) : lex_sign(l));
        }
    }
    return syntax(l, "a tag does not end", text("\"%s\" is missing", end));
}

static status lex_comment(lexer *l) {
    while (l->at + 1 < l->n && !starts(l, l->at, "#}")) {
        l->line += l->s[l->at] == '\n';
        l->at++;
    }
    if (l->at + 1 >= l->n) return syntax(l, "a comment does not end", "\"#}\" is missing");
    char before = l->s[l->at - 1];
    l->at += 2;
    after_tag(l, before, false);
    return STATUS_OK;
}

/* -- text between tags -- */

/* Text up to `end`, where a tag of kind `k` with the given sign begins (k 0: the source ends). */
static status add_data(lexer *l, size_t end, char k, char sign) {
    size_t to = end;
    if (sign == '-') {
        while (to > l->at && is_space(l->s[to - 1]))
            to--;
    } else if (sign != '+' && (k == '%' || k == '#')) {
        size_t line = end;
        while (line > l->at && l->s[line - 1] != '\n' && is_space(l->s[line - 1]))
            line--;
        if (line == 0 || l->s[line - 1] == '\n') to = line;
    }
    if (to > l->at) {
        char *bytes = copy(l, l->s + l->at, to - l->at);
        if (bytes == NULL) return STATUS_MEMORY;
        TRY(add(l, (token){.kind = T_DATA, .bytes = bytes, .n = to - l->at}));
    }
    count_lines(l, l->at, end);
    l->at = end;
    return STATUS_OK;
}

/* {% raw %} at `at`: the length of the tag; 0 if it is not one. */
static size_t raw_tag(const lexer *l, size_t at, const char *word, char *begin, char *end) {
    size_t i = at + 2;
    if (!starts(l, at, "{%")) return 0;
    *begin = i < l->n && (l->s[i] == '-' || l->s[i] == '+') ? l->s[i++] : ' ';
    while (i < l->n && is_space(l->s[i]))
        i++;
    if (!starts(l, i, word)) return 0;
    i += strlen(word);
    while (i < l->n && is_space(l->s[i]))
        i++;
    *end = i < l->n && (l->s[i] == '-' || l->s[i] == '+') ? l->s[i++] : ' ';
    return starts(l, i, "%}") ? i + 2 - at : 0;
}

static status lex_raw(lexer *l, size_t tag, char sign) {
    count_lines(l, l->at, l->at + tag);
    l->at += tag;
    after_tag(l, sign, false);
    char begin, end;
    for (size_t i = l->at; i < l->n; i++) {
        tag = raw_tag(l, i, "endraw", &begin, &end);
        if (tag == 0) continue;
        TRY(add_data(l, i, '%', begin));
        count_lines(l, l->at, l->at + tag);
        l->at += tag;
        after_tag(l, end, false);
        return STATUS_OK;
    }
    return syntax(l, "a raw block does not end", "{% endraw %} is missing");
}

static status lex_all(lexer *l) {
    while (l->at < l->n) {
        size_t i = l->at;
        char k = 0, begin, end;
        for (; i + 1 < l->n; i++) {
            k = l->s[i] == '{' ? l->s[i + 1] : 0;
            if (k == '%' || k == '{' || k == '#') break;
            k = 0;
        }
        if (k == 0) {
            TRY(add_data(l, l->n, 0, ' '));
            break;
        }
        char sign = i + 2 < l->n && (l->s[i + 2] == '-' || l->s[i + 2] == '+') ? l->s[i + 2] : ' ';
        size_t raw = raw_tag(l, i, "raw", &begin, &end);
        TRY(add_data(l, i, k, sign));
        if (raw > 0) {
            TRY(lex_raw(l, raw, end));
            continue;
        }
        l->at += sign == ' ' ? 2 : 3;
        TRY(k == '#' ? lex_comment(l) : lex_tag(l, k == '{'));
    }
    return add(l, (token){.kind = T_END, .bytes = "", .n = 0});
}

status template_lex(template *t, const char *source, size_t n, template_tokens *out) {
    lexer l = {.t = t, .line = 1, .out = out};
    size_t bad = utf8_valid(source, n);
    if (bad < n)
        return template_syntax(t, 1, "the template is not UTF-8",
                               text("byte %zu begins no character", bad));
    char *s = arena_alloc(&t->memory, n + 1);
    if (s == NULL) return STATUS_MEMORY;
    for (size_t i = 0; i < n; i++) {
        if (source[i] == '\r') {
            s[l.n++] = '\n';
            i += i + 1 < n && source[i + 1] == '\n';
        } else {
            s[l.n++] = source[i];
        }
    }
    if (l.n > 0 && s[l.n - 1] == '\n') l.n--;
    s[l.n] = '\0';
    l.s = s;
    return lex_all(&l);
}
