/* command.c - one call of the program, from argv to exit code.
 *
 * How. The first words that are not flags name the command; everything else is flags (before or
 * after it) and arguments. All option tables of the program go into one option_set, so a typing
 * error in any section of fathom.ini is found by every command; only the running command's tables
 * are active. Then: usage complaints (64), files and environment, resolution (78), the work, and
 * one closing report.
 */
#include "base/command.h"

#include "base/clock.h"
#include "base/command_internal.h"
#include "base/file.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TABLES_MOST    128
#define SCHEMA_VERSION 1

extern char **environ;

/* -- finding commands -- */

const command *command_find(const command *const *list, const char *name) {
    for (; list != NULL && *list != NULL; list++)
        if (strcmp((*list)->name, name) == 0) return *list;
    return NULL;
}

static int add_names(const command *const *list, const char **names, int n) {
    for (; list != NULL && *list != NULL && n < TABLES_MOST; list++)
        if (!(*list)->hidden) names[n++] = (*list)->name;
    return n;
}

status command_unknown(const command *const *list, bool first, const char *name, const char *fix) {
    const char *names[TABLES_MOST];
    int n = add_names(list, names, 0);
    if (first) n = add_names(built_in_commands, names, n);
    int near = word_nearest(name, names, n);
    const char *why =
        near >= 0 ? text("did you mean \"%s\"?", names[near]) : "no command has a similar name";
    if (first && option_find(&global_options, "", name) != NULL)
        why = text("did you mean --%s?", name);
    return FAIL(F_UNKNOWN_COMMAND, text("unknown command \"%s\"", name), "command line", why, fix);
}

static int add_tables(const command *c, const option_table **tables, int n, int room) {
    for (int i = 0; c->options != NULL && c->options[i] != NULL; i++) {
        int at = 0;
        while (at < n && tables[at] != c->options[i])
            at++;
        if (at == n && n < room) tables[n++] = c->options[i];
    }
    for (int i = 0; c->children != NULL && c->children[i] != NULL; i++)
        n = add_tables(c->children[i], tables, n, room);
    return n;
}

int command_tables(const command_program *program, const option_table **tables, int room) {
    int n = 0;
    if (room > 0) tables[n++] = &global_options;
    for (int i = 0; program->commands[i] != NULL; i++)
        n = add_tables(program->commands[i], tables, n, room);
    return n;
}

/* -- parsing -- */

typedef struct call {
    const command_program *program;
    const command *command; /* NULL until named */
    char name[64];
    const char **arguments;
    int n_arguments;
    option_set *options;
    void **settings;
} call;

static status activate(call *k) {
    for (int i = 0; k->command->options != NULL && k->command->options[i] != NULL; i++)
        TRY(option_set_add(k->options, k->command->options[i], true));
    return STATUS_OK;
}

static status take_word(call *k, const char *word) {
    if (k->command == NULL) {
        k->command = command_find(k->program->commands, word);
        if (k->command == NULL) k->command = command_find(built_in_commands, word);
        if (k->command == NULL)
            return command_unknown(k->program->commands, true, word,
                                   text("%s --help lists the commands", k->program->name));
        snprintf(k->name, sizeof k->name, "%s", word);
        return activate(k);
    }
    if (k->command->children != NULL && k->n_arguments == 0) {
        const command *child = command_find(k->command->children, word);
        if (child != NULL) {
            size_t used = strlen(k->name);
            snprintf(k->name + used, sizeof k->name - used, " %s", word);
            k->command = child;
            return activate(k);
        }
        if (k->command->run == NULL)
            return command_unknown(
                k->command->children, false, word,
                text("%s %s --help lists its commands", k->program->name, k->name));
    }
    k->arguments[k->n_arguments++] = word;
    return STATUS_OK;
}

static status take_long_flag(call *k, const char *flag, const char *next, bool *used_next) {
    const char *equals = strchr(flag, '=');
    char name[128];
    size_t n = equals != NULL ? (size_t)(equals - flag) : strlen(flag);
    snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), flag);
    const char *value = equals != NULL ? equals + 1 : NULL;
    if (strcmp(name, "set") != 0) return option_set_flag(k->options, name, value, next, used_next);
    *used_next = value == NULL && next != NULL;
    if (*used_next) value = next;
    return option_set_assign(k->options, value != NULL ? value : "");
}

static status take_letters(call *k, const char *letters, const char *next, bool *used_next) {
    bool used_rest = false;
    for (; *letters != '\0' && !used_rest; letters++)
        TRY(option_set_letter(k->options, *letters, letters + 1, next, used_next, &used_rest));
    return STATUS_OK;
}

