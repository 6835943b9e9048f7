// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/half.h"

static const struct {
    const char *name;
    size_t bytes;
} dtypes[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", 4},   [DTYPE_F16] = {"F16", 2},     [DTYPE_BF16] = {"BF16", 2},
    [DTYPE_F64] = {"F64", 8},   [DTYPE_I8] = {"I8", 1},       [DTYPE_I16] = {"I16", 2},
    [DTYPE_I32] = {"I32", 4},   [DTYPE_I64] = {"I64", 8},     [DTYPE_U8] = {"U8", 1},
    [DTYPE_BOOL] = {"BOOL", 1}, [DTYPE_OTHER] = {"other", 0},
};

size_t dtype_bytes(enum dtype dtype)
{
    return dtypes[dtype].bytes;
}

const char *dtype_name(enum dtype dtype)
{
    return dtypes[dtype].name;
}

const char *tensor_dtype_name(const struct tensor *tensor)
{
    return tensor->dtype == DTYPE_OTHER ? tensor->other : dtype_name(tensor->dtype);
}

bool dtype_find(const char *name, enum dtype *dtype)
{
    for (int i = 0; i < DTYPE_OTHER; i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            *dtype = (enum dtype)i;
            return true;
        }
    return false;
}

bool dtype_is_float(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16 || dtype == DTYPE_F64;
}

bool tensor_set_contiguous(struct tensor *tensor, int64_t *bytes)
{
    int64_t elements = 1;
    bool empty = false;
    for (int d = tensor->dims - 1; d >= 0; d--) {
        tensor->stride[d] = elements;
        if (tensor->shape[d] == 0)
            empty = true;
        else if (__builtin_mul_overflow(elements, tensor->shape[d], &elements))
            return false;
    }
    return !__builtin_mul_overflow(empty ? 0 : elements, (int64_t)dtype_bytes(tensor->dtype), bytes);
}

int64_t tensor_elements(const struct tensor *tensor)
{
    int64_t elements = 1;
    for (int d = 0; d < tensor->dims; d++)
        elements *= tensor->shape[d];
    return elements;
}

void tensor_shape_text(const int64_t *shape, int dims, char text[TENSOR_SHAPE_CHARS])
{
    size_t used = (size_t)snprintf(text, TENSOR_SHAPE_CHARS, "[");
    for (int d = 0; d < dims && used < TENSOR_SHAPE_CHARS - 1; d++)
        used += (size_t)snprintf(text + used, TENSOR_SHAPE_CHARS - used, "%s%lld", d ? ", " : "",
                                 (long long)shape[d]);
    if (used < TENSOR_SHAPE_CHARS - 1) snprintf(text + used, TENSOR_SHAPE_CHARS - used, "]");
}

// ---- elements ----

static bool is_contiguous(const struct tensor *tensor)
{
    int64_t expected = 1;
    for (int d = tensor->dims - 1; d >= 0; d--) {
        if (tensor->shape[d] != 1 && tensor->stride[d] != expected) return false;
        expected *= tensor->shape[d];
    }
    return true;
}

// A tensor as rows of `length` elements, `step` elements apart; a contiguous one is a single row.
struct rows {
    int64_t count, length, step;
};

static struct rows split_rows(const struct tensor *tensor)
{
    int64_t elements = tensor_elements(tensor);
    if (elements == 0) return (struct rows){0, 0, 0};
    if (is_contiguous(tensor)) return (struct rows){1, elements, 1};
    int last = tensor->dims - 1;
    return (struct rows){elements / tensor->shape[last], tensor->shape[last], tensor->stride[last]};
}

static const unsigned char *row_data(const struct tensor *tensor, int64_t row)
{
    int64_t offset = 0;
    for (int d = tensor->dims - 2; d >= 0 && row > 0; d--) {
        offset += row % tensor->shape[d] * tensor->stride[d];
        row /= tensor->shape[d];
    }
    return tensor->data + offset * (int64_t)dtype_bytes(tensor->dtype);
}

static uint16_t load16(const unsigned char *data)
{
    uint16_t bits;
    memcpy(&bits, data, sizeof bits);
    return bits;
}

static uint32_t load32(const unsigned char *data)
{
    uint32_t bits;
    memcpy(&bits, data, sizeof bits);
    return bits;
}

static float load_double(const unsigned char *data)
{
    double value;
    memcpy(&value, data, sizeof value);
    return (float)value;
}

// Always inlined, so that there is one with a constant step of 1.
static inline __attribute__((always_inline)) void steps_to_f32(enum dtype dtype, const unsigned char *data,
                                                               int64_t length, int64_t step, float *out)
{
    if (dtype == DTYPE_F32) {
        for (int64_t i = 0; i < length; i++)
            out[i] = float_of_bits(load32(data + 4 * i * step));
    } else if (dtype == DTYPE_F16) {
        for (int64_t i = 0; i < length; i++)
            out[i] = half_to_float(load16(data + 2 * i * step));
    } else if (dtype == DTYPE_F64) {
        for (int64_t i = 0; i < length; i++)
            out[i] = load_double(data + 8 * i * step);
    } else {
        for (int64_t i = 0; i < length; i++)
            out[i] = float_of_bits((uint32_t)load16(data + 2 * i * step) << 16);
    }
}

