/* clean.h - text repair before extraction, and the last shape of a document after it.
 *
 *     raw bytes -> text_repair -> roff_text | html_text | fortune_text -> text_normalize (NFC)
 *               -> lines already seen dropped -> text_settle -> document
 *
 * Private to data/.
 */
#ifndef FATHOM_DATA_CLEAN_H
#define FATHOM_DATA_CLEAN_H

#include "data/buffer.h"

#include <stdint.h>

/* First byte of a line that is more than text; other control characters but '\n' do not occur. */
#define MARK_HEADING    '\x01'
#define MARK_SUBHEADING '\x02'
#define MARK_TAG        '\x03' /* of a list item; its text follows on the next line */
#define MARK_GONE       '\x04' /* alone: here was a line that was dropped */

typedef struct repair {
    int64_t dropped; /* bytes that were neither UTF-8 text nor Latin-1 */
    bool latin1;     /* read as ISO-8859-1, because none of its non-ASCII bytes were UTF-8 */
    bool binary;     /* more than 1 % of the bytes are no text; nothing was appended */
} repair;

/* Appends `bytes` as well-formed UTF-8 whose only control characters are '\n' and '\t'. Line ends
 * become '\n', overstrikes ("_\bx") the last character struck, no-break spaces spaces; soft
 * hyphens, zero-width characters and byte order marks disappear. */
status text_repair(const char *bytes, size_t n, buffer *out, repair *what) MUST_CHECK;

/* Brings text (well-formed UTF-8) into Unicode normal form C, in place. */
status text_normalize(buffer *text) MUST_CHECK;

/* Appends `text` without trailing blanks and with at most one empty line in a row, none at either
 * end; marks go, and with them headings and tags whose text was dropped. Ends in '\n' unless
 * empty. */
void text_settle(const char *bytes, size_t n, buffer *out);

/* Appends the items of a fortune file ('%' lines between them), each behind a '\0': lines that
 * belong to one paragraph are joined, blanks collapsed. */
status fortune_text(const char *bytes, size_t n, buffer *out) MUST_CHECK;

#endif
