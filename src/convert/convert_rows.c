/* convert_rows.c - rows of a planned tensor, as the bytes that are to be written.
 *
 * How: where the input has the same type, rows are handed out where they lie in the mapping, up to a
 * mebibyte at once when they follow each other. Otherwise a row is decoded to f32 and encoded again.
 * kv_b is turned from and to its two halves one head at a time.
 *
 * Mind: f32 holds every value of every type that is read here, so only the last step can round; a
 * number beyond the range of F16 is an error, not an infinity.
 */
#include "convert/convert_internal.h"

#include "base/checked.h"
#include "tensor/tensor.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define PIECE_BYTES ((size_t)1 << 20)

/* -- memory -- */

status row_room_make(row_room *r, const recipes *p) {
    const model_config *c = &p->in->m.config;
    size_t most = 1, bytes = 1;
    memset(r, 0, sizeof *r);
    for (int i = 0; i < p->n; i++) {
        const recipe *t = &p->all[i];
        size_t floats = (size_t)t->width;
        if (t->kind == FROM_KEYS || t->kind == FROM_KV)
            floats = (size_t)c->kv_lora_rank * ((size_t)c->qk_nope_head_dim + 1) + floats;
        if (floats > most) most = floats;
        if (quant_bytes(t->type, t->width) > bytes) bytes = quant_bytes(t->type, t->width);
    }
    r->floats = mem_zalloc(most, sizeof *r->floats);
    r->encoded = mem_alloc(bytes);
    if (r->floats != NULL && r->encoded != NULL) return STATUS_OK;
    row_room_clear(r);
    return STATUS_MEMORY;
}

void row_room_clear(row_room *r) {
    mem_free(r->floats);
    mem_free(r->encoded);
    memset(r, 0, sizeof *r);
}

/* -- encoding -- */

status recipe_encode(uint32_t type, const char *name, const float *from, int64_t n, uint8_t *to) {
    if (type == QUANT_F32) {
        memcpy(to, from, (size_t)n * sizeof *from);
        return STATUS_OK;
    }
    for (int64_t i = 0; i < n; i++) {
        uint16_t half = type == QUANT_F16 ? f32_to_f16(from[i]) : f32_to_bf16(from[i]);
        float back = type == QUANT_F16 ? f16_to_f32(half) : bf16_to_f32(half);
        if (isinf(back) && !isinf(from[i]))
            return FAIL(F_CONVERT_VALUE,
                        text("%.9g in tensor \"%s\" does not fit %s", (double)from[i], name,
                             quant_name(type)),
                        "conversion",
                        type == QUANT_F16 ? "numbers of F16 end at 65504"
                                          : "it would become an infinity",
                        "use --type bf16 or f32");
        memcpy(to + (size_t)i * sizeof half, &half, sizeof half);
    }
    return STATUS_OK;
}

static status give_floats(const recipe *t, const float *from, row_room *r, const uint8_t **bytes,
                          int64_t *n) {
    *n = 1;
    *bytes = r->encoded;
    return recipe_encode(t->type, t->name, from, t->width, r->encoded);
}

/* A row that lies at `data` in the type t->from. */
static status give_raw(const recipe *t, const uint8_t *data, row_room *r, const uint8_t **bytes,
                       int64_t *n) {
    *n = 1;
    *bytes = data;
    if (t->type == t->from) return STATUS_OK;
    quant_decode(t->from, data, t->width, r->floats);
    return give_floats(t, r->floats, r, bytes, n);
}

/* -- the ways -- */

/* Row of the input that is row `row` of the output. */
static int64_t ordered(const recipes *p, const recipe *t, int64_t row) {
    if (t->order == ORDER_SAME) return row;
    if (t->order == ORDER_TO_FILE) return gguf_place_row(&p->in->m, t->place, row);
    int64_t width = p->in->m.config.head_dim, head = row / width, in = row % width;
    return head * width + in % (width / 2) * 2 + in / (width / 2);
}

static status from_data(const recipes *p, const recipe *t, int64_t row, row_room *r,
                        const uint8_t **bytes, int64_t *n) {
    size_t size = quant_bytes(t->from, t->width);
    const uint8_t *data = t->data + (size_t)ordered(p, t, row) * size;
    TRY(give_raw(t, data, r, bytes, n));
    if (t->type == t->from && t->order == ORDER_SAME && size > 0) {
        int64_t piece = (int64_t)(PIECE_BYTES / size);
        *n = piece < 1 ? 1 : piece < t->rows - row ? piece : t->rows - row;
    }
    return STATUS_OK;
}

