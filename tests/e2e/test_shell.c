/* test_shell.c - what the program gives to man and to shells: manual pages that formatters accept
 * without a word, and completion that offers what the command line accepts.
 *
 * Pages are read by groff and by mandoc, scripts by bash, zsh and fish; what is not installed is
 * skipped. bash and fish are asked for real completions; zsh without its completion system, of which
 * three functions are replaced by ones that print.
 */
#include "whole_program.h"

#include "base/file.h"
#include "base/memory.h"
#include "test.h"

#include <unistd.h>

static bool installed(const char *tool) {
    ending e = shell("command -v %s", tool);
    bool yes = e.code == 0;
    ending_clear(&e);
    return yes;
}

/* The folder man1 with all pages. Made once. */
static bool pages_make(void) {
    static bool made;
    if (!made) made = work_enter() && shell_ok("fathom man -o man1");
    return made;
}

/* No page makes `command` (a format with one %s, the page) print anything. */
static void pages_are_silent(const char *command) {
    char **names;
    int n;
    REQUIRE_OK(folder_list("man1", &names, &n));
    CHECK(n >= 40, "only %d pages", n);
    for (int i = 0; i < n; i++) {
        ending e = shell(command, names[i]);
        CHECK(e.code == 0 && e.out[0] == '\0' && e.err[0] == '\0', "%s: %d\n%s%s", names[i], e.code,
              e.out, e.err);
        ending_clear(&e);
    }
    folder_list_free(names, n);
}

TEST(pages_pass_groff) {
    if (!pages_make()) return;
    if (!installed("groff")) SKIP("groff is not installed");
    pages_are_silent("groff -man -ww -Tutf8 man1/%s 2>&1 >formatted");
}

TEST(pages_pass_mandoc) {
    if (!pages_make()) return;
    if (!installed("mandoc")) SKIP("mandoc is not installed");
    /* The same program writes the same pages, so they carry no date. */
    pages_are_silent("mandoc -T lint -W warning man1/%s | { grep -v 'missing date' || true; }");
}

TEST(every_command_has_a_page_with_its_options) {
    if (!pages_make()) return;
    CHECK(shell_ok("grep -q 'max..steps' man1/fathom-train.1"), "an option");
    CHECK(shell_ok("grep -q FATHOM_TRAIN_MAX_STEPS man1/fathom-train.1"), "its variable");
    CHECK(shell_ok("test -s man1/fathom.1 && test -s man1/fathom-data-import.1"), "pages");
    CHECK(!path_exists("man1/fathom-complete.1"), "a hidden command has a page");
    CHECK(shell_ok("! grep -l 'e+[0-9]' man1/*"), "a number that nobody would type");
    CHECK(shell_ok("fathom man data import | cmp - man1/fathom-data-import.1"), "one page alone");
    CHECK(shell_ok("fathom man -o again && diff -r man1 again"), "pages differ from run to run");
    ending e = shell("fathom man trian");
    CHECK(told(&e, F_UNKNOWN_COMMAND), "a page of no command");
    ending_clear(&e);
}

TEST(broken_settings_do_not_hide_the_manual) {
    if (!pages_make()) return;
    CHECK(shell_ok("mkdir -p spoilt && echo 'nonsense = 1' > spoilt/fathom.ini"), "file");
    CHECK(shell_ok("cd spoilt && fathom man train > page && fathom complete -- tr > words"), "man");
}

TEST(installing_puts_both_where_they_are_found) {
    static const char *const files[] = {"man/man1/fathom-train.1", "zsh/site-functions/_fathom",
                                        "bash-completion/completions/fathom",
                                        "fish/vendor_completions.d/fathom.fish"};
    if (!work_enter()) return;
    const char *docs = getenv("DOCS_TO_TEST");
    REQUIRE(docs != NULL, "DOCS_TO_TEST must name the folder of documents");
    if (!shell_ok("MESON_INSTALL_DESTDIR_PREFIX=there '%s/../tools/install_pages.sh' bin/fathom",
                  docs))
        return;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        CHECK(shell_ok("test -s there/share/%s", files[i]), "%s", files[i]);
}

/* -- what is offered -- */

