/* generate.c - prompt in, text out: feed, sample, feed, with whole UTF-8 pieces to the listener.
 *
 * Sampling writes over its logits. Where somebody wants to see them (probabilities, or to go on
 * later) the forward writes `raw`, and a copy is sampled from.
 */
#include "infer/infer_internal.h"
#include "infer/stop_words.h"

#include "base/clock.h"

#include <inttypes.h>
#include <string.h>

#define WATCHED_CHUNK 256 /* tokens of a prompt between two calls of on_prompt */

typedef struct generation {
    session *s;
    const tokenizer *t;
    const generate_options *o;
    generate_result *r;
    float *logits; /* what is sampled from */
    float *raw;    /* what the forward wrote: the same, or kept apart */
    token_stream stream;
    stop_filter filter;
} generation;

static bool tell(const generation *g, const char *text, size_t n) {
    return n == 0 || g->o->on_text == NULL || g->o->on_text(g->o->context, text, n);
}

/* Text through the filter of stop words to the listener; *go is false when the answer has ended. */
static status pass_on(generation *g, const char *text, size_t n, bool *go) {
    const char *safe;
    size_t safe_n;
    bool found;
    TRY(stop_filter_add(&g->filter, text, n, &safe, &safe_n, &found));
    *go = tell(g, safe, safe_n) && !found;
    if (!*go) g->r->stop = found ? STOP_WORD : STOP_CALLER;
    return STATUS_OK;
}

static bool is_stop(const generation *g, int32_t id) {
    if (id == tokenizer_eos(g->t)) return true;
    for (int i = 0; i < g->o->n_stop_ids; i++)
        if (id == g->o->stop_ids[i]) return true;
    return false;
}

/* Feeds ids; with somebody who may stop it, in parts. The session has all of them, or none. */
static status feed_watched(generation *g, const int32_t *ids, int64_t n) {
    if (g->o->on_prompt == NULL) return session_prompt(g->s, ids, n, g->raw);
    int64_t before = session_length(g->s);
    status s = STATUS_OK;
    for (int64_t at = 0; at < n && s == STATUS_OK; at += WATCHED_CHUNK) {
        int64_t count = n - at < WATCHED_CHUNK ? n - at : WATCHED_CHUNK;
        if (!g->o->on_prompt(g->o->context, at, n))
            s = FAIL(F_CANCELLED, "the answer was cancelled before it began", "prompt",
                     text("%" PRId64 " of %" PRId64 " tokens had been read", at, n), "ask again");
        else
            s = session_prompt(g->s, ids + at, count, at + count == n ? g->raw : NULL);
    }
    if (s != STATUS_OK) session_cut(g->s, before);
    return s;
}

static status put_first(token_list *ids, int32_t id) {
    int32_t *grown = mem_resize(ids->ids, ids->n + 1, sizeof *grown);
    if (grown == NULL) return STATUS_MEMORY;
    memmove(grown + 1, grown, ids->n * sizeof *grown);
    grown[0] = id;
    ids->ids = grown;
    ids->room = ++ids->n;
    return STATUS_OK;
}

static status feed_prompt(generation *g, const char *prompt, size_t n) {
    token_list ids = {0};
    int32_t bos = tokenizer_bos(g->t), eos = tokenizer_eos(g->t);
    /* A model packed with only end-of-text marks learnt that a text begins after one. */
    int32_t start = bos >= 0 ? bos : eos;
    bool fresh = session_length(g->s) == 0 && start >= 0 && g->o->bos;
    double began = clock_seconds();
    status s = STATUS_OK;
    TRY_GOTO(s, tokenizer_encode(g->t, prompt, n,
                                 g->o->parse_special ? SPECIAL_PARSE : SPECIAL_AS_TEXT, &ids));
    if (fresh) TRY_GOTO(s, put_first(&ids, start)); /* one step with the text */
    if (ids.n == 0) {
        s = FAIL(F_USAGE, "there is nothing to continue", "prompt",
                 "the prompt is empty and the tokenizer has no token that begins a text",
                 "give at least one character");
        goto done;
    }
    TRY_GOTO(s, feed_watched(g, ids.ids, (int64_t)ids.n));
    g->r->n_prompt = session_length(g->s);
    g->r->prompt_seconds = clock_seconds() - began;
done:
    token_list_clear(&ids);
    return s;
}

/* One id from the logits; tells who wants to know how likely it was. */
static status pick(generation *g, int64_t vocab, int32_t *id) {
    token_logprob top[MOST_TOP];
    if (g->raw != g->logits) memcpy(g->logits, g->raw, (size_t)vocab * sizeof *g->raw);
    TRY(sampler_pick(&g->o->sampler, g->logits, vocab, g->s->ids, g->s->n, id));
    if (g->o->on_token == NULL) return STATUS_OK;
    token_choice choice = {.chosen = {*id, logits_logprob(g->raw, vocab, *id)}, .top = top};
    choice.n_top = logits_top(g->raw, vocab, top, g->o->n_top);
    g->o->on_token(g->o->context, &choice);
    return STATUS_OK;
}

