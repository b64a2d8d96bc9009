/* test_golden_families.c - ids of 10,000 lines in nine scripts, for every family of tokenizers, as
 * the Hugging Face `tokenizers` package finds them (tests/golden/tokenizers).
 *
 * The lines are made here by the same small generator as in make.py, so that only a hash of their
 * ids need be stored; some short texts have their ids in full, to see what is wrong.
 */
#include "test.h"
#include "token_text.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "tokens/vocabulary.h"

/* -- the text -- */

typedef struct text_maker {
    const json_t *scripts, *odd;
    uint64_t state;
    char *out;
    size_t n;
} text_maker;

#define LINE_MOST 4096

static uint32_t below(uint64_t *state, uint32_t bound) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*state >> 33) % bound);
}

static void put_point(text_maker *m, uint32_t c) {
    char *p = m->out + m->n;
    if (c < 0x80) {
        m->out[m->n++] = (char)c;
    } else if (c < 0x800) {
        p[0] = (char)(0xC0 | c >> 6), p[1] = (char)(0x80 | (c & 0x3F));
        m->n += 2;
    } else {
        p[0] = (char)(0xE0 | c >> 12), p[1] = (char)(0x80 | (c >> 6 & 0x3F));
        p[2] = (char)(0x80 | (c & 0x3F));
        m->n += 3;
    }
}

static void put_string(text_maker *m, const char *s, size_t n) {
    memcpy(m->out + m->n, s, n);
    m->n += n;
}

static void put_word(text_maker *m, uint32_t script, uint32_t number) {
    const json_t *range = json_array_get(m->scripts, script);
    uint32_t first = (uint32_t)json_integer_value(json_array_get(range, 0));
    uint32_t count = (uint32_t)json_integer_value(json_array_get(range, 1));
    uint64_t state = (uint64_t)script * 1000003 + number;
    size_t start = m->n;
    for (uint32_t left = 1 + below(&state, 6); left > 0; left--)
        put_point(m, first + below(&state, count));
    if (script == 0 && below(&state, 6) == 0) m->out[start] = (char)(m->out[start] - 'a' + 'A');
}

static void put_between(text_maker *m) {
    uint32_t choice = below(&m->state, 12);
    const json_t *odd;
    switch (choice) {
    case 0:
        odd = json_array_get(m->odd, below(&m->state, (uint32_t)json_array_size(m->odd)));
        put_string(m, json_string_value(odd), json_string_length(odd));
        break;
    case 1: m->n += (size_t)snprintf(m->out + m->n, 16, "%u", below(&m->state, 100000)); break;
    case 2: put_string(m, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" + below(&m->state, 32), 1); break;
    case 3: put_string(m, "  ", 2); break;
    case 4: put_string(m, ", ", 2); break;
    case 5: put_string(m, "\n", 1); break;
    case 6: break;
    default: put_string(m, " ", 1);
    }
}

static void make_line(text_maker *m) {
    m->n = 0;
    uint32_t script = below(&m->state, (uint32_t)json_array_size(m->scripts));
    for (uint32_t left = 3 + below(&m->state, 9); left > 0; left--) {
        uint32_t range = 1 + below(&m->state, 200);
        put_word(m, script, below(&m->state, range));
        put_between(m);
    }
}

/* -- comparing -- */

static void read_golden(json_t **root, const char *name) {
    char *bytes, path[PATH_SIZE];
    size_t n;
    REQUIRE_OK(path_join(path, FAMILIES, name));
    REQUIRE_OK(file_read(path, 0, &bytes, &n));
    REQUIRE_OK(json_parse(bytes, n, name, root));
    mem_free(bytes);
}

static uint64_t hash_line(uint64_t h, const token_list *ids) {
    for (size_t i = 0; i <= ids->n; i++) {
        uint32_t id = i < ids->n ? (uint32_t)ids->ids[i] : UINT32_MAX;
        for (int k = 0; k < 4; k++, id >>= 8)
            h = (h ^ (id & 255)) * 0x100000001B3u;
    }
    return h;
}

static void check_hash(encoder *e, const char *name, const json_t *golden, const json_t *expected) {
    static char line[LINE_MOST];
    text_maker m = {.scripts = json_object_get(golden, "scripts"),
                    .odd = json_object_get(golden, "odd"),
                    .state = (uint64_t)json_integer_value(json_object_get(golden, "seed")),
                    .out = line};
    uint64_t h = 0xCBF29CE484222325u;
    int64_t total = 0, lines = json_integer_value(json_object_get(golden, "lines"));
    token_list ids = {0};
    for (int64_t i = 0; i < lines; i++) {
        make_line(&m);
        ids.n = 0;
        REQUIRE_OK(encoder_add(e, line, m.n, SPECIAL_PARSE, &ids));
        h = hash_line(h, &ids);
        total += (int64_t)ids.n;
    }
    char hex[24];
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)h);
    CHECK(strcmp(hex, json_string_value(json_object_get(expected, "hash"))) == 0 &&
              total == json_integer_value(json_object_get(expected, "ids")),
          "%s: %lld ids with hash %s, expected %lld with %s", name, (long long)total, hex,
          (long long)json_integer_value(json_object_get(expected, "ids")),
          json_string_value(json_object_get(expected, "hash")));
    token_list_clear(&ids);
}

