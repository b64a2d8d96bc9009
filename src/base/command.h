/* command.h - what every `fathom NAME ...` has in common, so that a command is its work and a table.
 *
 *     // greet_command.c
 *     typedef struct greet_settings { const char *word; int times; } greet_settings;
 *     static const option greet_rows[] = {
 *         {"greet", "word", OPTION_STRING, offsetof(greet_settings, word), "hello", "What to say."},
 *         {"greet", "times", OPTION_INT, offsetof(greet_settings, times), "1", "How often.", 1, 9},
 *     };
 *     static const option_table greet_options = {greet_rows, 2, sizeof(greet_settings), NULL};
 *     static const option_table *const greet_tables[] = {&greet_options, NULL};
 *
 *     static status greet_run(command_context *c) {
 *         const greet_settings *s = c->settings[0];   // one block per table, in its order
 *         if (c->dry_run) { say(c, "would greet %s %d times\n", c->arguments[0], s->times); return STATUS_OK; }
 *         for (int i = 0; i < s->times; i++) say(c, "%s %s\n", s->word, c->arguments[0]);
 *         TRY(result_set(c, "greeted", json_string(c->arguments[0])));
 *         return command_next(c, "fathom greet --times 2 %s", c->arguments[0]);
 *     }
 *     const command greet_command = {
 *         .name = "greet", .summary = "say hello", .usage = "NAME",
 *         .examples = "fathom greet Ada\nfathom greet --times 3 Ada",
 *         .min_arguments = 1, .max_arguments = 1, .options = greet_tables, .run = greet_run,
 *     };
 *
 * and one line in main.c. What the frame does: global flags, settings from all sources, --help (from
 * the struct; it opens with the examples), -n, the pool of threads (if .threads), Ctrl-C
 * (base/clock.h), the four-part error on stderr, the exit code of errors.def, and with --json one
 * object on stdout: {schema, command, ok, result, warnings[], next[]}, plus error{code, what, where,
 * why, fix} when ok is false. A failing command's result is printed too if it holds something.
 *
 * stdout is for results: use say(). stderr is for progress (base/progress.h) and log (base/log.h).
 * A command never calls exit, reads getenv or parses arguments. STATUS_NO with a report (a gate that
 * says "no") ends with the row's exit code 1.
 */
#ifndef FATHOM_BASE_COMMAND_H
#define FATHOM_BASE_COMMAND_H

#include "base/options.h"

typedef struct command command;
typedef struct command_context command_context;
typedef status command_fn(command_context *c);

struct command {
    const char *name;    /* "train" */
    const char *summary; /* one line without a full stop, for `fathom --help` */
    const char
        *usage; /* arguments, e.g. "MODEL [FILE...]"; words as in option.value; NULL = none */
    const char *examples; /* one command a line */
    const char *notes;    /* text after the options: files in and out, limits; NULL = none */
    int min_arguments, max_arguments;   /* -1 = any number */
    const option_table *const *options; /* NULL-terminated; NULL = none */
    const command *const *children;     /* subcommands, NULL-terminated; NULL = none */
    command_fn *run;                    /* NULL = only subcommands */
    bool threads;                       /* start the pool before run, stop it after */
    bool hidden;                        /* works, but `fathom --help` does not show it */
    bool no_settings;                   /* settings files and environment are not read */
};

/* Names of a kind that only the program knows ("SIZE"): the i-th one, false behind the last. */
typedef struct command_words {
    const char *kind;
    bool (*at)(int i, const char **word, const char **about);
} command_words;

typedef struct command_program {
    const char *name, *version, *about;
    const char *examples;           /* what `fathom --help` opens with, one command a line */
    const command *const *commands; /* NULL-terminated */
    const command_words *words;     /* for Tab, ended by a NULL kind; NULL = none */
    const char *(*cpu_text)(void);  /* for --version; may be NULL */
    const char *(*tier_name)(void); /* of the kernels that run; may be NULL */
    /* Called before a command with .threads, and before cpu_text. cpu = --cpu or FATHOM_CPU; NULL
     * = the best. */
    status (*init)(const char *cpu);
} command_program;

struct command_context {
    const command_program *program;
    const command *command;
    const char *name; /* "data get" */
    int n_arguments;
    const char *const *arguments;
    void *const *settings; /* one block per option table of the command */
    option_set *options;   /* origins, all tables */
    json_t *result;        /* an object; command adds to it */
    json_t *warnings, *next;

    /* global flags */
    bool json, dry_run, yes, no_input, quiet, verbose, color;
    const char *output; /* -o; NULL if not given, "-" = stdout */
    uint64_t seed;      /* --seed */
    bool seed_given;    /* by flag, environment or file */
    int threads;        /* --threads; 0 = all */
};

/* All option tables of the program's commands and the global one, each once. Returns how many; at
 * most `room` are stored. */
int command_tables(const command_program *program, const option_table **tables, int room);

/* Runs one call of the program and returns its exit code. */
int command_main(const command_program *program, int argc, char **argv);

/* Human result on stdout; nothing under --json. */
void say(const command_context *c, const char *format, ...) PRINTF_LIKE(2, 3);
/* result[key] = value (the reference is taken); STATUS_MEMORY if value is NULL or does not fit. */
status result_set(command_context *c, const char *key, json_t *value) MUST_CHECK;
/* On stderr "warning: ...", under --json into warnings[]. */
status command_warn(command_context *c, const char *format, ...) PRINTF_LIKE(2, 3) MUST_CHECK;
/* A command to go on with; printed at the end as "next: ...", under --json in next[]. */
status command_next(command_context *c, const char *format, ...) PRINTF_LIKE(2, 3) MUST_CHECK;
/* Asks a yes-or-no question. -y answers yes. F_USAGE with --no-input or without a terminal (the fix
 * names -y); *yes false if the answer was no. */
status command_confirm(const command_context *c, const char *question, bool *yes) MUST_CHECK;

/* Settings of a table in this call, whether or not it is the command's own. */
#define SETTINGS(c, table) option_set_settings((c)->options, (table))

#endif
