/* shard.c - writing and reading token shards.
 *
 * What: docs/formats/shard.md as code. A writer collects whole documents in memory and writes the
 * file in one go; a reader maps the file and hands out token ids.
 *
 * How: hashes form a tree (blocks, table of blocks, header), so the header's hash identifies the
 * file and a damaged place is found to the block. The reader checks header and tables when it
 * opens, which costs 32 bytes a document, and each block of 64 Ki tokens when it is first touched;
 * `checked` holds a flag a block. Two threads may check the same block at once: both find the same
 * answer, so a relaxed atomic is enough.
 *
 * Mind: a shard in the making takes 2 or 4 bytes a token plus 24 a document; data/tokenize.c keeps
 * shards at a few megabytes of text. The mapping is private: a file that is renamed over stays
 * readable.
 */
#include "data/shard.h"

#include "base/checked.h"
#include "base/file.h"
#include "base/hash.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

#define HEADER_BYTES   128
#define VERSION        1
#define DOCUMENT_BYTES 24
#define TOKENS_MAX     ((int64_t)1 << 40)

typedef struct header {
    char magic[8];
    uint32_t version, width, vocab_size;
    int32_t bos_id, eos_id;
    uint32_t block_tokens;
    uint64_t tokenizer, n_tokens, n_documents, text_bytes, file_bytes;
    uint64_t documents_hash, blocks_hash;
    uint64_t zero[4];
    uint64_t hash;
} header;
_Static_assert(sizeof(header) == HEADER_BYTES, "no gaps");
_Static_assert(sizeof(shard_document) == DOCUMENT_BYTES, "the table is read in place");

static const char magic[8] = {'F', 'A', 'T', 'H', 'S', 'H', 'R', 'D'};

/* Where the parts of a file with these counts lie. False if a size overflows. */
typedef struct layout {
    size_t documents, blocks, tokens, end; /* offsets */
    size_t n_blocks;
} layout;
static bool find_layout(layout *l, uint64_t n_tokens, uint64_t n_documents, uint32_t width) {
    if (n_tokens > (uint64_t)TOKENS_MAX || n_documents > n_tokens) return false;
    size_t table, hashes, bytes;
    l->n_blocks = (size_t)((n_tokens + SHARD_BLOCK_TOKENS - 1) / SHARD_BLOCK_TOKENS);
    l->documents = HEADER_BYTES;
    if (!size_mul(&table, (size_t)n_documents, DOCUMENT_BYTES) ||
        !size_mul(&hashes, l->n_blocks, sizeof(uint64_t)) ||
        !size_mul(&bytes, (size_t)n_tokens, width))
        return false;
    l->blocks = l->documents + table;
    l->tokens = size_round_up(l->blocks + hashes, 64);
    return size_add(&l->end, l->tokens, bytes);
}

const char *split_name(split_id split) {
    return split == SPLIT_TRAIN ? "train" : "validation";
}

/* ---- writing ---- */

struct shard_writer {
    char *path;
    shard_facts facts;
    uint32_t width;
    uint8_t *tokens; /* width bytes each */
    size_t n_tokens, tokens_room;
    shard_document *documents;
    size_t n_documents, documents_room;
    int64_t text_bytes;
};

status shard_begin(shard_writer **out, const char *path, const shard_facts *facts) {
    *out = NULL;
    if (facts->vocab_size < 1 || facts->bos_id >= facts->vocab_size ||
        facts->eos_id >= facts->vocab_size)
        return FAIL(F_TOKEN_RANGE, "the boundary tokens are not in the vocabulary", path,
                    text("BOS %d, EOS %d, vocabulary of %d", facts->bos_id, facts->eos_id,
                         facts->vocab_size),
                    "use a tokenizer whose special tokens are below its size");
    shard_writer *w = mem_zalloc(1, sizeof *w);
    if (w == NULL) return STATUS_MEMORY;
    w->path = mem_strdup(path);
    if (w->path == NULL) {
        mem_free(w);
        return STATUS_MEMORY;
    }
    w->facts = *facts;
    w->width = facts->vocab_size <= 65536 ? 2 : 4;
    *out = w;
    return STATUS_OK;
}

