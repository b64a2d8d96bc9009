/* settings.c - the option rows of training, their checks, and what a run folder remembers.
 *
 * How: one row per setting (base/options.h) feeds flags, files, help and config.ini. Values that
 * depend on others (batch by model size, steps by minutes) are 0 or -1 until they are fixed here,
 * before step 1, and are then written into config.ini; from there on that file has them.
 *
 * Continuing compares by row. Three classes: free (lengths, looks, saves: they cannot change what
 * is already trained, and the weights of a given length do not depend on them), rates (they change
 * what comes; only with accept_changes), fixed (the model: weights of another shape; the optimiser:
 * state of another meaning).
 *
 * Mind: max_steps ends the schedule unless schedule_steps does, so a longer second part moves the
 * decay; that is said in the log.
 */
#include "train/settings.h"

#include "train/train.h"

#include "base/file.h"
#include "base/log.h"
#include "kernels/kernels.h"
#include "model/presets.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const char *const schedules[] = {
    "wsd", "cosine", "linear", "constant", "cosine-restarts", "deepseek-v3", NULL};
static const char *const optimisers[] = {"adamw", "muon", NULL};
static const char *const precisions[] = {"auto", "f32", "bf16", "bf16-dot", NULL};
static const char *const besides[] = {"auto", "no", "yes", NULL};
static const char *const recomputes[] = {"none", "selective", "full", NULL};
static const char *const resumes[] = {"auto", "no", "yes", NULL};

