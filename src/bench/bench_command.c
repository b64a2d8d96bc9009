/* bench_command.c - `fathom bench WHAT`: numbers as ratios to floors measured in the same run.
 *
 * Every benchmark prints the same rows {name, tier, threads, value, unit, floor, ratio}; with --json
 * they are result.rows. `train` trains a preset on random bytes in a temporary folder and compares
 * its rate with the step model (step_model.h) and with the peak of the arithmetic.
 */
#include "bench/bench.h"

#include "base/file.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/progress.h"
#include "bench/bench_chat.h"
#include "bench/bench_equal_loss.h"
#include "bench/bench_folder.h"
#include "bench/bench_loop.h"
#include "bench/bench_moe.h"
#include "bench/bench_page.h"
#include "bench/bench_recompute.h"
#include "bench/bench_tokenizer.h"
#include "bench/step_model.h"
#include "kernels/kernels_bench.h"
#include "model/presets.h"
#include "train/plan.h"

#include <string.h>

typedef struct bench_settings {
    const char *size, *page, *input, *tokenizer, *model;
    int64_t seq_len, batch_tokens;
    int64_t pairs, runs;
    double seconds;
    int precision;
} bench_settings;

static const char *const precisions[] = {"both", "f32", "bf16", "bf16-dot", NULL};
static const option rows[] = {
    {"bench", "size", OPTION_STRING, offsetof(bench_settings, size), "f-15m",
     "Models of `bench train`, recipes of `bench loop` and `bench contention`, with commas between "
     "them (fathom config presets).",
     .value = "SIZE,..."},
    {"bench", "page", OPTION_STRING, offsetof(bench_settings, page), "",
     "Also write the rows as a page of Markdown to this file.", .value = "FILE"},
    {"bench", "seq-len", OPTION_COUNT, offsetof(bench_settings, seq_len), "512", "Tokens in a row.",
     8, 1e6},
    {"bench", "batch-tokens", OPTION_COUNT, offsetof(bench_settings, batch_tokens), "16384",
     "Tokens of a step.", 8, 1e9},
    {"bench", "seconds", OPTION_DURATION, offsetof(bench_settings, seconds), "10s",
     "Time for measuring whole steps, for each precision; twice that for a run of `bench loop`, "
     "three times for `bench contention`.",
     0.1, 3600},
    {"bench", "pairs", OPTION_COUNT, offsetof(bench_settings, pairs), "7",
     "Steps of each model that takes turns with others: `bench moe`, --recompute in `bench train`.",
     1, 64},
    {"bench", "runs", OPTION_COUNT, offsetof(bench_settings, runs), "1",
     "Runs of `bench loop` for each recipe, each planned anew; the median counts.", 1, 9},
    {"bench", "precision", OPTION_CHOICE, offsetof(bench_settings, precision), "both",
     "Products in f32, bf16 or bf16-dot; both = f32 and the faster of the other two.",
     .choices = precisions},
    {"bench", "input", OPTION_STRING, offsetof(bench_settings, input), "",
     "Files for `bench tokenizer`, with commas between them; without it, text made by the "
     "program. The text of `bench moe --equal-loss`, one file."},
    {"bench", "tokenizer", OPTION_STRING, offsetof(bench_settings, tokenizer), "",
     "Tokenizer to encode with; without it, the one that the benchmark trains."},
    {"bench", "model", OPTION_STRING, offsetof(bench_settings, model), "",
     "Model of `bench chat`: a folder or a GGUF file.", .value = "MODEL"},
};
static const option_table bench_options = {rows, sizeof rows / sizeof rows[0],
                                           sizeof(bench_settings), NULL};
static const option_table *const tables[] = {&bench_options, NULL};

typedef struct moe_settings {
    bool equal_loss;
    const char *data, *folder;
    int64_t tokens, seeds;
    double minutes;
} moe_settings;

