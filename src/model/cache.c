/* cache.c - where keys live: in the batch (training, evaluation) or in pages (inference).
 *
 * A page holds 64 positions of one layer of one sequence, rows dense: keys and values of all heads, or,
 * of latent attention, the latent of which both are made, and the rotated part of a key that all heads
 * share. Pages belong to infer/; a forward writes the rows of its new tokens and then attends over
 * everything written. Page borders are the key blocks of attention, so a prompt gives the same bits in
 * any chunking, and the same as the training forward: of latents it makes keys and values again, row by
 * row. Generated tokens leave them unmade (op_heads.c) and agree with that within rounding.
 */
#include "model/model_internal.h"

#include <string.h>

/* One token's heads, `stride` elements apart, into a dense row. */
static void copy_heads(char *to, const char *from, int n_head, int64_t dim, int64_t stride,
                       size_t element) {
    for (int h = 0; h < n_head; h++)
        memcpy(to + (size_t)(h * dim) * element, from + (size_t)(h * stride) * element,
               (size_t)dim * element);
}

static const char *row_of(const var *x, int64_t row, size_t element) {
    const char *data = x->value.data;
    return data + (size_t)(row * x->value.stride[0]) * element;
}

static void write_keys(const kv_layer_pages *pages, const token_layout *layout, int sequence,
                       const var *k, const var *shared, const var *v, const attention_shape *s) {
    size_t element = dtype_size(k->value.dtype);
    for (int64_t i = layout->start[sequence]; i < layout->start[sequence + 1]; i++) {
        int64_t page = layout->position[i] / KEY_PAGE, row = layout->position[i] % KEY_PAGE;
        char *k_page = pages->k[page], *v_page = pages->v[page];
        copy_heads(k_page + (size_t)(row * s->n_kv_head * s->qk_dim) * element,
                   row_of(k, i, element), s->n_kv_head, s->qk_dim, s->k_head_stride, element);
        copy_heads(v_page + (size_t)(row * s->n_kv_head * s->v_dim) * element,
                   row_of(v, i, element), s->n_kv_head, s->v_dim, s->v_head_stride, element);
        if (shared == NULL) continue;
        char *shared_page = pages->shared[page];
        memcpy(shared_page + (size_t)(row * s->shared_dim) * element, row_of(shared, i, element),
               (size_t)s->shared_dim * element);
    }
}

var *attend(tape *t, const block *b, var *q, var *k, var *shared, var *v,
            const attention_shape *shape) {
    const token_layout *layout = &b->forward->batch.layout;
    const kv_cache_view *cache = b->forward->batch.cache;
    if (cache == NULL) {
        attention_shape training = *shape;
        training.dropout = dropout_at(b->forward, b->index, DROP_ATTENTION);
        return op_attention(t, q, k, shared, v, layout, &training);
    }

    key_pages *keys = tape_alloc(t, (size_t)layout->n_sequences * sizeof *keys);
    if (keys == NULL) return q;
    for (int s = 0; s < layout->n_sequences; s++) {
        const kv_layer_pages *pages = &cache->pages[s][b->index];
        if (tape_ok(t) && !t->options.dry) write_keys(pages, layout, s, k, shared, v, shape);
        keys[s] = (key_pages){.k_page = (const void *const *)pages->k,
                              .shared_page = (const void *const *)pages->shared,
                              .v_page = (const void *const *)pages->v,
                              .n_keys = cache->n_keys[s]};
    }
    attention_shape dense = *shape;
    dense.k_head_stride = shape->qk_dim;
    dense.v_head_stride = shape->v_dim;
    return op_attention_paged(t, q, keys, layout, &dense);
}

/* -- latents -- */

static void write_latents(const kv_layer_pages *pages, const token_layout *layout, int sequence,
                          const var *latent, const var *shared) {
    size_t element = dtype_size(latent->value.dtype);
    size_t wide = (size_t)latent->value.dim[1] * element;
    size_t narrow = (size_t)shared->value.dim[1] * element;
    for (int64_t i = layout->start[sequence]; i < layout->start[sequence + 1]; i++) {
        int64_t page = layout->position[i] / KEY_PAGE, row = layout->position[i] % KEY_PAGE;
        memcpy((char *)pages->k[page] + (size_t)row * wide, row_of(latent, i, element), wide);
        memcpy((char *)pages->shared[page] + (size_t)row * narrow, row_of(shared, i, element),
               narrow);
    }
}