#define AT(field) offsetof(train_settings, field)
static const option rows[] = {
    {"train", "run", OPTION_STRING, AT(run), NULL, "Run folder; the same command continues it.",
     .flags = OPTION_FLAG_ONLY, .value = "RUN"},
    {"train", "data", OPTION_STRING, AT(data), NULL,
     "Dataset folder made by `fathom data tokenize`.", .value = "DATASET"},
    {"train", "input", OPTION_STRING, AT(input), NULL,
     "One file taken as bytes (vocabulary 256); its last 10 % are validated whole.",
     .value = "FILE"},
    {"train", "preset", OPTION_STRING, AT(preset), NULL, "Recipe to start from.",
     .flags = OPTION_PRESET, .value = "PRESET"},
    {"train", "max-steps", OPTION_COUNT, AT(max_steps), "0",
     "Updates in all; 0 = decided by --tokens or --minutes.", 0, 1e12},
    {"train", "tokens", OPTION_COUNT, AT(tokens), "0", "Tokens in all; becomes max-steps.", 0,
     1e18},
    {"train", "minutes", OPTION_REAL, AT(minutes), "0",
     "Time to spend; a short measurement turns it into max-steps before step 1.", 0, 1e7},
    {"train", "schedule-steps", OPTION_COUNT, AT(schedule_steps), "0",
     "Step at which the learning-rate schedule ends; 0 = max-steps.", 0, 1e12},
    {"train", "seq-len", OPTION_COUNT, AT(seq_len), "0",
     "Tokens of a row; 0 = 256, or the size's context if that is less.", 0, 16777216},
    {"train", "batch-tokens", OPTION_COUNT, AT(batch_tokens), "0",
     "Tokens of an update, a multiple of seq-len; 0 = by the size of the model.", 0, 1e9},
    {"train", "grad-lanes", OPTION_INT, AT(grad_lanes), "8",
     "Parts of a batch whose gradients are summed by a fixed tree.", 1, 1024},
    {"train", "micro-batch", OPTION_INT, AT(micro_batch), "0",
     "Rows of one forward; 0 = chosen by memory and recorded.", 0, 1e6},
    {"train", "learning-rate", OPTION_REAL, AT(learning_rate), "0",
     "Peak learning rate; 0 = by the size of the model.", 0, 10},
    {"train", "min-learning-rate", OPTION_REAL, AT(min_learning_rate), "0", "Where the decay ends.",
     0, 10},
    {"train", "warmup-steps", OPTION_INT64, AT(warmup_steps), "-1",
     "Steps of linear warm-up; -1 = 2 % of all, at most 200.", -1, 1e9},
    {"train", "schedule", OPTION_CHOICE, AT(schedule), "wsd", "Learning rate after the warm-up.",
     .choices = schedules},
    {"train", "decay-share", OPTION_REAL, AT(decay_share), "0.2",
     "Last part of a wsd schedule, in which the rate falls.", 0, 1},
    {"train", "restart-period", OPTION_COUNT, AT(restart_period), "0",
     "cosine-restarts: steps of the first cycle; 0 = three cycles fill the schedule.", 0, 1e12},
    {"train", "restart-growth", OPTION_REAL, AT(restart_growth), "2",
     "cosine-restarts: length of each cycle over the one before.", 1, 1000},
    {"train", "hold-until", OPTION_REAL, AT(hold_until), "0.6757",
     "deepseek-v3: share of the schedule at which the decay begins.", 0, 1},
    {"train", "plateau-from", OPTION_REAL, AT(plateau_from), "0.9662",
     "deepseek-v3: share at which the decay ends.", 0, 1},
    {"train", "final-from", OPTION_REAL, AT(final_from), "0.9887",
     "deepseek-v3: share at which the last rate begins.", 0, 1},
    {"train", "plateau-rate", OPTION_REAL, AT(plateau_rate), "0.1",
     "deepseek-v3: rate after the decay, as a share of the peak.", 0, 1},
    {"train", "final-rate", OPTION_REAL, AT(final_rate), "0.0332",
     "deepseek-v3: last rate, as a share of the peak.", 0, 1},
    {"train", "optimizer", OPTION_CHOICE, AT(optimiser), "adamw",
     "muon: matrices of hidden layers by orthogonalised momentum, the rest by AdamW.",
     .choices = optimisers},
    {"train", "muon-momentum", OPTION_REAL, AT(muon_momentum), "0.95",
     "Muon: share of the momentum that stays.", 0, 0.9999999},
    {"train", "beta1", OPTION_REAL, AT(beta1), "0.9", "AdamW: memory of the mean.", 0, 0.9999999},
    {"train", "beta2", OPTION_REAL, AT(beta2), "0.95", "AdamW: memory of the square.", 0,
     0.9999999},
    {"train", "epsilon", OPTION_REAL, AT(epsilon), "1e-8", "AdamW: added to the root.", 1e-30, 1},
    {"train", "weight-decay", OPTION_REAL, AT(weight_decay), "0.1",
     "Decay of matrices per unit of rate.", 0, 100},
    {"train", "grad-clip", OPTION_REAL, AT(grad_clip), "1",
     "Largest gradient norm; 0 = no clipping.", 0, 1e9},
    {"train", "dropout", OPTION_REAL, AT(dropout), "0",
     "Share of activations and attention weights that a training step drops.", 0, 0.9},
    {"train", "balance-rate", OPTION_REAL, AT(balance_rate), "0.001",
     "Step of the router bias that balances experts.", 0, 1},
    {"train", "mtp-weight", OPTION_REAL, AT(mtp_weight), "0.3", "Weight of the second-token loss.",
     0, 10},
    {"train", "precision", OPTION_CHOICE, AT(precision), "auto",
     "Products in f32, bf16 (as AMX adds) or bf16-dot (as AVX512_BF16 adds); auto = the fastest "
     "here, "
     "recorded.",
     .choices = precisions},
    {"train", "recompute", OPTION_CHOICE, AT(recompute), "none",
     "What backward computes again: none, selective (what is cheap) or full (blocks).",
     .choices = recomputes},
    {"train", "train-seed", OPTION_SEED, AT(seed), "1",
     "Seed of weights and order; --seed sets it.", .flags = OPTION_HIDDEN},
    {"train", "eval-every", OPTION_INT64, AT(eval_every), "-1",
     "Steps between validations; 0 = only at the end, -1 = 20 in all.", -1, 1e12},
    {"train", "eval-tokens", OPTION_COUNT, AT(eval_tokens), "0",
     "Validation tokens to look at, spread evenly; 0 = all.", 0, 1e18},
    {"train", "sample-every", OPTION_INT64, AT(sample_every), "-1",
     "Steps between samples; 0 = never, -1 = 8 in all.", -1, 1e12},
    {"train", "sample-prompt", OPTION_STRING, AT(sample_prompt), "The", "What samples continue."},
    {"train", "save-every", OPTION_EVERY, AT(save_every), "2min",
     "Steps (100) or time (2min) between checkpoints."},
    {"train", "checkpoint-async", OPTION_CHOICE, AT(checkpoint_async), "auto",
     "Write checkpoints while training goes on, from a copy of the state; auto = if it fits.",
     .choices = besides},
    {"train", "tensorboard", OPTION_BOOL, AT(tensorboard), "yes",
     "Write the metrics as a TensorBoard event file, too."},
    {"train", "resume", OPTION_CHOICE, AT(resume), "auto",
     "Continue the run in the folder: auto, yes (it must be there) or no: begin again, with its "
     "settings where this call gives none, unless it names a preset or a size.",
     .choices = resumes, .flags = OPTION_FLAG_ONLY},
    {"train", "accept-changes", OPTION_BOOL, AT(accept_changes), "no",
     "Continue although rates or batch differ from the run's.", .flags = OPTION_FLAG_ONLY},
    {"train", "profile", OPTION_BOOL, AT(profile), "no",
     "Time, FLOP/s and bytes/s of every op as a table, and a Chrome trace in the run folder.",
     .flags = OPTION_FLAG_ONLY},
    {"train", "profile-steps", OPTION_COUNT, AT(profile_steps), "10",
     "Steps to profile; they begin with the second of this call.", 1, 1e6,
     .flags = OPTION_FLAG_ONLY},
    {"train", "disk-wait", OPTION_DURATION, AT(disk_wait_seconds), "10min",
     "How long a checkpoint waits for a full disk."},
    {"model", "size", OPTION_STRING, AT(size), "",
     "Name of a model size: f-1m, f-5m, f-15m, f-50m ...", .value = "SIZE"},
    {"model", "vocab-size", OPTION_INT64, AT(vocab_size), "0", "0 = that of the data.", 0, 1e8},
    {"model", "d-model", OPTION_INT64, AT(d_model), "0",
     "Width; 0 here and below = the size's own.", 0, 1e6},
    {"model", "n-layer", OPTION_INT64, AT(n_layer), "0", "Layers.", 0, 10000},
    {"model", "d-ff", OPTION_INT64, AT(d_ff), "0", "Width of dense feed-forward blocks.", 0, 1e7},
    {"model", "n-head", OPTION_INT, AT(n_head), "0", "Query heads.", 0, 4096},
    {"model", "n-kv-head", OPTION_INT, AT(n_kv_head), "0", "Key heads (dense models).", 0, 4096},
    {"model", "head-dim", OPTION_INT, AT(head_dim), "0", "Width of a head (dense models).", 0,
     4096},
    {"model", "n-expert", OPTION_INT, AT(n_expert), "0", "Routed experts of a layer.", 0, 65536},
    {"model", "n-expert-used", OPTION_INT, AT(n_expert_used), "0", "Experts a token is sent to.", 0,
     1024},
    {"model", "n-shared-expert", OPTION_INT, AT(n_shared_expert), "0", "Experts every token uses.",
     0, 64},
    {"model", "d-expert", OPTION_INT64, AT(d_expert), "0", "Width of an expert.", 0, 1e6},
    {"model", "n-mtp", OPTION_INT, AT(n_mtp), "0", "Second-token heads: 0 or 1.", 0, 1},
    {"model", "context", OPTION_INT64, AT(context), "0",
     "Longest text; 0 = the larger of seq-len and the size's own.", 0, 1e9},
    {"model", "init-std", OPTION_REAL, AT(init_std), "0", "Deviation of fresh weights.", 0, 1},
};
#define N_ROWS ((int)(sizeof rows / sizeof *rows))

