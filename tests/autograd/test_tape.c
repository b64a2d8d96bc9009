/* test_tape.c - the tape itself: errors that stick, gradients of slices, readiness of parameters,
 * routing choices, checkpointed losses, memory. */
#include "subjects.h"

#include "kernels/kernels.h"

#include <math.h>

typedef struct bench {
    param_set params;
    arena memory;
    tape t;
    param *w, *head;
    float *grad;
} bench;

/* w [4, 4] and head [5, 4] with gradients, on a recording tape. */
static bool bench_open(bench *b) {
    int64_t square[] = {4, 4}, head[] = {5, 4};
    memset(b, 0, sizeof *b);
    if (param_set_init(&b->params, DTYPE_F32) != STATUS_OK) return false;
    if (arena_init(&b->memory, "tape", (size_t)64 << 20) != STATUS_OK) return false;
    b->w = param_add(&b->params, PARAM_MATRIX, "w", 2, square, 0.5);
    b->head = param_add(&b->params, PARAM_EMBEDDING, "head", 2, head, 0.5);
    if (b->w == NULL || b->head == NULL) return false;
    if (param_set_allocate(&b->params) != STATUS_OK) return false;
    param_set_initialise(&b->params, 1);
    b->grad = arena_zalloc(&b->memory, (size_t)b->params.count * sizeof *b->grad);
    param_set_gradients(&b->params, b->grad);
    return b->grad != NULL &&
           tape_init(&b->t, &b->memory, &b->params, (tape_options){.recording = true}) == STATUS_OK;
}

static void bench_close(bench *b) {
    param_set_clear(&b->params);
    arena_clear(&b->memory);
}

static float ones[12] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

TEST(tape_first_error_sticks) {
    bench b;
    REQUIRE(bench_open(&b), "setup");
    var *x = tape_input(&b.t, ones, 3, 4, true);
    var *bad = op_slice(&b.t, x, 2, 3);
    CHECK(bad == b.t.poison && !tape_ok(&b.t), "a slice outside its parent is refused");
    status s = FAIL(F_NO_MEMORY, "later", "", "", "");
    tape_fail(&b.t, s);
    var *y = op_linear(&b.t, op_add(&b.t, bad, bad), b.w);
    CHECK(y == b.t.poison && y->value.dim[0] == 0, "what follows is poison");
    CHECK(tape_alloc(&b.t, 8) == NULL, "no memory after a failure");
    head_loss loss = {.scale = 1};
    op_head_loss(&b.t, y, b.head, &loss);
    CHECK(loss.counted == 0, "no loss after a failure");
    CHECK(tape_status(&b.t) == STATUS_SHAPE && error_last()->id == F_SHAPE,
          "the first report is kept, not %d", (int)error_last()->id);
    CHECK(strstr(error_last()->where, "slice") != NULL, "%s", error_last()->where);
    CHECK(tape_backward(&b.t) == STATUS_SHAPE, "backward reports it too");
    bench_close(&b);
}

