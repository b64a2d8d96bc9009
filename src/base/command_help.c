/* command_help.c - help texts, all of them printed from the tables; and `fathom help`. */
#include "base/command_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *const color_choices[] = {"auto", "always", "never", NULL};
static const char *const progress_choices[] = {"auto", "bar", "plain", "json", "none", NULL};
static const char *const log_choices[] = {"text", "json", NULL};

#define GLOBAL(type, field) type, offsetof(global_settings, field)
static const option global_rows[] = {
    {"", "help", GLOBAL(OPTION_BOOL, help), NULL, "Show this help.", .letter = 'h',
     .flags = OPTION_FLAG_ONLY},
    {"", "version", GLOBAL(OPTION_BOOL, version), NULL, "Show the version and the CPU path in use.",
     .flags = OPTION_FLAG_ONLY},
    {"", "json", GLOBAL(OPTION_BOOL, json), "false", "Print one JSON object on standard output.",
     .flags = OPTION_FLAG_ONLY},
    {"", "dry-run", GLOBAL(OPTION_BOOL, dry_run), "false",
     "Show the plan (memory, disk, time) and do nothing.", .letter = 'n',
     .flags = OPTION_FLAG_ONLY},
    {"", "yes", GLOBAL(OPTION_BOOL, yes), "false", "Answer every question with yes.", .letter = 'y',
     .flags = OPTION_FLAG_ONLY},
    {"", "no-input", GLOBAL(OPTION_BOOL, no_input), "false",
     "Never ask; fail where a question would be needed.", .flags = OPTION_FLAG_ONLY},
    {"", "quiet", GLOBAL(OPTION_BOOL, quiet), "false", "No progress, only results and errors.",
     .letter = 'q', .flags = OPTION_FLAG_ONLY},
    {"", "verbose", GLOBAL(OPTION_BOOL, verbose), "false", "Say more on standard error.",
     .letter = 'v', .flags = OPTION_FLAG_ONLY},
    {"", "output", GLOBAL(OPTION_STRING, output), NULL,
     "Where the result goes; - is standard output.", .letter = 'o', .flags = OPTION_FLAG_ONLY,
     .value = "FILE|FOLDER|-"},
    {"", "folder", GLOBAL(OPTION_STRING, folder), NULL, "Change into this folder first.",
     .letter = 'C', .flags = OPTION_FLAG_ONLY, .value = "FOLDER"},
    {"", "config", GLOBAL(OPTION_STRING, config), NULL,
     "Read this file of settings instead of ./fathom.ini.", .flags = OPTION_FLAG_ONLY,
     .value = "FILE"},
    {"", "set", GLOBAL(OPTION_STRING, set), NULL,
     "Set section.key=value; may be given several times.", .flags = OPTION_FLAG_ONLY,
     .value = "KEY=VALUE"},
    {"", "seed", GLOBAL(OPTION_SEED, seed), "0", "Seed of everything random."},
    {"", "threads", GLOBAL(OPTION_INT, threads), "0",
     "Threads to compute with; 0 = every CPU this process may use.", 0, 256},
    {"", "cpu", GLOBAL(OPTION_STRING, cpu), NULL,
     "Force a lower CPU path (neon and neon-bf16 on arm64).",
     .value = "portable|avx2|avx512|avx512-bf16|amx|neon|neon-bf16"},
    {"", "color", GLOBAL(OPTION_CHOICE, color), "auto", "Colour and cursor movement.",
     .choices = color_choices},
    {"", "progress", GLOBAL(OPTION_CHOICE, progress), "auto",
     "How progress is shown on standard error.", .choices = progress_choices},
    {"", "log", GLOBAL(OPTION_CHOICE, log), "text", "Form of log lines on standard error.",
     .choices = log_choices},
};
const option_table global_options = {global_rows, sizeof global_rows / sizeof global_rows[0],
                                     sizeof(global_settings), NULL};

static void print_indented(FILE *out, const char *lines) {
    while (lines != NULL && *lines != '\0') {
        size_t n = strcspn(lines, "\n");
        fprintf(out, "  %.*s\n", (int)n, lines);
        lines += n + (lines[n] == '\n');
    }
}

static void print_commands(FILE *out, const command *const *list) {
    for (; *list != NULL; list++)
        if (!(*list)->hidden) fprintf(out, "  %-12s%s\n", (*list)->name, (*list)->summary);
}

