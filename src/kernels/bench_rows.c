/* bench_rows.c - ns per element of the row kernels, one thread, and attention in GFLOP/s.
 *
 * "Element" is one element of the main input (one logit, one weight, one activation). Working
 * sets fit L2, so the numbers are about arithmetic; AdamW is also measured on a set that does not.
 * The step model of training multiplies them by counts. Attention counts 2 operations per
 * multiply-add over the visible (query, key) pairs: 2 products forward, 5 backward.
 */
#include "kernels/bench_internal.h"

#include <string.h>

enum { ROWS = 64, WIDTH = 512, CELLS = ROWS * WIDTH, VOCAB = 8192, BIG = 1 << 24 };

typedef struct row_bench {
    float *x, *y, *z, *w, *v, *big[4];
    int32_t *ids;
    double *loss;
    uint16_t *half;
} row_bench;

static void run_add(void *c) {
    row_bench *b = c;
    vector_add(DTYPE_F32, CELLS, b->x, b->y, b->z);
}
static void run_axpy(void *c) {
    row_bench *b = c;
    vector_axpy(DTYPE_F32, CELLS, 1e-6, b->x, b->z);
}
static void run_squares(void *c) {
    row_bench *b = c;
    b->loss[0] = vector_sum_squares(DTYPE_F32, CELLS, b->x);
}
static void run_bf16(void *c) {
    row_bench *b = c;
    vector_to_bf16(CELLS, b->x, b->half);
}
static void run_sigmoid(void *c) {
    row_bench *b = c;
    sigmoid(DTYPE_F32, CELLS, b->x, b->z);
}
static void run_rmsnorm(void *c) {
    row_bench *b = c;
    rmsnorm(DTYPE_F32, ROWS, WIDTH, b->x, WIDTH, b->w, 1e-6, b->z, WIDTH, b->v);
}
static void run_rmsnorm_backward(void *c) {
    row_bench *b = c;
    if (rmsnorm_backward(DTYPE_F32, ROWS, WIDTH, b->x, WIDTH, b->w, b->v, b->y, WIDTH, b->z, WIDTH,
                         b->big[0]) != STATUS_OK)
        b->loss[0] = -1;
}
static void run_swiglu(void *c) {
    row_bench *b = c;
    swiglu(DTYPE_F32, ROWS, WIDTH, b->x, b->y, WIDTH, b->z);
}
static void run_swiglu_backward(void *c) {
    row_bench *b = c;
    swiglu_backward(DTYPE_F32, ROWS, WIDTH, b->x, b->y, WIDTH, b->z, b->big[0], b->big[1], WIDTH);
}
static void run_rope(void *c) {
    row_bench *b = c;
    rope(DTYPE_F32, ROWS, WIDTH / 32, 32, 32, true, false, b->ids, b->w, b->z, WIDTH);
}
static void run_rope_halves(void *c) {
    row_bench *b = c;
    rope(DTYPE_F32, ROWS, WIDTH / 64, 64, 64, false, false, b->ids, b->w, b->z, WIDTH);
}
static void run_softmax(void *c) {
    row_bench *b = c;
    softmax_rows(DTYPE_F32, ROWS, WIDTH, b->z, WIDTH);
}
static void run_cross_entropy(void *c) {
    row_bench *b = c;
    cross_entropy(DTYPE_F32, 4, VOCAB, b->z, VOCAB, b->ids, 1.0, b->loss);
}
static void run_gather(void *c) {
    row_bench *b = c;
    gather_rows(DTYPE_F32, ROWS, WIDTH, b->x, b->ids, b->z);
}
static void run_scatter(void *c) {
    row_bench *b = c;
    scatter_rows(DTYPE_F32, ROWS, WIDTH, b->ids, b->x, b->z);
}
static void run_combine(void *c) {
    row_bench *b = c;
    moe_combine(DTYPE_F32, ROWS / 4, WIDTH, 4, b->ids, b->w, b->x, b->z);
}
static void run_adamw(void *c) {
    row_bench *b = c;
    adamw_step s = {.lr = 1e-5,
                    .beta1 = 0.9,
                    .beta2 = 0.95,
                    .eps = 1e-8,
                    .weight_decay = 0.1,
                    .correction1 = 0.5,
                    .correction2 = 0.5,
                    .grad_scale = 1};
    adamw(CELLS, &s, b->x, b->big[0], b->big[1], b->big[2]);
}
static void run_adamw_big(void *c) {
    row_bench *b = c;
    adamw_step s = {.lr = 1e-5,
                    .beta1 = 0.9,
                    .beta2 = 0.95,
                    .eps = 1e-8,
                    .weight_decay = 0.1,
                    .correction1 = 0.5,
                    .correction2 = 0.5,
                    .grad_scale = 1};
    adamw(BIG, &s, b->big[3], b->big[0], b->big[1], b->big[2]);
}

static const struct {
    const char *name;
    void (*run)(void *);
    double elements;
} row_benches[] = {
    {"row/add", run_add, CELLS},
    {"row/axpy", run_axpy, CELLS},
    {"row/sum squares", run_squares, CELLS},
    {"row/to bf16", run_bf16, CELLS},
    {"row/sigmoid", run_sigmoid, CELLS},
    {"row/rmsnorm", run_rmsnorm, CELLS},
    {"row/rmsnorm backward", run_rmsnorm_backward, CELLS},
    {"row/swiglu", run_swiglu, CELLS},
    {"row/swiglu backward", run_swiglu_backward, CELLS},
    {"row/rope interleaved", run_rope, CELLS},
    {"row/rope halves", run_rope_halves, CELLS},
    {"row/softmax", run_softmax, CELLS},
    {"row/cross entropy", run_cross_entropy, 4 * VOCAB},
    {"row/gather", run_gather, CELLS},
    {"row/scatter", run_scatter, CELLS},
    {"row/moe combine", run_combine, CELLS},
    {"row/adamw", run_adamw, CELLS},
    {"row/adamw 16M", run_adamw_big, BIG},
};

