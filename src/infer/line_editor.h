/* line_editor.h - lines from a person: edited and remembered on a terminal, plain otherwise.
 * Private to infer/. */
#ifndef FATHOM_INFER_LINE_EDITOR_H
#define FATHOM_INFER_LINE_EDITOR_H

#include "base/status.h"

typedef struct line_editor {
    bool terminal;
    char *line; /* the last one, without its line break */
    char history[4096];
} line_editor;

/* Editing and history ($XDG_STATE_HOME/fathom/chat_history) when `terminal`; a history that cannot
 * be read or written is done without. */
void line_editor_begin(line_editor *e, bool terminal);
/* The next line, NULL at the end of the input. It lives until the next call. */
const char *line_editor_read(line_editor *e, const char *prompt);
void line_editor_end(line_editor *e);

#endif
