/* attention.c - attention over key blocks with a running softmax.
 *
 * Dao et al., "FlashAttention" (arXiv 2205.14135), on the GEMM micro-kernels: for a block of
 * queries and each block of 64 keys S = Q K^T, one softmax step per row, O = factor O + P V. No
 * array of queries x keys exists. Key blocks are aligned to absolute position and every row's
 * steps depend on its own visible keys only (docs/numerics.md 5), so chunked prompts and batches
 * give the same bits.
 *
 * A chunk is (sequence, KV head, block of queries). Keys and values are packed once per chunk and
 * key block, and serve all query heads of the group: with 256 rows (query x head) per chunk the
 * packing costs a few percent.
 *
 * Keys may have two parts: one per KV head and one shared by all (MLA's rotary part); in the
 * packed block they are one row of K^T after the other, hence one chain.
 *
 * Products are of the call's type: in bf16-dot q, k, v, p and the gradients are rounded as operands,
 * while scores, probabilities and sums stay f32.
 */
#include "kernels/attention_parts.h"

#include <math.h>
#include <string.h>

#define BLOCK      ATTENTION_BLOCK
#define CHUNK_ROWS 256 /* query rows times heads of a group */

/* -- shared with backward -- */

attention_view attention_view_of(const attention_call *call) {
    attention_view v = {.call = call, .rows = row_table(call->t), .size = real_size(call->t)};
    v.width = call->qk_dim + call->shared_dim;
    bool pairs =
        call->products == GEMM_BF16_DOT && (call->qk_dim % 2 == 0 || call->shared_dim == 0);
    v.products = product_table(call->t == DTYPE_F64 ? GEMM_F64 : pairs ? GEMM_BF16_DOT : GEMM_F32);
    v.group = call->n_head / call->n_kv_head;
    v.k_stride = call->k_head_stride != 0 ? call->k_head_stride : call->qk_dim;
    v.v_stride = call->v_head_stride != 0 ? call->v_head_stride : call->v_dim;
    return v;
}

slot_range visible_slots(const attention_call *call, int64_t row, int64_t block) {
    int64_t low = call->first[row] - block * BLOCK, high = call->position[row] + 1 - block * BLOCK;
    return (slot_range){(int)min_i64(max_i64(low, 0), BLOCK),
                        (int)max_i64(min_i64(high, block_keys(call, block)), 0)};
}

bool block_visible(const attention_call *call, int64_t first, int64_t n, int64_t block) {
    for (int64_t i = first; i < first + n; i++) {
        slot_range seen = visible_slots(call, i, block);
        if (seen.low < seen.high) return true;
    }
    return false;
}

void block_range(const attention_call *call, int64_t first, int64_t n, int64_t *low,
                 int64_t *high) {
    int64_t from = INT64_MAX, to = -1;
    for (int64_t i = first; i < first + n; i++) {
        from = min_i64(from, call->first[i]);
        to = max_i64(to, call->position[i]);
    }
    *low = max_i64(from, 0) / BLOCK;
    *high = min_i64(to, call->n_keys - 1) / BLOCK;
}

void *strips_alloc(const attention_view *v, arena *scratch, int64_t k, int64_t n) {
    return arena_alloc(scratch, (size_t)(ceil_div(n, STRIP) * strip_bytes(v->products, k)));
}

void pack_small(const attention_view *v, int64_t k, int64_t n, const void *src, int64_t stride_k,
                int64_t stride_n, void *strips) {
    block_pack(v->products, k, n, src, v->size, stride_k, stride_n, strips,
               strip_bytes(v->products, k));
}

void pack_keys_across(const attention_view *v, int64_t block, int kv_head, void *strips) {
    const attention_call *call = v->call;
    int64_t strip = strip_bytes(v->products, v->width);
    int keys = block_keys(call, block);
    block_pack(v->products, call->qk_dim, keys,
               element(call->k_block[block], kv_head * v->k_stride, v->size), v->size, 1, call->ldk,
               strips, strip);
    if (call->shared_dim > 0)
        block_pack(v->products, call->shared_dim, keys, call->shared_block[block], v->size, 1,
                   call->lds, (char *)strips + strip_bytes(v->products, call->qk_dim), strip);
}

void *form_alloc(const attention_view *v, arena *scratch, int64_t k) {
    return arena_alloc(scratch, (size_t)block_form_bytes(v->products, BLOCK, max_i64(k, BLOCK)));
}

