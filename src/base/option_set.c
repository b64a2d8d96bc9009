/* option_set.c - all sources of settings, their precedence, and every complaint about them.
 *
 * How. Each source hands in assignments (row, value, place). A value is checked the moment it
 * arrives, in whatever layer, so a wrong line in a file is reported even if a flag overrides it;
 * the winner of a row is the assignment of the highest layer. Presets are chosen by values, so they
 * are read at the end, in the lowest layer above the built-in values; because winners compare by
 * layer, the order in which sources are read does not matter.
 *
 * INI files go through libinih line by line. Our reader in front of it knows the line number and
 * the raw text, which gives the column and the caret, and refuses what libinih would pass over in
 * silence: lines without "=", open brackets, over-long lines. Indentation is allowed, continuation
 * lines are not.
 *
 * Mind. Strings and complaints live in the set's arena (1 MiB per file, 64 MiB in all).
 */
#include "base/options.h"

#include "base/file.h"
#include "base/option_internal.h"
#include "base/utf8.h"

#include <ctype.h>
#include <ini.h>
#include <stdarg.h>
#include <string.h>

#define ARENA_BYTES ((size_t)64 << 20)
#define FILE_MOST   ((size_t)1 << 20)
#define LINE_MOST   8190
#define NAMES_MOST  1024

/* The value in force of one row. */
typedef struct winner {
    option_layer layer;
    const char *value;                 /* NULL = the row's standard */
    const char *origin, *place, *line; /* "--seed"; "fathom.ini:3:8"; source line or NULL */
    int column;
} winner;

typedef struct bound_table {
    const option_table *table;
    void *settings;
    winner *winners; /* one per row */
    bool active;
} bound_table;

typedef struct complaint {
    error_id id; /* F_UNKNOWN_OPTION, F_BAD_VALUE: a flag; F_CONFIG: everything else */
    const char *what, *place, *why, *fix, *shown;
} complaint;

struct option_set {
    arena strings;
    bound_table *tables;
    int n_tables;
    complaint *complaints;
    int n_complaints;
    const char **warnings;
    int n_warnings;
};

/* Where an assignment stands. */
typedef struct source {
    option_layer layer;
    const char *origin, *place, *line;
    int column;
} source;

status option_set_new(option_set **out) {
    *out = NULL;
    option_set *set = mem_zalloc(1, sizeof *set);
    if (set == NULL) return STATUS_MEMORY;
    if (arena_init(&set->strings, "settings", ARENA_BYTES) != STATUS_OK) {
        mem_free(set);
        return STATUS_MEMORY;
    }
    *out = set;
    return STATUS_OK;
}

void option_set_free(option_set *set) {
    if (set == NULL) return;
    for (int i = 0; i < set->n_tables; i++) {
        mem_free(set->tables[i].settings);
        mem_free(set->tables[i].winners);
    }
    mem_free(set->tables);
    mem_free(set->complaints);
    mem_free((void *)set->warnings);
    arena_clear(&set->strings);
    mem_free(set);
}

static bound_table *find_bound(const option_set *set, const option_table *table) {
    for (int i = 0; i < set->n_tables; i++)
        if (set->tables[i].table == table) return &set->tables[i];
    return NULL;
}

status option_set_add(option_set *set, const option_table *table, bool active) {
    bound_table *known = find_bound(set, table);
    if (known != NULL) {
        known->active = known->active || active;
        return STATUS_OK;
    }
    bound_table *moved = mem_resize(set->tables, (size_t)set->n_tables + 1, sizeof *moved);
    if (moved == NULL) return STATUS_MEMORY;
    set->tables = moved;
    bound_table *added = &moved[set->n_tables];
    added->table = table;
    added->active = active;
    added->settings = mem_zalloc(1, table->settings_size);
    added->winners = mem_zalloc((size_t)table->n, sizeof *added->winners);
    set->n_tables++; /* from here on option_set_free releases both */
    if (added->settings == NULL || added->winners == NULL) return STATUS_MEMORY;
    return options_defaults(table, added->settings);
}

void *option_set_settings(option_set *set, const option_table *table) {
    bound_table *bound = find_bound(set, table);
    return bound != NULL ? bound->settings : NULL;
}

