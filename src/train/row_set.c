/* row_set.c - see row_set.h.
 *
 * Mind: position restarts with the row, and `first` (from the loader) is where the token's document
 * begins inside the row; the rotary position is their difference, so a packed document sees the
 * same angles wherever it stands.
 */
#include "train/row_set.h"

#include "base/checked.h"

status rows_init(row_set *r, int capacity, int64_t seq_len) {
    *r = (row_set){.capacity = capacity, .seq_len = seq_len};
    size_t places, bytes;
    if (!size_mul(&places, (size_t)capacity, (size_t)seq_len) || !size_mul(&bytes, places, 4 * 6) ||
        bytes > SIZE_MAX / 2)
        return FAIL(F_OVERFLOW,
                    text("a batch of %d rows of %lld tokens", capacity, (long long)seq_len),
                    "batch-tokens", "its size does not fit an address", "choose a smaller batch");
    TRY(arena_init(&r->memory, "batch", bytes + 64 * 16 + (size_t)capacity * 8));
    int32_t **arrays[] = {&r->ids,        &r->target, &r->next_id,
                          &r->target_mtp, &r->first,  &r->position};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        *arrays[i] = arena_alloc(&r->memory, places * 4);
        if (*arrays[i] == NULL) {
            rows_clear(r);
            return STATUS_MEMORY;
        }
    }
    r->start = arena_alloc(&r->memory, ((size_t)capacity + 1) * sizeof *r->start);
    if (r->start == NULL) {
        rows_clear(r);
        return STATUS_MEMORY;
    }
    for (size_t i = 0; i < places; i++)
        r->position[i] = (int32_t)(i % (size_t)seq_len);
    for (int i = 0; i <= capacity; i++)
        r->start[i] = i * seq_len;
    return STATUS_OK;
}

void rows_clear(row_set *r) {
    arena_clear(&r->memory);
    *r = (row_set){0};
}

status rows_load(row_set *r, loader *l, int64_t index, int64_t stride, int n) {
    r->n = n;
    r->counted = r->mtp_counted = 0;
    for (int i = 0; i < n; i++) {
        int64_t at = i * r->seq_len;
        loader_slot slot = {.ids = r->ids + at,
                            .target = r->target + at,
                            .next_id = r->next_id + at,
                            .target_mtp = r->target_mtp + at,
                            .first = r->first + at};
        TRY(loader_row(l, index + i * stride, &slot));
        for (int64_t j = at; j < at + r->seq_len; j++) {
            r->counted += r->target[j] >= 0;
            r->mtp_counted += r->target_mtp[j] >= 0;
        }
    }
    return STATUS_OK;
}

void rows_batch(const row_set *r, int first, int n, model_batch *batch) {
    int64_t at = first * r->seq_len;
    *batch = (model_batch){.layout = {.n = n * r->seq_len,
                                      .n_sequences = n,
                                      .start = r->start, /* relative to the batch: any n rows */
                                      .position = r->position + at,
                                      .first = r->first + at},
                           .ids = r->ids + at,
                           .role = ROLE_TRAINING,
                           .target = r->target + at,
                           .next_id = r->next_id + at,
                           .target_mtp = r->target_mtp + at};
}
