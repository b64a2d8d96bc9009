/* test_failures.c - what users, disks and other programs do to us, done on purpose: to models,
 * tokenizers, datasets and command lines. test_failures_run.c does it to trainings and to the machine
 * under them.
 *
 * Each test breaks one thing in a copy of a good dataset, run or model and gives the command that a
 * user would give. It must end with the exit code of its row in errors.def, say what, where, why and
 * how to fix it, show no sign of a crash, and leave what was there as it was. Then the test does what
 * the fix says, and the command must end well.
 */
#include "breaking.h"

#include "base/file.h"
#include "base/memory.h"
#include "test.h"

/* -- models -- */

/* The fix says to fetch or copy this file of the model again: then the command ends well. */
static void copying_again_mends(const char *file, const char *command) {
    CHECK(shell_ok("cp run/model/%s m/%s && %s", file, file, command), "the fix: %s", file);
}

TEST(weights_cut_short) {
    if (!fixture_make() || !copy("run/model", "m") || !cut("m/model.safetensors", 100)) return;
    fails_and_keeps(F_SAFETENSORS_TRUNCATED, "m", "fathom eval m --data data");
    fails_and_keeps(F_SAFETENSORS_TRUNCATED, "m", "fathom chat m -p a");
    copying_again_mends("model.safetensors", "fathom eval m --data data");
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
    copying_again_mends("model.safetensors", "fathom chat m -p a");
}

TEST(weights_whose_header_is_longer_than_the_file) {
    if (!fixture_make() || !copy("run/model", "m") || !flip("m/model.safetensors", 2)) return;
    fails_and_keeps(F_SAFETENSORS_TRUNCATED, "m", "fathom chat m -p a");
    copying_again_mends("model.safetensors", "fathom chat m -p a");
}

TEST(a_model_that_does_not_fit_is_refused_with_numbers) {
    if (!fixture_make() || !copy("run/model", "m")) return;
    fails_and_keeps(F_MODEL_MEMORY, "m", "fathom chat m -p a --memory-limit 10K");
    CHECK(says("fathom chat m -p a --memory-limit 10K", "keys "), "the keys are not counted");
    CHECK(shell_ok("fathom chat m -p a --memory-limit 4G"), "it fits");
}

/* -- kept sessions -- */

TEST(sessions_are_kept_and_damaged_ones_refused) {
    static const char again[] = "fathom chat run -p ' and' --max-tokens 4 --session s.session";
    if (!fixture_make()) return;
    if (!shell_ok("rm -f s.session && fathom chat run -p house --max-tokens 4 --session s.session "
                  "&& cp s.session good.session"))
        return;
    CHECK(shell_ok("%s", again), "a kept session is not gone on with");
    CHECK(shell_ok("! cmp -s s.session good.session"), "the session was not kept again");
    if (!shell_ok("cp good.session s.session") || !cut("s.session", 10)) return;
    fails_and_keeps(F_SESSION, "run", again);
    CHECK(says(again, "the header promises"), "what is missing is not said");
    if (!shell_ok("cp good.session s.session") || !flip("s.session", 400)) return;
    fails_and_keeps(F_SESSION, "run", again);
    if (!shell_ok("cp good.session s.session && cp -r run other")) return;
    if (!flip("other/model/model.safetensors", 20001)) return;
    fails_and_keeps(F_SESSION_MODEL, "other",
                    "fathom chat other -p ' and' --max-tokens 4 --session s.session");
    CHECK(shell_ok("cp good.session s.session && %s", again), "the right file does not mend it");
}

TEST(weights_without_a_tensor) {
    if (!fixture_make() || !copy("run/model", "m")) return;
    if (!replace("m/model.safetensors", "\"model.norm.weight\"", "\"model.nurm.weight\"")) return;
    fails_and_keeps(F_TENSOR_MISSING, "m", "fathom chat m -p a");
    CHECK(says("fathom chat m -p a", "model.norm.weight"), "the tensor is not named");
    copying_again_mends("model.safetensors", "fathom chat m -p a");
}

