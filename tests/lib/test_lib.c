/* The library as a program meets it: models, answers, ids, files, threads, errors, and nothing printed. */
#include "lib/fathom.h"
#include "tiny_model.h"

#include "base/file.h"
#include "base/memory.h"
#include "test.h"

#include <fcntl.h>
#include <fenv.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#define HELLO "[{\"role\": \"user\", \"content\": \"Hello, you there\"}]"

/* A call that must succeed. */
#define GOOD(expression)                                                                           \
    do {                                                                                           \
        fathom_status s_ = (expression);                                                           \
        const fathom_error *e_ = fathom_last_error();                                              \
        REQUIRE(s_ == FATHOM_OK, "status %d, F%04d %s: %s", (int)s_, e_->code, e_->what, e_->why); \
    } while (0)
/* One that must fail, with all four parts of a report. */
#define BAD(expression, number)                                                                    \
    do {                                                                                           \
        fathom_status s_ = (expression);                                                           \
        const fathom_error *e_ = fathom_last_error();                                              \
        CHECK(s_ != FATHOM_OK && e_->status == s_ && e_->code == (number) && e_->what[0] != 0 &&   \
                  e_->where[0] != 0 && e_->why[0] != 0 && e_->fix[0] != 0,                         \
              "status %d, F%04d %s", (int)s_, e_->code, e_->what);                                 \
    } while (0)

