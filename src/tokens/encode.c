/* encode.c - text to ids.
 *
 * How. Added tokens are cut out first (only with SPECIAL_PARSE): those with normalized = false in
 * the text as it is, the others after the normaliser, each time the leftmost and of those the
 * longest. Such a match is passed over if it must be a word of its own and is not; white space
 * beside it vanishes if it takes it along. What lies between is cut into pieces, and a piece becomes ids by the first of
 *   1. the encoder's cache: direct mapped, pieces up to 15 bytes with up to 4 ids, 32 bytes an
 *      entry, so that a hit costs one or two cache lines and no call;
 *   2. the vocabulary, if the piece is a whole token (tokenizer.c);
 *   3. covering it with tokens or merging (encode_piece.c).
 * All three give the same ids, so results do not depend on what was encoded before.
 */
#include "tokens/tokens_internal.h"
#include "tokens/unicode.h"

#define CACHE_BITS  15
#define CACHE_BYTES 15 /* longest piece in the cache */
#define CACHE_IDS   4
#define ENDS        512

typedef struct cache_entry {
    uint64_t low, high;     /* the piece, zero padded; its length is the last byte */
    int32_t ids[CACHE_IDS]; /* -1 behind the last */
} cache_entry;

struct encoder {
    const tokenizer *t;
    cache_entry *cache; /* [1 << CACHE_BITS] */
    merge_scratch scratch;
    normal_work normal;
    cut_work cuts;
    uint8_t *marked; /* text of a SentencePiece vocabulary: blanks in front, marks become blanks */
    size_t marked_room;
};

void token_list_clear(token_list *list) {
    mem_free(list->ids);
    *list = (token_list){0};
}

status encoder_new(encoder **out, const tokenizer *t) {
    *out = NULL;
    encoder *e = mem_zalloc(1, sizeof *e);
    if (e == NULL) return STATUS_MEMORY;
    e->t = t;
    e->cache = mem_zalloc((size_t)1 << CACHE_BITS, sizeof *e->cache);
    if (e->cache == NULL) {
        mem_free(e);
        return STATUS_MEMORY;
    }
    *out = e;
    return STATUS_OK;
}

void encoder_free(encoder *e) {
    if (e == NULL) return;
    merge_scratch_clear(&e->scratch);
    normal_work_clear(&e->normal);
    cut_work_clear(&e->cuts);
    mem_free(e->marked);
    mem_free(e->cache);
    mem_free(e);
}

static status list_reserve(token_list *list, size_t more) {
    if (list->room - list->n >= more) return STATUS_OK;
    size_t room = list->room + list->room / 2 + more + 64;
    int32_t *ids = mem_resize(list->ids, room, sizeof *ids);
    if (ids == NULL) return STATUS_MEMORY;
    list->ids = ids;
    list->room = room;
    return STATUS_OK;
}

/* -- pieces -- */

/* The first n <= 8 bytes at p, zero padded; `left` bytes may be read. */
static inline uint64_t load_padded(const uint8_t *p, size_t n, size_t left) {
    uint64_t word = 0;
    if (left >= 8) {
        memcpy(&word, p, 8);
        return n >= 8 ? word : word & (((uint64_t)1 << 8 * n) - 1);
    }
    for (size_t i = 0; i < n; i++)
        word |= (uint64_t)p[i] << 8 * i;
    return word;
}

static inline cache_entry *cache_slot(const encoder *e, uint64_t low, uint64_t high) {
    uint64_t h = (low ^ high * 0xC2B2AE3D27D4EB4Fu) * 0x9E3779B97F4A7C15u;
    h ^= h >> 29;
    return &e->cache[h * 0xBF58476D1CE4E5B9u >> (64 - CACHE_BITS)];
}

/* Ids of a piece that is not in the cache; `ids` has room for n. */
static status merge_or_find(encoder *e, const uint8_t *piece, size_t n, int32_t *ids,
                            size_t *count) {
    int32_t id = tokenizer_find(e->t, piece, n);
    if (id < 0 || !(e->t->flags[id] & TOKEN_WHOLE))
        return encode_piece(e->t, piece, n, &e->scratch, ids, count);
    ids[0] = id;
    *count = 1;
    return STATUS_OK;
}

