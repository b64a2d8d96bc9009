/* app.h - the commands that join folders or stand beside them all. Each is one file,
 * <name>_command.c; main.c lists them. What a command shares with others of this folder would be
 * declared here; today that is nothing but the commands themselves.
 */
#ifndef FATHOM_APP_APP_H
#define FATHOM_APP_APP_H

#include "base/command.h"

extern const command config_command;     /* init, show, check, presets, keys, diff, schema */
extern const command runs_command;       /* ls, show, compare, plot, watch, batch, rm, export */
extern const command runs_batch_command; /* one of runs; batch_command.c */
extern const command start_command;      /* corpus, tokenizer, training, evaluation in one go */
extern const command model_command;      /* show */
extern const command doctor_command;     /* what this machine has, and whether it is enough */

extern const command_words program_words[]; /* sizes and metrics, for Tab */

#endif
