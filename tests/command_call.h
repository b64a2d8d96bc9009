/* command_call.h - one call of a program inside a test: what it prints and how it ends.
 *
 *     call_enter();                                        // an empty folder, no settings around
 *     call_result r = call_program(&program, "config show --json", 0);
 *     CHECK(r.code == 0 && strstr(r.out, "\"ok\":true") != NULL, "%s%s", r.out, r.err);
 *     call_clear(&r);
 *     call_leave();
 */
#ifndef FATHOM_TESTS_COMMAND_CALL_H
#define FATHOM_TESTS_COMMAND_CALL_H

#include "base/command.h"

typedef struct call_result {
    int code;
    char *out, *err; /* never NULL */
    bool failure_happened;
} call_result;

/* Words are separated by blanks. Standard input is empty. Allocation `fail_at` fails, 0 = none. */
call_result call_program(const command_program *program, const char *words, int64_t fail_at);
void call_clear(call_result *r);

/* Changes into test_folder() and makes it the home of settings; and back. */
void call_enter(void);
void call_leave(void);

#endif
