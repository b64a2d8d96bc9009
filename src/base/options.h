/* options.h - one table row per setting; everything a setting needs is derived from its row.
 *
 *     typedef struct train_settings { double learning_rate; int64_t steps; int schedule; ... };
 *     static const char *const schedules[] = {"wsd", "cosine", NULL};
 *     static const option train_rows[] = {
 *         {"train", "learning-rate", OPTION_REAL, offsetof(train_settings, learning_rate),
 *          "3e-4", "Peak learning rate.", 0, 1},
 *         {"train", "max-steps", OPTION_COUNT, offsetof(train_settings, steps),
 *          "0", "Stop after so many updates; 0 = decided by --minutes.", 0, 1e9},
 *         {"train", "schedule", OPTION_CHOICE, offsetof(train_settings, schedule),
 *          "wsd", "Shape of the learning rate over time.", .choices = schedules},
 *     };
 *     const option_table train_options = {train_rows, 3, sizeof(train_settings), NULL};
 *
 * The row is read as flags (--learning-rate 1e-3, --learning_rate=1e-3, --no-NAME for a bool), as
 * environment (FATHOM_TRAIN_LEARNING_RATE; for rows with section "" FATHOM_NAME), as INI
 * ("[train]" and "learning-rate = 1e-3"), as --set train.learning-rate=1e-3, in presets; and it
 * gives help, `config keys`, the effective config.ini, the JSON Schema and every complaint.
 *
 * Precedence: flag > environment > ./fathom.ini > user's config.ini > preset > built-in. All
 * complaints of all sources are collected; nothing starts while there is one.
 *
 * Values: whole numbers; reals; counts with k, M, G (decimal: 1.6M tokens); sizes with K, M, G
 * (binary: 64M bytes); durations with ms, s, min, h, d (10min, 1h30min; bare = seconds); "every" =
 * a count of steps or a duration. In INI a text that starts with a quote, or holds " ;" or control
 * characters, is written in double quotes with the escapes \" \\ \n \t \xHH.
 *
 * A text row may say what its text is (.value): capital words are kinds of things, RUN, MODEL,
 * DATASET, TOKENIZER, FILE, FOLDER, PRESET, SECTION, KEY or a kind of the program (command.h, words);
 * small words stand for themselves: "mini|local". "SIZE,..." is a list with commas. --help and the
 * manual show it, and Tab completes it.
 *
 * Mind: strings stored in settings belong to the option_set (or are the literal of the row) and
 * live as long as it does. Names are unique within a section, and within one command.
 */
#ifndef FATHOM_BASE_OPTIONS_H
#define FATHOM_BASE_OPTIONS_H

#include "base/json.h"
#include "base/memory.h"

#include <stdio.h>

typedef enum option_type {                  /* stored as */
                           OPTION_BOOL,     /* bool */
                           OPTION_INT,      /* int */
                           OPTION_INT64,    /* int64_t */
                           OPTION_COUNT,    /* int64_t, decimal suffixes */
                           OPTION_SIZE,     /* int64_t bytes, binary suffixes */
                           OPTION_SEED,     /* uint64_t */
                           OPTION_REAL,     /* double */
                           OPTION_DURATION, /* double, seconds */
                           OPTION_EVERY,    /* option_every */
                           OPTION_STRING, /* const char *, "" when empty; NULL only if the standard is NULL */
                           OPTION_CHOICE, /* enum or int: index into choices */
} option_type;

/* "100" = every 100 steps, "2min" = every two minutes, "0" = never. One of both is 0. */
typedef struct option_every {
    int64_t steps;
    double seconds;
} option_every;

enum {                       /* option.flags */
       OPTION_FLAG_ONLY = 1, /* belongs to one call: not read from files, presets, environment */
       OPTION_HIDDEN = 2,    /* works, but help does not show it */
       OPTION_PRESET = 4,    /* its value names a preset of the table */
};

typedef struct option {
    const char *section, *name; /* "train", "learning-rate"; section "" = every command */
    option_type type;
    size_t offset;              /* into the settings struct */
    const char *standard;       /* built-in default, as text */
    const char *help;           /* one sentence */
    double min, max;            /* inclusive, for numbers; both 0 = only what the type can hold */
    const char *const *choices; /* NULL-terminated */
    char letter;                /* "-p" beside "--prompt"; 0 = none */
    unsigned flags;
    const char *value; /* of a text: what it is, see above; NULL = any */
} option;

typedef struct option_preset {
    const char *name, *about, *ini;
} option_preset;

typedef struct option_table {
    const option *rows;
    int n;
    size_t settings_size;
    const option_preset *presets; /* ended by a row of NULLs; NULL = none */
} option_table;

/* -- a table alone, without sources -- */

/* Fills settings with the built-in values; strings point to the rows. */
status options_defaults(const option_table *table, void *settings) MUST_CHECK;
/* The settings as INI text that options_read turns into the same settings; mem_free it. Rows with
 * OPTION_FLAG_ONLY are left out. `comments` puts each row's sentence above it. */
