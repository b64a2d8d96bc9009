/* roff_internal.h - what roff.c (lines, requests), roff_escape.c (escapes, output), roff_man.c and
 * roff_mdoc.c (the two macro packages) share. */
#ifndef FATHOM_DATA_ROFF_INTERNAL_H
#define FATHOM_DATA_ROFF_INTERNAL_H

#include "data/roff.h"

#include "data/clean.h"

#include <stdint.h>

#define ROFF_NAME    32  /* bytes of a name that is kept, with its NUL */
#define ROFF_DEFINES 256 /* macros, strings and registers of one page, each */
#define ROFF_DEPTH   16  /* macro in macro, string in string */
#define ROFF_ARGS    32
#define ROFF_BRANCH  32 /* .ie whose .el is still to come */
#define ROFF_LISTS   16 /* nested .Bl */

typedef struct slice {
    const char *p;
    size_t n;
    bool quoted; /* "" inside stands for one " */
} slice;

typedef struct args {
    slice list[ROFF_ARGS];
    int n;
} args;

typedef struct define {
    char name[ROFF_NAME];
    slice body;     /* a macro or string: part of a source that outlives the page */
    int64_t number; /* a register */
} define;

typedef struct define_table {
    define *rows;
    int n, capacity;
} define_table;

/* Where lines come from: the page or an expanded macro. */
typedef struct source {
    const char *p, *end;
    buffer joined; /* a line that was continued with a backslash */
    int depth;
} source;

typedef enum list_kind { LIST_TAG, LIST_BULLET, LIST_ENUM, LIST_ITEM, LIST_COLUMN } list_kind;

/* An expanded macro: kept until the page is done, because definitions may point into it. */
typedef struct chunk {
    struct chunk *next;
    buffer bytes;
} chunk;

typedef struct roff {
    buffer *out;  /* finished lines */
    buffer line;  /* the paragraph being filled */
    buffer link;  /* man: the address of .UR or .MT */
    bool started; /* something was written to out */
    bool space;   /* a space belongs before the next character */
    bool joined;  /* \c: the next input line continues this one */
    bool fill;
    bool headed; /* the last output line is a heading: no empty line behind it */
    bool blank;  /* an empty line belongs before the next output line */
    bool dense;  /* .PD 0: no empty lines between paragraphs */
    bool tag;    /* the next text is the tag of a .TP */
    bool mdoc, alias, cut, no_memory;
    char heading; /* mark of a heading whose text is still to come, or 0 */
    define_table macros, strings, registers;
    bool branch[ROFF_BRANCH]; /* results of .ie whose .el is still to come */
    int n_branch;
    int string_depth;
    size_t budget; /* bytes macros and strings may still expand to */
    chunk *chunks;
    struct mdoc_state {
        buffer name; /* what .Nm stands for */
        struct {
            list_kind kind;
            bool dense;
            int count;
        } lists[ROFF_LISTS];
        int n_lists;
        bool no_space; /* .Ns, .Pf or an opening bracket: no space before the next word */
        bool long_tag; /* between .It Xo and .Xc */
        bool synopsis;
        int references; /* %-fields of this .Rs so far, -1 outside */
        int arguments;  /* .Fa of this .Fo so far, -1 outside */
    } doc;
} roff;

/* roff_escape.c: text into r->line, lines into r->out */
void roff_put(roff *r, const char *bytes, size_t n); /* no escapes; spaces collapse when filling */
void roff_decode(roff *r, slice s);                  /* with escapes */
void roff_break(roff *r);                            /* ends the output line */
void roff_paragraph(roff *r);                        /* the same, and asks for an empty line */
void roff_line_end(roff *r);                         /* an input line that made text is over */
void roff_tag_end(roff *r);                          /* what was put since the break is a tag */
void roff_fill(roff *r, bool on);
int64_t roff_number(const roff *r, slice s); /* a numeric expression */

/* roff_chars.c: the text of \(xx or \[xx]; NULL if unknown */
const char *roff_char(const char *name, size_t n);

/* roff.c */
bool slice_is(slice s, const char *string);
const define *define_find(const define_table *t, slice name);

/* roff_table.c: .TS was read; takes lines up to .TE */
void roff_table(roff *r, source *src);
bool roff_line_next(source *src, slice *line);
void roff_line(roff *r, source *src, slice line);

/* The macro packages: true if the macro is theirs. */
bool roff_man(roff *r, slice name, const args *a);
bool roff_mdoc(roff *r, slice name, const args *a);

#endif
