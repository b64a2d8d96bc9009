/* tokenizer_gpt2.c - GPT-2's own pair of files: vocab.json {spelling: id} and merges.txt.
 *
 * How. They hold the same facts as a tokenizer.json with GPT-2's pre-tokeniser, so they are turned
 * into one and go through the one strict reader. merges.txt has a "#version" line and then one
 * merge a line; "<|endoftext|>" of the vocabulary is the special token.
 */
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "tokens/tokens_internal.h"

#define FILE_MOST   ((size_t)256 << 20)
#define END_OF_TEXT "<|endoftext|>"

static status no_memory(const char *folder) {
    return FAIL(F_NO_MEMORY, "the tokenizer could not be put together", folder, "memory ran out",
                "close other programs");
}

static status read_merges(const char *folder, json_t *list) {
    char path[PATH_SIZE], *bytes;
    size_t n;
    TRY(path_join(path, folder, "merges.txt"));
    TRY(file_read(path, FILE_MOST, &bytes, &n));
    status s = STATUS_OK;
    int line = 1;
    for (char *at = bytes; *at != 0 && s == STATUS_OK; line++) {
        size_t length = strcspn(at, "\n");
        char *next = at + length + (at[length] == '\n');
        if (length > 0 && at[length - 1] == '\r') length--;
        bool comment = line == 1 && strncmp(at, "#version", 8) == 0;
        if (length > 0 && !comment) {
            json_t *pair = json_stringn(at, length);
            if (pair == NULL && utf8_valid(at, length) < length)
                s = tokenizer_damaged("a merge is not UTF-8", text("%s:%d", path, line),
                                      "merges are spelled in GPT-2's byte map");
            else if (json_array_append_new(list, pair) != 0)
                s = no_memory(folder);
        }
        at = next;
    }
    mem_free(bytes);
    return s;
}

/* The tokenizer.json that says the same; takes `vocab`. NULL without memory. */
static json_t *as_tokenizer_json(json_t *vocab, json_t *merges) {
    json_t *added = json_array();
    const json_t *end = json_object_get(vocab, END_OF_TEXT);
    int failed = 0;
    if (json_is_integer(end))
        failed = json_array_append_new(
            added, json_pack("{s:I, s:s, s:b, s:b}", "id", json_integer_value(end), "content",
                             END_OF_TEXT, "special", 1, "normalized", 0));
    json_t *root = json_pack("{s:o, s:{s:s, s:b, s:b}, s:{s:s}, s:{s:s, s:o, s:o}}", "added_tokens",
                             added, "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0,
                             "use_regex", 1, "decoder", "type", "ByteLevel", "model", "type", "BPE",
                             "vocab", vocab, "merges", merges);
    if (failed == 0) return root;
    json_decref(root);
    return NULL;
}

status tokenizer_read_gpt2(tokenizer **out, const char *folder) {
    char path[PATH_SIZE];
    TRY(path_join(path, folder, "vocab.json"));
    if (!path_exists(path))
        return FAIL(
            F_MISSING, "the folder holds no tokenizer", folder,
            "there is no tokenizer.json[.gz], model/tokenizer.json, or vocab.json with merges.txt",
            "name the folder of a model, or a tokenizer.json");
    json_t *vocab, *merges = json_array();
    if (merges == NULL) return no_memory(folder);
    status s = json_read(path, &vocab);
    if (s == STATUS_OK && (s = read_merges(folder, merges)) != STATUS_OK) json_decref(vocab);
    if (s != STATUS_OK) {
        json_decref(merges);
        return s;
    }
    json_t *root = as_tokenizer_json(vocab, merges);
    char *json = root != NULL ? json_line(root) : NULL;
    s = json != NULL ? tokenizer_parse(out, json, strlen(json), folder) : no_memory(folder);
    mem_free(json);
    json_decref(root);
    return s;
}
