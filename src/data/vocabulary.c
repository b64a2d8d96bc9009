/* vocabulary.c - where a dataset's tokenizer comes from.
 *
 * What: three cases. A file was named: it is read and written into the folder in our own form, so
 * that the dataset is complete in itself. 256 tokens are wanted: bytes, nothing to learn. Else BPE
 * is trained on the training split alone: the validation text must not shape the vocabulary that
 * judges it.
 *
 * How: the entry in data.json keeps a key, the hash of everything that decides the vocabulary (the
 * documents, how they were split, the size, or the given tokenizer's fingerprint). A later call
 * with the same key and a whole file keeps it; training gives the same bytes anyway, it only costs
 * seconds.
 *
 * Mind: text is handed to the trainer in batches of a few megabytes; memory holds one batch and the
 * trainer's table of pieces.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "data/dataset.h"
#include "data/tokenize.h"
#include "tokens/bpe_train.h"

#include <string.h>

#define BATCH_BYTES    ((size_t)8 << 20)
#define VOCAB_STANDARD 8192

#define VOCAB_MOST 1000000

/* What is asked for; else what this dataset was given before, so that a repair changes nothing. */
static int wanted_size(const tokenize_options *o, const dataset *d) {
    if (o->vocab_size > 0) return o->vocab_size;
    json_int_t before = json_integer_value(
        json_object_get(json_object_get(d->manifest, "tokenizer"), "wanted_size"));
    return before >= 256 && before <= VOCAB_MOST ? (int)before : VOCAB_STANDARD;
}

/* The file to take the tokenizer from, NULL = train one. A dataset that was given one keeps it. */
static const char *source(const tokenize_options *o, const dataset *d, const char *own) {
    const json_t *entry = json_object_get(d->manifest, "tokenizer");
    if (o->tokenizer != NULL || o->vocab_size > 0) return o->tokenizer;
    return json_is_false(json_object_get(entry, "trained")) ? own : NULL;
}

void boundary_tokens(const tokenizer *t, int32_t *bos, int32_t *eos) {
    *bos = tokenizer_bos(t);
    *eos = tokenizer_eos(t);
    if (*bos < 0) *bos = *eos;
    if (*eos < 0) *eos = *bos;
}

/* ---- training ---- */

/* Documents of one call to the trainer: their bytes one after another, and where each ends. */
typedef struct batch {
    buffer bytes;
    size_t *ends;
    text_span *spans;
    size_t n, room;
} batch;

static status batch_append(batch *b, const buffer *one) {
    if (b->n == b->room) {
        size_t room = b->room > 0 ? b->room * 2 : 1024;
        size_t *ends = mem_resize(b->ends, room, sizeof *ends);
        if (ends == NULL) return STATUS_MEMORY;
        b->ends = ends;
        text_span *spans = mem_resize(b->spans, room, sizeof *spans);
        if (spans == NULL) return STATUS_MEMORY;
        b->spans = spans;
        b->room = room;
    }
    buffer_put(&b->bytes, one->bytes, one->n);
    b->ends[b->n++] = b->bytes.n;
    return buffer_check(&b->bytes);
}

static status batch_flush(batch *b, bpe_trainer *trainer) {
    for (size_t i = 0; i < b->n; i++) {
        size_t from = i > 0 ? b->ends[i - 1] : 0;
        b->spans[i] = (text_span){b->bytes.bytes + from, b->ends[i] - from};
    }
    status s = b->n > 0 ? bpe_trainer_add(trainer, b->spans, b->n) : STATUS_OK;
    buffer_cut(&b->bytes, 0);
    b->n = 0;
    return s;
}

static status feed(bpe_trainer *trainer, const split_plan *p) {
    batch b = {0};
    buffer piece_bytes = {0};
    status s = STATUS_OK;
    for (int64_t i = 0; i < p->n[SPLIT_TRAIN] && s == STATUS_OK; i++) {
        s = piece_text(p, SPLIT_TRAIN, i, &piece_bytes);
        if (s == STATUS_OK) s = batch_append(&b, &piece_bytes);
        if (s == STATUS_OK && b.bytes.n >= BATCH_BYTES) s = batch_flush(&b, trainer);
        if (s == STATUS_OK)
            s = interrupt_status("training the tokenizer", "run the same command again");
    }
    if (s == STATUS_OK) s = batch_flush(&b, trainer);
    buffer_clear(&b.bytes);
    buffer_clear(&piece_bytes);
    mem_free(b.ends);
    mem_free(b.spans);
    return s;
}

