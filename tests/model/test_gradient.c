/* test_gradient.c - gradients of whole models against finite differences in double.
 *
 * The four-point stencil (8 (L(+h) - L(-h)) - (L(+2h) - L(-2h))) / 12 h has an error of order h^4.
 * Along unit directions over all parameters h is 1e-3; for single entries, whose effect is smaller,
 * 1e-4. Routing is discontinuous, so the choices of the first forward are replayed in all others. */
#include "model_fixture.h"

#include <math.h>

typedef struct check {
    model m;
    arena memory;
    sample s;
    double *grad;
} check;

/* The loss whose gradient backward gives: each part with the scale of its gradient. */
static double loss_of(check *c) {
    model_result r = {0};
    if (!sample_run(&c->m, &c->memory, &c->s, (run_options){0}, &r)) return HUGE_VAL;
    const model_batch *b = &c->s.batch;
    return b->loss_scale * r.loss_sum + b->mtp_scale * r.mtp_sum +
           b->balance_scale * r.balance_loss;
}

static bool check_open(check *c, const model_config *config, const sample_shape *shape,
                       double rate) {
    memset(c, 0, sizeof *c);
    if (arena_init(&c->memory, "test", (size_t)2 << 30) != STATUS_OK) return false;
    if (!model_make(&c->m, config, DTYPE_F64, 21)) return false;
    if (!sample_make(&c->s, &c->memory, config, shape)) return false;
    c->s.batch.dropout = (model_dropout){rate, 3, 8, 100};
    c->s.batch.choices = choices_make(&c->memory, &c->m, c->s.batch.layout.n);
    c->grad = arena_alloc(&c->memory, (size_t)c->m.params.count * sizeof *c->grad);
    if (c->s.batch.choices == NULL || c->grad == NULL) return false;
    model_result r = {0};
    return sample_run(&c->m, &c->memory, &c->s,
                      (run_options){.grad = c->grad, .recompute = RECOMPUTE_SELECTIVE}, &r);
}

static void check_close(check *c) {
    model_clear(&c->m);
    arena_clear(&c->memory);
}

static double stencil(double plus, double minus, double plus2, double minus2, double h) {
    return (8 * (plus - minus) - (plus2 - minus2)) / (12 * h);
}

/* Loss with the masters at `from` + h * `along`. */
static double loss_along(check *c, const double *from, const double *along, double h) {
    double *w = c->m.params.master;
    for (int64_t i = 0; i < c->m.params.count; i++)
        w[i] = from[i] + h * along[i];
    param_set_changed(&c->m.params);
    return loss_of(c);
}

static bool trained(const param *p) {
    return p->kind != PARAM_STATE;
}

/* A random unit direction over all trained parameters. */
static void fill_direction(const check *c, double *along, int number) {
    double squares = 0;
    rng r = rng_at(99, RNG_TEST, (uint64_t)number);
    for (int p = 0; p < c->m.params.n; p++) {
        const param *one = c->m.params.all[p];
        for (int64_t i = one->offset; i < one->offset + one->count; i++) {
            along[i] = trained(one) ? rng_normal(r, (uint64_t)i) : 0;
            squares += along[i] * along[i];
        }
    }
    for (int64_t i = 0; i < c->m.params.count; i++)
        along[i] /= sqrt(squares);
}

static void check_directions(check *c, const char *name, int n) {
    size_t bytes = (size_t)c->m.params.count * sizeof(double);
    double *from = arena_alloc(&c->memory, bytes), *along = arena_alloc(&c->memory, bytes);
    REQUIRE(from != NULL && along != NULL, "no memory");
    memcpy(from, c->m.params.master, bytes);
    /* A direction may happen to be nearly level; it is then measured by the slope to be expected. */
    double worst = 0, squares = 0;
    for (int64_t i = 0; i < c->m.params.count; i++)
        squares += c->grad[i] * c->grad[i];
    double expected = sqrt(squares / (double)c->m.params.count);
    for (int k = 0; k < n; k++) {
        double h = 1e-3, slope = 0;
        fill_direction(c, along, k);
        for (int64_t i = 0; i < c->m.params.count; i++)
            slope += c->grad[i] * along[i];
        double fd =
            stencil(loss_along(c, from, along, h), loss_along(c, from, along, -h),
                    loss_along(c, from, along, 2 * h), loss_along(c, from, along, -2 * h), h);
        double off = fabs(fd - slope) / fmax(fabs(fd), expected);
        worst = fmax(worst, off);
        CHECK(off <= 1e-7, "%s, direction %d: %.12g, finite differences %.12g", name, k, slope, fd);
    }
    printf("  %s: %d directions, worst relative error %.1e\n", name, n, worst);
    memcpy(c->m.params.master, from, bytes);
    param_set_changed(&c->m.params);
}

static double entry_by_differences(check *c, param *p, int64_t i) {
    static const double steps[] = {1, -1, 2, -2};
    double h = 1e-4, loss[4], *w = p->master, old = w[i];
    for (int k = 0; k < 4; k++) {
        w[i] = old + steps[k] * h;
        param_changed(p);
        loss[k] = loss_of(c);
    }
    w[i] = old;
    param_changed(p);
    return stencil(loss[0], loss[1], loss[2], loss[3], h);
}

/* Layers in the middle are like the last one: the short version leaves their entries out. */
static bool in_middle(const check *c, const param *p) {
    int layer = 0;
    return sscanf(p->name, "model.layers.%d.", &layer) == 1 && layer > 0 &&
           layer < c->m.config.n_layer - 1;
}

