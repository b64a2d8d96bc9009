/* amx_standin.h - the AMX tile instructions in plain C, for testing amx.c anywhere.
 *
 * Follows Intel's description of TILELOADD, TILESTORED, TILEZERO and TDPBF16PS: a tile has at most
 * 16 rows of 64 bytes as the configuration says; TDPBF16PS adds to each element, per 32 k, the sum
 * of an even and an odd fused chain. A tile used before a configuration was loaded, or after
 * release, counts as a fault, which tests read from amx_standin_faults.
 */
#ifndef FATHOM_KERNELS_AMX_STANDIN_H
#define FATHOM_KERNELS_AMX_STANDIN_H

#include "tensor/tensor.h"

#include <stdatomic.h>
#include <string.h>

extern _Atomic int64_t amx_standin_faults;

#ifdef FATHOM_AMX_STANDIN
_Atomic int64_t amx_standin_faults;

typedef struct standin_tile {
    unsigned char row[16][64];
} standin_tile;
static _Thread_local standin_tile standin[8];
static _Thread_local unsigned char standin_config[64];

static inline int standin_rows(int tile) {
    return standin_config[48 + tile];
}
static inline int standin_row_bytes(int tile) {
    return standin_config[16 + 2 * tile] | standin_config[17 + 2 * tile] << 8;
}
static inline void standin_use(int tile) {
    if (standin_config[0] != 1 || standin_rows(tile) < 1 || standin_row_bytes(tile) < 1)
        atomic_fetch_add(&amx_standin_faults, 1);
}

static inline void standin_load(int tile, const void *from, size_t stride) {
    standin_use(tile);
    memset(&standin[tile], 0, sizeof standin[tile]);
    for (int i = 0; i < standin_rows(tile); i++)
        memcpy(standin[tile].row[i], (const char *)from + (size_t)i * stride,
               (size_t)standin_row_bytes(tile));
}
static inline void standin_store(int tile, void *to, size_t stride) {
    standin_use(tile);
    for (int i = 0; i < standin_rows(tile); i++)
        memcpy((char *)to + (size_t)i * stride, standin[tile].row[i],
               (size_t)standin_row_bytes(tile));
}
static inline float standin_value(int tile, int row, int index) {
    uint16_t bits;
    memcpy(&bits, standin[tile].row[row] + 2 * index, sizeof bits);
    return bf16_to_f32(bits);
}
static inline void standin_product(int to, int a, int b) {
    standin_use(to);
    standin_use(a);
    standin_use(b);
    for (int m = 0; m < standin_rows(to); m++)
        for (int n = 0; n < standin_row_bytes(to) / 4; n++) {
            float even = 0, odd = 0, old;
            for (int r = 0; r < standin_rows(b); r++) {
                even = __builtin_fmaf(standin_value(a, m, 2 * r), standin_value(b, r, 2 * n), even);
                odd = __builtin_fmaf(standin_value(a, m, 2 * r + 1), standin_value(b, r, 2 * n + 1),
                                     odd);
            }
            memcpy(&old, standin[to].row[m] + 4 * n, sizeof old);
            old = old + (even + odd);
            memcpy(standin[to].row[m] + 4 * n, &old, sizeof old);
        }
}
static inline void standin_zero(int tile) {
    standin_use(tile);
    memset(&standin[tile], 0, sizeof standin[tile]);
}

#define _tile_loadconfig(config)      memcpy(standin_config, (config), 64)
#define _tile_release()               memset(standin_config, 0, 64)
#define _tile_loadd(tile, from, step) standin_load((tile), (from), (step))
#define _tile_stored(tile, to, step)  standin_store((tile), (to), (step))
#define _tile_zero(tile)              standin_zero(tile)
#define _tile_dpbf16ps(to, a, b)      standin_product((to), (a), (b))
#endif

#endif
