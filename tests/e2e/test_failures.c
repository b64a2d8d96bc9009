/* test_failures.c - what users, disks and other programs do to us, done on purpose.
 *
 * Each test breaks one thing in a copy of a good dataset, run or model and gives the command that a
 * user would give. It must end with the exit code of its row in errors.def, say what, where, why and
 * how to fix it, show no sign of a crash, and leave what was there as it was. Where the fix is a
 * command, the test runs it.
 */
#include "whole_program.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "test.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define FEW SMALL_TRAINING " --max-steps 12 --save-every 5"

/* -- breaking things -- */

/* A fresh copy of a folder of the fixture. */
static bool copy(const char *from, const char *to) {
    return shell_ok("rm -rf %s && cp -r %s %s", to, from, to);
}

static bool cut(const char *path, int bytes) {
    return shell_ok("truncate -s -%d %s", bytes, path);
}

static bool flip(const char *path, int64_t at) {
    FILE *f = fopen(path, "r+b");
    int c = -1;
    bool good = f != NULL && fseek(f, (long)at, SEEK_SET) == 0 && (c = fgetc(f)) != EOF &&
                fseek(f, (long)at, SEEK_SET) == 0 && fputc(c ^ 0x55, f) != EOF;
    if (f != NULL && fclose(f) != 0) good = false;
    if (!good) test_fail(__FILE__, __LINE__, "flip a byte", "%s at %lld", path, (long long)at);
    return good;
}

/* Replaces one text of a file by another of the same length. */
static bool replace(const char *path, const char *old, const char *new) {
    char *bytes;
    size_t n;
    if (file_read(path, 0, &bytes, &n) != STATUS_OK) return false;
    char *at = memmem(bytes, n, old, strlen(old));
    bool good = at != NULL && strlen(old) == strlen(new);
    if (good) {
        memcpy(at, new, strlen(new));
        good = file_write(path, bytes, n) == STATUS_OK;
    }
    mem_free(bytes);
    if (!good) test_fail(__FILE__, __LINE__, "replace", "\"%s\" in %s", old, path);
    return good;
}

/* The sum of everything below a folder, log, lock and reports of evaluations aside. */
static char *sum_of(const char *folder) {
    ending e =
        shell("cd %s && find . -type f ! -name log.txt ! -name lock ! -path './eval/*' | sort | "
              "xargs sha256sum",
              folder);
    char *sum = mem_strdup(e.out);
    ending_clear(&e);
    return sum;
}

/* The command fails as `id`, once in sentences and once as JSON, and `folder` stays as it is. */
static bool fails_and_keeps(error_id id, const char *folder, const char *command) {
    char *before = sum_of(folder);
    ending e = shell("%s", command);
    bool good = told(&e, id);
    ending_clear(&e);
    e = shell("%s --json", command);
    if (e.json == NULL) {
        test_fail(__FILE__, __LINE__, command, "no JSON object: %s%s", e.out, e.err);
        good = false;
    } else {
        good &= told(&e, id);
    }
    ending_clear(&e);
    char *after = sum_of(folder);
    if (before[0] == '\0' || strcmp(before, after) != 0) {
        test_fail(__FILE__, __LINE__, command, "%s was changed:\n%s\n%s", folder, before, after);
        good = false;
    }
    mem_free(before);
    mem_free(after);
    return good;
}

static int lines_of(const char *path) {
    char *bytes;
    size_t n, lines = 0;
    if (file_read(path, 0, &bytes, &n) != STATUS_OK) return -1;
    for (size_t i = 0; i < n; i++)
        lines += bytes[i] == '\n';
    mem_free(bytes);
    return (int)lines;
}

/* True if `command` says `sentence` somewhere. */
static bool says(const char *command, const char *sentence) {
    ending e = shell("%s", command);
    bool found = strstr(e.err, sentence) != NULL || strstr(e.out, sentence) != NULL;
    if (!found)
        test_fail(__FILE__, __LINE__, sentence, "not said by %s:\n%s%s", command, e.out, e.err);
    ending_clear(&e);
    return found;
}

