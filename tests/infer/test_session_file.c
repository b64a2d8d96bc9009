/* Sessions on disk: a loaded one goes on like one that was never interrupted, for every architecture;
 * files of other models, cut and changed ones are refused, and the session stays as it was. */
#include "../model/golden_weights.h"
#include "base/file.h"
#include "base/rng.h"
#include "infer/infer_internal.h"
#include "infer/session_file.h"
#include "kernels/kernels.h"
#include "model/presets.h"
#include "test.h"

#define WORDS 0x1234u /* stands for the fingerprint of a tokenizer */
#define MOST  1024    /* largest vocabulary here */

/* -- every architecture -- */

static const char *const cases[] = {"llama",       "llama-llama3", "llama-yarn",
                                    "qwen2",       "qwen3",        "deepseek_v2-lite",
                                    "deepseek_v2", "deepseek_v3",  "deepseek_v3-yarn"};

static status golden_open(model *m, json_t **json, const char *name) {
    arena memory;
    static safetensors_item items[MOST_GOLDEN_ITEMS];
    char folder[PATH_SIZE], path[PATH_SIZE];
    model_config c;
    int n;
    TRY(kernels_init(NULL));
    TRY(arena_init(&memory, "golden", (size_t)1 << 30));
    TRY(path_join(folder, test_folder(), name));
    TRY(json_read(text("%s/%s.json", GOLDEN, name), json));
    TRY(golden_items(&memory, json_object_get(*json, "tensors"), DTYPE_F32, items, &n));
    TRY(golden_folder(folder, items, n, 1));
    arena_clear(&memory);
    TRY(path_join(path, folder, "config.json"));
    TRY(json_write(path, json_object_get(*json, "config")));
    TRY(model_config_read(&c, folder));
    return model_open(m, folder);
}

/* Chooses `n` ids one after the other from the logits of the last one. */
static status go_on(session *s, float *logits, int n, int32_t *ids) {
    sampler_options o = sampler_defaults();
    static float copy[MOST];
    int64_t vocab = s->engine->model->config.vocab_size;
    for (int i = 0; i < n; i++) {
        memcpy(copy, logits, (size_t)vocab * sizeof *copy);
        TRY(sampler_pick(&o, copy, vocab, session_ids(s), session_length(s), &ids[i]));
        session_feed f = {s, &ids[i], 1};
        TRY(engine_step(s->engine, &f, 1, ROLE_GENERATED, logits));
    }
    return STATUS_OK;
}

static void restored_goes_on(const char *name) {
    enum { BEFORE = 90, AFTER = 16 };
    model m;
    json_t *json;
    engine *a, *b;
    session *whole, *again;
    static float logits[MOST], other[MOST];
    int32_t ids[BEFORE], first[AFTER], second[AFTER];
    REQUIRE_OK(golden_open(&m, &json, name));
    REQUIRE(m.config.vocab_size <= MOST, "%s has too many words for this test", name);
    int64_t limit = m.config.max_position, before = BEFORE;
    if (limit > 0 && before > limit - AFTER) before = limit - AFTER;
    for (int64_t i = 0; i < before; i++)
        ids[i] =
            (int32_t)rng_below(rng_at(3, RNG_TEST, 0), (uint64_t)i, (uint64_t)m.config.vocab_size);
    char path[PATH_SIZE];
    REQUIRE_OK(path_join(path, test_folder(), "kept.session"));
    REQUIRE_OK(engine_new(&a, &m, 256));
    REQUIRE_OK(session_new(&whole, a));
    REQUIRE_OK(session_prompt(whole, ids, before, logits));
    session_note note = {.sampler = sampler_defaults(), .logits = logits, .has_logits = true};
    REQUIRE_OK(session_save(whole, WORDS, &note, path));
    REQUIRE_OK(go_on(whole, logits, AFTER, first));

    REQUIRE_OK(engine_new(&b, &m, 256));
    REQUIRE_OK(session_new(&again, b));
    session_note back = {.logits = other};
    REQUIRE_OK(session_load(again, WORDS, &back, path));
    CHECK(session_length(again) == before, "%s: %d ids", name, (int)session_length(again));
    CHECK(memcmp(session_ids(again), ids, (size_t)before * sizeof *ids) == 0, "%s: ids", name);
    REQUIRE_OK(go_on(again, other, AFTER, second));
    CHECK(memcmp(first, second, sizeof first) == 0, "%s: other tokens", name);
    CHECK(memcmp(logits, other, (size_t)m.config.vocab_size * sizeof *logits) == 0,
          "%s: other logits", name);
    session_note_clear(&back);
    session_free(whole);
    session_free(again);
    engine_free(a);
    engine_free(b);
    model_clear(&m);
    json_decref(json);
}

TEST(session_file_goes_on_for_every_architecture) {
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        restored_goes_on(cases[i]);
}

