/* test_html.c - snippets of help pages and the text they must become. Marks as in test_roff.c. */
#include "base/memory.h"
#include "data/clean.h"
#include "data/html.h"
#include "test.h"

static void page_is(const char *source, const char *wanted) {
    buffer out = {0};
    REQUIRE_OK(html_text(source, strlen(source), &out));
    for (size_t i = 0; i < out.n; i++) {
        char c = out.bytes[i];
        out.bytes[i] = c == MARK_HEADING ? '#' : c == MARK_SUBHEADING ? '%' : c;
    }
    const char *got = out.n > 0 ? out.bytes : "";
    CHECK(strcmp(got, wanted) == 0, "\n--- source\n%s\n--- got\n%s\n--- wanted\n%s", source, got,
          wanted);
    buffer_clear(&out);
}

TEST(html_blocks_and_blanks) {
    page_is("<p>One\n  <b>two</b>\tthree.</p><p>Four<br>five</p><div>six</div>seven",
            "One two three.\n\nFour\nfive\n\nsix\nseven\n");
    page_is("<h1>Title</h1><p>a</p><h2>Part</h2><p>b</p><h3>Sub</h3>c",
            "Title\n\na\n\n#Part\nb\n\n%Sub\nc\n");
}

TEST(html_entities) {
    page_is("a&lt;b &amp;&amp; c&gt;d &quot;q&quot; &#233;&#xe9; x&nbsp;y &mdash; &shy;z",
            "a<b && c>d \"q\" éé x y — z\n");
    page_is("&unknown; & &; &#; &#x; &#99999999; &#xD800; &amp",
            "&unknown; & &; &#; &#x; &#99999999; &amp\n");
}

TEST(html_lists) {
    page_is("<p>x</p><ul><li>a</li><li><p>b</p></li></ul><ol><li>c<li>d</ol>y",
            "x\n\n- a\n- b\n\n1. c\n2. d\n\ny\n");
    page_is("<ol><li>one<ul><li>in</li></ul></li><li>two</li></ol>", "1. one\n- in\n2. two\n");
}

TEST(html_tables) {
    page_is("<table><tr><th>Name</th><th>Use</th></tr><tr><td><p>a</p></td><td><p>b</p><p>c</p></"
            "td></tr></table>d",
            "Name | Use\na | b c\n\nd\n");
}

TEST(html_preformatted) {
    page_is("<p>x</p><pre>\nint  a;\n\n  b\tc &lt;d\n</pre>y",
            "x\n\nint  a;\n\n  b     c <d\n\ny\n");
}

TEST(html_hides_what_is_not_text) {
    page_is("<html><head><title>t</title><style>p {}</style></head><body><!-- a <p>b "
            "--><nav>n<nav>m</nav>o</nav>"
            "<script>if (a < b) "
            "document.write('<p>x</p>')</script>text<button>push</button><footer>f</footer></"
            "body></html>",
            "text\n");
    page_is("a<SCRIPT src='x'>b</sCrIpT >c<a href=\"x>y\">d</a>", "acd\n");
    page_is("2 < 3 <4 </ x> <?php no ?> e", "2 < 3 <4 e\n");
}

TEST(html_display_area) {
    page_is("<p>menu</p><div id=\"DisplayArea\" "
            "class=\"x\"><div><p>in</p></div>still</div><p>debug</p>",
            "in\n\nstill\n");
    page_is("<div id=\"DisplayArea\">Choose <span class=\"switchinline\"><span hidden=\"true\" "
            "class=\"MAC\">Prefs</span>"
            "<span hidden=\"true\">Tools</span></span> - Go.<div "
            "class=\"relatedtopics\"><p>Links</p></div></div>",
            "Choose Tools - Go.\n");
    page_is("<div class=\"switch\"><div hidden=\"true\"><p>one</p></div><div "
            "hidden=\"true\"><p>two</p></div></div>end",
            "two\n\nend\n");
}

TEST(html_unterminated) {
    page_is("a<p", "a\n");
    page_is("a<p title=\"b>c", "a\n");
    page_is("a<!-- b", "a\n");
    page_is("a<script>b", "a\n");
    page_is("", "");
}

TEST(html_is_linear) {
    static const char *const parts[] = {
        "<",        "<p",      "<p a=\"", "<!--",
        "<script>", "</scrip", "<div>",   "<li>",
        "&",        "&lt",     "<td>",    "<div class=\"switch\"><span hidden=\"true\">x"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        buffer page = {0}, out = {0};
        buffer_text(&page, "<p>x</p>");
        while (page.n < 2000000)
            buffer_text(&page, parts[i]);
        REQUIRE_OK(buffer_check(&page));
        REQUIRE_OK(html_text(page.bytes, page.n, &out));
        CHECK(out.n <= 2 * page.n, "part %zu: %zu bytes became %zu", i, page.n, out.n);
        buffer_clear(&page);
        buffer_clear(&out);
    }
}

TEST(html_survives_failing_allocations) {
    static const char page[] =
        "<h1>Title</h1><p>text of some length, so that buffers grow more than once</p>"
        "<ul><li>a</li></ul><table><tr><td>b</td><td>c</td></tr></table>";
    int64_t blocks = mem_live_blocks();
    for (int64_t n = 1;; n++) {
        buffer out = {0};
        mem_fail_at(n);
        status got = html_text(page, sizeof page - 1, &out);
        bool failed = mem_failed();
        mem_fail_at(0);
        buffer_clear(&out);
        CHECK(mem_live_blocks() == blocks, "allocation %" PRId64 " leaks", n);
        CHECK(got == (failed ? STATUS_MEMORY : STATUS_OK), "allocation %" PRId64 ": %d", n,
              (int)got);
        if (!failed) break;
        REQUIRE(n < 1000, "never passes");
    }
}
