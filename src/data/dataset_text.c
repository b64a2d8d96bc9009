/* dataset_text.c - the text of a split, decoded from its shards.
 *
 * What: what the model was given, as bytes; baselines and people read it. Boundary tokens stand for
 * no text and are left out.
 *
 * Mind: decoding document by document keeps memory at the text itself. Encoding and decoding are
 * inverse for any bytes, so this is the text of corpus.jsonl less the dropped lines; a tokenizer
 * that normalises (Qwen) gives the normal form.
 */
#include "base/json.h"
#include "data/tokenize.h"

static status append_document(shard *s, int64_t i, const tokenizer *t, buffer *out) {
    int64_t begin = shard_document_at(s, i).start, n = shard_document_end(s, i) - begin;
    int32_t *ids = mem_zalloc((size_t)n, sizeof *ids);
    if (ids == NULL) return STATUS_MEMORY;
    char *bytes = NULL;
    size_t length = 0;
    status r = shard_read(s, begin, n, ids);
    if (r == STATUS_OK) {
        const shard_facts *facts = shard_get_facts(s);
        int64_t from = facts->bos_id >= 0 && ids[0] == facts->bos_id;
        int64_t to = n - (facts->eos_id >= 0 && n > from && ids[n - 1] == facts->eos_id);
        r = tokenizer_decode(t, ids + from, (size_t)(to - from), true, &bytes, &length);
    }
    mem_free(ids);
    if (r == STATUS_OK) buffer_put(out, bytes, length);
    mem_free(bytes);
    return r != STATUS_OK ? r : buffer_check(out);
}

static status append_shard(const dataset *d, const dataset_shard *entry, const tokenizer *t,
                           buffer *out) {
    shard *s;
    TRY(shard_open(&s, dataset_path(d, entry->file)));
    status r = STATUS_OK;
    if (shard_get_facts(s)->tokenizer != tokenizer_fingerprint(t))
        r = FAIL(F_SHARD, text("%s was made with another tokenizer", entry->file), d->folder,
                 TOKENIZER_FILE " was replaced after the shards were made",
                 text("run `fathom data tokenize %s` again", d->folder));
    for (int64_t i = 0; i < shard_documents(s) && r == STATUS_OK; i++)
        r = append_document(s, i, t, out);
    shard_close(s);
    return r;
}

status dataset_text(const dataset *d, split_id split, char **bytes, size_t *n) {
    tokenizer *t;
    buffer out = {0};
    *bytes = NULL;
    *n = 0;
    char path[PATH_SIZE];
    TRY(path_join(path, d->folder, TOKENIZER_FILE));
    TRY(tokenizer_open(&t, path));
    status s = STATUS_OK;
    for (int i = 0; i < d->n_shards && s == STATUS_OK; i++)
        if (d->shards[i].split == split) s = append_shard(d, &d->shards[i], t, &out);
    tokenizer_free(t);
    if (s == STATUS_OK && !buffer_reserve(&out, 1)) s = buffer_check(&out);
    if (s != STATUS_OK) {
        buffer_clear(&out);
        return s;
    }
    *bytes = out.bytes;
    *n = out.n;
    return STATUS_OK;
}
