/* test_golden.c - ids of real vocabularies, made by independent implementations.
 *
 * Lines of the golden files on which their maker and the Hugging Face `tokenizers` package (0.23.3)
 * disagree would be listed here with the package's ids; there are none: it agrees with all 570.
 */
#include "test.h"
#include "token_text.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

/* Compares one {"text", "ids"}; text must come back too, in NFC if the tokenizer normalises. */
static bool check_line(const tokenizer *t, encoder *e, const json_t *line, bool exact, int number) {
    const json_t *text_json = json_object_get(line, "text"),
                 *ids_json = json_object_get(line, "ids");
    const char *bytes = json_string_value(text_json);
    size_t n = json_string_length(text_json), back_n;
    token_list ids = {0};
    char *back;
    status s = encoder_add(e, bytes, n, SPECIAL_PARSE, &ids);
    size_t same = 0;
    while (s == STATUS_OK && same < ids.n && same < json_array_size(ids_json) &&
           ids.ids[same] == json_integer_value(json_array_get(ids_json, same)))
        same++;
    bool good = s == STATUS_OK && same == ids.n && same == json_array_size(ids_json);
    CHECK(good, "line %d: id %zu of %zu is %d, expected %d", number, same,
          json_array_size(ids_json), same < ids.n ? ids.ids[same] : -1,
          (int)json_integer_value(json_array_get(ids_json, same)));
    s = tokenizer_decode(t, ids.ids, ids.n, true, &back, &back_n);
    CHECK(s == STATUS_OK && (!exact || (back_n == n && memcmp(back, bytes, n) == 0)),
          "line %d comes back changed", number);
    mem_free(back);
    token_list_clear(&ids);
    return good;
}

static void check_lines(const tokenizer *t, const char *path, bool exact, int expected) {
    char *bytes;
    size_t n;
    encoder *e;
    REQUIRE_OK(file_read(path, 0, &bytes, &n));
    REQUIRE_OK(encoder_new(&e, t));
    int number = 0, good = 0;
    for (char *at = bytes, *end; at < bytes + n; at = end + 1) {
        end = memchr(at, '\n', (size_t)(bytes + n - at));
        if (end == NULL) end = bytes + n;
        json_t *line;
        REQUIRE_OK(json_parse(at, (size_t)(end - at), path, &line));
        good += check_line(t, e, line, exact, ++number);
        json_decref(line);
    }
    CHECK(number == expected, "%d lines, expected %d", number, expected);
    printf("  %d of %d lines\n", good, number);
    encoder_free(e);
    mem_free(bytes);
}

static void check_data(const char *folder, int32_t vocab_size, int32_t bos, int32_t eos,
                       bool exact) {
    const char *found = test_data(text("tokenizers/%s", folder));
    if (found == NULL) SKIP("FATHOM_TEST_DATA has no tokenizers/%s", folder);
    char path[PATH_SIZE];
    tokenizer *t;
    REQUIRE_OK(path_join(path, found, "golden.jsonl"));
    REQUIRE_OK(tokenizer_open(&t, found));
    CHECK(tokenizer_vocab_size(t) == vocab_size && tokenizer_bos(t) == bos &&
              tokenizer_eos(t) == eos,
          "size %d, BOS %d, EOS %d", tokenizer_vocab_size(t), tokenizer_bos(t), tokenizer_eos(t));
    check_lines(t, path, exact, 285);
    tokenizer_free(t);
}

TEST(golden_deepseek_v3) {
    check_data("deepseek-v3", 128815, 0, 1, true);
}
TEST(golden_qwen3) {
    check_data("qwen3", 151669, -1, 151645, false);
}

TEST(golden_gpt2) {
    const char *path = test_data("tokenizers/gpt2");
    if (path == NULL) SKIP("FATHOM_TEST_DATA has no tokenizers/gpt2");
    tokenizer *t;
    REQUIRE_OK(tokenizer_open(&t, path));
    CHECK(tokenizer_vocab_size(t) == 50257 && tokenizer_eos(t) == 50256, "size %d",
          tokenizer_vocab_size(t));
    check_lines(t, GOLDEN "/gpt2.jsonl", true, 30);
    tokenizer_free(t);
}

/* Our own vocabulary of a fixed text: the same bytes as ever, and the same ids as the Hugging Face
 * package finds with the file we write. */
TEST(golden_own_vocabulary) {
    char *bytes, *expected, *json;
    size_t n, expected_n, json_n;
    REQUIRE_OK(file_read(GOLDEN "/text.txt", 0, &bytes, &n));
    bpe_trainer *b;
    bpe_options o = {.vocab_size = 640,
                     .pretokenizer = PRETOKENIZER_DEEPSEEK_V3,
                     .added = bpe_default_added,
                     .n_added = BPE_DEFAULT_ADDED,
                     .n_special = BPE_DEFAULT_SPECIAL};
    REQUIRE_OK(bpe_trainer_new(&b, &o));
    REQUIRE_OK(bpe_trainer_add(b, &(text_span){bytes, n}, 1));
    tokenizer *t;
    REQUIRE_OK(bpe_trainer_finish(b, &t));
    bpe_trainer_free(b);
    REQUIRE_OK(tokenizer_format(t, &json, &json_n));
    REQUIRE_OK(file_read(GOLDEN "/tokenizer.json", 0, &expected, &expected_n));
    CHECK(json_n == expected_n && memcmp(json, expected, json_n) == 0,
          "training or writing has changed");
    check_lines(t, GOLDEN "/own.jsonl", true, 30);
    mem_free(bytes);
    mem_free(expected);
    mem_free(json);
    tokenizer_free(t);
}