/* Few long pieces are tokens, and covering finds those that are stable ones. */
static status add_long_piece(encoder *e, const uint8_t *piece, size_t n, token_list *out) {
    size_t count;
    TRY(list_reserve(out, n));
    bool ask = e->t->ignore_merges || e->t->cover.nodes == NULL;
    TRY(ask ? merge_or_find(e, piece, n, out->ids + out->n, &count)
            : encode_piece(e->t, piece, n, &e->scratch, out->ids + out->n, &count));
    out->n += count;
    return STATUS_OK;
}

/* A piece of at most CACHE_BYTES; `left` bytes from its start may be read. */
static inline status add_short_piece(encoder *e, const uint8_t *piece, size_t n, size_t left,
                                     token_list *out) {
    if (out->room - out->n < CACHE_BYTES + 1) TRY(list_reserve(out, CACHE_BYTES + 1));
    uint64_t low = load_padded(piece, n, left);
    uint64_t high = (n > 8 ? load_padded(piece + 8, n - 8, left - 8) : 0) | (uint64_t)n << 56;
    cache_entry *entry = cache_slot(e, low, high);
    int32_t *ids = out->ids + out->n;
    if (entry->low == low && entry->high == high) {
        memcpy(ids, entry->ids, sizeof entry->ids);
        out->n += 1 + (size_t)(ids[1] >= 0) + (ids[2] >= 0) + (ids[3] >= 0);
        return STATUS_OK;
    }
    size_t count;
    TRY(merge_or_find(e, piece, n, ids, &count));
    out->n += count;
    if (count > CACHE_IDS) return STATUS_OK;
    *entry = (cache_entry){low, high, {-1, -1, -1, -1}};
    memcpy(entry->ids, ids, count * sizeof *ids);
    return STATUS_OK;
}

/* A piece with bytes that have no token: without them. As the references do, so neighbours merge. */
static status add_without_lacking(encoder *e, const uint8_t *piece, size_t n, token_list *out) {
    uint8_t *known = mem_alloc(n);
    if (known == NULL) return STATUS_MEMORY;
    size_t used = 0;
    for (size_t i = 0; i < n; i++)
        if (e->t->byte_id[piece[i]] >= 0) known[used++] = piece[i];
    status s = STATUS_OK;
    if (used > 0)
        s = used <= CACHE_BYTES ? add_short_piece(e, known, used, used, out)
                                : add_long_piece(e, known, used, out);
    mem_free(known);
    return s;
}

static bool lacks_one(const tokenizer *t, const uint8_t *piece, size_t n) {
    for (size_t i = 0; t->lacks_bytes && i < n; i++)
        if (t->byte_id[piece[i]] < 0) return true;
    return false;
}

/* A piece of a text that goes on for `left` bytes from its start. */
static inline status add_piece(encoder *e, const uint8_t *piece, size_t n, size_t left,
                               token_list *out) {
    if (lacks_one(e->t, piece, n)) return add_without_lacking(e, piece, n, out);
    return n <= CACHE_BYTES ? add_short_piece(e, piece, n, left, out)
                            : add_long_piece(e, piece, n, out);
}

static status add_by_rules(encoder *e, const uint8_t *text, size_t n, token_list *out) {
    if (n > 0) TRY(cut_text(&e->t->cuts, &e->cuts, &text, n));
    for (size_t i = 0; n > 0 && i < e->cuts.n; i++) {
        size_t from = e->cuts.spans[i].from, bytes = e->cuts.spans[i].to - from;
        TRY(add_piece(e, text + from, bytes, bytes, out));
    }
    return STATUS_OK;
}

/* Text without added tokens, in normal form. */
static status add_plain(encoder *e, const uint8_t *text, size_t n, token_list *out) {
    if (e->t->pretokenizer == PRETOKENIZER_RULES) return add_by_rules(e, text, n, out);
    size_t ends[ENDS], at = 0, from = 0;
    while (at < n) {
        size_t count = pretokenize(e->t->pretokenizer, text, n, &at, ends, ENDS);
        for (size_t i = 0; i < count; from = ends[i++]) {
            TRY(add_piece(e, text + from, ends[i] - from, n - from, out));
        }
    }
    return STATUS_OK;
}

/* -- added tokens -- */

