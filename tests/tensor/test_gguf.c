/* test_gguf.c - reading, writing, every way a file can lie, allocation failures. */
#include "tensor/gguf.h"

#include "gguf_fixture.h"

#include "base/file.h"
#include "base/rng.h"
#include "test.h"

static gguf_fixture x; /* rebuilt by each test */

static bool close_to(double a, double b) {
    return a - b < 1e-12 && b - a < 1e-12;
}

static void check_numbers(gguf *f) {
    static const struct {
        const char *key;
        double value;
        bool whole;
    } expected[] = {{"u8", 200, true},   {"i8", -56, true},     {"u16", 65000, true},
                    {"i16", -3, true},   {"i32", -70000, true}, {"f32", 1.5, false},
                    {"f64", -0.1, false}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        int64_t n = 0;
        double r = 0;
        status s = gguf_get_int(f, expected[i].key, &n);
        CHECK((s == STATUS_OK) == expected[i].whole, "%s", expected[i].key);
        CHECK(!expected[i].whole || close_to((double)n, expected[i].value), "%s", expected[i].key);
        CHECK(gguf_get_real(f, expected[i].key, &r) == STATUS_OK && close_to(r, expected[i].value),
              "%s", expected[i].key);
    }
    int64_t n;
    CHECK(gguf_get_int(f, "u64", &n) == STATUS_FORMAT, "it does not fit 64 bits with sign");
}

static void check_lists(gguf *f) {
    gguf_text *texts;
    int64_t *ints, n;
    double *reals;
    REQUIRE_OK(gguf_get_texts(f, "tokens", &texts, &n));
    CHECK(n == 3 && texts[0].n == 1 && texts[1].n == 0 && texts[2].n == 3 &&
              memcmp(texts[2].bytes, "\xC3\xA9t", 3) == 0,
          "texts");
    mem_free(texts);
    REQUIRE_OK(gguf_get_ints(f, "types", &ints, &n));
    CHECK(n == 3 && ints[0] == 1 && ints[1] == 3 && ints[2] == -1, "integers");
    mem_free(ints);
    REQUIRE_OK(gguf_get_reals(f, "scores", &reals, &n));
    CHECK(n == 2 && close_to(reals[0], 0.25) && close_to(reals[1], -8), "numbers");
    mem_free(reals);
    CHECK(gguf_get_ints(f, "scores", &ints, &n) == STATUS_FORMAT && ints == NULL, "wrong kind");
    CHECK(gguf_get_texts(f, "types", &texts, &n) == STATUS_FORMAT && texts == NULL, "wrong kind");
    CHECK(gguf_get_reals(f, "tokens", &reals, &n) == STATUS_FORMAT && reals == NULL, "wrong kind");
}

TEST(gguf_values_of_every_kind) {
    for (uint32_t version = 2; version <= 3; version++) {
        gguf *f;
        const char *string;
        bool truth = false;
        fixture_whole(&x, version);
        REQUIRE_OK(gguf_open_bytes(&f, x.bytes, x.n, "test"));
        CHECK(gguf_n_values(f) == 14 && gguf_n_tensors(f) == 8, "counts");
        REQUIRE_OK(gguf_get_string(f, "general.architecture", &string));
        CHECK(strcmp(string, "llama") == 0, "%s", string);
        CHECK(gguf_get_bool(f, "bool", &truth) == STATUS_OK && truth, "bool");
        check_numbers(f);
        check_lists(f);
        gguf_close(f);
    }
}

