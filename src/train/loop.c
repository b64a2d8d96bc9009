/* loop.c - a run from its settings to its last checkpoint.
 *
 * What: train_run. Open or continue the run folder, fix what is open, then step, look, save.
 *
 * How: after step N the order is always: metrics line, validation (and model/ if it was the best),
 * sample, checkpoint, look at the signal flag. A checkpoint therefore holds the results of
 * everything due at its step, and a run that continues from it repeats nothing but whole steps.
 * Only weights, moments and train_state are carried; rows and random numbers are functions of the
 * step. Writing time-based checkpoints, validating and sampling read the state and never change
 * it, so they may happen whenever they like. What is due at a step, the best model and a checkpoint,
 * is one order to the saver, which writes it beside the steps that follow (saver.c).
 *
 * A damaged checkpoint is set aside as step-N.damaged and the one before it is taken.
 *
 * Mind: a gradient that is not finite costs the step, not the run; BAD_STEPS_MAX of them in a row
 * end it before the next checkpoint, so the last one on disk is from before the trouble.
 */
#include "train/bad_batch.h"
#include "train/plan_internal.h"
#include "train/profile_report.h"
#include "train/saver.h"
#include "train/settings.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/progress.h"
#include "kernels/kernels_bench.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define BAD_STEPS_MAX   5
#define CURVE_POINTS    24
#define MEASURE_SECONDS 3.0
#define PEAK_SECONDS    0.05 /* of looking for the peak of products */

typedef struct run {
    train_settings settings; /* as recorded; strings live in `strings` or with the caller */
    run_folder folder;
    trainer trainer;
    train_plan plan;
    arena strings;
    progress progress;
    double curve[CURVE_POINTS]; /* mean loss of each stretch of the run */
    int64_t curve_n[CURVE_POINTS];
    double last_save;    /* clock */
    double part_seconds; /* steps of this part only */
    int64_t part_tokens;
    train_times times;
    int64_t resumed_from;
    saver saver;
    bool best_is_new; /* the last validation was the best: model/ is to be written */
    bool save_waits;  /* a checkpoint is due by the clock while one is being written */
    profile profile;
    int64_t profile_left; /* steps still to profile */
} run;

/* -- saving -- */

/* Orders what is due. Training stops only for the copy, unless this step is the last. */
static status save(run *r, bool checkpoint) {
    train_state *state = &r->trainer.state;
    save_order order = {.best = r->best_is_new, .checkpoint = checkpoint};
    bool last = state->step >= r->settings.max_steps || interrupted();
    r->best_is_new = r->save_waits = false;
    if (checkpoint) {
        state->saves++;
        r->last_save = clock_seconds();
    }
    return saver_start(&r->saver, order, !last);
}

/* The present state is on disk. */
static status save_and_wait(run *r) {
    if (r->saver.ordered_step != r->trainer.state.step) TRY(save(r, true));
    return saver_wait(&r->saver);
}

/* Counted steps are kept to; the clock is not worth waiting for a disk that is slower. */
static bool save_is_due(run *r) {
    const option_every *every = &r->settings.save_every;
    if (every->steps > 0 && r->trainer.state.step % every->steps == 0) return true;
    if (every->seconds <= 0 || clock_seconds() - r->last_save < every->seconds) return false;
    bool waits = saver_writing(&r->saver);
    if (waits && !r->save_waits)
        log_info("a checkpoint is due at step %" PRId64 " and waits for that of step %" PRId64
                 ", still being written",
                 r->trainer.state.step, r->saver.state.step);
    r->save_waits = waits;
    return !waits;
}

/* -- looking -- */

static bool due(int64_t every, int64_t step, int64_t last) {
    return step == last || (every > 0 && step % every == 0);
}

