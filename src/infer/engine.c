/* engine.c - pages, sessions, and one forward over several of them.
 *
 * A group is page p of one session for every layer, so a session grows by one group per 64 tokens.
 * Groups come from a stack and are zeroed when taken: attention multiplies masked slots by exact
 * zeros, which needs finite values there.
 *
 * A step first takes every page and every byte of bookkeeping it may need, then runs the forward,
 * and only then moves the sessions on. So a failure leaves all sessions as they were: pages taken
 * for nothing go back, rows written past the end are overwritten later.
 */
#include "infer/infer_internal.h"

#include "base/checked.h"

#include <inttypes.h>
#include <string.h>

#define PAGE         KEY_PAGE
#define STEP_RESERVE ((size_t)32 << 30) /* address space for the arena of a forward */
#define PROMPT_CHUNK 256

static size_t page_layer_bytes(kv_shape shape, size_t element) {
    int64_t row = shape.k + shape.shared + shape.v;
    return size_round_up((size_t)row * PAGE * element, 64);
}

status engine_new(engine **out, model *m, int64_t positions) {
    *out = NULL;
    int64_t groups = (positions + PAGE - 1) / PAGE;
    if (positions < 1 || groups > INT32_MAX)
        return FAIL(F_BAD_VALUE, text("room for %" PRId64 " positions asked for", positions),
                    "engine", "at least 1 and at most 2^31 pages are possible",
                    "ask for a context length such as 4096");
    engine *e = mem_zalloc(1, sizeof *e);
    if (e == NULL) return STATUS_MEMORY;
    e->model = m;
    e->element = dtype_size(m->params.dtype);
    e->shape = model_kv_shape(m);
    e->layer_bytes = page_layer_bytes(e->shape, e->element);
    e->group_bytes = e->layer_bytes * (size_t)m->config.n_layer;
    e->n_groups = (int)groups;
    status s = STATUS_OK;
    size_t bytes;
    if (!size_mul(&bytes, e->group_bytes, (size_t)groups)) {
        s = FAIL(F_OVERFLOW, text("%" PRId64 " positions do not fit any memory", positions),
                 "key pages", text("%zu bytes per 64 positions", e->group_bytes),
                 "ask for a shorter context");
        goto done;
    }
    TRY_GOTO(s, arena_init(&e->page_memory, "key pages", bytes));
    e->pages = arena_alloc(&e->page_memory, bytes);
    e->free_groups = mem_zalloc((size_t)groups, sizeof *e->free_groups);
    if (e->pages == NULL || e->free_groups == NULL) {
        s = STATUS_MEMORY;
        goto done;
    }
    while (e->n_free < e->n_groups) { /* the lowest group is taken first */
        e->free_groups[e->n_free] = e->n_groups - 1 - e->n_free;
        e->n_free++;
    }
    TRY_GOTO(s, arena_init(&e->memory, "inference step", STEP_RESERVE));
    *out = e;
done:
    if (s != STATUS_OK) engine_free(e);
    return s;
}

void engine_free(engine *e) {
    if (e == NULL) return;
    arena_clear(&e->memory);
    arena_clear(&e->page_memory);
    mem_free(e->free_groups);
    mem_free(e);
}

int64_t engine_free_pages(const engine *e) {
    return (int64_t)e->n_free * PAGE;
}

status session_new(session **out, engine *e) {
    *out = NULL;
    session *s = mem_zalloc(1, sizeof *s);
    if (s == NULL) return STATUS_MEMORY;
    s->engine = e;
    s->layers = mem_zalloc((size_t)e->model->config.n_layer, sizeof *s->layers);
    if (s->layers == NULL) {
        session_free(s);
        return STATUS_MEMORY;
    }
    *out = s;
    return STATUS_OK;
}

static void give_back(session *s, int keep) {
    engine *e = s->engine;
    while (s->n_groups > keep)
        e->free_groups[e->n_free++] = s->groups[--s->n_groups];
}

