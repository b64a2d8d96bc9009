/* plan.c - memory by class, disk and time of a run, before it; see plan.h.
 *
 * How: weights, lane gradients and moments (with the scratch of Muon) are counts of the parameter set; packed copies are the
 * sizes the kernels state for both directions of every matrix; activations are the peak of a dry
 * tape over one micro-batch; the copy for checkpoints is weights and moments once more, left out if
 * there is no room for it. `other` is the process itself, the rows in memory, the pages of the
 * data that are mapped, and scratch. The peak resident set is the sum, because all of it is touched
 * in every step. Arenas ask for huge pages, so where the system grants them each arena is rounded up
 * to 2 MiB, the small ones too.
 *
 * Time is steps and validations at a speed that measure.c finds. The range is what a shared machine
 * was seen to do to it.
 *
 * Mind: SCRATCH_BYTES and PROCESS_BYTES are measured constants (tests/train/test_plan.c compares
 * the whole with the peak resident set of real runs).
 */
#include "train/plan_internal.h"

#include "train/saver.h"

#include "base/file.h"
#include "base/pool.h"
#include "base/progress.h"
#include "kernels/kernels.h"
#include "model/presets.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PROCESS_BYTES (7 << 20) /* code, libraries, stacks, option tables */
#define SCRATCH_BYTES (3 << 20) /* per thread: packing and attention buffers */
#define SMALL_ARENAS  7         /* descriptions, rotary tables, rows, settings */
#define HUGE_PAGE     ((int64_t)2 << 20)
#define ROW_TOO_LONG  2 /* times the wanted seconds of a measurement */

/* -- memory -- */

static int64_t packed_both(gemm_type type, const param *p) {
    int64_t matrices = p->rank == 3 ? p->dim[0] : 1;
    int64_t out = p->dim[p->rank - 2], in = p->dim[p->rank - 1];
    return matrices * (int64_t)(packed_bytes(type, out, in) + packed_bytes(type, in, out));
}

static int64_t packed_total(const model *m, gemm_type products) {
    int64_t sum = 0;
    for (int i = 0; i < m->params.n; i++) {
        const param *p = m->params.all[i];
        bool product = p->rank >= 2 && (p->kind != PARAM_EMBEDDING || p == m->head);
        if (!product) continue;
        sum += packed_both(p->kind != PARAM_ROUTER ? products : GEMM_F32, p);
    }
    return sum;
}

static status activations_for(trainer *t, int micro_batch, recompute_policy recompute,
                              int64_t *bytes, kept_bytes *kept) {
    gradient_options o = t->gradient;
    o.micro_batch = micro_batch;
    o.recompute = recompute;
    return trainer_tape_bytes(&t->model, t->lanes.buffer[0], t->settings.seq_len, &o, true, bytes,
                              kept);
}

static int64_t row_bytes(const trainer *t) {
    return (int64_t)(t->rows.memory.used + t->val_rows.memory.used);
}

/* Mapped tokens of both splits, at most what a run touches. */
static int64_t data_bytes(const trainer *t) {
    int64_t width = loader_vocab_size(t->train) <= 256 && t->settings.input != NULL ? 1
                    : loader_vocab_size(t->train) <= 65536                          ? 2
                                                                                    : 4;
    int64_t tokens = loader_tokens(t->train);
    if (t->validation != NULL) tokens += loader_tokens(t->validation);
    return tokens * width;
}

/* Does the system back advised memory with huge pages? Tried out, because the file that would say so
 * (below /sys) is not there in every container: one byte of an aligned huge page is written, and if the
 * last small page of it is then in memory, too, it came as one. */
static bool huge_pages(void) {
    arena a;
    unsigned char there = 0;
    if (arena_init(&a, "a huge page", (size_t)HUGE_PAGE) != STATUS_OK) {
        error_clear();
        return false;
    }
    size_t small = (size_t)sysconf(_SC_PAGESIZE);
    *(volatile char *)a.base = 1;
    if (mincore(a.base + HUGE_PAGE - small, small, &there) != 0) there = 0;
    arena_clear(&a);
    return there & 1;
}