/* Start of the character that ends before `end`; a byte that ends none stands for itself. */
static size_t character_before(const uint8_t *text, size_t end) {
    for (size_t k = 1; k <= 4 && k <= end; k++)
        if (utf8_sequence(text + end - k, k) == k) return end - k;
    return end - 1;
}

static bool is_blank(const uint8_t *text, size_t from, size_t to) {
    size_t length;
    return class_at(unicode_classes(), text + from, to - from, &length) & CLASS_SPACE;
}

static status is_word(encoder *e, const uint8_t *text, size_t from, size_t to, bool *word) {
    size_t start, end;
    TRY(pattern_begin(&e->normal.match, to - from));
    TRY(pattern_find(e->t->word, &e->normal.match, text + from, to - from, 0, &start, &end));
    *word = start == 0;
    return STATUS_OK;
}

/* Does a word character stand before or behind text[start .. stop)? */
static status in_a_word(encoder *e, const uint8_t *text, size_t n, size_t start, size_t stop,
                        bool *inside) {
    *inside = false;
    if (start > 0) TRY(is_word(e, text, character_before(text, start), start, inside));
    if (*inside || stop == n) return STATUS_OK;
    size_t length = utf8_sequence(text + stop, n - stop);
    return is_word(e, text, stop, stop + (length > 0 ? length : 1), inside);
}

/* An added token found in text: what it stands for is text[start .. stop). */
typedef struct added_place {
    size_t start, stop;
    int32_t id;
} added_place;

/* The place of an entry found at `at`; text before `done` is spoken for. *taken is false if it must
 * be passed over. */
static status place_added(encoder *e, const added_entry *m, const uint8_t *text, size_t n,
                          size_t at, size_t done, added_place *p, bool *taken) {
    bool inside = false;
    size_t length;
    *p = (added_place){at, at + m->bytes, m->id};
    if (m->token->single_word) TRY(in_a_word(e, text, n, p->start, p->stop, &inside));
    *taken = !inside;
    while (m->token->lstrip && p->start > done) {
        size_t before = character_before(text, p->start);
        if (before < done || !is_blank(text, before, p->start)) break;
        p->start = before;
    }
    for (; m->token->rstrip && p->stop < n; p->stop += length)
        if (!(class_at(unicode_classes(), text + p->stop, n - p->stop, &length) & CLASS_SPACE))
            break;
    return STATUS_OK;
}

/* The next added token of the index from *at on, which moves behind what was looked at; p->start =
 * n if there is none. */
static status next_added(encoder *e, const added_index *index, const uint8_t *text, size_t n,
                         size_t *at, size_t done, added_place *p) {
    bool taken = false;
    while (index->n > 0 && *at < n && !taken) {
        const added_entry *m = index->first[text[*at]] ? added_match(index, text, n, *at) : NULL;
        if (m != NULL) TRY(place_added(e, m, text, n, *at, done, p, &taken));
        *at += m != NULL ? m->bytes : 1;
    }
    if (!taken) *p = (added_place){n, n, -1};
    return STATUS_OK;
}

static status add_id(int32_t id, token_list *out) {
    TRY(list_reserve(out, 1));
    out->ids[out->n++] = id;
    return STATUS_OK;
}

static bool wants_blank(const tokenizer *t, const uint8_t *text, size_t n, bool first) {
    bool starts = text[0] == ' ' || (n >= 3 && memcmp(text, BLANK_MARK, 3) == 0);
    switch (t->blank_prefix) {
    case BLANK_ALWAYS: return true;
    case BLANK_MISSING: return !starts;
    case BLANK_MISSING_ONCE: return first && !starts;
    default: return false;
    }
}

/* A mark in the text cannot be told from a blank: here both are blanks. */
static status mark_text(encoder *e, const uint8_t **text, size_t *n, bool first) {
    bool blank = wants_blank(e->t, *text, *n, first);
    const uint8_t *mark = memmem(*text, *n, BLANK_MARK, 3);
    if (!blank && mark == NULL) return STATUS_OK;
    if (e->marked_room < *n + 1) {
        uint8_t *more = mem_resize(e->marked, *n + *n / 2 + 1, 1);
        if (more == NULL) return STATUS_MEMORY;
        e->marked = more;
        e->marked_room = *n + *n / 2 + 1;
    }
    size_t used = 0, at = 0;
    if (blank) e->marked[used++] = ' ';
    for (; mark != NULL; mark = memmem(*text + at, *n - at, BLANK_MARK, 3)) {
        size_t plain = (size_t)(mark - *text) - at;
        memcpy(e->marked + used, *text + at, plain);
        used += plain;
        e->marked[used++] = ' ';
        at += plain + 3;
    }
    memcpy(e->marked + used, *text + at, *n - at);
    *n = used + *n - at;
    *text = e->marked;
    return STATUS_OK;
}

