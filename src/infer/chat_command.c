/* chat_command.c - `fathom chat MODEL`: talk with a model, or let it complete text.
 *
 * A model with a chat template answers: what is typed is a message, and the conversation goes on
 * until /clear. A base model has none and completes: each line starts afresh unless --keep lets the
 * text grow. --chat-template gives a template, --complete does without.
 *
 * With -p the answer to one prompt goes to standard output and nothing else does. Without, lines are
 * read from standard input: on a terminal with editing and history, else one per line. The answer
 * appears as it is made; Ctrl-C ends the answer, a second one the program.
 */
#include "infer/infer.h"

#include "base/clock.h"
#include "base/command.h"
#include "base/ending.h"
#include "base/file.h"
#include "base/pool.h"
#include "base/progress.h"
#include "infer/conversation.h"
#include "infer/line_editor.h"
#include "infer/session_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef enum thinking { THINKING_AUTO, THINKING_YES, THINKING_NO } thinking;
static const char *const thinkings[] = {"auto", "yes", "no", NULL};

typedef struct chat_settings {
    const char *prompt, *system, *template, *stop, *session;
    thinking thinking;
    bool complete;
    int64_t max_tokens, context, memory_limit;
    double temperature, top_p, min_p, repetition_penalty;
    int top_k, repetition_window;
    bool keep, stats;
} chat_settings;

static const option rows[] = {
    {"chat", "prompt", OPTION_STRING, offsetof(chat_settings, prompt), "",
     "Complete this text and end.", .letter = 'p', .flags = OPTION_FLAG_ONLY},
    {"chat", "system", OPTION_STRING, offsetof(chat_settings, system), "",
     "What the model is told before the conversation."},
    {"chat", "chat-template", OPTION_STRING, offsetof(chat_settings, template), "",
     "Jinja template to use instead of the model's own.", .value = "FILE"},
    {"chat", "complete", OPTION_BOOL, offsetof(chat_settings, complete), "false",
     "Complete text even if the model has a chat template."},
    {"chat", "thinking", OPTION_CHOICE, offsetof(chat_settings, thinking), "auto",
     "Ask a template that knows the difference for an answer with or without reasoning.",
     .choices = thinkings},
    {"chat", "stop", OPTION_STRING, offsetof(chat_settings, stop), "",
     "Text at which an answer ends; it is not shown."},
    {"chat", "max-tokens", OPTION_COUNT, offsetof(chat_settings, max_tokens), "512",
     "Most tokens of an answer.", 1, 1e6},
    {"chat", "context", OPTION_COUNT, offsetof(chat_settings, context), "0",
     "Positions kept; 0 = what the model was made for, up to 4096.", 0, 1e7},
    {"chat", "memory-limit", OPTION_SIZE, offsetof(chat_settings, memory_limit), "0",
     "Refuse a model that needs more memory; 0 = what is free.", 0, 1e15},
    {"chat", "session", OPTION_STRING, offsetof(chat_settings, session), "",
     "Go on with the conversation in this file if it exists, and keep it there at the end, with "
     "its "
     "keys.",
     .value = "FILE", .flags = OPTION_FLAG_ONLY},
    {"chat", "temperature", OPTION_REAL, offsetof(chat_settings, temperature), "0.8",
     "0 = always the likeliest token; higher = more varied.", 0, 100},
    {"chat", "top-k", OPTION_INT, offsetof(chat_settings, top_k), "0",
     "Choose among the k likeliest; 0 = all.", 0, 1e9},
    {"chat", "top-p", OPTION_REAL, offsetof(chat_settings, top_p), "0.95",
     "Choose among the likeliest that together have this probability.", 1e-9, 1},
    {"chat", "min-p", OPTION_REAL, offsetof(chat_settings, min_p), "0",
     "Drop tokens less likely than this share of the likeliest.", 0, 1},
    {"chat", "repetition-penalty", OPTION_REAL, offsetof(chat_settings, repetition_penalty), "1",
     "Above 1: tokens already in the text become less likely.", 1e-3, 100},
    {"chat", "repetition-window", OPTION_INT, offsetof(chat_settings, repetition_window), "0",
     "Tokens the penalty looks back; 0 = all.", 0, 1e9},
    {"chat", "keep", OPTION_BOOL, offsetof(chat_settings, keep), "false",
     "Go on with the text so far instead of starting afresh at each line."},
    {"chat", "stats", OPTION_BOOL, offsetof(chat_settings, stats), "false",
     "Print tokens per second and time to the first token after each answer."},
};
static const option_table chat_options = {rows, sizeof rows / sizeof rows[0], sizeof(chat_settings),
                                          NULL};
