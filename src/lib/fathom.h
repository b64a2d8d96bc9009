/* fathom.h - libfathom: language models in your program.
 *
 *     fathom_model *model;
 *     fathom_session *session;
 *     const char *answer;
 *     if (fathom_model_open(&model, "models/assistant", NULL) != FATHOM_OK) return complain();
 *     if (fathom_session_new(&session, model, 0) != FATHOM_OK) return complain();
 *     if (fathom_chat(session, "[{\"role\": \"user\", \"content\": \"Hello\"}]", NULL, &answer) !=
 *         FATHOM_OK) return complain();
 *     puts(answer);
 *     fathom_session_free(session);
 *     fathom_model_close(model);
 *
 * A model is a Hugging Face folder, a fathom folder or a GGUF file in memory. A session is one text:
 * what the model has read and written so far, with its keys.
 *
 * Errors. What can fail returns a fathom_status; fathom_last_error() says what happened, where, why
 * and how to mend it. Nothing here ends the process, prints, or handles signals.
 *
 * Ownership. fathom_model_open and fathom_session_new make, fathom_model_close and
 * fathom_session_free end; both accept NULL. A model that is closed while it has sessions lives
 * until the last of them is freed. Blocks that a function hands out are freed with fathom_free where
 * its comment says so; everything else belongs to the library and lives as long as its comment says.
 *
 * Threads. Any thread may call, and different sessions may be used by different threads at once: the
 * sessions of one model take turns, token by token. One session is used by one thread at a time;
 * a second call while one is running is refused (F0021), from a callback too. fathom_session_cancel
 * is the exception: any thread may call it, and signal handlers. Callbacks run in the calling
 * thread, while no turn is held, so they may use other sessions. A child made by fork may not use
 * models that its parent opened. Helper threads exist while a model is open; they block all signals
 * and sleep when there is nothing to do. The caller's floating-point environment and locale are put
 * aside inside the library and are found unchanged.
 *
 * Growth. Structures begin with their size, set by the caller: {sizeof options, ...} or
 * fathom_answer_defaults(). Zeroed fields mean the default. So a program built against this header
 * runs with later libraries of the same SONAME.
 *
 * JSON is read with jansson, whose allocation functions the library sets once, when it is loaded, to
 * ones that count and call malloc and free.
 */
#ifndef FATHOM_H
#define FATHOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FATHOM_VERSION_MAJOR 0
#define FATHOM_VERSION_MINOR 1
#define FATHOM_VERSION_PATCH 0
#define FATHOM_API           __attribute__((visibility("default")))

/* "0.1.0": of the library that runs, which may be later than the header's. */
FATHOM_API const char *fathom_version(void);

/* -- errors -- */

typedef enum fathom_status {
    FATHOM_OK = 0,
    FATHOM_NO,          /* it ran, and the answer is "no": a template refused the messages */
    FATHOM_USAGE,       /* an argument is wrong */
    FATHOM_IO,          /* the system refused to read or write */
    FATHOM_FORMAT,      /* a file is not what it claims to be, or belongs to something else */
    FATHOM_SHAPE,       /* tensors do not fit each other */
    FATHOM_MEMORY,      /* an allocation failed */
    FATHOM_LIMIT,       /* a bound would be passed: memory, context */
    FATHOM_UNSUPPORTED, /* well formed, but not something that is done here */
    FATHOM_CANCELLED,   /* a callback or fathom_session_cancel said so */
    FATHOM_INTERNAL     /* our mistake */
} fathom_status;

typedef struct fathom_error {
    fathom_status status;
    int code; /* 102 is F0102, which `fathom help F0102` explains; 0: nothing has failed yet */
    const char *what, *where, *why, *fix; /* sentences in UTF-8; never NULL */
} fathom_error;
/* Of the calling thread's last call that failed; until its next one. */
FATHOM_API const fathom_error *fathom_last_error(void);

/* Lines of the log ("done without the layer for multi-token prediction"), which otherwise go
 * nowhere. One function for the process; NULL ends it. It may be called by any thread. */
typedef void fathom_log_fn(void *context, int level, const char *line); /* 0 error .. 3 debug */
FATHOM_API void fathom_on_log(fathom_log_fn *fn, void *context);

