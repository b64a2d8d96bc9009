/* presets.h - the ladder of sizes, f-1m to f-175b, and real published shapes (V2-Lite, V2, V3) for
 * counting. The f- rows are this program's own; the real ones are published. */
#ifndef FATHOM_MODEL_PRESETS_H
#define FATHOM_MODEL_PRESETS_H

#include "model/config.h"

typedef struct model_preset {
    const char *name, *about;
    model_config config;
    int64_t parameters, active; /* as published in the ladder; tests compare with counted ones */
} model_preset;
int model_preset_count(void);
const model_preset *model_preset_at(int i);
const model_preset *model_preset_find(const char *name); /* NULL if unknown */

#endif
