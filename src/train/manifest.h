/* manifest.h - the list of a folder's files with sizes and hashes. Private to train/.
 *
 * Text, one file a line, sorted by name, the last line a hash of all lines before it:
 *
 *     fathom-manifest 1
 *     0123456789abcdef...64 digits 4096 config.json
 *     ...
 *     end 0123456789abcdef...64 digits
 *
 * Hashes are SHA-256 in lower-case hex. A name is one path component.
 */
#ifndef FATHOM_TRAIN_MANIFEST_H
#define FATHOM_TRAIN_MANIFEST_H

#include "base/hash.h"

#define MANIFEST_ENTRIES_MAX 16
#define MANIFEST_NAME_SIZE   64

typedef struct manifest_entry {
    char name[MANIFEST_NAME_SIZE];
    int64_t size;
    sha256_hex hash;
} manifest_entry;
typedef struct manifest {
    manifest_entry entry[MANIFEST_ENTRIES_MAX];
    int n;
} manifest;

/* Hashes every file of `folder` and writes folder/MANIFEST, atomically and durably. */
status manifest_write(const char *folder) MUST_CHECK;
/* F_CHECKPOINT with the line that is not as above; `where` names the file in the report. */
status manifest_parse(const char *bytes, size_t n, const char *where, manifest *out) MUST_CHECK;
/* Reads folder/MANIFEST and compares every file. F_CHECKPOINT names the first that differs. */
status manifest_verify(const char *folder, manifest *out) MUST_CHECK;

#endif
