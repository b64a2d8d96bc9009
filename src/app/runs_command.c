/* runs_command.c - `fathom runs`: what the run folders hold, side by side and over time.
 *
 * Everything is read from files that training wrote (run_record.h), so it works on a run that is
 * still going, was killed, or was copied from another machine.
 *
 * compare sets two runs against each other at equal tokens. The verdict is about the mean training
 * loss of the last tenth of the common stretch: it says "not distinguishable" unless the means are
 * more than two standard errors apart. Steps of one run are not independent, so this is a rule of
 * thumb; the interval over documents is `fathom eval`.
 */
#include "app/app.h"
#include "app/plot.h"
#include "app/run_record.h"

#include "base/clock.h"
#include "base/progress.h"
#include "train/checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CURVE_VALUES 40

enum { TO_CSV, TO_JSON };

typedef struct runs_settings {
    const char *metric;
    int to; /* TO_... */
    bool csv, keep_best, log_x, log_y;
    int x; /* plot_x */
    double smooth, reached;
} runs_settings;

static const char *number_text(double x, const char *format) {
    return isnan(x) ? "-" : text(format, x);
}

static json_t *number_json(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static const run_point *last_point(const run_record *r) {
    return r->n > 0 ? &r->points[r->n - 1] : NULL;
}

static const char *state_text(const run_record *r) {
    const run_point *last = last_point(r);
    if (r->running) return "running";
    if (last == NULL) return "not begun";
    return last->step >= (double)r->settings.max_steps ? "done" : "stopped";
}

static double best_bpb(const run_record *r) {
    return r->best >= 0 ? r->points[r->best].val_bpb : (double)NAN;
}

/* -- ls -- */

static json_t *summary_json(const run_record *r) {
    const run_point *last = last_point(r);
    return json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:I}", "run", r->path, "size", r->settings.size,
        "state", state_text(r), "steps", (json_int_t)(last != NULL ? last->step : 0), "max_steps",
        (json_int_t)r->settings.max_steps, "tokens", number_json(last != NULL ? last->tokens : 0),
        "loss", number_json(last != NULL ? last->loss : (double)NAN), "best_val_bpb",
        number_json(best_bpb(r)), "bytes", (json_int_t)r->bytes);
}

static status list_one(command_context *c, json_t *list, const char *path) {
    run_record r;
    if (!run_is_there(path)) return STATUS_OK;
    if (run_record_read(&r, path) != STATUS_OK) {
        TRY(command_warn(c, "%s cannot be read: %s", path, error_last()->what));
        return STATUS_OK;
    }
    const run_point *last = last_point(&r);
    say(c, "%-28s %-16s %9s/%-9s %9s %9s  %-9s %s\n", r.path, r.settings.size,
        count_text(last != NULL ? (int64_t)last->step : 0), count_text(r.settings.max_steps),
        number_text(last != NULL ? last->loss : (double)NAN, "%.4f"),
        number_text(best_bpb(&r), "%.4f"), state_text(&r), bytes_text((double)r.bytes));
    status s = json_array_append_new(list, summary_json(&r)) == 0 ? STATUS_OK : STATUS_MEMORY;
    run_record_clear(&r);
    return s;
}

static status runs_ls(command_context *c) {
    const char *folder = c->n_arguments > 0 ? c->arguments[0] : "runs";
    char **names = NULL, path[PATH_SIZE];
    int n = 0;
    json_t *list = json_array();
    if (path_is_folder(folder)) TRY(folder_list(folder, &names, &n));
    if (n > 0)
        say(c, "%-28s %-16s %9s/%-9s %9s %9s  %-9s %s\n", "run", "size", "step", "of", "loss",
            "bits/byte", "state", "files");
    status s = STATUS_OK;
    for (int i = 0; s == STATUS_OK && i < n; i++) {
        s = path_join(path, folder, names[i]);
        if (s == STATUS_OK) s = list_one(c, list, path);
    }
    folder_list_free(names, n);
    if (s == STATUS_OK && json_array_size(list) == 0) {
        say(c, "no runs in %s\n", folder);
        s = command_next(c, "fathom start");
    }
    if (s == STATUS_OK) return result_set(c, "runs", list);
    json_decref(list);
    return s;
}

