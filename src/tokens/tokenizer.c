/* tokenizer.c - the tokenizer itself: arrays, indexes, checks and facts.
 *
 * How. Readers fill plain arrays in id order (tokens_internal.h); here they are checked against
 * each other and indexed: bytes -> token (merges and whole pieces are looked up by it), pair of
 * ids -> rank, contents of added tokens sorted. All tables are open addressing at a load of at
 * most one half.
 *
 * "Whole" tokens: for nearly every token, BPE on its own bytes gives just that token; then a piece
 * with these bytes needs no merging at all. It is found out once per token when indexing, which
 * takes about 0.05 s for 128,000 tokens. Tokens that fail it exist (merges made unreachable by
 * earlier ones) and are merged like any other piece. With ignore_merges every token is whole by
 * definition.
 *
 * Mind. Added tokens never take part in BPE: text that looks like one stays text unless the caller
 * asks for SPECIAL_PARSE.
 */
#include "base/checked.h"
#include "tokens/tokens_internal.h"

#include <stdlib.h>

status tokenizer_damaged(const char *what, const char *where, const char *why) {
    return FAIL(F_TOKENIZER, what, where, why,
                "fetch or copy the tokenizer again from where the model came from");
}

static status allocate_arrays(tokenizer *t, size_t blob_bytes, int32_t n_merges, int32_t n_added) {
    t->blob = mem_alloc(blob_bytes);
    t->offset = mem_zalloc((size_t)t->n + 1, sizeof *t->offset);
    t->flags = mem_zalloc((size_t)t->n, 1);
    t->merges = mem_zalloc((size_t)n_merges, sizeof *t->merges);
    t->added = mem_zalloc((size_t)n_added, sizeof *t->added);
    if (!t->blob || !t->offset || !t->flags || !t->merges || !t->added) return STATUS_MEMORY;
    t->n_merges = n_merges;
    t->n_added = n_added;
    return STATUS_OK;
}

status tokenizer_allocate(tokenizer **out, int32_t n, size_t blob_bytes, int32_t n_merges,
                          int32_t n_added) {
    *out = NULL;
    if (blob_bytes > UINT32_MAX)
        return FAIL(F_OVERFLOW, text("tokens of %zu bytes together", blob_bytes), "vocabulary",
                    "offsets into the vocabulary have 32 bits", "use a smaller vocabulary");
    tokenizer *t = mem_zalloc(1, sizeof *t);
    if (t == NULL) return STATUS_MEMORY;
    t->n = n;
    t->bos = t->eos = -1;
    status s = allocate_arrays(t, blob_bytes, n_merges, n_added);
    if (s != STATUS_OK) {
        tokenizer_free(t);
        return s;
    }
    *out = t;
    return STATUS_OK;
}

void tokenizer_free(tokenizer *t) {
    if (t == NULL) return;
    mem_free(t->blob);
    mem_free(t->offset);
    mem_free(t->flags);
    mem_free(t->merges);
    mem_free(t->added);
    mem_free(t->priority);
    mem_free(t->post_processor);
    normal_rules_clear(&t->normal_steps);
    mem_free(t->normal_json);
    pattern_free(t->word);
    cut_rules_clear(&t->cuts);
    mem_free(t->cuts_json);
    mem_free(t->token_slots);
    mem_free(t->pairs);
    mem_free(t->pair_filter);
    mem_free(t->byte_ranks);
    token_cover_clear(&t->cover);
    mem_free(t->raw.entries);
    mem_free(t->normal.entries);
    mem_free(t->normal_blob);
    mem_free(t);
}

/* -- tokens by their bytes -- */

/* Slot of these bytes: the token's or a free one. */
static uint32_t token_slot(const tokenizer *t, const uint8_t *bytes, size_t n) {
    uint32_t i = (uint32_t)hash64(bytes, n, 0) & t->token_mask;
    for (; t->token_slots[i] >= 0; i = (i + 1) & t->token_mask) {
        size_t have;
        const uint8_t *token = token_bytes(t, t->token_slots[i], &have);
        if (have == n && memcmp(token, bytes, n) == 0) break;
    }
    return i;
}

int32_t tokenizer_find(const tokenizer *t, const uint8_t *bytes, size_t n) {
    return n > t->longest ? -1 : t->token_slots[token_slot(t, bytes, n)];
}

static uint32_t table_size(int32_t entries) {
    uint32_t size = 16;
    while (size < 2 * (uint32_t)entries)
        size *= 2;
    return size;
}

