/* Conversations: stop words across pieces, common beginnings, files. */
#include "base/file.h"
#include "base/memory.h"
#include "infer/conversation.h"
#include "infer/stop_words.h"
#include "kernels/kernels.h"
#include "model/presets.h"
#include "test.h"

/* -- stop words -- */

/* Feeds text in pieces of `step` bytes; what was shown is left in out. Returns whether it stopped. */
static bool filtered(const char *text, size_t step, const char *const *words, int n_words,
                     char *out) {
    stop_filter f = {.words = words, .n_words = n_words};
    size_t n = strlen(text), shown = 0, safe_n;
    const char *safe;
    bool found = false;
    for (size_t at = 0; at < n && !found; at += step) {
        size_t piece = n - at < step ? n - at : step;
        if (stop_filter_add(&f, text + at, piece, &safe, &safe_n, &found) != STATUS_OK) abort();
        memcpy(out + shown, safe, safe_n);
        shown += safe_n;
    }
    if (!found) {
        stop_filter_end(&f, &safe, &safe_n);
        memcpy(out + shown, safe, safe_n);
        shown += safe_n;
    }
    out[shown] = '\0';
    stop_filter_clear(&f);
    return found;
}

TEST(stop_words_end_the_text_however_it_is_cut) {
    static const struct {
        const char *text, *words[3], *shown;
        bool stops;
    } rows[] = {
        {"abcENDdef", {"END"}, "abc", true},
        {"abcEN", {"END"}, "abcEN", false},
        {"EENENDx", {"END"}, "EEN", true},
        {"aabaabaac", {"aabaac"}, "aab", true},
        {"one two three", {"three", "two"}, "one ", true},
        {"no stop here", {"stops", "her!"}, "no stop here", false},
        {"END", {"END"}, "", true},
        {"", {"END"}, "", false},
        {"x\nUser:", {"\nUser:", "\n\n"}, "x", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t step = 1; step <= 10; step++) {
            char out[64];
            int n = rows[i].words[1] != NULL ? 2 : 1;
            bool stopped = filtered(rows[i].text, step, rows[i].words, n, out);
            CHECK(stopped == rows[i].stops && strcmp(out, rows[i].shown) == 0,
                  "\"%s\" in pieces of %zu: \"%s\", %d", rows[i].text, step, out, stopped);
        }
}

/* -- conversations -- */

typedef struct bench {
    model m;
    tokenizer *t;
    engine *e;
    session *s;
    chat_format *f;
    conversation *c;
} bench;

static status bench_open(bench *b) {
    static const char source[] =
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}";
    memset(b, 0, sizeof *b);
    model_config c = model_preset_find("shakespeare-char")->config;
    c.vocab_size = 256, c.n_layer = 2, c.d_model = 64, c.d_ff = 96, c.max_position = 512;
    c.n_head = 4, c.n_kv_head = 2, c.head_dim = 16;
    TRY(model_init(&b->m, &c, DTYPE_F32));
    param_set_initialise(&b->m.params, 11);
    TRY(tokenizer_byte(&b->t));
    TRY(engine_new(&b->e, &b->m, 1024));
    TRY(session_new(&b->s, b->e));
    TRY(chat_format_parse(&b->f, source, sizeof source - 1, "test", NULL, NULL));
    return conversation_new(&b->c, b->s, b->t, b->f);
}

static void bench_close(bench *b) {
    conversation_free(b->c);
    chat_format_free(b->f);
    session_free(b->s);
    engine_free(b->e);
    tokenizer_free(b->t);
    model_clear(&b->m);
}

static generate_options greedy(void) {
    generate_options o = {.max_tokens = 12, .sampler = sampler_defaults()};
    o.sampler.temperature = 0;
    return o;
}

static bool answer(bench *b, char out[256]) {
    const char *text;
    generate_options o = greedy();
    generate_result r;
    if (conversation_answer(b->c, &o, &r, &text) != STATUS_OK) return false;
    snprintf(out, 256, "%s", text);
    return true;
}

TEST(conversation_reuses_what_the_session_holds) {
    bench kept, fresh;
    char first[256], second[256], again[256];
    REQUIRE_OK(bench_open(&kept));
    REQUIRE_OK(conversation_add(kept.c, "user", "a b"));
    REQUIRE(answer(&kept, first), "no answer");
    REQUIRE_OK(conversation_add(kept.c, "user", "and c"));
    REQUIRE(answer(&kept, second), "no answer");
    CHECK(conversation_length(kept.c) == 4, "%zu messages", conversation_length(kept.c));

    REQUIRE_OK(bench_open(&fresh));
    REQUIRE_OK(conversation_add(fresh.c, "user", "a b"));
    REQUIRE_OK(conversation_add(fresh.c, "assistant", first));
    REQUIRE_OK(conversation_add(fresh.c, "user", "and c"));
    REQUIRE(answer(&fresh, again), "no answer");
    CHECK(strcmp(second, again) == 0, "\"%s\" and \"%s\"", second, again);
    bench_close(&kept);
    bench_close(&fresh);
}

