/* bench_tokenizer.c - how fast text becomes ids.
 *
 * How. Encoding is timed in one thread by processor time, the best of several passes: with a fresh
 * encoder, whose caches are empty, and with one that has seen the same text. Hostile text repeats
 * a few bytes for a megabyte, so that it is one piece, or as many pieces as there are bytes. A
 * vocabulary is trained on all the texts by all threads, timed by the wall clock.
 */
#include "bench/bench_tokenizer.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/pool.h"
#include "bench/bench_text.h"
#include "tokens/bpe_train.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define TEXTS_MOST 16
#define MADE_BYTES ((size_t)8 << 20)
#define VOCABULARY 32768
#define PASSES     5
#define HOSTILE    ((size_t)1 << 20)

typedef struct bench_texts {
    char name[TEXTS_MOST][40];
    char *bytes[TEXTS_MOST];
    size_t n[TEXTS_MOST];
    int count;
} bench_texts;

static void texts_clear(bench_texts *b) {
    for (int i = 0; i < b->count; i++)
        mem_free(b->bytes[i]);
    b->count = 0;
}

static status make_texts(bench_texts *b) {
    for (int i = 0; i < BENCH_LANGUAGES; i++) {
        char *bytes = mem_alloc(MADE_BYTES);
        if (bytes == NULL) return STATUS_MEMORY;
        bench_text_make((bench_language)i, bytes, MADE_BYTES);
        snprintf(b->name[i], sizeof b->name[i], "made %s", bench_language_name((bench_language)i));
        b->bytes[i] = bytes;
        b->n[i] = MADE_BYTES;
        b->count++;
    }
    return STATUS_OK;
}

static status read_text(bench_texts *b, const char *path) {
    int i = b->count;
    TRY(file_read(path, 0, &b->bytes[i], &b->n[i]));
    snprintf(b->name[i], sizeof b->name[i], "%.30s", path_name(path));
    b->count++;
    if (b->n[i] > 0) return STATUS_OK;
    return FAIL(F_BAD_VALUE, "a file to encode is empty", path, "there is nothing to time",
                "name a file with some megabytes of text");
}

static status read_texts(bench_texts *b, const char *input) {
    for (const char *at = input; *at != 0;) {
        char path[PATH_SIZE];
        size_t n = strcspn(at, ",");
        if (n == 0 || n >= sizeof path || b->count == TEXTS_MOST)
            return FAIL(
                F_BAD_VALUE, text("no file at \"%.40s\"", at), "--input",
                text("it is a list of at most %d files with one comma between two", TEXTS_MOST),
                "--input prose.txt,code.c");
        memcpy(path, at, n);
        path[n] = 0;
        TRY(read_text(b, path));
        at += n + (at[n] == ',');
    }
    return STATUS_OK;
}

static double thread_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Least seconds to encode the text; `warm`: with one encoder for all passes. */
static status encode_seconds(const tokenizer *t, const char *bytes, size_t n, bool warm,
                             double *seconds) {
    encoder *e = NULL;
    token_list ids = {0};
    status s = STATUS_OK;
    *seconds = 1e9;
    for (int i = 0; i < PASSES + warm && s == STATUS_OK; i++) {
        double start = thread_seconds();
        if (e == NULL) s = encoder_new(&e, t);
        ids.n = 0;
        if (s == STATUS_OK) s = encoder_add(e, bytes, n, SPECIAL_AS_TEXT, &ids);
        double took = thread_seconds() - start;
        if ((!warm || i > 0) && took < *seconds) *seconds = took;
        if (warm && s == STATUS_OK) continue;
        encoder_free(e);
        e = NULL;
    }
    encoder_free(e);
    token_list_clear(&ids);
    return s;
}

static status add_row(bench_table *t, const char *name, double value, const char *unit,
                      int threads) {
    bench_row row = {.tier = kernels_tier(), .threads = threads, .value = value, .unit = unit};
    snprintf(row.name, sizeof row.name, "tokenizer/%s", name);
    return bench_table_add(t, row);
}

