/* manual.c - `fathom man`: manual pages, printed from the tables that parse the command line.
 *
 * What: fathom(1) and one page for each command and subcommand, fathom-data-import(1), in the man(7)
 * macros that groff, mandoc and man read. A page cannot disagree with the program: names, ranges,
 * standards, environment names and exit codes come from the rows that are used at run time.
 *
 * How: a page is written into memory, then printed, or put into a file under -o.
 *
 * Mind: texts of the tables are data, not roff. Everything goes through put_text: a backslash, a quote
 * or a dot at the start of a line stays what it is, a minus stays a minus (so that it can be copied),
 * and letters beyond ASCII become \[uXXXX], which needs no preprocessor. A page holds no date, so the
 * same program writes the same bytes.
 */
#include "base/command_internal.h"

#include "base/file.h"
#include "base/option_internal.h"
#include "base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MOST 4
#define CODES_MOST 64

/* One page: the commands that lead to it, none for the page of the program. */
typedef struct page {
    FILE *out;
    const command_program *program;
    const command *path[DEPTH_MOST];
    int depth;
} page;

/* -- text -- */

static void put_rune(FILE *out, const char *at, size_t n) {
    unsigned rune = (unsigned char)at[0] & (0x7FU >> n);
    for (size_t i = 1; i < n; i++)
        rune = rune << 6 | ((unsigned char)at[i] & 0x3FU);
    fprintf(out, "\\[u%04X]", rune);
}

/* n bytes as they are; words in `grave accents` become bold. Newlines are blanks. */
static void put_bytes(FILE *out, const char *bytes, size_t n) {
    bool bold = false;
    if (n > 0 && (bytes[0] == '.' || bytes[0] == '\'')) fputs("\\&", out);
    for (size_t i = 0; i < n; i++) {
        size_t length = utf8_sequence((const uint8_t *)bytes + i, n - i);
        switch (bytes[i]) {
        case '\\': fputs("\\(rs", out); break;
        case '-': fputs("\\-", out); break;
        case '\'': fputs("\\(aq", out); break;
        case '"': fputs("\\(dq", out); break;
        case '^': fputs("\\(ha", out); break;
        case '~': fputs("\\(ti", out); break;
        case '|': fputs("|\\:", out); break; /* a long list of words may be broken here */
        case '\n': fputc(' ', out); break;
        case '`':
            if (!bold && memchr(bytes + i + 1, '`', n - i - 1) == NULL) {
                fputs("\\(ga", out);
                break;
            }
            bold = !bold;
            fputs(bold ? "\\fB" : "\\fR", out);
            break;
        default:
            if (length > 1) {
                put_rune(out, bytes + i, length);
                i += length - 1;
            } else {
                fputc(bytes[i], out);
            }
        }
    }
}

static void put_text(FILE *out, const char *string) {
    put_bytes(out, string, strlen(string));
}

static void put_bold(FILE *out, const char *string) {
    fputs("\\fB", out);
    put_text(out, string);
    fputs("\\fR", out);
}

/* Lines of a table's text: as they are, indented; a blank line stays one. */
static void put_literal(FILE *out, const char *lines) {
    fputs(".RS 4\n.nf\n", out);
    while (lines != NULL && *lines != '\0') {
        size_t n = strcspn(lines, "\n");
        put_bytes(out, lines, n);
        fputc('\n', out);
        lines += n + (lines[n] == '\n');
    }
    fputs(".fi\n.RE\n", out);
}

/* "Reads: ..." opens a paragraph; other lines go on with the one before. */
static void put_notes(FILE *out, const char *lines) {
    fputs(".PP\n", out);
    for (bool first = true; *lines != '\0'; first = false) {
        size_t n = strcspn(lines, "\n"), word = 0;
        while (word < n && isalpha((unsigned char)lines[word]))
            word++;
        bool opens = isupper((unsigned char)lines[0]) && word < n && lines[word] == ':';
        if (!first && (opens || n == 0)) fputs(".PP\n", out);
        if (n > 0) {
            put_bytes(out, lines, n);
            fputc('\n', out);
        }
        lines += n + (lines[n] == '\n');
    }
}

