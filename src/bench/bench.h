/* bench.h - `fathom bench WHAT`: this machine and this program on it, as ratios to floors of the same
 * run. One file per benchmark, bench_command.c is the command, bench_page.c the page of Markdown.
 */
#ifndef FATHOM_BENCH_BENCH_H
#define FATHOM_BENCH_BENCH_H

#include "base/command.h"

extern const command bench_command; /* floors, gemm, rows, train, tokenizer, moe, loop ... */

#endif