static status validate(run *r, evaluation *e) {
    trainer *t = &r->trainer;
    TRY(trainer_evaluate(t, e));
    t->state.val_loss = isfinite(e->loss) ? e->loss : 0;
    t->state.val_bpb = isfinite(e->bpb) ? e->bpb : 0;
    t->state.val_step = t->state.step;
    if (!isfinite(e->loss) || (t->state.best_step >= 0 && e->loss >= t->state.best_val_loss))
        return STATUS_OK;
    t->state.best_val_loss = e->loss;
    t->state.best_step = t->state.step;
    r->best_is_new = true;
    return STATUS_OK;
}

/* On one line: quoted, line ends and the like escaped as in JSON. */
static void log_sample(int64_t step, const char *prompt, const char *made) {
    json_t *pair = json_pack("[s, s]", prompt, made);
    char *line = pair != NULL ? json_line(pair) : NULL;
    json_decref(pair);
    log_info("sample  step=%" PRId64 "  %s", step, line != NULL ? line : "(not UTF-8)");
    mem_free(line);
}

/* A sample is a look, not part of the run: if it fails, training goes on. */
static status take_sample(run *r) {
    const train_settings *s = &r->settings;
    char *made = NULL;
    if (s->sample(s->sample_context, &r->trainer.model, s->sample_prompt, &made) != STATUS_OK) {
        log_warn("no sample at step %" PRId64 ": %s", r->trainer.state.step, error_last()->what);
        error_clear();
        return STATUS_OK;
    }
    status result = run_folder_sample(&r->folder, r->trainer.state.step, s->sample_prompt, made);
    log_sample(r->trainer.state.step, s->sample_prompt, made);
    mem_free(made);
    return result;
}

static void draw_curve(run *r, double loss) {
    int64_t steps = r->settings.max_steps;
    int64_t at = (r->trainer.state.step - 1) * CURVE_POINTS / (steps > 0 ? steps : 1);
    if (at < 0 || at >= CURVE_POINTS || !isfinite(loss)) return;
    r->curve[at] += (loss - r->curve[at]) / (double)++r->curve_n[at];
}

static const char *curve_text(const run *r) {
    double points[CURVE_POINTS];
    int n = 0;
    for (int i = 0; i < CURVE_POINTS; i++)
        if (r->curve_n[i] > 0) points[n++] = r->curve[i];
    return n > 1 ? sparkline_text(points, n) : "";
}

static double part_rate(const run *r) {
    return r->part_seconds > 0 ? (double)r->part_tokens / r->part_seconds : 0;
}

/* Model FLOPs of the tokens over those of the peak in the same time: what the products of the model
 * need at least, recomputation not counted (docs/formats/run.md). */
static double utilisation(const trainer *t, int64_t tokens, double seconds) {
    if (!(t->peak > 0) || !(seconds > 0)) return 0;
    double flops = model_config_flops_per_token(&t->config, t->settings.seq_len);
    return flops * (double)tokens / seconds / t->peak;
}

static double part_utilisation(const run *r) {
    return utilisation(&r->trainer, r->part_tokens, r->part_seconds);
}

static void show(run *r, double loss) {
    const train_state *state = &r->trainer.state;
    const char *val = state->val_step >= 0 ? text("  val %.3f bits/byte", state->val_bpb) : "";
    progress_show(&r->progress, (double)state->step,
                  text("loss %.3f%s  %s tok/s  mfu %.0f %%  %s", loss, val,
                       count_text(llround(part_rate(r))), 100 * part_utilisation(r),
                       curve_text(r)));
}

/* -- stepping -- */

/* A look, as samples are: if the batch cannot be kept, training goes on. */
static void keep_batch(run *r, const step_report *report) {
    if (bad_batch_save(&r->folder, &r->trainer, report) == STATUS_OK) return;
    log_warn("the batch of step %" PRId64 " was not kept: %s", r->trainer.state.step,
             error_last()->what);
    error_clear();
}