int option_set_tables(const option_set *set) {
    return set->n_tables;
}
const option_table *option_set_table(const option_set *set, int i) {
    return set->tables[i].table;
}
int option_set_complaints(const option_set *set) {
    return set->n_complaints;
}
int option_set_warnings(const option_set *set) {
    return set->n_warnings;
}
const char *option_set_warning(const option_set *set, int i) {
    return set->warnings[i];
}
const char *option_set_complaint(const option_set *set, int i) {
    return set->complaints[i].shown;
}

/* -- complaints -- */

/* "place: what: why", then the source line and a caret under the column. */
static const char *show_complaint(option_set *set, const source *from, const char *what,
                                  const char *why) {
    if (from->line == NULL)
        return arena_strdup(&set->strings, text("%s: %s: %s", from->place, what, why));
    size_t room = strlen(from->line) + (size_t)from->column + 2 * ERROR_PART + 64;
    char *shown = arena_alloc(&set->strings, room);
    if (shown == NULL) return NULL;
    int used = snprintf(shown, room, "%s: %s: %s\n    ", from->place, what, why);
    int line = snprintf(shown + used, room - (size_t)used, "%s\n    ", from->line);
    if (used < 0 || line < 0) return NULL;
    used += line;
    for (int i = 1; i < from->column; i++)
        shown[used++] = from->line[i - 1] == '\t' ? '\t' : ' ';
    shown[used++] = '^';
    shown[used] = '\0';
    return shown;
}

static status complain(option_set *set, error_id id, const source *from, const char *what,
                       const char *why, const char *fix) {
    complaint *moved = mem_resize(set->complaints, (size_t)set->n_complaints + 1, sizeof *moved);
    if (moved == NULL) return STATUS_MEMORY;
    set->complaints = moved;
    complaint added = {.id = id};
    added.shown = show_complaint(set, from, what, why);
    added.what = arena_strdup(&set->strings, what);
    added.place = arena_strdup(&set->strings, from->place);
    added.why = arena_strdup(&set->strings, why);
    added.fix = arena_strdup(&set->strings, fix);
    if (added.shown == NULL || added.what == NULL || added.place == NULL || added.why == NULL ||
        added.fix == NULL)
        return STATUS_MEMORY;
    moved[set->n_complaints++] = added;
    return STATUS_OK;
}

static status warn(option_set *set, const char *warning) {
    const char **moved =
        mem_resize((void *)set->warnings, (size_t)set->n_warnings + 1, sizeof *moved);
    if (moved == NULL) return STATUS_MEMORY;
    set->warnings = moved;
    const char *copy = arena_strdup(&set->strings, warning);
    if (copy == NULL) return STATUS_MEMORY;
    moved[set->n_warnings++] = copy;
    return STATUS_OK;
}

status option_set_check(option_set *set) {
    if (set->n_complaints == 0) return STATUS_OK;
    /* A wrong command line is reported as such, whatever the files hold. */
    const complaint *first = &set->complaints[0];
    for (int i = 0; i < set->n_complaints && first->id == F_CONFIG; i++)
        if (set->complaints[i].id != F_CONFIG) first = &set->complaints[i];
    if (set->n_complaints == 1)
        return FAIL(first->id, first->what, first->place, first->why, first->fix);
    char all[ERROR_PART];
    size_t used = 0;
    for (int i = 0; i < set->n_complaints && used < sizeof all - 1; i++) {
        const complaint *c = &set->complaints[i];
        int n = snprintf(all + used, sizeof all - used, "%s%s: %s: %s", i > 0 ? "\n         " : "",
                         c->place, c->what, c->why);
        if (n > 0) used += (size_t)n;
    }
    return FAIL(first->id, text("%d settings are not accepted", set->n_complaints), first->place,
                all, first->fix);
}

static const char *did_you_mean(const char *word, const char *const *names, int n) {
    int near = word_nearest(word, names, n);
    return near >= 0 ? text("did you mean \"%s\"?", names[near]) : "nothing has a similar name";
}

