/* batch_command.c - `fathom runs batch`: the rows of a step that training left out.
 *
 * What: training writes the batch of a step whose gradient was not finite into RUN/bad_batches
 * (docs/formats/run.md). This shows it as the model read it, with the loss of each row alone, and says
 * whether some rows are to blame or the weights.
 *
 * Mind: the tokenizer is opened where the file says; if it is gone, ids are shown.
 */
#include "app/app.h"

#include "base/file.h"
#include "tokens/tokens.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct batch_settings {
    int64_t step;
    int rows, tokens;
} batch_settings;

static const option rows_of_batch[] = {
    {"runs", "step", OPTION_COUNT, offsetof(batch_settings, step), "0",
     "Step whose batch is shown; 0 = the newest that was kept.", 0, 1e12,
     .flags = OPTION_FLAG_ONLY},
    {"runs", "rows", OPTION_INT, offsetof(batch_settings, rows), "8",
     "Rows to show at most; those whose loss is not finite come first.", 1, 1000000,
     .flags = OPTION_FLAG_ONLY},
    {"runs", "tokens", OPTION_INT, offsetof(batch_settings, tokens), "32",
     "Tokens of each to show at most.", 1, 1000000, .flags = OPTION_FLAG_ONLY},
};
static const option_table batch_options = {
    rows_of_batch, sizeof rows_of_batch / sizeof *rows_of_batch, sizeof(batch_settings), NULL};
static const option_table *const batch_tables[] = {&batch_options, NULL};

/* -- finding -- */

static int64_t step_of(const char *name) {
    char *end;
    if (strncmp(name, "step-", 5) != 0) return -1;
    int64_t step = strtoll(name + 5, &end, 10);
    return end > name + 5 && strcmp(end, ".json") == 0 ? step : -1;
}

static status none_kept(const char *run, int64_t wanted, int64_t newest) {
    return FAIL(F_MISSING,
                wanted > 0 ? text("no batch of step %" PRId64 " was kept", wanted)
                           : text("no batch of %s was kept", run),
                text("%s/bad_batches", run),
                "training keeps the last few batches whose gradient was not finite, and no others",
                newest > 0 ? text("fathom runs batch %s --step %" PRId64, run, newest)
                           : text("fathom runs show %s", run));
}

/* RUN/bad_batches/step-N.json of the wanted or the newest step. */
static status find_batch(const char *run, int64_t wanted, char path[PATH_SIZE]) {
    char folder[PATH_SIZE], **names = NULL;
    int n = 0;
    int64_t newest = -1;
    bool found = false;
    TRY(path_join(folder, run, "bad_batches"));
    if (path_is_folder(folder)) TRY(folder_list(folder, &names, &n));
    for (int i = 0; i < n; i++) {
        int64_t step = step_of(names[i]);
        newest = step > newest ? step : newest;
        found = found || (step >= 0 && step == wanted);
    }
    folder_list_free(names, n);
    if (wanted == 0 && newest >= 0) wanted = newest, found = true;
    if (!found) return none_kept(run, wanted, newest);
    return path_join(path, folder, text("step-%" PRId64 ".json", wanted));
}

/* -- showing -- */

/* Tokens of a row as text, borders as bars; without a tokenizer their ids. */
static status row_line(const tokenizer *t, const json_t *ids, int most, char **line) {
    size_t n, size;
    int shown = (int)json_array_size(ids) < most ? (int)json_array_size(ids) : most;
    FILE *out = open_memstream(line, &size);
    if (out == NULL) return STATUS_MEMORY;
    for (int i = 0; i < shown; i++) {
        int32_t id = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
        const uint8_t *bytes = t != NULL ? tokenizer_token(t, id, &n) : NULL;
        if (bytes == NULL) fprintf(out, "%d", id);
        for (size_t b = 0; bytes != NULL && b < n; b++)
            if (bytes[b] < 0x20 || bytes[b] == 0x7F)
                fprintf(out, "\\x%02x", bytes[b]);
            else
                fputc(bytes[b], out);
        fputc('|', out);
    }
    return fclose(out) == 0 ? STATUS_OK : STATUS_MEMORY;
}

