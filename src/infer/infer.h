/* infer.h - from a model on disk to answers.
 *
 *     bundle b;
 *     TRY(bundle_open(&b, "runs/first"));              // config, weights, tokenizer
 *     engine *e; session *s;
 *     TRY(engine_new(&e, &b.model, 4096));             // keys for 4,096 positions in all
 *     TRY(session_new(&s, e));
 *     generate_options g = {.max_tokens = 64, .sampler = sampler_defaults()};
 *     TRY(generate(s, b.tokenizer, "The mount command", 17, &g, NULL));
 *     session_free(s); engine_free(e); bundle_close(&b);
 *
 * Nouns: a bundle is a model folder in memory; an engine owns the pages that hold keys and the arena
 * of a forward; a session is one text: its ids and its pages. A page holds 64 positions of one
 * layer. Life: bundle > engine > session.
 *
 * Laws (tested bitwise): feeding a prompt in chunks of 1, 7, 64 or whole gives the same logits and
 * the same pages; the logits of a session do not depend on which other sessions share the call.
 *
 * Mind: one thread calls an engine at a time; kernels use the pool inside.
 */
#ifndef FATHOM_INFER_INFER_H
#define FATHOM_INFER_INFER_H

#include "model/model.h"
#include "tokens/chat.h"
#include "tokens/tokens.h"

/* -- model folders -- */
#define BUNDLE_STOPS 16
typedef struct bundle {
    model model;
    tokenizer *tokenizer;
    chat_format *chat;              /* NULL: the folder has no chat template */
    int32_t stop_ids[BUNDLE_STOPS]; /* eos_token_id of generation_config.json or config.json */
    int n_stop_ids;
    char path[4096]; /* the folder that was opened: a run's model/ or newest checkpoint */
} bundle;
/* `path`: a .gguf file; a folder with config.json, tokenizer.json and model.safetensors; or a run folder, whose
 * model/ (or, without one, newest whole checkpoint) is taken. F_MISSING says what was looked for. */
status bundle_open(bundle *b, const char *path) MUST_CHECK;
/* bundle_open keeps weights once, as files have them (model_open_held; blocks of integers of a GGUF file
 * rounded to bf16). Here they are f32 masters, which a caller may change. */
status bundle_open_masters(bundle *b, const char *path) MUST_CHECK;
/* The same without weights: the model holds its configuration only. */
status bundle_open_words(bundle *b, const char *path) MUST_CHECK;
void bundle_close(bundle *b); /* accepts a zeroed one */
/* The folder bundle_open would read. */
status bundle_find(char out[4096], const char *path) MUST_CHECK;

/* -- engine and sessions -- */
typedef struct engine engine;
typedef struct session session;
/* Room for `positions` cached positions over all sessions (rounded up to pages). */
status engine_new(engine **out, model *m, int64_t positions) MUST_CHECK;
void engine_free(engine *e); /* after its sessions; accepts NULL */
/* Bytes an engine will take: pages and the arena of a forward of `chunk` tokens. */
int64_t engine_bytes(const model *m, int64_t positions, int64_t chunk);
int64_t engine_free_pages(const engine *e); /* in positions, per layer */

status session_new(session **out, engine *e) MUST_CHECK;
void session_free(session *s);            /* gives its pages back; accepts NULL */
int64_t session_length(const session *s); /* tokens fed */
const int32_t *session_ids(const session *s);
/* Forgets everything after the first n tokens. */
void session_cut(session *s, int64_t n);

/* One feed of several sessions in one forward: n_ids[i] >= 1 new tokens for sessions[i] (all
 * different). logits: NULL or [n][vocab_size] f32, of each session's last token. On failure
 * (F_CONTEXT_FULL, F_TOKEN_RANGE, F_NO_MEMORY) no session has changed. */
typedef struct session_feed {
    session *session;
    const int32_t *ids;
    int64_t n_ids;
} session_feed;
status engine_step(engine *e, const session_feed *feeds, int n, numerics_role role,
                   float *logits) MUST_CHECK;
/* Feeds a prompt in chunks of at most 256 tokens; logits of its last token. */
status session_prompt(session *s, const int32_t *ids, int64_t n, float *logits) MUST_CHECK;
/* The keys of a session for tests: page p of layer l; rows as model_kv_shape. */
kv_layer_pages session_pages(const session *s, int layer);

/* -- what it would take -- */
/* From the configuration and the headers of files: no weight is read, whatever their size. */
typedef struct bundle_facts {
    model_config config;
    int64_t parameters;
    int64_t context;      /* positions a session may have */
    int64_t weight_bytes; /* as they are kept */
    int64_t key_bytes;    /* of one session over the whole context */
    int64_t step_bytes;   /* of a forward of a part of a prompt */
    char path[4096];      /* what bundle_open would read */
} bundle_facts;
/* context: 0 = what the model was made for, at most 4096. */
status bundle_measure(bundle_facts *f, const char *path, int64_t context) MUST_CHECK;
int64_t bundle_context(const model_config *c, int64_t asked); /* the rule behind facts.context */
int64_t bundle_facts_bytes(const bundle_facts *f);            /* all together */
/* F_MODEL_MEMORY with every number, and the longest context that would fit, if the model with one
 * session does not fit `limit` bytes; 0 = what this machine or container has free. */
