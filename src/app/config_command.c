/* config_command.c - `fathom config`: look at settings, write them, compare them.
 *
 * Everything here is read from the option tables of the whole program; no setting is named.
 */
#include "app/app.h"

#include "base/file.h"
#include "model/presets.h"

#include <string.h>

#define TABLES_MOST 128

/* All tables of the program and a settings block of its own for each. */
typedef struct all_settings {
    option_set *options;
    const option_table *tables[TABLES_MOST];
    void *settings[TABLES_MOST];
    int n;
} all_settings;

static void settings_clear(all_settings *all) {
    option_set_free(all->options);
}

/* Built-in values and what `path` says; NULL = built-in values alone. */
static status settings_load(all_settings *all, const command_context *c, const char *path) {
    memset(all, 0, sizeof *all);
    all->n = command_tables(c->program, all->tables, TABLES_MOST);
    TRY(option_set_new(&all->options));
    for (int t = 0; t < all->n; t++) {
        TRY(option_set_add(all->options, all->tables[t], false));
        all->settings[t] = option_set_settings(all->options, all->tables[t]);
    }
    if (path == NULL) return STATUS_OK;
    char inside[PATH_SIZE]; /* a run folder stands for its config.ini */
    if (path_is_folder(path)) {
        TRY(path_join(inside, path, "config.ini"));
        path = inside;
    }
    TRY(option_set_file(all->options, LAYER_PROJECT_FILE, path));
    for (int i = 0; i < option_set_complaints(all->options); i++)
        fprintf(stderr, "%s\n", option_set_complaint(all->options, i));
    return option_set_resolve(all->options);
}

/* The settings in force in this call. */
static void settings_current(all_settings *all, const command_context *c) {
    memset(all, 0, sizeof *all);
    all->n = command_tables(c->program, all->tables, TABLES_MOST);
    for (int t = 0; t < all->n; t++)
        all->settings[t] = SETTINGS(c, all->tables[t]);
}

static bool is_setting(const option *row) {
    return (row->flags & OPTION_FLAG_ONLY) == 0;
}

static const char *section_title(const char *section) {
    return section[0] != '\0' ? section : "every command";
}

/* F_BAD_VALUE with the nearest name, unless `wanted` is NULL or a section. */
static status check_section(const all_settings *all, const char *wanted) {
    const char *names[256];
    int n = 0;
    for (int t = 0; t < all->n && wanted != NULL; t++) {
        for (int i = 0; i < all->tables[t]->n && n < 256; i++) {
            const char *section = all->tables[t]->rows[i].section;
            if (strcmp(section, wanted) == 0) return STATUS_OK;
            if (section[0] != '\0' && (n == 0 || strcmp(names[n - 1], section) != 0))
                names[n++] = section;
        }
    }
    if (wanted == NULL) return STATUS_OK;
    int near = word_nearest(wanted, names, n);
    return FAIL(F_BAD_VALUE, text("unknown section \"%s\"", wanted), "command line",
                near >= 0 ? text("did you mean \"%s\"?", names[near])
                          : "nothing has a similar name",
                "fathom config keys");
}

/* Calls `visit` for every row of a section (NULL = all), sections together. */
typedef status row_visitor(void *context, const all_settings *all, int table, const option *row,
                           bool first);

static bool seen_before(const all_settings *all, int table, int row) {
    const char *section = all->tables[table]->rows[row].section;
    for (int t = 0; t <= table; t++) {
        int end = t < table ? all->tables[t]->n : row;
        for (int i = 0; i < end; i++)
            if (strcmp(all->tables[t]->rows[i].section, section) == 0) return true;
    }
    return false;
}

static status visit_section(const all_settings *all, const char *section, row_visitor *visit,
                            void *context) {
    bool first = true;
    for (int t = 0; t < all->n; t++) {
        for (int i = 0; i < all->tables[t]->n; i++) {
            const option *row = &all->tables[t]->rows[i];
            if (!is_setting(row) || strcmp(row->section, section) != 0) continue;
            TRY(visit(context, all, t, row, first));
            first = false;
        }
    }
    return STATUS_OK;
}

static status visit_rows(const all_settings *all, const char *section, row_visitor *visit,
                         void *context) {
    TRY(check_section(all, section));
    if (section != NULL) return visit_section(all, section, visit, context);
    for (int t = 0; t < all->n; t++)
        for (int i = 0; i < all->tables[t]->n; i++)
            if (!seen_before(all, t, i))
                TRY(visit_section(all, all->tables[t]->rows[i].section, visit, context));
    return STATUS_OK;
}

/* -- show -- */

typedef struct show_settings {
    bool origin;
} show_settings;

