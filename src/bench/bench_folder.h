/* bench_folder.h - a temporary folder with a file of random bytes and a place for a run, for the
 * benchmarks that train. */
#ifndef FATHOM_BENCH_FOLDER_H
#define FATHOM_BENCH_FOLDER_H

#include "base/file.h"
#include "kernels/kernels_bench.h"
#include "train/train.h"

typedef struct bench_folder {
    char path[PATH_SIZE], run[PATH_SIZE], bytes[PATH_SIZE];
} bench_folder;

/* Below $TMPDIR or /tmp. */
status bench_folder_make(bench_folder *f) MUST_CHECK;
void bench_folder_remove(const bench_folder *f); /* keeps the error report */
/* The settings of recipe `name` (sizes are recipes, too) on the random bytes, with the vocabulary of
 * the size. F_BAD_VALUE if there is no such recipe. */
status bench_recipe(train_settings *s, const char *name, const bench_folder *f,
                    arena *strings) MUST_CHECK;

/* Calls run(name, context, table) for each name of a list with commas. */
typedef status bench_each_fn(const char *name, void *context, bench_table *t);
status bench_each(const char *names, bench_each_fn *run, void *context, bench_table *t) MUST_CHECK;

#endif
