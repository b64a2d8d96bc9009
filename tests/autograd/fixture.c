/* fixture.c - values, batch and runs of a subject. */
#include "subjects.h"

#include "base/rng.h"
#include "kernels/kernels.h"

#define MOST_MEMORY  ((size_t)1 << 30)
#define MOST_COLUMNS 64 /* of an output */
#define VOCAB        11

/* Three sequences; the long one crosses a key block and holds several documents. */
static const int64_t lengths[] = {7, 69, 1};
#define N_SEQUENCES 3
#define DOCUMENT    25

static void fill(fixture *f, void *data, int64_t n, double mean, double deviation, uint64_t key) {
    rng r = rng_at(7, RNG_TEST, key);
    for (int64_t i = 0; i < n; i++) {
        float value = (float)(mean + deviation * rng_normal(r, (uint64_t)i));
        if (f->real == DTYPE_F64)
            ((double *)data)[i] = (double)value;
        else
            ((float *)data)[i] = value;
    }
}

/* -- describing -- */

void add_param(fixture *f, param_kind kind, const char *name, int rank, int64_t a, int64_t b,
               int64_t c) {
    int64_t dims[3] = {a, b, c};
    int i = f->params.n;
    f->p[i] = param_add(&f->params, kind, name, rank, dims, 0);
}

void add_input(fixture *f, int64_t rows, int64_t columns) {
    fixture_input *x = &f->x[f->n_x++];
    x->per_token = rows == 0;
    x->rows = rows > 0 ? rows : f->layout.n;
    x->columns = columns;
}

/* -- opening -- */

static bool make_batch(fixture *f) {
    int64_t n = 0;
    for (int s = 0; s < N_SEQUENCES; s++)
        n += lengths[s];
    int64_t *start = arena_zalloc(&f->inputs, (N_SEQUENCES + 1) * sizeof *start);
    int32_t *arrays = arena_alloc(&f->inputs, (size_t)n * 4 * sizeof *arrays);
    f->each = arena_zalloc(&f->inputs, (size_t)n * sizeof *f->each);
    f->y = arena_zalloc(&f->inputs, (size_t)(n * MOST_COLUMNS) * dtype_size(f->real));
    int32_t *choice = arena_alloc(&f->inputs, (size_t)n * N_USED * sizeof *choice);
    if (start == NULL || arrays == NULL || choice == NULL) return false;
    if (f->each == NULL || f->y == NULL) return false;
    int32_t *position = arrays, *first = arrays + n;
    f->ids = arrays + 2 * n;
    f->target = arrays + 3 * n;
    rng r = rng_at(3, RNG_TEST, 0);
    for (int s = 0; s < N_SEQUENCES; s++) {
        start[s + 1] = start[s] + lengths[s];
        for (int64_t i = start[s]; i < start[s + 1]; i++) {
            position[i] = (int32_t)(i - start[s]);
            first[i] = position[i] / DOCUMENT * DOCUMENT;
            f->ids[i] = (int32_t)rng_below(r, (uint64_t)(2 * i), VOCAB);
            f->target[i] = (int32_t)rng_below(r, (uint64_t)(2 * i + 1), VOCAB + 1) - 1;
        }
    }
    f->layout = (token_layout){n, N_SEQUENCES, start, position, first};
    f->choice = (choice_slot){.ids = choice, .n = n * N_USED};
    f->to_sequence = N_SEQUENCES;
    return true;
}

static bool make_values(fixture *f) {
    size_t size = dtype_size(f->real);
    if (param_set_allocate(&f->params) != STATUS_OK) return false;
    f->grad = arena_zalloc(&f->inputs, (size_t)f->params.count * size);
    if (f->grad == NULL) return false;
    for (int i = 0; i < f->params.n; i++) {
        param *p = f->params.all[i];
        bool vector = p->kind == PARAM_VECTOR;
        fill(f, p->master, p->count, vector ? 1 : 0, vector ? 0.2 : 0.4, 100 + (uint64_t)i);
    }
    for (int i = 0; i < f->n_x; i++) {
        fixture_input *x = &f->x[i];
        x->data = arena_alloc(&f->inputs, (size_t)(x->rows * x->columns) * size);
        x->grad = arena_zalloc(&f->inputs, (size_t)(x->rows * x->columns) * size);
        if (x->data == NULL || x->grad == NULL) return false;
        fill(f, x->data, x->rows * x->columns, 0, 1, 200 + (uint64_t)i);
    }
    return true;
}

bool fixture_open(fixture *f, const subject *s, dtype real) {
    memset(f, 0, sizeof *f);
    f->subject = s;
    f->real = real;
    if (param_set_init(&f->params, real) != STATUS_OK) return false;
    if (arena_init(&f->inputs, "inputs", MOST_MEMORY) != STATUS_OK) return false;
    if (arena_init(&f->memory, "tape", MOST_MEMORY) != STATUS_OK) return false;
    if (!make_batch(f)) return false;
    s->describe(f);
    return make_values(f);
}

void fixture_close(fixture *f) {
    param_set_clear(&f->params);
    arena_clear(&f->inputs);
    arena_clear(&f->memory);
}

/* -- running -- */

void fixture_forget(fixture *f) {
    f->choice.n = f->layout.n * N_USED;
    f->choice.filled = false;
    memset(f->counts, 0, sizeof f->counts);
}

/* While it lasts the fixture's batch is the sequences a run takes. */
typedef struct part {
    token_layout whole;
    int64_t first; /* token */
    int64_t start[N_SEQUENCES + 1];
} part;