static status train(int wanted, const split_plan *p, tokenizer **out) {
    if (wanted == 256) return tokenizer_byte(out);
    bpe_options options = {.vocab_size = wanted,
                           .pretokenizer = PRETOKENIZER_DEEPSEEK_V3,
                           .added = bpe_default_added,
                           .n_added = BPE_DEFAULT_ADDED,
                           .n_special = BPE_DEFAULT_SPECIAL};
    bpe_trainer *trainer;
    TRY(bpe_trainer_new(&trainer, &options));
    status s = feed(trainer, p);
    if (s == STATUS_OK) s = bpe_trainer_finish(trainer, out);
    bpe_trainer_free(trainer);
    return s;
}

/* ---- keeping ---- */

/* What a trained vocabulary depends on. */
static uint64_t training_key(const tokenize_options *o, int wanted, const split_plan *p,
                             uint64_t corpus_hash) {
    struct {
        uint64_t version, corpus, size, tail, drop;
        int64_t n, bytes;
        double share;
    } key = {1,
             corpus_hash,
             (uint64_t)wanted,
             p->tail,
             p->drop_lines,
             p->n[SPLIT_TRAIN],
             p->bytes[SPLIT_TRAIN],
             o->validation_share};
    return hash64(&key, sizeof key, 0);
}

/* Opens the folder's tokenizer if the manifest says that it has this key and its file is whole. */
static status open_kept(const dataset *d, uint64_t key, tokenizer **out) {
    uint64_t there;
    bool fits;
    const json_t *entry = json_object_get(d->manifest, "tokenizer");
    if (entry == NULL || json_object_get(entry, "key") == NULL) return STATUS_OK;
    TRY(manifest_get_hash(entry, "key", &there, MANIFEST_FILE));
    if (there != key) return STATUS_OK;
    TRY(manifest_file_fits(d->folder, entry, &fits));
    char path[PATH_SIZE];
    TRY(path_join(path, d->folder, TOKENIZER_FILE));
    return fits ? tokenizer_open(out, path) : STATUS_OK;
}

static status describe(const dataset *d, const tokenizer *t, uint64_t key, int trained_to,
                       json_t **out) {
    json_t *e;
    TRY(manifest_describe_file(d->folder, TOKENIZER_FILE, &e));
    status s = manifest_set(e, "vocab_size", json_integer(tokenizer_vocab_size(t)));
    if (s == STATUS_OK) s = manifest_set(e, "trained", json_boolean(trained_to > 0));
    if (s == STATUS_OK && trained_to > 0)
        s = manifest_set(e, "wanted_size", json_integer(trained_to));
    if (s == STATUS_OK) s = manifest_set_hash(e, "fingerprint", tokenizer_fingerprint(t));
    if (s == STATUS_OK) s = manifest_set_hash(e, "key", key);
    if (s == STATUS_OK)
        *out = e;
    else
        json_decref(e);
    return s;
}

status vocabulary_get(const tokenize_options *o, const dataset *d, const split_plan *p,
                      uint64_t corpus_hash, tokenizer **out, json_t **description) {
    tokenizer *given = NULL, *t = NULL;
    char path[PATH_SIZE];
    TRY(path_join(path, d->folder, TOKENIZER_FILE));
    const char *from = source(o, d, path);
    bool trained = from == NULL;
    int wanted = wanted_size(o, d);
    *out = NULL;
    *description = NULL;
    if (!trained) TRY(tokenizer_open(&given, from));
    uint64_t key = trained ? training_key(o, wanted, p, corpus_hash) : tokenizer_fingerprint(given);
    status s = open_kept(d, key, &t);
    if (s == STATUS_OK && t == NULL) {
        if (trained) {
            s = train(wanted, p, &t);
        } else {
            t = given;
            given = NULL;
        }
        if (s == STATUS_OK) s = tokenizer_save(t, path);
    }
    if (s == STATUS_OK) s = describe(d, t, key, trained ? wanted : 0, description);
    tokenizer_free(given);
    if (s != STATUS_OK) {
        tokenizer_free(t);
        return s;
    }
    *out = t;
    return STATUS_OK;
}
