// SPDX-License-Identifier: Apache-2.0
// The state of the pickle machine, which pickle.c (opcodes) and pickle_torch.c (what PyTorch means by them)
// share.
#ifndef SSMSWEEP_INPUT_PICKLE_MACHINE_H
#define SSMSWEEP_INPUT_PICKLE_MACHINE_H

#include <stdint.h>

#include "ssmsweep/input/pickle.h"

enum value_kind {
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_INT,
    VALUE_FLOAT,
    VALUE_TEXT,
    VALUE_TUPLE,
    VALUE_LIST,
    VALUE_DICT,
    VALUE_GLOBAL,
    VALUE_STORAGE,
    VALUE_TENSOR
};

enum global_kind {
    GLOBAL_ORDERED_DICT,
    GLOBAL_REBUILD_TENSOR,
    GLOBAL_REBUILD_TENSOR_V3, // names the dtype itself
    GLOBAL_REBUILD_PARAMETER,
    GLOBAL_SIZE,
    GLOBAL_STORAGE,
    GLOBAL_DTYPE // never called
};

struct global {
    const char *module, *name;
    enum global_kind kind;
    enum dtype dtype; // of GLOBAL_STORAGE and GLOBAL_DTYPE
};

// Values are numbered; whatever holds one keeps its number, so that arrays may move.
struct value {
    enum value_kind kind;
    int depth; // of what it holds, at least 1
    union {
        int64_t integer; // bool too
        double number;
        struct {
            const unsigned char *bytes;
            uint32_t length;
        } text;
        struct {
            uint32_t first, count; // in machine.pool
        } tuple;
        struct {
            uint32_t first, last, count; // in machine.members; lists leave the keys alone
        } members;
        const struct global *global;
        struct {
            const unsigned char *data;
            int64_t elements; // DTYPE_OTHER: bytes
            const struct global *type;
        } storage;
        uint32_t tensor; // in machine.tensors
    } as;
};

struct member {
    uint32_t key, value, next;
};

// A growing array with an upper limit.
struct room {
    size_t count, room;
};

struct machine {
    const struct pickle_source *source;
    const unsigned char *bytes;
    size_t size_bytes, at, opcode_at;
    struct value *values;
    uint32_t *stack, *marks, *memo, *pool; // memo: value + 1, 0 where nothing is
    struct member *members;
    struct tensor *tensors;
    struct room n_values, n_stack, n_marks, n_memo, n_pool, n_members, n_tensors;
};

// "WHERE: data.pkl: offset N: WHAT".
enum status machine_refuse(const struct machine *m, struct error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

enum status machine_push(struct machine *m, const struct value *value, struct error *err);
enum status machine_pop(struct machine *m, uint32_t *value, struct error *err); // not below the last mark
enum status machine_top(struct machine *m, uint32_t *value, struct error *err);
enum status machine_mark(struct machine *m, struct error *err);
// The values above the last mark are [*first, n_stack.count); the mark is gone.
enum status machine_pop_mark(struct machine *m, size_t *first, struct error *err);
// The top `count` values become one tuple.
enum status machine_make_tuple(struct machine *m, size_t count, struct error *err);
// The values above the last mark, or the top `count`, go into the container below them.
enum status machine_add_marked(struct machine *m, enum value_kind kind, struct error *err);
enum status machine_add_few(struct machine *m, size_t count, enum value_kind kind, struct error *err);
enum status machine_memo_put(struct machine *m, uint64_t place, struct error *err); // the top of the stack
enum status machine_memo_get(struct machine *m, uint64_t place, struct error *err);
void machine_clear(struct machine *m);
enum status machine_new_tensor(struct machine *m, const struct tensor *tensor, struct value *value,
                               struct error *err);

// What PyTorch adds; arguments are numbers of values, *result is written on success.
enum status torch_find_global(struct machine *m, const char *module, size_t module_length, const char *name,
                              size_t name_length, struct value *result, struct error *err);
enum status torch_reduce(struct machine *m, uint32_t callable, uint32_t arguments, struct value *result,
                         struct error *err);
enum status torch_persistent(struct machine *m, uint32_t id, struct value *result, struct error *err);
// From the finished dict into the lists.
enum status torch_collect(struct machine *m, uint32_t top, struct tensor_list *tensors,
                          struct scalar_list *scalars, struct error *err);

#endif
