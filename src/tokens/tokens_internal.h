/* tokens_internal.h - what a tokenizer is made of (tokens only).
 *
 * Life of one: tokenizer_allocate gives arrays for a known number of tokens, merges and added
 * tokens; a reader (tokenizer_json.c, tokenizer_gpt2.c, tokenizer_byte, bpe_train.c) fills them in
 * id order; tokenizer_index checks them against each other and builds what encoding needs. From
 * then on nothing changes.
 */
#ifndef FATHOM_TOKENS_INTERNAL_H
#define FATHOM_TOKENS_INTERNAL_H

#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"
#include "tokens/cut_rules.h"
#include "tokens/normal_rules.h"
#include "tokens/pretokenize.h"
#include "tokens/tokens.h"

#include <string.h>

#define TOKENS_MOST (1 << 24) /* ids fit 24 bits, pairs of ids 48 */
#define NO_RANK     UINT32_MAX

enum {                    /* tokenizer.flags, per id */
       TOKEN_MODEL = 1,   /* stands in the vocabulary of the BPE model */
       TOKEN_RAW = 2,     /* its spelling in files is its text, not GPT-2's byte map */
       TOKEN_ADDED = 4,   /* an added token */
       TOKEN_SPECIAL = 8, /* an added token marked special */
       TOKEN_WHOLE = 16,  /* a piece with these bytes becomes just this id */
       TOKEN_STABLE = 32, /* ... and by merging: it can appear in encoded text */
       TOKEN_BYTE = 64,   /* spelled "<0x0A>": the last resort where no character fits */
};

/* How files spell the bytes of a token, and what its parts are. */
typedef enum token_spelling {
    SPELLING_BYTE_MAP, /* GPT-2's printable characters; merging starts from bytes */
    SPELLING_MARKED,   /* U+2581 for a blank; merging starts from characters */
} token_spelling;

/* What SentencePiece puts in front of a text, or of what lies between added tokens. */
typedef enum blank_prefix {
    BLANK_NEVER,
    BLANK_ALWAYS,       /* a blank */
    BLANK_MISSING,      /* a blank, if the text starts with none */
    BLANK_MISSING_ONCE, /* so, but only at the very beginning */
    BLANK_PREFIXES,
} blank_prefix;

typedef struct merge {
    int32_t left, right, result;
} merge;

typedef struct pair_entry {
    uint64_t key; /* left << 32 | right; UINT64_MAX = free */
    uint32_t rank;
    int32_t result;
} pair_entry;

typedef struct added_token {
    int32_t id;
    bool special;
    bool normalized;     /* looked for after the normaliser, not before */
    bool lstrip, rstrip; /* takes the white space before or behind it along */
    bool single_word;    /* only where no word character stands beside it */
} added_token;

typedef struct added_entry {
    const uint8_t *content;
    size_t bytes;
    int32_t id;
    const added_token *token;
} added_entry;

/* Sorted bytewise, so that "longest match here" narrows a range byte by byte. */
typedef struct added_index {
    added_entry *entries;
    int n;
    bool first[256]; /* does any start with this byte? */
} added_index;

/* A node of the trie: the child by byte c is nodes[base ^ c] if that names it as its parent. Bit
 * TRIE_ENDS of `parent` says that a token ends here. */
#define TRIE_ENDS (UINT32_C(1) << 31)
typedef struct trie_node {
    uint32_t base, parent;
} trie_node;

/* How a stable token came about. */
typedef struct token_joint {
    int32_t born;        /* rank of the last merge on its bytes; -1 = a byte */
    int32_t left, right; /* sides of that merge */
    int32_t shorter;     /* longest stable token that is a proper prefix; -1 = none */
} token_joint;

/* What covering needs; without nodes the tokenizer's merges do not allow it. */
typedef struct token_cover {
    trie_node *nodes; /* [n_nodes], a multiple of 256; the root is 0 */
    int32_t *ids;     /* [n_nodes] the token that ends there */
    uint32_t n_nodes;
    uint32_t *borders;   /* [2 * BORDERS] cover_piece.c: least rank that can cross a border */
    token_joint *joints; /* [n of tokenizer] */
} token_cover;

