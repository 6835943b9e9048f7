// SPDX-License-Identifier: Apache-2.0
// The opcodes.  Nothing here calls anything that the file names.
#include "ssmsweep/input/pickle.h"

#include <stdlib.h>
#include <string.h>

#include "pickle_machine.h"

enum { MAX_BYTES = 64 << 20, MAX_TEXT = 1 << 16, MAX_GLOBAL = 256 };

// ---- arguments in the byte stream ----

static enum status take(struct machine *m, size_t count, const unsigned char **bytes, struct error *err)
{
    if (count > m->size_bytes - m->at)
        return machine_refuse(m, err, "torn pickle: expected %zu more bytes, got %zu; copy the file again",
                              count, m->size_bytes - m->at);
    *bytes = m->bytes + m->at;
    m->at += count;
    return STATUS_OK;
}

// Little-endian, up to 8 bytes.
static enum status take_number(struct machine *m, size_t count, uint64_t *number, struct error *err)
{
    const unsigned char *bytes = NULL;
    if (take(m, count, &bytes, err)) return err->status;
    *number = 0;
    for (size_t i = count; i > 0; i--)
        *number = *number << 8 | bytes[i - 1];
    return STATUS_OK;
}

static enum status push_int(struct machine *m, int64_t integer, struct error *err)
{
    return machine_push(m, &(struct value){.kind = VALUE_INT, .depth = 1, .as.integer = integer}, err);
}

static enum status push_text(struct machine *m, size_t length_bytes, struct error *err)
{
    uint64_t length = 0;
    struct value value = {.kind = VALUE_TEXT, .depth = 1};
    if (take_number(m, length_bytes, &length, err)) return err->status;
    if (length > MAX_TEXT)
        return machine_refuse(m, err, "expected a text of at most %d bytes, got %llu; this is no state dict",
                              MAX_TEXT, (unsigned long long)length);
    if (take(m, (size_t)length, &value.as.text.bytes, err)) return err->status;
    value.as.text.length = (uint32_t)length;
    return machine_push(m, &value, err);
}

// ---- one function for each group of opcodes; `code` tells them apart ----

static enum status run_constant(struct machine *m, int code, struct error *err)
{
    struct value value = {.depth = 1};
    switch (code) {
    case 'N':
        break;
    case 0x88:
    case 0x89:
        value.kind = VALUE_BOOL;
        value.as.integer = code == 0x88;
        break;
    case '}':
        value.kind = VALUE_DICT;
        break;
    case ']':
        value.kind = VALUE_LIST;
        break;
    default:
        value.kind = VALUE_TUPLE;
    }
    return machine_push(m, &value, err);
}

static enum status run_int(struct machine *m, int code, struct error *err)
{
    uint64_t number = 0;
    size_t bytes = code == 'J' ? 4 : code == 'K' ? 1 : 2;
    if (take_number(m, bytes, &number, err)) return err->status;
    return push_int(m, code == 'J' ? (int64_t)(int32_t)(uint32_t)number : (int64_t)number, err);
}

// Little-endian two's complement of any length up to 8 bytes.
static enum status run_long(struct machine *m, int code, struct error *err)
{
    (void)code;
    uint64_t count = 0, number = 0;
    if (take_number(m, 1, &count, err)) return err->status;
    if (count > 8)
        return machine_refuse(m, err, "expected a whole number of at most 8 bytes, got %llu",
                              (unsigned long long)count);
    if (take_number(m, (size_t)count, &number, err)) return err->status;
    if (count > 0 && count < 8 && number >> (8 * count - 1)) number |= ~0ull << (8 * count);
    return push_int(m, (int64_t)number, err);
}

static enum status run_float(struct machine *m, int code, struct error *err)
{
    (void)code;
    const unsigned char *bytes = NULL;
    uint64_t bits = 0;
    struct value value = {.kind = VALUE_FLOAT, .depth = 1};
    if (take(m, 8, &bytes, err)) return err->status;
    for (int i = 0; i < 8; i++) // big-endian
        bits = bits << 8 | bytes[i];
    memcpy(&value.as.number, &bits, sizeof bits);
    return machine_push(m, &value, err);
}

static enum status run_text(struct machine *m, int code, struct error *err)
{
    return push_text(m, code == 'X' || code == 'T' ? 4 : 1, err);
}

static enum status run_tuple(struct machine *m, int code, struct error *err)
{
    size_t first = 0;
    if (code != 't') return machine_make_tuple(m, (size_t)(code - 0x84), err);
    if (machine_pop_mark(m, &first, err)) return err->status;
    return machine_make_tuple(m, m->n_stack.count - first, err);
}

static enum status run_add(struct machine *m, int code, struct error *err)
{
    enum value_kind kind = code == 'a' || code == 'e' ? VALUE_LIST : VALUE_DICT;
    if (code == 'e' || code == 'u') return machine_add_marked(m, kind, err);
    return machine_add_few(m, code == 's' ? 2 : 1, kind, err);
}

