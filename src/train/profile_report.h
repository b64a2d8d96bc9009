/* profile_report.h - the profile of a run beside the floors of the machine. Private to train/. */
#ifndef FATHOM_TRAIN_PROFILE_REPORT_H
#define FATHOM_TRAIN_PROFILE_REPORT_H

#include "train/trainer.h"

#include "base/json.h"

/* Fills the report from the rows of `p`; measures the floors for about a second unless there is
 * nothing to compare. */
status train_profile_fill(train_profile *out, const profile *p, gemm_type products) MUST_CHECK;
/* Seconds that the work of a row takes at the floors; 0 without work. */
double train_profile_floor(const train_profile *p, const profile_row *row);
/* The table as one object: floors, steps, seconds per step, rows; NULL when out of memory. */
json_t *train_profile_json(const train_profile *p);
/* The table as text, longest first, the sum below. */
void train_profile_print(FILE *out, const train_profile *p);

#endif