static status index_token(tokenizer *t, int32_t id, const char *where) {
    size_t n;
    const uint8_t *bytes = token_bytes(t, id, &n);
    if (n == 0)
        return tokenizer_damaged(text("token %d is empty", id), where, "a token stands for bytes");
    uint32_t slot = token_slot(t, bytes, n);
    if (t->token_slots[slot] >= 0)
        return tokenizer_damaged(
            text("tokens %d and %d stand for the same bytes", t->token_slots[slot], id), where,
            "each sequence of bytes may have one token");
    t->token_slots[slot] = id;
    if (n > t->longest) t->longest = n;
    if (n == 1)
        *(t->spelling == SPELLING_BYTE_MAP ? &t->byte_id[bytes[0]] : &t->ascii_id[bytes[0] & 127]) =
            id;
    return STATUS_OK;
}

/* Bytes as such, where characters are the parts of tokens. */
static void index_bytes(tokenizer *t) {
    for (int32_t id = 0; id < t->n; id++)
        if (t->flags[id] & TOKEN_BYTE) t->byte_id[t->blob[t->offset[id]]] = id;
    for (int c = 0; c < 128; c++)
        if (t->ascii_id[c] < 0) t->ascii_id[c] = t->byte_id[c];
}

status tokenizer_index_tokens(tokenizer *t, const char *where) {
    uint32_t size = table_size(t->n);
    t->token_slots = mem_alloc(size * sizeof *t->token_slots);
    if (t->token_slots == NULL) return STATUS_MEMORY;
    memset(t->token_slots, 0xFF, size * sizeof *t->token_slots);
    t->token_mask = size - 1;
    for (int b = 0; b < 256; b++)
        t->byte_id[b] = t->ascii_id[b & 127] = -1;
    for (int32_t id = 0; id < t->n; id++)
        if (token_takes_part(t, id)) TRY(index_token(t, id, where));
    if (t->spelling != SPELLING_BYTE_MAP) index_bytes(t);
    for (int b = 0; b < 256; b++) {
        /* No character in use has them, or it is a control character no text needs. */
        bool rare =
            b == 0xC0 || b == 0xC1 || b > 0xF0 || (b < 0x20 && b != '\t' && b != '\n' && b != '\r');
        if (t->byte_id[b] < 0 && rare && t->spelling == SPELLING_BYTE_MAP)
            t->lacks_bytes = true;
        else if (t->byte_id[b] < 0)
            return tokenizer_damaged(text("no token stands for the byte 0x%02X", b), where,
                                     "a vocabulary holds all 256 bytes, so that any text has ids");
    }
    return STATUS_OK;
}

/* -- merges -- */

/* Looks up the sides and the result, which lie joined in `bytes`. */
static status find_merge(const tokenizer *t, int32_t rank, const uint8_t *bytes, size_t n_left,
                         size_t n_right, const char *where) {
    merge *m = &t->merges[rank];
    m->left = tokenizer_find(t, bytes, n_left);
    m->right = tokenizer_find(t, bytes + n_left, n_right);
    m->result = tokenizer_find(t, bytes, n_left + n_right);
    if (m->left >= 0 && m->right >= 0 && m->result >= 0) return STATUS_OK;
    const char *part = m->left < 0 ? "left side" : m->right < 0 ? "right side" : "result";
    return tokenizer_damaged(text("merge %d needs a token that does not exist", rank),
                             text("%s: merges", where),
                             text("its %s is not in the vocabulary", part));
}

status tokenizer_set_merge(tokenizer *t, int32_t rank, const char *left, size_t n_left,
                           const char *right, const char *where) {
    uint8_t buffer[1024];
    size_t n_right = strlen(right), left_bytes = 0, right_bytes = 0;
    uint8_t *bytes = n_left + n_right <= sizeof buffer ? buffer : mem_alloc(n_left + n_right);
    if (bytes == NULL) return STATUS_MEMORY;
    status s;
    if (spelling_decode(t->spelling, left, n_left, bytes, &left_bytes) &&
        spelling_decode(t->spelling, right, n_right, bytes + left_bytes, &right_bytes))
        s = find_merge(t, rank, bytes, left_bytes, right_bytes, where);
    else
        s = tokenizer_damaged(text("merge %d is not spelled in the byte map", rank),
                              text("%s: merges", where),
                              "bytes are written as the 256 characters of GPT-2's map, or blanks "
                              "as U+2581");
    if (bytes != buffer) mem_free(bytes);
    return s;
}

