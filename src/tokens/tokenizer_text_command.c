/* tokenizer_text_command.c - `fathom tokenizer encode | decode`.
 *
 * In: text or ids, or JSONL with one {"text"} or {"ids"} a line; "-" or nothing is standard input.
 * Out: standard output or the file of -o. JSONL is worked on line by line, so its size does not
 * matter; plain text is one document. Under --json the lines become result.rows, unless -o takes
 * them.
 */
#include "tokens/tokenizer_command.h"

#include "base/file.h"
#include "base/progress.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

typedef struct text_settings {
    const char *tokenizer;
    bool specials;
} text_settings;

static const option text_rows[] = {
    {"tokenizer", "tokenizer", OPTION_STRING, offsetof(text_settings, tokenizer), "",
     "tokenizer.json, or the folder of a model or run.", .value = "TOKENIZER"},
    {"tokenizer", "specials", OPTION_BOOL, offsetof(text_settings, specials), "false",
     "Read and show special tokens such as <think>; else they are ordinary text, or silent.",
     .flags = OPTION_FLAG_ONLY},
};
static const option_table text_table = {text_rows, sizeof text_rows / sizeof text_rows[0],
                                        sizeof(text_settings), NULL};
static const option_table *const text_tables[] = {&text_table, &jsonl_options, NULL};

/* One call of encode or decode. */
typedef struct text_work {
    command_context *c;
    const text_settings *s;
    bool jsonl;
    tokenizer *t;
    encoder *e;
    token_list ids;
    const char *input; /* for messages */
    int64_t line, tokens, bytes;
    file_writer *out; /* NULL = standard output */
    json_t *rows;     /* under --json without -o */
} text_work;

static status put(text_work *w, const char *bytes, size_t n) {
    if (w->out != NULL) return writer_put(w->out, bytes, n);
    if (fwrite(bytes, 1, n, stdout) == n) return STATUS_OK;
    return error_errno(errno, "write the result", "standard output");
}

/* A JSON row as a line, or kept for the one result of --json; takes `row`. */
static status put_row(text_work *w, json_t *row) {
    if (w->rows != NULL) {
        if (row != NULL && json_array_append_new(w->rows, row) == 0) return STATUS_OK;
        return FAIL(F_NO_MEMORY, "the rows do not fit", text("%s:%" PRId64, w->input, w->line),
                    "memory ran out", "leave --json away, or write to a file with -o");
    }
    char *line = row != NULL ? json_line(row) : NULL;
    json_decref(row);
    if (line == NULL)
        return FAIL(F_NO_MEMORY, "the row does not fit", text("%s:%" PRId64, w->input, w->line),
                    "memory ran out", "close other programs");
    status s = put(w, line, strlen(line));
    if (s == STATUS_OK) s = put(w, "\n", 1);
    mem_free(line);
    return s;
}

static special_mode mode_of(const text_work *w) {
    return w->s->specials ? SPECIAL_PARSE : SPECIAL_AS_TEXT;
}

static status encode_text(text_work *w, const char *bytes, size_t n) {
    w->ids.n = 0;
    TRY(encoder_add(w->e, bytes, n, mode_of(w), &w->ids));
    w->tokens += (int64_t)w->ids.n;
    w->bytes += (int64_t)n;
    if (w->jsonl || w->rows != NULL)
        return put_row(w, json_pack("{s:o}", "ids", ids_json(&w->ids)));
    for (size_t i = 0; i < w->ids.n; i++) {
        char number[16];
        int length =
            snprintf(number, sizeof number, "%d%c", w->ids.ids[i], i + 1 < w->ids.n ? ' ' : '\n');
        TRY(put(w, number, (size_t)length));
    }
    return STATUS_OK;
}

