/* bench_page.h - a page of Markdown from the rows of a benchmark, for docs/performance.md. */
#ifndef FATHOM_BENCH_PAGE_H
#define FATHOM_BENCH_PAGE_H

#include "kernels/kernels_bench.h"

/* Writes `path` atomically: the machine, the load beside the run, one table for each first word of
 * the rows' names, and how to read them. `command` is the line that makes the page again.
 * F_IO if the file cannot be written. */
status bench_page_write(const char *path, const bench_table *t, const char *command) MUST_CHECK;

/* Four digits, without an exponent from 1000 up; in the ring of text(). */
const char *bench_number(double value);

#endif