/* -- show -- */

static status last_sample(command_context *c, const run_record *r) {
    char path[PATH_SIZE], *bytes;
    size_t n;
    json_t *o;
    TRY(path_join(path, r->path, "samples.jsonl"));
    if (!path_exists(path)) return STATUS_OK;
    TRY(file_read(path, 0, &bytes, &n));
    if (n > 0 && bytes[n - 1] == '\n') n--;
    size_t at = n;
    while (at > 0 && bytes[at - 1] != '\n')
        at--;
    status s = n > at ? json_parse(bytes + at, n - at, path, &o) : STATUS_OK;
    if (s == STATUS_OK && n > at) {
        char *line = json_line(o); /* escaped: a sample may have several lines */
        say(c, "sample      %s\n", line != NULL ? line : "(cannot be shown)");
        mem_free(line);
        s = result_set(c, "sample", json_incref(o));
        json_decref(o);
    }
    mem_free(bytes);
    return s;
}

static void show_plan(const command_context *c, const run_record *r) {
    const json_t *memory = json_object_get(r->plan, "memory_bytes"),
                 *actual = json_object_get(r->plan, "actual");
    if (json_is_object(memory) && json_is_object(actual))
        say(c, "memory      %s planned, %s used at most\n",
            bytes_text(json_number_value(json_object_get(memory, "total"))),
            bytes_text(json_number_value(json_object_get(actual, "memory_bytes"))));
}

/* Means of metric i over equal stretches of the run, for a line of block characters. */
static int curve_values(const run_record *r, int metric, double *values) {
    const run_point *last = last_point(r);
    int n = 0;
    if (last == NULL) return 0;
    for (int k = 0; k < CURVE_VALUES; k++) {
        int points;
        double error, from = last->tokens * k / CURVE_VALUES,
                      to = last->tokens * (k + 1) / CURVE_VALUES;
        double mean = run_metric_mean(r, metric, from, to, &points, &error);
        if (points > 0) values[n++] = mean;
    }
    return n;
}

static status show_checkpoints(command_context *c, const run_record *r) {
    int64_t *steps;
    int n;
    TRY(checkpoint_list(r->path, &steps, &n));
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        if (json_array_append_new(list, json_integer(steps[i])) != 0) break;
    if (n > 0)
        say(c, "checkpoints %d, the newest of step %s; %s in all files\n", n,
            count_text(steps[n - 1]), bytes_text((double)r->bytes));
    mem_free(steps);
    return result_set(c, "checkpoints", list);
}

/* When the validation loss first was at most `loss`; at looks, so rather too late than too early. */
static status show_reached(command_context *c, const run_record *r, double loss) {
    int64_t at = run_first_at(r, loss);
    if (loss <= 0) return STATUS_OK;
    if (at < 0) {
        say(c, "reached     no validation at or below %.4f nats yet\n", loss);
        return result_set(c, "reached", json_null());
    }
    const run_point *p = &r->points[at];
    say(c, "reached     %.4f nats at step %s, after %s of steps (%s tokens)\n", p->val_loss,
        count_text((int64_t)p->step), duration_text(p->time), count_text((int64_t)p->tokens));
    return result_set(
        c, "reached",
        json_pack("{s:f, s:f, s:f}", "val_loss", p->val_loss, "step", p->step, "seconds", p->time));
}

