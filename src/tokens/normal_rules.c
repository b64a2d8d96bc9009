/* normal_rules.c - see normal_rules.h.
 *
 * How. Two sets of buffers take turns: a step that changes anything writes into the set in which
 * its input does not lie. An empty match of Replace puts its content where it stands, but not right
 * behind another match; the search goes on behind the next character. (There is no reference for
 * empty matches: `tokenizers` 0.23 fails on them.)
 */
#include "tokens/normal_rules.h"

#include "base/memory.h"
#include "base/utf8.h"

void normal_rules_clear(normal_rules *r) {
    for (int i = 0; i < r->n; i++) {
        mem_free(r->step[i].content);
        pattern_free(r->step[i].pattern);
    }
    r->n = 0;
}

/* Takes the content over, which may be NULL for want of memory. */
static status add_step(normal_rules *r, normal_step step, bool has_content, const char *where) {
    bool lost = has_content && step.content == NULL;
    if (!lost && r->n < NORMAL_STEPS_MOST) {
        r->step[r->n++] = step;
        return STATUS_OK;
    }
    mem_free(step.content);
    if (lost) return STATUS_MEMORY;
    return FAIL(F_TOKENIZER_UNSUPPORTED, text("more than %d normalizers", NORMAL_STEPS_MOST), where,
                "each of them reads the text once", "use a tokenizer with fewer");
}

status normal_rules_add_form(normal_rules *r, normal_form form, const char *where) {
    return add_step(r, (normal_step){.kind = NORMAL_FORM, .form = form}, false, where);
}

status normal_rules_add_prepend(normal_rules *r, const char *content, const char *where) {
    normal_step step = {
        .kind = NORMAL_PREPEND, .content = mem_strdup(content), .n_content = strlen(content)};
    return add_step(r, step, true, where);
}

status normal_rules_add_replace(normal_rules *r, const char *regex, pattern_syntax syntax,
                                const char *content, const char *where) {
    normal_step step = {
        .kind = NORMAL_REPLACE, .content = mem_strdup(content), .n_content = strlen(content)};
    TRY(add_step(r, step, true, where));
    return pattern_new(&r->step[r->n - 1].pattern, regex, syntax, where);
}

void normal_work_clear(normal_work *w) {
    for (int i = 0; i < 2; i++) {
        nfc_clear(&w->form[i]);
        mem_free(w->bytes[i]);
    }
    pattern_work_clear(&w->match);
    *w = (normal_work){0};
}

/* Appends to the bytes of the set in turn. */
static status append(normal_work *w, size_t *used, const void *bytes, size_t n) {
    int set = w->next;
    if (w->room[set] - *used < n) {
        size_t room = *used + n + *used / 2 + 64;
        uint8_t *more = mem_resize(w->bytes[set], room, 1);
        if (more == NULL) return STATUS_MEMORY;
        w->bytes[set] = more;
        w->room[set] = room;
    }
    if (n > 0) memcpy(w->bytes[set] + *used, bytes, n);
    *used += n;
    return STATUS_OK;
}

static status replace_matches(const normal_step *s, normal_work *w, const uint8_t *p, size_t n,
                              size_t *used, bool *any) {
    size_t done = 0, from, to;
    TRY(pattern_begin(&w->match, n));
    for (size_t at = 0; at <= n;) {
        TRY(pattern_find(s->pattern, &w->match, p, n, at, &from, &to));
        if (from >= n) break;
        if (from > to || from < done) break;
        if (!(from == to && from == done && *any)) {
            TRY(append(w, used, p + done, from - done));
            TRY(append(w, used, s->content, s->n_content));
            *any = true;
            done = to;
        }
        at = to;
        if (from == to) {
            size_t length = utf8_sequence(p + to, n - to);
            at = to + (length > 0 ? length : 1);
        }
    }
    return *any ? append(w, used, p + done, n - done) : STATUS_OK;
}

/* *changed: the result lies in the set in turn. */
static status apply_step(const normal_step *s, normal_work *w, const uint8_t **text, size_t *n,
                         bool *changed) {
    const uint8_t *in = *text;
    size_t used = 0;
    switch (s->kind) {
    case NORMAL_FORM:
        TRY(normal_form_text(&w->form[w->next], s->form, in, *n, text, n));
        *changed = *text != in;
        return STATUS_OK;
    case NORMAL_REPLACE: TRY(replace_matches(s, w, in, *n, &used, changed)); break;
    case NORMAL_PREPEND:
        *changed = *n > 0;
        if (!*changed) break;
        TRY(append(w, &used, s->content, s->n_content));
        TRY(append(w, &used, in, *n));
        break;
    }
    if (!*changed) return STATUS_OK;
    *text = w->bytes[w->next];
    *n = used;
    return STATUS_OK;
}

status normal_rules_apply(const normal_rules *r, normal_work *w, const uint8_t **text, size_t *n) {
    for (int i = 0; i<r->n && * n> 0; i++) {
        bool changed = false;
        TRY(apply_step(&r->step[i], w, text, n, &changed));
        if (changed) w->next = !w->next;
    }
    return STATUS_OK;
}
