/* test_profile.c - laps add up, rows keep their work, and the trace is one JSON object of events. */
#include "test.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/profile.h"

#include <math.h>
#include <string.h>
#include <time.h>

static void wait_until(double seconds) {
    while (clock_seconds() < seconds) {
    }
}

static const profile_work some = {PROFILE_F32, 200, 100}, none = {0};

static void two_steps(profile *p) {
    for (int64_t step = 7; step < 9; step++) {
        profile_begin(p, step);
        for (int i = 0; i < 3; i++) {
            wait_until(clock_seconds() + 2e-4);
            profile_lap(p, "product", "forward", some);
            profile_lap(p, "product", "backward", none); /* too short for an event */
        }
        wait_until(clock_seconds() + 1e-4);
        profile_end(p);
    }
}

TEST(profile_rows_add_up_to_the_steps) {
    profile p;
    profile_row rows[PROFILE_ROWS];
    REQUIRE_OK(profile_init(&p));
    two_steps(&p);
    int n = profile_sorted(&p, rows);
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += rows[i].seconds;
        CHECK(i == 0 || rows[i].seconds <= rows[i - 1].seconds, "row %d is out of order", i);
    }
    CHECK(p.steps == 2 && fabs(sum - p.seconds) < 1e-9, "%g of %g s", sum, p.seconds);
    const profile_row *product = &p.rows[0], *rest = &p.rows[2]; /* in the order of their coming */
    CHECK(n == 3 && strcmp(product->part, "forward") == 0 && strcmp(rest->op, "rest") == 0,
          "%d rows, first %s %s", n, product->op, product->part);
    CHECK(product->laps == 6 && product->flops == 1200 && product->bytes == 600 &&
              product->unit == PROFILE_F32,
          "%d laps", (int)product->laps);
    CHECK(product->seconds >= 1.2e-3 && rest->seconds >= 2e-4, "times went to the wrong row");
    profile_clear(&p);
}

TEST(profile_that_is_off_costs_nothing_and_does_nothing) {
    profile_lap(NULL, "product", "forward", some);
}

TEST(profile_keeps_exact_rows_when_events_have_no_room) {
    profile p;
    REQUIRE_OK(profile_init(&p));
    p.room = 2;
    two_steps(&p);
    CHECK(p.n_events == 2 && p.lost >= 8, "%d kept, %d lost", (int)p.n_events, (int)p.lost);
    CHECK(p.rows[0].laps == 6 && p.steps == 2, "rows were cut with the trace");
    profile_clear(&p);
}

TEST(profile_rows_beyond_the_table_share_the_last) {
    static char names[PROFILE_ROWS + 4][8];
    profile p;
    REQUIRE_OK(profile_init(&p));
    profile_begin(&p, 1);
    for (int i = 0; i < PROFILE_ROWS + 4; i++) {
        snprintf(names[i], sizeof names[i], "op%d", i);
        profile_lap(&p, names[i], "", some);
    }
    profile_end(&p);
    CHECK(p.n_rows == PROFILE_ROWS && p.rows[PROFILE_ROWS - 1].flops == 5 * 200, "%d rows, %g",
          p.n_rows, p.rows[PROFILE_ROWS - 1].flops);
    profile_clear(&p);
}

/* Every complete event has its fields, lies inside the step before or after it in time, and the
 * laps of a step do not overlap. */
static void check_events(const json_t *events) {
    double last_end[8] = {0}; /* by lane */
    int complete = 0, steps = 0;
    size_t i;
    json_t *e;
    json_array_foreach((json_t *)(uintptr_t)events, i, e) {
        const char *name, *kind;
        double began, took;
        REQUIRE_OK(json_get_string(e, "name", &name, "trace"));
        REQUIRE_OK(json_get_string(e, "ph", &kind, "trace"));
        if (strcmp(kind, "M") == 0) continue;
        CHECK(strcmp(kind, "X") == 0, "event kind %s", kind);
        REQUIRE_OK(json_get_real(e, "ts", &began, "trace"));
        REQUIRE_OK(json_get_real(e, "dur", &took, "trace"));
        CHECK(json_is_integer(json_object_get(e, "pid")) &&
                  json_is_integer(json_object_get(e, "tid")),
              "event without a lane");
        complete++;
        if (strncmp(name, "step ", 5) == 0) {
            steps++;
            continue;
        }
        json_int_t lane = json_integer_value(json_object_get(e, "tid"));
        REQUIRE(lane >= 1 && lane < 8, "lane %d", (int)lane);
        CHECK(began >= last_end[lane] - 2e-3 && took >= 0, "%s begins at %g before %g", name, began,
              last_end[lane]);
        last_end[lane] = began + took;
    }
    CHECK(steps == 2 && complete >= 2 + 6 + 2, "%d events, %d steps", complete, steps);
}

