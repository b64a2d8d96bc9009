/* token_text.c - random text that meets the rare branches often, and small vocabularies. */
#include "token_text.h"

#include "test.h"

#include "base/file.h"
#include "base/rng.h"

static size_t put_utf8(uint32_t c, uint8_t *out) {
    if (c < 0x80) return out[0] = (uint8_t)c, 1;
    if (c < 0x800) return out[0] = (uint8_t)(0xC0 | c >> 6), out[1] = (uint8_t)(0x80 | (c & 63)), 2;
    size_t n = c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (uint8_t)(0x80 | (c & 63));
    out[0] = (uint8_t)((n == 3 ? 0xE0 : 0xF0) | c);
    return n;
}

static uint32_t exotic(rng r, uint64_t i) {
    static const uint32_t single[] = {
        0x85,   0xA0,   0x1680,  0x180E,  0x2003,  0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0x200B,
        0x200D, 0xFEFF, 0x17F,   0x212A,  0x2126,  0x30FB, 0x30FC, 0x3040, 0x3099, 0x309A, 0x309B,
        0x30A0, 0x9FA5, 0x9FA6,  0x4E00,  0x3007,  0x1100, 0x1161, 0x11A8, 0xAC00, 0xAC01, 0x323,
        0x307,  0x1E9B, 0x1F600, 0x20000, 0xE0100, 0xFFFD, 0x2160, 0xB2,   0xBD,   0x661,  0xFF11};
    static const uint32_t ranges[][2] = {
        {0x80, 0x250},    {0x300, 0x370},   {0x370, 0x530},    {0x590, 0x6FF},   {0x900, 0xE7F},
        {0x1100, 0x11FF}, {0x2000, 0x2BFF}, {0x3000, 0x3130},  {0x4E00, 0x9FFF}, {0xAC00, 0xD7A3},
        {0xF900, 0xFAFF}, {0xFE00, 0xFFFF}, {0x10000, 0x1FFFF}};
    const size_t n_single = sizeof single / sizeof *single,
                 n_ranges = sizeof ranges / sizeof *ranges;
    if (rng_below(r, i, 2) == 0) return single[rng_below(r, i + 1, n_single)];
    const uint32_t *range = ranges[rng_below(r, i + 1, n_ranges)];
    return range[0] + (uint32_t)rng_below(r, i + 2, range[1] - range[0] + 1);
}

static uint32_t plain(rng r, uint64_t i) {
    static const char often[] = "stremvldSTREMVLD''''   \n\n\r\t  0123456789.,!?-_<|>()ethan ";
    if (rng_below(r, i, 4) > 0) return (uint8_t)often[rng_below(r, i + 1, sizeof often - 1)];
    return (uint32_t)rng_below(r, i + 1, 128);
}

size_t random_text(text_kind kind, uint64_t seed, uint8_t *out, size_t n) {
    rng r = rng_at(seed, RNG_TEST, (uint64_t)kind);
    size_t used = 0;
    /* A character often repeats or is followed by another of its sort: runs matter. */
    for (uint64_t i = 0; used + 4 <= n; i += 8) {
        uint64_t choice = rng_below(r, i, 8);
        bool odd = kind == TEXT_UNICODE ? choice < 6 : kind == TEXT_MIXED && choice < 3;
        if (kind == TEXT_BYTES || (kind == TEXT_MIXED && choice == 7)) {
            out[used++] = (uint8_t)rng_below(r, i + 3, 256);
            continue;
        }
        uint32_t c = odd ? exotic(r, i + 3) : plain(r, i + 3);
        uint64_t times = rng_below(r, i + 6, 8) == 0 ? 1 + rng_below(r, i + 7, 5) : 1;
        for (; times > 0 && used + 4 <= n; times--)
            used += put_utf8(c, out + used);
    }
    return used;
}

status train_small(tokenizer **out, int vocab_size, pretokenizer kind) {
    static uint8_t text[60000];
    bpe_options o = {.vocab_size = vocab_size,
                     .pretokenizer = kind,
                     .added = bpe_default_added,
                     .n_added = BPE_DEFAULT_ADDED,
                     .n_special = BPE_DEFAULT_SPECIAL};
    bpe_trainer *b;
    TRY(bpe_trainer_new(&b, &o));
    for (int i = 0; i < 8; i++) {
        size_t n = random_text(i % TEXT_MIXED, (uint64_t)i, text, sizeof text);
        text_span span = {(const char *)text, n};
        TRY(bpe_trainer_add(b, &span, 1));
    }
    TRY(bpe_trainer_finish(b, out));
    bpe_trainer_free(b);
    return STATUS_OK;
}

char *data_text(const char *relative, size_t most, size_t *n) {
    const char *path = test_data(relative);
    char *bytes;
    if (path == NULL || file_read(path, 0, &bytes, n) != STATUS_OK) return NULL;
    if (*n > most) *n = most;
    return bytes;
}
