/* bench_text.c - prose and code that nobody wrote.
 *
 * How. What costs a tokenizer time is how words repeat and how long they are, not what they mean.
 * So words are numbers, drawn from a power law as words of a language are (Zipf 1935), and word
 * number i is spelled by its digits in base "syllables": frequent words are short, and there is no
 * end of rare ones. English puts them into sentences and paragraphs, Chinese joins words of one to
 * three characters without blanks, code puts them into the shape of C functions.
 */
#include "bench/bench_text.h"

#include "base/rng.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct maker {
    rng key;
    uint64_t drawn;
    char *out;
    size_t n, used;
} maker;

static uint64_t draw(maker *m, uint64_t bound) {
    return rng_below(m->key, m->drawn++, bound);
}

/* Puts a string if there is room for all of it; blanks fill the end of the text. */
static void put(maker *m, const char *s) {
    size_t length = strlen(s);
    if (length > m->n - m->used) {
        memset(m->out + m->used, ' ', m->n - m->used);
        m->used = m->n;
        return;
    }
    memcpy(m->out + m->used, s, length);
    m->used += length;
}

/* A word's number: its chance falls as its inverse, up to about a million. */
static uint64_t draw_word(maker *m) {
    double u = (double)draw(m, 1 << 20) / (1 << 20);
    return (uint64_t)exp2(20 * u) - 1;
}

static void spell_word(uint64_t i, char out[32]) {
    static const char *const syllables[] = {
        "the", "of",   "an",   "to",  "in",   "is",  "er",  "that", "it",  "was", "for", "on",
        "are", "as",   "with", "his", "they", "at",  "be",  "this", "ing", "ed",  "al",  "re",
        "ent", "tion", "con",  "com", "pro",  "ter", "ver", "per",  "sta", "men", "der", "lan"};
    const uint64_t base = sizeof syllables / sizeof *syllables;
    size_t used = 0;
    for (i++; i > 0 && used < 24; i /= base) {
        const char *s = syllables[--i % base];
        memcpy(out + used, s, strlen(s));
        used += strlen(s);
    }
    out[used] = 0;
}

static void put_word(maker *m, bool capital) {
    char word[32];
    spell_word(draw_word(m), word);
    if (capital) word[0] = (char)(word[0] - 'a' + 'A');
    put(m, word);
}

static void put_number(maker *m, uint64_t bound) {
    char number[24];
    snprintf(number, sizeof number, "%llu", (unsigned long long)draw(m, bound));
    put(m, number);
}

static void put_sentence(maker *m) {
    uint64_t words = 5 + draw(m, 20);
    for (uint64_t i = 0; i < words; i++) {
        if (i > 0) put(m, draw(m, 9) == 0 ? ", " : " ");
        if (draw(m, 60) == 0)
            put_number(m, 3000);
        else
            put_word(m, i == 0 || draw(m, 30) == 0);
        if (draw(m, 80) == 0) put(m, "'s");
    }
    put(m, draw(m, 6) == 0 ? (draw(m, 2) ? "?" : "!") : ".");
    put(m, draw(m, 5) == 0 ? "\n\n" : " ");
}

/* Character number i of those in use, three bytes. */
static void put_character(maker *m, uint64_t i) {
    uint32_t c = 0x4E00 + (uint32_t)(i * 7919 % 0x51A5);
    char utf8[4] = {(char)(0xE0 | c >> 12), (char)(0x80 | (c >> 6 & 0x3F)),
                    (char)(0x80 | (c & 0x3F)), 0};
    put(m, utf8);
}

static void put_chinese(maker *m) {
    uint64_t words = 4 + draw(m, 12);
    for (uint64_t i = 0; i < words; i++) {
        uint64_t word = draw_word(m), length = word < 40 ? 1 : 2 + word % 3 / 2;
        for (uint64_t k = 0; k < length;
             k++) /* two words share a character as often as in Chinese */
            put_character(m, (word * (k + 1) + word / 61 * k) % (60 + word / 4) % 3500);
        if (draw(m, 60) == 0) put_number(m, 3000);
    }
    put(m, draw(m, 3) > 0 ? "\xEF\xBC\x8C" : "\xE3\x80\x82");
    if (draw(m, 25) == 0) put(m, "\n");
}

static void put_name(maker *m) {
    put_word(m, false);
    if (draw(m, 2) == 0) {
        put(m, "_");
        put_word(m, false);
    }
}

static void put_statement(maker *m) {
    static const char *const middles[] = {" = ", " += ", "->", ".", " == ", " < ", "[i] = "};
    put(m, "    ");
    if (draw(m, 3) == 0) put(m, "    ");
    switch (draw(m, 5)) {
    case 0: put(m, "if ("); break;
    case 1: put(m, "const int "); break;
    case 2: put(m, "return "); break;
    default: break;
    }
    put_name(m);
    put(m, middles[draw(m, sizeof middles / sizeof *middles)]);
    put_name(m);
    put(m, "(");
    put_name(m);
    put(m, ", ");
    if (draw(m, 2) == 0)
        put_number(m, 300);
    else
        put_name(m);
    put(m, draw(m, 6) == 0 ? ")) {\n" : ");\n");
    if (draw(m, 8) == 0) put(m, "    }\n");
}

static void put_function(maker *m) {
    if (draw(m, 2) == 0) {
        put(m, "/* ");
        put_sentence(m);
        put(m, "*/\n");
    }
    put(m, draw(m, 2) ? "static void " : "int ");
    put_name(m);
    put(m, "(int ");
    put_name(m);
    put(m, ") {\n");
    for (uint64_t i = 2 + draw(m, 12); i > 0; i--)
        put_statement(m);
    put(m, "}\n\n");
}

static const struct {
    const char *name;
    void (*put)(maker *m);
} languages[BENCH_LANGUAGES] = {
    {"english", put_sentence}, {"chinese", put_chinese}, {"code", put_function}};

const char *bench_language_name(bench_language language) {
    return languages[language].name;
}

void bench_text_make(bench_language language, char *out, size_t n) {
    maker m = {.key = rng_at(7, RNG_BENCH, language), .out = out, .n = n};
    while (m.used < n)
        languages[language].put(&m);
}
