/* drop_places.c - one stream of random bits per step and place of the model.
 *
 * Places are those of nanoGPT: embeddings, attention probabilities, and both branches before they
 * join the residual stream. A place's key is drawn from the seed by its number, 4 per block; the
 * step selects the stream under that key, and elements are numbered by the token's place in the
 * whole batch. So a step can be done again, in other cuts, on other threads, after a restart.
 */
#include "model/model_internal.h"

dropout_site dropout_at(const forward *f, int64_t layer, dropout_place place) {
    const model_dropout *d = &f->batch.dropout;
    if (d->rate <= 0) return (dropout_site){.token = 0};
    uint64_t number = (uint64_t)layer * 4 + (uint64_t)place;
    uint64_t key = rng_u64(rng_at(d->seed, RNG_DROPOUT, 0), number);
    return (dropout_site){dropout_mask_of(d->rate, rng_at(key, RNG_DROPOUT, (uint64_t)d->step)),
                          d->token};
}
