/* weights.c - masters to and from safetensors under their Hugging Face names.
 *
 * Saving writes one F32 tensor per view, straight from the masters: a view is a block of whole rows,
 * so nothing is copied. Loading finds the source of every view first (source.c), so that a wrong file
 * is named before any master is touched, then reads view after view.
 *
 * Mind: a model in f64 (gradient checks) is rounded to F32 on the way out.
 */
#include "model/source.h"

#include "base/watch.h"

#include <inttypes.h>
#include <string.h>

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
    model_part *parts = NULL;
    const float *masters = masters_f32(m, &copy);
    if (masters != NULL && model_parts(m, &parts, &n) == STATUS_OK)
        items = mem_zalloc((size_t)n, sizeof *items);
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

/* -- loading -- */

#define PIECE 4096 /* elements widened at a time in an f64 model */

static void load_part(const model *m, const model_part *p) {
    int64_t first = part_first(p), n = part_count(p);
    if (m->params.dtype == DTYPE_F32) {
        source_read(&p->source, 0, n, (float *)p->param->master + first);
        return;
    }
    double *to = (double *)p->param->master + first;
    float piece[PIECE];
    for (int64_t at = 0; at < n; at += PIECE) {
        int64_t count = n - at < PIECE ? n - at : PIECE;
        source_read(&p->source, at, count, piece);
        for (int64_t i = 0; i < count; i++)
            to[at + i] = (double)piece[i];
    }
}

status model_load_from(model *m, safetensors *f, const char *path) {
    int n = 0;
    model_part *parts;
    TRY(model_parts(m, &parts, &n));
    status s;
    TRY_GOTO(s, model_sources(m, f, parts, n, path));
    for (int i = 0; i < n; i++) {
        TRY_GOTO(s, watch_tell(i, n));
        load_part(m, &parts[i]);
    }
    param_set_changed(&m->params);
done:
    mem_free(parts);
    return s;
}

status model_load(model *m, const char *path) {
    safetensors *f = NULL;
    TRY(safetensors_open(&f, path));
    status s = model_load_from(m, f, path);
    safetensors_close(f);
    return s;
}
