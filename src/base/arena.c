// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum status arena_init(struct arena *arena, size_t size_bytes, const char *what, struct error *err)
{
    size_t huge = (size_t)2 << 20;
    size_t rounded = (size_bytes + huge - 1) / huge * huge;
    if (rounded < size_bytes) return error_memory(err, size_bytes, what);
    void *base =
        mmap(NULL, rounded ? rounded : huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return error_memory(err, size_bytes, what);
#ifdef MADV_HUGEPAGE
    madvise(base, rounded, MADV_HUGEPAGE);
#endif
    *arena = (struct arena){.base = base, .size_bytes = rounded ? rounded : huge, .owned = true};
    return STATUS_OK;
}

void arena_init_over(struct arena *arena, void *memory, size_t size_bytes)
{
    *arena = (struct arena){.base = memory, .size_bytes = size_bytes};
}

void arena_init_measure(struct arena *arena)
{
    *arena = (struct arena){.size_bytes = SIZE_MAX};
}

void *arena_take(struct arena *arena, size_t bytes)
{
    size_t rounded = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (rounded < bytes || rounded > arena->size_bytes - arena->used_bytes) {
        fprintf(stderr, "ssmsweep: internal error: arena of %zu bytes cannot give %zu more\n",
                arena->size_bytes, bytes);
        abort();
    }
    void *block = arena->base ? arena->base + arena->used_bytes : NULL;
    arena->used_bytes += rounded;
    return block;
}

void arena_clear(struct arena *arena)
{
    if (arena->owned) munmap(arena->base, arena->size_bytes);
    *arena = (struct arena){0};
}
