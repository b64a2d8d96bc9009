/* test_plot.c - the arithmetic of plots by its laws, and pictures of ordinary and absurd metrics. */
#include "svg_check.h"
#include "test.h"

#include "app/plot.h"
#include "app/plot_curve.h"

#include "base/rng.h"

#include <float.h>
#include <math.h>

/* -- axes -- */

/* The label as a number, with its k, M, G, T. */
static double label_value(const char *label) {
    static const char signs[] = "kMGT";
    char *end;
    double value = strtod(label, &end);
    const char *sign = *end != 0 ? strchr(signs, *end) : NULL;
    if (sign != NULL) value *= pow(1000, (double)(sign - signs + 1));
    return *end != 0 && (sign == NULL || end[1] != 0) ? (double)NAN : value;
}

/* Ticks rise, lie on the axis, and are labelled with their value, each differently. */
static void check_axis(const plot_axis *a, double low, double high) {
    char label[48], before[48] = "";
    CHECK(isfinite(a->low) && isfinite(a->high) && a->low < a->high, "%g to %g", a->low, a->high);
    CHECK(a->low <= low && a->high >= high, "[%g, %g] does not hold [%g, %g]", a->low, a->high, low,
          high);
    CHECK(a->n_ticks >= 1 && a->n_ticks <= PLOT_TICKS, "%d ticks in [%g, %g]", a->n_ticks, a->low,
          a->high);
    for (int i = 0; i < a->n_ticks; i++) {
        double slack = 1e-6 * (a->high - a->low), at = plot_axis_at(a, a->ticks[i]);
        CHECK(a->ticks[i] >= a->low - slack && a->ticks[i] <= a->high + slack, "tick %g",
              a->ticks[i]);
        CHECK(i == 0 || a->ticks[i] > a->ticks[i - 1], "ticks %d", i);
        CHECK(at >= a->from - 0.01 && at <= a->to + 0.01, "tick %g is at %g", a->ticks[i], at);
        plot_axis_label(a, i, i % 2, label, sizeof label);
        CHECK(strcmp(label, before) != 0, "\"%s\" twice", label);
        snprintf(before, sizeof before, "%s", label);
    }
}

TEST(round_ticks_of_known_ranges) {
    static const struct {
        double low, high;
        bool log;
        const char *labels;
    } cases[] = {
        {0, 600, false, "0 100 200 300 400 500 600 "},
        {0, 2.5e6, false, "0 0.5M 1.0M 1.5M 2.0M 2.5M "},
        {0, 3e-4, false, "0 5e-5 1e-4 1.5e-4 2e-4 2.5e-4 3e-4 "},
        {1.2, 5.4, false, "1 2 3 4 5 6 "},
        {1, 1000, true, "1 2 5 10 20 50 100 200 500 1k "},
        {1e-8, 1e4, true, "1e-8 1e-6 1e-4 0.01 1 100 10k "},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        plot_axis a = {.to = 100, .log = cases[k].log};
        char all[200] = "", label[48];
        plot_axis_fit(&a, cases[k].low, cases[k].high, 7, !cases[k].log);
        for (int i = 0; i < a.n_ticks; i++) {
            plot_axis_label(&a, i, cases[k].high >= 500 && cases[k].high < 1e7, label,
                            sizeof label);
            size_t used = strlen(all);
            snprintf(all + used, sizeof all - used, "%s ", label);
        }
        CHECK(strcmp(all, cases[k].labels) == 0, "case %zu: %s", k, all);
        check_axis(&a, cases[k].low, cases[k].high);
    }
}

TEST(axes_of_any_range_hold_it) {
    rng r = rng_at(5, RNG_TEST, 0);
    for (uint64_t i = 0; i < 20000; i++) {
        double size = pow(10, 600 * rng_uniform(r, 4 * i) - 295);
        double low = (rng_uniform(r, 4 * i + 1) * 2 - 1) * size;
        double high = low + pow(10, 20 * rng_uniform(r, 4 * i + 2) - 18) * size;
        plot_axis a = {.to = 100, .log = i % 2 == 1};
        if (a.log) low = fmax(fabs(low), 1e-300), high = fmax(fabs(high), low);
        if (!isfinite(high) || high > DBL_MAX / 16 || low < -DBL_MAX / 16) continue;
        plot_axis_fit(&a, low, high, 3 + (int)(i % 8), true);
        check_axis(&a, low, high);
    }
}

