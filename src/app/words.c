/* words.c - names that base cannot know because they belong to folders above it: what Tab offers for
 * the kinds SIZE (sizes of models) and METRIC (columns of metrics.jsonl). */
#include "app/app.h"
#include "app/run_record.h"
#include "model/presets.h"

static bool size_at(int i, const char **word, const char **about) {
    if (i >= model_preset_count()) return false;
    *word = model_preset_at(i)->name;
    *about = model_preset_at(i)->about;
    return true;
}

static bool metric_at(int i, const char **word, const char **about) {
    *word = run_metric_name(i);
    *about = "column of metrics.jsonl";
    return *word != NULL;
}

const command_words program_words[] = {{"SIZE", size_at}, {"METRIC", metric_at}, {NULL, NULL}};
