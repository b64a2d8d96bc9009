/* plot_curve.h - the arithmetic of a plot: round ticks, their labels, smoothing, thinning. Pure
 * functions over doubles, private to app/. */
#ifndef FATHOM_APP_PLOT_CURVE_H
#define FATHOM_APP_PLOT_CURVE_H

#include <stdbool.h>
#include <stddef.h>

#define PLOT_TICKS        24   /* at most on one axis */
#define PLOT_CURVE_POINTS 2000 /* at most in one drawn curve */

/* A range of values laid along a stretch of the picture. */
typedef struct plot_axis {
    double low, high; /* values at both ends; low < high, both > 0 if log */
    double from, to;  /* where those ends are in the picture */
    bool log;
    double ticks[PLOT_TICKS];
    int n_ticks;
} plot_axis;

/* Fixes low, high and ticks for values in [low, high]; about `wanted` ticks at round numbers. An
 * axis that is `grown` begins and ends at a tick, others keep their ends. low > high or not finite
 * = there are no values. */
void plot_axis_fit(plot_axis *a, double low, double high, int wanted, bool grown);
double plot_axis_at(const plot_axis *a, double value);
/* What stands at tick i: "1.5M", "0.0002", "3e-4"; all ticks of an axis are written alike. */
void plot_axis_label(const plot_axis *a, int i, bool counts, char *out, size_t room);

/* y[i] becomes the mean of its neighbours up to `half` on each side, twice. Near the beginning the
 * window shrinks on both sides, which keeps a steep fall where it is; at the end it only loses what
 * is not there. Values that are not finite are left out and stay what they are. `sums` and `counts`
 * are scratch of n + 1. */
void plot_smooth(double *y, int n, int half, double *sums, int *counts);

typedef struct plot_point {
    double x, y; /* y not finite = the line is broken here */
} plot_point;

/* Thins n points with rising x to at most PLOT_CURVE_POINTS: in each of equal stretches of x the
 * first, lowest, highest and last one stay, so no spike is lost. Returns how many are left. */
int plot_thin(plot_point *points, int n);

#endif