static status show_run(command_context *c, const run_record *r, double reached) {
    const run_point *last = last_point(r);
    double curve[CURVE_VALUES];
    say(c, "run         %s (%s)\n", r->path, state_text(r));
    say(c, "model       %s, %s of %s\n", r->settings.size,
        r->settings.input != NULL ? "bytes" : "tokens",
        r->settings.input != NULL  ? r->settings.input
        : r->settings.data != NULL ? r->settings.data
                                   : "-");
    if (last != NULL) {
        int n = curve_values(r, run_metric_find("loss"), curve);
        const char *mfu = isfinite(last->mfu) ? text(", mfu %.1f %%", 100 * last->mfu) : "";
        say(c, "steps       %s of %s, %s tokens in %s (%s tok/s%s at the end)\n",
            count_text((int64_t)last->step), count_text(r->settings.max_steps),
            count_text((int64_t)last->tokens), duration_text(last->time),
            count_text(llround(last->tok_per_sec)), mfu);
        say(c, "loss        %.4f -> %s  %s\n", r->points[0].loss, number_text(last->loss, "%.4f"),
            sparkline_text(curve, n));
    }
    if (r->best >= 0)
        say(c, "validation  best %.4f nats per token, %.4f bits per byte at step %s\n",
            r->points[r->best].val_loss, r->points[r->best].val_bpb,
            count_text((int64_t)r->points[r->best].step));
    TRY(show_reached(c, r, reached));
    if (r->bad_lines > 0)
        TRY(command_warn(c, "%d lines of metrics.jsonl are not whole and were passed over",
                         r->bad_lines));
    show_plan(c, r);
    TRY(show_checkpoints(c, r));
    TRY(last_sample(c, r));
    TRY(result_set(c, "summary", summary_json(r)));
    return r->plan != NULL ? result_set(c, "plan", json_incref(r->plan)) : STATUS_OK;
}

static status runs_show(command_context *c) {
    const runs_settings *o = c->settings[0];
    run_record r;
    TRY(run_record_read(&r, c->arguments[0]));
    status s = show_run(c, &r, o->reached);
    run_record_clear(&r);
    TRY(s);
    return command_next(c, "fathom runs plot %s", c->arguments[0]);
}

/* -- compare -- */

static status compare_settings(command_context *c, const run_record *a, const run_record *b) {
    json_t *diff = json_object();
    for (int i = 0; i < train_options.n; i++) {
        const option *row = &train_options.rows[i];
        char left[256];
        if (row->flags & OPTION_FLAG_ONLY) continue;
        snprintf(left, sizeof left, "%s", option_value_text(row, &a->settings));
        const char *right = option_value_text(row, &b->settings);
        if (strcmp(left, right) == 0) continue;
        say(c, "%-18s %16s %16s\n", row->name, left[0] ? left : "-", right[0] ? right : "-");
        if (json_object_set_new(diff, row->name, json_pack("[s, s]", left, right)) != 0) {
            json_decref(diff);
            return STATUS_MEMORY;
        }
    }
    return result_set(c, "settings", diff);
}

/* Loss of both runs around five equal token counts. */
static status compare_curves(command_context *c, const run_record *a, const run_record *b,
                             double common) {
    int loss = run_metric_find("loss");
    json_t *rows = json_array();
    for (int k = 1; k <= 5; k++) {
        int n;
        double error, to = common * k / 5, from = to - common / 10;
        double x = run_metric_mean(a, loss, from, to, &n, &error),
               y = run_metric_mean(b, loss, from, to, &n, &error);
        say(c, "loss at %-10s %16s %16s\n", count_text(llround(to)), number_text(x, "%.4f"),
            number_text(y, "%.4f"));
        json_t *row =
            json_pack("{s:f, s:o, s:o}", "tokens", to, "a", number_json(x), "b", number_json(y));
        if (json_array_append_new(rows, row) != 0) {
            json_decref(rows);
            return STATUS_MEMORY;
        }
    }
    return result_set(c, "loss", rows);
}

