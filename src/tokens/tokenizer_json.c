/* tokenizer_json.c - reading Hugging Face tokenizer.json files of byte-level BPE models.
 *
 * What. Strict: every part that could change ids is either understood exactly or refused by name
 * (F_TOKENIZER_UNSUPPORTED); contradictions inside the file are F_TOKENIZER with the place.
 *
 *     model          BPE; vocab {spelling: id}; merges "a b" or ["a", "b"]; ignore_merges; no
 *                    dropout, unk_token, prefix, suffix or byte_fallback
 *     added_tokens   id, content, special, normalized, single_word, lstrip, rstrip
 *     normalizer     steps of tokenizer_normal.c
 *     pre_tokenizer  steps of tokenizer_rules.c, one of them ByteLevel
 *     post_processor kept as it is; a TemplateProcessing names BOS and EOS
 *     decoder        ByteLevel
 *     truncation, padding   null
 *
 * How. Ids must be 0 .. n-1 without holes, so n is known from the number of entries and nothing in
 * the file can make us allocate more than its own size. A spelling is decoded by GPT-2's byte map;
 * spellings that equal an added token, or hold characters outside the map, stand for their own
 * UTF-8 bytes, as in Hugging Face's decoder, and take no part in BPE.
 */
#include "tokens/tokenizer_json.h"

#include <inttypes.h>

typedef struct json_source {
    const char *where;
    json_t *root, *model, *vocab, *merges, *added;
    token_spelling spelling_kind;
    int64_t n;             /* tokens */
    const char **spelling; /* [n] key in the vocabulary, NULL = not there */
    json_t **added_object; /* [n] added token of this id, NULL = none */
} json_source;

status tokenizer_unsupported(const char *what, const char *where, const char *why) {
    return FAIL(F_TOKENIZER_UNSUPPORTED, what, where, why,
                "use a model with a BPE tokenizer as DeepSeek, Qwen, GPT-2 and Llama have");
}

/* -- single values -- */

status tokenizer_read_bool(const json_t *object, const char *key, bool standard, const char *where,
                           bool *out) {
    const json_t *value = json_object_get(object, key);
    *out = standard;
    if (value == NULL || json_is_null(value)) return STATUS_OK;
    if (!json_is_boolean(value))
        return tokenizer_damaged(text("%s is not true or false", key), where,
                                 "it has another JSON type");
    *out = json_is_true(value);
    return STATUS_OK;
}

status tokenizer_read_type(const json_t *object, const char *where, const char **type) {
    *type = "";
    if (object == NULL || json_is_null(object)) return STATUS_OK;
    *type = json_string_value(json_object_get(object, "type"));
    if (*type != NULL) return STATUS_OK;
    return tokenizer_damaged(text("%s has no type", where), where,
                             "it must be null or an object with a \"type\"");
}

/* Refuses a setting that we do not have, unless it is absent, null, false or "". */
static status refuse_setting(const json_t *object, const char *key, const char *where) {
    const json_t *value = json_object_get(object, key);
    if (value == NULL || json_is_null(value) || json_is_false(value)) return STATUS_OK;
    if (json_is_string(value) && json_string_length(value) == 0) return STATUS_OK;
    return tokenizer_unsupported(text("%s is set", key), where,
                                 "this setting changes ids and is not known");
}

/* -- rules around the model -- */

static status check_surroundings(const json_source *f) {
    const char *type;
    for (int i = 0; i < 2; i++) {
        const char *key = i == 0 ? "truncation" : "padding";
        const json_t *value = json_object_get(f->root, key);
        if (value != NULL && !json_is_null(value))
            return tokenizer_unsupported(text("%s is set", key), text("%s: %s", f->where, key),
                                         "a tokenizer here never shortens or pads text");
    }
    if (f->spelling_kind != SPELLING_BYTE_MAP) return STATUS_OK; /* tokenizer_blanks.c reads it */
    const char *where = text("%s: decoder", f->where);
    TRY(tokenizer_read_type(json_object_get(f->root, "decoder"), where, &type));
    if (strcmp(type, "ByteLevel") == 0) return STATUS_OK;
    return tokenizer_unsupported(text("decoder \"%.60s\" is not known", type), where,
                                 "only ByteLevel is");
}

static status check_model(json_source *f) {
    static const char *const absent[] = {"dropout", "continuing_subword_prefix",
                                         "end_of_word_suffix", "unk_token"};
    bool fallback;
    const char *where = text("%s: model", f->where), *type = "BPE";
    /* Old files have no type; that there are merges says it as well. */
    if (json_object_get(f->model, "type") != NULL) TRY(tokenizer_read_type(f->model, where, &type));
    if (strcmp(type, "BPE") != 0)
        return tokenizer_unsupported(text("model \"%.60s\" is not known", type), where,
                                     "only BPE is");
    TRY(tokenizer_read_bool(f->model, "byte_fallback", false, where, &fallback));
    if (fallback)
        f->spelling_kind = SPELLING_MARKED; /* no text is unknown: all bytes must be there */
    for (size_t i = 0; i < (fallback ? 3 : 4); i++)
        TRY(refuse_setting(f->model, absent[i], where));
    return STATUS_OK;
}