static status unknown_key(option_set *set, const source *from, const char *section,
                          const char *name) {
    const char *names[NAMES_MOST];
    int n = 0;
    for (int t = 0; t < set->n_tables; t++) {
        const option_table *table = set->tables[t].table;
        for (int i = 0; i < table->n && n < NAMES_MOST; i++)
            if (name_equal(table->rows[i].section, section) &&
                (table->rows[i].flags & OPTION_FLAG_ONLY) == 0)
                names[n++] = table->rows[i].name;
    }
    const char *what = section[0] != '\0' ? text("unknown key \"%s\" in [%s]", name, section)
                                          : text("unknown key \"%s\" before any [section]", name);
    error_id id = from->layer == LAYER_FLAG ? F_UNKNOWN_OPTION : F_CONFIG;
    return complain(set, id, from, what, did_you_mean(name, names, n),
                    section[0] != '\0' ? text("fathom config keys %s", section)
                                       : "fathom config keys");
}

/* -- one assignment -- */

/* "--precision f32, for example; fathom config keys train explains it", in the words of the source. */
static const char *better_value(const option *row, const char *value, const source *from,
                                const char *explained) {
    const char *near = value_near(row, value), *sign = "=";
    if (near[0] == '\0') return explained;
    const char *name = from->origin;
    if (strncmp(name, "--set ", 6) == 0)
        name = text("--set %s", option_path(row));
    else if (from->layer == LAYER_FLAG)
        name = text("--%s", row->name), sign = " ";
    else if (from->layer != LAYER_ENVIRONMENT)
        name = row->name, sign = " = ";
    return text("%s%s%s, for example; %s explains it", name, sign, near, explained);
}

static status assign(option_set *set, bound_table *bound, const option *row, const char *value,
                     const source *from) {
    option_value read;
    status result = value_read(row, value, &read);
    if (result != STATUS_OK) {
        error_report report;
        error_save(&report);
        return complain(set, from->layer == LAYER_FLAG ? F_BAD_VALUE : F_CONFIG, from, report.what,
                        report.why, better_value(row, value, from, report.fix));
    }
    winner *w = &bound->winners[row - bound->table->rows];
    if (from->layer == w->layer && w->value != NULL && from->line != NULL &&
        from->layer != LAYER_PRESET && strcmp(from->origin, w->origin) != 0)
        return complain(set, F_CONFIG, from, text("%s is set twice", option_path(row)),
                        text("%s sets it already", w->origin), "remove one of the two lines");
    if (from->layer < w->layer) return STATUS_OK;
    winner next = {.layer = from->layer, .column = from->column};
    next.value = arena_strdup(&set->strings, value);
    next.origin = arena_strdup(&set->strings, from->origin);
    next.place = arena_strdup(&set->strings, from->place);
    next.line = from->line != NULL ? arena_strdup(&set->strings, from->line) : NULL;
    if (next.value == NULL || next.origin == NULL || next.place == NULL ||
        (from->line != NULL && next.line == NULL))
        return STATUS_MEMORY;
    *w = next;
    return STATUS_OK;
}

/* The row of section and name that files may set. */
static const option *file_row(option_set *set, const char *section, const char *name,
                              bound_table **bound) {
    for (int t = 0; t < set->n_tables; t++) {
        const option *row = option_find(set->tables[t].table, section, name);
        if (row == NULL || (row->flags & OPTION_FLAG_ONLY) != 0) continue;
        *bound = &set->tables[t];
        return row;
    }
    return NULL;
}

static bool section_known(const option_set *set, const char *section) {
    for (int t = 0; t < set->n_tables; t++)
        for (int i = 0; i < set->tables[t].table->n; i++)
            if (name_equal(set->tables[t].table->rows[i].section, section)) return true;
    return false;
}

static status unknown_section(option_set *set, const source *from, const char *section) {
    const char *names[NAMES_MOST];
    int n = 0;
    for (int t = 0; t < set->n_tables; t++) {
        const option_table *table = set->tables[t].table;
        for (int i = 0; i < table->n && n < NAMES_MOST; i++)
            if (table->rows[i].section[0] != '\0') names[n++] = table->rows[i].section;
    }
    error_id id = from->layer == LAYER_FLAG ? F_UNKNOWN_OPTION : F_CONFIG;
    return complain(set, id, from, text("unknown section [%s]", section),
                    did_you_mean(section, names, n), "fathom config keys");
}

/* -- INI -- */

typedef struct ini_walk {
    option_set *set;
    option_layer layer;
    const char *where;
    const char *next; /* rest of the text */
    int number;       /* of the current line, from 1 */
    char line[LINE_MOST + 1];
    bool skipping; /* inside an unknown section */
    status result;
} ini_walk;

