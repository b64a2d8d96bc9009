/* tokenizer_write.c - writing a tokenizer as Hugging Face tokenizer.json.
 *
 * How. The JSON is built in a fixed order (vocabulary by id, merges by rank, added tokens as they
 * were), so equal tokenizers give equal bytes. Merges are written as "a b", which every version of
 * the readers takes; a token that holds a blank is spelled without one by the byte map.
 */
#include "base/file.h"
#include "tokens/tokenizer_json.h"

/* The spelling of a token as a JSON key; mem_free it. */
static char *spell(const tokenizer *t, int32_t id) {
    size_t n;
    (void)token_bytes(t, id, &n);
    char *spelling = mem_alloc(SPELLING_GROWTH * n + 7);
    if (spelling != NULL) (void)tokenizer_spell(t, id, spelling);
    return spelling;
}

static bool add_vocabulary(const tokenizer *t, char **spelling, json_t *vocab) {
    for (int32_t id = 0; id < t->n; id++) {
        spelling[id] = spell(t, id);
        if (spelling[id] == NULL) return false;
        if (!(t->flags[id] & TOKEN_MODEL)) continue;
        if (json_object_set_new(vocab, spelling[id], json_integer(id)) != 0) return false;
    }
    return true;
}

static bool add_merges(const tokenizer *t, char *const *spelling, json_t *list) {
    for (int32_t rank = 0; rank < t->n_merges; rank++) {
        const merge *m = &t->merges[rank];
        json_t *line = json_sprintf("%s %s", spelling[m->left], spelling[m->right]);
        if (json_array_append_new(list, line) != 0) return false;
    }
    return true;
}

static bool add_added(const tokenizer *t, char *const *spelling, json_t *list) {
    for (int32_t i = 0; i < t->n_added; i++) {
        const added_token *a = &t->added[i];
        json_t *object =
            json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", a->id, "content",
                      spelling[a->id], "single_word", a->single_word, "lstrip", a->lstrip, "rstrip",
                      a->rstrip, "normalized", a->normalized, "special", a->special);
        if (json_array_append_new(list, object) != 0) return false;
    }
    return true;
}

static json_t *byte_level(bool use_regex) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 0, "use_regex", use_regex);
}

static json_t *pretokenizer_json(const tokenizer *t) {
    pretokenizer kind = t->pretokenizer;
    if (t->spelling == SPELLING_MARKED) return tokenizer_blank_cuts(t);
    if (t->cuts_json != NULL) return json_loads(t->cuts_json, 0, NULL);
    if (kind == PRETOKENIZER_GPT2 || kind == PRETOKENIZER_WHOLE)
        return byte_level(kind == PRETOKENIZER_GPT2);
    const char *regex[PRETOKENIZER_PASSES + 1] = {NULL};
    for (int pass = 0; pretokenizer_regex(kind, pass) != NULL; pass++)
        regex[pass] = pretokenizer_regex(kind, pass);
    return tokenizer_cuts_json(regex);
}

static json_t *normalizer_json(const tokenizer *t) {
    if (t->normal_json != NULL) return json_loads(t->normal_json, 0, NULL);
    if (t->spelling == SPELLING_MARKED) return tokenizer_blank_normalizer(t);
    return t->nfc ? json_pack("{s:s}", "type", "NFC") : json_null();
}

static json_t *decoder_json(const tokenizer *t) {
    return t->spelling == SPELLING_MARKED ? tokenizer_blank_decoder(t) : byte_level(true);
}

static json_t *post_processor_json(const tokenizer *t) {
    if (t->post_processor == NULL) return json_null();
    return json_loads(t->post_processor, 0, NULL);
}

/* Fills the lists; false without memory. */
static bool add_lists(const tokenizer *t, json_t *vocab, json_t *merges, json_t *added) {
    char **spelling = mem_zalloc((size_t)t->n, sizeof *spelling);
    bool ok = spelling != NULL && vocab != NULL && merges != NULL && added != NULL &&
              add_vocabulary(t, spelling, vocab) && add_merges(t, spelling, merges) &&
              add_added(t, spelling, added);
    for (int32_t id = 0; spelling != NULL && id < t->n; id++)
        mem_free(spelling[id]);
    mem_free(spelling);
    return ok;
}

/* Ranks of merges that do not all have their own; part of the model, or nothing. */
static bool add_merge_ranks(const tokenizer *t, json_t *model) {
    if (t->priority == NULL) return model != NULL;
    json_t *list = json_array();
    bool ok = model != NULL && list != NULL;
    for (int32_t i = 0; ok && i < t->n_merges; i++)
        ok = json_array_append_new(list, json_integer(t->priority[i])) == 0;
    if (ok) return json_object_set_new(model, "merge_ranks", list) == 0;
    json_decref(list);
    return false;
}

static json_t *model_json(const tokenizer *t, json_t *vocab, json_t *merges) {
    return json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                     "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                     "byte_fallback", t->spelling == SPELLING_MARKED, "ignore_merges",
                     t->ignore_merges, "vocab", vocab, "merges", merges);
}

/* BOS and EOS, where a tokenizer_config.json or a GGUF file had another opinion than the names. */
static bool add_ends(const tokenizer *t, json_t *root) {
    if (t->bos == t->said_bos && t->eos == t->said_eos) return true;
    return json_object_set_new(root, "fathom",
                               json_pack("{s:i, s:i}", "bos", t->bos, "eos", t->eos)) == 0;
}

static status tokenizer_json(const tokenizer *t, json_t **out) {
    json_t *vocab = json_object(), *merges = json_array(), *added = json_array();
    *out = json_object();
    if (*out != NULL && add_lists(t, vocab, merges, added) &&
        json_object_set_new(*out, "version", json_string("1.0")) == 0 &&
        json_object_set_new(*out, "truncation", json_null()) == 0 &&
        json_object_set_new(*out, "padding", json_null()) == 0 &&
        json_object_set(*out, "added_tokens", added) == 0 &&
        json_object_set_new(*out, "normalizer", normalizer_json(t)) == 0 &&
        json_object_set_new(*out, "pre_tokenizer", pretokenizer_json(t)) == 0 &&
        json_object_set_new(*out, "post_processor", post_processor_json(t)) == 0 &&
        json_object_set_new(*out, "decoder", decoder_json(t)) == 0 &&
        json_object_set_new(*out, "model",
                            model_json(t, json_incref(vocab), json_incref(merges))) == 0 &&
        add_merge_ranks(t, json_object_get(*out, "model")) && add_ends(t, *out)) {
        json_decref(vocab);
        json_decref(merges);
        json_decref(added);
        return STATUS_OK;
    }
    json_decref(vocab);
    json_decref(merges);
    json_decref(added);
    json_decref(*out);
    *out = NULL;
    return FAIL(F_NO_MEMORY, "the tokenizer could not be written as JSON", "tokenizer.json",
                "memory ran out", "close other programs");
}

status tokenizer_save(const tokenizer *t, const char *path) {
    json_t *root;
    TRY(tokenizer_json(t, &root));
    status s = json_write(path, root);
    json_decref(root);
    return s;
}

status tokenizer_format(const tokenizer *t, char **json, size_t *n) {
    json_t *root;
    TRY(tokenizer_json(t, &root));
    *json = json_line(root);
    json_decref(root);
    if (*json == NULL) return STATUS_MEMORY;
    *n = strlen(*json);
    return STATUS_OK;
}
