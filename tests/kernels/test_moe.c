/* test_moe.c - routing, sorting and moving rows, against plain loops. */
#include "kernel_test.h"

TEST(router_takes_the_best_with_ties_to_the_lower_index) {
    use_threads(2);
    double score[6] = {0.5, 0.9, 0.5, 0.9, 0.1, 0.5};
    int32_t ids[4];
    router_top_k(DTYPE_F64, 1, 6, 4, 1, 1, 2, score, NULL, ids);
    CHECK(ids[0] == 0 && ids[1] == 1 && ids[2] == 2 && ids[3] == 3, "%d %d %d %d", ids[0], ids[1],
          ids[2], ids[3]);
    double bias[6] = {0, 0, 0, 0, 1, 0.2};
    router_top_k(DTYPE_F64, 1, 6, 2, 1, 1, 2, score, bias, ids);
    CHECK(ids[0] == 1 && ids[1] == 4, "bias moves the choice: %d %d", ids[0], ids[1]);
}

TEST(router_random_against_sorting) {
    use_threads(2);
    enum { E = 37, K = 6, ROWS = 200 };
    float *score = random_array(DTYPE_F32, ROWS * E, 3), *bias = random_array(DTYPE_F32, E, 4);
    int32_t ids[ROWS * K];
    for (int i = 0; i < ROWS * E; i += 3)
        score[i] = floorf(score[i] * 4) / 4; /* ties */
    router_top_k(DTYPE_F32, ROWS, E, K, 1, 1, 2, score, bias, ids);
    for (int row = 0; row < ROWS; row++) {
        for (int i = 0; i < K; i++) {
            int e = ids[row * K + i], better = 0;
            float s = score[row * E + e] + bias[e];
            for (int o = 0; o < E; o++) {
                float other = score[row * E + o] + bias[o];
                better += other > s || (other == s && o < e);
            }
            CHECK(better < K, "row %d: expert %d has rank %d", row, e, better);
            CHECK(i == 0 || ids[row * K + i - 1] < e, "row %d: ascending and distinct", row);
        }
    }
    mem_free(score);
    mem_free(bias);
}

TEST(router_groups) {
    use_threads(1);
    /* group sums of the two best: 1.0, 1.7, 1.6, 0.3; keep 2 */
    double score[12] = {0.9, 0.1, 0.05, 0.8, 0.9, 0.0, 0.8, 0.2, 0.8, 0.1, 0.2, 0.1};
    int32_t ids[3];
    router_top_k(DTYPE_F64, 1, 12, 3, 4, 2, 2, score, NULL, ids);
    CHECK(ids[0] == 3 && ids[1] == 4 && ids[2] == 6, "%d %d %d", ids[0], ids[1], ids[2]);
}

/* Best of each group: 0.9, 0.8, 0.85, 0.1; by sums of two the first group would lose. */
TEST(router_groups_by_their_best) {
    use_threads(1);
    double score[8] = {0.9, 0.0, 0.8, 0.7, 0.85, 0.6, 0.1, 0.1};
    int32_t ids[3];
    router_top_k(DTYPE_F64, 1, 8, 3, 4, 2, 1, score, NULL, ids);
    CHECK(ids[0] == 0 && ids[1] == 4 && ids[2] == 5, "%d %d %d", ids[0], ids[1], ids[2]);
}

TEST(router_group_scores_may_be_negative) {
    use_threads(1);
    double score[4] = {-0.9, -0.8, -0.1, -0.2};
    int32_t ids[2];
    router_top_k(DTYPE_F64, 1, 4, 2, 2, 1, 2, score, NULL, ids);
    CHECK(ids[0] == 2 && ids[1] == 3, "losing groups stay out: %d %d", ids[0], ids[1]);
}

TEST(router_survives_nan) {
    use_threads(1);
    float score[5] = {NAN, NAN, 0.1f, NAN, -INFINITY};
    int32_t ids[5];
    router_top_k(DTYPE_F32, 1, 5, 5, 1, 1, 2, score, NULL, ids);
    for (int i = 0; i < 5; i++)
        CHECK(ids[i] == i, "id %d is %d", i, ids[i]);
}

/* A routed batch with its sort. */
enum { ROWS = 150, EXPERTS = 7, K = 3, C = 70, CAPACITY = ROWS * K + 32 * EXPERTS };
typedef struct routed {
    int32_t ids[ROWS * K], source[CAPACITY], place[ROWS * K];
    int64_t offset[EXPERTS + 1];
} routed;

static void routed_fill(routed *r) {
    for (int row = 0; row < ROWS; row++) {
        int32_t e = random_int(900 + (uint64_t)row, 0, 1); /* expert 5 stays empty */
        for (int i = 0; i < K; i++, e += 1 + (e == 4))
            r->ids[row * K + i] = i == 2 ? 6 : e;
    }
    moe_sort(ROWS, K, EXPERTS, r->ids, r->offset, r->source, r->place);
}

