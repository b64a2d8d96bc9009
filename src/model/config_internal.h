/* config_internal.h - what the readers of config.json share. */
#ifndef FATHOM_MODEL_CONFIG_INTERNAL_H
#define FATHOM_MODEL_CONFIG_INTERNAL_H

#include "model/config.h"

/* Published families, as bits of a set. */
enum {
    FAMILY_LLAMA = 1,
    FAMILY_QWEN2 = 2,
    FAMILY_QWEN3 = 4,
    FAMILY_DEEPSEEK_V2 = 8,
    FAMILY_DEEPSEEK_V3 = 16
};

/* config_keys.c: F_MODEL_UNKNOWN names a key that is not known, or a value that is not computed. */
status config_keys_check(const json_t *object, unsigned family, const char *type,
                         const char *where) MUST_CHECK;

#endif
