/* option_value.c - the syntax of single values: text to number and back, and nearest words.
 *
 * How. Each type has one reader and one writer with read(write(x)) = x bit for bit: reals are
 * printed with the fewest digits that read back equal, suffixes are used only where they divide
 * exactly. Word distance is optimal string alignment (Damerau 1964, restricted): insert, delete,
 * replace, swap of neighbours.
 *
 * Mind. Everything assumes the "C" locale for numbers; the program never calls setlocale.
 */
#include "base/option_internal.h"

#include "base/checked.h"
#include "base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* -- words -- */

static char folded(char c) {
    return c == '_' ? '-' : (char)tolower((unsigned char)c);
}

bool name_equal(const char *a, const char *b) {
    for (; *a != '\0' && *b != '\0'; a++, b++)
        if (*a != *b && !(folded(*a) == '-' && folded(*b) == '-')) return false;
    return *a == *b;
}

int word_distance(const char *a, const char *b) {
    enum { MOST = 63 };
    int n = (int)strnlen(a, MOST), m = (int)strnlen(b, MOST);
    int rows[3][MOST + 1]; /* two rows back, one row back, this row */
    int *before = rows[0], *above = rows[1], *row = rows[2];
    for (int j = 0; j <= m; j++)
        above[j] = before[j] = j;
    for (int i = 1; i <= n; i++) {
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            char x = folded(a[i - 1]), y = folded(b[j - 1]);
            int best = above[j - 1] + (x != y);
            if (above[j] + 1 < best) best = above[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            if (i > 1 && j > 1 && x == folded(b[j - 2]) && folded(a[i - 2]) == y &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
        int *free_row = before;
        before = above;
        above = row;
        row = free_row;
    }
    return above[m];
}

int word_nearest(const char *word, const char *const *names, int n) {
    int best = -1, best_distance = 0;
    int allowed = (int)strlen(word) / 3;
    if (allowed < 2) allowed = 2;
    for (int i = 0; i < n; i++) {
        int distance = word_distance(word, names[i]);
        /* A word of two letters is not "near" every other one. */
        if (distance > allowed || distance >= (int)strlen(names[i])) continue;
        if (best < 0 || distance < best_distance) {
            best = i;
            best_distance = distance;
        }
    }
    return best;
}

/* -- numbers -- */

bool parse_int64(const char *value, int64_t *out) {
    const char *digits = value + (value[0] == '-' || value[0] == '+');
    if (!isdigit((unsigned char)digits[0])) return false;
    char *end;
    errno = 0;
    long long read = strtoll(value, &end, 10);
    if (*end != '\0' || errno != 0) return false;
    *out = read;
    return true;
}

static bool parse_uint64(const char *value, uint64_t *out) {
    if (!isdigit((unsigned char)value[0])) return false;
    char *end;
    errno = 0;
    unsigned long long read = strtoull(value, &end, 10);
    if (*end != '\0' || errno != 0) return false;
    *out = read;
    return true;
}

/* A decimal number at the start of `value`; NULL if there is none. No hexadecimal, no "nan". */
static const char *read_number(const char *value, double *out) {
    size_t n = strspn(value, "+-.0123456789eE");
    if (n == 0 || n > 63) return NULL;
    char digits[64];
    memcpy(digits, value, n);
    digits[n] = '\0';
    char *end;
    *out = strtod(digits, &end);
    if (end == digits || !isfinite(*out)) return NULL;
    return value + (end - digits);
}

bool parse_real(const char *value, double *out) {
    double x;
    const char *rest = read_number(value, &x);
    if (rest == NULL || *rest != '\0') return false;
    *out = x;
    return true;
}

/* number * factor as a whole number; exact when the number has no fraction. */
static bool scale(const char *number, const char *end, int64_t factor, int64_t *out) {
    char digits[64];
    size_t n = (size_t)(end - number);
    if (n >= sizeof digits) return false;
    memcpy(digits, number, n);
    digits[n] = '\0';
    int64_t whole;
    if (parse_int64(digits, &whole)) return int64_mul(out, whole, factor);
    double x;
    if (!parse_real(digits, &x)) return false;
    x *= (double)factor;
    double rounded = round(x);
    if (fabs(x - rounded) > 1e-9 * fabs(x) || fabs(rounded) > 9e18) return false;
    *out = (int64_t)rounded;
    return true;
}

bool parse_count(const char *value, int64_t *out) {
    double ignored;
    const char *suffix = read_number(value, &ignored);
    if (suffix == NULL) return false;
    int64_t factor = 1;
    switch (*suffix) {
    case 'k':
    case 'K': factor = 1000; break;
    case 'm':
    case 'M': factor = 1000000; break;
    case 'g':
    case 'G':
    case 'b':
    case 'B': factor = 1000000000; break;
    case '\0': break;
    default: return false;
    }
    if (*suffix != '\0' && suffix[1] != '\0') return false;
    return scale(value, suffix, factor, out);
}

bool parse_size(const char *value, int64_t *out) {
    double ignored;
    const char *suffix = read_number(value, &ignored), *end = suffix;
    if (suffix == NULL) return false;
    int64_t factor = 1;
    static const char units[] = "KMGT";
    const char *unit = *suffix != '\0' ? strchr(units, toupper((unsigned char)*suffix)) : NULL;
    if (unit != NULL) {
        factor = (int64_t)1 << (10 * (unit - units + 1));
        suffix++;
        if (suffix[0] == 'i' && suffix[1] == 'B') suffix++;
    }
    if (*suffix == 'B') suffix++;
    return *suffix == '\0' && scale(value, end, factor, out);
}

bool parse_duration(const char *value, double *seconds) {
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"ms", 1e-3}, {"min", 60}, {"h", 3600}, {"d", 86400}, {"s", 1}};
    double sum = 0, x = 0;
    if (value[0] == '\0') return false;
    if (parse_real(value, &x)) {
        *seconds = x;
        return x >= 0;
    }
    while (*value != '\0') {
        value = read_number(value, &x);
        if (value == NULL || x < 0) return false;
        size_t i = 0, n = sizeof units / sizeof units[0];
        while (i < n && strncmp(value, units[i].unit, strlen(units[i].unit)) != 0)
            i++;
        if (i == n) return false;
        value += strlen(units[i].unit);
        sum += x * units[i].seconds;
    }
    *seconds = sum;
    return true;
}

