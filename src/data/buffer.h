/* buffer.h - bytes that grow, with one check at the end.
 *
 *     buffer out = {0};
 *     buffer_put(&out, "name", 4);       // never fails loudly
 *     buffer_byte(&out, '\n');
 *     TRY_GOTO(result, buffer_check(&out)); // STATUS_MEMORY if any append found no memory
 *     ...
 *     buffer_clear(&out);
 *
 * After a failed append the buffer keeps what it had and ignores further appends, so text
 * producers need no error path of their own. `bytes[n]` is always NUL once something was appended.
 */
#ifndef FATHOM_DATA_BUFFER_H
#define FATHOM_DATA_BUFFER_H

#include "base/memory.h"

typedef struct buffer {
    char *bytes;
    size_t n, capacity;
    bool failed;
} buffer;

void buffer_put(buffer *b, const void *bytes, size_t n);
void buffer_text(buffer *b, const char *string);
/* Room for `n` more bytes; false (and the buffer failed) when there is no memory. */
bool buffer_reserve(buffer *b, size_t n);
/* Appends a code point as UTF-8; what is not a Unicode scalar value is ignored. */
void buffer_rune(buffer *b, uint32_t rune);
static inline void buffer_byte(buffer *b, char byte) {
    if (b->n + 1 < b->capacity && !b->failed) {
        b->bytes[b->n++] = byte;
        b->bytes[b->n] = '\0';
    } else {
        buffer_put(b, &byte, 1);
    }
}
/* Shortens to `n` bytes (nothing happens if it is not longer). */
void buffer_cut(buffer *b, size_t n);
status buffer_check(const buffer *b) MUST_CHECK;
void buffer_clear(buffer *b); /* frees; accepts a zeroed one */

#endif
