/* trainer.c - one training step, one evaluation.
 *
 * What: the step of architecture.md section 2. Rows of the global batch are a pure function of the
 * step, so a trainer whose weights, moments and train_state are those of step N goes on exactly as
 * the run would have that never stopped.
 *
 * How: rows_load -> lanes_gradient -> norm -> update -> router bias. A gradient whose norm is not
 * finite is not used: the step counts, the update is left out (and the bias correction does not
 * advance), the counters say so.
 *
 * Mind: the micro-batch is chosen here once: what a lane holds, at most MICRO_TOKENS, halved while
 * its tape (measured dry) would take more than half of the memory this process may use. It becomes
 * part of the run's settings because bf16 products and padded experts see it (lanes.c).
 */
#include "train/trainer.h"

#include "train/settings.h"

#include "train/plan_internal.h"

#include "base/clock.h"
#include "kernels/kernels.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MICRO_TOKENS  8192 /* larger forwards gain no speed and cost memory */
#define MEASURED_MOST 1024 /* steps */
#if defined(__SANITIZE_THREAD__)
#define DRY_RESERVE ((size_t)1 << 38) /* the thread sanitizer leaves less address space */
#else
#define DRY_RESERVE ((size_t)1 << 44)
#endif

gemm_type train_products(train_precision precision) {
    return precision == PRECISION_BF16       ? GEMM_BF16
           : precision == PRECISION_BF16_DOT ? GEMM_BF16_DOT
                                             : GEMM_F32;
}

/* -- memory -- */

static status dry_run(model *m, const row_set *rows, const gradient_options *options, bool backward,
                      arena *memory, kept_bytes *kept) {
    model_batch batch;
    model_result result = {0};
    tape t;
    rows_batch(rows, 0, rows->n, &batch);
    if (backward) {
        batch.loss_scale = 1.0 / (double)batch.layout.n;
        batch.mtp_scale = options->mtp_weight / (double)batch.layout.n;
        batch.balance_scale = 1.0 / rows->n;
        batch.recompute = options->recompute;
        batch.dropout = (model_dropout){.rate = options->dropout};
    }
    TRY(tape_init(
        &t, memory, &m->params,
        (tape_options){.recording = backward, .products = options->products, .dry = true}));
    TRY(model_forward(m, &t, &batch, &result));
    *kept = t.kept;
    return backward ? tape_backward(&t) : STATUS_OK;
}

status trainer_tape_bytes(model *m, float *gradient, int64_t seq_len,
                          const gradient_options *options, bool backward, int64_t *bytes,
                          kept_bytes *kept) {
    row_set rows;
    arena memory;
    *bytes = 0;
    *kept = (kept_bytes){0};
    TRY(rows_init(&rows, options->micro_batch, seq_len));
    status s = arena_init(&memory, "dry tape", DRY_RESERVE);
    if (s != STATUS_OK) {
        rows_clear(&rows);
        return s;
    }
    /* Descriptions of values are scattered over the tape: huge pages would make all of it resident. */
    (void)madvise(memory.base, memory.limit, MADV_NOHUGEPAGE);
    size_t n = (size_t)(rows.capacity * seq_len) * sizeof(int32_t);
    int32_t *const arrays[] = {rows.ids, rows.target, rows.next_id, rows.target_mtp, rows.first};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        memset(arrays[i], 0, n);
    rows.n = rows.capacity;
    param_set_gradients(&m->params, gradient);
    s = dry_run(m, &rows, options, backward, &memory, kept);
    *bytes = (int64_t)memory.peak;
    arena_clear(&memory);
    rows_clear(&rows);
    return s;
}

