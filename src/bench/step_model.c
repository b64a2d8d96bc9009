/* step_model.c - times each kernel of a training step alone and adds up.
 *
 * Every measurement repeats its call for at least SLICE seconds after one warm-up and takes the
 * fastest of the repeats: the model is a ceiling, so noise must not raise it. Equal shapes are timed
 * once. Buffers are shared by all measurements but the products (kernels_bench.h has those) and hold
 * small random numbers.
 */
#include "bench/step_model.h"

#include "autograd/ops.h"
#include "base/clock.h"
#include "base/rng.h"
#include "kernels/gemm.h"
#include "kernels/kernels.h"
#include "kernels/kernels_bench.h"

#include <string.h>

#define SLICE      0.02
#define MAX_SHAPES 256

typedef struct timed_shape {
    product_shape shape;
    double seconds;
} timed_shape;

typedef struct bench {
    const model_config *c;
    const step_shape *s;
    gemm_type type;
    arena memory;
    float *a, *b, *out, *more; /* each `room` floats */
    int64_t room;
    timed_shape shapes[MAX_SHAPES];
    int n_shapes;
    int64_t tokens; /* of a micro-batch */
    step_model *result;
} bench;

typedef status timed_fn(bench *b, void *context);

/* Fastest time of one call. */
static status time_call(bench *b, timed_fn *fn, void *context, double *seconds) {
    TRY(fn(b, context)); /* warm-up */
    double began = clock_seconds(), best = 1e30;
    int n = 0;
    do {
        double start = clock_seconds();
        TRY(fn(b, context));
        double took = clock_seconds() - start;
        if (took < best) best = took;
    } while (++n < 3 || clock_seconds() - began < SLICE);
    *seconds = best;
    return STATUS_OK;
}

/* -- products: y[m, n] = x[m, k] W^T and its two gradients -- */

static bool same_shape(const product_shape *a, const product_shape *b) {
    return a->type == b->type && a->role == b->role && a->m == b->m && a->n == b->n &&
           a->k == b->k && a->groups == b->groups;
}

static status product_add(bench *b, product_shape shape, double times) {
    timed_shape *found = NULL;
    for (int i = 0; i < b->n_shapes && found == NULL; i++)
        if (same_shape(&b->shapes[i].shape, &shape)) found = &b->shapes[i];
    if (found == NULL) {
        if (b->n_shapes == MAX_SHAPES)
            return FAIL(F_INTERNAL, "too many shapes", "step model",
                        "a model has more products than expected", "report this");
        found = &b->shapes[b->n_shapes++];
        found->shape = shape;
        TRY(bench_product(&shape, SLICE, &found->seconds));
    }
    b->result->products += times * found->seconds;
    b->result->flops +=
        times * 2.0 * (double)shape.m * (double)shape.n * (double)shape.k * shape.groups;
    return STATUS_OK;
}

/* A linear layer [n, k] applied to m rows, `times` per step, forward and backward. */
static status linear(bench *b, gemm_type type, int64_t m, int64_t n, int64_t k, int groups,
                     double times) {
    for (product_role role = PRODUCT_FORWARD; role < PRODUCT_ROLES; role++)
        TRY(product_add(b, (product_shape){type, role, m, n, k, groups}, times));
    return STATUS_OK;
}

/* -- attention -- */

typedef struct attention_context {
    attention_call *calls;
    attention_gradient *grads;
    int n;
    bool backward;
} attention_context;

static status attention_run(bench *b, void *context) {
    (void)b;
    attention_context *a = context;
    return a->backward ? attention_backward(a->calls, a->grads, a->n) : attention(a->calls, a->n);
}