/* Text of the ids in w->ids as a JSON string: bytes that are not UTF-8 become U+FFFD. */
static status decoded_json(text_work *w, json_t **out) {
    token_stream stream, *s = &stream;
    token_stream_init(s, w->t);
    char *bytes = NULL;
    size_t n = 0, room = 0;
    status result = STATUS_OK;
    for (size_t i = 0; i <= w->ids.n && result == STATUS_OK; i++) {
        const char *shown = "";
        size_t length = 0;
        if (i == w->ids.n)
            result = token_stream_end(s, &shown, &length);
        else if (w->s->specials && tokenizer_is_special(w->t, w->ids.ids[i]))
            shown = (const char *)tokenizer_token(w->t, w->ids.ids[i], &length);
        else
            result = token_stream_add(s, w->ids.ids[i], &shown, &length);
        if (result != STATUS_OK) break;
        if (n + length > room) {
            char *more = mem_resize(bytes, 2 * (n + length), 1);
            if (more == NULL) result = STATUS_MEMORY;
            if (more == NULL) break;
            bytes = more;
            room = 2 * (n + length);
        }
        if (length > 0) memcpy(bytes + n, shown, length);
        n += length;
    }
    *out = result == STATUS_OK ? json_stringn(bytes != NULL ? bytes : "", n) : NULL;
    token_stream_clear(s);
    mem_free(bytes);
    return result;
}

static status decode_ids(text_work *w) {
    w->tokens += (int64_t)w->ids.n;
    if (w->jsonl || w->rows != NULL) {
        json_t *string;
        TRY(decoded_json(w, &string));
        w->bytes += (int64_t)json_string_length(string);
        return put_row(w, json_pack("{s:o}", "text", string));
    }
    char *bytes;
    size_t n;
    TRY(tokenizer_decode(w->t, w->ids.ids, w->ids.n, w->s->specials, &bytes, &n));
    w->bytes += (int64_t)n;
    status s = put(w, bytes, n);
    mem_free(bytes);
    return s;
}

static status push_id(text_work *w, int64_t id) {
    if (id < 0 || id >= tokenizer_vocab_size(w->t))
        return FAIL(F_TOKEN_RANGE, text("token id %" PRId64 " is not in the vocabulary", id),
                    text("%s:%" PRId64, w->input, w->line),
                    text("ids run from 0 to %d", tokenizer_vocab_size(w->t) - 1),
                    "use the tokenizer that the ids were made with");
    if (w->ids.n == w->ids.room) {
        size_t room = 2 * w->ids.room + 256;
        int32_t *ids = mem_resize(w->ids.ids, room, sizeof *ids);
        if (ids == NULL) return STATUS_MEMORY;
        w->ids.ids = ids;
        w->ids.room = room;
    }
    w->ids.ids[w->ids.n++] = (int32_t)id;
    return STATUS_OK;
}

/* Numbers with blanks or commas between. */
static status decode_numbers(text_work *w, char *bytes, size_t n) {
    w->ids.n = 0;
    for (char *at = bytes, *end; at < bytes + n; at = end) {
        at += strspn(at, " ,\t\r\n");
        end = at + strcspn(at, " ,\t\r\n");
        if (end == at) break;
        char separator = *end;
        int64_t id;
        *end = 0;
        if (!parse_int64(at, &id))
            return FAIL(F_RECORD, text("\"%.40s\" is not a token id", at),
                        text("%s: byte %zu", w->input, (size_t)(at - bytes)),
                        "ids are whole numbers with blanks between",
                        "is this a file of ids? JSONL needs --jsonl");
        *end = separator;
        TRY(push_id(w, id));
    }
    return decode_ids(w);
}

typedef status document_fn(text_work *w, char *bytes, size_t n);

static status encode_document(text_work *w, char *bytes, size_t n) {
    return encode_text(w, bytes, n);
}

static status wrong_record(const text_work *w, const char *why) {
    return FAIL(F_RECORD, "a line is not what it should be", text("%s:%" PRId64, w->input, w->line),
                why, "correct this line, or leave --jsonl away for plain text");
}

static status encode_record(void *context, const json_t *record) {
    text_work *w = context;
    const json_t *value = json_object_get(record, "text");
    if (!json_is_string(value)) return wrong_record(w, "it must be an object with \"text\"");
    return encode_text(w, json_string_value(value), json_string_length(value));
}