void shard_abandon(shard_writer *w) {
    if (w == NULL) return;
    mem_free(w->path);
    mem_free(w->tokens);
    mem_free(w->documents);
    mem_free(w);
}

int64_t shard_writer_tokens(const shard_writer *w) {
    return (int64_t)w->n_tokens;
}

/* Makes room for `more` places of `size` bytes after `used`; doubles. */
static status grow(void *array, size_t *room, size_t used, size_t more, size_t size) {
    void **block = array;
    if (used + more <= *room) return STATUS_OK;
    size_t next = *room < 1024 ? 1024 : *room * 2;
    while (next < used + more)
        next *= 2;
    void *moved = mem_resize(*block, next, size);
    if (moved == NULL) return STATUS_MEMORY;
    *block = moved;
    *room = next;
    return STATUS_OK;
}

status shard_add(shard_writer *w, const int32_t *ids, int64_t n, int64_t text_bytes,
                 uint64_t document_id) {
    if (n < 1 || text_bytes < 0 || n > TOKENS_MAX - (int64_t)w->n_tokens)
        return FAIL(F_INTERNAL, "a document of no tokens cannot be stored", w->path,
                    text("%" PRId64 " tokens", n), "report this");
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= w->facts.vocab_size)
            return FAIL(F_TOKEN_RANGE, text("token %d is outside the vocabulary", ids[i]), w->path,
                        text("the vocabulary has %d tokens", w->facts.vocab_size),
                        "use the tokenizer that the data was made with");
    TRY(grow(&w->tokens, &w->tokens_room, w->n_tokens, (size_t)n, w->width));
    TRY(grow(&w->documents, &w->documents_room, w->n_documents, 1, sizeof *w->documents));
    w->documents[w->n_documents++] =
        (shard_document){(int64_t)w->n_tokens, text_bytes, document_id};
    if (w->width == 2) {
        uint16_t *to = (uint16_t *)(void *)w->tokens + w->n_tokens;
        for (int64_t i = 0; i < n; i++)
            to[i] = (uint16_t)ids[i];
    } else {
        memcpy((uint32_t *)(void *)w->tokens + w->n_tokens, ids, (size_t)n * sizeof *ids);
    }
    w->n_tokens += (size_t)n;
    w->text_bytes += text_bytes;
    return STATUS_OK;
}

static size_t block_bytes(size_t n_tokens, size_t block, uint32_t width) {
    size_t first = block * SHARD_BLOCK_TOKENS, left = n_tokens - first;
    return (left < SHARD_BLOCK_TOKENS ? left : SHARD_BLOCK_TOKENS) * width;
}

static status write_parts(const shard_writer *w, const header *h, const layout *l,
                          const uint64_t *hashes) {
    static const uint8_t filling[64];
    file_writer *f;
    TRY(writer_open(&f, w->path));
    status s = writer_put(f, h, sizeof *h);
    if (s == STATUS_OK) s = writer_put(f, w->documents, w->n_documents * DOCUMENT_BYTES);
    if (s == STATUS_OK) s = writer_put(f, hashes, l->n_blocks * sizeof *hashes);
    if (s == STATUS_OK)
        s = writer_put(f, filling, l->tokens - l->blocks - l->n_blocks * sizeof *hashes);
    if (s == STATUS_OK) s = writer_put(f, w->tokens, w->n_tokens * w->width);
    if (s != STATUS_OK) {
        writer_abandon(f);
        return s;
    }
    return writer_commit(f);
}

