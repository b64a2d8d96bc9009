/* fuzz_json.c - any bytes as JSON: what is accepted must survive being written and read again. */
#include "fuzz.h"

#include "base/json.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

const char *const fuzz_seeds[] = {
    "{\"a\": [1, 2.5e-3, -0, true, null], \"b\": {\"c\": \"\\u00e9\\ud83d\\ude00\"}}",
    "[[[[[[[[[[]]]]]]]]]]",
    "{\"a\": 1, \"a\": 2}",
    "{\"x\": 9223372036854775807, \"y\": 1e308}",
    NULL,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *value;
    if (json_parse((const char *)data, size, "input", &value) != STATUS_OK) return 0;
    char *line = json_line(value);
    if (line == NULL) abort();
    json_t *again;
    if (json_parse(line, strlen(line), "again", &again) != STATUS_OK) abort();
    if (!json_equal(value, again)) abort();
    mem_free(line);
    json_decref(value);
    json_decref(again);
    return 0;
}