static const option show_rows[] = {
    {"", "origin", OPTION_BOOL, offsetof(show_settings, origin), "false",
     "Say where each value comes from.", .flags = OPTION_FLAG_ONLY},
};
static const option_table show_options = {show_rows, 1, sizeof(show_settings), NULL};
static const option_table *const show_tables[] = {&show_options, NULL};

typedef struct show_walk {
    command_context *c;
    bool origin;
    json_t *result;
} show_walk;

static status show_row(void *context, const all_settings *all, int table, const option *row,
                       bool first) {
    show_walk *w = context;
    const char *value = option_value_text(row, all->settings[table]);
    const char *origin = option_set_origin(w->c->options, row, NULL);
    if (first && row->section[0] != '\0') say(w->c, "\n[%s]\n", row->section);
    say(w->c, "%s = %s", row->name, value);
    if (w->origin) {
        int used = (int)(strlen(row->name) + strlen(value)) + 3;
        say(w->c, "%*s; %s", used < 40 ? 40 - used : 1, "", origin);
    }
    say(w->c, "\n");
    json_t *entry = json_pack("{ss ss}", "value", value, "origin", origin);
    if (entry == NULL || json_object_set_new(w->result, option_path(row), entry) != 0)
        return STATUS_MEMORY;
    return STATUS_OK;
}

static status show_run(command_context *c) {
    const show_settings *s = c->settings[0];
    all_settings all;
    settings_current(&all, c);
    show_walk w = {.c = c, .origin = s->origin, .result = json_object()};
    TRY(result_set(c, "settings", w.result));
    return visit_rows(&all, c->n_arguments > 0 ? c->arguments[0] : NULL, show_row, &w);
}

static const command show_command = {
    .name = "show",
    .summary = "print the settings in force",
    .usage = "[SECTION]",
    .examples = "fathom config show\nfathom config show train --origin",
    .max_arguments = 1,
    .options = show_tables,
    .run = show_run,
};

/* -- keys -- */

static const char *const type_words[] = {
    [OPTION_BOOL] = "true/false", [OPTION_INT] = "whole number", [OPTION_INT64] = "whole number",
    [OPTION_COUNT] = "count",     [OPTION_SIZE] = "size",        [OPTION_SEED] = "whole number",
    [OPTION_REAL] = "number",     [OPTION_DURATION] = "time",    [OPTION_EVERY] = "steps or time",
    [OPTION_STRING] = "text",     [OPTION_CHOICE] = "choice",
};

static status keys_row(void *context, const all_settings *all, int table, const option *row,
                       bool first) {
    show_walk *w = context;
    (void)all, (void)table;
    if (first) say(w->c, "[%s]\n", section_title(row->section));
    const char *standard = row->standard != NULL ? row->standard : "";
    say(w->c, "  %-22s %-14s %-12s %s", row->name, type_words[row->type], standard, row->help);
    json_t *choices = row->choices != NULL ? json_array() : NULL;
    for (int i = 0; row->choices != NULL && row->choices[i] != NULL; i++) {
        say(w->c, "%s%s", i == 0 ? " (" : ", ", row->choices[i]);
        if (json_array_append_new(choices, json_string(row->choices[i])) != 0) {
            json_decref(choices);
            return STATUS_MEMORY;
        }
    }
    say(w->c, "%s\n", row->choices != NULL ? ")" : "");
    json_t *entry = json_pack("{ss ss ss so*}", "type", type_words[row->type], "default", standard,
                              "help", row->help, "choices", choices);
    if (entry == NULL || json_object_set_new(w->result, option_path(row), entry) != 0)
        return STATUS_MEMORY;
    return STATUS_OK;
}

static status keys_run(command_context *c) {
    all_settings all;
    settings_current(&all, c);
    show_walk w = {.c = c, .result = json_object()};
    TRY(result_set(c, "keys", w.result));
    return visit_rows(&all, c->n_arguments > 0 ? c->arguments[0] : NULL, keys_row, &w);
}

static const command keys_command = {
    .name = "keys",
    .summary = "list every setting with its type, default and meaning",
    .usage = "[SECTION]",
    .examples = "fathom config keys\nfathom config keys train",
    .max_arguments = 1,
    .run = keys_run,
};

/* -- init -- */

/* The built-in settings as a file in which every value is commented out, so that a later version's
 * better default is not frozen by an old file. */