void session_free(session *s) {
    if (s == NULL) return;
    give_back(s, 0);
    for (int64_t l = 0; s->layers != NULL && l < s->engine->model->config.n_layer; l++) {
        mem_free(s->layers[l].k);
        mem_free(s->layers[l].shared);
        mem_free(s->layers[l].v);
    }
    mem_free(s->layers);
    mem_free(s->groups);
    mem_free(s->ids);
    mem_free(s);
}

int64_t session_length(const session *s) {
    return s->n;
}
const int32_t *session_ids(const session *s) {
    return s->ids;
}
kv_layer_pages session_pages(const session *s, int layer) {
    return s->layers[layer];
}

void session_cut(session *s, int64_t n) {
    if (n < 0 || n >= s->n) return;
    s->n = n;
    give_back(s, (int)((n + PAGE - 1) / PAGE));
    /* A cut inside a page leaves later rows behind; they are finite and get overwritten. */
}

static status table_grow(void ***table, int room) {
    void **grown = mem_resize(*table, (size_t)room, sizeof **table);
    if (grown == NULL) return STATUS_MEMORY;
    *table = grown;
    return STATUS_OK;
}

/* Bookkeeping for `groups` pages and `n` tokens. */
static status session_reserve(session *s, int groups, int64_t n) {
    if (n > s->capacity) {
        int64_t room = n + n / 2 + 64;
        int32_t *ids = mem_resize(s->ids, (size_t)room, sizeof *ids);
        if (ids == NULL) return STATUS_MEMORY;
        s->ids = ids;
        s->capacity = room;
    }
    if (groups <= s->max_groups) return STATUS_OK;
    int room = groups + groups / 2 + 4;
    int *grown = mem_resize(s->groups, (size_t)room, sizeof *grown);
    if (grown == NULL) return STATUS_MEMORY;
    s->groups = grown;
    for (int64_t l = 0; l < s->engine->model->config.n_layer; l++) {
        TRY(table_grow(&s->layers[l].k, room));
        TRY(table_grow(&s->layers[l].shared, room));
        TRY(table_grow(&s->layers[l].v, room));
    }
    s->max_groups = room;
    return STATUS_OK;
}

static void take_group(session *s) {
    engine *e = s->engine;
    int group = e->free_groups[--e->n_free];
    int page = s->n_groups++;
    s->groups[page] = group;
    char *at = e->pages + (size_t)group * e->group_bytes;
    memset(at, 0, e->group_bytes);
    for (int64_t l = 0; l < e->model->config.n_layer; l++, at += e->layer_bytes) {
        size_t k_bytes = (size_t)e->shape.k * PAGE * e->element;
        size_t shared_bytes = (size_t)e->shape.shared * PAGE * e->element;
        s->layers[l].k[page] = at;
        s->layers[l].shared[page] = at + k_bytes;
        s->layers[l].v[page] = at + k_bytes + shared_bytes;
    }
}

/* Pages and bookkeeping so that `s` can hold `more` tokens more. */
static status session_extend(session *s, int64_t more) {
    engine *e = s->engine;
    int64_t n = s->n + more, limit = e->model->config.max_position;
    if (limit > 0 && n > limit)
        return FAIL(F_CONTEXT_FULL,
                    text("%" PRId64 " tokens do not fit a context of %" PRId64, n, limit),
                    text("session of %" PRId64 " tokens, %" PRId64 " more", s->n, more),
                    "the model was made for positions below its max_position_embeddings",
                    "shorten the prompt or ask for fewer tokens");
    int groups = (int)((n + PAGE - 1) / PAGE);
    int missing = groups - s->n_groups;
    if (missing > e->n_free)
        return FAIL(
            F_CONTEXT_FULL, text("no pages left for %" PRId64 " more tokens", more),
            text("engine with %d pages of %d tokens, %d free", e->n_groups, PAGE, e->n_free),
            "other sessions hold them", "end a session or give the engine more positions");
    TRY(session_reserve(s, groups, n));
    while (s->n_groups < groups)
        take_group(s);
    return STATUS_OK;
}

