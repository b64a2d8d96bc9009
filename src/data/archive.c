/* archive.c - ar and tar walkers, and one loop each around zlib, liblzma and libzstd.
 *
 * What: reads what Debian ships: a .deb is an ar archive whose member data.tar.* is a compressed
 * tar archive (deb(5)); man pages inside are gzip files.
 * How: the walkers keep one number, the offset of the next header. Every size is compared with
 * what is left of the input before it is used, so no pointer is ever formed outside. tar: POSIX
 * ustar with its prefix field, GNU long names (type L), pax headers (type x: path and size),
 * sizes in octal or in GNU base 256. The unpackers append in steps of at most 1 MiB and stop at
 * the caller's limit, so a bomb costs the limit and not more.
 * Mind: liblzma may use 256 MiB and zstd a window of 128 MiB: more than the strongest setting of
 * either tool's defaults asks for; a stream that wants more is refused. A tar archive must end in a
 * zero block: one cut at a member's end would otherwise look complete.
 */
#include "data/archive.h"

#include "base/checked.h"

#include <inttypes.h>
#include <lzma.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define AR_MAGIC    "!<arch>\n"
#define AR_HEADER   ((size_t)60)
#define TAR_BLOCK   ((size_t)512)
#define PAX_LIMIT   ((size_t)1 << 20)
#define UNPACK_STEP ((size_t)1 << 20)
#define LZMA_MEMORY ((uint64_t)256 << 20)
#define ZSTD_WINDOW 27

/* ---- reports ------------------------------------------------------------------------------- */

static MUST_CHECK status refuse(const char *where, const char *what, const char *member, size_t at,
                                const char *why) {
    char shown[256];
    size_t n = 0;
    for (; member != NULL && member[n] != '\0' && n < sizeof shown - 1; n++) {
        unsigned char c = (unsigned char)member[n];
        shown[n] = c < 0x20 || c == 0x7F ? '?' : member[n];
    }
    shown[n] = '\0';
    const char *place = n > 0 ? text("%s, member \"%s\", byte %zu", where, shown, at)
                              : text("%s, byte %zu", where, at);
    return FAIL(
        F_ARCHIVE, what, place, why,
        "fetch the file again; if it stays like this, it was not written by the usual tools");
}

/* Numbers in ar headers: decimal, padded with spaces. */
static bool field_decimal(const uint8_t *field, size_t width, size_t *out) {
    size_t value = 0, i = 0;
    for (; i < width && field[i] >= '0' && field[i] <= '9'; i++)
        if (!size_mul(&value, value, 10) || !size_add(&value, value, (size_t)(field[i] - '0')))
            return false;
    if (i == 0) return false;
    for (; i < width; i++)
        if (field[i] != ' ') return false;
    *out = value;
    return true;
}

/* ---- ar ------------------------------------------------------------------------------------ */

/* Name without padding and without the '/' that System V archives put behind it. */
static void ar_name(const uint8_t *header, char name[17]) {
    memcpy(name, header, 16);
    size_t n = 16;
    while (n > 0 && name[n - 1] == ' ')
        n--;
    if (n > 1 && name[n - 1] == '/') n--;
    name[n] = '\0';
}

status ar_each(const void *input, size_t n, const char *where, archive_fn *fn, void *context) {
    const uint8_t *bytes = input;
    size_t at = strlen(AR_MAGIC);
    if (n < at || memcmp(bytes, AR_MAGIC, at) != 0)
        return refuse(where, "not an ar archive", NULL, 0,
                      "its first 8 bytes are not \"!<arch>\\n\"");
    while (at < n) {
        if (n - at < AR_HEADER)
            return refuse(where, "the archive ends inside a header", NULL, at,
                          text("a header has 60 bytes, %zu are left", n - at));
        const uint8_t *header = bytes + at;
        char name[17];
        size_t size;
        ar_name(header, name);
        if (header[58] != '`' || header[59] != '\n')
            return refuse(where, "an ar header is damaged", name, at, "its end mark is missing");
        if (!field_decimal(header + 48, 10, &size))
            return refuse(where, "an ar header is damaged", name, at, "its size is not a number");
        at += AR_HEADER;
        if (size > n - at)
            return refuse(where, "the archive ends inside a member", name, at,
                          text("the header promises %zu bytes, %zu are left", size, n - at));
        archive_member member = {name, bytes + at, size};
        TRY(fn(context, &member));
        at += size;
        if (size % 2 != 0 && at < n) at++; /* members start at even offsets */
    }
    return STATUS_OK;
}

