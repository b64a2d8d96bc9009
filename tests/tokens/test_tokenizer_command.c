/* test_tokenizer_command.c - fathom tokenizer train, encode, decode, show, as a user calls them. */
#include "test.h"

#include "command_call.h"

#include "base/file.h"
#include "tokens/tokenizer_command.h"

static const command *const commands[] = {&tokenizer_command, NULL};
static const command_program program = {
    .name = "fathom", .version = "0", .about = "test", .commands = commands};

static const char lines[] = "{\"text\": \"the cat sat on the mat\", \"id\": 7}\n"
                            "\n"
                            "{\"text\": \"\"}\n"
                            "{\"text\": \"the <think> \xE4\xB8\xAD\xE6\x96\x87 cat\\n\"}\n";

/* Enters an empty folder with text.txt, texts.jsonl and a tokenizer.json. */
static void prepare(void) {
    call_enter();
    static char words[4000];
    for (size_t i = 0; i + 24 < sizeof words; i += 23)
        memcpy(words + i, i % 2 ? "the cat sat on the mat\n" : "a dog ran to the house\n", 24);
    if (file_write("text.txt", words, strlen(words)) != STATUS_OK) exit(2);
    if (file_write("texts.jsonl", lines, strlen(lines)) != STATUS_OK) exit(2);
    call_result r = call_program(&program, "tokenizer train text.txt --vocab-size 290", 0);
    CHECK(r.code == 0 && strstr(r.out, "tokenizer.json: 290 tokens") != NULL, "%d: %s%s", r.code,
          r.out, r.err);
    call_clear(&r);
}

static void expect(const char *words, int code, const char *out, const char *err) {
    call_result r = call_program(&program, words, 0);
    CHECK(r.code == code, "%s: exit code %d: %s%s", words, r.code, r.out, r.err);
    CHECK(out == NULL || strstr(r.out, out) != NULL, "%s: \"%s\"", words, r.out);
    CHECK(err == NULL || strstr(r.err, err) != NULL, "%s: \"%s\"", words, r.err);
    call_clear(&r);
}

TEST(command_encode_and_decode_undo_each_other) {
    prepare();
    expect("tokenizer encode --tokenizer tokenizer.json text.txt -o ids.txt", 0, "", "");
    expect("tokenizer decode --tokenizer . ids.txt -o back.txt", 0, "", "");
    char *a, *b;
    size_t n, m;
    REQUIRE_OK(file_read("text.txt", 0, &a, &n));
    REQUIRE_OK(file_read("back.txt", 0, &b, &m));
    CHECK(n == m && memcmp(a, b, n) == 0, "%zu and %zu bytes", n, m);
    mem_free(a);
    mem_free(b);
    call_leave();
}

/* The texts of a JSONL file, joined by "|". */
static void joined_texts(const char *path, char *out, size_t room) {
    char *bytes, *next;
    size_t n, used = 0;
    REQUIRE_OK(file_read(path, 0, &bytes, &n));
    out[0] = 0;
    for (char *at = bytes; *at != 0; at = next) {
        size_t length = strcspn(at, "\n");
        next = at + length + (at[length] == '\n');
        if (length == 0) continue;
        json_t *o;
        const char *s;
        REQUIRE_OK(json_parse(at, length, path, &o));
        REQUIRE_OK(json_get_string(o, "text", &s, path));
        used += (size_t)snprintf(out + used, room - used, "%s|", s);
        json_decref(o);
    }
    mem_free(bytes);
}

TEST(command_jsonl_both_ways) {
    prepare();
    char texts[400], back[400];
    expect("tokenizer encode --tokenizer tokenizer.json --jsonl texts.jsonl", 0, "{\"ids\":[]}\n",
           "");
    expect("tokenizer encode --tokenizer tokenizer.json --jsonl texts.jsonl -o ids.jsonl", 0, "",
           "");
    expect("tokenizer decode --tokenizer tokenizer.json --jsonl ids.jsonl -o back.jsonl", 0, "",
           "");
    joined_texts("texts.jsonl", texts, sizeof texts);
    joined_texts("back.jsonl", back, sizeof back);
    CHECK(strcmp(texts, back) == 0 && strlen(texts) > 20, "\"%s\" became \"%s\"", texts, back);
    expect("tokenizer encode --tokenizer tokenizer.json --jsonl texts.jsonl --specials", 0, ",261,",
           "");
    call_leave();
}

