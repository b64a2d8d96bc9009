/* manifest.c - see manifest.h.
 *
 * Why: MANIFEST is the last thing written into a checkpoint, so its presence says "complete", and
 * its hashes say "unchanged since". A lost tail, a flipped bit, a file of another checkpoint copied
 * over: each is found before a single number is used.
 *
 * Mind: files of the folder that MANIFEST does not name are ignored (a user may put notes there);
 * named ones must all be there.
 */
#include "train/manifest.h"

#include "base/file.h"

#include <inttypes.h>
#include <string.h>

#define MANIFEST_HEAD "fathom-manifest 1"
static const char *const FIX = "remove this checkpoint folder; the run then continues from the one before";

static status hash_file(const char *path, int64_t *size, hash128_value *hash) {
    mapped_file file;
    TRY(mapped_open(&file, path));
    *size = (int64_t)file.size;
    *hash = hash128(file.data, file.size);
    mapped_close(&file);
    return STATUS_OK;
}

/* Appends a line to text of `room` bytes; what does not fit is our mistake. */
static status add_line(char *out, size_t room, size_t *used, const char *line) {
    size_t n = strlen(line);
    if (n + 1 >= room - *used)
        return FAIL(F_INTERNAL, "a manifest outgrew its buffer", "manifest_write",
                    "a checkpoint holds more files than expected", "report this");
    memcpy(out + *used, line, n);
    out[*used + n] = '\n';
    *used += n + 1;
    out[*used] = 0;
    return STATUS_OK;
}

static status describe_files(const char *folder, char **names, int n, char *out, size_t room) {
    size_t used = 0;
    int entries = 0;
    TRY(add_line(out, room, &used, MANIFEST_HEAD));
    for (int i = 0; i < n; i++) {
        if (strcmp(names[i], "MANIFEST") == 0) continue;
        if (++entries > MANIFEST_ENTRIES_MAX || strlen(names[i]) >= MANIFEST_NAME_SIZE)
            return FAIL(F_INTERNAL, text("unexpected file \"%s\"", names[i]), folder,
                        "a checkpoint holds a fixed set of files", "report this");
        char path[PATH_SIZE];
        TRY(path_join(path, folder, names[i]));
        manifest_entry e;
        TRY(hash_file(path, &e.size, &e.hash));
        TRY(add_line(out, room, &used,
                     text("%016" PRIx64 "%016" PRIx64 " %" PRId64 " %s", e.hash.high, e.hash.low,
                          e.size, names[i])));
    }
    hash128_value all = hash128(out, used);
    return add_line(out, room, &used, text("end %016" PRIx64 "%016" PRIx64, all.high, all.low));
}

status manifest_write(const char *folder) {
    char **names;
    int n;
    TRY(folder_list(folder, &names, &n));
    char lines[(MANIFEST_ENTRIES_MAX + 2) * (MANIFEST_NAME_SIZE + 64)], path[PATH_SIZE];
    status s = describe_files(folder, names, n, lines, sizeof lines);
    folder_list_free(names, n);
    TRY(s);
    TRY(path_join(path, folder, "MANIFEST"));
    return file_write(path, lines, strlen(lines));
}

/* -- reading -- */

static status bad_line(const char *where, int line, const char *why) {
    return FAIL(F_CHECKPOINT, text("line %d of a manifest is not as written", line), where, why, FIX);
}

/* Exactly 16 lower-case hex digits. */
static bool parse_hex(const char *s, uint64_t *out) {
    *out = 0;
    for (int i = 0; i < 16; i++) {
        char c = s[i];
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else
            return false;
        *out = *out << 4 | digit;
    }
    return true;
}

static bool parse_hash(const char *line, size_t n, hash128_value *out) {
    return n >= 32 && parse_hex(line, &out->high) && parse_hex(line + 16, &out->low);
}