/* -- one small model -- */

typedef struct bench {
    model m;
    engine *e;
    session *s;
    float logits[97];
    char path[PATH_SIZE];
} bench;

static status bench_open(bench *b, int64_t d_model, uint64_t seed) {
    model_config c = model_preset_find("shakespeare-char")->config;
    c.vocab_size = 97, c.n_layer = 2, c.d_model = d_model, c.d_ff = 96, c.max_position = 512;
    c.n_head = 4, c.n_kv_head = 2, c.head_dim = 16;
    TRY(kernels_init(NULL));
    TRY(model_init(&b->m, &c, DTYPE_F32));
    param_set_initialise(&b->m.params, seed);
    TRY(engine_new(&b->e, &b->m, 256));
    return session_new(&b->s, b->e);
}

static status bench_fill(bench *b, int64_t n) {
    int32_t ids[256];
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)(i * 7 % 97);
    return session_prompt(b->s, ids, n, b->logits);
}

static void bench_close(bench *b) {
    session_free(b->s);
    engine_free(b->e);
    model_clear(&b->m);
}

static status bench_save(bench *b, const char *words) {
    char kept[64];
    snprintf(kept, sizeof kept, "%s", words);
    session_note note = {.sampler = {.temperature = 0.5,
                                     .top_k = 7,
                                     .top_p = 0.9,
                                     .min_p = 0.125,
                                     .repetition_penalty = 1.5,
                                     .repetition_window = 33,
                                     .seed = 99},
                         .text = kept,
                         .n_text = strlen(kept),
                         .logits = b->logits,
                         .has_logits = true};
    TRY(path_join(b->path, test_folder(), "small.session"));
    return session_save(b->s, WORDS, &note, b->path);
}

TEST(session_file_keeps_text_settings_and_logits) {
    bench b;
    float logits[97];
    REQUIRE_OK(bench_open(&b, 64, 11));
    REQUIRE_OK(bench_fill(&b, 100));
    REQUIRE_OK(bench_save(&b, "{\"messages\": []}"));
    session_note note = {.logits = logits};
    REQUIRE_OK(session_load(b.s, WORDS, &note, b.path));
    CHECK(strcmp(note.text, "{\"messages\": []}") == 0, "\"%s\"", note.text);
    CHECK(note.has_logits && memcmp(logits, b.logits, sizeof logits) == 0, "other logits");
    CHECK(note.sampler.temperature == 0.5 && note.sampler.top_k == 7 && note.sampler.top_p == 0.9 &&
              note.sampler.min_p == 0.125 && note.sampler.repetition_penalty == 1.5 &&
              note.sampler.repetition_window == 33 && note.sampler.seed == 99,
          "other settings of the sampler");
    CHECK(session_file_is(b.path) && !session_file_is(test_folder()), "not known by its beginning");
    session_note_clear(&note);
    bench_close(&b);
}

TEST(session_file_of_nothing_is_one_too) {
    bench b;
    REQUIRE_OK(bench_open(&b, 64, 11));
    char path[PATH_SIZE];
    REQUIRE_OK(path_join(path, test_folder(), "empty.session"));
    session_note note = {.sampler = sampler_defaults()};
    REQUIRE_OK(session_save(b.s, WORDS, &note, path));
    REQUIRE_OK(bench_fill(&b, 70));
    REQUIRE_OK(session_load(b.s, WORDS, &note, path));
    CHECK(session_length(b.s) == 0 && note.n_text == 0 && !note.has_logits, "something came back");
    CHECK(engine_free_pages(b.e) == 256, "pages lost: %d", (int)engine_free_pages(b.e));
    session_note_clear(&note);
    bench_close(&b);
}

/* Loads the file into b and expects this error; what b holds must not change. */
static void refused(bench *b, const char *path, uint64_t words, error_id id, const char *said) {
    int64_t n = session_length(b->s), pages = engine_free_pages(b->e);
    session_note note = {0};
    status s = session_load(b->s, words, &note, path);
    const error_report *r = error_last();
    CHECK(s != STATUS_OK && r->id == id, "%s: F%04d, not F%04d", said, (int)r->id, (int)id);
    CHECK(strstr(r->what, said) != NULL || strstr(r->why, said) != NULL ||
              strstr(r->where, said) != NULL,
          "\"%s\" is not in: %s / %s / %s", said, r->what, r->where, r->why);
    CHECK(r->fix[0] != '\0', "no fix");
    CHECK(session_length(b->s) == n && engine_free_pages(b->e) == pages, "%s: it changed", said);
    session_note_clear(&note);
}

