/* cut_rules.c - see cut_rules.h.
 *
 * How. A rule walks the matches of each piece. Matches and what lies between them come one after
 * the other as segments, and the behavior says which of them are joined; that needs the last one
 * only. An empty match splits where it stands, but not right behind another match.
 */
#include "tokens/cut_rules.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <string.h>

void cut_rules_clear(cut_rules *r) {
    for (int i = 0; i < r->n; i++) {
        mem_free(r->rule[i].regex);
        pattern_free(r->rule[i].pattern);
    }
    r->n = 0;
}

status cut_rules_add(cut_rules *r, const char *regex, pattern_syntax syntax, cut_behavior behavior,
                     bool invert, const char *where) {
    if (r->n == CUT_RULES_MOST)
        return FAIL(F_TOKENIZER_UNSUPPORTED, text("more than %d steps", CUT_RULES_MOST), where,
                    "each of them reads the text once", "use a tokenizer with fewer");
    char *copy = regex != NULL ? mem_strdup(regex) : NULL;
    if (regex != NULL && copy == NULL) return STATUS_MEMORY;
    r->rule[r->n++] =
        (cut_rule){.regex = copy, .syntax = syntax, .behavior = behavior, .invert = invert};
    return STATUS_OK;
}

status cut_rules_compile(cut_rules *r, const char *where) {
    for (int i = 0; i < r->n; i++)
        if (r->rule[i].regex != NULL)
            TRY(pattern_new(&r->rule[i].pattern, r->rule[i].regex, r->rule[i].syntax, where));
    return STATUS_OK;
}

void cut_work_clear(cut_work *w) {
    pattern_work_clear(&w->match);
    mem_free(w->spans);
    mem_free(w->next);
    mem_free(w->bytes);
    *w = (cut_work){0};
}

static status push(cut_work *w, size_t from, size_t to) {
    if (from == to) return STATUS_OK;
    if (w->n_next == w->room_next) {
        size_t room = 2 * w->room_next + 64;
        cut_span *spans = mem_resize(w->next, room, sizeof *spans);
        if (spans == NULL) return STATUS_MEMORY;
        w->next = spans;
        w->room_next = room;
    }
    w->next[w->n_next++] = (cut_span){from, to};
    return STATUS_OK;
}

/* Segments of one piece under way. */
typedef struct joiner {
    cut_work *w;
    cut_behavior behavior;
    cut_span last; /* not pushed yet */
    bool any, last_match;
} joiner;

static status add_segment(joiner *j, size_t from, size_t to, bool match) {
    if (from == to || (j->behavior == CUT_REMOVED && match)) return STATUS_OK;
    bool join = false;
    switch (j->behavior) {
    case CUT_MERGED_WITH_PREVIOUS: join = match && !j->last_match; break;
    case CUT_MERGED_WITH_NEXT: join = !match && j->last_match; break;
    case CUT_CONTIGUOUS: join = match == j->last_match; break;
    default: break;
    }
    if (j->any && join) {
        j->last.to = to;
    } else {
        if (j->any) TRY(push(j->w, j->last.from, j->last.to));
        j->last = (cut_span){from, to};
    }
    j->any = true;
    j->last_match = match;
    return STATUS_OK;
}

static status cut_span_by(const cut_rule *rule, cut_work *w, const uint8_t *bytes, cut_span piece) {
    joiner j = {.w = w, .behavior = rule->behavior};
    const uint8_t *p = bytes + piece.from;
    size_t n = piece.to - piece.from, done = 0;
    for (size_t at = 0; at <= n;) {
        size_t from, to;
        TRY(pattern_find(rule->pattern, &w->match, p, n, at, &from, &to));
        if (from >= n) break;
        if (from == to && from == done && at > 0) { /* empty, behind a match */
            size_t length = utf8_sequence(p + from, n - from);
            at = from + (length > 0 ? length : 1);
            continue;
        }
        TRY(add_segment(&j, piece.from + done, piece.from + from, rule->invert));
        TRY(add_segment(&j, piece.from + from, piece.from + to, !rule->invert));
        at = done = to;
        if (from == to) { /* the same empty match would be found again */
            size_t length = utf8_sequence(p + to, n - to);
            at = to + (length > 0 ? length : 1);
        }
    }
    TRY(add_segment(&j, piece.from + done, piece.to, rule->invert));
    return j.any ? push(w, j.last.from, j.last.to) : STATUS_OK;
}

/* A blank in front of every piece that starts with none. */
static status put_blanks(cut_work *w, const uint8_t **text) {
    size_t total = 0, used = 0;
    for (size_t i = 0; i < w->n; i++)
        total += w->spans[i].to - w->spans[i].from + 1;
    uint8_t *bytes = mem_alloc(total + 1);
    if (bytes == NULL) return STATUS_MEMORY;
    for (size_t i = 0; i < w->n; i++) {
        cut_span s = w->spans[i];
        w->spans[i].from = used;
        if ((*text)[s.from] != ' ') bytes[used++] = ' ';
        memcpy(bytes + used, *text + s.from, s.to - s.from);
        used += s.to - s.from;
        w->spans[i].to = used;
    }
    mem_free(w->bytes);
    w->bytes = bytes;
    *text = bytes;
    return STATUS_OK;
}

static void swap_spans(cut_work *w) {
    cut_span *spans = w->spans;
    size_t room = w->room;
    w->spans = w->next;
    w->room = w->room_next;
    w->n = w->n_next;
    w->next = spans;
    w->room_next = room;
    w->n_next = 0;
}

status cut_text(const cut_rules *r, cut_work *w, const uint8_t **text, size_t n) {
    w->n = w->n_next = 0;
    TRY(push(w, 0, n));
    swap_spans(w);
    TRY(pattern_begin(&w->match, n));
    for (int i = 0; i < r->n; i++) {
        if (r->rule[i].pattern == NULL) {
            TRY(put_blanks(w, text));
            continue;
        }
        for (size_t k = 0; k < w->n; k++)
            TRY(cut_span_by(&r->rule[i], w, *text, w->spans[k]));
        swap_spans(w);
    }
    return STATUS_OK;
}
