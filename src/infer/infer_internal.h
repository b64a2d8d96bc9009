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
    uint64_t fingerprint; /* of model and numerics (session_file.c); 0 = not made yet */
};

struct session {
    engine *engine;
    int32_t *ids;
    int64_t n, capacity;
    int *groups; /* group of page p */
    int n_groups, max_groups;
    kv_layer_pages *layers; /* [n_layer], each with arrays of max_groups pointers */
};

/* Makes s a session of n tokens on fresh pages, for the caller to fill ids and pages. On failure
 * (F_CONTEXT_FULL, F_NO_MEMORY) it is as it was. */
status session_resize(session *s, int64_t n) MUST_CHECK;

#endif
