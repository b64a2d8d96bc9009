/* settings.h - what settings.c and recipes.c share with the rest of train/. */
#ifndef FATHOM_TRAIN_SETTINGS_H
#define FATHOM_TRAIN_SETTINGS_H

#include "train/train.h"

/* Fixes seq_len if it was left open: the data is opened with it before the rest can be checked. */
status train_settings_row(train_settings *s) MUST_CHECK;

extern const option_preset train_recipes[]; /* ended by a row of NULLs */

/* Logs every setting that differs from the config.ini at `path`, which is about to be replaced. */
status train_settings_log_changes(const train_settings *s, const char *path,
                                  arena *strings) MUST_CHECK;

#endif
