/* gguf.c - the reader: from an untrusted file to its keys and tensors.
 *
 * What: a GGUF file is one pass of fields: "GGUF", version, numbers of tensors and keys, the keys
 * with their values, the descriptions of the tensors, padding to the alignment, data. Every length
 * and count is compared with the bytes that are left before anything is read or allocated by it.
 *
 * How: a cursor walks the file once and fails at the byte where a field cannot be what it claims.
 *
 *     prologue -> values[] (file order) -> tensors[] (file order) -> data ranges -> sorted indexes
 *
 * Versions 2 and 3 have the same fields (3 allows big-endian files, which are told by their version
 * word and refused). A tensor must begin where the one before it ended, padded to the alignment, so
 * holes and overlaps cannot be; the end of the file may lack or have the padding of the last tensor,
 * nothing else. Lists of lists do not occur in files and are refused.
 *
 * Mind: a count is trusted only as far as the file is long: the smallest key takes 13 bytes (an
 * empty name is refused later), the smallest tensor 24. Names are copied, to end in NUL; values and
 * data stay in the mapping. Floats in the table of keys are little-endian at any address.
 */
#include "tensor/gguf.h"

#include "base/checked.h"
#include "base/ending.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

#define ENTRIES_MAX   1000000 /* keys, tensors */
#define KEY_MAX       65535
#define NAME_MAX_SIZE 64 /* with its NUL */
#define STRING_MAX    ((uint64_t)1 << 30)
#define LIST_MAX      ((uint64_t)1 << 30)
#define ALIGNMENT_MAX (1 << 20)
#define ALIGNMENT     32 /* without the key */
#define SMALLEST_KEY  (8 + 4 + 1)
#define SMALLEST_INFO (8 + 4 + 4 + 8)
#define NAME_SHOWN    200
#define STRINGS_LIMIT ((size_t)1 << 36) /* address space, not memory */

struct gguf {
    mapped_file map; /* zero for bytes in memory */
    char *path;
    const uint8_t *bytes;
    size_t n;
    gguf_value *values;
    gguf_tensor *tensors;
    int n_values, n_tensors;
    const gguf_value **by_key; /* sorted */
    const gguf_tensor **by_name;
    arena strings; /* keys, names, string values that were asked for; each with its NUL */
};