static source walk_source(const ini_walk *w, int column) {
    source from = {.layer = w->layer, .line = w->line, .column = column};
    from.origin = text("%s:%d", w->where, w->number);
    from.place = text("%s:%d:%d", w->where, w->number, column);
    return from;
}

static void walk_complain(ini_walk *w, int column, const char *what, const char *why,
                          const char *fix) {
    source from = walk_source(w, column);
    status result = complain(w->set, F_CONFIG, &from, what, why, fix);
    if (w->result == STATUS_OK) w->result = result;
}

/* Takes the next line into w->line; false at the end. */
static bool take_line(ini_walk *w) {
    if (*w->next == '\0') return false;
    size_t n = strcspn(w->next, "\n");
    const char *start = w->next;
    w->next += n + (w->next[n] == '\n');
    w->number++;
    bool cut = n > LINE_MOST;
    if (cut) n = LINE_MOST;
    if (n > 0 && start[n - 1] == '\r') n--;
    memcpy(w->line, start, n);
    w->line[n] = '\0';
    if (cut) {
        w->line[60] = '\0'; /* enough to recognise it */
        walk_complain(w, 1, "line too long", text("at most %d bytes are read", LINE_MOST),
                      "shorten it");
        w->line[0] = '\0';
    }
    return true;
}

/* Looks at a section line: its name must be closed and known. */
static bool section_line(ini_walk *w, const char *start) {
    const char *end = strchr(start, ']');
    int column = (int)(start - w->line) + 1;
    w->skipping = true;
    if (end == NULL) {
        walk_complain(w, column, "section without \"]\"", "a section is written [name]",
                      "add the bracket");
        return false;
    }
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(end - start - 1), start + 1);
    w->skipping = !section_known(w->set, name);
    if (!w->skipping) return true;
    source from = walk_source(w, column + 1);
    status result = unknown_section(w->set, &from, name);
    if (w->result == STATUS_OK) w->result = result;
    return true;
}

/* fgets for libinih: hands over the next line without indentation, after a look at it. */
static char *read_line(char *buffer, int room, void *user) {
    ini_walk *w = user;
    if (w->result != STATUS_OK || !take_line(w)) return NULL;
    const char *start = w->line + strspn(w->line, " \t");
    bool pass = true;
    if (*start == '[') {
        pass = section_line(w, start);
    } else if (*start != '\0' && *start != ';' && *start != '#' && strpbrk(start, "=:") == NULL) {
        if (!w->skipping)
            walk_complain(w, (int)(start - w->line) + 1, "line without \"=\"",
                          "a setting is written name = value", "add the value, or begin with #");
        pass = false;
    }
    if (snprintf(buffer, (size_t)room, "%s\n", pass ? start : "") >= room) {
        walk_complain(w, 1, "line too long", text("at most %d bytes are read", room - 3),
                      "shorten it");
        snprintf(buffer, (size_t)room, "\n");
    }
    return buffer;
}

static int value_column(const ini_walk *w) {
    const char *mark = strpbrk(w->line, "=:");
    if (mark == NULL) return 1;
    mark++;
    return (int)(mark + strspn(mark, " \t") - w->line) + 1;
}

static int on_pair(void *user, const char *section, const char *name, const char *value) {
    ini_walk *w = user;
    if (w->skipping || w->result != STATUS_OK) return 1;
    bound_table *bound;
    const option *row = file_row(w->set, section, name, &bound);
    if (row == NULL) {
        source from = walk_source(w, (int)strspn(w->line, " \t") + 1);
        w->result = unknown_key(w->set, &from, section, name);
        return 1;
    }
    char *copy = arena_strdup(&w->set->strings, value);
    if (copy == NULL) {
        w->result = STATUS_MEMORY;
    } else if (!value_unquote(copy)) {
        walk_complain(w, value_column(w), text("%s is not quoted correctly", option_path(row)),
                      "text in double quotes knows the escapes \\\" \\\\ \\n \\t \\xHH, and needs "
                      "\\x3b for a semicolon",
                      "correct the quotes");
    } else {
        source from = walk_source(w, value_column(w));
        w->result = assign(w->set, bound, row, copy, &from);
    }
    return 1;
}

