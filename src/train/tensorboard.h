/* tensorboard.h - RUN/events.out.tfevents.SECONDS.fathom: the lines of metrics.jsonl once more, in
 * the form TensorBoard reads. Private to train/.
 *
 *     tensorboard_file t;
 *     TRY(tensorboard_open(&t, run, seconds_done));  // finds the file of the run, or names a new one
 *     TRY(tensorboard_rebuild(&t, metrics_path));    // one record per line that is there
 *     TRY(tensorboard_append(&t, line));             // one more, in one write call
 */
#ifndef FATHOM_TRAIN_TENSORBOARD_H
#define FATHOM_TRAIN_TENSORBOARD_H

#include "base/file.h"
#include "base/json.h"
#include "train/metric_line.h"

#define TENSORBOARD_RECORD 4096 /* bytes of the longest record */

typedef struct tensorboard_file {
    char path[PATH_SIZE];
    double began; /* the SECONDS of the name, since 1970: wall time of second 0 of training */
} tensorboard_file;

/* CRC-32C (Castagnoli, reflected, as in iSCSI): of "123456789" it is 0xE3069283. */
uint32_t crc32c(const void *bytes, size_t n);

/* The first record of a file, and that of a metrics line (an object with "step"). Return bytes. */
size_t tensorboard_header(uint8_t out[TENSORBOARD_RECORD], double began);
size_t tensorboard_record(uint8_t out[TENSORBOARD_RECORD], double began, const json_t *line);
/* The same bytes before the line is text. */
size_t tensorboard_values(uint8_t out[TENSORBOARD_RECORD], double began, const metric_line *line);

/* Finds the run's file; if there is none, names one as if training had begun `seconds` ago. */
status tensorboard_open(tensorboard_file *t, const char *run, double seconds) MUST_CHECK;
/* Replaces the file, atomically, by the records of metrics.jsonl; no such file = no line. */
status tensorboard_rebuild(const tensorboard_file *t, const char *metrics) MUST_CHECK;
/* All of the record or, on failure, nothing of it is in the file. */
status tensorboard_append(const tensorboard_file *t, const metric_line *line) MUST_CHECK;
/* Removes the files of this kind from a run folder. */
status tensorboard_forget(const char *run) MUST_CHECK;

#endif
