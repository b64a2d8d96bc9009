/* model_command.c - `fathom model show`: what a folder of published weights holds.
 *
 * config.json and the headers of the files are read, no numbers: what the model is, parameters counted,
 * the memory it would take here, and each tensor with type, shape and bytes. A file that could not be
 * loaded (a tensor missing, extra or of another shape) is named exactly as loading would name it, after
 * the table, which is what one needs to find out why.
 */
#include "app/app.h"

#include "base/memory.h"
#include "model/source.h"

#include <inttypes.h>

typedef struct shown {
    command_context *c;
    model m; /* described only */
    safetensors *file;
} shown;

static const char *shape_text(const safetensors_entry *e) {
    char dims[256] = "";
    size_t at = 0;
    for (int i = 0; i < e->rank && at < sizeof dims; i++)
        at += (size_t)snprintf(dims + at, sizeof dims - at, "%s%" PRId64, i > 0 ? ", " : "",
                               e->dim[i]);
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
    say(s->c, "memory      %.2f GB to run, %.2f GB are free\n\n", (double)bytes / 1e9,
        (double)memory_available() / 1e9);
    return result_set(s->c, "model",
                      json_pack("{s:s, s:I, s:I, s:I}", "family", type, "parameters",
                                (json_int_t)all, "active", (json_int_t)active, "memory_bytes",
                                (json_int_t)bytes));
}

static status show_tensors(const shown *s) {
    int64_t bytes = 0;
    int n = safetensors_count(s->file);
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        const safetensors_entry *e = safetensors_at(s->file, i);
        bytes += (int64_t)e->bytes;
        say(s->c, "%-8s %-20s %12zu  %s\n", e->dtype, shape_text(e), e->bytes, e->name);
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:I}", "name", e->name, "type", e->dtype,
                                        "shape", shape_text(e), "bytes", (json_int_t)e->bytes));
    }
    say(s->c, "%d tensors, %" PRId64 " bytes\n", n, bytes);
    return result_set(s->c, "tensors", list);
}

static status check_tensors(const shown *s, const char *folder) {
    model_part *parts;
    int n;
    TRY(model_parts(&s->m, &parts, &n));
    status result = model_sources(&s->m, s->file, parts, n, folder);
    mem_free(parts);
    if (result == STATUS_OK) say(s->c, "every tensor of the configuration is there, no other\n");
    return result;
}

static status show_run(command_context *c) {
    const char *folder = c->arguments[0];
    shown s = {.c = c};
    model_config config;
    status result;
    TRY(model_config_read(&config, folder));
    TRY_GOTO(result, model_describe(&s.m, &config, DTYPE_F32));
    TRY_GOTO(result, safetensors_open(&s.file, folder));
    TRY_GOTO(result, show_model(&s));
    TRY_GOTO(result, show_tensors(&s));
    result = check_tensors(&s, folder);
done:
    safetensors_close(s.file);
    model_clear(&s.m);
    return result;
}

static const command show_command = {
    .name = "show",
    .summary = "parameters, memory and tensors of a folder of weights",
    .usage = "FOLDER",
    .examples = "fathom model show runs/first/model\nfathom model show ~/DeepSeek-V2-Lite --json",
    .notes = "Only config.json and the headers of the files are read.",
    .min_arguments = 1,
    .max_arguments = 1,
    .run = show_run,
};
static const command *const children[] = {&show_command, NULL};

const command model_command = {
    .name = "model",
    .summary = "what a folder of weights holds",
    .examples = "fathom model show runs/first/model",
    .children = children,
};
