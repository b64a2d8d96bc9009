/* nfc.c - Unicode normal forms of bytes that are mostly text: C, mostly normal already, and others.
 *
 * How. Characters that NFC leaves alone whatever stands before them ("settled", unicode.h) are
 * copied. From the last settled character before an unsettled one up to the next settled one is a
 * span that cannot interact with anything around it; utf8proc normalises it. Bytes that are not
 * UTF-8 end a span and are kept. Text without unsettled characters is not copied at all.
 *
 * The other forms are rarer: there a span is every run of characters outside ASCII, with the ASCII
 * character before it, which a mark may join.
 */
#include "base/checked.h"
#include "tokens/tokens_internal.h"
#include "tokens/unicode.h"

#include <utf8proc.h>

void nfc_clear(nfc_buffer *b) {
    mem_free(b->bytes);
    mem_free(b->points);
    *b = (nfc_buffer){0};
}

/* Is there an unsettled character at p? Its length in *length (1 for an invalid byte). */
static bool unsettled_at(const uint8_t *p, size_t n, size_t *length) {
    *length = 1;
    if (p[0] < 0xCC) return false; /* ASCII, U+0080-02FF, stray continuation bytes */
    size_t bytes = utf8_sequence(p, n);
    if (bytes == 0) return false;
    *length = bytes;
    return unicode_nfc_unsettled(utf8_code_point(p, bytes));
}

/* Offset of the first unsettled character from `at` on, n if none; *settled is where the character
 * before it starts, or the offset itself if that is not a character. */
static size_t find_unsettled(const uint8_t *text, size_t n, size_t at, size_t *settled) {
    size_t before = at, length;
    for (size_t i = at; i < n; i += length) {
        if (text[i] < 0xCC) {
            size_t bytes = utf8_sequence(text + i, n - i);
            length = bytes == 0 ? 1 : bytes;
            before = bytes == 0 ? i + 1 : i;
            continue;
        }
        if (unsettled_at(text + i, n - i, &length)) {
            *settled = before;
            return i;
        }
        before = utf8_sequence(text + i, n - i) > 0 ? i : i + length;
    }
    *settled = n;
    return n;
}

/* End of the span whose first unsettled character is at `at`. */
static size_t span_end(const uint8_t *text, size_t n, size_t at) {
    size_t length;
    while (at < n && unsettled_at(text + at, n - at, &length))
        at += length;
    return at;
}

static status reserve_points(nfc_buffer *b, size_t n) {
    if (n <= b->points_room) return STATUS_OK;
    int32_t *points = mem_resize(b->points, n, sizeof *points);
    if (points == NULL) return STATUS_MEMORY;
    b->points = points;
    b->points_room = n;
    return STATUS_OK;
}

static status reserve_bytes(nfc_buffer *b, size_t n) {
    if (n <= b->room) return STATUS_OK;
    size_t room = n + n / 2;
    uint8_t *bytes = mem_resize(b->bytes, room, 1);
    if (bytes == NULL) return STATUS_MEMORY;
    b->bytes = bytes;
    b->room = room;
    return STATUS_OK;
}

static int combining_class(int32_t point) {
    return utf8proc_get_property(point)->combining_class;
}

/* Stable sort of a run of non-starters by combining class: counting, because a text may hold any
 * number of marks in a row. `spare` has room for the run. */
static void order_run(int32_t *run, int32_t *spare, size_t n) {
    size_t start[257] = {0};
    for (size_t i = 0; i < n; i++)
        start[combining_class(run[i]) + 1]++;
    for (int c = 1; c < 257; c++)
        start[c] += start[c - 1];
    for (size_t i = 0; i < n; i++)
        spare[start[combining_class(run[i])]++] = run[i];
    memcpy(run, spare, n * sizeof *run);
}

/* Canonical order (UAX #15): each run of characters between starters by combining class. */
static void order_marks(int32_t *points, int32_t *spare, size_t n) {
    for (size_t i = 0; i < n; i++) {
        size_t end = i;
        while (end < n && combining_class(points[end]) > 0)
            end++;
        if (end - i > 1) order_run(points + i, spare, end - i);
        if (end > i) i = end;
    }
}

