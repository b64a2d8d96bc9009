/* test_model_command.c - `fathom model show` on a small model, whole and damaged. */
#include "../command_call.h"
#include "test.h"

#include "app/app.h"
#include "base/file.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "model/presets.h"

static const command *const commands[] = {&model_command, NULL};
static const command_program program = {.name = "fathom",
                                        .version = "9.9",
                                        .about = "a test",
                                        .examples = "fathom model show x",
                                        .commands = commands,
                                        .cpu_text = kernels_cpu_text,
                                        .init = kernels_init};

static status write_model(int layers_said) {
    model m;
    json_t *json;
    model_config c = model_preset_find("f-1m")->config;
    TRY(folder_create("weights"));
    TRY(model_init(&m, &c, DTYPE_F32));
    status s = model_save(&m, "weights/model.safetensors");
    model_clear(&m);
    TRY(s);
    c.n_layer = layers_said;
    TRY(model_config_to_json(&c, &json));
    s = json_write("weights/config.json", json);
    json_decref(json);
    return s;
}

static void shows(const char *words, int code, const char *out, const char *err) {
    call_result r = call_program(&program, words, 0);
    CHECK(r.code == code, "%s: exit code %d: %s", words, r.code, r.err);
    CHECK(strstr(r.out, out) != NULL, "%s: %s", words, r.out);
    CHECK(strstr(r.err, err) != NULL, "%s: %s", words, r.err);
    call_clear(&r);
}

TEST(model_show) {
    call_enter();
    REQUIRE_OK(write_model(4));
    shows("model show weights", 0, "deepseek_v3, 4 layers of width 128", "");
    shows("model show weights", 0, "parameters  1188504, 746136 used per token", "");
    shows("model show weights", 0, "model.layers.3.mlp.experts.7.down_proj.weight", "");
    shows("model show weights", 0, "every tensor of the configuration is there", "");
    shows("model show weights --json", 0, "\"parameters\":1188504", "");
    REQUIRE_OK(write_model(5));
    shows("model show weights", 65, "tensors, ", "model.layers.4.");
    REQUIRE_OK(write_model(3));
    shows("model show weights", 65, "tensors, ", "model.layers.3.");
    shows("model show nothing", 66, "", "nothing/config.json");
    call_leave();
}
