/* strips.h - partial strips for micro-kernels that know whole ones only. Private to kernels/.
 *
 * Columns of C that fill no strip are computed on a copy: masked stores are missing or slow on
 * some CPUs, and a packed B is padded with zeros, so the surplus columns cost time but no bits.
 */
#ifndef FATHOM_KERNELS_STRIPS_H
#define FATHOM_KERNELS_STRIPS_H

#include "kernels/kernels_internal.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* Most rows of a micro-kernel that uses by_strips. */
#define STRIPS_ROWS 6

/* Calls `whole` on `most` columns at a time (STRIP or 2 * STRIP), then on the strips left over.
 * `size`: bytes of an element of C. */
INLINE void by_strips(const micro_call *call, int most, size_t size,
                      void (*whole)(const micro_call *)) {
    if (call->columns == STRIP || call->columns == most) {
        whole(call);
        return;
    }
    for (int column = 0; column < call->columns;) {
        micro_call part = *call;
        int left = call->columns - column;
        part.columns = left >= most ? most : left >= STRIP ? STRIP : left;
        part.b = (const char *)call->b + (column > 0 ? call->strip_stride : 0);
        part.c = element_mut(call->c, column, size);
        column += part.columns;
        if (part.columns >= STRIP) {
            whole(&part);
            continue;
        }
        _Alignas(64) char copy[STRIPS_ROWS * STRIP * sizeof(double)];
        micro_call tail = part;
        tail.c = copy;
        tail.ldc = STRIP;
        tail.columns = STRIP;
        size_t bytes = (size_t)part.columns * size;
        if (call->accumulate) memset(copy, 0, (size_t)call->rows * STRIP * size);
        for (int i = 0; call->accumulate && i < call->rows; i++)
            memcpy(element_mut(copy, i * STRIP, size), element(part.c, i * call->ldc, size), bytes);
        whole(&tail);
        for (int i = 0; i < call->rows; i++)
            memcpy(element_mut(part.c, i * call->ldc, size), element(copy, i * STRIP, size), bytes);
    }
}

#endif
