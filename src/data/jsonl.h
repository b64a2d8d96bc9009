/* jsonl.h - one JSON object a line: reading texts out of foreign records, writing and reading our
 * own corpus.jsonl. Private to data/. */
#ifndef FATHOM_DATA_JSONL_H
#define FATHOM_DATA_JSONL_H

#include "data/buffer.h"
#include "data/data.h"

/* Appends the text of a record to `out`: the value of "text", or the values of the mapped keys
 * joined by newlines in the order of the map. Fails with F_RECORD or F_JSON and a short reason in
 * the report's why; nothing is appended then. `line` has no newline. */
status jsonl_text(const char *line, size_t n, const import_map *map, int n_map,
                  buffer *out) MUST_CHECK;

/* Appends a document as a line of corpus.jsonl, newline included. */
void jsonl_write(buffer *out, const document *d);

/* A line of corpus.jsonl; the strings live until record_clear. */
typedef struct record {
    json_t *root;
    const char *id, *source, *path, *text;
    size_t text_bytes;
} record;
status record_read(record *r, const char *line, size_t n, const char *where) MUST_CHECK;
void record_clear(record *r); /* accepts a zeroed one */

#endif
