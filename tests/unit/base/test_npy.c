// SPDX-License-Identifier: Apache-2.0
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ssmsweep/base/npy.h"

#define ASSERT_OK(error) assert_string_equal((error).text, "")

static const char PATH[] = "test_npy.npy";

static void put_file(const void *bytes, size_t count)
{
    struct error err = {0};
    file_replace(PATH, bytes, count, &err);
    ASSERT_OK(err);
}

// A file of the given version, header text and `data_bytes` zero bytes.
static void put_npy(int version, const char *dict, size_t data_bytes)
{
    unsigned char bytes[1024] = "\x93NUMPY";
    size_t length = strlen(dict), start = version == 1 ? 10 : 12;
    bytes[6] = (unsigned char)version;
    bytes[8] = (unsigned char)(length & 0xff);
    bytes[9] = (unsigned char)(length >> 8);
    memcpy(bytes + start, dict, length);
    put_file(bytes, start + length + data_bytes);
}

static void float32_round_trip(void **state)
{
    (void)state;
    struct error err = {0};
    struct npy npy = {0};
    const float data[2][3] = {{1.5f, -0.0f, 3e-39f}, {4, 5, -6e37f}};
    npy_write(PATH, NPY_FLOAT32, 2, (size_t[]){2, 3}, data, &err);
    npy_map(&npy, PATH, &err);
    ASSERT_OK(err);
    assert_int_equal(npy.dtype, NPY_FLOAT32);
    assert_int_equal(npy.dims, 2);
    assert_int_equal(npy.shape[0], 2);
    assert_int_equal(npy.shape[1], 3);
    assert_int_equal(npy.count, 6);
    assert_memory_equal(npy.data, data, sizeof data);
    assert_true(npy_number(&npy, 5) == (double)-6e37f);
    assert_int_equal((size_t)(npy.data - npy.map.data) % 64, 0);
    npy_unmap(&npy);
    assert_null(npy.data);
}

static void integers_and_doubles_round_trip(void **state)
{
    (void)state;
    struct error err = {0};
    struct npy npy = {0};
    const int32_t narrow[] = {INT32_MIN, -1, INT32_MAX};
    const int64_t wide[] = {INT64_MIN, -1, INT64_MAX};
    const double numbers[] = {0.1, -1e300};
    npy_write(PATH, NPY_INT32, 1, (size_t[]){3}, narrow, &err);
    npy_map(&npy, PATH, &err);
    ASSERT_OK(err);
    for (size_t i = 0; i < 3; i++)
        assert_true(npy_integer(&npy, i) == narrow[i]);
    npy_unmap(&npy);
    npy_write(PATH, NPY_INT64, 1, (size_t[]){3}, wide, &err);
    npy_map(&npy, PATH, &err);
    ASSERT_OK(err);
    for (size_t i = 0; i < 3; i++)
        assert_true(npy_integer(&npy, i) == wide[i]);
    npy_unmap(&npy);
    npy_write(PATH, NPY_FLOAT64, 2, (size_t[]){1, 2}, numbers, &err);
    npy_map(&npy, PATH, &err);
    ASSERT_OK(err);
    assert_true(npy_number(&npy, 0) == 0.1 && npy_number(&npy, 1) == -1e300);
    npy_unmap(&npy);
}

static void scalars_empty_arrays_and_many_dimensions(void **state)
{
    (void)state;
    struct error err = {0};
    struct npy npy = {0};
    const int32_t data[8] = {7, 8, 9};
    const size_t shape[NPY_MAX_DIMS] = {1, 2, 1, 2, 1, 2, 1, 1};
    npy_write(PATH, NPY_INT32, NPY_MAX_DIMS, shape, data, &err);
    npy_map(&npy, PATH, &err);
    ASSERT_OK(err);
    assert_int_equal(npy.dims, NPY_MAX_DIMS);
    assert_memory_equal(npy.shape, shape, sizeof shape);
    npy_unmap(&npy);
    npy_write(PATH, NPY_INT32, 0, NULL, data, &err);
    npy_map(&npy, PATH, &err);
    ASSERT_OK(err);
    assert_int_equal(npy.count, 1);
    assert_int_equal(npy_integer(&npy, 0), 7);
    npy_unmap(&npy);
    npy_write(PATH, NPY_INT32, 2, (size_t[]){0, (size_t)1 << 60}, data, &err);
    npy_map(&npy, PATH, &err);
    ASSERT_OK(err);
    assert_int_equal(npy.count, 0);
    assert_null(npy.data);
    npy_unmap(&npy);
}

