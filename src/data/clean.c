/* clean.c - bytes to well-formed text, and text to its last shape.
 *
 * What: text_repair, text_normalize, text_settle (see clean.h for their order) and the reader of
 * fortune files.
 * How: repair copies printable ASCII in runs and looks at the rest sequence by sequence. A file is
 * taken as Latin-1 only if it has non-ASCII bytes and not one valid UTF-8 sequence among them: a
 * page with one broken character stays UTF-8 and loses that character. Normal form C is the
 * identity below U+0300 (Unicode Standard Annex 15), so most texts are not touched.
 * Mind: dropped bytes are counted, never silent. utf8proc works on 32-bit code points, so one text
 * costs five times its size for a moment.
 */
#include "data/clean.h"

#include "base/checked.h"
#include "base/utf8.h"

#include <string.h>
#include <utf8proc.h>

/* ---- repair -------------------------------------------------------------------------------- */

static bool plain(char c) {
    return (c >= 0x20 && c < 0x7F) || c == '\n' || c == '\t';
}

/* True if no non-ASCII sequence is valid and at least one byte is not ASCII. */
static bool looks_latin1(const uint8_t *p, size_t n) {
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < 0x80) continue;
        if (utf8_sequence(p + i, n - i) > 1) return false;
        any |= p[i] >= 0xA0;
    }
    return any;
}

/* Takes the last character of the line back. */
static void strike(buffer *out, size_t first) {
    size_t n = out->n;
    if (n <= first || out->bytes[n - 1] == '\n') return;
    do
        n--;
    while (n > first && ((uint8_t)out->bytes[n] & 0xC0) == 0x80);
    buffer_cut(out, n);
}

static uint32_t rune_of(const uint8_t *p, size_t n) {
    uint32_t rune = n == 2 ? p[0] & 0x1F : n == 3 ? p[0] & 0x0F : p[0] & 0x07;
    for (size_t i = 1; i < n; i++)
        rune = rune << 6 | (p[i] & 0x3F);
    return rune;
}

/* One non-ASCII character, as it should be in a text. */
static void rune_repair(uint32_t rune, buffer *out, int64_t *dropped) {
    if (rune == 0xA0 || rune == 0x2007 || rune == 0x202F) {
        buffer_byte(out, ' ');
    } else if (rune == 0x85 || rune == 0x2028 || rune == 0x2029) {
        buffer_byte(out, '\n');
    } else if (rune < 0xA0) {
        ++*dropped; /* C1 control characters */
    } else if (rune != 0xAD && (rune < 0x200B || rune > 0x200F) && rune != 0x2060 &&
               rune != 0xFEFF) {
        buffer_rune(out, rune);
    }
}

/* What is not printable ASCII at bytes[i]; returns how many bytes it was. */
static size_t odd_repair(const uint8_t *p, size_t n, size_t i, size_t first, buffer *out,
                         repair *what) {
    if (p[i] == '\r') {
        if (i + 1 >= n || p[i + 1] != '\n') buffer_byte(out, '\n');
        return 1;
    }
    if (p[i] == '\b') {
        strike(out, first);
        return 1;
    }
    if (p[i] == '\f' || p[i] == '\v') {
        buffer_byte(out, '\n');
        return 1;
    }
    if (p[i] < 0x80) {
        what->dropped++;
        return 1;
    }
    if (what->latin1) {
        rune_repair(p[i], out, &what->dropped);
        return 1;
    }
    size_t length = utf8_sequence(p + i, n - i);
    if (length == 0) {
        what->dropped++;
        return 1;
    }
    rune_repair(rune_of(p + i, length), out, &what->dropped);
    return length;
}

status text_repair(const char *bytes, size_t n, buffer *out, repair *what) {
    const uint8_t *p = (const uint8_t *)bytes;
    size_t first = out->n, i = 0;
    *what = (repair){.latin1 = looks_latin1(p, n)};
    while (i < n) {
        size_t run = i;
        while (run < n && plain(bytes[run]))
            run++;
        buffer_put(out, bytes + i, run - i);
        i = run;
        if (i < n) i += odd_repair(p, n, i, first, out, what);
    }
    what->binary = what->dropped > 8 && (uint64_t)what->dropped > n / 100;
    if (what->binary) buffer_cut(out, first);
    return buffer_check(out);
}

