/* param.c - parameter sets: description, memory, initialisation, packed copies.
 *
 * A set is described first (names and shapes, enough to count any size of model), then given memory
 * once. Masters and gradients have one layout: parameter after parameter in registration order.
 *
 * Initial values are a function of (seed, parameter name, element): the stream of a parameter is
 * keyed by a hash of its name, so adding a layer moves no other parameter. They are rounded to f32
 * in f64 sets too, which therefore hold the same model.
 *
 * Packed copies live in an arena that is reserved for the worst case (each matrix in both
 * directions, in its widest type and both kinds of bf16) and touched only as far as used. Asking for
 * another type than the last one packs again, into the same memory where it fits: evaluation in f32
 * beside training in bf16 takes two rooms per matrix, however often they alternate.
 *
 * Mind: addresses of parameters are stable; `packed` arrays are valid until the set is cleared,
 * their contents until the next param_packed of another type or version.
 */
#include "autograd/param.h"

#include "base/checked.h"
#include "base/rng.h"
#include "kernels/kernels.h"

#include <inttypes.h>
#include <string.h>

#define NAMES_LIMIT ((size_t)1 << 30) /* address space, not memory */
#define ALIGNMENT   64                /* of arena blocks (memory.h) */

/* -- life -- */

status param_set_init(param_set *s, dtype real) {
    memset(s, 0, sizeof *s);
    s->dtype = real;
    return arena_init(&s->names, "parameter names", NAMES_LIMIT);
}

void param_set_clear(param_set *s) {
    arena_clear(&s->names);
    arena_clear(&s->memory);
    arena_clear(&s->packs);
    arena_clear(&s->constants);
    mem_free(s->all);
    memset(s, 0, sizeof *s);
}

/* -- description -- */

static status remember(param_set *s, param *p) {
    bool full = s->n == 0 || (s->n & (s->n - 1)) == 0; /* room is the next power of two */
    if (full) {
        param **grown = mem_resize(s->all, s->n > 0 ? (size_t)s->n * 2 : 1, sizeof *grown);
        if (grown == NULL) return STATUS_MEMORY;
        s->all = grown;
    }
    s->all[s->n++] = p;
    return STATUS_OK;
}

static status set_dims(param *p, int64_t total, int rank, const int64_t *dims) {
    int64_t end;
    p->rank = rank;
    p->count = 1;
    for (int i = 0; i < 3; i++) {
        p->dim[i] = i < rank ? dims[i] : 1;
        if (p->dim[i] < 1 || !int64_mul(&p->count, p->count, p->dim[i]))
            return FAIL(F_OVERFLOW, text("parameter %s is too large or empty", p->name),
                        text("dimension %d is %" PRId64, i, p->dim[i]),
                        "its number of elements is no positive 64-bit number",
                        "check the numbers of the model configuration");
    }
    if (!int64_add(&end, total, p->count))
        return FAIL(F_OVERFLOW, "the model has too many parameters", p->name,
                    "their number does not fit 64 bits",
                    "check the numbers of the model configuration");
    return STATUS_OK;
}

param *param_add(param_set *s, param_kind kind, const char *name, int rank, const int64_t *dims,
                 double init_std) {
    param *p = arena_zalloc(&s->names, sizeof *p);
    char *copy = arena_strdup(&s->names, name);
    if (p == NULL || copy == NULL) return NULL;
    p->name = copy;
    p->kind = kind;
    p->init_std = init_std;
    p->offset = s->count;
    p->version = 1;
    if (set_dims(p, s->count, rank, dims) != STATUS_OK || remember(s, p) != STATUS_OK) return NULL;
    s->count += p->count;
    return p;
}

status param_add_view(param_set *s, param *p, const char *hf_name, int64_t first_row,
                      int64_t rows) {
    bool full = p->n_views == 0 || (p->n_views & (p->n_views - 1)) == 0;
    char *name = arena_strdup(&s->names, hf_name);
    if (name == NULL) return STATUS_MEMORY;
    if (full) {
        size_t room = p->n_views > 0 ? (size_t)p->n_views * 2 : 1;
        param_view *grown = arena_alloc(&s->names, room * sizeof *grown);
        if (grown == NULL) return STATUS_MEMORY;
        if (p->n_views > 0) memcpy(grown, p->views, (size_t)p->n_views * sizeof *grown);
        p->views = grown;
    }
    p->views[p->n_views++] = (param_view){name, first_row, rows};
    return STATUS_OK;
}