TEST(command_json_result) {
    prepare();
    call_result r = call_program(
        &program, "tokenizer encode --tokenizer tokenizer.json --jsonl texts.jsonl --json", 0);
    json_t *o, *result, *rows;
    REQUIRE_OK(json_parse(r.out, strlen(r.out), "out", &o));
    REQUIRE_OK(json_get_object(o, "result", &result, "out"));
    REQUIRE_OK(json_get_array(result, "rows", &rows, "out"));
    CHECK(json_array_size(rows) == 3, "%s", r.out);
    json_decref(o);
    call_clear(&r);
    expect("tokenizer show . --text the --json", 0, "\"bos_id\":256", "");
    expect("tokenizer show tokenizer.json", 0, "deepseek-v3", "");
    expect("tokenizer train text.txt --vocab-size 290 --json -o b.json", 0, "\"vocab_size\":290",
           "");
    char *a, *b;
    size_t n, m;
    REQUIRE_OK(file_read("tokenizer.json", 0, &a, &n));
    REQUIRE_OK(file_read("b.json", 0, &b, &m));
    CHECK(n == m && memcmp(a, b, n) == 0, "trained twice, two files");
    mem_free(a);
    mem_free(b);
    call_leave();
}

TEST(command_plans_write_nothing) {
    prepare();
    expect("tokenizer train text.txt -o new.json -n", 0, "would learn from", "");
    CHECK(!path_exists("new.json"), "-n wrote a file");
    expect("tokenizer encode --tokenizer . text.txt -o new.ids -n", 0, "would read text.txt", "");
    CHECK(!path_exists("new.ids"), "-n wrote a file");
    call_leave();
}

TEST(command_refusals) {
    prepare();
    REQUIRE_OK(file_write("bad.jsonl", "{\"text\": 5}\n", 12));
    REQUIRE_OK(file_write("broken.jsonl", "{\"text\": \"a\"}\n{\"text\"", 22));
    REQUIRE_OK(file_write("far.jsonl", "{\"ids\": [1, 300]}\n", 18));
    REQUIRE_OK(file_write("empty.txt", "", 0));
    REQUIRE_OK(file_write("words.txt", "12 x13", 6));
    expect("tokenizer encode text.txt", 64, "", "no tokenizer is named");
    expect("tokenizer encode --tokenizer none.json text.txt", 66, "", "none.json");
    expect("tokenizer encode --tokenizer . none.txt", 66, "", "none.txt");
    expect("tokenizer encode --tokenizer . --jsonl none.jsonl", 66, "", "none.jsonl");
    expect("tokenizer encode --tokenizer . --jsonl bad.jsonl", 65, "", "bad.jsonl:1");
    expect("tokenizer encode --tokenizer . --jsonl broken.jsonl", 65, NULL, "broken.jsonl:2");
    expect("tokenizer decode --tokenizer . --jsonl far.jsonl", 65, "", "300");
    expect("tokenizer decode --tokenizer . words.txt", 65, "", "\"x13\"");
    expect("tokenizer train empty.txt", 65, "", "no text");
    expect("tokenizer train bad.jsonl", 65, "", "bad.jsonl:1");
    expect("tokenizer train text.txt --vocab-size 100", 64, "", "vocab-size");
    expect("tokenizer encode --tokenizer . text.txt -o none/ids.txt", 66, "", "none/ids.txt");
    CHECK(path_exists("tokenizer.json"), "a failed training removed the tokenizer");
    call_leave();
}

TEST(command_allocations_fail_cleanly) {
    static const char *const calls[] = {
        "tokenizer encode --tokenizer tokenizer.json --jsonl texts.jsonl --json",
        "tokenizer decode --tokenizer tokenizer.json ids.txt -o back.txt",
        "tokenizer train text.txt texts.jsonl --vocab-size 280 --json",
    };
    prepare();
    expect("tokenizer encode --tokenizer tokenizer.json text.txt -o ids.txt", 0, "", "");
    int64_t live = mem_live_blocks();
    for (size_t k = 0; k < sizeof calls / sizeof *calls; k++) {
        bool passed = false;
        for (int64_t i = 1; i < 20000 && !passed; i += 1 + i / 30) {
            call_result r = call_program(&program, calls[k], i);
            passed = !r.failure_happened;
            CHECK(r.code == (passed ? 0 : 71), "%s, allocation %d: %d: %s%s", calls[k], (int)i,
                  r.code, r.out, r.err);
            call_clear(&r);
            REQUIRE(mem_live_blocks() == live, "%s, allocation %d leaks", calls[k], (int)i);
        }
        CHECK(passed, "%s never passed", calls[k]);
    }
    call_leave();
}
