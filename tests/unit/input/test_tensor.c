// SPDX-License-Identifier: Apache-2.0
#include "../support.h"

#include <math.h>

#include "ssmsweep/input/tensor.h"

static struct tensor make(const void *data, enum dtype dtype, int dims, const int64_t *shape)
{
    struct tensor tensor = {.name = "t", .data = data, .dtype = dtype, .dims = dims};
    int64_t bytes;
    memcpy(tensor.shape, shape, (size_t)dims * sizeof *shape);
    assert_true(tensor_set_contiguous(&tensor, &bytes));
    return tensor;
}

// The definition of binary16, by arithmetic.
static double half_value(unsigned half)
{
    int exponent = half >> 10 & 31, mantissa = half & 1023;
    double value = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return half & 0x8000 ? -value : value;
}

static void every_half_is_exact(void **state)
{
    (void)state;
    static unsigned char bytes[1 + 2 * 65536]; // unaligned on purpose
    static float out[65536];
    for (unsigned h = 0; h < 65536; h++)
        memcpy(bytes + 1 + 2 * h, &(uint16_t){(uint16_t)h}, 2);
    struct tensor tensor = make(bytes + 1, DTYPE_F16, 1, (int64_t[]){65536});
    tensor_to_f32(&tensor, out);
    for (unsigned h = 0; h < 65536; h++) {
        if ((h & 0x7c00) != 0x7c00) {
            assert_true((double)out[h] == half_value(h));
            assert_int_equal(signbit(out[h]) != 0, h >> 15);
        } else if (h & 0x3ff) {
            assert_true(isnan(out[h]));
        } else {
            assert_true(isinf(out[h]) && (out[h] < 0) == (h >> 15));
        }
    }
}

static void bf16_and_f32(void **state)
{
    (void)state;
    const uint16_t bf[] = {0x3f80, 0xc049, 0x0001, 0x8000};
    const float f[] = {1.5f, -0.0f, 1e-42f, 3e38f};
    float out[4];
    struct tensor tensor = make(bf, DTYPE_BF16, 2, (int64_t[]){2, 2});
    tensor_to_f32(&tensor, out);
    assert_true(out[0] == 1.0f && out[1] == -3.140625f && out[2] == 0x1p-133f && out[3] == 0 &&
                signbit(out[3]));
    tensor = make(f, DTYPE_F32, 1, (int64_t[]){4});
    tensor_to_f32(&tensor, out);
    assert_memory_equal(out, f, sizeof f);
}

static void strides_are_followed(void **state)
{
    (void)state;
    float data[24], out[24];
    for (int i = 0; i < 24; i++)
        data[i] = (float)i;
    struct tensor tensor = make(data, DTYPE_F32, 3, (int64_t[]){4, 3, 2});
    tensor.stride[0] = 1, tensor.stride[1] = 8, tensor.stride[2] = 4; // stored as [3, 2, 4]
    tensor_to_f32(&tensor, out);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 2; k++)
                assert_true(out[(i * 3 + j) * 2 + k] == (float)(i + 8 * j + 4 * k));
    data[2 + 8 * 1 + 4 * 1] = NAN;
    int64_t index = -1;
    assert_true(tensor_find_nonfinite(&tensor, &index));
    assert_int_equal(index, (2 * 3 + 1) * 2 + 1);
    const unsigned char *bytes = tensor.data;
    assert_true(tensor_nonfinite_within(&tensor, bytes, bytes + 1)); // as a whole where it begins
    assert_false(tensor_nonfinite_within(&tensor, bytes + 1, bytes + sizeof data));
}

// Whatever the cuts, an element belongs to the piece in which it begins.
static void check_pieces(const struct tensor *tensor, int64_t bad)
{
    const int64_t width = (int64_t)dtype_bytes(tensor->dtype), bytes = tensor->shape[0] * width;
    for (int64_t piece = 1; piece <= bytes; piece += 3)
        for (int64_t from = -2; from < bytes; from += piece) {
            const bool within = bad >= 0 && bad * width >= from && bad * width < from + piece;
            const unsigned char *place = tensor->data + from;
            assert_int_equal(tensor_nonfinite_within(tensor, place, place + piece), within);
        }
}

static void nonfinite_is_found(void **state)
{
    (void)state;
    static const struct {
        enum dtype dtype;
        uint32_t finite, bad[3];
    } cases[] = {{DTYPE_F32, 0x7f7fffff, {0x7f800000, 0xff800000, 0x7fc00001}},
                 {DTYPE_F16, 0xfbff, {0x7c00, 0xfc00, 0x7e01}},
                 {DTYPE_BF16, 0x7f7f, {0x7f80, 0xff80, 0xffc1}}};
    enum { COUNT = 37 };
    for (size_t c = 0; c < 3; c++)
        for (int64_t at = -1; at < COUNT; at++)
            for (int b = 0; b < 3; b++) {
                size_t width = dtype_bytes(cases[c].dtype);
                unsigned char data[4 * COUNT + 8];
                for (int64_t i = 0; i < COUNT; i++) // little-endian
                    memcpy(data + 3 + (size_t)i * width, i == at ? &cases[c].bad[b] : &cases[c].finite,
                           width);
                struct tensor tensor = make(data + 3, cases[c].dtype, 1, (int64_t[]){COUNT});
                int64_t index = -7;
                assert_int_equal(tensor_find_nonfinite(&tensor, &index), at >= 0);
                assert_int_equal(index, at >= 0 ? at : -7);
                check_pieces(&tensor, at);
            }
}

static void sizes_do_not_overflow(void **state)
{
    (void)state;
    int64_t bytes;
    struct tensor tensor = {.dtype = DTYPE_F32, .dims = 2, .shape = {(int64_t)1 << 40, (int64_t)1 << 40}};
    assert_false(tensor_set_contiguous(&tensor, &bytes));
    tensor.shape[1] = (int64_t)1 << 21; // the elements fit, the bytes do not
    assert_false(tensor_set_contiguous(&tensor, &bytes));
    tensor.shape[1] = 0;
    assert_true(tensor_set_contiguous(&tensor, &bytes) && bytes == 0);
    assert_int_equal(tensor_elements(&tensor), 0);
    struct tensor scalar = make("\0\0\x80\x3f", DTYPE_F32, 0, (int64_t[]){0});
    float out = 0;
    tensor_to_f32(&scalar, &out);
    assert_true(out == 1.0f);
}

static void lists_find_by_name(void **state)
{
    (void)state;
    static const char *const names[] = {"m", "a", "z", "ab", ""};
    struct tensor_list list = {0};
    struct error err = {0};
    assert_null(tensor_list_find(&list, "a"));
    for (int i = 0; i < 5; i++)
        assert_int_equal(tensor_list_add(&list, &(struct tensor){.name = names[i], .dims = i}, &err),
                         STATUS_OK);
    assert_int_equal(tensor_list_sort(&list, "file", &err), STATUS_OK);
    for (int i = 0; i < 5; i++)
        assert_int_equal(tensor_list_find(&list, names[i])->dims, i);
    assert_null(tensor_list_find(&list, "b"));
    assert_int_equal(tensor_list_add(&list, &(struct tensor){.name = "ab"}, &err), STATUS_OK);
    tensor_list_sort(&list, "file", &err);
    expect_error(&err, STATUS_INPUT, "file|'ab'|twice");
    tensor_list_clear(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_is_exact),   cmocka_unit_test(bf16_and_f32),
        cmocka_unit_test(strides_are_followed),  cmocka_unit_test(nonfinite_is_found),
        cmocka_unit_test(sizes_do_not_overflow), cmocka_unit_test(lists_find_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
