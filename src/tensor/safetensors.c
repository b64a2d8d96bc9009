/* safetensors.c - the reader: from an untrusted file to views of its tensors.
 *
 * What: a safetensors file is u64 N, N bytes of JSON, then tensor data to the end. Every field is
 * checked before a view is handed out, so that the rest of the program never sees an offset, a
 * shape or a name that the file could have lied about.
 *
 * How: the checks come in the order of the reference parser (huggingface/safetensors,
 * validate in tensor.rs): length word, header inside the file, UTF-8, JSON of the expected form,
 * then the tensors sorted by offset: each begins where the one before ended, its bytes are those
 * of shape times type, and the last one ends with the file. A scan before the JSON parser bounds
 * nesting (object, object, array: three deep) and the number of entries, and remembers where each
 * name stands, so that messages can give the byte. Duplicate names are refused although the
 * reference keeps one of them.
 *
 *     file -> claim[] (checked, sorted by offset) -> entries[] (sorted by name, all files)
 *
 * A model in several files comes with an index {"weight_map": {tensor: file}}; names of files may
 * not lead out of the folder, and index and files must agree in both directions.
 *
 * Mind: views point into private read-only mappings; a file replaced by rename (as our writer
 * does) stays readable, one cut short in place would fault. Endianness: little only, like the
 * format and every machine we build for.
 */
#include "tensor/safetensors.h"

#include "base/checked.h"
#include "base/ending.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

#define HEADER_MAX  100000000u
#define ENTRIES_MAX 1000000
#define DEPTH_MAX   3
#define NAME_SHOWN  200 /* of a hostile name, in messages */

/* Every element type of the format; those without a dtype of ours are read past, not opened. */
static const struct {
    const char *name;
    uint8_t bits;
} types[] = {
    {"BOOL", 8},    {"U8", 8},      {"I8", 8},          {"F8_E5M2", 8},     {"F8_E4M3", 8},
    {"F8_E8M0", 8}, {"I16", 16},    {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"U16", 16},
    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},        {"U64", 64},        {"F4", 4},
    {"F6_E2M3", 6}, {"F6_E3M2", 6},
};

/* One file and what belongs to it. */
typedef struct part {
    mapped_file map; /* zero for bytes in memory */
    char *name;      /* for messages */
    char *strings;   /* names of the tensors, each with its NUL */
} part;

struct safetensors {
    part *parts;
    int n_parts;
    safetensors_entry *entries; /* sorted by name */
    int n_entries;
    json_t *metadata; /* of the first file; NULL if it has none */
    void **copies;    /* aligned copies made by safetensors_find, by entry; NULL until needed */
};

/* An entry while its file is being checked. */
typedef struct claim {
    safetensors_entry entry;
    int64_t begin, end; /* data_offsets */
    uint8_t bits;
    size_t at; /* byte of the name in the file */
} claim;

typedef struct parser {
    const char *file; /* for messages */
    const uint8_t *bytes;
    size_t n, header; /* whole file; N */
    size_t *key_at;   /* byte of each key of the outermost object */
    int n_keys;
    claim *claims;
    int n_claims;
    char *strings;
    json_t *root;
} parser;

/* ---- messages ---- */

static status bad_header(const parser *p, const char *what, size_t at, const char *why) {
    return FAIL(F_SAFETENSORS_HEADER, text("%s: %s", p->file, what), text("byte %zu", at), why,
                "fetch the file again, or write it again with the program it came from");
}

static status bad_entry(const parser *p, const char *name, size_t at, const char *why) {
    return bad_header(p, text("tensor \"%.*s\" is not described as it should be", NAME_SHOWN, name),
                      at, why);
}

static status bad_offsets(const parser *p, const claim *c, const char *why) {
    return FAIL(
        F_SAFETENSORS_OFFSETS,
        text("%s: tensor \"%.*s\" has impossible offsets", p->file, NAME_SHOWN, c->entry.name),
        text("byte %zu: data_offsets [%" PRId64 ", %" PRId64 "]", c->at, c->begin, c->end), why,
        "fetch the file again, or write it again with the program it came from");
}

/* ---- the header, before JSON ---- */

