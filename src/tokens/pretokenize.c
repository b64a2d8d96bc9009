/* pretokenize.c - matchers for the pre-tokenisers of GPT-2, DeepSeek, Qwen 2, Llama 3, SmolLM.
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

/* With digits_apart every number is a piece, and ends the horizon of what stands before it. */
static size_t match_gpt2(const reader *r, size_t at, bool digits_apart) {
    if (r->text[at] == '\'') {
        size_t end = match_contraction(r, at, false);
        if (end > 0) return end;
    }
    size_t length, from = at;
    unsigned c = read_class(r, at, &length);
    if (r->text[at] == ' ') { /* ` ?` in front of a run of one kind */
        unsigned next = read_class(r, at + 1, &length);
        unsigned apart = CLASS_SPACE | (digits_apart ? CLASS_NUMBER : 0);
        if (length > 0 && !(next & apart)) {
            from = at + 1;
            c = next;
        }
    }
    if (c & CLASS_SPACE) return match_space(r, at, false, digits_apart ? CLASS_NUMBER : 0);
    if (c & CLASS_LETTER) return run_end(r, from + length, CLASS_LETTER, 0, 0);
    if (c & CLASS_NUMBER && digits_apart) return from + length;
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

/* -- DeepSeek's first two -- */

/* Cased letters of European scripts, as DeepSeek-LLM's file lists them; ASCII apart. */
static const uint32_t llm_letters[][2] = {
    {0x00B5, 0x00B5},   {0x00C0, 0x00D6},   {0x00D8, 0x00F6},   {0x00F8, 0x01BA},
    {0x01BC, 0x01BF},   {0x01C4, 0x0293},   {0x0295, 0x02AF},   {0x0370, 0x0373},
    {0x0376, 0x0376},   {0x0377, 0x0377},   {0x037B, 0x037D},   {0x037F, 0x037F},
    {0x0386, 0x0386},   {0x0388, 0x038A},   {0x038C, 0x038C},   {0x038E, 0x03A1},
    {0x03A3, 0x03F5},   {0x03F7, 0x0481},   {0x048A, 0x052F},   {0x0531, 0x0556},
    {0x10A0, 0x10C5},   {0x13A0, 0x13F5},   {0x13F8, 0x13FD},   {0x1C90, 0x1CBA},
    {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},   {0x1D6B, 0x1D77},   {0x1D79, 0x1D9A},
    {0x1E00, 0x1F15},   {0x1F18, 0x1F1D},   {0x1F20, 0x1F45},   {0x1F48, 0x1F4D},
    {0x1F50, 0x1F57},   {0x1F59, 0x1F59},   {0x1F5B, 0x1F5B},   {0x1F5D, 0x1F5D},
    {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},   {0x1FB6, 0x1FBC},   {0x1FBE, 0x1FBE},
    {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},   {0x1FD0, 0x1FD3},   {0x1FD6, 0x1FDB},
    {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},   {0x1FF6, 0x1FFC},   {0x2102, 0x2102},
    {0x2107, 0x2107},   {0x210A, 0x2113},   {0x2115, 0x2115},   {0x2119, 0x211D},
    {0x2124, 0x2124},   {0x2126, 0x2126},   {0x2128, 0x2128},   {0x212A, 0x212D},
    {0x212F, 0x2134},   {0x2139, 0x2139},   {0x213C, 0x213F},   {0x2145, 0x2149},
    {0x214E, 0x214E},   {0x2183, 0x2183},   {0x2184, 0x2184},   {0x2C00, 0x2C7B},
    {0x2C7E, 0x2CE4},   {0x2CEB, 0x2CEE},   {0x2CF2, 0x2CF2},   {0x2CF3, 0x2CF3},
    {0xA640, 0xA66D},   {0xA680, 0xA69B},   {0xA722, 0xA76F},   {0xA771, 0xA787},
    {0xA78B, 0xA78E},   {0xAB70, 0xABBF},   {0xFB00, 0xFB06},   {0xFB13, 0xFB17},
    {0xFF21, 0xFF3A},   {0xFF41, 0xFF5A},   {0x10400, 0x1044F}, {0x104B0, 0x104D3},
    {0x104D8, 0x104FB}, {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF},
    {0x1E900, 0x1E943},
};

static bool is_llm_letter(uint32_t c) {
    size_t low = 0, high = sizeof llm_letters / sizeof *llm_letters;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (llm_letters[middle][1] < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low < sizeof llm_letters / sizeof *llm_letters && llm_letters[low][0] <= c;
}

/* `[!-/:-~...]`: ASCII letters are in it, and so is the ideographic blank. */
static bool is_llm_mark(uint32_t c) {
    if (c < 0x80) return (c > 0x20 && c < 0x30) || (c >= 0x3A && c < 0x7F);
    return (c >= 0x2018 && c <= 0x201F) || (c >= 0x3000 && c <= 0x3002) ||
           (c >= 0xFF01 && c <= 0xFF0F) || (c >= 0xFF1A && c <= 0xFF5E);
}

/* Class bits with another meaning of LETTER, PUNCT and CJK: the sets of these expressions. */
static unsigned older_class(const reader *r, size_t at, bool llm, size_t *length) {
    unsigned c = read_class(r, at, length);
    uint32_t point = 0xFFFD;
    if (*length == 0) return 0;
    if (*length > 1 || r->text[at] < 0x80) point = utf8_code_point(r->text + at, *length);
    unsigned bits = c & (CLASS_SPACE | CLASS_NEWLINE | CLASS_NUMBER);
    bool east = (point >= 0x800 && point <= 0x9FA5) || (point >= 0xAC00 && point <= 0xD7FF);
    if (east) bits |= CLASS_CJK;
    if (!llm) return bits | (c & (CLASS_LETTER | CLASS_PUNCT));
    if (point < 0x80 ? is_ascii_letter((uint8_t)point) : is_llm_letter(point)) bits |= CLASS_LETTER;
    if (is_llm_mark(point)) bits |= CLASS_PUNCT;
    return bits;
}

/* Class of what may take the white space before it along: an ideographic blank does not, if a
 * letter behind it takes it. */
static unsigned taking_class(const reader *r, size_t at, bool llm) {
    size_t length, next_length;
    unsigned c = older_class(r, at, llm, &length);
    if (!(c & CLASS_SPACE) || !(c & CLASS_PUNCT)) return c;
    return older_class(r, at + length, llm, &next_length) & CLASS_LETTER ? 0 : c;
}

/* Does the white space of class c that ends at `end` go with a letter or mark behind it? */
static bool goes_with_next(const reader *r, unsigned c, size_t end, bool llm, unsigned what) {
    return (c & CLASS_SPACE) && (taking_class(r, end, llm) & what);
}

/* A run of white space at `at`, inside a stretch of marks or of neither: does the stretch end
 * with it? *end is where the run ends. */
static bool is_trailing(const reader *r, size_t at, bool marks, size_t *end) {
    const unsigned stops = CLASS_LETTER | CLASS_NEWLINE | (marks ? 0 : CLASS_PUNCT);
    for (size_t length;; at += length) {
        unsigned c = older_class(r, at, true, &length);
        *end = at;
        bool next =
            goes_with_next(r, c, at + length, true, CLASS_LETTER | (marks ? 0 : CLASS_PUNCT));
        if (length == 0 || (c & stops) || next) return true;
        if (marks && !(c & CLASS_PUNCT)) return true;
        if (!(c & CLASS_SPACE)) return false;
    }
}

/* A stretch of marks, or of what is neither letter nor mark, whose first character ends at `i`. */
static size_t match_no_letters(const reader *r, size_t at, size_t i, unsigned first, bool llm,
                               bool marks) {
    const unsigned stops = CLASS_LETTER | CLASS_NEWLINE | (marks ? 0 : CLASS_PUNCT | CLASS_NUMBER);
    const unsigned taken = CLASS_LETTER | (marks ? 0 : CLASS_PUNCT);
    bool all_blank = (first & CLASS_SPACE) != 0;
    size_t length, asked = at;
    for (; i < r->n; i += length) {
        unsigned c = older_class(r, i, llm, &length);
        if ((c & stops) || (marks && !(c & CLASS_PUNCT)) || ((c ^ first) & CLASS_CJK)) break;
        if (goes_with_next(r, c, i + length, llm, taken)) break;
        if (llm && (c & CLASS_SPACE) && !all_blank && i >= asked &&
            is_trailing(r, i, marks, &asked))
            break;
        all_blank = all_blank && (c & CLASS_SPACE);
    }
    return i;
}

/* DeepSeek-LLM and DeepSeek-Coder cut in many passes: newlines apart; letters with one white space
 * in front; marks in the same way (inside words, too: in LLM not every letter is a mark); in LLM
 * white space at the end of what is left; East Asian characters; digits apart. */
static size_t match_older(const reader *r, size_t at, bool llm) {
    size_t length;
    unsigned c = older_class(r, at, llm, &length);
    if (c & (CLASS_NEWLINE | CLASS_NUMBER)) return at + length;
    unsigned next = (c & CLASS_SPACE) ? taking_class(r, at + length, llm) : 0;
    if (next & CLASS_NEWLINE) next = 0;
    bool marks = ((c | next) & CLASS_PUNCT) != 0;
    if (!((c | next) & CLASS_LETTER)) return match_no_letters(r, at, at + length, c, llm, marks);
    size_t i = at + length;
    for (; i < r->n; i += length) {
        unsigned d = older_class(r, i, llm, &length);
        if (!(d & CLASS_LETTER) || ((d & CLASS_PUNCT) != 0) != marks || ((c ^ d) & CLASS_CJK))
            break;
    }
    return i;
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
            ends[count++] = i = match_gpt2(&r, i, false);
        break;
    case PRETOKENIZER_SMOLLM:
        while (i < n && count < room)
            ends[count++] = i = match_gpt2(&r, i, true);
        break;
    case PRETOKENIZER_DEEPSEEK_LLM:
    case PRETOKENIZER_DEEPSEEK_CODER:
        while (i < n && count < room)
            ends[count++] = i = match_older(&r, i, kind == PRETOKENIZER_DEEPSEEK_LLM);
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

#define GPT2_REGEX                                                                                 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

static const struct {
    const char *name, *regex[PRETOKENIZER_PASSES];
} kinds[] = {
    [PRETOKENIZER_WHOLE] = {"whole", {NULL}},
    [PRETOKENIZER_GPT2] = {"gpt-2", {GPT2_REGEX}},
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
    [PRETOKENIZER_DEEPSEEK_LLM] =
        {"deepseek-llm",
         {"[\r\n]",
          "\\s?[A-Za-z\xC2\xB5\xC3\x80-\xC3\x96\xC3\x98-\xC3\xB6\xC3\xB8-\xC6\xBA\xC6\xBC-"
          "\xC6\xBF\xC7\x84"
          "-\xCA\x93\xCA\x95-\xCA\xAF\xCD\xB0-\xCD\xB3\xCD\xB6\xCD\xB7\xCD\xBB-"
          "\xCD\xBD\xCD\xBF\xCE\x86"
          "\xCE\x88-\xCE\x8A\xCE\x8C\xCE\x8E-\xCE\xA1\xCE\xA3-\xCF\xB5\xCF\xB7-\xD2\x81\xD2\x8A-"
          "\xD4\xAF\xD4\xB1-\xD5\x96\xE1\x82\xA0-\xE1\x83\x85\xE1\x8E\xA0-\xE1\x8F\xB5\xE1\x8F\xB8-"
          "\xE1\x8F\xBD\xE1\xB2\x90-\xE1\xB2\xBA\xE1\xB2\xBD-\xE1\xB2\xBF\xE1\xB4\x80-"
          "\xE1\xB4\xAB\xE1\xB5"
          "\xAB-\xE1\xB5\xB7\xE1\xB5\xB9-\xE1\xB6\x9A\xE1\xB8\x80-\xE1\xBC\x95\xE1\xBC\x98-"
          "\xE1\xBC\x9D"
          "\xE1\xBC\xA0-\xE1\xBD\x85\xE1\xBD\x88-\xE1\xBD\x8D\xE1\xBD\x90-"
          "\xE1\xBD\x97\xE1\xBD\x99\xE1\xBD"
          "\x9B\xE1\xBD\x9D\xE1\xBD\x9F-\xE1\xBD\xBD\xE1\xBE\x80-\xE1\xBE\xB4\xE1\xBE\xB6-"
          "\xE1\xBE\xBC\xE1"
          "\xBE\xBE\xE1\xBF\x82-\xE1\xBF\x84\xE1\xBF\x86-\xE1\xBF\x8C\xE1\xBF\x90-"
          "\xE1\xBF\x93\xE1\xBF\x96"
          "-\xE1\xBF\x9B\xE1\xBF\xA0-\xE1\xBF\xAC\xE1\xBF\xB2-\xE1\xBF\xB4\xE1\xBF\xB6-"
          "\xE1\xBF\xBC\xE2"
          "\x84\x82\xE2\x84\x87\xE2\x84\x8A-\xE2\x84\x93\xE2\x84\x95\xE2\x84\x99-"
          "\xE2\x84\x9D\xE2\x84\xA4"
          "\xE2\x84\xA6\xE2\x84\xA8\xE2\x84\xAA-\xE2\x84\xAD\xE2\x84\xAF-"
          "\xE2\x84\xB4\xE2\x84\xB9\xE2\x84"
          "\xBC-\xE2\x84\xBF\xE2\x85\x85-"
          "\xE2\x85\x89\xE2\x85\x8E\xE2\x86\x83\xE2\x86\x84\xE2\xB0\x80-"
          "\xE2\xB1\xBB\xE2\xB1\xBE-\xE2\xB3\xA4\xE2\xB3\xAB-"
          "\xE2\xB3\xAE\xE2\xB3\xB2\xE2\xB3\xB3\xEA\x99"
          "\x80-\xEA\x99\xAD\xEA\x9A\x80-\xEA\x9A\x9B\xEA\x9C\xA2-\xEA\x9D\xAF\xEA\x9D\xB1-"
          "\xEA\x9E\x87"
          "\xEA\x9E\x8B-\xEA\x9E\x8E\xEA\xAD\xB0-\xEA\xAE\xBF\xEF\xAC\x80-\xEF\xAC\x86\xEF\xAC\x93-"
          "\xEF\xAC\x97\xEF\xBC\xA1-\xEF\xBC\xBA\xEF\xBD\x81-\xEF\xBD\x9A\xF0\x90\x90\x80-"
          "\xF0\x90\x91\x8F"
          "\xF0\x90\x92\xB0-\xF0\x90\x93\x93\xF0\x90\x93\x98-\xF0\x90\x93\xBB\xF0\x90\xB2\x80-"
          "\xF0\x90\xB2"
          "\xB2\xF0\x90\xB3\x80-\xF0\x90\xB3\xB2\xF0\x91\xA2\xA0-\xF0\x91\xA3\x9F\xF0\x9E\xA4\x80-"
          "\xF0\x9E\xA5\x83]+",
          "\\s?[!-/"
          ":-~\xEF\xBC\x81-\xEF\xBC\x8F\xEF\xBC\x9A-\xEF\xBD\x9E\xE2\x80\x98-\xE2\x80\x9F\xE3\x80"
          "\x80-\xE3\x80\x82]+",
          "\\s+$", "[\xE4\xB8\x80-\xE9\xBE\xA5\xE0\xA0\x80-\xE4\xB8\x80\xEA\xB0\x80-\xED\x9F\xBF]+",
          "\\p{N}"}},
    [PRETOKENIZER_DEEPSEEK_CODER] =
        {"deepseek-coder",
         {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+",
          "[\xE4\xB8\x80-\xE9\xBE\xA5\xE0\xA0\x80-\xE4\xB8\x80\xEA\xB0\x80-\xED\x9F\xBF]+",
          "\\p{N}"}},
    [PRETOKENIZER_SMOLLM] = {"smollm", {"\\p{N}", GPT2_REGEX}},
    [PRETOKENIZER_BLANKS] = {"blanks", {NULL}},
    [PRETOKENIZER_EVERY_BLANK] = {"every blank", {NULL}},
    [PRETOKENIZER_RULES] = {"rules of its own", {NULL}},
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
