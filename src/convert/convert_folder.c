/* convert_folder.c - tensors of a plan into model.safetensors, or into shards with their index.
 *
 * How: tensors fill one file after the other in the order of the plan until the next one would pass the
 * bound; a tensor larger than the bound has a file of its own. Blocks of a GGUF file are U8 of the shape
 * [..., bytes of a row] under a name that ends in their type (model/source.h). Inside a file the writer
 * orders tensors (tensor/safetensors.h), so equal plans give equal bytes.
 */
#include "convert/convert_internal.h"

#include "base/json.h"

#include <string.h>

static dtype dtype_for(uint32_t type) {
    return type == QUANT_F32    ? DTYPE_F32
           : type == QUANT_F16  ? DTYPE_F16
           : type == QUANT_BF16 ? DTYPE_BF16
                                : DTYPE_U8;
}

/* Names live in the arena of the plan. */
static status describe(recipes *p, const recipe *t, safetensors_item *item) {
    tensor v = {.dtype = dtype_for(t->type), .rank = t->rank};
    int64_t stride = 1;
    for (int i = TENSOR_MAX_RANK - 1; i >= 0; i--) {
        v.dim[i] = i < t->rank ? t->dim[i] : 1;
        if (i == t->rank - 1 && v.dtype == DTYPE_U8)
            v.dim[i] = (int64_t)quant_bytes(t->type, t->dim[i]);
        v.stride[i] = i < t->rank ? stride : 0;
        if (i < t->rank) stride *= v.dim[i];
    }
    item->name = arena_strdup(&p->memory, recipe_file_name(t));
    item->value = v;
    return item->name != NULL ? STATUS_OK : STATUS_MEMORY;
}

static status put_tensor(convert_job *j, safetensors_writer *w, const recipe *t, row_room *r) {
    int64_t n;
    const uint8_t *bytes;
    for (int64_t row = 0; row < t->rows && t->width > 0; row += n) {
        TRY(recipe_rows(&j->plan, t, row, r, &bytes, &n));
        size_t size = (size_t)n * quant_bytes(t->type, t->width);
        TRY(safetensors_writer_put(w, bytes, size));
        TRY(convert_step(j, size));
    }
    recipe_forget(t);
    return STATUS_OK;
}

/* Tensors [first, end) of the plan. */
static status write_file(convert_job *j, const char *name, int first, int end, row_room *r) {
    char path[PATH_SIZE];
    safetensors_writer *w = NULL;
    const safetensors_note format = {"format", "pt"};
    int n = end - first;
    status s;
    safetensors_item *items = mem_zalloc((size_t)n + 1, sizeof *items);
    if (items == NULL) return STATUS_MEMORY;
    for (int i = 0; i < n; i++)
        TRY_GOTO(s, describe(&j->plan, &j->plan.all[first + i], &items[i]));
    TRY_GOTO(s, path_join(path, j->made, name));
    TRY_GOTO(s, safetensors_writer_new(&w, path, items, n, &format, 1));
    for (int i = 0; i < n; i++)
        TRY_GOTO(s, put_tensor(j, w, &j->plan.all[first + safetensors_writer_item(w, i)], r));
    s = safetensors_writer_commit(w);
    w = NULL;
    j->report->files++;
done:
    safetensors_writer_abandon(w);
    mem_free(items);
    return s;
}

/* Behind the last tensor of the file that begins with `first`. */
static int file_end(const recipes *p, int first) {
    int64_t bytes = 0, most = p->o->max_shard;
    int i = first;
    while (i < p->n) {
        bytes += (int64_t)recipe_bytes(&p->all[i]);
        if (most > 0 && bytes > most && i > first) break;
        i++;
    }
    return i;
}

static status write_index(const convert_job *j, json_t *map) {
    char path[PATH_SIZE];
    TRY(path_join(path, j->made, "model.safetensors.index.json"));
    json_t *index = json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)j->plan.bytes,
                              "weight_map", map);
    status s = index != NULL ? json_write(path, index)
                             : FAIL(F_NO_MEMORY, "cannot build the index of the files", path,
                                    "an allocation failed", "free memory and try again");
    json_decref(index);
    return s;
}

static status write_shards(convert_job *j, int files, row_room *r) {
    json_t *map = json_object();
    status s = map != NULL ? STATUS_OK : STATUS_MEMORY;
    for (int k = 0, first = 0; k < files && s == STATUS_OK; k++) {
        int end = file_end(&j->plan, first);
        char name[64];
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", k + 1, files);
        s = write_file(j, name, first, end, r);
        for (int i = first; i < end && s == STATUS_OK; i++)
            if (json_object_set_new(map, recipe_file_name(&j->plan.all[i]), json_string(name)) != 0)
                s = FAIL(F_NO_MEMORY, "cannot build the index of the files", name,
                         "an allocation failed", "free memory and try again");
        first = end;
    }
    if (s == STATUS_OK) s = write_index(j, map);
    json_decref(map);
    return s;
}

status convert_write_folder(convert_job *j) {
    row_room r;
    int files = 0;
    for (int first = 0; first < j->plan.n; first = file_end(&j->plan, first))
        files++;
    TRY(convert_write_words(j));
    TRY(row_room_make(&r, &j->plan));
    status s = files <= 1 ? write_file(j, "model.safetensors", 0, j->plan.n, &r)
                          : write_shards(j, files, &r);
    row_room_clear(&r);
    return s;
}
