/* model_gguf.h - models from GGUF files and back.
 *
 *     gguf *f;
 *     model_config c; model m;
 *     TRY(gguf_open(&f, "model.gguf"));
 *     TRY(model_config_from_gguf(&c, f));
 *     TRY(model_init(&m, &c, DTYPE_F32));
 *     TRY(model_load_gguf(&m, f));
 *
 * Architectures: llama, qwen2, qwen3, deepseek2. A missing key, a key that would change what is
 * computed, a tensor that is missing, extra or of another shape: named, with its byte in the file.
 */
#ifndef FATHOM_MODEL_MODEL_GGUF_H
#define FATHOM_MODEL_MODEL_GGUF_H

#include "model/model.h"
#include "tensor/gguf.h"

/* F_MODEL_UNKNOWN: another architecture, or a key of this one that is not computed here;
 * F_GGUF_KEY: a key that is missing or of the wrong kind; F_MODEL_CONFIG: numbers do not fit. */
status model_config_from_gguf(model_config *c, gguf *f) MUST_CHECK;
/* Decodes every tensor into the masters. Nothing is written before all names, shapes and types fit. */
status model_load_gguf(model *m, const gguf *f) MUST_CHECK;

/* The keys of this configuration (not those of the tokenizer). */
void model_put_gguf_keys(gguf_writer *w, const model_config *c, uint32_t type);
/* Directory and data of all tensors; matrices as `type` (F32, F16 or BF16), the rest as F32. Keys
 * come before this call. The caller commits. */
status model_put_gguf_tensors(gguf_writer *w, const model *m, uint32_t type) MUST_CHECK;

#endif