static const option moe_rows_of_options[] = {
    {"moe", "equal-loss", OPTION_BOOL, offsetof(moe_settings, equal_loss), "no",
     "Train the size with experts and its dense twin from several seeds, and compare the times to "
     "the same validation loss."},
    {"moe", "data", OPTION_STRING, offsetof(moe_settings, data), "",
     "Dataset of --equal-loss, instead of --input.", .value = "DATASET"},
    {"moe", "runs-folder", OPTION_STRING, offsetof(moe_settings, folder), "runs/moe",
     "Where --equal-loss keeps its runs; the same command goes on with them.", .value = "FOLDER"},
    {"moe", "tokens", OPTION_COUNT, offsetof(moe_settings, tokens), "3M",
     "Tokens of each run of --equal-loss.", 1e5, 1e15},
    {"moe", "seeds", OPTION_COUNT, offsetof(moe_settings, seeds), "3",
     "Seeds of --equal-loss, each for both models.", 1, EQUAL_LOSS_SEEDS},
    {"moe", "minutes", OPTION_REAL, offsetof(moe_settings, minutes), "0",
     "Time for this call of --equal-loss; all runs advance together, so what is there when it is "
     "over can be compared. 0 = until all tokens are trained.",
     0, 1e6},
};
static const option_table moe_options = {moe_rows_of_options,
                                         sizeof moe_rows_of_options / sizeof moe_rows_of_options[0],
                                         sizeof(moe_settings), NULL};
static const option_table *const moe_tables[] = {&bench_options, &moe_options, NULL};

static json_t *row_json(const bench_row *r) {
    return json_pack("{s:s, s:s, s:i, s:f, s:s, s:f, s:f}", "name", r->name, "tier",
                     tier_name(r->tier), "threads", r->threads, "value", r->value, "unit", r->unit,
                     "floor", r->floor, "ratio", r->ratio);
}

static status print_rows(command_context *c, const bench_table *t) {
    json_t *all = json_array();
    if (all == NULL)
        return FAIL(F_NO_MEMORY, "no memory for the rows", "bench",
                    "memory ran out while they were listed", "close other programs, run it again");
    say(c, "%-46s %-8s %3s %12s %-10s %12s %6s\n", "name", "tier", "thr", "value", "unit", "floor",
        "ratio");
    for (int i = 0; i < t->n; i++) {
        const bench_row *r = &t->rows[i];
        if (r->floor > 0)
            say(c, "%-46s %-8s %3d %12s %-10s %12s %6.2f\n", r->name, tier_name(r->tier),
                r->threads, bench_number(r->value), r->unit, bench_number(r->floor), r->ratio);
        else
            say(c, "%-46s %-8s %3d %12s %s\n", r->name, tier_name(r->tier), r->threads,
                bench_number(r->value), r->unit);
        if (json_array_append_new(all, row_json(r)) != 0) {
            json_decref(all);
            return FAIL(F_NO_MEMORY, "no memory for the rows", "bench",
                        "memory ran out while they were listed",
                        "close other programs, run it again");
        }
    }
    return result_set(c, "rows", all);
}

static status train_settings_of(train_settings *t, const bench_settings *o, const char *size,
                                const bench_folder *paths, gemm_type type) {
    const model_preset *preset = model_preset_find(size);
    if (preset == NULL)
        return FAIL(F_BAD_VALUE, text("unknown size \"%s\"", size), "--size",
                    "it is not one of the presets", "fathom config presets lists them");
    TRY(train_settings_defaults(t));
    t->run = paths->run;
    t->input = paths->bytes;
    t->size = size;
    t->vocab_size = preset->config.vocab_size;
    t->seq_len = o->seq_len;
    t->batch_tokens = o->batch_tokens;
    t->max_steps = 1000;
    t->precision = type == GEMM_BF16       ? PRECISION_BF16
                   : type == GEMM_BF16_DOT ? PRECISION_BF16_DOT
                                           : PRECISION_F32;
    return STATUS_OK;
}

static status train_rows(const bench_settings *o, const char *size, const bench_folder *paths,
                         gemm_type type, bench_table *t) {
    train_settings s;
    train_plan plan;
    step_model step;
    double rate, peak;
    TRY(train_settings_of(&s, o, size, paths, type));
    TRY(plan_make(&s, 0, &plan));
    int64_t sequences = plan.batch_tokens / plan.seq_len;
    step_shape shape = {.seq_len = plan.seq_len,
                        .micro_rows = plan.micro_batch,
                        .micro_batches = sequences / plan.micro_batch,
                        .lanes = plan.lanes,
                        .products = type};
    TRY(step_model_measure(&plan.model, &shape, &step));
    TRY(train_measure(&s, o->seconds, &rate));
    TRY(bench_peak(type, pool_threads(), &peak));
    double ceiling = (double)plan.batch_tokens / step.seconds;
    double gflops = rate * model_config_flops_per_token(&plan.model, plan.seq_len) / 1e9;
    log_info(
        "step model of %s in %s: products %.2f s, attention %.2f s, rows %.2f s, update %.2f s",
        size, gemm_type_name(type), step.products, step.attention, step.elementwise,
        step.optimiser);
    const char *kind = gemm_type_name(type);
    TRY(bench_table_put(t, text("train/model %s %s", size, kind), rate, "tokens/s", ceiling));
    return bench_table_put(t, text("train/peak %s %s", size, kind), gflops, "GFLOP/s", peak);
}

