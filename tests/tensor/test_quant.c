/* test_quant.c - every decoder against values of an independent implementation (golden/quant). */
#include "tensor/quant.h"

#include "base/file.h"
#include "test.h"

static const struct {
    const char *name;
    int halves[2]; /* bytes where halves begin, -1 = none */
} kinds[] = {
    {"Q4_0", {0, -1}},   {"Q4_1", {0, 2}},    {"Q5_0", {0, -1}},   {"Q5_1", {0, 2}},
    {"Q8_0", {0, -1}},   {"Q2_K", {80, 82}},  {"Q3_K", {108, -1}}, {"Q4_K", {0, 2}},
    {"Q5_K", {0, 2}},    {"Q6_K", {208, -1}}, {"IQ4_NL", {0, -1}}, {"IQ4_XS", {0, -1}},
    {"MXFP4", {-1, -1}}, {"F16", {0, -1}},    {"BF16", {0, -1}},
};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

/* Blocks whose bytes follow the formula of golden/quant/make.py. */
static void fill(uint32_t type, const int *halves, uint8_t *to, size_t n) {
    size_t block = quant_block_bytes(type);
    uint32_t x = type;
    for (size_t i = 0; i < n; i++) {
        x = 1664525u * x + 1013904223u;
        to[i] = (uint8_t)(x >> 24);
    }
    for (size_t i = 0; i < n; i += block)
        for (int h = 0; h < 2; h++)
            if (halves[h] >= 0) to[i + (size_t)halves[h] + 1] &= 0xBF;
}

static uint64_t fnv(const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001B3u;
    return h;
}

/* One line of the golden file: name, elements, hash, bits of 12 elements. */
static void check_line(const char *line) {
    char name[16];
    int64_t n;
    uint64_t hash;
    int used, k = 0;
    uint32_t type;
    REQUIRE(sscanf(line, "%15s %" SCNd64 " %" SCNx64 "%n", name, &n, &hash, &used) == 3, "%s",
            line);
    while (k < N_KINDS && strcmp(kinds[k].name, name) != 0)
        k++;
    REQUIRE(k < N_KINDS && quant_find(name, &type), "unknown kind %s", name);
    CHECK(quant_can_decode(type) && strcmp(quant_name(type), name) == 0, "%s", name);
    size_t bytes = quant_bytes(type, n);
    uint8_t *blocks = mem_alloc(bytes + 1); /* one byte further on: any address must do */
    float *out = mem_alloc((size_t)n * sizeof *out);
    REQUIRE(blocks != NULL && out != NULL, "no memory");
    fill(type, kinds[k].halves, blocks + 1, bytes);
    quant_decode(type, blocks + 1, n, out);
    const char *at = line + used;
    for (int i = 0; i < 12; i++) {
        uint32_t expected, found;
        int step;
        REQUIRE(sscanf(at, "%" SCNx32 "%n", &expected, &step) == 1, "%s", line);
        at += step;
        memcpy(&found, &out[i * n / 12], sizeof found);
        CHECK(found == expected, "%s, element %" PRId64 ": %08" PRIx32 ", expected %08" PRIx32,
              name, i * n / 12, found, expected);
    }
    CHECK(fnv(out, (size_t)n * sizeof *out) == hash, "%s: the other elements differ", name);
    mem_free(blocks);
    mem_free(out);
}

TEST(quant_decoders_give_the_bits_of_another_implementation) {
    char *bytes;
    size_t n;
    int lines = 0;
    REQUIRE_OK(file_read(GOLDEN_QUANT "/decode.txt", 0, &bytes, &n));
    for (char *at = bytes, *end; at < bytes + n; at = end + 1, lines++) {
        end = memchr(at, '\n', (size_t)(bytes + n - at));
        REQUIRE(end != NULL, "line without end");
        *end = '\0';
        check_line(at);
    }
    CHECK(lines == N_KINDS, "%d lines", lines);
    mem_free(bytes);
}

TEST(quant_types_have_sizes) {
    int known = 0;
    for (uint32_t t = 0; t < 100; t++) {
        bool is = quant_name(t) != NULL;
        known += is;
        CHECK(is == (quant_block(t) > 0) && is == (quant_block_bytes(t) > 0), "type %u", t);
        CHECK(is || !quant_can_decode(t), "type %u", t);
    }
    CHECK(known == 33, "%d types", known);
    uint32_t type;
    CHECK(quant_find("q4_k", &type) && type == QUANT_Q4_K, "any case");
    CHECK(!quant_find("Q4", &type), "no such type");
    CHECK(!quant_can_decode(24), "I8 is no weight");
}