/* "<hash> <size> <name>" of n bytes. */
static bool parse_entry(const char *line, size_t n, manifest_entry *e) {
    if (n < 36 || !parse_hash(line, n, &e->hash) || line[32] != ' ') return false;
    size_t at = 33;
    e->size = 0;
    while (at < n && line[at] >= '0' && line[at] <= '9' && at < 33 + 18)
        e->size = e->size * 10 + (line[at++] - '0');
    if (at == 33 || at >= n || line[at] != ' ') return false;
    const char *name = line + at + 1;
    size_t length = n - at - 1;
    if (length < 1 || length >= MANIFEST_NAME_SIZE || name[0] == '.') return false;
    for (size_t i = 0; i < length; i++)
        if (name[i] <= ' ' || name[i] > '~' || name[i] == '/') return false;
    memcpy(e->name, name, length);
    e->name[length] = 0;
    return true;
}

status manifest_parse(const char *bytes, size_t n, const char *where, manifest *out) {
    out->n = 0;
    size_t at = 0;
    for (int line = 1;; line++) {
        const char *text_line = bytes + at;
        const char *end = at < n ? memchr(text_line, '\n', n - at) : NULL;
        if (end == NULL) return bad_line(where, line, "the file ends before its last line");
        size_t length = (size_t)(end - text_line);
        if (line == 1) {
            if (length != strlen(MANIFEST_HEAD) || memcmp(text_line, MANIFEST_HEAD, length) != 0)
                return bad_line(where, line, "it should read \"" MANIFEST_HEAD "\"");
        } else if (length == 36 && memcmp(text_line, "end ", 4) == 0) {
            hash128_value said, is = hash128(bytes, at);
            if (!parse_hash(text_line + 4, 32, &said) || said.low != is.low || said.high != is.high)
                return bad_line(where, line, "the hash of the lines before it differs");
            if (at + length + 1 != n) return bad_line(where, line + 1, "bytes follow the last line");
            return STATUS_OK;
        } else {
            if (out->n == MANIFEST_ENTRIES_MAX)
                return bad_line(where, line, text("more than %d files", MANIFEST_ENTRIES_MAX));
            if (!parse_entry(text_line, length, &out->entry[out->n]))
                return bad_line(where, line, "it should be hash, size and name of a file");
            out->n++;
        }
        at += length + 1;
    }
}

static status check_entry(const char *folder, const manifest_entry *e) {
    char path[PATH_SIZE];
    TRY(path_join(path, folder, e->name));
    if (!path_exists(path))
        return FAIL(F_CHECKPOINT, text("%s is missing", e->name), path,
                    "MANIFEST names it, so it was there when the checkpoint was written", FIX);
    int64_t size;
    hash128_value hash;
    TRY(hash_file(path, &size, &hash));
    if (size != e->size)
        return FAIL(F_CHECKPOINT,
                    text("%s has %" PRId64 " bytes instead of %" PRId64, e->name, size, e->size), path,
                    "it was cut or changed after it was written", FIX);
    if (hash.low != e->hash.low || hash.high != e->hash.high)
        return FAIL(F_CHECKPOINT, text("%s has other contents than were written", e->name), path,
                    text("XXH3-128 is %016" PRIx64 "%016" PRIx64 ", MANIFEST says %016" PRIx64
                         "%016" PRIx64, hash.high, hash.low, e->hash.high, e->hash.low),
                    FIX);
    return STATUS_OK;
}

status manifest_verify(const char *folder, manifest *out) {
    char path[PATH_SIZE], *bytes;
    size_t n;
    TRY(path_join(path, folder, "MANIFEST"));
    if (!path_exists(path))
        return FAIL(F_CHECKPOINT, "MANIFEST is missing", folder,
                    "it is written last, so the checkpoint is not complete", FIX);
    TRY(file_read(path, 1 << 20, &bytes, &n));
    status s = manifest_parse(bytes, n, path, out);
    mem_free(bytes);
    for (int i = 0; s == STATUS_OK && i < out->n; i++) s = check_entry(folder, &out->entry[i]);
    return s;
}