param *param_find(const param_set *s, const char *name) {
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->all[i]->name, name) == 0) return s->all[i];
    return NULL;
}

/* -- memory -- */

static void *at_offset(void *buffer, const param *p, dtype real) {
    return buffer == NULL ? NULL : (char *)buffer + (size_t)p->offset * dtype_size(real);
}

status param_set_allocate(param_set *s) {
    size_t bytes;
    if (!size_mul(&bytes, (size_t)s->count, dtype_size(s->dtype)))
        return FAIL(F_OVERFLOW, text("%" PRId64 " parameters are too many", s->count),
                    "memory of the model", "their bytes do not fit the address space",
                    "choose a smaller model");
    TRY(arena_init(&s->memory, "parameters", bytes));
    s->master = arena_alloc(&s->memory, bytes); /* fresh pages are zero */
    if (s->master == NULL) return STATUS_MEMORY;
    for (int i = 0; i < s->n; i++)
        s->all[i]->master = at_offset(s->master, s->all[i], s->dtype);
    return STATUS_OK;
}

bool param_is_held(const param *p) {
    return p->rank > 1 && p->kind != PARAM_ROUTER;
}

status param_set_hold(param_set *s) {
    size_t bytes = ALIGNMENT;
    for (int i = 0; i < s->n; i++)
        if (!param_is_held(s->all[i]))
            bytes += (size_t)s->all[i]->count * dtype_size(s->dtype) + ALIGNMENT;
    TRY(arena_init(&s->memory, "small parameters", bytes));
    for (int i = 0; i < s->n; i++) {
        param *p = s->all[i];
        if (param_is_held(p)) continue;
        p->master = arena_zalloc(&s->memory, (size_t)p->count * dtype_size(s->dtype));
        if (p->master == NULL) return STATUS_MEMORY;
    }
    return STATUS_OK;
}

void param_set_gradients(param_set *s, void *buffer) {
    s->grad = buffer;
    for (int i = 0; i < s->n; i++)
        s->all[i]->grad = at_offset(buffer, s->all[i], s->dtype);
}

void param_changed(param *p) {
    p->version++;
}

void param_set_changed(param_set *s) {
    for (int i = 0; i < s->n; i++)
        param_changed(s->all[i]);
}

/* -- initialisation -- */

static uint64_t name_hash(const char *name) { /* FNV-1a, 64 bits */
    uint64_t h = 0xCBF29CE484222325u;
    for (; *name != '\0'; name++)
        h = (h ^ (uint8_t)*name) * 0x100000001B3u;
    return h;
}

static float initial_value(const param *p, rng r, int64_t i) {
    if (p->init_std > 0) return (float)(p->init_std * rng_normal(r, (uint64_t)i));
    return p->kind == PARAM_VECTOR ? 1.0f : 0.0f;
}

void param_set_initialise(param_set *s, uint64_t seed) {
    for (int k = 0; k < s->n; k++) {
        param *p = s->all[k];
        rng r = rng_at(seed, RNG_INIT, name_hash(p->name));
        for (int64_t i = 0; i < p->count; i++) {
            float value = initial_value(p, r, i);
            if (s->dtype == DTYPE_F64)
                ((double *)p->master)[i] = (double)value;
            else
                ((float *)p->master)[i] = value;
        }
        param_changed(p);
    }
}

/* -- packed copies -- */

/* The stacked matrices of p as B: `in` and `out` of one, and how many. */
typedef struct stack {
    int64_t in, out, n;
} stack;

static stack stack_of(const param *p) {
    stack m = {p->dim[p->rank - 1], p->rank > 1 ? p->dim[p->rank - 2] : 1, 1};
    m.n = p->count / (m.in * m.out);
    return m;
}

static size_t room_of(gemm_type type, const stack *m) {
    size_t bytes = packed_bytes(type, m->out, m->in) + packed_bytes(type, m->in, m->out);
    return (size_t)m->n * (bytes + 2 * ALIGNMENT);
}

/* Blocks of heads, in the widest type, padded to strips and groups of k: at most what heads of one row
 * each would take. Address space, not memory. */
static size_t blocks_room(const stack *m) {
    size_t in = (size_t)m->in + 64, out = (size_t)m->out;
    return 64 * in * (out + 64) * sizeof(double);
}

