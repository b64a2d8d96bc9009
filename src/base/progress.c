/* progress.c - one line that moves, and the small words in it (durations, sizes, curves).
 *
 * How. On a terminal the line is redrawn in place with a carriage return and "erase to the end of
 * line", at most ten times a second, and cut to the width of the terminal so that it never wraps.
 * Elsewhere a plain line every 10 s keeps logs short. Rates are averages since the start of this
 * process (`first` is left out), which keeps a resumed run honest.
 */
#include "base/progress.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1
#define PLAIN_SECONDS  10.0
#define EVENT_SECONDS  1.0
#define BAR_WIDTH      20
#define LABEL_WIDTH    10

static progress_mode mode = PROGRESS_AUTO;
static _Atomic bool line_drawn; /* the cursor stands at the end of a bar; any thread may log */

void progress_set_mode(progress_mode wanted) {
    mode = wanted;
}

static progress_mode mode_now(void) {
    if (mode != PROGRESS_AUTO) return mode;
    const char *term = getenv("TERM");
    bool dumb = term == NULL || strcmp(term, "dumb") == 0;
    return isatty(STDERR_FILENO) && !dumb ? PROGRESS_BAR : PROGRESS_PLAIN;
}

bool locale_utf8(void) {
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (int i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        if (value == NULL || value[0] == '\0') continue;
        return strcasestr(value, "utf-8") != NULL || strcasestr(value, "utf8") != NULL;
    }
    return false;
}

const char *duration_text(double seconds) {
    if (!(seconds >= 0) || seconds > 1e10) return "unknown";
    if (seconds < 9.95) return text("%.1f s", seconds);
    int64_t s = (int64_t)(seconds + 0.5);
    if (s < 60) return text("%d s", (int)s);
    if (s < 3600) return text("%d min %02d s", (int)(s / 60), (int)(s % 60));
    return text("%" PRId64 " h %02d min", s / 3600, (int)(s % 3600 / 60));
}

const char *bytes_text(double bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int unit = 0;
    while (fabs(bytes) >= 1023.5 && unit < 4) {
        bytes /= 1024;
        unit++;
    }
    return text(unit > 0 && fabs(bytes) < 9.95 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
}

const char *count_text(int64_t n) {
    char digits[24], out[32];
    int length = snprintf(digits, sizeof digits, "%" PRId64, n), to = 0;
    for (int i = 0; i < length; i++) {
        out[to++] = digits[i];
        int left = length - 1 - i;
        if (left > 0 && left % 3 == 0 && digits[i] != '-') out[to++] = ',';
    }
    out[to] = '\0';
    return text("%s", out);
}

const char *sparkline_text(const double *values, int n) {
    enum { MOST = 40 };
    if (n > MOST) values += n - MOST, n = MOST;
    double low = HUGE_VAL, high = -HUGE_VAL;
    for (int i = 0; i < n; i++) {
        if (!isfinite(values[i])) continue;
        low = fmin(low, values[i]);
        high = fmax(high, values[i]);
    }
    bool utf8 = locale_utf8();
    char out[4 * MOST + 1], *to = out;
    for (int i = 0; i < n; i++) {
        double share = high > low ? (values[i] - low) / (high - low) : 0.5;
        if (!isfinite(values[i])) {
            *to++ = '!';
        } else if (utf8) { /* U+2581 to U+2588 */
            memcpy(to, "\xE2\x96", 2);
            to[2] = (char)(0x81 + (int)(share * 7 + 0.5));
            to += 3;
        } else {
            *to++ = (char)('0' + (int)(share * 9 + 0.5));
        }
    }
    *to = '\0';
    return text("%s", out);
}

/* "4.4" or "1,200": whole numbers for counts, one decimal for small parts. */
static const char *amount(double v) {
    return v == floor(v) || v >= 1000 ? count_text((int64_t)(v + 0.5)) : text("%.1f", v);
}

static int terminal_width(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) return size.ws_col;
    return 80;
}

/* Cuts to `width` columns, counting each UTF-8 sequence as one. */
static void cut(char *line, int width) {
    int columns = 0;
    for (char *p = line; *p != '\0'; p++) {
        if (((unsigned char)*p & 0xC0) == 0x80) continue;
        if (columns++ < width) continue;
        *p = '\0';
        return;
    }
}

static double rate_of(const progress *p, double now) {
    double seconds = now - p->started;
    return seconds > 0.05 ? (p->done - p->first) / seconds : 0;
}

static double eta_of(const progress *p, double now) {
    double rate = rate_of(p, now);
    return rate > 0 && p->total > 0 ? fmax(0, (p->total - p->done) / rate) : -1;
}

