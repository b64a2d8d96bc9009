/* roff.h - source of manual pages (man and mdoc macros) to plain text.
 *
 *     buffer text = {0};
 *     roff_page page;
 *     TRY(roff_text(bytes, n, &text, &page));
 *
 * One paragraph becomes one line; paragraphs are separated by an empty line; lines between .nf and
 * .fi stay lines. Fonts, sizes, comments, page headers and hyphenation hints disappear. A heading
 * is a line that starts with MARK_HEADING or MARK_SUBHEADING (clean.h takes the marks off, and
 * drops headings under which nothing is left). Table rows become lines, cells joined by " | ".
 *
 * Any bytes are accepted; time is linear in the input plus a bounded amount of macro expansion.
 */
#ifndef FATHOM_DATA_ROFF_H
#define FATHOM_DATA_ROFF_H

#include "data/buffer.h"

typedef struct roff_page {
    bool alias; /* the page only names another one (.so): there is no text */
    bool cut;   /* its own macros expand beyond the bound; calls after that were left out */
} roff_page;

/* Appends the text of a page to `out`. Fails only for want of memory. */
status roff_text(const char *bytes, size_t n, buffer *out, roff_page *page) MUST_CHECK;

#endif