static status write_shard(const shard_writer *w, shard_entry *entry) {
    layout l;
    if (!find_layout(&l, w->n_tokens, w->n_documents, w->width))
        return FAIL(F_OVERFLOW, "the shard is too large", w->path, "its size does not fit 64 bits",
                    "use smaller shards");
    uint64_t *hashes = mem_alloc(l.n_blocks * sizeof *hashes);
    if (hashes == NULL) return STATUS_MEMORY;
    for (size_t b = 0; b < l.n_blocks; b++)
        hashes[b] = hash64(w->tokens + b * SHARD_BLOCK_TOKENS * w->width,
                           block_bytes(w->n_tokens, b, w->width), 0);
    header h = {.version = VERSION,
                .width = w->width,
                .vocab_size = (uint32_t)w->facts.vocab_size,
                .bos_id = w->facts.bos_id < 0 ? -1 : w->facts.bos_id,
                .eos_id = w->facts.eos_id < 0 ? -1 : w->facts.eos_id,
                .block_tokens = SHARD_BLOCK_TOKENS,
                .tokenizer = w->facts.tokenizer,
                .n_tokens = w->n_tokens,
                .n_documents = w->n_documents,
                .text_bytes = (uint64_t)w->text_bytes,
                .file_bytes = l.end,
                .documents_hash = hash64(w->documents != NULL ? (const void *)w->documents : "",
                                         w->n_documents * DOCUMENT_BYTES, 0),
                .blocks_hash = hash64(hashes, l.n_blocks * sizeof *hashes, 0)};
    memcpy(h.magic, magic, sizeof magic);
    h.hash = hash64(&h, offsetof(header, hash), 0);
    status s = write_parts(w, &h, &l, hashes);
    mem_free(hashes);
    *entry = (shard_entry){(int64_t)w->n_tokens, (int64_t)w->n_documents, w->text_bytes,
                           (int64_t)l.end, h.hash};
    return s;
}

status shard_commit(shard_writer *w, shard_entry *entry) {
    status s = write_shard(w, entry);
    shard_abandon(w);
    return s;
}

/* ---- reading ---- */

struct shard {
    mapped_file map; /* zero for bytes in memory */
    char *name;
    shard_facts facts;
    uint32_t width;
    int64_t n_tokens, n_documents, text_bytes;
    uint64_t hash;
    layout at;
    const uint8_t *bytes;
    const shard_document *documents;
    const uint64_t *hashes;
    uint8_t *checked; /* [n_blocks] 1 = hash and ids are right; accessed atomically */
};

static status damaged(const char *name, const char *what, const char *where, const char *why) {
    const char *slash = strrchr(name, '/'), *folder = ".";
    if (slash != NULL) folder = text("%.*s", (int)(slash - name), name);
    return FAIL(F_SHARD, text("%s: %s", name, what), where, why,
                text("fathom data verify %s names the command that repairs", folder));
}

static status check_header(const char *name, const header *h, size_t n) {
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return damaged(name, "this is no shard", "byte 0", "it does not begin with FATHSHRD");
    if (h->version != VERSION)
        return damaged(name, "unknown version of the format", "byte 8",
                       text("version %u, this program reads %d", h->version, VERSION));
    if (h->hash != hash64(h, offsetof(header, hash), 0))
        return damaged(name, "the header is damaged", "byte 0 .. 127", "its checksum differs");
    if (h->file_bytes != n)
        return damaged(name, "the file has the wrong length", text("byte %zu, the end", n),
                       text("the header says %" PRIu64 " bytes", h->file_bytes));
    if (h->vocab_size < 1 || h->vocab_size > INT32_MAX)
        return damaged(name, "impossible size of the vocabulary", "byte 16",
                       text("%u tokens", h->vocab_size));
    if (h->width != (h->vocab_size <= 65536 ? 2u : 4u))
        return damaged(name, "impossible width of tokens", "byte 12", text("%u bytes", h->width));
    if (h->bos_id < -1 || h->bos_id >= (int64_t)h->vocab_size || h->eos_id < -1 ||
        h->eos_id >= (int64_t)h->vocab_size)
        return damaged(name, "boundary tokens outside the vocabulary", "byte 20",
                       text("BOS %d, EOS %d of %u", h->bos_id, h->eos_id, h->vocab_size));
    if (h->block_tokens != SHARD_BLOCK_TOKENS)
        return damaged(name, "unknown size of blocks", "byte 28",
                       text("%u tokens", h->block_tokens));
    for (int i = 0; i < 4; i++)
        if (h->zero[i] != 0)
            return damaged(name, "a reserved field is in use", "byte 88 .. 119", "it must be zero");
    return STATUS_OK;
}

