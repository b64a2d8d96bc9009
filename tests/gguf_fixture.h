/* gguf_fixture.h - a GGUF file built field by field in memory, remembering where each field lies, so
 * that tests can change any of them. Independent of the writer under test. */
#ifndef FATHOM_TESTS_GGUF_FIXTURE_H
#define FATHOM_TESTS_GGUF_FIXTURE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum field_kind {
    FIELD_MAGIC,
    FIELD_VERSION,
    FIELD_N_TENSORS,
    FIELD_N_KEYS,
    FIELD_KEY_LENGTH,
    FIELD_KEY_NAME,
    FIELD_VALUE_TYPE,
    FIELD_ELEMENT_TYPE,
    FIELD_LIST_COUNT,
    FIELD_STRING_LENGTH,
    FIELD_BOOL,
    FIELD_ALIGNMENT,
    FIELD_NAME_LENGTH,
    FIELD_NAME,
    FIELD_RANK,
    FIELD_DIM,
    FIELD_TYPE,
    FIELD_OFFSET,
} field_kind;

typedef struct field {
    field_kind kind;
    size_t at, bytes;
    const char *owner; /* key or tensor; NULL in the prologue */
} field;

#define FIXTURE_ROOM   8192
#define FIXTURE_FIELDS 256
typedef struct gguf_fixture {
    uint8_t bytes[FIXTURE_ROOM];
    size_t n, alignment;
    uint64_t offset; /* of the next tensor */
    field fields[FIXTURE_FIELDS];
    int n_fields;
    const char *owner;
} gguf_fixture;

static inline void fixture_raw(gguf_fixture *x, const void *bytes, size_t n) {
    memcpy(x->bytes + x->n, bytes, n);
    x->n += n;
}
static inline void fixture_field(gguf_fixture *x, field_kind kind, const void *bytes, size_t n) {
    x->fields[x->n_fields++] = (field){kind, x->n, n, x->owner};
    fixture_raw(x, bytes, n);
}
static inline void fixture_u32(gguf_fixture *x, field_kind kind, uint32_t v) {
    fixture_field(x, kind, &v, sizeof v);
}
static inline void fixture_u64(gguf_fixture *x, field_kind kind, uint64_t v) {
    fixture_field(x, kind, &v, sizeof v);
}

static inline void fixture_begin(gguf_fixture *x, uint32_t version, uint64_t tensors,
                                 uint64_t keys) {
    memset(x, 0, sizeof *x);
    x->alignment = 32;
    fixture_field(x, FIELD_MAGIC, "GGUF", 4);
    fixture_u32(x, FIELD_VERSION, version);
    fixture_u64(x, FIELD_N_TENSORS, tensors);
    fixture_u64(x, FIELD_N_KEYS, keys);
}

static inline void fixture_key(gguf_fixture *x, const char *key, uint32_t type) {
    x->owner = key;
    fixture_u64(x, FIELD_KEY_LENGTH, strlen(key));
    fixture_field(x, FIELD_KEY_NAME, key, strlen(key));
    fixture_u32(x, FIELD_VALUE_TYPE, type);
}
static inline void fixture_list(gguf_fixture *x, const char *key, uint32_t element, uint64_t n) {
    fixture_key(x, key, 9);
    fixture_u32(x, FIELD_ELEMENT_TYPE, element);
    fixture_u64(x, FIELD_LIST_COUNT, n);
}
static inline void fixture_string(gguf_fixture *x, const char *s) {
    fixture_u64(x, FIELD_STRING_LENGTH, strlen(s));
    fixture_raw(x, s, strlen(s));
}

/* `bytes` of data; dims outermost first. */
static inline void fixture_tensor(gguf_fixture *x, const char *name, uint32_t type, int rank,
                                  const int64_t *dim, size_t bytes) {
    x->owner = name;
    fixture_u64(x, FIELD_NAME_LENGTH, strlen(name));
    fixture_field(x, FIELD_NAME, name, strlen(name));
    fixture_u32(x, FIELD_RANK, (uint32_t)rank);
    for (int i = rank - 1; i >= 0; i--)
        fixture_u64(x, FIELD_DIM, (uint64_t)dim[i]);
    fixture_u32(x, FIELD_TYPE, type);
    fixture_u64(x, FIELD_OFFSET, x->offset);
    x->offset = (x->offset + bytes + x->alignment - 1) / x->alignment * x->alignment;
}

/* Padding and the data of all tensors; byte i of it is 7 i + 1. */
static inline void fixture_data(gguf_fixture *x) {
    while (x->n % x->alignment != 0)
        x->bytes[x->n++] = 0;
    for (uint64_t i = 0; i < x->offset; i++)
        x->bytes[x->n++] = (uint8_t)(7 * i + 1);
}

/* Every kind of value and eight tensors. */
static inline void fixture_whole(gguf_fixture *x, uint32_t version) {
    static const int64_t shape[3] = {2, 3, 32}, vector[1] = {5}, wide[2] = {2, 256},
                         empty[2] = {0, 32};
    fixture_begin(x, version, 8, 14);
    fixture_key(x, "general.architecture", 8);
    fixture_string(x, "llama");
    fixture_key(x, "general.alignment", 4);
    fixture_u32(x, FIELD_ALIGNMENT, 64);
    x->alignment = 64;
    fixture_key(x, "u8", 0);
    fixture_raw(x, "\xC8", 1);
    fixture_key(x, "i8", 1);
    fixture_raw(x, "\xC8", 1);
    fixture_key(x, "u16", 2);
    fixture_raw(x, (const uint16_t[]){65000}, 2);
    fixture_key(x, "i16", 3);
    fixture_raw(x, (const int16_t[]){-3}, 2);
    fixture_key(x, "i32", 5);
    fixture_raw(x, (const int32_t[]){-70000}, 4);
    fixture_key(x, "f32", 6);
    fixture_raw(x, (const float[]){1.5f}, 4);
    fixture_key(x, "bool", 7);
    fixture_field(x, FIELD_BOOL, "\1", 1);
    fixture_key(x, "u64", 10);
    fixture_raw(x, (const uint64_t[]){UINT64_MAX}, 8);
    fixture_key(x, "f64", 12);
    fixture_raw(x, (const double[]){-0.1}, 8);
    fixture_list(x, "tokens", 8, 3);
    fixture_string(x, "a");
    fixture_string(x, "");
    fixture_string(x, "\xC3\xA9t");
    fixture_list(x, "types", 5, 3);
    fixture_raw(x, (const int32_t[]){1, 3, -1}, 12);
    fixture_list(x, "scores", 6, 2);
    fixture_raw(x, (const float[]){0.25f, -8}, 8);
    fixture_tensor(x, "f32.weight", 0, 1, vector, 20);
    fixture_tensor(x, "f16.weight", 1, 3, shape, 2 * 192);
    fixture_tensor(x, "q8_0.weight", 8, 3, shape, 34 * 6);
    fixture_tensor(x, "q4_k.weight", 12, 2, wide, 144 * 2);
    fixture_tensor(x, "iq2_s.weight", 22, 2, wide, 82 * 2);
    fixture_tensor(x, "empty.weight", 2, 2, empty, 0);
    fixture_tensor(x, "i32.weight", 26, 1, vector, 20);
    fixture_tensor(x, "bf16.weight", 30, 2, wide, 1024);
    fixture_data(x);
}

#endif