TEST(gguf_errors_of_keys_name_them) {
    gguf *f;
    int64_t n;
    const char *string;
    fixture_whole(&x, 3);
    REQUIRE_OK(gguf_open_bytes(&f, x.bytes, x.n, "test"));
    CHECK(gguf_get_int(f, "llama.block_count", &n) == STATUS_FORMAT, "missing");
    CHECK(error_last()->id == F_GGUF_KEY && strstr(error_last()->what, "llama.block_count") != NULL,
          "%s", error_last()->what);
    CHECK(gguf_get_string(f, "u8", &string) == STATUS_FORMAT, "wrong kind");
    CHECK(strstr(error_last()->what, "\"u8\"") != NULL &&
              strstr(error_last()->where, "byte ") != NULL,
          "%s, %s", error_last()->what, error_last()->where);
    const gguf_tensor *t;
    CHECK(gguf_find(f, "q4_k.weigh", &t) == STATUS_FORMAT && error_last()->id == F_TENSOR_MISSING &&
              strstr(error_last()->why, "q4_k.weight") != NULL,
          "%s", error_last()->why);
    float out[256];
    REQUIRE_OK(gguf_find(f, "iq2_s.weight", &t));
    CHECK(gguf_decode(f, t, 0, 256, out) == STATUS_UNSUPPORTED &&
              strstr(error_last()->what, "IQ2_S") != NULL,
          "%s", error_last()->what);
    REQUIRE_OK(gguf_find(f, "q8_0.weight", &t));
    CHECK(gguf_decode(f, t, 16, 32, out) == STATUS_INTERNAL, "inside a block");
    CHECK(gguf_decode(f, t, 192, 32, out) == STATUS_INTERNAL, "behind the end");
    gguf_close(f);
}

TEST(gguf_tensors_are_row_major_views) {
    gguf *f;
    fixture_whole(&x, 3);
    REQUIRE_OK(gguf_open_bytes(&f, x.bytes, x.n, "test"));
    const gguf_tensor *t = gguf_lookup(f, "f16.weight"), *e = gguf_lookup(f, "empty.weight");
    REQUIRE(t != NULL && e != NULL, "lookup");
    CHECK(t->rank == 3 && t->dim[0] == 2 && t->dim[1] == 3 && t->dim[2] == 32 && t->dim[3] == 1,
          "shape");
    CHECK(t->count == 192 && t->bytes == 384 && t->type == QUANT_F16, "size");
    CHECK(e->count == 0 && e->bytes == 0 && e->dim[0] == 0, "empty");
    CHECK((size_t)(t->data - x.bytes) % 64 == 0 && t->data[0] == (uint8_t)(7 * 64 + 1), "place");
    CHECK(gguf_lookup(f, "f16") == NULL, "absent");
    float whole[192], part[32];
    REQUIRE_OK(gguf_decode(f, gguf_lookup(f, "q8_0.weight"), 0, 192, whole));
    REQUIRE_OK(gguf_decode(f, gguf_lookup(f, "q8_0.weight"), 96, 32, part));
    CHECK(memcmp(whole + 96, part, sizeof part) == 0, "parts");
    gguf_close(f);
}

/* ---- lies ---- */

static int n_mutations;

/* Must be refused by a report that names `who` and the byte. */
static void refused(const void *bytes, size_t n, const char *who, const char *how) {
    gguf *f;
    n_mutations++;
    uint8_t *exact = malloc(n > 0 ? n : 1); /* so that the address sanitizer sees its end */
    REQUIRE(exact != NULL, "no memory");
    memcpy(exact, bytes, n);
    status s = gguf_open_bytes(&f, exact, n, "lie.gguf");
    const error_report *r = error_last();
    CHECK(s == STATUS_FORMAT, "%s of %s: status %d", how, who != NULL ? who : "the header", (int)s);
    if (s == STATUS_FORMAT) {
        CHECK(strstr(r->what, "lie.gguf") != NULL && strstr(r->where, "byte ") != NULL &&
                  r->why[0] != '\0' && r->fix[0] != '\0',
              "%s of %s: %s / %s / %s", how, who != NULL ? who : "the header", r->what, r->where,
              r->why);
        CHECK(who == NULL || strstr(r->what, who) != NULL, "%s of %s: %s", how, who, r->what);
    }
    gguf_close(f);
    free(exact);
}

