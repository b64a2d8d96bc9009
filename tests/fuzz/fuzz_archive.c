/* fuzz_archive.c - any bytes as ar, tar, compressed stream and Debian package.
 *
 * What is accepted must keep its promises: members lie inside the input, paths stay below the
 * folder they would be unpacked to, output stays below the limit. */
#include "fuzz.h"

#include "archive_fixture.h"
#include "data/archive.h"

#include <stdlib.h>
#include <string.h>

#define LIMIT ((size_t)1 << 20)

typedef struct span {
    const uint8_t *from;
    size_t n;
} span;

static status inside(void *context, const archive_member *m) {
    const span *all = context;
    uintptr_t from = (uintptr_t)all->from, at = (uintptr_t)m->bytes;
    if (at < from || m->n > all->n || at - from > all->n - m->n) abort();
    return STATUS_OK;
}

static status inside_tar(void *context, const archive_member *m) {
    if (m->path[0] == '\0' || m->path[0] == '/' || strncmp(m->path, "../", 3) == 0 ||
        strstr(m->path, "/../") != NULL || strcmp(m->path, "..") == 0)
        abort();
    return inside(context, m);
}

/* The same bytes with right checksums, so that changes reach what lies behind that check. */
static void sealed_walk(const uint8_t *data, size_t size) {
    buffer copy = {0};
    buffer_put(&copy, data, size);
    for (size_t at = 0; at + 512 <= copy.n; at += 512)
        if (memcmp(copy.bytes + at + 257, "ustar", 5) == 0) tar_seal(copy.bytes + at);
    span all = {(const uint8_t *)copy.bytes, copy.n};
    if (copy.n > 0 && tar_each(copy.bytes, copy.n, "input", inside_tar, &all) != STATUS_OK)
        error_clear();
    buffer_clear(&copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int64_t blocks = mem_live_blocks();
    span all = {data, size};
    buffer out = {0};
    sealed_walk(data, size);
    if (ar_each(data, size, "input", inside, &all) != STATUS_OK) error_clear();
    if (tar_each(data, size, "input", inside_tar, &all) != STATUS_OK) error_clear();
    if (stream_unpack(data, size, "input", LIMIT, &out) != STATUS_OK) error_clear();
    if (out.n > LIMIT) abort();
    buffer_cut(&out, 0);
    if (deb_unpack(data, size, "input", LIMIT, &out) == STATUS_OK && out.n > 0) {
        span tar = {(const uint8_t *)out.bytes, out.n};
        if (tar_each(out.bytes, out.n, "input", inside_tar, &tar) != STATUS_OK) error_clear();
    }
    if (out.n > LIMIT) abort();
    buffer_clear(&out);
    if (mem_live_blocks() != blocks) abort();
    return 0;
}

/* A tar archive with every kind of header, alone, compressed, and in packages. */
static void tar_make(buffer *tar) {
    char long_name[160];
    memset(long_name, 'd', sizeof long_name - 1);
    long_name[80] = '/';
    long_name[sizeof long_name - 1] = '\0';
    (void)tar_put(tar, "./usr/", '5', "", 0);
    (void)tar_put(tar, "./usr/a", '0', "some text\n", 10);
    (void)tar_put(tar, "././@LongLink", 'L', long_name, sizeof long_name);
    (void)tar_put(tar, "short", '0', "more", 4);
    (void)tar_put(tar, "pax", 'x', "27 path=usr/share/man/b.gz\n13 size=0005\n", 40);
    (void)tar_put(tar, "short", '0', "under", 5);
    (void)tar_put(tar, "link", '2', "", 0);
    tar_finish(tar);
}

size_t fuzz_seed(int i, uint8_t *out, size_t room) {
    buffer tar = {0}, seed = {0};
    tar_make(&tar);
    if (i < 4)
        pack(&seed, (compression)i, tar.bytes, tar.n);
    else if (i < 8)
        deb_put(&seed, (compression)(i - 4), &tar);
    size_t n = seed.n <= room ? seed.n : 0;
    if (n > 0) memcpy(out, seed.bytes, n);
    buffer_clear(&tar);
    buffer_clear(&seed);
    return n;
}
