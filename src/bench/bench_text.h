/* bench_text.h - text for benchmarks, made by the program: much like prose and code, always the
 * same. */
#ifndef FATHOM_BENCH_TEXT_H
#define FATHOM_BENCH_TEXT_H

#include <stddef.h>

typedef enum bench_language {
    BENCH_ENGLISH,
    BENCH_CHINESE,
    BENCH_CODE,
    BENCH_LANGUAGES
} bench_language;

const char *bench_language_name(bench_language language); /* "english" */
/* Fills exactly n bytes with well-formed UTF-8. */
void bench_text_make(bench_language language, char *out, size_t n);

#endif