/* One for all tests: models are written once. */
static char room[512];
static void room_remove(void) {
    if (folder_remove(room) != STATUS_OK) error_print(stdout, error_last());
}
static const char *here(void) {
    if (room[0] != '\0') return room;
    const char *tmp = getenv("TMPDIR");
    snprintf(room, sizeof room, "%s/fathom-lib-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(room) == NULL) perror(room);
    atexit(room_remove);
    return room;
}

static const char *tiny(uint64_t seed) {
    static char path[2][4096];
    char *folder = path[seed % 2];
    snprintf(folder, sizeof path[0], "%s/tiny-%d", here(), (int)seed);
    if (!path_is_folder(folder) && tiny_model_write(folder, seed) != STATUS_OK)
        error_print(stdout, error_last());
    return folder;
}

typedef struct bench {
    fathom_model *m;
    fathom_session *s;
} bench;

static fathom_status bench_open(bench *b) {
    *b = (bench){0};
    fathom_status s = fathom_model_open(&b->m, tiny(11), NULL);
    return s == FATHOM_OK ? fathom_session_new(&b->s, b->m, 0) : s;
}
static void bench_close(bench *b) {
    fathom_session_free(b->s);
    fathom_model_close(b->m);
}
static fathom_answer_options few(int64_t n) {
    fathom_answer_options o = fathom_answer_defaults();
    o.max_tokens = n;
    return o;
}

TEST(library_says_what_a_model_is_before_and_after_it_opens) {
    bench b;
    fathom_model_facts before = {.size = sizeof before}, after = {.size = sizeof after};
    fathom_model_options o = {.size = sizeof o, .context = 300, .threads = 2};
    GOOD(fathom_model_describe(tiny(11), &o, &before));
    GOOD(fathom_model_open(&b.m, tiny(11), &o));
    GOOD(fathom_model_get_facts(b.m, &after));
    CHECK(before.parameters == after.parameters && after.parameters > 10000, "%d parameters",
          (int)after.parameters);
    CHECK(before.weight_bytes == after.weight_bytes && before.key_bytes == after.key_bytes &&
              before.weight_bytes > 0 && before.key_bytes > 0 && before.step_bytes > 0,
          "other bytes");
    CHECK(after.context == 300 && after.context_most == 2048 && after.vocab_size == 256 &&
              after.layers == 2 && after.d_model == 64 && after.heads == 4,
          "other numbers");
    CHECK(after.chat && !before.chat && after.threads == 2 && before.threads == 0 &&
              after.tier[0] != '\0' && strcmp(after.family, "llama") == 0,
          "%d threads, \"%s\", \"%s\"", after.threads, after.tier, after.family);
    CHECK(strcmp(fathom_version(), text("%d.%d.%d", FATHOM_VERSION_MAJOR, FATHOM_VERSION_MINOR,
                                        FATHOM_VERSION_PATCH)) == 0,
          "version %s", fathom_version());
    fathom_model_close(b.m);
    o.memory_limit = before.weight_bytes;
    BAD(fathom_model_open(&b.m, tiny(11), &o), 204);
    CHECK(b.m == NULL, "something was left");
    BAD(fathom_model_open(&b.m, "no/such/folder", NULL), 5);
    o.size = 3;
    BAD(fathom_model_open(&b.m, tiny(11), &o), 11);
    before.size = 0;
    BAD(fathom_model_describe(tiny(11), NULL, &before), 11);
}

TEST(library_structures_may_be_older_or_newer) {
    struct {
        fathom_answer_facts facts;
        char guard[16];
    } longer = {.facts = {.size = sizeof longer}}, shorter = {.facts = {.size = 24}};
    struct {
        fathom_answer_options o;
        int64_t later;
    } options = {.o = few(3)};
    bench b;
    memset(shorter.guard, 7, sizeof shorter.guard);
    memset(&shorter.facts.read_tokens, 7, 8);
    memset(longer.guard, 7, sizeof longer.guard);
    GOOD(bench_open(&b));
    options.o.size = sizeof options;
    GOOD(fathom_complete(b.s, "abc", &options.o, NULL));
    options.later = 1;
    BAD(fathom_complete(b.s, "abc", &options.o, NULL), 11);
    GOOD(fathom_answer_get_facts(b.s, &longer.facts));
    CHECK(longer.facts.written_tokens == 3 && longer.guard[0] == 0, "more is not zero");
    GOOD(fathom_answer_get_facts(b.s, &shorter.facts));
    CHECK(shorter.facts.kept_tokens == 0 && ((char *)&shorter.facts.read_tokens)[0] == 7 &&
              shorter.facts.size == 24,
          "more was written than there is room");
    bench_close(&b);
}

/* -- answers -- */

typedef struct seen {
    char text[4096];
    size_t n;
    int tokens, prompts, stop_after, most;
    double sum;
    fathom_session *cancel;
} seen;

static bool see_text(void *context, const char *bytes, size_t n) {
    seen *s = context;
    if (s->n + n < sizeof s->text) memcpy(s->text + s->n, bytes, n), s->n += n;
    return s->stop_after == 0 || --s->stop_after > 0;
}
static bool see_prompt(void *context, int64_t done, int64_t total) {
    seen *s = context;
    (void)total;
    s->prompts++;
    if (s->cancel != NULL && done > 0) fathom_session_cancel(s->cancel);
    return true;
}
static void see_token(void *context, const fathom_logprob *chosen, const fathom_logprob *top,
                      int n) {
    seen *s = context;
    s->tokens++;
    s->most = n;
    s->sum += chosen->logprob;
    if (n > 0 && top[0].logprob < chosen->logprob) s->sum = NAN;
}

TEST(library_answers_in_a_conversation) {
    bench b;
    const char *answer;
    char first[512], messages[2048];
    seen s = {0};
    fathom_answer_facts facts = {.size = sizeof facts};
    fathom_answer_options o = few(20);
    o.on_text = see_text, o.on_prompt = see_prompt, o.on_token = see_token;
    o.n_top = 2, o.context = &s;
    GOOD(bench_open(&b));
    GOOD(fathom_chat(b.s, HELLO, &o, &answer));
    GOOD(fathom_answer_get_facts(b.s, &facts));
    CHECK(facts.written_tokens == 20 && s.tokens == 20 && s.most == 2 && s.prompts == 1 &&
              facts.kept_tokens == 0 && facts.stop == FATHOM_STOP_LENGTH && s.sum < 0,
          "%d tokens, %d seen", (int)facts.written_tokens, s.tokens);
    CHECK(strlen(answer) == s.n && memcmp(answer, s.text, s.n) == 0, "the parts are not the whole");
    snprintf(first, sizeof first, "%s", answer);
    GOOD(fathom_chat(b.s, HELLO, &o, &answer));
    CHECK(strcmp(first, answer) == 0, "another answer to the same question");
    GOOD(fathom_answer_get_facts(b.s, &facts));
    CHECK(facts.kept_tokens > 0 && facts.read_tokens == 1, "%d tokens were read again",
          (int)facts.read_tokens);
    snprintf(messages, sizeof messages,
             "[{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": "
             "\"x\"}, {\"role\": \"user\", \"content\": \"<|im_end|>\"}]");
    o.tools = "[{\"type\": \"function\"}]";
    o.variables = "{\"enable_thinking\": false}";
    GOOD(fathom_chat(b.s, messages, &o, NULL));
    BAD(fathom_chat(b.s, "{\"role\": 1}", &o, NULL), 404);
    BAD(fathom_chat(b.s, "[", &o, NULL), 16);
    BAD(fathom_chat(b.s, NULL, &o, NULL), 404);
    o.tools = "{}";
    BAD(fathom_chat(b.s, HELLO, &o, NULL), 404);
    o = few(1);
    o.temperature = -1;
    BAD(fathom_chat(b.s, HELLO, &o, NULL), 14);
    GOOD(fathom_chat(b.s, HELLO, NULL, &answer));
    bench_close(&b);
}

TEST(library_completes_and_goes_on) {
    bench a, b;
    const char *text_a, *text_b;
    char whole[512], parts[512] = "";
    size_t n = 0;
    fathom_answer_options o = few(24);
    GOOD(bench_open(&a));
    GOOD(bench_open(&b));
    BAD(fathom_complete(a.s, NULL, &o, NULL), 11);
    GOOD(fathom_complete(a.s, "once", &o, &text_a));
    snprintf(whole, sizeof whole, "%s", text_a);
    o.max_tokens = 8;
    for (int i = 0; i < 3; i++) {
        GOOD(fathom_complete(b.s, i == 0 ? "once" : NULL, &o, &text_b));
        n += (size_t)snprintf(parts + n, sizeof parts - n, "%s", text_b);
    }
    CHECK(fathom_session_length(a.s) == 28 && fathom_session_length(b.s) == 28, "%zu ids",
          fathom_session_length(b.s));
    CHECK(memcmp(fathom_session_ids(a.s), fathom_session_ids(b.s), 28 * sizeof(int32_t)) == 0,
          "\"%s\" and \"%s\"", whole, parts);
    GOOD(fathom_session_cut(a.s, 4));
    CHECK(fathom_session_logits(a.s) == NULL && fathom_session_length(a.s) == 4, "not cut");
    BAD(fathom_complete(a.s, NULL, &o, NULL), 11);
    bench_close(&a);
    bench_close(&b);
}

TEST(library_stops_where_it_is_told) {
    bench b;
    const char *answer;
    char long_text[1500];
    seen s = {.stop_after = 3};
    fathom_answer_facts facts = {.size = sizeof facts};
    fathom_answer_options o = few(60);
    o.on_text = see_text, o.context = &s;
    GOOD(bench_open(&b));
    GOOD(fathom_complete(b.s, "abc", &o, &answer));
    GOOD(fathom_answer_get_facts(b.s, &facts));
    CHECK(facts.stop == FATHOM_STOP_CALLER && facts.written_tokens < 60, "stop %d",
          (int)facts.stop);
    memset(long_text, 'a', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    size_t before = fathom_session_length(b.s);
    s = (seen){.cancel = b.s};
    o.on_prompt = see_prompt;
    BAD(fathom_complete(b.s, long_text, &o, NULL), 20);
    CHECK(fathom_session_length(b.s) == before && s.prompts == 2, "%d parts, %zu ids", s.prompts,
          fathom_session_length(b.s));
    const char *stops[] = {"a"};
    o = few(2000);
    o.stops = stops, o.n_stops = 1;
    GOOD(fathom_complete(b.s, "x", &o, &answer));
    CHECK(strchr(answer, 'a') == NULL, "the stop is in the answer");
    bench_close(&b);
}

/* -- ids -- */

TEST(library_tokenizes_and_feeds) {
    bench b;
    int32_t *ids;
    size_t n, back_n;
    char *back;
    int most = 5;
    fathom_logprob top[5];
    GOOD(bench_open(&b));
    GOOD(fathom_tokenize(b.m, "fathom \xc3\xa9", 9, false, &ids, &n));
    GOOD(fathom_detokenize(b.m, ids, n, true, &back, &back_n));
    CHECK(back_n == 9 && strcmp(back, "fathom \xc3\xa9") == 0, "\"%s\"", back);
    BAD(fathom_session_top(b.s, top, &most), 11);
    GOOD(fathom_session_feed(b.s, ids, n));
    CHECK(fathom_session_length(b.s) == n && fathom_session_logits(b.s) != NULL, "not fed");
    GOOD(fathom_session_top(b.s, top, &most));
    const float *logits = fathom_session_logits(b.s);
    double sum = 0;
    for (int i = 0; i < 256; i++)
        sum += exp((double)logits[i]);
    CHECK(most == 5 && fabs(top[0].logprob - ((double)logits[top[0].id] - log(sum))) < 1e-9,
          "%d, %.9g", most, top[0].logprob);
    ids[0] = 256;
    BAD(fathom_session_feed(b.s, ids, n), 202);
    CHECK(fathom_session_length(b.s) == n, "%zu ids", fathom_session_length(b.s));
    fathom_free(ids);
    fathom_free(back);
    GOOD(fathom_tokenize(b.m, "", 0, false, &ids, &n));
    CHECK(n == 0 && ids != NULL, "%zu ids of nothing", n);
    fathom_free(ids);
    bench_close(&b);
}

TEST(library_keeps_sessions_on_disk) {
    bench a, b;
    char path[4096], first[512];
    const char *said;
    fathom_model *other;
    fathom_session *wrong;
    fathom_answer_options o = few(16);
    snprintf(path, sizeof path, "%s/kept.session", here());
    GOOD(bench_open(&a));
    GOOD(bench_open(&b));
    GOOD(fathom_complete(a.s, "a long time ago", &o, NULL));
    GOOD(fathom_session_save(a.s, path));
    GOOD(fathom_complete(a.s, NULL, &o, &said));
    snprintf(first, sizeof first, "%s", said);
    GOOD(fathom_session_load(b.s, path));
    GOOD(fathom_complete(b.s, NULL, &o, &said));
    CHECK(strcmp(first, said) == 0, "\"%s\" and \"%s\"", first, said);
    CHECK(memcmp(fathom_session_logits(a.s), fathom_session_logits(b.s), 256 * sizeof(float)) == 0,
          "other logits");
    GOOD(fathom_model_open(&other, tiny(12), NULL));
    GOOD(fathom_session_new(&wrong, other, 0));
    BAD(fathom_session_load(wrong, path), 603);
    BAD(fathom_session_load(wrong, text("%s/config.json", tiny(12))), 602);
    BAD(fathom_session_load(wrong, "no/such/file"), 5);
    fathom_model_close(other); /* before its session: it lives on */
    GOOD(fathom_complete(wrong, "x", &o, NULL));
    fathom_session_free(wrong);
    bench_close(&a);
    bench_close(&b);
}

/* -- a program around it -- */

typedef struct worker {
    fathom_model *m;
    char text[512];
    int number;
    bool good;
    const char *folder;
} worker;

static bool nested(void *context, const char *bytes, size_t n) {
    fathom_session *other = context;
    (void)bytes, (void)n;
    return fathom_session_feed(other, (int32_t[]){1}, 1) == FATHOM_OK;
}

static void *work(void *context) {
    worker *w = context;
    fathom_session *s, *other;
    const char *said;
    fathom_answer_options o = few(40);
    w->good = fathom_session_new(&s, w->m, 256) == FATHOM_OK &&
              fathom_session_new(&other, w->m, 256) == FATHOM_OK;
    if (!w->good) return NULL;
    o.seed = (uint64_t)w->number;
    o.on_text = nested, o.context = other; /* callbacks may use other sessions */
    w->good = w->good && fathom_complete(s, "in threads", &o, &said) == FATHOM_OK;
    if (w->good) snprintf(w->text, sizeof w->text, "%s", said);
    fathom_session_free(s);
    fathom_session_free(other);
    return NULL;
}

TEST(library_sessions_run_in_threads) {
    enum { N = 4 };
    worker alone[N], together[N];
    pthread_t threads[N];
    fathom_model *m;
    fathom_model_options o = {.size = sizeof o, .threads = 2};
    GOOD(fathom_model_open(&m, tiny(11), &o));
    for (int i = 0; i < N; i++) {
        alone[i] = together[i] = (worker){.m = m, .number = i};
        work(&alone[i]);
        CHECK(alone[i].good && alone[i].text[0] != '\0', "%d alone", i);
    }
    for (int i = 0; i < N; i++)
        REQUIRE(pthread_create(&threads[i], NULL, work, &together[i]) == 0, "no thread");
    for (int i = 0; i < N; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < N; i++)
        CHECK(together[i].good && strcmp(alone[i].text, together[i].text) == 0,
              "%d: \"%s\" and \"%s\"", i, alone[i].text, together[i].text);
    fathom_model_close(m);
}

static void *work_alone(void *context) {
    worker *w = context;
    w->good = fathom_model_open(&w->m, w->folder, NULL) == FATHOM_OK;
    if (w->good) work(w);
    fathom_model_close(w->m);
    return NULL;
}

TEST(library_models_run_in_threads) {
    worker w[3];
    pthread_t threads[3];
    const char *folder = tiny(11); /* its place is one for all tests: threads only read it */
    for (int i = 0; i < 3; i++) {
        w[i] = (worker){.number = 5, .folder = folder};
        REQUIRE(pthread_create(&threads[i], NULL, work_alone, &w[i]) == 0, "no thread");
    }
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++)
        CHECK(w[i].good && strcmp(w[0].text, w[i].text) == 0, "%d: \"%s\"", i, w[i].text);
}

static bool call_itself(void *context, const char *bytes, size_t n) {
    bench *b = context;
    (void)bytes, (void)n;
    BAD(fathom_complete(b->s, "again", NULL, NULL), 21);
    return false;
}

TEST(library_refuses_a_second_call_on_a_session) {
    bench b;
    fathom_answer_options o = few(5);
    o.on_text = call_itself, o.context = &b;
    GOOD(bench_open(&b));
    GOOD(fathom_complete(b.s, "once", &o, NULL));
    GOOD(fathom_complete(b.s, "and again", NULL, NULL));
    bench_close(&b);
}

static fathom_session *to_cancel;
static void on_alarm(int unused) {
    (void)unused;
    fathom_session_cancel(to_cancel);
}

TEST(library_is_cancelled_by_a_signal) {
    bench b;
    fathom_answer_facts facts = {.size = sizeof facts};
    fathom_answer_options o = few(2000);
    GOOD(bench_open(&b));
    to_cancel = b.s;
    struct sigaction act = {.sa_handler = on_alarm}, before;
    sigaction(SIGALRM, &act, &before);
    ualarm(20000, 0);
    GOOD(fathom_complete(b.s, "for ever", &o, NULL));
    GOOD(fathom_answer_get_facts(b.s, &facts));
    CHECK(facts.stop == FATHOM_STOP_CALLER && facts.written_tokens < 2000, "stop %d after %d",
          (int)facts.stop, (int)facts.written_tokens);
    sigaction(SIGALRM, &before, NULL);
    bench_close(&b);
}

static bool show_progress(void *context, double done, double total) {
    double *seen_parts = context;
    bool backwards = done < seen_parts[0] || done > total;
    seen_parts[0] = done;
    seen_parts[1]++;
    if (backwards) seen_parts[2] = 1;
    return seen_parts[3] == 0 || seen_parts[1] < seen_parts[3];
}

TEST(library_shows_progress_and_is_cancelled_while_opening) {
    fathom_model *m;
    double parts[4] = {0};
    fathom_model_options o = {
        .size = sizeof o, .on_progress = show_progress, .on_progress_context = parts};
    int64_t before = mem_live_blocks();
    GOOD(fathom_model_open(&m, tiny(11), &o));
    CHECK(parts[1] > 5 && parts[2] == 0, "%g calls", parts[1]);
    fathom_model_close(m);
    memset(parts, 0, sizeof parts);
    parts[3] = 3;
    BAD(fathom_model_open(&m, tiny(11), &o), 20);
    CHECK(m == NULL && mem_live_blocks() == before, "something is left");
}

/* What is printed while fn runs, on both streams. */
static size_t printed(void (*fn)(void)) {
    char path[4096];
    snprintf(path, sizeof path, "%s/printed", here());
    fflush(stdout);
    fflush(stderr);
    int out = dup(1), err = dup(2), file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    dup2(file, 1);
    dup2(file, 2);
    fn();
    fflush(stdout);
    fflush(stderr);
    dup2(out, 1);
    dup2(err, 2);
    off_t n = lseek(file, 0, SEEK_END);
    close(out), close(err), close(file);
    return (size_t)n;
}

static void use_all(void) {
    bench b;
    if (bench_open(&b) == FATHOM_OK) {
        fathom_answer_options o = few(4);
        (void)fathom_chat(b.s, HELLO, &o, NULL);
        (void)fathom_chat(b.s, "[", &o, NULL);
        (void)fathom_session_load(b.s, "no/such/file");
    }
    bench_close(&b);
    (void)fathom_model_open(&b.m, "no/such/folder", NULL);
}

TEST(library_prints_nothing) {
    size_t n = printed(use_all);
    CHECK(n == 0, "%zu bytes", n);
}

TEST(library_leaves_the_callers_floats_and_locale_alone) {
    bench b;
    fathom_answer_options o = few(4);
    const char *other = setlocale(LC_ALL, "de_DE.UTF-8"); /* a decimal comma, where it exists */
    fesetround(FE_UPWARD);
    volatile float smallest = 0x1p-126f;
    fathom_status s = bench_open(&b);
    if (s == FATHOM_OK) s = fathom_complete(b.s, "abc", &o, NULL);
    int rounding = fegetround();
    volatile float denormal = smallest * 0.5f;
    bench_close(&b);
    volatile float again = smallest * 0.5f;
    char number[16];
    snprintf(number, sizeof number, "%.1f", 1.5);
    fesetround(FE_TONEAREST);
    setlocale(LC_ALL, "C");
    CHECK(s == FATHOM_OK, "it failed: %s", fathom_last_error()->what);
    CHECK(rounding == FE_UPWARD, "rounding %d", rounding);
    CHECK(denormal > 0 && again > 0, "denormals are flushed");
    CHECK(other == NULL || strcmp(number, "1,5") == 0, "another locale: %s", number);
}

/* Everything a program does, ended by a failure of the n-th allocation. */
static fathom_status live(void) {
    bench b;
    char path[4096];
    int32_t *ids = NULL;
    size_t n;
    fathom_answer_options o = few(3);
    snprintf(path, sizeof path, "%s/live.session", here());
    fathom_status s = bench_open(&b);
    if (s == FATHOM_OK) s = fathom_chat(b.s, HELLO, &o, NULL);
    if (s == FATHOM_OK) s = fathom_tokenize(b.m, "abc", 3, false, &ids, &n);
    if (s == FATHOM_OK) s = fathom_session_feed(b.s, ids, n);
    if (s == FATHOM_OK) s = fathom_session_save(b.s, path);
    if (s == FATHOM_OK) s = fathom_session_load(b.s, path);
    fathom_free(ids);
    bench_close(&b);
    return s;
}

TEST(library_survives_every_lost_allocation) {
    CHECK(live() == FATHOM_OK, "%s", fathom_last_error()->what);
    int64_t before = mem_live_blocks(), step = test_long() ? 1 : 7;
    for (int64_t n = 1; n < 200000; n += step) {
        mem_fail_at(n);
        fathom_status s = live();
        bool failed = mem_failed();
        mem_fail_at(0);
        REQUIRE(mem_live_blocks() == before, "leak at allocation %" PRId64, n);
        REQUIRE(s == FATHOM_OK || fathom_last_error()->what[0] != '\0', "no report");
        if (!failed) {
            REQUIRE(s == FATHOM_OK, "runs without failure");
            return;
        }
    }
    CHECK(false, "never ran through");
}
