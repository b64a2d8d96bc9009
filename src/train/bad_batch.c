/* bad_batch.c - see bad_batch.h.
 *
 * What: one JSON file a step: the ids of every row, the loss the model gives each row alone, and where
 * the rows come from (data, fingerprint, seed, index), so that they can be looked at (`fathom runs
 * batch`) and found again.
 *
 * How: the gradient of a batch does not say which row spoilt it; a forward of each row alone does, as
 * long as the weights are finite. If every row is bad, it is the weights.
 *
 * Mind: this is a look, as samples are: the caller goes on when it fails (a full disk, say).
 */
#include "train/bad_batch.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static status no_memory(const run_folder *f) {
    return FAIL(F_NO_MEMORY, "a bad batch could not be written down", f->path, "memory ran out",
                "free memory; training goes on without the file");
}

static json_t *real_or_null(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

/* {index, loss, counted, ids} of row i; NULL with a status that is not OK. */
static status row_object(trainer *t, int64_t first, int i, json_t **out) {
    const row_set *rows = &t->rows;
    const int32_t *ids = rows->ids + i * rows->seq_len;
    gradient_result alone;
    *out = NULL;
    TRY(row_loss(&t->model, rows, i, &t->gradient, &t->step_memory, &alone));
    double loss = alone.counted > 0 ? alone.loss_sum / (double)alone.counted : 0;
    json_t *list = json_array();
    bool ok = list != NULL;
    for (int64_t k = 0; k < rows->seq_len && ok; k++)
        ok = json_array_append_new(list, json_integer(ids[k])) == 0;
    *out = json_pack("{s:I, s:o, s:I, s:o}", "index", (json_int_t)(first + i), "loss",
                     real_or_null(loss), "counted", (json_int_t)alone.counted, "ids", list);
    if (ok && *out != NULL) return STATUS_OK;
    json_decref(*out);
    *out = NULL;
    return STATUS_MEMORY;
}

static json_t *head_object(const run_folder *f, const trainer *t, const step_report *r) {
    const train_settings *s = &t->settings;
    return json_pack("{s:s, s:i, s:I, s:o, s:s, s:f, s:s, s:s, s:s, s:I, s:I}", "format",
                     "fathom-bad-batch", "version", 1, "step", (json_int_t)t->state.step, "loss",
                     real_or_null(r->loss), "tensor", r->bad != NULL ? r->bad : "", "lr", r->lr,
                     "data", s->input != NULL ? s->input : s->data, "data_fingerprint",
                     text("%016" PRIx64, t->state.data_fingerprint), "tokenizer", f->tokenizer,
                     "seed", (json_int_t)s->seed, "seq_len", (json_int_t)s->seq_len);
}

static int64_t step_of(const char *name) {
    char *end;
    if (strncmp(name, "step-", 5) != 0) return -1;
    int64_t step = strtoll(name + 5, &end, 10);
    return end > name + 5 && strcmp(end, ".json") == 0 ? step : -1;
}

static status prune(const char *folder) {
    char **names, path[PATH_SIZE];
    int n;
    TRY(folder_list(folder, &names, &n));
    status s = STATUS_OK;
    for (int i = 0; i < n && s == STATUS_OK; i++) {
        int newer = 0;
        for (int k = 0; k < n; k++)
            newer += step_of(names[k]) > step_of(names[i]);
        if (step_of(names[i]) < 0 || newer < BAD_BATCHES_KEPT) continue;
        s = path_join(path, folder, names[i]);
        if (s == STATUS_OK && unlink(path) != 0 && errno != ENOENT)
            s = error_errno(errno, text("remove %s", path), path);
    }
    folder_list_free(names, n);
    return s;
}

status bad_batch_save(const run_folder *f, trainer *t, const step_report *report) {
    char folder[PATH_SIZE], path[PATH_SIZE];
    int64_t first = (t->state.step - 1) * t->rows.n;
    TRY(path_join(folder, f->path, "bad_batches"));
    TRY(folder_create(folder));
    TRY(path_join(path, folder, text("step-%" PRId64 ".json", t->state.step)));
    json_t *o = head_object(f, t, report), *rows = json_array(), *row;
    bool kept = json_object_set_new(o, "rows", rows) == 0; /* takes rows also where it fails */
    status s = kept ? STATUS_OK : no_memory(f);
    for (int i = 0; i < t->rows.n && s == STATUS_OK; i++) {
        s = row_object(t, first, i, &row);
        if (s == STATUS_OK && json_array_append_new(rows, row) != 0) s = no_memory(f);
    }
    if (s == STATUS_OK) s = json_write(path, o);
    json_decref(o);
    return s == STATUS_OK ? prune(folder) : s;
}
