/* test_safetensors.c - round trips, every way a file can lie, allocation failures, indexes. */
#include "tensor/safetensors.h"

#include "base/file.h"
#include "base/rng.h"
#include "test.h"

/* A file from a header text and `data` bytes of payload. */
static uint8_t *build(const char *header, size_t data, size_t *n) {
    uint64_t length = strlen(header);
    uint8_t *bytes = mem_alloc(8 + length + data);
    if (bytes == NULL) return NULL;
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < data; i++)
        bytes[8 + length + i] = (uint8_t)(i * 7);
    *n = 8 + length + data;
    return bytes;
}

/* A path in a fresh folder; valid until the next call. */
static const char *in(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", test_folder(), name);
    return path;
}

TEST(safetensors_round_trip) {
    float a[6] = {1, 2, 3, 4, 5, 6};
    uint16_t b[3] = {0x3F80, 0x7FC0, 0xFF80};
    uint8_t c[5] = {1, 2, 3, 4, 5};
    int64_t d = -9;
    safetensors_item items[] = {
        {"model.a", tensor_2d(a, DTYPE_F32, 2, 3)},
        {"model.b", tensor_1d(b, DTYPE_BF16, 3)},
        {"c \"quoted\" \xC3\xA9", tensor_1d(c, DTYPE_U8, 5)},
        {"d", {.data = &d, .dtype = DTYPE_I64, .rank = 0}},
        {"empty", tensor_2d(NULL, DTYPE_F32, 0, 7)},
    };
    safetensors_note notes[] = {{"format", "pt"}, {"step", "12"}};
    const char *path = in("x.safetensors");
    REQUIRE_OK(safetensors_write(path, items, 5, notes, 2));
    safetensors *f;
    REQUIRE_OK(safetensors_open(&f, path));
    CHECK(safetensors_count(f) == 5, "%d", safetensors_count(f));
    for (int i = 0; i < 5; i++) {
        tensor t;
        REQUIRE_OK(safetensors_find(f, items[i].name, &t));
        const tensor *want = &items[i].value;
        CHECK(t.dtype == want->dtype && t.rank == want->rank, "%s", items[i].name);
        CHECK(strcmp(tensor_shape_text(&t), tensor_shape_text(want)) == 0, "%s", items[i].name);
        CHECK(tensor_contiguous(&t), "%s", items[i].name);
        CHECK((uintptr_t)t.data % dtype_size(t.dtype) == 0, "aligned %s", items[i].name);
        CHECK(memcmp(t.data != NULL ? t.data : a, want->data != NULL ? want->data : a,
                     tensor_bytes(want)) == 0,
              "%s", items[i].name);
    }
    CHECK(strcmp(safetensors_metadata(f, "step"), "12") == 0, "metadata");
    CHECK(safetensors_metadata(f, "none") == NULL, "absent metadata");
    for (int i = 1; i < 5; i++)
        CHECK(strcmp(safetensors_at(f, i - 1)->name, safetensors_at(f, i)->name) < 0, "sorted");
    tensor t;
    CHECK(safetensors_find(f, "model.aa", &t) == STATUS_FORMAT &&
              error_last()->id == F_TENSOR_MISSING,
          "missing");
    CHECK(strstr(error_last()->why, "model.a") != NULL, "nearest: %s", error_last()->why);
    safetensors_close(f);
}

/* The layout of the reference writer, byte for byte. */
TEST(safetensors_bytes_are_the_reference_layout) {
    float a[2] = {0, 1};
    uint8_t c[1] = {9};
    uint16_t h[1] = {7};
    safetensors_item items[] = {{"z", tensor_1d(c, DTYPE_U8, 1)},
                                {"b", tensor_2d(a, DTYPE_F32, 1, 2)},
                                {"h", tensor_1d(h, DTYPE_F16, 1)},
                                {"a", tensor_1d(a, DTYPE_F32, 2)}};
    safetensors_note note = {"format", "pt"};
    const char *path = in("x.safetensors");
    REQUIRE_OK(safetensors_write(path, items, 4, &note, 1));
    char *bytes;
    size_t n;
    REQUIRE_OK(file_read(path, 0, &bytes, &n));
    const char *want = "{\"__metadata__\":{\"format\":\"pt\"},"
                       "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                       "\"b\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[8,16]},"
                       "\"h\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[16,18]},"
                       "\"z\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[18,19]}}";
    uint64_t length;
    memcpy(&length, bytes, 8);
    CHECK(length % 8 == 0 && length >= strlen(want) && length < strlen(want) + 8, "padded");
    CHECK(memcmp(bytes + 8, want, strlen(want)) == 0, "%.*s", (int)length, bytes + 8);
    for (size_t i = 8 + strlen(want); i < 8 + length; i++)
        CHECK(bytes[i] == ' ', "blank at %zu", i);
    CHECK(n == 8 + length + 19, "%zu", n);
    mem_free(bytes);
}

