/* fuzz_shard.c - any bytes as a token shard: refused, or every token and document lies inside. */
#include "fuzz.h"

#include "base/hash.h"
#include "base/memory.h"
#include "data/shard.h"

#include <stdlib.h>
#include <string.h>

/* A small valid shard, built by hand: fuzz targets write no files. `wide`: 4-byte tokens. */
size_t fuzz_seed(int i, uint8_t *out, size_t room) {
    if (i > 2 || room < 1024) return 0;
    uint32_t width = i == 1 ? 4 : 2, vocab = i == 1 ? 70000 : 300;
    uint64_t n_tokens = i == 2 ? 0 : 20, n_documents = i == 2 ? 0 : 3;
    size_t documents = 128, blocks = documents + 24 * n_documents;
    size_t n_blocks = n_tokens > 0, tokens = (blocks + 8 * n_blocks + 63) / 64 * 64;
    uint64_t file = tokens + n_tokens * width;
    memset(out, 0, file);
    memcpy(out, "FATHSHRD", 8);
    uint32_t head[6] = {1, width, vocab, 0, 1, SHARD_BLOCK_TOKENS};
    memcpy(out + 8, head, sizeof head);
    for (uint64_t d = 0; d < n_documents; d++) {
        uint64_t row[3] = {d * 7, 10 + d, d};
        memcpy(out + documents + 24 * d, row, sizeof row);
    }
    for (uint64_t t = 0; t < n_tokens; t++)
        out[tokens + t * width] = (uint8_t)(t * 11);
    uint64_t block = hash64(out + tokens, n_tokens * width, 0);
    if (n_blocks > 0) memcpy(out + blocks, &block, 8);
    uint64_t counts[7] = {9,
                          n_tokens,
                          n_documents,
                          n_documents > 0 ? 33 : 0,
                          file,
                          hash64(out + documents, 24 * n_documents, 0),
                          hash64(out + blocks, 8 * n_blocks, 0)};
    memcpy(out + 32, counts, sizeof counts);
    uint64_t hash = hash64(out, 120, 0);
    memcpy(out + 120, &hash, 8);
    return file;
}

static void walk(shard *s) {
    int32_t ids[64];
    int64_t end = 0;
    for (int64_t d = 0; d < shard_documents(s); d++) {
        if (shard_document_at(s, d).start != end) abort();
        end = shard_document_end(s, d);
        if (shard_find_document(s, end - 1) != d) abort();
    }
    if (end != shard_tokens(s)) abort();
    for (int64_t at = 0; at < shard_tokens(s); at += 64) {
        int64_t n = shard_tokens(s) - at < 64 ? shard_tokens(s) - at : 64;
        if (shard_read(s, at, n, ids) != STATUS_OK) break;
        for (int64_t i = 0; i < n; i++)
            if (ids[i] < 0 || ids[i] >= shard_get_facts(s)->vocab_size) abort();
    }
}

/* With the checksums as they are almost nothing passes; so the same bytes are tried once more with
 * right ones, which lets the other checks be reached. */
static void sign(uint8_t *bytes, size_t n) {
    uint64_t n_tokens, n_documents, hash;
    uint32_t width;
    memcpy(&width, bytes + 12, 4);
    memcpy(&n_tokens, bytes + 40, 8);
    memcpy(&n_documents, bytes + 48, 8);
    if (n_documents < n / 24 && n_tokens < n && width <= 4) {
        size_t blocks = 128 + 24 * n_documents, n_blocks = (n_tokens + 65535) / 65536;
        size_t tokens = (blocks + 8 * n_blocks + 63) / 64 * 64;
        if (tokens <= n && n_tokens * width <= n - tokens) {
            if (n_blocks == 1)
                hash = hash64(bytes + tokens, n_tokens * width, 0),
                memcpy(bytes + blocks, &hash, 8);
            hash = hash64(bytes + 128, 24 * n_documents, 0), memcpy(bytes + 72, &hash, 8);
            hash = hash64(bytes + blocks, 8 * n_blocks, 0), memcpy(bytes + 80, &hash, 8);
        }
    }
    uint64_t size = n;
    memcpy(bytes + 64, &size, 8);
    hash = hash64(bytes, 120, 0);
    memcpy(bytes + 120, &hash, 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int64_t before = mem_live_blocks();
    uint8_t *copy = malloc(size > 0 ? size : 1); /* aligned, exact, writable */
    if (copy == NULL) return 0;
    if (size > 0) memcpy(copy, data, size);
    for (int turn = 0; turn < 2; turn++) {
        shard *s;
        if (shard_open_bytes(&s, copy, size, "fuzz") == STATUS_OK) walk(s);
        shard_close(s);
        if (size < 128) break;
        sign(copy, size);
    }
    free(copy);
    if (mem_live_blocks() != before) abort();
    return 0;
}