static const option_table *const tables[] = {&chat_options, NULL};

typedef struct answer {
    command_context *c;
    char *text; /* kept for --json */
    size_t n, room;
    status state;
} answer;

static bool on_text(void *context, const char *bytes, size_t n) {
    answer *a = context;
    if (!a->c->json) {
        fwrite(bytes, 1, n, stdout);
        fflush(stdout);
    } else {
        if (a->n + n + 1 > a->room) {
            size_t room = (a->n + n + 1) * 2;
            char *grown = mem_resize(a->text, room, 1);
            if (grown == NULL) {
                a->state = STATUS_MEMORY;
                return false;
            }
            a->text = grown;
            a->room = room;
        }
        memcpy(a->text + a->n, bytes, n);
        a->n += n;
        a->text[a->n] = '\0';
    }
    return !interrupted();
}

static generate_options options_of(const chat_settings *s, const bundle *b, uint64_t seed) {
    return (generate_options){.max_tokens = s->max_tokens,
                              .bos = true,
                              .stop_ids = b->stop_ids,
                              .n_stop_ids = b->n_stop_ids,
                              .stop_words = &s->stop,
                              .n_stop_words = s->stop[0] != '\0',
                              .sampler = {.temperature = s->temperature,
                                          .top_k = s->top_k,
                                          .top_p = s->top_p,
                                          .min_p = s->min_p,
                                          .repetition_penalty = s->repetition_penalty,
                                          .repetition_window = s->repetition_window,
                                          .seed = seed}};
}

static const char *stop_word(stop_reason r) {
    switch (r) {
    case STOP_LENGTH: return "length";
    case STOP_EOS: return "end of text";
    case STOP_WORD: return "stop word";
    case STOP_CONTEXT: return "context full";
    case STOP_CALLER: return "stopped";
    }
    return "";
}

static void print_stats(const command_context *c, const generate_result *r) {
    const chat_settings *set = c->settings[0];
    if (!set->stats || c->json) return;
    double rate = r->generate_seconds > 0 ? (double)r->n_generated / r->generate_seconds : 0;
    fprintf(stderr, "[%" PRId64 " + %" PRId64 " tokens, first after %.0f ms, %.1f tokens/s, %s]\n",
            r->n_prompt, r->n_generated, r->prompt_seconds * 1000, rate, stop_word(r->stop));
}

static status complete(command_context *c, session *s, const bundle *b, const char *prompt,
                       size_t n, answer *a, generate_result *r) {
    const chat_settings *set = c->settings[0];
    generate_options g = options_of(set, b, c->seed);
    g.on_text = on_text;
    g.context = a;
    if (!c->json) {
        fwrite(prompt, 1, n, stdout);
        fflush(stdout);
    }
    TRY(generate(s, b->tokenizer, prompt, n, &g, r));
    TRY(a->state);
    say(c, "\n");
    print_stats(c, r);
    return STATUS_OK;
}

/* The result under --json. */
static status set_result(command_context *c, const char *text, size_t n, const generate_result *r) {
    TRY(result_set(c, "text", json_stringn(text, n)));
    return result_set(c, "usage",
                      json_pack("{s:I, s:I, s:f, s:f, s:s}", "prompt_tokens",
                                (json_int_t)r->n_prompt, "generated_tokens",
                                (json_int_t)r->n_generated, "prompt_seconds", r->prompt_seconds,
                                "generate_seconds", r->generate_seconds, "stop",
                                stop_word(r->stop)));
}

/* -- what was read before -- */

/* Text that is completed has no messages: ids and keys alone. */
static status resume_text(const chat_settings *set, session *s, const bundle *b) {
    session_note note = {0};
    if (set->session[0] == '\0' || !path_exists(set->session)) return STATUS_OK;
    TRY(session_load(s, tokenizer_fingerprint(b->tokenizer), &note, set->session));
    session_note_clear(&note);
    return STATUS_OK;
}

