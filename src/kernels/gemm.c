/* gemm.c - threads, blocking and packing around the micro-kernels.
 *
 * A product is cut into chunks of (row block x column panel); the grid follows from the shape and
 * the micro-kernel's height, never from the thread count. A chunk walks k in blocks: it brings the
 * A block into the form the micro-kernel wants (rounded to bf16, rows close together, tails
 * padded), then for each pair of B strips runs down the row panels, so that the strips stay in L1
 * and the A block in L2 (Goto and van de Geijn, "Anatomy of High-Performance Matrix
 * Multiplication", ACM TOMS 34, 2008). C is reloaded between k blocks, which is exact
 * (docs/numerics.md 2), so none of this is visible in the result. During each micro call the C of the
 * next one and a share of the strips after these are fetched: a chain starts from C, so a C that comes
 * from memory would stall a call for a tenth of its time.
 *
 * Few rows (decode) give one row block and many panels: B is streamed once, split over threads by
 * columns. Many rows give many row blocks: each thread owns rows of C and shares B.
 *
 * A raw B (weight gradients: B = activations) is packed on the way, K_PHASE rows at a time so that
 * the packed copy stays in cache. An A that lies across k (there, too) becomes panels as high as a
 * micro call, so that its lines are read whole. Where several panels share a row block, its A is
 * formed once for all of them, also a phase at a time. Both are one pool job before that of the
 * chunks. A grouped call is one job over the chunks of all its products.
 *
 * Mind: scratch is the pool's per-thread arena: the caller's for plans and packed B, each
 * chunk's for its A block.
 */
#include "kernels/gemm.h"
#include "kernels/kernels_internal.h"

#include <string.h>

#include "kernels/halves.inc"

#define K_PHASE        1024      /* rows of a raw B packed at a time; a multiple of BF16_GROUP */
#define PACK_ROWS      64        /* of them per chunk; a multiple of BF16_GROUP */
#define ROW_BLOCK      96        /* rows of a chunk, rounded up to whole micro panels */
#define ROW_BLOCK_MOST 384       /* the same where more of them pay */
#define B_STREAMED     (8 << 20) /* bytes of a B that no cache keeps */
#define FORM_BYTES     (2 << 20) /* of A formed ahead in a phase, where B is packed */
#define CHUNKS_WANTED  16        /* per job, where the shapes allow */
#define IN_PLACE_ROWS  16        /* up to here an f32 A is read where it lies */
#define LINE           64        /* bytes of a cache line */
#define LINES_AHEAD    4         /* lines of columns fetched ahead of those being copied */

typedef struct gemm_plan {
    const gemm_call *call;
    const product_kernels *kernels;
    int64_t row_block, row_blocks, panels, panel_strips, strips;
    int64_t first_chunk, first_piece, first_form; /* in the job over all products */
    int64_t phase, k_step;                        /* k of a phase, of a block of it */
    char *b;                                      /* strips of the current phase */
    int64_t strip_stride;                         /* bytes */
    char *formed;                                 /* A of the current phase, or NULL: by chunk */
    int64_t form_bytes, k_blocks;                 /* of one block of it; blocks along k */
    int64_t k0, k_count;                          /* of this phase; k_count 0: no part in it */
} gemm_plan;

typedef struct gemm_job {
    gemm_plan *plans;
    int n_plans;
    int64_t n_chunks, n_pieces, n_forms;
    job_failure failure;
} gemm_job;

static int64_t padded_k(const product_kernels *p, int64_t k) {
    return ceil_div(k, p->k_unit) * p->k_unit;
}

int64_t strip_bytes(const product_kernels *p, int64_t k) {
    return padded_k(p, k) * p->b_size;
}

size_t packed_bytes(gemm_type type, int64_t n, int64_t k) {
    return (size_t)(ceil_div(n, STRIP) * strip_bytes(product_table(type), k));
}

const char *gemm_type_name(gemm_type type) {
    static const char *const names[GEMM_TYPES] = {"f32",      "bf16",     "f64",
                                                  "bf16-dot", "f32-bf16", "f32-f16"};
    return type >= 0 && type < GEMM_TYPES ? names[type] : "unknown";
}

static size_t source_size(gemm_type type) {
    return type == GEMM_F64 ? sizeof(double) : sizeof(float);
}

