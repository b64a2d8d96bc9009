/* bench_gemm.c - products as training and decoding call them, against the peak of their type.
 *
 * Floor: the register-resident peak of the tier in force (bench_floors.c), measured in the same
 * run. f32 forward, input gradient and weight gradient (whose activations are packed on the way)
 * of layers between 256 and 1024 wide, and the few-row products of decoding, where the floor is
 * memory rather than arithmetic and the ratio therefore low. Experts' grouped products have one dense
 * product of equal work as their floor.
 */
#include "kernels/bench_internal.h"

#include <string.h>

typedef struct product_job {
    gemm_call *calls;      /* [groups] */
    packed_matrix *packed; /* [groups] */
    int groups;
    status result; /* the first failure */
} product_job;

static void product_run(void *context) {
    product_job *j = context;
    status s = j->groups == 1 ? gemm(j->calls) : gemm_grouped(j->calls, j->groups);
    if (j->result == STATUS_OK) j->result = s;
}

/* Layer of k inputs and n outputs over m tokens; dy is [m, n], x is [m, k], W is [n, k]. */
static status product_setup(const product_shape *s, arena *memory, packed_matrix *packed,
                            gemm_call *call) {
    *call = (gemm_call){.type = s->type,
                        .m = s->m,
                        .n = s->n,
                        .k = s->k,
                        .a_stride_k = 1,
                        .a_stride_m = s->k,
                        .b = packed};
    if (s->role == PRODUCT_INPUT_GRADIENT) {
        call->n = s->k;
        call->k = s->n;
        call->a_stride_m = s->n;
        call->accumulate = true;
    } else if (s->role == PRODUCT_WEIGHT_GRADIENT) {
        call->m = s->n;
        call->n = s->k;
        call->k = s->m;
        call->a_stride_m = 1;
        call->a_stride_k = s->n;
        call->b = NULL;
        call->b_stride_n = 1;
        call->b_stride_k = s->k;
        call->accumulate = true;
    }
    call->ldc = call->n;
    float *a = bench_array(memory, call->m * call->k);
    float *b = bench_array(memory, call->n * call->k);
    float *c = bench_array(memory, call->m * call->n);
    if (a == NULL || b == NULL || c == NULL) return STATUS_MEMORY;
    call->a = a;
    call->c = c;
    call->b_raw = b;
    if (s->role == PRODUCT_WEIGHT_GRADIENT) return STATUS_OK;
    *packed = (packed_matrix){.type = s->type, .n = call->n, .k = call->k};
    packed->data = arena_alloc(memory, packed_bytes(s->type, call->n, call->k));
    if (packed->data == NULL) return STATUS_MEMORY;
    if (s->role == PRODUCT_FORWARD)
        gemm_pack(packed, b, call->k, 1);
    else
        gemm_pack(packed, b, 1, call->n);
    return STATUS_OK;
}

static status product_measure(const product_shape *shape, arena *memory, double budget,
                              double *seconds) {
    int groups = shape->groups > 1 ? shape->groups : 1;
    product_job job = {.groups = groups, .result = STATUS_OK};
    job.calls = arena_zalloc(memory, (size_t)groups * sizeof *job.calls);
    job.packed = arena_zalloc(memory, (size_t)groups * sizeof *job.packed);
    if (job.calls == NULL || job.packed == NULL) return STATUS_MEMORY;
    for (int g = 0; g < groups; g++)
        TRY(product_setup(shape, memory, &job.packed[g], &job.calls[g]));
    *seconds = bench_best(product_run, &job, budget);
    return job.result;
}

status bench_product(const product_shape *shape, double budget, double *seconds) {
    size_t m = (size_t)shape->m, n = (size_t)shape->n, k = (size_t)shape->k;
    size_t groups = shape->groups > 1 ? (size_t)shape->groups : 1;
    size_t each = (m * k + 2 * n * k + m * n + 64 * (n + k)) * 8 + 4096;
    arena memory = {0};
    TRY(arena_init(&memory, "bench", groups * each + ((size_t)1 << 20)));
    status s = product_measure(shape, &memory, budget, seconds);
    arena_clear(&memory);
    return s;
}

static const char *const role_names[] = {"forward", "dX", "dW"};

static double operations(const product_shape *s) {
    int groups = s->groups > 1 ? s->groups : 1;
    return 2.0 * (double)s->m * (double)s->n * (double)s->k * groups;
}

static status product_row(bench_table *t, const product_shape *s, double peak) {
    double seconds;
    TRY(bench_product(s, 0.15, &seconds));
    const char *name = text("gemm/%s/%s m%d n%d k%d", gemm_type_name(s->type), role_names[s->role],
                            (int)s->m, (int)s->n, (int)s->k);
    return bench_add(t, name, pool_threads(), operations(s) / seconds * 1e-9, "GFLOP/s", peak);
}

/* Eight experts in one call; the floor is one dense product over as many tokens. */
static status grouped_row(bench_table *t, gemm_type type, product_role role) {
    product_shape dense = {type, role, 2048, 512, 512, 1}, experts = {type, role, 256, 512, 512, 8};
    double one, many;
    TRY(bench_product(&dense, 0.15, &one));
    TRY(bench_product(&experts, 0.15, &many));
    const char *name =
        text("gemm/%s/%s 8 experts of m256 n512 k512", gemm_type_name(type), role_names[role]);
    return bench_add(t, name, pool_threads(), operations(&experts) / many * 1e-9, "GFLOP/s",
                     operations(&dense) / one * 1e-9);
}

static status shape_rows(bench_table *t, gemm_type type) {
    static const int64_t layers[][3] = {{2048, 1024, 256}, {4096, 768, 768}, {256, 512, 512}};
    static const int64_t few[] = {1, 8, 64};
    double peak;
    TRY(bench_peak(type, pool_threads(), &peak));
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++)
        for (product_role role = PRODUCT_FORWARD; role < PRODUCT_ROLES; role++)
            TRY(product_row(
                t, &(product_shape){type, role, layers[i][0], layers[i][1], layers[i][2], 1},
                peak));
    for (product_role role = PRODUCT_FORWARD; role < PRODUCT_ROLES; role++)
        TRY(grouped_row(t, type, role));
    for (size_t i = 0; i < sizeof few / sizeof few[0]; i++)
        TRY(product_row(t, &(product_shape){type, PRODUCT_FORWARD, few[i], 1024, 512, 1}, peak));
    return STATUS_OK;
}

static status gemm_rows(bench_table *t) {
    int counts[2] = {1, pool_cpus()};
    for (int i = 0; i < 2 && (i == 0 || counts[1] > 1); i++) {
        TRY(pool_start(counts[i]));
        TRY(shape_rows(t, GEMM_F32));
        TRY(shape_rows(t, GEMM_BF16));
        TRY(shape_rows(t, GEMM_BF16_DOT));
    }
    return STATUS_OK;
}

status bench_gemm(bench_table *t) {
    int threads = pool_threads();
    TRY(gemm_rows(t));
    return pool_start(threads);
}
