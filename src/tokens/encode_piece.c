/* encode_piece.c - the ids of one piece; where it repeats itself, of a little of it, pumped up.
 *
 * What. Pieces are covered (cover_piece.c) or, where the vocabulary does not allow it, merged
 * (merge_piece.c). But a megabyte of hyphens has the encoding of a few thousand hyphens with its middle repeated.
 *
 * How. A stretch is a part of the piece with a period of at most PERIOD_MOST bytes. Take out r times
 * D bytes of it, D a multiple of the period, and encode what is left. If the same token starts at two offsets b and b + D of the stretch, then the tokens between them may be
 * repeated r times: every pair of neighbours in the result was a pair of neighbours before, and a
 * sequence whose neighbours are all settled is the encoding. So the answer needs no check; only
 * whether there are such offsets is a matter of luck, and D is chosen as what a sample of the
 * stretch repeats with. Without luck the piece is encoded as it is.
 */
#include "tokens/tokens_internal.h"

#define PIECE_LEAST   4096u /* shorter pieces are not looked at */
#define STRETCH_LEAST 4096u
#define SAMPLE        2048u /* bytes of a stretch that stay, at least */
#define PERIOD_MOST   64u
#define LOOK          256u /* bytes that must repeat before it counts as a stretch */
#define STRIDE        512u
#define STRETCHES     32

typedef struct stretch {
    size_t start, end;    /* in the piece, then in what is left of it */
    size_t cycle;         /* D */
    size_t repeats;       /* r */
    size_t first, behind; /* the tokens to be repeated */
} stretch;

static status cover_or_merge(const tokenizer *t, const uint8_t *piece, size_t n,
                             merge_scratch *scratch, int32_t *out, size_t *count) {
    return t->cover.nodes != NULL ? cover_piece(t, piece, n, scratch, out, count)
                                  : merge_piece(t, piece, n, scratch, out, count);
}

/* Smallest period of the LOOK bytes from `at` on, 0 if there is none. */
static size_t period_at(const uint8_t *piece, size_t n, size_t at) {
    for (size_t p = 1; p <= PERIOD_MOST && at + LOOK + p <= n; p++)
        if (memcmp(piece + at, piece + at + p, LOOK) == 0) return p;
    return 0;
}

/* The next stretch from `from` on; false if there is none. */
static bool find_stretch(const uint8_t *piece, size_t n, size_t from, stretch *s, size_t *period) {
    for (size_t at = from; at + LOOK < n; at += STRIDE) {
        *period = period_at(piece, n, at);
        if (*period == 0) continue;
        size_t start = at, end = at + LOOK + *period;
        while (start > from && piece[start - 1] == piece[start - 1 + *period])
            start--;
        while (end < n && piece[end] == piece[end - *period])
            end++;
        if (end - start >= STRETCH_LEAST) {
            *s = (stretch){.start = start, .end = end};
            return true;
        }
        if (end > at + STRIDE) at = end - STRIDE;
    }
    return false;
}

/* Two offsets at which the same token starts, `cycle` bytes apart (0: any multiple of the period,
 * the least), inside [start, end); the tokens between them. Offsets count from the first of `ids`. */
static bool find_cycle(const tokenizer *t, const int32_t *ids, size_t n_ids, size_t period,
                       stretch *s) {
    size_t b = 0, i = 0, length;
    for (; i < n_ids && b < s->start; i++, b += length)
        (void)token_bytes(t, ids[i], &length);
    size_t b1 = b, j = i, b2 = b;
    for (; i < n_ids && b1 < s->end; i++, b1 += length) {
        if (s->cycle == 0) {
            j = i;
            b2 = b1;
        }
        while (j < n_ids && b2 <= s->end) {
            size_t apart = b2 - b1;
            if (apart > 0 && ids[j] == ids[i] &&
                (s->cycle == 0 ? apart % period == 0 : apart == s->cycle)) {
                s->cycle = apart;
                s->first = i;
                s->behind = j;
                return true;
            }
            if (s->cycle != 0 && apart >= s->cycle) break;
            size_t step;
            (void)token_bytes(t, ids[j++], &step);
            b2 += step;
        }
        if (s->cycle == 0) return false; /* one start in the middle is enough to ask */
        (void)token_bytes(t, ids[i], &length);
    }
    return false;
}

