/* test_convert.c - round trips: what comes back is what was given, byte for byte. */
#include "byte_model.h"
#include "convert_fixture.h"
#include "test.h"

#include "base/json.h"
#include "base/progress.h"
#include "model/model.h"

#include <fcntl.h>
#include <unistd.h>

static const char *const cases[] = {
    "llama",       "llama-llama3", "llama-yarn",       "llama-linear",
    "qwen2",       "qwen3",        "qwen3-yarn",       "deepseek_v2-lite",
    "deepseek_v2", "deepseek_v3",  "deepseek_v3-yarn",
};
#define N_CASES (int)(sizeof cases / sizeof cases[0])

TEST(convert_folders_come_back) {
    REQUIRE_OK(fixture_begin());
    convert_report r;
    for (int i = 0; i < N_CASES; i++) {
        dtype type = i % 3 == 0 ? DTYPE_BF16 : i % 3 == 1 ? DTYPE_F32 : DTYPE_F16;
        const char *a = in_folder("a"), *b = in_folder("b"), *c = in_folder("c");
        convert_options o = to(CONVERT_FATHOM, CONVERT_KEEP), back = to(CONVERT_HF, CONVERT_KEEP);
        o.force = back.force = true;
        REQUIRE_OK(make_folder(a, cases[i], type, 1 + i % 2));
        REQUIRE_OK(convert_model(a, b, &o, &r));
        CHECK(r.logits_compared && r.n_greedy == 64 && r.template_there && r.ids > 500,
              "%s: what was compared", cases[i]);
        REQUIRE_OK(convert_model(b, c, &back, &r));
        CHECK(same_folders(a, c, NULL), "%s", cases[i]);
    }
}

/* Masters are fused: what a run saves went through the packed form. */
TEST(convert_folders_come_back_from_the_packed_form) {
    REQUIRE_OK(fixture_begin());
    convert_report r;
    for (int i = 0; i < N_CASES; i++) {
        const char *a = in_folder("p"), *b = in_folder("q"), *c = in_folder("r");
        convert_options o = to(CONVERT_FATHOM, CONVERT_KEEP), back = to(CONVERT_HF, QUANT_BF16);
        model m;
        char weights[PATH_SIZE];
        o.force = back.force = true;
        REQUIRE_OK(make_folder(a, cases[i], DTYPE_BF16, 1));
        REQUIRE_OK(convert_model(a, b, &o, &r));
        REQUIRE_OK(model_open(&m, b));
        REQUIRE_OK(path_join(weights, b, "model.safetensors"));
        status s = model_save(&m, weights);
        model_clear(&m);
        REQUIRE_OK(s);
        REQUIRE_OK(convert_model(b, c, &back, &r));
        CHECK(same_folders(a, c, "e_score_correction_bias"), "%s", cases[i]);
    }
}

TEST(convert_folders_come_back_from_gguf) {
    REQUIRE_OK(fixture_begin());
    convert_report r;
    for (int i = 0; i < N_CASES; i++) {
        const char *a = in_folder("f"), *b = in_folder("f.gguf"), *c = in_folder("g");
        convert_options o = to(CONVERT_GGUF, CONVERT_KEEP), back = to(CONVERT_HF, QUANT_BF16);
        o.force = back.force = true;
        REQUIRE_OK(make_folder(a, cases[i], DTYPE_BF16, 1));
        REQUIRE_OK(convert_model(a, b, &o, &r));
        CHECK(r.logits_compared && r.n_greedy == 64, "%s: what was compared", cases[i]);
        REQUIRE_OK(convert_model(b, c, &back, &r));
        CHECK(same_folders(a, c, "e_score_correction_bias"), "%s", cases[i]);
    }
}

TEST(convert_gguf_blocks_come_back) {
    REQUIRE_OK(fixture_begin());
    static const uint32_t types[] = {QUANT_Q8_0, QUANT_Q4_0, QUANT_F16};
    convert_report r;
    for (int i = 0; i < 6; i++) {
        model_config c = i % 2 ? latent_config() : byte_llama();
        const char *a = in_folder("a.gguf"), *b = in_folder("blocks"), *d = in_folder("b.gguf");
        convert_options o = to(CONVERT_FATHOM, CONVERT_KEEP), back = to(CONVERT_GGUF, CONVERT_KEEP);
        o.force = back.force = true;
        REQUIRE_OK(make_blocks(a, &c, types[i / 2]));
        REQUIRE_OK(convert_model(a, b, &o, &r));
        CHECK(r.logits_compared, "logits");
        REQUIRE_OK(convert_model(b, d, &back, &r));
        CHECK(same_files(a, d), "%s in a model of kind %d", quant_name(types[i / 2]), i % 2);
        gguf *f;
        const char *name = "";
        REQUIRE_OK(gguf_open(&f, d));
        REQUIRE_OK(gguf_get_string(f, "general.name", &name));
        CHECK(strcmp(name, "a fixture") == 0, "keys come back too: %s", name);
        gguf_close(f);
    }
}

