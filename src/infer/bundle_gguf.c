/* bundle_gguf.c - a model and its tokenizer from one GGUF file.
 *
 * The lists tokenizer.ggml.tokens, .token_type, .merges or .scores become a vocabulary
 * (tokens/vocabulary.h), which knows the kinds "gpt2" and "llama" and the table of pre-tokenisers.
 * Both are refused by name when unknown; a BPE file without .pre or .token_type is refused too,
 * because it would be cut otherwise than its model was trained with.
 */
#include "infer/bundle_internal.h"

#include "base/memory.h"
#include "model/model_gguf.h"
#include "tokens/vocabulary.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

typedef struct lists {
    gguf_text *tokens, *merges;
    int64_t *types, n, n_types, n_merges, n_scores;
    double *scores;
    vocabulary_piece *pieces;
    vocabulary_merge *pairs;
} lists;

static void lists_free(lists *l) {
    mem_free(l->tokens);
    mem_free(l->merges);
    mem_free(l->types);
    mem_free(l->scores);
    mem_free(l->pieces);
    mem_free(l->pairs);
}

static status unequal(const gguf *f, const char *key, int64_t found, int64_t expected) {
    return FAIL(F_TOKENIZER, text("key \"%s\" has %" PRId64 " elements", key, found), gguf_path(f),
                text("there are %" PRId64 " tokens", expected),
                "write the file again with the program it came from");
}

/* An id that may be absent. */
static status read_id(const gguf *f, const char *key, int32_t *out) {
    int64_t id = -1;
    if (gguf_lookup_value(f, key) != NULL) TRY(gguf_get_int(f, key, &id));
    *out = id >= 0 && id <= INT32_MAX ? (int32_t)id : -1;
    return STATUS_OK;
}

static status fill_pieces(lists *l, const gguf *f) {
    if (l->n > INT32_MAX) return unequal(f, KEY("tokens"), l->n, INT32_MAX);
    if (l->n_types != l->n) return unequal(f, KEY("token_type"), l->n_types, l->n);
    if (l->scores != NULL && l->n_scores != l->n)
        return unequal(f, KEY("scores"), l->n_scores, l->n);
    l->pieces = mem_zalloc((size_t)l->n + 1, sizeof *l->pieces);
    l->pairs = mem_zalloc((size_t)l->n_merges + 1, sizeof *l->pairs);
    if (l->pieces == NULL || l->pairs == NULL) return STATUS_MEMORY;
    for (int64_t i = 0; i < l->n; i++)
        l->pieces[i] = (vocabulary_piece){.text = l->tokens[i].bytes,
                                          .n = l->tokens[i].n,
                                          .score = l->scores != NULL ? (float)l->scores[i] : 0,
                                          .type = l->types[i] >= 0 && l->types[i] < 100
                                                      ? (piece_type)l->types[i]
                                                      : (piece_type)0};
    for (int64_t i = 0; i < l->n_merges; i++)
        l->pairs[i] = (vocabulary_merge){l->merges[i].bytes, l->merges[i].n};
    return STATUS_OK;
}

static status read_lists(lists *l, vocabulary *v, gguf *f) {
    const char *kind;
    TRY(gguf_get_string(f, KEY("model"), &kind));
    TRY(gguf_get_texts(f, KEY("tokens"), &l->tokens, &l->n));
    TRY(gguf_get_ints(f, KEY("token_type"), &l->types, &l->n_types));
    if (strcmp(kind, "gpt2") == 0) {
        v->model = VOCABULARY_BPE;
        TRY(gguf_get_string(f, KEY("pre"), &v->pre));
        TRY(gguf_get_texts(f, KEY("merges"), &l->merges, &l->n_merges));
    } else if (strcmp(kind, "llama") == 0) {
        v->model = VOCABULARY_SENTENCEPIECE;
        TRY(gguf_get_reals(f, KEY("scores"), &l->scores, &l->n_scores));
    } else {
        return FAIL(F_TOKENIZER_UNSUPPORTED, text("tokenizer.ggml.model is \"%.100s\"", kind),
                    gguf_path(f), "tokenizers of the kinds gpt2 and llama are read here",
                    "choose a model with one of these tokenizers");
    }
    return fill_pieces(l, f);
}

