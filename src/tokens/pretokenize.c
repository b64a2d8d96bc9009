/* pretokenize.c - matchers for the pre-tokenisers of GPT-2, DeepSeek-V3, Qwen 2 and Llama 3.
 *
 * How. Each expression is an ordered list of alternatives that never needs more than "how far does
 * this run of a class go": a matcher looks at the class of the first character and, at most, of
 * the second, then follows one run. Classes are bits (unicode.h), so "letters or marks" is one
 * test; ASCII takes the first branch of every loop.
 *
 * DeepSeek-V3 applies three expressions in turn, each to the pieces left by the one before:
 *   1  numbers, at most three characters     2  runs of Chinese characters and kana     3  the rest
 * Done in one walk: the class of the first character says which kind of stretch we are in. A
 * number is a piece as it is. Otherwise expression 3 is matched with the end of the stretch, not
 * of the text, as its horizon: a character whose (number, CJK) bits differ ends everything, also
 * the look-ahead of `\s+(?!\S)`. Inside a CJK stretch expression 3 still splits kana punctuation.
 * It is the only one that leaves gaps: characters without a class (controls, unassigned) that no
 * letter follows; a run of them is one piece.
 *
 * Mind. `\s` is Unicode white space. `(?i:'s)` folds case in full Unicode, so U+017F (long s)
 * counts as an s.
 */
#include "tokens/pretokenize.h"

#include "tokens/unicode.h"

#include <string.h>

#define LETTERS_MARKS (CLASS_LETTER | CLASS_MARK)
#define PUNCT_SYMBOL  (CLASS_PUNCT | CLASS_SYMBOL)
#define STRETCH       (CLASS_NUMBER | CLASS_CJK)

/* A text with the classes of its characters. */
typedef struct reader {
    const class_table *classes;
    const uint8_t *text;
    size_t n;
} reader;

/* Class at `at` and the length of the character; 0 and 0 at the end of the text. */
static inline unsigned read_class(const reader *r, size_t at, size_t *length) {
    if (at >= r->n) {
        *length = 0;
        return 0;
    }
    return class_at(r->classes, r->text + at, r->n - at, length);
}

/* End of the run of characters c with (c & mask) in `any` of its bits and (c & stop) == want. */
static inline size_t run_end(const reader *r, size_t at, unsigned any, unsigned stop,
                             unsigned want) {
    while (at < r->n) {
        size_t length;
        unsigned c = class_at(r->classes, r->text + at, r->n - at, &length);
        if ((c & any) == 0 || (c & stop) != want) break;
        at += length;
    }
    return at;
}

/* End of the run of characters without a bit of `stop`. */
static inline size_t run_outside(const reader *r, size_t at, unsigned stop) {
    while (at < r->n) {
        size_t length;
        if (class_at(r->classes, r->text + at, r->n - at, &length) & stop) break;
        at += length;
    }
    return at;
}

static inline size_t newlines_end(const reader *r, size_t at) {
    while (at < r->n && (r->text[at] == '\n' || r->text[at] == '\r'))
        at++;
    return at;
}

/* `\s*[\r\n]+|\s+(?!\S)|\s+` (the first only with `newlines`) at a white-space character. A
 * character with a bit of `stop` ends the horizon. */
static size_t match_space(const reader *r, size_t at, bool newlines, unsigned stop) {
    size_t end = at, last = at, behind_newline = 0, length = 0;
    unsigned c = 0;
    while ((c = read_class(r, end, &length)) & CLASS_SPACE) {
        last = end;
        end += length;
        if (c & CLASS_NEWLINE) behind_newline = end;
    }
    if (newlines && behind_newline > 0) return behind_newline;
    bool at_horizon = length == 0 || (c & stop) != 0;
    return at_horizon || last == at ? end : last;
}

static bool is_ascii_letter(uint8_t c) {
    return (uint8_t)((c | 0x20) - 'a') < 26;
}