static enum status run_memo(struct machine *m, int code, struct error *err)
{
    uint64_t place = m->n_memo.count;
    if (code == 0x94) return machine_memo_put(m, place, err);
    if (take_number(m, code == 'q' || code == 'h' ? 1 : 4, &place, err)) return err->status;
    return code == 'q' || code == 'r' ? machine_memo_put(m, place, err) : machine_memo_get(m, place, err);
}

static enum status run_stack(struct machine *m, int code, struct error *err)
{
    size_t first = 0;
    uint32_t dropped = 0;
    if (code == '0') return machine_pop(m, &dropped, err);
    if (code == '1') {
        if (!machine_pop_mark(m, &first, err)) m->n_stack.count = first;
        return err->status;
    }
    return machine_mark(m, err);
}

static enum status run_frame(struct machine *m, int code, struct error *err)
{
    uint64_t number = 0;
    if (take_number(m, code == 0x80 ? 1 : 8, &number, err)) return err->status;
    if (code == 0x80 && (number < 2 || number > 5))
        return machine_refuse(m, err, "expected pickle protocol 2 to 5, got %llu",
                              (unsigned long long)number);
    return STATUS_OK;
}

// One line of the byte stream, without its end.
static enum status take_line(struct machine *m, const char **line, size_t *length, struct error *err)
{
    const unsigned char *start = m->bytes + m->at;
    size_t left = m->size_bytes - m->at, most = left < MAX_GLOBAL ? left : MAX_GLOBAL;
    const unsigned char *end = most ? memchr(start, '\n', most) : NULL;
    if (!end) return machine_refuse(m, err, "a global without a name; the file is damaged");
    *line = (const char *)start;
    *length = (size_t)(end - start);
    m->at += *length + 1;
    return STATUS_OK;
}

static enum status run_global(struct machine *m, int code, struct error *err)
{
    const char *module = "", *name = "";
    size_t module_length = 0, name_length = 0;
    struct value found = {.depth = 1};
    if (code == 'c') {
        if (take_line(m, &module, &module_length, err) || take_line(m, &name, &name_length, err))
            return err->status;
    } else {
        uint32_t a = 0, b = 0;
        if (machine_pop(m, &b, err) || machine_pop(m, &a, err)) return err->status;
        if (m->values[a].kind != VALUE_TEXT || m->values[b].kind != VALUE_TEXT)
            return machine_refuse(m, err, "a global without a name; the file is damaged");
        module = (const char *)m->values[a].as.text.bytes, module_length = m->values[a].as.text.length;
        name = (const char *)m->values[b].as.text.bytes, name_length = m->values[b].as.text.length;
    }
    if (torch_find_global(m, module, module_length, name, name_length, &found, err)) return err->status;
    return machine_push(m, &found, err);
}

static enum status run_reduce(struct machine *m, int code, struct error *err)
{
    (void)code;
    uint32_t callable = 0, arguments = 0;
    struct value result = {.depth = 1};
    if (machine_pop(m, &arguments, err) || machine_pop(m, &callable, err)) return err->status;
    if (torch_reduce(m, callable, arguments, &result, err)) return err->status;
    return machine_push(m, &result, err);
}

static enum status run_persistent(struct machine *m, int code, struct error *err)
{
    (void)code;
    uint32_t id = 0;
    struct value result = {.depth = 1};
    if (machine_pop(m, &id, err) || torch_persistent(m, id, &result, err)) return err->status;
    return machine_push(m, &result, err);
}

// A state dict carries `_metadata` as an attribute; no number depends on it.
static enum status run_build(struct machine *m, int code, struct error *err)
{
    (void)code;
    uint32_t state = 0, object = 0;
    if (machine_pop(m, &state, err) || machine_top(m, &object, err)) return err->status;
    if (m->values[object].kind != VALUE_DICT || m->values[state].kind != VALUE_DICT)
        return machine_refuse(m, err,
                              "opcode BUILD: allowed for the attributes of a dict alone; nothing was "
                              "executed");
    return STATUS_OK;
}

// ---- the table ----

struct opcode {
    const char *name;
    enum status (*run)(struct machine *m, int code, struct error *err); // NULL: refused
};

