/* roff_escape.c - characters: escapes in, text out.
 *
 * What: roff_decode turns one stretch of roff text into UTF-8 in r->line; roff_break moves the line
 * to the output.
 * How: groff(7), "Escape sequences": each escape is a backslash, a letter and maybe an argument in
 * one of three forms: x, (xx and [name], or 'delimited'. Fonts, sizes, colours, motions and
 * drawing vanish; characters and strings become text.
 * Mind: while filling, runs of blanks count as one and blanks at the ends of a line vanish; in
 * unfilled text blanks stay and tabs go to the next multiple of 8. Strings may use strings:
 * depth and total expansion are bounded (r->budget), so hostile definitions end in `cut`.
 */
#include "data/roff_internal.h"

#include <string.h>

#define TAB_WIDTH 8

/* ---- output -------------------------------------------------------------------------------- */

static void pending_space(roff *r) {
    if (r->space && r->line.n > 0) buffer_byte(&r->line, ' ');
    r->space = false;
}

static void put_run(roff *r, const char *bytes, size_t n) {
    if (n == 0) return;
    pending_space(r);
    buffer_put(&r->line, bytes, n);
}

void roff_put(roff *r, const char *bytes, size_t n) {
    size_t start = 0;
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != ' ' && bytes[i] != '\t') continue;
        put_run(r, bytes + start, i - start);
        start = i + 1;
        if (r->fill) {
            r->space = true;
        } else if (bytes[i] == ' ') {
            buffer_byte(&r->line, ' ');
        } else {
            do
                buffer_byte(&r->line, ' ');
            while (r->line.n % TAB_WIDTH != 0 && !r->line.failed);
        }
    }
    put_run(r, bytes + start, n - start);
}

void roff_break(roff *r) {
    size_t n = r->line.n;
    while (n > 0 && r->line.bytes[n - 1] == ' ')
        n--;
    if (n > 0) {
        if (r->blank && r->started && !r->headed) buffer_byte(r->out, '\n');
        r->headed = r->heading != 0;
        if (r->heading != 0) buffer_byte(r->out, r->heading);
        buffer_put(r->out, r->line.bytes, n);
        buffer_byte(r->out, '\n');
        r->started = true;
        r->blank = false;
        r->heading = 0;
    }
    buffer_cut(&r->line, 0);
    r->space = r->joined = false;
    r->doc.no_space = false;
}

void roff_paragraph(roff *r) {
    roff_break(r);
    if (!r->dense) r->blank = true;
}

void roff_fill(roff *r, bool on) {
    roff_break(r);
    r->fill = on;
}

void roff_tag_end(roff *r) {
    static const char *const bullets[] = {"•", "*", "-", "+", "o", "·", "—", "–", "○", "◦", "−"};
    r->tag = false;
    for (size_t i = 0; i < sizeof bullets / sizeof bullets[0]; i++)
        if (r->line.n == strlen(bullets[i]) && memcmp(r->line.bytes, bullets[i], r->line.n) == 0) {
            buffer_cut(&r->line, 0);
            buffer_byte(&r->line, '-');
            break;
        }
    size_t n = r->line.n;
    if (n > 4 || (n > 0 && strchr("-.):", r->line.bytes[n - 1]) == NULL)) {
        r->heading = MARK_TAG;
        roff_break(r);
    } else {
        r->space = n > 0;
        r->joined = false;
    }
}

void roff_line_end(roff *r) {
    if (r->joined) {
        r->joined = false;
        return;
    }
    if (r->heading != 0 && r->line.n > 0)
        roff_break(r);
    else if (r->tag && r->line.n > 0)
        roff_tag_end(r);
    else if (r->fill)
        r->space = true;
    else if (r->line.n > 0)
        roff_break(r);
}

/* ---- arguments of escapes ------------------------------------------------------------------- */

typedef struct cursor {
    const char *p, *end;
} cursor;

/* Bytes of the character at p, so that no character is ever cut in two. p < end. */
static size_t character_bytes(const char *p, const char *end) {
    size_t n = 1;
    while (p + n < end && ((unsigned char)p[n] & 0xC0) == 0x80)
        n++;
    return n;
}

/* x, (xx or [name]. Shorter if the text ends first. */
static slice take_name(cursor *c) {
    slice name = {c->p, 0, false};
    if (c->p >= c->end) return name;
    if (*c->p == '[') {
        name.p = c->p + 1;
        const char *close = memchr(name.p, ']', (size_t)(c->end - name.p));
        name.n = (size_t)((close != NULL ? close : c->end) - name.p);
        c->p = close != NULL ? close + 1 : c->end;
        return name;
    }
    int characters = *c->p == '(' ? 2 : 1;
    c->p += *c->p == '(';
    name.p = c->p;
    for (; characters > 0 && c->p < c->end; characters--)
        c->p += character_bytes(c->p, c->end);
    name.n = (size_t)(c->p - name.p);
    return name;
}

