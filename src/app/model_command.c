/* model_command.c - `fathom model show`: what a folder of weights or a GGUF file holds.
 *
 * Configuration and headers are read, no numbers: what the model is, parameters counted, the memory it
 * would take here, each tensor with type, shape and bytes, and the sum of each type. A model that could
 * not be loaded (a tensor missing, extra or of another shape) is named exactly as loading would name it,
 * after the table, which is what one needs to find out why.
 */
#include "app/app.h"

#include "base/file.h"
#include "base/memory.h"
#include "infer/infer.h"
#include "model/model_gguf.h"
#include "model/source.h"

#include <inttypes.h>
#include <string.h>

#define MOST_TYPES 32
typedef struct type_sum {
    const char *type;
    int tensors;
    int64_t bytes;
} type_sum;

typedef struct shown {
    command_context *c;
    model m;             /* described only */
    safetensors *folder; /* one of these */
    gguf *file;
    json_t *list;
    type_sum sums[MOST_TYPES];
    int n_sums;
} shown;

static const char *shape_text(int rank, const int64_t *dim) {
    char dims[256] = "";
    size_t at = 0;
    for (int i = 0; i < rank && at < sizeof dims; i++)
        at +=
            (size_t)snprintf(dims + at, sizeof dims - at, "%s%" PRId64, i > 0 ? ", " : "", dim[i]);
    return text("[%s]", dims);
}

static status show_model(const shown *s) {
    const model_config *c = &s->m.config;
    int64_t active, all = model_config_parameters(c, &active), bytes = model_bytes(&s->m);
    const char *type = model_config_type(c);
    say(s->c, "family      %s, %" PRId64 " layers of width %" PRId64 "\n", type, c->n_layer,
        c->d_model);
    say(s->c, "parameters  %" PRId64 ", %" PRId64 " used per token\n", all, active);
    say(s->c, "vocabulary  %" PRId64 ", context %" PRId64 "\n", c->vocab_size, c->max_position);
    say(s->c, "memory      %.2f GB to run, %.2f GB are free\n", (double)bytes / 1e9,
        (double)memory_available() / 1e9);
    return result_set(s->c, "model",
                      json_pack("{s:s, s:I, s:I, s:I}", "family", type, "parameters",
                                (json_int_t)all, "active", (json_int_t)active, "memory_bytes",
                                (json_int_t)bytes));
}

static void add_sum(shown *s, const char *type, size_t bytes) {
    int i = 0;
    while (i < s->n_sums && strcmp(s->sums[i].type, type) != 0)
        i++;
    if (i == MOST_TYPES) return;
    if (i == s->n_sums) s->sums[s->n_sums++].type = type;
    s->sums[i].tensors++;
    s->sums[i].bytes += (int64_t)bytes;
}

static status show_tensor(shown *s, const char *name, const char *type, int rank,
                          const int64_t *dim, size_t bytes) {
    const char *shape = shape_text(rank, dim);
    say(s->c, "%-8s %-20s %12zu  %s\n", type, shape, bytes, name);
    add_sum(s, type, bytes);
    json_t *row = json_pack("{s:s, s:s, s:s, s:I}", "name", name, "type", type, "shape", shape,
                            "bytes", (json_int_t)bytes);
    if (json_array_append_new(s->list, row) == 0) return STATUS_OK;
    return FAIL(F_NO_MEMORY, "no memory for the table of tensors", name,
                "memory ran out while it was made", "close other programs");
}

/* The type of blocks that end a name in a fathom folder (model/source.h), else the entry's own. */
static const char *entry_type(const safetensors_entry *e) {
    const char *end = strrchr(e->name, '.');
    uint32_t type;
    bool blocks = strcmp(e->dtype, "U8") == 0 && end != NULL && quant_find(end + 1, &type);
    return blocks ? quant_name(type) : e->dtype;
}