/* Takes the first `fathom ...` out of the fix that the command prints, up to a backquote, a bracket,
 * a separator or the verb of its sentence ("fathom runs ls shows ..."), and runs it. */
static bool fix_works(const char *command) {
    static const char *const verbs[] = {" shows ", " lists ", " makes ", " names "};
    ending e = shell("%s --json", command);
    char fix[1024];
    const char *from = strstr(json_word(e.json, "error.fix"), "fathom ");
    snprintf(fix, sizeof fix, "%s", from != NULL ? from : "");
    fix[strcspn(fix, "`(,;:")] = '\0';
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        char *verb = strstr(fix, verbs[i]);
        if (verb != NULL) *verb = '\0';
    }
    bool good = from != NULL;
    if (!good) test_fail(__FILE__, __LINE__, command, "its fix is no command: %s", e.out);
    ending_clear(&e);
    return good && shell_ok("%s", fix);
}

/* -- models -- */

TEST(weights_cut_short) {
    if (!fixture_make() || !copy("run/model", "m") || !cut("m/model.safetensors", 100)) return;
    fails_and_keeps(F_SAFETENSORS_TRUNCATED, "m", "fathom eval m --data data");
    fails_and_keeps(F_SAFETENSORS_TRUNCATED, "m", "fathom chat m -p a");
}

TEST(weights_with_offsets_that_lie) {
    if (!fixture_make() || !copy("run/model", "m")) return;
    char *bytes;
    size_t n;
    REQUIRE_OK(file_read("m/model.safetensors", 0, &bytes, &n));
    char *at = memmem(bytes, n, "\"data_offsets\":[", 16);
    at = at != NULL ? memchr(at + 16, ']', 64) : NULL; /* the last digit of an end */
    REQUIRE(at != NULL, "no offsets in the header");
    at[-1] = at[-1] == '9' ? '8' : (char)(at[-1] + 1);
    status s = file_write("m/model.safetensors", bytes, n);
    mem_free(bytes);
    REQUIRE_OK(s);
    fails_and_keeps(F_SAFETENSORS_OFFSETS, "m", "fathom eval m --data data");
    CHECK(says("fathom chat m -p a", "m/model.safetensors"), "the file is not named");
}

TEST(weights_whose_header_is_longer_than_the_file) {
    if (!fixture_make() || !copy("run/model", "m") || !flip("m/model.safetensors", 2)) return;
    fails_and_keeps(F_SAFETENSORS_TRUNCATED, "m", "fathom chat m -p a");
}

TEST(weights_without_a_tensor) {
    if (!fixture_make() || !copy("run/model", "m")) return;
    if (!replace("m/model.safetensors", "\"model.norm.weight\"", "\"model.nurm.weight\"")) return;
    fails_and_keeps(F_TENSOR_MISSING, "m", "fathom chat m -p a");
    CHECK(says("fathom chat m -p a", "model.norm.weight"), "the tensor is not named");
}

TEST(weights_of_another_shape) {
    if (!fixture_make() || !copy("run/model", "m")) return;
    if (!shell_ok("sed -i 's/\"hidden_size\": *32/\"hidden_size\": 48/' m/config.json")) return;
    fails_and_keeps(F_SHAPE, "m", "fathom chat m -p a");
}

TEST(configuration_of_an_unknown_architecture) {
    if (!fixture_make() || !copy("run/model", "m")) return;
    if (!shell_ok("sed -i 's/\"model_type\": *\"[a-z0-9_]*\"/\"model_type\": \"unheard_of\"/' "
                  "m/config.json"))
        return;
    fails_and_keeps(F_MODEL_UNKNOWN, "m", "fathom chat m -p a");
}

/* -- tokenizers -- */