/* What is measured with one precision, on the random bytes at `paths`. */
typedef status precision_fn(const bench_settings *o, const char *size, const bench_folder *paths,
                            gemm_type type, bench_table *t);

/* `fn` in each of the wanted precisions, in a folder of its own. */
static status each_precision(const bench_settings *o, const char *size, precision_fn *fn,
                             bench_table *t) {
    static bench_folder p; /* too large for the stack of a command */
    TRY(bench_folder_make(&p));
    status s = STATUS_OK;
    static const gemm_type types[] = {GEMM_F32, GEMM_BF16, GEMM_BF16_DOT};
    gemm_type faster = kernels_tier() == TIER_AMX ? GEMM_BF16 : GEMM_BF16_DOT;
    for (int i = 0; s == STATUS_OK && i < 3; i++)
        if (o->precision == 0 ? i == 0 || types[i] == faster : o->precision == i + 1)
            s = fn(o, size, &p, types[i], t);
    bench_folder_remove(&p);
    return s;
}

static status moe_rows(const bench_settings *o, const char *size, const bench_folder *paths,
                       gemm_type type, bench_table *t) {
    train_settings s;
    TRY(train_settings_of(&s, o, size, paths, type));
    return bench_moe(&s, gemm_type_name(type), (int)o->pairs, t);
}

#define ADAMW_BYTES 28 /* per parameter: gradient, weight and two moments read, three written */

/* AdamW against the traffic of a copy; Muon's products make it a multiple of that. */
static status optimiser_rows(const bench_settings *o, const char *size, const bench_folder *paths,
                             gemm_type type, bench_table *t) {
    train_settings s;
    double adamw, muon, traffic, budget = o->seconds / 5;
    int64_t parameters;
    TRY(train_settings_of(&s, o, size, paths, type));
    TRY(train_measure_update(&s, budget, &adamw, &parameters));
    s.optimiser = OPTIMISER_MUON;
    TRY(train_measure_update(&s, budget, &muon, &parameters));
    TRY(bench_traffic(0.3, &traffic));
    const char *kind = gemm_type_name(type);
    TRY(bench_table_put(t, text("optimizer/adamw %s %s", size, kind),
                        1e-9 * ADAMW_BYTES * (double)parameters / adamw, "GB/s", 1e-9 * traffic));
    TRY(bench_table_put(t, text("optimizer/muon %s %s", size, kind), 1e3 * muon, "ms", 0));
    return bench_table_put(t, text("optimizer/muon over adamw %s %s", size, kind), muon / adamw,
                           "times", 0);
}

static status recompute_rows(const bench_settings *o, const char *size, const bench_folder *paths,
                             gemm_type type, bench_table *t) {
    train_settings s;
    TRY(train_settings_of(&s, o, size, paths, type));
    return bench_recompute(&s, gemm_type_name(type), (int)o->pairs, t);
}

static status train_size(const char *size, void *context, bench_table *t) {
    TRY(each_precision(context, size, train_rows, t));
    TRY(each_precision(context, size, optimiser_rows, t));
    return each_precision(context, size, recompute_rows, t);
}

/* The call again, as somebody else would give it: flags by name, files without their folders. */
static void call_line(const command_context *c, char *out, size_t room) {
    size_t used = (size_t)snprintf(out, room, "fathom %s", c->name);
    for (int i = 0; i < bench_options.n && used < room; i++) {
        const option *row = &rows[i];
        option_layer layer;
        option_set_origin(c->options, row, &layer);
        if (layer == LAYER_BUILT_IN) continue;
        const char *value = option_value_text(row, c->settings[0]);
        if (strchr(value, ',') == NULL) value = path_name(value);
        used += (size_t)snprintf(out + used, room - used, " --%s %s", row->name, value);
    }
}