static status show_rows(shown *s) {
    for (int i = 0; s->folder != NULL && i < safetensors_count(s->folder); i++) {
        const safetensors_entry *e = safetensors_at(s->folder, i);
        TRY(show_tensor(s, e->name, entry_type(e), e->rank, e->dim, e->bytes));
    }
    for (int i = 0; s->file != NULL && i < gguf_n_tensors(s->file); i++) {
        const gguf_tensor *t = gguf_tensor_at(s->file, i);
        TRY(show_tensor(s, t->name, quant_name(t->type), t->rank, t->dim, t->bytes));
    }
    return STATUS_OK;
}

static status show_sums(shown *s) {
    json_t *types = json_object();
    int64_t bytes = 0;
    int tensors = 0, failed = 0;
    for (int i = 0; i < s->n_sums; i++) {
        const type_sum *t = &s->sums[i];
        say(s->c, "%-8s %d tensors, %" PRId64 " bytes\n", t->type, t->tensors, t->bytes);
        failed |= json_object_set_new(
            types, t->type,
            json_pack("{s:i, s:I}", "tensors", t->tensors, "bytes", (json_int_t)t->bytes));
        bytes += t->bytes;
        tensors += t->tensors;
    }
    say(s->c, "%d tensors, %" PRId64 " bytes\n", tensors, bytes);
    if (failed != 0) {
        json_decref(types);
        types = NULL; /* which result_set reports */
    }
    return result_set(s->c, "types", types);
}

static status show_tensors(shown *s) {
    s->list = json_array();
    TRY(result_set(s->c, "tensors", s->list)); /* filled where it is */
    say(s->c, "\n");
    TRY(show_rows(s));
    say(s->c, "\n");
    return show_sums(s);
}

static status check_folder(const shown *s, const char *path) {
    model_part *parts;
    int n;
    TRY(model_parts(&s->m, &parts, &n));
    status result = model_sources(&s->m, s->folder, parts, n, path);
    mem_free(parts);
    return result;
}

static status check_file(const shown *s) {
    gguf_place *places;
    int n;
    TRY(model_gguf_places(&s->m, &places, &n));
    status result = model_gguf_check(&s->m, s->file, places, n);
    mem_free(places);
    return result;
}

static status describe(shown *s, const char *path) {
    model_config config;
    if (path_is_folder(path)) {
        TRY(safetensors_open(&s->folder, path));
        return model_describe_folder(&s->m, path, s->folder);
    }
    TRY(gguf_open(&s->file, path));
    TRY(model_config_from_gguf(&config, s->file));
    return model_describe(&s->m, &config, DTYPE_F32);
}

static status show_run(command_context *c) {
    char path[PATH_SIZE];
    shown s = {.c = c};
    status result;
    TRY(bundle_find(path, c->arguments[0]));
    TRY_GOTO(result, describe(&s, path));
    TRY_GOTO(result, show_model(&s));
    TRY_GOTO(result, show_tensors(&s));
    result = s.folder != NULL ? check_folder(&s, path) : check_file(&s);
    if (result == STATUS_OK) say(c, "every tensor of the configuration is there, no other\n");
done:
    safetensors_close(s.folder);
    gguf_close(s.file);
    model_clear(&s.m);
    return result;
}

static const command show_command = {
    .name = "show",
    .summary = "parameters, memory and tensors of a run, a folder of weights or a GGUF file",
    .usage = "MODEL",
    .examples = "fathom model show runs/first\nfathom model show model.gguf\n"
                "fathom model show ~/DeepSeek-V2-Lite --json",
    .notes = "Only the configuration and the headers of the files are read.",
    .min_arguments = 1,
    .max_arguments = 1,
    .run = show_run,
};
static const command *const children[] = {&show_command, NULL};

const command model_command = {
    .name = "model",
    .summary = "what a folder of weights or a GGUF file holds",
    .examples = "fathom model show runs/first/model",
    .children = children,
};
