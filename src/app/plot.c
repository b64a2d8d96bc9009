/* plot.c - see plot.h.
 *
 * What: a title; a table that is the legend (colour, name, steps, tokens, where the runs stand); a
 * large panel with one metric, for the loss with validation as dots, steps below and tokens above;
 * two small panels, validation in bits per byte and the learning rate, where runs have them.
 *
 * How: three passes. Axes are fitted to all values that can be drawn; each curve is collected,
 * smoothed at full length, laid into the picture and thinned (plot_curve.c); text is appended to
 * one growing block that remembers its first failure. The raw curve stays visible behind the
 * smoothed one: a mean alone hides what a spike did.
 *
 * Light and dark: the picture brings its own background and changes it, with its greys, by
 * prefers-color-scheme; the colours of curves have enough contrast on both. A viewer that knows no
 * media queries shows the light one.
 *
 * Mind: a value that is not finite breaks the line (null in metrics.jsonl); validation is written
 * every so many steps, there a missing one is no gap. If x goes back, as when a file was pieced
 * together, later lines replace earlier ones. Beyond 8 runs colours repeat with dashes.
 */
#include "app/plot.h"
#include "app/plot_curve.h"

#include "base/progress.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#define WIDTH        960
#define LEFT         64
#define RIGHT        (WIDTH - 28)
#define TABLE_TOP    68
#define TABLE_ROW    22
#define HEAD_HEIGHT  54  /* from what is above a panel to its plot */
#define LARGE_HEIGHT 330 /* of the plot itself */
#define SMALL_HEIGHT 170
#define FOOT_HEIGHT  50 /* labels below a plot */
#define GAP          72 /* between the small panels */
#define NAME_LENGTH  40
#define DOTS_MAX     80 /* more validations than this are a line without dots */

/* -- text that grows -- */

typedef struct sheet {
    char *bytes;
    size_t n, room;
    bool failed; /* memory ran out; the report is filled */
} sheet;

static bool sheet_room(sheet *t, size_t more) {
    if (t->failed) return false;
    if (t->room - t->n > more) return true;
    size_t room = (t->room + more) * 2;
    char *grown = mem_resize(t->bytes, room, 1);
    t->failed = grown == NULL;
    if (t->failed) return false;
    t->bytes = grown;
    t->room = room;
    return true;
}

static void put(sheet *t, const char *format, ...) PRINTF_LIKE(2, 3);
static void put(sheet *t, const char *format, ...) {
    char piece[1024]; /* every caller's numbers and words are short */
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(piece, sizeof piece, format, arguments);
    va_end(arguments);
    size_t n = length < 0 ? 0 : (size_t)length < sizeof piece ? (size_t)length : sizeof piece - 1;
    if (!sheet_room(t, n + 1)) return;
    memcpy(t->bytes + t->n, piece, n + 1);
    t->n += n;
}

/* Text from outside: at most NAME_LENGTH characters, marked as text, bytes that XML forbids as "?".
 */
static void put_name(sheet *t, const char *name) {
    size_t n = strlen(name);
    int characters = 0;
    for (size_t at = 0; at < n; characters++) {
        size_t length = utf8_sequence((const uint8_t *)name + at, n - at);
        unsigned char c = (unsigned char)name[at];
        if (characters == NAME_LENGTH) {
            put(t, "\u2026");
            return;
        }
        bool never = length == 3 && c == 0xEF && (unsigned char)name[at + 1] == 0xBF &&
                     (unsigned char)name[at + 2] >= 0xBE; /* U+FFFE, U+FFFF */
        if (length == 0 || c < 0x20 || never)
            put(t, "?");
        else if (c == '<' || c == '>' || c == '&' || c == '"')
            put(t, "&#%d;", c);
        else
            put(t, "%.*s", (int)length, name + at);
        at += length > 0 ? length : 1;
    }
}

/* -- what is drawn -- */