/* Blocks to F32 keep every value: the same logits are checked by the conversion itself. */
TEST(convert_gguf_blocks_to_published_folders) {
    REQUIRE_OK(fixture_begin());
    convert_report r;
    for (int i = 0; i < 2; i++) {
        model_config c = i ? latent_config() : byte_llama();
        const char *a = in_folder("s.gguf"), *b = in_folder("s"), *d = in_folder("s32.gguf");
        convert_options o = to(CONVERT_HF, CONVERT_KEEP), half = to(CONVERT_GGUF, QUANT_F32);
        o.force = half.force = true;
        REQUIRE_OK(make_blocks(a, &c, QUANT_Q8_0));
        REQUIRE_OK(convert_model(a, b, &o, &r));
        CHECK(r.logits_compared && r.n_notes > 0, "compared and noted");
        json_t *words;
        REQUIRE_OK(json_read(text("%s/tokenizer.json", b), &words));
        CHECK(json_object_get(words, "fathom") == NULL, "a key that other readers refuse");
        json_decref(words);
        safetensors *f;
        REQUIRE_OK(safetensors_open(&f, b));
        for (int k = 0; k < safetensors_count(f); k++)
            CHECK(strcmp(safetensors_at(f, k)->dtype, "U8") != 0, "%s", safetensors_at(f, k)->name);
        safetensors_close(f);
        o = to(CONVERT_HF, QUANT_F16);
        o.force = true;
        REQUIRE_OK(convert_model(a, b, &o, &r));
        CHECK(r.logits_compared, "rounded to F16");
        REQUIRE_OK(convert_model(a, d, &half, &r));
        CHECK(r.logits_compared, "decoded in place");
    }
}

/* One matrix of a published folder as FP8 codes with scales of its blocks. */
static status put_f8(const char *folder, const char *name) {
    static safetensors_item items[256];
    static uint8_t codes[64 * 64];
    static float scale[1] = {0.03125f};
    static char names[256][96];
    char path[PATH_SIZE];
    safetensors *f;
    int n = 0;
    TRY(safetensors_open(&f, folder));
    for (int i = 0; i < safetensors_count(f); i++) {
        const safetensors_entry *e = safetensors_at(f, i);
        snprintf(names[i], sizeof names[i], "%s", e->name);
        items[n].name = names[i];
        status s = safetensors_find(f, e->name, &items[n].value);
        if (s != STATUS_OK) return s;
        if (strcmp(e->name, name) == 0) {
            for (size_t k = 0; k < sizeof codes; k++)
                codes[k] = (uint8_t)(k * 37 % 120 + (k % 2) * 128);
            items[n].value = tensor_2d(codes, DTYPE_F8_E4M3, e->dim[0], e->dim[1]);
        }
        n++;
    }
    items[n].name = text("%s_scale_inv", name);
    items[n++].value = tensor_2d(scale, DTYPE_F32, 1, 1);
    TRY(path_join(path, folder, "model.safetensors"));
    status s = safetensors_write(path, items, n, NULL, 0);
    safetensors_close(f);
    return s;
}

TEST(convert_f8_becomes_bf16) {
    REQUIRE_OK(fixture_begin());
    const char *a = in_folder("f8"), *b = in_folder("f8-out"), *c = in_folder("f8.gguf");
    const char *name = "model.layers.0.mlp.down_proj.weight";
    convert_options o = to(CONVERT_HF, CONVERT_KEEP), g = to(CONVERT_GGUF, CONVERT_KEEP);
    convert_report r;
    REQUIRE_OK(make_folder(a, "llama", DTYPE_BF16, 1));
    REQUIRE_OK(put_f8(a, name));
    REQUIRE_OK(convert_model(a, b, &o, &r));
    CHECK(r.n_notes == 1 && strstr(r.notes[0], "F8_E4M3") != NULL, "%s", r.notes[0]);
    REQUIRE_OK(convert_model(a, c, &g, &r));
    safetensors *f;
    REQUIRE_OK(safetensors_open(&f, b));
    const safetensors_entry *e = safetensors_lookup(f, name);
    CHECK(e != NULL && strcmp(e->dtype, "BF16") == 0, "type");
    CHECK(safetensors_lookup(f, text("%s_scale_inv", name)) == NULL, "scales stay");
    for (int64_t i = 0; e != NULL && i < e->dim[0] * e->dim[1]; i++) {
        uint16_t wanted =
            f32_to_bf16(f8_e4m3_to_f32((uint8_t)(i * 37 % 120 + (i % 2) * 128)) * 0.03125f);
        CHECK(((const uint16_t *)e->data)[i] == wanted, "element %" PRId64, i);
    }
    safetensors_close(f);
}

TEST(convert_cuts_large_models_into_shards) {
    REQUIRE_OK(fixture_begin());
    const char *a = in_folder("whole"), *b = in_folder("cut"), *c = in_folder("joined");
    convert_options o = to(CONVERT_HF, CONVERT_KEEP), back = to(CONVERT_FATHOM, CONVERT_KEEP);
    convert_report r;
    REQUIRE_OK(make_folder(a, "deepseek_v3", DTYPE_F32, 1));
    o.max_shard = 20000;
    REQUIRE_OK(convert_model(a, b, &o, &r));
    CHECK(r.files > 3, "%d files", r.files);
    char index[PATH_SIZE];
    json_t *read;
    REQUIRE_OK(path_join(index, b, "model.safetensors.index.json"));
    REQUIRE_OK(json_read(index, &read));
    CHECK(json_object_size(json_object_get(read, "weight_map")) == (size_t)r.tensors, "index");
    json_decref(read);
    CHECK(same_folders(a, b, NULL), "cut");
    REQUIRE_OK(convert_model(b, c, &back, &r));
    CHECK(r.files == 1 && same_folders(a, c, NULL), "joined");
}