status option_set_ini(option_set *set, option_layer layer, const char *where, const char *ini) {
    size_t n = strlen(ini), good = utf8_valid(ini, n);
    if (good < n) {
        source from = {.layer = layer, .origin = where, .place = where};
        return complain(set, F_CONFIG, &from, "not UTF-8 text", text("byte %zu is not", good),
                        "save the file as UTF-8");
    }
    if (n >= 3 && memcmp(ini, "\xEF\xBB\xBF", 3) == 0) ini += 3;
    ini_walk *w = mem_zalloc(1, sizeof *w);
    if (w == NULL) return STATUS_MEMORY;
    w->set = set;
    w->layer = layer;
    w->where = where;
    w->next = ini;
#if FATHOM_INIH_RUNTIME /* Debian's libinih has its limits in variables */
    ini_use_stack = false;
    ini_max_line = ini_initial_alloc = LINE_MOST + 2;
#endif
    int line = ini_parse_stream(read_line, w, on_pair, w);
    status result = w->result;
    if (result == STATUS_OK && line == -2) {
        result = FAIL(F_NO_MEMORY, "cannot read settings", where, "no memory for a line",
                      "close other programs");
    } else if (result == STATUS_OK && line > 0 && set->n_complaints == 0) {
        source from = {.layer = layer, .origin = where, .place = text("%s:%d", where, line)};
        result = complain(set, F_CONFIG, &from, "line not understood",
                          "it is neither [section] nor name = value", "correct or remove it");
    }
    mem_free(w);
    return result;
}

status option_set_file(option_set *set, option_layer layer, const char *path) {
    char *bytes;
    size_t n;
    TRY(file_read(path, FILE_MOST, &bytes, &n));
    status result;
    if (strlen(bytes) != n) {
        source from = {.layer = layer, .origin = path, .place = path};
        result = complain(set, F_CONFIG, &from, "not a text file", "it holds a NUL byte",
                          "name a file of settings");
    } else {
        result = option_set_ini(set, layer, path, bytes);
    }
    mem_free(bytes);
    return result;
}

/* -- environment -- */

/* FATHOM_TRAIN_LEARNING_RATE for a row. */
static void environment_name(const option *row, char *out, size_t room) {
    snprintf(out, room, "FATHOM_%s%s%s", row->section, row->section[0] != '\0' ? "_" : "",
             row->name);
    for (char *p = out; *p != '\0'; p++)
        *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
}

static status environment_one(option_set *set, const char *name, const char *value) {
    char known[NAMES_MOST][64];
    const char *names[NAMES_MOST];
    int n = 0;
    for (int t = 0; t < set->n_tables; t++) {
        bound_table *bound = &set->tables[t];
        for (int i = 0; i < bound->table->n && n < NAMES_MOST; i++) {
            const option *row = &bound->table->rows[i];
            if ((row->flags & OPTION_FLAG_ONLY) != 0) continue;
            environment_name(row, known[n], sizeof known[n]);
            if (strcmp(known[n], name) == 0) {
                source from = {.layer = LAYER_ENVIRONMENT, .origin = name};
                from.place = text("environment %s", name);
                return assign(set, bound, row, value, &from);
            }
            names[n] = known[n];
            n++;
        }
    }
    return warn(set, text("environment variable %s names no setting: %s", name,
                          did_you_mean(name, names, n)));
}

status option_set_environment(option_set *set, char *const *environment) {
    for (; *environment != NULL; environment++) {
        const char *entry = *environment, *equals = strchr(entry, '=');
        if (equals == NULL || strncmp(entry, "FATHOM_", 7) != 0) continue;
        if (strncmp(entry, "FATHOM_TEST_", 12) == 0) continue; /* the test programs' own */
        char *name = arena_strdup(&set->strings, entry);
        if (name == NULL) return STATUS_MEMORY;
        name[equals - entry] = '\0';
        TRY(environment_one(set, name, equals + 1));
    }
    return STATUS_OK;
}

/* -- flags -- */

static const option *active_row(option_set *set, const char *name, bound_table **bound) {
    for (int t = 0; t < set->n_tables; t++) {
        if (!set->tables[t].active) continue;
        const option *row = option_find(set->tables[t].table, NULL, name);
        if (row == NULL) continue;
        *bound = &set->tables[t];
        return row;
    }
    return NULL;
}

