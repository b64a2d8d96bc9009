/* loader.h - rows of tokens for training and evaluation, as a pure function of (seed, row index).
 *
 *     loader *l;
 *     loader_options o = {.folder = "data/mini", .split = SPLIT_TRAIN, .seq_len = 256, .seed = 1};
 *     TRY(loader_open(&l, &o));
 *     for (int i = 0; i < batch; i++)                     // any thread, any order
 *         TRY(loader_row(l, step * batch + i, &(loader_slot){ids, target, NULL, NULL, first}));
 *     loader_close(l);
 *
 * There is no iterator and so no state to save: a resumed run asks for the same indices and gets
 * the same rows. Row `index` belongs to epoch index / loader_rows; inside an epoch the rows of the
 * training split come in the order of a permutation fixed by (seed, epoch), so every token of the
 * split is a target exactly once an epoch. The validation split is never permuted.
 *
 * Packed order (LOADER_PACKED). The documents of a split form one long stream in the order of the
 * shards (fixed when the corpus was tokenized), each as BOS text EOS. Row r holds the T inputs
 * [rT, rT + T) of the stream and the T targets one further. The first token of a document is never
 * predicted from the document before it (target -1), and first[] keeps attention inside the
 * document: first[i] is the row index where the document of ids[i] begins, or 0 if it began in an
 * earlier row. What is missing at the end of the last row is filled with id 0 and target -1, each
 * filled place its own document.
 *
 * Raw order (LOADER_STREAM). Documents have no borders: first[] is 0 everywhere. Training rows are
 * windows at random starts, uniform over all that fit, a pure function of (seed, index); validation
 * rows are cut as above, so that the whole split is covered. With `input` there are no shards at
 * all: the bytes of the file are the tokens.
 *
 * Mind: a block of 64 Ki tokens is hashed when it is first touched; a damaged one gives F_SHARD
 * with file, block and documents. loader_row is safe from several threads at once.
 */
#ifndef FATHOM_DATA_LOADER_H
#define FATHOM_DATA_LOADER_H

#include "data/shard.h"

typedef enum loader_mode { LOADER_PACKED, LOADER_STREAM } loader_mode;

typedef struct loader_options {
    const char *folder; /* a dataset: data.json and its shards; or */
    const char *input;  /* one file taken as bytes: vocabulary 256, order always raw; the first 90 %
                           (floor) are the training split, the rest is the validation split */
    split_id split;
    int seq_len;   /* T */
    uint64_t seed; /* order of training rows */
    loader_mode mode;
    int stride; /* validation: targets a row adds, 1 .. T; 0 = T. With less than T every row
                           but the first repeats T - stride tokens as context, masked */
} loader_options;

typedef struct loader loader;
status loader_open(loader **out, const loader_options *options) MUST_CHECK;
void loader_close(loader *l); /* accepts NULL */

/* Where a row is written; each array has seq_len places; any may be NULL. */
typedef struct loader_slot {
    int32_t *ids;     /* inputs */
    int32_t *target;  /* next token, -1 where it is not to be predicted */
    int32_t *next_id; /* token t+1 whether or not it is a target (input of MTP); 0 past the end */
    int32_t *target_mtp; /* token t+2 if t, t+1 and t+2 are of one document, else -1; masked where
                            the stride masks target */
    int32_t *first;      /* row index of the first token of the same document */
} loader_slot;
status loader_row(loader *l, int64_t index, const loader_slot *slot) MUST_CHECK;

int64_t loader_rows(const loader *l);   /* rows per epoch, at least 1 */
int64_t loader_tokens(const loader *l); /* tokens of the split, BOS and EOS included */
int64_t
loader_text_bytes(const loader *l); /* bytes of text behind them: bits per byte divides by it */
int64_t loader_documents(const loader *l);
int loader_vocab_size(const loader *l);
/* The tokenizer's fingerprint, as in shard_facts; 0 for bytes. */
uint64_t loader_tokenizer(const loader *l);
/* Hash of everything that determines the rows but seed and T: a resumed run compares it. */
uint64_t loader_fingerprint(const loader *l);

#endif
