/* source.h - the tensors of a model as files have them: names, shapes, and where their numbers lie.
 *
 *     model_part *parts;
 *     TRY(model_parts(&m, &parts, &n));              // what the model has, sorted by name; mem_free
 *     TRY(model_sources(&m, f, parts, n, path));     // where the file has it; everything named
 *     source_read(&parts[i].source, 0, part_count(&parts[i]), room);   // whole blocks
 *
 * The model may be described only. Sources die with the reader `f`.
 */
#ifndef FATHOM_MODEL_SOURCE_H
#define FATHOM_MODEL_SOURCE_H

#include "model/model.h"
#include "tensor/quant.h"
#include "tensor/safetensors.h"

typedef struct weight_source {
    const safetensors_entry *entry;
    const safetensors_entry *scale; /* of F8_E4M3, else NULL */
    dtype type;                     /* U8 of blocks */
    uint32_t blocks;                /* quant_type of the numbers (of F8_E4M3: F32) */
    int64_t first;                  /* element of the entry where the part begins */
    int64_t width;                  /* of a row */
    /* kv_b as GGUF files have it, else NULL: entry holds keys [H, width, n_key], values holds
     * [H, n_value, width]. */
    const safetensors_entry *values;
    uint32_t value_blocks;
    int n_key, n_value;
} weight_source;

/* A tensor the model has: rows of a parameter. */
typedef struct model_part {
    const param *param;
    const param_view *view;
    weight_source source;
} model_part;

status model_parts(const model *m, model_part **out, int *n) MUST_CHECK;
int64_t part_width(const model_part *p); /* 1 for vectors */
int64_t part_first(const model_part *p); /* its first element inside the parameter */
int64_t part_count(const model_part *p);
/* As published: [rows] or [rows, width]. */
tensor part_tensor(const model_part *p, void *data, dtype type);

/* F_TENSOR_MISSING, F_TENSOR_EXTRA, F_SHAPE, F_SAFETENSORS_DTYPE name the tensor; `path` is for
 * messages. */
status model_sources(const model *m, safetensors *f, model_part *parts, int n,
                     const char *path) MUST_CHECK;
/* The model of a folder without its memory, from config.json and the names in its files. */
status model_describe_folder(model *m, const char *folder, const safetensors *f) MUST_CHECK;
/* model_load from an open reader. */
status model_load_from(model *m, safetensors *f, const char *path) MUST_CHECK;
/* Fills a described f32 model for inference: matrices live once, as they are packed (held.c). `parts`
 * have their sources; they are put in another order. */
status model_hold_from(model *m, safetensors *f, model_part *parts, int n) MUST_CHECK;
int64_t parts_held_bytes(model_part *parts, int n); /* what that takes; sources are there */
/* n elements of the part from its element `first`, as f32. */
void source_read(const weight_source *s, int64_t first, int64_t n, float *to);
/* The bytes of the part from its element `first` (a multiple of the block) where they lie, as
 * `blocks` says; NULL if they lie otherwise (F8_E4M3, kv_b in two). */
const uint8_t *source_bytes(const weight_source *s, int64_t first);

/* Names under which a folder keeps numbers in blocks: "x.weight.Q4_K", U8 [rows, bytes of a row], and
 * kv_b in two: "...self_attn.k_b_proj.weight", "...v_b_proj.weight". They live like text(). */
const char *source_block_name(const char *name, uint32_t type);
const char *source_latent_name(const char *name, bool values);

#endif