const option_table train_options = {rows, N_ROWS, sizeof(train_settings), train_recipes};
static const option_table *const tables[] = {&train_options};

/* -- reading and writing -- */

status train_settings_defaults(train_settings *s) {
    *s = (train_settings){0};
    return options_defaults(&train_options, s);
}

status train_recipe_apply(train_settings *s, const char *name, arena *strings) {
    const option_preset *recipe = option_preset_find(&train_options, name);
    const option *row = option_find(&train_options, "train", "preset");
    if (recipe == NULL) {
        const char *names[32];
        int n = 0;
        for (; n < 32 && train_recipes[n].name != NULL; n++)
            names[n] = train_recipes[n].name;
        int near = word_nearest(name, names, n);
        return FAIL(F_BAD_VALUE, text("there is no recipe \"%s\"", name),
                    text("train.%s", row->name),
                    near >= 0 ? text("the nearest name is \"%s\"", names[near]) : "no name is near",
                    "fathom config presets lists them");
    }
    void *blocks[] = {s};
    TRY(options_read(tables, blocks, 1, recipe->name, recipe->ini, strings));
    s->preset = recipe->name;
    return STATUS_OK;
}

status train_settings_write(const train_settings *s, const char *path) {
    train_settings copy = *s;
    void *blocks[] = {&copy};
    char *ini;
    TRY(options_write(tables, blocks, 1, false, &ini));
    status result = file_write(path, ini, strlen(ini));
    mem_free(ini);
    return result;
}