static const struct {
    const char *line, *yes, *no; /* words up to the one being typed; a candidate; none */
} cases[] = {
    {"tra", "train", "eval"},
    {"", "doctor", "complete"},
    {"data ", "import", "train"},
    {"help data im", "import", "train"},
    {"train --sched", "--schedule-steps", "--max-steps"},
    {"train --schedule ", "cosine", "--schedule"},
    {"train --schedule=cos", "--schedule=cosine", "--schedule=wsd"},
    {"train --max_steps 3 --optimi", "--optimizer", "--seed"},
    {"train --size f-1", "f-15m", "f-5m"},
    {"bench train --size f-5m,f-1", "f-5m,f-15m", "f-15m"},
    {"config init --from sha", "shakespeare-char", "f-1m"},
    {"config presets fi", "first", "train"},
    {"config show tr", "train", "model"},
    {"runs plot --metric val_b", "val_bpb", "val_loss"},
    {"runs export --to ", "csv", "runs/first"},
    {"runs show runs/f", "runs/first", "runs/notes"},
    {"runs show runs/first r", NULL, "runs/first"},
    {"train runs/", "runs/first", "data/mine"},
    {"train --data ", "data/mine", "runs/first"},
    {"chat ", "runs/first", "data/mine"},
    {"--log=js", "--log=json", "--log=text"},
    {"--set train.sched", "train.schedule=", "train.max-steps="},
    {"--set train.schedule=co", "train.schedule=cosine", "train.schedule=wsd"},
    {"-- tra", "train", NULL},
    {"train -- --sch", NULL, "--schedule"},
    {"data tokenize --tokenizer ", "/files", NULL},
    {"-C ", "/folders", "train"},
    {"train els", "/folders", NULL},
    {"doctor ", "/words", "train"},
};

/* Runs and datasets with the files that mark them. */
static bool folders_make(void) {
    return work_enter() &&
           shell_ok("mkdir -p runs/first runs/second runs/notes data/mine elsewhere && "
                    "touch runs/first/config.ini runs/second/config.ini data/mine/data.json");
}

/* The words of a line, each in quotes: the last may be empty. */
static const char *quoted(const char *line) {
    char out[512] = "";
    size_t used = 0;
    for (const char *at = line;; at++) {
        size_t n = strcspn(at, " ");
        used += (size_t)snprintf(out + used, sizeof out - used, " '%.*s'", (int)n, at);
        at += n;
        if (*at == '\0') return text("%s", out);
    }
}

/* True if a line of the answer is `word`, up to a tab. */
static bool offers(const char *answer, const char *word) {
    size_t n = strlen(word);
    for (const char *at = answer; at != NULL && *at != '\0';) {
        if (strncmp(at, word, n) == 0 && (at[n] == '\0' || at[n] == '\n' || at[n] == '\t'))
            return true;
        at = strchr(at, '\n');
        at = at != NULL ? at + 1 : NULL;
    }
    return false;
}

TEST(tab_offers_what_the_command_line_accepts) {
    if (!folders_make()) return;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ending e = shell("fathom complete -- %s", quoted(cases[i].line));
        const char *yes = cases[i].yes, *no = cases[i].no;
        CHECK(e.code == 0, "%s: %d %s", cases[i].line, e.code, e.err);
        CHECK(yes == NULL || offers(e.out, yes + (yes[0] == '/')), "\"%s\" without %s:\n%s",
              cases[i].line, yes, e.out);
        CHECK(no == NULL || !offers(e.out, no), "\"%s\" with %s:\n%s", cases[i].line, no, e.out);
        ending_clear(&e);
    }
}

/* A line with nothing to complete and one cut anywhere must not fail, whatever is there. */
TEST(tab_never_fails) {
    if (!folders_make()) return;
    static const char *const lines[] = {"train --",
                                        "-",
                                        "--=",
                                        "train --max-steps",
                                        "-o",
                                        "--set",
                                        "--set =",
                                        "nonsense words",
                                        "train --nonsense=3 ",
                                        "help help help help",
                                        "bench train --size ,",
                                        "data data "};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        CHECK(shell_ok("fathom complete -- %s", quoted(lines[i])), "%s", lines[i]);
    CHECK(shell_ok("fathom complete --"), "no word at all");
}

/* -- the shells -- */