static utf8proc_option_t form_options(normal_form form) {
    bool composed = form == FORM_NFC || form == FORM_NFKC;
    bool compatible = form == FORM_NFKC || form == FORM_NFKD;
    return UTF8PROC_STABLE | (composed ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
           (compatible ? UTF8PROC_COMPAT : 0);
}

/* Decomposition of a span into b->points. */
static status decompose_span(nfc_buffer *b, normal_form form, const uint8_t *span, size_t n,
                             size_t *count) {
    const utf8proc_option_t options = form_options(form);
    size_t most; /* points for a byte: 4, or 6 (18 of U+FDFA's 3 bytes); twice, to sort */
    if (!size_mul(&most, n, options & UTF8PROC_COMPAT ? 12 : 8) || most > INT32_MAX)
        return FAIL(F_OVERFLOW, text("%zu bytes of marks and composed characters in a row", n),
                    "Unicode normalisation", "one span must stay below 170 MiB",
                    "is this really text?");
    TRY(reserve_points(b, most));
    size_t used = 0;
    int last_class = 0;
    for (size_t i = 0; i < n;) {
        size_t length = utf8_sequence(span + i, n - i);
        utf8proc_int32_t c = (utf8proc_int32_t)utf8_code_point(span + i, length);
        size_t room = most / 2 - used;
        utf8proc_ssize_t k = utf8proc_decompose_char(c, b->points + used, (utf8proc_ssize_t)room,
                                                     options, &last_class);
        if (k < 0 || (size_t)k > room)
            return FAIL(F_INTERNAL, text("U+%04X could not be decomposed", (unsigned)c),
                        "Unicode normalisation", "it became more characters than Unicode promises",
                        "report it with the text");
        used += (size_t)k;
        i += length;
    }
    *count = used;
    return STATUS_OK;
}

/* Appends the normal form of one span of well-formed text at *used. */
static status append_span(nfc_buffer *b, normal_form form, size_t *used, const uint8_t *span,
                          size_t n) {
    size_t count = 0;
    TRY(decompose_span(b, form, span, n, &count));
    order_marks(b->points, b->points + count, count);
    utf8proc_ssize_t composed = (utf8proc_ssize_t)count;
    if (form == FORM_NFC || form == FORM_NFKC)
        composed =
            utf8proc_normalize_utf32(b->points, composed, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (composed < 0)
        return FAIL(F_INTERNAL, "text could not be composed", "Unicode normalisation",
                    utf8proc_errmsg(composed), "report it with the text");
    TRY(reserve_bytes(b, *used + 4 * (size_t)composed));
    for (utf8proc_ssize_t i = 0; i < composed; i++)
        *used += (size_t)utf8proc_encode_char(b->points[i], b->bytes + *used);
    return STATUS_OK;
}

static status append_copy(nfc_buffer *b, size_t *used, const uint8_t *bytes, size_t n) {
    TRY(reserve_bytes(b, *used + n));
    if (n > 0) memcpy(b->bytes + *used, bytes, n);
    *used += n;
    return STATUS_OK;
}

status nfc_text(nfc_buffer *b, const uint8_t *text, size_t n, const uint8_t **out, size_t *out_n) {
    *out = text;
    *out_n = n;
    size_t settled, at = find_unsettled(text, n, 0, &settled), used = 0, copied = 0;
    if (at == n) return STATUS_OK;
    TRY(reserve_bytes(b, n + 16));
    while (at < n) {
        size_t end = span_end(text, n, at);
        TRY(append_copy(b, &used, text + copied, settled - copied));
        TRY(append_span(b, FORM_NFC, &used, text + settled, end - settled));
        copied = end;
        at = find_unsettled(text, n, end, &settled);
    }
    TRY(append_copy(b, &used, text + copied, n - copied));
    *out = b->bytes;
    *out_n = used;
    return STATUS_OK;
}

status normal_form_text(nfc_buffer *b, normal_form form, const uint8_t *text, size_t n,
                        const uint8_t **out, size_t *out_n) {
    if (form == FORM_NFC) return nfc_text(b, text, n, out, out_n);
    size_t used = 0, copied = 0, at = 0;
    *out = text;
    *out_n = n;
    while (at < n) {
        size_t length = text[at] < 0x80 ? 0 : utf8_sequence(text + at, n - at), end = at;
        if (length == 0) {
            at++;
            continue;
        }
        for (; length > 0;
             length = end < n && text[end] >= 0x80 ? utf8_sequence(text + end, n - end) : 0)
            end += length;
        size_t start = at > copied && text[at - 1] < 0x80 ? at - 1 : at;
        TRY(append_copy(b, &used, text + copied, start - copied));
        TRY(append_span(b, form, &used, text + start, end - start));
        copied = at = end;
    }
    if (copied == 0) return STATUS_OK; /* nothing but ASCII and broken bytes */
    TRY(append_copy(b, &used, text + copied, n - copied));
    *out = b->bytes;
    *out_n = used;
    return STATUS_OK;
}
