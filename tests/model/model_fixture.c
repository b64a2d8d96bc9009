/* model_fixture.c - made-up batches, pages and small shapes for the tests of model/. */
#include "model_fixture.h"

#include "kernels/kernels.h"

void sample_targets(sample *s) {
    int64_t counted = 0, mtp_counted = 0;
    const token_layout *l = &s->batch.layout;
    for (int q = 0; q < l->n_sequences; q++)
        for (int64_t i = l->start[q]; i < l->start[q + 1]; i++) {
            int64_t end = l->start[q + 1];
            bool next = i + 1 < end && s->first[i + 1] == s->first[i];
            bool after = i + 2 < end && s->first[i + 2] == s->first[i];
            s->target[i] = next ? s->ids[i + 1] : -1;
            s->next_id[i] = next ? s->ids[i + 1] : 0;
            s->target_mtp[i] = after ? s->ids[i + 2] : -1;
            counted += next;
            mtp_counted += after;
        }
    s->batch.loss_scale = 1.0 / (double)(counted > 0 ? counted : 1);
    s->batch.mtp_scale = 0.3 / (double)(mtp_counted > 0 ? mtp_counted : 1);
    s->batch.balance_scale = 1.0 / l->n_sequences;
}

static void fill_sequence(sample *s, int64_t from, int64_t n, int64_t document,
                          const model_config *c, rng r) {
    for (int64_t i = 0; i < n; i++) {
        s->ids[from + i] = (int32_t)rng_below(r, (uint64_t)(from + i), (uint64_t)c->vocab_size);
        s->position[from + i] = (int32_t)i;
        s->first[from + i] = (int32_t)(document > 0 ? i / document * document : 0);
        s->rows[from + i] = (int32_t)(from + i);
    }
}

bool sample_make(sample *s, arena *memory, const model_config *c, const sample_shape *shape) {
    int64_t n = 0;
    int sequences = shape->n_sequences;
    for (int q = 0; q < sequences; q++)
        n += shape->length - q * shape->shrink;
    int32_t *arrays = arena_alloc(memory, (size_t)n * 7 * sizeof *arrays);
    int64_t *start = arena_alloc(memory, (size_t)(sequences + 1) * sizeof *start);
    if (arrays == NULL || start == NULL) return false;
    *s = (sample){.ids = arrays,
                  .next_id = arrays + n,
                  .target = arrays + 2 * n,
                  .target_mtp = arrays + 3 * n,
                  .position = arrays + 4 * n,
                  .first = arrays + 5 * n,
                  .rows = arrays + 6 * n,
                  .start = start};
    start[0] = 0;
    for (int q = 0; q < sequences; q++) {
        start[q + 1] = start[q] + shape->length - q * shape->shrink;
        fill_sequence(s, start[q], start[q + 1] - start[q], shape->document, c,
                      rng_at(shape->seed, RNG_TEST, 0));
    }
    s->batch = (model_batch){.layout = {.n = n,
                                        .n_sequences = sequences,
                                        .start = start,
                                        .position = s->position,
                                        .first = s->first},
                             .ids = s->ids,
                             .target = s->target,
                             .next_id = s->next_id,
                             .target_mtp = c->n_mtp > 0 ? s->target_mtp : NULL};
    sample_targets(s);
    return true;
}

void sample_want_logits(sample *s, const model_config *c) {
    s->batch.logit_rows = s->rows;
    s->batch.n_logit_rows = s->batch.layout.n;
    s->batch.mtp_logits = c->n_mtp > 0;
}

model_config config_f1m_mtp(void) {
    model_config c = model_preset_find("f-1m")->config;
    c.n_mtp = 1;
    return c;
}

model_config config_micro(void) {
    model_config c = config_f1m_mtp();
    c.vocab_size = 37;
    c.d_model = 16, c.d_ff = 24, c.n_layer = 2;
    c.n_head = c.n_kv_head = 2;
    c.q_lora_rank = 12, c.kv_lora_rank = 8;
    c.qk_nope_head_dim = 6, c.qk_rope_head_dim = 4, c.v_head_dim = 5;
    c.n_expert = 4, c.n_expert_used = 2, c.d_expert = 10;
    return c;
}

model_config config_micro_llama(void) {
    model_config c = model_preset_find("shakespeare-char")->config;
    c.vocab_size = 37;
    c.d_model = 16, c.d_ff = 24, c.n_layer = 2;
    c.n_head = 4, c.n_kv_head = 2, c.head_dim = 6;
    return c;
}

