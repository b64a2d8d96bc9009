/* session_api.c - sessions of the library: answers, ids and logits, files.
 *
 * Every session has an engine of its own, so that sessions share nothing but the model's weights. A
 * forward makes tables and packed copies of the model when it first needs them; therefore sessions
 * of one model take turns. A turn is given up before each forward of an answer, between parts of a
 * prompt and around every callback: sessions advance side by side, and a callback that takes its
 * time holds up nobody.
 *
 * `logits` are those of the last id the session holds. They go with it to disk, so that an answer
 * can be continued without anything being read again.
 */
#include "lib/lib_internal.h"

#include "base/json.h"
#include "infer/session_file.h"

#include <inttypes.h>
#include <string.h>

#define PART 256 /* ids of a prompt between two looks at `cancelled` */

/* -- in and out -- */

status session_enter(fathom_session *s) {
    if (atomic_exchange(&s->busy, true))
        return FAIL(F_BUSY, "the session is in use", "fathom_session",
                    "another call on it is running, perhaps the one whose callback this is",
                    "use one session from one thread at a time, and another one in callbacks");
    atomic_store(&s->cancelled, false);
    turn_take(&s->model->turns);
    return STATUS_OK;
}

fathom_status session_leave(fathom_session *s, const visit *v, status result) {
    turn_give(&s->model->turns);
    atomic_store(&s->busy, false);
    return visit_result(v, result);
}

void fathom_session_cancel(fathom_session *self) {
    if (self != NULL) atomic_store(&self->cancelled, true);
}

/* -- life -- */

static status session_fits(const fathom_model *m, int64_t context) {
    int64_t needed = engine_bytes(&m->bundle.model, context, PART), room = memory_available();
    if (needed <= room) return STATUS_OK;
    return FAIL(F_MODEL_MEMORY, text("a session of %" PRId64 " positions does not fit", context),
                m->bundle.path,
                text("it needs up to %" PRId64 " bytes, %" PRId64 " are free", needed, room),
                "ask for a shorter context, or free other sessions");
}

static status fill(fathom_session *s, fathom_model *m, int64_t context) {
    int64_t positions = context > 0 ? context : m->facts.context;
    TRY(session_fits(m, positions));
    TRY(engine_new(&s->engine, &m->bundle.model, positions));
    TRY(session_new(&s->session, s->engine));
    s->logits = mem_zalloc((size_t)m->bundle.model.config.vocab_size, sizeof *s->logits);
    s->text = mem_zalloc(1, 256);
    s->room = 256;
    s->sampler = sampler_defaults();
    return s->logits != NULL && s->text != NULL ? STATUS_OK : STATUS_MEMORY;
}

static void end(fathom_session *s) {
    conversation_free(s->talk);
    session_free(s->session);
    engine_free(s->engine);
    mem_free(s->logits);
    mem_free(s->text);
    model_release(s->model);
    mem_free(s);
}

fathom_status fathom_session_new(fathom_session **out, fathom_model *m, int64_t context) {
    visit v;
    *out = NULL;
    visit_begin(&v);
    fathom_session *s = mem_zalloc(1, sizeof *s);
    if (s == NULL) return visit_result(&v, STATUS_MEMORY);
    s->model = m;
    atomic_fetch_add(&m->owners, 1);
    status result = fill(s, m, context);
    if (result == STATUS_OK)
        *out = s;
    else
        end(s);
    return visit_result(&v, result);
}

void fathom_session_free(fathom_session *self) {
    if (self == NULL) return;
    visit v;
    visit_begin(&v);
    end(self);
    visit_end(&v);
}

/* -- callbacks: outside, without the turn -- */

typedef struct call {
    fathom_session *s;
    const fathom_answer_options *o;
    visit *visit;
    status state; /* of the text that is collected */
} call;

static void go_out(const call *c) {
    turn_give(&c->s->model->turns);
    visit_end(c->visit);
}
static void come_back(const call *c) {
    visit_begin(c->visit);
    turn_take(&c->s->model->turns);
}

static bool may_go_on(const call *c) {
    return !atomic_load(&c->s->cancelled);
}

