/* bpe_train.c - learning the merges of a byte-level vocabulary (Sennrich et al. 2016).
 *
 * How. All unique pieces lie in one array of symbols, one position per byte, with a fence between
 * pieces. A symbol of k bytes sits at its first position, and its length is noted at its first and
 * last, so both neighbours are found without lists. A pair of symbols has its count and the
 * positions where it occurs.
 *
 * Two facts make it fast. (1) Merging creates only pairs with the new symbol in them, so a pair's
 * list of positions is complete when the younger of its two symbols is born, and is written once;
 * later it only loses members, which are recognised when the list is walked. (2) So counts only
 * fall: a heap by (count, pair) may hold old counts, and an entry found too high is put back with
 * its present count; and a pair born with a count below 2 need not be remembered at all.
 * One merge touches the occurrences of its pair; changes are summed per neighbouring symbol, so
 * that the map of pairs is asked once per neighbour, not once per occurrence.
 *
 * Determinism. The choice depends on counts and ids alone, never on the order of pieces: largest
 * count, then smaller left id, then smaller right id. Inside a piece a pair is merged from left to
 * right, as encoding does.
 *
 * Mind. Two different pairs can spell the same bytes (ab c and a bc); the second is not merged,
 * since a vocabulary has one token for a sequence of bytes. Nor is a pair that would spell an added
 * token. Positions are 32 bits: 4 GiB of unique pieces.
 */
#include "tokens/bpe_train.h"

#include "base/checked.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "tokens/bpe_internal.h"

#include <inttypes.h>

#define FENCE       -1 /* between pieces */
#define INNER       -2 /* inside a symbol of several bytes */
#define LEAST_COUNT 2

const char *const bpe_default_added[BPE_DEFAULT_ADDED] = {
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜▁pad▁｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<think>",
    "</think>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁outputs▁begin｜>",
    "<｜tool▁outputs▁end｜>",
    "<｜tool▁output▁begin｜>",
    "<｜tool▁output▁end｜>",
    "<｜tool▁sep｜>",
};

typedef struct pair_record {
    int32_t left, right;
    int64_t count;
    uint32_t *at; /* positions of left, ascending; some may be stale */
    uint32_t n_at;
} pair_record;

typedef struct heap_entry {
    int64_t count;
    uint32_t pair;
} heap_entry;

/* Changes of one merge, summed by neighbour. */
typedef struct neighbour {
    int64_t gained, lost;
    uint32_t n_gained; /* occurrences */
    uint32_t pair;     /* record + 1 of the new pair while lists are filled, 0 = none */
    bool touched;
} neighbour;

typedef struct side {
    neighbour *of;    /* [vocab_size] by symbol */
    int32_t *touched; /* [vocab_size] */
    int32_t n;
} side;

struct bpe_trainer {
    int32_t vocab_size, n_added;
    int n_special;
    char **added;
    pretokenizer kind;
    piece_counter *counter;
    int64_t bytes;

    /* learning */
    size_t n; /* positions */
    int32_t *symbol;
    uint8_t *length;
    uint32_t *word; /* which piece a position belongs to */
    int64_t *word_count;
    arena lists; /* positions of all pairs */
    pair_record *pairs;
    size_t n_pairs, pairs_room;
    uint32_t *pair_slots; /* index + 1, 0 = free */
    uint32_t pair_mask;
    heap_entry *heap;
    size_t n_heap, heap_room;
    side left, right;
    merge *merges;
    int32_t n_merges;
    piece_table spelled; /* tokens so far, count = id */
    uint8_t *blob;       /* their bytes */
    uint32_t *offset;    /* [vocab_size + 1] */
};

/* -- pairs: map and heap -- */

static uint32_t record_slot(const bpe_trainer *b, int32_t left, int32_t right) {
    uint32_t at = pair_hash(pair_key(left, right)) & b->pair_mask;
    for (; b->pair_slots[at] != 0; at = (at + 1) & b->pair_mask) {
        const pair_record *r = &b->pairs[b->pair_slots[at] - 1];
        if (r->left == left && r->right == right) break;
    }
    return at;
}