/* Every wrong shape is an error with a name, none a crash. */
TEST(tape_refuses_wrong_shapes) {
    static const int32_t ids[] = {0, 5, 1}, past[] = {3}, targets[] = {0, 5, 1};
    for (int i = 0; i < 13; i++) {
        bench b;
        REQUIRE(bench_open(&b), "setup");
        tape *t = &b.t;
        int64_t start[] = {0, 3};
        int32_t position[] = {0, 2, 3}, first[] = {0, 0, 3};
        token_layout gap = {3, 1, start, position, first};
        attention_shape one = {.n_head = 1, .n_kv_head = 1, .qk_dim = 4, .v_dim = 4, .scale = 1};
        head_loss loss = {.target = targets, .scale = 1};
        var *x = tape_input(t, ones, 3, 4, true), *wide = tape_input(t, ones, 2, 6, true);
        error_id want = F_SHAPE;
        switch (i) {
        case 0: op_add(t, x, wide); break;
        case 1: op_concat(t, x, wide); break;
        case 2: op_linear(t, wide, b.w); break;
        case 3: op_rmsnorm(t, wide, b.w, 1e-5); break;
        case 4: op_swiglu(t, op_slice(t, x, 0, 3)); break;
        case 5: op_slice(t, x, -1, 2); break;
        case 6: op_take_rows(t, x, past, 1); break;
        case 7: op_embedding(t, b.head, ids, 3), want = F_TOKEN_RANGE; break;
        case 8: op_head_loss(t, x, b.head, &loss), want = F_TOKEN_RANGE; break;
        case 9: op_head_loss(t, wide, b.head, &loss); break;
        case 10: op_attention(t, x, x, NULL, x, &gap, &one), want = F_INTERNAL; break;
        case 11: op_attention(t, x, wide, NULL, x, &gap, &one); break;
        default: tape_var(t, INT64_MAX / 2, INT64_MAX / 2, false), want = F_OVERFLOW; break;
        }
        CHECK(!tape_ok(t), "case %d is accepted", i);
        status s = tape_status(t);
        CHECK(s != STATUS_OK && error_last()->id == want, "case %d: error %d", i,
              (int)error_last()->id);
        CHECK(error_last()->what[0] != '\0' && error_last()->where[0] != '\0' &&
                  error_last()->why[0] != '\0' && error_last()->fix[0] != '\0',
              "case %d: a part of the message is empty", i);
        bench_close(&b);
    }
}

TEST(tape_slices_share_gradients) {
    bench b;
    REQUIRE(bench_open(&b), "setup");
    var *x = tape_input(&b.t, ones, 3, 4, true);
    var *inner = op_slice(&b.t, op_slice(&b.t, x, 1, 3), 1, 2);
    tensor g = var_grad(&b.t, inner), whole = var_grad(&b.t, x);
    REQUIRE(g.data != NULL && whole.data != NULL, "gradients exist");
    CHECK((float *)g.data == (float *)whole.data + 2 && g.stride[0] == 4,
          "a window on columns 2, 3");
    CHECK((float *)inner->value.data == ones + 2 && inner->value.stride[0] == 4,
          "and on the value");
    for (int i = 0; i < 12; i++)
        CHECK(((float *)whole.data)[i] == 0, "zeroed");
    var *fixed = op_slice(&b.t, tape_input(&b.t, ones, 3, 4, false), 0, 2);
    CHECK(var_grad(&b.t, fixed).data == NULL, "no gradient where none is needed");
    bench_close(&b);
}

/* -- on_grad_ready -- */

typedef struct ready_log {
    const param *order[8];
    int n;
} ready_log;

static void log_ready(void *context, param *p) {
    ready_log *log = context;
    if (log->n < 8) log->order[log->n] = p;
    log->n++;
}

static var *square_block(tape *t, void *context, var *x) {
    const bench *b = context;
    return op_add(t, x, op_linear(t, x, b->w));
}

/* A parameter used outside and inside two checkpointed blocks is ready once, after its last use. */
TEST(tape_says_when_gradients_are_ready) {
    bench b;
    static const int32_t target[] = {1, -1, 4}, ids[] = {2, 0, 2};
    REQUIRE(bench_open(&b), "setup");
    ready_log log = {0};
    b.t.on_grad_ready = log_ready;
    b.t.on_grad_ready_context = &log;
    var *x = op_embedding(&b.t, b.head, ids, 3);
    x = checkpoint(&b.t, square_block, &b, op_linear(&b.t, x, b.w));
    x = checkpoint(&b.t, square_block, &b, x);
    head_loss loss = {.target = target, .scale = 0.5};
    op_head_loss(&b.t, x, b.head, &loss);
    CHECK(b.w->uses == 3 && b.head->uses == 2, "%d and %d uses", b.w->uses, b.head->uses);
    CHECK(log.n == 0, "nothing is ready before backward");
    REQUIRE_OK(tape_backward(&b.t));
    CHECK(log.n == 2 && log.order[0] == b.w && log.order[1] == b.head,
          "%d calls, each parameter once, after its last use", log.n);
    bench_close(&b);
}