void block_pack(const product_kernels *p, int64_t k, int64_t n, const void *src, size_t src_size,
                int64_t stride_k, int64_t stride_n, void *strips, int64_t stride) {
    for (int64_t first = 0; first < n; first += STRIP)
        p->pack_strip(k, (int)min_i64(STRIP, n - first), element(src, first * stride_n, src_size),
                      stride_k, stride_n, (char *)strips + first / STRIP * stride);
}

/* Memory that a micro call will read soon: a few lines ahead of each of the calls before it. */
typedef struct read_ahead {
    const char *at, *end;
    int64_t bytes; /* per call */
} read_ahead;

static void fetch_lines(const char *at, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += LINE)
        __builtin_prefetch(at + i, 0, 3);
}

static void fetch_ahead(read_ahead *r) {
    int64_t bytes = min_i64(r->bytes, r->end - r->at);
    fetch_lines(r->at, bytes);
    r->at += bytes;
}

/* `rows` lines of C, which the next call starts its chains from. */
static void fetch_c(const char *c, int64_t row_bytes, int rows, int bytes) {
    for (int i = 0; i < rows; i++, c += row_bytes)
        for (int at = 0; at < bytes; at += LINE)
            __builtin_prefetch(c + at, 1, 3);
}

/* All rows by the strips of one micro call, which stay in L1. `next`: the strips after them. */
static void multiply_strips(const product_kernels *p, micro_call part, int rows, const char *next) {
    const char *a = part.a;
    char *c = part.c;
    int64_t c_step = part.ldc * p->c_size;
    int64_t a_step = part.panel_stride != 0 ? part.panel_stride : p->rows * part.row_stride;
    int calls = (int)ceil_div(rows, p->rows), width = part.columns * p->c_size;
    read_ahead ahead[2] = {{0}};
    for (int s = 0; next != NULL && s * STRIP < part.columns; s++) {
        const char *at = next + s * part.strip_stride;
        int64_t bytes = part.k * p->b_size;
        ahead[s] = (read_ahead){at, at + bytes, ceil_div(ceil_div(bytes, calls), LINE) * LINE};
    }
    for (int row = 0; row < rows; row += p->rows) {
        part.rows = (int)min_i64(p->rows, rows - row);
        part.a = a + row / p->rows * a_step * p->a_size;
        part.c = c + row * c_step;
        fetch_c(c + (row + part.rows) * c_step, c_step,
                (int)min_i64(p->rows, rows - row - part.rows), width);
        fetch_ahead(&ahead[0]);
        fetch_ahead(&ahead[1]);
        p->micro(&part);
    }
}

void block_multiply(const product_kernels *p, const micro_call *block) {
    int width = block->rows > p->rows / 2 ? p->columns : 2 * STRIP;
    int64_t step = 2 * p->k_block;
    for (int64_t k0 = 0; k0 < block->k || k0 == 0; k0 += step) {
        micro_call part = *block;
        part.k = min_i64(step, block->k - k0);
        part.accumulate = block->accumulate || k0 > 0;
        part.a = element(block->a, k0 * block->k_stride, (size_t)p->a_size);
        for (int column = 0; column < block->columns; column += width) {
            const char *b = (const char *)block->b + column / STRIP * block->strip_stride;
            part.columns = (int)min_i64(width, block->columns - column);
            part.b = b + k0 * p->b_size;
            part.c = element_mut(block->c, column, (size_t)p->c_size);
            bool last = column + width >= block->columns;
            multiply_strips(p, part, block->rows,
                            last ? NULL : (const char *)part.b + width / STRIP * part.strip_stride);
        }
    }
}

/* -- A in the form of the micro-kernel -- */

/* Columns that lie across k become panels of as many rows as a micro call takes, for each k (or pair
 * of them) one next to the other; a line between panels keeps them in different sets of the cache. */
static int64_t panel_stride(const product_kernels *p, int64_t k) {
    return p->rows * padded_k(p, k) + LINE / p->a_size;
}

int64_t block_form_bytes(const product_kernels *p, int64_t rows, int64_t k) {
    int64_t lines = ceil_div(rows, 32) * 32 * padded_k(p, k);
    int64_t panels = ceil_div(rows, p->rows) * panel_stride(p, k);
    return max_i64(lines, panels) * p->a_size;
}

