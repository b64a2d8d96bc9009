/* data.h - from documents to token shards: corpora, import, tokenizing, verification.
 *
 *     data_get_options get = {.corpus = "mini", .folder = "data/mini"};
 *     TRY(data_get(&get, &report));                      // corpus.jsonl
 *     tokenize_options t = {.folder = "data/mini", .vocab_size = 8192};
 *     TRY(data_tokenize(&t, &tokens));                   // tokenizer.json, shards
 *     ... loader.h ...
 *
 * Nouns. A document is a text with an id (128-bit hash of its bytes), a source and a path inside it
 * (corpus.h). A dataset is a folder:
 *
 *     data.json               the manifest: sources and licences, counts, split, shards
 *     corpus.jsonl            one document a line: {"id", "source", "path", "text"}
 *     rejected.jsonl          records that import refused, with their reasons; only if there are any
 *     tokenizer.json          the tokenizer of the shards
 *     train-00000.shard ...   token shards (shard.h)
 *     validation-00000.shard
 *
 * Life times. Every stage reads files and writes files; nothing of it lives between stages. A file
 * appears under its name only when it is whole, and data.json names it afterwards, so a stage that
 * was killed is repeated by the same command: what is already there and fits is kept, and the
 * result is the same byte for byte.
 *
 * What it does not do: near-duplicates, quality, language, mixtures (later stages between
 * corpus.jsonl and the shards).
 */
#ifndef FATHOM_DATA_DATA_H
#define FATHOM_DATA_DATA_H

#include "data/corpus.h"
#include "data/shard.h"

#include <jansson.h>

/* ---- the dataset folder ---- */

#define DATA_NAME 64 /* bytes of the name of a file in the folder, with its NUL */
typedef struct dataset_shard {
    split_id split;
    char file[DATA_NAME];
    shard_entry entry;
} dataset_shard;

typedef struct dataset {
    char folder[4096];
    json_t *manifest;      /* data.json as it is; for what has no field here */
    dataset_shard *shards; /* in the order of their tokens, training first */
    int n_shards;
    bool complete; /* every shard of the plan is there */
} dataset;
/* Reads and checks data.json, not the files it names. F_MISSING, F_DATASET. */
status dataset_open(dataset *d, const char *folder) MUST_CHECK;
void dataset_close(dataset *d); /* accepts a zeroed one */
/* Path of a file in the folder through text(). */
const char *dataset_path(const dataset *d, const char *file);

/* ---- stages ---- */

typedef struct data_get_options {
    const char *corpus; /* a name of corpus.h */
    const char *folder; /* dataset to make */
    const char *input;  /* for `local`: folder of texts */
    bool offline;
    bool again; /* build even if the dataset already holds this corpus */
} data_get_options;
typedef struct data_get_result {
    corpus_report report; /* zero when kept */
    int64_t documents, text_bytes;
    bool kept; /* it was there already */
} data_get_result;
status data_get(const data_get_options *o, data_get_result *out) MUST_CHECK;

typedef enum import_format { IMPORT_AUTO, IMPORT_TEXT, IMPORT_JSONL } import_format;
typedef enum import_encoding { ENCODING_UTF8, ENCODING_LATIN1 } import_encoding;
typedef struct import_map {
    const char *from, *to; /* key of the records, key it stands for; to is "text" */
} import_map;
/* One refused line: the report says why. */
typedef void import_refused(void *context, const char *file, int64_t line, const error_report *why);
#define IMPORT_LENGTHS 32
typedef struct import_options {
    const char *const *inputs; /* files, folders, "-" */
    int n_inputs;
    const char *folder; /* dataset to make */
    import_format format;
    import_encoding encoding;
    const import_map *map;
    int n_map;
    double max_bad;          /* share of a file's lines that may be refused, 0 .. 1 */
    const char *license;     /* note for the card; NULL */
    bool dry;                /* read and count everything, write nothing; `folder` is not used */
    bool show_progress;      /* a progress line; sizes of all inputs are looked up first */
    import_refused *refused; /* called for each refused line; NULL */
    void *context;
} import_options;
typedef struct import_result {
    int64_t files, documents, text_bytes, lines;
    int64_t bad;                     /* lines refused; all in rejected.jsonl */
    int64_t duplicates;              /* documents whose text was there already */
    int64_t empty;                   /* documents without text */
    int64_t binary;                  /* files in folders that hold no text */
    int64_t skipped;                 /* hidden names and linked folders in folders */
    int64_t lengths[IMPORT_LENGTHS]; /* documents of 2^i .. 2^(i+1) - 1 bytes */
} import_result;
status data_import(const import_options *o, import_result *out) MUST_CHECK;

typedef enum split_rule {
    SPLIT_AUTO,      /* by document; by tail if there are too few documents */
    SPLIT_DOCUMENTS, /* 2 % of the text (at least 128 KiB or a tenth) by hash of the document */
    SPLIT_TAIL,      /* the last tenth of the text, whole: no line is dropped */
} split_rule;
typedef struct tokenize_options {
    const char *folder;
    const char *tokenizer; /* file to use; NULL = train one on the training split */
    int vocab_size;        /* of the one to train; 0 = as before, else 8192 */
    split_rule split;
    double validation_share; /* 0 = 0.02; of SPLIT_TAIL 0.1 */
    int line_min;            /* shortest line (bytes without blanks at its ends) that may not be
                                on both sides; 0 = 1 */
    uint64_t seed;           /* order of documents */
    int64_t shard_bytes;     /* text in a shard; 0 = 32 MiB */
    bool quiet;              /* no progress line */
} tokenize_options;
typedef struct tokenize_result {
    int64_t documents[SPLIT_COUNT], text_bytes[SPLIT_COUNT], tokens[SPLIT_COUNT];
    int64_t lines_dropped, bytes_dropped; /* of the validation split, seen in training */
    int64_t documents_emptied;            /* validation documents of which nothing was left */
    int shards, shards_kept;
    int vocab_size;
    bool tail; /* how the split was made */
} tokenize_result;
status data_tokenize(const tokenize_options *o, tokenize_result *out) MUST_CHECK;

typedef struct verify_result {
    int files, shards;
    int64_t blocks, bytes;
    int damaged; /* places: files, tables or blocks */
    int64_t documents_hit;
} verify_result;
/* Reads everything again. `tell` gets each damage as a report; F_DAMAGE at the end if there was
 * any. */
typedef void verify_tell(void *context, const error_report *damage);
status data_verify(const char *folder, verify_tell *tell, void *context,
                   verify_result *out) MUST_CHECK;

/* The text of a split as it was tokenized (boundary tokens left out), decoded from the shards;
 * mem_free it. */
status dataset_text(const dataset *d, split_id split, char **bytes, size_t *n) MUST_CHECK;

#endif
