/* pattern.h - regular expressions of tokenizer files, through PCRE2 (tokens only).
 *
 * A `pattern` never changes once it is made, so threads share it; a `pattern_work` is one thread's.
 * Bytes that are not UTF-8 match nothing. No pattern can hang: a single match may take so many
 * steps, and all matches on one text so much time.
 */
#ifndef FATHOM_TOKENS_PATTERN_H
#define FATHOM_TOKENS_PATTERN_H

#include "base/status.h"

#include <stdint.h>

typedef struct pattern pattern;

typedef enum pattern_syntax {
    PATTERN_ONIGURUMA, /* as in Hugging Face files; what PCRE2 would read otherwise is translated */
    PATTERN_PCRE2,
    PATTERN_LITERAL,
} pattern_syntax;

/* F_TOKENIZER_UNSUPPORTED, with the part by name, for what cannot be translated exactly. */
status pattern_new(pattern **out, const char *regex, pattern_syntax syntax,
                   const char *where) MUST_CHECK;
void pattern_free(pattern *p); /* accepts NULL */

typedef struct pattern_work {
    void *matches, *limits; /* of PCRE2 */
    double deadline;        /* of the present text, on clock_seconds */
    uint32_t asked;
} pattern_work;
void pattern_work_clear(pattern_work *w);
/* Before a text of n bytes. */
status pattern_begin(pattern_work *w, size_t n) MUST_CHECK;
/* The leftmost match from `at` on: *from = n if there is none. F_PATTERN_LIMIT if it takes too long. */
status pattern_find(const pattern *p, pattern_work *w, const uint8_t *text, size_t n, size_t at,
                    size_t *from, size_t *to) MUST_CHECK;

/* Are two expressions the same but for spelling newlines as such or as escapes? */
bool pattern_same(const char *a, const char *b);

#endif