/* Frees a block that was handed out; accepts NULL. */
FATHOM_API void fathom_free(void *block);

/* -- models -- */

typedef struct fathom_model fathom_model;

typedef struct fathom_model_options {
    size_t size;          /* sizeof(fathom_model_options) */
    int threads;          /* 0: the CPUs this process may use. The first open model decides */
    int64_t context;      /* positions of a session; 0: what the model was made for, at most 4096 */
    int64_t memory_limit; /* refuse what needs more bytes; 0: what is free */
    /* Called in the calling thread while weights are read; false stops with FATHOM_CANCELLED. */
    bool (*on_progress)(void *context, double done, double total);
    void *on_progress_context;
} fathom_model_options;

/* options: NULL for the defaults. A model that will not fit is refused before it is read, with the
 * numbers. *out is NULL after a failure. */
FATHOM_API fathom_status fathom_model_open(fathom_model **out, const char *path,
                                           const fathom_model_options *options);
FATHOM_API void fathom_model_close(fathom_model *model);

typedef struct fathom_model_facts {
    size_t size; /* sizeof(fathom_model_facts) */
    int64_t parameters, layers, d_model, heads, vocab_size;
    int64_t context_most; /* that the model was made for; 0: it says nothing */
    int64_t context;      /* of a session, unless it asks for another */
    int64_t weight_bytes; /* as they run */
    int64_t key_bytes;    /* of one session over its whole context */
    int64_t step_bytes;   /* while a part of a prompt is read */
    /* of an open model; zero and "" for one that is only described */
    int32_t bos, eos; /* ids; -1: it has none */
    bool chat;        /* it has a chat template */
    int threads;
    char family[32], tier[32]; /* "deepseek_v3"; the kernels: "avx512-bf16" */
} fathom_model_facts;
/* facts->size is set by the caller. */
FATHOM_API fathom_status fathom_model_get_facts(const fathom_model *model,
                                                fathom_model_facts *facts);
/* The same from the configuration alone: what opening it would take. */
FATHOM_API fathom_status fathom_model_describe(const char *path,
                                               const fathom_model_options *options,
                                               fathom_model_facts *facts);

/* Text to ids; fathom_free(*ids). special: words such as "<|im_end|>" become their tokens; for text
 * from outside say false. */
FATHOM_API fathom_status fathom_tokenize(const fathom_model *model, const char *text, size_t n,
                                         bool special, int32_t **ids, size_t *n_ids);
/* Ids to bytes, with a NUL behind them; fathom_free(*text). special: also write special tokens. */
FATHOM_API fathom_status fathom_detokenize(const fathom_model *model, const int32_t *ids,
                                           size_t n_ids, bool special, char **text, size_t *n);

/* -- sessions -- */

typedef struct fathom_session fathom_session;

/* context: 0 for the model's. */
FATHOM_API fathom_status fathom_session_new(fathom_session **out, fathom_model *model,
                                            int64_t context);
FATHOM_API void fathom_session_free(fathom_session *session);

typedef struct fathom_logprob {
    int32_t id;
    double logprob; /* natural logarithm, before penalties, temperature and cuts */
} fathom_logprob;

typedef struct fathom_answer_options {
    size_t size;               /* sizeof(fathom_answer_options) */
    int64_t max_tokens;        /* 0: 512 */
    double temperature;        /* 0: always the likeliest token */
    int top_k;                 /* 0: all */
    double top_p;              /* 0: 1, all */
    double min_p;              /* 0: off */
    double repetition_penalty; /* 0: 1, off */
    int repetition_window;     /* tokens it looks back; 0: all */
    uint64_t seed;             /* the same seed, text and settings give the same answer */
    const char *const *stops;  /* texts that end the answer and are not part of it */
    int n_stops;
    const char *tools;     /* of fathom_chat: JSON array for the template, or NULL */
    const char *variables; /* of fathom_chat: JSON object for it: {"enable_thinking": false} */
    /* Whole UTF-8 pieces as they are made; false ends the answer. */
    bool (*on_text)(void *context, const char *text, size_t n);
    /* Between parts of a prompt; false stops with FATHOM_CANCELLED. */
    bool (*on_prompt)(void *context, int64_t done, int64_t total);
    /* Each token with its probability and the likeliest n_top (0 .. 32) at its place. */
    void (*on_token)(void *context, const fathom_logprob *chosen, const fathom_logprob *top,
                     int n_top);
    int n_top;
    void *context; /* of the three callbacks */
} fathom_answer_options;

