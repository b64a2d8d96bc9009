/* line_editor.c - libedit on a terminal, getline elsewhere.
 *
 * Mind: libedit keeps its state in the process; one editor at a time. Its own signal handling is
 * off, so that Ctrl-C reaches the program's handler; a line that was being typed is then dropped.
 */
#include "infer/line_editor.h"

#include "base/clock.h"

#include <editline/readline.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HISTORY_LINES 1000

/* Makes the folders of `path`; what cannot be made shows when the file is written. */
static void make_folders(char *path) {
    for (char *at = path + 1; *at != '\0'; at++) {
        if (*at != '/') continue;
        *at = '\0';
        (void)mkdir(path, 0700);
        *at = '/';
    }
}

static void find_history(line_editor *e) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (state != NULL && state[0] == '/')
        n = snprintf(e->history, sizeof e->history, "%s/fathom/chat_history", state);
    else if (home != NULL && home[0] == '/')
        n = snprintf(e->history, sizeof e->history, "%s/.local/state/fathom/chat_history", home);
    if (n < 0 || (size_t)n >= sizeof e->history) e->history[0] = '\0';
}

void line_editor_begin(line_editor *e, bool terminal) {
    *e = (line_editor){.terminal = terminal};
    if (!terminal) return;
    find_history(e);
    rl_initialize();
    rl_catch_signals = 0;
    rl_outstream = stderr;
    using_history();
    stifle_history(HISTORY_LINES);
    if (e->history[0] != '\0') (void)read_history(e->history);
}

static const char *read_plain(line_editor *e) {
    size_t room = 0;
    ssize_t n = getline(&e->line, &room, stdin);
    if (n < 0) return NULL;
    while (n > 0 && (e->line[n - 1] == '\n' || e->line[n - 1] == '\r'))
        e->line[--n] = '\0';
    return e->line;
}

const char *line_editor_read(line_editor *e, const char *prompt) {
    free(e->line);
    e->line = NULL;
    if (!e->terminal) return read_plain(e);
    e->line = readline(prompt);
    if (e->line == NULL && interrupt_take()) { /* a Ctrl-C drops the line, a second one ends */
        fprintf(stderr, "\n(Ctrl-C again, Ctrl-D or /exit ends)\n");
        e->line = readline(prompt);
    }
    if (e->line != NULL && e->line[0] != '\0') (void)add_history(e->line);
    return e->line;
}

void line_editor_end(line_editor *e) {
    free(e->line);
    e->line = NULL;
    if (!e->terminal || e->history[0] == '\0') return;
    make_folders(e->history);
    if (write_history(e->history) == 0) (void)chmod(e->history, 0600);
}