/* `'s|'t|'re|'ve|'m|'ll|'d` behind an apostrophe at `at`: its end, 0 = none. */
static size_t match_contraction(const reader *r, size_t at, bool fold_case) {
    if (r->n - at < 2) return 0;
    unsigned fold = fold_case ? 0x20 : 0;
    const uint8_t *p = r->text + at + 1;
    unsigned a = p[0], b = r->n - at > 2 ? p[1] : 0;
    if (fold_case && a == 0xC5 && b == 0xBF) return at + 3; /* U+017F */
    if (!is_ascii_letter(p[0])) return 0;
    a |= fold;
    b = b < 0x80 && is_ascii_letter((uint8_t)b) ? b | fold : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return at + 2;
    if (((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l')) return at + 3;
    return 0;
}

static size_t match_gpt2(const reader *r, size_t at) {
    if (r->text[at] == '\'') {
        size_t end = match_contraction(r, at, false);
        if (end > 0) return end;
    }
    size_t length, from = at;
    unsigned c = read_class(r, at, &length);
    if (r->text[at] == ' ') { /* ` ?` in front of a run of one kind */
        unsigned next = read_class(r, at + 1, &length);
        if (length > 0 && !(next & CLASS_SPACE)) {
            from = at + 1;
            c = next;
        }
    }
    if (c & CLASS_SPACE) return match_space(r, at, false, 0);
    if (c & CLASS_LETTER) return run_end(r, from + length, CLASS_LETTER, 0, 0);
    if (c & CLASS_NUMBER) return run_end(r, from + length, CLASS_NUMBER, 0, 0);
    return run_outside(r, from + length, CLASS_SPACE | CLASS_LETTER | CLASS_NUMBER);
}

/* Up to `most` numbers. */
static size_t match_numbers(const reader *r, size_t at, int most) {
    size_t length;
    while (most-- > 0 && (read_class(r, at, &length) & CLASS_NUMBER))
        at += length;
    return at;
}

static size_t match_qwen2(const reader *r, size_t at, int most_numbers) {
    if (r->text[at] == '\'') {
        size_t end = match_contraction(r, at, true);
        if (end > 0) return end;
    }
    size_t length, next_length;
    unsigned c = read_class(r, at, &length);
    if (c & CLASS_LETTER) return run_end(r, at + length, CLASS_LETTER, 0, 0);
    if (c & CLASS_NUMBER) return match_numbers(r, at, most_numbers);
    unsigned next = read_class(r, at + length, &next_length);
    if (!(c & CLASS_NEWLINE) && (next & CLASS_LETTER))
        return run_end(r, at + length + next_length, CLASS_LETTER, 0, 0);
    const unsigned other = CLASS_SPACE | CLASS_LETTER | CLASS_NUMBER;
    bool blank = r->text[at] == ' ' && next_length > 0 && !(next & other);
    if (blank || !(c & CLASS_SPACE)) return newlines_end(r, run_outside(r, at + length, other));
    return match_space(r, at, true, 0);
}

/* Does expression 3 of DeepSeek-V3 start at this character of class c, or is it a gap? */
static bool gap_ends(const reader *r, size_t at, unsigned c, size_t length, unsigned stretch) {
    if (c & (LETTERS_MARKS | PUNCT_SYMBOL | CLASS_SPACE)) return true;
    size_t unused;
    unsigned next = read_class(r, at + length, &unused);
    return (next & LETTERS_MARKS) && (next & STRETCH) == stretch;
}

static size_t match_gap(const reader *r, size_t at, unsigned stretch) {
    size_t length;
    while (at < r->n) {
        unsigned c = read_class(r, at, &length);
        if ((c & STRETCH) != stretch || gap_ends(r, at, c, length, stretch)) break;
        at += length;
    }
    return at;
}

/* `[\p{P}\p{S}]+[\r\n]*` from its second character on. */
static size_t match_punctuation(const reader *r, size_t at, unsigned stretch) {
    size_t end = run_end(r, at, PUNCT_SYMBOL, STRETCH, stretch);
    return stretch == 0 ? newlines_end(r, end) : end; /* newlines are no kana */
}

static size_t match_deepseek_v3(const reader *r, size_t at) {
    size_t length, next_length;
    unsigned c = read_class(r, at, &length), stretch = c & STRETCH;
    if (c & CLASS_NUMBER) return match_numbers(r, at, 3);
    if (c & LETTERS_MARKS) return run_end(r, at + length, LETTERS_MARKS, STRETCH, stretch);
    unsigned next = read_class(r, at + length, &next_length);
    bool joined = next_length > 0 && (next & STRETCH) == stretch;
    if (c & PUNCT_SYMBOL) {
        if (r->text[at] < 0x80 && joined && is_ascii_letter(r->text[at + 1])) {
            at += 2;
            while (at < r->n && is_ascii_letter(r->text[at]))
                at++;
            return at;
        }
        return match_punctuation(r, at + length, stretch);
    }
    if (joined && (next & LETTERS_MARKS) && !(c & CLASS_NEWLINE))
        return run_end(r, at + length + next_length, LETTERS_MARKS, STRETCH, stretch);
    if (joined && (next & PUNCT_SYMBOL) && r->text[at] == ' ')
        return match_punctuation(r, at + 1, stretch);
    if (c & CLASS_SPACE) return match_space(r, at, true, STRETCH);
    return match_gap(r, at + length, stretch);
}

/* Up to the next blank, or with `runs` the next run of blanks. */
static size_t match_blanks(const reader *r, size_t at, bool runs) {
    if (runs)
        while (at < r->n && r->text[at] == ' ')
            at++;
    else
        at++;
    const uint8_t *blank = at < r->n ? memchr(r->text + at, ' ', r->n - at) : NULL;
    return blank != NULL ? (size_t)(blank - r->text) : r->n;
}

size_t pretokenize(pretokenizer kind, const uint8_t *text, size_t n, size_t *at, size_t *ends,
                   size_t room) {
    reader r = {unicode_classes(), text, n};
    size_t i = *at, count = 0;
    switch (kind) {
    case PRETOKENIZER_GPT2:
        while (i < n && count < room)
            ends[count++] = i = match_gpt2(&r, i);
        break;
    case PRETOKENIZER_DEEPSEEK_V3:
        while (i < n && count < room)
            ends[count++] = i = match_deepseek_v3(&r, i);
        break;
    case PRETOKENIZER_QWEN2:
    case PRETOKENIZER_LLAMA3: {
        int most = kind == PRETOKENIZER_QWEN2 ? 1 : 3;
        while (i < n && count < room)
            ends[count++] = i = match_qwen2(&r, i, most);
        break;
    }
    case PRETOKENIZER_BLANKS:
    case PRETOKENIZER_EVERY_BLANK:
        while (i < n && count < room)
            ends[count++] = i = match_blanks(&r, i, kind == PRETOKENIZER_BLANKS);
        break;
    default:
        if (i < n && room > 0) ends[count++] = i = n;
    }
    *at = i;
    return count;
}

static const struct {
    const char *name, *regex[PRETOKENIZER_PASSES];
} kinds[] = {
    [PRETOKENIZER_WHOLE] = {"whole", {NULL}},
    [PRETOKENIZER_GPT2] = {"gpt-2",
                           {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
                            "|\\s+(?!\\S)|\\s+"}},
    [PRETOKENIZER_DEEPSEEK_V3] =
        {"deepseek-v3",
         {"\\p{N}{1,3}",
          "[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+",
          "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"
          "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"}},
    [PRETOKENIZER_QWEN2] = {"qwen2",
                            {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
                             "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
    [PRETOKENIZER_LLAMA3] =
        {"llama3",
         {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
          "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
    [PRETOKENIZER_BLANKS] = {"blanks", {NULL}},
    [PRETOKENIZER_EVERY_BLANK] = {"every blank", {NULL}},
};

const char *pretokenizer_name(pretokenizer kind) {
    return kinds[kind].name;
}

const char *pretokenizer_regex(pretokenizer kind, int pass) {
    return pass < PRETOKENIZER_PASSES ? kinds[kind].regex[pass] : NULL;
}

static bool is_visible(uint8_t c) {
    return c > 0x20 && c < 0x7F;
}

size_t pretokenize_seam(const uint8_t *text, size_t n, size_t at) {
    for (size_t i = at < 2 ? 2 : at; i < n; i++) {
        const uint8_t *newline = memchr(text + i - 1, '\n', n - i);
        if (newline == NULL) return n;
        i = (size_t)(newline - text) + 1;
        if (is_visible(text[i - 2]) && is_visible(text[i])) return i;
    }
    return n;
}
