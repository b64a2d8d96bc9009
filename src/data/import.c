/* import.c - files, folders and standard input into a dataset of documents.
 *
 * What: plain text (one file, one document) and JSON lines (one record, one document), as UTF-8 or,
 * when asked, ISO-8859-1; gzip, xz and zstd streams are unpacked first. The result is corpus.jsonl
 * and data.json.
 *
 * How: what a file is, its content decides: a first line that is a JSON object makes it JSON lines.
 * Each line that cannot be used is counted and copied to rejected.jsonl with its number and reason;
 * if a file has more of them than max_bad allows, nothing is written and the error names the first
 * one. So nothing is dropped in silence, and a wrong encoding or a wrong key stops at once. A file
 * is mapped, not read; memory holds one document and a hash of every document seen.
 *
 * Mind: text is taken as it is, byte for byte, apart from a byte order mark at the start: no
 * normal form, no change of line ends. Inputs in a folder come sorted by name, so the order of
 * documents depends on names only. Links to folders and hidden names inside folders are not
 * followed (counted as skipped): they lead out of what was named, or to version control.
 */
#include "data/data.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/utf8.h"
#include "data/archive.h"
#include "data/dataset.h"
#include "data/hash_set.h"
#include "data/jsonl.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INPUT_LIMIT ((size_t)16 << 30) /* of standard input and of an unpacked stream */
#define DEPTH_LIMIT 32                 /* folders inside folders */

typedef struct importer {
    const import_options *o;
    import_result *out;
    corpus_writer *corpus;
    file_writer *rejected; /* opened with the first refused line */
    hash_set seen;         /* documents */
    buffer text, line, unpacked, converted;
    buffer source_name, path_name; /* in UTF-8, if the file system's are not */
    const char *source;            /* name of the input at work */
    const char *format;            /* of the last file, for the card */
    progress bar;                  /* in MB of the inputs as they lie there, packed or not */
    double read, file_bytes;       /* bytes of files that are done; of the one at work */
} importer;

/* A file at work: where its refused lines are counted. */
typedef struct file_job {
    const char *name; /* for messages */
    const char *path; /* in the input, for the record */
    int64_t lines, bad, first_bad;
    error_report first; /* why the first one was refused */
    bool high_controls; /* bytes 80 .. 9F among those that are not UTF-8 */
} file_job;

/* ---- documents out ---- */

static bool blank(const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strchr(" \t\r\n\f\v", bytes[i]) == NULL) return false;
    return true;
}

/* Latin-1 is the first 256 code points of Unicode. */
static void append_latin1(buffer *out, const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)bytes[i];
        if (c < 0x80)
            buffer_byte(out, (char)c);
        else
            buffer_rune(out, c);
    }
}

/* A name from the file system as UTF-8: taken as Latin-1 if it is not. */
static const char *safe_name(buffer *room, const char *name) {
    size_t n = strlen(name);
    if (utf8_valid(name, n) == n) return name;
    buffer_cut(room, 0);
    append_latin1(room, name, n);
    return room->bytes != NULL ? room->bytes : "";
}

static status emit(importer *im, const char *path, const buffer *text_bytes) {
    if (blank(text_bytes->bytes, text_bytes->n)) {
        im->out->empty++;
        return STATUS_OK;
    }
    hash128_value h = hash128(text_bytes->bytes, text_bytes->n);
    bool fresh;
    TRY(hash_set_add(&im->seen, h.low, &fresh));
    if (!fresh) {
        im->out->duplicates++;
        return STATUS_OK;
    }
    im->out->documents++;
    im->out->text_bytes += (int64_t)text_bytes->n;
    int bucket = 63 - __builtin_clzll(text_bytes->n);
    im->out->lengths[bucket < IMPORT_LENGTHS ? bucket : IMPORT_LENGTHS - 1]++;
    if (im->corpus == NULL) return STATUS_OK; /* only counting */
    document d = {.source = im->source,
                  .version = "",
                  .path = path,
                  .text = text_bytes->bytes,
                  .text_bytes = text_bytes->n};
    snprintf(d.id, sizeof d.id, "%016" PRIx64 "%016" PRIx64, h.high, h.low);
    return corpus_writer_sink(im->corpus, &d);
}