static status allocate_pairs(tokenizer *t) {
    uint32_t size = table_size(t->n_merges), words = size / 16; /* 8 to 16 bits a merge */
    t->pairs = mem_alloc(size * sizeof *t->pairs);
    t->pair_filter = mem_zalloc(words, sizeof *t->pair_filter);
    t->byte_ranks = mem_alloc(65536 * sizeof *t->byte_ranks);
    if (!t->pairs || !t->pair_filter || !t->byte_ranks) return STATUS_MEMORY;
    for (uint32_t i = 0; i < size; i++)
        t->pairs[i].key = UINT64_MAX;
    t->pair_mask = size - 1;
    t->filter_mask = words - 1;
    return STATUS_OK;
}

static status index_merges(tokenizer *t, const char *where) {
    TRY(allocate_pairs(t));
    for (int32_t rank = 0; rank < t->n_merges; rank++) {
        uint64_t key = pair_key(t->merges[rank].left, t->merges[rank].right);
        uint32_t hash = pair_hash(key), i = hash & t->pair_mask;
        while (t->pairs[i].key != UINT64_MAX && t->pairs[i].key != key)
            i = (i + 1) & t->pair_mask;
        if (t->pairs[i].key == key)
            return tokenizer_damaged(text("merges %u and %d are the same", t->pairs[i].rank, rank),
                                     where, "a pair of tokens may have one rank");
        uint32_t priority = t->priority != NULL ? t->priority[rank] : (uint32_t)rank;
        t->pairs[i] = (pair_entry){key, priority, t->merges[rank].result};
        t->pair_filter[hash & t->filter_mask] |= pair_bits(key);
    }
    for (int left = 0; left < 256; left++)
        for (int right = 0; right < 256; right++)
            t->byte_ranks[left << 8 | right] =
                pair_rank(t, t->byte_id[left], t->byte_id[right], &(int32_t){0});
    return STATUS_OK;
}

pretokenizer tokenizer_blank_cut(const tokenizer *t) {
    for (int32_t id = 0; id < t->n; id++) {
        size_t n;
        const uint8_t *bytes = token_bytes(t, id, &n);
        if (!token_takes_part(t, id)) continue;
        for (size_t i = 1; i < n; i++)
            if (bytes[i] == ' ' && bytes[i - 1] != ' ') return PRETOKENIZER_WHOLE;
    }
    return PRETOKENIZER_BLANKS;
}

/* How BPE makes this token out of its own bytes, if it does. */
static status mark_token(tokenizer *t, int32_t id, merge_scratch *scratch, int32_t *ids) {
    size_t n, count = 1;
    const uint8_t *bytes = token_bytes(t, id, &n);
    if (t->ignore_merges) t->flags[id] |= TOKEN_WHOLE;
    TRY(merge_piece(t, bytes, n, scratch, ids, &count));
    if (count > 1 || ids[0] != id) return STATUS_OK;
    t->flags[id] |= TOKEN_WHOLE | TOKEN_STABLE;
    if (t->priority != NULL) return STATUS_OK; /* no cover: many merges have one rank */
    token_joint *j = &t->cover.joints[id];
    j->born = scratch->last;
    if (j->born < 0) return STATUS_OK;
    j->left = t->merges[j->born].left;
    j->right = t->merges[j->born].right;
    return STATUS_OK;
}

/* Marks the tokens whose bytes as a piece become just that token. */
static status mark_whole(tokenizer *t) {
    merge_scratch scratch = {0};
    int32_t *ids = mem_alloc((t->longest + 1) * sizeof *ids);
    t->cover.joints = mem_zalloc((size_t)t->n, sizeof *t->cover.joints);
    status s = ids == NULL || t->cover.joints == NULL ? STATUS_MEMORY : STATUS_OK;
    for (int32_t id = 0; id < t->n && s == STATUS_OK; id++)
        if (token_takes_part(t, id)) s = mark_token(t, id, &scratch, ids);
    merge_scratch_clear(&scratch);
    mem_free(ids);
    return s;
}

/* -- added tokens -- */

