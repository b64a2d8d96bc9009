/* fuzz_html.c - any bytes as a help page; the same promises as in fuzz_roff.c. */
#include "fuzz.h"

#include "base/utf8.h"
#include "data/clean.h"
#include "data/html.h"

#include <stdlib.h>

const char *const fuzz_seeds[] = {
    "<!DOCTYPE html><html><head><title>no</title><script>if (a<b) x();</script></head><body>"
    "<nav>no<nav>no</nav></nav><div id=\"DisplayArea\"><h1>Title</h1><p>One &amp; "
    "two&nbsp;&#233;.</p>"
    "<ul><li><p>a</p></li><li>b<ol><li>c</li></ol></li></ul></div><footer>no</footer></body></"
    "html>",
    "<table><tr><th>a</th><th>b<br>c</th></tr><tr><td>1<td><p>2</p><p>3</p></tr></table><pre>\n "
    "x\n\ty </pre>",
    "<div id=\"DisplayArea\"><div class=\"switch\"><span hidden=\"true\">first</span>"
    "<span hidden=\"true\"><p>second</p></span></div><div "
    "class=\"relatedtopics\"><div>no</div></div>t</div>",
    "<!-- c --><style>x</style><a href='>'>t</a> < 3 &unknown; &#xD800; &#99999999; &",
    "<p a=\"unclosed><div></div",
    NULL,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int64_t blocks = mem_live_blocks();
    buffer raw = {0}, clean = {0}, text = {0}, settled = {0};
    repair what;
    if (html_text((const char *)data, size, &raw) != STATUS_OK) abort();
    if (text_repair((const char *)data, size, &clean, &what) != STATUS_OK) abort();
    if (html_text(clean.n > 0 ? clean.bytes : "", clean.n, &text) != STATUS_OK) abort();
    if (utf8_valid(text.bytes, text.n) != text.n) abort();
    if (text_normalize(&text) != STATUS_OK) abort();
    text_settle(text.n > 0 ? text.bytes : "", text.n, &settled);
    if (settled.failed || utf8_valid(settled.bytes, settled.n) != settled.n) abort();
    for (size_t i = 0; i < settled.n; i++)
        if ((uint8_t)settled.bytes[i] < 0x20 && settled.bytes[i] != '\n') abort();
    buffer_clear(&raw);
    buffer_clear(&clean);
    buffer_clear(&text);
    buffer_clear(&settled);
    if (mem_live_blocks() != blocks) abort();
    return 0;
}