static status check_tables(const shard *s, const header *h) {
    size_t table = s->at.blocks - s->at.documents;
    if (hash64(s->bytes + s->at.documents, table, 0) != h->documents_hash)
        return damaged(s->name, "the document table is damaged",
                       text("byte %zu .. %zu", s->at.documents, s->at.blocks),
                       "its checksum differs");
    size_t hashes = s->at.n_blocks * sizeof(uint64_t);
    if (hash64(s->bytes + s->at.blocks, hashes, 0) != h->blocks_hash)
        return damaged(s->name, "the table of block hashes is damaged",
                       text("byte %zu .. %zu", s->at.blocks, s->at.blocks + hashes),
                       "its checksum differs");
    for (size_t i = s->at.blocks + hashes; i < s->at.tokens; i++)
        if (s->bytes[i] != 0)
            return damaged(s->name, "the filling is not zero", text("byte %zu", i),
                           "something was written over it");
    return STATUS_OK;
}

static status check_documents(const shard *s) {
    int64_t last = -1, bytes = 0;
    for (int64_t i = 0; i < s->n_documents; i++) {
        const shard_document *d = &s->documents[i];
        bool first_ok = i > 0 || d->start == 0;
        if (!first_ok || d->start <= last || d->start >= s->n_tokens || d->text_bytes < 0 ||
            !int64_add(&bytes, bytes, d->text_bytes))
            return damaged(s->name, "the document table contradicts itself",
                           text("document %" PRId64 ", byte %zu", i,
                                s->at.documents + (size_t)i * DOCUMENT_BYTES),
                           text("first token %" PRId64 ", %" PRId64 " bytes of text", d->start,
                                d->text_bytes));
        last = d->start;
    }
    if (bytes != s->text_bytes)
        return damaged(s->name, "the document table does not fit the header", "byte 56",
                       text("%" PRId64 " bytes of text in documents, %" PRId64 " in the header",
                            bytes, s->text_bytes));
    if ((s->n_documents == 0) != (s->n_tokens == 0))
        return damaged(s->name, "tokens without a document", "byte 48",
                       text("%" PRId64 " tokens", s->n_tokens));
    return STATUS_OK;
}

static status check_all(shard *s, size_t n) {
    if (n < HEADER_BYTES)
        return damaged(s->name, "too short for a shard", text("byte %zu, the end", n),
                       "the header alone has 128 bytes");
    header h;
    memcpy(&h, s->bytes, sizeof h);
    TRY(check_header(s->name, &h, n));
    if (!find_layout(&s->at, h.n_tokens, h.n_documents, h.width) || s->at.end != n)
        return damaged(s->name, "counts and length of the file disagree", "byte 40",
                       text("%" PRIu64 " tokens and %" PRIu64 " documents in %zu bytes", h.n_tokens,
                            h.n_documents, n));
    s->facts = (shard_facts){(int)h.vocab_size, h.bos_id, h.eos_id, h.tokenizer};
    s->width = h.width;
    s->n_tokens = (int64_t)h.n_tokens;
    s->n_documents = (int64_t)h.n_documents;
    s->text_bytes = h.text_bytes > INT64_MAX ? -1 : (int64_t)h.text_bytes;
    s->hash = h.hash;
    s->documents = (const shard_document *)(const void *)(s->bytes + s->at.documents);
    s->hashes = (const uint64_t *)(const void *)(s->bytes + s->at.blocks);
    TRY(check_tables(s, &h));
    TRY(check_documents(s));
    s->checked = mem_zalloc(s->at.n_blocks, sizeof *s->checked);
    return s->checked != NULL ? STATUS_OK : STATUS_MEMORY;
}

static status open_shard(shard **out, const char *name, const void *bytes, size_t n, bool map) {
    *out = NULL;
    shard *s = mem_zalloc(1, sizeof *s);
    if (s == NULL) return STATUS_MEMORY;
    status result;
    s->name = mem_strdup(name);
    if (s->name == NULL) {
        result = STATUS_MEMORY;
        goto done;
    }
    if (map) {
        TRY_GOTO(result, mapped_open(&s->map, name));
        bytes = s->map.data;
        n = s->map.size;
    }
    s->bytes = bytes;
    TRY_GOTO(result, check_all(s, n));
    *out = s;
    return STATUS_OK;
done:
    shard_close(s);
    return result;
}