static status check_length(parser *p) {
    if (p->n < 8)
        return FAIL(F_SAFETENSORS_TRUNCATED,
                    text("%s is too short for a safetensors file", p->file),
                    text("byte %zu, the end", p->n), "the first 8 bytes give the header's length",
                    "fetch or copy the file again");
    uint64_t header;
    memcpy(&header, p->bytes, 8);
    if (header > HEADER_MAX)
        return bad_header(p, "the header is too long", 0,
                          text("it claims %" PRIu64 " bytes, the format allows %u; perhaps this is "
                               "no safetensors file",
                               header, HEADER_MAX));
    if (header > p->n - 8)
        return FAIL(F_SAFETENSORS_TRUNCATED, text("%s ends inside its header", p->file),
                    text("byte %zu, the end", p->n),
                    text("the header claims %" PRIu64 " bytes after the first 8", header),
                    "fetch or copy the file again");
    p->header = (size_t)header;
    return STATUS_OK;
}

/* Walks the header once, strings skipped: bounds nesting and counts the keys of the outermost
 * object. With `key_at` it stores where they stand. What is not JSON is left to the parser. */
static status scan_header(parser *p, size_t *key_at) {
    int depth = 0, n = 0;
    bool key_next = false;
    const uint8_t *h = p->bytes + 8;
    for (size_t i = 0; i < p->header; i++) {
        switch (h[i]) {
        case '"':
            if (depth == 1 && key_next) {
                if (n == ENTRIES_MAX + 1)
                    return bad_header(p, "the header has too many entries", 8 + i,
                                      text("more than %d are not accepted", ENTRIES_MAX));
                if (key_at != NULL) key_at[n] = 8 + i;
                n++;
            }
            key_next = false;
            for (i++; i < p->header && h[i] != '"'; i++)
                if (h[i] == '\\') i++;
            break;
        case '{':
        case '[':
            if (++depth > DEPTH_MAX)
                return bad_header(p, "the header is nested too deeply", 8 + i,
                                  "tensors are described by objects of numbers, strings and lists");
            key_next = depth == 1;
            break;
        case '}':
        case ']': depth--; break;
        case ',': key_next = depth == 1; break;
        default: break;
        }
    }
    p->n_keys = n;
    return STATUS_OK;
}

static status parse_json(parser *p) {
    const char *header = (const char *)p->bytes + 8;
    size_t valid = utf8_valid(header, p->header);
    if (valid < p->header)
        return bad_header(p, "the header is not UTF-8", 8 + valid,
                          text("byte 0x%02X does not belong there", p->bytes[8 + valid]));
    if (p->header == 0 || header[0] != '{')
        return bad_header(p, "the header does not begin with {", 8,
                          "it has to be one JSON object from its first byte on");
    TRY(scan_header(p, NULL));
    p->key_at = mem_zalloc((size_t)p->n_keys + 1, sizeof *p->key_at);
    if (p->key_at == NULL) return STATUS_MEMORY;
    TRY(scan_header(p, p->key_at));
    status s = json_parse(header, p->header, p->file, &p->root);
    if (s == STATUS_FORMAT) {
        error_report r;
        error_save(&r);
        return bad_header(p, "the header is not valid JSON", 8, text("%s; %s", r.what, r.why));
    }
    TRY(s);
    if (!json_is_object(p->root)) return bad_header(p, "the header is no JSON object", 8, "");
    if ((size_t)p->n_keys != json_object_size(p->root))
        return bad_header(p, "the header's names cannot be counted", 8,
                          "keys and values do not alternate as in JSON");
    return STATUS_OK;
}

/* ---- entries ---- */

static status check_metadata(parser *p, json_t *object, size_t at) {
    if (!json_is_object(object))
        return bad_header(p, "__metadata__ is no object", at, "it maps names to strings");
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) if (!json_is_string(value)) return bad_header(
        p, text("__metadata__ \"%.*s\" is no string", NAME_SHOWN, key), at,
        "only strings are allowed as values");
    return STATUS_OK;
}

/* A list of non-negative integers of at most `limit` places. */
static bool read_numbers(const json_t *list, int limit, int64_t *out, int *n) {
    if (!json_is_array(list) || json_array_size(list) > (size_t)limit) return false;
    *n = (int)json_array_size(list);
    for (int i = 0; i < *n; i++) {
        const json_t *number = json_array_get(list, (size_t)i);
        if (!json_is_integer(number) || json_integer_value(number) < 0) return false;
        out[i] = (int64_t)json_integer_value(number);
    }
    return true;
}

