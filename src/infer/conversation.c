/* conversation.c - messages to prompt ids, ids to an answer, the answer to a message. */
#include "infer/conversation.h"

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "infer/session_file.h"

#include <string.h>
#include <time.h>

struct conversation {
    session *session;
    const tokenizer *tokenizer;
    const chat_format *format;
    encoder *encoder;
    json_t *messages, *tools, *extra; /* tools: NULL = none */
    int64_t kept;
};

static status no_memory(void) {
    return FAIL(F_NO_MEMORY, "a message of a conversation", "conversation", "memory ran out",
                "close other programs");
}

status conversation_new(conversation **out, session *s, const tokenizer *t, const chat_format *f) {
    *out = NULL;
    conversation *c = mem_zalloc(1, sizeof *c);
    if (c == NULL) return STATUS_MEMORY;
    *c = (conversation){.session = s, .tokenizer = t, .format = f};
    c->messages = json_array();
    c->extra = json_object();
    status result =
        c->messages == NULL || c->extra == NULL ? no_memory() : encoder_new(&c->encoder, t);
    if (result != STATUS_OK) {
        conversation_free(c);
        return result;
    }
    *out = c;
    return STATUS_OK;
}

void conversation_free(conversation *c) {
    if (c == NULL) return;
    encoder_free(c->encoder);
    json_decref(c->messages);
    json_decref(c->tools);
    json_decref(c->extra);
    mem_free(c);
}

status conversation_add(conversation *c, const char *role, const char *content) {
    size_t n = strlen(content), good = utf8_valid(content, n);
    if (good < n)
        return FAIL(F_RECORD, "the message is not UTF-8", text("byte %zu", good),
                    "templates work on characters", "give the text in UTF-8");
    json_t *m = json_pack("{s:s, s:s}", "role", role, "content", content);
    return m == NULL || json_array_append_new(c->messages, m) != 0 ? no_memory() : STATUS_OK;
}

status conversation_set(conversation *c, const char *name, json_t *value) {
    return json_object_set_new(c->extra, name, value) != 0 ? no_memory() : STATUS_OK;
}

static status check_message(const json_t *m, size_t at, const char *where) {
    if (json_is_string(json_object_get(m, "role")) && json_object_get(m, "content") != NULL)
        return STATUS_OK;
    return FAIL(F_RECORD, text("message %zu is none", at), where,
                "a message is an object with \"role\" and \"content\"", "mend it");
}

status conversation_replace(conversation *c, json_t *messages, const char *where) {
    status s = STATUS_OK;
    if (!json_is_array(messages))
        s = FAIL(F_RECORD, "the messages are no array", where,
                 "a conversation is an array of objects with \"role\" and \"content\"",
                 "write them as [{\"role\": \"user\", \"content\": \"...\"}]");
    for (size_t i = 0; s == STATUS_OK && i < json_array_size(messages); i++)
        s = check_message(json_array_get(messages, i), i, where);
    if (s != STATUS_OK) {
        json_decref(messages);
        return s;
    }
    json_decref(c->messages);
    c->messages = messages;
    return STATUS_OK;
}

status conversation_tools(conversation *c, json_t *tools, const char *where) {
    if (tools != NULL && !json_is_array(tools)) {
        json_decref(tools);
        return FAIL(F_RECORD, "the tools are no array", where,
                    "tools are an array of objects with \"type\" and \"function\"", "mend them");
    }
    json_decref(c->tools);
    c->tools = tools;
    return STATUS_OK;
}

status conversation_variables(conversation *c, json_t *object, const char *where) {
    if (object == NULL && (object = json_object()) == NULL) return no_memory();
    if (!json_is_object(object)) {
        json_decref(object);
        return FAIL(F_RECORD, "the variables are no object", where,
                    "a template's variables have names", "write them as {\"name\": value}");
    }
    json_decref(c->extra);
    c->extra = object;
    return STATUS_OK;
}

void conversation_cut(conversation *c, size_t keep) {
    while (json_array_size(c->messages) > keep)
        json_array_remove(c->messages, json_array_size(c->messages) - 1);
}

size_t conversation_length(const conversation *c) {
    return json_array_size(c->messages);
}

int64_t conversation_kept(const conversation *c) {
    return c->kept;
}

/* -- answering -- */

/* Collects the answer beside passing it on. */
typedef struct listener {
    const generate_options *asked;
    char *bytes;
    size_t n, room;
    status state;
} listener;

static bool collect(void *context, const char *bytes, size_t n) {
    listener *l = context;
    if (l->room - l->n <= n) {
        size_t room = 2 * l->room + n + 256;
        char *grown = mem_resize(l->bytes, room, 1);
        if (grown == NULL) {
            l->state = STATUS_MEMORY;
            return false;
        }
        l->bytes = grown;
        l->room = room;
    }
    memcpy(l->bytes + l->n, bytes, n);
    l->n += n;
    l->bytes[l->n] = '\0';
    return l->asked->on_text == NULL || l->asked->on_text(l->asked->context, bytes, n);
}