TEST(tokenizer_cut_short) {
    if (!fixture_make() || !copy("run/model", "m") || !cut("m/tokenizer.json", 5000)) return;
    fails_and_keeps(F_TOKENIZER, "m", "fathom chat m -p a");
    CHECK(says("fathom chat m -p a", "m/tokenizer.json:"), "file and line are not named");
}

TEST(tokenizer_of_an_unknown_type) {
    if (!fixture_make() || !copy("run/model", "m")) return;
    if (!replace("m/tokenizer.json", "\"BPE\"", "\"XYZ\"")) return;
    fails_and_keeps(F_TOKENIZER_UNSUPPORTED, "m", "fathom chat m -p a");
}

static bool other_data(void) {
    return path_exists("other/tokenizer.json") ||
           (copy("data", "other") && shell_ok("fathom data tokenize other --vocab-size 700"));
}

TEST(tokenizer_of_another_vocabulary) {
    if (!fixture_make() || !copy("run/model", "m") || !other_data()) return;
    CHECK(shell_ok("cp other/tokenizer.json m/tokenizer.json"), "copy");
    fails_and_keeps(F_TOKENIZER, "m", "fathom chat m -p a");
    CHECK(says("fathom chat m -p a", "700") && says("fathom chat m -p a", "512"), "both sizes");
}

/* -- datasets -- */

TEST(shard_with_a_flipped_byte) {
    if (!fixture_make() || !copy("data", "broken")) return;
    if (!flip("broken/train-00000.shard", 20000)) return;
    char *whole = sum_of("data");
    fails_and_keeps(F_DAMAGE, "broken", "fathom data verify broken");
    fails_and_keeps(F_SHARD, "broken", "fathom train broken --run unborn " FEW);
    CHECK(says("fathom data verify broken", "train-00000.shard"), "the shard is not named");
    CHECK(fix_works("fathom data verify broken"), "the fix of data verify");
    char *mended = sum_of("broken");
    CHECK(strcmp(whole, mended) == 0, "the fix made another dataset:\n%s\n%s", whole, mended);
    mem_free(whole);
    mem_free(mended);
}

TEST(repair_of_a_dataset_with_options) {
    if (!fixture_make() || !copy("data", "odd")) return;
    if (!shell_ok("fathom data tokenize odd --vocab-size 300 --split tail --validation 0.2 "
                  "--line-min 20 --shard-size 50k --seed 3") ||
        !copy("odd", "odd-broken") || !flip("odd-broken/train-00001.shard", 4000) ||
        !shell_ok("rm odd-broken/train-00000.shard odd-broken/tokenizer.json"))
        return;
    char *whole = sum_of("odd");
    CHECK(fix_works("fathom data verify odd-broken"), "the fix of data verify");
    char *mended = sum_of("odd-broken");
    CHECK(strcmp(whole, mended) == 0, "the fix made another dataset:\n%s\n%s", whole, mended);
    mem_free(whole);
    mem_free(mended);
}

TEST(shard_missing) {
    if (!fixture_make() || !copy("data", "broken") || !shell_ok("rm broken/validation-00000.shard"))
        return;
    fails_and_keeps(F_DAMAGE, "broken", "fathom data verify broken");
    fails_and_keeps(F_MISSING, "broken", "fathom train broken --run unborn " FEW);
    CHECK(fix_works("fathom train broken --run unborn " FEW), "the fix of train");
    CHECK(shell_ok("fathom data verify broken"), "verify after the fix");
}

TEST(manifest_of_data_cut_short) {
    if (!fixture_make() || !copy("data", "broken") || !cut("broken/data.json", 900)) return;
    fails_and_keeps(F_JSON, "broken", "fathom data verify broken");
    fails_and_keeps(F_JSON, "broken", "fathom train broken --run unborn " FEW);
    fails_and_keeps(F_JSON, "broken", "fathom data tokenize broken");
}