/* "fathom-data-import"; lives like text(). */
static const char *page_name(const page *p) {
    const char *name = p->program->name;
    for (int i = 0; i < p->depth; i++)
        name = text("%s-%s", name, p->path[i]->name);
    return name;
}

/* "fathom data import" */
static const char *words_of(const page *p) {
    const char *words = p->program->name;
    for (int i = 0; i < p->depth; i++)
        words = text("%s %s", words, p->path[i]->name);
    return words;
}

static void put_reference(FILE *out, const char *name, const char *end) {
    put_bold(out, name);
    fprintf(out, "(1)%s\n", end);
}

/* -- options -- */

static const char *value_kind(option_type type) {
    switch (type) {
    case OPTION_BOOL: return "A switch";
    case OPTION_INT:
    case OPTION_INT64:
    case OPTION_SEED: return "A whole number";
    case OPTION_COUNT: return "A count such as 500, 8k or 1.6M";
    case OPTION_SIZE: return "Bytes, such as 4096, 64M or 2G (powers of 1024)";
    case OPTION_REAL: return "A number";
    case OPTION_DURATION: return "A time such as 30s, 10min or 1h30min; without a unit, seconds";
    case OPTION_EVERY: return "Steps (100) or a time (2min)";
    case OPTION_STRING: return "Text";
    case OPTION_CHOICE: return "One of ";
    }
    return "";
}

static const char *value_word(const option *row) {
    switch (row->type) {
    case OPTION_BOOL: return "";
    case OPTION_SIZE: return "SIZE";
    case OPTION_REAL: return "X";
    case OPTION_DURATION: return "TIME";
    case OPTION_EVERY: return "N|TIME";
    case OPTION_STRING: return row->value != NULL ? row->value : "TEXT";
    case OPTION_CHOICE: return "WORD";
    default: return "N";
    }
}

static bool is_on(const option *row) {
    return row->type == OPTION_BOOL && row->standard != NULL && strcmp(row->standard, "true") == 0;
}

/* "A whole number from 1 to 9; default 1." */
static void put_value(FILE *out, const option *row) {
    fputs(value_kind(row->type), out);
    for (int i = 0; row->type == OPTION_CHOICE && row->choices[i] != NULL; i++) {
        if (i > 0) fputs(row->choices[i + 1] != NULL ? ", " : " or ", out);
        put_bold(out, row->choices[i]);
    }
    const char *range = value_range(row);
    if (range[0] != '\0') put_text(out, text(",%s", range));
    if (row->type == OPTION_BOOL) {
        fputs(is_on(row) ? "; default on" : "; default off", out);
    } else if (row->standard != NULL && row->standard[0] != '\0') {
        fputs("; default ", out);
        put_bold(out, row->standard);
    }
    fputs(".\n", out);
}

/* The names under which files and the environment know the row. */
static void put_sources(FILE *out, const option *row) {
    if ((row->flags & OPTION_FLAG_ONLY) != 0) return;
    char name[128];
    snprintf(name, sizeof name, "FATHOM_%s%s%s", row->section, row->section[0] != '\0' ? "_" : "",
             row->name);
    for (char *at = name; *at != '\0'; at++)
        *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
    fputs("Environment ", out);
    put_bold(out, name);
    fputs("; settings file ", out);
    if (row->section[0] != '\0') {
        put_text(out, text("[%s] ", row->section));
        put_bold(out, row->name);
        fputs(".\n", out);
    } else {
        put_bold(out, row->name);
        fputs(", before the first section.\n", out);
    }
}

static void put_presets(FILE *out, const option_table *table) {
    fputs(".RS\n", out);
    for (const option_preset *p = table->presets; p != NULL && p->name != NULL; p++) {
        fputs(".TP\n", out);
        put_bold(out, p->name);
        fputc('\n', out);
        put_text(out, p->about);
        fputc('\n', out);
    }
    fputs(".RE\n", out);
}

