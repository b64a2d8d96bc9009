/* measure.c - how long a step will take, found out in seconds before the run.
 *
 * What: trainer_speed. Short steps are simply done, a few of them, and the median counts. A step that
 * does not fit the time is put together from parts timed on fewer rows, by the real code at the real
 * widths: its gradient grows with the rows, its update, packing and sums of lanes do not. Where even
 * one row is too long, what is left is the rate of the model's widest product, timed alone.
 *
 * How: a small step of r rows in one lane costs U + Z + G r; a gradient of the same rows without an
 * update finds all weights packed and costs Z + G r. So their difference is the update with its
 * packing, U; zeroing a gradient Z and adding one to another A are timed alone:
 *
 *     step = U + rows G + lanes Z + (lanes - 1) A
 *
 * Mind: everything leaves the trainer as fresh as trainer_open did. On a busy machine the answer is
 * that of a busy machine.
 */
#include "train/plan_internal.h"

#include "base/clock.h"
#include "kernels/kernels.h"
#include "kernels/kernels_bench.h"

#include <math.h>

#define REPEATS       3    /* of each part; the best counts */
#define WHOLE_STEPS   3    /* that must fit the time for whole steps to be timed */
#define PRODUCT_SHARE 0.6  /* of the rate of one product that whole steps are taken to reach */
#define PRODUCT_TIME  2e-3 /* seconds for that product */

double step_seconds(const step_parts *p, int rows, int n_lanes) {
    return p->update + p->row * rows + p->zero * n_lanes + p->merge * (n_lanes - 1);
}

static double since(double began) {
    return clock_seconds() - began;
}

/* The gradient of the first rows in one lane. */
static status few_rows(trainer *t, int rows, double *seconds) {
    gradient_result g;
    lanes one = t->lanes;
    one.n = 1;
    TRY(rows_load(&t->rows, t->train, 0, 1, rows));
    double began = clock_seconds();
    TRY(lanes_gradient(&one, &t->model, &t->rows, &t->gradient, &t->step_memory, &g));
    *seconds = since(began);
    return STATUS_OK;
}

/* A whole step that has few rows and one lane. */
static status small_step(trainer *t, int rows, double *seconds) {
    int capacity = t->rows.capacity, n_lanes = t->lanes.n;
    step_report r;
    t->rows.capacity = rows;
    t->lanes.n = 1;
    double began = clock_seconds();
    status s = trainer_step(t, &r);
    *seconds = since(began);
    t->rows.capacity = capacity;
    t->lanes.n = n_lanes;
    return s;
}

static void keep_less(double *best, double seconds) {
    if (seconds < *best) *best = seconds;
}

static status measure_parts(trainer *t, int rows, step_parts *p) {
    double step = HUGE_VAL, gradient = HUGE_VAL, seconds;
    int64_t n = t->lanes.count;
    float *first = t->lanes.buffer[0], *last = t->lanes.buffer[t->lanes.n_buffers - 1];
    *p = (step_parts){.zero = HUGE_VAL, .merge = HUGE_VAL};
    for (int i = 0; i < REPEATS; i++) {
        TRY(small_step(t, rows, &seconds));
        keep_less(&step, seconds);
        TRY(few_rows(t, rows, &seconds)); /* packs what the step changed */
        TRY(few_rows(t, rows, &seconds));
        keep_less(&gradient, seconds);
        double began = clock_seconds();
        vector_accumulate(DTYPE_F32, n, last, first);
        keep_less(&p->merge, since(began));
        began = clock_seconds();
        vector_zero(DTYPE_F32, n, first);
        keep_less(&p->zero, since(began));
    }
    p->row = fmax(0, gradient - p->zero) / rows;
    p->update = fmax(0, step - gradient);
    return STATUS_OK;
}

/* Seconds of validating one row. */
static status measure_look(trainer *t, int rows, double *seconds) {
    gradient_result sum = {0};
    if (t->validation == NULL) return STATUS_OK;
    if (rows > t->val_rows.capacity) rows = t->val_rows.capacity;
    if (rows > loader_rows(t->validation)) rows = (int)loader_rows(t->validation);
    if (rows < 1) return STATUS_OK;
    double best = HUGE_VAL;
    for (int i = 0; i < 2; i++) {
        double began = clock_seconds();
        TRY(rows_load(&t->val_rows, t->validation, 0, 1, rows));
        TRY(rows_loss(&t->model, &t->val_rows, &t->gradient, &t->step_memory, &sum));
        keep_less(&best, since(began));
    }
    *seconds = best / rows;
    return STATUS_OK;
}

status trainer_speed(trainer *t, double seconds, train_speed *speed) {
    int rows = t->rows.capacity, micro = t->gradient.micro_batch, part = 1;
    double began = clock_seconds(), one, rate;
    step_parts parts;
    *speed = (train_speed){.how = SPEED_WHOLE_STEPS};
    TRY(few_rows(t, 1, &one)); /* with page faults and packing: more than a row costs later */
    TRY(few_rows(t, 1, &one));
    while (part * 2 <= micro && 3 * REPEATS * one * part * 2 < seconds)
        part *= 2;
    if (part * 2 > micro) part = micro;
    if (WHOLE_STEPS * one * rows <= seconds) {
        TRY(trainer_measure(t, seconds, &rate));
        speed->step = (double)t->settings.batch_tokens / rate;
    } else {
        speed->how = SPEED_PARTS;
        TRY(measure_parts(t, part, &parts));
        speed->step = step_seconds(&parts, rows, t->lanes.n);
    }
    TRY(measure_look(t, part, &speed->look_row));
    trainer_refresh(t);
    speed->spent = since(began);
    return STATUS_OK;
}