/* -- checkpoint -- */

typedef struct loss_block {
    param *w, *head;
    head_loss loss;
} loss_block;

static var *block_with_loss(tape *t, void *context, var *x) {
    loss_block *b = context;
    var *y = op_linear(t, x, b->w);
    op_head_loss(t, y, b->head, &b->loss);
    return y;
}

/* A loss inside a checkpointed block: told once, its gradient added once. */
TEST(checkpoint_with_a_loss_inside) {
    static const int32_t target[] = {1, -1, 4};
    float grad[2][36], dx[2][12];
    double sum[2];
    for (int i = 0; i < 2; i++) {
        bench b;
        REQUIRE(bench_open(&b), "setup");
        loss_block block = {b.w, b.head, {.target = target, .scale = 0.5}};
        var *x = tape_input(&b.t, ones, 3, 4, true);
        var *y = i == 0 ? block_with_loss(&b.t, &block, x)
                        : checkpoint(&b.t, block_with_loss, &block, x);
        op_head_loss(&b.t, y, b.head, &(head_loss){.target = target, .scale = 0.25});
        REQUIRE_OK(tape_backward(&b.t));
        CHECK(block.loss.counted == 2, "%d tokens counted", (int)block.loss.counted);
        sum[i] = block.loss.sum;
        memcpy(grad[i], b.grad, sizeof grad[i]);
        memcpy(dx[i], var_grad(&b.t, x).data, sizeof dx[i]);
        bench_close(&b);
    }
    CHECK(sum[0] > 0 && memcmp(&sum[0], &sum[1], sizeof sum[0]) == 0, "%g, %g", sum[0], sum[1]);
    for (int i = 0; i < 36; i++)
        CHECK(fabsf(grad[0][i] - grad[1][i]) <= 1e-6f, "gradient %d: %g, %g", i, (double)grad[0][i],
              (double)grad[1][i]);
    for (int i = 0; i < 12; i++)
        CHECK(fabsf(dx[0][i] - dx[1][i]) <= 1e-6f, "dx %d: %g, %g", i, (double)dx[0][i],
              (double)dx[1][i]);
}

typedef struct leak {
    var *outside;
} leak;

static var *reaching_block(tape *t, void *context, var *x) {
    const leak *l = context;
    return op_add(t, x, l->outside);
}

TEST(checkpoint_catches_outside_vars) {
    bench b;
    REQUIRE(bench_open(&b), "setup");
    var *x = tape_input(&b.t, ones, 3, 4, true), *other = tape_input(&b.t, ones, 3, 4, true);
    checkpoint(&b.t, reaching_block, &(leak){other}, x);
    CHECK(tape_backward(&b.t) == STATUS_INTERNAL, "its gradient would be lost");
    bench_close(&b);
}

static var *narrowing_block(tape *t, void *context, var *x) {
    (void)context;
    return op_slice(t, x, 0, 2);
}

TEST(checkpoint_keeps_shapes) {
    bench b;
    REQUIRE(bench_open(&b), "setup");
    var *y = checkpoint(&b.t, narrowing_block, NULL, tape_input(&b.t, ones, 3, 4, true));
    CHECK(y == b.t.poison && tape_status(&b.t) == STATUS_SHAPE, "another shape is refused");
    bench_close(&b);
}

/* The inside of a block is not kept: two blocks take less than twice the memory of their inside. */
TEST(checkpoint_gives_memory_back) {
    size_t used[2];
    for (int i = 0; i < 2; i++) {
        bench b;
        REQUIRE(bench_open(&b), "setup");
        float *data = arena_zalloc(&b.memory, 4096 * 4 * sizeof *data);
        REQUIRE(data != NULL, "memory");
        size_t mark = b.memory.used;
        var *x = tape_input(&b.t, data, 4096, 4, true);
        for (int k = 0; k < 8; k++)
            x = i == 0 ? square_block(&b.t, &b, x) : checkpoint(&b.t, square_block, &b, x);
        used[i] = b.memory.used - mark;
        bench_close(&b);
    }
    CHECK(used[1] < used[0] * 6 / 10, "%zu bytes with, %zu without", used[1], used[0]);
}

