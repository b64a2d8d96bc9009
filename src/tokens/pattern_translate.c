/* pattern_translate.c - what Oniguruma and PCRE2 read differently, spelled so that they agree.
 *
 * What. Hugging Face runs the expressions of tokenizer files with Oniguruma. Nearly all of their
 * syntax means the same to PCRE2; the rest is either written out or refused by name:
 *
 *     \s \S       Unicode White_Space (PCRE2 counts U+180E in)
 *     \w          letters, marks, decimal digits, connectors (PCRE2: letters, numbers, "_")
 *     \h          a hexadecimal digit (PCRE2: a blank)        \v   U+000B (PCRE2: any vertical one)
 *     \p{Han}     the script alone (PCRE2: script extensions)   \uHHHH
 *     ^ $         begin and end of lines, so PCRE2_MULTILINE is on
 *     refused     sets in sets, &&, \b, \W in sets, {n}+, {,n}, options other than i, names, ...
 *
 * How. One pass; only the place (in a set or not) is state.
 */
#include "tokens/pattern_translate.h"

#include "base/memory.h"

#include <string.h>

#define WHITE                                                                                      \
    "\\x{09}-\\x{0d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"  \
    "\\x{205f}\\x{3000}"
#define WORD    "\\p{L}\\p{M}\\p{Nd}\\p{Pc}"
#define LONGEST 128 /* bytes that one unit of the expression can become */

typedef struct translation {
    const char *at, *where, *regex;
    char *out;
    size_t used;
    bool in_set, set_empty; /* set_empty: a "]" now would be a character of it */
} translation;

static void put(translation *t, const char *s) {
    size_t n = strlen(s);
    memcpy(t->out + t->used, s, n);
    t->used += n;
}

static void put_bytes(translation *t, const char *s, size_t n) {
    memcpy(t->out + t->used, s, n);
    t->used += n;
}

static status refuse(const translation *t, size_t n, const char *why) {
    return FAIL(F_TOKENIZER_UNSUPPORTED,
                text("\"%.*s\" in the expression \"%.120s\" is not known", (int)n, t->at, t->regex),
                t->where, why, "use a tokenizer whose expressions do without");
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_hex(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* \p{...}: general categories are the same, scripts are asked for as such. */
static status put_property(translation *t) {
    const char *name = t->at + 3, *end = t->at[2] == '{' ? strchr(name, '}') : NULL;
    if (end == NULL || end - t->at > 60) return refuse(t, 2, "a property is spelled \\p{Name}");
    bool negated = t->at[1] == 'P';
    if (*name == '^') {
        negated = !negated;
        name++;
    }
    size_t n = (size_t)(end - name);
    put(t, negated ? "\\P{" : "\\p{");
    if (n > 2) put(t, "sc:");
    put_bytes(t, name, n);
    put(t, "}");
    t->at = end + 1;
    return STATUS_OK;
}

static status put_unicode_escape(translation *t) {
    for (int i = 2; i < 6; i++)
        if (!is_hex(t->at[i]))
            return refuse(t, 2, "it must be followed by four hexadecimal digits");
    put(t, "\\x{");
    put_bytes(t, t->at + 2, 4);
    put(t, "}");
    t->at += 6;
    return STATUS_OK;
}

static status put_hex_escape(translation *t) {
    const char *end = t->at + 2;
    if (*end == '{')
        end = strchr(end, '}');
    else if (is_hex(end[0]) && is_hex(end[1]) && end[0] < '8')
        end++;
    else
        end = NULL;
    if (end == NULL || end - t->at > 20)
        return refuse(t, 2, "bytes beyond ASCII are not characters");
    put_bytes(t, t->at, (size_t)(end + 1 - t->at));
    t->at = end + 1;
    return STATUS_OK;
}

static status put_class(translation *t, const char *set, bool negated) {
    if (negated && t->in_set) return refuse(t, 2, "a set cannot hold the outside of another one");
    put(t, t->in_set ? "" : negated ? "[^" : "[");
    put(t, set);
    put(t, t->in_set ? "" : "]");
    t->at += 2;
    return STATUS_OK;
}

static status put_escape(translation *t) {
    char c = t->at[1];
    switch (c) {
    case 's': return put_class(t, WHITE, false);
    case 'S': return put_class(t, WHITE, true);
    case 'w': return put_class(t, WORD, false);
    case 'W': return put_class(t, WORD, true);
    case 'd': return put_class(t, "\\p{Nd}", false);
    case 'D': return put_class(t, "\\p{Nd}", true);
    case 'h': return put_class(t, "0-9A-Fa-f", false);
    case 'H': return put_class(t, "0-9A-Fa-f", true);
    case 'p':
    case 'P': return put_property(t);
    case 'u': return put_unicode_escape(t);
    case 'x': return put_hex_escape(t);
    case 'v':
        put(t, "\\x{0b}");
        t->at += 2;
        return STATUS_OK;
    default: break;
    }
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c);
    if (c == 0 || (letter && (t->in_set || strchr("Az", c) == NULL) && strchr("nrtfae", c) == NULL))
        return refuse(t, c == 0 ? 1 : 2,
                      "this escape is not among those that mean the same everywhere");
    put_bytes(t, t->at, 2);
    t->at += 2;
    return STATUS_OK;
}

/* "(?": groups without capture, look-around, atoms, and the option i. */
static status put_group(translation *t) {
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(t->at, known[i], strlen(known[i])) == 0) {
            put(t, known[i]);
            t->at += strlen(known[i]);
            return STATUS_OK;
        }
    size_t n = 2 + strspn(t->at + 2, "i-");
    if (t->at[n] != ':' && t->at[n] != ')') return refuse(t, 4, "of options only i is known");
    put_bytes(t, t->at, n + 1);
    t->at += n + 1;
    return STATUS_OK;
}

