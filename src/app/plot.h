/* plot.h - the metrics of runs as one SVG picture that needs nothing beside it. Private to app/.
 *
 *     plot_request p = {.runs = &(plot_run){"first", r.points, r.n}, .n_runs = 1,
 *                       .metric = run_metric_find("loss"), .smooth = 0.02};
 *     TRY(plot_svg(&p, &svg, &n));        // mem_free(svg)
 */
#ifndef FATHOM_APP_PLOT_H
#define FATHOM_APP_PLOT_H

#include "app/run_record.h"

typedef enum plot_x {
    PLOT_X_AUTO, /* steps if a step has as many tokens in every run, else tokens */
    PLOT_X_STEPS,
    PLOT_X_TOKENS,
    PLOT_X_TIME,
} plot_x;

typedef struct plot_run {
    const char *name; /* any bytes */
    const run_point *points;
    int n;
} plot_run;

typedef struct plot_request {
    const plot_run *runs;
    int n_runs;
    int metric; /* of the large panel; with loss validation is drawn into it */
    plot_x x;
    bool log_x, log_y;
    double smooth; /* share of a run's points on each side that a mean is taken over; 0 = none */
} plot_request;

/* *svg is NUL-terminated; mem_free it. A pure function: the same request, the same bytes. F_MISSING
 * if no run has a value of the metric that can be drawn. */
status plot_svg(const plot_request *p, char **svg, size_t *n) MUST_CHECK;

#endif
