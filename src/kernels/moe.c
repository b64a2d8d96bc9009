/* moe.c - routing choices, the sort by expert, and the way of rows to experts and back.
 *
 * DeepSeekMoE (arXiv 2401.06066) with the selection rules of DeepSeek-V3 (arXiv 2412.19437,
 * 2.1.2). Expert segments are padded with zero rows to MOE_ALIGN so that every
 * expert's product starts on a tile border. Choices ascend by expert within a row, so a row's sum
 * over experts has one order (docs/numerics.md 6).
 *
 * Mind: NaN scores rank below everything else, so that ids are always valid; the NaN itself
 * arrives in the loss through the gate weight. At most 64 groups.
 */
#include "kernels/kernels.h"
#include "kernels/kernels_internal.h"

#include <math.h>
#include <string.h>

#define MOE_ALIGN 32
#define PIECE     16384

/* -- router -- */

typedef struct router_job {
    dtype t;
    int64_t rows, piece;
    int n_expert, k, groups, keep_groups, group_best;
    const void *score, *bias;
    int32_t *ids;
} router_job;

static double biased(const router_job *j, int64_t row, int expert) {
    double s = real_get(j->t, j->score, row * j->n_expert + expert);
    if (j->bias != NULL) {
        double b = real_get(j->t, j->bias, expert);
        s = j->t == DTYPE_F64 ? s + b : (double)((float)s + (float)b);
    }
    return s == s ? s : -(double)INFINITY;
}

/* The best score of a group, or the sum of its two best. */
static double group_score(const router_job *j, int64_t row, int group) {
    int size = j->n_expert / j->groups;
    double best = -(double)INFINITY, second = -(double)INFINITY;
    for (int e = group * size; e < (group + 1) * size; e++) {
        double s = biased(j, row, e);
        if (s > best) {
            second = best;
            best = s;
        } else if (s > second) {
            second = s;
        }
    }
    return j->group_best > 1 && size > 1 ? best + second : best;
}

static uint64_t kept_groups(const router_job *j, int64_t row) {
    double score[ROUTER_MOST_GROUPS];
    for (int g = 0; g < j->groups; g++)
        score[g] = group_score(j, row, g);
    uint64_t kept = 0;
    for (int g = 0; g < j->groups; g++) {
        int better = 0;
        for (int o = 0; o < j->groups; o++)
            better += score[o] > score[g] || (score[o] == score[g] && o < g);
        if (better < j->keep_groups) kept |= (uint64_t)1 << g;
    }
    return kept;
}

/* The best allowed expert that ranks after (score, expert) `after`; ties go to the lower index. */
static int next_best(const router_job *j, int64_t row, uint64_t kept, double after, int after_id) {
    int best = -1;
    double best_score = 0;
    int size = j->groups > 1 ? j->n_expert / j->groups : j->n_expert;
    for (int e = 0; e < j->n_expert; e++) {
        if (!(kept >> (e / size) & 1)) continue;
        double s = biased(j, row, e);
        if (after_id >= 0 && !(s < after || (s == after && e > after_id))) continue;
        if (best < 0 || s > best_score) {
            best = e;
            best_score = s;
        }
    }
    return best;
}

static void route_row(const router_job *j, int64_t row) {
    int32_t *ids = j->ids + row * j->k;
    uint64_t kept = j->groups > 1 ? kept_groups(j, row) : 1;
    int last = -1;
    for (int i = 0; i < j->k; i++) {
        last = next_best(j, row, kept, last < 0 ? 0 : biased(j, row, last), last);
        int at = i; /* insertion keeps ids ascending */
        for (; at > 0 && ids[at - 1] > last; at--)
            ids[at] = ids[at - 1];
        ids[at] = last;
    }
}

static void router_chunk(void *context, int64_t chunk) {
    const router_job *j = context;
    int64_t end = min_i64(j->rows, (chunk + 1) * j->piece);
    for (int64_t row = chunk * j->piece; row < end; row++)
        route_row(j, row);
}

void router_top_k(dtype t, int64_t rows, int n_expert, int k, int groups, int keep_groups,
                  int group_best, const void *score, const void *bias, int32_t *ids) {
    router_job j = {.t = t,
                    .rows = rows,
                    .piece = 64,
                    .n_expert = n_expert,
                    .k = k,
                    .groups = groups,
                    .keep_groups = keep_groups,
                    .group_best = group_best,
                    .score = score,
                    .bias = bias,
                    .ids = ids};
    pool_for(ceil_div(rows, j.piece), router_chunk, &j);
}

/* -- counting sort -- */

void moe_sort(int64_t rows, int k, int n_expert, const int32_t *ids, int64_t *offset,
              int32_t *source, int32_t *place) {
    int64_t choices = rows * k;
    memset(offset, 0, (size_t)(n_expert + 1) * sizeof *offset);
    for (int64_t i = 0; i < choices; i++)
        offset[ids[i] + 1]++;
    for (int e = 0; e < n_expert; e++)
        offset[e + 1] = offset[e] + ceil_div(offset[e + 1], MOE_ALIGN) * MOE_ALIGN;
    for (int64_t p = 0; p < offset[n_expert]; p++)
        source[p] = -1;
    for (int64_t i = 0; i < choices; i++) {
        int64_t p = offset[ids[i]]++; /* now the next free place of the expert */
        source[p] = (int32_t)i;
        place[i] = (int32_t)p;
    }
    /* back to segment starts: each offset stands at its segment's used end */
    for (int e = n_expert - 1; e > 0; e--)
        offset[e] = ceil_div(offset[e - 1], MOE_ALIGN) * MOE_ALIGN;
    offset[0] = 0;
}

