/* token_text.h - text for the tests of tokens: random of several kinds, and files. */
#ifndef FATHOM_TESTS_TOKEN_TEXT_H
#define FATHOM_TESTS_TOKEN_TEXT_H

#include "tokens/bpe_train.h"

typedef enum text_kind {
    TEXT_ASCII,   /* words, digits, blanks, newlines, apostrophes */
    TEXT_UNICODE, /* many scripts, marks, exotic blanks, kana, numbers; all well formed */
    TEXT_MIXED,   /* both, with bytes that are not UTF-8 */
    TEXT_BYTES,   /* any bytes */
    TEXT_KINDS,
} text_kind;
/* Fills out with at most n bytes and returns how many. Text number `seed` of its kind. */
size_t random_text(text_kind kind, uint64_t seed, uint8_t *out, size_t n);

/* A vocabulary trained on fixed text; frees nothing on failure because the test has failed then. */
status train_small(tokenizer **out, int vocab_size, pretokenizer kind);

/* Up to `most` bytes of a file of the benchmark data; NULL if it is absent. mem_free it. */
char *data_text(const char *relative, size_t most, size_t *n);

#endif