TEST(import_of_bytes_that_are_not_utf8) {
    if (!fixture_make()) return;
    CHECK(shell_ok("printf 'good line\\nbad caf\\351 line\\n' > latin.txt"), "printf");
    fails_and_keeps(F_NOT_UTF8, "data", "fathom data import latin.txt -o imported");
    CHECK(says("fathom data import latin.txt -o imported", "line 2, byte 8"), "line and byte");
    CHECK(says("fathom data import latin.txt -o imported", "--encoding latin1"), "fix");
    CHECK(!path_exists("imported/data.json"), "half a dataset was left");
    CHECK(shell_ok("fathom data import latin.txt -o imported --encoding latin1"),
          "the fix does not work");
}

TEST(import_of_records_without_text) {
    if (!fixture_make()) return;
    CHECK(shell_ok("printf '{\"text\":\"a b\"}\\n{\"body\":\"x\"}\\n' > keys.jsonl"), "printf");
    fails_and_keeps(F_RECORD, "data", "fathom data import keys.jsonl -o imported2");
    CHECK(says("fathom data import keys.jsonl -o imported2", "line 2"), "the line");
    CHECK(says("fathom data import keys.jsonl -o imported2", "body"), "the key that is there");
    CHECK(!path_exists("imported2/data.json"), "half a dataset was left");
    CHECK(shell_ok("printf '{\"body\":\"a b\"}\\n{\"body\":\"x\"}\\n' > body.jsonl"), "printf");
    CHECK(shell_ok("fathom data import body.jsonl -o imported2 --map body=text"),
          "the fix does not work");
}

TEST(vocabulary_of_an_impossible_size) {
    if (!fixture_make()) return;
    fails_and_keeps(F_BAD_VALUE, "data", "fathom data tokenize data --vocab-size 10");
    fails_and_keeps(F_BAD_VALUE, "data", "fathom data tokenize data --vocab-size 2000000000");
    if (!copy("data", "sized")) return; /* the fix makes the vocabulary that it names */
    CHECK(fix_works("fathom data tokenize sized --vocab-size 10"), "the fix");
    CHECK(shell_ok("fathom data verify sized"), "verify after the fix");
}

/* -- the command line -- */

TEST(option_unknown) {
    if (!fixture_make()) return;
    fails_and_keeps(F_UNKNOWN_OPTION, "run", "fathom train run --max-stepz 3");
    CHECK(says("fathom train run --max-stepz 3", "--max-steps?"), "the nearest name");
}

TEST(command_unknown) {
    if (!fixture_make()) return;
    fails_and_keeps(F_UNKNOWN_COMMAND, "run", "fathom trian run");
    CHECK(says("fathom trian run", "\"train\""), "the nearest name");
    CHECK(says("fathom data tokenise data", "\"tokenize\""), "the nearest name of a child");
    CHECK(fix_works("fathom trian run"), "the fix");
}

TEST(settings_file_with_a_bad_value) {
    if (!fixture_make()) return;
    CHECK(shell_ok("printf '[train]\\n# steps\\nmax-steps = many\\n' > bad.ini"), "printf");
    fails_and_keeps(F_CONFIG, "run", "fathom --config bad.ini train run");
    CHECK(says("fathom --config bad.ini train run", "bad.ini:3:"), "file and line");
    CHECK(fix_works("fathom --config bad.ini train run"), "the fix");
}

/* -- training -- */

TEST(disk_full_while_training) {
    if (!fixture_make() || !copy("run", "full")) return;
    /* The limit lets log and metrics grow, not a file of weights. */
    ending e = shell("ulimit -f 200; exec fathom train full --max-steps 20 --disk-wait 1s");
    CHECK(told(&e, F_DISK_FULL), "file-size limit");
    ending_clear(&e);
    CHECK(shell_ok("test -s full/checkpoints/step-12/MANIFEST && cmp run/model/model.safetensors "
                   "full/model/model.safetensors"),
          "the last checkpoint or the best model is gone");
    ending again = shell("fathom train full --max-steps 20 --json");
    CHECK(again.code == 0 && json_number(again.json, "result.resumed_from") >= 12, "%s%s",
          again.out, again.err);
    ending_clear(&again);
}