static status keep_text(const command_context *c, session *s, const bundle *b) {
    const chat_settings *set = c->settings[0];
    if (set->session[0] == '\0') return STATUS_OK;
    session_note note = {.sampler = options_of(set, b, c->seed).sampler};
    return session_save(s, tokenizer_fingerprint(b->tokenizer), &note, set->session);
}

static status one_answer(command_context *c, session *s, const bundle *b, const char *prompt) {
    answer a = {.c = c};
    generate_result r;
    TRY(resume_text(c->settings[0], s, b));
    status result = complete(c, s, b, prompt, strlen(prompt), &a, &r);
    if (result == STATUS_OK && c->json)
        result = set_result(c, a.text != NULL ? a.text : "", a.n, &r);
    if (result == STATUS_OK) result = keep_text(c, s, b);
    mem_free(a.text);
    return result;
}

static status read_lines(command_context *c, session *s, const bundle *b) {
    const chat_settings *set = c->settings[0];
    bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    line_editor editor;
    const char *line;
    status result = STATUS_OK;
    TRY(resume_text(set, s, b));
    if (terminal && !c->quiet)
        fprintf(stderr, "Text in, continuation out. Empty line or Ctrl-D ends.\n");
    line_editor_begin(&editor, terminal);
    while (result == STATUS_OK && (line = line_editor_read(&editor, "> ")) != NULL) {
        if (line[0] == '\0' && terminal) break;
        if (line[0] == '\0') continue;
        if (!set->keep && set->session[0] == '\0') session_cut(s, 0);
        answer a = {.c = c};
        generate_result r;
        result = complete(c, s, b, line, strlen(line), &a, &r);
        mem_free(a.text);
        if (result == STATUS_OK && terminal && interrupt_take()) say(c, "\n");
        if (result == STATUS_OK)
            result = interrupt_status("the conversation", "start the command again");
    }
    line_editor_end(&editor);
    return result == STATUS_OK ? keep_text(c, s, b) : result;
}

/* -- conversations -- */

typedef struct talk {
    command_context *c;
    const bundle *b;
    conversation *conversation;
    size_t preset; /* messages that were there before the first turn: the system's */
} talk;

static const char help[] =
    "/help          this list\n"
    "/clear         forget the conversation\n"
    "/system TEXT   tell the model something new and begin again\n"
    "/retry         another answer to the last message\n"
    "/save FILE     write the conversation as JSON; with the model's keys,\n"
    "               so that nothing is read again, if FILE ends in .session\n"
    "/load FILE     go on with one of either kind\n"
    "/exit          end (also Ctrl-D)\n"
    "Ctrl-C stops an answer. A message that begins with / is typed as //.\n";

/* Answers what has been said; a turn that fails leaves the conversation as it was. */
static status take_turn(talk *t, generate_result *r, const char **text) {
    answer a = {.c = t->c};
    generate_options g = options_of(t->c->settings[0], t->b, t->c->seed);
    g.on_text = on_text;
    g.context = &a;
    status result = conversation_answer(t->conversation, &g, r, text);
    if (result == STATUS_OK) result = a.state;
    mem_free(a.text);
    if (result != STATUS_OK) return result;
    say(t->c, "\n");
    print_stats(t->c, r);
    return STATUS_OK;
}

static status say_message(talk *t, const char *words) {
    generate_result r;
    const char *text;
    size_t before = conversation_length(t->conversation);
    TRY(conversation_add(t->conversation, "user", words));
    status s = take_turn(t, &r, &text);
    if (s != STATUS_OK) conversation_cut(t->conversation, before);
    return s;
}

static status retry(talk *t) {
    generate_result r;
    const char *text;
    size_t n = conversation_length(t->conversation);
    if (n <= t->preset + 1) return STATUS_OK;
    conversation_cut(t->conversation, n - 1);
    t->c->seed++; /* the same seed would give the same answer */
    return take_turn(t, &r, &text);
}

static status begin(talk *t, const char *system) {
    conversation_cut(t->conversation, 0);
    if (system[0] != '\0') TRY(conversation_add(t->conversation, "system", system));
    t->preset = conversation_length(t->conversation);
    return STATUS_OK;
}

/* What follows the word in a line such as "/save FILE"; NULL if it is another word. */
static const char *after_word(const char *line, const char *word) {
    size_t n = strlen(word);
    if (strncmp(line, word, n) != 0 || (line[n] != '\0' && line[n] != ' ')) return NULL;
    return line + n + (line[n] == ' ');
}

