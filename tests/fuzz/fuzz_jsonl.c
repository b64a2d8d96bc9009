/* fuzz_jsonl.c - any bytes as lines of records: each gives a UTF-8 text or a report, and what was
 * taken survives being written to corpus.jsonl and read again. */
#include "fuzz.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "data/jsonl.h"

#include <stdlib.h>
#include <string.h>

const char *const fuzz_seeds[] = {
    "{\"text\": \"one \\u00e9 \\ud83d\\ude00 \\\" \\\\ \\n\"}\n{\"text\": \"two\", \"x\": [1, "
    "{}]}\n",
    "{\"text\": 5}\n[1]\nnull\n{}\n\n{\"q\": \"a\", \"a\": \"b\"}",
    "{\"id\":\"0\",\"source\":\"s\",\"path\":\"p\",\"text\":\"t\"}\n",
    "{\"text\": \"\\u0000\"}\n{\"text\": \"a\", \"text\": \"b\"}",
    NULL,
};

static void check_round_trip(const char *bytes, size_t n) {
    buffer line = {0};
    document d = {
        .id = "0", .source = "s", .version = "", .path = "p", .text = bytes, .text_bytes = n};
    jsonl_write(&line, &d);
    record r;
    if (record_read(&r, line.bytes, line.n - 1, "written") != STATUS_OK) abort();
    if (r.text_bytes != n || memcmp(r.text, bytes, n) != 0) abort();
    record_clear(&r);
    buffer_clear(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const import_map map[] = {{"q", "text"}, {"a", "text"}};
    int64_t before = mem_live_blocks();
    buffer out = {0};
    for (size_t at = 0; at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t n = end != NULL ? (size_t)(end - data) - at : size - at;
        const char *line = (const char *)data + at;
        for (int mapped = 0; mapped < 2; mapped++) {
            buffer_cut(&out, 0);
            status s = jsonl_text(line, n, map, mapped * 2, &out);
            if (s != STATUS_OK && out.n != 0) abort();
            if (s == STATUS_OK && out.n > 0) {
                if (utf8_valid(out.bytes, out.n) != out.n || memchr(out.bytes, 0, out.n) != NULL)
                    abort();
                check_round_trip(out.bytes, out.n);
            }
        }
        record r;
        if (record_read(&r, line, n, "line") == STATUS_OK) record_clear(&r);
        at += n + 1;
    }
    buffer_clear(&out);
    if (mem_live_blocks() != before) abort();
    return 0;
}
