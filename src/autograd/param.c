/* param.c - parameter sets: description, memory, initialisation, packed copies. */
#include "autograd/param.h"

#include "base/checked.h"
#include "base/rng.h"

#include <inttypes.h>
#include <string.h>

#define NAMES_LIMIT  ((size_t)1 << 30)
#define MAX_PARAMS   (1 << 20)

status param_set_init(param_set *s, dtype real) {
    memset(s, 0, sizeof *s);
    s->dtype = real;
    return arena_init(&s->names, "parameter names", NAMES_LIMIT);
}

void param_set_clear(param_set *s) {
    arena_clear(&s->names);
    arena_clear(&s->memory);
    arena_clear(&s->packs);
    mem_free(s->all);
    memset(s, 0, sizeof *s);
}

static status remember(param_set *s, param *p) {
    if ((s->n & (s->n - 1)) == 0) { /* room is a power of two */
        param **grown = mem_resize(s->all, s->n > 0 ? (size_t)s->n * 2 : 1, sizeof *grown);
        if (grown == NULL) return STATUS_MEMORY;
        s->all = grown;
    }
    s->all[s->n++] = p;
    return STATUS_OK;
}

param *param_add(param_set *s, param_kind kind, const char *name, int rank, const int64_t *dims,
                 double init_std) {
    param *p = arena_zalloc(&s->names, sizeof *p);
    if (p == NULL) return NULL;
    p->name = arena_strdup(&s->names, name);
    p->kind = kind;
    p->rank = rank;
    p->init_std = init_std;
    p->count = 1;
    for (int i = 0; i < 3; i++) {
        p->dim[i] = i < rank ? dims[i] : 1;
        if (p->dim[i] >= 0 && int64_mul(&p->count, p->count, p->dim[i])) continue;
        status ignored = FAIL(F_OVERFLOW, text("parameter %s is too large", name), name,
                              text("dimension %d is %" PRId64, i, p->dim[i]),
                              "check the numbers of the model configuration");
        (void)ignored;
        return NULL;
    }
    p->offset = s->count;
    p->version = 1;
    if (p->name == NULL || s->n >= MAX_PARAMS || remember(s, p) != STATUS_OK) return NULL;
    s->count += p->count;
    return p;
}

status param_add_view(param_set *s, param *p, const char *hf_name, int64_t first_row,
                      int64_t rows) {
    param_view *grown = arena_alloc(&s->names, (size_t)(p->n_views + 1) * sizeof *grown);
    char *name = arena_strdup(&s->names, hf_name);
    if (grown == NULL || name == NULL) return STATUS_MEMORY;
    if (p->n_views > 0) memcpy(grown, p->views, (size_t)p->n_views * sizeof *grown);
    grown[p->n_views] = (param_view){name, first_row, rows};
    p->views = grown;
    p->n_views++;
    return STATUS_OK;
}

status param_set_allocate(param_set *s) {
    size_t size = dtype_size(s->dtype), bytes;
    if (!size_mul(&bytes, (size_t)s->count, size))
        return FAIL(F_OVERFLOW, text("%" PRId64 " parameters", s->count), "parameters",
                    "their bytes do not fit the address space", "choose a smaller model");
    TRY(arena_init(&s->memory, "parameters", bytes + 64));
    s->master = arena_alloc(&s->memory, bytes); /* fresh pages are zero */
    if (s->master == NULL) return STATUS_MEMORY;
    for (int i = 0; i < s->n; i++)
        s->all[i]->master = (char *)s->master + (size_t)s->all[i]->offset * size;
    return STATUS_OK;
}

static uint64_t name_hash(const char *name) { /* FNV-1a, 64 bits */
    uint64_t h = 0xCBF29CE484222325u;
    for (; *name != '\0'; name++) h = (h ^ (uint8_t)*name) * 0x100000001B3u;
    return h;
}

