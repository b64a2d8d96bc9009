/* corpus.h - named corpora: from Debian packages (or local text) to clean documents.
 *
 * A corpus is a list of sources. For `mini` each source is a Debian package: fetched once into the
 * cache, verified against the package index, unpacked in memory and turned from roff, HTML or
 * fortune files into plain text. For `local` it is a folder of text files, or the man pages that
 * are installed, or the documentation that comes with the program.
 *
 *     corpus_report report;
 *     corpus_options options = {0};
 *     TRY(corpus_build("mini", &options, write_line, file, &report));
 *     ... report.sources[i].text_bytes ...
 *
 * Documents reach the sink one after another, ordered by source and then by path, the same bytes in
 * the same order for the same packages and any number of threads. Nothing is dropped in silence:
 * every piece (a file, or one fortune of a fortune file) is counted once, as a document or under
 * the reason it is none.
 *
 * Mind: text is UTF-8 in NFC whose only control character is '\n', ends in exactly one '\n', and no
 * line of CORPUS_LINE_MIN bytes or more (blanks at its ends aside) occurs twice in a corpus:
 * neither in two documents nor in one.
 */
#ifndef FATHOM_DATA_CORPUS_H
#define FATHOM_DATA_CORPUS_H

#include "base/hash.h"

#include <stdint.h>

#define CORPUS_LINE_MIN     24 /* shorter lines ("Examples") may repeat */
#define CORPUS_DOCUMENT_MIN 40 /* bytes; what is left below this is not a document */
#define CORPUS_FILE_MAX     ((size_t)32 << 20) /* bytes of one file, unpacked */
#define CORPUS_SOURCES      8
#define CORPUS_FIELD        160 /* bytes of a name, version or file name, with its NUL */

typedef struct document {
    char id[33];         /* hash128 of the text, 32 hex digits, high half first */
    const char *source;  /* package name; "local" for files of the user */
    const char *version; /* package version; "" for local files */
    const char *path;    /* inside the package or folder */
    const char *text;    /* UTF-8, NUL-terminated */
    size_t text_bytes;
} document;

/* Receives one document; what it points to lives until the sink returns. A failure stops the
 * build and is passed on. */
typedef status document_sink(void *context, const document *d);

/* Why a file, or a part of one, did not become text. */
typedef enum corpus_drop {
    DROP_KIND,     /* pieces: not a kind of file that this source's text comes from */
    DROP_ALIAS,    /* pieces: a page that only names another page, or a link */
    DROP_SHORT,    /* pieces: less than CORPUS_DOCUMENT_MIN bytes were left */
    DROP_SAME,     /* pieces: the same text as an earlier document */
    DROP_TOO_LONG, /* pieces: larger than CORPUS_FILE_MAX, or macros that expand without end */
    DROP_BINARY,   /* pieces: more than 1 % of the bytes are no text */
    DROP_LINE,     /* lines: seen before in this corpus */
    DROP_BYTES,    /* bytes: neither UTF-8 nor Latin-1, and control characters */
    DROP_REASONS
} corpus_drop;
/* For tables: "page that only names another page". */
const char *corpus_drop_name(corpus_drop reason);

typedef struct corpus_source {
    char name[CORPUS_FIELD], version[CORPUS_FIELD], file[CORPUS_FIELD];
    char sha256[65];          /* of the .deb; "" for local files */
    const char *license;      /* a note for the data card; static */
    int64_t archive_bytes;    /* size of the .deb, or of all files read */
    int64_t files, raw_bytes; /* pieces that were looked at; their bytes, unpacked */
    int64_t documents, text_bytes;
    int64_t dropped[DROP_REASONS]; /* pieces, lines or bytes, see corpus_drop */
    int64_t dropped_line_bytes;    /* of the lines under DROP_LINE */
    double seconds;                /* unpacking and cleaning */
} corpus_source;

typedef struct corpus_report {
    corpus_source sources[CORPUS_SOURCES];
    int n_sources;
    int64_t documents, text_bytes, raw_bytes;
    int64_t fetched_bytes; /* downloaded now; the rest was in the cache */
    double fetch_seconds, clean_seconds;
} corpus_report;

typedef struct corpus_options {
    const char *cache; /* folder for packages; NULL = <cache folder>/packages */
    const char *input; /* `local` only: folder of text files; NULL = installed man pages */
    bool offline;      /* use what is in the cache, never the network */
} corpus_options;

/* The names corpus_build knows, with one line each; NULL past the end. */
const char *corpus_name(int i);
const char *corpus_summary(int i);
/* Download size in bytes that a corpus needs at most (0 for `local`), from the package table. */
int64_t corpus_download_bytes(const char *name);

/* Builds corpus `name`. F_BAD_VALUE names an unknown corpus, F_UNAVAILABLE a missing network,
 * F_PACKAGE a package that does not match its index, F_ARCHIVE one that cannot be unpacked.
 * Starts no pool: with one running, files are cleaned in parallel. Ctrl-C ends it with
 * F_INTERRUPTED; what was fetched stays in the cache. */
status corpus_build(const char *name, const corpus_options *options, document_sink *sink,
                    void *context, corpus_report *report) MUST_CHECK;

#endif
