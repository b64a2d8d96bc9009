/* loader.c - rows out of shards (or out of one file of bytes), addressed by number.
 *
 * What: loader.h's contract: row `index` is a pure function of the data, the seed and the index.
 *
 * How: the shards of a split are one stream of n tokens. With T inputs a row and stride S (S = T
 * unless evaluation asks for overlap), row r has its inputs at stream places [rS, rS + T); its own
 * targets are the last S of the places one further (all T in row 0), so rows cover each place but
 * 0 exactly once. Inside an epoch rows are permuted by rng_permute, a keyed bijection: no table,
 * no state. T + 2 tokens are read so that the target after the next (MTP) is there as well.
 *
 * begin[i] is the row index where the document of token i starts, -1 if it started before the row;
 * begin[i] == i thus marks the first token of a document, the one that is not predicted.
 *
 * Mind: no allocation after loader_open; a row uses the calling thread's scratch arena. Rows are
 * cheap (a few microseconds for T = 256), so there is no prefetching.
 */
#include "data/loader.h"

#include "base/checked.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/pool.h"
#include "base/rng.h"
#include "data/dataset.h"

#include <inttypes.h>
#include <string.h>

#define SEQ_LEN_MAX (1 << 24)

struct loader {
    loader_mode mode;
    split_id split;
    int seq_len, stride;
    uint64_t seed;
    shard **shards;
    int64_t *start; /* [n_shards + 1] first stream place of each shard */
    int n_shards;
    mapped_file map; /* `input` mode, else zero */
    const uint8_t *bytes;
    int64_t n; /* tokens of the stream */
    int64_t text_bytes, documents;
    int vocab_size;
    uint64_t tokenizer, fingerprint;
    int64_t rows;
};

/* ---- opening ---- */

static status check_options(const loader_options *o) {
    if ((o->folder == NULL) == (o->input == NULL))
        return FAIL(F_USAGE, "either a dataset or an input file is needed", "loader",
                    "both or none were given", "give exactly one");
    if (o->seq_len < 1 || o->seq_len > SEQ_LEN_MAX)
        return FAIL(F_BAD_VALUE, text("a row of %d tokens is not possible", o->seq_len), "seq-len",
                    text("between 1 and %d are", SEQ_LEN_MAX), "choose another --seq-len");
    if (o->stride < 0 || o->stride > o->seq_len)
        return FAIL(F_BAD_VALUE, text("a stride of %d is not possible", o->stride), "stride",
                    text("between 1 and the %d tokens of a row are", o->seq_len),
                    "choose another stride");
    if (o->stride > 0 && o->split == SPLIT_TRAIN)
        return FAIL(F_BAD_VALUE, "training rows do not overlap", "stride",
                    "a stride is for validation", "leave it 0");
    return STATUS_OK;
}

static status open_bytes(loader *l, const char *path) {
    TRY(mapped_open(&l->map, path));
    size_t cut = l->map.size / 10 * 9 + l->map.size % 10 * 9 / 10; /* floor of 0.9 n */
    bool train = l->split == SPLIT_TRAIN;
    if (l->map.size > 0) l->bytes = train ? l->map.data : l->map.data + cut;
    l->n = (int64_t)(train ? cut : l->map.size - cut);
    l->mode = LOADER_STREAM;
    l->vocab_size = 256;
    l->text_bytes = l->n;
    l->documents = 1;
    l->fingerprint = hash64(l->n > 0 ? (const void *)l->bytes : "", (size_t)l->n, 1);
    return STATUS_OK;
}

/* Opens one shard and checks that it is the one the manifest means and fits the others. */
static status open_one(loader *l, const dataset *d, const dataset_shard *entry) {
    const char *path = dataset_path(d, entry->file);
    if (!path_exists(path))
        return FAIL(F_MISSING, text("shard %s is missing", entry->file), d->folder,
                    "data.json names it, the folder does not have it", dataset_repair(d));
    TRY(shard_open(&l->shards[l->n_shards], path));
    const shard *s = l->shards[l->n_shards++];
    const shard_facts *facts = shard_get_facts(s);
    if (shard_hash(s) != entry->entry.hash)
        return FAIL(F_SHARD, text("%s is not the shard that data.json describes", entry->file),
                    d->folder, "it is whole, but its hash is another",
                    text("run `%s`", dataset_repair(d)));
    if (l->n_shards > 1 && (facts->tokenizer != l->tokenizer || facts->vocab_size != l->vocab_size))
        return FAIL(F_SHARD, text("%s was made with another tokenizer", entry->file), d->folder,
                    "the shards of a dataset share one", text("run `%s`", dataset_repair(d)));
    l->tokenizer = facts->tokenizer;
    l->vocab_size = facts->vocab_size;
    l->start[l->n_shards] = l->n += shard_tokens(s);
    l->text_bytes += shard_text_bytes(s);
    l->documents += shard_documents(s);
    uint64_t pair[2] = {l->fingerprint, entry->entry.hash};
    l->fingerprint = hash64(pair, sizeof pair, 0);
    return STATUS_OK;
}

