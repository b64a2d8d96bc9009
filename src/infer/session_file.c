/* session_file.c - writing and reading sessions; docs/formats/session.md as code.
 *
 * How: header, then ids, logits and text under one hash, then a table with the hash of every page
 * group, then the groups, each as the engine holds it: page p of every layer. Nothing here knows
 * what a page means; the header says how many bytes a group has and of what parts a row consists,
 * and a file whose numbers are not those of the engine is refused with both.
 *
 * The fingerprint of the model comes from a probe: 16 ids spread over the vocabulary go through a
 * small engine, and pages and logits are hashed. It differs where any weight that they pass
 * differs in a bit that matters, and does not depend on where or how weights are stored.
 *
 * Reading checks everything before the session is touched: header, lengths, every hash, every id.
 *
 * Mind: rows of the last page behind the last token are whatever the session left there; they are
 * overwritten before they are read.
 */
#include "infer/session_file.h"

#include "base/checked.h"
#include "base/file.h"
#include "base/hash.h"
#include "infer/infer_internal.h"

#include <inttypes.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

#define HEADER_BYTES 256
#define VERSION      1
#define ALIGNED      64
#define TEXT_MOST    ((size_t)256 << 20)
#define PROBE        16 /* ids */

static const char magic[8] = {'F', 'A', 'T', 'H', 'S', 'E', 'S', 'S'};

/* Of what the pages consist: equal numbers, equal meaning of their bytes. */
typedef struct page_layout {
    uint32_t positions, layers, element; /* of a page; of a group; bytes of a number */
    uint32_t zero;
    uint64_t k, shared, v; /* numbers of a row */
    uint64_t group_bytes;
} page_layout;

typedef struct header {
    char magic[8];
    uint32_t version, zero0;
    page_layout layout;
    uint64_t vocab_size, model, words; /* fingerprints of the model and of the tokenizer */
    uint64_t n_ids, n_logits, n_text, n_groups, file_bytes;
    double temperature, top_p, min_p, repetition_penalty;
    int32_t top_k, repetition_window;
    uint64_t seed;
    uint64_t front_hash, table_hash; /* of ids, logits and text; of the table of hashes */
    uint64_t zero[7];
    uint64_t hash; /* of all before it */
} header;
_Static_assert(sizeof(header) == HEADER_BYTES, "no gaps");

/* Where the parts of a file lie. */
typedef struct places {
    size_t ids, logits, text, table, groups, end;
} places;

static bool add_part(size_t *end, uint64_t n, size_t size, size_t *at) {
    size_t bytes;
    *at = *end;
    return size_mul(&bytes, n, size) && size_add(end, *end, bytes);
}

static bool find_places(places *p, const header *h) {
    size_t at = HEADER_BYTES;
    if (!add_part(&at, h->n_ids, sizeof(int32_t), &p->ids) ||
        !add_part(&at, h->n_logits, sizeof(float), &p->logits) ||
        !add_part(&at, h->n_text, 1, &p->text) || at > SIZE_MAX - ALIGNED)
        return false;
    at = size_round_up(at, ALIGNED);
    if (!add_part(&at, h->n_groups, sizeof(uint64_t), &p->table) || at > SIZE_MAX - ALIGNED)
        return false;
    at = size_round_up(at, ALIGNED);
    p->end = at;
    return add_part(&p->end, h->n_groups, h->layout.group_bytes, &p->groups);
}

static page_layout layout_of(const engine *e) {
    return (page_layout){.positions = KEY_PAGE,
                         .layers = (uint32_t)e->model->config.n_layer,
                         .element = (uint32_t)e->element,
                         .k = (uint64_t)e->shape.k,
                         .shared = (uint64_t)e->shape.shared,
                         .v = (uint64_t)e->shape.v,
                         .group_bytes = e->group_bytes};
}

static const char *group_at(const session *s, int64_t page) {
    return s->engine->pages + (size_t)s->groups[page] * s->engine->group_bytes;
}

/* -- the fingerprint -- */

static status probe(session *s, float *logits, uint64_t *out) {
    const engine *e = s->engine;
    int64_t vocab = e->model->config.vocab_size, limit = e->model->config.max_position;
    int64_t n = limit > 0 && limit < PROBE ? limit : PROBE;
    int32_t ids[PROBE];
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)((i + 1) * INT64_C(2654435761) % vocab);
    TRY(session_prompt(s, ids, n, logits));
    uint64_t hash = hash64(logits, (size_t)vocab * sizeof *logits, 0);
    *out = hash64(group_at(s, 0), e->group_bytes, hash);
    return STATUS_OK;
}