static pair_record *find_pair(const bpe_trainer *b, int32_t left, int32_t right) {
    uint32_t index = b->pair_slots[record_slot(b, left, right)];
    return index == 0 ? NULL : &b->pairs[index - 1];
}

static bool ranks_before(const bpe_trainer *b, heap_entry x, heap_entry y) {
    if (x.count != y.count) return x.count > y.count;
    const pair_record *p = &b->pairs[x.pair], *q = &b->pairs[y.pair];
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static void heap_add(bpe_trainer *b, heap_entry e) {
    size_t at = b->n_heap++;
    for (; at > 0 && ranks_before(b, e, b->heap[(at - 1) / 2]); at = (at - 1) / 2)
        b->heap[at] = b->heap[(at - 1) / 2];
    b->heap[at] = e;
}

static heap_entry heap_take(bpe_trainer *b) {
    heap_entry first = b->heap[0], moving = b->heap[--b->n_heap];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < b->n_heap; at = child) {
        if (child + 1 < b->n_heap && ranks_before(b, b->heap[child + 1], b->heap[child])) child++;
        if (!ranks_before(b, b->heap[child], moving)) break;
        b->heap[at] = b->heap[child];
    }
    b->heap[at] = moving;
    return first;
}

static status grow_map(bpe_trainer *b) {
    size_t size = b->pair_slots == NULL ? 1 << 16 : 2 * ((size_t)b->pair_mask + 1);
    uint32_t *slots = mem_zalloc(size, sizeof *slots);
    if (slots == NULL) return STATUS_MEMORY;
    mem_free(b->pair_slots);
    b->pair_slots = slots;
    b->pair_mask = (uint32_t)(size - 1);
    for (size_t i = 0; i < b->n_pairs; i++)
        slots[record_slot(b, b->pairs[i].left, b->pairs[i].right)] = (uint32_t)i + 1;
    return STATUS_OK;
}

/* A new pair with room for n_at positions, on the heap; an entry lives in the heap exactly once. */
static status add_pair(bpe_trainer *b, int32_t left, int32_t right, int64_t count, uint32_t n_at) {
    if (b->n_pairs == b->pairs_room) {
        size_t room = 2 * b->pairs_room + 65536;
        pair_record *pairs = mem_resize(b->pairs, room, sizeof *pairs);
        if (pairs == NULL) return STATUS_MEMORY;
        b->pairs = pairs;
        heap_entry *heap = mem_resize(b->heap, room, sizeof *heap);
        if (heap == NULL) return STATUS_MEMORY;
        b->heap = heap;
        b->pairs_room = room;
    }
    if (b->pair_slots == NULL || 2 * b->n_pairs > b->pair_mask) TRY(grow_map(b));
    uint32_t *at = arena_alloc(&b->lists, n_at * sizeof *at);
    if (at == NULL) return STATUS_MEMORY;
    b->pairs[b->n_pairs] = (pair_record){left, right, count, at, 0};
    b->pair_slots[record_slot(b, left, right)] = (uint32_t)b->n_pairs + 1;
    heap_add(b, (heap_entry){count, (uint32_t)b->n_pairs});
    b->n_pairs++;
    return STATUS_OK;
}

/* -- laying out -- */