void help_program(FILE *out, const command_program *program) {
    fprintf(out, "examples\n");
    print_indented(out, program->examples);
    fprintf(out, "\n%s %s: %s\n\nusage: %s COMMAND [options] [arguments]\n\ncommands\n",
            program->name, program->version, program->about, program->name);
    print_commands(out, program->commands);
    print_commands(out, built_in_commands);
    fprintf(out, "\noptions of every command\n");
    options_help(out, &global_options);
    fprintf(out, "\n\"%s COMMAND --help\" explains a command, \"%s help F0012\" an error.\n",
            program->name, program->name);
}

void help_command(FILE *out, const command_program *program, const command *c, const char *name) {
    fprintf(out, "examples\n");
    print_indented(out, c->examples);
    fprintf(out, "\n%s %s: %s\n", program->name, name, c->summary);
    if (c->run != NULL)
        fprintf(out, "\nusage: %s %s [options]%s%s\n", program->name, name,
                c->usage != NULL ? " " : "", c->usage != NULL ? c->usage : "");
    if (c->children != NULL) {
        fprintf(out, "\nusage: %s %s COMMAND [options] [arguments]\n\ncommands\n", program->name,
                name);
        print_commands(out, c->children);
    }
    if (c->options != NULL) fprintf(out, "\noptions\n");
    for (int i = 0; c->options != NULL && c->options[i] != NULL; i++)
        options_help(out, c->options[i]);
    if (c->notes != NULL)
        fprintf(out, "\n%s%s", c->notes, c->notes[strlen(c->notes) - 1] == '\n' ? "" : "\n");
    fprintf(out, "\noptions of every command: %s --help\n", program->name);
}

/* -- fathom help -- */

const char *exit_meaning(int code) {
    switch (code) {
    case 0: return "done";
    case 1: return "it ran, and the answer is no";
    case 64: return "the command line is wrong";
    case 65: return "the data is wrong";
    case 66: return "an input is missing";
    case 69: return "something needed is not available";
    case 70: return "a mistake of ours";
    case 71: return "no memory, or the CPU cannot do it";
    case 73: return "something cannot be created";
    case 74: return "reading or writing failed";
    case 75: return "stopped; the same command goes on";
    case 77: return "permission is missing";
    case 78: return "the configuration is wrong";
    case 130: return "stopped by Ctrl-C";
    default: return "see the title";
    }
}

static status explain_error(command_context *c, const char *word) {
    const char *digits = word + (word[0] == 'F' || word[0] == 'f');
    int64_t number = 0;
    error_id id = parse_int64(digits, &number) && number > 0 && number < 10000
                      ? error_find((int)number)
                      : F_NONE;
    if (id == F_NONE)
        return FAIL(F_USAGE, text("no error has the number %s", word), "command line",
                    "numbers are printed in brackets after the word error",
                    "fathom help F0012, with the number of your message");
    int code = error_exit_code(id);
    say(c,
        "F%04d  %s\n\nexit code %d: %s.\n"
        "The message itself says what happened, where, why, and what to do about it.\n",
        (int)id, error_title(id), code, exit_meaning(code));
    TRY(result_set(c, "code", json_string(text("F%04d", (int)id))));
    TRY(result_set(c, "title", json_string(error_title(id))));
    return result_set(c, "exit_code", json_integer(code));
}

static bool is_error_number(const char *word) {
    if (word[0] == 'F' || word[0] == 'f') word++;
    return isdigit((unsigned char)word[0]);
}

static status help_run(command_context *c) {
    if (c->n_arguments == 0) {
        if (!c->json) help_program(stdout, c->program);
        return STATUS_OK;
    }
    if (is_error_number(c->arguments[0])) return explain_error(c, c->arguments[0]);
    const command *const *list = c->program->commands;
    const command *found = NULL;
    const char *name = "";
    for (int i = 0; i < c->n_arguments; i++) {
        const command *next = list != NULL ? command_find(list, c->arguments[i]) : NULL;
        if (next == NULL && i == 0) next = command_find(built_in_commands, c->arguments[0]);
        if (next == NULL)
            return command_unknown(list, i == 0, c->arguments[i],
                                   "fathom --help lists the commands");
        found = next;
        list = found->children;
        name = i == 0 ? found->name : text("%s %s", name, found->name);
    }
    if (!c->json) help_command(stdout, c->program, found, name);
    TRY(result_set(c, "summary", json_string(found->summary)));
    return result_set(c, "examples", json_string(found->examples));
}

static const command explain_command = {
    .name = "help",
    .summary = "explain a command or an error number",
    .usage = "[COMMAND... | F0123]",
    .examples = "fathom help train\nfathom help F0012",
    .max_arguments = 3,
    .run = help_run,
};

const command *const built_in_commands[] = {&explain_command, &man_command, &completion_command,
                                            &complete_command, NULL};