/* -- reading a row's value -- */

const char *option_path(const option *row) {
    return row->section[0] != '\0' ? text("%s.%s", row->section, row->name) : row->name;
}

#define NO_END 1e12 /* a range that ends here or above says: no limit */

static const char *real_text(double x) {
    for (int digits = 6; digits <= 17; digits++) {
        const char *written = text("%.*g", digits, x);
        if (digits == 17 || strtod(written, NULL) == x) return written;
    }
    return "";
}

static bool has_range(const option *row) {
    return row->min != 0 || row->max != 0;
}

/* As somebody would type it: 10000000, not 1e+07. */
static const char *end_text(double x) {
    return x == floor(x) && fabs(x) < 1e15 ? text("%.0f", x) : real_text(x);
}

const char *value_range(const option *row) {
    const char *unit = row->type == OPTION_DURATION ? " seconds" : "";
    if (!has_range(row)) return "";
    if (row->max >= NO_END) return text(" of at least %s%s", end_text(row->min), unit);
    return text(" from %s to %s%s", end_text(row->min), end_text(row->max), unit);
}

static int count_choices(const option *row) {
    int n = 0;
    while (row->choices[n] != NULL)
        n++;
    return n;
}

static const char *choices_text(const option *row, const char *value) {
    char list[512];
    size_t used = 0;
    int n = count_choices(row);
    for (int i = 0; i < n && used < sizeof list - 1; i++) {
        const char *join = i == 0 ? "" : i == n - 1 ? " or " : ", ";
        int wrote = snprintf(list + used, sizeof list - used, "%s%s", join, row->choices[i]);
        if (wrote > 0) used += (size_t)wrote;
    }
    int near = word_nearest(value, row->choices, n);
    return near < 0 ? text("must be %s", list)
                    : text("must be %s (nearest: %s)", list, row->choices[near]);
}

static const char *expectation(const option *row, const char *value) {
    switch (row->type) {
    case OPTION_BOOL: return "must be true or false";
    case OPTION_INT:
    case OPTION_INT64: return text("must be a whole number%s", value_range(row));
    case OPTION_SEED: return "must be a whole number from 0 to 18446744073709551615";
    case OPTION_COUNT: return text("must be a count such as 500, 10k or 1.6M%s", value_range(row));
    case OPTION_SIZE: return text("must be a size such as 64M or 1.5G%s", value_range(row));
    case OPTION_REAL: return text("must be a number%s", value_range(row));
    case OPTION_DURATION:
        return text("must be a duration such as 90s, 10min or 1h30min%s", value_range(row));
    case OPTION_EVERY:
        return "must be a number of steps such as 100, a duration such as 2min, or 0 for never";
    case OPTION_STRING: return "must be UTF-8 text";
    case OPTION_CHOICE: return choices_text(row, value);
    }
    return "";
}

