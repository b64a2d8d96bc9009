/* data_command.c - `fathom data get | import | tokenize | verify`: the stages of data.h as commands.
 * show, check and card are in data_look_command.c.
 *
 * Each stage works on a dataset folder (docs/formats/dataset.md), keeps what is already there and
 * fits, and may be killed and repeated.
 */
#include "data/data_command.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/progress.h"

#include <inttypes.h>
#include <string.h>

static status set_int(command_context *c, const char *key, int64_t value) {
    return result_set(c, key, json_integer(value));
}

/* ---- get ---- */

typedef struct get_settings {
    const char *corpus, *input;
    bool offline, again;
} get_settings;

static const option get_rows[] = {
    {"data", "corpus", OPTION_STRING, offsetof(get_settings, corpus), "mini",
     "Corpus to build: mini (from four Debian packages) or local (texts on this machine).",
     .value = "mini|local"},
    {"data", "input", OPTION_STRING, offsetof(get_settings, input), "",
     "For local: folder of texts; empty = installed man pages.", .value = "FOLDER"},
    {"data", "offline", OPTION_BOOL, offsetof(get_settings, offline), "false",
     "Use packages in the cache only, never the network."},
    {"data", "again", OPTION_BOOL, offsetof(get_settings, again), "false",
     "Build even if the dataset holds this corpus already.", .flags = OPTION_FLAG_ONLY},
};
static const option_table get_table = {get_rows, sizeof get_rows / sizeof get_rows[0],
                                       sizeof(get_settings), NULL};
static const option_table *const get_tables[] = {&get_table, NULL};

static status get_plan(command_context *c, const get_settings *s, const char *folder) {
    const char *summary = NULL;
    for (int i = 0; corpus_name(i) != NULL; i++)
        if (strcmp(corpus_name(i), s->corpus) == 0) summary = corpus_summary(i);
    if (summary == NULL) { /* the same message as without -n */
        corpus_report none;
        return corpus_build(s->corpus, &(corpus_options){.offline = true}, NULL, NULL, &none);
    }
    int64_t bytes = corpus_download_bytes(s->corpus), free_bytes = 0;
    TRY(disk_free(folder, &free_bytes));
    say(c, "corpus    %s: %s\n", s->corpus, summary);
    say(c, "download  %s at most (packages already in the cache are not fetched again)\n",
        bytes_text((double)bytes));
    say(c, "disk      about %s in the cache and %s in %s   [%s free]\n", bytes_text((double)bytes),
        bytes_text(2.0 * (double)bytes), folder, bytes_text((double)free_bytes));
    say(c, "memory    about 64 MiB, time about 5 s after the download\n");
    TRY(set_int(c, "download_bytes", bytes));
    return result_set(c, "folder", json_string(folder));
}

static status say_sources(command_context *c, const corpus_report *r) {
    json_t *list = json_array();
    TRY(result_set(c, "sources", list));
    for (int i = 0; i < r->n_sources; i++) {
        const corpus_source *s = &r->sources[i];
        say(c, "  %-24s %-14s %9s documents %10s   %s\n", s->name, s->version,
            count_text(s->documents), bytes_text((double)s->text_bytes), s->license);
        json_t *e = json_pack("{s:s, s:s, s:s, s:I, s:I}", "name", s->name, "version", s->version,
                              "license", s->license, "documents", (json_int_t)s->documents,
                              "text_bytes", (json_int_t)s->text_bytes);
        if (json_array_append_new(list, e) != 0) return STATUS_MEMORY;
    }
    return STATUS_OK;
}

static status get_run(command_context *c) {
    const get_settings *s = c->settings[0];
    char folder[PATH_SIZE];
    if (c->output != NULL)
        snprintf(folder, sizeof folder, "%s", c->output);
    else
        TRY(path_join(folder, "data", s->corpus));
    if (c->dry_run) return get_plan(c, s, folder);
    data_get_options o = {.corpus = s->corpus,
                          .folder = folder,
                          .input = s->input[0] != '\0' ? s->input : NULL,
                          .offline = s->offline,
                          .again = s->again};
    data_get_result r;
    TRY(data_get(&o, &r));
    say(c, "%s: %s documents, %s of text%s\n", folder, count_text(r.documents),
        bytes_text((double)r.text_bytes), r.kept ? " (kept)" : "");
    if (!r.kept) TRY(say_sources(c, &r.report));
    TRY(result_set(c, "folder", json_string(folder)));
    TRY(set_int(c, "documents", r.documents));
    TRY(set_int(c, "text_bytes", r.text_bytes));
    TRY(result_set(c, "kept", json_boolean(r.kept)));
    return command_next(c, "fathom data tokenize %s", folder);
}