TEST(convert_gives_the_same_bytes_again) {
    REQUIRE_OK(fixture_begin());
    const char *a = in_folder("same"), *b = in_folder("1.gguf"), *c = in_folder("2.gguf");
    convert_options o = to(CONVERT_GGUF, QUANT_F16);
    convert_report r;
    char *x, *y;
    size_t n, m;
    REQUIRE_OK(make_folder(a, "qwen3", DTYPE_F32, 2));
    REQUIRE_OK(convert_model(a, b, &o, &r));
    REQUIRE_OK(convert_model(a, c, &o, &r));
    REQUIRE_OK(file_read(b, 0, &x, &n));
    REQUIRE_OK(file_read(c, 0, &y, &m));
    CHECK(n == m && memcmp(x, y, n) == 0, "two conversions differ");
    mem_free(x);
    mem_free(y);
}

/* The system forgets how much this process once had: VmHWM counts from now. */
static bool forget_peak(void) {
    int f = open("/proc/self/clear_refs", O_WRONLY);
    bool done = f >= 0 && write(f, "5", 1) == 1;
    if (f >= 0) close(f);
    return done;
}

TEST(convert_needs_little_memory) {
    REQUIRE_OK(fixture_begin());
    model_config c = byte_llama();
    const char *a = in_folder("big.gguf");
    convert_report r;
    c.d_model = 1024;
    c.n_head = c.n_kv_head = 16;
    c.head_dim = 64;
    c.d_ff = 4096;
    c.n_layer = 4;
    REQUIRE_OK(make_blocks(a, &c, QUANT_F16));
    static const convert_form forms[] = {CONVERT_HF, CONVERT_GGUF, CONVERT_FATHOM};
    for (int i = 0; i < 3; i++) {
        const char *b = in_folder(forms[i] == CONVERT_GGUF ? "big2.gguf" : "big");
        convert_options o = to(forms[i], i == 1 ? QUANT_F32 : CONVERT_KEEP);
        o.no_logits = o.force = true;
        if (!forget_peak()) SKIP("this system does not let a process reset its peak memory");
        REQUIRE_OK(convert_model(a, b, &o, &r));
        printf("     %s written, the largest tensor %s, peak %s above the start\n",
               bytes_text((double)r.bytes), bytes_text((double)r.largest),
               bytes_text((double)(r.peak - r.base)));
        CHECK(r.peak - r.base <= 3 * r.largest, "form %d", i);
        CHECK(r.bytes > 6 * r.largest, "the model is too small to show it");
    }
}

static void refused(const char *a, const char *b, convert_options o, error_id id) {
    convert_report r;
    CHECK(convert_model(a, b, &o, &r) != STATUS_OK, "%s is accepted", b);
    CHECK(error_last()->id == id, "%s: %s", b, error_last()->what);
    CHECK(error_last()->why[0] != '\0' && error_last()->fix[0] != '\0', "a report in four parts");
}

TEST(convert_refuses_before_it_writes) {
    REQUIRE_OK(fixture_begin());
    const char *a = in_folder("good"), *b = in_folder("there"), *g = in_folder("there.gguf");
    REQUIRE_OK(make_folder(a, "llama", DTYPE_F32, 1));
    REQUIRE_OK(folder_create(b));
    REQUIRE_OK(file_write(g, "x", 1));
    refused(a, b, to(CONVERT_HF, CONVERT_KEEP), F_CANNOT_CREATE);
    refused(a, g, to(CONVERT_GGUF, CONVERT_KEEP), F_CANNOT_CREATE);
    convert_options force = to(CONVERT_HF, CONVERT_KEEP);
    force.force = true;
    refused(a, b, force, F_CANNOT_CREATE); /* a folder that is no model is never replaced */
    refused(a, a, force, F_USAGE);
    refused(a, in_folder("x.gguf"), to(CONVERT_HF, CONVERT_KEEP), F_USAGE);
    refused(a, in_folder("x"), to(CONVERT_GGUF, CONVERT_KEEP), F_USAGE);
    refused(in_folder("nowhere"), in_folder("x"), to(CONVERT_HF, CONVERT_KEEP), F_MISSING);
    REQUIRE_OK(folder_remove(b));
    REQUIRE_OK(make_folder(b, "deepseek_v3-amplitude", DTYPE_F32, 1));
    refused(b, in_folder("x.gguf"), to(CONVERT_GGUF, CONVERT_KEEP), F_CONVERT_VALUE);
    CHECK(nothing_at(in_folder("x")) && nothing_at(in_folder("x.gguf")), "something was written");
}