static status attention_add(bench *b, double times) {
    const model_config *c = b->c;
    bool mla = c->family == MODEL_DEEPSEEK_V3;
    int kv = mla ? c->n_head : c->n_kv_head, qk = mla ? c->qk_nope_head_dim : c->head_dim;
    int shared = mla ? c->qk_rope_head_dim : 0, v = mla ? c->v_head_dim : c->head_dim;
    int64_t T = b->s->seq_len, q_width = (int64_t)c->n_head * (qk + shared);
    int64_t out_width = (int64_t)c->n_head * v,
            blocks = (T + ATTENTION_BLOCK - 1) / ATTENTION_BLOCK;
    int n = (int)b->s->micro_rows;
    size_t mark = arena_mark(&b->memory);
    attention_context a = {.n = n};
    a.calls = arena_zalloc(&b->memory, (size_t)n * sizeof *a.calls);
    a.grads = arena_zalloc(&b->memory, (size_t)n * sizeof *a.grads);
    int32_t *position = arena_alloc(&b->memory, (size_t)T * sizeof *position);
    int32_t *first = arena_zalloc(&b->memory, (size_t)T * sizeof *first);
    const void **pointers = arena_alloc(&b->memory, (size_t)(n * blocks * 3) * sizeof *pointers);
    float *lse = arena_alloc(&b->memory, (size_t)(b->tokens * c->n_head) * sizeof *lse);
    if (a.calls == NULL || a.grads == NULL || position == NULL || first == NULL ||
        pointers == NULL || lse == NULL)
        return STATUS_MEMORY;
    for (int64_t i = 0; i < T; i++)
        position[i] = (int32_t)i;
    for (int i = 0; i < n; i++) {
        int64_t at = (int64_t)i * T;
        const void **k_block = pointers + (int64_t)i * blocks * 3;
        for (int64_t p = 0; p < blocks; p++) {
            int64_t row = at + p * ATTENTION_BLOCK;
            k_block[p] = b->b + row * kv * qk;
            k_block[blocks + p] = b->b + row * shared;
            k_block[2 * blocks + p] = b->b + row * kv * v;
        }
        a.calls[i] = (attention_call){.t = DTYPE_F32,
                                      .products = b->type,
                                      .n_head = c->n_head,
                                      .n_kv_head = kv,
                                      .qk_dim = qk,
                                      .shared_dim = shared,
                                      .v_dim = v,
                                      .scale = 0.1,
                                      .rows = T,
                                      .position = position,
                                      .first = first,
                                      .q = b->a + at * q_width,
                                      .ldq = q_width,
                                      .k_block = k_block,
                                      .shared_block = k_block + blocks,
                                      .v_block = k_block + 2 * blocks,
                                      .ldk = (int64_t)kv * qk,
                                      .lds = shared,
                                      .ldv = (int64_t)kv * v,
                                      .n_keys = T,
                                      .out = b->out + at * out_width,
                                      .ldo = out_width,
                                      .lse = lse + at * c->n_head};
        a.grads[i] = (attention_gradient){.dout = b->a + at * out_width,
                                          .lddo = out_width,
                                          .dq = b->more + at * q_width,
                                          .lddq = q_width,
                                          .dk = b->more + at * kv * qk,
                                          .lddk = (int64_t)kv * qk,
                                          .dshared = shared > 0 ? b->more + at * shared : NULL,
                                          .ldds = shared,
                                          .dv = b->more + at * kv * v,
                                          .lddv = (int64_t)kv * v};
    }
    double forward, backward;
    TRY(time_call(b, attention_run, &a, &forward));
    a.backward = true;
    TRY(time_call(b, attention_run, &a, &backward));
    b->result->attention += times * (forward + backward);
    arena_reset(&b->memory, mark);
    return STATUS_OK;
}

/* -- element-wise -- */

typedef struct rows_context {
    int64_t rows, n;
    int r, heads;
    void *table;
    int32_t *positions, *target;
    double *each;
} rows_context;

static status norm_run(bench *b, void *context) {
    rows_context *r = context;
    rmsnorm(DTYPE_F32, r->rows, r->n, b->a, r->n, b->b, 1e-6, b->out, r->n, b->more);
    return rmsnorm_backward(DTYPE_F32, r->rows, r->n, b->a, r->n, b->b, b->more, b->b, r->n, b->out,
                            r->n, b->more + r->rows);
}
static status gated_run(bench *b, void *context) {
    rows_context *r = context;
    swiglu(DTYPE_F32, r->rows, r->n, b->a, b->a + r->n, 2 * r->n, b->out);
    swiglu_backward(DTYPE_F32, r->rows, r->n, b->a, b->a + r->n, 2 * r->n, b->b, b->more,
                    b->more + r->n, 2 * r->n);
    return STATUS_OK;
}
static status rope_run(bench *b, void *context) {
    rows_context *r = context;
    for (int inverse = 0; inverse < 2; inverse++)
        rope(DTYPE_F32, r->rows, r->heads, r->r, r->r, true, inverse != 0, r->positions, r->table,
             b->out, (int64_t)r->heads * r->r);
    return STATUS_OK;
}
static status loss_run(bench *b, void *context) {
    rows_context *r = context;
    memcpy(b->out, b->a, (size_t)(r->rows * r->n) * sizeof(float));
    cross_entropy(DTYPE_F32, r->rows, r->n, b->out, r->n, r->target, 1e-3, r->each);
    return STATUS_OK;
}
static status sum_run(bench *b, void *context) { /* y = a + b, and its gradient into two */
    rows_context *r = context;
    vector_add(DTYPE_F32, r->rows * r->n, b->a, b->b, b->out);
    vector_accumulate(DTYPE_F32, r->rows * r->n, b->a, b->out);
    return STATUS_OK;
}
static status accumulate_run(bench *b, void *context) {
    rows_context *r = context;
    vector_accumulate(DTYPE_F32, r->n, b->a, b->out);
    return STATUS_OK;
}
static status adamw_run(bench *b, void *context) {
    rows_context *r = context;
    adamw_step s = {.lr = 1e-9,
                    .beta1 = 0.9,
                    .beta2 = 0.95,
                    .eps = 1e-8,
                    .correction1 = 0.5,
                    .correction2 = 0.5,
                    .grad_scale = 1};
    adamw(r->n, &s, b->a, b->b, b->out, b->more);
    return STATUS_OK;
}