static status decode_record(void *context, const json_t *record) {
    text_work *w = context;
    const json_t *list = json_object_get(record, "ids");
    if (!json_is_array(list)) return wrong_record(w, "it must be an object with \"ids\"");
    w->ids.n = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id)) return wrong_record(w, "an id is not a whole number");
        TRY(push_id(w, json_integer_value(id)));
    }
    return decode_ids(w);
}

static status work_on_input(text_work *w, bool encode) {
    if (w->jsonl) return each_record(w->input, &w->line, encode ? encode_record : decode_record, w);
    char *bytes;
    size_t n;
    TRY(file_read(w->input, 0, &bytes, &n));
    w->line = 1;
    document_fn *fn = encode ? encode_document : decode_numbers;
    status s = fn(w, bytes, n);
    mem_free(bytes);
    return s;
}

/* Everything is open. */
static status run_work(text_work *w, bool encode) {
    command_context *c = w->c;
    TRY(encoder_new(&w->e, w->t));
    if (c->output != NULL && strcmp(c->output, "-") != 0) TRY(writer_open(&w->out, c->output));
    if (c->json && w->out == NULL) {
        w->rows = json_array();
        TRY(result_set(c, "rows", json_incref(w->rows)));
    }
    TRY(work_on_input(w, encode));
    if (w->out != NULL) {
        file_writer *out = w->out;
        w->out = NULL;
        TRY(writer_commit(out));
        TRY(result_set(c, "file", json_string(c->output)));
    }
    TRY(result_int(c, "tokens", w->tokens));
    return result_int(c, "bytes", w->bytes);
}

static status text_command(command_context *c, bool encode) {
    text_work w = {.c = c, .s = c->settings[0]};
    w.jsonl = *(const bool *)c->settings[1];
    w.input = c->n_arguments > 0 ? c->arguments[0] : "-";
    if (w.s->tokenizer[0] == 0)
        return FAIL(F_USAGE, "no tokenizer is named", text("fathom %s", c->name),
                    "ids belong to a vocabulary",
                    "add --tokenizer runs/first, or a tokenizer.json");
    TRY(tokenizer_open(&w.t, w.s->tokenizer));
    status s = STATUS_OK;
    if (c->dry_run)
        say(c, "would read %s and write to %s; memory about %s\n", w.input,
            c->output != NULL ? c->output : "standard output",
            bytes_text((double)memory_peak_rss()));
    else
        s = run_work(&w, encode);
    encoder_free(w.e);
    writer_abandon(w.out);
    json_decref(w.rows);
    token_list_clear(&w.ids);
    tokenizer_free(w.t);
    return s;
}

static status encode_run(command_context *c) {
    return text_command(c, true);
}
static status decode_run(command_context *c) {
    return text_command(c, false);
}

const command encode_command = {
    .name = "encode",
    .summary = "turn text into token ids",
    .usage = "[FILE]",
    .examples =
        "echo Hello | fathom tokenizer encode --tokenizer runs/first\n"
        "fathom tokenizer encode --tokenizer tokenizer.json --jsonl < texts.jsonl > ids.jsonl",
    .notes = "Reads FILE or standard input. Plain text gives one line of ids; --jsonl turns lines\n"
             "{\"text\"} into lines {\"ids\"}. No BOS or EOS is added.",
    .max_arguments = 1,
    .options = text_tables,
    .run = encode_run,
};
const command decode_command = {
    .name = "decode",
    .summary = "turn token ids into text",
    .usage = "[FILE]",
    .examples =
        "echo 72 105 | fathom tokenizer decode --tokenizer runs/first\n"
        "fathom tokenizer decode --tokenizer tokenizer.json --jsonl ids.jsonl -o texts.jsonl",
    .notes =
        "Reads FILE or standard input. Plain: the exact bytes. In JSON, bytes that are not UTF-8\n"
        "become U+FFFD.",
    .max_arguments = 1,
    .options = text_tables,
    .run = decode_run,
};