static const command get_command = {
    .name = "get",
    .summary = "build a named corpus",
    .examples = "fathom data get\nfathom data get --corpus local --input texts -o data/texts\n"
                "fathom data get -n",
    .notes = "Writes: data/CORPUS (or -o): corpus.jsonl, data.json. Packages stay in the cache.",
    .options = get_tables,
    .run = get_run,
    .threads = true,
};

/* ---- import ---- */

const option import_rows[IMPORT_ROWS] = {
    {"data", "format", OPTION_CHOICE, offsetof(import_settings, format), "auto",
     "What the inputs are; auto looks at the first line.", .choices = import_formats},
    {"data", "encoding", OPTION_CHOICE, offsetof(import_settings, encoding), "utf8",
     "Encoding of the inputs.", .choices = import_encodings},
    {"data", "map", OPTION_STRING, offsetof(import_settings, map), "",
     "Keys of JSON records that make the text: question=text,answer=text."},
    {"data", "max-bad", OPTION_STRING, offsetof(import_settings, max_bad), "0.1%",
     "Share of a file's lines that may be refused (they go to rejected.jsonl)."},
    {"data", "license", OPTION_STRING, offsetof(import_settings, license), "",
     "Licence of the texts, kept in data.json and shown by `data card`."},
};
const char *const import_formats[] = {"auto", "text", "jsonl", NULL};
const char *const import_encodings[] = {"utf8", "latin1", NULL};
static const option_table import_table = {import_rows, IMPORT_ROWS, sizeof(import_settings), NULL};
static const option_table *const import_tables[] = {&import_table, NULL};

/* "0.1%" or "0.001". */
static status parse_share(const char *value, double *share) {
    char number[32];
    size_t n = strlen(value);
    bool percent = n > 0 && value[n - 1] == '%';
    snprintf(number, sizeof number, "%.*s", (int)(n - percent), value);
    if (n < sizeof number && parse_real(number, share)) {
        if (percent) *share /= 100;
        if (*share >= 0 && *share <= 1) return STATUS_OK;
    }
    return FAIL(F_BAD_VALUE, text("data.max-bad = \"%.60s\"", value), "--max-bad",
                "must be a share such as 0.1% or 0.001", "write --max-bad 0.1%");
}

status import_settings_read(const import_settings *s, import_options *o, import_map *map,
                            char *words, size_t room) {
    o->format = (import_format)s->format;
    o->encoding = (import_encoding)s->encoding;
    o->license = s->license != NULL && s->license[0] != '\0' ? s->license : NULL;
    o->map = map;
    o->n_map = 0;
    TRY(parse_share(s->max_bad, &o->max_bad));
    size_t n = strlen(s->map);
    if (n >= room)
        return FAIL(F_BAD_VALUE, "the map is too long", "--map", text("%zu bytes", n),
                    "shorten it");
    memcpy(words, s->map, n + 1);
    for (char *at = words; *at != '\0';) {
        char *comma = strchr(at, ','), *equal = strchr(at, '=');
        if (comma != NULL) *comma = '\0';
        if (equal == NULL || (comma != NULL && equal > comma) || equal == at ||
            o->n_map == IMPORT_MAP_MAX)
            return FAIL(
                F_BAD_VALUE, text("data.map = \"%.200s\"", s->map), "--map",
                text("must be KEY=text, at most %d of them, with commas between", IMPORT_MAP_MAX),
                "write --map question=text,answer=text");
        *equal = '\0';
        map[o->n_map++] = (import_map){at, equal + 1};
        at = comma != NULL ? comma + 1 : at + strlen(at) + 1 + strlen(equal + 1);
    }
    return STATUS_OK;
}

/* "1 file", "4,712 files" */
static const char *n_things(int64_t n, const char *thing) {
    return text("%s %s%s", count_text(n), thing, n == 1 ? "" : "s");
}

