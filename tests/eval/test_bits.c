/* Bits per byte of models whose answer is known without a forward. */
#include "base/file.h"
#include "base/rng.h"
#include "eval/eval.h"
#include "model/presets.h"
#include "test.h"

#include <math.h>

#define BYTES 12345

/* A file whose last tenth is held out: 1,235 bytes. */
static status make_file(char path[PATH_SIZE]) {
    static uint8_t bytes[BYTES];
    rng r = rng_at(8, RNG_TEST, 0);
    for (int i = 0; i < BYTES; i++)
        bytes[i] = (uint8_t)('a' + rng_below(r, (uint64_t)i, 20));
    TRY(path_join(path, test_folder(), "text"));
    return file_write(path, bytes, BYTES);
}

static status make_bundle(bundle *b) {
    memset(b, 0, sizeof *b);
    TRY(model_init(&b->model, &model_preset_find("shakespeare-char")->config, DTYPE_F32));
    return tokenizer_byte(&b->tokenizer);
}

TEST(zero_weights_cost_eight_bits_a_byte) {
    char path[PATH_SIZE];
    bundle b;
    eval_result r;
    REQUIRE_OK(make_file(path));
    REQUIRE_OK(make_bundle(&b)); /* masters are zero: every logit is 0 */
    eval_options o = {.input = path, .quiet = true, .seed = 1};
    REQUIRE_OK(eval_run(&b, &o, &r));
    CHECK(fabs(r.bits_per_byte - 8) < 1e-6, "%.9f bits per byte", r.bits_per_byte);
    CHECK(fabs(r.low - 8) < 1e-6 && fabs(r.high - 8) < 1e-6, "[%.9f, %.9f]", r.low, r.high);
    CHECK(fabs(r.perplexity - 256) < 1e-3, "perplexity %.6f", r.perplexity);
    CHECK(r.bytes == r.tokens && r.tokens == 1234, "%d targets of 1,235 bytes", (int)r.tokens);
    bundle_close(&b);
}

TEST(rows_cover_every_target_once) {
    char path[PATH_SIZE];
    bundle b;
    REQUIRE_OK(make_file(path));
    REQUIRE_OK(make_bundle(&b));
    param_set_initialise(&b.model.params, 5);
    for (int seq_len = 17; seq_len <= 64; seq_len += 47) {
        eval_result r, again;
        eval_options o = {.input = path, .seq_len = seq_len, .quiet = true, .seed = 2};
        REQUIRE_OK(eval_run(&b, &o, &r));
        REQUIRE_OK(eval_run(&b, &o, &again));
        CHECK(r.tokens == 1234, "rows of %d: %d targets", seq_len, (int)r.tokens);
        CHECK(r.low < r.bits_per_byte && r.bits_per_byte < r.high, "%.4f outside [%.4f, %.4f]",
              r.bits_per_byte, r.low, r.high);
        CHECK(r.low == again.low && r.high == again.high && r.loss == again.loss, "not repeatable");
    }
    bundle_close(&b);
}

TEST(wrong_data_is_named) {
    bundle b;
    eval_result r;
    REQUIRE_OK(make_bundle(&b));
    eval_options o = {.data = text("%s/nothing", test_folder()), .quiet = true};
    CHECK(eval_run(&b, &o, &r) != STATUS_OK && error_last()->id == F_MISSING, "error %d",
          (int)error_last()->id);
    bundle_close(&b);
}