static status allocate_learning(bpe_trainer *b) {
    size_t n_words = 0, n = 1;
    for (unsigned part = 0; part < PIECE_PARTS; part++) {
        const piece_table *p = piece_counter_part(b->counter, part);
        n_words += p->n;
        n += p->n_bytes + p->n;
    }
    if (n >= UINT32_MAX)
        return FAIL(F_OVERFLOW, text("%zu bytes of different pieces", n), "training a vocabulary",
                    "positions have 32 bits", "train on a sample of the text");
    b->n = n;
    b->symbol = mem_alloc(n * sizeof *b->symbol);
    b->length = mem_alloc(n);
    b->word = mem_alloc(n * sizeof *b->word);
    b->word_count = mem_alloc((n_words + 1) * sizeof *b->word_count);
    size_t vocab = (size_t)b->vocab_size;
    b->left.of = mem_zalloc(vocab, sizeof *b->left.of);
    b->right.of = mem_zalloc(vocab, sizeof *b->right.of);
    b->left.touched = mem_alloc(vocab * sizeof *b->left.touched);
    b->right.touched = mem_alloc(vocab * sizeof *b->right.touched);
    b->merges = mem_alloc(vocab * sizeof *b->merges);
    b->offset = mem_zalloc(vocab + 1, sizeof *b->offset);
    b->blob = mem_alloc(vocab * PIECE_MOST);
    if (!b->symbol || !b->length || !b->word || !b->word_count || !b->left.of || !b->right.of ||
        !b->left.touched || !b->right.touched || !b->merges || !b->offset || !b->blob)
        return STATUS_MEMORY;
    /* Every position is in one list at first; each merge writes at most two and removes one symbol.
     * The arena rounds a list up to 64 bytes. This is address space, not memory. */
    return arena_init(&b->lists, "positions of pairs", 3 * n * (sizeof(uint32_t) + 64) + (1 << 23));
}

static void lay_out(bpe_trainer *b) {
    size_t at = 0;
    uint32_t word = 0;
    b->symbol[at] = FENCE;
    b->length[at++] = 1;
    for (unsigned part = 0; part < PIECE_PARTS; part++) {
        const piece_table *p = piece_counter_part(b->counter, part);
        for (size_t i = 0; i < p->n; i++, word++) {
            const piece_entry *e = &p->entries[i];
            b->word_count[word] = e->count;
            for (uint32_t k = 0; k <= e->n; k++, at++) {
                b->symbol[at] = k < e->n ? p->bytes[e->offset + k] : FENCE;
                b->length[at] = 1;
                b->word[at] = word;
            }
        }
    }
}

/* All pairs of bytes. */
static status first_pairs(bpe_trainer *b) {
    typedef struct byte_pair {
        int64_t count;
        uint32_t n, pair;
    } byte_pair;
    byte_pair *of = mem_zalloc(65536, sizeof *of);
    if (of == NULL) return STATUS_MEMORY;
    for (size_t i = 1; i + 1 < b->n; i++) {
        if (b->symbol[i] < 0 || b->symbol[i + 1] < 0) continue;
        byte_pair *p = &of[b->symbol[i] << 8 | b->symbol[i + 1]];
        p->count += b->word_count[b->word[i]];
        p->n++;
    }
    status s = STATUS_OK;
    for (int32_t key = 0; key < 65536 && s == STATUS_OK; key++) {
        if (of[key].count < LEAST_COUNT) continue;
        s = add_pair(b, key >> 8, key & 255, of[key].count, of[key].n);
        of[key].pair = (uint32_t)b->n_pairs;
    }
    for (size_t i = 1; i + 1 < b->n && s == STATUS_OK; i++) {
        if (b->symbol[i] < 0 || b->symbol[i + 1] < 0) continue;
        uint32_t pair = of[b->symbol[i] << 8 | b->symbol[i + 1]].pair;
        if (pair == 0) continue;
        pair_record *r = &b->pairs[pair - 1];
        r->at[r->n_at++] = (uint32_t)i;
    }
    mem_free(of);
    return s;
}

/* -- one merge -- */

static neighbour *touch(side *s, int32_t symbol) {
    neighbour *n = &s->of[symbol];
    if (!n->touched) {
        n->touched = true;
        s->touched[s->n++] = symbol;
    }
    return n;
}

/* Symbols beside the one at x: FENCE at the ends of a piece. */
static inline int32_t symbol_before(const bpe_trainer *b, size_t x, size_t *start) {
    *start = x - b->length[x - 1];
    return b->symbol[x - 1] == FENCE ? FENCE : b->symbol[*start];
}
static inline int32_t symbol_behind(const bpe_trainer *b, size_t x) {
    return b->symbol[x + b->length[x]];
}

