/* metric_line.c - see metric_line.h. Reals have 17 digits, which is every bit of a double. */
#include "train/metric_line.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void add(metric_line *l, const char *key, metric_kind kind, double value) {
    if (l->n < METRIC_VALUES) l->values[l->n++] = (metric_value){key, kind, value};
}

void metric_real(metric_line *l, const char *key, double value) {
    add(l, key, METRIC_REAL, value);
}

void metric_whole(metric_line *l, const char *key, int64_t value) {
    add(l, key, METRIC_WHOLE, (double)value);
}

void metric_true(metric_line *l, const char *key) {
    add(l, key, METRIC_TRUE, 1);
}

double metric_find(const metric_line *l, const char *key) {
    for (int i = 0; i < l->n; i++)
        if (strcmp(l->values[i].key, key) == 0) return l->values[i].value;
    return 0;
}

/* A real stays one for readers of JSON: "3.0", not "3". */
static int real_text(char *out, size_t room, double value) {
    int n = snprintf(out, room, "%.17g", value);
    bool whole = n > 0 && strcspn(out, ".e") == (size_t)n;
    return n + (whole ? snprintf(out + n, room - (size_t)n, ".0") : 0);
}

static int value_text(char *out, size_t room, const metric_value *v) {
    if (v->kind == METRIC_TRUE) return snprintf(out, room, "true");
    if (!isfinite(v->value)) return snprintf(out, room, "null");
    if (v->kind == METRIC_WHOLE) return snprintf(out, room, "%.0f", v->value);
    return real_text(out, room, v->value);
}

void metric_text(const metric_line *l, char out[METRIC_TEXT]) {
    size_t n = 0;
    out[n++] = '{';
    for (int i = 0; i < l->n; i++) {
        char number[32], one[96];
        value_text(number, sizeof number, &l->values[i]);
        int length =
            snprintf(one, sizeof one, "%s\"%.48s\":%s", n > 1 ? "," : "", l->values[i].key, number);
        if (length <= 0 || n + (size_t)length + 2 > METRIC_TEXT) break;
        memcpy(out + n, one, (size_t)length);
        n += (size_t)length;
    }
    out[n++] = '}';
    out[n] = '\0';
}