static status parse_arguments(call *k, int argc, char **argv) {
    bool only_words = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;
        bool used_next = false;
        if (only_words || word[0] != '-' || word[1] == '\0')
            TRY(take_word(k, word));
        else if (strcmp(word, "--") == 0)
            only_words = true;
        else if (word[1] == '-')
            TRY(take_long_flag(k, word + 2, next, &used_next));
        else
            TRY(take_letters(k, word + 1, next, &used_next));
        i += used_next;
    }
    return STATUS_OK;
}

static const char *global_value(const call *k, const char *name) {
    return option_set_value(k->options, option_find(&global_options, "", name));
}

static bool global_on(const call *k, const char *name) {
    const char *value = global_value(k, name);
    return value != NULL && strcmp(value, "true") == 0;
}

/* "bash, zsh and fish" */
static const char *children_text(const command *c) {
    const char *names[TABLES_MOST];
    char list[512] = "";
    int n = add_names(c->children, names, 0);
    for (int i = 0; i < n; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s",
                 i == 0      ? ""
                 : i + 1 < n ? ", "
                             : " and ",
                 names[i]);
    }
    return text("%s", list);
}

static status check_arguments(const call *k) {
    const command *c = k->command;
    const char *usage = text("usage: %s %s%s%s", k->program->name, k->name,
                             c->usage != NULL ? " " : "", c->usage != NULL ? c->usage : "");
    const char *fix = text("%s %s --help", k->program->name, k->name);
    if (c->run == NULL)
        return FAIL(F_USAGE, text("%s %s needs a command", k->program->name, k->name),
                    "command line", text("it has %s", children_text(c)), fix);
    if (k->n_arguments < c->min_arguments)
        return FAIL(F_USAGE, text("%s %s needs %s", k->program->name, k->name, c->usage),
                    "command line", usage, fix);
    if (c->max_arguments >= 0 && k->n_arguments > c->max_arguments)
        return FAIL(F_USAGE, text("unexpected argument \"%.200s\"", k->arguments[c->max_arguments]),
                    "command line", usage, fix);
    return STATUS_OK;
}

/* -- sources other than flags -- */

static status read_user_file(option_set *options) {
    char path[PATH_SIZE];
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (config != NULL && config[0] == '/') {
        TRY(path_join(path, config, "fathom/config.ini"));
    } else if (home != NULL && home[0] == '/') {
        TRY(path_join(path, home, ".config/fathom/config.ini"));
    } else {
        return STATUS_OK;
    }
    return path_exists(path) ? option_set_file(options, LAYER_USER_FILE, path) : STATUS_OK;
}

static status read_sources(call *k) {
    const char *folder = global_value(k, "folder"), *config = global_value(k, "config");
    if (folder != NULL && chdir(folder) != 0)
        return error_errno(errno, text("change into %s", folder), "-C");
    TRY(read_user_file(k->options));
    if (config != NULL)
        TRY(option_set_file(k->options, LAYER_PROJECT_FILE, config));
    else if (path_exists("fathom.ini"))
        TRY(option_set_file(k->options, LAYER_PROJECT_FILE, "fathom.ini"));
    TRY(option_set_environment(k->options, environ));
    return option_set_resolve(k->options);
}

/* -- the closing report -- */

static json_t *error_object(const option_set *options) {
    const error_report *r = error_last();
    json_t *error = json_pack("{ss ss ss ss ss}", "code", text("F%04d", (int)r->id), "what",
                              r->what, "where", r->where, "why", r->why, "fix", r->fix);
    int n = options != NULL ? option_set_complaints(options) : 0;
    if (error == NULL || n < 2) return error;
    json_t *details = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(details, json_string(option_set_complaint(options, i)));
    json_object_set_new(error, "details", details);
    return error;
}

/* False if there was no memory for the object; a smaller one that says so is printed then. */
static bool print_json(const command_context *c, status result) {
    error_report kept;
    error_save(&kept);
    json_t *error = result == STATUS_OK ? NULL : error_object(c->options);
    json_t *object = json_pack("{si ss sb so* sO sO sO}", "schema", SCHEMA_VERSION, "command",
                               c->name, "ok", result == STATUS_OK, "error", error, "result",
                               c->result, "warnings", c->warnings, "next", c->next);
    char *line = object != NULL ? json_line(object) : NULL;
    if (line != NULL)
        printf("%s\n", line);
    else
        printf(
            "{\"schema\":%d,\"ok\":false,\"error\":{\"code\":\"F0001\",\"what\":\"no memory "
            "for the result\",\"where\":\"standard output\",\"why\":\"memory ran out while it was "
            "written\",\"fix\":\"close other programs, then run the same command again\"}}\n",
            SCHEMA_VERSION);
    bool whole = line != NULL;
    mem_free(line);
    json_decref(object);
    if (whole) error_restore(&kept);
    return whole;
}

