/* fuzz_metrics.c - any bytes as metrics.jsonl: what can be read of it makes a sound picture, or a
 * report. */
#include "fuzz.h"
#include "svg_check.h"

#include "app/plot.h"

#include <stdlib.h>

const char *const fuzz_seeds[] = {
    "{\"step\":1,\"tokens\":512,\"time\":0.1,\"loss\":5.5,\"lr\":1e-3}\n"
    "{\"step\":2,\"tokens\":1024,\"time\":0.2,\"loss\":4.5,\"lr\":1e-3,\"val_loss\":5,"
    "\"val_bpb\":2}\n{\"step\":3,\"tok",
    "{\"step\":1e300,\"tokens\":1,\"loss\":-1e308}\n{\"step\":-5,\"tokens\":0,\"loss\":1e308}\n",
    "{\"step\":0,\"tokens\":0,\"loss\":null}\n[1]\n\n{\"step\":7,\"tokens\":1e-320,\"loss\":0}\n",
    NULL,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    run_record r = {.best = -1};
    int64_t before = mem_live_blocks();
    if (run_record_parse(&r, (const char *)data, size) == STATUS_OK) {
        const plot_run run = {"fuzz", r.points, r.n};
        for (int k = 0; k < 8; k++) {
            plot_request p = {&run,
                              1,
                              k < 4 ? run_metric_find("loss") : run_metric_find("val_bpb"),
                              (plot_x)(k & 3),
                              (k & 1) != 0,
                              (k & 2) != 0,
                              0.1 * k};
            char *svg;
            size_t n;
            status s = plot_svg(&p, &svg, &n);
            if (s != STATUS_OK && error_last()->id != F_MISSING) abort();
            if (s == STATUS_OK && svg_flaw(svg, n) != NULL) abort();
            mem_free(svg);
        }
    }
    run_record_clear(&r);
    if (mem_live_blocks() != before) abort();
    return 0;
}
