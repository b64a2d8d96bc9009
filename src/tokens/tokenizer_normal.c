/* tokenizer_normal.c - the normalizer of a tokenizer.json of a byte-level vocabulary.
 *
 * What. null, NFC, NFD, NFKC, NFKD, Prepend, Replace and Sequences of these. NFC alone is a flag of
 * the tokenizer; of anything else the JSON is kept, for saving and for the fingerprint.
 */
#include "tokens/tokenizer_json.h"

bool tokenizer_form_named(const char *type, normal_form *form) {
    static const char *const names[NORMAL_FORMS] = {"NFC", "NFD", "NFKC", "NFKD"};
    for (int i = 0; i < NORMAL_FORMS; i++)
        if (strcmp(type, names[i]) == 0) {
            *form = (normal_form)i;
            return true;
        }
    return false;
}

static status read_replace(const json_t *object, const char *where, normal_rules *r) {
    json_t *what;
    const char *content;
    TRY(json_get_object(object, "pattern", &what, where));
    TRY(json_get_string(object, "content", &content, where));
    const char *regex = json_string_value(json_object_get(what, "Regex")),
               *literal = json_string_value(json_object_get(what, "String"));
    if (regex == NULL && literal == NULL)
        return tokenizer_unsupported("a Replace pattern is neither Regex nor String", where,
                                     "only these are known");
    if (literal != NULL && literal[0] == 0)
        return tokenizer_damaged("a Replace pattern is empty", where, "it would match everywhere");
    return normal_rules_add_replace(r, regex != NULL ? regex : literal,
                                    regex != NULL ? PATTERN_ONIGURUMA : PATTERN_LITERAL, content,
                                    where);
}

static status read_step(const json_t *object, const char *where, normal_rules *r) {
    const char *type;
    normal_form form;
    TRY(tokenizer_read_type(object, where, &type));
    if (*type == 0) return STATUS_OK;
    if (tokenizer_form_named(type, &form)) return normal_rules_add_form(r, form, where);
    if (strcmp(type, "Replace") == 0) return read_replace(object, where, r);
    if (strcmp(type, "Prepend") == 0) {
        const char *content;
        TRY(json_get_string(object, "prepend", &content, where));
        return normal_rules_add_prepend(r, content, where);
    }
    if (strcmp(type, "Sequence") != 0)
        return tokenizer_unsupported(text("normalizer \"%.60s\" is not known", type), where,
                                     "NFC, NFD, NFKC, NFKD, Replace and Prepend are");
    json_t *list;
    TRY(json_get_array(object, "normalizers", &list, where));
    for (size_t i = 0; i < json_array_size(list); i++)
        TRY(read_step(json_array_get(list, i), where, r));
    return STATUS_OK;
}

status tokenizer_keep_normalizer(tokenizer *t, const json_t *object) {
    t->normal_json = json_line(object);
    return t->normal_json != NULL ? STATUS_OK : STATUS_MEMORY;
}

status tokenizer_read_normalizer(tokenizer *t, const json_t *object, const char *where) {
    TRY(read_step(object, where, &t->normal_steps));
    bool only_nfc = true;
    for (int i = 0; i < t->normal_steps.n; i++) {
        const normal_step *s = &t->normal_steps.step[i];
        only_nfc = only_nfc && s->kind == NORMAL_FORM && s->form == FORM_NFC;
    }
    if (!only_nfc) return tokenizer_keep_normalizer(t, object);
    t->nfc = t->normal_steps.n > 0;
    normal_rules_clear(&t->normal_steps);
    return STATUS_OK;
}