/* Text without the added tokens that are matched before normalising; `first`: nothing stands before
 * it. */
static status add_unnormalised(encoder *e, const uint8_t *text, size_t n, bool first,
                               special_mode mode, token_list *out) {
    if (n == 0) return STATUS_OK;
    TRY(tokenizer_normalise(e->t, &e->normal, &text, &n));
    if (e->t->spelling == SPELLING_MARKED && n > 0) TRY(mark_text(e, &text, &n, first));
    if (mode == SPECIAL_AS_TEXT) return add_plain(e, text, n, out);
    for (size_t at = 0, done = 0; done < n;) {
        added_place p;
        TRY(next_added(e, &e->t->normal, text, n, &at, done, &p));
        if (p.start > done) TRY(add_plain(e, text + done, p.start - done, out));
        if (p.id >= 0) TRY(add_id(p.id, out));
        done = p.stop;
    }
    return STATUS_OK;
}

static status add_text(encoder *e, const uint8_t *text, size_t n, special_mode mode,
                       token_list *out) {
    if (mode == SPECIAL_AS_TEXT) return add_unnormalised(e, text, n, true, mode, out);
    for (size_t at = 0, done = 0; done < n;) {
        added_place p;
        TRY(next_added(e, &e->t->raw, text, n, &at, done, &p));
        if (p.start > done)
            TRY(add_unnormalised(e, text + done, p.start - done, done == 0, mode, out));
        if (p.id >= 0) TRY(add_id(p.id, out));
        done = p.stop;
    }
    return STATUS_OK;
}

status encoder_add(encoder *e, const void *bytes, size_t n, special_mode mode, token_list *out) {
    size_t before = out->n;
    status s = add_text(e, bytes, n, mode, out);
    if (s != STATUS_OK) out->n = before;
    return s;
}

/* The added token at text[at], if all of it is our own. */
static const added_entry *own_added(const encoder *e, const uint8_t *text, const uint8_t *outside,
                                    size_t n, size_t at) {
    const added_index *both[] = {&e->t->raw, &e->t->normal};
    for (int i = 0; i < 2; i++) {
        if (both[i]->n == 0 || !both[i]->first[text[at]]) continue;
        const added_entry *m = added_match(both[i], text, n, at);
        if (m != NULL && memchr(outside + at, 1, m->bytes) == NULL) return m;
    }
    return NULL;
}

static status add_marked(encoder *e, const uint8_t *text, const uint8_t *outside, size_t n,
                         token_list *out) {
    size_t done = 0;
    for (size_t at = 0; at < n;) {
        added_place p;
        bool taken;
        const added_entry *m = outside[at] ? NULL : own_added(e, text, outside, n, at);
        if (m != NULL) TRY(place_added(e, m, text, n, at, done, &p, &taken));
        at += m != NULL ? m->bytes : 1;
        if (m == NULL || !taken) continue;
        TRY(add_unnormalised(e, text + done, p.start - done, done == 0, SPECIAL_AS_TEXT, out));
        TRY(add_id(p.id, out));
        at = done = p.stop;
    }
    if (done >= n) return STATUS_OK;
    return add_unnormalised(e, text + done, n - done, done == 0, SPECIAL_AS_TEXT, out);
}

status encoder_add_marked(encoder *e, const void *bytes, const uint8_t *outside, size_t n,
                          token_list *out) {
    size_t before = out->n;
    status s = add_marked(e, bytes, outside, n, out);
    if (s != STATUS_OK) out->n = before;
    return s;
}

status tokenizer_encode(const tokenizer *t, const void *bytes, size_t n, special_mode mode,
                        token_list *out) {
    encoder *e;
    TRY(encoder_new(&e, t));
    status s = encoder_add(e, bytes, n, mode, out);
    encoder_free(e);
    return s;
}
