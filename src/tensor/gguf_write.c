/* gguf_write.c - the writer: keys, then the directory, then data, streamed.
 *
 * What: version 3, alignment 32. Keys and descriptions of tensors gather in memory (a vocabulary is
 * a few MB), the header is written with the first data, and from then on bytes go straight to the
 * file with padding after each tensor, so that a model of any size passes through a few buffers.
 *
 * How: the first failure stays in the writer together with its report, every later call returns at
 * once, commit gives it back: code that writes thirty keys reads as thirty lines. The file is a
 * sibling until commit renames it (base/file.h).
 *
 * Mind: commit refuses a file whose data is not as long as its directory says, and a key or tensor
 * given twice is found by the reader, with which the caller verifies what it wrote.
 */
#include "tensor/gguf.h"

#include "base/checked.h"
#include "base/file.h"
#include "base/memory.h"

#include <inttypes.h>
#include <string.h>

#define ALIGNMENT 32u

typedef struct buffer {
    uint8_t *bytes;
    size_t n, room;
} buffer;

struct gguf_writer {
    file_writer *file;
    char *path;
    status state;
    error_report report; /* of the first failure */
    buffer values, infos;
    int64_t n_values, n_tensors;
    uint64_t offset; /* of the next tensor's data */
    size_t *sizes;   /* bytes of each tensor's data */
    int64_t current; /* tensor whose data is being written */
    size_t written;  /* of it */
    bool header_done;
};

/* ---- keeping the first failure ---- */

static void keep(gguf_writer *w, status s) {
    if (s == STATUS_OK || w->state != STATUS_OK) return;
    w->state = s;
    error_save(&w->report);
}

static void misuse(gguf_writer *w, const char *what, const char *why) {
    keep(w, FAIL(F_INTERNAL, what, w->path, why, "report this as a bug"));
}

/* ---- gathering ---- */

static void add(gguf_writer *w, buffer *b, const void *bytes, size_t n) {
    if (w->state != STATUS_OK) return;
    if (n > b->room - b->n) {
        size_t room = b->room > 0 ? b->room : 1024;
        while (room - b->n < n)
            room *= 2;
        uint8_t *grown = mem_resize(b->bytes, room, 1);
        if (grown == NULL) {
            keep(w, STATUS_MEMORY);
            return;
        }
        b->bytes = grown;
        b->room = room;
    }
    if (n > 0) memcpy(b->bytes + b->n, bytes, n);
    b->n += n;
}

static void add_u32(gguf_writer *w, buffer *b, uint32_t value) {
    add(w, b, &value, sizeof value);
}
static void add_u64(gguf_writer *w, buffer *b, uint64_t value) {
    add(w, b, &value, sizeof value);
}
static void add_string(gguf_writer *w, buffer *b, const char *bytes, size_t n) {
    add_u64(w, b, n);
    add(w, b, bytes, n);
}

static void begin_value(gguf_writer *w, const char *key, gguf_type type) {
    if (w->header_done) misuse(w, text("key \"%s\" comes too late", key), "data has begun");
    add_string(w, &w->values, key, strlen(key));
    add_u32(w, &w->values, type);
    w->n_values++;
}

static void begin_list(gguf_writer *w, const char *key, gguf_type element, int64_t n) {
    begin_value(w, key, GGUF_LIST);
    add_u32(w, &w->values, element);
    add_u64(w, &w->values, (uint64_t)n);
}

/* An integer in the width of its type; the caller has chosen one that holds it. */
static void add_int(gguf_writer *w, const char *key, gguf_type type, int64_t value) {
    size_t bytes;
    int64_t low, high;
    switch (type) {
    case GGUF_U8: bytes = 1, low = 0, high = UINT8_MAX; break;
    case GGUF_I8: bytes = 1, low = INT8_MIN, high = INT8_MAX; break;
    case GGUF_U16: bytes = 2, low = 0, high = UINT16_MAX; break;
    case GGUF_I16: bytes = 2, low = INT16_MIN, high = INT16_MAX; break;
    case GGUF_U32: bytes = 4, low = 0, high = UINT32_MAX; break;
    case GGUF_I32: bytes = 4, low = INT32_MIN, high = INT32_MAX; break;
    case GGUF_U64: bytes = 8, low = 0, high = INT64_MAX; break;
    case GGUF_I64: bytes = 8, low = INT64_MIN, high = INT64_MAX; break;
    default: misuse(w, text("key \"%s\" is no integer", key), "its type holds none"); return;
    }
    if (value < low || value > high)
        keep(w, FAIL(F_OVERFLOW, text("key \"%s\" is %" PRId64, key, value), w->path,
                     text("its type in the file holds %" PRId64 " to %" PRId64, low, high),
                     "check the numbers of the model configuration"));
    add(w, &w->values, &value, bytes); /* little-endian: the low bytes come first */
}

status gguf_writer_new(gguf_writer **out, const char *path) {
    *out = NULL;
    gguf_writer *w = mem_zalloc(1, sizeof *w);
    if (w == NULL) return STATUS_MEMORY;
    w->path = mem_strdup(path);
    status s = w->path != NULL ? writer_open(&w->file, path) : STATUS_MEMORY;
    if (s != STATUS_OK) {
        gguf_writer_abandon(w);
        return s;
    }
    *out = w;
    return STATUS_OK;
}

void gguf_put_int(gguf_writer *w, const char *key, gguf_type type, int64_t value) {
    begin_value(w, key, type);
    add_int(w, key, type, value);
}