static status keep_text(fathom_session *s, const char *bytes, size_t n) {
    if (s->room - s->n <= n) {
        size_t room = 2 * s->room + n;
        char *grown = mem_resize(s->text, room, 1);
        if (grown == NULL) return STATUS_MEMORY;
        s->text = grown;
        s->room = room;
    }
    memcpy(s->text + s->n, bytes, n);
    s->n += n;
    s->text[s->n] = '\0';
    return STATUS_OK;
}

static bool on_text(void *context, const char *bytes, size_t n) {
    call *c = context;
    c->state = keep_text(c->s, bytes, n);
    if (c->state != STATUS_OK || c->o->on_text == NULL)
        return c->state == STATUS_OK && may_go_on(c);
    go_out(c);
    bool go = c->o->on_text(c->o->context, bytes, n);
    come_back(c);
    return go && may_go_on(c);
}

static bool on_prompt(void *context, int64_t done, int64_t total) {
    const call *c = context;
    bool go = true;
    go_out(c);
    if (c->o->on_prompt != NULL) go = c->o->on_prompt(c->o->context, done, total);
    come_back(c);
    return go && may_go_on(c);
}

static bool on_step(void *context) {
    const call *c = context;
    turn_give(&c->s->model->turns);
    turn_take(&c->s->model->turns);
    return may_go_on(c);
}

static void on_token(void *context, const token_choice *choice) {
    const call *c = context;
    fathom_logprob chosen = {choice->chosen.id, choice->chosen.logprob}, top[MOST_TOP];
    for (int i = 0; i < choice->n_top; i++)
        top[i] = (fathom_logprob){choice->top[i].id, choice->top[i].logprob};
    go_out(c);
    c->o->on_token(c->o->context, &chosen, top, choice->n_top);
    come_back(c);
}

/* -- answers -- */

static sampler_options sampler_of(const fathom_answer_options *o) {
    return (sampler_options){.temperature = o->temperature,
                             .top_k = o->top_k,
                             .top_p = o->top_p > 0 ? o->top_p : 1,
                             .min_p = o->min_p,
                             .repetition_penalty =
                                 o->repetition_penalty > 0 ? o->repetition_penalty : 1,
                             .repetition_window = o->repetition_window,
                             .seed = o->seed};
}

static generate_options options_of(call *c) {
    fathom_session *s = c->s;
    const fathom_answer_options *o = c->o;
    return (generate_options){.max_tokens = o->max_tokens > 0 ? o->max_tokens : 512,
                              .sampler = sampler_of(o),
                              .bos = true,
                              .stop_ids = s->model->bundle.stop_ids,
                              .n_stop_ids = s->model->bundle.n_stop_ids,
                              .stop_words = o->stops,
                              .n_stop_words = o->n_stops,
                              .on_text = on_text,
                              .on_prompt = on_prompt,
                              .on_step = on_step,
                              .on_token = o->on_token != NULL ? on_token : NULL,
                              .n_top = o->n_top,
                              .context = c,
                              .logits = s->logits};
}

static void note_facts(fathom_session *s, const generate_result *r, int64_t kept) {
    s->facts = (fathom_answer_facts){.stop = (fathom_stop)r->stop,
                                     .kept_tokens = kept,
                                     .read_tokens = r->n_prompt - kept,
                                     .written_tokens = r->n_generated,
                                     .read_seconds = r->prompt_seconds,
                                     .write_seconds = r->generate_seconds};
}
_Static_assert((int)FATHOM_STOP_LENGTH == (int)STOP_LENGTH &&
                   (int)FATHOM_STOP_END == (int)STOP_EOS &&
                   (int)FATHOM_STOP_WORD == (int)STOP_WORD &&
                   (int)FATHOM_STOP_CONTEXT == (int)STOP_CONTEXT &&
                   (int)FATHOM_STOP_CALLER == (int)STOP_CALLER,
               "one list");

/* One of the caller's JSON texts; NULL gives NULL. */
static status read_json(const char *source, const char *where, json_t **out) {
    *out = NULL;
    return source != NULL ? json_parse(source, strlen(source), where, out) : STATUS_OK;
}