/* Puts `value` into the field and expects refusal naming `who`. */
static void lie(const field *p, uint64_t value, const char *who, const char *how) {
    uint8_t old[8];
    memcpy(old, x.bytes + p->at, p->bytes < 8 ? p->bytes : 8);
    memcpy(x.bytes + p->at, &value, p->bytes < 8 ? p->bytes : 8);
    refused(x.bytes, x.n, who, how);
    memcpy(x.bytes + p->at, old, p->bytes < 8 ? p->bytes : 8);
}

static uint64_t value_of(const field *p) {
    uint64_t v = 0;
    memcpy(&v, x.bytes + p->at, p->bytes < 8 ? p->bytes : 8);
    return v;
}

static void lie_each(const field *p, const uint64_t *values, int n, const char *who,
                     const char *how) {
    for (int i = 0; i < n; i++)
        if (values[i] != value_of(p)) lie(p, values[i], who, how);
}
#define LIES(p, who, how, ...)                                                                     \
    lie_each(p, (const uint64_t[]){__VA_ARGS__},                                                   \
             (int)(sizeof(const uint64_t[]){__VA_ARGS__} / sizeof(uint64_t)), who, how)

static void lie_in_prologue(const field *p) {
    uint64_t v = value_of(p);
    switch (p->kind) {
    case FIELD_MAGIC: LIES(p, "the header", "magic", v ^ 1, v ^ 0x20000000, 0, v << 8); break;
    case FIELD_VERSION:
        LIES(p, "the header", "version", 0, 1, 4, 255, 0x03000000, 0x02000000, 0xFFFFFFFF);
        break;
    case FIELD_N_TENSORS:
        LIES(p, NULL, "number of tensors", 0, v - 1, v + 1, 1000, UINT64_MAX, (uint64_t)1 << 63);
        break;
    case FIELD_N_KEYS:
        LIES(p, NULL, "number of keys", 0, v - 1, v + 1, 1000, UINT64_MAX, (uint64_t)1 << 62);
        break;
    default: break;
    }
}

static void lie_in_key(const field *p) {
    uint64_t v = value_of(p);
    switch (p->kind) {
    case FIELD_KEY_LENGTH:
        LIES(p, "key ", "length", 0, 65536, (uint64_t)1 << 40, UINT64_MAX);
        break;
    case FIELD_KEY_NAME:
        LIES(p, "key ", "name", v & ~(uint64_t)255, v | 0xFF, (v & ~(uint64_t)255) | 0xC0);
        break;
    case FIELD_VALUE_TYPE: LIES(p, p->owner, "type", 13, 64, 255, 0x10000, UINT32_MAX); break;
    case FIELD_ELEMENT_TYPE: LIES(p, p->owner, "element type", 9, 13, 255, UINT32_MAX); break;
    case FIELD_LIST_COUNT:
        LIES(p, p->owner, "count", ((uint64_t)1 << 30) + 1, (uint64_t)1 << 29, UINT64_MAX);
        break;
    case FIELD_STRING_LENGTH:
        LIES(p, p->owner, "string length", ((uint64_t)1 << 30) + 1, (uint64_t)1 << 20, UINT64_MAX);
        break;
    case FIELD_BOOL: LIES(p, p->owner, "truth", 2, 128, 255); break;
    case FIELD_ALIGNMENT:
        LIES(p, p->owner, "alignment", 0, 1, 4, 63, 65, 2097152, UINT32_MAX);
        break;
    default: break;
    }
}

