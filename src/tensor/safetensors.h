/* safetensors.h - named tensors in one file, or in several with an index.
 *
 *     safetensors *f;
 *     TRY(safetensors_open(&f, "model"));                // file, index or folder
 *     tensor w;
 *     TRY(safetensors_find(f, "model.norm.weight", &w)); // a view into the mapping
 *     ...
 *     safetensors_close(f);                              // views die with it
 *
 *     safetensors_item items[] = {{"model.norm.weight", w}};
 *     TRY(safetensors_write("out.safetensors", items, 1, NULL, 0));
 *
 * The reader trusts nothing: header length, UTF-8, JSON, nesting, number of entries, element
 * types, offsets without holes or overlap, sizes and the end of the file are checked before a
 * single view is given out; duplicate names are refused. Element types that tensor.h does not
 * have (4- and 6-bit floats, complex) pass the checks and are refused only by safetensors_find.
 * The writer gives the same bytes for the same tensors in any order of `items`.
 */
#ifndef FATHOM_TENSOR_SAFETENSORS_H
#define FATHOM_TENSOR_SAFETENSORS_H

#include "tensor/tensor.h"

#define SAFETENSORS_MAX_RANK 16
typedef struct safetensors_entry {
    const char *name;
    const char *dtype; /* as written in the file */
    int rank;
    int64_t dim[SAFETENSORS_MAX_RANK];
    const void *data; /* in the mapping; aligned or not */
    size_t bytes;
} safetensors_entry;

typedef struct safetensors safetensors;
/* `path`: a .safetensors file, a *.safetensors.index.json, or a folder that holds
 * model.safetensors or model.safetensors.index.json. */
status safetensors_open(safetensors **out, const char *path) MUST_CHECK;
/* One file already in memory (it must outlive the reader); `name` is used in messages. */
status safetensors_open_bytes(safetensors **out, const void *bytes, size_t n,
                              const char *name) MUST_CHECK;
void safetensors_close(safetensors *f); /* accepts NULL */

int safetensors_count(const safetensors *f);
/* Entries are sorted by name, bytewise. */
const safetensors_entry *safetensors_at(const safetensors *f, int i);
const safetensors_entry *safetensors_lookup(const safetensors *f, const char *name); /* NULL */
/* Contiguous view of rank <= TENSOR_MAX_RANK. F_TENSOR_MISSING (with the nearest name),
 * F_SAFETENSORS_DTYPE, F_SHAPE. Data that is not aligned for its type is copied once; the copy
 * belongs to `f`. One thread at a time. */
status safetensors_find(safetensors *f, const char *name, tensor *out) MUST_CHECK;
/* Bytes of an entry that are about to be read, or not soon again (mapped_expect, mapped_forget); nothing
 * for a reader of memory. */
void safetensors_expect(const safetensors *f, const void *data, size_t bytes);
void safetensors_forget(const safetensors *f, const void *data, size_t bytes);
/* Value of a key of __metadata__, NULL if absent (of the first file if there are several). */
const char *safetensors_metadata(const safetensors *f, const char *key);

typedef struct safetensors_item {
    const char *name;
    tensor value; /* contiguous */
} safetensors_item;
typedef struct safetensors_note {
    const char *key, *value;
} safetensors_note;
/* Atomic: a reader sees the old file or the new one. */
status safetensors_write(const char *path, const safetensors_item *items, int n,
                         const safetensors_note *notes, int n_notes) MUST_CHECK;

/* The same file in pieces, for tensors that are never whole in memory: the data of `items` is not
 * looked at, its bytes follow in the order of the file, which safetensors_writer_item gives. */
typedef struct safetensors_writer safetensors_writer;
status safetensors_writer_new(safetensors_writer **out, const char *path,
                              const safetensors_item *items, int n, const safetensors_note *notes,
                              int n_notes) MUST_CHECK;
/* Index into `items` of the i-th tensor of the file. */
int safetensors_writer_item(const safetensors_writer *w, int i);
status safetensors_writer_put(safetensors_writer *w, const void *bytes, size_t n) MUST_CHECK;
/* Atomic; F_INTERNAL if the bytes were more or fewer than the header says. Frees the writer. */
status safetensors_writer_commit(safetensors_writer *w) MUST_CHECK;
void safetensors_writer_abandon(safetensors_writer *w); /* leaves no file; accepts NULL */

#endif