typedef struct panel {
    const char *title;
    char hint[96];    /* right of the title */
    int metric, dots; /* dots: metric drawn as points, -1 = none */
    bool log_y, from_zero, smooth;
    int left, right, top, bottom, ticks;
    int title_above; /* how far above the plot its title stands */
    plot_axis x, y;
} panel;

typedef struct plot {
    const plot_request *request;
    sheet sheet;
    plot_x x;
    double ratio;     /* tokens of a step, if all runs agree, else 0 */
    double time_unit; /* seconds of a unit of the time axis */
    const char *time_name;
    panel panels[3]; /* the large one first */
    int n_panels;
    /* scratch for the longest run */
    plot_point *points;
    double *values, *sums;
    int *counts;
} plot;

static const char *metric_title(int metric) {
    static const char *const titles[][2] = {
        {"loss", "loss, nats per token"},
        {"lr", "learning rate"},
        {"grad_norm", "gradient norm"},
        {"tok_per_sec", "tokens per second"},
        {"mem_bytes", "memory, bytes"},
        {"mfu", "model FLOPs utilisation"},
        {"val_loss", "validation, nats per token"},
        {"val_bpb", "validation, bits per byte"},
        {"mtp_loss", "second-token loss, nats"},
        {"balance_loss", "balance loss"},
        {"expert_max_violation", "load of the busiest expert over the mean, minus 1"},
    };
    const char *name = run_metric_name(metric);
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
        if (strcmp(titles[i][0], name) == 0) return titles[i][1];
    return name;
}

static bool is_sparse(int metric) {
    return strncmp(run_metric_name(metric), "val_", 4) == 0;
}

static double x_of(const plot *p, const run_point *point) {
    double x = p->x == PLOT_X_STEPS    ? point->step
               : p->x == PLOT_X_TOKENS ? point->tokens
                                       : point->time / p->time_unit;
    return isfinite(x) && x >= 0 && x < 1e18 && (x > 0 || !p->request->log_x) ? x : (double)NAN;
}

/* Points of a run with rising x, y NAN where it cannot be drawn; returns how many. */
static int collect(const plot *p, const plot_run *run, int metric, bool log_y) {
    double next = HUGE_VAL;
    int n = 0;
    for (int i = run->n - 1; i >= 0; i--) { /* from the end: the line written last counts */
        double x = x_of(p, &run->points[i]), y = run_metric(&run->points[i], metric);
        if (!(x < next)) continue;
        bool shown = isfinite(y) && (y > 0 || !log_y);
        if (!shown && is_sparse(metric)) continue;
        next = x;
        p->points[n++] = (plot_point){x, shown ? y : (double)NAN};
    }
    for (int i = 0; i < n / 2; i++) {
        plot_point swap = p->points[i];
        p->points[i] = p->points[n - 1 - i];
        p->points[n - 1 - i] = swap;
    }
    return n;
}

/* Smooths what was collected; each side of the window is a share of the run. */
static void smooth(const plot *p, int n) {
    int half = (int)lround(p->request->smooth * n);
    for (int i = 0; i < n; i++)
        p->values[i] = p->points[i].y;
    plot_smooth(p->values, n, half, p->sums, p->counts);
    for (int i = 0; i < n; i++)
        p->points[i].y = p->values[i];
}

static bool smooths(const plot *p, const plot_run *run) {
    return lround(p->request->smooth * run->n) > 0;
}

typedef struct value_range {
    double low, high;
} value_range;

static void range_add(value_range *r, double value) {
    r->low = fmin(r->low, value);
    r->high = fmax(r->high, value);
}

/* Takes in all values of a metric that can be drawn, and their x. */
static void range_metric(const plot *p, int metric, bool log_y, value_range *x, value_range *y) {
    for (int k = 0; metric >= 0 && k < p->request->n_runs; k++) {
        int n = collect(p, &p->request->runs[k], metric, log_y);
        for (int i = 0; i < n; i++) {
            if (isnan(p->points[i].y)) continue;
            range_add(x, p->points[i].x);
            range_add(y, p->points[i].y);
        }
    }
}