static void put_option(FILE *out, const option_table *table, const option *row) {
    fputs(".TP\n", out);
    if (row->letter != 0) fprintf(out, "\\fB\\-%c\\fR, ", row->letter);
    put_bold(out, text("--%s", row->name));
    if (is_on(row)) {
        fputs(", ", out);
        put_bold(out, text("--no-%s", row->name));
    }
    if (row->type != OPTION_BOOL) {
        fputs(" \\fI", out);
        put_text(out, value_word(row));
        fputs("\\fR", out);
    }
    fputc('\n', out);
    put_text(out, row->help);
    fputc('\n', out);
    bool settable = (row->flags & OPTION_FLAG_ONLY) == 0;
    if (row->type != OPTION_BOOL || is_on(row) || settable) put_value(out, row);
    put_sources(out, row);
    if ((row->flags & OPTION_PRESET) != 0) put_presets(out, table);
}

static void put_options(FILE *out, const option_table *table) {
    for (int i = 0; i < table->n; i++)
        if ((table->rows[i].flags & OPTION_HIDDEN) == 0) put_option(out, table, &table->rows[i]);
}

/* -- sections -- */

static void put_title(const page *p, const char *summary) {
    char title[128];
    snprintf(title, sizeof title, "%s", page_name(p));
    for (char *at = title; *at != '\0'; at++)
        *at = (char)toupper((unsigned char)*at);
    fputs(".TH \"", p->out);
    put_text(p->out, title);
    fputs("\" 1 \"\" \"", p->out);
    put_text(p->out, text("%s %s", p->program->name, p->program->version));
    fputs("\" \"", p->out);
    put_text(p->out, text("%s manual", p->program->name));
    fputs("\"\n.nh\n.ad l\n.SH NAME\n", p->out);
    put_text(p->out, page_name(p));
    fputs(" \\- ", p->out);
    put_text(p->out, summary);
    fputc('\n', p->out);
}

static void put_children(const page *p, const command *const *list) {
    for (int i = 0; list != NULL && list[i] != NULL; i++) {
        if (list[i]->hidden) continue;
        fputs(".TP\n", p->out);
        put_reference(p->out, text("%s-%s", page_name(p), list[i]->name), "");
        put_text(p->out, list[i]->summary);
        fputs(".\n", p->out);
    }
}

/* 0 and every code of errors.def once, in order. */
static int exit_codes(int codes[CODES_MOST]) {
    static const int rows[] = {
        0,
#define ERROR(name, number, stat, exit_code, title) exit_code,
#include "base/errors.def"
#undef ERROR
    };
    int n = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int at = n;
        while (at > 0 && codes[at - 1] > rows[i])
            at--;
        if ((at > 0 && codes[at - 1] == rows[i]) || n == CODES_MOST) continue;
        memmove(codes + at + 1, codes + at, (size_t)(n - at) * sizeof *codes);
        codes[at] = rows[i];
        n++;
    }
    return n;
}

static void put_exit_status(const page *p) {
    int codes[CODES_MOST], n = exit_codes(codes);
    fputs(".SH EXIT STATUS\n", p->out);
    for (int i = 0; i < n; i++) {
        fprintf(p->out, ".TP\n\\fB%d\\fR\n", codes[i]);
        put_text(p->out, exit_meaning(codes[i]));
        fputs(".\n", p->out);
    }
    fputs(".PP\nEvery error has a number; ", p->out);
    put_bold(p->out, text("%s help F0012", p->program->name));
    fputs(" explains it.\n", p->out);
}

