/* chat.h - conversations to prompts: a model's chat template with the words it expects.
 *
 * A `chat_format` is the template of a checkpoint and the strings of its BOS and EOS tokens. It is
 * found in a model folder: chat_template.jinja, else "chat_template" of tokenizer_config.json (one
 * template, or several by name: "tool_use" serves conversations with tools, "default" the others).
 *
 *     chat_format *f;
 *     TRY(chat_format_open(&f, folder));          // f == NULL: the folder holds no template
 *     token_list ids = {0};
 *     TRY(chat_encode(f, encoder, &prompt, &ids));
 *
 * What messages and tools say never becomes a special token, whatever it looks like; what the
 * template itself writes does (template.h).
 *
 * Messages are JSON as the chat interfaces of the field have them: an array of objects with "role"
 * and "content", maybe "tool_calls", "tool_call_id", "reasoning_content".
 */
#ifndef FATHOM_TOKENS_CHAT_H
#define FATHOM_TOKENS_CHAT_H

#include "tokens/template.h"
#include "tokens/tokens.h"

typedef struct chat_format chat_format;

typedef struct chat_prompt {
    const json_t *messages;     /* array */
    const json_t *tools;        /* array or NULL */
    const json_t *extra;        /* object of further variables ("enable_thinking") or NULL */
    bool add_generation_prompt; /* end where the assistant's answer begins */
    int64_t now;                /* unix seconds, for templates that write the date */
} chat_prompt;

/* F_TEMPLATE, F_TEMPLATE_UNSUPPORTED as template_parse; F_TOKENIZER: the JSON is damaged. A folder
 * without a template gives *out = NULL and STATUS_OK. */
status chat_format_open(chat_format **out, const char *folder) MUST_CHECK;
/* From a template in memory; bos and eos are the words its variables bos_token and eos_token get. */
status chat_format_parse(chat_format **out, const char *source, size_t n, const char *where,
                         const char *bos, const char *eos) MUST_CHECK;
void chat_format_free(chat_format *f); /* accepts NULL */
const char *chat_format_source(const chat_format *f, size_t *n);

/* The prompt as text with its marks; the caller clears *out. F_TEMPLATE_RENDER: also when the
 * messages are no conversation. */
status chat_render(const chat_format *f, const chat_prompt *p, template_output *out) MUST_CHECK;
/* The prompt as ids, appended. BOS is there exactly if the template writes it. */
status chat_encode(const chat_format *f, encoder *e, const chat_prompt *p,
                   token_list *out) MUST_CHECK;

#endif
