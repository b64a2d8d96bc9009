/* test_convert_failures.c - whatever goes wrong, nothing that looks like a model is left. */
#include "convert_fixture.h"
#include "test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
    const char *name;
    convert_form form;
} targets[] = {{"out", CONVERT_FATHOM}, {"out.gguf", CONVERT_GGUF}};

TEST(convert_failed_allocations) {
    REQUIRE_OK(fixture_begin());
    const char *a = in_folder("mem");
    convert_report r;
    REQUIRE_OK(make_folder(a, "deepseek_v3", DTYPE_BF16, 1));
    for (int k = 0; k < 2; k++) {
        const char *b = in_folder(targets[k].name);
        convert_options o = to(targets[k].form, CONVERT_KEEP);
        int64_t before = mem_live_blocks(), n = 1;
        bool done = false;
        for (; !done && n < 100000; n += test_long() || n < 60 ? 1 : 1 + n / 12) {
            mem_fail_at(n);
            status s = convert_model(a, b, &o, &r);
            bool failed = mem_failed();
            mem_fail_at(0);
            done = !failed;
            CHECK(failed == (s != STATUS_OK), "allocation %" PRId64 ": status %d", n, (int)s);
            CHECK(mem_live_blocks() == before, "allocation %" PRId64 ": %" PRId64 " blocks stay", n,
                  mem_live_blocks() - before);
            if (!failed) break;
            CHECK(nothing_at(b), "allocation %" PRId64 ": something is left", n);
        }
        CHECK(done && n > 50, "%" PRId64 " allocations", n);
    }
}

/* A file system that takes no more than `bytes` in one file. */
TEST(convert_short_writes) {
    REQUIRE_OK(fixture_begin());
    const char *a = in_folder("short");
    convert_report r;
    struct rlimit old, tight;
    REQUIRE_OK(make_folder(a, "llama", DTYPE_F32, 1));
    REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0, "limit");
    signal(SIGXFSZ, SIG_IGN);
    for (int k = 0; k < 2; k++)
        for (rlim_t limit = 1; limit < 60000; limit = limit * 5) {
            const char *b = in_folder(targets[k].name);
            convert_options o = to(targets[k].form, CONVERT_KEEP);
            tight = (struct rlimit){limit, old.rlim_max};
            setrlimit(RLIMIT_FSIZE, &tight);
            status s = convert_model(a, b, &o, &r);
            setrlimit(RLIMIT_FSIZE, &old);
            CHECK(s != STATUS_OK && nothing_at(b), "with room for %d bytes", (int)limit);
        }
    signal(SIGXFSZ, SIG_DFL);
}

TEST(convert_numbers_that_do_not_fit) {
    REQUIRE_OK(fixture_begin());
    static float huge[32] = {70000};
    const char *a = in_folder("huge"), *b = in_folder("huge-out");
    char path[PATH_SIZE];
    convert_report r;
    safetensors *f;
    static safetensors_item items[64];
    int n = 0;
    REQUIRE_OK(make_folder(a, "llama", DTYPE_F32, 1));
    REQUIRE_OK(safetensors_open(&f, a));
    for (int i = 0; i < safetensors_count(f); i++) {
        items[n].name = safetensors_at(f, i)->name;
        REQUIRE_OK(safetensors_find(f, items[n].name, &items[n].value));
        if (strcmp(items[n].name, "model.norm.weight") == 0)
            items[n].value = tensor_1d(huge, DTYPE_F32, 32);
        n++;
    }
    REQUIRE_OK(path_join(path, a, "model.safetensors"));
    REQUIRE_OK(safetensors_write(path, items, n, NULL, 0));
    safetensors_close(f);
    convert_options o = to(CONVERT_HF, QUANT_F16);
    CHECK(convert_model(a, b, &o, &r) != STATUS_OK && error_last()->id == F_CONVERT_VALUE,
          "70000 in F16");
    CHECK(strstr(error_last()->what, "model.norm.weight") != NULL, "%s", error_last()->what);
    CHECK(nothing_at(b), "something is left");
    o.type = QUANT_BF16;
    REQUIRE_OK(convert_model(a, b, &o, &r));
}

/* Killed at some moment: the name is free or whole, and the next conversion clears what is left. */
TEST(convert_killed) {
    REQUIRE_OK(fixture_begin());
    REQUIRE_OK(make_folder(in_folder("kill"), "deepseek_v3", DTYPE_F32, 1));
    int left = 0;
    for (int i = 0; i < 24; i++) {
        const char *a = in_folder("kill"), *b = in_folder(targets[i % 2].name);
        convert_options o = to(targets[i % 2].form, CONVERT_KEEP);
        convert_report r;
        o.no_logits = i % 4 < 2;
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) _exit(convert_model(a, b, &o, &r) == STATUS_OK ? 0 : 1);
        usleep((useconds_t)(500 + 1500 * i));
        kill(child, SIGKILL);
        int how;
        waitpid(child, &how, 0);
        bool finished = WIFEXITED(how) && WEXITSTATUS(how) == 0;
        left += path_exists(text("%s.part", b));
        if (path_exists(b)) {
            convert_options again = to(CONVERT_HF, CONVERT_KEEP);
            REQUIRE_OK(convert_model(b, in_folder("again"), &again, &r));
            REQUIRE_OK(folder_remove(in_folder("again")));
        } else {
            CHECK(!finished, "it ended well, and there is nothing");
            REQUIRE_OK(convert_model(a, b, &o, &r));
            CHECK(!path_exists(text("%s.part", b)), "the rest of the killed one stays");
        }
        if (targets[i % 2].form == CONVERT_GGUF)
            unlink(b);
        else
            REQUIRE_OK(folder_remove(b));
    }
    printf("     %d of 24 left a rest\n", left);
}

/* --force: the old model is there until the new one is whole. */
TEST(convert_replaces_only_with_a_whole_one) {
    REQUIRE_OK(fixture_begin());
    const char *a = in_folder("new"), *b = in_folder("old"), *c = in_folder("old-copy");
    convert_options o = to(CONVERT_HF, QUANT_F16);
    convert_report r;
    REQUIRE_OK(make_folder(a, "llama", DTYPE_F32, 1));
    REQUIRE_OK(make_folder(b, "qwen2", DTYPE_F32, 1));
    REQUIRE_OK(make_folder(c, "qwen2", DTYPE_F32, 1));
    o.force = true;
    mem_fail_at(200);
    CHECK(convert_model(a, b, &o, &r) != STATUS_OK, "it was to fail");
    mem_fail_at(0);
    CHECK(same_folders(b, c, NULL) && !path_exists(text("%s.part", b)), "the old one is whole");
    REQUIRE_OK(convert_model(a, b, &o, &r));
    CHECK(!same_folders(b, c, NULL) && !path_exists(text("%s.part", b)), "the new one is there");
}
