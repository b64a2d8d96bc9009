/* pattern.c - compiling and running expressions with PCRE2.
 *
 * How. Compiled code is JIT-compiled where this machine allows it, and interpreted where it does not
 * or where the JIT's stack is too small for a text. PCRE2_MATCH_INVALID_UTF lets texts be any bytes.
 *
 * Limits. PCRE2 counts the steps of one match; that bounds backtracking, but not scanning: a
 * look-ahead that reads to the end of the text at every position is quadratic and costs few steps.
 * So the time of all matches on one text is bounded too, generously: it can turn an answer into an
 * error, never into another answer.
 */
#include "tokens/pattern.h"

#include "base/clock.h"
#include "base/memory.h"
#include "tokens/pattern_translate.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#define PATTERN_MOST   16384    /* bytes of an expression */
#define STEPS          1000000u /* of one match, and STEPS_PER_BYTE of the text more */
#define STEPS_PER_BYTE 4u
#define STEPS_MOST     500000000u
#define HEAP_KIB       (256u << 10)
#define SECONDS        3.0
#define SECONDS_PER_MB 2.0
#define LOOK_AT_CLOCK  64

struct pattern {
    pcre2_code *code;
    char *source; /* for messages */
};

static void *take(PCRE2_SIZE n, void *unused) {
    (void)unused;
    return mem_alloc_uninjected(n);
}

static void give(void *block, void *unused) {
    (void)unused;
    mem_free(block);
}

static status no_memory(const char *where) {
    return FAIL(F_NO_MEMORY, "no memory for a regular expression", where, "memory ran out",
                "close other programs");
}

static status compile(pattern *p, const char *regex, uint32_t options, const char *where) {
    pcre2_general_context *general = pcre2_general_context_create(take, give, NULL);
    pcre2_compile_context *compile = general ? pcre2_compile_context_create(general) : NULL;
    int error = 0;
    PCRE2_SIZE at = 0;
    if (compile != NULL) {
        pcre2_set_newline(compile, PCRE2_NEWLINE_LF);
        p->code =
            pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED, options, &error, &at, compile);
    }
    pcre2_compile_context_free(compile);
    pcre2_general_context_free(general);
    if (p->code != NULL) {
        (void)pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); /* without it, it is interpreted */
        return STATUS_OK;
    }
    if (error == 0 || error == PCRE2_ERROR_NOMEMORY || error == 121) return no_memory(where);
    char message[160] = "";
    pcre2_get_error_message(error, (PCRE2_UCHAR *)message, sizeof message);
    return FAIL(F_TOKENIZER_UNSUPPORTED,
                text("the expression \"%.120s\" does not compile", p->source), where,
                text("%s, at byte %zu of \"%.120s\"", message, (size_t)at, regex),
                "check the expression; it must be one that Oniguruma and PCRE2 both know");
}

status pattern_new(pattern **out, const char *regex, pattern_syntax syntax, const char *where) {
    *out = NULL;
    size_t n = strlen(regex);
    if (n > PATTERN_MOST)
        return FAIL(F_TOKENIZER_UNSUPPORTED, text("an expression of %zu bytes", n), where,
                    text("they may have %d", PATTERN_MOST), "use a tokenizer with a shorter one");
    pattern *p = mem_zalloc(1, sizeof *p);
    if (p == NULL) return STATUS_MEMORY;
    char *translated = NULL;
    p->source = mem_strdup(regex);
    status s = p->source != NULL ? STATUS_OK : STATUS_MEMORY;
    if (s == STATUS_OK && syntax == PATTERN_ONIGURUMA)
        s = pattern_translate(regex, where, &translated);
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_MATCH_INVALID_UTF;
    if (syntax == PATTERN_LITERAL) options = PCRE2_UTF | PCRE2_LITERAL | PCRE2_MATCH_INVALID_UTF;
    if (s == STATUS_OK) s = compile(p, translated != NULL ? translated : regex, options, where);
    mem_free(translated);
    if (s != STATUS_OK) {
        pattern_free(p);
        return s;
    }
    *out = p;
    return STATUS_OK;
}

void pattern_free(pattern *p) {
    if (p == NULL) return;
    pcre2_code_free(p->code);
    mem_free(p->source);
    mem_free(p);
}

void pattern_work_clear(pattern_work *w) {
    pcre2_match_data_free(w->matches);
    pcre2_match_context_free(w->limits);
    *w = (pattern_work){0};
}

static status make_work(pattern_work *w) {
    pcre2_general_context *general = pcre2_general_context_create(take, give, NULL);
    if (general != NULL) {
        w->matches = pcre2_match_data_create(1, general);
        w->limits = pcre2_match_context_create(general);
    }
    pcre2_general_context_free(general);
    if (w->matches != NULL && w->limits != NULL) return STATUS_OK;
    pattern_work_clear(w);
    return no_memory("encoding");
}

status pattern_begin(pattern_work *w, size_t n) {
    if (w->matches == NULL) TRY(make_work(w));
    uint64_t steps = STEPS + STEPS_PER_BYTE * (uint64_t)n;
    pcre2_set_match_limit(w->limits, steps < STEPS_MOST ? (uint32_t)steps : STEPS_MOST);
    pcre2_set_heap_limit(w->limits, HEAP_KIB);
    w->deadline = clock_seconds() + SECONDS + SECONDS_PER_MB * (double)n / 1e6;
    w->asked = 0;
    return STATUS_OK;
}

static status too_long(const pattern *p, const char *why) {
    return FAIL(F_PATTERN_LIMIT, text("the expression \"%.120s\" takes too long", p->source),
                "cutting text into pieces", why,
                "give it less text at a time, or use a tokenizer with a simpler expression");
}

status pattern_find(const pattern *p, pattern_work *w, const uint8_t *subject, size_t n, size_t at,
                    size_t *from, size_t *to) {
    *from = *to = n;
    if (++w->asked % LOOK_AT_CLOCK == 0 && clock_seconds() > w->deadline)
        return too_long(p, "its matches on this text have used up their time");
    int code = pcre2_match(p->code, subject, n, at, 0, w->matches, w->limits);
    if (code == PCRE2_ERROR_JIT_STACKLIMIT)
        code = pcre2_match(p->code, subject, n, at, PCRE2_NO_JIT, w->matches, w->limits);
    if (code == PCRE2_ERROR_NOMATCH) return STATUS_OK;
    if (code == PCRE2_ERROR_MATCHLIMIT || code == PCRE2_ERROR_DEPTHLIMIT ||
        code == PCRE2_ERROR_HEAPLIMIT)
        return too_long(p, "a single match needs more steps than its text should");
    if (code < 0) {
        char message[160] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
        return FAIL(F_PATTERN_LIMIT, text("the expression \"%.120s\" cannot be matched", p->source),
                    "cutting text into pieces", message, "use another tokenizer");
    }
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(w->matches);
    *from = found[0];
    *to = found[1] > found[0] ? found[1] : found[0];
    return STATUS_OK;
}

/* The next unit of an expression: a character, or an escape as one. "\r" and "\n" are the
 * characters they mean, because files spell them either way. */
static int unit(const char **p) {
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

bool pattern_same(const char *a, const char *b) {
    for (;;) {
        int left = unit(&a), right = unit(&b);
        if (left != right) return false;
        if (left == 0) return true;
    }
}
