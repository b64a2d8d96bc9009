/* bpe_train.h - making a vocabulary from text by byte-pair encoding.
 *
 *     bpe_trainer *b;
 *     TRY(bpe_trainer_new(&b, &(bpe_options){.vocab_size = 8192,
 *                                            .pretokenizer = PRETOKENIZER_DEEPSEEK_V3,
 *                                            .added = bpe_default_added,
 *                                            .n_added = BPE_DEFAULT_ADDED,
 *                                            .n_special = BPE_DEFAULT_SPECIAL}));
 *     TRY(bpe_trainer_add(b, documents, n));          // any number of times
 *     TRY(bpe_trainer_finish(b, &t));                 // a tokenizer; ids below
 *     bpe_trainer_free(b);
 *
 * Ids: 0-255 are the bytes, then the added tokens, then one token per merge in the order learnt.
 * Merging takes the pair with the largest count, of equals the smaller pair of ids, until the size
 * is reached or no pair is left that occurs twice. The result depends on the documents as a
 * multiset only: not on their order, nor on the number of threads (pool.h is used for counting).
 *
 * Memory: the unique pieces and about 40 bytes per byte of them; text is not kept.
 */
#ifndef FATHOM_BPE_TRAIN_H
#define FATHOM_BPE_TRAIN_H

#include "tokens/pretokenize.h"
#include "tokens/tokens.h"

typedef struct bpe_options {
    int vocab_size; /* at least 256 + n_added; the result may be smaller */
    pretokenizer pretokenizer;
    const char *const *added; /* contents of added tokens; read only during _new */
    int n_added;
    int n_special; /* so many of them, from the first, are special: silent in decoded text */
} bpe_options;

/* The DeepSeek names of BOS, EOS, padding, turns, thinking and tool calls, so that templates for
 * DeepSeek models fit our own. */
extern const char *const bpe_default_added[];
#define BPE_DEFAULT_ADDED   16
#define BPE_DEFAULT_SPECIAL 5

typedef struct text_span {
    const char *bytes;
    size_t n;
} text_span;

typedef struct bpe_trainer bpe_trainer;
status bpe_trainer_new(bpe_trainer **out, const bpe_options *options) MUST_CHECK;
void bpe_trainer_free(bpe_trainer *b); /* accepts NULL */
/* Counts the pieces of these documents; the text is free again after the call. A piece never
 * crosses documents; pieces beyond 128 bytes are cut between characters. */
status bpe_trainer_add(bpe_trainer *b, const text_span *documents, size_t n) MUST_CHECK;
int64_t bpe_trainer_bytes(const bpe_trainer *b);  /* text seen */
int64_t bpe_trainer_pieces(const bpe_trainer *b); /* unique pieces so far */
/* Learns the merges. F_INTERRUPTED after Ctrl-C. The trainer can only be freed afterwards. */
status bpe_trainer_finish(bpe_trainer *b, tokenizer **out) MUST_CHECK;

#endif
