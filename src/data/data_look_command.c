/* data_look_command.c - `fathom data show | check | card`: looking at data without changing it. */
#include "base/file.h"
#include "base/progress.h"
#include "base/rng.h"
#include "data/buffer.h"
#include "data/data_command.h"
#include "tokens/tokens.h"

#include <inttypes.h>
#include <string.h>

#define REFUSED_SHOWN 10

/* ---- show ---- */

typedef struct show_settings {
    int records, tokens, part;
} show_settings;

static const char *const parts[] = {"train", "validation", NULL};
static const option show_rows[] = {
    {"data", "records", OPTION_INT, offsetof(show_settings, records), "5", "Documents to show.", 1,
     1000},
    {"data", "tokens", OPTION_INT, offsetof(show_settings, tokens), "60",
     "Tokens of each to show at most.", 1, 100000},
    {"data", "part", OPTION_CHOICE, offsetof(show_settings, part), "train", "Split to show.",
     .choices = parts},
};
static const option_table show_table = {show_rows, sizeof show_rows / sizeof show_rows[0],
                                        sizeof(show_settings), NULL};
static const option_table *const show_tables[] = {&show_table, NULL};

/* A token's bytes as one can read them; borders by colour or by a bar. */
static void append_token(buffer *out, const tokenizer *t, int32_t id, bool color, int64_t i) {
    size_t n = 0;
    const uint8_t *bytes = tokenizer_token(t, id, &n);
    if (color) buffer_text(out, i % 2 ? "\x1b[36m" : "\x1b[33m");
    for (size_t b = 0; b < n; b++) {
        if (bytes[b] == '\n')
            buffer_text(out, "\\n");
        else if (bytes[b] < 0x20 || bytes[b] == 0x7F)
            buffer_text(out, text("\\x%02x", bytes[b]));
        else
            buffer_byte(out, (char)bytes[b]);
    }
    buffer_text(out, color ? "\x1b[0m" : "|");
}

static status show_document(command_context *c, shard *s, int64_t i, const tokenizer *t, int limit,
                            json_t *list) {
    shard_document d = shard_document_at(s, i);
    int64_t n = shard_document_end(s, i) - d.start, shown = n < limit ? n : limit;
    int32_t *ids = mem_zalloc((size_t)n, sizeof *ids);
    if (ids == NULL) return STATUS_MEMORY;
    buffer line = {0};
    json_t *record = json_object(), *array = json_array();
    status r = shard_read(s, d.start, n, ids);
    for (int64_t k = 0; k < shown && r == STATUS_OK; k++) {
        append_token(&line, t, ids[k], c->color, k);
        if (json_array_append_new(array, json_integer(ids[k])) != 0) r = STATUS_MEMORY;
    }
    if (shown < n && r == STATUS_OK) { /* the end is worth seeing: is there an EOS? */
        buffer_text(&line, " ... ");
        append_token(&line, t, ids[n - 1], c->color, n);
    }
    if (r == STATUS_OK) r = buffer_check(&line);
    if (r == STATUS_OK) {
        say(c, "document %" PRId64 ": %" PRId64 " tokens, %" PRId64 " bytes\n  %s\n", i, n,
            d.text_bytes, line.bytes);
        int failed = json_object_set_new(record, "document", json_integer(i));
        failed |= json_object_set_new(record, "tokens", json_integer(n));
        failed |= json_object_set_new(record, "text_bytes", json_integer(d.text_bytes));
        failed |= json_object_set(record, "ids", array);
        failed |= json_array_append(list, record);
        if (failed) r = STATUS_MEMORY;
    }
    json_decref(array);
    json_decref(record);
    buffer_clear(&line);
    mem_free(ids);
    return r;
}

