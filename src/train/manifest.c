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
#define HASH_DIGITS   64
static const char *const FIX =
    "remove this checkpoint folder; the run then continues from the one before";

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
        TRY(path_size(path, &e.size));
        TRY(sha256_file(path, &e.hash));
        TRY(add_line(out, room, &used, text("%s %" PRId64 " %s", e.hash.hex, e.size, names[i])));
    }
    sha256_hex all;
    TRY(sha256_bytes(out, used, &all));
    return add_line(out, room, &used, text("end %s", all.hex));
}

status manifest_write(const char *folder) {
    char **names;
    int n;
    TRY(folder_list(folder, &names, &n));
    char lines[(MANIFEST_ENTRIES_MAX + 2) * (MANIFEST_NAME_SIZE + 96)], path[PATH_SIZE];
    status s = describe_files(folder, names, n, lines, sizeof lines);
    folder_list_free(names, n);
    TRY(s);
    TRY(path_join(path, folder, "MANIFEST"));
    return file_write(path, lines, strlen(lines));
}

/* -- reading -- */

static status bad_line(const char *where, int line, const char *why) {
    return FAIL(F_CHECKPOINT, text("line %d of a manifest is not as written", line), where, why,
                FIX);
}

/* 64 lower-case hex digits. */
static bool parse_hash(const char *line, sha256_hex *out) {
    for (int i = 0; i < HASH_DIGITS; i++) {
        char c = line[i];
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f')) return false;
        out->hex[i] = c;
    }
    out->hex[HASH_DIGITS] = 0;
    return true;
}

/* "<hash> <size> <name>" of n bytes. */
static bool parse_entry(const char *line, size_t n, manifest_entry *e) {
    size_t at = HASH_DIGITS + 1;
    if (n < at + 3 || !parse_hash(line, &e->hash) || line[HASH_DIGITS] != ' ') return false;
    e->size = 0;
    while (at < n && line[at] >= '0' && line[at] <= '9' && at < HASH_DIGITS + 19)
        e->size = e->size * 10 + (line[at++] - '0');
    if (at == HASH_DIGITS + 1 || at >= n || line[at] != ' ') return false;
    const char *name = line + at + 1;
    size_t length = n - at - 1;
    if (length < 1 || length >= MANIFEST_NAME_SIZE || name[0] == '.') return false;
    for (size_t i = 0; i < length; i++)
        if (name[i] <= ' ' || name[i] > '~' || name[i] == '/') return false;
    memcpy(e->name, name, length);
    e->name[length] = 0;
    return true;
}

/* The last line, `length` bytes at `at`, against the lines before it. */
static status check_end(const char *bytes, size_t at, size_t length, size_t n, const char *where,
                        int line) {
    sha256_hex said, is;
    TRY(sha256_bytes(bytes, at, &is));
    if (!parse_hash(bytes + at + 4, &said) || strcmp(said.hex, is.hex) != 0)
        return bad_line(where, line, "the hash of the lines before it differs");
    if (at + length + 1 != n) return bad_line(where, line + 1, "bytes follow the last line");
    return STATUS_OK;
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
        } else if (length == HASH_DIGITS + 4 && memcmp(text_line, "end ", 4) == 0) {
            return check_end(bytes, at, length, n, where, line);
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
    sha256_hex hash;
    TRY(path_size(path, &size));
    if (size != e->size)
        return FAIL(F_CHECKPOINT,
                    text("%s has %" PRId64 " bytes instead of %" PRId64, e->name, size, e->size),
                    path, "it was cut or changed after it was written", FIX);
    TRY(sha256_file(path, &hash));
    if (strcmp(hash.hex, e->hash.hex) != 0)
        return FAIL(F_CHECKPOINT, text("%s has other contents than were written", e->name), path,
                    text("SHA-256 is %s, MANIFEST says %s", hash.hex, e->hash.hex), FIX);
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
    for (int i = 0; s == STATUS_OK && i < out->n; i++)
        s = check_entry(folder, &out->entry[i]);
    return s;
}