static const char *verdict_text(const run_record *a, const run_record *b, double common,
                                double *difference) {
    int loss = run_metric_find("loss"), n, m;
    double error_a, error_b;
    double x = run_metric_mean(a, loss, 0.9 * common, common, &n, &error_a);
    double y = run_metric_mean(b, loss, 0.9 * common, common, &m, &error_b);
    *difference = x - y;
    if (n < 3 || m < 3) return "too few steps to tell";
    if (fabs(x - y) <= 2 * sqrt(error_a * error_a + error_b * error_b))
        return "not distinguishable";
    return x < y ? "the first is better" : "the second is better";
}

static status compare_runs(command_context *c, const run_record *a, const run_record *b) {
    const run_point *x = last_point(a), *y = last_point(b);
    if (x == NULL || y == NULL)
        return FAIL(F_MISSING, "there is nothing to compare", x == NULL ? a->path : b->path,
                    "this run has no line of metrics yet", "train it first");
    double common = fmin(x->tokens, y->tokens), difference;
    say(c, "%-18s %16s %16s\n", "", path_name(a->path), path_name(b->path));
    TRY(compare_settings(c, a, b));
    TRY(compare_curves(c, a, b, common));
    say(c, "%-18s %16s %16s\n", "best bits/byte", number_text(best_bpb(a), "%.4f"),
        number_text(best_bpb(b), "%.4f"));
    say(c, "%-18s %16s %16s\n", "tokens", count_text((int64_t)x->tokens),
        count_text((int64_t)y->tokens));
    say(c, "%-18s %16s %16s\n", "time", duration_text(x->time), duration_text(y->time));
    const char *verdict = verdict_text(a, b, common, &difference);
    say(c, "verdict: at %s tokens %s (mean loss %+.4f)\n", count_text(llround(common)), verdict,
        difference);
    TRY(result_set(c, "best_val_bpb",
                   json_pack("[o, o]", number_json(best_bpb(a)), number_json(best_bpb(b)))));
    TRY(result_set(c, "difference", number_json(difference)));
    return result_set(c, "verdict", json_string(verdict));
}

static status runs_compare(command_context *c) {
    run_record a, b;
    TRY(run_record_read(&a, c->arguments[0]));
    status s = run_record_read(&b, c->arguments[1]);
    if (s == STATUS_OK) {
        s = compare_runs(c, &a, &b);
        run_record_clear(&b);
    }
    run_record_clear(&a);
    return s;
}

/* -- plot and export: a picture, a sketch in the terminal, or the numbers -- */

static status find_metric(const runs_settings *s, int *metric) {
    const char *names[32];
    int n = 0;
    for (const char *name; n < 32 && (name = run_metric_name(n)) != NULL; n++)
        names[n] = name;
    *metric = run_metric_find(s->metric);
    if (*metric >= 0) return STATUS_OK;
    int near = word_nearest(s->metric, names, n);
    return FAIL(F_BAD_VALUE, text("there is no metric \"%s\"", s->metric), "--metric",
                near >= 0 ? text("the nearest is \"%s\"", names[near]) : "no name is near",
                "loss, val_loss, val_bpb, lr, grad_norm, tok_per_sec, mfu and mem_bytes are the "
                "usual ones");
}

/* Everything as comma-separated values; one column if `only` >= 0. */
static void write_csv(const command_context *c, const run_record *r, int only) {
    for (int i = 0; run_metric_name(i) != NULL; i++)
        if (only < 0 || i == 0 || i == only) say(c, "%s%s", i > 0 ? "," : "", run_metric_name(i));
    say(c, "\n");
    for (int k = 0; k < r->n; k++) {
        if (only >= 0 && isnan(run_metric(&r->points[k], only))) continue;
        for (int i = 0; run_metric_name(i) != NULL; i++) {
            double x = run_metric(&r->points[k], i);
            if (only >= 0 && i != 0 && i != only) continue;
            say(c, "%s%s", i > 0 ? "," : "", isnan(x) ? "" : text("%.10g", x));
        }
        say(c, "\n");
    }
}

