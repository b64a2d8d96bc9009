/* baselines.c - the baselines of a dataset, measured once and kept beside it.
 *
 * baselines.json = {"data": hash of all shards, "gzip": ..., "xz": ..., "xz_primed": ...,
 * "witten_bell": [order 1 .. 5]}. Another hash means other text: it is measured again. Failing to
 * write the file loses nothing but time, so it is a warning.
 */
#include "eval/eval_internal.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "data/data.h"

#include <inttypes.h>
#include <string.h>

#define KEPT "baselines.json"

static void data_hash(const dataset *d, char hex[17]) {
    uint64_t hash = 0;
    for (int i = 0; i < d->n_shards; i++) {
        uint64_t part[2] = {d->shards[i].entry.hash, (uint64_t)d->shards[i].split};
        hash = hash64(part, sizeof part, hash);
    }
    snprintf(hex, 17, "%016" PRIx64, hash);
}

static status kept_read(const char *path, const char *hash, eval_result *out, bool *found) {
    *found = false;
    if (!path_exists(path)) return STATUS_OK;
    json_t *object = NULL, *orders;
    const char *of;
    status s = json_read(path, &object);
    if (s != STATUS_OK) return s;
    TRY_GOTO(s, json_get_string(object, "data", &of, path));
    if (strcmp(of, hash) != 0) goto done;
    TRY_GOTO(s, json_get_real(object, "gzip", &out->gzip, path));
    TRY_GOTO(s, json_get_real(object, "xz", &out->xz, path));
    TRY_GOTO(s, json_get_real(object, "xz_primed", &out->xz_primed, path));
    TRY_GOTO(s, json_get_array(object, "witten_bell", &orders, path));
    for (size_t k = 0; k < WITTEN_BELL_ORDERS; k++)
        out->witten_bell[k] = json_number_value(json_array_get(orders, k));
    *found = true;
done:
    json_decref(object);
    return s;
}

static status kept_write(const char *path, const char *hash, const eval_result *r) {
    json_t *object =
        json_pack("{s:s, s:f, s:f, s:f, s:[f,f,f,f,f]}", "data", hash, "gzip", r->gzip, "xz", r->xz,
                  "xz_primed", r->xz_primed, "witten_bell", r->witten_bell[0], r->witten_bell[1],
                  r->witten_bell[2], r->witten_bell[3], r->witten_bell[4]);
    if (object == NULL)
        return FAIL(F_NO_MEMORY, "no memory for baselines", path,
                    "memory ran out while they were kept", "run the same command again");
    status s = json_write(path, object);
    json_decref(object);
    return s;
}

/* Training text with the held-out text behind it, in one block. */
static status both_texts(const dataset *d, char **bytes, size_t *n_train, size_t *n) {
    char *held = NULL;
    *bytes = NULL;
    status s = dataset_text(d, SPLIT_TRAIN, bytes, n_train);
    if (s != STATUS_OK) return s;
    TRY_GOTO(s, dataset_text(d, SPLIT_VALIDATION, &held, n));
    char *both = mem_resize(*bytes, *n_train + *n, 1);
    if (both == NULL) {
        s = STATUS_MEMORY;
        goto done;
    }
    memcpy(both + *n_train, held, *n);
    *bytes = both;
done:
    mem_free(held);
    if (s != STATUS_OK) {
        mem_free(*bytes);
        *bytes = NULL;
    }
    return s;
}

/* The held-out text follows the training text. */
static status measure_texts(const uint8_t *train, size_t n_train, size_t n, eval_result *out) {
    const uint8_t *held = train + n_train;
    status s = baseline_gzip(held, n, &out->gzip);
    if (s == STATUS_OK) s = baseline_xz(held, n, &out->xz);
    if (s == STATUS_OK) s = baseline_xz_primed(train, n_train, n, &out->xz_primed);
    if (s == STATUS_OK) s = baseline_witten_bell(train, n_train, held, n, out->witten_bell);
    return s;
}

static status measure(const dataset *d, eval_result *out) {
    char *bytes;
    size_t n_train, n;
    TRY(both_texts(d, &bytes, &n_train, &n));
    status s = measure_texts((const uint8_t *)bytes, n_train, n, out);
    mem_free(bytes);
    return s;
}

status baselines_of_file(const char *path, eval_result *out) {
    mapped_file m;
    TRY(mapped_open(&m, path));
    size_t train = m.size / 10 * 9 + m.size % 10 * 9 / 10;
    status s = measure_texts(m.data, train, m.size - train, out);
    mapped_close(&m);
    return s;
}

status baselines_of_data(const char *folder, eval_result *out) {
    dataset d = {0};
    char path[PATH_SIZE], hash[17];
    bool found;
    status s = dataset_open(&d, folder);
    if (s != STATUS_OK) return s;
    data_hash(&d, hash);
    TRY_GOTO(s, path_join(path, folder, KEPT));
    if (kept_read(path, hash, out, &found) != STATUS_OK) {
        log_warn("baselines of %s are measured again: %s", folder, error_last()->what);
        found = false;
    }
    if (found) goto done;
    TRY_GOTO(s, measure(&d, out));
    if (kept_write(path, hash, out) != STATUS_OK)
        log_warn("baselines were not kept: %s", error_last()->what);
done:
    dataset_close(&d);
    return s;
}
