/* fuzz_pattern.c - any bytes as an expression and the text it cuts: what compiles cuts the text into
 * pieces in order, without empty ones, and gives an answer or a limit in time. */
#include "fuzz.h"

#include "base/memory.h"
#include "tokens/cut_rules.h"

#include <stdlib.h>
#include <string.h>

/* behavior and inversion in the first byte; the expression up to a NUL; the text. */
size_t fuzz_seed(int i, uint8_t *out, size_t room) {
    static const char *const regexes[] = {"\\p{N}{1,3}",      "(?i:'s|'t)|[^\\r\\n\\p{L}]?\\p{L}+",
                                          "\\s+(?!\\S)|\\s+", "[\\s\\S]",
                                          "(a+)+$",           "\\p{Han}|\\h+",
                                          "^|(?<=b)",         "(?=[A-Z])",
                                          "\\u4e00-\\x41?"};
    if (i >= (int)(sizeof regexes / sizeof *regexes)) return 0;
    size_t n = strlen(regexes[i]);
    static const char text[] = "It's 1234 aaaaaaaaaaaaaaaa! \xE4\xB8\xAD\xFF\n  x";
    if (n + 2 + sizeof text > room) abort();
    out[0] = (uint8_t)i;
    memcpy(out + 1, regexes[i], n + 1);
    memcpy(out + n + 2, text, sizeof text);
    return n + 2 + sizeof text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size > 1 ? memchr(data + 1, 0, size - 1) : NULL;
    if (end == NULL || end - data > 200) return 0;
    cut_rules r = {0};
    cut_work w = {0};
    const char *regex = (const char *)data + 1;
    const uint8_t *text = end + 1;
    size_t n = (size_t)(data + size - text), at = 0;
    if (n > 300) n = 300;
    cut_behavior behavior = (cut_behavior)(data[0] % CUT_BEHAVIORS);
    if (cut_rules_add(&r, regex, PATTERN_ONIGURUMA, behavior, data[0] & 0x80, "fuzz") != STATUS_OK)
        abort();
    if (cut_rules_compile(&r, "fuzz") == STATUS_OK) {
        if (cut_text(&r, &w, &text, n) == STATUS_OK)
            for (size_t i = 0; i < w.n; at = w.spans[i++].to)
                if (w.spans[i].from < at || w.spans[i].to <= w.spans[i].from || w.spans[i].to > n)
                    abort();
    }
    cut_work_clear(&w);
    cut_rules_clear(&r);
    return 0;
}