static void put_files(const page *p) {
    fputs(".SH FILES\n", p->out);
    static const char *const files[][2] = {
        {"./fathom.ini", "Settings of the folder, unless --config names another file."},
        {"$XDG_CONFIG_HOME/fathom/config.ini, ~/.config/fathom/config.ini",
         "Settings of the user."},
        {"$XDG_CACHE_HOME/fathom, ~/.cache/fathom", "What was fetched, kept for the next time."},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        fputs(".TP\n\\fI", p->out);
        put_text(p->out, files[i][0]);
        fputs("\\fR\n", p->out);
        put_text(p->out, files[i][1]);
        fputc('\n', p->out);
    }
}

static void put_see_also(const page *p, const command *const *list) {
    page up = *p;
    up.depth = p->depth > 0 ? p->depth - 1 : 0;
    fputs(".SH SEE ALSO\n", p->out);
    const char *last = p->depth > 0 ? page_name(&up) : NULL;
    if (p->depth > 1) put_reference(p->out, p->program->name, ",");
    for (int i = 0; list != NULL && list[i] != NULL; i++) {
        if (list[i]->hidden || (p->depth > 0 && list[i] == p->path[p->depth - 1])) continue;
        if (last != NULL) put_reference(p->out, last, ",");
        last = text("%s-%s", page_name(p->depth > 0 ? &up : p), list[i]->name);
    }
    if (last != NULL) put_reference(p->out, last, "");
}

static void put_environment(const page *p) {
    fputs(".SH ENVIRONMENT\n", p->out);
    static const char *const names[][2] = {
        {"FATHOM_SECTION_NAME", "The setting `name` of [section], for example "
                                "FATHOM_TRAIN_MAX_STEPS; settings of every command have no "
                                "section: FATHOM_SEED."},
        {"NO_COLOR", "Anything but empty: no colour."},
        {"XDG_CONFIG_HOME, XDG_CACHE_HOME, HOME", "Where the files below are looked for."},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        fputs(".TP\n", p->out);
        put_bold(p->out, names[i][0]);
        fputc('\n', p->out);
        put_text(p->out, names[i][1]);
        fputc('\n', p->out);
    }
    fputs(
        ".PP\nA flag wins over the environment, that over ./fathom.ini, that over the user\\(aqs\n"
        "file, that over a preset, that over the built\\-in value.\n",
        p->out);
}

/* -- pages -- */

static void write_program_page(const page *p) {
    const command_program *program = p->program;
    put_title(p, program->about);
    fputs(".SH SYNOPSIS\n", p->out);
    put_bold(p->out, program->name);
    fputs(" \\fICOMMAND\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]\n.SH COMMANDS\n", p->out);
    put_children(p, program->commands);
    put_children(p, built_in_commands);
    fputs(".SH OPTIONS\nEvery command takes these.\n", p->out);
    put_options(p->out, &global_options);
    put_environment(p);
    put_exit_status(p);
    put_files(p);
    fputs(".SH EXAMPLES\n", p->out);
    put_literal(p->out, program->examples);
    put_see_also(p, program->commands);
}

static void put_synopsis(const page *p, const command *c) {
    fputs(".SH SYNOPSIS\n", p->out);
    if (c->run != NULL) {
        put_bold(p->out, words_of(p));
        fputs(" [\\fIoptions\\fR]", p->out);
        if (c->usage != NULL) {
            fputs(" \\fI", p->out);
            put_text(p->out, c->usage);
            fputs("\\fR", p->out);
        }
        fputc('\n', p->out);
    }
    if (c->children == NULL) return;
    if (c->run != NULL) fputs(".br\n", p->out);
    put_bold(p->out, words_of(p));
    fputs(" \\fICOMMAND\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]\n", p->out);
}

static void write_command_page(const page *p) {
    const command *c = p->path[p->depth - 1];
    put_title(p, c->summary);
    put_synopsis(p, c);
    fputs(".SH DESCRIPTION\n", p->out);
    put_bold(p->out, words_of(p));
    fputs(": ", p->out);
    put_text(p->out, c->summary);
    fputs(".\n", p->out);
    if (c->notes != NULL) put_notes(p->out, c->notes);
    if (c->children != NULL) {
        fputs(".SH COMMANDS\n", p->out);
        put_children(p, c->children);
    }
    fputs(".SH OPTIONS\nThe options of every command are in\n", p->out);
    put_reference(p->out, p->program->name, ".");
    for (int i = 0; c->options != NULL && c->options[i] != NULL; i++)
        put_options(p->out, c->options[i]);
    put_exit_status(p);
    put_files(p);
    fputs(".SH EXAMPLES\n", p->out);
    put_literal(p->out, c->examples);
    const command *const *beside =
        p->depth > 1 ? p->path[p->depth - 2]->children : p->program->commands;
    put_see_also(p, beside);
}