static void lie_in_tensor(const field *p) {
    uint64_t v = value_of(p);
    switch (p->kind) {
    case FIELD_NAME_LENGTH: LIES(p, "tensor ", "length", 0, 64, 65535, UINT64_MAX); break;
    case FIELD_NAME:
        LIES(p, "tensor ", "name", v & ~(uint64_t)255, v | 0xFF, (v & ~(uint64_t)255) | 0x80);
        break;
    case FIELD_RANK: LIES(p, p->owner, "rank", 5, 255, UINT32_MAX); break;
    case FIELD_DIM:
        LIES(p, NULL, "dimension", UINT64_MAX, (uint64_t)1 << 63);
        if (strcmp(p->owner, "empty.weight") == 0) break; /* no rows of any width are no rows */
        LIES(p, NULL, "dimension", (uint64_t)1 << 40, v + 4096);
        break;
    case FIELD_TYPE: LIES(p, p->owner, "type", 4, 5, 31, 33, 43, 64, 0x10000, UINT32_MAX); break;
    case FIELD_OFFSET:
        LIES(p, p->owner, "offset", v + 1, v + 64, v - 64, (uint64_t)1 << 40, UINT64_MAX);
        break;
    default: break;
    }
}

TEST(gguf_lies_are_refused_by_place) {
    fixture_whole(&x, 3);
    n_mutations = 0;
    for (int i = 0; i < x.n_fields; i++) {
        lie_in_prologue(&x.fields[i]);
        lie_in_key(&x.fields[i]);
        lie_in_tensor(&x.fields[i]);
    }
    int fields = n_mutations;
    size_t header = x.n - (size_t)x.offset;
    for (size_t n = 0; n < x.n; n += n < header ? 1 : 61)
        refused(x.bytes, n, NULL, "cut");
    x.n += 1;
    refused(x.bytes, x.n, NULL, "one byte more");
    printf("  %d lies in fields, %d cuts, each refused with its place\n", fields,
           n_mutations - fields);
    CHECK(fields >= 200, "%d", fields);
}

TEST(gguf_twins_are_refused) {
    fixture_begin(&x, 3, 0, 2);
    fixture_key(&x, "a.b", 7);
    fixture_raw(&x, "\1", 1);
    fixture_key(&x, "a.b", 7);
    fixture_raw(&x, "\1", 1);
    refused(x.bytes, x.n, "a.b", "second key");
    fixture_begin(&x, 3, 2, 0);
    fixture_tensor(&x, "w", 0, 1, (const int64_t[]){8}, 32);
    fixture_tensor(&x, "w", 0, 1, (const int64_t[]){8}, 32);
    fixture_data(&x);
    refused(x.bytes, x.n, "\"w\"", "second tensor");
    fixture_begin(&x, 3, 1, 0);
    fixture_tensor(&x, "rows", 2, 1, (const int64_t[]){33}, 32);
    fixture_data(&x);
    refused(x.bytes, x.n, "rows", "half a block");
}

TEST(gguf_padding_of_the_last_tensor_may_lack) {
    gguf *f;
    fixture_begin(&x, 3, 1, 0);
    fixture_tensor(&x, "w", 0, 1, (const int64_t[]){5}, 20);
    fixture_data(&x);
    REQUIRE_OK(gguf_open_bytes(&f, x.bytes, x.n, "padded"));
    gguf_close(f);
    REQUIRE_OK(gguf_open_bytes(&f, x.bytes, x.n - 12, "bare"));
    gguf_close(f);
    refused(x.bytes, x.n - 13, "\"w\"", "one byte less");
}

TEST(gguf_any_bytes_are_survived) {
    fixture_whole(&x, 3);
    static uint8_t bytes[FIXTURE_ROOM];
    for (uint64_t run = 0; run < (test_long() ? 200000 : 10000); run++) {
        rng r = rng_at(7, RNG_TEST, run);
        memcpy(bytes, x.bytes, x.n);
        for (uint64_t c = 0; c <= rng_below(r, 0, 4); c++)
            bytes[rng_below(r, 1 + 2 * c, x.n)] = (uint8_t)rng_u64(r, 2 + 2 * c);
        gguf *f;
        if (gguf_open_bytes(&f, bytes, x.n, "noise") != STATUS_OK) continue;
        float out[256];
        for (int i = 0; i < gguf_n_tensors(f); i++) {
            const gguf_tensor *t = gguf_tensor_at(f, i);
            if (t->count > 0 && quant_can_decode(t->type))
                CHECK(gguf_decode(f, t, 0, quant_block(t->type), out) == STATUS_OK, "decode");
        }
        gguf_close(f);
    }
}