status train_settings_read(train_settings *s, const char *path, arena *strings) {
    char *ini;
    size_t n;
    void *blocks[] = {s};
    TRY(file_read(path, 1 << 20, &ini, &n));
    status result = options_read(tables, blocks, 1, path, ini, strings);
    mem_free(ini);
    return result;
}

/* -- continuing a run -- */

typedef enum change_class { CHANGE_FREE, CHANGE_RATE, CHANGE_FIXED } change_class;

static change_class class_of(const option *row) {
    static const char *const free_names[] = {
        "data",       "input",       "max-steps",    "tokens",          "minutes",
        "eval-every", "eval-tokens", "sample-every", "sample-prompt",   "save-every",
        "recompute",  "tensorboard", "disk-wait",    "checkpoint-async"};
    if (strcmp(row->section, "model") == 0 || strcmp(row->name, "preset") == 0 ||
        strcmp(row->name, "optimizer") == 0)
        return CHANGE_FIXED;
    for (size_t i = 0; i < sizeof free_names / sizeof *free_names; i++)
        if (strcmp(row->name, free_names[i]) == 0) return CHANGE_FREE;
    return CHANGE_RATE;
}

/* Are the values of a row the same in both? */
static bool same_value(const option *row, const train_settings *a, const train_settings *b) {
    char first[ERROR_PART];
    snprintf(first, sizeof first, "%s", option_value_text(row, a));
    return strcmp(first, option_value_text(row, b)) == 0;
}

static size_t stored_size(option_type type) {
    switch (type) {
    case OPTION_BOOL: return sizeof(bool);
    case OPTION_INT:
    case OPTION_CHOICE: return sizeof(int);
    case OPTION_STRING: return sizeof(const char *);
    case OPTION_REAL:
    case OPTION_DURATION: return sizeof(double);
    case OPTION_EVERY: return sizeof(option_every);
    default: return sizeof(int64_t);
    }
}

static void copy_value(const option *row, train_settings *to, const train_settings *from) {
    memcpy((char *)to + row->offset, (const char *)from + row->offset, stored_size(row->type));
}

static bool is_given(const train_settings *s, int row, const train_settings *standard) {
    return s->given != NULL ? s->given[row] : !same_value(&rows[row], s, standard);
}

/* A row that differs: adds it to `complaints` if it may not. */
static void join_row(const train_settings *s, const train_settings *recorded, int i,
                     char *complaints, size_t room, bool *fixed) {
    const option *row = &rows[i];
    change_class class = class_of(row);
    if (class == CHANGE_FREE || (class == CHANGE_RATE && s->accept_changes)) return;
    size_t used = strlen(complaints);
    char old[256];
    snprintf(old, sizeof old, "%s", option_value_text(row, recorded));
    snprintf(complaints + used, room - used, "%s%s.%s %s -> %s", used > 0 ? ", " : "", row->section,
             row->name, old[0] ? old : "none", option_value_text(row, s));
    *fixed |= class == CHANGE_FIXED;
}

/* A length that was asked for anew replaces the recorded one, however it was given. */
static void join_lengths(train_settings *s, const train_settings *asked, const bool *changed) {
    if (changed[0]) {
        s->tokens = 0;
        s->minutes = 0;
    } else if (changed[1] || changed[2]) {
        s->max_steps = 0;
        s->tokens = changed[1] ? asked->tokens : 0;
        s->minutes = changed[2] && !changed[1] ? asked->minutes : 0;
    }
}

