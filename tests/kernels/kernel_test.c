/* Shapes, fills and comparisons shared by the kernel tests. */
#include "kernel_test.h"

#include "kernels/amx_standin.h"
#include "kernels/kernels_internal.h"

extern const product_kernels product_amx_standin;

void *zero_array(dtype t, int64_t n) {
    void *p = mem_zalloc((size_t)n + 16, t == DTYPE_F64 ? 8 : 4);
    if (p == NULL) {
        fprintf(stderr, "no memory for the test\n");
        exit(2);
    }
    return p;
}

void *random_array(dtype t, int64_t n, uint64_t seed) {
    void *p = zero_array(t, n);
    rng r = rng_at(seed, RNG_TEST, 0);
    for (int64_t i = 0; i < n; i++)
        set(t, p, i, (double)(float)(2 * rng_uniform(r, (uint64_t)i) - 1));
    return p;
}

double get(dtype t, const void *array, int64_t i) {
    return real_get(t, array, i);
}
void set(dtype t, void *array, int64_t i, double value) {
    real_set(t, array, i, value);
}
size_t bytes_of(dtype t, int64_t n) {
    return (size_t)n * (t == DTYPE_F64 ? 8 : 4);
}
bool same(const void *a, const void *b, size_t bytes) {
    return memcmp(a, b, bytes) == 0;
}

double *as_double(dtype t, const void *array, int64_t n) {
    double *p = zero_array(DTYPE_F64, n);
    for (int64_t i = 0; i < n; i++)
        p[i] = get(t, array, i);
    return p;
}

double distance(dtype ta, const void *a, dtype tb, const void *b, int64_t n) {
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = get(ta, a, i), y = get(tb, b, i);
        double d = fabs(x - y) / (1 + fabs(y));
        if (!(d <= worst)) worst = d; /* NaN is the worst */
    }
    return worst;
}

int random_int(uint64_t seed, int low, int high) {
    return low + (int)rng_below(rng_at(seed, RNG_TEST, 1), 0, (uint64_t)(high - low + 1));
}

void use_threads(int n) {
    if (pool_start(n) != STATUS_OK) {
        error_print(stdout, error_last());
        exit(2);
    }
}

const char *tier_label(int tier) {
    if (tier == TIER_COUNT) return "amx stand-in beside portable";
    return tier > TIER_COUNT ? "amx stand-in beside the best tier" : tier_name((cpu_tier)tier);
}

static bool use_standin(cpu_tier beside) {
    static tier_kernels table;
    if (kernels_init(tier_name(beside)) != STATUS_OK) return false;
    table = *kernels_table();
    product_kernels on_tiles = product_amx_standin;
    on_tiles.pack_strip = table.bf16.pack_strip;
    table.bf16 = on_tiles;
    kernels_use_table(&table);
    return true;
}

bool use_tier(int tier) {
    use_threads(pool_threads());
    if (tier >= TIER_COUNT)
        return use_standin(tier == TIER_COUNT ? TIER_PORTABLE : kernels_best_tier());
    if (!kernels_offer((cpu_tier)tier)) return false;
    return kernels_init(tier_name((cpu_tier)tier)) == STATUS_OK;
}

void amx_standin_clear(void) {
    atomic_store(&amx_standin_faults, 0);
}
int64_t amx_standin_fault_count(void) {
    return atomic_load(&amx_standin_faults);
}
