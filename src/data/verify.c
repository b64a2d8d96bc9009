/* verify.c - reads a dataset again, byte for byte, and names what is damaged.
 *
 * What: corpus.jsonl and tokenizer.json against their hashes, every shard against the manifest,
 * every block against its hash. Damage is told as it is found; the walk goes on to the end, so one
 * run gives the whole picture.
 *
 * Mind: only damage is told and counted. A failure to look (no permission, no memory, an
 * interruption) ends the walk with its own error: it says nothing about the data.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "data/dataset.h"

#include <inttypes.h>
#include <string.h>

typedef struct verifier {
    const dataset *d;
    verify_tell *tell;
    void *context;
    verify_result *out;
} verifier;

/* A failed check is told and swallowed if it means damage; other failures pass. */
static status found(verifier *v, status s) {
    if (s == STATUS_OK) return s;
    error_id id = error_last()->id;
    if (s != STATUS_FORMAT && id != F_MISSING) return s;
    v->out->damaged++;
    if (v->tell != NULL) v->tell(v->context, error_last());
    return STATUS_OK;
}

static status check_file(verifier *v, const char *key, const char *remedy) {
    const json_t *description = json_object_get(v->d->manifest, key);
    if (description == NULL) return STATUS_OK;
    bool fits;
    status s = manifest_file_fits(v->d->folder, description, &fits);
    const char *file = json_string_value(json_object_get(description, "file"));
    v->out->files++;
    if (s == STATUS_OK && !fits)
        s = FAIL(F_DATASET, text("%s is missing or damaged", file), v->d->folder,
                 "its bytes are not those that data.json describes", remedy);
    if (s == STATUS_OK)
        v->out->bytes += json_integer_value(json_object_get(description, "file_bytes"));
    return found(v, s);
}

static status check_blocks(verifier *v, shard *s) {
    int64_t last = -1; /* last document counted as hit */
    for (int64_t b = 0; b < shard_blocks(s); b++) {
        TRY(interrupt_status("verifying", "run the same command again"));
        v->out->blocks++;
        status checked = shard_check_block(s, b);
        if (checked == STATUS_FORMAT) {
            int64_t end = (b + 1) * SHARD_BLOCK_TOKENS;
            if (end > shard_tokens(s)) end = shard_tokens(s);
            int64_t from = shard_find_document(s, b * SHARD_BLOCK_TOKENS);
            int64_t to = shard_find_document(s, end - 1);
            if (from <= last) from = last + 1;
            v->out->documents_hit += to - from + 1;
            last = to;
        }
        TRY(found(v, checked));
    }
    return STATUS_OK;
}

static status check_shard(verifier *v, const dataset_shard *entry) {
    shard *s;
    v->out->shards++;
    status opened = shard_open(&s, dataset_path(v->d, entry->file));
    if (opened != STATUS_OK) {
        v->out->documents_hit += entry->entry.n_documents;
        return found(v, opened);
    }
    status result = STATUS_OK;
    if (shard_hash(s) != entry->entry.hash || shard_tokens(s) != entry->entry.n_tokens ||
        shard_documents(s) != entry->entry.n_documents)
        result = found(v, FAIL(F_SHARD,
                               text("%s is not the shard that data.json describes", entry->file),
                               v->d->folder, "it is whole, but its hash or counts are others",
                               text("run `%s`", dataset_repair(v->d))));
    if (result == STATUS_OK) result = check_blocks(v, s);
    v->out->bytes += entry->entry.file_bytes;
    shard_close(s);
    return result;
}

static status check_dataset(verifier *v) {
    const char *folder = v->d->folder;
    TRY(check_file(v, "corpus",
                   "make the dataset again: `fathom data get` or `fathom data import`"));
    TRY(check_file(v, "tokenizer", text("run `%s`", dataset_repair(v->d))));
    for (int i = 0; i < v->d->n_shards; i++)
        TRY(check_shard(v, &v->d->shards[i]));
    if (v->out->damaged == 0) return STATUS_OK;
    return FAIL(
        F_DAMAGE, text("%s is damaged", folder),
        text("%d places, %" PRId64 " documents affected", v->out->damaged, v->out->documents_hit),
        "files changed after they were written: a failing disk, a cut copy or an edit",
        text("run `%s`: it makes what is missing or damaged", dataset_repair(v->d)));
}

status data_verify(const char *folder, verify_tell *tell, void *context, verify_result *out) {
    *out = (verify_result){0};
    dataset d;
    TRY(dataset_open(&d, folder));
    verifier v = {&d, tell, context, out};
    status s = check_dataset(&v);
    dataset_close(&d);
    return s;
}