/* The largest halving of `rows` whose tape takes at most `limit` bytes. */
static status rows_that_fit(trainer *t, int rows, bool backward, int64_t limit, int *fit,
                            int64_t *bytes) {
    gradient_options o = t->gradient;
    kept_bytes kept;
    for (int n = rows;; n /= 2) {
        o.micro_batch = n;
        TRY(trainer_tape_bytes(&t->model, t->lanes.buffer[0], t->settings.seq_len, &o, backward,
                               bytes, &kept));
        *fit = n;
        if (*bytes <= limit || n == 1) return STATUS_OK;
    }
}

/* Fixes the micro-batch unless the settings name one, and the rows of an evaluation's forward, which
 * keeps all its values and so may need more memory than a recomputing step. */
static status choose_rows(trainer *t, int n_rows, int *val_rows) {
    int per_lane = (n_rows + t->lanes.n - 1) / t->lanes.n;
    int64_t limit = memory_available() / 2, most = MICRO_TOKENS / t->settings.seq_len, eval_bytes;
    int n = most < 1 ? 1 : most < per_lane ? (int)most : per_lane;
    if (t->settings.micro_batch > 0) {
        n = t->settings.micro_batch;
        limit = INT64_MAX;
    }
    TRY(rows_that_fit(t, n, true, limit, &t->gradient.micro_batch, &t->tape_bytes));
    t->settings.micro_batch = t->gradient.micro_batch;
    TRY(rows_that_fit(t, t->gradient.micro_batch, false, t->tape_bytes, val_rows, &eval_bytes));
    if (eval_bytes > t->tape_bytes) t->tape_bytes = eval_bytes;
    return STATUS_OK;
}

/* -- opening -- */

static status open_data(trainer *t) {
    const char *input = t->settings.input;
    loader_options o = {.folder = input != NULL ? NULL : t->settings.data,
                        .input = input,
                        .split = SPLIT_TRAIN,
                        .seq_len = (int)t->settings.seq_len,
                        .seed = t->settings.seed,
                        .mode = input != NULL ? LOADER_STREAM : LOADER_PACKED};
    TRY(loader_open(&t->train, &o));
    o.split = SPLIT_VALIDATION;
    status s = loader_open(&t->validation, &o);
    if (s != STATUS_OK && error_last()->id == F_NO_TEXT) {
        t->validation = NULL; /* a dataset without a validation split can still be trained on */
        error_clear();
        return STATUS_OK;
    }
    return s;
}

static status open_memory(trainer *t) {
    const train_settings *s = &t->settings;
    int n_rows = (int)(s->batch_tokens / s->seq_len);
    int n_lanes = s->grad_lanes < n_rows ? s->grad_lanes : n_rows;
    TRY(plan_check_states(&t->config, s->optimiser, lanes_buffers(n_lanes)));
    TRY(model_init(&t->model, &t->config, DTYPE_F32));
    param_set_initialise(&t->model.params, s->seed);
    TRY(optimiser_init(&t->optimiser, &t->model.params, s->optimiser));
    TRY(lanes_init(&t->lanes, n_lanes, t->model.params.count));
    TRY(rows_init(&t->rows, n_rows, s->seq_len));
    t->gradient = (gradient_options){.products = train_products(s->precision),
                                     .recompute = s->recompute,
                                     .mtp_weight = s->mtp_weight,
                                     .dropout = s->dropout,
                                     .seed = s->seed};
    int val_rows;
    TRY(choose_rows(t, n_rows, &val_rows));
    TRY(rows_init(&t->val_rows, val_rows, s->seq_len));
    size_t room = (size_t)memory_available();
    return arena_init(&t->step_memory, "activations",
                      room > ((size_t)1 << 30) ? room : (size_t)1 << 30);
}

status trainer_open(trainer *t, const train_settings *s) {
    *t = (trainer){.settings = *s, .state = {.val_step = -1, .best_step = -1}};
    status result = train_settings_row(&t->settings);
    if (result == STATUS_OK) result = open_data(t);
    if (result == STATUS_OK)
        result = train_settings_check(&t->settings, loader_vocab_size(t->train), &t->config);
    if (result == STATUS_OK) result = open_memory(t);
    if (result == STATUS_OK) {
        t->state.data_fingerprint = loader_fingerprint(t->train);
        return result;
    }
    trainer_close(t);
    return result;
}