/* -- post-processor: BOS and EOS -- */

/* "single" of a TemplateProcessing: special tokens before the text, the text, those behind it. */
static void read_template(const json_t *object, tokenizer *t) {
    const json_t *single = json_object_get(object, "single");
    bool behind = false;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *part = json_array_get(single, i);
        if (json_object_get(part, "Sequence") != NULL) behind = true;
        const char *name =
            json_string_value(json_object_get(json_object_get(part, "SpecialToken"), "id"));
        int32_t id = name != NULL ? tokenizer_find_added(t, name) : -1;
        if (id >= 0) *(behind ? &t->eos : &t->bos) = id;
    }
}

static status read_post_processor(const json_t *object, const char *where, tokenizer *t) {
    const char *type;
    TRY(tokenizer_read_type(object, where, &type));
    if (*type == 0 || strcmp(type, "ByteLevel") == 0) return STATUS_OK;
    if (strcmp(type, "TemplateProcessing") == 0) {
        read_template(object, t);
        return STATUS_OK;
    }
    if (strcmp(type, "Sequence") != 0)
        return tokenizer_unsupported(text("post-processor \"%.60s\" is not known", type), where,
                                     "only ByteLevel and TemplateProcessing are");
    json_t *list;
    TRY(json_get_array(object, "processors", &list, where));
    for (size_t i = 0; i < json_array_size(list); i++)
        TRY(read_post_processor(json_array_get(list, i), where, t));
    return STATUS_OK;
}

static status keep_post_processor(const json_source *f, tokenizer *t) {
    const json_t *object = json_object_get(f->root, "post_processor");
    TRY(read_post_processor(object, text("%s: post_processor", f->where), t));
    if (object == NULL || json_is_null(object)) return STATUS_OK;
    t->post_processor = json_line(object);
    return t->post_processor != NULL ? STATUS_OK : STATUS_MEMORY;
}

/* Our own key, where BOS or EOS are others than the rest of the file says: {"bos": id, "eos": id}. */
static status read_ends(const json_source *f, tokenizer *t) {
    const json_t *ends = json_object_get(f->root, "fathom");
    t->said_bos = t->bos;
    t->said_eos = t->eos;
    for (int i = 0; ends != NULL && i < 2; i++) {
        const json_t *value = json_object_get(ends, i == 0 ? "bos" : "eos");
        json_int_t id = json_integer_value(value);
        if (!json_is_integer(value) || id < -1 || id >= t->n)
            return tokenizer_damaged(text("%s is not the id of a token", i == 0 ? "bos" : "eos"),
                                     text("%s: fathom", f->where),
                                     "it must be one, or -1 for none");
        *(i == 0 ? &t->bos : &t->eos) = (int32_t)id;
    }
    return STATUS_OK;
}

/* -- ids -- */

static status check_id(const json_source *f, const json_t *value, const char *name,
                       const char *part, int64_t *id) {
    if (!json_is_integer(value))
        return tokenizer_damaged(text("the id of \"%.80s\" is not a whole number", name),
                                 text("%s: %s", f->where, part), "it has another JSON type");
    *id = json_integer_value(value);
    if (*id >= 0 && *id < f->n) return STATUS_OK;
    return tokenizer_damaged(
        text("\"%.80s\" has the id %" PRId64, name, *id), text("%s: %s", f->where, part),
        text("there are %" PRId64 " tokens, so ids run from 0 to %" PRId64, f->n, f->n - 1));
}

/* Number of distinct tokens: the vocabulary and the added tokens that are not in it. */
static status count_tokens(json_source *f) {
    int64_t n = (int64_t)json_object_size(f->vocab);
    for (size_t i = 0; i < json_array_size(f->added); i++) {
        const char *content =
            json_string_value(json_object_get(json_array_get(f->added, i), "content"));
        if (content == NULL)
            return tokenizer_damaged("an added token has no content",
                                     text("%s: added_tokens[%zu]", f->where, i),
                                     "it must be an object with \"content\" and \"id\"");
        if (json_object_get(f->vocab, content) == NULL) n++;
    }
    if (n > TOKENS_MOST)
        return FAIL(F_OVERFLOW, text("%" PRId64 " tokens", n), f->where,
                    text("ids must stay below %d", TOKENS_MOST), "use a smaller vocabulary");
    f->n = n;
    f->spelling = mem_zalloc((size_t)n, sizeof *f->spelling);
    f->added_object = mem_zalloc((size_t)n, sizeof *f->added_object);
    return f->spelling != NULL && f->added_object != NULL ? STATUS_OK : STATUS_MEMORY;
}

