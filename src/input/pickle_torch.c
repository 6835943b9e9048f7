// SPDX-License-Identifier: Apache-2.0
// What a state dict names: storages, tensors over them, and the dict itself.
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pickle_machine.h"
#include "ssmsweep/input/unicode.h"

enum { MAX_NAME = 512, STORAGE_ID_PARTS = 5 };

static const struct global globals[] = {
    {"collections", "OrderedDict", GLOBAL_ORDERED_DICT, 0},
    {"torch._utils", "_rebuild_tensor_v2", GLOBAL_REBUILD_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v3", GLOBAL_REBUILD_TENSOR_V3, 0},
    {"torch._utils", "_rebuild_parameter", GLOBAL_REBUILD_PARAMETER, 0},
    {"torch._utils", "_rebuild_parameter_with_state", GLOBAL_REBUILD_PARAMETER, 0}, // attributes come last
    {"torch", "Size", GLOBAL_SIZE, 0},
    {"torch", "FloatStorage", GLOBAL_STORAGE, DTYPE_F32},
    {"torch", "HalfStorage", GLOBAL_STORAGE, DTYPE_F16},
    {"torch", "BFloat16Storage", GLOBAL_STORAGE, DTYPE_BF16},
    {"torch", "DoubleStorage", GLOBAL_STORAGE, DTYPE_F64},
    {"torch", "CharStorage", GLOBAL_STORAGE, DTYPE_I8},
    {"torch", "ShortStorage", GLOBAL_STORAGE, DTYPE_I16},
    {"torch", "IntStorage", GLOBAL_STORAGE, DTYPE_I32},
    {"torch", "LongStorage", GLOBAL_STORAGE, DTYPE_I64},
    {"torch", "ByteStorage", GLOBAL_STORAGE, DTYPE_U8},
    {"torch", "BoolStorage", GLOBAL_STORAGE, DTYPE_BOOL},
    {"torch", "ComplexFloatStorage", GLOBAL_STORAGE, DTYPE_OTHER},
    {"torch", "ComplexDoubleStorage", GLOBAL_STORAGE, DTYPE_OTHER},
    {"torch.storage", "UntypedStorage", GLOBAL_STORAGE, DTYPE_OTHER},
    {"torch", "float32", GLOBAL_DTYPE, DTYPE_F32},
    {"torch", "float16", GLOBAL_DTYPE, DTYPE_F16},
    {"torch", "bfloat16", GLOBAL_DTYPE, DTYPE_BF16},
    {"torch", "float64", GLOBAL_DTYPE, DTYPE_F64},
    {"torch", "int8", GLOBAL_DTYPE, DTYPE_I8},
    {"torch", "int16", GLOBAL_DTYPE, DTYPE_I16},
    {"torch", "int32", GLOBAL_DTYPE, DTYPE_I32},
    {"torch", "int64", GLOBAL_DTYPE, DTYPE_I64},
    {"torch", "uint8", GLOBAL_DTYPE, DTYPE_U8},
    {"torch", "bool", GLOBAL_DTYPE, DTYPE_BOOL},
    {"torch", "uint16", GLOBAL_DTYPE, DTYPE_OTHER},
    {"torch", "uint32", GLOBAL_DTYPE, DTYPE_OTHER},
    {"torch", "uint64", GLOBAL_DTYPE, DTYPE_OTHER},
    {"torch", "float8_e4m3fn", GLOBAL_DTYPE, DTYPE_OTHER},
    {"torch", "float8_e5m2", GLOBAL_DTYPE, DTYPE_OTHER},
    {"torch", "float8_e4m3fnuz", GLOBAL_DTYPE, DTYPE_OTHER},
    {"torch", "float8_e5m2fnuz", GLOBAL_DTYPE, DTYPE_OTHER},
    {"torch", "complex64", GLOBAL_DTYPE, DTYPE_OTHER},
    {"torch", "complex128", GLOBAL_DTYPE, DTYPE_OTHER},
};

static bool same_text(const char *known, const char *text, size_t length)
{
    return strlen(known) == length && memcmp(known, text, length) == 0;
}

enum status torch_find_global(struct machine *m, const char *module, size_t module_length, const char *name,
                              size_t name_length, struct value *result, struct error *err)
{
    for (size_t i = 0; i < sizeof globals / sizeof globals[0]; i++) {
        if (!same_text(globals[i].module, module, module_length) ||
            !same_text(globals[i].name, name, name_length))
            continue;
        *result = (struct value){.kind = VALUE_GLOBAL, .depth = 1, .as.global = &globals[i]};
        return STATUS_OK;
    }
    return machine_refuse(m, err,
                          "global '%.*s.%.*s' is not allowed: a state dict needs none; nothing was executed",
                          (int)(module_length < 100 ? module_length : 100), module,
                          (int)(name_length < 100 ? name_length : 100), name);
}

// ---- arguments ----

// Item `index` of a tuple if it is of `kind`, else NULL.
static const struct value *item(const struct machine *m, const struct value *tuple, uint32_t index,
                                enum value_kind kind)
{
    if (tuple->kind != VALUE_TUPLE || index >= tuple->as.tuple.count) return NULL;
    const struct value *value = &m->values[m->pool[tuple->as.tuple.first + index]];
    return value->kind == kind ? value : NULL;
}

// A tuple of whole numbers from 0; false if it is something else or longer than a tensor's shape.
static bool read_sizes(const struct machine *m, const struct value *tuple, int64_t *sizes, int *count)
{
    if (!tuple || tuple->as.tuple.count > TENSOR_MAX_DIMS) return false;
    for (uint32_t i = 0; i < tuple->as.tuple.count; i++) {
        const struct value *size = item(m, tuple, i, VALUE_INT);
        if (!size || size->as.integer < 0) return false;
        sizes[i] = size->as.integer;
    }
    *count = (int)tuple->as.tuple.count;
    return true;
}

// ---- storages ----

// A key becomes a name inside the archive: digits and letters only.
static bool good_key(const struct value *key, char name[MAX_NAME])
{
    static const char allowed[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-";
    if (!key || key->as.text.length == 0 || key->as.text.length > 64) return false;
    memcpy(name, key->as.text.bytes, key->as.text.length);
    name[key->as.text.length] = '\0';
    return strspn(name, allowed) == key->as.text.length;
}

enum status torch_persistent(struct machine *m, uint32_t id, struct value *result, struct error *err)
{
    char name[MAX_NAME];
    const struct value *tuple = &m->values[id], *type = item(m, tuple, 1, VALUE_GLOBAL),
                       *elements = item(m, tuple, 4, VALUE_INT), *tag = item(m, tuple, 0, VALUE_TEXT);
    const unsigned char *data = NULL;
    size_t bytes = 0;
    if (!tag || !same_text("storage", (const char *)tag->as.text.bytes, tag->as.text.length) || !type ||
        type->as.global->kind != GLOBAL_STORAGE || !good_key(item(m, tuple, 2, VALUE_TEXT), name) ||
        !elements || elements->as.integer < 0 || tuple->as.tuple.count != STORAGE_ID_PARTS)
        return machine_refuse(m, err,
                              "expected ('storage', type, key, device, elements); the file is damaged");
    if (m->source->find(m->source->context, name, &data, &bytes, err)) return err->status;
    const size_t item_bytes = dtype_bytes(type->as.global->dtype);
    const int64_t stated = elements->as.integer;
    const bool other = item_bytes == 0; // what an element takes is not known
    if (other ? bytes < (uint64_t)stated : bytes % item_bytes != 0 || bytes / item_bytes != (uint64_t)stated)
        return machine_refuse(m, err,
                              "storage '%s': expected %lld elements of %zu bytes, got %zu bytes; the file is "
                              "damaged, copy it again",
                              name, (long long)stated, other ? 1 : item_bytes, bytes);
    *result = (struct value){.kind = VALUE_STORAGE,
                             .depth = 1,
                             .as.storage = {data, other ? (int64_t)bytes : stated, type->as.global}};
    return STATUS_OK;
}

// ---- tensors ----

// Does everything from `offset` on lie inside `elements`?  Nothing may claim more elements than there are.
static bool fits(const struct tensor *tensor, int64_t offset, int64_t elements)
{
    int64_t count = 1, last = offset, span;
    for (int d = 0; d < tensor->dims; d++)
        if (tensor->shape[d] == 0) return offset <= elements;
    for (int d = 0; d < tensor->dims; d++)
        if (__builtin_mul_overflow(count, tensor->shape[d], &count) ||
            __builtin_mul_overflow(tensor->shape[d] - 1, tensor->stride[d], &span) ||
            __builtin_add_overflow(last, span, &last))
            return false;
    return count <= elements && last < elements;
}

// What the elements of a tensor are: the storage says it, or the dtype where that is named beside it.
static const struct global *element_type(const struct machine *m, const struct value *arguments,
                                         bool names_dtype)
{
    const struct value *storage = item(m, arguments, 0, VALUE_STORAGE),
                       *named = names_dtype ? item(m, arguments, 6, VALUE_GLOBAL) : NULL;
    if (!storage || (names_dtype && (!named || named->as.global->kind != GLOBAL_DTYPE))) return NULL;
    return named ? named->as.global : storage->as.storage.type;
}

static enum status rebuild_tensor(struct machine *m, const struct value *arguments, bool names_dtype,
                                  struct value *result, struct error *err)
{
    const struct value *storage = item(m, arguments, 0, VALUE_STORAGE),
                       *at = item(m, arguments, 1, VALUE_INT);
    const struct global *type = element_type(m, arguments, names_dtype);
    struct tensor tensor = {.name = ""};
    int strides;
    if (!storage || !at || !type)
        return machine_refuse(m, err, "a tensor without storage or offset; the file is damaged");
    if (!read_sizes(m, item(m, arguments, 2, VALUE_TUPLE), tensor.shape, &tensor.dims) ||
        !read_sizes(m, item(m, arguments, 3, VALUE_TUPLE), tensor.stride, &strides) || strides != tensor.dims)
        return machine_refuse(m, err,
                              "a tensor's shape and strides: expected as many whole numbers from 0 in both, "
                              "at most %d; the file is damaged",
                              TENSOR_MAX_DIMS);
    // An untyped storage tells its bytes; nothing reads elements of an unknown size.
    const enum dtype held = storage->as.storage.type->dtype;
    const int64_t bytes =
                      storage->as.storage.elements * (int64_t)(held == DTYPE_OTHER ? 1 : dtype_bytes(held)),
                  elements = type->dtype == DTYPE_OTHER ? bytes : bytes / (int64_t)dtype_bytes(type->dtype);
    if (at->as.integer < 0 || !fits(&tensor, at->as.integer, elements)) {
        char shape[TENSOR_SHAPE_CHARS], stride[TENSOR_SHAPE_CHARS];
        tensor_shape_text(tensor.shape, tensor.dims, shape);
        tensor_shape_text(tensor.stride, tensor.dims, stride);
        return machine_refuse(m, err,
                              "a tensor of shape %s, strides %s at offset %lld lies outside its storage of "
                              "%lld elements; the file is damaged",
                              shape, stride, (long long)at->as.integer, (long long)elements);
    }
    tensor.dtype = type->dtype;
    if (type->dtype == DTYPE_OTHER) snprintf(tensor.other, sizeof tensor.other, "%s", type->name);
    tensor.data = storage->as.storage.data;
    if (tensor.data) tensor.data += (size_t)at->as.integer * dtype_bytes(tensor.dtype);
    return machine_new_tensor(m, &tensor, result, err);
}

enum status torch_reduce(struct machine *m, uint32_t callable, uint32_t arguments, struct value *result,
                         struct error *err)
{
    const struct value *function = &m->values[callable], *tuple = &m->values[arguments], *first;
    if (function->kind != VALUE_GLOBAL || tuple->kind != VALUE_TUPLE)
        return machine_refuse(m, err,
                              "opcode REDUCE: expected a global and its arguments; the file is damaged");
    switch (function->as.global->kind) {
    case GLOBAL_REBUILD_TENSOR:
    case GLOBAL_REBUILD_TENSOR_V3:
        return rebuild_tensor(m, tuple, function->as.global->kind == GLOBAL_REBUILD_TENSOR_V3, result, err);
    case GLOBAL_REBUILD_PARAMETER:
        first = item(m, tuple, 0, VALUE_TENSOR);
        break;
    case GLOBAL_SIZE:
        first = item(m, tuple, 0, VALUE_TUPLE);
        break;
    case GLOBAL_ORDERED_DICT:
        if (tuple->as.tuple.count == 0) {
            *result = (struct value){.kind = VALUE_DICT, .depth = 1};
            return STATUS_OK;
        }
        first = NULL;
        break;
    default:
        first = NULL;
    }
    if (!first)
        return machine_refuse(m, err, "opcode REDUCE: '%s.%s' cannot be called with these arguments",
                              function->as.global->module, function->as.global->name);
    *result = *first;
    return STATUS_OK;
}

// ---- the finished dict ----

static enum status copy_name(const struct machine *m, const struct value *key, char name[MAX_NAME],
                             struct error *err)
{
    struct error ignored = {0};
    size_t length = key->kind == VALUE_TEXT ? key->as.text.length : 0;
    if (length == 0 || length >= MAX_NAME || memchr(key->as.text.bytes, '\0', length) ||
        unicode_check_utf8((const char *)key->as.text.bytes, length, &ignored))
        return machine_refuse(m, err, "expected texts of 1 to %d bytes of UTF-8 as keys of the state dict",
                              MAX_NAME - 1);
    memcpy(name, key->as.text.bytes, length);
    name[length] = '\0';
    return STATUS_OK;
}

static enum status collect_member(struct machine *m, const struct member *member, struct tensor_list *tensors,
                                  struct scalar_list *scalars, struct error *err)
{
    char name[MAX_NAME];
    const struct value *value = &m->values[member->value];
    if (copy_name(m, &m->values[member->key], name, err)) return err->status;
    if (value->kind == VALUE_TENSOR) {
        struct tensor tensor = m->tensors[value->as.tensor];
        tensor.name = name;
        return tensor_list_add(tensors, &tensor, err);
    }
    if (value->kind == VALUE_FLOAT) return scalar_list_add(scalars, name, value->as.number, err);
    if (value->kind == VALUE_INT || value->kind == VALUE_BOOL)
        return scalar_list_add(scalars, name, (double)value->as.integer, err);
    return STATUS_OK;
}

// A list of dicts, the first of which has "in_proj:input".
static bool is_scale_cache(const struct machine *m, const struct value *top)
{
    if (top->kind != VALUE_LIST || top->as.members.count == 0) return false;
    const struct value *dict = &m->values[m->members[top->as.members.first].value];
    if (dict->kind != VALUE_DICT) return false;
    uint32_t at = dict->as.members.first;
    for (uint32_t i = 0; i < dict->as.members.count; i++, at = m->members[at].next) {
        const struct value *key = &m->values[m->members[at].key];
        if (key->kind == VALUE_TEXT &&
            same_text("in_proj:input", (const char *)key->as.text.bytes, key->as.text.length))
            return true;
    }
    return false;
}

enum status torch_collect(struct machine *m, uint32_t top, struct tensor_list *tensors,
                          struct scalar_list *scalars, struct error *err)
{
    const struct value *dict = &m->values[top];
    size_t before = tensors->count;
    if (is_scale_cache(m, dict))
        return machine_refuse(
            m, err,
            "expected a dict of tensors, got a cache of activation scales as Quamba's code "
            "of 2024 writes it; use the float model beside it, or one that Quamba2 quantized");
    if (dict->kind != VALUE_DICT)
        return machine_refuse(m, err, "expected a dict of tensors; save model.state_dict() alone");
    uint32_t at = dict->as.members.first;
    for (uint32_t i = 0; i < dict->as.members.count; i++, at = m->members[at].next)
        if (collect_member(m, &m->members[at], tensors, scalars, err)) return err->status;
    if (tensors->count == before)
        return machine_refuse(m, err,
                              "expected a dict of tensors, got none in it; save model.state_dict() alone");
    return STATUS_OK;
}