status session_resize(session *s, int64_t n) {
    engine *e = s->engine;
    int64_t limit = e->model->config.max_position, groups = (n + PAGE - 1) / PAGE;
    int64_t room = (int64_t)e->n_free + s->n_groups;
    if ((limit > 0 && n > limit) || groups > room)
        return FAIL(F_CONTEXT_FULL, text("%" PRId64 " tokens do not fit", n),
                    text("context of the model %" PRId64 ", room for %" PRId64, limit, room * PAGE),
                    "a session takes a page for every 64 tokens",
                    "give the engine more positions, or end other sessions");
    TRY(session_reserve(s, (int)groups, n));
    give_back(s, 0);
    while (s->n_groups < groups)
        take_group(s);
    s->n = n;
    return STATUS_OK;
}

/* The arrays of one batch, in the engine's arena. */
typedef struct step_arrays {
    int32_t *ids, *position, *first, *last_row;
    int64_t *start, *n_keys;
    const kv_layer_pages **pages;
} step_arrays;

static status step_fill(engine *e, const session_feed *feeds, int n, int64_t total,
                        step_arrays *a) {
    arena *m = &e->memory;
    a->ids = arena_alloc(m, (size_t)total * sizeof *a->ids);
    a->position = arena_alloc(m, (size_t)total * sizeof *a->position);
    a->first = arena_zalloc(m, (size_t)total * sizeof *a->first);
    a->last_row = arena_alloc(m, (size_t)n * sizeof *a->last_row);
    a->start = arena_alloc(m, (size_t)(n + 1) * sizeof *a->start);
    a->n_keys = arena_alloc(m, (size_t)n * sizeof *a->n_keys);
    a->pages = arena_alloc(m, (size_t)n * sizeof *a->pages);
    if (a->ids == NULL || a->position == NULL || a->first == NULL || a->last_row == NULL ||
        a->start == NULL || a->n_keys == NULL || a->pages == NULL)
        return STATUS_MEMORY;
    int64_t row = 0;
    for (int i = 0; i < n; i++) {
        const session *s = feeds[i].session;
        a->start[i] = row;
        for (int64_t j = 0; j < feeds[i].n_ids; j++, row++) {
            a->ids[row] = feeds[i].ids[j];
            a->position[row] = (int32_t)(s->n + j);
        }
        a->last_row[i] = (int32_t)(row - 1);
        a->n_keys[i] = s->n + feeds[i].n_ids;
        a->pages[i] = s->layers;
    }
    a->start[n] = row;
    return STATUS_OK;
}

static void logits_copy(const engine *e, const var *logits, int n, float *out) {
    int64_t count = (int64_t)n * e->model->config.vocab_size;
    if (e->element == sizeof(float)) {
        memcpy(out, logits->value.data, (size_t)count * sizeof *out);
        return;
    }
    const double *from = logits->value.data;
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)from[i];
}

static status step_forward(engine *e, const session_feed *feeds, int n, numerics_role role,
                           int64_t total, float *logits) {
    step_arrays a;
    TRY(step_fill(e, feeds, n, total, &a));
    kv_cache_view cache = {.pages = a.pages, .n_keys = a.n_keys};
    model_batch batch = {
        .layout = {.n = total,
                   .n_sequences = n,
                   .start = a.start,
                   .position = a.position,
                   .first = a.first},
        .ids = a.ids,
        .role = role,
        .cache = &cache,
        .logit_rows = a.last_row,
        .n_logit_rows = logits != NULL ? n : 0,
    };
    tape t;
    TRY(tape_init(&t, &e->memory, &e->model->params, (tape_options){0}));
    model_result result = {0};
    TRY(model_forward(e->model, &t, &batch, &result));
    if (logits != NULL) logits_copy(e, result.logits, n, logits);
    return STATUS_OK;
}