static status place_added(json_source *f) {
    for (size_t i = 0; i < json_array_size(f->added); i++) {
        json_t *object = json_array_get(f->added, i);
        const char *content = json_string_value(json_object_get(object, "content"));
        int64_t id;
        TRY(check_id(f, json_object_get(object, "id"), content, "added_tokens", &id));
        const json_t *same = json_object_get(f->vocab, content);
        if (same != NULL && json_integer_value(same) != id)
            return tokenizer_damaged(text("\"%.80s\" has two ids", content),
                                     text("%s: added_tokens[%zu]", f->where, i),
                                     "the vocabulary gives it another one");
        if (f->added_object[id] != NULL)
            return tokenizer_damaged(text("two added tokens have the id %" PRId64, id),
                                     text("%s: added_tokens[%zu]", f->where, i),
                                     "an id belongs to one token");
        f->added_object[id] = object;
    }
    return STATUS_OK;
}

static status place_vocabulary(json_source *f) {
    const char *key;
    json_t *value;
    json_object_foreach(f->vocab, key, value) {
        int64_t id;
        TRY(check_id(f, value, key, "model.vocab", &id));
        const char *content = json_string_value(json_object_get(f->added_object[id], "content"));
        if (f->spelling[id] != NULL || (content != NULL && strcmp(content, key) != 0))
            return tokenizer_damaged(
                text("two tokens have the id %" PRId64, id), text("%s: model.vocab", f->where),
                text("\"%.60s\" and \"%.60s\"", key, content != NULL ? content : f->spelling[id]));
        f->spelling[id] = key;
    }
    for (int64_t id = 0; id < f->n; id++)
        if (f->spelling[id] == NULL && f->added_object[id] == NULL)
            return tokenizer_damaged(
                text("no token has the id %" PRId64, id), f->where,
                text("ids must run from 0 to %" PRId64 " without holes", f->n - 1));
    return STATUS_OK;
}

/* -- filling the tokenizer -- */

static const char *token_text(const json_source *f, int64_t id) {
    if (f->added_object[id] != NULL)
        return json_string_value(json_object_get(f->added_object[id], "content"));
    return f->spelling[id];
}

static void fill_tokens(const json_source *f, tokenizer *t) {
    uint32_t used = 0;
    for (int32_t id = 0; id < t->n; id++) {
        const char *spelled = token_text(f, id);
        size_t n = strlen(spelled), decoded = 0;
        bool added = f->added_object[id] != NULL;
        t->flags[id] = (uint8_t)((added ? TOKEN_ADDED | TOKEN_RAW : 0) |
                                 (f->spelling[id] != NULL ? TOKEN_MODEL : 0));
        int byte = t->spelling == SPELLING_MARKED && !added ? spelling_byte(spelled, n) : -1;
        if (byte >= 0) {
            t->flags[id] |= TOKEN_BYTE;
            t->blob[used] = (uint8_t)byte;
            n = 1;
        } else if (!added && spelling_decode(t->spelling, spelled, n, t->blob + used, &decoded)) {
            n = decoded;
        } else {
            t->flags[id] |= TOKEN_RAW;
            memcpy(t->blob + used, spelled, n);
        }
        used += (uint32_t)n;
        t->offset[id + 1] = used;
    }
}

static status read_added(const json_t *object, const char *where, added_token *out) {
    out->id = (int32_t)json_integer_value(json_object_get(object, "id"));
    TRY(tokenizer_read_bool(object, "single_word", false, where, &out->single_word));
    TRY(tokenizer_read_bool(object, "lstrip", false, where, &out->lstrip));
    TRY(tokenizer_read_bool(object, "rstrip", false, where, &out->rstrip));
    TRY(tokenizer_read_bool(object, "special", false, where, &out->special));
    return tokenizer_read_bool(object, "normalized", !out->special, where, &out->normalized);
}

static status fill_added(const json_source *f, tokenizer *t) {
    for (int32_t i = 0; i < t->n_added; i++) {
        added_token *a = &t->added[i];
        status s = read_added(json_array_get(f->added, (size_t)i), f->where, a);
        if (s != STATUS_OK) return error_context(s, "added_tokens[%d]", i);
        if (a->special) t->flags[a->id] |= TOKEN_SPECIAL;
    }
    return STATUS_OK;
}

