/* shard_encode.c - the documents of one shard, encoded by all threads, written in their order.
 *
 * How: the pieces are cut into chunks of about 64 KiB of text, which depends on the pieces only.
 * Each chunk becomes a list of ids with the places where its documents end; when all are there they
 * are appended in order. Encoders (a cache of pieces each) are lent to running chunks from as many
 * slots as there are threads; which one a chunk gets changes the speed, never the ids.
 *
 * Mind: memory is 4 bytes a token for the whole shard, beside the shard itself.
 */
#include "base/clock.h"
#include "base/pool.h"
#include "data/tokenize.h"

#define CHUNK_BYTES ((int64_t)64 << 10)

typedef struct chunk {
    int64_t from, to; /* pieces */
    token_list ids;
    size_t *ends;        /* [to - from] places in ids */
    int64_t *text_bytes; /* [to - from] */
} chunk;

typedef struct encode_job {
    const encode_range *range;
    const tokenizer *tokenizer;
    int32_t bos, eos;
    chunk *chunks;
    int64_t n_chunks;
    encoder **slots;
    uint8_t *taken; /* [n_slots] */
    int n_slots;
    job_failure failed;
} encode_job;

static status append_id(token_list *list, int32_t id) {
    if (id < 0) return STATUS_OK;
    if (list->n == list->room) {
        size_t room = list->room > 0 ? list->room * 2 : 1024;
        int32_t *moved = mem_resize(list->ids, room, sizeof *moved);
        if (moved == NULL) return STATUS_MEMORY;
        list->ids = moved;
        list->room = room;
    }
    list->ids[list->n++] = id;
    return STATUS_OK;
}

static status encode_pieces(encode_job *job, chunk *c, encoder *e, buffer *room) {
    size_t n = (size_t)(c->to - c->from);
    c->ends = mem_zalloc(n, sizeof *c->ends);
    c->text_bytes = mem_zalloc(n, sizeof *c->text_bytes);
    if (c->ends == NULL || c->text_bytes == NULL) return STATUS_MEMORY;
    for (size_t i = 0; i < n; i++) {
        TRY(piece_text(job->range->plan, job->range->split, c->from + (int64_t)i, room));
        TRY(append_id(&c->ids, job->bos));
        TRY(encoder_add(e, room->bytes, room->n, SPECIAL_AS_TEXT, &c->ids));
        TRY(append_id(&c->ids, job->eos));
        c->ends[i] = c->ids.n;
        c->text_bytes[i] = (int64_t)room->n;
    }
    return STATUS_OK;
}

/* No more chunks run at once than there are slots. */
static int take_slot(encode_job *job) {
    for (int i = 0;; i = (i + 1) % job->n_slots)
        if (__atomic_exchange_n(&job->taken[i], 1, __ATOMIC_ACQUIRE) == 0) return i;
}

static void encode_chunk(void *context, int64_t index) {
    encode_job *job = context;
    if (interrupted()) return;
    int slot = take_slot(job);
    buffer piece_bytes = {0};
    status s = STATUS_OK;
    if (job->slots[slot] == NULL) s = encoder_new(&job->slots[slot], job->tokenizer);
    if (s == STATUS_OK) s = encode_pieces(job, &job->chunks[index], job->slots[slot], &piece_bytes);
    if (s != STATUS_OK) job_failure_note(&job->failed, index, s);
    buffer_clear(&piece_bytes);
    __atomic_store_n(&job->taken[slot], 0, __ATOMIC_RELEASE);
}

/* Cuts the pieces into chunks; counts them if the job has no room yet. */
static int64_t cut_chunks(const encode_range *r, chunk *chunks) {
    const piece *pieces = r->plan->pieces[r->split];
    int64_t n = 0;
    for (int64_t from = r->from; from < r->to; n++) {
        int64_t to = from, bytes = 0;
        while (to < r->to && bytes < CHUNK_BYTES) {
            bytes += pieces[to].end - pieces[to].begin;
            to++;
        }
        if (chunks != NULL) chunks[n] = (chunk){.from = from, .to = to};
        from = to;
    }
    return n;
}

static status write_chunks(const encode_job *job, shard_writer *w) {
    const piece *pieces = job->range->plan->pieces[job->range->split];
    for (int64_t c = 0; c < job->n_chunks; c++) {
        const chunk *one = &job->chunks[c];
        for (int64_t i = one->from; i < one->to; i++) {
            size_t begin = i > one->from ? one->ends[i - one->from - 1] : 0;
            size_t end = one->ends[i - one->from];
            TRY(shard_add(w, one->ids.ids + begin, (int64_t)(end - begin),
                          one->text_bytes[i - one->from], pieces[i].id));
        }
    }
    return STATUS_OK;
}

static status run_job(encode_job *job) {
    const encode_range *r = job->range;
    job->n_chunks = cut_chunks(r, NULL);
    job->n_slots = pool_threads();
    job->chunks = mem_zalloc((size_t)job->n_chunks, sizeof *job->chunks);
    job->slots = mem_zalloc((size_t)job->n_slots, sizeof *job->slots);
    job->taken = mem_zalloc((size_t)job->n_slots, 1);
    if (job->chunks == NULL || job->slots == NULL || job->taken == NULL) return STATUS_MEMORY;
    cut_chunks(r, job->chunks);
    pool_for(job->n_chunks, encode_chunk, job);
    TRY(interrupt_status("tokenizing", "run the same command again: finished shards are kept"));
    return job_failure_result(&job->failed);
}

static void free_job(encode_job *job) {
    for (int64_t c = 0; job->chunks != NULL && c < job->n_chunks; c++) {
        token_list_clear(&job->chunks[c].ids);
        mem_free(job->chunks[c].ends);
        mem_free(job->chunks[c].text_bytes);
    }
    for (int i = 0; job->slots != NULL && i < job->n_slots; i++)
        encoder_free(job->slots[i]);
    mem_free(job->chunks);
    mem_free(job->slots);
    mem_free(job->taken);
}

status shard_encode(const encode_range *r, const tokenizer *t, const char *path,
                    shard_entry *entry) {
    encode_job job = {.range = r, .tokenizer = t, .failed = JOB_FAILURE_NONE};
    boundary_tokens(t, &job.bos, &job.eos);
    shard_facts facts = {tokenizer_vocab_size(t), job.bos, job.eos, tokenizer_fingerprint(t)};
    shard_writer *w = NULL;
    status s = run_job(&job);
    if (s == STATUS_OK) s = shard_begin(&w, path, &facts);
    if (s == STATUS_OK) s = write_chunks(&job, w);
    free_job(&job);
    if (s != STATUS_OK) {
        shard_abandon(w);
        return s;
    }
    return shard_commit(w, entry);
}