/* 'text', with any ASCII character as the quote. */
static slice take_delimited(cursor *c) {
    slice text = {c->p, 0, false};
    if (c->p >= c->end) return text;
    if (character_bytes(c->p, c->end) > 1) { /* no quote anybody uses */
        c->p += character_bytes(c->p, c->end);
        return text;
    }
    char quote = *c->p++;
    text.p = c->p;
    const char *close = memchr(c->p, quote, (size_t)(c->end - c->p));
    text.n = (size_t)((close != NULL ? close : c->end) - c->p);
    c->p = close != NULL ? close + 1 : c->end;
    return text;
}

/* \s: +2, -2, 0, 12, (12, [12], '12', each maybe with a sign in front. */
static void skip_size(cursor *c) {
    if (c->p < c->end && (*c->p == '+' || *c->p == '-')) c->p++;
    if (c->p >= c->end) return;
    if (*c->p == '\'') {
        (void)take_delimited(c);
    } else if (*c->p == '(' || *c->p == '[') {
        (void)take_name(c);
    } else if (*c->p >= '0' && *c->p <= '9') {
        bool two = *c->p >= '1' && *c->p <= '3';
        c->p++;
        if (two && c->p < c->end && *c->p >= '0' && *c->p <= '9') c->p++;
    }
}

static uint32_t parse_digits(slice s, unsigned base) {
    uint32_t value = 0;
    for (size_t i = 0; i < s.n && value < 0x110000; i++) {
        char c = s.p[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                                : 99;
        if (digit >= base) break;
        value = value * base + digit;
    }
    return value;
}

/* ---- numbers -------------------------------------------------------------------------------- */

static int64_t register_value(const roff *r, slice name) {
    const define *d = define_find(&r->registers, name);
    if (d != NULL) return d->number;
    return slice_is(name, ".g"); /* "this is groff" */
}

static int64_t operand(const roff *r, cursor *c) {
    bool negative = false, inverted = false;
    for (; c->p < c->end && (*c->p == '-' || *c->p == '+' || *c->p == '!' || *c->p == '(');
         c->p++) {
        negative ^= *c->p == '-';
        inverted ^= *c->p == '!';
    }
    int64_t value = 0;
    if (c->p + 1 < c->end && c->p[0] == '\\' && c->p[1] == 'n') {
        c->p += 2;
        if (c->p < c->end && (*c->p == '+' || *c->p == '-')) c->p++;
        value = register_value(r, take_name(c));
    } else {
        for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++)
            if (value < 1000000) value = value * 10 + (*c->p - '0');
    }
    while (c->p < c->end && strchr("icpPmMnuvsz)", *c->p) != NULL && *c->p != '\0')
        c->p++; /* unit */
    if (inverted) value = value <= 0;
    return negative ? -value : value;
}

/* Left to right without precedence, as roff does. Values are bounded, so nothing overflows. */
int64_t roff_number(const roff *r, slice s) {
    cursor c = {s.p, s.p + s.n};
    int64_t value = operand(r, &c);
    while (c.p < c.end) {
        char op = *c.p++;
        bool with_equal = c.p < c.end && *c.p == '=';
        if (with_equal) c.p++;
        if (strchr("+-*<>=&:", op) == NULL || op == '\0') break;
        int64_t right = operand(r, &c);
        switch (op) {
        case '+': value += right; break;
        case '-': value -= right; break;
        case '*': value *= right; break;
        case '<': value = with_equal ? value <= right : value < right; break;
        case '>': value = with_equal ? value >= right : value > right; break;
        case '=': value = value == right; break;
        case '&': value = value > 0 && right > 0; break;
        default: value = value > 0 || right > 0; break;
        }
        if (value > 1000000000) value = 1000000000;
        if (value < -1000000000) value = -1000000000;
    }
    return value;
}

/* ---- escapes -------------------------------------------------------------------------------- */

static void put_rune(roff *r, uint32_t rune) {
    if (rune < 0x20 || rune == 0x7F) return;
    if (rune == ' ' || rune == 0xA0) {
        roff_put(r, " ", 1);
        return;
    }
    pending_space(r);
    buffer_rune(&r->line, rune);
}

/* \(xx, \[xx], \[u00E9], \[e aa] (base and accents: the base has to do). */
static void put_named(roff *r, slice name) {
    const char *known = roff_char(name.p, name.n);
    if (known != NULL) {
        roff_put(r, known, strlen(known));
    } else if (name.n >= 5 && name.p[0] == 'u') {
        put_rune(r, parse_digits((slice){name.p + 1, name.n - 1, false}, 16));
    } else if (name.n > 4 && memcmp(name.p, "char", 4) == 0) {
        put_rune(r, parse_digits((slice){name.p + 4, name.n - 4, false}, 10));
    } else {
        const char *blank = memchr(name.p, ' ', name.n);
        if (blank != NULL) roff_put(r, name.p, (size_t)(blank - name.p));
    }
}