/* ---- refused lines ---- */

static status write_rejected(importer *im, const file_job *job, const char *line, size_t n) {
    char path[PATH_SIZE];
    if (im->rejected == NULL) {
        TRY(path_join(path, im->o->folder, "rejected.jsonl"));
        TRY(writer_open(&im->rejected, path));
    }
    const error_report *r = error_last();
    json_t *entry = json_object();
    buffer_cut(&im->line, 0);
    append_latin1(&im->line, line, n); /* any bytes become text, and can be turned back */
    status s = buffer_check(&im->line);
    if (s == STATUS_OK) s = manifest_set(entry, "file", json_string(job->path));
    if (s == STATUS_OK) s = manifest_set(entry, "line", json_integer(job->lines));
    if (s == STATUS_OK)
        s = manifest_set(entry, "reason", json_string(text("%s; %s", r->what, r->why)));
    if (s == STATUS_OK)
        s = manifest_set(entry, "latin1",
                         json_stringn(im->line.n > 0 ? im->line.bytes : "", im->line.n));
    char *json = s == STATUS_OK ? json_line(entry) : NULL;
    json_decref(entry);
    if (json == NULL) return s != STATUS_OK ? s : STATUS_MEMORY;
    s = writer_put(im->rejected, json, strlen(json));
    if (s == STATUS_OK) s = writer_put(im->rejected, "\n", 1);
    mem_free(json);
    return s;
}

/* The report says why the line was refused. */
static status refuse(importer *im, file_job *job, const char *line, size_t n) {
    if (job->bad++ == 0) {
        job->first_bad = job->lines;
        error_save(&job->first);
    }
    if (im->o->refused != NULL) im->o->refused(im->o->context, job->name, job->lines, error_last());
    return im->o->dry ? STATUS_OK : write_rejected(im, job, line, n);
}

/* Fills the report for a line that is not UTF-8 and looks at what its bytes may be instead. */
static status not_utf8(file_job *job, const char *line, size_t n, size_t at) {
    for (size_t i = at; i < n;) {
        size_t length = utf8_sequence((const uint8_t *)line + i, n - i);
        uint8_t byte = (uint8_t)line[i];
        if (length == 0 && byte >= 0x80 && byte <= 0x9F) job->high_controls = true;
        i += length > 0 ? length : 1;
    }
    return FAIL(F_NOT_UTF8, text("%s is not valid UTF-8", job->name),
                text("line %" PRId64 ", byte %zu of it: 0x%02X", job->lines, at + 1,
                     (unsigned)(uint8_t)line[at]),
                text("byte %zu of the line is 0x%02X", at + 1, (unsigned)(uint8_t)line[at]), "");
}

/* After a file: too many refused lines are an error that names the first. */
static status judge(const importer *im, const file_job *job) {
    im->out->lines += job->lines;
    im->out->bad += job->bad;
    if ((double)job->bad <= im->o->max_bad * (double)job->lines) return STATUS_OK;
    const error_report *first = &job->first;
    const char *share = text("%" PRId64 " of %" PRId64 " lines", job->bad, job->lines);
    if (first->id == F_NOT_UTF8 && job->high_controls)
        return FAIL(F_NOT_UTF8, first->what, first->where,
                    text("%s; it looks like Windows-1252", share),
                    text("iconv -f WINDOWS-1252 -t UTF-8 %s > utf8.txt", job->name));
    if (first->id == F_NOT_UTF8)
        return FAIL(F_NOT_UTF8, first->what, first->where,
                    text("%s; it looks like ISO-8859-1", share), "add --encoding latin1");
    return FAIL(F_RECORD, text("%s has records that cannot be used", job->name),
                text("line %" PRId64, job->first_bad),
                text("%s: %s, %s", share, first->what, first->why),
                job->bad == job->lines && first->id == F_RECORD
                    ? first->fix
                    : text("--max-bad %g%% leaves them out, into rejected.jsonl",
                           ceil(1000 * (double)job->bad / (double)job->lines) / 10));
}