status import_report(command_context *c, const import_result *r) {
    say(c, "%s, %s of text from %s, %s\n", n_things(r->documents, "document"),
        bytes_text((double)r->text_bytes), n_things(r->files, "file"), n_things(r->lines, "line"));
    if (r->bad > 0) say(c, "  %s lines refused\n", count_text(r->bad));
    if (r->duplicates > 0) say(c, "  %s documents were there already\n", count_text(r->duplicates));
    if (r->empty > 0) say(c, "  %s documents without text\n", count_text(r->empty));
    if (r->binary > 0) say(c, "  %s files that hold no text\n", count_text(r->binary));
    if (r->skipped > 0)
        say(c, "  %s hidden names or linked folders not read\n", count_text(r->skipped));
    TRY(set_int(c, "documents", r->documents));
    TRY(set_int(c, "text_bytes", r->text_bytes));
    TRY(set_int(c, "files", r->files));
    TRY(set_int(c, "lines", r->lines));
    TRY(set_int(c, "bad_lines", r->bad));
    TRY(set_int(c, "duplicates", r->duplicates));
    TRY(set_int(c, "empty", r->empty));
    TRY(set_int(c, "binary_files", r->binary));
    return set_int(c, "skipped_files", r->skipped);
}

/* Without -o: data/<name of the first input without its ending>. */
static status import_folder(const command_context *c, char folder[PATH_SIZE]) {
    if (c->output != NULL) {
        snprintf(folder, PATH_SIZE, "%s", c->output);
        return STATUS_OK;
    }
    const char *name = path_name(c->arguments[0]);
    size_t n = strcspn(name, ".");
    if (strcmp(c->arguments[0], "-") == 0 || n == 0) name = "import", n = 6;
    return path_join(folder, "data", text("%.*s", (int)n, name));
}

static status import_run(command_context *c) {
    import_map map[IMPORT_MAP_MAX];
    char words[1024], folder[PATH_SIZE];
    TRY(import_folder(c, folder));
    import_options o = {.inputs = c->arguments,
                        .n_inputs = c->n_arguments,
                        .folder = folder,
                        .dry = c->dry_run,
                        .show_progress = true};
    TRY(import_settings_read(c->settings[0], &o, map, words, sizeof words));
    import_result r;
    TRY(data_import(&o, &r));
    TRY(import_report(c, &r));
    TRY(result_set(c, "folder", json_string(folder)));
    if (c->dry_run) {
        say(c, "would write about %s to %s\n", bytes_text(1.1 * (double)r.text_bytes), folder);
        return STATUS_OK;
    }
    if (r.bad > 0)
        TRY(command_warn(c, "%" PRId64 " of %" PRId64 " lines were refused: see %s/rejected.jsonl",
                         r.bad, r.lines, folder));
    say(c, "wrote %s\n", folder);
    return command_next(c, "fathom data tokenize %s", folder);
}

static const command import_command = {
    .name = "import",
    .summary = "make a dataset of text files, JSON lines or standard input",
    .usage = "FILE|FOLDER|-...",
    .examples = "fathom data import book.txt\nfathom data import texts/ more.jsonl -o data/all\n"
                "fathom data import - -o data/mine < my.jsonl\n"
                "fathom data import qa.jsonl --map question=text,answer=text",
    .notes =
        "Reads: UTF-8 text, one file a document; JSON lines {\"text\": ...}, one line a document;\n"
        "the same packed with gzip, xz or zstd.\n"
        "Writes: data/NAME (or -o): corpus.jsonl, data.json, rejected.jsonl if lines were refused.",
    .min_arguments = 1,
    .max_arguments = -1,
    .options = import_tables,
    .run = import_run,
};

/* ---- tokenize ---- */

typedef struct tokenize_settings {
    const char *tokenizer;
    int64_t vocab_size, shard_size;
    int split, line_min;
    double validation;
} tokenize_settings;