/* Both spellings of a merge; *left and *right point into the JSON. */
static bool split_merge(const json_t *value, const char **left, size_t *n_left,
                        const char **right) {
    if (json_is_array(value) && json_array_size(value) == 2) {
        *left = json_string_value(json_array_get(value, 0));
        *right = json_string_value(json_array_get(value, 1));
        if (*left == NULL || *right == NULL) return false;
        *n_left = strlen(*left);
        return true;
    }
    *left = json_string_value(value);
    const char *blank = *left != NULL ? strchr(*left, ' ') : NULL;
    if (blank == NULL || strchr(blank + 1, ' ') != NULL) return false;
    *n_left = (size_t)(blank - *left);
    *right = blank + 1;
    return true;
}

static status fill_merges(const json_source *f, tokenizer *t) {
    for (int32_t rank = 0; rank < t->n_merges; rank++) {
        const char *left, *right;
        size_t n_left;
        if (!split_merge(json_array_get(f->merges, (size_t)rank), &left, &n_left, &right))
            return tokenizer_damaged(text("merge %d is not a pair", rank),
                                     text("%s: merges", f->where),
                                     "it must be \"a b\" or [\"a\", \"b\"]");
        TRY(tokenizer_set_merge(t, rank, left, n_left, right, f->where));
    }
    return STATUS_OK;
}

static status read_rules(const json_source *f, tokenizer *t) {
    if (t->spelling == SPELLING_MARKED) return tokenizer_read_blanks(t, f->root, f->where);
    TRY(tokenizer_read_normalizer(t, json_object_get(f->root, "normalizer"),
                                  text("%s: normalizer", f->where)));
    return tokenizer_read_cuts(t, json_object_get(f->root, "pre_tokenizer"),
                               text("%s: pre_tokenizer", f->where));
}

static status build(json_source *f, tokenizer **out) {
    size_t blob = 0;
    for (int64_t id = 0; id < f->n; id++)
        blob += strlen(token_text(f, id));
    size_t n_merges = json_array_size(f->merges), n_added = json_array_size(f->added);
    if (n_merges > TOKENS_MOST || n_added > TOKENS_MOST)
        return FAIL(F_OVERFLOW, text("%zu merges, %zu added tokens", n_merges, n_added), f->where,
                    text("there may be %d", TOKENS_MOST), "use a smaller vocabulary");
    TRY(tokenizer_allocate(out, (int32_t)f->n, blob, (int32_t)n_merges, (int32_t)n_added));
    tokenizer *t = *out;
    t->spelling = f->spelling_kind;
    fill_tokens(f, t);
    TRY(read_rules(f, t));
    TRY(tokenizer_read_bool(f->model, "ignore_merges", false, text("%s: model", f->where),
                            &t->ignore_merges));
    TRY(fill_added(f, t));
    TRY(tokenizer_index_tokens(t, text("%s: model.vocab", f->where)));
    TRY(fill_merges(f, t));
    TRY(tokenizer_read_merge_ranks(t, f->model, text("%s: model", f->where)));
    if (t->spelling == SPELLING_MARKED && t->pretokenizer == PRETOKENIZER_WHOLE)
        t->pretokenizer = tokenizer_blank_cut(t);
    TRY(tokenizer_index(t, f->where));
    TRY(keep_post_processor(f, t));
    return read_ends(f, t);
}

static status read_parts(json_source *f) {
    if (!json_is_object(f->root))
        return tokenizer_damaged("the file is not a JSON object", f->where,
                                 "a tokenizer.json starts with {");
    TRY(json_get_object(f->root, "model", &f->model, f->where));
    TRY(check_model(f));
    const char *where = text("%s: model", f->where);
    TRY(json_get_object(f->model, "vocab", &f->vocab, where));
    TRY(json_get_array(f->model, "merges", &f->merges, where));
    f->added = json_object_get(f->root, "added_tokens");
    if (f->added != NULL && !json_is_null(f->added) && !json_is_array(f->added))
        return tokenizer_damaged("added_tokens is not a list", f->where,
                                 "it has another JSON type");
    TRY(check_surroundings(f));
    TRY(count_tokens(f));
    TRY(place_added(f));
    return place_vocabulary(f);
}

/* Faults of the JSON itself are faults of the tokenizer file. */
static status as_tokenizer_fault(status s) {
    if (error_last()->id != F_JSON) return s;
    error_report r;
    error_save(&r);
    return tokenizer_damaged(r.what, r.where, r.why);
}

status tokenizer_parse(tokenizer **out, const char *json, size_t n, const char *where) {
    *out = NULL;
    json_source f = {.where = where};
    status s = json_parse(json, n, where, &f.root);
    if (s == STATUS_OK) s = read_parts(&f);
    if (s == STATUS_OK) s = build(&f, out);
    mem_free(f.spelling);
    mem_free(f.added_object);
    json_decref(f.root);
    if (s == STATUS_OK) return s;
    tokenizer_free(*out);
    *out = NULL;
    return as_tokenizer_fault(s);
}