/* ---- one file ---- */

/* The next line from *at, without its newline; false at the end. */
static bool next_line(const char *bytes, size_t n, size_t *at, const char **line, size_t *length) {
    if (*at >= n) return false;
    const char *end = memchr(bytes + *at, '\n', n - *at);
    *line = bytes + *at;
    *length = end != NULL ? (size_t)(end - *line) : n - *at;
    *at += *length + (end != NULL);
    return true;
}

/* At line `lines` of the file at work, of which `share` is done. */
static status keep_going(importer *im, int64_t lines, double share) {
    if (lines % 1024 != 0) return STATUS_OK;
    if (im->o->show_progress)
        progress_show(&im->bar, (im->read + share * im->file_bytes) / 1e6, NULL);
    if (!interrupted()) return STATUS_OK;
    return interrupt_status(im->o->dry ? "reading" : text("importing into %s", im->o->folder),
                            "run the same command again");
}

static status import_jsonl(importer *im, file_job *job, const char *bytes, size_t n) {
    size_t at = 0, length;
    const char *line;
    while (next_line(bytes, n, &at, &line, &length)) {
        job->lines++;
        TRY(keep_going(im, job->lines, (double)at / (double)n));
        if (blank(line, length)) continue;
        buffer_cut(&im->text, 0);
        size_t valid = utf8_valid(line, length);
        status s = valid < length ? not_utf8(job, line, length, valid)
                                  : jsonl_text(line, length, im->o->map, im->o->n_map, &im->text);
        if (s == STATUS_OK)
            s = emit(im, job->path, &im->text);
        else if (s == STATUS_FORMAT)
            s = refuse(im, job, line, length);
        TRY(s);
    }
    return judge(im, job);
}

static status import_text(importer *im, file_job *job, const char *bytes, size_t n) {
    size_t at = 0, length;
    const char *line;
    buffer_cut(&im->text, 0);
    if (utf8_valid(bytes, n) == n) {
        buffer_put(&im->text, bytes, n);
        for (const char *p = bytes;
             p < bytes + n && (p = memchr(p, '\n', (size_t)(bytes + n - p))) != NULL; p++)
            job->lines++;
        job->lines += n > 0 && bytes[n - 1] != '\n';
    } else {
        while (next_line(bytes, n, &at, &line, &length)) {
            job->lines++;
            TRY(keep_going(im, job->lines, (double)at / (double)n));
            size_t valid = utf8_valid(line, length);
            if (valid < length) {
                if (not_utf8(job, line, length, valid) != STATUS_OK)
                    TRY(refuse(im, job, line, length));
                continue;
            }
            buffer_put(&im->text, line, (size_t)(bytes + at - line));
        }
    }
    TRY(buffer_check(&im->text));
    TRY(judge(im, job));
    return emit(im, job->path, &im->text);
}

/* A first line that is a JSON object makes a file JSON lines. */
static status looks_like_jsonl(const char *bytes, size_t n, bool *jsonl) {
    size_t at = 0, length;
    const char *line;
    *jsonl = false;
    while (next_line(bytes, n, &at, &line, &length)) {
        if (blank(line, length)) continue;
        if (line[0] != '{') return STATUS_OK;
        json_t *root;
        status s = json_parse(line, length, "first line", &root);
        if (s == STATUS_FORMAT) {
            error_clear();
            return STATUS_OK;
        }
        TRY(s);
        *jsonl = json_is_object(root);
        json_decref(root);
        return STATUS_OK;
    }
    return STATUS_OK;
}

