/* Generating: probabilities, stopping before and within an answer, going on; and what a model takes. */
#include "base/file.h"
#include "base/json.h"
#include "infer/infer.h"
#include "kernels/kernels.h"
#include "model/presets.h"
#include "test.h"

#include <math.h>

#define VOCAB 256

typedef struct bench {
    model m;
    tokenizer *t;
    engine *e;
    session *s;
} bench;

static status bench_open(bench *b) {
    model_config c = model_preset_find("shakespeare-char")->config;
    c.vocab_size = VOCAB, c.n_layer = 2, c.d_model = 64, c.d_ff = 96, c.max_position = 1024;
    c.n_head = 4, c.n_kv_head = 2, c.head_dim = 16;
    memset(b, 0, sizeof *b);
    TRY(kernels_init(NULL));
    TRY(model_init(&b->m, &c, DTYPE_F32));
    param_set_initialise(&b->m.params, 11);
    TRY(tokenizer_byte(&b->t));
    TRY(engine_new(&b->e, &b->m, 1024));
    return session_new(&b->s, b->e);
}

static void bench_close(bench *b) {
    session_free(b->s);
    engine_free(b->e);
    tokenizer_free(b->t);
    model_clear(&b->m);
}

TEST(logprobs_are_those_of_a_softmax) {
    float logits[300];
    double sum = 0, total = 0;
    for (int i = 0; i < 300; i++)
        logits[i] = (float)(i * 37 % 101) / 10 - 4;
    logits[7] = logits[200] = 9;
    for (int i = 0; i < 300; i++)
        sum += exp((double)logits[i]);
    for (int32_t i = 0; i < 300; i++) {
        double got = logits_logprob(logits, 300, i), expected = (double)logits[i] - log(sum);
        CHECK(fabs(got - expected) < 1e-12, "id %d: %.15g, not %.15g", i, got, expected);
        total += exp(got);
    }
    CHECK(fabs(total - 1) < 1e-12, "they sum to %.15g", total);
    token_logprob top[5];
    CHECK(logits_top(logits, 300, top, 5) == 5, "not five");
    CHECK(top[0].id == 7 && top[1].id == 200, "ties do not go to the lower id");
    for (int i = 1; i < 5; i++)
        CHECK(top[i].logprob <= top[i - 1].logprob, "not in order");
    CHECK(top[0].logprob == logits_logprob(logits, 300, 7), "two answers to one question");
    CHECK(logits_top(logits, 3, top, 5) == 3, "more than there are");
    CHECK(logits_top(logits, 300, top, 0) == 0, "some of none");
}

typedef struct seen {
    token_choice choices[64];
    token_logprob top[64];
    int n, asked, stop_at, texts;
    int64_t total;
} seen;

static void see_token(void *context, const token_choice *c) {
    seen *s = context;
    s->choices[s->n] = *c;
    s->top[s->n++] = c->top[0];
}
static bool ask(void *context, int64_t done, int64_t total) {
    seen *s = context;
    s->total = total;
    return done == 256 * s->asked && s->asked++ != s->stop_at;
}
static bool two_texts(void *context, const char *bytes, size_t n) {
    (void)bytes, (void)n;
    return ++((seen *)context)->texts < 2;
}

static generate_options greedy(seen *s, float *logits) {
    generate_options o = {.max_tokens = 24, .logits = logits, .context = s};
    o.sampler = sampler_defaults();
    o.sampler.temperature = 0;
    return o;
}

TEST(generate_tells_how_likely_each_token_was) {
    bench b;
    seen s = {0};
    static float logits[VOCAB];
    REQUIRE_OK(bench_open(&b));
    generate_options o = greedy(&s, logits);
    o.on_token = see_token;
    o.n_top = 3;
    generate_result r;
    REQUIRE_OK(generate(b.s, b.t, "once upon", 9, &o, &r));
    CHECK(s.n == r.n_generated && s.n == 24, "%d choices, %d tokens", s.n, (int)r.n_generated);
    for (int i = 0; i < s.n; i++) {
        CHECK(s.choices[i].chosen.id == session_ids(b.s)[r.n_prompt + i], "choice %d", i);
        CHECK(s.choices[i].n_top == 3 && s.top[i].id == s.choices[i].chosen.id &&
                  s.top[i].logprob == s.choices[i].chosen.logprob,
              "choice %d: greedy took another than the likeliest", i);
    }
    o.n_top = MOST_TOP + 1;
    CHECK(generate(b.s, b.t, "x", 1, &o, &r) != STATUS_OK && error_last()->id == F_BAD_VALUE,
          "too many asked for");
    bench_close(&b);
}

