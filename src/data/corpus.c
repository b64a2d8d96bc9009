/* corpus.c - sources in order, pieces in parallel, documents one by one.
 *
 * What: corpus_build runs the sources of a corpus through piece_clean and gives what is left to the
 * sink.
 * How: a source is a sorted list of pieces. They are cleaned in batches by the pool and then
 * emitted in order by the calling thread, where everything that depends on order happens: exact
 * duplicates, lines seen before, the last shape of the text, the id, the counts. So the output does
 * not depend on threads or batch size.
 * Mind: the sets of seen lines and texts hold 64-bit XXH3 hashes; among 10^7 lines two different
 * ones collide with a probability of about 3e-6, and the loss would be one line. A batch holds at
 * most BATCH_BYTES of stored text; a source unpacked from a package is in memory as a whole.
 */
#include "data/corpus_internal.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/pool.h"
#include "base/progress.h"
#include "data/hash_set.h"
#include "data/packages.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_PIECES ((int64_t)256)
#define BATCH_BYTES  ((size_t)64 << 20)
#define LOCAL_MAN    "/usr/share/man"
#define LOCAL_DOCS   "docs"

/* ---- what there is ------------------------------------------------------------------------- */

static const struct {
    const char *name, *license;
    int64_t bytes; /* download, of Debian 12 */
} packages[] = {
    {"manpages", "various free licences (GPL-2+, GFDL, BSD, verbatim copying)", 1331652},
    {"manpages-dev", "various free licences (GPL-2+, GFDL, BSD, verbatim copying)", 2030264},
    {"fortunes", "BSD", 848988},
    {"libreoffice-help-en-us", "MPL-2.0 or LGPL-3+, parts CC0 and CC-BY-SA", 1753504},
};
#define N_PACKAGES ((int)(sizeof packages / sizeof packages[0]))

static const struct {
    const char *name, *summary;
} corpora[] = {
    {"mini", "English manual pages, office help and fortunes from four Debian packages"},
    {"local", "text you have: --input FOLDER, else the manual pages of this system"},
};
#define N_CORPORA ((int)(sizeof corpora / sizeof corpora[0]))

const char *corpus_name(int i) {
    return i >= 0 && i < N_CORPORA ? corpora[i].name : NULL;
}
const char *corpus_summary(int i) {
    return i >= 0 && i < N_CORPORA ? corpora[i].summary : NULL;
}

int64_t corpus_download_bytes(const char *name) {
    int64_t sum = 0;
    if (strcmp(name, "mini") == 0)
        for (int i = 0; i < N_PACKAGES; i++)
            sum += packages[i].bytes;
    return sum;
}

const char *corpus_drop_name(corpus_drop reason) {
    switch (reason) {
    case DROP_KIND: return "files of another kind";
    case DROP_ALIAS: return "files that only name another";
    case DROP_SHORT: return "too short";
    case DROP_SAME: return "same text as another";
    case DROP_TOO_LONG: return "too long";
    case DROP_BINARY: return "not text";
    case DROP_LINE: return "lines seen before";
    case DROP_BYTES: return "bytes that are no text";
    case DROP_REASONS: break;
    }
    return "none";
}

/* ---- emission ------------------------------------------------------------------------------ */

typedef struct build {
    document_sink *sink;
    void *context;
    corpus_report *report;
    corpus_source *source; /* the one at work */
    hash_set lines, texts;
    buffer kept, settled; /* reused from document to document */
} build;

typedef struct span {
    const char *p;
    size_t n;
} span;

static span trimmed(span s) {
    while (s.n > 0 && (*s.p == ' ' || (*s.p >= MARK_HEADING && *s.p <= MARK_GONE))) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && s.p[s.n - 1] == ' ')
        s.n--;
    return s;
}

/* Lines not seen before, into b->kept. */
static MUST_CHECK status lines_keep(build *b, span text) {
    const char *p = text.p, *end = text.p + text.n;
    buffer_cut(&b->kept, 0);
    while (p < end) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        span line = {p, (size_t)((newline != NULL ? newline : end) - p)};
        p = newline != NULL ? newline + 1 : end;
        span core = trimmed(line);
        bool added = true;
        if (core.n >= CORPUS_LINE_MIN)
            TRY(hash_set_add(&b->lines, hash64(core.p, core.n, 0), &added));
        if (added) {
            buffer_put(&b->kept, line.p, line.n);
            buffer_byte(&b->kept, '\n');
        } else {
            buffer_put(&b->kept, (const char[]){MARK_GONE, '\n'}, 2);
            b->source->dropped[DROP_LINE]++;
            b->source->dropped_line_bytes += (int64_t)line.n + 1;
        }
    }
    return buffer_check(&b->kept);
}

