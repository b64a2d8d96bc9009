/* pattern_translate.h - an expression of Oniguruma as one of PCRE2 (tokens only). */
#ifndef FATHOM_TOKENS_PATTERN_TRANSLATE_H
#define FATHOM_TOKENS_PATTERN_TRANSLATE_H

#include "base/status.h"

/* mem_free *out. F_TOKENIZER_UNSUPPORTED names what the two read in different ways. */
status pattern_translate(const char *regex, const char *where, char **out) MUST_CHECK;

#endif
