/* compressors.c - what gzip -9 and xz -9 need for the same text, in bits per byte. */
#include "eval/eval.h"

#include "base/memory.h"
#include "base/pool.h"

#include <lzma.h>
#include <zlib.h>

static status library_failed(const char *library, int code) {
    return FAIL(F_INTERNAL, text("%s could not compress", library), "baseline",
                text("the library returned %d", code), "free some memory and run again");
}

status baseline_gzip(const uint8_t *text, size_t n, double *bits) {
    z_stream z = {0};
    uint8_t out[1 << 16];
    int code = deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY);
    if (code != Z_OK) return library_failed("zlib", code);
    size_t done = 0, written = 0;
    while (code != Z_STREAM_END) {
        size_t step = n - done < (size_t)1 << 30 ? n - done : (size_t)1 << 30;
        if (z.avail_in == 0) {
            /* zlib does not write through next_in; its type is not const unless ZLIB_CONST */
            union {
                const uint8_t *in;
                Bytef *out;
            } p = {text + done};
            z.next_in = p.out;
            z.avail_in = (uInt)step;
            done += step;
        }
        z.next_out = out;
        z.avail_out = sizeof out;
        code = deflate(&z, done == n ? Z_FINISH : Z_NO_FLUSH);
        written += sizeof out - z.avail_out;
        if (code != Z_OK && code != Z_STREAM_END) break;
    }
    (void)deflateEnd(&z); /* frees; its result repeats what deflate said */
    if (code != Z_STREAM_END) return library_failed("zlib", code);
    *bits = n > 0 ? 8.0 * (double)written / (double)n : 0;
    return STATUS_OK;
}

static status xz_size(const uint8_t *text, size_t n, size_t *written) {
    lzma_stream z = LZMA_STREAM_INIT;
    uint8_t out[1 << 16];
    lzma_ret code = lzma_easy_encoder(&z, 9, LZMA_CHECK_CRC64);
    if (code != LZMA_OK) return library_failed("liblzma", (int)code);
    z.next_in = text;
    z.avail_in = n;
    *written = 0;
    while (code == LZMA_OK) {
        z.next_out = out;
        z.avail_out = sizeof out;
        code = lzma_code(&z, LZMA_FINISH);
        *written += sizeof out - z.avail_out;
    }
    lzma_end(&z);
    return code == LZMA_STREAM_END ? STATUS_OK : library_failed("liblzma", (int)code);
}

status baseline_xz(const uint8_t *text, size_t n, double *bits) {
    size_t written;
    TRY(xz_size(text, n, &written));
    *bits = n > 0 ? 8.0 * (double)written / (double)n : 0;
    return STATUS_OK;
}

typedef struct xz_pair {
    const uint8_t *text;
    size_t n[2], written[2];
    status state[2];
    error_report report[2];
} xz_pair;

static void xz_one(void *context, int64_t chunk) {
    xz_pair *p = context;
    p->state[chunk] = xz_size(p->text, p->n[chunk], &p->written[chunk]);
    if (p->state[chunk] != STATUS_OK) error_save(&p->report[chunk]);
}

status baseline_xz_primed(const uint8_t *prime, size_t n_prime, size_t n, double *bits) {
    xz_pair *p = mem_zalloc(1, sizeof *p);
    if (p == NULL) return STATUS_MEMORY;
    p->text = prime;
    p->n[0] = n_prime;
    p->n[1] = n_prime + n;
    pool_for(2, xz_one, p);
    status s = STATUS_OK;
    for (int i = 0; i < 2 && s == STATUS_OK; i++)
        if ((s = p->state[i]) != STATUS_OK) error_restore(&p->report[i]);
    if (s == STATUS_OK)
        *bits = n > 0 ? 8.0 * ((double)p->written[1] - (double)p->written[0]) / (double)n : 0;
    mem_free(p);
    return s;
}