static const char *const split_rules[] = {"auto", "documents", "tail", NULL};
static const option tokenize_rows[] = {
    {"data", "tokenizer", OPTION_STRING, offsetof(tokenize_settings, tokenizer), "",
     "Tokenizer to use (file or folder); empty = train one on the training split.",
     .value = "TOKENIZER"},
    {"data", "vocab-size", OPTION_COUNT, offsetof(tokenize_settings, vocab_size), "0",
     "Size of the vocabulary to train; 256 = bytes, 0 = as before, 8192 the first time.", 0, 1e6},
    {"data", "split", OPTION_CHOICE, offsetof(tokenize_settings, split), "auto",
     "What is held back: documents by hash, or the tail (last tenth) of the text.",
     .choices = split_rules},
    {"data", "validation", OPTION_REAL, offsetof(tokenize_settings, validation), "0",
     "Share of the text held back; 0 = 0.02 of the documents, 0.1 of a tail.", 0, 0.5},
    {"data", "line-min", OPTION_INT, offsetof(tokenize_settings, line_min), "1",
     "Shortest line, in bytes, that may not be in both splits.", 1, 1e6},
    {"data", "shard-size", OPTION_SIZE, offsetof(tokenize_settings, shard_size), "32M",
     "Text in a shard, in bytes.", 1024, 1e10},
};
static const option_table tokenize_table = {
    tokenize_rows, sizeof tokenize_rows / sizeof tokenize_rows[0], sizeof(tokenize_settings), NULL};
static const option_table *const tokenize_tables[] = {&tokenize_table, NULL};

static status tokenize_plan(command_context *c, const char *folder, const tokenize_settings *s) {
    dataset d;
    int64_t bytes = 0, free_bytes = 0, documents = 0;
    TRY(dataset_open(&d, folder));
    json_t *corpus = json_object_get(d.manifest, "corpus");
    status r = json_get_int(corpus, "text_bytes", &bytes, folder);
    if (r == STATUS_OK) r = json_get_int(corpus, "documents", &documents, folder);
    dataset_close(&d);
    TRY(r);
    TRY(disk_free(folder, &free_bytes));
    int bits = 0; /* of a token id; a token holds 0.29 bytes a bit in English (measured at 8,192) */
    int64_t size = s->vocab_size > 0 ? s->vocab_size : 8192;
    while (((int64_t)2 << bits) <= size)
        bits++;
    double each = size <= 256 ? 1 : 0.29 * bits, tokens = (double)bytes / each;
    double disk = tokens * (size <= 65536 ? 2 : 4) + 32.0 * (double)documents;
    double one_shard = (double)(bytes < s->shard_size ? bytes : s->shard_size);
    double memory = 32.0 * (double)documents + 3 * one_shard + 32e6;
    say(c, "text     %s in %s documents\n", bytes_text((double)bytes), count_text(documents));
    say(c, "tokens   about %s (%.1f bytes each)\n", count_text((int64_t)tokens), each);
    say(c, "memory   about %s\n", bytes_text(memory));
    say(c, "disk     about %s   [%s free]\n", bytes_text(disk), bytes_text((double)free_bytes));
    say(c, "time     about %s\n", duration_text((double)bytes / 4e6));
    TRY(set_int(c, "text_bytes", bytes));
    TRY(set_int(c, "tokens", (int64_t)tokens));
    TRY(set_int(c, "disk_bytes", (int64_t)disk));
    return set_int(c, "memory_bytes", (int64_t)memory);
}

static status tokenize_report(command_context *c, const tokenize_result *r) {
    json_t *splits = json_object();
    TRY(result_set(c, "splits", splits));
    for (int i = 0; i < SPLIT_COUNT; i++) {
        say(c, "%-11s %9s documents %11s %13s tokens\n", split_name((split_id)i),
            count_text(r->documents[i]), bytes_text((double)r->text_bytes[i]),
            count_text(r->tokens[i]));
        json_t *e =
            json_pack("{s:I, s:I, s:I}", "documents", (json_int_t)r->documents[i], "text_bytes",
                      (json_int_t)r->text_bytes[i], "tokens", (json_int_t)r->tokens[i]);
        if (json_object_set_new(splits, split_name((split_id)i), e) != 0) return STATUS_MEMORY;
    }
    say(c,
        "vocabulary  %s tokens; split by %s; %s validation lines dropped because training has "
        "them\n",
        count_text(r->vocab_size), r->tail ? "tail" : "document", count_text(r->lines_dropped));
    say(c, "shards      %d, %d of them kept\n", r->shards, r->shards_kept);
    TRY(set_int(c, "vocab_size", r->vocab_size));
    TRY(set_int(c, "lines_dropped", r->lines_dropped));
    TRY(set_int(c, "documents_emptied", r->documents_emptied));
    TRY(set_int(c, "shards", r->shards));
    TRY(set_int(c, "shards_kept", r->shards_kept));
    return result_set(c, "split", json_string(r->tail ? "tail" : "documents"));
}

