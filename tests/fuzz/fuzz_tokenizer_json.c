/* fuzz_tokenizer_json.c - any bytes as a tokenizer.json: what is accepted must encode and decode
 * exactly, and must survive being written and read again. */
#include "fuzz.h"

#include "base/memory.h"
#include "tokens/bpe_train.h"

#include <stdlib.h>
#include <string.h>

/* Small valid files of every pre-tokeniser: trained on the seed's own sentence. */
size_t fuzz_seed(int i, uint8_t *out, size_t room) {
    static const char text[] = "the cat sat on the mat, the cats sat on 12 mats\n\n  that's that";
    static const char *const added[] = {"<s>", "</s>", "<think>"};
    if (i >= PRETOKENIZERS) return 0;
    bpe_options o = {.vocab_size = 290,
                     .pretokenizer = (pretokenizer)i,
                     .added = added,
                     .n_added = 3,
                     .n_special = 2};
    bpe_trainer *b;
    tokenizer *t;
    char *json;
    size_t n;
    if (bpe_trainer_new(&b, &o) != STATUS_OK) abort();
    if (bpe_trainer_add(b, &(text_span){text, sizeof text - 1}, 1) != STATUS_OK) abort();
    if (bpe_trainer_finish(b, &t) != STATUS_OK) abort();
    if (tokenizer_format(t, &json, &n) != STATUS_OK || n > room) abort();
    memcpy(out, json, n);
    mem_free(json);
    tokenizer_free(t);
    bpe_trainer_free(b);
    return n;
}

static bool has_all_bytes(const tokenizer *t) {
    bool seen[256] = {false};
    for (int32_t id = 0; id < tokenizer_vocab_size(t); id++) {
        size_t n;
        const uint8_t *bytes = tokenizer_token(t, id, &n);
        if (n == 1 && !tokenizer_is_added(t, id)) seen[bytes[0]] = true;
    }
    for (int b = 0; b < 256; b++)
        if (!seen[b]) return false;
    return true;
}

/* The input's own bytes make a fine text. */
static void check_round_trip(const tokenizer *t, const uint8_t *text, size_t n, bool exact,
                             bool own_rules) {
    token_list ids = {0};
    char *back;
    size_t back_n;
    if (tokenizer_encode(t, text, n, SPECIAL_AS_TEXT, &ids) != STATUS_OK) {
        if (!own_rules || error_last()->id != F_PATTERN_LIMIT) abort();
        return;
    }
    for (size_t i = 0; i < ids.n; i++)
        if (ids.ids[i] < 0 || ids.ids[i] >= tokenizer_vocab_size(t)) abort();
    if (tokenizer_decode(t, ids.ids, ids.n, true, &back, &back_n) != STATUS_OK) abort();
    if (exact && (back_n != n || memcmp(back, text, n) != 0)) abort();
    mem_free(back);
    ids.n = 0;
    if (tokenizer_encode(t, text, n, SPECIAL_PARSE, &ids) != STATUS_OK && !own_rules) abort();
    token_list_clear(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tokenizer *t, *again;
    if (tokenizer_parse(&t, (const char *)data, size, "input") != STATUS_OK) return 0;
    char *json;
    size_t n;
    if (tokenizer_format(t, &json, &n) != STATUS_OK) abort();
    if (tokenizer_parse(&again, json, n, "again") != STATUS_OK) abort();
    if (tokenizer_fingerprint(t) != tokenizer_fingerprint(again)) abort();
    /* rules may drop text, normalisers change it, and bytes without a token vanish; expressions of
     * either may take too long */
    bool own_rules = strcmp(tokenizer_pretokenizer_name(t), "rules of its own") == 0 ||
                     strstr(json, "\"Replace\"") != NULL;
    bool exact = strstr(json, "\"normalizer\":null") != NULL && !own_rules && has_all_bytes(t);
    check_round_trip(t, data, size < 4096 ? size : 4096, exact, own_rules);
    mem_free(json);
    tokenizer_free(t);
    tokenizer_free(again);
    return 0;
}
