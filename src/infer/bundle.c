/* bundle.c - finds and opens a model folder.
 *
 * A run folder holds model/ (the best checkpoint so far) and checkpoints/step-N; a run that was
 * interrupted before its first evaluation has only the latter, so the newest one with a MANIFEST
 * (which is written last) is taken.
 */
#include "infer/bundle_internal.h"

#include "base/file.h"
#include "tensor/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool has_model(const char *folder) {
    char path[PATH_SIZE];
    return path_join(path, folder, "config.json") == STATUS_OK && path_exists(path);
}

/* The newest whole checkpoint below `run`, or "" if there is none. */
static status newest_checkpoint(char out[PATH_SIZE], const char *run) {
    char folder[PATH_SIZE], manifest[PATH_SIZE], candidate[PATH_SIZE];
    out[0] = '\0';
    TRY(path_join(folder, run, "checkpoints"));
    if (!path_is_folder(folder)) return STATUS_OK;
    char **names;
    int n;
    TRY(folder_list(folder, &names, &n));
    int64_t best = -1;
    status s = STATUS_OK;
    for (int i = 0; i < n && s == STATUS_OK; i++) {
        if (strncmp(names[i], "step-", 5) != 0) continue;
        char *end;
        long long step = strtoll(names[i] + 5, &end, 10);
        if (end == names[i] + 5 || *end != '\0' || step <= best) continue;
        if ((s = path_join(candidate, folder, names[i])) != STATUS_OK) break;
        if ((s = path_join(manifest, candidate, "MANIFEST")) != STATUS_OK) break;
        if (!path_exists(manifest)) continue;
        best = step;
        memcpy(out, candidate, PATH_SIZE);
    }
    folder_list_free(names, n);
    return s;
}

bool bundle_is_gguf(const char *path) {
    return gguf_is_name(path) && !path_is_folder(path);
}

status bundle_find(char out[PATH_SIZE], const char *path) {
    if (bundle_is_gguf(path) && path_exists(path)) {
        snprintf(out, PATH_SIZE, "%s", path);
        return STATUS_OK;
    }
    if (has_model(path)) {
        int n = snprintf(out, PATH_SIZE, "%s", path);
        return n < PATH_SIZE ? STATUS_OK
                             : path_join(out, path, "."); /* which says that it is too long */
    }
    TRY(path_join(out, path, "model"));
    if (has_model(out)) return STATUS_OK;
    TRY(newest_checkpoint(out, path));
    if (out[0] != '\0') return STATUS_OK;
    if (!path_exists(path))
        return FAIL(F_MISSING, text("there is no model at %s", path), path,
                    "the folder does not exist",
                    "train one with `fathom start`, or check the path");
    return FAIL(F_MISSING, text("no model in %s", path), path,
                "neither config.json, nor model/config.json, nor a finished checkpoints/step-N",
                "wait for the first checkpoint, or name a model folder");
}

static status tokenizer_fits(const bundle *b, const char *path) {
    int64_t has = tokenizer_vocab_size(b->tokenizer), room = b->model.config.vocab_size;
    if (has <= room) return STATUS_OK;
    return FAIL(F_TOKENIZER,
                text("tokenizer has %" PRId64 " tokens, the model %" PRId64, has, room), path,
                "they do not belong to each other: ids would be out of range",
                "use the tokenizer.json that was saved with the model");
}

/* "eos_token_id": a number or a list of numbers. */
static void take_stops(bundle *b, const json_t *config) {
    const json_t *eos = json_object_get(config, "eos_token_id");
    for (size_t i = 0; i < (json_is_array(eos) ? json_array_size(eos) : 1); i++) {
        const json_t *id = json_is_array(eos) ? json_array_get(eos, i) : eos;
        if (!json_is_integer(id) || b->n_stop_ids == BUNDLE_STOPS) continue;
        json_int_t value = json_integer_value(id);
        if (value >= 0 && value < b->model.config.vocab_size)
            b->stop_ids[b->n_stop_ids++] = (int32_t)value;
    }
}

/* What ends an answer: generation_config.json says it, config.json where that is missing. */
static status read_stops(bundle *b) {
    char file[PATH_SIZE];
    json_t *generation;
    TRY(path_join(file, b->path, "generation_config.json"));
    if (!path_exists(file)) TRY(path_join(file, b->path, "config.json"));
    TRY(json_read(file, &generation));
    take_stops(b, generation);
    json_decref(generation);
    return STATUS_OK;
}

static status open_folder_model(model *m, const char *path, bundle_weights weights) {
    if (weights == WEIGHTS_NONE) return model_config_read(&m->config, path);
    return weights == WEIGHTS_HELD ? model_open_held(m, path) : model_open(m, path);
}

static status open_any(bundle *b, const char *path, bundle_weights weights) {
    memset(b, 0, sizeof *b);
    char file[PATH_SIZE];
    status s = bundle_find(b->path, path);
    if (s != STATUS_OK) return s;
    if (bundle_is_gguf(b->path)) {
        TRY_GOTO(s, bundle_open_gguf(b, b->path, weights));
        s = tokenizer_fits(b, b->path);
        goto done;
    }
    TRY_GOTO(s, open_folder_model(&b->model, b->path, weights));
    TRY_GOTO(s, path_join(file, b->path, "tokenizer.json"));
    TRY_GOTO(s, tokenizer_open(&b->tokenizer, file));
    TRY_GOTO(s, tokenizer_fits(b, file));
    TRY_GOTO(s, read_stops(b));
    s = chat_format_open(&b->chat, b->path);
done:
    if (s != STATUS_OK) bundle_close(b);
    return s;
}

status bundle_open(bundle *b, const char *path) {
    return open_any(b, path, WEIGHTS_HELD);
}

status bundle_open_masters(bundle *b, const char *path) {
    return open_any(b, path, WEIGHTS_MASTERS);
}

status bundle_open_words(bundle *b, const char *path) {
    return open_any(b, path, WEIGHTS_NONE);
}

void bundle_close(bundle *b) {
    chat_format_free(b->chat);
    tokenizer_free(b->tokenizer);
    model_clear(&b->model);
    memset(b, 0, sizeof *b);
}
