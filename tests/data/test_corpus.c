/* test_corpus.c - documents of a corpus: order, duplicates, counts, the same bytes on any number of
 * threads. */
#include "base/hash.h"
#include "base/pool.h"
#include "base/utf8.h"
#include "corpus_fixture.h"
#include "data/corpus.h"
#include "test.h"

#include <errno.h>

static status document_log(void *context, const document *d) {
    buffer *log = context;
    hash128_value id = hash128(d->text, d->text_bytes);
    char hex[40];
    (void)snprintf(hex, sizeof hex, "%016" PRIx64 "%016" PRIx64, id.high, id.low);
    CHECK(strcmp(d->id, hex) == 0, "id of %s is not the hash of its text", d->path);
    CHECK(d->text[d->text_bytes] == '\0' && d->text[d->text_bytes - 1] == '\n', "%s: end", d->path);
    buffer_text(log, text("[%s %s]\n", d->source, d->path));
    buffer_put(log, d->text, d->text_bytes);
    return buffer_check(log);
}

static MUST_CHECK status put_file(const char *folder, const char *name, const char *contents) {
    char path[PATH_SIZE];
    TRY(path_join(path, folder, name));
    FILE *f = fopen(path, "w"); /* file_write would flush each of many files to the disk */
    if (f == NULL) return error_errno(errno, "write a file of the test", path);
    bool ok = fputs(contents, f) >= 0;
    return fclose(f) == 0 && ok ? STATUS_OK : error_errno(errno, "write a file of the test", path);
}

/* Every piece counts once. */
static void expect_sums(const corpus_source *s) {
    int64_t sum = s->documents;
    for (int i = 0; i < DROP_LINE; i++)
        sum += s->dropped[i];
    CHECK(sum == s->files, "%s: %" PRId64 " pieces, %" PRId64 " accounted for", s->name, s->files,
          sum);
}

#define LINE_A "A line that is long enough to be remembered.\n"
#define LINE_B "Another line that is long enough to be remembered.\n"

TEST(local_reads_a_folder) {
    const char *folder = test_folder();
    corpus_options o = {.input = folder};
    corpus_report report;
    buffer log = {0};
    char sub[PATH_SIZE];
    REQUIRE_OK(path_join(sub, folder, "sub"));
    REQUIRE_OK(folder_create(sub));
    REQUIRE_OK(put_file(folder, "b.txt", LINE_A "short\n" LINE_B LINE_B));
    REQUIRE_OK(put_file(folder, "a.txt", LINE_A "caf\xC3\xA9 e\xCC\x81\ttab\r\nshort\n"));
    REQUIRE_OK(put_file(folder, "c.txt", LINE_A));
    REQUIRE_OK(put_file(folder, "d.txt", LINE_A "caf\xC3\xA9 e\xCC\x81\ttab\r\nshort\n"));
    REQUIRE_OK(put_file(folder, "e.txt", "\1\2\3\4\5\6\7\16\17\20 binary"));
    REQUIRE_OK(put_file(folder, ".hidden", LINE_A));
    REQUIRE_OK(put_file(sub, "page.html",
                        "<h1>A title for the page</h1><p>Text of the page &amp; more.</p>"));
    REQUIRE_OK(put_file(sub, "page.1",
                        ".SH NAME\nx \\- y\n.SH EMPTY\n.SH TEXT\nWords of the page to keep.\n"));
    REQUIRE_OK(corpus_build("local", &o, document_log, &log, &report));
    static const char wanted[] =
        "[local a.txt]\n" LINE_A "café é    tab\nshort\n"
        "[local b.txt]\nshort\n" LINE_B
        "[local sub/page.1]\nNAME\nx - y\n\nTEXT\nWords of the page to keep.\n"
        "[local sub/page.html]\nA title for the page\n\nText of the page & more.\n";
    CHECK(strcmp(log.bytes, wanted) == 0, "\n%s", log.bytes);
    const corpus_source *s = &report.sources[0];
    expect_sums(s);
    CHECK(report.n_sources == 1 && report.documents == 4 && s->files == 7,
          "%" PRId64 " of %" PRId64, report.documents, s->files);
    CHECK(s->dropped[DROP_SAME] == 1 && s->dropped[DROP_SHORT] == 1 &&
              s->dropped[DROP_BINARY] == 1 && s->dropped[DROP_LINE] == 3,
          "%" PRId64 " same, %" PRId64 " short, %" PRId64 " binary, %" PRId64 " lines",
          s->dropped[DROP_SAME], s->dropped[DROP_SHORT], s->dropped[DROP_BINARY],
          s->dropped[DROP_LINE]);
    buffer_clear(&log);
}

