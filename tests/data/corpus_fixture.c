/* corpus_fixture.c - see corpus_fixture.h. The programs are shell scripts of a few lines; nothing
 * reaches the network. */
#include "corpus_fixture.h"

#include "archive_fixture.h"
#include "base/hash.h"
#include "base/progress.h"
#include "test.h"

#include <sys/stat.h>

static const char cache_script[] = "#!/bin/sh\ncat \"$(dirname \"$0\")/index\"\n";

/* Copies what is asked for from pool/; names arrive as NAME=VERSION. */
static const char get_script[] =
    "#!/bin/sh\n"
    "root=$(dirname \"$0\")\n"
    "mode=$(cat \"$root/mode\")\n"
    "[ \"$1\" = update ] && { echo update >> \"$root/updates\"; exit 0; }\n"
    "echo \"$*\" >> \"$root/calls\"\n"
    "[ \"$mode\" = offline ] && { echo 'E: Failed to fetch: no route to host' >&2; exit 100; }\n"
    "for word in \"$@\"; do\n"
    "  case $word in\n"
    "  *=*) name=${word%%=*}\n"
    "    [ -f \"$root/pool/$name.deb\" ] || continue\n"
    "    cp \"$root/pool/$name.deb\" \"${name}_1_all.deb\"\n"
    "    case $mode in damage*) echo x >> \"${name}_1_all.deb\";; esac;;\n"
    "  esac\n"
    "done\n"
    "case $mode in 'damage 1') : > \"$root/mode\";; esac\n"
    "exit 0\n";

__attribute__((constructor)) static void progress_off(void) {
    progress_set_mode(PROGRESS_NONE);
}

static MUST_CHECK status write_in(const fake_apt *f, const char *name, const void *bytes,
                                  size_t n) {
    char path[PATH_SIZE];
    TRY(path_join(path, f->root, name));
    return file_write(path, bytes, n);
}

static MUST_CHECK status script_write(const fake_apt *f, const char *name, const char *script) {
    char path[PATH_SIZE];
    TRY(write_in(f, name, script, strlen(script)));
    TRY(path_join(path, f->root, name));
    return chmod(path, 0755) == 0 ? STATUS_OK : STATUS_IO;
}

status fake_apt_open(fake_apt *f) {
    char pool[PATH_SIZE];
    memset(f, 0, sizeof *f);
    TRY(path_join(f->root, test_folder(), "apt"));
    TRY(path_join(f->cache, test_folder(), "cache"));
    TRY(path_join(pool, f->root, "pool"));
    TRY(folder_create(pool));
    TRY(script_write(f, "apt-cache", cache_script));
    TRY(script_write(f, "apt-get", get_script));
    TRY(write_in(f, "index", "", 0));
    TRY(fake_apt_mode(f, ""));
    const char *path = getenv("PATH");
    f->old_path = mem_strdup(path != NULL ? path : "/usr/bin:/bin");
    if (f->old_path == NULL) return STATUS_MEMORY;
    buffer joined = {0};
    buffer_text(&joined, f->root);
    buffer_byte(&joined, ':');
    buffer_text(&joined, f->old_path);
    status s = buffer_check(&joined);
    if (s == STATUS_OK && setenv("PATH", joined.bytes, 1) != 0) s = STATUS_MEMORY;
    buffer_clear(&joined);
    return s;
}

void fake_apt_close(fake_apt *f) {
    if (f->old_path != NULL) (void)setenv("PATH", f->old_path, 1);
    mem_free(f->old_path);
    f->old_path = NULL;
}

status fake_apt_mode(fake_apt *f, const char *mode) {
    return write_in(f, "mode", mode, strlen(mode));
}

status fake_apt_add(fake_apt *f, const char *name, const char *version, const buffer *deb,
                    const char *promised) {
    sha256_hex hash;
    char path[PATH_SIZE], *old;
    size_t n;
    TRY(sha256_bytes(deb->bytes, deb->n, &hash));
    TRY(write_in(f, text("pool/%s.deb", name), deb->bytes, deb->n));
    TRY(path_join(path, f->root, "index"));
    TRY(file_read(path, 0, &old, &n));
    buffer index = {0};
    buffer_text(&index,
                text("Package: %s\nVersion: %s\nDescription: made up\n Size: 1\n"
                     "Filename: pool/main/x/%s_%s_all.deb\nSize: %zu\nSHA256: %s\n\n",
                     name, version, name, version, deb->n, promised != NULL ? promised : hash.hex));
    buffer_put(&index, old, n); /* the first stanza of a name counts */
    mem_free(old);
    status s = buffer_check(&index);
    if (s == STATUS_OK) s = file_write(path, index.bytes, index.n);
    buffer_clear(&index);
    return s;
}

int fake_apt_calls(const fake_apt *f) {
    char path[PATH_SIZE], *bytes = NULL;
    size_t n = 0;
    int calls = 0;
    if (path_join(path, f->root, "calls") != STATUS_OK || !path_exists(path)) return 0;
    if (file_read(path, 0, &bytes, &n) != STATUS_OK) return -1;
    for (size_t i = 0; i < n; i++)
        calls += bytes[i] == '\n';
    mem_free(bytes);
    return calls;
}

void fake_deb(buffer *deb, const char *const *files) {
    buffer tar = {0};
    for (; files[0] != NULL; files += 2)
        (void)tar_put(&tar, files[0], '0', files[1], strlen(files[1]));
    tar_finish(&tar);
    deb_put(deb, COMPRESSION_XZ, &tar);
    buffer_clear(&tar);
}