/* ---- normal form C ------------------------------------------------------------------------- */

/* True if some character is U+0300 or above: only those can change. */
static bool may_change(const buffer *t) {
    for (size_t i = 0; i < t->n; i++)
        if ((uint8_t)t->bytes[i] >= 0xCC) return true;
    return false;
}

status text_normalize(buffer *t) {
    if (t->failed || !may_change(t)) return buffer_check(t);
    const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    utf8proc_ssize_t n = utf8proc_decompose((const utf8proc_uint8_t *)t->bytes,
                                            (utf8proc_ssize_t)t->n, NULL, 0, options);
    size_t room;
    if (n < 0 || !size_add(&room, (size_t)n, 1))
        return FAIL(F_NOT_UTF8, "text cannot be normalised", text("%zu bytes of text", t->n),
                    utf8proc_errmsg(n), "report this: the text was checked before");
    utf8proc_int32_t *runes = mem_zalloc(room, sizeof *runes);
    if (runes == NULL) return STATUS_MEMORY;
    n = utf8proc_decompose((const utf8proc_uint8_t *)t->bytes, (utf8proc_ssize_t)t->n, runes, n,
                           options);
    utf8proc_ssize_t bytes = utf8proc_reencode(runes, n, options); /* in place, ends in NUL */
    buffer_cut(t, 0);
    if (bytes > 0) buffer_put(t, runes, (size_t)bytes);
    mem_free(runes);
    return buffer_check(t);
}

/* ---- last shape ---------------------------------------------------------------------------- */

typedef struct span {
    const char *p;
    size_t n;
} span;

#define TAGS_WAITING 8

typedef struct settle {
    buffer *out;
    size_t first;
    bool blank, headed;
    span pending[2];         /* heading and subheading that wait for text; n = 0 for none */
    span tags[TAGS_WAITING]; /* tags that wait for theirs */
    int n_tags;
    bool tags_blank; /* an empty line belongs before them */
    bool gone;       /* the line behind the tags was dropped */
} settle;

static void settle_line(settle *s, span line, bool heading) {
    if (s->blank && s->out->n > s->first && !s->headed) buffer_byte(s->out, '\n');
    buffer_put(s->out, line.p, line.n);
    buffer_byte(s->out, '\n');
    s->blank = false;
    s->headed = heading;
}

static void headings_flush(settle *s) {
    for (int i = 0; i < 2; i++) {
        if (s->pending[i].n == 0) continue;
        s->blank = !s->headed;
        settle_line(s, s->pending[i], true);
        s->pending[i].n = 0;
    }
}

/* The tags get their text, or there never was one: a list of bare names. */
static void tags_flush(settle *s) {
    bool blank = s->blank;
    if (s->n_tags == 0) return;
    headings_flush(s);
    s->blank = s->tags_blank;
    for (int i = 0; i < s->n_tags; i++)
        settle_line(s, s->tags[i], false);
    s->blank = blank;
    s->n_tags = 0;
}

/* An item, section or text ends: tags whose text was dropped go. */
static void tags_end(settle *s) {
    if (s->gone && s->n_tags > 0) {
        s->blank = true;
        s->n_tags = 0;
    }
    tags_flush(s);
    s->gone = false;
}

static void settle_tag(settle *s, span tag) {
    if (s->n_tags > 0 && (s->blank || s->gone || s->n_tags == TAGS_WAITING)) tags_end(s);
    if (s->n_tags == 0) {
        s->tags_blank = s->blank;
        s->gone = false;
    }
    s->blank = false;
    s->tags[s->n_tags++] = tag;
}

static void settle_marked(settle *s, span line) {
    span rest = {line.p + 1, line.n - 1};
    if (*line.p == MARK_TAG) {
        settle_tag(s, rest);
    } else if (*line.p == MARK_GONE) {
        s->gone = true;
    } else {
        tags_end(s);
        bool sub = *line.p == MARK_SUBHEADING;
        s->pending[sub] = rest;
        if (!sub) s->pending[1].n = 0;
    }
}

