/* normal_rules.h - the normalizer of a tokenizer.json where it is more than NFC (tokens only).
 *
 * Steps in order, each on the text that the one before made: Unicode normal forms, Replace (of a
 * literal string or of what an expression matches) and Prepend. Text may grow or vanish.
 */
#ifndef FATHOM_TOKENS_NORMAL_RULES_H
#define FATHOM_TOKENS_NORMAL_RULES_H

#include "tokens/pattern.h"

#include <stddef.h>

typedef enum normal_form { FORM_NFC, FORM_NFD, FORM_NFKC, FORM_NFKD, NORMAL_FORMS } normal_form;

/* Memory of normalising to a form, reused. */
typedef struct nfc_buffer {
    uint8_t *bytes;
    size_t room;
    int32_t *points;
    size_t points_room;
} nfc_buffer;
void nfc_clear(nfc_buffer *b);
/* nfc.c: NFC of bytes; invalid UTF-8 stays. *out is the input itself if nothing changes, else it
 * points into the buffer. */
status nfc_text(nfc_buffer *b, const uint8_t *text, size_t n, const uint8_t **out,
                size_t *out_n) MUST_CHECK;
/* The same for any form. */
status normal_form_text(nfc_buffer *b, normal_form form, const uint8_t *text, size_t n,
                        const uint8_t **out, size_t *out_n) MUST_CHECK;

typedef enum normal_kind { NORMAL_FORM, NORMAL_REPLACE, NORMAL_PREPEND } normal_kind;

typedef struct normal_step {
    normal_kind kind;
    normal_form form;
    pattern *pattern; /* owned, of Replace */
    char *content;    /* owned, of Replace and Prepend */
    size_t n_content;
} normal_step;

#define NORMAL_STEPS_MOST 16
typedef struct normal_rules {
    normal_step step[NORMAL_STEPS_MOST];
    int n;
} normal_rules;
void normal_rules_clear(normal_rules *r);
status normal_rules_add_form(normal_rules *r, normal_form form, const char *where) MUST_CHECK;
status normal_rules_add_prepend(normal_rules *r, const char *content, const char *where) MUST_CHECK;
status normal_rules_add_replace(normal_rules *r, const char *regex, pattern_syntax syntax,
                                const char *content, const char *where) MUST_CHECK;

/* One thread's memory; zeroed = empty. */
typedef struct normal_work {
    nfc_buffer form[2]; /* what a step makes never lies where its input does */
    uint8_t *bytes[2];
    size_t room[2];
    int next;
    pattern_work match;
} normal_work;
void normal_work_clear(normal_work *w);
/* Replaces the text by its normal form, which lies in `w` until the next call. */
status normal_rules_apply(const normal_rules *r, normal_work *w, const uint8_t **text,
                          size_t *n) MUST_CHECK;

#endif