/* Copies rows next to each other, padded with zeros along k. */
static void copy_rows(const product_kernels *p, const micro_call *block, char *to) {
    size_t size = (size_t)p->a_size;
    int64_t k_padded = padded_k(p, block->k);
    for (int64_t i = 0; i < block->rows; i++, to += (size_t)k_padded * size) {
        const void *from = element(block->a, i * block->row_stride, size);
        if (p->form == A_ROUNDED)
            kernels_table()->round_bf16(block->k, from, (float *)(void *)to);
        else
            memcpy(to, from, (size_t)block->k * size);
        memset(to + (size_t)block->k * size, 0, (size_t)(k_padded - block->k) * size);
    }
}

/* `bytes` of one k to the panels, `width` bytes to each of them. Short copies of a fixed length write
 * past their panel's piece, which the next k then fills. */
static void scatter(const char *row, int64_t bytes, int64_t width, char *to, int64_t stride) {
    for (; bytes >= 64 && width <= 32; bytes -= width, row += width, to += stride)
        memcpy(to, row, 32);
    for (; bytes >= 64 && width <= 64; bytes -= width, row += width, to += stride)
        memcpy(to, row, 64);
    for (; bytes > 0; bytes -= width, row += width, to += stride)
        memcpy(to, row, (size_t)min_i64(bytes, width));
}

/* Two lines of columns, interleaved on their way to the panels. */
static void pair_panels(const product_kernels *p, const micro_call *block, int64_t k, char *to,
                        int64_t stride) {
    const float *even = element(block->a, k * block->k_stride, sizeof *even);
    const float *odd = k + 1 < block->k ? even + block->k_stride : NULL;
    for (int64_t row = 0; row < block->rows; row += p->rows, to += stride)
        kernels_table()->pair_bf16(min_i64(p->rows, block->rows - row), even + row,
                                   odd != NULL ? odd + row : NULL, (uint32_t *)(void *)to);
}

static void copy_panels(const product_kernels *p, const micro_call *block, char *to) {
    float line[ROW_BLOCK_MOST + 2 * STRIP] = {0};
    int step = p->form == A_PAIRS ? BF16_PAIR : 1;
    int64_t size = p->a_size * step, stride = panel_stride(p, block->k) * p->a_size;
    int64_t line_bytes = block->k_stride * p->c_size, bytes = block->rows * p->c_size;
    for (int64_t k = 0; k < padded_k(p, block->k); k += step, to += p->rows * size) {
        const char *from = (const char *)block->a + min_i64(k, block->k - 1) * line_bytes;
        for (int i = 0; i < step; i++)
            fetch_lines(from + (LINES_AHEAD + i) * line_bytes, bytes);
        if (p->form == A_PAIRS) {
            pair_panels(p, block, k, to, stride);
            continue;
        }
        if (p->form == A_ROUNDED && k < block->k)
            kernels_table()->round_bf16(block->rows, (const float *)(const void *)from, line);
        else if (p->form == A_ROUNDED)
            memset(line, 0, (size_t)bytes);
        scatter(p->form == A_ROUNDED ? (const char *)line : from, bytes, p->rows * size, to,
                stride);
    }
}

/* Rows of bf16, k padded with zeros. */
static void round_rows(const product_kernels *p, const micro_call *block, uint16_t *to) {
    int64_t k_padded = padded_k(p, block->k);
    const float *from = block->a;
    for (int64_t i = 0; i < block->rows; i++) {
        kernels_table()->to_bf16(block->k, from + i * block->row_stride, to + i * k_padded);
        for (int64_t k = block->k; k < k_padded; k++)
            to[i * k_padded + k] = 0;
    }
}

static void tile_a(const product_kernels *p, const micro_call *block, uint16_t *to) {
    int64_t k_padded = padded_k(p, block->k), rows_padded = ceil_div(block->rows, 32) * 32;
    if (block->k_stride == 1) {
        round_rows(p, block, to);
    } else {
        const float *src = block->a;
        for (int64_t row = 0; row < block->rows; row += BF16_GROUP)
            for (int64_t k = 0; k < block->k; k += BF16_GROUP)
                kernels_table()->transpose_bf16((int)min_i64(BF16_GROUP, block->rows - row),
                                                (int)min_i64(BF16_GROUP, block->k - k),
                                                src + k * block->k_stride + row, block->k_stride,
                                                to + row * k_padded + k, k_padded);
        if (k_padded > block->k)
            for (int64_t i = 0; i < block->rows; i++)
                memset(to + i * k_padded + block->k, 0, (size_t)(k_padded - block->k) * sizeof *to);
    }
    memset(to + block->rows * k_padded, 0,
           (size_t)((rows_padded - block->rows) * k_padded) * sizeof *to);
}

