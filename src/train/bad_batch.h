/* bad_batch.h - the rows of a step whose gradient was not finite, kept for whoever wants to know why.
 * Private to train/. */
#ifndef FATHOM_TRAIN_BAD_BATCH_H
#define FATHOM_TRAIN_BAD_BATCH_H

#include "train/run_folder.h"

#define BAD_BATCHES_KEPT 8

/* Writes RUN/bad_batches/step-N.json (docs/formats/run.md) for the step that was just left out, with
 * the loss of each row on its own, and removes the oldest files of this kind beyond
 * BAD_BATCHES_KEPT. Costs one forward of the batch; changes nothing that training reads. */
status bad_batch_save(const run_folder *f, trainer *t, const step_report *report) MUST_CHECK;

#endif