status engine_fingerprint(engine *e, uint64_t *out) {
    engine *small = NULL;
    session *s = NULL;
    status result = STATUS_OK;
    float *logits = NULL;
    if (e->fingerprint == 0) {
        logits = mem_zalloc((size_t)e->model->config.vocab_size, sizeof *logits);
        if (logits == NULL) return STATUS_MEMORY;
        TRY_GOTO(result, engine_new(&small, e->model, KEY_PAGE));
        TRY_GOTO(result, session_new(&s, small));
        TRY_GOTO(result, probe(s, logits, &e->fingerprint));
        if (e->fingerprint == 0) e->fingerprint = 1;
    }
    *out = e->fingerprint;
done:
    session_free(s);
    engine_free(small);
    mem_free(logits);
    return result;
}

/* -- writing -- */

static header header_of(const session *s, const session_note *note, uint64_t words) {
    const engine *e = s->engine;
    const sampler_options *o = &note->sampler;
    header h = {.version = VERSION,
                .layout = layout_of(e),
                .vocab_size = (uint64_t)e->model->config.vocab_size,
                .words = words,
                .n_ids = (uint64_t)s->n,
                .n_text = note->n_text,
                .n_groups = (uint64_t)((s->n + KEY_PAGE - 1) / KEY_PAGE),
                .temperature = o->temperature,
                .top_p = o->top_p,
                .min_p = o->min_p,
                .repetition_penalty = o->repetition_penalty,
                .top_k = o->top_k,
                .repetition_window = o->repetition_window,
                .seed = o->seed};
    memcpy(h.magic, magic, sizeof magic);
    if (note->logits != NULL && note->has_logits) h.n_logits = h.vocab_size;
    return h;
}

/* ids, logits and text, one behind the other. NULL: out of memory. */
static char *join_front(const session *s, const session_note *note, const header *h, size_t bytes) {
    char *front = mem_zalloc(bytes > 0 ? bytes : 1, 1);
    if (front == NULL) return NULL;
    size_t ids = (size_t)h->n_ids * sizeof(int32_t), logits = (size_t)h->n_logits * sizeof(float);
    if (ids > 0) memcpy(front, s->ids, ids);
    if (logits > 0) memcpy(front + ids, note->logits, logits);
    if (h->n_text > 0) memcpy(front + ids + logits, note->text, (size_t)h->n_text);
    return front;
}

static status put_zeros(file_writer *w, size_t to) {
    static const char zeros[ALIGNED];
    return writer_put(w, zeros, to - (size_t)writer_bytes(w));
}

static status write_parts(file_writer *w, const session *s, header *h, const char *front,
                          uint64_t *table) {
    places p;
    if (!find_places(&p, h))
        return FAIL(F_OVERFLOW, "the session is too long", "session file",
                    "its bytes do not fit the address space", "cut it");
    for (uint64_t i = 0; i < h->n_groups; i++)
        table[i] = hash64(group_at(s, (int64_t)i), s->engine->group_bytes, i);
    size_t front_bytes = p.text + (size_t)h->n_text - HEADER_BYTES;
    h->file_bytes = p.end;
    h->front_hash = hash64(front, front_bytes, 0);
    h->table_hash = hash64(table, (size_t)h->n_groups * sizeof *table, 0);
    h->hash = hash64(h, HEADER_BYTES - sizeof h->hash, 0);
    TRY(writer_put(w, h, sizeof *h));
    TRY(writer_put(w, front, front_bytes));
    TRY(put_zeros(w, p.table));
    TRY(writer_put(w, table, (size_t)h->n_groups * sizeof *table));
    TRY(put_zeros(w, p.groups));
    for (uint64_t i = 0; i < h->n_groups; i++)
        TRY(writer_put(w, group_at(s, (int64_t)i), s->engine->group_bytes));
    return STATUS_OK;
}

