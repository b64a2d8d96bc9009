/* test_mutations.c - damaged safetensors files and indexes: each refused, with the place in the report.
 *
 * A good file is changed in one place in every way that matters: length word, structure, header fields,
 * offsets, the file's end. Numbers inside tensors may be anything and are never an error.
 */
#include "test.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "tensor/safetensors.h"

static const char header[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"model.norm.weight\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},"
    "\"lm_head.weight\":{\"dtype\":\"BF16\",\"shape\":[2,4],\"data_offsets\":[16,32]},"
    "\"codes\":{\"dtype\":\"F8_E4M3\",\"shape\":[3,2],\"data_offsets\":[32,38]}}";
#define HEADER (sizeof header - 1)
#define DATA   38

static char bytes[8 + 4096 + DATA];

/* A file with this header, `data` bytes behind it and `claim` in the length word. */
static size_t file_of(const char *text, size_t data, uint64_t claim) {
    size_t n = strlen(text);
    memcpy(bytes, &claim, 8);
    memcpy(bytes + 8, text, n);
    memset(bytes + 8 + n, 0x3C, data);
    return 8 + n + data;
}

static int refused_count;

/* What was just opened must be refused; the report names the place (NULL: a byte) and gives
 * advice. */
static void judge(status s, safetensors *f, const char *change, const char *names) {
    const error_report *e = error_last();
    refused_count++;
    if (s == STATUS_OK) {
        safetensors_close(f);
        CHECK(false, "%s: accepted", change);
        return;
    }
    const char *all = text("%s | %s | %s", e->what, e->where, e->why);
    CHECK(strstr(all, names != NULL ? names : "byte ") != NULL, "%s: no place in %s", change, all);
    CHECK(e->fix[0] != '\0', "%s: no advice", change);
}

/* The report must name the file and one of the words (NULL: a byte). */
static void refused(const char *change, size_t n, const char *names) {
    safetensors *f;
    error_clear();
    status s = safetensors_open_bytes(&f, bytes, n, "model-00001.safetensors");
    const error_report *e = error_last();
    CHECK(s == STATUS_OK || strstr(text("%s | %s | %s", e->what, e->where, e->why),
                                   "model-00001.safetensors") != NULL,
          "%s: no file in the report", change);
    judge(s, f, change, names);
}

/* Replaces the n-th occurrence of `from`. */
static bool replaced(char out[4096], int nth, const char *from, const char *to) {
    const char *at = header;
    for (int i = 0; i <= nth && at != NULL; i++)
        at = strstr(i == 0 ? at : at + 1, from);
    if (at == NULL) return false;
    snprintf(out, 4096, "%.*s%s%s", (int)(at - header), header, to, at + strlen(from));
    return true;
}

TEST(mutations_of_safetensors_headers) {
    static const struct {
        const char *from, *to, *names;
        int nth; /* occurrence */
    } changes[] = {
        {"\"F32\"", "\"F31\"", "F31", 0},
        {"\"F32\"", "\"f32\"", "f32", 0},
        {"\"F32\"", "32", "model.norm.weight", 0},
        {"\"F32\"", "null", "model.norm.weight", 0},
        {"\"F32\"", "\"F64\"", "model.norm.weight", 0},
        {"\"F32\"", "\"F16\"", "model.norm.weight", 0},
        {"\"F32\"", "\"F4\"", "model.norm.weight", 0},
        {"\"BF16\"", "\"F32\"", "lm_head.weight", 0},
        {"\"BF16\"", "[\"BF16\"]", "lm_head.weight", 0},
        {"\"F8_E4M3\"", "\"F8\"", "codes", 0},
        {"\"F8_E4M3\"", "\"F6_E2M3\"", "codes", 0},
        {"[4]", "[5]", "model.norm.weight", 0},
        {"[4]", "[3]", "model.norm.weight", 0},
        {"[4]", "[-4]", "model.norm.weight", 0},
        {"[4]", "[4.0]", "model.norm.weight", 0},
        {"[4]", "[\"4\"]", "model.norm.weight", 0},
        {"[4]", "4", "model.norm.weight", 0},
        {"[4]", "null", "model.norm.weight", 0},
        {"[4]", "{}", "model.norm.weight", 0},
        {"[4]", "[]", "model.norm.weight", 0},
        {"[4]", "[4,2]", "model.norm.weight", 0},
        {"[4]", "[4,0]", "model.norm.weight", 0},
        {"[4]", "[9223372036854775807,4]", "model.norm.weight", 0},
        {"[4]", "[4294967296,4294967296]", "model.norm.weight", 0},
        {"[4]", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,4]", "model.norm.weight", 0},
        {"[4]", "[[4]]", NULL, 0},
        {"[2,4]", "[4,4]", "lm_head.weight", 0},
        {"[2,4]", "[2,true]", "lm_head.weight", 0},
        {"[3,2]", "[3,3]", "codes", 0},
        {"[0,16]", "[0,15]", "model.norm.weight", 0},
        {"[0,16]", "[1,16]", "model.norm.weight", 0},
        {"[0,16]", "[0,17]", "model.norm.weight", 0},
        {"[0,16]", "[16,0]", NULL, 0},
        {"[0,16]", "[0]", "model.norm.weight", 0},
        {"[0,16]", "[0,16,32]", "model.norm.weight", 0},
        {"[0,16]", "[]", "model.norm.weight", 0},
        {"[0,16]", "16", "model.norm.weight", 0},
        {"[0,16]", "[0,-16]", "model.norm.weight", 0},
        {"[0,16]", "[0.0,16]", "model.norm.weight", 0},
        {"[0,16]", "[0,\"16\"]", "model.norm.weight", 0},
        {"[0,16]", "[0,1e2]", "model.norm.weight", 0},
        {"[16,32]", "[17,33]", "lm_head.weight", 0},
        {"[16,32]", "[15,31]", "lm_head.weight", 0},
        {"[16,32]", "[0,16]", NULL, 0},
        {"[16,32]", "[16,9223372036854775807]", "lm_head.weight", 0},
        {"[16,32]", "[9223372036854775800,9223372036854775807]", NULL, 0},
        {"[32,38]", "[32,39]", "codes", 0},
        {"[32,38]", "[33,39]", "codes", 0},
        {"\"dtype\"", "\"Dtype\"", "model.norm.weight", 0},
        {"\"dtype\"", "\"type\"", "lm_head.weight", 1},
        {"\"dtype\"", "\"shape\"", NULL, 1},
        {"\"shape\"", "\"dims\"", "model.norm.weight", 0},
        {"\"shape\"", "\"dims\"", "codes", 2},
        {"\"data_offsets\"", "\"offsets\"", "model.norm.weight", 0},
        {"\"data_offsets\"", "\"offsets\"", "codes", 2},
        {"\"dtype\":\"F32\",", "", "model.norm.weight", 0},
        {"\"shape\":[4],", "", "model.norm.weight", 0},
        {",\"data_offsets\":[0,16]", "", "model.norm.weight", 0},
        {"\"shape\":[4],", "\"shape\":[4],\"more\":1,", "model.norm.weight", 0},
        {"\"lm_head.weight\"", "\"model.norm.weight\"", "model.norm.weight", 0},
        {"{\"format\":\"pt\"}", "[]", "__metadata__", 0},
        {"{\"format\":\"pt\"}", "\"pt\"", "__metadata__", 0},
        {"\"pt\"", "1", "format", 0},
        {"\"pt\"", "null", "format", 0},
        {"\"pt\"", "{}", "format", 0},
        {"__metadata__", "metadata", "metadata", 0},
        {"{\"__", "[\"__", NULL, 0},
        {"{\"__", " {\"__", NULL, 0},
        {"{\"__", "{\"a\":{\"b\":{\"c\":{}}},\"__", NULL, 0},
        {"\"codes\":", "\"codes\":[],\"x\":", "codes", 0},
        {"\"codes\":", "\"codes\":7,\"x\":", "codes", 0},
        {"\"codes\":", "\"codes\":null,\"x\":", "codes", 0},
        {"\"codes\":",
         "\"co\xFF"
         "es\":",
         NULL, 0},
        {"\"codes\":", "\"co\\ud800es\":", NULL, 0},
        {"\"codes\":", "\"co\\u0000es\":", NULL, 0},
        {"\"codes\":", "codes:", NULL, 0},
        {"}}", "}", NULL, 0},
        {"},", "}", NULL, 0},
        {"},", "},,", NULL, 0},
        {"},", "};", NULL, 1},
        {":", "=", NULL, 0},
        {":", "", NULL, 2},
    };
    char changed[4096];
    refused_count = 0;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        bool found = replaced(changed, changes[i].nth, changes[i].from, changes[i].to);
        REQUIRE(found, "nothing to change: %s", changes[i].from);
        size_t n = file_of(changed, DATA, strlen(changed));
        refused(text("%s -> %s", changes[i].from, changes[i].to), n, changes[i].names);
    }
    printf("  %d changed headers\n", refused_count);
}