#define PLOT_ROWS 12

/* A scatter of the curve's means in PLOT_ROWS lines, the highest value on top. */
static void draw_plot(const command_context *c, const double *values, int n, double tokens) {
    double low = values[0], high = values[0];
    for (int i = 1; i < n; i++) {
        low = fmin(low, values[i]);
        high = fmax(high, values[i]);
    }
    double span = high > low ? high - low : 1;
    for (int row = 0; row < PLOT_ROWS; row++) {
        char line[2 * CURVE_VALUES + 1];
        memset(line, ' ', sizeof line);
        for (int i = 0; i < n; i++)
            if ((int)lround((high - values[i]) / span * (PLOT_ROWS - 1)) == row) line[2 * i] = '*';
        line[2 * n] = 0;
        say(c, "%10.4g | %s\n", high - span * row / (PLOT_ROWS - 1), line);
    }
    say(c, "%10s +-%.*s\n%10s   0 to %s tokens\n", "", 2 * n,
        "--------------------------------------------------------------------------------", "",
        count_text(llround(tokens)));
}

/* A look at the curve in the terminal; nothing if no point of it can be drawn. */
static status sketch_run(command_context *c, const run_record *r, const runs_settings *s,
                         int metric) {
    double values[CURVE_VALUES];
    int n = curve_values(r, metric, values);
    if (n == 0) return STATUS_OK;
    say(c, "%s of %s  %s\n", s->metric, r->path, sparkline_text(values, n));
    if (c->n_arguments > 1) return STATUS_OK;
    draw_plot(c, values, n, last_point(r)->tokens);
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        if (json_array_append_new(list, number_json(values[i])) != 0) break;
    return result_set(c, "values", list);
}

/* A record that can be drawn: some lines, and a word about those passed over. */
static status check_record(command_context *c, const run_record *r) {
    if (r->n == 0 && r->bad_lines > 0)
        return FAIL(
            F_RECORD, text("no line of %s/metrics.jsonl can be read", r->path),
            text("%s/metrics.jsonl, line %d and %d more", r->path, r->first_bad, r->bad_lines - 1),
            "a line is a JSON object with the numbers \"step\" and \"tokens\"",
            "look at the file: was it written by fathom train?");
    if (r->n == 0)
        return FAIL(F_MISSING, text("%s has no line of metrics yet", r->path), r->path,
                    "its metrics.jsonl is missing or empty", "train longer");
    if (r->bad_lines == 0) return STATUS_OK;
    return command_warn(c, "%s/metrics.jsonl: %d line%s passed over, the first is line %d", r->path,
                        r->bad_lines, r->bad_lines == 1 ? " was" : "s were", r->first_bad);
}

static status write_picture(command_context *c, const char *path, const char *svg, size_t n) {
    if (strcmp(path, "-") == 0) {
        if (c->json)
            return FAIL(F_USAGE, "-o - together with --json", "runs plot",
                        "standard output cannot hold both a picture and a result",
                        "name a file: -o plot.svg");
        if (c->dry_run || (fwrite(svg, 1, n, stdout) == n && fflush(stdout) == 0)) return STATUS_OK;
        return FAIL(F_IO, "the picture could not be written", "standard output",
                    "the pipe was closed or the disk is full", "name a file: -o plot.svg");
    }
    if (!c->dry_run) TRY(file_write(path, svg, n));
    say(c, "%s %s (%s)\n", c->dry_run ? "would write" : "picture", path, bytes_text((double)n));
    TRY(result_set(c, "bytes", json_integer((json_int_t)n)));
    return result_set(c, "picture", json_string(path));
}

