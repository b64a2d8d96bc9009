/* bench_chat.h - from a model on disk to its first token, and the rate of the next ones. Private to bench/. */
#ifndef FATHOM_BENCH_BENCH_CHAT_H
#define FATHOM_BENCH_BENCH_CHAT_H

#include "kernels/kernels_bench.h"

/* Opens the model at `path` and generates: seconds to load and to the first token, tokens per second of
 * prompt and answer, memory. What is in the page cache before decides what loading means. */
status bench_chat(const char *path, bench_table *t) MUST_CHECK;

#endif