status bundle_fits(const bundle_facts *f, int64_t limit) MUST_CHECK;

/* -- sampling -- */
typedef struct sampler_options {
    double temperature; /* 0 = greedy */
    int top_k;          /* 0 = off */
    double top_p;       /* 1 = off */
    double min_p;       /* 0 = off: keep p >= min_p * max p */
    double
        repetition_penalty; /* 1 = off; divides positive, multiplies negative logits of ids seen */
    int repetition_window;  /* last n ids looked at; 0 = all */
    uint64_t seed;
} sampler_options;
sampler_options sampler_defaults(void); /* temperature 0.8, top-k 0, top-p 0.95, min-p 0 */
status sampler_check(const sampler_options *o) MUST_CHECK;
/* Picks the next id after `history` (n ids so far, also the counter of the draw). Order: penalty,
 * temperature, top-k, top-p, min-p, draw. Ties to the lower id. logits [vocab] are overwritten.
 * Needs scratch for vocab entries. F_NOT_FINITE if no logit is a number. */
status sampler_pick(const sampler_options *o, float *logits, int64_t vocab, const int32_t *history,
                    int64_t n, int32_t *id) MUST_CHECK;

/* -- probabilities -- */
typedef struct token_logprob {
    int32_t id;
    double logprob; /* natural logarithm */
} token_logprob;
/* Log-softmax of logits [vocab] in f64, sums in id order. top: the n likeliest, in order, ties to
 * the lower id; returns how many there are (fewer than n only if the vocabulary is smaller). */
double logits_logprob(const float *logits, int64_t vocab, int32_t id);
int logits_top(const float *logits, int64_t vocab, token_logprob *top, int n);

/* -- generating text -- */
/* An id that was chosen, with its probability before penalties, temperature and cuts. */
typedef struct token_choice {
    token_logprob chosen;
    const token_logprob *top; /* the likeliest, as many as asked for */
    int n_top;
} token_choice;
#define MOST_TOP 32

typedef struct generate_options {
    int64_t max_tokens;
    sampler_options sampler;
    bool parse_special; /* special tokens in the prompt's text count as such */
    bool bos;           /* put BOS in front when the session is empty and the tokenizer has one */
    const int32_t *stop_ids; /* ids that end the answer, beside the tokenizer's EOS */
    int n_stop_ids;
    const char *const *stop_words; /* texts that end it; they are not part of it */
    int n_stop_words;
    /* Called with each piece of whole UTF-8 text; false stops. NULL = no stream. */
    bool (*on_text)(void *context, const char *bytes, size_t n);
    /* Called before each part of a prompt; false stops with F_CANCELLED, and the session is as it
     * was. NULL = nobody asks. */
    bool (*on_prompt)(void *context, int64_t done, int64_t total);
    /* Called before each id of the answer is fed; false ends it with STOP_CALLER. NULL = nobody. */
    bool (*on_step)(void *context);
    /* Called with each id before its text. NULL = nobody asks; n_top: 0 .. MOST_TOP. */
    void (*on_token)(void *context, const token_choice *choice);
    int n_top;
    void *context; /* of all four */
    /* NULL, or [vocab]: left with the logits of the session's last token, whatever ended the
     * answer. With them a later call without a prompt goes on where this one stopped. */
    float *logits;
} generate_options;
typedef enum stop_reason {
    STOP_LENGTH,
    STOP_EOS,
    STOP_WORD,
    STOP_CONTEXT,
    STOP_CALLER
} stop_reason;
typedef struct generate_result {
    int64_t n_prompt, n_generated;
    double prompt_seconds, generate_seconds;
    stop_reason stop;
} generate_result;
/* Feeds `prompt` to the session and generates. The new ids are session_ids from n_prompt on. */
status generate(session *s, const tokenizer *t, const char *prompt, size_t n,
                const generate_options *options, generate_result *result) MUST_CHECK;
/* The same from ids; nothing is put in front of them. None at all goes on from options->logits. */
status generate_ids(session *s, const tokenizer *t, const int32_t *ids, size_t n,
                    const generate_options *options, generate_result *result) MUST_CHECK;
/* One continuation of `prompt` in a session of its own, with the default sampler (seed 1); *text is
 * NUL-terminated, mem_free it. For samples while training and at the end of `fathom start`. */
status complete_text(model *m, const tokenizer *t, const char *prompt, int64_t max_tokens,
                     char **text) MUST_CHECK;

#endif