/* A "{" outside of sets: {n}, {n,} and {n,m} are counts in both, and a plus behind them is not. */
static status put_count(translation *t) {
    const char *end = t->at + 1;
    while (is_digit(*end) || *end == ',')
        end++;
    if (!is_digit(t->at[1]) || *end != '}')
        return refuse(t, 2, "a count is spelled {n}, {n,} or {n,m}; escape a brace that is none");
    if (end[1] == '+')
        return refuse(t, (size_t)(end + 2 - t->at), "a plus behind a count is read in two ways");
    put_bytes(t, t->at, (size_t)(end + 1 - t->at));
    t->at = end + 1;
    return STATUS_OK;
}

static status put_set_start(translation *t) {
    static const char *const all[] = {"[\\s\\S]", "[\\S\\s]", "[\\w\\W]", "[\\d\\D]"};
    for (size_t i = 0; i < 4; i++)
        if (strncmp(t->at, all[i], 6) == 0) {
            put(t, "(?s:.)");
            t->at += 6;
            return STATUS_OK;
        }
    size_t n = t->at[1] == '^' ? 2 : 1;
    put_bytes(t, t->at, n);
    t->at += n;
    t->in_set = t->set_empty = true;
    return STATUS_OK;
}

static status put_in_set(translation *t) {
    bool first = t->set_empty;
    t->set_empty = false;
    if (*t->at == '[') return refuse(t, 1, "a set in a set");
    if (t->at[0] == '&' && t->at[1] == '&') return refuse(t, 2, "the common part of two sets");
    if (*t->at == ']' && !first) t->in_set = false;
    put_bytes(t, t->at++, 1);
    return STATUS_OK;
}

static status put_unit(translation *t) {
    if (*t->at == '\\') {
        t->set_empty = false;
        return put_escape(t);
    }
    if (t->in_set) return put_in_set(t);
    if (*t->at == '[') return put_set_start(t);
    if (*t->at == '{') return put_count(t);
    if (t->at[0] == '(' && t->at[1] == '?') return put_group(t);
    if (t->at[0] == '(' && t->at[1] == '*') return refuse(t, 2, "PCRE2 would read an instruction");
    put_bytes(t, t->at++, 1);
    return STATUS_OK;
}

status pattern_translate(const char *regex, const char *where, char **out) {
    translation t = {.at = regex, .where = where, .regex = regex};
    t.out = mem_zalloc(strlen(regex) + 1, LONGEST);
    if (t.out == NULL) return STATUS_MEMORY;
    status s = STATUS_OK;
    while (*t.at != 0 && s == STATUS_OK)
        s = put_unit(&t);
    if (s != STATUS_OK) {
        mem_free(t.out);
        return s;
    }
    t.out[t.used] = 0;
    *out = t.out;
    return STATUS_OK;
}
