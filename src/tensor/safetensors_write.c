/* safetensors_write.c - the writer: the same bytes for the same tensors, whatever their order.
 *
 * What: sorts the tensors, lays them out without holes, writes header and data to a sibling of the
 * target and renames it, so that nobody ever reads half a file.
 *
 * How: order, spacing and padding are those of the reference writer (huggingface/safetensors,
 * prepare in tensor.rs): by element type with the widest alignment first, then by name; header
 * padded with blanks to a multiple of 8. So every tensor is aligned for its type in the file.
 *
 * Mind: notes (__metadata__) are written in the order given; tensors must be contiguous.
 */
#include "base/checked.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "tensor/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Place of each type in the file, ascending: the reverse of the reference's enumeration. */
static const int place[DTYPE_COUNT] = {
    [DTYPE_U64] = 0,      [DTYPE_I64] = 1,      [DTYPE_F64] = 2, [DTYPE_F32] = 3, [DTYPE_U32] = 4,
    [DTYPE_I32] = 5,      [DTYPE_BF16] = 6,     [DTYPE_F16] = 7, [DTYPE_U16] = 8, [DTYPE_I16] = 9,
    [DTYPE_F8_E4M3] = 10, [DTYPE_F8_E5M2] = 11, [DTYPE_I8] = 12, [DTYPE_U8] = 13, [DTYPE_BOOL] = 14,
};

static int by_place(const void *a, const void *b) {
    const safetensors_item *x = *(const safetensors_item *const *)a;
    const safetensors_item *y = *(const safetensors_item *const *)b;
    if (place[x->value.dtype] != place[y->value.dtype])
        return place[x->value.dtype] < place[y->value.dtype] ? -1 : 1;
    return strcmp(x->name, y->name);
}

static status check_items(const char *path, const safetensors_item *const *order, int n) {
    for (int i = 0; i < n; i++) {
        const char *name = order[i]->name;
        if (!tensor_contiguous(&order[i]->value))
            return FAIL(F_SHAPE, text("tensor \"%s\" is not contiguous", name), path,
                        "only whole tensors can be written", "copy it before writing");
        if (strcmp(name, "__metadata__") == 0 || utf8_valid(name, strlen(name)) < strlen(name))
            return FAIL(F_SAFETENSORS_HEADER, text("\"%s\" cannot be the name of a tensor", name),
                        path, "names are UTF-8, and __metadata__ is taken", "rename the tensor");
    }
    return STATUS_OK;
}

static status no_memory(void) {
    return FAIL(F_NO_MEMORY, "cannot make the header", "safetensors header",
                "memory is exhausted, or a note is not UTF-8", "close other programs");
}

/* Adds one tensor to the header; `offset` moves from its first byte to its end. */
static status describe(json_t *root, const safetensors_item *item, int64_t *offset) {
    const tensor *t = &item->value;
    if (json_object_get(root, item->name) != NULL)
        return FAIL(F_SAFETENSORS_HEADER, text("two tensors are named \"%s\"", item->name),
                    "list of tensors to write", "names in one file are unique",
                    "rename one of them");
    /* A failed set has already freed what it was given: stop there. */
    json_t *entry = json_object();
    if (json_object_set_new(root, item->name, entry) != 0) return no_memory();
    if (json_object_set_new(entry, "dtype", json_string(dtype_name(t->dtype))) != 0)
        return no_memory();
    json_t *shape = json_array();
    if (json_object_set_new(entry, "shape", shape) != 0) return no_memory();
    for (int i = 0; i < t->rank; i++)
        if (json_array_append_new(shape, json_integer(t->dim[i])) != 0) return no_memory();
    json_t *offsets = json_array();
    if (json_object_set_new(entry, "data_offsets", offsets) != 0) return no_memory();
    int64_t end = *offset + (int64_t)tensor_bytes(t);
    if (json_array_append_new(offsets, json_integer(*offset)) != 0 ||
        json_array_append_new(offsets, json_integer(end)) != 0)
        return no_memory();
    *offset = end;
    return STATUS_OK;
}