static void check_shown(encoder *e, const char *name, const json_t *golden,
                        const json_t *expected) {
    const json_t *shown = json_object_get(golden, "shown"),
                 *lines = json_object_get(expected, "lines");
    token_list ids = {0};
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(shown, i), *want = json_array_get(lines, i);
        ids.n = 0;
        REQUIRE_OK(
            encoder_add(e, json_string_value(line), json_string_length(line), SPECIAL_PARSE, &ids));
        size_t same = 0;
        while (same < ids.n && same < json_array_size(want) &&
               ids.ids[same] == json_integer_value(json_array_get(want, same)))
            same++;
        CHECK(same == ids.n && same == json_array_size(want),
              "%s: \"%s\": id %zu of %zu is %d, expected %d", name, json_string_value(line), same,
              json_array_size(want), same < ids.n ? ids.ids[same] : -1,
              (int)json_integer_value(json_array_get(want, same)));
    }
    token_list_clear(&ids);
}

static void check_family(const tokenizer *t, const char *name, const json_t *golden,
                         const json_t *expected) {
    encoder *e;
    REQUIRE_OK(encoder_new(&e, t));
    check_shown(e, name, golden, expected);
    check_hash(e, name, golden, expected);
    encoder_free(e);
}

/* The family's file: the base with its changes. */
static void make_family(tokenizer **out, const char *name, const json_t *family) {
    const char *key;
    json_t *root, *value;
    read_golden(&root, json_string_value(json_object_get(family, "base")));
    json_object_foreach(json_object_get(family, "changes"), key, value)
        json_object_set(root, key, value);
    json_object_set(json_object_get(root, "model"), "ignore_merges",
                    json_object_get(family, "ignore_merges"));
    char *json = json_line(root);
    REQUIRE(json != NULL, "no memory");
    REQUIRE_OK(tokenizer_parse(out, json, strlen(json), name));
    mem_free(json);
    json_decref(root);
}

/* Written and read again, the same ids. */
static void check_again(const tokenizer *t, const char *name, const json_t *golden,
                        const json_t *expected) {
    tokenizer *again;
    encoder *e;
    char *json;
    size_t n;
    REQUIRE_OK(tokenizer_format(t, &json, &n));
    REQUIRE_OK(tokenizer_parse(&again, json, n, name));
    CHECK(tokenizer_fingerprint(t) == tokenizer_fingerprint(again), "%s changes when saved", name);
    REQUIRE_OK(encoder_new(&e, again));
    check_shown(e, name, golden, expected);
    encoder_free(e);
    tokenizer_free(again);
    mem_free(json);
}

