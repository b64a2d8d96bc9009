/* roff_mdoc.c - the macros of mdoc(7), as BSD pages use them.
 *
 * What: mdoc marks up meaning (.Fl is a flag, .Ar an argument) and its macros call each other on
 * one line: ".Op Fl v Ar file ." reads "[-v file].".
 * How: inline_put walks the arguments of a line. A callable name acts on what follows; enclosures
 * (Op, Dq, Pq, ...) put their closing text on a small stack that is emptied at the end of the line,
 * before punctuation that ends it. Blocks (Sh, Bl, It, Bd) are one switch, named from a table.
 * Mind: widths, offsets and fonts make no text. Lists nest ROFF_LISTS deep; deeper ones are read as
 * if they belonged to the innermost one kept.
 */
#include "data/roff_internal.h"

#include <string.h>

#define CLOSERS 16

typedef enum mdoc_macro {
    /* inline: callable from other lines */
    MDOC_WORDS, /* argument text as it is */
    MDOC_FLAG,
    MDOC_NAME,
    MDOC_ARGUMENT,
    MDOC_REFERENCE,
    MDOC_FUNCTION,
    MDOC_FUNCTION_ARGUMENT,
    MDOC_TEXT,    /* a fixed text, then the arguments */
    MDOC_ENCLOSE, /* opening and closing text around the rest of the line */
    MDOC_OPEN,
    MDOC_CLOSE, /* the same over several lines */
    MDOC_NO_SPACE,
    MDOC_PREFIX,
    MDOC_APOSTROPHE,
    MDOC_CELL,
    MDOC_LINK,
    MDOC_LONG_OPEN,
    MDOC_LONG_CLOSE,
    /* blocks: only at the start of a line */
    MDOC_HEADING,
    MDOC_SUBHEADING,
    MDOC_PARAGRAPH,
    MDOC_DESCRIPTION,
    MDOC_LIST,
    MDOC_ITEM,
    MDOC_LIST_END,
    MDOC_DISPLAY,
    MDOC_DISPLAY_END,
    MDOC_LINE,
    MDOC_FUNCTION_OPEN,
    MDOC_FUNCTION_CLOSE,
    MDOC_TYPE,
    MDOC_INCLUDE,
    MDOC_EXIT,
    MDOC_RETURN,
    MDOC_REFERENCES,
    MDOC_REFERENCES_END,
    MDOC_FIELD,
    MDOC_LIBRARY,
    MDOC_AUTHOR,
    MDOC_NOTHING,
    MDOC_NONE
} mdoc_macro;

typedef struct mdoc_row {
    const char *name;
    mdoc_macro kind;
    const char *open, *close; /* for MDOC_TEXT, MDOC_ENCLOSE, MDOC_OPEN, MDOC_CLOSE */
} mdoc_row;