static void part_enter(fixture *f, part *p) {
    int n = f->to_sequence - f->from_sequence;
    p->whole = f->layout;
    p->first = f->layout.start[f->from_sequence];
    for (int s = 0; s <= n; s++)
        p->start[s] = f->layout.start[f->from_sequence + s] - p->first;
    f->layout = (token_layout){p->start[n], n, p->start, f->layout.position + p->first,
                               f->layout.first + p->first};
    f->ids += p->first;
    f->target += p->first;
    f->each += p->first;
    f->token = p->first;
}

static void part_leave(fixture *f, const part *p) {
    f->layout = p->whole;
    f->token = 0;
    f->ids -= p->first;
    f->target -= p->first;
    f->each -= p->first;
}

static void *row_at(const fixture *f, void *data, int64_t row, int64_t columns) {
    return (char *)data + (size_t)(row * columns) * dtype_size(f->real);
}

static double get(const tensor *x, int64_t row, int64_t column) {
    int64_t at = row * x->stride[0] + column;
    return x->dtype == DTYPE_F64 ? ((const double *)x->data)[at]
                                 : (double)((const float *)x->data)[at];
}

static void add(const tensor *x, int64_t row, int64_t column, double value) {
    int64_t at = row * x->stride[0] + column;
    if (x->dtype == DTYPE_F64)
        ((double *)x->data)[at] += value;
    else
        ((float *)x->data)[at] += (float)value;
}

/* sum(R * y), and R added to y's gradient if it has one. */
static double weigh(const var *y, const tensor *grad, int64_t first) {
    int64_t columns = y->value.dim[1];
    rng r = rng_at(5, RNG_TEST, 1);
    double sum = 0;
    for (int64_t i = 0; i < y->value.dim[0]; i++)
        for (int64_t j = 0; j < columns; j++) {
            double weight = (double)(float)rng_normal(r, (uint64_t)((first + i) * columns + j));
            sum += weight * get(&y->value, i, j);
            if (grad->data != NULL) add(grad, i, j, weight);
        }
    return sum;
}

/* Rows [first, ..) of the kept output. */
static void keep_output(fixture *f, const var *y, int64_t first) {
    int64_t columns = y->value.dim[1], rows = y->value.dim[0];
    if (first + rows > f->y_rows) f->y_rows = first + rows;
    f->y_columns = columns;
    for (int64_t i = 0; i < rows && columns <= MOST_COLUMNS; i++)
        memcpy(row_at(f, f->y, first + i, columns), row_at(f, y->value.data, i, y->value.stride[0]),
               (size_t)columns * dtype_size(f->real));
}

static void take_output(fixture *f, tape *t, var *y, run_options o, int64_t first) {
    tensor grad = {0};
    f->n_records = t->n_records;
    f->uses = 0;
    for (int i = 0; i < f->params.n; i++)
        f->uses += f->params.all[i]->uses;
    f->total = f->loss + f->balance;
    if (!tape_ok(t) || y == NULL) return;
    if (o.backward) grad = var_grad(t, y);
    if (o.dry || !tape_ok(t)) return;
    f->total += weigh(y, &grad, first);
    keep_output(f, y, first);
}

static void take_gradients(fixture *f, tape *t, var **x, bool dry, int64_t first) {
    for (int i = 0; i < f->n_x; i++) {
        fixture_input *in = &f->x[i];
        tensor grad = var_grad(t, x[i]);
        if (grad.data != NULL && !dry)
            memcpy(row_at(f, in->grad, in->per_token ? first : 0, in->columns), grad.data,
                   tensor_bytes(&grad));
    }
}

/* The subject as a block of its only input. */
static var *run_block(tape *t, void *context, var *x) {
    fixture *f = context;
    return f->subject->run(f, t, &x);
}

static status run_tape(fixture *f, tape *t, run_options o, int64_t first) {
    var *x[MOST_INPUTS] = {NULL};
    TRY(tape_choices(t, 1, &f->choice));
    for (int i = 0; i < f->n_x; i++) {
        const fixture_input *in = &f->x[i];
        x[i] = tape_input(t, row_at(f, in->data, in->per_token ? first : 0, in->columns),
                          in->per_token ? f->layout.n : in->rows, in->columns, true);
    }
    var *y = o.recompute != RECOMPUTE_NONE ? checkpoint_by(t, o.recompute, run_block, f, x[0])
                                           : f->subject->run(f, t, x);
    take_output(f, t, y, o, first);
    if (!o.backward) return tape_status(t);
    TRY(tape_backward(t));
    take_gradients(f, t, x, o.dry, first);
    return tape_status(t);
}

status fixture_run(fixture *f, run_options o) {
    tape t;
    part p;
    size_t mark = arena_mark(&f->memory);
    f->loss = f->balance = 0;
    f->memory.peak = f->memory.used;
    param_set_changed(&f->params);
    param_set_gradients(&f->params, o.backward ? f->grad : NULL);
    if (o.backward && !o.keep_gradients && !o.dry)
        memset(f->grad, 0, (size_t)f->params.count * dtype_size(f->real));
    part_enter(f, &p);
    status s =
        tape_init(&t, &f->memory, &f->params,
                  (tape_options){.recording = o.backward, .products = o.products, .dry = o.dry});
    if (s == STATUS_OK) s = run_tape(f, &t, o, p.first);
    part_leave(f, &p);
    f->arena_used = f->memory.used - mark;
    f->arena_peak = f->memory.peak - mark;
    arena_reset(&f->memory, mark);
    return s;
}
