/* dataset.c - the manifest of a dataset folder, and the file of its documents.
 *
 * What: data.json says what the folder holds and how it came about. It is written last in each
 * stage and atomically, so what it names is there and whole; files it does not name do not count.
 *
 * How: the manifest is kept as a jansson object and only the parts with a field in `dataset` are
 * taken out, so a later stage's additions survive an earlier one's code. It holds no times and no
 * paths outside the folder: the same inputs give the same bytes.
 */
#include "data/dataset.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "data/jsonl.h"

#include <inttypes.h>
#include <string.h>

#define FORMAT  "fathom-dataset"
#define VERSION 1

/* ---- values ---- */

json_t *manifest_new(const char *name) {
    json_t *m = json_object();
    if (json_object_set_new(m, "format", json_string(FORMAT)) == 0 &&
        json_object_set_new(m, "version", json_integer(VERSION)) == 0 &&
        json_object_set_new(m, "name", json_string(name)) == 0)
        return m;
    json_decref(m);
    return NULL;
}

status manifest_set(json_t *object, const char *key, json_t *value) {
    if (json_object_set_new(object, key, value) == 0) return STATUS_OK;
    return FAIL(F_NO_MEMORY, text("cannot keep \"%s\"", key), MANIFEST_FILE,
                "memory is exhausted, or a name is not UTF-8", "close other programs");
}

status manifest_set_hash(json_t *object, const char *key, uint64_t hash) {
    return manifest_set(object, key, json_string(text("%016" PRIx64, hash)));
}

status manifest_get_hash(const json_t *object, const char *key, uint64_t *hash, const char *where) {
    const char *digits;
    TRY(json_get_string(object, key, &digits, where));
    uint64_t value = 0;
    size_t n = 0;
    for (; digits[n] != '\0' && n < 17; n++) {
        char c = digits[n];
        bool number = c >= '0' && c <= '9';
        if (!number && !(c >= 'a' && c <= 'f')) break;
        value = value << 4 | (uint64_t)(number ? c - '0' : c - 'a' + 10);
    }
    if (n != 16 || digits[16] != '\0')
        return FAIL(F_DATASET, text("\"%s\" is no hash", key), where,
                    "16 hexadecimal digits are expected", "make the dataset again");
    *hash = value;
    return STATUS_OK;
}

status manifest_save(const char *folder, const json_t *manifest) {
    char path[PATH_SIZE];
    TRY(path_join(path, folder, MANIFEST_FILE));
    return json_write(path, manifest);
}

static status hash_file(const char *folder, const char *file, uint64_t *hash, int64_t *bytes) {
    char path[PATH_SIZE];
    mapped_file map;
    TRY(path_join(path, folder, file));
    TRY(mapped_open(&map, path));
    *hash = hash64(map.size > 0 ? (const void *)map.data : "", map.size, 0);
    *bytes = (int64_t)map.size;
    mapped_close(&map);
    return STATUS_OK;
}

status manifest_describe_file(const char *folder, const char *file, json_t **out) {
    uint64_t hash;
    int64_t bytes;
    *out = NULL;
    TRY(hash_file(folder, file, &hash, &bytes));
    json_t *d = json_object();
    status s = manifest_set(d, "file", json_string(file));
    if (s == STATUS_OK) s = manifest_set(d, "file_bytes", json_integer(bytes));
    if (s == STATUS_OK) s = manifest_set_hash(d, "hash", hash);
    if (s == STATUS_OK)
        *out = d;
    else
        json_decref(d);
    return s;
}

/* Names in a manifest stay in its folder. */
static status check_name(const char *name, const char *where) {
    if (name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL && strlen(name) < DATA_NAME)
        return STATUS_OK;
    return FAIL(F_DATASET, text("\"%.100s\" cannot be a file of the dataset", name), where,
                "names have no folder in them and are short", "make the dataset again");
}

status manifest_file_fits(const char *folder, const json_t *description, bool *fits) {
    const char *file;
    uint64_t hash, found;
    int64_t bytes, size;
    char path[PATH_SIZE];
    *fits = false;
    TRY(json_get_string(description, "file", &file, MANIFEST_FILE));
    TRY(check_name(file, MANIFEST_FILE));
    TRY(json_get_int(description, "file_bytes", &bytes, MANIFEST_FILE));
    TRY(manifest_get_hash(description, "hash", &hash, MANIFEST_FILE));
    TRY(path_join(path, folder, file));
    if (!path_exists(path)) return STATUS_OK;
    TRY(hash_file(folder, file, &found, &size));
    *fits = found == hash && size == bytes;
    return STATUS_OK;
}

/* ---- shards in the manifest ---- */