static status unknown_flag(option_set *set, const char *name) {
    const char *names[NAMES_MOST];
    int n = 0;
    for (int t = 0; t < set->n_tables; t++) {
        if (!set->tables[t].active) continue;
        const option_table *table = set->tables[t].table;
        for (int i = 0; i < table->n && n < NAMES_MOST; i++)
            if ((table->rows[i].flags & OPTION_HIDDEN) == 0) names[n++] = table->rows[i].name;
    }
    source from = {.layer = LAYER_FLAG, .origin = "command line", .place = "command line"};
    int near = word_nearest(name, names, n);
    return complain(set, F_UNKNOWN_OPTION, &from, text("unknown option --%s", name),
                    near >= 0 ? text("did you mean --%s?", names[near])
                              : "no option of this command has a similar name",
                    near >= 0
                        ? text("--%s; the same command with --help lists its options", names[near])
                        : "the same command with --help lists its options");
}

/* May `argument` be the value of the flag before it? "-5" may, "-n" and "--name" may not. */
static bool is_value(const char *argument) {
    if (argument == NULL) return false;
    if (argument[0] != '-' || argument[1] == '\0') return true;
    return isdigit((unsigned char)argument[1]) || argument[1] == '.';
}

static status flag_value(option_set *set, bound_table *bound, const option *row,
                         const char *written, const char *value) {
    source from = {.layer = LAYER_FLAG, .origin = written, .place = "command line"};
    if (value != NULL) return assign(set, bound, row, value, &from);
    return complain(set, F_BAD_VALUE, &from, text("%s needs a value", written),
                    text("nothing that can be a value follows it (begin one that starts with a "
                         "dash with \"%s=\")",
                         written),
                    "give it a value; the same command with --help explains it");
}

status option_set_flag(option_set *set, const char *name, const char *value, const char *next,
                       bool *used_next) {
    *used_next = false;
    bound_table *bound;
    const option *row = active_row(set, name, &bound);
    if (row != NULL && row->type == OPTION_BOOL)
        return flag_value(set, bound, row, text("--%s", row->name), value != NULL ? value : "true");
    if (row != NULL) {
        *used_next = value == NULL && is_value(next);
        return flag_value(set, bound, row, text("--%s", row->name), *used_next ? next : value);
    }
    if (strncmp(name, "no-", 3) == 0 || strncmp(name, "no_", 3) == 0) {
        row = active_row(set, name + 3, &bound);
        if (row != NULL && row->type == OPTION_BOOL && value == NULL)
            return flag_value(set, bound, row, text("--no-%s", row->name), "false");
    }
    return unknown_flag(set, name);
}

status option_set_letter(option_set *set, char letter, const char *rest, const char *next,
                         bool *used_next, bool *used_rest) {
    *used_next = *used_rest = false;
    for (int t = 0; t < set->n_tables; t++) {
        bound_table *bound = &set->tables[t];
        for (int i = 0; bound->active && i < bound->table->n; i++) {
            const option *row = &bound->table->rows[i];
            if (row->letter != letter) continue;
            const char *written = text("-%c", letter);
            if (row->type == OPTION_BOOL) return flag_value(set, bound, row, written, "true");
            *used_rest = rest[0] != '\0';
            *used_next = !*used_rest && is_value(next);
            return flag_value(set, bound, row, written,
                              *used_rest   ? rest
                              : *used_next ? next
                                           : NULL);
        }
    }
    source from = {.layer = LAYER_FLAG, .origin = "command line", .place = "command line"};
    return complain(set, F_UNKNOWN_OPTION, &from, text("unknown option -%c", letter),
                    "no option of this command has this letter",
                    "the same command with --help lists its options");
}

status option_set_assign(option_set *set, const char *assignment) {
    source from = {.layer = LAYER_FLAG};
    from.origin = from.place = text("--set %s", assignment);
    const char *equals = strchr(assignment, '=');
    if (equals == NULL || equals == assignment)
        return complain(set, F_BAD_VALUE, &from, text("--set \"%s\" has no value", assignment),
                        "it is written --set section.key=value", "fathom config keys");
    char *section = arena_strdup(&set->strings, assignment);
    if (section == NULL) return STATUS_MEMORY;
    section[equals - assignment] = '\0';
    char *dot = strchr(section, '.');
    const char *name = dot != NULL ? dot + 1 : section;
    if (dot != NULL) *dot = '\0';
    if (dot == NULL) section = section + strlen(section); /* "" */
    bound_table *bound;
    const option *row = file_row(set, section, name, &bound);
    if (row != NULL) return assign(set, bound, row, equals + 1, &from);
    if (section[0] != '\0' && !section_known(set, section))
        return unknown_section(set, &from, section);
    return unknown_key(set, &from, section, name);
}

