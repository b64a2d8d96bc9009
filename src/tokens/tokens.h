/* tokens.h - text to ids and back: BPE over bytes (DeepSeek, Qwen, Llama 3, GPT-2) or characters
 * (SentencePiece: Llama 1 and 2, Mistral).
 *
 * A `tokenizer` is a vocabulary with its rules: bytes of every token, merges by rank, the
 * pre-tokeniser that cuts text into pieces, an optional normaliser, and added tokens such as
 * "<|endoftext|>". It never changes after it was made, so any number of threads may share one.
 * An `encoder` is one thread's working memory over a tokenizer, above all its cache of pieces.
 *
 *     tokenizer *t;
 *     TRY(tokenizer_open(&t, "runs/first/tokenizer.json"));
 *     encoder *e;
 *     TRY(encoder_new(&e, t));
 *     token_list ids = {0};
 *     TRY(encoder_add(e, text, n, SPECIAL_AS_TEXT, &ids));       // appends to ids
 *     char *back;
 *     size_t back_n;
 *     TRY(tokenizer_decode(t, ids.ids, ids.n, true, &back, &back_n));   // == text
 *     mem_free(back); token_list_clear(&ids); encoder_free(e); tokenizer_free(t);
 *
 * Text is bytes. Where it is not valid UTF-8 the bytes are kept, so decode(encode(x)) == x for any
 * x; with a normaliser (Qwen: NFC) it is the normal form of x. Vocabularies without tokens for the
 * bytes C0, C1 and F1-FF exist; of these they lose what they lack, as elsewhere. Training a vocabulary is in
 * bpe_train.h, the cutting into pieces in pretokenize.h.
 *
 * Chat templates are in chat.h.
 *
 * Vocabularies as GGUF holds them are in vocabulary.h.
 *
 * Not here: WordPiece and Unigram models, normalisers that change case or strip. Files that need them
 * are refused by name, never approximated.
 */
#ifndef FATHOM_TOKENS_H
#define FATHOM_TOKENS_H

#include "base/status.h"

#include <stdint.h>

typedef struct tokenizer tokenizer;
typedef struct encoder encoder;

/* A growable list of ids; zeroed = empty. The caller owns it. */
typedef struct token_list {
    int32_t *ids;
    size_t n, room;
} token_list;
void token_list_clear(token_list *list); /* frees; accepts a zeroed one */

/* -- making one -- */

/* Opens a tokenizer.json (plain or gzipped), or a folder with tokenizer.json[.gz] (of a run: with
 * model/tokenizer.json) or with GPT-2's vocab.json and merges.txt. A tokenizer_config.json beside
 * the file names BOS and EOS; without it the post-processor and then well-known names do.
 * F_TOKENIZER: damaged or contradictory; F_TOKENIZER_UNSUPPORTED: sound, but of another kind. */
status tokenizer_open(tokenizer **out, const char *path) MUST_CHECK;
/* The same from the bytes of a tokenizer.json in memory; `where` names them in messages. */
status tokenizer_parse(tokenizer **out, const char *json, size_t n, const char *where) MUST_CHECK;
/* 256 tokens, id = byte, no merges, no added tokens: what character-level presets use. */
status tokenizer_byte(tokenizer **out) MUST_CHECK;
void tokenizer_free(tokenizer *t); /* accepts NULL */
/* Writes a Hugging Face tokenizer.json, atomically; the same bytes for the same tokenizer, and
 * reading it gives an equal one. */
status tokenizer_save(const tokenizer *t, const char *path) MUST_CHECK;
/* The same as one line in memory; mem_free it. */
status tokenizer_format(const tokenizer *t, char **json, size_t *n) MUST_CHECK;

/* -- facts -- */

int32_t tokenizer_vocab_size(const tokenizer *t); /* ids are 0 .. vocab_size - 1 */
int32_t tokenizer_bos(const tokenizer *t);        /* -1 = none */
int32_t tokenizer_eos(const tokenizer *t);        /* -1 = none */
/* Hash of everything that decides ids: tokens, merges, pre-tokeniser, normaliser, added tokens. */
uint64_t tokenizer_fingerprint(const tokenizer *t);
/* The bytes a token stands for; they belong to the tokenizer. NULL and 0 for an unknown id. */
const uint8_t *tokenizer_token(const tokenizer *t, int32_t id, size_t *n);
/* Their number; 0 for an unknown id and for special tokens, which stand for no text. */
int32_t tokenizer_token_bytes(const tokenizer *t, int32_t id);
/* Is it an added token marked special (BOS, EOS, padding, ...)? */
bool tokenizer_is_special(const tokenizer *t, int32_t id);
bool tokenizer_is_added(const tokenizer *t, int32_t id); /* special or not */
/* The id of an added token by its exact content ("<think>"), -1 if there is none. */
int32_t tokenizer_find_added(const tokenizer *t, const char *content);
int32_t tokenizer_merges(const tokenizer *t);
int32_t tokenizer_added(const tokenizer *t);                 /* number of added tokens */
const char *tokenizer_pretokenizer_name(const tokenizer *t); /* "deepseek-v3" */

/* -- text to ids -- */

typedef enum special_mode {
    SPECIAL_AS_TEXT, /* text from outside: "<|endoftext|>" is ten-odd ordinary characters */
    SPECIAL_PARSE,   /* our own text (templates): added tokens become their ids */
} special_mode;

status encoder_new(encoder **out, const tokenizer *t) MUST_CHECK;
void encoder_free(encoder *e); /* accepts NULL; before its tokenizer */
/* Appends the ids of one text. Neither BOS nor EOS is put around it. On failure the list keeps
 * what it had before the call. */
status encoder_add(encoder *e, const void *bytes, size_t n, special_mode mode,
                   token_list *out) MUST_CHECK;
/* The same for a text of which parts came from outside (outside[i] = 1: byte i did): an added token
 * is recognised only where all of its bytes are our own. Added tokens are looked for in the text as
 * it is, before any normalising. */
status encoder_add_marked(encoder *e, const void *bytes, const uint8_t *outside, size_t n,
                          token_list *out) MUST_CHECK;
/* The same for a single text, with an encoder of its own. */
status tokenizer_encode(const tokenizer *t, const void *bytes, size_t n, special_mode mode,
                        token_list *out) MUST_CHECK;

/* -- ids to text -- */

/* Bytes of the ids, NUL-terminated behind *n; mem_free them. `specials`: also write the content of
 * special tokens. F_TOKEN_RANGE for an id outside the vocabulary. */
status tokenizer_decode(const tokenizer *t, const int32_t *ids, size_t n_ids, bool specials,
                        char **bytes, size_t *n) MUST_CHECK;

/* Text of a growing sequence, always valid UTF-8: the bytes of an unfinished character are held
 * back until it is complete, bytes that can never be one become U+FFFD. Special tokens are silent.
 * All texts joined are what a lossy UTF-8 reader makes of tokenizer_decode. */
typedef struct token_stream {
    const tokenizer *tokenizer;
    char *text; /* the last result */
    size_t room;
    uint8_t held[4];
    int n_held;
    bool started; /* has there been text? */
} token_stream;
void token_stream_init(token_stream *s, const tokenizer *t);
void token_stream_clear(token_stream *s);
/* Adds one id; *text (NUL-terminated, maybe empty) lives until the next call. */
status token_stream_add(token_stream *s, int32_t id, const char **text, size_t *n) MUST_CHECK;
/* At the end: what is still held back, as U+FFFD. The stream can then be used afresh. */
status token_stream_end(token_stream *s, const char **text, size_t *n) MUST_CHECK;

#endif
