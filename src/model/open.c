/* open.c - a folder as it was published, into a model that runs.
 *
 * config.json says what the model is, the files of weights are mapped and compared with it, and only
 * then is memory taken: before that it is known how much a model of this shape needs, and a model that
 * cannot fit is refused with both numbers instead of being killed half-way.
 *
 * Copies of DeepSeek-V3 often leave out the MTP layer and keep its count in config.json. The trunk does
 * not depend on it, so a layer of which no tensor is there is dropped with a note; one that is there in
 * part is an error like any other missing tensor.
 */
#include "model/source.h"

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"

#include <inttypes.h>
#include <string.h>

status model_config_read(model_config *c, const char *folder) {
    char path[PATH_SIZE];
    json_t *object;
    TRY(path_join(path, folder, "config.json"));
    TRY(json_read(path, &object));
    status s = model_config_from_json(c, object, path);
    json_decref(object);
    return s;
}

int64_t model_bytes(const model *m) {
    int64_t real = (int64_t)dtype_size(m->params.dtype), sum = 0;
    for (int i = 0; i < m->params.n; i++) {
        const param *p = m->params.all[i];
        bool table_only = p == m->embedding && m->head != m->embedding;
        sum += p->count * real * (p->rank > 1 && !table_only ? 2 : 1);
    }
    return sum;
}

static status check_memory(const model *m, int64_t needed, const char *folder) {
    int64_t room = memory_available();
    if (needed <= room) return STATUS_OK;
    return FAIL(
        F_MODEL_MEMORY,
        text("the model needs %.1f GB, %.1f GB are free", (double)needed / 1e9, (double)room / 1e9),
        folder,
        text("%" PRId64 " parameters as they are used are %" PRId64
             " bytes; free in this machine or container are %" PRId64,
             m->params.count, needed, room),
        "choose a smaller model, or a machine or container with more memory");
}

/* Is any tensor of the layer after the last in the file? */
static bool has_mtp(const safetensors *f, const model_config *c) {
    const char *prefix = text("model.layers.%" PRId64 ".", c->n_layer);
    for (int i = 0; i < safetensors_count(f); i++)
        if (strncmp(safetensors_at(f, i)->name, prefix, strlen(prefix)) == 0) return true;
    return false;
}

status model_describe_folder(model *m, const char *folder, const safetensors *f) {
    model_config c;
    TRY(model_config_read(&c, folder));
    if (c.n_mtp > 0 && !has_mtp(f, &c)) {
        log_info("%s: no tensor of the layer for multi-token prediction is there; done without it",
                 folder);
        c.n_mtp = 0;
    }
    return model_describe(m, &c, DTYPE_F32);
}

static status fill_masters(model *m, safetensors *f, const char *folder) {
    TRY(check_memory(m, model_bytes(m), folder));
    TRY(param_set_allocate(&m->params));
    return model_load_from(m, f, folder);
}

static status fill_held(model *m, safetensors *f, const char *folder) {
    model_part *parts = NULL;
    int n = 0;
    status s;
    TRY_GOTO(s, model_parts(m, &parts, &n));
    TRY_GOTO(s, model_sources(m, f, parts, n, folder));
    TRY_GOTO(s, check_memory(m, parts_held_bytes(parts, n), folder));
    s = model_hold_from(m, f, parts, n);
done:
    mem_free(parts);
    return s;
}

static status open_by(model *m, const char *folder,
                      status (*fill)(model *m, safetensors *f, const char *folder)) {
    safetensors *f = NULL;
    memset(m, 0, sizeof *m);
    TRY(safetensors_open(&f, folder));
    status s;
    TRY_GOTO(s, model_describe_folder(m, folder, f));
    s = fill(m, f, folder);
done:
    safetensors_close(f);
    if (s != STATUS_OK) model_clear(m);
    return s;
}

status model_open(model *m, const char *folder) {
    return open_by(m, folder, fill_masters);
}

status model_open_held(model *m, const char *folder) {
    return open_by(m, folder, fill_held);
}

int64_t model_held_bytes(const model *m, const char *folder) {
    safetensors *f = NULL;
    model_part *parts = NULL;
    int n = 0;
    int64_t bytes = 0;
    for (int i = 0; i < m->params.n; i++)
        bytes += m->params.all[i]->count * (int64_t)sizeof(float);
    bool sound = safetensors_open(&f, folder) == STATUS_OK &&
                 model_parts(m, &parts, &n) == STATUS_OK &&
                 model_sources(m, f, parts, n, folder) == STATUS_OK;
    if (sound) bytes = parts_held_bytes(parts, n);
    mem_free(parts);
    safetensors_close(f);
    return bytes;
}
