/* json.h - jansson with our rules: duplicate keys and nesting beyond 64 are refused, errors name
 * file, line and column. Getters take an object, a key and say what they expected and found;
 * `where` is put into the report ("runs/first/state.json"). Objects follow jansson's reference
 * counts: what json_parse returns is freed with json_decref; getters lend. */
#ifndef FATHOM_BASE_JSON_H
#define FATHOM_BASE_JSON_H

#include "base/status.h"

#include <jansson.h>
#include <stdint.h>

status json_parse(const char *bytes, size_t n, const char *where, json_t **out) MUST_CHECK;
status json_read(const char *path, json_t **out) MUST_CHECK;
/* Writes atomically, sorted keys off (insertion order), indent 2, real numbers with 17 digits. */
status json_write(const char *path, const json_t *value) MUST_CHECK;
/* One line without a trailing newline; mem_free it. NULL when out of memory. */
char *json_line(const json_t *value);
/* The same over several lines, indented by 2. */
char *json_page(const json_t *value);

status json_get_int(const json_t *object, const char *key, int64_t *out,
                    const char *where) MUST_CHECK;
status json_get_real(const json_t *object, const char *key, double *out,
                     const char *where) MUST_CHECK;
status json_get_bool(const json_t *object, const char *key, bool *out,
                     const char *where) MUST_CHECK;
status json_get_string(const json_t *object, const char *key, const char **out,
                       const char *where) MUST_CHECK;
status json_get_object(const json_t *object, const char *key, json_t **out,
                       const char *where) MUST_CHECK;
status json_get_array(const json_t *object, const char *key, json_t **out,
                      const char *where) MUST_CHECK;

#endif