void gguf_put_f32(gguf_writer *w, const char *key, double value) {
    float single = (float)value;
    begin_value(w, key, GGUF_F32);
    add(w, &w->values, &single, sizeof single);
}

void gguf_put_bool(gguf_writer *w, const char *key, bool value) {
    begin_value(w, key, GGUF_BOOL);
    add(w, &w->values, value ? "\1" : "\0", 1);
}

void gguf_put_string(gguf_writer *w, const char *key, const char *value) {
    begin_value(w, key, GGUF_STRING);
    add_string(w, &w->values, value, strlen(value));
}

void gguf_put_texts(gguf_writer *w, const char *key, const gguf_text *texts, int64_t n) {
    begin_list(w, key, GGUF_STRING, n);
    for (int64_t i = 0; i < n; i++)
        add_string(w, &w->values, texts[i].bytes, texts[i].n);
}

void gguf_put_ints(gguf_writer *w, const char *key, gguf_type element, const int64_t *values,
                   int64_t n) {
    begin_list(w, key, element, n);
    for (int64_t i = 0; i < n; i++)
        add_int(w, key, element, values[i]);
}

void gguf_put_value(gguf_writer *w, const gguf_value *value) {
    if (strcmp(value->key, "general.alignment") == 0) return;
    if (value->type == GGUF_LIST)
        begin_list(w, value->key, value->element, value->count);
    else
        begin_value(w, value->key, value->type);
    add(w, &w->values, value->data, value->bytes);
}

void gguf_put_tensor(gguf_writer *w, const char *name, uint32_t type, int rank,
                     const int64_t *dim) {
    int64_t count = 1, block = quant_block(type);
    bool fits = rank >= 1 && rank <= GGUF_MAX_RANK && block > 0 && strlen(name) < 64;
    for (int i = 0; i < rank && fits; i++)
        fits = dim[i] >= 0 && int64_mul(&count, count, dim[i]);
    if (!fits || w->header_done || dim[rank - 1] % block != 0) {
        misuse(w, text("tensor \"%s\" cannot be written", name),
               "its name, shape or type does not fit the format, or data has begun");
        return;
    }
    size_t *sizes = mem_resize(w->sizes, (size_t)w->n_tensors + 1, sizeof *sizes);
    if (sizes == NULL) {
        keep(w, STATUS_MEMORY);
        return;
    }
    w->sizes = sizes;
    w->sizes[w->n_tensors++] = quant_bytes(type, count);
    add_string(w, &w->infos, name, strlen(name));
    add_u32(w, &w->infos, (uint32_t)rank);
    for (int i = rank - 1; i >= 0; i--)
        add_u64(w, &w->infos, (uint64_t)dim[i]);
    add_u32(w, &w->infos, type);
    add_u64(w, &w->infos, w->offset);
    w->offset = size_round_up(w->offset + quant_bytes(type, count), ALIGNMENT);
}

/* ---- the file ---- */

static void put(gguf_writer *w, const void *bytes, size_t n) {
    if (w->state == STATUS_OK) keep(w, writer_put(w->file, bytes, n));
}

/* Zeros up to the next multiple of the alignment. */
static void pad(gguf_writer *w) {
    static const uint8_t zeros[ALIGNMENT];
    size_t at = (size_t)writer_bytes(w->file);
    put(w, zeros, size_round_up(at, ALIGNMENT) - at);
}

static void put_header(gguf_writer *w) {
    uint32_t version = 3;
    if (w->header_done) return;
    put(w, "GGUF", 4);
    put(w, &version, sizeof version);
    put(w, &w->n_tensors, sizeof w->n_tensors);
    put(w, &w->n_values, sizeof w->n_values);
    put(w, w->values.bytes, w->values.n);
    put(w, w->infos.bytes, w->infos.n);
    if (w->n_tensors > 0) pad(w);
    w->header_done = true;
}

/* Goes on to the next tensor that has data to come. */
static void advance(gguf_writer *w) {
    while (w->current < w->n_tensors && w->written == w->sizes[w->current]) {
        pad(w);
        w->current++;
        w->written = 0;
    }
}

void gguf_put_data(gguf_writer *w, const void *bytes, size_t n) {
    const uint8_t *from = bytes;
    put_header(w);
    advance(w);
    while (n > 0 && w->state == STATUS_OK) {
        if (w->current == w->n_tensors) {
            misuse(w, text("%zu bytes of data belong to no tensor", n), "the last one is complete");
            return;
        }
        size_t left = w->sizes[w->current] - w->written, part = n < left ? n : left;
        put(w, from, part);
        w->written += part;
        from += part;
        n -= part;
        advance(w);
    }
}

static void release(gguf_writer *w) {
    mem_free(w->values.bytes);
    mem_free(w->infos.bytes);
    mem_free(w->sizes);
    mem_free(w->path);
    mem_free(w);
}

status gguf_writer_commit(gguf_writer *w) {
    gguf_put_data(w, NULL, 0); /* at least the header */
    if (w->state == STATUS_OK && w->current < w->n_tensors)
        misuse(w, text("tensor %" PRId64 " of %" PRId64 " has no data", w->current, w->n_tensors),
               text("%zu of %zu bytes were given", w->written, w->sizes[w->current]));
    status s = w->state;
    if (s != STATUS_OK) {
        error_restore(&w->report);
        writer_abandon(w->file);
    } else {
        s = writer_commit(w->file);
    }
    release(w);
    return s;
}

void gguf_writer_abandon(gguf_writer *w) {
    if (w == NULL) return;
    writer_abandon(w->file);
    release(w);
}
