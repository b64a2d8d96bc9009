/* decode.c - ids to text, at once or as they come.
 *
 * How. Decoding is joining the bytes of the tokens. A stream must not show half a character, so it
 * keeps back the start of a sequence that later bytes may complete; what cannot become a character
 * is shown as U+FFFD, one for each longest part that could have started one (Unicode 15, 3.9 "best
 * practices for using U+FFFD"), as browsers and Python do.
 */
#include "base/checked.h"
#include "base/utf8.h"
#include "tokens/tokens_internal.h"

status tokenizer_decode(const tokenizer *t, const int32_t *ids, size_t n_ids, bool specials,
                        char **bytes, size_t *n) {
    size_t total = 1, length;
    for (size_t i = 0; i < n_ids; i++) {
        if (ids[i] < 0 || ids[i] >= t->n)
            return FAIL(F_TOKEN_RANGE, text("token id %d is not in the vocabulary", ids[i]),
                        text("position %zu of %zu", i, n_ids),
                        text("ids run from 0 to %d", t->n - 1),
                        "use the tokenizer that the ids were made with");
        (void)token_bytes(t, ids[i], &length);
        if (!size_add(&total, total, length))
            return FAIL(F_OVERFLOW, "the text is too long", text("%zu ids", n_ids),
                        "its bytes do not fit a size", "decode fewer ids at a time");
    }
    char *out = mem_alloc(total);
    if (out == NULL) return STATUS_MEMORY;
    size_t used = 0;
    bool strip = t->strip_blank; /* until the first text */
    for (size_t i = 0; i < n_ids; i++) {
        bool special = tokenizer_is_special(t, ids[i]);
        if (special && !specials) continue;
        const uint8_t *token = token_bytes(t, ids[i], &length);
        bool cut = strip && !special && length > 0 && token[0] == ' ';
        if (!special) strip = false;
        memcpy(out + used, token + cut, length - cut);
        used += length - cut;
    }
    out[used] = 0;
    *bytes = out;
    *n = used;
    return STATUS_OK;
}

void token_stream_init(token_stream *s, const tokenizer *t) {
    *s = (token_stream){.tokenizer = t};
}

void token_stream_clear(token_stream *s) {
    mem_free(s->text);
    *s = (token_stream){0};
}

/* Bytes that `a` as first byte announces, and the range of the second one. */
static size_t announced(uint8_t a, uint8_t *low, uint8_t *high) {
    *low = a == 0xE0 ? 0xA0 : a == 0xF0 ? 0x90 : 0x80;
    *high = a == 0xED ? 0x9F : a == 0xF4 ? 0x8F : 0xBF;
    if (a < 0xC2 || a > 0xF4) return 1;
    return a < 0xE0 ? 2 : a < 0xF0 ? 3 : 4;
}

/* Longest part of a sequence at p, where no whole one is; *open: the bytes end inside it. */
static size_t broken_part(const uint8_t *p, size_t n, bool *open) {
    uint8_t low, high;
    size_t need = announced(p[0], &low, &high), have = 1;
    while (have < need && have < n && p[have] >= low && p[have] <= high) {
        have++;
        low = 0x80;
        high = 0xBF;
    }
    *open = have == n && have < need;
    return have;
}

/* Writes n bytes as UTF-8 to `out` and returns the length; with `hold` an open end goes to s->held. */
static size_t write_text(token_stream *s, const uint8_t *bytes, size_t n, bool hold, char *out) {
    size_t used = 0;
    s->n_held = 0;
    for (size_t i = 0; i < n;) {
        size_t length = utf8_sequence(bytes + i, n - i);
        if (length > 0) {
            memcpy(out + used, bytes + i, length);
            used += length;
        } else {
            bool open;
            length = broken_part(bytes + i, n - i, &open);
            if (open && hold) {
                memcpy(s->held, bytes + i, length);
                s->n_held = (int)length;
            } else {
                memcpy(out + used, "\xEF\xBF\xBD", 3);
                used += 3;
            }
        }
        i += length;
    }
    out[used] = 0;
    return used;
}

/* The held bytes and then a token's. `s->text` holds both the input (behind) and the output. */
static status stream_bytes(token_stream *s, const uint8_t *token, size_t length, bool hold,
                           const char **text_out, size_t *n) {
    size_t in = (size_t)s->n_held + length, room = 4 * in + 1; /* 3 for U+FFFD, 1 for input */
    if (room > s->room) {
        char *more = mem_resize(s->text, room + 64, 1);
        if (more == NULL) return STATUS_MEMORY;
        s->text = more;
        s->room = room + 64;
    }
    uint8_t *bytes = (uint8_t *)s->text + 3 * in + 1;
    memcpy(bytes, s->held, (size_t)s->n_held);
    if (length > 0) memcpy(bytes + s->n_held, token, length);
    *n = write_text(s, bytes, in, hold, s->text);
    *text_out = s->text;
    return STATUS_OK;
}

status token_stream_add(token_stream *s, int32_t id, const char **text_out, size_t *n) {
    const tokenizer *t = s->tokenizer;
    if (id < 0 || id >= t->n)
        return FAIL(F_TOKEN_RANGE, text("token id %d is not in the vocabulary", id), "decoding",
                    text("ids run from 0 to %d", t->n - 1),
                    "use the tokenizer that belongs to the model");
    size_t length = 0;
    const uint8_t *token = NULL;
    if (!tokenizer_is_special(t, id)) {
        token = token_bytes(t, id, &length);
        bool cut = s->started == false && t->strip_blank && length > 0 && token[0] == ' ';
        s->started = true;
        token += cut;
        length -= cut;
    }
    return stream_bytes(s, token, length, true, text_out, n);
}

status token_stream_end(token_stream *s, const char **text_out, size_t *n) {
    s->started = false;
    return stream_bytes(s, NULL, 0, false, text_out, n);
}