#define ANSWER_OF_BASH                                                                             \
    "complete -p fathom >/dev/null\n"                                                              \
    "ask() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _fathom; printf '%s\\n' "                \
    "\"${COMPREPLY[@]}\"; }\n"

TEST(bash_completes) {
    if (!folders_make()) return;
    if (!installed("bash")) SKIP("bash is not installed");
    REQUIRE(shell_ok("fathom completion bash > fathom.bash && bash -n fathom.bash"), "syntax");
    REQUIRE_OK(file_write("ask.bash", ". ./fathom.bash\n" ANSWER_OF_BASH "ask \"$@\"\n",
                          strlen(". ./fathom.bash\n" ANSWER_OF_BASH "ask \"$@\"\n")));
    static const struct {
        const char *words, *yes, *no; /* as bash cuts them, at "=" too */
    } asked[] = {
        {"fathom tra", "train", "eval"},
        {"fathom --log = js", "json", "--log=json"},
        {"fathom --log =", "json", "="},
        {"fathom train --schedule = cos", "cosine", "wsd"},
        {"fathom --set train.sched", "train.schedule=", "train.max-steps="},
        {"fathom --set train.schedule = co", "cosine", "train.schedule=cosine"},
        {"fathom runs show runs/", "runs/first", "runs/notes"},
        {"fathom data tokenize --tokenizer fath", "fathom.bash", "fathom"},
        {"fathom data import els", "elsewhere", "data"},
        {"fathom -C els", "elsewhere", "fathom.bash"},
        {"fathom train els", "elsewhere", "train"},
        {"fathom bench train --size f-5m,f-1", "f-5m,f-15m", "f-15m"},
    };
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        ending e = shell("bash --norc ask.bash %s", asked[i].words);
        CHECK(e.code == 0 && offers(e.out, asked[i].yes) && !offers(e.out, asked[i].no),
              "%s: wanted %s, not %s\n%s%s", asked[i].words, asked[i].yes, asked[i].no, e.out,
              e.err);
        ending_clear(&e);
    }
}

TEST(zsh_completes) {
    if (!folders_make()) return;
    if (!installed("zsh")) SKIP("zsh is not installed");
    static const char ask[] =
        "compdef() { :; }\n"
        "_describe() { local -a list; list=(\"${(@P)2}\"); print -rl -- \"${(@)list%%:*}\"; }\n"
        "_files() { print -r -- files${1:+ }$1; }\n"
        "compset() { :; }\n"
        ". ./fathom.zsh\n"
        "words=(fathom \"$@\"); CURRENT=$#words; _fathom\n";
    REQUIRE(shell_ok("fathom completion zsh > fathom.zsh && zsh -n fathom.zsh"), "syntax");
    REQUIRE_OK(file_write("ask.zsh", ask, sizeof ask - 1));
    static const char *const asked[][2] = {{"tra", "train"},
                                           {"--log=js", "--log=json"},
                                           {"--set train.sched", "train.schedule="},
                                           {"runs show ''", "runs/first"},
                                           {"-C ''", "files -/"},
                                           {"train --input ''", "files"}};
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        ending e = shell("zsh -f ask.zsh %s", asked[i][0]);
        CHECK(e.code == 0 && offers(e.out, asked[i][1]), "%s without \"%s\":\n%s%s", asked[i][0],
              asked[i][1], e.out, e.err);
        ending_clear(&e);
    }
}

TEST(fish_completes) {
    if (!folders_make()) return;
    if (!installed("fish")) SKIP("fish is not installed");
    REQUIRE(shell_ok("fathom completion fish > fathom.fish && fish -n fathom.fish"), "syntax");
    static const char *const asked[][2] = {{"fathom tra", "train"},
                                           {"fathom --log=js", "--log=json"},
                                           {"fathom --set train.sched", "train.schedule="},
                                           {"fathom runs show runs/f", "runs/first"},
                                           {"fathom -C els", "elsewhere/"},
                                           {"fathom train --input fathom.fi", "fathom.fish"}};
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        ending e =
            shell("fish --no-config -c 'source fathom.fish; complete -C \"%s\"'", asked[i][0]);
        CHECK(e.code == 0 && offers(e.out, asked[i][1]), "%s without %s:\n%s%s", asked[i][0],
              asked[i][1], e.out, e.err);
        ending_clear(&e);
    }
}