/* ---- tar ----------------------------------------------------------------------------------- */

typedef struct tar_walk {
    const uint8_t *bytes;
    size_t n, at; /* `at`: offset of the next header */
    const char *where;
    /* For the next member only, from L and x headers; NULL and false otherwise. */
    char *long_path;
    size_t pax_size;
    bool has_pax_size;
} tar_walk;

/* Octal, or GNU base 256 if the first bit is set. */
static bool field_size(const uint8_t *field, size_t width, size_t *out) {
    size_t value = 0, i = 0;
    if (field[0] & 0x80) {
        if (field[0] != 0x80) return false; /* negative, or beyond 88 bits */
        for (i = 1; i < width; i++)
            if (!size_mul(&value, value, 256) || !size_add(&value, value, field[i])) return false;
        *out = value;
        return true;
    }
    while (i < width && field[i] == ' ')
        i++;
    size_t first = i;
    for (; i < width && field[i] >= '0' && field[i] <= '7'; i++)
        if (!size_mul(&value, value, 8) || !size_add(&value, value, (size_t)(field[i] - '0')))
            return false;
    if (i == first) return false;
    for (; i < width; i++)
        if (field[i] != ' ' && field[i] != '\0') return false;
    *out = value;
    return true;
}

/* The checksum adds all bytes of the header with its own field as spaces. Old writers added them
 * as signed characters. */
static bool checksum_fits(const uint8_t *header) {
    size_t stated;
    if (!field_size(header + 148, 8, &stated)) return false;
    size_t sum = 0;
    int64_t signed_sum = 0;
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        uint8_t c = i >= 148 && i < 156 ? (uint8_t)' ' : header[i];
        sum += c;
        signed_sum += (int8_t)c;
    }
    return stated == sum || (signed_sum >= 0 && stated == (size_t)signed_sum);
}

static bool all_zero(const uint8_t *block) {
    for (size_t i = 0; i < TAR_BLOCK; i++)
        if (block[i] != 0) return false;
    return true;
}

/* prefix + "/" + name for POSIX archives, else the name. */
static void header_path(const uint8_t *header, char path[257]) {
    size_t n = 0;
    const char *name = (const char *)header, *prefix = (const char *)header + 345;
    if (memcmp(header + 257, "ustar\0", 6) == 0 && prefix[0] != '\0') {
        n = strnlen(prefix, 155);
        memcpy(path, prefix, n);
        path[n++] = '/';
    }
    size_t name_bytes = strnlen(name, 100);
    memcpy(path + n, name, name_bytes);
    path[n + name_bytes] = '\0';
}

/* Why a path may not be used, or NULL. */
static const char *path_fault(const char *path) {
    if (path[0] == '\0') return "its path is empty";
    if (path[0] == '/') return "its path is absolute";
    for (const char *p = path; p != NULL; p = strchr(p, '/')) {
        if (*p == '/') p++;
        if (p[0] == '.' && p[1] == '.' && (p[2] == '/' || p[2] == '\0'))
            return "its path contains \"..\"";
    }
    return NULL;
}

static MUST_CHECK status long_path_set(tar_walk *w, const uint8_t *bytes, size_t n) {
    if (n == 0 || n > ARCHIVE_PATH_LIMIT || memchr(bytes, '\0', n) != NULL)
        return refuse(w->where, "a long path is not accepted", NULL, w->at,
                      text("it has %zu bytes (1 to %zu are allowed, none of them zero)", n,
                           ARCHIVE_PATH_LIMIT));
    mem_free(w->long_path);
    w->long_path = mem_strndup((const char *)bytes, n);
    return w->long_path == NULL ? STATUS_MEMORY : STATUS_OK;
}

