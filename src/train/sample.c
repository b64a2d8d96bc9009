/* sample.c - what the model makes of a prompt while it is being trained.
 *
 * Samples use the weights as they are, through the same sessions as `fathom chat`, at seed 1, so that
 * a run's samples are comparable over its steps. Taking one changes nothing.
 */
#include "train/sample.h"

#include "base/file.h"
#include "infer/infer.h"

#define SAMPLE_TOKENS 48

static status open_tokenizer(train_sampler *s) {
    const train_settings *t = s->settings;
    char path[PATH_SIZE];
    if (s->tokenizer != NULL) return STATUS_OK;
    TRY(path_join(path, t->input != NULL ? t->run : t->data, "tokenizer.json"));
    return tokenizer_open(&s->tokenizer, path);
}

status train_sample(void *context, model *m, const char *prompt, char **made) {
    train_sampler *s = context;
    TRY(open_tokenizer(s));
    return complete_text(m, s->tokenizer, prompt, SAMPLE_TOKENS, made);
}

void train_sampler_clear(train_sampler *s) {
    tokenizer_free(s->tokenizer);
    s->tokenizer = NULL;
}
