/* session_file.h - a session on disk: what was read is not computed again.
 *
 *     session_note note = {.sampler = options.sampler, .logits = logits, .has_logits = true};
 *     TRY(session_save(s, tokenizer_fingerprint(t), &note, "talk.session"));
 *     ...
 *     session_note back = {.logits = logits};
 *     TRY(session_load(s, tokenizer_fingerprint(t), &back, "talk.session"));
 *     session_note_clear(&back);
 *
 * A file holds the ids, the pages of keys, the settings of the sampler (whose draws depend on
 * nothing but them and the position), the logits of the last token and a text of the caller, such
 * as the messages of a conversation. A loaded session goes on with the same bytes as one that was
 * never interrupted. Format: docs/formats/session.md.
 *
 * A file belongs to a model. Its fingerprint is what a short fixed text makes of the model: all
 * keys and logits, bit by bit. So weights, configuration and numerics are compared in the way that
 * counts, however they are stored; the price is one short forward per engine.
 */
#ifndef FATHOM_INFER_SESSION_FILE_H
#define FATHOM_INFER_SESSION_FILE_H

#include "infer/infer.h"

typedef struct session_note {
    sampler_options sampler;
    float *logits;   /* [vocab], the caller's; NULL: none are saved, or wanted */
    bool has_logits; /* saving: they are of the last token; loading: the file has them */
    char *text;      /* NUL-terminated behind n_text; loaded ones belong to the note */
    size_t n_text;
} session_note;
void session_note_clear(session_note *n); /* of a loaded one: frees the text */

/* Written to a sibling and renamed. `words`: fingerprint of the tokenizer. */
status session_save(session *s, uint64_t words, const session_note *note,
                    const char *path) MUST_CHECK;
/* Replaces what the session holds; on failure it is as it was. F_SESSION: not such a file, or
 * damaged, with the place; F_SESSION_MODEL: made with another model, tokenizer or page layout, both
 * named; F_CONTEXT_FULL: more positions than the engine has. */
status session_load(session *s, uint64_t words, session_note *note, const char *path) MUST_CHECK;
/* The same from bytes; `where` names them in messages. */
status session_parse(session *s, uint64_t words, session_note *note, const uint8_t *bytes, size_t n,
                     const char *where) MUST_CHECK;
/* Does the file begin as a session file does? */
bool session_file_is(const char *path);
/* What files of this engine are marked with. */
status engine_fingerprint(engine *e, uint64_t *out) MUST_CHECK;

#endif
