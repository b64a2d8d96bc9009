/* eval.c - bits per byte of the held-out text, with interval, beside its baselines.
 *
 * The validation split is cut into rows as in training (loader.h): each of its tokens is a target
 * exactly once, context starts afresh with each row. A batch of rows goes through model_forward with
 * targets; nats come back per token, so that each row has its own sum. The interval is a bootstrap
 * over rows of the ratio nats / bytes; bytes of a token are those it decodes to, nothing for
 * boundary tokens.
 */
#include "eval/eval_internal.h"

#include "base/clock.h"
#include "base/progress.h"
#include "base/rng.h"
#include "data/data.h"
#include "data/loader.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RESAMPLES    1000
#define BATCH_TOKENS 4096
#define RESERVE      ((size_t)32 << 30) /* address space for the arena of a forward */

typedef struct row_sum {
    double nats;
    int64_t bytes, tokens;
} row_sum;

/* The arrays of one batch of rows. */
typedef struct eval_batch {
    int rows, seq_len;
    int32_t *ids, *target, *first, *position;
    int64_t *start;
    double *each;
} eval_batch;

static status batch_new(eval_batch *b, arena *a, int rows, int seq_len) {
    size_t n = (size_t)rows * (size_t)seq_len;
    b->rows = rows;
    b->seq_len = seq_len;
    b->ids = arena_alloc(a, n * sizeof *b->ids);
    b->target = arena_alloc(a, n * sizeof *b->target);
    b->first = arena_alloc(a, n * sizeof *b->first);
    b->position = arena_alloc(a, n * sizeof *b->position);
    b->start = arena_alloc(a, (size_t)(rows + 1) * sizeof *b->start);
    b->each = arena_alloc(a, n * sizeof *b->each);
    if (b->ids == NULL || b->target == NULL || b->first == NULL || b->position == NULL ||
        b->start == NULL || b->each == NULL)
        return STATUS_MEMORY;
    for (int r = 0; r <= rows; r++)
        b->start[r] = (int64_t)r * seq_len;
    for (size_t i = 0; i < n; i++)
        b->position[i] = (int32_t)(i % (size_t)seq_len);
    return STATUS_OK;
}

static status batch_fill(eval_batch *b, loader *l, int64_t row, int rows) {
    for (int r = 0; r < rows; r++) {
        int64_t at = b->start[r];
        loader_slot slot = {.ids = b->ids + at, .target = b->target + at, .first = b->first + at};
        TRY(loader_row(l, row + r, &slot));
    }
    return STATUS_OK;
}

static status batch_forward(eval_batch *b, int rows, bundle *of, arena *a) {
    size_t mark = arena_mark(a);
    model_batch batch = {
        .layout = {.n = b->start[rows],
                   .n_sequences = rows,
                   .start = b->start,
                   .position = b->position,
                   .first = b->first},
        .ids = b->ids,
        .role = ROLE_PROMPT,
        .target = b->target,
    };
    model_result result = {.each = b->each};
    tape t;
    status s = tape_init(&t, a, &of->model.params, (tape_options){0});
    if (s == STATUS_OK) s = model_forward(&of->model, &t, &batch, &result);
    arena_reset(a, mark);
    return s;
}

static void batch_sum(const eval_batch *b, int rows, const int32_t *token_bytes, row_sum *sums) {
    for (int r = 0; r < rows; r++) {
        row_sum sum = {0};
        for (int64_t i = b->start[r]; i < b->start[r + 1]; i++) {
            if (b->target[i] < 0) continue;
            sum.nats += b->each[i];
            sum.bytes += token_bytes[b->target[i]];
            sum.tokens++;
        }
        sums[r] = sum;
    }
}

/* Sums of every row. */
static status rows_run(bundle *b, loader *l, int seq_len, int64_t n_rows,
                       const int32_t *token_bytes, const char *label, row_sum *sums) {
    arena a;
    TRY(arena_init(&a, "evaluation", RESERVE));
    int rows = BATCH_TOKENS / seq_len > 0 ? BATCH_TOKENS / seq_len : 1;
    eval_batch batch;
    progress p;
    if (label != NULL) progress_start(&p, label, "rows", (double)n_rows, 0);
    status s = batch_new(&batch, &a, rows, seq_len);
    for (int64_t row = 0; row < n_rows && s == STATUS_OK; row += rows) {
        int now = n_rows - row < rows ? (int)(n_rows - row) : rows;
        TRY_GOTO(s, interrupt_status("evaluation", "run the same command again"));
        TRY_GOTO(s, batch_fill(&batch, l, row, now));
        TRY_GOTO(s, batch_forward(&batch, now, b, &a));
        batch_sum(&batch, now, token_bytes, sums + row);
        if (label != NULL) progress_show(&p, (double)(row + now), NULL);
    }
done:
    if (label != NULL) progress_end(&p, NULL);
    arena_clear(&a);
    return s;
}

