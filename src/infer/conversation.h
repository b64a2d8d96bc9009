/* conversation.h - turns of a chat with a model, on top of a session and a chat template.
 *
 *     conversation *c;
 *     TRY(conversation_new(&c, session, tokenizer, format));
 *     TRY(conversation_add(c, "user", "What is a fathom?"));
 *     const char *answer;
 *     TRY(conversation_answer(c, &options, &result, &answer));   // also added as a message
 *     conversation_free(c);
 *
 * Each answer renders all messages anew and feeds only what the session does not hold yet: keys of
 * the common beginning are kept, so a long conversation costs its new tokens. Templates that change
 * earlier turns (dropping past reasoning) make the common beginning shorter, never wrong.
 */
#ifndef FATHOM_INFER_CONVERSATION_H
#define FATHOM_INFER_CONVERSATION_H

#include "infer/infer.h"
#include "tokens/chat.h"

typedef struct conversation conversation;

/* Borrows all three; the session is the conversation's alone until conversation_free. */
status conversation_new(conversation **out, session *s, const tokenizer *t,
                        const chat_format *f) MUST_CHECK;
void conversation_free(conversation *c); /* accepts NULL */

/* A message of a role: "system", "user", "assistant", "tool". The content must be UTF-8. */
status conversation_add(conversation *c, const char *role, const char *content) MUST_CHECK;
/* A variable of the template ("enable_thinking"); the value's reference is taken. */
status conversation_set(conversation *c, const char *name, json_t *value) MUST_CHECK;
/* All of them, an object whose reference is taken; NULL: none. */
status conversation_variables(conversation *c, json_t *object, const char *where) MUST_CHECK;
/* All messages at once, and the tools that the template may offer (NULL: none): arrays as chat.h has
 * them, whose references are taken. `where` names them in messages. */
status conversation_replace(conversation *c, json_t *messages, const char *where) MUST_CHECK;
status conversation_tools(conversation *c, json_t *tools, const char *where) MUST_CHECK;
/* Forgets all messages, or all but the first `keep`. */
void conversation_cut(conversation *c, size_t keep);
size_t conversation_length(const conversation *c); /* messages */
int64_t conversation_kept(const conversation *c); /* tokens the last answer had not to read again */

/* The assistant's next turn. *answer belongs to the conversation until its next change. If `result`
 * says STOP_CALLER the part that was made is kept as the message. On failure no message is added. */
status conversation_answer(conversation *c, const generate_options *options,
                           generate_result *result, const char **answer) MUST_CHECK;

/* All messages as a JSON file {"messages": [...]}, written atomically; and back. Loading replaces
 * the messages. F_RECORD: the file holds no conversation. */
status conversation_save(const conversation *c, const char *path) MUST_CHECK;
status conversation_load(conversation *c, const char *path) MUST_CHECK;
/* {"messages": [...]} on one line; mem_free it. NULL: out of memory. */
char *conversation_text(const conversation *c);
/* The same with the keys of the session (session_file.h), so that nothing has to be read again. */
status conversation_keep(const conversation *c, const sampler_options *o,
                         const char *path) MUST_CHECK;
status conversation_resume(conversation *c, sampler_options *o, const char *path) MUST_CHECK;

#endif
