/* vocabulary_read.c - a tokenizer from the lists of a GGUF file.
 *
 * How. tokenizer.ggml.pre is a name for a set of expressions; many names mean the same set, and the
 * table below knows those whose set is known here. SentencePiece has no merges: they are made up,
 * one for each way to cut a piece into two others, all with the priority of the piece's score; of
 * equals the leftmost goes first (merge_piece.c).
 *
 * Mind. Some files repair their pre-tokeniser in the reader: of the Llama 3 kind a whole piece is
 * looked up before it is merged, and Qwen's text is brought to NFC, as their own files say.
 */
#include "tokens/vocabulary.h"

#include "base/utf8.h"
#include "tokens/tokenizer_json.h"

#include <math.h>
#include <stdlib.h>

/* Expressions that no matcher of pretokenize.h does. */
#define PUNCTUATION_REGEX "[\\p{P}\\$\\+<=>\\^~\\|`]+"
#define GPT2_REGEX                                                                                 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define BLOOM_REGEX                                                                                \
    " ?[^(\\s|.,!?\xE2\x80\xA6\xE3\x80\x82\xEF\xBC\x8C\xE3\x80\x81\xE0\xA5\xA4\xDB\x94\xD8\x8C)]+"
#define UPPER        "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER        "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define LEAD         "[^\\r\\n\\p{L}\\p{N}]?"
#define SHORT        "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define REST         "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SLASH        "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define TEKKEN_REGEX LEAD UPPER "*" LOWER "+|" LEAD UPPER "+" LOWER "*|\\p{N}" SLASH
#define GPT4O_REGEX                                                                                \
    LEAD UPPER "*" LOWER "+" SHORT "?|" LEAD UPPER "+" LOWER "*" SHORT "?|\\p{N}{1,3}" SLASH
#define QWEN35_REGEX                                                                               \
    SHORT "|" LEAD "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"     \
          "|\\s+(?!\\S)|\\s+"

#define RULES_MOST 4
typedef struct pre_name {
    const char *name;
    pretokenizer kind;
    bool ignore_merges;
    const char *regex[RULES_MOST + 1]; /* of PRETOKENIZER_RULES */
} pre_name;