static status write_page(command_context *c, const bench_table *t) {
    const bench_settings *o = c->settings[0];
    if (o->page[0] == '\0') return STATUS_OK;
    char line[ERROR_PART];
    call_line(c, line, sizeof line);
    TRY(bench_page_write(o->page, t, line));
    say(c, "wrote %s\n", o->page);
    return result_set(c, "page", json_string(o->page));
}

static status run_what(command_context *c, bool floors, bool products, bool elements, bool train,
                       bool tokens) {
    if (c->dry_run) {
        say(c, "would measure for about %d s\n",
            12 * floors + 30 * products + 10 * elements + 40 * train + 10 * tokens);
        return STATUS_OK;
    }
    bench_table t = {0};
    status s = STATUS_OK;
    if (floors) s = bench_floors(&t);
    if (s == STATUS_OK && products) s = bench_gemm(&t);
    if (s == STATUS_OK && elements) s = bench_elementwise(&t);
    bench_settings *o = c->settings[0];
    if (s == STATUS_OK && tokens) s = bench_tokenizer(o->tokenizer, o->input, &t);
    if (s == STATUS_OK && train) s = bench_each(o->size, train_size, o, &t);
    if (s == STATUS_OK) s = print_rows(c, &t);
    if (s == STATUS_OK && c->settings[0] != NULL) s = write_page(c, &t);
    bench_table_clear(&t);
    return s;
}

static status run_floors(command_context *c) {
    return run_what(c, true, false, false, false, false);
}
static status run_gemm(command_context *c) {
    return run_what(c, false, true, false, false, false);
}
static status run_elements(command_context *c) {
    return run_what(c, false, false, true, false, false);
}
static status run_train(command_context *c) {
    return run_what(c, false, false, false, true, false);
}
static status run_tokenizer(command_context *c) {
    return run_what(c, false, false, false, false, true);
}
static status run_all(command_context *c) {
    return run_what(c, true, true, true, true, true);
}

static status run_equal_loss(const bench_settings *o, const moe_settings *m, bench_table *t) {
    static const train_precision precisions_of[] = {PRECISION_AUTO, PRECISION_F32, PRECISION_BF16,
                                                    PRECISION_BF16_DOT};
    equal_loss_options e = {.size = o->size,
                            .data = m->data[0] != '\0' ? m->data : NULL,
                            .input = o->input[0] != '\0' ? o->input : NULL,
                            .folder = m->folder,
                            .tokens = m->tokens,
                            .seeds = (int)m->seeds,
                            .seconds = 60 * m->minutes,
                            .precision = precisions_of[o->precision]};
    return bench_equal_loss(&e, t);
}

static status run_moe(command_context *c) {
    bench_table t = {0};
    const moe_settings *m = c->settings[1];
    if (c->dry_run) {
        if (m->equal_loss)
            say(c, "would train %d runs of %s tokens in %s\n", 2 * (int)m->seeds,
                count_text(m->tokens), m->folder);
        else
            say(c, "would measure for about 30 s\n");
        return STATUS_OK;
    }
    status s = m->equal_loss ? run_equal_loss(c->settings[0], m, &t)
                             : each_precision(c->settings[0], "f-15m", moe_rows, &t);
    if (s == STATUS_OK) s = print_rows(c, &t);
    if (s == STATUS_OK) s = write_page(c, &t);
    bench_table_clear(&t);
    return s;
}

static status run_chat(command_context *c) {
    const bench_settings *o = c->settings[0];
    bench_table t = {0};
    if (c->dry_run) {
        say(c, "would load %s and answer for a few seconds\n", o->model);
        return STATUS_OK;
    }
    status s = bench_chat(o->model, &t);
    if (s == STATUS_OK) s = print_rows(c, &t);
    if (s == STATUS_OK) s = write_page(c, &t);
    bench_table_clear(&t);
    return s;
}

