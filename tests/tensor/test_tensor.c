/* test_tensor.c - views and half precision. */
#include "tensor/tensor.h"

#include "test.h"

#include <math.h>

TEST(tensor_dtypes_have_names_and_sizes) {
    for (int t = 0; t < DTYPE_COUNT; t++) {
        dtype found = DTYPE_COUNT;
        CHECK(dtype_find(dtype_name((dtype)t), &found) && (int)found == t, "%s",
              dtype_name((dtype)t));
        CHECK(dtype_size((dtype)t) > 0, "%s", dtype_name((dtype)t));
    }
    dtype none = DTYPE_F32;
    CHECK(!dtype_find("f32", &none) && !dtype_find("", &none), "names are exact");
    CHECK(dtype_size(DTYPE_COUNT) == 0, "outside");
}

TEST(tensor_views_count_and_slice) {
    float values[24];
    tensor t = tensor_3d(values, DTYPE_F32, 2, 3, 4);
    CHECK(tensor_count(&t) == 24 && tensor_bytes(&t) == 96 && tensor_contiguous(&t), "3d");
    CHECK(t.stride[0] == 12 && t.stride[1] == 4 && t.stride[2] == 1, "row-major");
    tensor r = tensor_rows(&t, 1, 1);
    CHECK(r.data == &values[12] && r.dim[0] == 1 && tensor_count(&r) == 12, "rows");
    CHECK(strcmp(tensor_shape_text(&t), "[2, 3, 4]") == 0, "%s", tensor_shape_text(&t));
    tensor m = tensor_2d(values, DTYPE_F32, 6, 2);
    m.stride[0] = 4;
    CHECK(!tensor_contiguous(&m), "gaps between rows");
    tensor v = tensor_1d(values, DTYPE_BF16, 0);
    CHECK(tensor_count(&v) == 0 && tensor_bytes(&v) == 0 && tensor_contiguous(&v), "empty");
    tensor scalar = {.data = values, .dtype = DTYPE_F32};
    CHECK(tensor_count(&scalar) == 1 && strcmp(tensor_shape_text(&scalar), "[]") == 0, "rank 0");
}

TEST(f16_every_value_survives_f32) {
    for (uint32_t h = 0; h < 65536; h++) {
        float f = f16_to_f32((uint16_t)h);
        bool nan = (h & 0x7C00) == 0x7C00 && (h & 0x3FF) != 0;
        CHECK(isnan(f) == nan, "%04x", h);
        uint16_t back = f32_to_f16(f);
        CHECK(back == (nan ? (h | 0x200) : h), "%04x -> %04x", h, back);
    }
    CHECK(f8_e4m3_to_f32(0x38) == 1.0f && f8_e4m3_to_f32(0xC4) == -3.0f &&
              f8_e4m3_to_f32(0x7E) == 448.0f && f8_e4m3_to_f32(0x01) == 0x1p-9f &&
              f8_e4m3_to_f32(0x08) == 0x1p-6f,
          "8 bits");
    CHECK(f8_e4m3_to_f32(0x7F) != f8_e4m3_to_f32(0x7F) &&
              f8_e4m3_to_f32(0xFF) != f8_e4m3_to_f32(0xFF),
          "NaN of 8 bits");
    CHECK(f16_to_f32(0x3C00) == 1.0f && f16_to_f32(0xC000) == -2.0f, "one, minus two");
    CHECK(f16_to_f32(0x0001) == 0x1p-24f && f16_to_f32(0x7BFF) == 65504.0f, "ends");
}

/* Between two neighbouring halves: below the middle down, above it up, at it to the even one. */
TEST(f16_rounds_to_nearest_even) {
    for (uint32_t h = 0; h < 0x7BFF; h++) {
        float low = f16_to_f32((uint16_t)h), high = f16_to_f32((uint16_t)(h + 1));
        float middle = (low + high) / 2; /* exact in f32 */
        CHECK(f32_to_f16(middle) == (h & 1 ? h + 1 : h), "middle above %04x", h);
        CHECK(f32_to_f16(nextafterf(middle, 0)) == h, "below the middle above %04x", h);
        CHECK(f32_to_f16(nextafterf(middle, INFINITY)) == h + 1, "above the middle above %04x", h);
    }
    CHECK(f32_to_f16(65519.99f) == 0x7BFF && f32_to_f16(65520.0f) == 0x7C00, "overflow");
    CHECK(f32_to_f16(INFINITY) == 0x7C00 && f32_to_f16(-INFINITY) == 0xFC00, "infinity");
    CHECK(f32_to_f16(-0x1p-30f) == 0x8000, "underflow keeps the sign");
}

TEST(bf16_rounds_to_nearest_even) {
    for (uint32_t b = 0; b < 65536; b++) {
        float f = bf16_to_f32((uint16_t)b);
        bool nan = (b & 0x7F80) == 0x7F80 && (b & 0x7F) != 0;
        CHECK(f32_to_bf16(f) == (nan ? (b | 0x40) : b), "%04x", b);
    }
    CHECK(f32_to_bf16(1.00390625f) == 0x3F80 && f32_to_bf16(1.01171875f) == 0x3F82, "ties to even");
}
