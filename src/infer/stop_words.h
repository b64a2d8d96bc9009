/* stop_words.h - texts at which an answer ends, found while the answer is still being made.
 *
 * What might be the beginning of a stop word is held back until it is known to be none, so that
 * nobody sees half of one. Private to infer/. */
#ifndef FATHOM_INFER_STOP_WORDS_H
#define FATHOM_INFER_STOP_WORDS_H

#include "base/status.h"

typedef struct stop_filter {
    const char *const *words;
    int n_words;
    char *held; /* [n]: `shown` bytes given out by the last call, then a possible beginning */
    size_t n, shown, room;
} stop_filter;

void stop_filter_clear(stop_filter *f);
/* Adds text; *out of *out_n bytes may be shown and lives until the next call. *found: a stop word
 * is complete; what comes before it is in *out, the rest is dropped. */
status stop_filter_add(stop_filter *f, const char *text, size_t n, const char **out, size_t *out_n,
                       bool *found) MUST_CHECK;
/* At the end: what is still held back. */
void stop_filter_end(stop_filter *f, const char **out, size_t *out_n);

#endif
