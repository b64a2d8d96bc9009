/* option_internal.h - shared by option_value.c, option_set.c and options.c: one value outside of a
 * settings struct, so that it can be checked before it is stored. */
#ifndef FATHOM_BASE_OPTION_INTERNAL_H
#define FATHOM_BASE_OPTION_INTERNAL_H

#include "base/options.h"

typedef union option_value {
    bool yes;
    int choice;
    int64_t whole;
    uint64_t seed;
    double real;
    option_every every;
    const char *string;
} option_value;

status value_read(const option *row, const char *text, option_value *out) MUST_CHECK;
void value_store(const option *row, const option_value *value, void *settings);
bool name_equal(const char *a, const char *b); /* "_" equals "-" */
/* " from 1 to 9", " of at least 0", or "" if everything that the type can hold is accepted. */
const char *value_range(const option *row);
/* The nearest value that the row accepts, to be shown as an example; "" if none is known. */
const char *value_near(const option *row, const char *value);
/* The INI form of a string value: as it is, or in quotes. False if `room` is too small. */
bool value_quote(const char *string, char *out, size_t room);
/* The reverse; `value` is changed in place. False if the quotes or an escape are wrong. */
bool value_unquote(char *value);

#endif
