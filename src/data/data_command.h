/* data_command.h - what the files of `fathom data` share. Private to data/. */
#ifndef FATHOM_DATA_DATA_COMMAND_H
#define FATHOM_DATA_DATA_COMMAND_H

#include "base/command.h"
#include "data/data.h"

extern const command data_command, data_show_command, data_check_command, data_card_command;

/* Settings of import and check. */
typedef struct import_settings {
    const char *map, *max_bad, *license; /* license NULL in check */
    int format, encoding;
} import_settings;
#define IMPORT_ROWS 5
#define CHECK_ROWS  4 /* the first so many; a check writes no licence */
extern const option import_rows[IMPORT_ROWS];
extern const char *const import_formats[], *const import_encodings[];

#define IMPORT_MAP_MAX 8
/* Fills the options but inputs and folder. `map` has IMPORT_MAP_MAX places, `words` the keys. */
status import_settings_read(const import_settings *s, import_options *o, import_map *map,
                            char *words, size_t room) MUST_CHECK;
/* Says and keeps the counts. */
status import_report(command_context *c, const import_result *r) MUST_CHECK;

#endif
