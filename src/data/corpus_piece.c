/* corpus_piece.c - one file to text: unpack, repair, extract, normalise.
 *
 * Mind: runs in pool threads; touches nothing but its piece. Every way out sets `drop`.
 */
#include "data/corpus_internal.h"

#include "base/file.h"
#include "data/archive.h"
#include "data/html.h"
#include "data/roff.h"

#include <string.h>

/* The stored bytes: lent by the archive, or read from the file. */
static MUST_CHECK status stored_bytes(const piece *p, mapped_file *map, const uint8_t **bytes,
                                      size_t *n) {
    if (p->file == NULL) {
        *bytes = p->bytes;
        *n = p->n;
        return STATUS_OK;
    }
    TRY(mapped_open(map, p->file));
    *bytes = map->data;
    *n = map->size;
    return STATUS_OK;
}

/* Unpacked, repaired bytes in `clean`; false in *text if they are none. */
static MUST_CHECK status read_clean(piece *p, buffer *raw, buffer *clean, bool *text) {
    mapped_file map = {0};
    const uint8_t *bytes;
    size_t n;
    repair what = {0};
    status result = STATUS_OK;
    *text = false;
    TRY_GOTO(result, stored_bytes(p, &map, &bytes, &n));
    if (compression_of(bytes, n) != COMPRESSION_NONE) {
        TRY_GOTO(result, stream_unpack(bytes, n, p->path, CORPUS_FILE_MAX, raw));
        bytes = (const uint8_t *)raw->bytes;
        n = raw->n;
    }
    p->raw_bytes = (int64_t)n;
    if (n > CORPUS_FILE_MAX) {
        p->drop = DROP_TOO_LONG;
        goto done;
    }
    TRY_GOTO(result, text_repair((const char *)bytes, n, clean, &what));
    p->bad_bytes = what.dropped;
    p->drop = what.binary ? DROP_BINARY : DROP_REASONS;
    *text = !what.binary;
done:
    mapped_close(&map);
    return result;
}

static void plain_text(const buffer *in, buffer *out) {
    for (size_t i = 0; i < in->n; i++) {
        if (in->bytes[i] == '\t')
            buffer_text(out, "    ");
        else
            buffer_byte(out, in->bytes[i]);
    }
}

static MUST_CHECK status extract(piece *p, const buffer *clean) {
    const char *bytes = clean->n > 0 ? clean->bytes : "";
    roff_page page = {0};
    switch (p->kind) {
    case PIECE_ROFF:
        TRY(roff_text(bytes, clean->n, &p->text, &page));
        if (page.alias) p->drop = DROP_ALIAS;
        if (page.cut) p->drop = DROP_TOO_LONG;
        break;
    case PIECE_HTML: TRY(html_text(bytes, clean->n, &p->text)); break;
    case PIECE_FORTUNES: TRY(fortune_text(bytes, clean->n, &p->text)); break;
    default: plain_text(clean, &p->text); break;
    }
    if (p->drop != DROP_REASONS) {
        buffer_cut(&p->text, 0);
        return STATUS_OK;
    }
    return text_normalize(&p->text);
}

status piece_clean(piece *p) {
    buffer raw = {0}, clean = {0};
    bool text;
    if (p->kind == PIECE_OTHER || p->kind == PIECE_LINK) {
        p->drop = p->kind == PIECE_LINK ? DROP_ALIAS : DROP_KIND;
        return STATUS_OK;
    }
    if (p->n > CORPUS_FILE_MAX) {
        p->drop = DROP_TOO_LONG;
        return STATUS_OK;
    }
    status result = read_clean(p, &raw, &clean, &text);
    if (result == STATUS_OK && text) result = extract(p, &clean);
    buffer_clear(&raw);
    buffer_clear(&clean);
    return result;
}

void piece_forget(piece *p) {
    buffer_clear(&p->text);
}