static status show_row(command_context *c, const tokenizer *t, const json_t *row) {
    const batch_settings *s = c->settings[0];
    const json_t *loss = json_object_get(row, "loss");
    char *line = NULL;
    if (row_line(t, json_object_get(row, "ids"), s->tokens, &line) != STATUS_OK) {
        free(line);
        return FAIL(F_NO_MEMORY, "no memory for a row", c->arguments[0], "memory ran out",
                    "show fewer --tokens");
    }
    say(c, "row %-8" JSON_INTEGER_FORMAT " loss %-10s %s\n",
        json_integer_value(json_object_get(row, "index")),
        json_is_number(loss) ? text("%.4f", json_number_value(loss)) : "not finite", line);
    free(line);
    return STATUS_OK;
}

static bool is_bad(const json_t *row) {
    return !json_is_number(json_object_get(row, "loss"));
}

static const char *verdict(size_t bad, size_t n) {
    if (bad == 0)
        return "every row alone has a finite loss: the gradient overflowed on its way back";
    if (bad == n) return "no row has a finite loss: the weights are to blame, not the data";
    return "the rows above without a finite loss are to blame, or what the weights make of them";
}

static status show_rows(command_context *c, const tokenizer *t, const json_t *rows) {
    const batch_settings *s = c->settings[0];
    size_t n = json_array_size(rows), bad = 0;
    int shown = 0;
    for (size_t i = 0; i < n; i++)
        bad += is_bad(json_array_get(rows, i));
    for (int pass = 0; pass < 2; pass++) /* first those that are not finite */
        for (size_t i = 0; i < n && shown < s->rows; i++) {
            const json_t *row = json_array_get(rows, i);
            if (is_bad(row) != (pass == 0)) continue;
            TRY(show_row(c, t, row));
            shown++;
        }
    say(c, "%zu of %zu rows; %s\n", (size_t)shown, n, verdict(bad, n));
    return result_set(c, "bad_rows", json_integer((json_int_t)bad));
}

static status say_head(command_context *c, const json_t *batch, const char *path) {
    const char *tensor, *data, *fingerprint;
    int64_t step, seed;
    double lr;
    TRY(json_get_int(batch, "step", &step, path));
    TRY(json_get_int(batch, "seed", &seed, path));
    TRY(json_get_real(batch, "lr", &lr, path));
    TRY(json_get_string(batch, "tensor", &tensor, path));
    TRY(json_get_string(batch, "data", &data, path));
    TRY(json_get_string(batch, "data_fingerprint", &fingerprint, path));
    say(c, "step        %" PRId64 ", left out: its gradient is not finite, first in %s\n", step,
        tensor[0] != '\0' ? tensor : "the sum");
    say(c, "rate        %g\n", lr);
    say(c, "data        %s, fingerprint %s, seed %" PRId64 "\n", data, fingerprint, seed);
    return STATUS_OK;
}

static tokenizer *open_tokenizer(command_context *c, const json_t *batch) {
    const char *path = json_string_value(json_object_get(batch, "tokenizer"));
    tokenizer *t = NULL;
    if (path != NULL && path[0] != '\0' && tokenizer_open(&t, path) == STATUS_OK) return t;
    error_clear();
    say(c, "tokenizer   %s cannot be opened: ids are shown\n", path != NULL ? path : "(none)");
    return NULL;
}

static status batch_run(command_context *c) {
    const batch_settings *s = c->settings[0];
    char path[PATH_SIZE];
    json_t *batch, *rows;
    TRY(find_batch(c->arguments[0], s->step, path));
    TRY(json_read(path, &batch));
    status r = json_get_array(batch, "rows", &rows, path);
    if (r == STATUS_OK) r = say_head(c, batch, path);
    if (r == STATUS_OK) {
        tokenizer *t = open_tokenizer(c, batch);
        r = show_rows(c, t, rows);
        tokenizer_free(t);
    }
    if (r == STATUS_OK) r = result_set(c, "file", json_string(path));
    if (r == STATUS_OK) r = result_set(c, "batch", json_incref(batch));
    json_decref(batch);
    return r;
}

const command runs_batch_command = {
    .name = "batch",
    .summary = "the batch of a step that training left out because its gradient was not finite",
    .usage = "RUN",
    .examples =
        "fathom runs batch runs/first\nfathom runs batch runs/first --step 733 --tokens 100",
    .notes =
        "Reads RUN/bad_batches/step-N.json: the last few such batches, with the ids of each row\n"
        "and the loss of each row alone.",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = batch_tables,
    .run = batch_run,
};