static int compare_entries(const void *a, const void *b) {
    const added_entry *x = a, *y = b;
    size_t n = x->bytes < y->bytes ? x->bytes : y->bytes;
    int order = memcmp(x->content, y->content, n);
    return order != 0 ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static status sort_added(added_index *index, const char *where) {
    qsort(index->entries, (size_t)index->n, sizeof *index->entries, compare_entries);
    for (int i = 0; i < index->n; i++) {
        index->first[index->entries[i].content[0]] = true;
        if (i > 0 && compare_entries(&index->entries[i - 1], &index->entries[i]) == 0)
            return tokenizer_damaged(text("added tokens %d and %d have the same content",
                                          index->entries[i - 1].id, index->entries[i].id),
                                     where, "text could not tell them apart");
    }
    return STATUS_OK;
}

status tokenizer_normalise(const tokenizer *t, normal_work *w, const uint8_t **text, size_t *n) {
    if (t->nfc) return nfc_text(&w->form[0], *text, *n, text, n);
    return t->normal_steps.n > 0 ? normal_rules_apply(&t->normal_steps, w, text, n) : STATUS_OK;
}

/* Appends to t->normal_blob the normal form of an entry; its place there is *from. */
static status normalise_content(tokenizer *t, normal_work *w, added_entry *e, size_t *used,
                                size_t *from, const char *where) {
    const uint8_t *content = e->content;
    size_t n = e->bytes;
    TRY(tokenizer_normalise(t, w, &content, &n));
    if (n == 0)
        return tokenizer_damaged(text("added token %d is empty when normalised", e->id), where,
                                 "it could be found anywhere");
    uint8_t *blob = mem_resize(t->normal_blob, *used + n, 1);
    if (blob == NULL) return STATUS_MEMORY;
    memcpy(blob + *used, content, n);
    t->normal_blob = blob;
    *from = *used;
    *used += n;
    e->bytes = n;
    return STATUS_OK;
}

/* Contents that are looked for in normalised text are normalised themselves. */
static status normalise_contents(tokenizer *t, const char *where) {
    if (t->normal.n == 0) return STATUS_OK;
    normal_work work = {0};
    size_t used = 0, *from = mem_alloc((size_t)t->normal.n * sizeof *from);
    status s = from == NULL ? STATUS_MEMORY : STATUS_OK;
    for (int i = 0; i < t->normal.n && s == STATUS_OK; i++)
        s = normalise_content(t, &work, &t->normal.entries[i], &used, &from[i], where);
    for (int i = 0; i < t->normal.n && s == STATUS_OK; i++)
        t->normal.entries[i].content = t->normal_blob + from[i];
    normal_work_clear(&work);
    mem_free(from);
    return s;
}

/* Word characters as Rust's regex has them, with which Hugging Face looks beside a single_word. */
static status index_words(tokenizer *t, const char *where) {
    bool any = false;
    for (int32_t i = 0; i < t->n_added; i++)
        any = any || t->added[i].single_word;
    if (!any) return STATUS_OK;
    return pattern_new(&t->word, "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}]",
                       PATTERN_PCRE2, where);
}

static status index_added(tokenizer *t, const char *where) {
    t->raw.entries = mem_zalloc((size_t)t->n_added, sizeof(added_entry));
    t->normal.entries = mem_zalloc((size_t)t->n_added, sizeof(added_entry));
    if (t->raw.entries == NULL || t->normal.entries == NULL) return STATUS_MEMORY;
    for (int32_t i = 0; i < t->n_added; i++) {
        added_index *index = t->added[i].normalized ? &t->normal : &t->raw;
        added_entry *e = &index->entries[index->n++];
        e->token = &t->added[i];
        e->id = t->added[i].id;
        e->content = token_bytes(t, e->id, &e->bytes);
        if (e->bytes == 0)
            return tokenizer_damaged(text("added token %d is empty", e->id), where,
                                     "it could be found anywhere");
    }
    if (t->nfc || t->normal_steps.n > 0) TRY(normalise_contents(t, where));
    TRY(index_words(t, where));
    TRY(sort_added(&t->raw, where));
    return sort_added(&t->normal, where);
}

/* First entry of [low, high) whose byte number `at` is not below c; all are longer than `at`. */
static int first_not_below(const added_entry *entries, int low, int high, size_t at, unsigned c) {
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (entries[middle].content[at] < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const added_entry *added_match(const added_index *index, const uint8_t *text, size_t n, size_t at) {
    int low = 0, high = index->n;
    const added_entry *found = NULL;
    for (size_t k = 0; at + k < n && low < high; k++) {
        low = first_not_below(index->entries, low, high, k, text[at + k]);
        high = first_not_below(index->entries, low, high, k, text[at + k] + 1u);
        if (low < high && index->entries[low].bytes == k + 1) /* the shortest comes first */
            found = &index->entries[low++];
    }
    return found;
}

/* -- the whole -- */

static int32_t find_named(const tokenizer *t, const char *const *names) {
    for (; *names != NULL; names++) {
        int32_t id = tokenizer_find_added(t, *names);
        if (id >= 0) return id;
    }
    return -1;
}

static void name_bos_eos(tokenizer *t) {
    static const char *const bos[] = {
        "<｜begin▁of▁sentence｜>", "<|begin_of_text|>", "<|startoftext|>", "<bos>", "<s>", NULL};
    static const char *const eos[] = {
        "<｜end▁of▁sentence｜>", "<|end_of_text|>", "<|endoftext|>", "<eos>", "</s>", NULL};
    t->bos = find_named(t, bos);
    t->eos = find_named(t, eos);
    t->said_bos = t->bos;
    t->said_eos = t->eos;
}

static int32_t added_flags(const added_token *a) {
    return a->special | a->lstrip << 1 | a->rstrip << 2 | a->single_word << 3;
}

static void take_fingerprint(tokenizer *t) {
    uint64_t h = hash64(t->blob, t->offset[t->n], 1);
    h = hash64(t->offset, ((size_t)t->n + 1) * sizeof *t->offset, h);
    h = hash64(t->merges, (size_t)t->n_merges * sizeof *t->merges, h);
    for (int32_t id = 0; id < t->n; id++)
        if (!token_takes_part(t, id)) h = hash64(&(int32_t[]){id, t->flags[id]}, 8, h);
    for (int32_t i = 0; i < t->n_added; i++)
        h = hash64(&(int32_t[]){t->added[i].id, added_flags(&t->added[i]), t->added[i].normalized},
                   12, h);
    int32_t rules[] = {(int32_t)t->pretokenizer, t->nfc, t->ignore_merges};
    h = hash64(rules, sizeof rules, h);
    if (t->priority != NULL) h = hash64(t->priority, (size_t)t->n_merges * 4, h);
    if (t->normal_json != NULL) h = hash64(t->normal_json, strlen(t->normal_json), h);
    if (t->cuts_json != NULL) h = hash64(t->cuts_json, strlen(t->cuts_json), h);
    int32_t blanks[] = {t->spelling, t->blank_prefix, t->strip_blank};
    t->fingerprint = t->spelling == SPELLING_BYTE_MAP ? h : hash64(blanks, sizeof blanks, h);
}

status tokenizer_index(tokenizer *t, const char *where) {
    TRY(index_merges(t, where));
    TRY(mark_whole(t));
    TRY(token_cover_build(t));
    TRY(index_added(t, where));
    name_bos_eos(t);
    take_fingerprint(t);
    return STATUS_OK;
}

status tokenizer_byte(tokenizer **out) {
    tokenizer *t;
    TRY(tokenizer_allocate(&t, 256, 256, 0, 0));
    for (int b = 0; b < 256; b++) {
        t->blob[b] = (uint8_t)b;
        t->offset[b + 1] = (uint32_t)b + 1;
        t->flags[b] = TOKEN_MODEL;
    }
    status s = tokenizer_index_tokens(t, "byte tokenizer");
    if (s == STATUS_OK) s = tokenizer_index(t, "byte tokenizer");
    if (s != STATUS_OK) {
        tokenizer_free(t);
        t = NULL;
    }
    *out = t;
    return s;
}

/* -- facts -- */

static bool knows(const tokenizer *t, int32_t id) {
    return id >= 0 && id < t->n;
}

int32_t tokenizer_vocab_size(const tokenizer *t) {
    return t->n;
}
int32_t tokenizer_bos(const tokenizer *t) {
    return t->bos;
}
int32_t tokenizer_eos(const tokenizer *t) {
    return t->eos;
}
uint64_t tokenizer_fingerprint(const tokenizer *t) {
    return t->fingerprint;
}
int32_t tokenizer_merges(const tokenizer *t) {
    return t->n_merges;
}
int32_t tokenizer_added(const tokenizer *t) {
    return t->n_added;
}

const char *tokenizer_pretokenizer_name(const tokenizer *t) {
    return pretokenizer_name(t->pretokenizer);
}

const uint8_t *tokenizer_token(const tokenizer *t, int32_t id, size_t *n) {
    *n = 0;
    return knows(t, id) ? token_bytes(t, id, n) : NULL;
}

int32_t tokenizer_token_bytes(const tokenizer *t, int32_t id) {
    if (!knows(t, id) || (t->flags[id] & TOKEN_SPECIAL)) return 0;
    return (int32_t)(t->offset[id + 1] - t->offset[id]);
}

bool tokenizer_is_special(const tokenizer *t, int32_t id) {
    return knows(t, id) && (t->flags[id] & TOKEN_SPECIAL);
}

bool tokenizer_is_added(const tokenizer *t, int32_t id) {
    return knows(t, id) && (t->flags[id] & TOKEN_ADDED);
}

int32_t tokenizer_find_added(const tokenizer *t, const char *content) {
    size_t n = strlen(content);
    for (int32_t i = 0; i < t->n_added; i++) {
        size_t have;
        const uint8_t *bytes = token_bytes(t, t->added[i].id, &have);
        if (have == n && memcmp(bytes, content, n) == 0) return t->added[i].id;
    }
    return -1;
}
