/* plot_curve.c - see plot_curve.h.
 *
 * Ticks are 1, 2 or 5 times a power of ten apart: of the three the one whose number comes nearest
 * to what was wanted from below. A logarithmic axis has its ticks at powers of ten (every second,
 * third, ... if there are many), with 2 and 5 between them where there are few; within less than a
 * factor of four it takes the evenly spaced round numbers, which no reader of such a short piece
 * can tell from it.
 *
 * Mind: everything here must bear any finite input, 1e308 and denormals included: a step is at
 * least a few units in the last place of the values, and loops count instead of adding up.
 */
#include "app/plot_curve.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SMALLEST 1e-300 /* below it a logarithmic axis sees no difference */

/* -- axes -- */

/* The round number that divides `span` into at most `wanted` parts. */
static double round_step(double span, int wanted) {
    double raw = span / wanted, power = pow(10, floor(log10(raw)));
    double parts = raw / power;
    if (!(power > 0)) return raw;
    return power * (parts <= 1.0000001 ? 1 : parts <= 2 ? 2 : parts <= 5 ? 5 : 10);
}

static void add_tick(plot_axis *a, double value) {
    if (a->n_ticks < PLOT_TICKS) a->ticks[a->n_ticks++] = value;
}

static void even_ticks(plot_axis *a, int wanted, bool grown) {
    double step = round_step(a->high - a->low, wanted), slack = 1e-9 * step;
    double first = grown ? floor((a->low + slack) / step) : ceil((a->low - slack) / step);
    double last = grown ? ceil((a->high - slack) / step) : floor((a->high + slack) / step);
    if (a->log && first <= 0) first = 1;
    for (int i = 0; first + i <= last && i < PLOT_TICKS; i++)
        add_tick(a, (first + i) * step + 0.0); /* + 0.0: no negative zero */
    if (grown && a->n_ticks > 1) {
        a->low = fmin(a->low, a->ticks[0]);
        a->high = fmax(a->high, a->ticks[a->n_ticks - 1]);
    }
}

static void log_ticks(plot_axis *a, int wanted) {
    static const double few[] = {1, 2, 5};
    double first = floor(log10(a->low) + 1e-9), last = ceil(log10(a->high) - 1e-9);
    int decades = (int)(last - first), every = 1 + decades / (wanted + 1);
    int marks = decades * 2 <= wanted ? 3 : 1;
    for (int d = 0; d <= decades; d += every)
        for (int k = 0; k < marks; k++) {
            double value = few[k] * pow(10, first + d);
            if (value >= a->low * (1 - 1e-9) && value <= a->high * (1 + 1e-9)) add_tick(a, value);
        }
}

/* A range of one value becomes one around it; too narrow ones are widened to where doubles differ. */
static void widen(plot_axis *a) {
    double least = fmax(fmax(fabs(a->low), fabs(a->high)) * 1e-12, SMALLEST);
    if (a->high - a->low >= least) return;
    double middle = a->low / 2 + a->high / 2, by = middle != 0 ? fabs(middle) * 0.05 : 1;
    a->low = a->log ? fmax(middle - by, SMALLEST) : middle - fmax(by, least);
    a->high = middle + fmax(by, least);
}

void plot_axis_fit(plot_axis *a, double low, double high, int wanted, bool grown) {
    a->n_ticks = 0;
    if (!isfinite(low) || !isfinite(high) || low > high) low = a->log ? 1 : 0, high = 1;
    a->low = fmax(low, -DBL_MAX / 8);
    a->high = fmin(high, DBL_MAX / 8);
    if (a->log) a->low = fmax(a->low, SMALLEST);
    if (a->log) a->high = fmax(a->high, a->low);
    widen(a);
    double span = a->log ? log(a->high) - log(a->low) : 0; /* the quotient may overflow */
    if (span >= log(4)) {
        if (grown) { /* a little air, in equal proportion */
            double air = exp(0.03 * span);
            a->low = fmax(a->low / air, SMALLEST);
            a->high = fmin(a->high * air, DBL_MAX / 8);
        }
        log_ticks(a, wanted);
    } else {
        even_ticks(a, wanted, grown);
    }
}

double plot_axis_at(const plot_axis *a, double value) {
    double share = a->log
                       ? (log(fmax(value, SMALLEST)) - log(a->low)) / (log(a->high) - log(a->low))
                       : (value - a->low) / (a->high - a->low);
    return a->from + fmin(fmax(share, -1), 2) * (a->to - a->from);
}

/* -- labels -- */

/* The smallest distance of two ticks. */
static double tick_step(const plot_axis *a) {
    double step = a->high - a->low;
    for (int i = 1; i < a->n_ticks; i++)
        step = fmin(step, a->ticks[i] - a->ticks[i - 1]);
    return step;
}

/* Digits after the point that bring every tick, in this unit, nearer than a thousandth of a step. */
static int digits_needed(const plot_axis *a, double unit) {
    double step = tick_step(a) / unit;
    for (int digits = 0; digits < 16; digits++) {
        bool exact = true;
        double scale = pow(10, digits);
        for (int i = 0; i < a->n_ticks && exact; i++) {
            double scaled = a->ticks[i] / unit * scale;
            exact = fabs(scaled - round(scaled)) < 1e-3 * step * scale;
        }
        if (exact) return digits;
    }
    return 16;
}