/* Records of a pax header are "<length> <key>=<value>\n"; the length counts all of it. */
static MUST_CHECK status pax_read(tar_walk *w, const uint8_t *bytes, size_t n) {
    size_t at = 0;
    if (n > PAX_LIMIT)
        return refuse(w->where, "a pax header is too large", NULL, w->at,
                      text("it has %zu bytes, %zu are allowed", n, PAX_LIMIT));
    while (at < n && bytes[at] != '\0') {
        size_t length = 0, i = at;
        for (; i < n && bytes[i] >= '0' && bytes[i] <= '9' && length <= PAX_LIMIT; i++)
            length = length * 10 + (size_t)(bytes[i] - '0');
        size_t head = i - at + 1; /* digits and the space */
        if (i == at || i >= n || bytes[i] != ' ' || length <= head || length > n - at ||
            bytes[at + length - 1] != '\n')
            return refuse(w->where, "a pax header is damaged", NULL, w->at,
                          text("the record at its byte %zu has no valid length", at));
        const uint8_t *record = bytes + at + head;
        size_t record_bytes = length - head - 1;
        if (record_bytes > 5 && memcmp(record, "path=", 5) == 0)
            TRY(long_path_set(w, record + 5, record_bytes - 5));
        if (record_bytes > 5 && memcmp(record, "size=", 5) == 0) {
            if (!field_decimal(record + 5, record_bytes - 5, &w->pax_size))
                return refuse(w->where, "a pax header is damaged", NULL, w->at,
                              "its size is not a number");
            w->has_pax_size = true;
        }
        at += length;
    }
    return STATUS_OK;
}

static MUST_CHECK status member_give(tar_walk *w, const char *path, const uint8_t *bytes, size_t n,
                                     archive_fn *fn, void *context) {
    while (path[0] == '.' && path[1] == '/') {
        path += 2;
        while (path[0] == '/')
            path++;
    }
    const char *fault = path_fault(path);
    if (fault != NULL)
        return refuse(w->where, "a member's path is not accepted", path, w->at, fault);
    archive_member member = {path, bytes, n};
    return fn(context, &member);
}

static void next_only_clear(tar_walk *w) {
    mem_free(w->long_path);
    w->long_path = NULL;
    w->has_pax_size = false;
}

/* Reads the header at w->at and what belongs to it; moves w->at behind it. */
static MUST_CHECK status member_read(tar_walk *w, archive_fn *fn, void *context) {
    const uint8_t *header = w->bytes + w->at;
    char short_path[257];
    size_t size, padded;
    header_path(header, short_path);
    if (!checksum_fits(header))
        return refuse(w->where, "a tar header is damaged", short_path, w->at,
                      "its checksum does not match");
    if (!field_size(header + 124, 12, &size))
        return refuse(w->where, "a tar header is damaged", short_path, w->at,
                      "its size is not a number");
    char type = (char)header[156];
    bool extension = type == 'x' || type == 'g' || type == 'L' || type == 'K';
    if (!extension && w->has_pax_size) size = w->pax_size;
    if (type >= '1' && type <= '6') size = 0; /* links, devices, directories have no contents */
    size_t left = w->n - w->at - TAR_BLOCK;
    if (!size_add(&padded, size, TAR_BLOCK - 1) || (padded &= ~(TAR_BLOCK - 1)) > left)
        return refuse(w->where, "the archive ends inside a member", short_path, w->at,
                      text("the header promises %zu bytes, %zu are left", size, left));
    const uint8_t *contents = header + TAR_BLOCK;
    if (type == 'L') {
        size_t n = size > 0 && contents[size - 1] == '\0' ? size - 1 : size;
        TRY(long_path_set(w, contents, n));
    } else if (type == 'x') {
        TRY(pax_read(w, contents, size));
    } else if (type == '0' || type == '\0' || type == '7') {
        const char *path = w->long_path != NULL ? w->long_path : short_path;
        size_t path_bytes = strlen(path);
        bool folder = path_bytes > 0 && path[path_bytes - 1] == '/'; /* before ustar */
        if (!folder) TRY(member_give(w, path, contents, size, fn, context));
    }
    if (!extension) next_only_clear(w);
    w->at += TAR_BLOCK + padded;
    return STATUS_OK;
}

status tar_each(const void *bytes, size_t n, const char *where, archive_fn *fn, void *context) {
    tar_walk w = {.bytes = bytes, .n = n, .where = where};
    status result = STATUS_OK;
    for (;;) {
        if (n - w.at < TAR_BLOCK) {
            result = refuse(where, "the archive ends too early", NULL, w.at,
                            "a tar archive ends with a block of 512 zero bytes");
            break;
        }
        if (all_zero(w.bytes + w.at)) break;
        TRY_GOTO(result, member_read(&w, fn, context));
    }
done:
    next_only_clear(&w);
    return result;
}

/* ---- compressed streams -------------------------------------------------------------------- */

