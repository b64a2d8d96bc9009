/* hash.h - XXH3 for our own checks, SHA-256 where the outside world gives one. */
#ifndef FATHOM_BASE_HASH_H
#define FATHOM_BASE_HASH_H

#include "base/status.h"

#include <stdint.h>

uint64_t hash64(const void *bytes, size_t n, uint64_t seed); /* XXH3-64 */
typedef struct hash128_value {
    uint64_t low, high;
} hash128_value;
hash128_value hash128(const void *bytes, size_t n); /* XXH3-128 */

/* 64 lower-case hex digits and a NUL. */
typedef struct sha256_hex {
    char hex[65];
} sha256_hex;
typedef struct sha256_state sha256_state;
status sha256_new(sha256_state **out) MUST_CHECK;
status sha256_add(sha256_state *s, const void *bytes, size_t n) MUST_CHECK;
status sha256_end(sha256_state *s, sha256_hex *out) MUST_CHECK; /* frees s */
void sha256_free(sha256_state *s);                              /* accepts NULL */
status sha256_bytes(const void *bytes, size_t n, sha256_hex *out) MUST_CHECK;
status sha256_file(const char *path, sha256_hex *out) MUST_CHECK;

#endif
