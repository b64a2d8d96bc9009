/* command_internal.h - shared by command.c, command_help.c, manual.c and completion.c. */
#ifndef FATHOM_BASE_COMMAND_INTERNAL_H
#define FATHOM_BASE_COMMAND_INTERNAL_H

#include "base/command.h"

typedef struct global_settings {
    bool json, dry_run, yes, no_input, quiet, verbose, help, version;
    const char *output, *folder, *config, *set, *cpu;
    int color, progress, log, threads;
    uint64_t seed;
} global_settings;

extern const option_table global_options;

/* `fathom --help`, and `fathom NAME --help`. */
void help_program(FILE *out, const command_program *program);
void help_command(FILE *out, const command_program *program, const command *c, const char *name);
/* In words, without a full stop. */
const char *exit_meaning(int code);
/* The commands every program has: help, man, completion, complete. NULL-terminated. */
extern const command *const built_in_commands[];
extern const command man_command, completion_command, complete_command;

/* The command of this name among `list` (NULL-terminated); NULL if there is none. */
const command *command_find(const command *const *list, const char *name);
/* F_UNKNOWN_COMMAND with the nearest name of `list`; `first`: or of the built-in commands. */
status command_unknown(const command *const *list, bool first, const char *name,
                       const char *fix) MUST_CHECK;

#endif