status options_write(const option_table *const *tables, void *const *settings, int n, bool comments,
                     char **ini) MUST_CHECK;
/* Overwrites what the INI text names; `where` is its file name for messages. Every complaint is in
 * the report (F_CONFIG). Strings go into `strings`. */
status options_read(const option_table *const *tables, void *const *settings, int n,
                    const char *where, const char *ini, arena *strings) MUST_CHECK;
/* One value as it would be written, without quotes; lives like text(). */
const char *option_value_text(const option *row, const void *settings);
/* Reads one value into settings. Strings are kept as the pointer given. On failure the report is
 * F_BAD_VALUE with what = 'train.schedule = "cosin"' and why = 'must be ... (nearest: cosine)'. */
status option_value_parse(const option *row, const char *value, void *settings) MUST_CHECK;
/* "train.learning-rate", or "seed" for rows of every command; lives like text(). */
const char *option_path(const option *row);
/* Row by name ("_" equals "-"); section NULL = any. NULL if there is none. */
const option *option_find(const option_table *table, const char *section, const char *name);
const option_preset *option_preset_find(const option_table *table, const char *name);
/* Help lines of a table ("  --learning-rate R   Peak learning rate. [3e-4]"). */
void options_help(FILE *out, const option_table *table);
/* JSON Schema (draft 2020-12) of the INI file seen as an object of sections. NULL: no memory. */
json_t *options_schema(const option_table *const *tables, int n);

/* -- a set: tables, their settings and all sources of values -- */

typedef enum option_layer {
    LAYER_BUILT_IN,
    LAYER_PRESET,
    LAYER_USER_FILE,
    LAYER_PROJECT_FILE,
    LAYER_ENVIRONMENT,
    LAYER_FLAG,
} option_layer;

typedef struct option_set option_set;
status option_set_new(option_set **out) MUST_CHECK;
void option_set_free(option_set *set); /* accepts NULL */
/* Adds a table and owns a zeroed settings block for it. Active tables are those of the running
 * command: their flags exist, and their presets win over presets of other tables. Adding twice keeps the first. */
status option_set_add(option_set *set, const option_table *table, bool active) MUST_CHECK;
void *option_set_settings(option_set *set, const option_table *table); /* NULL if not added */

/* Sources. Bad content is a complaint, not a failure. */
status option_set_ini(option_set *set, option_layer layer, const char *where,
                      const char *ini) MUST_CHECK;
status option_set_file(option_set *set, option_layer layer, const char *path) MUST_CHECK;
/* "NAME=value" strings; those that start with FATHOM_ and name no row become warnings. */
status option_set_environment(option_set *set, char *const *environment) MUST_CHECK;
/* One flag without its dashes; value NULL if none was attached by "=". `next` is the argument after
 * it, *used_next says whether it was taken as the value. */
status option_set_flag(option_set *set, const char *name, const char *value, const char *next,
                       bool *used_next) MUST_CHECK;
status option_set_letter(option_set *set, char letter, const char *rest, const char *next,
                         bool *used_next, bool *used_rest) MUST_CHECK;
/* "section.key=value" of --set. */
status option_set_assign(option_set *set, const char *assignment) MUST_CHECK;

/* Puts the values in force into the settings. Fails with F_UNKNOWN_OPTION or F_BAD_VALUE (flags)
 * or F_CONFIG (files, environment, presets) if there are complaints. */
status option_set_resolve(option_set *set) MUST_CHECK;

/* A complaint of a folder about the value of a row ("7 does not divide model.dim = 256: ..."), shown
 * with the place the value came from; then option_set_check reports all of them. */
status option_set_refuse(option_set *set, const option *row, const char *format, ...)
    PRINTF_LIKE(3, 4) MUST_CHECK;
status option_set_check(option_set *set) MUST_CHECK;
int option_set_complaints(const option_set *set);
/* One complaint, several lines: place and message, the source line, a caret. */
const char *option_set_complaint(const option_set *set, int i);
int option_set_warnings(const option_set *set);
const char *option_set_warning(const option_set *set, int i);

/* Where the value in force came from: "fathom.ini:14", "FATHOM_SEED", "--seed", "preset small",
 * "built-in". */
const char *option_set_origin(const option_set *set, const option *row, option_layer *layer);
/* The value in force as text, already before option_set_resolve; NULL = built-in. */
const char *option_set_value(const option_set *set, const option *row);
/* All tables in the order added. */
int option_set_tables(const option_set *set);
const option_table *option_set_table(const option_set *set, int i);

/* -- words -- */

/* Edits (insert, delete, replace, swap of neighbours) between two words, "_" equal to "-". */
int word_distance(const char *a, const char *b);
/* Index of the nearest of n names, if near enough to be a typing error; else -1. */
int word_nearest(const char *word, const char *const *names, int n);

/* The value syntax for others: false if `value` is not one. */
bool parse_int64(const char *value, int64_t *out);
bool parse_real(const char *value, double *out); /* finite only */
bool parse_count(const char *value, int64_t *out);
bool parse_size(const char *value, int64_t *out);
bool parse_duration(const char *value, double *seconds);

#endif