/* clang-format off */
static const mdoc_row rows[] = {
    {"Fl", MDOC_FLAG}, {"Nm", MDOC_NAME}, {"Ar", MDOC_ARGUMENT}, {"Xr", MDOC_REFERENCE},
    {"Fn", MDOC_FUNCTION}, {"Fa", MDOC_FUNCTION_ARGUMENT}, {"Ns", MDOC_NO_SPACE},
    {"Pf", MDOC_PREFIX}, {"Ap", MDOC_APOSTROPHE}, {"Ta", MDOC_CELL}, {"Lk", MDOC_LINK},
    {"Xo", MDOC_LONG_OPEN}, {"Xc", MDOC_LONG_CLOSE},
    {"Cm", MDOC_WORDS}, {"Ic", MDOC_WORDS}, {"Li", MDOC_WORDS}, {"Em", MDOC_WORDS},
    {"Sy", MDOC_WORDS}, {"No", MDOC_WORDS}, {"Pa", MDOC_WORDS}, {"Ev", MDOC_WORDS},
    {"Va", MDOC_WORDS}, {"Dv", MDOC_WORDS}, {"Er", MDOC_WORDS}, {"Ad", MDOC_WORDS},
    {"Cd", MDOC_WORDS}, {"Ms", MDOC_WORDS}, {"Tn", MDOC_WORDS}, {"Sx", MDOC_WORDS},
    {"St", MDOC_WORDS}, {"Mt", MDOC_WORDS}, {"Vt", MDOC_WORDS}, {"Fr", MDOC_WORDS},
    {"Ux", MDOC_TEXT, "UNIX"}, {"Bx", MDOC_TEXT, "BSD"}, {"Fx", MDOC_TEXT, "FreeBSD"},
    {"Nx", MDOC_TEXT, "NetBSD"}, {"Ox", MDOC_TEXT, "OpenBSD"}, {"Dx", MDOC_TEXT, "DragonFly"},
    {"At", MDOC_TEXT, "AT&T UNIX"}, {"Bsx", MDOC_TEXT, "BSD/OS"},
    {"Op", MDOC_ENCLOSE, "[", "]"}, {"Dq", MDOC_ENCLOSE, "\"", "\""},
    {"Qq", MDOC_ENCLOSE, "\"", "\""}, {"Sq", MDOC_ENCLOSE, "'", "'"},
    {"Ql", MDOC_ENCLOSE, "'", "'"}, {"Pq", MDOC_ENCLOSE, "(", ")"},
    {"Bq", MDOC_ENCLOSE, "[", "]"}, {"Aq", MDOC_ENCLOSE, "<", ">"},
    {"Brq", MDOC_ENCLOSE, "{", "}"}, {"Eq", MDOC_ENCLOSE, "", ""},
    {"Oo", MDOC_OPEN, "["}, {"Oc", MDOC_CLOSE, "]"}, {"Do", MDOC_OPEN, "\""},
    {"Dc", MDOC_CLOSE, "\""}, {"Qo", MDOC_OPEN, "\""}, {"Qc", MDOC_CLOSE, "\""},
    {"So", MDOC_OPEN, "'"}, {"Sc", MDOC_CLOSE, "'"}, {"Po", MDOC_OPEN, "("},
    {"Pc", MDOC_CLOSE, ")"}, {"Bo", MDOC_OPEN, "["}, {"Bc", MDOC_CLOSE, "]"},
    {"Ao", MDOC_OPEN, "<"}, {"Ac", MDOC_CLOSE, ">"}, {"Bro", MDOC_OPEN, "{"},
    {"Brc", MDOC_CLOSE, "}"},
    {"Sh", MDOC_HEADING}, {"Ss", MDOC_SUBHEADING}, {"Pp", MDOC_PARAGRAPH}, {"Lp", MDOC_PARAGRAPH},
    {"Nd", MDOC_DESCRIPTION}, {"Bl", MDOC_LIST}, {"It", MDOC_ITEM}, {"El", MDOC_LIST_END},
    {"Bd", MDOC_DISPLAY}, {"Ed", MDOC_DISPLAY_END}, {"D1", MDOC_LINE}, {"Dl", MDOC_LINE},
    {"Fo", MDOC_FUNCTION_OPEN}, {"Fc", MDOC_FUNCTION_CLOSE}, {"Ft", MDOC_TYPE},
    {"In", MDOC_INCLUDE}, {"Fd", MDOC_LINE}, {"Ex", MDOC_EXIT}, {"Rv", MDOC_RETURN},
    {"Rs", MDOC_REFERENCES}, {"Re", MDOC_REFERENCES_END}, {"Lb", MDOC_LIBRARY},
    {"An", MDOC_AUTHOR}, {"%A", MDOC_FIELD}, {"%B", MDOC_FIELD}, {"%C", MDOC_FIELD},
    {"%D", MDOC_FIELD}, {"%I", MDOC_FIELD}, {"%J", MDOC_FIELD}, {"%N", MDOC_FIELD},
    {"%O", MDOC_FIELD}, {"%P", MDOC_FIELD}, {"%Q", MDOC_FIELD}, {"%R", MDOC_FIELD},
    {"%T", MDOC_FIELD}, {"%U", MDOC_FIELD}, {"%V", MDOC_FIELD}, {"Dd", MDOC_NOTHING},
    {"Dt", MDOC_NOTHING}, {"Os", MDOC_NOTHING}, {"Bk", MDOC_NOTHING}, {"Ek", MDOC_NOTHING},
    {"Sm", MDOC_NOTHING}, {"Tg", MDOC_NOTHING}, {"Bf", MDOC_NOTHING}, {"Ef", MDOC_NOTHING},
    {"Db", MDOC_NOTHING}, {"Hf", MDOC_NOTHING}, {"Es", MDOC_NOTHING}, {"Ud", MDOC_NOTHING},
};
/* clang-format on */