static status draw_picture(command_context *c, const run_record *records, const runs_settings *s,
                           int metric) {
    char path[PATH_SIZE], *svg;
    size_t n;
    TRY(path_join(path, records[0].path, "plot.svg"));
    plot_run *runs = mem_zalloc((size_t)c->n_arguments, sizeof *runs);
    if (runs == NULL) return STATUS_MEMORY;
    for (int i = 0; i < c->n_arguments; i++)
        runs[i] = (plot_run){path_name(records[i].path), records[i].points, records[i].n};
    plot_request request = {.runs = runs,
                            .n_runs = c->n_arguments,
                            .metric = metric,
                            .x = (plot_x)s->x,
                            .log_x = s->log_x,
                            .log_y = s->log_y,
                            .smooth = s->smooth};
    status done = plot_svg(&request, &svg, &n);
    mem_free(runs);
    TRY(done);
    done = write_picture(c, c->output != NULL ? c->output : path, svg, n);
    mem_free(svg);
    return done;
}

static status plot_records(command_context *c, const run_record *records) {
    const runs_settings *s = c->settings[0];
    int metric;
    TRY(find_metric(s, &metric));
    for (int i = 0; i < c->n_arguments; i++)
        TRY(check_record(c, &records[i]));
    if (s->csv) {
        if (c->n_arguments > 1)
            return FAIL(F_USAGE, "--csv with more than one run", "runs plot",
                        "a column of values belongs to one run", "call it once for each run");
        write_csv(c, &records[0], metric);
        return STATUS_OK;
    }
    bool to_stdout = c->output != NULL && strcmp(c->output, "-") == 0;
    for (int i = 0; i < c->n_arguments && !to_stdout; i++)
        TRY(sketch_run(c, &records[i], s, metric));
    return draw_picture(c, records, s, metric);
}

static status runs_plot(command_context *c) {
    run_record *records = mem_zalloc((size_t)c->n_arguments, sizeof *records);
    if (records == NULL) return STATUS_MEMORY;
    status s = STATUS_OK;
    for (int i = 0; s == STATUS_OK && i < c->n_arguments; i++)
        s = run_record_read(&records[i], c->arguments[i]);
    if (s == STATUS_OK) s = plot_records(c, records);
    for (int i = 0; i < c->n_arguments; i++)
        run_record_clear(&records[i]);
    mem_free(records);
    return s;
}

static status export_json(command_context *c, const run_record *r) {
    json_t *rows = json_array();
    for (int k = 0; k < r->n; k++) {
        json_t *row = json_object();
        for (int i = 0; run_metric_name(i) != NULL; i++) {
            double x = run_metric(&r->points[k], i);
            if (!isnan(x) && json_object_set_new(row, run_metric_name(i), number_json(x)) != 0)
                break;
        }
        if (json_array_append_new(rows, row) != 0) {
            json_decref(rows);
            return STATUS_MEMORY;
        }
    }
    char *line = c->json ? NULL : json_line(rows);
    if (line != NULL) say(c, "%s\n", line);
    mem_free(line);
    return result_set(c, "metrics", rows);
}

static status runs_export(command_context *c) {
    const runs_settings *s = c->settings[0];
    run_record r;
    TRY(run_record_read(&r, c->arguments[0]));
    status done = STATUS_OK;
    if (s->to == TO_JSON || c->json)
        done = export_json(c, &r);
    else
        write_csv(c, &r, -1);
    run_record_clear(&r);
    return done;
}

/* -- watch -- */

static void show_progress(progress *p, const run_record *r) {
    const run_point *last = last_point(r);
    double curve[CURVE_VALUES];
    if (last == NULL) return;
    int n = curve_values(r, run_metric_find("loss"), curve);
    progress_show(p, last->step,
                  text("loss %s  val %s bits/byte  %s tok/s  %s", number_text(last->loss, "%.3f"),
                       number_text(best_bpb(r), "%.3f"), count_text(llround(last->tok_per_sec)),
                       sparkline_text(curve, n)));
}

