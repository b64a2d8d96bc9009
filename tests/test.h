/* test.h - a test program is a set of TEST(name) functions spread over files.
 *
 *     TEST(arena_resets) {
 *         CHECK(a.used == 0, "used %zu", a.used);   // records a failure and goes on
 *         REQUIRE(p != NULL, "no memory");          // records a failure and leaves the test
 *         if (no_amx) SKIP("this CPU has no AMX");  // counted, with its reason
 *     }
 *
 * Every program takes name patterns (substrings) as arguments and ends with the line
 * "N passed, N failed, N skipped"; exit code 1 if any failed. FATHOM_TEST_DATA names the folder of
 * benchmark data; test_data("gsm8k/test.jsonl") gives a path or NULL when it is not there.
 * FATHOM_TEST_LONG=1 asks for the long versions.
 */
#ifndef FATHOM_TEST_H
#define FATHOM_TEST_H

#include "base/status.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void test_fn(void);
void test_register(const char *name, test_fn *fn);
void test_fail(const char *file, int line, const char *condition, const char *format, ...)
    PRINTF_LIKE(4, 5);
void test_skip(const char *format, ...) PRINTF_LIKE(1, 2);
const char *test_data(const char *relative); /* NULL if absent */
bool test_long(void);
/* A fresh empty folder for this test, removed at exit. */
const char *test_folder(void);

#define TEST(name)                                                                                 \
    static void test_##name(void);                                                                 \
    __attribute__((constructor)) static void register_##name(void) {                               \
        test_register(#name, test_##name);                                                         \
    }                                                                                              \
    static void test_##name(void)

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) test_fail(__FILE__, __LINE__, #condition, __VA_ARGS__);                  \
    } while (0)
#define REQUIRE(condition, ...)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            test_fail(__FILE__, __LINE__, #condition, __VA_ARGS__);                                \
            return;                                                                                \
        }                                                                                          \
    } while (0)
/* A call that must succeed; prints its report if it does not. */
#define REQUIRE_OK(expression)                                                                     \
    do {                                                                                           \
        status s_ = (expression);                                                                  \
        if (s_ != STATUS_OK) {                                                                     \
            error_print(stdout, error_last());                                                     \
            test_fail(__FILE__, __LINE__, #expression, "status %d", (int)s_);                      \
            return;                                                                                \
        }                                                                                          \
    } while (0)
#define SKIP(...)                                                                                  \
    do {                                                                                           \
        test_skip(__VA_ARGS__);                                                                    \
        return;                                                                                    \
    } while (0)

#endif