static status tokenize_run(command_context *c) {
    const tokenize_settings *s = c->settings[0];
    const char *folder = c->arguments[0];
    if (c->dry_run) return tokenize_plan(c, folder, s);
    tokenize_options o = {.folder = folder,
                          .tokenizer = s->tokenizer[0] != '\0' ? s->tokenizer : NULL,
                          .vocab_size = (int)s->vocab_size,
                          .split = (split_rule)s->split,
                          .validation_share = s->validation,
                          .line_min = s->line_min,
                          .seed = c->seed,
                          .shard_bytes = s->shard_size};
    tokenize_result r;
    TRY(data_tokenize(&o, &r));
    TRY(tokenize_report(c, &r));
    TRY(result_set(c, "folder", json_string(folder)));
    return command_next(c, "fathom train %s --preset first --run runs/one --minutes 10", folder);
}

static const command tokenize_command = {
    .name = "tokenize",
    .summary = "split a dataset and turn it into token shards",
    .usage = "DATASET",
    .examples = "fathom data tokenize data/mini\nfathom data tokenize data/mini --vocab-size 4096\n"
                "fathom data tokenize data/book --split tail --vocab-size 256",
    .notes = "Reads: DATASET/data.json, corpus.jsonl.\n"
             "Writes: DATASET/tokenizer.json, train-*.shard, validation-*.shard, data.json.\n"
             "Shards that are whole and fit are kept, so an interrupted run goes on.",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = tokenize_tables,
    .run = tokenize_run,
    .threads = true,
};

/* ---- verify ---- */

typedef struct damage_list {
    command_context *c;
    json_t *list;
    bool lost; /* no memory for an entry */
} damage_list;

static void tell_damage(void *context, const error_report *r) {
    damage_list *d = context;
    say(d->c, "%s\n  %s; %s\n", r->what, r->where, r->why);
    json_t *e = json_pack("{s:s, s:s, s:s}", "what", r->what, "where", r->where, "why", r->why);
    if (json_array_append_new(d->list, e) != 0) d->lost = true;
}

static status verify_run(command_context *c) {
    damage_list damage = {.c = c, .list = json_array()};
    TRY(result_set(c, "damage", damage.list));
    if (c->dry_run) {
        say(c, "would read every byte of %s again\n", c->arguments[0]);
        return STATUS_OK;
    }
    verify_result r;
    status s = data_verify(c->arguments[0], tell_damage, &damage, &r);
    if (s != STATUS_OK && s != STATUS_NO) return s;
    error_report verdict;
    error_save(&verdict);
    TRY(set_int(c, "files", r.files));
    TRY(set_int(c, "shards", r.shards));
    TRY(set_int(c, "blocks", r.blocks));
    TRY(set_int(c, "bytes", r.bytes));
    TRY(set_int(c, "damaged", r.damaged));
    TRY(set_int(c, "documents_affected", r.documents_hit));
    if (damage.lost) return STATUS_MEMORY;
    say(c, "%d files, %d shards, %s blocks, %s: %s\n", r.files, r.shards, count_text(r.blocks),
        bytes_text((double)r.bytes), s == STATUS_OK ? "all whole" : "damaged");
    error_restore(&verdict);
    return s;
}

static const command verify_command = {
    .name = "verify",
    .summary = "read a dataset again and name what is damaged",
    .usage = "DATASET",
    .examples = "fathom data verify data/mini",
    .notes = "Exit code 0: every byte is as it was written; 1: damage was found and named.",
    .min_arguments = 1,
    .max_arguments = 1,
    .run = verify_run,
};

static const command *const children[] = {
    &get_command,       &import_command,     &tokenize_command,  &verify_command,
    &data_show_command, &data_check_command, &data_card_command, NULL};

const command data_command = {
    .name = "data",
    .summary = "corpora, import, token shards",
    .examples = "fathom data get\nfathom data import my.jsonl\nfathom data tokenize data/mini\n"
                "fathom data check - < my.jsonl",
    .children = children,
};