static status commented_file(const all_settings *all, char **out) {
    char *ini;
    TRY(options_write(all->tables, all->settings, all->n, true, &ini));
    size_t n = strlen(ini), lines = 0;
    for (size_t i = 0; i < n; i++)
        lines += ini[i] == '\n';
    static const char head[] =
        "# Settings of fathom. Remove the mark in front of a line to set it; flags and "
        "environment\n"
        "# win over this file. \"fathom config show --origin\" tells what is in force and why.\n\n";
    *out = mem_alloc(sizeof head + n + lines + 1);
    if (*out == NULL) {
        mem_free(ini);
        return STATUS_MEMORY;
    }
    char *to = *out;
    memcpy(to, head, sizeof head - 1);
    to += sizeof head - 1;
    for (const char *line = ini; *line != '\0';) {
        size_t length = strcspn(line, "\n") + 1;
        if (*line != '#' && *line != '[' && *line != '\n') *to++ = ';';
        memcpy(to, line, length);
        to += length;
        line += length;
    }
    *to = '\0';
    mem_free(ini);
    return STATUS_OK;
}

static const option_preset *find_preset(const all_settings *all, const char *name) {
    for (int t = 0; t < all->n; t++) {
        const option_preset *preset = option_preset_find(all->tables[t], name);
        if (preset != NULL) return preset;
    }
    return NULL;
}

static status unknown_preset(const all_settings *all, const char *name) {
    const char *names[256];
    int n = 0;
    for (int t = 0; t < all->n; t++)
        for (const option_preset *p = all->tables[t]->presets; p != NULL && p->name != NULL; p++)
            if (n < 256) names[n++] = p->name;
    int near = word_nearest(name, names, n);
    return FAIL(F_BAD_VALUE, text("unknown preset \"%s\"", name), "command line",
                near >= 0 ? text("did you mean \"%s\"?", names[near])
                          : "nothing has a similar name",
                "fathom config presets");
}

typedef struct init_settings {
    const char *from;
} init_settings;

static const option init_rows[] = {
    {"", "from", OPTION_STRING, offsetof(init_settings, from), NULL,
     "Begin with the values of this preset.", .flags = OPTION_FLAG_ONLY, .value = "PRESET"},
};
static const option_table init_options = {init_rows, 1, sizeof(init_settings), NULL};
static const option_table *const init_tables[] = {&init_options, NULL};

static status init_text(const command_context *c, const char *from, char **ini) {
    all_settings all;
    status result = settings_load(&all, c, NULL);
    if (result == STATUS_OK && from != NULL) {
        const option_preset *preset = find_preset(&all, from);
        if (preset == NULL)
            result = unknown_preset(&all, from);
        else
            result = (*ini = mem_strdup(preset->ini)) != NULL ? STATUS_OK : STATUS_MEMORY;
    } else if (result == STATUS_OK) {
        result = commented_file(&all, ini);
    }
    settings_clear(&all);
    return result;
}

static status init_run(command_context *c) {
    const init_settings *s = c->settings[0];
    const char *path = c->output != NULL ? c->output : "fathom.ini";
    bool to_stdout = strcmp(path, "-") == 0, yes = true;
    if (!to_stdout && !c->dry_run && path_exists(path))
        TRY(command_confirm(c, text("%s exists; replace it?", path), &yes));
    char *ini = NULL;
    TRY(init_text(c, s->from, &ini));
    status result = STATUS_OK;
    if (to_stdout) {
        say(c, "%s", ini);
    } else if (c->dry_run) {
        say(c, "would write %zu bytes to %s\n", strlen(ini), path);
    } else if (yes) {
        result = file_write(path, ini, strlen(ini));
        if (result == STATUS_OK) say(c, "wrote %s\n", path);
    } else {
        say(c, "kept %s\n", path);
    }
    if (result == STATUS_OK) result = result_set(c, "path", json_string(path));
    if (result == STATUS_OK) result = result_set(c, "ini", json_string(ini));
    mem_free(ini);
    return result;
}

static const command init_command = {
    .name = "init",
    .summary = "write fathom.ini with every setting explained",
    .examples = "fathom config init\nfathom config init --from small\nfathom config init -o -",
    .options = init_tables,
    .run = init_run,
};

/* -- check, diff -- */

static status check_run(command_context *c) {
    /* Without a file the frame has read and accepted everything before this line. */
    const char *path = c->n_arguments > 0 ? c->arguments[0] : NULL;
    all_settings all;
    status result = settings_load(&all, c, path);
    settings_clear(&all);
    TRY(result);
    say(c, "%s: accepted\n", path != NULL ? path : "all settings in force");
    return result_set(c, "accepted", json_true());
}

static const command check_command = {
    .name = "check",
    .summary = "check a file of settings, or all that are in force",
    .usage = "[FILE | RUN]",
    .examples = "fathom config check\nfathom config check fathom.ini",
    .max_arguments = 1,
    .run = check_run,
};

typedef struct diff_walk {
    command_context *c;
    const all_settings *right;
    json_t *result;
    int n;
} diff_walk;

