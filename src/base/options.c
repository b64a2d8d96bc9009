/* options.c - a table by itself: built-in values, INI text, help, JSON Schema. */
#include "base/options.h"

#include "base/option_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECTIONS_MOST 64

status options_defaults(const option_table *table, void *settings) {
    memset(settings, 0, table->settings_size);
    for (int i = 0; i < table->n; i++) {
        const option *row = &table->rows[i];
        if (row->standard != NULL) TRY(option_value_parse(row, row->standard, settings));
    }
    return STATUS_OK;
}

const option *option_find(const option_table *table, const char *section, const char *name) {
    for (int i = 0; i < table->n; i++) {
        const option *row = &table->rows[i];
        if (section != NULL && !name_equal(row->section, section)) continue;
        if (name_equal(row->name, name)) return row;
    }
    return NULL;
}

const option_preset *option_preset_find(const option_table *table, const char *name) {
    for (const option_preset *p = table->presets; p != NULL && p->name != NULL; p++)
        if (name_equal(p->name, name)) return p;
    return NULL;
}

/* Sections of all tables, each once, in order; "" first if it is there. */
static int list_sections(const option_table *const *tables, int n, const char **sections) {
    int found = 0;
    for (int t = 0; t < n; t++) {
        for (int i = 0; i < tables[t]->n; i++) {
            const char *section = tables[t]->rows[i].section;
            int at = 0;
            while (at < found && strcmp(sections[at], section) != 0)
                at++;
            if (at < found || found == SECTIONS_MOST) continue;
            sections[found++] = section;
            if (section[0] != '\0') continue;
            memmove(sections + 1, sections, (size_t)(found - 1) * sizeof *sections);
            sections[0] = section;
        }
    }
    return found;
}

static status write_row(FILE *out, const option *row, const void *settings, bool comments) {
    if (row->type == OPTION_STRING) { /* NULL stays the built-in value by not being written */
        const char *string;
        memcpy(&string, (const char *)settings + row->offset, sizeof string);
        if (string == NULL) return STATUS_OK;
    }
    const char *value = option_value_text(row, settings);
    size_t room = 4 * strlen(value) + 8;
    char *quoted = mem_alloc(room);
    if (quoted == NULL) return STATUS_MEMORY;
    bool fits = value_quote(value, quoted, room);
    if (comments) fprintf(out, "# %s\n", row->help);
    if (fits) fprintf(out, "%s = %s\n", row->name, quoted);
    mem_free(quoted);
    return fits ? STATUS_OK
                : FAIL(F_INTERNAL, "cannot write a setting", option_path(row),
                       "its quoted form is longer than expected", "report this value");
}

static status write_sections(FILE *out, const option_table *const *tables, void *const *settings,
                             int n, bool comments) {
    const char *sections[SECTIONS_MOST];
    int n_sections = list_sections(tables, n, sections);
    bool first = true;
    for (int s = 0; s < n_sections; s++) {
        bool opened = sections[s][0] == '\0'; /* rows of every command need no header */
        for (int t = 0; t < n; t++) {
            for (int i = 0; i < tables[t]->n; i++) {
                const option *row = &tables[t]->rows[i];
                if (strcmp(row->section, sections[s]) != 0 || (row->flags & OPTION_FLAG_ONLY) != 0)
                    continue;
                if (!opened) fprintf(out, "%s[%s]\n", first ? "" : "\n", sections[s]);
                opened = true;
                first = false;
                TRY(write_row(out, row, settings[t], comments));
            }
        }
    }
    return STATUS_OK;
}

status options_write(const option_table *const *tables, void *const *settings, int n, bool comments,
                     char **ini) {
    *ini = NULL;
    char *bytes = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&bytes, &size);
    if (out == NULL) return error_errno(errno, "write settings", "memory");
    status result = write_sections(out, tables, settings, n, comments);
    if (fclose(out) != 0 && result == STATUS_OK) result = error_errno(ENOMEM, "write settings", "");
    if (result == STATUS_OK) {
        *ini = mem_strndup(bytes, size);
        if (*ini == NULL) result = STATUS_MEMORY;
    }
    free(bytes);
    return result;
}

/* Copies a row's value from one settings block to another; strings into `strings`. */
static status copy_row(const option *row, const void *from, void *to, arena *strings) {
    const char *value = option_value_text(row, from);
    if (row->type == OPTION_STRING) {
        value = arena_strdup(strings, value);
        if (value == NULL) return STATUS_MEMORY;
    }
    return option_value_parse(row, value, to);
}

status options_read(const option_table *const *tables, void *const *settings, int n,
                    const char *where, const char *ini, arena *strings) {
    option_set *set;
    TRY(option_set_new(&set));
    status result = STATUS_OK;
    for (int t = 0; t < n && result == STATUS_OK; t++)
        result = option_set_add(set, tables[t], false);
    if (result == STATUS_OK) result = option_set_ini(set, LAYER_PROJECT_FILE, where, ini);
    if (result == STATUS_OK) result = option_set_resolve(set);
    for (int t = 0; t < n && result == STATUS_OK; t++) {
        for (int i = 0; i < tables[t]->n && result == STATUS_OK; i++) {
            option_layer layer;
            option_set_origin(set, &tables[t]->rows[i], &layer);
            if (layer == LAYER_PROJECT_FILE)
                result = copy_row(&tables[t]->rows[i], option_set_settings(set, tables[t]),
                                  settings[t], strings);
        }
    }
    option_set_free(set);
    return result;
}