TEST(session_file_belongs_to_its_model) {
    bench b, weights, shape, room;
    REQUIRE_OK(bench_open(&b, 64, 11));
    REQUIRE_OK(bench_fill(&b, 130));
    REQUIRE_OK(bench_save(&b, ""));
    REQUIRE_OK(bench_open(&weights, 64, 12));
    REQUIRE_OK(bench_fill(&weights, 10));
    refused(&weights, b.path, WORDS, F_SESSION_MODEL, "what a fixed text makes of the weights");
    REQUIRE_OK(bench_open(&shape, 64, 11));
    refused(&shape, b.path, WORDS + 1, F_SESSION_MODEL, "another tokenizer");
    bench_close(&shape);

    model_config c = b.m.config;
    c.n_layer = 3;
    memset(&shape, 0, sizeof shape);
    REQUIRE_OK(model_init(&shape.m, &c, DTYPE_F32));
    REQUIRE_OK(engine_new(&shape.e, &shape.m, 256));
    REQUIRE_OK(session_new(&shape.s, shape.e));
    refused(&shape, b.path, WORDS, F_SESSION_MODEL, "3 layers");

    REQUIRE_OK(bench_open(&room, 64, 11));
    session_free(room.s);
    engine_free(room.e);
    REQUIRE_OK(engine_new(&room.e, &room.m, 128));
    REQUIRE_OK(session_new(&room.s, room.e));
    REQUIRE_OK(bench_fill(&room, 5));
    refused(&room, b.path, WORDS, F_CONTEXT_FULL, "130 tokens do not fit");
    bench_close(&b);
    bench_close(&weights);
    bench_close(&shape);
    bench_close(&room);
}

TEST(session_file_refuses_what_was_cut_or_changed) {
    bench b;
    char *bytes, path[PATH_SIZE];
    size_t n;
    REQUIRE_OK(bench_open(&b, 64, 11));
    REQUIRE_OK(bench_fill(&b, 130));
    REQUIRE_OK(bench_save(&b, "hello"));
    REQUIRE_OK(file_read(b.path, 0, &bytes, &n));
    REQUIRE_OK(path_join(path, test_folder(), "broken.session"));
    session_cut(b.s, 3);
    rng r = rng_at(5, RNG_TEST, 1);
    for (uint64_t i = 0; i < 60; i++) { /* any length but the right one */
        size_t length = i < 20 ? i * 16 : rng_below(r, i, n);
        REQUIRE_OK(file_write(path, bytes, length));
        refused(&b, path, WORDS, F_SESSION, length < 256 ? "session file" : "damaged");
    }
    REQUIRE_OK(file_write(path, bytes, n - 1));
    refused(&b, path, WORDS, F_SESSION, "the header promises");
    for (uint64_t i = 0; i < 300; i++) { /* one bit anywhere; the header first */
        size_t at = i < 200 ? i + 16 : 256 + rng_below(r, 1000 + i, n - 256);
        char was = bytes[at];
        bytes[at] = (char)(was ^ (1 << rng_below(r, 2000 + i, 8)));
        session_note note = {0};
        status s = session_parse(b.s, WORDS, &note, (const uint8_t *)bytes, n, "changed");
        bool filling = s == STATUS_OK; /* zeros between the parts mean nothing */
        CHECK(filling ? at >= 256 : error_last()->id == F_SESSION, "byte %zu: F%04d", at,
              (int)error_last()->id);
        if (!filling) CHECK(session_length(b.s) == 3, "byte %zu: the session changed", at);
        session_note_clear(&note);
        session_cut(b.s, 3);
        bytes[at] = was;
    }
    bytes[8] = 2;
    REQUIRE_OK(file_write(path, bytes, n));
    refused(&b, path, WORDS, F_SESSION, "version 2");
    mem_free(bytes);
    bench_close(&b);
}

TEST(session_file_reports_lost_memory) {
    bench b;
    REQUIRE_OK(bench_open(&b, 64, 11));
    REQUIRE_OK(bench_fill(&b, 70));
    REQUIRE_OK(bench_save(&b, "hello")); /* the fingerprint is made once */
    int64_t before = mem_live_blocks();
    for (int64_t n = 1; n < 1000; n++) {
        session_note note = {0};
        engine *e = NULL;
        session *s = NULL;
        mem_fail_at(n);
        status result = bench_save(&b, "hello");
        if (result == STATUS_OK) result = engine_new(&e, &b.m, 128);
        if (result == STATUS_OK) result = session_new(&s, e);
        if (result == STATUS_OK) result = session_load(s, WORDS, &note, b.path);
        bool failed = mem_failed();
        mem_fail_at(0);
        session_note_clear(&note);
        session_free(s);
        engine_free(e);
        REQUIRE(mem_live_blocks() == before, "leak at allocation %" PRId64, n);
        if (!failed) {
            REQUIRE(result == STATUS_OK, "runs without failure");
            bench_close(&b);
            return;
        }
        REQUIRE(result == STATUS_MEMORY, "allocation %" PRId64 ": status %d", n, (int)result);
    }
    CHECK(false, "never ran through");
}
