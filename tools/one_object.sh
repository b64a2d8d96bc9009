#!/bin/sh
# one_object.sh OUTPUT.a FOLDER ARCHIVE... - the first archive, and what it needs of the others, as an
# archive of one object whose only global symbols are fathom_*.
set -eu
output=$1
folder=$2
first=$3
shift 3
mkdir -p "$folder"
ld -r -o "$folder/whole.o" --whole-archive "$first" --no-whole-archive --start-group "$@" --end-group
objcopy --wildcard --keep-global-symbol='fathom_*' "$folder/whole.o" "$folder/fathom.o"
rm -f "$output"
ar crs "$output" "$folder/fathom.o"
