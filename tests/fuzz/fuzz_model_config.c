/* fuzz_model_config.c - any bytes as config.json: refused with a report, or a configuration that
 * passes its own check, counts without overflow and survives being written and read again. */
#include "fuzz.h"

#include "base/memory.h"
#include "model/presets.h"

#include <stdlib.h>
#include <string.h>

size_t fuzz_seed(int i, uint8_t *out, size_t room) {
    static const char *const presets[] = {"f-1m", "shakespeare-char", "V3", "V2-Lite", "V2"};
    if ((size_t)i >= sizeof presets / sizeof presets[0]) return 0;
    json_t *json;
    if (model_config_to_json(&model_preset_find(presets[i])->config, &json) != STATUS_OK) return 0;
    size_t n = json_dumpb(json, (char *)out, room, JSON_INDENT(1));
    json_decref(json);
    return n <= room ? n : 0;
}

static void check_accepted(const model_config *c) {
    json_t *json;
    model_config back;
    int64_t active, all = model_config_parameters(c, &active);
    if (all <= 0 || active <= 0 || active > all || model_config_kv_values(c) <= 0) abort();
    if (model_config_check(c, "fuzz") != STATUS_OK) abort();
    if (model_config_to_json(c, &json) != STATUS_OK) abort();
    if (model_config_from_json(&back, json, "fuzz") != STATUS_OK) abort();
    json_decref(json);
    if (model_config_parameters(&back, NULL) != all || back.family != c->family) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int64_t before = mem_live_blocks();
    json_t *json;
    if (json_parse((const char *)data, size, "fuzz", &json) == STATUS_OK) {
        model_config c;
        if (model_config_from_json(&c, json, "fuzz") == STATUS_OK)
            check_accepted(&c);
        else if (error_last()->what[0] == '\0')
            abort();
        json_decref(json);
    }
    if (mem_live_blocks() != before) abort();
    return 0;
}