TEST(safetensors_order_of_items_does_not_matter) {
    float a[4] = {1, 2, 3, 4};
    safetensors_item items[5];
    char names[5][8];
    for (int i = 0; i < 5; i++) {
        snprintf(names[i], sizeof names[i], "t%d", i);
        items[i] =
            (safetensors_item){names[i], tensor_1d(a, i % 2 ? DTYPE_F32 : DTYPE_BF16, i % 4)};
    }
    char *first = NULL;
    size_t n_first = 0;
    const char *path = in("x.safetensors");
    for (int turn = 0; turn < 5; turn++) {
        safetensors_item turned[5];
        for (int i = 0; i < 5; i++)
            turned[i] = items[(i * 2 + turn) % 5];
        REQUIRE_OK(safetensors_write(path, turned, 5, NULL, 0));
        char *bytes;
        size_t n;
        REQUIRE_OK(file_read(path, 0, &bytes, &n));
        CHECK(turn == 0 || (n == n_first && memcmp(bytes, first, n) == 0), "turn %d", turn);
        if (turn == 0)
            first = bytes, n_first = n;
        else
            mem_free(bytes);
    }
    mem_free(first);
}

#define T4 "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"
static const struct {
    const char *label, *header;
    size_t data;
    error_id want;
} lies[] = {
    {"not an object", "[1,2]   ", 0, F_SAFETENSORS_HEADER},
    {"empty header", "", 0, F_SAFETENSORS_HEADER},
    {"blank before {", " {\"a\":" T4 "}", 4, F_SAFETENSORS_HEADER},
    {"not UTF-8", "{\"\xFF\":" T4 "}", 4, F_SAFETENSORS_HEADER},
    {"overlong UTF-8", "{\"\xC0\x80\":" T4 "}", 4, F_SAFETENSORS_HEADER},
    {"surrogate", "{\"\xED\xA0\x80\":" T4 "}", 4, F_SAFETENSORS_HEADER},
    {"cut JSON", "{\"a\":{\"dtype\":\"F32\"", 4, F_SAFETENSORS_HEADER},
    {"cut string", "{\"a", 4, F_SAFETENSORS_HEADER},
    {"cut escape", "{\"a\\", 4, F_SAFETENSORS_HEADER},
    {"rubbish after", "{\"a\":" T4 "}x", 4, F_SAFETENSORS_HEADER},
    {"two objects", "{\"a\":" T4 "}{}", 4, F_SAFETENSORS_HEADER},
    {"trailing comma", "{\"a\":" T4 ",}", 4, F_SAFETENSORS_HEADER},
    {"single quotes", "{'a':" T4 "}", 4, F_SAFETENSORS_HEADER},
    {"duplicate name", "{\"a\":" T4 ",\"a\":" T4 "}", 4, F_SAFETENSORS_HEADER},
    {"duplicate name, escaped", "{\"a\":" T4 ",\"\\u0061\":" T4 "}", 4, F_SAFETENSORS_HEADER},
    {"duplicate field",
     "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":"
     "[0,4]}}",
     4, F_SAFETENSORS_HEADER},
    {"value a number", "{\"a\":3}", 4, F_SAFETENSORS_HEADER},
    {"value null", "{\"a\":null}", 4, F_SAFETENSORS_HEADER},
    {"unknown type", "{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     F_SAFETENSORS_HEADER},
    {"type in small letters", "{\"a\":{\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     F_SAFETENSORS_HEADER},
    {"type no string", "{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     F_SAFETENSORS_HEADER},
    {"no type", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, F_SAFETENSORS_HEADER},
    {"no shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4],\"x\":1}}", 4,
     F_SAFETENSORS_HEADER},
    {"extra field", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4,
     F_SAFETENSORS_HEADER},
    {"negative dim", "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4,
     F_SAFETENSORS_HEADER},
    {"dim not whole", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4,
     F_SAFETENSORS_HEADER},
    {"dim beyond 64 bits",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],"
     "\"data_offsets\":[0,4]}}",
     4, F_SAFETENSORS_HEADER},
    {"shape no list", "{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4,
     F_SAFETENSORS_HEADER},
    {"17 dims",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"
     "\"data_offsets\":[0,4]}}",
     4, F_SAFETENSORS_HEADER},
    {"one offset", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4,
     F_SAFETENSORS_HEADER},
    {"three offsets", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]}}", 4,
     F_SAFETENSORS_HEADER},
    {"negative offset", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4,
     F_SAFETENSORS_HEADER},
    {"metadata no object", "{\"__metadata__\":\"x\",\"a\":" T4 "}", 4, F_SAFETENSORS_HEADER},
    {"metadata value no string", "{\"__metadata__\":{\"x\":1},\"a\":" T4 "}", 4,
     F_SAFETENSORS_HEADER},
    {"nested", "{\"a\":{\"dtype\":\"F32\",\"shape\":[[1]],\"data_offsets\":[0,4]}}", 4,
     F_SAFETENSORS_HEADER},
    {"does not begin at 0", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
     F_SAFETENSORS_OFFSETS},
    {"hole", "{\"a\":" T4 ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}", 12,
     F_SAFETENSORS_OFFSETS},
    {"overlap", "{\"a\":" T4 ",\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}", 6,
     F_SAFETENSORS_OFFSETS},
    {"same place twice", "{\"a\":" T4 ",\"b\":" T4 "}", 4, F_SAFETENSORS_OFFSETS},
    {"end before begin",
     "{\"a\":" T4 ",\"b\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":"
     "[4,0]}}",
     4, F_SAFETENSORS_OFFSETS},
    {"shape overflows",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],"
     "\"data_offsets\":[0,4]}}",
     4, F_SAFETENSORS_OFFSETS},
    {"bits overflow",
     "{\"a\":{\"dtype\":\"F64\",\"shape\":[1152921504606846976],"
     "\"data_offsets\":[0,4]}}",
     4, F_SAFETENSORS_OFFSETS},
    {"half a byte", "{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1,
     F_SAFETENSORS_OFFSETS},
    {"size too small", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
     F_SAFETENSORS_OFFSETS},
    {"size too large", "{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,8]}}", 8,
     F_SAFETENSORS_OFFSETS},
    {"data missing", "{\"a\":" T4 "}", 3, F_SAFETENSORS_TRUNCATED},
    {"data too long", "{\"a\":" T4 "}", 5, F_SAFETENSORS_TRUNCATED},
    {"data without tensors", "{}", 1, F_SAFETENSORS_TRUNCATED},
};