/* Gradients serve one op after the other: a deep chain's backward takes the memory of a few. */
TEST(tape_gradients_are_used_again) {
    enum { ROWS = 1024, DEPTH = 40 };
    bench b;
    REQUIRE(bench_open(&b), "setup");
    float *data = arena_zalloc(&b.memory, ROWS * 4 * sizeof *data);
    REQUIRE(data != NULL, "memory");
    var *x = tape_input(&b.t, data, ROWS, 4, true), *y = x;
    for (int i = 0; i < DEPTH; i++)
        y = square_block(&b.t, &b, y);
    tensor grad = var_grad(&b.t, y);
    size_t used = b.memory.used;
    REQUIRE_OK(tape_backward(&b.t));
    CHECK(b.memory.used - used <= 3 * tensor_bytes(&grad), "%zu bytes for gradients of %zu",
          b.memory.used - used, tensor_bytes(&grad));
    CHECK(x->grad.data != NULL, "the input keeps its gradient");
    bench_close(&b);
}

/* -- choices -- */

TEST(tape_lent_choices) {
    bench b;
    bool filled;
    int32_t ids[4] = {9, 9, 9, 9};
    choice_slot slot[2] = {{ids, 4, false}, {NULL, 0, false}};
    REQUIRE(bench_open(&b), "setup");
    REQUIRE_OK(tape_choices(&b.t, 2, slot));
    CHECK(tape_choice(&b.t, 0, 4, &filled) == ids && !filled, "the lender's array");
    tape_choice_filled(&b.t, 0);
    CHECK(tape_choice(&b.t, 0, 4, &filled) == ids && filled, "replayed");
    CHECK(tape_choice(&b.t, 0, 3, &filled) == NULL && tape_status(&b.t) == STATUS_SHAPE,
          "another batch's choice is refused");
    REQUIRE_OK(tape_init(&b.t, &b.memory, &b.params, (tape_options){.recording = true}));
    REQUIRE_OK(tape_choices(&b.t, 2, slot));
    CHECK(tape_choice(&b.t, 1, 3, &filled) == NULL && !tape_ok(&b.t), "a lent slot has its array");
    REQUIRE_OK(tape_init(&b.t, &b.memory, &b.params, (tape_options){.recording = true}));
    REQUIRE_OK(tape_choices(&b.t, 1, NULL));
    CHECK(tape_choice(&b.t, 0, 3, &filled) != NULL && !filled, "own slots make theirs");
    CHECK(tape_choice(&b.t, 1, 3, &filled) == NULL && !tape_ok(&b.t), "no slot of that number");
    bench_close(&b);
}

/* -- inference -- */

