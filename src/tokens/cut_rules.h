/* cut_rules.h - cutting text by a list of expressions, as tokenizer.json files describe it, where
 * no matcher of pretokenize.h does it (tokens only).
 *
 * Every rule sees each piece of the one before as a text of its own. A rule may drop text, and
 * ByteLevel's may put blanks in front of pieces, so the result is a new text and its pieces.
 */
#ifndef FATHOM_TOKENS_CUT_RULES_H
#define FATHOM_TOKENS_CUT_RULES_H

#include "tokens/pattern.h"

#include <stddef.h>

/* What becomes of the matches (Hugging Face's SplitDelimiterBehavior). */
typedef enum cut_behavior {
    CUT_REMOVED,
    CUT_ISOLATED,
    CUT_MERGED_WITH_PREVIOUS,
    CUT_MERGED_WITH_NEXT,
    CUT_CONTIGUOUS,
    CUT_BEHAVIORS,
} cut_behavior;

typedef struct cut_rule {
    char *regex; /* owned, as is the pattern made of it; NULL: a blank in front of every piece */
    pattern_syntax syntax;
    cut_behavior behavior;
    bool invert; /* what lies between the matches is the match */
    pattern *pattern;
} cut_rule;

#define CUT_RULES_MOST 16
typedef struct cut_rules {
    cut_rule rule[CUT_RULES_MOST];
    int n;
} cut_rules;
void cut_rules_clear(cut_rules *r);
/* Adds a rule; copies the expression. */
status cut_rules_add(cut_rules *r, const char *regex, pattern_syntax syntax, cut_behavior behavior,
                     bool invert, const char *where) MUST_CHECK;
/* Makes the patterns. */
status cut_rules_compile(cut_rules *r, const char *where) MUST_CHECK;

typedef struct cut_span {
    size_t from, to;
} cut_span;

/* One thread's memory. */
typedef struct cut_work {
    pattern_work match;
    cut_span *spans, *next; /* the pieces, and those of the rule under way */
    size_t n, n_next, room, room_next;
    uint8_t *bytes;
    size_t bytes_room;
} cut_work;
void cut_work_clear(cut_work *w);
/* Cuts; *text is the text that w->spans[0 .. w->n) are parts of, until the next call. */
status cut_text(const cut_rules *r, cut_work *w, const uint8_t **text, size_t n) MUST_CHECK;

#endif
