/* merge_piece.c - the ids of one piece: BPE merging by rank.
 *
 * This is the definition, and serves where cover_piece.c does not apply: to find out how tokens
 * came about, and for merges that no training would have put in that order.
 *
 * What. Start with one id per byte (with SentencePiece: per character, and its bytes where there is no
 * token for it); merge the neighbouring pair of lowest rank, of equals the
 * leftmost; repeat until no neighbours have a merge (Sennrich et al. 2016, on bytes).
 *
 * How. Pieces are short: up to SHORT_MOST bytes the keys rank << 6 | position lie in an array, and
 * each step takes the least of all, which is the leftmost pair of lowest rank, and looks up two new
 * ranks. A scan of 16 vectors beats any cleverness, but is quadratic, so longer pieces (a megabyte
 * of one letter is a fair input) use a linked list of symbols and a heap of (rank, position). An
 * entry is stale when its pair is no longer the one at its position; it is then skipped. O(n log n),
 * and the same result, since (rank, position) is the order of both.
 *
 * Most pairs that are asked for have no merge; a Bloom filter (tokens_internal.h)
 * answers for most of them from the nearer caches, and pairs of single bytes have a table.
 */
#include "base/checked.h"
#include "base/utf8.h"
#include "tokens/tokens_internal.h"

#define SHORT_MOST 64
#define NO_KEY     INT32_MAX

void merge_scratch_clear(merge_scratch *s) {
    mem_free(s->block);
    mem_free(s->settled);
    *s = (merge_scratch){0};
}

status merge_scratch_reserve(merge_scratch *s, size_t bytes) {
    if (bytes <= s->room) return STATUS_OK;
    void *block = mem_alloc(bytes);
    if (block == NULL) return STATUS_MEMORY;
    mem_free(s->block);
    s->block = block;
    s->room = bytes;
    return STATUS_OK;
}

/* Four keys at a time; plain C vectors, so that every target compiles them. */
typedef int32_t keys4 __attribute__((vector_size(16)));

static inline keys4 keys_min(keys4 a, keys4 b) {
    keys4 less = a < b;
    return (a & less) | (b & ~less);
}

/* Least of keys[0 .. n4), in vectors. */
static inline int32_t least_key(const keys4 *keys, size_t n4) {
    keys4 least = keys[0];
    for (size_t i = 1; i < n4; i++)
        least = keys_min(least, keys[i]);
    int32_t low = least[0] < least[1] ? least[0] : least[1];
    int32_t high = least[2] < least[3] ? least[2] : least[3];
    return low < high ? low : high;
}

static inline int32_t make_key(uint32_t rank, unsigned at) {
    return rank == NO_RANK ? NO_KEY : (int32_t)(rank << 6 | at);
}

/* The symbols that merging starts from, at most one a byte; returns their number. */
static size_t first_symbols(const tokenizer *t, const uint8_t *piece, size_t n, int32_t *ids) {
    if (t->spelling == SPELLING_BYTE_MAP) {
        for (size_t i = 0; i < n; i++)
            ids[i] = t->byte_id[piece[i]];
        return n;
    }
    size_t count = 0;
    for (size_t i = 0; i < n;) {
        size_t length = utf8_sequence(piece + i, n - i);
        int32_t id = -1;
        if (piece[i] < 0x80)
            id = t->ascii_id[piece[i]];
        else if (length > 0)
            id = tokenizer_find(t, piece + i, length);
        if (id < 0) { /* the rest of the character follows in the same way: it starts none */
            id = t->byte_id[piece[i]];
            length = 1;
        }
        ids[count++] = id;
        i += length;
    }
    return count;
}

/* Rank of the symbols i and i + 1 of those just made of `piece`. */
static inline uint32_t first_rank(const tokenizer *t, const uint8_t *piece, const int32_t *ids,
                                  size_t i, int32_t *result) {
    if (t->spelling != SPELLING_BYTE_MAP || t->priority != NULL)
        return pair_rank(t, ids[i], ids[i + 1], result);
    uint32_t rank = t->byte_ranks[piece[i] << 8 | piece[i + 1]];
    *result = rank == NO_RANK ? -1 : t->merges[rank].result;
    return rank;
}

/* Symbols stay where they were at first; `alive` has a bit for each, so neighbours are a
 * count of zeros away and nothing is ever moved. */
static size_t merge_short(const tokenizer *t, const uint8_t *piece, size_t n, int32_t *out,
                          int32_t *last) {
    union {
        keys4 four[SHORT_MOST / 4];
        int32_t one[SHORT_MOST];
    } keys;
    int32_t ids[SHORT_MOST], results[SHORT_MOST]; /* results: of the pair whose key stands there */
    n = first_symbols(t, piece, n, ids);
    uint64_t alive = n == 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1;
    size_t n4 = (n + 3) / 4;
    for (unsigned i = 0; i + 1 < n; i++)
        keys.one[i] = make_key(first_rank(t, piece, ids, i, &results[i]), i);
    for (size_t i = n - 1; i < 4 * n4; i++)
        keys.one[i] = NO_KEY;
    for (int32_t least; (least = least_key(keys.four, n4)) != NO_KEY;) {
        unsigned at = (unsigned)least & 63;
        *last = least >> 6;
        ids[at] = results[at];
        uint64_t behind = alive & ~(uint64_t)1 << at; /* never empty: `at` has a pair */
        keys.one[__builtin_ctzll(behind)] = NO_KEY;
        alive &= ~(behind & -behind);
        behind &= behind - 1;
        unsigned next = behind != 0 ? (unsigned)__builtin_ctzll(behind) : 0;
        keys.one[at] =
            behind != 0 ? make_key(pair_rank(t, ids[at], ids[next], &results[at]), at) : NO_KEY;
        uint64_t before = alive & (((uint64_t)1 << at) - 1);
        if (before == 0) continue;
        unsigned prior = 63 - (unsigned)__builtin_clzll(before);
        keys.one[prior] = make_key(pair_rank(t, ids[prior], ids[at], &results[prior]), prior);
    }
    size_t count = 0;
    for (; alive != 0; alive &= alive - 1)
        out[count++] = ids[__builtin_ctzll(alive)];
    return count;
}