/* The first of a kind is the name that we write. */
static const pre_name pre_names[] = {
    {"gpt-2", PRETOKENIZER_GPT2},
    {"phi-2", PRETOKENIZER_GPT2},
    {"mpt", PRETOKENIZER_GPT2},
    {"olmo", PRETOKENIZER_GPT2},
    {"jais", PRETOKENIZER_GPT2},
    {"exaone4", PRETOKENIZER_GPT2},
    {"deepseek-v3", PRETOKENIZER_DEEPSEEK_V3},
    {"hunyuan-dense", PRETOKENIZER_DEEPSEEK_V3},
    {"qwen2", PRETOKENIZER_QWEN2},
    {"deepseek-r1-qwen", PRETOKENIZER_QWEN2},
    {"deepseek-llm", PRETOKENIZER_DEEPSEEK_LLM},
    {"deepseek-coder", PRETOKENIZER_DEEPSEEK_CODER},
    {"smollm", PRETOKENIZER_SMOLLM},
    {"starcoder", PRETOKENIZER_SMOLLM},
    {"refact", PRETOKENIZER_SMOLLM},
    {"command-r", PRETOKENIZER_SMOLLM},
    {"codeshell", PRETOKENIZER_SMOLLM},
    {"exaone", PRETOKENIZER_SMOLLM},
    {"minerva-7b", PRETOKENIZER_SMOLLM},
    {"llama-bpe", PRETOKENIZER_LLAMA3, true},
    {"llama3", PRETOKENIZER_LLAMA3, true},
    {"llama-v3", PRETOKENIZER_LLAMA3, true},
    {"falcon3", PRETOKENIZER_LLAMA3, true},
    {"glm4", PRETOKENIZER_LLAMA3},
    {"chatglm-bpe", PRETOKENIZER_LLAMA3},
    {"dbrx", PRETOKENIZER_LLAMA3},
    {"smaug-bpe", PRETOKENIZER_LLAMA3},
    {"gpt-4o", PRETOKENIZER_RULES, false, {GPT4O_REGEX}},
    {"llama4", PRETOKENIZER_RULES, false, {GPT4O_REGEX}},
    {"tekken", PRETOKENIZER_RULES, true, {TEKKEN_REGEX}},
    {"qwen35", PRETOKENIZER_RULES, false, {QWEN35_REGEX}},
    {"falcon", PRETOKENIZER_RULES, false, {PUNCTUATION_REGEX, GPT2_REGEX, "[0-9][0-9][0-9]"}},
    {"default",
     PRETOKENIZER_RULES,
     false,
     {PUNCTUATION_REGEX, GPT2_REGEX, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {"bloom", PRETOKENIZER_RULES, false, {BLOOM_REGEX}},
    {"poro-chat", PRETOKENIZER_RULES, false, {BLOOM_REGEX}},
    {"gpt3-finnish", PRETOKENIZER_RULES, false, {BLOOM_REGEX}},
    {"viking", PRETOKENIZER_RULES, false, {BLOOM_REGEX, "\\p{N}"}},
};
#define PRE_NAMES (sizeof pre_names / sizeof *pre_names)

static const pre_name *find_pre(const char *name) {
    for (size_t i = 0; i < PRE_NAMES; i++)
        if (strcmp(pre_names[i].name, name) == 0) return &pre_names[i];
    return NULL;
}

bool vocabulary_pre_known(const char *pre) {
    return find_pre(pre) != NULL;
}

/* Are these the tokenizer's own rules? */
static bool has_rules(const tokenizer *t, const char *const *regex) {
    int i = 0;
    for (; i < t->cuts.n && regex[i] != NULL; i++) {
        const cut_rule *r = &t->cuts.rule[i];
        if (r->regex == NULL || r->syntax != PATTERN_ONIGURUMA || r->behavior != CUT_ISOLATED ||
            r->invert || !pattern_same(r->regex, regex[i]))
            return false;
    }
    return i == t->cuts.n && regex[i] == NULL;
}

const char *vocabulary_pre_name(const tokenizer *t) {
    for (size_t i = 0; i < PRE_NAMES; i++) {
        const pre_name *p = &pre_names[i];
        if (p->kind == t->pretokenizer && (p->kind != PRETOKENIZER_RULES || has_rules(t, p->regex)))
            return p->name;
    }
    return NULL;
}

static status unsupported(const char *what, const char *where, const char *why) {
    return FAIL(F_TOKENIZER_UNSUPPORTED, what, where, why,
                "use the model's Hugging Face folder, if it has a tokenizer.json");
}

/* -- pieces -- */

static bool is_added(piece_type type) {
    return type == PIECE_UNKNOWN || type == PIECE_CONTROL || type == PIECE_USER;
}

static status check_piece(const vocabulary *v, int32_t id, const char *where) {
    const vocabulary_piece *p = &v->pieces[id];
    if (p->n == 0)
        return tokenizer_damaged(text("piece %d is empty", id), where, "a token stands for text");
    if (p->type < PIECE_NORMAL || p->type > PIECE_BYTE)
        return unsupported(text("piece %d has the type %d", id, (int)p->type), where,
                           "types run from 1 to 6");
    if (p->type != PIECE_BYTE) return STATUS_OK;
    if (v->model == VOCABULARY_BPE)
        return unsupported(text("piece %d is a byte in a BPE vocabulary", id), where,
                           "its bytes are pieces like all others");
    if (spelling_byte(p->text, p->n) >= 0) return STATUS_OK;
    return tokenizer_damaged(
        text("piece %d is a byte but spelled \"%.*s\"", id, (int)(p->n < 40 ? p->n : 40), p->text),
        where, "bytes are spelled \"<0x0A>\"");
}

static status count_pieces(const vocabulary *v, const char *where, size_t *blob, int32_t *n_added) {
    if (v->n <= 0 || v->n > TOKENS_MOST || v->n_merges < 0 || v->n_merges > TOKENS_MOST)
        return tokenizer_damaged(text("%d pieces and %d merges", v->n, v->n_merges), where,
                                 text("there may be 1 to %d", TOKENS_MOST));
    *blob = 0;
    *n_added = 0;
    for (int32_t id = 0; id < v->n; id++) {
        TRY(check_piece(v, id, where));
        *blob += v->pieces[id].n;
        *n_added += is_added(v->pieces[id].type);
    }
    return STATUS_OK;
}

/* Bytes and flags of a piece; its length. */
static size_t fill_piece(tokenizer *t, int32_t id, const vocabulary_piece *p, uint8_t *out) {
    size_t n = 0;
    t->flags[id] = TOKEN_MODEL;
    if (p->type == PIECE_BYTE) {
        t->flags[id] |= TOKEN_BYTE;
        out[0] = (uint8_t)spelling_byte(p->text, p->n);
        return 1;
    }
    if (p->type == PIECE_NORMAL && spelling_decode(t->spelling, p->text, p->n, out, &n)) return n;
    t->flags[id] |= TOKEN_RAW;
    if (is_added(p->type)) t->flags[id] |= TOKEN_ADDED;
    if (is_added(p->type) && p->type != PIECE_USER) t->flags[id] |= TOKEN_SPECIAL;
    memcpy(out, p->text, p->n);
    return p->n;
}

static void fill_pieces(tokenizer *t, const vocabulary *v) {
    uint32_t used = 0;
    int32_t added = 0;
    for (int32_t id = 0; id < t->n; id++) {
        used += (uint32_t)fill_piece(t, id, &v->pieces[id], t->blob + used);
        t->offset[id + 1] = used;
        if (t->flags[id] & TOKEN_ADDED)
            t->added[added++] = (added_token){.id = id, .special = t->flags[id] & TOKEN_SPECIAL};
    }
}

/* -- byte-level BPE -- */

static status fill_merge(tokenizer *t, int32_t rank, const vocabulary_merge *m, const char *where) {
    const char *blank = m->n > 0 ? memchr(m->text + 1, ' ', m->n - 1) : NULL;
    if (blank == NULL)
        return tokenizer_damaged(text("merge %d is not a pair", rank), text("%s: merges", where),
                                 "it must be \"a b\"");
    char *right = mem_strndup(blank + 1, m->n - (size_t)(blank + 1 - m->text));
    if (right == NULL) return STATUS_MEMORY;
    status s = tokenizer_set_merge(t, rank, m->text, (size_t)(blank - m->text), right, where);
    mem_free(right);
    return s;
}

static status build_bpe(tokenizer **out, const vocabulary *v, const char *where, size_t blob,
                        int32_t n_added) {
    const char *name = v->pre != NULL ? v->pre : "default";
    const pre_name *pre = find_pre(name);
    if (pre == NULL)
        return unsupported(text("pre-tokenizer \"%.60s\" is not known", name), where,
                           "how it cuts text decides the ids");
    TRY(tokenizer_allocate(out, v->n, blob, v->n_merges, n_added));
    tokenizer *t = *out;
    t->pretokenizer = pre->kind;
    t->ignore_merges = pre->ignore_merges;
    t->nfc = pre->kind == PRETOKENIZER_QWEN2;
    if (pre->kind == PRETOKENIZER_RULES) TRY(tokenizer_cut_by(t, pre->regex, where));
    fill_pieces(t, v);
    TRY(tokenizer_index_tokens(t, where));
    for (int32_t rank = 0; rank < v->n_merges; rank++)
        TRY(fill_merge(t, rank, &v->merges[rank], where));
    return tokenizer_index(t, where);
}

/* -- SentencePiece -- */

typedef struct scored_piece {
    float score;
    int32_t id;
} scored_piece;

static int higher_score_first(const void *a, const void *b) {
    const scored_piece *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static bool cuts_here(const uint8_t *bytes, size_t at) {
    return (bytes[at] & 0xC0) != 0x80;
}

/* The merges that make token `id`, from t->n_merges on, if there is room for them; their number. */
static int32_t add_splits(tokenizer *t, int32_t id, uint32_t priority, bool write) {
    size_t n;
    const uint8_t *bytes = token_bytes(t, id, &n);
    int32_t count = 0;
    for (size_t at = 1; at < n; at++) {
        if (!cuts_here(bytes, at)) continue;
        int32_t left = tokenizer_find(t, bytes, at),
                right = left < 0 ? -1 : tokenizer_find(t, bytes + at, n - at);
        if (right < 0) continue;
        if (write) {
            t->merges[t->n_merges] = (merge){left, right, id};
            t->priority[t->n_merges++] = priority;
        }
        count++;
    }
    return count;
}

/* Pieces by falling score; equal scores share a priority. */
static status make_merges(tokenizer *t, const vocabulary *v, scored_piece *order,
                          const char *where) {
    int64_t total = 0;
    int32_t n = 0;
    for (int32_t id = 0; id < t->n; id++) {
        if (!token_takes_part(t, id)) continue;
        if (isnan(v->pieces[id].score))
            return tokenizer_damaged(text("the score of piece %d is not a number", id), where,
                                     "pieces are ordered by their scores");
        order[n++] = (scored_piece){v->pieces[id].score, id};
        total += add_splits(t, id, 0, false);
    }
    if (total > TOKENS_MOST)
        return FAIL(F_OVERFLOW, text("%lld merges", (long long)total), where,
                    text("there may be %d", TOKENS_MOST), "use a smaller vocabulary");
    qsort(order, (size_t)n, sizeof *order, higher_score_first);
    mem_free(t->merges);
    t->merges = mem_zalloc((size_t)total, sizeof *t->merges);
    t->priority = mem_zalloc((size_t)total, sizeof *t->priority);
    if (t->merges == NULL || t->priority == NULL) return STATUS_MEMORY;
    uint32_t priority = 0; /* counts scores of pieces that something is merged into */
    float last = INFINITY;
    for (int32_t i = 0; i < n; i++) {
        bool next = order[i].score < last && t->n_merges > 0;
        if (add_splits(t, order[i].id, priority + next, true) == 0) continue;
        priority += next;
        last = order[i].score;
    }
    return STATUS_OK;
}

static status build_sentencepiece(tokenizer **out, const vocabulary *v, const char *where,
                                  size_t blob, int32_t n_added) {
    TRY(tokenizer_allocate(out, v->n, blob, 0, n_added));
    tokenizer *t = *out;
    t->spelling = SPELLING_MARKED;
    t->blank_prefix = v->space_prefix ? BLANK_ALWAYS : BLANK_NEVER;
    t->strip_blank = v->space_prefix;
    fill_pieces(t, v);
    TRY(tokenizer_index_tokens(t, where));
    scored_piece *order = mem_alloc((size_t)t->n * sizeof *order);
    if (order == NULL) return STATUS_MEMORY;
    status s = make_merges(t, v, order, where);
    mem_free(order);
    if (s != STATUS_OK) return s;
    t->pretokenizer = tokenizer_blank_cut(t);
    return tokenizer_index(t, where);
}

/* -- the whole -- */

static status name_id(int32_t id, int32_t n, const char *what, const char *where, int32_t *out) {
    if (id < -1 || id >= n)
        return tokenizer_damaged(text("the %s token is %d", what, id), where,
                                 text("ids run from 0 to %d, and -1 is none", n - 1));
    *out = id;
    return STATUS_OK;
}

status tokenizer_from_vocabulary(tokenizer **out, const vocabulary *v, const char *where) {
    size_t blob = 0;
    int32_t n_added = 0;
    *out = NULL;
    TRY(count_pieces(v, where, &blob, &n_added));
    status s = v->model == VOCABULARY_BPE ? build_bpe(out, v, where, blob, n_added)
                                          : build_sentencepiece(out, v, where, blob, n_added);
    if (s == STATUS_OK) s = name_id(v->bos, v->n, "BOS", where, &(*out)->bos);
    if (s == STATUS_OK) s = name_id(v->eos, v->n, "EOS", where, &(*out)->eos);
    if (s == STATUS_OK) return s;
    tokenizer_free(*out);
    *out = NULL;
    return s;
}
