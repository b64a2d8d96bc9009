/* recipes.h - the presets of train_options, ended by a row of NULLs. Private to train/. */
#ifndef FATHOM_TRAIN_RECIPES_H
#define FATHOM_TRAIN_RECIPES_H

#include "base/options.h"

extern const option_preset train_recipes[];

#endif
