/* model.c - the decoder: embedding, blocks, final norm, head; and its life.
 *
 * model_forward is the only forward there is. It reads as the formulas of the architecture: errors
 * stick to the tape (tape.h), so the code asks once, at the end. What a call wants is said by the
 * batch: a target asks for the loss (whose gradient the head computes at once), logit rows ask for
 * logits, a cache asks for keys in pages.
 *
 * Only the rows asked for reach the final norm and the head when logits are wanted: a prompt of
 * 1,000 tokens pays for one row of the vocabulary.
 *
 * Mind: the batch's arrays must live until backward is done; checkpointed blocks read them again.
 */
#include "model/model_internal.h"

#include <inttypes.h>
#include <string.h>

/* Layers, their choice slots and counts. */
static status layers_init(model *m) {
    const model_config *c = &m->config;
    int64_t n = c->n_layer + c->n_mtp;
    size_t counts = (size_t)c->n_expert * sizeof(int64_t);
    TRY(arena_init(&m->memory, "model",
                   (size_t)n * (sizeof(model_layer) + counts + 128) + ((size_t)1 << 16)));
    m->layers = arena_zalloc(&m->memory, (size_t)n * sizeof *m->layers);
    if (m->layers == NULL) return STATUS_MEMORY;
    int choice = 0;
    for (int64_t i = 0; i < n; i++) {
        model_layer *l = &m->layers[i];
        l->choice = -1;
        if (!model_config_routed(c, i)) continue;
        l->choice = choice++;
        l->counts = arena_zalloc(&m->memory, counts);
        if (l->counts == NULL) return STATUS_MEMORY;
    }
    m->rope.dim = c->family == MODEL_LLAMA ? c->head_dim : c->qk_rope_head_dim;
    m->rope.frequency =
        arena_alloc(&m->memory, (size_t)m->rope.dim / 2 * sizeof *m->rope.frequency);
    if (m->rope.frequency == NULL) return STATUS_MEMORY;
    model_rope_fill(c, &m->rope);
    return STATUS_OK;
}

status model_describe(model *m, const model_config *c, dtype real) {
    memset(m, 0, sizeof *m);
    TRY(model_config_check(c, "model configuration"));
    m->config = *c;
    status s;
    TRY_GOTO(s, param_set_init(&m->params, real));
    TRY_GOTO(s, layers_init(m));
    TRY_GOTO(s, model_describe_parameters(m));
done:
    if (s != STATUS_OK) model_clear(m);
    return s;
}

status model_init(model *m, const model_config *c, dtype real) {
    TRY(model_describe(m, c, real));
    status s = param_set_allocate(&m->params);
    if (s != STATUS_OK) model_clear(m);
    return s;
}

void model_clear(model *m) {
    param_set_clear(&m->params);
    arena_clear(&m->memory);
    memset(m, 0, sizeof *m);
}

int model_n_choices(const model *m) {
    int n = 0;
    for (int64_t i = 0; i < m->config.n_layer + m->config.n_mtp; i++)
        n += m->layers[i].choice >= 0;
    return n;
}

kv_shape model_kv_shape(const model *m) {
    const model_config *c = &m->config;
    if (c->family == MODEL_LLAMA) {
        int64_t width = (int64_t)c->n_kv_head * c->head_dim;
        return (kv_shape){width, 0, width};
    }
    return (kv_shape){c->kv_lora_rank, c->qk_rope_head_dim,
                      0}; /* latents; values are made of them */
}

/* -- forward -- */

static bool wants_mtp(const model *m, const model_batch *b) {
    return m->config.n_mtp > 0 && (b->target_mtp != NULL || b->mtp_logits);
}

static status check_batch(const model *m, const tape *t, const model_batch *b) {
    const token_layout *l = &b->layout;
    const char *wrong = NULL;
    if (l->n < 1 || l->n_sequences < 1 || l->start[l->n_sequences] != l->n)
        wrong = "the sequences of the layout do not add up to its tokens";
    else if (b->cache != NULL && t->options.recording)
        wrong = "keys in pages carry no gradient";
    else if (wants_mtp(m, b) && b->next_id == NULL)
        wrong = "multi-token prediction needs the next ids";
    else if (wants_mtp(m, b) && b->cache != NULL)
        wrong = "multi-token prediction has no pages";
    if (wrong != NULL)
        return FAIL(F_INTERNAL, "a batch cannot be run",
                    text("%" PRId64 " tokens, %d sequences", l->n, l->n_sequences), wrong,
                    "report this as a bug");
    return STATUS_OK;
}

/* Summed loss of x [n, d], not yet normalised, against target. */
static head_loss *loss_of(tape *t, const forward *f, var *x, param *norm, const int32_t *target,
                          double scale, double *each) {
    head_loss *loss = tape_alloc(t, sizeof *loss);
    if (loss == NULL) return NULL;
    *loss = (head_loss){.target = target, .scale = scale, .each = each};
    op_head_loss(t, op_rmsnorm(t, x, norm, f->m->config.rms_norm_eps), f->m->head, loss);
    return loss;
}

static var *logits_of(tape *t, const forward *f, var *x, param *norm) {
    const model_batch *b = &f->batch;
    var *rows = op_take_rows(t, x, b->logit_rows, b->n_logit_rows);
    return op_linear(t, op_rmsnorm(t, rows, norm, f->m->config.rms_norm_eps), f->m->head);
}

static void run_heads(tape *t, forward *f, var *trunk, model_result *result) {
    const model_batch *b = &f->batch;
    const model *m = f->m;
    if (b->target != NULL) {
        const head_loss *main =
            loss_of(t, f, trunk, m->norm, b->target, b->loss_scale, result->each);
        if (main != NULL) result->loss_sum = main->sum, result->counted = main->counted;
    }
    if (b->n_logit_rows > 0) result->logits = logits_of(t, f, trunk, m->norm);
    if (!wants_mtp(m, b)) return;
    var *g = mtp_forward(t, f, trunk);
    if (b->target_mtp != NULL) {
        const head_loss *mtp = loss_of(t, f, g, m->mtp_norm, b->target_mtp, b->mtp_scale, NULL);
        if (mtp != NULL) result->mtp_sum = mtp->sum, result->mtp_counted = mtp->counted;
    }
    if (b->mtp_logits && b->n_logit_rows > 0) result->mtp_logits = logits_of(t, f, g, m->mtp_norm);
}

status model_forward(model *m, tape *t, const model_batch *batch, model_result *result) {
    *result = (model_result){.each = result->each};
    TRY(check_batch(m, t, batch));
    TRY(tape_choices(t, model_n_choices(m), batch->choices));
    forward *f = tape_alloc(t, sizeof *f);
    if (f == NULL) return tape_status(t);
    *f = (forward){.m = m, .batch = *batch};
    dropout_site embedding = dropout_at(f, 0, DROP_EMBEDDING);
    var *x = op_embedding(t, m->embedding, batch->ids, batch->layout.n);
    x = op_dropout(t, x, &embedding);
    for (int64_t i = 0; i < m->config.n_layer; i++)
        x = block_run(t, f, i, x);
    run_heads(t, f, x, result);
    result->balance_loss = f->balance_loss;
    return tape_status(t);
}
