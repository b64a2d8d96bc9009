/* sample.h - the sample_fn that commands lend to train_run: a short continuation of the prompt.
 *
 *     train_sampler sampler = {.settings = &settings};
 *     settings.sample = train_sample, settings.sample_context = &sampler;
 *     status s = train_run(&settings, &result);
 *     train_sampler_clear(&sampler);
 */
#ifndef FATHOM_TRAIN_SAMPLE_H
#define FATHOM_TRAIN_SAMPLE_H

#include "tokens/tokens.h"
#include "train/train.h"

typedef struct train_sampler {
    const train_settings *settings;
    tokenizer *tokenizer; /* opened with the first sample */
} train_sampler;
sample_fn train_sample; /* its context is a train_sampler */
void train_sampler_clear(train_sampler *s);

#endif
