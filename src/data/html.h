/* html.h - help pages in HTML to plain text.
 *
 *     buffer text = {0};
 *     TRY(html_text(bytes, n, &text));
 *
 * Keeps what a reader of the page reads: paragraphs as lines with empty lines between them, list
 * items behind "- " or their number, table rows as lines with cells joined by " | ", <pre> line by
 * line. Headings start with MARK_HEADING or MARK_SUBHEADING (clean.h). Scripts, styles,
 * navigation, page headers and footers, buttons and comments are left out.
 *
 * If the page has an element with id="DisplayArea" (LibreOffice help), only its contents count.
 * Any bytes are accepted; one pass, linear time.
 */
#ifndef FATHOM_DATA_HTML_H
#define FATHOM_DATA_HTML_H

#include "data/buffer.h"

/* Appends the text of a page to `out`. Fails only for want of memory. */
status html_text(const char *bytes, size_t n, buffer *out) MUST_CHECK;

#endif
