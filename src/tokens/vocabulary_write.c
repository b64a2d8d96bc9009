/* vocabulary_write.c - the lists of a GGUF file from a tokenizer.
 *
 * How. One block holds all spellings. A SentencePiece score is minus the priority of the merges
 * that make the piece, and below them all for single characters, which no merge makes.
 */
#include "tokens/tokens_internal.h"
#include "tokens/vocabulary.h"

typedef struct owned_vocabulary {
    vocabulary v; /* first, so that its address is that of the whole */
    vocabulary_piece *pieces;
    vocabulary_merge *merges;
    char *spellings;
    size_t used;
} owned_vocabulary;

void vocabulary_free(vocabulary *v) {
    owned_vocabulary *o = (owned_vocabulary *)v;
    if (o == NULL) return;
    mem_free(o->pieces);
    mem_free(o->merges);
    mem_free(o->spellings);
    mem_free(o);
}

static piece_type type_of(const tokenizer *t, int32_t id) {
    unsigned flags = t->flags[id];
    if (flags & TOKEN_SPECIAL) return PIECE_CONTROL;
    if (flags & TOKEN_ADDED) return PIECE_USER;
    if (flags & TOKEN_BYTE) return PIECE_BYTE;
    return flags & TOKEN_RAW ? PIECE_UNUSED : PIECE_NORMAL;
}

/* The spelling of a token, NUL-terminated; `out` has room for SPELLING_GROWTH n + 7. */
size_t tokenizer_spell(const tokenizer *t, int32_t id, char *out) {
    size_t n;
    const uint8_t *bytes = token_bytes(t, id, &n);
    if (t->flags[id] & TOKEN_BYTE) {
        snprintf(out, 7, "<0x%02X>", bytes[0]);
    } else if (t->flags[id] & TOKEN_RAW) {
        memcpy(out, bytes, n);
        out[n] = 0;
        return n;
    } else {
        spelling_encode(t->spelling, bytes, n, out);
    }
    return strlen(out);
}

static void spell_pieces(const tokenizer *t, owned_vocabulary *o) {
    for (int32_t id = 0; id < t->n; id++) {
        char *at = o->spellings + o->used;
        size_t n = tokenizer_spell(t, id, at);
        o->pieces[id] = (vocabulary_piece){at, n, -(float)t->n_merges - 1, type_of(t, id)};
        o->used += n + 1;
    }
}

static void spell_merges(const tokenizer *t, owned_vocabulary *o) {
    for (int32_t rank = 0; rank < t->n_merges; rank++) {
        const vocabulary_piece *left = &o->pieces[t->merges[rank].left],
                               *right = &o->pieces[t->merges[rank].right];
        char *at = o->spellings + o->used;
        memcpy(at, left->text, left->n);
        at[left->n] = ' ';
        memcpy(at + left->n + 1, right->text, right->n + 1);
        o->merges[rank] = (vocabulary_merge){at, left->n + 1 + right->n};
        o->used += left->n + right->n + 2;
    }
}

/* The first merge that makes a piece has its highest priority. */
static void score_pieces(const tokenizer *t, owned_vocabulary *o) {
    for (int32_t rank = t->n_merges - 1; rank >= 0; rank--) {
        uint32_t priority = t->priority != NULL ? t->priority[rank] : (uint32_t)rank;
        o->pieces[t->merges[rank].result].score = -(float)priority;
    }
}

static size_t spelled_bytes(const tokenizer *t, bool merges) {
    size_t total = SPELLING_GROWTH * (size_t)t->offset[t->n] + 8 * (size_t)t->n;
    for (int32_t rank = 0; merges && rank < t->n_merges; rank++) {
        size_t left, right;
        (void)token_bytes(t, t->merges[rank].left, &left);
        (void)token_bytes(t, t->merges[rank].right, &right);
        total += SPELLING_GROWTH * (left + right) + 2;
    }
    return total;
}

static status fill(const tokenizer *t, owned_vocabulary *o) {
    bool bpe = t->spelling == SPELLING_BYTE_MAP;
    o->v = (vocabulary){.model = bpe ? VOCABULARY_BPE : VOCABULARY_SENTENCEPIECE,
                        .pre = bpe ? vocabulary_pre_name(t) : NULL,
                        .n = t->n,
                        .n_merges = bpe ? t->n_merges : 0,
                        .bos = t->bos,
                        .eos = t->eos,
                        .space_prefix = t->blank_prefix != BLANK_NEVER};
    o->pieces = mem_zalloc((size_t)t->n, sizeof *o->pieces);
    o->merges = mem_zalloc((size_t)o->v.n_merges, sizeof *o->merges);
    o->spellings = mem_alloc(spelled_bytes(t, bpe));
    if (o->pieces == NULL || o->merges == NULL || o->spellings == NULL) return STATUS_MEMORY;
    spell_pieces(t, o);
    if (bpe)
        spell_merges(t, o);
    else
        score_pieces(t, o);
    o->v.pieces = o->pieces;
    o->v.merges = o->merges;
    return STATUS_OK;
}

status tokenizer_to_vocabulary(const tokenizer *t, vocabulary **out) {
    *out = NULL;
    if (t->normal_steps.n > 0)
        return FAIL(F_TOKENIZER_UNSUPPORTED, "GGUF has no place for the normalizer", "tokenizer",
                    "readers of GGUF files would encode text as it is",
                    "keep the model in its Hugging Face form");
    if (t->spelling == SPELLING_BYTE_MAP && vocabulary_pre_name(t) == NULL)
        return FAIL(F_TOKENIZER_UNSUPPORTED,
                    text("GGUF has no name for the pre-tokenizer \"%s\"",
                         pretokenizer_name(t->pretokenizer)),
                    "tokenizer", "readers of GGUF files know pre-tokenizers by their names only",
                    "keep the model in its Hugging Face form");
    owned_vocabulary *o = mem_zalloc(1, sizeof *o);
    if (o == NULL) return STATUS_MEMORY;
    status s = fill(t, o);
    if (s != STATUS_OK) {
        vocabulary_free(&o->v);
        return s;
    }
    *out = &o->v;
    return STATUS_OK;
}