/* Attention over pages gives the bits of attention over the batch. */
TEST(attention_pages_equal_the_batch) {
    enum { T = 70, H = 2, D = 3, S = 2, V = 5, PAGES = 2 };
    bench b;
    REQUIRE(bench_open(&b), "setup");
    float *data = arena_zalloc(&b.memory, T * 64 * sizeof *data);
    float *k_page[PAGES], *s_page[PAGES], *v_page[PAGES];
    int64_t start[] = {0, T};
    int32_t position[T], first[T];
    REQUIRE(data != NULL, "memory");
    for (int i = 0; i < T * 64; i++)
        data[i] = (float)sin(i * 0.7);
    float *q = data, *k = q + T * H * (D + S), *s = k + T * H * D, *v = s + T * S;
    for (int p = 0; p < PAGES; p++) {
        k_page[p] = arena_zalloc(&b.memory, KEY_PAGE * H * D * sizeof(float));
        s_page[p] = arena_zalloc(&b.memory, KEY_PAGE * S * sizeof(float));
        v_page[p] = arena_zalloc(&b.memory, KEY_PAGE * H * V * sizeof(float));
        REQUIRE(k_page[p] != NULL && s_page[p] != NULL && v_page[p] != NULL, "memory");
    }
    for (int i = 0; i < T; i++) {
        int p = i / KEY_PAGE, r = i % KEY_PAGE;
        position[i] = i, first[i] = i < 20 ? 0 : 20;
        memcpy(k_page[p] + r * H * D, k + i * H * D, H * D * sizeof(float));
        memcpy(s_page[p] + r * S, s + i * S, S * sizeof(float));
        memcpy(v_page[p] + r * H * V, v + i * H * V, H * V * sizeof(float));
    }
    token_layout layout = {T, 1, start, position, first};
    attention_shape shape = {
        .n_head = H, .n_kv_head = H, .qk_dim = D, .shared_dim = S, .v_dim = V, .scale = 0.5};
    key_pages pages = {(const void *const *)k_page, (const void *const *)s_page,
                       (const void *const *)v_page, T};
    var *vq = tape_input(&b.t, q, T, H * (D + S), false);
    var *whole = op_attention(&b.t, vq, tape_input(&b.t, k, T, H * D, false),
                              tape_input(&b.t, s, T, S, false),
                              tape_input(&b.t, v, T, H * V, false), &layout, &shape);
    var *paged = op_attention_paged(&b.t, vq, &pages, &layout, &shape);
    REQUIRE_OK(tape_status(&b.t));
    CHECK(memcmp(whole->value.data, paged->value.data, tensor_bytes(&whole->value)) == 0, "differ");
    /* the last queries alone, as in generation */
    int64_t tail_start[] = {0, 3};
    token_layout tail = {3, 1, tail_start, position + T - 3, first + T - 3};
    var *few =
        op_attention_paged(&b.t, tape_input(&b.t, q + (T - 3) * H * (D + S), 3, H * (D + S), false),
                           &pages, &tail, &shape);
    REQUIRE_OK(tape_status(&b.t));
    CHECK(memcmp(few->value.data, (float *)whole->value.data + (T - 3) * H * V,
                 tensor_bytes(&few->value)) == 0,
          "a tail of queries differs");
    bench_close(&b);
}

/* Losses of a head in chunks do not depend on whether gradients are wanted, and add up. */
TEST(head_loss_sums_its_rows) {
    enum { ROWS = 2100 }; /* more than two chunks */
    bench b;
    REQUIRE(bench_open(&b), "setup");
    float *x = arena_zalloc(&b.memory, ROWS * 4 * sizeof *x);
    int32_t *target = arena_alloc(&b.memory, ROWS * sizeof *target);
    double *each = arena_zalloc(&b.memory, ROWS * sizeof *each), sum = 0;
    REQUIRE(x != NULL && target != NULL && each != NULL, "memory");
    for (int i = 0; i < ROWS * 4; i++)
        x[i] = (float)sin(i * 0.3);
    for (int i = 0; i < ROWS; i++)
        target[i] = i % 6 - 1;
    head_loss with = {.target = target, .scale = 1e-3, .each = each}, without = {.target = target};
    op_head_loss(&b.t, tape_input(&b.t, x, ROWS, 4, true), b.head, &with);
    op_head_loss(&b.t, tape_input(&b.t, x, ROWS, 4, true), b.head, &without);
    REQUIRE_OK(tape_backward(&b.t));
    for (int i = 0; i < ROWS; i++) {
        CHECK((each[i] == 0) == (target[i] < 0), "row %d: %g", i, each[i]);
        sum += each[i];
    }
    CHECK(sum == with.sum && with.sum == without.sum, "%.17g, %.17g, %.17g", sum, with.sum,
          without.sum);
    CHECK(with.counted == ROWS - ROWS / 6 && without.counted == with.counted, "%d counted",
          (int)with.counted);
    /* softmax minus one-hot sums to zero over the vocabulary */
    for (int c = 0; c < 4; c++) {
        double column = 0;
        for (int v = 0; v < 5; v++)
            column += (double)((float *)b.head->grad)[v * 4 + c];
        CHECK(fabs(column) < 1e-5, "column %d of the head's gradient sums to %g", c, column);
    }
    bench_close(&b);
}
