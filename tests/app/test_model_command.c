/* test_model_command.c - `fathom model show` on a small model, whole and damaged. */
#include "../command_call.h"
#include "test.h"

#include "app/app.h"
#include "base/file.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "model/model_gguf.h"
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

/* A GGUF file of the same model that says it has `layers_said` layers; no tokenizer is needed. */
static status write_file(int64_t layers_said) {
    model m;
    gguf_writer *w;
    model_config c = model_preset_find("f-1m")->config;
    TRY(model_init(&m, &c, DTYPE_F32));
    status s = gguf_writer_new(&w, "model.gguf");
    if (s == STATUS_OK) {
        c.n_layer = layers_said;
        model_put_gguf_keys(w, &c, QUANT_F16);
        status put = model_put_gguf_tensors(w, &m, QUANT_F16);
        s = gguf_writer_commit(w);
        if (s == STATUS_OK) s = put;
    }
    model_clear(&m);
    return s;
}

TEST(model_show_gguf) {
    call_enter();
    REQUIRE_OK(write_file(4));
    shows("model show model.gguf", 0, "deepseek_v3, 4 layers of width 128", "");
    shows("model show model.gguf", 0, "parameters  1188504, 746136 used per token", "");
    shows("model show model.gguf", 0, "blk.3.ffn_down_exps.weight", "");
    shows("model show model.gguf", 0, "every tensor of the configuration is there", "");
    shows("model show model.gguf --json", 0, "\"F16\":{\"tensors\":", "");
    REQUIRE_OK(write_file(5));
    shows("model show model.gguf", 65, "tensors, ", "blk.4.");
    call_leave();
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
    shows("model show nothing", 66, "", "there is no model at nothing");
    call_leave();
}
