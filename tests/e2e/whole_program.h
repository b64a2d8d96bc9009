/* whole_program.h - tests that see fathom as its user does: a command line in, files and two streams
 * out. Commands run through /bin/sh in one work folder, with `fathom` on the PATH, no settings of
 * the user around, and no network asked for.
 *
 *     ending e = shell("fathom eval run --json");
 *     CHECK(e.code == 0 && json_number(e.json, "result.scores.bits_per_byte") > 0, "%s", e.err);
 *     ending_clear(&e);
 *
 * The work folder is made by the first call and removed at exit.
 */
#ifndef FATHOM_TESTS_WHOLE_PROGRAM_H
#define FATHOM_TESTS_WHOLE_PROGRAM_H

#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>

typedef struct ending {
    int code;        /* exit code; 128 + n if signal n ended the program */
    char *out, *err; /* never NULL */
    json_t *json;    /* what stdout holds if that is one JSON object, else NULL */
} ending;

/* Enters the work folder. False, after a test_fail, if the program to test is not known. */
bool work_enter(void);

ending shell(const char *format, ...) PRINTF_LIKE(1, 2);
void ending_clear(ending *e);
/* True if the command ended with 0; otherwise a failure of the running test that shows it. */
bool shell_ok(const char *format, ...) PRINTF_LIKE(1, 2);

/* One command (no pipe) in the background; what it prints is dropped. Returns its process. */
int shell_start(const char *format, ...) PRINTF_LIKE(1, 2);
/* Waits for it; the code as in `ending`. */
int shell_wait(int process);
/* True if the process is still there. */
bool shell_alive(int process);

/* Values by a dotted path; "" and NaN if there is none. Lent. */
const char *json_word(const json_t *object, const char *path);
double json_number(const json_t *object, const char *path);

/* Folder texts/ of sentences made by a fixed grammar: n files of about 4 KiB. */
bool texts_make(const char *folder, int n);
/* The folders texts, data (vocabulary 512) and run (a trained model of 12 steps). Made once. */
bool fixture_make(void);
/* Options of a training run that takes about a second. */
#define SMALL_TRAINING                                                                             \
    "--preset tiny --d-model 32 --n-layer 2 --seq-len 64 --batch-tokens 512 --sample-every 6 "     \
    "--eval-every 6 --eval-tokens 1024"

/* A failure must be told in full: the number, four parts that say something, the exit code of its
 * row, and no sign of a crash. Fails the running test otherwise. */
bool told(const ending *e, error_id id);

#endif
