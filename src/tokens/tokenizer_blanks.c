/* tokenizer_blanks.c - tokenizer.json files of SentencePiece vocabularies (Llama 1 and 2, Mistral).
 *
 * What. Their blanks are spelled U+2581, and bytes without a character "<0x0A>" (byte_fallback). A
 * few shapes are in use, and each says where a blank goes in front and where text is cut:
 *
 *     normalizer      Unicode normal forms, then Prepend U+2581 and Replace " " by U+2581, Replace
 *                     alone, or nothing
 *     pre_tokenizer   null, Metaspace, or (without effect behind Replace) a Split at " "
 *     decoder         Replace back, ByteFallback, Fuse, Strip; or Metaspace
 *
 * Files from SentencePiece models have an order of merges instead of scores. Where many merges share
 * a rank, as in GGUF files, we write "merge_ranks" beside them, which other readers pass over.
 */
#include "tokens/tokenizer_json.h"

typedef struct shape {
    bool prepend, replace, metaspace;
} shape;

static bool is_string(const json_t *object, const char *key, const char *value) {
    const char *s = json_string_value(json_object_get(object, key));
    return s != NULL && strcmp(s, value) == 0;
}

static status read_normal(const json_t *object, const char *where, shape *s, normal_rules *forms) {
    const char *type;
    normal_form form;
    TRY(tokenizer_read_type(object, where, &type));
    if (*type == 0) return STATUS_OK;
    if (strcmp(type, "Sequence") == 0) {
        json_t *list;
        TRY(json_get_array(object, "normalizers", &list, where));
        for (size_t i = 0; i < json_array_size(list); i++)
            TRY(read_normal(json_array_get(list, i), where, s, forms));
        return STATUS_OK;
    }
    if (tokenizer_form_named(type, &form) && !s->prepend && !s->replace)
        return normal_rules_add_form(forms, form, where);
    bool marks = is_string(object, "content", BLANK_MARK);
    if (strcmp(type, "Prepend") == 0 && is_string(object, "prepend", BLANK_MARK) && !s->replace &&
        !s->prepend) {
        s->prepend = true;
        return STATUS_OK;
    }
    if (strcmp(type, "Replace") == 0 && marks && !s->replace &&
        is_string(json_object_get(object, "pattern"), "String", " ")) {
        s->replace = true;
        return STATUS_OK;
    }
    return tokenizer_unsupported(
        text("normalizer \"%.60s\" is not known here", type), where,
        "Prepend and Replace that mark blanks are, and Unicode forms before");
}

static status read_scheme(const json_t *object, const char *where, blank_prefix *out) {
    const json_t *value = json_object_get(object, "prepend_scheme");
    if (value == NULL) {
        bool prefix;
        TRY(tokenizer_read_bool(object, "add_prefix_space", true, where, &prefix));
        *out = prefix ? BLANK_MISSING : BLANK_NEVER;
        return STATUS_OK;
    }
    const char *name = json_string_value(value);
    if (name != NULL && strcmp(name, "always") == 0)
        *out = BLANK_MISSING;
    else if (name != NULL && strcmp(name, "first") == 0)
        *out = BLANK_MISSING_ONCE;
    else if (name != NULL && strcmp(name, "never") == 0)
        *out = BLANK_NEVER;
    else
        return tokenizer_unsupported(
            text("prepend_scheme \"%.40s\" is not known", name != NULL ? name : "?"), where,
            "always, first and never are");
    return STATUS_OK;
}

static status read_cut(tokenizer *t, const json_t *object, const char *where, shape *s) {
    const char *type;
    TRY(tokenizer_read_type(object, where, &type));
    if (*type == 0) return STATUS_OK;
    if (strcmp(type, "Split") == 0 && s->replace &&
        is_string(json_object_get(object, "pattern"), "String", " "))
        return STATUS_OK;
    if (strcmp(type, "Metaspace") != 0)
        return tokenizer_unsupported(text("pre-tokenizer \"%.60s\" is not known here", type), where,
                                     "of a vocabulary with byte_fallback only Metaspace is");
    if (!is_string(object, "replacement", BLANK_MARK) || s->replace || s->prepend)
        return tokenizer_unsupported("Metaspace marks blanks in another way", where,
                                     "only U+2581, and no normalizer before it, is known");
    bool split;
    s->metaspace = true;
    TRY(read_scheme(object, where, &t->blank_prefix));
    TRY(tokenizer_read_bool(object, "split", true, where, &split));
    if (split) t->pretokenizer = PRETOKENIZER_EVERY_BLANK;
    return STATUS_OK;
}

