/* folder.c - paths, folders, and what the file system says about them (declared in file.h).
 *
 * How. Removal walks with file descriptors (openat, unlinkat), so a folder that somebody swaps for
 * a link in the middle leads nowhere else, and links are removed, never followed.
 */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

bool path_exists(const char *path) {
    return access(path, F_OK) == 0;
}

bool path_is_folder(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

status path_size(const char *path, int64_t *bytes) {
    *bytes = 0;
    struct stat s;
    if (stat(path, &s) != 0) return error_errno(errno, text("look at %s", path), path);
    *bytes = (int64_t)s.st_size;
    return STATUS_OK;
}

status path_join(char out[PATH_SIZE], const char *folder, const char *name) {
    size_t n = strlen(folder);
    const char *slash = n > 0 && folder[n - 1] != '/' ? "/" : "";
    int written = snprintf(out, PATH_SIZE, "%s%s%s", folder, slash, name);
    if (written >= 0 && written < PATH_SIZE) return STATUS_OK;
    out[0] = '\0';
    return FAIL(F_BAD_VALUE, "a path is too long", text("%.100s.../%.100s", folder, name),
                text("at most %d bytes are possible", PATH_SIZE - 1), "choose a shorter path");
}

const char *path_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* The folder that holds `path`, for opening it. */
static status parent_of(char out[PATH_SIZE], const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (n >= PATH_SIZE) return path_join(out, path, "");
    if (n == 0) return path_join(out, ".", "");
    memcpy(out, path, n);
    out[n] = '\0';
    return STATUS_OK;
}

status folder_create(const char *path) {
    char part[PATH_SIZE];
    TRY(path_join(part, path, ""));
    for (char *p = part + 1; *p != '\0'; p++) {
        if (*p != '/') continue;
        *p = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return error_errno(errno, text("create folder %s", part), path);
        *p = '/';
    }
    if (path_is_folder(path)) return STATUS_OK;
    return FAIL(F_CANNOT_CREATE, text("cannot create folder %s", path), path,
                "something that is not a folder has this name", "choose another name");
}

static status remove_below(int parent, const char *name, const char *top);

static status remove_entries(DIR *folder, const char *top) {
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (entry == NULL) break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        TRY(remove_below(dirfd(folder), entry->d_name, top));
    }
    return errno == 0 ? STATUS_OK : error_errno(errno, text("list %s", top), top);
}

static status remove_below(int parent, const char *name, const char *top) {
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return STATUS_OK;
    if (errno != EISDIR && errno != EPERM) return error_errno(errno, text("remove %s", name), top);
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (folder == NULL) {
        status result = error_errno(errno, text("open folder %s", name), top);
        if (fd >= 0) close(fd);
        return result;
    }
    status result = remove_entries(folder, top);
    closedir(folder);
    TRY(result);
    if (unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        return error_errno(errno, text("remove folder %s", name), top);
    return STATUS_OK;
}

status folder_remove(const char *path) {
    return remove_below(AT_FDCWD, path, path);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static status add_name(char ***names, int *n, int *room, const char *name) {
    if (*n == *room) {
        int more = *room > 0 ? 2 * *room : 16;
        char **moved = mem_resize(*names, (size_t)more, sizeof **names);
        if (moved == NULL) return STATUS_MEMORY;
        *names = moved;
        *room = more;
    }
    (*names)[*n] = mem_strdup(name);
    if ((*names)[*n] == NULL) return STATUS_MEMORY;
    (*n)++;
    return STATUS_OK;
}

status folder_list(const char *path, char ***names, int *n) {
    *names = NULL;
    *n = 0;
    DIR *folder = opendir(path);
    if (folder == NULL) return error_errno(errno, text("list %s", path), path);
    int room = 0;
    status result = STATUS_OK;
    while (result == STATUS_OK) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (entry == NULL) {
            if (errno != 0) result = error_errno(errno, text("list %s", path), path);
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            result = add_name(names, n, &room, entry->d_name);
    }
    closedir(folder);
    if (result != STATUS_OK) {
        folder_list_free(*names, *n);
        *names = NULL;
        *n = 0;
    } else if (*n > 1) {
        qsort(*names, (size_t)*n, sizeof **names, compare_names);
    }
    return result;
}

void folder_list_free(char **names, int n) {
    for (int i = 0; i < n; i++)
        mem_free(names[i]);
    mem_free(names);
}

status file_rename(const char *from, const char *to) {
    char folder[PATH_SIZE];
    TRY(parent_of(folder, to));
    if (rename(from, to) != 0) return error_errno(errno, text("rename %s to %s", from, to), to);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return error_errno(errno, text("open folder %s", folder), to);
    /* Some network file systems cannot flush folders and say so with EINVAL. */
    status result = STATUS_OK;
    if (fsync(fd) != 0 && errno != EINVAL)
        result = error_errno(errno, text("flush folder %s", folder), to);
    close(fd);
    return result;
}

status disk_free(const char *path, int64_t *bytes) {
    *bytes = 0;
    char at[PATH_SIZE];
    if (strlen(path) >= PATH_SIZE) return path_join(at, path, "");
    memcpy(at, path, strlen(path) + 1);
    struct statvfs s;
    while (statvfs(at, &s) != 0) {
        if (errno != ENOENT || strcmp(at, "/") == 0 || strcmp(at, ".") == 0)
            return error_errno(errno, text("ask for the free space of %s", path), path);
        char above[PATH_SIZE];
        TRY(parent_of(above, at));
        size_t n = strlen(above);
        if (n > 1 && above[n - 1] == '/') above[n - 1] = '\0';
        memcpy(at, above, sizeof at);
    }
    *bytes = (int64_t)(s.f_bavail * s.f_frsize);
    return STATUS_OK;
}

status cache_folder(char out[PATH_SIZE]) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache != NULL && cache[0] == '/') {
        TRY(path_join(out, cache, "fathom"));
    } else if (home != NULL && home[0] == '/') {
        TRY(path_join(out, home, ".cache/fathom"));
    } else {
        return FAIL(F_MISSING, "no folder for downloads", "XDG_CACHE_HOME and HOME",
                    "neither holds an absolute path", "set HOME to your home folder");
    }
    return folder_create(out);
}
