/* dataset.h - making and changing data.json. Private to data/. Numbers of 64 bits that are hashes
 * are written as 16 hexadecimal digits: JSON numbers stop at 63 bits. */
#ifndef FATHOM_DATA_DATASET_H
#define FATHOM_DATA_DATASET_H

#include "data/data.h"

#define MANIFEST_FILE "data.json"
#define CORPUS_FILE   "corpus.jsonl"

/* A manifest of no sources; NULL when out of memory. */
json_t *manifest_new(const char *name);
status manifest_save(const char *folder, const json_t *manifest) MUST_CHECK;
/* Sets a value and takes it over. F_NO_MEMORY if it is NULL or there is no room. */
status manifest_set(json_t *object, const char *key, json_t *value) MUST_CHECK;
status manifest_set_hash(json_t *object, const char *key, uint64_t hash) MUST_CHECK;
status manifest_get_hash(const json_t *object, const char *key, uint64_t *hash,
                         const char *where) MUST_CHECK;
/* {"file", "file_bytes", "hash"} of a file that is there; its bytes are hashed. */
status manifest_describe_file(const char *folder, const char *file, json_t **out) MUST_CHECK;
/* Does such a description fit the file? F_SHARD-like reports are left to the caller. */
status manifest_file_fits(const char *folder, const json_t *description, bool *fits) MUST_CHECK;
status manifest_add_shard(json_t *manifest, const dataset_shard *s) MUST_CHECK;

/* The command that makes this dataset's tokens again as they were: `fathom data tokenize D` with the
 * options it was given. Through text(). */
const char *dataset_repair(const dataset *d);

/* A new corpus may go into a folder that is no dataset or holds the same (name and inputs, a list of
 * strings or NULL); else F_CANNOT_CREATE. */
status manifest_check_free(const char *folder, const char *name, const json_t *inputs) MUST_CHECK;

/* Writes corpus.jsonl: open, sink as often as needed, close. */
typedef struct corpus_writer corpus_writer;
status corpus_writer_open(corpus_writer **out, const char *folder) MUST_CHECK;
status corpus_writer_sink(void *writer, const document *d) MUST_CHECK; /* a document_sink */
/* Commits and describes: {"file", "file_bytes", "hash", "documents", "text_bytes"}; frees. */
status corpus_writer_close(corpus_writer *w, json_t **description) MUST_CHECK;
void corpus_writer_abandon(corpus_writer *w);
int64_t corpus_writer_documents(const corpus_writer *w);
int64_t corpus_writer_text_bytes(const corpus_writer *w);

#endif