struct tokenizer {
    int32_t n;        /* tokens */
    uint8_t *blob;    /* bytes of all tokens in id order */
    uint32_t *offset; /* [n + 1] into blob */
    uint8_t *flags;   /* [n] */
    merge *merges;    /* [n_merges] by rank */
    int32_t n_merges;
    uint32_t *priority; /* [n_merges] of equals the leftmost goes first; NULL = the rank itself */
    added_token *added; /* [n_added] in the order of the file */
    int32_t n_added;
    pretokenizer pretokenizer;
    cut_rules cuts; /* of PRETOKENIZER_RULES, and as JSON, kept for saving */
    char *cuts_json;
    bool nfc, ignore_merges;
    normal_rules normal_steps; /* of a normaliser that is more than NFC, and as JSON */
    char *normal_json;
    pattern *word; /* a word character, if some added token is single_word */
    token_spelling spelling;
    blank_prefix blank_prefix; /* only with SPELLING_MARKED */
    bool strip_blank;          /* decoded text loses the first blank */
    char *post_processor;      /* as JSON, kept for saving; NULL = null */
    int32_t bos, eos;
    int32_t said_bos, said_eos; /* what the names of tokens and the post-processor say */

    /* built by tokenizer_index */
    int32_t byte_id[256];
    bool lacks_bytes;      /* some that no text in use has; they vanish when encoding */
    int32_t ascii_id[128]; /* SPELLING_MARKED: the token of this character, or its byte's */
    size_t longest;        /* bytes of the longest model token */
    uint64_t fingerprint;
    int32_t *token_slots; /* open addressing over model tokens by their bytes; -1 = free */
    uint32_t token_mask;
    pair_entry *pairs; /* open addressing */
    uint32_t pair_mask;
    uint64_t *pair_filter; /* three bits for each pair: most pairs asked for have no merge */
    uint32_t filter_mask;  /* of words */
    uint32_t *byte_ranks;  /* [256 * 256] rank of two bytes side by side */
    token_cover cover;
    added_index raw, normal; /* added tokens matched before and after the normaliser */
    uint8_t *normal_blob;    /* contents of `normal` normalised; NULL without a normaliser */
};

/* Zeroed arrays; blob_bytes is the sum of the lengths of all tokens. */
status tokenizer_allocate(tokenizer **out, int32_t n, size_t blob_bytes, int32_t n_merges,
                          int32_t n_added) MUST_CHECK;
/* Everything but merges is filled in: builds the map of tokens, so that merges can be looked up. */
status tokenizer_index_tokens(tokenizer *t, const char *where) MUST_CHECK;
/* Sets merges[rank] from the spellings of its sides, `right` NUL-terminated; `where` names the
 * file. */
status tokenizer_set_merge(tokenizer *t, int32_t rank, const char *left, size_t n_left,
                           const char *right, const char *where) MUST_CHECK;
/* The rest: map of pairs, added tokens, whole tokens, fingerprint, BOS and EOS by their names. */
status tokenizer_index(tokenizer *t, const char *where) MUST_CHECK;

static inline const uint8_t *token_bytes(const tokenizer *t, int32_t id, size_t *n) {
    *n = t->offset[id + 1] - t->offset[id];
    return t->blob + t->offset[id];
}

/* Is it made by merging, or from a byte or character of the text? */
static inline bool token_takes_part(const tokenizer *t, int32_t id) {
    const unsigned other = TOKEN_RAW | TOKEN_ADDED | TOKEN_BYTE;
    return (t->flags[id] & (TOKEN_MODEL | other)) == TOKEN_MODEL;
}

/* F_TOKENIZER with the usual advice. */
status tokenizer_damaged(const char *what, const char *where, const char *why) MUST_CHECK;
/* Longest added token of the index that stands at `at`; NULL = none. */
const added_entry *added_match(const added_index *index, const uint8_t *text, size_t n, size_t at);
/* The text that pieces are cut from: the normaliser's, if there is one. It lies in `w` or is the
 * input. */
status tokenizer_normalise(const tokenizer *t, normal_work *w, const uint8_t **text,
                           size_t *n) MUST_CHECK;

/* Model token with exactly these bytes, not an added one; -1 if there is none. */
int32_t tokenizer_find(const tokenizer *t, const uint8_t *bytes, size_t n);