/* -- rows -- */

typedef struct rows_job {
    const row_kernels *kernels;
    dtype t;
    size_t size;
    int64_t n, piece, c;
    int k;
    const int32_t *source, *place;
    const void *weight, *x, *e;
    void *y, *dweight;
} rows_job;

static void rows_run(rows_job *j, pool_fn *fn) {
    j->kernels = row_table(j->t);
    j->size = real_size(j->t);
    j->piece = max_i64(1, PIECE / max_i64(1, j->c));
    pool_for(ceil_div(j->n, j->piece), fn, j);
}

static void gather_chunk(void *context, int64_t chunk) {
    const rows_job *j = context;
    int64_t end = min_i64(j->n, (chunk + 1) * j->piece);
    size_t bytes = (size_t)j->c * j->size;
    for (int64_t p = chunk * j->piece; p < end; p++) {
        void *to = element_mut(j->y, p * j->c, j->size);
        if (j->source[p] < 0)
            memset(to, 0, bytes);
        else
            memcpy(to, element(j->x, j->source[p] / j->k * j->c, j->size), bytes);
    }
}

void moe_gather(dtype t, int64_t places, int64_t c, int k, const int32_t *source, const void *x,
                void *y) {
    rows_run(&(rows_job){.t = t, .n = places, .c = c, .k = k, .source = source, .x = x, .y = y},
             gather_chunk);
}

static void combine_chunk(void *context, int64_t chunk) {
    const rows_job *j = context;
    int64_t end = min_i64(j->n, (chunk + 1) * j->piece);
    for (int64_t row = chunk * j->piece; row < end; row++)
        for (int64_t i = row * j->k; i < (row + 1) * j->k; i++)
            j->kernels->axpy(j->c, real_get(j->t, j->weight, i),
                             element(j->e, j->place[i] * j->c, j->size),
                             element_mut(j->y, row * j->c, j->size));
}

void moe_combine(dtype t, int64_t rows, int64_t c, int k, const int32_t *place, const void *weight,
                 const void *e, void *y) {
    rows_run(
        &(rows_job){
            .t = t, .n = rows, .c = c, .k = k, .place = place, .weight = weight, .e = e, .y = y},
        combine_chunk);
}

/* Every choice has one place, so places are independent. */
static void combine_backward_chunk(void *context, int64_t chunk) {
    const rows_job *j = context;
    int64_t end = min_i64(j->n, (chunk + 1) * j->piece);
    size_t bytes = (size_t)j->c * j->size;
    for (int64_t p = chunk * j->piece; p < end; p++) {
        int64_t choice = j->source[p];
        void *de = j->y != NULL ? element_mut(j->y, p * j->c, j->size) : NULL;
        if (choice < 0) {
            if (de != NULL) memset(de, 0, bytes);
            continue;
        }
        const void *dy = element(j->x, choice / j->k * j->c, j->size);
        if (j->dweight != NULL) { /* first: de may be e */
            double d = j->kernels->dot(j->c, dy, element(j->e, p * j->c, j->size));
            double old = real_get(j->t, j->dweight, choice);
            real_set(j->t, j->dweight, choice, old + d);
        }
        if (de == NULL) continue;
        memcpy(de, dy, bytes);
        j->kernels->scale(j->c, real_get(j->t, j->weight, choice), de);
    }
}

void moe_combine_backward(dtype t, int64_t rows, int64_t places, int64_t c, int k,
                          const int32_t *source, const int32_t *place, const void *weight,
                          const void *e, const void *dy, void *de, void *dweight) {
    (void)rows, (void)place;
    rows_run(&(rows_job){.t = t,
                         .n = places,
                         .c = c,
                         .k = k,
                         .source = source,
                         .weight = weight,
                         .e = e,
                         .x = dy,
                         .y = de,
                         .dweight = dweight},
             combine_backward_chunk);
}

static void gather_backward_chunk(void *context, int64_t chunk) {
    const rows_job *j = context;
    int64_t end = min_i64(j->n, (chunk + 1) * j->piece);
    for (int64_t row = chunk * j->piece; row < end; row++) {
        void *dx = element_mut(j->y, row * j->c, j->size);
        for (int64_t i = row * j->k; i < (row + 1) * j->k; i++)
            j->kernels->add(j->c, dx, element(j->x, j->place[i] * j->c, j->size), dx);
    }
}

void moe_gather_backward(dtype t, int64_t rows, int64_t c, int k, const int32_t *place,
                         const void *dy, void *dx) {
    rows_run(&(rows_job){.t = t, .n = rows, .c = c, .k = k, .place = place, .x = dy, .y = dx},
             gather_backward_chunk);
}
