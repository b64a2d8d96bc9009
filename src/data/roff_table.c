/* roff_table.c - tables of tbl(1) as plain rows.
 *
 * What: .TS, options up to ';', formats up to a line that ends in '.', then rows. A row becomes one
 * line, its cells joined by " | "; rules ("_", "=") and empty cells leave no trace.
 * How: cells are split at the tab character (or the one of the option tab(x)). A cell that is "T{"
 * goes on over the following lines, macros included, until a line that starts with "T}".
 * Mind: formats say how a table looks, so they are skipped; spans and alignment are lost.
 */
#include "data/roff_internal.h"

#include <string.h>

typedef struct table {
    char tab;
    bool block; /* inside T{ ... T} */
} table;

static slice trimmed(slice s) {
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    while (s.n > 0 && (*s.p == ' ' || *s.p == '\t')) {
        s.p++;
        s.n--;
    }
    return s;
}

static bool ends_with(slice s, char c) {
    s = trimmed(s);
    return s.n > 0 && s.p[s.n - 1] == c;
}

static bool is_end(slice line) {
    return line.n >= 3 && memcmp(line.p, ".TE", 3) == 0 &&
           (line.n == 3 || line.p[3] == ' ' || line.p[3] == '\t' || line.p[3] == '\\');
}

/* Reads format lines, the first of which may be `line`. False when the table ends inside. */
static bool formats_skip(source *src, slice line) {
    while (!ends_with(line, '.')) {
        if (!roff_line_next(src, &line) || is_end(line)) return false;
    }
    return true;
}

static void cell_put(roff *r, slice cell) {
    cell = trimmed(cell);
    bool rule = slice_is(cell, "_") || slice_is(cell, "=") || slice_is(cell, "\\_") ||
                slice_is(cell, "\\^");
    if (cell.n == 0 || rule) return;
    if (r->line.n > 0) {
        r->space = true;
        roff_put(r, "|", 1);
        r->space = true;
    }
    roff_decode(r, cell);
}

/* Cells of one input line; true if its last cell opens a block. */
static bool cells_put(roff *r, const table *t, slice line) {
    for (;;) {
        const char *tab = memchr(line.p, t->tab, line.n);
        slice cell = {line.p, tab != NULL ? (size_t)(tab - line.p) : line.n, false};
        if (slice_is(trimmed(cell), "T{")) {
            if (r->line.n > 0) {
                r->space = true;
                roff_put(r, "|", 1);
                r->space = true;
            }
            return true;
        }
        cell_put(r, cell);
        if (tab == NULL) return false;
        line.p = tab + 1;
        line.n -= cell.n + 1;
    }
}

static void row_put(roff *r, table *t, source *src, slice line) {
    if (t->block) {
        if (line.n < 2 || memcmp(line.p, "T}", 2) != 0) {
            roff_line(r, src, line);
            return;
        }
        t->block = false;
        line.p += 2;
        line.n -= 2;
        if (line.n > 0 && *line.p == t->tab) {
            line.p++;
            line.n--;
        }
    } else if (line.n > 1 && line.p[0] == '.' && line.p[1] != ' ' && line.p[1] != t->tab &&
               (line.p[1] < '0' || line.p[1] > '9')) {
        roff_line(r, src, line);
        return;
    }
    t->block = cells_put(r, t, line);
    if (!t->block) roff_break(r);
}

void roff_table(roff *r, source *src) {
    table t = {.tab = '\t'};
    bool fill = r->fill;
    slice line;
    roff_paragraph(r);
    r->fill = true;
    if (!roff_line_next(src, &line)) return;
    if (ends_with(line, ';')) {
        const char *option = memmem(line.p, line.n, "tab", 3);
        const char *open =
            option != NULL ? memchr(option, '(', line.n - (size_t)(option - line.p)) : NULL;
        bool named = open != NULL && open + 1 < line.p + line.n;
        if (named && (unsigned char)open[1] < 0x80) t.tab = open[1];
        if (!roff_line_next(src, &line)) return;
    }
    bool more = !is_end(line) && formats_skip(src, line);
    while (more && roff_line_next(src, &line) && !is_end(line)) {
        if (line.n >= 3 && memcmp(line.p, ".T&", 3) == 0) {
            more = roff_line_next(src, &line) && !is_end(line) && formats_skip(src, line);
            continue;
        }
        row_put(r, &t, src, line);
    }
    roff_paragraph(r);
    r->fill = fill;
}
