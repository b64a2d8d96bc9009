/* svg_check.h - is this text a well-formed picture: tags closed in order, attributes quoted, only
 * numeric character references, and no number that is not one. */
#ifndef FATHOM_TESTS_SVG_CHECK_H
#define FATHOM_TESTS_SVG_CHECK_H

#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

/* Reads a tag at p (after '<'); NULL if it is malformed, else behind its '>'. */
static inline const char *svg_tag_end(const char *p, bool *closed) {
    for (p += strcspn(p, " />"); *p == ' ';) {
        p += strspn(p, " ");
        size_t name = strcspn(p, "= />\"");
        if (name == 0 || p[name] != '=' || p[name + 1] != '"') return NULL;
        p = strchr(p + name + 2, '"');
        if (p == NULL) return NULL;
        p++;
    }
    *closed = *p == '/';
    if (*closed) p++;
    return *p == '>' ? p + 1 : NULL;
}

/* NULL if well formed, else where it is not. */
static inline const char *svg_flaw(const char *svg, size_t n) {
    char open[16][16];
    int depth = 0;
    if (strlen(svg) != n || utf8_valid(svg, n) != n) return "bytes";
    if (strncmp(svg, "<svg xmlns=\"http://www.w3.org/2000/svg\"", 39) != 0) return svg;
    if (strstr(svg, "nan") != NULL || strstr(svg, "inf ") != NULL) return "a number";
    for (const char *p = svg; *p != 0;) {
        const char *begin = p;
        bool closed = false, end = begin[0] == '<' && begin[1] == '/';
        if (*p == '&') {
            size_t digits = strspn(p + 2, "0123456789");
            if (p[1] != '#' || digits == 0 || p[2 + digits] != ';') return p;
        }
        if (*p++ != '<') continue;
        size_t length = strcspn(p + end, " />");
        if (length == 0 || length > 15) return begin;
        if (end) {
            if (depth == 0 || strncmp(open[depth - 1], p + 1, length) != 0 ||
                open[--depth][length] != 0 || p[1 + length] != '>')
                return begin;
            p += length + 2;
            continue;
        }
        memcpy(open[depth < 15 ? depth : 15], p, length);
        open[depth < 15 ? depth : 15][length] = 0;
        p = svg_tag_end(p, &closed);
        if (p == NULL) return begin;
        if (!closed && ++depth > 15) return begin;
    }
    return depth == 0 ? NULL : "the end";
}

#endif