static void expect_refused(const char *label, const void *bytes, size_t n, error_id want) {
    safetensors *f = NULL;
    int64_t before = mem_live_blocks();
    status s = safetensors_open_bytes(&f, bytes, n, "lie.safetensors");
    const error_report *r = error_last();
    CHECK(s == error_status(want) && f == NULL, "%s: status %d", label, (int)s);
    CHECK(r->id == want, "%s: %s", label, error_title(r->id));
    CHECK(strstr(r->what, "lie.safetensors") != NULL, "%s names the file: %s", label, r->what);
    CHECK(strstr(r->where, "byte") != NULL, "%s names the byte: %s", label, r->where);
    CHECK(r->why[0] != '\0' && r->fix[0] != '\0', "%s: four parts", label);
    CHECK(mem_live_blocks() == before, "%s leaks", label);
    safetensors_close(f);
}

TEST(safetensors_refuses_lies) {
    int n_lies = (int)(sizeof lies / sizeof lies[0]);
    CHECK(n_lies >= 30, "%d", n_lies);
    for (int i = 0; i < n_lies; i++) {
        size_t n = 0;
        uint8_t *bytes = build(lies[i].header, lies[i].data, &n);
        REQUIRE(bytes != NULL, "memory");
        expect_refused(lies[i].label, bytes, n, lies[i].want);
        mem_free(bytes);
    }
}

TEST(safetensors_refuses_false_lengths) {
    uint8_t bytes[64] = {0};
    for (size_t n = 0; n < 8; n++)
        expect_refused("short", bytes, n, F_SAFETENSORS_TRUNCATED);
    static const struct {
        uint64_t length;
        error_id want;
    } cases[] = {{57, F_SAFETENSORS_TRUNCATED},
                 {100000000, F_SAFETENSORS_TRUNCATED},
                 {100000001, F_SAFETENSORS_HEADER},
                 {UINT64_MAX, F_SAFETENSORS_HEADER},
                 {UINT64_MAX - 7, F_SAFETENSORS_HEADER}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memcpy(bytes, &cases[i].length, 8);
        expect_refused("length", bytes, sizeof bytes, cases[i].want);
    }
    /* A whole file cut at every byte. */
    size_t n;
    uint8_t *file = build("{\"a\":" T4 "}", 4, &n);
    REQUIRE(file != NULL, "memory");
    for (size_t cut = 0; cut < n; cut++)
        expect_refused("cut", file, cut, F_SAFETENSORS_TRUNCATED);
    mem_free(file);
}

