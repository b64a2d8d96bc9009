/* eval_internal.h - shared by the files of eval/. */
#ifndef FATHOM_EVAL_EVAL_INTERNAL_H
#define FATHOM_EVAL_EVAL_INTERNAL_H

#include "eval/eval.h"

/* Fills gzip .. witten_bell of `out` for a dataset: from its baselines.json if that belongs to
 * these very shards, else measured and kept there. */
status baselines_of_data(const char *folder, eval_result *out) MUST_CHECK;
/* The same for a plain file whose last tenth is held out (loader.h); measured each time. */
status baselines_of_file(const char *path, eval_result *out) MUST_CHECK;

#endif
