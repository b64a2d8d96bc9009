/* template.h - chat templates: a conversation becomes the prompt text a model was trained on.
 *
 * Checkpoints carry their template as a Jinja program (tokenizer_config.json, chat_template.jinja,
 * GGUF key tokenizer.chat_template). This is a bounded interpreter of the part of that language
 * which chat templates use, with the settings of Hugging Face's renderer: trim_blocks,
 * lstrip_blocks, loop controls, {% generation %}, an immutable sandbox, its tojson.
 *
 *     template *t;
 *     TRY(template_parse(&t, source, n, "model/chat_template.jinja"));
 *     template_output out;
 *     TRY(template_render(t, variables, "messages tools", &out));
 *     ... out.text, out.n, out.outside ...
 *     template_output_clear(&out); template_free(t);
 *
 * Every byte of the output knows where it came from: `outside[i]` is 1 where byte i is part of a
 * variable named as untrusted (what users and tools wrote), 0 where the template or a trusted
 * variable wrote it. encoder_add_marked (tokens.h) turns only trusted bytes into special tokens, so
 * that "<|im_end|>" inside a message stays ordinary text whatever a template does with it.
 *
 * Bounds: source 1 MiB, nesting 100, 4 million steps, 256 MiB of working memory, ranges of 100,000.
 * Whatever lies beyond the subset is refused by name when the template is parsed where possible,
 * else when it is reached.
 *
 * Reference: the Jinja 3.1 template designer documentation; Python's str(), repr() and json.dumps
 * decide how values are printed.
 */
#ifndef FATHOM_TOKENS_TEMPLATE_H
#define FATHOM_TOKENS_TEMPLATE_H

#include "base/status.h"

#include <jansson.h>
#include <stdint.h>

typedef struct template template;

typedef struct template_output {
    char *text;       /* [n] and a NUL behind it */
    uint8_t *outside; /* [n] 1: came from an untrusted variable */
    size_t n;
} template_output;
void template_output_clear(template_output *o); /* accepts a zeroed one */

/* Reads the source (copied). `where` names it in messages. F_TEMPLATE: not a template, with line;
 * F_TEMPLATE_UNSUPPORTED: a statement, filter or test outside the subset, by name. */
status template_parse(template **out, const char *source, size_t n, const char *where) MUST_CHECK;
void template_free(template *t); /* accepts NULL */

/* Renders with the members of the object `variables` as globals; those whose names are among the
 * space-separated `untrusted` mark the bytes they lend to the output. `now`: unix seconds for
 * strftime_now. F_TEMPLATE_RENDER: the template refused (raise_exception) or failed, with line;
 * F_TEMPLATE_LIMIT: a bound was passed. The caller clears *out. One template may be rendered by
 * several threads at once. */
status template_render(const template *t, const json_t *variables, const char *untrusted,
                       int64_t now, template_output *out) MUST_CHECK;

#endif