static MUST_CHECK status document_give(build *b, const char *path) {
    document d = {.source = b->source->name,
                  .version = b->source->version,
                  .path = path,
                  .text = b->settled.bytes,
                  .text_bytes = b->settled.n};
    hash128_value id = hash128(d.text, d.text_bytes);
    (void)snprintf(d.id, sizeof d.id, "%016" PRIx64 "%016" PRIx64, id.high, id.low);
    TRY(b->sink(b->context, &d));
    b->source->documents++;
    b->source->text_bytes += (int64_t)d.text_bytes;
    return STATUS_OK;
}

static MUST_CHECK status text_emit(build *b, span text, const char *path) {
    bool added = true;
    b->source->files++;
    buffer_cut(&b->settled, 0);
    text_settle(text.p, text.n, &b->settled);
    TRY(buffer_check(&b->settled));
    if (b->settled.n >= CORPUS_DOCUMENT_MIN)
        TRY(hash_set_add(&b->texts, hash64(b->settled.bytes, b->settled.n, 0), &added));
    if (!added) {
        b->source->dropped[DROP_SAME]++;
        return STATUS_OK;
    }
    TRY(lines_keep(b, text));
    buffer_cut(&b->settled, 0);
    text_settle(b->kept.n > 0 ? b->kept.bytes : "", b->kept.n, &b->settled);
    TRY(buffer_check(&b->settled));
    if (b->settled.n < CORPUS_DOCUMENT_MIN) {
        b->source->dropped[DROP_SHORT]++;
        return STATUS_OK;
    }
    return document_give(b, path);
}

/* All documents of a piece; those of a fortune file get a number behind the path. */
static MUST_CHECK status piece_emit(build *b, const piece *p) {
    b->source->raw_bytes += p->raw_bytes;
    b->source->dropped[DROP_BYTES] += p->bad_bytes;
    if (p->drop != DROP_REASONS) {
        b->source->files++;
        b->source->dropped[p->drop]++;
        return STATUS_OK;
    }
    if (p->kind != PIECE_FORTUNES)
        return text_emit(b, (span){p->text.n > 0 ? p->text.bytes : "", p->text.n}, p->path);
    const char *at = p->text.n > 0 ? p->text.bytes : "", *end = at + p->text.n;
    for (int number = 1; at < end; number++) {
        const char *stop = memchr(at, '\0', (size_t)(end - at));
        span text_span = {at, (size_t)((stop != NULL ? stop : end) - at)};
        at = stop != NULL ? stop + 1 : end;
        if (text_span.n > 0) TRY(text_emit(b, text_span, text("%s#%d", p->path, number)));
    }
    return STATUS_OK;
}

/* ---- cleaning in parallel ------------------------------------------------------------------ */

typedef struct batch {
    piece *pieces;
    pthread_mutex_t lock;
    int64_t failed; /* number of the first piece that failed, -1 for none */
    error_report report;
} batch;

static void piece_run(void *context, int64_t i) {
    batch *b = context;
    if (piece_clean(&b->pieces[i]) == STATUS_OK) return;
    pthread_mutex_lock(&b->lock);
    if (b->failed < 0 || i < b->failed) {
        b->failed = i;
        error_save(&b->report);
    }
    pthread_mutex_unlock(&b->lock);
}

static MUST_CHECK status batch_clean(piece *pieces, int64_t n) {
    batch b = {.pieces = pieces, .failed = -1};
    pthread_mutex_init(&b.lock, NULL);
    pool_for(n, piece_run, &b);
    pthread_mutex_destroy(&b.lock);
    if (b.failed < 0) return STATUS_OK;
    error_restore(&b.report);
    return b.report.code;
}

static int64_t batch_size(const piece_list *l, int64_t first) {
    int64_t n = 0;
    size_t bytes = 0;
    while (first + n < l->n && n < BATCH_PIECES && (n == 0 || bytes < BATCH_BYTES))
        bytes += l->items[first + n++].n;
    return n;
}

static MUST_CHECK status pieces_run(build *b, piece_list *l) {
    progress bar;
    status result = STATUS_OK;
    progress_start(&bar, "corpus", "files", (double)l->n, 0);
    for (int64_t first = 0; first < l->n;) {
        int64_t n = batch_size(l, first);
        TRY_GOTO(result, interrupt_status("building the corpus",
                                          "the same command builds it again; packages are kept"));
        TRY_GOTO(result, batch_clean(l->items + first, n));
        for (int64_t i = 0; i < n; i++) {
            TRY_GOTO(result, piece_emit(b, &l->items[first + i]));
            piece_forget(&l->items[first + i]);
        }
        first += n;
        progress_show(&bar, (double)first, b->source->name);
    }
done:
    progress_end(&bar, NULL);
    return result;
}

/* ---- corpora ------------------------------------------------------------------------------- */