status manifest_add_shard(json_t *manifest, const dataset_shard *s) {
    json_t *list = json_object_get(manifest, "shards"), *e = json_object();
    status r = manifest_set(e, "split", json_string(split_name(s->split)));
    if (r == STATUS_OK) r = manifest_set(e, "file", json_string(s->file));
    if (r == STATUS_OK) r = manifest_set(e, "tokens", json_integer(s->entry.n_tokens));
    if (r == STATUS_OK) r = manifest_set(e, "documents", json_integer(s->entry.n_documents));
    if (r == STATUS_OK) r = manifest_set(e, "text_bytes", json_integer(s->entry.text_bytes));
    if (r == STATUS_OK) r = manifest_set(e, "file_bytes", json_integer(s->entry.file_bytes));
    if (r == STATUS_OK) r = manifest_set_hash(e, "hash", s->entry.hash);
    if (r != STATUS_OK) {
        json_decref(e);
        return r;
    }
    if (json_array_append_new(list, e) == 0) return STATUS_OK;
    return FAIL(F_NO_MEMORY, "cannot keep a shard", MANIFEST_FILE, "memory is exhausted",
                "close other programs");
}

static status read_shard(const json_t *e, dataset_shard *s, const char *where) {
    const char *split, *file;
    TRY(json_get_string(e, "split", &split, where));
    TRY(json_get_string(e, "file", &file, where));
    TRY(check_name(file, where));
    snprintf(s->file, sizeof s->file, "%s", file);
    bool validation = strcmp(split, split_name(SPLIT_VALIDATION)) == 0;
    if (!validation && strcmp(split, split_name(SPLIT_TRAIN)) != 0)
        return FAIL(F_DATASET, text("\"%.40s\" is no split", split), where,
                    "train and validation are", "make the dataset again");
    s->split = validation ? SPLIT_VALIDATION : SPLIT_TRAIN;
    TRY(json_get_int(e, "tokens", &s->entry.n_tokens, where));
    TRY(json_get_int(e, "documents", &s->entry.n_documents, where));
    TRY(json_get_int(e, "text_bytes", &s->entry.text_bytes, where));
    TRY(json_get_int(e, "file_bytes", &s->entry.file_bytes, where));
    return manifest_get_hash(e, "hash", &s->entry.hash, where);
}

static status read_shards(dataset *d, const char *where) {
    json_t *list = json_object_get(d->manifest, "shards");
    if (list == NULL) return STATUS_OK; /* not tokenized yet */
    TRY(json_get_array(d->manifest, "shards", &list, where));
    TRY(json_get_bool(d->manifest, "complete", &d->complete, where));
    size_t n = json_array_size(list);
    d->shards = mem_zalloc(n + 1, sizeof *d->shards);
    if (d->shards == NULL) return STATUS_MEMORY;
    for (size_t i = 0; i < n; i++) {
        const json_t *e = json_array_get(list, i);
        TRY(read_shard(e, &d->shards[i], text("%s: shard %zu", where, i)));
        d->n_shards++;
    }
    return STATUS_OK;
}

static status check_format(const json_t *manifest, const char *where) {
    const char *format;
    int64_t version;
    TRY(json_get_string(manifest, "format", &format, where));
    TRY(json_get_int(manifest, "version", &version, where));
    if (strcmp(format, FORMAT) != 0 || version != VERSION)
        return FAIL(F_DATASET, "this is no dataset of this program", where,
                    text("format \"%.40s\" version %" PRId64 ", expected \"%s\" version %d", format,
                         version, FORMAT, VERSION),
                    "name a folder made by `fathom data`");
    return STATUS_OK;
}

/* A manifest that cannot be read is lost, its documents need not be. */
static status unreadable(const char *folder, status failed) {
    char corpus[PATH_SIZE];
    error_report report;
    error_save(&report);
    bool there = path_join(corpus, folder, CORPUS_FILE) == STATUS_OK && path_exists(corpus);
    error_restore(&report);
    if (failed != STATUS_FORMAT || !there) return failed;
    return FAIL(
        report.id, report.what, report.where, report.why,
        text("fathom data import %s -o %s-again makes it anew from its documents", corpus, folder));
}

status dataset_open(dataset *d, const char *folder) {
    *d = (dataset){0};
    char path[PATH_SIZE];
    TRY(path_join(path, folder, MANIFEST_FILE));
    snprintf(d->folder, sizeof d->folder, "%s", folder);
    if (!path_exists(path))
        return FAIL(F_MISSING, text("%s is no dataset", folder), path,
                    "a dataset is a folder with data.json",
                    "make one: `fathom data get` or `fathom data import`");
    status s = json_read(path, &d->manifest);
    if (s != STATUS_OK) return unreadable(folder, s);
    if (s == STATUS_OK) s = check_format(d->manifest, path);
    if (s == STATUS_OK) s = read_shards(d, path);
    if (s != STATUS_OK) dataset_close(d);
    return s;
}

