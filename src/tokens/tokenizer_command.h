/* tokenizer_command.h - what the files of `fathom tokenizer` share (tokens only). */
#ifndef FATHOM_TOKENIZER_COMMAND_H
#define FATHOM_TOKENIZER_COMMAND_H

#include "base/command.h"
#include "tokens/tokens.h"

extern const command tokenizer_command, encode_command, decode_command;
extern const option_table jsonl_options; /* --jsonl; the settings are one bool */

status result_int(command_context *c, const char *key, int64_t value) MUST_CHECK;
json_t *ids_json(const token_list *ids); /* NULL without memory */

/* Calls `fn` for the JSON object of every line of a file ("-" = standard input) that is not blank;
 * *line_number is kept up to date for messages. */
typedef status record_fn(void *context, const json_t *record);
status each_record(const char *input, int64_t *line_number, record_fn *fn,
                   void *context) MUST_CHECK;

#endif
