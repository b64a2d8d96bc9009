/* tokenizer_rules.c - the pre_tokenizer of a tokenizer.json: a list of steps, or a matcher we have.
 *
 * What. Split (regular expressions and literal strings, every behavior), Digits, Punctuation,
 * Whitespace, WhitespaceSplit, ByteLevel, and Sequences of these, for byte-level vocabularies. Where
 * the steps are those of a known matcher (pretokenize.h), it takes over.
 */
#include "tokens/tokenizer_json.h"

static const char *const behaviors[CUT_BEHAVIORS] = {"Removed", "Isolated", "MergedWithPrevious",
                                                     "MergedWithNext", "Contiguous"};

/* "behavior" of a step; `standard` if it has none. */
static status read_behavior(const json_t *step, cut_behavior standard, const char *where,
                            cut_behavior *out) {
    const json_t *value = json_object_get(step, "behavior");
    *out = standard;
    if (value == NULL) return STATUS_OK;
    const char *name = json_string_value(value);
    for (int i = 0; name != NULL && i < CUT_BEHAVIORS; i++)
        if (strcmp(name, behaviors[i]) == 0) {
            *out = (cut_behavior)i;
            return STATUS_OK;
        }
    return tokenizer_unsupported(text("behavior \"%.40s\" is not known", name != NULL ? name : "?"),
                                 where, "what becomes of matches decides the ids");
}

static status read_split(const json_t *step, const char *where, cut_rules *r) {
    json_t *what;
    bool invert;
    cut_behavior behavior;
    TRY(json_get_object(step, "pattern", &what, where));
    const char *regex = json_string_value(json_object_get(what, "Regex")),
               *literal = json_string_value(json_object_get(what, "String"));
    if (regex == NULL && literal == NULL)
        return tokenizer_unsupported("a Split pattern is neither Regex nor String", where,
                                     "only these are known");
    TRY(read_behavior(step, CUT_ISOLATED, where, &behavior));
    TRY(tokenizer_read_bool(step, "invert", false, where, &invert));
    if (literal != NULL && literal[0] == 0)
        return tokenizer_damaged("a Split pattern is empty", where, "it would match everywhere");
    return cut_rules_add(r, regex != NULL ? regex : literal,
                         regex != NULL ? PATTERN_ONIGURUMA : PATTERN_LITERAL, behavior, invert,
                         where);
}

static status read_digits(const json_t *step, const char *where, cut_rules *r) {
    bool apart;
    TRY(tokenizer_read_bool(step, "individual_digits", false, where, &apart));
    return cut_rules_add(r, apart ? "\\p{N}" : "\\p{N}+", PATTERN_ONIGURUMA, CUT_ISOLATED, false,
                         where);
}

static status read_punctuation(const json_t *step, const char *where, cut_rules *r) {
    cut_behavior behavior;
    TRY(read_behavior(step, CUT_ISOLATED, where, &behavior));
    return cut_rules_add(r, "[\\p{P}$+<=>^`|~]", PATTERN_PCRE2, behavior, false, where);
}

/* The word characters of Unicode's annex 18, which this step is defined with. */
static status read_whitespace(const char *where, cut_rules *r) {
    static const char word[] = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}";
    static const char white[] = "\\x{09}-\\x{0d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}"
                                "\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";
    const char *regex = text("[%s]+|[^%s%s]+", word, word, white);
    return cut_rules_add(r, regex, PATTERN_PCRE2, CUT_REMOVED, true, where);
}

static status read_byte_level(const json_t *step, const char *where, cut_rules *r) {
    bool prefix, use_regex;
    TRY(tokenizer_read_bool(step, "add_prefix_space", false, where, &prefix));
    TRY(tokenizer_read_bool(step, "use_regex", true, where, &use_regex));
    if (prefix) TRY(cut_rules_add(r, NULL, PATTERN_PCRE2, CUT_ISOLATED, false, where));
    if (!use_regex) return STATUS_OK;
    return cut_rules_add(r, pretokenizer_regex(PRETOKENIZER_GPT2, 0), PATTERN_ONIGURUMA,
                         CUT_ISOLATED, false, where);
}

