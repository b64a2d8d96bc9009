/* rope.c - frequencies of scaled rotary positions, and what YaRN does to attention.
 *
 * Plain: f_i = base^(-2i/r), i < r / 2. A model made for L0 positions is stretched by a factor s:
 *
 *     linear   f_i / s
 *     llama3   by wavelength w = 2 pi / f_i: shorter than L0 / high stays, longer than L0 / low is
 *              divided by s, between them a blend that is linear in L0 / w
 *     yarn     (Peng et al., arXiv 2309.00071) dim(b) = r ln(L0 / (2 pi b)) / (2 ln base) is the index
 *              that turns b times within L0; from low = floor dim(beta_fast) to high = ceil
 *              dim(beta_slow) a ramp goes from f_i to f_i / s
 *
 * YaRN also sharpens attention by m(k) = 0.1 k ln s + 1. Cosine and sine are multiplied by an
 * amplitude: m(1), or m(mscale) / m(mscale_all_dim) where a file gives both. In latent attention the
 * part of a key without position does not rotate, so DeepSeek puts m(mscale_all_dim)^2 on the scale of
 * the scores instead, and its two mscales cancel in the amplitude.
 */
#include "model/model_internal.h"

#include <math.h>

static void scale_llama3(const rope_scaling *s, int n, double *f) {
    const double pi = acos(-1.0);
    for (int i = 0; i < n; i++) {
        double turns = s->original * f[i] / (2 * pi); /* L0 / w */
        if (turns > s->high) continue;
        double keep = turns < s->low ? 0 : (turns - s->low) / (s->high - s->low);
        f[i] = (1 - keep) * f[i] / s->factor + keep * f[i];
    }
}

/* The (fractional) index of the frequency that turns `turns` times within L0. */
static double index_of(const rope_scaling *s, double base, int dim, double turns) {
    const double pi = acos(-1.0);
    return dim * log(s->original / (turns * 2 * pi)) / (2 * log(base));
}

static void scale_yarn(const rope_scaling *s, double base, int dim, double *f) {
    double low = fmax(floor(index_of(s, base, dim, s->beta_fast)), 0);
    double high = fmin(ceil(index_of(s, base, dim, s->beta_slow)), dim - 1);
    if (low == high) high += 0.001; /* a step instead of a ramp */
    for (int i = 0; i < dim / 2; i++) {
        double ramp = fmin(fmax((i - low) / (high - low), 0), 1);
        f[i] = f[i] / s->factor * ramp + f[i] * (1 - ramp);
    }
}

static double sharpening(const rope_scaling *s, double weight) {
    return s->factor > 1 ? 0.1 * weight * log(s->factor) + 1 : 1;
}

static double amplitude_of(const rope_scaling *s) {
    if (s->kind != ROPE_YARN) return 1;
    if (s->attention_factor > 0) return s->attention_factor;
    if (s->mscale > 0 && s->mscale_all_dim > 0)
        return sharpening(s, s->mscale) / sharpening(s, s->mscale_all_dim);
    return sharpening(s, 1) * (s->attn_factor > 0 ? s->attn_factor : 1);
}

static double score_scale_of(const model_config *c) {
    const rope_scaling *s = &c->rope;
    if (c->family == MODEL_LLAMA || s->kind != ROPE_YARN || s->mscale_all_dim <= 0) return 1;
    return sharpening(s, s->mscale_all_dim) * sharpening(s, s->mscale_all_dim);
}

void model_rope_fill(const model_config *c, model_rope *rope) {
    int dim = rope->dim, n = dim / 2;
    const rope_scaling *s = &c->rope;
    for (int i = 0; i < n; i++)
        rope->frequency[i] = pow(c->rope_theta, -2.0 * i / dim);
    switch (s->kind) {
    case ROPE_PLAIN: break;
    case ROPE_LINEAR:
        for (int i = 0; i < n; i++)
            rope->frequency[i] /= s->factor;
        break;
    case ROPE_LLAMA3: scale_llama3(s, n, rope->frequency); break;
    case ROPE_YARN: scale_yarn(s, c->rope_theta, dim, rope->frequency); break;
    }
    rope->amplitude = amplitude_of(s);
    rope->score_scale = score_scale_of(c);
}
