#!/bin/sh
# fuzz.sh BUILD-FOLDER FORMAT - ten minutes of libFuzzer on one format, from the seeds of its replay
# program; FATHOM_TEST_FUZZ_SECONDS sets another time. Leaves FORMAT.log, and FORMAT.passed only if
# nothing was found; what was found lies beside them as FORMAT-crash-... and so on.
set -eu
build=$1
format=$2
corpus=$build/corpus/$format
mkdir -p "$corpus"
rm -f "$build/$format.passed"
"$build/tests/fuzz/replay-$format" --write-seeds "$corpus" >"$build/$format.log"
"$build/tests/fuzz/fuzz-$format" -max_total_time="${FATHOM_TEST_FUZZ_SECONDS:-600}" \
    -rss_limit_mb=4096 -artifact_prefix="$build/$format-" "$corpus" >>"$build/$format.log" 2>&1
: >"$build/$format.passed"