static status read_decoder(tokenizer *t, const json_t *object, const char *where) {
    const char *type;
    TRY(tokenizer_read_type(object, where, &type));
    if (strcmp(type, "Sequence") == 0) {
        json_t *list;
        TRY(json_get_array(object, "decoders", &list, where));
        for (size_t i = 0; i < json_array_size(list); i++)
            TRY(read_decoder(t, json_array_get(list, i), where));
        return STATUS_OK;
    }
    bool marks = is_string(object, "content", " ") &&
                 is_string(json_object_get(object, "pattern"), "String", BLANK_MARK);
    if ((strcmp(type, "Replace") == 0 && marks) || strcmp(type, "ByteFallback") == 0 ||
        strcmp(type, "Fuse") == 0)
        return STATUS_OK;
    if (strcmp(type, "Strip") == 0 && is_string(object, "content", " ") &&
        json_integer_value(json_object_get(object, "start")) <= 1 &&
        json_integer_value(json_object_get(object, "stop")) == 0) {
        t->strip_blank = json_integer_value(json_object_get(object, "start")) == 1;
        return STATUS_OK;
    }
    if (strcmp(type, "Metaspace") == 0 && is_string(object, "replacement", BLANK_MARK)) {
        blank_prefix prefix;
        TRY(read_scheme(object, where, &prefix));
        t->strip_blank = prefix != BLANK_NEVER;
        return STATUS_OK;
    }
    return tokenizer_unsupported(text("decoder \"%.60s\" is not known here", type), where,
                                 "Replace, ByteFallback, Fuse, Strip and Metaspace are");
}

status tokenizer_read_blanks(tokenizer *t, const json_t *root, const char *where) {
    shape s = {0};
    t->pretokenizer = PRETOKENIZER_WHOLE;
    const json_t *normal = json_object_get(root, "normalizer");
    TRY(read_normal(normal, text("%s: normalizer", where), &s, &t->normal_steps));
    if (t->normal_steps.n > 0) TRY(tokenizer_keep_normalizer(t, normal));
    TRY(read_cut(t, json_object_get(root, "pre_tokenizer"), text("%s: pre_tokenizer", where), &s));
    if (!s.replace && !s.metaspace)
        return tokenizer_unsupported("nothing marks the blanks", text("%s: normalizer", where),
                                     "a vocabulary with byte_fallback spells them U+2581");
    if (s.prepend) t->blank_prefix = BLANK_ALWAYS;
    return read_decoder(t, json_object_get(root, "decoder"), text("%s: decoder", where));
}

status tokenizer_read_merge_ranks(tokenizer *t, const json_t *model, const char *where) {
    const json_t *list = json_object_get(model, "merge_ranks");
    if (list == NULL) return STATUS_OK;
    if (json_array_size(list) != (size_t)t->n_merges)
        return tokenizer_damaged("merge_ranks is not a list as long as merges", where,
                                 "every merge has a rank");
    t->priority = mem_zalloc((size_t)t->n_merges, sizeof *t->priority);
    if (t->priority == NULL) return STATUS_MEMORY;
    for (int32_t i = 0; i < t->n_merges; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        json_int_t rank = json_integer_value(value), least = i > 0 ? t->priority[i - 1] : 0;
        if (!json_is_integer(value) || rank < least || rank > i)
            return tokenizer_damaged(text("merge_ranks[%d] is out of order", i), where,
                                     "ranks rise from 0, one at a time or not at all");
        t->priority[i] = (uint32_t)rank;
    }
    return STATUS_OK;
}

/* -- writing -- */

static json_t *replace_json(const char *from, const char *to) {
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", from, "content",
                     to);
}

json_t *tokenizer_blank_normalizer(const tokenizer *t) {
    if (t->blank_prefix == BLANK_ALWAYS)
        return json_pack("{s:s, s:[{s:s, s:s}, o]}", "type", "Sequence", "normalizers", "type",
                         "Prepend", "prepend", BLANK_MARK, replace_json(" ", BLANK_MARK));
    bool metaspace = t->blank_prefix != BLANK_NEVER || t->pretokenizer == PRETOKENIZER_EVERY_BLANK;
    return metaspace ? json_null() : replace_json(" ", BLANK_MARK);
}

json_t *tokenizer_blank_cuts(const tokenizer *t) {
    static const char *const schemes[BLANK_PREFIXES] = {
        [BLANK_NEVER] = "never", [BLANK_MISSING] = "always", [BLANK_MISSING_ONCE] = "first"};
    bool every = t->pretokenizer == PRETOKENIZER_EVERY_BLANK;
    if (t->blank_prefix == BLANK_ALWAYS || (t->blank_prefix == BLANK_NEVER && !every))
        return json_null();
    return json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", BLANK_MARK,
                     "prepend_scheme", schemes[t->blank_prefix], "split", every);
}

json_t *tokenizer_blank_decoder(const tokenizer *t) {
    json_t *list = json_pack("[o, {s:s}, {s:s}]", replace_json(BLANK_MARK, " "), "type",
                             "ByteFallback", "type", "Fuse");
    if (list != NULL && t->strip_blank &&
        json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content",
                                              " ", "start", 1, "stop", 0)) != 0) {
        json_decref(list);
        return NULL;
    }
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", list);
}
