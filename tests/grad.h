/* grad.h - gradients against finite differences in double, for any function of some tensors.
 *
 *     grad_check c = {.name = "rmsnorm", .tensors = t, .n_tensors = 2, .loss = run, .context = &f,
 *                     .directions = 3, .entries = 4};
 *     grad_check_run(&c);
 *
 * The four-point stencil (8 (L(+h) - L(-h)) - (L(+2h) - L(-2h))) / 12 h has an error of order h^4.
 * Along random unit directions over all tensors h is 1e-3 and the relative error must be <= 1e-7;
 * directions nearly orthogonal to the gradient, where rounding of L would be measured instead, are
 * drawn again. For single entries h is 1e-4 and |difference| <= 1e-5 max(|g|, 1e-3 rms of the
 * tensor's gradient). Values are put back bit for bit.
 */
#ifndef FATHOM_TEST_GRAD_H
#define FATHOM_TEST_GRAD_H

#include "test.h"

typedef struct grad_tensor {
    const char *name;
    double *value;
    const double *grad; /* what backward said */
    int64_t n;
} grad_tensor;

typedef struct grad_check {
    const char *name;
    const grad_tensor *tensors;
    int n_tensors;
    double (*loss)(void *context); /* with the values as they are now; NaN after a failure */
    void *context;
    int directions;
    int entries; /* per tensor */
    uint64_t seed;
    double worst_direction, worst_entry; /* out: relative errors */
} grad_check;

/* Records failures with test_fail. */
void grad_check_run(grad_check *c);

/* Cosine of the angle between two vectors; 1 if both are zero. */
double grad_cosine(const float *a, const float *b, int64_t n);

#endif
