/* start_command.c - `fathom start`: from nothing to a model of one's own, in one command.
 *
 * Five steps, of which ./start does the first two: check, build, corpus, prepare, train and
 * evaluate. Each rests on files of the step before and keeps what is already whole, so the same
 * command goes on after Ctrl-C, kill -9 or a power cut, and ends with the same weights.
 *
 * The minutes are those of the whole. What is left of them when training begins, less a reserve for
 * the evaluation, becomes a number of steps by a measurement of about three seconds; model and steps
 * are then in RUN/config.ini, which wins on every rerun.
 *
 * Steps and progress go to standard error; the table at the end is the result.
 */
#include "app/app.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "data/data.h"
#include "eval/eval.h"
#include "model/presets.h"
#include "train/plan.h"
#include "train/sample.h"
#include "train/train.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EVALUATION_RESERVE 45.0 /* seconds of the whole kept for the evaluation and its baselines */
#define MEASURE_SECONDS    1.5  /* for the size that is tried */
#define TOKENS_WORTH_IT    1.0e6 /* the larger size is taken if it sees at least so many tokens */
#define SAMPLE_TOKENS      60

typedef struct start_settings {
    double minutes, elapsed;
    const char *corpus, *input, *data, *run, *size, *prompt;
    int64_t vocab_size;
} start_settings;

static const option rows[] = {
    {"start", "minutes", OPTION_REAL, offsetof(start_settings, minutes), "10",
     "Time for everything; training gets what the rest leaves.", 0.2, 1e5},
    {"start", "corpus", OPTION_STRING, offsetof(start_settings, corpus), "mini",
     "Text to learn from: mini (four Debian packages) or local (offline).", .value = "mini|local"},
    {"start", "input", OPTION_STRING, offsetof(start_settings, input), "",
     "Folder of text files for --corpus local.", .value = "FOLDER"},
    {"start", "data", OPTION_STRING, offsetof(start_settings, data), "",
     "Dataset folder; empty = data/CORPUS.", .value = "DATASET"},
    {"start", "run", OPTION_STRING, offsetof(start_settings, run), "runs/first",
     "Run folder. One that is there already is continued.", .value = "RUN"},
    {"start", "size", OPTION_STRING, offsetof(start_settings, size), "",
     "Model size (fathom config presets); empty = chosen by a measurement.", .value = "SIZE"},
    {"start", "vocab-size", OPTION_COUNT, offsetof(start_settings, vocab_size), "4096",
     "Tokens of the tokenizer that is trained.", 257, 1e6},
    {"start", "prompt", OPTION_STRING, offsetof(start_settings, prompt), "The mount command",
     "Beginning of the samples that are shown while the model learns."},
    {"start", "elapsed", OPTION_REAL, offsetof(start_settings, elapsed), "0",
     "Seconds already used by ./start.", 0, 1e6, .flags = OPTION_FLAG_ONLY | OPTION_HIDDEN},
};
static const option_table start_options = {rows, sizeof rows / sizeof rows[0],
                                           sizeof(start_settings), NULL};
static const option_table *const tables[] = {&start_options, NULL};

typedef struct start {
    command_context *c;
    const start_settings *o;
    double began;
    char data[PATH_SIZE], config[PATH_SIZE];
    train_settings train;
    train_result trained;
    eval_result scores;
    char *sample; /* what the trained model makes of the prompt, on one line */
    arena strings;
} start;

static double elapsed(const start *s) {
    return s->o->elapsed + clock_seconds() - s->began;
}

/* "[3/5] corpus    ..." on standard error. */
static void step_line(const start *s, int number, const char *name, const char *what) {
    if (s->c->quiet) return;
    progress_hide();
    fprintf(stderr, "[%d/5] %-9s %s\n", number, name, what);
}

static status step_corpus(start *s) {
    data_get_options o = {.corpus = s->o->corpus,
                          .folder = s->data,
                          .input = s->o->input[0] != '\0' ? s->o->input : NULL};
    data_get_result r;
    double began = clock_seconds();
    TRY(data_get(&o, &r));
    step_line(s, 3, "corpus",
              text("%s documents, %s of clean text %s  %s     licences: fathom data card %s",
                   count_text(r.documents), bytes_text((double)r.text_bytes),
                   r.kept ? "(kept)" : text("from %d sources", r.report.n_sources),
                   duration_text(clock_seconds() - began), s->data));
    return STATUS_OK;
}