TEST(weights_of_another_shape) {
    if (!fixture_make() || !copy("run/model", "m")) return;
    if (!shell_ok("sed -i 's/\"hidden_size\": *32/\"hidden_size\": 48/' m/config.json")) return;
    fails_and_keeps(F_SHAPE, "m", "fathom chat m -p a");
    copying_again_mends("config.json", "fathom chat m -p a");
}

TEST(configuration_of_an_unknown_architecture) {
    if (!fixture_make() || !copy("run/model", "m")) return;
    if (!shell_ok("sed -i 's/\"model_type\": *\"[a-z0-9_]*\"/\"model_type\": \"unheard_of\"/' "
                  "m/config.json"))
        return;
    fails_and_keeps(F_MODEL_UNKNOWN, "m", "fathom chat m -p a");
    CHECK(says("fathom chat m -p a", "deepseek_v3"), "the families that are known");
    copying_again_mends("config.json", "fathom chat m -p a");
}

/* -- tokenizers -- */

TEST(tokenizer_cut_short) {
    if (!fixture_make() || !copy("run/model", "m") || !cut("m/tokenizer.json", 5000)) return;
    fails_and_keeps(F_TOKENIZER, "m", "fathom chat m -p a");
    CHECK(says("fathom chat m -p a", "m/tokenizer.json:"), "file and line are not named");
    copying_again_mends("tokenizer.json", "fathom chat m -p a");
}

TEST(tokenizer_of_an_unknown_type) {
    if (!fixture_make() || !copy("run/model", "m")) return;
    if (!replace("m/tokenizer.json", "\"BPE\"", "\"XYZ\"")) return;
    fails_and_keeps(F_TOKENIZER_UNSUPPORTED, "m", "fathom chat m -p a");
    copying_again_mends("tokenizer.json", "fathom chat m -p a");
}

TEST(tokenizer_of_another_vocabulary) {
    if (!fixture_make() || !copy("run/model", "m") || !other_data()) return;
    CHECK(shell_ok("cp other/tokenizer.json m/tokenizer.json"), "copy");
    fails_and_keeps(F_TOKENIZER, "m", "fathom chat m -p a");
    CHECK(says("fathom chat m -p a", "700") && says("fathom chat m -p a", "512"), "both sizes");
    copying_again_mends("tokenizer.json", "fathom chat m -p a");
}

TEST(tokenizer_that_is_another_file) {
    if (!fixture_make() || !copy("data", "odd-words")) return;
    fails_and_keeps(F_TOKENIZER, "odd-words",
                    "fathom data tokenize odd-words --tokenizer run/plan.json");
    fails_and_keeps(F_MISSING, "odd-words", "fathom tokenizer encode --tokenizer nowhere texts");
    CHECK(shell_ok("fathom data tokenize odd-words --tokenizer run/model/tokenizer.json"),
          "the fix");
}

TEST(evaluation_on_data_of_another_tokenizer) {
    if (!fixture_make() || !other_data()) return;
    fails_and_keeps(F_TOKENIZER, "run", "fathom eval run --data other");
    CHECK(says("fathom eval run --data other", "700"), "both sizes");
    CHECK(shell_ok("fathom eval run"), "the fix: the data it was trained with");
}

/* -- datasets -- */

TEST(shard_with_a_flipped_byte) {
    if (!fixture_make() || !copy("data", "broken")) return;
    if (!flip("broken/train-00000.shard", 20000)) return;
    char *whole = sum_of("data");
    fails_and_keeps(F_DAMAGE, "broken", "fathom data verify broken");
    fails_and_keeps(F_SHARD, "broken", "fathom train broken --run unborn " FEW);
    CHECK(says("fathom train broken --run unborn " FEW, "fathom data verify broken"), "its fix");
    CHECK(says("fathom data verify broken", "train-00000.shard"), "the shard is not named");
    CHECK(fix_mends("fathom data verify broken"), "the fix of data verify");
    CHECK(shell_ok("fathom train broken --run unborn " FEW), "training after the repair");
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
    CHECK(fix_mends("fathom data verify odd-broken"), "the fix of data verify");
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
    CHECK(fix_mends("fathom train broken --run born " FEW), "the fix of train");
    CHECK(shell_ok("fathom data verify broken"), "verify after the fix");
}