static status save(talk *t, const char *path) {
    sampler_options o = options_of(t->c->settings[0], t->b, t->c->seed).sampler;
    if (ends_with(path, ".session"))
        TRY(conversation_keep(t->conversation, &o, path));
    else
        TRY(conversation_save(t->conversation, path));
    if (!t->c->quiet)
        fprintf(stderr, "saved %zu messages in %s\n", conversation_length(t->conversation), path);
    return STATUS_OK;
}

static status load(talk *t, const char *path) {
    if (session_file_is(path))
        TRY(conversation_resume(t->conversation, NULL, path));
    else
        TRY(conversation_load(t->conversation, path));
    if (!t->c->quiet)
        fprintf(stderr, "%zu messages from %s\n", conversation_length(t->conversation), path);
    return STATUS_OK;
}

/* A line that begins with one slash. *end: the conversation is over. */
static status obey(talk *t, const char *line, bool *end) {
    const chat_settings *set = t->c->settings[0];
    const char *rest;
    if (after_word(line, "/exit") != NULL || after_word(line, "/quit") != NULL) {
        *end = true;
    } else if (after_word(line, "/clear") != NULL) {
        return begin(t, set->system);
    } else if (after_word(line, "/retry") != NULL) {
        return retry(t);
    } else if ((rest = after_word(line, "/system")) != NULL) {
        return begin(t, rest);
    } else if ((rest = after_word(line, "/save")) != NULL && rest[0] != '\0') {
        return save(t, rest);
    } else if ((rest = after_word(line, "/load")) != NULL && rest[0] != '\0') {
        return load(t, rest);
    } else {
        fputs(help, stderr);
    }
    return STATUS_OK;
}

static status hear(talk *t, const char *line, bool *end) {
    if (line[0] == '/' && line[1] != '/') return obey(t, line, end);
    return say_message(t, line + (line[0] == '/'));
}

/* On a terminal a turn that failed is told and the conversation goes on; in a pipe it ends it. */
static status talk_lines(talk *t) {
    bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO), end = false;
    line_editor editor;
    const char *line;
    status result = STATUS_OK;
    if (terminal && !t->c->quiet) fprintf(stderr, "/help lists what can be typed here.\n");
    if (terminal) interrupt_notice("");
    line_editor_begin(&editor, terminal);
    while (result == STATUS_OK && !end && (line = line_editor_read(&editor, "> ")) != NULL) {
        if (line[0] == '\0') continue;
        result = hear(t, line, &end);
        if (result != STATUS_OK && terminal && result != STATUS_MEMORY) {
            error_print(stderr, error_last());
            result = STATUS_OK;
        }
        if (terminal && interrupt_take()) fprintf(stderr, "(stopped)\n");
        if (result == STATUS_OK)
            result = interrupt_status("the conversation", "start the command again");
    }
    line_editor_end(&editor);
    return result;
}

/* The model's template, or the one of --chat-template; NULL: neither. */
static status find_format(const chat_settings *set, const bundle *b, chat_format **own,
                          const chat_format **out) {
    char *source;
    size_t n, bos_n = 0, eos_n = 0;
    *own = NULL;
    *out = set->complete ? NULL : b->chat;
    if (set->template[0] == '\0' || set->complete) return STATUS_OK;
    const tokenizer *t = b->tokenizer;
    const uint8_t *bos = tokenizer_token(t, tokenizer_bos(t), &bos_n);
    const uint8_t *eos = tokenizer_token(t, tokenizer_eos(t), &eos_n);
    TRY(file_read(set->template, (size_t)1 << 20, &source, &n));
    status s = chat_format_parse(own, source, n, set->template,
                                 bos != NULL ? text("%.*s", (int)bos_n, (const char *)bos) : NULL,
                                 eos != NULL ? text("%.*s", (int)eos_n, (const char *)eos) : NULL);
    mem_free(source);
    *out = *own;
    return s;
}