status trainer_speed_guess(const trainer *t, train_speed *speed) {
    const model_config *c = &t->config;
    int64_t tokens = t->gradient.micro_batch * t->settings.seq_len;
    int64_t wide = c->d_ff > c->d_expert ? c->d_ff : c->d_expert;
    product_shape shape = {.type = t->gradient.products,
                           .role = PRODUCT_FORWARD,
                           .m = tokens < 256 ? tokens : 256,
                           .n = wide > 0 ? wide : c->d_model,
                           .k = c->d_model,
                           .groups = 1};
    double one;
    TRY(bench_product(&shape, PRODUCT_TIME, &one));
    double rate = 2.0 * (double)shape.m * (double)shape.n * (double)shape.k / fmax(one, 1e-9);
    static const double work[] = {1, 7.0 / 6,
                                  8.0 / 6}; /* products of a step, by recompute_policy */
    double flops = model_config_flops_per_token(c, t->settings.seq_len) *
                   work[t->settings.recompute] * (double)t->settings.batch_tokens;
    *speed = (train_speed){.how = SPEED_PRODUCT, .step = flops / (PRODUCT_SHARE * rate)};
    if (t->validation != NULL) speed->look_row = speed->step / 3 / t->rows.capacity;
    return STATUS_OK;
}

/* -- for other folders -- */

struct train_probe {
    trainer trainer;
};

status train_probe_open(train_probe **out, const train_settings *s) {
    *out = NULL;
    train_probe *p = mem_zalloc(1, sizeof *p);
    if (p == NULL) return STATUS_MEMORY;
    status result = trainer_open(&p->trainer, s);
    if (result == STATUS_OK) {
        *out = p;
        return result;
    }
    mem_free(p);
    return result;
}

status train_probe_step(train_probe *p, double *seconds) {
    step_report r;
    double began = clock_seconds();
    TRY(trainer_step(&p->trainer, &r));
    *seconds = since(began);
    return STATUS_OK;
}

int64_t train_probe_tokens(const train_probe *p) {
    return p->trainer.settings.batch_tokens;
}

train_activations train_probe_activations(const train_probe *p) {
    const trainer *t = &p->trainer;
    return (train_activations){(int64_t)t->step_memory.peak, t->kept.inputs, t->kept.outputs};
}

void train_probe_close(train_probe *p) {
    if (p == NULL) return;
    trainer_close(&p->trainer);
    mem_free(p);
}

status train_measure(const train_settings *s, double seconds, double *tokens_per_second) {
    train_probe *p;
    TRY(train_probe_open(&p, s));
    status result = trainer_measure(&p->trainer, seconds, tokens_per_second);
    train_probe_close(p);
    return result;
}

static status compare_steps(train_probe *a, train_probe *b, int pairs, double *seconds_a,
                            double *seconds_b) {
    for (int i = -1; i < pairs; i++) {
        double first, second;
        TRY(train_probe_step(a, &first));
        TRY(train_probe_step(b, &second));
        if (i < 0) continue; /* page faults */
        seconds_a[i] = first;
        seconds_b[i] = second;
    }
    return STATUS_OK;
}

status train_compare(const train_settings *a, const train_settings *b, int pairs, double *seconds_a,
                     double *seconds_b) {
    train_probe *first = NULL, *second = NULL;
    status result = train_probe_open(&first, a);
    if (result == STATUS_OK) result = train_probe_open(&second, b);
    if (result == STATUS_OK) result = compare_steps(first, second, pairs, seconds_a, seconds_b);
    train_probe_close(second);
    train_probe_close(first);
    return result;
}

/* The first update pays for page faults and is not counted. */
static status measure_updates(trainer *t, double seconds, double *best) {
    optimiser_rates rates = {.lr = 1e-9,
                             .beta1 = 0.9,
                             .beta2 = 0.95,
                             .epsilon = 1e-8,
                             .momentum = 0.95,
                             .update = 1,
                             .products = t->gradient.products};
    vector_copy(DTYPE_F32, t->model.params.count, t->model.params.master, t->lanes.buffer[0]);
    param_set_gradients(&t->model.params, t->lanes.buffer[0]);
    double end = 0;
    *best = INFINITY;
    for (int i = 0; i < 4 || clock_seconds() < end; i++) {
        double began = clock_seconds();
        TRY(optimiser_update(&t->optimiser, &rates, 1));
        double took = clock_seconds() - began;
        if (i == 0) end = clock_seconds() + seconds;
        if (i > 0 && took < *best) *best = took;
    }
    return STATUS_OK;
}

status train_measure_update(const train_settings *s, double seconds, double *best,
                            int64_t *parameters) {
    trainer *t = mem_zalloc(1, sizeof *t);
    if (t == NULL) return STATUS_MEMORY;
    status result = trainer_open(t, s);
    if (result == STATUS_OK) result = measure_updates(t, seconds, best);
    *parameters = t->model.params.count;
    trainer_close(t);
    mem_free(t);
    return result;
}