static status diff_row(void *context, const all_settings *left, int table, const option *row,
                       bool first) {
    diff_walk *w = context;
    (void)first;
    const char *a = option_value_text(row, left->settings[table]);
    const char *b = option_value_text(row, w->right->settings[table]);
    if (strcmp(a, b) == 0) return STATUS_OK;
    say(w->c, "%-28s %-20s -> %s\n", option_path(row), a, b);
    w->n++;
    json_t *entry = json_pack("{ss ss}", "from", a, "to", b);
    if (entry == NULL || json_object_set_new(w->result, option_path(row), entry) != 0)
        return STATUS_MEMORY;
    return STATUS_OK;
}

static status diff_run(command_context *c) {
    all_settings left, right = {0};
    bool two = c->n_arguments == 2;
    status result = settings_load(&left, c, c->n_arguments > 0 ? c->arguments[0] : NULL);
    if (result == STATUS_OK && two)
        result = settings_load(&right, c, c->arguments[1]);
    else
        settings_current(&right, c);
    diff_walk w = {.c = c, .right = &right, .result = json_object()};
    if (result == STATUS_OK)
        result = result_set(c, "differences", w.result);
    else
        json_decref(w.result);
    if (result == STATUS_OK) result = visit_rows(&left, NULL, diff_row, &w);
    if (result == STATUS_OK && w.n == 0) say(c, "no difference\n");
    settings_clear(&left);
    settings_clear(&right);
    return result;
}

static const command diff_command = {
    .name = "diff",
    .summary = "differences between built-in, files, runs and what is in force",
    .usage = "[FILE | RUN] [FILE | RUN]",
    .examples = "fathom config diff\nfathom config diff runs/first\n"
                "fathom config diff runs/first runs/second",
    .max_arguments = 2,
    .run = diff_run,
    .notes = "Without an argument: built-in values against those in force. With one: that file\n"
             "against those in force. With two: the first against the second.\n",
};

/* -- presets, schema -- */

static status list_sizes(command_context *c) {
    json_t *list = json_object();
    TRY(result_set(c, "sizes", list));
    say(c, "sizes of models, for --size\n");
    for (int i = 0; i < model_preset_count(); i++) {
        const model_preset *p = model_preset_at(i);
        say(c, "  %-20s %s\n", p->name, p->about);
        if (json_object_set_new(list, p->name, json_string(p->about)) != 0) return STATUS_MEMORY;
    }
    return STATUS_OK;
}

static status presets_run(command_context *c) {
    all_settings all;
    settings_current(&all, c);
    if (c->n_arguments > 0) {
        const option_preset *preset = find_preset(&all, c->arguments[0]);
        if (preset == NULL) return unknown_preset(&all, c->arguments[0]);
        say(c, "# %s: %s\n%s", preset->name, preset->about, preset->ini);
        TRY(result_set(c, "name", json_string(preset->name)));
        return result_set(c, "ini", json_string(preset->ini));
    }
    json_t *list = json_object();
    TRY(result_set(c, "presets", list));
    say(c, "recipes, for --preset\n");
    for (int t = 0; t < all.n; t++) {
        for (const option_preset *p = all.tables[t]->presets; p != NULL && p->name != NULL; p++) {
            say(c, "  %-20s %s\n", p->name, p->about);
            if (json_object_set_new(list, p->name, json_string(p->about)) != 0)
                return STATUS_MEMORY;
        }
    }
    return list_sizes(c);
}

static const command presets_command = {
    .name = "presets",
    .summary = "list recipes and sizes of models, or print a recipe as INI",
    .usage = "[PRESET]",
    .examples = "fathom config presets\nfathom config presets shakespeare-char",
    .max_arguments = 1,
    .run = presets_run,
};

static status schema_run(command_context *c) {
    all_settings all;
    settings_current(&all, c);
    json_t *schema = options_schema(all.tables, all.n);
    if (schema == NULL) return STATUS_MEMORY;
    TRY(result_set(c, "json_schema", schema));
    if (c->json) return STATUS_OK;
    char *bytes = json_page(schema);
    if (bytes == NULL) return STATUS_MEMORY;
    say(c, "%s\n", bytes);
    mem_free(bytes);
    return STATUS_OK;
}

static const command schema_command = {
    .name = "schema",
    .summary = "print a JSON Schema of the settings, for editors",
    .examples = "fathom config schema > fathom.schema.json",
    .run = schema_run,
};

static const command *const config_children[] = {&init_command,    &show_command, &check_command,
                                                 &presets_command, &keys_command, &diff_command,
                                                 &schema_command,  NULL};

const command config_command = {
    .name = "config",
    .summary = "show, check, explain and write settings",
    .examples = "fathom config init\nfathom config show --origin\nfathom config keys train",
    .children = config_children,
    .notes = "Precedence: flags, FATHOM_* variables, ./fathom.ini, the user's\n"
             "$XDG_CONFIG_HOME/fathom/config.ini, presets, built-in values.\n",
};
