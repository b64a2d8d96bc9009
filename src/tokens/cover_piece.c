/* cover_piece.c - the ids of one piece in linear time: cover it with tokens that BPE keeps apart.
 *
 * What. The same ids as merge_piece.c, without making any merge.
 *
 * How. Call two tokens side by side *settled* if BPE on their joined bytes gives just these two.
 * A sequence of tokens is the encoding of its bytes if and only if all neighbours in it are
 * settled. For as long as no merge crosses a border, what happens inside two neighbours is what
 * happens in their joined bytes alone: the order (rank, position) is the same in both. So a first
 * crossing in the text would be a crossing in one of the pairs, and the other way round. BPE is a
 * function, so exactly one sequence is settled throughout, and any search finds it (cf. Berglund
 * and van der Merwe 2023, "Formalizing BPE tokenization").
 *
 * The search takes the longest token of the trie, then its shorter prefixes, and steps back where
 * none is settled with the token before. Up to any offset the encoding is unique as well; so the
 * token before is always the same one there, an offset from which nothing leads on is dead for
 * good, and every offset is left at most once.
 *
 * Are x and y settled? Run time backwards. Each was born by the merge of a rank and dies by the
 * next; a pair (x, y) stands side by side from the later birth to the earlier death, and its merge
 * would be made if its rank comes first: before the death of x (which is further left: a tie goes
 * to it), not after the death of y. Then the younger of the two is taken apart, until both are
 * bytes. This needs births to ascend: no merge may have a side that an equal or later merge makes.
 * token_cover_build checks that; vocabularies that fail it are merged the slow way.
 *
 * Most pairs are decided by the bytes beside their border alone. A merge that crosses it has a left
 * side that ends with the bytes before and a right side that starts with the bytes behind. A table
 * over these bytes holds the least rank of such merges, for sides of at least two bytes over two on
 * either side (hashed), for others over one. Without any rank there, the pair is settled: so it is
 * between two Chinese words, nearly always. Otherwise the rank ends the search, as soon as one of
 * the two tokens dies before it. What is left is remembered, since text repeats itself.
 *
 * Mind. The work is linear, but its constant is the number of prefixes of a token that are tokens:
 * for a megabyte of hyphens more than a hundred. encode_piece.c takes such text out first.
 */
#include "base/checked.h"
#include "tokens/tokens_internal.h"

#define LONGEST_MOST 1024               /* bytes of a token: bounds the work per offset */
#define BLOB_MOST    ((size_t)64 << 20) /* bytes of all tokens: bounds the trie */
#define KNOWN_BITS   14                 /* of entries: a cache of 128 KiB */
#define NEAR_WORDS   16                 /* pieces below 1,024 bytes need no memory */
#define BORDER_BITS  16                 /* of an index into one table of borders: 256 KiB */
#define BORDERS      ((size_t)1 << BORDER_BITS)

void token_cover_clear(token_cover *c) {
    mem_free(c->nodes);
    mem_free(c->ids);
    mem_free(c->borders);
    mem_free(c->joints);
    *c = (token_cover){0};
}

/* Is every side of a merge made by earlier merges only? */
static status births_ascend(const tokenizer *t, bool *ascend) {
    int32_t *last =
        mem_alloc((size_t)t->n * sizeof *last); /* rank of the last merge that makes it */
    if (last == NULL) return STATUS_MEMORY;
    memset(last, 0xFF, (size_t)t->n * sizeof *last);
    for (int32_t rank = 0; rank < t->n_merges; rank++)
        last[t->merges[rank].result] = rank;
    *ascend = true;
    for (int32_t rank = 0; rank < t->n_merges && *ascend; rank++)
        *ascend = last[t->merges[rank].left] < rank && last[t->merges[rank].right] < rank;
    mem_free(last);
    return STATUS_OK;
}

/* -- borders: first the table over one byte on either side, then that over two -- */

static inline size_t near_border(const uint8_t *left_end, const uint8_t *right) {
    return (size_t)left_end[-1] << 8 | right[0];
}

static inline size_t far_border(const uint8_t *left_end, const uint8_t *right) {
    uint32_t bytes = (uint32_t)left_end[-2] << 24 | (uint32_t)left_end[-1] << 16 |
                     (uint32_t)right[0] << 8 | right[1];
    return BORDERS + (bytes * 0x9E3779B1u >> (32 - BORDER_BITS));
}

static status find_borders(const tokenizer *t, token_cover *c) {
    c->borders = mem_alloc(2 * BORDERS * sizeof *c->borders);
    if (c->borders == NULL) return STATUS_MEMORY;
    memset(c->borders, 0xFF, 2 * BORDERS * sizeof *c->borders); /* NO_RANK */
    for (int32_t rank = 0; rank < t->n_merges; rank++) {
        size_t n_left, n_right;
        const uint8_t *left_end = token_bytes(t, t->merges[rank].left, &n_left);
        const uint8_t *right = token_bytes(t, t->merges[rank].right, &n_right);
        left_end += n_left;
        bool far = n_left >= 2 && n_right >= 2;
        uint32_t *least =
            &c->borders[far ? far_border(left_end, right) : near_border(left_end, right)];
        if ((uint32_t)rank < *least) *least = (uint32_t)rank;
    }
    return STATUS_OK;
}

