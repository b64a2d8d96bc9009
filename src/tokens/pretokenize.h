/* pretokenize.h - cutting text into pieces, the units inside which BPE merges.
 *
 * Hugging Face files describe the cutting by regular expressions. Each of the known expressions is
 * a hand-written matcher here; tests hold them equal to PCRE2. Pieces are contiguous and cover the
 * text, so a list of end offsets is the whole answer:
 *
 *     size_t at = 0, ends[256];
 *     while (at < n) {
 *         size_t from = at, count = pretokenize(kind, text, n, &at, ends, 256);
 *         for (size_t i = 0; i < count; from = ends[i++]) piece(text + from, ends[i] - from);
 *     }
 *
 * Each cut depends only on the bytes from the piece's start on, so the loop may stop anywhere.
 * Bytes that are not UTF-8 count as one symbol each, as U+FFFD would.
 */
#ifndef FATHOM_PRETOKENIZE_H
#define FATHOM_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum pretokenizer {
    PRETOKENIZER_WHOLE,       /* no cutting: the text is one piece */
    PRETOKENIZER_GPT2,        /* GPT-2, and ByteLevel with use_regex */
    PRETOKENIZER_DEEPSEEK_V3, /* V3, R1, V3.x; of our own vocabularies */
    PRETOKENIZER_QWEN2,       /* Qwen 2, 2.5, 3 */
    PRETOKENIZER_LLAMA3,      /* as Qwen2 with up to three digits in a piece */
    PRETOKENIZER_DEEPSEEK_LLM,
    PRETOKENIZER_DEEPSEEK_CODER,
    PRETOKENIZER_SMOLLM,                 /* as GPT-2 with every digit apart */
    PRETOKENIZERS,                       /* those of byte-level vocabularies end here */
    PRETOKENIZER_BLANKS = PRETOKENIZERS, /* before every run of blanks: SentencePiece */
    PRETOKENIZER_EVERY_BLANK,            /* before every blank: Metaspace */
    PRETOKENIZER_RULES,                  /* steps that only a tokenizer knows: cut_rules.h */
} pretokenizer;

/* Cuts from *at on until the text or the room is used up; writes the end of each piece and moves
 * *at behind the last one. Returns the number of pieces: at least 1 if *at < n and room > 0. */
size_t pretokenize(pretokenizer kind, const uint8_t *text, size_t n, size_t *at, size_t *ends,
                   size_t room);

const char *pretokenizer_name(pretokenizer kind); /* "deepseek-v3" */
/* The expressions in the order in which they are applied, each to the pieces left by the one
 * before; NULL from the count on. Spelled as in the files that ship them. */
#define PRETOKENIZER_PASSES 6
const char *pretokenizer_regex(pretokenizer kind, int pass);

/* Offset near `at` (at or after it) where cutting the text in two changes no piece: between a
 * newline and a visible ASCII character, with another such character before the newline. n if there
 * is none. For work in parallel. */
size_t pretokenize_seam(const uint8_t *text, size_t n, size_t at);

#endif
