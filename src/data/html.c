/* html.c - one pass over a page, from tags to lines.
 *
 * What: a tokenizer (text, tags, comments, raw elements) drives a small writer that knows lines,
 * empty lines, list items, table cells and preformatted text.
 * How: no tree is built. Elements whose contents are not for reading are skipped by counting their
 * own name ("nav" inside "nav"); script and style end at their end tag, whatever is in them. The
 * display area ends where its <div> is closed. LibreOffice help words a passage several times, for
 * one system or application each, inside an element of class "switch"; the last wording is the
 * general one, so each further wording takes back what the one before it wrote.
 * Mind: wrong nesting costs layout, never safety. An unterminated tag, comment or script hides
 * the rest of the page, as in a browser. Inside a table cell blocks are joined to one line.
 */
#include "data/html.h"

#include "data/clean.h"

#include <stdint.h>
#include <string.h>

#define NAME_LIMIT    16
#define LIST_LIMIT    16
#define WORDING_LIMIT 8

typedef struct tag {
    char name[NAME_LIMIT]; /* lower case; "" for what is no element we know */
    bool closing;
} tag;

/* A passage with several wordings: where it began. */
typedef struct wording {
    int depth;            /* of the element that holds the wordings */
    size_t line_n, out_n; /* what was written before */
    bool any, started, space, blank, headed;
} wording;

typedef struct page {
    const char *p, *end;
    buffer *out, line;
    bool started, space, blank, headed;
    char heading;          /* mark of the heading we are in, or 0 */
    char skip[NAME_LIMIT]; /* element being skipped, "" for none */
    int skip_depth;
    int pre, cells;        /* nesting of <pre>, of table cells */
    int area;              /* nesting of <div> inside the display area, 0 = whole page */
    bool over;             /* the display area was closed */
    bool item;             /* a list item begins: its sign is still to be written */
    int lists[LIST_LIMIT]; /* -1 unordered, else the last number given */
    int n_lists;
    int depth; /* open <div> and <span> */
    wording wordings[WORDING_LIMIT];
    int n_wordings;
} page;

/* ---- writer -------------------------------------------------------------------------------- */

static void line_break(page *h) {
    size_t n = h->line.n;
    while (n > 0 && h->line.bytes[n - 1] == ' ')
        n--;
    if (n > 0) {
        if (h->blank && h->started && !h->headed) buffer_byte(h->out, '\n');
        h->headed = h->heading != 0;
        if (h->heading != 0) buffer_byte(h->out, h->heading);
        buffer_put(h->out, h->line.bytes, n);
        buffer_byte(h->out, '\n');
        h->started = true;
        h->blank = false;
    } else if (h->pre > 0) {
        h->blank = true;
    }
    buffer_cut(&h->line, 0);
    h->space = false;
}

/* Between blocks: a new line, inside a cell only a space. */
static void block_break(page *h, bool blank) {
    if (h->cells > 0) {
        h->space = h->line.n > 0;
        return;
    }
    line_break(h);
    if (blank && !h->item && h->n_lists == 0) h->blank = true;
}

static void item_sign(page *h) {
    h->item = false;
    if (h->cells > 0) return;
    int *count = h->n_lists > 0 ? &h->lists[h->n_lists - 1] : NULL;
    if (count == NULL || *count < 0) {
        buffer_text(&h->line, "- ");
    } else {
        *count += *count < 1000000;
        buffer_text(&h->line, text("%d. ", *count));
    }
}

static void text_begin(page *h) {
    if (h->item) item_sign(h);
    if (h->space && h->line.n > 0 && h->line.bytes[h->line.n - 1] != ' ')
        buffer_byte(&h->line, ' ');
    h->space = false;
}