/* No merge of a lower rank crosses the border at piece[at], 0 < at < n. */
static inline uint32_t border_rank(const token_cover *c, const uint8_t *piece, size_t n,
                                   size_t at) {
    uint32_t rank = c->borders[near_border(piece + at, piece + at)];
    if (at < 2 || n - at < 2) return rank;
    uint32_t far = c->borders[far_border(piece + at, piece + at)];
    return far < rank ? far : rank;
}

status token_cover_build(tokenizer *t) {
    bool ascend = false;
    bool plain = t->spelling == SPELLING_BYTE_MAP && t->priority == NULL;
    if (plain && t->longest <= LONGEST_MOST && t->offset[t->n] <= BLOB_MOST)
        TRY(births_ascend(t, &ascend));
    if (!ascend) {
        token_cover_clear(&t->cover);
        return STATUS_OK;
    }
    TRY(find_borders(t, &t->cover));
    return token_trie_build(t, &t->cover);
}

/* -- settled pairs -- */

/* `border`: no merge of a lower rank crosses. */
static bool find_settled(const tokenizer *t, int32_t x, int32_t y, uint32_t border) {
    const token_joint *joints = t->cover.joints;
    uint32_t x_dies = NO_RANK, y_dies = NO_RANK;
    while (border < x_dies && border <= y_dies) {
        int32_t unused;
        uint32_t rank = pair_rank(t, x, y, &unused);
        if (rank < x_dies && rank <= y_dies) return false;
        const token_joint *a = &joints[x], *b = &joints[y];
        if (b->born >= a->born) { /* of one rank, the left one is born first */
            if (b->born < 0) return true;
            y_dies = (uint32_t)b->born;
            y = b->left;
        } else {
            x_dies = (uint32_t)a->born;
            x = a->right;
        }
    }
    return true;
}

/* The same, remembered: x and y in 24 bits each, then a bit that is always set, then the answer. */
static inline bool is_settled(const tokenizer *t, uint64_t *known, int32_t x, int32_t y,
                              uint32_t border) {
    if (border == NO_RANK) return true;
    uint64_t key = (uint64_t)(uint32_t)x << 26 | (uint64_t)(uint32_t)y << 2 | 2;
    uint64_t *entry = &known[key * 0x9E3779B97F4A7C15u >> (64 - KNOWN_BITS)];
    if ((*entry & ~(uint64_t)1) != key) *entry = key | find_settled(t, x, y, border);
    return *entry & 1;
}

/* Longest token at p and its bytes; there is one, since every byte is a token. */
static inline int32_t longest_token(const token_cover *c, const uint8_t *p, size_t n,
                                    size_t *length) {
    const trie_node *nodes = c->nodes;
    uint32_t node = 0, last = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t child = nodes[node].base ^ p[i], parent = nodes[child].parent;
        if ((parent & ~TRIE_ENDS) != node) break;
        node = child;
        if (parent & TRIE_ENDS) {
            last = node;
            *length = i + 1;
        }
    }
    return c->ids[last];
}

static inline size_t token_length(const tokenizer *t, int32_t id) {
    return id < 0 ? 0 : t->offset[id + 1] - t->offset[id];
}

/* The memory of settled pairs, and a bit for every offset of the piece: does nothing lead on? */
static status prepare(merge_scratch *scratch, size_t n, uint64_t *near, uint64_t **dead) {
    size_t words = n / 64 + 1;
    if (scratch->settled == NULL) {
        scratch->settled = mem_zalloc((size_t)1 << KNOWN_BITS, sizeof *scratch->settled);
        if (scratch->settled == NULL) return STATUS_MEMORY;
    }
    *dead = near;
    if (words > NEAR_WORDS) {
        TRY(merge_scratch_reserve(scratch, words * sizeof **dead));
        *dead = scratch->block;
    }
    memset(*dead, 0, words * sizeof **dead);
    return STATUS_OK;
}

status cover_piece(const tokenizer *t, const uint8_t *piece, size_t n, merge_scratch *scratch,
                   int32_t *out, size_t *count) {
    const token_cover *c = &t->cover;
    uint64_t near[NEAR_WORDS], *dead;
    TRY(prepare(scratch, n, near, &dead));
    size_t made = 0, at = 0, length = 0;
    int32_t id = longest_token(c, piece, n, &length);
    while (at < n) {
        uint32_t border = at > 0 ? border_rank(c, piece, n, at) : NO_RANK;
        while (id >= 0) {
            size_t end = at + length;
            if (!(dead[end / 64] >> (end % 64) & 1) &&
                (made == 0 || is_settled(t, scratch->settled, out[made - 1], id, border)))
                break;
            id = c->joints[id].shorter;
            length = token_length(t, id);
        }
        if (id >= 0) {
            out[made++] = id;
            at += length;
            id = longest_token(c, piece + at, n - at, &length);
        } else if (made > 0) { /* back: the token before ends at a dead offset */
            dead[at / 64] |= (uint64_t)1 << (at % 64);
            id = out[--made];
            length = token_length(t, id);
            at -= length;
        } else {
            return FAIL(F_INTERNAL, text("a piece of %zu bytes has no encoding", n), "encoding",
                        "the vocabulary's merges contradict its trie", "report it with the text");
        }
    }
    *count = made;
    return STATUS_OK;
}
