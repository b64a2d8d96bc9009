/* bench_tokenizer.h - rates of encoding, of training a vocabulary, and hostile text. */
#ifndef FATHOM_BENCH_TOKENIZER_H
#define FATHOM_BENCH_TOKENIZER_H

#include "kernels/kernels_bench.h"

/* `tokenizer`: a file or folder, "" = the vocabulary of 32,768 tokens that the run trains. `input`:
 * files with commas between them, "" = text that the program makes. Rows "tokenizer/...": MB/s of
 * encoding each text in one thread, with a fresh and a warm encoder; ms for a megabyte of each
 * hostile text; seconds and MB/s of training on all the text. About 10 s. */
status bench_tokenizer(const char *tokenizer, const char *input, bench_table *t) MUST_CHECK;

#endif