TEST(safetensors_message_gives_the_byte_of_the_tensor) {
    const char *header = "{\"first\":" T4 ",\"wrong one\":{\"dtype\":\"F32\",\"shape\":[1],"
                         "\"data_offsets\":[4,9]}}";
    size_t n;
    uint8_t *bytes = build(header, 5, &n);
    REQUIRE(bytes != NULL, "memory");
    safetensors *f;
    CHECK(safetensors_open_bytes(&f, bytes, n, "x") == STATUS_FORMAT, "refused");
    size_t at = 8 + (size_t)(strstr(header, "\"wrong") - header);
    CHECK(strstr(error_last()->where, text("byte %zu", at)) != NULL, "%s", error_last()->where);
    CHECK(strstr(error_last()->what, "wrong one") != NULL, "%s", error_last()->what);
    mem_free(bytes);
}

TEST(safetensors_bounds_entries_and_nesting) {
    size_t n = 2000000, used = 0;
    char *header = mem_alloc(n * 8 + 16);
    REQUIRE(header != NULL, "memory");
    header[used++] = '{';
    for (size_t i = 0; i < 1000002; i++)
        used += (size_t)snprintf(header + used, 8, "\"\":0,");
    header[used] = '\0';
    size_t size;
    uint8_t *bytes = build(header, 0, &size);
    REQUIRE(bytes != NULL, "memory");
    expect_refused("a million and two entries", bytes, size, F_SAFETENSORS_HEADER);
    CHECK(strstr(error_last()->what, "too many") != NULL, "%s", error_last()->what);
    mem_free(bytes);
    memset(header, '[', n);
    header[0] = '{';
    header[n] = '\0';
    bytes = build(header, 0, &size);
    REQUIRE(bytes != NULL, "memory");
    expect_refused("two million brackets", bytes, size, F_SAFETENSORS_HEADER);
    CHECK(strstr(error_last()->what, "nested") != NULL, "%s", error_last()->what);
    mem_free(bytes);
    mem_free(header);
}

TEST(safetensors_accepts_what_the_format_allows) {
    static const char *const good[] = {
        "{}",
        "{}   ",
        "{\"a\":" T4 "}",
        "{\"__metadata__\":{},\"a\":" T4 "}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}",
        "{\"a\":" T4 ",\"e\":{\"dtype\":\"F32\",\"shape\":[3,0],\"data_offsets\":[4,4]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}",
        "{ \"a\" : { \"shape\" : [ 1 ] , \"data_offsets\" : [ 0 , 4 ] , \"dtype\" : \"F32\" } }",
        "{\"a\":{\"dtype\":\"F4\",\"shape\":[8],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}",
        "{\"brace } in \\\" name\":" T4 "}"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        size_t n;
        uint8_t *bytes =
            build(good[i], strstr(good[i], "[0,4]") || strstr(good[i], "[ 0") ? 4 : 0, &n);
        REQUIRE(bytes != NULL, "memory");
        safetensors *f;
        status s = safetensors_open_bytes(&f, bytes, n, "good");
        CHECK(s == STATUS_OK, "%s: %s, %s", good[i], error_last()->what, error_last()->why);
        safetensors_close(f);
        mem_free(bytes);
    }
}

TEST(safetensors_find_says_what_it_cannot_open) {
    size_t n;
    uint8_t *bytes =
        build("{\"four\":{\"dtype\":\"F4\",\"shape\":[8],\"data_offsets\":[0,4]},"
              "\"five\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[4,8]}}",
              8, &n);
    REQUIRE(bytes != NULL, "memory");
    safetensors *f;
    REQUIRE_OK(safetensors_open_bytes(&f, bytes, n, "x"));
    tensor t;
    CHECK(safetensors_find(f, "four", &t) == STATUS_UNSUPPORTED &&
              error_last()->id == F_SAFETENSORS_DTYPE,
          "4-bit float");
    CHECK(safetensors_find(f, "five", &t) == STATUS_SHAPE && error_last()->id == F_SHAPE, "rank 5");
    safetensors_close(f);
    mem_free(bytes);
}

