// SPDX-License-Identifier: Apache-2.0
#include "../support.h"

#include "ssmsweep/input/checkpoint.h"

// Reads a file of the given header text and `data_bytes` of 0, 1, 2, ...; the bytes are on the heap, exactly
// as long as they are, so that a sanitizer sees a read past the end.  -1: the true length.
static enum status read_with_length(struct tensor_list *list, const char *header, long long length,
                                    size_t data_bytes, struct error *err)
{
    size_t header_bytes = strlen(header), bytes = 8 + header_bytes + data_bytes;
    unsigned char *file = malloc(bytes);
    assert_non_null(file);
    uint64_t stated = length < 0 ? header_bytes : (uint64_t)length;
    for (int i = 0; i < 8; i++)
        file[i] = (unsigned char)(stated >> 8 * i);
    memcpy(file + 8, header, header_bytes);
    for (size_t i = 0; i < data_bytes; i++)
        file[8 + header_bytes + i] = (unsigned char)i;
    safetensors_read(list, &(struct file_map){file, bytes}, "m.safetensors", err);
    // Tensors point into the file: check here what a test wants of the bytes.
    for (size_t i = 0; i < list->count; i++) {
        const struct tensor *t = &list->items[i];
        size_t size = (size_t)tensor_elements(t) * dtype_bytes(t->dtype);
        assert_true(t->data >= file + 8 + header_bytes && t->data + size <= file + bytes);
    }
    free(file);
    return err->status;
}

static void expect_refused(const char *header, size_t data_bytes, const char *words)
{
    struct tensor_list list = {0};
    struct error err = {0};
    read_with_length(&list, header, -1, data_bytes, &err);
    expect_error(&err, STATUS_INPUT, words);
    assert_non_null(strstr(err.text, "m.safetensors"));
    tensor_list_clear(&list);
}

static void reads_a_good_file(void **state)
{
    (void)state;
    struct tensor_list list = {0};
    struct error err = {0};
    // Out of order, with an empty tensor, a scalar, padding behind the header and metadata.
    read_with_length(&list,
                     "{\"__metadata__\":{\"format\":\"pt\"},"
                     "\"b\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
                     "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                     "\"none\":{\"dtype\":\"I64\",\"shape\":[5,0],\"data_offsets\":[4,4]}}   ",
                     -1, 16, &err);
    if (err.status) fail_msg("%s", err.text);
    assert_int_equal(list.count, 3);
    assert_int_equal(tensor_list_sort(&list, "m", &err), STATUS_OK);
    const struct tensor *b = tensor_list_find(&list, "b");
    assert_int_equal(b->dtype, DTYPE_F16);
    assert_int_equal(b->dims, 2);
    assert_true(b->shape[0] == 2 && b->shape[1] == 3 && b->stride[0] == 3 && b->stride[1] == 1);
    assert_ptr_equal(b->data, tensor_list_find(&list, "a")->data + 4);
    assert_int_equal(tensor_list_find(&list, "a")->dims, 0);
    tensor_list_clear(&list);
}

static void keeps_dtypes_that_nobody_reads(void **state)
{
    (void)state;
    struct tensor_list list = {0};
    struct error err = {0};
    read_with_length(&list,
                     "{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[2,2],\"data_offsets\":[0,4]},"
                     "\"b\":{\"dtype\":\"_\",\"shape\":[0],\"data_offsets\":[4,4]}}",
                     -1, 4, &err);
    if (err.status) fail_msg("%s", err.text);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.items[0].dtype, DTYPE_OTHER);
    assert_string_equal(tensor_dtype_name(&list.items[0]), "F8_E4M3");
    assert_int_equal(tensor_elements(&list.items[0]), 4);
    tensor_list_clear(&list);
}

