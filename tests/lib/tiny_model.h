/* tiny_model.h - a model folder of a few thousand weights, with tokenizer and chat template. */
#ifndef FATHOM_TEST_TINY_MODEL_H
#define FATHOM_TEST_TINY_MODEL_H

#include "base/status.h"

#include <stdint.h>

status tiny_model_write(const char *folder, uint64_t seed) MUST_CHECK;

#endif