static void param_initialise(const param_set *s, param *p, uint64_t seed) {
    rng r = rng_at(seed ^ name_hash(p->name), RNG_INIT, 0);
    bool ones = p->kind == PARAM_VECTOR && p->init_std == 0;
    for (int64_t i = 0; i < p->count; i++) {
        double value = ones ? 1.0 : p->init_std > 0 ? p->init_std * rng_normal(r, (uint64_t)i) : 0.0;
        if (s->dtype == DTYPE_F64)
            ((double *)p->master)[i] = (double)(float)value; /* the f32 model, exactly */
        else
            ((float *)p->master)[i] = (float)value;
    }
    param_changed(p);
}

void param_set_initialise(param_set *s, uint64_t seed) {
    for (int i = 0; i < s->n; i++) param_initialise(s, s->all[i], seed);
}

void param_set_gradients(param_set *s, void *buffer) {
    s->grad = buffer;
    for (int i = 0; i < s->n; i++)
        s->all[i]->grad = buffer == NULL
                              ? NULL
                              : (char *)buffer + (size_t)s->all[i]->offset * dtype_size(s->dtype);
}

param *param_find(const param_set *s, const char *name) {
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->all[i]->name, name) == 0) return s->all[i];
    return NULL;
}

void param_changed(param *p) { p->version++; }
void param_set_changed(param_set *s) {
    for (int i = 0; i < s->n; i++) s->all[i]->version++;
}

/* Room for both copies in f32 and bf16 of every matrix, reserved once; touched as used. */
static status packs_init(param_set *s) {
    if (s->packs.base != NULL) return STATUS_OK;
    size_t bytes = 0;
    for (int i = 0; i < s->n; i++) {
        const param *p = s->all[i];
        if (p->rank < 2) continue;
        int64_t in = p->dim[p->rank - 1], out = p->dim[p->rank - 2];
        size_t n = (size_t)(p->count / (in * out > 0 ? in * out : 1));
        gemm_type widest = s->dtype == DTYPE_F64 ? GEMM_F64 : GEMM_F32;
        size_t one = packed_bytes(widest, out, in) + packed_bytes(widest, in, out) +
                     packed_bytes(GEMM_BF16, out, in) + packed_bytes(GEMM_BF16, in, out);
        bytes += n * (one + 4 * 64) + 4 * n * sizeof(packed_matrix) + 256;
    }
    return arena_init(&s->packs, "packed parameters", bytes + 4096);
}

status param_packed(param_set *s, param *p, int direction, gemm_type type,
                    const packed_matrix **all_matrices) {
    int64_t in = p->dim[p->rank - 1], out = p->dim[p->rank - 2], n = p->count / (in * out);
    TRY(packs_init(s));
    packed_matrix *packs = p->packed[direction];
    bool made = packs != NULL && packs[0].type == type;
    if (!made) {
        packs = arena_zalloc(&s->packs, (size_t)n * sizeof *packs);
        if (packs == NULL) return STATUS_MEMORY;
        for (int64_t i = 0; i < n; i++) {
            packs[i].type = type;
            packs[i].n = direction == PACK_FORWARD ? out : in;
            packs[i].k = direction == PACK_FORWARD ? in : out;
            packs[i].data = arena_alloc(&s->packs, packed_bytes(type, packs[i].n, packs[i].k));
            if (packs[i].data == NULL) return STATUS_MEMORY;
        }
        p->packed[direction] = packs;
        p->packed_version[direction] = 0;
    }
    if (p->packed_version[direction] != p->version) {
        size_t size = dtype_size(s->dtype);
        for (int64_t i = 0; i < n; i++) {
            const char *w = (const char *)p->master + (size_t)(i * in * out) * size;
            gemm_pack(&packs[i], w, direction == PACK_FORWARD ? in : 1,
                      direction == PACK_FORWARD ? 1 : in);
        }
        p->packed_version[direction] = p->version;
    }
    *all_matrices = packs;
    return STATUS_OK;
}
