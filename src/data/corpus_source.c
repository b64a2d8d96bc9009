/* corpus_source.c - where pieces come from: packages, folders, installed man pages.
 *
 * What: lists of pieces with a kind each, sorted by path. Files that are no text are listed too, as
 * PIECE_OTHER or PIECE_LINK, so that the counts add up.
 * Mind: folders are walked at most FOLDER_DEPTH deep and links are not followed, so a walk ends.
 * Hidden files are left out without being counted.
 */
#include "data/corpus_internal.h"

#include "base/ending.h"
#include "base/file.h"
#include "data/archive.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FOLDER_DEPTH 32

status pieces_add(piece_list *l, const char *path, const char *file, const uint8_t *bytes, size_t n,
                  piece_kind kind) {
    if (l->n == l->capacity) {
        int64_t capacity = l->capacity > 0 ? 2 * l->capacity : 256;
        piece *items = mem_resize(l->items, (size_t)capacity, sizeof *items);
        if (items == NULL) return STATUS_MEMORY;
        l->items = items;
        l->capacity = capacity;
    }
    piece p = {.bytes = bytes, .n = n, .kind = kind, .drop = DROP_KIND};
    p.path = mem_strdup(path);
    if (p.path == NULL) return STATUS_MEMORY;
    if (file != NULL) {
        p.file = mem_strdup(file);
        if (p.file == NULL) {
            mem_free(p.path);
            return STATUS_MEMORY;
        }
    }
    l->items[l->n++] = p;
    return STATUS_OK;
}

static int piece_order(const void *a, const void *b) {
    const piece *x = a, *y = b;
    return strcmp(x->path, y->path);
}

void pieces_sort(piece_list *l) {
    if (l->n > 1) qsort(l->items, (size_t)l->n, sizeof *l->items, piece_order);
}

void pieces_clear(piece_list *l) {
    for (int64_t i = 0; i < l->n; i++) {
        mem_free(l->items[i].path);
        mem_free(l->items[i].file);
        piece_forget(&l->items[i]);
    }
    mem_free(l->items);
    buffer_clear(&l->archive);
    memset(l, 0, sizeof *l);
}

static bool starts_with(const char *s, const char *prefix) {
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* ---- packages ------------------------------------------------------------------------------ */

/* man1 ... man9 below the folder of man pages; other folders there are languages. */
static bool is_english_page(const char *path) {
    const char *root = "usr/share/man/man";
    if (!starts_with(path, root)) return false;
    const char *section = path + strlen(root);
    return *section >= '1' && *section <= '9' && strchr(section, '/') != NULL;
}

/* Collections of texts; art made of characters is left out, and so are the rotated files. */
static bool is_fortune_file(const char *path) {
    const char *root = "usr/share/games/fortunes/";
    if (!starts_with(path, root)) return false;
    const char *name = path + strlen(root);
    return strpbrk(name, "./") == NULL && strcmp(name, "ascii-art") != 0;
}

static bool is_help_page(const char *path) {
    return starts_with(path, "usr/share/libreoffice/help/") && strstr(path, "/text/") != NULL &&
           ends_with(path, ".html");
}

static piece_kind kind_in_package(const char *path) {
    if (is_english_page(path)) return PIECE_ROFF;
    if (is_fortune_file(path)) return PIECE_FORTUNES;
    if (is_help_page(path)) return PIECE_HTML;
    return PIECE_OTHER;
}

static status member_add(void *context, const archive_member *m) {
    return pieces_add(context, m->path, NULL, m->bytes, m->n, kind_in_package(m->path));
}

status pieces_from_package(piece_list *l, const char *package, const char *deb) {
    mapped_file map = {0};
    TRY(mapped_open(&map, deb));
    status s = deb_unpack(map.data, map.size, path_name(deb), ARCHIVE_OUTPUT_LIMIT, &l->archive);
    mapped_close(&map);
    TRY(s);
    TRY(tar_each(l->archive.bytes, l->archive.n, package, member_add, l));
    pieces_sort(l);
    return STATUS_OK;
}

/* ---- folders ------------------------------------------------------------------------------- */

static piece_kind kind_of_file(const char *name) {
    size_t n = strlen(name);
    if (ends_with(name, ".gz")) n -= 3;
    if (n > 2 && name[n - 2] == '.' && name[n - 1] >= '1' && name[n - 1] <= '9') return PIECE_ROFF;
    if ((n > 5 && memcmp(name + n - 5, ".html", 5) == 0) ||
        (n > 4 && memcmp(name + n - 4, ".htm", 4) == 0))
        return PIECE_HTML;
    return PIECE_TEXT;
}

static MUST_CHECK status folder_walk(piece_list *l, const char *folder, const char *prefix,
                                     int depth);

/* One name in a folder. `path` is what documents call it. */
static MUST_CHECK status entry_add(piece_list *l, const char *file, const char *path, int depth) {
    struct stat s;
    if (lstat(file, &s) != 0) return STATUS_OK; /* gone since the folder was read */
    if (S_ISDIR(s.st_mode)) return folder_walk(l, file, path, depth + 1);
    if (S_ISLNK(s.st_mode)) return pieces_add(l, path, file, NULL, 0, PIECE_LINK);
    if (!S_ISREG(s.st_mode)) return pieces_add(l, path, file, NULL, 0, PIECE_OTHER);
    return pieces_add(l, path, file, NULL, (size_t)s.st_size, kind_of_file(path_name(path)));
}

static status folder_walk(piece_list *l, const char *folder, const char *prefix, int depth) {
    char **names = NULL;
    int n = 0;
    status result = STATUS_OK;
    if (depth > FOLDER_DEPTH)
        return FAIL(F_OVERFLOW, "folders are nested too deeply", folder,
                    text("a corpus is read at most %d folders deep", FOLDER_DEPTH),
                    "move the texts closer to the folder you name");
    TRY(folder_list(folder, &names, &n));
    for (int i = 0; i < n && result == STATUS_OK; i++) {
        char file[PATH_SIZE], path[PATH_SIZE];
        if (names[i][0] == '.') continue;
        result = path_join(file, folder, names[i]);
        if (result == STATUS_OK && prefix[0] != '\0') result = path_join(path, prefix, names[i]);
        if (result == STATUS_OK)
            result = entry_add(l, file, prefix[0] != '\0' ? path : names[i], depth);
    }
    folder_list_free(names, n);
    return result;
}

status pieces_from_folder(piece_list *l, const char *folder) {
    TRY(folder_walk(l, folder, "", 0));
    pieces_sort(l);
    return STATUS_OK;
}

status pieces_from_man(piece_list *l, const char *root) {
    for (char section = '1'; section <= '9'; section++) {
        char folder[PATH_SIZE];
        const char name[] = {'m', 'a', 'n', section, '\0'};
        TRY(path_join(folder, root, name));
        if (path_is_folder(folder)) TRY(folder_walk(l, folder, name, 0));
    }
    pieces_sort(l);
    return STATUS_OK;
}