/* Keys and values of every position so far, as the batch's own would be: [n, H (n + v)]. */
static var *expand(tape *t, const block *b, const kv_layer_pages *pages, int64_t n, int64_t rank) {
    var *all = tape_var(t, n, rank, false);
    if (!tape_ok(t)) return all;
    size_t row = (size_t)rank * dtype_size(all->value.dtype);
    for (int64_t i = 0; i < n && !t->options.dry; i += KEY_PAGE) {
        int64_t rows = n - i < KEY_PAGE ? n - i : KEY_PAGE;
        memcpy((char *)all->value.data + (size_t)i * row, pages->k[i / KEY_PAGE],
               (size_t)rows * row);
    }
    return op_linear(t, all, b->layer->kv_b);
}

/* Every KEY_PAGE-th row, from column `first` on. */
static const void *const *blocks_of(tape *t, const var *x, int64_t first) {
    int64_t n = (x->value.dim[0] + KEY_PAGE - 1) / KEY_PAGE;
    size_t element = dtype_size(x->value.dtype);
    const void **at = tape_alloc(t, (size_t)n * sizeof *at);
    for (int64_t i = 0; at != NULL && i < n; i++)
        at[i] = row_of(x, i * KEY_PAGE, element) + (size_t)first * element;
    return at;
}

/* Prompt form: the keys of a sequence, made again. */
static key_pages expanded_keys(tape *t, const block *b, int sequence, int64_t rank) {
    const kv_cache_view *cache = b->forward->batch.cache;
    const kv_layer_pages *pages = &cache->pages[sequence][b->index];
    int64_t n = cache->n_keys[sequence];
    const var *kv = expand(t, b, pages, n, rank);
    if (!tape_ok(t)) return (key_pages){0};
    return (key_pages){.k_page = blocks_of(t, kv, 0),
                       .shared_page = (const void *const *)pages->shared,
                       .v_page = blocks_of(t, kv, b->forward->m->config.qk_nope_head_dim),
                       .n_keys = n,
                       .stride = kv->value.stride[0]};
}

/* Generated form: one key per position, its latent, which is its value too. */
static var *attend_absorbed(tape *t, const block *b, var *q, const key_pages *keys, int64_t rank,
                            const attention_shape *shape) {
    head_blocks heads = {.n_head = shape->n_head,
                         .key_rows = shape->qk_dim,
                         .value_rows = shape->v_dim,
                         .rotated = shape->shared_dim};
    attention_shape latents = {.n_head = shape->n_head,
                               .n_kv_head = 1,
                               .qk_dim = (int)rank,
                               .shared_dim = shape->shared_dim,
                               .v_dim = (int)rank,
                               .scale = shape->scale};
    var *wide = op_head_keys(t, q, b->layer->kv_b, &heads);
    var *o = op_attention_paged(t, wide, keys, &b->forward->batch.layout, &latents);
    return op_head_values(t, o, b->layer->kv_b, &heads);
}

var *attend_latents(tape *t, const block *b, var *q, var *latent, var *shared,
                    const attention_shape *shape) {
    const model_batch *batch = &b->forward->batch;
    const token_layout *layout = &batch->layout;
    int64_t rank = latent->value.dim[1];
    bool absorbed = batch->role == ROLE_GENERATED;
    key_pages *keys = tape_alloc(t, (size_t)layout->n_sequences * sizeof *keys);
    if (keys == NULL) return q;
    for (int s = 0; s < layout->n_sequences; s++) {
        const kv_layer_pages *pages = &batch->cache->pages[s][b->index];
        const void *const *rows = (const void *const *)pages->k;
        if (tape_ok(t) && !t->options.dry) write_latents(pages, layout, s, latent, shared);
        keys[s] = absorbed ? (key_pages){.k_page = rows,
                                         .shared_page = (const void *const *)pages->shared,
                                         .v_page = rows,
                                         .n_keys = batch->cache->n_keys[s]}
                           : expanded_keys(t, b, s, rank);
    }
    if (absorbed) return attend_absorbed(t, b, q, keys, rank, shape);
    return op_attention_paged(t, q, keys, layout, shape);
}
