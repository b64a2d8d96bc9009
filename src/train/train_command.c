/* train_command.c - `fathom train`: settings from the command line, samples through infer/, the
 * result on the screen.
 *
 * How: flags and environment are what the caller "gave"; everything else of an existing run comes
 * from its config.ini (train_settings_recall). The argument is a dataset or a run folder, told
 * apart by what is in it.
 */

#include "train/plan.h"
#include "train/profile_report.h"
#include "train/sample.h"
#include "train/train.h"

#include "base/command.h"
#include "base/file.h"
#include "base/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MEASURE_SECONDS 3.0

/* -- settings of this call -- */

/* Which settings came from flags or the environment; the rest gives way to the run's own. */
static bool *given_rows(const command_context *c) {
    bool *given = mem_zalloc((size_t)train_options.n, sizeof *given);
    for (int i = 0; given != NULL && i < train_options.n; i++) {
        option_layer layer;
        option_set_origin(c->options, &train_options.rows[i], &layer);
        given[i] = layer == LAYER_FLAG || layer == LAYER_ENVIRONMENT;
        if (strcmp(train_options.rows[i].name, "train-seed") == 0) given[i] |= c->seed_given;
    }
    return given;
}

/* A length asked for in this call replaces those of presets and files; two of them are a mistake. */
static status choose_length(train_settings *s) {
    static const char *const names[] = {"max-steps", "tokens", "minutes"};
    int n = 0, which = -1;
    for (int k = 0; k < 3; k++) {
        const option *row = option_find(&train_options, "train", names[k]);
        if (!s->given[row - train_options.rows]) continue;
        which = k;
        n++;
    }
    if (n > 1)
        return FAIL(F_USAGE, "more than one length was given", "train",
                    "--max-steps, --tokens and --minutes each decide how long a run is",
                    "keep one of them");
    if (n == 1 && which != 0) s->max_steps = 0;
    if (n == 1 && which != 1) s->tokens = 0;
    if (n == 1 && which != 2) s->minutes = 0;
    return STATUS_OK;
}

/* The argument: a run folder (it has a config.ini) or a dataset (it has a data.json). */
static status take_argument(const command_context *c, train_settings *s, bool *given) {
    char path[PATH_SIZE];
    if (c->n_arguments == 0) return STATUS_OK;
    const char *folder = c->arguments[0];
    TRY(path_join(path, folder, "config.ini"));
    bool is_run = path_exists(path);
    TRY(path_join(path, folder, "data.json"));
    if (!is_run && path_exists(folder) && !path_is_folder(folder))
        return FAIL(F_MISSING, text("%s is neither a run nor a dataset", folder), folder,
                    "it is a file, they are folders",
                    text("fathom data import %s makes a dataset of it; --input %s --preset "
                         "shakespeare-char takes its bytes",
                         folder, folder));
    if (!is_run && !path_exists(path))
        return FAIL(F_MISSING, text("%s is neither a run nor a dataset", folder), folder,
                    "it has no config.ini and no data.json",
                    "fathom runs ls shows runs; fathom data get makes a dataset");
    if (is_run && s->run != NULL && strcmp(s->run, folder) != 0)
        return FAIL(F_USAGE, "two run folders were named", text("%s and --run %s", folder, s->run),
                    "a run has one folder", "name it once");
    if (is_run) s->run = folder;
    if (is_run) return STATUS_OK;
    s->data = folder; /* as good as --data: it wins over what a run in the folder --run recorded */
    given[option_find(&train_options, "train", "data") - train_options.rows] = true;
    return STATUS_OK;
}

static const char *last_part(const char *path) {
    const char *name = path_name(path);
    return name[0] ? name : "run";
}

