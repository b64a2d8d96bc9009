/* tokenize.c - from corpus.jsonl to token shards, kill-proof and the same for any thread count.
 *
 * What: split, tokenizer, shards, manifest. The result is a function of the documents and the
 * options alone.
 *
 * How: the plan key is a hash of everything that decides the shards' bytes. data.json is rewritten
 * under that key with an empty list before the first shard is made, then again after each shard,
 * and marked complete at the end. A run that finds its own key keeps each listed shard whose file
 * is whole (all blocks hashed: a damaged shard is made anew) and goes on with the first that is
 * not. Which document goes into which shard follows from bytes of text, so a shard can be made
 * without those before it. Files that no entry names are removed at the end.
 *
 * Mind: the keys of the manifest are always set in the same order, so that data.json too has the
 * same bytes after an interruption.
 */
#include "data/tokenize.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/progress.h"
#include "data/dataset.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define SHARD_BYTES ((int64_t)32 << 20)

typedef struct tokenizing {
    const tokenize_options *o;
    tokenize_result *out;
    dataset d;        /* as it was; its list of shards tells what may be kept */
    json_t *manifest; /* as it becomes */
    corpus_file corpus;
    split_plan plan;
    tokenizer *tokenizer;
    uint64_t corpus_hash;
    bool same_plan; /* the old list belongs to this plan */
    progress bar;
} tokenizing;

static uint64_t plan_key(const tokenizing *k) {
    struct {
        uint64_t version, corpus, tokenizer, seed, tail, drop;
        int64_t shard_bytes, line_min, n[2], bytes[2];
    } key = {1,
             k->corpus_hash,
             tokenizer_fingerprint(k->tokenizer),
             k->o->seed,
             k->plan.tail,
             k->plan.drop_lines,
             k->o->shard_bytes > 0 ? k->o->shard_bytes : SHARD_BYTES,
             k->plan.line_min,
             {k->plan.n[0], k->plan.n[1]},
             {k->plan.bytes[0], k->plan.bytes[1]}};
    double share = k->o->validation_share;
    uint64_t pair[2] = {hash64(&key, sizeof key, 0), hash64(&share, sizeof share, 0)};
    return hash64(pair, sizeof pair, 0);
}

/* ---- the manifest ---- */

static status describe_split(const tokenizing *k, json_t *manifest) {
    const split_plan *p = &k->plan;
    json_t *e = json_object();
    TRY(manifest_set(manifest, "split", e));
    TRY(manifest_set(e, "rule", json_string(p->tail ? "tail" : "documents")));
    TRY(manifest_set(e, "lines_apart", json_boolean(p->drop_lines)));
    TRY(manifest_set(e, "line_min", json_integer(p->line_min)));
    TRY(manifest_set(e, "share", json_real(k->o->validation_share)));
    TRY(manifest_set(e, "seed", json_integer((json_int_t)k->o->seed)));
    if (k->o->shard_bytes > 0 && k->o->shard_bytes != SHARD_BYTES)
        TRY(manifest_set(e, "shard_bytes", json_integer(k->o->shard_bytes)));
    TRY(manifest_set(e, "train_documents", json_integer(p->n[SPLIT_TRAIN])));
    TRY(manifest_set(e, "train_bytes", json_integer(p->bytes[SPLIT_TRAIN])));
    TRY(manifest_set(e, "validation_documents", json_integer(p->n[SPLIT_VALIDATION])));
    TRY(manifest_set(e, "validation_bytes", json_integer(p->bytes[SPLIT_VALIDATION])));
    TRY(manifest_set(e, "validation_lines_dropped", json_integer(p->lines_dropped)));
    TRY(manifest_set(e, "validation_bytes_dropped", json_integer(p->bytes_dropped)));
    return manifest_set(e, "validation_documents_emptied", json_integer(p->emptied));
}