TEST(safetensors_unaligned_data_is_copied) {
    size_t n;
    uint8_t *bytes = build("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                           "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]}}",
                           9, &n);
    REQUIRE(bytes != NULL, "memory");
    for (size_t shift = 0; shift < 4; shift++) {
        uint8_t *moved = mem_alloc(n + 4);
        REQUIRE(moved != NULL, "memory");
        memcpy(moved + shift, bytes, n);
        safetensors *f;
        tensor t, again;
        REQUIRE_OK(safetensors_open_bytes(&f, moved + shift, n, "x"));
        REQUIRE_OK(safetensors_find(f, "b", &t));
        REQUIRE_OK(safetensors_find(f, "b", &again));
        CHECK((uintptr_t)t.data % 4 == 0 && t.data == again.data, "one aligned copy");
        CHECK(memcmp(t.data, bytes + n - 8, 8) == 0, "same bytes");
        safetensors_close(f);
        mem_free(moved);
    }
    mem_free(bytes);
}

TEST(safetensors_writer_refuses_what_it_cannot_write) {
    float a[4] = {0};
    const char *path = in("x.safetensors");
    tensor gaps = tensor_2d(a, DTYPE_F32, 2, 1);
    gaps.stride[0] = 2;
    safetensors_item twice[] = {{"a", tensor_1d(a, DTYPE_F32, 2)},
                                {"a", tensor_1d(a, DTYPE_I8, 2)}};
    safetensors_item bad[] = {{"a", gaps}},
                     taken[] = {{"__metadata__", tensor_1d(a, DTYPE_F32, 1)}};
    safetensors_item latin[] = {{"\xE9", tensor_1d(a, DTYPE_F32, 1)}};
    CHECK(safetensors_write(path, twice, 2, NULL, 0) == STATUS_FORMAT, "same name twice");
    CHECK(safetensors_write(path, bad, 1, NULL, 0) == STATUS_SHAPE, "not contiguous");
    CHECK(safetensors_write(path, taken, 1, NULL, 0) == STATUS_FORMAT, "__metadata__");
    CHECK(safetensors_write(path, latin, 1, NULL, 0) == STATUS_FORMAT, "not UTF-8");
    CHECK(!path_exists(path), "nothing was written");
    CHECK(safetensors_write("/proc/none/x", taken, 0, NULL, 0) == STATUS_IO, "no such folder");
}

static status write_and_read(const char *path) {
    float a[3] = {1, 2, 3};
    safetensors_item items[] = {{"a", tensor_1d(a, DTYPE_F32, 3)},
                                {"b", tensor_1d(a, DTYPE_U8, 3)}};
    safetensors_note note = {"k", "v"};
    TRY(safetensors_write(path, items, 2, &note, 1));
    safetensors *f;
    TRY(safetensors_open(&f, path));
    tensor t;
    status s = safetensors_find(f, "a", &t);
    safetensors_close(f);
    return s;
}

TEST(safetensors_survives_every_allocation_failure) {
    const char *path = in("x.safetensors");
    REQUIRE_OK(write_and_read(path));
    int64_t before = mem_live_blocks(), n = 1;
    for (;; n++) {
        mem_fail_at(n);
        status s = write_and_read(path);
        bool failed = mem_failed();
        mem_fail_at(0);
        CHECK(mem_live_blocks() == before, "allocation %" PRId64 " leaks", n);
        CHECK(s == (failed ? STATUS_MEMORY : STATUS_OK), "allocation %" PRId64 ": %d", n, (int)s);
        REQUIRE_OK(write_and_read(path)); /* the file stayed whole or can be written again */
        if (!failed || n > 1000) break;
    }
    CHECK(n > 5 && n < 1000, "%" PRId64 " allocations", n);
}

/* ---- several files ---- */

static status write_part(const char *folder, const char *file, const char *name, float value) {
    safetensors_item item = {name, tensor_1d(&value, DTYPE_F32, 1)};
    return safetensors_write(text("%s/%s", folder, file), &item, 1, NULL, 0);
}

static status write_index(const char *folder, const char *map) {
    const char *json = text("{\"metadata\":{\"total_size\":8},\"weight_map\":%s}", map);
    return file_write(text("%s/model.safetensors.index.json", folder), json, strlen(json));
}