/* runs/NAME after the recipe, the dataset or the file. */
static void name_run(train_settings *s) {
    if (s->run != NULL && s->run[0]) return;
    const char *from = s->preset != NULL && s->preset[0] ? s->preset
                       : s->data != NULL && s->data[0]   ? last_part(s->data)
                       : s->input != NULL && s->input[0] ? last_part(s->input)
                                                         : "run";
    s->run = text("runs/%s", from);
}

/* A dataset that is a run as well would be neither to later commands. */
static status check_run_folder(const char *run) {
    char path[PATH_SIZE];
    TRY(path_join(path, run, "data.json"));
    if (!path_exists(path)) return STATUS_OK;
    return FAIL(F_USAGE, text("%s is a dataset, not a place for a run", run), "--run",
                "a run gets a folder of its own", text("--run runs/%s", last_part(run)));
}

static status check_source(train_settings *s) {
    if (s->data != NULL && s->data[0] == 0) s->data = NULL;
    if (s->input != NULL && s->input[0] == 0) s->input = NULL;
    if ((s->data == NULL) != (s->input == NULL)) return STATUS_OK;
    if (s->data != NULL)
        return FAIL(F_USAGE, "both --data and --input were given", "train",
                    "a run reads one of them", "leave one out");
    return FAIL(F_USAGE, "nothing to train on", "train", "neither a dataset nor a file was named",
                "fathom train DATASET, or --input FILE; fathom data get makes a dataset");
}

static status gather_settings(command_context *c, train_settings *s, bool *given, arena *strings) {
    *s = *(const train_settings *)c->settings[0];
    if (c->seed_given) s->seed = c->seed;
    TRY(choose_length(s));
    TRY(take_argument(c, s, given));
    name_run(s);
    char *run = arena_strdup(strings, s->run);
    if (run == NULL) return STATUS_MEMORY;
    s->run = run;
    TRY(check_run_folder(run));
    TRY(train_settings_recall(s, strings));
    return check_source(s);
}

/* -- results -- */

static status show_plan(command_context *c, const train_settings *s) {
    train_plan p;
    TRY(plan_make(s, MEASURE_SECONDS, &p));
    if (!c->json) plan_print(stdout, &p);
    TRY(result_set(c, "plan", plan_json(&p)));
    return plan_check(&p);
}

static status put_result(command_context *c, const train_settings *s, const train_result *r) {
    TRY(result_set(c, "run", json_string(s->run)));
    TRY(result_set(c, "steps", json_integer(r->steps)));
    TRY(result_set(c, "max_steps", json_integer(r->max_steps)));
    TRY(result_set(c, "tokens", json_integer(r->tokens)));
    TRY(result_set(c, "seconds", json_real(r->seconds)));
    TRY(result_set(c, "tokens_per_second", json_real(r->tokens_per_second)));
    TRY(result_set(c, "mfu", json_real(r->mfu)));
    if (r->profile.steps > 0) TRY(result_set(c, "profile", train_profile_json(&r->profile)));
    TRY(result_set(c, "first_loss", json_real(r->first_loss)));
    TRY(result_set(c, "train_loss", json_real(r->train_loss)));
    TRY(result_set(c, "val_loss", json_real(r->val_loss)));
    TRY(result_set(c, "val_bpb", json_real(r->val_bpb)));
    TRY(result_set(c, "best_val_loss", json_real(r->best_val_loss)));
    TRY(result_set(c, "best_step", json_integer(r->best_step)));
    TRY(result_set(c, "skipped_steps", json_integer(r->skipped)));
    TRY(result_set(c, "resumed_from", json_integer(r->resumed_from)));
    TRY(result_set(c, "already_done", json_boolean(r->already_done)));
    TRY(result_set(c, "memory_bytes", json_integer(r->peak_bytes)));
    TRY(result_set(c, "memory_planned_bytes", json_integer(r->planned_bytes)));
    return result_set(c, "weights_sha256", json_string(r->weights.hex));
}