static status show_shard(command_context *c, const char *path, const tokenizer *t,
                         const show_settings *s, json_t *list) {
    shard *opened;
    TRY(shard_open(&opened, path));
    int64_t n = shard_documents(opened), wanted = n < s->records ? n : s->records;
    rng order = rng_at(c->seed, RNG_SAMPLE, 0);
    status r = STATUS_OK;
    for (int64_t i = 0; i < wanted && r == STATUS_OK; i++)
        r = show_document(c, opened, (int64_t)rng_permute(order, (uint64_t)i, (uint64_t)n), t,
                          s->tokens, list);
    shard_close(opened);
    return r;
}

static status show_run(command_context *c) {
    const show_settings *s = c->settings[0];
    dataset d;
    TRY(dataset_open(&d, c->arguments[0]));
    tokenizer *t = NULL;
    char path[PATH_SIZE];
    json_t *list = json_array();
    status r = result_set(c, "records", list);
    int i = 0;
    while (i < d.n_shards && d.shards[i].split != (split_id)s->part)
        i++;
    if (r == STATUS_OK && (!d.complete || i == d.n_shards))
        r = FAIL(F_DATASET, text("%s has no shards to show", c->arguments[0]), c->arguments[0],
                 "it is not tokenized", text("run `fathom data tokenize %s`", c->arguments[0]));
    if (r == STATUS_OK) r = path_join(path, d.folder, "tokenizer.json");
    if (r == STATUS_OK) r = tokenizer_open(&t, path);
    if (r == STATUS_OK) r = path_join(path, d.folder, d.shards[i].file);
    if (r == STATUS_OK) r = show_shard(c, path, t, s, list);
    tokenizer_free(t);
    dataset_close(&d);
    return r;
}

const command data_show_command = {
    .name = "show",
    .summary = "show documents as the model sees them, token by token",
    .usage = "DATASET",
    .examples =
        "fathom data show data/mini\nfathom data show data/mini --records 2 --part validation",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = show_tables,
    .run = show_run,
};

/* ---- check ---- */

static const option_table check_table = {import_rows, CHECK_ROWS, sizeof(import_settings), NULL};
static const option_table *const check_tables[] = {&check_table, NULL};

typedef struct refused_list {
    command_context *c;
    json_t *list;
    int64_t n;
    bool lost;
} refused_list;

static void note_refused(void *context, const char *file, int64_t line, const error_report *why) {
    refused_list *r = context;
    if (r->n++ >= REFUSED_SHOWN) return;
    say(r->c, "%s:%" PRId64 ": %s; %s\n", file, line, why->what, why->why);
    json_t *e = json_pack("{s:s, s:I, s:s, s:s}", "file", file, "line", (json_int_t)line, "what",
                          why->what, "why", why->why);
    if (json_array_append_new(r->list, e) != 0) r->lost = true;
}

static status say_lengths(command_context *c, const import_result *r) {
    json_t *list = json_array();
    int64_t most = 1;
    TRY(result_set(c, "lengths", list));
    for (int i = 0; i < IMPORT_LENGTHS; i++)
        if (r->lengths[i] > most) most = r->lengths[i];
    for (int i = 0; i < IMPORT_LENGTHS; i++) {
        if (r->lengths[i] == 0) continue;
        static const char bar[] = "########################################";
        say(c, "  %12s bytes and more  %10s  %.*s\n", count_text((int64_t)1 << i),
            count_text(r->lengths[i]), (int)(40 * r->lengths[i] / most), bar);
        json_t *e = json_pack("{s:I, s:I}", "from_bytes", (json_int_t)1 << i, "documents",
                              (json_int_t)r->lengths[i]);
        if (json_array_append_new(list, e) != 0) return STATUS_MEMORY;
    }
    return STATUS_OK;
}