static status step_prepare(start *s) {
    tokenize_options o = {
        .folder = s->data, .vocab_size = (int)s->o->vocab_size, .seed = 1, .quiet = s->c->quiet};
    tokenize_result r;
    double began = clock_seconds();
    TRY(data_tokenize(&o, &r));
    double bytes = (double)r.text_bytes[SPLIT_TRAIN], tokens = (double)r.tokens[SPLIT_TRAIN];
    step_line(s, 4, "prepare",
              text("vocabulary %d, %s training tokens (%.1f bytes each), %s of text held out%s  %s",
                   r.vocab_size, count_text(r.tokens[SPLIT_TRAIN]), tokens > 0 ? bytes / tokens : 0,
                   bytes_text((double)r.text_bytes[SPLIT_VALIDATION]),
                   r.shards_kept == r.shards ? " (kept)" : "",
                   duration_text(clock_seconds() - began)));
    return STATUS_OK;
}

#define RATE_MARGIN                                                                                \
    0.94 /* a machine measured for a moment was once 6.6 % slower over ten minutes */

/* Seconds that training may take now. */
static double training_seconds(const start *s) {
    double total = s->o->minutes * 60, reserve = EVALUATION_RESERVE;
    if (reserve > total * 0.2) reserve = total * 0.2;
    double left = (total - elapsed(s) - reserve) * RATE_MARGIN;
    return left > total * 0.1 ? left : total * 0.1;
}

static status base_settings(start *s) {
    train_settings *t = &s->train;
    TRY(train_recipe_apply(t, "first", &s->strings));
    t->data = s->data;
    t->sample_prompt = s->o->prompt;
    if (s->o->size[0] != '\0') t->size = s->o->size;
    return STATUS_OK;
}

/* f-5m if it sees enough text in the time there is, else f-1m. */
static status choose_size(start *s) {
    if (s->o->size[0] != '\0') return STATUS_OK;
    double rate, seconds = training_seconds(s);
    s->train.size = "f-5m";
    train_settings trial = s->train;
    trial.max_steps = 1000;
    trial.minutes = 0;
    TRY(train_measure(&trial, MEASURE_SECONDS, &rate));
    double tokens = rate * seconds;
    if (tokens >= TOKENS_WORTH_IT) return STATUS_OK;
    log_info("size f-5m would see only %s tokens", count_text((int64_t)tokens));
    s->train.size = "f-1m";
    return STATUS_OK;
}

static status step_train(start *s) {
    train_settings *t = &s->train;
    TRY(train_settings_defaults(t));
    t->run = s->o->run;
    bool again = path_exists(s->config);
    if (again) { /* its config.ini wins over everything */
        TRY(train_settings_recall(t, &s->strings));
    } else {
        TRY(base_settings(s));
        TRY(choose_size(s));
        t->minutes = training_seconds(s) / 60;
    }
    step_line(s, 5, "train",
              again ? text("continuing %s", t->run)
                    : text("%s for about %s     Ctrl-C at any time; the same command continues",
                           t->size, duration_text(t->minutes * 60)));
    train_sampler sampler = {.settings = t};
    t->sample = train_sample;
    t->sample_context = &sampler;
    status result = train_run(t, &s->trained);
    train_sampler_clear(&sampler);
    if (result == STATUS_OK && s->trained.already_done)
        step_line(s, 5, "train", text("%s steps done (kept)", count_text(s->trained.steps)));
    return result;
}

static status step_evaluate(start *s) {
    bundle b;
    TRY(bundle_open(&b, s->train.run));
    eval_options o = {.data = s->data,
                      .seq_len = (int)s->train.seq_len,
                      .baselines = true,
                      .untrained = true,
                      .seed = 1,
                      .quiet = s->c->quiet};
    status result = eval_run(&b, &o, &s->scores);
    if (result == STATUS_OK)
        result = complete_text(&b.model, b.tokenizer, s->o->prompt, SAMPLE_TOKENS, &s->sample);
    for (char *c = s->sample; c != NULL && *c != '\0'; c++)
        if (*c == '\n') *c = ' ';
    bundle_close(&b);
    return result;
}

static const char *than(const eval_result *r, double baseline) {
    return r->high < baseline ? "beaten" : r->low > baseline ? "not reached" : "about equal";
}