TEST(labels_say_what_their_ticks_are) {
    rng r = rng_at(6, RNG_TEST, 0);
    char label[48];
    for (uint64_t i = 0; i < 3000; i++) {
        plot_axis a = {.to = 100, .log = i % 2 == 1};
        double low = a.log ? 1 : 0, high = low + pow(10, 14 * rng_uniform(r, i) - 4);
        plot_axis_fit(&a, low, high, 6, true);
        for (int k = 0; k < a.n_ticks; k++) {
            plot_axis_label(&a, k, true, label, sizeof label);
            double value = label_value(label);
            CHECK(fabs(value - a.ticks[k]) <= 1e-3 * fabs(a.ticks[k]), "%s for %.12g", label,
                  a.ticks[k]);
        }
    }
}

/* -- curves -- */

TEST(smoothing_keeps_lines_and_gaps_and_quiets_noise) {
    enum { N = 1000 };
    static double y[N], sums[N + 1];
    static int counts[N + 1];
    for (int i = 0; i < N; i++)
        y[i] = i;
    plot_smooth(y, N, 20, sums, counts);
    for (int i = 0; i < N - 2 * 20; i++) /* the end is one-sided */
        CHECK(fabs(y[i] - i) < 1e-9, "a straight line became %g at %d", y[i], i);
    rng r = rng_at(8, RNG_TEST, 0);
    double before = 0, after = 0;
    for (int i = 0; i < N; i++)
        before += pow(y[i] = rng_uniform(r, (uint64_t)i) - 0.5, 2);
    y[500] = (double)NAN;
    y[501] = HUGE_VAL;
    plot_smooth(y, N, 20, sums, counts);
    CHECK(isnan(y[500]) && isinf(y[501]), "a gap was filled");
    for (int i = 0; i < N; i++)
        if (isfinite(y[i])) after += y[i] * y[i];
    CHECK(after < before / 20, "noise of %g is still %g", before, after);
    y[0] = DBL_MAX;
    y[1] = DBL_MAX;
    plot_smooth(y, 2, 1, sums, counts);
    CHECK(y[0] == DBL_MAX && y[1] == DBL_MAX, "overflow: %g", y[1]);
}

TEST(thinning_keeps_ends_spikes_and_order) {
    enum { N = 100000 };
    plot_point *p = malloc(N * sizeof *p);
    REQUIRE(p != NULL, "no memory");
    for (int n = 1; n <= N; n = n < 10 ? n + 1 : n * 3 / 2 + 1) {
        rng r = rng_at((uint64_t)n, RNG_TEST, 1);
        for (int i = 0; i < n; i++)
            p[i] = (plot_point){n % 2 == 0 ? i : exp(i * 10.0 / n), rng_uniform(r, (uint64_t)i)};
        int low = n / 3, high = n - 1 - n / 4;
        double last_y = p[n - 1].y;
        p[high].y = 7;
        p[low].y = -5;
        if (n > 8) p[n / 2].y = (double)NAN;
        if (high == n - 1 || low == n - 1) last_y = p[n - 1].y;
        double first_x = p[0].x, last_x = p[n - 1].x;
        bool lowest = false, highest = high == low;
        int kept = plot_thin(p, n);
        CHECK(kept <= PLOT_CURVE_POINTS && kept <= n, "%d of %d points", kept, n);
        CHECK(p[0].x == first_x && p[kept - 1].x == last_x && p[kept - 1].y == last_y, "ends of %d",
              n);
        for (int i = 0; i < kept; i++) {
            lowest |= p[i].y == -5;
            highest |= p[i].y == 7;
            CHECK(i == 0 || p[i].x > p[i - 1].x, "order at %d of %d", i, n);
        }
        CHECK(lowest && highest, "a spike of %d points is lost", n);
    }
    for (int i = 0; i < 5000; i++)
        p[i] = (plot_point){3, i};
    CHECK(plot_thin(p, 5000) <= 4, "equal x");
    free(p);
}

/* -- pictures -- */

static run_point point_at(int step, double loss) {
    run_point p = {.step = step,
                   .tokens = step * 512.0,
                   .time = step * 0.5,
                   .loss = loss,
                   .lr = 1e-3,
                   .grad_norm = 1,
                   .tok_per_sec = 12345,
                   .mfu = 0.41,
                   .mem_bytes = 1e8,
                   .val_loss = (double)NAN,
                   .val_bpb = (double)NAN,
                   .mtp_loss = (double)NAN,
                   .balance_loss = (double)NAN,
                   .expert_max_violation = (double)NAN};
    if (step % 10 == 0) p.val_loss = loss + 0.1, p.val_bpb = loss / 2;
    return p;
}