static status take_messages(fathom_session *s, const char *messages,
                            const fathom_answer_options *o) {
    json_t *value;
    const bundle *b = &s->model->bundle;
    if (b->chat == NULL)
        return FAIL(F_USAGE, "the model has no chat template", b->path,
                    "a base model completes text; it was not taught to answer",
                    "use fathom_complete, or a model that has one");
    if (s->talk == NULL) TRY(conversation_new(&s->talk, s->session, b->tokenizer, b->chat));
    TRY(read_json(o->tools, "tools", &value));
    TRY(conversation_tools(s->talk, value, "tools"));
    TRY(read_json(o->variables, "variables", &value));
    TRY(conversation_variables(s->talk, value, "variables"));
    TRY(read_json(messages, "messages", &value));
    return conversation_replace(s->talk, value, "messages");
}

static status chat(call *c, const char *messages) {
    fathom_session *s = c->s;
    generate_options g = options_of(c);
    generate_result r = {0};
    const char *unused;
    TRY(take_messages(s, messages, c->o));
    s->has_logits = false;
    TRY(conversation_answer(s->talk, &g, &r, &unused));
    s->has_logits = true;
    note_facts(s, &r, conversation_kept(s->talk));
    return c->state;
}

static status complete(call *c, const char *words) {
    fathom_session *s = c->s;
    generate_options g = options_of(c);
    generate_result r = {0};
    int64_t before = session_length(s->session);
    const tokenizer *t = s->model->bundle.tokenizer;
    status result;
    if (words == NULL && !s->has_logits)
        return FAIL(F_USAGE, "there is nothing to continue", "fathom_complete",
                    "the session is empty or was cut, and no text was given", "give some text");
    result = words != NULL ? generate(s->session, t, words, strlen(words), &g, &r)
                           : generate_ids(s->session, t, NULL, 0, &g, &r);
    if (result == STATUS_OK || session_length(s->session) > before) s->has_logits = true;
    if (result != STATUS_OK) return result;
    note_facts(s, &r, before);
    return c->state;
}

typedef status answer_fn(call *c, const char *words);

static fathom_status answer(fathom_session *s, const char *words,
                            const fathom_answer_options *options, const char **out,
                            answer_fn *make) {
    fathom_answer_options o, standard = fathom_answer_defaults();
    visit v;
    call c = {.s = s, .o = &o, .visit = &v, .state = STATUS_OK};
    if (out != NULL) *out = NULL;
    visit_begin(&v);
    status result =
        sized_read(&o, sizeof o, options != NULL ? options : &standard, "fathom_answer_options");
    if (result == STATUS_OK) result = session_enter(s);
    if (result != STATUS_OK) return visit_result(&v, result);
    s->n = 0;
    s->text[0] = '\0';
    s->sampler = sampler_of(&o);
    result = make(&c, words);
    if (result == STATUS_OK && out != NULL) *out = s->text;
    return session_leave(s, &v, result);
}

fathom_status fathom_chat(fathom_session *self, const char *messages,
                          const fathom_answer_options *options, const char **out) {
    return answer(self, messages, options, out, chat);
}

fathom_status fathom_complete(fathom_session *self, const char *words,
                              const fathom_answer_options *options, const char **out) {
    return answer(self, words, options, out, complete);
}

fathom_status fathom_answer_get_facts(const fathom_session *self, fathom_answer_facts *facts) {
    visit v;
    visit_begin(&v);
    return visit_result(
        &v, sized_write(facts, &self->facts, sizeof self->facts, "fathom_answer_facts"));
}

/* -- ids and logits -- */

static status feed(fathom_session *s, const int32_t *ids, int64_t n) {
    int64_t before = session_length(s->session);
    status result = STATUS_OK;
    for (int64_t at = 0; at < n && result == STATUS_OK; at += PART) {
        int64_t count = n - at < PART ? n - at : PART;
        if (at > 0) {
            turn_give(&s->model->turns);
            turn_take(&s->model->turns);
        }
        if (atomic_load(&s->cancelled))
            result = FAIL(F_CANCELLED, "reading was cancelled", "fathom_session_feed",
                          text("%" PRId64 " of %" PRId64 " tokens had been read", at, n),
                          "feed them again");
        else
            result =
                session_prompt(s->session, ids + at, count, at + count == n ? s->logits : NULL);
    }
    if (result != STATUS_OK)
        session_cut(s->session, before);
    else if (n > 0)
        s->has_logits = true;
    return result;
}