status session_save(session *s, uint64_t words, const session_note *note, const char *path) {
    header h = header_of(s, note, words);
    file_writer *w = NULL;
    char *front = NULL;
    uint64_t *table = NULL;
    status result;
    if (note->n_text > TEXT_MOST)
        return FAIL(F_OVERFLOW, text("%zu bytes of text", note->n_text), path,
                    text("at most %zu are kept with a session", TEXT_MOST), "keep them elsewhere");
    TRY(engine_fingerprint(s->engine, &h.model));
    front = join_front(s, note, &h,
                       (size_t)(h.n_ids * sizeof(int32_t) + h.n_logits * sizeof(float) + h.n_text));
    table = mem_zalloc((size_t)h.n_groups + 1, sizeof *table);
    result = front != NULL && table != NULL ? writer_open(&w, path) : STATUS_MEMORY;
    if (result == STATUS_OK) result = write_parts(w, s, &h, front, table);
    if (result == STATUS_OK)
        result = writer_commit(w);
    else
        writer_abandon(w);
    mem_free(table);
    mem_free(front);
    return result;
}

/* -- reading -- */

static status damaged(const char *where, const char *place, const char *why) {
    return FAIL(F_SESSION, "the session file is damaged", text("%s, %s", where, place), why,
                "begin the session anew; what was said is lost unless it is kept elsewhere");
}

static status other(const char *where, const char *what, const char *why) {
    return FAIL(F_SESSION_MODEL, what, where, why, "open it with the model it was made with");
}

static status check_header(const header *h, size_t n, const char *where) {
    if (h->hash != hash64(h, HEADER_BYTES - sizeof h->hash, 0))
        return damaged(where, "header", "its checksum differs");
    bool spare = h->zero0 == 0 && h->layout.zero == 0;
    for (size_t i = 0; i < sizeof h->zero / sizeof *h->zero; i++)
        spare = spare && h->zero[i] == 0;
    if (!spare) return damaged(where, "header", "bytes that must be zero are not");
    places p;
    if (h->n_text > TEXT_MOST || !find_places(&p, h))
        return damaged(where, "header", "its counts do not fit any memory");
    if (h->file_bytes != p.end || p.end != n)
        return damaged(where, text("byte %zu", n),
                       text("the header promises %" PRIu64 " bytes, its counts %zu, there are %zu",
                            h->file_bytes, p.end, n));
    uint64_t groups = (h->n_ids + KEY_PAGE - 1) / KEY_PAGE;
    if (h->layout.positions == KEY_PAGE && h->n_groups != groups)
        return damaged(where, "header",
                       text("%" PRIu64 " pages for %" PRIu64 " ids", h->n_groups, h->n_ids));
    if (h->n_logits != 0 && h->n_logits != h->vocab_size)
        return damaged(
            where, "header",
            text("%" PRIu64 " logits, a vocabulary of %" PRIu64, h->n_logits, h->vocab_size));
    return STATUS_OK;
}

static const char *layout_text(const page_layout *l) {
    return text("%u layers, rows of %" PRIu64 " + %" PRIu64 " + %" PRIu64
                " numbers of %u bytes, %u positions a page, %" PRIu64 " bytes a group",
                l->layers, l->k, l->shared, l->v, l->element, l->positions, l->group_bytes);
}

static status check_model(session *s, const header *h, uint64_t words, const char *where) {
    page_layout mine = layout_of(s->engine);
    int64_t vocab = s->engine->model->config.vocab_size;
    uint64_t mine_made;
    if (memcmp(&mine, &h->layout, sizeof mine) != 0 || h->vocab_size != (uint64_t)vocab)
        return other(where, "the session was made with a model of another shape",
                     text("the file: %s, %" PRIu64 " words; this model: %s, %" PRId64 " words",
                          layout_text(&h->layout), h->vocab_size, layout_text(&mine), vocab));
    if (h->words != words)
        return other(where, "the session was made with another tokenizer",
                     text("the file: %016" PRIx64 "; this one: %016" PRIx64, h->words, words));
    TRY(engine_fingerprint(s->engine, &mine_made));
    if (h->model != mine_made)
        return other(where, "the session was made with another model, or by another version",
                     text("shape and words agree, what a fixed text makes of the weights does not: "
                          "%016" PRIx64 " in the file, %016" PRIx64 " here",
                          h->model, mine_made));
    return STATUS_OK;
}

