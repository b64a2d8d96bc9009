/* shard.h - token shards: one file of token ids with its table of documents, every byte under a
 * checksum. The layout is docs/formats/shard.md.
 *
 *     shard_writer *w;
 *     TRY(shard_begin(&w, path, &facts));
 *     TRY(shard_add(w, ids, n, text_bytes, document_id));  // whole documents, in order
 *     TRY(shard_commit(w, &entry));                        // atomically under its name
 *
 *     shard *s;
 *     TRY(shard_open(&s, path));       // header and document table are checked here,
 *     TRY(shard_read(s, at, n, ids));  // a block of 64 Ki tokens when it is first touched
 *
 * A reader may be used by several threads. It does not know about splits or order: that is
 * data.json (data.h) and the loader (loader.h).
 */
#ifndef FATHOM_DATA_SHARD_H
#define FATHOM_DATA_SHARD_H

#include "base/status.h"

#include <stdint.h>

#define SHARD_BLOCK_TOKENS 65536

typedef enum split_id { SPLIT_TRAIN, SPLIT_VALIDATION, SPLIT_COUNT } split_id;
const char *split_name(split_id split); /* "train", "validation" */

typedef struct shard_facts {
    int vocab_size;         /* ids are below it; up to 65,536 they take 2 bytes, else 4 */
    int32_t bos_id, eos_id; /* ids around each document, -1 = none */
    uint64_t tokenizer;     /* tokenizer_fingerprint */
} shard_facts;

/* One document as the table has it. */
typedef struct shard_document {
    int64_t start;      /* first token (BOS if there is one) */
    int64_t text_bytes; /* bytes of text it was made from */
    uint64_t id;        /* low half of the text's 128-bit hash */
} shard_document;

/* What a manifest keeps of a finished shard. */
typedef struct shard_entry {
    int64_t n_tokens, n_documents, text_bytes, file_bytes;
    uint64_t hash; /* of the header, which holds the hashes of all the rest */
} shard_entry;

typedef struct shard_writer shard_writer;
status shard_begin(shard_writer **out, const char *path, const shard_facts *facts) MUST_CHECK;
/* One document, BOS and EOS already around it. F_TOKEN_RANGE if an id does not fit. */
status shard_add(shard_writer *w, const int32_t *ids, int64_t n, int64_t text_bytes,
                 uint64_t document_id) MUST_CHECK;
int64_t shard_writer_tokens(const shard_writer *w);
/* Writes and renames; frees the writer, also on failure. */
status shard_commit(shard_writer *w, shard_entry *entry) MUST_CHECK;
void shard_abandon(shard_writer *w); /* nothing is left behind; accepts NULL */

typedef struct shard shard;
status shard_open(shard **out, const char *path) MUST_CHECK;
/* The same over bytes in memory that outlive the shard; `name` is used in messages. */
status shard_open_bytes(shard **out, const void *bytes, size_t n, const char *name) MUST_CHECK;
void shard_close(shard *s); /* accepts NULL */

const shard_facts *shard_get_facts(const shard *s);
int64_t shard_tokens(const shard *s);
int64_t shard_documents(const shard *s);
int64_t shard_text_bytes(const shard *s);
uint64_t shard_hash(const shard *s); /* as in shard_entry */
shard_document shard_document_at(const shard *s, int64_t i);
int64_t shard_document_end(const shard *s, int64_t i);      /* one past its last token */
int64_t shard_find_document(const shard *s, int64_t token); /* the document that holds it */
/* Tokens [at, at + n), which the caller keeps inside. */
status shard_read(shard *s, int64_t at, int64_t n, int32_t *ids) MUST_CHECK;
int64_t shard_blocks(const shard *s);
/* Hashes block b again, whether or not it was read before. */
status shard_check_block(shard *s, int64_t b) MUST_CHECK;

#endif