static status check_divergence(run *r, const step_report *report) {
    const train_state *state = &r->trainer.state;
    const char *bad = report->bad != NULL ? report->bad : "none (the sum overflowed)";
    if (!report->skipped) return STATUS_OK;
    log_warn("step %" PRId64
             " left out: the gradient is not finite  tensor=%s  loss=%s  in_a_row=%" PRId64,
             state->step, bad, isfinite(report->loss) ? text("%g", report->loss) : "not finite",
             state->skipped_in_row);
    keep_batch(r, report);
    if (state->skipped_in_row < BAD_STEPS_MAX) return STATUS_OK;
    return FAIL(F_NOT_FINITE, text("no finite gradient for %d steps in a row", BAD_STEPS_MAX),
                text("%s, step %" PRId64 ", first bad tensor %s", r->folder.path, state->step, bad),
                text("the learning rate is %.3g; the loss of the last good step was %.4f; %s",
                     report->lr, state->train_loss,
                     r->saver.saved_step < 0
                         ? "there is no checkpoint yet"
                         : text("the newest checkpoint is of step %" PRId64, r->saver.saved_step)),
                text("fathom train %s --learning-rate %.2g --accept-changes; to see the batch: "
                     "fathom runs batch %s",
                     r->folder.path, r->settings.learning_rate / 2, r->folder.path));
}

/* The lap of what the loop does beside training. */
static void loop_lap(const run *r, const char *op, const char *part) {
    profile_lap(r->trainer.gradient.profile, op, part, (profile_work){0});
}

/* Seconds since *mark, which moves to now. */
static double lap(double *mark) {
    double now = clock_seconds(), seconds = now - *mark;
    *mark = now;
    return seconds;
}

/* One step and everything due after it. */
static status step_once(run *r) {
    trainer *t = &r->trainer;
    const train_settings *s = &r->settings;
    step_report report;
    evaluation e;
    double began = clock_seconds();
    TRY(trainer_step(t, &report));
    double seconds = clock_seconds() - began;
    double mark = began + seconds;
    t->state.seconds += seconds;
    r->part_seconds += seconds;
    r->part_tokens += report.counted;
    report.mfu = utilisation(t, report.counted, seconds);
    bool looked = t->validation != NULL && due(s->eval_every, t->state.step, s->max_steps);
    if (looked) TRY(validate(r, &e));
    r->times.validating += lap(&mark);
    loop_lap(r, "validation", "");
    TRY(run_folder_metric(&r->folder, t, &report, looked ? &e : NULL,
                          seconds > 0 ? (double)report.counted / seconds : 0));
    loop_lap(r, "log", "metrics");
    draw_curve(r, report.loss);
    show(r, report.loss);
    loop_lap(r, "log", "progress");
    TRY(check_divergence(r, &report));
    r->times.logging += lap(&mark);
    if (s->sample != NULL && due(s->sample_every, t->state.step, s->max_steps)) TRY(take_sample(r));
    loop_lap(r, "sample", "");
    r->times.sampling += lap(&mark);
    TRY(saver_check(&r->saver));
    bool checkpoint = save_is_due(r);
    if (checkpoint || r->best_is_new) TRY(save(r, checkpoint));
    loop_lap(r, "checkpoint", "");
    r->times.saving += lap(&mark);
    return STATUS_OK;
}

/* The first step of a part pays for page faults and is not profiled. */
static status step_profiled(run *r) {
    gradient_options *g = &r->trainer.gradient;
    if (r->profile_left == 0 || r->part_tokens == 0) return step_once(r);
    g->profile = &r->profile;
    profile_begin(&r->profile, r->trainer.state.step + 1);
    status s = step_once(r);
    profile_end(&r->profile);
    g->profile = NULL;
    r->profile_left--;
    return s;
}

static status stop_early(run *r) {
    TRY(save_and_wait(r));
    return interrupt_status(
        text("%s, step %" PRId64 " of %" PRId64 ", checkpoint written", r->folder.path,
             r->trainer.state.step, r->settings.max_steps),
        text("the same command, or fathom train %s, continues", r->folder.path));
}

