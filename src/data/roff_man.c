/* roff_man.c - the macros of man(7), with the extensions of groff and of rst2man.
 *
 * What: headings, paragraphs, tagged and indented paragraphs, font macros, synopses, addresses.
 * How: one table from name to kind, one switch. Font macros differ only in whether their arguments
 * are joined (BR, RB, IR, ...) or separated by spaces (B, I, SM, SB).
 * Mind: indentation is dropped: the text of a list item follows its tag on the next line, or on the
 * same line behind a short tag such as "-", "1." or "(a)".
 */
#include "data/roff_internal.h"

#include <string.h>

typedef enum man_macro {
    MAN_HEADING,
    MAN_SUBHEADING,
    MAN_PARAGRAPH,
    MAN_TAG,
    MAN_NEXT_TAG,
    MAN_ITEM,
    MAN_BREAK,
    MAN_WORDS,
    MAN_JOINED,
    MAN_REFERENCE,
    MAN_LINK,
    MAN_LINK_END,
    MAN_SYNOPSIS,
    MAN_OPTION,
    MAN_EXAMPLE,
    MAN_EXAMPLE_END,
    MAN_DISTANCE,
    MAN_NOTHING,
    MAN_NONE
} man_macro;

/* clang-format off */
static const struct {
    const char *name;
    man_macro kind;
} rows[] = {
    {"BR", MAN_JOINED}, {"I", MAN_WORDS}, {"PP", MAN_PARAGRAPH}, {"B", MAN_WORDS},
    {"SH", MAN_HEADING}, {"BI", MAN_JOINED}, {"TP", MAN_TAG}, {"IR", MAN_JOINED},
    {"IP", MAN_ITEM}, {"EX", MAN_EXAMPLE}, {"EE", MAN_EXAMPLE_END}, {"RI", MAN_JOINED},
    {"SS", MAN_SUBHEADING}, {"TH", MAN_NOTHING}, {"RB", MAN_JOINED}, {"RE", MAN_BREAK},
    {"RS", MAN_BREAK}, {"TQ", MAN_NEXT_TAG}, {"INDENT", MAN_BREAK}, {"UNINDENT", MAN_BREAK},
    {"PD", MAN_DISTANCE}, {"UR", MAN_LINK}, {"UE", MAN_LINK_END}, {"MT", MAN_LINK},
    {"ME", MAN_LINK_END}, {"IB", MAN_JOINED}, {"HP", MAN_PARAGRAPH}, {"P", MAN_PARAGRAPH},
    {"LP", MAN_PARAGRAPH}, {"SM", MAN_WORDS}, {"SB", MAN_WORDS}, {"SY", MAN_SYNOPSIS},
    {"YS", MAN_BREAK}, {"OP", MAN_OPTION}, {"Sp", MAN_PARAGRAPH}, {"Vb", MAN_EXAMPLE},
    {"Ve", MAN_EXAMPLE_END}, {"q", MAN_WORDS}, {"MR", MAN_REFERENCE}, {"DT", MAN_NOTHING},
    {"UC", MAN_NOTHING}, {"AT", MAN_NOTHING}, {"IX", MAN_NOTHING},
};
/* clang-format on */

static man_macro man_macro_of(slice name) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (slice_is(name, rows[i].name)) return rows[i].kind;
    return MAN_NONE;
}

static void words_put(roff *r, const args *a) {
    for (int i = 0; i < a->n; i++) {
        if (i > 0) r->space = true;
        roff_decode(r, a->list[i]);
    }
}

static void joined_put(roff *r, const args *a) {
    for (int i = 0; i < a->n; i++)
        roff_decode(r, a->list[i]);
}

static void heading_put(roff *r, const args *a, char mark) {
    roff_fill(r, true);
    r->blank = true;
    r->dense = r->tag = false;
    r->heading = mark;
    words_put(r, a);
    if (r->line.n > 0) roff_break(r);
}

/* .IP [tag [indent]] */
static void item_put(roff *r, const args *a) {
    roff_paragraph(r);
    r->tag = false;
    if (a->n == 0) return;
    roff_decode(r, a->list[0]);
    roff_tag_end(r);
}

static void link_begin(roff *r, const args *a) {
    buffer_cut(&r->link, 0);
    if (a->n > 0) buffer_put(&r->link, a->list[0].p, a->list[0].n);
}

static void link_end(roff *r, const args *a) {
    if (r->link.n > 0) {
        roff_put(r, "<", 1);
        roff_decode(r, (slice){r->link.bytes, r->link.n, false});
        roff_put(r, ">", 1);
    }
    buffer_cut(&r->link, 0);
    joined_put(r, a);
    roff_line_end(r);
}

/* .OP -k [value]: an optional argument in brackets. */
static void option_put(roff *r, const args *a) {
    r->space = true;
    roff_put(r, "[", 1);
    words_put(r, a);
    roff_put(r, "]", 1);
    roff_line_end(r);
}

/* .MR name section [punctuation] */
static void reference_put(roff *r, const args *a) {
    for (int i = 0; i < a->n; i++) {
        if (i == 1) roff_put(r, "(", 1);
        roff_decode(r, a->list[i]);
        if (i == 1) roff_put(r, ")", 1);
    }
    roff_line_end(r);
}

bool roff_man(roff *r, slice name, const args *a) {
    switch (man_macro_of(name)) {
    case MAN_HEADING: heading_put(r, a, MARK_HEADING); break;
    case MAN_SUBHEADING: heading_put(r, a, MARK_SUBHEADING); break;
    case MAN_PARAGRAPH:
        roff_paragraph(r);
        r->tag = false;
        break;
    case MAN_TAG:
        roff_paragraph(r);
        r->tag = true;
        break;
    case MAN_NEXT_TAG:
        roff_break(r);
        r->tag = true;
        break;
    case MAN_ITEM: item_put(r, a); break;
    case MAN_BREAK: roff_break(r); break;
    case MAN_WORDS:
    case MAN_JOINED:
        if (a->n == 0) break; /* the next line is in this font */
        if (man_macro_of(name) == MAN_WORDS)
            words_put(r, a);
        else
            joined_put(r, a);
        roff_line_end(r);
        break;
    case MAN_LINK: link_begin(r, a); break;
    case MAN_LINK_END: link_end(r, a); break;
    case MAN_SYNOPSIS:
        roff_break(r);
        words_put(r, a);
        r->space = true;
        break;
    case MAN_OPTION: option_put(r, a); break;
    case MAN_EXAMPLE: roff_fill(r, false); break;
    case MAN_EXAMPLE_END: roff_fill(r, true); break;
    case MAN_REFERENCE: reference_put(r, a); break;
    case MAN_DISTANCE: r->dense = a->n > 0 && a->list[0].n > 0 && *a->list[0].p == '0'; break;
    case MAN_NOTHING: break;
    case MAN_NONE: return false;
    }
    return true;
}