/* Replaces every occurrence by z, notes what the pairs around lose, and keeps in the list the
 * places where z now stands. */
static void replace_pair(bpe_trainer *b, pair_record *p, int32_t z) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->n_at; i++) {
        size_t x = p->at[i], y = x + b->length[x], start;
        if (b->symbol[x] != p->left || b->symbol[y] != p->right) continue;
        int64_t count = b->word_count[b->word[x]];
        int32_t before = symbol_before(b, x, &start), behind = symbol_behind(b, y);
        /* z itself before: its pair with `left` was taken off when that z was made */
        if (before != FENCE && before != z) touch(&b->left, before)->lost += count;
        if (behind != FENCE) touch(&b->right, behind)->lost += count;
        uint8_t length = (uint8_t)(b->length[x] + b->length[y]);
        b->symbol[x] = z;
        b->symbol[y] = INNER;
        b->length[x] = b->length[x + length - 1] = length;
        p->at[kept++] = (uint32_t)x;
    }
    p->n_at = kept;
}

static void take_losses(bpe_trainer *b, int32_t left, int32_t right) {
    for (int32_t i = 0; i < b->left.n; i++) {
        int32_t s = b->left.touched[i];
        pair_record *r = b->left.of[s].lost > 0 ? find_pair(b, s, left) : NULL;
        if (r != NULL) r->count -= b->left.of[s].lost;
    }
    for (int32_t i = 0; i < b->right.n; i++) {
        int32_t s = b->right.touched[i];
        pair_record *r = b->right.of[s].lost > 0 ? find_pair(b, right, s) : NULL;
        if (r != NULL) r->count -= b->right.of[s].lost;
    }
}

static void sum_gains(bpe_trainer *b, const uint32_t *at, uint32_t n, int32_t z) {
    for (uint32_t i = 0; i < n; i++) {
        size_t x = at[i], start;
        int64_t count = b->word_count[b->word[x]];
        int32_t before = symbol_before(b, x, &start), behind = symbol_behind(b, x);
        if (before != FENCE && before != z) { /* z z is seen from its left */
            neighbour *left = touch(&b->left, before);
            left->gained += count;
            left->n_gained++;
        }
        if (behind != FENCE) {
            neighbour *right = touch(&b->right, behind);
            right->gained += count;
            right->n_gained++;
        }
    }
}

static status add_gained(bpe_trainer *b, side *s, bool z_is_right, int32_t z) {
    for (int32_t i = 0; i < s->n; i++) {
        int32_t symbol = s->touched[i];
        neighbour *n = &s->of[symbol];
        if (n->gained < LEAST_COUNT) continue;
        TRY(add_pair(b, z_is_right ? symbol : z, z_is_right ? z : symbol, n->gained, n->n_gained));
        n->pair = (uint32_t)b->n_pairs;
    }
    return STATUS_OK;
}

static void note_position(bpe_trainer *b, uint32_t pair, size_t x) {
    if (pair == 0) return;
    pair_record *r = &b->pairs[pair - 1];
    r->at[r->n_at++] = (uint32_t)x;
}

static void fill_lists(bpe_trainer *b, const uint32_t *at, uint32_t n, int32_t z) {
    for (uint32_t i = 0; i < n; i++) {
        size_t x = at[i], start;
        int32_t before = symbol_before(b, x, &start), behind = symbol_behind(b, x);
        if (before != FENCE && before != z) note_position(b, b->left.of[before].pair, start);
        if (behind != FENCE) note_position(b, b->right.of[behind].pair, x);
    }
}

static void forget_side(side *s) {
    for (int32_t i = 0; i < s->n; i++)
        s->of[s->touched[i]] = (neighbour){0};
    s->n = 0;
}