static status add_rows(bench *b, timed_fn *fn, int64_t rows, int64_t n, double times) {
    rows_context r = {.rows = rows, .n = n};
    double seconds;
    TRY(time_call(b, fn, &r, &seconds));
    b->result->elementwise += times * seconds;
    return STATUS_OK;
}

static status add_rope(bench *b, int heads, int dim, double times) {
    size_t mark = arena_mark(&b->memory);
    rows_context r = {.rows = b->tokens, .heads = heads, .r = dim};
    r.table = arena_alloc(&b->memory, (size_t)(b->s->seq_len * dim) * sizeof(float));
    r.positions = arena_alloc(&b->memory, (size_t)b->tokens * sizeof *r.positions);
    if (r.table == NULL || r.positions == NULL) return STATUS_MEMORY;
    double *frequency = arena_alloc(&b->memory, (size_t)dim / 2 * sizeof *frequency);
    if (frequency == NULL) return STATUS_MEMORY;
    rope_frequencies(dim, 10000, frequency);
    rope_table(DTYPE_F32, b->s->seq_len, dim, frequency, 1, r.table);
    for (int64_t i = 0; i < b->tokens; i++)
        r.positions[i] = (int32_t)(i % b->s->seq_len);
    double seconds;
    TRY(time_call(b, rope_run, &r, &seconds));
    b->result->elementwise += times * seconds;
    arena_reset(&b->memory, mark);
    return STATUS_OK;
}

/* Head, cross entropy and its gradients, chunk by chunk. */
static status add_head(bench *b, double micro) {
    const model_config *c = b->c;
    int64_t most = head_loss_rows(c->vocab_size, c->d_model);
    int64_t chunk = b->tokens < most ? b->tokens : most;
    double times = micro * (double)b->tokens / (double)chunk;
    TRY(linear(b, b->type, chunk, c->vocab_size, c->d_model, 1, times));
    size_t mark = arena_mark(&b->memory);
    rows_context r = {.rows = chunk, .n = c->vocab_size};
    r.target = arena_zalloc(&b->memory, (size_t)chunk * sizeof *r.target);
    r.each = arena_alloc(&b->memory, (size_t)chunk * sizeof *r.each);
    if (r.target == NULL || r.each == NULL) return STATUS_MEMORY;
    double seconds;
    TRY(time_call(b, loss_run, &r, &seconds));
    b->result->elementwise += times * seconds;
    arena_reset(&b->memory, mark);
    return STATUS_OK;
}

static status add_mlp(bench *b, int64_t rows, int64_t f, int groups, double times) {
    int64_t d = b->c->d_model;
    TRY(linear(b, b->type, rows, 2 * f, d, groups, times));
    TRY(linear(b, b->type, rows, d, f, groups, times));
    return add_rows(b, gated_run, rows * groups, f, times);
}

static status add_layers(bench *b, double micro) {
    const model_config *c = b->c;
    int64_t M = b->tokens, d = c->d_model;
    double layers = micro * (double)c->n_layer;
    if (c->family == MODEL_LLAMA) {
        int64_t q = (int64_t)c->n_head * c->head_dim, kv = (int64_t)c->n_kv_head * c->head_dim;
        TRY(linear(b, b->type, M, q + 2 * kv, d, 1, layers));
        TRY(linear(b, b->type, M, d, q, 1, layers));
        TRY(add_rope(b, c->n_head + c->n_kv_head, c->head_dim, layers));
        TRY(add_mlp(b, M, c->d_ff, 1, layers));
    } else {
        int n = c->qk_nope_head_dim, r = c->qk_rope_head_dim, v = c->v_head_dim, H = c->n_head;
        double dense = micro * c->first_k_dense, routed = layers - dense;
        TRY(linear(b, b->type, M, c->q_lora_rank + c->kv_lora_rank + r, d, 1, layers));
        if (c->q_lora_rank > 0)
            TRY(linear(b, b->type, M, (int64_t)H * (n + r), c->q_lora_rank, 1, layers));
        TRY(linear(b, b->type, M, (int64_t)H * (n + v), c->kv_lora_rank, 1, layers));
        TRY(linear(b, b->type, M, d, (int64_t)H * v, 1, layers));
        TRY(add_rows(b, norm_run, M, c->kv_lora_rank, layers));
        if (c->q_lora_rank > 0) TRY(add_rows(b, norm_run, M, c->q_lora_rank, layers));
        TRY(add_rope(b, H + 1, r, layers));
        if (dense > 0) TRY(add_mlp(b, M, c->d_ff, 1, dense));
        if (routed > 0) {
            int64_t each = (M * c->n_expert_used / c->n_expert + 31) / 32 * 32;
            TRY(linear(b, GEMM_F32, M, c->n_expert, d, 1, routed));
            TRY(add_mlp(b, each, c->d_expert, c->n_expert, routed));
            if (c->n_shared_expert > 0)
                TRY(add_mlp(b, M, c->d_expert * c->n_shared_expert, 1, routed));
            TRY(add_rows(b, sum_run, M * c->n_expert_used, d, 2 * routed)); /* gather and combine */
        }
    }
    TRY(add_rows(b, norm_run, M, d, 2 * layers + micro));
    TRY(add_rows(b, sum_run, M, d, 2 * layers));
    return attention_add(b, layers);
}