static void form_write(const product_kernels *p, const micro_call *block, void *buffer) {
    if (p->form == A_TILES)
        tile_a(p, block, buffer);
    else if (block->k_stride != 1)
        copy_panels(p, block, buffer);
    else if (p->form == A_PAIRS)
        round_rows(p, block, buffer);
    else
        copy_rows(p, block, buffer);
}

/* Points block at its A as form_write left it. */
static void form_use(const product_kernels *p, micro_call *block, const void *buffer) {
    bool by_rows = block->k_stride == 1 || p->form == A_TILES;
    block->panel_stride = by_rows ? 0 : panel_stride(p, block->k);
    block->a = buffer;
    block->k = padded_k(p, block->k);
    block->row_stride = by_rows ? block->k : p->form == A_PAIRS ? BF16_PAIR : 1;
    block->k_stride = by_rows ? 1 : p->rows;
}

void block_form_a(const product_kernels *p, micro_call *block, void *buffer) {
    form_write(p, block, buffer);
    form_use(p, block, buffer);
}

/* -- chunks -- */

static const gemm_plan *plan_of_chunk(const gemm_job *job, int64_t chunk) {
    int low = 0, high = job->n_plans - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (job->plans[middle].first_chunk <= chunk)
            low = middle;
        else
            high = middle - 1;
    }
    return &job->plans[low];
}

/* The raw A of one block of rows and k (k counts within the phase). */
static micro_call raw_block(const gemm_plan *plan, int64_t row_block, int64_t k) {
    const gemm_call *call = plan->call;
    int64_t row0 = row_block * plan->row_block, k0 = plan->k0 + k;
    return (micro_call){.k = min_i64(plan->k_step, plan->k_count - k),
                        .a = element(call->a, row0 * call->a_stride_m + k0 * call->a_stride_k,
                                     source_size(call->type)),
                        .row_stride = call->a_stride_m,
                        .k_stride = call->a_stride_k,
                        .rows = (int)min_i64(plan->row_block, call->m - row0)};
}

static char *formed_block(const gemm_plan *plan, int64_t row_block, int64_t k) {
    return plan->formed + (row_block * plan->k_blocks + k / plan->k_step) * plan->form_bytes;
}

static bool needs_form(const gemm_plan *plan) {
    return plan->kernels->form != A_REAL || plan->call->m > IN_PLACE_ROWS;
}

static void multiply_part(const gemm_plan *plan, int64_t row_block, int64_t panel, char *buffer) {
    const gemm_call *call = plan->call;
    const product_kernels *p = plan->kernels;
    int64_t row0 = row_block * plan->row_block, strip0 = panel * plan->panel_strips;
    int64_t columns = min_i64(call->n, (strip0 + plan->panel_strips) * STRIP) - strip0 * STRIP;
    if (p->enter != NULL) p->enter();
    for (int64_t k = 0; k < plan->k_count; k += plan->k_step) {
        micro_call block = raw_block(plan, row_block, k);
        int64_t b_row = plan->call->b != NULL ? plan->k0 + k : k;
        block.b = plan->b + strip0 * plan->strip_stride + b_row * p->b_size;
        block.strip_stride = plan->strip_stride;
        block.c = element_mut(call->c, row0 * call->ldc + strip0 * STRIP, (size_t)p->c_size);
        block.ldc = call->ldc;
        block.columns = (int)columns;
        block.accumulate = call->accumulate || plan->k0 + k > 0;
        if (plan->formed != NULL)
            form_use(p, &block, formed_block(plan, row_block, k));
        else if (needs_form(plan))
            block_form_a(p, &block, buffer);
        block_multiply(p, &block);
    }
    if (p->leave != NULL) p->leave();
}

