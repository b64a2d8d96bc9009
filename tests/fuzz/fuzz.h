/* fuzz.h - what a fuzz target gives to the engine that drives it.
 *
 * A target is one file tests/fuzz/fuzz_<format>.c with
 *
 *     int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);   // returns 0, never crashes
 *     const char *const fuzz_seeds[] = {"a small valid input", ..., NULL};          // optional
 *
 * A seed is the input itself as a string literal; "@path" names a file relative to
 * FATHOM_TEST_DATA and is left out when that is absent; "#..." gives bytes in hexadecimal (spaces
 * allowed), for formats with NUL bytes. Formats whose seeds must be computed define
 * `size_t fuzz_seed(int i, uint8_t *out, size_t room)` instead or as well: seed number i, 0 = none.
 *
 * replay.c is the driver of the normal test run; libFuzzer drives the same file under
 * -Dfuzz=true. Checks inside a target abort(): both engines report that.
 */
#ifndef FATHOM_TESTS_FUZZ_H
#define FATHOM_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
extern const char *const fuzz_seeds[] __attribute__((weak));
size_t fuzz_seed(int i, uint8_t *out, size_t room) __attribute__((weak));

#endif