TEST(mutations_of_safetensors_lengths) {
    refused_count = 0;
    size_t whole = file_of(header, DATA, HEADER);
    safetensors *f;
    REQUIRE_OK(safetensors_open_bytes(&f, bytes, whole, "good"));
    safetensors_close(f);
    for (size_t n = 0; n < whole; n++) /* cut anywhere */
        refused(text("cut to %zu bytes", n), n, NULL);
    for (size_t more = 1; more <= 9; more++) {
        size_t n = file_of(header, DATA + more, HEADER);
        refused(text("%zu bytes more", more), n, NULL);
    }
    static const uint64_t claims[] = {0,
                                      1,
                                      2,
                                      HEADER - 1,
                                      HEADER - 2,
                                      HEADER / 2,
                                      HEADER + 1,
                                      HEADER + DATA,
                                      HEADER + DATA + 1,
                                      100000000,
                                      100000001,
                                      UINT32_MAX,
                                      (uint64_t)1 << 32,
                                      INT64_MAX,
                                      (uint64_t)1 << 63,
                                      UINT64_MAX,
                                      UINT64_MAX - 7,
                                      UINT64_MAX - 8};
    for (size_t i = 0; i < sizeof claims / sizeof claims[0]; i++) {
        size_t n = file_of(header, DATA, claims[i]);
        refused(text("length word %" PRIu64, claims[i]), n, NULL);
    }
    CHECK(refused_count >= 200, "%d mutations", refused_count);
    printf("  %d wrong lengths\n", refused_count);
}