static status apply_merge(bpe_trainer *b, uint32_t pair, int32_t z) {
    pair_record p = b->pairs[pair]; /* a copy: the array may move */
    replace_pair(b, &p, z);
    take_losses(b, p.left, p.right);
    sum_gains(b, p.at, p.n_at, z);
    status s = add_gained(b, &b->left, true, z);
    if (s == STATUS_OK) s = add_gained(b, &b->right, false, z);
    if (s == STATUS_OK) fill_lists(b, p.at, p.n_at, z);
    forget_side(&b->left);
    forget_side(&b->right);
    return s;
}

/* -- the vocabulary under way -- */

/* Notes the bytes of token `id`, which is the next one; *known if there is such a token already. */
static status add_spelling(bpe_trainer *b, int32_t id, const uint8_t *bytes, uint32_t n,
                           bool *known) {
    size_t before = b->spelled.n;
    TRY(piece_table_add(&b->spelled, bytes, n, hash64(bytes, n, 0), 0));
    *known = b->spelled.n == before;
    if (*known) return STATUS_OK;
    memmove(b->blob + b->offset[id], bytes, n);
    b->offset[id + 1] = b->offset[id] + n;
    return STATUS_OK;
}

static status first_spellings(bpe_trainer *b) {
    bool known;
    for (int32_t id = 0; id < 256; id++)
        TRY(add_spelling(b, id, &(uint8_t){(uint8_t)id}, 1, &known));
    for (int32_t i = 0; i < b->n_added; i++) {
        const char *content = b->added[i];
        TRY(add_spelling(b, 256 + i, (const uint8_t *)content, (uint32_t)strlen(content), &known));
        if (known)
            return FAIL(F_USAGE, text("the added token \"%.80s\" is given twice", content),
                        "training a vocabulary", "it is there already, or is a single byte",
                        "name every added token once");
    }
    return STATUS_OK;
}

static uint32_t spelling(const bpe_trainer *b, int32_t id, uint8_t *out) {
    uint32_t n = b->offset[id + 1] - b->offset[id];
    memcpy(out, b->blob + b->offset[id], n);
    return n;
}

static status learn(bpe_trainer *b) {
    int32_t z = 256 + b->n_added;
    while (z < b->vocab_size && b->n_heap > 0) {
        if (z % 64 == 0)
            TRY(interrupt_status("learning merges of a vocabulary", "start the command again"));
        heap_entry top = heap_take(b);
        const pair_record *p = &b->pairs[top.pair];
        if (p->count < LEAST_COUNT) continue;
        if (p->count != top.count) {
            heap_add(b, (heap_entry){p->count, top.pair});
            continue;
        }
        uint8_t bytes[2 * PIECE_MOST];
        uint32_t n = spelling(b, p->left, bytes);
        n += spelling(b, p->right, bytes + n);
        bool known;
        TRY(add_spelling(b, z, bytes, n, &known));
        if (known) continue;
        b->merges[b->n_merges++] = (merge){p->left, p->right, z};
        TRY(apply_merge(b, top.pair, z));
        z++;
    }
    return STATUS_OK;
}

static status make_tokenizer(const bpe_trainer *b, tokenizer **out) {
    int32_t n = 256 + b->n_added + b->n_merges;
    TRY(tokenizer_allocate(out, n, b->offset[n], b->n_merges, b->n_added));
    tokenizer *t = *out;
    memcpy(t->blob, b->blob, b->offset[n]);
    memcpy(t->offset, b->offset, ((size_t)n + 1) * sizeof *t->offset);
    memset(t->flags, TOKEN_MODEL, (size_t)n);
    if (b->n_merges > 0) memcpy(t->merges, b->merges, (size_t)b->n_merges * sizeof *t->merges);
    for (int32_t i = 0; i < b->n_added; i++) {
        bool special = i < b->n_special;
        t->added[i] = (added_token){.id = 256 + i, .special = special};
        t->flags[256 + i] |= (uint8_t)(TOKEN_RAW | TOKEN_ADDED | (special ? TOKEN_SPECIAL : 0));
    }
    t->pretokenizer = b->kind;
    TRY(tokenizer_index_tokens(t, "trained vocabulary"));
    return tokenizer_index(t, "trained vocabulary");
}