/* How much of a stretch can go: sets cycle and repeats; `ids` has room for SAMPLE. */
static status measure_stretch(const tokenizer *t, const uint8_t *piece, size_t period,
                              merge_scratch *scratch, int32_t *ids, stretch *s) {
    size_t count;
    TRY(cover_or_merge(t, piece + s->start, SAMPLE, scratch, ids, &count));
    stretch sample = {.start = SAMPLE / 4, .end = SAMPLE};
    if (!find_cycle(t, ids, count, period, &sample)) return STATUS_OK;
    s->cycle = sample.cycle;
    s->repeats = (s->end - s->start - SAMPLE) / s->cycle;
    return STATUS_OK;
}

/* Copies the piece without what can go, and moves the stretches along. */
static size_t shorten(const uint8_t *piece, size_t n, stretch *s, int n_stretches, uint8_t *left) {
    size_t used = 0, at = 0;
    for (int i = 0; i < n_stretches; i++) {
        size_t gone = s[i].repeats * s[i].cycle, keep = s[i].end - gone;
        memcpy(left + used, piece + at, keep - at);
        s[i].start = s[i].start - at + used;
        used += keep - at;
        at = s[i].end;
        s[i].end = used;
    }
    memcpy(left + used, piece + at, n - at);
    return used + n - at;
}

/* Repeats the tokens, from the last stretch to the first; everything moves up. */
static size_t pump(int32_t *ids, size_t count, const stretch *s, int n_stretches) {
    size_t total = count, end = count;
    for (int i = 0; i < n_stretches; i++)
        total += s[i].repeats * (s[i].behind - s[i].first);
    size_t to = total;
    for (int i = n_stretches - 1; i >= 0; i--) {
        size_t tail = end - s[i].behind, cycle = s[i].behind - s[i].first;
        to -= tail;
        memmove(ids + to, ids + s[i].behind, tail * sizeof *ids);
        for (size_t k = 0; k < s[i].repeats; k++) {
            to -= cycle;
            memcpy(ids + to, ids + s[i].first, cycle * sizeof *ids);
        }
        end = s[i].behind;
    }
    return total;
}

/* The stretches worth shortening, and the bytes that go. */
static status find_stretches(const tokenizer *t, const uint8_t *piece, size_t n,
                             merge_scratch *scratch, int32_t *ids, stretch *s, int *n_stretches,
                             size_t *gone) {
    size_t period, from = 0;
    *n_stretches = 0;
    *gone = 0;
    while (*n_stretches < STRETCHES && find_stretch(piece, n, from, &s[*n_stretches], &period)) {
        stretch *now = &s[*n_stretches];
        from = now->end;
        TRY(measure_stretch(t, piece, period, scratch, ids, now));
        *gone += now->repeats * now->cycle;
        *n_stretches += now->repeats > 0;
    }
    return STATUS_OK;
}

/* Encodes what is left of the piece and pumps; *done is false if there are no such offsets. */
static status encode_left(const tokenizer *t, const uint8_t *left, size_t n, stretch *s,
                          int n_stretches, merge_scratch *scratch, int32_t *out, size_t *count,
                          bool *done) {
    TRY(cover_or_merge(t, left, n, scratch, out, count));
    *done = true;
    for (int i = 0; i < n_stretches && *done; i++)
        *done = find_cycle(t, out, *count, 0, &s[i]);
    if (*done) *count = pump(out, *count, s, n_stretches);
    return STATUS_OK;
}

status encode_piece(const tokenizer *t, const uint8_t *piece, size_t n, merge_scratch *scratch,
                    int32_t *out, size_t *count) {
    stretch s[STRETCHES];
    int n_stretches = 0;
    size_t gone = 0;
    if (n >= PIECE_LEAST) TRY(find_stretches(t, piece, n, scratch, out, s, &n_stretches, &gone));
    bool done = false;
    if (n_stretches > 0) {
        uint8_t *left = mem_alloc(n - gone);
        if (left == NULL) return STATUS_MEMORY;
        size_t n_left = shorten(piece, n, s, n_stretches, left);
        status e = encode_left(t, left, n_left, s, n_stretches, scratch, out, count, &done);
        mem_free(left);
        if (e != STATUS_OK) return e;
    }
    return done ? STATUS_OK : cover_or_merge(t, piece, n, scratch, out, count);
}
