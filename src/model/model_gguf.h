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
/* The same into a model that is only described, for inference: matrices live once (param_set_hold), F16
 * and BF16 in their 16 bits, F32 in F32, every other type decoded and rounded to bf16. */
status model_hold_gguf(model *m, const gguf *f) MUST_CHECK;
int64_t model_held_bytes_gguf(const model *m, const gguf *f);

/* The keys of this configuration (not those of the tokenizer). */
void model_put_gguf_keys(gguf_writer *w, const model_config *c, uint32_t type);
/* Directory and data of all tensors; matrices as `type` (F32, F16 or BF16), the rest as F32. Keys
 * come before this call. The caller commits. */
status model_put_gguf_tensors(gguf_writer *w, const model *m, uint32_t type) MUST_CHECK;

/* -- tensor by tensor: which tensor of a file holds which published rows (gguf_weights.c) -- */

typedef enum gguf_place_kind {
    PLACE_ROWS,   /* as they are */
    PLACE_ROTARY, /* dealt out anew within each head: gguf_place_row */
    PLACE_EXPERT, /* one slice of a tensor that stacks all experts */
    PLACE_LATENT, /* kv_b in two: keys transposed per head in `name`, values in `second` */
} gguf_place_kind;

typedef struct gguf_place {
    const param *param;
    const param_view *view;         /* its published name */
    int64_t first_row, rows, width; /* in the parameter; width 1 for a vector */
    gguf_place_kind kind;
    int64_t expert;
    char name[64], second[64]; /* second: attn_v_b */
    bool optional;
} gguf_place;

/* Every named row of a described model, in the order of files; mem_free(*out). */
status model_gguf_places(const model *m, gguf_place **out, int *n) MUST_CHECK;
/* Shape in the file, outermost first, and its rank; of attn_v_b with `second`. */
int gguf_place_shape(const model *m, const gguf_place *p, bool second, int64_t dim[3]);
/* Row of the published order that row `row` of the file is. */
int64_t gguf_place_row(const model *m, const gguf_place *p, int64_t row);
/* Vectors and routers: F32 in every file that is written. */
bool gguf_place_small(const gguf_place *p);
/* Names, shapes and types of a file against the model; F_TENSOR_MISSING, F_TENSOR_EXTRA, F_SHAPE. */
status model_gguf_check(const model *m, const gguf *f, const gguf_place *all, int n) MUST_CHECK;
/* llama3's stretched positions, rope_freqs.weight: the factor of each frequency. Their number, 0 for
 * other models. */
#define GGUF_FACTORS 512
int64_t model_gguf_factors(const model *m, float out[GGUF_FACTORS]);
/* general.file_type of files that hold mostly this type. */
int gguf_file_type(uint32_t type);

#endif