TEST(manifest_of_data_cut_short) {
    if (!fixture_make() || !copy("data", "broken") || !cut("broken/data.json", 900)) return;
    fails_and_keeps(F_JSON, "broken", "fathom data verify broken");
    fails_and_keeps(F_JSON, "broken", "fathom train broken --run unborn " FEW);
    fails_and_keeps(F_JSON, "broken", "fathom data tokenize broken");
    if (!shell_ok("rm -rf broken-again")) return;
    CHECK(fix_works("fathom data tokenize broken"), "the fix");
    CHECK(
        shell_ok("fathom data tokenize broken-again --vocab-size 512 && fathom train broken-again "
                 "--run again " FEW),
        "the dataset made again");
    CHECK(lines_of("broken-again/corpus.jsonl") == lines_of("data/corpus.jsonl"), "documents");
}

TEST(import_of_bytes_that_are_not_utf8) {
    if (!fixture_make()) return;
    CHECK(shell_ok("printf 'good line\\nbad caf\\351 line\\n' > latin.txt"), "printf");
    fails_and_keeps(F_NOT_UTF8, "data", "fathom data import latin.txt -o imported");
    CHECK(says("fathom data import latin.txt -o imported", "line 2, byte 8"), "line and byte");
    CHECK(says("fathom data import latin.txt -o imported", "--encoding latin1"), "fix");
    CHECK(!path_exists("imported/data.json"), "half a dataset was left");
    CHECK(flags_mend("fathom data import latin.txt -o imported", ""), "the fix");
    CHECK(shell_ok("printf 'caf\\351 \\223word\\224\\n' > windows.txt"), "printf");
    fails_and_keeps(F_NOT_UTF8, "data", "fathom data import windows.txt -o imported3");
    CHECK(says("fathom data import windows.txt -o imported3", "iconv -f WINDOWS-1252"), "fix");
    CHECK(shell_ok("iconv -f WINDOWS-1252 -t UTF-8 windows.txt > utf8.txt && fathom data import "
                   "utf8.txt -o imported3"),
          "the fix does not work");
}

TEST(import_of_records_without_text) {
    if (!fixture_make()) return;
    CHECK(shell_ok("printf '{\"text\":\"a b\"}\\n{\"body\":\"x\"}\\n' > keys.jsonl"), "printf");
    fails_and_keeps(F_RECORD, "data", "fathom data import keys.jsonl -o imported2");
    CHECK(says("fathom data import keys.jsonl -o imported2", "line 2"), "the line");
    CHECK(says("fathom data import keys.jsonl -o imported2", "body"), "the key that is there");
    CHECK(!path_exists("imported2/data.json"), "half a dataset was left");
    CHECK(flags_mend("fathom data import keys.jsonl -o imported2", ""), "the fix for some lines");
    CHECK(lines_of("imported2/rejected.jsonl") == 1, "the line that was left out");
    CHECK(shell_ok("printf '{\"body\":\"a b\"}\\n{\"body\":\"x\"}\\n' > body.jsonl"), "printf");
    fails_and_keeps(F_RECORD, "data", "fathom data import body.jsonl -o imported4");
    CHECK(flags_mend("fathom data import body.jsonl -o imported4", ""), "the fix for all lines");
}

