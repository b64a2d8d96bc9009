/* test_path.c - the whole path: text, dataset, tokens, training, evaluation, completion, runs; and
 * `fathom start`, which walks it in one command. What is stopped at any moment, politely or not,
 * goes on when the same command is given again, and ends with the same weights byte for byte. */
#include "whole_program.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "test.h"

#include <math.h>
#include <signal.h>
#include <unistd.h>

/* A run of 24 steps that saves often, so that many moments are between two checkpoints. */
#define TRAINING SMALL_TRAINING " --max-steps 24 --save-every 3"

static bool sha_of(const char *command, char out[65]) {
    ending e = shell("%s --json", command);
    snprintf(out, 65, "%s", json_word(e.json, "result.weights_sha256"));
    bool good = e.code == 0 && strlen(out) == 64;
    if (!good) test_fail(__FILE__, __LINE__, command, "%d %s%s", e.code, e.out, e.err);
    ending_clear(&e);
    return good;
}

/* Starts the command and sends `signal` after so many seconds; the code it ended with. */
static int stopped(const char *command, double seconds, int signal) {
    int process = shell_start("%s", command);
    double began = clock_seconds();
    while (clock_seconds() - began < seconds && shell_alive(process))
        usleep(2000);
    if (shell_alive(process)) kill(process, signal);
    return shell_wait(process);
}

static double whole_path_seconds(void) {
    static double seconds;
    static char sha[65];
    if (seconds > 0) return seconds;
    double began = clock_seconds();
    if (!sha_of("fathom train data --run whole " TRAINING, sha)) return 0;
    return seconds = clock_seconds() - began;
}

TEST(data_is_imported_tokenized_and_verified) {
    if (!work_enter() || !texts_make("first", 60)) return;
    ending e = shell("fathom data import first -o first-data --json");
    CHECK(e.code == 0 && json_number(e.json, "result.documents") == 60, "%s%s", e.out, e.err);
    CHECK(json_number(e.json, "result.text_bytes") > 200e3, "%s", e.out);
    ending_clear(&e);
    e = shell("fathom data tokenize first-data --vocab-size 512 --json");
    CHECK(e.code == 0 && json_number(e.json, "result.vocab_size") == 512, "%s%s", e.out, e.err);
    CHECK(json_number(e.json, "result.splits.train.tokens") > 20e3, "%s", e.out);
    CHECK(json_number(e.json, "result.splits.validation.documents") > 0, "%s", e.out);
    ending_clear(&e);
    e = shell("fathom data tokenize first-data --vocab-size 512 --json");
    CHECK(json_number(e.json, "result.shards_kept") == json_number(e.json, "result.shards"),
          "whole shards were made again: %s", e.out);
    ending_clear(&e);
    e = shell("fathom data verify first-data --json");
    CHECK(e.code == 0 && json_number(e.json, "result.damaged") == 0, "%s%s", e.out, e.err);
    ending_clear(&e);
    CHECK(shell_ok("fathom data check first"), "data check");
    CHECK(shell_ok("fathom data card first-data"), "data card");
    CHECK(shell_ok("fathom data show first-data"), "data show");
}

TEST(what_tokenize_proposes_next_is_accepted) {
    if (!fixture_make()) return;
    ending e = shell("fathom data tokenize data --vocab-size 512 --json");
    const char *next = json_string_value(json_array_get(json_object_get(e.json, "next"), 0));
    REQUIRE(next != NULL, "no next: %s", e.out);
    CHECK(shell_ok("%s --dry-run", next), "%s", next);
    ending_clear(&e);
}

TEST(kill_at_any_moment_and_resume_gives_the_same_weights) {
    if (!fixture_make()) return;
    double seconds = whole_path_seconds();
    if (seconds <= 0) return;
    char whole[65], killed[65];
    if (!sha_of("fathom train data --run whole " TRAINING, whole)) return;
    uint64_t moment = (uint64_t)(clock_seconds() * 1e6);
    double share = 0.45;
    int hits = 0;
    for (int tries = 0; hits < 3 && tries < 12; tries++) {
        moment = moment * 6364136223846793005u + 1442695040888963407u;
        double after = seconds * share * (0.2 + 0.8 * (double)(moment >> 40) / (double)(1 << 24));
        int code = stopped("fathom train data --run killed " TRAINING, after, SIGKILL);
        printf("  kill -9 after %.2f of %.2f s: code %d\n", after, seconds, code);
        REQUIRE(code == 128 + SIGKILL || code == 0, "code %d", code);
        hits++;
        if (code != 0) continue;
        hits = 0; /* it came through: again from the start, and sooner */
        share *= 0.6;
        if (!shell_ok("rm -rf killed")) return;
    }
    CHECK(hits == 3, "killed only %d times", hits);
    if (!sha_of("fathom train data --run killed " TRAINING, killed)) return;
    CHECK(strcmp(whole, killed) == 0, "%s uninterrupted, %s killed %d times", whole, killed, hits);
    CHECK(shell_ok("cmp whole/model/model.safetensors killed/model/model.safetensors"),
          "the best models differ");
    CHECK(shell_ok("test \"$(grep -c '\"step\"' whole/metrics.jsonl)\" = "
                   "\"$(grep -c '\"step\"' killed/metrics.jsonl)\""),
          "metrics have lines twice or lack some");
}