static status talk_with(command_context *c, session *s, const bundle *b, const chat_format *f) {
    const chat_settings *set = c->settings[0];
    talk t = {.c = c, .b = b};
    generate_result r;
    const char *text;
    status result;
    TRY(conversation_new(&t.conversation, s, b->tokenizer, f));
    TRY_GOTO(result, begin(&t, set->system));
    if (set->session[0] != '\0' && path_exists(set->session))
        TRY_GOTO(result, load(&t, set->session));
    if (set->thinking != THINKING_AUTO) {
        bool on = set->thinking == THINKING_YES;
        TRY_GOTO(result, conversation_set(t.conversation, "enable_thinking", json_boolean(on)));
        TRY_GOTO(result, conversation_set(t.conversation, "thinking", json_boolean(on)));
    }
    if (set->prompt[0] == '\0') {
        result = talk_lines(&t);
    } else {
        TRY_GOTO(result, conversation_add(t.conversation, "user", set->prompt));
        TRY_GOTO(result, take_turn(&t, &r, &text));
        if (c->json) result = set_result(c, text, strlen(text), &r);
    }
    if (result == STATUS_OK && set->session[0] != '\0') {
        sampler_options o = options_of(set, b, c->seed).sampler;
        result = conversation_keep(t.conversation, &o, set->session);
    }
done:
    conversation_free(t.conversation);
    return result;
}

/* What runs where: printed to a person, and with --stats. */
static void print_facts(const command_context *c, const bundle_facts *f, double seconds) {
    const chat_settings *set = c->settings[0];
    bool person = isatty(STDIN_FILENO) && isatty(STDERR_FILENO) && set->prompt[0] == '\0';
    if (c->quiet || c->json || !(person || set->stats)) return;
    int threads = pool_threads();
    fprintf(stderr, "%s parameters in %s, loaded in %.0f ms; context %s in %s; %d thread%s, %s\n",
            count_text(f->parameters), bytes_text((double)f->weight_bytes), seconds * 1000,
            count_text(f->context), bytes_text((double)f->key_bytes), threads,
            threads == 1 ? "" : "s", c->program->tier_name != NULL ? c->program->tier_name() : "");
}

static status chat_run(command_context *c) {
    const chat_settings *set = c->settings[0];
    static const bundle none;
    generate_options g = options_of(set, &none, c->seed);
    TRY(sampler_check(&g.sampler));
    bundle_facts facts;
    TRY(bundle_measure(&facts, c->arguments[0], set->context));
    if (c->dry_run) {
        say(c, "would load %s: %s parameters, %s with a context of %s\n", facts.path,
            count_text(facts.parameters), bytes_text((double)bundle_facts_bytes(&facts)),
            count_text(facts.context));
        return STATUS_OK;
    }
    TRY(bundle_fits(&facts, set->memory_limit));
    if (c->json && set->prompt[0] == '\0')
        return FAIL(F_USAGE, "--json needs a prompt", "fathom chat",
                    "an answer as JSON belongs to one question", "add -p TEXT");
    bundle b;
    engine *e = NULL;
    session *s = NULL;
    chat_format *own = NULL;
    const chat_format *format;
    double began = clock_seconds();
    TRY(bundle_open(&b, c->arguments[0]));
    status result;
    TRY_GOTO(result, engine_new(&e, &b.model, facts.context));
    TRY_GOTO(result, session_new(&s, e));
    TRY_GOTO(result, find_format(set, &b, &own, &format));
    print_facts(c, &facts, clock_seconds() - began);
    result = format != NULL           ? talk_with(c, s, &b, format)
             : set->prompt[0] != '\0' ? one_answer(c, s, &b, set->prompt)
                                      : read_lines(c, s, &b);
done:
    chat_format_free(own);
    session_free(s);
    engine_free(e);
    bundle_close(&b);
    return result;
}

const command chat_command = {
    .name = "chat",
    .summary = "talk with a model, or let it complete text",
    .usage = "MODEL",
    .examples = "fathom chat runs/first\nfathom chat runs/first -p \"The mount command\"\n"
                "fathom chat runs/first --temperature 0 --max-tokens 40 < prompts.txt\n"
                "fathom chat models/assistant --system \"Answer in one line.\"",
    .notes =
        "A model with a chat template (chat_template.jinja or tokenizer_config.json in its "
        "folder)\n"
        "answers; what is typed can then not be taken for the template's own marks. A base model\n"
        "completes text in the style of what it was trained on; it does not answer.\n"
        "The same seed, text and settings give the same continuation.",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = tables,
    .run = chat_run,
    .threads = true,
};