static double bits_per_byte(double nats, int64_t bytes) {
    return bytes > 0 ? nats / ((double)bytes * log(2.0)) : 0;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void bootstrap(const row_sum *sums, int64_t n, uint64_t seed, double *low, double *high) {
    double sample[RESAMPLES];
    for (int k = 0; k < RESAMPLES; k++) {
        rng r = rng_at(seed, RNG_BOOTSTRAP, (uint64_t)k);
        double nats = 0;
        int64_t bytes = 0;
        for (int64_t i = 0; i < n; i++) {
            const row_sum *s = &sums[rng_below(r, (uint64_t)i, (uint64_t)n)];
            nats += s->nats;
            bytes += s->bytes;
        }
        sample[k] = bits_per_byte(nats, bytes);
    }
    qsort(sample, RESAMPLES, sizeof sample[0], compare_doubles);
    *low = sample[RESAMPLES / 40];
    *high = sample[RESAMPLES - 1 - RESAMPLES / 40];
}

static status result_fill(const row_sum *sums, int64_t n_rows, uint64_t seed, eval_result *out) {
    double nats = 0;
    for (int64_t i = 0; i < n_rows; i++) {
        nats += sums[i].nats;
        out->bytes += sums[i].bytes;
        out->tokens += sums[i].tokens;
    }
    if (out->tokens == 0 || out->bytes == 0)
        return FAIL(F_DATASET, "the validation split has no text", "evaluation",
                    "no token of it is a target", "tokenize the data again with a larger share");
    out->loss = nats / (double)out->tokens;
    out->perplexity = exp(out->loss);
    out->bits_per_byte = bits_per_byte(nats, out->bytes);
    bootstrap(sums, n_rows, seed, &out->low, &out->high);
    return STATUS_OK;
}

/* The same model with fresh weights: what the architecture knows before it has seen anything. */
static status untrained_run(bundle *b, loader *l, int seq_len, int64_t n_rows,
                            const int32_t *token_bytes, row_sum *sums, double *bits) {
    bundle fresh = {.tokenizer = b->tokenizer};
    TRY(model_init(&fresh.model, &b->model.config, DTYPE_F32));
    param_set_initialise(&fresh.model.params, 1);
    status s = rows_run(&fresh, l, seq_len, n_rows, token_bytes, NULL, sums);
    double nats = 0;
    int64_t bytes = 0;
    for (int64_t i = 0; i < n_rows; i++)
        nats += sums[i].nats, bytes += sums[i].bytes;
    *bits = bits_per_byte(nats, bytes);
    model_clear(&fresh.model);
    return s;
}

static status token_lengths(const bundle *b, int32_t **out) {
    int64_t vocab = b->model.config.vocab_size, known = tokenizer_vocab_size(b->tokenizer);
    int32_t *bytes = mem_zalloc((size_t)vocab, sizeof *bytes);
    if (bytes == NULL) return STATUS_MEMORY;
    for (int32_t id = 0; id < vocab && id < known; id++)
        bytes[id] = tokenizer_token_bytes(b->tokenizer, id);
    *out = bytes;
    return STATUS_OK;
}

status eval_run(bundle *b, const eval_options *o, eval_result *out) {
    memset(out, 0, sizeof *out);
    double began = clock_seconds();
    int64_t context = b->model.config.max_position;
    int seq_len = o->seq_len > 0 ? o->seq_len : context > 0 && context < 512 ? (int)context : 512;
    const char *from = o->input != NULL ? o->input : o->data;
    loader_options lo = {.folder = o->input != NULL ? NULL : o->data,
                         .input = o->input,
                         .split = SPLIT_VALIDATION,
                         .seq_len = seq_len,
                         .mode = o->stream || o->input != NULL ? LOADER_STREAM : LOADER_PACKED};
    loader *l = NULL;
    row_sum *sums = NULL;
    int32_t *token_bytes = NULL;
    status s = loader_open(&l, &lo);
    if (s != STATUS_OK) return s;
    if (loader_vocab_size(l) > b->model.config.vocab_size) {
        s = FAIL(F_TOKENIZER,
                 text("the data has %d tokens, the model %" PRId64, loader_vocab_size(l),
                      b->model.config.vocab_size),
                 from, "they were made with different tokenizers",
                 "evaluate on the data the model was trained with");
        goto done;
    }
    int64_t n_rows = loader_rows(l);
    if (o->max_tokens > 0 && o->max_tokens / seq_len < n_rows)
        n_rows = o->max_tokens / seq_len > 0 ? o->max_tokens / seq_len : 1;
    sums = mem_zalloc((size_t)n_rows, sizeof *sums);
    if (sums == NULL) {
        s = STATUS_MEMORY;
        goto done;
    }
    TRY_GOTO(s, token_lengths(b, &token_bytes));
    TRY_GOTO(s, rows_run(b, l, seq_len, n_rows, token_bytes, o->quiet ? NULL : "evaluate", sums));
    TRY_GOTO(s, result_fill(sums, n_rows, o->seed, out));
    if (o->untrained)
        TRY_GOTO(s, untrained_run(b, l, seq_len, n_rows, token_bytes, sums, &out->untrained));
    if (o->baselines)
        TRY_GOTO(s, o->input != NULL ? baselines_of_file(o->input, out)
                                     : baselines_of_data(o->data, out));
done:
    mem_free(token_bytes);
    mem_free(sums);
    loader_close(l);
    out->seconds = clock_seconds() - began;
    return s;
}