static status refuse_changes(const train_settings *s, const char *path, const char *complaints,
                             bool fixed) {
    return FAIL(
        F_CANNOT_RESUME, text("%s", complaints), path,
        fixed ? "weights of another model, or the state of another optimiser, cannot be continued"
              : "these settings decide how training goes on, and differ from the run's",
        fixed ? text("--resume no begins again in %s; another --run keeps both", s->run)
              : "--accept-changes continues with the new values, --resume no begins again");
}

static int row_index(const char *section, const char *name) {
    return (int)(option_find(&train_options, section, name) - rows);
}

/* Does this call say what model to begin with? */
static bool names_model(const train_settings *s, const train_settings *standard) {
    return is_given(s, row_index("train", "preset"), standard) ||
           is_given(s, row_index("model", "size"), standard);
}

status train_settings_recall(train_settings *s, arena *strings) {
    static const char *const lengths[] = {"max-steps", "tokens", "minutes"};
    char path[PATH_SIZE], complaints[ERROR_PART] = "";
    bool fixed = false, changed[3] = {false, false, false};
    if (s->run == NULL) return STATUS_OK;
    TRY(path_join(path, s->run, "config.ini"));
    if (!path_exists(path)) return STATUS_OK;
    train_settings standard, recorded, asked = *s;
    TRY(train_settings_defaults(&standard));
    bool again = s->resume == RESUME_NO;
    if (again && names_model(s, &standard)) return STATUS_OK;
    TRY(train_settings_defaults(&recorded));
    TRY(train_settings_read(&recorded, path, strings));
    if (recorded.precision == PRECISION_AUTO) /* of a version that decided at every start */
        recorded.precision = kernels_tier() == TIER_AMX ? PRECISION_BF16 : PRECISION_F32;
    for (int i = 0; i < N_ROWS; i++) {
        if (rows[i].flags & OPTION_FLAG_ONLY) continue;
        bool open = rows[i].offset == AT(precision) && s->precision == PRECISION_AUTO;
        if (open || !is_given(s, i, &standard) || same_value(&rows[i], s, &recorded)) {
            copy_value(&rows[i], s, &recorded);
            continue;
        }
        if (!again) join_row(s, &recorded, i, complaints, sizeof complaints, &fixed);
        for (int k = 0; k < 3; k++)
            changed[k] |= strcmp(rows[i].name, lengths[k]) == 0;
    }
    join_lengths(s, &asked, changed);
    if (s->input != NULL && asked.data != NULL) s->input = NULL; /* one source: the one asked for */
    if (s->data != NULL && asked.input != NULL) s->data = NULL;
    return complaints[0] ? refuse_changes(s, path, complaints, fixed) : STATUS_OK;
}

status train_settings_log_changes(const train_settings *s, const char *path, arena *strings) {
    train_settings recorded;
    if (!path_exists(path)) return STATUS_OK;
    TRY(train_settings_defaults(&recorded));
    TRY(train_settings_read(&recorded, path, strings));
    for (int i = 0; i < N_ROWS; i++) {
        char old[256];
        if ((rows[i].flags & OPTION_FLAG_ONLY) || same_value(&rows[i], s, &recorded)) continue;
        snprintf(old, sizeof old, "%s", option_value_text(&rows[i], &recorded));
        log_info("changed for the rest of the run: %s %s -> %s", rows[i].name,
                 old[0] ? old : "none", option_value_text(&rows[i], s));
    }
    return STATUS_OK;
}

/* -- checks -- */

typedef struct complaint_list {
    char text[ERROR_PART], fix[ERROR_PART];
    int n;
} complaint_list;

/* `fix`: what to write instead; shown are all sentences and all fixes. */
static void complain(complaint_list *list, const char *sentence, const char *fix) {
    size_t used = strlen(list->text), fixed = strlen(list->fix);
    snprintf(list->text + used, sizeof list->text - used, "%s%s", list->n > 0 ? "; " : "",
             sentence);
    snprintf(list->fix + fixed, sizeof list->fix - fixed, "%s%s", list->n++ > 0 ? " " : "", fix);
}