compression compression_of(const void *bytes, size_t n) {
    if (n >= 2 && memcmp(bytes, "\x1F\x8B", 2) == 0) return COMPRESSION_GZIP;
    static const uint8_t xz[] = {0xFD, '7', 'z', 'X', 'Z', 0};
    if (n >= sizeof xz && memcmp(bytes, xz, sizeof xz) == 0) return COMPRESSION_XZ;
    if (n >= 4 && memcmp(bytes, "\x28\xB5\x2F\xFD", 4) == 0) return COMPRESSION_ZSTD;
    return COMPRESSION_NONE;
}

/* What all three unpackers share: input position, output, limit. */
typedef struct unpack {
    const uint8_t *bytes;
    size_t n, at; /* input and how much of it was taken */
    const char *where;
    size_t limit, made; /* output bytes allowed and appended */
    buffer *out;
} unpack;

static MUST_CHECK status no_memory(const unpack *u, const char *library) {
    return FAIL(F_NO_MEMORY, text("%s found no memory to unpack a stream", library), u->where,
                "the system has no memory left for this process",
                "close other programs and try again");
}

static MUST_CHECK status stream_refuse(const unpack *u, const char *format, const char *why) {
    return refuse(u->where, text("a %s stream cannot be unpacked", format), NULL, u->at, why);
}

/* Makes room for the next step; `room` is how much may be written at out->bytes + out->n. With the
 * limit reached one byte stays, so that a stream of exactly `limit` bytes can still say its end. */
static MUST_CHECK status step_begin(unpack *u, size_t *room) {
    size_t left = u->limit - u->made;
    size_t step = u->made < 4096 ? 4096 : u->made;
    if (step > UNPACK_STEP) step = UNPACK_STEP;
    *room = left < step ? left + 1 : step;
    if (!buffer_reserve(u->out, *room)) return buffer_check(u->out);
    return STATUS_OK;
}

static MUST_CHECK status step_end(unpack *u, const char *format, size_t made) {
    if (made > u->limit - u->made)
        return stream_refuse(u, format,
                             text("it unpacks to more than the %zu bytes allowed here", u->limit));
    u->made += made;
    u->out->n += made;
    u->out->bytes[u->out->n] = '\0';
    return STATUS_OK;
}

static MUST_CHECK status gzip_run(unpack *u, z_stream *z) {
    int code = Z_OK;
    do {
        size_t room, chunk = u->n - u->at;
        TRY(step_begin(u, &room));
        if (chunk > UINT_MAX) chunk = UINT_MAX;
        z->next_in = (z_const Bytef *)(uintptr_t)(u->bytes + u->at);
        z->avail_in = (uInt)chunk;
        z->next_out = (Bytef *)u->out->bytes + u->out->n;
        z->avail_out = (uInt)room;
        code = inflate(z, Z_NO_FLUSH);
        u->at += chunk - z->avail_in;
        TRY(step_end(u, "gzip", room - z->avail_out));
        if (code == Z_MEM_ERROR) return no_memory(u, "zlib");
        if (code == Z_BUF_ERROR || (code == Z_OK && u->at == u->n && z->avail_out > 0))
            return stream_refuse(u, "gzip", "it ends too early");
        if (code != Z_OK && code != Z_STREAM_END)
            return stream_refuse(u, "gzip", z->msg != NULL ? z->msg : "its contents are damaged");
        /* gzip files may be put one behind the other */
        if (code == Z_STREAM_END &&
            compression_of(u->bytes + u->at, u->n - u->at) == COMPRESSION_GZIP)
            code = inflateReset(z);
    } while (code == Z_OK);
    return STATUS_OK;
}

static MUST_CHECK status gzip_unpack(unpack *u) {
    z_stream z = {0};
    if (inflateInit2(&z, 15 + 16) != Z_OK) return no_memory(u, "zlib");
    status result = gzip_run(u, &z);
    inflateEnd(&z);
    return result;
}

static const char *lzma_reason(lzma_ret code) {
    switch (code) {
    case LZMA_BUF_ERROR: return "it ends too early";
    case LZMA_MEMLIMIT_ERROR: return "it needs more than 256 MiB of memory to unpack";
    case LZMA_OPTIONS_ERROR: return "it uses options that this liblzma does not know";
    default: return "its contents are damaged";
    }
}