static const struct opcode opcodes[256] = {
    ['('] = {"MARK", run_stack},
    ['0'] = {"POP", run_stack},
    ['1'] = {"POP_MARK", run_stack},
    ['N'] = {"NONE", run_constant},
    [0x88] = {"NEWTRUE", run_constant},
    [0x89] = {"NEWFALSE", run_constant},
    ['}'] = {"EMPTY_DICT", run_constant},
    [']'] = {"EMPTY_LIST", run_constant},
    [')'] = {"EMPTY_TUPLE", run_constant},
    ['J'] = {"BININT", run_int},
    ['K'] = {"BININT1", run_int},
    ['M'] = {"BININT2", run_int},
    [0x8a] = {"LONG1", run_long},
    ['G'] = {"BINFLOAT", run_float},
    ['X'] = {"BINUNICODE", run_text},
    [0x8c] = {"SHORT_BINUNICODE", run_text},
    ['T'] = {"BINSTRING", run_text},
    ['U'] = {"SHORT_BINSTRING", run_text},
    ['t'] = {"TUPLE", run_tuple},
    [0x85] = {"TUPLE1", run_tuple},
    [0x86] = {"TUPLE2", run_tuple},
    [0x87] = {"TUPLE3", run_tuple},
    ['a'] = {"APPEND", run_add},
    ['e'] = {"APPENDS", run_add},
    ['s'] = {"SETITEM", run_add},
    ['u'] = {"SETITEMS", run_add},
    ['q'] = {"BINPUT", run_memo},
    ['r'] = {"LONG_BINPUT", run_memo},
    [0x94] = {"MEMOIZE", run_memo},
    ['h'] = {"BINGET", run_memo},
    ['j'] = {"LONG_BINGET", run_memo},
    ['c'] = {"GLOBAL", run_global},
    [0x93] = {"STACK_GLOBAL", run_global},
    ['R'] = {"REDUCE", run_reduce},
    ['Q'] = {"BINPERSID", run_persistent},
    ['b'] = {"BUILD", run_build},
    [0x80] = {"PROTO", run_frame},
    [0x95] = {"FRAME", run_frame},
    // Known, and refused by name.
    ['F'] = {"FLOAT", NULL},
    ['I'] = {"INT", NULL},
    ['L'] = {"LONG", NULL},
    ['S'] = {"STRING", NULL},
    ['V'] = {"UNICODE", NULL},
    ['P'] = {"PERSID", NULL},
    ['d'] = {"DICT", NULL},
    ['l'] = {"LIST", NULL},
    ['g'] = {"GET", NULL},
    ['p'] = {"PUT", NULL},
    ['2'] = {"DUP", NULL},
    ['i'] = {"INST", NULL},
    ['o'] = {"OBJ", NULL},
    ['B'] = {"BINBYTES", NULL},
    ['C'] = {"SHORT_BINBYTES", NULL},
    [0x81] = {"NEWOBJ", NULL},
    [0x82] = {"EXT1", NULL},
    [0x83] = {"EXT2", NULL},
    [0x84] = {"EXT4", NULL},
    [0x8b] = {"LONG4", NULL},
    [0x8d] = {"BINUNICODE8", NULL},
    [0x8e] = {"BINBYTES8", NULL},
    [0x8f] = {"EMPTY_SET", NULL},
    [0x90] = {"ADDITEMS", NULL},
    [0x91] = {"FROZENSET", NULL},
    [0x92] = {"NEWOBJ_EX", NULL},
    [0x96] = {"BYTEARRAY8", NULL},
    [0x97] = {"NEXT_BUFFER", NULL},
    [0x98] = {"READONLY_BUFFER", NULL},
};

static enum status run(struct machine *m, uint32_t *result, struct error *err)
{
    for (;;) {
        m->opcode_at = m->at;
        if (m->at == m->size_bytes)
            return machine_refuse(m, err, "torn pickle: no STOP at its end; copy the file again");
        int code = m->bytes[m->at++];
        if (code == '.') break;
        const struct opcode *opcode = &opcodes[code];
        if (!opcode->name)
            return machine_refuse(m, err, "no pickle opcode is 0x%02x; the file is damaged", (unsigned)code);
        if (!opcode->run)
            return machine_refuse(m, err,
                                  "opcode %s is not allowed: a state dict needs none; nothing was executed",
                                  opcode->name);
        if (opcode->run(m, code, err)) return err->status;
    }
    if (m->n_stack.count != 1 || m->n_marks.count != 0 || m->at != m->size_bytes)
        return machine_refuse(m, err,
                              "expected one value at STOP and nothing behind it; the file is damaged");
    *result = m->stack[0];
    return STATUS_OK;
}

enum status pickle_read(struct tensor_list *tensors, struct scalar_list *scalars, const unsigned char *bytes,
                        size_t size_bytes, const struct pickle_source *source, struct error *err)
{
    struct machine m = {.source = source, .bytes = bytes, .size_bytes = size_bytes};
    uint32_t result = 0;
    if (size_bytes > MAX_BYTES)
        return machine_refuse(&m, err, "expected at most %d bytes, got %zu; this is no state dict", MAX_BYTES,
                              size_bytes);
    if (!run(&m, &result, err)) torch_collect(&m, result, tensors, scalars, err);
    machine_clear(&m);
    return err->status;
}
