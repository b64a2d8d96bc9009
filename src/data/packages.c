/* packages.c - apt-cache says what a package is, apt-get fetches it, SHA-256 decides.
 *
 * What: packages_get brings .deb files into a cache folder and proves that they are what the signed
 * package index promises.
 * How: (1) `apt-cache show` gives version, file, size and SHA-256; with empty lists, and as root,
 * `apt-get update` comes first. (2) Files already in the folder are hashed and kept. (3) The rest
 * is fetched by `apt-get download` into a folder of its own inside the cache; each file is hashed and
 * only then renamed to its place. (4) packages.json records what was verified, for the day without
 * an index.
 * Mind: two attempts, because a mirror may have moved on since the lists were read: before the
 * second one the lists are renewed if we may. A folder left by a killed run is removed by the next.
 */
#include "data/packages.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "data/process.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define ATTEMPTS      2
#define RECORD        "packages.json"
#define FETCH_PREFIX  "fetch-"
#define FETCH_SUFFIX  ".tmp"
#define PACKAGES_MAX  64
#define PACKAGE_BYTES ((int64_t)1 << 31) /* a stanza that says more is not believed */

/* ---- the index ----------------------------------------------------------------------------- */

typedef struct line {
    const char *p;
    size_t n;
} line;

/* "Key: value" with this key: its value. */
static bool field(line l, const char *key, line *value) {
    size_t n = strlen(key);
    if (l.n < n + 2 || memcmp(l.p, key, n) != 0 || l.p[n] != ':') return false;
    *value = (line){l.p + n + 1, l.n - n - 1};
    while (value->n > 0 && *value->p == ' ') {
        value->p++;
        value->n--;
    }
    return value->n > 0;
}

static void copy_field(char *to, size_t room, line value) {
    if (value.n >= room || memchr(value.p, '\0', value.n) != NULL) return;
    memcpy(to, value.p, value.n);
    to[value.n] = '\0';
}

/* The name of a file without folders; refuses what could leave the cache folder. */
static void copy_file_name(package *p, line value) {
    const char *slash = memrchr(value.p, '/', value.n);
    if (slash != NULL) value = (line){slash + 1, value.n - (size_t)(slash + 1 - value.p)};
    if (value.n > 4 && *value.p != '.' && memcmp(value.p + value.n - 4, ".deb", 4) == 0)
        copy_field(p->file, sizeof p->file, value);
}

static void copy_hash(package *p, line value) {
    for (size_t i = 0; i < value.n; i++)
        if (memchr("0123456789abcdef", value.p[i], 16) == NULL) return;
    if (value.n == 64) copy_field(p->sha256, sizeof p->sha256, value);
}

static void copy_size(package *p, line value) {
    int64_t bytes = 0;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9' || bytes > PACKAGE_BYTES) return;
        bytes = bytes * 10 + (value.p[i] - '0');
    }
    p->bytes = bytes <= PACKAGE_BYTES ? bytes : 0;
}

static bool package_known(const package *p) {
    return p->version[0] != '\0' && p->file[0] != '\0' && p->sha256[0] != '\0' && p->bytes > 0;
}

static void package_forget(package *p) {
    p->version[0] = p->file[0] = p->sha256[0] = p->path[0] = '\0';
    p->bytes = 0;
    p->here = false;
}

static package *package_named(package *list, int n, line name) {
    for (int i = 0; i < n; i++)
        if (strlen(list[i].name) == name.n && memcmp(list[i].name, name.p, name.n) == 0)
            return &list[i];
    return NULL;
}

void packages_parse(const char *bytes, size_t n, package *list, int n_packages) {
    const char *p = bytes, *end = bytes + n;
    package *current = NULL;
    while (p < end) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        line l = {p, (size_t)((newline != NULL ? newline : end) - p)}, value;
        p = newline != NULL ? newline + 1 : end;
        if (l.n == 0) current = NULL;
        if (field(l, "Package", &value)) {
            current = package_named(list, n_packages, value);
            if (current != NULL && package_known(current))
                current = NULL; /* the first one counts */
        }
        if (current == NULL) continue;
        if (field(l, "Version", &value)) copy_field(current->version, PACKAGE_FIELD, value);
        if (field(l, "Filename", &value)) copy_file_name(current, value);
        if (field(l, "Size", &value)) copy_size(current, value);
        if (field(l, "SHA256", &value)) copy_hash(current, value);
    }
    for (int i = 0; i < n_packages; i++)
        if (!package_known(&list[i])) package_forget(&list[i]);
}

static bool all_known(const package *list, int n) {
    for (int i = 0; i < n; i++)
        if (!package_known(&list[i])) return false;
    return true;
}