fathom_status fathom_session_feed(fathom_session *self, const int32_t *ids, size_t n) {
    visit v;
    visit_begin(&v);
    status s = session_enter(self);
    if (s != STATUS_OK) return visit_result(&v, s);
    s = n <= INT32_MAX ? feed(self, ids, (int64_t)n)
                       : FAIL(F_CONTEXT_FULL, text("%zu tokens are too many", n),
                              "fathom_session_feed", "no context is that long", "feed fewer");
    return session_leave(self, &v, s);
}

size_t fathom_session_length(const fathom_session *self) {
    return (size_t)session_length(self->session);
}

const int32_t *fathom_session_ids(const fathom_session *self) {
    return session_length(self->session) > 0 ? session_ids(self->session) : NULL;
}

fathom_status fathom_session_cut(fathom_session *self, size_t n) {
    visit v;
    visit_begin(&v);
    status s = session_enter(self);
    if (s != STATUS_OK) return visit_result(&v, s);
    if (n < (size_t)session_length(self->session)) {
        session_cut(self->session, (int64_t)n);
        self->has_logits = false;
    }
    return session_leave(self, &v, STATUS_OK);
}

const float *fathom_session_logits(const fathom_session *self) {
    return self->has_logits ? self->logits : NULL;
}

static status likeliest(const fathom_session *s, fathom_logprob *out, int *n) {
    token_logprob top[MOST_TOP];
    if (*n < 0 || *n > MOST_TOP)
        return FAIL(F_BAD_VALUE, text("%d likeliest tokens asked for", *n), "fathom_session_top",
                    text("0 to %d are possible", MOST_TOP), "ask for fewer");
    if (!s->has_logits)
        return FAIL(F_USAGE, "there are no logits", "fathom_session_top",
                    "nothing was read since the session was made or cut", "feed it something");
    *n = logits_top(s->logits, s->model->bundle.model.config.vocab_size, top, *n);
    for (int i = 0; i < *n; i++)
        out[i] = (fathom_logprob){top[i].id, top[i].logprob};
    return STATUS_OK;
}

fathom_status fathom_session_top(const fathom_session *self, fathom_logprob *top, int *n) {
    visit v;
    visit_begin(&v);
    return visit_result(&v, likeliest(self, top, n));
}

/* -- files -- */

static uint64_t words_of(const fathom_session *s) {
    return tokenizer_fingerprint(s->model->bundle.tokenizer);
}

static status save(fathom_session *s, const char *path) {
    session_note note = {.sampler = s->sampler, .logits = s->logits, .has_logits = s->has_logits};
    if (s->talk != NULL) {
        note.text = conversation_text(s->talk);
        if (note.text == NULL) return STATUS_MEMORY;
        note.n_text = strlen(note.text);
    }
    status result = session_save(s->session, words_of(s), &note, path);
    mem_free(note.text);
    return result;
}

fathom_status fathom_session_save(fathom_session *self, const char *path) {
    visit v;
    visit_begin(&v);
    status s = session_enter(self);
    if (s != STATUS_OK) return visit_result(&v, s);
    return session_leave(self, &v, save(self, path));
}

static status load(fathom_session *s, const char *path) {
    session_note note = {.logits = s->logits};
    TRY(session_load(s->session, words_of(s), &note, path));
    s->has_logits = note.has_logits;
    s->sampler = note.sampler;
    session_note_clear(&note);
    return STATUS_OK;
}

fathom_status fathom_session_load(fathom_session *self, const char *path) {
    visit v;
    visit_begin(&v);
    status s = session_enter(self);
    if (s != STATUS_OK) return visit_result(&v, s);
    return session_leave(self, &v, load(self, path));
}
