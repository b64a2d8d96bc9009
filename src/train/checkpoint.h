/* checkpoint.h - a run's state on disk, whole or not there.
 *
 *     runs/one/checkpoints/step-900/
 *         config.json          the model, Hugging Face keys
 *         tokenizer.json       copied from the data
 *         model.safetensors    masters, F32, Hugging Face names
 *         optimizer.safetensors  m and v, one tensor each per parameter (no v where Muon updates)
 *         state.json           step, tokens, best validation, counters, what the data was
 *         MANIFEST             size and SHA-256 of every file above; written last
 *
 * A checkpoint is filled as step-900.tmp, flushed, and renamed when complete: a kill at any moment
 * leaves either the folder or nothing that is taken for it. Reading verifies MANIFEST first, so a
 * truncated, changed or missing file is F_CHECKPOINT, never a wrong continuation; the resume then
 * falls back to the checkpoint before.
 *
 * model/ holds the best model in the same layout without optimizer.safetensors.
 */
#ifndef FATHOM_TRAIN_CHECKPOINT_H
#define FATHOM_TRAIN_CHECKPOINT_H

#include "base/file.h"
#include "model/model.h"

#define CHECKPOINT_FILES_MAX 8

/* Everything a run carries from step to step besides weights, m and v. */
typedef struct train_state {
    int64_t step;   /* updates done; also the index of the next batch */
    int64_t tokens; /* targets counted so far */
    double seconds; /* spent training so far */
    double first_loss, train_loss;
    double val_loss, val_bpb; /* last validation; val_step < 0: none yet */
    int64_t val_step;
    double best_val_loss;
    int64_t best_step; /* -1: none */
    int64_t skipped;   /* updates left out: gradient not finite */
    int64_t skipped_in_row;
    int64_t adam_steps;        /* t of the bias correction */
    int64_t saves;             /* checkpoints written, this one included */
    uint64_t data_fingerprint; /* loader_fingerprint of the training split */
} train_state;

typedef struct checkpoint_content {
    const model *model;
    const char *tokenizer;   /* path of the tokenizer.json to copy; NULL = none */
    const float *m, *v;      /* in the layout of the parameter set; NULL = leave optimizer out */
    const int64_t *v_offset; /* where each parameter's v begins, -1 = it has none; NULL = as m */
    const train_state *state;
} checkpoint_content;
/* Writes folder `path` (replaces one of that name). */
status checkpoint_write(const char *path, const checkpoint_content *content) MUST_CHECK;

/* Checks MANIFEST and every file it names. F_CHECKPOINT says which file and how it differs. */
status checkpoint_verify(const char *path) MUST_CHECK;
/* Verified reading. Weights go into `into` (same configuration: F_CANNOT_RESUME if not), moments
 * into m and v (NULL = not wanted), laid out as for writing. */
status checkpoint_read(const char *path, model *into, float *m, float *v, const int64_t *v_offset,
                       train_state *state) MUST_CHECK;
status checkpoint_read_state(const char *path, train_state *state) MUST_CHECK;

/* The steps for which RUN/checkpoints has a folder with a MANIFEST, ascending; mem_free(*steps). */
status checkpoint_list(const char *run, int64_t **steps, int *n) MUST_CHECK;
/* RUN/checkpoints/step-N */
status checkpoint_path(char out[PATH_SIZE], const char *run, int64_t step) MUST_CHECK;
/* Removes what a killed writer left (step-N.tmp); *removed counts. */
status checkpoint_clean(const char *run, int *removed) MUST_CHECK;
/* Keeps the last two, that of step `best` (-1 = none) and every tenth that was written (`saves`);
 * removes the others. One whose state cannot be read is left alone. */
status checkpoint_prune(const char *run, int64_t best) MUST_CHECK;
/* Bytes a checkpoint of this model takes, with or without the optimiser. */
int64_t checkpoint_bytes(const model_config *c, bool optimizer);

#endif