static void text_put(page *h, const char *bytes, size_t n) {
    if (n == 0) return;
    text_begin(h);
    buffer_put(&h->line, bytes, n);
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

/* ---- entities ------------------------------------------------------------------------------ */

/* clang-format off */
static const struct entity {
    const char *name;
    uint16_t rune;
} entities[] = {
    {"amp", '&'},      {"lt", '<'},       {"gt", '>'},       {"quot", '"'},     {"apos", '\''},
    {"nbsp", ' '},     {"ndash", 0x2013}, {"mdash", 0x2014}, {"lsquo", '\''},   {"rsquo", '\''},
    {"ldquo", '"'},    {"rdquo", '"'},    {"hellip", 0x2026}, {"bull", 0x2022}, {"rarr", 0x2192},
    {"larr", 0x2190},  {"uarr", 0x2191},  {"darr", 0x2193},  {"trade", 0x2122}, {"euro", 0x20AC},
    {"le", 0x2264},    {"ge", 0x2265},    {"ne", 0x2260},    {"minus", 0x2212}, {"infin", 0x221E},
    {"sum", 0x2211},   {"radic", 0x221A}, {"pi", 0x3C0},     {"alpha", 0x3B1},  {"beta", 0x3B2},
    {"gamma", 0x3B3},  {"delta", 0x3B4},  {"lambda", 0x3BB}, {"mu", 0x3BC},     {"sigma", 0x3C3},
    {"omega", 0x3C9},  {"iexcl", 0xA1},   {"cent", 0xA2},    {"pound", 0xA3},   {"yen", 0xA5},
    {"sect", 0xA7},    {"copy", 0xA9},    {"laquo", 0xAB},   {"not", 0xAC},     {"reg", 0xAE},
    {"deg", 0xB0},     {"plusmn", 0xB1},  {"sup2", 0xB2},    {"sup3", 0xB3},    {"micro", 0xB5},
    {"para", 0xB6},    {"middot", 0xB7},  {"raquo", 0xBB},   {"frac14", 0xBC},  {"frac12", 0xBD},
    {"frac34", 0xBE},  {"iquest", 0xBF},  {"Agrave", 0xC0},  {"Aacute", 0xC1},  {"Acirc", 0xC2},
    {"Atilde", 0xC3},  {"Auml", 0xC4},    {"Aring", 0xC5},   {"AElig", 0xC6},   {"Ccedil", 0xC7},
    {"Egrave", 0xC8},  {"Eacute", 0xC9},  {"Ecirc", 0xCA},   {"Euml", 0xCB},    {"Iacute", 0xCD},
    {"Ntilde", 0xD1},  {"Oacute", 0xD3},  {"Ocirc", 0xD4},   {"Ouml", 0xD6},    {"times", 0xD7},
    {"Oslash", 0xD8},  {"Uacute", 0xDA},  {"Uuml", 0xDC},    {"szlig", 0xDF},   {"agrave", 0xE0},
    {"aacute", 0xE1},  {"acirc", 0xE2},   {"atilde", 0xE3},  {"auml", 0xE4},    {"aring", 0xE5},
    {"aelig", 0xE6},   {"ccedil", 0xE7},  {"egrave", 0xE8},  {"eacute", 0xE9},  {"ecirc", 0xEA},
    {"euml", 0xEB},    {"igrave", 0xEC},  {"iacute", 0xED},  {"icirc", 0xEE},   {"iuml", 0xEF},
    {"ntilde", 0xF1},  {"ograve", 0xF2},  {"oacute", 0xF3},  {"ocirc", 0xF4},   {"otilde", 0xF5},
    {"ouml", 0xF6},    {"divide", 0xF7},  {"oslash", 0xF8},  {"ugrave", 0xF9},  {"uacute", 0xFA},
    {"ucirc", 0xFB},   {"uuml", 0xFC},    {"shy", 0},        {"zwj", 0},        {"zwnj", 0},
};
/* clang-format on */

static uint32_t numeric_entity(const char *p, size_t n) {
    bool hex = n > 0 && (*p == 'x' || *p == 'X');
    uint32_t value = 0;
    for (size_t i = hex; i < n; i++) {
        char c = p[i];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10
                                                : 99;
        if (digit >= (hex ? 16u : 10u) || value > 0x110000) return UINT32_MAX;
        value = value * (hex ? 16 : 10) + digit;
    }
    return n > hex ? value : UINT32_MAX;
}

/* The character of "&name;" at p; its length goes to *n. UINT32_MAX if it is none. */
static uint32_t entity_at(const char *p, const char *end, size_t *n) {
    size_t left = (size_t)(end - p);
    const char *close = memchr(p, ';', left < 12 ? left : 12);
    if (close == NULL) return UINT32_MAX;
    size_t name_bytes = (size_t)(close - p) - 1;
    *n = name_bytes + 2;
    if (name_bytes > 1 && p[1] == '#') return numeric_entity(p + 2, name_bytes - 1);
    for (size_t i = 0; i < sizeof entities / sizeof entities[0]; i++)
        if (strlen(entities[i].name) == name_bytes &&
            memcmp(entities[i].name, p + 1, name_bytes) == 0)
            return entities[i].rune;
    return UINT32_MAX;
}

static void rune_put(page *h, uint32_t rune) {
    if (rune == ' ' || rune == 0xA0 || rune == '\n' || rune == '\t') {
        if (h->pre > 0)
            text_put(h, " ", 1);
        else
            h->space = true;
        return;
    }
    if (rune < 0x20 || (rune >= 0x7F && rune < 0xA0) || rune == 0xAD) return;
    text_begin(h);
    buffer_rune(&h->line, rune);
}

/* ---- text ---------------------------------------------------------------------------------- */

static void preformatted_put(page *h, char c) {
    if (c == '\n') {
        line_break(h);
    } else if (c == '\t') {
        do
            buffer_byte(&h->line, ' ');
        while (h->line.n % 8 != 0 && !h->line.failed);
    } else if (c != '\r') {
        buffer_byte(&h->line, c);
    }
}

/* Text up to the next '<'. */
static void text_run(page *h) {
    const char *stop = memchr(h->p, '<', (size_t)(h->end - h->p));
    if (stop == NULL) stop = h->end;
    if (h->skip[0] != '\0') {
        h->p = stop;
        return;
    }
    while (h->p < stop) {
        const char *start = h->p;
        if (*start == '&') {
            size_t n = 0;
            uint32_t rune = entity_at(start, stop, &n);
            if (rune != UINT32_MAX) {
                rune_put(h, rune);
                h->p += n;
            } else {
                text_put(h, "&", 1);
                h->p++;
            }
        } else if (h->pre > 0 && h->cells == 0) {
            preformatted_put(h, *start);
            h->p++;
        } else if (is_blank(*start)) {
            h->space = true;
            h->p++;
        } else {
            while (h->p < stop && *h->p != '&' && !is_blank(*h->p))
                h->p++;
            text_put(h, start, (size_t)(h->p - start));
        }
    }
}

/* ---- tags ---------------------------------------------------------------------------------- */

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_letter(char c) {
    return lower(c) >= 'a' && lower(c) <= 'z';
}

static bool one_of(const char *name, const char *const *list) {
    for (; *list != NULL; list++)
        if (strcmp(name, *list) == 0) return true;
    return false;
}

/* Behind a tag's '>', quotes respected. */
static const char *tag_end(const char *p, const char *end) {
    while (p < end && *p != '>') {
        if (*p == '"' || *p == '\'') {
            const char *close = memchr(p + 1, *p, (size_t)(end - p - 1));
            if (close == NULL) return end;
            p = close;
        }
        p++;
    }
    return p < end ? p + 1 : end;
}

/* Moves behind "</name", case ignored; to the end if it is not there. */
static void raw_skip(page *h, const char *name) {
    size_t n = strlen(name);
    while (h->p < h->end) {
        const char *open = memchr(h->p, '<', (size_t)(h->end - h->p));
        if (open == NULL || (size_t)(h->end - open) < n + 2) break;
        h->p = open + 1;
        if (open[1] != '/') continue;
        size_t i = 0;
        while (i < n && lower(open[2 + i]) == name[i])
            i++;
        if (i < n) continue;
        h->p = tag_end(open + 2 + n, h->end);
        return;
    }
    h->p = h->end;
}

static void list_change(page *h, bool closing, int first) {
    block_break(h, true);
    if (closing) {
        h->n_lists -= h->n_lists > 0;
        h->item = false;
        if (h->n_lists == 0 && h->cells == 0) h->blank = true;
    } else if (h->n_lists < LIST_LIMIT) {
        h->lists[h->n_lists++] = first;
    }
}

static void cell_change(page *h, bool closing) {
    if (closing) {
        h->cells -= h->cells > 0;
        return;
    }
    if (h->line.n > 0) {
        h->space = true;
        text_put(h, "|", 1);
        h->space = true;
    }
    h->cells++;
}

static void heading_change(page *h, const tag *t) {
    if (h->cells > 0) {
        block_break(h, true);
        return;
    }
    line_break(h);
    h->item = false;
    h->blank = true;
    char level = t->name[1]; /* the title (h1) is text: it stays even if sections follow at once */
    h->heading = (char)(t->closing || level == '1' ? 0
                        : level == '2'             ? MARK_HEADING
                                                   : MARK_SUBHEADING);
}

static void element(page *h, const tag *t) {
    static const char *const spaced[] = {"p", "table", "blockquote", "dl", "figure", NULL};
    static const char *const blocks[] = {"div",   "section",    "article", "main",     "tr",
                                         "dt",    "dd",         "form",    "fieldset", "address",
                                         "hr",    "figcaption", "caption", "thead",    "tbody",
                                         "tfoot", "center",     "body",    NULL};
    const char *name = t->name;
    if (name[0] == 'h' && name[1] >= '1' && name[1] <= '6' && name[2] == '\0') {
        heading_change(h, t);
    } else if (strcmp(name, "br") == 0) {
        block_break(h, false);
    } else if (strcmp(name, "pre") == 0) {
        block_break(h, true);
        if (!t->closing && h->item) item_sign(h);
        h->pre += t->closing ? -(h->pre > 0) : 1;
        if (!t->closing && h->p < h->end && *h->p == '\n') h->p++;
    } else if (strcmp(name, "td") == 0 || strcmp(name, "th") == 0) {
        cell_change(h, t->closing);
    } else if (strcmp(name, "ul") == 0 || strcmp(name, "menu") == 0) {
        list_change(h, t->closing, -1);
    } else if (strcmp(name, "ol") == 0) {
        list_change(h, t->closing, 0);
    } else if (strcmp(name, "li") == 0) {
        block_break(h, false);
        h->item = !t->closing && h->cells == 0;
    } else if (one_of(name, spaced)) {
        block_break(h, true);
    } else if (one_of(name, blocks)) {
        if (strcmp(name, "tr") == 0 && h->cells == 1) h->cells = 0; /* </td> may be left out */
        block_break(h, false);
    }
}

/* ---- what LibreOffice help adds -------------------------------------------------------------- */

static void wordings_begin(page *h, bool block) {
    if (h->n_wordings >= WORDING_LIMIT) return;
    if (block) block_break(h, false);
    h->wordings[h->n_wordings++] = (wording){.depth = h->depth,
                                             .line_n = h->line.n,
                                             .out_n = h->out->n,
                                             .started = h->started,
                                             .space = h->space,
                                             .blank = h->blank,
                                             .headed = h->headed};
}

/* A wording begins. What the one before wrote goes, unless it ended the line it began on. */
static void wording_begin(page *h) {
    wording *w = &h->wordings[h->n_wordings - 1];
    if (w->any && (w->line_n == 0 || w->out_n == h->out->n)) {
        buffer_cut(h->out, w->out_n);
        buffer_cut(&h->line, w->line_n);
        h->started = w->started;
        h->space = w->space;
        h->blank = w->blank;
        h->headed = w->headed;
    }
    w->any = true;
}

static bool tag_has(const char *from, const char *end, const char *attribute) {
    return memmem(from, (size_t)(end - from), attribute, strlen(attribute)) != NULL;
}

/* Follows <div> and <span>; `from` to `end` are the attributes. True if the element is not for
 * reading: links to related pages, or an icon beside its name. */
static bool help_element(page *h, const tag *t, const char *from, const char *end) {
    bool div = strcmp(t->name, "div") == 0;
    if (!div && strcmp(t->name, "span") != 0) return false;
    if (t->closing) {
        h->depth--;
        while (h->n_wordings > 0 && h->depth < h->wordings[h->n_wordings - 1].depth)
            h->n_wordings--;
        return false;
    }
    if (h->n_wordings > 0 && h->depth == h->wordings[h->n_wordings - 1].depth &&
        tag_has(from, end, "hidden=\"true\""))
        wording_begin(h);
    h->depth++;
    if (tag_has(from, end, "class=\"switch")) wordings_begin(h, div);
    return div &&
           (tag_has(from, end, "class=\"related") || tag_has(from, end, "class=\"icontable"));
}

static void area_count(page *h, const tag *t) {
    if (h->area == 0 || strcmp(t->name, "div") != 0) return;
    h->area += t->closing ? -1 : 1;
    h->over = h->area == 0;
}

/* An element whose contents are not text of the page. */
static void skip_change(page *h, const tag *t) {
    if (strcmp(t->name, h->skip) != 0) return;
    h->skip_depth += t->closing ? -1 : 1;
    if (h->skip_depth > 0) return;
    h->skip[0] = '\0';
    if (strcmp(t->name, "div") == 0) h->depth--; /* it was counted before it was skipped */
}

/* At '<' followed by a letter or '/'. */
static void tag_run(page *h) {
    static const char *const raw[] = {"script", "style", "title", "textarea", "xmp", NULL};
    static const char *const hidden[] = {"head",     "nav",      "aside",  "header", "footer",
                                         "noscript", "template", "svg",    "math",   "button",
                                         "select",   "iframe",   "object", NULL};
    const char *p = h->p + 1;
    tag t = {"", false};
    if (*p == '/') {
        t.closing = true;
        p++;
    }
    size_t n = 0;
    for (; p < h->end && (is_letter(*p) || (*p >= '0' && *p <= '9')); p++)
        if (n < NAME_LIMIT) {
            if (n + 1 < NAME_LIMIT) t.name[n] = lower(*p);
            n++;
        }
    if (n >= NAME_LIMIT) t.name[0] = '\0';
    const char *close = tag_end(p, h->end);
    bool empty = close - h->p >= 2 && close[-1] == '>' && close[-2] == '/';
    h->p = close;
    area_count(h, &t);
    if (h->skip[0] != '\0') {
        if (!empty) skip_change(h, &t);
    } else if (!t.closing && !empty && one_of(t.name, raw)) {
        raw_skip(h, t.name);
    } else if (!t.closing && !empty && one_of(t.name, hidden)) {
        memcpy(h->skip, t.name, NAME_LIMIT);
        h->skip_depth = 1;
    } else if (help_element(h, &t, p, close) && !empty) {
        memcpy(h->skip, t.name, NAME_LIMIT);
        h->skip_depth = 1;
    } else {
        element(h, &t);
    }
}

/* "<!-- ... -->", "<!DOCTYPE ...>", "<? ... >". */
static void declaration_skip(page *h) {
    size_t left = (size_t)(h->end - h->p);
    if (left >= 4 && memcmp(h->p, "<!--", 4) == 0) {
        const char *close = memmem(h->p + 4, left - 4, "-->", 3);
        h->p = close != NULL ? close + 3 : h->end;
    } else {
        const char *close = memchr(h->p, '>', left);
        h->p = close != NULL ? close + 1 : h->end;
    }
}

/* ---- page ---------------------------------------------------------------------------------- */

/* Moves to the display area, if there is one. */
static void area_find(page *h) {
    static const char mark[] = "id=\"DisplayArea\"";
    const char *at = memmem(h->p, (size_t)(h->end - h->p), mark, sizeof mark - 1);
    if (at == NULL) return;
    const char *open = memrchr(h->p, '<', (size_t)(at - h->p));
    if (open == NULL || h->end - open < 5 || memcmp(open, "<div", 4) != 0) return;
    h->p = tag_end(open + 4, h->end);
    h->area = 1;
}

status html_text(const char *bytes, size_t n, buffer *out) {
    page h = {.p = bytes, .end = bytes + n, .out = out};
    if (n > 0) area_find(&h);
    while (h.p < h.end && !h.over) {
        char next = h.end - h.p > 1 ? h.p[1] : '\0';
        if (*h.p != '<') {
            text_run(&h);
        } else if (is_letter(next) || (next == '/' && h.end - h.p > 2 && is_letter(h.p[2]))) {
            tag_run(&h);
        } else if (next == '!' || next == '?' || next == '/') {
            declaration_skip(&h);
        } else {
            if (h.skip[0] == '\0') text_put(&h, "<", 1);
            h.p++;
        }
    }
    line_break(&h);
    if (h.line.failed) out->failed = true;
    buffer_clear(&h.line);
    return buffer_check(out);
}