TEST(disk_full_on_a_small_device) {
    if (!fixture_make()) return;
    if (mkdir("small", 0755) != 0 || mount("tmpfs", "small", "tmpfs", 0, "size=6m") != 0)
        SKIP("mounting a small file system needs rights that this process lacks");
    ending e = shell("fathom train data --run small/run --disk-wait 1s " SMALL_TRAINING
                     " --d-model 64 --max-steps 12 --save-every 3");
    CHECK(told(&e, F_DISK_FULL), "small device");
    ending_clear(&e);
    umount("small");
}

TEST(run_folder_without_permission) {
    if (!fixture_make()) return;
    CHECK(shell_ok("chmod 755 . && mkdir -p closed && chmod 755 closed"), "chmod");
    if (geteuid() != 0) {
        CHECK(shell_ok("chmod 555 closed"), "chmod");
        fails_and_keeps(F_PERMISSION, "run", "fathom train data --run closed/run " FEW);
        return;
    }
    ending e = shell("setpriv --reuid 65534 --regid 65534 --clear-groups true");
    bool can = e.code == 0;
    ending_clear(&e);
    if (!can) SKIP("root, and setpriv cannot become somebody else");
    e = shell("setpriv --reuid 65534 --regid 65534 --clear-groups fathom --version");
    can = e.code == 0;
    ending_clear(&e);
    if (!can) SKIP("others may not reach the program under test");
    fails_and_keeps(F_PERMISSION, "run",
                    "setpriv --reuid 65534 --regid 65534 --clear-groups fathom train data --run "
                    "closed/run " FEW);
}

TEST(two_trainings_in_one_run_folder) {
    if (!fixture_make() || !copy("run", "busy")) return;
    int first = shell_start("fathom train busy --max-steps 100k");
    bool training = false; /* then it holds the lock */
    for (int i = 0; i < 400 && !training && shell_alive(first); i++) {
        usleep(50000);
        training = lines_of("busy/metrics.jsonl") > lines_of("run/metrics.jsonl");
    }
    CHECK(training, "the first training did not begin");
    ending e = shell("fathom train busy --max-steps 13");
    CHECK(told(&e, F_UNAVAILABLE), "the second training");
    ending_clear(&e);
    CHECK(shell_alive(first), "the first training ended");
    kill(first, SIGINT);
    CHECK(shell_wait(first) == 130, "the first training was disturbed");
}

TEST(resume_with_another_model) {
    if (!fixture_make()) return;
    fails_and_keeps(F_CANNOT_RESUME, "run", "fathom train run --d-model 48 --max-steps 20");
    CHECK(says("fathom train run --d-model 48 --max-steps 20", "32 -> 48"), "old and new value");
}

TEST(resume_with_other_data) {
    if (!fixture_make() || !texts_make("few", 30)) return;
    if (!shell_ok(
            "fathom data import few -o strange && fathom data tokenize strange --vocab-size 512"))
        return;
    fails_and_keeps(F_CANNOT_RESUME, "run", "fathom train run --data strange --max-steps 20");
    fails_and_keeps(F_CANNOT_RESUME, "run", "fathom train strange --run run --max-steps 20");
}

TEST(newest_checkpoint_damaged) {
    if (!fixture_make() || !copy("run", "older")) return;
    if (!flip("older/checkpoints/step-12/optimizer.safetensors", 30000)) return;
    ending e = shell("fathom train older --json"), whole = shell("fathom train run --json");
    CHECK(e.code == 0 && json_number(e.json, "result.resumed_from") == 10, "%s%s", e.out, e.err);
    CHECK(strstr(e.err, "checkpoint not used") != NULL, "no warning: %s", e.err);
    CHECK(strcmp(json_word(e.json, "result.weights_sha256"),
                 json_word(whole.json, "result.weights_sha256")) == 0,
          "%s\n%s", e.out, whole.out);
    CHECK(path_exists("older/checkpoints/step-12.damaged"), "the damaged one was thrown away");
    ending_clear(&e);
    ending_clear(&whole);
}