static void gemm_chunk(void *context, int64_t chunk) {
    gemm_job *job = context;
    const gemm_plan *plan = plan_of_chunk(job, chunk);
    arena *scratch = pool_scratch();
    if (scratch == NULL) {
        job_failed(&job->failure);
        return;
    }
    size_t mark = arena_mark(scratch);
    char *buffer = arena_alloc(
        scratch, (size_t)block_form_bytes(plan->kernels, plan->row_block, plan->k_step));
    if (buffer == NULL)
        job_failed(&job->failure);
    else
        multiply_part(plan, (chunk - plan->first_chunk) / plan->panels,
                      (chunk - plan->first_chunk) % plan->panels, buffer);
    arena_reset(scratch, mark);
}

/* PACK_ROWS of k by all strips, or where the columns lie along k one strip by all k. */
static int64_t pack_pieces(const gemm_plan *plan) {
    return plan->call->b_stride_n == 1 ? ceil_div(plan->k_count, PACK_ROWS) : plan->strips;
}

static void pack_piece(const gemm_job *job, int64_t piece) {
    int i = 0;
    while (i + 1 < job->n_plans && job->plans[i + 1].first_piece <= piece)
        i++;
    const gemm_plan *plan = &job->plans[i];
    const gemm_call *call = plan->call;
    size_t size = source_size(call->type);
    const void *src = element(call->b_raw, plan->k0 * call->b_stride_k, size);
    piece -= plan->first_piece;
    if (call->b_stride_n != 1) {
        int64_t column = piece * STRIP;
        plan->kernels->pack_strip(plan->k_count, (int)min_i64(STRIP, call->n - column),
                                  element(src, column * call->b_stride_n, size), call->b_stride_k,
                                  call->b_stride_n, plan->b + piece * plan->strip_stride);
        return;
    }
    int64_t end = min_i64(plan->k_count, (piece + 1) * PACK_ROWS);
    for (int64_t k = piece * PACK_ROWS; k < end; k += BF16_GROUP)
        block_pack(plan->kernels, min_i64(BF16_GROUP, end - k), call->n,
                   element(src, k * call->b_stride_k, size), size, call->b_stride_k, 1,
                   plan->b + k * plan->kernels->b_size, plan->strip_stride);
}

static void form_block(const gemm_job *job, int64_t form) {
    int i = 0;
    while (i + 1 < job->n_plans && job->plans[i + 1].first_form <= form)
        i++;
    const gemm_plan *plan = &job->plans[i];
    int64_t k_blocks = ceil_div(plan->k_count, plan->k_step);
    int64_t row_block = (form - plan->first_form) / k_blocks;
    int64_t k = (form - plan->first_form) % k_blocks * plan->k_step;
    micro_call block = raw_block(plan, row_block, k);
    form_write(plan->kernels, &block, formed_block(plan, row_block, k));
}

/* What the chunks of a phase share: strips of a raw B, then blocks of A. */
static void prepare_chunk(void *context, int64_t chunk) {
    const gemm_job *job = context;
    if (chunk < job->n_pieces)
        pack_piece(job, chunk);
    else
        form_block(job, chunk - job->n_pieces);
}

/* -- plans -- */

static void clear_c(const gemm_call *call) {
    size_t size = source_size(call->type);
    for (int64_t i = 0; i < call->m; i++)
        memset(element_mut(call->c, i * call->ldc, size), 0, (size_t)call->n * size);
}

/* Blocks along k: even ones of about k_block, so that none is too short for what it costs to take
 * C up and put it down. */
static int64_t even_k(const product_kernels *p, int64_t k) {
    int64_t blocks = ceil_div(k, p->k_block + p->k_block / 4);
    return ceil_div(ceil_div(k, blocks), BF16_GROUP) * BF16_GROUP;
}

/* Many rows where each pass over B comes from memory, or where a micro call reads but one strip for
 * its rows of A; else few, so that A and C of a block stay in L2. */
static int64_t rows_of_block(const gemm_plan *plan) {
    const gemm_call *call = plan->call;
    int64_t strips = ceil_div(call->n, STRIP), wanted = ROW_BLOCK;
    if (strips * strip_bytes(plan->kernels, plan->phase) > B_STREAMED)
        wanted = ROW_BLOCK_MOST;
    else if (plan->kernels->columns == STRIP)
        wanted = max_i64(ROW_BLOCK, min_i64(ROW_BLOCK_MOST, ceil_div(call->m, CHUNKS_WANTED)));
    int64_t blocks = ceil_div(call->m, wanted), rows = plan->kernels->rows;
    return ceil_div(ceil_div(call->m, blocks), rows) * rows;
}