static inline uint64_t pair_key(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static inline uint32_t pair_hash(uint64_t key) {
    key *= 0x9E3779B97F4A7C15u;
    return (uint32_t)(key >> 32) ^ (uint32_t)(key >> 20);
}

/* The pair's three bits of a word of the filter. */
static inline uint64_t pair_bits(uint64_t key) {
    uint64_t h = key * 0xC2B2AE3D27D4EB4Fu;
    return (uint64_t)1 << (h >> 58) | (uint64_t)1 << (h >> 52 & 63) | (uint64_t)1 << (h >> 46 & 63);
}

/* Rank of the merge of two ids and the token it gives; NO_RANK if there is none. */
static inline uint32_t pair_rank(const tokenizer *t, int32_t left, int32_t right, int32_t *result) {
    uint64_t key = pair_key(left, right), bits = pair_bits(key);
    uint32_t hash = pair_hash(key);
    if ((t->pair_filter[hash & t->filter_mask] & bits) != bits) return NO_RANK;
    for (uint32_t i = hash & t->pair_mask;; i = (i + 1) & t->pair_mask) {
        if (t->pairs[i].key == UINT64_MAX) return NO_RANK;
        if (t->pairs[i].key != key) continue;
        *result = t->pairs[i].result;
        return t->pairs[i].rank;
    }
}

/* merge_piece.c: ids of one piece by its merges. The scratch belongs to one tokenizer. */
typedef struct merge_scratch {
    void *block; /* reused by long pieces */
    size_t room;
    uint64_t
        *settled; /* cover_piece: direct mapped, what is known of pairs; NULL before its first */
    int32_t last; /* rank of the last merge that merge_piece made; -1 = none */
} merge_scratch;
void merge_scratch_clear(merge_scratch *s);
/* At least so many bytes of block; its contents are lost. */
status merge_scratch_reserve(merge_scratch *s, size_t bytes) MUST_CHECK;
/* `out` has room for n ids; *count of them are written. n >= 1. */
status merge_piece(const tokenizer *t, const uint8_t *piece, size_t n, merge_scratch *scratch,
                   int32_t *out, size_t *count) MUST_CHECK;

/* cover_piece.c: the same ids faster, if t->cover has nodes. */
status cover_piece(const tokenizer *t, const uint8_t *piece, size_t n, merge_scratch *scratch,
                   int32_t *out, size_t *count) MUST_CHECK;
/* encode_piece.c: the faster of both, and repetition in long pieces only once. */
status encode_piece(const tokenizer *t, const uint8_t *piece, size_t n, merge_scratch *scratch,
                    int32_t *out, size_t *count) MUST_CHECK;
/* Joints and TOKEN_STABLE are filled in: adds the trie, or clears the cover where the merges do not
 * allow it. */
status token_cover_build(tokenizer *t) MUST_CHECK;
void token_cover_clear(token_cover *c);
/* token_trie.c: nodes, and `shorter` of the joints. */
status token_trie_build(const tokenizer *t, token_cover *cover) MUST_CHECK;

/* byte_map.c: GPT-2's spelling of bytes as printable characters. */
uint32_t byte_map_character(uint8_t byte);
/* The byte a character of the map stands for, -1 if it is none. */
int byte_map_byte(uint32_t character);
/* Decodes a spelling of n bytes into out (room for n); false if a character is not of the map. */
bool byte_map_decode(const char *spelling, size_t n, uint8_t *out, size_t *out_n);
/* The spelling of n bytes, NUL-terminated; out has room for 2 n + 1. */
void byte_map_encode(const uint8_t *bytes, size_t n, char *out);

/* spelling.c: the bytes of a token from its spelling and back; as byte_map_decode and _encode. */
bool spelling_decode(token_spelling how, const char *spelled, size_t n, uint8_t *out,
                     size_t *out_n);
/* out has room for SPELLING_GROWTH n + 1. */
#define SPELLING_GROWTH 3
void spelling_encode(token_spelling how, const uint8_t *bytes, size_t n, char *out);
/* The byte that "<0x0A>" names, -1 if it is no such name. */
int spelling_byte(const char *spelled, size_t n);
#define BLANK_MARK "\xE2\x96\x81"

/* PRETOKENIZER_BLANKS if that changes no id of this vocabulary, else PRETOKENIZER_WHOLE. */
pretokenizer tokenizer_blank_cut(const tokenizer *t);

/* vocabulary_read.c: what GGUF calls the pre-tokeniser; NULL = it has no name. */
const char *vocabulary_pre_name(const tokenizer *t);
/* vocabulary_write.c: the spelling of a token in files, NUL-terminated, and its length; `out` has
 * room for SPELLING_GROWTH n + 7. */
size_t tokenizer_spell(const tokenizer *t, int32_t id, char *out);

/* tokenizer_gpt2.c */
status tokenizer_read_gpt2(tokenizer **out, const char *folder) MUST_CHECK;

/* The word behind "bos_token" or the like in a tokenizer_config.json: a name or an object with
 * "content"; NULL if it names none. Lent. */
const char *token_config_word(const json_t *config, const char *key);

#endif