/* The words that a template's bos_token and eos_token stand for; "" if there is none. */
static status token_word(const lists *l, int32_t id, char **out) {
    bool known = id >= 0 && id < l->n;
    *out = mem_strndup(known ? l->tokens[id].bytes : "", known ? l->tokens[id].n : 0);
    return *out != NULL ? STATUS_OK : STATUS_MEMORY;
}

static status open_template(bundle *b, gguf *f, const lists *l, const vocabulary *v) {
    const char *source;
    char *bos = NULL, *eos = NULL;
    status s;
    if (gguf_lookup_value(f, "tokenizer.chat_template") == NULL) return STATUS_OK;
    TRY_GOTO(s, gguf_get_string(f, "tokenizer.chat_template", &source));
    TRY_GOTO(s, token_word(l, v->bos, &bos));
    TRY_GOTO(s, token_word(l, v->eos, &eos));
    s = chat_format_parse(&b->chat, source, strlen(source), gguf_path(f), bos, eos);
done:
    mem_free(bos);
    mem_free(eos);
    return s;
}

/* What ends an answer: the end of a text and, where a file names it, that of a turn. */
static status read_stops(bundle *b, gguf *f, const vocabulary *v) {
    static const char *const keys[] = {KEY("eos_token_id"), KEY("eot_token_id")};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        int32_t id;
        TRY(read_id(f, keys[i], &id));
        if (id >= 0 && id < v->n) b->stop_ids[b->n_stop_ids++] = id;
    }
    return STATUS_OK;
}

/* Tokenizer, template and ends of answers. */
static status open_words(bundle *b, gguf *f) {
    lists l = {0};
    vocabulary v = {.space_prefix = true};
    status s;
    TRY_GOTO(s, read_lists(&l, &v, f));
    TRY_GOTO(s, read_id(f, KEY("bos_token_id"), &v.bos));
    TRY_GOTO(s, read_id(f, KEY("eos_token_id"), &v.eos));
    if (gguf_lookup_value(f, KEY("add_space_prefix")) != NULL)
        TRY_GOTO(s, gguf_get_bool(f, KEY("add_space_prefix"), &v.space_prefix));
    v.n = (int32_t)l.n;
    v.n_merges = l.n_merges <= INT32_MAX ? (int32_t)l.n_merges : INT32_MAX;
    v.pieces = l.pieces;
    v.merges = l.pairs;
    TRY_GOTO(s, open_template(b, f, &l, &v));
    TRY_GOTO(s, read_stops(b, f, &v));
    if (gguf_lookup_value(f, KEY("add_bos_token")) != NULL) {
        bool add;
        TRY_GOTO(s, gguf_get_bool(f, KEY("add_bos_token"), &add));
        if (!add) v.bos = -1; /* a text begins without it */
    }
    s = tokenizer_from_vocabulary(&b->tokenizer, &v, gguf_path(f));
done:
    lists_free(&l);
    return s;
}

status bundle_open_gguf(bundle *b, const char *path, bundle_weights weights) {
    gguf *f = NULL;
    model_config config;
    status s;
    TRY_GOTO(s, gguf_open(&f, path));
    TRY_GOTO(s, model_config_from_gguf(&config, f));
    TRY_GOTO(s, open_words(b, f));
    b->model.config = config;
    if (weights == WEIGHTS_NONE) goto done;
    if (weights == WEIGHTS_HELD) {
        TRY_GOTO(s, model_describe(&b->model, &config, DTYPE_F32));
        s = model_hold_gguf(&b->model, f);
    } else {
        TRY_GOTO(s, model_init(&b->model, &config, DTYPE_F32));
        s = model_load_gguf(&b->model, f);
    }
done:
    gguf_close(f);
    return s;
}