/* A manifest without shards under the key of this plan. `tokenizer` is taken over. */
static status begin_manifest(tokenizing *k, json_t *tokenizer_entry) {
    static const char *const later[] = {"tokenizer", "split", "plan", "complete", "shards"};
    k->manifest = json_deep_copy(k->d.manifest);
    for (size_t i = 0; k->manifest != NULL && i < sizeof later / sizeof later[0]; i++)
        (void)json_object_del(k->manifest, later[i]); /* absent is as good as removed */
    TRY(manifest_set(k->manifest, "tokenizer", tokenizer_entry));
    TRY(describe_split(k, k->manifest));
    uint64_t key = plan_key(k), there = 0;
    TRY(manifest_set_hash(k->manifest, "plan", key));
    TRY(manifest_set(k->manifest, "complete", json_false()));
    TRY(manifest_set(k->manifest, "shards", json_array()));
    if (json_object_get(k->d.manifest, "plan") != NULL)
        TRY(manifest_get_hash(k->d.manifest, "plan", &there, MANIFEST_FILE));
    k->same_plan = there == key;
    /* Files of another plan are about to be replaced: first they lose their names. */
    return k->same_plan ? STATUS_OK : manifest_save(k->o->folder, k->manifest);
}

/* ---- shards ---- */

/* Is the shard whole, every block of it? Damage means no; other failures are failures. */
static status is_whole(const tokenizing *k, const dataset_shard *entry, bool *whole) {
    shard *s;
    *whole = false;
    status r = shard_open(&s, dataset_path(&k->d, entry->file));
    if (r == STATUS_FORMAT || (r == STATUS_IO && error_last()->id == F_MISSING)) return STATUS_OK;
    TRY(r);
    bool right = shard_hash(s) == entry->entry.hash;
    for (int64_t b = 0; b < shard_blocks(s) && right && r == STATUS_OK; b++) {
        r = shard_check_block(s, b);
        if (r == STATUS_FORMAT) {
            right = false;
            r = STATUS_OK;
        }
    }
    shard_close(s);
    *whole = right;
    return r;
}

static const dataset_shard *find_entry(const tokenizing *k, const char *file) {
    for (int i = 0; k->same_plan && i < k->d.n_shards; i++)
        if (strcmp(k->d.shards[i].file, file) == 0) return &k->d.shards[i];
    return NULL;
}

static void advance(tokenizing *k, const encode_range *r) {
    double bytes = 0;
    for (int64_t i = r->from; i < r->to; i++)
        bytes += (double)(k->plan.pieces[r->split][i].end - k->plan.pieces[r->split][i].begin);
    double done = k->bar.done + bytes / 1e6; /* lines left out are in it, not in the total */
    if (!k->o->quiet) progress_show(&k->bar, done < k->bar.total ? done : k->bar.total, NULL);
}

static status make_shard(tokenizing *k, const encode_range *r, int number) {
    dataset_shard one = {.split = r->split};
    snprintf(one.file, sizeof one.file, "%s-%05d.shard", split_name(r->split), number);
    char path[PATH_SIZE];
    TRY(path_join(path, k->o->folder, one.file));
    const dataset_shard *old = find_entry(k, one.file);
    bool keep = false;
    if (old != NULL) TRY(is_whole(k, old, &keep));
    if (keep)
        one = *old;
    else
        TRY(shard_encode(r, k->tokenizer, path, &one.entry));
    advance(k, r);
    k->out->shards++;
    k->out->shards_kept += keep;
    k->out->tokens[r->split] += one.entry.n_tokens;
    TRY(manifest_add_shard(k->manifest, &one));
    return keep ? STATUS_OK : manifest_save(k->o->folder, k->manifest);
}

/* The pieces of the next shard from `from` on: whole pieces until the text fills it. */
static encode_range next_range(const tokenizing *k, split_id split, int64_t from) {
    int64_t limit = k->o->shard_bytes > 0 ? k->o->shard_bytes : SHARD_BYTES, bytes = 0, to = from;
    while (to < k->plan.n[split] && bytes < limit) {
        bytes += k->plan.pieces[split][to].end - k->plan.pieces[split][to].begin;
        to++;
    }
    return (encode_range){&k->plan, split, from, to};
}

static status make_shards(tokenizing *k) {
    for (int split = 0; split < SPLIT_COUNT; split++) {
        int number = 0;
        for (int64_t at = 0; at < k->plan.n[split]; number++) {
            encode_range r = next_range(k, (split_id)split, at);
            TRY(make_shard(k, &r, number));
            at = r.to;
        }
    }
    return STATUS_OK;
}