const uint16_t *probability_bits(const attention_view *v, int64_t block, int head, int64_t row,
                                 int64_t rows, uint16_t *room) {
    const attention_call *call = v->call;
    uint64_t line = (uint64_t)(block * call->n_head + head) << 32 | (uint64_t)(call->token + row);
    return dropout_bits(&call->dropout, line * BLOCK, rows * BLOCK, room);
}

void small_multiply(const attention_view *v, const small_product *s) {
    micro_call block = {.k = s->k,
                        .a = s->a,
                        .row_stride = s->row_stride,
                        .k_stride = s->k_stride,
                        .b = s->strips,
                        .strip_stride = strip_bytes(v->products, s->k),
                        .c = s->c,
                        .ldc = s->ldc,
                        .rows = (int)s->rows,
                        .columns = (int)s->columns,
                        .accumulate = s->accumulate};
    if (v->products->form != A_REAL) block_form_a(v->products, &block, s->form);
    block_multiply(v->products, &block);
}

/* -- forward -- */

typedef struct attention_plan {
    attention_view view;
    int64_t chunk_rows, row_blocks, first_chunk;
} attention_plan;

typedef struct attention_job {
    attention_plan *plans;
    int n_plans;
    int64_t n_chunks;
    job_failure failure;
} attention_job;

/* Buffers of one chunk; heads of the group one after the other. */
typedef struct attention_work {
    void *keys, *values; /* packed block */
    void *form;          /* A of a product */
    void *s;             /* [BLOCK, BLOCK] */
    void *o;             /* [group, rows, v_dim] */
    void *max, *sum;     /* [group, rows] */
    uint16_t *bits;      /* of dropout */
    int64_t row0, rows;
    int kv_head;
} attention_work;

static bool work_alloc(attention_work *w, const attention_view *v, arena *scratch) {
    size_t states = (size_t)(v->group * w->rows) * v->size;
    w->keys = strips_alloc(v, scratch, v->width, BLOCK);
    w->values = strips_alloc(v, scratch, BLOCK, v->call->v_dim);
    w->form = form_alloc(v, scratch, v->width);
    w->s = arena_zalloc(scratch, (size_t)BLOCK * BLOCK * v->size);
    w->o = arena_zalloc(scratch, states * (size_t)v->call->v_dim);
    w->max = arena_alloc(scratch, states);
    w->sum = arena_zalloc(scratch, states);
    w->bits = arena_alloc(scratch, MASK_ROOM * sizeof *w->bits);
    if (w->keys == NULL || w->values == NULL || w->form == NULL || w->s == NULL || w->o == NULL ||
        w->max == NULL || w->sum == NULL || w->bits == NULL)
        return false;
    for (int64_t i = 0; i < v->group * w->rows; i++)
        real_set(v->call->t, w->max, i, -(double)INFINITY);
    return true;
}

/* One softmax step for the rows of a sub-block; factors the output so far. */
static void softmax_step(const attention_view *v, const attention_work *w, int64_t block,
                         int64_t row, int64_t rows, int64_t state) {
    const attention_call *call = v->call;
    for (int64_t i = 0; i < rows; i++) {
        slot_range seen = visible_slots(call, w->row0 + row + i, block);
        void *s = element_mut(w->s, i * BLOCK, v->size);
        if (seen.low >= seen.high) {
            memset(s, 0, BLOCK * v->size);
            continue;
        }
        int64_t at = state + row + i;
        double factor =
            v->rows->attend(seen.low, seen.high, call->scale, s, element_mut(w->max, at, v->size),
                            element_mut(w->sum, at, v->size));
        if (factor != 1.0)
            v->rows->scale(call->v_dim, factor, element_mut(w->o, at * call->v_dim, v->size));
    }
}

static void drop_probabilities(const attention_view *v, const attention_work *w, int64_t block,
                               int head, int64_t row, int64_t rows) {
    const dropout_mask *mask = &v->call->dropout;
    if (mask->below == 0) return;
    const uint16_t *bits = probability_bits(v, block, head, w->row0 + row, rows, w->bits);
    v->rows->drop(rows * BLOCK, bits, mask->below, mask->factor, w->s, w->s);
}

