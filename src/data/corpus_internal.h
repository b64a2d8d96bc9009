/* corpus_internal.h - pieces: what corpus.c (order, duplicates, counts), corpus_piece.c (one piece
 * to text) and corpus_source.c (where pieces come from) share. */
#ifndef FATHOM_DATA_CORPUS_INTERNAL_H
#define FATHOM_DATA_CORPUS_INTERNAL_H

#include "data/clean.h"
#include "data/corpus.h"

typedef enum piece_kind {
    PIECE_OTHER,
    PIECE_LINK,
    PIECE_ROFF,
    PIECE_HTML,
    PIECE_FORTUNES,
    PIECE_TEXT
} piece_kind;

/* A file on its way to documents. */
typedef struct piece {
    char *path;           /* inside the source; owned */
    char *file;           /* where to read it, owned; NULL: `bytes` has it */
    const uint8_t *bytes; /* lent by the archive */
    size_t n;             /* as it is stored */
    piece_kind kind;
    /* results of piece_clean */
    buffer text; /* documents, each behind a '\0' but the first */
    int64_t raw_bytes, bad_bytes;
    corpus_drop drop; /* why there is no text; DROP_REASONS if there is */
} piece;

typedef struct piece_list {
    piece *items;
    int64_t n, capacity;
    buffer archive; /* what `bytes` points into */
} piece_list;

/* corpus_source.c */
/* Adds a piece; takes neither `path` nor `file` over. */
status pieces_add(piece_list *l, const char *path, const char *file, const uint8_t *bytes, size_t n,
                  piece_kind kind) MUST_CHECK;
void pieces_sort(piece_list *l); /* by path */
void pieces_clear(piece_list *l);
/* Unpacks a verified .deb; the kinds follow from package and path. */
status pieces_from_package(piece_list *l, const char *package, const char *deb) MUST_CHECK;
/* Text files below a folder: by name .html, .htm, .1 to .9 (also .gz), everything else as text. */
status pieces_from_folder(piece_list *l, const char *folder) MUST_CHECK;
/* The man pages under `root` ("/usr/share/man") without those of other languages. */
status pieces_from_man(piece_list *l, const char *root) MUST_CHECK;

/* corpus_piece.c: safe from several threads at once on different pieces. */
status piece_clean(piece *p) MUST_CHECK;
void piece_forget(piece *p); /* frees the text */

#endif
