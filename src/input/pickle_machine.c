// SPDX-License-Identifier: Apache-2.0
// Stack, containers and memo: everything that grows, each with its limit.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pickle_machine.h"

enum {
    MAX_VALUES = 1 << 21,
    MAX_STACK = 1 << 20,
    MAX_MARKS = 1000,
    MAX_MEMO = 1 << 21,
    MAX_TENSORS = 1 << 17,
    MAX_DEPTH = 64
};

enum status machine_refuse(const struct machine *m, struct error *err, const char *format, ...)
{
    char what[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return error_set(err, STATUS_INPUT, "%s: data.pkl: offset %zu: %s", m->source->where, m->opcode_at, what);
}

// Room for one more item; `items` points to the array.
static enum status grow(struct machine *m, void *items, struct room *n, size_t item_bytes, size_t most,
                        const char *what, struct error *err)
{
    void *old, *grown;
    memcpy(&old, items, sizeof old);
    if (n->count >= most)
        return machine_refuse(m, err, "expected at most %zu %s; this is no state dict", most, what);
    if (n->count < n->room) return STATUS_OK;
    size_t room = n->room ? 2 * n->room : 64;
    grown = realloc(old, room * item_bytes);
    if (!grown) return error_memory(err, room * item_bytes, "a pickle");
    memcpy(items, &grown, sizeof grown);
    n->room = room;
    return STATUS_OK;
}

// ---- stack ----

enum status machine_push(struct machine *m, const struct value *value, struct error *err)
{
    if (value->depth > MAX_DEPTH)
        return machine_refuse(m, err, "expected nesting of at most %d, got more; this is no state dict",
                              MAX_DEPTH);
    if (grow(m, &m->values, &m->n_values, sizeof *m->values, MAX_VALUES, "values", err) ||
        grow(m, &m->stack, &m->n_stack, sizeof *m->stack, MAX_STACK, "values on the stack", err))
        return err->status;
    m->values[m->n_values.count] = *value;
    m->stack[m->n_stack.count++] = (uint32_t)m->n_values.count++;
    return STATUS_OK;
}

static enum status push_again(struct machine *m, uint32_t value, struct error *err)
{
    if (grow(m, &m->stack, &m->n_stack, sizeof *m->stack, MAX_STACK, "values on the stack", err))
        return err->status;
    m->stack[m->n_stack.count++] = value;
    return STATUS_OK;
}

static size_t stack_floor(const struct machine *m)
{
    return m->n_marks.count ? m->marks[m->n_marks.count - 1] : 0;
}

enum status machine_pop(struct machine *m, uint32_t *value, struct error *err)
{
    if (m->n_stack.count <= stack_floor(m))
        return machine_refuse(m, err, "the stack is empty; the file is damaged");
    *value = m->stack[--m->n_stack.count];
    return STATUS_OK;
}

enum status machine_top(struct machine *m, uint32_t *value, struct error *err)
{
    if (machine_pop(m, value, err)) return err->status;
    m->n_stack.count++;
    return STATUS_OK;
}

enum status machine_mark(struct machine *m, struct error *err)
{
    if (grow(m, &m->marks, &m->n_marks, sizeof *m->marks, MAX_MARKS, "marks", err)) return err->status;
    m->marks[m->n_marks.count++] = (uint32_t)m->n_stack.count;
    return STATUS_OK;
}

// The values above the last mark are [*first, n_stack.count); the mark is gone.
enum status machine_pop_mark(struct machine *m, size_t *first, struct error *err)
{
    if (m->n_marks.count == 0) return machine_refuse(m, err, "no mark on the stack; the file is damaged");
    *first = m->marks[--m->n_marks.count];
    return STATUS_OK;
}

// ---- containers ----

static int deeper(const struct machine *m, int depth, uint32_t inside)
{
    int d = m->values[inside].depth + 1;
    return d > depth ? d : depth;
}

// The top `count` values become one tuple.
enum status machine_make_tuple(struct machine *m, size_t count, struct error *err)
{
    struct value value = {.kind = VALUE_TUPLE, .depth = 1};
    if (m->n_stack.count - stack_floor(m) < count)
        return machine_refuse(m, err, "the stack is empty; the file is damaged");
    value.as.tuple.first = (uint32_t)m->n_pool.count;
    value.as.tuple.count = (uint32_t)count;
    m->n_stack.count -= count;
    for (size_t i = 0; i < count; i++) {
        if (grow(m, &m->pool, &m->n_pool, sizeof *m->pool, MAX_VALUES, "values in tuples", err))
            return err->status;
        uint32_t item = m->stack[m->n_stack.count + i];
        m->pool[m->n_pool.count++] = item;
        value.depth = deeper(m, value.depth, item);
    }
    return machine_push(m, &value, err);
}

static enum status add_member(struct machine *m, uint32_t container, uint32_t key, uint32_t item,
                              struct error *err)
{
    if (grow(m, &m->members, &m->n_members, sizeof *m->members, MAX_VALUES, "members", err))
        return err->status;
    struct value *into = &m->values[container];
    uint32_t index = (uint32_t)m->n_members.count++;
    m->members[index] = (struct member){key, item, 0};
    if (into->as.members.count++ == 0)
        into->as.members.first = index;
    else
        m->members[into->as.members.last].next = index;
    into->as.members.last = index;
    into->depth = deeper(m, into->depth, item);
    if (into->depth > MAX_DEPTH)
        return machine_refuse(m, err, "expected nesting of at most %d, got more; this is no state dict",
                              MAX_DEPTH);
    return STATUS_OK;
}

// Adds the values from stack place `first` on to the container below them, and drops them.
static enum status add_from(struct machine *m, size_t first, enum value_kind kind, struct error *err)
{
    uint32_t container = 0;
    size_t count = m->n_stack.count - first, step = kind == VALUE_DICT ? 2 : 1;
    m->n_stack.count = first;
    if (machine_top(m, &container, err)) return err->status;
    if (m->values[container].kind != kind)
        return machine_refuse(m, err, "expected a %s to add to; the file is damaged",
                              kind == VALUE_DICT ? "dict" : "list");
    if (count % step != 0) return machine_refuse(m, err, "a key without a value; the file is damaged");
    for (size_t i = 0; i < count; i += step)
        if (add_member(m, container, m->stack[first + i], m->stack[first + i + step - 1], err))
            return err->status;
    return STATUS_OK;
}

enum status machine_add_marked(struct machine *m, enum value_kind kind, struct error *err)
{
    size_t first = 0;
    return machine_pop_mark(m, &first, err) ? err->status : add_from(m, first, kind, err);
}

enum status machine_add_few(struct machine *m, size_t count, enum value_kind kind, struct error *err)
{
    if (m->n_stack.count - stack_floor(m) < count)
        return machine_refuse(m, err, "the stack is empty; the file is damaged");
    return add_from(m, m->n_stack.count - count, kind, err);
}

// ---- memo ----

enum status machine_memo_put(struct machine *m, uint64_t place, struct error *err)
{
    uint32_t value = 0;
    if (machine_top(m, &value, err)) return err->status;
    if (place >= MAX_MEMO)
        return machine_refuse(m, err, "expected a memo below %d, got %llu; this is no state dict", MAX_MEMO,
                              (unsigned long long)place);
    while (m->n_memo.count <= place) {
        if (grow(m, &m->memo, &m->n_memo, sizeof *m->memo, MAX_MEMO, "memos", err)) return err->status;
        m->memo[m->n_memo.count++] = 0;
    }
    m->memo[place] = value + 1;
    return STATUS_OK;
}

enum status machine_memo_get(struct machine *m, uint64_t place, struct error *err)
{
    if (place >= m->n_memo.count || m->memo[place] == 0)
        return machine_refuse(m, err, "memo %llu was never filled; the file is damaged",
                              (unsigned long long)place);
    return push_again(m, m->memo[place] - 1, err);
}

enum status machine_new_tensor(struct machine *m, const struct tensor *tensor, struct value *value,
                               struct error *err)
{
    if (grow(m, &m->tensors, &m->n_tensors, sizeof *m->tensors, MAX_TENSORS, "tensors", err))
        return err->status;
    m->tensors[m->n_tensors.count] = *tensor;
    *value = (struct value){.kind = VALUE_TENSOR, .depth = 1, .as.tensor = (uint32_t)m->n_tensors.count++};
    return STATUS_OK;
}

void machine_clear(struct machine *m)
{
    free(m->values);
    free(m->stack);
    free(m->marks);
    free(m->memo);
    free(m->pool);
    free(m->members);
    free(m->tensors);
}