static MUST_CHECK status index_query(package *list, int n) {
    const char *argv[PACKAGES_MAX + 4] = {"apt-cache", "show", "--no-all-versions"};
    for (int i = 0; i < n; i++)
        argv[3 + i] = list[i].name;
    process p = {.argv = argv};
    status result = process_run(&p);
    for (int i = 0; i < n; i++)
        package_forget(&list[i]);
    if (result == STATUS_OK && p.out.n > 0) packages_parse(p.out.bytes, p.out.n, list, n);
    process_clear(&p);
    return result;
}

/* Renews the package lists, if we may; its failure shows in what follows. */
static MUST_CHECK status index_update(void) {
    const char *const argv[] = {
        "apt-get", "update", "-q", "-o", "Acquire::http::Timeout=30", "-o", "Acquire::Retries=1",
        NULL};
    if (geteuid() != 0) return STATUS_OK;
    log_info("renewing the package lists (apt-get update)");
    process p = {.argv = argv};
    status result = process_run(&p);
    if (result == STATUS_OK && p.exit_code != 0)
        log_warn("apt-get update failed with exit code %d", p.exit_code);
    process_clear(&p);
    return result;
}

/* ---- the record ---------------------------------------------------------------------------- */

/* The record, or an empty one if there is none or it cannot be understood. */
static MUST_CHECK status record_open(const char *path, json_t **root) {
    status s = path_exists(path) ? json_read(path, root) : STATUS_OK;
    if (s == STATUS_OK && !json_is_object(*root)) {
        json_decref(*root);
        *root = json_object();
    }
    if (s != STATUS_FORMAT) return s;
    log_warn("%s cannot be read and starts anew: %s", path, error_last()->why);
    *root = json_object();
    return STATUS_OK;
}

static MUST_CHECK status record_write(const char *folder, const package *list, int n) {
    char path[PATH_SIZE];
    json_t *root = NULL;
    TRY(path_join(path, folder, RECORD));
    TRY(record_open(path, &root));
    bool ok = root != NULL;
    for (int i = 0; i < n && ok; i++) {
        json_t *entry =
            json_pack("{s:s, s:s, s:I, s:s}", "version", list[i].version, "file", list[i].file,
                      "size", (json_int_t)list[i].bytes, "sha256", list[i].sha256);
        ok = entry != NULL && json_object_set_new(root, list[i].name, entry) == 0;
    }
    status result = ok ? json_write(path, root)
                       : FAIL(F_NO_MEMORY, "cannot record the packages", path,
                              "the system has no memory left for this process",
                              "close other programs and try again");
    json_decref(root);
    return result;
}

/* Fills packages the index does not know from the record; what is not there stays unknown. */
static MUST_CHECK status record_read(const char *folder, package *list, int n) {
    char path[PATH_SIZE];
    json_t *root = NULL;
    TRY(path_join(path, folder, RECORD));
    TRY(record_open(path, &root));
    for (int i = 0; i < n; i++) {
        json_t *entry = json_object_get(root, list[i].name);
        const char *version, *file, *sha256;
        json_int_t bytes;
        if (package_known(&list[i]) || entry == NULL ||
            json_unpack(entry, "{s:s, s:s, s:I, s:s}", "version", &version, "file", &file, "size",
                        &bytes, "sha256", &sha256) != 0)
            continue;
        copy_field(list[i].version, PACKAGE_FIELD, (line){version, strlen(version)});
        copy_file_name(&list[i], (line){file, strlen(file)});
        copy_hash(&list[i], (line){sha256, strlen(sha256)});
        list[i].bytes = bytes;
        if (!package_known(&list[i])) package_forget(&list[i]);
    }
    json_decref(root);
    return STATUS_OK;
}

/* ---- verification -------------------------------------------------------------------------- */

/* Whether the file has the promised size and hash. */
static MUST_CHECK status file_fits(const char *path, const package *p, bool *fits) {
    int64_t bytes;
    sha256_hex found;
    *fits = false;
    if (!path_exists(path)) return STATUS_OK;
    TRY(path_size(path, &bytes));
    if (bytes != p->bytes) return STATUS_OK;
    TRY(sha256_file(path, &found));
    *fits = strcmp(found.hex, p->sha256) == 0;
    return STATUS_OK;
}

static MUST_CHECK status cache_look(const char *folder, package *list, int n, int *missing) {
    *missing = 0;
    for (int i = 0; i < n; i++) {
        list[i].here = false;
        if (package_known(&list[i])) {
            TRY(path_join(list[i].path, folder, list[i].file));
            TRY(file_fits(list[i].path, &list[i], &list[i].here));
        }
        *missing += !list[i].here;
    }
    return STATUS_OK;
}