static MUST_CHECK status xz_run(unpack *u, lzma_stream *z) {
    lzma_ret code;
    do {
        size_t room;
        TRY(step_begin(u, &room));
        z->next_in = u->bytes + u->at;
        z->avail_in = u->n - u->at;
        z->next_out = (uint8_t *)u->out->bytes + u->out->n;
        z->avail_out = room;
        code = lzma_code(z, LZMA_FINISH);
        u->at = u->n - z->avail_in;
        TRY(step_end(u, "xz", room - z->avail_out));
        if (code == LZMA_MEM_ERROR) return no_memory(u, "liblzma");
        if (code != LZMA_OK && code != LZMA_STREAM_END)
            return stream_refuse(u, "xz", lzma_reason(code));
    } while (code == LZMA_OK);
    return STATUS_OK;
}

static MUST_CHECK status xz_unpack(unpack *u) {
    lzma_stream z = LZMA_STREAM_INIT;
    if (lzma_stream_decoder(&z, LZMA_MEMORY, LZMA_CONCATENATED) != LZMA_OK)
        return no_memory(u, "liblzma");
    status result = xz_run(u, &z);
    lzma_end(&z);
    return result;
}

static MUST_CHECK status zstd_run(unpack *u, ZSTD_DCtx *z) {
    ZSTD_inBuffer in = {u->bytes, u->n, 0};
    size_t code = 1; /* 0 = a frame is complete */
    while (in.pos < in.size || code != 0) {
        size_t room, before = in.pos;
        TRY(step_begin(u, &room));
        ZSTD_outBuffer out = {u->out->bytes + u->out->n, room, 0};
        code = ZSTD_decompressStream(z, &out, &in);
        u->at = in.pos;
        if (ZSTD_isError(code)) {
            if (ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation)
                return no_memory(u, "zstd");
            return stream_refuse(u, "zstd", ZSTD_getErrorName(code));
        }
        TRY(step_end(u, "zstd", out.pos));
        if (code != 0 && in.pos == in.size && in.pos == before && out.pos == 0)
            return stream_refuse(u, "zstd", "it ends too early");
    }
    return STATUS_OK;
}

static MUST_CHECK status zstd_unpack(unpack *u) {
    ZSTD_DCtx *z = ZSTD_createDCtx();
    if (z == NULL) return no_memory(u, "zstd");
    status result;
    if (ZSTD_isError(ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, ZSTD_WINDOW)))
        result = stream_refuse(u, "zstd", "this libzstd does not take a window limit");
    else
        result = zstd_run(u, z);
    ZSTD_freeDCtx(z);
    return result;
}

status stream_unpack(const void *bytes, size_t n, const char *where, size_t limit, buffer *out) {
    unpack u = {.bytes = bytes, .n = n, .where = where, .limit = limit, .out = out};
    switch (compression_of(bytes, n)) {
    case COMPRESSION_GZIP: return gzip_unpack(&u);
    case COMPRESSION_XZ: return xz_unpack(&u);
    case COMPRESSION_ZSTD: return zstd_unpack(&u);
    case COMPRESSION_NONE: break;
    }
    if (n > limit)
        return refuse(where, "a file is too large", NULL, 0,
                      text("it has %zu bytes, %zu are allowed here", n, limit));
    buffer_put(out, bytes, n);
    return buffer_check(out);
}

/* ---- .deb ---------------------------------------------------------------------------------- */

typedef struct deb_search {
    archive_member data; /* the member data.tar*, path "" until found */
    bool found, is_deb;
} deb_search;

static status deb_member(void *context, const archive_member *member) {
    deb_search *s = context;
    if (strcmp(member->path, "debian-binary") == 0 && member->n >= 2 &&
        memcmp(member->bytes, "2.", 2) == 0)
        s->is_deb = true;
    if (!s->found && strncmp(member->path, "data.tar", 8) == 0) {
        s->data = *member;
        s->found = true;
    }
    return STATUS_OK;
}

status deb_unpack(const void *bytes, size_t n, const char *where, size_t limit, buffer *out) {
    deb_search search = {0};
    TRY(ar_each(bytes, n, where, deb_member, &search));
    if (!search.is_deb || !search.found)
        return refuse(where, "not a Debian package", NULL, 0,
                      search.is_deb ? "it has no member data.tar"
                                    : "it has no member debian-binary of format 2");
    status s = stream_unpack(search.data.bytes, search.data.n, where, limit, out);
    if (s == STATUS_FORMAT) return error_context(s, "member data.tar");
    return s;
}