/* Significant digits that tell the largest tick from its neighbour. */
static int digits_significant(const plot_axis *a, double largest) {
    double digits = 2 + floor(log10(largest / tick_step(a)));
    return digits < 4 ? 4 : digits > 15 ? 15 : (int)digits;
}

/* "3e-4" and "1.5e-4" instead of "3.000e-04". */
static void write_power(double value, int digits, char *out, size_t room) {
    char mantissa[40];
    int exponent = 0;
    snprintf(mantissa, sizeof mantissa, "%.*e", digits - 1, value);
    char *e = strchr(mantissa, 'e');
    if (e != NULL && sscanf(e + 1, "%d", &exponent) == 1) {
        while (e[-1] == '0')
            e--;
        if (e[-1] == '.') e--;
        *e = 0;
    }
    snprintf(out, room, "%se%d", mantissa, exponent);
}

/* "1.5M" if the value, on an even axis the largest tick, reaches a thousand. */
static bool write_count(const plot_axis *a, double value, double largest, char *out, size_t room) {
    static const struct {
        double unit;
        const char *sign;
    } units[] = {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
    double reach = a->log ? fabs(value) : largest;
    if (largest >= 1e15) return false;
    for (size_t k = 0; k < sizeof units / sizeof *units; k++) {
        if (reach < units[k].unit) continue;
        if (a->log)
            snprintf(out, room, "%.*g%s", digits_significant(a, largest), value / units[k].unit,
                     units[k].sign);
        else
            snprintf(out, room, "%.*f%s", digits_needed(a, units[k].unit), value / units[k].unit,
                     units[k].sign);
        return true;
    }
    return false;
}

void plot_axis_label(const plot_axis *a, int i, bool counts, char *out, size_t room) {
    double value = a->ticks[i], largest = 0;
    for (int k = 0; k < a->n_ticks; k++)
        largest = fmax(largest, fabs(a->ticks[k]));
    double size = a->log ? fabs(value) : largest;
    if (value == 0)
        snprintf(out, room, "0");
    else if (counts && write_count(a, value, largest, out, room))
        return;
    else if (size >= (a->log ? 1e4 : 1e6) || size < (a->log ? 1e-2 : 1e-3))
        write_power(value, digits_significant(a, largest), out, room);
    else if (a->log)
        snprintf(out, room, "%.*g", digits_significant(a, largest), value);
    else
        snprintf(out, room, "%.*f", digits_needed(a, 1), value);
}

/* -- curves -- */

static void smooth_once(double *y, int n, int half, double *sums, int *counts) {
    double scale = 0; /* sums of values near the largest double must not overflow */
    for (int i = 0; i < n; i++)
        if (isfinite(y[i])) scale = fmax(scale, fabs(y[i]));
    if (scale == 0) return;
    sums[0] = 0;
    counts[0] = 0;
    for (int i = 0; i < n; i++) {
        sums[i + 1] = sums[i] + (isfinite(y[i]) ? y[i] / scale : 0);
        counts[i + 1] = counts[i] + isfinite(y[i]);
    }
    for (int i = 0; i < n; i++) {
        int left = i < half ? i : half, right = n - 1 - i < left ? n - 1 - i : left;
        int found = counts[i + right + 1] - counts[i - left];
        if (isfinite(y[i])) y[i] = (sums[i + right + 1] - sums[i - left]) / found * scale;
    }
}

void plot_smooth(double *y, int n, int half, double *sums, int *counts) {
    for (int pass = 0; half > 0 && pass < 2; pass++)
        smooth_once(y, n, half, sums, counts);
}

/* Writes the points of one stretch to `out`, which is not behind them; returns how many. */
static int thin_stretch(const plot_point *p, int n, plot_point *out) {
    int low = -1, high = -1, first = -1, last = -1;
    for (int i = 0; i < n; i++) {
        if (!isfinite(p[i].y)) continue;
        if (first < 0) first = low = high = i;
        last = i;
        if (p[i].y < p[low].y) low = i;
        if (p[i].y > p[high].y) high = i;
    }
    if (first < 0) {
        out[0] = p[0];
        return 1;
    }
    int order[4] = {first, low < high ? low : high, low < high ? high : low, last}, kept = 0;
    plot_point chosen[4];
    for (int k = 0; k < 4; k++)
        if (k == 0 || order[k] != order[k - 1]) chosen[kept++] = p[order[k]];
    memcpy(out, chosen, (size_t)kept * sizeof *chosen);
    return kept;
}

int plot_thin(plot_point *points, int n) {
    const int stretches = PLOT_CURVE_POINTS / 4;
    if (n <= PLOT_CURVE_POINTS) return n;
    double from = points[0].x, width = (points[n - 1].x - from) / stretches;
    int kept = 0;
    for (int begin = 0, end, k = 0; begin < n; begin = end, k++) {
        end = begin + 1;
        int stretch = width > 0 ? (int)((points[begin].x - from) / width) : 0;
        if (stretch >= stretches - 1 || !(width > 0)) end = n;
        while (end < n && (int)((points[end].x - from) / width) <= stretch)
            end++;
        kept += thin_stretch(points + begin, end - begin, points + kept);
    }
    return kept;
}
