/* bpe_count.c - how often does each piece occur? The parallel half of training a vocabulary.
 *
 * How. Documents are cut into chunks of about 256 KiB at places that change no piece
 * (pretokenize_seam) or between documents. A wave of chunks is counted in parallel, each chunk into
 * a table of its own; then the tables of the wave are added to the global one in parallel by part:
 * a part owns the pieces of a range of hashes and nobody else touches them. No locks, and the
 * counts are sums, so the number of threads cannot matter.
 *
 * Mind. Pieces longer than PIECE_MOST bytes (long runs of one class: base64, Chinese without
 * punctuation) are cut between characters, because nothing is learnt from their exact length.
 */
#include "tokens/bpe_internal.h"

#include "base/pool.h"

#define CHUNK_BYTES ((size_t)256 << 10)
#define WAVE        32
#define ENDS        512

/* -- the table -- */

void piece_table_clear(piece_table *p) {
    mem_free(p->entries);
    mem_free(p->slots);
    mem_free(p->bytes);
    *p = (piece_table){0};
}

void piece_table_empty(piece_table *p) {
    p->n = p->n_bytes = 0;
    if (p->slots != NULL) memset(p->slots, 0, ((size_t)p->mask + 1) * sizeof *p->slots);
}

static status grow_slots(piece_table *p) {
    size_t size = p->slots == NULL ? 4096 : 2 * ((size_t)p->mask + 1);
    uint32_t *slots = mem_zalloc(size, sizeof *slots);
    if (slots == NULL) return STATUS_MEMORY;
    uint32_t mask = (uint32_t)(size - 1);
    for (size_t i = 0; i < p->n; i++) {
        uint32_t at = (uint32_t)p->entries[i].hash & mask;
        while (slots[at] != 0)
            at = (at + 1) & mask;
        slots[at] = (uint32_t)i + 1;
    }
    mem_free(p->slots);
    p->slots = slots;
    p->mask = mask;
    return STATUS_OK;
}

static status make_room(piece_table *p, uint32_t n) {
    if (p->n == p->room) {
        size_t room = p->room == 0 ? 2048 : 2 * p->room;
        piece_entry *entries = mem_resize(p->entries, room, sizeof *entries);
        if (entries == NULL) return STATUS_MEMORY;
        p->entries = entries;
        p->room = room;
    }
    if (p->bytes_room - p->n_bytes < n) {
        size_t room = 2 * p->bytes_room + 16384;
        uint8_t *bytes = mem_resize(p->bytes, room, 1);
        if (bytes == NULL) return STATUS_MEMORY;
        p->bytes = bytes;
        p->bytes_room = room;
    }
    if (p->n_bytes + n > UINT32_MAX || p->n >= UINT32_MAX / 4)
        return FAIL(F_OVERFLOW, "the text has too many different pieces", "training a vocabulary",
                    "their bytes are counted in 32 bits", "train on a sample of the text");
    return STATUS_OK;
}

status piece_table_add(piece_table *p, const uint8_t *bytes, uint32_t n, uint64_t hash,
                       int64_t count) {
    if (p->slots == NULL || 2 * p->n > p->mask) TRY(grow_slots(p));
    uint32_t at = (uint32_t)hash & p->mask;
    for (; p->slots[at] != 0; at = (at + 1) & p->mask) {
        piece_entry *e = &p->entries[p->slots[at] - 1];
        if (e->hash != hash || e->n != n || memcmp(p->bytes + e->offset, bytes, n) != 0) continue;
        e->count += count;
        return STATUS_OK;
    }
    TRY(make_room(p, n));
    memcpy(p->bytes + p->n_bytes, bytes, n);
    p->entries[p->n] = (piece_entry){hash, count, (uint32_t)p->n_bytes, n};
    p->n_bytes += n;
    p->slots[at] = (uint32_t)++p->n;
    return STATUS_OK;
}

/* -- counting -- */

struct piece_counter {
    pretokenizer kind;
    piece_table parts[PIECE_PARTS];
    piece_table chunk[WAVE];
    const text_span *documents;
    struct chunk_range {
        size_t document, from;   /* starts here */
        size_t end_document, to; /* ends behind byte `to` of this document */
    } range[WAVE];
    int n_chunks;
    status chunk_status[WAVE], part_status[PIECE_PARTS];
};

/* Where to cut a piece that is too long: the last character border up to PIECE_MOST. */
static size_t cut_long(const uint8_t *piece) {
    size_t n = PIECE_MOST;
    while (n > PIECE_MOST - 4 && (piece[n] & 0xC0) == 0x80)
        n--;
    return (piece[n] & 0xC0) == 0x80 ? PIECE_MOST : n;
}