/* False if there is nothing to draw. */
static bool fit_panel(const plot *p, panel *a, const value_range *shared_x) {
    value_range x = {HUGE_VAL, -HUGE_VAL}, y = x;
    range_metric(p, a->metric, a->log_y, &x, &y);
    range_metric(p, a->dots, a->log_y, &x, &y);
    if (y.low > y.high) return false;
    if (shared_x != NULL) x = *shared_x;
    if (a->from_zero && y.low > 0) y.low = 0;
    a->x = (plot_axis){.from = a->left, .to = a->right, .log = p->request->log_x};
    a->y = (plot_axis){.from = a->bottom, .to = a->top, .log = a->log_y};
    bool few = p->x == PLOT_X_STEPS && x.high >= 1 && x.high < a->ticks; /* whole steps only */
    plot_axis_fit(&a->x, p->request->log_x ? x.low : 0, x.high, few ? (int)x.high : a->ticks,
                  false);
    plot_axis_fit(&a->y, y.low, y.high, (a->bottom - a->top) / 40, true);
    return true;
}

/* -- drawing -- */

static const char *x_title(const plot *p) {
    return p->x == PLOT_X_STEPS ? "steps" : p->x == PLOT_X_TOKENS ? "tokens" : p->time_name;
}

static void draw_frame(plot *p, const panel *a) {
    sheet *t = &p->sheet;
    char label[48];
    put(t, "<text class=\"head\" x=\"%d\" y=\"%d\">%s</text>\n", a->left, a->top - a->title_above,
        a->title);
    if (a->hint[0] != 0)
        put(t, "<text class=\"soft\" text-anchor=\"end\" x=\"%d\" y=\"%d\">%s</text>\n", a->right,
            a->top - a->title_above, a->hint);
    for (int i = 0; i < a->y.n_ticks; i++) {
        double y = plot_axis_at(&a->y, a->y.ticks[i]);
        plot_axis_label(&a->y, i, a->y.high >= 1e4, label, sizeof label);
        put(t, "<path class=\"grid\" d=\"M%d %.1fH%d\"/>", a->left, y, a->right);
        put(t, "<text class=\"soft\" text-anchor=\"end\" x=\"%d\" y=\"%.1f\">%s</text>\n",
            a->left - 8, y + 4, label);
    }
    for (int i = 0; i < a->x.n_ticks; i++) {
        double x = plot_axis_at(&a->x, a->x.ticks[i]);
        plot_axis_label(&a->x, i, true, label, sizeof label);
        put(t, "<path class=\"grid\" d=\"M%.1f %dV%d\"/>", x, a->top, a->bottom);
        put(t, "<text class=\"soft\" text-anchor=\"middle\" x=\"%.1f\" y=\"%d\">%s</text>\n", x,
            a->bottom + 19, label);
    }
    put(t, "<path class=\"axis\" d=\"M%d %dH%d\"/>\n", a->left, a->bottom, a->right);
    put(t, "<text class=\"soft\" text-anchor=\"middle\" x=\"%d\" y=\"%d\">%s</text>\n",
        (a->left + a->right) / 2, a->bottom + 38, x_title(p));
}

static bool has_upper_axis(const plot *p) {
    return p->ratio > 0 && p->x != PLOT_X_TIME;
}