/* The size by name, then every number that was given. */
static status resolve_model(const train_settings *s, int64_t vocab_size, model_config *c) {
    const model_preset *size = model_preset_find(s->size);
    if (size == NULL) {
        const char *names[64];
        int n = 0;
        for (; n < model_preset_count() && n < 64; n++)
            names[n] = model_preset_at(n)->name;
        int near = word_nearest(s->size, names, n);
        return FAIL(F_CONFIG, text("model.size = \"%s\"", s->size), "train settings",
                    s->size[0] == 0 ? "no model size and no recipe was named"
                    : near >= 0 ? text("there is no such size; the nearest is \"%s\"", names[near])
                                : "there is no such size",
                    text("--size %s; fathom config presets lists sizes and recipes",
                         near >= 0 && s->size[0] != 0 ? names[near] : "f-1m"));
    }
    *c = size->config;
    int64_t *wide[] = {&c->d_model, &c->n_layer, &c->d_ff, &c->d_expert};
    const int64_t wide_given[] = {s->d_model, s->n_layer, s->d_ff, s->d_expert};
    int *narrow[] = {&c->n_head,        &c->n_kv_head,       &c->head_dim, &c->n_expert,
                     &c->n_expert_used, &c->n_shared_expert, &c->n_mtp};
    const int narrow_given[] = {s->n_head,        s->n_kv_head,       s->head_dim, s->n_expert,
                                s->n_expert_used, s->n_shared_expert, s->n_mtp};
    for (int i = 0; i < 4; i++)
        if (wide_given[i] > 0) *wide[i] = wide_given[i];
    for (int i = 0; i < 7; i++)
        if (narrow_given[i] > 0) *narrow[i] = narrow_given[i];
    if (s->n_head > 0 && s->n_kv_head == 0 && size->config.n_kv_head == size->config.n_head)
        c->n_kv_head = c->n_head; /* every query head has its keys: still so */
    if (s->init_std > 0) c->init_std = s->init_std;
    c->vocab_size = s->vocab_size > 0 ? s->vocab_size : vocab_size;
    if (s->context > 0) c->max_position = s->context;
    return STATUS_OK;
}

status train_settings_row(train_settings *s) {
    model_config c;
    if (s->seq_len > 0) return STATUS_OK;
    TRY(resolve_model(s, 1, &c));
    s->seq_len = c.max_position < 256 ? c.max_position : 256;
    return STATUS_OK;
}

/* The numbers in force, for config.ini. */
static void record_model(train_settings *s, const model_config *c) {
    s->vocab_size = c->vocab_size;
    s->d_model = c->d_model;
    s->n_layer = c->n_layer;
    s->d_ff = c->d_ff;
    s->d_expert = c->d_expert;
    s->context = c->max_position;
    s->n_head = c->n_head;
    s->n_kv_head = c->n_kv_head;
    s->head_dim = c->head_dim;
    s->n_expert = c->n_expert;
    s->n_expert_used = c->n_expert_used;
    s->n_shared_expert = c->n_shared_expert;
    s->n_mtp = c->n_mtp;
    s->init_std = c->init_std;
}

/* What is fastest here and now; recorded, so that another machine goes on with the same arithmetic. */
static void fix_precision(train_settings *s) {
    gemm_type fastest = gemm_type_fastest();
    if (s->precision != PRECISION_AUTO) return;
    s->precision = fastest == GEMM_BF16       ? PRECISION_BF16
                   : fastest == GEMM_BF16_DOT ? PRECISION_BF16_DOT
                                              : PRECISION_F32;
}

/* What the size of a model suggests; from runs of this program on the ladder. */
static void fix_by_size(train_settings *s, const model_config *c) {
    int64_t active;
    model_config_parameters(c, &active);
    if (s->batch_tokens == 0) {
        int64_t wanted = active < 10000000 ? 8192 : active < 50000000 ? 16384 : 32768;
        s->batch_tokens = wanted > s->seq_len ? wanted / s->seq_len * s->seq_len : s->seq_len;
    }
    if (s->learning_rate == 0)
        s->learning_rate = active < 1000000    ? 3e-3
                           : active < 4000000  ? 2e-3
                           : active < 15000000 ? 1e-3
                           : active < 60000000 ? 6e-4
                                               : 3e-4;
}