static bool in_range(const option *row, double x) {
    return !has_range(row) || (x >= row->min && x <= row->max);
}

static bool read_bool(const char *value, bool *out) {
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (int i = 0; i < 8; i++) {
        if (strcmp(value, words[i]) != 0) continue;
        *out = i % 2 == 1;
        return true;
    }
    return false;
}

static bool read_choice(const option *row, const char *value, int *out) {
    for (int i = 0; row->choices[i] != NULL; i++) {
        if (!name_equal(value, row->choices[i])) continue;
        *out = i;
        return true;
    }
    return false;
}

static bool read_every(const char *value, option_every *out) {
    *out = (option_every){0};
    if (parse_count(value, &out->steps)) return out->steps >= 0;
    return parse_duration(value, &out->seconds);
}

static bool read_value(const option *row, const char *value, option_value *out) {
    switch (row->type) {
    case OPTION_BOOL: return read_bool(value, &out->yes);
    case OPTION_INT:
        return parse_int64(value, &out->whole) && out->whole >= INT32_MIN &&
               out->whole <= INT32_MAX && in_range(row, (double)out->whole);
    case OPTION_INT64: return parse_int64(value, &out->whole) && in_range(row, (double)out->whole);
    case OPTION_COUNT:
        return parse_count(value, &out->whole) && out->whole >= 0 &&
               in_range(row, (double)out->whole);
    case OPTION_SIZE:
        return parse_size(value, &out->whole) && out->whole >= 0 &&
               in_range(row, (double)out->whole);
    case OPTION_SEED: return parse_uint64(value, &out->seed);
    case OPTION_REAL: return parse_real(value, &out->real) && in_range(row, out->real);
    case OPTION_DURATION: return parse_duration(value, &out->real) && in_range(row, out->real);
    case OPTION_EVERY: return read_every(value, &out->every);
    case OPTION_CHOICE: return read_choice(row, value, &out->choice);
    case OPTION_STRING:
        out->string = value;
        return utf8_valid(value, strlen(value)) == strlen(value);
    }
    return false;
}

static const char *explained_by(const option *row) {
    if (row->section[0] == '\0') return "fathom --help";
    if ((row->flags & OPTION_FLAG_ONLY) != 0) return "the same command with --help";
    return text("fathom config keys %s", row->section);
}

const char *value_near(const option *row, const char *value) {
    option_value read;
    const char *standard = row->standard != NULL ? row->standard : "";
    if (row->type == OPTION_CHOICE) {
        int near = word_nearest(value, row->choices, count_choices(row));
        return near >= 0 ? row->choices[near] : standard[0] != '\0' ? standard : row->choices[0];
    }
    option all = *row; /* the same row without its range: is it a number at all? */
    all.min = all.max = 0;
    bool number = has_range(row) && row->type != OPTION_STRING && row->type != OPTION_SEED &&
                  read_value(&all, value, &read);
    if (!number) return standard;
    double x =
        row->type == OPTION_REAL || row->type == OPTION_DURATION ? read.real : (double)read.whole;
    return end_text(x < row->min ? row->min : row->max);
}

status value_read(const option *row, const char *value, option_value *out) {
    memset(out, 0, sizeof *out);
    if (read_value(row, value, out)) return STATUS_OK;
    return FAIL(F_BAD_VALUE, text("%s = \"%.200s\"", option_path(row), value), "",
                expectation(row, value), explained_by(row));
}

void value_store(const option *row, const option_value *value, void *settings) {
    char *to = (char *)settings + row->offset;
    int whole = (int)value->whole;
    switch (row->type) {
    case OPTION_BOOL: memcpy(to, &value->yes, sizeof value->yes); return;
    case OPTION_INT: memcpy(to, &whole, sizeof whole); return;
    case OPTION_INT64:
    case OPTION_COUNT:
    case OPTION_SIZE: memcpy(to, &value->whole, sizeof value->whole); return;
    case OPTION_SEED: memcpy(to, &value->seed, sizeof value->seed); return;
    case OPTION_REAL:
    case OPTION_DURATION: memcpy(to, &value->real, sizeof value->real); return;
    case OPTION_EVERY: memcpy(to, &value->every, sizeof value->every); return;
    case OPTION_STRING: memcpy(to, &value->string, sizeof value->string); return;
    case OPTION_CHOICE: memcpy(to, &value->choice, sizeof value->choice); return;
    }
}

status option_value_parse(const option *row, const char *value, void *settings) {
    option_value read;
    TRY(value_read(row, value, &read));
    value_store(row, &read, settings);
    return STATUS_OK;
}

/* -- writing a row's value -- */

