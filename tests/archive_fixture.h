/* archive_fixture.h - small archives built in memory, for the tests and the fuzz target of
 * data/archive.h. Header only; every function appends to a buffer and aborts without memory. */
#ifndef FATHOM_TESTS_ARCHIVE_FIXTURE_H
#define FATHOM_TESTS_ARCHIVE_FIXTURE_H

#include "data/archive.h"

#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

static inline void fixture_check(bool ok) {
    if (!ok) abort();
}

/* The checksum of the 512-byte header at `header` is made right. */
static inline void tar_seal(char *header) {
    unsigned sum = 0;
    memset(header + 148, ' ', 8);
    for (int i = 0; i < 512; i++)
        sum += (unsigned char)header[i];
    (void)snprintf(header + 148, 8, "%06o", sum);
    header[155] = ' ';
}

/* One member of any type, padded. Returns the offset of its header. */
static inline size_t tar_put(buffer *tar, const char *name, char type, const void *bytes,
                             size_t n) {
    char header[512] = {0};
    static const char zeros[512] = {0};
    size_t at = tar->n, name_bytes = strlen(name);
    memcpy(header, name, name_bytes < 100 ? name_bytes : 100);
    memcpy(header + 100, "0000644", 8);
    (void)snprintf(header + 124, 12, "%011o", (unsigned)n & 0x3FFFFFFFu);
    header[156] = type;
    memcpy(header + 257, "ustar\00000", 8);
    tar_seal(header);
    buffer_put(tar, header, sizeof header);
    buffer_put(tar, bytes, n);
    buffer_put(tar, zeros, (512 - n % 512) % 512);
    fixture_check(!tar->failed);
    return at;
}

static inline void tar_finish(buffer *tar) {
    static const char zeros[1024] = {0};
    buffer_put(tar, zeros, sizeof zeros);
    fixture_check(!tar->failed);
}

static inline void ar_start(buffer *ar) {
    buffer_text(ar, "!<arch>\n");
}

static inline void ar_put(buffer *ar, const char *name, const void *bytes, size_t n) {
    char header[61];
    (void)snprintf(header, sizeof header, "%-16s%-12d%-6d%-6d%-8o%-10zu`\n", name, 0, 0, 0,
                   0100644u, n);
    buffer_put(ar, header, 60);
    buffer_put(ar, bytes, n);
    if (n % 2 != 0) buffer_byte(ar, '\n');
    fixture_check(!ar->failed);
}

static inline void pack_gzip(buffer *out, const void *bytes, size_t n) {
    z_stream z = {0};
    fixture_check(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) == Z_OK);
    uLong room = deflateBound(&z, (uLong)n);
    fixture_check(buffer_reserve(out, room));
    z.next_in = (Bytef *)(uintptr_t)bytes;
    z.avail_in = (uInt)n;
    z.next_out = (Bytef *)out->bytes + out->n;
    z.avail_out = (uInt)room;
    fixture_check(deflate(&z, Z_FINISH) == Z_STREAM_END);
    out->n += room - z.avail_out;
    deflateEnd(&z);
}

static inline void pack_xz(buffer *out, const void *bytes, size_t n) {
    size_t room = lzma_stream_buffer_bound(n), used = 0;
    fixture_check(buffer_reserve(out, room));
    fixture_check(lzma_easy_buffer_encode(0, LZMA_CHECK_CRC32, NULL, bytes, n,
                                          (uint8_t *)out->bytes + out->n, &used, room) == LZMA_OK);
    out->n += used;
}

static inline void pack_zstd(buffer *out, const void *bytes, size_t n) {
    size_t room = ZSTD_compressBound(n);
    fixture_check(buffer_reserve(out, room));
    size_t used = ZSTD_compress(out->bytes + out->n, room, bytes, n, 3);
    fixture_check(!ZSTD_isError(used));
    out->n += used;
}

static inline void pack(buffer *out, compression how, const void *bytes, size_t n) {
    switch (how) {
    case COMPRESSION_GZIP: pack_gzip(out, bytes, n); break;
    case COMPRESSION_XZ: pack_xz(out, bytes, n); break;
    case COMPRESSION_ZSTD: pack_zstd(out, bytes, n); break;
    case COMPRESSION_NONE: buffer_put(out, bytes, n); break;
    }
    fixture_check(!out->failed);
}

/* A .deb around a finished tar archive. */
static inline void deb_put(buffer *deb, compression how, const buffer *tar) {
    static const char *const names[] = {"data.tar", "data.tar.gz", "data.tar.xz", "data.tar.zst"};
    buffer packed = {0};
    pack(&packed, how, tar->bytes, tar->n);
    ar_start(deb);
    ar_put(deb, "debian-binary", "2.0\n", 4);
    ar_put(deb, "control.tar", "", 0);
    ar_put(deb, names[how], packed.bytes, packed.n);
    buffer_clear(&packed);
}

#endif