TEST(generate_goes_on_where_it_stopped) {
    bench whole, parts;
    seen s = {0};
    static float a[VOCAB], c[VOCAB];
    generate_result r;
    REQUIRE_OK(bench_open(&whole));
    REQUIRE_OK(bench_open(&parts));
    generate_options o = greedy(&s, a);
    o.sampler = sampler_defaults();
    REQUIRE_OK(generate(whole.s, whole.t, "once", 4, &o, &r));
    o.logits = c;
    o.max_tokens = 9;
    REQUIRE_OK(generate(parts.s, parts.t, "once", 4, &o, &r));
    o.on_text = two_texts; /* stopped by the listener: the logits are still those of the last id */
    o.max_tokens = 15;
    REQUIRE_OK(generate_ids(parts.s, parts.t, NULL, 0, &o, &r));
    o.on_text = NULL;
    o.max_tokens = 28 - session_length(parts.s);
    REQUIRE_OK(generate_ids(parts.s, parts.t, NULL, 0, &o, &r));
    CHECK(session_length(parts.s) == 28 && session_length(whole.s) == 28, "%d and %d tokens",
          (int)session_length(parts.s), (int)session_length(whole.s));
    CHECK(memcmp(session_ids(whole.s), session_ids(parts.s), 28 * sizeof(int32_t)) == 0,
          "other tokens");
    CHECK(memcmp(a, c, sizeof a) == 0, "other logits");
    o.logits = NULL;
    CHECK(generate_ids(parts.s, parts.t, NULL, 0, &o, &r) != STATUS_OK &&
              error_last()->id == F_USAGE,
          "went on from nothing");
    bench_close(&whole);
    bench_close(&parts);
}

TEST(generate_is_cancelled_within_a_prompt) {
    bench b;
    seen s = {.stop_at = 2};
    static char prompt[700];
    generate_result r;
    REQUIRE_OK(bench_open(&b));
    memset(prompt, 'a', sizeof prompt);
    generate_options o = greedy(&s, NULL);
    o.on_prompt = ask;
    REQUIRE_OK(generate(b.s, b.t, "abc", 3, &(generate_options){.sampler = o.sampler}, &r));
    CHECK(generate(b.s, b.t, prompt, sizeof prompt, &o, &r) == STATUS_CANCELLED &&
              error_last()->id == F_CANCELLED,
          "not cancelled");
    CHECK(s.total == 700 && s.asked == 3, "asked %d times, of %d", s.asked, (int)s.total);
    CHECK(session_length(b.s) == 3, "%d tokens are left", (int)session_length(b.s));
    s = (seen){.stop_at = -1};
    REQUIRE_OK(generate(b.s, b.t, prompt, sizeof prompt, &o, &r));
    CHECK(r.n_prompt == 703 && s.asked == 3, "%d tokens", (int)r.n_prompt);
    bench_close(&b);
}

TEST(bundle_measure_knows_before_it_loads) {
    bench b;
    bundle_facts f;
    char folder[PATH_SIZE], path[PATH_SIZE];
    REQUIRE_OK(bench_open(&b));
    REQUIRE_OK(path_join(folder, test_folder(), "measured"));
    REQUIRE_OK(folder_create(folder));
    REQUIRE_OK(path_join(path, folder, "config.json"));
    json_t *config;
    REQUIRE_OK(model_config_to_json(&b.m.config, &config));
    REQUIRE_OK(json_write(path, config));
    json_decref(config);
    REQUIRE_OK(bundle_measure(&f, folder, 0));
    CHECK(f.parameters == b.m.params.count && f.context == 1024, "%d parameters, context %d",
          (int)f.parameters, (int)f.context);
    CHECK(f.weight_bytes == 4 * b.m.params.count, "weights %d", (int)f.weight_bytes);
    CHECK(f.key_bytes == engine_bytes(&b.m, 1024, 0), "keys %d", (int)f.key_bytes);
    int64_t all = bundle_facts_bytes(&f);
    REQUIRE_OK(bundle_fits(&f, all));
    CHECK(bundle_fits(&f, all - 1) == STATUS_LIMIT && error_last()->id == F_MODEL_MEMORY,
          "a byte too few is enough");
    CHECK(strstr(error_last()->fix, "--context") != NULL, "fix: %s", error_last()->fix);
    CHECK(bundle_fits(&f, f.weight_bytes) == STATUS_LIMIT &&
              strstr(error_last()->fix, "smaller model") != NULL,
          "fix: %s", error_last()->fix);
    REQUIRE_OK(bundle_measure(&f, folder, 100));
    CHECK(f.context == 100, "context %d", (int)f.context);
    bench_close(&b);
}
