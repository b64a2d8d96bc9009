/* eval_command.c - `fathom eval MODEL`: bits per byte of held-out text, beside what costs nothing.
 *
 * MODEL is a run or a model folder. The data is that of the run's config.ini unless --data names
 * another. The result is also written to RUN/eval/results_DATE.json, so that numbers outlive the
 * terminal.
 */
#include "eval/eval.h"

#include "base/clock.h"
#include "base/command.h"
#include "base/file.h"

#include <ini.h>
#include <inttypes.h>
#include <string.h>

typedef struct eval_settings {
    const char *data;
    int64_t seq_len, limit;
    bool baselines, untrained, stream;
    double fail_above;
} eval_settings;

static const option rows[] = {
    {"eval", "data", OPTION_STRING, offsetof(eval_settings, data), "",
     "Dataset whose validation split is used; empty = the data of the run.", .value = "DATASET"},
    {"eval", "seq-len", OPTION_COUNT, offsetof(eval_settings, seq_len), "0",
     "Tokens in a row, so the most context a prediction has; 0 = the model's context, up to 512.",
     0, 1e6},
    {"eval", "limit", OPTION_COUNT, offsetof(eval_settings, limit), "0",
     "Look at so many validation tokens at most; 0 = all.", 0, 1e12},
    {"eval", "baselines", OPTION_BOOL, offsetof(eval_settings, baselines), "true",
     "Also gzip, xz and n-gram models of the same text (kept in the dataset folder)."},
    {"eval", "untrained", OPTION_BOOL, offsetof(eval_settings, untrained), "true",
     "Also the same model before training."},
    {"eval", "stream", OPTION_BOOL, offsetof(eval_settings, stream), "false",
     "The text is one stream: attention crosses document borders."},
    {"eval", "fail-above", OPTION_REAL, offsetof(eval_settings, fail_above), "0",
     "End with exit code 1 if bits per byte are above this; 0 = never.", 0, 64},
};
static const option_table eval_options_table = {rows, sizeof rows / sizeof rows[0],
                                                sizeof(eval_settings), NULL};
static const option_table *const tables[] = {&eval_options_table, NULL};

/* [train] data or input of a run's config.ini. */
typedef struct run_data {
    char path[PATH_SIZE], input[PATH_SIZE];
} run_data;

static int on_key(void *user, const char *section, const char *name, const char *value) {
    run_data *found = user;
    if (strcmp(section, "train") != 0) return 1;
    size_t n = strlen(value);
    if (n >= 2 && value[0] == '"' && value[n - 1] == '"') value++, n -= 2;
    bool input = strcmp(name, "input") == 0;
    if ((input || strcmp(name, "data") == 0) && n > 0 && n < PATH_SIZE) {
        char *to = input ? found->input : found->path;
        memcpy(to, value, n);
        to[n] = '\0';
    }
    return 1;
}

static status data_of_run(const char *run, run_data *found) {
    char ini[PATH_SIZE];
    TRY(path_join(ini, run, "config.ini"));
    if (path_exists(ini) && ini_parse(ini, on_key, found) < 0)
        return error_errno(5, "read the settings of the run", ini);
    if (found->path[0] != '\0' || found->input[0] != '\0') return STATUS_OK;
    return FAIL(F_USAGE, text("which data should %s be evaluated on?", run), run,
                "its config.ini names neither a dataset nor a file", "add --data FOLDER");
}

static void print_result(const command_context *c, const eval_result *r) {
    say(c, "bits per byte   %.4f   [%.4f, %.4f]   %" PRId64 " bytes held out, %" PRId64 " tokens\n",
        r->bits_per_byte, r->low, r->high, r->bytes, r->tokens);
    say(c, "perplexity      %.3f per token   loss %.4f nats\n", r->perplexity, r->loss);
    if (r->untrained > 0) say(c, "  untrained     %.4f\n", r->untrained);
    if (r->gzip <= 0) return;
    say(c, "  gzip -9       %.4f\n  xz -9         %.4f   primed with the training text %.4f\n",
        r->gzip, r->xz, r->xz_primed);
    for (int k = 0; k < WITTEN_BELL_ORDERS; k++)
        say(c, "  order-%d bytes %.4f   (Witten-Bell)%s\n", k + 1, r->witten_bell[k],
            r->bits_per_byte < r->witten_bell[k] ? "   beaten" : "");
}