/* The page as text; free() it. */
static status page_text(page *p, char **bytes, size_t *n) {
    *bytes = NULL;
    p->out = open_memstream(bytes, n);
    if (p->out == NULL) return error_errno(errno, "write a manual page", "memory");
    if (p->depth == 0)
        write_program_page(p);
    else
        write_command_page(p);
    if (fclose(p->out) == 0) return STATUS_OK;
    free(*bytes);
    *bytes = NULL;
    return error_errno(ENOMEM, "write a manual page", "memory");
}

/* -- fathom man -- */

static status page_save(const command_context *c, page *p, int *n_pages) {
    char path[PATH_SIZE], *bytes;
    size_t n;
    ++*n_pages;
    TRY(path_join(path, c->output, text("%s.1", page_name(p))));
    if (c->dry_run) return STATUS_OK;
    TRY(page_text(p, &bytes, &n));
    status result = file_write(path, bytes, n);
    free(bytes);
    return result;
}

/* Pages of a list of commands and of all below them. */
static status save_list(const command_context *c, page *p, const command *const *list,
                        int *n_pages) {
    for (int i = 0; list != NULL && list[i] != NULL && p->depth < DEPTH_MOST; i++) {
        if (list[i]->hidden) continue;
        p->path[p->depth++] = list[i];
        status result = page_save(c, p, n_pages);
        if (result == STATUS_OK) result = save_list(c, p, list[i]->children, n_pages);
        p->depth--;
        TRY(result);
    }
    return STATUS_OK;
}

/* Into files under -o: the page that was named, or all. */
static status man_save(command_context *c, page *p) {
    int n_pages = 0;
    if (!c->dry_run) TRY(folder_create(c->output));
    TRY(page_save(c, p, &n_pages));
    if (p->depth == 0) {
        TRY(save_list(c, p, c->program->commands, &n_pages));
        TRY(save_list(c, p, built_in_commands, &n_pages));
    }
    say(c, "%s %d pages to %s\n", c->dry_run ? "would write" : "wrote", n_pages, c->output);
    return result_set(c, "pages", json_integer(n_pages));
}

static status man_run(command_context *c) {
    page p = {.program = c->program};
    const command *const *list = c->program->commands;
    for (int i = 0; i < c->n_arguments; i++) {
        const command *next = command_find(list, c->arguments[i]);
        if (next == NULL && i == 0) next = command_find(built_in_commands, c->arguments[i]);
        if (next == NULL)
            return command_unknown(list, i == 0, c->arguments[i],
                                   text("%s --help lists the commands", c->program->name));
        p.path[p.depth++] = next;
        list = next->children;
    }
    if (c->output != NULL && strcmp(c->output, "-") != 0) return man_save(c, &p);
    char *bytes;
    size_t n;
    TRY(page_text(&p, &bytes, &n));
    say(c, "%s", bytes);
    status result = result_set(c, "page", json_stringn(bytes, n));
    free(bytes);
    return result;
}

const command man_command = {
    .name = "man",
    .summary = "write manual pages",
    .usage = "[COMMAND...]",
    .examples = "fathom man train | man -l -\nfathom man -o man/man1",
    .notes = "Without -o the page goes to standard output, in the macros of man(7).\n"
             "Writes: with -o, the page of COMMAND into that folder; without COMMAND, all pages.",
    .max_arguments = DEPTH_MOST,
    .run = man_run,
    .no_settings = true,
};
