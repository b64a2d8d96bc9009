/* grad.c - finite differences: see grad.h. */
#include "grad.h"

#include "base/memory.h"
#include "base/rng.h"

#include <math.h>

#define DIRECTION_STEP  1e-3
#define DIRECTION_ERROR 1e-7
#define ENTRY_STEP      1e-4
#define ENTRY_ERROR     1e-5

typedef struct space {
    double *from, *along; /* all tensors one after the other */
    int64_t n;
    double norm; /* of the gradient */
} space;

static double stencil(const double loss[4], double h) {
    return (8 * (loss[0] - loss[1]) - (loss[2] - loss[3])) / (12 * h);
}

static const double steps[4] = {1, -1, 2, -2};

static void move_to(const grad_check *c, const space *s, double h) {
    int64_t at = 0;
    for (int k = 0; k < c->n_tensors; k++)
        for (int64_t i = 0; i < c->tensors[k].n; i++, at++)
            c->tensors[k].value[i] = h == 0 ? s->from[at] : s->from[at] + h * s->along[at];
}

/* A random unit direction; returns the slope that the gradient promises along it. */
static double draw_direction(const grad_check *c, space *s, uint64_t number) {
    rng r = rng_at(c->seed, RNG_TEST, number);
    double squares = 0, slope = 0;
    for (int64_t i = 0; i < s->n; i++) {
        s->along[i] = rng_normal(r, (uint64_t)i);
        squares += s->along[i] * s->along[i];
    }
    int64_t at = 0;
    for (int k = 0; k < c->n_tensors; k++)
        for (int64_t i = 0; i < c->tensors[k].n; i++, at++) {
            s->along[at] /= sqrt(squares);
            slope += s->along[at] * c->tensors[k].grad[i];
        }
    return slope;
}

static void check_direction(grad_check *c, space *s, int number) {
    double least = 0.3 * s->norm / sqrt((double)s->n), slope = 0, loss[4];
    for (int draw = 0; draw < 100 && !(fabs(slope) > least); draw++)
        slope = draw_direction(c, s, (uint64_t)(number * 100 + draw));
    for (int k = 0; k < 4; k++) {
        move_to(c, s, steps[k] * DIRECTION_STEP);
        loss[k] = c->loss(c->context);
    }
    move_to(c, s, 0);
    double difference = stencil(loss, DIRECTION_STEP);
    double error = fabs(difference - slope) / fabs(difference);
    c->worst_direction = fmax(c->worst_direction, error);
    CHECK(error <= DIRECTION_ERROR, "%s, direction %d: %.12g, finite differences %.12g", c->name,
          number, slope, difference);
}

static void check_entry(grad_check *c, const grad_tensor *t, int64_t i, double rms) {
    double old = t->value[i], loss[4];
    for (int k = 0; k < 4; k++) {
        t->value[i] = old + steps[k] * ENTRY_STEP;
        loss[k] = c->loss(c->context);
    }
    t->value[i] = old;
    double difference = stencil(loss, ENTRY_STEP);
    double error = fabs(difference - t->grad[i]) / fmax(fabs(t->grad[i]), 1e-3 * rms);
    c->worst_entry = fmax(c->worst_entry, error);
    CHECK(error <= ENTRY_ERROR, "%s, %s[%" PRId64 "]: %.12g, finite differences %.12g", c->name,
          t->name, i, t->grad[i], difference);
}

/* Every second entry is one whose gradient is not tiny. */
static void check_entries(grad_check *c, int number) {
    const grad_tensor *t = &c->tensors[number];
    double squares = 0;
    for (int64_t i = 0; i < t->n; i++)
        squares += t->grad[i] * t->grad[i];
    double rms = sqrt(squares / (double)t->n);
    CHECK(rms > 0, "%s: %s has no gradient", c->name, t->name);
    for (int e = 0; e < c->entries && rms > 0; e++) {
        rng r = rng_at(c->seed + 1, RNG_TEST, (uint64_t)number);
        int64_t i = (int64_t)rng_below(r, (uint64_t)e, (uint64_t)t->n);
        while (e % 2 == 0 && fabs(t->grad[i]) < rms / 4)
            i = (i + 1) % t->n;
        check_entry(c, t, i, rms);
    }
}

static bool space_open(const grad_check *c, space *s) {
    *s = (space){0};
    for (int k = 0; k < c->n_tensors; k++)
        s->n += c->tensors[k].n;
    s->from = mem_alloc((size_t)s->n * sizeof *s->from);
    s->along = mem_alloc((size_t)s->n * sizeof *s->along);
    if (s->from == NULL || s->along == NULL) return false;
    double squares = 0;
    int64_t at = 0;
    for (int k = 0; k < c->n_tensors; k++)
        for (int64_t i = 0; i < c->tensors[k].n; i++, at++) {
            s->from[at] = c->tensors[k].value[i];
            squares += c->tensors[k].grad[i] * c->tensors[k].grad[i];
        }
    s->norm = sqrt(squares);
    return true;
}

void grad_check_run(grad_check *c) {
    space s;
    c->worst_direction = c->worst_entry = 0;
    bool open = space_open(c, &s);
    CHECK(open, "%s: no memory", c->name);
    for (int k = 0; open && k < c->directions; k++)
        check_direction(c, &s, k);
    for (int k = 0; open && k < c->n_tensors; k++)
        check_entries(c, k);
    mem_free(s.from);
    mem_free(s.along);
}

double grad_cosine(const float *a, const float *b, int64_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return aa == 0 && bb == 0 ? 1 : ab / sqrt(aa * bb);
}
