/* fuzz_session.c - any bytes as a session file: refused with the session as it was, or a session that
 * answers. */
#include "fuzz.h"

#include "base/hash.h"
#include "infer/session_file.h"
#include "kernels/kernels.h"
#include "model/presets.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS 7
#define VOCAB 32

static model small;
static engine *works;
static session *one;

/* Once: a model of a few thousand weights. */
static void prepare(void) {
    if (one != NULL) return;
    model_config c = model_preset_find("shakespeare-char")->config;
    c.vocab_size = VOCAB, c.n_layer = 1, c.d_model = 16, c.d_ff = 16, c.max_position = 256;
    c.n_head = 2, c.n_kv_head = 1, c.head_dim = 8;
    if (kernels_init(NULL) != STATUS_OK || model_init(&small, &c, DTYPE_F32) != STATUS_OK) abort();
    param_set_initialise(&small.params, 1);
    if (engine_new(&works, &small, 128) != STATUS_OK || session_new(&one, works) != STATUS_OK)
        abort();
    static const int32_t longest[128]; /* the session's own arrays have their size from now on */
    uint64_t made;
    if (session_prompt(one, longest, 128, NULL) != STATUS_OK) abort();
    if (engine_fingerprint(works, &made) != STATUS_OK) abort();
}

/* Sessions of 0, 5 and 70 tokens, the last two with a text and logits. */
size_t fuzz_seed(int i, uint8_t *out, size_t room) {
    static const int lengths[] = {0, 5, 70};
    char path[] = "/tmp/fuzz-session-XXXXXX", kept[] = "{}";
    float logits[VOCAB];
    int32_t ids[70];
    char *bytes;
    size_t n;
    if (i > 2) return 0;
    prepare();
    session_cut(one, 0);
    for (int k = 0; k < 70; k++)
        ids[k] = k * 5 % VOCAB;
    if (lengths[i] > 0 && session_prompt(one, ids, lengths[i], logits) != STATUS_OK) abort();
    session_note note = {.sampler = sampler_defaults(), .logits = logits};
    if (i > 0) note.has_logits = true, note.text = kept, note.n_text = 2;
    int fd = mkstemp(path);
    if (fd < 0) abort();
    close(fd);
    if (session_save(one, WORDS, &note, path) != STATUS_OK) abort();
    if (file_read(path, 0, &bytes, &n) != STATUS_OK || n > room) abort();
    memcpy(out, bytes, n);
    mem_free(bytes);
    unlink(path);
    return n;
}

static void try_bytes(const uint8_t *bytes, size_t n) {
    static const int32_t begin[] = {1, 2, 3};
    float logits[VOCAB];
    session_note note = {.logits = logits};
    session_cut(one, 0);
    if (session_prompt(one, begin, 3, NULL) != STATUS_OK) abort();
    if (session_parse(one, WORDS, &note, bytes, n, "fuzz") == STATUS_OK) {
        for (int64_t i = 0; i < session_length(one); i++)
            if (session_ids(one)[i] < 0 || session_ids(one)[i] >= VOCAB) abort();
        if (session_length(one) < 128 && session_prompt(one, begin, 1, logits) != STATUS_OK)
            abort();
    } else if (session_length(one) != 3) {
        abort();
    }
    session_note_clear(&note);
}

/* Almost nothing passes the checksums as they are; with right ones the other checks are reached. */
static void sign(uint8_t *bytes, size_t n) {
    uint64_t n_ids, n_logits, n_text, n_groups, group, hash, size = n;
    memcpy(&group, bytes + 56, 8);
    memcpy(&n_ids, bytes + 88, 8);
    memcpy(&n_logits, bytes + 96, 8);
    memcpy(&n_text, bytes + 104, 8);
    memcpy(&n_groups, bytes + 112, 8);
    if (n_ids < n && n_logits < n && n_text < n && n_groups < n && group < n) {
        size_t front = 4 * n_ids + 4 * n_logits + n_text;
        size_t table = (256 + front + 63) / 64 * 64;
        size_t groups = (table + 8 * n_groups + 63) / 64 * 64;
        if (front < n && groups <= n && group * n_groups <= n - groups) {
            for (uint64_t i = 0; i < n_groups; i++) {
                hash = hash64(bytes + groups + i * group, group, i);
                memcpy(bytes + table + 8 * i, &hash, 8);
            }
            hash = hash64(bytes + 256, front, 0), memcpy(bytes + 176, &hash, 8);
            hash = hash64(bytes + table, 8 * n_groups, 0), memcpy(bytes + 184, &hash, 8);
        }
    }
    memcpy(bytes + 120, &size, 8);
    hash = hash64(bytes, 248, 0);
    memcpy(bytes + 248, &hash, 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    prepare();
    int64_t before = mem_live_blocks();
    session_cut(one, 0);
    uint8_t *copy = malloc(size > 0 ? size : 1); /* exact, so that a byte too far is seen */
    if (copy == NULL) return 0;
    if (size > 0) memcpy(copy, data, size);
    try_bytes(copy, size);
    if (size >= 256) {
        sign(copy, size);
        try_bytes(copy, size);
    }
    free(copy);
    if (mem_live_blocks() != before) abort();
    return 0;
}