static status runs_watch(command_context *c) {
    progress p;
    run_record r;
    bool first = true, running = true;
    while (running && !interrupted()) {
        TRY(run_record_read(&r, c->arguments[0]));
        const run_point *last = last_point(&r);
        if (first)
            progress_start(&p, path_name(r.path), "steps", (double)r.settings.max_steps,
                           last != NULL ? last->step : 0);
        first = false;
        show_progress(&p, &r);
        running = r.running;
        if (running) {
            run_record_clear(&r);
            nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
        }
    }
    progress_end(&p, NULL);
    if (running) return STATUS_OK; /* Ctrl-C ends the watching, not the run */
    say(c, "%s is not running: %s\n", r.path, state_text(&r));
    status s = result_set(c, "summary", summary_json(&r));
    run_record_clear(&r);
    return s;
}

/* -- rm -- */

static status remove_run(command_context *c, const run_record *r, bool keep_best) {
    char path[PATH_SIZE];
    bool yes;
    if (r->running)
        return FAIL(F_UNAVAILABLE, text("%s is being trained", r->path), r->path,
                    "a process holds its lock", "stop it first (Ctrl-C there)");
    TRY(path_join(path, r->path, "checkpoints"));
    const char *target = keep_best ? path : r->path;
    if (c->dry_run) {
        say(c, "would remove %s\n", target);
        return STATUS_OK;
    }
    TRY(command_confirm(c, text("remove %s (%s)?", target, bytes_text((double)r->bytes)), &yes));
    if (!yes)
        return FAIL(F_INTERRUPTED, "nothing was removed", target, "the answer was no",
                    "answer yes, or give -y");
    TRY(folder_remove(target));
    say(c, "removed %s\n", target);
    return result_set(c, "removed", json_string(target));
}

static status runs_rm(command_context *c) {
    const runs_settings *s = c->settings[0];
    status done = STATUS_OK;
    for (int i = 0; done == STATUS_OK && i < c->n_arguments; i++) {
        run_record r;
        TRY(run_record_read(&r, c->arguments[i]));
        done = remove_run(c, &r, s->keep_best);
        run_record_clear(&r);
    }
    return done;
}

/* -- the table -- */

#define AT(field) offsetof(runs_settings, field)
static const char *const x_names[] = {"auto", "steps", "tokens", "time", NULL}; /* plot_x */
static const option plot_rows[] = {
    {"runs", "metric", OPTION_STRING, AT(metric), "loss", "What to draw.",
     .flags = OPTION_FLAG_ONLY, .value = "METRIC"},
    {"runs", "x", OPTION_CHOICE, AT(x), "auto",
     "What goes to the right: auto, steps, tokens or time (auto = steps, or tokens where the runs "
     "have batches of different sizes).",
     .choices = x_names, .flags = OPTION_FLAG_ONLY},
    {"runs", "log-x", OPTION_BOOL, AT(log_x), "no", "Logarithmic steps.",
     .flags = OPTION_FLAG_ONLY},
    {"runs", "log-y", OPTION_BOOL, AT(log_y), "no", "Logarithmic values in the large panel.",
     .flags = OPTION_FLAG_ONLY},
    {"runs", "smooth", OPTION_REAL, AT(smooth), "0.02",
     "Share of the run on each side that the line is a mean over; 0 = as it is.", 0, 0.5,
     .flags = OPTION_FLAG_ONLY},
    {"runs", "csv", OPTION_BOOL, AT(csv), "no", "Values as CSV instead of a picture.",
     .flags = OPTION_FLAG_ONLY},
};
static const option show_rows[] = {
    {"runs", "reached", OPTION_REAL, AT(reached), "0",
     "Also say when the validation loss first was at most this, in nats.", 0, 1000,
     .flags = OPTION_FLAG_ONLY},
};
static const char *const export_forms[] = {"csv", "json", NULL};
static const option export_rows[] = {
    {"runs", "to", OPTION_CHOICE, AT(to), "csv", "Form of the result.", .choices = export_forms,
     .flags = OPTION_FLAG_ONLY},
};
static const option rm_rows[] = {
    {"runs", "keep-best", OPTION_BOOL, AT(keep_best), "no",
     "Remove checkpoints only; model/ and records stay.", .flags = OPTION_FLAG_ONLY},
};
static const option_table plot_options = {plot_rows, sizeof plot_rows / sizeof *plot_rows,
                                          sizeof(runs_settings), NULL};
