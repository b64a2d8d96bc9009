/* bench_chat.c - the engine against what the memory of this machine allows.
 *
 * How. The model is opened as `fathom chat` opens it, gets one token, and answers greedily: the time from
 * the call to the first chosen id is what a user waits. Then a long prompt and an answer are timed apart.
 * A generated token reads every matrix once (of experts those chosen, of an embedding beside a head one
 * row), so its floor is the time to read these bytes at the bandwidth that this machine reads at, measured
 * at the end.
 *
 * Memory is the largest resident set of the process, mapped pages of the file included, without the keys
 * of the context, over the bytes of the weights' files as they are used. It is taken before the long
 * prompt, whose activations are no part of it, and means nothing after other benchmarks.
 */
#include "bench/bench_chat.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/pool.h"
#include "infer/infer.h"

#include <string.h>

#define CONTEXT 1024
#define PROMPT  512
#define ANSWER  32
#define LOOKS   3 /* at an answer; the fastest counts */

typedef struct chat_bench {
    bundle b;
    engine *e;
    session *s;
    float *logits;
    bench_table *t;
} chat_bench;

static status add(const chat_bench *c, const char *name, double value, const char *unit,
                  double floor) {
    return bench_table_put(c->t, text("chat/%s", name), value, unit, floor);
}

/* Bytes that one token reads, of `all` that the weights have. */
static double bytes_per_token(const model *m, int64_t all) {
    int64_t active, count = model_config_parameters(&m->config, &active);
    if (m->head != m->embedding) active -= m->embedding->count;
    return (double)all * (double)active / (double)count;
}

/* The next id as `fathom chat --temperature 0` chooses it. */
static status choose(const chat_bench *c, int32_t *id) {
    sampler_options greedy = sampler_defaults();
    greedy.temperature = 0;
    return sampler_pick(&greedy, c->logits, c->b.model.config.vocab_size, session_ids(c->s),
                        session_length(c->s), id);
}

/* n tokens one by one from the logits that are there. */
static status answer(chat_bench *c, int64_t n, double *seconds) {
    double began = clock_seconds();
    for (int64_t i = 0; i < n; i++) {
        int32_t id;
        TRY(choose(c, &id));
        session_feed feed = {c->s, &id, 1};
        TRY(engine_step(c->e, &feed, 1, ROLE_GENERATED, c->logits));
    }
    *seconds = clock_seconds() - began;
    return STATUS_OK;
}

static status open_all(chat_bench *c, const char *path) {
    const model *m = &c->b.model;
    TRY(bundle_open(&c->b, path));
    int64_t limit = m->config.max_position;
    TRY(engine_new(&c->e, &c->b.model, limit > 0 && limit < CONTEXT ? limit : CONTEXT));
    TRY(session_new(&c->s, c->e));
    c->logits = mem_zalloc((size_t)m->config.vocab_size, sizeof *c->logits);
    return c->logits != NULL ? STATUS_OK : STATUS_MEMORY;
}

static status first_rows(chat_bench *c, const char *path, const bundle_facts *f) {
    int32_t id = 0;
    double began = clock_seconds();
    TRY(open_all(c, path));
    double loaded = clock_seconds() - began;
    TRY(session_prompt(c->s, &id, 1, c->logits));
    TRY(choose(c, &id));
    double first = clock_seconds() - began, bytes = (double)f->weight_bytes;
    TRY(add(c, "load", 1e3 * loaded, "ms", 0));
    TRY(add(c, "load rate", 1e-9 * bytes / loaded, "GB/s", 0));
    TRY(add(c, "first token", 1e3 * first, "ms", 0));
    double page = (double)engine_bytes(&c->b.model, KEY_PAGE, 0); /* keys of one token */
    return add(c, "memory without keys", 1e-9 * ((double)memory_peak_rss() - page), "GB",
               1e-9 * bytes);
}

static status rate_rows(chat_bench *c, const bundle_facts *f) {
    int64_t vocab = c->b.model.config.vocab_size, limit = c->b.model.config.max_position;
    int64_t n = limit > 0 && limit < CONTEXT ? limit / 2 : PROMPT;
    int32_t ids[PROMPT];
    double best = 0, read, began = clock_seconds();
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)(i * 7919 % vocab);
    TRY(session_prompt(c->s, ids, n, c->logits));
    double prompt = clock_seconds() - began;
    for (int look = 0; look < LOOKS; look++) {
        double seconds;
        session_cut(c->s, 1);
        TRY(answer(c, ANSWER, &seconds));
        if (best == 0 || seconds < best) best = seconds;
    }
    TRY(bench_read(0.5, &read));
    TRY(add(c, text("prompt of %d", (int)n), (double)n / prompt, "tokens/s", 0));
    TRY(add(c, "answer", ANSWER / best, "tokens/s",
            read / bytes_per_token(&c->b.model, f->weight_bytes)));
    return add(c, "keys", (double)engine_bytes(&c->b.model, KEY_PAGE, 0) / KEY_PAGE, "B/token", 0);
}

status bench_chat(const char *path, bench_table *t) {
    static chat_bench c; /* too large for the stack of a command */
    static bundle_facts f;
    if (path[0] == '\0')
        return FAIL(F_USAGE, "`fathom bench chat` needs a model", "--model",
                    "it measures how a given model loads and answers",
                    "add --model FOLDER or --model FILE.gguf");
    c = (chat_bench){.t = t};
    TRY(bundle_measure(&f, path, CONTEXT));
    status s = first_rows(&c, path, &f);
    if (s == STATUS_OK) s = rate_rows(&c, &f);
    mem_free(c.logits);
    session_free(c.s);
    engine_free(c.e);
    bundle_close(&c.b);
    return s;
}
