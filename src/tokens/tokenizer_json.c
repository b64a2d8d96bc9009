/* tokenizer_json.c - reading Hugging Face tokenizer.json files of byte-level BPE models.
 *
 * What. Strict: every part that could change ids is either understood exactly or refused by name
 * (F_TOKENIZER_UNSUPPORTED); contradictions inside the file are F_TOKENIZER with the place.
 *
 *     model          BPE; vocab {spelling: id}; merges "a b" or ["a", "b"]; ignore_merges; no
 *                    dropout, unk_token, prefix, suffix or byte_fallback
 *     added_tokens   id, content, special, normalized; no single_word, lstrip, rstrip
 *     normalizer     null, NFC, or a Sequence of these
 *     pre_tokenizer  ByteLevel alone, or Split expressions of pretokenize.h and then ByteLevel
 *     post_processor kept as it is; a TemplateProcessing names BOS and EOS
 *     decoder        ByteLevel
 *     truncation, padding   null
 *
 * How. Ids must be 0 .. n-1 without holes, so n is known from the number of entries and nothing in
 * the file can make us allocate more than its own size. A spelling is decoded by GPT-2's byte map;
 * spellings that equal an added token, or hold characters outside the map, stand for their own
 * UTF-8 bytes, as in Hugging Face's decoder, and take no part in BPE.
 */
#include "base/json.h"
#include "tokens/tokens_internal.h"

#include <inttypes.h>

typedef struct json_source {
    const char *where;
    json_t *root, *model, *vocab, *merges, *added;
    int64_t n;             /* tokens */
    const char **spelling; /* [n] key in the vocabulary, NULL = not there */
    json_t **added_object; /* [n] added token of this id, NULL = none */
} json_source;

static status unsupported(const char *what, const char *where, const char *why) {
    return FAIL(F_TOKENIZER_UNSUPPORTED, what, where, why,
                "use a model with a byte-level BPE tokenizer (DeepSeek, Qwen, GPT-2, Llama 3)");
}

/* -- single values -- */

/* object[key] as a bool; `standard` if it is absent or null. */
static status read_bool(const json_t *object, const char *key, bool standard, const char *where,
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

/* The "type" of an object that has one, "" for null or absent. */
static status read_type(const json_t *object, const char *where, const char **type) {
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
    return unsupported(text("%s is set", key), where, "this setting changes ids and is not known");
}

/* -- rules around the model -- */

static status read_normalizer(const json_t *object, const char *where, bool *nfc) {
    const char *type;
    TRY(read_type(object, where, &type));
    if (*type == 0) return STATUS_OK;
    if (strcmp(type, "NFC") == 0) {
        *nfc = true;
        return STATUS_OK;
    }
    if (strcmp(type, "Sequence") != 0)
        return unsupported(text("normalizer \"%.60s\" is not known", type), where,
                           "NFC is the only one that is");
    json_t *list;
    TRY(json_get_array(object, "normalizers", &list, where));
    for (size_t i = 0; i < json_array_size(list); i++)
        TRY(read_normalizer(json_array_get(list, i), where, nfc));
    return STATUS_OK;
}

/* The next unit of an expression: a character, or an escape as one. "\r" and "\n" are the
 * characters they mean, because files spell them either way. */
static int regex_unit(const char **p) {
    const char *at = *p;
    if (at[0] == 0) return 0;
    if (at[0] != '\\' || at[1] == 0) {
        *p = at + 1;
        return (unsigned char)at[0];
    }
    *p = at + 2;
    if (at[1] == 'r') return '\r';
    return at[1] == 'n' ? '\n' : 0x100 | (unsigned char)at[1];
}

static bool same_regex(const char *a, const char *b) {
    for (;;) {
        int left = regex_unit(&a), right = regex_unit(&b);
        if (left != right) return false;
        if (left == 0) return true;
    }
}

static status find_regexes(const char *const *regex, int n, const char *where, pretokenizer *out) {
    for (int kind = 0; kind < PRETOKENIZERS; kind++) {
        int i = 0;
        while (i < n && pretokenizer_regex(kind, i) != NULL &&
               same_regex(regex[i], pretokenizer_regex(kind, i)))
            i++;
        if (i < n || pretokenizer_regex(kind, i) != NULL) continue;
        *out = (pretokenizer)kind;
        return STATUS_OK;
    }
    return unsupported(text("pre-tokenizer expression \"%.200s\" is not known", regex[0]), where,
                       "only those of GPT-2, DeepSeek-V3, Qwen2 and Llama 3 are");
}

static status read_split(const json_t *object, const char *where, const char **regex) {
    json_t *pattern;
    const char *behavior;
    bool invert;
    TRY(json_get_object(object, "pattern", &pattern, where));
    *regex = json_string_value(json_object_get(pattern, "Regex"));
    if (*regex == NULL)
        return unsupported("a Split pattern is not a regular expression", where,
                           "only \"Regex\" patterns are known");
    TRY(json_get_string(object, "behavior", &behavior, where));
    TRY(read_bool(object, "invert", false, where, &invert));
    if (strcmp(behavior, "Isolated") != 0 || invert)
        return unsupported(
            text("Split behavior \"%.40s\"%s is not known", behavior, invert ? " inverted" : ""),
            where, "only \"Isolated\" is");
    return STATUS_OK;
}

static status read_pretokenizer(const json_t *object, const char *file, pretokenizer *out) {
    const char *where = text("%s: pre_tokenizer", file), *type;
    TRY(read_type(object, where, &type));
    json_t *list = NULL;
    size_t n = 1;
    if (strcmp(type, "Sequence") == 0) {
        TRY(json_get_array(object, "pretokenizers", &list, where));
        n = json_array_size(list);
    }
    const char *regex[PRETOKENIZER_PASSES + 1] = {"(none)"};
    int n_regex = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *part = list != NULL ? json_array_get(list, i) : object;
        TRY(read_type(part, where, &type));
        if (strcmp(type, "Split") == 0 && n_regex < PRETOKENIZER_PASSES && i + 1 < n) {
            TRY(read_split(part, where, &regex[n_regex++]));
            continue;
        }
        if (strcmp(type, "ByteLevel") != 0 || i + 1 < n)
            return unsupported(text("pre-tokenizer \"%.60s\" is not known here", type), where,
                               "Split expressions and then ByteLevel are");
        bool use_regex;
        TRY(refuse_setting(part, "add_prefix_space", where));
        TRY(read_bool(part, "use_regex", true, where, &use_regex));
        if (use_regex && n_regex > 0)
            return unsupported("ByteLevel splits again after other expressions", where,
                               "this combination is not known");
        if (use_regex) regex[n_regex++] = pretokenizer_regex(PRETOKENIZER_GPT2, 0);
        return find_regexes(regex, n_regex, where, out);
    }
    return unsupported("there is no ByteLevel pre-tokenizer", where,
                       "only byte-level vocabularies are known");
}

