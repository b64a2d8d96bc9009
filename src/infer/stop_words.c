/* stop_words.c - the earliest stop word in a growing text, and how much of the text is safe. */
#include "infer/stop_words.h"

#include "base/memory.h"

#include <string.h>

void stop_filter_clear(stop_filter *f) {
    mem_free(f->held);
    *f = (stop_filter){0};
}

/* The first place where a stop word lies whole; n if there is none. */
static size_t first_word(const stop_filter *f) {
    size_t first = f->n;
    for (int i = 0; i < f->n_words; i++) {
        size_t length = strlen(f->words[i]);
        const char *at = length > 0 ? memmem(f->held, f->n, f->words[i], length) : NULL;
        if (at != NULL && (size_t)(at - f->held) < first) first = (size_t)(at - f->held);
    }
    return first;
}

/* The first place from which the rest of the text begins a stop word. */
static size_t first_beginning(const stop_filter *f) {
    for (size_t at = 0; at < f->n; at++)
        for (int i = 0; i < f->n_words; i++)
            if (f->n - at < strlen(f->words[i]) &&
                memcmp(f->held + at, f->words[i], f->n - at) == 0)
                return at;
    return f->n;
}

/* Forgets what was shown and adds the new text behind the rest. */
static status append(stop_filter *f, const char *text, size_t n) {
    if (f->shown > 0) memmove(f->held, f->held + f->shown, f->n - f->shown);
    f->n -= f->shown;
    f->shown = 0;
    if (f->room - f->n < n + 1) {
        size_t room = 2 * f->room + n + 64;
        char *grown = mem_resize(f->held, room, 1);
        if (grown == NULL) return STATUS_MEMORY;
        f->held = grown;
        f->room = room;
    }
    memcpy(f->held + f->n, text, n);
    f->n += n;
    return STATUS_OK;
}

status stop_filter_add(stop_filter *f, const char *text, size_t n, const char **out, size_t *out_n,
                       bool *found) {
    *found = false;
    if (f->n_words == 0) {
        *out = text;
        *out_n = n;
        return STATUS_OK;
    }
    TRY(append(f, text, n));
    size_t at = first_word(f);
    *found = at < f->n;
    if (*found)
        f->n = at;
    else
        at = first_beginning(f);
    *out = f->held;
    *out_n = f->shown = at;
    return STATUS_OK;
}

void stop_filter_end(stop_filter *f, const char **out, size_t *out_n) {
    *out = f->held != NULL ? f->held + f->shown : "";
    *out_n = f->n - f->shown;
    f->n = f->shown = 0;
}