static void print_complaints(const option_set *options) {
    int n = options != NULL ? option_set_complaints(options) : 0;
    for (int i = 0; i < n; i++) {
        const char *shown = option_set_complaint(options, i);
        if (n > 1 || strchr(shown, '\n') != NULL) fprintf(stderr, "%s\n", shown);
    }
}

static void print_next(const command_context *c) {
    size_t n = json_array_size(c->next);
    for (size_t i = 0; i < n; i++)
        printf("%s%s%s", i == 0 ? "next: " : " | ", json_string_value(json_array_get(c->next, i)),
               i + 1 == n ? "\n" : "");
}

/* Prints everything that is left to say; returns the exit code. */
static int finish(const command_context *c, status result) {
    progress_hide();
    if (result != STATUS_OK && error_last()->id == F_NONE)
        result = FAIL(F_INTERNAL, "a step failed without a report", c->name,
                      text("status %d", (int)result), "report this with the command that led here");
    if (c->json) {
        if (!print_json(c, result)) result = STATUS_MEMORY;
    } else if (result == STATUS_OK) {
        print_next(c);
    }
    if (result != STATUS_OK && !c->json) {
        fflush(stdout);
        print_complaints(c->options);
        error_print(stderr, error_last());
    }
    bool unwritten = fflush(stdout) != 0 || ferror(stdout);
    if (unwritten && errno == EPIPE) return error_exit_code(F_IO); /* nobody reads any more */
    if (unwritten) {
        status lost = error_errno(errno, "write the result", "standard output");
        error_print(stderr, error_last());
        return lost != STATUS_OK ? error_exit_code(error_last()->id) : 0;
    }
    return result == STATUS_OK ? 0 : error_exit_code(error_last()->id);
}

/* -- running -- */

static void apply_globals(const global_settings *g, command_context *c) {
    c->dry_run = g->dry_run;
    c->yes = g->yes;
    c->no_input = g->no_input;
    c->quiet = g->quiet;
    c->verbose = g->verbose;
    c->output = g->output;
    c->seed = g->seed;
    c->threads = g->threads;
    option_layer layer;
    option_set_origin(c->options, option_find(&global_options, "", "seed"), &layer);
    c->seed_given = layer != LAYER_BUILT_IN;
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    bool plain = (no_color != NULL && no_color[0] != '\0') || term == NULL ||
                 strcmp(term, "dumb") == 0 || !isatty(STDOUT_FILENO);
    c->color = g->color == 1 || (g->color == 0 && !plain);
    progress_mode mode = (progress_mode)g->progress; /* the same order as progress_choices */
    if (g->quiet) mode = PROGRESS_NONE;
    if (mode == PROGRESS_AUTO && g->color == 2) mode = PROGRESS_PLAIN;
    progress_set_mode(mode);
    log_set_level(g->quiet ? LOG_ERROR : g->verbose ? LOG_DEBUG : LOG_WARN);
    log_json(g->log == 1);
}

static status gather_settings(call *k, command_context *c) {
    int n = 0;
    while (k->command->options != NULL && k->command->options[n] != NULL)
        n++;
    k->settings = mem_zalloc((size_t)n + 1, sizeof *k->settings);
    if (k->settings == NULL) return STATUS_MEMORY;
    for (int i = 0; i < n; i++)
        k->settings[i] = option_set_settings(k->options, k->command->options[i]);
    c->settings = k->settings;
    for (int i = 0; i < option_set_warnings(k->options); i++)
        TRY(command_warn(c, "%s", option_set_warning(k->options, i)));
    return STATUS_OK;
}

static status run_command(call *k, command_context *c) {
    TRY(option_set_check(k->options)); /* a wrong flag is reported before a wrong argument */
    TRY(check_arguments(k));
    TRY(k->command->no_settings ? option_set_resolve(k->options) : read_sources(k));
    const global_settings *globals = option_set_settings(k->options, &global_options);
    apply_globals(globals, c);
    TRY(gather_settings(k, c));
    interrupt_install();
    if (!k->command->threads) return k->command->run(c);
    TRY(pool_start(c->threads));
    status result = k->program->init != NULL ? k->program->init(globals->cpu) : STATUS_OK;
    if (result == STATUS_OK) result = k->command->run(c);
    pool_stop();
    return result;
}

static status print_version(const command_program *program, const char *cpu) {
    if (program->init != NULL) TRY(program->init(cpu));
    printf("%s %s", program->name, program->version);
    if (program->cpu_text != NULL) printf(" (%s)", program->cpu_text());
    printf("\n");
    return STATUS_OK;
}

