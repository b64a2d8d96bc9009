/* checkpoint.c - writing and reading a run's state; see checkpoint.h for the layout.
 *
 * How: every file is written by an atomic writer into step-N.tmp, MANIFEST last, and one rename
 * makes the folder real. A folder that is there already (model/, or a step that is saved again
 * after a fall-back) is exchanged with the new one in one system call, so at every moment a whole
 * one has the name.
 *
 * Mind: state.json is read back by the same table that writes it, so a field cannot be saved and
 * forgotten. Moments carry our parameter names ("m.<name>"), weights the Hugging Face names of
 * model_save.
 */
#include "train/checkpoint.h"

#include "train/manifest.h"

#include "base/checked.h"
#include "base/json.h"
#include "base/log.h"
#include "tensor/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_LAST  2
#define KEEP_TENTH 10

/* -- state.json -- */

typedef enum field_type { FIELD_INT, FIELD_REAL, FIELD_HASH } field_type;
typedef struct state_field {
    const char *key;
    field_type type;
    size_t offset;
} state_field;
#define FIELD(type, name)                                                                          \
    { #name, FIELD_##type, offsetof(train_state, name) }
static const state_field state_fields[] = {
    FIELD(INT, step),        FIELD(INT, tokens),      FIELD(REAL, seconds),
    FIELD(REAL, first_loss), FIELD(REAL, train_loss), FIELD(REAL, val_loss),
    FIELD(REAL, val_bpb),    FIELD(INT, val_step),    FIELD(REAL, best_val_loss),
    FIELD(INT, best_step),   FIELD(INT, skipped),     FIELD(INT, skipped_in_row),
    FIELD(INT, adam_steps),  FIELD(INT, saves),       FIELD(HASH, data_fingerprint),
};
#define N_FIELDS (sizeof state_fields / sizeof *state_fields)

static json_t *field_to_json(const state_field *f, const train_state *state) {
    const char *at = (const char *)state + f->offset;
    switch (f->type) {
    case FIELD_INT: return json_integer(*(const int64_t *)(const void *)at);
    case FIELD_REAL: return json_real(*(const double *)(const void *)at);
    case FIELD_HASH: return json_string(text("%016" PRIx64, *(const uint64_t *)(const void *)at));
    }
    return NULL;
}

static status write_state(const char *path, const train_state *state) {
    json_t *object = json_object();
    bool ok = object != NULL && json_object_set_new(object, "format", json_integer(1)) == 0;
    for (size_t i = 0; ok && i < N_FIELDS; i++)
        ok = json_object_set_new(object, state_fields[i].key,
                                 field_to_json(&state_fields[i], state)) == 0;
    status s = ok ? json_write(path, object)
                  : FAIL(F_INTERNAL, "the state of training cannot be written as JSON", path,
                         "a number is not finite, or memory ran out", "free memory and try again");
    json_decref(object);
    return s;
}

static status field_from_json(const state_field *f, const json_t *object, const char *path,
                              train_state *state) {
    char *at = (char *)state + f->offset;
    const char *hex;
    switch (f->type) {
    case FIELD_INT: return json_get_int(object, f->key, (int64_t *)(void *)at, path);
    case FIELD_REAL: return json_get_real(object, f->key, (double *)(void *)at, path);
    case FIELD_HASH: break;
    }
    TRY(json_get_string(object, f->key, &hex, path));
    char *end;
    errno = 0;
    *(uint64_t *)(void *)at = strtoull(hex, &end, 16);
    if (errno != 0 || end == hex || *end != 0)
        return FAIL(F_CHECKPOINT, text("\"%s\" is \"%s\"", f->key, hex), path,
                    "it should be 16 hex digits", "remove this checkpoint folder");
    return STATUS_OK;
}

static status read_state(const char *path, train_state *state) {
    json_t *object;
    TRY(json_read(path, &object));
    *state = (train_state){0};
    int64_t format = 0;
    status s = json_get_int(object, "format", &format, path);
    if (s == STATUS_OK && format != 1)
        s = FAIL(F_CHECKPOINT, text("state.json has format %" PRId64, format), path,
                 "this program reads format 1", "use the program version that wrote it");
    for (size_t i = 0; s == STATUS_OK && i < N_FIELDS; i++)
        s = field_from_json(&state_fields[i], object, path, state);
    if (s == STATUS_OK &&
        (state->step < 0 || state->adam_steps < 0 || state->adam_steps > state->step))
        s = FAIL(F_CHECKPOINT,
                 text("step %" PRId64 ", %" PRId64 " updates", state->step, state->adam_steps),
                 path, "a run makes at most one update per step", "remove this checkpoint folder");
    json_decref(object);
    return s;
}

/* -- moments -- */

static tensor moment_view(const param *p, const float *first) {
    tensor t = tensor_1d((void *)(uintptr_t)first, DTYPE_F32, p->count);
    t.rank = p->rank;
    for (int d = 0; d < p->rank; d++)
        t.dim[d] = p->dim[d];
    int64_t stride = 1;
    for (int d = p->rank - 1; d >= 0; d--) {
        t.stride[d] = stride;
        stride *= p->dim[d];
    }
    return t;
}

static status moment_name(char out[256], char which, const param *p) {
    int n = snprintf(out, 256, "%c.%s", which, p->name);
    if (n < 0 || n >= 256)
        return FAIL(F_INTERNAL, text("parameter name of %d bytes", n), "optimizer.safetensors",
                    "names are shorter than 250 bytes", "report this");
    return STATUS_OK;
}

/* Where parameter i's v begins, -1 = it has none. */
static int64_t second_moment(const param_set *params, const int64_t *v_offset, int i) {
    return v_offset != NULL ? v_offset[i] : params->all[i]->offset;
}

static status write_moments(const char *path, const checkpoint_content *c) {
    const param_set *params = &c->model->params;
    safetensors_item *items = mem_zalloc(2 * (size_t)params->n, sizeof *items);
    char(*names)[256] = mem_zalloc(2 * (size_t)params->n, sizeof *names);
    status s = items != NULL && names != NULL ? STATUS_OK : STATUS_MEMORY;
    int n = 0;
    for (int i = 0; s == STATUS_OK && i < params->n; i++) {
        const param *p = params->all[i];
        int64_t v = second_moment(params, c->v_offset, i);
        s = moment_name(names[n], 'm', p);
        items[n] = (safetensors_item){names[n], moment_view(p, c->m + p->offset)};
        n++;
        if (s != STATUS_OK || v < 0) continue;
        s = moment_name(names[n], 'v', p);
        items[n] = (safetensors_item){names[n], moment_view(p, c->v + v)};
        n++;
    }
    if (s == STATUS_OK) s = safetensors_write(path, items, n, NULL, 0);
    mem_free(items);
    mem_free(names);
    return s;
}

static status read_moment(safetensors *file, const char *path, char which, const param *p,
                          float *to) {
    char name[256];
    tensor t;
    TRY(moment_name(name, which, p));
    TRY(safetensors_find(file, name, &t));
    tensor want = moment_view(p, to);
    bool same = t.dtype == DTYPE_F32 && t.rank == want.rank;
    for (int d = 0; same && d < t.rank; d++)
        same = t.dim[d] == want.dim[d];
    if (!same)
        return FAIL(F_SHAPE, text("%s is %s %s", name, dtype_name(t.dtype), tensor_shape_text(&t)),
                    path, text("the model needs F32 %s", tensor_shape_text(&want)),
                    "the optimiser state belongs to another model: start again with --resume no");
    memcpy(to, t.data, tensor_bytes(&t));
    return STATUS_OK;
}

static status read_moments(const char *path, const param_set *params, float *m, float *v,
                           const int64_t *v_offset) {
    safetensors *file;
    TRY(safetensors_open(&file, path));
    status s = STATUS_OK;
    for (int i = 0; s == STATUS_OK && i < params->n; i++) {
        const param *p = params->all[i];
        int64_t second = second_moment(params, v_offset, i);
        s = read_moment(file, path, 'm', p, m + p->offset);
        if (s == STATUS_OK && second >= 0) s = read_moment(file, path, 'v', p, v + second);
    }
    safetensors_close(file);
    return s;
}

/* -- folders -- */

static status copy_file(const char *from, const char *to) {
    char *bytes;
    size_t n;
    TRY(file_read(from, 0, &bytes, &n));
    status s = file_write(to, bytes, n);
    mem_free(bytes);
    return s;
}

static status write_config(const char *path, const model_config *c) {
    json_t *object;
    TRY(model_config_to_json(c, &object));
    status s = json_write(path, object);
    json_decref(object);
    return s;
}

static status fill_folder(const char *folder, const checkpoint_content *c) {
    char path[PATH_SIZE];
    TRY(folder_remove(folder));
    TRY(folder_create(folder));
    TRY(path_join(path, folder, "config.json"));
    TRY(write_config(path, &c->model->config));
    if (c->tokenizer != NULL) {
        TRY(path_join(path, folder, "tokenizer.json"));
        TRY(copy_file(c->tokenizer, path));
    }
    TRY(path_join(path, folder, "model.safetensors"));
    TRY(model_save(c->model, path));
    if (c->m != NULL) {
        TRY(path_join(path, folder, "optimizer.safetensors"));
        TRY(write_moments(path, c));
    }
    TRY(path_join(path, folder, "state.json"));
    TRY(write_state(path, c->state));
    return manifest_write(folder);
}

/* Gives `filled` the name `path`; what had it is removed afterwards. */
static status install_folder(const char *filled, const char *path) {
    if (!path_exists(path)) return file_rename(filled, path);
    if (renameat2(AT_FDCWD, filled, AT_FDCWD, path, RENAME_EXCHANGE) == 0)
        return folder_remove(filled);
    if (errno != EINVAL && errno != ENOSYS)
        return error_errno(errno, text("replace %s", path), path);
    TRY(folder_remove(path)); /* a file system without exchange */
    return file_rename(filled, path);
}

status checkpoint_write(const char *path, const checkpoint_content *content) {
    char filling[PATH_SIZE];
    int n = snprintf(filling, sizeof filling, "%s.tmp", path);
    if (n < 0 || n >= (int)sizeof filling)
        return FAIL(F_BAD_VALUE, "the path of a checkpoint is too long", path,
                    text("paths have at most %d bytes", PATH_SIZE - 1),
                    "use a shorter --run folder");
    status s = fill_folder(filling, content);
    if (s == STATUS_OK) s = install_folder(filling, path);
    if (s == STATUS_OK) return s;
    error_report first;
    error_save(&first);
    if (folder_remove(filling) != STATUS_OK)
        log_warn("an unfinished checkpoint could not be removed  path=%s", filling);
    error_restore(&first);
    return s;
}

status checkpoint_verify(const char *path) {
    manifest list;
    return manifest_verify(path, &list);
}

/* Same numbers, compared as the JSON that both would write. */
static status check_config(const char *folder, const model_config *mine) {
    char path[PATH_SIZE];
    json_t *found, *want = NULL, *again = NULL;
    model_config theirs;
    TRY(path_join(path, folder, "config.json"));
    TRY(json_read(path, &found));
    status s = model_config_from_json(&theirs, found, path);
    if (s == STATUS_OK) s = model_config_to_json(mine, &want);
    if (s == STATUS_OK) s = model_config_to_json(&theirs, &again);
    const char *key = NULL;
    json_t *value;
    if (s == STATUS_OK) {
        json_object_foreach(want, key, value) {
            if (!json_equal(value, json_object_get(again, key))) break;
        }
        if (key != NULL)
            s = FAIL(F_CANNOT_RESUME, text("the model's %s differs from the checkpoint's", key),
                     path, "weights of another shape cannot be continued",
                     text("remove %s: the checkpoint before it is taken then; or begin again with "
                          "--resume no",
                          folder));
    }
    json_decref(found);
    json_decref(want);
    json_decref(again);
    return s;
}

status checkpoint_read(const char *path, model *into, float *m, float *v, const int64_t *v_offset,
                       train_state *state) {
    char file[PATH_SIZE];
    TRY(checkpoint_verify(path));
    TRY(check_config(path, &into->config));
    TRY(path_join(file, path, "state.json"));
    TRY(read_state(file, state));
    if (m != NULL) {
        TRY(path_join(file, path, "optimizer.safetensors"));
        TRY(read_moments(file, &into->params, m, v, v_offset));
    }
    TRY(path_join(file, path, "model.safetensors"));
    return model_load(into, file);
}

status checkpoint_read_state(const char *path, train_state *state) {
    char file[PATH_SIZE];
    TRY(path_join(file, path, "state.json"));
    return read_state(file, state);
}

/* -- the list of a run -- */

status checkpoint_path(char out[PATH_SIZE], const char *run, int64_t step) {
    return path_join(out, run, text("checkpoints/step-%" PRId64, step));
}

static bool parse_step(const char *name, int64_t *step) {
    if (strncmp(name, "step-", 5) != 0 || name[5] < '0' || name[5] > '9') return false;
    char *end;
    errno = 0;
    *step = strtoll(name + 5, &end, 10);
    return errno == 0 && *end == 0;
}

static int compare_steps(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

status checkpoint_list(const char *run, int64_t **steps, int *n) {
    char folder[PATH_SIZE], path[PATH_SIZE];
    char **names = NULL;
    int n_names = 0;
    *steps = NULL;
    *n = 0;
    TRY(path_join(folder, run, "checkpoints"));
    if (path_is_folder(folder)) TRY(folder_list(folder, &names, &n_names));
    *steps = mem_zalloc((size_t)n_names + 1, sizeof **steps);
    status s = *steps != NULL ? STATUS_OK : STATUS_MEMORY;
    for (int i = 0; s == STATUS_OK && i < n_names; i++) {
        int64_t step;
        if (!parse_step(names[i], &step)) continue;
        s = path_join(path, folder, text("%s/MANIFEST", names[i]));
        if (s == STATUS_OK && path_exists(path)) (*steps)[(*n)++] = step;
    }
    folder_list_free(names, n_names);
    if (s == STATUS_OK) qsort(*steps, (size_t)*n, sizeof **steps, compare_steps);
    if (s != STATUS_OK) {
        mem_free(*steps);
        *steps = NULL;
    }
    return s;
}

status checkpoint_clean(const char *run, int *removed) {
    char folder[PATH_SIZE], path[PATH_SIZE];
    char **names = NULL;
    int n = 0;
    *removed = 0;
    TRY(path_join(path, run, "model.tmp"));
    TRY(folder_remove(path));
    TRY(path_join(folder, run, "checkpoints"));
    if (!path_is_folder(folder)) return STATUS_OK;
    TRY(folder_list(folder, &names, &n));
    status s = STATUS_OK;
    for (int i = 0; s == STATUS_OK && i < n; i++) {
        const char *dot = strrchr(names[i], '.');
        if (strncmp(names[i], "step-", 5) != 0 || dot == NULL || strcmp(dot, ".tmp") != 0) continue;
        s = path_join(path, folder, names[i]);
        if (s == STATUS_OK) s = folder_remove(path);
        if (s == STATUS_OK) ++*removed;
    }
    folder_list_free(names, n);
    return s;
}

status checkpoint_prune(const char *run, int64_t best) {
    int64_t *steps;
    int n;
    char path[PATH_SIZE];
    TRY(checkpoint_list(run, &steps, &n));
    status s = STATUS_OK;
    for (int i = 0; s == STATUS_OK && i < n - KEEP_LAST; i++) {
        train_state state;
        if (steps[i] == best) continue;
        s = checkpoint_path(path, run, steps[i]);
        if (s != STATUS_OK) break;
        if (checkpoint_read_state(path, &state) != STATUS_OK) {
            log_warn("checkpoint kept because its state cannot be read  path=%s", path);
            continue;
        }
        if (state.saves % KEEP_TENTH != 0) s = folder_remove(path);
    }
    mem_free(steps);
    return s;
}

int64_t checkpoint_bytes(const model_config *c, bool optimizer) {
    return model_config_parameters(c, NULL) * (optimizer ? 12 : 4) + 65536;
}