TEST(conversation_cut_and_ask_again_gives_the_same) {
    bench b;
    char first[256], again[256];
    REQUIRE_OK(bench_open(&b));
    REQUIRE_OK(conversation_add(b.c, "user", "tell me"));
    REQUIRE(answer(&b, first), "no answer");
    conversation_cut(b.c, 1);
    REQUIRE(answer(&b, again), "no answer");
    CHECK(strcmp(first, again) == 0, "\"%s\" and \"%s\"", first, again);
    bench_close(&b);
}

TEST(conversation_is_saved_and_loaded) {
    bench b;
    const char *path = text("%s/c.json", test_folder());
    char file[512];
    snprintf(file, sizeof file, "%s", path);
    REQUIRE_OK(bench_open(&b));
    REQUIRE_OK(conversation_add(b.c, "system", "brief"));
    REQUIRE_OK(conversation_add(b.c, "user", "h\xc3\xa9llo \"x\"\n"));
    REQUIRE_OK(conversation_save(b.c, file));
    conversation_cut(b.c, 0);
    REQUIRE_OK(conversation_load(b.c, file));
    CHECK(conversation_length(b.c) == 2, "%zu messages", conversation_length(b.c));
    static const char bad[] = "{\"messages\": [{\"role\": \"user\"}]}";
    REQUIRE_OK(file_write(file, bad, sizeof bad - 1));
    CHECK(conversation_load(b.c, file) == STATUS_FORMAT && error_last()->id == F_RECORD,
          "a message without content was taken");
    CHECK(conversation_length(b.c) == 2, "the old messages are lost");
    CHECK(conversation_add(b.c, "user", "\xff") != STATUS_OK, "a message that is not UTF-8");
    bench_close(&b);
}

TEST(conversation_too_long_fails_and_keeps_its_messages) {
    bench b;
    char words[600], out[256];
    memset(words, 'x', sizeof words);
    words[sizeof words - 1] = '\0';
    REQUIRE_OK(bench_open(&b));
    REQUIRE_OK(conversation_add(b.c, "user", words));
    CHECK(!answer(&b, out) && error_last()->id == F_CONTEXT_FULL, "error %d",
          (int)error_last()->id);
    conversation_cut(b.c, 0);
    REQUIRE_OK(conversation_add(b.c, "user", "short"));
    CHECK(answer(&b, out), "the session does not recover");
    bench_close(&b);
}

TEST(conversation_goes_on_from_a_file_with_its_keys) {
    bench kept, loaded, wrong;
    char first[256], second[256], again[256], path[512];
    generate_options o = greedy();
    sampler_options back;
    snprintf(path, sizeof path, "%s/talk.session", test_folder());
    REQUIRE_OK(bench_open(&kept));
    REQUIRE_OK(conversation_add(kept.c, "user", "a b"));
    REQUIRE(answer(&kept, first), "no answer");
    REQUIRE_OK(conversation_keep(kept.c, &o.sampler, path));
    REQUIRE_OK(conversation_add(kept.c, "user", "and c"));
    REQUIRE(answer(&kept, second), "no answer");
    int64_t reused = conversation_kept(kept.c);

    REQUIRE_OK(bench_open(&loaded));
    REQUIRE_OK(conversation_resume(loaded.c, &back, path));
    CHECK(conversation_length(loaded.c) == 2, "%zu messages", conversation_length(loaded.c));
    CHECK(back.temperature == 0, "other settings");
    REQUIRE_OK(conversation_add(loaded.c, "user", "and c"));
    REQUIRE(answer(&loaded, again), "no answer");
    CHECK(strcmp(second, again) == 0, "\"%s\" and \"%s\"", second, again);
    CHECK(conversation_kept(loaded.c) == reused && reused > 20, "%d of %d tokens were kept",
          (int)conversation_kept(loaded.c), (int)reused);

    REQUIRE_OK(bench_open(&wrong));
    param_set_initialise(&wrong.m.params, 12);
    REQUIRE_OK(conversation_add(wrong.c, "user", "x"));
    CHECK(conversation_resume(wrong.c, NULL, path) != STATUS_OK &&
              error_last()->id == F_SESSION_MODEL && conversation_length(wrong.c) == 1,
          "taken by another model");
    bench_close(&kept);
    bench_close(&loaded);
    bench_close(&wrong);
}

TEST(conversation_takes_messages_and_tools_at_once) {
    bench b;
    char first[256], again[256];
    json_t *messages;
    static const char source[] = "[{\"role\": \"user\", \"content\": \"tell me\"}]";
    REQUIRE_OK(bench_open(&b));
    REQUIRE_OK(conversation_add(b.c, "user", "tell me"));
    REQUIRE(answer(&b, first), "no answer");
    REQUIRE_OK(json_parse(source, sizeof source - 1, "test", &messages));
    REQUIRE_OK(conversation_replace(b.c, messages, "test"));
    REQUIRE(answer(&b, again), "no answer");
    CHECK(strcmp(first, again) == 0, "\"%s\" and \"%s\"", first, again);
    CHECK(conversation_replace(b.c, json_object(), "here") != STATUS_OK &&
              strcmp(error_last()->where, "here") == 0,
          "messages that are no array");
    CHECK(conversation_tools(b.c, json_object(), "here") != STATUS_OK, "tools that are no array");
    REQUIRE_OK(conversation_tools(b.c, json_array(), "here"));
    CHECK(conversation_length(b.c) == 2, "%zu messages", conversation_length(b.c));
    bench_close(&b);
}
