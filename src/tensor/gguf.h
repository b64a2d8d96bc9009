/* gguf.h - GGUF files: a table of keys, a directory of tensors, aligned data.
 *
 *     gguf *f;
 *     TRY(gguf_open(&f, "model.gguf"));                      // mapped; everything checked
 *     int64_t layers;
 *     TRY(gguf_get_int(f, "llama.block_count", &layers));    // F_GGUF_KEY names key and byte
 *     const gguf_tensor *t;
 *     TRY(gguf_find(f, "token_embd.weight", &t));
 *     TRY(gguf_decode(f, t, 0, quant_row, row));             // elements as f32
 *     gguf_close(f);                                         // pointers die with it
 *
 *     gguf_writer *w;
 *     TRY(gguf_writer_new(&w, "out.gguf"));
 *     gguf_put_string(w, "general.architecture", "llama");
 *     gguf_put_tensor(w, "token_embd.weight", QUANT_F16, 2, (int64_t[]){vocab, width});
 *     gguf_put_data(w, bytes, n);                            // in the order of the directory
 *     TRY(gguf_writer_commit(w));                            // the first failure of all calls
 *
 * Versions 2 and 3, little-endian. The reader trusts nothing: counts, lengths, types, alignment,
 * offsets (each tensor begins where the one before ended) and the end of the file are checked before
 * the first pointer is given out; duplicate keys and names are refused. Errors name the key or
 * tensor and its byte in the file.
 *
 * Shapes here are row-major, outermost dimension first, as everywhere in this program; files have
 * them the other way round.
 */
#ifndef FATHOM_TENSOR_GGUF_H
#define FATHOM_TENSOR_GGUF_H

#include "tensor/quant.h"

#define GGUF_MAX_RANK 4

typedef enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_LIST,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
} gguf_type;

typedef struct gguf_value {
    const char *key;
    gguf_type type;    /* of the value; GGUF_LIST: a list of */
    gguf_type element; /* these; otherwise equal to type */
    int64_t count;     /* of elements; 1 for a scalar */
    const uint8_t *data;
    size_t bytes; /* of the data; strings with their lengths */
    size_t at;    /* byte of the key in the file */
} gguf_value;

typedef struct gguf_tensor {
    const char *name;
    uint32_t type; /* quant_type */
    int rank;
    int64_t dim[GGUF_MAX_RANK]; /* unused ones are 1 */
    int64_t count;              /* elements */
    const uint8_t *data;        /* in the mapping, aligned as the file is */
    size_t bytes;
    size_t at; /* byte of its description in the file */
} gguf_tensor;

/* Bytes, not NUL-terminated. */
typedef struct gguf_text {
    const char *bytes;
    size_t n;
} gguf_text;

typedef struct gguf gguf;
bool gguf_is_name(const char *path); /* something.gguf */
status gguf_open(gguf **out, const char *path) MUST_CHECK;
/* A file already in memory (it must outlive the reader); `name` is used in messages. */
status gguf_open_bytes(gguf **out, const void *bytes, size_t n, const char *name) MUST_CHECK;
void gguf_close(gguf *f); /* accepts NULL */
const char *gguf_path(const gguf *f);

/* In the order of the file. */
int gguf_n_values(const gguf *f);
const gguf_value *gguf_value_at(const gguf *f, int i);
int gguf_n_tensors(const gguf *f);
const gguf_tensor *gguf_tensor_at(const gguf *f, int i);

/* NULL if absent. */
const gguf_value *gguf_lookup_value(const gguf *f, const char *key);
const gguf_tensor *gguf_lookup(const gguf *f, const char *name);
/* F_TENSOR_MISSING with the nearest name. */
status gguf_find(const gguf *f, const char *name, const gguf_tensor **out) MUST_CHECK;

/* Values by key; F_GGUF_KEY if it is missing or of another kind. Any integer type is taken as an
 * integer, any number as a real. Strings are NUL-terminated and belong to `f`. */
status gguf_get_int(const gguf *f, const char *key, int64_t *out) MUST_CHECK;
status gguf_get_real(const gguf *f, const char *key, double *out) MUST_CHECK;
status gguf_get_bool(const gguf *f, const char *key, bool *out) MUST_CHECK;
status gguf_get_string(gguf *f, const char *key, const char **out) MUST_CHECK;
/* Lists; mem_free them. The bytes of texts belong to `f`. */
status gguf_get_texts(const gguf *f, const char *key, gguf_text **out, int64_t *n) MUST_CHECK;
status gguf_get_ints(const gguf *f, const char *key, int64_t **out, int64_t *n) MUST_CHECK;
status gguf_get_reals(const gguf *f, const char *key, double **out, int64_t *n) MUST_CHECK;

/* The bytes of a tensor have been read for now: gives their pages back (mapped_forget). */
void gguf_forget(const gguf *f, const gguf_tensor *t);
/* Elements [first, first + n) as f32; both multiples of the type's block, inside the tensor.
 * F_GGUF_TYPE for a type without decoder. */
status gguf_decode(const gguf *f, const gguf_tensor *t, int64_t first, int64_t n,
                   float *out) MUST_CHECK;

/* -- writing: version 3, alignment 32, the same bytes for the same calls -- */

/* The first failure is kept and given back by commit; after it the other calls do nothing. Keys,
 * then tensors, then their data in the same order, in pieces of any size. */
typedef struct gguf_writer gguf_writer;
status gguf_writer_new(gguf_writer **out, const char *path) MUST_CHECK;
void gguf_put_int(gguf_writer *w, const char *key, gguf_type type, int64_t value);
static inline void gguf_put_u32(gguf_writer *w, const char *key, int64_t value) {
    gguf_put_int(w, key, GGUF_U32, value);
}
void gguf_put_f32(gguf_writer *w, const char *key, double value);
void gguf_put_bool(gguf_writer *w, const char *key, bool value);
void gguf_put_string(gguf_writer *w, const char *key, const char *value);
void gguf_put_texts(gguf_writer *w, const char *key, const gguf_text *texts, int64_t n);
void gguf_put_ints(gguf_writer *w, const char *key, gguf_type element, const int64_t *values,
                   int64_t n);
/* As it stands in another file; general.alignment is left out, it is the writer's. */
void gguf_put_value(gguf_writer *w, const gguf_value *value);
void gguf_put_tensor(gguf_writer *w, const char *name, uint32_t type, int rank, const int64_t *dim);
void gguf_put_data(gguf_writer *w, const void *bytes, size_t n);
/* Atomic: a reader sees the old file or the whole new one. Frees the writer. */
status gguf_writer_commit(gguf_writer *w) MUST_CHECK;
void gguf_writer_abandon(gguf_writer *w); /* leaves no file; accepts NULL */

#endif
