// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void *memory_map(size_t bytes, int descriptor)
{
    const size_t room = bytes + (bytes < HUGE_PAGE_BYTES ? 0 : HUGE_PAGE_BYTES);
    char *reserved = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED) return NULL;
    const size_t skip =
        room == bytes ? 0 : (HUGE_PAGE_BYTES - (uintptr_t)reserved % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    const int flags = MAP_FIXED | (descriptor < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
    void *memory = mmap(reserved + skip, bytes, PROT_READ | PROT_WRITE, flags, descriptor, 0);
    if (memory == MAP_FAILED) {
        munmap(reserved, room);
        return NULL;
    }
    if (skip > 0) munmap(reserved, skip);
    if (room - skip > bytes) munmap(reserved + skip + bytes, room - skip - bytes);
#ifdef MADV_HUGEPAGE
    madvise(memory, bytes / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES,
            MADV_HUGEPAGE); // a wish: refusal costs speed only
#endif
    return memory;
}

// Whole at the start: what it takes is known then, and memory that is missing shows before the work.
static void populate(unsigned char *base, size_t bytes, size_t page)
{
#ifdef MADV_POPULATE_WRITE
    if (madvise(base, bytes, MADV_POPULATE_WRITE) == 0) return;
#endif
    for (size_t i = 0; i < bytes; i += page)
        ((volatile unsigned char *)base)[i] = 0;
}

struct populating {
    unsigned char *base;
    size_t page;
};

static void populate_some(void *context, int part, int begin, int end)
{
    const struct populating *p = context;
    (void)part;
    populate(p->base + (size_t)begin * HUGE_PAGE_BYTES, (size_t)(end - begin) * HUGE_PAGE_BYTES, p->page);
}

enum status arena_init_by(struct arena *arena, size_t size_bytes, const char *what, struct team *team,
                          struct error *err)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), rounded = (size_bytes + page) / page * page;
    void *base = size_bytes > SIZE_MAX / 2 ? NULL : memory_map(rounded, -1);
    if (!base) return error_memory(err, size_bytes, what);
    struct populating populating = {base, page};
    const size_t whole = team ? rounded / HUGE_PAGE_BYTES : 0;
    if (whole > 0) team_divide(team, TEAM_MOST_PARTS, (int)whole, 1, populate_some, &populating);
    populate(populating.base + whole * HUGE_PAGE_BYTES, rounded - whole * HUGE_PAGE_BYTES, page);
    *arena = (struct arena){.base = base, .size_bytes = rounded, .owned = true};
    return STATUS_OK;
}

enum status arena_init(struct arena *arena, size_t size_bytes, const char *what, struct error *err)
{
    return arena_init_by(arena, size_bytes, what, NULL, err);
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

// ---- footprint ----

static bool take(const char *line, const char *key, unsigned long long *bytes)
{
    unsigned long long kibibytes;
    const size_t length = strlen(key);
    if (strncmp(line, key, length) != 0 || sscanf(line + length, ": %llu kB", &kibibytes) != 1) return false;
    *bytes = kibibytes << 10;
    return true;
}

bool footprint_read(struct footprint *footprint)
{
    struct footprint read = {0};
    int found = 0;
    char line[256];
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    while (file && fgets(line, sizeof line, file))
        found += take(line, "Pss_Anon", &read.own_bytes) || take(line, "Pss_Shmem", &read.shared_bytes);
    if (file) fclose(file);
    *footprint = found == 2 ? read : (struct footprint){0};
    return found == 2;
}

void footprint_log(const struct log *log, const char *what)
{
    struct footprint footprint;
    if (log->level < LOG_VERBOSE || !footprint_read(&footprint)) return;
    log_rank(log, LOG_VERBOSE, "memory: %.1f MiB own, %.1f MiB of shared, %s",
             (double)footprint.own_bytes / (1 << 20), (double)footprint.shared_bytes / (1 << 20), what);
}