static status read_step(const json_t *step, const char *where, cut_rules *r, bool *bytes) {
    const char *type;
    TRY(tokenizer_read_type(step, where, &type));
    if (strcmp(type, "Split") == 0) return read_split(step, where, r);
    if (strcmp(type, "Digits") == 0) return read_digits(step, where, r);
    if (strcmp(type, "Punctuation") == 0) return read_punctuation(step, where, r);
    if (strcmp(type, "Whitespace") == 0) return read_whitespace(where, r);
    if (strcmp(type, "WhitespaceSplit") == 0)
        return cut_rules_add(r, "\\s", PATTERN_ONIGURUMA, CUT_REMOVED, false, where);
    if (strcmp(type, "ByteLevel") == 0 && !*bytes) {
        *bytes = true;
        return read_byte_level(step, where, r);
    }
    return tokenizer_unsupported(
        text("pre-tokenizer \"%.60s\" is not known here", type), where,
        "Split, Digits, Punctuation, Whitespace, WhitespaceSplit and one ByteLevel are");
}

/* The matcher for exactly these steps; false if there is none. */
static bool find_matcher(const cut_rules *r, pretokenizer *out) {
    for (int i = 0; i < r->n; i++) {
        const cut_rule *rule = &r->rule[i];
        if (rule->regex == NULL || rule->syntax != PATTERN_ONIGURUMA ||
            rule->behavior != CUT_ISOLATED || rule->invert)
            return false;
    }
    for (int kind = 0; kind < PRETOKENIZERS; kind++) {
        int i = 0;
        while (i < r->n && pretokenizer_regex(kind, i) != NULL &&
               pattern_same(r->rule[i].regex, pretokenizer_regex(kind, i)))
            i++;
        if (i < r->n || pretokenizer_regex(kind, i) != NULL) continue;
        *out = (pretokenizer)kind;
        return true;
    }
    return false;
}

static status read_steps(const json_t *object, const char *where, cut_rules *r, bool *bytes) {
    const char *type;
    TRY(tokenizer_read_type(object, where, &type));
    if (strcmp(type, "Sequence") != 0) return read_step(object, where, r, bytes);
    json_t *list;
    TRY(json_get_array(object, "pretokenizers", &list, where));
    for (size_t i = 0; i < json_array_size(list); i++)
        TRY(read_steps(json_array_get(list, i), where, r, bytes));
    return STATUS_OK;
}

status tokenizer_read_cuts(tokenizer *t, const json_t *object, const char *where) {
    bool bytes = false;
    if (object == NULL || json_is_null(object))
        return tokenizer_unsupported("there is no ByteLevel pre-tokenizer", where,
                                     "only byte-level vocabularies are known");
    TRY(read_steps(object, where, &t->cuts, &bytes));
    if (!bytes)
        return tokenizer_unsupported("there is no ByteLevel pre-tokenizer", where,
                                     "only byte-level vocabularies are known");
    if (find_matcher(&t->cuts, &t->pretokenizer)) {
        cut_rules_clear(&t->cuts);
        return STATUS_OK;
    }
    t->pretokenizer = PRETOKENIZER_RULES;
    t->cuts_json = json_line(object);
    return t->cuts_json != NULL ? cut_rules_compile(&t->cuts, where) : STATUS_MEMORY;
}

json_t *tokenizer_cuts_json(const char *const *regex) {
    json_t *list = json_array();
    bool ok = list != NULL;
    for (int i = 0; ok && regex[i] != NULL; i++)
        ok = json_array_append_new(list, json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split",
                                                   "pattern", "Regex", regex[i], "behavior",
                                                   "Isolated", "invert", 0)) == 0;
    if (ok)
        ok = json_array_append_new(list, json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel",
                                                   "add_prefix_space", 0, "trim_offsets", 0,
                                                   "use_regex", 0)) == 0;
    if (ok) return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
    json_decref(list);
    return NULL;
}

status tokenizer_cut_by(tokenizer *t, const char *const *regex, const char *where) {
    json_t *object = tokenizer_cuts_json(regex);
    if (object == NULL)
        return FAIL(F_NO_MEMORY, "a pre-tokenizer could not be made", where, "memory ran out",
                    "close other programs");
    status s = tokenizer_read_cuts(t, object, where);
    json_decref(object);
    return s;
}
