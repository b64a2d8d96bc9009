/* train_fixture.h - small runs for the tests of train/: a text, a dense and a mixture model that
 * train in about a second. */
#ifndef FATHOM_TEST_TRAIN_FIXTURE_H
#define FATHOM_TEST_TRAIN_FIXTURE_H

#include "test.h"

#include "train/train.h"

typedef enum fixture_model { FIXTURE_DENSE, FIXTURE_EXPERTS } fixture_model;

/* The folder of the running test: made at the first call of a test, removed after it. */
const char *fixture_folder(void);
/* Writes a text of about `bytes` bytes with words in a random order to text.txt in it and returns
 * its path (static). */
const char *fixture_text(size_t bytes);
/* Settings of a run of `steps` steps on that text in the folder `name`: 8 rows of 32 tokens, in 4
 * lanes. */
status fixture_settings(train_settings *s, const char *name, fixture_model kind, int64_t steps);
/* Path below the test's folder; 8 of them live at a time. */
const char *fixture_path(const char *name);
/* What a run did, in a process of its own with `threads` threads, killed after `kill_after` seconds
 * (0 = never). Returns the exit code, or -signal. */
int fixture_run_process(const train_settings *s, int threads, double kill_after);
/* Hash of RUN's newest checkpoint: weights and moments; "" if there is none. */
sha256_hex fixture_run_hash(const char *run);

#endif