json_t *eval_result_json(const eval_result *r) {
    json_t *o = json_pack("{s:f, s:[f,f], s:f, s:f, s:I, s:I, s:f}", "bits_per_byte",
                          r->bits_per_byte, "interval", r->low, r->high, "perplexity",
                          r->perplexity, "loss", r->loss, "tokens", (json_int_t)r->tokens, "bytes",
                          (json_int_t)r->bytes, "seconds", r->seconds);
    if (o == NULL) return NULL;
    int failed = 0;
    if (r->untrained > 0) failed |= json_object_set_new(o, "untrained", json_real(r->untrained));
    if (r->gzip > 0) {
        const double *w = r->witten_bell;
        failed |= json_object_set_new(o, "gzip", json_real(r->gzip));
        failed |= json_object_set_new(o, "xz", json_real(r->xz));
        failed |= json_object_set_new(o, "xz_primed", json_real(r->xz_primed));
        failed |= json_object_set_new(o, "witten_bell",
                                      json_pack("[f,f,f,f,f]", w[0], w[1], w[2], w[3], w[4]));
    }
    if (failed == 0) return o;
    json_decref(o);
    return NULL;
}

/* RUN/eval/results_DATE.json; a model folder that is no run keeps none. */
static status keep_result(const char *run, const eval_result *r, char kept[PATH_SIZE]) {
    char folder[PATH_SIZE], stamp[21], config[PATH_SIZE];
    kept[0] = '\0';
    TRY(path_join(config, run, "config.ini"));
    if (!path_exists(config)) return STATUS_OK;
    TRY(path_join(folder, run, "eval"));
    TRY(folder_create(folder));
    clock_utc(stamp);
    TRY(path_join(kept, folder, text("results_%s.json", stamp)));
    json_t *o = eval_result_json(r);
    if (o == NULL)
        return FAIL(F_NO_MEMORY, "no memory for the result", kept,
                    "memory ran out while it was made", "run the same command again");
    status s = json_write(kept, o);
    json_decref(o);
    return s;
}

static status eval_command_run(command_context *c) {
    const eval_settings *s = c->settings[0];
    const char *run = c->arguments[0];
    run_data data = {0};
    char found[PATH_SIZE], kept[PATH_SIZE];
    TRY(bundle_find(found, run));
    if (s->data[0] == '\0') TRY(data_of_run(run, &data));
    const char *folder = s->data[0] != '\0'     ? s->data
                         : data.path[0] != '\0' ? data.path
                                                : data.input;
    bool file = folder == data.input;
    if (c->dry_run) {
        say(c, "would evaluate %s on the validation split of %s\n", found, folder);
        return STATUS_OK;
    }
    bundle b;
    TRY(bundle_open(&b, run));
    eval_options o = {.data = file ? NULL : folder,
                      .input = file ? folder : NULL,
                      .seq_len = (int)s->seq_len,
                      .max_tokens = s->limit,
                      .baselines = s->baselines,
                      .untrained = s->untrained,
                      .stream = s->stream,
                      .seed = c->seed};
    eval_result r;
    status result = eval_run(&b, &o, &r);
    bundle_close(&b);
    if (result != STATUS_OK) return result;
    print_result(c, &r);
    TRY(result_set(c, "model", json_string(found)));
    TRY(result_set(c, "data", json_string(folder)));
    TRY(result_set(c, "scores", eval_result_json(&r)));
    TRY(keep_result(run, &r, kept));
    if (kept[0] != '\0') TRY(result_set(c, "file", json_string(kept)));
    if (s->fail_above > 0 && r.bits_per_byte > s->fail_above)
        return FAIL(F_GATE,
                    text("%.4f bits per byte, %.4f allowed", r.bits_per_byte, s->fail_above), found,
                    "the model is worse than --fail-above", "train it longer");
    return STATUS_OK;
}

const command eval_command = {
    .name = "eval",
    .summary = "measure a model on held-out text",
    .usage = "MODEL",
    .examples = "fathom eval runs/first\nfathom eval runs/first --json\n"
                "fathom eval runs/first --data data/other --no-baselines",
    .notes = "Reads: the model folder, DATA/data.json and its shards.\n"
             "Writes: RUN/eval/results_DATE.json, DATA/baselines.json.",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = tables,
    .run = eval_command_run,
    .threads = true,
};