static status no_text(const file_job *job, const char *bytes, size_t n) {
    const char *zero = memchr(bytes, 0, n);
    bool utf16 = n >= 2 && (memcmp(bytes, "\xFF\xFE", 2) == 0 || memcmp(bytes, "\xFE\xFF", 2) == 0);
    return FAIL(F_NOT_UTF8, text("%s holds no text", job->name),
                text("byte %zu is zero", zero != NULL ? (size_t)(zero - bytes) : n),
                utf16 ? "it looks like UTF-16" : "it is a binary file",
                utf16 ? text("iconv -f UTF-16 -t UTF-8 %s > utf8.txt", job->name)
                      : "name text or JSON lines");
}

static status import_bytes(importer *im, const char *name, const char *path, const char *bytes,
                           size_t n, bool in_folder) {
    file_job job = {.name = name, .path = safe_name(&im->path_name, path)};
    TRY(buffer_check(&im->path_name));
    if (compression_of(bytes, n) != COMPRESSION_NONE) {
        buffer_cut(&im->unpacked, 0);
        TRY(stream_unpack(bytes, n, name, INPUT_LIMIT, &im->unpacked));
        bytes = im->unpacked.bytes != NULL ? im->unpacked.bytes : "";
        n = im->unpacked.n;
    }
    if (memchr(bytes, 0, n) != NULL) {
        if (!in_folder) return no_text(&job, bytes, n);
        im->out->binary++;
        return STATUS_OK;
    }
    if (n >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0) {
        bytes += 3;
        n -= 3;
    }
    if (im->o->encoding == ENCODING_LATIN1) {
        buffer_cut(&im->converted, 0);
        append_latin1(&im->converted, bytes, n);
        TRY(buffer_check(&im->converted));
        bytes = im->converted.bytes != NULL ? im->converted.bytes : "";
        n = im->converted.n;
    }
    im->out->files++;
    bool jsonl = im->o->format == IMPORT_JSONL;
    if (im->o->format == IMPORT_AUTO) TRY(looks_like_jsonl(bytes, n, &jsonl));
    im->format = jsonl ? "jsonl" : "text";
    return jsonl ? import_jsonl(im, &job, bytes, n) : import_text(im, &job, bytes, n);
}

static status import_file(importer *im, const char *file, const char *path, bool in_folder) {
    mapped_file map;
    TRY(mapped_open(&map, file));
    im->file_bytes = (double)map.size;
    status s = import_bytes(im, file, path, map.data != NULL ? (const char *)map.data : "",
                            map.size, in_folder);
    mapped_close(&map);
    im->read += im->file_bytes;
    im->file_bytes = 0;
    return s;
}

/* ---- inputs ---- */

/* Bytes that import_folder and import_file will read of a path, for the progress line: what cannot be
 * looked at counts nothing and is reported when it is read. */
static double input_bytes(const char *path, int depth) {
    char **names = NULL, below[PATH_SIZE];
    struct stat info;
    int n = 0;
    if (stat(path, &info) != 0) return 0;
    if (!S_ISDIR(info.st_mode)) return (double)info.st_size;
    double bytes = 0;
    if (depth > DEPTH_LIMIT || folder_list(path, &names, &n) != STATUS_OK) {
        error_clear();
        return 0;
    }
    for (int i = 0; i < n; i++) {
        if (names[i][0] == '.' || path_join(below, path, names[i]) != STATUS_OK) continue;
        bool link = lstat(below, &info) == 0 && S_ISLNK(info.st_mode);
        if (!link || !path_is_folder(below)) bytes += input_bytes(below, depth + 1);
    }
    folder_list_free(names, n);
    return bytes;
}

static void progress_begin(importer *im) {
    double total = 0;
    if (!im->o->show_progress) return;
    for (int i = 0; i < im->o->n_inputs; i++)
        if (strcmp(im->o->inputs[i], "-") != 0) total += input_bytes(im->o->inputs[i], 0);
    progress_start(&im->bar, im->o->dry ? "check" : "import", "MB", total / 1e6, 0);
}

