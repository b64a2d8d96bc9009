/* weights.c - masters to and from safetensors under their Hugging Face names.
 *
 * Saving writes one F32 tensor per view, straight from the masters: a view is a block of whole rows,
 * so nothing is copied. Loading reads F32, F16 or BF16 from one file or several with an index, and
 * first compares both lists, sorted by name, side by side: a tensor that is missing, one that the
 * model does not have, one of another shape or element type is named before any master is touched.
 *
 * Three kinds of tensors in published files are no parameters of ours and are let pass:
 *   - the MTP layer's embed_tokens and shared_head.head, and lm_head beside a tied embedding, as
 *     long as they are, byte for byte, the matrix they repeat (anything else is another model);
 *   - rotary_emb.inv_freq, a table that follows from the configuration.
 *
 * Mind: a model in f64 (gradient checks) is rounded to F32 on the way out.
 */
#include "model/model_internal.h"

#include "tensor/safetensors.h"

#include <inttypes.h>
#include <string.h>

/* A tensor the model has: rows of a parameter. */
typedef struct part {
    const param *param;
    const param_view *view;
} part;

static int64_t part_width(const part *p) {
    return p->param->rank == 1 ? 1 : p->param->dim[p->param->rank - 1];
}

static int64_t part_first(const part *p) {
    return p->view->first_row * part_width(p);
}

static tensor part_tensor(const part *p, void *data, dtype type) {
    if (p->param->rank == 1) return tensor_1d(data, type, p->view->rows);
    return tensor_2d(data, type, p->view->rows, part_width(p));
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const part *)a)->view->name, ((const part *)b)->view->name);
}

/* All parts, sorted by name; mem_free. */
static part *parts_of(const model *m, int *n) {
    size_t count = 0;
    for (int i = 0; i < m->params.n; i++)
        count += (size_t)m->params.all[i]->n_views;
    part *parts = mem_zalloc(count, sizeof *parts);
    if (parts == NULL) return NULL;
    *n = 0;
    for (int i = 0; i < m->params.n; i++)
        for (int j = 0; j < m->params.all[i]->n_views; j++)
            parts[(*n)++] = (part){m->params.all[i], &m->params.all[i]->views[j]};
    qsort(parts, count, sizeof *parts, by_name);
    return parts;
}

/* -- saving -- */

/* The masters as F32: themselves, or a rounded copy that *copy then owns. */
static const float *masters_f32(const model *m, float **copy) {
    *copy = NULL;
    if (m->params.dtype == DTYPE_F32) return m->params.master;
    *copy = mem_zalloc((size_t)m->params.count, sizeof **copy);
    const double *from = m->params.master;
    for (int64_t i = 0; *copy != NULL && i < m->params.count; i++)
        (*copy)[i] = (float)from[i];
    return *copy;
}

status model_save(const model *m, const char *path) {
    status s = STATUS_OK;
    int n = 0;
    float *copy = NULL;
    safetensors_item *items = NULL;
    part *parts = parts_of(m, &n);
    const float *masters = masters_f32(m, &copy);
    if (parts != NULL && masters != NULL) items = mem_zalloc((size_t)n, sizeof *items);
    if (items == NULL) {
        s = STATUS_MEMORY;
        goto done;
    }
    for (int i = 0; i < n; i++) {
        const float *from = masters + parts[i].param->offset + part_first(&parts[i]);
        void *data = (void *)(uintptr_t)from; /* the writer only reads */
        items[i] = (safetensors_item){parts[i].view->name, part_tensor(&parts[i], data, DTYPE_F32)};
    }
    safetensors_note format = {"format", "pt"};
    s = safetensors_write(path, items, n, &format, 1);
done:
    mem_free(items);
    mem_free(parts);
    mem_free(copy);
    return s;
}

/* -- loading: comparing lists -- */

static bool ends_with(const char *name, const char *end) {
    size_t a = strlen(name), b = strlen(end);
    return a >= b && strcmp(name + a - b, end) == 0;
}

/* The name of the matrix that `name` repeats in files of this model, NULL if none. */
static const char *repeats(const model *m, const char *name) {
    const char *head = m->config.tied ? "model.embed_tokens.weight" : "lm_head.weight";
    if (m->config.tied && strcmp(name, "lm_head.weight") == 0) return head;
    if (m->config.n_mtp == 0) return NULL;
    const char *layer = text("model.layers.%" PRId64 ".", m->config.n_layer);
    size_t prefix = strlen(layer);
    if (strncmp(name, layer, prefix) != 0) return NULL;
    if (strcmp(name + prefix, "embed_tokens.weight") == 0) return "model.embed_tokens.weight";
    if (strcmp(name + prefix, "shared_head.head.weight") == 0) return head;
    return NULL;
}