static bool rows_setup(row_bench *b, arena *memory) {
    b->x = bench_array(memory, CELLS);
    b->y = bench_array(memory, CELLS);
    b->z = bench_array(memory, CELLS);
    b->w = bench_array(memory, CELLS);
    b->v = bench_array(memory, CELLS);
    bool ok = b->x != NULL && b->y != NULL && b->z != NULL && b->w != NULL && b->v != NULL;
    for (int i = 0; i < 4; i++) {
        b->big[i] = bench_array(memory, BIG);
        ok = ok && b->big[i] != NULL;
    }
    b->ids = arena_alloc(memory, CELLS * sizeof *b->ids);
    b->loss = arena_alloc(memory, ROWS * sizeof *b->loss);
    b->half = arena_alloc(memory, CELLS * sizeof *b->half);
    ok = ok && b->ids != NULL && b->loss != NULL && b->half != NULL;
    for (int i = 0; ok && i < CELLS; i++)
        b->ids[i] = i % ROWS;
    for (int64_t i = 0; ok && i < BIG; i++)
        b->big[2][i] += 1.5f; /* second moments are positive */
    return ok;
}

/* -- attention: causal, one sequence of 256, 4 heads of 64 -- */

enum { T = 256, HEADS = 4, DIM = 64, LINE = HEADS * DIM };

typedef struct attention_bench {
    attention_call call;
    attention_gradient grad;
    const void *k[T / ATTENTION_BLOCK], *v[T / ATTENTION_BLOCK];
    int32_t position[T], first[T];
    status result;
} attention_bench;

static void run_attention(void *c) {
    attention_bench *b = c;
    status s = attention(&b->call, 1);
    if (b->result == STATUS_OK) b->result = s;
}
static void run_attention_backward(void *c) {
    attention_bench *b = c;
    status s = attention_backward(&b->call, &b->grad, 1);
    if (b->result == STATUS_OK) b->result = s;
}

static bool attention_setup(attention_bench *b, arena *memory) {
    float *a[9];
    for (int i = 0; i < 9; i++)
        if ((a[i] = bench_array(memory, T * LINE)) == NULL) return false;
    for (int i = 0; i < T; i++)
        b->position[i] = i;
    for (int i = 0; i < T / ATTENTION_BLOCK; i++) {
        b->k[i] = a[1] + i * ATTENTION_BLOCK * LINE;
        b->v[i] = a[2] + i * ATTENTION_BLOCK * LINE;
    }
    b->call = (attention_call){.t = DTYPE_F32,
                               .n_head = HEADS,
                               .n_kv_head = HEADS,
                               .qk_dim = DIM,
                               .v_dim = DIM,
                               .scale = 0.125,
                               .rows = T,
                               .position = b->position,
                               .first = b->first,
                               .q = a[0],
                               .ldq = LINE,
                               .k_block = b->k,
                               .v_block = b->v,
                               .ldk = LINE,
                               .ldv = LINE,
                               .n_keys = T,
                               .out = a[3],
                               .ldo = LINE,
                               .lse = a[4]};
    b->grad = (attention_gradient){.dout = a[5],
                                   .lddo = LINE,
                                   .dq = a[6],
                                   .lddq = LINE,
                                   .dk = a[7],
                                   .lddk = LINE,
                                   .dv = a[8],
                                   .lddv = LINE};
    return true;
}

static status attention_rows(bench_table *t, arena *memory, gemm_type products, double peak) {
    attention_bench *b = arena_zalloc(memory, sizeof *b);
    if (b == NULL || !attention_setup(b, memory)) return STATUS_MEMORY;
    b->call.products = products;
    const char *name = gemm_type_name(products);
    double pairs = (double)T * (T + 1) / 2 * HEADS * 2 * DIM;
    double forward = bench_best(run_attention, b, 0.2);
    double backward = bench_best(run_attention_backward, b, 0.2);
    TRY(b->result);
    TRY(bench_add(t, text("attention/%s/forward T256 H4 D64", name), pool_threads(),
                  2 * pairs / forward * 1e-9, "GFLOP/s", peak));
    return bench_add(t, text("attention/%s/backward T256 H4 D64", name), pool_threads(),
                     5 * pairs / backward * 1e-9, "GFLOP/s", peak);
}

static status elementwise_run(bench_table *t, arena *memory) {
    row_bench b;
    if (!rows_setup(&b, memory)) return STATUS_MEMORY;
    TRY(pool_start(1));
    for (size_t i = 0; i < sizeof row_benches / sizeof row_benches[0]; i++)
        TRY(bench_add(t, row_benches[i].name, 1,
                      bench_best(row_benches[i].run, &b, 0.1) / row_benches[i].elements * 1e9,
                      "ns/element", 0));
    int counts[2] = {1, pool_cpus()};
    for (int i = 0; i < 2 && (i == 0 || counts[1] > 1); i++) {
        static const gemm_type types[] = {GEMM_F32, GEMM_BF16_DOT};
        TRY(pool_start(counts[i]));
        for (int k = 0; k < 2; k++) {
            double peak;
            TRY(bench_peak(types[k], counts[i], &peak));
            TRY(attention_rows(t, memory, types[k], peak));
        }
    }
    return STATUS_OK;
}

status bench_elementwise(bench_table *t) {
    int threads = pool_threads();
    arena memory = {0};
    TRY(arena_init(&memory, "bench", (size_t)512 << 20));
    status s = elementwise_run(t, &memory);
    arena_clear(&memory);
    return s == STATUS_OK ? pool_start(threads) : s;
}