static const mdoc_row *row_of(slice name) {
    if (name.quoted || name.n < 2 || name.n > 3) return NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (slice_is(name, rows[i].name)) return &rows[i];
    return NULL;
}

static const mdoc_row *callable(slice name) {
    const mdoc_row *row = row_of(name);
    return row != NULL && row->kind <= MDOC_LONG_CLOSE ? row : NULL;
}

/* Punctuation that clings to the word before it, or (opening) to the word behind it. */
static bool is_closing(slice s) {
    return s.n == 1 && strchr(".,:;)]?!", *s.p) != NULL && *s.p != 0;
}
static bool is_opening(slice s) {
    return s.n == 1 && (*s.p == '(' || *s.p == '[');
}

/* ---- words ---------------------------------------------------------------------------------- */

static void word_begin(roff *r) {
    r->space = !r->doc.no_space;
    r->doc.no_space = false;
}

static void word_put(roff *r, slice word) {
    if (is_closing(word)) {
        r->space = false;
        roff_decode(r, word);
        return;
    }
    word_begin(r);
    roff_decode(r, word);
    if (is_opening(word)) r->doc.no_space = true;
}

static void text_put(roff *r, const char *string) {
    roff_put(r, string, strlen(string));
}

/* Arguments from i on that are plain words; returns where they end. */
static int words_put(roff *r, const args *a, int i) {
    for (; i < a->n && callable(a->list[i]) == NULL; i++)
        word_put(r, a->list[i]);
    return i;
}

/* ---- inline macros -------------------------------------------------------------------------- */

/* .Fl a b: "-a -b"; without arguments "-". */
static int flag_put(roff *r, const args *a, int i) {
    bool any = false;
    for (; i < a->n && callable(a->list[i]) == NULL && !is_closing(a->list[i]); i++) {
        if (a->list[i].n == 1 && *a->list[i].p == '|') {
            word_put(r, a->list[i]);
            continue;
        }
        word_begin(r);
        text_put(r, "-");
        roff_decode(r, a->list[i]);
        any = true;
    }
    if (!any) {
        word_begin(r);
        text_put(r, "-");
        if (i < a->n && callable(a->list[i]) != NULL) r->doc.no_space = true;
    }
    return words_put(r, a, i);
}

static int name_put(roff *r, const args *a, int i) {
    bool own = i < a->n && callable(a->list[i]) == NULL && !is_closing(a->list[i]);
    if (own && r->doc.name.n == 0) buffer_put(&r->doc.name, a->list[i].p, a->list[i].n);
    if (!own && r->doc.name.n > 0) word_put(r, (slice){r->doc.name.bytes, r->doc.name.n, false});
    return words_put(r, a, i);
}

static int reference_put(roff *r, const args *a, int i) {
    if (i >= a->n) return i;
    word_put(r, a->list[i++]);
    if (i < a->n && callable(a->list[i]) == NULL && !is_closing(a->list[i])) {
        r->space = false;
        text_put(r, "(");
        roff_decode(r, a->list[i++]);
        text_put(r, ")");
    }
    return words_put(r, a, i);
}

static int function_put(roff *r, const args *a, int i) {
    if (i >= a->n) return i;
    word_put(r, a->list[i++]);
    r->space = false;
    text_put(r, "(");
    for (int k = 0; i < a->n && callable(a->list[i]) == NULL && !is_closing(a->list[i]); k++, i++) {
        if (k > 0) text_put(r, ", ");
        roff_decode(r, a->list[i]);
    }
    r->space = false;
    text_put(r, ")");
    if (r->doc.synopsis) text_put(r, ";");
    return words_put(r, a, i);
}