static void print_table(const start *s) {
    const command_context *c = s->c;
    const eval_result *r = &s->scores;
    say(c, "\nheld-out text, bits per byte (lower is better; %s, 95 %% interval)\n",
        bytes_text((double)r->bytes));
    say(c, "  this model               %6.3f  [%.3f, %.3f]\n", r->bits_per_byte, r->low, r->high);
    say(c, "  the same, untrained      %6.3f  %s\n", r->untrained, than(r, r->untrained));
    say(c, "  gzip -9                  %6.3f  %s\n", r->gzip, than(r, r->gzip));
    say(c, "  xz -9                    %6.3f  %s\n", r->xz, than(r, r->xz));
    say(c, "  n-gram bytes, order 3    %6.3f  %s\n", r->witten_bell[2], than(r, r->witten_bell[2]));
    say(c, "  n-gram bytes, order 5    %6.3f  %s\n", r->witten_bell[4], than(r, r->witten_bell[4]));
    say(c, "  xz -9 that read it all   %6.3f  %s\n", r->xz_primed, than(r, r->xz_primed));
    say(c, "\nmodel    %s, %s steps, %s tokens, loss %.2f -> %.2f nats per token\n", s->train.size,
        count_text(s->trained.steps), count_text(s->trained.tokens), s->trained.first_loss,
        s->trained.val_loss);
    say(c, "sample   \"%s\" ->%s\n", s->o->prompt, s->sample);
    say(c, "time     %s of %s\n", duration_text(elapsed(s)), duration_text(s->o->minutes * 60));
    say(c, "files    %s/model, weights sha256 %.16s...\n", s->train.run, s->trained.weights.hex);
    say(c, "\nThis is a base model of a few minutes: it completes text in the style of its corpus. "
           "It does\n"
           "not know facts and does not answer questions.\n");
}

static status put_result(const start *s) {
    command_context *c = s->c;
    TRY(result_set(c, "run", json_string(s->train.run)));
    TRY(result_set(c, "data", json_string(s->data)));
    TRY(result_set(c, "size", json_string(s->train.size)));
    TRY(result_set(c, "steps", json_integer(s->trained.steps)));
    TRY(result_set(c, "tokens", json_integer(s->trained.tokens)));
    TRY(result_set(c, "seconds", json_real(elapsed(s))));
    TRY(result_set(c, "weights_sha256", json_string(s->trained.weights.hex)));
    TRY(result_set(c, "sample", json_string(s->sample)));
    TRY(result_set(c, "scores", eval_result_json(&s->scores)));
    TRY(command_next(c, "fathom chat %s", s->train.run));
    TRY(command_next(c, "fathom runs show %s", s->train.run));
    return command_next(c, "fathom train %s --max-steps %" PRId64 " --accept-changes", s->train.run,
                        s->trained.steps * 4);
}

static status show_intent(const start *s) {
    const command_context *c = s->c;
    bool again = path_exists(s->config);
    say(c, "corpus    %s, up to %s to download, into %s\n", s->o->corpus,
        bytes_text((double)corpus_download_bytes(s->o->corpus)), s->data);
    say(c, "prepare   tokenizer of %" PRId64 " tokens, shards\n", s->o->vocab_size);
    say(c, "train     %s in %s%s\n", again ? "what is left" : duration_text(training_seconds(s)),
        s->o->run, again ? " (its config.ini decides)" : "; size and steps are measured first");
    say(c, "evaluate  about %s\n", duration_text(EVALUATION_RESERVE));
    return STATUS_OK;
}

static status run_steps(start *s) {
    TRY(path_join(s->config, s->o->run, "config.ini"));
    const char *data = s->o->data[0] != '\0' ? s->o->data : text("data/%s", s->o->corpus);
    TRY(path_join(s->data, data, ""));
    size_t n = strlen(s->data);
    while (n > 1 && s->data[n - 1] == '/')
        s->data[--n] = '\0';
    if (s->c->dry_run) return show_intent(s);
    TRY(step_corpus(s));
    TRY(interrupt_status("the start", "run the same command again"));
    TRY(step_prepare(s));
    TRY(interrupt_status("the start", "run the same command again"));
    TRY(step_train(s));
    TRY(step_evaluate(s));
    print_table(s);
    return put_result(s);
}

static status start_run(command_context *c) {
    static start s; /* holds paths; too large for the stack of a command */
    memset(&s, 0, sizeof s);
    s.c = c;
    s.o = c->settings[0];
    s.began = clock_seconds();
    TRY(arena_init(&s.strings, "settings", 1 << 20));
    status result = run_steps(&s);
    mem_free(s.sample);
    arena_clear(&s.strings);
    return result;
}

const command start_command = {
    .name = "start",
    .summary = "corpus, tokenizer, training and evaluation in one go",
    .examples = "fathom start\nfathom start --minutes 30 --run runs/longer\n"
                "fathom start --corpus local --input mytexts --run runs/mine",
    .notes =
        "Writes data/CORPUS and the run folder. Stopped at any moment, the same command goes on.\n"
        "A base model of ten minutes completes text in the style of its corpus.",
    .options = tables,
    .run = start_run,
    .threads = true,
};
