/* held.c - weights that live once: from the file straight into the form that products read.
 *
 * Training needs f32 masters, inference does not. Here each matrix gets its packed form only
 * (param_set_hold), in the numbers of its file: BF16 and F16 keep their 16 bits, so that products have
 * the very bits of f32 masters; F32 stays F32; F8_E4M3 becomes bf16, as the program that published it
 * does. A parameter made of several tensors (gate and up, all experts) takes the widest of them. Norms,
 * biases and routers, which are small, are masters in f32 as ever.
 *
 * How: parameter by parameter, in slices of some megabytes: the mapped pages of a slice are asked for
 * at once, both cores turn rows into strips, and the pages are let go of. So the file is in this
 * process only by the slice, beside what has been packed: about the size of the file in all. Nothing is
 * copied on the way where the file has 16 bits.
 *
 * Mind: pages let go of stay in the page cache; the next start finds them there.
 */
#include "model/source.h"

#include "base/pool.h"
#include "base/watch.h"
#include "model/model_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SLICE_BYTES ((int64_t)8 << 20)
#define PIECE_BYTES ((int64_t)1 << 20) /* of a slice, asked for by one thread */

/* The tensors of one parameter, by row. */
typedef struct row_tensors {
    const model_part *parts;
    int n;
    int64_t width;
    size_t size; /* of the numbers that rows are given in */
} row_tensors;

static int by_place(const void *a, const void *b) {
    const model_part *p = a, *q = b;
    if (p->param != q->param) return p->param->offset < q->param->offset ? -1 : 1;
    return p->view->first_row < q->view->first_row ? -1 : 1;
}

static const model_part *part_of_row(const row_tensors *t, int64_t row) {
    int low = 0, high = t->n - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (t->parts[middle].view->first_row <= row)
            low = middle;
        else
            high = middle - 1;
    }
    return &t->parts[low];
}

static status fetch_rows(void *context, int64_t first, int n, void *room, const void **rows) {
    const row_tensors *t = context;
    for (int j = 0; j < n; j++) {
        const model_part *p = part_of_row(t, first + j);
        int64_t at = (first + j - p->view->first_row) * t->width;
        if (t->size == sizeof(uint16_t))
            rows[j] = (const uint8_t *)p->source.entry->data +
                      (size_t)(p->source.first + at) * sizeof(uint16_t);
        else
            source_read(&p->source, at, t->width, (float *)room + j * t->width);
    }
    return STATUS_OK;
}

/* How the matrix of these tensors lives. */
static gemm_type held_type(const model_part *parts, int n) {
    bool all_bf16 = true, all_f16 = true, any_f32 = false;
    for (int i = 0; i < n; i++) {
        dtype type = parts[i].source.type;
        all_bf16 = all_bf16 && (type == DTYPE_BF16 || type == DTYPE_F8_E4M3);
        all_f16 = all_f16 && type == DTYPE_F16;
        any_f32 = any_f32 || type == DTYPE_F32;
    }
    return all_bf16 ? GEMM_F32_BF16 : all_f16 ? GEMM_F32_F16 : GEMM_F32;
}

static size_t held_size(const model_part *parts, int n, gemm_type type) {
    if (type == GEMM_F32) return sizeof(float);
    for (int i = 0; i < n; i++)
        if (parts[i].source.type == DTYPE_F8_E4M3) return sizeof(float);
    return sizeof(uint16_t);
}

static int run_length(const model_part *parts, int n) {
    int run = 1;
    while (run < n && parts[run].param == parts[0].param)
        run++;
    return run;
}

int64_t parts_held_bytes(model_part *parts, int n) {
    int64_t bytes = 0;
    qsort(parts, (size_t)n, sizeof *parts, by_place);
    for (int i = 0; i < n;) {
        int run = run_length(parts + i, n - i);
        bytes += param_held_bytes(parts[i].param, held_type(parts + i, run));
        i += run;
    }
    return bytes;
}

/* -- pages of the file -- */

/* Where the numbers of rows [first, first + count) of a part lie. */
static const uint8_t *bytes_of(const model_part *p, int64_t first, int64_t count, size_t *n) {
    const weight_source *s = &p->source;
    size_t size = dtype_size(s->type);
    *n = (size_t)(count * s->width) * size;
    return (const uint8_t *)s->entry->data + (size_t)(s->first + first * s->width) * size;
}

typedef struct asked_pages {
    const safetensors *file;
    const uint8_t *data;
    size_t bytes;
} asked_pages;

static void ask_piece(void *context, int64_t piece) {
    const asked_pages *a = context;
    size_t at = (size_t)(piece * PIECE_BYTES), left = a->bytes - at;
    safetensors_expect(a->file, a->data + at,
                       left < (size_t)PIECE_BYTES ? left : (size_t)PIECE_BYTES);
}

/* Asks for the pages behind rows [first, first + count) of a parameter, or lets go of them. */
static void slice_pages(const safetensors *f, const row_tensors *t, int64_t first, int64_t count,
                        bool wanted) {
    for (int64_t row = first; row < first + count;) {
        const model_part *p = part_of_row(t, row);
        int64_t in = row - p->view->first_row, rows = p->view->rows - in;
        if (rows > first + count - row) rows = first + count - row;
        asked_pages a = {.file = f};
        a.data = bytes_of(p, in, rows, &a.bytes);
        if (wanted)
            pool_for(((int64_t)a.bytes + PIECE_BYTES - 1) / PIECE_BYTES, ask_piece, &a);
        else
            safetensors_forget(f, a.data, a.bytes);
        row += rows;
    }
}

/* -- filling -- */

static status hold_matrix(model *m, const safetensors *f, param *p, row_tensors *t) {
    gemm_type type = held_type(t->parts, t->n);
    int64_t out = p->dim[p->rank - 2], all = p->count / p->dim[p->rank - 1];
    t->size = held_size(t->parts, t->n, type);
    TRY(param_hold(&m->params, p, type));
    int64_t step = SLICE_BYTES / (t->width * 4) / 64 * 64 + 64;
    for (int64_t row = 0; row < all;) {
        int64_t left = out - row % out, count = left < step ? left : step;
        slice_pages(f, t, row, count, true);
        TRY(param_hold_rows(p, row, count, t->size, fetch_rows, t));
        slice_pages(f, t, row, count, false);
        row += count;
    }
    return STATUS_OK;
}

status model_hold_from(model *m, safetensors *f, model_part *parts, int n) {
    qsort(parts, (size_t)n, sizeof *parts, by_place);
    TRY(param_set_hold(&m->params));
    for (int i = 0, k = 0; i < n; k++) {
        param *p = m->params.all[k];
        row_tensors t = {.parts = parts + i, .n = run_length(parts + i, n - i)};
        t.width = part_width(parts + i);
        TRY(watch_tell(i, n));
        if (param_is_held(p)) {
            TRY(hold_matrix(m, f, p, &t));
        } else {
            for (int j = i; j < i + t.n; j++)
                source_read(&parts[j].source, 0, part_count(&parts[j]),
                            (float *)p->master + part_first(&parts[j]));
        }
        i += t.n;
    }
    return STATUS_OK;
}