static void check_batch(const train_settings *s, complaint_list *list) {
    int64_t n_rows = s->batch_tokens / s->seq_len;
    if (s->batch_tokens % s->seq_len != 0)
        complain(list,
                 text("train.batch-tokens = %" PRId64 " is not a multiple of seq-len = %" PRId64,
                      s->batch_tokens, s->seq_len),
                 text("--batch-tokens %" PRId64, (n_rows > 0 ? n_rows : 1) * s->seq_len));
    else if (s->micro_batch > n_rows)
        complain(
            list,
            text("train.micro-batch = %d rows, the batch has %" PRId64, s->micro_batch, n_rows),
            text("--micro-batch %" PRId64, n_rows));
}

static void check_lengths(const train_settings *s, complaint_list *list) {
    int n = (s->max_steps > 0) + (s->tokens > 0) + (s->minutes > 0);
    if (n == 0)
        complain(list, "no length: give --max-steps, --tokens or --minutes", "--minutes 10");
    if (s->max_steps == 0 && n > 1)
        complain(list, "train.tokens and train.minutes cannot both decide", "--tokens 0");
    if (s->min_learning_rate > s->learning_rate)
        complain(list,
                 text("train.min-learning-rate = %g is above learning-rate = %g",
                      s->min_learning_rate, s->learning_rate),
                 text("--min-learning-rate %g", s->learning_rate / 10));
}

static void check_schedule(const train_settings *s, complaint_list *list) {
    if (s->hold_until > s->plateau_from || s->plateau_from > s->final_from)
        complain(list,
                 text("train.hold-until = %g, plateau-from = %g, final-from = %g do not "
                      "ascend",
                      s->hold_until, s->plateau_from, s->final_from),
                 text("--plateau-from %g --final-from %g", fmax(s->hold_until, s->plateau_from),
                      fmax(fmax(s->hold_until, s->plateau_from), s->final_from)));
    if (s->final_rate > s->plateau_rate)
        complain(list,
                 text("train.final-rate = %g is above plateau-rate = %g", s->final_rate,
                      s->plateau_rate),
                 text("--final-rate %g", s->plateau_rate));
}

status train_settings_check(train_settings *s, int64_t vocab_size, model_config *config) {
    TRY(train_settings_row(s));
    complaint_list list = {.n = 0};
    TRY(resolve_model(s, vocab_size, config));
    fix_by_size(s, config);
    fix_precision(s);
    if (s->context == 0 && config->max_position < s->seq_len) config->max_position = s->seq_len;
    check_batch(s, &list);
    check_lengths(s, &list);
    check_schedule(s, &list);
    if (config->max_position < s->seq_len)
        complain(&list,
                 text("model.context = %" PRId64 " is less than seq-len = %" PRId64,
                      config->max_position, s->seq_len),
                 text("--context %" PRId64, s->seq_len));
    if (config->vocab_size < vocab_size)
        complain(&list,
                 text("model.vocab-size = %" PRId64 " but the data has %" PRId64 " tokens",
                      config->vocab_size, vocab_size),
                 text("--vocab-size %" PRId64, vocab_size));
    if (list.n > 0)
        return FAIL(F_CONFIG, text("%d setting%s not accepted", list.n, list.n == 1 ? "" : "s"),
                    "train settings", list.text,
                    text("%s (fathom train --help names every setting)", list.fix));
    TRY(model_config_check(config, "train settings"));
    record_model(s, config);
    return STATUS_OK;
}

/* -- what depends on the number of steps -- */

static int64_t at_least(int64_t least, int64_t n) {
    return n < least ? least : n;
}

void train_fix_steps(train_settings *s, int64_t steps_done, double tokens_per_second) {
    if (s->max_steps == 0) {
        double tokens =
            s->tokens > 0 ? (double)s->tokens : 0.9 * 60 * s->minutes * tokens_per_second;
        double steps = floor(tokens / (double)s->batch_tokens);
        s->max_steps = at_least(1, steps < 1e12 ? (int64_t)steps : (int64_t)1e12);
        if (s->tokens == 0) s->max_steps += steps_done; /* minutes are those still to come */
    }
    int64_t n = s->max_steps;
    if (s->warmup_steps < 0) s->warmup_steps = at_least(1, n / 50 < 200 ? n / 50 : 200);
    if (s->eval_every < 0) s->eval_every = at_least(1, n / 20);
    if (s->sample_every < 0) s->sample_every = at_least(1, n / 8);
}
