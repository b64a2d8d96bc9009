/* archive.h - Debian packages, ar and tar archives, gzip, xz and zstd streams, from memory.
 *
 *     buffer tar = {0};
 *     TRY(deb_unpack(deb.data, deb.size, "manpages.deb", ARCHIVE_OUTPUT_LIMIT, &tar));
 *     TRY(tar_each(tar.bytes, tar.n, "manpages.deb", file_collect, &files));
 *     buffer_clear(&tar);
 *
 * The walkers lend each member to a callback without copying it; paths and bytes live as long as
 * the input (a path longer than its header field: until the callback returns). `where` names the
 * archive in reports. Every refusal is F_ARCHIVE with archive, member and byte offset.
 *
 * What is refused: wrong magic, a header checksum that does not match, sizes that pass the end of
 * the archive or overflow, a path that is absolute, empty or contains a ".." part, a stream that
 * ends early or fails its own checksum, and output beyond the stated limit (decompression bombs).
 * What is skipped: directories, links, devices, and tar extensions other than long names.
 */
#ifndef FATHOM_DATA_ARCHIVE_H
#define FATHOM_DATA_ARCHIVE_H

#include "data/buffer.h"

#include <stdint.h>

#define ARCHIVE_OUTPUT_LIMIT ((size_t)512 << 20) /* bytes one stream may unpack to */
#define ARCHIVE_PATH_LIMIT   ((size_t)4096)      /* bytes of a member's path */

typedef struct archive_member {
    const char *path;     /* as it is in the archive, without leading "./" */
    const uint8_t *bytes; /* lent */
    size_t n;
} archive_member;

/* Gets one regular file; a failure stops the walk and is passed on. */
typedef status archive_fn(void *context, const archive_member *member);

status ar_each(const void *bytes, size_t n, const char *where, archive_fn *fn,
               void *context) MUST_CHECK;
status tar_each(const void *bytes, size_t n, const char *where, archive_fn *fn,
                void *context) MUST_CHECK;

typedef enum compression {
    COMPRESSION_NONE,
    COMPRESSION_GZIP,
    COMPRESSION_XZ,
    COMPRESSION_ZSTD
} compression;
/* By the first bytes. */
compression compression_of(const void *bytes, size_t n);
/* Appends the unpacked stream (concatenated members and frames included) to `out`; bytes that are
 * not compressed are appended as they are. At most `limit` bytes. */
status stream_unpack(const void *bytes, size_t n, const char *where, size_t limit,
                     buffer *out) MUST_CHECK;
/* Appends the tar archive inside a .deb (its member data.tar, data.tar.gz, .xz or .zst). */
status deb_unpack(const void *bytes, size_t n, const char *where, size_t limit,
                  buffer *out) MUST_CHECK;

#endif