static void attend_block(const attention_view *v, const attention_work *w, int64_t block) {
    const attention_call *call = v->call;
    int keys = block_keys(call, block);
    pack_keys_across(v, block, w->kv_head, w->keys);
    pack_small(v, keys, call->v_dim,
               element(call->v_block[block], w->kv_head * v->v_stride, v->size), call->ldv, 1,
               w->values);
    for (int64_t row = 0; row < w->rows; row += BLOCK) {
        int64_t rows = min_i64(BLOCK, w->rows - row);
        if (!block_visible(call, w->row0 + row, rows, block)) continue;
        for (int g = 0; g < v->group; g++) {
            int head = w->kv_head * v->group + g;
            int64_t state = g * w->rows;
            small_multiply(
                v, &(small_product){
                       .rows = rows,
                       .columns = keys,
                       .k = v->width,
                       .a = element(call->q, (w->row0 + row) * call->ldq + (int64_t)head * v->width,
                                    v->size),
                       .row_stride = call->ldq,
                       .k_stride = 1,
                       .strips = w->keys,
                       .form = w->form,
                       .c = w->s,
                       .ldc = BLOCK});
            softmax_step(v, w, block, row, rows, state);
            drop_probabilities(v, w, block, head, row, rows);
            small_multiply(
                v, &(small_product){.rows = rows,
                                    .columns = call->v_dim,
                                    .k = keys,
                                    .a = w->s,
                                    .row_stride = BLOCK,
                                    .k_stride = 1,
                                    .strips = w->values,
                                    .form = w->form,
                                    .c = element_mut(w->o, (state + row) * call->v_dim, v->size),
                                    .ldc = call->v_dim,
                                    .accumulate = true});
        }
    }
}

static void work_finish(const attention_view *v, const attention_work *w) {
    const attention_call *call = v->call;
    for (int g = 0; g < v->group; g++)
        for (int64_t i = 0; i < w->rows; i++) {
            int head = w->kv_head * v->group + g;
            int64_t at = g * w->rows + i, row = w->row0 + i;
            double sum = real_get(call->t, w->sum, at);
            void *out =
                element_mut(call->out, row * call->ldo + (int64_t)head * call->v_dim, v->size);
            memcpy(out, element(w->o, at * call->v_dim, v->size), (size_t)call->v_dim * v->size);
            v->rows->scale(call->v_dim, sum == 0 ? 0.0 : 1.0 / sum, out);
            if (call->lse != NULL)
                real_set(call->t, call->lse, row * call->n_head + head,
                         real_get(call->t, w->max, at) + v->rows->log(sum));
        }
}

static void attention_chunk(void *context, int64_t chunk) {
    attention_job *job = context;
    int i = 0;
    while (i + 1 < job->n_plans && job->plans[i + 1].first_chunk <= chunk)
        i++;
    const attention_plan *plan = &job->plans[i];
    const attention_view *v = &plan->view;
    int64_t local = chunk - plan->first_chunk;
    attention_work w = {.row0 = local % plan->row_blocks * plan->chunk_rows,
                        .kv_head = (int)(local / plan->row_blocks)};
    w.rows = min_i64(plan->chunk_rows, v->call->rows - w.row0);
    arena *scratch = pool_scratch();
    size_t mark = scratch != NULL ? arena_mark(scratch) : 0;
    if (scratch == NULL || !work_alloc(&w, v, scratch)) {
        job_failed(&job->failure);
    } else {
        int64_t low, high;
        block_range(v->call, w.row0, w.rows, &low, &high);
        for (int64_t block = low; block <= high; block++)
            attend_block(v, &w, block);
        work_finish(v, &w);
    }
    if (scratch != NULL) arena_reset(scratch, mark);
}

status attention(const attention_call *calls, int n_calls) {
    if (n_calls <= 0) return STATUS_OK;
    arena *scratch = pool_scratch();
    if (scratch == NULL) return STATUS_MEMORY;
    size_t mark = arena_mark(scratch);
    attention_job job = {.n_plans = n_calls};
    job.plans = arena_alloc(scratch, (size_t)n_calls * sizeof *job.plans);
    if (job.plans == NULL) return STATUS_MEMORY;
    for (int i = 0; i < n_calls; i++) {
        attention_plan *plan = &job.plans[i];
        plan->view = attention_view_of(&calls[i]);
        plan->chunk_rows = max_i64(BLOCK, CHUNK_ROWS / plan->view.group / BLOCK * BLOCK);
        plan->row_blocks = ceil_div(calls[i].rows, plan->chunk_rows);
        plan->first_chunk = job.n_chunks;
        job.n_chunks += plan->row_blocks * calls[i].n_kv_head;
    }
    pool_for(job.n_chunks, attention_chunk, &job);
    arena_reset(scratch, mark);
    return job_status(&job.failure);
}