TEST(moe_sort_is_stable_and_padded) {
    routed r;
    routed_fill(&r);
    CHECK(r.offset[0] == 0 && r.offset[5] == r.offset[6], "expert 5 is empty");
    for (int e = 0; e < EXPERTS; e++) {
        CHECK(r.offset[e] % 32 == 0 && r.offset[e + 1] % 32 == 0, "padded to 32");
        int32_t last = -1;
        bool padding = false;
        for (int64_t p = r.offset[e]; p < r.offset[e + 1]; p++) {
            int32_t choice = r.source[p];
            padding = padding || choice < 0;
            if (choice < 0) continue;
            CHECK(!padding && choice > last, "stable, padding last");
            CHECK(r.ids[choice] == e && r.place[choice] == p, "choice %d at %d", choice, (int)p);
            last = choice;
        }
    }
    int placed = 0;
    for (int64_t p = 0; p < r.offset[EXPERTS]; p++)
        placed += r.source[p] >= 0;
    CHECK(placed == ROWS * K, "%d placed", placed);
}

/* Rows to experts and back, forward and backward, into one output. */
static void *moe_run(dtype t, const routed *r, int64_t *n) {
    int64_t places = r->offset[EXPERTS], at = 0;
    void *x = random_array(t, ROWS * C, 1), *weight = random_array(t, ROWS * K, 2);
    void *dy = random_array(t, ROWS * C, 3), *y = random_array(t, ROWS * C, 4);
    void *dx = random_array(t, ROWS * C, 5), *dweight = random_array(t, ROWS * K, 6);
    void *e = zero_array(t, places * C), *de = random_array(t, places * C, 7);
    moe_gather(t, places, C, K, r->source, x, e);
    moe_combine(t, ROWS, C, K, r->place, weight, e, y);
    moe_combine_backward(t, ROWS, places, C, K, r->source, r->place, weight, e, dy, de, dweight);
    moe_gather_backward(t, ROWS, C, K, r->place, de, dx);
    struct {
        void *data;
        int64_t n;
    } parts[] = {
        {e, places * C}, {y, ROWS * C}, {de, places * C}, {dweight, ROWS * K}, {dx, ROWS * C}};
    *n = 2 * places * C + 2 * ROWS * C + ROWS * K;
    char *all = zero_array(t, *n);
    for (int i = 0; i < 5; i++) {
        memcpy(all + bytes_of(t, at), parts[i].data, bytes_of(t, parts[i].n));
        at += parts[i].n;
        mem_free(parts[i].data);
    }
    mem_free(x);
    mem_free(weight);
    mem_free(dy);
    return all;
}

TEST(moe_rows_against_plain_loops) {
    use_threads(2);
    use_tier((int)kernels_best_tier());
    routed r;
    routed_fill(&r);
    int64_t n, places = r.offset[EXPERTS];
    double *all = moe_run(DTYPE_F64, &r, &n), *e = all, *y = e + places * C, *de = y + ROWS * C;
    double *dweight = de + places * C, *dx = dweight + ROWS * K;
    double *x = random_array(DTYPE_F64, ROWS * C, 1),
           *weight = random_array(DTYPE_F64, ROWS * K, 2);
    double *dy = random_array(DTYPE_F64, ROWS * C, 3), *y0 = random_array(DTYPE_F64, ROWS * C, 4);
    double *dx0 = random_array(DTYPE_F64, ROWS * C, 5);
    double *dw0 = random_array(DTYPE_F64, ROWS * K, 6), worst = 0;
    for (int64_t p = 0; p < places; p++)
        for (int c = 0; c < C; c++) {
            int32_t s = r.source[p];
            worst = fmax(worst, fabs(e[p * C + c] - (s < 0 ? 0 : x[s / K * C + c])));
            worst = fmax(worst, fabs(de[p * C + c] - (s < 0 ? 0 : weight[s] * dy[s / K * C + c])));
        }
    for (int row = 0; row < ROWS; row++) {
        for (int c = 0; c < C; c++) {
            double sum = y0[row * C + c], d = dx0[row * C + c];
            for (int i = row * K; i < (row + 1) * K; i++) {
                sum += weight[i] * x[row * C + c];
                d += weight[i] * dy[row * C + c];
            }
            worst = fmax(worst, fabs(sum - y[row * C + c]));
            worst = fmax(worst, fabs(d - dx[row * C + c]));
        }
        for (int i = row * K; i < (row + 1) * K; i++) {
            double d = dw0[i];
            for (int c = 0; c < C; c++)
                d += dy[row * C + c] * x[row * C + c];
            worst = fmax(worst, fabs(d - dweight[i]));
        }
    }
    CHECK(worst < 1e-12, "%g", worst);
    mem_free(all);
    mem_free(x);
    mem_free(weight);
    mem_free(dy);
    mem_free(y0);
    mem_free(dx0);
    mem_free(dw0);
}

TEST(moe_tiers_and_threads_equal_portable) {
    routed r;
    routed_fill(&r);
    for (int t = 0; t < 2; t++) {
        dtype type = t ? DTYPE_F64 : DTYPE_F32;
        int64_t n;
        use_threads(1);
        use_tier(TIER_PORTABLE);
        void *want = moe_run(type, &r, &n);
        for (int tier = 0; tier < TIER_COUNT; tier++)
            for (int threads = 1; threads <= 4; threads *= 2) {
                use_threads(threads);
                if (!use_tier(tier)) continue;
                void *got = moe_run(type, &r, &n);
                CHECK(same(got, want, bytes_of(type, n)), "%s, %d threads", tier_label(tier),
                      threads);
                mem_free(got);
            }
        mem_free(want);
    }
    use_threads(2);
}
