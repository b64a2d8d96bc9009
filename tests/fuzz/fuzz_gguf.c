/* fuzz_gguf.c - any bytes as a GGUF file: refused, or every value and tensor lies inside. */
#include "fuzz.h"
#include "gguf_fixture.h"

#include "base/memory.h"
#include "tensor/gguf.h"

#include <stdlib.h>

size_t fuzz_seed(int i, uint8_t *out, size_t room) {
    static gguf_fixture x;
    if (i > 2) return 0;
    if (i == 2)
        fixture_begin(&x, 3, 0, 0);
    else
        fixture_whole(&x, i == 0 ? 3 : 2);
    if (x.n > room) return 0;
    memcpy(out, x.bytes, x.n);
    return x.n;
}

static void ask_value(gguf *f, const gguf_value *v) {
    int64_t number, *ints = NULL, n;
    double real, *reals = NULL;
    bool truth;
    const char *string;
    gguf_text *texts = NULL;
    volatile uint8_t sum = 0;
    if (gguf_get_texts(f, v->key, &texts, &n) == STATUS_OK)
        for (int64_t i = 0; i < n; i++)
            for (size_t b = 0; b < texts[i].n; b++)
                sum = (uint8_t)(sum + texts[i].bytes[b]);
    status s[] = {gguf_get_int(f, v->key, &number),    gguf_get_real(f, v->key, &real),
                  gguf_get_bool(f, v->key, &truth),    gguf_get_string(f, v->key, &string),
                  gguf_get_ints(f, v->key, &ints, &n), gguf_get_reals(f, v->key, &reals, &n)};
    for (size_t i = 0; i < sizeof s / sizeof s[0]; i++)
        if (s[i] != STATUS_OK && error_last()->what[0] == '\0') abort();
    mem_free(texts);
    mem_free(ints);
    mem_free(reals);
}

static void ask_tensor(const gguf *f, const gguf_tensor *t, const uint8_t *data, size_t size) {
    if (t->data < data || t->bytes > size || t->data + t->bytes > data + size) abort();
    float out[256];
    int64_t block = quant_block(t->type);
    for (int64_t at = 0; at < t->count; at += block)
        if (gguf_decode(f, t, at, block, out) != STATUS_OK) {
            if (error_last()->id != F_GGUF_TYPE) abort();
            break;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    gguf *f;
    int64_t before = mem_live_blocks();
    if (gguf_open_bytes(&f, data, size, "fuzz") == STATUS_OK) {
        for (int i = 0; i < gguf_n_values(f); i++)
            ask_value(f, gguf_value_at(f, i));
        for (int i = 0; i < gguf_n_tensors(f); i++)
            ask_tensor(f, gguf_tensor_at(f, i), data, size);
        gguf_close(f);
    }
    if (mem_live_blocks() != before) abort();
    return 0;
}