/* The other of steps and tokens along the upper edge. */
static void draw_upper_axis(plot *p, const panel *a) {
    double factor = p->x == PLOT_X_STEPS ? p->ratio : 1 / p->ratio;
    plot_axis x = {.from = a->left, .to = a->right, .log = a->x.log};
    char label[48];
    plot_axis_fit(&x, a->x.low * factor, a->x.high * factor, a->ticks, false);
    put(&p->sheet, "<path class=\"axis\" d=\"M%d %dH%d\"/>\n", a->left, a->top, a->right);
    for (int i = 0; i < x.n_ticks; i++) {
        double at = plot_axis_at(&x, x.ticks[i]);
        plot_axis_label(&x, i, true, label, sizeof label);
        put(&p->sheet, "<path class=\"axis\" d=\"M%.1f %dv-5\"/>", at, a->top);
        put(&p->sheet,
            "<text class=\"soft\" text-anchor=\"middle\" x=\"%.1f\" y=\"%d\">%s</text>\n", at,
            a->top - 11, label);
    }
    put(&p->sheet, "<text class=\"soft\" text-anchor=\"end\" x=\"%d\" y=\"%d\">%s</text>\n",
        a->left - 10, a->top - 11, p->x == PLOT_X_STEPS ? "tokens" : "steps");
}

/* The n collected points as a path; points alone between gaps become round dots. */
static void draw_path(plot *p, const panel *a, int n, const char *class) {
    sheet *t = &p->sheet;
    for (int i = 0; i < n; i++) {
        p->points[i].x = plot_axis_at(&a->x, p->points[i].x);
        if (isfinite(p->points[i].y)) p->points[i].y = plot_axis_at(&a->y, p->points[i].y);
    }
    n = plot_thin(p->points, n);
    if (n == 1 && isfinite(p->points[0].y)) { /* too small to be seen as a line */
        put(t, "<circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\"/>\n", p->points[0].x,
            p->points[0].y);
        return;
    }
    bool down = false;
    put(t, "<path class=\"%s\" d=\"", class);
    for (int i = 0; i < n; i++) {
        bool shown = isfinite(p->points[i].y);
        if (shown) put(t, "%s%.1f %.1f", down ? "L" : "M", p->points[i].x, p->points[i].y);
        if (shown && !down && (i + 1 == n || !isfinite(p->points[i + 1].y))) put(t, "h0");
        down = shown;
    }
    put(t, "\"/>\n");
}

static void draw_dots(plot *p, const panel *a, const plot_run *run, int metric) {
    int n = collect(p, run, metric, a->log_y);
    for (int i = 0; i < n && n <= DOTS_MAX; i++)
        put(&p->sheet, "<circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\"/>%s",
            plot_axis_at(&a->x, p->points[i].x), plot_axis_at(&a->y, p->points[i].y),
            i + 1 == n ? "\n" : "");
    if (n > DOTS_MAX) draw_path(p, a, n, "sparse");
}

static void put_colour(plot *p, int run) {
    static const char *const colours[] = {"#2f81f7", "#e8710a", "#1a9e5c", "#c741c7",
                                          "#e5484d", "#0aa5b5", "#a8870f", "#8b5cf6"};
    static const char *const dashes[] = {"", " stroke-dasharray=\"7 4\"",
                                         " stroke-dasharray=\"2 4\""};
    put(&p->sheet, "stroke=\"%s\"%s", colours[run % 8], dashes[run / 8 % 3]);
}

static void draw_curves(plot *p, const panel *a) {
    for (int k = 0; k < p->request->n_runs; k++) {
        const plot_run *run = &p->request->runs[k];
        bool smoothed = a->smooth && smooths(p, run);
        put(&p->sheet, "<g ");
        put_colour(p, k);
        put(&p->sheet, ">\n");
        if (smoothed) draw_path(p, a, collect(p, run, a->metric, a->log_y), "raw");
        int n = collect(p, run, a->metric, a->log_y);
        if (smoothed) smooth(p, n);
        draw_path(p, a, n, "line");
        if (is_sparse(a->metric)) draw_dots(p, a, run, a->metric);
        if (a->dots >= 0) draw_dots(p, a, run, a->dots);
        put(&p->sheet, "</g>\n");
    }
}

/* -- the table that is the legend -- */