static status read_entry(const parser *p, const char *name, const json_t *object, claim *c) {
    if (!json_is_object(object)) return bad_entry(p, name, c->at, "its value is no JSON object");
    if (json_object_size(object) != 3)
        return bad_entry(p, name, c->at, "it must have dtype, shape and data_offsets, no more");
    const char *type = json_string_value(json_object_get(object, "dtype"));
    if (type == NULL) return bad_entry(p, name, c->at, "dtype is missing or no string");
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(types[i].name, type) == 0) {
            c->entry.dtype = types[i].name;
            c->bits = types[i].bits;
        }
    if (c->bits == 0)
        return bad_entry(p, name, c->at, text("dtype \"%.*s\" is unknown", NAME_SHOWN, type));
    if (!read_numbers(json_object_get(object, "shape"), SAFETENSORS_MAX_RANK, c->entry.dim,
                      &c->entry.rank))
        return bad_entry(p, name, c->at,
                         text("shape must be a list of at most %d integers, none negative",
                              SAFETENSORS_MAX_RANK));
    int64_t offsets[2];
    int n = 0;
    if (!read_numbers(json_object_get(object, "data_offsets"), 2, offsets, &n) || n != 2)
        return bad_entry(p, name, c->at,
                         "data_offsets must be a list of two integers, none negative");
    c->begin = offsets[0];
    c->end = offsets[1];
    return STATUS_OK;
}

static status read_entries(parser *p) {
    size_t strings = 1;
    const char *key;
    json_t *value;
    json_object_foreach(p->root, key, value) strings += strlen(key) + 1;
    p->claims = mem_zalloc((size_t)p->n_keys + 1, sizeof *p->claims);
    p->strings = mem_alloc(strings);
    if (p->claims == NULL || p->strings == NULL) return STATUS_MEMORY;
    char *string = p->strings;
    int i = 0;
    json_object_foreach(p->root, key, value) {
        size_t at = p->key_at[i++];
        if (strcmp(key, "__metadata__") == 0) {
            TRY(check_metadata(p, value, at));
            continue;
        }
        claim *c = &p->claims[p->n_claims];
        c->at = at;
        TRY(read_entry(p, key, value, c));
        c->entry.name = memcpy(string, key, strlen(key) + 1);
        string += strlen(key) + 1;
        p->n_claims++;
    }
    return STATUS_OK;
}

/* ---- offsets ---- */

static int by_offset(const void *a, const void *b) {
    const claim *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->entry.name, y->entry.name);
}

static status check_claim(const parser *p, const claim *c, int64_t expected) {
    if (c->begin != expected)
        return bad_offsets(p, c,
                           text("the tensor before it ends at %" PRId64 ": %s", expected,
                                c->begin > expected ? "a hole" : "they overlap"));
    if (c->end < c->begin) return bad_offsets(p, c, "it ends before it begins");
    int64_t bits = c->bits;
    for (int i = 0; i < c->entry.rank; i++)
        if (!int64_mul(&bits, bits, c->entry.dim[i]))
            return bad_offsets(p, c, "the product of its shape does not fit 63 bits");
    if (bits % 8 != 0)
        return bad_offsets(p, c, text("%" PRId64 " bits are no whole number of bytes", bits));
    if (c->end - c->begin != bits / 8)
        return bad_offsets(p, c,
                           text("shape and type need %" PRId64 " bytes, not %" PRId64, bits / 8,
                                c->end - c->begin));
    return STATUS_OK;
}

static status check_offsets(parser *p) {
    qsort(p->claims, (size_t)p->n_claims, sizeof *p->claims, by_offset);
    int64_t expected = 0, data = (int64_t)(p->n - 8 - p->header);
    for (int i = 0; i < p->n_claims; i++) {
        TRY(check_claim(p, &p->claims[i], expected));
        expected = p->claims[i].end;
    }
    if (expected != data) {
        const char *last = p->n_claims > 0 ? p->claims[p->n_claims - 1].entry.name : "";
        return FAIL(F_SAFETENSORS_TRUNCATED,
                    text("%s %s", p->file,
                         expected > data ? "ends inside its tensors" : "goes on after its tensors"),
                    text("byte %zu, the end; last tensor \"%.*s\"", p->n, NAME_SHOWN, last),
                    text("the header describes %" PRId64 " bytes of data, the file has %" PRId64,
                         expected, data),
                    "fetch or copy the file again");
    }
    for (int i = 0; i < p->n_claims; i++) { /* only now is every offset inside the file */
        claim *c = &p->claims[i];
        c->entry.data = p->bytes + 8 + p->header + c->begin;
        c->entry.bytes = (size_t)(c->end - c->begin);
    }
    return STATUS_OK;
}

static status parse_file(parser *p) {
    TRY(check_length(p));
    TRY(parse_json(p));
    TRY(read_entries(p));
    return check_offsets(p);
}