/* A run of n points whose loss falls; free it. */
static run_point *some_points(int n) {
    run_point *p = malloc((size_t)(n > 0 ? n : 1) * sizeof *p);
    rng r = rng_at(3, RNG_TEST, 2);
    for (int i = 0; p != NULL && i < n; i++)
        p[i] = point_at(i + 1, 2 + 3 / sqrt(i + 1) + 0.1 * rng_uniform(r, (uint64_t)i));
    return p;
}

static int count(const char *text, const char *word) {
    int n = 0;
    for (; (text = strstr(text, word)) != NULL; text++)
        n++;
    return n;
}

/* Draws and checks the form; returns the picture (mem_free) or NULL. */
static char *draw(const plot_request *p) {
    char *svg;
    size_t n;
    if (plot_svg(p, &svg, &n) != STATUS_OK) {
        test_fail(__FILE__, __LINE__, "plot_svg", "%s", error_last()->what);
        return NULL;
    }
    const char *flaw = svg_flaw(svg, n);
    CHECK(flaw == NULL, "not well formed: %.80s", flaw);
    return svg;
}

TEST(a_picture_shows_runs_axes_and_names) {
    run_point *a = some_points(300), *b = some_points(70);
    const plot_run runs[] = {{"first", a, 300}, {"<b> & \"c\"\x01\xff", b, 70}};
    plot_request p = {runs, 2, run_metric_find("loss"), PLOT_X_AUTO, false, false, 0.02};
    char *svg = draw(&p), *again = draw(&p);
    REQUIRE(svg != NULL && again != NULL, "no picture");
    CHECK(strcmp(svg, again) == 0, "the same request gives other bytes");
    CHECK(strstr(svg, "&#60;b&#62; &#38; &#34;c&#34;??") != NULL, "the name is not there");
    CHECK(count(svg, "class=\"dot\"") == 2 * (30 + 7), "%d dots", count(svg, "class=\"dot\""));
    CHECK(count(svg, "class=\"raw\"") == 2, "%d raw curves", count(svg, "class=\"raw\""));
    CHECK(strstr(svg, ">steps<") && strstr(svg, ">tokens<") && strstr(svg, ">learning rate<") &&
              strstr(svg, "bits per byte") && strstr(svg, "prefers-color-scheme:dark"),
          "a part is missing");
    mem_free(svg);
    mem_free(again);
    for (int i = 0; i < 70; i++)
        b[i].tokens *= 2; /* another batch: steps do not compare, tokens do */
    p.smooth = 0;
    svg = draw(&p);
    REQUIRE(svg != NULL, "no picture");
    CHECK(count(svg, ">steps<") == 1 && count(svg, "class=\"raw\"") == 0, "x is not tokens");
    mem_free(svg);
    free(a);
    free(b);
}

TEST(every_metric_axis_and_smoothing_can_be_drawn) {
    run_point *a = some_points(150);
    for (int i = 0; i < 150; i++)
        a[i].mtp_loss = a[i].balance_loss = a[i].expert_max_violation = 1.0 / (i + 1);
    const plot_run run = {"a", a, 150};
    for (int metric = 0; run_metric_name(metric) != NULL; metric++)
        for (int k = 0; k < 32; k++) {
            plot_request p = {
                &run, 1, metric, (plot_x)(k & 3), (k & 4) != 0, (k & 8) != 0, k & 16 ? 0.5 : 0};
            mem_free(draw(&p));
        }
    free(a);
}

TEST(absurd_metrics_make_sound_pictures) {
    run_point p[8];
    const plot_run run = {"odd", p, 8};
    static const double odd[] = {(double)NAN, HUGE_VAL, -HUGE_VAL, DBL_MAX,
                                 -DBL_MAX,    DBL_MIN,  0,         1e-310};
    plot_request q = {&run, 1, run_metric_find("loss"), PLOT_X_AUTO, false, false, 0.1};
    for (int shift = 0; shift < 8; shift++)
        for (int log = 0; log < 4; log++) {
            for (int i = 0; i < 8; i++) {
                p[i] = point_at(i + 1, odd[(i + shift) % 8]);
                p[i].lr = p[i].val_bpb = odd[(i * 3 + shift) % 8];
                if (shift > 4) p[i].step = p[i].tokens = odd[i];
            }
            if (shift > 4) p[7].step = 3, p[7].tokens = 900, p[7].loss = 1;
            q.log_x = log & 1;
            q.log_y = log & 2;
            mem_free(draw(&q));
        }
}