/* -- the public side -- */

static status check_options(const bpe_options *o) {
    int64_t least = 256 + (int64_t)o->n_added;
    if (o->vocab_size < least || o->vocab_size > TOKENS_MOST)
        return FAIL(
            F_BAD_VALUE, text("vocabulary size %d", o->vocab_size), "training a vocabulary",
            text("it must be from %" PRId64 " (bytes and added tokens) to %d", least, TOKENS_MOST),
            "choose for example 8192");
    for (int i = 0; i < o->n_added; i++)
        if (o->added[i][0] == 0 || strlen(o->added[i]) > PIECE_MOST ||
            utf8_valid(o->added[i], strlen(o->added[i])) < strlen(o->added[i]))
            return FAIL(F_BAD_VALUE, text("added token %d is not accepted", i + 1),
                        "training a vocabulary",
                        text("it must be 1 to %d bytes of UTF-8", PIECE_MOST),
                        "choose something like <|name|>");
    return STATUS_OK;
}

status bpe_trainer_new(bpe_trainer **out, const bpe_options *o) {
    *out = NULL;
    TRY(check_options(o));
    bpe_trainer *b = mem_zalloc(1, sizeof *b);
    if (b == NULL) return STATUS_MEMORY;
    b->vocab_size = o->vocab_size;
    b->n_added = o->n_added;
    b->n_special = o->n_special;
    b->kind = o->pretokenizer;
    b->added = mem_zalloc((size_t)o->n_added, sizeof *b->added);
    status s = b->added == NULL ? STATUS_MEMORY : piece_counter_new(&b->counter, o->pretokenizer);
    for (int i = 0; i < o->n_added && s == STATUS_OK; i++) {
        b->added[i] = mem_strdup(o->added[i]);
        if (b->added[i] == NULL) s = STATUS_MEMORY;
    }
    if (s != STATUS_OK) {
        bpe_trainer_free(b);
        return s;
    }
    *out = b;
    return STATUS_OK;
}

void bpe_trainer_free(bpe_trainer *b) {
    if (b == NULL) return;
    for (int32_t i = 0; b->added != NULL && i < b->n_added; i++)
        mem_free(b->added[i]);
    void *const blocks[] = {b->added,    b->symbol,        b->length, b->word,    b->word_count,
                            b->pairs,    b->pair_slots,    b->heap,   b->left.of, b->left.touched,
                            b->right.of, b->right.touched, b->merges, b->blob,    b->offset};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        mem_free(blocks[i]);
    arena_clear(&b->lists);
    piece_table_clear(&b->spelled);
    piece_counter_free(b->counter);
    mem_free(b);
}

status bpe_trainer_add(bpe_trainer *b, const text_span *documents, size_t n) {
    TRY(piece_counter_add(b->counter, documents, n));
    for (size_t i = 0; i < n; i++)
        b->bytes += (int64_t)documents[i].n;
    return STATUS_OK;
}

int64_t bpe_trainer_bytes(const bpe_trainer *b) {
    return b->bytes;
}

int64_t bpe_trainer_pieces(const bpe_trainer *b) {
    int64_t n = 0;
    for (unsigned part = 0; b->counter != NULL && part < PIECE_PARTS; part++)
        n += (int64_t)piece_counter_part(b->counter, part)->n;
    return n;
}

status bpe_trainer_finish(bpe_trainer *b, tokenizer **out) {
    *out = NULL;
    TRY(allocate_learning(b));
    lay_out(b);
    piece_counter_free(b->counter);
    b->counter = NULL;
    TRY(first_spellings(b));
    TRY(first_pairs(b));
    TRY(learn(b));
    status s = make_tokenizer(b, out);
    if (s == STATUS_OK) return s;
    tokenizer_free(*out);
    *out = NULL;
    return s;
}