static corpus_source *source_begin(build *b, const char *name, const char *license) {
    corpus_source *s = &b->report->sources[b->report->n_sources++];
    memcpy(s->name, name, strnlen(name, sizeof s->name - 1)); /* zeroed before */
    s->license = license;
    b->source = s;
    return s;
}

static MUST_CHECK status mini_build(build *b, const corpus_options *o) {
    char folder[PATH_SIZE];
    package list[N_PACKAGES];
    package_fetch_result fetched;
    memset(list, 0, sizeof list);
    for (int i = 0; i < N_PACKAGES; i++)
        (void)snprintf(list[i].name, sizeof list[i].name, "%s", packages[i].name);
    if (o->cache != NULL) {
        (void)snprintf(folder, sizeof folder, "%s", o->cache);
    } else {
        char cache[PATH_SIZE];
        TRY(cache_folder(cache));
        TRY(path_join(folder, cache, "packages"));
    }
    TRY(packages_get(folder, list, N_PACKAGES, o->offline, &fetched));
    b->report->fetched_bytes = fetched.bytes;
    b->report->fetch_seconds = fetched.seconds;
    for (int i = 0; i < N_PACKAGES; i++) {
        double start = clock_seconds();
        piece_list pieces = {0};
        corpus_source *s = source_begin(b, list[i].name, packages[i].license);
        (void)snprintf(s->version, sizeof s->version, "%s", list[i].version);
        (void)snprintf(s->file, sizeof s->file, "%s", list[i].file);
        memcpy(s->sha256, list[i].sha256, sizeof s->sha256);
        s->archive_bytes = list[i].bytes;
        status result = pieces_from_package(&pieces, list[i].name, list[i].path);
        if (result == STATUS_OK) result = pieces_run(b, &pieces);
        pieces_clear(&pieces);
        TRY(result);
        s->seconds = clock_seconds() - start;
    }
    return STATUS_OK;
}

/* The folder of the user, else man pages, else the documentation beside us. */
static MUST_CHECK status local_pieces(piece_list *l, const corpus_options *o) {
    if (o->input != NULL) {
        if (!path_is_folder(o->input))
            return FAIL(F_MISSING, text("%s is not a folder", o->input), "--input",
                        "the corpus `local` reads a folder of text files",
                        "name a folder, or import single files with fathom data import FILE");
        return pieces_from_folder(l, o->input);
    }
    if (path_is_folder(LOCAL_MAN)) TRY(pieces_from_man(l, LOCAL_MAN));
    if (l->n == 0 && path_is_folder(LOCAL_DOCS)) TRY(pieces_from_folder(l, LOCAL_DOCS));
    if (l->n > 0) return STATUS_OK;
    return FAIL(F_UNAVAILABLE, "no local text to train on", LOCAL_MAN " and the folder " LOCAL_DOCS,
                "neither has text files", "name a folder of text: --corpus local --input FOLDER");
}

static MUST_CHECK status local_build(build *b, const corpus_options *o) {
    double start = clock_seconds();
    piece_list pieces = {0};
    corpus_source *s =
        source_begin(b, "local",
                     o->input != NULL ? "as the files say; not known here"
                                      : "various free licences, see /usr/share/doc/*/copyright");
    (void)snprintf(s->file, sizeof s->file, "%s", o->input != NULL ? path_name(o->input) : "man");
    status result = local_pieces(&pieces, o);
    for (int64_t i = 0; i < pieces.n; i++)
        s->archive_bytes += (int64_t)pieces.items[i].n;
    if (result == STATUS_OK) result = pieces_run(b, &pieces);
    pieces_clear(&pieces);
    s->seconds = clock_seconds() - start;
    return result;
}

static void report_sum(corpus_report *r) {
    for (int i = 0; i < r->n_sources; i++) {
        r->documents += r->sources[i].documents;
        r->text_bytes += r->sources[i].text_bytes;
        r->raw_bytes += r->sources[i].raw_bytes;
        r->clean_seconds += r->sources[i].seconds;
    }
}

static void build_clear(build *b) {
    hash_set_clear(&b->lines);
    hash_set_clear(&b->texts);
    buffer_clear(&b->kept);
    buffer_clear(&b->settled);
}

status corpus_build(const char *name, const corpus_options *options, document_sink *sink,
                    void *context, corpus_report *report) {
    memset(report, 0, sizeof *report);
    build b = {.sink = sink, .context = context, .report = report};
    status result;
    if (strcmp(name, "mini") == 0)
        result = mini_build(&b, options);
    else if (strcmp(name, "local") == 0)
        result = local_build(&b, options);
    else
        result = FAIL(F_BAD_VALUE, text("there is no corpus \"%s\"", name), "--corpus",
                      "the corpora are mini and local", "fathom data get --corpus mini");
    build_clear(&b);
    report_sum(report);
    return result;
}
