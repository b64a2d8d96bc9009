/* test_reference.c - the forward agrees with a naive second implementation to 1e-10. */
#include "model_fixture.h"
#include "reference.h"

#include <math.h>

static double worst(const double *a, const double *b, int64_t n) {
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(a[i] - b[i]));
    return most;
}

/* Mean loss as the batch weighs it, from the reference's logits. */
static double loss_sum(const model_config *c, const double *logits, const int32_t *target,
                       int64_t n) {
    double sum = 0;
    for (int64_t t = 0; t < n; t++) {
        const double *row = logits + t * c->vocab_size;
        double total = 0;
        for (int64_t i = 0; i < c->vocab_size; i++)
            total += exp(row[i]);
        if (target[t] >= 0) sum += log(total) - row[target[t]];
    }
    return sum;
}

static void compare(const char *name, const model_config *c) {
    arena memory;
    model m;
    sample s;
    REQUIRE_OK(arena_init(&memory, "test", (size_t)1 << 30));
    if (!model_make(&m, c, DTYPE_F64, 11)) return;
    bool made = sample_make(&s, &memory, c, &(sample_shape){3, 21, 4, 8, 5});
    REQUIRE(made, "no sample");
    sample_want_logits(&s, c);
    int64_t n = s.batch.layout.n, V = c->vocab_size;
    double *logits = arena_zalloc(&memory, (size_t)(n * V) * sizeof *logits);
    double *mtp = arena_zalloc(&memory, (size_t)(n * V) * sizeof *mtp);
    model_result result = {0};
    bool ran =
        sample_run(&m, &memory, &s, (run_options){.logits = logits, .mtp_logits = mtp}, &result);
    REQUIRE(ran, "%s did not run", name);

    double loss = 0, mtp_loss = 0, balance = 0;
    for (int q = 0; q < s.batch.layout.n_sequences; q++) {
        int64_t at = s.start[q];
        reference r = {.m = &m,
                       .memory = &memory,
                       .n = s.start[q + 1] - at,
                       .ids = s.ids + at,
                       .next_id = s.next_id + at,
                       .first = s.first + at};
        REQUIRE(reference_run(&r), "no memory");
        double off = worst(logits + at * V, r.logits, r.n * V);
        CHECK(off < 1e-10, "%s, sequence %d: logits differ by %g", name, q, off);
        loss += loss_sum(c, r.logits, s.target + at, r.n);
        balance += r.balance_loss;
        if (c->n_mtp == 0) continue;
        off = worst(mtp + at * V, r.mtp_logits, r.n * V);
        CHECK(off < 1e-10, "%s, sequence %d: MTP logits differ by %g", name, q, off);
        mtp_loss += loss_sum(c, r.mtp_logits, s.target_mtp + at, r.n);
    }
    CHECK(fabs(loss - result.loss_sum) < 1e-9, "%s: loss %.12f, reference %.12f", name,
          result.loss_sum, loss);
    CHECK(fabs(mtp_loss - result.mtp_sum) < 1e-9, "%s: MTP loss %.12f, reference %.12f", name,
          result.mtp_sum, mtp_loss);
    CHECK(fabs(balance - result.balance_loss) < 1e-10, "%s: balance loss %.12f, reference %.12f",
          name, result.balance_loss, balance);
    model_clear(&m);
    arena_clear(&memory);
}

TEST(reference_micro) {
    model_config c = config_micro();
    c.init_std = 0.3; /* so that softmaxes and gates are far from linear */
    compare("micro", &c);
    c.n_mtp = 0;
    c.tied = false;
    c.n_shared_expert = 2;
    compare("untied, two shared experts", &c);
    c.n_shared_expert = 0;
    c.first_k_dense = 0;
    compare("no shared expert, no dense layer", &c);
    c.q_lora_rank = 0;
    compare("no query rank", &c);
}

TEST(reference_routing) {
    model_config c = config_micro();
    c.init_std = 0.3;
    c.n_expert = 8, c.n_expert_used = 3;
    c.n_group = 4, c.topk_group = 2;
    c.routed_scaling_factor = 2.5;
    compare("groups", &c);
    c.n_group = c.topk_group = 1;
    c.sigmoid = c.norm_topk_prob = false;
    compare("softmax scores, not normalised", &c);
    c.norm_topk_prob = true;
    compare("softmax scores, normalised", &c);
    c.norm_topk_prob = false;
    c.n_group = 4, c.topk_group = 2;
    compare("softmax scores, groups by their best", &c);
    c.n_layer = 4, c.first_k_dense = 1, c.moe_layer_freq = 2;
    compare("every second layer routed", &c);
}

TEST(reference_dense) {
    model_config c = config_micro_llama();
    c.init_std = 0.3;
    compare("grouped queries", &c);
    c.n_kv_head = 4;
    c.tied = false;
    compare("as many key heads as query heads", &c);
    c.qkv_bias = true;
    compare("biases", &c);
    c.qkv_bias = false, c.qk_norm = true;
    compare("norms of heads", &c);
    c = config_micro();
    c.n_expert = c.n_expert_used = c.n_shared_expert = c.d_expert = 0;
    c.first_k_dense = 0;
    compare("MLA without experts", &c);
}

TEST(reference_scaled_positions) {
    model_config c = config_micro_llama();
    c.init_std = 0.3;
    c.rope = (rope_scaling){.kind = ROPE_LINEAR, .factor = 4};
    compare("linear", &c);
    c.rope = (rope_scaling){.kind = ROPE_LLAMA3, .factor = 8, .original = 16, .low = 1, .high = 4};
    compare("llama3", &c);
    c = config_micro();
    c.init_std = 0.3;
    c.rope = (rope_scaling){.kind = ROPE_YARN,
                            .factor = 4,
                            .original = 16,
                            .beta_fast = 8,
                            .beta_slow = 1,
                            .mscale = 0.7,
                            .mscale_all_dim = 1};
    compare("yarn", &c);
}

TEST(reference_f1m) {
    model_config c = config_f1m_mtp();
    compare("f-1m", &c);
}
