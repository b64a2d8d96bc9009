/* train.h - from settings to a trained model in a run folder.
 *
 *     train_settings s;
 *     TRY(train_settings_defaults(&s));
 *     TRY(train_recipe_apply(&s, "shakespeare-char", &strings)); // or fill the fields yourself
 *     s.run = "runs/one", s.input = "input.txt";
 *     train_result r;
 *     TRY(train_run(&s, &r));                                    // the same call again continues it
 *     printf("%.4f nats after %lld steps\n", r.val_loss, (long long)r.steps);
 *
 * Nouns. A run is a folder: config.ini (the settings as resolved; it wins on reruns), plan.json,
 * env.json, metrics.jsonl, samples.jsonl, log.txt, checkpoints/ (checkpoint.h) and model/, the best
 * model so far. A step is one update from one global batch: batch_tokens / seq_len rows. The batch
 * is cut into grad_lanes contiguous lanes; a lane is walked in micro-batches; lanes are summed by a
 * fixed binary tree (lanes.c).
 *
 * Laws (tested bitwise). The weights after step N do not depend on the number of threads, on
 * recomputing blocks, on when and how checkpoints are written, on validation and samples, or on how
 * often and where the run was killed and started again. Whatever else decides them is in config.ini.
 *
 * Life: everything lives inside train_run. It starts no pool (kernels use the one that runs),
 * installs no signal handlers (the caller does: interrupt_install) and prints nothing on standard
 * output; the progress line and the log go to standard error and log.txt.
 *
 * What it does not do: text generation (the caller lends sample_fn), tasks and baselines (eval/).
 */
#ifndef FATHOM_TRAIN_TRAIN_H
#define FATHOM_TRAIN_TRAIN_H

#include "base/hash.h"
#include "base/options.h"
#include "base/profile.h"
#include "model/model.h"

typedef enum lr_schedule {
    SCHEDULE_WSD,
    SCHEDULE_COSINE,
    SCHEDULE_LINEAR,
    SCHEDULE_CONSTANT,
    SCHEDULE_RESTARTS,
    SCHEDULE_DEEPSEEK
} lr_schedule;
typedef enum optimiser_kind { OPTIMISER_ADAMW, OPTIMISER_MUON } optimiser_kind;
/* Of products, docs/numerics.md 2. AUTO is the fastest on the machine where the run begins; from
 * then on the run's config.ini has what it became. */
typedef enum train_precision {
    PRECISION_AUTO,
    PRECISION_F32,
    PRECISION_BF16,
    PRECISION_BF16_DOT
} train_precision;
typedef enum resume_mode {
    RESUME_AUTO, /* continue if the run folder holds a run, else begin */
    RESUME_NO,   /* begin again; what the folder held of a run is removed */
    RESUME_MUST, /* continue, or F_MISSING ("yes") */
} resume_mode;

typedef enum save_beside { BESIDE_AUTO, BESIDE_NO, BESIDE_YES } save_beside; /* auto: if it fits */

/* Writes what the model makes of `prompt`; *text is the continuation (mem_free). */
typedef status sample_fn(void *context, model *m, const char *prompt, char **text);

typedef struct train_settings {
    /* where from, where to */
    const char *run;    /* run folder; made if missing */
    const char *data;   /* dataset: folder with data.json, tokenizer.json and shards; or */
    const char *input;  /* one file taken as bytes: vocabulary 256, last 10 % validated whole */
    const char *preset; /* recipe these settings came from, for the record */

    /* model: a size of presets.h, then each number that is not 0 replaces the size's own.
     * vocab_size 0 = that of the data; context 0 = seq_len or the size's, whichever is more. */
    const char *size;
    int64_t vocab_size, d_model, n_layer, d_ff, d_expert, context;
    int n_head, n_kv_head, head_dim, n_expert, n_expert_used, n_shared_expert, n_mtp;
    double init_std;

    /* how long: one of max_steps, tokens, minutes; the others become max_steps before step 1 */
    int64_t max_steps, tokens;
    double minutes;
    int64_t schedule_steps; /* where the learning-rate schedule ends; 0 = max_steps */

    /* batch; 0 = by the size of the model */
    int64_t seq_len, batch_tokens;
    int grad_lanes;  /* parts of the batch with gradients of their own, summed by a fixed tree */
    int micro_batch; /* rows of one forward; 0 = chosen once by memory and recorded */

    /* optimiser (optimiser.h) */
    double learning_rate, min_learning_rate; /* peak, 0 = by the size of the model; floor */
    int64_t warmup_steps;                    /* -1 = 2 % of the steps, at most 200 */
    lr_schedule schedule;
    double decay_share;     /* wsd: last part of the schedule that decays */
    int64_t restart_period; /* cosine-restarts: steps of the first cycle, 0 = three fill the run */
    double restart_growth;  /* cosine-restarts: each cycle over the one before */
    double hold_until, plateau_from, final_from; /* deepseek-v3: where its parts meet, shares */
    double plateau_rate, final_rate;             /* deepseek-v3: shares of the peak */
    optimiser_kind optimiser;
    double muon_momentum;
    double beta1, beta2, epsilon, weight_decay, grad_clip;
    double balance_rate; /* gamma of the router bias */
    double dropout;      /* rate, while training only */
    double mtp_weight;   /* lambda of the MTP loss */
    train_precision precision;
    recompute_policy recompute; /* what of a block is kept for backward */
    uint64_t seed;

    /* looking and saving: none of it changes the weights. 0 = never, -1 = by the number of steps;
     * the last step is always validated and saved */
    int64_t eval_every, sample_every;
    int64_t eval_tokens; /* cap of validation targets; 0 = the whole split */
    const char *sample_prompt;
    option_every save_every;
    save_beside checkpoint_async; /* write checkpoints while training goes on, from a copy */
    bool tensorboard;             /* an event file beside metrics.jsonl */

    /* control, not recorded */
    resume_mode resume;
    bool accept_changes; /* resume although learning rate, batch or the like changed */
    const bool *given;   /* [train_options.n] settings that the caller asked for by name; NULL =
                            those that differ from the built-in value (train_settings_recall) */
    bool profile; /* table and trace of the first profile_steps whole steps after the first */
    int64_t profile_steps;
    const char *label; /* of the progress line; NULL = "train" */
    sample_fn *sample; /* NULL = no samples */
    void *sample_context;
    double disk_wait_seconds; /* how long a checkpoint waits for a full disk */
} train_settings;

