/* Builds small datasets, corpora and tokenizers in the folder of a test. */
#include "data_fixture.h"

#include "base/rng.h"
#include "data/dataset.h"
#include "test.h"

int32_t fixture_id(const int *documents, int n, int64_t place, int vocab_size, int64_t *first) {
    int64_t start = 0;
    for (int d = 0; d < n; d++) {
        int64_t end = start + documents[d];
        if (place < end) {
            *first = start;
            if (place == start) return FIXTURE_BOS;
            if (place == end - 1) return FIXTURE_EOS;
            return (int32_t)(2 + place % (vocab_size - 2));
        }
        start = end;
    }
    *first = -1;
    return -1;
}

static status write_shard(const char *folder, const char *file, const int *documents, int n,
                          int from, int to, int vocab_size, shard_entry *entry) {
    shard_facts facts = {vocab_size, FIXTURE_BOS, FIXTURE_EOS, 77};
    shard_writer *w;
    TRY(shard_begin(&w, text("%s/%s", folder, file), &facts));
    int64_t place = 0;
    for (int d = 0; d < from; d++)
        place += documents[d];
    for (int d = from; d < to; d++) {
        int32_t *ids = mem_alloc((size_t)documents[d] * sizeof *ids);
        status s = ids != NULL ? STATUS_OK : STATUS_MEMORY;
        int64_t first;
        for (int i = 0; i < documents[d] && s == STATUS_OK; i++)
            ids[i] = fixture_id(documents, n, place + i, vocab_size, &first);
        if (s == STATUS_OK) s = shard_add(w, ids, documents[d], 3 * documents[d], (uint64_t)d);
        mem_free(ids);
        if (s != STATUS_OK) {
            shard_abandon(w);
            return s;
        }
        place += documents[d];
    }
    return shard_commit(w, entry);
}

status fixture_dataset(const char *folder, split_id split, const int *documents, int n, int cuts,
                       int vocab_size) {
    TRY(folder_create(folder));
    json_t *manifest = manifest_new("fixture");
    status s = manifest_set(manifest, "complete", json_true());
    if (s == STATUS_OK) s = manifest_set(manifest, "shards", json_array());
    for (int from = 0, i = 0; from < n && s == STATUS_OK; from += cuts, i++) {
        int to = from + cuts < n ? from + cuts : n;
        dataset_shard one = {.split = split};
        snprintf(one.file, sizeof one.file, "%s-%05d.shard", split_name(split), i);
        s = write_shard(folder, one.file, documents, n, from, to, vocab_size, &one.entry);
        if (s == STATUS_OK) s = manifest_add_shard(manifest, &one);
    }
    if (s == STATUS_OK) s = manifest_save(folder, manifest);
    json_decref(manifest);
    return s;
}

status fixture_write(const char *folder, const char *file, const char *text_bytes) {
    return file_write(text("%s/%s", folder, file), text_bytes, strlen(text_bytes));
}

void fixture_text(char *out, size_t n, uint64_t seed) {
    rng r = rng_at(seed, RNG_TEST, 1);
    size_t at = 0;
    for (uint64_t i = 0; at < n; i++) {
        uint64_t word = rng_u64(r, i);
        size_t length = 2 + word % 7;
        for (size_t c = 0; c < length && at < n; c++)
            out[at++] = (char)('a' + (word >> (8 + 5 * c)) % 26);
        if (at < n) out[at++] = word % 11 == 0 ? '\n' : ' ';
    }
    if (n > 0) out[n - 1] = '\n';
}