/* .Fa a b: inside .Fo ... .Fc and in a synopsis a list, elsewhere words. */
static int function_argument_put(roff *r, const args *a, int i) {
    if (r->doc.arguments < 0) return words_put(r, a, i);
    for (; i < a->n && callable(a->list[i]) == NULL; i++) {
        r->space = false;
        if (r->doc.arguments++ > 0) text_put(r, ", ");
        roff_decode(r, a->list[i]);
    }
    return i;
}

static int link_put(roff *r, const args *a, int i) {
    int address = i;
    if (i >= a->n) return i;
    i = words_put(r, a, i + 1);
    word_begin(r);
    text_put(r, "<");
    roff_decode(r, a->list[address]);
    text_put(r, ">");
    return i;
}

static int argument_put(roff *r, const args *a, int i) {
    if (i >= a->n || callable(a->list[i]) != NULL || is_closing(a->list[i])) {
        word_begin(r);
        text_put(r, "file ...");
    }
    return words_put(r, a, i);
}

static void cell_begin(roff *r) {
    if (r->line.n > 0) {
        word_begin(r);
        text_put(r, "|");
    }
    r->space = true;
}

/* Ends a tag that was kept open by Xo. */
static void long_tag_close(roff *r) {
    if (r->doc.long_tag) roff_tag_end(r);
    r->doc.long_tag = false;
}

/* One callable macro whose arguments start at i; returns where it stopped. */
static int callable_put(roff *r, const mdoc_row *row, const args *a, int i, const char **closers,
                        int *n_closers) {
    switch (row->kind) {
    case MDOC_FLAG: return flag_put(r, a, i);
    case MDOC_NAME: return name_put(r, a, i);
    case MDOC_ARGUMENT: return argument_put(r, a, i);
    case MDOC_REFERENCE: return reference_put(r, a, i);
    case MDOC_FUNCTION: return function_put(r, a, i);
    case MDOC_FUNCTION_ARGUMENT: return function_argument_put(r, a, i);
    case MDOC_LINK: return link_put(r, a, i);
    case MDOC_TEXT:
        word_begin(r);
        text_put(r, row->open);
        return words_put(r, a, i);
    case MDOC_ENCLOSE:
        if (*n_closers < CLOSERS) closers[(*n_closers)++] = row->close;
        word_begin(r);
        text_put(r, row->open);
        r->doc.no_space = true;
        return words_put(r, a, i);
    case MDOC_OPEN:
        word_begin(r);
        text_put(r, row->open);
        r->doc.no_space = true;
        return words_put(r, a, i);
    case MDOC_CLOSE:
        r->space = r->doc.no_space = false;
        text_put(r, row->open);
        return words_put(r, a, i);
    case MDOC_NO_SPACE: r->doc.no_space = true; return words_put(r, a, i);
    case MDOC_PREFIX:
        if (i < a->n) word_put(r, a->list[i++]);
        r->doc.no_space = true;
        return words_put(r, a, i);
    case MDOC_APOSTROPHE:
        r->space = false;
        text_put(r, "'");
        r->doc.no_space = true;
        return words_put(r, a, i);
    case MDOC_CELL: cell_begin(r); return words_put(r, a, i);
    case MDOC_LONG_CLOSE: long_tag_close(r); return words_put(r, a, i);
    default: return words_put(r, a, i);
    }
}

/* A whole line of inline macros, `first` being the macro itself if it is one. */
static void inline_put(roff *r, const mdoc_row *first, const args *a, int i) {
    const char *closers[CLOSERS];
    int n_closers = 0;
    args body = *a;
    int tail = body.n; /* punctuation at the end stands behind what is closed there */
    while (tail > i && is_closing(body.list[tail - 1]))
        tail--;
    body.n = tail;
    if (first != NULL) i = callable_put(r, first, &body, i, closers, &n_closers);
    while (i < body.n) {
        const mdoc_row *row = callable(body.list[i]);
        if (row == NULL)
            word_put(r, body.list[i++]);
        else
            i = callable_put(r, row, &body, i + 1, closers, &n_closers);
    }
    while (n_closers > 0) {
        r->space = r->doc.no_space = false;
        text_put(r, closers[--n_closers]);
    }
    for (; tail < a->n; tail++)
        word_put(r, a->list[tail]);
}