static status open_shards(loader *l, const dataset *d) {
    if (!d->complete)
        return FAIL(F_DATASET, "the dataset is not tokenized", d->folder,
                    "data.json lists no complete set of shards",
                    text("run `fathom data tokenize %s`", d->folder));
    l->shards = mem_zalloc((size_t)d->n_shards + 1, sizeof *l->shards);
    l->start = mem_zalloc((size_t)d->n_shards + 2, sizeof *l->start);
    if (l->shards == NULL || l->start == NULL) return STATUS_MEMORY;
    for (int i = 0; i < d->n_shards; i++)
        if (d->shards[i].split == l->split) TRY(open_one(l, d, &d->shards[i]));
    uint64_t last[2] = {l->fingerprint, (uint64_t)l->mode};
    l->fingerprint = hash64(last, sizeof last, 0);
    return STATUS_OK;
}

static status open_dataset(loader *l, const char *folder) {
    dataset d;
    TRY(dataset_open(&d, folder));
    status s = open_shards(l, &d);
    dataset_close(&d);
    return s;
}

static status count_rows(loader *l, const char *where) {
    bool windows = l->mode == LOADER_STREAM && l->split == SPLIT_TRAIN;
    int64_t least = windows ? (int64_t)l->seq_len + 1 : 2;
    if (l->n < least)
        return FAIL(F_NO_TEXT,
                    text("the %s split has %" PRId64 " tokens", split_name(l->split), l->n), where,
                    text("at least %" PRId64 " are needed", least),
                    windows ? "give more text or a smaller --seq-len" : "give more text");
    int64_t beyond = l->n - 1 - l->seq_len; /* targets that row 0 does not cover */
    l->rows = beyond <= 0 ? 1 : 1 + (beyond + l->stride - 1) / l->stride;
    return STATUS_OK;
}

status loader_open(loader **out, const loader_options *o) {
    *out = NULL;
    TRY(check_options(o));
    loader *l = mem_zalloc(1, sizeof *l);
    if (l == NULL) return STATUS_MEMORY;
    l->mode = o->mode;
    l->split = o->split;
    l->seq_len = o->seq_len;
    l->stride = o->stride > 0 ? o->stride : o->seq_len;
    l->seed = o->seed;
    status s = o->input != NULL ? open_bytes(l, o->input) : open_dataset(l, o->folder);
    if (s == STATUS_OK) s = count_rows(l, o->input != NULL ? o->input : o->folder);
    if (s != STATUS_OK) {
        loader_close(l);
        return s;
    }
    *out = l;
    return STATUS_OK;
}

void loader_close(loader *l) {
    if (l == NULL) return;
    for (int i = 0; i < l->n_shards; i++)
        shard_close(l->shards[i]);
    mem_free(l->shards);
    mem_free(l->start);
    mapped_close(&l->map);
    mem_free(l);
}

int64_t loader_rows(const loader *l) {
    return l->rows;
}
int64_t loader_tokens(const loader *l) {
    return l->n;
}
int64_t loader_text_bytes(const loader *l) {
    return l->text_bytes;
}
int64_t loader_documents(const loader *l) {
    return l->documents;
}
int loader_vocab_size(const loader *l) {
    return l->vocab_size;
}
uint64_t loader_tokenizer(const loader *l) {
    return l->tokenizer;
}
uint64_t loader_fingerprint(const loader *l) {
    return l->fingerprint;
}

/* ---- rows ---- */

