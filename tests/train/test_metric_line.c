/* test_metric_line.c - the text of a line, read back, is what was put in, and its event is the same. */
#include "test.h"

#include "train/tensorboard.h"

#include <math.h>
#include <string.h>

static void fill(metric_line *l) {
    metric_whole(l, "step", 123456789012345);
    metric_real(l, "time", 3);
    metric_real(l, "loss", 0.1);
    metric_real(l, "lr", 1e-300);
    metric_real(l, "grad_norm", (double)NAN);
    metric_real(l, "tok_per_sec", -(double)INFINITY);
    metric_true(l, "skipped");
}

TEST(metric_line_survives_json) {
    metric_line l = {.n = 0};
    char line[METRIC_TEXT];
    json_t *o;
    int64_t step;
    double real;
    bool skipped;
    fill(&l);
    metric_text(&l, line);
    REQUIRE_OK(json_parse(line, strlen(line), "line", &o));
    REQUIRE_OK(json_get_int(o, "step", &step, "line"));
    CHECK(step == 123456789012345, "%" PRId64, step);
    CHECK(json_is_real(json_object_get(o, "time")), "3 s became a whole number");
    REQUIRE_OK(json_get_real(o, "loss", &real, "line"));
    CHECK(real == 0.1, "%.17g", real);
    REQUIRE_OK(json_get_real(o, "lr", &real, "line"));
    CHECK(real == 1e-300, "%.17g", real);
    REQUIRE_OK(json_get_bool(o, "skipped", &skipped, "line"));
    CHECK(skipped && json_is_null(json_object_get(o, "grad_norm")) &&
              json_is_null(json_object_get(o, "tok_per_sec")),
          "%s", line);
    json_decref(o);
}

TEST(metric_line_gives_the_event_of_its_text) {
    metric_line l = {.n = 0};
    uint8_t direct[TENSORBOARD_RECORD], read[TENSORBOARD_RECORD];
    char line[METRIC_TEXT];
    json_t *o;
    fill(&l);
    metric_text(&l, line);
    REQUIRE_OK(json_parse(line, strlen(line), "line", &o));
    size_t n = tensorboard_values(direct, 1000, &l), m = tensorboard_record(read, 1000, o);
    CHECK(n == m && memcmp(direct, read, n) == 0, "%zu and %zu bytes", n, m);
    json_decref(o);
}

TEST(metric_line_too_full_stays_json) {
    static const char key[] = "a_key_that_is_longer_than_any_that_fathom_uses_for_a_metric";
    metric_line l = {.n = 0};
    char line[METRIC_TEXT];
    json_t *o;
    for (int i = 0; i < 100; i++)
        metric_real(&l, key + i % 3, -1.2345678901234567e-300);
    CHECK(l.n == METRIC_VALUES, "%d values", l.n);
    l.n = 3;
    metric_text(&l, line);
    REQUIRE_OK(json_parse(line, strlen(line), "line", &o));
    CHECK(json_object_size(o) == 3, "%s", line);
    json_decref(o);
}