enum { COLUMN_STEPS, COLUMN_TOKENS, COLUMN_METRIC, COLUMN_VAL_LOSS, COLUMN_VAL_BPB, N_COLUMNS };
static const int column_right[N_COLUMNS] = {510, 620, 725, 830, RIGHT};

static void put_cell(plot *p, int column, int y, const char *class, const char *text) {
    put(&p->sheet, "<text class=\"%s\" text-anchor=\"end\" x=\"%d\" y=\"%d\">%s</text>", class,
        column_right[column], y, text);
}

/* The last value of the drawn curve, or the lowest one. */
static double curve_value(const plot *p, const plot_run *run, int metric, bool lowest) {
    int n = collect(p, run, metric, false);
    double value = (double)NAN;
    if (!lowest && !is_sparse(metric)) smooth(p, n);
    for (int i = 0; i < n; i++)
        if (isfinite(p->points[i].y) && (!lowest || !(p->points[i].y >= value)))
            value = p->points[i].y;
    return value;
}

static void put_value(plot *p, int column, int y, double value) {
    if (isnan(value)) return;
    double size = fabs(value);
    put_cell(p, column, y, "cell",
             text(size >= 1e6 || (size > 0 && size < 1e-3) ? "%.3g"
                  : size >= 1000                           ? "%.0f"
                                                           : "%.4f",
                  value));
}

static void put_count(plot *p, int column, int y, double count) {
    if (!(count >= 0 && count < 9e18)) return;
    put_cell(p, column, y, "cell",
             count < 1e7   ? count_text((int64_t)count)
             : count < 1e9 ? text("%.2f M", count / 1e6)
                           : text("%.2f G", count / 1e9));
}

static void draw_row(plot *p, int k, int y) {
    const plot_run *run = &p->request->runs[k];
    put(&p->sheet, "<g ");
    put_colour(p, k);
    put(&p->sheet, "><path class=\"line\" d=\"M%d %dh22\"/></g>", LEFT, y - 4);
    put(&p->sheet, "<text class=\"cell\" x=\"%d\" y=\"%d\">", LEFT + 32, y);
    put_name(&p->sheet, run->name);
    put(&p->sheet, "</text>");
    if (run->n > 0) {
        put_count(p, COLUMN_STEPS, y, run->points[run->n - 1].step);
        put_count(p, COLUMN_TOKENS, y, run->points[run->n - 1].tokens);
    }
    put_value(p, COLUMN_METRIC, y, curve_value(p, run, p->request->metric, false));
    put_value(p, COLUMN_VAL_LOSS, y, curve_value(p, run, run_metric_find("val_loss"), true));
    put_value(p, COLUMN_VAL_BPB, y, curve_value(p, run, run_metric_find("val_bpb"), true));
    put(&p->sheet, "\n");
}

static void draw_table(plot *p) {
    static const char *const heads[N_COLUMNS] = {"steps", "tokens", NULL, "best val. loss",
                                                 "bits/byte"};
    for (int c = 0; c < N_COLUMNS; c++)
        put_cell(p, c, TABLE_TOP, "soft",
                 heads[c] != NULL ? heads[c] : run_metric_name(p->request->metric));
    put(&p->sheet, "\n<path class=\"grid\" d=\"M%d %dH%d\"/>\n", LEFT, TABLE_TOP + 8, RIGHT);
    for (int k = 0; k < p->request->n_runs; k++)
        draw_row(p, k, TABLE_TOP + 6 + TABLE_ROW * (k + 1));
}

/* -- the picture -- */