static status run_steps(run *r) {
    const train_state *state = &r->trainer.state;
    const char *label = r->settings.label != NULL ? r->settings.label : "train";
    progress_start(&r->progress, label, "steps", (double)r->settings.max_steps,
                   (double)state->step);
    double began = r->last_save = clock_seconds();
    status s = STATUS_OK;
    while (s == STATUS_OK && state->step < r->settings.max_steps) {
        s = step_profiled(r);
        if (s == STATUS_OK && interrupted() && state->step < r->settings.max_steps)
            s = stop_early(r);
    }
    progress_end(&r->progress, NULL);
    r->times.loop = clock_seconds() - began;
    TRY(s);
    return save_and_wait(r);
}

/* -- continuing -- */

static status set_aside(const char *path) {
    char aside[PATH_SIZE];
    log_warn("checkpoint not used: %s (%s); moved to %s.damaged, trying the one before",
             error_last()->what, error_last()->where, path_name(path));
    int n = snprintf(aside, sizeof aside, "%s.damaged", path);
    if (n < 0 || n >= (int)sizeof aside) return folder_remove(path);
    TRY(folder_remove(aside));
    return file_rename(path, aside);
}

/* The last one is damaged, too. Beginning again is for the user to decide. */
static status none_left(const run *r) {
    error_report report;
    error_save(&report);
    return FAIL(
        report.id, report.what, report.where, report.why,
        text("fathom train %s --resume no begins again; keep a copy of %s first if there is "
             "a model worth keeping",
             r->folder.path, r->folder.model));
}

/* Loads the newest checkpoint that is whole; *found false if the run has none yet. */
static status load_newest(run *r, bool *found) {
    trainer *t = &r->trainer;
    int64_t *steps;
    int n, at;
    char path[PATH_SIZE];
    *found = false;
    TRY(checkpoint_list(r->folder.path, &steps, &n));
    status s = STATUS_OK;
    for (at = n - 1; at >= 0; at--) {
        s = checkpoint_path(path, r->folder.path, steps[at]);
        if (s == STATUS_OK)
            s = checkpoint_read(path, &t->model, t->optimiser.m, t->optimiser.v,
                                t->optimiser.v_offset, &t->state);
        *found = s == STATUS_OK;
        if (s == STATUS_OK || error_last()->id != F_CHECKPOINT) break;
        if (at == 0) {
            s = none_left(r);
            break;
        }
        s = set_aside(path);
        if (s != STATUS_OK) break;
    }
    mem_free(steps);
    return s;
}

static status check_same_data(const run *r, uint64_t fingerprint) {
    if (r->trainer.state.data_fingerprint == fingerprint) return STATUS_OK;
    return FAIL(F_CANNOT_RESUME, "the training data is not what the run was trained on so far",
                r->settings.input != NULL ? r->settings.input : r->settings.data,
                "its fingerprint differs from the one in the checkpoint's state.json",
                "bring the old data back, or begin again with --resume no");
}

static status continue_run(run *r) {
    uint64_t fingerprint = r->trainer.state.data_fingerprint;
    bool found;
    TRY(load_newest(r, &found));
    r->resumed_from = -1;
    if (found) {
        TRY(check_same_data(r, fingerprint));
        r->resumed_from = r->trainer.state.step;
        log_info("resumed from step %" PRId64 ", MANIFEST verified  run=%s", r->resumed_from,
                 r->folder.path);
    } else if (r->settings.resume == RESUME_MUST) {
        return FAIL(F_MISSING, "there is no checkpoint to continue from", r->folder.path,
                    "the run folder is new or was stopped before its first checkpoint",
                    "use --resume auto, which begins a new run");
    }
    TRY(run_folder_cut(&r->folder, r->trainer.state.step));
    return r->settings.tensorboard ? run_folder_events(&r->folder, r->trainer.state.seconds)
                                   : STATUS_OK;
}

/* -- beginning -- */