/* -- help -- */

static const char *placeholder(const option *row, char *out, size_t room) {
    switch (row->type) {
    case OPTION_BOOL: return "";
    case OPTION_INT:
    case OPTION_INT64:
    case OPTION_COUNT:
    case OPTION_SEED: return " N";
    case OPTION_SIZE: return " SIZE";
    case OPTION_REAL: return " X";
    case OPTION_DURATION: return " TIME";
    case OPTION_EVERY: return " N|TIME";
    case OPTION_STRING:
        snprintf(out, room, " %s", row->value != NULL ? row->value : "TEXT");
        return out;
    case OPTION_CHOICE: break;
    }
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; row->choices[i] != NULL && used < room - 1; i++) {
        int wrote = snprintf(out + used, room - used, "%s%s", i > 0 ? "|" : " ", row->choices[i]);
        if (wrote > 0) used += (size_t)wrote;
    }
    return out;
}

void options_help(FILE *out, const option_table *table) {
    for (int i = 0; i < table->n; i++) {
        const option *row = &table->rows[i];
        if ((row->flags & OPTION_HIDDEN) != 0) continue;
        char flag[256], letter[8] = "    ", choices[160];
        if (row->letter != 0) snprintf(letter, sizeof letter, "-%c, ", row->letter);
        bool negated =
            row->type == OPTION_BOOL && row->standard != NULL && strcmp(row->standard, "true") == 0;
        snprintf(flag, sizeof flag, "  %s--%s%s%s", letter, negated ? "[no-]" : "", row->name,
                 placeholder(row, choices, sizeof choices));
        fprintf(out, "%-32s%s%s", flag,
                strlen(flag) >= 32 ? "\n                                " : "", row->help);
        bool plain_bool = row->type == OPTION_BOOL && !negated;
        if (row->standard != NULL && row->standard[0] != '\0' && !plain_bool)
            fprintf(out, " [%s]", negated ? "on" : row->standard);
        fprintf(out, "\n");
    }
}

/* -- JSON Schema -- */

static const char *pattern_of(option_type type) {
    switch (type) {
    case OPTION_COUNT: return "^[0-9.eE+]+[kKmMgGbB]?$";
    case OPTION_SIZE: return "^[0-9.eE+]+([kKmMgGtT](iB)?)?B?$";
    case OPTION_DURATION: return "^[0-9.eE+]+$|^([0-9.eE+]+(ms|s|min|h|d))+$";
    case OPTION_EVERY: return "^[0-9.eE+]+[kKmMgGbB]?$|^([0-9.eE+]+(ms|s|min|h|d))+$";
    default: return NULL;
    }
}

static json_t *row_schema(const option *row) {
    json_t *choices = NULL;
    const char *type = "string";
    if (row->type == OPTION_BOOL) type = "boolean";
    if (row->type == OPTION_INT || row->type == OPTION_INT64 || row->type == OPTION_SEED)
        type = "integer";
    if (row->type == OPTION_REAL) type = "number";
    if (row->type == OPTION_CHOICE) {
        choices = json_array();
        for (int i = 0; row->choices[i] != NULL; i++)
            json_array_append_new(choices, json_string(row->choices[i]));
    }
    json_t *schema =
        json_pack("{ss ss so* ss* ss*}", "type", type, "description", row->help, "enum", choices,
                  "pattern", pattern_of(row->type), "default", row->standard);
    bool numeric = strcmp(type, "integer") == 0 || strcmp(type, "number") == 0;
    if (schema != NULL && numeric && (row->min != 0 || row->max != 0)) {
        json_object_set_new(schema, "minimum", json_real(row->min));
        json_object_set_new(schema, "maximum", json_real(row->max));
    }
    return schema;
}

static json_t *section_schema(const option_table *const *tables, int n, const char *section) {
    json_t *keys = json_object();
    for (int t = 0; t < n; t++)
        for (int i = 0; i < tables[t]->n; i++)
            if (strcmp(tables[t]->rows[i].section, section) == 0 &&
                (tables[t]->rows[i].flags & OPTION_FLAG_ONLY) == 0)
                json_object_set_new(keys, tables[t]->rows[i].name, row_schema(&tables[t]->rows[i]));
    return keys;
}

json_t *options_schema(const option_table *const *tables, int n) {
    const char *sections[SECTIONS_MOST];
    int n_sections = list_sections(tables, n, sections);
    error_clear();
    json_t *properties = json_object();
    for (int s = 0; s < n_sections; s++) {
        json_t *keys = section_schema(tables, n, sections[s]);
        if (sections[s][0] == '\0') { /* keys above the first section stand at the top */
            json_object_update(properties, keys);
            json_decref(keys);
        } else if (json_object_size(keys) == 0) {
            json_decref(keys);
        } else {
            json_object_set_new(properties, sections[s],
                                json_pack("{ss so sb}", "type", "object", "properties", keys,
                                          "additionalProperties", 0));
        }
    }
    json_t *schema = json_pack(
        "{ss ss ss so sb}", "$schema", "https://json-schema.org/draft/2020-12/schema", "title",
        "fathom.ini", "type", "object", "properties", properties, "additionalProperties", 0);
    if (schema != NULL && error_last()->id == F_NO_MEMORY) { /* a part is missing */
        json_decref(schema);
        return NULL;
    }
    return schema;
}