TEST(vocabulary_of_an_impossible_size) {
    if (!fixture_make()) return;
    fails_and_keeps(F_BAD_VALUE, "data", "fathom data tokenize data --vocab-size 10");
    fails_and_keeps(F_BAD_VALUE, "data", "fathom data tokenize data --vocab-size 2000000000");
    if (!copy("data", "sized")) return; /* the fix makes the vocabulary that it names */
    CHECK(fix_works("fathom data tokenize sized --vocab-size 10"), "the fix");
    CHECK(shell_ok("fathom data verify sized"), "verify after the fix");
}

TEST(import_of_nothing) {
    if (!fixture_make() || !shell_ok("mkdir -p hollow && printf 'a\\0b' > zeros.bin")) return;
    fails_and_keeps(F_NO_TEXT, "data", "fathom data import hollow -o from-hollow");
    fails_and_keeps(F_MISSING, "data", "fathom data import nowhere -o from-hollow");
    fails_and_keeps(F_NOT_UTF8, "data", "fathom data import zeros.bin -o from-hollow");
    CHECK(!path_exists("from-hollow/data.json"), "half a dataset was left");
    CHECK(shell_ok("cp texts/page-000.txt hollow && fathom data import hollow -o from-hollow"),
          "the fix: files with text");
}

TEST(text_too_short_to_train_on) {
    if (!fixture_make() || !shell_ok("head -c 60 texts/page-000.txt > short.txt")) return;
    static const char command[] =
        "fathom train --input short.txt --run shorter --preset tiny --seq-len 64 "
        "--batch-tokens 64 --max-steps 1";
    fails_and_keeps(F_NO_TEXT, "data", command);
    CHECK(says(command, "at least 65"), "how much is needed");
    CHECK(shell_ok("cat texts/*.txt > short.txt && %s", command), "the fix: more text");
}

TEST(output_where_something_else_is) {
    if (!fixture_make()) return;
    fails_and_keeps(F_CANNOT_CREATE, "data", "fathom data import texts -o texts/page-000.txt");
    fails_and_keeps(F_CANNOT_CREATE, "run", "fathom train data --run texts/page-000.txt " FEW);
    fails_and_keeps(F_USAGE, "data", "fathom train data --run data " FEW);
    CHECK(flags_mend("fathom train data " FEW, "--run data"), "the fix");
    CHECK(shell_ok("test -d runs/data && fathom data verify data"), "the run's own folder");
}

/* -- no network, no home -- */

TEST(packages_without_network_or_home) {
    if (!fixture_make()) return;
    static const char homeless[] = "env -u HOME -u XDG_CACHE_HOME -u XDG_CONFIG_HOME ";
    fails_and_keeps(F_MISSING, "data", text("%sfathom data get --offline -o fetched", homeless));
    CHECK(says(text("%sfathom data get --offline -o fetched", homeless), "set HOME"), "fix");
    /* With HOME as the fix says, it is the network that is missing. */
    fails_and_keeps(F_UNAVAILABLE, "data",
                    text("%sHOME=\"$PWD\" fathom data get --offline -o fetched", homeless));
    CHECK(flags_mend("fathom data get --offline -o fetched --input texts", ""), "the fix");
    CHECK(shell_ok("%sfathom data tokenize fetched --vocab-size 300", homeless), "no home needed");
}

/* -- the command line -- */

TEST(option_unknown) {
    if (!fixture_make()) return;
    fails_and_keeps(F_UNKNOWN_OPTION, "run", "fathom train run --max-stepz 3");
    CHECK(says("fathom train run --max-stepz 3", "--max-steps?"), "the nearest name");
    CHECK(says("fathom train run --max-stepz 3", "fix:   --max-steps;"), "the fix");
    CHECK(copy("run", "steps") && shell_ok("fathom train steps --max-steps 3"), "the fix");
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
    CHECK(says("fathom --config bad.ini train run", "max-steps = 0, for example"), "a value");
    CHECK(shell_ok("sed -i 's/many/0/' bad.ini && fathom --config bad.ini train run"), "the value");
}