static void row_to_f32(enum dtype dtype, const unsigned char *data, int64_t length, int64_t step, float *out)
{
    if (step == 1)
        steps_to_f32(dtype, data, length, 1, out);
    else
        steps_to_f32(dtype, data, length, step, out);
}

void tensor_to_f32(const struct tensor *tensor, float *out)
{
    struct rows rows = split_rows(tensor);
    for (int64_t r = 0; r < rows.count; r++)
        row_to_f32(tensor->dtype, row_data(tensor, r), rows.length, rows.step, out + r * rows.length);
}

const float *tensor_as_f32(const struct tensor *tensor)
{
    const bool as_is =
        tensor->dtype == DTYPE_F32 && is_contiguous(tensor) && (uintptr_t)tensor->data % _Alignof(float) == 0;
    return as_is ? (const float *)(const void *)tensor->data : NULL;
}

void tensor_to_i8(const struct tensor *tensor, int8_t *out)
{
    struct rows rows = split_rows(tensor);
    for (int64_t r = 0; r < rows.count; r++) {
        const unsigned char *data = row_data(tensor, r);
        for (int64_t i = 0; i < rows.length; i++)
            memcpy(out++, data + i * rows.step, 1);
    }
}

static bool same_bytes(const struct tensor *a, const struct tensor *b)
{
    return memcmp(a->data, b->data, (size_t)tensor_elements(a) * dtype_bytes(a->dtype)) == 0;
}

static bool same_row(const struct tensor *a, const struct tensor *b, int64_t row, const struct rows *x,
                     const struct rows *y)
{
    enum { AT_ONCE = 256 };
    float p[AT_ONCE], q[AT_ONCE];
    const int64_t wide_a = (int64_t)dtype_bytes(a->dtype) * x->step,
                  wide_b = (int64_t)dtype_bytes(b->dtype) * y->step;
    for (int64_t i = 0; i < x->length; i += AT_ONCE) {
        const int64_t n = x->length - i < AT_ONCE ? x->length - i : AT_ONCE;
        row_to_f32(a->dtype, row_data(a, row) + i * wide_a, n, x->step, p);
        row_to_f32(b->dtype, row_data(b, row) + i * wide_b, n, y->step, q);
        for (int64_t j = 0; j < n; j++)
            if (p[j] != q[j]) return false;
    }
    return true;
}

bool tensor_same_values(const struct tensor *a, const struct tensor *b)
{
    if (a->dims != b->dims || memcmp(a->shape, b->shape, (size_t)a->dims * sizeof *a->shape) != 0)
        return false;
    if (a->data == b->data && a->dtype == b->dtype &&
        memcmp(a->stride, b->stride, (size_t)a->dims * sizeof *a->stride) == 0)
        return true;
    if (a->dtype == b->dtype && is_contiguous(a) && is_contiguous(b)) return same_bytes(a, b);
    if (!dtype_is_float(a->dtype) || !dtype_is_float(b->dtype) || tensor_elements(a) == 0) return false;
    const int last = a->dims - 1;
    const int64_t length = a->dims ? a->shape[last] : 1;
    const struct rows x = {tensor_elements(a) / length, length, a->dims ? a->stride[last] : 1},
                      y = {x.count, length, a->dims ? b->stride[last] : 1};
    for (int64_t r = 0; r < x.count; r++)
        if (!same_row(a, b, r, &x, &y)) return false;
    return true;
}

// An exponent of all ones is NaN or infinity.  Without a branch per element, so that the compiler can use
// vectors.
static bool any_nonfinite16(const unsigned char *data, int64_t length, int64_t step, uint16_t exponent)
{
    int found = 0;
    for (int64_t i = 0; i < length; i++)
        found |= (load16(data + 2 * i * step) & exponent) == exponent;
    return found;
}

static bool any_nonfinite32(const unsigned char *data, int64_t length, int64_t step)
{
    int found = 0;
    for (int64_t i = 0; i < length; i++)
        found |= (load32(data + 4 * i * step) & 0x7f800000u) == 0x7f800000u;
    return found;
}

static bool any_nonfinite64(const unsigned char *data, int64_t length, int64_t step)
{
    int found = 0;
    for (int64_t i = 0; i < length; i++)
        found |= !isfinite(load_double(data + 8 * i * step));
    return found;
}

static bool any_nonfinite(enum dtype dtype, const unsigned char *data, int64_t length, int64_t step)
{
    if (dtype == DTYPE_F32) return any_nonfinite32(data, length, step);
    if (dtype == DTYPE_F64) return any_nonfinite64(data, length, step);
    return any_nonfinite16(data, length, step, dtype == DTYPE_F16 ? 0x7c00u : 0x7f80u);
}

