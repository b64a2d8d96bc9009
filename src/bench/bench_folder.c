/* bench_folder.c - see bench_folder.h. The rate of training does not depend on what is learnt, so
 * random bytes will do; but they are few against a vocabulary, which is why it is set apart. */
#include "bench/bench_folder.h"

#include "base/log.h"
#include "base/rng.h"
#include "model/presets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES ((size_t)4 << 20)

static status random_file(const char *path, size_t n) {
    uint8_t *bytes = mem_alloc(n);
    if (bytes == NULL) return STATUS_MEMORY;
    rng r = rng_at(1, RNG_BENCH, 0);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)rng_u64(r, i);
    status s = file_write(path, bytes, n);
    mem_free(bytes);
    return s;
}

status bench_folder_make(bench_folder *f) {
    const char *tmp = getenv("TMPDIR");
    TRY(path_join(f->path, tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp", "fathom-bench-XXXXXX"));
    if (mkdtemp(f->path) == NULL) return error_errno(errno, "make a temporary folder", f->path);
    status s = path_join(f->bytes, f->path, "bytes");
    if (s == STATUS_OK) s = path_join(f->run, f->path, "run");
    if (s == STATUS_OK) s = random_file(f->bytes, TEXT_BYTES);
    if (s != STATUS_OK) bench_folder_remove(f);
    return s;
}

void bench_folder_remove(const bench_folder *f) {
    error_report kept;
    error_save(&kept);
    if (folder_remove(f->path) != STATUS_OK) log_warn("%s was left behind", f->path);
    error_restore(&kept);
}

status bench_recipe(train_settings *s, const char *name, const bench_folder *f, arena *strings) {
    TRY(train_settings_defaults(s));
    TRY(train_recipe_apply(s, name, strings));
    const model_preset *size = model_preset_find(s->size);
    if (size != NULL) s->vocab_size = size->config.vocab_size;
    s->run = f->run;
    s->input = f->bytes;
    return STATUS_OK;
}

status bench_each(const char *names, bench_each_fn *run, void *context, bench_table *t) {
    for (const char *at = names; *at != '\0';) {
        char name[64];
        size_t n = strcspn(at, ",");
        if (n == 0 || n >= sizeof name)
            return FAIL(F_BAD_VALUE, text("no name of a model at \"%.20s\"", at), "--size",
                        "it is a list of presets with one comma between two",
                        "--size f-5m,f-15m; fathom config presets lists them");
        memcpy(name, at, n);
        name[n] = '\0';
        TRY(run(name, context, t));
        at += n + (at[n] == ',');
    }
    return STATUS_OK;
}