status engine_step(engine *e, const session_feed *feeds, int n, numerics_role role, float *logits) {
    int64_t total = 0;
    status s = STATUS_OK;
    for (int i = 0; i < n; i++) {
        if (feeds[i].n_ids < 1)
            return FAIL(F_BAD_VALUE, "a session was fed no tokens", text("feed %d of %d", i, n),
                        "a step needs at least one new token for each session", "leave it out");
        for (int64_t j = 0; j < feeds[i].n_ids; j++)
            if (feeds[i].ids[j] < 0 || feeds[i].ids[j] >= e->model->config.vocab_size)
                return FAIL(F_TOKEN_RANGE, text("token id %d", feeds[i].ids[j]),
                            text("feed %d, position %" PRId64, i, feeds[i].session->n + j),
                            text("the vocabulary has %" PRId64 " ids", e->model->config.vocab_size),
                            "use the tokenizer that belongs to this model");
        total += feeds[i].n_ids;
    }
    if (n == 0) return STATUS_OK;
    int extended = 0;
    for (; extended < n && s == STATUS_OK; extended++)
        s = session_extend(feeds[extended].session, feeds[extended].n_ids);
    size_t mark = arena_mark(&e->memory);
    if (s == STATUS_OK) s = step_forward(e, feeds, n, role, total, logits);
    arena_reset(&e->memory, mark);
    for (int i = 0; i < extended; i++) {
        session *one = feeds[i].session;
        if (s != STATUS_OK) {
            give_back(one, (int)((one->n + PAGE - 1) / PAGE));
            continue;
        }
        memcpy(one->ids + one->n, feeds[i].ids, (size_t)feeds[i].n_ids * sizeof *one->ids);
        one->n += feeds[i].n_ids;
    }
    return s;
}

status session_prompt(session *s, const int32_t *ids, int64_t n, float *logits) {
    int64_t before = s->n;
    for (int64_t at = 0; at < n; at += PROMPT_CHUNK) {
        int64_t count = n - at < PROMPT_CHUNK ? n - at : PROMPT_CHUNK;
        session_feed feed = {.session = s, .ids = ids + at, .n_ids = count};
        bool last = at + count == n;
        status failure = engine_step(s->engine, &feed, 1, ROLE_PROMPT, last ? logits : NULL);
        if (failure != STATUS_OK) {
            session_cut(s, before); /* a prompt is fed whole or not at all */
            return failure;
        }
    }
    return STATUS_OK;
}

int64_t engine_bytes(const model *m, int64_t positions, int64_t chunk) {
    kv_shape shape = model_kv_shape(m);
    size_t element = dtype_size(m->params.dtype);
    int64_t groups = (positions + PAGE - 1) / PAGE;
    int64_t pages = groups * (int64_t)page_layer_bytes(shape, element) * m->config.n_layer;
    /* Activations of a forward that does not record, by shape: inputs, latents and heads of a block,
     * whose memory all blocks share. */
    const model_config *c = &m->config;
    int64_t q = c->family == MODEL_LLAMA
                    ? (int64_t)c->n_head * c->head_dim + 2 * (int64_t)c->n_kv_head * c->head_dim
                    : c->q_lora_rank + c->kv_lora_rank + c->qk_rope_head_dim +
                          (int64_t)c->n_head *
                              (2 * c->qk_nope_head_dim + c->qk_rope_head_dim + c->v_head_dim);
    int64_t heads = (int64_t)c->n_head * (c->family == MODEL_LLAMA ? c->head_dim : c->v_head_dim);
    int64_t ffn = c->family == MODEL_LLAMA
                      ? 3 * c->d_ff
                      : 3 * c->d_expert * (c->n_expert_used + c->n_shared_expert);
    int64_t made = c->family == MODEL_LLAMA || chunk == 0
                       ? 0 /* of latents: keys and values of all positions, by a prompt */
                       : positions * (c->kv_lora_rank +
                                      (int64_t)c->n_head * (c->qk_nope_head_dim + c->v_head_dim));
    return pages + made * (int64_t)element +
           chunk * (8 * c->d_model + q + heads + ffn) * (int64_t)element;
}
