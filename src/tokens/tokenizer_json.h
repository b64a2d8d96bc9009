/* tokenizer_json.h - what the readers of the parts of a tokenizer.json share (tokens only). */
#ifndef FATHOM_TOKENS_TOKENIZER_JSON_H
#define FATHOM_TOKENS_TOKENIZER_JSON_H

#include "base/json.h"
#include "tokens/tokens_internal.h"

/* F_TOKENIZER_UNSUPPORTED with the usual advice. */
status tokenizer_unsupported(const char *what, const char *where, const char *why) MUST_CHECK;
/* object[key] as a bool; `standard` if it is absent or null. */
status tokenizer_read_bool(const json_t *object, const char *key, bool standard, const char *where,
                           bool *out) MUST_CHECK;
/* The "type" of an object that has one, "" for null or absent. */
status tokenizer_read_type(const json_t *object, const char *where, const char **type) MUST_CHECK;

/* tokenizer_normal.c: the normalizer of a byte-level vocabulary. */
status tokenizer_read_normalizer(tokenizer *t, const json_t *object, const char *where) MUST_CHECK;
/* Keeps the JSON of a normalizer that is more than NFC. */
status tokenizer_keep_normalizer(tokenizer *t, const json_t *object) MUST_CHECK;
/* Is it the "type" of a Unicode normal form? */
bool tokenizer_form_named(const char *type, normal_form *form);

/* tokenizer_rules.c: pre_tokenizer of a byte-level vocabulary. */
status tokenizer_read_cuts(tokenizer *t, const json_t *object, const char *where) MUST_CHECK;
/* The pre_tokenizer that cuts by these expressions in turn (NULL behind the last), and then maps
 * bytes; NULL without memory. */
json_t *tokenizer_cuts_json(const char *const *regex);
/* Cuts by them. */
status tokenizer_cut_by(tokenizer *t, const char *const *regex, const char *where) MUST_CHECK;

/* tokenizer_blanks.c: everything around the model of a vocabulary that marks blanks, and back. */
status tokenizer_read_blanks(tokenizer *t, const json_t *root, const char *where) MUST_CHECK;
/* Our own key: merges that share a rank. */
status tokenizer_read_merge_ranks(tokenizer *t, const json_t *model, const char *where) MUST_CHECK;
json_t *tokenizer_blank_normalizer(const tokenizer *t);
json_t *tokenizer_blank_cuts(const tokenizer *t);
json_t *tokenizer_blank_decoder(const tokenizer *t);

#endif