/* The four packages of `mini`, small. */
static MUST_CHECK status mini_make(fake_apt *apt) {
    static const char *const pages[] = {
        "./usr/share/man/man5/b.5",
        ".SH NAME\nb \\- the second page, of files\n.SH SEE ALSO\n.BR a (1)\n",
        "./usr/share/man/man1/a.1",
        ".SH NAME\na \\- the first page, of commands\n.SH DESCRIPTION\nIt does it all.\n",
        "./usr/share/man/man1/alias.1",
        ".so man1/a.1\n",
        "./usr/share/man/de/man1/a.1",
        ".SH NAME\na \\- eine Seite in anderer Sprache\n",
        "./usr/share/doc/x/copyright",
        "not a page",
        NULL};
    static const char *const dev[] = {"./usr/share/man/man3/c.3",
                                      ".SH NAME\nc \\- a function of the library that does a lot\n",
                                      NULL};
    static const char *const fortunes[] = {
        "./usr/share/games/fortunes/wise",
        "A saying that is long enough to be kept.\n%\nNo.\n%\n"
        "Another saying that is long enough to keep.\n\t\t-- Somebody\n",
        "./usr/share/games/fortunes/wise.dat",
        "index",
        "./usr/share/games/fortunes/off/rude",
        "Something that is left out of it all.\n",
        NULL};
    static const char *const help[] = {"./usr/share/libreoffice/help/en-US/text/p.html",
                                       "<nav>menu</nav><div id=\"DisplayArea\"><h1>Page of "
                                       "help</h1><p>It explains how to do things.</p></div>bug",
                                       "./usr/share/libreoffice/help/en-US/x.js", "code", NULL};
    const struct {
        const char *name;
        const char *const *files;
    } all[] = {{"manpages", pages},
               {"manpages-dev", dev},
               {"fortunes", fortunes},
               {"libreoffice-help-en-us", help}};
    for (size_t i = 0; i < 4; i++) {
        buffer deb = {0};
        fake_deb(&deb, all[i].files);
        status s = fake_apt_add(apt, all[i].name, "1.0", &deb, NULL);
        buffer_clear(&deb);
        TRY(s);
    }
    return STATUS_OK;
}

TEST(mini_unpacks_four_packages) {
    fake_apt apt;
    corpus_report report;
    buffer log = {0}, again = {0};
    REQUIRE_OK(fake_apt_open(&apt));
    REQUIRE_OK(mini_make(&apt));
    corpus_options o = {.cache = apt.cache};
    REQUIRE_OK(corpus_build("mini", &o, document_log, &log, &report));
    static const char wanted[] =
        "[manpages usr/share/man/man1/a.1]\nNAME\na - the first page, of "
        "commands\n\nDESCRIPTION\nIt does it all.\n"
        "[manpages usr/share/man/man5/b.5]\nNAME\nb - the second page, of files\n\nSEE ALSO\na(1)\n"
        "[manpages-dev usr/share/man/man3/c.3]\nNAME\nc - a function of the library that does a "
        "lot\n"
        "[fortunes usr/share/games/fortunes/wise#1]\nA saying that is long enough to be kept.\n"
        "[fortunes usr/share/games/fortunes/wise#3]\nAnother saying that is long enough to "
        "keep.\n-- Somebody\n"
        "[libreoffice-help-en-us usr/share/libreoffice/help/en-US/text/p.html]\nPage of help\n\nIt "
        "explains how to do things.\n";
    CHECK(strcmp(log.bytes, wanted) == 0, "\n%s", log.bytes);
    for (int i = 0; i < report.n_sources; i++) {
        expect_sums(&report.sources[i]);
        CHECK(strlen(report.sources[i].sha256) == 64 && report.sources[i].license[0] != '\0',
              "provenance");
    }
    CHECK(report.sources[0].dropped[DROP_ALIAS] == 1 && report.sources[0].dropped[DROP_KIND] == 2,
          "counts");
    CHECK(report.fetched_bytes > 0, "nothing fetched");
    REQUIRE_OK(fake_apt_mode(&apt, "offline"));
    o.offline = true;
    REQUIRE_OK(corpus_build("mini", &o, document_log, &again, &report));
    CHECK(again.n == log.n && memcmp(again.bytes, log.bytes, log.n) == 0,
          "other bytes from the cache");
    CHECK(report.fetched_bytes == 0, "fetched offline");
    buffer_clear(&log);
    buffer_clear(&again);
    fake_apt_close(&apt);
}

