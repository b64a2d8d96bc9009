/* vocabulary.h - a tokenizer as plain lists, the way GGUF files hold one.
 *
 *     vocabulary v = {.model = VOCABULARY_BPE, .pre = "qwen2", .n = n, .pieces = pieces,
 *                     .n_merges = m, .merges = merges, .bos = -1, .eos = 151645};
 *     TRY(tokenizer_from_vocabulary(&t, &v, "model.gguf"));
 *
 * and back, for writing a file:
 *
 *     vocabulary *v;
 *     TRY(tokenizer_to_vocabulary(t, &v));
 *     ... v->pieces[id].text, v->merges[rank] ...
 *     vocabulary_free(v);
 *
 * BPE ("gpt2" in GGUF): pieces are spelled in GPT-2's byte map, control and user-defined ones as
 * they are; merges are ordered; `pre` says how text is cut. SentencePiece ("llama"): pieces are
 * spelled with U+2581 for a blank, "<0x0A>" are bytes; of all neighbours whose joined text is a
 * piece, the one with the highest score is joined first, of equals the leftmost; there are no
 * merges, and text is not cut.
 */
#ifndef FATHOM_TOKENS_VOCABULARY_H
#define FATHOM_TOKENS_VOCABULARY_H

#include "tokens/tokens.h"

typedef enum vocabulary_model { VOCABULARY_BPE, VOCABULARY_SENTENCEPIECE } vocabulary_model;

/* The numbers are those of tokenizer.ggml.token_type. */
typedef enum piece_type {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN = 2, /* stands for no text, as control pieces do */
    PIECE_CONTROL = 3, /* BOS, EOS, turns: silent in decoded text */
    PIECE_USER = 4,    /* an added token that is shown, such as <think> */
    PIECE_UNUSED = 5,  /* fills a hole between ids; no text becomes it */
    PIECE_BYTE = 6,
} piece_type;

typedef struct vocabulary_piece {
    const char *text; /* need not end in NUL */
    size_t n;
    float score; /* SentencePiece only */
    piece_type type;
} vocabulary_piece;

typedef struct vocabulary_merge { /* "left right" */
    const char *text;
    size_t n;
} vocabulary_merge;

typedef struct vocabulary {
    vocabulary_model model;
    const char *pre; /* tokenizer.ggml.pre; NULL = "default"; BPE only */
    int32_t n, n_merges;
    const vocabulary_piece *pieces;
    const vocabulary_merge *merges; /* BPE only */
    int32_t bos, eos;               /* -1 = none */
    bool space_prefix; /* SentencePiece: text gets a blank in front (GGUF: true if absent) */
} vocabulary;

/* Copies what it needs; `where` names the file in messages. F_TOKENIZER: contradictory lists;
 * F_TOKENIZER_UNSUPPORTED: a pre-tokeniser or piece that is not known, by its name. */
status tokenizer_from_vocabulary(tokenizer **out, const vocabulary *v,
                                 const char *where) MUST_CHECK;
/* Scores are made up from the order of merges; it is what they mean. F_TOKENIZER_UNSUPPORTED for
 * tokenizers that GGUF has no name for. */
status tokenizer_to_vocabulary(const tokenizer *t, vocabulary **out) MUST_CHECK;
void vocabulary_free(vocabulary *v); /* of tokenizer_to_vocabulary; accepts NULL */
/* Is this name of tokenizer.ggml.pre known? */
bool vocabulary_pre_known(const char *pre);

#endif
