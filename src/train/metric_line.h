/* metric_line.h - one line of metrics.jsonl before it is text: names and numbers in a fixed place,
 * because a line is written at every step and steps do not allocate. Private to train/. */
#ifndef FATHOM_TRAIN_METRIC_LINE_H
#define FATHOM_TRAIN_METRIC_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define METRIC_VALUES 24
#define METRIC_TEXT   2048 /* bytes of the longest line, with its end */

typedef enum metric_kind { METRIC_REAL, METRIC_WHOLE, METRIC_TRUE } metric_kind;

typedef struct metric_value {
    const char *key; /* a constant */
    metric_kind kind;
    double value; /* whole numbers below 2^53 */
} metric_value;

typedef struct metric_line {
    metric_value values[METRIC_VALUES];
    int n;
} metric_line;

/* What has no room is left out; the lines of fathom use half of it. */
void metric_real(metric_line *l, const char *key, double value);
void metric_whole(metric_line *l, const char *key, int64_t value);
void metric_true(metric_line *l, const char *key);
/* The number of a key, 0 if it is not there. */
double metric_find(const metric_line *l, const char *key);
/* A JSON object on one line without its end; numbers that are not finite are null. */
void metric_text(const metric_line *l, char out[METRIC_TEXT]);

#endif