static void put_style(sheet *t) {
    put(t, "<style>\n"
           "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;"
           "font-size:13px;fill:#1f2328}\n"
           ".title{font-size:20px;font-weight:600}.head{font-weight:600}\n"
           ".soft{font-size:12px;fill:#59636e}.cell{font-variant-numeric:tabular-nums}\n"
           ".back{fill:#ffffff}.grid{stroke:#e3e7ec;fill:none}.axis{stroke:#8c959f;fill:none}\n");
    put(t, ".line,.raw,.sparse{fill:none;stroke-width:2;stroke-linejoin:round;"
           "stroke-linecap:round}\n"
           ".raw{stroke-width:1;opacity:.3}.sparse{stroke-width:1.5}\n"
           ".dot{fill:#ffffff;stroke-width:1.8;stroke-dasharray:none}\n"
           "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.soft{fill:#9198a1}"
           ".back,.dot{fill:#0d1117}.grid{stroke:#262c36}.axis{stroke:#6e7681}}\n"
           "</style>\n");
}

static void open_picture(plot *p, int height) {
    sheet *t = &p->sheet;
    const plot_request *q = p->request;
    put(t,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
        "viewBox=\"0 0 %d %d\" role=\"img\">\n<title>%s of ",
        WIDTH, height, WIDTH, height, metric_title(q->metric));
    for (int k = 0; k < q->n_runs; k++) {
        if (k > 0) put(t, ", ");
        put_name(t, q->runs[k].name);
    }
    put(t, "</title>\n");
    put_style(t);
    put(t, "<rect class=\"back\" width=\"%d\" height=\"%d\"/>\n", WIDTH, height);
    put(t, "<text class=\"title\" x=\"%d\" y=\"40\">", LEFT);
    if (q->n_runs == 1)
        put_name(t, q->runs[0].name);
    else
        put(t, "%d runs", q->n_runs);
    put(t, "</text>\n");
}

/* Says what the lines and dots are. */
static void set_hint(const plot *p, panel *a) {
    bool dots = false, means = false;
    for (int k = 0; k < p->request->n_runs; k++) {
        const plot_run *run = &p->request->runs[k];
        dots |= a->dots >= 0 && collect(p, run, a->dots, a->log_y) > 0;
        means |= a->smooth && smooths(p, run);
    }
    const char *line =
        means  ? text("line: mean over \u00b1%.3g %% of the run", 100 * p->request->smooth)
        : dots ? "line: training"
               : "";
    snprintf(a->hint, sizeof a->hint, "%s%s", line, dots ? ", dots: validation" : "");
}

static status fit_large(plot *p, int top) {
    int loss = run_metric_find("loss"), metric = p->request->metric;
    panel *a = &p->panels[p->n_panels++];
    *a = (panel){.title = metric_title(metric),
                 .metric = metric,
                 .dots = metric == loss ? run_metric_find("val_loss") : -1,
                 .log_y = p->request->log_y,
                 .from_zero = metric == run_metric_find("lr") && !p->request->log_y,
                 .smooth = !is_sparse(metric) && metric != run_metric_find("lr"),
                 .ticks = 10,
                 .title_above = has_upper_axis(p) ? 40 : 16,
                 .left = LEFT,
                 .right = RIGHT,
                 .top = top,
                 .bottom = top + LARGE_HEIGHT};
    set_hint(p, a);
    if (fit_panel(p, a, NULL)) return STATUS_OK;
    return FAIL(F_MISSING, text("there is no value of \"%s\" to draw", run_metric_name(metric)),
                p->request->n_runs > 0 ? p->request->runs[0].name : "plot",
                a->log_y || p->request->log_x
                    ? "no line of the metrics has a number above 0 for it, as log axes need"
                    : "no line of the metrics has a finite number for it",
                "train longer, or choose another --metric");
}