static status check_run(command_context *c) {
    import_map map[IMPORT_MAP_MAX];
    char words[1024], corpus[PATH_SIZE];
    const char *input = c->arguments[0];
    if (path_is_folder(input)) { /* a dataset is checked through its documents */
        TRY(path_join(corpus, input, "corpus.jsonl"));
        if (path_exists(corpus)) input = corpus;
    }
    refused_list refused = {.c = c, .list = json_array()};
    TRY(result_set(c, "refused", refused.list));
    import_options o = {.inputs = &input,
                        .n_inputs = 1,
                        .folder = "",
                        .dry = true,
                        .show_progress = true,
                        .refused = note_refused,
                        .context = &refused};
    TRY(import_settings_read(c->settings[0], &o, map, words, sizeof words));
    double allowed = o.max_bad;
    o.max_bad = 1; /* read to the end, then judge */
    import_result r;
    TRY(data_import(&o, &r));
    if (refused.n > REFUSED_SHOWN)
        say(c, "... and %s more\n", count_text(refused.n - REFUSED_SHOWN));
    TRY(import_report(c, &r));
    TRY(say_lengths(c, &r));
    if (refused.lost) return STATUS_MEMORY;
    if ((double)r.bad <= allowed * (double)r.lines) return STATUS_OK;
    return FAIL(F_NOT_CLEAN, text("%s is not clean", c->arguments[0]),
                text("%" PRId64 " of %" PRId64 " lines", r.bad, r.lines),
                text("%g %% may be refused", 100 * allowed),
                "correct the lines named above, or allow more with --max-bad");
}

const command data_check_command = {
    .name = "check",
    .summary = "read data as import would and say what is wrong with it",
    .usage = "FILE|FOLDER|DATASET|-",
    .examples =
        "fathom data check - < my.jsonl\nfathom data check texts/\nfathom data check data/mini",
    .notes = "Writes nothing. Exit code 1 if more lines than --max-bad cannot be used.",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = check_tables,
    .run = check_run,
};

/* ---- card ---- */

static const char *text_of(const json_t *e, const char *key) {
    const char *value = json_string_value(json_object_get(e, key));
    return value != NULL && value[0] != '\0' ? value : "-";
}

static int64_t int_of(const json_t *e, const char *key) {
    return (int64_t)json_integer_value(json_object_get(e, key));
}

static void say_card(command_context *c, const json_t *m) {
    const json_t *corpus = json_object_get(m, "corpus"), *split = json_object_get(m, "split");
    const json_t *vocabulary = json_object_get(m, "tokenizer");
    say(c, "# Dataset %s\n\n", text_of(m, "name"));
    say(c, "%s documents, %s of text.\n\n", count_text(int_of(corpus, "documents")),
        bytes_text((double)int_of(corpus, "text_bytes")));
    say(c, "| source | version | licence | documents | bytes of text |\n|---|---|---|---|---|\n");
    size_t i;
    json_t *e;
    json_array_foreach(json_object_get(m, "sources"), i, e)
        say(c, "| %s | %s | %s | %" PRId64 " | %" PRId64 " |\n", text_of(e, "name"),
            text_of(e, "version"), text_of(e, "license"), int_of(e, "documents"),
            int_of(e, "text_bytes"));
    if (split == NULL) return;
    say(c, "\nSplit by %s: %s training documents, %s validation documents", text_of(split, "rule"),
        count_text(int_of(split, "train_documents")),
        count_text(int_of(split, "validation_documents")));
    say(c, "; %s validation lines dropped because training has them.\n",
        count_text(int_of(split, "validation_lines_dropped")));
    say(c, "Vocabulary of %s tokens.\n", count_text(int_of(vocabulary, "vocab_size")));
}

static status card_run(command_context *c) {
    dataset d;
    TRY(dataset_open(&d, c->arguments[0]));
    say_card(c, d.manifest);
    status s = result_set(c, "card", json_incref(d.manifest));
    dataset_close(&d);
    return s;
}

const command data_card_command = {
    .name = "card",
    .summary = "sources, versions, licences and counts of a dataset",
    .usage = "DATASET",
    .examples = "fathom data card data/mini",
    .notes = "Prints Markdown; with --json the manifest itself.",
    .min_arguments = 1,
    .max_arguments = 1,
    .run = card_run,
};