static status check_body(const header *h, const uint8_t *bytes, const places *p,
                         const char *where) {
    size_t front = p->text + (size_t)h->n_text - HEADER_BYTES;
    if (hash64(bytes + HEADER_BYTES, front, 0) != h->front_hash)
        return damaged(where, text("bytes %d to %zu", HEADER_BYTES, HEADER_BYTES + front),
                       "the checksum of ids, logits and text differs");
    if (hash64(bytes + p->table, (size_t)h->n_groups * sizeof(uint64_t), 0) != h->table_hash)
        return damaged(where, text("byte %zu", p->table), "the checksum of the table differs");
    for (uint64_t i = 0; i < h->n_groups; i++) {
        uint64_t hash;
        size_t at = p->groups + (size_t)(i * h->layout.group_bytes);
        memcpy(&hash, bytes + p->table + i * sizeof hash, sizeof hash);
        if (hash64(bytes + at, (size_t)h->layout.group_bytes, i) != hash)
            return damaged(where, text("page %" PRIu64 " at byte %zu", i, at),
                           "its checksum differs");
    }
    for (uint64_t i = 0; i < h->n_ids; i++) {
        int32_t id;
        memcpy(&id, bytes + p->ids + i * sizeof id, sizeof id);
        if (id < 0 || (uint64_t)id >= h->vocab_size)
            return damaged(where, text("id %" PRIu64, i),
                           text("%d is not below %" PRIu64, id, h->vocab_size));
    }
    return STATUS_OK;
}

/* Settings that no session_save can have written would be refused at the next answer only. */
static status take_sampler(sampler_options *o, const header *h, const char *where) {
    *o = (sampler_options){.temperature = h->temperature,
                           .top_k = h->top_k,
                           .top_p = h->top_p,
                           .min_p = h->min_p,
                           .repetition_penalty = h->repetition_penalty,
                           .repetition_window = h->repetition_window,
                           .seed = h->seed};
    return error_context(sampler_check(o), "%s, settings of the sampler", where);
}

status session_parse(session *s, uint64_t words, session_note *note, const uint8_t *bytes, size_t n,
                     const char *where) {
    header h;
    places p;
    float *logits = note->logits;
    *note = (session_note){.logits = logits};
    if (n < HEADER_BYTES || memcmp(bytes, magic, sizeof magic) != 0)
        return FAIL(F_SESSION, text("%s is no session file", where), where,
                    n < HEADER_BYTES
                        ? text("it has %zu bytes, the header alone %d", n, HEADER_BYTES)
                        : "it does not begin with FATHSESS",
                    "name a file that /save FILE.session or fathom_session_save wrote");
    memcpy(&h, bytes, sizeof h);
    if (h.version != VERSION)
        return FAIL(F_SESSION, text("version %u of the format", h.version), where,
                    text("this program reads version %d", VERSION),
                    "use the program that wrote it");
    TRY(check_header(&h, n, where));
    TRY(check_model(s, &h, words, where));
    if (!find_places(&p, &h)) return damaged(where, "header", "its counts do not fit any memory");
    TRY(check_body(&h, bytes, &p, where));
    TRY(take_sampler(&note->sampler, &h, where));
    note->text = mem_zalloc((size_t)h.n_text + 1, 1);
    if (note->text == NULL) return STATUS_MEMORY;
    status result = session_resize(s, (int64_t)h.n_ids);
    if (result != STATUS_OK) {
        session_note_clear(note);
        return error_context(result, "%s", where);
    }
    if (h.n_ids > 0) memcpy(s->ids, bytes + p.ids, (size_t)h.n_ids * sizeof *s->ids);
    for (uint64_t i = 0; i < h.n_groups; i++)
        memcpy(s->engine->pages + (size_t)s->groups[i] * s->engine->group_bytes,
               bytes + p.groups + i * h.layout.group_bytes, s->engine->group_bytes);
    memcpy(note->text, bytes + p.text, (size_t)h.n_text);
    note->n_text = (size_t)h.n_text;
    note->has_logits = h.n_logits > 0;
    if (note->has_logits && logits != NULL)
        memcpy(logits, bytes + p.logits, (size_t)h.n_logits * sizeof *logits);
    return STATUS_OK;
}

status session_load(session *s, uint64_t words, session_note *note, const char *path) {
    mapped_file file;
    TRY(mapped_open(&file, path));
    status result = session_parse(s, words, note, file.data, file.size, path);
    mapped_close(&file);
    return result;
}

void session_note_clear(session_note *n) {
    mem_free(n->text);
    n->text = NULL;
    n->n_text = 0;
}

bool session_file_is(const char *path) {
    char begin[sizeof magic];
    FILE *f = fopen(path, "rbe");
    if (f == NULL) return false;
    bool whole = fread(begin, 1, sizeof begin, f) == sizeof begin;
    fclose(f);
    return whole && memcmp(begin, magic, sizeof magic) == 0;
}
