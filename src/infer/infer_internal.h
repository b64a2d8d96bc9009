/* infer_internal.h - what the files of infer/ share: the insides of an engine and a session. */
#ifndef FATHOM_INFER_INFER_INTERNAL_H
#define FATHOM_INFER_INFER_INTERNAL_H

#include "infer/infer.h"

struct engine {
    model *model;
    arena memory;      /* one forward: activations, tables; reset after each step */
    char *pages;       /* n_groups * group_bytes */
    size_t pages_size; /* of the arena behind them */
    arena page_memory;
    size_t element; /* bytes of a real */
    kv_shape shape;
    size_t layer_bytes, group_bytes; /* a group: page p of every layer of one session */
    int *free_groups;                /* stack */
    int n_free, n_groups;
};

struct session {
    engine *engine;
    int32_t *ids;
    int64_t n, capacity;
    int *groups; /* group of page p */
    int n_groups, max_groups;
    kv_layer_pages *layers; /* [n_layer], each with arrays of max_groups pointers */
};

#endif
