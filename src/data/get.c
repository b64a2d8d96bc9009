/* get.c - a named corpus into a dataset: corpus_build's documents become corpus.jsonl.
 *
 * What: builds the corpus unless the folder already holds it whole, and writes the sources with
 * their versions, hashes and licences into data.json.
 *
 * Mind: resuming rests on two caches: packages that were fetched and verified stay in the cache
 * folder, and a corpus.jsonl that fits its manifest is kept. Times and downloads of this run stay
 * out of data.json, so the same packages give the same bytes.
 */
#include "base/file.h"
#include "base/json.h"
#include "data/dataset.h"

#include <string.h>

static status set_int(json_t *object, const char *key, int64_t value) {
    return manifest_set(object, key, json_integer(value));
}

static status describe_dropped(const corpus_source *source, json_t *e) {
    json_t *dropped = json_object();
    TRY(manifest_set(e, "dropped", dropped));
    for (int i = 0; i < DROP_REASONS; i++)
        if (source->dropped[i] > 0)
            TRY(set_int(dropped, corpus_drop_name((corpus_drop)i), source->dropped[i]));
    return STATUS_OK;
}

static status fill_source(const corpus_source *source, json_t *e) {
    TRY(manifest_set(e, "name", json_string(source->name)));
    TRY(manifest_set(e, "version", json_string(source->version)));
    TRY(manifest_set(e, "archive", json_string(source->file)));
    TRY(manifest_set(e, "sha256", json_string(source->sha256)));
    TRY(manifest_set(e, "license", json_string(source->license)));
    TRY(set_int(e, "archive_bytes", source->archive_bytes));
    TRY(set_int(e, "files", source->files));
    TRY(set_int(e, "raw_bytes", source->raw_bytes));
    TRY(set_int(e, "documents", source->documents));
    TRY(set_int(e, "text_bytes", source->text_bytes));
    return describe_dropped(source, e);
}

static status describe_sources(const corpus_report *report, json_t *manifest) {
    json_t *list = json_array();
    TRY(manifest_set(manifest, "sources", list));
    for (int i = 0; i < report->n_sources; i++) {
        json_t *e = json_object();
        if (json_array_append_new(list, e) != 0)
            return FAIL(F_NO_MEMORY, "cannot keep a source", MANIFEST_FILE, "memory is exhausted",
                        "close other programs");
        TRY(fill_source(&report->sources[i], e));
    }
    return STATUS_OK;
}

/* Is the corpus there, whole and under its hash? */
static status find_kept(const data_get_options *o, data_get_result *out) {
    char path[PATH_SIZE];
    TRY(path_join(path, o->folder, MANIFEST_FILE));
    if (!path_exists(path)) return STATUS_OK;
    dataset d;
    TRY(dataset_open(&d, o->folder));
    json_t *corpus = json_object_get(d.manifest, "corpus");
    status s = STATUS_OK;
    if (corpus != NULL) s = manifest_file_fits(o->folder, corpus, &out->kept);
    if (s == STATUS_OK && out->kept) s = json_get_int(corpus, "documents", &out->documents, path);
    if (s == STATUS_OK && out->kept) s = json_get_int(corpus, "text_bytes", &out->text_bytes, path);
    dataset_close(&d);
    return s;
}

static status build(const data_get_options *o, json_t *manifest, data_get_result *out) {
    corpus_writer *w;
    corpus_options options = {.input = o->input, .offline = o->offline};
    TRY(corpus_writer_open(&w, o->folder));
    status s = corpus_build(o->corpus, &options, corpus_writer_sink, w, &out->report);
    if (s == STATUS_OK && corpus_writer_documents(w) == 0)
        s = FAIL(F_NO_TEXT, text("corpus %s holds no documents", o->corpus), o->folder,
                 "its sources gave no text",
                 "name a folder of texts: `--corpus local --input DIR`");
    if (s != STATUS_OK) {
        corpus_writer_abandon(w);
        return s;
    }
    out->documents = corpus_writer_documents(w);
    out->text_bytes = corpus_writer_text_bytes(w);
    json_t *corpus;
    TRY(corpus_writer_close(w, &corpus));
    TRY(manifest_set(manifest, "corpus", corpus));
    TRY(describe_sources(&out->report, manifest));
    return manifest_save(o->folder, manifest);
}

status data_get(const data_get_options *o, data_get_result *out) {
    *out = (data_get_result){0};
    json_t *manifest = NULL, *inputs = NULL;
    status s;
    if (o->input != NULL) { /* another folder is another dataset */
        inputs = json_pack("[s]", path_name(o->input));
        if (inputs == NULL)
            return FAIL(F_BAD_VALUE, text("%s cannot be kept as a name", o->input), "--input",
                        "it is not UTF-8", "rename the folder");
    }
    TRY_GOTO(s, manifest_check_free(o->folder, o->corpus, inputs));
    if (!o->again) TRY_GOTO(s, find_kept(o, out));
    if (out->kept) goto done;
    manifest = manifest_new(o->corpus);
    if (inputs != NULL) TRY_GOTO(s, manifest_set(manifest, "inputs", json_incref(inputs)));
    TRY_GOTO(s, build(o, manifest, out));
done:
    json_decref(manifest);
    json_decref(inputs);
    return s;
}
