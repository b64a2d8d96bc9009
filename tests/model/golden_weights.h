/* golden_weights.h - weights by the formula of tests/golden/model/make.py, and folders made of them. */
#ifndef FATHOM_TEST_GOLDEN_WEIGHTS_H
#define FATHOM_TEST_GOLDEN_WEIGHTS_H

#include "base/json.h"
#include "base/memory.h"
#include "tensor/safetensors.h"

#define MOST_GOLDEN_ITEMS 256

void golden_weight(const char *name, int64_t n, float *to);
/* One item for each {name: shape}, in `type` (F32, BF16, F16: all exact), memory in the arena. */
status golden_items(arena *memory, const json_t *tensors, dtype type, safetensors_item *items,
                    int *n) MUST_CHECK;
/* A fresh folder with model.safetensors, or so many shards and their index. */
status golden_folder(const char *folder, const safetensors_item *items, int n,
                     int shards) MUST_CHECK;

#endif
