/* tiny_model.c - a dense decoder over bytes with random weights, written as published folders are. */
#include "tiny_model.h"

#include "base/file.h"
#include "base/json.h"
#include "model/model.h"
#include "model/presets.h"
#include "tokens/tokens.h"

#include <string.h>

static const char template[] = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}"
                               "{% if tools %}({{ tools | length }} tools){% endif %}"
                               "{% if add_generation_prompt %}[assistant]{% endif %}";

static model_config tiny_config(void) {
    model_config c = model_preset_find("shakespeare-char")->config;
    c.vocab_size = 256, c.n_layer = 2, c.d_model = 64, c.d_ff = 96, c.max_position = 2048;
    c.n_head = 4, c.n_kv_head = 2, c.head_dim = 16;
    c.bos_id = c.eos_id = -1;
    return c;
}

static status write_words(const char *folder, const model_config *c) {
    char path[PATH_SIZE];
    tokenizer *t;
    json_t *config;
    TRY(path_join(path, folder, "config.json"));
    TRY(model_config_to_json(c, &config));
    status s = json_write(path, config);
    json_decref(config);
    TRY(s);
    TRY(path_join(path, folder, "chat_template.jinja"));
    TRY(file_write(path, template, sizeof template - 1));
    TRY(path_join(path, folder, "tokenizer.json"));
    TRY(tokenizer_byte(&t));
    s = tokenizer_save(t, path);
    tokenizer_free(t);
    return s;
}

status tiny_model_write(const char *folder, uint64_t seed) {
    char path[PATH_SIZE];
    model m;
    model_config c = tiny_config();
    TRY(folder_create(folder));
    TRY(write_words(folder, &c));
    TRY(path_join(path, folder, "model.safetensors"));
    TRY(model_init(&m, &c, DTYPE_F32));
    param_set_initialise(&m.params, seed);
    status s = model_save(&m, path);
    model_clear(&m);
    return s;
}
