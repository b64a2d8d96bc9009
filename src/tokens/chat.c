/* chat.c - finding a checkpoint's chat template, and giving it what it asks for.
 *
 * How. Variables of a rendering are messages, tools (null when there are none, as Hugging Face
 * passes it), add_generation_prompt, bos_token, eos_token, and what the caller adds. Only messages,
 * tools and the caller's own additions are from outside.
 */
#include "tokens/chat.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "tokens/tokens_internal.h"

#define CONFIG_MOST ((size_t)16 << 20)

struct chat_format {
    template *plain, *tools; /* tools: NULL = the plain one serves both */
    char *source;
    size_t n;
    char *bos, *eos; /* NULL = none */
};

void chat_format_free(chat_format *f) {
    if (f == NULL) return;
    template_free(f->plain);
    template_free(f->tools);
    mem_free(f->source);
    mem_free(f->bos);
    mem_free(f->eos);
    mem_free(f);
}

const char *chat_format_source(const chat_format *f, size_t *n) {
    *n = f->n;
    return f->source;
}

static status take_word(char **out, const char *word) {
    if (word == NULL) return STATUS_OK;
    *out = mem_strdup(word);
    return *out != NULL ? STATUS_OK : STATUS_MEMORY;
}

static status fill(chat_format *f, const char *source, size_t n, const char *where, const char *bos,
                   const char *eos) {
    TRY(template_parse(&f->plain, source, n, where));
    f->source = mem_strndup(source, n);
    if (f->source == NULL) return STATUS_MEMORY;
    f->n = n;
    TRY(take_word(&f->bos, bos));
    return take_word(&f->eos, eos);
}

status chat_format_parse(chat_format **out, const char *source, size_t n, const char *where,
                         const char *bos, const char *eos) {
    *out = NULL;
    chat_format *f = mem_zalloc(1, sizeof *f);
    if (f == NULL) return STATUS_MEMORY;
    status s = fill(f, source, n, where, bos, eos);
    if (s != STATUS_OK) {
        chat_format_free(f);
        return s;
    }
    *out = f;
    return STATUS_OK;
}

/* -- files -- */

/* The template called `name` in a list of {"name", "template"}. */
static const json_t *named(const json_t *list, const char *name) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        const char *has = json_string_value(json_object_get(row, "name"));
        if (has != NULL && strcmp(has, name) == 0) return json_object_get(row, "template");
    }
    return NULL;
}

static status open_config(chat_format **out, const json_t *config, const char *where) {
    const json_t *all = json_object_get(config, "chat_template");
    const json_t *plain = json_is_array(all) ? named(all, "default") : all;
    const json_t *tools = json_is_array(all) ? named(all, "tool_use") : NULL;
    if (all == NULL || json_is_null(all)) return STATUS_OK;
    if (!json_is_string(plain) || (tools != NULL && !json_is_string(tools)))
        return tokenizer_damaged("chat_template holds no template", where,
                                 "it must be a string, or a list of {\"name\", \"template\"} with "
                                 "one named \"default\"");
    TRY(chat_format_parse(out, json_string_value(plain), json_string_length(plain), where,
                          token_config_word(config, "bos_token"),
                          token_config_word(config, "eos_token")));
    if (tools == NULL) return STATUS_OK;
    return template_parse(&(*out)->tools, json_string_value(tools), json_string_length(tools),
                          where);
}

/* chat_template.jinja, with the token names of tokenizer_config.json. */
static status open_file(chat_format **out, const char *path, const json_t *config) {
    char *source;
    size_t n;
    TRY(file_read(path, CONFIG_MOST, &source, &n));
    status s = chat_format_parse(out, source, n, path, token_config_word(config, "bos_token"),
                                 token_config_word(config, "eos_token"));
    mem_free(source);
    return s;
}

status chat_format_open(chat_format **out, const char *folder) {
    char path[PATH_SIZE], file[PATH_SIZE];
    json_t *config = NULL;
    *out = NULL;
    TRY(path_join(path, folder, "tokenizer_config.json"));
    TRY(path_join(file, folder, "chat_template.jinja"));
    if (path_exists(path)) TRY(json_read(path, &config));
    status s = path_exists(file) ? open_file(out, file, config) : open_config(out, config, path);
    json_decref(config);
    if (s != STATUS_OK) {
        chat_format_free(*out);
        *out = NULL;
    }
    return s;
}

/* -- rendering -- */

static status not_a_conversation(const char *what, size_t at) {
    return FAIL(F_TEMPLATE_RENDER, what, text("message %zu", at),
                "a conversation is a list of objects with \"role\" and \"content\"",
                "mend the message");
}

static status check_messages(const json_t *messages) {
    if (!json_is_array(messages)) return not_a_conversation("messages is no list", 0);
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i);
        if (!json_is_object(m)) return not_a_conversation("a message is no object", i);
        if (!json_is_string(json_object_get(m, "role")))
            return not_a_conversation("a message has no role", i);
    }
    return STATUS_OK;
}

/* Variables that name what comes from outside: ours and the caller's. */
static status untrusted_names(const json_t *extra, char *out, size_t room) {
    const char *name;
    json_t *value;
    size_t n = (size_t)snprintf(out, room, "messages tools");
    json_object_foreach((json_t *)(uintptr_t)extra, name, value) {
        int more = snprintf(out + n, room - n, " %s", name);
        if (more < 0 || (size_t)more >= room - n)
            return FAIL(F_TEMPLATE_RENDER, "there are too many further variables", name,
                        text("their names together have at most %zu bytes", room), "pass fewer");
        n += (size_t)more;
    }
    return STATUS_OK;
}

static json_t *lend(const json_t *json) {
    return json != NULL ? json_incref((json_t *)(uintptr_t)json) : json_null();
}

status chat_render(const chat_format *f, const chat_prompt *p, template_output *out) {
    char names[1024];
    *out = (template_output){0};
    TRY(check_messages(p->messages));
    TRY(untrusted_names(p->extra, names, sizeof names));
    json_t *variables = p->extra != NULL ? json_copy((json_t *)(uintptr_t)p->extra) : json_object();
    int bad = variables == NULL;
    if (!bad) {
        bad |= json_object_set_new(variables, "messages", lend(p->messages));
        bad |= json_object_set_new(variables, "tools", lend(p->tools));
        bad |= json_object_set_new(variables, "add_generation_prompt",
                                   json_boolean(p->add_generation_prompt));
        if (f->bos != NULL) bad |= json_object_set_new(variables, "bos_token", json_string(f->bos));
        if (f->eos != NULL) bad |= json_object_set_new(variables, "eos_token", json_string(f->eos));
    }
    const template *t = f->tools != NULL && json_array_size(p->tools) > 0 ? f->tools : f->plain;
    status s = bad ? FAIL(F_NO_MEMORY, "the variables of a chat template", "chat", "memory ran out",
                          "close other programs")
                   : template_render(t, variables, names, p->now, out);
    json_decref(variables);
    return s;
}

status chat_encode(const chat_format *f, encoder *e, const chat_prompt *p, token_list *out) {
    template_output text;
    TRY(chat_render(f, p, &text));
    status s = encoder_add_marked(e, text.text, text.outside, text.n, out);
    template_output_clear(&text);
    return s;
}
