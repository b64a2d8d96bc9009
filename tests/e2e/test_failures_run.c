/* test_failures_run.c - failures of trainings and of the machine under them, by the rules of
 * test_failures.c. */
#include "breaking.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "test.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

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
    CHECK(mount("tmpfs", "small", NULL, MS_REMOUNT, "size=64m") == 0, "remount");
    CHECK(shell_ok("fathom train data --run small/run " SMALL_TRAINING " --d-model 64 "
                   "--max-steps 12 --save-every 3"),
          "the fix: room, and the same command");
    umount("small");
}

TEST(run_folder_without_permission) {
    if (!fixture_make()) return;
    CHECK(shell_ok("chmod 755 . && mkdir -p closed && chmod 755 closed"), "chmod");
    if (geteuid() != 0) {
        CHECK(shell_ok("chmod 555 closed"), "chmod");
        fails_and_keeps(F_PERMISSION, "run", "fathom train data --run closed/run " FEW);
        CHECK(shell_ok("chmod 755 closed && fathom train data --run closed/run " FEW), "the fix");
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
    CHECK(shell_ok("chmod 777 closed && setpriv --reuid 65534 --regid 65534 --clear-groups fathom "
                   "train data --run closed/run " FEW),
          "the fix");
}

TEST(run_folder_on_a_read_only_device) {
    if (!fixture_make()) return;
    if (mkdir("fixed", 0755) != 0 || mount("tmpfs", "fixed", "tmpfs", 0, "size=16m") != 0)
        SKIP("mounting a small file system needs rights that this process lacks");
    bool ready = copy("run", "fixed/run") &&
                 mount("tmpfs", "fixed", NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0;
    CHECK(ready, "remount");
    fails_and_keeps(F_PERMISSION, "fixed/run", "fathom train fixed/run --max-steps 14");
    fails_and_keeps(F_PERMISSION, "fixed/run", "fathom runs plot fixed/run");
    CHECK(shell_ok("fathom chat fixed/run -p a --max-tokens 2"), "reading is not writing");
    CHECK(shell_ok("cp -r fixed/run moved && fathom train moved --max-steps 14"), "the fix");
    umount("fixed");
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
    CHECK(shell_ok("fathom train busy --max-steps 13"), "the fix: when it has ended");
}

TEST(training_that_was_killed) {
    if (!fixture_make() || !copy("run", "killed")) return;
    int first = shell_start("fathom train killed --max-steps 100k --save-every 7");
    for (int i = 0; i < 400 && lines_of("killed/metrics.jsonl") < 15 && shell_alive(first); i++)
        usleep(50000);
    kill(first, SIGKILL);
    CHECK(shell_wait(first) == 128 + SIGKILL, "killed");
    /* Its lock file is still there, but nobody holds it; so is half a checkpoint. */
    CHECK(path_exists("killed/lock"), "the lock file");
    if (!shell_ok("mkdir killed/checkpoints/step-99.tmp && touch "
                  "killed/checkpoints/step-99.tmp/config.json"))
        return;
    int steps = lines_of("killed/metrics.jsonl") + 10;
    CHECK(says(text("fathom train killed --max-steps %d", steps), " incomplete one"),
          "half a checkpoint");
    CHECK(!path_exists("killed/checkpoints/step-99.tmp"), "it was left");
    CHECK(lines_of("killed/metrics.jsonl") == steps, "%d lines for %d steps",
          lines_of("killed/metrics.jsonl"), steps);
}

TEST(resume_with_another_model) {
    if (!fixture_make()) return;
    fails_and_keeps(F_CANNOT_RESUME, "run", "fathom train run --d-model 48 --max-steps 20");
    CHECK(says("fathom train run --d-model 48 --max-steps 20", "32 -> 48"), "old and new value");
    if (!copy("run", "renewed")) return;
    CHECK(flags_mend("fathom train renewed --d-model 48 --max-steps 20", ""), "the fix");
}

TEST(resume_with_other_data) {
    if (!fixture_make() || !texts_make("few", 30)) return;
    if (!shell_ok(
            "fathom data import few -o strange && fathom data tokenize strange --vocab-size 512"))
        return;
    fails_and_keeps(F_CANNOT_RESUME, "run", "fathom train run --data strange --max-steps 20");
    fails_and_keeps(F_CANNOT_RESUME, "run", "fathom train strange --run run --max-steps 20");
    if (!copy("run", "renewed2")) return;
    CHECK(flags_mend("fathom train strange --run renewed2 --max-steps 20", ""), "the fix");
}

TEST(checkpoint_of_another_run) {
    if (!fixture_make() || !copy("run", "mixed")) return;
    if (!shell_ok("fathom train data --run wide --d-model 48 " FEW " --d-model 48") ||
        !shell_ok("rm -r mixed/checkpoints/step-12") ||
        !copy("wide/checkpoints/step-12", "mixed/checkpoints/step-12"))
        return;
    fails_and_keeps(F_CANNOT_RESUME, "mixed", "fathom train mixed --max-steps 14");
    CHECK(says("fathom train mixed --max-steps 14", "remove mixed/checkpoints/step-12"), "the fix");
    CHECK(shell_ok("rm -r mixed/checkpoints/step-12 && fathom train mixed --max-steps 14"),
          "the fix does not work");
}

TEST(settings_of_a_run_spoilt) {
    if (!fixture_make() || !copy("run", "edited")) return;
    if (!shell_ok("sed -i 's/^grad-clip = .*/grad-clip = tight/' edited/config.ini")) return;
    fails_and_keeps(F_CONFIG, "edited", "fathom train edited --max-steps 14");
    CHECK(says("fathom train edited --max-steps 14", "edited/config.ini:"), "file and line");
    CHECK(says("fathom train edited --max-steps 14", "grad-clip = 1, for example"), "a value");
    CHECK(shell_ok("sed -i 's/tight/1/' edited/config.ini && fathom train edited --max-steps 14"),
          "the fix");
}

TEST(metrics_and_events_damaged) {
    if (!fixture_make() || !copy("run", "scratched")) return;
    if (!shell_ok("sed -i '5s/.*/{\"step\": 5, \"lo/' scratched/metrics.jsonl && "
                  "for f in scratched/events.out.tfevents.*; do echo rubbish > $f; done && "
                  "printf '{\"step\": 13, \"tok' >> scratched/metrics.jsonl"))
        return;
    CHECK(says("fathom runs show scratched", "2 lines of metrics.jsonl"), "a warning");
    CHECK(shell_ok("fathom runs plot scratched"), "the rest can be drawn");
    CHECK(says("fathom train scratched --max-steps 14", "metrics.jsonl.damaged"), "what was done");
    CHECK(lines_of("scratched/metrics.jsonl") == 13, "other lines were lost: %d of 13",
          lines_of("scratched/metrics.jsonl"));
    CHECK(shell_ok("! grep -q rubbish scratched/events.out.tfevents.*"),
          "events were not made anew");
}

TEST(clock_that_jumped) {
    if (!fixture_make() || !copy("run", "future") || !copy("data", "past")) return;
    if (!shell_ok(
            "find future -exec touch -d 2099-01-01 {} + && find past -exec touch -d 1971-01-01 "
            "{} +"))
        return;
    CHECK(shell_ok("fathom train future --max-steps 14"), "files of the future");
    CHECK(shell_ok("fathom runs ls . && fathom data verify past"), "files of the past");
    CHECK(shell_ok("fathom train past --run aged " FEW " && cmp aged/model/model.safetensors "
                   "run/model/model.safetensors"),
          "times decide nothing");
}

TEST(shard_that_breaks_during_training) {
    if (!fixture_make() || !copy("data", "pieces") ||
        !shell_ok("fathom data tokenize pieces --vocab-size 512 --shard-size 40k") ||
        !copy("pieces", "crumbling"))
        return;
    static const char command[] =
        "fathom train crumbling --run crumbled " FEW " --max-steps 60 --save-every 1";
    if (!flip("crumbling/train-00002.shard", 9000)) return;
    ending e = shell("%s", command);
    CHECK(told(&e, F_SHARD), "a damaged block");
    CHECK(strstr(e.err, "fathom data verify crumbling") != NULL, "%s", e.err);
    ending_clear(&e);
    CHECK(lines_of("crumbled/metrics.jsonl") >= 0, "no step was made");
    CHECK(fix_mends("fathom data verify crumbling"), "the repair");
    e = shell("%s --json", command);
    CHECK(e.code == 0, "%s%s", e.out, e.err);
    ending whole =
        shell("fathom train pieces --run unbroken " FEW " --max-steps 60 --save-every 1 --json");
    CHECK(strcmp(json_word(e.json, "result.weights_sha256"),
                 json_word(whole.json, "result.weights_sha256")) == 0,
          "other weights than without the damage:\n%s\n%s", e.out, whole.out);
    ending_clear(&e);
    ending_clear(&whole);
}

TEST(tokenizer_of_the_data_missing) {
    if (!fixture_make() || !copy("data", "speechless") || !shell_ok("rm speechless/tokenizer.json"))
        return;
    fails_and_keeps(F_MISSING, "speechless", "fathom train speechless --run speech " FEW);
    CHECK(says("fathom train speechless --run speech " FEW, "fathom data verify speechless"),
          "fix");
    CHECK(fix_mends("fathom data verify speechless"), "the repair");
    CHECK(shell_ok("fathom train speechless --run speech " FEW), "training after the repair");
}

TEST(address_space_limited) {
    if (!fixture_make() || !copy("run", "narrow")) return;
    ending e = shell("ldd bin/fathom | grep -q -e libasan -e libtsan");
    bool sanitized = e.code == 0;
    ending_clear(&e);
    if (sanitized) SKIP("a sanitizer needs more address space than the limit");
    e = shell("ulimit -v 400000; fathom train narrow --max-steps 14");
    CHECK(told(&e, F_NO_MEMORY), "the limit");
    CHECK(strstr(e.err, "400000 KiB") != NULL && strstr(e.err, "ulimit -v unlimited") != NULL, "%s",
          e.err);
    ending_clear(&e);
    CHECK(shell_ok("ulimit -S -v 400000; ulimit -v unlimited; fathom train narrow --max-steps 14"),
          "the fix");
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
    CHECK(strstr(e.err, "lost/model first") != NULL, "%s", e.err);
    ending_clear(&e);
    CHECK(shell_ok("cmp run/model/model.safetensors lost/model/model.safetensors"),
          "the best model is gone");
    CHECK(fix_works("fathom train lost --max-steps 14"), "the fix");
}

/* Weights that grow by -2.6 a step overflow; at half the rate they shrink, as the fix promises. */
TEST(training_diverges) {
    static const char command[] =
        "fathom train data --run wild " SMALL_TRAINING " --max-steps 100 --save-every 40 "
        "--learning-rate 0.036 --weight-decay 100 --grad-clip 0 --warmup-steps 0 "
        "--schedule constant";
    if (!fixture_make()) return;
    ending e = shell("%s", command);
    CHECK(told(&e, F_NOT_FINITE), "too high a rate");
    CHECK(strstr(e.err, "--learning-rate 0.018 --accept-changes") != NULL &&
              strstr(e.err, "fathom runs batch wild") != NULL,
          "%s", e.err);
    ending_clear(&e);
    e = shell("fathom runs batch wild --json");
    CHECK(e.code == 0 && json_number(e.json, "result.bad_rows") == 8, "%s%s", e.out, e.err);
    CHECK(json_number(e.json, "result.batch.seq_len") == 64 &&
              strcmp(json_word(e.json, "result.batch.data"), "data") == 0 &&
              json_word(e.json, "result.batch.tensor")[0] != '\0',
          "%s", e.out);
    ending_clear(&e);
    e = shell("fathom runs batch wild");
    CHECK(e.code == 0 && strstr(e.out, " house|") != NULL, "the text of the rows: %s", e.out);
    ending_clear(&e);
    CHECK(shell_ok("test $(ls wild/bad_batches | wc -l) -eq 5"), "one file for each bad step");
    fails_and_keeps(F_MISSING, "wild", "fathom runs batch wild --step 3");
    CHECK(fix_works("fathom runs batch wild --step 3"), "the fix of batch");
    CHECK(fix_works(command), "the fix");
    CHECK(shell_ok("test -s wild/checkpoints/step-100/MANIFEST"), "to the end");
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
    CHECK(
        flags_mend("fathom train data -n --run huge --preset f-1m --seq-len 64 --batch-tokens 64M "
                   "--grad-lanes 1 --max-steps 2",
                   "--micro-batch 100000"),
        "the fix: a plan that fits");
}