/* A long piece under way. Symbols are named by their first number. */
typedef struct long_piece {
    uint64_t *heap; /* rank << 32 | position, least first */
    size_t n_heap;
    int32_t *ids;            /* -1: swallowed by the symbol before */
    uint32_t *next, *before; /* n and UINT32_MAX at the ends */
    uint32_t n;
} long_piece;

static void heap_sink(uint64_t *heap, size_t n, size_t at) {
    uint64_t moving = heap[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= moving) break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

static void heap_push(long_piece *p, uint64_t key) {
    size_t at = p->n_heap++;
    for (; at > 0 && p->heap[(at - 1) / 2] > key; at = (at - 1) / 2)
        p->heap[at] = p->heap[(at - 1) / 2];
    p->heap[at] = key;
}

static uint64_t heap_pop(long_piece *p) {
    uint64_t least = p->heap[0];
    p->heap[0] = p->heap[--p->n_heap];
    if (p->n_heap > 0) heap_sink(p->heap, p->n_heap, 0);
    return least;
}

/* Every merge removes one entry that fired and adds at most two; entries never exceed 3 n: n - 1
 * at first, two for each of at most n - 1 merges. */
static status long_piece_init(long_piece *p, merge_scratch *scratch, size_t n, int32_t *ids) {
    size_t bytes;
    if (n >= INT32_MAX || !size_mul(&bytes, n, 3 * sizeof *p->heap + 2 * sizeof *p->next))
        return FAIL(F_OVERFLOW, text("one piece of text has %zu bytes", n), "encoding",
                    "a piece without any word border must stay below 2 GiB",
                    "cut the text into documents");
    TRY(merge_scratch_reserve(scratch, bytes));
    p->heap = scratch->block;
    p->next = (uint32_t *)(p->heap + 3 * n);
    p->before = p->next + n;
    p->ids = ids;
    p->n = (uint32_t)n;
    p->n_heap = 0;
    return STATUS_OK;
}

static void push_pair(long_piece *p, const tokenizer *t, uint32_t at) {
    int32_t result; /* known again when the entry fires */
    uint32_t rank = pair_rank(t, p->ids[at], p->ids[p->next[at]], &result);
    if (rank != NO_RANK) heap_push(p, (uint64_t)rank << 32 | at);
}

/* Is the merge of this rank still the one of these two? */
static inline bool still_fires(const tokenizer *t, uint32_t rank, int32_t left, int32_t right,
                               int32_t *result) {
    if (t->priority != NULL) return pair_rank(t, left, right, result) == rank;
    const merge *m = &t->merges[rank];
    *result = m->result;
    return left == m->left && right == m->right;
}

static status merge_long(const tokenizer *t, const uint8_t *piece, size_t n, merge_scratch *scratch,
                         int32_t *ids, size_t *count) {
    long_piece p = {0};
    TRY(long_piece_init(&p, scratch, n, ids));
    p.n = (uint32_t)first_symbols(t, piece, n, ids);
    for (uint32_t i = 0; i < p.n; i++) {
        p.next[i] = i + 1;
        p.before[i] = i - 1;
    }
    for (uint32_t i = 0; i + 1 < p.n; i++) {
        int32_t unused;
        uint32_t rank = first_rank(t, piece, ids, i, &unused);
        if (rank != NO_RANK) p.heap[p.n_heap++] = (uint64_t)rank << 32 | i;
    }
    for (size_t i = p.n_heap / 2; i-- > 0;)
        heap_sink(p.heap, p.n_heap, i);
    while (p.n_heap > 0) {
        uint64_t least = heap_pop(&p);
        uint32_t at = (uint32_t)least, second = p.next[at];
        int32_t result = -1;
        if (ids[at] < 0 || second >= p.n ||
            !still_fires(t, (uint32_t)(least >> 32), ids[at], ids[second], &result))
            continue;
        scratch->last = (int32_t)(least >> 32);
        ids[at] = result;
        ids[second] = -1;
        p.next[at] = p.next[second];
        if (p.next[at] < p.n) {
            p.before[p.next[at]] = at;
            push_pair(&p, t, at);
        }
        if (at > 0) push_pair(&p, t, p.before[at]);
    }
    size_t kept = 0;
    for (uint32_t i = 0; i < p.n; i = p.next[i])
        ids[kept++] = ids[i];
    *count = kept;
    return STATUS_OK;
}

status merge_piece(const tokenizer *t, const uint8_t *piece, size_t n, merge_scratch *scratch,
                   int32_t *out, size_t *count) {
    scratch->last = -1;
    if (n > SHORT_MOST) return merge_long(t, piece, n, scratch, out, count);
    *count = merge_short(t, piece, n, out, &scratch->last);
    return STATUS_OK;
}
