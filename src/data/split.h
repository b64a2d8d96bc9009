/* split.h - the documents of corpus.jsonl, divided into training and validation. Private to data/.
 *
 *     corpus_file c;
 *     TRY(corpus_file_open(&c, &dataset));        // index: place, size and hash of each text
 *     split_plan p;
 *     TRY(split_plan_make(&p, &c, &options));     // pieces of both splits, in their order
 *     buffer text = {0};
 *     TRY(piece_text(&p, SPLIT_VALIDATION, i, &text));
 *
 * A piece is a document or, where the last tenth is cut off, a part of one. */
#ifndef FATHOM_DATA_SPLIT_H
#define FATHOM_DATA_SPLIT_H

#include "base/file.h"
#include "data/buffer.h"
#include "data/data.h"
#include "data/hash_set.h"

typedef struct indexed_text {
    size_t offset, length; /* of the line in the file */
    int64_t text_bytes;
    uint64_t hash; /* low half of the text's 128-bit hash */
} indexed_text;
typedef struct corpus_file {
    mapped_file map;
    indexed_text *texts;
    int64_t n, text_bytes;
    char path[PATH_SIZE];
} corpus_file;
/* Checks corpus.jsonl against the manifest and every line for itself; parses in the pool. */
status corpus_file_open(corpus_file *c, const dataset *d) MUST_CHECK;
void corpus_file_close(corpus_file *c); /* accepts a zeroed one */

typedef struct piece {
    int64_t text;       /* index of the document */
    int64_t begin, end; /* bytes of its text */
    uint64_t id;        /* of the piece: the document's hash, or that of the part's bytes */
} piece;
typedef struct split_plan {
    const corpus_file *corpus;
    piece *pieces[SPLIT_COUNT];
    int64_t n[SPLIT_COUNT];
    int64_t bytes[SPLIT_COUNT]; /* of text, dropped lines not counted */
    bool tail, drop_lines;
    int line_min;
    hash_set lines; /* of the validation split; marked = also in training */
    int64_t lines_dropped, bytes_dropped, emptied;
} split_plan;
status split_plan_make(split_plan *p, const corpus_file *c, const tokenize_options *o) MUST_CHECK;
void split_plan_clear(split_plan *p); /* accepts a zeroed one */

/* Replaces `out` by the text of a piece; lines that training has are left out of validation. Safe
 * from several threads with buffers of their own. */
status piece_text(const split_plan *p, split_id split, int64_t i, buffer *out) MUST_CHECK;

/* A job of the pool whose chunks may fail. The failure of the lowest chunk is kept, so the message
 * does not depend on the number of threads. */
typedef struct job_failure {
    int64_t chunk; /* INT64_MAX = none */
    status code;
    error_report report;
    int lock;
} job_failure;
#define JOB_FAILURE_NONE                                                                           \
    { .chunk = INT64_MAX }
void job_failure_note(job_failure *f, int64_t chunk, status s);
status job_failure_result(const job_failure *f) MUST_CHECK;

#endif
