/* test_allocations.c - the n-th allocation of a whole command fails, for a spread of n.
 *
 * The commands run inside this process (only here can an allocation be made to fail), on the same
 * fixture as the tests from outside. Each must end with "out of memory" told in full, and leave no
 * block behind; or, where what failed was not needed, with the result it has anyway. */
#include "whole_program.h"

#include "app/app.h"
#include "base/memory.h"
#include "command_call.h"
#include "kernels/kernels.h"
#include "test.h"

extern const command data_command, eval_command, chat_command, train_command;

static const command *const commands[] = {&data_command, &train_command, &eval_command,
                                          &chat_command, &runs_command,  NULL};
static const command_program program = {
    .name = "fathom",
    .version = "test",
    .about = "commands under test",
    .examples = "fathom eval run",
    .commands = commands,
    .cpu_text = kernels_cpu_text,
    .init = kernels_init,
};

/* The parts of a result that may not depend on memory: everything but times. */
static bool same_result(const char *a, const char *b) {
    static const char *const words[] = {"result.text", "result.weights_sha256"};
    static const char *const numbers[] = {"result.scores.bits_per_byte", "result.damaged",
                                          "result.summary.steps"};
    json_t *x = json_loads(a, 0, NULL), *y = json_loads(b, 0, NULL);
    bool same = x != NULL && y != NULL;
    for (size_t i = 0; same && i < sizeof words / sizeof words[0]; i++)
        same = strcmp(json_word(x, words[i]), json_word(y, words[i])) == 0;
    for (size_t i = 0; same && i < sizeof numbers / sizeof numbers[0]; i++) {
        double p = json_number(x, numbers[i]), q = json_number(y, numbers[i]);
        same = p == q || (p != p && q != q);
    }
    json_decref(x);
    json_decref(y);
    return same;
}

/* Fails allocation 1, 2, 3 ... in steps that grow, until the command passes without a failure. */
static void starve(const char *words, int64_t growth) {
    if (!fixture_make()) return;
    call_result good = call_program(&program, words, 0);
    CHECK(good.code == 0, "%s: %d %s%s", words, good.code, good.out, good.err);
    int told_so = 0, needless = 0;
    bool failed = good.code == 0;
    for (int64_t n = 1; failed && told_so + needless < 400; n += 1 + n / growth) {
        int64_t before = mem_live_blocks();
        call_result r = call_program(&program, words, n);
        failed = r.failure_happened;
        ending e = {.code = r.code, .out = r.out, .err = r.err};
        e.json = json_loads(r.out, 0, NULL);
        if (r.code == 0) {
            CHECK(same_result(good.out, r.out), "%s, allocation %lld: %s", words, (long long)n,
                  r.out);
            needless += failed;
        } else {
            CHECK(told(&e, F_NO_MEMORY), "%s, allocation %lld", words, (long long)n);
            told_so++;
        }
        json_decref(e.json);
        call_clear(&r);
        int64_t left = mem_live_blocks() - before;
        CHECK(left == 0, "%s, allocation %lld: %lld blocks left", words, (long long)n,
              (long long)left);
    }
    printf("  %s: %d failures told, %d without consequence\n", words, told_so, needless);
    CHECK(told_so > 5 && !failed, "too few failures were injected, or they never ended");
    call_clear(&good);
}

TEST(chat_without_memory) {
    starve("chat run -p house --max-tokens 3 --json", 12);
}
TEST(eval_without_memory) {
    starve("eval run --no-baselines --json --limit 200", 12);
}
TEST(verify_without_memory) {
    starve("data verify data --json", 40);
}
TEST(runs_without_memory) {
    starve("runs show run --json", 12);
}
TEST(finished_training_without_memory) {
    starve("train run --json", 12);
}
TEST(training_without_memory) {
    starve(
        "train data --run starved --resume no --json --max-steps 2 --save-every 1 " SMALL_TRAINING,
        3);
}
TEST(tokenizing_without_memory) {
    starve("data tokenize data --vocab-size 512 --json", 6);
}
