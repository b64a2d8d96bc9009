/* ending.h - how a string ends. */
#ifndef FATHOM_BASE_ENDING_H
#define FATHOM_BASE_ENDING_H

#include <stdbool.h>
#include <string.h>

static inline bool ends_with(const char *string, const char *end) {
    size_t n = strlen(string), m = strlen(end);
    return n >= m && strcmp(string + n - m, end) == 0;
}

#endif