static const uint8_t value_size[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
    [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
};
static const char *const type_words[GGUF_TYPE_COUNT] = {
    "an 8-bit count",    "an 8-bit integer", "a 16-bit count", "a 16-bit integer",
    "a 32-bit count",    "a 32-bit integer", "a number",       "a truth value",
    "a string",          "a list",           "a 64-bit count", "a 64-bit integer",
    "a number in double"};

/* Where the walk is, and what it is reading, for messages. */
typedef struct cursor {
    gguf *f;
    size_t at;
    const char *what; /* "the header", "key \"x\"", "tensor \"x\"" */
} cursor;

/* ---- messages ---- */

static status bad(const cursor *c, size_t at, const char *why) {
    return FAIL(F_GGUF, text("%s: %s is not stored as it should be", c->f->path, c->what),
                text("byte %zu", at), why,
                "fetch the file again, or write it again with the program it came from");
}

static status cut(const cursor *c, uint64_t wanted) {
    return FAIL(F_GGUF_LENGTH, text("%s ends inside %s", c->f->path, c->what),
                text("byte %zu of %zu", c->at, c->f->n),
                text("%" PRIu64 " more bytes belong here, %zu are left", wanted, c->f->n - c->at),
                "fetch or copy the file again");
}

static const char *shown(const char *kind, const char *name) {
    return text("%s \"%.*s\"", kind, NAME_SHOWN, name);
}

/* ---- fields ---- */

static status need(const cursor *c, uint64_t bytes) {
    return bytes <= c->f->n - c->at ? STATUS_OK : cut(c, bytes);
}

static status take(cursor *c, void *out, size_t bytes) {
    TRY(need(c, bytes));
    memcpy(out, c->f->bytes + c->at, bytes);
    c->at += bytes;
    return STATUS_OK;
}

/* A copy that ends in NUL; NULL without memory. */
static const char *keep_string(gguf *f, const void *bytes, size_t n) {
    char *copy = arena_alloc(&f->strings, n + 1);
    if (copy == NULL) return NULL;
    memcpy(copy, bytes, n);
    copy[n] = '\0';
    return copy;
}

/* A name of at most `most` bytes, copied with its NUL. */
static status take_name(cursor *c, size_t most, const char **out) {
    size_t at = c->at;
    uint64_t n;
    TRY(take(c, &n, sizeof n));
    if (n > most)
        return bad(c, at, text("its name claims %" PRIu64 " bytes, %zu are allowed", n, most));
    TRY(need(c, n));
    const uint8_t *bytes = c->f->bytes + c->at;
    if (n == 0) return bad(c, at, "its name is empty");
    size_t valid = utf8_valid(bytes, (size_t)n);
    if (valid < n) return bad(c, c->at + valid, "its name is not UTF-8");
    const uint8_t *nul = memchr(bytes, 0, (size_t)n);
    if (nul != NULL) return bad(c, c->at + (size_t)(nul - bytes), "its name contains a zero byte");
    c->at += (size_t)n;
    *out = keep_string(c->f, bytes, (size_t)n);
    return *out != NULL ? STATUS_OK : STATUS_MEMORY;
}

static status skip_string(cursor *c) {
    size_t at = c->at;
    uint64_t n;
    TRY(take(c, &n, sizeof n));
    if (n > STRING_MAX)
        return bad(c, at, text("a string claims %" PRIu64 " bytes; none is longer than 1 GiB", n));
    TRY(need(c, n));
    c->at += (size_t)n;
    return STATUS_OK;
}

static status check_bools(const cursor *c, const uint8_t *data, uint64_t n) {
    for (uint64_t i = 0; i < n; i++)
        if (data[i] > 1)
            return bad(c, (size_t)(data - c->f->bytes) + (size_t)i,
                       text("a truth value is stored as %u, not as 0 or 1", data[i]));
    return STATUS_OK;
}

/* ---- keys ---- */

static status take_type(cursor *c, bool in_list, gguf_type *out) {
    size_t at = c->at;
    uint32_t type;
    TRY(take(c, &type, sizeof type));
    if (type >= GGUF_TYPE_COUNT)
        return bad(c, at,
                   text("its type is %" PRIu32 ", types end at %d", type, GGUF_TYPE_COUNT - 1));
    if (in_list && type == GGUF_LIST) return bad(c, at, "it is a list of lists");
    *out = (gguf_type)type;
    return STATUS_OK;
}

static status take_elements(cursor *c, gguf_value *v) {
    if (v->element == GGUF_STRING) {
        for (int64_t i = 0; i < v->count; i++)
            TRY(skip_string(c));
        return STATUS_OK;
    }
    uint64_t bytes = (uint64_t)v->count * value_size[v->element]; /* count <= 2^30 */
    TRY(need(c, bytes));
    if (v->element == GGUF_BOOL) TRY(check_bools(c, c->f->bytes + c->at, bytes));
    c->at += (size_t)bytes;
    return STATUS_OK;
}

static status take_value(cursor *c, gguf_value *v) {
    TRY(take_type(c, false, &v->type));
    v->element = v->type;
    v->count = 1;
    if (v->type == GGUF_LIST) {
        TRY(take_type(c, true, &v->element));
        size_t at = c->at;
        uint64_t count;
        TRY(take(c, &count, sizeof count));
        if (count > LIST_MAX)
            return bad(c, at,
                       text("its list claims %" PRIu64 " elements; 2^30 are allowed", count));
        v->count = (int64_t)count;
    }
    v->data = c->f->bytes + c->at;
    TRY(take_elements(c, v));
    v->bytes = (size_t)(c->f->bytes + c->at - v->data);
    return STATUS_OK;
}

static int value_order(const void *a, const void *b) {
    const gguf_value *const *x = a, *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}
static int tensor_order(const void *a, const void *b) {
    const gguf_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static status index_values(cursor *c) {
    gguf *f = c->f;
    f->by_key = mem_zalloc((size_t)f->n_values + 1, sizeof(void *));
    if (f->by_key == NULL) return STATUS_MEMORY;
    for (int i = 0; i < f->n_values; i++)
        f->by_key[i] = &f->values[i];
    qsort(f->by_key, (size_t)f->n_values, sizeof(void *), value_order);
    for (int i = 1; i < f->n_values; i++) {
        const gguf_value *a = f->by_key[i - 1], *b = f->by_key[i];
        if (strcmp(a->key, b->key) != 0) continue;
        c->what = shown("key", a->key);
        return bad(c, a->at > b->at ? a->at : b->at, "the key is there twice");
    }
    return STATUS_OK;
}

static status take_values(cursor *c) {
    gguf *f = c->f;
    for (int i = 0; i < f->n_values; i++) {
        gguf_value *v = &f->values[i];
        v->at = c->at;
        c->what = text("key %d of %d", i + 1, f->n_values);
        TRY(take_name(c, KEY_MAX, &v->key));
        c->what = shown("key", v->key);
        TRY(take_value(c, v));
    }
    return index_values(c);
}

/* ---- tensors ---- */

static status take_shape(cursor *c, gguf_tensor *t) {
    size_t at = c->at;
    uint32_t rank;
    TRY(take(c, &rank, sizeof rank));
    if (rank > GGUF_MAX_RANK)
        return bad(c, at,
                   text("it has %" PRIu32 " dimensions, %d are allowed", rank, GGUF_MAX_RANK));
    t->rank = (int)rank;
    t->count = 1;
    for (int i = 0; i < GGUF_MAX_RANK; i++)
        t->dim[i] = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        at = c->at;
        TRY(take(c, &t->dim[i], sizeof t->dim[i]));
        if (t->dim[i] < 0 || !int64_mul(&t->count, t->count, t->dim[i]))
            return bad(c, at, text("a dimension is %" PRId64 ", which cannot be", t->dim[i]));
    }
    return STATUS_OK;
}

static status take_tensor(cursor *c, gguf_tensor *t, uint64_t *offset) {
    TRY(take_shape(c, t));
    size_t at = c->at;
    TRY(take(c, &t->type, sizeof t->type));
    int64_t block = quant_block(t->type);
    if (block == 0)
        return bad(c, at, text("its element type is %" PRIu32 ", which is unknown", t->type));
    int64_t row = t->rank > 0 ? t->dim[t->rank - 1] : 1;
    if (row % block != 0)
        return bad(c, at,
                   text("rows of %" PRId64 " do not divide into the blocks of %" PRId64 " of %s",
                        row, block, quant_name(t->type)));
    if (!size_mul(&t->bytes, (size_t)(t->count / block), quant_block_bytes(t->type)))
        return bad(c, at, "its bytes do not fit 64 bits");
    return take(c, offset, sizeof *offset);
}

static status index_tensors(cursor *c) {
    gguf *f = c->f;
    f->by_name = mem_zalloc((size_t)f->n_tensors + 1, sizeof(void *));
    if (f->by_name == NULL) return STATUS_MEMORY;
    for (int i = 0; i < f->n_tensors; i++)
        f->by_name[i] = &f->tensors[i];
    qsort(f->by_name, (size_t)f->n_tensors, sizeof(void *), tensor_order);
    for (int i = 1; i < f->n_tensors; i++) {
        const gguf_tensor *a = f->by_name[i - 1], *b = f->by_name[i];
        if (strcmp(a->name, b->name) != 0) continue;
        c->what = shown("tensor", a->name);
        return bad(c, a->at > b->at ? a->at : b->at, "the tensor is there twice");
    }
    return STATUS_OK;
}

/* Sums here stay below 2^63: sizes are compared with that of the file first. */
static uint64_t round_up(uint64_t n, uint64_t alignment) {
    return (n + alignment - 1) / alignment * alignment;
}

static status too_short(const gguf *f, const gguf_tensor *t, uint64_t offset) {
    return FAIL(F_GGUF_LENGTH,
                text("%s ends before or inside tensor \"%.*s\"", f->path, NAME_SHOWN, t->name),
                text("byte %zu", t->at),
                text("it has %zu bytes at %" PRIu64 " of the data; the file has %zu bytes in all",
                     t->bytes, offset, f->n),
                "fetch or copy the file again");
}

static status take_tensors(cursor *c, size_t alignment) {
    gguf *f = c->f;
    uint64_t next = 0;
    for (int i = 0; i < f->n_tensors; i++) {
        gguf_tensor *t = &f->tensors[i];
        uint64_t offset = 0;
        t->at = c->at;
        c->what = text("tensor %d of %d", i + 1, f->n_tensors);
        TRY(take_name(c, NAME_MAX_SIZE - 1, &t->name));
        c->what = shown("tensor", t->name);
        TRY(take_tensor(c, t, &offset));
        if (offset != next)
            return bad(c, c->at - sizeof offset,
                       text("its data is said to begin at %" PRIu64 ", but %" PRIu64
                            " is where the tensor before it ends",
                            offset, next));
        if (next > f->n || t->bytes > f->n - next) return too_short(f, t, next);
        next = round_up(next + t->bytes, alignment);
    }
    return index_tensors(c);
}

/* Data begins at the next aligned byte and ends with the file, but for the last padding. */
static status place_tensors(cursor *c, size_t alignment) {
    gguf *f = c->f;
    uint64_t start = round_up(c->at, alignment), next = start;
    for (int i = 0; i < f->n_tensors; i++) {
        gguf_tensor *t = &f->tensors[i];
        if (next > f->n || t->bytes > f->n - next) return too_short(f, t, next - start);
        t->data = f->bytes + next;
        next = round_up(next + t->bytes, alignment);
    }
    if (f->n <= next) return STATUS_OK;
    return FAIL(F_GGUF_LENGTH, text("%s is longer than its tensors", f->path),
                text("byte %" PRIu64, next),
                text("%" PRIu64 " bytes behind the last tensor belong to none", f->n - next),
                "fetch or copy the file again");
}

/* ---- the whole file ---- */

static status take_prologue(cursor *c) {
    gguf *f = c->f;
    char magic[4];
    uint32_t version;
    uint64_t tensors, values;
    TRY(take(c, magic, sizeof magic));
    if (memcmp(magic, "GGUF", 4) != 0)
        return bad(c, 0, "the first four bytes are not \"GGUF\"; this is another kind of file");
    TRY(take(c, &version, sizeof version));
    if ((version & 0xFFFF) == 0 && version != 0)
        return bad(c, 4, "it was written on a big-endian machine");
    if (version < 2 || version > 3)
        return bad(c, 4, text("it says version %" PRIu32 "; 2 and 3 are read", version));
    TRY(take(c, &tensors, sizeof tensors));
    TRY(take(c, &values, sizeof values));
    size_t left = f->n - c->at;
    if (tensors > ENTRIES_MAX || tensors > left / SMALLEST_INFO)
        return bad(c, 8,
                   text("it claims %" PRIu64 " tensors, more than fit the file or %d", tensors,
                        ENTRIES_MAX));
    if (values > ENTRIES_MAX || values > left / SMALLEST_KEY)
        return bad(
            c, 16,
            text("it claims %" PRIu64 " keys, more than fit the file or %d", values, ENTRIES_MAX));
    f->n_tensors = (int)tensors;
    f->n_values = (int)values;
    return STATUS_OK;
}

static status take_alignment(cursor *c, size_t *out) {
    const char *key = "general.alignment";
    const gguf_value *v = gguf_lookup_value(c->f, key);
    *out = ALIGNMENT;
    if (v == NULL) return STATUS_OK;
    c->what = shown("key", key);
    uint32_t n = 0;
    if (v->type != GGUF_U32)
        return bad(c, v->at, text("it is %s, not a 32-bit count", type_words[v->type]));
    memcpy(&n, v->data, sizeof n);
    if (n < 8 || n > ALIGNMENT_MAX || (n & (n - 1)) != 0)
        return bad(c, v->at,
                   text("it is %" PRIu32 ", no power of two from 8 to %d", n, ALIGNMENT_MAX));
    *out = n;
    return STATUS_OK;
}

static status parse(gguf *f) {
    cursor c = {f, 0, "the header"};
    size_t alignment;
    TRY(arena_init(&f->strings, "names of a GGUF file", STRINGS_LIMIT));
    TRY(take_prologue(&c));
    f->values = mem_zalloc((size_t)f->n_values + 1, sizeof *f->values);
    f->tensors = mem_zalloc((size_t)f->n_tensors + 1, sizeof *f->tensors);
    if (f->values == NULL || f->tensors == NULL) return STATUS_MEMORY;
    TRY(take_values(&c));
    TRY(take_alignment(&c, &alignment));
    TRY(take_tensors(&c, alignment));
    return place_tensors(&c, alignment);
}

static status finish(gguf **out, gguf *f, status s) {
    if (s != STATUS_OK) {
        gguf_close(f);
        f = NULL;
    }
    *out = f;
    return s;
}

status gguf_open_bytes(gguf **out, const void *bytes, size_t n, const char *name) {
    *out = NULL;
    gguf *f = mem_zalloc(1, sizeof *f);
    if (f == NULL) return STATUS_MEMORY;
    f->bytes = bytes;
    f->n = n;
    f->path = mem_strdup(name);
    return finish(out, f, f->path != NULL ? parse(f) : STATUS_MEMORY);
}

bool gguf_is_name(const char *path) {
    return strlen(path) > strlen(".gguf") && ends_with(path, ".gguf");
}

status gguf_open(gguf **out, const char *path) {
    *out = NULL;
    mapped_file map;
    TRY(mapped_open(&map, path));
    status s = gguf_open_bytes(out, map.data, map.size, path);
    if (s == STATUS_OK)
        (*out)->map = map;
    else
        mapped_close(&map);
    return s;
}

void gguf_close(gguf *f) {
    if (f == NULL) return;
    mapped_close(&f->map);
    arena_clear(&f->strings);
    mem_free(f->path);
    mem_free(f->values);
    mem_free(f->tensors);
    mem_free(f->by_key);
    mem_free(f->by_name);
    mem_free(f);
}

const char *gguf_path(const gguf *f) {
    return f->path;
}
int gguf_n_values(const gguf *f) {
    return f->n_values;
}
const gguf_value *gguf_value_at(const gguf *f, int i) {
    return &f->values[i];
}
int gguf_n_tensors(const gguf *f) {
    return f->n_tensors;
}
const gguf_tensor *gguf_tensor_at(const gguf *f, int i) {
    return &f->tensors[i];
}

/* ---- asking for tensors ---- */

const gguf_tensor *gguf_lookup(const gguf *f, const char *name) {
    gguf_tensor wanted = {.name = name};
    const gguf_tensor *key = &wanted, **found = NULL;
    if (f->n_tensors > 0)
        found = bsearch(&key, f->by_name, (size_t)f->n_tensors, sizeof key, tensor_order);
    return found != NULL ? *found : NULL;
}

/* Bytes that two names share at their beginning. */
static size_t shared(const char *a, const char *b) {
    size_t n = 0;
    while (a[n] != '\0' && a[n] == b[n])
        n++;
    return n;
}

status gguf_find(const gguf *f, const char *name, const gguf_tensor **out) {
    *out = gguf_lookup(f, name);
    if (*out != NULL) return STATUS_OK;
    const char *nearest = NULL;
    size_t best = 0;
    for (int i = 0; i < f->n_tensors; i++) {
        size_t n = shared(f->tensors[i].name, name);
        if (nearest != NULL && n <= best) continue;
        nearest = f->tensors[i].name;
        best = n;
    }
    return FAIL(F_TENSOR_MISSING, text("tensor \"%.*s\" is missing", NAME_SHOWN, name), f->path,
                nearest != NULL
                    ? text("of its %d tensors \"%s\" is nearest in name", f->n_tensors, nearest)
                    : "it holds no tensors at all",
                "write the file again with the program it came from, or fetch another");
}

status gguf_decode(const gguf *f, const gguf_tensor *t, int64_t first, int64_t n, float *out) {
    if (!quant_can_decode(t->type))
        return FAIL(F_GGUF_TYPE, text("tensor \"%s\" holds %s", t->name, quant_name(t->type)),
                    text("%s, byte %zu", f->path, t->at),
                    "this program has no decoder for that element type",
                    "use a copy of the model in another one, such as Q4_K_M, Q8_0 or BF16");
    int64_t block = quant_block(t->type);
    if (first < 0 || n < 0 || n > t->count || first > t->count - n || first % block != 0 ||
        n % block != 0)
        return FAIL(F_INTERNAL,
                    text("elements %" PRId64 " to %" PRId64 " of tensor \"%s\" were asked for",
                         first, first + n, t->name),
                    f->path, text("it has %" PRId64 " in blocks of %" PRId64, t->count, block),
                    "report this as a bug");
    if (n > 0) quant_decode(t->type, t->data + quant_bytes(t->type, first), n, out);
    return STATUS_OK;
}

/* ---- asking for values ---- */

const gguf_value *gguf_lookup_value(const gguf *f, const char *key) {
    gguf_value wanted = {.key = key};
    const gguf_value *k = &wanted, **found = NULL;
    if (f->n_values > 0) found = bsearch(&k, f->by_key, (size_t)f->n_values, sizeof k, value_order);
    return found != NULL ? *found : NULL;
}

static status find_value(const gguf *f, const char *key, const char *wanted,
                         const gguf_value **out) {
    *out = gguf_lookup_value(f, key);
    if (*out != NULL) return STATUS_OK;
    return FAIL(F_GGUF_KEY, text("key \"%s\" is missing", key), f->path,
                text("%s is needed from it", wanted),
                "write the file again with the program it came from, or fetch another");
}

static status wrong_kind(const gguf *f, const gguf_value *v, const char *wanted) {
    return FAIL(F_GGUF_KEY, text("key \"%s\" is of the wrong kind", v->key),
                text("%s, byte %zu", f->path, v->at),
                text("it holds %s%s, %s is needed",
                     v->type == GGUF_LIST ? "a list; each element is " : "", type_words[v->element],
                     wanted),
                "write the file again with the program it came from, or fetch another");
}

/* Element i as an integer; false if it is none or does not fit. */
static bool element_int(const gguf_value *v, int64_t i, int64_t *out) {
    const uint8_t *p = v->data + (size_t)i * value_size[v->element];
    union {
        uint64_t u64;
        int64_t i64;
        uint32_t u32;
        int32_t i32;
        uint16_t u16;
        int16_t i16;
    } x = {0};
    memcpy(&x, p, value_size[v->element]);
    switch (v->element) {
    case GGUF_U8: *out = p[0]; return true;
    case GGUF_I8: *out = (int8_t)p[0]; return true;
    case GGUF_U16: *out = x.u16; return true;
    case GGUF_I16: *out = x.i16; return true;
    case GGUF_U32: *out = x.u32; return true;
    case GGUF_I32: *out = x.i32; return true;
    case GGUF_I64: *out = x.i64; return true;
    case GGUF_U64: *out = (int64_t)x.u64; return x.u64 <= INT64_MAX;
    default: return false;
    }
}

static bool element_real(const gguf_value *v, int64_t i, double *out) {
    const uint8_t *p = v->data + (size_t)i * value_size[v->element];
    int64_t whole;
    float single;
    switch (v->element) {
    case GGUF_F32:
        memcpy(&single, p, sizeof single);
        *out = (double)single;
        return true;
    case GGUF_F64: memcpy(out, p, sizeof *out); return true;
    default:
        if (!element_int(v, i, &whole)) return false;
        *out = (double)whole;
        return true;
    }
}

status gguf_get_int(const gguf *f, const char *key, int64_t *out) {
    const gguf_value *v;
    TRY(find_value(f, key, "an integer", &v));
    if (v->type == GGUF_LIST || !element_int(v, 0, out)) return wrong_kind(f, v, "an integer");
    return STATUS_OK;
}

status gguf_get_real(const gguf *f, const char *key, double *out) {
    const gguf_value *v;
    TRY(find_value(f, key, "a number", &v));
    if (v->type == GGUF_LIST || !element_real(v, 0, out)) return wrong_kind(f, v, "a number");
    return STATUS_OK;
}

status gguf_get_bool(const gguf *f, const char *key, bool *out) {
    const gguf_value *v;
    TRY(find_value(f, key, "a truth value", &v));
    if (v->type != GGUF_BOOL) return wrong_kind(f, v, "a truth value");
    *out = v->data[0] != 0;
    return STATUS_OK;
}

status gguf_get_string(gguf *f, const char *key, const char **out) {
    const gguf_value *v;
    TRY(find_value(f, key, "a string", &v));
    if (v->type != GGUF_STRING) return wrong_kind(f, v, "a string");
    size_t n = v->bytes - 8, valid = utf8_valid(v->data + 8, n);
    const uint8_t *nul = memchr(v->data + 8, 0, n);
    if (nul != NULL && (size_t)(nul - v->data) - 8 < valid) valid = (size_t)(nul - v->data) - 8;
    if (valid < n)
        return FAIL(F_GGUF_KEY, text("key \"%s\" holds no text", key),
                    text("%s, byte %zu", f->path, (size_t)(v->data - f->bytes) + 8 + valid),
                    text("byte 0x%02X does not belong there", v->data[8 + valid]),
                    "write the file again with the program it came from, or fetch another");
    *out = keep_string(f, v->data + 8, n);
    return *out != NULL ? STATUS_OK : STATUS_MEMORY;
}

static status find_list(const gguf *f, const char *key, const char *wanted, size_t size, void *out,
                        const gguf_value **value) {
    TRY(find_value(f, key, wanted, value));
    if ((*value)->type != GGUF_LIST) return wrong_kind(f, *value, wanted);
    void *list = mem_zalloc((size_t)(*value)->count + 1, size);
    if (list == NULL) return STATUS_MEMORY;
    memcpy(out, &list, sizeof list);
    return STATUS_OK;
}

status gguf_get_texts(const gguf *f, const char *key, gguf_text **out, int64_t *n) {
    const gguf_value *v;
    *out = NULL;
    TRY(find_list(f, key, "a list of strings", sizeof **out, out, &v));
    *n = v->count;
    if (v->element != GGUF_STRING) {
        mem_free(*out);
        *out = NULL;
        return wrong_kind(f, v, "a list of strings");
    }
    const uint8_t *p = v->data;
    for (int64_t i = 0; i < v->count; i++) {
        uint64_t length;
        memcpy(&length, p, sizeof length);
        (*out)[i] = (gguf_text){(const char *)p + 8, (size_t)length};
        p += 8 + length;
    }
    return STATUS_OK;
}

status gguf_get_ints(const gguf *f, const char *key, int64_t **out, int64_t *n) {
    const gguf_value *v;
    *out = NULL;
    TRY(find_list(f, key, "a list of integers", sizeof **out, out, &v));
    *n = v->count;
    for (int64_t i = 0; i < v->count; i++) {
        if (element_int(v, i, &(*out)[i])) continue;
        mem_free(*out);
        *out = NULL;
        return wrong_kind(f, v, "a list of integers");
    }
    return STATUS_OK;
}

status gguf_get_reals(const gguf *f, const char *key, double **out, int64_t *n) {
    const gguf_value *v;
    *out = NULL;
    TRY(find_list(f, key, "a list of numbers", sizeof **out, out, &v));
    *n = v->count;
    for (int64_t i = 0; i < v->count; i++) {
        if (element_real(v, i, &(*out)[i])) continue;
        mem_free(*out);
        *out = NULL;
        return wrong_kind(f, v, "a list of numbers");
    }
    return STATUS_OK;
}

void gguf_forget(const gguf *f, const gguf_tensor *t) {
    if (f->map.data != NULL) mapped_forget(t->data, t->bytes);
}