static const option_table show_options = {show_rows, 1, sizeof(runs_settings), NULL};
static const option_table export_options = {export_rows, 1, sizeof(runs_settings), NULL};
static const option_table rm_options = {rm_rows, 1, sizeof(runs_settings), NULL};
static const option_table *const plot_tables[] = {&plot_options, NULL};
static const option_table *const show_tables[] = {&show_options, NULL};
static const option_table *const export_tables[] = {&export_options, NULL};
static const option_table *const rm_tables[] = {&rm_options, NULL};

static const command ls_command = {.name = "ls",
                                   .summary = "runs of a folder",
                                   .usage = "[FOLDER]",
                                   .examples = "fathom runs ls",
                                   .max_arguments = 1,
                                   .run = runs_ls};
static const command show_command = {.name = "show",
                                     .summary = "one run",
                                     .usage = "RUN",
                                     .examples = "fathom runs show runs/first\n"
                                                 "fathom runs show runs/play --reached 1.88",
                                     .options = show_tables,
                                     .min_arguments = 1,
                                     .max_arguments = 1,
                                     .run = runs_show};
static const command compare_command = {.name = "compare",
                                        .summary = "two runs at equal tokens",
                                        .usage = "RUN RUN",
                                        .examples = "fathom runs compare runs/a runs/b",
                                        .min_arguments = 2,
                                        .max_arguments = 2,
                                        .run = runs_compare};
static const command plot_command = {
    .name = "plot",
    .summary = "curves of runs as one SVG picture, as a sketch in the terminal, or as CSV",
    .usage = "RUN...",
    .examples = "fathom runs plot runs/first\n"
                "fathom runs plot runs/a runs/b --log-y -o both.svg\n"
                "fathom runs plot runs/first --metric val_bpb --csv",
    .notes = "Writes plot.svg into the folder of the first run, or FILE of -o (\"-\" = standard\n"
             "output). The picture needs nothing beside it: any browser shows it, on light and\n"
             "on dark pages.",
    .min_arguments = 1,
    .max_arguments = -1,
    .options = plot_tables,
    .run = runs_plot};
static const command watch_command = {.name = "watch",
                                      .summary = "follow a run until it ends",
                                      .usage = "RUN",
                                      .examples = "fathom runs watch runs/first",
                                      .min_arguments = 1,
                                      .max_arguments = 1,
                                      .run = runs_watch};
static const command rm_command = {.name = "rm",
                                   .summary = "remove runs, or their checkpoints",
                                   .usage = "RUN...",
                                   .examples = "fathom runs rm --keep-best runs/first",
                                   .min_arguments = 1,
                                   .max_arguments = -1,
                                   .options = rm_tables,
                                   .run = runs_rm};
static const command export_command = {.name = "export",
                                       .summary = "all metrics as CSV or JSON",
                                       .usage = "RUN",
                                       .examples =
                                           "fathom runs export runs/first --to csv > first.csv",
                                       .min_arguments = 1,
                                       .max_arguments = 1,
                                       .options = export_tables,
                                       .run = runs_export};
static const command *const children[] = {&ls_command,   &show_command,   &compare_command,
                                          &plot_command, &watch_command,  &runs_batch_command,
                                          &rm_command,   &export_command, NULL};
const command runs_command = {
    .name = "runs",
    .summary = "list, show, compare, plot, watch and remove runs",
    .examples = "fathom runs ls\n"
                "fathom runs show runs/first\n"
                "fathom runs compare runs/a runs/b",
    .children = children,
};