/* -- the index -- */

#define N_TENSORS 12
static char names[N_TENSORS][32];

static status write_model(const char *folder) {
    static float data[4] = {1, 2, 3, 4};
    safetensors_item items[N_TENSORS];
    for (int shard = 0; shard < 3; shard++) {
        char path[PATH_SIZE];
        int n = 0;
        for (int i = shard * 4; i < shard * 4 + 4; i++) {
            snprintf(names[i], sizeof names[i], "layer.%02d.weight", i);
            items[n++] = (safetensors_item){names[i], tensor_1d(data, DTYPE_F32, 4)};
        }
        TRY(path_join(path, folder, text("part-%d.safetensors", shard)));
        TRY(safetensors_write(path, items, n, NULL, 0));
    }
    return STATUS_OK;
}

static json_t *index_of(void) {
    json_t *root = json_object(), *map = json_object();
    for (int i = 0; i < N_TENSORS; i++)
        json_object_set_new(map, names[i], json_string(text("part-%d.safetensors", i / 4)));
    json_object_set_new(root, "weight_map", map);
    return root;
}

static void index_refused(const char *folder, const char *change, const char *content,
                          const char *names_this) {
    char path[PATH_SIZE];
    safetensors *f;
    REQUIRE_OK(path_join(path, folder, "model.safetensors.index.json"));
    REQUIRE_OK(file_write(path, content, strlen(content)));
    error_clear();
    status s = safetensors_open(&f, folder);
    judge(s, f, change, names_this);
}

static void change_entry(const char *folder, int which, json_t *value, const char *change,
                         const char *names_this) {
    json_t *root = index_of(), *map = json_object_get(root, "weight_map");
    if (value != NULL)
        json_object_set_new(map, names[which], value);
    else
        json_object_del(map, names[which]);
    char *content = json_page(root);
    REQUIRE(content != NULL, "no memory");
    index_refused(folder, change, content, names_this);
    mem_free(content);
    json_decref(root);
}

TEST(mutations_of_indexes) {
    char folder[PATH_SIZE];
    snprintf(folder, sizeof folder, "%s", test_folder());
    REQUIRE_OK(write_model(folder));
    refused_count = 0;
    static const char *const wrong[] = {"../part-0.safetensors",
                                        "/part-0.safetensors",
                                        "a/../../part-0.safetensors",
                                        "",
                                        "..",
                                        "a\\b",
                                        "part-9.safetensors"};
    for (int i = 0; i < N_TENSORS; i++) {
        change_entry(folder, i, NULL, "removed", names[i]);
        change_entry(folder, i, json_string(text("part-%d.safetensors", (i / 4 + 1) % 3)), "moved",
                     names[i]);
        change_entry(folder, i, json_integer(7), "a number", names[i]);
        change_entry(folder, i, json_null(), "null", names[i]);
        change_entry(folder, i, json_array(), "a list", names[i]);
        for (size_t w = 0; w < sizeof wrong / sizeof wrong[0]; w++)
            change_entry(folder, i, json_string(wrong[w]), wrong[w],
                         w + 1 < sizeof wrong / sizeof wrong[0] ? names[i] : wrong[w]);
        /* renamed: promised under another name */
        json_t *root = index_of(), *map = json_object_get(root, "weight_map");
        json_object_set_new(map, text("%s.x", names[i]),
                            json_incref(json_object_get(map, names[i])));
        json_object_del(map, names[i]);
        char *content = json_page(root);
        REQUIRE(content != NULL, "no memory");
        index_refused(folder, "renamed", content, names[i]);
        mem_free(content);
        json_decref(root);
    }
    static const char *const whole[] = {
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        "{\"weight_map\": []}",
        "{\"weight_map\": {}}",
        "{\"weight_map\": null}",
        "{\"Weight_map\": {\"a\": \"part-0.safetensors\"}}",
        "{\"weight_map\": {\"a\": \"part-0.safetensors\", \"a\": \"part-0.safetensors\"}}"};
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++)
        index_refused(folder, whole[i], whole[i], "index.json");
    json_t *root = index_of();
    char *content = json_page(root);
    REQUIRE(content != NULL, "no memory");
    size_t n = strlen(content);
    while (n > 0 && content[n - 1] != '}')
        n--;
    for (size_t cut = 1; cut < n; cut += 7) {
        char kept = content[cut];
        content[cut] = '\0';
        index_refused(folder, text("cut to %zu bytes", cut), content, "index.json");
        content[cut] = kept;
    }
    mem_free(content);
    json_decref(root);
    CHECK(refused_count >= 200, "%d mutations", refused_count);
    printf("  %d changed indexes\n", refused_count);
}