static status import_folder(importer *im, const char *folder, const char *inside, int depth) {
    char **names = NULL;
    int n = 0;
    if (depth > DEPTH_LIMIT)
        return FAIL(F_OVERFLOW, "folders are nested too deeply", folder,
                    text("more than %d levels", DEPTH_LIMIT),
                    "name the folder with the texts itself");
    TRY(folder_list(folder, &names, &n));
    status s = STATUS_OK;
    for (int i = 0; i < n && s == STATUS_OK; i++) {
        char path[PATH_SIZE], below[PATH_SIZE];
        struct stat info;
        s = path_join(path, folder, names[i]);
        if (s == STATUS_OK && inside[0] != '\0') s = path_join(below, inside, names[i]);
        if (s != STATUS_OK) break;
        if (inside[0] == '\0') snprintf(below, sizeof below, "%s", names[i]);
        bool link = lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
        if (names[i][0] == '.' || (link && path_is_folder(path)))
            im->out->skipped++;
        else if (path_is_folder(path))
            s = import_folder(im, path, below, depth + 1);
        else
            s = import_file(im, path, below, true);
        if (s == STATUS_OK) s = keep_going(im, 0, 0);
    }
    folder_list_free(names, n);
    return s;
}

static status import_input(importer *im, const char *input) {
    bool standard_input = strcmp(input, "-") == 0;
    im->source = standard_input ? "stdin" : safe_name(&im->source_name, path_name(input));
    TRY(buffer_check(&im->source_name));
    if (standard_input) {
        char *bytes;
        size_t n;
        TRY(file_read("-", INPUT_LIMIT, &bytes, &n));
        status s = import_bytes(im, "standard input", "stdin", bytes, n, false);
        mem_free(bytes);
        return s;
    }
    if (path_is_folder(input)) {
        if (im->source[0] == '\0' || strcmp(im->source, ".") == 0) im->source = "folder";
        return import_folder(im, input, "", 0);
    }
    return import_file(im, input, path_name(input), false);
}

/* {"name", "format", "documents", "text_bytes", "license"} of one input. */
static status describe_source(importer *im, int64_t documents, int64_t bytes, json_t *sources) {
    json_t *e = json_object();
    const char *license = im->o->license != NULL ? im->o->license : "not stated";
    status s = manifest_set(e, "name", json_string(im->source));
    if (s == STATUS_OK) s = manifest_set(e, "format", json_string(im->format));
    if (s == STATUS_OK) s = manifest_set(e, "documents", json_integer(documents));
    if (s == STATUS_OK) s = manifest_set(e, "text_bytes", json_integer(bytes));
    if (s == STATUS_OK) s = manifest_set(e, "license", json_string(license));
    if (s != STATUS_OK) {
        json_decref(e);
        return s;
    }
    if (json_array_append_new(sources, e) == 0) return STATUS_OK;
    return FAIL(F_NO_MEMORY, "cannot keep a source", MANIFEST_FILE, "memory is exhausted",
                "close other programs");
}

static status import_all(importer *im, json_t *sources) {
    for (int i = 0; i < im->o->n_inputs; i++) {
        int64_t documents = im->out->documents, bytes = im->out->text_bytes;
        im->format = "none";
        TRY(import_input(im, im->o->inputs[i]));
        TRY(describe_source(im, im->out->documents - documents, im->out->text_bytes - bytes,
                            sources));
    }
    if (im->out->documents == 0)
        return FAIL(F_NO_TEXT, "nothing to import", im->o->inputs[0],
                    text("%" PRId64 " files read, %" PRId64 " not text, %" PRId64 " skipped",
                         im->out->files, im->out->binary, im->out->skipped),
                    "name files with text or JSON lines with \"text\"");
    return STATUS_OK;
}