/* A tensor of the file that is no parameter: let pass, or named. */
static status check_extra(const model *m, const safetensors *f, const safetensors_entry *extra,
                          const char *path) {
    if (ends_with(extra->name, ".rotary_emb.inv_freq")) return STATUS_OK;
    const char *of = repeats(m, extra->name);
    if (of == NULL)
        return FAIL(F_TENSOR_EXTRA, text("the model has no tensor \"%s\"", extra->name), path,
                    "its config.json describes a model without it",
                    "keep weights together with their own config.json");
    const safetensors_entry *original = safetensors_lookup(f, of);
    if (original != NULL && original->bytes == extra->bytes &&
        strcmp(original->dtype, extra->dtype) == 0 &&
        memcmp(original->data, extra->data, extra->bytes) == 0)
        return STATUS_OK;
    return FAIL(F_TENSOR_EXTRA, text("\"%s\" differs from \"%s\"", extra->name, of), path,
                "this model shares one matrix between both", "choose a model that shares them too");
}

static status check_part(safetensors *f, const part *p, const char *path) {
    tensor found;
    TRY(safetensors_find(f, p->view->name, &found));
    tensor wanted = part_tensor(p, NULL, DTYPE_F32);
    if (found.rank != wanted.rank || memcmp(found.dim, wanted.dim, sizeof wanted.dim) != 0)
        return FAIL(F_SHAPE, text("tensor \"%s\" is %s", p->view->name, tensor_shape_text(&found)),
                    path, text("the configuration makes it %s", tensor_shape_text(&wanted)),
                    "keep weights together with their own config.json");
    if (found.dtype != DTYPE_F32 && found.dtype != DTYPE_F16 && found.dtype != DTYPE_BF16)
        return FAIL(F_SAFETENSORS_DTYPE,
                    text("tensor \"%s\" holds %s", p->view->name, dtype_name(found.dtype)), path,
                    "weights are read from F32, F16 or BF16",
                    "convert the file to one of these types");
    return STATUS_OK;
}

/* Walks both sorted lists side by side. */
static status compare_lists(const model *m, safetensors *f, const part *parts, int n,
                            const char *path) {
    int i = 0, j = 0, entries = safetensors_count(f);
    while (i < n || j < entries) {
        const safetensors_entry *e = j < entries ? safetensors_at(f, j) : NULL;
        int order = i == n ? 1 : e == NULL ? -1 : strcmp(parts[i].view->name, e->name);
        if (order > 0) {
            TRY(check_extra(m, f, e, path));
            j++;
            continue;
        }
        TRY(check_part(f, &parts[i], path)); /* order < 0: says that it is missing */
        i++;
        j += order == 0;
    }
    return STATUS_OK;
}

/* -- loading: values -- */

static double element_of(const tensor *t, int64_t i) {
    switch (t->dtype) {
    case DTYPE_F32: return (double)((const float *)t->data)[i];
    case DTYPE_F16: return (double)f16_to_f32(((const uint16_t *)t->data)[i]);
    default: return (double)bf16_to_f32(((const uint16_t *)t->data)[i]);
    }
}

static status load_part(const model *m, safetensors *f, const part *p) {
    tensor from;
    TRY(safetensors_find(f, p->view->name, &from));
    int64_t first = part_first(p), n = tensor_count(&from);
    if (m->params.dtype == DTYPE_F64) {
        double *to = (double *)p->param->master + first;
        for (int64_t i = 0; i < n; i++)
            to[i] = element_of(&from, i);
        return STATUS_OK;
    }
    float *to = (float *)p->param->master + first;
    if (from.dtype == DTYPE_F32)
        memcpy(to, from.data, (size_t)n * sizeof *to);
    else
        for (int64_t i = 0; i < n; i++)
            to[i] = (float)element_of(&from, i);
    return STATUS_OK;
}

status model_load(model *m, const char *path) {
    int n = 0;
    safetensors *f = NULL;
    part *parts = parts_of(m, &n);
    if (parts == NULL) return STATUS_MEMORY;
    status s;
    TRY_GOTO(s, safetensors_open(&f, path));
    TRY_GOTO(s, compare_lists(m, f, parts, n, path));
    for (int i = 0; i < n; i++)
        TRY_GOTO(s, load_part(m, f, &parts[i]));
    param_set_changed(&m->params);
done:
    safetensors_close(f);
    mem_free(parts);
    return s;
}