/* ---- putting files together ---- */

static int by_name(const void *a, const void *b) {
    const safetensors_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Checks the bytes of part `i` and appends its entries. */
static status add_part(safetensors *f, int i, const void *bytes, size_t n) {
    parser p = {.file = f->parts[i].name, .bytes = bytes, .n = n};
    status s;
    TRY_GOTO(s, parse_file(&p));
    safetensors_entry *more =
        mem_resize(f->entries, (size_t)f->n_entries + (size_t)p.n_claims + 1, sizeof *more);
    if (more == NULL) {
        s = STATUS_MEMORY;
        goto done;
    }
    f->entries = more;
    for (int c = 0; c < p.n_claims; c++)
        f->entries[f->n_entries++] = p.claims[c].entry;
    f->parts[i].strings = p.strings;
    p.strings = NULL;
    if (i == 0) f->metadata = json_incref(json_object_get(p.root, "__metadata__"));
done:
    mem_free(p.key_at);
    mem_free(p.claims);
    mem_free(p.strings);
    json_decref(p.root);
    return s;
}

static status sort_entries(safetensors *f) {
    if (f->n_entries == 0) return STATUS_OK;
    qsort(f->entries, (size_t)f->n_entries, sizeof *f->entries, by_name);
    for (int i = 1; i < f->n_entries; i++)
        if (strcmp(f->entries[i - 1].name, f->entries[i].name) == 0)
            return FAIL(F_SAFETENSORS_HEADER,
                        text("tensor \"%.*s\" is in two files", NAME_SHOWN, f->entries[i].name),
                        f->parts[0].name, "it is not clear which one is meant",
                        "keep one copy and write the index again");
    return STATUS_OK;
}

static status new_reader(safetensors **out, int n_parts) {
    *out = NULL;
    safetensors *f = mem_zalloc(1, sizeof *f);
    part *parts = mem_zalloc((size_t)n_parts + 1, sizeof *parts);
    if (f == NULL || parts == NULL) {
        mem_free(f);
        mem_free(parts);
        return STATUS_MEMORY;
    }
    f->parts = parts;
    f->n_parts = n_parts;
    *out = f;
    return STATUS_OK;
}

static status name_part(safetensors *f, int i, const char *name) {
    f->parts[i].name = mem_strdup(name);
    return f->parts[i].name != NULL ? STATUS_OK : STATUS_MEMORY;
}

static status open_part(safetensors *f, int i, const char *path) {
    TRY(name_part(f, i, path));
    TRY(mapped_open(&f->parts[i].map, path));
    return add_part(f, i, f->parts[i].map.data, f->parts[i].map.size);
}

static status finish(safetensors **out, safetensors *f, status s) {
    if (s != STATUS_OK) {
        safetensors_close(f);
        f = NULL;
    }
    *out = f;
    return s;
}

status safetensors_open_bytes(safetensors **out, const void *bytes, size_t n, const char *name) {
    safetensors *f;
    *out = NULL;
    TRY(new_reader(&f, 1));
    status s;
    TRY_GOTO(s, name_part(f, 0, name));
    TRY_GOTO(s, add_part(f, 0, bytes, n));
    TRY_GOTO(s, sort_entries(f));
done:
    return finish(out, f, s);
}

static status open_file(safetensors **out, const char *path) {
    safetensors *f;
    TRY(new_reader(&f, 1));
    status s;
    TRY_GOTO(s, open_part(f, 0, path));
    TRY_GOTO(s, sort_entries(f));
done:
    return finish(out, f, s);
}

/* ---- several files ---- */

static status bad_index(const char *path, const char *what, const char *why) {
    return FAIL(F_SAFETENSORS_HEADER, what, path, why,
                "fetch the index and its files again, all from one place");
}

static bool stays_inside(const char *name) {
    if (name[0] == '\0' || name[0] == '/' || strchr(name, '\\') != NULL) return false;
    for (const char *c = name; c != NULL; c = strchr(c, '/')) {
        if (*c == '/') c++;
        if (strncmp(c, "..", 2) == 0 && (c[2] == '/' || c[2] == '\0')) return false;
    }
    return true;
}

static int by_string(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct file names of a weight map, sorted; they belong to the map. */
static status index_files(const char *path, json_t *map, const char ***out, int *n) {
    const char **files = mem_zalloc(json_object_size(map) + 1, sizeof *files);
    if (files == NULL) return STATUS_MEMORY;
    *out = files;
    *n = 0;
    const char *name;
    json_t *file;
    json_object_foreach(map, name, file) {
        if (!json_is_string(file))
            return bad_index(path,
                             text("the file of tensor \"%.*s\" is no string", NAME_SHOWN, name),
                             "weight_map maps names of tensors to names of files");
        if (!stays_inside(json_string_value(file)))
            return bad_index(path,
                             text("tensor \"%.*s\" is said to be in \"%.*s\"", NAME_SHOWN, name,
                                  NAME_SHOWN, json_string_value(file)),
                             "names of files may not be absolute or lead out of the folder");
        files[(*n)++] = json_string_value(file);
    }
    if (*n == 0) return bad_index(path, "the index names no tensor", "weight_map is empty");
    qsort(files, (size_t)*n, sizeof *files, by_string);
    int distinct = 1;
    for (int i = 1; i < *n; i++)
        if (strcmp(files[i], files[distinct - 1]) != 0) files[distinct++] = files[i];
    *n = distinct;
    return STATUS_OK;
}

/* Every entry just read from `file` must be promised there by the map. */
static status check_promised(const safetensors *f, int first, json_t *map, const char *file,
                             const char *path) {
    for (int i = first; i < f->n_entries; i++) {
        const char *name = f->entries[i].name;
        const char *promised = json_string_value(json_object_get(map, name));
        if (promised == NULL || strcmp(promised, file) != 0)
            return bad_index(path, text("tensor \"%.*s\" is in %s", NAME_SHOWN, name, file),
                             promised == NULL ? "the index does not name it"
                                              : text("the index says it is in %s", promised));
    }
    return STATUS_OK;
}

static status open_files(safetensors **out, const char *path, json_t *map, const char **files,
                         int n_files) {
    char folder[PATH_SIZE], file[PATH_SIZE];
    snprintf(folder, sizeof folder, "%.*s", (int)(path_name(path) - path), path);
    safetensors *f;
    TRY(new_reader(&f, n_files));
    status s;
    for (int i = 0; i < n_files; i++) {
        int first = f->n_entries;
        TRY_GOTO(s, path_join(file, folder[0] != '\0' ? folder : ".", files[i]));
        TRY_GOTO(s, open_part(f, i, file));
        TRY_GOTO(s, check_promised(f, first, map, files[i], path));
    }
    TRY_GOTO(s, sort_entries(f));
    const char *name;
    json_t *value;
    json_object_foreach(map, name, value) if (safetensors_lookup(f, name) == NULL) {
        s = FAIL(F_TENSOR_MISSING, text("tensor \"%.*s\" is missing", NAME_SHOWN, name),
                 text("%s in %s", json_string_value(value), path),
                 "the index promises it, the file does not have it",
                 "fetch the index and its files again, all from one place");
        goto done;
    }
done:
    return finish(out, f, s);
}

static status open_index(safetensors **out, const char *path) {
    json_t *root = NULL, *map;
    const char **files = NULL;
    int n_files = 0;
    status s;
    TRY_GOTO(s, json_read(path, &root));
    TRY_GOTO(s, json_get_object(root, "weight_map", &map, path));
    TRY_GOTO(s, index_files(path, map, &files, &n_files));
    TRY_GOTO(s, open_files(out, path, map, files, n_files));
done:
    mem_free(files);
    json_decref(root);
    return s;
}

status safetensors_open(safetensors **out, const char *path) {
    *out = NULL;
    if (!path_is_folder(path))
        return ends_with(path, ".index.json") ? open_index(out, path) : open_file(out, path);
    char inside[PATH_SIZE];
    TRY(path_join(inside, path, "model.safetensors"));
    if (path_exists(inside)) return open_file(out, inside);
    TRY(path_join(inside, path, "model.safetensors.index.json"));
    if (path_exists(inside)) return open_index(out, inside);
    return FAIL(F_MISSING, text("%s holds no model", path), path,
                "there is neither model.safetensors nor model.safetensors.index.json in it",
                "give the folder of a model, or the file itself");
}

void safetensors_close(safetensors *f) {
    if (f == NULL) return;
    for (int i = 0; i < f->n_parts; i++) {
        mapped_close(&f->parts[i].map);
        mem_free(f->parts[i].name);
        mem_free(f->parts[i].strings);
    }
    for (int i = 0; f->copies != NULL && i < f->n_entries; i++)
        mem_free(f->copies[i]);
    mem_free(f->copies);
    json_decref(f->metadata);
    mem_free(f->parts);
    mem_free(f->entries);
    mem_free(f);
}

/* ---- asking ---- */

int safetensors_count(const safetensors *f) {
    return f->n_entries;
}
const safetensors_entry *safetensors_at(const safetensors *f, int i) {
    return &f->entries[i];
}

const safetensors_entry *safetensors_lookup(const safetensors *f, const char *name) {
    if (f->n_entries == 0) return NULL;
    safetensors_entry key = {.name = name};
    return bsearch(&key, f->entries, (size_t)f->n_entries, sizeof key, by_name);
}

/* The name that shares most with `name` at both ends: good enough to show a typing error. */
static const char *nearest(const safetensors *f, const char *name) {
    const char *best = NULL;
    size_t best_shared = 0, n = strlen(name);
    for (int i = 0; i < f->n_entries; i++) {
        const char *other = f->entries[i].name;
        size_t m = strlen(other), front = 0, back = 0;
        while (front < n && name[front] == other[front])
            front++;
        while (front + back < n && front + back < m && name[n - 1 - back] == other[m - 1 - back])
            back++;
        if (best != NULL && front + back <= best_shared) continue;
        best = other;
        best_shared = front + back;
    }
    return best;
}

static status aligned_data(safetensors *f, const safetensors_entry *e, size_t unit, void **out) {
    if ((uintptr_t)e->data % unit == 0 || e->bytes == 0) {
        *out = (void *)(uintptr_t)e->data; /* a view of a read-only mapping: not written through */
        return STATUS_OK;
    }
    if (f->copies == NULL) f->copies = mem_zalloc((size_t)f->n_entries, sizeof *f->copies);
    if (f->copies == NULL) return STATUS_MEMORY;
    void **copy = &f->copies[e - f->entries];
    if (*copy == NULL) {
        *copy = mem_alloc(e->bytes);
        if (*copy == NULL) return STATUS_MEMORY;
        memcpy(*copy, e->data, e->bytes);
    }
    *out = *copy;
    return STATUS_OK;
}

status safetensors_find(safetensors *f, const char *name, tensor *out) {
    const char *file = f->parts[0].name;
    const safetensors_entry *e = safetensors_lookup(f, name);
    if (e == NULL) {
        const char *other = nearest(f, name);
        return FAIL(F_TENSOR_MISSING, text("tensor \"%.*s\" is missing", NAME_SHOWN, name), file,
                    other != NULL ? text("of its %d tensors \"%.*s\" is nearest in name",
                                         f->n_entries, NAME_SHOWN, other)
                                  : "it holds no tensors at all",
                    "check that the weights and config.json belong to the same model");
    }
    dtype type;
    if (!dtype_find(e->dtype, &type))
        return FAIL(F_SAFETENSORS_DTYPE,
                    text("tensor \"%.*s\" has element type %s", NAME_SHOWN, name, e->dtype), file,
                    "this program does not compute with that type",
                    "use a copy of the model in F32, F16 or BF16");
    if (e->rank > TENSOR_MAX_RANK)
        return FAIL(F_SHAPE, text("tensor \"%.*s\" has %d dimensions", NAME_SHOWN, name, e->rank),
                    file, text("at most %d are supported", TENSOR_MAX_RANK),
                    "check that the weights belong to a language model");
    tensor t = {.dtype = type, .rank = e->rank};
    int64_t stride = 1;
    for (int i = TENSOR_MAX_RANK - 1; i >= 0; i--) {
        t.dim[i] = i < e->rank ? e->dim[i] : 1;
        t.stride[i] = stride;
        if (e->bytes > 0) stride *= t.dim[i]; /* cannot overflow: it divides the checked size */
    }
    TRY(aligned_data(f, e, dtype_size(type), &t.data));
    *out = t;
    return STATUS_OK;
}

const char *safetensors_metadata(const safetensors *f, const char *key) {
    return json_string_value(json_object_get(f->metadata, key));
}

/* -- pages -- */

static bool is_mapped(const safetensors *f, const uint8_t *data, size_t bytes) {
    for (int i = 0; i < f->n_parts; i++) {
        const mapped_file *m = &f->parts[i].map;
        if (m->data != NULL && data >= m->data && data + bytes <= m->data + m->size) return true;
    }
    return false;
}

void safetensors_expect(const safetensors *f, const void *data, size_t bytes) {
    if (is_mapped(f, data, bytes)) mapped_expect(data, bytes);
}

void safetensors_forget(const safetensors *f, const void *data, size_t bytes) {
    if (is_mapped(f, data, bytes)) mapped_forget(data, bytes);
}