static status describe_import(json_t *manifest, const import_result *r) {
    json_t *e = json_object();
    status s = manifest_set(manifest, "import", e);
    if (s == STATUS_OK) s = manifest_set(e, "files", json_integer(r->files));
    if (s == STATUS_OK) s = manifest_set(e, "lines", json_integer(r->lines));
    if (s == STATUS_OK) s = manifest_set(e, "bad_lines", json_integer(r->bad));
    if (s == STATUS_OK) s = manifest_set(e, "duplicates", json_integer(r->duplicates));
    if (s == STATUS_OK) s = manifest_set(e, "empty", json_integer(r->empty));
    if (s == STATUS_OK) s = manifest_set(e, "binary_files", json_integer(r->binary));
    if (s == STATUS_OK) s = manifest_set(e, "skipped_files", json_integer(r->skipped));
    return s;
}

/* Commits what was written, the manifest last. */
static status finish(importer *im, json_t *manifest) {
    char path[PATH_SIZE];
    json_t *corpus;
    TRY(path_join(path, im->o->folder, "rejected.jsonl"));
    file_writer *rejected = im->rejected;
    im->rejected = NULL;
    if (rejected != NULL)
        TRY(writer_commit(rejected));
    else if (unlink(path) != 0 && errno != ENOENT) /* of an earlier import */
        return error_errno(errno, text("remove %s", path), path);
    corpus_writer *w = im->corpus;
    im->corpus = NULL;
    TRY(corpus_writer_close(w, &corpus));
    TRY(manifest_set(manifest, "corpus", corpus));
    TRY(describe_import(manifest, im->out));
    return manifest_save(im->o->folder, manifest);
}

static status check_options(const import_options *o) {
    if (o->n_inputs < 1)
        return FAIL(F_USAGE, "nothing to import", "data import", "no input was named",
                    "name files, folders or - for standard input");
    for (int i = 0; i < o->n_map; i++)
        if (strcmp(o->map[i].to, "text") != 0)
            return FAIL(F_BAD_VALUE, text("%s=%s cannot be mapped", o->map[i].from, o->map[i].to),
                        "--map", "a document has nothing but a text", "write --map KEY=text");
    return STATUS_OK;
}

static json_t *input_names(const import_options *o) {
    json_t *list = json_array();
    buffer room = {0};
    for (int i = 0; i < o->n_inputs && list != NULL; i++)
        if (json_array_append_new(list, json_string(safe_name(&room, path_name(o->inputs[i])))) !=
            0) {
            json_decref(list);
            list = NULL;
        }
    buffer_clear(&room);
    return list;
}

status data_import(const import_options *o, import_result *out) {
    *out = (import_result){0};
    TRY(check_options(o));
    importer im = {.o = o, .out = out};
    json_t *sources = json_array(), *manifest = manifest_new("import"), *inputs = input_names(o);
    status s;
    TRY_GOTO(s, manifest_set(manifest, "inputs", json_incref(inputs)));
    TRY_GOTO(s, manifest_set(manifest, "sources", json_incref(sources)));
    if (!o->dry) TRY_GOTO(s, manifest_check_free(o->folder, "import", inputs));
    if (!o->dry) TRY_GOTO(s, corpus_writer_open(&im.corpus, o->folder));
    progress_begin(&im);
    s = import_all(&im, sources);
    if (o->show_progress && s == STATUS_OK) progress_show(&im.bar, im.read / 1e6, NULL);
    if (o->show_progress) progress_end(&im.bar, NULL);
    if (s != STATUS_OK) goto done;
    if (!o->dry) TRY_GOTO(s, finish(&im, manifest));
done:
    corpus_writer_abandon(im.corpus);
    writer_abandon(im.rejected);
    hash_set_clear(&im.seen);
    buffer_clear(&im.text);
    buffer_clear(&im.line);
    buffer_clear(&im.unpacked);
    buffer_clear(&im.converted);
    buffer_clear(&im.source_name);
    buffer_clear(&im.path_name);
    json_decref(sources);
    json_decref(manifest);
    json_decref(inputs);
    return s;
}
