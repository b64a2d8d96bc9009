/* profile_report.c - see profile_report.h.
 *
 * The floor of a row is the time its work would take on this machine at best: the larger of its
 * FLOPs at the measured peak of their kind (registers only) and its bytes at the traffic of a copy
 * beyond the caches, both with all threads. The ratio is that time over the time it took: 1 is the
 * floor. Rows that move numbers a cache still holds come out above 1.
 *
 * Mind: floors are measured once the profiled steps are over, so they disturb none of them.
 */
#include "train/profile_report.h"

#include "kernels/kernels_bench.h"

#include <inttypes.h>

#define FLOOR_SECONDS 0.25 /* of looking for each floor */

status train_profile_fill(train_profile *out, const profile *p, gemm_type products) {
    *out = (train_profile){.steps = p->steps, .seconds = p->seconds};
    if (p->steps == 0) return STATUS_OK;
    out->n = profile_sorted(p, out->rows);
    out->products = gemm_type_name(products);
    out->peak[PROFILE_F32] = 1e9 * bench_peak_here(GEMM_F32, FLOOR_SECONDS);
    out->peak[PROFILE_BF16] =
        products == GEMM_F32 ? 0 : 1e9 * bench_peak_here(products, FLOOR_SECONDS);
    return bench_traffic(FLOOR_SECONDS, &out->traffic);
}

double train_profile_floor(const train_profile *p, const profile_row *row) {
    double peak = p->peak[row->unit], arithmetic = peak > 0 ? row->flops / peak : 0;
    double memory = p->traffic > 0 ? row->bytes / p->traffic : 0;
    return arithmetic > memory ? arithmetic : memory;
}

/* -- as JSON -- */

static json_t *row_json(const train_profile *p, const profile_row *row) {
    double steps = (double)p->steps, floor = train_profile_floor(p, row);
    double seconds = row->seconds > 0 ? row->seconds : 1e-12;
    return json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:f}", "op", row->op, "part", row->part,
                     "laps_per_step", (double)row->laps / steps, "seconds_per_step",
                     row->seconds / steps, "share", p->seconds > 0 ? row->seconds / p->seconds : 0,
                     "flops_per_second", row->flops / seconds, "bytes_per_second",
                     row->bytes / seconds, "floor_ratio", floor / seconds);
}

json_t *train_profile_json(const train_profile *p) {
    json_t *rows = json_array();
    bool ok = rows != NULL;
    for (int i = 0; ok && i < p->n; i++)
        ok = json_array_append_new(rows, row_json(p, &p->rows[i])) == 0;
    if (!ok) {
        json_decref(rows);
        return NULL;
    }
    return json_pack("{s:I, s:f, s:s, s:{s:f, s:f, s:f}, s:o}", "steps", (json_int_t)p->steps,
                     "seconds_per_step", p->steps > 0 ? p->seconds / (double)p->steps : 0,
                     "products", p->products != NULL ? p->products : "", "floors",
                     "f32_flops_per_second", p->peak[PROFILE_F32], "bf16_flops_per_second",
                     p->peak[PROFILE_BF16], "bytes_per_second", p->traffic, "rows", rows);
}

/* -- as text -- */

/* A rate in units of 1e9, blank if there is none. */
static const char *rate_text(double amount, double seconds) {
    return amount > 0 && seconds > 0 ? text("%.1f", 1e-9 * amount / seconds) : "";
}

static void print_row(FILE *out, const train_profile *p, const profile_row *row) {
    double steps = (double)p->steps, floor = train_profile_floor(p, row);
    fprintf(out, "%-13s %-17s %9.2f %6.1f %% %7.0f %9s %8s %8s\n", row->op, row->part,
            1e3 * row->seconds / steps, p->seconds > 0 ? 100 * row->seconds / p->seconds : 0,
            (double)row->laps / steps, rate_text(row->flops, row->seconds),
            rate_text(row->bytes, row->seconds),
            floor > 0 && row->seconds > 0 ? text("%.2f", floor / row->seconds) : "");
}

void train_profile_print(FILE *out, const train_profile *p) {
    double sum = 0;
    if (p->steps == 0) return;
    fprintf(out, "%" PRId64 " steps of %.2f ms; floors: f32 %.0f GFLOP/s", p->steps,
            1e3 * p->seconds / (double)p->steps, 1e-9 * p->peak[PROFILE_F32]);
    if (p->peak[PROFILE_BF16] > 0)
        fprintf(out, ", %s %.0f GFLOP/s", p->products, 1e-9 * p->peak[PROFILE_BF16]);
    fprintf(out, ", memory %.1f GB/s\n", 1e-9 * p->traffic);
    fprintf(out, "%-13s %-17s %9s %8s %7s %9s %8s %8s\n", "op", "part", "ms/step", "share", "laps",
            "GFLOP/s", "GB/s", "of floor");
    for (int i = 0; i < p->n; i++) {
        print_row(out, p, &p->rows[i]);
        sum += p->rows[i].seconds;
    }
    fprintf(out, "%-13s %-17s %9.2f %6.1f %%\n", "sum", "", 1e3 * sum / (double)p->steps,
            p->seconds > 0 ? 100 * sum / p->seconds : 0);
}