void dataset_close(dataset *d) {
    json_decref(d->manifest);
    mem_free(d->shards);
    *d = (dataset){0};
}

const char *dataset_path(const dataset *d, const char *file) {
    return text("%s/%s", d->folder, file);
}

const char *dataset_repair(const dataset *d) {
    const json_t *split = json_object_get(d->manifest, "split"), *value;
    const char *line = text("fathom data tokenize %s", d->folder);
    if ((value = json_object_get(split, "rule")) != NULL && json_is_string(value))
        line = text("%s --split %.20s", line, json_string_value(value));
    if (json_real_value(value = json_object_get(split, "share")) > 0)
        line = text("%s --validation %g", line, json_real_value(value));
    if (json_integer_value(value = json_object_get(split, "line_min")) > 1)
        line = text("%s --line-min %" JSON_INTEGER_FORMAT, line, json_integer_value(value));
    if (json_integer_value(value = json_object_get(split, "shard_bytes")) > 0)
        line = text("%s --shard-size %" JSON_INTEGER_FORMAT, line, json_integer_value(value));
    if (json_integer_value(value = json_object_get(split, "seed")) > 0)
        line = text("%s --seed %" JSON_INTEGER_FORMAT, line, json_integer_value(value));
    return line;
}

status manifest_check_free(const char *folder, const char *name, const json_t *inputs) {
    char path[PATH_SIZE];
    dataset d;
    TRY(path_join(path, folder, MANIFEST_FILE));
    if (!path_exists(path)) return STATUS_OK;
    TRY(dataset_open(&d, folder));
    const char *there = json_string_value(json_object_get(d.manifest, "name"));
    const json_t *from = json_object_get(d.manifest, "inputs");
    bool same = there != NULL && strcmp(there, name) == 0 &&
                (inputs == NULL ? from == NULL : json_equal(inputs, from));
    const char *what = text("%s holds another dataset", folder);
    const char *why = text("it was made as \"%.60s\", not as \"%.60s\" from the same inputs",
                           there != NULL ? there : "?", name);
    dataset_close(&d);
    if (same) return STATUS_OK;
    return FAIL(F_CANNOT_CREATE, what, path, why,
                "choose another folder with -o, or remove this one");
}

/* ---- corpus.jsonl ---- */

struct corpus_writer {
    file_writer *file;
    const char *folder; /* lent */
    buffer line;
    int64_t documents, text_bytes;
};

status corpus_writer_open(corpus_writer **out, const char *folder) {
    char path[PATH_SIZE];
    *out = NULL;
    TRY(folder_create(folder));
    TRY(path_join(path, folder, CORPUS_FILE));
    corpus_writer *w = mem_zalloc(1, sizeof *w);
    if (w == NULL) return STATUS_MEMORY;
    w->folder = folder;
    status s = writer_open(&w->file, path);
    if (s != STATUS_OK) {
        mem_free(w);
        return s;
    }
    *out = w;
    return STATUS_OK;
}

status corpus_writer_sink(void *writer, const document *d) {
    corpus_writer *w = writer;
    buffer_cut(&w->line, 0);
    jsonl_write(&w->line, d);
    TRY(buffer_check(&w->line));
    TRY(writer_put(w->file, w->line.bytes, w->line.n));
    w->documents++;
    w->text_bytes += (int64_t)d->text_bytes;
    return STATUS_OK;
}

status corpus_writer_close(corpus_writer *w, json_t **description) {
    json_t *d = NULL;
    status s = writer_commit(w->file);
    w->file = NULL;
    if (s == STATUS_OK) s = manifest_describe_file(w->folder, CORPUS_FILE, &d);
    if (s == STATUS_OK) s = manifest_set(d, "documents", json_integer(w->documents));
    if (s == STATUS_OK) s = manifest_set(d, "text_bytes", json_integer(w->text_bytes));
    corpus_writer_abandon(w);
    if (s != STATUS_OK) {
        json_decref(d);
        d = NULL;
    }
    *description = d;
    return s;
}

void corpus_writer_abandon(corpus_writer *w) {
    if (w == NULL) return;
    writer_abandon(w->file);
    buffer_clear(&w->line);
    mem_free(w);
}

int64_t corpus_writer_documents(const corpus_writer *w) {
    return w->documents;
}
int64_t corpus_writer_text_bytes(const corpus_writer *w) {
    return w->text_bytes;
}
