/* breaking.h - what the tests of failures have in common: ways to break things, and ways to see that a
 * failure was told well, changed nothing, and that the fix it prints works. */
#ifndef FATHOM_TESTS_BREAKING_H
#define FATHOM_TESTS_BREAKING_H

#include "whole_program.h"

#define FEW SMALL_TRAINING " --max-steps 12 --save-every 5"

/* Each fails the running test where it cannot do what it says. */
bool copy(const char *from, const char *to); /* a fresh copy of a folder of the fixture */
bool cut(const char *path, int bytes);       /* off the end */
bool flip(const char *path, int64_t at);     /* one byte */
bool replace(const char *path, const char *old, const char *new); /* texts of the same length */
int lines_of(const char *path);                                   /* -1: no such file */
/* Hashes of everything below a folder, log, lock and reports of evaluations aside; mem_free it. */
char *sum_of(const char *folder);
/* The folder `other`: the data with a vocabulary of 700. Made once. */
bool other_data(void);

/* The command fails as `id`, once in sentences and once as JSON, and `folder` stays as it is. */
bool fails_and_keeps(error_id id, const char *folder, const char *command);
/* `command` says `sentence` somewhere. */
bool says(const char *command, const char *sentence);

/* The fix that `command` prints is, or holds, a command of fathom: running it ends well. */
bool fix_works(const char *command);
/* ... and then `command` itself ends well. */
bool fix_mends(const char *command);
/* `command wrong` fails with a fix that holds flags: `command` with them ends well. */
bool flags_mend(const char *command, const char *wrong);

#endif
