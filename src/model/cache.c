/* cache.c - where keys live: in the batch (training, evaluation) or in pages (inference).
 *
 * A page holds 64 positions of one layer of one sequence, rows dense: keys of all heads, the part
 * of a key that all heads share (MLA), values of all heads. Pages belong to infer/; a forward
 * writes the rows of its new tokens and then attends over everything written. Page borders are the
 * key blocks of attention, so a prompt gives the same bits in any chunking, and the same as the
 * training forward.
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
