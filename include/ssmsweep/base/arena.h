// SPDX-License-Identifier: Apache-2.0
// A bump allocator over one zeroed block: everything a forward pass needs is carved out once, so that
// nothing is allocated inside the pass and its size is known beforehand.
#ifndef SSMSWEEP_BASE_ARENA_H
#define SSMSWEEP_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/base/team.h"

enum { ARENA_ALIGN = 64, HUGE_PAGE_BYTES = 2 << 20 };

// In caller memory.  With base == NULL the arena only measures: allocations return NULL and add to `used`.
struct arena {
    unsigned char *base;
    size_t size_bytes, used_bytes;
    bool owned;
};

// Takes `size_bytes` of zeroed memory, all of it at once, in huge pages where the system grants them.  Freed
// by arena_clear().
enum status arena_init(struct arena *arena, size_t size_bytes, const char *what, struct error *err);
// The same by all threads of a team; NULL: by this one.
enum status arena_init_by(struct arena *arena, size_t size_bytes, const char *what, struct team *team,
                          struct error *err);

// Uses memory that somebody else owns (a shared window); it must be aligned to ARENA_ALIGN.
void arena_init_over(struct arena *arena, void *memory, size_t size_bytes);

// Starts measuring: used_bytes tells afterwards how much a real arena needs.
void arena_init_measure(struct arena *arena);

// ARENA_ALIGN-aligned block.  Running past the end is a defect of the caller and aborts.
void *arena_take(struct arena *arena, size_t bytes);

void arena_clear(struct arena *arena);

// Local.  Maps so many bytes (of 2 MiB and more: at a multiple of that, so that huge pages fit) of a shared
// memory object, or where `descriptor` is -1 of zeroed memory of this process.  NULL: it cannot be.  munmap()
// frees.
void *memory_map(size_t bytes, int descriptor);

// ---- footprint ----

// What memory this process holds that nobody can take from it: not the pages of files that it maps.

// As /proc/self/smaps_rollup has them.
struct footprint {
    unsigned long long own_bytes;    // Pss_Anon
    unsigned long long shared_bytes; // Pss_Shmem: of a page that k processes map, a k-th part
};

// Local.  False, and zeros, where the system does not tell.  Walks all pages: some milliseconds.
bool footprint_read(struct footprint *footprint);

// Local.  "memory: 12.3 MiB own, 4.5 MiB of shared after WHAT", a line of this rank at LOG_VERBOSE.
void footprint_log(const struct log *log, const char *what);

#endif