static void plan_grid(gemm_plan *plan, int n_plans) {
    const gemm_call *call = plan->call;
    plan->row_block = rows_of_block(plan);
    plan->row_blocks = ceil_div(call->m, plan->row_block);
    plan->strips = ceil_div(call->n, STRIP);
    int64_t panels = ceil_div(CHUNKS_WANTED, plan->row_blocks * n_plans);
    int64_t block_flops = 2 * min_i64(call->m, plan->row_block) * call->n * call->k;
    panels = max_i64(1, min_i64(panels, block_flops / plan->kernels->chunk_flops));
    plan->panel_strips = ceil_div(plan->strips, panels);
    plan->panel_strips += plan->panel_strips % 2; /* whole pairs */
    plan->panels = ceil_div(plan->strips, plan->panel_strips);
}

/* Room for A of a phase, and with a packed B the length of the phases. */
static status plan_form(gemm_plan *plan, arena *scratch) {
    const product_kernels *p = plan->kernels;
    if (plan->panels == 1 || !needs_form(plan)) return STATUS_OK;
    plan->form_bytes = block_form_bytes(p, plan->row_block, plan->k_step);
    if (plan->call->b != NULL)
        plan->phase =
            min_i64(plan->phase,
                    max_i64(1, FORM_BYTES / plan->form_bytes / plan->row_blocks) * plan->k_step);
    plan->k_blocks = ceil_div(plan->phase, plan->k_step);
    plan->formed =
        arena_alloc(scratch, (size_t)(plan->row_blocks * plan->k_blocks * plan->form_bytes));
    return plan->formed != NULL ? STATUS_OK : STATUS_MEMORY;
}

/* k_count 0 leaves the product out of the job. */
static status plan_init(gemm_plan *plan, const gemm_call *call, int n_plans, arena *scratch) {
    plan->call = call;
    plan->kernels = product_table(call->type);
    if (call->m <= 0 || call->n <= 0) return STATUS_OK;
    if (call->k <= 0) {
        if (!call->accumulate) clear_c(call);
        return STATUS_OK;
    }
    plan->phase = call->b != NULL ? call->k : min_i64(call->k, K_PHASE);
    plan->k_step = even_k(plan->kernels, plan->phase);
    plan_grid(plan, n_plans);
    plan->strip_stride = strip_bytes(plan->kernels, plan->phase);
    plan->b = call->b != NULL ? call->b->data
                              : arena_alloc(scratch, (size_t)(plan->strips * plan->strip_stride));
    return plan->b != NULL ? plan_form(plan, scratch) : STATUS_MEMORY;
}

/* Sets what each product does in phase `phase`; returns whether there is anything to do. */
static bool job_phase(gemm_job *job, int64_t phase) {
    job->n_chunks = job->n_pieces = job->n_forms = 0;
    for (int i = 0; i < job->n_plans; i++) {
        gemm_plan *plan = &job->plans[i];
        const gemm_call *call = plan->call;
        plan->first_chunk = job->n_chunks;
        plan->first_piece = job->n_pieces;
        plan->first_form = job->n_forms;
        plan->k0 = phase * plan->phase;
        plan->k_count = min_i64(plan->phase, call->k - plan->k0);
        if (plan->b == NULL || plan->k_count <= 0) continue;
        job->n_chunks += plan->row_blocks * plan->panels;
        if (call->b == NULL) job->n_pieces += pack_pieces(plan);
        if (plan->formed != NULL)
            job->n_forms += plan->row_blocks * ceil_div(plan->k_count, plan->k_step);
    }
    return job->n_chunks > 0;
}

static status job_run(gemm_job *job, const gemm_call *calls, arena *scratch) {
    for (int i = 0; i < job->n_plans; i++)
        TRY(plan_init(&job->plans[i], &calls[i], job->n_plans, scratch));
    for (int64_t phase = 0; job_phase(job, phase); phase++) {
        pool_for(job->n_pieces + job->n_forms, prepare_chunk, job);
        pool_for(job->n_chunks, gemm_chunk, job);
        TRY(job_status(&job->failure));
    }
    return STATUS_OK;
}