static void decode(roff *r, cursor c, bool quoted, bool copied);

static void put_string(roff *r, slice name) {
    static const struct {
        const char *name, *text;
    } own[] = {{"lq", "\""}, {"rq", "\""}, {"R", "®"},  {"Tm", "™"}, {"Lq", "\""}, {"Rq", "\""},
               {"Ba", "|"},  {"Le", "≤"},  {"Ge", "≥"}, {"Lt", "<"}, {"Gt", ">"},  {"Ne", "≠"},
               {"Pm", "±"},  {"Am", "&"},  {"q", "\""}, {"Aq", "'"}};
    const define *d = define_find(&r->strings, name);
    if (d != NULL) {
        if (r->string_depth >= ROFF_DEPTH || d->body.n + 1 > r->budget) {
            r->cut = true;
            return;
        }
        r->budget -= d->body.n + 1;
        r->string_depth++;
        decode(r, (cursor){d->body.p, d->body.p + d->body.n}, false, true);
        r->string_depth--;
        return;
    }
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (slice_is(name, own[i].name)) roff_put(r, own[i].text, strlen(own[i].text));
}

static void put_register(roff *r, cursor *c) {
    char digits[32];
    if (c->p < c->end && (*c->p == '+' || *c->p == '-')) c->p++;
    int n = snprintf(digits, sizeof digits, "%lld", (long long)register_value(r, take_name(c)));
    roff_put(r, digits, (size_t)n);
}

static void put_motion(roff *r, slice distance) {
    if (distance.n > 0 && distance.p[0] != '-') roff_put(r, " ", 1);
}

/* The escape whose letter is at c->p (the backslash is behind us). */
static void escape(roff *r, cursor *c) {
    char letter = *c->p++;
    switch (letter) {
    case '"':
    case '#': c->p = c->end; break;
    case 'e':
    case '\\':
    case 'E': roff_put(r, "\\", 1); break;
    case '-': roff_put(r, "-", 1); break;
    case '\'': roff_put(r, "'", 1); break;
    case '`':
    case '_':
    case '.':
    case '@': roff_put(r, &letter, 1); break;
    case ' ':
    case '~':
    case '0':
    case 't': roff_put(r, " ", 1); break;
    case '(':
    case '[':
        c->p--;
        put_named(r, take_name(c));
        break;
    case 'C': put_named(r, take_delimited(c)); break;
    case 'N': put_rune(r, parse_digits(take_delimited(c), 10)); break;
    case '*': put_string(r, take_name(c)); break;
    case 'n': put_register(r, c); break;
    case 'h': put_motion(r, take_delimited(c)); break;
    case 'f':
    case 'F':
    case 'm':
    case 'M':
    case 'g':
    case 'k':
    case 'V':
    case 'O': (void)take_name(c); break;
    case '$': (void)take_name(c); break; /* an argument outside a macro */
    case 'v':
    case 'w':
    case 'l':
    case 'L':
    case 'D':
    case 'X':
    case 'b':
    case 'x':
    case 'A':
    case 'B':
    case 'R':
    case 'S':
    case 'H':
    case 'o': (void)take_delimited(c); break;
    case 'Z': {
        slice inner = take_delimited(c);
        roff_put(r, inner.p, inner.n);
        break;
    }
    case 's': skip_size(c); break;
    case 'c':
        r->joined = true;
        c->p = c->end;
        break;
    case 'p': break;
    default: /* \& \) \, \/ \| \^ \% \: \{ \} \a \d \u \r \z \! \?: no text */
        if ((unsigned char)letter < 0x80) break;
        c->p--;
        roff_put(r, c->p, character_bytes(c->p, c->end));
        c->p += character_bytes(c->p, c->end);
    }
}

/* `quoted`: two double quotes stand for one. `copied`: the text went through a definition, where
 * two backslashes became one. */
static void decode(roff *r, cursor c, bool quoted, bool copied) {
    const char *stop = NULL; /* the next backslash, or the end; found once, so time is linear */
    while (c.p < c.end) {
        if (stop == NULL || stop < c.p) {
            stop = memchr(c.p, '\\', (size_t)(c.end - c.p));
            if (stop == NULL) stop = c.end;
        }
        const char *quote = quoted ? memchr(c.p, '"', (size_t)(stop - c.p)) : NULL;
        if (quote != NULL) {
            roff_put(r, c.p, (size_t)(quote - c.p) + 1);
            c.p = quote + 1;
            if (c.p < c.end && *c.p == '"') c.p++;
            continue;
        }
        roff_put(r, c.p, (size_t)(stop - c.p));
        if (stop == c.end) return;
        c.p = stop + 1;
        if (copied && c.p < c.end && *c.p == '\\') c.p++;
        if (c.p < c.end) escape(r, &c);
    }
}

void roff_decode(roff *r, slice s) {
    decode(r, (cursor){s.p, s.p + s.n}, s.quoted, false);
}
