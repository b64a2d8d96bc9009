/* convert_fixture.h - small models on disk in every form that is converted. */
#ifndef FATHOM_TEST_CONVERT_FIXTURE_H
#define FATHOM_TEST_CONVERT_FIXTURE_H

#include "convert/convert.h"

#include "base/file.h"
#include "model/model_gguf.h"
#include "tensor/safetensors.h"

#define FIXTURE_VOCAB 264 /* 258 tokens, and rows without one */

/* An empty folder for this test, kernels, no progress lines. */
status fixture_begin(void) MUST_CHECK;
/* FOLDER/NAME in a ring of static rooms. */
const char *in_folder(const char *name);
/* A published folder: the configuration of tests/golden/model/CASE.json with a larger vocabulary, its
 * weights by formula in `type`, a tokenizer over bytes with a template. */
status make_folder(const char *path, const char *golden_case, dtype type, int shards) MUST_CHECK;
/* A GGUF file of this configuration whose matrices are blocks of `type` (Q8_0, Q4_0, F16) filled by a
 * counter, the rest F32. */
status make_blocks(const char *path, const model_config *c, uint32_t type) MUST_CHECK;
model_config latent_config(void); /* rows are multiples of 32 */

/* The options of a conversion to this form. */
convert_options to(convert_form form, int type);
/* Do both folders hold the same tensors (names, types, shapes, bytes)? A difference is printed. A
 * tensor whose name contains `except` may differ; NULL = none. */
bool same_folders(const char *a, const char *b, const char *except);
bool same_files(const char *a, const char *b); /* tensors of two GGUF files */
/* Is there nothing at `path`, nor at path.part? */
bool nothing_at(const char *path);

#endif
