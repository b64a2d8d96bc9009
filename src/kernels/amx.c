/* amx.c - bf16 products on AMX tiles.
 *
 * TDPBF16PS adds, per 32 k, an even and an odd chain to a 16 x 16 tile of C: exactly the bf16 row
 * of docs/numerics.md 2. The micro-kernel keeps 2 x 2 tiles of C (32 x 32), and per 32 k loads two
 * tiles of A (16 rows x 32 bf16), two of B (one kilobyte of each strip) and issues four products.
 * C is loaded into tiles and stored from them; partial tiles pass through a small copy. A comes
 * padded with zero rows and columns (A_TILES), so every tile is whole and one constant
 * configuration serves all shapes.
 *
 * The same source compiles against amx_standin.h, which plays the tile instructions in plain C, so
 * that this file is tested on machines without AMX.
 *
 * Mind: gcc 12 believes _tile_loadconfig reads 8 of the 64 bytes and may drop the stores that fill
 * a local configuration; hence a constant one and a barrier. The configuration is per core state:
 * `enter` loads it for each chunk, `leave` releases it, so that idle threads save no tiles.
 */
#include "kernels/kernels_internal.h"

#include <string.h>

#if defined(FATHOM_AMX_STANDIN)
#include "kernels/amx_standin.h"
#define PRODUCT_NAME product_amx_standin
extern const product_kernels product_amx_standin;
#else
#include "kernels/probes.h"

#include <immintrin.h>
#define PRODUCT_NAME product_amx
#endif

#define TILE_ROWS 16
#define TILE_K    32 /* bf16 of one A row */

typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

static const tile_config config __attribute__((aligned(64))) = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {16, 16, 16, 16, 16, 16, 16, 16},
};

static void amx_enter(void) {
    __asm__ volatile("" ::"r"(&config) : "memory");
    _tile_loadconfig(&config);
}
static void amx_leave(void) {
    _tile_release();
}

/* Tiles 0 1 / 2 3 are C, 4 5 are A, 6 7 are B. c: 32 x 32 or 16 x 32 or 32 x 16 or 16 x 16 floats,
 * all of it writable. */
static void multiply_tiles(const micro_call *call, float *c, int64_t ldc, bool two_rows,
                           bool two_strips) {
    const uint16_t *a0 = call->a, *a1 = a0 + TILE_ROWS * call->row_stride;
    const char *b0 = call->b, *b1 = b0 + call->strip_stride;
    size_t a_step = (size_t)call->row_stride * sizeof *a0, c_step = (size_t)ldc * sizeof *c;
    if (call->accumulate) {
        _tile_loadd(0, c, c_step);
        if (two_strips) _tile_loadd(1, c + STRIP, c_step);
        if (two_rows) _tile_loadd(2, c + TILE_ROWS * ldc, c_step);
        if (two_rows && two_strips) _tile_loadd(3, c + TILE_ROWS * ldc + STRIP, c_step);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t k = 0; k < call->k; k += TILE_K, a0 += TILE_K, a1 += TILE_K) {
        _tile_loadd(4, a0, a_step);
        _tile_loadd(6, b0, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (two_strips) {
            _tile_loadd(7, b1, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (two_rows) {
            _tile_loadd(5, a1, a_step);
            _tile_dpbf16ps(2, 5, 6);
            if (two_strips) _tile_dpbf16ps(3, 5, 7);
        }
        b0 += TILE_ROWS * 64;
        b1 += TILE_ROWS * 64;
    }
    _tile_stored(0, c, c_step);
    if (two_strips) _tile_stored(1, c + STRIP, c_step);
    if (two_rows) _tile_stored(2, c + TILE_ROWS * ldc, c_step);
    if (two_rows && two_strips) _tile_stored(3, c + TILE_ROWS * ldc + STRIP, c_step);
}

static void micro_amx(const micro_call *call) {
    bool two_rows = call->rows > TILE_ROWS, two_strips = call->columns > STRIP;
    if (call->rows % TILE_ROWS == 0 && call->columns % STRIP == 0) {
        multiply_tiles(call, call->c, call->ldc, two_rows, two_strips);
        return;
    }
    _Alignas(64) float copy[2 * TILE_ROWS][2 * STRIP];
    size_t bytes = (size_t)call->columns * sizeof(float);
    float *c = call->c;
    if (call->accumulate) {
        memset(copy, 0, sizeof copy);
        for (int i = 0; i < call->rows; i++)
            memcpy(copy[i], c + i * call->ldc, bytes);
    }
    multiply_tiles(call, copy[0], 2 * STRIP, two_rows, two_strips);
    for (int i = 0; i < call->rows; i++)
        memcpy(c + i * call->ldc, copy[i], bytes);
}

/* pack_strip comes from the tier beside which the tiles are used: one packed layout for all. */
const product_kernels PRODUCT_NAME = {
    PRODUCT_HALVES(A_TILES, BF16_GROUP, 1024),
    .rows = 2 * TILE_ROWS,
    .columns = 2 * STRIP,
    .chunk_flops = 1 << 22,
    .micro = micro_amx,
    .enter = amx_enter,
    .leave = amx_leave,
};

#if !defined(FATHOM_AMX_STANDIN)
/* The floor of this tier: products of tiles that never leave the registers. */
double amx_peak(int64_t n) {
    amx_enter();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
    for (int64_t i = 0; i < n; i++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    amx_leave();
    return 4.0 * 2 * TILE_ROWS * STRIP * TILE_K * (double)n;
}
#endif
