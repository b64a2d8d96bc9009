/* convert.c - one conversion from beginning to end: open, plan, write beside, compare, install.
 *
 * How: everything that can be refused is refused before the first byte: the input is checked whole, the
 * target must be free, the disk must have room. The output is made in OUT.part and gets its name in one
 * rename when it has been compared with the input. A conversion that is killed leaves OUT.part, which
 * nothing takes for a model of that name and which the next one to the same place removes; an advisory
 * lock on it tells a dead one from one that runs.
 *
 * Mind: --force replaces a model, in one system call for folders; a folder that holds no config.json is
 * never replaced, whatever is asked for.
 */
#include "convert/convert_internal.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define SPARE_BYTES ((int64_t)64 << 20) /* headers, tokenizer, what others write meanwhile */

void convert_note(convert_report *r, const char *format, ...) {
    va_list list;
    if (r->n_notes == CONVERT_NOTES) return;
    va_start(list, format);
    vsnprintf(r->notes[r->n_notes++], sizeof r->notes[0], format, list);
    va_end(list);
}

status convert_step(convert_job *j, size_t bytes) {
    j->done += (double)bytes;
    progress_show(&j->progress, j->done / 1e6, NULL);
    return interrupt_status("a model is being converted",
                            "start it again; nothing was left at the target");
}

/* -- before the first byte -- */

static status check_names(const char *in, const char *out, const convert_options *o) {
    bool file = gguf_is_name(out);
    if (file != (o->form == CONVERT_GGUF))
        return FAIL(F_USAGE, text("%s is no name for this form", out), out,
                    file ? "names of folders do not end in .gguf"
                         : "names of GGUF files end in .gguf",
                    file ? "choose another name, or --to gguf" : "add .gguf to the name");
    char *a = realpath(in, NULL), *b = realpath(out, NULL);
    bool same = a != NULL && b != NULL && strcmp(a, b) == 0;
    free(a);
    free(b);
    if (same)
        return FAIL(F_USAGE, "input and output are the same", out,
                    "a model cannot be written over itself", "choose another output");
    return STATUS_OK;
}

static status check_free(const char *out, const convert_options *o) {
    char config[PATH_SIZE];
    if (!path_exists(out)) return STATUS_OK;
    if (!o->force)
        return FAIL(F_CANNOT_CREATE, text("%s exists", out), out,
                    "a conversion does not replace anything unless told to",
                    "choose another name, or add --force");
    TRY(path_join(config, out, "config.json"));
    bool folder = path_is_folder(out);
    if (folder == (o->form == CONVERT_GGUF) || (folder && !path_exists(config)))
        return FAIL(F_CANNOT_CREATE, text("%s is no model of this form", out), out,
                    folder ? "it is a folder, and not one that --force may replace"
                           : "it is a file, a folder is to be written",
                    "choose another name, or remove it yourself");
    return STATUS_OK;
}

static status check_disk(const convert_job *j) {
    int64_t room, needed = j->plan.bytes + SPARE_BYTES;
    TRY(disk_free(j->out, &room));
    if (room >= needed) return STATUS_OK;
    return FAIL(F_DISK_FULL,
                text("the output takes %.2f GB, %.2f GB are free", (double)needed / 1e9,
                     (double)room / 1e9),
                j->out, "it would not fit beside what is there",
                "free some space, or choose another disk or --type");
}

