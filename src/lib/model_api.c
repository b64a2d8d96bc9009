/* model_api.c - models of the library: what they are, what they would take, text to ids and back.
 *
 * Opening asks for the memory before it reads weights. A model belongs to the caller and to each of
 * its sessions; the last owner ends it, so that the order of freeing does not matter.
 */
#include "lib/lib_internal.h"

#include "base/pool.h"
#include "base/watch.h"
#include "kernels/kernels.h"

#include <string.h>

/* -- facts -- */

/* As config.json calls them. */
static const char *family_of(const model_config *c) {
    if (c->family == MODEL_LLAMA) return c->qk_norm ? "qwen3" : c->qkv_bias ? "qwen2" : "llama";
    return "deepseek";
}

static fathom_model_facts facts_of(const bundle_facts *f) {
    const model_config *c = &f->config;
    fathom_model_facts facts = {.parameters = f->parameters,
                                .layers = c->n_layer,
                                .d_model = c->d_model,
                                .heads = c->n_head,
                                .vocab_size = c->vocab_size,
                                .context_most = c->max_position,
                                .context = f->context,
                                .weight_bytes = f->weight_bytes,
                                .key_bytes = f->key_bytes,
                                .step_bytes = f->step_bytes,
                                .bos = -1,
                                .eos = -1};
    snprintf(facts.family, sizeof facts.family, "%s", family_of(c));
    return facts;
}

fathom_status fathom_model_get_facts(const fathom_model *self, fathom_model_facts *out) {
    visit v;
    visit_begin(&v);
    fathom_model_facts facts = facts_of(&self->facts);
    facts.bos = tokenizer_bos(self->bundle.tokenizer);
    facts.eos = tokenizer_eos(self->bundle.tokenizer);
    facts.chat = self->bundle.chat != NULL;
    facts.threads = pool_threads();
    snprintf(facts.tier, sizeof facts.tier, "%s", kernels_tier_name());
    return visit_result(&v, sized_write(out, &facts, sizeof facts, "fathom_model_facts"));
}

static status describe(const char *path, const fathom_model_options *options,
                       fathom_model_facts *out) {
    fathom_model_options o;
    bundle_facts f;
    TRY(sized_read(&o, sizeof o, options, "fathom_model_options"));
    TRY(bundle_measure(&f, path, o.context));
    fathom_model_facts facts = facts_of(&f);
    return sized_write(out, &facts, sizeof facts, "fathom_model_facts");
}

fathom_status fathom_model_describe(const char *path, const fathom_model_options *options,
                                    fathom_model_facts *out) {
    visit v;
    visit_begin(&v);
    return visit_result(&v, describe(path, options, out));
}

/* -- opening -- */

typedef struct onlooker {
    const fathom_model_options *options;
    visit *visit;
    double total; /* parts, once known */
} onlooker;

static bool look_on(void *context, double done, double total) {
    onlooker *l = context;
    l->total = total;
    visit_end(l->visit);
    bool go = l->options->on_progress(l->options->on_progress_context, done, total);
    visit_begin(l->visit);
    return go;
}

static status fill(fathom_model *m, const char *path, const fathom_model_options *o, visit *v) {
    onlooker looker = {o, v, 1};
    TRY(bundle_measure(&m->facts, path, o->context));
    TRY(bundle_fits(&m->facts, o->memory_limit));
    if (o->on_progress != NULL) watch_set(look_on, &looker);
    status s = bundle_open(&m->bundle, path);
    if (s == STATUS_OK) s = watch_tell(looker.total, looker.total);
    watch_set(NULL, NULL);
    return s;
}

static status open_model(fathom_model **out, const char *path, const fathom_model_options *options,
                         visit *v) {
    fathom_model_options o;
    TRY(sized_read(&o, sizeof o, options, "fathom_model_options"));
    fathom_model *m = mem_zalloc(1, sizeof *m);
    if (m == NULL) return STATUS_MEMORY;
    status s = process_enter(o.threads);
    if (s != STATUS_OK) {
        mem_free(m);
        return s;
    }
    turns_init(&m->turns);
    atomic_store(&m->owners, 1);
    s = fill(m, path, &o, v);
    if (s == STATUS_OK)
        *out = m;
    else
        model_release(m);
    return s;
}

fathom_status fathom_model_open(fathom_model **out, const char *path,
                                const fathom_model_options *options) {
    visit v;
    *out = NULL;
    visit_begin(&v);
    return visit_result(&v, open_model(out, path, options, &v));
}

void model_release(fathom_model *m) {
    if (atomic_fetch_sub(&m->owners, 1) != 1) return;
    bundle_close(&m->bundle);
    turns_clear(&m->turns);
    mem_free(m);
    process_leave();
}

void fathom_model_close(fathom_model *self) {
    if (self == NULL) return;
    visit v;
    visit_begin(&v);
    model_release(self);
    visit_end(&v);
}

/* -- text and ids -- */

fathom_status fathom_tokenize(const fathom_model *self, const char *bytes, size_t n, bool special,
                              int32_t **ids, size_t *n_ids) {
    visit v;
    token_list list = {0};
    *ids = NULL;
    *n_ids = 0;
    visit_begin(&v);
    status s = tokenizer_encode(self->bundle.tokenizer, bytes, n,
                                special ? SPECIAL_PARSE : SPECIAL_AS_TEXT, &list);
    if (s == STATUS_OK && list.ids == NULL) { /* no text: a block all the same */
        list.ids = mem_zalloc(1, sizeof *list.ids);
        if (list.ids == NULL) s = STATUS_MEMORY;
    }
    if (s == STATUS_OK) {
        *ids = list.ids;
        *n_ids = list.n;
    } else {
        token_list_clear(&list);
    }
    return visit_result(&v, s);
}

fathom_status fathom_detokenize(const fathom_model *self, const int32_t *ids, size_t n_ids,
                                bool special, char **bytes, size_t *n) {
    visit v;
    *bytes = NULL;
    visit_begin(&v);
    return visit_result(&v,
                        tokenizer_decode(self->bundle.tokenizer, ids, n_ids, special, bytes, n));
}