/* ---- blocks --------------------------------------------------------------------------------- */

static void heading_put(roff *r, const args *a, char mark) {
    roff_fill(r, true);
    r->blank = true;
    r->dense = r->tag = r->doc.long_tag = false;
    r->doc.n_lists = 0;
    r->heading = mark;
    if (mark == MARK_HEADING) r->doc.synopsis = a->n > 0 && slice_is(a->list[0], "SYNOPSIS");
    inline_put(r, NULL, a, 0);
    if (r->line.n > 0) roff_break(r);
}

static void list_begin(roff *r, const args *a) {
    list_kind kind = LIST_ITEM;
    bool compact = false;
    for (int i = 0; i < a->n; i++) {
        slice s = a->list[i];
        if (slice_is(s, "-tag") || slice_is(s, "-hang") || slice_is(s, "-diag") ||
            slice_is(s, "-ohang") || slice_is(s, "-inset"))
            kind = LIST_TAG;
        else if (slice_is(s, "-bullet") || slice_is(s, "-dash") || slice_is(s, "-hyphen"))
            kind = LIST_BULLET;
        else if (slice_is(s, "-enum"))
            kind = LIST_ENUM;
        else if (slice_is(s, "-column"))
            kind = LIST_COLUMN;
        else if (slice_is(s, "-compact"))
            compact = true;
    }
    roff_paragraph(r);
    if (r->doc.n_lists < ROFF_LISTS) {
        r->doc.lists[r->doc.n_lists].kind = kind;
        r->doc.lists[r->doc.n_lists].dense = compact;
        r->doc.lists[r->doc.n_lists++].count = 0;
    }
}

static void item_put(roff *r, const args *a) {
    int n = r->doc.n_lists;
    list_kind kind = n > 0 ? r->doc.lists[n - 1].kind : LIST_ITEM;
    bool dense = n > 0 && (r->doc.lists[n - 1].dense || kind == LIST_COLUMN);
    roff_break(r);
    if (!dense) r->blank = true;
    if (kind == LIST_BULLET) {
        text_put(r, "-");
        roff_tag_end(r);
    } else if (kind == LIST_ENUM) {
        text_put(r, text("%d.", ++r->doc.lists[n - 1].count));
        roff_tag_end(r);
    } else if (a->n > 0) {
        bool open = slice_is(a->list[a->n - 1], "Xo");
        for (int i = 0; i < a->n && !open; i++)
            open = slice_is(a->list[i], "Xo");
        inline_put(r, NULL, a, 0);
        r->doc.long_tag = open && kind == LIST_TAG;
        if (kind == LIST_TAG && !open) roff_tag_end(r);
    }
}

static void display_begin(roff *r, const args *a) {
    roff_paragraph(r);
    for (int i = 0; i < a->n; i++)
        if (slice_is(a->list[i], "-literal") || slice_is(a->list[i], "-unfilled"))
            roff_fill(r, false);
}

/* .Ex -std and .Rv -std are whole sentences. */
static void sentence_put(roff *r, const args *a, const char *predicate) {
    word_begin(r);
    text_put(r, "The ");
    if (a->n > 1)
        roff_decode(r, a->list[1]);
    else
        roff_put(r, r->doc.name.n > 0 ? r->doc.name.bytes : "", r->doc.name.n);
    text_put(r, predicate);
}

static void include_put(roff *r, const args *a) {
    if (a->n == 0) return;
    if (r->doc.synopsis) {
        roff_break(r);
        text_put(r, "#include ");
    } else {
        word_begin(r);
    }
    text_put(r, "<");
    roff_decode(r, a->list[0]);
    text_put(r, ">");
    (void)words_put(r, a, 1);
    if (r->doc.synopsis) roff_break(r);
}