void text_settle(const char *bytes, size_t n, buffer *out) {
    settle s = {.out = out, .first = out->n};
    const char *p = bytes, *end = bytes + n;
    while (p < end) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        span line = {p, (size_t)((newline != NULL ? newline : end) - p)};
        p = newline != NULL ? newline + 1 : end;
        while (line.n > 0 && line.p[line.n - 1] == ' ')
            line.n--;
        if (line.n == 0) {
            s.blank = true;
        } else if (*line.p >= MARK_HEADING && *line.p <= MARK_GONE) {
            settle_marked(&s, line);
        } else {
            tags_flush(&s);
            headings_flush(&s);
            settle_line(&s, line, false);
            s.gone = false;
        }
    }
    tags_end(&s);
}

/* ---- fortune files ------------------------------------------------------------------------- */

/* A line this wide was wrapped by the editor of the file, so the next one continues it, if it is
 * not indented; an indented one does if it starts with a small letter. */
#define FORTUNE_WRAP ((size_t)56)

typedef struct fortune {
    buffer *out;
    size_t first; /* where the item begins */
    size_t width; /* of the line before, 0 after an empty one */
} fortune;

static void line_collapse(span line, buffer *out) {
    bool space = false;
    size_t first = out->n;
    for (size_t i = 0; i < line.n; i++) {
        if (line.p[i] == ' ' || line.p[i] == '\t') {
            space = out->n > first;
            continue;
        }
        if (space) buffer_byte(out, ' ');
        space = false;
        buffer_byte(out, line.p[i]);
    }
}

static bool fortune_continues(const fortune *f, span line) {
    if (f->out->n == f->first || f->width < FORTUNE_WRAP || line.n == 0) return false;
    if (line.n > 1 && line.p[0] == '-' && line.p[1] == '-') return false;
    size_t i = 0;
    while (i < line.n && (line.p[i] == ' ' || line.p[i] == '\t'))
        i++;
    return i == 0 || (i < line.n && line.p[i] >= 'a' && line.p[i] <= 'z');
}

static bool small_letter(char c) {
    return c >= 'a' && c <= 'z';
}

/* Whether a word goes on over the end of the line ("holding-" "forth"), other than in "left-" "and
 * right-hand". The hyphen stays: nothing here tells a compound from a broken word. */
static bool word_broken(const buffer *before, span line) {
    size_t n = before->n;
    if (n < 2 || before->bytes[n - 1] != '-' || !small_letter(before->bytes[n - 2])) return false;
    if (line.n == 0 || !small_letter(*line.p)) return false;
    return !(line.n > 4 && memcmp(line.p, "and ", 4) == 0) &&
           !(line.n > 3 && memcmp(line.p, "or ", 3) == 0);
}

static void fortune_line(fortune *f, span line) {
    size_t width = 0;
    for (size_t i = 0; i < line.n; i++)
        width += line.p[i] == '\t' ? 8 - width % 8 : ((uint8_t)line.p[i] & 0xC0) != 0x80;
    if (fortune_continues(f, line)) {
        buffer_cut(f->out, f->out->n - 1); /* the newline of the line before */
        if (!word_broken(f->out, line)) buffer_byte(f->out, ' ');
    }
    line_collapse(line, f->out);
    buffer_byte(f->out, '\n');
    f->width = width;
}

status fortune_text(const char *bytes, size_t n, buffer *out) {
    const char *p = bytes, *end = bytes + n;
    fortune f = {.out = out, .first = out->n};
    while (p < end) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        span line = {p, (size_t)((newline != NULL ? newline : end) - p)};
        p = newline != NULL ? newline + 1 : end;
        if (line.n == 1 && *line.p == '%') {
            buffer_byte(out, '\0');
            f.first = out->n;
            f.width = 0;
        } else {
            fortune_line(&f, line);
        }
    }
    return buffer_check(out);
}