/* Parsing ends at the first mistake; a --json behind it still decides the form of the report. */
static bool json_was_asked(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0) return true;
    return false;
}

static status run_call(call *k, command_context *c, int argc, char **argv) {
    const option_table *tables[TABLES_MOST];
    int n = command_tables(k->program, tables, TABLES_MOST);
    for (int i = 0; i < n; i++)
        TRY(option_set_add(k->options, tables[i], i == 0));
    status parsed = parse_arguments(k, argc, argv);
    c->json = global_on(k, "json") || (parsed != STATUS_OK && json_was_asked(argc, argv));
    c->command = k->command;
    if (k->name[0] != '\0') c->name = k->name;
    c->n_arguments = k->n_arguments;
    c->arguments = k->arguments;
    TRY(parsed);
    if (global_on(k, "help") || (k->command == NULL && argc == 1)) {
        if (k->command == NULL)
            help_program(stdout, k->program);
        else
            help_command(stdout, k->program, k->command, k->name);
        c->json = false; /* help is text */
        return STATUS_OK;
    }
    if (global_on(k, "version")) {
        c->json = false;
        return print_version(k->program, global_value(k, "cpu"));
    }
    TRY(option_set_check(k->options));
    if (k->command == NULL)
        return FAIL(F_USAGE, "no command given", "command line", "only options were found",
                    text("%s --help lists the commands", k->program->name));
    return run_command(k, c);
}

/* With a standard stream closed, the next file that is opened would get its number, and messages
 * would end up inside it. Whatever uses the stand-in the wrong way round is refused, as before. */
static void hold_streams(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
        int held = open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        if (held >= 0 && held != fd) close(held);
    }
}

int command_main(const command_program *program, int argc, char **argv) {
    call k = {.program = program};
    command_context c = {.program = program, .name = program->name};
    hold_streams();
    error_clear();
    k.arguments = mem_zalloc((size_t)argc + 1, sizeof *k.arguments);
    c.result = json_object();
    c.warnings = json_array();
    c.next = json_array();
    status result = k.arguments == NULL || c.result == NULL || c.warnings == NULL || c.next == NULL
                        ? STATUS_MEMORY
                        : option_set_new(&k.options);
    c.options = k.options;
    if (result == STATUS_OK) result = run_call(&k, &c, argc, argv);
    int code = finish(&c, result);
    json_decref(c.result);
    json_decref(c.warnings);
    json_decref(c.next);
    mem_free((void *)k.arguments);
    mem_free(k.settings);
    option_set_free(k.options);
    return code;
}

/* -- what commands call -- */

void say(const command_context *c, const char *format, ...) {
    if (c->json) return;
    progress_hide();
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
}

status result_set(command_context *c, const char *key, json_t *value) {
    if (value != NULL && json_object_set_new(c->result, key, value) == 0) return STATUS_OK;
    if (error_last()->id == F_NO_MEMORY) return STATUS_MEMORY;
    return FAIL(F_INTERNAL, text("a result cannot be written as JSON: \"%s\"", key), c->name,
                "it is not UTF-8 or not a finite number", "report this with the command");
}

static status append_text(json_t *list, const char *format, va_list args) {
    char line[ERROR_PART];
    if (vsnprintf(line, sizeof line, format, args) < 0) return STATUS_OK;
    return json_array_append_new(list, json_string(line)) == 0 ? STATUS_OK : STATUS_MEMORY;
}

status command_warn(command_context *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    status result = append_text(c->warnings, format, args);
    va_end(args);
    if (result != STATUS_OK || c->json) return result;
    progress_hide();
    size_t last = json_array_size(c->warnings) - 1;
    fprintf(stderr, "warning: %s\n", json_string_value(json_array_get(c->warnings, last)));
    return STATUS_OK;
}

status command_next(command_context *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    status result = append_text(c->next, format, args);
    va_end(args);
    return result;
}

status command_confirm(const command_context *c, const char *question, bool *yes) {
    *yes = c->yes;
    if (c->yes) return STATUS_OK;
    if (c->no_input || !isatty(STDIN_FILENO))
        return FAIL(F_USAGE, text("a question needs an answer: %s", question), c->name,
                    c->no_input ? "--no-input forbids asking" : "standard input is no terminal",
                    "run it again with -y to answer yes");
    progress_hide();
    fprintf(stderr, "%s [y/N] ", question);
    char answer[16] = "";
    if (fgets(answer, sizeof answer, stdin) == NULL) {
        TRY(interrupt_status(c->name, "run it again"));
        fprintf(stderr, "\n");
    }
    *yes = answer[0] == 'y' || answer[0] == 'Y';
    return STATUS_OK;
}