status shard_open(shard **out, const char *path) {
    return open_shard(out, path, NULL, 0, true);
}

status shard_open_bytes(shard **out, const void *bytes, size_t n, const char *name) {
    if ((uintptr_t)bytes % 8 != 0)
        return FAIL(F_INTERNAL, "shard bytes are not aligned", name, "8 bytes are needed",
                    "report this");
    return open_shard(out, name, bytes, n, false);
}

void shard_close(shard *s) {
    if (s == NULL) return;
    mapped_close(&s->map);
    mem_free(s->checked);
    mem_free(s->name);
    mem_free(s);
}

const shard_facts *shard_get_facts(const shard *s) {
    return &s->facts;
}
int64_t shard_tokens(const shard *s) {
    return s->n_tokens;
}
int64_t shard_documents(const shard *s) {
    return s->n_documents;
}
int64_t shard_text_bytes(const shard *s) {
    return s->text_bytes;
}
uint64_t shard_hash(const shard *s) {
    return s->hash;
}
int64_t shard_blocks(const shard *s) {
    return (int64_t)s->at.n_blocks;
}
shard_document shard_document_at(const shard *s, int64_t i) {
    return s->documents[i];
}

int64_t shard_document_end(const shard *s, int64_t i) {
    return i + 1 < s->n_documents ? s->documents[i + 1].start : s->n_tokens;
}

int64_t shard_find_document(const shard *s, int64_t token) {
    int64_t low = 0, high = s->n_documents; /* start of low <= token < start of high */
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (s->documents[middle].start <= token)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Says which documents have tokens in block b. */
static status damaged_block(const shard *s, int64_t b, const char *what, const char *why) {
    int64_t first = b * SHARD_BLOCK_TOKENS, end = first + SHARD_BLOCK_TOKENS;
    if (end > s->n_tokens) end = s->n_tokens;
    int64_t from = shard_find_document(s, first), to = shard_find_document(s, end - 1);
    return damaged(s->name, text("block %" PRId64 " %s", b, what),
                   text("block %" PRId64 " of %zu, byte %zu; %" PRId64
                        " documents affected (%" PRId64 " .. %" PRId64 " of %" PRId64 ")",
                        b, s->at.n_blocks, s->at.tokens + (size_t)first * s->width, to - from + 1,
                        from, to, s->n_documents),
                   why);
}

status shard_check_block(shard *s, int64_t b) {
    size_t bytes = block_bytes((size_t)s->n_tokens, (size_t)b, s->width);
    const uint8_t *block = s->bytes + s->at.tokens + (size_t)b * SHARD_BLOCK_TOKENS * s->width;
    if (hash64(block, bytes, 0) != s->hashes[b])
        return damaged_block(s, b, "is damaged", "its checksum differs");
    uint32_t largest = 0;
    for (size_t i = 0; i < bytes / s->width; i++) {
        uint32_t id = s->width == 2 ? ((const uint16_t *)(const void *)block)[i]
                                    : ((const uint32_t *)(const void *)block)[i];
        if (id > largest) largest = id;
    }
    if (largest >= (uint32_t)s->facts.vocab_size)
        return damaged_block(s, b, "holds impossible tokens",
                             text("token %u, the vocabulary has %d", largest, s->facts.vocab_size));
    __atomic_store_n(&s->checked[b], 1, __ATOMIC_RELAXED);
    return STATUS_OK;
}

status shard_read(shard *s, int64_t at, int64_t n, int32_t *ids) {
    if (n <= 0) return STATUS_OK;
    for (int64_t b = at / SHARD_BLOCK_TOKENS; b <= (at + n - 1) / SHARD_BLOCK_TOKENS; b++)
        if (!__atomic_load_n(&s->checked[b], __ATOMIC_RELAXED)) TRY(shard_check_block(s, b));
    const uint8_t *from = s->bytes + s->at.tokens + (size_t)at * s->width;
    if (s->width == 2) {
        const uint16_t *narrow = (const uint16_t *)(const void *)from;
        for (int64_t i = 0; i < n; i++)
            ids[i] = narrow[i];
    } else {
        memcpy(ids, from, (size_t)n * sizeof *ids);
    }
    return STATUS_OK;
}