static status encode_rows(const tokenizer *k, const bench_texts *b, bench_table *t) {
    for (int i = 0; i < b->count; i++)
        for (int warm = 0; warm < 2; warm++) {
            double seconds;
            TRY(encode_seconds(k, b->bytes[i], b->n[i], warm, &seconds));
            TRY(add_row(t, text("encode %s, %s", b->name[i], warm ? "warm" : "fresh"),
                        (double)b->n[i] / 1e6 / seconds, "MB/s", 1));
        }
    return STATUS_OK;
}

static status hostile_rows(const tokenizer *k, bench_table *t) {
    static const struct {
        const char *name, *unit;
    } kinds[] = {{"letter", "a"},
                 {"hyphen", "-"},
                 {"blank", " "},
                 {"newline", "\n"},
                 {"digit", "7"},
                 {"pair of letters", "ab"},
                 {"letter and blank", "a "},
                 {"Chinese character", "\xE4\xB8\xAD"},
                 {"emoji", "\xF0\x9F\x98\x80"},
                 {"mark", "\xCC\x81"},
                 {"broken byte", "\xFF"}};
    char *bytes = mem_alloc(HOSTILE);
    status s = bytes != NULL ? STATUS_OK : STATUS_MEMORY;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && s == STATUS_OK; i++) {
        double seconds = 0;
        size_t n = strlen(kinds[i].unit);
        for (size_t at = 0; at < HOSTILE; at++)
            bytes[at] = kinds[i].unit[at % n];
        s = encode_seconds(k, bytes, HOSTILE, false, &seconds);
        if (s == STATUS_OK)
            s = add_row(t, text("1 MiB of one %s", kinds[i].name), seconds * 1e3, "ms", 1);
    }
    mem_free(bytes);
    return s;
}

static status train_vocabulary(const bench_texts *b, tokenizer **out, double *seconds) {
    bpe_trainer *trainer;
    text_span spans[TEXTS_MOST];
    for (int i = 0; i < b->count; i++)
        spans[i] = (text_span){b->bytes[i], b->n[i]};
    double start = clock_seconds();
    TRY(bpe_trainer_new(&trainer, &(bpe_options){.vocab_size = VOCABULARY,
                                                 .pretokenizer = PRETOKENIZER_DEEPSEEK_V3,
                                                 .added = bpe_default_added,
                                                 .n_added = BPE_DEFAULT_ADDED,
                                                 .n_special = BPE_DEFAULT_SPECIAL}));
    status s = bpe_trainer_add(trainer, spans, (size_t)b->count);
    if (s == STATUS_OK) s = bpe_trainer_finish(trainer, out);
    *seconds = clock_seconds() - start;
    bpe_trainer_free(trainer);
    return s;
}

static status train_rows(const bench_texts *b, tokenizer **out, bench_table *t) {
    double seconds, bytes = 0;
    for (int i = 0; i < b->count; i++)
        bytes += (double)b->n[i];
    TRY(train_vocabulary(b, out, &seconds));
    const char *name =
        text("train %d tokens on %.1f MB", (int)tokenizer_vocab_size(*out), bytes / 1e6);
    TRY(add_row(t, name, seconds, "s", pool_threads()));
    return add_row(t, "training rate", bytes / 1e6 / seconds, "MB/s", pool_threads());
}

static status all_rows(const char *path, const bench_texts *b, bench_table *t) {
    tokenizer *trained = NULL, *named = NULL;
    status s = train_rows(b, &trained, t);
    if (s == STATUS_OK && path[0] != 0) s = tokenizer_open(&named, path);
    const tokenizer *k = named != NULL ? named : trained;
    if (s == STATUS_OK) s = encode_rows(k, b, t);
    if (s == STATUS_OK) s = hostile_rows(k, t);
    tokenizer_free(trained);
    tokenizer_free(named);
    return s;
}

status bench_tokenizer(const char *path, const char *input, bench_table *t) {
    static bench_texts b;
    b.count = 0;
    status s = input[0] != 0 ? read_texts(&b, input) : make_texts(&b);
    if (s == STATUS_OK) s = all_rows(path, &b, t);
    texts_clear(&b);
    return s;
}