/* Temperature 0.8, top-p 0.95, seed 1, 512 tokens: what NULL means. A zeroed structure is greedy. */
static inline fathom_answer_options fathom_answer_defaults(void) {
    fathom_answer_options o = {sizeof(fathom_answer_options),
                               512,  /* max_tokens */
                               0.8,  /* temperature */
                               0,    /* top_k */
                               0.95, /* top_p */
                               0,    /* min_p */
                               0,    /* repetition_penalty */
                               0,    /* repetition_window */
                               1,    /* seed */
                               NULL, /* stops */
                               0,    /* n_stops */
                               NULL, /* tools */
                               NULL, /* variables */
                               NULL, /* on_text */
                               NULL, /* on_prompt */
                               NULL, /* on_token */
                               0,    /* n_top */
                               NULL /* context */};
    return o;
}

/* The assistant's next turn in a conversation: `messages` is a JSON array of {"role", "content"},
 * all of it each time. Only what the session does not hold yet is read, so a conversation costs its
 * new words. *answer (may be NULL) lives until the session's next call. F0312: the template refused;
 * F0011: the model has none. */
FATHOM_API fathom_status fathom_chat(fathom_session *session, const char *messages,
                                     const fathom_answer_options *options, const char **answer);
/* Completes: reads `text` (NULL: nothing) behind what the session holds and goes on. In an empty
 * session the token that begins a text is put in front. */
FATHOM_API fathom_status fathom_complete(fathom_session *session, const char *text,
                                         const fathom_answer_options *options, const char **answer);

typedef enum fathom_stop {
    FATHOM_STOP_LENGTH,
    FATHOM_STOP_END,     /* the model ended it */
    FATHOM_STOP_WORD,    /* one of options.stops */
    FATHOM_STOP_CONTEXT, /* the context is full */
    FATHOM_STOP_CALLER   /* on_text said so, or fathom_session_cancel */
} fathom_stop;
typedef struct fathom_answer_facts {
    size_t size; /* sizeof(fathom_answer_facts) */
    fathom_stop stop;
    int64_t kept_tokens; /* of the prompt, which had been read before */
    int64_t read_tokens, written_tokens;
    double read_seconds, write_seconds;
} fathom_answer_facts;
/* Of the last answer. */
FATHOM_API fathom_status fathom_answer_get_facts(const fathom_session *session,
                                                 fathom_answer_facts *facts);

/* Ends the session's running call as soon as it can: an answer ends with what there is of it
 * (FATHOM_STOP_CALLER), reading a prompt fails with FATHOM_CANCELLED. Without a running call it does
 * nothing. Any thread, signal handlers too. */
FATHOM_API void fathom_session_cancel(fathom_session *session);

/* -- below answers: ids and logits -- */

/* Reads ids; all or, on failure, none. */
FATHOM_API fathom_status fathom_session_feed(fathom_session *session, const int32_t *ids, size_t n);
FATHOM_API size_t fathom_session_length(const fathom_session *session); /* ids it holds */
/* They live until the session's next call; NULL if there are none. */
FATHOM_API const int32_t *fathom_session_ids(const fathom_session *session);
/* Forgets all but the first n. */
FATHOM_API fathom_status fathom_session_cut(fathom_session *session, size_t n);
/* [vocab_size] of the last token, until the session's next call. NULL: nothing was read since the
 * session was made or cut. */
FATHOM_API const float *fathom_session_logits(const fathom_session *session);
/* The n likeliest next tokens, in order; *n becomes how many there are. */
FATHOM_API fathom_status fathom_session_top(const fathom_session *session, fathom_logprob *top,
                                            int *n);

/* -- sessions on disk -- */

/* With keys and logits, atomically. A loaded session goes on with the same bytes. */
FATHOM_API fathom_status fathom_session_save(fathom_session *session, const char *path);
/* Replaces what the session holds; on failure it is as it was. F0602: not such a file, or damaged;
 * F0603: it belongs to another model. */
FATHOM_API fathom_status fathom_session_load(fathom_session *session, const char *path);

#ifdef __cplusplus
}
#endif

#endif