/* The header with its padding; mem_free it. */
static status make_header(const safetensors_item *const *order, int n,
                          const safetensors_note *notes, int n_notes, char **out, size_t *length) {
    status s = STATUS_OK;
    *out = NULL;
    char *line = NULL;
    json_t *metadata = json_object(), *root = json_object();
    bool failed = metadata == NULL || root == NULL;
    for (int i = 0; i < n_notes && !failed; i++)
        failed = json_object_set_new(metadata, notes[i].key, json_string(notes[i].value)) != 0;
    if (n_notes > 0 && !failed) failed = json_object_set(root, "__metadata__", metadata) != 0;
    if (failed) {
        s = no_memory();
        goto done;
    }
    int64_t offset = 0;
    for (int i = 0; i < n; i++)
        TRY_GOTO(s, describe(root, order[i], &offset));
    line = json_line(root);
    size_t used = line != NULL ? strlen(line) : 0, padded = size_round_up(used, 8);
    char *header = line != NULL ? mem_alloc(padded + 1) : NULL;
    if (header == NULL) {
        s = STATUS_MEMORY;
        goto done;
    }
    memset(header, ' ', padded);
    memcpy(header, line, used);
    *out = header;
    *length = padded;
done:
    mem_free(line);
    json_decref(metadata);
    json_decref(root);
    return s;
}

struct safetensors_writer {
    file_writer *file;
    char *path;
    int *order;   /* items as the file has them */
    int64_t left; /* bytes of data still to come */
};

static status begin(safetensors_writer *w, const safetensors_item *items, int n,
                    const safetensors_note *notes, int n_notes) {
    char *header = NULL;
    size_t length = 0;
    status s;
    const safetensors_item **order = mem_zalloc((size_t)n + 1, sizeof *order);
    w->order = mem_zalloc((size_t)n + 1, sizeof *w->order);
    if (order == NULL || w->order == NULL) {
        s = STATUS_MEMORY;
        goto done;
    }
    for (int i = 0; i < n; i++)
        order[i] = &items[i];
    qsort(order, (size_t)n, sizeof *order, by_place);
    for (int i = 0; i < n; i++) {
        w->order[i] = (int)(order[i] - items);
        w->left += (int64_t)tensor_bytes(&order[i]->value);
    }
    TRY_GOTO(s, check_items(w->path, order, n));
    TRY_GOTO(s, make_header(order, n, notes, n_notes, &header, &length));
    TRY_GOTO(s, writer_open(&w->file, w->path));
    uint64_t word = length;
    TRY_GOTO(s, writer_put(w->file, &word, sizeof word));
    s = writer_put(w->file, header, length);
done:
    mem_free(header);
    mem_free(order);
    return s;
}

static void release(safetensors_writer *w) {
    mem_free(w->path);
    mem_free(w->order);
    mem_free(w);
}

status safetensors_writer_new(safetensors_writer **out, const char *path,
                              const safetensors_item *items, int n, const safetensors_note *notes,
                              int n_notes) {
    *out = NULL;
    safetensors_writer *w = mem_zalloc(1, sizeof *w);
    if (w == NULL) return STATUS_MEMORY;
    w->path = mem_strdup(path);
    status s = w->path != NULL ? begin(w, items, n, notes, n_notes) : STATUS_MEMORY;
    if (s != STATUS_OK) {
        safetensors_writer_abandon(w);
        return s;
    }
    *out = w;
    return STATUS_OK;
}

int safetensors_writer_item(const safetensors_writer *w, int i) {
    return w->order[i];
}

status safetensors_writer_put(safetensors_writer *w, const void *bytes, size_t n) {
    w->left -= (int64_t)n;
    return writer_put(w->file, bytes, n);
}

status safetensors_writer_commit(safetensors_writer *w) {
    if (w->left != 0) {
        status s = FAIL(F_INTERNAL, text("%" PRId64 " bytes of data are missing", w->left), w->path,
                        "the data is not as long as the header says", "report this as a bug");
        safetensors_writer_abandon(w);
        return s;
    }
    status s = writer_commit(w->file);
    release(w);
    return s;
}

void safetensors_writer_abandon(safetensors_writer *w) {
    if (w == NULL) return;
    writer_abandon(w->file);
    release(w);
}

status safetensors_write(const char *path, const safetensors_item *items, int n,
                         const safetensors_note *notes, int n_notes) {
    safetensors_writer *w;
    TRY(safetensors_writer_new(&w, path, items, n, notes, n_notes));
    for (int i = 0; i < n; i++) {
        const tensor *t = &items[w->order[i]].value;
        status s = safetensors_writer_put(w, t->data, tensor_bytes(t));
        if (s != STATUS_OK) {
            safetensors_writer_abandon(w);
            return s;
        }
    }
    return safetensors_writer_commit(w);
}