/* Validation and learning rate, those that there are, with the steps of the large panel. */
static void fit_small(plot *p, int top) {
    const panel *large = &p->panels[0];
    value_range x = {large->x.low, large->x.high};
    int metrics[2] = {run_metric_find("val_bpb"), run_metric_find("lr")};
    for (int i = 0; i < 2; i++) {
        panel a = {.title = metric_title(metrics[i]),
                   .metric = metrics[i],
                   .dots = -1,
                   .from_zero = i == 1,
                   .ticks = 5,
                   .title_above = 16,
                   .left = LEFT,
                   .right = RIGHT,
                   .top = top,
                   .bottom = top + SMALL_HEIGHT};
        if (metrics[i] != large->metric && fit_panel(p, &a, &x)) p->panels[p->n_panels++] = a;
    }
    for (int i = 1; i < p->n_panels && p->n_panels == 3; i++) { /* side by side */
        panel *a = &p->panels[i];
        a->x.from = a->left = i == 1 ? LEFT : RIGHT - (RIGHT - LEFT - GAP) / 2;
        a->x.to = a->right = a->left + (RIGHT - LEFT - GAP) / 2;
    }
}

/* What x means, and how steps and tokens go together. */
static void choose_x(plot *p) {
    double longest = 0;
    p->x = p->request->x;
    p->ratio = 0;
    for (int k = 0; k < p->request->n_runs; k++) {
        const plot_run *run = &p->request->runs[k];
        if (run->n == 0) continue;
        const run_point *last = &run->points[run->n - 1];
        double ratio = last->tokens / last->step;
        if (isfinite(last->time)) longest = fmax(longest, last->time);
        bool agrees = p->ratio == 0 || fabs(ratio - p->ratio) <= 0.001 * p->ratio;
        p->ratio = ratio > 1e-6 && ratio < 1e18 && agrees ? ratio : (double)NAN;
    }
    if (!(p->ratio > 0)) p->ratio = 0;
    if (p->x == PLOT_X_AUTO) p->x = p->ratio > 0 ? PLOT_X_STEPS : PLOT_X_TOKENS;
    bool hours = longest >= 7200, minutes = longest >= 180;
    p->time_unit = hours ? 3600 : minutes ? 60 : 1;
    p->time_name = hours     ? "hours of training"
                   : minutes ? "minutes of training"
                             : "seconds of training";
}

static status draw(plot *p) {
    choose_x(p);
    int top = TABLE_TOP + TABLE_ROW * (p->request->n_runs + 1) + HEAD_HEIGHT +
              (has_upper_axis(p) ? 20 : 0);
    TRY(fit_large(p, top));
    top += LARGE_HEIGHT + FOOT_HEIGHT;
    fit_small(p, top + HEAD_HEIGHT - 8);
    open_picture(p, p->n_panels > 1 ? p->panels[1].bottom + FOOT_HEIGHT : top);
    draw_table(p);
    for (int i = 0; i < p->n_panels; i++)
        draw_frame(p, &p->panels[i]);
    if (has_upper_axis(p)) draw_upper_axis(p, &p->panels[0]);
    for (int i = 0; i < p->n_panels; i++)
        draw_curves(p, &p->panels[i]);
    put(&p->sheet, "</svg>\n");
    return p->sheet.failed ? STATUS_MEMORY : STATUS_OK;
}

status plot_svg(const plot_request *request, char **svg, size_t *n) {
    plot p = {.request = request};
    size_t longest = 1;
    for (int k = 0; k < request->n_runs; k++)
        if ((size_t)request->runs[k].n > longest) longest = (size_t)request->runs[k].n;
    p.points = mem_zalloc(longest, sizeof *p.points);
    p.values = mem_zalloc(longest, sizeof *p.values);
    p.sums = mem_zalloc(longest + 1, sizeof *p.sums);
    p.counts = mem_zalloc(longest + 1, sizeof *p.counts);
    bool ready = p.points != NULL && p.values != NULL && p.sums != NULL && p.counts != NULL;
    status s = ready ? draw(&p) : STATUS_MEMORY;
    mem_free(p.points);
    mem_free(p.values);
    mem_free(p.sums);
    mem_free(p.counts);
    if (s != STATUS_OK) mem_free(p.sheet.bytes);
    *svg = s == STATUS_OK ? p.sheet.bytes : NULL;
    *n = s == STATUS_OK ? p.sheet.n : 0;
    return s;
}