TEST(every_checkpoint_damaged) {
    if (!fixture_make() || !copy("run", "lost")) return;
    CHECK(shell_ok("for f in lost/checkpoints/*/model.safetensors; do truncate -s -7 $f; done"),
          "cut");
    ending e = shell("fathom train lost --max-steps 14");
    CHECK(told(&e, F_CHECKPOINT), "no checkpoint is left");
    ending_clear(&e);
    CHECK(shell_ok("cmp run/model/model.safetensors lost/model/model.safetensors"),
          "the best model is gone");
}

TEST(training_diverges) {
    if (!fixture_make()) return;
    ending e =
        shell("fathom train data --run wild " SMALL_TRAINING " --max-steps 200 --save-every 3 "
              "--learning-rate 10 --weight-decay 100 --grad-clip 0 --warmup-steps 0");
    CHECK(told(&e, F_NOT_FINITE), "a rate of 10");
    CHECK(strstr(e.err, "wild") != NULL && strstr(e.err, "--learning-rate") != NULL, "%s", e.err);
    ending_clear(&e);
}

/* Bytes of a text such as "21 GiB". */
static double size_at(const char *words) {
    char *end;
    double n = strtod(words, &end);
    static const char units[] = "KMGT";
    const char *unit = *end == ' ' && end[1] != '\0' ? strchr(units, end[1]) : NULL;
    for (const char *u = units; unit != NULL && u <= unit; u++)
        n *= 1024;
    return n;
}

TEST(plan_that_does_not_fit_memory) {
    if (!fixture_make()) return;
    static const char command[] =
        "fathom train data --run huge --preset f-1m --seq-len 64 --batch-tokens "
        "64M --micro-batch 100000 --grad-lanes 1 --max-steps 2";
    fails_and_keeps(F_NO_MEMORY, "data", command);
    ending e = shell("%s --json", command);
    const char *what = json_word(e.json, "error.what"), *fix = json_word(e.json, "error.fix");
    const char *free_part = strstr(what, ", "), *remedy = strstr(fix, "--micro-batch ");
    REQUIRE(free_part != NULL && remedy != NULL && strchr(remedy, '(') != NULL, "%s", e.out);
    double room = size_at(free_part + 2), taken = size_at(strchr(remedy, '(') + 1);
    CHECK(taken > 0 && taken <= room, "the remedy does not fit either: %s", e.out);
    ending_clear(&e);
}

/* -- completing -- */

TEST(prompt_longer_than_the_context) {
    if (!fixture_make()) return;
    fails_and_keeps(F_CONTEXT_FULL, "run", "fathom chat run -p \"$(cat texts/page-00*.txt)\"");
}

TEST(nothing_to_open) {
    if (!fixture_make()) return;
    fails_and_keeps(F_MISSING, "run", "fathom chat nowhere -p a");
    fails_and_keeps(F_MISSING, "run", "fathom eval nowhere");
    fails_and_keeps(F_MISSING, "run", "fathom train nowhere");
    fails_and_keeps(F_MISSING, "run", "fathom runs show nowhere");
    CHECK(fix_works("fathom runs show nowhere"), "the fix of runs show");
}

TEST(output_that_nobody_takes) {
    if (!fixture_make()) return;
    if (!path_exists("/dev/full")) SKIP("no /dev/full here");
    ending e = shell("fathom runs ls > /dev/full");
    CHECK(told(&e, F_DISK_FULL), "a full standard output");
    ending_clear(&e);
}