/* -- resolution -- */

static status apply_preset(option_set *set, const bound_table *bound, const option *row) {
    const winner *w = &bound->winners[row - bound->table->rows];
    const char *name = w->value != NULL ? w->value : row->standard;
    if (name == NULL || name[0] == '\0' || bound->table->presets == NULL) return STATUS_OK;
    const option_preset *preset = option_preset_find(bound->table, name);
    if (preset != NULL)
        return option_set_ini(set, LAYER_PRESET, text("preset %s", preset->name), preset->ini);
    const char *names[NAMES_MOST];
    int n = 0;
    while (n < NAMES_MOST && bound->table->presets[n].name != NULL) {
        names[n] = bound->table->presets[n].name;
        n++;
    }
    source from = {.layer = w->layer, .place = w->place, .line = w->line, .column = w->column};
    if (from.place == NULL) from.place = "built-in";
    return complain(set, w->layer == LAYER_FLAG ? F_BAD_VALUE : F_CONFIG, &from,
                    text("unknown preset \"%s\"", name), did_you_mean(name, names, n),
                    "fathom config presets");
}

/* Presets of the tables that are (not) those of the running command. */
static status apply_presets(option_set *set, bool active) {
    for (int t = 0; t < set->n_tables; t++) {
        const bound_table *bound = &set->tables[t];
        for (int i = 0; bound->active == active && i < bound->table->n; i++)
            if ((bound->table->rows[i].flags & OPTION_PRESET) != 0)
                TRY(apply_preset(set, bound, &bound->table->rows[i]));
    }
    return STATUS_OK;
}

status option_set_resolve(option_set *set) {
    TRY(apply_presets(set, false));
    TRY(apply_presets(set, true)); /* these are the later ones and win */
    TRY(option_set_check(set));
    for (int t = 0; t < set->n_tables; t++) {
        bound_table *bound = &set->tables[t];
        for (int i = 0; i < bound->table->n; i++)
            if (bound->winners[i].value != NULL)
                TRY(option_value_parse(&bound->table->rows[i], bound->winners[i].value,
                                       bound->settings));
    }
    return STATUS_OK;
}

static const winner *winner_of(const option_set *set, const option *row) {
    for (int t = 0; t < set->n_tables; t++) {
        const option *rows = set->tables[t].table->rows;
        if (row >= rows && row < rows + set->tables[t].table->n)
            return &set->tables[t].winners[row - rows];
    }
    return NULL;
}

status option_set_refuse(option_set *set, const option *row, const char *format, ...) {
    char why[ERROR_PART];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(why, sizeof why, format, args);
    va_end(args);
    const winner *w = winner_of(set, row);
    if (n < 0 || w == NULL)
        return FAIL(F_INTERNAL, "a setting was refused that does not exist", option_path(row),
                    "its table was not added", "report this with the command that led here");
    const char *value = w->value != NULL ? w->value : row->standard;
    source from = {.layer = w->layer, .place = w->place, .line = w->line, .column = w->column};
    if (from.place == NULL) from.place = "built-in";
    return complain(set, w->layer == LAYER_FLAG ? F_BAD_VALUE : F_CONFIG, &from,
                    text("%s = %s", option_path(row), value != NULL ? value : "nothing"), why,
                    row->section[0] != '\0' ? text("fathom config keys %s", row->section)
                                            : "fathom --help");
}

const char *option_set_origin(const option_set *set, const option *row, option_layer *layer) {
    const winner *w = winner_of(set, row);
    if (layer != NULL) *layer = w != NULL ? w->layer : LAYER_BUILT_IN;
    return w != NULL && w->value != NULL ? w->origin : "built-in";
}

const char *option_set_value(const option_set *set, const option *row) {
    const winner *w = winner_of(set, row);
    return w != NULL ? w->value : NULL;
}
