/* convert_command.c - `fathom convert IN OUT`: a checkpoint from one form to another.
 *
 * The form is inferred where the name of OUT says it (.gguf); a folder can be one of two, and which one
 * decides whether blocks of a GGUF file stay as they are, so there it is asked for.
 */
#include "convert/convert.h"

#include "base/command.h"
#include "base/progress.h"
#include "tensor/gguf.h"
#include "tensor/quant.h"

#include <inttypes.h>
#include <string.h>

typedef enum form_choice { FORM_AUTO, FORM_HF, FORM_FATHOM, FORM_GGUF } form_choice;
typedef enum type_choice { TYPE_KEEP, TYPE_F32, TYPE_F16, TYPE_BF16 } type_choice;

typedef struct convert_settings {
    int to, type;
    int64_t max_shard;
    bool force;
} convert_settings;

static const char *const forms[] = {"auto", "hf", "fathom", "gguf", NULL};
static const char *const types[] = {"keep", "f32", "f16", "bf16", NULL};

static const option rows[] = {
    {"convert", "to", OPTION_CHOICE, offsetof(convert_settings, to), "auto",
     "Form of OUT: a folder for other programs (hf), one that keeps the blocks of a GGUF file "
     "(fathom), or a file (gguf); auto goes by the name of OUT.",
     .choices = forms},
    {"convert", "type", OPTION_CHOICE, offsetof(convert_settings, type), "keep",
     "Numbers of the matrices; keep leaves each tensor its own where OUT can hold it.",
     .choices = types},
    {"convert", "max-shard-size", OPTION_SIZE, offsetof(convert_settings, max_shard), "5G",
     "Tensors in one file of a folder, in bytes; 0 = all in one.", 0, 1e15},
    {"convert", "force", OPTION_BOOL, offsetof(convert_settings, force), "false",
     "Replace a model that is at OUT.", .flags = OPTION_FLAG_ONLY},
};
static const option_table options = {rows, sizeof rows / sizeof rows[0], sizeof(convert_settings),
                                     NULL};
static const option_table *const tables[] = {&options, NULL};

static status choose_form(const char *out, int to, convert_form *form) {
    *form = to == FORM_HF ? CONVERT_HF : to == FORM_FATHOM ? CONVERT_FATHOM : CONVERT_GGUF;
    if (to != FORM_AUTO || gguf_is_name(out)) return STATUS_OK;
    return FAIL(F_USAGE, text("which form should %s have?", out), out,
                "a folder can be for other programs, or keep blocks of a GGUF file as they are",
                "add --to hf or --to fathom (or give OUT a name that ends in .gguf)");
}

static status set_result(command_context *c, const convert_report *r) {
    json_t *notes = json_array();
    for (int i = 0; i < r->n_notes; i++)
        (void)json_array_append_new(notes, json_string(r->notes[i]));
    TRY(result_set(c, "tensors", json_integer(r->tensors)));
    TRY(result_set(c, "bytes", json_integer(r->bytes)));
    TRY(result_set(c, "files", json_integer(r->files)));
    TRY(result_set(c, "largest_tensor_bytes", json_integer(r->largest)));
    TRY(result_set(c, "peak_memory_bytes", json_integer(r->peak)));
    TRY(result_set(c, "logits_compared", json_boolean(r->logits_compared)));
    TRY(result_set(c, "greedy_tokens", json_integer(r->n_greedy)));
    TRY(result_set(c, "sample_ids", json_integer(r->ids)));
    TRY(result_set(c, "template_compared", json_boolean(r->template_there)));
    TRY(result_set(c, "seconds", json_real(r->seconds)));
    return result_set(c, "notes", notes);
}

static void tell(const command_context *c, const convert_report *r) {
    say(c, "%d tensors, %s in %d file%s, %s\n", r->tensors, bytes_text((double)r->bytes), r->files,
        r->files == 1 ? "" : "s", duration_text(r->seconds));
    say(c, "read back: every tensor equal, %" PRId64 " ids of sample text equal%s%s\n", r->ids,
        r->template_there ? ", rendered template equal" : ", no chat template",
        r->logits_compared
            ? text(", logits of %d tokens and %d greedy tokens equal", r->n_prompt, r->n_greedy)
            : "");
    say(c, "memory: %s until then, %s before the first tensor; the largest tensor is %s\n",
        bytes_text((double)r->peak), bytes_text((double)r->base), bytes_text((double)r->largest));
}

static status convert_run(command_context *c) {
    const convert_settings *s = c->settings[0];
    const char *in = c->arguments[0], *out = c->arguments[1];
    static const int quant[] = {CONVERT_KEEP, QUANT_F32, QUANT_F16, QUANT_BF16};
    convert_options o = {.type = quant[s->type],
                         .max_shard = s->max_shard,
                         .force = s->force,
                         .plan_only = c->dry_run};
    convert_report r;
    TRY(choose_form(out, s->to, &o.form));
    TRY(convert_model(in, out, &o, &r));
    if (c->dry_run)
        say(c, "would write %d tensors, %s, to %s\n", r.tensors, bytes_text((double)r.bytes), out);
    else
        tell(c, &r);
    for (int i = 0; i < r.n_notes; i++)
        say(c, "note: %s\n", r.notes[i]);
    TRY(set_result(c, &r));
    if (c->dry_run) return STATUS_OK;
    return command_next(c, "fathom chat %s", out);
}

const command convert_command = {
    .name = "convert",
    .summary = "a checkpoint to Hugging Face, GGUF or fathom form, verified",
    .usage = "IN OUT",
    .examples = "fathom convert runs/first first.gguf\n"
                "fathom convert ~/DeepSeek-V2-Lite lite.gguf --type bf16\n"
                "fathom convert model.gguf model --to hf --type bf16\n"
                "fathom convert model.gguf model --to fathom",
    .notes =
        "IN is a run, a folder of weights or a GGUF file. Tensors pass one at a time, so that a\n"
        "model of any size can be converted. What was written is opened again and compared with\n"
        "IN: every tensor, ids of sample text, the rendered template, logits and 64 greedy\n"
        "tokens; only then does it get its name. What each form cannot hold:\n"
        "docs/formats/convert.md.",
    .min_arguments = 2,
    .max_arguments = 2,
    .options = tables,
    .run = convert_run,
    .threads = true,
};