static status say_result(command_context *c, const train_settings *s, const train_result *r) {
    if (r->already_done)
        say(c, "%s was trained already: %s steps (kept)\n", s->run, count_text(r->steps));
    say(c, "trained     %s steps, %s tokens in %s\n", count_text(r->steps), count_text(r->tokens),
        duration_text(r->seconds));
    say(c, "loss        %.4f -> %.4f nats per token\n", r->first_loss, r->train_loss);
    if (r->best_step >= 0)
        say(c,
            "validation  %.4f nats per token, %.4f bits per byte (best %.4f, step %s, in "
            "%s/model)\n",
            r->val_loss, r->val_bpb, r->best_val_loss, count_text(r->best_step), s->run);
    if (r->part_seconds > 0)
        say(c, "memory      %s planned, %s used at most\n", bytes_text((double)r->planned_bytes),
            bytes_text((double)r->peak_bytes));
    if (r->planned_seconds > 0)
        say(c, "time        %s planned, %s used in steps\n", duration_text(r->planned_seconds),
            duration_text(r->part_seconds));
    if (!c->json) train_profile_print(stdout, &r->profile);
    if (r->profile.steps > 0)
        say(c, "profile     %s/profile.json, %s/trace.json (chrome://tracing, Perfetto)\n", s->run,
            s->run);
    if (r->part_seconds > 0)
        say(c, "speed       %s tokens/s, model FLOPs utilisation %.1f %%\n",
            count_text(llround(r->tokens_per_second)), 100 * r->mfu);
    say(c, "weights     sha256 %s\n", r->weights.hex);
    TRY(command_next(c, "fathom chat %s", s->run));
    return command_next(c, "fathom runs show %s", s->run);
}

/* Trains and shows; a run that was stopped has a result as well. */
static status train_and_show(command_context *c, train_settings *s) {
    train_result r;
    error_report why;
    train_sampler sampler = {.settings = s};
    s->sample = s->sample_every != 0 ? train_sample : NULL;
    s->sample_context = &sampler;
    status result = train_run(s, &r);
    train_sampler_clear(&sampler);
    if (result == STATUS_OK) {
        TRY(put_result(c, s, &r));
        return say_result(c, s, &r);
    }
    if (error_status(error_last()->id) != STATUS_CANCELLED) return result;
    error_save(&why);
    TRY(put_result(c, s, &r));
    error_restore(&why);
    return result;
}

static status train_command_run(command_context *c) {
    arena strings;
    train_settings s, *parsed = c->settings[0];
    TRY(arena_init(&strings, "settings", 1 << 20));
    bool *given = given_rows(c);
    parsed->given = given;
    status result = given != NULL ? STATUS_OK : STATUS_MEMORY;
    if (result == STATUS_OK) result = gather_settings(c, &s, given, &strings);
    if (result == STATUS_OK) result = c->dry_run ? show_plan(c, &s) : train_and_show(c, &s);
    parsed->given = NULL;
    mem_free(given);
    arena_clear(&strings);
    return result;
}

static const option_table *const tables[] = {&train_options, NULL};
const command train_command = {
    .name = "train",
    .summary = "train a model, or go on training one",
    .usage = "[RUN | DATASET]",
    .examples = "fathom train data/mini --preset first --run runs/first\n"
                "fathom train runs/first\n"
                "fathom train runs/first --minutes 60\n"
                "fathom train -n data/mini --size f-15m --tokens 20M\n"
                "fathom train --preset shakespeare-char --input input.txt --run runs/play",
    .notes =
        "Reads a dataset (fathom data tokenize) or one file of text; writes a run folder:\n"
        "config.ini, plan.json, env.json, metrics.jsonl, samples.jsonl, log.txt, checkpoints/\n"
        "and model/, the best model in Hugging Face layout. The same command continues a run\n"
        "that was stopped, at the exact step, with the same result byte for byte.",
    .max_arguments = 1,
    .options = tables,
    .run = train_command_run,
    .threads = true,
};
