/* chat_command.c - `fathom chat MODEL`: give a model text, read on.
 *
 * With -p the answer to one prompt goes to standard output and nothing else does. Without, lines are
 * read from standard input: on a terminal with a prompt sign, else one text per line. A base model
 * completes: each line starts afresh unless --keep lets the text grow. The answer appears as it is
 * made; Ctrl-C ends it, a second one the program.
 */
#include "infer/infer.h"

#include "base/clock.h"
#include "base/command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct chat_settings {
    const char *prompt;
    int64_t max_tokens, context;
    double temperature, top_p, min_p, repetition_penalty;
    int top_k, repetition_window;
    bool keep, stats;
} chat_settings;

static const option rows[] = {
    {"chat", "prompt", OPTION_STRING, offsetof(chat_settings, prompt), "",
     "Complete this text and end.", .letter = 'p', .flags = OPTION_FLAG_ONLY},
    {"chat", "max-tokens", OPTION_COUNT, offsetof(chat_settings, max_tokens), "128",
     "Most tokens of an answer.", 1, 1e6},
    {"chat", "context", OPTION_COUNT, offsetof(chat_settings, context), "0",
     "Positions kept; 0 = what the model was made for, up to 4096.", 0, 1e7},
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

static generate_options options_of(const chat_settings *s, uint64_t seed) {
    return (generate_options){.max_tokens = s->max_tokens,
                              .bos = true,
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
    case STOP_CONTEXT: return "context full";
    case STOP_CALLER: return "stopped";
    }
    return "";
}

static status complete(command_context *c, session *s, const bundle *b, const char *prompt,
                       size_t n, answer *a, generate_result *r) {
    const chat_settings *set = c->settings[0];
    generate_options g = options_of(set, c->seed);
    g.on_text = on_text;
    g.context = a;
    if (!c->json) {
        fwrite(prompt, 1, n, stdout);
        fflush(stdout);
    }
    TRY(generate(s, b->tokenizer, prompt, n, &g, r));
    TRY(a->state);
    say(c, "\n");
    if (set->stats && !c->json)
        fprintf(stderr,
                "[%" PRId64 " + %" PRId64 " tokens, first after %.0f ms, %.1f tokens/s, %s]\n",
                r->n_prompt, r->n_generated, r->prompt_seconds * 1000,
                r->generate_seconds > 0 ? (double)r->n_generated / r->generate_seconds : 0,
                stop_word(r->stop));
    return STATUS_OK;
}

static status one_answer(command_context *c, session *s, const bundle *b, const char *prompt) {
    answer a = {.c = c};
    generate_result r;
    status result = complete(c, s, b, prompt, strlen(prompt), &a, &r);
    if (result == STATUS_OK && c->json) {
        result = result_set(c, "text", json_stringn(a.text != NULL ? a.text : "", a.n));
        if (result == STATUS_OK)
            result = result_set(c, "usage",
                                json_pack("{s:I, s:I, s:f, s:f, s:s}", "prompt_tokens",
                                          (json_int_t)r.n_prompt, "generated_tokens",
                                          (json_int_t)r.n_generated, "prompt_seconds",
                                          r.prompt_seconds, "generate_seconds", r.generate_seconds,
                                          "stop", stop_word(r.stop)));
    }
    mem_free(a.text);
    return result;
}

static status read_lines(command_context *c, session *s, const bundle *b) {
    const chat_settings *set = c->settings[0];
    bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    char *line = NULL;
    size_t room = 0;
    status result = STATUS_OK;
    if (terminal && !c->quiet)
        fprintf(stderr, "Text in, continuation out. Empty line or Ctrl-D ends.\n");
    while (result == STATUS_OK) {
        if (terminal) fprintf(stderr, "> ");
        ssize_t n = getline(&line, &room, stdin);
        if (n < 0) break;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            n--;
        if (n == 0 && terminal) break;
        if (n == 0) continue;
        if (!set->keep) session_cut(s, 0);
        answer a = {.c = c};
        generate_result r;
        result = complete(c, s, b, line, (size_t)n, &a, &r);
        mem_free(a.text);
        if (result == STATUS_OK)
            result = interrupt_status("the conversation", "start the command again");
    }
    free(line);
    return result;
}

static status chat_run(command_context *c) {
    const chat_settings *set = c->settings[0];
    generate_options g = options_of(set, c->seed);
    TRY(sampler_check(&g.sampler));
    char found[4096];
    TRY(bundle_find(found, c->arguments[0]));
    if (c->dry_run) {
        say(c, "would load %s\n", found);
        return STATUS_OK;
    }
    if (c->json && set->prompt[0] == '\0')
        return FAIL(F_USAGE, "--json needs a prompt", "fathom chat",
                    "an answer as JSON belongs to one question", "add -p TEXT");
    bundle b;
    engine *e = NULL;
    session *s = NULL;
    TRY(bundle_open(&b, c->arguments[0]));
    int64_t context = b.model.config.max_position;
    if (context <= 0 || context > 4096) context = 4096;
    if (set->context > 0) context = set->context;
    status result;
    TRY_GOTO(result, engine_new(&e, &b.model, context));
    TRY_GOTO(result, session_new(&s, e));
    result = set->prompt[0] != '\0' ? one_answer(c, s, &b, set->prompt) : read_lines(c, s, &b);
done:
    session_free(s);
    engine_free(e);
    bundle_close(&b);
    return result;
}

const command chat_command = {
    .name = "chat",
    .summary = "let a model complete text",
    .usage = "MODEL",
    .examples = "fathom chat runs/first\nfathom chat runs/first -p \"The mount command\"\n"
                "fathom chat runs/first --temperature 0 --max-tokens 40 < prompts.txt",
    .notes =
        "A base model completes text in the style of what it was trained on; it does not answer.\n"
        "The same seed, text and settings give the same continuation.",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = tables,
    .run = chat_run,
    .threads = true,
};