TEST(value_that_is_not_accepted) {
    static const char *const flags[] = {"--precision fp8",    "--optimizer sgd",
                                        "--schedule cosinus", "--size f-2m",
                                        "--beta1 2",          "--threads 9999",
                                        "--progress loud",    "--set train.precision=fp8",
                                        "--batch-tokens 500", "--micro-batch 4000"};
    static const char command[] = "fathom train data -n --run unborn2 " FEW;
    if (!fixture_make()) return;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        ending e = shell("%s %s", command, flags[i]);
        bool config = strstr(e.err, "F0015") != NULL; /* seen only beside the data */
        CHECK(told(&e, config ? F_CONFIG : F_BAD_VALUE), "%s", flags[i]);
        ending_clear(&e);
        CHECK(flags_mend(command, flags[i]), "the fix of %s", flags[i]);
    }
}

TEST(environment_with_a_bad_value) {
    if (!fixture_make()) return;
    static const char command[] = "fathom train data -n --run unborn3 " FEW;
    const char *bad = text("FATHOM_TRAIN_PRECISION=fp8 %s", command);
    fails_and_keeps(F_CONFIG, "data", bad);
    CHECK(says(text("FATHOM_TRAIN_PRECISION=fp8 %s", command), "FATHOM_TRAIN_PRECISION=f32"),
          "fix");
    CHECK(shell_ok("FATHOM_TRAIN_PRECISION=f32 %s", command), "the fix does not work");
    CHECK(says("FATHOM_TRAIN_MAX_STEPZ=3 fathom train run", "did you mean"), "a name misspelt");
}

TEST(preset_or_section_unknown) {
    if (!fixture_make()) return;
    fails_and_keeps(F_BAD_VALUE, "run", "fathom train data --preset smal");
    CHECK(fix_works("fathom train data --preset smal"), "the fix");
    fails_and_keeps(F_BAD_VALUE, "run", "fathom config show trian");
    CHECK(fix_works("fathom config show trian"), "the fix");
    fails_and_keeps(F_BAD_VALUE, "run", "fathom runs plot run --metric los");
    CHECK(says("fathom runs plot run --metric los", "\"loss\""), "the nearest");
    fails_and_keeps(F_BAD_VALUE, "run", "fathom runs export run --to xml");
    CHECK(flags_mend("fathom runs export run", "--to xml"), "the fix");
}

/* -- completing -- */

TEST(prompt_longer_than_the_context) {
    if (!fixture_make()) return;
    fails_and_keeps(F_CONTEXT_FULL, "run", "fathom chat run -p \"$(cat texts/page-00*.txt)\"");
    CHECK(shell_ok("fathom chat run -p \"$(head -c 200 texts/page-000.txt)\" --max-tokens 8"),
          "the fix: a shorter prompt");
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
    CHECK(shell_ok("fathom runs ls > listed"), "the fix: somewhere with room");
}

TEST(reader_that_goes_away) {
    if (!fixture_make() || !copy("run", "piped")) return;
    /* Nobody reads the messages any more: the training goes on. */
    CHECK(shell_ok("fathom train piped --max-steps 14 2>&1 | head -n 1"), "head");
    CHECK(shell_ok("test -s piped/checkpoints/step-14/MANIFEST"), "the training ended early");
    ending e = shell("{ fathom config keys; echo $? >code; } | true; cat code");
    CHECK(strcmp(e.out, "0\n") == 0 || strcmp(e.out, "74\n") == 0, "%s", e.out);
    CHECK(e.err[0] == '\0', "a complaint that nobody asked for: %s", e.err);
    ending_clear(&e);
    e = shell("fathom runs ls >&-");
    CHECK(told(&e, F_IO), "a closed standard output");
    ending_clear(&e);
    /* With standard error closed, no file may take its place and collect the messages. */
    CHECK(shell_ok("fathom train piped --max-steps 16 2>&-"), "a closed standard error");
    CHECK(shell_ok("fathom eval piped && test ! -s piped/lock"), "messages in a file");
}