/* The rows of [train] and [model]; its presets are the recipes (recipes.c). */
extern const option_table train_options;
status train_settings_defaults(train_settings *s) MUST_CHECK;
/* Overwrites what recipe `name` says; F_BAD_VALUE with the nearest name. */
status train_recipe_apply(train_settings *s, const char *name, arena *strings) MUST_CHECK;

/* Settings as INI, and back; strings read live as long as `strings`. */
status train_settings_write(const train_settings *s, const char *path) MUST_CHECK;
status train_settings_read(train_settings *s, const char *path, arena *strings) MUST_CHECK;
/* If the run folder has a config.ini, takes from it what was not given, and compares what was:
 * lengths, looks and saves may change, with accept_changes also rates and batches, the model never
 * (F_CANNOT_RESUME lists the differences). A run that begins again (RESUME_NO) takes them, too, unless
 * a preset or a size was given. Calling it twice changes nothing. train_run does it. */
status train_settings_recall(train_settings *s, arena *strings) MUST_CHECK;

/* Checks every relation for data of `vocab_size` tokens, resolves the model and fixes what was left
 * open except what depends on the number of steps. F_CONFIG with all complaints. */
status train_settings_check(train_settings *s, int64_t vocab_size, model_config *config) MUST_CHECK;
/* Turns minutes or tokens into max_steps, then fixes the rest. `tokens_per_second`: train_measure
 * of plan.h, read only when minutes decide. A tenth of the minutes is left for validation, samples
 * and saving. */
void train_fix_steps(train_settings *s, int64_t steps_done, double tokens_per_second);

/* Where the time of profiled steps went (base/profile.h), beside the floors of the machine. */
typedef struct train_profile {
    int64_t steps; /* 0 = nothing was profiled */
    double seconds;
    const char *products;       /* kind of the model's products */
    double peak[PROFILE_UNITS]; /* FLOP/s */
    double traffic;             /* bytes/s read and written beyond the caches */
    profile_row rows[PROFILE_ROWS];
    int n; /* longest first; they add up to `seconds` */
} train_profile;

/* Seconds of this part that were not steps, but for `loading`, which is inside them. */
typedef struct train_times {
    double loop; /* everything from the first step to the last */
    double loading, validating, logging, sampling;
    double saving;  /* what training stopped for */
    double writing; /* processor time of the threads that wrote beside it */
} train_times;

typedef struct train_result {
    int64_t steps, tokens;         /* of the whole run, resumed parts included */
    double seconds;                /* of training, all parts together */
    double first_loss, train_loss; /* nats per token of the first and the last step */
    double val_loss, val_bpb;      /* last validation: nats per token, bits per byte */
    double best_val_loss;
    int64_t best_step;
    int64_t skipped;                   /* steps without update: gradient not finite */
    int64_t max_steps;                 /* where the run ends */
    int64_t resumed_from;              /* step, -1 = began fresh */
    bool already_done;                 /* nothing was left to do */
    sha256_hex weights;                /* of all masters in registration order */
    double tokens_per_second;          /* of this part, steps only */
    int64_t peak_bytes, planned_bytes; /* peak resident set, and what the plan said */
    double mfu;                        /* model FLOPs utilisation of this part, 0 = unknown */
    train_profile profile;
    double part_seconds, planned_seconds; /* steps of this part; the plan for them */
    train_times times;
} train_result;

/* Trains. F_INTERRUPTED and F_STOPPED come after a checkpoint was written and `r` filled. */
status train_run(const train_settings *s, train_result *r) MUST_CHECK;

extern const struct command train_command; /* train_command.c */

/* Learning rate of step t (0 = first update), a pure function (schedule.c). */
double train_learning_rate(const train_settings *s, int64_t t);

#endif