TEST(safetensors_reads_an_index) {
    char folder[512];
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(write_part(folder, "m-1.safetensors", "x", 1));
    REQUIRE_OK(write_part(folder, "m-2.safetensors", "y", 2));
    REQUIRE_OK(write_index(folder, "{\"x\":\"m-1.safetensors\",\"y\":\"m-2.safetensors\"}"));
    safetensors *f;
    tensor t;
    REQUIRE_OK(safetensors_open(&f, folder));
    REQUIRE_OK(safetensors_find(f, "y", &t));
    CHECK(((float *)t.data)[0] == 2, "value");
    CHECK(safetensors_count(f) == 2, "%d", safetensors_count(f));
    safetensors_close(f);
    REQUIRE_OK(write_part(folder, "model.safetensors", "z", 3));
    REQUIRE_OK(safetensors_open(&f, folder));
    CHECK(safetensors_lookup(f, "z") != NULL && safetensors_count(f) == 1, "single file wins");
    safetensors_close(f);
}

TEST(safetensors_refuses_false_indexes) {
    char folder[512];
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(write_part(folder, "1.safetensors", "x", 1));
    REQUIRE_OK(write_part(folder, "2.safetensors", "x", 2));
    REQUIRE_OK(write_part(folder, "3.safetensors", "y", 2));
    static const struct {
        const char *map;
        error_id want;
    } cases[] = {
        {"{\"x\":\"/etc/passwd\"}", F_SAFETENSORS_HEADER},
        {"{\"x\":\"../1.safetensors\"}", F_SAFETENSORS_HEADER},
        {"{\"x\":\"a/../../1.safetensors\"}", F_SAFETENSORS_HEADER},
        {"{\"x\":\"..\"}", F_SAFETENSORS_HEADER},
        {"{\"x\":\"..\\\\1.safetensors\"}", F_SAFETENSORS_HEADER},
        {"{\"x\":\"\"}", F_SAFETENSORS_HEADER},
        {"{\"x\":1}", F_SAFETENSORS_HEADER},
        {"{}", F_SAFETENSORS_HEADER},
        {"[]", F_JSON},
        {"{\"x\":\"1.safetensors\",\"x2\":\"1.safetensors\"}", F_TENSOR_MISSING},
        {"{\"q\":\"1.safetensors\"}", F_SAFETENSORS_HEADER},
        {"{\"x\":\"1.safetensors\",\"q\":\"2.safetensors\"}", F_SAFETENSORS_HEADER},
        {"{\"x\":\"1.safetensors\",\"y\":\"9.safetensors\"}", F_MISSING},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        REQUIRE_OK(write_index(folder, cases[i].map));
        safetensors *f = NULL;
        int64_t before = mem_live_blocks();
        CHECK(safetensors_open(&f, folder) != STATUS_OK && f == NULL, "%s", cases[i].map);
        CHECK(error_last()->id == cases[i].want, "%s: %s", cases[i].map,
              error_title(error_last()->id));
        CHECK(mem_live_blocks() == before, "%s leaks", cases[i].map);
    }
    safetensors *f;
    REQUIRE_OK(folder_create(text("%s/none", folder)));
    CHECK(safetensors_open(&f, text("%s/none", folder)) == STATUS_IO, "empty folder");
    CHECK(error_last()->id == F_MISSING, "%s", error_title(error_last()->id));
}

/* Single bytes of a real file changed: refused or still consistent, never outside the file. */
TEST(safetensors_random_damage_stays_inside) {
    size_t n;
    uint8_t *bytes = build("{\"__metadata__\":{\"k\":\"v\"},\"a\":" T4
                           ",\"b\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[4,12]}}",
                           12, &n);
    REQUIRE(bytes != NULL, "memory");
    rng r = rng_at(1, RNG_TEST, 0);
    int accepted = 0, rounds = test_long() ? 2000000 : 100000;
    for (int i = 0; i < rounds; i++) {
        uint64_t word = rng_u64(r, (uint64_t)i);
        size_t at = word % (n - 12);
        uint8_t old = bytes[at];
        bytes[at] = (uint8_t)(word >> 32);
        safetensors *f;
        if (safetensors_open_bytes(&f, bytes, n, "x") == STATUS_OK) {
            accepted++;
            for (int e = 0; e < safetensors_count(f); e++) {
                const safetensors_entry *entry = safetensors_at(f, e);
                const uint8_t *data = entry->data;
                CHECK(data >= bytes && data + entry->bytes <= bytes + n, "outside");
            }
            safetensors_close(f);
        }
        bytes[at] = old;
    }
    CHECK(accepted > 0 && accepted < rounds, "%d", accepted);
    mem_free(bytes);
}
