/* test_config_mutations.c - config.json of every family, changed in one place: refused, key named. */
#include "model_fixture.h"

#include "base/json.h"
#include "base/memory.h"

static const char *const sources[] = {
    "llama-llama3", "llama-yarn",       "qwen2",       "qwen3", "deepseek_v2",
    "deepseek_v3",  "deepseek_v3-yarn", "llama-linear"};

static int refused_count;

static void refused(const char *name, const json_t *config, const char *change, const char *key) {
    model_config c;
    error_clear();
    status s = model_config_from_json(&c, config, "folder/config.json");
    const error_report *e = error_last();
    refused_count++;
    CHECK(s != STATUS_OK, "%s: %s was accepted", name, change);
    if (s == STATUS_OK) return;
    const char *all = text("%s | %s", e->what, e->why);
    CHECK(strstr(all, key) != NULL, "%s: %s: no %s in %s", name, change, key, all);
    CHECK(strstr(e->where, "folder/config.json") != NULL, "%s: %s: where is %s", name, change,
          e->where);
    CHECK(e->fix[0] != '\0', "%s: %s: no advice", name, change);
}

static json_t *another_type(const json_t *value) {
    if (json_is_string(value)) return json_integer(7);
    if (json_is_boolean(value)) return json_string("yes");
    if (json_is_number(value)) return json_string("many");
    return json_integer(7);
}

/* Keys whose value is read or fixed; the others may be anything. */
static bool matters(const char *key) {
    static const char *const harmless[] = {
        "architectures",    "torch_dtype",          "dtype",
        "use_cache",        "transformers_version", "attention_dropout",
        "pretraining_tp",   "pad_token_id",         "qk_head_dim",
        "sliding_window",   "max_window_layers",    "output_router_logits",
        "output_attentions"};
    for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++)
        if (strcmp(key, harmless[i]) == 0) return false;
    return true;
}

static void change_keys(const char *name, json_t *config, json_t *object, bool latent) {
    const char *key;
    json_t *value;
    json_t *original = json_deep_copy(object);
    json_object_foreach(original, key, value) {
        if (json_is_null(value)) continue;
        json_object_del(object, key);
        json_object_set_new(object, text("%s_x", key), json_deep_copy(value));
        refused(name, config, text("%s renamed", key), key);
        json_object_clear(object);
        json_object_update(object, original);
        if (!matters(key) || (latent && strcmp(key, "head_dim") == 0)) continue;
        json_object_set_new(object, key, another_type(value));
        refused(name, config, text("%s of another type", key), key);
        if (!json_is_object(value)) { /* an empty description of positions is a plain one */
            json_object_set_new(object, key, json_object());
            refused(name, config, text("%s an object", key), key);
        }
        if (json_is_number(value)) {
            json_object_set_new(object, key, json_integer(-7));
            refused(name, config, text("%s = -7", key), key);
            json_object_set_new(object, key, json_integer((json_int_t)1 << 60));
            refused(name, config, text("%s = 2^60", key), key);
        }
        json_object_clear(object);
        json_object_update(object, original);
    }
    json_decref(original);
}

TEST(mutations_of_config_json) {
    refused_count = 0;
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        json_t *json;
        REQUIRE_OK(json_read(text("%s/%s.json", GOLDEN, sources[i]), &json));
        json_t *config = json_object_get(json, "config");
        model_config c;
        REQUIRE_OK(model_config_from_json(&c, config, sources[i]));
        bool latent = c.family == MODEL_DEEPSEEK_V3;
        change_keys(sources[i], config, config, latent);
        change_keys(sources[i], config, json_object_get(config, "rope_parameters"), latent);
        json_decref(json);
    }
    CHECK(refused_count >= 200, "%d mutations", refused_count);
    printf("  %d changed configurations\n", refused_count);
}

TEST(mutations_of_config_json_bytes) {
    json_t *json, *got;
    int cuts = 0;
    REQUIRE_OK(json_read(text("%s/deepseek_v3.json", GOLDEN), &json));
    char *page = json_page(json_object_get(json, "config"));
    REQUIRE(page != NULL, "no memory");
    size_t n = strlen(page);
    while (n > 0 && page[n - 1] != '}')
        n--;
    for (size_t cut = 0; cut < n; cut += 5, cuts++) {
        status s = json_parse(page, cut, "folder/config.json", &got);
        REQUIRE(s != STATUS_OK, "cut to %zu bytes: accepted", cut);
        CHECK(strstr(error_last()->where, "folder/config.json") != NULL &&
                  error_last()->why[0] != '\0',
              "cut to %zu bytes: %s", cut, error_last()->where);
    }
    printf("  %d cuts\n", cuts);
    mem_free(page);
    json_decref(json);
}
