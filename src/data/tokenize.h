/* tokenize.h - the parts of data_tokenize. Private to data/. */
#ifndef FATHOM_DATA_TOKENIZE_H
#define FATHOM_DATA_TOKENIZE_H

#include "data/split.h"
#include "tokens/tokens.h"

#define TOKENIZER_FILE "tokenizer.json"

/* The tokenizer of the dataset: the one asked for, the one already there if it was learnt from the
 * same text, or a new one. tokenizer.json holds it afterwards; `description` is its entry for the
 * manifest, `corpus_hash` names the documents. */
status vocabulary_get(const tokenize_options *o, const dataset *d, const split_plan *p,
                      uint64_t corpus_hash, tokenizer **out, json_t **description) MUST_CHECK;

/* Ids put around each document; a tokenizer with one boundary token has it on both sides. */
void boundary_tokens(const tokenizer *t, int32_t *bos, int32_t *eos);

/* Encodes pieces [from, to) of a split into the shard `path`, in parallel. */
typedef struct encode_range {
    const split_plan *plan;
    split_id split;
    int64_t from, to;
} encode_range;
status shard_encode(const encode_range *r, const tokenizer *t, const char *path,
                    shard_entry *entry) MUST_CHECK;

#endif