static status check_surroundings(const json_source *f) {
    const char *type;
    for (int i = 0; i < 2; i++) {
        const char *key = i == 0 ? "truncation" : "padding";
        const json_t *value = json_object_get(f->root, key);
        if (value != NULL && !json_is_null(value))
            return unsupported(text("%s is set", key), text("%s: %s", f->where, key),
                               "a tokenizer here never shortens or pads text");
    }
    const char *where = text("%s: decoder", f->where);
    TRY(read_type(json_object_get(f->root, "decoder"), where, &type));
    if (strcmp(type, "ByteLevel") == 0) return STATUS_OK;
    return unsupported(text("decoder \"%.60s\" is not known", type), where, "only ByteLevel is");
}

static status check_model(const json_source *f) {
    static const char *const absent[] = {"dropout", "unk_token", "continuing_subword_prefix",
                                         "end_of_word_suffix", "byte_fallback"};
    const char *where = text("%s: model", f->where), *type = "BPE";
    /* Old files have no type; that there are merges says it as well. */
    if (json_object_get(f->model, "type") != NULL) TRY(read_type(f->model, where, &type));
    if (strcmp(type, "BPE") != 0)
        return unsupported(text("model \"%.60s\" is not known", type), where, "only BPE is");
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
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
    TRY(read_type(object, where, &type));
    if (*type == 0 || strcmp(type, "ByteLevel") == 0) return STATUS_OK;
    if (strcmp(type, "TemplateProcessing") == 0) {
        read_template(object, t);
        return STATUS_OK;
    }
    if (strcmp(type, "Sequence") != 0)
        return unsupported(text("post-processor \"%.60s\" is not known", type), where,
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
        if (!added && byte_map_decode(spelled, n, t->blob + used, &decoded)) {
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
    TRY(refuse_setting(object, "single_word", where));
    TRY(refuse_setting(object, "lstrip", where));
    TRY(refuse_setting(object, "rstrip", where));
    TRY(read_bool(object, "special", false, where, &out->special));
    return read_bool(object, "normalized", !out->special, where, &out->normalized);
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
    fill_tokens(f, t);
    TRY(read_normalizer(json_object_get(f->root, "normalizer"), text("%s: normalizer", f->where),
                        &t->nfc));
    TRY(read_pretokenizer(json_object_get(f->root, "pre_tokenizer"), f->where, &t->pretokenizer));
    TRY(read_bool(f->model, "ignore_merges", false, text("%s: model", f->where),
                  &t->ignore_merges));
    TRY(fill_added(f, t));
    TRY(tokenizer_index_tokens(t, text("%s: model.vocab", f->where)));
    TRY(fill_merges(f, t));
    TRY(tokenizer_index(t, f->where));
    return keep_post_processor(f, t);
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
