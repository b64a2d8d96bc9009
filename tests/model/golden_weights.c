/* golden_weights.c - weights by the formula of tests/golden/model/make.py, and folders made of them. */
#include "golden_weights.h"

#include "base/ending.h"
#include "base/file.h"

#include <string.h>

static uint32_t mix(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    return x ^ x >> 16;
}

static uint32_t text_hash(const char *text) { /* FNV-1a, 32 bits */
    uint32_t h = 0x811C9DC5u;
    for (; *text != '\0'; text++)
        h = (h ^ (uint8_t)*text) * 0x01000193u;
    return h;
}

static float scale_of(const char *name) {
    if (ends_with(name, "embed_tokens.weight")) return 1.0f;
    if (ends_with(name, "mlp.gate.weight")) return 0.5f;
    if (ends_with(name, "e_score_correction_bias")) return 0.125f;
    return ends_with(name, ".bias") ? 0.5f : 0.25f;
}

void golden_weight(const char *name, int64_t n, float *to) {
    uint32_t seed = text_hash(name);
    bool norm = ends_with(name, "norm.weight");
    for (int64_t i = 0; i < n; i++) {
        int level = (int)(mix(seed + (uint32_t)i * 0x9E3779B9u) >> 24) - 128;
        int quarter = (level - (level & 3)) / 4; /* rounded down */
        to[i] = norm ? 1 + (float)quarter / 128 : (float)level / 128 * scale_of(name);
    }
}

static status add_item(arena *memory, const char *name, const json_t *shape, dtype type,
                       safetensors_item *item) {
    int64_t dim[2] = {1, 1}, count;
    int rank = (int)json_array_size(shape);
    for (int i = 0; i < rank && i < 2; i++)
        dim[i] = (int64_t)json_integer_value(json_array_get(shape, (size_t)i));
    count = dim[0] * dim[1];
    float *values = arena_alloc(memory, (size_t)count * sizeof *values);
    if (values == NULL) return STATUS_MEMORY;
    golden_weight(name, count, values);
    void *data = values;
    if (type != DTYPE_F32) {
        uint16_t *halves = arena_alloc(memory, (size_t)count * sizeof *halves);
        if (halves == NULL) return STATUS_MEMORY;
        for (int64_t i = 0; i < count; i++)
            halves[i] = type == DTYPE_BF16 ? f32_to_bf16(values[i]) : f32_to_f16(values[i]);
        data = halves;
    }
    item->name = name;
    item->value = rank == 1 ? tensor_1d(data, type, dim[0]) : tensor_2d(data, type, dim[0], dim[1]);
    return STATUS_OK;
}

status golden_items(arena *memory, const json_t *tensors, dtype type, safetensors_item *items,
                    int *n) {
    const char *name;
    json_t *shape;
    *n = 0;
    json_object_foreach((json_t *)(uintptr_t)tensors, name, shape)
        TRY(add_item(memory, name, shape, type, &items[(*n)++]));
    return STATUS_OK;
}

static status write_shard(const char *folder, const char *name, const safetensors_item *items,
                          int n, json_t *map) {
    char path[PATH_SIZE];
    for (int i = 0; i < n; i++)
        json_object_set_new(map, items[i].name, json_string(name));
    TRY(path_join(path, folder, name));
    return safetensors_write(path, items, n, NULL, 0);
}

status golden_folder(const char *folder, const safetensors_item *items, int n, int shards) {
    char path[PATH_SIZE];
    TRY(folder_remove(folder));
    TRY(folder_create(folder));
    if (shards == 1) {
        TRY(path_join(path, folder, "model.safetensors"));
        return safetensors_write(path, items, n, NULL, 0);
    }
    json_t *index = json_object(), *map = json_object();
    json_object_set_new(index, "metadata", json_object());
    json_object_set_new(index, "weight_map", map);
    status s = STATUS_OK;
    for (int i = 0; i < shards && s == STATUS_OK; i++) {
        int first = n * i / shards, end = n * (i + 1) / shards;
        s = write_shard(folder, text("model-%05d-of-%05d.safetensors", i + 1, shards),
                        items + first, end - first, map);
    }
    if (s == STATUS_OK) s = path_join(path, folder, "model.safetensors.index.json");
    if (s == STATUS_OK) s = json_write(path, index);
    json_decref(index);
    return s;
}