static status from_parts(const recipes *p, const recipe *t, int64_t row, row_room *r,
                         const uint8_t **bytes, int64_t *n) {
    int64_t each = t->rows / t->n_parts;
    const weight_source *s = &t->parts[row / each]->source;
    int64_t first = ordered(p, t, row % each) * t->width;
    const uint8_t *data = source_bytes(s, first);
    if (data != NULL && s->blocks == t->from) return give_raw(t, data, r, bytes, n);
    source_read(s, first, t->width, r->floats);
    return give_floats(t, r->floats, r, bytes, n);
}

static status from_values(const recipes *p, const recipe *t, int64_t row, row_room *r,
                          const uint8_t **bytes, int64_t *n) {
    const model_config *c = &p->in->m.config;
    const weight_source *s = &t->parts[0]->source;
    int64_t keys = c->qk_nope_head_dim, values = c->v_head_dim;
    int64_t first = (row / values * (keys + values) + keys + row % values) * t->width;
    const uint8_t *data = source_bytes(s, first);
    if (data != NULL && s->blocks == t->from) return give_raw(t, data, r, bytes, n);
    source_read(s, first, t->width, r->floats);
    return give_floats(t, r->floats, r, bytes, n);
}

/* Row (h, j) of [H, kr, n] is column j of the key rows of head h in kv_b [H (n + v), kr]. */
static status from_kv_b(const recipes *p, const recipe *t, int64_t row, row_room *r,
                        const uint8_t **bytes, int64_t *n) {
    const model_config *c = &p->in->m.config;
    int64_t keys = c->qk_nope_head_dim, kr = c->kv_lora_rank, head = row / kr;
    float *column = r->floats + keys * kr;
    if (r->of != t || r->head != head)
        source_read(&t->parts[0]->source, head * (keys + c->v_head_dim) * kr, keys * kr, r->floats);
    r->of = t;
    r->head = head;
    for (int64_t i = 0; i < keys; i++)
        column[i] = r->floats[i * kr + row % kr];
    return give_floats(t, column, r, bytes, n);
}

/* Row of kv_b: a column of attn_k_b's head, or a row of attn_v_b. */
static status from_halves(const recipes *p, const recipe *t, int64_t row, row_room *r,
                          const uint8_t **bytes, int64_t *n) {
    const model_config *c = &p->in->m.config;
    int64_t keys = c->qk_nope_head_dim, values = c->v_head_dim, kr = c->kv_lora_rank;
    int64_t head = row / (keys + values), in = row % (keys + values);
    float *line = r->floats + keys * kr;
    if (in >= keys) {
        int64_t first = (head * values + in - keys) * kr;
        quant_decode(t->values->type, t->values->data + quant_bytes(t->values->type, first), kr,
                     line);
        return give_floats(t, line, r, bytes, n);
    }
    if (r->of != t || r->head != head) {
        const uint8_t *data = t->keys->data + quant_bytes(t->keys->type, head * keys * kr);
        quant_decode(t->keys->type, data, keys * kr, r->floats);
    }
    r->of = t;
    r->head = head;
    for (int64_t j = 0; j < kr; j++)
        line[j] = r->floats[j * keys + in];
    return give_floats(t, line, r, bytes, n);
}

status recipe_rows(const recipes *p, const recipe *t, int64_t row, row_room *r,
                   const uint8_t **bytes, int64_t *n) {
    switch (t->kind) {
    case FROM_FACTORS:
    case FROM_DATA: return from_data(p, t, row, r, bytes, n);
    case FROM_PARTS: return from_parts(p, t, row, r, bytes, n);
    case FROM_VALUES: return from_values(p, t, row, r, bytes, n);
    case FROM_KEYS: return from_kv_b(p, t, row, r, bytes, n);
    case FROM_KV: return from_halves(p, t, row, r, bytes, n);
    }
    return FAIL(F_INTERNAL, text("tensor \"%s\" has no recipe", t->name), "plan", "unknown kind",
                "report this as a bug");
}

/* -- giving memory back -- */

static void forget_entry(const safetensors_entry *e) {
    if (e != NULL) mapped_forget(e->data, e->bytes);
}

void recipe_forget(const recipe *t) {
    if (t->kind == FROM_DATA) mapped_forget(t->data, quant_bytes(t->from, t->rows * t->width));
    for (int i = 0; i < t->n_parts; i++) {
        forget_entry(t->parts[i]->source.entry);
        forget_entry(t->parts[i]->source.values);
        forget_entry(t->parts[i]->source.scale);
    }
    if (t->keys != NULL) mapped_forget(t->keys->data, t->keys->bytes);
    if (t->values != NULL) mapped_forget(t->values->data, t->values->bytes);
}