static bool ask_on(void *context, int64_t done, int64_t total) {
    const generate_options *asked = ((listener *)context)->asked;
    return asked->on_prompt(asked->context, done, total);
}

static bool ask_step(void *context) {
    const generate_options *asked = ((listener *)context)->asked;
    return asked->on_step(asked->context);
}

static void tell_token(void *context, const token_choice *choice) {
    const generate_options *asked = ((listener *)context)->asked;
    asked->on_token(asked->context, choice);
}

/* Cuts the session back to what it has in common with the prompt, of which at least one id is left
 * to be fed, since its logits are needed. */
static size_t common_beginning(session *s, const token_list *ids) {
    const int32_t *has = session_ids(s);
    size_t n = (size_t)session_length(s), same = 0;
    while (same < n && same + 1 < ids->n && has[same] == ids->ids[same])
        same++;
    session_cut(s, (int64_t)same);
    return same;
}

static status generate_answer(conversation *c, const token_list *ids,
                              const generate_options *options, generate_result *result,
                              listener *l) {
    if (ids->n == 0)
        return FAIL(F_TEMPLATE_RENDER, "the chat template made an empty prompt", "conversation",
                    "there is nothing a model could continue",
                    "give a message, or another template");
    size_t same = common_beginning(c->session, ids);
    generate_options o = *options;
    o.on_text = collect;
    o.on_prompt = options->on_prompt != NULL ? ask_on : NULL;
    o.on_step = options->on_step != NULL ? ask_step : NULL;
    o.on_token = options->on_token != NULL ? tell_token : NULL;
    o.context = l;
    c->kept = (int64_t)same;
    TRY(generate_ids(c->session, c->tokenizer, ids->ids + same, ids->n - same, &o, result));
    return l->state;
}

status conversation_answer(conversation *c, const generate_options *options,
                           generate_result *result, const char **answer) {
    token_list ids = {0};
    listener l = {.asked = options, .state = STATUS_OK};
    chat_prompt p = {.messages = c->messages,
                     .tools = c->tools,
                     .extra = c->extra,
                     .add_generation_prompt = true,
                     .now = (int64_t)time(NULL)};
    status s = chat_encode(c->format, c->encoder, &p, &ids);
    if (s == STATUS_OK) s = generate_answer(c, &ids, options, result, &l);
    if (s == STATUS_OK) s = conversation_add(c, "assistant", l.bytes != NULL ? l.bytes : "");
    if (s == STATUS_OK) {
        const json_t *last = json_array_get(c->messages, json_array_size(c->messages) - 1);
        *answer = json_string_value(json_object_get(last, "content"));
    }
    mem_free(l.bytes);
    token_list_clear(&ids);
    return s;
}

/* -- files -- */

status conversation_save(const conversation *c, const char *path) {
    json_t *page = json_pack("{s:O}", "messages", c->messages);
    if (page == NULL) return no_memory();
    status s = json_write(path, page);
    json_decref(page);
    return s;
}

static status take_page(conversation *c, json_t *page, const char *path) {
    json_t *messages;
    status s = json_get_array(page, "messages", &messages, path);
    if (s == STATUS_OK) s = conversation_replace(c, json_incref(messages), path);
    json_decref(page);
    return s;
}

status conversation_load(conversation *c, const char *path) {
    json_t *page;
    TRY(json_read(path, &page));
    return take_page(c, page, path);
}

char *conversation_text(const conversation *c) {
    json_t *page = json_pack("{s:O}", "messages", c->messages);
    char *line = page != NULL ? json_line(page) : NULL;
    if (page == NULL) {
        status reported = no_memory();
        (void)reported;
    }
    json_decref(page);
    return line;
}

status conversation_keep(const conversation *c, const sampler_options *o, const char *path) {
    session_note note = {.sampler = *o, .text = conversation_text(c)};
    if (note.text == NULL) return STATUS_MEMORY;
    note.n_text = strlen(note.text);
    status s = session_save(c->session, tokenizer_fingerprint(c->tokenizer), &note, path);
    mem_free(note.text);
    return s;
}

status conversation_resume(conversation *c, sampler_options *o, const char *path) {
    session_note note = {0};
    json_t *page;
    TRY(session_load(c->session, tokenizer_fingerprint(c->tokenizer), &note, path));
    status s = note.n_text > 0 ? json_parse(note.text, note.n_text, path, &page)
                               : FAIL(F_SESSION, "the session holds no conversation", path,
                                      "it was kept by a program that completed text",
                                      "go on with it without a chat template");
    if (s == STATUS_OK) s = take_page(c, page, path);
    if (s == STATUS_OK && o != NULL) *o = note.sampler;
    session_note_clear(&note);
    return s;
}