TEST(one_point_is_a_dot_and_none_is_an_error) {
    run_point p = point_at(1, 5);
    const plot_run runs[] = {{"one", &p, 1}, {"none", NULL, 0}};
    plot_request q = {runs, 2, run_metric_find("loss"), PLOT_X_AUTO, false, false, 0.02};
    char *svg = draw(&q);
    REQUIRE(svg != NULL, "no picture");
    CHECK(count(svg, "<circle") == 2, "loss and rate of one step are not visible");
    CHECK(strstr(svg, "\">0.5</text>") == NULL, "half a step");
    mem_free(svg);
    p.loss = (double)NAN;
    size_t n;
    CHECK(plot_svg(&q, &svg, &n) == STATUS_IO && error_last()->id == F_MISSING && svg == NULL,
          "a picture of nothing");
    CHECK(strstr(error_last()->what, "\"loss\"") && strstr(error_last()->fix, "--metric"), "%s",
          error_last()->what);
    q.n_runs = 0;
    CHECK(plot_svg(&q, &svg, &n) == STATUS_IO, "a picture of no runs");
}

TEST(later_lines_replace_earlier_ones) {
    run_point p[6] = {point_at(1, 5), point_at(2, 4), point_at(3, 1e9),
                      point_at(2, 4), point_at(3, 3), point_at(4, 2)};
    const plot_run run = {"pieced", p, 6};
    plot_request q = {&run, 1, run_metric_find("loss"), PLOT_X_AUTO, false, false, 0};
    char *svg = draw(&q);
    REQUIRE(svg != NULL, "no picture");
    CHECK(strstr(svg, "e9") == NULL && strstr(svg, "1G") == NULL, "the old line is drawn");
    mem_free(svg);
}

TEST(a_million_steps_are_a_small_picture) {
    int n = 1000000;
    run_point *a = some_points(n);
    REQUIRE(a != NULL, "no memory");
    const plot_run run = {"long", a, n};
    plot_request p = {&run, 1, run_metric_find("loss"), PLOT_X_AUTO, true, true, 0.02};
    char *svg = draw(&p);
    REQUIRE(svg != NULL, "no picture");
    printf("  %zu bytes\n", strlen(svg));
    CHECK(strlen(svg) < 150000, "%zu bytes", strlen(svg));
    for (const char *path = svg; (path = strstr(path, " d=\"")) != NULL;) {
        const char *end = strchr(path + 4, '"');
        int points = 0;
        for (; path < end; path++)
            points += *path == 'L' || *path == 'M';
        CHECK(points <= PLOT_CURVE_POINTS, "%d points in a curve", points);
    }
    mem_free(svg);
    free(a);
}

TEST(many_runs_have_a_row_each) {
    run_point *a = some_points(40);
    plot_run runs[40];
    for (int i = 0; i < 40; i++)
        runs[i] =
            (plot_run){"a name that is much longer than the forty characters shown", a, i + 1};
    plot_request p = {runs, 40, run_metric_find("loss"), PLOT_X_AUTO, false, false, 0.02};
    char *svg = draw(&p);
    REQUIRE(svg != NULL, "no picture");
    CHECK(count(svg, "\u2026</text>") == 40, "%d rows", count(svg, "\u2026</text>"));
    CHECK(count(svg, "stroke-dasharray=\"7 4\"") > 0, "no dashes beyond eight runs");
    mem_free(svg);
    free(a);
}

TEST(failing_allocations_leave_nothing_of_a_picture) {
    run_point *a = some_points(60);
    const plot_run run = {"a", a, 60};
    plot_request p = {&run, 1, run_metric_find("loss"), PLOT_X_AUTO, false, false, 0.02};
    int64_t live = mem_live_blocks(), at = 1;
    status s = STATUS_MEMORY;
    for (; s == STATUS_MEMORY; at++) {
        char *svg;
        size_t n;
        mem_fail_at(at);
        s = plot_svg(&p, &svg, &n);
        mem_fail_at(0);
        CHECK(s == STATUS_OK || (s == STATUS_MEMORY && svg == NULL), "status %d", (int)s);
        mem_free(svg);
        CHECK(mem_live_blocks() == live, "allocation %" PRId64 " leaks", at);
    }
    CHECK(s == STATUS_OK && at > 5, "%" PRId64 " failures", at);
    free(a);
}