static void round_to_pages(train_plan *p) {
    int64_t *const arenas[] = {&p->weights, &p->gradients,   &p->optimiser,
                               &p->packed,  &p->activations, &p->copy_size};
    for (size_t i = 0; i < sizeof arenas / sizeof *arenas; i++)
        *arenas[i] = (*arenas[i] + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    p->other += SMALL_ARENAS * HUGE_PAGE;
}

static status fill_policies(train_plan *p, trainer *t, int micro_batch) {
    kept_bytes kept;
    p->recompute = (int)t->gradient.recompute;
    for (int i = RECOMPUTE_NONE; i <= RECOMPUTE_FULL; i++) {
        TRY(activations_for(t, micro_batch, (recompute_policy)i, &p->by_policy[i], &kept));
        if (i == p->recompute) p->kept_inputs = kept.inputs, p->kept_outputs = kept.outputs;
    }
    p->with_recompute = p->by_policy[RECOMPUTE_FULL];
    return STATUS_OK;
}

static status fill_memory(train_plan *p, trainer *t) {
    int64_t count = t->model.params.count;
    kept_bytes kept;
    int micro = t->gradient.micro_batch, half = micro > 1 ? micro / 2 : 1;
    p->weights = 4 * count;
    p->gradients = 4 * count * t->lanes.n_buffers;
    p->optimiser = optimiser_bytes(&t->optimiser, t->gradient.products);
    p->packed = packed_total(&t->model, t->gradient.products);
    p->activations = t->tape_bytes;
    TRY(fill_policies(p, t, micro));
    TRY(activations_for(t, half, t->gradient.recompute, &p->half_batch, &kept));
    p->other =
        PROCESS_BYTES + (int64_t)SCRATCH_BYTES * pool_threads() + row_bytes(t) + data_bytes(t);
    p->copy_size = saver_copy_bytes(t);
    p->beside = t->settings.checkpoint_async;
    if (huge_pages()) round_to_pages(p);
    p->memory = p->weights + p->gradients + p->optimiser + p->packed + p->activations + p->other;
    p->memory_free = memory_available();
    bool fits = p->memory + p->copy_size <= p->memory_free;
    if (p->beside == BESIDE_YES || (p->beside == BESIDE_AUTO && fits)) p->copy = p->copy_size;
    p->memory += p->copy;
    return STATUS_OK;
}

static void fill_disk(train_plan *p, const trainer *t, const char *run) {
    const option_every *every = &t->settings.save_every;
    int64_t saves = every->steps > 0 ? p->steps / every->steps : 0;
    p->checkpoint = checkpoint_bytes(&t->config, false) + optimiser_state_bytes(&t->optimiser);
    p->checkpoints =
        4 + saves / 10; /* the last two, the best, the one being written, every tenth */
    p->disk =
        p->checkpoint * p->checkpoints + 2 * checkpoint_bytes(&t->config, false) + p->steps * 256;
    if (run == NULL || disk_free(run, &p->disk_free) != STATUS_OK) p->disk_free = -1;
}

/* Validations of a run: every so many steps, and after the last. */
static int64_t looks_of(int64_t steps, int64_t every) {
    if (steps <= 0) return 0;
    return every > 0 ? (steps + every - 1) / every : 1;
}

void plan_time(train_plan *p, const train_speed *speed) {
    p->speed = *speed;
    p->measured = speed->how != SPEED_PRODUCT;
    p->tokens_per_second = speed->step > 0 ? (double)p->batch_tokens / speed->step : 0;
    p->step_seconds = speed->step * (double)p->steps;
    p->look_seconds = speed->look_row * (double)(p->looks * p->look_rows);
    p->seconds = p->step_seconds + p->look_seconds;
    p->seconds_low = p->seconds * (p->measured ? 0.9 : 0.5);
    p->seconds_high = p->seconds * (p->measured ? 1.25 : 3);
}

/* What depends on the number of steps. */
static void fill_length(train_plan *p, const trainer *t, const train_settings *s) {
    p->steps = s->max_steps;
    p->tokens = p->steps * p->batch_tokens;
    p->looks = looks_of(p->steps, s->eval_every);
    p->look_rows = trainer_evaluation_rows(t);
    fill_disk(p, t, s->run);
}

status plan_fill(train_plan *p, trainer *t) {
    const train_settings *s = &t->settings;
    const model_preset *size = model_preset_find(s->size);
    *p = (train_plan){.model = t->config,
                      .batch_tokens = s->batch_tokens,
                      .seq_len = s->seq_len,
                      .corpus_tokens = loader_tokens(t->train),
                      .threads = pool_threads(),
                      .products = t->gradient.products,
                      .micro_batch = t->gradient.micro_batch,
                      .lanes = t->lanes.n};
    snprintf(p->model_name, sizeof p->model_name, "%s", size != NULL ? size->name : s->size);
    snprintf(p->tier, sizeof p->tier, "%s", tier_name(kernels_tier()));
    p->parameters = model_config_parameters(&t->config, &p->active);
    TRY(fill_memory(p, t));
    fill_length(p, t, s);
    train_speed guess;
    TRY(trainer_speed_guess(t, &guess));
    plan_time(p, &guess);
    return STATUS_OK;
}

status plan_check_states(const model_config *c, optimiser_kind kind, int gradient_buffers) {
    int64_t count = model_config_parameters(c, NULL), limit = memory_available();
    int moments = kind == OPTIMISER_MUON ? 1 : 2; /* Muon: at least one */
    double bytes = 4.0 * (double)count * (1 + moments + gradient_buffers);
    if (bytes <= (double)limit) return STATUS_OK;
    return FAIL(F_NO_MEMORY,
                text("this model needs %s before its first activation, %s are there",
                     bytes_text(bytes), bytes_text((double)limit)),
                "train plan",
                text("%s parameters, each with weight, %s and %d gradient buffers",
                     count_text(count), moments == 1 ? "momentum" : "two moments",
                     gradient_buffers),
                text("--grad-lanes 1 (%s), or a smaller --size",
                     bytes_text(4.0 * (2 + moments) * (double)count)));
}

/* Rows of a micro-batch that fit what is free, by the slope between the whole and its half; at most
 * half, at least 1. */
static int fitting_rows(const train_plan *p, double *memory) {
    int whole = p->micro_batch, half = whole > 1 ? whole / 2 : 1;
    double rest = (double)(p->memory - p->activations), row = 0;
    if (whole > half) row = (double)(p->activations - p->half_batch) / (whole - half);
    double none = (double)p->half_batch - row * half;
    double rows = row > 0 ? 0.9 * ((double)p->memory_free - rest - none) / row : half;
    int n = rows >= half ? half : rows >= 1 ? (int)rows : 1;
    *memory = rest + none + row * n;
    return n;
}

status plan_check(const train_plan *p) {
    if (p->memory > p->memory_free) {
        int64_t rest = p->memory - p->activations;
        double fitting;
        int rows = fitting_rows(p, &fitting);
        return FAIL(F_NO_MEMORY,
                    text("needs %s, %s free", bytes_text((double)p->memory),
                         bytes_text((double)p->memory_free)),
                    "train plan",
                    text("activations alone take %s at seq-len %" PRId64 " and micro-batch %d",
                         bytes_text((double)p->activations), p->seq_len, p->micro_batch),
                    text("--micro-batch %d (%s) or --recompute full (%s)", rows,
                         bytes_text(fitting), bytes_text((double)(rest + p->with_recompute))));
    }
    if (p->disk_free >= 0 && p->disk > p->disk_free)
        return FAIL(F_DISK_FULL,
                    text("needs %s of disk, %s free", bytes_text((double)p->disk),
                         bytes_text((double)p->disk_free)),
                    "train plan",
                    text("%" PRId64 " checkpoints of %s each", p->checkpoints,
                         bytes_text((double)p->checkpoint)),
                    "make room (fathom runs rm --keep-best), or another --run folder");
    return STATUS_OK;
}

/* -- making one -- */

/* A measurement takes some rows at least: where one is long, the guess must do. */
static bool row_is_quick(const train_plan *p, double measure_seconds) {
    return (double)p->seq_len <= ROW_TOO_LONG * measure_seconds * p->tokens_per_second;
}

status plan_make(const train_settings *s, double measure_seconds, train_plan *p) {
    trainer *t = mem_zalloc(1, sizeof *t);
    if (t == NULL) return STATUS_MEMORY;
    status result = trainer_open(t, s);
    if (result == STATUS_OK) result = plan_fill(p, t);
    train_speed speed = p->speed;
    if (result == STATUS_OK && measure_seconds > 0 && row_is_quick(p, measure_seconds) &&
        p->memory <= p->memory_free)
        result = trainer_speed(t, measure_seconds, &speed);
    if (result == STATUS_OK) {
        train_settings fixed = t->settings;
        train_fix_steps(&fixed, 0, (double)p->batch_tokens / speed.step);
        fill_length(p, t, &fixed);
        plan_time(p, &speed);
    }
    trainer_close(t);
    mem_free(t);
    return result;
}

/* -- showing -- */

static const char *mebi(int64_t bytes) {
    return text("%" PRId64, (bytes + (1 << 19)) >> 20);
}

static const char *million(int64_t n) {
    return text("%.1f M", (double)n / 1e6);
}

static const char *saving_text(const train_plan *p) {
    if (p->copy > 0) return "written while training goes on";
    if (p->beside == BESIDE_NO) return "training waits for them";
    return text("training waits for them: no room for a copy (%s)",
                bytes_text((double)p->copy_size));
}

static const char *speed_text(const train_plan *p) {
    const char *spent = duration_text(p->speed.spent);
    switch (p->speed.how) {
    case SPEED_WHOLE_STEPS: return text("whole steps, measured for %s", spent);
    case SPEED_PARTS: return text("put together from parts of a step, measured for %s", spent);
    case SPEED_PRODUCT: break;
    }
    return "assumed: 0.6 of the rate of one product timed alone";
}

static const char *corpus_text(const train_plan *p) {
    double epochs = p->corpus_tokens > 0 ? (double)p->tokens / (double)p->corpus_tokens : 0;
    return text("corpus %s tokens: %.2f epoch%s", million(p->corpus_tokens), epochs,
                epochs <= 1 ? ", nothing repeated" : "s");
}

static const char *const policy_names[] = {"none", "selective", "full"};

/* MiB of activations by class, and what each policy would take. */
static void print_activations(FILE *out, const train_plan *p) {
    int64_t all = p->by_policy[p->recompute], kept = p->kept_inputs + p->kept_outputs;
    fprintf(out, "recompute %-11s block inputs %s, saved outputs %s, %s %s   [",
            policy_names[p->recompute], mebi(p->kept_inputs), mebi(p->kept_outputs),
            p->recompute == RECOMPUTE_NONE ? "everything" : "one block at a time",
            mebi(all - kept));
    for (int i = 0; i < 3; i++)
        fprintf(out, "%s%s %s (%.0f %%)", i > 0 ? ", " : "", policy_names[i], mebi(p->by_policy[i]),
                100 * (double)p->by_policy[i] / (double)p->by_policy[RECOMPUTE_NONE]);
    fprintf(out, "]\n");
}

void plan_print(FILE *out, const train_plan *p) {
    const model_config *c = &p->model;
    const char *experts =
        c->n_expert > 0 ? text(", %d experts, top %d", c->n_expert, c->n_expert_used) : "";
    fprintf(out, "model    %-12s %s active / %s total%s\n", p->model_name, million(p->active),
            million(p->parameters), experts);
    fprintf(out, "tokens   %-12s %s; %s steps of %s\n", million(p->tokens), corpus_text(p),
            count_text(p->steps), count_text(p->batch_tokens));
    fprintf(out,
            "memory   %-12s weights %s, gradients %s, optimiser %s, packed %s, activations %s, "
            "checkpoint copy %s, other %s"
            "   [%s free: %s]\n",
            bytes_text((double)p->memory), mebi(p->weights), mebi(p->gradients), mebi(p->optimiser),
            mebi(p->packed), mebi(p->activations), mebi(p->copy), mebi(p->other),
            bytes_text((double)p->memory_free), p->memory <= p->memory_free ? "ok" : "too little");
    print_activations(out, p);
    fprintf(out, "disk     %-12s %" PRId64 " checkpoints x %s, %s", bytes_text((double)p->disk),
            p->checkpoints, bytes_text((double)p->checkpoint), saving_text(p));
    if (p->disk_free >= 0)
        fprintf(out, "   [%s free: %s]", bytes_text((double)p->disk_free),
                p->disk <= p->disk_free ? "ok" : "too little");
    fprintf(out, "\ntime     %-12s steps %s", duration_text(p->seconds),
            duration_text(p->step_seconds));
    if (p->look_seconds > 0)
        fprintf(out, ", %" PRId64 " validations %s", p->looks, duration_text(p->look_seconds));
    fprintf(out, "; %s tok/s (%s) on %d thread%s (%s, %s); range %s to %s\n",
            count_text(llround(p->tokens_per_second)), speed_text(p), p->threads,
            p->threads == 1 ? "" : "s", p->tier, gemm_type_name(p->products),
            duration_text(p->seconds_low), duration_text(p->seconds_high));
}

json_t *plan_json(const train_plan *p) {
    return json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:s, s:s, s:i, s:i,"
        " s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I},"
        " s:{s:s, s:I, s:I, s:I, s:I, s:I, s:I},"
        " s:{s:I, s:I, s:I, s:I},"
        " s:{s:f, s:f, s:f, s:f, s:f, s:f, s:b}}",
        "model", p->model_name, "parameters", (json_int_t)p->parameters, "active",
        (json_int_t)p->active, "steps", (json_int_t)p->steps, "batch_tokens",
        (json_int_t)p->batch_tokens, "tokens", (json_int_t)p->tokens, "corpus_tokens",
        (json_int_t)p->corpus_tokens, "threads", p->threads, "kernels", p->tier, "precision",
        gemm_type_name(p->products), "micro_batch", p->micro_batch, "lanes", p->lanes,
        "memory_bytes", "weights", (json_int_t)p->weights, "gradients", (json_int_t)p->gradients,
        "optimiser", (json_int_t)p->optimiser, "packed", (json_int_t)p->packed, "activations",
        (json_int_t)p->activations, "checkpoint_copy", (json_int_t)p->copy, "other",
        (json_int_t)p->other, "total", (json_int_t)p->memory, "free", (json_int_t)p->memory_free,
        "activation_bytes", "recompute", policy_names[p->recompute], "block_inputs",
        (json_int_t)p->kept_inputs, "saved_outputs", (json_int_t)p->kept_outputs, "other",
        (json_int_t)(p->by_policy[p->recompute] - p->kept_inputs - p->kept_outputs), "none",
        (json_int_t)p->by_policy[RECOMPUTE_NONE], "selective",
        (json_int_t)p->by_policy[RECOMPUTE_SELECTIVE], "full",
        (json_int_t)p->by_policy[RECOMPUTE_FULL], "disk_bytes", "checkpoint",
        (json_int_t)p->checkpoint, "checkpoints", (json_int_t)p->checkpoints, "total",
        (json_int_t)p->disk, "free", (json_int_t)p->disk_free, "time", "seconds", p->seconds,
        "steps", p->step_seconds, "validations", p->look_seconds, "low", p->seconds_low, "high",
        p->seconds_high, "tokens_per_second", p->tokens_per_second, "measured", (int)p->measured);
}