static status generate_loop(generation *g) {
    engine *e = g->s->engine;
    int64_t limit = e->model->config.max_position, vocab = e->model->config.vocab_size;
    const char *text;
    size_t n;
    bool go = true;
    g->r->stop = STOP_LENGTH;
    while (g->r->n_generated < g->o->max_tokens) {
        int32_t id;
        TRY(pick(g, vocab, &id));
        if (is_stop(g, id)) {
            g->r->stop = STOP_EOS;
            break;
        }
        g->r->n_generated++;
        TRY(token_stream_add(&g->stream, id, &text, &n));
        TRY(pass_on(g, text, n, &go));
        if (!go) break;
        if (limit > 0 && g->s->n >= limit) {
            g->r->stop = STOP_CONTEXT;
            break;
        }
        go = g->o->on_step == NULL || g->o->on_step(g->o->context);
        if (!go) {
            g->r->stop = STOP_CALLER;
            break;
        }
        session_feed feed = {g->s, &id, 1};
        status s = engine_step(e, &feed, 1, ROLE_GENERATED, g->raw);
        if (s == STATUS_LIMIT) {
            g->r->stop = STOP_CONTEXT;
            break;
        }
        TRY(s);
    }
    TRY(token_stream_end(&g->stream, &text, &n));
    if (go) TRY(pass_on(g, text, n, &go));
    stop_filter_end(&g->filter, &text, &n);
    if (g->r->stop != STOP_WORD && g->r->stop != STOP_CALLER) (void)tell(g, text, n); /* the end */
    return STATUS_OK;
}

/* Feeds the ids given, or encodes and feeds the text. */
typedef struct beginning {
    const char *text; /* NULL: the ids */
    const int32_t *ids;
    size_t n;
} beginning;

static status feed_ids(generation *g, const int32_t *ids, size_t n) {
    double began = clock_seconds();
    if (n == 0 && (session_length(g->s) == 0 || g->o->logits == NULL))
        return FAIL(F_USAGE, "there is nothing to continue", "prompt",
                    "no ids were given and no logits of the text before",
                    "give at least one token");
    if (n > 0) TRY(feed_watched(g, ids, (int64_t)n));
    g->r->n_prompt = session_length(g->s);
    g->r->prompt_seconds = clock_seconds() - began;
    return STATUS_OK;
}

static status generate_any(session *s, const tokenizer *t, beginning p,
                           const generate_options *options, generate_result *result) {
    generate_result unused;
    generation g = {.s = s, .t = t, .o = options, .r = result != NULL ? result : &unused};
    g.filter = (stop_filter){.words = options->stop_words, .n_words = options->n_stop_words};
    memset(g.r, 0, sizeof *g.r);
    size_t vocab = (size_t)s->engine->model->config.vocab_size;
    TRY(sampler_check(&options->sampler));
    if (options->n_top < 0 || options->n_top > MOST_TOP)
        return FAIL(F_BAD_VALUE, text("%d likeliest tokens asked for", options->n_top), "generate",
                    text("0 to %d are possible", MOST_TOP), "ask for fewer");
    bool apart = options->logits != NULL || options->on_token != NULL;
    g.logits = mem_zalloc(apart ? 2 * vocab : vocab, sizeof *g.logits);
    if (g.logits == NULL) return STATUS_MEMORY;
    g.raw = options->logits != NULL ? options->logits : apart ? g.logits + vocab : g.logits;
    token_stream_init(&g.stream, t);
    status outcome = p.text != NULL ? feed_prompt(&g, p.text, p.n) : feed_ids(&g, p.ids, p.n);
    double began = clock_seconds();
    if (outcome == STATUS_OK) outcome = generate_loop(&g);
    g.r->generate_seconds = clock_seconds() - began;
    token_stream_clear(&g.stream);
    stop_filter_clear(&g.filter);
    mem_free(g.logits);
    return outcome;
}

status generate(session *s, const tokenizer *t, const char *text, size_t n,
                const generate_options *options, generate_result *result) {
    return generate_any(s, t, (beginning){.text = text, .n = n}, options, result);
}

status generate_ids(session *s, const tokenizer *t, const int32_t *ids, size_t n,
                    const generate_options *options, generate_result *result) {
    return generate_any(s, t, (beginning){.ids = ids, .n = n}, options, result);
}

typedef struct text_buffer {
    char *bytes;
    size_t n;
    status state;
} text_buffer;

static bool collect_text(void *context, const char *bytes, size_t n) {
    text_buffer *b = context;
    char *grown = mem_resize(b->bytes, b->n + n + 1, 1);
    if (grown == NULL) {
        b->state = STATUS_MEMORY;
        return false;
    }
    memcpy(grown + b->n, bytes, n);
    b->bytes = grown;
    b->n += n;
    b->bytes[b->n] = '\0';
    return true;
}

status complete_text(model *m, const tokenizer *t, const char *prompt, int64_t max_tokens,
                     char **text) {
    engine *e = NULL;
    session *s = NULL;
    text_buffer b = {.state = STATUS_OK};
    generate_options o = {.max_tokens = max_tokens,
                          .sampler = sampler_defaults(),
                          .bos = true,
                          .on_text = collect_text,
                          .context = &b};
    status result;
    *text = NULL;
    TRY_GOTO(result, engine_new(&e, m, 256));
    TRY_GOTO(result, session_new(&s, e));
    TRY_GOTO(result, generate(s, t, prompt, strlen(prompt), &o, NULL));
    TRY_GOTO(result, b.state);
    *text = b.bytes != NULL ? b.bytes : mem_strdup(""); /* it ended before its first character */
    b.bytes = NULL;
    result = *text != NULL ? STATUS_OK : STATUS_MEMORY;
done:
    mem_free(b.bytes);
    session_free(s);
    engine_free(e);
    return result;
}