static void draw_bar(const progress *p, double now, const char *detail) {
    char line[1024], bar[BAR_WIDTH + 3] = "";
    if (p->total > 0) {
        double share = fmin(1, fmax(0, p->done / p->total));
        int filled = (int)(share * BAR_WIDTH);
        bar[0] = '[';
        memset(bar + 1, '#', (size_t)filled);
        memset(bar + 1 + filled, ' ', (size_t)(BAR_WIDTH - filled));
        bar[BAR_WIDTH + 1] = ']';
        bar[BAR_WIDTH + 2] = '\0';
    }
    double rate = rate_of(p, now), eta = eta_of(p, now);
    snprintf(line, sizeof line, "%-*s %s %s%s%s %s%s%s%s%s%s", LABEL_WIDTH, p->label, bar,
             amount(p->done), p->total > 0 ? "/" : "", p->total > 0 ? amount(p->total) : "",
             p->unit, rate > 0 ? text("  %.3g/s", rate) : "", eta >= 0 ? "  ETA " : "",
             eta >= 0 ? duration_text(eta) : "", detail != NULL ? "  " : "",
             detail != NULL ? detail : "");
    cut(line, terminal_width() - 1);
    fprintf(stderr, "\r%s\033[K", line);
    line_drawn = true;
}

static void print_plain(const progress *p, double now, const char *detail) {
    double eta = eta_of(p, now);
    fprintf(stderr, "%-*s %s%s%s %s%s%s%s%s%s\n", LABEL_WIDTH, p->label, amount(p->done),
            p->total > 0 ? "/" : "", p->total > 0 ? amount(p->total) : "", p->unit,
            p->total > 0 ? text("  %.0f %%", 100 * p->done / p->total) : "",
            eta >= 0 ? "  ETA " : "", eta >= 0 ? duration_text(eta) : "",
            detail != NULL ? "  " : "", detail != NULL ? detail : "");
}

static void print_event(const progress *p, double now, const char *detail, const char *summary) {
    double eta = eta_of(p, now);
    json_t *event = json_pack("{ss ss sf sf ss sf sf ss* ss*}", "event",
                              summary != NULL ? "end" : "progress", "label", p->label, "step",
                              p->done, "total", p->total, "unit", p->unit, "rate", rate_of(p, now),
                              "eta_s", eta >= 0 ? eta : 0.0, "detail", detail, "summary", summary);
    char *line = event != NULL ? json_line(event) : NULL;
    if (line != NULL) fprintf(stderr, "%s\n", line);
    mem_free(line);
    json_decref(event);
}

void progress_start(progress *p, const char *label, const char *unit, double total, double first) {
    *p = (progress){.label = label, .unit = unit, .total = total, .done = first, .first = first};
    p->started = clock_seconds();
    p->drawn = mode_now() == PROGRESS_PLAIN ? p->started : 0; /* no plain line at second 0 */
}

void progress_show(progress *p, double done, const char *detail) {
    p->done = done;
    double now = clock_seconds(), since = now - p->drawn;
    switch (mode_now()) {
    case PROGRESS_AUTO:
    case PROGRESS_NONE: return;
    case PROGRESS_BAR:
        if (since < REDRAW_SECONDS) return;
        draw_bar(p, now, detail);
        break;
    case PROGRESS_PLAIN:
        if (since < PLAIN_SECONDS) return;
        print_plain(p, now, detail);
        break;
    case PROGRESS_JSON:
        if (since < EVENT_SECONDS && done < p->total) return;
        print_event(p, now, detail, NULL);
        break;
    }
    p->drawn = now;
}

void progress_end(progress *p, const char *summary) {
    double now = clock_seconds();
    switch (mode_now()) {
    case PROGRESS_AUTO:
    case PROGRESS_NONE: return;
    case PROGRESS_JSON: print_event(p, now, NULL, summary != NULL ? summary : ""); return;
    case PROGRESS_BAR:
        if (summary == NULL) {
            draw_bar(p, now, NULL);
            fprintf(stderr, "\n");
            line_drawn = false;
            return;
        }
        progress_hide();
        break;
    case PROGRESS_PLAIN:
        if (summary == NULL) {
            print_plain(p, now, NULL);
            return;
        }
        break;
    }
    fprintf(stderr, "%-*s %s\n", LABEL_WIDTH, p->label, summary);
}

void progress_hide(void) {
    if (line_drawn) fprintf(stderr, "\r\033[K");
    line_drawn = false;
}
