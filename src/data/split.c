/* split.c - which text trains and which one judges.
 *
 * What: picks validation documents by hash, orders both splits, and finds the lines that both have
 * so that the validation text can leave them out.
 *
 * How: documents are walked in the order of a hash of their id, which has nothing to do with where
 * they came from, and taken for validation until a share of the text is reached (2 %, at least
 * 128 KiB or a tenth); one that would overshoot twice is passed over. Where that cannot work (one
 * long file), the last tenth of the text is cut off instead, at the end of a line. Each split is
 * then ordered by hash(seed, id): shards in that order are a shuffled corpus, and cutting them by
 * bytes of text fixes which document goes where before a tokenizer exists.
 *
 * Lines: every line of the validation split (blanks at its ends aside) is put into a set, the
 * training split is searched for them, and piece_text leaves out what was found. So a line of the
 * validation text, short or long, was never trained on. The explicit tail split keeps its text
 * whole: there the two texts are neighbours of one book and known to be.
 *
 * Mind: the corpus is parsed again for each of these passes instead of being kept in memory; the
 * index takes 32 bytes a document, the set about 13 bytes a validation line.
 */
#include "data/split.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/pool.h"
#include "data/dataset.h"
#include "data/jsonl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK           64 /* documents of one job of the pool */
#define SPLIT_KEY       0x76616C6964617465u
#define VALIDATION_LOW  ((int64_t)128 << 10)
#define VALIDATION_PART 0.02
#define TAIL_PART       0.1

void job_failure_note(job_failure *f, int64_t chunk, status s) {
    while (__atomic_exchange_n(&f->lock, 1, __ATOMIC_ACQUIRE) != 0) {
    }
    if (chunk < f->chunk) {
        f->chunk = chunk;
        f->code = s;
        error_save(&f->report);
    }
    __atomic_store_n(&f->lock, 0, __ATOMIC_RELEASE);
}

status job_failure_result(const job_failure *f) {
    if (f->chunk == INT64_MAX) return STATUS_OK;
    error_restore(&f->report);
    return f->code;
}

/* ---- the index ---- */

static const char *line_where(const corpus_file *c, int64_t i) {
    return text("%s:%" PRId64, c->path, i + 1);
}

static status read_text(const corpus_file *c, int64_t i, record *r) {
    const indexed_text *t = &c->texts[i];
    return record_read(r, (const char *)c->map.data + t->offset, t->length, line_where(c, i));
}

typedef struct index_job {
    corpus_file *c;
    job_failure failed;
} index_job;

static status index_one(corpus_file *c, int64_t i) {
    record r;
    TRY(read_text(c, i, &r));
    hash128_value h = hash128(r.text, r.text_bytes);
    char id[33];
    snprintf(id, sizeof id, "%016" PRIx64 "%016" PRIx64, h.high, h.low);
    status s = STATUS_OK;
    if (strcmp(id, r.id) != 0)
        s = FAIL(F_DATASET, "a document is not what its id says", line_where(c, i),
                 text("id %.40s, hash of the text %s", r.id, id), "make the dataset again");
    c->texts[i].hash = h.low;
    c->texts[i].text_bytes = (int64_t)r.text_bytes;
    record_clear(&r);
    return s;
}

static void index_chunk(void *context, int64_t chunk) {
    index_job *job = context;
    int64_t end = (chunk + 1) * CHUNK < job->c->n ? (chunk + 1) * CHUNK : job->c->n;
    for (int64_t i = chunk * CHUNK; i < end; i++) {
        status s = index_one(job->c, i);
        if (s == STATUS_OK) continue;
        job_failure_note(&job->failed, chunk, s);
        return;
    }
}

/* Places of the lines; counts them if `texts` is NULL. */
static int64_t find_lines(const mapped_file *map, indexed_text *texts) {
    int64_t n = 0;
    for (size_t at = 0; at < map->size;) {
        const uint8_t *end = memchr(map->data + at, '\n', map->size - at);
        size_t length = end != NULL ? (size_t)(end - map->data) - at : map->size - at;
        if (texts != NULL) texts[n] = (indexed_text){.offset = at, .length = length};
        n++;
        at += length + 1;
    }
    return n;
}