/* ---- fetching ------------------------------------------------------------------------------ */

typedef struct fetch {
    const char *folder; /* where apt-get works */
    package *list;
    int n;
    progress bar;
} fetch;

static int64_t folder_bytes(const char *folder) {
    char **names = NULL;
    int n = 0;
    int64_t sum = 0, bytes;
    if (folder_list(folder, &names, &n) != STATUS_OK) return 0;
    for (int i = 0; i < n; i++) {
        char path[PATH_SIZE];
        if (path_join(path, folder, names[i]) == STATUS_OK && path_size(path, &bytes) == STATUS_OK)
            sum += bytes;
    }
    folder_list_free(names, n);
    return sum;
}

static void fetch_tick(void *context) {
    fetch *f = context;
    error_report saved;
    error_save(&saved);
    progress_show(&f->bar, (double)folder_bytes(f->folder) / 1e6, NULL);
    error_restore(&saved);
}

/* Takes what was fetched for `p`: verified files move to their place. */
static MUST_CHECK status fetch_take(const fetch *f, package *p, int64_t *bytes) {
    char **names = NULL;
    int n = 0;
    size_t prefix = strlen(p->name);
    status result;
    TRY(folder_list(f->folder, &names, &n));
    result = STATUS_OK;
    for (int i = 0; i < n && result == STATUS_OK && !p->here; i++) {
        char path[PATH_SIZE];
        if (strncmp(names[i], p->name, prefix) != 0 || names[i][prefix] != '_') continue;
        result = path_join(path, f->folder, names[i]);
        if (result == STATUS_OK) result = file_fits(path, p, &p->here);
        if (result == STATUS_OK && p->here) {
            result = file_rename(path, p->path);
            *bytes += p->bytes;
        } else if (result == STATUS_OK) {
            log_warn("the download of %s differs from its index", p->name);
        }
    }
    folder_list_free(names, n);
    return result;
}

/* The last line of apt's messages that reports an error, without "E: ". */
static const char *last_error(const buffer *err) {
    const char *found = "apt-get gave no reason";
    for (const char *p = err->n > 0 ? err->bytes : NULL; p != NULL; p = strchr(p, '\n')) {
        if (*p == '\n') p++;
        if (strncmp(p, "E: ", 3) == 0) found = text("%.*s", (int)strcspn(p + 3, "\n"), p + 3);
    }
    return found;
}

static MUST_CHECK status unavailable(const char *package_name, const char *why) {
    return FAIL(F_UNAVAILABLE, text("package %s cannot be fetched", package_name),
                "apt-get download, from the package sources of this system", why,
                "check the network and run the same command again, or build from local text with "
                "--corpus local");
}

/* One run of apt-get for everything that is missing. *why says what it complained about. */
static MUST_CHECK status fetch_run(fetch *f, int64_t *bytes, char why[ERROR_PART]) {
    const char *argv[PACKAGES_MAX + 16] = {"apt-get",
                                           "download",
                                           "-q",
                                           "-o",
                                           "Acquire::http::Timeout=30",
                                           "-o",
                                           "Acquire::Retries=1",
                                           "-o",
                                           "APT::Sandbox::User=root"};
    int n = 9;
    status result = STATUS_OK;
    char specs[PACKAGES_MAX][2 * PACKAGE_FIELD];
    double total = 0;
    for (int i = 0; i < f->n; i++) {
        if (f->list[i].here) continue;
        (void)snprintf(specs[i], sizeof specs[i], "%s=%s", f->list[i].name, f->list[i].version);
        argv[n++] = specs[i];
        total += (double)f->list[i].bytes / 1e6;
    }
    process p = {.argv = argv, .folder = f->folder, .tick = fetch_tick, .context = f};
    progress_start(&f->bar, "download", "MB", total, 0);
    TRY_GOTO(result, process_run(&p));
    if (p.exit_code != 0)
        (void)snprintf(why, ERROR_PART, "%s",
                       p.exit_code == PROCESS_NOT_FOUND ? "there is no program apt-get here"
                                                        : last_error(&p.err));
    for (int i = 0; i < f->n; i++)
        if (!f->list[i].here) TRY_GOTO(result, fetch_take(f, &f->list[i], bytes));
done:
    progress_end(&f->bar, NULL);
    process_clear(&p);
    return result;
}