TEST(a_polite_stop_saves_and_the_same_command_goes_on) {
    if (!fixture_make()) return;
    static const struct { int signal, code; } stops[] = {{SIGINT, 130}, {SIGTERM, 75}};
    double seconds = whole_path_seconds();
    if (seconds <= 0) return;
    char whole[65], stopped_sha[65];
    if (!sha_of("fathom train data --run whole " TRAINING, whole)) return;
    for (int i = 0; i < 2; i++) {
        int code =
            stopped("fathom train data --run stopped " TRAINING, seconds * 0.3, stops[i].signal);
        CHECK(code == stops[i].code || code == 0, "signal %d: code %d", stops[i].signal, code);
    }
    if (!sha_of("fathom train data --run stopped " TRAINING, stopped_sha)) return;
    CHECK(strcmp(whole, stopped_sha) == 0, "%s uninterrupted, %s stopped", whole, stopped_sha);
}

TEST(threads_do_not_change_weights) {
    if (!fixture_make()) return;
    char one[65], three[65];
    if (!sha_of("fathom train data --run one --threads 1 " SMALL_TRAINING " --max-steps 6", one) ||
        !sha_of("fathom train data --run three --threads 3 " SMALL_TRAINING " --max-steps 6",
                three))
        return;
    CHECK(strcmp(one, three) == 0, "1 thread %s, 3 threads %s", one, three);
}

TEST(evaluation_is_finite_and_below_untrained) {
    if (!fixture_make()) return;
    ending e = shell("fathom eval run --json");
    double bits = json_number(e.json, "result.scores.bits_per_byte");
    double untrained = json_number(e.json, "result.scores.untrained");
    CHECK(e.code == 0 && isfinite(bits) && bits > 0, "%d %s%s", e.code, e.out, e.err);
    CHECK(bits < untrained, "%g trained, %g untrained", bits, untrained);
    CHECK(path_exists(json_word(e.json, "result.file")), "no file %s",
          json_word(e.json, "result.file"));
    ending_clear(&e);
    e = shell("fathom eval run --no-baselines --no-untrained --fail-above %g --json", bits / 2);
    CHECK(told(&e, F_GATE), "a bar that is not reached");
    ending_clear(&e);
}

TEST(a_seed_gives_one_completion) {
    if (!fixture_make()) return;
    static const char line[] = "fathom chat run -p 'In house 7' --max-tokens 24 --json --seed %d";
    ending a = shell(line, 5), b = shell(line, 5), c = shell(line, 6);
    const char *said = json_word(a.json, "result.text");
    CHECK(a.code == 0 && said[0] != '\0', "%d %s%s", a.code, a.out, a.err);
    CHECK(strcmp(said, json_word(b.json, "result.text")) == 0, "%s\n%s", a.out, b.out);
    CHECK(strcmp(said, json_word(c.json, "result.text")) != 0, "two seeds, one text: %s", a.out);
    ending_clear(&a);
    ending_clear(&b);
    ending_clear(&c);
    CHECK(shell_ok("printf 'In house\\nThe old\\n' | fathom chat run --max-tokens 4 --no-input"),
          "prompts from standard input");
}

TEST(runs_are_listed_and_shown) {
    if (!fixture_make()) return;
    CHECK(shell_ok("mkdir -p shelf && cp -r run shelf/a"), "copy");
    ending e = shell("fathom runs ls shelf --json");
    const json_t *list = json_object_get(json_object_get(e.json, "result"), "runs");
    CHECK(e.code == 0 && json_array_size(list) == 1, "%s%s", e.out, e.err);
    CHECK(strcmp(json_word(json_array_get(list, 0), "state"), "done") == 0, "%s", e.out);
    ending_clear(&e);
    e = shell("fathom runs show shelf/a --json");
    CHECK(e.code == 0 && json_number(e.json, "result.summary.steps") == 12, "%s%s", e.out, e.err);
    CHECK(json_number(e.json, "result.plan.parameters") > 0, "%s", e.out);
    ending_clear(&e);
}

/* -- start -- */

#define START                                                                                      \
    "fathom start --minutes 0.2 --corpus local --input texts --size f-1m --vocab-size 512 "        \
    "--no-input"

static bool start_whole(char sha[65]) {
    static char known[65];
    if (known[0] == '\0' && !sha_of(START " --run S --data D", known)) return false;
    memcpy(sha, known, 65);
    return true;
}

TEST(start_needs_no_answer_and_keeps_what_is_done) {
    if (!fixture_make()) return;
    char first[65];
    if (!start_whole(first)) return;
    ending e = shell(START " --run S --data D");
    CHECK(e.code == 0, "%d %s%s", e.code, e.out, e.err);
    CHECK(strstr(e.err, "(kept)") != NULL && strstr(e.out, text("%.16s", first)) != NULL,
          "a rerun makes anew:\n%s%s", e.out, e.err);
    CHECK(strstr(e.out, "fathom chat S") != NULL, "no hint how to go on: %s", e.out);
    ending_clear(&e);
}

/* Killed while it prepares, stopped while it trains. The file of settings wins over the measurement,
 * so a run that begins from the file of another one ends as that one did. */
TEST(start_goes_on_after_kill_and_ctrl_c) {
    if (!fixture_make()) return;
    char first[65], again[65];
    if (!start_whole(first)) return;
    if (!shell_ok("mkdir -p I && cp S/config.ini I")) return;
    for (int i = 0; i < 3; i++)
        stopped(START " --run I --data D3", 0.03 * (i + 1), SIGKILL);
    int code = stopped(START " --run I --data D3", 1.5, SIGINT);
    printf("  Ctrl-C after 1.5 s: code %d\n", code);
    CHECK(code == 130 || code == 0, "code %d", code);
    if (!sha_of(START " --run I --data D3", again)) return;
    CHECK(strcmp(first, again) == 0, "%s uninterrupted, %s interrupted", first, again);
}