static status index_corpus(corpus_file *c) {
    c->n = find_lines(&c->map, NULL);
    c->texts = mem_zalloc((size_t)c->n + 1, sizeof *c->texts);
    if (c->texts == NULL) return STATUS_MEMORY;
    find_lines(&c->map, c->texts);
    index_job job = {.c = c, .failed = JOB_FAILURE_NONE};
    pool_for((c->n + CHUNK - 1) / CHUNK, index_chunk, &job);
    TRY(job_failure_result(&job.failed));
    for (int64_t i = 0; i < c->n; i++)
        c->text_bytes += c->texts[i].text_bytes;
    return STATUS_OK;
}

status corpus_file_open(corpus_file *c, const dataset *d) {
    *c = (corpus_file){0};
    json_t *description;
    const char *file;
    bool fits;
    TRY(json_get_object(d->manifest, "corpus", &description, MANIFEST_FILE));
    TRY(manifest_file_fits(d->folder, description, &fits));
    TRY(json_get_string(description, "file", &file, MANIFEST_FILE));
    TRY(path_join(c->path, d->folder, file));
    if (!fits)
        return FAIL(F_DATASET, text("%s is missing or not the file that data.json describes", file),
                    c->path, "it was changed, cut, or its making was interrupted",
                    "run the same `fathom data get` or `fathom data import` again");
    TRY(mapped_open(&c->map, c->path));
    status s = index_corpus(c);
    if (s != STATUS_OK) corpus_file_close(c);
    return s;
}

void corpus_file_close(corpus_file *c) {
    mapped_close(&c->map);
    mem_free(c->texts);
    *c = (corpus_file){0};
}

/* ---- choosing ---- */

typedef struct ranked {
    uint64_t key, hash;
    int64_t text;
} ranked;

static int by_key(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return x->text < y->text ? -1 : x->text > y->text;
}

/* All documents in the order of hash(key, id). */
static status rank_texts(const corpus_file *c, uint64_t key, ranked **out) {
    ranked *r = mem_zalloc((size_t)c->n + 1, sizeof *r);
    *out = r;
    if (r == NULL) return STATUS_MEMORY;
    for (int64_t i = 0; i < c->n; i++)
        r[i] =
            (ranked){hash64(&c->texts[i].hash, sizeof c->texts[i].hash, key), c->texts[i].hash, i};
    qsort(r, (size_t)c->n, sizeof *r, by_key);
    return STATUS_OK;
}

static int64_t validation_target(const corpus_file *c, double share) {
    int64_t part = (int64_t)((double)c->text_bytes * share), tenth = c->text_bytes / 10;
    int64_t least = tenth < VALIDATION_LOW ? tenth : VALIDATION_LOW;
    return part > least ? part : least;
}

/* Marks validation documents in `chosen`; the bytes they have. */
static int64_t choose(const corpus_file *c, const ranked *r, int64_t target, uint8_t *chosen) {
    int64_t bytes = 0;
    for (int64_t i = 0; i < c->n && bytes < target; i++) {
        int64_t size = c->texts[r[i].text].text_bytes;
        if (bytes + size > 2 * target) continue;
        chosen[r[i].text] = 1;
        bytes += size;
    }
    return bytes;
}

static void add_piece(split_plan *p, split_id split, piece one) {
    if (one.end <= one.begin) return;
    p->pieces[split][p->n[split]++] = one;
    p->bytes[split] += one.end - one.begin;
}

static status split_documents(split_plan *p, const uint8_t *chosen, uint64_t seed) {
    ranked *order;
    status s = rank_texts(p->corpus, seed, &order);
    for (int64_t i = 0; i < p->corpus->n && s == STATUS_OK; i++) {
        const indexed_text *t = &p->corpus->texts[order[i].text];
        add_piece(p, chosen[order[i].text] ? SPLIT_VALIDATION : SPLIT_TRAIN,
                  (piece){order[i].text, 0, t->text_bytes, t->hash});
    }
    mem_free(order);
    return s;
}

/* Where a text may be cut near byte `at`: after a line if lines matter, else before a character. */
static size_t cut_place(const char *bytes, size_t n, size_t at, bool lines) {
    const char *end = lines ? memchr(bytes + at, '\n', n - at) : NULL;
    if (end != NULL && end + 1 < bytes + n) return (size_t)(end + 1 - bytes);
    while (at > 0 && at < n && ((uint8_t)bytes[at] & 0xC0) == 0x80)
        at--;
    return at;
}

/* Cuts document i at its byte `at` into a piece of each split. */
static status cut_document(split_plan *p, int64_t i, int64_t at) {
    record r;
    TRY(read_text(p->corpus, i, &r));
    size_t cut = cut_place(r.text, r.text_bytes, (size_t)at, p->drop_lines);
    add_piece(p, SPLIT_TRAIN, (piece){i, 0, (int64_t)cut, hash128(r.text, cut).low});
    add_piece(p, SPLIT_VALIDATION,
              (piece){i, (int64_t)cut, (int64_t)r.text_bytes,
                      hash128(r.text + cut, r.text_bytes - cut).low});
    record_clear(&r);
    return STATUS_OK;
}

