/* fuzz_safetensors.c - any bytes as a safetensors file: refused, or every view lies inside. */
#include "fuzz.h"

#include "base/memory.h"
#include "tensor/safetensors.h"

#include <stdlib.h>
#include <string.h>

/* Headers; fuzz_seed puts the length before and data behind. */
static const char *const headers[] = {
    "{}",
    "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}  ",
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"w\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[0,6]},"
    "\"e\":{\"dtype\":\"F64\",\"shape\":[0],\"data_offsets\":[6,6]},"
    "\"f4\":{\"dtype\":\"F4\",\"shape\":[20],\"data_offsets\":[6,16]}}",
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
    "\"b\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[1,9]},"
    "\"c\":{\"dtype\":\"F8_E4M3\",\"shape\":[1,1,1,1,7],\"data_offsets\":[9,16]}}",
};

size_t fuzz_seed(int i, uint8_t *out, size_t room) {
    if ((size_t)i >= sizeof headers / sizeof headers[0]) return 0;
    uint64_t n = strlen(headers[i]);
    size_t data = i == 0 ? 0 : 16;
    if (8 + n + data > room) return 0;
    memcpy(out, &n, 8);
    memcpy(out + 8, headers[i], n);
    memset(out + 8 + n, 0x5A, data);
    return 8 + n + data;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    safetensors *f;
    int64_t before = mem_live_blocks();
    if (safetensors_open_bytes(&f, data, size, "fuzz") == STATUS_OK) {
        volatile uint8_t sum = 0;
        for (int i = 0; i < safetensors_count(f); i++) {
            const safetensors_entry *e = safetensors_at(f, i);
            const uint8_t *bytes = e->data;
            if (bytes < data || e->bytes > size || bytes + e->bytes > data + size) abort();
            for (size_t b = 0; b < e->bytes; b++)
                sum = (uint8_t)(sum + bytes[b]);
            tensor t;
            if (safetensors_find(f, e->name, &t) == STATUS_OK && tensor_bytes(&t) != e->bytes)
                abort();
        }
        safetensors_close(f);
    }
    if (mem_live_blocks() != before) abort();
    return 0;
}