/* ---- writing ---- */

static const char *in(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", test_folder(), name);
    return path;
}

static void put_all(gguf_writer *w, const gguf *f) {
    for (int i = 0; i < gguf_n_values(f); i++)
        gguf_put_value(w, gguf_value_at(f, i));
    for (int i = 0; i < gguf_n_tensors(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        gguf_put_tensor(w, t->name, t->type, t->rank, t->dim);
    }
    for (int i = 0; i < gguf_n_tensors(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        size_t half = t->bytes / 3;
        gguf_put_data(w, t->data, half);
        gguf_put_data(w, t->data + half, t->bytes - half);
    }
}

TEST(gguf_writer_gives_back_what_was_read) {
    gguf *f, *g;
    gguf_writer *w;
    const char *path = in("copy.gguf");
    fixture_whole(&x, 2);
    REQUIRE_OK(gguf_open_bytes(&f, x.bytes, x.n, "test"));
    REQUIRE_OK(gguf_writer_new(&w, path));
    put_all(w, f);
    REQUIRE_OK(gguf_writer_commit(w));
    REQUIRE_OK(gguf_open(&g, path));
    CHECK(gguf_n_values(g) == gguf_n_values(f) - 1, "all but general.alignment");
    for (int i = 0, j = 0; i < gguf_n_values(f); i++) {
        const gguf_value *a = gguf_value_at(f, i), *b = gguf_value_at(g, j);
        if (strcmp(a->key, "general.alignment") == 0) continue;
        j++;
        CHECK(strcmp(a->key, b->key) == 0 && a->type == b->type && a->element == b->element &&
                  a->count == b->count && a->bytes == b->bytes &&
                  memcmp(a->data, b->data, a->bytes) == 0,
              "%s", a->key);
    }
    for (int i = 0; i < gguf_n_tensors(f); i++) {
        const gguf_tensor *a = gguf_tensor_at(f, i), *b = gguf_tensor_at(g, i);
        CHECK(strcmp(a->name, b->name) == 0 && a->type == b->type && a->rank == b->rank &&
                  memcmp(a->dim, b->dim, sizeof a->dim) == 0 && a->bytes == b->bytes &&
                  memcmp(a->data, b->data, a->bytes) == 0,
              "%s", a->name);
        CHECK((uintptr_t)b->data % 32 == 0, "%s is aligned", b->name);
    }
    gguf_close(f);
    gguf_close(g);
}

TEST(gguf_writer_puts_values_that_read_back) {
    gguf *f;
    gguf_writer *w;
    const char *path = in("values.gguf");
    REQUIRE_OK(gguf_writer_new(&w, path));
    gguf_put_u32(w, "n", 4294967295);
    gguf_put_int(w, "i8", GGUF_I8, -7);
    gguf_put_f32(w, "eps", 1e-5);
    gguf_put_bool(w, "yes", true);
    gguf_put_string(w, "name", "a model");
    gguf_put_texts(w, "texts", (gguf_text[]){{"b", 1}, {"", 0}}, 2);
    gguf_put_ints(w, "ints", GGUF_I32, (int64_t[]){-1, 2}, 2);
    gguf_put_tensor(w, "w", QUANT_F32, 2, (int64_t[]){2, 3});
    gguf_put_data(w, (float[]){1, 2, 3, 4, 5, 6}, 24);
    REQUIRE_OK(gguf_writer_commit(w));
    REQUIRE_OK(gguf_open(&f, path));
    int64_t n = 0, *ints;
    double eps = 0;
    bool yes = false;
    const char *name = "";
    float values[6];
    CHECK(gguf_get_int(f, "n", &n) == STATUS_OK && n == 4294967295, "n");
    CHECK(gguf_get_int(f, "i8", &n) == STATUS_OK && n == -7, "i8");
    CHECK(gguf_get_real(f, "eps", &eps) == STATUS_OK && (float)eps == 1e-5f, "eps");
    CHECK(gguf_get_bool(f, "yes", &yes) == STATUS_OK && yes, "yes");
    CHECK(gguf_get_string(f, "name", &name) == STATUS_OK && strcmp(name, "a model") == 0, "name");
    CHECK(gguf_get_ints(f, "ints", &ints, &n) == STATUS_OK && n == 2 && ints[0] == -1, "ints");
    mem_free(ints);
    const gguf_tensor *t = gguf_lookup(f, "w");
    REQUIRE(t != NULL, "w");
    CHECK(t->dim[0] == 2 && t->dim[1] == 3, "shape");
    REQUIRE_OK(gguf_decode(f, t, 0, 6, values));
    CHECK(values[0] == 1 && values[5] == 6, "data");
    gguf_close(f);
}

static status write_badly(int how, const char *path) {
    gguf_writer *w;
    TRY(gguf_writer_new(&w, path));
    if (how == 0) gguf_put_int(w, "small", GGUF_U8, 256);
    gguf_put_tensor(w, "w", QUANT_Q8_0, 1, (int64_t[]){how == 1 ? 33 : 32});
    gguf_put_data(w, (uint8_t[40]){0}, how == 2 ? 33 : how == 3 ? 35 : 34);
    if (how == 4) gguf_put_string(w, "late", "");
    if (how == 5) gguf_put_tensor(w, "late", QUANT_F32, 1, (int64_t[]){0});
    return gguf_writer_commit(w);
}

TEST(gguf_writer_refuses_what_the_format_cannot_hold) {
    const char *path = in("bad.gguf");
    for (int how = 0; how < 6; how++) {
        CHECK(write_badly(how, path) != STATUS_OK, "way %d", how);
        CHECK(!path_exists(path), "way %d leaves no file", how);
    }
    REQUIRE_OK(write_badly(6, path));
    CHECK(path_exists(path), "the good one");
}

static status whole_life(const char *path) {
    gguf *f = NULL, *g = NULL;
    gguf_writer *w;
    gguf_text *texts = NULL;
    int64_t n, *ints = NULL;
    const char *string;
    status s;
    TRY_GOTO(s, gguf_open_bytes(&f, x.bytes, x.n, "test"));
    TRY_GOTO(s, gguf_get_texts(f, "tokens", &texts, &n));
    TRY_GOTO(s, gguf_get_ints(f, "types", &ints, &n));
    TRY_GOTO(s, gguf_get_string(f, "general.architecture", &string));
    TRY_GOTO(s, gguf_writer_new(&w, path));
    put_all(w, f);
    TRY_GOTO(s, gguf_writer_commit(w));
    TRY_GOTO(s, gguf_open(&g, path));
done:
    mem_free(texts);
    mem_free(ints);
    gguf_close(f);
    gguf_close(g);
    return s;
}

TEST(gguf_allocation_failures_leave_nothing) {
    const char *path = in("life.gguf");
    int64_t before = mem_live_blocks(), n = 1;
    fixture_whole(&x, 3);
    for (;; n++) {
        mem_fail_at(n);
        status s = whole_life(path);
        bool failed = mem_failed();
        mem_fail_at(0);
        CHECK(mem_live_blocks() == before, "allocation %" PRId64 " leaks", n);
        CHECK(!failed || s == STATUS_MEMORY, "allocation %" PRId64 ": status %d", n, (int)s);
        if (!failed) {
            CHECK(s == STATUS_OK, "status %d", (int)s);
            break;
        }
        REQUIRE(n < 1000, "it never ends");
    }
    CHECK(n > 20, "%" PRId64 " allocations", n);
}