static status packs_init(param_set *s) {
    if (s->packs.base != NULL) return STATUS_OK;
    size_t bytes = ALIGNMENT;
    for (int i = 0; i < s->n; i++) {
        if (s->all[i]->rank < 2) continue;
        stack m = stack_of(s->all[i]);
        bytes += room_of(s->dtype == DTYPE_F64 ? GEMM_F64 : GEMM_F32, &m) + room_of(GEMM_BF16, &m) +
                 room_of(GEMM_BF16_DOT, &m);
        bytes += 2 * ((size_t)m.n * sizeof(packed_matrix) + ALIGNMENT);
        if (m.n == 1) bytes += blocks_room(&m); /* param_head_blocks */
    }
    return arena_init(&s->packs, "packed parameters", bytes);
}

/* Room for p's copies in this direction as `type`; contents stale. Types change only when all have
 * room, so that a failure leaves the old copies whole. */
static status packs_shape(param_set *s, param *p, int direction, gemm_type type) {
    stack m = stack_of(p);
    packed_matrix *packs = p->packed[direction];
    if (packs == NULL) packs = arena_zalloc(&s->packs, (size_t)m.n * sizeof *packs);
    if (packs == NULL) return STATUS_MEMORY;
    int64_t n = direction == PACK_FORWARD ? m.out : m.in, k = m.in + m.out - n;
    size_t bytes = packed_bytes(type, n, k);
    for (int64_t i = 0; i < m.n; i++) {
        if (packs[i].data != NULL && bytes <= p->packed_room[direction]) continue;
        packs[i].data = arena_alloc(&s->packs, bytes);
        if (packs[i].data == NULL) return STATUS_MEMORY;
        p->packed_version[direction] = 0;
    }
    for (int64_t i = 0; i < m.n; i++)
        packs[i] = (packed_matrix){.type = type, .n = n, .k = k, .data = packs[i].data};
    if (bytes > p->packed_room[direction]) p->packed_room[direction] = bytes;
    p->packed[direction] = packs;
    p->packed_version[direction] = 0;
    return STATUS_OK;
}

static void packs_fill(const param_set *s, param *p, int direction) {
    stack m = stack_of(p);
    size_t bytes = (size_t)(m.in * m.out) * dtype_size(s->dtype);
    bool forward = direction == PACK_FORWARD; /* B[k][n] = w[n][k], else w[k][n] */
    for (int64_t i = 0; i < m.n; i++)
        gemm_pack(&p->packed[direction][i], (const char *)p->master + (size_t)i * bytes,
                  forward ? m.in : 1, forward ? 1 : m.in);
    p->packed_version[direction] = p->version;
}

/* -- matrices that live packed -- */

status param_hold(param_set *s, param *p, gemm_type type) {
    TRY(packs_init(s));
    TRY(packs_shape(s, p, PACK_FORWARD, type));
    p->packed_version[PACK_FORWARD] = p->version;
    p->held = true;
    return STATUS_OK;
}

int64_t param_held_bytes(const param *p, gemm_type type) {
    if (!param_is_held(p)) return p->count * (int64_t)sizeof(float) * (p->rank > 1 ? 2 : 1);
    return p->count * (type == GEMM_F32 ? 4 : 2);
}

/* The source of a stacked matrix counts rows from its beginning. */
typedef struct stacked_source {
    gemm_row_source *rows;
    void *context;
    int64_t before;
} stacked_source;

static status stacked_rows(void *context, int64_t first, int n, void *room, const void **rows) {
    const stacked_source *s = context;
    return s->rows(s->context, s->before + first, n, room, rows);
}

status param_hold_rows(param *p, int64_t first, int64_t count, size_t size, gemm_row_source *rows,
                       void *context) {
    stack m = stack_of(p);
    stacked_source from = {rows, context, first / m.out * m.out};
    return gemm_pack_rows(&p->packed[PACK_FORWARD][first / m.out], first % m.out, count, size,
                          stacked_rows, &from);
}