/* `n` entries of every parameter, half of them where the gradient is not tiny. */
static void check_entries(check *c, const char *name, int n) {
    double worst = 0;
    int tensors = 0;
    for (int k = 0; k < c->m.params.n; k++) {
        param *p = c->m.params.all[k];
        if (!trained(p) || (in_middle(c, p) && !test_long())) continue;
        tensors++;
        const double *g = c->grad + p->offset;
        double squares = 0;
        for (int64_t i = 0; i < p->count; i++)
            squares += g[i] * g[i];
        double rms = sqrt(squares / (double)p->count);
        CHECK(rms > 0, "%s has no gradient", p->name);
        for (int e = 0; e < n; e++) {
            rng r = rng_at(17, RNG_TEST, (uint64_t)k);
            int64_t i = (int64_t)rng_below(r, (uint64_t)e, (uint64_t)p->count);
            while (e % 2 == 0 && fabs(g[i]) < rms / 4)
                i = (i + 1) % p->count;
            double fd = entry_by_differences(c, p, i);
            double off = fabs(fd - g[i]) / fmax(fabs(g[i]), 1e-3 * rms);
            worst = fmax(worst, off);
            CHECK(off <= 1e-5, "%s, %s[%" PRId64 "]: %.12g, finite differences %.12g", name,
                  p->name, i, g[i], fd);
        }
    }
    printf("  %s: %d entries in each of %d tensors, worst error %.1e\n", name, n, tensors, worst);
}

static void check_bias_untouched(const check *c) {
    int biases = 0;
    for (int k = 0; k < c->m.params.n; k++) {
        const param *p = c->m.params.all[k];
        if (trained(p)) continue;
        biases++;
        for (int64_t i = 0; i < p->count; i++)
            CHECK(c->grad[p->offset + i] == 0, "%s[%d] has gradient %g", p->name, (int)i,
                  c->grad[p->offset + i]);
    }
    CHECK(biases == model_n_choices(&c->m), "%d router biases", biases);
}

/* MoE, MLA, MTP, packing, tied head, dropout, selective recomputing. Weights are four times as wide as a
 * fresh  * model's: at the start attention is so flat that some gradients drown in the loss's rounding. */
TEST(gradient_f1m) {
    model_config config = config_f1m_mtp();
    config.init_std *= 4;
    check c;
    int64_t length = test_long() ? 24 : 12;
    REQUIRE(check_open(&c, &config, &(sample_shape){2, length, 2, 5, 31}, 0.1), "setup");
    check_bias_untouched(&c);
    check_directions(&c, "f-1m", 3);
    check_entries(&c, "f-1m", test_long() ? 6 : 1);
    check_close(&c);
}

static void check_small(const char *name, const model_config *config, double rate) {
    check c;
    REQUIRE(check_open(&c, config, &(sample_shape){2, 14, 3, 6, 5}, rate), "setup");
    if (config->sigmoid) check_bias_untouched(&c);
    check_directions(&c, name, 4);
    check_entries(&c, name, 4);
    check_close(&c);
}

TEST(gradient_micro) {
    model_config c = config_micro();
    c.init_std = 0.2;
    c.balance_alpha = 0.5; /* loud enough to be seen */
    check_small("micro", &c, 0);
    check_small("micro, dropout", &c, 0.3);
    c.tied = false;
    c.q_lora_rank = 0;
    c.n_shared_expert = 2;
    check_small("untied, no query rank, two shared experts", &c, 0);
    c.n_shared_expert = 0;
    c.n_group = 2;
    c.routed_scaling_factor = 2.5;
    check_small("groups, no shared expert", &c, 0);
    c.n_group = 1;
    c.sigmoid = c.norm_topk_prob = false;
    check_small("softmax scores", &c, 0);
    c.n_group = 2;
    check_small("softmax scores, groups", &c, 0);
}

TEST(gradient_dense) {
    model_config c = config_micro_llama();
    c.init_std = 0.2;
    check_small("grouped queries", &c, 0);
    check_small("grouped queries, dropout", &c, 0.2);
    c.qkv_bias = true;
    check_small("biases", &c, 0);
    c.qkv_bias = false, c.qk_norm = true;
    c.rope = (rope_scaling){
        .kind = ROPE_YARN, .factor = 4, .original = 16, .beta_fast = 8, .beta_slow = 1};
    check_small("norms of heads, scaled positions", &c, 0);
}

/* A batch in two parts, gradients added, equals the batch (to rounding: another order of sums). */
TEST(gradient_adds_up) {
    model_config config = config_micro();
    check c;
    REQUIRE(check_open(&c, &config, &(sample_shape){2, 14, 0, 0, 5}, 0.2), "setup");
    size_t bytes = (size_t)c.m.params.count * sizeof(double);
    double *part = arena_alloc(&c.memory, bytes), *sum = arena_zalloc(&c.memory, bytes);
    REQUIRE(part != NULL && sum != NULL, "no memory");
    for (int q = 0; q < 2; q++) {
        sample s = c.s;
        int64_t at = s.start[q], n = s.start[q + 1] - at, start[2] = {0, n};
        s.batch.layout = (token_layout){n, 1, start, s.position + at, s.first + at};
        s.batch.ids += at, s.batch.target += at, s.batch.next_id += at, s.batch.target_mtp += at;
        s.batch.choices = NULL;
        s.batch.dropout.token += at;
        model_result r = {0};
        REQUIRE(sample_run(&c.m, &c.memory, &s, (run_options){.grad = part}, &r), "part %d", q);
        for (int64_t i = 0; i < c.m.params.count; i++)
            sum[i] += part[i];
    }
    double worst = 0;
    for (int64_t i = 0; i < c.m.params.count; i++)
        worst = fmax(worst, fabs(sum[i] - c.grad[i]));
    CHECK(worst < 1e-12, "gradients differ by %g", worst);
    check_close(&c);
}