/* Folders of runs that were killed. */
static void leftovers_remove(const char *folder) {
    char **names = NULL;
    int n = 0;
    if (folder_list(folder, &names, &n) != STATUS_OK) return;
    for (int i = 0; i < n; i++) {
        char path[PATH_SIZE];
        int pid = 0;
        if (sscanf(names[i], FETCH_PREFIX "%d" FETCH_SUFFIX, &pid) != 1 || pid <= 0) continue;
        if (kill(pid, 0) == 0 || errno != ESRCH) continue;
        if (path_join(path, folder, names[i]) != STATUS_OK || folder_remove(path) != STATUS_OK)
            log_warn("%s of an earlier run cannot be removed", names[i]);
    }
    folder_list_free(names, n);
}

static int missing_count(const package *list, int n) {
    int missing = 0;
    for (int i = 0; i < n; i++)
        missing += !list[i].here;
    return missing;
}

static const package *first_missing(const package *list, int n) {
    for (int i = 0; i < n; i++)
        if (!list[i].here) return &list[i];
    return NULL;
}

/* Up to two attempts; what is still missing then is an error. */
static MUST_CHECK status fetch_all(const char *folder, package *list, int n,
                                   package_fetch_result *out) {
    char work[PATH_SIZE], why[ERROR_PART] = "";
    status result = STATUS_OK;
    int missing = missing_count(list, n);
    leftovers_remove(folder);
    TRY(path_join(work, folder, text(FETCH_PREFIX "%d" FETCH_SUFFIX, (int)getpid())));
    fetch f = {.folder = work, .list = list, .n = n};
    for (int attempt = 0; attempt < ATTEMPTS && missing > 0; attempt++) {
        if (attempt > 0) {
            TRY_GOTO(result, index_update());
            TRY_GOTO(result, index_query(list, n));
            TRY_GOTO(result, cache_look(folder, list, n, &missing));
            if (!all_known(list, n)) break;
        }
        why[0] = '\0';
        TRY_GOTO(result, folder_remove(work));
        TRY_GOTO(result, folder_create(work));
        TRY_GOTO(result, fetch_run(&f, &out->bytes, why));
        missing = missing_count(list, n);
    }
    if (missing > 0) {
        const package *p = first_missing(list, n);
        result =
            why[0] != '\0' || !package_known(p)
                ? unavailable(p->name, why[0] != '\0' ? why : "the package lists lack it")
                : FAIL(F_PACKAGE, text("package %s does not match its index", p->name), p->file,
                       text("fetched twice, and size or SHA-256 differ from the promised "
                            "%" PRId64 " bytes, %.16s...",
                            p->bytes, p->sha256),
                       "run apt-get update and the same command again; if it stays, the mirror "
                       "is damaged: choose another one");
    }
done:;
    error_report saved;
    error_save(&saved);
    if (folder_remove(work) != STATUS_OK) log_warn("%s cannot be removed", work);
    error_restore(&saved);
    return result;
}

/* Looks for recorded versions of what is missing. */
static MUST_CHECK status record_use(const char *folder, package *list, int n, int *missing) {
    for (int i = 0; i < n; i++)
        if (!list[i].here) package_forget(&list[i]);
    TRY(record_read(folder, list, n));
    return cache_look(folder, list, n, missing);
}

status packages_get(const char *folder, package *list, int n, bool offline,
                    package_fetch_result *out) {
    int missing = 0;
    double start = clock_seconds();
    *out = (package_fetch_result){0};
    if (n > PACKAGES_MAX)
        return FAIL(F_OVERFLOW, text("%d packages at once", n), "packages_get",
                    text("%d are possible", PACKAGES_MAX), "ask for fewer at a time");
    TRY(folder_create(folder));
    TRY(index_query(list, n));
    if (!offline && !all_known(list, n)) {
        TRY(index_update());
        TRY(index_query(list, n));
    }
    TRY(cache_look(folder, list, n, &missing));
    if (missing > 0 && !offline && all_known(list, n)) {
        status fetched = fetch_all(folder, list, n, out);
        if (fetched != STATUS_OK) {
            error_report why;
            error_save(&why);
            if (why.id != F_UNAVAILABLE) return fetched;
            TRY(record_use(folder, list, n, &missing));
            error_restore(&why);
            if (missing > 0) return fetched;
            log_warn("%s; the version in the cache is used", why.what);
        }
    } else if (missing > 0) {
        TRY(record_use(folder, list, n, &missing));
        if (missing > 0)
            return unavailable(first_missing(list, n)->name,
                               offline ? "it is not in the cache, and the network may not be used"
                                       : "the package lists of this system do not have it, and "
                                         "renewing them needs root (apt-get update)");
        log_info("packages of an earlier run are used");
    }
    out->seconds = clock_seconds() - start;
    return record_write(folder, list, n);
}