/* OUT.part, empty and locked; *lock keeps it ours. */
static status claim_part(convert_job *j, int *lock) {
    for (int attempt = 0; attempt < 2; attempt++) {
        TRY(folder_create(j->part));
        *lock = open(j->part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (*lock < 0) return error_errno(errno, text("open %s", j->part), j->part);
        if (flock(*lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
            close(*lock);
            *lock = -1;
            return FAIL(F_CANNOT_CREATE, text("%s is being written", j->out), j->part,
                        "another conversion to the same place is running",
                        "wait for it, or choose another name");
        }
        char **names;
        int n;
        TRY(folder_list(j->part, &names, &n));
        folder_list_free(names, n);
        if (n == 0) return STATUS_OK;
        TRY(folder_remove(j->part)); /* of one that was killed */
        close(*lock);
        *lock = -1;
    }
    return FAIL(F_CANNOT_CREATE, text("%s does not stay empty", j->part), j->part,
                "another program writes there", "choose another name");
}

/* -- notes about types -- */

static void note_types(const recipes *p, convert_report *r) {
    int count[QUANT_LIMIT][4] = {{0}}, f8 = 0; /* rows: from; columns: to F32, F16, BF16 */
    for (int i = 0; i < p->n; i++) {
        const recipe *t = &p->all[i];
        int to = t->type == QUANT_F32    ? 0
                 : t->type == QUANT_F16  ? 1
                 : t->type == QUANT_BF16 ? 2
                                         : 3;
        f8 += t->f8;
        if (!t->f8 && t->type != t->from) count[t->from][to]++;
    }
    static const char *const names[] = {"F32", "F16", "BF16"};
    for (uint32_t from = 0; from < QUANT_LIMIT; from++)
        for (int to = 0; to < 3; to++)
            if (count[from][to] > 0)
                convert_note(r, "%d tensors of %s became %s: %s", count[from][to], quant_name(from),
                             names[to],
                             to == 0 ? "every value is kept, in more bytes" : "values are rounded");
    if (f8 > 0)
        convert_note(r, "%d tensors of F8_E4M3 became %s: value = code * scale of its block", f8,
                     p->o->type == CONVERT_KEEP ? "BF16, rounded" : "plain numbers");
}

/* -- after the last -- */

static status install(convert_job *j) {
    if (j->plan.o->form == CONVERT_GGUF) return file_rename(j->made, j->out);
    if (!path_exists(j->out)) return file_rename(j->part, j->out);
    if (renameat2(AT_FDCWD, j->part, AT_FDCWD, j->out, RENAME_EXCHANGE) == 0) return STATUS_OK;
    if (errno != EINVAL && errno != ENOSYS)
        return error_errno(errno, text("replace %s", j->out), j->out);
    TRY(folder_remove(j->out)); /* a file system without exchange */
    return file_rename(j->part, j->out);
}

static status write_and_verify(convert_job *j) {
    double total = 2 * (double)j->plan.bytes / 1e6;
    progress_start(&j->progress, "convert", "MB", total, 0);
    j->report->base = memory_peak_rss();
    status s = j->plan.o->form == CONVERT_GGUF ? convert_write_gguf(j) : convert_write_folder(j);
    if (s == STATUS_OK) s = convert_verify(j);
    progress_end(&j->progress, NULL);
    if (s != STATUS_OK) return s;
    return install(j);
}

/* Removes OUT.part, which after an exchange is what was replaced; the report of a failure stays. */
static void clean(const convert_job *j) {
    error_report kept;
    error_save(&kept);
    if (folder_remove(j->part) != STATUS_OK)
        convert_note(j->report, "%s could not be removed", j->part);
    error_restore(&kept);
}

static status run(convert_job *j) {
    int lock = -1;
    status s = check_disk(j);
    if (s == STATUS_OK) s = claim_part(j, &lock);
    if (s == STATUS_OK) {
        s = write_and_verify(j);
        clean(j);
    }
    if (lock >= 0) close(lock);
    return s;
}

static status name_parts(convert_job *j) {
    size_t n = strlen(j->out);
    while (n > 1 && j->out[n - 1] == '/')
        n--;
    if (n + 6 > sizeof j->part)
        return FAIL(F_BAD_VALUE, "the path of the output is too long", j->out,
                    text("paths have at most %d bytes", PATH_SIZE - 1), "use a shorter one");
    snprintf(j->part, sizeof j->part, "%.*s.part", (int)n, j->out);
    if (j->plan.o->form == CONVERT_GGUF) return path_join(j->made, j->part, path_name(j->out));
    memcpy(j->made, j->part, sizeof j->made);
    return STATUS_OK;
}

status convert_model(const char *in, const char *out, const convert_options *o, convert_report *r) {
    convert_job j = {.out = out, .report = r};
    convert_input input;
    double began = clock_seconds();
    *r = (convert_report){.peak = -1};
    TRY(check_names(in, out, o));
    TRY(check_free(out, o));
    TRY(convert_input_open(&input, in));
    status s;
    TRY_GOTO(s, recipes_make(&j.plan, &input, o));
    TRY_GOTO(s, name_parts(&j));
    r->tensors = j.plan.n;
    r->bytes = j.plan.bytes;
    r->largest = j.plan.largest;
    note_types(&j.plan, r);
    if (!o->plan_only) s = run(&j);
done:
    recipes_clear(&j.plan);
    convert_input_close(&input);
    r->seconds = clock_seconds() - began;
    return s;
}