static const char *count_written(int64_t n) {
    if (n < 1000000 || n % 100000 != 0 || n > (int64_t)1e15) return text("%" PRId64, n);
    int tenth = (int)(n / 100000 % 10);
    return tenth > 0 ? text("%" PRId64 ".%dM", n / 1000000, tenth)
                     : text("%" PRId64 "M", n / 1000000);
}

static const char *size_written(int64_t n) {
    static const char units[] = "TGMK";
    for (int i = 0; i < 4 && n > 0; i++) {
        int64_t unit = (int64_t)1 << (10 * (4 - i));
        if (n % unit == 0) return text("%" PRId64 "%c", n / unit, units[i]);
    }
    return text("%" PRId64, n);
}

static const char *duration_written(double seconds) {
    if (seconds > 0 && fmod(seconds, 3600) == 0) return text("%sh", real_text(seconds / 3600));
    if (seconds > 0 && fmod(seconds, 60) == 0) return text("%smin", real_text(seconds / 60));
    return text("%ss", real_text(seconds));
}

const char *option_value_text(const option *row, const void *settings) {
    const char *from = (const char *)settings + row->offset;
    option_value v = {0};
    int whole;
    switch (row->type) {
    case OPTION_BOOL: memcpy(&v.yes, from, sizeof v.yes); return v.yes ? "true" : "false";
    case OPTION_INT: memcpy(&whole, from, sizeof whole); return text("%d", whole);
    case OPTION_INT64: memcpy(&v.whole, from, sizeof v.whole); return text("%" PRId64, v.whole);
    case OPTION_COUNT: memcpy(&v.whole, from, sizeof v.whole); return count_written(v.whole);
    case OPTION_SIZE: memcpy(&v.whole, from, sizeof v.whole); return size_written(v.whole);
    case OPTION_SEED: memcpy(&v.seed, from, sizeof v.seed); return text("%" PRIu64, v.seed);
    case OPTION_REAL: memcpy(&v.real, from, sizeof v.real); return real_text(v.real);
    case OPTION_DURATION: memcpy(&v.real, from, sizeof v.real); return duration_written(v.real);
    case OPTION_EVERY:
        memcpy(&v.every, from, sizeof v.every);
        return v.every.seconds > 0 ? duration_written(v.every.seconds)
                                   : count_written(v.every.steps);
    case OPTION_STRING:
        memcpy(&v.string, from, sizeof v.string);
        return v.string != NULL ? v.string : "";
    case OPTION_CHOICE: memcpy(&v.choice, from, sizeof v.choice); return row->choices[v.choice];
    }
    return "";
}

/* -- quotes of the INI form -- */

static bool needs_quotes(const char *s) {
    size_t n = strlen(s);
    if (n == 0) return false;
    if (s[0] == '"' || isspace((unsigned char)s[0]) || isspace((unsigned char)s[n - 1]) ||
        s[0] == ';')
        return true;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f || s[i] == ';') return true;
    return false;
}

bool value_quote(const char *string, char *out, size_t room) {
    if (!needs_quotes(string)) return snprintf(out, room, "%s", string) < (int)room;
    size_t used = 0;
    if (room < 8) return false;
    out[used++] = '"';
    for (const char *p = string; *p != '\0'; p++) {
        if (used + 6 > room) return false;
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\') {
            out[used++] = '\\';
            out[used++] = *p;
        } else if (c == '\n' || c == '\t') {
            out[used++] = '\\';
            out[used++] = c == '\n' ? 'n' : 't';
        } else if (c < 0x20 || c == 0x7f || c == ';') {
            used += (size_t)snprintf(out + used, room - used, "\\x%02x", c);
        } else {
            out[used++] = *p;
        }
    }
    out[used++] = '"';
    out[used] = '\0';
    return true;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool value_unquote(char *value) {
    if (value[0] != '"') return true;
    const char *from = value + 1;
    char *to = value;
    while (*from != '"') {
        if (*from == '\0') return false;
        if (*from != '\\') {
            *to++ = *from++;
            continue;
        }
        char c = from[1];
        from += 2;
        switch (c) {
        case 'n': *to++ = '\n'; break;
        case 't': *to++ = '\t'; break;
        case '"':
        case '\\': *to++ = c; break;
        case 'x': {
            int high = hex_digit(from[0]), low = high >= 0 ? hex_digit(from[1]) : -1;
            if (low < 0 || (high == 0 && low == 0)) return false;
            *to++ = (char)(high * 16 + low);
            from += 2;
            break;
        }
        default: return false;
        }
    }
    if (from[1] != '\0') return false;
    *to = '\0';
    return true;
}
