/* data_fixture.h - small datasets made by hand, for the tests of data/. */
#ifndef FATHOM_TESTS_DATA_FIXTURE_H
#define FATHOM_TESTS_DATA_FIXTURE_H

#include "base/file.h"
#include "data/data.h"

#define FIXTURE_BOS 0
#define FIXTURE_EOS 1

/* A dataset folder with shards of documents of these token counts (BOS and EOS included, >= 2).
 * Ids are 2, 3, 4 ... in the order of the stream, modulo the vocabulary, so a token tells its
 * place. `cuts`: a new shard begins after so many documents. */
status fixture_dataset(const char *folder, split_id split, const int *documents, int n, int cuts,
                       int vocab_size) MUST_CHECK;
/* The id at a stream place of such a dataset. */
int32_t fixture_id(const int *documents, int n, int64_t place, int vocab_size, int64_t *first);

status fixture_write(const char *folder, const char *file, const char *text_bytes) MUST_CHECK;
/* A text of n bytes in lines of words, different for each seed. */
void fixture_text(char *out, size_t n, uint64_t seed);

#endif
