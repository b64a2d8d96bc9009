/* bundle_internal.h - the ways a bundle is filled. */
#ifndef FATHOM_INFER_BUNDLE_INTERNAL_H
#define FATHOM_INFER_BUNDLE_INTERNAL_H

#include "infer/infer.h"

/* bundle_gguf.c: fills model, tokenizer, template and stops; on failure the caller closes what there is.
 * WEIGHTS_NONE: the model holds its configuration only. */
typedef enum bundle_weights { WEIGHTS_NONE, WEIGHTS_HELD, WEIGHTS_MASTERS } bundle_weights;
status bundle_open_gguf(bundle *b, const char *path, bundle_weights weights) MUST_CHECK;
/* bundle.c: is this the name of a GGUF file that is no folder? */
bool bundle_is_gguf(const char *path);

#endif
