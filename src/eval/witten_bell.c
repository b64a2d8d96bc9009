/* witten_bell.c - interpolated Witten-Bell byte models, order 1 to 5, from one set of counts.
 *
 * p_k(c | h) = (n(hc) + T(h) p_{k-1}(c | h')) / (n(h) + T(h)),  p_{-1} = 1/256,
 * where h is the last k bytes, h' drops the oldest, n counts occurrences and T(h) the distinct bytes
 * seen after h (Witten and Bell 1991, method C; Chen and Goodman 1998 for the interpolated form). A
 * context never seen passes on the lower order unchanged.
 *
 * How: for every length m = 1 .. 6 the counts of all m-grams. n(h) = sum of n(hc) is kept with T(h)
 * in the entry of h as a context. Lengths up to 2 live in plain arrays, longer ones in one open
 * hash table per length, keyed by the bytes themselves (at most 48 bits, exact). Lengths are
 * independent, so the pool counts them side by side.
 *
 * Mind: memory is about 24 bytes per distinct gram; 10 MB of English has some 4 million.
 */
#include "eval/eval.h"

#include "base/checked.h"
#include "base/memory.h"
#include "base/pool.h"

#include <math.h>
#include <string.h>

#define LENGTHS (WITTEN_BELL_ORDERS + 1)

typedef struct gram {
    uint64_t key; /* bytes + 1, so that 0 is empty */
    uint32_t count;
} gram;
typedef struct context_entry {
    uint64_t key;
    uint32_t total, distinct;
} context_entry;

/* Grams of one length m and their contexts of length m - 1. */
typedef struct table {
    gram *grams;
    context_entry *contexts;
    size_t n_grams, n_contexts, gram_room, context_room; /* rooms are powers of two */
    int length;
    status state;
    error_report report;
} table;

static size_t slot_of(uint64_t key, size_t room) {
    key *= 0x9E3779B97F4A7C15u;
    return (size_t)(key ^ key >> 32) & (room - 1);
}

static gram *gram_find(const table *t, uint64_t key) {
    size_t i = slot_of(key, t->gram_room);
    while (t->grams[i].key != 0 && t->grams[i].key != key)
        i = (i + 1) & (t->gram_room - 1);
    return &t->grams[i];
}

static context_entry *context_find(const table *t, uint64_t key) {
    size_t i = slot_of(key, t->context_room);
    while (t->contexts[i].key != 0 && t->contexts[i].key != key)
        i = (i + 1) & (t->context_room - 1);
    return &t->contexts[i];
}

static status grams_grow(table *t) {
    gram *old = t->grams;
    size_t old_room = t->gram_room;
    size_t room = old_room > 0 ? old_room * 2 : 1 << 12;
    gram *grown = mem_zalloc(room, sizeof *grown);
    if (grown == NULL) return STATUS_MEMORY;
    t->grams = grown;
    t->gram_room = room;
    for (size_t i = 0; i < old_room; i++)
        if (old[i].key != 0) *gram_find(t, old[i].key) = old[i];
    mem_free(old);
    return STATUS_OK;
}

static status contexts_grow(table *t) {
    context_entry *old = t->contexts;
    size_t old_room = t->context_room;
    size_t room = old_room > 0 ? old_room * 2 : 1 << 12;
    context_entry *grown = mem_zalloc(room, sizeof *grown);
    if (grown == NULL) return STATUS_MEMORY;
    t->contexts = grown;
    t->context_room = room;
    for (size_t i = 0; i < old_room; i++)
        if (old[i].key != 0) *context_find(t, old[i].key) = old[i];
    mem_free(old);
    return STATUS_OK;
}

static uint64_t mask_of(int bytes) {
    return ((uint64_t)1 << 8 * bytes) - 1;
}

static status table_count(table *t, const uint8_t *text, size_t n) {
    TRY(grams_grow(t));
    TRY(contexts_grow(t));
    uint64_t window = 0, mask = mask_of(t->length);
    for (size_t i = 0; i < n; i++) {
        window = (window << 8 | text[i]) & mask;
        if (i + 1 < (size_t)t->length) continue;
        if (t->n_grams * 3 >= t->gram_room * 2) TRY(grams_grow(t));
        if (t->n_contexts * 3 >= t->context_room * 2) TRY(contexts_grow(t));
        gram *g = gram_find(t, window + 1);
        context_entry *c = context_find(t, (window >> 8) + 1);
        if (g->key == 0) {
            g->key = window + 1;
            t->n_grams++;
            if (c->key == 0) {
                c->key = (window >> 8) + 1;
                t->n_contexts++;
            }
            c->distinct++;
        }
        if (g->count < UINT32_MAX) g->count++;
        if (c->total < UINT32_MAX) c->total++;
    }
    return STATUS_OK;
}

typedef struct counting {
    table tables[LENGTHS]; /* [m - 1] */
    const uint8_t *text;
    size_t n;
} counting;

static void count_length(void *context, int64_t chunk) {
    counting *c = context;
    table *t = &c->tables[LENGTHS - 1 - chunk]; /* the longest takes longest: first */
    t->state = table_count(t, c->text, c->n);
    if (t->state != STATUS_OK) error_save(&t->report);
}

static void tables_free(counting *c) {
    for (int i = 0; i < LENGTHS; i++) {
        mem_free(c->tables[i].grams);
        mem_free(c->tables[i].contexts);
    }
}

/* p of the byte text[at] under orders 0 .. 5; p[k] for order k. */
static void probabilities(const counting *c, const uint8_t *text, size_t at, double p[LENGTHS]) {
    double lower = 1.0 / 256;
    uint64_t window = 0;
    for (int order = 0; order < LENGTHS; order++) {
        p[order] = lower;
        if (at < (size_t)order) continue;
        const table *t = &c->tables[order];
        window = 0;
        for (size_t i = at - (size_t)order; i <= at; i++)
            window = window << 8 | text[i];
        const context_entry *h = context_find(t, (window >> 8) + 1);
        if (h->key == 0) continue;
        double n = gram_find(t, window + 1)->count; /* an empty slot counts 0 */
        lower = p[order] = (n + h->distinct * lower) / ((double)h->total + h->distinct);
    }
}

status baseline_witten_bell(const uint8_t *train, size_t n_train, const uint8_t *text, size_t n,
                            double bits[WITTEN_BELL_ORDERS]) {
    counting *c = mem_zalloc(1, sizeof *c);
    if (c == NULL) return STATUS_MEMORY;
    c->text = train;
    c->n = n_train;
    for (int i = 0; i < LENGTHS; i++)
        c->tables[i].length = i + 1;
    pool_for(LENGTHS, count_length, c);
    status s = STATUS_OK;
    for (int i = 0; i < LENGTHS && s == STATUS_OK; i++) {
        s = c->tables[i].state;
        if (s != STATUS_OK) error_restore(&c->tables[i].report);
    }
    double sum[LENGTHS] = {0};
    for (size_t i = 0; i < n && s == STATUS_OK; i++) {
        double p[LENGTHS];
        probabilities(c, text, i, p);
        for (int k = 0; k < LENGTHS; k++)
            sum[k] -= log2(p[k]);
    }
    for (int k = 1; k < LENGTHS && s == STATUS_OK; k++)
        bits[k - 1] = n > 0 ? sum[k] / (double)n : 0;
    tables_free(c);
    mem_free(c);
    return s;
}