static void function_open(roff *r, const args *a) {
    if (a->n > 0) word_put(r, a->list[0]);
    r->space = false;
    text_put(r, "(");
    r->doc.arguments = 0;
}

static void function_close(roff *r, const args *a) {
    r->space = r->doc.no_space = false;
    r->doc.arguments = -1;
    text_put(r, r->doc.synopsis ? ");" : ")");
    (void)words_put(r, a, 0);
    if (r->doc.synopsis) roff_break(r);
}

static void field_put(roff *r, const args *a) {
    if (r->doc.references > 0) {
        r->space = false;
        text_put(r, ",");
    }
    if (r->doc.references >= 0) r->doc.references++;
    for (int i = 0; i < a->n; i++)
        word_put(r, a->list[i]);
}

static void author_put(roff *r, const args *a) {
    if (a->n > 0 && (slice_is(a->list[0], "-split") || slice_is(a->list[0], "-nosplit"))) return;
    inline_put(r, NULL, a, 0);
}

static void block_put(roff *r, mdoc_macro kind, const args *a) {
    switch (kind) {
    case MDOC_HEADING: heading_put(r, a, MARK_HEADING); break;
    case MDOC_SUBHEADING: heading_put(r, a, MARK_SUBHEADING); break;
    case MDOC_PARAGRAPH: roff_paragraph(r); break;
    case MDOC_DESCRIPTION:
        word_begin(r);
        text_put(r, "-");
        inline_put(r, NULL, a, 0);
        break;
    case MDOC_LIST: list_begin(r, a); break;
    case MDOC_ITEM: item_put(r, a); break;
    case MDOC_LIST_END:
        roff_paragraph(r);
        r->doc.n_lists -= r->doc.n_lists > 0;
        break;
    case MDOC_DISPLAY: display_begin(r, a); break;
    case MDOC_DISPLAY_END: roff_fill(r, true); break;
    case MDOC_LINE:
        roff_break(r);
        inline_put(r, NULL, a, 0);
        roff_break(r);
        break;
    case MDOC_FUNCTION_OPEN: function_open(r, a); break;
    case MDOC_FUNCTION_CLOSE: function_close(r, a); break;
    case MDOC_TYPE:
        if (r->doc.synopsis) roff_paragraph(r);
        inline_put(r, NULL, a, 0);
        break;
    case MDOC_INCLUDE: include_put(r, a); break;
    case MDOC_EXIT:
        sentence_put(r, a, " utility exits 0 on success, and >0 if an error occurs.");
        break;
    case MDOC_RETURN:
        sentence_put(r, a,
                     "() function returns the value 0 if successful; otherwise the value -1 is "
                     "returned and the global variable errno is set to indicate the error.");
        break;
    case MDOC_REFERENCES:
        roff_break(r);
        r->doc.references = 0;
        break;
    case MDOC_REFERENCES_END:
        r->space = false;
        if (r->line.n > 0) text_put(r, ".");
        r->doc.references = -1;
        roff_break(r);
        break;
    case MDOC_FIELD: field_put(r, a); break;
    case MDOC_LIBRARY:
        word_begin(r);
        text_put(r, "library");
        inline_put(r, NULL, a, 0);
        break;
    case MDOC_AUTHOR: author_put(r, a); break;
    default: break; /* MDOC_NOTHING */
    }
}

bool roff_mdoc(roff *r, slice name, const args *a) {
    const mdoc_row *row = row_of(name);
    if (row == NULL) return false;
    if (row->kind > MDOC_LONG_CLOSE) {
        block_put(r, row->kind, a);
        if (row->kind != MDOC_FUNCTION_OPEN && r->line.n > 0) r->space = true;
        return true;
    }
    bool synopsis_line =
        r->doc.synopsis && r->fill && (row->kind == MDOC_NAME || row->kind == MDOC_FUNCTION);
    if (synopsis_line && row->kind == MDOC_NAME) roff_break(r);
    inline_put(r, row, a, 0);
    if (synopsis_line && row->kind == MDOC_FUNCTION) roff_break(r);
    if (!r->doc.long_tag) roff_line_end(r);
    return true;
}