// The very bytes that numpy.save writes.
static void header_is_that_of_numpy(void **state)
{
    (void)state;
    static const struct {
        int dims;
        const char *dict;
    } cases[] = {{0, "{'descr': '<f4', 'fortran_order': False, 'shape': (), }"},
                 {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"},
                 {2, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }"}};
    for (int i = 0; i < 3; i++) {
        char header[NPY_HEADER_ROOM], expected[128];
        size_t length = strlen(cases[i].dict);
        memset(expected, ' ', sizeof expected);
        memcpy(expected, "\x93NUMPY\x01\x00\x76\x00", 10);
        memcpy(expected + 10, cases[i].dict, length);
        expected[127] = '\n';
        assert_int_equal(npy_header(header, NPY_FLOAT32, cases[i].dims, (size_t[]){3, 4}), sizeof expected);
        assert_memory_equal(header, expected, sizeof expected);
    }
    char header[NPY_HEADER_ROOM];
    size_t huge[NPY_MAX_DIMS];
    for (int i = 0; i < NPY_MAX_DIMS; i++)
        huge[i] = SIZE_MAX;
    assert_int_equal(npy_header(header, NPY_FLOAT64, NPY_MAX_DIMS, huge), 256);
}

static void other_spellings_are_read(void **state)
{
    (void)state;
    static const struct {
        int version;
        const char *dict;
    } cases[] = {
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }\n"},
        {2, "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }\n"},
        {3, "{'shape': (2, 3,), \"fortran_order\": False, 'descr': '<i4'}  \n"},
        {1, "{'descr':'<i4','fortran_order':False,'shape':(2,3)}\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        struct npy npy = {0};
        put_npy(cases[i].version, cases[i].dict, 24);
        npy_map(&npy, PATH, &err);
        ASSERT_OK(err);
        assert_int_equal(npy.count, 6);
        assert_int_equal(npy_integer(&npy, 5), 0);
        npy_unmap(&npy);
    }
}

static void broken_headers_are_refused(void **state)
{
    (void)state;
    static const struct {
        int version;
        const char *dict;
        size_t data_bytes;
        const char *expected;
    } cases[] = {
        {4, "{'descr': '<i4', 'fortran_order': False, 'shape': (1,), }\n", 4, "version"},
        {1, "{'descr': '<i4', 'fortran_order': True, 'shape': (1,), }\n", 4, "fortran_order"},
        {1, "{'descr': '>i4', 'fortran_order': False, 'shape': (1,), }\n", 4, "'>i4'"},
        {1, "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", 4, "'|O'"},
        {1, "{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (1,), }\n", 4, "quoted string"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }\n", 4, "8 bytes of data"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (1,), }\n", 5, "got 5"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (1), }\n", 4, "'shape'"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (-1,), }\n", 4, "non-negative"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (99999999999999999999,), }\n", 4,
         "fits in memory"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }\n", 0,
         "overflows"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }\n", 4, "dimensions"},
        {1, "{'descr': '<i4', 'fortran_order': False, }\n", 4, "'shape'"},
        {1, "{'descr': '<i4', 'descr': '<i4', 'fortran_order': False, 'shape': (1,)}\n", 4, "once"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (1,), 'x': 1}\n", 4, "once"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (1,), } x\n", 4, "nothing after"},
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (1,), }", 4, "newline"},
        {1, "{'descr': '<i4', 'fortran_order': 0, 'shape': (1,), }\n", 4, "True or False"},
        {1, "{'descr: <i4\n", 4, "quoted string"},
        {1, "\n", 4, "'{'"},
        {1, "", 4, "newline"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        struct npy npy = {0};
        put_npy(cases[i].version, cases[i].dict, cases[i].data_bytes);
        assert_int_equal(npy_map(&npy, PATH, &err), STATUS_INPUT);
        if (!strstr(err.text, cases[i].expected) || !strstr(err.text, PATH))
            fail_msg("case %zu: expected '%s' in: %s", i, cases[i].expected, err.text);
        assert_null(npy.map.data);
    }
}

// Whatever end a file loses, it is refused.
static void torn_files_are_refused(void **state)
{
    (void)state;
    const int32_t data[] = {1, 2, 3};
    char whole[NPY_HEADER_ROOM + sizeof data];
    size_t bytes = npy_header(whole, NPY_INT32, 1, (size_t[]){3});
    memcpy(whole + bytes, data, sizeof data);
    bytes += sizeof data;
    for (size_t kept = 0; kept < bytes; kept++) {
        struct error err = {0};
        struct npy npy = {0};
        put_file(whole, kept);
        assert_int_equal(npy_map(&npy, PATH, &err), STATUS_INPUT);
    }
    struct error err = {0};
    struct npy npy = {0};
    assert_int_equal(npy_map(&npy, "no such file.npy", &err), STATUS_INPUT);
}

static int remove_file(void **state)
{
    (void)state;
    unlink(PATH);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float32_round_trip),
        cmocka_unit_test(integers_and_doubles_round_trip),
        cmocka_unit_test(scalars_empty_arrays_and_many_dimensions),
        cmocka_unit_test(header_is_that_of_numpy),
        cmocka_unit_test(other_spellings_are_read),
        cmocka_unit_test(broken_headers_are_refused),
        cmocka_unit_test(torn_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, remove_file);
}
