// SPDX-License-Identifier: Apache-2.0
#include "least.h"

#include <stdbool.h>

void least_start(struct least *heap, int n)
{
    for (int i = 0; i < n; i++)
        heap[i] = (struct least){.id = i};
}

static bool is_before(const struct least *a, const struct least *b)
{
    return a->value != b->value ? a->value < b->value : a->id < b->id;
}

void least_settle(struct least *heap, int n)
{
    if (n < 1) return;
    const struct least moved = heap[0];
    int at = 0;
    for (int child = 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && is_before(&heap[child + 1], &heap[child])) child++;
        if (!is_before(&heap[child], &moved)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}