static status split_tail(split_plan *p, double share) {
    const corpus_file *c = p->corpus;
    int64_t left = c->text_bytes - (int64_t)((double)c->text_bytes * share); /* for training */
    /* 0.1 is 9 tenths by whole numbers, as the loader cuts a file of bytes. */
    if (share == TAIL_PART) left = c->text_bytes / 10 * 9 + c->text_bytes % 10 * 9 / 10;
    for (int64_t i = 0; i < c->n; i++) {
        int64_t size = c->texts[i].text_bytes;
        if (left > 0 && left < size)
            TRY(cut_document(p, i, left));
        else
            add_piece(p, left > 0 ? SPLIT_TRAIN : SPLIT_VALIDATION,
                      (piece){i, 0, size, c->texts[i].hash});
        left -= size;
    }
    return STATUS_OK;
}

static status too_few(const corpus_file *c) {
    return FAIL(F_NO_TEXT, "too few documents to hold some back", c->path,
                text("%" PRId64 " documents, %" PRId64
                     " bytes; each is too large a part of the whole",
                     c->n, c->text_bytes),
                "use --split tail, which holds back the last tenth of the text");
}

static status divide(split_plan *p, const tokenize_options *o) {
    const corpus_file *c = p->corpus;
    double share = o->validation_share > 0 ? o->validation_share : VALIDATION_PART;
    uint8_t *chosen = mem_zalloc((size_t)c->n + 1, 1);
    ranked *order = NULL;
    status s = chosen != NULL ? rank_texts(c, SPLIT_KEY, &order) : STATUS_MEMORY;
    if (s != STATUS_OK) goto done;
    int64_t target = validation_target(c, share);
    bool enough =
        o->split != SPLIT_TAIL && 2 * choose(c, order, target, chosen) >= target && c->n > 1;
    p->tail = !enough;
    p->drop_lines = o->split != SPLIT_TAIL;
    if (enough)
        s = split_documents(p, chosen, o->seed);
    else if (o->split == SPLIT_DOCUMENTS)
        s = too_few(c);
    else
        s = split_tail(p, o->split == SPLIT_TAIL && o->validation_share > 0 ? share : TAIL_PART);
done:
    mem_free(chosen);
    mem_free(order);
    return s;
}

/* ---- shared lines ---- */

/* The next line from *at with its newline; the hash of what it says, or false in `counts` if the
 * line may be on both sides. */
static bool next_line(const split_plan *p, const char *bytes, size_t n, size_t *at, size_t *length,
                      uint64_t *hash, bool *counts) {
    if (*at >= n) return false;
    const char *line = bytes + *at, *end = memchr(line, '\n', n - *at);
    *length = end != NULL ? (size_t)(end + 1 - line) : n - *at;
    size_t from = 0, to = *length;
    while (to > from && strchr(" \t\r\n\f\v", line[to - 1]) != NULL)
        to--;
    while (from < to && strchr(" \t\r\n\f\v", line[from]) != NULL)
        from++;
    *counts = to - from >= (size_t)p->line_min;
    *hash = *counts ? hash64(line + from, to - from, 0) : 0;
    *at += *length;
    return true;
}

typedef struct search_job {
    split_plan *p;
    job_failure failed;
} search_job;

static void search_chunk(void *context, int64_t chunk) {
    search_job *job = context;
    split_plan *p = job->p;
    int64_t n = p->n[SPLIT_TRAIN], end = (chunk + 1) * CHUNK < n ? (chunk + 1) * CHUNK : n;
    buffer train = {0};
    status s = STATUS_OK;
    for (int64_t i = chunk * CHUNK; i < end && s == STATUS_OK; i++) {
        s = piece_text(p, SPLIT_TRAIN, i, &train);
        size_t at = 0, length;
        uint64_t hash;
        bool counts;
        while (s == STATUS_OK && next_line(p, train.bytes, train.n, &at, &length, &hash, &counts))
            if (counts) hash_set_mark(&p->lines, hash);
    }
    if (s != STATUS_OK) job_failure_note(&job->failed, chunk, s);
    buffer_clear(&train);
}

