/* tokenizer_command.c - `fathom tokenizer train | show`, and what the four commands share.
 *
 * train reads text files (one document each) or JSONL (one document a line) and writes a
 * tokenizer.json; show describes one and how it cuts a text. encode and decode are in
 * tokenizer_text_command.c.
 */
#include "tokens/tokenizer_command.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/utf8.h"
#include "tokens/bpe_train.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- shared ---- */

static const option jsonl_rows[] = {
    {"tokenizer", "jsonl", OPTION_BOOL, 0, "false",
     "The input is JSONL: one object a line, {\"text\"} or {\"ids\"}.", .flags = OPTION_FLAG_ONLY},
};
const option_table jsonl_options = {jsonl_rows, 1, sizeof(bool), NULL};

status result_int(command_context *c, const char *key, int64_t value) {
    return result_set(c, key, json_integer(value));
}

json_t *ids_json(const token_list *ids) {
    json_t *list = json_array();
    for (size_t i = 0; i < ids->n; i++)
        if (json_array_append_new(list, json_integer(ids->ids[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

status each_record(const char *input, int64_t *line_number, record_fn *fn, void *context) {
    bool standard = strcmp(input, "-") == 0;
    FILE *f = standard ? stdin : fopen(input, "r");
    if (f == NULL) return error_errno(errno, text("read %s", input), input);
    char *line = NULL;
    size_t room = 0;
    status s = STATUS_OK;
    for (*line_number = 1; s == STATUS_OK; ++*line_number) {
        errno = 0;
        ssize_t n = getline(&line, &room, f);
        if (n < 0) {
            if (ferror(f) || errno == ENOMEM) s = error_errno(errno, text("read %s", input), input);
            break;
        }
        if (strspn(line, " \t\r\n") == (size_t)n) continue;
        json_t *record;
        s = json_parse(line, (size_t)n, text("%s:%" PRId64, input, *line_number), &record);
        if (s == STATUS_OK) s = fn(context, record);
        json_decref(record);
        if (s == STATUS_OK && interrupted())
            s = interrupt_status(text("reading %s", input), "start the command again");
    }
    free(line);
    if (!standard) fclose(f);
    return s;
}

/* ---- train ---- */

typedef struct learn_settings {
    int vocab_size;
    int pretokenizer;
} learn_settings;

static const char *const pretokenizer_names[] = {"deepseek-v3", "gpt-2", "qwen2", "llama3", NULL};
static const pretokenizer pretokenizer_kinds[] = {PRETOKENIZER_DEEPSEEK_V3, PRETOKENIZER_GPT2,
                                                  PRETOKENIZER_QWEN2, PRETOKENIZER_LLAMA3};
static const option learn_rows[] = {
    {"tokenizer", "vocab-size", OPTION_INT, offsetof(learn_settings, vocab_size), "8192",
     "Tokens, with 256 bytes and 16 special ones.", 272, 1 << 24},
    {"tokenizer", "pretokenizer", OPTION_CHOICE, offsetof(learn_settings, pretokenizer),
     "deepseek-v3", "How text is cut into pieces before merging.", .choices = pretokenizer_names},
};
static const option_table learn_table = {learn_rows, sizeof learn_rows / sizeof learn_rows[0],
                                         sizeof(learn_settings), NULL};
static const option_table *const learn_tables[] = {&learn_table, &jsonl_options, NULL};

#define BATCH_BYTES ((size_t)8 << 20)
#define BATCH_MOST  8192

/* Texts of records, gathered until counting them in parallel is worth it. */
typedef struct text_batch {
    bpe_trainer *b;
    text_span spans[BATCH_MOST];
    size_t n, bytes;
    int64_t line;
    const char *input;
} text_batch;

static status batch_flush(text_batch *t) {
    status s = bpe_trainer_add(t->b, t->spans, t->n);
    for (size_t i = 0; i < t->n; i++)
        mem_free((void *)(uintptr_t)t->spans[i].bytes);
    t->n = t->bytes = 0;
    return s;
}

static status batch_add(void *context, const json_t *record) {
    text_batch *t = context;
    const json_t *value = json_object_get(record, "text");
    if (!json_is_string(value))
        return FAIL(F_RECORD, "a line is not a text", text("%s:%" PRId64, t->input, t->line),
                    "it must be an object with \"text\"", "correct or remove this line");
    size_t n = json_string_length(value);
    char *copy = mem_alloc(n);
    if (copy == NULL) return STATUS_MEMORY;
    memcpy(copy, json_string_value(value), n);
    t->spans[t->n++] = (text_span){copy, n};
    t->bytes += n;
    return t->n == BATCH_MOST || t->bytes >= BATCH_BYTES ? batch_flush(t) : STATUS_OK;
}

static status add_jsonl(bpe_trainer *b, const char *input) {
    text_batch *t = mem_zalloc(1, sizeof *t);
    if (t == NULL) return STATUS_MEMORY;
    t->b = b;
    t->input = input;
    status s = each_record(input, &t->line, batch_add, t);
    if (s == STATUS_OK) s = batch_flush(t);
    for (size_t i = 0; i < t->n; i++)
        mem_free((void *)(uintptr_t)t->spans[i].bytes);
    mem_free(t);
    return s;
}

static status add_text_file(bpe_trainer *b, const char *input) {
    if (strcmp(input, "-") == 0) {
        char *bytes;
        size_t n;
        TRY(file_read("-", 0, &bytes, &n));
        status s = bpe_trainer_add(b, &(text_span){bytes, n}, 1);
        mem_free(bytes);
        return s;
    }
    mapped_file m;
    TRY(mapped_open(&m, input));
    status s = bpe_trainer_add(b, &(text_span){(const char *)m.data, m.size}, 1);
    mapped_close(&m);
    return s;
}

static bool names_jsonl(const char *path) {
    size_t n = strlen(path);
    return n > 6 && strcmp(path + n - 6, ".jsonl") == 0;
}

static status learn(command_context *c, bpe_trainer *b, tokenizer **t) {
    bool jsonl = *(const bool *)c->settings[1];
    progress p;
    progress_start(&p, "count pieces", "files", c->n_arguments, 0);
    for (int i = 0; i < c->n_arguments; i++) {
        const char *input = c->arguments[i];
        TRY(jsonl || names_jsonl(input) ? add_jsonl(b, input) : add_text_file(b, input));
        TRY(interrupt_status("counting pieces", "start the command again"));
        progress_show(&p, i + 1, NULL);
    }
    progress_end(&p, NULL);
    if (bpe_trainer_bytes(b) == 0)
        return FAIL(F_NO_TEXT, "there is no text to learn from", c->arguments[0],
                    "the inputs are empty", "name files that hold text");
    TRY(result_int(c, "text_bytes", bpe_trainer_bytes(b)));
    TRY(result_int(c, "pieces", bpe_trainer_pieces(b)));
    return bpe_trainer_finish(b, t);
}

static status learned(command_context *c, const tokenizer *t, const char *path, double seconds) {
    const learn_settings *s = c->settings[0];
    TRY(tokenizer_save(t, path));
    say(c, "%s: %s tokens in %s\n", path, count_text(tokenizer_vocab_size(t)),
        duration_text(seconds));
    if (tokenizer_vocab_size(t) < s->vocab_size)
        TRY(command_warn(c, "only %d of %d tokens: no further pair occurs twice in the text",
                         tokenizer_vocab_size(t), s->vocab_size));
    TRY(result_set(c, "file", json_string(path)));
    TRY(result_int(c, "vocab_size", tokenizer_vocab_size(t)));
    TRY(result_int(c, "merges", tokenizer_merges(t)));
    TRY(result_set(c, "seconds", json_real(seconds)));
    return command_next(c, "fathom tokenizer show %s", path);
}

static status train_plan(command_context *c, const char *path) {
    int64_t bytes = 0;
    for (int i = 0; i < c->n_arguments; i++) {
        int64_t size = 0;
        if (strcmp(c->arguments[i], "-") != 0) TRY(path_size(c->arguments[i], &size));
        bytes += size;
    }
    double seconds = 0.1 + (double)bytes / 30e6, memory = 16e6 + (double)bytes * 1.5;
    say(c, "would learn from %s and write %s\n", bytes_text((double)bytes), path);
    say(c, "memory about %s, time about %s\n", bytes_text(memory), duration_text(seconds));
    TRY(result_int(c, "text_bytes", bytes));
    return result_set(c, "memory_bytes", json_integer((json_int_t)memory));
}

static status learn_run(command_context *c) {
    const learn_settings *s = c->settings[0];
    const char *path = c->output != NULL ? c->output : "tokenizer.json";
    if (c->dry_run) return train_plan(c, path);
    bpe_options o = {.vocab_size = s->vocab_size,
                     .pretokenizer = pretokenizer_kinds[s->pretokenizer],
                     .added = bpe_default_added,
                     .n_added = BPE_DEFAULT_ADDED,
                     .n_special = BPE_DEFAULT_SPECIAL};
    double began = clock_seconds();
    bpe_trainer *b;
    tokenizer *t = NULL;
    TRY(bpe_trainer_new(&b, &o));
    status result = learn(c, b, &t);
    bpe_trainer_free(b);
    if (result == STATUS_OK) result = learned(c, t, path, clock_seconds() - began);
    tokenizer_free(t);
    return result;
}

static const command train_tokenizer_command = {
    .name = "train",
    .summary = "learn a vocabulary from text",
    .usage = "FILE...",
    .examples = "fathom tokenizer train book.txt -o tokenizer.json\n"
                "fathom tokenizer train data/mini/corpus.jsonl --vocab-size 4096",
    .notes =
        "Inputs are text, or JSONL with {\"text\"} (--jsonl, or files named .jsonl). Writes\n"
        "tokenizer.json (or -o) in Hugging Face form. The same text gives the same bytes, for any\n"
        "number of threads and any order of files.",
    .min_arguments = 1,
    .max_arguments = -1,
    .options = learn_tables,
    .run = learn_run,
    .threads = true,
};

/* ---- show ---- */

typedef struct show_settings {
    const char *text;
} show_settings;

static const option show_rows[] = {
    {"tokenizer", "text", OPTION_STRING, offsetof(show_settings, text), "",
     "Also show how this text is cut into tokens.", .flags = OPTION_FLAG_ONLY},
};
static const option_table show_table = {show_rows, 1, sizeof(show_settings), NULL};
static const option_table *const show_tables[] = {&show_table, NULL};

/* A token for people: visible ASCII and well-formed UTF-8 as they are, the rest as \xHH. */
static const char *token_text(const tokenizer *t, int32_t id) {
    size_t n, used = 0;
    const uint8_t *bytes = tokenizer_token(t, id, &n);
    char out[200];
    bool whole = utf8_valid(bytes, n) == n;
    for (size_t i = 0; i < n && used + 8 < sizeof out; i++) {
        bool plain = bytes[i] >= 0x80 ? whole : bytes[i] >= 0x20 && bytes[i] < 0x7F;
        used += (size_t)snprintf(out + used, sizeof out - used, plain ? "%c" : "\\x%02X", bytes[i]);
    }
    out[used] = 0;
    return text("%s", out);
}

static status show_text(command_context *c, const tokenizer *t, const char *bytes) {
    token_list ids = {0};
    TRY(tokenizer_encode(t, bytes, strlen(bytes), SPECIAL_PARSE, &ids));
    say(c, "\n%zu tokens:\n", ids.n);
    for (size_t i = 0; i < ids.n; i++)
        say(c, "  %8d  \"%s\"\n", ids.ids[i], token_text(t, ids.ids[i]));
    json_t *list = ids_json(&ids);
    token_list_clear(&ids);
    return result_set(c, "ids", list);
}

static const char *named_token(const tokenizer *t, int32_t id) {
    return id < 0 ? "none" : text("%d  %s", id, token_text(t, id));
}

static status show_added(command_context *c, const tokenizer *t) {
    int shown = 0, n = tokenizer_added(t);
    for (int32_t id = 0; id < tokenizer_vocab_size(t) && shown < 24; id++)
        if (tokenizer_is_added(t, id)) {
            say(c, "  %8d  %s%s\n", id, token_text(t, id),
                tokenizer_is_special(t, id) ? "  (special)" : "");
            shown++;
        }
    if (n > shown) say(c, "  ... and %d more\n", n - shown);
    return result_int(c, "added_tokens", n);
}

static status show_run(command_context *c) {
    const show_settings *s = c->settings[0];
    tokenizer *t;
    TRY(tokenizer_open(&t, c->arguments[0]));
    say(c, "vocabulary     %s tokens, %s merges\n", count_text(tokenizer_vocab_size(t)),
        count_text(tokenizer_merges(t)));
    say(c, "pre-tokenizer  %s\n", tokenizer_pretokenizer_name(t));
    say(c, "fingerprint    %016" PRIx64 "\n", tokenizer_fingerprint(t));
    say(c, "BOS            %s\n", named_token(t, tokenizer_bos(t)));
    say(c, "EOS            %s\n", named_token(t, tokenizer_eos(t)));
    say(c, "added tokens   %d\n", tokenizer_added(t));
    status result = show_added(c, t);
    if (result == STATUS_OK) result = result_int(c, "vocab_size", tokenizer_vocab_size(t));
    if (result == STATUS_OK) result = result_int(c, "merges", tokenizer_merges(t));
    if (result == STATUS_OK) result = result_int(c, "bos_id", tokenizer_bos(t));
    if (result == STATUS_OK) result = result_int(c, "eos_id", tokenizer_eos(t));
    if (result == STATUS_OK)
        result = result_set(c, "pretokenizer", json_string(tokenizer_pretokenizer_name(t)));
    if (result == STATUS_OK)
        result = result_set(c, "fingerprint",
                            json_string(text("%016" PRIx64, tokenizer_fingerprint(t))));
    if (result == STATUS_OK && s->text[0] != 0) result = show_text(c, t, s->text);
    tokenizer_free(t);
    return result;
}

static const command show_command = {
    .name = "show",
    .summary = "describe a tokenizer, or how it cuts a text",
    .usage = "TOKENIZER",
    .examples = "fathom tokenizer show runs/first\n"
                "fathom tokenizer show tokenizer.json --text \"Hello, world\"",
    .notes = "TOKENIZER is a tokenizer.json, or a folder with one or with GPT-2's two files.",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = show_tables,
    .run = show_run,
};

static const command *const children[] = {&train_tokenizer_command, &encode_command,
                                          &decode_command, &show_command, NULL};
const command tokenizer_command = {
    .name = "tokenizer",
    .summary = "learn a vocabulary, turn text into ids and back",
    .examples = "fathom tokenizer train book.txt\n"
                "fathom tokenizer show runs/first --text \"Hello, world\"",
    .children = children,
};
