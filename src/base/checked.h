/* checked.h - arithmetic on sizes that come from outside. Each returns false on overflow. */
#ifndef FATHOM_BASE_CHECKED_H
#define FATHOM_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool size_mul(size_t *out, size_t a, size_t b) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool size_add(size_t *out, size_t a, size_t b) {
    return !__builtin_add_overflow(a, b, out);
}
static inline bool int64_mul(int64_t *out, int64_t a, int64_t b) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool int64_add(int64_t *out, int64_t a, int64_t b) {
    return !__builtin_add_overflow(a, b, out);
}
/* Rounds up to a multiple of `unit`, a power of two. */
static inline size_t size_round_up(size_t n, size_t unit) {
    return (n + unit - 1) & ~(unit - 1);
}

#endif