/* Settings: those of the caller joined with those the folder recorded. */
static status open_settings(run *r) {
    int removed;
    if (r->settings.resume == RESUME_NO) TRY(run_folder_forget(&r->folder));
    TRY(checkpoint_clean(r->folder.path, &removed));
    if (removed > 0)
        log_warn("the last run was killed while it wrote a checkpoint: %d incomplete one%s removed",
                 removed, removed == 1 ? "" : "s");
    TRY(arena_init(&r->strings, "settings", 1 << 20));
    return train_settings_recall(&r->settings, &r->strings);
}

/* The speed that turns minutes into steps; measured before the weights are loaded. */
static status measure_if_needed(run *r, train_speed *speed) {
    *speed = (train_speed){0};
    if (r->settings.max_steps > 0 || r->settings.minutes <= 0) return STATUS_OK;
    return trainer_speed(&r->trainer, MEASURE_SECONDS, speed);
}

static void fix_steps(run *r, const train_speed *speed) {
    bool open = r->settings.max_steps == 0;
    double rate = speed->step > 0 ? (double)r->settings.batch_tokens / speed->step : 0;
    train_fix_steps(&r->settings, r->trainer.state.step, rate);
    r->trainer.settings = r->settings;
    if (open)
        log_info("the run will have %" PRId64 " steps of %" PRId64 " tokens", r->settings.max_steps,
                 r->settings.batch_tokens);
}

static status write_plan(run *r, const train_result *actual) {
    json_t *o = plan_json(&r->plan);
    bool ok = o != NULL;
    if (ok && actual != NULL)
        ok = json_object_set_new(o, "actual",
                                 json_pack("{s:I, s:f, s:f}", "memory_bytes",
                                           (json_int_t)actual->peak_bytes, "seconds",
                                           actual->seconds, "tokens_per_second",
                                           actual->tokens_per_second)) == 0;
    status s = ok ? json_write(r->folder.plan, o)
                  : FAIL(F_NO_MEMORY, "plan.json could not be made", r->folder.path,
                         "memory ran out", "free memory and run the same command again");
    json_decref(o);
    return s;
}

static status find_tokenizer(run *r) {
    if (r->settings.input != NULL) return run_folder_byte_tokenizer(&r->folder);
    TRY(path_join(r->folder.tokenizer, r->settings.data, "tokenizer.json"));
    if (path_exists(r->folder.tokenizer)) return STATUS_OK;
    return FAIL(F_MISSING, text("%s is missing", r->folder.tokenizer), r->settings.data,
                "every checkpoint takes a copy of it along",
                text("fathom data verify %s names the command that repairs", r->settings.data));
}

static status open_profile(run *r) {
    r->trainer.peak = 1e9 * bench_peak_here(r->trainer.gradient.products, PEAK_SECONDS);
    if (!r->settings.profile) return STATUS_OK;
    r->profile_left = r->settings.profile_steps;
    return profile_init(&r->profile);
}

/* Everything before the first step. */
static status open_run(run *r) {
    train_speed speed;
    TRY(run_folder_open(&r->folder, r->settings.run, r->settings.disk_wait_seconds));
    TRY(open_settings(r));
    TRY(trainer_open(&r->trainer, &r->settings));
    r->settings = r->trainer.settings;
    TRY(measure_if_needed(r, &speed));
    TRY(continue_run(r));
    TRY(find_tokenizer(r));
    fix_steps(r, &speed);
    TRY(plan_fill(&r->plan, &r->trainer));
    if (speed.step > 0) plan_time(&r->plan, &speed);
    TRY(plan_check(&r->plan));
    TRY(saver_open(&r->saver, &r->trainer, &r->folder, r->resumed_from, r->plan.copy > 0));
    TRY(train_settings_log_changes(&r->settings, r->folder.config, &r->strings));
    TRY(train_settings_write(&r->settings, r->folder.config));
    TRY(open_profile(r));
    TRY(run_folder_facts(&r->folder));
    return write_plan(r, NULL);
}