bool tensor_find_nonfinite(const struct tensor *tensor, int64_t *index)
{
    struct rows rows = split_rows(tensor);
    int64_t width = (int64_t)dtype_bytes(tensor->dtype);
    for (int64_t r = 0; r < rows.count; r++) {
        const unsigned char *data = row_data(tensor, r);
        if (!any_nonfinite(tensor->dtype, data, rows.length, rows.step)) continue;
        int64_t i = 0;
        while (!any_nonfinite(tensor->dtype, data + i * rows.step * width, 1, rows.step))
            i++;
        *index = r * rows.length + i;
        return true;
    }
    return false;
}

// How many elements of a row-major tensor begin in front of `place`.
static int64_t elements_before(const struct tensor *tensor, int64_t elements, const unsigned char *place)
{
    const int64_t width = (int64_t)dtype_bytes(tensor->dtype);
    const int64_t bytes = (int64_t)((uintptr_t)place - (uintptr_t)tensor->data);
    if (bytes <= 0) return 0;
    return (bytes - 1) / width < elements ? (bytes - 1) / width + 1 : elements;
}

bool tensor_nonfinite_within(const struct tensor *tensor, const unsigned char *from, const unsigned char *to)
{
    const int64_t elements = tensor_elements(tensor), width = (int64_t)dtype_bytes(tensor->dtype);
    int64_t ignored;
    if (!is_contiguous(tensor))
        return tensor->data >= from && tensor->data < to && tensor_find_nonfinite(tensor, &ignored);
    const int64_t first = elements_before(tensor, elements, from),
                  end = elements_before(tensor, elements, to);
    return first < end && any_nonfinite(tensor->dtype, tensor->data + first * width, end - first, 1);
}

// ---- lists ----

enum status tensor_list_add(struct tensor_list *list, const struct tensor *tensor, struct error *err)
{
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 256;
        struct tensor *grown = realloc(list->items, room * sizeof *grown);
        if (!grown) return error_memory(err, room * sizeof *grown, "the list of tensors");
        list->items = grown;
        list->room = room;
    }
    char *name = strdup(tensor->name);
    if (!name) return error_memory(err, strlen(tensor->name) + 1, "a tensor's name");
    list->items[list->count] = *tensor;
    list->items[list->count++].name = name;
    return STATUS_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

void tensor_list_order(struct tensor_list *list)
{
    if (list->count) qsort(list->items, list->count, sizeof *list->items, compare_names);
}

enum status tensor_list_sort(struct tensor_list *list, const char *where, struct error *err)
{
    tensor_list_order(list);
    for (size_t i = 1; i < list->count; i++)
        if (compare_names(&list->items[i - 1], &list->items[i]) == 0)
            return error_set(err, STATUS_INPUT, "%s: tensor '%.200s' occurs twice", where,
                             list->items[i].name);
    return STATUS_OK;
}

const struct tensor *tensor_list_find(const struct tensor_list *list, const char *name)
{
    struct tensor key = {.name = name};
    return list->count ? bsearch(&key, list->items, list->count, sizeof key, compare_names) : NULL;
}

void tensor_list_clear(struct tensor_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free((void *)(size_t)list->items[i].name);
    free(list->items);
    *list = (struct tensor_list){0};
}

// ---- scalar ----

enum status scalar_list_add(struct scalar_list *list, const char *name, double value, struct error *err)
{
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 256;
        struct scalar *grown = realloc(list->items, room * sizeof *grown);
        if (!grown) return error_memory(err, room * sizeof *grown, "the list of numbers");
        list->items = grown;
        list->room = room;
    }
    char *copy = strdup(name);
    if (!copy) return error_memory(err, strlen(name) + 1, "a number's name");
    list->items[list->count++] = (struct scalar){copy, value};
    return STATUS_OK;
}

static int compare_scalar_names(const void *a, const void *b)
{
    return strcmp(((const struct scalar *)a)->name, ((const struct scalar *)b)->name);
}

enum status scalar_list_sort(struct scalar_list *list, const char *where, struct error *err)
{
    if (list->count == 0) return STATUS_OK;
    qsort(list->items, list->count, sizeof *list->items, compare_scalar_names);
    for (size_t i = 1; i < list->count; i++)
        if (compare_scalar_names(&list->items[i - 1], &list->items[i]) == 0)
            return error_set(err, STATUS_INPUT, "%s: key '%.200s' occurs twice", where, list->items[i].name);
    return STATUS_OK;
}

const struct scalar *scalar_list_find(const struct scalar_list *list, const char *name)
{
    struct scalar key = {.name = name};
    return list->count ? bsearch(&key, list->items, list->count, sizeof key, compare_scalar_names) : NULL;
}

void scalar_list_clear(struct scalar_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free((void *)(size_t)list->items[i].name);
    free(list->items);
    *list = (struct scalar_list){0};
}