/* The shard that holds a stream place; empty shards hold none. */
static int find_shard(const loader *l, int64_t place) {
    int low = 0, high = l->n_shards;
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (l->start[middle] <= place)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Stream places [at, at + n), all inside. */
static status read_tokens(loader *l, int64_t at, int64_t n, int32_t *ids) {
    if (l->shards == NULL) {
        for (int64_t i = 0; i < n; i++)
            ids[i] = l->bytes[at + i];
        return STATUS_OK;
    }
    for (int s = find_shard(l, at); n > 0; s++) {
        int64_t inside = at - l->start[s], left = l->start[s + 1] - at;
        int64_t take = left < n ? left : n;
        TRY(shard_read(l->shards[s], inside, take, ids));
        at += take;
        ids += take;
        n -= take;
    }
    return STATUS_OK;
}

/* begin[i] for the places [at, at + n): see the top of this file. */
static void find_documents(const loader *l, int64_t at, int64_t n, int32_t *begin) {
    if (l->mode == LOADER_STREAM) {
        for (int64_t i = 0; i < n; i++)
            begin[i] = -1;
        return;
    }
    for (int64_t i = 0; i < n;) {
        int s = find_shard(l, at + i);
        const shard *part = l->shards[s];
        int64_t place = at + i - l->start[s];
        int64_t d = shard_find_document(part, place);
        int64_t first = shard_document_at(part, d).start - place + i; /* as a row index */
        int64_t end = shard_document_end(part, d) - place + i;
        if (end > n) end = n;
        for (; i < end; i++)
            begin[i] = first < 0 ? -1 : (int32_t)first;
    }
}

static int64_t row_start(const loader *l, int64_t index) {
    if (l->split == SPLIT_TRAIN && l->mode == LOADER_STREAM) /* a window that has a last target */
        return (int64_t)rng_below(rng_at(l->seed, RNG_ORDER, 0), (uint64_t)index,
                                  (uint64_t)(l->n - l->seq_len));
    int64_t row = index % l->rows;
    if (l->split == SPLIT_TRAIN) {
        rng order = rng_at(l->seed, RNG_ORDER, (uint64_t)(index / l->rows));
        row = (int64_t)rng_permute(order, (uint64_t)row, (uint64_t)l->rows);
    }
    return row * l->stride;
}

static void fill_slot(const loader *l, int64_t at, const int32_t *token, const int32_t *begin,
                      const loader_slot *out) {
    int T = l->seq_len;
    int64_t left = l->n - at; /* tokens from `at` on that exist */
    int repeated = at > 0 && l->split == SPLIT_VALIDATION ? T - l->stride : 0;
    for (int i = 0; i < T; i++) {
        bool next = i + 1 < left && begin[i + 1] != i + 1;
        bool counted = next && i >= repeated;
        bool second = counted && i + 2 < left && begin[i + 2] != i + 2;
        if (out->ids != NULL) out->ids[i] = token[i];
        if (out->target != NULL) out->target[i] = counted ? token[i + 1] : -1;
        if (out->next_id != NULL) out->next_id[i] = token[i + 1];
        if (out->target_mtp != NULL) out->target_mtp[i] = second ? token[i + 2] : -1;
        if (out->first != NULL) out->first[i] = i >= left ? i : begin[i] < 0 ? 0 : begin[i];
    }
}

status loader_row(loader *l, int64_t index, const loader_slot *slot) {
    if (index < 0)
        return FAIL(F_INTERNAL, "a row before the first was asked for", "loader",
                    text("row %" PRId64, index), "report this");
    arena *scratch = pool_scratch();
    if (scratch == NULL) return STATUS_MEMORY;
    size_t mark = arena_mark(scratch), n = (size_t)l->seq_len + 2;
    int32_t *token = arena_zalloc(scratch, n * sizeof *token);
    int32_t *begin = arena_zalloc(scratch, n * sizeof *begin);
    status s = token != NULL && begin != NULL ? STATUS_OK : STATUS_MEMORY;
    if (s == STATUS_OK) {
        int64_t at = row_start(l, index), there = l->n - at;
        if (there > (int64_t)n) there = (int64_t)n;
        s = read_tokens(l, at, there, token);
        if (s == STATUS_OK) {
            find_documents(l, at, there, begin);
            fill_slot(l, at, token, begin, slot);
        }
    }
    arena_reset(scratch, mark);
    return s;
}