static bool is_listed(const json_t *manifest, const char *file) {
    size_t i;
    json_t *e;
    json_array_foreach(json_object_get(manifest, "shards"), i,
                       e) if (strcmp(json_string_value(json_object_get(e, "file")), file) ==
                              0) return true;
    return false;
}

/* Shards of earlier plans, and siblings that an interrupted run left. */
static status remove_stale(const tokenizing *k) {
    char **names;
    int n;
    TRY(folder_list(k->o->folder, &names, &n));
    status s = STATUS_OK;
    for (int i = 0; i < n && s == STATUS_OK; i++) {
        const char *end = strstr(names[i], ".shard");
        if (end == NULL || (end[6] != '\0' && strcmp(end, ".shard.tmp") != 0)) continue;
        if (is_listed(k->manifest, names[i])) continue;
        const char *path = dataset_path(&k->d, names[i]);
        if (unlink(path) != 0 && errno != ENOENT)
            s = error_errno(errno, text("remove %s", path), path);
    }
    folder_list_free(names, n);
    return s;
}

/* ---- the whole ---- */

static status check_options(const tokenize_options *o) {
    if (o->vocab_size != 0 && (o->vocab_size < 256 || o->vocab_size > 1000000))
        return FAIL(F_BAD_VALUE, text("a vocabulary of %d tokens is not possible", o->vocab_size),
                    "--vocab-size", "between 256 (bytes) and 1,000,000 are",
                    text("fathom data tokenize %s --vocab-size 8192", o->folder));
    if (o->validation_share < 0 || o->validation_share > 0.5)
        return FAIL(F_BAD_VALUE, text("%g of the text cannot be held back", o->validation_share),
                    "--validation", "between 0 and 0.5 can", "choose a smaller --validation");
    if (o->shard_bytes < 0 || o->line_min < 0)
        return FAIL(F_BAD_VALUE, "a negative size", "--shard-size", "sizes are positive",
                    "choose another --shard-size");
    return STATUS_OK;
}

static void report_split(tokenizing *k) {
    const split_plan *p = &k->plan;
    for (int split = 0; split < SPLIT_COUNT; split++) {
        k->out->documents[split] = p->n[split];
        k->out->text_bytes[split] = p->bytes[split];
    }
    k->out->lines_dropped = p->lines_dropped;
    k->out->bytes_dropped = p->bytes_dropped;
    k->out->documents_emptied = p->emptied;
    k->out->tail = p->tail;
    k->out->vocab_size = tokenizer_vocab_size(k->tokenizer);
}

static status tokenize_all(tokenizing *k) {
    json_t *entry, *corpus;
    TRY(json_get_object(k->d.manifest, "corpus", &corpus, MANIFEST_FILE));
    TRY(manifest_get_hash(corpus, "hash", &k->corpus_hash, MANIFEST_FILE));
    TRY(corpus_file_open(&k->corpus, &k->d));
    TRY(split_plan_make(&k->plan, &k->corpus, k->o));
    TRY(vocabulary_get(k->o, &k->d, &k->plan, k->corpus_hash, &k->tokenizer, &entry));
    report_split(k);
    TRY(begin_manifest(k, entry));
    double megabytes = (double)(k->plan.bytes[SPLIT_TRAIN] + k->plan.bytes[SPLIT_VALIDATION]) / 1e6;
    if (!k->o->quiet) progress_start(&k->bar, "tokenize", "MB", megabytes, 0);
    status s = make_shards(k);
    if (!k->o->quiet) progress_end(&k->bar, NULL);
    TRY(s);
    TRY(manifest_set(k->manifest, "complete", json_true()));
    TRY(manifest_save(k->o->folder, k->manifest));
    return remove_stale(k);
}

status data_tokenize(const tokenize_options *o, tokenize_result *out) {
    *out = (tokenize_result){0};
    TRY(check_options(o));
    tokenizing k = {.o = o, .out = out};
    TRY(dataset_open(&k.d, o->folder));
    status s = tokenize_all(&k);
    tokenizer_free(k.tokenizer);
    split_plan_clear(&k.plan);
    corpus_file_close(&k.corpus);
    json_decref(k.manifest);
    dataset_close(&k.d);
    return s;
}