static status count_piece(piece_table *p, const uint8_t *piece, size_t n) {
    while (n > PIECE_MOST) {
        size_t head = cut_long(piece);
        TRY(piece_table_add(p, piece, (uint32_t)head, hash64(piece, head, 0), 1));
        piece += head;
        n -= head;
    }
    return piece_table_add(p, piece, (uint32_t)n, hash64(piece, n, 0), 1);
}

static status count_text(pretokenizer kind, const uint8_t *text, size_t n, piece_table *p) {
    size_t ends[ENDS], at = 0, from = 0;
    while (at < n) {
        size_t count = pretokenize(kind, text, n, &at, ends, ENDS);
        for (size_t i = 0; i < count; from = ends[i++])
            TRY(count_piece(p, text + from, ends[i] - from));
    }
    return STATUS_OK;
}

static void count_chunk(void *context, int64_t i) {
    piece_counter *c = context;
    const struct chunk_range *r = &c->range[i];
    status s = STATUS_OK;
    size_t from = r->from;
    for (size_t d = r->document; d <= r->end_document && s == STATUS_OK; d++) {
        size_t to = d == r->end_document ? r->to : c->documents[d].n;
        s = count_text(c->kind, (const uint8_t *)c->documents[d].bytes + from, to - from,
                       &c->chunk[i]);
        from = 0;
    }
    c->chunk_status[i] = s;
}

static void add_part(void *context, int64_t part) {
    piece_counter *c = context;
    status s = STATUS_OK;
    for (int i = 0; i < c->n_chunks && s == STATUS_OK; i++) {
        const piece_table *p = &c->chunk[i];
        for (size_t k = 0; k < p->n && s == STATUS_OK; k++) {
            const piece_entry *e = &p->entries[k];
            if (piece_part(e->hash) == (unsigned)part)
                s = piece_table_add(&c->parts[part], p->bytes + e->offset, e->n, e->hash, e->count);
        }
    }
    c->part_status[part] = s;
}

/* A worker's report stays with its thread: say again what can have happened. */
static status worker_failed(status s) {
    if (s == STATUS_OK) return s;
    if (s == STATUS_MEMORY)
        return FAIL(F_NO_MEMORY, "the pieces of the text do not fit", "training a vocabulary",
                    "memory ran out while counting them", "train on a sample of the text");
    return FAIL(F_OVERFLOW, "the text has too many different pieces", "training a vocabulary",
                "their bytes are counted in 32 bits", "train on a sample of the text");
}

static status count_wave(piece_counter *c) {
    pool_for(c->n_chunks, count_chunk, c);
    for (int i = 0; i < c->n_chunks; i++)
        TRY(worker_failed(c->chunk_status[i]));
    pool_for(PIECE_PARTS, add_part, c);
    for (int i = 0; i < PIECE_PARTS; i++)
        TRY(worker_failed(c->part_status[i]));
    for (int i = 0; i < c->n_chunks; i++)
        piece_table_empty(&c->chunk[i]);
    c->n_chunks = 0;
    return STATUS_OK;
}

status piece_counter_add(piece_counter *c, const text_span *documents, size_t n) {
    c->documents = documents;
    c->n_chunks = 0;
    struct chunk_range r = {0};
    size_t bytes = 0;
    for (size_t d = 0, from = 0; d < n;) {
        const uint8_t *text = (const uint8_t *)documents[d].bytes;
        size_t left = documents[d].n - from, to = documents[d].n;
        if (left > CHUNK_BYTES - bytes) to = pretokenize_seam(text, to, from + CHUNK_BYTES - bytes);
        bytes += to - from;
        r.end_document = d;
        r.to = to;
        from = to;
        if (to == documents[d].n) d++, from = 0;
        if (bytes < CHUNK_BYTES && d < n) continue;
        c->range[c->n_chunks++] = r;
        r = (struct chunk_range){.document = d, .from = from};
        bytes = 0;
        if (c->n_chunks == WAVE || d == n) TRY(count_wave(c));
    }
    return STATUS_OK;
}

status piece_counter_new(piece_counter **out, pretokenizer kind) {
    *out = mem_zalloc(1, sizeof **out);
    if (*out == NULL) return STATUS_MEMORY;
    (*out)->kind = kind;
    return STATUS_OK;
}

void piece_counter_free(piece_counter *c) {
    if (c == NULL) return;
    for (int i = 0; i < PIECE_PARTS; i++)
        piece_table_clear(&c->parts[i]);
    for (int i = 0; i < WAVE; i++)
        piece_table_clear(&c->chunk[i]);
    mem_free(c);
}

const piece_table *piece_counter_part(const piece_counter *c, unsigned part) {
    return &c->parts[part];
}