void trainer_close(trainer *t) {
    arena_clear(&t->step_memory);
    rows_clear(&t->val_rows);
    rows_clear(&t->rows);
    lanes_clear(&t->lanes);
    optimiser_clear(&t->optimiser);
    model_clear(&t->model);
    loader_close(t->validation);
    loader_close(t->train);
    *t = (trainer){0};
}

/* -- a step -- */

/* Largest max / mean - 1 of routed tokens over the layers (MaxVio of arXiv 2408.15664). */
static double max_violation(const model *m) {
    double worst = -1;
    for (int64_t l = 0; l < m->config.n_layer + m->config.n_mtp; l++) {
        const model_layer *layer = &m->layers[l];
        if (layer->counts == NULL) continue;
        int64_t sum = 0, most = 0;
        for (int e = 0; e < m->config.n_expert; e++) {
            sum += layer->counts[e];
            most = layer->counts[e] > most ? layer->counts[e] : most;
        }
        if (sum > 0) worst = fmax(worst, (double)most * m->config.n_expert / (double)sum - 1);
    }
    return worst;
}

static status use_gradient(trainer *t, step_report *r) {
    const train_settings *s = &t->settings;
    optimiser_rates rates = {.lr = r->lr,
                             .beta1 = s->beta1,
                             .beta2 = s->beta2,
                             .epsilon = s->epsilon,
                             .weight_decay = s->weight_decay,
                             .momentum = s->muon_momentum,
                             .grad_clip = s->grad_clip,
                             .update = t->state.adam_steps + 1,
                             .products = t->gradient.products,
                             .profile = t->gradient.profile};
    TRY(optimiser_update(&t->optimiser, &rates, r->grad_norm));
    if (s->balance_rate > 0) model_balance(&t->model, s->balance_rate);
    profile_lap(t->gradient.profile, "router", "balance", (profile_work){0});
    t->state.adam_steps++;
    t->state.skipped_in_row = 0;
    return STATUS_OK;
}

static void skip_gradient(trainer *t, step_report *r) {
    const param *bad = gradient_first_bad(&t->model.params);
    r->skipped = true;
    r->bad = bad != NULL ? bad->name : NULL;
    t->state.skipped++;
    t->state.skipped_in_row++;
}

status trainer_step(trainer *t, step_report *r) {
    gradient_result g;
    int n = t->rows.capacity;
    *r = (step_report){.lr = train_learning_rate(&t->settings, t->state.step)};
    double began = clock_seconds();
    TRY(rows_load(&t->rows, t->train, t->state.step * n, 1, n));
    t->loading += clock_seconds() - began;
    profile_lap(t->gradient.profile, "loader", "rows",
                (profile_work){PROFILE_BYTES, 0, 4.0 * (double)(n * t->rows.seq_len)});
    t->gradient.step = t->state.step;
    TRY(lanes_gradient(&t->lanes, &t->model, &t->rows, &t->gradient, &t->step_memory, &g));
    t->kept = g.kept;
    r->counted = g.counted;
    r->loss = g.counted > 0 ? g.loss_sum / (double)g.counted : 0;
    r->mtp_loss = g.mtp_counted > 0 ? g.mtp_sum / (double)g.mtp_counted : 0;
    r->balance_loss = g.balance_loss / n;
    r->expert_max_violation = max_violation(&t->model);
    r->grad_norm = gradient_norm(&t->model.params);
    profile_lap(t->gradient.profile, "gradient", "norm",
                (profile_work){PROFILE_BYTES, 0, 4.0 * (double)t->model.params.count});
    if (isfinite(r->grad_norm))
        TRY(use_gradient(t, r));
    else
        skip_gradient(t, r);
    if (t->state.step == 0) t->state.first_loss = isfinite(r->loss) ? r->loss : 0;
    if (isfinite(r->loss)) t->state.train_loss = r->loss;
    t->state.step++;
    t->state.tokens += g.counted;
    return STATUS_OK;
}

