/* sample.c - what the model makes of a prompt while it is being trained.
 *
 * Samples use the weights as they are, through the same sessions as `fathom chat`, at seed 1, so that
 * a run's samples are comparable over its steps. Taking one changes nothing.
 */
#include "train/sample.h"

#include "base/file.h"
#include "infer/infer.h"

#include <string.h>

#define SAMPLE_TOKENS 48

typedef struct text_buffer {
    char bytes[SAMPLE_TOKENS * 64];
    size_t used;
} text_buffer;

static bool collect_text(void *context, const char *bytes, size_t n) {
    text_buffer *b = context;
    if (n > sizeof b->bytes - 1 - b->used) return false;
    memcpy(b->bytes + b->used, bytes, n);
    b->used += n;
    return true;
}

static status open_tokenizer(train_sampler *s) {
    const train_settings *t = s->settings;
    char path[PATH_SIZE];
    if (s->tokenizer != NULL) return STATUS_OK;
    TRY(path_join(path, t->input != NULL ? t->run : t->data, "tokenizer.json"));
    return tokenizer_open(&s->tokenizer, path);
}

static status generate_sample(train_sampler *s, model *m, const char *prompt, text_buffer *out) {
    engine *e = NULL;
    session *one = NULL;
    generate_result result;
    generate_options o = {.max_tokens = SAMPLE_TOKENS,
                          .sampler = sampler_defaults(),
                          .bos = true,
                          .on_text = collect_text,
                          .context = out};
    o.sampler.seed = 1;
    status done;
    TRY_GOTO(done, open_tokenizer(s));
    TRY_GOTO(done, engine_new(&e, m, 256));
    TRY_GOTO(done, session_new(&one, e));
    done = generate(one, s->tokenizer, prompt, strlen(prompt), &o, &result);
done:
    session_free(one);
    engine_free(e);
    return done;
}

status train_sample(void *context, model *m, const char *prompt, char **made) {
    text_buffer buffer = {.used = 0};
    TRY(generate_sample(context, m, prompt, &buffer));
    *made = mem_strndup(buffer.bytes, buffer.used);
    return *made != NULL ? STATUS_OK : STATUS_MEMORY;
}

void train_sampler_clear(train_sampler *s) {
    tokenizer_free(s->tokenizer);
    s->tokenizer = NULL;
}