/* Lane sums, both packings of every weight, AdamW. */
static status add_update(bench *b) {
    int64_t active, P = model_config_parameters(b->c, &active);
    int64_t piece = P < b->room ? P : b->room;
    rows_context r = {.n = piece};
    double scale = (double)P / (double)piece, seconds;
    TRY(time_call(b, accumulate_run, &r, &seconds));
    b->result->optimiser += scale * seconds * (b->s->lanes - 1);
    TRY(time_call(b, adamw_run, &r, &seconds));
    b->result->optimiser += scale * seconds;
    int64_t d = b->c->d_model, rows = piece / d;
    size_t mark = arena_mark(&b->memory);
    packed_matrix w = {b->type, rows, d, arena_alloc(&b->memory, packed_bytes(b->type, rows, d))};
    if (w.data == NULL) return STATUS_MEMORY;
    double began = clock_seconds();
    gemm_pack(&w, b->b, d, 1);
    b->result->optimiser += 2 * scale * (clock_seconds() - began);
    arena_reset(&b->memory, mark);
    return STATUS_OK;
}

static int64_t widest(const model_config *c) {
    int64_t w = 3 * c->d_model,
            mla = (int64_t)c->n_head * (c->qk_nope_head_dim + c->qk_rope_head_dim + c->v_head_dim);
    int64_t qkv = (int64_t)(c->n_head + 2 * c->n_kv_head) * c->head_dim;
    int64_t experts = (int64_t)(c->n_expert_used + 2) * 2 * (c->d_expert + c->d_model);
    if (2 * c->d_ff > w) w = 2 * c->d_ff;
    if (mla > w) w = mla;
    if (qkv > w) w = qkv;
    return experts > w ? experts : w;
}

static status buffers(bench *b) {
    const model_config *c = b->c;
    int64_t padded = b->tokens + 64 * (c->n_expert + 1),
            head = head_loss_rows(c->vocab_size, c->d_model) * c->vocab_size;
    b->room = padded * widest(c);
    if (c->vocab_size * c->d_model > b->room) b->room = c->vocab_size * c->d_model;
    if (2 * (int64_t)c->n_expert * c->d_expert * c->d_model > b->room)
        b->room = 2 * (int64_t)c->n_expert * c->d_expert * c->d_model;
    if (head > b->room) b->room = head;
    float **all[] = {&b->a, &b->b, &b->out, &b->more};
    for (int k = 0; k < 4; k++) {
        float *x = *all[k] = arena_alloc(&b->memory, (size_t)b->room * sizeof(float));
        if (x == NULL) return STATUS_MEMORY;
        for (int64_t i = 0; i < b->room; i++)
            x[i] = k < 2 ? (float)((int)(((uint32_t)i * 2654435761u) >> 22) - 512) * 1e-3f : 0.0f;
    }
    return STATUS_OK;
}

status step_model_measure(const model_config *c, const step_shape *s, step_model *out) {
    memset(out, 0, sizeof *out);
    bench b = {
        .c = c, .s = s, .type = s->products, .result = out, .tokens = s->micro_rows * s->seq_len};
    TRY(arena_init(&b.memory, "step model", (size_t)16 << 30));
    double micro = (double)s->micro_batches;
    status result;
    TRY_GOTO(result, buffers(&b));
    TRY_GOTO(result, add_layers(&b, micro));
    TRY_GOTO(result, add_head(&b, micro));
    TRY_GOTO(result, add_update(&b));
    out->seconds = out->products + out->attention + out->elementwise + out->optimiser;
done:
    arena_clear(&b.memory);
    return result;
}