TEST(corpus_does_not_depend_on_threads) {
    const char *folder = test_folder();
    corpus_options o = {.input = folder};
    buffer first = {0};
    for (int i = 0; i < 700; i++) { /* more than two batches */
        char contents[400];
        (void)snprintf(
            contents, sizeof contents,
            ".SH NAME\nnumber%d \\- a page\n.SH COMMON\nA sentence that %d pages share.\n.SH OWN\n"
            "Some words about the number %d.\n",
            i, i % 7, i / 3);
        REQUIRE_OK(put_file(folder, text("p%03d.1", i), contents));
    }
    for (int threads = 1; threads <= 3; threads++) {
        corpus_report report;
        buffer log = {0};
        REQUIRE_OK(pool_start(threads));
        REQUIRE_OK(corpus_build("local", &o, document_log, &log, &report));
        expect_sums(&report.sources[0]);
        if (threads == 1) {
            first = log;
            continue;
        }
        CHECK(first.n == log.n && memcmp(first.bytes, log.bytes, log.n) == 0, "%d threads differ",
              threads);
        buffer_clear(&log);
    }
    pool_stop();
    buffer_clear(&first);
}

static void expect_error(status got, error_id id) {
    const error_report *r = error_last();
    CHECK(got != STATUS_OK && r->id == id, "status %d, error %d: %s", (int)got, (int)r->id,
          r->what);
    CHECK(r->what[0] && r->where[0] && r->why[0] && r->fix[0], "parts are missing: %s", r->what);
}

static status sink_full(void *context, const document *d) {
    ++*(int *)context;
    return FAIL(F_DISK_FULL, "no room", d->path, "the test wants it", "none");
}

TEST(corpus_errors) {
    corpus_report report;
    buffer log = {0};
    int calls = 0;
    corpus_options missing = {.input = "/no/such/folder"}, folder = {.input = test_folder()};
    expect_error(corpus_build("maxi", &missing, document_log, &log, &report), F_BAD_VALUE);
    expect_error(corpus_build("local", &missing, document_log, &log, &report), F_MISSING);
    REQUIRE_OK(put_file(folder.input, "a.txt", LINE_A));
    REQUIRE_OK(put_file(folder.input, "b.txt", LINE_B));
    expect_error(corpus_build("local", &folder, sink_full, &calls, &report), F_DISK_FULL);
    CHECK(calls == 1, "%d documents after the failure", calls - 1);
    REQUIRE_OK(put_file(folder.input, "broken.txt.gz", "\x1F\x8B\x08 this is no gzip file"));
    expect_error(corpus_build("local", &folder, document_log, &log, &report), F_ARCHIVE);
    CHECK(strstr(error_last()->where, "broken.txt.gz") != NULL, "%s", error_last()->where);
    buffer_clear(&log);
}

TEST(corpus_survives_failing_allocations) {
    corpus_options o = {.input = test_folder()};
    REQUIRE_OK(put_file(o.input, "a.txt", LINE_A "e\xCC\x81\n"));
    REQUIRE_OK(put_file(o.input, "b.1", ".SH NAME\nx \\- some words of a page that is kept\n"));
    REQUIRE_OK(put_file(o.input, "c.html", "<p>Some words of a page that is kept, too.</p>"));
    int64_t blocks = mem_live_blocks();
    for (int64_t n = 1;; n++) {
        corpus_report report;
        buffer log = {0};
        mem_fail_at(n);
        status got = corpus_build("local", &o, document_log, &log, &report);
        bool failed = mem_failed();
        mem_fail_at(0);
        if (got == STATUS_OK)
            CHECK(!failed && report.documents == 3, "allocation %" PRId64 " lost", n);
        else
            CHECK(got == STATUS_MEMORY, "allocation %" PRId64 ": status %d", n, (int)got);
        buffer_clear(&log);
        CHECK(mem_live_blocks() == blocks, "allocation %" PRId64 " leaks", n);
        if (!failed) break;
        REQUIRE(n < 5000, "never passes");
    }
}