/* A benchmark of its own, over the recipes of --size. */
static status run_recipes(command_context *c, double share,
                          status (*fn)(const char *names, double seconds, int runs,
                                       bench_table *t)) {
    const bench_settings *o = c->settings[0];
    bench_table t = {0};
    if (c->dry_run) {
        say(c, "would measure for about %.0f s for each recipe\n",
            (double)o->runs * (share * o->seconds + 10));
        return STATUS_OK;
    }
    status s = fn(o->size, share * o->seconds, (int)o->runs, &t);
    if (s == STATUS_OK) s = print_rows(c, &t);
    if (s == STATUS_OK) s = write_page(c, &t);
    bench_table_clear(&t);
    return s;
}

static status run_loop(command_context *c) {
    return run_recipes(c, 2, bench_loop);
}
static status contention_of(const char *names, double seconds, int runs, bench_table *t) {
    (void)runs; /* it takes turns anyway */
    return bench_contention(names, seconds, t);
}

static status run_contention(command_context *c) {
    return run_recipes(c, 3, contention_of);
}

static const command floors_command = {.name = "floors",
                                       .summary =
                                           "what this machine can do: bandwidth, peaks, hand-off",
                                       .examples = "fathom bench floors --json",
                                       .run = run_floors,
                                       .threads = true};
static const command gemm_command = {
    .name = "gemm",
    .summary = "matrix products of training and decoding against the peak",
    .examples = "fathom bench gemm",
    .run = run_gemm,
    .threads = true};
static const command elements_command = {.name = "rows",
                                         .summary = "element-wise kernels and attention",
                                         .examples = "fathom bench rows",
                                         .run = run_elements,
                                         .threads = true};
static const command train_bench_command = {
    .name = "train",
    .summary = "whole training steps against the sum of their kernels; optimisers, recomputation",
    .examples =
        "fathom bench train --size f-15m\nfathom bench train --size dense-12x768 --precision f32",
    .options = tables,
    .run = run_train,
    .threads = true};
static const command tokenizer_bench_command = {
    .name = "tokenizer",
    .summary = "encoding, hostile text, and training a vocabulary",
    .examples = "fathom bench tokenizer\n"
                "fathom bench tokenizer --input prose.txt,code.c --tokenizer runs/first",
    .options = tables,
    .run = run_tokenizer,
    .threads = true};
static const command chat_bench_command = {
    .name = "chat",
    .summary = "from a model on disk to its first token, and the rate of the next ones",
    .examples = "fathom bench chat --model runs/first\nfathom bench chat --model model.gguf",
    .options = tables,
    .run = run_chat,
    .threads = true};
static const command moe_command = {
    .name = "moe",
    .summary = "steps of a mixture of experts beside dense ones of equal active FLOPs",
    .examples = "fathom bench moe\nfathom bench moe --precision f32 --pairs 15\n"
                "fathom bench moe --equal-loss --size f-1m --input input.txt --minutes 12",
    .options = moe_tables,
    .run = run_moe,
    .threads = true};
static const command loop_bench_command = {
    .name = "loop",
    .summary = "a whole run against its plan, and what it does beside its steps",
    .examples = "fathom bench loop --size f-5m\n"
                "fathom bench loop --size f-1m,f-5m,f-15m,shakespeare-char --runs 3",
    .options = tables,
    .run = run_loop,
    .threads = true};
static const command contention_bench_command = {
    .name = "contention",
    .summary = "training beside one and two processes that keep a CPU busy",
    .examples = "fathom bench contention --size f-5m",
    .options = tables,
    .run = run_contention,
    .threads = true};
static const command all_command = {.name = "all",
                                    .summary = "floors, gemm, rows, tokenizer and train",
                                    .examples = "fathom bench all --json\n"
                                                "fathom bench all --size f-5m,f-15m --page "
                                                "performance.md",
                                    .options = tables,
                                    .run = run_all,
                                    .threads = true};
static const command *const children[] = {&floors_command,
                                          &gemm_command,
                                          &elements_command,
                                          &train_bench_command,
                                          &tokenizer_bench_command,
                                          &chat_bench_command,
                                          &moe_command,
                                          &loop_bench_command,
                                          &contention_bench_command,
                                          &all_command,
                                          NULL};

const command bench_command = {
    .name = "bench",
    .summary = "measure this machine and this program on it",
    .examples = "fathom bench floors\nfathom bench gemm --json\nfathom bench train --size f-15m",
    .notes = "Ratios are to floors of the same run. Run it on a quiet machine.",
    .children = children,
};
