/* fit.c - what a model will take, known before any of its weights is read.
 *
 * The configuration gives the shapes, the headers of the files the types, both the bytes: weights as
 * they run (model_held_bytes),
 * keys of one session over its context and the arena of a forward (engine_bytes). A model that
 * cannot fit is refused with all three and with the context that would fit, instead of being killed
 * half-way.
 */
#include "infer/bundle_internal.h"

#include "base/progress.h"
#include "model/model_gguf.h"

#include <inttypes.h>
#include <string.h>

#define CHUNK        256  /* tokens of a prompt in one forward */
#define CONTEXT_MOST 4096 /* unless more is asked for: keys of a million positions are not wanted */

/* The configuration, and with a described model `m` the bytes of its weights. */
static status measure_gguf(bundle_facts *f, model *m) {
    gguf *file = NULL;
    TRY(gguf_open(&file, f->path));
    status s = model_config_from_gguf(&f->config, file);
    if (s == STATUS_OK) s = model_describe(m, &f->config, DTYPE_F32);
    if (s == STATUS_OK) f->weight_bytes = model_held_bytes_gguf(m, file);
    gguf_close(file);
    return s;
}

static status measure_folder(bundle_facts *f, model *m) {
    TRY(model_config_read(&f->config, f->path));
    TRY(model_describe(m, &f->config, DTYPE_F32));
    f->weight_bytes = model_held_bytes(m, f->path);
    return STATUS_OK;
}

int64_t bundle_context(const model_config *c, int64_t asked) {
    if (asked > 0) return asked;
    return c->max_position > 0 && c->max_position < CONTEXT_MOST ? c->max_position : CONTEXT_MOST;
}

status bundle_measure(bundle_facts *f, const char *path, int64_t context) {
    model m;
    memset(f, 0, sizeof *f);
    TRY(bundle_find(f->path, path));
    TRY(bundle_is_gguf(f->path) ? measure_gguf(f, &m) : measure_folder(f, &m));
    f->parameters = m.params.count;
    f->context = bundle_context(&f->config, context);
    f->key_bytes = engine_bytes(&m, f->context, 0);
    f->step_bytes = engine_bytes(&m, f->context, CHUNK) - f->key_bytes;
    model_clear(&m);
    return STATUS_OK;
}

int64_t bundle_facts_bytes(const bundle_facts *f) {
    return f->weight_bytes + f->key_bytes + f->step_bytes;
}

/* What to do: a context that fits, if one of a page or more does. */
static const char *advice(const bundle_facts *f, int64_t room) {
    int64_t left = room - f->weight_bytes - f->step_bytes;
    int64_t per_position = f->key_bytes / (f->context > 0 ? f->context : 1);
    int64_t fits = per_position > 0 ? left / (per_position + 1) / KEY_PAGE * KEY_PAGE : 0;
    if (left <= 0 || fits < KEY_PAGE)
        return "choose a smaller model, or a machine or container with more memory";
    return text("ask for a context of %" PRId64 " (fathom chat --context %" PRId64 ")", fits, fits);
}

status bundle_fits(const bundle_facts *f, int64_t limit) {
    int64_t room = limit > 0 ? limit : memory_available(), needed = bundle_facts_bytes(f);
    if (needed <= room) return STATUS_OK;
    return FAIL(F_MODEL_MEMORY,
                text("the model needs %s, %s %s", bytes_text((double)needed),
                     bytes_text((double)room), limit > 0 ? "are allowed" : "are free"),
                f->path,
                text("weights %s (%" PRId64 " parameters), keys %s (context %" PRId64 "), step %s",
                     bytes_text((double)f->weight_bytes), f->parameters,
                     bytes_text((double)f->key_bytes), f->context,
                     bytes_text((double)f->step_bytes)),
                advice(f, room));
}