static status find_shared_lines(split_plan *p) {
    buffer held = {0};
    status s = STATUS_OK;
    for (int64_t i = 0; i < p->n[SPLIT_VALIDATION] && s == STATUS_OK; i++) {
        s = piece_text(p, SPLIT_VALIDATION, i, &held);
        size_t at = 0, length;
        uint64_t hash;
        bool counts;
        while (s == STATUS_OK && next_line(p, held.bytes, held.n, &at, &length, &hash, &counts))
            if (counts) s = hash_set_add(&p->lines, hash, NULL);
    }
    buffer_clear(&held);
    TRY(s);
    search_job job = {.p = p, .failed = JOB_FAILURE_NONE};
    pool_for((p->n[SPLIT_TRAIN] + CHUNK - 1) / CHUNK, search_chunk, &job);
    return job_failure_result(&job.failed);
}

static void append_kept(const split_plan *p, const char *bytes, size_t n, buffer *out) {
    size_t at = 0, length;
    uint64_t hash;
    bool counts;
    while (next_line(p, bytes, n, &at, &length, &hash, &counts))
        if (!counts || !hash_set_marked(&p->lines, hash))
            buffer_put(out, bytes + at - length, length);
}

status piece_text(const split_plan *p, split_id split, int64_t i, buffer *out) {
    const piece *one = &p->pieces[split][i];
    record r;
    TRY(read_text(p->corpus, one->text, &r));
    buffer_cut(out, 0);
    size_t n = (size_t)(one->end - one->begin);
    if (split == SPLIT_VALIDATION && p->drop_lines)
        append_kept(p, r.text + one->begin, n, out);
    else
        buffer_put(out, r.text + one->begin, n);
    record_clear(&r);
    return buffer_check(out);
}

/* ---- the plan ---- */

static int64_t count_lines(const char *bytes, size_t n) {
    int64_t lines = 0;
    for (size_t i = 0; i < n; i++)
        lines += bytes[i] == '\n';
    return lines + (n > 0 && bytes[n - 1] != '\n');
}

static bool is_blank(const buffer *b) {
    for (size_t i = 0; i < b->n; i++)
        if (strchr(" \t\r\n\f\v", b->bytes[i]) == NULL) return false;
    return true;
}

/* Counts what piece_text leaves out, and takes away pieces of which nothing is left. */
static status measure_dropped(split_plan *p) {
    buffer whole = {0}, kept = {0};
    status s = STATUS_OK;
    int64_t n = 0, bytes = 0;
    for (int64_t i = 0; i < p->n[SPLIT_VALIDATION] && s == STATUS_OK; i++) {
        p->drop_lines = false;
        s = piece_text(p, SPLIT_VALIDATION, i, &whole);
        p->drop_lines = true;
        if (s == STATUS_OK) s = piece_text(p, SPLIT_VALIDATION, i, &kept);
        if (s != STATUS_OK) break;
        p->lines_dropped += count_lines(whole.bytes, whole.n) - count_lines(kept.bytes, kept.n);
        p->bytes_dropped += (int64_t)(whole.n - kept.n);
        if (is_blank(&kept)) {
            p->emptied++;
        } else {
            p->pieces[SPLIT_VALIDATION][n++] = p->pieces[SPLIT_VALIDATION][i];
            bytes += (int64_t)kept.n;
        }
    }
    p->n[SPLIT_VALIDATION] = n;
    p->bytes[SPLIT_VALIDATION] = bytes;
    buffer_clear(&whole);
    buffer_clear(&kept);
    return s;
}

status split_plan_make(split_plan *p, const corpus_file *c, const tokenize_options *o) {
    *p = (split_plan){.corpus = c, .line_min = o->line_min > 0 ? o->line_min : 1};
    status s = STATUS_OK;
    for (int i = 0; i < SPLIT_COUNT && s == STATUS_OK; i++) {
        p->pieces[i] = mem_zalloc((size_t)c->n + 2, sizeof **p->pieces);
        if (p->pieces[i] == NULL) s = STATUS_MEMORY;
    }
    if (s == STATUS_OK) s = divide(p, o);
    if (s == STATUS_OK && p->drop_lines) s = find_shared_lines(p);
    if (s == STATUS_OK && p->drop_lines) s = measure_dropped(p);
    if (s != STATUS_OK) split_plan_clear(p);
    return s;
}

void split_plan_clear(split_plan *p) {
    for (int i = 0; i < SPLIT_COUNT; i++)
        mem_free(p->pieces[i]);
    hash_set_clear(&p->lines);
    *p = (split_plan){0};
}