TEST(profile_trace_is_a_chrome_trace) {
    char path[PATH_SIZE];
    profile p;
    json_t *trace, *events;
    REQUIRE_OK(path_join(path, test_folder(), "trace.json"));
    REQUIRE_OK(profile_init(&p));
    two_steps(&p);
    REQUIRE_OK(profile_write_trace(&p, path));
    profile_clear(&p);
    REQUIRE_OK(json_read(path, &trace));
    REQUIRE_OK(json_get_array(trace, "traceEvents", &events, path));
    check_events(events);
    json_decref(trace);
}

static void sleep_a_little(void *context, int64_t chunk) {
    (void)context, (void)chunk;
    struct timespec nap = {.tv_nsec = 300000};
    nanosleep(&nap, NULL);
}

/* Two laps with a job each: every thread that worked has its lane, and its spans the lap's name. */
TEST(profile_trace_has_a_lane_for_each_thread_of_the_pool) {
    char path[PATH_SIZE];
    profile p;
    json_t *trace, *events, *e;
    size_t i;
    int64_t chunks[2] = {0}, lanes = 0;
    REQUIRE_OK(path_join(path, test_folder(), "lanes.json"));
    REQUIRE_OK(pool_start(3));
    REQUIRE_OK(profile_init(&p));
    CHECK(p.n_lanes == 3, "%d lanes", p.n_lanes);
    profile_begin(&p, 1);
    pool_for(12, sleep_a_little, NULL);
    profile_lap(&p, "product", "forward", some);
    pool_for(9, sleep_a_little, NULL);
    profile_lap(&p, "attention", "", some);
    profile_end(&p);
    pool_for(5, sleep_a_little, NULL); /* after the step: not recorded */
    REQUIRE_OK(profile_write_trace(&p, path));
    profile_clear(&p);
    pool_stop();
    REQUIRE_OK(json_read(path, &trace));
    REQUIRE_OK(json_get_array(trace, "traceEvents", &events, path));
    json_array_foreach(events, i, e) {
        const char *name = json_string_value(json_object_get(e, "name"));
        const json_t *n = json_object_get(json_object_get(e, "args"), "chunks");
        bool first = strcmp(name, "product forward") == 0;
        lanes += strcmp(name, "thread_name") == 0;
        if (n == NULL) continue;
        CHECK(first || strcmp(name, "attention") == 0, "a span of %s", name);
        CHECK(json_integer_value(json_object_get(e, "tid")) >= 2, "a span on the main lane");
        chunks[!first] += json_integer_value(n);
    }
    CHECK(lanes == 4 && chunks[0] == 12 && chunks[1] == 9, "%d lanes, %d and %d chunks", (int)lanes,
          (int)chunks[0], (int)chunks[1]);
    json_decref(trace);
}

TEST(profile_reports_failures) {
    profile p;
    int64_t live = mem_live_blocks();
    char path[PATH_SIZE];
    REQUIRE_OK(path_join(path, test_folder(), "no-such-folder/trace.json"));
    REQUIRE_OK(pool_start(2));
    for (int n = 1; n <= 5; n++) { /* the arena, events, lanes, spans of two threads */
        mem_fail_at(n);
        CHECK(profile_init(&p) == STATUS_MEMORY, "failure %d was swallowed", n);
        mem_fail_at(0);
    }
    pool_stop();
    REQUIRE_OK(profile_init(&p));
    CHECK(profile_write_trace(&p, path) != STATUS_OK, "a trace without a folder");
    profile_clear(&p);
    CHECK(mem_live_blocks() == live, "blocks leaked");
}