/* Of GGUF files: the vocabulary of GPT-2's family under every name of this one. */
static void check_names(const tokenizer *gpt2, const json_t *family, const json_t *golden,
                        const json_t *expected) {
    const json_t *names = json_object_get(family, "gguf");
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        vocabulary *v;
        tokenizer *t;
        REQUIRE_OK(tokenizer_to_vocabulary(gpt2, &v));
        v->pre = name;
        CHECK(vocabulary_pre_known(name), "%s is not known", name);
        REQUIRE_OK(tokenizer_from_vocabulary(&t, v, name));
        vocabulary_free(v);
        encoder *e;
        REQUIRE_OK(encoder_new(&e, t));
        check_shown(e, name, golden, expected);
        if (i == 0) check_hash(e, name, golden, expected);
        encoder_free(e);
        REQUIRE_OK(tokenizer_to_vocabulary(t, &v));
        CHECK(i > 0 || strcmp(v->pre, name) == 0 || strcmp(name, "glm4") == 0,
              "%s is written as %s", name, v->pre);
        vocabulary_free(v);
        tokenizer_free(t);
    }
}

TEST(golden_families) {
    json_t *families, *golden;
    read_golden(&families, "families.json");
    read_golden(&golden, "expected.json");
    const json_t *expected = json_object_get(golden, "families");
    tokenizer *gpt2;
    make_family(&gpt2, "gpt-2", json_object_get(families, "gpt-2"));
    const char *name;
    json_t *family;
    int count = 0;
    json_object_foreach(families, name, family) {
        tokenizer *t;
        const json_t *want = json_object_get(expected, name);
        make_family(&t, name, family);
        check_family(t, name, golden, want);
        check_again(t, name, golden, want);
        check_names(gpt2, family, golden, want);
        tokenizer_free(t);
        count++;
    }
    CHECK(count == (int)json_object_size(expected), "%d families of %zu", count,
          json_object_size(expected));
    printf("  %d families\n", count);
    tokenizer_free(gpt2);
    json_decref(families);
    json_decref(golden);
}

/* Every allocation of reading, encoding and writing fails once. */
TEST(golden_families_survive_failing_allocations) {
    static const char *const names[] = {"replace", "added-nfc", "falcon", "marked-nfkc"};
    json_t *families;
    read_golden(&families, "families.json");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        tokenizer *t;
        char *json, *again;
        size_t n, m;
        make_family(&t, names[i], json_object_get(families, names[i]));
        REQUIRE_OK(tokenizer_format(t, &json, &n));
        tokenizer_free(t);
        int64_t live = mem_live_blocks();
        bool passed = false;
        for (int64_t at = 1; !passed && at < 1000000; at += 1 + at / 40) {
            token_list ids = {0};
            mem_fail_at(at);
            status s = tokenizer_parse(&t, json, n, names[i]);
            if (s == STATUS_OK)
                s = tokenizer_encode(t, "of the\xC3\xA9 12", 11, SPECIAL_PARSE, &ids);
            if (s == STATUS_OK) s = tokenizer_format(t, &again, &m);
            if (s == STATUS_OK) mem_free(again);
            passed = !mem_failed();
            mem_fail_at(0);
            token_list_clear(&ids);
            tokenizer_free(t);
            REQUIRE(mem_live_blocks() == live, "%s: allocation %lld leaks", names[i],
                    (long long)at);
            CHECK(passed || s == STATUS_MEMORY, "%s: status %d", names[i], (int)s);
        }
        mem_free(json);
    }
    json_decref(families);
}

static void check_published(const char *name) {
    const char *folder = test_data(text("tokenizers/%s", name));
    if (folder == NULL) SKIP("FATHOM_TEST_DATA has no tokenizers/%s", name);
    json_t *golden;
    tokenizer *t;
    read_golden(&golden, "expected.json");
    REQUIRE_OK(tokenizer_open(&t, folder));
    check_family(t, name, golden, json_object_get(json_object_get(golden, "published"), name));
    tokenizer_free(t);
    json_decref(golden);
}

TEST(golden_families_deepseek_v3) {
    check_published("deepseek-v3");
}
TEST(golden_families_qwen3) {
    check_published("qwen3");
}
TEST(golden_families_gpt2) {
    check_published("gpt2");
}