static void refuses_bad_lengths(void **state)
{
    (void)state;
    static const struct {
        long long length;
        const char *words;
    } cases[] = {{0, "begin with '{'"},
                 {3, "torn|expected a header of 3|got 2"},
                 {1LL << 40, "header length|100000000|1099511627776"},
                 {(long long)(~0ULL >> 1), "header length|9223372036854775807"},
                 {1, "not valid JSON"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tensor_list list = {0};
        struct error err = {0};
        read_with_length(&list, "{}", cases[i].length, 0, &err);
        expect_error(&err, STATUS_INPUT, cases[i].words);
    }
    struct tensor_list list = {0};
    struct error err = {0};
    safetensors_read(&list, &(struct file_map){(const unsigned char *)"1234567", 7}, "short", &err);
    expect_error(&err, STATUS_INPUT, "short|torn|at least 8 bytes|got 7");
    struct error empty = {0};
    safetensors_read(&list, &(struct file_map){NULL, 0}, "empty", &empty);
    expect_error(&empty, STATUS_INPUT, "empty|torn|got 0");
}

static void refuses_bad_headers(void **state)
{
    (void)state;
    expect_refused("[]", 0, "begin with '{'");
    expect_refused(" {}", 0, "begin with '{'");
    expect_refused("{\"a\":1}", 0, "'a'|expected an object");
    expect_refused("{\"a\":{}}", 0, "'a'|dtype");
    expect_refused("{\"a\":{\"dtype\":\"F0\",\"shape\":[40],\"data_offsets\":[0,4]}}", 4,
                   "'a'|a bit for each");
    expect_refused("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "'a'|expected an array as shape");
    expect_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
                   "'a'|at most 8 dimensions|got 9");
    expect_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, "'a'|data_offsets");
    expect_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1,
                   "'a'|data_offsets");
    expect_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,\"1\"]}}", 1,
                   "'a'|data_offsets");
    expect_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[-1,0]}}", 1, "'a'|data_offsets");
    expect_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]}}", 1, "'a'|backwards");
    expect_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                   "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
                   1, "duplicate key 'a'");
}

static void refuses_bad_sizes(void **state)
{
    (void)state;
    expect_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", 1, "'a'|shape");
    expect_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1.5],\"data_offsets\":[0,1]}}", 1, "'a'|shape");
    expect_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[9223372036854775808],\"data_offsets\":[0,1]}}", 1,
                   "'a'|2^53");
    expect_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1e999],\"data_offsets\":[0,1]}}", 1, "'a'|2^53");
    // The product is 2^64, which is 0 in 64 bits.
    expect_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
                   "'a'|overflows");
    expect_refused("{\"a\":{\"dtype\":\"F64\",\"shape\":[2147483648,1073741824],\"data_offsets\":[0,0]}}", 0,
                   "'a'|overflows");
    expect_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
                   "'a'|expected 8 bytes from its shape|got 4");
}

static void refuses_bad_cover(void **state)
{
    (void)state;
    static const char two[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                              "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[%d,%d]}}";
    char header[256];
    snprintf(header, sizeof header, two, 3, 7);
    expect_refused(header, 8, "'a' and 'b' overlap");
    snprintf(header, sizeof header, two, 0, 4);
    expect_refused(header, 8, "overlap");
    snprintf(header, sizeof header, two, 5, 9);
    expect_refused(header, 9, "'b'|hole|expected it to begin at byte 4|got 5");
    snprintf(header, sizeof header, two, 4, 8);
    char words[128];
    size_t front = 8 + strlen(header);
    snprintf(words, sizeof words, "torn file|expected %zu bytes|got %zu", front + 8, front + 7);
    expect_refused(header, 7, words);
    snprintf(words, sizeof words, "after the last tensor|expected %zu bytes|got %zu", front + 8, front + 9);
    expect_refused(header, 9, words);
}

// Whatever byte of the header changes: an answer, and no access outside the file.
static void any_broken_byte_is_survived(void **state)
{
    (void)state;
    static const char good[] = "{\"a\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[0,12]},"
                               "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[12,16]}}";
    static const unsigned char bytes[] = {0,   '0', '9', '-', '.', 'e', '"',  '{',
                                          '}', '[', ']', ',', ':', ' ', '\\', 0xff};
    int refused = 0;
    for (size_t at = 0; at < sizeof good - 1; at++)
        for (size_t b = 0; b < sizeof bytes; b++) {
            char header[sizeof good];
            memcpy(header, good, sizeof good);
            header[at] = (char)bytes[b];
            struct tensor_list list = {0};
            struct error err = {0};
            read_with_length(&list, header, (long long)sizeof good - 1, 16, &err);
            refused += err.status == STATUS_INPUT;
            assert_true(err.status == STATUS_OK || err.status == STATUS_INPUT);
            tensor_list_clear(&list);
        }
    assert_true(refused > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_good_file),           cmocka_unit_test(keeps_dtypes_that_nobody_reads),
        cmocka_unit_test(refuses_bad_lengths),         cmocka_unit_test(refuses_bad_headers),
        cmocka_unit_test(refuses_bad_sizes),           cmocka_unit_test(refuses_bad_cover),
        cmocka_unit_test(any_broken_byte_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