/* -- speed -- */

void trainer_refresh(trainer *t) {
    uint64_t fingerprint = t->state.data_fingerprint;
    param_set_initialise(&t->model.params, t->settings.seed);
    optimiser_reset(&t->optimiser);
    t->loading = 0;
    t->state = (train_state){.val_step = -1, .best_step = -1, .data_fingerprint = fingerprint};
}

static int compare_seconds(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The median step of all that time, short as they may be; a busy machine disturbs single ones. The time
 * begins behind the first step, which pays for page faults: where a host lends memory anew after a
 * rest, those took 5 s for 2 GiB, more than all that is measured. */
status trainer_measure(trainer *t, double seconds, double *tokens_per_second) {
    double taken[MEASURED_MOST], end = 0;
    step_report r;
    int n = 0;
    do {
        double from = clock_seconds();
        TRY(trainer_step(t, &r));
        taken[n++] = clock_seconds() - from;
        if (n == 1) end = clock_seconds() + seconds;
    } while (n < 2 || (n < MEASURED_MOST && clock_seconds() < end && !interrupted()));
    qsort(taken + 1, (size_t)n - 1, sizeof *taken, compare_seconds);
    double median = taken[1 + (n - 1) / 2];
    *tokens_per_second = (double)(t->settings.batch_tokens) / (median > 0 ? median : 1e-9);
    trainer_refresh(t);
    return STATUS_OK;
}

/* -- evaluation -- */

/* Rows first, first + 1 ... as they are, or every k-th so that about eval_tokens remain. */
static int64_t evaluation_stride(const trainer *t, int64_t rows) {
    int64_t tokens = t->settings.eval_tokens;
    if (tokens <= 0) return 1;
    int64_t wanted = tokens / t->settings.seq_len;
    return wanted < 1 ? rows : wanted >= rows ? 1 : rows / wanted;
}

int64_t trainer_evaluation_rows(const trainer *t) {
    if (t->validation == NULL) return 0;
    int64_t rows = loader_rows(t->validation), stride = evaluation_stride(t, rows);
    return (rows + stride - 1) / stride;
}

status trainer_evaluate(trainer *t, evaluation *e) {
    *e = (evaluation){0};
    if (t->validation == NULL)
        return FAIL(F_MISSING, "the data has no validation split", t->settings.run,
                    "there is nothing held out to measure the loss on",
                    "tokenize the data again with a validation share, or use --eval-every 0");
    int64_t stride = evaluation_stride(t, loader_rows(t->validation));
    int64_t wanted = trainer_evaluation_rows(t);
    gradient_result sum = {0};
    for (int64_t at = 0; at < wanted; at += t->val_rows.capacity) {
        int64_t left = wanted - at;
        int n = left < t->val_rows.capacity ? (int)left : t->val_rows.capacity;
        TRY(rows_load(&t->val_rows, t->validation, at * stride, stride, n));
        TRY(rows_loss(&t->model, &t->val_rows, &t->gradient, &t->step_memory, &sum));
    }
    if (sum.counted == 0)
        return FAIL(F_MISSING, "the validation split has no token to predict", t->settings.run,
                    "it is empty or its documents have one token", "use data with more text");
    e->counted = sum.counted;
    e->loss = sum.loss_sum / (double)sum.counted;
    /* bytes behind the rows that were used: their share of the split's targets */
    double bytes_per_target =
        (double)loader_text_bytes(t->validation) /
        (double)(loader_tokens(t->validation) - loader_documents(t->validation));
    e->bpb = e->loss / (bytes_per_target * 0.69314718055994530942);
    return STATUS_OK;
}