static status fill_result(const run *r, train_result *out) {
    const train_state *state = &r->trainer.state;
    const param_set *params = &r->trainer.model.params;
    out->steps = state->step;
    out->tokens = state->tokens;
    out->max_steps = r->settings.max_steps;
    out->seconds = state->seconds;
    out->first_loss = state->first_loss;
    out->train_loss = state->train_loss;
    out->val_loss = state->val_loss;
    out->val_bpb = state->val_bpb;
    out->best_val_loss = state->best_val_loss;
    out->best_step = state->best_step;
    out->skipped = state->skipped;
    out->resumed_from = r->resumed_from;
    out->tokens_per_second = part_rate(r);
    out->mfu = part_utilisation(r);
    out->peak_bytes = memory_peak_rss();
    out->planned_bytes = r->plan.memory;
    out->part_seconds = r->part_seconds;
    out->planned_seconds = r->plan.measured ? r->plan.step_seconds : 0;
    out->times = r->times;
    out->times.loading = r->trainer.loading;
    out->times.writing = r->saver.cpu_seconds;
    return sha256_bytes(params->master, (size_t)params->count * sizeof(float), &out->weights);
}

static bool stopped(status s) {
    error_id id = error_last()->id;
    return s != STATUS_OK && (id == F_INTERRUPTED || id == F_STOPPED);
}

/* profile.json and trace.json. */
static status report_profile(const run *r, train_result *out) {
    if (r->profile.steps == 0) return STATUS_OK;
    TRY(train_profile_fill(&out->profile, &r->profile, r->trainer.gradient.products));
    TRY(profile_write_trace(&r->profile, r->folder.trace));
    if (r->profile.lost > 0)
        log_warn("the trace is cut: %" PRId64 " laps had no room; --profile-steps %" PRId64
                 " would fit",
                 r->profile.lost, r->settings.profile_steps / 2 + 1);
    json_t *o = train_profile_json(&out->profile);
    if (o == NULL)
        return FAIL(F_NO_MEMORY, "profile.json could not be made", r->folder.path, "memory ran out",
                    "free memory and run the same command again");
    status s = json_write(r->folder.profile, o);
    json_decref(o);
    return s;
}

/* Result and plan also after a stop that left a checkpoint. */
static status end_run(run *r, status s, train_result *out) {
    if (s != STATUS_OK && !stopped(s)) return s;
    error_report report;
    error_save(&report);
    TRY(fill_result(r, out));
    TRY(report_profile(r, out));
    if (r->part_tokens > 0) TRY(write_plan(r, out));
    if (s != STATUS_OK) error_restore(&report);
    return s;
}

/* A run that failed keeps its own report, whatever becomes of a checkpoint in flight. */
static void close_saver(run *r, status result) {
    error_report report;
    error_save(&report);
    saver_close(&r->saver);
    if (result != STATUS_OK) error_restore(&report);
}

status train_run(const train_settings *s, train_result *out) {
    *out = (train_result){.resumed_from = -1, .best_step = -1};
    if (s->run == NULL || s->run[0] == 0)
        return FAIL(F_USAGE, "no run folder", "train", "a run needs a folder to live in",
                    "give one: --run runs/NAME");
    run *r = mem_zalloc(1, sizeof *r);
    if (r == NULL) return STATUS_MEMORY;
    r->settings = *s;
    r->folder.lock = -1;
    r->resumed_from = -1;
    status result = open_run(r);
    if (result == STATUS_OK) {
        out->already_done = r->trainer.state.step >= r->settings.max_steps;
        if (!out->already_done) result = run_steps(r);
        result = end_run(r, result, out);
    }
    close_saver(r, result);
    profile_clear(&r->profile);
    trainer_close(&r->trainer);
    arena_clear(&r->strings);
    run_folder_close(&r->folder);
    mem_free(r);
    return result;
}
