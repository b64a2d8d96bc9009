/* convert_gguf.c - a plan into one GGUF file: keys, directory, data (tensor/gguf.h).
 *
 * Keys of the architecture come from the configuration (model/gguf_config.c), all of them, also those
 * without which other programs would load the file and compute something else; from a GGUF file they are
 * taken as they stand, because they may say more than is read here.
 */
#include "convert/convert_internal.h"

#include <string.h>

/* -- what has no key, or another meaning elsewhere -- */

static status no_key(const convert_job *j, const char *what, const char *why) {
    return FAIL(F_CONVERT_VALUE, what, j->plan.in->path, why,
                "keep the model in its Hugging Face form");
}

static status check_keys(convert_job *j) {
    const model_config *c = &j->plan.in->m.config;
    const rope_scaling *s = &c->rope;
    bool latent = c->family == MODEL_DEEPSEEK_V3;
    if (latent && s->kind == ROPE_YARN && s->mscale != s->mscale_all_dim)
        return no_key(j, text("mscale is %g, mscale_all_dim %g", s->mscale, s->mscale_all_dim),
                      "GGUF files have one number for both");
    if (s->kind == ROPE_LLAMA3 && (s->low != 1 || s->high != 4))
        return no_key(j, text("low_freq_factor is %g, high_freq_factor %g", s->low, s->high),
                      "readers know the rule of llama3 by 1 and 4");
    if (latent && c->q_lora_rank == 0 && c->n_layer != 26 && c->n_layer != 27)
        convert_note(j->report,
                     "llama.cpp reads a model without q_lora_rank only if it has 26 or "
                     "27 layers; this has %d",
                     (int)c->n_layer);
    if (latent && !c->sigmoid && c->n_group > 1)
        convert_note(j->report,
                     "llama.cpp scores groups of experts by the sum of their two best, "
                     "this model by the best one: some tokens are routed otherwise there");
    return STATUS_OK;
}

static void put_own_keys(const convert_job *j, gguf_writer *w) {
    const gguf *f = j->plan.in->file;
    uint32_t type = recipes_main_type(&j->plan);
    if (f == NULL) {
        model_put_gguf_keys(w, &j->plan.in->m.config, type);
        return;
    }
    for (int i = 0; i < gguf_n_values(f); i++) {
        const gguf_value *v = gguf_value_at(f, i);
        bool retyped = strcmp(v->key, "general.file_type") == 0 && j->plan.o->type != CONVERT_KEEP;
        if (retyped)
            gguf_put_u32(w, v->key, gguf_file_type(type));
        else
            gguf_put_value(w, v);
    }
}

static void put_directory(const convert_job *j, gguf_writer *w) {
    for (int i = 0; i < j->plan.n; i++) {
        const recipe *t = &j->plan.all[i];
        gguf_put_tensor(w, t->name, t->type, t->rank, t->dim);
    }
}

static status put_data(convert_job *j, gguf_writer *w, const recipe *t, row_room *r) {
    int64_t n;
    const uint8_t *bytes;
    for (int64_t row = 0; row < t->rows && t->width > 0; row += n) {
        TRY(recipe_rows(&j->plan, t, row, r, &bytes, &n));
        size_t size = (size_t)n * quant_bytes(t->type, t->width);
        gguf_put_data(w, bytes, size);
        TRY(convert_step(j, size));
    }
    recipe_forget(t);
    return STATUS_OK;
}

status convert_write_gguf(convert_job *j) {
    gguf_writer *w = NULL;
    row_room r;
    if (j->plan.in->file == NULL) TRY(check_keys(j));
    TRY(row_room_make(&r, &j->plan));
    status s;
    TRY_GOTO(s, gguf_writer_new(&w, j->made));
    put_own_keys(j, w);
    if (j->plan.in->file == NULL) TRY_GOTO(s, convert_put_words(j, w));
    put_directory(j, w);
    for (int i = 0; i < j->plan.n; i++)
        TRY_GOTO(s, put_data(j, w, &j->plan.all[i], &r));
    s = gguf_writer_commit(w);
    w = NULL;
    j->report->files = 1;
done:
    gguf_writer_abandon(w);
    row_room_clear(&r);
    return s;
}