status gemm_grouped(const gemm_call *calls, int n_calls) {
    if (n_calls <= 0) return STATUS_OK;
    arena *scratch = pool_scratch();
    if (scratch == NULL) return STATUS_MEMORY;
    size_t mark = arena_mark(scratch);
    gemm_job job = {.n_plans = n_calls};
    status s = STATUS_MEMORY;
    job.plans = arena_zalloc(scratch, (size_t)n_calls * sizeof *job.plans);
    if (job.plans != NULL) s = job_run(&job, calls, scratch);
    arena_reset(scratch, mark);
    return s;
}

status gemm(const gemm_call *call) {
    return gemm_grouped(call, 1);
}

/* -- packing ahead -- */

typedef struct pack_job {
    const product_kernels *kernels;
    packed_matrix *to;
    const void *src;
    int64_t stride_n, stride_k, strip_stride;
} pack_job;

static void pack_ahead_chunk(void *context, int64_t strip) {
    const pack_job *job = context;
    const packed_matrix *to = job->to;
    job->kernels->pack_strip(
        to->k, (int)min_i64(STRIP, to->n - strip * STRIP),
        element(job->src, strip * STRIP * job->stride_n, source_size(to->type)), job->stride_k,
        job->stride_n, (char *)to->data + strip * job->strip_stride);
}

void gemm_pack(packed_matrix *to, const void *src, int64_t stride_n, int64_t stride_k) {
    pack_job job = {.kernels = product_table(to->type),
                    .to = to,
                    .src = src,
                    .stride_n = stride_n,
                    .stride_k = stride_k,
                    .strip_stride = strip_bytes(product_table(to->type), to->k)};
    pool_for(ceil_div(to->n, STRIP), pack_ahead_chunk, &job);
}

/* -- packing from a file -- */

typedef struct rows_job {
    const product_kernels *kernels;
    packed_matrix *to;
    gemm_row_source *rows;
    void *context;
    size_t size;
    int64_t first, count;
    job_failure failure;
} rows_job;

static status pack_rows_strip(const rows_job *job, int64_t strip, void *room) {
    packed_matrix *to = job->to;
    const void *rows[STRIP];
    int64_t first = job->first + strip * STRIP;
    int n = (int)min_i64(STRIP, job->first + job->count - first);
    char *at = (char *)to->data + first / STRIP * strip_bytes(job->kernels, to->k);
    TRY(job->rows(job->context, first, n, room, rows));
    if (job->size == sizeof(uint16_t))
        kernels_table()->pack_halves(to->k, n, rows, at);
    else
        job->kernels->pack_strip(to->k, n, room, 1, to->k, at);
    return STATUS_OK;
}

static void pack_rows_chunk(void *context, int64_t strip) {
    rows_job *job = context;
    arena *scratch = pool_scratch();
    size_t mark = scratch != NULL ? arena_mark(scratch) : 0;
    void *room =
        scratch != NULL ? arena_alloc(scratch, (size_t)(STRIP * job->to->k) * sizeof(float)) : NULL;
    if (room == NULL || pack_rows_strip(job, strip, room) != STATUS_OK) job_failed(&job->failure);
    if (scratch != NULL) arena_reset(scratch, mark);
}

status gemm_pack_rows(packed_matrix *to, int64_t first, int64_t count, size_t size,
                      gemm_row_source *rows, void *context) {
    rows_job job = {.kernels = product_table(to->type),
                    .to = to,
                    .rows = rows,
                    .context = context,
                    .size = size,
                    .first = first,
                    .count = count};
    pool_for(ceil_div(count, STRIP), pack_rows_chunk, &job);
    return job_status(&job.failure);
}

void gemm_unpack_row(const packed_matrix *from, int64_t n, float *to) {
    const char *strip =
        (const char *)from->data + n / STRIP * strip_bytes(product_table(from->type), from->k);
    const float *floats = (const float *)(const void *)strip + n % STRIP;
    const uint32_t *pairs = (const uint32_t *)(const void *)strip + n % STRIP;
    for (int64_t k = 0; k < from->k; k++) {
        uint32_t half = pairs[k / 2 * STRIP] >> k % 2 * 16 & 0xFFFFu;
        to[k] = from->type == GEMM_F32       ? floats[k * STRIP]
                : from->type == GEMM_F32_F16 ? widen_f16(half)
                                             : widen_bf16(half);
    }
}