void param_gather(const param_set *s, const param *p, int64_t n, const int32_t *ids, void *y) {
    if (!p->held) {
        gather_rows(s->dtype, n, p->dim[1], p->master, ids, y);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        gemm_unpack_row(p->packed[PACK_FORWARD], ids[i], (float *)y + i * p->dim[1]);
}

static status held_backward(const param *p) {
    return FAIL(F_INTERNAL, "a gradient through weights that are only read", p->name,
                "the model was opened for inference and has no masters", "report this as a bug");
}

status param_packed(param_set *s, param *p, int direction, gemm_type type,
                    const packed_matrix **all_matrices) {
    if (p->held && direction != PACK_FORWARD) return held_backward(p);
    if (p->held) { /* in the type of its file, whatever is asked for */
        *all_matrices = p->packed[PACK_FORWARD];
        return STATUS_OK;
    }
    TRY(packs_init(s));
    if (p->packed[direction] == NULL || p->packed[direction][0].type != type)
        TRY(packs_shape(s, p, direction, type));
    if (p->packed_version[direction] != p->version) packs_fill(s, p, direction);
    *all_matrices = p->packed[direction];
    return STATUS_OK;
}

/* -- blocks of heads -- */

static size_t block_bytes(gemm_type type, int64_t n, int64_t k) {
    return size_round_up(packed_bytes(type, n, k), ALIGNMENT);
}

/* Arrays of the 2 H matrices, with room for the widest type. */
static status blocks_shape(param_set *s, param *p, const head_blocks *h) {
    gemm_type wide = s->dtype == DTYPE_F64 ? GEMM_F64 : GEMM_F32;
    int64_t kr = p->dim[1];
    if (p->blocks != NULL) return STATUS_OK;
    size_t bytes[2] = {block_bytes(wide, kr, h->key_rows), block_bytes(wide, h->value_rows, kr)};
    size_t half[2] = {block_bytes(GEMM_BF16, kr, h->key_rows),
                      block_bytes(GEMM_BF16, h->value_rows, kr)};
    packed_matrix *all = arena_zalloc(&s->packs, (size_t)(2 * h->n_head) * sizeof *all);
    if (all == NULL) return STATUS_MEMORY;
    for (int64_t i = 0; i < 2 * h->n_head; i++) {
        int kind = i >= h->n_head;
        all[i].data = arena_alloc(&s->packs, bytes[kind] > half[kind] ? bytes[kind] : half[kind]);
        if (all[i].data == NULL) return STATUS_MEMORY;
    }
    p->blocks = all;
    p->blocks_version = 0;
    return STATUS_OK;
}

/* The rows of head i as reals: in the masters, or read back into `room`. */
static const void *head_rows(const param_set *s, const param *p, int64_t i, int64_t rows,
                             float *room) {
    int64_t kr = p->dim[1];
    if (!p->held) return (const char *)p->master + (size_t)(i * rows * kr) * dtype_size(s->dtype);
    for (int64_t j = 0; j < rows; j++)
        gemm_unpack_row(p->packed[PACK_FORWARD], i * rows + j, room + j * kr);
    return room;
}

static status blocks_fill(param_set *s, param *p, const head_blocks *h, gemm_type type) {
    int64_t kr = p->dim[1], rows = h->key_rows + h->value_rows;
    float *room = p->held ? mem_alloc((size_t)(rows * kr) * sizeof *room) : NULL;
    if (p->held && room == NULL) return STATUS_MEMORY;
    for (int64_t i = 0; i < h->n_head; i++) {
        packed_matrix *key = &p->blocks[i], *value = &p->blocks[h->n_head + i];
        const char *from = head_rows(s, p, i, rows, room);
        *key = (packed_matrix){.type = type, .n = kr, .k = h->key_rows, .data = key->data};
        *value = (packed_matrix){.type = type, .n = h->value_rows, .k = kr, .data = value->data};
        gemm_pack(key, from, 1, kr);
        gemm_pack(value, from + (size_t)(h->key_rows * kr) * dtype_size(s->dtype), kr, 1);
    }
    mem_free(room);
    p->blocks_version = p->version;
    return STATUS_OK;
}

status param_head_blocks(param_set *s, param *p, const head_blocks *h, gemm_type type,
                         const packed_matrix **blocks) {
    if (p->held) type = p->packed[PACK_FORWARD]->type;
    TRY(packs_init(s));
    TRY(blocks_shape(s, p, h));
    if (p->blocks_version != p->version || p->blocks[0].type != type)
        TRY(blocks_fill(s, p, h, type));
    *blocks = p->blocks;
    return STATUS_OK;
}