static void add_noise(const param_set *set, const param *p, uint64_t seed, double size) {
    rng r = rng_at(seed, RNG_TEST, (uint64_t)p->offset);
    for (int64_t i = 0; i < p->count; i++) {
        double noise = size * rng_normal(r, (uint64_t)i);
        if (set->dtype == DTYPE_F64)
            ((double *)p->master)[i] += noise;
        else
            ((float *)p->master)[i] += (float)noise;
    }
}

bool model_make(model *m, const model_config *c, dtype real, uint64_t seed) {
    if (kernels_init(NULL) != STATUS_OK || model_init(m, c, real) != STATUS_OK) {
        error_print(stdout, error_last());
        test_fail(__FILE__, __LINE__, "model_init", "no model");
        return false;
    }
    param_set_initialise(&m->params, seed);
    for (int i = 0; i < m->params.n; i++) {
        const param *p = m->params.all[i];
        if (p->kind == PARAM_VECTOR) add_noise(&m->params, p, seed, 0.1);
        if (p->kind == PARAM_BIAS) add_noise(&m->params, p, seed, 0.3);
        if (p->kind == PARAM_STATE) add_noise(&m->params, p, seed, 0.02);
    }
    param_set_changed(&m->params);
    return true;
}

choice_slot *choices_make(arena *memory, const model *m, int64_t rows) {
    int n = model_n_choices(m);
    choice_slot *slots = arena_zalloc(memory, (size_t)(n + 1) * sizeof *slots);
    for (int i = 0; slots != NULL && i < n; i++) {
        slots[i].n = rows * m->config.n_expert_used;
        slots[i].ids = arena_alloc(memory, (size_t)slots[i].n * sizeof *slots[i].ids);
        if (slots[i].ids == NULL) return NULL;
    }
    return slots;
}

static void **page_table(arena *memory, int64_t pages, int64_t row, size_t element) {
    void **table = arena_zalloc(memory, (size_t)pages * sizeof *table);
    for (int64_t p = 0; table != NULL && p < pages; p++) {
        table[p] = arena_zalloc(memory, (size_t)(KEY_PAGE * row) * element);
        if (table[p] == NULL) return NULL;
    }
    return table;
}

kv_layer_pages *pages_make(arena *memory, const model *m, int64_t positions) {
    kv_shape shape = model_kv_shape(m);
    size_t element = dtype_size(m->params.dtype);
    int64_t pages = (positions + KEY_PAGE - 1) / KEY_PAGE, layers = m->config.n_layer;
    kv_layer_pages *all = arena_zalloc(memory, (size_t)layers * sizeof *all);
    for (int64_t l = 0; all != NULL && l < layers; l++) {
        all[l].k = page_table(memory, pages, shape.k, element);
        all[l].shared = page_table(memory, pages, shape.shared, element);
        all[l].v = page_table(memory, pages, shape.v, element);
        if (all[l].k == NULL || all[l].shared == NULL || all[l].v == NULL) return NULL;
    }
    return all;
}

static void copy_out(void *to, const var *from) {
    if (to != NULL && from != NULL) memcpy(to, from->value.data, tensor_bytes(&from->value));
}

static status run(model *m, arena *memory, const sample *s, const run_options *o,
                  model_result *result) {
    tape t;
    tape_options options = {.recording = o->grad != NULL, .products = o->products};
    model_batch batch = s->batch;
    batch.recompute = o->recompute;
    param_set_gradients(&m->params, o->grad);
    if (o->grad != NULL) memset(o->grad, 0, (size_t)m->params.count * dtype_size(m->params.dtype));
    TRY(tape_init(&t, memory, &m->params, options));
    TRY(model_forward(m, &t, &batch, result));
    copy_out(o->logits, result->logits);
    copy_out(o->mtp_logits, result->mtp_logits);
    if (o->grad != NULL) TRY(tape_backward(&t));
    return STATUS_OK;
}

bool sample_run(model *m, arena *memory, const sample *s, run_options o, model_result *result) {
    size_t mark = arena_mark(memory);
    status r = run(m, memory, s, &o, result);
    arena_reset(memory, mark);
    if (r == STATUS_OK) return true;
    error_print(stdout, error_last());
    test_fail(__FILE__, __LINE__, "model_forward", "status %d", (int)r);
    return false;
}
